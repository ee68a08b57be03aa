import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

import labkit
from labkit import trace
from labkit.backends import ScriptedBackend
from labkit.client import Client
from labkit.errors import ConfigError, GenerationTimeout, LabkitError, OfflineError
from labkit.messages import Capabilities, Chunk, Completion, Health, Message, ToolCall, ToolResult, Usage
from labkit.redact import PII, Redactor

USAGE = Usage(100, 40, 7, 0.5, 0.25)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "trace.jsonl"
    assert not trace._active or trace._active.stop()
    assert otel.get_current_span() is otel.INVALID_SPAN


def client(*script: Any) -> Client:
    return Client(ScriptedBackend(script))


def turn(**options: Any) -> None:
    """One run of every kind of span."""
    model = client(Completion("Paris", "stop", USAGE), {"a": -1.0, "b": -2.0})
    with trace.agent_span("desk", "s-1") as span:
        model.complete("Where is it?", **options)
        model.score("Which?", ["a", "b"])
        with trace.tool_span(ToolCall("order_status", {"order_id": 20001}, "call_7")) as tool:
            trace.span_result(tool, ToolResult("call_7", '{"status":"sent"}'))
        trace.finish_agent(span, "answered", 1)


def spans(path: Path) -> dict[str, dict[str, Any]]:
    return {s["name"]: s for s in trace.read(path)}


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


# Starting and stopping


def test_without_a_trace_nothing_changes() -> None:
    chunks = iter([Chunk("a", finish_reason="stop")])
    assert trace.chat("x:y", None, chunks) is chunks  # type: ignore[arg-type]
    with trace.agent_span("a") as a, trace.tool_span(ToolCall("b", {})) as b:
        assert a is b is otel.INVALID_SPAN
        trace.span_result(b, ToolResult("c", "d", ok=False))
        trace.finish_agent(a, "answered", 1)
    assert isinstance(otel.get_tracer_provider(), otel.ProxyTracerProvider)


def test_starting_again_writes_each_span_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        running = trace.start(path)
    turn()
    assert len(path.read_text().splitlines()) == 4
    first, other = running, path.with_name("other.jsonl")
    trace.start(other)
    turn()
    first.stop()  # was replaced: stopping it must not stop the other
    turn()
    trace.start(path).stop()
    turn()
    assert (len(trace.read(path)), len(trace.read(other))) == (4, 8)
    assert not caplog.records
    assert isinstance(otel.get_tracer_provider(), otel.ProxyTracerProvider), "the global one is not ours"


def test_spans_that_were_open_when_it_started_or_stopped_are_left_out(path: Path) -> None:
    with trace.agent_span("before"), trace.start(path), trace.agent_span("inside"):
        pass
    with trace.start(path) as running, trace.agent_span("after"):
        running.stop()
        with trace.start(path.with_name("other.jsonl")) as other, trace.agent_span("next"):
            pass
    assert [s["name"] for s in trace.read(path)] == ["invoke_agent inside"]
    assert [s["name"] for s in trace.read(other.path)] == ["invoke_agent next"]


def test_the_default_path_is_in_the_data_folder() -> None:
    with trace.start() as running:
        turn()
    assert running.path.is_relative_to(os.environ["LABKIT_HOME"])
    assert len(trace.read(running.path)) == 4
    if os.name == "posix":
        assert running.path.stat().st_mode & 0o077 == 0


def test_a_path_that_cannot_be_written(path: Path) -> None:
    with pytest.raises(ConfigError, match="No trace can be written"):
        trace.start(path.parent)
    path.write_text("")
    with pytest.raises(ConfigError, match="No trace can be written"):
        trace.start(path / "below")


def test_a_file_that_goes_away_does_not_stop_the_run(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = path.parent / "gone"
    with trace.start(folder / "t.jsonl") as running:
        (folder / "t.jsonl").unlink()
        folder.rmdir()
        turn()
        assert running.lost == 4
    assert len(caplog.records) == 1


def test_the_random_numbers_of_a_program_are_left_alone(path: Path) -> None:
    random.seed(7)
    state = random.getstate()
    with trace.start(path):
        turn()
    assert random.getstate() == state
    random.seed(7)
    with trace.start(path):
        turn()
    assert len({s["trace_id"] for s in trace.read(path)}) == 2


def test_a_clock_that_is_set_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(10**18, 0, -(10**9)))
    monkeypatch.setattr("opentelemetry.sdk.trace.time_ns", lambda: next(now))
    with trace.start(path):
        turn()
    table = trace.frame(path)
    assert ((table["seconds"] > 0) & (table["seconds"] < 5)).all()
    row = trace.summary(path).iloc[0]
    assert row["name"] == "invoke_agent desk"
    assert row["seconds"] == pytest.approx(row["model_s"] + row["tools_s"] + row["own_s"])
    assert trace.tree(path).startswith("invoke_agent desk")


