"""``labkit bench http``: our HTTP client against the bare ``openai`` client, both streaming from the same server, alternating.

The server is llama.cpp's, in a process of its own, on the embedded model; both sides ask for the same 64 tokens. The CPU time
that our side adds is also measured alone, on a server without a model: a busy machine does not blur it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median as middle
from typing import Any

from labkit.backends.openai_http import OpenAIBackend
from labkit.backends.scripted_http import ScriptedServer
from labkit.backends.server import LlamaServerBackend
from labkit.backends.toy import ToyModel
from labkit.bench.figures import Figure, median
from labkit.client import Client
from labkit.config import settings

ROUNDS, TOKENS = 5, 64
STORY = "Tell me a long story about a boat."


def run(*, full: bool = False) -> list[Figure]:
    """Measure the ratio ours over theirs on a model, and the milliseconds of CPU time that ours adds.

    Args:
        full: Three times as many rounds.
    """
    rounds = ROUNDS * (3 if full else 1)
    with Client(LlamaServerBackend("smollm2-135m", settings(context=1024))) as client:
        client.backend.load()
        ours, bare = _both(client, rounds)
    with (
        ScriptedServer(otherwise=ToyModel(length=TOKENS)) as server,
        Client(OpenAIBackend("toy", settings(), server.url)) as client,
    ):
        client.backend.load()
        fast, faster = _both(client, rounds * 4, time.thread_time)
    added = [1000 * (a - b) for a, b in zip(fast, faster, strict=True)]
    return [
        median("http.client_ratio", [a / b for a, b in zip(ours, bare, strict=True)], "ratio"),
        median("http.completion_s", ours, "s"),
        median("http.bare_completion_s", bare, "s"),
        Figure("http.added_cpu_ms", middle(added), "ms", len(added), min(added), max(added)),
    ]


def _both(
    client: Client, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[list[float], list[float]]:
    """Seconds of each round, ours and theirs; who goes first changes with every round. One round warms up."""
    ours: list[float] = []
    bare: list[float] = []
    for n in range(rounds + 1):
        for mine in (n % 2 == 0, n % 2 == 1):
            started = clock()
            if mine:
                made = client.complete(STORY, max_tokens=TOKENS).usage.completion_tokens
            else:
                made = _bare(client.backend)
            assert made == TOKENS, f"{made} tokens came, and not {TOKENS}"
            (ours if mine else bare).append(clock() - started)
    return ours[1:], bare[1:]


def _bare(backend: Any) -> int:
    """What one would write without labkit."""
    stream = backend.client.chat.completions.create(
        model=backend.model,
        messages=[{"role": "user", "content": STORY}],
        max_tokens=TOKENS,
        temperature=0.0,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces = [e.choices[0].delta.content for e in stream if e.choices and e.choices[0].delta.content]
    text = "".join(pieces)
    return len(pieces) if text else 0
