"""Search in the course's or your own documents: SQLite's FTS5 index, passages with their source, and a rule for refusing.

A paragraph is a passage. A question is cut into words and never read as query syntax; what stands in a document is text, and
nothing in it is ever carried out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Annotated

from labkit import documents
from labkit.database import Database
from labkit.errors import ConfigError, ToolError
from labkit.tools import Tool, UserWords, tool

THRESHOLD = 0.45
"""Share of a question, by the weight of its words, that a passage must have to count as an answer."""

KINDS = (".md", ".txt", ".csv")

TERMS = 64
"""Words of a question that are searched, the rarest first."""

SCHEMA = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS passage USING fts5(title, heading, text, source UNINDEXED,"
    " tokenize = 'porter unicode61 remove_diacritics 2')",
)


@dataclass(frozen=True)
class Passage:
    """A paragraph that speaks of a question.

    Attributes:
        source: The file that it stands in.
        title: Its article's title.
        text: The one to three sentences of it that fit the question best.
        snippet: A few words around the places found, which stand between ``**``.
        score: BM25; higher is better, and only the order means something.
        share: How much of the question it has: 0 none, 1 every word. Rare words weigh more.
    """

    source: str
    title: str
    text: str
    snippet: str
    score: float
    share: float


@dataclass(frozen=True)
class Article:
    """What the tool answers: the source, and the words to say, which end with it."""

    source: str
    say: str


class Knowledge:
    """An index of documents.

    Args:
        path: A file for the index, or ``:memory:``.
        threshold: ``answer`` refuses below this share of the question.

    Raises:
        ConfigError: From every method: the index cannot be used, or nothing is in it yet.
    """

    def __init__(self, path: str | Path = ":memory:", threshold: float = THRESHOLD) -> None:
        self.database, self.threshold = Database(path, SCHEMA), threshold

    def add(self, source: str, text: str, title: str | None = None) -> int:
        """Put a document in, in place of what that source said before; the number of its passages.

        Args:
            source: Its name: what an answer cites. Rows of a ``.csv``, and paragraphs of anything else, are passages.
            text: Its text. Nothing in it, and the source is gone from the index.
            title: By default the first ``#`` heading, or the source's name.
        """
        if not source.strip() or not source.isprintable():
            raise ConfigError(
                f"{source!r} is no name for a document.", "Give it one that an answer can cite."
            )
        read = documents.rows if source.lower().endswith(".csv") else documents.paragraphs
        headline, found = read(documents.clean(text))
        name = title or headline or Path(source).stem.replace("_", " ").capitalize()
        rows = [(documents.clean(name), heading, body, source) for heading, body in found]
        with self.database.transaction() as db:
            db.execute("DELETE FROM passage WHERE source = ?", (source,))
            db.executemany("INSERT INTO passage VALUES (?, ?, ?, ?)", rows)
        return len(rows)

    def add_folder(self, path: str | Path) -> int:
        """Put every .md, .txt and .csv file of a folder in, by its path inside that folder; the number of passages.

        Raises:
            ConfigError: There is no such file, or one is not UTF-8.
        """
        base = Path(path)
        files = sorted(f for f in base.rglob("*") if f.suffix.lower() in KINDS and f.is_file())
        if not files:
            raise ConfigError(f"{base} has no .md, .txt or .csv file.", "Check the path of the folder.")
        try:
            texts = {f.relative_to(base).as_posix(): f.read_text(encoding="utf-8-sig") for f in files}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"A document cannot be read: {error}.", "Save it as UTF-8.") from error
        return sum(self.add(source, text) for source, text in texts.items())

    def sources(self) -> list[str]:
        """The names of all documents."""
        rows = self.database.read("SELECT DISTINCT source FROM passage ORDER BY source")
        return [str(row[0]) for row in rows]

    def search(self, question: str, limit: int = 3) -> list[Passage]:
        """The passages that share words with a question, best first; none if it has no word of its own.

        Args:
            question: Any text. Operators and quotation marks mean nothing.
            limit: At most so many.
        """
        (total,) = self.database.read("SELECT count(*) FROM passage")[0]
        if not total:
            raise ConfigError(
                "There is no document to search.", "Put some in: add_folder(path) or add(source, text)."
            )
        places = {term: self._places(term) for term in documents.words(question)}
        weight = {term: math.log((total + 1) / (len(rows) + 0.5)) for term, rows in places.items()}
        known = sorted((t for t in places if places[t]), key=lambda t: -weight[t])[:TERMS]
        if not known:
            return []
        rows = self.database.read(FIND, documents.query(known), limit)
        return [
            Passage(source, title, _best(marked), snippet, score, had / sum(weight.values()))
            for n, source, title, marked, snippet, score in rows
            for had in [sum(w for term, w in weight.items() if n in places[term])]
        ]

    def answer(self, question: str) -> Passage | None:
        """The passage that has most of the question, or None if even that has less than ``threshold``.

        A word counts the more, the fewer passages have it; one that no passage has counts most. So a question about something else is
        refused although a passage has some of its words.
        """
        best = max(self.search(question, 5), key=lambda passage: passage.share, default=None)
        return best if best and best.share >= self.threshold else None

    def tool(self) -> Tool:
        """The tool ``search_articles``, which answers with its source or raises ``ToolError``."""

        def search_articles(question: Annotated[str, UserWords]) -> Article:
            """Look up rules, conditions, prices and instructions in the help articles.

            Args:
                question: The user's question.
            """
            found = self.answer(question)
            if found is None:
                raise ToolError("No article speaks of that.", "Ask in other words, or ask a person.")
            return Article(found.source, f"{found.text} [{found.source}]")

        return tool(search_articles)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self.database.close()

    def _places(self, term: str) -> set[int]:
        rows = self.database.read("SELECT rowid FROM passage WHERE passage MATCH ?", documents.query([term]))
        return {row[0] for row in rows}


FIND = """
SELECT rowid, source, title, highlight(passage, 2, char(2), char(3)), snippet(passage, 2, '**', '**', ' … ', 16),
    -bm25(passage) AS score
FROM passage WHERE passage MATCH ? ORDER BY score DESC, rowid LIMIT ?
"""


def _best(marked: str) -> str:
    """The one to three sentences in a row that have the most different words found; marks stand around these."""
    sentences = documents.sentences(marked)
    groups = [sentences[i : i + 3] for i in range(max(1, len(sentences) - 2))]
    best = max(
        (" ".join(group) for group in groups), key=lambda g: len({*re.findall(r"\x02(.*?)\x03", g.lower())})
    )
    return shorten(re.sub(r"[\x02\x03]", "", best), 600, placeholder=" …")
