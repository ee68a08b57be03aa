"""Who is in the class: nbgrader's own form of ``students.csv``, and finding a submission's student in it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import LabError
from labkit.grading.files import clean, read_bounded, slug

COLUMNS = ("id", "first_name", "last_name", "email", "lms_user_id")


@dataclass(frozen=True)
class Person:
    """One student, as ``nbgrader db student import`` reads them.

    Attributes:
        id: Also the name of a folder: no slashes.
        lms_user_id: The number or name that the LMS knows them by.
    """

    id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    lms_user_id: str = ""

    @property
    def full_name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()


class Roster:
    """The students of a class. An empty one takes everybody as they are named."""

    def __init__(self, people: tuple[Person, ...] = ()) -> None:
        self.people = people
        self._names: dict[str, Person] = {}
        for attribute in ("full_name", "lms_user_id", "id"):
            names = [str(getattr(person, attribute)).casefold() for person in people]
            once = {name for name, n in Counter(names).items() if name and n == 1}
            self._names |= {n: p for n, p in zip(names, people, strict=True) if n in once}

    def find(self, student: str) -> Person | None:
        """The student that a submission names: by id, by the LMS's number at the end of the name, or by the full name."""
        known = self._names.get(student.casefold())
        if known:
            return known
        name, _, number = student.rpartition("_")
        last = number if number.isdigit() else ""
        return self._names.get(last) or self._names.get(name.casefold())


def plain_id(student: str) -> str:
    """An id that is a folder's name too."""
    return student if _is_folder(student) else slug(student)


def load(path: Path) -> Roster:
    """Read a CSV file with the column ``id`` and any of the others of ``COLUMNS``.

    Raises:
        LabError: It cannot be read, or an id stands twice or is no folder's name.
    """
    lines = clean(read_bounded(path).decode("utf-8-sig", "replace")).splitlines()
    rows = list(csv.DictReader(lines))
    if not rows or "id" not in rows[0]:
        raise LabError(f"{path} names no students.", f"Its first line is: {','.join(COLUMNS)}")
    people = tuple(Person(**{name: (row.get(name) or "").strip() for name in COLUMNS}) for row in rows)
    wrong = [p.id for p in people if not _is_folder(p.id)]
    wrong += [name for name, n in Counter(p.id.casefold() for p in people).items() if n > 1]
    if wrong:
        raise LabError(
            f"{path} has ids that cannot be used: {', '.join(map(repr, wrong[:5]))}.",
            "Every student needs an id of their own, without slashes.",
        )
    return Roster(people)


def _is_folder(name: str) -> bool:
    return bool(re.fullmatch(r"[^/\\:*?\"<>|\x00-\x1f]{1,100}", name)) and not name.startswith(".")
