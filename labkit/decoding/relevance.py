"""What speaks for a tool before the model is asked: words, question words and numbers that it shares with a request."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.decoding.evidence import Features
from labkit.decoding.lexicon import GENERIC
from labkit.decoding.parameters import Leaf, leaves, options
from labkit.decoding.related import asked, groups, groups_of
from labkit.decoding.text import Reading, stems
from labkit.decoding.values import mentions
from labkit.tools import Tool

KNOTS = {
    "model:gain": (0.25, 0.5, 0.75, 1.0, 1.5),
    "model:back": (0.0, 0.3, 0.6, 1.0),
    "request": (0.25, 0.5, 0.75),
    "purpose": (0.2, 0.4, 0.6),
    "name": (0.3, 0.6),
    "inputs": (0.1, 0.2, 0.4),
}
"""Where a feature's effect may change its slope: the first shared words say more than the last ones."""


def relevance(tool: Tool, reading: Reading) -> Features:
    """How much of the tool's words the request has, and of the request's words the tool; whether its values are there."""
    every = list(leaves(tool.parameters))
    name, purpose = stems(tool.name) - GENERIC, stems(tool.description) - GENERIC
    inputs = (
        frozenset().union(*(stems(" ".join(leaf.path)) | stems(leaf.description) for leaf in every)) - GENERIC
    )
    plain, capital = _content(reading)
    about = name | purpose | inputs
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
        "nothing": float(not any(_meets(s, about) for s in plain)),
        **_related(name, purpose, inputs, plain, reading),
        **_values(every, reading),
    }


def bend(features: Features) -> Features:
    """The features, and how far each of them is above its knots, so that a weighted sum can follow a bent line."""
    above = {
        f"{k}>{knot}": max(0.0, features[k] - knot)
        for k, knots in KNOTS.items()
        if k in features
        for knot in knots
    }
    return {**features, **above}


def _related(
    name: frozenset[str], purpose: frozenset[str], inputs: frozenset[str], plain: list[str], reading: Reading
) -> Features:
    """The same shares where another word for the same thing counts too, and whether the tool knows what a question word asks for."""
    about, said = name | purpose | inputs, groups_of(reading.stems)
    direct = [_meets(s, about) for s in plain]
    kin = [bool(groups(s) & groups_of(about)) for s in plain]
    first = bool(plain) and (
        _meets(plain[0], name | purpose) or bool(groups(plain[0]) & groups_of(name | purpose))
    )
    wanted = asked(reading.text)
    return {
        "related:request": sum(k and not d for k, d in zip(kin, direct, strict=True)) / max(1, len(plain)),
        "related:left": float(min(6, sum(not (k or d) for k, d in zip(kin, direct, strict=True)))),
        "related:first": float(first),
        "related:purpose": _share_related(name | purpose, reading.stems, said),
        "related:name": _share_related(name, reading.stems, said),
        "asked:met": float(any(w & (name | purpose) for w in wanted)),
        "asked:unmet": float(any(not w & (name | purpose) for w in wanted)),
    }


def _values(every: list[Leaf], reading: Reading) -> Features:
    """Whether the request has the numbers and the options that the tool takes."""
    required = [leaf for leaf in every if leaf.required]
    numeric = [leaf for leaf in required if leaf.kind in ("integer", "number")]
    room = sum(leaf.kind in ("integer", "number", "array") for leaf in every)
    own = [any(_meets(s, reading.stems) for s in stems(leaf.name) - GENERIC) for leaf in required]
    return {
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
    }


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


def _share(part: Iterable[str], whole: frozenset[str]) -> float:
    part = list(part)
    return sum(_meets(s, whole) for s in part) / len(part) if part else 0.0


def _share_related(part: frozenset[str], whole: frozenset[str], said: frozenset[int]) -> float:
    return sum(_meets(s, whole) or bool(groups(s) & said) for s in part) / max(1, len(part))


def _meets(word: str, words: frozenset[str]) -> bool:
    """Whether a word is among others, or shares a beginning of five letters with one."""
    return word in words or (len(word) >= 4 and any(len(w) >= 4 and w[:5] == word[:5] for w in words))
