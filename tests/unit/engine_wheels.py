"""Wheels of an engine that only tells what it is, for the tests of the wheelhouse."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from packaging.tags import sys_tags

PINS = Path(__file__).resolve().parents[2] / "constraints.txt"
VERSION = re.findall(r"(?m)^llama_cpp_python==(.+)$", PINS.read_text(encoding="utf-8"))[0]
NATIVE = "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | AVX512 = 1 | AMX_INT8 = 1 | "
PORTABLE = "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | OPENMP = 1 | REPACK = 1 | "
PLATFORM = next(tag.platform for tag in sys_tags() if tag.interpreter == "py3")


def wheel_of(
    folder: Path, code: str, name: str = f"llama_cpp_python-{VERSION}-py3-none-{PLATFORM}.whl"
) -> Path:
    """A wheel of an engine whose module is this code."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        entry = zipfile.ZipInfo("llama_cpp/__init__.py")  # always of 1980: the same bytes each time
        archive.writestr(entry, code)
    return folder / name


def telling(info: str) -> str:
    return f"def llama_print_system_info(): return {info.encode()!r}"
