"""Running pip, and putting files into a wheelhouse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from labkit.errors import ConfigError, LabkitError


def put(file: Path, folder: Path) -> Path:
    """Copy a file into a folder, whole or not at all."""
    target = folder / file.name
    if not (target.exists() and target.samefile(file)):
        part = folder / f"{file.name}.part"
        shutil.copyfile(file, part)
        part.replace(target)
    return target


def pip(doing: str, hint: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run this Python's pip.

    Args:
        doing: What pip is asked for, for the error.
        hint: What to do if it cannot.
        arguments: Its command line.
        env: Variables besides those of this process.

    Returns:
        Its output.

    Raises:
        ConfigError: There is no pip.
        LabkitError: It failed; its last words are in the message.
    """
    run = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments],
        env={**os.environ, **(env or {})}, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    if "No module named pip" in run.stderr:
        raise ConfigError("This Python has no pip.", "Run `python -m ensurepip`.")
    if run.returncode:
        raise LabkitError(f"pip could not {doing}: {tail(run.stderr)}", hint)
    return run.stdout


def tail(text: str) -> str:
    """The last words of a program that failed."""
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())[-600:]
