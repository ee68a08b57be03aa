"""``labkit bench agent``: how many requests to the support desk reach exactly the state they should, and at what price.

Every request runs on a fresh copy of the seeded desk; its rows afterwards and its answer are compared with what the request's author wrote
down. The same requests go through ``step_by_step`` and, where it is installed, through smolagents on the same model.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import labkit
from labkit import desk, policies
from labkit.agent import Agent
from labkit.backends.llamacpp import LlamaCppBackend
from labkit.bench.figures import Figure, median, share
from labkit.bench.meter import Meter
from labkit.client import Client
from labkit.desk import cases
from labkit.memory import Memory
from labkit.tools import Tool, ToolRegistry

OTHERS = 12
"""Requests of a default run that ``step_by_step`` gets; ``full`` gives them all to it and to the peer."""
PEER = 6
"""Requests of a default run that smolagents gets: it takes many times longer."""

Answer = Callable[[str], tuple[str, int]]
"""The user's words -> the answer, and how many calls it took."""
Way = Callable[[Client, ToolRegistry], Answer]
"""A way of answering, made anew for each conversation."""


@dataclass
class Ran:
    """What one way of answering did on all its requests."""

    meter: Meter
    outcomes: list[cases.Outcome] = field(default_factory=list[cases.Outcome])
    kinds: list[str] = field(default_factory=list[str])
    turns: list[float] = field(default_factory=list[float])
    calls: list[int] = field(default_factory=list[int])
    tool_s: float = 0.0


def run(*, full: bool = False, requests: Path | None = None) -> list[Figure]:
    """Measure success, wrong rows, time, overhead and what is read again.

    Args:
        full: The other strategies get every request too.
        requests: Other requests in the format of ``data/desk/requests.jsonl``.
    """
    every = cases.load(requests)
    client = labkit.load("llamacpp:smollm2-135m")
    assert isinstance(client.backend, LlamaCppBackend)
    ways: dict[str, tuple[Way, int]] = {
        "agent": (with_policy(policies.planned), len(every)),
        "agent.step_by_step": (with_policy(policies.step_by_step), OTHERS),
    }
    if importlib.util.find_spec("smolagents"):
        ways["agent.smolagents"] = (with_peer, PEER)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        base = desk.build(Path(folder) / "base.db")
        ran = {
            name: measure(client.backend, base, every if full else sample(every, n), way)
            for name, (way, n) in ways.items()
        }
    for name in ways:
        figures += _figures(name, ran[name])
    planned = ran["agent"]
    for kind, total in Counter(planned.kinds).items():
        good = sum(o.ok for o, k in zip(planned.outcomes, planned.kinds, strict=True) if k == kind)
        figures.append(Figure(f"agent.success.{kind}", good / total, "share", total))
    return figures


def sample(every: Sequence[cases.Case], n: int) -> Sequence[cases.Case]:
    """So many of them, spread over all kinds."""
    return every[:: max(1, len(every) // n)][:n]


def with_policy(policy: policies.Policy) -> Way:
    """Our loop with one of its policies."""

    def way(client: Client, tools: ToolRegistry) -> Answer:
        agent, session = Agent(client, tools, policy=policy), Memory().session("bench")

        def answer(words: str) -> tuple[str, int]:
            result = agent.run(words, session)
            return result.answer, len(result.calls)

        return answer

    return way


def with_peer(client: Client, tools: ToolRegistry) -> Answer:
    """A smolagents agent with structured output on the same model."""
    from labkit.bench.peer import Peer

    peer = Peer(client, tools.with_words(""))

    def answer(words: str) -> tuple[str, int]:
        before = len(peer.steps)
        text = peer.run(words, tools.with_words(words))[0]
        return text, len(peer.steps) - before - 1  # the first step is the request

    return answer


def measure(backend: LlamaCppBackend, base: Path, every: Sequence[cases.Case], way: Way) -> Ran:
    """Answer every request, each on a fresh copy of the desk.

    Args:
        backend: The loaded model.
        base: The desk to copy.
        every: The requests.
        way: How to answer.
    """
    ran = Ran(Meter(backend))
    for number, case in enumerate(every):
        path = Path(shutil.copy(base, base.with_name(f"desk-{number}.db")))
        before = cases.snapshot(path)
        answer, text = way(ran.meter, _timed(desk.Desk(path).tools(), ran)), ""
        for words in case.turns:
            began = time.perf_counter()
            text, calls = answer(words)
            ran.turns.append(time.perf_counter() - began)
            ran.calls.append(calls)
        ran.outcomes.append(cases.judge(case, before, cases.snapshot(path), text))
        ran.kinds.append(case.kind)
    return ran


def _timed(tools: ToolRegistry, ran: Ran) -> ToolRegistry:
    """The same tools; the time inside them is added up."""

    def timed(tool: Tool) -> Tool:
        function = tool.require_function()

        def work(**arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(**arguments)
            finally:
                ran.tool_s += time.perf_counter() - began

        return replace(tool, function=work)

    return ToolRegistry(*(timed(tool) for tool in tools))


def _figures(name: str, ran: Ran) -> list[Figure]:
    meter, counts, n = ran.meter, ran.meter.counts, len(ran.outcomes)
    own = sum(ran.turns) - meter.seconds - ran.tool_s - meter.counting
    figures = [
        share(f"{name}.success", [o.ok for o in ran.outcomes]),
        Figure(f"{name}.wrong_rows", sum(len(o.wrong_rows) for o in ran.outcomes), "rows", n),
        median(f"{name}.median_turn_s", ran.turns, "s"),
        median(f"{name}.calls", ran.calls, "calls"),
        Figure(
            f"{name}.overhead_ratio", own / meter.seconds if meter.seconds else 0.0, "ratio", len(ran.turns)
        ),
        Figure(f"{name}.reread_ratio", counts.read / meter.new if meter.new else 0.0, "ratio", counts.calls),
        Figure(f"{name}.tokens_read", counts.read / len(ran.turns), "tokens/turn", len(ran.turns)),
        Figure(f"{name}.tokens_written", counts.written / len(ran.turns), "tokens/turn", len(ran.turns)),
    ]
    return figures
