"""What one submission may use, and what it sees of the environment."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel, Field

HOME = "/tmp/home"
"""The home inside a sandbox; it is gone with it."""
NOBODY = 65534
"""User and group of a submission where the grader is root or a container."""
MB = 1_000_000


class Limits(BaseModel, frozen=True, extra="forbid"):
    """What one submission may use.

    Attributes:
        cell_s: Seconds for one cell, and for one question of the judge.
        total_s: Seconds for everything; then all its processes are killed.
        memory_mb: Address space of each process, and private memory of all together, in MB.
        file_mb: Largest file, and all files together, in MB.
        processes: Processes and threads together.
        threads: Threads of the engine that runs a model.
    """

    cell_s: float = Field(default=60, gt=0)
    total_s: float = Field(default=300, gt=0)
    memory_mb: int = Field(default=4000, ge=500)
    file_mb: int = Field(default=100, ge=1)
    processes: int = Field(default=128, ge=16)
    threads: int = Field(default=1, ge=1)


def kernel_environment(limits: Limits) -> dict[str, str]:
    """The learner's variables: nothing of the grader's."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": HOME, "LANG": "C.UTF-8", "USER": "learner",
        "LABKIT_HOME": f"{HOME}/labkit", "LABKIT_OFFLINE": "1", "LABKIT_THREADS": str(limits.threads),
        "OPENBLAS_NUM_THREADS": str(limits.threads), "MALLOC_ARENA_MAX": "2", "MPLCONFIGDIR": f"{HOME}/matplotlib",
        "PYTHONDONTWRITEBYTECODE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }  # fmt: skip
