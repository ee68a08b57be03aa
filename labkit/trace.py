"""Traces: what an agent did and how long it took, as OpenTelemetry spans with the names of its GenAI conventions.

Nothing is recorded before ``start``. Then each span is one line of JSON, written when the span ends: a crash loses the open ones only.

>>> with trace.start("run.jsonl", content=True):        # doctest: +SKIP
...     agent.run("Where is order 20001?")
>>> print(trace.tree("run.jsonl"))                      # doctest: +SKIP

Masked in every place: secrets, values of PII fields, e-mail addresses, phone numbers (see ``labkit.redact``). Texts, those of errors included,
are recorded with ``content=True`` only; a run's lines are then written together when it ends, because a name that its last result discloses
must not stand in its first line. Stack traces are never recorded.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode

from labkit import tracefile
from labkit.config import settings
from labkit.errors import ConfigError
from labkit.messages import Chunk, Message, Request, ToolCall, ToolResult, Usage
from labkit.redact import PII, Redactor, dump
from labkit.tracefile import frame as frame
from labkit.tracefile import read as read
from labkit.tracefile import summary as summary
from labkit.tracefile import tree as tree

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Trace:
    """A running trace, made by ``start``. As a context manager it stops at the end.

    Attributes:
        path: The file.
        lost: Spans that could not be written, for instance because the disk is full. The run goes on.
    """

    def __init__(
        self, path: Path, tracer: otel.Tracer, redactor: Redactor, sink: SpanProcessor | None
    ) -> None:
        self.path, self.tracer, self.redactor, self.lost, self._sink = path, tracer, redactor, 0, sink
        self._open: dict[int, tuple[int, int]] = {}  # span -> its trace, when it began
        self._held: list[tuple[int, int, int, ReadableSpan]] = []  # process, trace, how long, which span

    def began(self, span: ReadableSpan) -> None:
        """Note when a span began. OpenTelemetry takes the time of day, which may be set back."""
        assert span.context
        self._open[span.context.span_id] = span.context.trace_id, time.perf_counter_ns()

    def ended(self, span: ReadableSpan) -> None:
        """Write a span; with content, hold it until the last open one of its trace ends."""
        if not span.context or not (opened := self._open.pop(span.context.span_id, None)):
            return  # it belongs to a trace that was stopped
        self._held.append((os.getpid(), opened[0], time.perf_counter_ns() - opened[1], span))
        if not self.redactor.content or all(t != opened[0] for t, _ in list(self._open.values())):
            self._release(opened[0])

    def flush(self) -> None:
        """Write every span that has ended."""
        self._release()
        if self._sink:
            self._sink.force_flush(5000)

    def stop(self) -> None:
        """Flush and end. Spans that are still open are not written."""
        global _active
        if _active is self:
            _active = None
        self._open.clear()
        self._release()
        if self._sink:
            self._sink.shutdown()  # sends what is left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Trace({str(self.path)!r}, {'running' if _active is self else 'stopped'}, lost={self.lost})"

    def _release(self, trace: int | None = None) -> None:
        for item in self._held.copy():
            if item[0] != os.getpid() or trace not in (None, item[1]):
                continue  # what a forked process inherited is its parent's to write
            try:
                self._held.remove(item)
            except ValueError:
                continue  # another thread was faster
            self.redactor.refresh()
            clean = tracefile.copy(item[3], item[2], self.redactor.again)
            try:
                tracefile.write(self.path, clean)
            except OSError as error:
                self.lost += 1
                if self.lost == 1:
                    _log.warning("The trace %s cannot be written: %s", self.path, error.strerror)
            if self._sink:
                self._sink.on_end(clean)


_active: Trace | None = None
_own: TracerProvider | None = None
_hooked: WeakSet[TracerProvider] = WeakSet()


def start(path: Path | str | None = None, pii: Sequence[str] = PII, content: bool = False) -> Trace:
    """Record from now on. One trace runs at a time: starting another ends the one before.

    With OTEL_EXPORTER_OTLP_ENDPOINT set, spans also go to that collector. If the program has set up OpenTelemetry itself, its provider is used;
    else one of our own, and the global one stays free.

    Args:
        path: The file, which is added to; by default a new one in ``traces`` of the data folder, see ``Trace.path``.
        pii: Words in the names of arguments and result fields whose values must not be recorded.
        content: Whether to record texts: messages, answers, texts in arguments and results, errors. They are scrubbed.

    Raises:
        ConfigError: The file cannot be written, or the OTLP exporter is not installed.
        OfflineError: A collector is configured although the network is switched off.
    """
    global _active, _own
    given = otel.get_tracer_provider()
    provider = given if isinstance(given, TracerProvider) else _own
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.jsonl"
    file = Path(path if path is not None else settings().home / "traces" / name).resolve()
    try:
        tracefile.prepare(file)
    except OSError as error:
        raise ConfigError(
            f"No trace can be written to {file}: {error.strerror}.", "Name another path."
        ) from error
    if provider is None:
        resource = Resource.create({"service.name": "labkit"})
        provider = _own = TracerProvider(ALWAYS_ON, resource, id_generator=tracefile.SystemIds())
    sink = None if provider is given else tracefile.collector()
    if provider not in _hooked:
        provider.add_span_processor(_Forward())
        _hooked.add(provider)
    if _active:
        _active.stop()
    _active = Trace(file, provider.get_tracer("labkit"), Redactor(pii, content=content), sink)
    return _active


class _Forward(SpanProcessor):
    """Hands labkit's spans to the running trace. A provider cannot let go of a processor, so this one stays."""

    def on_start(self, span: ReadableSpan, parent_context: otel_context.Context | None = None) -> None:
        if (active := _active) and span.instrumentation_scope and span.instrumentation_scope.name == "labkit":
            active.began(span)

    def on_end(self, span: ReadableSpan) -> None:
        if active := _active:
            active.ended(span)

    def shutdown(self) -> None:
        if active := _active:
            active.stop()


