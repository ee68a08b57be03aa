"""The one reducer: it reads the results of a class and writes nbgrader's gradebook, in one transaction.

The gradebook then belongs to nbgrader: formgrader shows it, and takes the grades of the written questions. Writing again
replaces automatic scores and keeps what a person gave.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from labkit import labs
from labkit.errors import LabError
from labkit.grading import bundle as bundles
from labkit.grading import entries, late, roster
from labkit.grading.bundle import Bundle
from labkit.grading.entries import Entry
from labkit.grading.files import write_whole
from labkit.grading.formgrader import COURSE, viewable
from labkit.grading.late import Rules
from labkit.grading.roster import Roster

STUDENTS, DEADLINES, TIMES = "students.csv", "deadlines.toml", "times.csv"


@dataclass
class Summary:
    """What was written.

    Attributes:
        submissions: In the gradebook now, of those that were read.
        by_hand: Of them with questions that a person has to grade.
        late: Of them that lose points for being late.
        missing: Students of the class and labs without a submission.
        problems: Results that were left out, and why.
    """

    submissions: int = 0
    by_hand: int = 0
    late: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    problems: list[str] = field(default_factory=list[str])


def url_of(course: Path) -> str:
    """Where nbgrader looks for the gradebook of a course folder."""
    return f"sqlite:///{course.resolve() / 'gradebook.db'}"


def class_of(course: Path) -> Roster:
    """The class that ``students.csv`` of a course folder names; empty without one.

    Raises:
        LabError: It cannot be read.
    """
    path = course / STUDENTS
    return roster.load(path) if path.is_file() else Roster()


def write(results: Path, bundle_dir: Path, course: Path, db: str = "") -> Summary:
    """Write the results of a class into its gradebook.

    Args:
        results: What ``autograde`` wrote.
        bundle_dir: The bundles that it used.
        course: nbgrader's course folder. What it has of these is read: ``students.csv`` (the class), ``deadlines.toml`` (when
            labs are due, and what late work loses), ``times.csv`` (when work was handed in, where results do not say so). It gets
            ``autograded/`` for formgrader.
        db: URL of SQLAlchemy; ``gradebook.db`` in the course folder by default.

    Raises:
        LabError: Nothing is written then: a time is missing or wrong, a student has two submissions of one lab, a lab is not
            the one that the gradebook knows, or the database cannot be used.
    """
    summary, all_bundles = Summary(), bundles.load_all(bundle_dir)
    here = {name: path for name in (DEADLINES, TIMES) if (path := course / name).is_file()}
    known = class_of(course)
    rules = late.load(here[DEADLINES]) if DEADLINES in here else Rules()
    times = entries.times(here[TIMES], known) if TIMES in here else {}
    chosen = entries.chosen(entries.read(results, all_bundles, known, times, summary.problems), rules)
    course.mkdir(parents=True, exist_ok=True)
    with opened(db or url_of(course)) as book:
        for person in known.people:
            book.update_or_create_student(person.id, **_details(person))
        for lab in sorted({entry.result.lab for entry in chosen}):
            _write_lab(book, all_bundles[lab], rules)
        for entry in chosen:
            _write_submission(book, entry, all_bundles[entry.result.lab], rules, course, summary)
    for entry in chosen:
        _write_notebook(entry, all_bundles[entry.result.lab], course)
    there = {(entry.person.id, entry.result.lab) for entry in chosen}
    handed_in = sorted({lab for _, lab in there})
    summary.missing = [(p.id, lab) for p in known.people for lab in handed_in if (p.id, lab) not in there]
    return summary


@contextmanager
def opened(url: str) -> Generator[Any]:
    """nbgrader's gradebook, whose every commit waits for the end: all is written or nothing.

    The session joins a transaction from outside, as SQLAlchemy's documentation shows it.

    Raises:
        LabError: The database cannot be used.
    """
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import SQLAlchemyError

    try:
        book: Any = Gradebook(url, COURSE)
        try:
            with book.engine.begin() as connection:
                book.db.remove()
                book.db.configure(bind=connection, join_transaction_mode="rollback_only", autoflush=False)
                yield book
                book.db.flush()
        finally:
            book.close()
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        told = str(getattr(error, "orig", None) or error).partition("\n")[0]
        mend = "Close other programs that write to it and try again; an old one is brought up to date by `nbgrader db upgrade`."
        if isinstance(error, ModuleNotFoundError):
            mend = f"Install the database's driver: pip install {error.name}."
        raise LabError(
            f"The gradebook at {_without_password(url)} cannot be used: {told[:200]}.", mend
        ) from None


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "that address"


def _details(person: roster.Person) -> dict[str, str]:
    """What is known of a student; nothing is replaced by an empty text."""
    names = ("first_name", "last_name", "email", "lms_user_id")
    return {name: value for name in names if (value := getattr(person, name))}


def _write_lab(book: Any, bundle: Bundle, rules: Rules) -> None:
    """Assignment, notebook and cells: the same that nbgrader's ``generate_assignment`` writes."""
    due = {"duedate": rules.due[bundle.lab]} if bundle.lab in rules.due else {}
    book.update_or_create_assignment(bundle.lab, **due)
    notebook = bundle.notebook()
    where = (bundle.manifest.name, bundle.lab)
    kernel = json.dumps(notebook.metadata.get("kernelspec", {}))
    saved = book.update_or_create_notebook(*where, kernelspec=kernel)
    cells = [(meta, cell) for cell in notebook.cells if (meta := labs.nbgrader_meta(cell))]
    before = {cell.name for cell in (*saved.grade_cells, *saved.solution_cells)}
    now = {meta["grade_id"] for meta, _ in cells if meta.get("grade") or meta.get("solution")}
    if saved.submissions and before != now:
        raise LabError(
            f"The cells of {bundle.lab} are not those of the gradebook, which has submissions of it: {', '.join(sorted(before ^ now))}.",
            "Begin a new gradebook, or remove the assignment with `nbgrader db assignment remove`.",
        )
    for meta, cell in cells:
        name = meta["grade_id"]
        kind = "code" if cell.cell_type == "code" else "markdown"
        if meta.get("grade"):
            book.update_or_create_grade_cell(name, *where, max_score=float(meta["points"]), cell_type=kind)
        if meta.get("solution"):
            book.update_or_create_solution_cell(name, *where)
        book.update_or_create_source_cell(
            name, *where, cell_type=kind, source=cell.source, locked=bool(meta.get("locked")), checksum=meta.get("checksum")
        )  # fmt: skip


