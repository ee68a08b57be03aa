"""The state of one request while an agent works on it, and the limits of that work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from labkit.client import Client
from labkit.errors import ConfigError
from labkit.memory import Session
from labkit.messages import Message, ToolCall, ToolResult
from labkit.plan import Need, Plan
from labkit.tools import ToolRegistry

Stop = Literal["answered", "needs_input", "unknown", "limit", "cancelled"]


@dataclass(frozen=True)
class Limits:
    """Where the loop ends, whatever the model wants.

    Attributes:
        steps: Decisions in one turn.
        calls: Tool calls in one turn.
        seconds: Time for one turn; looked at before each decision and each call.
        repeats: How often the very same call may run in one turn.
        tool_s: Seconds that one call may take.
    """

    steps: int = 8
    calls: int = 8
    seconds: float = 60.0
    repeats: int = 1
    tool_s: float = 30.0

    def __post_init__(self) -> None:
        if min(self.steps, self.calls, self.repeats) < 1 or min(self.seconds, self.tool_s) <= 0:
            raise ConfigError(f"{self} would never do anything.", "Use limits above zero.")


@dataclass
class Turn:
    """The state of one request while it is worked on: what policies and answerers read.

    Attributes:
        client: The model.
        tools: The tools, with the user's words bound.
        words: The request; if an earlier one waits for something missing, both.
        session: The conversation.
        limits: Where the turn ends.
        first: How many messages the conversation had before.
        done: Every call with its result, in order.
        plan: The plan, if the policy made one.
        missing: What the user would have to say.
        stop: Why the turn ended; None while it goes on.
        reason: Which limit was reached.
        decisions: How often the policy was asked.
        started: When the turn began, by ``time.perf_counter``.
        cancelled: Whether somebody asked to stop.
    """

    client: Client
    tools: ToolRegistry
    words: str
    session: Session
    limits: Limits
    first: int = 0
    done: list[tuple[ToolCall, ToolResult]] = field(default_factory=list[tuple[ToolCall, ToolResult]])
    plan: Plan | None = None
    missing: tuple[Need, ...] = ()
    stop: Stop | None = None
    reason: str = ""
    decisions: int = 0
    started: float = field(default_factory=time.perf_counter)
    cancelled: Callable[[], bool] = lambda: False

    @property
    def seconds(self) -> float:
        """Since the turn began."""
        return time.perf_counter() - self.started

    def messages(self, limit: int = 0) -> tuple[Message, ...]:
        """The conversation so far as far as it fits, this turn's calls and observations included.

        Args:
            limit: Tokens; by default half of the context window.
        """
        can = self.client.capabilities
        limit = limit or (can.context or 4096) // 2
        if can.logits:
            return self.session.window(lambda messages: len(self.client.encode(list(messages))), limit)
        return self.session.window(lambda messages: sum(len(m.content) // 3 + 8 for m in messages), limit)

    def ran(self, call: ToolCall) -> int:
        """How often this very call ran in this turn."""
        same = (call.name, dict(call.arguments))
        return sum((done.name, dict(done.arguments)) == same for done, _ in self.done)

    def over(self, call: ToolCall | None = None) -> bool:
        """Whether the turn must end before the next decision or before this call; ``stop`` and ``reason`` then say why."""
        if self.stop:
            return True
        reached = {
            f"{self.limits.seconds:g} seconds": self.seconds > self.limits.seconds,
            f"{self.limits.steps} steps": call is None and self.decisions >= self.limits.steps,
            f"{self.limits.calls} calls": call is not None and len(self.done) >= self.limits.calls,
            "the same call again": call is not None and self.ran(call) >= self.limits.repeats,
        }
        if self.cancelled():
            self.stop = "cancelled"
        elif over := [text for text, yes in reached.items() if yes]:
            self.stop, self.reason = "limit", over[0]
        return self.stop is not None
