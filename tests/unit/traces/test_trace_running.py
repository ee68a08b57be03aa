"""Starting and stopping a trace; threads, generators and processes."""

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trace_help import client, spans, turn

from labkit import trace
from labkit.errors import ConfigError, OfflineError
from labkit.messages import Chunk, ToolCall, ToolResult

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
