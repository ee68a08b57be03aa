"""A plan as data: which tools, in which order, with which arguments. It is made and checked before anything runs.

The model says *what* is wanted: it chooses a tool for each part of the request. The program works out *how*: an argument that the user did not
give comes from a tool whose result has a field of that name, as ``customer_id`` comes from ``find_customer`` (backward chaining, as in
STRIPS: Fikes and Nilsson 1971). Only the user's words choose tools; what a tool returns fills arguments and never starts a call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.client import Client
from labkit.decoding.by_example import by_example, has_examples
from labkit.decoding.choose import choose
from labkit.decoding.fill import fill
from labkit.decoding.parameters import Leaf, leaves
from labkit.decoding.rank import log_shares
from labkit.decoding.text import read
from labkit.decoding.values import candidates, in_request
from labkit.errors import ToolCallError
from labkit.messages import ToolCall
from labkit.tools import Tool, ToolRegistry
from labkit.toolschema import matches

MAX_STEPS = 8
END = 1000
"""Characters of a long request's beginning, and of its end, that are read."""
MAX_PARTS = 8
"""Sentences and clauses of a request that the model is asked about, the first ones."""
APART = 6.0
"""A part has a goal of its own if its tool is so many nats ahead of every other, and of none."""
CANNOT_RUN = 3.0
"""What a tool loses, in nats, if a value that it needs was not said."""
FAR = 20.0
"""Behind the tool that was chosen, where only the choice is known."""
_CLAUSE = re.compile(r"(?<=[.?!;])\s+|\n+|,?\s+(?:and also|and then|and|also|plus|then)\s+")


@dataclass(frozen=True)
class Ref:
    """A value that an earlier step's result will have."""

    step: int
    field: str


@dataclass(frozen=True)
class Step:
    """One call of a plan.

    Attributes:
        tool: The tool's name.
        arguments: Values, and references to earlier steps' results.
        goal: Whether the user asked for it; else it only provides a value for another step.
    """

    tool: str
    arguments: Mapping[str, Any]
    goal: bool = True

    @property
    def needs(self) -> tuple[Ref, ...]:
        """The references among its arguments."""
        return tuple(v for v in self.arguments.values() if isinstance(v, Ref))


