"""Several backends behind one name."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

import labkit
from labkit import Client
from labkit.backends import OpenModel, Scores, ScriptedBackend
from labkit.backends.failover import FailoverBackend
from labkit.backends.process import free_port
from labkit.backends.scripted_http import ScriptedServer
from labkit.backends.server import LlamaServerBackend
from labkit.backends.toy import ToyModel
from labkit.config import settings
from labkit.errors import BackendError, BackendUnavailable, CapabilityMissing, ConfigError, GenerationTimeout
from labkit.messages import Capabilities, Chunk, Completion, Request, Usage

DOWN = BackendUnavailable("down", "start it")


class Named(ScriptedBackend):
    def __init__(self, name: str, script: Sequence[Any], **capabilities: bool) -> None:
        super().__init__(script)
        self.name = name  # type: ignore[misc]
        if capabilities:
            self.capabilities = Capabilities(**capabilities)


def client(*members: Any) -> Client:
    return Client(FailoverBackend(members, settings()))


def test_it_goes_on_in_mid_conversation_and_remembers() -> None:
    a, b = Named("a", ["one", DOWN]), Named("b", ["two", "three"])
    with client(a, b) as both:
        answers = [both.complete("?") for _ in range(3)]
    assert [(x.text, x.model) for x in answers] == [("one", "a"), ("two", "b"), ("three", "b")]
    assert both.backend.failures == [("a", "down")]  # type: ignore[attr-defined]


def test_it_comes_round_to_the_first_again() -> None:
    with client(Named("a", [DOWN, "again"]), Named("b", ["two", DOWN])) as both:
        assert [both.complete("?").model for _ in range(2)] == ["b", "a"]


def test_one_that_failed_is_loaded_again_when_its_turn_comes_and_not_before() -> None:
    class Counts(Named):
        loads = 0

        def load(self) -> None:
            self.loads += 1

    a, b = Counts("a", ["one", DOWN, "four"]), Counts("b", ["two", "three", DOWN])
    with client(a, b) as both:
        assert [both.complete("?").model for _ in range(3)] == ["a", "b", "b"]
        assert (a.loads, b.loads) == (1, 1)
        assert both.complete("?").model == "a"
        assert (a.loads, b.loads) == (2, 1)
        both.backend.load()
        assert (a.loads, b.loads) == (3, 1)


def test_while_the_second_is_loading_nobody_starts_the_first_anew() -> None:
    loading, go = threading.Event(), threading.Event()

    class First(Named):
        loads = 0

        def load(self) -> None:
            self.loads += 1

    class Slow(Named):
        def load(self) -> None:
            loading.set()
            go.wait(10)

    a, b = First("a", ["one", DOWN]), Slow("b", ["two", "three"])
    both = client(a, b)
    assert both.complete("?").model == "a"
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(both.complete("?").model)) for _ in range(2)]
    threads[0].start()
    assert loading.wait(10)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert said == ["b", "b"]
    assert a.loads == 1


@pytest.mark.slow
def test_a_server_that_is_killed_is_not_started_anew_while_another_answers(tmp_path: Path) -> None:
    with labkit.load("llamaserver:smollm2-135m|llamacpp:smollm2-135m", context=512, home=tmp_path) as both:
        assert isinstance(both.backend, FailoverBackend)
        server = both.backend.active
        assert isinstance(server, LlamaServerBackend)
        assert server.process is not None
        assert both.complete("Hi", max_tokens=2).model == "llamaserver:smollm2-135m"
        process = psutil.Process(server.process.pid)
        process.kill()
        process.wait(10)
        assert [both.complete("Hi", max_tokens=2).model for _ in range(2)] == ["llamacpp:smollm2-135m"] * 2
        assert not server.health().ok


def test_half_an_answer_is_never_continued_by_another() -> None:
    class Breaks(Named):
        def stream(self, request: Request) -> Iterator[Chunk]:
            yield Chunk("half ")
            raise DOWN

    b = Named("b", [])
    with client(Breaks("a", []), b) as both, pytest.raises(BackendUnavailable):
        both.complete("?")
    assert b.requests == []


@pytest.mark.parametrize(
    "fault", [BackendError("broke"), ConfigError("bad key"), GenerationTimeout("late"), ZeroDivisionError()]
)
def test_other_errors_are_not_hidden(fault: Exception) -> None:
    b = Named("b", [])
    with pytest.raises(type(fault)), client(Named("a", [fault]), b) as both:
        both.complete("?")
    assert b.requests == []


def test_a_backend_that_lacks_what_is_asked_is_passed_over() -> None:
    able, unable = {"schema": True}, {"schema": False}
    a, b, c = Named("a", [DOWN], **able), Named("b", [], **unable), Named("c", ["{}"], **able)
    with client(a, b, c) as three:
        assert three.complete("?", schema={"type": "object"}).model == "c"
    two = client(Named("a", [DOWN], **able), Named("b", [], **unable))
    with pytest.raises(BackendUnavailable, match="down b has no schema"):
        two.complete("?", schema={"type": "object"})


def test_when_none_works_every_reason_is_told() -> None:
    both = client(Named("a", [DOWN]), Named("b", [BackendUnavailable("asleep")]))
    with pytest.raises(BackendUnavailable, match="down asleep"):
        both.complete("?")


def test_scores_fail_over_too_and_what_is_missing_raises() -> None:
    with client(Named("a", [DOWN], score=True), Named("b", [{"x": -1.0, "y": -2.0}], score=True)) as both:
        assert isinstance(both.backend, Scores)
        assert both.choose("?", ["x", "y"]) == "x"
        assert isinstance(both.backend, OpenModel)
        with pytest.raises(CapabilityMissing, match="logits"):
            both.tokenize("?")


def test_each_thread_is_told_who_answered_it() -> None:
    gate, answers = threading.Barrier(2), {}

    def slow(name: str) -> Any:
        def step(request: Request) -> str:
            gate.wait(5)
            return name

        return step

    both = client(Named("a", [slow("a"), DOWN]), Named("b", [slow("b")]))

    def ask(n: int) -> None:
        answers[n] = both.complete("?")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted((x.text, x.model) for x in answers.values()) == [("a", "a"), ("b", "b")]


def test_by_one_string() -> None:
    dead = f"openai:x@http://127.0.0.1:{free_port()}/v1"
    with ScriptedServer(otherwise=ToyModel()) as server:
        with labkit.load(f"{dead} | openai:m@{server.url}") as both:
            assert both.complete("Hi", max_tokens=2).model == f"openai:m@{server.url}"
            assert "does not answer" in both.health().detail
            with pytest.raises(CapabilityMissing, match="grammar"):
                both.complete("Hi", grammar='start: "a"')
        with pytest.raises(BackendUnavailable, match=r"(?s)No backend works.*answer.*answer"):
            labkit.load(f"{dead}|{dead}")


def test_the_embedded_model_as_the_last_resort() -> None:
    dead = f"openai:x@http://127.0.0.1:{free_port()}/v1"
    with labkit.load(f"{dead}|llamacpp:smollm2-135m", context=256) as both:
        assert both.complete("Hi", max_tokens=2).model == "llamacpp:smollm2-135m"
        assert both.choose("Is ice cold?", ["yes", "no"]) in ("yes", "no")
        assert "".join(both.pieces("A boat.")) == "A boat."
        assert "A boat." in both.render("A boat.")
        assert both.logits("A boat.").ndim == 1


def test_a_name_that_is_missing_or_wrong() -> None:
    for spec in ("openai:m@http://127.0.0.1:1/v1|", "|", "llamacpp:smollm2-135m|nothing:x"):
        with pytest.raises(ConfigError):
            labkit.load(spec)


def test_batches_use_the_runtime_s_own_or_threads() -> None:
    class Batching(ScriptedBackend):
        def batch(self, requests: Sequence[Request]) -> list[Completion]:
            return [Completion(r.messages[0].content.upper(), "stop", Usage()) for r in requests]

    assert [str(a) for a in Client(Batching([])).batch(["a", "b"], max_tokens=3)] == ["A", "B"]
    with Client(ScriptedBackend([lambda r: r.messages[0].content] * 20)) as model:
        prompts = [str(n) for n in range(20)]
        assert [str(a) for a in model.batch(prompts)] == prompts
        assert model.batch([]) == []
    with pytest.raises(CapabilityMissing):
        Client(Batching([])).batch(["a"], logprobs=1)
    with pytest.raises(ConfigError, match="temprature"):
        Client(Batching([])).batch(["a"], temprature=1)
