"""The class overview: tables, figures with their texts, and what is odd in the files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from labkit.errors import LabError
from labkit.grading import overview
from labkit.grading.result import CheckResult, Result

STUDENTS = {
    "ana": [("lab01-a", 1, True), ("lab01-b", 2, True), ("lab02-a", 1, True)],
    "bo": [("lab01-a", 1, True), ("lab01-b", 0, True)],
    "cy": [("lab01-a", 0, False), ("lab01-b", 0, None)],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for student, rows in STUDENTS.items():
        for lab in sorted({name[:5] for name, _, _ in rows}):
            checks = tuple(
                CheckResult(check=name, points=2 if name.endswith("b") else 1, earned=earned, public=public)
                for name, earned, public in rows
                if name.startswith(lab)
            )
            done = Result(status="graded", student=student, lab=lab, checks=checks)
            done.write(tmp_path / student / lab / "result.json")
    Result(status="refused", student="dee", lab="lab01", reason="x").write(
        tmp_path / "dee" / "lab01" / "result.json"
    )
    (tmp_path / "eve" / "lab01").mkdir(parents=True)
    (tmp_path / "eve" / "lab01" / "result.json").write_text("{")
    return tmp_path


def test_totals_are_shares_and_missing_where_nothing_was_handed_in(results: Path) -> None:
    found = overview.totals(overview.checks(results))
    assert found["lab01"].round(3).to_dict() == {"ana": 1, "bo": 0.333, "cy": 0}
    assert found["lab02"].dropna().to_dict() == {"ana": 1}


def test_the_hardest_checks_come_first(results: Path) -> None:
    found = overview.hardest(overview.checks(results))
    assert found["check"].tolist() == ["lab01-b", "lab01-a", "lab02-a"]
    assert found["solved"].round(3).tolist() == [0.333, 0.667, 1]
    assert found["only_public"].round(3).tolist() == [0.333, 0, 0]
    assert found["n"].tolist() == [3, 3, 1]


def test_who_is_stuck_where(results: Path) -> None:
    found = overview.stuck(overview.checks(results))
    assert found.to_dict("records") == [
        {"student": "cy", "lab": "lab01", "first": "lab01-a", "open": 2},
        {"student": "bo", "lab": "lab01", "first": "lab01-b", "open": 1},
    ]


def test_figures_say_in_words_what_they_show(results: Path, tmp_path: Path) -> None:
    table = overview.checks(results)
    for make, told in (
        (overview.distribution, "lab01: 1 with 0% to 20%, 1 with 20% to 40%"),
        (overview.hardest_figure, "lab01-b 33% (only in the notebook 33%), lab01-a 67%"),
        (overview.map_figure, "cy at lab01-a (2 open), bo at lab01-b (1 open)"),
    ):
        figure, alt = make(table)
        assert told in alt
        figure.savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 3000


def test_a_class_that_solved_everything_is_shown_too(tmp_path: Path) -> None:
    checks = (CheckResult(check="lab01-a", points=1, earned=1, public=True),)
    Result(status="graded", student="ana", lab="lab01", checks=checks).write(
        tmp_path / "ana" / "lab01" / "result.json"
    )
    table = overview.checks(tmp_path)
    assert overview.stuck(table).empty
    assert "nobody" in overview.map_figure(table)[1]


def test_progress_of_the_learners_machines_is_read_with_its_tries(tmp_path: Path) -> None:
    for student, passed, tries in (("ana", True, 1), ("bo", False, 9), ("cy", False, 2)):
        entry = {"check": "lab01-a", "passed": passed, "tries": tries, "when": 1.0}
        (tmp_path / f"{student}.json").write_text(json.dumps([entry]))
    found = overview.stuck(overview.progress(tmp_path))
    assert found[["student", "first", "tries"]].to_dict("split")["data"] == [
        ["bo", "lab01-a", 9],
        ["cy", "lab01-a", 2],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"a": 1}',
        '[{"check": 1}]',
        "[1]",
        "[" * 100_000,
        '[{"check": "a", "passed": 1, "tries": "x", "when": 0}]',
    ],
)
def test_progress_that_is_something_else_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "ana.json").write_text(text)
    with pytest.raises(LabError):
        overview.progress(tmp_path)


def test_no_results_are_an_error(tmp_path: Path) -> None:
    for read in (overview.checks, overview.progress):
        with pytest.raises(LabError, match=r"There (is|are) no"):
            read(tmp_path)


def test_a_hundred_students_fit(tmp_path: Path) -> None:
    rows = [(f"s{n}", "lab01", f"lab01-{c}", 1.0, float(n > 50), None) for n in range(100) for c in "abc"]
    figure, _ = overview.map_figure(pd.DataFrame(rows, columns=overview.COLUMNS))
    assert len(figure.axes[0].get_yticks()) == 60
