"""Foundry Local for real, in process and by its web service: on a model of 3 kB, and on the converted one where it is in the cache.

Its catalogue is on the network: a scripted one takes its place here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_onnx

import labkit
from labkit import Client, convert
from labkit.backends import foundry_manager
from labkit.backends.foundry import FoundryBackend
from labkit.config import settings
from labkit.conformance import CHECKS, attempt, run
from labkit.errors import (
    BackendError,
    BackendUnavailable,
    ContextOverflow,
    LabkitError,
    ModelFileError,
    OfflineError,
    SchemaError,
    UnknownModel,
)
from labkit.messages import Message, ToolCall, assistant, user

CACHE = settings().cache
"""The learner's own cache; in a test the setting names another."""
KNOWN = {"unicode": "ORT GenAI's guidance fails at a character that is cut into several tokens"}
"""Faults of a runtime that are not ours to mend. The docs name them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("foundry_local_sdk", reason="run `pip install foundry-local-sdk`")
    return tiny_onnx.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Iterator[Client]:
    with labkit.load(f"foundry:{folder}", context=1024) as client:
        yield client


@pytest.fixture(scope="module")
def service(tiny: Client) -> Iterator[Client]:
    """Its web service, asked as any other server."""
    assert isinstance(tiny.backend, FoundryBackend)
    with labkit.load(tiny.backend.serve()) as client:
        yield client


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("runtime", ["tiny", "service"])
def test_it_conforms(runtime: str, check: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(runtime)
    result = attempt(check, lambda: CHECKS[check](client))
    if check in KNOWN:
        # by the service it is tried only if the probe found schemas, for which this model writes too much white space
        assert result.status == "failed" or runtime == "service", f"mended upstream? {result.detail}"
        pytest.xfail(KNOWN[check])
    assert result.status != "failed", result.detail


def test_what_is_declared(tiny: Client) -> None:
    found = vars(tiny.capabilities)
    assert {name for name, value in found.items() if value is True} == {"schema", "grammar", "seed"}
    assert found["context"] == 1024


def test_both_ways_say_the_same(tiny: Client, service: Client) -> None:
    assert tiny.complete("Go on", max_tokens=20).text == service.complete("Go on", max_tokens=20).text


def test_models_on_disk_and_in_memory_are_listed(tiny: Client, folder: Path) -> None:
    found = tiny.health()
    assert "telemetry" in found.detail
    assert [m for m in found.data["loaded"] if m.startswith(folder.name)]
    assert set(found.data["loaded"]) <= set(found.data["models"])


def test_one_client_closes_and_the_other_goes_on(tiny: Client, folder: Path) -> None:
    other = FoundryBackend(str(folder), settings(context=512))
    other.load()
    left = other.stream(labkit.messages.Request((user("Go on"),), max_tokens=200))
    next(left)
    other.close()
    other.close()
    assert not other.health().ok
    with pytest.raises(BackendError, match="not loaded"):
        next(other.stream(labkit.messages.Request((user("Hi"),))))
    assert tiny.complete("Hi", max_tokens=2).text


def test_the_context_ends_an_answer(tiny: Client) -> None:
    room = 1024 - tiny.complete("s", max_tokens=1).usage.prompt_tokens
    answer = tiny.complete("s" * (room - 4), max_tokens=50)
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 5)
    with pytest.raises(ContextOverflow, match="too many"):
        tiny.complete("s" * (room + 1))


def test_a_control_token_in_a_message_stays_text(tiny: Client) -> None:
    def tokens(text: str) -> int:
        return tiny.complete(text, max_tokens=1).usage.prompt_tokens

    assert tokens("a<|im_end|>") == tokens("a") + len("<| im_end|>")
    assert tokens("a\0\ud800") == tokens("a") + 1


def test_a_tools_answer_is_read(tiny: Client) -> None:
    def tokens(*messages: Message) -> int:
        return tiny.complete([*messages], max_tokens=1).usage.prompt_tokens

    asked, call = user("5+5?"), Message("assistant", "", (ToolCall("add", {"a": 5}),))
    one, two = (tokens(asked, call, Message("tool", "1" * n, (), "call_1")) for n in (10, 20))
    assert two - one == 10
    again = [asked, call, Message("tool", "10", (), "call_1")] * 2  # ids repeat in labkit's conversations
    assert tokens(*again) > tokens(*again[:4])
    both = Message("assistant", "", (ToolCall("add", {}), ToolCall("add", {})))
    assert tokens(asked, both, *again[2:3] * 2)
    one, two = (tokens(asked, assistant("add"), Message("tool", "1" * n)) for n in (10, 20))
    assert two - one == 10


def test_all_tokens_may_be_sampled(tiny: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out, top_k would be 50."""
    sdk, seen = foundry_manager.sdk(), []
    real = sdk.SearchOptions
    monkeypatch.setattr(sdk, "SearchOptions", lambda **k: seen.append(k) or real(**k))
    tiny.complete("Hi", max_tokens=1, temperature=1.0, seed=3)
    assert [(k["top_k"], k["seed"], k["temperature"]) for k in seen] == [(0, 3, 1.0)]


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"schema": {"type": "no"}}, SchemaError, "no"),
        ({"grammar": "start: nothing ("}, SchemaError, "grammar"),
        ({"temperature": 5.0}, BackendError, "temperature"),
    ],
)
def test_what_it_refuses(options: dict[str, Any], kind: type[LabkitError], says: str, tiny: Client) -> None:
    with pytest.raises(kind, match=says) as caught:
        tiny.complete("Hi", max_tokens=3, **options)
    assert ".cc:" not in caught.value.message
    assert tiny.complete("Hi", max_tokens=2).text


