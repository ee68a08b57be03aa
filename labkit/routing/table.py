"""A table of tasks and models: the best one for a task that is here, fits the memory and is quick enough at this moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from labkit.errors import BackendUnavailable, ConfigError
from labkit.routing.decision import Decision, Priority, RouteRequest, traced
from labkit.routing.private import is_private

WORTH: Mapping[Priority, float] = {"speed": 0.2, "balanced": 0.03, "quality": 0.002}
"""How much of the share of right answers half the time is worth, by the user's priority."""


@dataclass(frozen=True)
class Row:
    """One model for one task, as it was measured.

    Attributes:
        task: The kind of work.
        model: ``runtime:model``.
        quality: Share of right answers.
        seconds: Time of an answer on an idle machine.
        ram_mb: Memory it needs when it is not loaded yet.
        money: Price of an answer.
        remote: Whether the words leave this machine; private requests never go there.
    """

    task: str
    model: str
    quality: float
    seconds: float
    ram_mb: float
    money: float = 0.0
    remote: bool = False

    def __post_init__(self) -> None:
        numbers = (self.quality, self.seconds, self.ram_mb, self.money)
        if not all(map(math.isfinite, numbers)) or min(numbers) < 0 or self.seconds == 0:
            raise ConfigError(f"{self} was not measured.", "Use numbers from 0 on, and seconds above 0.")


@dataclass(frozen=True)
class Goal:
    """What a task must keep to: seconds for an answer, memory in MB."""

    seconds: float = math.inf
    ram_mb: float = math.inf


@dataclass(frozen=True)
class State:
    """The machine and the models now.

    Attributes:
        available: Models that answer.
        loaded: Those of them that are in memory already.
        free_mb: Memory that a new one could have.
        load: Work that waits for each core; an answer takes (1 + load) times as long.
    """

    available: frozenset[str]
    loaded: frozenset[str] = frozenset()
    free_mb: float = math.inf
    load: float = 0.0


def read_state(models: Mapping[str, Callable[[], bool]], loaded: Sequence[str] = ()) -> State:
    """The state of this machine.

    Args:
        models: For each model, how to find out whether it answers now, such as ``lambda: client.health().ok``.
        loaded: Those that are in memory.
    """
    cores = psutil.cpu_count() or 1
    return State(
        frozenset(name for name, answers in models.items() if answers()),
        frozenset(loaded),
        psutil.virtual_memory().available / 1e6,
        psutil.getloadavg()[0] / cores,
    )


class TableRouter:
    """Looks a task up, at each request anew, and stays with a model that is nearly as good as the best one.

    Args:
        rows: The table.
        state: How things are now.
        goals: What tasks must keep to.
        stay: A new model must be better by so much, in shares of right answers, before it is changed for.

    Raises:
        ConfigError: The table is empty, or has a model twice for one task.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        state: Callable[[], State],
        goals: Mapping[str, Goal] | None = None,
        stay: float = 0.02,
    ) -> None:
        if not rows or len({(r.task, r.model) for r in rows}) < len(rows):
            raise ConfigError("The table is empty, or has a model twice for a task.", "Correct its rows.")
        self.rows, self.state, self.goals, self.stay = tuple(rows), state, dict(goals or {}), stay
        self.current: dict[str, str] = {}

    @traced
    def route(self, request: RouteRequest) -> Decision:
        """The model for this task now; its confidence is the quality that was measured for it.

        Raises:
            ConfigError: The table has no such task.
            BackendUnavailable: No model for it answers, or none fits the memory.
        """
        rows = [row for row in self.rows if row.task == request.task]
        if not rows:
            known = ", ".join(sorted({row.task for row in self.rows}))
            raise ConfigError(f"The table has no task {request.task!r}.", f"Its tasks are: {known}.")
        now, goal = self.state(), self.goals.get(request.task, Goal())
        stays = is_private(request)
        here = [row for row in rows if row.model in now.available and not (stays and row.remote)]
        if not (fitting := [row for row in here if _fits(row, now, goal)]):
            why = "fits the memory" if here else "answers"
            raise BackendUnavailable(f"No model for {request.task} {why} now.", "Start one, or free memory.")
        quick = [row for row in fitting if row.seconds * (1 + now.load) <= goal.seconds]
        best = (
            max(quick, key=lambda row: _worth(row, request.priority))
            if quick
            else min(fitting, key=lambda row: row.seconds)
        )
        before = next((row for row in quick if row.model == self.current.get(request.task)), None)
        if before and _worth(best, request.priority) - _worth(before, request.priority) <= self.stay:
            best = before
        changed = self.current.get(request.task) not in (None, best.model)
        self.current[request.task] = best.model
        reason = (
            f"best for {request.task} by {request.priority}"
            if quick
            else "no model is quick enough: the quickest"
        )
        return Decision(
            best.model,
            best.quality,
            reason + (", changed" if changed else ""),
            "" if quick else "late",
            best.money,
        )


def _fits(row: Row, now: State, goal: Goal) -> bool:
    return row.ram_mb <= goal.ram_mb and (row.model in now.loaded or row.ram_mb <= now.free_mb)


def _worth(row: Row, priority: Priority) -> float:
    return row.quality - WORTH[priority] * math.log2(row.seconds)
