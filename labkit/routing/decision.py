"""What passes between a caller and a router: a request, what the small model made of it, and the decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import wraps
from typing import Any, Literal, Protocol, TypeVar

from labkit import trace
from labkit.errors import ConfigError

SMALL, LARGE = "small", "large"
"""The two targets of most routers. A table names models instead."""

Mark = Literal["", "private", "budget", "unavailable", "clock", "late"]
"""Why a decision is not what the router would have liked; empty where it is."""
Priority = Literal["speed", "balanced", "quality"]


@dataclass(frozen=True)
class Attempt:
    """What the small model made of a request.

    Attributes:
        answer: Its answer, whatever that is.
        signals: Numbers that came with it for nothing, such as the log-probability of its first decision.
        problem: Why a check refused it; empty if none did.
        seconds: How long it took.
    """

    answer: Any
    signals: Mapping[str, float] = field(default_factory=dict[str, float])
    problem: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class RouteRequest:
    """A request that has to be sent somewhere.

    Attributes:
        text: The user's words.
        task: What kind of work it is, for rules and tables; may be empty.
        private: It must never leave this machine, whatever the text looks like.
        priority: What the user wants most, for tables.
        attempt: What the small model made of it, if it was asked already.
        signals: Numbers that describe the request.
    """

    text: str
    task: str = ""
    private: bool = False
    priority: Priority = "balanced"
    attempt: Attempt | None = None
    signals: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def known(self) -> dict[str, float]:
        """The signals of the request and of the attempt."""
        return {**self.signals, **(self.attempt.signals if self.attempt else {})}


@dataclass(frozen=True)
class Decision:
    """Where a request goes.

    Attributes:
        target: ``small``, ``large``, or the model that a table names.
        confidence: Probability that the small model's answer is right, as far as the router can tell; 1 for a rule.
        reason: Why, in a few words. It never quotes the request.
        mark: Why this is not what the router would have liked.
        money: What the target costs for this request, in the unit of the price table.
        seconds: How long the decision took.
    """

    target: str
    confidence: float
    reason: str
    mark: Mark = ""
    money: float = 0.0
    seconds: float = 0.0


class Router(Protocol):
    """Anything that decides where a request goes."""

    def route(self, request: RouteRequest | str, /) -> Decision:
        """The decision for one request."""
        ...


def as_request(request: RouteRequest | str) -> RouteRequest:
    """A request from a text.

    Raises:
        ConfigError: There are no words.
    """
    made = RouteRequest(request) if isinstance(request, str) else request
    if not made.text.strip():
        raise ConfigError("There are no words to route.", "Pass what the user says.")
    return made


R = TypeVar("R")


@contextmanager
def deciding(name: str) -> Generator[list[Decision]]:
    """A span that gets target, reason, confidence and cost of the last decision put into the list."""
    with trace.route_span(name) as span:
        made: list[Decision] = []
        yield made
        if made and span.is_recording():
            span.set_attributes({f"labkit.route.{key}": value for key, value in asdict(made[-1]).items()})


def traced(route: Callable[[R, RouteRequest], Decision]) -> Callable[[R, RouteRequest | str], Decision]:
    """Decorate a router's method: it takes texts too, is timed, and leaves a span."""

    @wraps(route)
    def timed(self: R, request: RouteRequest | str) -> Decision:
        with deciding(type(self).__name__) as made:
            began = time.perf_counter()
            decision = route(self, as_request(request))
            made.append(replace(decision, seconds=time.perf_counter() - began))
        return made[0]

    return timed
