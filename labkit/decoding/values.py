"""Values that a parameter could take: read from the request where the schema allows it, from the schema where it lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labkit.decoding.clock import times, wants_time
from labkit.decoding.parameters import OMIT, Leaf, allowed, default, kind_of, options, without_null
from labkit.decoding.text import ABBREVIATIONS, Number, Reading, Span, date_pattern, lists, runs, stems

MAX_WORDS = 8
"""Longest span of plain words offered as a string; a quotation may be longer."""


@dataclass(frozen=True)
class Candidate:
    """A value, and where in the request it stands (nowhere, if the schema or the model gave it).

    Attributes:
        value: A JSON value, or ``OMIT``.
        spans: The pieces of the request that it was read from.
        source: ``word``, ``quote``, ``date``, ``number``, ``list``, ``schema``, ``description``, ``omit``.
        percent: The number was a percentage and was divided by 100.
    """

    value: Any
    spans: tuple[Span, ...] = ()
    source: str = "word"
    percent: bool = False


_FRACTION = re.compile(r"(?i)decimal|fraction|sum to 1|between 0 and 1|0\.\d")


def candidates(leaf: Leaf, reading: Reading) -> list[Candidate]:
    """Every value worth scoring for a leaf, ``OMIT`` among them if it is optional; none that its schema forbids."""
    found = [c for c in _FINDERS[leaf.kind](leaf, reading) if allowed(leaf.schema, c.value)]
    if not leaf.required:
        found.append(Candidate(OMIT, source="omit"))
    unique: dict[str, Candidate] = {}
    for candidate in found:
        unique.setdefault(
            f"{candidate.value!r}{[(s.start, s.end) for s in candidate.spans] if leaf.kind != 'string' else ''}",
            candidate,
        )
    return list(unique.values())


def in_request(candidate: Candidate, leaf: Leaf) -> bool:
    """Whether a candidate is grounded: it stands in the request, says yes or no, or leaves the parameter out."""
    return bool(candidate.spans) or candidate.value is OMIT or leaf.kind == "boolean"


# --- finding values ---


def _strings(leaf: Leaf, reading: Reading) -> Iterator[Candidate]:
    if wants_time(str(leaf.schema.get("format", "")), leaf.description):
        yield from (Candidate(value, (span,), "date") for span, value in times(reading.text))
        return
    if "pattern" in leaf.schema:
        yield from _by_pattern(leaf.schema["pattern"], reading)
        return
    pattern = date_pattern(leaf.description)
    for found in reading.dates:
        written = found.write(pattern or "yyyy-mm-dd")  # ISO, unless the description asks for another form
        yield Candidate(written or reading[found.span], (found.span,), "date")
    for span in reading.quotes:
        yield Candidate(reading[span].rstrip(","), (span,), "quote")
    for span in phrases(reading):
        if not any(found.span == span for found in reading.dates):
            yield Candidate(reading[span], (span,), "word")
    for value in options(leaf):
        yield Candidate(value, mentions(value, reading), "description")
    if (value := default(leaf)) is not OMIT and leaf.required and isinstance(value, str):
        yield Candidate(value, (), "description")


def _by_pattern(pattern: str, reading: Reading) -> Iterator[Candidate]:
    """What a pattern finds in the request; an identifier may be written in small letters."""
    inner = pattern.removeprefix("^").removesuffix("$")
    for match in re.finditer(rf"(?<![^\W_])(?:{inner})(?![^\W_])", reading.text, re.IGNORECASE):
        for value in dict.fromkeys((match[0], match[0].upper())):
            if re.search(pattern, value):
                yield Candidate(value, (Span(*match.span()),), "word")
                break


def phrases(reading: Reading) -> Iterator[Span]:
    """Runs of words that may be a name or a noun phrase: no small words at the ends, no sentence end inside, not part of a quotation."""
    words = [w for w in reading.words if not any(q.contains(w.span) for q in reading.quotes)]
    for i, first in enumerate(words):
        if first.stop and not first.capital:
            continue
        for j in range(i, min(i + MAX_WORDS, len(words))):
            last = words[j]
            if j > i and _breaks(words[j - 1], last):
                break
            letter = last.capital and len(last.text) < 3 and i < j  # "Group A"
            if not last.stop or letter or (i == j and first.capital):
                yield Span(first.span.start, last.span.end)


def mentions(value: Any, reading: Reading) -> tuple[Span, ...]:
    """Where the words of a listed value stand in the request, however they are written; empty if they do not all."""
    wanted: list[str] = re.findall(r"[^\W_]+|[<>=%#+]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(value)))
    if not wanted:
        return ()
    spans: list[Span] = []
    for part in wanted:
        match = next((w.span for w in reading.words if _same(part, w.text)), None)
        if match is None:
            return ()
        spans.append(match)
    return tuple(spans)


def _same(a: str, b: str) -> bool:
    if len(a) < 3 or len(b) < 3:
        return a == b or (a.lower() == b.lower() and a.lower() not in ("a", "i"))
    return bool(stems(a) & stems(b)) or any(_prefix(a.lower(), p) for p in b.lower().split("-"))


def _prefix(a: str, b: str) -> bool:
    """Whether one is the other's beginning, as ``carb`` of ``carbohydrate``."""
    a, b = sorted((a.rstrip("s"), b.rstrip("s")), key=len)
    return len(a) >= 4 and b.startswith(a)


