"""Grading a class: every submission in a process of its own, several at a time; each ends in a result, whatever it is."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labkit.errors import LabError, LabkitError
from labkit.grading import bundle as bundles
from labkit.grading import cluster, collect, pool, result
from labkit.grading.bundle import Bundle
from labkit.grading.cluster import Task
from labkit.grading.display import Display
from labkit.grading.files import clean, slug, write_whole
from labkit.grading.result import EXECUTED, FILE, Result
from labkit.grading.sandbox import Sandbox, choose

GRACE_S = 60
"""Seconds for what a grader does beside running a submission."""


@dataclass
class Summary:
    """What became of a class's submissions.

    Attributes:
        out: Where the results are.
        found: Submissions found; each has a result.
        graded: Judged now.
        kept: Judged before, with the same bundle and the same content.
        refused: No notebooks of a lab.
        failed: The grader could not do its work; they are tried again on the next run.
        tampered: Results that report tampering.
        seconds: How long it took.
    """

    out: Path
    found: int = 0
    graded: int = 0
    kept: int = 0
    refused: int = 0
    failed: int = 0
    tampered: int = 0
    seconds: float = 0
    results: list[Path] = field(default_factory=list[Path])

    def count(self, done: Result) -> None:
        """Add a result that was made now."""
        setattr(self, done.status, getattr(self, done.status) + 1)
        self.tampered += bool(done.tampering)


@dataclass(frozen=True)
class _Job:
    """One submission on its way through a worker."""

    submission: Path
    bundle: Path
    sandbox: Sandbox
    target: Path
    blank: Result
    everything: bool

    @property
    def limit_s(self) -> float:
        """Seconds after which the process that grades it is killed: it may have to run again in full."""
        return 2 * self.sandbox.limits.total_s + GRACE_S

    def run(self) -> None:
        """Grade it here."""
        try:
            from labkit.grading.grade import grade

            lab = bundles.load(self.bundle)
            self.keep(
                grade(self.submission, lab, self.sandbox, executed=self.executed, everything=self.everything)
            )
        except Exception as error:
            self.fail(error.message if isinstance(error, LabkitError) else f"{type(error).__name__}: {error}")

    def task(self) -> Task:
        """The same for another machine."""
        data = (self.submission.read_bytes(), self.bundle.read_bytes())
        key = f"{self.blank.sha256}-{uuid.uuid4().hex}"
        return Task(key, self.submission.name, *data, self.sandbox, self.everything)

    def keep(self, done: Result) -> Result:
        """Write the result under the names that it was handed in with."""
        named = {name: getattr(self.blank, name) for name in ("student", "submission", "submitted")}
        done = done.model_copy(update=named)
        done.write(self.target)
        return done

    def fail(self, reason: str) -> Result:
        """Write that the grader could not do it."""
        return self.keep(self.blank.model_copy(update={"status": "failed", "reason": clean(reason[:1000])}))

    @property
    def executed(self) -> Path:
        """Where the notebook as it ran goes."""
        return self.target.parent / EXECUTED


def autograde(
    submissions: Path,
    bundle_dir: Path,
    out: Path,
    *,
    sandbox: Sandbox | None = None,
    workers: int = 0,
    everything: bool = False,
    scheduler: str = "",
    quiet: bool = False,
) -> Summary:
    """Grade all submissions that are not graded yet.

    Args:
        submissions: A folder of notebooks, an LMS's zip, or nbgrader's tree.
        bundle_dir: The bundles, as ``release`` made them; or one of them.
        out: Gets ``STUDENT/SUBMISSION/result.json``. An interrupted run goes on where it stopped.
        sandbox: Where they run; this machine's by default.
        workers: How many at a time; as many as there are cores by default.
        everything: Also run the labs' own cells that only show something; takes longer, grades alike.
        scheduler: Address of a Dask scheduler, whose workers grade in place of this machine.
        quiet: Show no progress.

    Raises:
        LabError: There are no submissions, no bundles, no sandbox, or no scheduler.
    """
    began = time.monotonic()
    labs = bundles.load_all(bundle_dir)
    sandbox = sandbox or choose()
    summary = Summary(out)
    with tempfile.TemporaryDirectory(prefix="labkit-grading-") as made, Display(quiet) as display:
        spool = Path(made)
        saved = {lab: each.save(spool / "bundles") for lab, each in labs.items()}
        jobs = list(_jobs(submissions, labs, saved, sandbox, spool, summary, everything))
        display.begin(len(jobs), summary)
        for done in _cluster(jobs, scheduler) if scheduler else _pool(jobs, workers or os.cpu_count() or 1):
            summary.count(done)
            display.step(summary)
    if not summary.found:
        raise LabError(f"There are no submissions in {submissions}.", "Give the folder with the notebooks.")
    summary.seconds = time.monotonic() - began
    return summary


def _jobs(
    place: Path,
    labs: dict[str, Bundle],
    saved: dict[str, Path],
    sandbox: Sandbox,
    spool: Path,
    summary: Summary,
    everything: bool,
) -> Iterator[_Job]:
    """What is left to do. What needs no kernel gets its result here."""
    used: set[str] = set()
    for number, found in enumerate(collect.find(place)):
        summary.found += 1
        target = _target(summary.out, found, used)
        summary.results.append(target)
        blank = Result(
            status="refused",
            student=clean(found.student),
            submission=clean(found.name),
            sha256=hashlib.sha256(found.data).hexdigest(),
            submitted=found.submitted,
            sandbox=sandbox.name,
        )
        lab, reason = _bundle_for(found, labs)
        if not lab:
            done = blank.model_copy(update={"reason": clean(reason)})
            done.write(target)
            summary.count(done)
            continue
        blank = blank.model_copy(
            update={"lab": lab.lab, "bundle": lab.digest, "points": sum(lab.manifest.points.values())}
        )
        before = result.read(target)
        if (
            before
            and before.status != "failed"
            and (before.sha256, before.bundle) == (blank.sha256, blank.bundle)
        ):
            summary.kept += 1
            if before.submitted != blank.submitted:
                before.model_copy(update={"submitted": blank.submitted}).write(target)
            continue
        path = spool / str(number) / f"{slug(Path(found.name).stem)}.ipynb"
        path.parent.mkdir()
        path.write_bytes(found.data)
        yield _Job(path, saved[lab.lab], sandbox, target, blank, everything)


def _bundle_for(found: collect.Submission, labs: dict[str, Bundle]) -> tuple[Bundle | None, str]:
    """The bundle of a submission: by nbgrader's folder, by the file's name, or the only one. Its content is looked at later."""
    if found.problem:
        return None, found.problem
    for text in (found.lab, found.name, found.student):
        if (match := re.search(r"lab\d\d", text.lower())) and match[0] in labs:
            return labs[match[0]], ""
    if len(labs) == 1 and not re.search(r"lab\d\d", found.lab.lower()):
        return next(iter(labs.values())), ""
    match = re.search(rb'"(?:grade_id|lab)"\s*:\s*"(lab\d\d)', found.data)
    told = match[1].decode() if match else ""
    if told in labs:
        return labs[told], ""
    return None, f"there is no bundle for {told or 'a lab that it names'}" if told else "it names no lab"


def _target(out: Path, found: collect.Submission, used: set[str]) -> Path:
    """A place of its own for each result, the same in every run."""
    name = f"{slug(found.student)}/{slug(found.lab or Path(found.name).stem)}"
    number = 1
    while (key := name if number == 1 else f"{name}-{number}").lower() in used:
        number += 1
    used.add(key.lower())
    return out / key / FILE


def _pool(jobs: list[_Job], workers: int) -> Iterator[Result]:
    """Run the jobs on this machine; a result that a process did not write is written here."""
    for job, end in pool.run(jobs, workers):
        shutil.rmtree(job.submission.parent, ignore_errors=True)
        done = result.read(job.target)
        if done and (done.sha256, done.bundle) == (job.blank.sha256, job.blank.bundle):
            yield done
        else:
            yield job.fail(f"the grader's process ended: {end}")


def _cluster(jobs: list[_Job], scheduler: str) -> Iterator[Result]:
    """Run the jobs on a Dask cluster; what comes back is written here."""
    for job, done in cluster.run(((job, job.task()) for job in jobs), scheduler):
        shutil.rmtree(job.submission.parent, ignore_errors=True)
        if done.result is None:
            yield job.fail(done.problem)
            continue
        if done.executed:
            write_whole(job.executed, done.executed)
        yield job.keep(done.result)
