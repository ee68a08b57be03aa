"""What an instructor hands out and keeps: student editions, bundles for grading, a class archive, nbgrader's source tree."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labkit import editions
from labkit.errors import LabError
from labkit.grading import bundle as bundles
from labkit.grading.bundle import Bundle
from labkit.grading.formgrader import CONFIG
from labkit.grading.grade import grade
from labkit.grading.sandbox import Sandbox, choose
from labkit.labs import Lab, folder

SHORTEST_SECRET = 8
CLASS_FILES = ("*.md", "LICENSE*", "pyproject.toml", "constraints.txt", "environment.yml", "requirements/**/*", "labkit/**/*",
               "data/**/*", "docs/**/*", "notebooks/*.ipynb", "notebooks/images/**/*")  # fmt: skip
"""What a class gets: no sources, no solutions, no judges, no tests."""
NO_JUDGES = "The judges of this class are with its instructor.\n"


@dataclass(frozen=True)
class Release:
    """What was written.

    Attributes:
        students: The student editions, for handing out.
        bundles: The bundles. They hold the class's seeds: for the instructor only.
        archive: The checkout without sources, solutions and judges, for handing out.
        nbgrader: A course folder for nbgrader's formgrader: for the instructor only.
    """

    students: tuple[Path, ...]
    bundles: tuple[Path, ...]
    archive: Path
    nbgrader: Path


def release(
    seed_secret: str,
    out: Path,
    *,
    labs: Sequence[Lab] | None = None,
    sandbox: Sandbox | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Release:
    """Write everything that a class needs, after every lab has proved that it can be graded.

    Args:
        seed_secret: The class's secret; the judges' cases come from it.
        out: A folder; what is in it already is replaced by name.
        labs: Which labs; all by default.
        sandbox: Where the solutions run; this machine's by default.
        say: Told what is being done.

    Raises:
        LabError: A lab has an id twice, a check without points, its solution in the student edition, or a solution that does
            not earn full points. Nothing is written then.
    """
    if len(seed_secret) < SHORTEST_SECRET:
        raise LabError("The secret is too short.", f"Use {SHORTEST_SECRET} characters or more, and keep it.")
    chosen = list(editions.sources() if labs is None else labs)
    sandbox = sandbox or choose()
    made: list[tuple[Lab, NotebookNode, NotebookNode, Bundle]] = []
    for lab in chosen:
        say(f"{lab.id}: its solution is graded")
        made.append((lab, *checked(lab, seed_secret, sandbox)))
    archive = out / "class.zip"
    nbgrader = out / "nbgrader"
    for lab, solved, student, _ in made:
        for notebook, path in (
            (student, out / "student" / f"{lab.name}.ipynb"),
            (solved, nbgrader / "source" / lab.id / f"{lab.name}.ipynb"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, path)
            _copy_images(lab, notebook, path.parent)
    (nbgrader / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    _write_archive(archive, {f"notebooks/{lab.name}.ipynb": student for lab, _, student, _ in made})
    return Release(
        tuple(out / "student" / f"{lab.name}.ipynb" for lab, *_ in made),
        tuple(bundle.save(out / "bundles") for *_, bundle in made),
        archive,
        nbgrader,
    )


def checked(lab: Lab, secret: str, sandbox: Sandbox) -> tuple[NotebookNode, NotebookNode, Bundle]:
    """The solution, the student edition and the bundle of a lab that can be graded.

    Raises:
        LabError: It cannot, for the reasons that ``release`` names.
    """
    solved = editions.solution(lab)
    problems = bundles.faults(solved)
    student = solved if problems else editions.student(lab)
    problems = problems or leaks(solved, student)
    if problems:
        raise LabError(f"{lab.id} is not released: {'; '.join(problems)}.", f"Mend {lab.source.name}.")
    bundle = bundles.make(lab, student, secret)
    with tempfile.TemporaryDirectory(prefix="labkit-") as made:
        path = Path(made) / f"{lab.name}.ipynb"
        nbformat.write(solved, path)
        result = grade(path, bundle, sandbox)
    lost = [
        f"{c.check}: {c.detail or c.reason or c.message}"
        for c in result.checks
        if c.earned < c.points or not c.public
    ]
    lost += [*result.tampering, *([result.reason] if result.reason else []), *result.notes]
    if lost or result.earned < result.points:
        raise LabError(
            f"{lab.id} is not released: its solution earns {result.earned:g} of {result.points:g} points ({'; '.join(lost)}).",
            f"Mend {lab.source.name} or {lab.judge.name}.",
        )
    return solved, student, bundle


def leaks(solved: NotebookNode, student: NotebookNode) -> list[str]:
    """Where the student edition still holds the solution: markers, outputs, or text of a solution region."""
    found: list[str] = []
    text = "\n".join(cell.source for cell in student.cells)
    for marker in ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN TESTS"):
        if marker in text:
            found.append(f"the student edition holds {marker!r}")
    if any(cell.get("outputs") or cell.get("attachments") for cell in student.cells):
        found.append("the student edition holds outputs or attachments")
    plain = _squeezed(text)
    regions = list(_regions(solved))
    outside = _squeezed("\n".join(_outside(cell.source) for cell in solved.cells))
    for region in regions:
        lines = [line for line in map(_squeezed, region.splitlines()) if len(line) > 24]
        whole = _squeezed(region)
        if len(region.splitlines()) > 1 and len(whole) > 40 and whole in plain:
            found.append(f"solution text in the student edition: {lines[0] if lines else whole[:60]!r}")
        found += [
            f"solution text in the student edition: {line!r}"
            for line in lines
            if line in plain and line not in outside
        ]
    return list(dict.fromkeys(found))


def _regions(notebook: NotebookNode) -> Iterator[str]:
    for cell in notebook.cells:
        yield from re.findall(r"### BEGIN SOLUTION\n(.*?)\n *### END SOLUTION", cell.source, flags=re.S)


def _outside(source: str) -> str:
    return re.sub(r"### BEGIN SOLUTION.*?### END SOLUTION", "", source, flags=re.S)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _copy_images(lab: Lab, notebook: NotebookNode, target: Path) -> None:
    text = "\n".join(cell.source for cell in notebook.cells)
    for name in set(re.findall(r"\]\(images/([\w.-]+)", text)):
        (target / "images").mkdir(exist_ok=True)
        shutil.copyfile(lab.student.parent / "images" / name, target / "images" / name)


def _write_archive(path: Path, students: dict[str, NotebookNode]) -> None:
    """The checkout by a list of what goes in, so that a new folder stays out until someone adds it."""
    root = folder().parent
    files = sorted({file for pattern in CLASS_FILES for file in root.glob(pattern) if file.is_file()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            name = file.relative_to(root).as_posix()
            hidden = any(
                part.startswith(".") or part in ("__pycache__", "_notebooks", "_data")
                for part in Path(name).parts
            )
            if not hidden and not re.fullmatch(r"notebooks/[^/]+\.ipynb", name) and not file.is_symlink():
                archive.write(file, f"edge-agents-lab/{name}")
        for name, notebook in students.items():
            archive.writestr(f"edge-agents-lab/{name}", nbformat.writes(notebook))
        archive.writestr("edge-agents-lab/notebooks/judges/README.md", NO_JUDGES)
