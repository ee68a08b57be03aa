"""The gradebook: what is written, kept, replaced and refused; late work; the class's list."""

from __future__ import annotations

import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import nbgrader
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from typer.testing import CliRunner

from labkit import cli
from labkit.errors import LabError
from labkit.grading import gradebook, late, marks, roster
from labkit.grading.bundle import Bundle
from labkit.grading.formgrader import verbatim
from labkit.grading.gradebook import Summary
from labkit.grading.result import CheckResult, Result
from labkit.grading.small_lab import SOLVED, bundle, notebook

LAB = "lab90"
SCRIPT = "<script>alert(1)</script>"
TEMPLATES = str(Path(nbgrader.__file__).parent / "server_extensions" / "formgrader" / "templates")
RESOURCES = {"base_url": "", "index": 0, "total": 1}
WHERE = ("lab90_small", LAB)


class Class:
    """A course folder and its results."""

    def __init__(self, base: Path) -> None:
        self.base, self.course, self.results = base, base / "course", base / "results"
        self.course.mkdir()
        self.lab: Bundle = bundle(written=True)
        self.lab.save(base / "bundles")

    def hand_in(
        self,
        student: str,
        *earned: float,
        answer: str = "Because.",
        when: str = "",
        folder: str = LAB,
        made: NotebookNode | None = None,
        **other: Any,
    ) -> Path:
        """What ``autograde`` would have written."""
        points = self.lab.manifest.points
        found = {
            "student": student, "lab": LAB, "submission": f"{student}.ipynb", "sha256": f"{student}{earned}{folder}",
            "submitted": when, "bundle": self.lab.digest, "status": "graded" if earned else "refused", "points": 5,
            "earned": sum(earned), "written": self.lab.manifest.written,
            "checks": tuple(CheckResult(check=c, points=points[c], earned=e) for c, e in zip(points, earned, strict=False)),
        } | other  # fmt: skip
        there = self.results / roster.plain_id(student) / folder
        Result.model_validate(found).write(there / "result.json")
        if found["status"] == "graded":
            nbformat.write(made or notebook(*SOLVED, answer=answer), there / "executed.ipynb")
        return there

    def write(self) -> Summary:
        return gradebook.write(self.results, self.base / "bundles", self.course)

    @contextmanager
    def book(self) -> Iterator[Gradebook]:
        with Gradebook(gradebook.url_of(self.course), "edge-agents-lab") as found:
            yield found

    def scores(self, student: str) -> dict[str, tuple[float | None, float | None, bool]]:
        with self.book() as book:
            grades = book.find_submission_notebook(*WHERE, student).grades
            return {g.name: (g.auto_score, g.manual_score, g.needs_manual_grade) for g in grades}

    def dump(self) -> list[str]:
        """Everything in the database but the random ids of nbgrader's rows."""
        with sqlite3.connect(self.course / "gradebook.db") as db:
            lines = list(db.iterdump())
        db.close()
        return lines


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty gradebook: nbgrader takes seconds to make one."""
    base = tmp_path_factory.mktemp("empty")
    with Gradebook(gradebook.url_of(base), "edge-agents-lab"):
        return base / "gradebook.db"


@pytest.fixture
def group(tmp_path: Path, empty: Path) -> Class:
    made = Class(tmp_path)
    shutil.copyfile(empty, made.course / "gradebook.db")
    return made


def test_scores_cells_and_sources_are_there(group: Class) -> None:
    group.hand_in("ana", 2, 3)
    group.hand_in("bo", 2, 0, answer="**Question.** Why does sorting need an order?\n\nYour answer:")
    summary = group.write()
    assert (summary.submissions, summary.by_hand, summary.late, summary.problems) == (2, 1, 0, [])
    assert group.scores("ana") == {
        "lab90-double": (2, None, False), "lab90-words": (3, None, False), "lab90-written": (None, None, True)
    }  # fmt: skip
    assert group.scores("bo")["lab90-written"] == (0, None, False)
    with group.book() as book:
        saved = book.find_notebook(*WHERE)
        assert {c.name: (c.max_score, c.cell_type) for c in saved.grade_cells} == {
            "lab90-double": (2, "code"), "lab90-words": (3, "code"), "lab90-written": (4, "markdown")
        }  # fmt: skip
        sources = {c.name: (c.locked, c.source) for c in saved.source_cells}
        assert set(sources) == {"double", "words", "lab90-double", "lab90-words", "lab90-written"}
        assert sources["lab90-double"][0]
        assert "Your answer:" in sources["lab90-written"][1]
        comments = {c.name: c.auto_comment for c in book.find_submission_notebook(*WHERE, "bo").comments}
        assert comments == {"double": None, "words": None, "lab90-written": "No response."}
        assert book.find_submission(LAB, "ana").max_score == 9


def test_writing_twice_changes_nothing(group: Class) -> None:
    for student in ("ana", "bo"):
        group.hand_in(student, 2, 0, when="2026-10-01T10:00:00+00:00")
    group.write()
    before = group.dump()
    group.write()
    assert group.dump() == before


def test_grading_again_replaces_automatic_scores_and_keeps_those_of_a_person(group: Class) -> None:
    group.hand_in("ana", 2, 0)
    group.write()
    with group.book() as book:
        for name, score in (("lab90-written", 3.5), ("lab90-words", 1)):
            grade = book.find_grade(name, *WHERE, "ana")
            grade.manual_score, grade.needs_manual_grade = score, False
        book.find_comment("lab90-written", *WHERE, "ana").manual_comment = "Good."
        book.db.commit()
    group.write()
    assert group.scores("ana") == {
        "lab90-double": (2, None, False), "lab90-words": (0, 1, False), "lab90-written": (None, 3.5, False)
    }  # fmt: skip
    group.hand_in("ana", 0, 3, answer="Something else.")
    group.write()
    assert group.scores("ana") == {
        "lab90-double": (0, None, False), "lab90-words": (3, 1, True), "lab90-written": (None, 3.5, True)
    }  # fmt: skip
    with group.book() as book:
        assert book.find_comment("lab90-written", *WHERE, "ana").manual_comment == "Good."


def test_a_refused_submission_gets_no_points_and_a_report_of_tampering_a_flag(group: Class) -> None:
    group.hand_in("ana", reason="it is not a notebook")
    group.hand_in("bo", 0, 0, tampering=("lab90-double: passed where it must fail",))
    group.write()
    assert {score for score, _, _ in group.scores("ana").values()} == {0}
    with group.book() as book:
        assert book.find_submission_notebook(*WHERE, "bo").flagged
        assert not book.find_submission_notebook(*WHERE, "ana").flagged
    assert (group.course / "autograded" / "bo" / LAB / "lab90_small.ipynb").is_file()
    assert not (group.course / "autograded" / "ana").exists()
    group.hand_in("bo", reason="it is not a notebook any more", sha256="new")
    group.write()
    assert not (group.course / "autograded" / "bo" / LAB).exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": "failed", "reason": "no sandbox"}, "was not graded: no sandbox"),
        ({"bundle": "another"}, "another bundle"),
        ({"lab": ""}, "was not graded"),
        ({"checks": ()}, "not those of the lab"),
        ({"checks": (CheckResult(check="lab90-double", points=2, earned=99), CheckResult(check="lab90-words", points=3, earned=0))}, "not those"),
        ({"checks": (CheckResult(check="lab90-double", points=2, earned=-1), CheckResult(check="lab90-words", points=3, earned=0))}, "not those"),
        ({"checks": (CheckResult(check="lab90-double", points=2, earned=2),) * 2}, "not those"),
    ],
)  # fmt: skip
def test_a_result_that_cannot_be_right_is_left_out_and_the_others_are_written(
    group: Class, change: dict[str, Any], says: str
) -> None:
    group.hand_in("ana", 2, 3, **change)
    group.hand_in("bo", 2, 3)
    broken = group.hand_in("cy", 2, 3) / "result.json"
    broken.write_text('{"status": "graded", "earned": 99, "surprise": 1}')
    summary = group.write()
    assert summary.submissions == 1
    assert says in summary.problems[0]
    assert "no result" in summary.problems[1]
    with group.book() as book:
        assert [student.id for student in book.students] == ["bo"]


def test_the_pictures_of_the_lab_are_shown_with_it(group: Class) -> None:
    pictures = group.course / "source" / LAB / "images"
    pictures.mkdir(parents=True)
    (pictures / "loop.svg").write_text("<svg/>")
    group.hand_in("ana", 2, 3)
    for _ in range(2):
        group.write()
    assert (group.course / "autograded" / "ana" / LAB / "images" / "loop.svg").read_text() == "<svg/>"


def test_a_result_without_its_notebook_is_left_out(group: Class) -> None:
    (group.hand_in("ana", 2, 3) / "executed.ipynb").unlink()
    group.hand_in("bo", 2, 3)
    summary = group.write()
    assert summary.submissions == 1
    assert "executed.ipynb is not beside it" in summary.problems[0]


def test_all_or_nothing(group: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    group.hand_in("ana", 2, 0)
    group.write()
    before = group.dump()
    group.hand_in("ana", 2, 3)
    group.hand_in("bo", 2, 3)
    real, seen = gradebook._write_submission, []

    def breaks(*arguments: Any) -> None:
        seen.append(1)
        if len(seen) == 2:
            raise RuntimeError("the power went out")
        real(*arguments)

    monkeypatch.setattr(gradebook, "_write_submission", breaks)
    with pytest.raises(RuntimeError, match="power"):
        group.write()
    assert group.dump() == before
    monkeypatch.undo()
    group.write()
    assert group.scores("ana")["lab90-words"] == (3, None, False)


def test_a_lab_whose_checks_changed_is_refused(group: Class) -> None:
    group.hand_in("ana", 2, 3)
    group.write()
    before = group.dump()
    group.lab = bundle()
    group.lab.save(group.base / "bundles")
    group.hand_in("ana", 2, 3)
    with pytest.raises(LabError, match="lab90-written"):
        group.write()
    assert group.dump() == before


def test_a_database_without_its_driver_names_what_to_install(
    group: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # SQLAlchemy takes one of the two, by its version
    monkeypatch.setitem(sys.modules, "psycopg", None)
    group.hand_in("ana", 2, 3)
    with pytest.raises(LabError, match="pip install psycopg"):
        gradebook.write(group.results, group.base / "bundles", group.course, "postgresql://me@localhost/x")


def test_a_database_that_cannot_be_used_is_an_error_without_the_password(group: Class) -> None:
    group.hand_in("ana", 2, 3)
    (group.course / "gradebook.db").write_text("This is no database. " * 100)
    with pytest.raises(LabError, match="cannot be used"):
        group.write()
    for url in ("sqlite:////nowhere/at/all.db", "nonsense", "postgresql://me:hunter2@localhost/x"):
        with pytest.raises(LabError) as caught:
            gradebook.write(group.results, group.base / "bundles", group.course, url)
        assert "hunter2" not in str(caught.value)


@pytest.mark.slow
def test_another_database_is_made_where_its_url_is_given(group: Class) -> None:
    group.hand_in("ana", 2, 3)
    before = group.dump()
    url = f"sqlite:///{group.base / 'elsewhere.db'}"
    assert gradebook.write(group.results, group.base / "bundles", group.course, url).submissions == 1
    assert group.dump() == before
    with Gradebook(url, "edge-agents-lab") as book:
        assert book.find_submission(LAB, "ana").score == 5


DEADLINES = """
[due]
lab90 = 2026-10-01T18:00:00+02:00

