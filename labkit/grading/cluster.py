"""The same grading on a Dask cluster, for a class that outgrew one machine.

A task is a pure function of bytes: the submission, the bundle, the limits. It writes nothing that lasts, so a task whose worker
is lost is simply done again elsewhere by Dask; the one process that asked writes each result, once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from labkit.errors import LabError
from labkit.grading import bundle as bundles
from labkit.grading.result import Result
from labkit.grading.sandbox import Sandbox

AT_ONCE = 3
"""Tasks for each thread of the cluster that are under way: enough to keep it busy, few enough to keep memory flat."""
CONNECT_S = 30


@dataclass(frozen=True)
class Task:
    """One submission and all that grading it needs, as bytes.

    Attributes:
        key: The same for the same submission of the same run.
        name: The notebook's file name.
        data: The notebook.
        bundle: The lab's bundle, a zip.
        sandbox: Where it runs, on the worker.
        everything: Also run cells that only show something.
    """

    key: str
    name: str
    data: bytes = field(repr=False)
    bundle: bytes = field(repr=False)
    sandbox: Sandbox
    everything: bool = False


@dataclass(frozen=True)
class Done:
    """What a worker sends back: the result, and the notebook as it ran; or what went wrong."""

    result: Result | None = None
    executed: str = ""
    problem: str = ""


def work(task: Task) -> Done:
    """Grade one submission: what a worker does."""
    from labkit.grading.grade import grade

    with tempfile.TemporaryDirectory(prefix="labkit-task-") as made:
        folder = Path(made)
        submission, lab, executed = folder / task.name, folder / "bundle.zip", folder / "executed" / "n.ipynb"
        submission.write_bytes(task.data)
        lab.write_bytes(task.bundle)
        try:
            done = grade(
                submission, bundles.load(lab), task.sandbox, executed=executed, everything=task.everything
            )
        except LabError as error:
            return Done(problem=error.message)
        return Done(done, executed.read_text(encoding="utf-8") if executed.is_file() else "")


T = TypeVar("T")


def run(jobs: Iterable[tuple[T, Task]], scheduler: str) -> Iterator[tuple[T, Done]]:
    """Grade on a cluster; each job comes back exactly once, in the order in which they end.

    Args:
        jobs: What the caller knows a task by, and the task.
        scheduler: Its address, as in ``tcp://host:8786``.

    Raises:
        LabError: Dask is not installed, or there is no scheduler.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise LabError("Dask is not installed.", "pip install 'dask[distributed]'") from None
    try:
        client: Any = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        told = str(error).partition("\n")[0]
        raise LabError(
            f"There is no Dask scheduler at {scheduler}: {told}", "Start it with `dask scheduler`."
        ) from None
    with client:
        waiting = iter(jobs)
        by_key: dict[str, T] = {}

        def more(count: int) -> list[Any]:
            made: list[Any] = []
            for job, task in islice(waiting, count):
                by_key[task.key] = job
                made.append(client.submit(work, task, key=task.key, pure=False))
            return made

        threads = sum(client.nthreads().values())
        underway: Any = as_completed(more(AT_ONCE * max(1, threads)), loop=client.loop)
        for future in underway:
            done = _outcome(future)
            job = by_key.pop(future.key)
            future.release()
            for another in more(1):
                underway.add(another)
            yield job, done


def _outcome(future: Any) -> Done:
    """What a task gave; a problem where it took its workers down with it, or was never understood."""
    try:
        return future.result()
    except (
        Exception
    ) as error:  # KilledWorker after Dask's retries, a worker without labkit, or another version of it
        return Done(problem=f"the cluster could not do it: {type(error).__name__}: {error}"[:500])
