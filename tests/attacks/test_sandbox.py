"""The sandboxes themselves: what they start, what they end, and what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from needs import needs_sandbox

from labkit.errors import LabError
from labkit.grading import bubblewrap, sandbox
from labkit.grading.autograde import autograde
from labkit.grading.bundle import Bundle
from labkit.grading.grade import grade
from labkit.grading.limits import Limits
from labkit.grading.result import read
from labkit.grading.sandbox import Bubblewrap, Container, Plain
from labkit.grading.small_lab import LIMITS, SOLVED, notebook
from labkit.grading.watch import MemoryWatch

pytestmark = pytest.mark.slow
SLEEPER = "import time\nfor _ in range(1000):\n    time.sleep(0.5)  # 31415926\n"


def test_a_container_is_started_with_every_door_closed(tmp_path: Path) -> None:
    (tmp_path / "kernel.json").write_text("{}")
    box = Container("course:1", "podman", Limits(memory_mb=700, file_mb=10, processes=20, total_s=30))
    words = box.command(
        ["/venv/bin/python", "-m", "ipykernel_launcher", "-f", f"{tmp_path}/kernel.json"], tmp_path
    )
    assert words[:2] == ["podman", "run"]
    for door in (
        "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=700m", "--memory-swap=700m",
        "--pids-limit=20", "--user=65534:65534", "--rm",
    ):  # fmt: skip
        assert door in words
    assert words[-6:] == ["course:1", "python", "-m", "ipykernel_launcher", "-f", f"{tmp_path}/kernel.json"]
    assert [w for w in words if w.startswith("--volume")] == [f"--volume={tmp_path}:{tmp_path}"]
    assert "course:1" in box.describe()


def test_the_choice_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.choose(unsafe=True).name == "none"
    assert "your rights" in sandbox.choose(unsafe=True).describe()
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    with pytest.raises(LabError, match=r"bwrap.*not found") as caught:
        sandbox.choose()
    assert "--unsafe-no-sandbox" in caught.value.hint
    assert sandbox.describe() == (False, caught.value.message)
    with pytest.raises(LabError, match="docker is not on this machine"):
        sandbox.choose(image="course:1")
    monkeypatch.setattr(bubblewrap.platform, "system", lambda: "Darwin")
    assert Bubblewrap().problem() == "bubblewrap is for Linux"


def test_without_a_sandbox_the_grade_is_the_same_and_the_environment_is_clean(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLASS_SECRET", "hunter2")
    path = tmp_path / "lab90.ipynb"
    nbformat.write(notebook(*SOLVED, "import os\nprint(dict(os.environ))"), path)
    result = grade(path, bundle, Plain(LIMITS), executed=tmp_path / "out.ipynb")
    assert (result.earned, result.sandbox) == (5, "none")
    assert "hunter2" not in (tmp_path / "out.ipynb").read_text()


def test_the_watch_kills_a_family_that_uses_too_much() -> None:
    hog = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytearray(b\"1\") * 300_000_000; import time; time.sleep(30)'])"
    with (
        subprocess.Popen([sys.executable, "-c", hog]) as process,
        MemoryWatch(process.pid, 200, every_s=0.05) as watch,
    ):
        process.wait(timeout=20)
    assert watch.reason == "it used more than 200 MB of memory"


@needs_sandbox[-1]
def test_a_sandbox_that_does_not_start_is_the_graders_fault_and_is_tried_again(
    bundle_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    nbformat.write(notebook(*SOLVED), tmp_path / "in" / "ana.ipynb")

    def run(box: sandbox.Sandbox) -> tuple[str, str, float]:
        summary = autograde(tmp_path / "in", bundle_dir, tmp_path / "out", sandbox=box, workers=1, quiet=True)
        result = read(summary.results[0])
        assert result
        return result.status, result.reason, result.earned

    assert run(Container("none", "false", LIMITS)) == (
        "failed",
        "The kernel did not start in its sandbox.",
        0,
    )
    assert run(Bubblewrap(LIMITS)) == ("graded", "", 5)


@needs_sandbox[-1]
def test_when_the_grader_is_killed_everything_ends_and_the_next_run_goes_on(
    bundle_dir: Path, sandbox: Bubblewrap, tmp_path: Path
) -> None:
    there = tmp_path / "in"
    there.mkdir()
    nbformat.write(notebook(*SOLVED), there / "ana.ipynb")
    nbformat.write(notebook(*SOLVED, SLEEPER), there / "bo.ipynb")
    program = (
        "from pathlib import Path; from labkit.grading.autograde import autograde; from labkit.grading.sandbox import *;"
        f"autograde(Path({str(there)!r}), Path({str(bundle_dir)!r}), Path({str(tmp_path / 'out')!r}),"
        " sandbox=Bubblewrap(Limits(cell_s=60, total_s=90)), workers=2)"
    )
    grader = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"GRADER": "27182818"})
    first = tmp_path / "out" / "ana" / "ana" / "result.json"
    until = time.monotonic() + 60
    while (
        not (first.is_file() and any("bwrap" in line for line in _family(grader.pid)))
        and time.monotonic() < until
    ):
        time.sleep(0.1)
    family = psutil.Process(grader.pid).children(recursive=True)
    assert len(family) > 3
    grader.send_signal(signal.SIGKILL)
    grader.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    nbformat.write(notebook(*SOLVED), there / "bo.ipynb")
    summary = autograde(there, bundle_dir, tmp_path / "out", sandbox=sandbox, workers=2, quiet=True)
    assert (summary.kept, summary.graded) == (1, 1)
    assert all((r := read(path)) and r.earned == 5 for path in summary.results)


def _family(pid: int) -> list[str]:
    try:
        return [child.name() for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
