"""A server as a process of its own: a free port, a wait until it answers, a log, and an end with this process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from labkit.errors import BackendUnavailable

TIED = (
    "import os, runpy, sys, threading\n"
    "def end(): sys.stdin.read(); os.killpg(0, 9) if hasattr(os, 'killpg') else os._exit(0)\n"
    "threading.Thread(target=end, daemon=True).start()\n"
    "del sys.argv[0]\n"
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
)
"""Runs a module, and ends with its process group when its standard input is closed: so a server never outlives a kernel, however that ends."""


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class ServerProcess:
    """Runs ``python -m module arguments…`` until ``stop``, or until this process ends in whatever way; the processes that it starts end with it.

    Args:
        module: The server's module.
        arguments: Its arguments.
        ready: A URL that answers 200 when it can be used.
        log: Where its output goes; an older file is replaced.
        python: The interpreter, where the server lives in another environment.
        environment: Variables to set for it.
        patience_s: How long it may take to end by itself when it is asked to.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        ready: str,
        log: Path,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        patience_s: float = 5.0,
    ) -> None:
        self.module, self.ready, self.log = module, ready, log
        self._command = [python, "-c", TIED, module, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid if self._process else None

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it answers.

        Raises:
            BackendUnavailable: It ended, or did not answer in time; the message has the end of its log.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # it leads a group of its own: an interrupt in a notebook is not for the server
            )
        deadline = time.monotonic() + timeout_s
        try:
            while not self._answers():
                if not self.running or time.monotonic() > deadline:
                    what = "did not answer in time" if self.running else "ended at once"
                    raise BackendUnavailable(
                        f"The server {self.module} {what}. Its log ends:\n{self.tail()}", f"Read {self.log}."
                    )
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, and what it left behind. Doing it twice does nothing more."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # the latter: macOS, while the last one ends
                os.killpg(process.pid, signal.SIGKILL)
        if process.stdin:
            process.stdin.close()

    def tail(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return "(there is no log)"

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.ready, timeout=1.0) as response:
                return response.status == 200
        except urllib.error.HTTPError as refusal:
            refusal.close()
        except OSError:
            pass
        return False
