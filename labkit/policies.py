"""What an agent does next, and how it says what it found. Each is a function of the turn; write your own the same way.

Policies: ``planned`` (a plan is made from the user's words, checked, and run step by step) and ``step_by_step`` (after each observation the
model decides anew; ReAct, Yao et al. 2022). Answerers: ``quoted`` (the tools' own sentences) and ``written`` (the model's words, if they hold).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from labkit import answers
from labkit.client import Client
from labkit.decoding import NEEDS, Decision, call_tools
from labkit.messages import ToolCall, ToolResult
from labkit.plan import Need, make, problems, resolve
from labkit.turn import Turn

Policy = Callable[[Turn], Decision]


def default(client: Client) -> Policy:
    """``planned`` where the model can score choices, else ``step_by_step``."""
    return (
        planned if all(getattr(client.capabilities, need) for need in NEEDS["choose_fill"]) else step_by_step
    )


def planned(turn: Turn) -> Decision:
    """The next step of a plan that was made from the user's words alone, before any tool ran."""
    if turn.plan is None:
        turn.plan = make(turn.client, turn.tools, turn.words, turn.session.facts)
        turn.missing = turn.plan.missing
        if wrong := problems(turn.plan, turn.tools):
            turn.stop, turn.reason = "limit", f"the plan cannot run: {'; '.join(wrong)}"
            return Decision((), "planned", turn.plan.logprob, observation=turn.reason)
    done = {call.id: answers.fields(result) for call, result in turn.done}
    ids = [f"call_{i}" for i in range(1, len(turn.plan.steps) + 1)]
    for i, step in enumerate(turn.plan.steps):
        call = None if ids[i] in done else resolve(step, [done.get(id) for id in ids], ids[i])
        if call:
            return Decision((call,), "planned", turn.plan.logprob)
    return Decision((), "planned", turn.plan.logprob)


def step_by_step(turn: Turn) -> Decision:
    """A new decision from the whole conversation, observations included, until no tool is wanted or one would be repeated."""
    decision = call_tools(turn.client, turn.messages(), turn.tools, grounded=True)
    turn.missing = tuple(Need(name, (name.replace("_", " "),)) for name in decision.missing)
    number = len(turn.done) + 1
    calls = tuple(
        ToolCall(c.name, c.arguments, f"call_{number + i}", c.logprob) for i, c in enumerate(decision.calls)
    )
    if turn.missing or any(map(turn.ran, calls)):
        return Decision((), decision.strategy, decision.logprob, decision.text)
    return Decision(calls, decision.strategy, decision.logprob, decision.text, decision.observation)


def quoted(turn: Turn) -> str:
    """The sentences that the tools wrote for the user, what is still missing, and why the turn ended early, if it did."""
    return _framed(turn, answers.quote(_asked_for(turn)))


def written(turn: Turn) -> str:
    """The same in the model's own words, where it keeps every fact and adds none."""
    results = _asked_for(turn)
    if not results or not all(result.ok for result in results):
        return quoted(turn)
    return _framed(turn, answers.write(turn.client, turn.words, results))


def _asked_for(turn: Turn) -> list[ToolResult]:
    """Results that the user asked for, and failures; not those that only provided a value."""
    steps = turn.plan.steps if turn.plan else ()
    helping = {f"call_{i}" for i, step in enumerate(steps, 1) if not step.goal}
    return [result for call, result in turn.done if call.id not in helping or not result.ok]


def _framed(turn: Turn, said: str) -> str:
    parts = [said] if said else []
    if turn.missing:
        parts.append(f"To do that I need: {'; '.join(dict.fromkeys(map(asked, turn.missing)))}.")
    if turn.stop == "limit":
        parts.append(f"I stopped before I was done: {turn.reason}.")
    elif turn.stop == "cancelled":
        parts.append("I was stopped before I was done.")
    return " ".join(parts) or f"{answers.UNKNOWN}. {_abilities(turn)}"


def asked(need: Need) -> str:
    """What the user is asked for."""
    return " or ".join(need.anyone)


def _abilities(turn: Turn) -> str:
    names = ", ".join(name.replace("_", " ") for name in turn.tools.names)
    return f"What I can do: {names}." if names else "I have no tools."


def to_remember(turn: Turn, call: ToolCall, result: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies the customer or the case in later turns: values that some other tool needs, and what they were found by."""
    needed = {name for tool in turn.tools for name in tool.parameters.get("required", ())}
    found = {k: v for k, v in result.items() if k in needed and isinstance(v, str | int)}
    by = {k: v for k, v in call.arguments.items() if k in needed and isinstance(v, str | int)}
    return {**by, **found} if found else {}
