"""What speaks for a string or a list of values: capitals, quotation marks, edges, and the words around it."""

from __future__ import annotations

import re

from labkit.decoding.evidence import Features, Question, context
from labkit.decoding.lexicon import PEOPLE, PLACES, UNIT_OF
from labkit.decoding.parameters import default, options
from labkit.decoding.text import Reading, Span, Word, stem, stems
from labkit.decoding.values import Candidate, mentions

_PAIR = re.compile(
    r"\b(?:city|town) (?:and|with|,) (?:state|country)|[A-Z]\w+, ?[A-Z]{2}\b|[Dd]istrict, [Cc]ity"
)
"""A description that wants a place with the larger place around it."""


def of_string(q: Question, c: Candidate) -> Features:
    value, reading = str(c.value), q.reading
    if not c.spans or (c.source == "description" and value.lower() not in reading.text.lower()):
        wanted = default(q.leaf) == c.value
        return {
            "listed": 1.0,
            "listed:spoken": float(bool(c.spans)),
            "listed:fraction": len(stems(value) & reading.stems) / max(1, len(stems(value))),
            "listed:default": float(wanted),
            "listed:not_needed": float(not q.leaf.required),
            "listed:tool_word": float(bool(stems(value) & q.tool_stems)),
        }
    span = Span(c.spans[0].start, c.spans[-1].end)
    inside = [w for w in reading.words if span.contains(w.span) or w.span.contains(span)]
    left, right = reading.near(span, before=3), reading.near(span, after=2)
    after = right[0] if right and inside and not inside[-1].after else None
    before = left[0] if left and not left[0].after and inside and not inside[0].before else None
    content = [stem(w.text) for w in inside if not w.stop]
    n = max(1, len(content))
    date = any(d.span == span for d in reading.dates)
    dated = bool(q.leaf.words & {"dat", "month", "day", "tim", "deadlin"}) and "updat" not in q.leaf.words
    capital = [w for w in inside if not w.stop]
    quoted = span in reading.quotes
    number = all(any(x.span.overlaps(w.span) for x in reading.numbers) for w in inside)
    at_start = bool(inside) and inside[0] is reading.words[0]
    out = context(q, left, right)
    out |= {
        "quoted": float(quoted),
        "quote:other": float(not quoted and bool(reading.quotes)),
        "capital:all": float(bool(capital) and all(w.capital for w in capital) and not at_start),
        "capital:some": float(any(w.capital for w in capital) and not all(w.capital for w in capital)),
        "capital:cut": float(_cut_name(before, inside, after)),
        "capital:cut_at_of": float(_cut_at_of(reading, inside)),
        "operator_cut": float(
            any(w is not None and not any(ch.isalnum() for ch in w.text) for w in (before, after))
        ),
        "sentence_start": float(at_start),
        "edge:before": float(before is None or before.stop),
        "edge:after": float(after is None or after.stop),
        "before:the": float(before is not None and before.text.lower() in ("the", "a", "an")),
        "stops_inside": float(sum(w.stop for w in inside)),
        "stop_of": float(any(w.text.lower() == "of" for w in inside)),
        "and_inside": float(any(w.text.lower() in ("and", "or") for w in inside)),
        "comma_inside": float("," in value),
        "comma_inside:wanted": float("," in value and bool(_PAIR.search(q.leaf.description))),
        "words:1": float(n == 1),
        "words": float(min(n, 6)),
        "words:many": float(max(0, n - 4)),
        "tool_word": sum(s in q.tool_stems for s in content) / n,
        "leaf_word": sum(s in q.leaf.words for s in content) / n,
        "name_word": sum(s in q.name for s in content) / n,
        "other_word": sum(s in q.others for s in content) / n,
        "last_is_name": float(bool(content) and content[-1] in q.name),
        "after_is_name": float(after is not None and stem(after.text) in q.name),
        "after_is_word": float(after is not None and stem(after.text) in q.leaf.words),
        "before_is_name": float(before is not None and stem(before.text) in q.name),
        "number": float(number),
        "has_digit": float(any(ch.isdigit() for ch in value)),
        "id": float(
            bool(q.name & {"id", "number", "cod", "identifi"})
            and any(ch.isdigit() for ch in value)
            and n == 1
        ),
        "date:both": float(date and dated),
        "date:value_only": float(any(d.span.overlaps(span) for d in reading.dates) and not dated),
        "date:leaf_only": float(dated and bool(reading.dates) and not date),
        "unit:leaf": float("unit" in q.name and stem(value) in UNIT_OF),
        "unit:other": float("unit" in q.name and stem(value) not in UNIT_OF),
        "option": float(
            value in options(q.leaf) or value.lower() in [str(o).lower() for o in options(q.leaf)]
        ),
        "place": float(bool(q.leaf.words & PLACES) and bool(capital) and all(w.capital for w in capital)),
        "person": float(bool(q.leaf.words & PEOPLE) and bool(capital) and all(w.capital for w in capital)),
        "formula": float(
            bool(q.leaf.words & {"function", "equation", "express", "formula"})
            and bool(re.search(r"[\^*+=]|\d[a-z]", value))
        ),
        "not_needed": float(not q.leaf.required),
        "not_needed:capital": float(
            not q.leaf.required and bool(capital) and all(w.capital for w in capital)
        ),
        "position": span.start / max(1, len(reading.text)),
    }
    strings = [x for x in q.same_kind if x.required]
    if len(strings) > 1 and q.leaf in strings:
        out["position:expected"] = -abs(
            span.start / max(1, len(reading.text)) - (strings.index(q.leaf) + 0.5) / len(strings)
        )
    return out


