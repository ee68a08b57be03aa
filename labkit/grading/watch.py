"""The memory that a kernel and all its processes use together, looked at while they run."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil


class MemoryWatch:
    """Kills a process and its descendants when their private memory together passes a bound."""

    def __init__(self, pid: int, most_mb: int, every_s: float = 0.2) -> None:
        self.reason = ""
        self._pid, self._most_mb, self._every_s = pid, most_mb, every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._every_s):
            try:
                root = psutil.Process(self._pid)
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            if all(
                sum(map(of, family)) > self._most_mb for of in (_private_mb, _share_mb)
            ):  # the second takes longer
                self.reason = f"it used more than {self._most_mb} MB of memory"
                for process in family:
                    _kill(process)
                return


def _private_mb(process: psutil.Process) -> float:
    """What does not come from a file; a fork's copy is counted again."""
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return (memory.rss - getattr(memory, "shared", 0)) / 1e6


def _share_mb(process: psutil.Process) -> float:
    """Its share of all that it holds, so that nothing is counted twice."""
    try:
        return getattr(process.memory_full_info(), "pss", 0) / 1e6 or _private_mb(process)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:
        return _private_mb(process)


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
