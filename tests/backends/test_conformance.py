"""The conformance suite on every runtime that can run here. ``labkit backends test SPEC`` runs it on any other."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from ollama_contract import MODEL, ollama_server

import labkit
from labkit import Client, conformance
from labkit.backends.ollama import OllamaBackend
from labkit.config import settings
from labkit.conformance_http import stage

KNOWN = {
    ("llamaserver", "bounds"): "llama-cpp-python's grammar converter ignores minimum and maximum",
    ("llamaserver", "unicode"): "llama-cpp-python's server loses characters of four bytes",
}
"""Faults of a runtime that are not ours to mend. The docs name them."""


@pytest.fixture(scope="module")
def toy() -> Iterator[Client]:
    with stage() as scene:
        yield scene.client


@pytest.fixture(scope="module")
def ollama() -> Iterator[Client]:
    """The contract server, or a real one where OLLAMA_HOST answers."""
    if os.environ.get("OLLAMA_HOST"):
        host = OllamaBackend("any", settings())
        if models := host.health().data.get("models"):
            with labkit.load(f"ollama:{models[0]}") as client:
                yield client
                return
    with ollama_server() as server, Client(OllamaBackend(MODEL, settings(), server.url)) as client:
        client.backend.load()
        yield client


@pytest.fixture(scope="module")
def llamacpp(model: Client) -> Client:
    return model


@pytest.fixture(scope="module")
def llamaserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    with labkit.load("llamaserver:smollm2-135m", context=1024, home=home) as client:
        yield client


RUNTIMES = ["llamacpp", "toy", "ollama", pytest.param("llamaserver", marks=pytest.mark.slow)]


@pytest.mark.parametrize("check", conformance.CHECKS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_runtime_conforms(runtime: str, check: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(runtime)
    result = conformance.attempt(check, lambda: conformance.CHECKS[check](client))
    if (runtime, check) in KNOWN:
        assert result.status == "failed", f"mended upstream? {result.detail}"
        pytest.xfail(KNOWN[runtime, check])
    assert result.status != "failed", result.detail


@pytest.mark.parametrize(
    ("runtime", "declared"),
    [
        ("llamacpp", {"schema", "grammar", "logprobs", "score", "logits", "seed", "prefix_cache"}),
        ("toy", {"schema", "logprobs", "seed", "tools"}),
        pytest.param("llamaserver", {"schema", "logprobs", "seed"}, marks=pytest.mark.slow),
    ],
)
def test_what_is_declared(runtime: str, declared: set[str], request: pytest.FixtureRequest) -> None:
    found = vars(request.getfixturevalue(runtime).capabilities)
    assert {name for name, value in found.items() if value is True} == declared


def test_a_bug_in_a_backend_is_a_result() -> None:
    class Broken:
        name = "broken"
        capabilities = labkit.messages.Capabilities(logprobs=True)

        def load(self) -> None: ...
        def close(self) -> None: ...

        def health(self) -> labkit.messages.Health:
            return labkit.messages.Health(False, "unwell")

        def stream(self, request: labkit.messages.Request) -> Iterator[labkit.messages.Chunk]:
            yield labkit.messages.Chunk("a stop b")
            raise KeyError("odd")

    results = {r.name: r for r in conformance.run(Client(Broken()))}
    assert "KeyError" in results["stream"].detail
    assert results["health"].detail == "unwell"
    assert {r.status for r in results.values()} == {"failed", "skipped"}
    assert list(results) == list(conformance.CHECKS)
