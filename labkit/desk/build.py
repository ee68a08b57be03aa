"""Making a desk: the same seed gives the same rows, on every machine and with every Python."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from labkit.desk.shop import CUSTOMERS, PROBLEMS, PRODUCTS, TIMES, TODAY, WEEK
from labkit.desk.store import APPLICATION_ID, SCHEMA, TABLES, VERSION, WAIT_S, explain
from labkit.errors import ConfigError

T = TypeVar("T")
FIRST_CUSTOMER, FIRST_ORDER, FIRST_TICKET = 1001, 20001, 5001
ORDERS, TAKEN = 40, 22
START = date(2026, 11, 10)
"""The day of the oldest order."""


def build(path: Path | str, seed: int = 7) -> Path:
    """Make a desk, or put an existing one back to its first state.

    An existing desk is refilled in one transaction: whoever has it open sees the old rows or the new ones.

    Args:
        path: Where; missing folders are made.
        seed: Another seed gives other orders, tickets and taken slots to the same customers and products.

    Returns:
        The path.

    Raises:
        ConfigError: There is another file at this path, or it is locked or cannot be written.

    Example:
        >>> import tempfile
        >>> path = build(Path(tempfile.mkdtemp()) / "desk.db")
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as db:
            _refuse_foreign(db, path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            try:
                _fill(db, random.Random(seed))
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise
    except sqlite3.Error as problem:
        raise explain(problem, path, ConfigError) from problem
    except OSError as problem:
        raise ConfigError(
            f"The folder {path.parent} cannot be made: {problem.strerror}.", "Choose another path."
        ) from problem
    return path


def _refuse_foreign(db: sqlite3.Connection, path: Path) -> None:
    mark: int = db.execute("PRAGMA application_id").fetchone()[0]
    things: int = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if things and mark != APPLICATION_ID:
        raise ConfigError(f"{path} holds another database, which is left alone.", "Choose another path.")


def _fill(db: sqlite3.Connection, rng: random.Random) -> None:
    for table in reversed(TABLES):  # those that refer to others first
        db.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    _insert(db, "customers", ((f"C-{i}", *customer) for i, customer in enumerate(CUSTOMERS, FIRST_CUSTOMER)))
    _insert(db, "products", PRODUCTS)
    orders = list(_orders(rng))
    _insert(db, "orders", orders)
    _insert(db, "tickets", _tickets(rng, orders))
    _insert(db, "slots", ((day, time, str(on)) for day, on in WEEK.items() for time in TIMES))
    _insert(db, "callbacks", _callbacks(rng))


def _orders(rng: random.Random) -> Iterator[tuple[Any, ...]]:
    span = (TODAY - START).days + 1
    days = sorted(int(span * rng.random() ** 0.4) for _ in range(ORDERS))  # business grows towards December
    # everybody has an order, some have more
    people = _shuffled(rng, range(len(CUSTOMERS))) + _shuffled(rng, range(len(CUSTOMERS)))
    for i, days_in in enumerate(days):
        sku, _, _, price, _ = _pick(rng, PRODUCTS)
        quantity = 1 if price > 10000 else _pick(rng, (1, 1, 1, 2, 3))
        ordered = START + timedelta(days_in)
        sent = ordered + timedelta(_pick(rng, (1, 2, 3)))
        due = sent + timedelta(4)
        received = sent + timedelta(_pick(rng, (3, 4)))
        row = (FIRST_ORDER + i, f"C-{FIRST_CUSTOMER + people[i]}", sku, quantity, quantity * price)
        if rng.random() < 0.12:
            yield (*row, "cancelled", str(ordered), str(min(sent, TODAY)), None)
        elif received <= TODAY:
            yield (*row, "delivered", str(ordered), str(received), None)
        elif sent <= TODAY:
            yield (*row, "shipped", str(ordered), str(sent), str(due))
        else:
            yield (*row, "processing", str(ordered), str(ordered), str(max(sent, TODAY + timedelta(3))))


def _tickets(rng: random.Random, orders: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    delivered = [order for order in orders if order[5] == "delivered"]
    for i, said in enumerate(PROBLEMS):
        order_id, customer_id, *_, received, _ = _pick(rng, delivered[i :: len(PROBLEMS)])
        age = (TODAY - date.fromisoformat(received)).days
        created = str(TODAY - timedelta(int(rng.random() * (age + 1))))
        status = _pick(rng, ("open", "closed"))
        yield (FIRST_TICKET + i, customer_id, order_id if i % 2 else None, said, status, created)


def _callbacks(rng: random.Random) -> Iterator[tuple[Any, ...]]:
    every = [(day, time) for day in WEEK for time in TIMES]
    for i, (day, time) in enumerate(sorted(_shuffled(rng, every)[:TAKEN], key=every.index), 1):
        yield (i, f"C-{FIRST_CUSTOMER + int(rng.random() * len(CUSTOMERS))}", day, time, str(TODAY))


def _insert(
    db: sqlite3.Connection, table: str, rows: Iterator[tuple[Any, ...]] | Sequence[tuple[Any, ...]]
) -> None:
    every = list(rows)
    db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(every[0]))})", every)


# only random() itself is promised to give the same numbers in every version of Python


def _pick(rng: random.Random, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]


def _shuffled(rng: random.Random, items: Sequence[T]) -> list[T]:
    return [item for _, item in sorted(((rng.random(), item) for item in items), key=lambda pair: pair[0])]