def _numbers(leaf: Leaf, reading: Reading) -> Iterator[Candidate]:
    for number in reading.numbers:
        for value, percent in _readings(number, leaf):
            yield Candidate(value, (number.span,), "number", percent)
    lower = leaf.name.lower()
    for found in reading.dates:
        for part in ("year", "month", "day"):
            value = getattr(found, part)
            if value is not None and part in lower:
                yield Candidate(_typed(float(value), leaf.kind), (found.span,), "date")
    if leaf.required:
        value = default(leaf)
        try:
            yield Candidate(_typed(float(value), leaf.kind), (), "description")
        except (TypeError, ValueError):
            yield from (Candidate(_typed(v, leaf.kind), (), "schema") for v in (0.0, 1.0))


def _readings(number: Number, leaf: Leaf) -> Iterator[tuple[float | int, bool]]:
    """The values that a number may stand for: 8% is 8 or 0.08, and 8 only where the description asks for a percentage."""
    asked = stems(leaf.description) & {"percent", "percentag"} and not _FRACTION.search(leaf.description)
    if leaf.kind == "number" and number.percent and not asked:
        yield float(f"{number.value / 100:.12g}"), True
    if leaf.kind == "number" or number.value == int(number.value):
        yield _typed(number.value, leaf.kind), False


def _typed(value: float, kind: str) -> float | int:
    return int(value) if kind == "integer" else float(value)


def _booleans(leaf: Leaf, reading: Reading) -> Iterator[Candidate]:
    yield Candidate(True, (), "schema")
    yield Candidate(False, (), "schema")


def _choices(leaf: Leaf, reading: Reading) -> Iterator[Candidate]:
    for value in options(leaf):
        yield Candidate(value, mentions(value, reading), "schema")


def _arrays(leaf: Leaf, reading: Reading) -> Iterator[Candidate]:
    items = without_null(leaf.schema.get("items") or {})
    item = Leaf(leaf.path, items, kind_of(items), True, leaf.description)
    if item.kind in ("json", "boolean"):
        return
    if item.kind == "choice":
        found = [(spans, value) for value in options(item) if (spans := mentions(value, reading))]
        found.sort(key=lambda pair: pair[0][0].start)
        if found:
            yield Candidate([v for _, v in found], tuple(s for spans, _ in found for s in spans), "list")
        else:
            yield from (Candidate([value], (), "schema") for value in options(item))
        return
    written = [(span, values) for span, values in lists(reading) if _fits(values, item.kind)]
    for span, values in written:
        yield Candidate([_item(v, item.kind) for v in values], (span,), "list")
    if item.kind in ("integer", "number"):
        yield from _number_lists(item, reading, [s for s, _ in written])
    elif item.kind == "string":
        spans = (*reading.quotes, *phrases(reading))
        for run in _word_runs(reading):
            yield Candidate([reading[s] for s in run], run, "list")
        for span in spans:
            yield Candidate([reading[span]], (span,), "word")
    if leaf.required and item.kind in ("integer", "number", "string"):
        yield Candidate([], (), "schema")