# --- opening spans: next to nothing happens while no trace runs ---


@contextmanager
def agent_span(name: str, conversation_id: str = "") -> Generator[Span]:
    """The span of one turn. A generator that uses it needs ``own_context``."""
    with _span("invoke_agent", name) as span:
        span.set_attributes({"gen_ai.agent.name": name, "gen_ai.conversation.id": conversation_id})
        yield span


def finish_agent(span: Span, stop: str, steps: int) -> None:
    """Note in an agent's span why the turn ended and how many steps it took."""
    span.set_attributes({"labkit.stop": stop, "labkit.steps": steps})


def trace_id(span: Span) -> str:
    """Where to find a span's run in the file; empty if none is recorded."""
    return otel.format_trace_id(span.get_span_context().trace_id) if span.is_recording() else ""


@contextmanager
def tool_span(call: ToolCall) -> Generator[Span]:
    """The span of one tool call."""
    with _span("execute_tool", _clean(call.name) if _active else "") as span:
        if span.is_recording():
            span.set_attributes({"gen_ai.tool.name": _clean(call.name), "gen_ai.tool.type": "function"})
            span.set_attributes({"gen_ai.tool.call.id": _clean(call.id)})
            span.set_attributes({"gen_ai.tool.call.arguments": _clean(call.arguments)})
        yield span


def span_result(span: Span, result: ToolResult) -> None:
    """Note a tool's result in its span."""
    if span.is_recording():
        span.set_attribute("gen_ai.tool.call.result", _clean(result.content))
        if not result.ok:
            _fail(span, "tool_error", result.content)


