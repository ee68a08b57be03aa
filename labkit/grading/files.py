"""Files of people who may mean ill: read within bounds, named harmlessly, written as a whole."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path

from labkit.errors import LabError

LARGEST = 20_000_000
"""Bytes of a notebook."""


def read_bounded(path: Path, most: int = LARGEST) -> bytes:
    """Read a regular file: no link, no pipe, no device, and not more than ``most`` bytes.

    Raises:
        LabError: It is something else, or cannot be read.
    """
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    mend = "Hand in the notebook itself."
    try:
        if path.is_symlink():
            raise LabError(f"{path} is a symbolic link", mend)
        handle = os.open(path, flags)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise LabError(f"{path} is no regular file", mend)
            data = file.read(most + 1)
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}", mend) from None
    if len(data) > most:
        raise LabError(f"{path} is larger than {most // 1_000_000} MB", "Clear its outputs and save it.")
    return data


def clean(text: str) -> str:
    """A text that can be written: half characters, from odd file names or from a kernel, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def slug(text: str) -> str:
    """A file name from anything: letters, digits, dots and hyphens, not hidden, not long."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:80] or "unnamed"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that no reader and no interruption ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
