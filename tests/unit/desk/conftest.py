"""A seeded desk for every test, and one that tests only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.desk import Desk, build
from labkit.tools import ToolRegistry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build(tmp_path / "desk.db")


@pytest.fixture
def desk(path: Path) -> Desk:
    return Desk(path, wait_s=0.05)


@pytest.fixture
def tools(desk: Desk) -> ToolRegistry:
    return desk.tools()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk that tests only read."""
    return Desk(build(tmp_path_factory.mktemp("desk") / "desk.db"))


@pytest.fixture(autouse=True)
def closed(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning)]
