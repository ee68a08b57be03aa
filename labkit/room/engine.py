"""The engine's wheel, compiled for a *baseline*: a set of instructions that every processor of the room has.

What was compiled is asked, not the flags: ``llama_print_system_info`` of the library inside the wheel names the
instructions that it may use.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import ConfigError
from labkit.room.install import system_tag
from labkit.room.pip import pip, put, tail

PACKAGE = "llama-cpp-python"
BASELINES: Mapping[str, Sequence[str]] = {
    "x86-64-v2": ("SSE3", "SSSE3"),
    "x86-64-v3": ("SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2"),
    "armv8-a": ("NEON", "ARM_FMA"),
    "apple-m1": ("NEON", "ARM_FMA", "FP16_VA", "DOTPROD"),
}
"""The instructions that a build for the baseline may use, as llama.cpp names them."""
ANYWHERE = {"LLAMAFILE", "OPENMP", "REPACK", "ACCELERATE", "EMBED_LIBRARY"}
"""What llama.cpp lists besides and is no instruction of a processor."""
X86_SWITCHES = ("AVX", "AVX2", "F16C", "FMA", "BMI2")
OPENVINO = {"baseline": "", "cpu": [], "engine": "OpenVINO", "glibc": "0"}
"""The engine that needs no building, in the words of a manifest: it looks at the processor when it runs."""
SYSTEM_INFO = (
    "import llama_cpp; print(llama_cpp.__file__); print(llama_cpp.llama_print_system_info().decode())"
)


def baseline(name: str = "") -> str:
    """A baseline of this machine's architecture; by default the newest.

    Raises:
        ConfigError: There is none of that name.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    fitting = (
        ("x86-64-v3", "x86-64-v2") if x86 else ("apple-m1",) if sys.platform == "darwin" else ("armv8-a",)
    )
    if name and name not in fitting:
        raise ConfigError(f"{name!r} is no baseline for this machine.", f"Choose {' or '.join(fitting)}.")
    return name or fitting[0]


def cmake_args(baseline: str) -> str:
    """llama.cpp's switches for a baseline, each of them stated. ``GGML_NATIVE`` alone would leave them to its defaults."""
    switches = {"LLAVA_BUILD": False, "GGML_NATIVE": False}
    if baseline.startswith("x86"):
        switches |= {"GGML_SSE42": True} | {f"GGML_{f}": f in BASELINES[baseline] for f in X86_SWITCHES}
    return " ".join(f"-D{name}={'ON' if on else 'OFF'}" for name, on in switches.items())


def beyond(system_info: str, baseline: str) -> list[str]:
    """What a library may use and the baseline does not have.

    Args:
        system_info: llama.cpp's line, such as ``CPU : SSE3 = 1 | AVX512 = 1 | ``.
        baseline: One of ``BASELINES``.
    """
    used = {name for name, value in re.findall(r"(\w+) = (\d+)", system_info) if value != "0"}
    return sorted(used - {*BASELINES[baseline], *ANYWHERE})


def check(wheel: Path, version: str, baseline: str) -> str:
    """Load the library of an engine's wheel in a process of its own, and compare what it may use with the baseline.

    Returns:
        llama.cpp's line about itself.

    Raises:
        ConfigError: It is another package or version, not for this system, does not load, or is not portable.
    """
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    again = "Let `labkit wheelhouse` build it: without --engine, and with CFLAGS and CXXFLAGS unset."
    try:
        name, found, _, tags = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as error:
        raise ConfigError(f"{wheel} is no wheel: {error}.", again) from error
    if (name, str(found)) != (PACKAGE, version):
        raise ConfigError(f"{wheel.name} is {name} {found}; needed is {PACKAGE} {version}.", again)
    if tags.isdisjoint(sys_tags()):
        raise ConfigError(f"{wheel.name} is not for this system: {system_tag()}.", again)
    with tempfile.TemporaryDirectory() as folder:
        try:
            zipfile.ZipFile(wheel).extractall(folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{wheel} cannot be opened: {error}.", again) from error
        own = {k: v for k, v in os.environ.items() if k != "LLAMA_CPP_LIB_PATH"} | {"PYTHONPATH": folder}
        run = subprocess.run(
            [sys.executable, "-c", SYSTEM_INFO], env=own, cwd=folder, capture_output=True, text=True
        )
        where, _, info = run.stdout.strip().partition("\n")
        if run.returncode or not Path(where).is_relative_to(Path(folder).resolve()):
            raise ConfigError(f"The library in {wheel.name} does not load here: {tail(run.stderr)}", again)
    if more := beyond(info, baseline):
        raise ConfigError(
            f"{wheel.name} may use {', '.join(more)}, which {baseline} does not have: laptops without it would end with"
            " 'Illegal instruction'.",
            again,
        )
    return info


def prepare(
    wheels: Path, version: str, baseline: str, given: Path | None, say: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """The engine's wheel in the folder: the given one, that of an earlier run, or one that is built now.

    Returns:
        The wheel, and what the manifest says about it: ``glibc`` is the oldest C library on which it is known to run.
    """
    wheel = given or _earlier(wheels, version, baseline)
    if wheel is None:
        say(f"Building {PACKAGE} {version} for {baseline}: 4 to 12 minutes.")
        wheel = build(wheels, version, baseline)
    about = {
        "baseline": baseline,
        "cpu": [name.lower() for name in BASELINES[baseline] if name in X86_SWITCHES],
        "engine": check(wheel, version, baseline),
        "glibc": platform.libc_ver()[1] or "0",
    }
    return put(wheel, wheels), about


def _earlier(wheels: Path, version: str, baseline: str) -> Path | None:
    """A wheel in the folder that is compiled for just this baseline. There may also be those of other systems."""
    for wheel in wheels.glob(f"llama_cpp_python-{version}-*.whl"):
        try:
            info = check(wheel, version, baseline)
        except ConfigError:
            continue
        if all(f"{name} = 1" in info for name in BASELINES[baseline]):
            return wheel
    return None


def build(wheels: Path, version: str, baseline: str) -> Path:
    """Compile the engine. Without pip's cache: it may hold a build for this processor alone, and should not get this one.

    Raises:
        LabkitError: It does not compile.
        ConfigError: What was compiled is not portable, for example because CFLAGS ask for this processor.
    """
    hint = "Install a C++ compiler (see TROUBLESHOOTING.md), connect to the internet, or give a wheel with --engine."
    fresh = ("--no-deps", "--no-cache-dir", "--no-binary", PACKAGE)
    with tempfile.TemporaryDirectory() as folder:
        pip(
            f"build {PACKAGE}", hint, "wheel", *fresh, "-w", folder, f"{PACKAGE}=={version}",
            env={"CMAKE_ARGS": cmake_args(baseline)},
        )  # fmt: skip
        wheel = next(Path(folder).glob("*.whl"))
        check(wheel, version, baseline)
        return put(wheel, wheels)