def chat(backend: str, request: Request, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks, in a span; without a trace the very same iterator. Closing it closes ``chunks``."""
    return _chat(backend, request, chunks, otel_context.get_current()) if _active else chunks


def _chat(
    backend: str, request: Request, chunks: Iterator[Chunk], parent: otel_context.Context
) -> Generator[Chunk]:
    text, last = "", None
    with ExitStack() as stack:
        # not the current span: what runs between two chunks is the caller's
        span = stack.enter_context(_model_span("chat", backend, request.messages, parent))
        stack.callback(getattr(chunks, "close", lambda: None))
        span.set_attributes(
            {
                "gen_ai.request.max_tokens": request.max_tokens,
                "gen_ai.request.temperature": request.temperature,
                "gen_ai.request.seed": request.seed,
                "gen_ai.output.type": "text" if request.schema is None else "json",
            }
        )
        for last in chunks:
            text += last.text
            yield last
        if last is None or last.finish_reason is None:
            _fail(span, "incomplete", "The stream ended without a finish reason.")
        else:
            _usage(span, last.usage)
            span.set_attribute("gen_ai.response.finish_reasons", [last.finish_reason])
            if _redactor().content:
                said = _messages((Message("assistant", text),), finish_reason=last.finish_reason)
                span.set_attribute("gen_ai.output.messages", said)


@contextmanager
def score_span(backend: Any, messages: Sequence[Message], choices: Sequence[str]) -> Generator[None]:
    """The span of one scoring. Its tokens are what the engine counts meanwhile: exact while one thread asks."""
    with _model_span("score", backend.name, messages) as span:
        engine = getattr(backend, "engine", None) if span.is_recording() else None
        asked, read = getattr(engine, "prompt_tokens", 0), getattr(engine, "read_tokens", 0)
        span.set_attribute("labkit.choices", len(choices))
        yield
        if engine:
            asked, read = engine.prompt_tokens - asked, engine.read_tokens - read
            _usage(span, Usage(asked, asked - read))


def own_context(generator: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """Decorate a generator that opens spans: they are current inside it, not in the code between its steps.

    So streams may be interleaved, dropped half-way, or closed from another thread.
    """

    @wraps(generator)
    def run(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        context, over = copy_context(), object()
        steps = context.run(generator, *args, **kwargs)
        try:
            while (step := context.run(next, steps, over)) is not over:
                yield step  # pyright: ignore[reportReturnType]
        finally:
            context.run(getattr(steps, "close", lambda: None))

    return run


@contextmanager
def route_span(name: str) -> Generator[Span]:
    """The span of one routing decision."""
    with _span("route", name) as span:
        yield span


@contextmanager
def _span(
    operation: str, name: str, kind: SpanKind = SpanKind.INTERNAL, parent: otel_context.Context | None = None
) -> Generator[Span]:
    """Open a span; it becomes the current one unless a parent is given."""
    if (active := _active) is None:
        yield INVALID_SPAN
        return
    span = active.tracer.start_span(f"{operation} {name}", parent, kind)
    span.set_attribute("gen_ai.operation.name", operation)
    before = otel_context.get_current()
    if parent is None:
        otel_context.attach(otel.set_span_in_context(span))
    try:
        yield span
    except GeneratorExit:  # the caller has enough: no fault
        raise
    except BaseException as error:
        _fail(span, type(error).__name__, getattr(error, "message", error))
        raise
    finally:
        if otel.get_current_span() is span:  # not so where a generator was closed from elsewhere
            otel_context.attach(before)
        span.end()


@contextmanager
def _model_span(
    operation: str, backend: str, messages: Sequence[Message], parent: otel_context.Context | None = None
) -> Generator[Span]:
    runtime, _, model = backend.partition(":")
    with _span(operation, model or runtime, SpanKind.CLIENT, parent) as span:
        span.set_attribute("gen_ai.provider.name", f"labkit.{runtime}")
        span.set_attribute("gen_ai.request.model", model or runtime)
        if span.is_recording() and _redactor().content:
            span.set_attribute("gen_ai.input.messages", _messages(messages))
        yield span


def _usage(span: Span, used: Usage | None) -> None:
    if used:
        span.set_attributes(
            {
                "gen_ai.usage.input_tokens": used.prompt_tokens,
                "gen_ai.usage.cache_read.input_tokens": used.cached_tokens,
                "gen_ai.usage.output_tokens": used.completion_tokens,
                "labkit.prefill_s": used.prefill_s,
                "labkit.decode_s": used.decode_s,
            }
        )


def _fail(span: Span, kind: str, text: object) -> None:
    span.set_attribute("error.type", kind)
    described = f"{kind}: {_clean(text)}" if _redactor().content else kind
    span.set_status(Status(StatusCode.ERROR, described))


def _redactor() -> Redactor:
    return active.redactor if (active := _active) else Redactor()


def _clean(value: object) -> str:
    clean = _redactor().clean(value)
    return clean if isinstance(clean, str) else dump(clean)


def _messages(messages: Sequence[Message], **more: str) -> str:
    """Messages in the form of the conventions."""
    shown: list[dict[str, Any]] = []
    for m in messages:
        parts: list[dict[str, Any]] = [{"type": "text", "content": _clean(m.content)}]
        if m.tool_call_id:
            answer = {"id": _clean(m.tool_call_id), "response": _clean(m.content)}
            parts = [{"type": "tool_call_response", **answer}]
        for c in m.tool_calls:
            call = {"id": _clean(c.id), "name": _clean(c.name), "arguments": _redactor().clean(c.arguments)}
            parts.append({"type": "tool_call", **call})
        shown.append({"role": m.role, "parts": parts, **more})
    return dump(shown)
