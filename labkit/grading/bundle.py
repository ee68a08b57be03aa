"""A lab's bundle: all that grading it needs. It holds the class's seed, so it stays with the instructor."""

from __future__ import annotations

import hashlib
import hmac
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from pydantic import BaseModel, ValidationError

from labkit.errors import LabError
from labkit.labs import Lab, nbgrader_meta

MANIFEST, NOTEBOOK, JUDGE = "bundle.json", "notebook.ipynb", "judge.py"


class Manifest(BaseModel, frozen=True, extra="forbid"):
    """What a bundle says of itself.

    Attributes:
        version: Of this form.
        lab: ``lab05``.
        name: ``lab05_tools``.
        seed: The judge's cases come from it.
        points: Points of each check.
        written: Points of the questions that a person grades.
        sha256: Checksums of the other files.
    """

    version: int = 1
    lab: str
    name: str
    seed: int
    points: dict[str, float]
    written: dict[str, float]
    sha256: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """One lab, ready for grading."""

    manifest: Manifest
    notebook_text: str
    judge: str

    @property
    def lab(self) -> str:
        """``lab05``."""
        return self.manifest.lab

    def notebook(self) -> NotebookNode:
        """The student edition, the source of truth for its checks: a fresh one each time."""
        return nbformat.reads(self.notebook_text, as_version=4)

    @cached_property
    def digest(self) -> str:
        """Two bundles with the same digest grade alike."""
        return hashlib.sha256(self.manifest.model_dump_json().encode()).hexdigest()

    def save(self, folder: Path) -> Path:
        """Write ``labNN.zip`` into a folder. The same bundle gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.lab}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in self._files().items():
                archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
        path.chmod(0o600)
        return path

    def unpack(self, folder: Path) -> Path:
        """Write the same as a folder; for reading, or for changing by hand."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self._files().items():
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    def _files(self) -> dict[str, str]:
        manifest = self.manifest.model_dump_json(indent=2) + "\n"
        return {MANIFEST: manifest, NOTEBOOK: self.notebook_text, JUDGE: self.judge}


def seed_of(secret: str, lab: str) -> int:
    """A lab's seed from the class's secret: nobody without the secret can tell it."""
    return int.from_bytes(hmac.digest(secret.encode(), f"labkit {lab}".encode(), "sha256")[:8], "big")


def make(lab: Lab, student: NotebookNode, secret: str) -> Bundle:
    """The bundle of a lab.

    Args:
        lab: Which one; its judge is read.
        student: Its student edition.
        secret: The class's.

    Raises:
        LabError: Ids that stand twice, or checks without points.
    """
    problems = faults(student)
    if problems:
        raise LabError(f"{lab.id} cannot be graded: {'; '.join(problems)}.", f"Mend {lab.source.name}.")
    cells = [(nbgrader_meta(cell), cell) for cell in student.cells if nbgrader_meta(cell).get("grade")]
    text = nbformat.writes(student)
    judge = lab.judge.read_text(encoding="utf-8")
    manifest = Manifest(
        lab=lab.id,
        name=lab.name,
        seed=seed_of(secret, lab.id),
        points={m["grade_id"]: float(m["points"]) for m, cell in cells if cell.cell_type == "code"},
        written={m["grade_id"]: float(m["points"]) for m, cell in cells if cell.cell_type != "code"},
        sha256={NOTEBOOK: _sha256(text), JUDGE: _sha256(judge)},
    )
    return Bundle(manifest, text, judge)


def faults(notebook: NotebookNode) -> list[str]:
    """What makes a notebook ungradable: ids that stand twice, checks without points or without a lock."""
    metas = [(meta, cell) for cell in notebook.cells if (meta := nbgrader_meta(cell))]
    counts = Counter(meta["grade_id"] for meta, _ in metas)
    counts_ids = Counter(cell.get("id") for cell in notebook.cells if cell.get("id"))
    found = [f"{name} stands {n} times" for name, n in counts.items() if n > 1]
    found += [
        f"the cell id {name} stands {n} times" for name, n in counts_ids.items() if n > 1 and counts[name] < 2
    ]
    for meta, cell in metas:
        named = cell.cell_type == "code" and re.search(r"^\s*with check\(", cell.source, re.M)
        points = meta.get("points")
        if (meta.get("grade") or named) and not (isinstance(points, int | float) and points > 0):
            found.append(f"{meta['grade_id']} has no points")
        if named and not (meta.get("grade") and meta.get("locked")):
            found.append(f"{meta['grade_id']} is a check, but not graded and locked")
    plain = [cell for cell in notebook.cells if cell.cell_type == "code" and not nbgrader_meta(cell)]
    for cell in plain:
        found += [
            f"the check {n} has no points"
            for n in re.findall(r"^with check\(\s*[\"']([\w-]+)", cell.source, re.M)
        ]
    return found


def load(path: Path) -> Bundle:
    """Read a bundle from its zip or folder.

    Raises:
        LabError: It is none, or not as it was made.
    """
    again = "Make it anew with `labkit release`."
    try:
        if path.is_dir():
            files = {name: (path / name).read_text(encoding="utf-8") for name in (MANIFEST, NOTEBOOK, JUDGE)}
        else:
            with zipfile.ZipFile(path) as archive:
                files = {name: archive.read(name).decode() for name in (MANIFEST, NOTEBOOK, JUDGE)}
        manifest = Manifest.model_validate_json(files[MANIFEST])
    except (OSError, KeyError, ValueError, ValidationError, zipfile.BadZipFile) as error:
        raise LabError(f"{path} is no bundle of a lab: {str(error).partition(chr(10))[0]}", again) from None
    if manifest.sha256 != {name: _sha256(files[name]) for name in (NOTEBOOK, JUDGE)}:
        raise LabError(f"{path} was changed after it was made.", again)
    return Bundle(manifest, files[NOTEBOOK], files[JUDGE])


def load_all(folder: Path) -> dict[str, Bundle]:
    """All bundles of a folder by lab; a single bundle counts as a folder of one.

    Raises:
        LabError: There is none.
    """
    single = folder.is_file() or (folder / MANIFEST).is_file()
    found = (
        [folder]
        if single
        else sorted(p for p in folder.glob("*") if p.suffix == ".zip" or (p / MANIFEST).is_file())
    )
    if not found:
        raise LabError(f"There are no bundles in {folder}.", "Make them with `labkit release --seed SECRET`.")
    return {bundle.lab: bundle for bundle in map(load, found)}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
