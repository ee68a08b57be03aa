"""SQLite files that several kernels share: WAL, a busy time-out, whole transactions, and errors that say what to do next."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.errors import ConfigError

BUSY_S = 10.0
"""Seconds to wait for another program that is writing."""

REASONS = {
    "BUSY": ("is locked by another program", "Close the program that writes to it, or wait, and try again."),
    "LOCKED": (
        "is locked by another program",
        "Close the program that writes to it, or wait, and try again.",
    ),
    "READONLY": ("cannot be written", "Make the file and its folder writable, or choose another path."),
    "CANTOPEN": ("cannot be opened", "Check the path: its folder must exist and be readable and writable."),
    "NOTADB": ("is no SQLite file", "Choose another path, or move that file away."),
    "CORRUPT": ("is damaged", "Bring back a copy, or move it away: a new one is made."),
    "FULL": ("cannot grow: the disk is full", "Free some space."),
}


class Database:
    """An SQLite file, opened at first use. Threads may share it; every failure is a ``ConfigError``.

    Args:
        path: The file, which is made if its folder exists; or ``:memory:``.
        schema: Statements that make the tables, if they are not there.
    """

    def __init__(self, path: str | Path, schema: Sequence[str]) -> None:
        self.path, self._schema = str(path), schema
        self._lock, self._db = threading.RLock(), None
        self._close: Callable[[], object] = lambda: None

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """All that happens inside is committed together, or not at all."""
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def read(self, sql: str, *values: object) -> list[Any]:
        """The rows of one SELECT."""
        with self._opened() as db:
            return db.execute(sql, values).fetchall()

    def compact(self) -> None:
        """Write the file anew, so that nothing deleted can be found in it.

        Raises:
            ConfigError: Another program reads the file all the time, and keeps its log from being cut.
        """
        with self._opened() as db:
            db.execute("VACUUM")
            busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise ConfigError(
                f"{self.path}: deleted, but traces are left in its -wal file, which another program is reading.",
                "Close that program, then delete once more.",
            )

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._close()
            self._db = None

    @contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._db and self.path != ":memory:" and not Path(self.path).exists():
                    raise ConfigError(
                        f"{self.path} has been deleted or moved.", "Bring it back, or open a new one."
                    )
                yield self._db or self._open()
            except sqlite3.Error as error:
                raise _explained(self.path, error) from error

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA secure_delete = ON")
            _use_wal(db)
            db.execute("BEGIN IMMEDIATE")
            for statement in self._schema:
                db.execute(statement)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        self._db, self._close = db, weakref.finalize(self, db.close)
        return db


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. Where two programs do so at once SQLite does not wait by itself."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "BUSY" not in error.sqlite_errorname or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _explained(path: str, error: sqlite3.Error) -> ConfigError:
    name = getattr(error, "sqlite_errorname", "")
    for key, (what, hint) in REASONS.items():
        if name.startswith(f"SQLITE_{key}"):
            return ConfigError(f"The database {path} {what}.", hint)
    return ConfigError(
        f"The database {path} cannot be used: {error}.", "Choose another path, or move it away."
    )
