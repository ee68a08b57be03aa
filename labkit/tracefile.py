"""The file of a trace: one span is one line of JSON. How it is written, and how it is read back as a table, a summary, a tree."""

from __future__ import annotations

import errno
import json
import os
from collections import defaultdict
from collections.abc import Callable, Container
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING, Any

from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Status

from labkit.config import settings
from labkit.errors import ConfigError, OfflineError
from labkit.redact import dump

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"invoke_agent": "agent", "execute_tool": "tool", "chat": "chat", "score": "score", "route": "route"}
"""``gen_ai.operation.name`` -> the short name in tables."""
USAGE = {
    "tokens_in": "input_tokens",
    "tokens_cached": "cache_read.input_tokens",
    "tokens_out": "output_tokens",
}
"""Column -> the end of ``gen_ai.usage.…``."""
FIELDS = {"trace_id", "span", "parent", "name", "start", "seconds", "error", "attributes"}
"""Of a line."""
COLUMNS = ["trace_id", "span", "parent", "name", "kind", "start", "seconds", *USAGE, "ok", "error"]


class SystemIds(IdGenerator):
    """Ids from the system. The usual ones are drawn from ``random``: tracing would change what a seeded program computes."""

    def generate_span_id(self) -> int:
        return randbits(64) or 1

    def generate_trace_id(self) -> int:
        return randbits(128) or 1


def copy(span: ReadableSpan, lasted: int, clean: Callable[[str], str]) -> ReadableSpan:
    """A span with every text cleaned, its duration in ns set right, and without events: those hold stack traces."""
    assert span.start_time is not None

    def cleaned(value: Any) -> Any:
        if isinstance(value, str):
            return clean(value)
        return [cleaned(v) for v in value] if isinstance(value, tuple | list) else value

    return ReadableSpan(
        clean(span.name),
        span.context,
        span.parent,
        span.resource,
        {key: cleaned(value) for key, value in (span.attributes or {}).items()},
        kind=span.kind,
        status=Status(span.status.status_code, cleaned(span.status.description)),
        start_time=span.start_time,
        end_time=span.start_time + lasted,
        instrumentation_scope=span.instrumentation_scope,
    )


def collector() -> SpanProcessor | None:
    """What sends spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names; None if it names none.

    Raises:
        ConfigError: The exporter is not installed.
        OfflineError: The network is switched off.
    """
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    if settings().offline:
        raise OfflineError(
            "OTEL_EXPORTER_OTLP_ENDPOINT names a collector, but LABKIT_OFFLINE is set.", "Unset one of them."
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but its exporter cannot be imported ({error}).",
            "Run `pip install 'edge-agents-lab[otlp]'`, or unset the variable.",
        ) from error
    return BatchSpanProcessor(OTLPSpanExporter())


def write(path: Path, span: ReadableSpan) -> None:
    """Add a span that has ended.

    Raises:
        OSError: The file cannot be written.
    """
    assert span.context
    failed = span.status.status_code is otel.StatusCode.ERROR
    began, ended = span.start_time or 0, span.end_time or 0
    line = {
        "trace_id": otel.format_trace_id(span.context.trace_id),
        "span": otel.format_span_id(span.context.span_id),
        "parent": otel.format_span_id(span.parent.span_id) if span.parent else None,
        "name": span.name,
        "start": began / 1e9,
        "seconds": (ended - began) / 1e9,
        "error": (span.status.description or "error") if failed else None,
        "attributes": dict(span.attributes or {}),
    }
    append(path, (dump(line) + "\n").encode("utf-8", "replace"))


