"""What was done without a connection, kept until the head office has it.

Each change of the desk writes one entry in the same transaction, so neither exists without the other. An entry's key is made of its
content: however often it is sent, the head office keeps it once. Entries are sent first and marked afterwards; a crash in between sends
them again, which changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.desk.shop import TODAY
from labkit.desk.store import WAIT_S, explain, session
from labkit.errors import ConfigError, OfflineError

OFFICE_ID = 0x4F464643
"""``OFFC`` in ASCII: marks the file as a head office."""
_NAMESPACE = uuid.UUID("8f3b8a54-6e0b-5a53-9f07-2d1c6c0a7e11")


@dataclass(frozen=True)
class Entry:
    """One change of the desk.

    Attributes:
        key: Made of the content, so that the same change has the same key.
        kind: ``ticket`` or ``callback``.
        payload: The row that was written.
        created: The day on which it was written.
        synced: The day on which the head office had it; None until then.
    """

    key: str
    kind: str
    payload: dict[str, Any]
    created: str
    synced: str | None = None


@dataclass(frozen=True)
class Synced:
    """What a sync did: entries that the head office took now, those it had already, and those left in the outbox."""

    sent: int
    known: int
    waiting: int


Push = Callable[[Entry], bool]
"""Gives an entry to the head office: True if it is new there, False if it was there already. Called again after a crash."""


def append(db: sqlite3.Connection, kind: str, payload: Mapping[str, Any], created: str) -> str:
    """Write an entry within the transaction of the change itself; returns its key."""
    text = json.dumps(payload, ensure_ascii=False, sort_keys=True)
    key = str(uuid.uuid5(_NAMESPACE, f"{kind} {text}"))
    db.execute(
        "INSERT INTO outbox (key, kind, payload, created) VALUES (?, ?, ?, ?)", (key, kind, text, created)
    )
    return key


def entries(desk: Path | str, *, waiting: bool = False) -> list[Entry]:
    """The entries of a desk's outbox, oldest first; only those not yet synced if ``waiting``.

    Raises:
        ConfigError: The desk cannot be read.
    """
    where = "WHERE synced IS NULL" if waiting else ""
    with session(Path(desk), write=False, error=ConfigError) as db:
        rows = db.execute(f"SELECT * FROM outbox {where} ORDER BY rowid").fetchall()
    return [Entry(r["key"], r["kind"], json.loads(r["payload"]), r["created"], r["synced"]) for r in rows]


def sync(desk: Path | str, central: Path | str | Push, *, today: str = str(TODAY)) -> Synced:
    """Send what waits in the outbox to the head office. May be run at any time, twice, or by two programs at once.

    Args:
        desk: The desk's file.
        central: The head office: a file (made if missing), or a function that takes an entry and says whether it was new.
        today: The day to write into ``synced``.

    Raises:
        ConfigError: The desk or the head office's file cannot be used.
        OfflineError: The function failed. What it took before stays marked; the rest stays in the outbox.
    """
    desk = Path(desk)
    waiting = entries(desk, waiting=True)
    if callable(central):
        sent = sum([_push_one(desk, central, entry, today) for entry in waiting])
    else:
        new = deliver(Path(central), waiting) if waiting else set[str]()
        mark(desk, waiting, today)
        sent = len(new)
    return Synced(sent, len(waiting) - sent, len(entries(desk, waiting=True)))


def deliver(central: Path, sent: Sequence[Entry]) -> set[str]:
    """Write entries into the head office's database, all or none; returns the keys that were new to it."""
    try:
        central.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(central, timeout=WAIT_S, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            _require_office(db, central)
            db.execute(
                "CREATE TABLE IF NOT EXISTS received (key TEXT PRIMARY KEY, kind TEXT NOT NULL, payload TEXT NOT NULL, "
                "created TEXT NOT NULL)"
            )
            new: set[str] = set()
            for e in sent:
                payload = json.dumps(e.payload, ensure_ascii=False, sort_keys=True)
                done = db.execute(
                    "INSERT INTO received VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                    (e.key, e.kind, payload, e.created),
                )
                new |= {e.key} if done.rowcount else set()
            db.execute("COMMIT")
            return new
    except sqlite3.Error as problem:
        raise explain(problem, central, ConfigError, what="head office") from problem
    except OSError as problem:
        raise ConfigError(
            f"The folder {central.parent} cannot be made: {problem.strerror}.", "Choose another path."
        ) from problem


def _require_office(db: sqlite3.Connection, path: Path) -> None:
    mark: int = db.execute("PRAGMA application_id").fetchone()[0]
    things: int = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if things and mark != OFFICE_ID:
        raise ConfigError(f"{path} holds another database, which is left alone.", "Choose another path.")
    db.execute(f"PRAGMA application_id = {OFFICE_ID}")


def received(central: Path | str) -> list[Entry]:
    """What the head office has, in the order in which it came."""
    path = Path(central)
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)) as db:
            rows = db.execute("SELECT key, kind, payload, created FROM received ORDER BY rowid").fetchall()
    except sqlite3.Error as problem:
        raise explain(problem, path, ConfigError, what="head office") from problem
    return [Entry(key, kind, json.loads(payload), created) for key, kind, payload, created in rows]


def mark(desk: Path, sent: Sequence[Entry], today: str) -> None:
    """Note in the desk that the head office has these entries."""
    if not sent:
        return
    with session(desk, write=True, error=ConfigError) as db:
        db.executemany(
            "UPDATE outbox SET synced = ? WHERE key = ? AND synced IS NULL", [(today, e.key) for e in sent]
        )


def _push_one(desk: Path, push: Push, entry: Entry, today: str) -> bool:
    try:
        new = push(entry)
    except Exception as problem:
        raise OfflineError(
            f"The head office did not take the {entry.kind}: {type(problem).__name__}: {problem}",
            "Nothing is lost: run the sync again when the connection is back.",
        ) from problem
    mark(desk, [entry], today)
    return bool(new)
