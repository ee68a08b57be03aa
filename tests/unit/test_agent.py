"""The loop: it ends, it says why, it runs nothing that is not valid, and it makes no fact up."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.agent import Agent, AgentResult, Step
from labkit.answers import facts, quote, sentence, unsupported, write
from labkit.backends import ScriptedBackend
from labkit.client import Client
from labkit.decoding import Decision
from labkit.errors import BackendError, ConfigError
from labkit.memory import Memory
from labkit.messages import ToolCall, ToolResult
from labkit.policies import Policy, step_by_step
from labkit.tools import ToolRegistry, UserWords
from labkit.turn import Limits, Turn


def look(order_id: int) -> dict[str, Any]:
    """Where is my order: the status of an order.

    Args:
        order_id: Order number.
    """
    if order_id == 13:
        raise ValueError("unlucky")
    return {"order_id": order_id, "say": f"Order {order_id} was shipped on 2026-12-01."}


TOOLS = ToolRegistry(look)
SILENT = Client(ScriptedBackend([]))


def script(*decisions: Decision) -> Policy:
    """A policy that makes these decisions, then none."""
    left = list(decisions)
    return lambda turn: left.pop(0) if left else Decision((), "script")


def calls(*ids: Any) -> Decision:
    return Decision(
        tuple(ToolCall("look", {"order_id": i}, f"call_{n}") for n, i in enumerate(ids)), "script"
    )


def agent(policy: Policy, **options: Any) -> Agent:
    return Agent(SILENT, TOOLS, policy=policy, **options)


def test_call_observation_answer() -> None:
    steps = list(agent(script(calls(7))).stream("Where is order 7?"))
    assert [s.kind for s in steps] == ["call", "observation", "answer"]
    assert steps[-1].text == "Order 7 was shipped on 2026-12-01."
    outcome = steps[-1].outcome
    assert outcome
    assert outcome.stop == "answered"
    assert outcome.calls[0][0].arguments == {"order_id": 7}
    assert [m.role for m in outcome.messages] == ["user", "assistant", "tool", "assistant"]
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(steps))


def test_no_call_is_an_honest_answer() -> None:
    result = agent(script()).run("Sing!")
    assert result.stop == "unknown"
    assert result.answer == "I do not know. What I can do: look."


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(calls=3, repeats=9), "3 calls"),
        (Limits(steps=2, repeats=9), "2 steps"),
        (Limits(repeats=1), "the same call again"),
    ],
)
def test_a_runaway_loop_is_stopped_and_says_why(limits: Limits, reason: str) -> None:
    result = agent(lambda turn: calls(7), limits=limits).run("Where is order 7?")
    assert (result.stop, result.reason) == ("limit", reason)
    assert result.answer.endswith(f"I stopped before I was done: {reason}.")
    assert "2026-12-01" in result.answer
    assert len(result.calls) == {"3 calls": 3, "2 steps": 2}.get(reason, 1)


def test_a_turn_ends_when_its_time_is_over() -> None:
    def slow(turn: Turn) -> Decision:
        time.sleep(0.02)
        return calls(turn.decisions)

    result = agent(slow, limits=Limits(steps=10**6, calls=10**6, seconds=0.1)).run("Count!")
    assert (result.stop, result.reason) == ("limit", "0.1 seconds")
    assert result.seconds < 2


def test_calls_that_are_not_valid_never_run() -> None:
    wrong = Decision((ToolCall("look", {"order_id": "7; DROP"}), ToolCall("rm", {}, "call_2")), "script")
    result = agent(script(wrong)).run("x")
    assert [r.ok for _, r in result.calls] == [False, False]
    assert "must be of type integer" in result.calls[0][1].content
    assert "Valid tools: look" in result.calls[1][1].content


def test_a_tool_that_raises_is_told_to_the_user() -> None:
    result = agent(script(calls(13))).run("Where is order 13?")
    assert result.answer == "look failed: ValueError: unlucky"
    assert result.stop == "answered"


def test_the_models_fault_is_an_observation_and_it_may_try_again() -> None:
    fault = Decision((), "script", text="{broken", observation="This is no JSON object.")
    result = agent(script(fault, calls(7))).run("Where is order 7?")
    assert result.stop == "answered"
    assert [m.content for m in result.messages][1:3] == ["{broken", "Error: This is no JSON object."]
    assert agent(lambda turn: fault, limits=Limits(steps=3)).run("x").reason == "3 steps"


def test_the_runtimes_fault_raises() -> None:
    def broken(turn: Turn) -> Decision:
        raise BackendError("The server is gone.", "Start it.")

    with pytest.raises(BackendError, match="gone"):
        agent(broken).run("x")


def test_an_answer_with_a_number_from_nowhere_is_not_said() -> None:
    result = agent(script(calls(7)), answer=lambda turn: "It arrives on 2026-12-24.").run("Where is order 7?")
    assert result.stop == "unknown"
    assert result.answer == "I do not know: the answer would have said 2026-12-24, which no tool returned."


def test_cancel_before_the_next_step() -> None:
    cancel = threading.Event()
    seen: list[Step] = []
    for step in agent(lambda turn: calls(turn.decisions)).stream("x", cancel=cancel):
        seen.append(step)
        if step.kind == "observation":
            cancel.set()
    assert [s.kind for s in seen] == ["call", "observation", "answer"]
    assert seen[-1].outcome
    assert seen[-1].outcome.stop == "cancelled"


def test_closing_the_iterator_keeps_what_was_done() -> None:
    session = Memory().session("s")
    stream = agent(lambda turn: calls(turn.decisions)).stream("x", session)
    kinds = [next(stream).kind, next(stream).kind]
    stream.close()  # type: ignore[attr-defined]
    assert kinds == ["call", "observation"]
    assert [m.role for m in session.messages] == ["user", "assistant", "tool"]


def test_a_turn_remembers_who_it_is_about() -> None:
    def find(email: str) -> dict[str, Any]:
        """Find an account.

        Args:
            email: The address.
        """
        return {"customer_id": "C-1", "say": "Found."}

    def ticket(customer_id: str) -> str:
        """Open a ticket.

        Args:
            customer_id: Who.
        """
        return "open"

    session = Memory().session("s")
    policy = script(Decision((ToolCall("find", {"email": "a@b.cd"}),), "script"))
    Agent(SILENT, ToolRegistry(find, ticket), policy=policy).run("I am a@b.cd", session)
    assert session.facts == {"email": "a@b.cd", "customer_id": "C-1"}


def test_the_users_words_are_bound_and_out_of_the_models_reach() -> None:
    heard: list[str] = []

    def note(said: Annotated[str, UserWords]) -> str:
        """Take a note.

        Args:
            said: The words.
        """
        heard.append(said)
        return "noted"

    def policy(turn: Turn) -> Decision:
        assert turn.tools["note"].parameters["properties"] == {}
        return Decision((ToolCall("note", {}),), "x") if not turn.done else Decision((), "x")

    assert Agent(SILENT, ToolRegistry(note), policy=policy).run("Please note this").answer == "noted"
    assert heard == ["Please note this"]
    forged = script(Decision((ToolCall("note", {"said": "forged"}),), "x"))
    assert not Agent(SILENT, ToolRegistry(note), policy=forged).run("hello").calls[0][1].ok


def test_a_result_of_a_megabyte_is_cut() -> None:
    def flood() -> str:
        """Flood."""
        return "x" * 2**20

    result = Agent(SILENT, ToolRegistry(flood), policy=script(Decision((ToolCall("flood", {}),), "x"))).run(
        "go"
    )
    assert len(result.answer) < 5000
    assert "more characters" in result.answer


def test_a_hanging_tool_does_not_hang_the_loop() -> None:
    release = threading.Event()

    def hang() -> str:
        """Hang."""
        release.wait(5)
        return "late"

    tools = ToolRegistry(hang)
    try:
        policy = script(Decision((ToolCall("hang", {}),), "x"))
        result = Agent(SILENT, tools, policy=policy, limits=Limits(tool_s=0.05)).run("go")
        assert "did not finish within 0.05 s" in result.answer
    finally:
        release.set()


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"calls": -1}, {"seconds": 0}, {"repeats": 0}, {"tool_s": -1.0}]
)
def test_limits_that_allow_nothing_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Limits(**bad)


@pytest.mark.parametrize("words", ["", "  \n"])
def test_words_are_needed(words: str) -> None:
    with pytest.raises(ConfigError):
        agent(script()).run(words)


def test_two_agents_share_one_session_id(tmp_path: Any) -> None:
    results: list[AgentResult] = []

    def work(n: int) -> None:
        memory = Memory(tmp_path / "m.db")
        results.append(agent(script(calls(n))).run(f"Where is order {n}?", memory.session("shared")))
        memory.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory = Memory(tmp_path / "m.db")
    assert len(memory.session("shared").messages) == 16
    memory.close()
    assert sorted(r.answer for r in results) == [f"Order {n} was shipped on 2026-12-01." for n in range(1, 5)]


def test_step_by_step_on_the_real_model_ends(model: Client) -> None:
    result = Agent(model, TOOLS, policy=step_by_step).run("Where is order 20017? What is its status?")
    assert result.stop in ("answered", "limit", "unknown", "needs_input")
    assert len(result.calls) <= 8


def test_a_planned_turn_on_the_real_model(model: Client) -> None:
    result = Agent(model, TOOLS).run("Where is my order 20017? What is its status?")
    assert result.answer == "Order 20017 was shipped on 2026-12-01."
    assert result.plan


def test_ten_thousand_characters(model: Client) -> None:
    words = "Where is my order 20017? " + "It was a long day and I walked to the shop. " * 230
    started = time.perf_counter()
    result = Agent(model, TOOLS).run(words)
    assert result.answer
    assert time.perf_counter() - started < 60


@given(st.text(max_size=200), st.text(max_size=200))
def test_what_an_answer_says_is_in_its_evidence(answer: str, evidence: str) -> None:
    assert unsupported(answer, [answer]) == []
    assert set(unsupported(answer, [evidence])) == set(facts(answer)) - set(facts(evidence))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Order 20017, due 2026-12-03.", ["20017", "2026-12-03"]),
        ("It costs 45.90 euros at 10:30.", ["45.90", "10:30"]),
        ("Customer C-1004 (ana@example.com)", ["c-1004", "ana@example.com"]),
        ("nothing at all", []),
    ],
)
def test_facts(text: str, expected: list[str]) -> None:
    assert facts(text) == expected


def test_a_result_is_said_in_its_own_words() -> None:
    assert sentence(ToolResult("1", '{"a": 1, "say": "One."}')) == "One."
    assert sentence(ToolResult("1", '{"sku_code": "K-1", "left": 2}')) == "sku code: K-1; left: 2."
    assert sentence(ToolResult("1", "plain")) == "plain"
    assert sentence(ToolResult("1", "Error: There is none.", ok=False)) == "There is none."
    assert quote([ToolResult("1", "a"), ToolResult("2", "a"), ToolResult("3", "b")]) == "a b"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Your order 7 left us on 2026-12-01.", True),
        ("Your order 7 left us.", False),
        ("Your order 7 left on 2026-12-01 and arrives on 2026-12-09.", False),
        ("", False),
    ],
)
def test_the_models_own_words_are_used_only_if_they_hold(written: str, kept: bool) -> None:
    results = [ToolResult("1", '{"say": "Order 7 was shipped on 2026-12-01."}')]
    client = Client(ScriptedBackend([written]))
    said: Callable[[], str] = lambda: write(client, "Where is order 7?", results)  # noqa: E731
    assert said() == (written if kept else "Order 7 was shipped on 2026-12-01.")