def test_a_collector(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    try:
        with trace.start(path, content=True):
            client("Hello Ada Lovelace").complete("I am ada@example.org")
            with trace.tool_span(ToolCall("find", {"name": "Ada Lovelace"})):
                pass
    finally:
        server.shutdown()
        server.server_close()
    sent = b"".join(bodies)
    assert b"execute_tool find" in sent
    assert b"ada@example" not in sent
    assert len(trace.read(path)) == 2


def test_a_collector_without_exporter_or_network(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match="exporter") as error:
        trace.start(path)
    assert "edge-agents-lab[otlp]" in error.value.hint
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    with pytest.raises(OfflineError, match="OFFLINE"):
        trace.start(path)


def test_a_provider_that_the_program_has_set_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, seen = TracerProvider(), InMemorySpanExporter()
    theirs.add_span_processor(SimpleSpanProcessor(seen))
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", theirs)
    turn()
    assert not seen.get_finished_spans(), "nothing before start"
    with trace.start(path), otel.get_tracer("theirs").start_as_current_span("outer") as outer:
        turn()
        with trace.tool_span(ToolCall("find", {"email": "ada@example.org", "said": "some words"})):
            pass
    with trace.start(path):
        turn()
    assert len(trace.read(path)) == 9, "each span once, and only ours"
    parent = otel.format_span_id(outer.get_span_context().span_id)
    assert spans(path)["execute_tool find"]["parent"] == parent
    shown = str([dict(s.attributes or {}) for s in seen.get_finished_spans()])
    assert len(seen.get_finished_spans()) == 10
    assert "ada@" not in shown
    assert "some words" not in shown
    theirs.shutdown()


# Threads, generators, processes


def test_threads_keep_the_parent_when_the_context_is_passed(path: Path) -> None:
    def work(name: str) -> None:
        with trace.tool_span(ToolCall(name, {})):
            pass

    with trace.start(path), trace.agent_span("desk"):
        names = [f"t{i}" for i in range(20)]
        threads = [threading.Thread(target=copy_context().run, args=(work, name)) for name in names]
        threads.append(threading.Thread(target=work, args=("alone",)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = spans(path)
    assert len(trace.read(path)) == 22
    assert found.pop("execute_tool alone")["parent"] is None
    root = found.pop("invoke_agent desk")["span"]
    assert {s["parent"] for s in found.values()} == {root}


def test_threads_of_one_run_lose_nothing_when_lines_are_held(path: Path) -> None:
    def work() -> None:
        for i in range(50):
            with trace.tool_span(ToolCall(f"t{i}", {})):
                pass

    with trace.start(path, content=True), trace.agent_span("desk"):
        threads = [threading.Thread(target=copy_context().run, args=(work,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not trace.read(path)
    assert len(trace.read(path)) == 201


@trace.own_context
def steps(name: str) -> Iterator[int]:
    with trace.agent_span(name):
        for i in range(3):
            with trace.tool_span(ToolCall(f"{name}{i}", {})):
                pass
            yield i


def test_interleaved_streams_keep_apart(path: Path) -> None:
    with trace.start(path):
        for a, b in zip(steps("a"), steps("b"), strict=True):
            assert a == b
            assert otel.get_current_span() is otel.INVALID_SPAN
    found = spans(path)
    for name in "ab":
        root = found[f"invoke_agent {name}"]
        assert root["parent"] is None
        assert {found[f"execute_tool {name}{i}"]["parent"] for i in range(3)} == {root["span"]}


def test_a_stream_closed_by_another_thread(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with trace.start(path), trace.agent_span("outer"):
        stream = steps("a")
        next(stream)
        thread = threading.Thread(target=stream.close)  # type: ignore[attr-defined]
        thread.start()
        thread.join()
        turn()
    found = spans(path)
    assert found["invoke_agent a"]["error"] is None
    assert found["invoke_agent desk"]["parent"] == found["invoke_agent outer"]["span"]
    assert not caplog.records


def test_a_bare_generator_closed_by_another_thread_does_no_harm(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def bare() -> Iterator[None]:
        with trace.agent_span("bare"):
            yield

    with trace.start(path):
        context, stream = copy_context(), bare()
        context.run(next, stream)
        stream.close()  # type: ignore[attr-defined]
        turn()
    assert len(trace.read(path)) == 5
    assert spans(path)["invoke_agent desk"]["parent"] is None
    assert not caplog.records


def run(code: str, *arguments: object) -> "subprocess.Popen[bytes]":
    head = "import os, sys\nfrom labkit import trace\nfrom labkit.messages import ToolCall\n"
    return subprocess.Popen([sys.executable, "-c", head + code, *map(str, arguments)])


def test_two_processes_write_to_one_file(path: Path) -> None:
    code = (
        "with trace.start(sys.argv[1]):\n"
        "    for i in range(200):\n"
        "        with trace.tool_span(ToolCall('t', {'blob': ['x' * 40] * 20})): pass\n"
    )
    both = [run(code, path), run(code, path)]
    assert [process.wait(60) for process in both] == [0, 0]
    lines = path.read_text().splitlines()
    assert len(lines) == 400
    assert all(json.loads(line) for line in lines)


def test_a_crash_loses_the_open_spans_only(path: Path) -> None:
    code = (
        "trace.start(sys.argv[1])\n"
        "with trace.agent_span('desk'):\n"
        "    with trace.tool_span(ToolCall('t', {})): pass\n"
        "    os._exit(9)\n"
    )
    assert run(code, path).wait(60) == 9
    assert [s["name"] for s in trace.read(path)] == ["execute_tool t"]
    assert trace.tree(path).startswith("execute_tool t")
    assert trace.summary(path).iloc[0]["tool_calls"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_write_its_parents_spans(path: Path) -> None:
    code = (
        "t = trace.start(sys.argv[1], content=True)\n"
        "with trace.agent_span('desk'):\n"
        "    with trace.tool_span(ToolCall('t', {})): pass\n"
        "    if not (child := os.fork()):\n"
        "        with trace.agent_span('child'): pass\n"
        "        t.stop()\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "t.stop()\n"
    )
    assert run(code, path).wait(60) == 0
    names = sorted(s["name"] for s in trace.read(path))
    assert names == ["execute_tool t", "invoke_agent child", "invoke_agent desk"]
    assert len({s["span"] for s in trace.read(path)}) == 3


# What must never reach the file

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
