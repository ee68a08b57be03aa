"""The results of a class on their way into the gradebook: read, compared with the bundles, one for each student and lab."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from labkit.errors import LabError
from labkit.grading import late, result, roster
from labkit.grading.bundle import Bundle
from labkit.grading.files import clean, read_bounded
from labkit.grading.late import Rules
from labkit.grading.result import EXECUTED, FILE, Result
from labkit.grading.roster import Roster


@dataclass(frozen=True)
class Entry:
    """One submission on its way into the gradebook.

    Attributes:
        person: Whose.
        result: Its result.
        when: When it was handed in, in UTC; None if that is not known.
        executed: The notebook as it ran; None if it was refused.
    """

    person: roster.Person
    result: Result
    when: datetime | None
    executed: Path | None


def read(
    results: Path,
    all_bundles: dict[str, Bundle],
    known: Roster,
    told: dict[tuple[str, str], str],
    problems: list[str],
) -> list[Entry]:
    """The results that can be written; the others become problems.

    Args:
        results: What ``autograde`` wrote.
        all_bundles: By lab.
        known: The class.
        told: Times of submissions by student and lab.
        problems: Gets one line for each result that is left out.

    Raises:
        LabError: There are no results, or a time is wrong.
    """
    made: list[Entry] = []
    for path in sorted(results.glob(f"*/*/{FILE}")):
        found = result.read(path)
        problem = "it is no result" if found is None else _fault(found, all_bundles)
        if found and found.status == "graded" and not (path.parent / EXECUTED).is_file():
            problem = f"{EXECUTED} is not beside it; delete the result and run `labkit autograde` again"
        if found is None or problem:
            problems.append(f"{path.parent.relative_to(results)}: {problem}")
            continue
        person = known.find(found.student)
        if person is None and known.people:
            problems.append(f"{found.student} is not in the list of students; written all the same")
        person = person or roster.Person(roster.plain_id(found.student))
        when = told.get((person.id, found.lab)) or found.submitted
        executed = path.parent / EXECUTED if found.status == "graded" else None
        made.append(Entry(person, found, late.moment(when) if when else None, executed))
    if not made and not problems:
        raise LabError(f"There are no results in {results}.", "Make them with `labkit autograde`.")
    return made


def _fault(found: Result, all_bundles: dict[str, Bundle]) -> str:
    """Why a result cannot be written; empty if it can."""
    if found.status == "failed" or not found.lab:
        return f"{found.submission} was not graded: {found.reason}"
    lab = all_bundles.get(found.lab)
    if not lab or lab.digest != found.bundle:
        return f"{found.submission} was graded with another bundle; run `labkit autograde` again"
    checks = {check.check: check.points for check in found.checks}
    earned = [check for check in found.checks if not 0 <= check.earned <= check.points]
    if found.status == "graded" and (
        checks != lab.manifest.points or len(checks) != len(found.checks) or earned
    ):
        return "its checks or points are not those of the lab"
    return ""


def chosen(entries: Iterable[Entry], rules: Rules) -> list[Entry]:
    """One submission for each student and lab: a graded one before a refused one, then the latest.

    Raises:
        LabError: It cannot be told which one is the latest, or whether it is late.
    """
    by_key: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        by_key.setdefault((entry.person.id, entry.result.lab), []).append(entry)
    counted: list[Entry] = []
    for (student, lab), those in by_key.items():
        graded = [entry for entry in those if entry.result.status == "graded"] or those
        if len({entry.result.sha256 for entry in graded}) > 1 and any(e.when is None for e in graded):
            names = ", ".join(entry.result.submission for entry in graded)
            raise LabError(
                f"{student} has {len(graded)} submissions of {lab}: {names}.",
                "Keep the one that counts, or give the times: then the latest counts.",
            )
        best = max(graded, key=lambda entry: entry.when or datetime.min.replace(tzinfo=UTC))
        if lab in rules.due and best.when is None:
            raise LabError(
                f"{lab} has a deadline, but nothing tells when {student} handed it in.",
                "Put a file times.csv of student,lab,submitted into the course folder. Times of files are not used: copying changes them.",
            )
        counted.append(best)
    return counted


def times(path: Path, known: Roster) -> dict[tuple[str, str], str]:
    """The times of a CSV file by student and lab, as they stand there.

    Raises:
        LabError: It cannot be read.
    """
    lines = clean(read_bounded(path).decode("utf-8-sig", "replace")).splitlines()
    rows = list(csv.DictReader(lines))
    if not rows or not {"student", "lab", "submitted"} <= set(rows[0]):
        raise LabError(f"{path} tells no times.", "Its first line is: student,lab,submitted")
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        person = known.find(row["student"]) or roster.Person(roster.plain_id(row["student"]))
        found[person.id, row["lab"]] = row["submitted"]
    return found
