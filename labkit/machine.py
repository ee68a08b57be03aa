"""What this machine is: memory, cores, GPU; and which model of the catalogue fits it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from labkit import models
from labkit.backends.threads import default_threads
from labkit.errors import ModelFileError


@dataclass(frozen=True)
class Machine:
    """The hardware, read now.

    Attributes:
        system: ``Linux``, ``Darwin`` or ``Windows``, with the processor's architecture.
        ram_mb: Installed memory in MB.
        free_mb: Memory that programs can still have, in MB.
        cores: Physical cores.
        threads: Threads that the engine uses at most.
        gpu: The GPU's name, or an empty string where none is seen.
        features: Vector instructions of the processor, as far as the system tells.
    """

    system: str
    ram_mb: int
    free_mb: int
    cores: int
    threads: int
    gpu: str
    features: tuple[str, ...]


def read() -> Machine:
    """Read the hardware."""
    memory = psutil.virtual_memory()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        ram_mb=memory.total // 10**6,
        free_mb=memory.available // 10**6,
        cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        threads=default_threads(),
        gpu=_gpu(),
        features=_features(),
    )


def recommend(machine: Machine) -> tuple[models.Model, str]:
    """The largest model of the catalogue that answers at a readable pace here, and why.

    The rule: half of the installed memory for the model at most, since a browser and JupyterLab need the rest; and on a
    CPU at most 0.6 GB of weights for each core used, because every generated token reads all weights once.
    """
    rows = list(models.catalogue().values())
    by_memory = machine.ram_mb // 2
    by_speed = 10**9 if machine.gpu else 600 * machine.threads
    fitting = [row for row in rows if row.ram_mb <= by_memory and row.size_mb <= by_speed]
    best = max(fitting or rows[:1], key=lambda row: row.size_mb)
    speed = f"{machine.gpu} computes" if machine.gpu else f"{machine.threads} CPU threads compute"
    why = (
        f"{machine.ram_mb / 1000:.1f} GB of memory allow a model of up to {by_memory / 1000:.1f} GB; {speed}"
        + ("" if machine.gpu else f", quick enough for files up to about {by_speed / 1000:.1f} GB")
        + f". {best.title} needs {best.ram_mb / 1000:.1f} GB."
    )
    return best, why


def make_room(folder: Path, size: float, what: str) -> None:
    """Make a folder of the cache, and look whether so many bytes are free there.

    Args:
        folder: Where something large will be written.
        size: How large, in bytes.
        what: What needs them, for the message.

    Raises:
        ModelFileError: The folder cannot be made, or there is no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ModelFileError(
            f"The folder {folder} cannot be made: {error.strerror}.", "Set LABKIT_CACHE to a folder of yours."
        ) from error
    if free < size:
        raise ModelFileError(
            f"{what} needs up to {size / 1e6:.0f} MB; {free / 1e6:.0f} MB are free in {folder}.",
            "Free some space, or set LABKIT_CACHE to a folder on another disk.",
        )


def _gpu() -> str:
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "Apple GPU (Metal)"
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ""
    try:
        asked = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip().partition("\n")[0]


def _features() -> tuple[str, ...]:
    wanted = (
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "amx_int8",
        "asimd",
        "asimddp",
        "i8mm",
    )
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "").split()
        return tuple(f for f in wanted if f in flags)
    return ()
