"""Grading on a Dask cluster: a scheduler and two workers as processes, one of them killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from labkit.errors import LabError
from labkit.grading import small_lab
from labkit.grading.autograde import autograde
from labkit.grading.bundle import load
from labkit.grading.cluster import Task, work
from labkit.grading.grade import grade
from labkit.grading.limits import Limits
from labkit.grading.result import Result, read
from labkit.grading.sandbox import Plain
from labkit.grading.small_lab import SOLVED, UNDONE, notebook

pytest.importorskip("distributed")
BOX = Plain(Limits(cell_s=20, total_s=60))
STUDENTS = 8


class Cluster:
    """Processes on this machine; ended at the end, whatever happens."""

    def __init__(self, base: Path) -> None:
        self.file, self.processes = base / "scheduler.json", list[subprocess.Popen[bytes]]()
        self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.workers = [self.start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in "ab"]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "ignore", "-m", "dask", *words, "--scheduler-file", str(self.file)]
        environment = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    @property
    def address(self) -> str:
        """Of the scheduler, once both workers are there."""
        from distributed import Client

        with Client(scheduler_file=str(self.file), timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            return str(client.scheduler.address)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.kill()
        process.wait()

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                self.kill(process)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.fixture
def submissions(tmp_path: Path) -> Path:
    small_lab.bundle().save(tmp_path / "bundles")
    (tmp_path / "in").mkdir()
    for number in range(STUDENTS):
        made = notebook(*(SOLVED if number % 2 else UNDONE), f"mine = {number}")
        nbformat.write(made, tmp_path / "in" / f"student{number}.ipynb")
    (tmp_path / "in" / "odd.ipynb").write_text("no notebook")
    return tmp_path / "in"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each result was written."""
    counts: Counter[str] = Counter()
    real: Callable[[Result, Path], None] = Result.write

    def write(self: Result, path: Path) -> None:
        counts[path.parent.parent.name] += 1
        real(self, path)

    monkeypatch.setattr(Result, "write", write)
    return counts


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_lost_workers_submissions_are_graded_elsewhere_once(
    cluster: Cluster,
    submissions: Path,
    written: Counter[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from labkit.grading import autograde as module

    real = module.Summary.count

    def count(self: Any, done: Result) -> None:
        real(self, done)
        if self.graded == 2 and cluster.workers[0].poll() is None:
            cluster.kill(cluster.workers[0])

    monkeypatch.setattr(module.Summary, "count", count)
    out = tmp_path / "out"
    arguments = (submissions, tmp_path / "bundles", out)
    done = autograde(*arguments, sandbox=BOX, scheduler=cluster.address, quiet=True)
    assert cluster.workers[0].poll() is not None
    assert (done.found, done.graded, done.refused, done.failed) == (STUDENTS + 1, STUDENTS, 1, 0)
    assert set(written.values()) == {1}
    assert len(written) == done.found
    assert len(list(out.glob("student*/*/executed.ipynb"))) == STUDENTS
    assert [r.earned for path in done.results if (r := read(path)) and r.status == "graded"] == [0, 5] * (
        STUDENTS // 2
    )
    again = autograde(*arguments, sandbox=BOX, quiet=True)
    assert (again.kept, again.graded) == (STUDENTS + 1, 0)


@pytest.mark.slow
def test_a_worker_and_this_machine_grade_alike(submissions: Path, tmp_path: Path) -> None:
    path, zipped = submissions / "student1.ipynb", tmp_path / "bundles" / "lab90.zip"
    there = work(Task("k", path.name, path.read_bytes(), zipped.read_bytes(), BOX)).result
    here = grade(path, load(zipped), BOX)
    assert there is not None
    assert there.model_copy(update={"seconds": 0}) == here.model_copy(update={"seconds": 0})
    assert here.earned == 5


def test_no_scheduler_is_an_error(submissions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.grading.cluster.CONNECT_S", 1)
    with pytest.raises(LabError, match="no Dask scheduler"):
        autograde(
            submissions,
            tmp_path / "bundles",
            tmp_path / "out",
            sandbox=BOX,
            scheduler="tcp://127.0.0.1:1",
            quiet=True,
        )


def test_a_bundle_that_was_changed_fails_on_the_worker_with_a_reason(submissions: Path) -> None:
    done = work(Task("k", "a.ipynb", b"{}", b"no zip", BOX))
    assert done.result is None
    assert "no bundle" in done.problem
