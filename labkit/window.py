"""The part of a conversation that fits a context window: where it may be cut, and what is said of the part that goes."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from textwrap import shorten

from labkit.client import Client
from labkit.errors import ContextOverflow
from labkit.messages import Message, system, user

KEEP = 0.75
"""Share of a window that is left after a cut: the next turns are only appended, and the model's cache stays good."""

NUMBER = re.compile(r"\d|^(?:two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|hundred|thousand)$")


def extract(messages: Sequence[Message]) -> str:
    """A summary that cannot invent: the last two sentences with a number or an id, or else the user's last, word for word."""
    said = [
        (m.role, sentence)
        for m in messages
        if m.role in ("user", "assistant")
        for sentence in re.split(r"(?<=[.!?])\s+", m.content.strip())
        if sentence
    ]
    telling = (
        list(dict.fromkeys(s for s in said if _ids(s[1])))[-2:] or [s for s in said if s[0] == "user"][-1:]
    )
    return " ".join(f'The {role} said: "{shorten(text, 160, placeholder=" …")}"' for role, text in telling)


def model_summary(client: Client, max_tokens: int = 60) -> Callable[[Sequence[Message]], str]:
    """A summary that the model writes. Where it has a number or an id that the messages lack, ``extract`` takes its place.

    Words that it invents are not noticed: a small model needs a person to look at what it sums up.
    """
    task = system("Sum up the conversation in one short sentence.")

    def summarise(messages: Sequence[Message]) -> str:
        talk = "\n".join(f"{m.role}: {m.content}" for m in messages if m.content)
        text = client.complete([task, user(talk[-2000:])], max_tokens=max_tokens).text.strip()
        return text if text and _ids(text) <= _ids(talk) else extract(messages)

    return summarise


def _ids(text: str) -> set[str]:
    """Everything in a text that has a digit, and the words for numbers."""
    words = (word.strip(".:-/*").lower() for word in re.findall(r"[\w.:/*-]+", text))
    return {word for word in words if NUMBER.search(word)}


def places(turns: Sequence[Message]) -> list[int]:
    """Where a window may begin: anywhere but between a call and its result, also if two programs' turns are mixed."""
    waiting: dict[str | None, list[int]] = {}
    joined: set[int] = set()
    for i, message in enumerate(turns):
        for call in message.tool_calls:
            waiting.setdefault(call.id, []).append(i)
        if message.role == "tool" and waiting.get(message.tool_call_id):
            joined.update(range(waiting[message.tool_call_id].pop() + 1, i + 1))
    return [i for i in range(len(turns)) if i not in joined]


def cut(turns: Sequence[Message], limit: int, cost: Callable[[Sequence[Message]], int]) -> int:
    """Where the window should begin: at a user's message if possible, with a part of it left free if possible.

    Raises:
        ContextOverflow: Not even the newest message fits.
    """
    anywhere = places(turns)
    users = [i for i in anywhere if turns[i].role == "user"]
    for options, most in ((users, limit * KEEP), (users, limit), (anywhere, limit * KEEP), (anywhere, limit)):
        found = bisect_left(options, True, key=lambda i: cost(turns[i:]) <= most)
        if found < len(options):
            return options[found]
    raise ContextOverflow(
        f"The newest message does not fit a window of {limit} tokens.", "Shorten it, or use a larger context."
    )
