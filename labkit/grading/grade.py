"""Grading one submission: a pure function of the submission and the lab's bundle."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labkit import kernel, labs
from labkit.errors import LabError
from labkit.grading import files
from labkit.grading.bundle import Bundle
from labkit.grading.canary import canary, shortened
from labkit.grading.judge import Verdict, run_judge
from labkit.grading.prune import demonstrations
from labkit.grading.result import CheckResult, Result
from labkit.grading.sandbox import Sandbox

MOST_CELLS = 2000
CANARY = "labkit-canary"
SKIP = "skip-execution"  # nbclient knows it
OUTSIDE = ("Timeout", "KernelDied")


def grade(
    submission: Path,
    bundle: Bundle,
    sandbox: Sandbox,
    *,
    executed: Path | None = None,
    everything: bool = False,
) -> Result:
    """Grade a notebook: the lab's own checks in their places, run in the sandbox, judged outside of it.

    Args:
        submission: The notebook as it was handed in.
        bundle: The lab's.
        sandbox: Where it runs, and within which limits.
        executed: Where to write the notebook as it ran, if anywhere.
        everything: Also run the lab's own cells that only show something.

    Returns:
        Always a result: what cannot be graded is refused, with a reason.

    Raises:
        LabError: The sandbox or the judge does not work; the submission is not to blame.
    """
    began = time.monotonic()
    blank = Result(
        status="refused",
        lab=bundle.lab,
        submission=files.clean(submission.name),
        bundle=bundle.digest,
        points=sum(bundle.manifest.points.values()),
        sandbox=sandbox.name,
    )
    try:
        data = files.read_bounded(submission)
        blank = blank.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
        notebook, notes = _prepare(submission, bundle)
    except LabError as error:
        return blank.model_copy(update={"reason": files.clean(error.message.replace(str(submission), "it"))})
    sources = [cell.source for cell in notebook.cells]
    left_out, names = (0, set[str]()) if everything else _leave_out(notebook, bundle)
    runs, verdicts = _run(notebook, bundle, sandbox)
    for cell, source in zip(notebook.cells, sources, strict=True):
        cell.source = source
    if _missed(runs, verdicts) & names:
        return grade(submission, bundle, sandbox, executed=executed, everything=True)
    if runs and runs[-1].error in OUTSIDE:
        notes.append(f"cell {_place(notebook, runs[-1].index)} ended the run: {runs[-1].message[:200]}")
    by_cell = {id(notebook.cells[run.index]): run for run in runs}
    public = {name: by_cell.get(id(cell)) for name, cell in labs.graded(notebook).items()}
    checks = tuple(_check(verdict, public.get(verdict.check)) for verdict in verdicts)
    canaries = {name: by_cell.get(id(cell)) for cell in notebook.cells if (name := cell.metadata.get(CANARY))}
    tampering = [
        f"{name}: passed where it must fail" for name, run in canaries.items() if run and not run.error
    ]
    if executed:
        notebook.cells = [cell for cell in notebook.cells if not cell.metadata.get(CANARY)]
        for cell in notebook.cells:
            cell.metadata.pop("tags", None)
        files.write_whole(executed, nbformat.writes(notebook))
    return blank.model_copy(
        update={
            "status": "graded",
            "earned": sum(check.earned for check in checks),
            "checks": checks,
            "written": bundle.manifest.written,
            "notes": tuple(map(files.clean, notes)),
            "tampering": tuple(tampering),
            "left_out": left_out,
            "seconds": round(time.monotonic() - began, 2),
        }
    )


def _check(verdict: Verdict, run: kernel.CellRun | None) -> CheckResult:
    return CheckResult(
        check=verdict.check,
        points=verdict.points,
        earned=verdict.earned,
        reason=verdict.reason,
        public=None if run is None else not run.error,
        message=files.clean(run.message[:2000]) if run and run.error else "",
        detail=files.clean(verdict.detail),
    )


def lab_of(notebook: NotebookNode) -> str:
    """The lab that a notebook belongs to, as its metadata and the ids of its cells say; empty if they do not."""
    told = notebook.metadata.get("labkit")
    lab = told.get("lab") if isinstance(told, dict) else None
    if isinstance(lab, str) and re.fullmatch(r"lab\d\d", lab):
        return lab
    names = [str(labs.nbgrader_meta(cell).get("grade_id", "")) for cell in notebook.cells]
    found = Counter(match[1] for name in names if (match := re.match(r"(lab\d\d)-", name)))
    return found.most_common(1)[0][0] if found else ""


def _prepare(submission: Path, bundle: Bundle) -> tuple[NotebookNode, list[str]]:
    """The notebook that will run: the learner's sources and nothing else of theirs, the lab's checks, the canaries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbformat mends cell ids that stand twice, and says so
        read = labs.read(submission)
    lab = lab_of(read)
    if lab != bundle.lab:
        what = f"of {lab}" if lab else "of none of the labs"
        raise LabError(f"it is a notebook {what}, not of {bundle.lab}", "Hand in the right one.")
    if len(read.cells) > MOST_CELLS:
        raise LabError(f"it has {len(read.cells)} cells", f"Keep it below {MOST_CELLS}.")
    original = bundle.notebook()
    mine = nbformat.v4.new_notebook(cells=[_bare(cell) for cell in read.cells], metadata=original.metadata)
    exercises = [n for cell in original.cells if (n := labs.nbgrader_meta(cell).get("grade_id"))]
    handed_in = [n for cell in mine.cells if (n := labs.nbgrader_meta(cell).get("grade_id")) in exercises]
    merged, notes = labs.with_own_checks(mine, original)
    graded = labs.graded(original)
    notes += [f"the exercise {n} is missing" for n in exercises if n not in handed_in and n not in graded]
    if list(dict.fromkeys(handed_in)) != [n for n in exercises if n in handed_in]:
        notes.append("its cells are in another order")
    nonce = "x" + hashlib.sha256(f"{bundle.manifest.seed} canary".encode()).hexdigest()[:12]
    cells: list[NotebookNode] = []
    for cell in merged.cells:
        cells.append(cell)
        name = labs.nbgrader_meta(cell).get("grade_id")
        if name in bundle.manifest.points and (source := canary(cell.source, nonce)):
            cells.append(nbformat.v4.new_code_cell(source, metadata={CANARY: name}))
    merged.cells = cells
    return merged, notes


