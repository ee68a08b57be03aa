"""The labs: finding them, the learner's own copies, and running a copy's checks."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from labkit import kernel
from labkit.config import settings
from labkit.errors import LabError
from labkit.grading import Verdict, run_judge
from labkit.messages import Capabilities


@dataclass(frozen=True)
class Lab:
    """One lab.

    Attributes:
        id: ``lab01``.
        name: ``lab01_first_tokens``, the stem of its files.
        student: The student edition.
    """

    id: str
    name: str
    student: Path

    @property
    def judge(self) -> Path:
        """The judge's file."""
        return self.student.parent / "judges" / f"{self.id}.py"

    @property
    def solution(self) -> Path:
        """The executed solution edition."""
        return self.student.parent / "solutions" / self.student.name

    @property
    def source(self) -> Path:
        """The one source of all editions."""
        return self.student.parent / "source" / f"{self.name}.py"


def folder() -> Path:
    """Where the labs are: ``notebooks/`` of the checkout, or the copy that travels inside the package."""
    here = Path(__file__).resolve().parent
    candidates = (here.parent / "notebooks", here / "_notebooks")
    for candidate in candidates:
        if (candidate / "judges").is_dir():
            return candidate
    raise LabError(
        "The labs are not where labkit looks for them.", "Reinstall with `pip install -e .` in the checkout."
    )


def labs() -> list[Lab]:
    """All labs, in order."""
    return [Lab(path.name[:5], path.stem, path) for path in sorted(folder().glob("lab[0-9][0-9]_*.ipynb"))]


def find(name: str) -> Lab:
    """A lab by ``lab01``, ``1``, ``01`` or its full name.

    Raises:
        LabError: There is no such lab.
    """
    wanted = f"lab{int(name):02d}" if name.isdigit() else name.removesuffix(".ipynb")
    for lab in labs():
        if wanted in (lab.id, lab.name):
            return lab
    known = ", ".join(lab.id for lab in labs())
    raise LabError(
        f"There is no lab {name!r}.", f"Choose one of {known}." if known else "Run `labkit build` first."
    )


def lacking(lab: Lab, capabilities: Capabilities) -> list[str]:
    """What a lab needs and is not there: capabilities of the runtime (``needs``), and Python modules (``modules``)."""
    declared = read(lab.student).metadata.get("labkit", {})
    abilities = [need for need in declared.get("needs", []) if not getattr(capabilities, need, False)]
    return abilities + [name for name in declared.get("modules", []) if find_spec(name) is None]


def work_folder() -> Path:
    """The learner's folder: ``LABKIT_WORK``, ``work/`` of the checkout, or one in the current directory."""
    chosen = settings().work
    if chosen is not None:
        return chosen
    base = folder().parent
    return base / "work" if (base / "pyproject.toml").is_file() else Path.cwd() / "edge-agents-lab"


@dataclass(frozen=True)
class Copy:
    """A learner's copy of a lab.

    Attributes:
        path: The notebook.
        newer: A newer edition laid beside it, if the lab has changed since the copy was made.
    """

    path: Path
    newer: Path | None = None


def open_copy(lab: Lab) -> Copy:
    """The learner's copy: made on first opening, never overwritten; a newer edition is laid beside it.

    Raises:
        LabError: The folder cannot be written.
    """
    work = work_folder()
    path = work / lab.student.name
    try:
        work.mkdir(parents=True, exist_ok=True)
        images = lab.student.parent / "images"
        if images.is_dir():
            shutil.copytree(images, work / "images", dirs_exist_ok=True)
        if not path.exists():
            shutil.copyfile(lab.student, path)
            return Copy(path)
        current = _edition(lab.student)
        if _edition(path) == current:
            return Copy(path)
        beside = work / f"{lab.name}.edition-{current[:8]}.ipynb"
        if not beside.exists():
            shutil.copyfile(lab.student, beside)
        return Copy(path, beside)
    except OSError as error:
        raise LabError(
            f"{work} cannot be written: {error}", "Set LABKIT_WORK to a folder of yours."
        ) from error


def reset(lab: Lab) -> Path:
    """Make a fresh copy beside the learner's; theirs stays."""
    first = open_copy(lab).path
    for number in range(1, 1000):
        fresh = first.with_name(f"{lab.name}.fresh-{number}.ipynb")
        if not fresh.exists():
            shutil.copyfile(lab.student, fresh)
            return fresh
    raise LabError("There are 999 fresh copies already.", f"Delete some in {first.parent}.")


