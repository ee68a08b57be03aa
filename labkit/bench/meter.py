"""A client that counts more: time inside the model, and how many prompt tokens no earlier prompt had in the same place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from labkit.backends import Backend
from labkit.evaluate.metered import Metered
from labkit.messages import Chunk, MessagesLike, Scored


class Meter(Metered):
    """As ``Metered``, for the embedded engine. It changes nothing in what is computed.

    Attributes:
        seconds: Time inside the model.
        new: Prompt tokens that a cache of unlimited size would have had to read: no earlier prompt began with them.
        counting: Seconds that the counting itself took.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.seconds = self.counting = 0.0
        self.new = 0
        self._seen: dict[int, Any] = {}

    def stream(
        self, messages: MessagesLike, *, timeout_s: float | None = None, **options: Any
    ) -> Iterator[Chunk]:
        """As ``Client.stream``."""
        self._look(messages)
        with closing(super().stream(messages, timeout_s=timeout_s, **options)) as stream:  # type: ignore[type-var]
            while True:
                began = time.perf_counter()
                chunk = next(stream, None)
                self.seconds += time.perf_counter() - began
                if chunk is None:
                    return
                yield chunk

    def score(self, messages: MessagesLike, choices: Sequence[str]) -> list[Scored]:
        """As ``Client.score``."""
        self._look(messages)
        began = time.perf_counter()
        found = super().score(messages, choices)
        self.seconds += time.perf_counter() - began
        return found

    def _look(self, messages: MessagesLike) -> None:
        began, node = time.perf_counter(), self._seen
        for token in self.encode(messages):
            self.new += token not in node
            node = node.setdefault(token, {})
        self.counting += time.perf_counter() - began
