"""What speaks for a value before the model is asked, as numbers: one function per kind of parameter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from labkit.decoding.lexicon import MEASURE_STEMS, NEGATIONS, RATES, ROLES, TIME_WORDS, UNIT_OF
from labkit.decoding.parameters import Leaf, default, options
from labkit.decoding.text import Number, Reading, Span, Word, stem, stems
from labkit.decoding.values import Candidate, mentions
from labkit.tools import Tool

Features = dict[str, float]


@dataclass(frozen=True)
class Question:
    """One parameter of one tool, asked of one request; computes once what all its candidates share."""

    tool: Tool
    leaf: Leaf
    all_leaves: tuple[Leaf, ...]
    reading: Reading

    @cached_property
    def tool_stems(self) -> frozenset[str]:
        """What the tool is about; such words name the task more often than an argument."""
        return stems(self.tool.name) | stems(self.tool.description)

    @cached_property
    def own(self) -> frozenset[str]:
        """Words of this parameter that no other parameter of the tool has."""
        others = (leaf.words for leaf in self.all_leaves if leaf is not self.leaf)
        return self.leaf.words - frozenset().union(*others)

    @cached_property
    def name(self) -> frozenset[str]:
        return stems(self.leaf.name)

    @cached_property
    def others(self) -> frozenset[str]:
        """Words that only other parameters have."""
        return (
            frozenset().union(*(leaf.words for leaf in self.all_leaves if leaf is not self.leaf))
            - self.leaf.words
        )

    @cached_property
    def same_kind(self) -> list[Leaf]:
        """The parameters that compete for the same sort of value, in the schema's order."""
        numeric = ("integer", "number")
        return [
            x
            for x in self.all_leaves
            if x.kind == self.leaf.kind or (x.kind in numeric and self.leaf.kind in numeric)
        ]

    @cached_property
    def lead(self) -> frozenset[str]:
        """Words that say the parameter's role: its name and the first words of its description."""
        text = " ".join(self.leaf.description.lower().split()[:8])
        return frozenset(re.findall(r"[a-z]+|\d", f"{self.leaf.name.lower()} {text}"))


def of_omit(q: Question) -> Features:
    reading = q.reading
    spoken = bool(q.name & reading.stems)
    unsaid = default(q.leaf)
    return {
        "omit": 1.0,
        "omit:name_spoken": float(spoken),
        "omit:own_spoken": float(bool((q.own - q.tool_stems) & reading.stems)),
        "omit:option_spoken": float(any(o != unsaid and mentions(o, reading) for o in options(q.leaf))),
        "omit:spare_numbers": float(max(0, len(reading.numbers) - sum(x.required for x in q.same_kind)))
        if q.leaf.kind in ("integer", "number")
        else 0.0,
    }


def of_boolean(q: Question, c: Candidate) -> Features:
    spoken = ((q.own | q.name) - q.tool_stems) & q.reading.stems
    share = len((q.own | q.name) & q.reading.stems) / max(1, len(q.own | q.name))
    negated = any(w.text.lower() in NEGATIONS for w in q.reading.words)
    yes = float(c.value is True)
    return {
        "true": yes,
        "true:required": yes * q.leaf.required,
        "true:spoken": yes * bool(spoken),
        "true:name": yes * len(q.name & q.reading.stems) / max(1, len(q.name)),
        "true:share": yes * share,
        "true:negated": yes * negated * bool(spoken),
        "is_default": float(str(default(q.leaf)).lower() == str(c.value).lower()),
    }


def of_choice(q: Question, c: Candidate) -> Features:
    parts = re.findall(r"[^\W_]+", str(c.value))
    fraction = len({stem(p) for p in parts} & q.reading.stems) / max(1, len(parts))
    inside = bool(c.spans) and str(c.value).lower().replace("_", " ") in q.reading.text.lower()
    return {
        "mentioned": float(bool(c.spans)),
        "verbatim": float(inside),
        "fraction": fraction,
        "tool_word": float(stems(str(c.value)) <= q.tool_stems) if c.spans else 0.0,
        "is_default": float(default(q.leaf) == c.value),
        "not_needed": float(not q.leaf.required and not c.spans),
        "listed_first": float(options(q.leaf)[:1] == [c.value]),
    }


