"""Every test runs with its own home, cache and work folder, and without the learner's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import labkit
from labkit.client import Client

# no time limit for one example: machines are busy; in CI the same examples each time, elsewhere new ones
hypothesis.settings.register_profile("labkit", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("labkit")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in [name for name in os.environ if name.startswith("LABKIT_")]:
        monkeypatch.delenv(name)
    base = tmp_path_factory.mktemp("labkit")
    for name in ("HOME", "WORK"):
        monkeypatch.setenv(f"LABKIT_{name}", str(base / name.lower()))
    monkeypatch.setenv("LABKIT_CACHE", str(_shared_cache(tmp_path_factory)))


def _shared_cache(factory: pytest.TempPathFactory) -> Path:
    """One cache for the session: the model's checksum is computed once."""
    return factory.getbasetemp() / "cache"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The embedded model, loaded once for all tests."""
    before = os.environ.get("LABKIT_CACHE")
    os.environ["LABKIT_CACHE"] = str(_shared_cache(tmp_path_factory))
    with labkit.load("llamacpp:smollm2-135m", context=2048) as client:
        if before is None:
            del os.environ["LABKIT_CACHE"]
        else:
            os.environ["LABKIT_CACHE"] = before
        yield client


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
