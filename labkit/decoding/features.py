"""What speaks for a value, as numbers: one function per kind of parameter, one weight per feature.

The weights were fitted by ``python -m labkit.bench.fit`` (a softmax over each parameter's candidates, with a ridge penalty)
on the even-numbered items of BFCL v4 simple_python. They hold no words, names or values of those items.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from labkit.decoding.text import Number, Reading, Span, Word, date_pattern, stem, stems
from labkit.decoding.values import OMIT, Candidate, Leaf, default, mentions, options
from labkit.tools import Tool

Features = dict[str, float]

ROLES: dict[str, tuple[str, ...]] = {
    "from": (
        "start",
        "origin",
        "from",
        "source",
        "departure",
        "initial",
        "begin",
        "base",
        "old",
        "sender",
        "min",
        "1",
        "first",
        "pickup",
    ),
    "to": (
        "end",
        "destination",
        "to",
        "target",
        "arrival",
        "final",
        "new",
        "recipient",
        "max",
        "2",
        "second",
        "receiver",
        "dropoff",
    ),
    "between": ("start", "origin", "from", "first", "1", "begin"),
    "and": ("end", "destination", "to", "second", "2", "final"),
    "in": (
        "location",
        "city",
        "country",
        "state",
        "place",
        "region",
        "area",
        "year",
        "month",
        "town",
        "language",
        "unit",
        "currency",
        "key",
    ),
    "at": (
        "location",
        "place",
        "venue",
        "time",
        "hotel",
        "restaurant",
        "store",
        "school",
        "university",
        "rate",
        "price",
        "temperature",
    ),
    "near": ("location", "city", "place", "area", "address", "landmark"),
    "around": ("location", "city", "place", "area"),
    "by": (
        "author",
        "artist",
        "director",
        "composer",
        "writer",
        "painter",
        "creator",
        "person",
        "sort",
        "method",
    ),
    "on": ("date", "day", "topic", "platform", "subject"),
    "about": ("topic", "subject", "query", "theme"),
    "since": ("start", "from", "begin"),
    "until": ("end", "to"),
    "under": ("max", "maximum", "limit", "budget"),
    "over": ("min", "minimum"),
    "within": ("max", "maximum", "radius", "distance", "time", "range"),
    "using": ("method", "model", "algorithm", "material", "tool", "medium"),
    "for": ("duration", "days", "name", "person", "years", "purpose", "query", "customer"),
    "with": ("name", "title", "ingredient", "feature", "type", "amenity"),
    "of": ("name", "title", "location", "item", "product", "subject"),
}
"""Which parameters a preposition announces: the words are compared with the parameter's name and the start of its description."""

UNITS: dict[str, tuple[str, ...]] = {
    "length": (
        "m",
        "meter",
        "metre",
        "cm",
        "mm",
        "km",
        "kilometer",
        "kilometre",
        "mile",
        "ft",
        "foot",
        "feet",
        "inch",
        "in",
        "yard",
        "nm",
        "pixel",
    ),
    "mass": ("kg", "g", "gram", "kilogram", "lb", "pound", "mg", "ton", "kgs", "lbs"),
    "time": ("s", "sec", "second", "minute", "min", "hour", "hr", "h", "ms"),
    "period": ("day", "night", "week", "month", "year", "decade", "century"),
    "speed": ("m/s", "km/h", "mph", "kmh", "kph"),
    "acceleration": ("m/s^2", "m/s²", "m/s2"),
    "temperature": ("°c", "°f", "k", "celsius", "fahrenheit", "kelvin", "degree"),
    "money": (
        "dollar",
        "usd",
        "euro",
        "$",
        "cent",
        "pound",
        "yen",
        "budget",
        "price",
        "cost",
        "amount",
        "payment",
        "salary",
        "income",
        "investment",
        "principal",
    ),
    "volume": ("l", "liter", "litre", "ml", "m^3", "m³", "gallon", "cup", "volume"),
    "electric": (
        "v",
        "volt",
        "a",
        "ampere",
        "amp",
        "c",
        "coulomb",
        "ohm",
        "f",
        "farad",
        "h",
        "henry",
        "tesla",
    ),
    "frequency": ("hz", "hertz", "khz", "mhz", "bpm", "tempo", "frequency"),
    "people": ("people", "person", "guest", "adult", "child", "student", "player"),
}
"""Units and the words that go with them, by what they measure."""

_UNIT_OF = {stem(u): kind for kind, units in UNITS.items() for u in units} | {
    u: kind for kind, units in UNITS.items() for u in units
}
_MEASURES = {
    "length": "length distance height width radius diameter depth base side altitude elevation perimeter size wavelength mileage",
    "mass": "mass weight load",
    "time": "time duration minutes hours seconds interval",
    "period": "duration days nights weeks months years period term time age stay",
    "speed": "speed velocity",
    "acceleration": "acceleration gravity",
    "temperature": "temperature temp heat",
    "money": "price cost amount budget salary income money payment principal investment fee dollars usd value payout dividend equity",
    "volume": "volume capacity",
    "electric": "voltage current charge resistance capacitance inductance",
    "frequency": "frequency tempo rate bpm hz note",
    "people": "people guests adults children students players size number servings",
}
_MEASURE_STEMS = {
    kind: {stem(w) for w in words.split()} | {stem(u) for u in UNITS[kind] if len(u) > 2}
    for kind, words in _MEASURES.items()
}
_NEGATIONS = frozenset("no not without don't doesn't never exclude excluding except avoid".split())


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


