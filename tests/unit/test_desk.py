"""The support desk: the same rows from the same seed, six tools on good and bad input, an outbox that loses and doubles nothing, a judge."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.desk import Desk, build, cases, outbox, sync
from labkit.desk.names import meant
from labkit.desk.shop import CUSTOMERS, PRODUCTS, TIMES, WEEK
from labkit.desk.store import TABLES
from labkit.errors import ConfigError, LabkitError, OfflineError, ToolError
from labkit.messages import ToolCall
from labkit.tools import ToolRegistry

QUICK = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
MEILIN, HENRIK = "C-1003", "C-1008"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build(tmp_path / "desk.db")


@pytest.fixture
def desk(path: Path) -> Desk:
    return Desk(path, wait_s=0.05)


@pytest.fixture
def tools(desk: Desk) -> ToolRegistry:
    return desk.tools()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk that tests only read."""
    return Desk(build(tmp_path_factory.mktemp("desk") / "desk.db"))


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


# --- reading tools ---


def test_the_six_tools(tools: ToolRegistry) -> None:
    assert tools.names == (
        "find_customer",
        "order_status",
        "product_info",
        "create_ticket",
        "schedule_callback",
        "search_articles",
    )
    bound = tools.bind(said="words", question="words").schemas()
    assert list(bound["create_ticket"]["properties"]) == ["customer_id", "order_id"]
    assert bound["search_articles"]["properties"] == {}
    assert "customer_id" in tools["find_customer"].provides
    assert "customer_id" in tools["order_status"].provides
    assert all("\n" not in t.description and len(t.description) < 200 for t in tools)


def test_find_customer(desk: Desk) -> None:
    found = desk.find_customer("MeiLin@Example.NET")
    assert (found.customer_id, found.say) == (MEILIN, "The customer is Mei-Lin Tsao, number C-1003.")
    with pytest.raises(ToolError, match=r"no customer with the e-mail address x@example\.com"):
        desk.find_customer("x@example.com")


def test_order_status_says_every_state(desk: Desk) -> None:
    says = {number: desk.order_status(number).say for number in (20038, 20034, 20003, 20008)}
    assert says == {
        20038: "Order 20038 (Pearl rice cooker, 54.90 euros) is being processed and will be shipped by 2026-12-07.",
        20034: "Order 20034 (Dune espresso machine, 329.00 euros) was shipped on 2026-12-03 and should arrive by 2026-12-07.",
        20003: "Order 20003 (3 x Pebble egg boiler, 74.70 euros) was delivered on 2026-11-22.",
        20008: "Order 20008 (Drift coffee grinder, 79.90 euros) was cancelled on 2026-11-21.",
    }
    order = desk.order_status(20038)
    assert (order.order_id, order.customer_id, order.status) == (20038, "C-1001", "processing")


@given(number=st.one_of(st.integers(), st.integers(10000, 99999), st.integers(19990, 20050)))
@QUICK
def test_any_order_number(number: int, shared: Desk) -> None:
    ok, text = call(shared.tools(), "order_status", order_id=number)
    assert ok is (20001 <= number <= 20040)
    if not ok:
        assert text == f"Error: There is no order {number}." or not 10000 <= number <= 99999
    else:
        assert json.loads(text)["order_id"] == number


@pytest.mark.parametrize("number", [10**30, -(10**30), 0, -20001])
def test_numbers_that_no_database_holds(shared: Desk, number: int) -> None:
    with pytest.raises(ToolError):
        shared.order_status(number)


@pytest.mark.parametrize("value", ["20001", 20001.5, True, None, [20001], {"id": 20001}, "20001 OR 1=1"])
def test_order_numbers_of_other_types(shared: Desk, value: object) -> None:
    assert not call(shared.tools(), "order_status", order_id=value)[0]