@dataclass(frozen=True)
class Need:
    """What the user has to say before a tool can run: one of these descriptions is enough."""

    tool: str
    anyone: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Steps in the order they run, and what is missing for those that could not be planned."""

    steps: tuple[Step, ...] = ()
    missing: tuple[Need, ...] = ()
    logprob: float = 0.0


def make(client: Client, tools: ToolRegistry, words: str, known: Mapping[str, Any] | None = None) -> Plan:
    """Plan a request.

    Args:
        client: Chooses tools and ranks values (``score``).
        tools: What may be called.
        words: The user's words, the only source of goals.
        known: Values from earlier turns, by parameter name; the words come first.

    Raises:
        CapabilityMissing: The backend cannot score.
    """
    if len(words) > 2 * END:  # a request says what it wants at one of its ends
        words = f"{words[:END]}\n{words[-END:]}"
    planner = _Planner(client, tools, words, known or {})
    logprob = 0.0
    for chosen, part, sure in goals(client, tools, words, known or {}):
        planner.add(chosen, part)
        logprob += sure
    steps = tuple(planner.steps)
    return Plan(steps, tuple(dict.fromkeys(planner.missing)), logprob)


def goals(
    client: Client, tools: ToolRegistry, words: str, known: Mapping[str, Any]
) -> list[tuple[Tool, str, float]]:
    """The tools that the request asks for, each with the words that ask for it and its log-probability.

    One for the whole request, whose parts are added up; or several, if its parts speak clearly for different tools. Tools without examples are
    chosen by the whole request alone.
    """
    if not len(tools) or not words.strip():
        return []
    parts = clauses(words)[:MAX_PARTS] if has_examples(tools) else [words]
    every = _scores(client, tools, parts)
    loss = {t.name: 0.0 if _could_run(tools, t, words, known) else CANNOT_RUN for t in tools}
    found: dict[str, tuple[Tool, str, float]] = {}
    for scores, part in zip(every, parts, strict=True):
        scores = {name: score - loss.get(name or "", 0.0) for name, score in scores.items()}
        first, second = sorted(scores, key=lambda name: -scores[name])[:2]
        if first and scores[first] - scores[second] > APART:
            found.setdefault(first, (tools[first], part, _logprob(scores, first)))
    if len(found) > 1:
        return list(found.values())
    whole = {name: sum(row[name] for row in every) - loss.get(name or "", 0.0) for name in every[0]}
    name = max(whole, key=lambda name: whole[name])
    return [(tools[name], words, _logprob(whole, name))] if name else []


def _scores(client: Client, tools: ToolRegistry, parts: Sequence[str]) -> list[dict[str | None, float]]:
    """How well each tool, and none (the key None), fits each part, in nats."""
    if has_examples(tools):
        return by_example(client, tools, parts)
    found: list[dict[str | None, float]] = []
    for part in parts:
        choice = choose(client, tools, part, none=True)
        found.append({None: choice.none_logprob} | {t.name: -FAR for t in tools})
        if choice.tool:
            found[-1][choice.tool.name] = choice.logprob
    return found


def _could_run(tools: ToolRegistry, tool: Tool, words: str, known: Mapping[str, Any]) -> bool:
    """Whether the words, what is known and what other tools find by the words would give every required value."""
    reading = read(words)
    for leaf in leaves(tool.parameters):
        if (
            not leaf.required
            or _fits(leaf, known)
            or any(in_request(c, leaf) for c in candidates(leaf, reading))
        ):
            continue
        providers = (t for t in tools if t.name != tool.name and _gives(t, leaf))
        if not any(_could_run(tools.only(p.name), p, words, known) for p in providers):
            return False
    return True


def _logprob(scores: Mapping[str | None, float], name: str | None) -> float:
    return log_shares([scores[name], *(s for other, s in scores.items() if other != name)])[0]


def clauses(words: str) -> list[str]:
    """Sentences, and what ``and`` joins."""
    return [part for part in _CLAUSE.split(words) if part.strip()]


@dataclass
class _Planner:
    client: Client
    tools: ToolRegistry
    words: str
    known: Mapping[str, Any]
    steps: list[Step] = field(default_factory=list[Step])
    missing: list[Need] = field(default_factory=list[Need])

    def add(self, tool: Tool, part: str) -> None:
        """Plan a goal and what it depends on."""
        arguments, absent = self._arguments(tool, part)
        needs: list[Need] = []
        for leaf in absent:
            value = self._value(tool, leaf)
            if isinstance(value, Need):
                needs.append(value)
            else:
                arguments[leaf.name] = value
        if needs:
            self.missing += needs
        else:
            order = tool.parameters["properties"]
            self._append(Step(tool.name, {name: arguments[name] for name in order if name in arguments}))

    def _arguments(self, tool: Tool, part: str) -> tuple[dict[str, Any], list[Leaf]]:
        """Values from the part of the request, else from all of it; and the leaves that have none."""
        filled = fill(self.client, tool, part, grounded=True)
        if part == self.words:
            return dict(filled.arguments), list(filled.missing)
        whole = fill(self.client, tool, self.words, grounded=True)
        return {**whole.arguments, **filled.arguments}, [m for m in filled.missing if m in whole.missing]

    def _value(self, tool: Tool, leaf: Leaf) -> Any:
        """What another tool finds by the user's words, else what is known, else what another tool finds by that; else a need."""
        found = self._provided(tool, leaf, {})
        if isinstance(found, Need) and _fits(leaf, self.known):
            return self.known[leaf.name]
        return self._provided(tool, leaf, self.known) if isinstance(found, Need) else found

    def _provided(self, tool: Tool, leaf: Leaf, known: Mapping[str, Any]) -> Ref | Need:
        """A reference to a step that provides the value; if there can be none, what the user would have to say."""
        lacking: list[str] = []
        for provider in self.tools:
            if provider.name == tool.name or not _gives(provider, leaf):
                continue
            arguments, absent = self._arguments(provider, self.words)
            lacking += [described(a) for a in absent if not _fits(a, known)]
            if all(_fits(a, known) for a in absent):
                arguments |= {a.name: known[a.name] for a in absent}
                return Ref(self._append(Step(provider.name, arguments, goal=False)), leaf.name)
        return Need(tool.name, tuple(lacking) or (described(leaf),))

    def _append(self, step: Step) -> int:
        """The index of the step, which is added unless the same call is planned already."""
        for i, other in enumerate(self.steps):
            if (other.tool, other.arguments) == (step.tool, step.arguments):
                self.steps[i] = Step(step.tool, step.arguments, goal=step.goal or other.goal)
                return i
        self.steps.append(step)
        return len(self.steps) - 1


