"""Running a notebook in a kernel of its own, cell by cell, in bounded time."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil
import zmq
import zmq.asyncio
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from labkit.errors import LabError

LARGEST_ANSWER = 1_000_000
"""Characters of JSON that a kernel may send back."""
LARGEST_OUTPUT = 8_000_000
"""Characters that all cells together may write."""
START_S = 60
"""Seconds that a kernel has to start."""


class Watch(Protocol):
    """Looks at a kernel's processes while they run, and kills them when they use too much."""

    reason: str
    """Why it killed them; empty while it has not."""


class Launcher(Protocol):
    """How a kernel's process is started. ``labkit.grading.sandbox`` has those that keep it apart from the machine."""

    @property
    def transport(self) -> Literal["ipc", "tcp"]:
        """How the kernel is reached: by sockets in its runtime folder, or by ports of this machine."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """The whole environment of the process that is started."""
        ...

    def command(self, kernel: Sequence[str], runtime: Path) -> list[str]:
        """The command that starts ``kernel``; ``runtime`` holds its connection file and its sockets."""
        ...

    def watch(self, pid: int) -> AbstractContextManager[Watch | None]:
        """Watch the process of that id, and those that it starts."""
        ...

    def stop(self, runtime: Path) -> None:
        """End what a kill of the process does not end."""
        ...


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


class _Client(NotebookClient):
    """Keeps what a kernel writes within bounds: it is killed when it writes more."""

    written = 0
    pid: int | None = None

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        self.written += len(repr(msg.get("content")))
        if self.written > LARGEST_OUTPUT:
            _kill(self.pid)
            return None
        return super().process_message(msg, cell, cell_index)


class _Manager(AsyncKernelManager):
    """Starts the kernel through a launcher."""

    launcher: Launcher

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        command = super().format_kernel_cmd(extra_arguments)
        return self.launcher.command(command, Path(self.connection_file).parent)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        """Launch it, and wait for its sockets: they are connected to once, before any cell has run, and never again."""
        await super()._async_launch_kernel(kernel_cmd, **kw)
        sockets = [Path(f"{self.ip}-{port}") for port in self.ports] if self.transport == "ipc" else []
        until = time.monotonic() + START_S
        while not all(socket.is_socket() for socket in sockets):
            if time.monotonic() > until or not await self.is_alive():
                raise LabError("The kernel did not start in its sandbox.", "Run `labkit doctor`.")
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.05 if sockets else 0)  # between a socket's appearance and its listening


class Kernel:
    """A kernel that runs a notebook and then answers questions about it. Made by ``start``."""

    def __init__(
        self, client: _Client, deadline: float, cell_timeout_s: float, watch: Watch | None = None
    ) -> None:
        self._client = client
        self._deadline = deadline
        self._cell_timeout_s = cell_timeout_s
        self._watch = watch
        self._reply: Any = None
        client.on_cell_executed = self._note_reply
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
        self._reply = None
        try:
            self._client.execute_cell(cell, index)
        except CellTimeoutError:
            self.alive = False
            if self._client.written > LARGEST_OUTPUT:
                return "KernelDied", self._cause()
            return "Timeout", f"it did not finish within {self._client.timeout} s"
        except DeadKernelError:
            self.alive = False
            return "KernelDied", self._cause()
        except Exception as error:  # what it sent is not what a kernel sends
            self.alive = False
            return "KernelDied", f"the kernel answered what cannot be read: {type(error).__name__}"
        failures = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        failure = failures[-1] if failures else self._reply
        if failure is None or failure.get("status") == "ok":
            return "", ""
        return str(failure.get("ename", "Error")), str(failure.get("evalue", ""))

    def _cause(self) -> str:
        if self._client.written > LARGEST_OUTPUT:
            return f"it was stopped: the notebook wrote more than {LARGEST_OUTPUT:,} characters"
        if self._watch and self._watch.reason:
            return f"it was stopped: {self._watch.reason}"
        return "the kernel died while it ran"

    def _note_reply(self, execute_reply: dict[str, Any], **_: object) -> None:
        self._reply = execute_reply["content"]

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
            answer = reply["content"]["user_expressions"]["answer"]
            text = answer["data"]["text/plain"] if answer["status"] == "ok" else None
            if isinstance(text, str) and len(text) <= LARGEST_ANSWER:
                return json.loads(text)
        except TimeoutError:
            self.alive = False
            raise LabError(
                f"The notebook's code did not answer within {timeout:.0f} s.", "Look for a loop without end."
            ) from None
        except Exception:  # not JSON, too deep, or not what a kernel sends at all
            pass
        raise LabError(
            "The notebook's code gave no usable answer.",
            "Return plain values: numbers, texts, lists, dicts.",
        )


@contextmanager
def start(
    notebook: NotebookNode,
    folder: Path,
    *,
    cell_timeout_s: float = 120,
    total_s: float = 600,
    env: Mapping[str, str] | None = None,
    launcher: Launcher | None = None,
) -> Generator[Kernel]:
    """Start a clean kernel for a notebook; afterwards the kernel and every process that it started are killed.

    Args:
        notebook: Outputs are written into it.
        folder: The kernel's working directory; a sandbox has its own.
        cell_timeout_s: Bound for one cell, in seconds.
        total_s: Bound for everything, in seconds.
        env: Environment variables beside this process's own; a launcher has its own.
        launcher: Starts the kernel in a sandbox.
    """
    deadline = time.monotonic() + total_s
    with tempfile.TemporaryDirectory(prefix="labkit-") as made:
        runtime = Path(made).resolve()
        context = _context() if launcher and launcher.transport == "ipc" else None
        client = _client(notebook, folder, runtime, launcher, context)
        options: dict[str, Any] = {
            "env": {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **(env or {})}
        }
        if launcher:
            options = {"env": dict(launcher.environment), "stdin": subprocess.DEVNULL,
                       "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # fmt: skip
        try:
            with client.setup_kernel(cleanup_kc=True, **options):
                client.pid = pid = _pid(client)
                timer = threading.Timer(max(0, deadline - time.monotonic()) + 1, _kill, [pid])
                timer.daemon = True
                timer.start()
                try:
                    with launcher.watch(pid) if launcher and pid else nullcontext() as watch:
                        yield Kernel(client, deadline, cell_timeout_s, watch)
                finally:
                    timer.cancel()
                    _kill(pid)
        finally:
            _kill(_pid(client))  # where it never became ready
            if context:
                context.destroy(linger=0)
            if launcher:
                launcher.stop(runtime)


def _context() -> zmq.asyncio.Context:
    """For sockets that take no message without bounds, and that connect once."""
    context = zmq.asyncio.Context()
    context.setsockopt(zmq.MAXMSGSIZE, LARGEST_OUTPUT)  # a longer message ends the connection
    context.setsockopt(zmq.RCVHWM, 50)
    context.setsockopt(zmq.RECONNECT_IVL, -1)
    context.setsockopt(zmq.SNDTIMEO, 2000)  # where nobody is left to send to
    return context


def _client(
    notebook: NotebookNode,
    folder: Path,
    runtime: Path,
    launcher: Launcher | None,
    context: zmq.Context[Any] | None,
) -> _Client:
    settings: dict[str, Any] = {"kernel_name": "python3"}
    if context:
        settings |= {"transport": "ipc", "connection_file": str(runtime / "kernel.json"), "context": context}
    manager = _Manager(**settings) if launcher else None
    if manager and launcher:
        manager.launcher = launcher
    client = _Client(
        notebook,
        km=manager,
        kernel_name="python3",
        allow_errors=True,
        raise_on_iopub_timeout=launcher is not None,
        shutdown_kernel="immediate" if launcher else "graceful",
        extra_arguments=["--HistoryManager.enabled=False", "--log-level=ERROR"],
        resources={"metadata": {"path": str(runtime if launcher else folder)}},
    )
    client.reset_execution_trackers()
    return client


def _pid(client: NotebookClient) -> int | None:
    provisioner: Any = client.km.provisioner if client.km else None
    return provisioner.pid if provisioner else None


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
