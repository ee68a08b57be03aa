"""Suites of cases, and running one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from labkit import machine
from labkit.client import Client
from labkit.desk import cases
from labkit.errors import ConfigError, LabkitError
from labkit.evaluate.metered import Metered
from labkit.evaluate.record import Result, Run
from labkit.evaluate.resources import Watch

Check = Callable[[Any], str]
"""What came out -> why it is not right, or an empty text."""
System = Callable[[Client, Any], Any]
"""What is measured: (the client to ask, what a case gives) -> what comes out. If that has ``calls`` they are counted; if it has ``seconds``, they are its time."""


@dataclass(frozen=True)
class Case:
    """One task.

    Attributes:
        id: Its name; results of two runs are paired by it.
        given: What the system gets.
        check: Looks at what came out; returns why it is not right, or an empty text.
        kind: What sort of task it is.
    """

    id: str
    given: Any
    check: Check
    kind: str = ""


@dataclass(frozen=True)
class Suite:
    """Cases under one name.

    Raises:
        ConfigError: There is no case, or two have one id.
    """

    name: str
    cases: Sequence[Case]

    def __post_init__(self) -> None:
        ids = [case.id for case in self.cases]
        if not ids:
            raise ConfigError(f"The suite {self.name!r} has no cases.", "Give it at least one.")
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ConfigError(
                f"The suite {self.name!r} has two cases {', '.join(map(repr, twice))}.",
                "Give each case an id of its own.",
            )

    def sample(self, n: int) -> Suite:
        """So many of its cases, spread evenly."""
        if n < 1:
            raise ConfigError(f"{n} cases are no suite.", "Ask for at least one.")
        n = min(n, len(self.cases))
        return Suite(self.name, [self.cases[i * len(self.cases) // n] for i in range(n)])


def says(*alternatives: str) -> Check:
    """A check: one of these stands in the answer, as words of its own and in any case."""

    def check(answer: Any) -> str:
        text = getattr(answer, "answer", answer)
        return "" if cases.said(alternatives, str(text)) else f"it does not say {' or '.join(alternatives)}"

    return check


def run(
    suite: Suite,
    system: System,
    client: Client,
    *,
    label: str = "",
    disturb: tuple[str, Callable[[], object]] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Run every case once, in order, and measure.

    A case whose system raises is ``lost``, and the run goes on; a case whose check raises has ``failed``.

    Args:
        suite: The cases.
        system: What is measured. Its first argument is a client on the same backend that counts.
        client: Whose backend it asks.
        label: What to call this configuration.
        disturb: The id of a case, and what to do in the middle of it: when the first piece of an answer has come.
        clock: Seconds that only grow.

    Raises:
        ConfigError: ``disturb`` names no case, or a check answers no text.
        BackendError: The backend cannot be loaded.
    """
    if disturb and disturb[0] not in {case.id for case in suite.cases}:
        raise ConfigError(f"There is no case {disturb[0]!r} to disturb.", "Give the id of a case.")
    client.backend.load()
    name, results, began = client.backend.name, list[Result](), clock()
    with Watch() as watch:
        for case in suite.cases:
            act = disturb[1] if disturb and disturb[0] == case.id else None
            results.append(_attempt(case, system, Metered(client.backend, act), clock))
    here = machine.read()
    return Run(
        suite=suite.name,
        label=label,
        backend=name,
        machine=f"{here.system}, {here.cores} cores, {here.ram_mb} MB",
        seconds=_between(began, clock()),
        results=tuple(results),
        resources=watch.resources,
    )


def _attempt(case: Case, system: System, client: Metered, clock: Callable[[], float]) -> Result:
    came: Any = None
    outcome, reason, began = "lost", "", clock()
    try:
        came = system(client, case.given)
        seconds = _between(0.0, getattr(came, "seconds", None) or clock() - began)
    except Exception as error:
        seconds = _between(began, clock())
        reason = _told(error)
    else:
        reason = _checked(case, came)
        outcome = "failed" if reason else "completed"
    counts, calls = client.counts, getattr(came, "calls", ())
    return Result(
        case=case.id,
        kind=case.kind,
        outcome=outcome,
        reason=reason,
        seconds=seconds,
        model_calls=counts.calls,
        tokens_prompt=counts.prompt,
        tokens_cached=counts.cached,
        tokens_written=counts.written,
        untold=counts.untold,
        tool_calls=len(calls) if isinstance(calls, Sized) else 0,
        backend=client.backend.name,
    )


def _checked(case: Case, came: Any) -> str:
    try:
        reason = case.check(came)
    except Exception as error:
        return f"the check raised {_told(error)}"
    if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"The check of case {case.id!r} answered {reason!r}.",
            "A check returns why the result is not right, or an empty text.",
        )
    return reason


def _told(error: Exception) -> str:
    message = error.message if isinstance(error, LabkitError) else str(error)
    return f"{type(error).__name__}: {message.partition(chr(10))[0]}"


def _between(began: float, ended: float) -> float | None:
    """Seconds, or None if the clock went backwards."""
    return ended - began if ended >= began else None
