"""Numbers that tell whether a call is right, for next to nothing: what the words say, and what the model said on the way.

The model is not asked again. The rules that rank values by the words alone take a few milliseconds; where they would have taken another value than the
model did, or where two parameters got the same words, the call is seldom right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from labkit.decoding.choose import score
from labkit.decoding.fill import ground
from labkit.decoding.parameters import OMIT
from labkit.decoding.rank import Slot, best, slots
from labkit.decoding.relevance import relevance
from labkit.decoding.text import Reading, Span, read
from labkit.decoding.values import Candidate
from labkit.messages import TokenLogprob
from labkit.routing.one_pass import Pass
from labkit.tools import ToolRegistry

FLOOR = -8.0
"""Log-probabilities below this say no more."""
KINDS = ("string", "number", "choice", "boolean", "array")


def describe(words: str) -> dict[str, float]:
    """Signals of a request alone, before any model has seen it."""
    return _described(words, read(words))


def _described(words: str, reading: Reading) -> dict[str, float]:
    return {
        "words": math.log1p(len(reading.words)),
        "numbers": float(min(6, len(reading.numbers))),
        "dates": float(len(reading.dates)),
        "quotes": float(len(reading.quotes)),
        "question": float("?" in words),
        "sentences": float(min(6, sum(any(m in w.after for m in ".?!") for w in reading.words))),
    }


def signals(registry: ToolRegistry, words: str, made: Pass) -> dict[str, float]:
    """Signals of a request and of what one pass made of it; the same names always.

    Args:
        registry: The tools that were offered.
        words: The user's words.
        made: What the pass returned.
    """
    reading = read(words)
    return {
        **_described(words, reading),
        **_of_choice(registry, reading, made),
        **_of_tokens(made.tokens),
        **_of_values(registry, reading, made),
        "missing": float(len(made.missing)),
        "problem": float(bool(made.problem)),
    }


def _of_choice(registry: ToolRegistry, reading: Reading, made: Pass) -> dict[str, float]:
    """How sure the words are of the tool: against none, and against the next one."""
    odds = sorted((score(relevance(tool, reading), "relevance") for tool in registry), reverse=True)
    return {
        "choice": max(FLOOR, made.choice),
        "none": max(FLOOR, made.none),
        "no_call": float(not made.tool),
        "tools": float(len(registry)),
        "tool_margin": min(6.0, odds[0] - odds[1]) if len(odds) > 1 else 6.0,
    }


def _of_tokens(tokens: Sequence[TokenLogprob]) -> dict[str, float]:
    """How sure the model was where the schema left it a choice."""
    open_ = [t for t in tokens if len(t.top) > 1]
    margins = [min(6.0, t.top[0][1] - t.top[1][1]) for t in open_] or [6.0]
    logprobs = [max(FLOOR, t.logprob) for t in open_] or [0.0]
    return {
        "margin": margins[0],
        "margin_min": min(margins),
        "margin_mean": sum(margins) / len(margins),
        "logprob_sum": max(3 * FLOOR, sum(logprobs)),
        "logprob_min": min(logprobs),
        "logprob_mean": sum(logprobs) / len(logprobs),
        "open": float(min(20, len(open_))),
        "tokens": float(len(tokens)) / 10,
    }


def _of_values(registry: ToolRegistry, reading: Reading, made: Pass) -> dict[str, float]:
    """What the words say about each value that the model took, and what of the request was left over."""
    found = slots(registry[made.tool], reading) if made.tool else []
    for slot in found:
        ground(slot, reading)
    known = [slot for slot in found if slot.candidates]
    wanted, together = best(known) if known else ([], 0.0)
    taken = [_taken(slot, made) for slot in known]
    logprobs = [_logprob(slot, c) for slot, c in zip(known, taken, strict=True)]
    firm = [_logprob(slot, c) for slot, c in zip(known, wanted, strict=True)]
    spans = [c.spans[0] if c and c.spans else None for c in taken]
    clashes = sum(
        a.overlaps(b) for i, a in enumerate(spans) for b in spans[:i] if a is not None and b is not None
    )
    used = [span for c in taken if c for span in c.spans]
    omitted = [slot for slot, c in zip(known, taken, strict=True) if c is not None and c.value is OMIT]
    return {
        **{f"of_{kind}": float(sum(_kind(s) == kind for s in found)) for kind in KINDS},
        "parameters": float(len(found)),
        "free": float(sum(slot.leaf.required for slot in found if not slot.candidates)),
        "differs": float(sum(a is not b for a, b in zip(taken, wanted, strict=True))),
        "words_sum": max(3 * FLOOR, sum(logprobs)),
        "words_min": min(logprobs, default=0.0),
        "words_best": max(3 * FLOOR, together),
        "words_firm": min(firm, default=0.0),
        "clashes": float(clashes),
        "omitted": float(len(omitted)),
        "omit_risk": sum(1 - math.exp(_logprob(s, _taken(s, made))) for s in omitted),
        "numbers_left": float(min(4, sum(not _inside(n.span, used) for n in reading.numbers))),
        "names_left": float(
            min(
                4, sum(w.capital and i > 0 and not _inside(w.span, used) for i, w in enumerate(reading.words))
            )
        ),
        "left": math.log1p(sum(not w.stop and not _inside(w.span, used) for w in reading.words)),
        "quotes_left": float(sum(not _inside(q, used) for q in reading.quotes)),
    }


def _kind(slot: Slot) -> str:
    return "number" if slot.leaf.kind == "integer" else slot.leaf.kind


def _taken(slot: Slot, made: Pass) -> Candidate | None:
    """The candidate that the model took; None if it took another value."""
    value = made.arguments
    for name in slot.leaf.path:
        value = value.get(name, OMIT) if isinstance(value, dict) else OMIT
    return next((c for c in slot.candidates if c.value == value or c.value is value), None)


def _logprob(slot: Slot, candidate: Candidate | None) -> float:
    """How probable the words make a candidate."""
    for c, logprob in zip(slot.candidates, slot.logprobs(), strict=True):
        if c is candidate:
            return max(FLOOR, logprob)
    return FLOOR


def _inside(span: Span, used: Sequence[Span]) -> bool:
    return any(u.overlaps(span) for u in used)