def prepare(path: Path) -> None:
    """Make the file if it is not there; end a last line that a crash left unfinished.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, b"")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        end = file.read(1)
    if end not in (b"", b"\n"):
        append(path, b"\n")


def append(path: Path, data: bytes) -> None:
    """One write at the end of the file, which writes of other processes cannot tear apart.

    Raises:
        OSError: The file cannot be written.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def read(path: Path | str) -> list[dict[str, Any]]:
    """The spans of a file, in the order they ended. Lines that a crash tore are left out.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", "trace.start(path) makes such a file."
        ) from error
    spans: list[dict[str, Any]] = []
    for line in lines:
        try:
            span = json.loads(line)
        except ValueError:
            continue
        if isinstance(span, dict) and span.keys() >= FIELDS and isinstance(span["attributes"], dict):
            spans.append(span)
    return spans


def frame(path: Path | str) -> pd.DataFrame:
    """The spans as a table, in the order they began; ``kind`` is agent, chat, score or tool."""
    import pandas as pd

    table = pd.DataFrame(_rows(path), columns=COLUMNS)
    return table.assign(start=pd.to_datetime(table["start"], unit="s", utc=True))


def summary(path: Path | str) -> pd.DataFrame:
    """One row for each run: its steps and calls, where its seconds went, the tokens it cost, its errors.

    ``model_s``, ``tools_s`` and ``own_s`` (the agent's own code) share out the seconds: a span's part is its time without that of the spans
    inside it. ``tokens_read`` are the prompt tokens that were not in the cache.
    """
    import pandas as pd

    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    inside: dict[str, float] = defaultdict(float)
    for row in _rows(path):
        runs[row["trace_id"]].append(row)
        inside[row["parent"]] += row["seconds"]

    def own(rows: list[dict[str, Any]], *kinds: str) -> float:
        return sum(max(0.0, r["seconds"] - inside[r["span"]]) for r in rows if r["kind"] in kinds)

    def total(rows: list[dict[str, Any]], column: str) -> int:
        return sum(r[column] for r in rows)

    table = [
        {
            "trace_id": trace_id,
            "name": _roots(rows)[0]["name"],
            "stop": _roots(rows)[0]["attributes"].get("labkit.stop", ""),
            "steps": _roots(rows)[0]["attributes"].get("labkit.steps", 0),
            "model_calls": sum(r["kind"] in ("chat", "score") for r in rows),
            "tool_calls": sum(r["kind"] == "tool" for r in rows),
            "seconds": sum(r["seconds"] for r in _roots(rows)),
            "model_s": own(rows, "chat", "score"),
            "tools_s": own(rows, "tool"),
            "own_s": own(rows, "agent"),
            "tokens_read": total(rows, "tokens_in") - total(rows, "tokens_cached"),
            "tokens_cached": total(rows, "tokens_cached"),
            "tokens_written": total(rows, "tokens_out"),
            "errors": sum(not r["ok"] for r in rows),
        }
        for trace_id, rows in runs.items()
    ]
    return pd.DataFrame(table)


def tree(path: Path | str, trace_id: str | None = None) -> str:
    """One run as indented text: what called what, and how long it took. By default the last run.

    Raises:
        ConfigError: The file has no such run.
    """
    every = _rows(path)
    chosen = trace_id or (every[-1]["trace_id"] if every else "")
    rows = [r for r in every if r["trace_id"] == chosen]
    if not rows:
        raise ConfigError(
            f"{path} has no run {trace_id or 'yet'}.", "trace.summary(path) lists the runs in a file."
        )
    lines: list[str] = []

    def show(parents: Container[str | None], depth: int) -> None:
        for row in rows:
            if row["parent"] in parents:
                shown = f"{'  ' * depth + row['name']:<44}{row['seconds']:>8.3f} s"
                if row["tokens_in"] or row["tokens_out"]:
                    shown += (
                        f"  {row['tokens_in']} in ({row['tokens_cached']} cached), {row['tokens_out']} out"
                    )
                lines.append(shown if row["ok"] else f"{shown}  {row['error']}")
                show({row["span"]}, depth + 1)

    show({r["parent"] for r in _roots(rows)}, 0)
    return "\n".join(lines)


def _rows(path: Path | str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for span in read(path):
        about, error = span["attributes"], span.get("error")
        used = {column: about.get(f"gen_ai.usage.{end}", 0) for column, end in USAGE.items()}
        kind = KINDS.get(about.get("gen_ai.operation.name"), "other")
        rows.append({"parent": None, **span, **used, "kind": kind, "ok": not error, "error": error or ""})
    return sorted(rows, key=lambda row: row["start"])


def _roots(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of a run's spans that are in no other; several, if a crash lost the outermost."""
    known = {r["span"] for r in rows}
    return [r for r in rows if r["parent"] not in known] or rows[:1]
