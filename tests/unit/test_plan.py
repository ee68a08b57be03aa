"""Plans: what a request needs, in which order, and that no bad plan passes the check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from labkit.client import Client
from labkit.decoding.clock import times
from labkit.plan import MAX_STEPS, Plan, Ref, Step, clauses, make, problems, resolve, show
from labkit.tools import ToolRegistry

CustomerId = Annotated[str, Field(pattern=r"^C-\d{4}$")]


@dataclass(frozen=True)
class Customer:
    customer_id: str
    say: str


@dataclass(frozen=True)
class Order:
    order_id: int
    customer_id: str
    say: str


@dataclass
class Who:
    customer_id: CustomerId


def find_customer(email: Annotated[str, Field(pattern=r"^[\w.]+@[\w.]+\.\w+$")]) -> Customer:
    """Find a customer's account by the e-mail address.

    Args:
        email: E-mail address of the customer.
    """
    return Customer("C-1001", "Found.")


def order_status(order_id: Annotated[int, Field(ge=10000, le=99999)]) -> Order:
    """Where is my order: status of an order and when it will arrive.

    Args:
        order_id: Order number.
    """
    return Order(order_id, "C-1001", "Shipped.")


def schedule_callback(
    customer_id: CustomerId,
    day: Literal["Monday", "Tuesday"],
    time: Annotated[str, Field(pattern=r"^(09|1[0-6]):[0-5]\d$")],
) -> dict[str, Any]:
    """Book a phone call: call the customer back on a weekday at a time.

    Args:
        customer_id: Number of the customer.
        day: Day of the call.
        time: Time of the call, as HH:MM.
    """
    return {}


TOOLS = ToolRegistry(find_customer, order_status, schedule_callback)


def test_a_missing_argument_comes_from_the_tool_that_provides_it(model: Client) -> None:
    plan = make(model, TOOLS, "Please call me back on Tuesday at 3 pm, my email is ana@example.com")
    assert [s.tool for s in plan.steps] == ["find_customer", "schedule_callback"]
    assert not plan.steps[0].goal
    assert plan.steps[1].goal
    assert plan.steps[1].arguments == {
        "customer_id": Ref(0, "customer_id"),
        "day": "Tuesday",
        "time": "15:00",
    }
    assert problems(plan, TOOLS) == []
    assert (
        list(show(plan))[1]
        == "2. schedule_callback(customer_id=<customer_id of 1>, day='Tuesday', time='15:00')"
    )


def test_another_tool_provides_it_if_the_words_fit_that_one(model: Client) -> None:
    plan = make(model, TOOLS, "Please call me back on Monday at 10:30 about order 20017")
    assert plan.steps[0] == Step("order_status", {"order_id": 20017}, goal=False)


def test_a_value_inside_an_object_is_asked_for_and_never_taken_from_a_result(model: Client) -> None:
    def close_account(who: Who) -> str:
        """Close the account of a customer for good.

        Args:
            who: The customer.
        """
        return who.customer_id

    tools = ToolRegistry(find_customer, close_account)
    plan = make(model, tools, "Please close my account for good, my email is ana@example.com")
    assert problems(plan, tools) == []
    assert all(step.tool != "close_account" for step in plan.steps)
    assert "close_account" in {need.tool for need in plan.missing}


def test_the_users_words_come_before_what_is_known(model: Client) -> None:
    known = {"customer_id": "C-1009", "email": "old@example.com"}
    plan = make(model, TOOLS, "Please call me back on Tuesday at 3 pm, my email is ana@example.com", known)
    assert plan.steps[0].arguments == {"email": "ana@example.com"}
    plan = make(model, TOOLS, "Please call me back on Tuesday at 3 pm", known)
    assert plan.steps == (
        Step("schedule_callback", {"customer_id": "C-1009", "day": "Tuesday", "time": "15:00"}),
    )
    plan = make(model, TOOLS, "Please call me back on Tuesday at 3 pm", {"email": "old@example.com"})
    assert plan.steps[0] == Step("find_customer", {"email": "old@example.com"}, goal=False)


def test_nothing_is_made_up(model: Client) -> None:
    plan = make(model, TOOLS, "Please call me back.")
    assert not plan.steps
    assert {n.anyone for n in plan.missing} == {
        ("E-mail address of the customer", "Order number"),
        ("Day of the call",),
        ("Time of the call, as HH:MM",),
    }
    assert "schedule_callback needs: Day of the call" in " ".join(show(plan))


def test_a_known_value_of_the_wrong_form_is_not_used(model: Client) -> None:
    plan = make(model, TOOLS, "Call me back on Tuesday at 3 pm", {"customer_id": "1; DROP TABLE"})
    assert not plan.steps


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((Step("rm_rf", {}),), "no such tool"),
        ((Step("order_status", {"order_id": 1}),), "order_id"),
        ((Step("order_status", {}),), "order_id"),
        ((Step("order_status", {"order_id": Ref(0, "order_id")}),), "does not run before"),
        ((Step("order_status", {"order_id": Ref(-1, "order_id")}),), "does not run before"),
        ((Step("find_customer", {"email": "a@b.cd"}), Step("order_status", {"order_id": Ref(0, "order_id")})), "does not provide"),
        ((Step("find_customer", {"email": "a@b.cd", "root": True}),), "root"),
        ((Step("find_customer", {"email": "a@b.cd"}), Step("find_customer", {"email": "a@b.cd", "x": Ref(0, "say")})), "no parameter x"),
        ((Step("order_status", {"order_id": 20000}),) * (MAX_STEPS + 1), "more than"),
    ],
)  # fmt: skip
def test_a_bad_plan_is_named_before_it_runs(steps: tuple[Step, ...], text: str) -> None:
    assert text in "; ".join(problems(Plan(steps), TOOLS))


_values = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=8),
    st.builds(Ref, st.integers(-2, 9), st.sampled_from(["customer_id", "say", "x"])),
)
_steps = st.builds(
    Step,
    st.sampled_from(["find_customer", "order_status", "schedule_callback", "other"]),
    st.dictionaries(
        st.sampled_from(["email", "order_id", "customer_id", "day", "time", "x"]), _values, max_size=4
    ),
)


@given(st.lists(_steps, max_size=10))
def test_a_plan_that_passes_the_check_can_only_make_valid_calls(steps: list[Step]) -> None:
    plan = Plan(tuple(steps))
    if problems(plan, TOOLS):
        return
    results = [{"customer_id": "C-1001", "order_id": 20000, "say": "x"} for _ in steps]
    for i, step in enumerate(steps):
        call = resolve(step, results, f"call_{i}")
        assert call is not None
        TOOLS.validate(call)


def test_a_step_waits_for_the_result_it_needs() -> None:
    step = Step("order_status", {"order_id": Ref(0, "order_id")})
    assert resolve(step, [None], "c") is None
    assert resolve(step, [], "c") is None
    assert resolve(step, [{"say": "x"}], "c") is None


@given(st.text(max_size=300))
def test_any_words_can_be_cut_into_clauses(words: str) -> None:
    assert all(part.strip() for part in clauses(words))
    for span, value in times(words):
        hour, minute = map(int, value.split(":"))
        assert 0 <= hour < 24
        assert 0 <= minute < 60
        assert words[span.start : span.end].strip()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("at 3 pm", ["15:00"]),
        ("at 12 am", ["00:00"]),
        ("12 pm please", ["12:00"]),
        ("half past two", ["02:30", "14:30"]),
        ("quarter to one", ["12:45"]),
        ("in the afternoon, at 4", ["16:00"]),
        ("tomorrow morning at 9", ["09:00"]),
        ("10:30", ["10:30", "22:30"]),
        ("14h30", ["14:30"]),
        ("noon", ["12:00"]),
        ("order 20017", []),
        ("C-1004", []),
        ("99:99", []),
    ],
)
def test_times_of_day(words: str, expected: list[str]) -> None:
    assert [value for _, value in times(words)] == expected


def test_without_tools_or_words_there_is_no_plan(model: Client) -> None:
    assert make(model, ToolRegistry(), "Where is my order?") == Plan()
    assert make(model, TOOLS, " \n") == Plan()
