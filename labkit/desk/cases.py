"""Requests with the state they should lead to, and the judge that compares it with the state they led to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from labkit import data
from labkit.desk.store import TABLES, session
from labkit.errors import ConfigError

Row = dict[str, Any]
Snapshot = dict[str, dict[tuple[Any, ...], Row]]
"""Rows by their primary key, by table."""

WATCHED = tuple(table for table in TABLES if table != "outbox")
"""The tables that the judge compares; an entry of the outbox goes with every rightful change."""


class Case(BaseModel):
    """A request, and what is true after it on a desk that was just built.

    Attributes:
        id: Its name.
        kind: What sort of request it is, such as ``order_status``.
        turns: The customer's messages, in order.
        rows: By table, the rows that must be new afterwards; a row may name only some of its columns. No other row may change.
        answer: Facts that the last answer must have; each is a list of alternatives, one of which is enough.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: str
    turns: tuple[str, ...]
    rows: dict[str, tuple[Row, ...]]
    answer: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Change:
    """One row that is not as it was.

    Attributes:
        table: Where it stands.
        how: ``added``, ``changed`` or ``removed``.
        row: As it is now; as it was, if it was removed.
    """

    table: str
    how: str
    row: Row


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        ok: Everything that should be there is, and nothing else changed.
        missing_rows: Expected rows that are not there, each with its table.
        wrong_rows: Changes that nobody expected.
        missing_facts: The alternatives of each fact that the answer does not have.
    """

    ok: bool
    missing_rows: tuple[tuple[str, Row], ...]
    wrong_rows: tuple[Change, ...]
    missing_facts: tuple[tuple[str, ...], ...]


def load(path: Path | str | None = None) -> list[Case]:
    """The cases of a JSONL file; by default those that the course develops with.

    Raises:
        ConfigError: The file is missing, or a line is not a case.
    """
    path = Path(path) if path else data.path("desk/requests.jsonl")
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", "Give the path of a JSONL file.") from error
    cases: list[Case] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                cases.append(Case.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise ConfigError(
                    f"{path.name}, line {number} is not a case: {where} {first['msg']}.", "Correct this line."
                ) from error
    return cases


def snapshot(desk: Path | str) -> Snapshot:
    """Every row of the desk but the outbox's.

    Raises:
        ConfigError: The desk cannot be read.
    """
    found: Snapshot = {}
    with session(Path(desk), write=False, error=ConfigError) as db:
        for table in WATCHED:
            key = db.execute(
                "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (table,)
            ).fetchall()
            rows = [dict(row) for row in db.execute(f"SELECT * FROM {table}")]
            found[table] = {tuple(row[name] for (name,) in key): row for row in rows}
    return found


def changed_rows(before: Snapshot, after: Snapshot) -> list[Change]:
    """Every row that was added, changed or removed."""
    changes: list[Change] = []
    for table in sorted({*before, *after}):
        old, new = before.get(table, {}), after.get(table, {})
        for key in sorted({*old, *new}, key=repr):
            if key not in old:
                changes.append(Change(table, "added", new[key]))
            elif key not in new:
                changes.append(Change(table, "removed", old[key]))
            elif old[key] != new[key]:
                changes.append(Change(table, "changed", new[key]))
    return changes


def judge(case: Case, before: Snapshot, after: Snapshot, answer: str) -> Outcome:
    """Compare what a request led to with what it should lead to.

    Args:
        case: The request.
        before: The desk when it was built.
        after: The desk after the last turn.
        answer: The last answer.
    """
    left = changed_rows(before, after)
    missing: list[tuple[str, Row]] = []
    for table, rows in case.rows.items():
        for wanted in rows:
            met = next(
                (c for c in left if c.table == table and c.how == "added" and _has(c.row, wanted)), None
            )
            if met is None:
                missing.append((table, wanted))
            else:
                left.remove(met)
    unsaid = tuple(fact for fact in case.answer if not said(fact, answer))
    return Outcome(not (missing or left or unsaid), tuple(missing), tuple(left), unsaid)


def said(alternatives: Sequence[str], answer: str) -> bool:
    """Whether one of the alternatives stands in the answer as words or numbers of its own: 5006 is not in 15006."""
    text = _plain(answer)
    return any(re.search(rf"(?<!\w)(?<!\d[.,]){re.escape(_plain(a))}(?!\w)", text) for a in alternatives)


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("’", "'").split())


def _has(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(name in row and row[name] == value for name, value in wanted.items())
