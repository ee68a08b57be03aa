"""Jobs on this machine, several at a time, each in a process of its own, which can die or hang without harm to the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import ModuleType
from typing import Any, Protocol, TypeVar


class Job(Protocol):
    """What a process does."""

    @property
    def limit_s(self) -> float:
        """Seconds after which its process is killed."""
        ...

    def run(self) -> None:
        """Do it, there."""
        ...


J = TypeVar("J", bound=Job)


def run(jobs: Iterable[J], workers: int) -> Iterator[tuple[J, str]]:
    """Run each job; it comes back exactly once, in the order in which they end, with how its process ended.

    Args:
        jobs: What to do. They are sent to other processes, so they can be pickled.
        workers: How many at a time.
    """
    context: Any = multiprocessing.get_context(
        "spawn" if sys.platform in ("win32", "darwin") else "forkserver"
    )
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["labkit.grading.grade"])
    waiting = iter(jobs)
    running: dict[int, tuple[Any, J, float]] = {}
    try:
        while True:
            while len(running) < workers and (job := next(waiting, None)):
                process = context.Process(target=_work, args=(job,), daemon=True)
                with _without_main():
                    process.start()
                running[process.sentinel] = (process, job, time.monotonic() + job.limit_s)
            if not running:
                return
            ended = wait(list(running), timeout=1)
            late = [key for key, (_, _, until) in running.items() if time.monotonic() > until]
            for key in {*ended, *late}:
                process, job, _ = running.pop(key)  # pyright: ignore[reportArgumentType]
                process.kill() if key in late else None
                process.join()
                yield job, "it took too long" if key in late else f"exit code {process.exitcode}"
    finally:
        for process, _, _ in running.values():
            process.kill()
            process.join()


@contextmanager
def _without_main() -> Generator[None]:
    """A worker would import the program that called; it needs nothing of it, and not every program bears that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(job: Job) -> None:
    """In the process: do the job, and end with the process that asked for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    job.run()