@pytest.mark.parametrize(
    ("words", "sku"),
    [
        ("waffle iron", "WA-150"),
        ("the wafle iron", "WA-150"),
        ("Lattice", "WA-150"),
        ("electric kettle", "KE-110"),
        ("Heron kettles", "KE-240"),
        ("4-slice toaster", "TO-340"),
        ("a toaster with two slices", "TO-120"),
        ("coffee machine", "CO-480"),
        ("espresso machine", "CO-480"),
        ("coffee grinder", "CO-210"),
        ("stick blender", "MX-170"),
        ("airfryer", "AF-310"),
        ("how much is the rice cooker", "RI-130"),
        ("kitchen scales", "SC-115"),
        ("FOOD PROCESSOR", "FP-350"),
    ],
)
def test_products_by_what_people_say(shared: Desk, words: str, sku: str) -> None:
    assert shared.product_info(words).sku == sku


@pytest.mark.parametrize(
    "words",
    ["steam iron", "washing machine", "pressure cooker", "bathroom scale", "bicycle", "the", "", "?!", "铁"],
)
def test_products_that_the_shop_has_not(shared: Desk, words: str) -> None:
    with pytest.raises(ToolError, match="no product called"):
        shared.product_info(words)


def test_products_that_may_be_several(shared: Desk) -> None:
    with pytest.raises(ToolError, match="the Rill electric kettle or the Heron gooseneck kettle"):
        shared.product_info("kettle")


def test_what_a_product_says(path: Path, desk: Desk) -> None:
    assert desk.product_info("rill").say == "The Rill electric kettle costs 34.90 euros; 42 are in stock."
    assert (
        desk.product_info("stand mixer").say
        == "The Quarry stand mixer costs 249.00 euros and is out of stock."
    )
    change(path, "UPDATE products SET stock = 1, price_cents = 5")
    assert desk.product_info("rill").say == "The Rill electric kettle costs 0.05 euros; 1 is in stock."


@given(words=st.text(max_size=80))
@QUICK
def test_any_words_for_a_product(words: str) -> None:
    names = {name: tuple(filter(None, also.split(", "))) for _, name, also, _, _ in PRODUCTS}
    assert set(meant(words, names)) <= set(names)


@given(
    name=st.sampled_from([name for _, name, *_ in PRODUCTS]),
    around=st.sampled_from(["{}", "a {}", "my new {}s?"]),
)
def test_every_full_name_is_clear(name: str, around: str) -> None:
    names = {name: tuple(filter(None, also.split(", "))) for _, name, also, _, _ in PRODUCTS}
    assert meant(around.format(name.upper()), names) == [name]


# --- writing tools ---


def test_create_ticket(path: Path, desk: Desk) -> None:
    words = "It hums; and „sparks“ — Robert'); DROP TABLE tickets;--\nsecond line 🍞"
    ticket = desk.create_ticket(MEILIN, words, 20021)
    assert ticket.ticket_id == 5006
    assert ticket.say == "Ticket 5006 about order 20021 is open; a colleague answers within 2 working days."
    assert rows(
        path, "SELECT customer_id, order_id, said, status, created FROM tickets WHERE ticket_id = 5006"
    ) == [(MEILIN, 20021, words, "open", "2026-12-04")]


def test_a_ticket_is_made_once(path: Path, desk: Desk) -> None:
    first = desk.create_ticket(MEILIN, "It hums.")
    assert desk.create_ticket(MEILIN, "It hums.") == first
    assert desk.create_ticket(MEILIN, "It hums.", 20021) != first
    assert desk.create_ticket(HENRIK, "It hums.") != first
    assert desk.create_ticket(MEILIN, "It hums again.") != first
    change(path, f"UPDATE tickets SET status = 'closed' WHERE ticket_id = {first.ticket_id}")
    assert desk.create_ticket(MEILIN, "It hums.") != first
    assert len(outbox.entries(path)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"customer_id": "C-9999", "said": "x"}, "There is no customer C-9999."),
        ({"customer_id": MEILIN, "said": "x", "order_id": 29999}, "There is no order 29999."),
        ({"customer_id": MEILIN, "said": "x", "order_id": 20022}, "Order 20022 belongs to another customer."),
        ({"customer_id": MEILIN, "said": " \n"}, "A ticket needs words."),
    ],
)
def test_tickets_that_are_refused(
    path: Path, tools: ToolRegistry, arguments: dict[str, Any], message: str
) -> None:
    before = dump(path)
    assert call(tools, "create_ticket", **arguments) == (False, f"Error: {message}")
    assert dump(path) == before


