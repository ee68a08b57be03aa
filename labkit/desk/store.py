"""The desk's database: its tables, and connections whose errors say what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from labkit import database
from labkit.errors import LabkitError

APPLICATION_ID = 0x4445534B
"""``DESK`` in ASCII: marks the file as a desk."""
VERSION = 1
TABLES = ("customers", "products", "orders", "tickets", "slots", "callbacks", "outbox")
WAIT_S = 1.0
"""How long a connection waits for another program's lock."""

SCHEMA = """
CREATE TABLE customers (
    customer_id TEXT PRIMARY KEY CHECK (customer_id GLOB 'C-[0-9][0-9][0-9][0-9]'),
    name TEXT NOT NULL, email TEXT NOT NULL UNIQUE COLLATE NOCASE, phone TEXT NOT NULL);
CREATE TABLE products (
    sku TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, also TEXT NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents > 0), stock INTEGER NOT NULL CHECK (stock >= 0));
CREATE TABLE orders (
    order_id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, sku TEXT NOT NULL REFERENCES products,
    quantity INTEGER NOT NULL CHECK (quantity > 0), total_cents INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('processing', 'shipped', 'delivered', 'cancelled')),
    ordered TEXT NOT NULL, changed TEXT NOT NULL, due TEXT);
CREATE TABLE tickets (
    ticket_id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, order_id INTEGER REFERENCES orders,
    said TEXT NOT NULL CHECK (trim(said) <> ''), status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
    created TEXT NOT NULL);
CREATE TABLE slots (
    day TEXT NOT NULL, time TEXT NOT NULL, date TEXT NOT NULL, PRIMARY KEY (day, time)) WITHOUT ROWID;
CREATE TABLE callbacks (
    callback_id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, day TEXT NOT NULL, time TEXT NOT NULL,
    created TEXT NOT NULL, UNIQUE (day, time), FOREIGN KEY (day, time) REFERENCES slots);
CREATE TABLE outbox (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, payload TEXT NOT NULL CHECK (json_valid(payload)), created TEXT NOT NULL, synced TEXT);
"""


@contextmanager
def session(
    path: Path, *, write: bool, error: type[LabkitError], read_only: bool = False, wait_s: float = WAIT_S
) -> Generator[sqlite3.Connection]:
    """A connection for one piece of work; a transaction that is taken back if anything fails inside.

    Args:
        path: The desk's file.
        write: Take the write lock at once.
        error: What to raise when the database cannot be used.
        read_only: Open without the right to write.
        wait_s: Seconds to wait for another program's lock.
    """
    try:
        with closing(open_file(path, read_only=read_only, wait_s=wait_s)) as connection:
            check(connection, path, error)
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
    except (sqlite3.Error, OverflowError) as problem:  # the latter: a number larger than SQLite's
        raise explain(problem, path, error) from problem


def open_file(path: Path, *, read_only: bool = False, wait_s: float = WAIT_S) -> sqlite3.Connection:
    """A connection to a file that must exist, with foreign keys checked; without the right to write if the file gives none."""
    address = path.resolve().as_uri()
    read_only = read_only or not (os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK))
    # a folder that cannot be written has no room for the files of the write-ahead log; without them nobody is writing
    mode = "mode=rw" if not read_only else "mode=ro" if _logged(path) else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{address}?{mode}", uri=True, timeout=wait_s, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def check(connection: sqlite3.Connection, path: Path, error: type[LabkitError]) -> None:
    """Raise if this database is not a desk of this version."""
    mark: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if mark != APPLICATION_ID:
        raise error(f"{path} is a database, but not a support desk.", _BUILD)
    if version != VERSION:
        raise error(f"The desk {path} is of version {version}; this program reads version {VERSION}.", _BUILD)


_BUILD = "Make one with `labkit.desk.build(path)`."


def explain(problem: Exception, path: Path, error: type[LabkitError], *, what: str = "desk") -> LabkitError:
    """SQLite's error as one that says what to do next."""
    name = str(getattr(problem, "sqlite_errorname", "")).removeprefix("SQLITE_")
    if path.is_dir():
        return error(f"{path} is a folder, not a {what}.", "Give the path of a file.")
    if name.startswith("CANTOPEN") and not path.exists():
        return error(f"There is no {what} at {path}.", _BUILD if what == "desk" else "Check the path.")
    for start, (text, hint) in database.REASONS.items():
        if name.startswith(start):
            return error(f"The {what} {text}.", hint)
    return error(f"The database of the {what} failed: {problem}.", "Build a new one if this happens again.")


def _logged(path: Path) -> bool:
    return any(path.with_name(path.name + end).exists() for end in ("-wal", "-shm"))
