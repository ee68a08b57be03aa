"""Several backends behind one name: ``load("a|b|c")`` asks the first that works, and goes on to the next when it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from labkit import backends
from labkit.backends.base import Backend, CallsTools, OpenModel, Scores, Waits, lacking
from labkit.config import Settings
from labkit.errors import BackendUnavailable, CapabilityMissing, ConfigError, ModelFileError, OfflineError
from labkit.messages import Capabilities, Chunk, Health, Message, Request, Scored
from labkit.sampling import Logits

T = TypeVar("T")
GIVES_WAY = (BackendUnavailable, ModelFileError, OfflineError)
"""Errors after which the next backend is asked. A wrong request or setting is wrong everywhere, and raises."""


class FailoverBackend:
    """Asks one backend at a time, in a ring that begins at the one that answered last.

    It changes over when a backend is unavailable (which includes 429 and 5xx after the retries), and only before the first
    piece of an answer: half an answer of one model is never continued by another. A backend that lacks what a request
    needs is passed over. Those that failed are loaded and tried again when all after them have failed too, not before: a server
    that died is not started anew while another backend can answer.

    Args:
        members: Specs, or backends.
        settings: For the backends of the specs.
    """

    def __init__(self, members: Sequence[str | Backend], settings: Settings) -> None:
        if not all(members):
            raise ConfigError("A backend between | has no name.", "Write runtime:model|runtime:model.")
        self._members = [backends.create(m, settings) if isinstance(m, str) else m for m in members]
        self._active = 0
        self._loaded: set[int] = set()
        self._answered = threading.local()
        self._lock = threading.RLock()
        self.failures: list[tuple[str, str]] = []
        """Who failed and why, in order."""

    @property
    def name(self) -> str:
        """The backend that gave this thread its last answer; before that, the one that will be asked next."""
        return getattr(self._answered, "name", None) or self.active.name

    @property
    def active(self) -> Backend:
        """The backend that will be asked next."""
        return self._members[self._active]

    @property
    def capabilities(self) -> Capabilities:
        """Those of the active backend."""
        return self.active.capabilities

    def load(self) -> None:
        """Load the first backend that works, also if it was loaded before and died.

        Raises:
            BackendUnavailable: None does; the message has every reason.
        """
        self._loaded.clear()
        self._first(lambda backend: None)

    def stream(self, request: Request) -> Iterator[Chunk]:
        """The answer of the first backend that begins one."""
        return self._stream(request, lambda backend: backend.stream(request))

    def stream_within(self, request: Request, timeout_s: float) -> Iterator[Chunk]:
        """As ``stream``; a backend that waits for a server waits no longer than this. A time-out is final."""
        return self._stream(
            request,
            lambda b: b.stream_within(request, timeout_s) if isinstance(b, Waits) else b.stream(request),
        )

    def score(self, messages: tuple[Message, ...], choices: Sequence[str]) -> list[Scored]:
        """Scores of the first backend that can and does."""
        return self._first(lambda b: _kind(b, Scores, "score").score(messages, choices))

    def call_tools(self, request: Request, tools: Sequence[dict[str, Any]], choice: str) -> Message:
        """Calls of the first backend that takes tools."""
        return self._first(lambda b: _kind(b, CallsTools, "tools").call_tools(request, tools, choice))

    def tokenize(self, text: str) -> list[int]:
        """Token ids by the active backend."""
        return self._open().tokenize(text)

    def piece(self, token: int) -> str:
        """The text of one token by the active backend."""
        return self._open().piece(token)

    def render(self, messages: tuple[Message, ...]) -> str:
        """The template of the active backend's model, filled in."""
        return self._open().render(messages)

    def encode(self, messages: tuple[Message, ...]) -> list[int]:
        """Token ids of a conversation by the active backend."""
        return self._open().encode(messages)

    def logits(self, tokens: Sequence[int]) -> Logits:
        """Next-token logits of the active backend; token ids mean nothing to another one."""
        return self._open().logits(tokens)

    def health(self) -> Health:
        """Well if any backend is; the detail says which one is active and what became of the others."""
        states = {b.name: b.health() for b in self._members}
        failed = "; ".join(f"{name} failed: {why}" for name, why in self.failures[-3:])
        detail = f"{self.active.name} answers" + (f" ({failed})" if failed else "")
        return Health(any(s.ok for s in states.values()), detail, {"backends": states})

    def close(self) -> None:
        """Close all of them."""
        self._loaded.clear()
        for backend in self._members:
            backend.close()

    def _stream(self, request: Request, open_: Callable[[Backend], Iterator[Chunk]]) -> Iterator[Chunk]:
        def begin(backend: Backend) -> tuple[Chunk | None, Iterator[Chunk]]:
            if missing := lacking(backend.capabilities, request):
                raise CapabilityMissing(f"{backend.name} has no {missing[0]}.", "Name a backend that has it.")
            chunks = open_(backend)
            return next(chunks, None), chunks

        first, rest = self._first(begin)
        if first is not None:
            yield first
            yield from rest

    def _first(self, ask: Callable[[Backend], T]) -> T:
        """What the first member that works answers; it becomes the active one."""
        reasons: list[str] = []
        start, missing = self._active, None
        for step in range(len(self._members)):
            at = (start + step) % len(self._members)
            self._active = at  # now, so that no other thread asks one that failed
            backend = self._members[at]
            try:
                with self._lock:
                    if at not in self._loaded:
                        backend.load()
                        self._loaded.add(at)
                answer = ask(backend)
            except CapabilityMissing as error:
                missing = missing or error
                reasons.append(error.message)
            except GIVES_WAY as error:
                self._loaded.discard(at)
                self.failures.append((backend.name, error.message))
                reasons.append(error.message)
            else:
                self._answered.name = backend.name
                return answer
        self._active = start
        if missing and len(reasons) == 1:
            raise missing
        raise BackendUnavailable(
            f"No backend works: {' '.join(reasons)}", "Start or install one of them; `labkit doctor` helps."
        )

    def _open(self) -> OpenModel:
        return _kind(self.active, OpenModel, "logits")


def _kind(backend: Backend, kind: type[T], capability: str) -> T:
    if not getattr(backend.capabilities, capability) or not isinstance(backend, kind):
        raise CapabilityMissing(f"{backend.name} has no {capability}.", "Name a backend that has it first.")
    return backend
