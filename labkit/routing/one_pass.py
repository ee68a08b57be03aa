"""The cheap way to call a tool: the words choose it, and one generation under its schema fills all arguments.

Nothing is asked twice, so it costs one short answer. What the pass says about itself on the way (the log-probability of every token, how far the
second choice was behind) is kept: it costs nothing more, and tells whether to trust the answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labkit.client import Client
from labkit.decoding.choose import choose
from labkit.decoding.fill import Filled, fill
from labkit.decoding.parameters import OMIT, leaves
from labkit.errors import ToolCallError
from labkit.messages import JsonSchema, Message, TokenLogprob, ToolCall, assistant, system, user
from labkit.tools import Tool, ToolRegistry
from labkit.toolschema import bounded

INSTRUCTION = "Answer with the arguments of the function as JSON. Take every value from the request."
EXAMPLES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "book_table: Reserve a table at a restaurant. restaurant (Name of the restaurant.), guests (Number of people.),"
        " date (Day, as YYYY-MM-DD.)",
        "Get me a table for four at Luigi's Trattoria on May 3, 2026.",
        {"restaurant": "Luigi's Trattoria", "guests": 4, "date": "2026-05-03"},
    ),
    (
        "search_papers: Search research papers. subject (The subject of the paper.), places (Countries studied.),"
        " last_year (Final year. May be left out.)",
        "Which articles about coral bleaching in Fiji or Palau are there?",
        {"subject": "coral bleaching", "places": ["Fiji", "Palau"]},
    ),
)
BEHIND = 4.0
"""How many nats the words may hold against a value that is still allowed."""
SHORTLIST = 8
"""Values of one parameter that are allowed at most."""
TOKENS = 120
"""Upper bound for the arguments."""


@dataclass(frozen=True)
class Pass:
    """What one pass made of a request.

    Attributes:
        calls: One valid call, or none.
        tool: The tool that was chosen; empty for none.
        arguments: What was generated for it, valid or not.
        choice: Log-probability (natural log) of the choice by words.
        none: Log-probability of choosing no tool.
        tokens: The generated tokens, each with its best alternatives.
        problem: Why the arguments are not valid; empty if they are.
        seconds: How long it took.
        missing: Required parameters that the request has no value for; only where values had to be grounded.
    """

    calls: tuple[ToolCall, ...]
    tool: str
    arguments: Mapping[str, Any]
    choice: float
    none: float
    tokens: tuple[TokenLogprob, ...]
    problem: str
    seconds: float
    missing: tuple[str, ...] = ()


def one_pass(
    client: Client, registry: ToolRegistry, request: str, *, none: bool = True, grounded: bool = False
) -> Pass:
    """Call one tool, or none, with one generation at most.

    Args:
        client: The model (``schema`` and ``logprobs``).
        registry: The tools, at least one.
        request: The user's words.
        none: Whether the answer may be no call.
        grounded: No call if a required value does not stand in the request; without it such a value is made up.

    Raises:
        CapabilityMissing: The backend has no schemas or no log-probabilities.
    """
    began = time.perf_counter()
    chosen = choose(client, registry, request, none=none, ask_model=False)
    if chosen.tool is None:
        seconds = time.perf_counter() - began
        return Pass((), "", {}, chosen.logprob, chosen.none_logprob, (), "", seconds)
    tool, words = narrowed(client, chosen.tool, request)
    if grounded and words.missing:
        missing = tuple(leaf.name for leaf in words.missing)
        seconds = time.perf_counter() - began
        return Pass((), tool.name, {}, chosen.logprob, chosen.none_logprob, (), "", seconds, missing)
    answer = client.complete(
        prompt(tool, request), schema=bounded(tool.parameters), max_tokens=TOKENS, logprobs=2
    )
    calls, arguments, problem = _read(tool, registry, answer.text)
    seconds = time.perf_counter() - began
    return Pass(
        calls, tool.name, arguments, chosen.logprob, chosen.none_logprob, answer.logprobs, problem, seconds
    )


def narrowed(client: Client, tool: Tool, request: str) -> tuple[Tool, Filled]:
    """The tool with a schema that allows only values which stand in the request and which its words speak for; and what the words say.

    An optional parameter that the words do not speak of is left out. A required one that they have no value for stays free.
    """
    words = fill(client, tool, request, ask_model=False, grounded=True)
    properties = dict[str, JsonSchema](tool.parameters["properties"])
    required = set(tool.parameters.get("required", ()))
    for slot in words.slots:
        if len(slot.leaf.path) > 1:
            continue  # a nested value is generated under its own schema
        name, logprobs = slot.leaf.name, slot.logprobs()
        likely = [c for c, p in zip(slot.candidates, logprobs, strict=True) if p > max(logprobs) - BEHIND]
        values = [c.value for c in likely if c.value is not OMIT]
        if words.chosen[slot.leaf.path].value is OMIT or not values:
            del properties[name]
        else:
            properties[name] = {"enum": values[:SHORTLIST], "description": slot.leaf.description}
            required.add(name)
    parameters = {
        **tool.parameters,
        "properties": properties,
        "required": [name for name in properties if name in required],
    }
    return replace(tool, parameters=parameters), words


def _read(tool: Tool, registry: ToolRegistry, text: str) -> tuple[tuple[ToolCall, ...], dict[str, Any], str]:
    try:
        arguments = json.loads(text)
    except ValueError:
        return (), {}, "The arguments were cut short."
    try:
        return (registry.validate(ToolCall(tool.name, arguments)),), arguments, ""
    except ToolCallError as error:
        return (), arguments, error.message


def prompt(tool: Tool, request: str) -> Sequence[Message]:
    """Ask for all arguments at once, after two examples."""
    messages = [system(INSTRUCTION)]
    for function, example, arguments in EXAMPLES:
        messages += [
            user(f"Function: {function}\nRequest: {example}"),
            assistant(json.dumps(arguments, ensure_ascii=False)),
        ]
    named = ", ".join(
        f"{leaf.name} ({leaf.description}{'' if leaf.required else ' May be left out.'})"
        for leaf in leaves(tool.parameters)
    )
    return [*messages, user(f"Function: {tool.name}: {tool.description} {named}\nRequest: {request}")]
