"""What grading a submission gives: one ``result.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from labkit.grading.files import write_whole

FILE = "result.json"
EXECUTED = "executed.ipynb"
"""The notebook as it ran, beside the result."""


class CheckResult(BaseModel, frozen=True, extra="forbid"):
    """One check.

    Attributes:
        check: Its id.
        points: Points that it can earn.
        earned: All of them or none, as the judge says.
        reason: Why not; it may be shown to the learner.
        public: What the notebook's own check said in the learner's kernel; None if it was not run.
        message: What that check printed when it failed.
        detail: For the instructor only: it may hold the judge's inputs.
    """

    check: str
    points: float
    earned: float
    reason: str = ""
    public: bool | None = None
    message: str = ""
    detail: str = ""


class Result(BaseModel, frozen=True, extra="forbid"):
    """One submission.

    Attributes:
        version: Of this form.
        student: Who.
        lab: Which lab; empty if it cannot be told.
        submission: The file's name, as it was handed in.
        sha256: Of the file.
        submitted: When it was handed in, in the words of nbgrader's ``timestamp.txt``; empty if that is not known.
        bundle: Digest of the bundle that it was graded with.
        status: ``graded``; ``refused``: it is no notebook of this lab; ``failed``: the grader could not do its work, and tries
            again on the next run.
        reason: Why it is not graded.
        points: Points of all checks together.
        earned: What they earned.
        checks: One for each check.
        written: Points of the questions that a person grades.
        notes: What was odd about the notebook.
        tampering: Public checks that passed where they must fail. It changes no points.
        left_out: Untouched cells of the lab that were not run as a whole, because what was left out only shows something.
        sandbox: What it ran in.
        seconds: How long it took.
    """

    version: Literal[1] = 1
    student: str = ""
    lab: str = ""
    submission: str = ""
    sha256: str = ""
    submitted: str = ""
    bundle: str = ""
    status: Literal["graded", "refused", "failed"]
    reason: str = ""
    points: float = 0
    earned: float = 0
    checks: tuple[CheckResult, ...] = ()
    written: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    tampering: tuple[str, ...] = ()
    left_out: int = 0
    sandbox: str = ""
    seconds: float = 0

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Checks that passed in the learner's kernel and not before the judge: special cases, or forged."""
        return tuple(c.check for c in self.checks if c.public and c.earned < c.points)

    def write(self, path: Path) -> None:
        """Write it as a whole or not at all."""
        write_whole(path, self.model_dump_json(indent=2) + "\n")


def read(path: Path) -> Result | None:
    """A result that was written before, or None if there is none that can be used."""
    try:
        return Result.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
