"""Times of day in a request, as people say them: ``3 pm``, ``half past two``, ``10:30``, ``at 10``, ``noon``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from labkit.decoding.text import Span

HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_HOUR = rf"(?P<hour>\d{{1,2}}|{'|'.join(HOURS)})"
_HALF = r"\s*(?P<half>[ap])\.?\s?m\b\.?"
_FORMS = (
    rf"(?<![\d:.,]){_HOUR}(?::|h|\.)(?P<minute>[0-5]\d)(?![\d:])(?:{_HALF})?",
    rf"(?<![\d:.,]){_HOUR}{_HALF}",
    rf"\b(?P<part>half|quarter)\s+(?P<side>past|to)\s+{_HOUR}\b(?:{_HALF})?",
    rf"\b{_HOUR}\s+(?P<spoken>fifteen|thirty|forty-five)\b(?:{_HALF})?",
    rf"\b{_HOUR}\s*o['’]?\s?clock\b",
    r"\b(?P<fixed>noon|midday|midnight)\b",
    rf"\b(?:at|by|around|about|after|from|till|until)\s+{_HOUR}(?![\d:.,]*\d|\s*%)\b",
)
_BARE = re.compile(rf"(?i)(?<![\w#:.,/-]){_HOUR}(?![\w#:/-]|[.,]\d)")
_MINUTES = {"half": 30, "quarter": 15, "fifteen": 15, "thirty": 30, "forty-five": 45}
_FIXED = {"noon": 12, "midday": 12, "midnight": 0}


def wants_time(pattern: str, description: str) -> bool:
    """Whether a parameter is a time of day: its format says so, or its description writes it as ``HH:MM``."""
    return pattern == "time" or bool(re.search(r"\b[Hh]{2}:[Mm]{2}\b", description))


def times(text: str) -> Iterator[tuple[Span, str]]:
    """Every time of day in the text as ``HH:MM``, with its place; both halves of the day where the text leaves it open.

    A bare number counts as an hour only if nothing else in the text is a time.
    """
    found = [(m, *_read(m, text)) for form in _FORMS for m in re.finditer(f"(?i){form}", text)]
    if not any(hours for _, hours, _ in found):
        found = [(m, *_read(m, text)) for m in _BARE.finditer(text)]
    taken: list[Span] = []
    for match, hours, minute in found:
        span = Span(*match.span())
        if any(span.overlaps(t) for t in taken):
            continue
        taken.append(span)
        yield from ((span, f"{hour:02d}:{minute:02d}") for hour in hours)


def _read(match: re.Match[str], text: str) -> tuple[list[int], int]:
    """The hours that a match may mean (none, if it is no time), and its minute."""
    part = {name: said.lower() for name, said in match.groupdict().items() if said}
    if "fixed" in part:
        return [_FIXED[part["fixed"]]], 0
    hour = int(part["hour"]) if part["hour"].isdigit() else HOURS.index(part["hour"]) + 1
    minute = int(part.get("minute", 0)) or _MINUTES.get(part.get("part") or part.get("spoken", ""), 0)
    if part.get("side") == "to":
        hour, minute = (hour - 1) or 12, 60 - minute
    if hour > 23:
        return [], 0
    half = part.get("half") or _half(text, match.start())
    if not half or not 1 <= hour <= 12:
        return ([hour, hour + 12] if 1 <= hour < 12 and not half else [hour]), minute
    return [hour % 12 + 12 if half == "p" else hour % 12], minute


def _half(text: str, at: int) -> str | None:
    """The half of the day that the sentence around a place names."""
    start = max((m.end() for m in re.finditer(r"[.!?]\s", text[:at])), default=0)
    around = re.split(r"[.!?]\s", text[start:])[0].lower()
    if re.search(r"\b(?:afternoon|evening|tonight)\b", around):
        return "p"
    return "a" if "morning" in around else None