def _leave_out(notebook: NotebookNode, bundle: Bundle) -> tuple[int, set[str]]:
    """Take out what need not run. Returns from how many cells, and the names that are not bound then."""
    plain = [
        cell for cell in bundle.notebook().cells if cell.cell_type == "code" and not labs.nbgrader_meta(cell)
    ]
    for cell in notebook.cells:
        if labs.nbgrader_meta(cell).get("grade_id") in bundle.manifest.points:
            cell.source = shortened(cell.source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    left = demonstrations([cell.source for cell in code], {cell.source for cell in plain}, bundle.judge)
    for place, source in left.rest.items():
        code[place].source = source
        if not source:
            code[place].metadata["tags"] = [SKIP]
    return len(left.rest), left.names


def _missed(runs: list[kernel.CellRun], verdicts: list[Verdict]) -> set[str]:
    """The names that some code looked for in vain."""
    texts = [run.message for run in runs] + [verdict.detail for verdict in verdicts]
    return {name for text in texts for name in re.findall(r"name '(\w+)' is not defined", text)}


def _bare(cell: NotebookNode) -> NotebookNode:
    """A cell's text and nbgrader's metadata; no tags, no outputs, no attachments."""
    meta = labs.nbgrader_meta(cell)
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    bare: NotebookNode = make.get(cell.cell_type, nbformat.v4.new_raw_cell)(cell.source)
    if meta:
        bare.metadata["nbgrader"] = nbformat.from_dict(meta)
    return bare


def _run(
    notebook: NotebookNode, bundle: Bundle, sandbox: Sandbox
) -> tuple[list[kernel.CellRun], list[Verdict]]:
    limits = sandbox.limits
    with tempfile.TemporaryDirectory(prefix="labkit-judge-") as made:
        judge = Path(made) / f"{bundle.lab}.py"
        judge.write_text(bundle.judge, encoding="utf-8")
        with kernel.start(
            notebook, Path(made), cell_timeout_s=limits.cell_s, total_s=limits.total_s, launcher=sandbox
        ) as running:
            runs = running.run()
            return runs, run_judge(judge, running, bundle.manifest.points, bundle.manifest.seed)


def _place(notebook: NotebookNode, index: int) -> int:
    """A cell's number without the canaries, from 1."""
    return sum(not cell.metadata.get(CANARY) for cell in notebook.cells[: index + 1])
