"""OpenAI's chat API on the wire: our requests in its shape, its answers in ours."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

from labkit.backends.text import StopFilter
from labkit.errors import BackendError, BackendUnavailable
from labkit.messages import Chunk, FinishReason, JsonSchema, Message, Request, TokenLogprob, ToolCall, Usage

Json = dict[str, Any]

COMPACT: Json = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
"""For Foundry Local: without it small models fill JSON with line breaks until the token limit."""
SCHEMA_FORMS: Mapping[str, Callable[[JsonSchema], Json]] = {
    "openai": lambda s: {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": s, "strict": True},
    },
    "merged": lambda s: {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": s, **s, **COMPACT},
    },
    "json_object": lambda s: {"type": "json_object", "schema": s},
}
"""The ways to ask for a schema: OpenAI's own, Foundry Local's web service's, llama-cpp-python's server's."""


def messages(conversation: Sequence[Message]) -> list[Json]:
    """A conversation as the API wants it, tool calls and their results included."""
    return [_message(m) for m in conversation]


def _message(m: Message) -> Json:
    out: Json = {"role": m.role, "content": m.content.encode("utf-8", "replace").decode()}
    if m.tool_call_id is not None:
        out["tool_call_id"] = m.tool_call_id
    if m.tool_calls:
        out["tool_calls"] = [
            {
                "id": c.id,
                "type": "function",
                "function": {"name": c.name, "arguments": json.dumps(dict(c.arguments))},
            }
            for c in m.tool_calls
        ]
    return out


def body(model: str, request: Request, schema_form: str) -> Json:
    """The fields of a chat request. At most four stop strings are sent, OpenAI's limit: the caller cuts at all of them."""
    out: Json = {
        "model": model,
        "messages": messages(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
    }
    if request.stop:
        out["stop"] = list(request.stop[:4])
    if request.top_k:
        out["extra_body"] = {"top_k": request.top_k}
    if request.logprobs:
        out |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.schema is not None:
        out["response_format"] = SCHEMA_FORMS[schema_form](request.schema)
    return out


def tools(given: Sequence[Json]) -> list[Json]:
    """Tools, marked strict where OpenAI's rules for that are met: some servers bind the arguments only then."""
    return [{**t, "function": {**t["function"], "strict": _strict(t["function"])}} for t in given]


def _strict(function: Json) -> bool:
    parameters = function.get("parameters", {})
    closed = parameters.get("additionalProperties") is False
    return closed and set(parameters.get("properties", {})) == set(parameters.get("required", []))


def calls(found: Sequence[Any] | None) -> tuple[ToolCall, ...]:
    """The calls of an answer. Arguments that are no JSON object stand under an empty name, which no tool accepts."""
    return tuple(
        ToolCall(c.function.name, _arguments(c.function.arguments), c.id or f"call_{n}")
        for n, c in enumerate(found or (), 1)
    )


def _arguments(text: str) -> Json:
    try:
        read = json.loads(text or "{}")
    except ValueError:
        return {"": text}
    return read if isinstance(read, dict) else {"": text}


def logprobs(found: Any) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of one chunk."""
    return tuple(
        TokenLogprob(t.token, t.logprob, tuple((o.token, o.logprob) for o in t.top_logprobs or ()))
        for t in (found.content if found else None) or ()
    )


class Pairs:
    """Joins surrogates: a server may escape one emoji as two halves, and send them in two chunks."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """The next piece, as whole characters."""
        piece, self._half = self._half + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        return piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Answer:
    """One streamed answer, event by event.

    Args:
        name: Whom errors name.
        request: What was asked.
        deadline: When to give up, on the clock of ``time.perf_counter``.
    """

    def __init__(self, name: str, request: Request, deadline: float = float("inf")) -> None:
        self._name, self._request, self._deadline = name, request, deadline
        self._started = time.perf_counter()
        self.shown = ""
        """The text given out so far."""

    def read(self, events: Iterable[Any]) -> Generator[Chunk]:
        """Yield chunks; the last one has the usage. Where the server tells none, its pieces are counted.

        Raises:
            BackendError: The events ended before the answer did; BackendUnavailable if nothing of it came.
            TimeoutError: The deadline has passed.
        """
        text, pairs, held, made = StopFilter(self._request.stop), Pairs(), (), 0
        first = last = self._started
        finish: FinishReason | None = None
        cost: Any = None
        for event in events:
            cost = event.usage or cost
            for choice in event.choices[:1]:
                if choice.delta.content:
                    last, made = time.perf_counter(), made + 1
                    first = last if made == 1 else first
                    held += logprobs(choice.logprobs) if self._request.logprobs else ()
                    if piece := text.feed(pairs.feed(choice.delta.content)):
                        self.shown += piece
                        yield Chunk(piece, held)
                        held = ()
                if choice.finish_reason:
                    finish = "length" if choice.finish_reason == "length" else "stop"
            if text.stopped:
                finish = "stop"
                break
            if finish is None and time.perf_counter() > self._deadline:
                raise TimeoutError
        if finish is None and self.shown:
            raise BackendError(
                f"{self._name} broke off after {len(self.shown)} characters.",
                "Ask again; if it happens twice, look at the server's log.",
            )
        if finish is None:
            raise BackendUnavailable(
                f"{self._name} sent no answer.",
                "Look at its log; the prompt may be too long for its context.",
            )
        yield Chunk(text.rest(), held, finish, usage(cost, made, first - self._started, last - first))


def usage(cost: Any, made: int, first_s: float, rest_s: float) -> Usage:
    """Our usage of the server's, or of the pieces that were counted."""
    if not cost:
        return Usage(0, 0, made, first_s, rest_s)
    details = getattr(cost, "prompt_tokens_details", None)
    cached = (details and details.cached_tokens) or 0
    return Usage(cost.prompt_tokens, cached, cost.completion_tokens, first_s, rest_s)
