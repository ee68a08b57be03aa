"""Submissions in bubblewrap: Linux namespaces without root."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import labkit
from labkit.config import settings
from labkit.grading.limits import HOME, MB, NOBODY, Limits, kernel_environment
from labkit.grading.watch import MemoryWatch


@dataclass(frozen=True)
class Bubblewrap:
    """Own user, process, network, IPC and mount namespaces; limits by rlimits; total memory by a watch."""

    limits: Limits = field(default_factory=Limits)
    name: str = "bubblewrap"
    transport: Literal["ipc", "tcp"] = "ipc"

    @property
    def environment(self) -> dict[str, str]:
        """Of bwrap itself, which the kernel can read: it is the first process of its namespace."""
        return {"PATH": os.defpath}

    def command(self, kernel: Sequence[str], runtime: Path) -> list[str]:
        """bwrap, then prlimit, then the kernel. Root first becomes nobody."""
        inside = [
            "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
            "--cap-drop", "ALL", "--hostname", "sandbox", "--clearenv", *self._variables,
            "--proc", "/proc", "--dev", "/dev", "--size", str(16 * MB), "--tmpfs", "/dev/shm",
            "--perms", "1777", "--size", str(self.limits.file_mb * MB), "--tmpfs", "/tmp", *self._tree,
            "--bind", str(runtime), str(runtime), "--dir", HOME, "--chdir", HOME,
            "--remount-ro", "/dev", "--remount-ro", "/",
            "--", *self._limited, *kernel,
        ]  # fmt: skip
        if os.geteuid() != 0:
            return inside
        for path in (runtime, *runtime.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        return [*_as_nobody([*self._paths, *filter(None, [self._fonts]), runtime]), *inside]

    def watch(self, pid: int) -> AbstractContextManager[MemoryWatch]:
        """Their private memory; what they share is the model and the interpreter."""
        return MemoryWatch(pid, self.limits.memory_mb)

    def stop(self, runtime: Path) -> None:
        """Nothing: the namespace ends with its first process."""

    def describe(self) -> str:
        """What it keeps out."""
        return "bubblewrap: no network, read-only system, own processes, limits of memory, time, files and processes"

    def problem(self) -> str:
        """Why it does not work here; empty if it does."""
        if platform.system() != "Linux":
            return "bubblewrap is for Linux"
        missing = [name for name in ("bwrap", "prlimit", "setpriv") if not shutil.which(name)]
        if missing:
            return f"{', '.join(missing)} not found"
        try:
            with tempfile.TemporaryDirectory(prefix="labkit-") as runtime:
                tried = self.command(["/usr/bin/true"], Path(runtime))
                run = subprocess.run(tried, env=self.environment, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        return run.stderr.strip().partition("\n")[0] if run.returncode else ""

    @property
    def _limited(self) -> list[str]:
        most = self.limits
        return [
            "prlimit", f"--as={most.memory_mb * MB}", f"--cpu={round(most.total_s) + 1}", f"--fsize={most.file_mb * MB}",
            f"--nproc={most.processes}", "--nofile=512", "--core=0", "--",
        ]  # fmt: skip

    @property
    def _variables(self) -> list[str]:
        pairs = kernel_environment(self.limits) | {
            "LABKIT_CACHE": str(settings().cache),
            "PYTHONPATH": str(_package().parent),
        }
        return [word for name, value in pairs.items() for word in ("--setenv", name, value)]

    @property
    def _tree(self) -> list[str]:
        """Read-only binds and links, in an order in which no one hides another."""
        words: list[str] = []
        for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
            path = Path(name)
            if path.is_symlink():
                words += ["--symlink", os.readlink(path), name]
            elif path.is_dir():
                words += ["--ro-bind", name, name]
        for path in sorted(self._paths):
            words += ["--ro-bind", str(path), str(path)]
        for hidden in (_package() / "_notebooks", _package() / "grading"):
            words += ["--tmpfs", str(hidden)] if hidden.is_dir() else []
        if self._fonts:
            words += ["--ro-bind", str(self._fonts), f"{HOME}/matplotlib/{self._fonts.name}"]
        return words

    @cached_property
    def _paths(self) -> list[Path]:
        cache = settings().cache
        wanted = [
            *map(Path, ("/usr", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime", "/etc/alternatives")),
            Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent,
            _package(), _package().parent / "data", cache / "models", cache / "verified.json",
        ]  # fmt: skip
        return sorted({path.absolute() for path in wanted if path.exists()})

    @cached_property
    def _fonts(self) -> Path | None:
        """matplotlib's list of fonts, which takes seconds to make."""
        import matplotlib
        from matplotlib.font_manager import FontManager

        made = Path(matplotlib.get_cachedir()) / f"fontlist-v{FontManager.__version__}.json"
        return made if made.is_file() else None


def _package() -> Path:
    return Path(labkit.__file__).resolve().parent


def _enterable(path: Path) -> list[Path]:
    """A path; or what it holds, if it is a folder that only its owner may enter, such as an environment in a private temporary folder."""
    closed = path.stat().st_mode & 0o005 != 0o005 and path.stat().st_uid != NOBODY
    return list(path.iterdir()) if path.is_dir() and closed else [path]


def _as_nobody(paths: Sequence[Path]) -> list[str]:
    """Root gives up its rights before it enters the sandbox; folders that only root may pass are opened on the way."""
    paths = [inside for path in paths for inside in _enterable(path)]
    walls = (
        next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None) for path in paths
    )
    words = ["bwrap", "--dev-bind", "/", "/"]
    for top in sorted({wall for wall in walls if wall}):
        below = [path for path in paths if top in path.parents]
        words += ["--perms", "0755", "--tmpfs", str(top)]
        between = {parent for path in below for parent in path.parents if top in parent.parents}
        for parent in sorted(between - set(below)):
            words += ["--perms", "0755", "--dir", str(parent)]
        for path in sorted(below):
            words += ["--bind", str(path), str(path)]
    # the process namespace ends with its first process, which dies with the grader; nobody's processes would not: its parent
    # may not send them signals
    ends = [
        "--unshare-pid",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CAP_SETUID",
        "--cap-add",
        "CAP_SETGID",
    ]
    nobody = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    return [*words, *ends, "--", "setpriv", *nobody, "--"]
