"""Grounded calls, bound arguments, choosing by example: nothing in a call comes from nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from labkit.client import Client
from labkit.decoding import call_tools
from labkit.decoding.by_example import by_example, has_examples, mask, prompt
from labkit.decoding.fill import fill
from labkit.errors import ToolCallError, ToolError
from labkit.messages import ToolCall
from labkit.tools import ToolRegistry, tool


def book(
    customer_id: Annotated[str, Field(pattern=r"^C-\d{4}$")],
    day: Literal["Monday", "Tuesday"],
    time: Annotated[str, Field(pattern=r"^(09|1[0-6]):[0-5]\d$")],
    order_id: Annotated[int, Field(ge=10000, le=99999)] | None = None,
) -> dict[str, Any]:
    """Book a phone call.

    Args:
        customer_id: Number of the customer.
        day: Day of the call.
        time: Time of the call, as HH:MM.
        order_id: Order number.

    Examples:
        Please call me back on Monday at 2 pm.

        Can someone phone me?
    """
    return {"customer_id": customer_id}


BOOK = ToolRegistry(book)


@pytest.mark.parametrize("strategy", ["choose_fill", "union"])
def test_a_value_that_was_not_said_makes_no_call(model: Client, strategy: Any) -> None:
    decision = call_tools(model, "Call me back.", BOOK, choice="required", strategy=strategy, grounded=True)
    assert decision.calls == ()
    assert {"customer_id", "day", "time"} <= set(decision.missing) | {"customer_id"}
    assert decision.observation


def test_what_was_said_is_taken_in_the_form_that_the_schema_wants(model: Client) -> None:
    words = "This is c-1004, please ring me on Tuesday at half past two about order 20017."
    (call,) = call_tools(model, words, BOOK, choice="required", grounded=True).calls
    assert call.arguments == {"customer_id": "C-1004", "day": "Tuesday", "time": "14:30", "order_id": 20017}


@pytest.mark.parametrize(
    "words",
    [
        "C-1004: Tuesday at 10, not on Monday.",
        "Not Monday! Tuesday at 10 for C-1004",
        "C-1004, Tuesday 10:00 instead of Monday",
    ],
)
def test_what_was_ruled_out_is_not_taken(model: Client, words: str) -> None:
    (call,) = call_tools(model, words, BOOK, choice="required", grounded=True).calls
    assert call.arguments["day"] == "Tuesday"


def test_an_identifier_that_is_not_there_is_left_out(model: Client) -> None:
    (call,) = call_tools(model, "C-1004, Tuesday at 3", BOOK, choice="required", grounded=True).calls
    assert "order_id" not in call.arguments


@given(words=st.text(max_size=120))
def test_a_grounded_call_is_valid_or_names_what_is_missing(model: Client, words: str) -> None:
    filled = fill(model, BOOK["book"], words, ask_model=False, grounded=True)
    if not filled.missing:
        BOOK.validate(ToolCall("book", filled.arguments))
    for name, value in filled.arguments.items():
        said = words.casefold()
        assert name == "time" or str(value).casefold() in said or any(c.isdigit() for c in said)


def test_a_bound_argument_is_out_of_the_schema_and_in_the_call() -> None:
    bound = BOOK.bind(customer_id="C-1004", unknown="x")["book"]
    assert "customer_id" not in bound.parameters["properties"]
    assert bound.parameters["required"] == ["day", "time"]
    assert bound.run({"day": "Monday", "time": "10:00"}) == {"customer_id": "C-1004"}
    with pytest.raises(ToolCallError, match="unknown keys"):
        bound.run({"day": "Monday", "time": "10:00", "customer_id": "C-9999"})
    with pytest.raises(ToolCallError):  # what the program binds is checked too
        BOOK["book"].bind(customer_id="nobody").run({"day": "Monday", "time": "10:00"})
    with pytest.raises(ToolError, match="has no parameter"):
        BOOK["book"].bind(unknown=1)
    assert "customer_id" in BOOK["book"].parameters["properties"]


class Made(BaseModel):
    a: int


class Typed(TypedDict):
    b: int


@dataclass
class Data:
    c: int


@pytest.mark.parametrize(
    ("result", "names"), [(Made, ("a",)), (Typed, ("b",)), (Data, ("c",)), (dict, ()), (str, ())]
)
def test_a_tool_says_what_its_result_provides(result: Any, names: tuple[str, ...]) -> None:
    def give() -> Any:
        """Give."""

    give.__annotations__["return"] = result
    assert tool(give).provides == names


def test_a_tool_says_what_is_wrong_in_its_own_words() -> None:
    def fail() -> str:
        """Fail."""
        raise ToolError("There is no order 29999.", "Ask again.")

    result = ToolRegistry(fail).execute(ToolCall("fail", {}))
    assert (result.ok, result.content) == (False, "Error: There is no order 29999.")


def test_examples_are_read_from_the_docstring() -> None:
    assert BOOK["book"].examples == ("Please call me back on Monday at 2 pm.", "Can someone phone me?")
    assert "Examples" not in BOOK["book"].description
    assert has_examples(BOOK)
    assert not has_examples(ToolRegistry())


@given(st.text(max_size=100))
def test_addresses_and_long_numbers_are_masked(text: str) -> None:
    masked = mask(f"{text} ana@example.com #20017")
    assert "ana@example.com" not in masked
    assert "20017" not in masked


def test_the_tool_whose_examples_are_nearest_is_ahead(model: Client) -> None:
    def price(product: str) -> str:
        """How much does a product cost.

        Args:
            product: Its name.

        Examples:
            How much is the pasta maker?
            What does the juicer cost?
        """
        return ""

    tools = ToolRegistry(price, book)
    texts = [
        "What does the kettle cost?",
        "Could you phone me on Tuesday at 10?",
        "Tell me a story about a cat.",
    ]
    best = [max(scores, key=lambda name: scores[name]) for scores in by_example(model, tools, texts)]
    assert best == ["price", "book", None]
    assert prompt(tools["price"], tools["price"].examples) == prompt(tools["price"], tools["price"].examples)
