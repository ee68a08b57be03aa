"""Learner's copies, and running notebooks that are wrong in every way a notebook can be."""

from __future__ import annotations

import json
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit import kernel, labs
from labkit.errors import LabError
from labkit.grading import Student, StudentError, grades, run_judge


def cell(name: str, source: str, *, grade: bool, points: float = 1) -> nbformat.NotebookNode:
    meta = {
        "grade": grade,
        "solution": not grade,
        "locked": grade,
        "task": False,
        "grade_id": name,
        "schema_version": 3,
    }
    return new_code_cell(source, metadata={"nbgrader": meta | ({"points": points} if grade else {})})


SOLVED = "def double(x):\n    return 2 * x"
CHECK = "with check('lab90-double', hint='Think of two.') as expect:\n    expect.equal(double(2), 4)"
THREE = "with check('lab90-three') as expect:\n    expect.equal(three, 3)"


def notebook(solution: str = SOLVED, *extra: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return new_notebook(
        cells=[
            new_code_cell("from labkit import check"),
            cell("double", solution, grade=False),
            cell("lab90-double", CHECK, grade=True, points=2),
            new_code_cell("three = 3"),
            cell("lab90-three", THREE, grade=True),
            *extra,
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "labkit": {"edition": "a" * 16},
        },
    )


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> labs.Lab:
    base = tmp_path / "notebooks"
    (base / "judges").mkdir(parents=True)
    (base / "judges" / "lab90.py").write_text(
        "from labkit.grading import grades\n"
        "@grades('lab90-double')\n"
        "def test_double(student, rng):\n"
        "    n = int(rng.integers(100, 10_000))\n"
        "    assert student.call('double', n) == 2 * n\n"
        "@grades('lab90-three')\n"
        "def test_three(student, rng):\n"
        "    assert student.value('three') == 3\n"
    )
    nbformat.write(notebook("def double(x):\n    raise NotImplementedError()"), base / "lab90_x.ipynb")
    monkeypatch.setattr(labs, "folder", lambda: base)
    return labs.find("lab90")


def submit(folder: Path, made: nbformat.NotebookNode) -> Path:
    path = folder / "mine.ipynb"
    nbformat.write(made, path)
    return path


def grade(lab: labs.Lab, made: nbformat.NotebookNode, tmp_path: Path, **options) -> labs.Report:
    return labs.run_checks(submit(tmp_path, made), lab, judge=True, **options)


def earned(report: labs.Report) -> dict[str, tuple[bool | None, float]]:
    return {o.check: (o.passed, o.verdict.earned if o.verdict else -1) for o in report.outcomes}


def test_a_copy_is_made_once_and_never_overwritten(lab: labs.Lab) -> None:
    copy = labs.open_copy(lab)
    assert copy.newer is None
    changed = labs.read(copy.path)
    changed.cells.append(new_markdown_cell("my notes"))
    nbformat.write(changed, copy.path)
    assert labs.open_copy(lab).newer is None
    assert "my notes" in copy.path.read_text()


def test_a_newer_edition_is_laid_beside(lab: labs.Lab) -> None:
    mine = labs.open_copy(lab).path
    mine.write_text(mine.read_text().replace("Think", "THINK"))
    newer = labs.read(lab.student)
    newer.metadata.labkit.edition = "b" * 16
    nbformat.write(newer, lab.student)
    copy = labs.open_copy(lab)
    assert copy.newer
    assert copy.newer.name == "lab90_x.edition-bbbbbbbb.ipynb"
    assert "THINK" in mine.read_text()
    assert labs.open_copy(lab).newer == copy.newer


@pytest.mark.parametrize("name", ["lab90", "90", "lab90_x", "lab90_x.ipynb"])
def test_a_lab_is_found_by_any_of_its_names(lab: labs.Lab, name: str) -> None:
    assert labs.find(name) == lab


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"cells": 3}',
        b"\xff\xfe",
        b"hello",
        b'{"cells": [{"cell_type": 7}]}',
        b"{}",
    ],
)
def test_what_is_no_notebook_is_refused_with_advice(lab: labs.Lab, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.ipynb"
    path.write_bytes(content)
    with pytest.raises(LabError, match="labkit reset"):
        labs.run_checks(path, lab)
    assert path.read_bytes() == content


def test_a_solved_notebook_earns_everything_and_an_untouched_one_what_needs_no_work(
    lab: labs.Lab, tmp_path: Path
) -> None:
    assert earned(grade(lab, notebook(), tmp_path)) == {"lab90-double": (True, 2), "lab90-three": (True, 1)}
    report = grade(lab, labs.read(lab.student), tmp_path)
    assert earned(report) == {"lab90-double": (False, 0), "lab90-three": (True, 1)}
    assert "not written yet" in report.outcomes[0].message
    wrong = grade(lab, notebook("def double(x):\n    return x"), tmp_path).outcomes[0]
    assert "expected: 4\n  got:      2\n  What to do: Think of two." in wrong.message


def test_deleted_doubled_and_altered_checks_are_replaced_by_the_lab_s_own(
    lab: labs.Lab, tmp_path: Path
) -> None:
    wrong = "def double(x):\n    return 4"
    deleted = notebook(wrong)
    del deleted.cells[2]
    report = grade(lab, deleted, tmp_path)
    assert any("lab90-double was deleted" in n for n in report.notes)
    assert earned(report)["lab90-double"] == (True, 0)  # the public case passes, the hidden one does not
    altered = notebook("def double(x):\n    return 5")
    altered.cells[2].source = "print('PASS')"
    report = grade(lab, altered, tmp_path)
    assert any("was changed" in n for n in report.notes)
    assert earned(report)["lab90-double"] == (False, 0)
    doubled = notebook()
    doubled.cells.append(cell("lab90-double", CHECK, grade=True, points=2))
    report = grade(lab, doubled, tmp_path)
    assert any("stands 2 times" in n for n in report.notes)
    assert earned(report)["lab90-double"] == (True, 2)


def test_a_cell_that_hangs_is_stopped_and_reported_with_all_that_it_started(
    lab: labs.Lab, tmp_path: Path
) -> None:
    began = time.monotonic()
    hung = notebook()
    hung.cells.insert(1, new_code_cell("!sleep 987"))
    report = grade(lab, hung, tmp_path, cell_timeout_s=3, total_s=30)
    assert time.monotonic() - began < 25
    assert any("was stopped" in n for n in report.notes)
    assert [o.passed for o in report.outcomes] == [False, False]
    assert [o.verdict.earned for o in report.outcomes if o.verdict] == [0, 0]
    time.sleep(0.5)
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] and p.info["cmdline"][-1] == "987"
    ]


