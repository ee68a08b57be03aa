"""A lab of two exercises, its checks, and its judge."""

from __future__ import annotations

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.grading.limits import Limits
from labkit.grading.sandbox import Bubblewrap

LIMITS = Limits(cell_s=4, total_s=20, memory_mb=1000, file_mb=50)
PROBLEM = Bubblewrap().problem()
needs_sandbox = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(PROBLEM), reason=f"no bubblewrap: {PROBLEM}"),
]
SECRET = "the secret of this class"
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


def marked(name: str, source: str, points: float = 0) -> NotebookNode:
    """A cell with nbgrader's metadata: a check if it has points, else an exercise."""
    meta = {"grade_id": name, "grade": points > 0, "solution": points == 0, "locked": points > 0, "task": False,
            "schema_version": 3}  # fmt: skip
    return new_code_cell(source, metadata={"nbgrader": meta | ({"points": points} if points else {})})


def notebook(double: str, words: str, *before: str, after: tuple[str, ...] = ()) -> NotebookNode:
    """A submission: cells before, the two exercises with their checks, cells after."""
    cells = [
        new_markdown_cell("# Lab 90"),
        new_code_cell("from labkit import check"),
        *map(new_code_cell, before),
    ]
    for name, source in (("double", double), ("words", words)):
        points, body = CHECKS[f"lab90-{name}"]
        check = f"with check('lab90-{name}', hint='Think.') as expect:\n    {body}"
        cells += [marked(name, source), marked(f"lab90-{name}", check, points)]
    cells += map(new_code_cell, after)
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return new_notebook(cells=cells, metadata={"labkit": {"lab": "lab90"}})


UNTOUCHED = [
    f"def {signature}:\n    raise NotImplementedError()" for signature in ("double(x)", "sort_words(words)")
]