def _gives(tool: Tool, leaf: Leaf) -> bool:
    """Whether a tool's result has this value; one inside a nested object is never taken from elsewhere."""
    return len(leaf.path) == 1 and leaf.name in tool.provides


def _fits(leaf: Leaf, known: Mapping[str, Any]) -> bool:
    return len(leaf.path) == 1 and leaf.name in known and matches(leaf.schema, known[leaf.name])


def described(leaf: Leaf) -> str:
    """What a parameter is, for the user."""
    return (leaf.description.split(". ")[0].rstrip(".") or leaf.name.replace("_", " ")).strip()


def problems(plan: Plan, tools: ToolRegistry) -> list[str]:
    """What is wrong with a plan; empty if it may run. Nothing is executed to find out."""
    found: list[str] = []
    if len(plan.steps) > MAX_STEPS:
        found.append(f"{len(plan.steps)} steps are more than {MAX_STEPS}")
    for i, step in enumerate(plan.steps):
        where = f"step {i + 1} ({step.tool})"
        if step.tool not in tools:
            found.append(f"{where}: there is no such tool")
            continue
        for ref in step.needs:
            if not 0 <= ref.step < i:
                found.append(
                    f"{where}: {ref.field} comes from step {ref.step + 1}, which does not run before it"
                )
            elif (
                plan.steps[ref.step].tool in tools
                and ref.field not in tools[plan.steps[ref.step].tool].provides
            ):
                found.append(f"{where}: {plan.steps[ref.step].tool} does not provide {ref.field}")
        found += [f"{where}: {text}" for text in _bad_values(step, tools[step.tool])]
    return found


def _bad_values(step: Step, tool: Tool) -> list[str]:
    """Problems of the arguments whose values are known; one that a reference will fill counts as given."""
    later = {k for k, v in step.arguments.items() if isinstance(v, Ref)}
    properties = tool.parameters["properties"]
    schema = {
        **tool.parameters,
        "properties": {k: v for k, v in properties.items() if k not in later},
        "required": [k for k in tool.parameters.get("required", ()) if k not in later],
    }
    given = {k: v for k, v in step.arguments.items() if k not in later}
    unknown = [f"there is no parameter {k}" for k in later if k not in properties]
    try:
        Tool(tool.name, tool.description, schema).validate(given)
    except ToolCallError as error:
        return [*unknown, error.message]
    return unknown


def resolve(step: Step, results: Sequence[Mapping[str, Any] | None], call_id: str) -> ToolCall | None:
    """The call, with references replaced by the results' fields; None if a result that it needs is not there."""
    arguments: dict[str, Any] = {}
    for name, value in step.arguments.items():
        if isinstance(value, Ref):
            result = results[value.step] if value.step < len(results) else None
            if result is None or value.field not in result:
                return None
            arguments[name] = result[value.field]
        else:
            arguments[name] = value
    return ToolCall(step.tool, arguments, call_id)


def show(plan: Plan) -> Iterator[str]:
    """One line for each step, and for each thing that is missing."""
    for i, step in enumerate(plan.steps, 1):
        values = ", ".join(
            f"{k}=<{v.field} of {v.step + 1}>" if isinstance(v, Ref) else f"{k}={v!r}"
            for k, v in step.arguments.items()
        )
        yield f"{i}. {step.tool}({values}){'' if step.goal else '   to get a value'}"
    for need in plan.missing:
        yield f"-  {need.tool} needs: {' or '.join(need.anyone)}"
