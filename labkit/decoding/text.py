"""Reading a request: its words, numbers, dates, quotations and lists, each with its place in the text.

All rules here are about English in general; the tables at the top are the only place where words are listed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import pairwise


def _split(words: str) -> list[str]:
    return words.split()


_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {w: i for i, w in enumerate(_ONES.split())} | {w: 10 * i for i, w in enumerate(_TENS.split(), 2)}
_LARGE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_OTHER = {"half": 0.5, "dozen": 12, "couple": 2, "single": 1, "once": 1, "twice": 2}
_ORDINALS = _split("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")
_SUFFIX = {"k": 1000, "m": 10**6, "b": 10**9, "bn": 10**9}
_MONTHS = _split("january february march april may june july august september october november december")

STOPWORDS = frozenset(
    _split(
        "a about above after all also am an and any are as at be been before being below between both but "
        "by can could did do does during each for from further given had has have having he her here him "
        "his how i if in into is it its just me more most my no nor not of off on only or other our out "
        "over own please same she should so some such than that the their them then there these they this "
        "those through to too under until up us using was we were what when where which while who whom "
        "whose why will with would you your"
    )
)

ABBREVIATIONS = frozenset(
    ["mr", "mrs", "ms", "dr", "prof", "st", "mt", "jr", "sr", "inc", "ltd", "co", "corp", "vs", "no"]
)

_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−])?(?P<currency>[$€£¥])?(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+)"
    r"(?:(?P<exp>[eE][-+]?\d+)|\s?[x×*]\s?10\s?\^\s?(?P<power>[-+]?\d+))?"
    r"(?:(?P<ordinal>st|nd|rd|th)\b|(?P<suffix>k|M|B|bn)\b|\s?(?P<percent>%|percent\b|per cent\b)"
    r"|[\s-](?P<large>hundred|thousand|million|billion|trillion)\b)?"
)
_QUOTED = re.compile(r"(?<!\w)(['\"“‘`])(.+?)(?:(?<=[^\s])['\"”’`])(?!\w)")
_WORD = re.compile(r"\S+")
_EDGES = ".,;:!?()[]{}<>\"'“”‘’`"


@dataclass(frozen=True)
class Span:
    """A piece of the request: ``text[start:end]``."""

    start: int
    end: int

    def overlaps(self, other: Span) -> bool:
        """Whether both have a character in common."""
        return self.start < other.end and other.start < self.end

    def contains(self, other: Span) -> bool:
        """Whether the other lies inside this one."""
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True)
class Number:
    """A number in the request, in figures or in words.

    Attributes:
        span: Where it stands, with its sign, currency and percent sign.
        value: What it means; a percentage is given as written (8 for 8%).
        percent, currency, ordinal: How it was written.
    """

    span: Span
    value: float
    percent: bool = False
    currency: bool = False
    ordinal: bool = False


@dataclass(frozen=True)
class Date:
    """A date in the request; parts that were not said are None."""

    span: Span
    month: int
    day: int | None = None
    year: int | None = None

    def write(self, pattern: str) -> str | None:
        """The date in a pattern such as ``yyyy-mm-dd``; None when a part that the pattern needs was not said."""
        parts = {"y": self.year, "m": self.month, "d": self.day}
        out = pattern
        for letters in re.findall(r"y+|m+|d+", pattern.lower()):
            if (value := parts[letters[0]]) is None:
                return None
            width = len(letters) if letters[0] != "y" or len(letters) != 3 else 4
            written = f"{value:0{min(width, 4)}d}"
            out = re.sub(
                letters, written[-2:] if letters == "yy" else written, out, count=1, flags=re.IGNORECASE
            )
        return out


@dataclass(frozen=True)
class Word:
    """A word without the punctuation around it; ``before`` and ``after`` are that punctuation."""

    text: str
    span: Span
    before: str
    after: str

    @property
    def capital(self) -> bool:
        """Whether it begins with a capital letter."""
        return self.text[:1].isupper()

    @property
    def stop(self) -> bool:
        """Whether it is one of the small words that carry no content."""
        return self.text.lower() in STOPWORDS


@dataclass(frozen=True)
class Reading:
    """Everything found in one request. Make it with ``read``."""

    text: str
    words: tuple[Word, ...]
    numbers: tuple[Number, ...]
    dates: tuple[Date, ...]
    quotes: tuple[Span, ...]
    stems: frozenset[str] = field(default=frozenset())

    def __getitem__(self, span: Span) -> str:
        return self.text[span.start : span.end]

    def near(self, span: Span, *, before: int = 0, after: int = 0) -> list[Word]:
        """Up to so many words before and after a span, within its sentence, nearest first."""
        left = [w for w in self.words if w.span.end <= span.start][-before:] if before else []
        right = [w for w in self.words if w.span.start >= span.end][:after] if after else []
        return left[::-1] + right


@cache
def read(text: str) -> Reading:
    """Find the words, numbers, dates and quotations of a text."""
    words = tuple(_words(text))
    quotes = tuple(Span(*m.span(2)) for m in _QUOTED.finditer(text))
    dates = tuple(_dates(text))
    figures = list(_figures(text))
    spelled = [n for n in _number_words(words) if not any(n.span.overlaps(f.span) for f in figures)]
    numbers = tuple(sorted([*figures, *spelled], key=lambda n: n.span.start))
    return Reading(text, words, numbers, dates, quotes, stems(text))


@cache
def stem(word: str) -> str:
    """The word in lower case without common endings, so that ``rates`` meets ``rate``."""
    word = word.lower()
    for ending in ("ies", "ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending) + ("y" if ending == "ies" else "")
            break
    return word.removesuffix("e") if len(word) > 3 else word


@cache
def stems(text: str) -> frozenset[str]:
    """The stems of the content words of a text or of a ``snake_case`` or ``camelCase`` name."""
    parts = re.findall(r"[A-Za-zÀ-ÿ]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("_", " ")))
    return frozenset(stem(p) for p in parts if p.lower() not in STOPWORDS)


def lists(reading: Reading) -> Iterator[tuple[Span, list[object]]]:
    """Lists written in brackets, with their values as Python reads them, or as text where it cannot."""
    text, depth, start = reading.text, 0, 0
    for i, c in enumerate(text):
        if c in "[(":
            start, depth = (i, 1) if depth == 0 else (start, depth + 1)
        elif c in "])" and depth:
            depth -= 1
            if depth == 0 and (items := _literal(text[start : i + 1])) is not None:
                yield Span(start, i + 1), items


def runs(reading: Reading, spans: Iterable[Span]) -> Iterator[tuple[Span, ...]]:
    """Enumerations: two or more of the spans joined by commas, ``and``, ``or``, ``&``."""
    run: list[Span] = []
    for a, b in pairwise(sorted(spans, key=lambda s: s.start)):
        run = run or [a]
        if re.fullmatch(r"['\"”’]?\s*(,|;|,?\s*\b(and|or)\b|&)\s*['\"“‘]?", reading.text[a.end : b.start]):
            run.append(b)
            continue
        if len(run) > 1:
            yield tuple(run)
        run = [b]
    if len(run) > 1:
        yield tuple(run)


def date_pattern(description: str) -> str | None:
    """The date format that a description asks for, as ``yyyy-mm-dd``; None when it names none."""
    found = re.search(
        r"(?i)\b(?:y{2,4}|m{2}|d{2})([-/. ])(?:m{2}|d{2}|y{2,4})(?:\1(?:d{2}|y{2,4}))?\b", description
    )
    if found:
        return found[0].lower()
    words = re.search(r"(?i)\b(?:year|month|day)([-/])(?:month|day|year)(?:\1(?:day|year))?\b", description)
    if words:
        pattern = words[0].lower()
        return pattern.replace("year", "yyyy").replace("month", "mm").replace("day", "dd")
    example = re.search(r"\b\d{4}-\d{2}-\d{2}\b", description)
    return "yyyy-mm-dd" if example else None


def _words(text: str) -> Iterator[Word]:
    for m in _WORD.finditer(text):
        core = m[0].strip(_EDGES)
        if not core:
            continue
        at = m.start() + m[0].index(core)
        if (possessive := re.search(r"['’]s?$", core)) and core[-1] in "s'’":
            core = core[: possessive.start()] or core
        if (
            core.count("(") > core.count(")")
            or core[-1:] in "+#"
            or (m[0][at - m.start() + len(core) :][:1] == ")" and "(" in core)
        ):
            core = text[at : at + len(core) + (text[at + len(core) : at + len(core) + 1] == ")")]
        yield Word(core, Span(at, at + len(core)), text[m.start() : at], text[at + len(core) : m.end()])


def _figures(text: str) -> Iterator[Number]:
    for m in _NUMBER.finditer(text):
        value = float(m["digits"].replace(",", "") + (m["exp"] or ""))
        value *= (
            10 ** int(m["power"] or 0)
            * _SUFFIX.get((m["suffix"] or "").lower(), 1)
            * _LARGE.get(m["large"] or "", 1)
        )
        if m["exp"] or m["power"]:
            value = float(f"{value:.12g}")
        sign = m["sign"] and (m.start() == 0 or text[m.start() - 1] in " ([,=$")
        yield Number(
            Span(*m.span()),
            -value if sign else value,
            bool(m["percent"]),
            bool(m["currency"]),
            bool(m["ordinal"]),
        )


def _number_words(words: tuple[Word, ...]) -> Iterator[Number]:
    run: list[tuple[str, Word]] = []
    for word in (*words, None):
        parts = word.text.lower().split("-") if word else []
        known = [p for p in parts if p in _SMALL or p in _LARGE or p in _OTHER]
        if word and known and known[0] == parts[0] and (len(known) == len(parts) or parts[0] in _SMALL):
            run += [(p, word) for p in known]
            if not word.after and len(known) == len(parts):
                continue
        elif word and run and parts == ["and"] and run[-1][0] in _LARGE:
            continue
        if run:
            yield Number(Span(run[0][1].span.start, run[-1][1].span.end), _say([p for p, _ in run]))
            run = []
        if word and word.text.lower() in _ORDINALS:
            yield Number(word.span, _ORDINALS.index(word.text.lower()) + 1, ordinal=True)


def _say(parts: list[str]) -> float:
    total, current = 0.0, 0.0
    for part in parts:
        if part in _LARGE:
            current = max(current, 1) * _LARGE[part]
            if _LARGE[part] > 100:
                total, current = total + current, 0.0
        elif part in _OTHER:
            current = max(current, 1) * _OTHER[part]
        else:
            current += _SMALL[part]
    return total + current


def _month(word: str) -> int | None:
    word = word.lower().rstrip(".")
    return next(
        (
            i
            for i, m in enumerate(_MONTHS, 1)
            if len(word) >= 3 and (m == word or m[: max(3, len(word))] == word)
        ),
        None,
    )


_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_NAME = r"(?P<name>(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*)\.?"
_YEAR = r"(?P<year>\d{4})"
_DATES = [
    re.compile(p, re.IGNORECASE)
    for p in (
        rf"\b{_NAME}[\s.]*{_DAY}(?:,?\s*|\s+of\s+){_YEAR}\b",
        rf"\b{_DAY}\s+(?:of\s+)?{_NAME},?\s*{_YEAR}\b",
        rf"\b{_YEAR}[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})\b",
        rf"\b(?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})[-/.]{_YEAR}\b",
        rf"\b{_NAME},?\s*{_YEAR}\b",
        rf"\b{_NAME}\s*{_DAY}\b",
        rf"\b{_DAY}\s+(?:of\s+)?{_NAME}\b",
    )
]


def _dates(text: str) -> Iterator[Date]:
    taken: list[Span] = []
    for pattern in _DATES:
        for m in pattern.finditer(text):
            span, got = Span(*m.span()), m.groupdict()
            month = _month(got["name"]) if got.get("name") else int(got["month"])
            day, year = (int(got[k]) if got.get(k) else None for k in ("day", "year"))
            if month and month > 12 and day and day <= 12:
                month, day = day, month
            if month is None or any(span.overlaps(t) for t in taken):
                continue
            try:
                date(year or 2000, month, day or 1)
            except ValueError:
                continue
            taken.append(span)
            yield Date(span, month, day, year)


def _literal(text: str) -> list[object] | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        inner = [part.strip().strip("'\"") for part in text[1:-1].split(",")]
        return list(inner) if text[0] == "[" and all(inner) and "[" not in text[1:] else None
    items = list(value) if isinstance(value, list | tuple) else None
    return [list(i) if isinstance(i, tuple) else i for i in items] if items else None
