"""What the tests of the desk look at and do: rows, calls of tools, many threads at once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from labkit.errors import LabkitError
from labkit.messages import ToolCall
from labkit.tools import ToolRegistry

QUICK = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
MEILIN, HENRIK = "C-1003", "C-1008"


def dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        return "\n".join(db.iterdump())


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def call(tools: ToolRegistry, name: str, **arguments: Any) -> tuple[bool, str]:
    result = tools.execute(ToolCall(name, arguments, "call_1"))
    return result.ok, result.content


def at_once(*work: Callable[[], object]) -> list[object]:
    """Run functions in threads that start together; their results, or what they raised."""
    gate, results = threading.Barrier(len(work)), [None] * len(work)

    def run(i: int) -> None:
        gate.wait()
        try:
            results[i] = work[i]()  # type: ignore[call-overload]
        except LabkitError as error:
            results[i] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(results)