def of_array(q: Question, c: Candidate) -> Features:
    if not c.spans:
        return {"ungrounded": 1.0, "empty": float(not c.value), "not_needed": float(not q.leaf.required)}
    reading, span = q.reading, Span(c.spans[0].start, c.spans[-1].end)
    left, right = reading.near(span, before=4), reading.near(span, after=2)
    bracketed = reading.text[span.start] in "[(" and len(c.spans) == 1
    out = context(q, left, right)
    texts = [reading[s] for s in c.spans]
    capitals = [t[:1].isupper() for t in texts]
    arrays = [x for x in q.same_kind if x.required]
    content = [s for t in texts for s in stems(t)]
    out |= {
        "bracketed": float(bracketed),
        "quoted": float(all(s in reading.quotes for s in c.spans)),
        "run": float(len(c.spans) > 1),
        "one": float(len(c.value) == 1),
        "length": float(min(len(c.value), 6)),
        "words": sum(len(t.split()) for t in texts) / len(texts) - 1.0,
        "same_case": float(len(set(capitals)) == 1),
        "capitals": float(all(capitals)),
        "same_length": float(len({len(t.split()) for t in texts}) == 1),
        "percent": float(c.percent),
        "percent:wanted": float(
            bool(c.percent) == bool(q.leaf.words & {"percentag", "percent", "shar", "weight", "contribution"})
        ),
        "listed": float(all(mentions(o, reading) for o in c.value)) if c.source == "list" else 0.0,
        "tool_word": sum(s in q.tool_stems for s in content) / max(1, len(content)),
        "edge:before": float(not left or left[0].stop or bool(left[0].after)),
        "edge:after": float(
            not right or right[0].stop or bool(reading.text[span.end : span.end + 1].strip())
        ),
        "not_needed": float(not q.leaf.required),
        "order": 0.0,
    }
    if len(arrays) > 1 and q.leaf in arrays:
        out["position:expected"] = -abs(
            span.start / max(1, len(reading.text)) - (arrays.index(q.leaf) + 0.5) / len(arrays)
        )
    return out


def _cut_name(before: Word | None, inside: list[Word], after: Word | None) -> bool:
    """Whether a capitalised name goes on beyond the span."""
    if not inside:
        return False
    left = (
        before is not None
        and before.capital
        and inside[0].capital
        and before.span.start > 0
        and not before.stop
    )
    right = after is not None and after.capital and inside[-1].capital
    return left or right


def _cut_at_of(reading: Reading, inside: list[Word]) -> bool:
    """Whether a capitalised name goes on beyond the span over ``of``, as in ``Museum of Art``."""
    if not inside:
        return False
    first, last = reading.words.index(inside[0]), reading.words.index(inside[-1])
    left, right = reading.words[max(0, first - 2) : first], reading.words[last + 1 : last + 3]
    return any(
        len(pair) == 2
        and pair[at].text.lower() in ("of", "the", "&")
        and pair[1 - at].capital
        and edge.capital
        for pair, at, edge in ((left, 1, inside[0]), (right, 0, inside[-1]))
    )
