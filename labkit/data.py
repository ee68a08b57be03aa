"""Where the course's small data sets are: ``data/`` of the checkout, or the copy that travels inside the package."""

from __future__ import annotations

from pathlib import Path

from labkit.errors import LabError


def path(name: str) -> Path:
    """A data file by its name in ``data/``, such as ``tools/cases.jsonl``.

    Raises:
        LabError: There is no such file.
    """
    here = Path(__file__).resolve().parent
    for folder in (here.parent / "data", here / "_data"):
        if (folder / name).is_file():
            return folder / name
    raise LabError(f"There is no data file {name}.", "Reinstall with `pip install -e .` in the checkout.")
