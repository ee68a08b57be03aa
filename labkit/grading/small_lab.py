"""A lab of two exercises with its judge: what the tests and the bench of the grader hand in, because it runs in a second."""

from __future__ import annotations

import tempfile
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.grading import bundle as bundles
from labkit.grading.bundle import Bundle
from labkit.grading.limits import Limits
from labkit.labs import Lab

LIMITS = Limits(cell_s=4, total_s=20, memory_mb=1000, file_mb=50)
SECRET = "the secret of this class"
SOLVED = ("def double(x):\n    return 2 * x", "def sort_words(words):\n    return sorted(words)")
UNDONE = (
    "def double(x):\n    raise NotImplementedError()",
    "def sort_words(words):\n    raise NotImplementedError()",
)
QUESTION = "**Question.** Why does sorting need an order?\n\nYour answer:"
JUDGE = """
from labkit.grading import grades

@grades("lab90-double")
def test_double(student, rng):
    for n in rng.integers(100, 10_000, size=3):
        assert student.call("double", int(n)) == 2 * int(n)

@grades("lab90-words")
def test_words(student, rng):
    words = [str(w) for w in rng.permutation(["ant", "bee", "cat", "dog"])]
    assert student.call("sort_words", words) == sorted(words)
"""
CHECKS = {
    "lab90-double": (2, "expect.equal(double(2), 4, 'two')\n    expect.close(double(0.5), 1.0, 'a half')"),
    "lab90-words": (3, "expect.true(sort_words(['b', 'a']) == ['a', 'b'], 'two words')"),
}


def notebook(
    double: str, words: str, *before: str, after: tuple[str, ...] = (), answer: str | None = None
) -> NotebookNode:
    """A submission: cells before, the two exercises with their checks, cells after, and, with an answer, the written question."""
    cells = [
        new_markdown_cell("# Lab 90"),
        new_code_cell("from labkit import check"),
        *map(new_code_cell, before),
    ]
    for name, source in (("double", double), ("words", words)):
        points, body = CHECKS[f"lab90-{name}"]
        check = f"with check('lab90-{name}', hint='Think.') as expect:\n    {body}"
        cells += [
            _marked(new_code_cell(source), name, solution=True),
            _marked(new_code_cell(check), f"lab90-{name}", points=points, locked=True),
        ]
    cells += map(new_code_cell, after)
    if answer is not None:
        cells.append(_marked(new_markdown_cell(answer), "lab90-written", points=4, solution=True))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return new_notebook(cells=cells, metadata={"labkit": {"lab": "lab90"}})


def bundle(*before: str, judge: str = JUDGE, written: bool = False) -> Bundle:
    """The lab's bundle, with cells before the exercises, and with a written question or without."""
    with tempfile.TemporaryDirectory(prefix="labkit-") as made:
        lab = Lab("lab90", "lab90_small", Path(made) / "lab90_small.ipynb")
        lab.judge.parent.mkdir()
        lab.judge.write_text(judge, encoding="utf-8")
        return bundles.make(lab, notebook(*UNDONE, *before, answer=QUESTION if written else None), SECRET)


def _marked(
    cell: NotebookNode, name: str, *, points: float = 0, solution: bool = False, locked: bool = False
) -> NotebookNode:
    """The cell with nbgrader's metadata."""
    meta = {"grade_id": name, "grade": points > 0, "solution": solution, "locked": locked, "task": False, "schema_version": 3}  # fmt: skip
    cell.metadata["nbgrader"] = NotebookNode(meta | ({"points": points} if points else {}))
    return cell
