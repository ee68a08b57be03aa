"""A small lab, its bundle with a secret seed, and one run of the autograder over every hostile notebook."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from labkit.grading import small_lab
from labkit.grading.autograde import Summary, autograde
from labkit.grading.bundle import Bundle
from labkit.grading.hostile import ATTACKS
from labkit.grading.result import Result, read
from labkit.grading.sandbox import Bubblewrap
from labkit.grading.small_lab import LIMITS, SOLVED, notebook


@pytest.fixture(scope="session", autouse=True)
def secret_in_the_environment() -> Iterator[None]:
    os.environ["CLASS_SECRET"] = "hunter2"
    yield
    del os.environ["CLASS_SECRET"]


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return small_lab.bundle()


@pytest.fixture(scope="session")
def bundle_dir(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    bundle.save(folder)
    return folder


@pytest.fixture(scope="session")
def sandbox() -> Bubblewrap:
    return Bubblewrap(LIMITS)


@pytest.fixture(scope="session")
def attacked(
    bundle_dir: Path, sandbox: Bubblewrap, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Summary, dict[str, Result]]:
    """All hostile notebooks and one honest one, graded together."""
    base = tmp_path_factory.mktemp("class")
    (base / "in").mkdir()
    for attack in ATTACKS:
        nbformat.write(attack.notebook(), base / "in" / f"{attack.name}.ipynb")
    nbformat.write(notebook(*SOLVED), base / "in" / "honest.ipynb")
    summary = autograde(base / "in", bundle_dir, base / "out", sandbox=sandbox, workers=3, quiet=True)
    found = {path.parent.parent.name: result for path in summary.results if (result := read(path))}
    return summary, found
