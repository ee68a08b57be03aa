"""The faults of servers: a client of a scripted server must end each of them in one clear error, or overcome it.

Each check gets a ``Stage``: a scripted server, a backend loaded from it, and what the server does next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from labkit.backends import Backend
from labkit.backends.failover import FailoverBackend
from labkit.backends.openai_http import OpenAIBackend
from labkit.backends.process import free_port
from labkit.backends.scripted_http import Reply, ScriptedServer, Step, delta, error, event, said
from labkit.backends.toy import ToyModel
from labkit.client import Client
from labkit.config import settings
from labkit.conformance import Result, attempt, require
from labkit.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    ContextOverflow,
    GenerationTimeout,
    UnknownModel,
)

AT_ONCE = {"retry_after_ms": "1"}
"""Tells the client to retry without a pause, so that the suite is quick."""
EMOJI = "Grüße, 世界 😀!"

Serve = Callable[[], ScriptedServer]
Make = Callable[[str], Backend]


@dataclass(frozen=True)
class Stage:
    """A server under our control and a client of it."""

    server: ScriptedServer
    client: Client
    make: Make

    def play(self, *steps: Step) -> Client:
        """Set what the server does next."""
        self.server.requests.clear()
        self.server.script[:] = steps
        return self.client


def killed_in_mid_stream(stage: Stage) -> str:
    """Half an answer is an error, and its pieces had been shown."""
    seen = ""
    stream = stage.play(said("half ", "an ", "answer", cut=True)).stream("Hi")
    try:
        for chunk in stream:
            seen += chunk.text
            require(chunk.finish_reason is None, "half an answer was given out as a whole one")
    except BackendUnavailable as problem:
        raise AssertionError("an answer that had begun was called unavailable") from problem
    except BackendError as problem:
        require(bool(seen), "no piece came")
        return problem.message
    raise AssertionError("no error came")


def ended_without_a_reason(stage: Stage) -> str:
    """A stream that ends politely, but without finish_reason, is no whole answer."""
    return _fails(stage.play(Reply([delta("half"), b"data: [DONE]\n\n"])), BackendError)


def dead_server(stage: Stage) -> str:
    """A server that is gone is unavailable."""
    dead = f"http://127.0.0.1:{free_port()}/v1"
    try:
        stage.make(dead).load()
    except BackendUnavailable as problem:
        return problem.message
    raise AssertionError("no error came")


def cut_before_the_first_piece(stage: Stage) -> str:
    """A connection that breaks before the first piece makes a backend unavailable."""
    return _fails(stage.play(*[Reply([], cut=True)] * 3), BackendUnavailable)


def slow_server(stage: Stage) -> str:
    """Waiting ends in time, with the text so far."""
    started, so_far = time.perf_counter(), None
    try:
        stage.play(said("begun", "late", pause=1.5)).complete("Hi", timeout_s=0.3)
    except GenerationTimeout as problem:
        so_far = problem.partial
    took = time.perf_counter() - started
    require(so_far == "begun", f"the text so far is {so_far!r}")
    require(took < 1.2, f"it took {took:.1f} s")
    return f"{took:.2f} s for a limit of 0.3 s"


def busy_then_well(stage: Stage) -> str:
    """429 is tried again."""
    return _overcomes(stage, error(429, **AT_ONCE), said("well"))


def failed_then_well(stage: Stage) -> str:
    """500 and 503 are tried again."""
    return _overcomes(stage, error(500, **AT_ONCE), error(503, **AT_ONCE), said("well"))


def busy_for_good(stage: Stage) -> str:
    """429 without an end is unavailable."""
    return _fails(stage.play(*[error(429, **AT_ONCE)] * 3), BackendUnavailable)


def failed_for_good(stage: Stage) -> str:
    """500 without an end is unavailable."""
    return _fails(stage.play(*[error(500, **AT_ONCE)] * 3), BackendUnavailable)


def failover(stage: Stage) -> str:
    """The next backend answers when one fails, and says that it did."""
    with ScriptedServer(otherwise=ToyModel()) as other:
        second = OpenAIBackend("second", settings(), other.url)
        with Client(FailoverBackend([stage.client.backend, second], settings())) as both:
            both.backend.load()
            first = stage.play(said("well")) and both.complete("Hi")
            stage.play(*[error(500, **AT_ONCE)] * 3)
            answer = both.complete("Hi")
            require("second" in answer.model != first.model, f"{answer.model} answered")
            stage.play()
            require(both.complete("Hi").model == answer.model, "it does not remember who answered")
            return f"{first.model} and then {answer.model}"


def garbage(stage: Stage) -> str:
    """What is no chat answer ends in one error of ours."""
    html = Reply([b"<html>It works!</html>"], kind="text/html")
    shapes = [b'data: {"odd": 1}\n\n', b"data: []\n\n", b"data: null\n\n", b'data: {"choices": [7]}\n\n']
    odd = [html, Reply([b"data: {not json}\n\n"]), Reply([b'data: {"choices": [{"de'], cut=True), Reply([])]
    for reply in [*odd, *(Reply([s]) for s in shapes), Reply([b"\xff\xfe\n\n"])]:
        _fails(stage.play(*[reply] * 3), BackendError)
    return f"{len(odd) + len(shapes) + 1} kinds"


def error_in_the_stream(stage: Stage) -> str:
    """A server that reports its failure in the stream is quoted."""
    broken = Reply([delta("a"), event({"error": {"message": "out of memory"}})])
    message = _fails(stage.play(broken), BackendError)
    require("out of memory" in message, f"{message!r} came")
    return message


def characters_in_pieces(stage: Stage) -> str:
    """Bytes of a character may come apart, and so may the halves of a surrogate pair."""
    whole = said(EMOJI)
    torn = Reply([bytes([b]) for piece in whole.pieces if isinstance(piece, bytes) for b in piece])
    text = stage.play(torn).complete("Hi").text
    require(text == EMOJI, f"{text!r} came")
    halves = [
        b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": null}]}\n\n' % half
        for half in (rb"\ud83d", rb"\ude00")
    ]
    text = stage.play(Reply([*halves, *said(" ok").pieces])).complete("Hi").text
    require(text == "😀 ok", f"{text!r} came")
    return EMOJI


def stop_that_is_ignored(stage: Stage) -> str:
    """A stop string works even where the server ignores it, split over chunks too."""
    answer = stage.play(said("one tw", "o three", " four")).complete("Hi", stop=["two", "four"])
    require((answer.text, answer.finish_reason) == ("one ", "stop"), f"{answer!r} came")
    return answer.text


def closed_early(stage: Stage) -> str:
    """Closing a stream closes the connection, so that the server can stop."""
    client = stage.play(said(*["word "] * 2000, pause=0.01))
    stage.server.left.clear()
    with closing(client.stream("Hi")) as stream:  # type: ignore[type-var]
        next(stream)
    require(stage.server.left.wait(5), "the server was not told")
    return "the server was told"


def refusals(stage: Stage) -> str:
    """A key that is refused, an unknown model and a long prompt are told apart, and not tried again."""
    cases: list[tuple[Reply, type[Exception]]] = [
        (error(401, "bad key"), ConfigError),
        (error(404, "no such model"), UnknownModel),
        (error(400, "maximum context length is 4096 tokens"), ContextOverflow),
        (error(400, "top_p is odd"), BackendError),
    ]
    for reply, kind in cases:
        _fails(stage.play(reply), kind)
        require(
            len(stage.server.requests) == 1, f"{reply.status} was tried {len(stage.server.requests)} times"
        )
    return f"{len(cases)} kinds"


def ignored_options(stage: Stage) -> str:
    """What a server accepts and ignores is not declared."""
    lies = {"schema": "schema", "logprobs": "logprobs", "seed": "seed"}
    for option, capability in lies.items():
        stage.server.otherwise = ToyModel(ignores={option})
        backend = stage.make(stage.server.url)
        with Client(backend):
            backend.load()
            require(not getattr(backend.capabilities, capability), f"{capability} is declared")
    for option in ("tools", "required"):
        stage.server.otherwise = ToyModel(ignores={option})
        backend = stage.make(stage.server.url)
        with Client(backend):
            backend.load()
            require(not backend.capabilities.tools, f"tools are declared although {option} is ignored")
    return ", ".join([*lies, "tools"])


FAULTS: Mapping[str, Callable[[Stage], str]] = {
    check.__name__: check
    for check in (
        *(killed_in_mid_stream, ended_without_a_reason, dead_server, cut_before_the_first_piece, slow_server),
        *(busy_then_well, failed_then_well, busy_for_good, failed_for_good, failover, garbage),
        *(error_in_the_stream, characters_in_pieces, stop_that_is_ignored, closed_early, refusals),
        ignored_options,
    )
}
"""The checks by name, in order."""


def toy_server() -> ScriptedServer:
    """A scripted server with the toy model behind its script."""
    return ScriptedServer(otherwise=ToyModel())


def openai_backend(url: str) -> Backend:
    """A client of it."""
    return OpenAIBackend("scripted", settings(), url)


@contextmanager
def stage(serve: Serve = toy_server, make: Make = openai_backend) -> Generator[Stage]:
    """A server and a loaded client of it.

    Args:
        serve: Makes the server, for a runtime that wants more pages of it.
        make: Makes the backend of an address.
    """
    with serve() as server, Client(make(server.url)) as client:
        client.backend.load()
        yield Stage(server, client, make)


def run_faults(serve: Serve = toy_server, make: Make = openai_backend) -> Iterator[Result]:
    """Run all checks, each on a stage of its own."""
    for name, check in FAULTS.items():
        with stage(serve, make) as scene:
            yield attempt(name, lambda check=check, scene=scene: check(scene))


def _fails(client: Client, kind: type[Exception]) -> str:
    try:
        answer = client.complete("Hi", max_tokens=8)
    except kind as problem:
        return str(getattr(problem, "message", problem))
    raise AssertionError(f"{kind.__name__} did not come, but {answer.text!r}")


def _overcomes(stage: Stage, *steps: Step) -> str:
    answer = stage.play(*steps).complete("Hi")
    require(answer.text == "well", f"{answer.text!r} came")
    require(len(stage.server.requests) == len(steps), f"{len(stage.server.requests)} requests came")
    return f"{len(steps)} requests"
