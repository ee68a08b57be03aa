"""Choosing a tool, or none: what the words have in common, and how probable the request is as a question to the tool.

The second part is a noisy channel: not "which tool follows this request?", which a tiny model answers by the last or the most
common name, but "how much more probable does this tool make this very request?": log P(request | tool) - log P(request).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from labkit.client import Client
from labkit.decoding.evidence import Features
from labkit.decoding.lexicon import GENERIC
from labkit.decoding.rank import load_weights, log_shares
from labkit.decoding.text import Reading, read, stems
from labkit.decoding.values import leaves, mentions, options
from labkit.messages import Message, assistant, system, user
from labkit.tools import Tool

INSTRUCTION = "Write a request that the function answers."
EXAMPLES = (
    (
        "book_table: Reserve a table at a restaurant. (restaurant, guests, area)",
        "Get me a table for four at Luigi's Trattoria near Lake Como on Friday, the quiet one.",
    ),
    (
        "search_papers: Search research papers. (subject, author, last_year)",
        "Which articles about coral bleaching did Mia Wong write from 2015 to 2019?",
    ),
)
SHORTLIST = 4
"""Tools that the model is asked about; the others are out by their words alone."""
CERTAIN = 0.99
"""Above this probability by words alone the model is not asked."""

KNOTS = {
    "model:gain": (0.25, 0.5, 0.75, 1.0, 1.5),
    "request": (0.25, 0.5, 0.75),
    "purpose": (0.2, 0.4, 0.6),
    "name": (0.3, 0.6),
    "inputs": (0.1, 0.2, 0.4),
}
"""Where a feature's effect may change its slope: the first shared words say more than the last ones."""


@dataclass(frozen=True)
class Choice:
    """A tool, or None for no tool, and the log-probability (natural log) of that choice among all."""

    tool: Tool | None
    logprob: float
    none_logprob: float


def choose(
    client: Client, tools: Iterable[Tool], request: str, *, none: bool, ask_model: bool = True
) -> Choice:
    """Choose among tools, and none if that is allowed.

    Args:
        client: Scores requests (``score``).
        tools: At least one.
        request: The user's words.
        none: Whether the answer may be no tool.
        ask_model: False judges by words alone, for comparison.

    Raises:
        CapabilityMissing: The backend cannot score.
    """
    reading, every = read(request), list(tools)
    evidence = [relevance(tool, reading) for tool in every]
    scores = [_score(features, "relevance") for features in evidence]
    if ask_model and request.strip() and _unsure(scores, none=none):
        shortlist = sorted(range(len(every)), key=lambda i: -scores[i])[:SHORTLIST]
        for i, gain in zip(shortlist, gains(client, [every[i] for i in shortlist], request), strict=True):
            scores[i] = _score({**evidence[i], "model:gain": gain}, "relevance_with_model")
        for i in set(range(len(every))) - set(shortlist):
            scores[i] = min(scores[i], min(scores[j] for j in shortlist) - 1.0)
    logprobs = log_shares([*scores, 0.0])
    best = max(range(len(every)), key=lambda i: scores[i])
    if none and logprobs[-1] > math.log(load_weights()["thresholds"]["none"]["above"]):
        return Choice(None, logprobs[-1], logprobs[-1])
    return Choice(every[best], logprobs[best], logprobs[-1])


def relevance(tool: Tool, reading: Reading) -> Features:
    """How much of the tool's words the request has, and of the request's words the tool; whether its numbers are there."""
    every = list(leaves(tool.parameters))
    required = [leaf for leaf in every if leaf.required]
    name, purpose = stems(tool.name) - GENERIC, stems(tool.description) - GENERIC
    inputs = (
        frozenset().union(*(stems(" ".join(leaf.path)) | stems(leaf.description) for leaf in every)) - GENERIC
    )
    plain, capital = _content(reading)
    about = name | purpose | inputs
    numeric = [leaf for leaf in required if leaf.kind in ("integer", "number")]
    room = sum(leaf.kind in ("integer", "number", "array") for leaf in every)
    own = [any(_meets(s, reading.stems) for s in stems(leaf.name) - GENERIC) for leaf in required]
    return {
        "bias": 1.0,
        "name": _share(name, reading.stems),
        "name:any": float(any(_meets(s, reading.stems) for s in name)),
        "purpose": _share(purpose, reading.stems),
        "purpose:count": float(min(3, sum(_meets(s, reading.stems) for s in purpose))),
        "request": _share(plain, about),
        "request:left": float(min(6, sum(not _meets(s, about) for s in plain))),
        "names": _share(capital, about),
        "inputs": _share(inputs, reading.stems),
        "inputs:own": sum(own) / len(own) if own else 0.5,
        "numbers:missing": float(min(2, max(0, len(numeric) - len(reading.numbers)))),
        "numbers:none": float(bool(numeric) and not reading.numbers),
        "numbers:spare": float(min(2, max(0, len(reading.numbers) - room))),
        "option": float(any(mentions(o, reading) for leaf in every for o in options(leaf))),
        "option:missing": float(
            any(
                leaf.kind == "choice" and not any(mentions(o, reading) for o in options(leaf))
                for leaf in required
            )
        ),
        "nothing": float(not any(_meets(s, about) for s in plain)),
    }


def prompt(tool: Tool | None) -> tuple[Message, ...]:
    """Ask for a request to a tool; without a tool, for any request."""
    messages = [system(INSTRUCTION)]
    for function, request in EXAMPLES:
        messages += [user(f"Function: {function}"), assistant(request)]
    about = f"{tool.name}: {tool.description} ({', '.join(tool.parameters['properties'])})" if tool else "-"
    return (*messages, user(f"Function: {about}"))


def gains(client: Client, tools: Iterable[Tool], request: str) -> list[float]:
    """How much more probable each tool makes the request, in nats for each of its tokens."""
    without = client.score(prompt(None), [request])[0]
    return [
        (client.score(prompt(tool), [request])[0].logprob - without.logprob) / without.tokens
        for tool in tools
    ]


def _unsure(scores: list[float], *, none: bool) -> bool:
    shares = log_shares([*scores, 0.0] if none else scores)
    return math.exp(max(shares)) < CERTAIN


def bend(features: Features) -> Features:
    """The features, and how far each of them is above its knots, so that a weighted sum can follow a bent line."""
    above = {
        f"{k}>{knot}": max(0.0, features[k] - knot)
        for k, knots in KNOTS.items()
        if k in features
        for knot in knots
    }
    return {**features, **above}


def _score(features: Features, family: str) -> float:
    weights = load_weights()["tools"].get(family, {})
    return sum(weights.get(key, 0.0) * value for key, value in bend(features).items())


def _content(reading: Reading) -> tuple[list[str], list[str]]:
    """The request's content words without numbers and quotations: plain ones, and capitalised ones after the first word."""
    plain: list[str] = []
    capital: list[str] = []
    for i, word in enumerate(reading.words):
        if (
            word.stop
            or any(n.span.overlaps(word.span) for n in reading.numbers)
            or any(q.overlaps(word.span) for q in reading.quotes)
        ):
            continue
        (capital if word.capital and i else plain).extend(stems(word.text) - GENERIC)
    return plain, capital


def _share(part: Iterable[str], whole: Iterable[str]) -> float:
    part, whole = list(part), frozenset(whole)
    return sum(_meets(s, whole) for s in part) / len(part) if part else 0.0


def _meets(word: str, words: frozenset[str]) -> bool:
    """Whether a word is among others, or shares a beginning of five letters with one."""
    return word in words or (len(word) >= 4 and any(len(w) >= 4 and w[:5] == word[:5] for w in words))