def of_number(q: Question, c: Candidate) -> Features:
    if not c.spans:
        return {
            "ungrounded": 1.0,
            "zero": float(c.value == 0),
            "one": float(c.value == 1),
            "not_needed": float(not q.leaf.required),
            "from_text": float(c.source == "description"),
        }
    span, reading = c.spans[0], q.reading
    number = next((n for n in reading.numbers if n.span == span), Number(span, 0.0))
    left, right = reading.near(span, before=4), reading.near(span, after=3)
    out = context(q, left, right)
    unit, owner = _unit_after(reading, span), q.leaf.words
    measures = {kind for kind, words in MEASURE_STEMS.items() if words & owner}
    unit_kind = "money" if number.currency else UNIT_OF.get(unit, UNIT_OF.get(stem(unit), "")) if unit else ""
    year = (
        1000 <= number.value <= 2100
        and number.value == int(number.value)
        and not number.currency
        and not unit
    )
    rate = bool(owner & RATES)
    out |= {
        "unit:match": float(unit_kind in measures) if unit_kind else 0.0,
        "unit:clash": float(bool(measures) and unit_kind not in measures) if unit_kind else 0.0,
        "unit:is_word": float(stem(unit) in owner) if len(unit) > 2 else 0.0,
        "year:both": float(year and "year" in owner and not number.percent),
        "year:value_only": float(year and not owner & TIME_WORDS),
        "year:leaf_only": float(
            not year and q.leaf.name.lower() in ("year", "from_year", "start_year", "end_year", "to_year")
        ),
        "percent:rate": float(number.percent and rate),
        "percent:clash": float(number.percent and not rate),
        "rate:plain": float(rate and not number.percent and number.value > 1),
        "percent:divided": float(c.percent),
        "percent:divided_wanted_percent": float(
            c.percent and bool(owner & {"percentag", "percent"}) and "decimal" not in q.leaf.description
        ),
        "ordinal:rank": float(
            number.ordinal and bool(owner & {"century", "number", "rank", "floor", "grad"})
        ),
        "ordinal": float(number.ordinal),
        "fraction_for_integer": float(q.leaf.kind == "number" and number.value != int(number.value)),
        "counts_things": float(
            not reading[span][:1].isdigit() and any(stem(w.text) in q.tool_stems for w in right[:2])
        ),
        "in_list": float(_in_brackets(reading, span)),
        "in_date": float(any(d.span.overlaps(span) for d in reading.dates) and not owner & TIME_WORDS),
        "in_quote": float(any(x.contains(span) for x in reading.quotes)),
        "not_needed": float(not q.leaf.required),
        "required": 0.0,
    }
    order = [n for n in reading.numbers if not _in_brackets(reading, n.span)]
    wanted = [x for x in q.same_kind if x.required] if q.leaf.required else q.same_kind
    if number in order and q.leaf in wanted:
        i, k = order.index(number), wanted.index(q.leaf)
        out["order:same"] = float(i == k)
        out["order:exact"] = float(i == k and len(order) == len(wanted))
        out["order:last"] = float(len(order) - i == len(wanted) - k)
    return out


def context(q: Question, left: list[Word], right: list[Word]) -> Features:
    """How well the words around a value fit the parameter, and how much better they fit another one."""
    out: Features = {}
    for side, words in (("left", left), ("right", right)):
        for i, word in enumerate(words):
            key = stem(word.text)
            near = 1.0 / (1 + i)
            if key in q.name:
                out[f"{side}:name"] = max(out.get(f"{side}:name", 0.0), near)
            if key in q.own:
                out[f"{side}:own"] = max(out.get(f"{side}:own", 0.0), near)
            elif key in q.leaf.words:
                out[f"{side}:words"] = max(out.get(f"{side}:words", 0.0), near)
            if key in q.others:
                out[f"{side}:others"] = max(out.get(f"{side}:others", 0.0), near)
            if (side == "left" and word.after) or (side == "right" and word.before):
                break
    preposition = left[0].text.lower() if left and not left[0].after else ""
    roles = ROLES.get(preposition, ())
    out["role:match"] = float(bool(q.lead & set(roles)))
    rivals = [x for x in q.same_kind if x is not q.leaf]
    out["role:rival"] = float(
        any(set(re.findall(r"[a-z]+|\d", x.name.lower())) & set(roles) for x in rivals)
        and not out["role:match"]
    )
    return out


def _unit_after(reading: Reading, span: Span) -> str:
    match = re.match(r"\s?-?(°?[A-Za-z°]+(?:/[a-z]+\^?[²2]?|\^\d|[²³])?)", reading.text[span.end :])
    word = match[1].lower() if match else ""
    return "" if word in ("and", "or", "to", "with", "for", "of") else word


def _in_brackets(reading: Reading, span: Span) -> bool:
    opened = reading.text.rfind("[", 0, span.start)
    return opened >= 0 and "]" not in reading.text[opened : span.start]
