"""What a trace records, and how it is read."""

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace as otel
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from trace_help import client, spans, turn

import labkit
from labkit import trace
from labkit.client import Client
from labkit.errors import ConfigError, GenerationTimeout, LabkitError
from labkit.messages import Capabilities, Chunk, Health, Message, ToolCall, ToolResult
from labkit.redact import PII

# What is recorded


def test_one_line_for_each_span_with_its_parent(path: Path) -> None:
    with trace.start(path):
        turn()
    found = spans(path)
    assert [*found] == ["chat scripted", "score scripted", "execute_tool order_status", "invoke_agent desk"]
    root = found["invoke_agent desk"]
    assert root["parent"] is None
    assert {s["parent"] for s in found.values()} == {None, root["span"]}
    assert {s["trace_id"] for s in found.values()} == {root["trace_id"]}
    assert root["attributes"] == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "desk",
        "gen_ai.conversation.id": "s-1",
        "labkit.stop": "answered",
        "labkit.steps": 1,
    }
    assert found["chat scripted"]["attributes"] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "labkit.scripted",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 256,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.seed": 0,
        "gen_ai.output.type": "text",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.output_tokens": 7,
        "labkit.prefill_s": 0.5,
        "labkit.decode_s": 0.25,
        "gen_ai.response.finish_reasons": ["stop"],
    }
    tool = found["execute_tool order_status"]["attributes"]
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"order_id": 20001}
    assert json.loads(tool["gen_ai.tool.call.result"]) == {"status": "sent"}


def test_names_are_those_of_the_conventions(path: Path) -> None:
    known = {v for k, v in vars(gen_ai_attributes).items() if k.startswith("GEN_AI_")}
    with trace.start(path, content=True):
        turn(schema={"type": "string"})
    used = {name for s in trace.read(path) for name in s["attributes"]}
    assert {n for n in used if not n.startswith("labkit.")} <= known | {"error.type"}
    operations = {v.value for v in gen_ai_attributes.GenAiOperationNameValues}
    assert operations >= {"chat", "invoke_agent", "execute_tool"}


def test_content_is_recorded_on_request_only(path: Path, tmp_path: Path) -> None:
    for content in (False, True):
        with trace.start(tmp_path / str(content), content=content):
            client("It is blue").complete([Message("system", "Be brief"), Message("user", "Which colour")])
    assert "blue" not in (tmp_path / "False").read_text()
    assert "colour" not in (tmp_path / "False").read_text()
    about = trace.read(tmp_path / "True")[0]["attributes"]
    assert json.loads(about["gen_ai.input.messages"])[1] == {
        "role": "user",
        "parts": [{"type": "text", "content": "Which colour"}],
    }
    assert json.loads(about["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "It is blue"}],
            "finish_reason": "stop",
        }
    ]


def test_calls_and_results_in_messages(path: Path) -> None:
    call = ToolCall("find", {"email": "ada@example.org", "order_id": 3}, "c1")
    asked = [Message("user", "x"), Message("assistant", "", (call,)), Message("tool", "nothing", (), "c1")]
    with trace.start(path, content=True):
        client("ok").complete(asked)
    shown = json.loads(trace.read(path)[0]["attributes"]["gen_ai.input.messages"])
    assert shown[1]["parts"][1] == {
        "type": "tool_call",
        "id": "c1",
        "name": "find",
        "arguments": {"email": "<pii>", "order_id": 3},
    }
    assert shown[2]["parts"] == [{"type": "tool_call_response", "id": "c1", "response": "nothing"}]


def test_an_error_is_recorded_and_goes_on(path: Path) -> None:
    with trace.start(path):
        with pytest.raises(RuntimeError, match="broke"), trace.agent_span("desk"):
            client(RuntimeError("it broke")).complete("x")
        with trace.tool_span(ToolCall("t", {})) as span:
            trace.span_result(span, ToolResult("c", "Error: no such thing", ok=False))
    assert [s["error"] for s in trace.read(path)] == ["RuntimeError", "RuntimeError", "tool_error"]
    assert [s["attributes"]["error.type"] for s in trace.read(path)] == [
        "RuntimeError",
        "RuntimeError",
        "tool_error",
    ]


class Endless:
    """A backend whose stream never ends by itself, or ends without a reason."""

    name = "endless:one"
    capabilities = Capabilities()

    def __init__(self, chunks: int = 10**6) -> None:
        self.chunks, self.closed = chunks, False

    def load(self) -> None: ...

    def close(self) -> None: ...

    def health(self) -> Health:
        return Health(True, "")

    def stream(self, request: object) -> Iterator[Chunk]:
        try:
            for _ in range(self.chunks):
                yield Chunk("secret words ")
        finally:
            self.closed = True


def test_a_stream_that_is_left_early_ends_its_span_and_the_generation(path: Path) -> None:
    backend = Endless()
    with trace.start(path):
        with closing(Client(backend).stream("x")) as stream:  # type: ignore[type-var]
            next(stream)
            assert not otel.get_current_span().is_recording(), "it must not be current between chunks"
        assert backend.closed
        assert [s["error"] for s in trace.read(path)] == [None]


