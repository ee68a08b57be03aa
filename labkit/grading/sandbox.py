"""Where a submission's kernel runs: bubblewrap on Linux, a container where one is configured, or, only on demand, nothing.

A sandbox starts the kernel's command; the kernel is then reached by ZMQ over Unix sockets in a folder of its own. Whatever
runs inside sees the interpreter, labkit, the labs' data and the model, all read-only, and nothing else of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from labkit.config import settings
from labkit.errors import LabError
from labkit.grading.bubblewrap import Bubblewrap
from labkit.grading.limits import MB, NOBODY, Limits, kernel_environment
from labkit.grading.watch import MemoryWatch
from labkit.kernel import Launcher


class Sandbox(Launcher, Protocol):
    """A launcher that says what it is."""

    @property
    def name(self) -> str:
        """One word for results."""
        ...

    @property
    def limits(self) -> Limits:
        """What a submission may use."""
        ...

    def describe(self) -> str:
        """One sentence for people."""
        ...


@dataclass(frozen=True)
class Container:
    """Docker or Podman. The image must have labkit and its extras; its interpreter is ``python``."""

    image: str
    engine: str = "docker"
    limits: Limits = field(default_factory=Limits)
    name: str = "container"
    transport: Literal["ipc", "tcp"] = "ipc"

    @property
    def environment(self) -> dict[str, str]:
        """Of the engine's client, outside."""
        return {name: os.environ[name] for name in ("PATH", "HOME", "XDG_RUNTIME_DIR") if name in os.environ}

    def command(self, kernel: Sequence[str], runtime: Path) -> list[str]:
        """``docker run`` with every door closed."""
        runtime.chmod(0o777)  # the user inside is another; the folder is in one that only this user may enter
        for path in runtime.iterdir():
            path.chmod(0o644)
        most = self.limits
        pairs = kernel_environment(most)
        return [
            self.engine, "run", "--rm", "--init", f"--name={runtime.name}", "--network=none", "--read-only", "--cap-drop=ALL",
            "--security-opt=no-new-privileges", f"--user={NOBODY}:{NOBODY}", f"--memory={most.memory_mb}m",
            f"--memory-swap={most.memory_mb}m", f"--pids-limit={most.processes}", f"--ulimit=fsize={most.file_mb * MB}",
            f"--ulimit=cpu={round(most.total_s) + 1}", f"--tmpfs=/tmp:size={most.file_mb}m,mode=1777", "--workdir=/tmp",
            f"--volume={runtime}:{runtime}", *(f"--env={name}={value}" for name, value in pairs.items()),
            self.image, "python", *kernel[1:],
        ]  # fmt: skip

    def watch(self, pid: int) -> AbstractContextManager[None]:
        """The engine itself bounds the memory."""
        return nullcontext()

    def stop(self, runtime: Path) -> None:
        """Kill the container: it outlives the client that started it."""
        subprocess.run(
            [self.engine, "kill", runtime.name],
            env=self.environment,
            capture_output=True,
            timeout=30,
            check=False,
        )

    def describe(self) -> str:
        """What it keeps out."""
        return (
            f"{self.engine} with {self.image}: no network, read-only system, limits of memory and processes"
        )


@dataclass(frozen=True)
class Plain:
    """A process like any other, with a clean environment. It can read and change whatever you can."""

    limits: Limits = field(default_factory=Limits)
    name: str = "none"
    transport: Literal["ipc", "tcp"] = "tcp"

    @property
    def environment(self) -> dict[str, str]:
        """Without this process's variables, but for those that a system needs."""
        kept = (
            "PATH",
            "SYSTEMROOT",
            "TEMP",
            "TMP",
            "TMPDIR",
            "LD_LIBRARY_PATH",
            "HOME",
            "USERPROFILE",
            "APPDATA",
        )
        mine = {name: os.environ[name] for name in kept if name in os.environ}
        return {**kernel_environment(self.limits), "LABKIT_CACHE": str(settings().cache), **mine}

    def command(self, kernel: Sequence[str], runtime: Path) -> list[str]:
        """As it is."""
        return list(kernel)

    def watch(self, pid: int) -> AbstractContextManager[MemoryWatch]:
        """The one limit beside time that holds here."""
        return MemoryWatch(pid, self.limits.memory_mb)

    def stop(self, runtime: Path) -> None:
        """Nothing more than the kill of its processes."""

    def describe(self) -> str:
        """The warning."""
        return "no sandbox: submissions run with your rights, and can read and change your files"


def choose(
    limits: Limits | None = None, *, unsafe: bool = False, image: str = "", engine: str = "docker"
) -> Sandbox:
    """The sandbox of this machine.

    Args:
        limits: What a submission may use.
        unsafe: Use none, whatever the machine has.
        image: A container image to use in place of bubblewrap.
        engine: ``docker`` or ``podman``.

    Raises:
        LabError: There is no sandbox on this machine.
    """
    limits = limits or Limits()
    if unsafe:
        return Plain(limits)
    if image:
        if shutil.which(engine):
            return Container(image, engine, limits)
        raise LabError(f"{engine} is not on this machine.", f"Install {engine}, or leave the image out.")
    found = Bubblewrap(limits)
    problem = found.problem()
    if not problem:
        return found
    raise LabError(
        f"There is no sandbox on this machine: {problem}.",
        "On Linux install it (`sudo apt install bubblewrap`); elsewhere give a container image, or grade in WSL or a Linux VM. "
        "`--unsafe-no-sandbox` runs submissions with your rights: only for notebooks that you trust.",
    )


def describe() -> tuple[bool, str]:
    """Whether submissions can be graded safely here, and by what or why not."""
    try:
        return True, choose().describe()
    except LabError as error:
        return False, error.message
