"""The desk as a file: the same rows from the same seed, and what is opened, or refused."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from desk_help import MEILIN, call, change, dump, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.desk import Desk, build, outbox, sync
from labkit.desk.shop import CUSTOMERS, WEEK
from labkit.desk.store import TABLES
from labkit.errors import ConfigError
from labkit.tools import ToolRegistry

# --- building ---


def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    first = dump(build(tmp_path / "a.db"))
    assert first == dump(build(tmp_path / "deep" / "er" / "b.db", seed=7))
    assert first != dump(build(tmp_path / "c.db", seed=8))


@given(seed=st.integers())
@settings(max_examples=10)
def test_every_seed_gives_a_sound_desk(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = build(tmp_path_factory.mktemp("seed") / "desk.db", seed)
    assert rows(path, "PRAGMA foreign_key_check") == []
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT count(*) FROM orders WHERE ordered > changed OR changed > '2026-12-04'") == [
        (0,)
    ]
    assert rows(
        path, "SELECT count(*) FROM orders WHERE (due IS NOT NULL) <> (status IN ('shipped', 'processing'))"
    ) == [(0,)]
    late = "SELECT count(*) FROM tickets JOIN orders USING (order_id) WHERE created < orders.changed"
    assert rows(path, late) == [(0,)]


def test_what_is_in_a_desk(path: Path) -> None:
    counts = {t: rows(path, f"SELECT count(*) FROM {t}")[0][0] for t in TABLES}
    assert counts == {
        "customers": 24,
        "products": 15,
        "orders": 40,
        "tickets": 5,
        "slots": 80,
        "callbacks": 22,
        "outbox": 0,
    }
    assert {s for (s,) in rows(path, "SELECT DISTINCT status FROM orders")} == {
        "processing",
        "shipped",
        "delivered",
        "cancelled",
    }
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "SELECT min(order_id), max(order_id) FROM orders") == [(20001, 20040)]
    assert [day.strftime("%A") for day in WEEK.values()] == list(WEEK)


def test_people_and_addresses_are_invented() -> None:
    for _, email, phone in CUSTOMERS:
        assert re.search(r"@example\.(com|org|net)$", email)
        assert re.fullmatch(r"\+1 \d{3} 555 01\d\d|\+44 (20 7946 0\d{3}|1632 960\d{3}|7700 900\d{3})", phone)


def test_building_again_puts_everything_back(path: Path, desk: Desk) -> None:
    before = dump(path)
    desk.create_ticket(MEILIN, "It hums.")
    desk.schedule_callback(MEILIN, "Monday", "09:30")
    assert dump(path) != before
    build(path)
    assert dump(path) == before
    assert desk.create_ticket(MEILIN, "It hums.").ticket_id == 5006


def test_building_while_somebody_reads(path: Path) -> None:
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM orders").fetchone() == (40,)
        build(path, seed=9)
        assert reader.execute("SELECT count(*) FROM orders").fetchone() == (40,)


def test_building_leaves_other_files_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    change(other, "CREATE TABLE mine (x)")
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but longer than a header would be " * 9)
    for path in (other, text):
        before = path.read_bytes()
        with pytest.raises(ConfigError) as caught:
            build(path)
        assert caught.value.hint
        assert path.read_bytes() == before
    with pytest.raises(ConfigError, match="folder"):
        build(tmp_path)
    with pytest.raises(ConfigError, match="cannot be made"):
        build(text / "inside" / "desk.db")


def test_building_while_somebody_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(build.__globals__, "WAIT_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="locked"):
            build(path)


# --- opening ---


def test_opening_what_is_no_desk(tmp_path: Path, path: Path) -> None:
    with pytest.raises(ConfigError, match="no desk at") as caught:
        Desk(tmp_path / "missing.db")
    assert "build" in caught.value.hint
    assert not (tmp_path / "missing.db").exists()
    with pytest.raises(ConfigError, match="folder"):
        Desk(tmp_path)
    text = tmp_path / "text.db"
    text.write_text("x" * 4096)
    with pytest.raises(ConfigError, match="no SQLite file"):
        Desk(text)
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(ConfigError, match="not a support desk"):
        Desk(empty)
    change(path, "PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="version 99"):
        Desk(path)


def test_a_path_with_signs_that_mean_something_in_addresses(tmp_path: Path) -> None:
    path = build(tmp_path / "a b" / "50%20?mode=ro#x é.db")
    assert Desk(path).create_ticket(MEILIN, "It hums.").ticket_id == 5006
    assert sync(path, tmp_path / "office?.db").sent == 1
    assert len(outbox.received(tmp_path / "office?.db")) == 1


def test_a_damaged_desk(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(ConfigError, match=r"damaged|failed"):
        Desk(path)


def test_a_desk_that_disappears(path: Path, tools: ToolRegistry) -> None:
    for file in path.parent.glob("desk.db*"):
        file.unlink()
    assert call(tools, "order_status", order_id=20001) == (False, f"Error: There is no desk at {path}.")


def test_a_locked_desk(path: Path, desk: Desk, tools: ToolRegistry) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ok, text = call(tools, "create_ticket", customer_id=MEILIN, said="It hums.")
        assert (ok, text) == (False, "Error: The desk is locked by another program.")
        assert call(tools, "order_status", order_id=20001)[0]  # reading goes on
    assert desk.create_ticket(MEILIN, "It hums.").ticket_id == 5006


def test_a_desk_locked_for_reading_too(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE products SET stock = 0")
        with pytest.raises(ConfigError, match="locked"):
            Desk(path, wait_s=0.01)


def test_a_read_only_desk(path: Path) -> None:
    before = dump(path)
    tools = Desk(path, read_only=True).tools()
    assert call(tools, "order_status", order_id=20001)[0]
    for name, arguments in (
        ("create_ticket", {"customer_id": MEILIN, "said": "It hums."}),
        ("schedule_callback", {"customer_id": MEILIN, "day": "Monday", "time": "09:30"}),
    ):
        assert call(tools, name, **arguments) == (False, "Error: The desk cannot be written.")
    assert dump(path) == before


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_without_the_right_to_write(path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = path if what == "file" else path.parent
    real = os.access
    # an administrator may write everywhere, so the rights alone would not show it
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p) != target and real(p, mode))
    tools = Desk(path).tools()
    assert call(tools, "product_info", product="waffle iron")[0]
    assert call(tools, "create_ticket", customer_id=MEILIN, said="x") == (
        False,
        "Error: The desk cannot be written.",
    )
