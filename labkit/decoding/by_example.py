"""Choosing a tool by the requests that are typical of it: which tool's examples make this very request most probable?

A noisy channel again (see ``choose``), with the examples of each tool as a few-shot prompt: log P(request | examples of the tool). Requests for
nothing are a class of their own with its own examples. Words that a request shares with few tools' descriptions and examples are added, as in a
naive Bayes classifier; each shared word counts its inverse document frequency among the tools. Good where the tools and their users are known,
as at a support desk; ``choose`` is for tools that were never seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from labkit.client import Client
from labkit.decoding.lexicon import GENERIC
from labkit.decoding.text import stems
from labkit.messages import Message, assistant, system, user
from labkit.redact import EMAIL
from labkit.tools import Tool, ToolRegistry

NOTHING = (
    "Tell me a joke.",
    "What is the weather like tomorrow?",
    "Who won the football game last night?",
    "Write a poem about autumn.",
    "Thank you, bye!",
)
"""Requests that no tool is for, whatever the tools."""
INSTRUCTION = "Write messages that users send to an assistant, on one topic: "
ASK = "A message."
WORDS = 1.0
"""Weight of the shared words, in nats for each nat of inverse document frequency."""
_MASKS = ((EMAIL, "my address"), (re.compile(r"#?\b\d{4,}\b"), "12345"))


def has_examples(tools: ToolRegistry) -> bool:
    """Whether every tool has at least one example."""
    return len(tools) > 0 and all(tool.examples for tool in tools)


def by_example(
    client: Client, tools: ToolRegistry, texts: Sequence[str], nothing: Sequence[str] = NOTHING
) -> list[dict[str | None, float]]:
    """How well each tool fits each text, in nats; only differences within one text mean something.

    Args:
        client: Scores texts (``score``).
        tools: Tools with examples.
        texts: Requests, or parts of one.
        nothing: Requests that none of the tools is for; their class has the key None.

    Raises:
        CapabilityMissing: The backend cannot score.
    """
    masked = [mask(text) for text in texts]
    examples: dict[str | None, Sequence[str]] = {**{t.name: t.examples for t in tools}, None: nothing}
    shared = _shared(
        {name: _words(tools[name] if name else None, own) for name, own in examples.items()}, masked
    )
    found: list[dict[str | None, float]] = [{} for _ in texts]
    for name, own in examples.items():
        scored = client.score(prompt(tools[name] if name else None, own), list(dict.fromkeys(masked)))
        logprobs = {s.choice: s.logprob for s in scored}
        for i, text in enumerate(masked):
            found[i][name] = logprobs[text] + WORDS * shared[i][name]
    return found


def prompt(tool: Tool | None, examples: Sequence[str]) -> tuple[Message, ...]:
    """Ask for one more request like the examples. The same bytes each time, so that the KV cache keeps them."""
    topic = (
        f"{tool.name.replace('_', ' ')}: {tool.description}"
        if tool
        else "anything that the assistant cannot do"
    )
    turns = [turn for example in examples for turn in (user(ASK), assistant(mask(example)))]
    return (system(INSTRUCTION + topic), *turns, user(ASK))


def mask(text: str) -> str:
    """The text with addresses and long numbers replaced: that there is one says something, which one does not."""
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return text


def _words(tool: Tool | None, examples: Sequence[str]) -> frozenset[str]:
    about = f"{tool.name.replace('_', ' ')} {tool.description}" if tool else ""
    return stems(" ".join((about, *map(mask, examples)))) - GENERIC


def _shared(
    words: Mapping[str | None, frozenset[str]], texts: Sequence[str]
) -> list[dict[str | None, float]]:
    """For each text and class: the inverse document frequencies of the words they share, added up."""
    every = [word for own in words.values() for word in own]
    weight = {word: math.log(len(words) / every.count(word)) for word in set(every)}
    return [
        {name: sum(weight[w] for w in stems(text) & own) for name, own in words.items()} for text in texts
    ]
