"""The ways to get a call out of a model, one function each. ``call_tools`` chooses among them by what the backend can do."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labkit.backends import CallsTools
from labkit.client import Client
from labkit.decoding.choose import choose
from labkit.decoding.fill import fill
from labkit.decoding.parallel import MAX_CALLS, fill_all, sentences
from labkit.decoding.parameters import OMIT, leaves
from labkit.decoding.parse import read_calls
from labkit.decoding.text import read
from labkit.decoding.values import candidates, in_request
from labkit.errors import CapabilityMissing, ToolCallError
from labkit.messages import JsonSchema, Message, Request, ToolCall, system
from labkit.tools import ToolRegistry
from labkit.toolschema import bounded

CALL_TOKENS = 256
"""Upper bound for a generated call."""
NONE = "none"
REQUEST_LIMIT = 2000
"""Characters of the conversation, the last ones, that values are taken from."""


@dataclass(frozen=True)
class Decision:
    """What came out: calls that are valid, or none.

    Attributes:
        calls: Validated calls, in order; empty if no tool is to be called.
        strategy: The strategy that made them.
        logprob: Log-probability (natural log) of the decision, where the strategy measures one.
        text: What the model wrote, where it wrote text.
        observation: Why a call that the model tried was refused; for the model to read. Empty if none was.
        missing: Required parameters that the conversation has no value for; only where values had to be grounded.
    """

    calls: tuple[ToolCall, ...]
    strategy: str
    logprob: float | None = None
    text: str = ""
    observation: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One decision to be made.

    Attributes:
        messages: The conversation.
        registry: The tools that may be called now.
        none: Whether calling nothing is allowed.
        parallel: Whether several calls are allowed.
        samples: How many samples vote.
        grounded: Whether every value must stand in the conversation.
    """

    messages: tuple[Message, ...]
    registry: ToolRegistry
    none: bool
    parallel: bool
    samples: int = 5
    grounded: bool = False

    @property
    def request(self) -> str:
        """What the user said, and what tools answered, since the assistant last spoke without a call."""
        spoken = [i for i, m in enumerate(self.messages) if m.role == "assistant" and not m.tool_calls]
        recent = [
            m.content for m in self.messages[spoken[-1] + 1 if spoken else 0 :] if m.role in ("user", "tool")
        ]
        return ("\n".join(recent) or self.messages[-1].content)[-REQUEST_LIMIT:]


def choose_fill(client: Client, task: Task) -> Decision:
    """Choose the tool by log-probability, then fill its arguments with values from the request."""
    if not task.parallel:
        return _choose_one(client, task, task.request, none=task.none)
    parts = sentences(task.request)
    decisions = [_choose_one(client, task, part, none=True) for part in parts] if len(parts) > 1 else []
    if sum(bool(d.calls) for d in decisions) < 2:  # one sentence speaks for all of them
        decisions = [_choose_one(client, task, task.request, none=task.none)]
    calls = [call for decision in decisions for call in decision.calls][:MAX_CALLS]
    return Decision(
        tuple(ToolCall(c.name, c.arguments, f"call_{i}", c.logprob) for i, c in enumerate(calls, 1)),
        "choose_fill",
        sum(d.logprob or 0.0 for d in decisions),
        observation=next((d.observation for d in decisions if d.observation), ""),
        missing=tuple(name for d in decisions for name in d.missing),
    )


def _choose_one(client: Client, task: Task, request: str, *, none: bool) -> Decision:
    chosen = choose(client, task.registry, request, none=none)
    if chosen.tool is None:
        return Decision((), "choose_fill", chosen.logprob)
    if task.parallel:
        every = fill_all(client, chosen.tool, request, grounded=task.grounded)
    else:
        every = [fill(client, chosen.tool, request, grounded=task.grounded)]
    if missing := tuple(".".join(leaf.path) for leaf in every[0].missing):
        text = f"The conversation does not say: {', '.join(missing)}."
        return Decision((), "choose_fill", chosen.logprob, observation=text, missing=missing)
    logprob = chosen.logprob + sum(filled.logprob for filled in every)
    calls: list[ToolCall] = []
    for filled in every:
        try:
            calls.append(
                task.registry.validate(
                    ToolCall(chosen.tool.name, filled.arguments, logprob=chosen.logprob + filled.logprob)
                )
            )
        except ToolCallError as error:  # a rule between parameters, which the ranking cannot know: generate under the whole schema
            if task.grounded:
                return Decision((), "choose_fill", logprob, observation=error.message)
            only = task.registry.only(chosen.tool.name)
            return _checked(_generate(client, task, only, none=False), task, "choose_fill", logprob)
    return Decision(tuple(calls), "choose_fill", logprob)


def union(client: Client, task: Task) -> Decision:
    """One generation under one schema: any tool with its arguments, or none."""
    return _checked(_generate(client, task, task.registry, none=task.none), task, "union")


