import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

import labkit
from labkit import desk
from labkit.backends import ScriptedBackend
from labkit.client import Client
from labkit.errors import ContextOverflow, ToolError
from labkit.tools import ToolRegistry, tool

smolagents = pytest.importorskip("smolagents")
from labkit.bench import peer  # noqa: E402

calls: list[Any] = []


@tool
def order_status(
    order_id: int,
    way: Literal["mail", "phone"] | None = None,
    code: Annotated[str, Field(pattern="^C-[0-9]{4}$", max_length=9)] = "C-1000",
) -> dict[str, str]:
    """Look up an order.

    Args:
        order_id: The order's number.
        way: How to tell.
        code: The customer.
    """
    calls.append((order_id, way, code))
    if order_id == 9:
        raise ToolError("There is no order 9.", "Ask for the number.")
    return {"say": f"Order {order_id} was sent."}


@tool
def note(said: str) -> str:
    """Write down.

    Args:
        said: The user's words.
    """
    calls.append(said)
    return "done"


TOOLS = ToolRegistry(order_status, note)


@pytest.fixture(autouse=True)
def forget() -> None:
    calls.clear()


def act(name: str, **arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments})


def answer(text: str) -> str:
    return act("final_answer", answer=text)


def test_a_call_and_an_answer_held_to_the_schema() -> None:
    backend = ScriptedBackend([act("order_status", order_id=7), answer("It was sent.")])
    said, seconds = peer.run_peer(Client(backend), TOOLS, "Where is order 7?")
    assert said == "It was sent."
    assert seconds > 0
    assert calls == [(7, None, "C-1000")]
    first, second = backend.requests
    assert {b["properties"]["name"]["const"] for b in (first.schema or {})["anyOf"]} == {
        *("order_status", "note", "final_answer")
    }
    assert first.stop == ()
    assert "Look up an order." in first.messages[0].content
    assert '"say":"Order 7 was sent."' in second.messages[-1].content
    backend.close()


def test_free_text_is_smolagents_own_format() -> None:
    backend = ScriptedBackend([f"Action:\n{act('order_status', order_id=7)}\n", answer("Sent.")])
    assert peer.run_peer(Client(backend), TOOLS, "Where?", structured=False)[0] == "Sent."
    assert backend.requests[0].schema is None
    assert backend.requests[0].stop == ("Observation:", "Calling tools:")
    assert calls == [(7, None, "C-1000")]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (act("order_status", order_id=9), "There is no order 9"),
        (act("order_status", order_id="seven"), "order_id"),
        (act("order_status", order_id=7, code="x"), "code"),
        (act("order_status"), "order_id is required"),
        (act("delete_everything"), "Unknown tool"),
        ("I do not know", "JSON"),
        ('{"name": "order_sta', "JSON"),
    ],
)
def test_a_fault_is_told_to_the_model(fault: str, told: str) -> None:
    backend = ScriptedBackend([fault, answer("Sorry.")])
    assert peer.run_peer(Client(backend), TOOLS, "Where?", structured=False)[0] == "Sorry."
    assert told in backend.requests[1].messages[-1].content
    assert not calls or calls == [(9, None, "C-1000")]


def test_an_optional_value_that_is_null_is_left_out() -> None:
    script = [act("order_status", order_id=7, way=None, code="C-2000"), answer("Sent.")]
    peer.run_peer(Client(ScriptedBackend(script)), TOOLS, "Where?")
    assert calls == [(7, None, "C-2000")]


def test_after_six_steps_it_says_what_it_has() -> None:
    again = [act("order_status", order_id=7)] * peer.MAX_STEPS
    backend = ScriptedBackend([*again, "It was sent, I think."])
    assert peer.run_peer(Client(backend), TOOLS, "Where?")[0] == "It was sent, I think."
    assert len(calls) == peer.MAX_STEPS
    assert backend.requests[-1].schema is None


def test_a_conversation_that_is_too_long_ends_without_an_answer() -> None:
    backend = ScriptedBackend([ContextOverflow("The prompt is too long.")])
    assert peer.run_peer(Client(backend), TOOLS, "Where?")[0] == ""


def test_other_errors_are_raised() -> None:
    with pytest.raises(smolagents.utils.AgentGenerationError, match="no step left"):
        peer.run_peer(Client(ScriptedBackend([])), TOOLS, "Where?")


def test_it_remembers_and_the_program_binds_the_words() -> None:
    backend = ScriptedBackend([act("note"), answer("Which order?"), act("note"), answer("Thanks.")])
    talk = peer.Peer(Client(backend), TOOLS.bind(said="It is broken"))
    assert talk.run("It is broken")[0] == "Which order?"
    assert talk.run("Number 7", TOOLS.bind(said="Number 7"))[0] == "Thanks."
    assert calls == ["It is broken", "Number 7"]
    assert "It is broken" in str(backend.requests[2].messages)
    assert "said" not in backend.requests[0].messages[0].content


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    peer.run_peer(Client(ScriptedBackend(["nonsense", answer("Sent.")])), TOOLS, "Where?")
    assert capsys.readouterr() == ("", "")


def test_the_desk_s_tools_fit_the_model_and_smolagents(model: labkit.Client, tmp_path: Path) -> None:
    tools = desk.Desk(desk.build(tmp_path / "desk.db")).tools()
    seen: list[Any] = []

    class Once(ScriptedBackend):
        def stream(self, request: Any) -> Any:
            seen.append(request)
            return super().stream(request)

    bound = tools.bind(said="hello", question="hello")
    peer.run_peer(Client(Once([answer("Hello.")])), bound, "hello")
    assert all(re.search(rf"^- {name}: ", seen[0].messages[0].content, re.MULTILINE) for name in bound.names)
    made = model.complete("Say hello.", schema=seen[0].schema, max_tokens=8)
    assert '"name"' in made.text
