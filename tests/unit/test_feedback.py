"""Feedback pages: what they show, what they never show, and that nothing in them runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.grading import feedback, small_lab
from labkit.grading.autograde import autograde
from labkit.grading.limits import Limits
from labkit.grading.marks import Mark
from labkit.grading.result import CheckResult, Result, read
from labkit.grading.roster import Person, Roster
from labkit.grading.sandbox import Plain
from labkit.grading.small_lab import SOLVED, notebook

ODD = "<script>alert('x')</script> \"'&{{ 7 * 7 }} <img src=x onerror=y>"
JUDGE = '''
"""CANARY-DOC"""
from labkit.grading import grades

EXPECTED = "CANARY-EXPECTED"

@grades("lab90-double")
def test_double(student, rng):
    # CANARY-COMMENT
    assert student.call("double", "CANARY-INPUT") == EXPECTED, "CANARY-MESSAGE"

@grades("lab90-words")
def test_words(student, rng):
    got = student.call("sort_words", ["CANARY-INPUT", "b", "a"])
    raise RuntimeError(f"CANARY-RAISED {got}")
'''
ECHOES = [
    SOLVED,
    ("def double(x):\n    raise ValueError(x)", "def sort_words(words):\n    raise KeyError(*words)"),
    ("def double(x):\n    raise type(x, (Exception,), {})(x)", "def sort_words(words):\n    print(words)\n    return words"),
    (
        "import warnings\ndef double(x):\n    warnings.warn(str(x))\n    double.__doc__ = x\n    return x",
        "import sys, os\ndef sort_words(words):\n    print(*words, file=sys.stderr)\n    os.write(1, str(words).encode())\n    sys.exit(words[0])",
    ),
    ("def double(x):\n    assert False, x", "def sort_words(words):\n    raise Exception from NotImplementedError(words)"),
]  # fmt: skip


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "strong", "table", "tr", "th", "td", "pre", "ul", "li"
}  # fmt: skip


def graded(**change: object) -> Result:
    checks = (
        CheckResult(check="lab90-double", points=2, earned=2, public=True),
        CheckResult(check="lab90-words", points=3, earned=0, reason="your code raised ValueError", public=False,
                    message="a list\n  Hint: Think.", detail="ValueError: CANARY"),
    )  # fmt: skip
    fields: dict[str, object] = {
        "student": "ana", "lab": "lab90", "submission": "ana.ipynb", "status": "graded", "points": 5, "earned": 2, "checks": checks,
        "written": {"lab90-written": 4}, "tampering": ("CANARY-TAMPERING",),
    }  # fmt: skip
    return Result.model_validate(fields | change)


def test_a_page_shows_points_reasons_and_hints() -> None:
    text = Page(feedback.render(graded(), small_lab.bundle(written=True))).text
    for shown in (
        "lab90 small", "2 of 5 points", "A person still grades questions worth 4", "your code raised ValueError", "Hint: Think.",
        "2 of 2", "0 of 3", "– of 4", "the check in your notebook passed", "the check in your notebook did not pass",
    ):  # fmt: skip
        assert shown in text
    assert "CANARY" not in text


def test_a_persons_grades_and_comments_are_shown() -> None:
    mark = Mark(Person("ana"), "lab90", "graded", 9, {"lab90-double": 2, "lab90-words": 1, "lab90-written": 3.5},
                {"lab90-written": f"Good. {ODD}", "double": "Short!"}, late=1.25)  # fmt: skip
    page = Page(feedback.render(graded(), None, mark))
    for shown in (
        "5.25 of 9 points",
        "1.25 were taken off",
        "3.5 of 4",
        "1 of 3",
        "Good.",
        "double: Short!",
        ODD,
    ):
        assert shown in page.text
    assert page.tags <= TAGS


@given(st.text(), st.text(alphabet="<>&\"'{}%#/\\ a\ud800"))
def test_whatever_a_text_holds_it_is_text(one: str, two: str) -> None:
    checks = (CheckResult(check=two, points=1, earned=0, reason=one, message=two + one),)
    page = feedback.render(
        graded(student=ODD + one, submission=two, notes=(one + ODD, two), checks=checks), None
    )
    seen = Page(page)
    assert seen.tags <= TAGS
    assert seen.names <= {"lang", "charset", "http-equiv", "content", "name", "scope"}
    assert "49" not in feedback.render(graded(student="{{ 7 * 7 }}", checks=()), None)


def test_a_page_asks_nothing_of_the_network() -> None:
    page = feedback.render(graded(), small_lab.bundle())
    assert not re.search(r"https?:|src=|href=|url\(|@import", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no file /home/grader/class/judge.py here", "no file judge.py here"),
        ("C:\\Users\\grader\\judge.py:3", "judge.py:3"),
        ("at \\\\server\\share\\x", "at x"),
        ("/tmp/a/b/", "b"),
        ("1/2 and/or a/b", "1/2 and/or a/b"),
        ("File '/srv/.venv/lib/python3.11/site-packages/labkit/check.py'", "File 'check.py'"),
    ],
)
def test_folders_of_the_grader_are_left_out(text: str, shown: str) -> None:
    assert feedback.public(text) == shown
    checks = (CheckResult(check="c", points=1, earned=0, reason=text, message=text),)
    page = feedback.render(graded(notes=(text,), checks=checks, submission=text), None)
    assert not re.search(r"/home/|/srv/|Users|server|/tmp/", page)


def test_a_refused_submission_gets_its_reason() -> None:
    page = feedback.render(
        graded(status="refused", reason="it is a notebook of lab01", checks=(), written={}), None
    )
    assert "could not be graded:" in page
    assert "it is a notebook of lab01" in page


@pytest.mark.slow
def test_nothing_of_the_judge_is_in_any_page(tmp_path: Path) -> None:
    small_lab.bundle(judge=JUDGE, written=True).save(tmp_path / "bundles")
    (tmp_path / "in").mkdir()
    for number, exercises in enumerate(ECHOES):
        made = notebook(*exercises, after=("1 / 0", "open('/etc/no/such/file')"), answer="Mine.")
        nbformat.write(made, tmp_path / "in" / f"student{number}.ipynb")
    results, sandbox = tmp_path / "results", Plain(Limits(cell_s=20, total_s=60))
    done = autograde(tmp_path / "in", tmp_path / "bundles", results, sandbox=sandbox, workers=2, quiet=True)
    found = [result for path in done.results if (result := read(path))]
    assert [result.status for result in found] == ["graded"] * len(ECHOES)
    assert any("CANARY" in check.detail for result in found for check in result.checks)
    pages = feedback.write(results, tmp_path / "bundles", tmp_path / "feedback")
    assert len(pages) == len(ECHOES)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "CANARY" not in text
        assert str(tmp_path) not in text
        assert str(small_lab.bundle(judge=JUDGE).manifest.seed) not in text
        assert "lab90-double" in text


def test_a_page_lies_where_its_result_lies_and_broken_results_have_none(tmp_path: Path) -> None:
    small_lab.bundle(written=True).save(tmp_path / "bundles")
    with pytest.raises(LabError, match="no results"):
        feedback.write(tmp_path / "results", tmp_path / "bundles", tmp_path / "out")
    graded(student="Ana Li_12").write(tmp_path / "results" / "Ana_Li_12" / "lab90" / "result.json")
    graded(status="failed").write(tmp_path / "results" / "bo" / "lab90" / "result.json")
    mark = Mark(Person("ana"), "lab90", "graded", 9, {"lab90-written": 3}, {})
    known = Roster((Person("ana", "Ana", "Li"),))
    pages = feedback.write(tmp_path / "results", tmp_path / "bundles", tmp_path / "out", [mark], known)
    assert pages == [tmp_path / "out" / "Ana_Li_12" / "lab90.html"]
    assert "3 of 4" in pages[0].read_text(encoding="utf-8")