def _write_submission(
    book: Any, entry: Entry, bundle: Bundle, rules: Rules, course: Path, summary: Summary
) -> None:
    """Scores of one submission. A person's scores stay; where the work under them has changed, they are asked for again."""
    lab, student = bundle.lab, entry.person.id
    book.update_or_create_student(student, **_details(entry.person))
    at = {"timestamp": entry.when} if entry.when else {}
    submission = book.update_or_create_submission(lab, student, **at)
    notebook = book.find_submission_notebook(bundle.manifest.name, lab, student)
    earned = {check.check: check.earned for check in entry.result.checks}
    executed = labs.read(entry.executed) if entry.executed else None
    asked, mine = _answers(bundle.notebook()), _answers(executed)
    before = _answers(_read(_autograded(course, student, bundle)))
    now = _answers(viewable(executed, bundle)) if executed else {}
    for grade in notebook.grades:
        name = grade.name
        answered = name in bundle.manifest.written and mine.get(name, "") not in ("", asked[name])
        score = None if answered else earned.get(name, 0.0)
        changed = now.get(name) != before.get(name) if answered else score != grade.auto_score
        if changed or grade.auto_score != score:
            grade.needs_manual_grade = answered or grade.manual_score is not None
        grade.auto_score = score
    for comment in notebook.comments:
        untouched = mine.get(comment.name, "") in ("", asked.get(comment.name))
        comment.auto_comment = "No response." if untouched else None
    notebook.flagged = bool(notebook.flagged or entry.result.tampering)
    seconds = submission.total_seconds_late
    lost = rules.late.lost(seconds) if rules.late and seconds else 0.0
    notebook.late_submission_penalty = lost or None
    book.db.flush()
    summary.submissions += 1
    summary.by_hand += any(grade.needs_manual_grade for grade in notebook.grades)
    summary.late += bool(lost)


def _answers(notebook: NotebookNode | None) -> dict[str, str]:
    """What stands in the cells that a learner fills in."""
    cells = notebook.cells if notebook else []
    named = [(labs.nbgrader_meta(cell), cell.source.strip()) for cell in cells]
    return {meta["grade_id"]: text for meta, text in reversed(named) if meta.get("solution")}


def _autograded(course: Path, student: str, bundle: Bundle) -> Path:
    return course / "autograded" / student / bundle.lab / f"{bundle.manifest.name}.ipynb"


def _read(path: Path) -> NotebookNode | None:
    try:
        return labs.read(path)
    except LabError:
        return None


def _write_notebook(entry: Entry, bundle: Bundle, course: Path) -> None:
    """What formgrader shows, with the lab's pictures; nothing where there is no notebook to show."""
    path = _autograded(course, entry.person.id, bundle)
    if entry.executed is None:
        shutil.rmtree(path.parent, ignore_errors=True)
    else:
        write_whole(path, nbformat.writes(viewable(labs.read(entry.executed), bundle)))
        pictures = course / "source" / bundle.lab / "images"
        if pictures.is_dir():
            shutil.copytree(pictures, path.parent / "images", dirs_exist_ok=True)
