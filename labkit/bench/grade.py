"""``labkit bench grade``: hostile notebooks, a class full of faults, and the rate against ``nbgrader autograde``.

Two submissions at a time on every side. The attacks and the faults are handed in to a lab of two exercises that runs in a second;
the rate is that of lab 02, whose solution is handed in by everybody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat import NotebookNode

from labkit import editions, labs
from labkit.bench.faulty import FAULTS, HONEST, MISSING, as_it_should, hand_in
from labkit.bench.figures import Figure
from labkit.config import settings
from labkit.errors import LabError
from labkit.grading import bundle as bundles
from labkit.grading import small_lab
from labkit.grading.autograde import Summary, autograde
from labkit.grading.hostile import ATTACKS
from labkit.grading.result import Result, read
from labkit.grading.sandbox import Sandbox, choose
from labkit.grading.small_lab import LIMITS

CLASS, FULL_CLASS, WORKERS = 200, 1000, 2
RATED, RATED_LAB = 20, "lab02"
PATIENT = LIMITS.model_copy(update={"cell_s": 10, "total_s": 40})
"""Limits of the small lab for a machine that has other things to do."""
SHARE = 20
"""One in so many submissions has each fault: 5%."""


def run(*, full: bool = False) -> list[Figure]:
    """Measure what attacks earn, what is lost, how memory grows, and the rate against nbgrader.

    Args:
        full: A class of 1,000, which goes on where it stopped; the rate with nothing left out; and the rate of two Dask workers
            against the pool.
    """
    long = cluster(RATED) if full else []
    return [*attacks(), *faults(FULL_CLASS if full else CLASS, keep=full), *rate(RATED, full=full), *long]


def attacks() -> list[Figure]:
    """Points that hostile notebooks earn, and attacks on public checks that no result reports."""
    with _folder("attacks") as base:
        for attack in ATTACKS:
            _hand_in(base, attack.name, nbformat.writes(attack.notebook()).encode())
        results = _results(_grade(base))
    forged = [attack.name for attack in ATTACKS if attack.forges]
    points = sum(result.earned for result in results.values())
    return [
        Figure("grade.attack_points", points, "points", len(ATTACKS)),
        Figure(
            "grade.unreported_attacks", sum(not results[n].tampering for n in forged), "attacks", len(forged)
        ),
    ]


def faults(count: int, *, keep: bool = False) -> list[Figure]:
    """Submissions that got no result or the wrong one, and how far the grader's own memory grew after its first quarter.

    Args:
        count: Submissions; 5% of them have each fault, the others are right.
        keep: Keep the folder while it runs, so that an interrupted run goes on.
    """
    kinds = [*FAULTS, MISSING]
    with _folder("faults", keep=keep) as base, _memory() as grown:
        for number in range(count):
            kind = dict(enumerate(kinds)).get(number % SHARE, HONEST)
            _hand_in(base, f"{kind}-{number:04}", hand_in(number, kind))
        done = _grade(base)
        results = _results(done)
    wrong = [name for name, result in results.items() if not as_it_should(name.rpartition("-")[0], result)]
    for name in wrong:
        print(f"{name}: {results[name].status}, {results[name].earned:g} points, {results[name].reason}")
    lost = count - len(results) + len(wrong)
    return [
        Figure("grade.lost", lost, "submissions", count),
        Figure("grade.memory_growth_mb", grown[0], "MB", done.graded),
        Figure(
            "grade.faulty_class_per_minute", 60 * (done.graded + done.refused) / done.seconds, "1/min", count
        ),
    ]


def rate(count: int, *, full: bool = False) -> list[Figure]:
    """Submissions per minute, ours and nbgrader's, on the same notebooks with two processes each; one run of each.

    Args:
        count: How many notebooks.
        full: Also ours where it runs everything, as nbgrader does: all of the lab's cells, needed or not.
    """
    with _folder("rate") as base:
        solved, made = _same_for_all(base, count)
        ours = _per_minute(base, choose())
        whole = [_per_minute(base, choose(), everything=True)] if full else []
        theirs = _nbgrader(base, solved, made)
    return [
        *(Figure("grade.everything_vs_nbgrader_ratio", each / theirs, "ratio", count) for each in whole),
        Figure("grade.per_minute", ours, "1/min", count),
        Figure("grade.nbgrader_per_minute", theirs, "1/min", count),
        Figure("grade.vs_nbgrader_ratio", ours / theirs, "ratio", count),
    ]


def cluster(count: int) -> list[Figure]:
    """The rate of two Dask workers over that of two processes of the pool, on the same notebooks; one run of each.

    Raises:
        LabError: Dask is not installed.
    """
    try:
        from dask import config
        from distributed import LocalCluster
    except ImportError:
        raise LabError("Dask is not installed.", "pip install 'dask[distributed]'") from None
    with _folder("cluster") as base:
        _same_for_all(base, count)
        pool = _per_minute(base, choose())
        with config.set({"distributed.worker.profile.enabled": False}):
            made: Any = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address="")
        with made as dask:
            workers = _per_minute(base, choose(), dask.scheduler_address)
    return [Figure("grade.dask_vs_pool_ratio", workers / pool, "ratio", count)]


def _same_for_all(base: Path, count: int) -> tuple[NotebookNode, list[str]]:
    """Hand in the solution of lab 02, each with a line of its own. Returns the solution and what was handed in."""
    lab = labs.find(RATED_LAB)
    solved = editions.solution(lab)
    bundles.make(lab, editions.student(lab), small_lab.SECRET).save(base / "bundles")
    made: list[str] = []
    for number in range(count):
        mine = deepcopy(solved)
        mine.cells.append(nbformat.v4.new_markdown_cell(f"Handed in by student {number}.", id="mine"))
        made.append(nbformat.writes(mine))
        _hand_in(base, f"student{number}", made[-1].encode())
    return solved, made


def _per_minute(base: Path, sandbox: Sandbox, scheduler: str = "", *, everything: bool = False) -> float:
    out = base / f"out-{'dask' if scheduler else 'pool'}-{everything}"
    done = autograde(
        base / "in",
        base / "bundles",
        out,
        sandbox=sandbox,
        workers=WORKERS,
        everything=everything,
        scheduler=scheduler,
        quiet=True,
    )
    if any(r.earned < r.points or r.status != "graded" for r in _results(done).values()):
        raise LabError(f"The solution of {RATED_LAB} does not earn all points here.", "Run `labkit doctor`.")
    return 60 * done.graded / done.seconds


def _nbgrader(base: Path, solved: NotebookNode, made: list[str]) -> float:
    """Submissions per minute of ``nbgrader autograde``: each process has a course folder and its part of the class."""
    environment = {
        **os.environ,
        "LABKIT_HOME": str(base / "home"),
        "LABKIT_OFFLINE": "1",
        "LABKIT_THREADS": "1",
    }
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    name = labs.find(RATED_LAB).name
    courses = [base / f"course{number}" for number in range(WORKERS)]
    for place, course in enumerate(courses):
        source = course / "source" / RATED_LAB / f"{name}.ipynb"
        source.parent.mkdir(parents=True)
        nbformat.write(solved, source)
        for number in range(place, len(made), WORKERS):
            path = course / "submitted" / f"student{number}" / RATED_LAB / f"{name}.ipynb"
            path.parent.mkdir(parents=True)
            path.write_text(made[number], encoding="utf-8")
        _start(course, environment, "generate_assignment", RATED_LAB).wait()
    began = time.monotonic()
    running = [_start(course, environment, "autograde", RATED_LAB) for course in courses]
    for process in running:
        process.wait()
    seconds = time.monotonic() - began
    graded = sum(len(list(course.glob("autograded/*/*/*.ipynb"))) for course in courses)
    if graded != len(made):
        raise LabError(f"nbgrader graded {graded} of {len(made)} submissions.", f"Look into {courses[0]}.")
    return 60 * graded / seconds


def _start(course: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nbgrader", *words]
    with (course / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=course, env=environment, stdout=log, stderr=log)


def _grade(base: Path) -> Summary:
    small_lab.bundle().save(base / "bundles")
    return autograde(
        base / "in", base / "bundles", base / "out", sandbox=choose(PATIENT), workers=WORKERS, quiet=True
    )


def _hand_in(base: Path, student: str, data: bytes | None) -> None:
    path = base / "in" / student / f"{student}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is not None:
        path.write_bytes(data)


def _results(done: Summary) -> dict[str, Result]:
    return {path.parent.parent.name: result for path in done.results if (result := read(path))}


@contextmanager
def _folder(name: str, *, keep: bool = False) -> Generator[Path]:
    """A folder that is gone afterwards; one that is kept while it runs lies in the cache."""
    if not keep:
        with tempfile.TemporaryDirectory(prefix="labkit-bench-") as made:
            yield Path(made)
        return
    base = settings().cache / "bench" / f"grade-{name}"
    base.mkdir(parents=True, exist_ok=True)
    yield base
    shutil.rmtree(base)


@contextmanager
def _memory() -> Generator[list[float]]:
    """The growth of this process's memory in MB after the first quarter of the time, in the list when it ends."""
    seen: list[float] = []
    grown, done, process = [0.0], threading.Event(), psutil.Process()

    def look() -> None:
        while not done.wait(1):
            seen.append(process.memory_info().rss / 1e6)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        done.set()
        thread.join()
        quarter = len(seen) // 4
        grown[0] = max(seen[quarter:], default=0.0) - max(seen[: quarter + 1], default=0.0)
