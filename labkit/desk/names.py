"""Which product do these words mean? People leave out half of a name, add adjectives, and mistype."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from labkit.decoding.text import STOPWORDS, stem


def _stems(words: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words.split())


_NEUTRAL = _stems(
    "new nice good best cheap cheapest small little big large white black red grey steel digital automatic "
    "kitchen tarnwick today one two many much cost price buy sell stock available"
)
"""Words before a noun that do not make it another thing: a new kettle is a kettle, a steam iron is no waffle iron."""
_STOPS = _stems(" ".join(STOPWORDS))
_SPELLED = {"2": "two", "4": "four"}


def meant(words: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """The names that the words may mean: one if they are clear, several if they leave it open, none if there is no such thing.

    A name is meant if its first word (the model's own name) is said, or its last one (what it is) without a word before it
    that makes it something else. Among several, those of which most is said.

    Args:
        words: What was said.
        names: Each name, and what else people call it.

    Example:
        >>> names = {"Rill electric kettle": (), "Heron gooseneck kettle": (), "Dune espresso machine": ("coffee machine",)}
        >>> meant("the electric kettle", names), meant("coffee machine", names), meant("washing machine", names)
        (['Rill electric kettle'], ['Dune espresso machine'], [])
        >>> meant("a kettle", names)
        ['Rill electric kettle', 'Heron gooseneck kettle']
    """
    every = {name: [_tokens(name), *(_tokens(other) for other in also)] for name, also in names.items()}
    known = sorted({token for spellings in every.values() for tokens in spellings for token in tokens})
    said = [_known(token, known) for token in _tokens(words)]
    scores: dict[str, int] = {}
    for name, (tokens, *others) in every.items():
        own, kind = tokens[0], tokens[-1]
        if own in said or any(token == kind and _fits(said[:i], tokens) for i, token in enumerate(said)):
            scores[name] = len(set(tokens) & set(said)) + 2 * (own in said)
        for other in others:
            if any(said[i : i + len(other)] == other for i in range(len(said))):
                scores[name] = max(scores.get(name, 0), len(other))
    top = max(scores.values(), default=0)
    return [name for name, score in scores.items() if score == top]


def _tokens(text: str) -> list[str]:
    found = re.findall(r"[^\W\d_]+|\d+", text.casefold())
    return [stem(_SPELLED.get(token, token)) for token in found]


def _known(token: str, known: list[str]) -> str:
    """A word of the names that this one is a misspelling of, or the word itself."""
    if token in known or len(token) < 4:
        return token
    return next(iter(get_close_matches(token, known, 1, 0.8)), token)


def _fits(before: list[str], tokens: list[str]) -> bool:
    """Whether the word before a noun leaves it what it is."""
    word = before[-1] if before else ""
    return not word or word in tokens or word in _NEUTRAL or word in _STOPS
