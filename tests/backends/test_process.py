"""Servers as processes: they start, say why if they do not, and never outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

import labkit
from labkit.backends.process import ServerProcess, free_port
from labkit.backends.server import LlamaServerBackend
from labkit.config import settings
from labkit.errors import BackendUnavailable, ModelFileError


def pages(folder: Path, port: int) -> ServerProcess:
    """Python's own file server: the smallest there is."""
    arguments = [str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    return ServerProcess(
        "http.server", arguments, ready=f"http://127.0.0.1:{port}/", log=folder / "logs" / "a.log"
    )


def test_it_starts_answers_and_stops(tmp_path: Path) -> None:
    port = free_port()
    server = pages(tmp_path, port)
    server.start()
    pid = server.pid
    assert server.running
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        assert page.status == 200
    server.stop()
    server.stop()
    assert not server.running
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert "GET /" in server.tail()


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    server = ServerProcess("http.server", ["not-a-port"], ready="http://127.0.0.1:1/", log=tmp_path / "a.log")
    with pytest.raises(BackendUnavailable, match=r"(?s)ended at once.*not-a-port"):
        server.start()
    assert not server.running


def test_a_server_that_never_answers_is_stopped(tmp_path: Path) -> None:
    server = pages(tmp_path, free_port())
    server.ready = f"http://127.0.0.1:{free_port()}/"
    with pytest.raises(BackendUnavailable, match="did not answer in time"):
        server.start(timeout_s=0.4)
    assert not server.running


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_it_does_not_outlive_a_kernel_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from test_process import pages; from labkit.backends.process import free_port;"
        "s = pages(Path(sys.argv[2]), free_port()); s.start(); print(s.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert (len(gone), alive) == (1, [])


def test_a_missing_package_or_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileError, match="no file"):
        labkit.load("llamaserver:none.gguf")
    monkeypatch.setattr(
        "labkit.backends.server.find_spec", lambda name: None if name == "uvicorn" else object()
    )
    with pytest.raises(BackendUnavailable) as caught:
        labkit.load("llamaserver:smollm2-135m")
    assert "needs uvicorn" in caught.value.message
    assert "llama-cpp-python[server]" in caught.value.hint


@pytest.mark.slow
def test_the_server_killed_in_mid_stream_and_started_again(tmp_path: Path) -> None:
    backend = LlamaServerBackend("smollm2-135m", settings(context=512, home=tmp_path))
    assert backend.health().detail == "not running"
    with labkit.Client(backend) as client:
        backend.load()
        assert backend.process is not None
        assert backend.process.pid is not None
        stream = client.stream("Tell me a long story.", max_tokens=300)
        next(stream)
        os.kill(backend.process.pid, signal.SIGKILL)
        with pytest.raises(labkit.errors.BackendError, match="broke off"):
            list(stream)
        time.sleep(0.05)
        assert not client.health().ok
        with pytest.raises(BackendUnavailable, match=r"(?s)has ended.*llamaserver-\d+\.log"):
            client.complete("Hi", max_tokens=2)
        backend.load()
        assert client.complete("Hi", max_tokens=2).text
    assert not client.health().ok
    assert list((tmp_path / "logs").iterdir())
