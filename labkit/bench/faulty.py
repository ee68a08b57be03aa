"""What goes wrong in a class: one file for each fault, and how its result should look."""

from __future__ import annotations

from collections.abc import Callable

import nbformat
from nbformat import NotebookNode

from labkit.grading.result import Result
from labkit.grading.small_lab import SOLVED, notebook

Change = Callable[[NotebookNode], list[NotebookNode]]


def _running(*cells: str) -> Callable[[NotebookNode], bytes]:
    """A solution that first runs other cells."""

    def change(made: NotebookNode) -> bytes:
        return nbformat.writes(notebook(*SOLVED, *cells, made.cells[2].source)).encode()

    return change


def _with_cells(change: Change) -> Callable[[NotebookNode], bytes]:
    """A solution with other cells than it should have."""

    def changed(made: NotebookNode) -> bytes:
        made.cells = change(made)
        return nbformat.writes(made).encode()

    return changed


def _renamed(made: NotebookNode) -> list[NotebookNode]:
    made.cells[4].metadata["nbgrader"]["grade_id"] = "lab90-tripled"
    return made.cells


def _copied(made: NotebookNode) -> list[NotebookNode]:
    return [*made.cells, NotebookNode({**made.cells[4], "id": "again"})]


STOPPED: dict[str, Callable[[NotebookNode], bytes]] = {
    "endless-loop": _running("while True: pass"),
    "memory-bomb": _running("hog = []\nwhile True: hog.append(bytearray(50_000_000))"),
    "fork-bomb": _running("import os, time\nwhile True:\n    if os.fork() == 0:\n        time.sleep(60)"),
    "gigabyte-of-output": _running("line = 'x' * 999\nfor _ in range(1_000_000): print(line)"),
}
"""They end within the limits, with a result."""
CHANGED: dict[str, Callable[[NotebookNode], bytes]] = {
    "deleted-cell": _with_cells(lambda made: made.cells[:4] + made.cells[5:]),
    "copied-cell": _with_cells(_copied),
    "reordered-cells": _with_cells(lambda made: [*made.cells[:3], *made.cells[5:], *made.cells[3:5]]),
    "renamed-cell": _with_cells(_renamed),
}
"""They are noted, and cost nothing."""
BROKEN: dict[str, Callable[[NotebookNode], bytes]] = {
    "not-utf8": lambda made: nbformat.writes(made).encode().replace(b"# Lab 90", b"\xff\xfe"),
    "broken-json": lambda made: nbformat.writes(made).encode()[:-100],
    "another-lab": lambda made: nbformat.writes(made).encode().replace(b"lab90", b"lab42"),
    "empty-file": lambda made: b"",
}
"""They are refused, with a reason."""
FAULTS = STOPPED | CHANGED | BROKEN
HONEST, MISSING = "honest", "missing-file"


def hand_in(number: int, kind: str) -> bytes | None:
    """The file of one submission; None where nothing is in its folder."""
    made = notebook(*SOLVED, f"mine = {number}")
    if kind == MISSING:
        return None
    return FAULTS[kind](made) if kind in FAULTS else nbformat.writes(made).encode()


def as_it_should(kind: str, result: Result) -> bool:
    """Whether a submission of that kind got the result that it should get."""
    if kind in BROKEN or kind == MISSING:
        return result.status == "refused" and bool(result.reason)
    if kind in STOPPED:
        return result.status == "graded"
    return result.status == "graded" and result.earned == 5 and bool(result.notes) == (kind in CHANGED)