[late]
points = 1.5
per = "day"
most = 4
grace_minutes = 15
"""


@pytest.mark.parametrize(
    ("when", "lost"),
    [
        ("2026-10-01T16:00:00+00:00", None),
        ("2026-10-01 18:15:00 Europe/Vienna", None),
        ("2026-10-01 18:15:01.5 Europe/Vienna", 1.5),
        ("2026-10-02 18:00:00 +0200", 1.5),
        ("2026-10-02T16:00:01Z", 3),
        ("2026-10-20T16:00:00Z", 4),
    ],
)
def test_late_work_loses_points(group: Class, when: str, lost: float | None) -> None:
    (group.course / "deadlines.toml").write_text(DEADLINES)
    group.hand_in("ana", 2, 3, when=when)
    summary = group.write()
    with group.book() as book:
        assert book.find_submission_notebook(*WHERE, "ana").late_submission_penalty == lost
    assert summary.late == (lost is not None)


def test_an_extension_of_formgrader_counts_and_a_new_time_replaces_the_old(group: Class) -> None:
    (group.course / "deadlines.toml").write_text(DEADLINES)
    group.hand_in("ana", 2, 3, when="2026-10-03T16:00:00Z")
    assert group.write().late == 1
    with group.book() as book:
        book.grant_extension(LAB, "ana", days=1)
    group.write()
    with group.book() as book:
        assert book.find_submission_notebook(*WHERE, "ana").late_submission_penalty == 1.5
    (group.course / "times.csv").write_text("student,lab,submitted\nana,lab90,2026-10-01T08:00:00Z\n")
    group.write()
    with group.book() as book:
        assert book.find_submission_notebook(*WHERE, "ana").late_submission_penalty is None


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("", "nothing tells when ana"),
        ("2026-10-01T16:00:00", "no time zone"),
        ("2026-10-01 16:00:00 Middle/Earth", "no time with a time zone"),
        ("yesterday", "no time with a time zone"),
        ("2999-01-01T00:00:00Z", "cannot be right"),
        ("1970-01-01T00:00:00Z", "cannot be right"),
        ("../../etc/passwd x y", "no time with a time zone"),
    ],
)
def test_a_clock_that_cannot_be_trusted_is_an_error(group: Class, when: str, says: str) -> None:
    (group.course / "deadlines.toml").write_text(DEADLINES)
    group.hand_in("ana", 2, 3, when=when)
    before = group.dump()
    with pytest.raises(LabError, match=says):
        group.write()
    assert group.dump() == before


@pytest.mark.parametrize(
    "text",
    ["[due]\nlab90 = 2026-10-01T18:00:00", "[late]\npoints = -1\nmost = 3", "[late]\npoints = 1", "[odd]", "[due", "[due]\nlab90 = 3.5e99"],
)  # fmt: skip
def test_rules_that_cannot_be_read_are_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "deadlines.toml").write_text(text)
    with pytest.raises(LabError, match="no usable rules"):
        late.load(tmp_path / "deadlines.toml")


def test_the_rules_of_the_guide_do_what_it_says(root: Path, tmp_path: Path) -> None:
    guide = (root / "docs" / "instructor-guide.md").read_text(encoding="utf-8")
    shown = re.search(r"```text\n(\[due\].*?)```", guide, re.S)
    assert shown
    (tmp_path / "deadlines.toml").write_text(shown[1])
    penalty = late.load(tmp_path / "deadlines.toml").late
    assert penalty
    assert [penalty.lost(60 * minutes) for minutes in (15, 16, 25 * 60, 30 * 24 * 60)] == [0, 1, 2, 5]


@given(
    st.floats(0.1, 10), st.floats(0.1, 50), st.floats(0, 600), st.floats(0, 1e7), st.floats(0, 1e6),
    st.sampled_from(["hour", "day"]),
)  # fmt: skip
def test_later_never_costs_less_nor_more_than_the_cap(
    points: float, most: float, grace: float, seconds: float, more: float, per: Any
) -> None:
    penalty = late.Penalty(points=points, per=per, most=most, grace_minutes=grace)
    assert 0 <= penalty.lost(seconds) <= penalty.lost(seconds + more) <= most
    assert penalty.lost(60 * grace) == 0


@given(st.text(max_size=40))
def test_a_text_is_a_time_or_an_error_of_ours(text: str) -> None:
    with suppress(LabError):
        assert late.moment(text).tzinfo is UTC


def test_a_clock_may_be_a_little_ahead() -> None:
    now = datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert late.moment("2026-10-01T12:04:00Z", now).minute == 4
    with pytest.raises(LabError, match="cannot be right"):
        late.moment("2026-10-01T12:06:00Z", now)


def test_of_two_submissions_the_latest_counts_and_without_times_neither(group: Class) -> None:
    group.hand_in("ana", 2, 3, folder="first")
    group.hand_in("ana", 2, 0, folder="second")
    group.hand_in("ana", folder="third", reason="it is not a notebook")
    with pytest.raises(LabError, match="2 submissions of lab90"):
        group.write()
    group.hand_in("ana", 2, 3, folder="first", when="2026-10-01T08:00:00Z")
    group.hand_in("ana", 2, 0, folder="second", when="2026-10-01T09:00:00+02:00")
    group.write()
    assert group.scores("ana")["lab90-words"] == (3, None, False)


CLASS = "id,first_name,last_name,email,lms_user_id\nana,Ana,Đokić,ana@example.org,812\nbo,Bo,Li,,813\ncy,Cy,Poe,,814\n"


def test_the_list_of_students_names_submissions_and_says_who_is_missing(group: Class) -> None:
    (group.course / "students.csv").write_text("\ufeff" + CLASS, encoding="utf-8")
    group.hand_in("dokicana_812", 2, 3)
    group.hand_in("Bo Li_77", 2, 0)
    group.hand_in("stranger", 0, 0)
    summary = group.write()
    assert summary.missing == [("cy", LAB)]
    assert summary.problems == ["stranger is not in the list of students; written all the same"]
    with group.book() as book:
        assert {s.id: s.last_name for s in book.students} == {
            "ana": "Đokić",
            "bo": "Li",
            "cy": "Poe",
            "stranger": None,
        }
    assert group.scores("ana")["lab90-words"] == (3, None, False)


@pytest.mark.parametrize(
    "text", ["", "name\nana\n", "id\nana\nANA\n", "id\n../etc\n", "id\n\na\n.hidden\n", "id\na/b\n", "id\n" + "x" * 200 + "\n"]
)  # fmt: skip
def test_a_list_of_students_that_cannot_be_used_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "students.csv").write_text(text)
    with pytest.raises(LabError):
        roster.load(tmp_path / "students.csv")


@given(st.text(max_size=300))
def test_every_name_gives_a_folder_that_leads_nowhere_else(name: str) -> None:
    made = roster.plain_id(name)
    assert made
    assert Path(made).name == made
    assert len(made) <= 100


def test_names_of_hostile_files_stay_in_the_course_folder(group: Class) -> None:
    for student in ("../../outside", "..", "a/b", "x'; DROP TABLE student; --"):
        group.hand_in(student, 2, 3, folder=roster.plain_id(student))
    assert group.write().submissions == 4
    shown = {path.parent.parent for path in group.course.rglob("lab90_small.ipynb")}
    assert {path.parent for path in shown} == {group.course / "autograded"}
    with group.book() as book:
        assert len(book.students) == 4


def _forged(made: NotebookNode) -> None:
    bonus = nbformat.v4.new_code_cell("1", id="bonus")
    bonus.metadata["nbgrader"] = {
        "grade_id": "bonus", "grade": True, "points": 99, "solution": True, "locked": False, "task": False, "schema_version": 3
    }  # fmt: skip
    made.cells.append(bonus)


def _copied(made: NotebookNode) -> None:
    made.cells.append(NotebookNode({**made.cells[-1], "id": "copy"}))


def _scripted(made: NotebookNode) -> None:
    made.cells[1].outputs = [
        nbformat.v4.new_output("display_data", {"text/html": SCRIPT, "text/plain": SCRIPT}),
        nbformat.v4.new_output(
            "display_data", {"application/javascript": "alert(1)", "image/svg+xml": SCRIPT}
        ),
        nbformat.v4.new_output(
            "display_data", {"image/png": f'"/>{SCRIPT}', "image/jpeg": "/9j/4A=="}, metadata={"a": SCRIPT}
        ),
        nbformat.v4.new_output("stream", name=f'x"/>{SCRIPT}', text=SCRIPT),
        nbformat.v4.new_output("error", ename=SCRIPT, evalue=SCRIPT, traceback=[SCRIPT]),
    ]
    made.cells.append(nbformat.v4.new_raw_cell(SCRIPT))
    made.cells.append(
        nbformat.v4.new_markdown_cell(f"Look: {SCRIPT} [here](javascript:alert) <img src=x onerror=alert>")
    )
    made.cells[-3].source += SCRIPT


@pytest.mark.parametrize("change", [_forged, _copied, _scripted])
def test_what_formgrader_shows_is_the_labs_and_runs_nothing(
    group: Class, change: Callable[[NotebookNode], None]
) -> None:
    made = notebook(*SOLVED, answer="Mine.")
    change(made)
    group.hand_in("ana", 2, 3, made=made)
    group.write()
    shown = nbformat.read(group.course / "autograded" / "ana" / LAB / "lab90_small.ipynb", as_version=4)
    names = [cell.metadata.nbgrader.grade_id for cell in shown.cells if "nbgrader" in cell.metadata]
    assert names == ["double", "lab90-double", "words", "lab90-words", "lab90-written"]
    page = Page(
        HTMLExporter(template_name="formgrade", extra_template_basedirs=[TEMPLATES]).from_notebook_node(
            shown, RESOURCES
        )[0]
    )
    assert "alert" not in page.scripts
    assert not page.handlers
    if change is _scripted:
        assert [output.output_type for output in shown.cells[1].outputs] == [
            "display_data",
            "display_data",
            "stream",
            "error",
        ]
        assert page.text.count(SCRIPT) == 6


@given(st.text(), st.text("`~<>/\n\r\t $\\script[]()!\u2028"))
def test_a_text_is_shown_as_it_stands_whatever_it_holds(one: str, two: str) -> None:
    page = Page(markdown2html(verbatim(one + two + SCRIPT + two)))
    assert page.tags <= {"div", "pre", "span"}
    assert SCRIPT in page.text


class Page(HTMLParser):
    """The tags and texts of a page, and what it would run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.handlers, self.scripts, self.text = set[str](), list[str](), "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [f"{n}={v}" for n, v in attrs if "alert" in f"{n}{v}"]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script":
            self.scripts += data
        else:
            self.text += data