def read(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        LabError: There is none, or it is not a notebook.
    """
    again = "Open it in JupyterLab and save it, or make a fresh copy with `labkit reset`."
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
            raise LabError(f"{path} is JSON, but not a notebook.", again)
        notebook: NotebookNode = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        return notebook
    except FileNotFoundError:
        raise LabError(f"There is no notebook {path}.", "Start the lab first: `labkit start`.") from None
    except LabError:
        raise
    except Exception as error:  # nbformat raises whatever a malformed cell provokes
        raise LabError(
            f"{path} cannot be read as a notebook: {str(error).partition(chr(10))[0]}", again
        ) from error


def graded(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells that carry points, by grade_id: checks and written questions."""
    return {meta["grade_id"]: cell for cell in notebook.cells if (meta := nbgrader_meta(cell)).get("grade")}


def nbgrader_meta(cell: NotebookNode) -> dict[str, Any]:
    """nbgrader's metadata of a cell, or an empty dict."""
    meta = cell.get("metadata", {}).get("nbgrader")
    return meta if isinstance(meta, dict) and isinstance(meta.get("grade_id"), str) else {}


@dataclass(frozen=True)
class Outcome:
    """How one graded cell of a learner's copy came out.

    Attributes:
        check: Its id.
        points: What it can earn.
        passed: Whether its check passed; None for a written question, which a person grades.
        message: Why not, with the hint; or what is odd about the cell.
        verdict: What the judge says, where it was asked.
    """

    check: str
    points: float
    passed: bool | None
    message: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Report:
    """The outcomes of one notebook, and what else is worth saying about it."""

    outcomes: list[Outcome]
    notes: list[str]
    cells: list[kernel.CellRun]


def run_checks(
    path: Path,
    lab: Lab,
    *,
    judge: bool = False,
    seed: int = 0,
    cell_timeout_s: float = 120,
    total_s: float = 600,
    env: dict[str, str] | None = None,
) -> Report:
    """Run a notebook in a clean kernel, with the lab's own checks in the place of whatever its check cells now hold.

    Raises:
        LabError: It is not a notebook.
    """
    mine, notes = with_own_checks(read(path), read(lab.student))
    originals = graded(mine)
    with kernel.start(
        mine, path.parent.resolve(), cell_timeout_s=cell_timeout_s, total_s=total_s, env=env
    ) as running:
        runs = running.run()
        points = {i: float(nbgrader_meta(c)["points"]) for i, c in originals.items() if c.cell_type == "code"}
        verdicts = run_judge(lab.judge, running, points, seed) if judge else []
    if runs and runs[-1].error in ("Timeout", "KernelDied"):
        notes.append(
            f"cell {runs[-1].index + 1} was stopped: {runs[-1].message}; the cells after it were not run"
        )
    checks = {id(cell) for cell in originals.values()}
    broken = [
        r
        for r in runs
        if r.error and id(mine.cells[r.index]) not in checks and r.error != "NotImplementedError"
    ]
    if broken and broken[0].error not in ("Timeout", "KernelDied"):
        notes.append(
            f"cell {broken[0].index + 1} is the first that failed, and others may fail because of it: {broken[0].message}"
        )
    by_cell = {id(mine.cells[run.index]): run for run in runs}
    by_check = {verdict.check: verdict for verdict in verdicts}
    outcomes = [_outcome(i, cell, by_cell.get(id(cell)), by_check.get(i)) for i, cell in originals.items()]
    return Report(outcomes, notes, runs)


def with_own_checks(mine: NotebookNode, original: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """The learner's notebook with every check cell as the lab has it: once each, unaltered. And what was odd."""
    wanted = graded(original)
    counts = Counter(nbgrader_meta(cell).get("grade_id") for cell in mine.cells)
    notes = [f"{i} was deleted; the original ran at the end" for i in wanted if not counts[i]]
    notes += [f"{i} stands {counts[i]} times; only the first counts" for i in wanted if counts[i] > 1]
    cells: list[NotebookNode] = []
    seen: set[str] = set()
    for cell in mine.cells:
        name = nbgrader_meta(cell).get("grade_id")
        if name not in wanted:
            cells.append(cell)
        elif name not in seen:
            seen.add(name)
            locked = nbgrader_meta(wanted[name]).get("locked")
            if locked and cell.source.strip() != wanted[name].source.strip():
                notes.append(f"{name} was changed; the original ran instead")
            cells.append(wanted[name] if locked else cell)
    cells += [cell for name, cell in wanted.items() if name not in seen]
    mine.cells = cells
    return mine, notes


def _outcome(name: str, cell: NotebookNode, run: kernel.CellRun | None, verdict: Verdict | None) -> Outcome:
    points = float(nbgrader_meta(cell)["points"])
    if cell.cell_type != "code":
        return Outcome(name, points, None, "graded by a person")
    if run is None:
        return Outcome(name, points, False, "not run", verdict)
    return Outcome(name, points, not run.error, run.message, verdict)


def _edition(path: Path) -> str:
    """The digest of the edition that a notebook came from, as its metadata says."""
    try:
        return str(read(path).metadata.get("labkit", {}).get("edition", ""))
    except LabError:
        return ""
