"""What the cheap and the dear way made of every case, measured once and kept: the raw material of ``labkit bench route``.

Cheap is one constrained pass (``labkit.routing.one_pass``). Dear is ``choose_fill``, which asks the same model about each tool and each argument; for the
support desk, the agent with its plan. Both run on the same model on this machine; nothing is simulated. Another model may take the dear part instead.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from labkit import desk
from labkit.agent import Agent
from labkit.bench import bfcl, route_cases, tools
from labkit.client import Client
from labkit.decoding import Decision, Strategy, call_tools
from labkit.desk import cases as desk_cases
from labkit.memory import Memory
from labkit.messages import TokenLogprob, ToolCall
from labkit.plan import Need
from labkit.policies import Policy
from labkit.routing.one_pass import Pass, one_pass
from labkit.tools import ToolRegistry
from labkit.turn import Turn


@dataclass(frozen=True)
class Recorded:
    """One request, answered both ways.

    Attributes:
        id: Its name; unique.
        family: Requests of one family are alike; training and test share none.
        prompt: The user's words.
        first: The cheap way's first pass.
        passes: How many passes it took.
        refused: How many of its calls a tool refused.
        weak_correct, strong_correct: Whether the cheap and the dear answer are right.
        weak_s, strong_s: Seconds of each.
        strong_calls: What the dear way called (tool cases only).
    """

    id: str
    family: str
    prompt: str
    first: Pass
    passes: int
    refused: int
    weak_correct: bool
    strong_correct: bool
    weak_s: float
    strong_s: float
    strong_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(frozen=True)
class Dear:
    """Who answers the dear way, and with which strategy of ``labkit.decoding``."""

    client: Client
    strategy: Strategy


@dataclass
class Log:
    """Records in a file, one a line, so that a run that was interrupted goes on."""

    path: Path
    known: dict[str, Recorded] = field(default_factory=dict[str, Recorded])

    def __post_init__(self) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        for line in lines:
            try:
                record = _read(json.loads(line))
            except (ValueError, KeyError, TypeError):  # cut off in the middle of a line
                continue
            self.known[record.id] = record

    def add(self, record: Recorded) -> None:
        """Keep a record."""
        self.known[record.id] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")


def _read(line: Mapping[str, Any]) -> Recorded:
    first: dict[str, Any] = dict(line["first"])
    first["calls"] = tuple(ToolCall(**call) for call in first["calls"])
    first["tokens"] = tuple(
        TokenLogprob(t["token"], t["logprob"], tuple((a, b) for a, b in t["top"])) for t in first["tokens"]
    )
    first["missing"] = tuple(first["missing"])
    calls = tuple((name, arguments) for name, arguments in line["strong_calls"])
    more: dict[str, Any] = {**line, "first": Pass(**first), "strong_calls": calls}
    return Recorded(**more)


def tool_cases(per_family: int) -> dict[str, list[bfcl.Case]]:
    """Our 40 cases, each a family of its own, and the generated ones, by family."""
    own = {f"own_{case.id}": [case] for case in tools.own_cases()}
    return {**own, **route_cases.cases(per_family)}


def record(client: Client, log: Log, per_family: int, strong: Client | None = None) -> Iterator[Recorded]:
    """Answer everything that is not in the log yet; yield all records in a fixed order.

    Args:
        client: The model.
        log: What was measured before.
        per_family: Tool cases of each family.
        strong: Another model for the dear way, in the best way that it can.
    """
    dear = Dear(strong or client, "auto" if strong else "choose_fill")
    todo: list[tuple[str, Callable[[], Recorded]]] = []
    for family, every in tool_cases(per_family).items():
        for number, case in enumerate(every):
            name = f"tools:{family}:{number}"
            todo.append((name, lambda n=name, f=family, c=case: _tool_case(client, dear, n, f, c)))
    with tempfile.TemporaryDirectory() as folder:
        base = desk.build(Path(folder) / "base.db")
        for case in desk_cases.load():
            name = f"desk:{case.id}"
            todo.append((name, lambda n=name, c=case: _desk_case(client, dear, base, n, c)))
        for name, measure in _progress(todo):
            if name not in log.known:
                log.add(measure())
            yield log.known[name]


def registry(case: bfcl.Case) -> ToolRegistry:
    """The tools of a case."""
    return ToolRegistry.from_bfcl(case.functions)


def _tool_case(client: Client, dear: Dear, name: str, family: str, case: bfcl.Case) -> Recorded:
    words, offered = case.messages[-1]["content"], registry(case)
    none = case.category == "irrelevance"  # else the program knows that a tool is wanted
    first = one_pass(client, offered, words, none=none)
    began = time.perf_counter()
    calls = call_tools(
        dear.client,
        words,
        offered,
        choice="auto" if none else "required",
        strategy=dear.strategy,
        parallel=case.category == "parallel",
    ).calls
    strong_s = time.perf_counter() - began
    return Recorded(
        name,
        family,
        words,
        first,
        1,
        0,
        bfcl.check(case, first.calls) is None,
        bfcl.check(case, calls) is None,
        first.seconds,
        strong_s,
        tuple((call.name, dict(call.arguments)) for call in calls),
    )


def _desk_case(client: Client, dear: Dear, base: Path, name: str, case: desk_cases.Case) -> Recorded:
    passes: list[Pass] = []
    weak, weak_s, refused = _conversation(client, base, case, pass_by_pass(passes))
    strong, strong_s, _ = _conversation(dear.client, base, case, None)
    return Recorded(
        name,
        f"desk_{case.kind}",
        "\n".join(case.turns),
        passes[0],
        len(passes),
        refused,
        weak,
        strong,
        weak_s,
        strong_s,
    )


def _conversation(
    client: Client, base: Path, case: desk_cases.Case, policy: Policy | None
) -> tuple[bool, float, int]:
    """Whether the desk and the answer are as they should be afterwards; seconds; calls that a tool refused."""
    path = Path(shutil.copy(base, base.with_name("desk.db")))
    before = desk_cases.snapshot(path)
    agent, session = Agent(client, desk.Desk(path).tools(), policy=policy), Memory().session("bench")
    seconds, refused, text = 0.0, 0, ""
    for words in case.turns:
        result = agent.run(words, session)
        seconds, text = seconds + result.seconds, result.answer
        refused += sum(not done.ok for _, done in result.calls)
    return desk_cases.judge(case, before, desk_cases.snapshot(path), text).ok, seconds, refused


def pass_by_pass(passes: list[Pass]) -> Policy:
    """The cheap policy of an agent: one pass for each decision, over the user's words and what the tools answered.

    Args:
        passes: Gets every pass.
    """

    def policy(turn: Turn) -> Decision:
        words = "\n".join([turn.words, *(result.content for _, result in turn.done)])
        made = one_pass(turn.client, turn.tools, words, grounded=True)
        passes.append(made)
        turn.missing = tuple(Need(made.tool, (name.replace("_", " "),)) for name in made.missing)
        done = [(call.name, dict(call.arguments)) for call, _ in turn.done]
        calls = tuple(
            ToolCall(c.name, c.arguments, f"call_{len(done) + 1}")
            for c in made.calls
            if (c.name, dict(c.arguments)) not in done
        )
        return Decision(calls, "one_pass", made.choice)

    return policy


def _progress(todo: list[tuple[str, Callable[[], Recorded]]]) -> Iterable[tuple[str, Callable[[], Recorded]]]:
    from rich.console import Console
    from rich.progress import track

    return track(todo, description="cases", console=Console(stderr=True), transient=True)