# --- without a model ---


@pytest.mark.parametrize(
    ("code", "said", "kind", "mend"),
    [
        (2, "a.cc:1 void f(int) it broke", BackendError, "doctor"),
        (2, "a.cc:1 g() failed to create generator: Error creating grammar: bad", SchemaError, "llguidance"),
        (3, "a.cc:1 f(x) exceeds the model's maximum context length of 8", ContextOverflow, "Shorten"),
        (3, "b.cc:2 f(x) bad argument", BackendError, "request"),
        (4, "c.cc:3 f(x) not loaded", BackendError, "load"),
        (5, "d.cc:4 f(x) stopped", BackendError, "Ask again"),
        (6, "e.cc:5 f(x) no route", OfflineError, "Connect"),
        (0, "", BackendError, "doctor"),
    ],
)
def test_its_errors_are_ours(code: int, said: str, kind: type[LabkitError], mend: str) -> None:
    found = foundry_manager.translated("foundry:x", said, code)
    assert type(found) is kind
    assert found.message.startswith("foundry:x")
    assert ".cc" not in found.message
    assert mend in found.hint


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foundry_local_sdk", None)
    with pytest.raises(BackendUnavailable, match="pip install foundry-local-sdk"):
        FoundryBackend("phi-4-mini", settings()).load()


def test_a_model_that_is_not_converted_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="labkit models convert smollm2-135m"):
        FoundryBackend("smollm2-135m", settings(cache=tmp_path)).load()
    with pytest.raises(ModelFileError, match="genai_config"):
        FoundryBackend(str(tmp_path), settings()).load()


def test_offline_the_catalogue_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foundry_manager, "manager", lambda _: pytest.fail("it was asked"))
    backend = FoundryBackend("phi-4-mini", settings(offline=True))
    for use in (backend.load, backend.download):
        with pytest.raises(OfflineError, match="switched off"):
            use()


class Scripted:
    """A model of the catalogue, and the catalogue that has it."""

    context_length, info = 4096, SimpleNamespace(file_size_mb=2500)

    def __init__(self, alias: str, *others: str, cached: bool = False) -> None:
        self.alias, self.id, self.is_cached = alias, f"{alias}:1", cached
        self.names, self.done = [*others], list[str]()

    def get_model(self, alias: str) -> Scripted | None:
        return self if alias == self.alias else None

    def list_models(self) -> list[Any]:
        return [SimpleNamespace(alias=name) for name in self.names]

    def load(self) -> None:
        self.done.append("load")

    def unload(self) -> None:
        self.done.append("unload")

    def download(self, report: Callable[[float], None] | None, cancel: threading.Event | None) -> None:
        for percent in (0.0, 50.0, 100.0):
            if cancel and cancel.is_set():
                raise foundry_manager.sdk().FoundryLocalException("x.cc:1 f() cancelled", error_code=5)
            if report:
                report(percent)
        self.is_cached = True


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scripted], None]:
    pytest.importorskip("foundry_local_sdk", reason="run `pip install foundry-local-sdk`")

    def use(found: Scripted) -> None:
        monkeypatch.setattr(
            foundry_manager, "manager", lambda _: SimpleNamespace(get_catalog=lambda _: found, urls=None)
        )

    return use


def test_a_catalogue_that_does_not_answer(catalogue: Callable[[Scripted], None]) -> None:
    catalogue(Scripted("other"))
    with pytest.raises(OfflineError, match="does not answer"):
        FoundryBackend("phi-4-mini", settings()).load()


def test_an_alias_that_the_catalogue_does_not_have(catalogue: Callable[[Scripted], None]) -> None:
    catalogue(Scripted("other", "qwen", "phi"))
    with pytest.raises(UnknownModel, match="phi, qwen"):
        FoundryBackend("phi-4-mini", settings()).load()


def test_nothing_is_downloaded_unasked(catalogue: Callable[[Scripted], None]) -> None:
    model = Scripted("phi-4-mini")
    catalogue(model)
    backend = FoundryBackend("phi-4-mini", settings())
    with pytest.raises(ModelFileError, match=r"(?s)2500 MB.*download"):
        backend.load()
    seen: list[float] = []
    stop = threading.Event()
    with pytest.raises(BackendError, match="cancelled"):
        backend.download(lambda percent: seen.append(percent) or stop.set(), stop)
    assert (seen, model.is_cached) == ([0.0], False)
    backend.download(seen.append)
    assert seen == [0.0, 0.0, 50.0, 100.0]
    backend.load()
    backend.load()
    backend.close()
    assert model.done == ["load", "unload"]


@pytest.mark.slow
def test_the_converted_model_conforms() -> None:
    chosen = settings(cache=CACHE)
    try:
        convert.locate("smollm2-135m", chosen)
    except LabkitError as reason:
        pytest.skip(str(reason))
    backend = FoundryBackend("smollm2-135m", chosen)
    backend.load()
    with Client(backend) as client, labkit.load(backend.serve()) as service:
        assert service.capabilities.schema
        for each in (client, service):
            assert [r.name for r in run(each) if r.status == "failed"] == [*KNOWN]
