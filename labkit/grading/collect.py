"""Finding submissions: a folder of notebooks, a zip from an LMS, nbgrader's ``submitted/STUDENT/LAB`` tree.

Nothing is ever extracted: a member of a zip is read into memory, so that its name leads nowhere and a bomb costs only what may
be read.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from labkit.errors import LabError
from labkit.grading.files import LARGEST, clean, read_bounded

MOST_MEMBERS = 20_000
LARGEST_ZIP = 2_000_000_000
IGNORED = {"__MACOSX", "timestamp.txt", "Thumbs.db", "feedback", "images"}
CANVAS = re.compile(r"(?P<who>.+?)(?:_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+)")
MOODLE = re.compile(r"(?P<who>.+?)_(?P<id>\d+)_assignsubmission_file_?")


@dataclass(frozen=True)
class Submission:
    """One thing that was handed in.

    Attributes:
        student: Who, as far as the names tell.
        lab: The lab's folder in nbgrader's tree; empty elsewhere.
        name: The file's name.
        data: The file; empty if there is a problem.
        problem: Why it cannot be graded.
        submitted: What nbgrader's ``timestamp.txt`` beside it says; empty if there is none.
    """

    student: str
    lab: str
    name: str
    data: bytes = b""
    problem: str = ""
    submitted: str = ""


def find(place: Path) -> Iterator[Submission]:
    """All submissions of a folder or a zip, in order of their names. What is no notebook is found too, with its problem.

    Raises:
        LabError: There is no such folder or zip.
    """
    if place.is_file() and place.suffix.lower() == ".zip":
        yield from _in_zip(place)
        return
    if not place.is_dir():
        raise LabError(f"There is no folder or zip {place}.", "Give the folder with the submissions.")
    submitted = place / "submitted"
    for path in _entries(submitted if submitted.is_dir() else place):
        if path.is_dir() and not path.is_symlink():
            yield from _of_student(path)
        elif path.suffix.lower() == ".zip" and not path.is_symlink():
            yield from _in_zip(path)
        else:
            yield _from_file(path, _who(path.name)[0], "")


def _of_student(folder: Path) -> Iterator[Submission]:
    """``STUDENT/LAB/*.ipynb``, or a student's folder with notebooks in it."""
    student = _who(folder.name)[0]
    empty = True
    for path in _entries(folder):
        empty = False
        if path.is_dir() and not path.is_symlink():
            notebooks = [p for p in _entries(path) if p.suffix == ".ipynb"]
            when = _timestamp(path)
            for notebook in notebooks:
                yield replace(_from_file(notebook, student, path.name), submitted=when)
            if not notebooks:
                yield Submission(student, path.name, path.name, problem="there is no notebook in it")
        elif path.suffix.lower() == ".zip" and not path.is_symlink():
            yield from _in_zip(path, student)
        else:
            yield _from_file(path, student, "")
    if empty:
        yield Submission(student, "", folder.name, problem="there is no notebook in it")


def _from_file(path: Path, student: str, lab: str) -> Submission:
    try:
        data = read_bounded(path)
    except LabError as error:
        return Submission(student, lab, path.name, problem=error.message.replace(str(path), "it"))
    if path.suffix.lower() != ".ipynb":
        return Submission(student, lab, path.name, problem="it is not a notebook (.ipynb)")
    return Submission(student, lab, path.name, data)


def _timestamp(folder: Path) -> str:
    try:
        return clean(read_bounded(folder / "timestamp.txt", 200).decode("utf-8", "replace")).strip()
    except LabError:
        return ""


def _in_zip(path: Path, student: str = "") -> Iterator[Submission]:
    """The members of an LMS's zip; or, with a student, what they zipped themselves."""
    try:
        if path.stat().st_size > LARGEST_ZIP:
            raise LabError("it is too large", "Split it.")
        with zipfile.ZipFile(path) as archive:
            yield from _members(archive, path.stem, student)
    except (LabError, OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        text = error.message if isinstance(error, LabError) else "it is no zip that can be read"
        yield Submission(student or path.stem, "", path.name, problem=text)


def _members(archive: zipfile.ZipFile, stem: str, student: str, depth: int = 0) -> Iterator[Submission]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise LabError(f"it has more than {MOST_MEMBERS:,} files", "Split it.")
    tops = {_parts(info)[0] for info in infos}
    wrapped = len(tops) == 1 and all(len(_parts(info)) > 1 for info in infos) and not MOODLE.match(min(tops))
    for info in sorted(infos, key=lambda info: info.filename):
        parts = _parts(info)
        if IGNORED.intersection(parts) or any(p.startswith(".") and p != ".." for p in parts):
            continue
        name = parts[-1]
        if ".." in parts or info.filename.startswith(("/", "\\")) or ":" in parts[0]:
            yield Submission(student or stem, "", name, problem="its name leads out of the zip")
            continue
        folders = parts[1:-1] if wrapped else parts[:-1]
        who, file = (_who(folders[0])[0], name) if folders else _who(name)
        who, lab = student or who, folders[1] if len(folders) > 1 and not student else ""
        try:
            with archive.open(info) as member:
                data = member.read(LARGEST + 1)
        except Exception:  # an altered checksum, a password, a method that zipfile does not know
            yield Submission(who, lab, file, problem="it cannot be read from the zip")
            continue
        if len(data) > LARGEST:
            yield Submission(who, lab, file, problem=f"it is larger than {LARGEST // 1_000_000} MB")
        elif file.lower().endswith(".zip") and depth == 0:
            yield from _nested(data, who, file)
        elif not file.lower().endswith(".ipynb"):
            yield Submission(who, lab, file, problem="it is not a notebook (.ipynb)")
        else:
            yield Submission(who, lab, file, data)


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    return PurePosixPath(info.filename.replace("\\", "/")).parts or ("",)


def _nested(data: bytes, who: str, name: str) -> Iterator[Submission]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            yield from _members(inner, who, who, depth=1)
    except (LabError, zipfile.BadZipFile, ValueError, NotImplementedError):
        yield Submission(who, "", name, problem="it is no zip that can be read")


def _who(name: str) -> tuple[str, str]:
    """Student and file of a name as Canvas or Moodle writes it; else the name without its ending."""
    if match := CANVAS.fullmatch(name):
        return f"{match['who']}_{match['id']}", match["file"]
    if match := MOODLE.match(name):
        return f"{match['who']}_{match['id']}", name
    return PurePosixPath(name).stem if name.endswith((".ipynb", ".zip")) else name, name


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing, if it cannot be read."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name not in IGNORED)
    except OSError:
        return []
