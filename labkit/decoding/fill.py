"""Filling a chosen tool's arguments: values found in the request, ranked by evidence and by the model, put together.

The prompt is ordered for the KV cache: fixed examples, then the tool, then the request, and last the parameter, so that only a line is new
for each parameter and only the request and its questions for the next request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from labkit.client import Client
from labkit.decoding.parameters import OMIT, Leaf, identifies
from labkit.decoding.rank import Slot, best, slots
from labkit.decoding.text import Reading, read
from labkit.decoding.values import Candidate, in_request, rebuild
from labkit.messages import Message, assistant, system, user
from labkit.tools import Tool
from labkit.toolschema import bounded

INSTRUCTION = "Answer with the value of the parameter, as it stands in the request."
EXAMPLES = (
    (
        "book_table: Reserve a table at a restaurant.",
        "Get me a table for four at Luigi's Trattoria near Lake Como on Friday, the quiet one.",
        (
            ("restaurant (Name of the restaurant.)", '"Luigi\'s Trattoria"'),
            ("guests (Number of people.)", "4"),
            ("table_type (Kind of table wanted.)", '"quiet"'),
            ("area (Where the restaurant is.)", '"Lake Como"'),
        ),
    ),
    (
        "search_papers: Search research papers.",
        "Which articles about coral bleaching did Mia Wong write from 2015 to 2019 in Fiji or Palau?",
        (
            ("subject (The subject of the paper.)", '"coral bleaching"'),
            ("author (Who wrote it.)", '"Mia Wong"'),
            ("last_year (Final year.)", "2019"),
            ("places (Countries studied.)", '["Fiji", "Palau"]'),
        ),
    ),
)
RULES_OUT = frozenset({"not", "except", "instead", "than", "never"})
GENERATE_TOKENS = 200
"""Upper bound for a value that can only be generated."""


@dataclass(frozen=True)
class Filled:
    """Arguments for a tool, and how sure the ranking is.

    Attributes:
        arguments: Values by parameter name.
        logprob: Log-probability (natural log) of this combination among all combinations of candidates.
        chosen: For each leaf, by path: the candidate taken.
        slots: Every parameter with all its candidates, for whoever wants to see why.
        missing: Required parameters for which the request has no value; only where values had to be grounded.
    """

    arguments: dict[str, Any]
    logprob: float
    chosen: dict[tuple[str, ...], Candidate]
    slots: tuple[Slot, ...]
    missing: tuple[Leaf, ...] = ()


def fill(
    client: Client, tool: Tool, request: str, *, ask_model: bool = True, grounded: bool = False
) -> Filled:
    """Arguments for a tool from the words of a request.

    Args:
        client: Scores candidates, and generates what no candidate can be found for (``score`` and ``schema``).
        tool: The tool.
        request: The user's words.
        ask_model: False ranks by the text alone, for comparison.
        grounded: Take only values that stand in the request; what has none is ``missing``, and nothing is generated.

    Raises:
        CapabilityMissing: The backend cannot score, or cannot bind output to a schema where that is needed.
    """
    reading = read(request)
    found = slots(tool, reading)
    missing: list[Leaf] = []
    if grounded:
        for slot in found:
            ground(slot, reading)
        missing = [slot.leaf for slot in found if not slot.candidates and slot.leaf.required]
    known = [slot for slot in found if slot.candidates]
    if ask_model:
        for slot in known:
            ask(client, tool, request, slot)
    chosen, logprob = best(known) if known else ([], 0.0)
    by_path = {slot.leaf.path: candidate for slot, candidate in zip(known, chosen, strict=True)}
    arguments = {path: candidate.value for path, candidate in by_path.items()}
    for slot in found:
        if not slot.candidates and not grounded:
            arguments[slot.leaf.path] = generate(client, tool, request, slot.leaf)
    return Filled(rebuild(arguments), logprob, by_path, tuple(known), tuple(missing))


def ground(slot: Slot, reading: Reading) -> None:
    """Keep only candidates that stand in the request.

    Of these, what was ruled out ("not on Monday") goes if anything else is left; an identifier is meant, even if it is optional.
    """
    pairs = [p for p in zip(slot.candidates, slot.evidence, strict=True) if in_request(p[0], slot.leaf)]
    pairs = [p for p in pairs if not ruled_out(p[0], reading)] or pairs
    if identifies(slot.leaf):
        pairs = [p for p in pairs if p[0].value is not OMIT] or pairs
    slot.candidates, slot.evidence = [c for c, _ in pairs], [e for _, e in pairs]


def ruled_out(candidate: Candidate, reading: Reading) -> bool:
    """Whether one of the two words before it, in the same part of the sentence, says that it is not this one."""
    for word in reading.near(candidate.spans[0], before=2) if candidate.spans else []:
        if set(word.after) & set(".,;!?"):
            return False
        if word.text.lower() in RULES_OUT:
            return True
    return False


def ask(client: Client, tool: Tool, request: str, slot: Slot) -> None:
    """Let the model score the shortlist of one parameter, if the text alone does not decide."""
    shortlist = slot.shortlist()
    if not shortlist:
        return
    texts = {i: json.dumps(slot.candidates[i].value, ensure_ascii=False) for i in shortlist}
    scores = {
        s.choice: (s.logprob, s.tokens)
        for s in client.score(prompt(tool, request, slot.leaf), sorted(set(texts.values())))
    }
    slot.add_model({i: scores[text] for i, text in texts.items()})


def generate(client: Client, tool: Tool, request: str, leaf: Leaf) -> Any:
    """A value that is not made of pieces of the request, generated under its schema; ``OMIT`` if it comes out cut."""
    shared = {"$defs": tool.parameters["$defs"]} if "$defs" in tool.parameters else {}
    schema = bounded({**leaf.schema, **shared})
    answer = client.complete(prompt(tool, request, leaf), schema=schema, max_tokens=GENERATE_TOKENS)
    try:
        return answer.json()
    except ValueError:
        return OMIT


def prompt(tool: Tool, request: str, leaf: Leaf) -> tuple[Message, ...]:
    """Ask for one parameter, after examples that show what an answer looks like."""
    messages = [system(INSTRUCTION)]
    for function, example, pairs in EXAMPLES:
        for parameter, value in pairs:
            messages += [user(_question(function, example, parameter)), assistant(value)]
    asked = _question(f"{tool.name}: {tool.description}", request, f"{leaf.name} ({leaf.description})")
    return (*messages, user(asked))


def _question(function: str, request: str, parameter: str) -> str:
    return f"Function: {function}\nRequest: {request}\nValue of {parameter}?"
