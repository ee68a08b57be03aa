"""Running a notebook in a kernel of its own, cell by cell, in bounded time."""

from __future__ import annotations

import ast
import json
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from labkit.errors import LabError

LARGEST_ANSWER = 1_000_000
"""Characters of JSON that a kernel may send back."""


@dataclass(frozen=True)
class CellRun:
    """How one code cell went.

    Attributes:
        index: Its place in the notebook, from 0.
        error: Name of the exception; ``Timeout`` or ``KernelDied`` when it never came back; empty if it ran.
        message: What the exception said.
        seconds: How long it took.
        stderr: What it wrote there; nbgrader gives no points to a check that writes anything.
    """

    index: int
    error: str = ""
    message: str = ""
    seconds: float = 0.0
    stderr: str = ""


class Kernel:
    """A kernel that runs a notebook and then answers questions about it. Made by ``start``."""

    def __init__(self, client: NotebookClient, deadline: float, cell_timeout_s: float) -> None:
        self._client = client
        self._deadline = deadline
        self._cell_timeout_s = cell_timeout_s
        self.alive = True

    def run(self) -> list[CellRun]:
        """Run every code cell. After a cell that never comes back the kernel is gone and the others are not run."""
        runs: list[CellRun] = []
        for index, cell in enumerate(self._client.nb.cells):
            if cell.cell_type != "code" or not self.alive:
                continue
            began = time.monotonic()
            error, message = self._run_cell(cell, index)
            outputs = cell.get("outputs", [])
            stderr = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr")
            runs.append(CellRun(index, error, message, time.monotonic() - began, stderr))
        return runs

    def _run_cell(self, cell: NotebookNode, index: int) -> tuple[str, str]:
        self._client.timeout = max(1, round(min(self._cell_timeout_s, self._deadline - time.monotonic())))
        try:
            self._client.execute_cell(cell, index)
        except CellTimeoutError:
            self.alive = False
            return "Timeout", f"it did not finish within {self._client.timeout} s"
        except DeadKernelError:
            self.alive = False
            return "KernelDied", "the kernel died while it ran"
        failures = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        return (failures[-1].ename, failures[-1].evalue) if failures else ("", "")

    def ask(self, question: Mapping[str, Any]) -> Any:
        """Ask ``labkit.bridge`` inside the kernel; only JSON crosses.

        Raises:
            LabError: The kernel is gone, does not answer in time, or answers too much.
        """
        if not self.alive:
            raise LabError(
                "The kernel is no longer there.", "A cell before did not come back; mend it first."
            )
        code = f"__import__('labkit.bridge', fromlist=['_']).answer({json.dumps(question)!r}, globals())"
        timeout = max(1.0, min(self._cell_timeout_s, self._deadline - time.monotonic()))
        kc: Any = self._client.kc
        try:
            reply = run_sync(kc.execute_interactive)(
                "", silent=True, store_history=False, allow_stdin=False,
                user_expressions={"answer": code}, timeout=timeout, output_hook=_ignore,
            )  # fmt: skip
        except TimeoutError:
            self.alive = False
            raise LabError(
                f"The notebook's code did not answer within {timeout:.0f} s.", "Look for a loop without end."
            ) from None
        answer = reply["content"].get("user_expressions", {}).get("answer", {})
        text = answer.get("data", {}).get("text/plain", "")
        if answer.get("status") != "ok" or len(text) > LARGEST_ANSWER:
            raise LabError(
                "The notebook's code gave no usable answer.",
                "Return plain values: numbers, texts, lists, dicts.",
            )
        return json.loads(ast.literal_eval(text))


@contextmanager
def start(
    notebook: NotebookNode,
    folder: Path,
    *,
    cell_timeout_s: float = 120,
    total_s: float = 600,
    env: Mapping[str, str] | None = None,
) -> Generator[Kernel]:
    """Start a clean kernel for a notebook; afterwards the kernel and every process that it started are killed.

    Args:
        notebook: Outputs are written into it.
        folder: The kernel's working directory.
        cell_timeout_s: Bound for one cell, in seconds.
        total_s: Bound for everything, in seconds.
        env: Environment variables beside this process's own.
    """
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        allow_errors=True,
        extra_arguments=["--HistoryManager.enabled=False", "--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.reset_execution_trackers()
    with client.setup_kernel(env={**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **(env or {})}):
        try:
            yield Kernel(client, time.monotonic() + total_s, cell_timeout_s)
        finally:
            provisioner: Any = client.km.provisioner if client.km else None
            _kill(provisioner.pid if provisioner else None)


def _ignore(_message: object) -> None:
    """What a judged function prints is nobody's business."""


def _kill(pid: int | None) -> None:
    """Kill a process and all that descends from it, so that no ``!sleep`` outlives its notebook."""
    try:
        root = psutil.Process(pid) if pid else None
        doomed = [*root.children(recursive=True), root] if root else []
    except psutil.NoSuchProcess:
        return
    for process in doomed:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
