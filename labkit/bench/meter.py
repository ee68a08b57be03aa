"""A backend that counts: time inside the model, prompt tokens, and how many of them no earlier prompt had in the same place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.backends.llamacpp import LlamaCppBackend
from labkit.messages import Chunk, Message, Request, Scored


@dataclass
class Counts:
    """What went through the model.

    Attributes:
        seconds: Time inside it.
        requests: How many requests.
        prompt: Prompt tokens of all requests.
        new: Those of them that a cache of unlimited size would have had to read: no earlier prompt began with them.
        read: Those that were read.
        written: Tokens generated.
        counting: Seconds that the counting itself took.
    """

    seconds: float = 0.0
    requests: int = 0
    prompt: int = 0
    new: int = 0
    read: int = 0
    written: int = 0
    counting: float = 0.0


class Meter(LlamaCppBackend):
    """The embedded engine with counters around it. It changes nothing in what is computed.

    Args:
        inner: A loaded backend, whose engine it shares.
    """

    def __init__(self, inner: LlamaCppBackend) -> None:
        vars(self).update(vars(inner))
        self.counts = Counts()
        self._seen: dict[int, Any] = {}

    def stream(self, request: Request) -> Iterator[Chunk]:
        """As ``LlamaCppBackend.stream``, counted."""
        self._prompt(request.messages)
        stream, before = super().stream(request), self.engine.read_tokens
        while True:
            began = time.perf_counter()
            chunk = next(stream, None)
            self.counts.seconds += time.perf_counter() - began
            if chunk is None:
                break
            if chunk.usage:
                self.counts.written += chunk.usage.completion_tokens
                self.counts.read += self.engine.read_tokens - before
            yield chunk

    def score(self, messages: tuple[Message, ...], choices: Sequence[str]) -> list[Scored]:
        """As ``LlamaCppBackend.score``, counted; the choices are new tokens too."""
        self._prompt(messages)
        began, before = time.perf_counter(), self.engine.read_tokens
        found = super().score(messages, choices)
        self.counts.seconds += time.perf_counter() - began
        self.counts.read += self.engine.read_tokens - before
        return found

    def _prompt(self, messages: tuple[Message, ...]) -> None:
        began = time.perf_counter()
        tokens, node, new = self.encode(messages), self._seen, 0
        for token in tokens:
            new += token not in node
            node = node.setdefault(token, {})
        self.counts.requests += 1
        self.counts.prompt += len(tokens)
        self.counts.new += new
        self.counts.counting += time.perf_counter() - began
