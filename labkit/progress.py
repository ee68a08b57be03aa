"""Which checks a learner has passed: a small SQLite file in the learner's own data directory, nowhere else."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.config import settings


@dataclass(frozen=True)
class Entry:
    """One check of one learner.

    Attributes:
        check: Its id, such as ``lab01-softmax``.
        passed: Whether it has ever passed.
        tries: How often it has run.
        when: Unix time of the last run, in seconds.
    """

    check: str
    passed: bool
    tries: int
    when: float


def record(check: str, passed: bool) -> None:
    """Add one run. Two kernels may do so at once.

    Raises:
        OSError, sqlite3.Error: The file cannot be written.
    """
    with _open() as db:
        db.execute(
            "INSERT INTO progress VALUES (?, ?, 1, ?) ON CONFLICT(id) DO UPDATE SET"
            " passed = max(passed, excluded.passed), tries = tries + 1, at = excluded.at",
            (check, passed, time.time()),
        )


def entries() -> list[Entry]:
    """All checks that have run, by id. Empty if none has, or if the file cannot be read."""
    try:
        with _open() as db:
            rows = db.execute("SELECT id, passed, tries, at FROM progress ORDER BY id").fetchall()
    except (OSError, sqlite3.Error):
        return []
    return [Entry(str(i), bool(p), int(t), float(w)) for i, p, t, w in rows]


def path() -> Path:
    """The file."""
    return settings().home / "progress.db"


@contextmanager
def _open() -> Generator[sqlite3.Connection]:
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=10)) as db, db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS progress (id TEXT PRIMARY KEY, passed INT, tries INT, at REAL)"
        )
        yield db
