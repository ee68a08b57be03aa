"""The gradebook as a table for others: plain CSV, and what Canvas and Moodle import."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from labkit.errors import LabError
from labkit.grading.marks import Mark

Format = Literal["csv", "canvas", "moodle"]
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a text begins that a spreadsheet takes for a formula."""


def export(marks: Sequence[Mark], form: str) -> str:
    """The marks as CSV.

    Args:
        marks: Of every student and lab.
        form: ``csv``: one line for each student and lab, with what is missing or still to be graded. ``canvas``: one line for each
            student under a line "Points Possible", as Canvas imports it; ``lms_user_id`` is Canvas's ID. ``moodle``: one line for each
            student; Moodle finds them by the e-mail address or the ID number, as you choose when you import it.

    Raises:
        LabError: There is no such format, or nothing to write.
    """
    if form not in get_args(Format):
        raise LabError(f"There is no format {form!r}.", f"Choose one of: {', '.join(get_args(Format))}.")
    if not marks:
        raise LabError("The gradebook is empty.", "Fill it with `labkit gradebook RESULTS`.")
    rows = {"csv": _plain, "canvas": _canvas, "moodle": _moodle}[form](marks)
    text = io.StringIO()
    csv.writer(text).writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _plain(marks: Sequence[Mark]) -> Iterable[Sequence[str | float | None]]:
    yield [
        "student",
        "last_name",
        "first_name",
        "email",
        "lms_user_id",
        "lab",
        "status",
        "score",
        "points",
        "late",
    ]
    for m in marks:
        p = m.student
        score = None if m.status == "missing" else m.score
        yield [
            p.id,
            p.last_name,
            p.first_name,
            p.email,
            p.lms_user_id,
            m.lab,
            m.status,
            score,
            m.points,
            m.late,
        ]


def _canvas(marks: Sequence[Mark]) -> Iterable[Sequence[str | float | None]]:
    """https://community.canvaslms.com: "How do I import grades in the Gradebook?"; an empty cell changes nothing there."""
    points = {mark.lab: mark.points for mark in marks}
    yield ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *points]
    yield ["    Points Possible", None, None, None, None, *points.values()]
    for theirs in _by_student(marks):
        p = theirs[0].student
        name = f"{p.last_name}, {p.first_name}" if p.last_name and p.first_name else p.full_name or p.id
        yield [name, p.lms_user_id, None, p.id, None, *_scores(theirs, points)]


def _moodle(marks: Sequence[Mark]) -> Iterable[Sequence[str | float | None]]:
    """https://docs.moodle.org: "Grade import"; an empty cell changes nothing there."""
    labs = {mark.lab: mark.points for mark in marks}
    yield ["Username", "ID number", "Email address", "First name", "Last name", *labs]
    for theirs in _by_student(marks):
        p = theirs[0].student
        yield [p.id, p.lms_user_id, p.email, p.first_name, p.last_name, *_scores(theirs, labs)]


def _by_student(marks: Sequence[Mark]) -> list[list[Mark]]:
    found: dict[str, list[Mark]] = {}
    for mark in marks:
        found.setdefault(mark.student.id, []).append(mark)
    return list(found.values())


def _scores(theirs: Iterable[Mark], labs: Iterable[str]) -> list[float | None]:
    """One score for each lab; None where nothing was handed in."""
    scores = {mark.lab: mark.score for mark in theirs if mark.status != "missing"}
    return [scores.get(lab) for lab in labs]


def _cell(value: str | float | None) -> str:
    """A cell that no spreadsheet takes for a formula: such a text gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.lstrip(" ").startswith(FORMULA) else value
    return f"{round(value, 4):g}"
