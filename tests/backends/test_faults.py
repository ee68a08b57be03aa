"""Every fault of a server, for both clients that speak HTTP."""

from __future__ import annotations

import pytest
from ollama_contract import MODEL, ollama_server

from labkit.backends import Backend
from labkit.backends.ollama import OllamaBackend
from labkit.config import settings
from labkit.conformance_http import FAULTS, openai_backend, stage, toy_server


def ollama_backend(url: str) -> Backend:
    return OllamaBackend(MODEL, settings(), url)


@pytest.mark.parametrize("fault", FAULTS)
def test_openai_client(fault: str) -> None:
    with stage(toy_server, openai_backend) as scene:
        assert FAULTS[fault](scene)


# the capabilities of Ollama are fewer than the toy's: ignored_options would show nothing new
@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "ignored_options"])
def test_ollama_client(fault: str) -> None:
    with stage(ollama_server, ollama_backend) as scene:
        assert FAULTS[fault](scene)
