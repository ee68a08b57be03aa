"""The common part of engines that give logits: it has the methods of ``llama_engine.Engine``, so the same loop drives them.

A *slot* is a KV cache of its own with its tokens. A conversation takes the idle slot that shares the longest prefix with its
prompt. Nobody waits for a slot: if none is idle, another is made. One lock guards each step, so threads may share an engine.

An engine of this kind says how to make a cache (``_new``), to cut it (``_cut``) and to read tokens into it (``_read``).
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.errors import BackendError, ContextOverflow
from labkit.sampling import Logits, log_softmax

IDLE = 4
"""Conversations whose keys and values are kept: 0.05 MB a token for SmolLM2 135M, in 32 bits."""


@dataclass(eq=False)
class Slot:
    """A conversation: what holds its keys and values, and its tokens."""

    cache: Any
    tokens: list[int] = field(default_factory=list[int])


class SlotEngine(ABC):
    """An engine behind slots.

    Args:
        vocab: llguidance's tokenizer for the model.
        ends: Tokens that end a turn.
        names: The texts of control tokens.
        context: Tokens that a conversation may have, prompt and answer together.
        batch: Prompt tokens read in one step.
    """

    def __init__(
        self, vocab: Any, *, ends: Iterable[int], names: Iterable[str], context: int, batch: int
    ) -> None:
        self.vocab = vocab
        self.n_vocab: int = vocab.vocab_size
        self.context, self.batch = context, batch
        self._ends = frozenset(ends)
        self._names = re.compile("|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "(?!)")
        self._idle: list[Slot] = []
        self._open = True
        self._lock = threading.RLock()
        self.prompt_tokens = 0
        """Tokens in all prompts so far."""
        self.read_tokens = 0
        """Those of them that were in no cache and had to be read."""

    @abstractmethod
    def render(self, messages: list[dict[str, str]]) -> str:
        """The model's chat template, filled in."""

    @abstractmethod
    def _new(self) -> Any:
        """An empty cache."""

    @abstractmethod
    def _cut(self, cache: Any, n: int) -> None:
        """Keep only the first tokens of a cache, and drop what an interrupt may have left in it."""

    @abstractmethod
    def _read(self, cache: Any, tokens: Sequence[int], past: int, wanted: int) -> NDArray[np.float32]:
        """Read tokens into a cache that holds ``past`` of them.

        Returns:
            Logits after each of the last ``wanted`` tokens or more, shape (tokens, vocabulary); valid until the next call.
        """

    def close(self) -> None:
        """Free the model. A stream that goes on raises BackendError."""
        with self._lock:
            self._open = False
            self._idle.clear()

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids; with ``special``, control tokens written in the text are read as such."""
        text = text.encode("utf-8", "replace").decode()
        # the name of a control token, cut in two, is text
        cuts = [] if special else [found.start() + 1 for found in self._names.finditer(text)]
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        return [token for part in parts for token in self.vocab.tokenize_str(part, parse_special=True)]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; empty for a control token unless ``special``."""
        return self.vocab.decode_bytes([token]) if special or not self.vocab.is_special_token(token) else b""

    def ends_turn(self, token: int) -> bool:
        """Whether this token means that the model has finished."""
        return token in self._ends

    @contextmanager
    def slot(self, prompt: Sequence[int]) -> Generator[Slot]:
        """Hold the idle slot that shares most with the prompt, or a new one; what it does not share is forgotten."""
        with self._lock:
            self._require_open()
            slot = max(self._idle, key=lambda s: common_prefix(s.tokens, prompt), default=None)
            if slot and (
                common_prefix(slot.tokens, prompt) > len(slot.tokens) // 2 or len(self._idle) >= IDLE
            ):
                self._idle.remove(slot)
            else:
                slot = Slot(self._new())
            # one token alone is rounded otherwise than several: the last two are always read together
            self._keep(slot, max(0, min(common_prefix(slot.tokens, prompt), len(prompt) - 2)))
            self.prompt_tokens += len(prompt)
            self.read_tokens += len(prompt) - len(slot.tokens)
        try:
            yield slot
        finally:
            with self._lock:
                if self._open:
                    self._idle.append(slot)
                    del self._idle[:-IDLE]

    def evaluate(self, slot: Slot, tokens: Sequence[int]) -> Logits:
        """Read ``tokens`` into the slot, apart from the prefix it holds, and return the next-token logits.

        Returns:
            Shape (vocabulary,), a copy.
        """
        with self._lock:
            if len(tokens) > self.context:
                raise ContextOverflow(
                    f"The prompt has {len(tokens)} tokens, {len(tokens) - self.context} more than the context of {self.context}.",
                    "Shorten the conversation, or raise LABKIT_CONTEXT (the model sets its own upper bound).",
                )
            self._keep(slot, min(common_prefix(slot.tokens, tokens), len(tokens) - 1))
            while (left := len(tokens) - len(slot.tokens)) > self.batch:
                size = self.batch - (left == self.batch + 1)  # never a single token at the end
                self._add(slot, tokens[len(slot.tokens) :][:size], 1)
            return self._add(slot, tokens[len(slot.tokens) :], 1)[-1].copy()

    def score(self, slot: Slot, prompt: Sequence[int], choices: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability (natural log) of each choice's tokens after the prompt, which is read once."""
        with self._lock:
            first = log_softmax(self.evaluate(slot, prompt))
            totals = [float(first[choice[0]]) for choice in choices]
            for i, choice in enumerate(choices):
                if len(choice) > 1:
                    rows = log_softmax(self._add(slot, choice[:-1], len(choice) - 1))
                    totals[i] += float(rows[np.arange(len(rows)), list(choice[1:])].sum())
                    self._keep(slot, len(prompt))
            return totals

    def _add(self, slot: Slot, tokens: Sequence[int], wanted: int) -> NDArray[np.float32]:
        self._require_open()
        held, slot.tokens = slot.tokens, []  # an interrupt leaves an empty slot
        rows = self._read(slot.cache, tokens, len(held), wanted)[-wanted:]
        slot.tokens = [*held, *tokens]
        return rows

    def _keep(self, slot: Slot, n: int) -> None:
        self._cut(slot.cache, n)
        del slot.tokens[n:]

    def _require_open(self) -> None:
        if not self._open:
            raise BackendError(
                "The model was closed while it was in use.", "Load it again with labkit.load()."
            )


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next(i for i in range(n) if a[i] != b[i])
