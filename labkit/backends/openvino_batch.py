"""Several answers of one engine, computed side by side: one step of the model gives the next token of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np

from labkit.backends.constraint import Constraint
from labkit.backends.openvino_engine import OpenVinoEngine
from labkit.backends.text import StopFilter
from labkit.messages import Completion, FinishReason, Request, TokenLogprob, Usage
from labkit.sampling import Logits, sample

LogprobOf = Callable[[Logits, int, int], TokenLogprob]


class Answer:
    """One answer, as far as it is.

    Args:
        engine: For its tokens.
        request: What was asked.
        prompt: The same in tokens.
        constraint: What its schema or grammar allows.
        logprob_of: Log-probability and alternatives from (logits, token, number of alternatives).
    """

    def __init__(
        self,
        engine: OpenVinoEngine,
        request: Request,
        prompt: list[int],
        constraint: Constraint | None,
        logprob_of: LogprobOf,
    ) -> None:
        self.prompt = prompt
        self.finish: FinishReason | None = None
        self._engine, self._request, self._constraint, self._logprob_of = (
            engine,
            request,
            constraint,
            logprob_of,
        )
        self._rng = np.random.default_rng(request.seed)
        self._filter, self._text, self._made = StopFilter(request.stop), "", 0
        self._logprobs: list[TokenLogprob] = []
        self._limit = min(request.max_tokens, engine.context - len(prompt))
        self._started = self._first = self._last = time.perf_counter()

    def take(self, logits: Logits) -> int:
        """Choose the next token; ``finish`` is set if none is wanted after it."""
        request, logits = self._request, logits.copy()
        if self._constraint:
            self._constraint.apply(logits)
        token = sample(
            logits, self._rng, temperature=request.temperature, top_k=request.top_k, top_p=request.top_p
        )
        self._last = time.perf_counter()
        self._first = self._first if self._made else self._last
        if self._engine.ends_turn(token):
            self.finish = "stop"
            return token
        self._made += 1
        if self._constraint:
            self._constraint.accept(token)
        if request.logprobs:
            self._logprobs.append(self._logprob_of(logits, token, request.logprobs))
        self._text += self._filter.feed(self._engine.piece(token))
        if self._filter.stopped or (self._constraint and self._constraint.complete):
            self.finish = "stop"
        elif self._made == self._limit:
            self.finish = "length"
        return token

    def completion(self, name: str) -> Completion:
        """The whole answer."""
        usage = Usage(len(self.prompt), 0, self._made, self._first - self._started, self._last - self._first)
        text = self._text + self._filter.rest()
        return Completion(text, self.finish or "length", usage, tuple(self._logprobs), name)


def answer_together(engine: OpenVinoEngine, going: Sequence[Answer]) -> None:
    """Bring all of these answers to their end."""
    with closing(engine.together([answer.prompt for answer in going])) as steps:
        rows = next(steps)
        while True:
            tokens = [answer.take(row) for answer, row in zip(going, rows, strict=True)]
            on = {i: token for i, token in enumerate(tokens) if going[i].finish is None}
            if not on:
                return
            going, rows = [going[i] for i in on], steps.send(on)
