"""Ollama's own API, by the official client against the contract server."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import pytest
from ollama_contract import MODEL, ollama_server

import labkit
from labkit.backends.ollama import OllamaBackend, Pulling, host_url
from labkit.backends.process import free_port
from labkit.backends.scripted_http import ScriptedServer, error
from labkit.config import settings
from labkit.errors import BackendUnavailable, ConfigError, OfflineError, UnknownModel


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ollama_server() as server:
        yield server


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("", "http://127.0.0.1:11434"), ("1.2.3.4", "http://1.2.3.4:11434"), (":5000", "http://127.0.0.1:5000"),
        ("0.0.0.0", "http://127.0.0.1:11434"), ("0.0.0.0:80", "http://127.0.0.1:80"), ("[::1]", "http://[::1]:11434"),
        ("[::1]:9", "http://[::1]:9"), ("http://box:9/", "http://box:9"), ("http://box:9/v1", "http://box:9"),
        ("https://box", "https://box"),
    ],
)  # fmt: skip
def test_hosts_are_read_as_ollama_reads_them(written: str, url: str) -> None:
    assert host_url(written) == url


def test_the_variable_names_the_server(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.url.removesuffix("/v1").removeprefix("http://"))
    with labkit.load(f"ollama:{MODEL}") as client:
        assert client.complete("Hi", max_tokens=2).model.startswith(f"ollama:{MODEL}@http://127.0.0.1")
        data = client.health().data
    assert (data["models"], data["loaded"]) == ([MODEL], {MODEL: 4096})


def test_a_model_that_is_not_there_is_not_downloaded_unasked(server: ScriptedServer) -> None:
    with pytest.raises(UnknownModel) as caught:
        labkit.load(f"ollama:gemma@{server.url}")
    assert "ollama pull gemma:latest" in caught.value.hint
    assert MODEL in caught.value.message


def test_tools_go_by_a_schema_since_tool_choice_is_ignored(server: ScriptedServer) -> None:
    with labkit.load(f"ollama:{MODEL}@{server.url}") as client:
        assert client.capabilities.schema
        assert not client.capabilities.tools
        assert client.capabilities.context == 0


def test_pulling_reports_and_can_be_cancelled(server: ScriptedServer) -> None:
    backend = OllamaBackend(MODEL, settings(), server.url)
    seen: list[Pulling] = []
    backend.pull(seen.append)
    assert [p.completed for p in seen if p.total] == [0, 40, 100]
    assert (seen[0].status, seen[-1].status) == ("pulling manifest", "success")

    def enough(step: Pulling) -> None:
        if step.completed >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.pull(enough)
    assert backend.health().ok


def test_pulling_what_does_not_exist_or_offline(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownModel, match="file does not exist"):
        OllamaBackend("nothing", settings(), server.url).pull()
    with pytest.raises(OfflineError, match="switched off"):
        OllamaBackend(MODEL, settings(offline=True), server.url).pull()


def test_show_tells_what_the_server_knows(server: ScriptedServer) -> None:
    assert OllamaBackend(MODEL, settings(), server.url).show().modelinfo["llama.context_length"] == 8192
    with pytest.raises(UnknownModel, match="not found"):
        OllamaBackend("nothing", settings(), server.url).show()


def test_no_server() -> None:
    nobody = OllamaBackend(MODEL, settings(), f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BackendUnavailable) as caught:
        nobody.load()
    assert "ollama serve" in caught.value.hint
    assert not nobody.health().ok


def test_another_server_and_a_failing_one() -> None:
    with ScriptedServer(pages={"/api/tags": {"odd": 1}}) as other:
        backend = OllamaBackend(MODEL, settings(), other.url)
        with pytest.raises(BackendUnavailable, match="does not speak"):
            backend.load()
        other.routes["/api/pull"] = error(500, "disk full")
        with pytest.raises(BackendUnavailable, match="disk full"):
            backend.pull()


def test_a_missing_package_says_how_to_get_it(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ollama":
            raise ImportError("no ollama")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BackendUnavailable) as caught:
        labkit.load(f"ollama:{MODEL}@{server.url}")
    assert "pip install ollama" in caught.value.hint


def test_a_runtime_without_a_server_takes_no_address() -> None:
    with pytest.raises(ConfigError, match="asks no server"):
        labkit.load("llamacpp:smollm2-135m@http://127.0.0.1:1")
