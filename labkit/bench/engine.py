"""``labkit bench engine``: our engine against bare llama-cpp-python, in one process, same prompts, alternating.

The thread count is fixed to the same number on both sides. A ratio is ours over theirs in the same round, so that a busy
machine slows both; its median over the rounds is printed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from labkit import models
from labkit.backends.llamacpp import LlamaCppBackend
from labkit.backends.threads import default_threads, limit_spinning
from labkit.bench.figures import Figure, median
from labkit.client import Client
from labkit.config import settings
from labkit.messages import assistant, system, user

ROUNDS = 5
TOKENS = 128
FACTS = "The ferry leaves at nine, and the market by the harbour opens at ten on every day but Monday. "
SHORT = "Tell me a long story about a boat."
LONG = f"{FACTS * 12}Summarise this in one sentence."


@dataclass(frozen=True)
class _Run:
    first_s: float
    prefill_per_s: float
    decode_per_s: float


def run(*, full: bool = False) -> list[Figure]:
    """Measure decode, prefill, time to first token and the reused prefix.

    Args:
        full: Three times as many rounds.
    """
    threads = settings().threads or default_threads()
    chosen = settings(threads=threads, context=2048)
    backend = LlamaCppBackend("smollm2-135m", chosen)
    path = models.locate("llamacpp", "smollm2-135m", chosen)
    limit_spinning()
    from llama_cpp import Llama

    bare: Any = Llama(
        str(path), n_ctx=2048, n_batch=chosen.batch, n_threads=threads, n_threads_batch=threads, verbose=False
    )
    with Client(backend) as ours:
        backend.load()
        rounds = [_round(ours, backend, bare, i) for i in range(ROUNDS * (3 if full else 1) + 1)][1:]
        reread = _reread_ratio(ours)
    bare.close()
    figures: list[Figure] = []
    for what in ("decode_per_s", "prefill_per_s", "first_s"):
        mine, theirs = ([getattr(pair[side], what) for pair in rounds] for side in (0, 1))
        unit = "s" if what == "first_s" else "tokens/s"
        figures += [median(f"engine.{what}", mine, unit), median(f"engine.bare_{what}", theirs, unit)]
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        figures.append(median(f"engine.{what.removesuffix('_per_s')}_ratio", ratios, "ratio"))
    return [
        *figures,
        Figure("engine.prefix_reread_ratio", reread, "ratio", 1),
        Figure("engine.threads", threads, "threads", 1),
    ]


def _round(ours: Client, backend: LlamaCppBackend, bare: Any, number: int) -> tuple[_Run, _Run]:
    """One measurement of each side; the sides take turns at going first."""

    def mine() -> _Run:
        backend.engine.clear()
        story = ours.complete(SHORT, max_tokens=TOKENS).usage
        backend.engine.clear()
        long = ours.complete(LONG, max_tokens=1).usage
        return _Run(long.prefill_s, long.prefill_per_s, story.decode_per_s)

    def theirs() -> _Run:
        _, decode = _bare(bare, backend.render((user(SHORT),)), TOKENS)
        tokens, first = _bare(bare, backend.render((user(LONG),)), 1)
        return _Run(first, tokens / first, decode)

    if number % 2:
        second = theirs()
        return mine(), second
    return mine(), theirs()


def _bare(bare: Any, prompt: str, tokens: int) -> tuple[int, float]:
    """Prompt tokens and decode rate (or, for one token, the seconds until it came) of bare llama-cpp-python, greedy."""
    ids = bare.tokenize(prompt.encode(), add_bos=False, special=True)
    bare.reset()
    began = time.perf_counter()
    stamps: list[float] = []
    for _token in bare.generate(ids, temp=0.0, reset=False):
        stamps.append(time.perf_counter())
        if len(stamps) == tokens:
            break
    if tokens == 1:
        return len(ids), stamps[0] - began
    return len(ids), (tokens - 1) / (stamps[-1] - stamps[0])


def _reread_ratio(ours: Client) -> float:
    """Prompt tokens read again on turn two, over the tokens that are new in it."""
    start = [
        system("You are a helpful guide to a small harbour town."),
        user(f"{FACTS * 3}When does the ferry leave?"),
    ]
    one = ours.complete(start, max_tokens=48)
    two = ours.complete([*start, assistant(one.text), user("And when does the market open?")], max_tokens=8)
    new = two.usage.prompt_tokens - one.usage.prompt_tokens - one.usage.completion_tokens
    return (two.usage.prompt_tokens - two.usage.cached_tokens) / new
