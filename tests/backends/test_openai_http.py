"""What goes over the wire, and what never does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit import Client, system, user
from labkit.backends import wire
from labkit.backends.connect import connect, is_local
from labkit.backends.openai_http import OpenAIBackend
from labkit.backends.scripted_http import Reply, ScriptedServer, delta, said, whole
from labkit.backends.toy import ToyModel
from labkit.backends.wire_errors import errors
from labkit.config import settings
from labkit.conformance_http import Stage, stage
from labkit.errors import (
    BackendError,
    BackendUnavailable,
    CapabilityMissing,
    ConfigError,
    GenerationTimeout,
    OfflineError,
)
from labkit.messages import Message, Request, ToolCall


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    with stage() as scene:
        yield scene


def sent(scene: Stage, **options: Any) -> dict[str, Any]:
    scene.play(said("ok")).complete([system("Be brief."), user("Hi")], **options)
    return scene.server.requests[-1]


def test_every_option_is_sent(scene: Stage) -> None:
    body = sent(
        scene, max_tokens=9, temperature=0.5, top_p=0.9, top_k=7, seed=3, stop=["a", "b"], logprobs=2,
        schema={"type": "object"},
    )  # fmt: skip
    expected = {"model": "scripted", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": 3}
    assert expected.items() <= body.items()
    assert body["stop"] == ["a", "b"]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["stream_options"] == {"include_usage": True}
    assert [m["role"] for m in body["messages"]] == ["system", "user"]


def test_what_was_not_asked_for_is_not_sent(scene: Stage) -> None:
    assert not {"stop", "top_k", "logprobs", "response_format", "tools"} & sent(scene).keys()


def test_more_than_four_stop_strings_work_although_four_are_sent(scene: Stage) -> None:
    assert len(sent(scene, stop=list("vwxyz"))["stop"]) == 4
    answer = scene.play(said("a", "b", "z", "c")).complete("Hi", stop=list("vwxyz"))
    assert (answer.text, answer.finish_reason) == ("ab", "stop")


@pytest.mark.parametrize("form", ["merged", "json_object"])
def test_a_server_with_a_form_of_its_own_for_schemas_is_found_out(form: str) -> None:
    toy = ToyModel()

    def picky(body: dict[str, Any]) -> Reply:
        asked = body.pop("response_format", None) or {}
        schema = asked.get("schema") if form == "json_object" else asked.get("json_schema")
        if schema and "properties" in schema:
            body["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
        return toy(body)

    with ScriptedServer(otherwise=picky) as server, labkit.load(f"openai:m@{server.url}") as client:
        assert client.capabilities.schema
        assert client.complete("Hi", schema={"type": "object", "properties": {}}).json() == {}


def test_tool_messages_and_calls_round_trip(scene: Stage) -> None:
    call = ToolCall("add", {"a": 1}, "call_9")
    conversation = (
        user("Add."),
        Message("assistant", "", (call,)),
        Message("tool", "2", tool_call_id="call_9"),
    )
    scene.play(said("ok")).complete(conversation)
    _, asked, result = scene.server.requests[-1]["messages"]
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_9")


@pytest.mark.parametrize(
    ("arguments", "read"), [('{"a": 1}', {"a": 1}), ("", {}), ("{bad", {"": "{bad"}), ("[1]", {"": "[1]"})]
)
def test_arguments_that_are_no_object_can_never_pass_for_some(
    scene: Stage, arguments: str, read: dict[str, Any]
) -> None:
    function = {"name": "add", "arguments": arguments}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    scene.play(
        whole({"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})
    )
    backend = scene.client.backend
    assert isinstance(backend, OpenAIBackend)
    answer = backend.call_tools(Request((user("Add."),)), [], "required")
    assert answer.tool_calls == (ToolCall("add", read, "c"),)


def test_strict_is_set_only_where_its_rules_hold() -> None:
    def marked(parameters: dict[str, Any]) -> bool:
        return wire.tools([{"type": "function", "function": {"name": "f", "parameters": parameters}}])[0][
            "function"
        ]["strict"]

    a = {"properties": {"a": {}}, "additionalProperties": False}
    assert marked({**a, "required": ["a"]})
    assert not marked(a)
    assert not marked({"properties": {}, "required": []})


def test_a_server_without_usage_has_its_pieces_counted() -> None:
    with (
        ScriptedServer(otherwise=ToyModel(ignores={"usage"})) as server,
        labkit.load(f"openai:m@{server.url}") as c,
    ):
        assert c.complete("Hi", max_tokens=5).usage.completion_tokens == 5


@pytest.mark.parametrize("page", [{"data": 7}, {}, {"data": [{}]}])
def test_an_odd_model_list_means_another_kind_of_server(page: dict[str, Any]) -> None:
    with (
        ScriptedServer(otherwise=ToyModel(), pages={"/v1/models": page}) as server,
        pytest.raises(BackendUnavailable, match="not a chat answer"),
    ):
        labkit.load(f"openai:m@{server.url}")


def test_a_client_that_is_dropped_closes_its_connections() -> None:
    with ScriptedServer(otherwise=ToyModel()) as server:
        labkit.load(
            f"openai:m@{server.url}"
        )  # what is left open would be a ResourceWarning, and fail the test


def test_the_context_that_a_server_tells_is_taken() -> None:
    page = {"data": [{"id": "m", "max_model_len": 2048}, {"id": "n"}]}
    with ScriptedServer(otherwise=ToyModel(), pages={"/v1/models": page}) as server:
        assert labkit.load(f"openai:m@{server.url}").capabilities.context == 2048
        assert labkit.load(f"openai:n@{server.url}").capabilities.context == 0


def test_what_a_server_lacks_raises_before_it_is_asked() -> None:
    with (
        ScriptedServer(otherwise=ToyModel(ignores={"schema"})) as server,
        labkit.load(f"openai:m@{server.url}") as c,
    ):
        server.requests.clear()
        with pytest.raises(CapabilityMissing, match="schema"):
            c.complete("Hi", schema={"type": "object"})
        assert server.requests == []


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1/v1", True), ("http://[::1]/v1", True), ("http://localhost:9", True),
        ("http://127.9.9.9/v1", True), ("http://0.0.0.0/v1", False), ("http://10.0.0.1", False),
        ("https://api.openai.com/v1", False), ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False), ("http://user@127.0.0.1@example.com", False), ("http://", False),
    ],
)  # fmt: skip
def test_which_addresses_are_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_offline_asks_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    for spec in ("openai:gpt", "openai:m@https://example.com/v1", "ollama:m@http://example.com"):
        with pytest.raises(OfflineError, match="another machine"):
            labkit.load(spec)
    with stage() as scene:
        assert scene.client.complete("Hi", max_tokens=2).text


def test_the_key_is_never_sent_in_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    keys = {}
    for url in ("http://127.0.0.1:1/v1", "https://example.com/v1", "http://example.com/v1"):
        with connect(url, settings(), retries=0, patience_s=1) as client:
            keys[url] = client.api_key
    assert list(keys.values()) == ["sk-secret", "sk-secret", "none"]


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with stage() as scene:
        assert scene.client.complete("Hi", max_tokens=2).text


def test_a_local_server_cannot_send_us_to_another_machine(scene: Stage) -> None:
    away = Reply([b""], 307, {"Location": "http://example.com/v1/chat/completions"})
    with pytest.raises(BackendError, match="307"):
        scene.play(away).complete("Hi")


def test_a_lone_surrogate_in_a_message_is_replaced(scene: Stage) -> None:
    assert scene.play(said("ok")).complete("a \ud800 b").text == "ok"
    assert scene.server.requests[-1]["messages"][0]["content"] == "a ? b"


def test_a_machine_that_swallows_packets_is_unavailable_and_a_slow_one_is_late() -> None:
    class ConnectTimeout(Exception):
        pass

    late = openai.APITimeoutError(request=None)  # type: ignore[arg-type]
    for cause, kind in ((ConnectTimeout(), BackendUnavailable), (None, GenerationTimeout)):
        with pytest.raises(kind), errors("it"):
            raise late from cause


def test_a_refused_key_says_which_variable(scene: Stage) -> None:
    from labkit.backends.scripted_http import error

    with pytest.raises(ConfigError) as caught:
        scene.play(error(401)).complete("Hi")
    assert "OPENAI_API_KEY" in caught.value.hint


def test_it_must_be_loaded_and_can_be_loaded_again(scene: Stage) -> None:
    backend = OpenAIBackend("m", settings(), scene.server.url)
    with pytest.raises(BackendError, match="not loaded"):
        Client(backend).complete("Hi")
    for _ in range(2):
        backend.load()
        assert Client(backend).complete("Hi", max_tokens=2).text
        backend.close()
        backend.close()


def test_importing_it_opens_nothing_and_the_constructor_neither() -> None:
    assert OpenAIBackend("m", settings()).health().detail == "not loaded"


def test_an_api_error_without_a_body_is_readable(scene: Stage) -> None:
    with pytest.raises(BackendError, match="418"):
        scene.play(Reply([b"short and stout"], 418, kind="text/plain")).complete("Hi")


def test_deltas_without_text_or_choices_do_no_harm(scene: Stage) -> None:
    pieces = [b": ping\n\n", b'data: {"choices": []}\n\n', delta(), *said("fine").pieces]
    assert scene.play(Reply(pieces)).complete("Hi").text == "fine"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.data())
def test_surrogates_join_however_they_are_cut(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le")
    halves = [units[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2)]
    pairs, out = wire.Pairs(), ""
    while halves:
        n = data.draw(st.integers(1, len(halves)))
        out += pairs.feed("".join(halves[:n]))
        halves = halves[n:]
    assert out == text


def test_the_official_client_is_the_one_used(scene: Stage) -> None:
    assert isinstance(scene.client.backend.client, openai.OpenAI)  # type: ignore[attr-defined]