def test_faults_of_a_stream(path: Path) -> None:
    with trace.start(path):
        with pytest.raises(LabkitError, match="broke off"):
            Client(Endless(2)).complete("x")
        with pytest.raises(GenerationTimeout):
            Client(Endless()).complete("x", timeout_s=0.01)
    assert [s["error"] for s in trace.read(path)] == ["incomplete", "GenerationTimeout"]
    assert "secret words" not in path.read_text()


def test_the_trace_id_is_known_while_it_runs(path: Path) -> None:
    with trace.agent_span("desk") as span:
        assert trace.trace_id(span) == ""
    with trace.start(path), trace.agent_span("desk") as span:
        told = trace.trace_id(span)
    assert [s["trace_id"] for s in trace.read(path)] == [told]


# Reading


def test_the_table_the_summary_and_the_tree(path: Path) -> None:
    with trace.start(path):
        turn()
        with trace.agent_span("sub"), suppress(ValueError), trace.tool_span(ToolCall("t", {})):
            turn()
            raise ValueError
    table = trace.frame(path)
    assert list(table.columns) == [
        *("trace_id", "span", "parent", "name", "kind", "start", "seconds"),
        *("tokens_in", "tokens_cached", "tokens_out", "ok", "error"),
    ]
    assert table["kind"].tolist() == [
        "agent",
        "chat",
        "score",
        "tool",
        "agent",
        "tool",
        "agent",
        "chat",
        "score",
        "tool",
    ]
    assert table["ok"].sum() == 9
    assert table["start"].dt.year.min() >= 2024
    total = trace.summary(path)
    assert total["name"].tolist() == ["invoke_agent desk", "invoke_agent sub"]
    assert total[["model_calls", "tool_calls", "errors"]].values.tolist() == [[2, 1, 0], [2, 2, 1]]
    assert total[["tokens_read", "tokens_cached", "tokens_written"]].values.tolist() == [[60, 40, 7]] * 2
    assert total["stop"].tolist() == ["answered", ""]
    assert (total["seconds"] - total[["model_s", "tools_s", "own_s"]].sum(axis=1)).abs().max() < 1e-6
    lines = trace.tree(path).splitlines()
    assert [line.split("  0.")[0].rstrip() for line in lines] == [
        "invoke_agent sub",
        "  execute_tool t",
        "    invoke_agent desk",
        "      chat scripted",
        "      score scripted",
        "      execute_tool order_status",
    ]
    assert "100 in (40 cached), 7 out" in lines[3]
    assert lines[1].endswith("ValueError")
    assert len(trace.tree(path, total["trace_id"][0]).splitlines()) == 4


def test_files_that_are_empty_missing_or_foreign(path: Path) -> None:
    for read in (trace.read, trace.frame, trace.summary, trace.tree):
        with pytest.raises(ConfigError, match="cannot be read"):
            read(path)
    path.write_bytes(b"")
    assert trace.read(path) == []
    assert len(trace.frame(path)) == len(trace.summary(path)) == 0
    with pytest.raises(ConfigError, match="no run"):
        trace.tree(path)
    path.write_bytes(b'12\nnull\n{}\n{"span": 3}\n\xff\xfe\n[]\n\n{"attributes": 1}\n{"attributes": {}}\n')
    assert trace.read(path) == []
    with trace.start(path):
        turn()
    with pytest.raises(ConfigError, match="no run nowhere"):
        trace.tree(path, "nowhere")


@given(st.integers(1, 2000))
def test_a_torn_last_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "t.jsonl"
    with trace.start(path):
        turn()
    whole = path.read_bytes()
    path.write_bytes(whole[: -min(cut, len(whole) - 1)])
    left = len(trace.read(path))
    assert left >= path.read_bytes().count(b"\n")
    with trace.start(path):  # the next kernel goes on with the same file
        turn()
    assert len(trace.read(path)) == left + 4


# With the model


def test_the_model_answers_the_same_and_its_tokens_are_counted(path: Path, model: labkit.Client) -> None:
    asked = "Name three colours of the rainbow."

    def ask() -> tuple[Any, ...]:
        model.backend.engine.clear()  # type: ignore[attr-defined]
        whole = model.complete(asked, max_tokens=12, logprobs=2)
        sampled = model.complete(asked, max_tokens=12, temperature=0.9, seed=5)
        return whole.text, whole.logprobs, sampled.text, model.score(asked, ["Red", "Blue and green"])

    plain = ask()
    with trace.start(path, content=True), trace.agent_span("desk"):
        traced = ask()
    assert traced == plain
    table = trace.frame(path).set_index("name")
    chat, score = table.loc["chat smollm2-135m"].iloc[0], table.loc["score smollm2-135m"]
    prompt = len(model.encode(asked))
    assert (chat["tokens_in"], chat["tokens_cached"], chat["tokens_out"]) == (prompt, 0, 12)
    assert score["tokens_in"] == prompt
    assert 0 < score["tokens_cached"] <= prompt
    row = trace.summary(path).iloc[0]
    assert row["tokens_read"] + row["tokens_cached"] == 3 * prompt
    assert row["model_s"] > 0.5 * row["seconds"]


def test_personal_data_has_names() -> None:
    assert {"name", "email", "phone", "address"} <= set(PII)