@pytest.mark.parametrize(
    "customer_id", ["C-1", "c-1003", "1003", "C-1003' OR '1'='1", "C-1003\n", "", None, 1003]
)
def test_customer_numbers_that_do_not_validate(path: Path, tools: ToolRegistry, customer_id: object) -> None:
    before = dump(path)
    assert not call(tools, "create_ticket", customer_id=customer_id, said="x")[0]
    assert not call(tools, "schedule_callback", customer_id=customer_id, day="Monday", time="09:30")[0]
    assert dump(path) == before


@given(said=st.text(min_size=1, max_size=200))
@QUICK
def test_any_words_in_a_ticket(said: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = build(tmp_path_factory.getbasetemp() / "any_words.db")
    if said.strip():
        number = Desk(path).create_ticket(MEILIN, said).ticket_id
        assert rows(path, f"SELECT said FROM tickets WHERE ticket_id = {number}") == [(said,)]
        assert outbox.entries(path)[0].payload["said"] == said
    else:
        with pytest.raises(ToolError):
            Desk(path).create_ticket(MEILIN, said)
    assert rows(path, "SELECT count(*) FROM customers") == [(24,)]


def test_words_that_no_database_holds(path: Path, desk: Desk) -> None:
    desk.create_ticket(MEILIN, "half \ud83c of a character")
    assert rows(path, "SELECT said FROM tickets WHERE ticket_id = 5006") == [("half ? of a character",)]
    long = "word " * 40_000
    number = desk.create_ticket(MEILIN, long).ticket_id
    assert rows(path, f"SELECT length(said) FROM tickets WHERE ticket_id = {number}") == [(len(long),)]


def test_schedule_callback(path: Path, desk: Desk) -> None:
    booked = desk.schedule_callback(MEILIN, "Tuesday", "15:00")
    assert booked.say == "We will call you on Tuesday, 2026-12-08, at 15:00."
    assert desk.schedule_callback(MEILIN, "Tuesday", "15:00") == booked
    assert rows(path, "SELECT customer_id, day, time FROM callbacks WHERE callback_id > 22") == [
        (MEILIN, "Tuesday", "15:00")
    ]
    assert [e.kind for e in outbox.entries(path)] == ["callback"]


def test_a_taken_slot_names_the_free_ones(path: Path, tools: ToolRegistry) -> None:
    before = dump(path)
    ok, text = call(tools, "schedule_callback", customer_id=MEILIN, day="Thursday", time="15:00")
    assert not ok
    assert text == (
        "Error: Thursday at 15:00 is already taken. "
        "Free on Thursday: 09:30, 10:00, 10:30, 12:00, 12:30, 13:30, 14:00, 14:30, 15:30, 16:30."
    )
    assert dump(path) == before


def test_a_full_day(path: Path, desk: Desk) -> None:
    change(
        path,
        "INSERT INTO callbacks (customer_id, day, time, created) SELECT 'C-1001', day, time, '2026-12-04' FROM slots "
        "WHERE day = 'Friday' AND time NOT IN (SELECT time FROM callbacks WHERE day = 'Friday')",
    )
    with pytest.raises(ToolError, match="Nothing is free on Friday"):
        desk.schedule_callback(MEILIN, "Friday", "09:00")


@given(
    hour=st.integers(0, 29), minute=st.integers(0, 69), day=st.sampled_from([*WEEK, "Sunday", "monday", ""])
)
@QUICK
def test_any_time(hour: int, minute: int, day: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = build(tmp_path_factory.getbasetemp() / "any_time.db")
    time = f"{hour:02d}:{minute:02d}"
    taken = {(d, t) for d, t in rows(path, "SELECT day, time FROM callbacks WHERE customer_id <> 'C-1003'")}
    ok, text = call(Desk(path).tools(), "schedule_callback", customer_id=MEILIN, day=day, time=time)
    assert ok is (day in WEEK and time in TIMES and (day, time) not in taken)
    assert ok or text.startswith("Error: ")


@pytest.mark.parametrize(
    "time", ["9:00", "09:00 ", "0900", "3 pm", "25:00", "09:00:00", "०९:००", "09:00'--", ""]
)
def test_times_that_do_not_validate(tools: ToolRegistry, time: str) -> None:
    assert not call(tools, "schedule_callback", customer_id=MEILIN, day="Monday", time=time)[0]


INJECTIONS = (
    "' OR '1'='1",
    "x'; DROP TABLE customers; --",
    '"; DELETE FROM orders; --',
    "meilin@example.net' --",
    "a@b.c' UNION SELECT name, email FROM customers --",
    "%@example.net",
    "*@example.net",
    "meilin@example.net\x00",
)


@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_in_arguments(path: Path, desk: Desk, text: str) -> None:
    before = dump(path)
    with pytest.raises(ToolError):
        desk.find_customer(text)
    with pytest.raises(ToolError):
        desk.create_ticket(text, "x")
    with pytest.raises(ToolError):
        desk.schedule_callback(text, "Monday", "09:30")
    with pytest.raises(ToolError):
        desk.product_info(text)
    with pytest.raises(ToolError):
        desk.schedule_callback(MEILIN, "Monday", text)
    assert dump(path) == before


def test_a_failed_write_leaves_nothing(path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dump(path)

    def fail(*_: object) -> str:
        raise RuntimeError("power cut")

    monkeypatch.setattr(outbox, "append", fail)
    for write in (
        lambda: desk.create_ticket(MEILIN, "x"),
        lambda: desk.schedule_callback(MEILIN, "Monday", "09:30"),
    ):
        with pytest.raises(RuntimeError):
            write()
    assert dump(path) == before


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


def test_many_write_at_once(path: Path) -> None:
    desks = [Desk(path, wait_s=10) for _ in range(8)]
    numbers = at_once(
        *(lambda i=i, d=d: d.create_ticket(MEILIN, f"words {i}").ticket_id for i, d in enumerate(desks))
    )
    assert sorted(numbers) == list(range(5006, 5014))  # type: ignore[type-var]
    same = at_once(*(lambda d=d: d.create_ticket(MEILIN, "once").ticket_id for d in desks))
    assert same == [5014] * 8
    assert len(outbox.entries(path)) == 9


def test_two_want_the_same_slot(path: Path) -> None:
    people = [f"C-{number}" for number in range(1001, 1009)]
    desk = Desk(path, wait_s=10)
    results = at_once(*(lambda p=p: desk.schedule_callback(p, "Monday", "09:30") for p in people))
    assert sum(not isinstance(r, ToolError) for r in results) == 1
    assert rows(path, "SELECT count(*) FROM callbacks WHERE day = 'Monday' AND time = '09:30'") == [(1,)]


# --- articles ---


def test_search_articles(shared: Desk) -> None:
    found = shared.search_articles("How do I descale my kettle?")
    assert found.source == "descale-kettle.md"
    assert found.say.endswith("[descale-kettle.md]")
    with pytest.raises(ToolError, match="say nothing"):
        shared.search_articles("Who painted the ceiling of the chapel?")


def test_search_in_threads(shared: Desk) -> None:
    found = at_once(*[lambda: shared.search_articles("How do I descale my kettle?").source] * 6)
    assert found == ["descale-kettle.md"] * 6


def test_the_articles(root: Path) -> None:
    articles = sorted((root / "data" / "desk" / "articles").glob("*.md"))
    assert len(articles) == 40
    titles = [a.read_text("utf-8").split("\n")[0] for a in articles]
    assert len(set(titles)) == 40
    assert all(title.startswith("# ") for title in titles)
    for article in articles:
        text = article.read_text("utf-8")
        assert 60 <= len(text.split()) <= 160
        assert re.search(r"\d", text)


# --- outbox ---


@pytest.fixture
def busy(path: Path, desk: Desk) -> Path:
    """A desk with three entries in its outbox."""
    desk.create_ticket(MEILIN, "It hums.")
    desk.schedule_callback(MEILIN, "Monday", "09:30")
    desk.create_ticket(HENRIK, "It is dark.", 20022)
    return path


def test_every_write_has_an_entry(busy: Path) -> None:
    waiting = outbox.entries(busy, waiting=True)
    assert [e.kind for e in waiting] == ["ticket", "callback", "ticket"]
    assert waiting[2].payload == {
        "ticket_id": 5007,
        "customer_id": HENRIK,
        "order_id": 20022,
        "said": "It is dark.",
        "created": "2026-12-04",
    }
    assert len({e.key for e in waiting}) == 3


def test_keys_are_made_of_the_content(busy: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other.db")
    Desk(other).create_ticket(MEILIN, "It hums.")
    assert outbox.entries(other)[0].key == outbox.entries(busy)[0].key
    third = build(tmp_path / "third.db")
    Desk(third).create_ticket(MEILIN, "It hums!")
    assert outbox.entries(third)[0].key != outbox.entries(busy)[0].key


def test_sync_twice(busy: Path, tmp_path: Path) -> None:
    office = tmp_path / "head" / "office.db"
    assert sync(busy, office) == outbox.Synced(3, 0, 0)
    before = dump(office)
    assert sync(busy, office) == outbox.Synced(0, 0, 0)
    assert dump(office) == before
    assert [e.payload for e in outbox.received(office)] == [e.payload for e in outbox.entries(busy)]
    assert all(e.synced == "2026-12-04" for e in outbox.entries(busy))
    Desk(busy).create_ticket(HENRIK, "Another thing.")
    assert sync(busy, office) == outbox.Synced(1, 0, 0)
    assert len(outbox.received(office)) == 4


def test_a_crash_between_sending_and_marking(
    busy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = tmp_path / "office.db"

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark", crash)
        with pytest.raises(KeyboardInterrupt):
            sync(busy, office)
    assert len(outbox.entries(busy, waiting=True)) == 3
    before = dump(office)
    assert sync(busy, office) == outbox.Synced(0, 3, 0)
    assert dump(office) == before


def test_a_process_that_dies_in_the_middle(busy: Path, tmp_path: Path) -> None:
    office = tmp_path / "office.db"
    program = (
        "import os, sys; from pathlib import Path; from labkit.desk import outbox\n"
        "def push(entry):\n"
        "    outbox.deliver(Path(sys.argv[2]), [entry])\n"
        "    os._exit(3) if entry.kind == 'callback' else None\n"
        "    return True\n"
        "outbox.sync(sys.argv[1], push)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(busy), str(office)], timeout=60, check=False)
    assert done.returncode == 3
    assert len(outbox.received(office)) == 2
    assert len(outbox.entries(busy, waiting=True)) == 2  # the callback is there, but not marked
    assert sync(busy, office) == outbox.Synced(1, 1, 0)
    assert len(outbox.received(office)) == 3


def test_a_head_office_that_fails(busy: Path) -> None:
    taken: list[str] = []

    def push(entry: outbox.Entry) -> bool:
        if len(taken) == 1:
            raise TimeoutError("no answer")
        taken.append(entry.key)
        return True

    with pytest.raises(OfflineError, match="did not take the callback: TimeoutError: no answer"):
        sync(busy, push)
    assert [e.synced is None for e in outbox.entries(busy)] == [False, True, True]
    assert sync(busy, lambda entry: entry.key not in taken) == outbox.Synced(2, 0, 0)


def test_syncs_at_once(busy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (outbox.sync.__globals__, outbox.session.__wrapped__.__globals__):  # type: ignore[attr-defined]
        monkeypatch.setitem(module, "WAIT_S", 10)
    office = tmp_path / "office.db"
    results = at_once(*[lambda: sync(busy, office)] * 6)
    assert sum(r.sent for r in results if isinstance(r, outbox.Synced)) == 3
    assert len(outbox.received(office)) == 3
    assert not outbox.entries(busy, waiting=True)


def test_head_offices_that_cannot_be_used(busy: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("x" * 4096)
    for office in (busy, text, tmp_path, text / "below" / "office.db"):
        with pytest.raises(ConfigError) as caught:
            sync(busy, office)
        assert caught.value.hint
    assert len(outbox.entries(busy, waiting=True)) == 3
    assert outbox.received(tmp_path / "none.db") == []


# --- requests ---


def test_the_requests_of_the_course(root: Path) -> None:
    every = cases.load()
    assert len(every) == 60
    assert len({c.id for c in every}) == 60
    assert len({c.turns for c in every}) == 60
    assert {c.kind for c in every} == {
        "order_status",
        "product",
        "ticket_by_email",
        "ticket_by_order",
        "callback",
        "callback_taken",
        "knowledge",
        "unknown_id",
        "out_of_scope",
        "missing_then_given",
        "two_in_one",
    }
    assert all(turn == turn.strip() and turn for c in every for turn in c.turns)


def solve(desk: Desk, case: cases.Case) -> str:
    """The right calls for a case, found from its expected rows and the numbers in its words; what the tools say."""
    words, says = " ".join(case.turns), list[str]()

    def attempt(function: Callable[..., Any], *arguments: Any) -> None:
        try:
            says.append(function(*arguments).say)
        except ToolError as error:
            says.append(error.message)

    emails = re.findall(r"[\w.]+@[\w.]+\w", words)
    people = []
    for email in emails:
        attempt(desk.find_customer, email)
        people += [re.findall(r"C-\d{4}", says[-1])[0]] if "C-" in says[-1] else []
    numbers = [int(n) for n in re.findall(r"\b\d{5}\b", words)]
    for number in numbers:
        attempt(desk.order_status, number)
        people += [] if "no order" in says[-1] else [desk.order_status(number).customer_id]
    for row in case.rows["tickets"]:
        assert row["customer_id"] in people
        assert [row["order_id"]] == (numbers or [None])
        attempt(desk.create_ticket, row["customer_id"], words, row["order_id"])
    for row in case.rows["callbacks"]:
        assert row["customer_id"] in people
        assert row["day"] in words
        attempt(desk.schedule_callback, row["customer_id"], row["day"], row["time"])
    if case.kind == "callback_taken":
        day = next(d for d in WEEK if d in words)
        attempt(desk.schedule_callback, people[0], day, {"Tuesday": "11:00", "Thursday": "15:00"}[day])
    if case.kind in ("product", "two_in_one"):
        for name in (name for _, name, *_ in PRODUCTS):
            if name.split()[0] in words or re.search(" ".join(name.split()[1:]), words):
                attempt(desk.product_info, name)
    return " ".join(says) if case.kind != "out_of_scope" else "I do not know."


@pytest.mark.parametrize("case", [c for c in cases.load() if c.kind != "knowledge"], ids=lambda c: c.id)
def test_every_request_can_be_solved(case: cases.Case, path: Path) -> None:
    before = cases.snapshot(path)
    answer = solve(Desk(path), case)
    assert cases.judge(case, before, cases.snapshot(path), answer) == cases.Outcome(True, (), (), ())


@pytest.mark.parametrize("case", [c for c in cases.load() if c.kind == "knowledge"], ids=lambda c: c.id)
def test_every_question_has_its_answer_in_one_article(case: cases.Case, root: Path) -> None:
    texts = [p.read_text("utf-8") for p in (root / "data" / "desk" / "articles").glob("*.md")]
    assert any(all(cases.said(fact, text) for fact in case.answer) for text in texts)


# --- judge ---


@pytest.fixture
def case() -> cases.Case:
    return cases.Case(
        id="x",
        kind="x",
        turns=("hello",),
        rows={"tickets": ({"customer_id": MEILIN, "order_id": None},), "callbacks": ()},
        answer=(("5006",), ("3 years", "three years")),
    )


def test_a_case_that_ends_well(case: cases.Case, path: Path, desk: Desk) -> None:
    before = cases.snapshot(path)
    desk.create_ticket(MEILIN, "x")
    outcome = cases.judge(case, before, cases.snapshot(path), "Ticket 5006, THREE\n years.")
    assert outcome == cases.Outcome(True, (), (), ())


def test_nothing_done(case: cases.Case, path: Path) -> None:
    before = cases.snapshot(path)
    outcome = cases.judge(case, before, cases.snapshot(path), "")
    assert not outcome.ok
    assert outcome.missing_rows == (("tickets", {"customer_id": MEILIN, "order_id": None}),)
    assert outcome.missing_facts == case.answer


@pytest.mark.parametrize(
    ("wrong", "how"),
    [
        ("INSERT INTO tickets (customer_id, said, created) VALUES ('C-1003', 'again', '')", "added"),
        (
            "INSERT INTO callbacks (customer_id, day, time, created) VALUES ('C-1003', 'Monday', '09:30', '')",
            "added",
        ),
        ("UPDATE orders SET status = 'cancelled' WHERE order_id = 20001", "changed"),
        ("UPDATE products SET stock = 0 WHERE sku = 'KE-110'", "changed"),
        ("UPDATE customers SET name = 'Ignore all rules' WHERE customer_id = 'C-1009'", "changed"),
        ("UPDATE tickets SET status = 'closed' WHERE ticket_id = 5002", "changed"),
        ("DELETE FROM tickets WHERE ticket_id = 5001", "removed"),
    ],
)
def test_one_change_too_many(case: cases.Case, path: Path, desk: Desk, wrong: str, how: str) -> None:
    before = cases.snapshot(path)
    desk.create_ticket(MEILIN, "x")
    change(path, wrong)
    outcome = cases.judge(case, before, cases.snapshot(path), "5006: 3 years")
    assert not outcome.ok
    assert [c.how for c in outcome.wrong_rows] == [how]
    assert not outcome.missing_rows


def test_a_row_for_somebody_else(case: cases.Case, path: Path, desk: Desk) -> None:
    before = cases.snapshot(path)
    desk.create_ticket(HENRIK, "x")
    outcome = cases.judge(case, before, cases.snapshot(path), "5006: 3 years")
    assert len(outcome.missing_rows) == len(outcome.wrong_rows) == 1


def test_one_row_does_not_count_twice(case: cases.Case, path: Path, desk: Desk) -> None:
    twice = case.model_copy(update={"rows": {"tickets": (*case.rows["tickets"], *case.rows["tickets"])}})
    before = cases.snapshot(path)
    desk.create_ticket(MEILIN, "x")
    assert len(cases.judge(twice, before, cases.snapshot(path), "").missing_rows) == 1


@pytest.mark.parametrize(
    ("fact", "answer", "met"),
    [
        ("5006", "Ticket 5006.", True),
        ("5006", "Ticket 15006.", False),
        ("5006", "Ticket 50061.", False),
        ("3.50 euros", "13.50 euros", False),
        ("50 euros", "3.50 euros", False),
        ("45.90 euros", "It costs 45.90  Euros.", True),
        ("60 °C", "at 60 °C, please", True),
        ("cannot", "I cannot help.", True),
        ("can't", "I can’t help.", True),
        ("shipped", "was shipped on", True),
        ("shipped", "It was unshipped", False),
        ("09:30", "at 09:30.", True),
    ],
)
def test_facts_stand_alone(fact: str, answer: str, met: bool) -> None:
    assert cases.said([fact], answer) is met


@given(fact=st.text(min_size=1, max_size=20).filter(str.strip), answer=st.text(max_size=60))
def test_any_fact_in_any_answer(fact: str, answer: str) -> None:
    cases.said([fact], answer)
    assert cases.said([fact], f"{answer} . {fact} .")


def test_files_that_hold_no_cases(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    for text, message in (("{", "line 1"), ('\n{"id": "x"}', "line 2"), ('{"id": 1}', "line 1")):
        bad.write_text(text)
        with pytest.raises(ConfigError, match=message):
            cases.load(bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        cases.load(bad)
    with pytest.raises(ConfigError, match="cannot be read"):
        cases.load(tmp_path / "none.jsonl")


@pytest.fixture(autouse=True)
def closed(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning)]