@pytest.mark.parametrize("deadly", ["import os; os._exit(1)", "while True: pass"])
def test_a_deadly_cell_ends_in_a_report(lab: labs.Lab, tmp_path: Path, deadly: str) -> None:
    report = grade(lab, notebook(SOLVED, new_code_cell(deadly)), tmp_path, cell_timeout_s=4)
    assert earned(report) == {"lab90-double": (True, 0), "lab90-three": (True, 0)}
    assert report.cells[-1].error in ("KernelDied", "Timeout")


@pytest.mark.parametrize(
    ("trick", "double", "says"),
    [
        (
            "patched assert",
            "class Yes:\n    __eq__ = lambda *_: True\ndef double(x):\n    return Yes()",
            "raised",
        ),
        ("a hang", "def double(x):\n    while x > 50: pass\n    return 2 * x", "did not answer"),
        ("exit", "def double(x):\n    if x > 50: raise SystemExit\n    return 2 * x", "no usable answer"),
        ("too much", "def double(x):\n    return 'a' * 3_000_000 if x > 50 else 2 * x", "no usable answer"),
        ("a special case", "def double(x):\n    return 4 if x == 2 else 0", "hidden case"),
    ],
)
def test_a_trick_earns_nothing_from_the_judge(
    lab: labs.Lab, tmp_path: Path, trick: str, double: str, says: str
) -> None:
    report = grade(lab, notebook(double), tmp_path, cell_timeout_s=12)
    verdict = report.outcomes[0].verdict
    assert verdict
    assert verdict.earned == 0
    assert says in verdict.reason


def test_a_judge_and_its_lab_must_agree_on_the_checks(lab: labs.Lab, tmp_path: Path) -> None:
    lab.judge.write_text("from labkit.grading import grades\n@grades('other')\ndef f(student, rng): pass\n")
    with pytest.raises(LabError, match="disagree"):
        grade(lab, notebook(), tmp_path)


def test_values_cross_as_json(tmp_path: Path) -> None:
    import numpy as np

    made = new_notebook(cells=[new_code_cell("import numpy as np\ndef echo(*a, **k): return [a, k]")])
    with kernel.start(made, tmp_path) as running:
        running.run()
        student = Student(running)
        sent = [1, 2.5, "ä\n'\"", None, True, {"k": [1]}, np.array([[1.0, 2.0]])]
        got, named = student.call("echo", *sent, x=np.arange(3))
        assert got == [1, 2.5, "ä\n'\"", None, True, {"k": [1]}, [[1.0, 2.0]]]
        assert named == {"x": [0, 1, 2]}
        assert student.eval("a.sum()", a=np.ones(4)) == 4
        assert student.eval("{3, 1, 2}") == [1, 2, 3]
        assert student.eval("(1, (2,))") == [1, [2]]
        for bad in ("1 / 0", "object()", "nowhere", "b'x'", "lambda: 1"):
            with pytest.raises(StudentError):
                student.eval(bad)


def test_the_seed_decides_the_cases(tmp_path: Path) -> None:
    seen: list[int] = []
    judge = tmp_path / "lab91.py"
    judge.write_text(
        "from labkit.grading import grades\n@grades('c')\ndef f(student, rng): student.call('note', int(rng.integers(10**9)))\n"
    )
    made = new_notebook(cells=[new_code_cell("seen = []\nnote = seen.append")])
    with kernel.start(made, tmp_path) as running:
        running.run()
        for seed in (1, 1, 2):
            run_judge(judge, running, {"c": 1.0}, seed)
        seen = Student(running).value("seen")
    assert seen[0] == seen[1] != seen[2]
    assert grades("x")(lambda s, r: None)
    assert json.dumps(seen)


def test_the_first_cell_that_fails_is_named(lab: labs.Lab) -> None:
    mine = notebook()
    mine.cells[0].source = "from labkit import chek"
    path = lab.student.parent / "mine.ipynb"
    nbformat.write(mine, path)
    report = labs.run_checks(path, lab)
    assert [n for n in report.notes if n.startswith("cell 1 is the first that failed") and "chek" in n]
    mine = notebook("def double(x):\n    raise NotImplementedError()")
    nbformat.write(mine, path)
    assert not [n for n in labs.run_checks(path, lab).notes if "first that failed" in n]
