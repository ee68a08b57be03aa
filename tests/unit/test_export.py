"""Exports: the forms that Canvas and Moodle read, no formulas, nobody left out."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.grading.export import export
from labkit.grading.marks import Mark
from labkit.grading.roster import Person

ANA = Person("ana", "Ana", "Đokić", "ana@example.org", "812")
BO = Person("bo")
MARKS = [
    Mark(ANA, "lab01", "graded", 9, {"a": 2, "b": 3.25}, {}, late=1),
    Mark(BO, "lab01", "missing", 9, {}, {}),
    Mark(ANA, "lab02", "by hand", 4, {"c": None, "d": 1}, {}),
    Mark(BO, "lab02", "graded", 4, {"c": 1, "d": 0}, {}, late=4),
]


def rows(form: str, marks: list[Mark] = MARKS) -> list[list[str]]:
    return list(csv.reader(io.StringIO(export(marks, form), newline="")))


def test_the_plain_form_has_a_line_for_each_student_and_lab() -> None:
    found = list(csv.DictReader(io.StringIO(export(MARKS, "csv"))))
    assert [(r["student"], r["lab"], r["status"], r["score"], r["points"], r["late"]) for r in found] == [
        ("ana", "lab01", "graded", "4.25", "9", "1"), ("bo", "lab01", "missing", "", "9", "0"),
        ("ana", "lab02", "by hand", "1", "4", "0"), ("bo", "lab02", "graded", "0", "4", "4"),
    ]  # fmt: skip


def test_canvas_reads_points_possible_and_an_empty_cell_for_what_is_missing() -> None:
    assert rows("canvas") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "lab01", "lab02"],
        ["    Points Possible", "", "", "", "", "9", "4"],
        ["Đokić, Ana", "812", "", "ana", "", "4.25", "1"],
        ["bo", "", "", "bo", "", "", "0"],
    ]


def test_moodle_reads_an_address_and_a_number() -> None:
    assert rows("moodle") == [
        ["Username", "ID number", "Email address", "First name", "Last name", "lab01", "lab02"],
        ["ana", "812", "ana@example.org", "Ana", "Đokić", "4.25", "1"],
        ["bo", "", "", "", "", "", "0"],
    ]


@pytest.mark.parametrize("form", ["csv", "canvas", "moodle"])
@given(
    start=st.sampled_from("=+-@\t\r\n＝＋－＠"), rest=st.text(max_size=20), spaces=st.text(" ", max_size=3)
)
def test_no_cell_is_a_formula(form: str, start: str, rest: str, spaces: str) -> None:
    evil = spaces + start + rest
    found = rows(form, [replace(MARKS[0], student=Person(evil, evil, evil, evil, evil), lab=evil)])
    for row in found:
        assert not any(cell.lstrip(" ").startswith(start) for cell in row)
    assert any(evil in cell for cell in found[-1])


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=5), st.floats(0, 5000))
def test_numbers_are_plain_and_never_below_zero(scores: list[float], late: float) -> None:
    mark = replace(MARKS[0], scores=dict(enumerate(scores)), late=late)  # type: ignore[arg-type]
    value = float(rows("moodle", [mark])[1][-1])
    assert value == pytest.approx(max(0, sum(scores) - late), rel=1e-4, abs=1e-3)


def test_what_cannot_be_written_is_an_error() -> None:
    with pytest.raises(LabError, match="no format 'excel'"):
        export(MARKS, "excel")
    with pytest.raises(LabError, match="empty"):
        export([], "csv")
