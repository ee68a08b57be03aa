"""Two suites of the course: requests to the support desk, and requests with functions to call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import desk
from labkit.agent import Agent
from labkit.bench import bfcl
from labkit.bench import tools as tool_bench
from labkit.client import Client
from labkit.desk import cases
from labkit.evaluate.suite import Case, Suite, System
from labkit.memory import Memory
from labkit.tools import ToolRegistry

MakeAgent = Callable[[Client, ToolRegistry], Agent]


@dataclass(frozen=True)
class Visit:
    """What a conversation at a desk came to.

    Attributes:
        answer: The last answer.
        calls: Every tool call of the conversation.
        seconds: The agent's time for all turns; making the desk is not in it.
        before: The desk's rows before it.
        after: The desk's rows after it.
    """

    answer: str
    calls: tuple[Any, ...]
    seconds: float
    before: cases.Snapshot
    after: cases.Snapshot


def desk_suite(path: Path | str | None = None) -> Suite:
    """The requests of ``data/desk/requests.jsonl``, or of another file of that form.

    Completed means: exactly the expected rows are new, nothing else changed, and the last answer has the expected facts.

    Raises:
        ConfigError: The file cannot be used.
    """
    return Suite("desk", [Case(case.id, case, _desk_check(case), case.kind) for case in cases.load(path)])


def at_desk(make: MakeAgent = Agent) -> System:
    """A system for ``desk_suite``: each case gets a fresh desk, and an agent of ``make(client, tools)``."""

    def visit(client: Client, case: cases.Case) -> Visit:
        with tempfile.TemporaryDirectory() as folder:
            path = desk.build(Path(folder) / "desk.db")
            before, calls, answer, seconds = cases.snapshot(path), list[Any](), "", 0.0
            agent, session = make(client, desk.Desk(path).tools()), Memory().session(case.id)
            for words in case.turns:
                result = agent.run(words, session)
                answer, calls = result.answer, [*calls, *result.calls]
                seconds += result.seconds
            return Visit(answer, tuple(calls), seconds, before, cases.snapshot(path))

    return visit


def tool_suite() -> Suite:
    """The 40 requests of ``data/tools/cases.jsonl``; completed means: exactly the accepted calls, by BFCL's rules."""
    return Suite(
        "tools", [Case(case.id, case, _tool_check(case), case.category) for case in tool_bench.own_cases()]
    )


def with_strategy(strategy: str) -> System:
    """A system for ``tool_suite``: ``choose_fill``, ``text_only`` (no model), ``union``, ``vote`` or ``prompt``."""

    def answer(client: Client, case: bfcl.Case) -> Calls:
        return Calls(tool_bench.answer(client, strategy, case))

    return answer


@dataclass(frozen=True)
class Calls:
    """The calls that a strategy made."""

    calls: tuple[Any, ...]


def _desk_check(case: cases.Case) -> Callable[[Visit], str]:
    def check(visit: Visit) -> str:
        outcome = cases.judge(case, visit.before, visit.after, visit.answer)
        wrong = [f"{c.how} in {c.table} and not expected" for c in outcome.wrong_rows]
        missing = [f"no new row in {table}" for table, _ in outcome.missing_rows]
        unsaid = [f"the answer lacks {' or '.join(fact)}" for fact in outcome.missing_facts]
        return "; ".join([*wrong, *missing, *unsaid])

    return check


def _tool_check(case: bfcl.Case) -> Callable[[Calls], str]:
    return lambda made: bfcl.check(case, made.calls) or ""
