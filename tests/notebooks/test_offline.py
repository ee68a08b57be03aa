"""The offline promise: everything again in a network namespace that has only loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit import editions, labs

BWRAP = shutil.which("bwrap")
ALONE = [BWRAP or "bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"]


def _works() -> bool:
    return BWRAP is not None and subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not _works() and "CI" not in os.environ, reason="needs Linux with bubblewrap"),
]


def alone(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ALONE, *command], cwd=cwd, capture_output=True, text=True, timeout=500)


def test_there_really_is_no_network_in_there() -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
    result = alone(sys.executable, "-c", code)
    assert "Network is unreachable" in result.stderr
    assert (
        alone(sys.executable, "-c", "import socket; socket.create_server(('127.0.0.1', 0))").returncode == 0
    )


def test_the_doctor_is_content_without_a_network() -> None:
    result = alone(sys.executable, "-m", "labkit", "doctor")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("lab", editions.sources(), ids=lambda lab: lab.id)
def test_nbval_runs_a_solution_without_a_network(lab: labs.Lab, root: Path) -> None:
    """Not in random order, and bounded as a whole: nbval by itself lets a hung shell cell pass."""
    result = alone(
        sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout=120", "-p", "no:randomly", "-q",
        "-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings=", str(lab.solution), cwd=root,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]
    assert " passed" in result.stdout
