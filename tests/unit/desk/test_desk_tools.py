"""The six tools on good and bad input, and the articles that one of them searches."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from desk_help import HENRIK, MEILIN, QUICK, at_once, call, change, dump, rows
from hypothesis import given
from hypothesis import strategies as st

from labkit.desk import Desk, build, outbox
from labkit.desk.names import meant
from labkit.desk.shop import PRODUCTS, TIMES, WEEK
from labkit.errors import ToolError
from labkit.tools import ToolRegistry

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