def _number_lists(item: Leaf, reading: Reading, taken: list[Span]) -> Iterator[Candidate]:
    numbers = [n for n in reading.numbers if not any(t.contains(n.span) for t in taken)]
    by_span = {n.span: n for n in numbers}

    def build(spans: tuple[Span, ...], share: bool) -> Candidate | None:
        values = [next((v for v, p in _readings(by_span[s], item) if p == share), None) for s in spans]
        return Candidate(values, spans, "list", share) if None not in values else None

    groups = list(runs(reading, by_span))
    for group in (*groups, tuple(by_span), *((s,) for s in by_span)):
        for share in (True, False):
            if group and (built := build(group, share)):
                yield built
    plain = tuple(s for s, n in by_span.items() if not n.percent)
    shares = tuple(s for s, n in by_span.items() if n.percent)
    for group, share in ((plain, False), (shares, True)):
        if group and len(group) < len(by_span) and (built := build(group, share)):
            yield built


def _word_runs(reading: Reading) -> Iterator[tuple[Span, ...]]:
    """Enumerations of quotations or of phrases: the words between commas and ``and``, cut at small words on the outside."""
    yield from runs(reading, reading.quotes)
    words = reading.words
    run: list[list[int]] = [[]]
    found: list[list[list[int]]] = []
    for i, word in enumerate(words):
        joining = word.text.lower() in ("and", "or", "&") and not word.before
        if joining:
            if run[-1]:
                run.append([])
        elif word.text.lower() in ("the", "a", "an") and not run[-1] and len(run) > 1:
            continue
        elif (word.stop and not word.capital) or word.text.endswith(":"):
            found.append(run)
            run = [[]]
            continue
        else:
            run[-1].append(i)
        if word.after and word.after[-1] in ".;:?!)" and i + 1 < len(words):
            found.append(run)
            run = [[]]
        elif word.after and word.after[-1] == "," and run[-1]:
            run.append([])
    found.append(run)
    for parts in found:
        parts = [p for p in parts if p]
        if len(parts) < 2:
            continue
        for part in (parts, parts[1:], parts[:-1]):
            if len(part) < 2:
                continue
            for cut in range(min(3, len(part[0]))):
                for keep in range(len(part[-1]), max(0, len(part[-1]) - 3), -1):
                    trimmed = [part[0][cut:], *part[1:-1], part[-1][:keep]]
                    yield tuple(Span(words[p[0]].span.start, words[p[-1]].span.end) for p in trimmed)


def _fits(values: list[object], kind: str) -> bool:
    if kind in ("integer", "number"):
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return (
        all(isinstance(v, list) for v in values)
        if kind == "array"
        else kind != "string" or not any(isinstance(v, list) for v in values)
    )


def _item(value: Any, kind: str) -> Any:
    if kind in ("integer", "number"):
        return _typed(value, kind)
    return str(value) if kind == "string" else value


def _generated(leaf: Leaf, reading: Reading) -> Iterator[Candidate]:
    """Nothing: a value of this kind is left out if it is optional, and generated under its schema if not."""
    return iter(())


_FINDERS = {
    "string": _strings,
    "number": _numbers,
    "integer": _numbers,
    "boolean": _booleans,
    "choice": _choices,
    "array": _arrays,
    "json": _generated,
}


def _breaks(left: Any, right: Any) -> bool:
    """Whether a phrase may not run on from one word to the next."""
    if (
        right.span.start - left.span.end > len(left.after) + len(right.before) + 3
    ):  # a quotation was taken out between them
        return True
    if right.before.strip("(") or "(" in right.before:
        return True
    if left.after == "." and left.text.lower() in ABBREVIATIONS:
        return False
    if "," in left.after:
        return not (left.after == "," and left.capital and right.capital)
    return bool(left.after)


def rebuild(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Nested objects from leaf values by path; ``OMIT`` leaves a key out."""
    out: dict[str, Any] = {}
    for path, value in values.items():
        if value is OMIT:
            continue
        node = out
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = value
    return out