def features(question: Question, candidate: Candidate) -> Features:
    """Everything that speaks for or against a candidate, without asking the model."""
    leaf = question.leaf
    if candidate.value is OMIT:
        return _omit(question)
    kind = "number" if leaf.kind == "integer" else leaf.kind
    return _BY_KIND.get(kind, lambda q, c: {})(question, candidate)


def _omit(q: Question) -> Features:
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


def _boolean(q: Question, c: Candidate) -> Features:
    spoken = (q.own | q.name) - q.tool_stems & q.reading.stems
    share = len((q.own | q.name) & q.reading.stems) / max(1, len(q.own | q.name))
    negated = any(w.text.lower() in _NEGATIONS for w in q.reading.words)
    yes = float(c.value is True)
    return {
        "true": yes,
        "true:required": yes * q.leaf.required,
        "true:spoken": yes * bool(((q.own | q.name) - q.tool_stems) & q.reading.stems),
        "true:name": yes * len(q.name & q.reading.stems) / max(1, len(q.name)),
        "true:share": yes * share,
        "true:negated": yes * negated * bool(spoken),
        "is_default": float(str(default(q.leaf)).lower() == str(c.value).lower()),
    }


def _choice(q: Question, c: Candidate) -> Features:
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


def _number(q: Question, c: Candidate) -> Features:
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
    out = _context(q, left, right)
    unit, owner = _unit_after(reading, span), q.leaf.words
    measures = {kind for kind, words in _MEASURE_STEMS.items() if words & owner}
    unit_kind = (
        "money" if number.currency else _UNIT_OF.get(unit, _UNIT_OF.get(stem(unit), "")) if unit else ""
    )
    year = (
        1000 <= number.value <= 2100
        and number.value == int(number.value)
        and not number.currency
        and not unit
    )
    rate = bool(owner & _RATES)
    out |= {
        "unit:match": float(unit_kind in measures) if unit_kind else 0.0,
        "unit:clash": float(bool(measures) and unit_kind not in measures) if unit_kind else 0.0,
        "unit:is_word": float(stem(unit) in owner) if len(unit) > 2 else 0.0,
        "year:both": float(year and "year" in owner and not number.percent),
        "year:value_only": float(year and not owner & _TIME_WORDS),
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
        "in_list": float(_in_brackets(reading, span)),
        "in_date": float(any(d.span.overlaps(span) for d in reading.dates) and not owner & _TIME_WORDS),
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


def _context(q: Question, left: list[Word], right: list[Word]) -> Features:
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
            if side == "left" and word.after or side == "right" and word.before:
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


def _string(q: Question, c: Candidate) -> Features:
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
    out = _context(q, left, right)
    out |= {
        "quoted": float(quoted),
        "quote:part": float(not quoted and any(x.overlaps(span) for x in reading.quotes)),
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
        "comma_inside:wanted": float("," in value and bool(q.leaf.words & {"stat", "format"})),
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
        "date:pattern": float(
            c.source == "date" and date_pattern(q.leaf.description) is not None and value != reading[span]
        ),
        "date:iso": float(
            c.source == "date" and date_pattern(q.leaf.description) is None and value != reading[span]
        ),
        "unit:leaf": float("unit" in q.name and stem(value) in _UNIT_OF),
        "unit:other": float("unit" in q.name and stem(value) not in _UNIT_OF),
        "option": float(
            value in options(q.leaf) or value.lower() in [str(o).lower() for o in options(q.leaf)]
        ),
        "place": float(bool(q.leaf.words & _PLACES) and bool(capital) and all(w.capital for w in capital)),
        "person": float(bool(q.leaf.words & _PEOPLE) and bool(capital) and all(w.capital for w in capital)),
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


def _array(q: Question, c: Candidate) -> Features:
    if not c.spans:
        return {"ungrounded": 1.0, "empty": float(not c.value), "not_needed": float(not q.leaf.required)}
    reading, span = q.reading, Span(c.spans[0].start, c.spans[-1].end)
    left, right = reading.near(span, before=4), reading.near(span, after=2)
    bracketed = reading.text[span.start] in "[(" and len(c.spans) == 1
    out = _context(q, left, right)
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


def _unit_after(reading: Reading, span: Span) -> str:
    match = re.match(r"\s?-?(°?[A-Za-z°]+(?:/[a-z]+\^?[²2]?|\^\d|[²³])?)", reading.text[span.end :])
    word = match[1].lower() if match else ""
    return "" if word in ("and", "or", "to", "with", "for", "of") else word


def _in_brackets(reading: Reading, span: Span) -> bool:
    opened = reading.text.rfind("[", 0, span.start)
    return opened >= 0 and "]" not in reading.text[opened : span.start]


_RATES = {
    stem(w)
    for w in "rate percentage percent alpha probability ratio fraction return interest discount yield tax significance frequency growth".split()
}
_TIME_WORDS = {stem(w) for w in "year month day date time hour minute century season period".split()}
_PLACES = {
    stem(w)
    for w in "city location place country state region area town address destination origin origin venue".split()
}
_PEOPLE = {stem(w) for w in "person player artist author actor name director company team".split()}
_BY_KIND = {"string": _string, "number": _number, "boolean": _boolean, "choice": _choice, "array": _array}

__all__ = ["Features", "Question", "features", "pairwise"]
