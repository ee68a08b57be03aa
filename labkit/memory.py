"""What an agent remembers: conversations and facts in one SQLite file, and the part of a conversation that fits a window.

Each ``add`` is one committed transaction, so a crash loses at most the step in flight. Several kernels may write at once,
even to one session: the order of messages is the order of their commits.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.database import Database
from labkit.errors import ConfigError
from labkit.messages import Message, ToolCall, system
from labkit.window import cut, extract, places

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, pending TEXT DEFAULT '\"\"', first INT DEFAULT 0,"
    " summary TEXT DEFAULT '\"\"', size INT DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS message (n INTEGER PRIMARY KEY, session TEXT, body TEXT)",
    "CREATE INDEX IF NOT EXISTS message_session ON message (session, n)",
    "CREATE TABLE IF NOT EXISTS fact (session TEXT, name TEXT, value TEXT, PRIMARY KEY (session, name))",
)
"""Texts are stored as JSON, which also keeps what is no valid UTF-8."""


class Memory:
    """Conversations by id, in one file.

    Args:
        path: The file; ``:memory:`` is forgotten at the end of the program.

    Raises:
        ConfigError: From every method: the file is locked, read-only, damaged, gone, or its folder is missing.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.database = Database(path, SCHEMA)

    def session(self, id: str) -> Session:
        """The conversation of that id, begun or new. Nothing is written yet."""
        return Session(id, self.database)

    def sessions(self) -> list[str]:
        """The ids of all conversations."""
        return [str(row[0]) for row in self.database.read("SELECT id FROM session ORDER BY id")]

    def export(self, id: str) -> dict[str, Any]:
        """All that is stored about a conversation, as data that JSON can hold.

        Raises:
            ConfigError: There is no such conversation.
        """
        if id not in (known := self.sessions()):
            raise ConfigError(f"There is no session {id!r}.", f"Sessions are: {', '.join(known) or 'none'}.")
        session = self.session(id)
        messages = [_as_dict(message) for message in session.messages]
        return {"id": id, "messages": messages, "facts": session.facts, "pending": session.pending}

    def forget(self, id: str) -> None:
        """Delete a conversation and its facts, so that the file holds no trace of them. Unknown ids are no error."""
        with self.database.transaction() as db:
            for table, column in (("message", "session"), ("fact", "session"), ("session", "id")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (self.session(id).id,))
        self.database.compact()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self.database.close()


class Session:
    """One conversation, by its ``id``. Made by ``Memory.session``; what other programs add to it is seen at once."""

    def __init__(self, id: str, database: Database) -> None:
        if not id or not id.isprintable():
            raise ConfigError(f"{id!r} is no session id.", "Use letters, digits and spaces, at least one.")
        self.id, self._database = id, database

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, oldest first."""
        return tuple(message for _, message in self._numbered())

    def add(self, *messages: Message) -> None:
        """Store a message, or several that belong together: all of them or none."""
        rows = [(self.id, _dumps(_as_dict(message), "The message")) for message in messages]
        with self._writing() as db:
            db.executemany("INSERT INTO message (session, body) VALUES (?, ?)", rows)

    @property
    def facts(self) -> dict[str, Any]:
        """What was remembered, by name."""
        rows = self._database.read("SELECT name, value FROM fact WHERE session = ? ORDER BY rowid", self.id)
        return {json.loads(name): json.loads(value) for name, value in rows}

    def remember(self, name: str, value: Any) -> None:
        """Keep a fact that the user told; a later value replaces it.

        Raises:
            ConfigError: The value is nothing that JSON can hold.
        """
        row = self.id, _dumps(name, "The name"), _dumps(value, f"The fact {name!r}")
        with self._writing() as db:
            db.execute(
                "INSERT INTO fact VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", row
            )

    @property
    def pending(self) -> str:
        """The words of a request that waits for something missing; empty if none does."""
        rows = self._database.read("SELECT pending FROM session WHERE id = ?", self.id)
        return str(json.loads(rows[0][0])) if rows else ""

    @pending.setter
    def pending(self, words: str) -> None:
        with self._writing() as db:
            db.execute("UPDATE session SET pending = ? WHERE id = ?", (_dumps(words, "pending"), self.id))

    def window(
        self,
        count: Callable[[Sequence[Message]], int],
        limit: int,
        summarise: Callable[[Sequence[Message]], str] | None = None,
    ) -> tuple[Message, ...]:
        """The messages for the next request: the system message and the newest turns that fit.

        When they no longer fit, the oldest go until a quarter of the window is free. That place is kept: the next windows begin
        with the same words, which the model need not read again. The facts and a summary of what went stand at the end
        of the system message, if there is room.

        Args:
            count: How many tokens a list of messages costs.
            limit: The most that the window may cost.
            summarise: Makes a short text of the messages that went; by default ``extract``. Called only at a cut.

        Raises:
            ContextOverflow: Not even the newest message fits.
        """
        rows = self._numbered()
        head = [rows.pop(0)[1]] if rows and rows[0][1].role == "system" else []
        turns = [message for _, message in rows]
        stored = self._database.read("SELECT first, summary, size FROM session WHERE id = ?", self.id)
        first, summary, size = stored[0] if stored else (0, '""', 0)
        start = next((i for i in places(turns) if rows[i][0] == first and size == limit), 0)
        kept = self._joined(head, json.loads(summary) if start else None, turns[start:])
        if not kept or count(kept) <= limit:
            return kept
        start = cut(turns, limit, lambda part: count([*head, *part]))
        summary = (summarise or extract)(turns[:start])
        for text in (summary, "", None):
            kept = self._joined(head, text, turns[start:])
            if count(kept) <= limit:
                break
        with self._writing() as db:
            values = (rows[start][0], _dumps(text or "", "The summary"), limit, self.id)
            db.execute("UPDATE session SET first = ?, summary = ?, size = ? WHERE id = ?", values)
        return kept

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with self._database.transaction() as db:
            db.execute("INSERT OR IGNORE INTO session (id) VALUES (?)", (self.id,))
            yield db

    def _numbered(self) -> list[tuple[int, Message]]:
        rows = self._database.read("SELECT n, body FROM message WHERE session = ? ORDER BY n", self.id)
        return [(n, _from_dict(json.loads(body))) for n, body in rows]

    def _joined(self, head: list[Message], summary: str | None, turns: list[Message]) -> tuple[Message, ...]:
        """The window; ``summary`` is None where nothing went, or where there is no room for the facts either."""
        facts = self.facts if summary is not None else {}
        told = "; ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in facts.items())
        text = "\n".join([f"Facts: {told}."] * bool(told) + [f"Earlier: {summary}"] * bool(summary))
        if text:
            head = [system("\n\n".join([m.content for m in head] + [text]))]
        return (*head, *turns)


def _dumps(value: object, what: str) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{what} is no JSON: {error}.", "Use text, numbers, lists or dicts.") from error


def _as_dict(message: Message) -> dict[str, Any]:
    calls = [{**vars(call), "arguments": dict(call.arguments)} for call in message.tool_calls]
    data = {**vars(message), "tool_calls": calls}
    return {key: value for key, value in data.items() if value not in (None, [])}


def _from_dict(data: dict[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in data.get("tool_calls", ()))
    return Message(data["role"], data["content"], calls, data.get("tool_call_id"))
