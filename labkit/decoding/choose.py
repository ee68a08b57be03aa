"""Choosing a tool, or none: what the words have in common, and how well the model explains the one by the other.

The second part is a noisy channel: not "which tool follows this request?", which a tiny model answers by the last or the most
common name, but "how much more probable does this tool make this very request?", log P(request | tool) - log P(request), and
the same the other way round, log P(tool | request) - log P(tool).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labkit.client import Client
from labkit.decoding.evidence import Features
from labkit.decoding.rank import load_weights, log_shares
from labkit.decoding.relevance import bend, relevance
from labkit.decoding.text import read
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
INSTRUCTION_BACK = "Name the function that answers the request."
EXAMPLES_BACK = (
    *((request, function.rsplit(" (", 1)[0]) for function, request in EXAMPLES),
    ("how cold is it in Bergen", "weather: Current weather of a place."),
)
NOTHING = "-"
"""Stands for any tool or any request."""
SHORTLIST = 4
"""Tools that the model is asked about; the others are out by their words alone."""
CERTAIN = 0.99
"""Above this probability by words alone the model is not asked."""


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
    scores = [score(features, "relevance") for features in evidence]
    if ask_model and request.strip() and _unsure(scores, none=none):
        shortlist = sorted(range(len(every)), key=lambda i: -scores[i])[:SHORTLIST]
        for i, model in zip(shortlist, opinions(client, [every[i] for i in shortlist], request), strict=True):
            scores[i] = score(evidence[i] | model, "relevance_with_model")
        for i in set(range(len(every))) - set(shortlist):
            scores[i] = min(scores[i], min(scores[j] for j in shortlist) - 1.0)
    logprobs = log_shares([*scores, 0.0])
    best = max(range(len(every)), key=lambda i: scores[i])
    if none and logprobs[-1] > math.log(load_weights()["thresholds"]["none"]["above"]):
        return Choice(None, logprobs[-1], logprobs[-1])
    return Choice(every[best], logprobs[best], logprobs[-1])


def score(features: Features, family: str) -> float:
    """Log-odds of a tool against none."""
    weights = load_weights()["tools"].get(family, {})
    return sum(weights.get(key, 0.0) * value for key, value in bend(features).items())


def opinions(client: Client, tools: Sequence[Tool], request: str) -> list[Features]:
    """What the model says about each tool, as evidence."""
    forth, back = gains(client, tools, request), gains_back(client, tools, request)
    return [{"model:gain": a, "model:back": b} for a, b in zip(forth, back, strict=True)]


def gains(client: Client, tools: Iterable[Tool], request: str) -> list[float]:
    """How much more probable each tool makes the request, in nats for each of its tokens."""
    without = client.score(prompt(None), [request])[0]
    return [
        (client.score(prompt(tool), [request])[0].logprob - without.logprob) / without.tokens
        for tool in tools
    ]


def gains_back(client: Client, tools: Iterable[Tool], request: str) -> list[float]:
    """How much more probable the request makes each tool's name and description, in nats for each of their tokens."""
    texts = [_about(tool) for tool in tools]
    asked = {s.choice: s for s in client.score(prompt_back(request), list(dict.fromkeys(texts)))}
    without = {s.choice: s for s in client.score(prompt_back(NOTHING), list(dict.fromkeys(texts)))}
    return [(asked[t].logprob - without[t].logprob) / without[t].tokens for t in texts]


def prompt(tool: Tool | None) -> tuple[Message, ...]:
    """Ask for a request to a tool; without a tool, for any request."""
    messages = [system(INSTRUCTION)]
    for function, request in EXAMPLES:
        messages += [user(f"Function: {function}"), assistant(request)]
    about = f"{_about(tool)} ({', '.join(tool.parameters['properties'])})" if tool else NOTHING
    return (*messages, user(f"Function: {about}"))


def prompt_back(request: str) -> tuple[Message, ...]:
    """Ask for the tool that answers a request."""
    messages = [system(INSTRUCTION_BACK)]
    for example, function in EXAMPLES_BACK:
        messages += [user(f"Request: {example}"), assistant(function)]
    return (*messages, user(f"Request: {request}"))


def _about(tool: Tool) -> str:
    return f"{tool.name}: {tool.description}"


def _unsure(scores: list[float], *, none: bool) -> bool:
    shares = log_shares([*scores, 0.0] if none else scores)
    return math.exp(max(shares)) < CERTAIN
