"""A client that counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from labkit.backends import Backend
from labkit.client import Client
from labkit.messages import Chunk, Completion, MessagesLike, Scored, Usage


@dataclass
class Counts:
    """What went through a ``Metered`` client.

    Attributes:
        calls: Requests.
        prompt: Tokens of their prompts.
        cached: Those of them that were not read again.
        written: Tokens generated.
        untold: Requests whose tokens the runtime does not tell.
    """

    calls: int = 0
    prompt: int = 0
    cached: int = 0
    written: int = 0
    untold: int = 0

    @property
    def read(self) -> int:
        """Prompt tokens that were not in a cache."""
        return self.prompt - self.cached

    def add(self, usage: Usage | None) -> None:
        """Count one request."""
        self.calls += 1
        if usage is None or not (usage.prompt_tokens or usage.completion_tokens):
            self.untold += 1
            return
        self.prompt += usage.prompt_tokens
        self.cached += usage.cached_tokens
        self.written += usage.completion_tokens


class Metered(Client):
    """A client that counts what it asks. Requests by a runtime's own tool calling (``native``) are not seen.

    Args:
        backend: Whom it asks.
        on_first_chunk: Called once, when the first piece of the first answer has come.
    """

    def __init__(self, backend: Backend, on_first_chunk: Callable[[], object] | None = None) -> None:
        super().__init__(backend)
        self.counts = Counts()
        self._act = on_first_chunk
        self._lock = threading.Lock()

    def stream(
        self, messages: MessagesLike, *, timeout_s: float | None = None, **options: Any
    ) -> Iterator[Chunk]:
        """As ``Client.stream``."""
        return self._counted(super().stream(messages, timeout_s=timeout_s, **options))

    def batch(self, prompts: Sequence[MessagesLike], *, at_once: int = 8, **options: Any) -> list[Completion]:
        """As ``Client.batch``."""
        before = self.counts.calls
        answers = super().batch(prompts, at_once=at_once, **options)
        if self.counts.calls == before:  # a backend with batches of its own
            for answer in answers:
                self._add(answer.usage)
        return answers

    def score(self, messages: MessagesLike, choices: Sequence[str]) -> list[Scored]:
        """As ``Client.score``; its tokens are what the engine counts meanwhile."""
        before = self._engine()
        asked, read = (before.prompt_tokens, before.read_tokens) if before else (0, 0)
        found = super().score(messages, choices)
        engine = self._engine()
        if engine is None or engine is not before:
            self._add(None)
        else:
            asked, read = engine.prompt_tokens - asked, engine.read_tokens - read
            self._add(Usage(asked, asked - read))
        return found

    def _counted(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        usage = None
        with closing(chunks):  # type: ignore[type-var]
            try:
                for chunk in chunks:
                    usage = chunk.usage or usage
                    yield chunk
                    act, self._act = self._act, None
                    if act:
                        act()
            finally:
                self._add(usage)

    def _add(self, usage: Usage | None) -> None:
        with self._lock:
            self.counts.add(usage)

    def _engine(self) -> Any:
        """The embedded engine, if that is who answers."""
        return getattr(getattr(self.backend, "active", self.backend), "engine", None)