def test_marks_hold_a_persons_grades_and_who_is_missing(group: Class) -> None:
    (group.course / "students.csv").write_text(CLASS, encoding="utf-8")
    (group.course / "deadlines.toml").write_text(DEADLINES)
    group.hand_in("ana", 2, 3, when="2026-10-02T08:00:00Z")
    group.hand_in("bo", reason="it is not a notebook", when="2026-10-01T08:00:00Z")
    group.write()
    with group.book() as book:
        grade = book.find_grade("lab90-written", *WHERE, "ana")
        grade.manual_score, grade.needs_manual_grade, grade.extra_credit = 2.5, False, 0.5
        book.find_comment("double", *WHERE, "ana").manual_comment = "Short!"
        book.db.commit()
    before = group.dump()
    ana, bo, cy = marks.read(group.course)
    assert (ana.status, ana.score, ana.points, ana.late, ana.student.last_name) == (
        "graded",
        6.5,
        9,
        1.5,
        "Đokić",
    )
    assert ana.comments == {"double": "Short!"}
    assert (bo.status, bo.score) == ("graded", 0)
    assert (cy.status, cy.scores, cy.points) == ("missing", {}, 9)
    assert group.dump() == before
    with pytest.raises(LabError, match="no gradebook"):
        marks.read(group.base / "nowhere")


