"""Reading the gradebook: what counts for each student and lab, a person's grades and late penalties included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from labkit.errors import LabError
from labkit.grading.gradebook import opened, url_of
from labkit.grading.roster import Person


@dataclass(frozen=True)
class Mark:
    """One student's work on one lab.

    Attributes:
        student: Who.
        lab: Which lab.
        status: ``graded``; ``by hand``: a person still has to grade a part; ``missing``: nothing was handed in.
        points: Of the whole lab, written questions included.
        scores: Points of each check and question; None for what a person still has to grade.
        comments: What a person or nbgrader wrote about a cell.
        late: Points lost because it came late.
    """

    student: Person
    lab: str
    status: Literal["graded", "by hand", "missing"]
    points: float
    scores: Mapping[str, float | None]
    comments: Mapping[str, str]
    late: float = 0.0

    @property
    def score(self) -> float:
        """What counts: never below zero."""
        return max(0.0, sum(score or 0.0 for score in self.scores.values()) - self.late)


def read(course: Path, db: str = "") -> list[Mark]:
    """Every student with every lab of the gradebook.

    Args:
        course: nbgrader's course folder.
        db: URL of SQLAlchemy; ``gradebook.db`` in the course folder by default.

    Raises:
        LabError: There is no gradebook, or it cannot be read.
    """
    if not db and not (course / "gradebook.db").is_file():
        raise LabError(f"There is no gradebook in {course}.", "Make it with `labkit gradebook RESULTS`.")
    with opened(db or url_of(course)) as book:
        return [
            _mark(student, assignment)
            for assignment in sorted(book.assignments, key=lambda a: a.name)
            for student in sorted(book.students, key=lambda s: s.id)
        ]


def _mark(student: Any, assignment: Any) -> Mark:
    names = ("id", "first_name", "last_name", "email", "lms_user_id")
    person = Person(**{name: getattr(student, name) or "" for name in names})
    points = sum(cell.max_score for notebook in assignment.notebooks for cell in notebook.grade_cells)
    found = [s for s in assignment.submissions if s.student_id == student.id]
    if not found:
        return Mark(person, assignment.name, "missing", points, {}, {})
    notebooks = found[0].notebooks
    scores = {grade.name: _score(grade) for notebook in notebooks for grade in notebook.grades}
    texts = {c.name: c.manual_comment or c.auto_comment for n in notebooks for c in n.comments}
    open_ = any(grade.needs_manual_grade for notebook in notebooks for grade in notebook.grades)
    return Mark(
        person,
        assignment.name,
        "by hand" if open_ else "graded",
        points,
        scores,
        {name: text for name, text in texts.items() if text},
        sum(notebook.late_submission_penalty or 0.0 for notebook in notebooks),
    )


def _score(grade: Any) -> float | None:
    """A person's score before the automatic one, and extra credit; None where there is none."""
    score = grade.auto_score if grade.manual_score is None else grade.manual_score
    return None if score is None else score + (grade.extra_credit or 0.0)
