"""The agent: a loop around a model that calls tools until the request is answered or a limit is reached.

The loop is ``Agent.stream``. What to do next is a policy and how to say it is an answerer, both functions of the turn (``labkit.policies``), so
that a lab can replace either. A model's faults become observations; a programmer's and the system's faults raise.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from labkit import policies, trace
from labkit.answers import UNKNOWN, fields, unsupported
from labkit.client import Client
from labkit.errors import ConfigError
from labkit.memory import Memory, Session
from labkit.messages import Message, ToolCall, ToolResult, assistant, user
from labkit.plan import Plan, show
from labkit.tools import ToolRegistry
from labkit.turn import Limits, Stop, Turn


@dataclass(frozen=True)
class AgentResult:
    """A finished turn.

    Attributes:
        answer: What the user reads.
        stop: ``answered``, ``needs_input`` (the answer asks for something), ``unknown`` (no tool can tell), ``limit`` or ``cancelled``.
        reason: Which limit it was.
        calls: Every call that was tried, with its result, in order.
        plan: The plan, if the policy made one.
        messages: What this turn added to the conversation.
        seconds: How long it took.
        trace_id: Where the trace has it; empty if none is written.
    """

    answer: str
    stop: Stop
    reason: str
    calls: tuple[tuple[ToolCall, ToolResult], ...]
    plan: Plan | None
    messages: tuple[Message, ...]
    seconds: float
    trace_id: str = ""


@dataclass(frozen=True)
class Step:
    """One thing that happened, as the loop yields it.

    Attributes:
        kind: ``plan``, ``call``, ``observation`` or ``answer``.
        text: What to show for it.
        seconds: Since the turn began.
        call: The call, for ``call`` and ``observation``.
        result: Its result, for ``observation``.
        outcome: The finished turn, for ``answer``.
    """

    kind: Literal["plan", "call", "observation", "answer"]
    text: str
    seconds: float
    call: ToolCall | None = None
    result: ToolResult | None = None
    outcome: AgentResult | None = None


class Agent:
    """Answers requests with tools.

    Args:
        client: The model.
        tools: What it may call; nothing else ever runs.
        policy: What to do next; by default ``planned`` where the model can score, else ``step_by_step``.
        answer: How to say it; by default ``quoted``.
        limits: Where a turn ends.
        name: For the trace.
    """

    def __init__(
        self,
        client: Client,
        tools: ToolRegistry,
        *,
        policy: policies.Policy | None = None,
        answer: Callable[[Turn], str] | None = None,
        limits: Limits | None = None,
        name: str = "agent",
    ) -> None:
        self.client, self.tools, self.name = client, tools, name
        self.policy = policy or policies.default(client)
        self.answer = answer or policies.quoted
        self.limits = limits or Limits()

    def run(
        self, words: str, session: Session | None = None, *, cancel: threading.Event | None = None
    ) -> AgentResult:
        """Work on a request to the end. Arguments and errors are those of ``stream``."""
        *_, last = self.stream(words, session, cancel=cancel)
        assert last.outcome
        return last.outcome

    @trace.own_context
    def stream(
        self, words: str, session: Session | None = None, *, cancel: threading.Event | None = None
    ) -> Iterator[Step]:
        """Work on a request, and yield each step as it happens; the last one is the answer.

        Args:
            words: What the user says.
            session: The conversation it belongs to; without one the turn stands alone and is not kept.
            cancel: Set it from another thread, and the turn ends before its next step. Closing the iterator ends it at once.

        Raises:
            ConfigError: There are no words, or the session's file cannot be used.
            BackendError: The runtime failed.
        """
        turn, begun = self._begin(words, session, cancel), False
        with trace.agent_span(self.name, turn.session.id) as span:
            while not turn.over():
                turn.decisions += 1
                decision = self.policy(turn)
                if turn.plan and not begun:
                    yield from (Step("plan", line, turn.seconds) for line in show(turn.plan))
                    begun = True
                if decision.observation:  # the model's fault: it reads why, and may try again
                    turn.session.add(
                        assistant(decision.text), Message("tool", f"Error: {decision.observation}")
                    )
                elif not decision.calls:
                    break
                for call in decision.calls:
                    if turn.over(call):
                        break
                    yield Step("call", f"{call.name}({json.dumps(dict(call.arguments))})", turn.seconds, call)
                    result = self._execute(turn, call)
                    yield Step("observation", result.content, turn.seconds, call, result)
            outcome = self._finish(turn, trace.trace_id(span))
            trace.finish_agent(span, outcome.stop, len(turn.done))
            yield Step("answer", outcome.answer, outcome.seconds, outcome=outcome)

    def _begin(self, words: str, session: Session | None, cancel: threading.Event | None) -> Turn:
        if not words.strip():
            raise ConfigError("There are no words to answer.", "Pass what the user says.")
        session = session or Memory().session("alone")
        turn = Turn(self.client, self.tools, words, session, self.limits, len(session.messages))
        if cancel:
            turn.cancelled = cancel.is_set
        if pending := session.pending:
            turn.words = f"{pending}\n{words}"
        turn.tools = self.tools.with_words(turn.words)
        session.add(user(words))
        return turn

    def _execute(self, turn: Turn, call: ToolCall) -> ToolResult:
        """Run one call; keep it with its result, and what it says about who and what the conversation is about."""
        with trace.tool_span(call) as span:
            result = turn.tools.execute(call, timeout_s=self.limits.tool_s)
            trace.span_result(span, result)
        turn.done.append((call, result))
        turn.session.add(Message("assistant", "", (call,)), Message("tool", result.content, (), call.id))
        for name, value in policies.to_remember(turn, call, fields(result) or {}).items():
            turn.session.remember(name, value)
        return result

    def _finish(self, turn: Turn, trace_id: str) -> AgentResult:
        """Say the answer. One that has a number, an identifier or a date from nowhere is not said."""
        answer = self.answer(turn)
        evidence = [
            turn.words,
            *(result.content for _, result in turn.done),
            *map(policies.asked, turn.missing),
            turn.reason,
        ]
        if invented := unsupported(answer, evidence):
            answer = f"{UNKNOWN}: the answer would have said {', '.join(invented)}, which no tool returned."
            turn.stop = "unknown"
        stop = turn.stop or ("needs_input" if turn.missing else "answered" if turn.done else "unknown")
        if turn.session.pending or stop == "needs_input":
            turn.session.pending = turn.words if stop == "needs_input" else ""
        turn.session.add(assistant(answer))
        added = turn.session.messages[turn.first :]
        return AgentResult(
            answer, stop, turn.reason, tuple(turn.done), turn.plan, added, turn.seconds, trace_id
        )
