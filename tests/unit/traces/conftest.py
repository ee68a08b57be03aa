"""A path for a trace; afterwards nothing is recording."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace as otel

from labkit import trace


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "trace.jsonl"
    assert not trace._active or trace._active.stop()
    assert otel.get_current_span() is otel.INVALID_SPAN
