"""The requests of the course can be solved, and their judge is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from desk_help import HENRIK, MEILIN, change
from hypothesis import given
from hypothesis import strategies as st

from labkit.desk import Desk, cases
from labkit.desk.shop import PRODUCTS, WEEK
from labkit.errors import ConfigError, ToolError

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