def test_the_commands_from_results_to_a_table(group: Class) -> None:
    (group.course / "students.csv").write_text(CLASS, encoding="utf-8")
    group.hand_in("dokicana_812", 2, 0)
    group.hand_in("bo", 2, 3, status="failed", reason="no sandbox")
    course, bundles = str(group.course), str(group.base / "bundles")

    def run(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(cli.app, list(words))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    code, said, _ = run("gradebook", str(group.results), "--bundles", bundles, "--course", course)
    assert code == 1
    assert "was not graded: no sandbox" in said
    assert "missing: cy lab90" in said
    assert "1 submissions are in the gradebook; 1 have questions to grade by hand" in said
    with group.book() as book:
        grade = book.find_grade("lab90-written", *WHERE, "ana")
        grade.manual_score, grade.needs_manual_grade = 4, False
        book.db.commit()
    code, said, told = run("export", course, "--format", "canvas")
    assert (code, told) == (0, "bo lab90: missing\ncy lab90: missing\n")
    assert said.splitlines()[2] == '"Đokić, Ana",812,,ana,,6'
    out = group.base / "feedback"
    assert (
        run("feedback", str(group.results), "--bundles", bundles, "--course", course, "--out", str(out))[0]
        == 0
    )
    page = next(out.glob("*/*.html")).read_text(encoding="utf-8")
    assert "6 of 9 points" in page
    code, said, _ = run("overview", str(group.results), "--figures", str(group.base / "figures"))
    assert code == 0
    assert "lab90-words" in said
    assert sorted(p.name for p in (group.base / "figures").glob("*.png")) == [
        "distribution.png",
        "hardest.png",
        "map.png",
    ]
