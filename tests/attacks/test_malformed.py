"""Whatever is handed in ends in a result with a reason, and the rest goes on."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from needs import needs_sandbox

from labkit.errors import LabError
from labkit.grading import small_lab
from labkit.grading.autograde import Summary, autograde
from labkit.grading.collect import Submission, find
from labkit.grading.result import Result, read
from labkit.grading.sandbox import Bubblewrap
from labkit.grading.small_lab import SOLVED, UNDONE, notebook

SOLUTION = nbformat.writes(notebook(*SOLVED)).encode()
ZERO_ZIP = io.BytesIO()
with zipfile.ZipFile(ZERO_ZIP, "w", zipfile.ZIP_DEFLATED) as bomb:
    bomb.writestr("ana.ipynb", bytes(200_000_000))

REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cannot be read as a notebook"),
    "not-json": (b"hello", "cannot be read as a notebook"),
    "cut": (SOLUTION[:-300], "cannot be read as a notebook"),
    "not-utf8": (SOLUTION.replace(b"Lab 90", b"Lab \xff\xfe"), "cannot be read as a notebook"),
    "utf16": (SOLUTION.decode().encode("utf-16"), "cannot be read as a notebook"),
    "a-list": (b"[]", "not a notebook"),
    "no-cells": (b'{"cells": 3}', "not a notebook"),
    "odd-cells": (b'{"cells": [{"cell_type": 7}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "cannot be read"),
    "deep": (b'{"cells": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "cannot be read as a notebook"),
    "a-number": (b"1" * 10_000, "cannot be read as a notebook"),
    "wrong-lab": (SOLUTION.replace(b"lab90", b"lab42"), "of lab42, not of lab90"),
    "no-lab": (nbformat.writes(nbformat.v4.new_notebook()).encode(), "of none of the labs"),
    "many-cells": (
        nbformat.writes(
            nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_raw_cell("", id=f"c{i}") for i in range(3000)], metadata={"labkit": {"lab": "lab90"}}
            )
        ).encode(),
        "has 3000 cells",
    ),
    "half-characters": (SOLUTION.replace(b"# Lab 90", b"\\ud800").replace(b"lab90", b"lab\\ud800"), "of none of the labs"),
    "too-large": (b" " * 21_000_000, "larger than 20 MB"),
}  # fmt: skip


def _deleted(made: NotebookNode) -> str:
    del made.cells[3]
    return "lab90-double was deleted"


def _copied(made: NotebookNode) -> str:
    made.cells.insert(3, made.cells[3].copy())
    return "lab90-double stands 2 times"


def _reordered(made: NotebookNode) -> str:
    made.cells[2:] = made.cells[:1:-1]
    return "another order"


def _renamed(made: NotebookNode) -> str:
    made.cells[3].metadata.nbgrader["grade_id"] = "lab90-tripled"
    return "lab90-double was deleted"


def _emptied(made: NotebookNode) -> str:
    made.cells[3].source = "print('PASS')"
    return "lab90-double was changed"


def _exercise_deleted(made: NotebookNode) -> str:
    del made.cells[2].metadata["nbgrader"]
    return "the exercise double is missing"


CHANGED: list[tuple[Callable[[NotebookNode], str], float]] = [
    (_deleted, 5), (_copied, 5), (_reordered, 5), (_renamed, 5), (_emptied, 5), (_exercise_deleted, 5)
]  # fmt: skip


@pytest.fixture(scope="module")
def malformed(
    bundle_dir: Path, sandbox: Bubblewrap, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Summary, dict[str, Result]]:
    base = tmp_path_factory.mktemp("malformed")
    there = base / "in"
    there.mkdir()
    for name, (data, _) in REFUSED.items():
        (there / f"{name}.ipynb").write_bytes(data)
    for change, _ in CHANGED:
        made = notebook(*SOLVED)
        change(made)
        (there / f"{change.__name__.strip('_')}.ipynb").write_text(json.dumps(made))
    (there / "honest.ipynb").write_bytes(SOLUTION)
    (there / "half.ipynb").write_bytes(
        SOLUTION.replace(b"# Lab 90", b"\\ud800").replace(b"2 * x", b"2 * x  # \\ud800")
    )
    Path(os.fsdecode(os.fsencode(there) + b"/\xff\xfe.ipynb")).write_bytes(b"no notebook")
    (there / "thesis.pdf").write_bytes(b"%PDF")
    (there / "linked.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(there / "pipe.ipynb")
    (there / "folder.ipynb").mkdir()
    (there / "bomb.zip").write_bytes(ZERO_ZIP.getvalue())
    (there / "broken.zip").write_bytes(b"PK\x03\x04broken")
    with zipfile.ZipFile(there / "slip.zip", "w") as slip:
        slip.writestr("../../slipped.ipynb", SOLUTION)
        slip.writestr("/tmp/slipped.ipynb", SOLUTION)
        slip.writestr("C:\\slipped.ipynb", SOLUTION)
    summary = autograde(there, bundle_dir, base / "out", sandbox=sandbox, workers=2, quiet=True)
    results = {path.parent.parent.name: result for path in summary.results if (result := read(path))}
    assert not list(base.parent.rglob("slipped*.ipynb"))
    return summary, results


pytestmark = needs_sandbox


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_notebook_of_the_lab_is_refused(
    name: str, malformed: tuple[Summary, dict[str, Result]]
) -> None:
    result = malformed[1][name]
    assert result.status == "refused", result
    assert REFUSED[name][1] in result.reason
    assert "/tmp" not in result.reason


@pytest.mark.parametrize(("change", "points"), CHANGED)
def test_changed_cells_are_noted_and_cost_nothing(
    change: Callable[[NotebookNode], str], points: float, malformed: tuple[Summary, dict[str, Result]]
) -> None:
    result = malformed[1][change.__name__.strip("_")]
    assert any(change(notebook(*SOLVED)) in note for note in result.notes), result.notes
    assert result.earned == points
    assert result.tampering == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("thesis.pdf", "not a notebook"), ("linked", "symbolic link"), ("pipe", "no regular file"), ("folder", "no notebook in it"),
        ("ana", "larger than 20 MB"), ("broken", "no zip"), ("slip", "out of the zip"),
    ],
)  # fmt: skip
def test_odd_files_are_refused(name: str, reason: str, malformed: tuple[Summary, dict[str, Result]]) -> None:
    assert reason in malformed[1][name].reason


def test_nothing_is_lost_and_the_honest_one_earns_everything(
    malformed: tuple[Summary, dict[str, Result]],
) -> None:
    summary, results = malformed
    assert results["honest"].earned == 5
    assert summary.found == len(summary.results) == len(REFUSED) + len(CHANGED) + 3 + 6 + 3
    assert all(path.is_file() for path in summary.results)
    assert summary.failed == 0


def test_a_second_run_keeps_what_is_done_and_grades_what_changed(
    bundle_dir: Path, sandbox: Bubblewrap, tmp_path: Path
) -> None:
    there = tmp_path / "submitted"
    for student in ("ana", "bo"):
        (there / student / "lab90").mkdir(parents=True)
        (there / student / "lab90" / "lab90_small.ipynb").write_bytes(SOLUTION)
        (there / student / "lab90" / "timestamp.txt").write_text("2026-11-22 08:00:00 UTC\n")

    def run() -> Summary:
        return autograde(tmp_path, bundle_dir, tmp_path / "out", sandbox=sandbox, workers=2, quiet=True)

    first = run()
    assert (first.found, first.graded, first.kept) == (2, 2, 0)
    assert {r.submitted for path in first.results if (r := read(path))} == {"2026-11-22 08:00:00 UTC"}
    (there / "bo" / "lab90" / "timestamp.txt").write_text("2026-11-23 08:00:00 UTC\n")
    assert run().kept == 2
    assert [r.submitted[8:10] for path in first.results if (r := read(path))] == ["22", "23"]
    before = {path: path.read_bytes() for path in first.results}
    assert (run().kept, {path: path.read_bytes() for path in first.results}) == (2, before)
    nbformat.write(notebook(*UNDONE), there / "bo" / "lab90" / "lab90_small.ipynb")
    first.results[0].write_text("{half a result")
    third = run()
    assert (third.graded, third.kept) == (2, 0)
    assert [(r.student, r.earned) for path in third.results if (r := read(path))] == [("ana", 5), ("bo", 0)]
    assert not list((tmp_path / "out").rglob(".*"))


def test_everything_runs_where_that_is_asked_for(sandbox: Bubblewrap, tmp_path: Path) -> None:
    small_lab.bundle("print('look')").save(tmp_path / "bundles")
    (tmp_path / "in").mkdir()
    nbformat.write(notebook(*SOLVED, "print('look')"), tmp_path / "in" / "ana.ipynb")
    left_out: list[int] = []
    for everything in (False, True):
        out = tmp_path / str(everything)
        done = autograde(
            tmp_path / "in", tmp_path / "bundles", out, sandbox=sandbox, everything=everything, quiet=True
        )
        found = read(done.results[0])
        assert found is not None
        assert found.earned == 5
        left_out.append(found.left_out)
    assert left_out == [1, 0]


def test_what_was_left_out_and_missed_runs_after_all(sandbox: Bubblewrap, tmp_path: Path) -> None:
    shown = ("two = 2", "unbound = other")
    small_lab.bundle(*shown).save(tmp_path / "bundles")
    (tmp_path / "in").mkdir()
    hidden = "def double(x):\n    return x * eval('tw' + 'o')"
    nbformat.write(notebook(hidden, SOLVED[1], *shown), tmp_path / "in" / "hidden.ipynb")
    broken = "def double(x):\n    return x * nowhere"
    nbformat.write(notebook(broken, SOLVED[1], *shown), tmp_path / "in" / "broken.ipynb")
    done = autograde(tmp_path / "in", tmp_path / "bundles", tmp_path / "out", sandbox=sandbox, quiet=True)
    found = {r.student: (r.earned, r.left_out) for path in done.results if (r := read(path))}
    assert found == {"hidden": (5, 0), "broken": (3, 2)}


def lms(names: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def found(place: Path) -> list[tuple[str, str, str, str]]:
    return [(s.student, s.lab, s.name, s.problem) for s in find(place)]


def test_submissions_are_found_in_the_forms_that_they_come_in(tmp_path: Path) -> None:
    zipped = tmp_path / "class.zip"
    zipped.write_bytes(
        lms(
            {
                "doejane_123_4567_lab05_tools-1.ipynb": b"{}", "roeJ_LATE_9_77_work.zip": lms({"my/lab05.ipynb": b"{}"}),
                "__MACOSX/._x.ipynb": b"", "poe_8_1_essay.docx": b"",
            }
        )
    )  # fmt: skip
    assert found(zipped) == [
        ("doejane_123", "", "lab05_tools-1.ipynb", ""),
        ("poe_8", "", "essay.docx", "it is not a notebook (.ipynb)"),
        ("roeJ_9", "", "lab05.ipynb", ""),
    ]
    zipped.write_bytes(
        lms(
            {
                "Ana Đ_12_assignsubmission_file_/lab05.ipynb": b"{}",
                "Bo_13_assignsubmission_file_/a.ipynb": b"{}",
            }
        )
    )
    assert found(zipped) == [("Ana Đ_12", "", "lab05.ipynb", ""), ("Bo_13", "", "a.ipynb", "")]
    zipped.write_bytes(lms({"all/ana/lab05/x.ipynb": b"{}", "all/bo/lab05/x.ipynb": b"{}"}))
    assert found(zipped) == [("ana", "lab05", "x.ipynb", ""), ("bo", "lab05", "x.ipynb", "")]
    zipped.write_bytes(lms({"sub/ana.ipynb": b"{}", "sub/bo.ipynb": b"{}"}))
    assert found(zipped) == [("ana", "", "ana.ipynb", ""), ("bo", "", "bo.ipynb", "")]
    tree = tmp_path / "tree"
    (tree / "submitted" / "ana" / "lab05").mkdir(parents=True)
    (tree / "submitted" / "bo").mkdir()
    (tree / "submitted" / "ana" / "lab05" / ".ipynb_checkpoints").mkdir()
    assert found(tree) == [
        ("ana", "lab05", "lab05", "there is no notebook in it"),
        ("bo", "", "bo", "there is no notebook in it"),
    ]
    with pytest.raises(LabError, match="no folder or zip"):
        list(find(tmp_path / "nowhere"))


def test_names_cannot_lead_a_result_elsewhere(tmp_path: Path) -> None:
    from labkit.grading.autograde import _target

    used: set[str] = set()
    for student in ("../../etc", "/root", "..", "", "a/b", "a_b", "A_B", "\u202eevil", "x" * 500, "con\x00"):
        path = _target(tmp_path, Submission(student, "../..", "x.ipynb"), used)
        assert tmp_path.resolve() in path.resolve().parents
        assert len(path.relative_to(tmp_path).parts) == 3
    assert len(used) == 10


def test_a_result_has_a_schema(malformed: tuple[Summary, dict[str, Result]]) -> None:
    import jsonschema

    schema = Result.model_json_schema()
    for path in malformed[0].results:
        jsonschema.validate(json.loads(path.read_text()), schema)
