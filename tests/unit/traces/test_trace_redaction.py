"""What must never reach the file of a trace."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_help import client

from labkit import trace
from labkit.errors import LabkitError
from labkit.messages import Message, ToolCall, ToolResult
from labkit.redact import Redactor

NAME, MAIL, PHONE, STREET = "Ada Lovelace", "ada.l@example.org", "+49 (170) 123-4567", "Harbour Lane 12"
PLANTED = (
    "lovelace",
    "ada.l",
    "123-4567",
    "1234567",
    "harbour",
    "hunter2hunter2",
    "sk-abc",
    "tok.en.value",
    "zorro",
)
"""No piece of these may be in a file."""


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError(f"{NAME} {MAIL}")


@pytest.mark.parametrize("content", [False, True])
def test_planted_values_are_nowhere(path: Path, content: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "hunter2hunter2")
    trace.start(path, content=content)
    monkeypatch.setenv("LATER_PASSWORD", "zorro-zorro")
    everything = (
        f"I am {NAME.upper()}, {MAIL}, {PHONE} or 0170/1234567, of {STREET}; hunter2hunter2, zorro-zorro, "
        "sk-abcdefghijklmnop, Authorization: Bearer tok.en.value and 'name': 'Ada Lovelace', ADA.L%40example.org"
    )
    fields = {"name": NAME, "email": MAIL, "phone": PHONE, "address": {"street": STREET, "zip": 10115}}
    model = client(everything, RuntimeError(everything), {everything: -1.0, "b": -2.0})
    with suppress(RuntimeError), trace.agent_span(everything, MAIL) as agent:
        agent.set_attribute("custom", everything)
        agent.set_attribute("list", [everything, f"by {NAME}"])
        model.complete([Message("system", everything), Message("user", everything)], max_tokens=99)
        with suppress(RuntimeError):
            model.complete(everything)
        model.score(everything, [everything, "b"])
        # what a name is in an undeclared field is only known after a later result
        with trace.tool_span(ToolCall(everything, {"who": everything, everything: 1}, everything)) as span:
            span.record_exception(ValueError(everything))
            span.add_event(everything, {"x": everything})
        inside: dict[str, Any] = {
            "customer": [fields, {"customerEmail": MAIL, "e-mail": MAIL, "FULL_NAME": NAME}],
            "as_text": json.dumps(fields),
            "as_text_in_text": json.dumps({"x": json.dumps(fields)}),
            "api_key": "not-a-known-form",
            "said": everything,
            "hostile": Hostile(),
        }
        with trace.tool_span(ToolCall("find_customer", inside)) as span:
            trace.span_result(span, ToolResult("c", json.dumps({**fields, "say": everything})))
        for text in (json.dumps(fields)[:-20], str(fields), f"Error: {everything}", f"name={NAME}", NAME):
            with trace.tool_span(ToolCall("t", {})) as span:
                trace.span_result(span, ToolResult("c", text, ok=False))
        with suppress(ValueError), trace.tool_span(ToolCall("t", {"word": "Lovelace", "digits": 10115})):
            raise ValueError(everything)
        with suppress(LabkitError), trace.tool_span(ToolCall("t", {})):
            raise LabkitError(everything, everything)
        raise RuntimeError(everything)
    trace.start(path).stop()
    raw = path.read_text(encoding="utf-8")
    assert len(raw.splitlines()) == 13
    assert [p for p in (*PLANTED, "not-a-known", "10115", "traceback") if p in raw.lower()] == []
    texts = [line for line in raw.splitlines() if "I am" in line]
    assert len(texts) == (9 if content else 1), "a text: in the agent's name only, which the programmer gives"


@pytest.mark.parametrize(
    "text", ["2026-12-04", "20001", "C-1001", "09:30", "SKU-4711-B", "Monday", "49.90", "04.12.2026"]
)
def test_what_is_not_personal_stays(text: str) -> None:
    redactor = Redactor(content=True)
    assert redactor.clean({"value": text, "say": f"It is {text}."}) == {
        "value": text,
        "say": f"It is {text}.",
    }


def test_the_names_in_an_address_are_masked_too() -> None:
    redactor = Redactor(("email",), content=True)
    redactor.clean({"email": "zuzana.horak@example.org", "copy": {"email": "info@example.org"}})
    assert redactor.text("The customer is Zuzana Horak, for info see C-1012.") == (
        "The customer is <pii> <pii>, for info see C-1012."
    )


def test_odd_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Redactor("email").clean({"e": 1, "email": "x"}) == {"e": 1, "email": "<pii>"}
    assert Redactor(("", "-")).clean({"e": 1}) == {"e": 1}
    monkeypatch.setenv("PIN_SECRET", "471100")
    assert Redactor(()).clean({"pin": 471100, "name": "Ada", "token": "x"}) == {
        "pin": "<secret>",
        "name": "Ada",
        "token": "<secret>",
    }


def test_words_and_numbers_stay_without_content() -> None:
    data = {"order_id": 7, "price": 9.5, "paid": True, "note": None, "status": "sent", "say": "Two words"}
    assert Redactor().clean(data) == {**data, "say": "<text: 9 characters>"}
    assert Redactor().clean("王明住在柏林") == "<text: 6 characters>"


def test_names_without_spaces_around_them_and_other_spellings() -> None:
    redactor = Redactor(content=True)
    redactor.clean({"name": "王明", "email": "x@y.de"})
    redactor.clean({"name": "Zoë Müller"})
    assert redactor.text("客户王明住在柏林") == "客户<pii>住在柏林"
    assert "Zoe\u0308" not in redactor.text("Zoe\u0308 called, MÜLLER too")
    assert redactor.text("MÜLLER") == "<pii>"
    assert redactor.text("The müllerei") == "The <pii>ei", "a part of a word is masked rather than missed"


def test_declared_fields_are_the_callers(path: Path) -> None:
    with (
        trace.start(path, pii=("badge",)),
        trace.tool_span(ToolCall("t", {"badge": "B-7711", "name": "Ada", "id": "B-7711"})),
    ):
        pass
    arguments = json.loads(trace.read(path)[0]["attributes"]["gen_ai.tool.call.arguments"])
    assert arguments == {"badge": "<pii>", "name": "Ada", "id": "<pii>"}


def test_nothing_a_caller_passes_breaks_the_run(path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep = "[" * 5000 + "]" * 5000
    with trace.start(path, content=True):
        for value in (
            loop,
            deep,
            "\ud800",
            float("nan"),
            b"\xff",
            {1: {2: 3}},
            {"a": object()},
            Hostile(),
            "",
        ):
            with trace.tool_span(ToolCall("t", {"x": value})) as span:
                trace.span_result(span, ToolResult("c", value if isinstance(value, str) else "{"))
    assert len(trace.read(path)) == 9
    assert len(trace.frame(path)) == 9


def test_a_large_text_is_cut_and_takes_no_time() -> None:
    redactor = Redactor(content=True)
    for text in ("x" * 10**6, "a@" * 10**4, "1 " * 10**4, "name: " * 10**4, "\\" * 10**4, "[" * 10**4):
        assert len(redactor.clean(text)) < 5000


@given(
    name=st.text("abcdefghijklmnopqrstuvwxyzäöüßéñø", min_size=4, max_size=12),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
)
def test_a_value_seen_once_is_masked_between_whatever(name: str, before: str, after: str) -> None:
    redactor = Redactor(content=True)
    assert redactor.clean({"customer_name": name}) == {"customer_name": "<pii>"}
    text = f"{before} {name} {after}"
    clean = redactor.text(text)
    assert name not in clean.replace("<pii>", "").replace("<secret>", "").split()
    assert redactor.text(clean) == clean


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_cleaning_never_raises_whatever_comes(value: Any) -> None:
    clean = Redactor(content=True).clean(value)
    json.dumps(clean).encode()
    Redactor().again(json.dumps(value))