def vote(client: Client, task: Task) -> Decision:
    """The same, sampled several times; the most frequent valid answer wins, and its share is its probability."""
    tries = [_checked(_generate(client, task, task.registry, none=task.none), task, "vote")]
    for seed in range(1, task.samples):
        text = _generate(client, task, task.registry, none=task.none, temperature=0.7, seed=seed)
        tries.append(_checked(text, task, "vote"))
    valid = [d for d in tries if not d.observation] or tries
    keys = [json.dumps([[c.name, c.arguments] for c in d.calls], sort_keys=True) for d in valid]
    winner, count = Counter(keys).most_common(1)[0]
    decision = valid[keys.index(winner)]
    return Decision(decision.calls, "vote", math.log(count / len(tries)), decision.text, decision.observation)


def native(client: Client, task: Task, *, choice: str) -> Decision:
    """The runtime's own tool calling."""
    if not client.capabilities.tools or not isinstance(client.backend, CallsTools):
        raise CapabilityMissing(
            f"{client.backend.name} has no tool calling of its own.", 'Use strategy="auto".'
        )
    request = Request(task.messages, max_tokens=CALL_TOKENS)
    answer = client.backend.call_tools(request, task.registry.to_openai(), choice)
    return _valid(answer.tool_calls, task, "native", answer.content)


def prompt(client: Client, task: Task) -> Decision:
    """Nothing but a prompt: the answer is parsed and validated, and often is not a call."""
    answer = client.complete(
        _with_tools(task.messages, task.registry, none=task.none), max_tokens=CALL_TOKENS
    )
    return _checked(answer.text, task, "prompt")


def _generate(client: Client, task: Task, tools: ToolRegistry, *, none: bool, **sampling: Any) -> str:
    schema = union_schema(tools, none=none, parallel=task.parallel)
    messages = _with_tools(task.messages, tools, none=none)
    return client.complete(messages, schema=schema, max_tokens=CALL_TOKENS, **sampling).text


def _checked(text: str, task: Task, strategy: str, logprob: float | None = None) -> Decision:
    try:
        calls = read_calls(text)
    except ToolCallError as error:
        return Decision((), strategy, logprob, text, error.message)
    return _valid(
        [c for c in calls if c.name != NONE or NONE in task.registry], task, strategy, text, logprob
    )


def _valid(
    calls: Sequence[ToolCall], task: Task, strategy: str, text: str, logprob: float | None = None
) -> Decision:
    try:
        valid = tuple(task.registry.validate(call) for call in calls[: MAX_CALLS if task.parallel else 1])
    except ToolCallError as error:
        return Decision((), strategy, logprob, text, error.message)
    if task.grounded and (made_up := [m for call in valid for m in ungrounded(call, task)]):
        refused = f"Not in the conversation: {', '.join(made_up)}."
        return Decision((), strategy, logprob, text, refused, tuple(made_up))
    refused = "" if valid or task.none else "A tool must be called, and none was."
    return Decision(valid, strategy, logprob, text, refused)


def ungrounded(call: ToolCall, task: Task) -> list[str]:
    """The parameters of a call whose values do not stand in the request."""
    reading, made_up = read(task.request), list[str]()
    for leaf in leaves(task.registry[call.name].parameters):
        value: Any = call.arguments
        for name in leaf.path:
            value = value.get(name, OMIT) if isinstance(value, dict) else OMIT
        spoken = [c.value for c in candidates(leaf, reading) if in_request(c, leaf)]
        written = isinstance(value, str) and value.casefold() in task.request.casefold()
        if value is not OMIT and value not in spoken and not written:
            made_up.append(".".join(leaf.path))
    return made_up


def _with_tools(messages: tuple[Message, ...], tools: ToolRegistry, *, none: bool) -> tuple[Message, ...]:
    """The conversation behind a system message that begins with the tools, the same bytes each time."""
    lines = [json.dumps(t.to_openai()["function"], ensure_ascii=False) for t in tools]
    if none:
        lines.append(
            json.dumps({"name": NONE, "description": "No function fits the request.", "parameters": {}})
        )
    text = 'You call functions. The functions are:\n{}\nAnswer with one JSON object: {{"name": …, "arguments": {{…}}}}.'
    own = "\n".join(m.content for m in messages if m.role == "system")
    head = system("\n".join(part for part in (text.format("\n".join(lines)), own) if part))
    return (head, *(m for m in messages if m.role != "system"))


def union_schema(tools: ToolRegistry, *, none: bool, parallel: bool = False) -> JsonSchema:
    """A schema for a call of any of the tools, with strings, lists and integers bounded so that a weak model comes to an end."""
    shared: JsonSchema = {}
    branches: list[JsonSchema] = []
    for i, chosen in enumerate(tools):
        own = json.loads(json.dumps(chosen.parameters).replace('"#/$defs/', f'"#/$defs/{i}_'))
        shared |= {f"{i}_{name}": bounded(part) for name, part in own.pop("$defs", {}).items()}
        branches.append(_branch(chosen.name, bounded(own)))
    if none:
        branches.append(_branch(NONE, {"type": "object", "properties": {}, "additionalProperties": False}))
    call: JsonSchema = branches[0] if len(branches) == 1 else {"anyOf": branches}
    if parallel:
        call = {"type": "array", "items": call, "minItems": 0 if none else 1, "maxItems": MAX_CALLS}
    return {**call, "$defs": shared} if shared else call


def _branch(name: str, arguments: JsonSchema) -> JsonSchema:
    properties = {"name": {"const": name}, "arguments": arguments}
    return {
        "type": "object",
        "properties": properties,
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
