"""Routing by rules: the first one that fits decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit.decoding.text import stems
from labkit.errors import ConfigError
from labkit.routing.decision import SMALL, Decision, RouteRequest, traced


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        name: What it says, in a few words; it becomes the reason.
        fits: Whether it is for this request.
        target: Where the request then goes.
    """

    name: str
    fits: Callable[[RouteRequest], bool]
    target: str


class RuleRouter:
    """Takes the first rule that fits, else the default.

    Args:
        rules: In order.
        default: Where everything else goes.

    Raises:
        ConfigError: Two rules have the same name.
    """

    def __init__(self, rules: Sequence[Rule], default: str = SMALL) -> None:
        if len({rule.name for rule in rules}) < len(rules):
            raise ConfigError(
                "Two rules have the same name.", "Rename one: the name is the decision's reason."
            )
        self.rules, self.default = tuple(rules), default

    @traced
    def route(self, request: RouteRequest) -> Decision:
        """The decision of the first rule that fits."""
        for rule in self.rules:
            if rule.fits(request):
                return Decision(rule.target, 1.0, rule.name)
        return Decision(self.default, 1.0, "no rule fits")


def longer_than(words: int, target: str) -> Rule:
    """Requests of more words than this."""
    return Rule(f"more than {words} words", lambda request: len(request.text.split()) > words, target)


def speaks_of(words: str, target: str) -> Rule:
    """Requests that have one of these words, in whatever form."""
    wanted = stems(words)
    return Rule(f"speaks of {words}", lambda request: bool(wanted & stems(request.text)), target)


def of_task(task: str, target: str) -> Rule:
    """Requests of one kind of work."""
    return Rule(f"task {task}", lambda request: request.task == task, target)
