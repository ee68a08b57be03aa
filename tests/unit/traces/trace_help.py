"""A run to trace, and the spans of a file."""

from pathlib import Path
from typing import Any

from labkit import trace
from labkit.backends import ScriptedBackend
from labkit.client import Client
from labkit.messages import Completion, ToolCall, ToolResult, Usage

USAGE = Usage(100, 40, 7, 0.5, 0.25)


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
