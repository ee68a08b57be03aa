"""Several calls from one request: sentence by sentence, and once more for everything that an enumeration adds.

A request such as "dim the kitchen to 80 percent and the hall to 20" is filled once. Where a parameter has a second good value on the
other side of a comma or an ``and``, the first one is struck out of the request and what is left is filled again.
"""

from __future__ import annotations

import re
from dataclasses import replace

from labkit.client import Client
from labkit.decoding.fill import Filled, fill
from labkit.decoding.parameters import OMIT
from labkit.decoding.text import Span
from labkit.decoding.values import Candidate, rebuild
from labkit.tools import Tool

MAX_CALLS = 8
RIVAL = 2.5
"""A second value counts if its log-probability is at most this far below the first one's."""
_SENTENCE = re.compile(r"(?<=[a-z0-9%)'\"][.?!;])\s+(?=[A-Z])|\n+")
_JOINT = re.compile(r"[,;]|\b(?:and|then|plus|or)\b|&")


def sentences(request: str) -> list[str]:
    """The sentences of a request."""
    return [part for part in _SENTENCE.split(request) if part.strip()]


def fill_all(client: Client, tool: Tool, request: str, *, grounded: bool = False) -> list[Filled]:
    """One set of arguments, and one more for each further value that the request enumerates."""
    found: list[Filled] = []
    while len(found) < MAX_CALLS:
        filled = fill(client, tool, request, grounded=grounded)
        enumerated = _enumerated(filled, request)
        values = {path: candidate.value for path, candidate in {**filled.chosen, **enumerated}.items()}
        filled = replace(filled, arguments={**filled.arguments, **rebuild(values)})
        if any(filled.arguments == earlier.arguments for earlier in found):
            break
        found.append(filled)
        if not enumerated:
            break
        request = _strike(request, [span for candidate in enumerated.values() for span in candidate.spans])
    return found


def _enumerated(filled: Filled, request: str) -> dict[tuple[str, ...], Candidate]:
    """For each parameter whose value has a rival elsewhere in the request: the first of them, so that first goes with first."""
    taken = [span for candidate in filled.chosen.values() for span in candidate.spans]
    out: dict[tuple[str, ...], Candidate] = {}
    for slot in filled.slots:
        chosen = filled.chosen[slot.leaf.path]
        if chosen.value is OMIT or not chosen.spans or slot.leaf.kind == "array":
            continue
        logprob = dict(zip(map(id, slot.candidates), slot.logprobs(), strict=True))
        bar = logprob[id(chosen)] - RIVAL
        pairs = zip(slot.candidates, slot.evidence, strict=True)
        good = [
            c
            for c, e in pairs
            if logprob[id(c)] > bar and c.value != chosen.value and not e.get("counts_things")
        ]
        if rivals := [c for c in good if _joined(chosen, c, taken, request)]:
            first = min((chosen, *rivals), key=lambda c: c.spans[0].start)
            same_place = [c for c in (chosen, *rivals) if c.spans[0].overlaps(first.spans[0])]
            out[slot.leaf.path] = max(same_place, key=lambda c: logprob[id(c)])
    return out


def _joined(chosen: Candidate, rival: Candidate, taken: list[Span], request: str) -> bool:
    if not rival.spans or any(a.overlaps(b) for a in rival.spans for b in taken):
        return False
    first, second = sorted((chosen.spans[0], rival.spans[0]), key=lambda span: span.start)
    return bool(_JOINT.search(request[first.end : second.start]))


def _strike(request: str, spans: list[Span]) -> str:
    """The request without these spans, and without the commas and ``and`` that joined nothing any more."""
    for span in sorted(spans, key=lambda s: -s.start):
        request = request[: span.start] + request[span.end :]
    request = re.sub(r"(?:\s*[,;]\s*|\s+and\s+)+(?=[,;.?!]|\s+and\b|$)", " ", request)
    return re.sub(r"\s{2,}", " ", request)
