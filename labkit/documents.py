"""From a document to passages, and from a question to the words that mean something. Plain text in, plain text out."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from textwrap import wrap

from labkit.errors import ConfigError

LONGEST = 1500
"""Characters of a passage."""

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about after again all also always am an and any anybody anyone anything are as at be because been
        before being but by came can cannot come comes coming could d did didn do does doesn doing don done ever
        everything for from get gets getting give go goes going got had has have having he hello help her here
        hi him his how i if in into is isn it its just know let like ll long m many may me mean might more most
        much must my need never no not nothing now of off often ok on once one only or our ours out over please
        possible re really s same say shall she should so some somebody someone something soon still such t take
        tell than thank thanks that the their them then there these they thing things this those to too until up
        us use using usually ve very want was we well were what when where whether which while who whom whose
        why will with within won would yes yet you your yours""",
    )
)


def words(question: str) -> list[str]:
    """The words of a question that mean something, each once, in lower case."""
    found = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", question).lower())
    return [word for word in dict.fromkeys(found) if word not in STOP_WORDS]


def query(terms: Sequence[str]) -> str:
    """An FTS5 query for any of these words; in quotation marks none of them is an operator."""
    return " OR ".join(f'"{term}"' for term in terms)


def clean(text: str) -> str:
    """The text with composed letters and without control characters or halves of characters."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in unicodedata.normalize("NFC", text))


def sentences(text: str) -> list[str]:
    """The sentences of a text; one begins with a capital letter, after a full stop, ``!`` or ``?``."""
    return re.split(r"(?<=[.!?])\s+(?=[\"'(]*\x02?[A-Z])", text)


def pieces(text: str) -> Iterator[str]:
    """A paragraph, or whole sentences of it together if it is longer than ``LONGEST``."""
    piece = ""
    for part in (part for sentence in sentences(text) for part in wrap(sentence, LONGEST)):
        if piece and len(piece) + len(part) > LONGEST:
            yield piece
            piece = ""
        piece = f"{piece} {part}".strip()
    if piece:
        yield piece


def paragraphs(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Title, and (heading, paragraph) for each paragraph; a list belongs to the line before it that ends in a colon."""
    title, heading, found, lines = "", "", list[tuple[str, str]](), list[str]()
    for line in [*text.splitlines(), "# "]:
        mark = re.match(r"(#{1,6})(?:\s+(.*))?$", line.strip())
        if lines and (mark or not (line.strip() or lines[-1].endswith(":"))):
            found += [(heading, piece) for piece in pieces(re.sub(r"\*\*|__|`", "", " ".join(lines)))]
            lines = []
        if mark and not title and len(mark[1]) == 1:
            title = (mark[2] or "").strip()
        elif mark:
            heading = (mark[2] or "").strip()
        elif line.strip():
            item = re.match(r"([-*+]|\d+[.)])\s+(.*)", line.strip())
            end = "" if not item or item[2].endswith((".", "!", "?", ":", ",", ";")) else "."
            words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", item[2] if item else line.strip())
            lines.append(words + end)
    return title, found


def rows(text: str) -> tuple[str, list[tuple[str, str]]]:
    """No title, and for each row of a table (its first value, all its values with their columns' names)."""
    try:
        table = [
            {k: v for k, v in row.items() if k and v}
            for row in csv.DictReader(text.splitlines(keepends=True))
        ]
    except csv.Error as error:
        raise ConfigError(
            f"That is no CSV table: {error}.", "Give it a line of names, and commas."
        ) from error
    return "", [
        (next(iter(row.values())), ". ".join(f"{k}: {v}" for k, v in row.items()) + ".")
        for row in table
        if row
    ]
