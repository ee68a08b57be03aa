"""Starting JupyterLab on the learner's copies: on loopback only, with a token, on a free port."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from labkit import labs, models
from labkit.config import settings
from labkit.doctor import free_port
from labkit.errors import BackendUnavailable

WARM_UP = "import matplotlib.pyplot, labkit; labkit.load()"
"""Run once beside JupyterLab: compiles modules, builds matplotlib's font cache (whose message would go to a cell's
stderr), verifies the model's checksum and brings its file into memory, so that the first cell answers quickly."""


@dataclass(frozen=True)
class Server:
    """A JupyterLab that has been started.

    Attributes:
        url: Where it shows the lab, with the token that opens it.
        process: Its process.
    """

    url: str
    process: subprocess.Popen[bytes]

    def wait(self) -> int:
        """Wait until it ends. Ctrl-C, a closed terminal or a request to terminate ends it too."""

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), stop)
        try:
            return self.process.wait()
        except KeyboardInterrupt:
            self.process.terminate()
            self.process.wait(timeout=15)
            return 0


def start(notebook: Path, port: int, browser: bool) -> Server:
    """Start JupyterLab in the notebook's folder.

    Args:
        notebook: The notebook that it shows first.
        port: First port to try.
        browser: Open a browser.

    Raises:
        BackendUnavailable: JupyterLab is not installed.
        LabkitError: No port is free.
    """
    if models.version("jupyterlab") is None:
        raise BackendUnavailable("JupyterLab is not installed.", "Run `pip install jupyterlab`.")
    port, token = free_port(port), secrets.token_urlsafe(24)
    page = f"/lab/tree/{urllib.parse.quote(notebook.name)}"
    command = [
        sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={notebook.parent.resolve()}",
        f"--LabApp.default_url={page}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--log-level=WARN", *([] if browser else ["--no-browser"]),
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # a container; it still listens on loopback only
    paths = [str(Path(__file__).parent / "jupyter_config"), os.environ.get("JUPYTER_CONFIG_PATH")]
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths)),
        "JUPYTER_TOKEN": token,  # not on the command line, which other users can read
    }
    subprocess.Popen([sys.executable, "-c", WARM_UP], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command, env=environment)
    return Server(f"http://127.0.0.1:{port}{page}?token={token}", process)


def missing_capabilities(lab: labs.Lab) -> list[str]:
    """A warning if the chosen runtime cannot do what the lab needs."""
    from labkit import backends

    chosen = settings()
    backend = backends.create(chosen.backend, chosen)
    lacking = labs.lacking(lab, backend.capabilities)
    if not lacking:
        return []
    return [
        f"{lab.id} needs {', '.join(lacking)}, which {chosen.backend} or this environment lacks; some cells will say so."
    ]
