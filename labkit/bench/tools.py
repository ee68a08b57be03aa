"""``labkit bench tools``: how often the embedded model calls the right tool with the right arguments, and at what price.

It runs on the 40 cases in ``data/tools`` and, after ``labkit data pull bfcl``, on BFCL v4. Weights were fitted on the even-numbered items
of simple_python (and on requests of our own that are in no case here), so the default sample takes odd ones, and the full run reports
the odd half apart (``heldout``).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import labkit
from labkit import data, models
from labkit.bench import bfcl
from labkit.bench.figures import Figure, median, share
from labkit.client import Client
from labkit.config import Settings, settings
from labkit.decoding import Strategy, call_tools
from labkit.decoding.strategies import union_schema
from labkit.errors import ConfigError, LabkitError, ToolCallError
from labkit.messages import Message, ToolCall, as_messages
from labkit.tools import ToolRegistry

SAMPLE = {"own": 40, "simple_python": 30, "multiple": 20, "parallel": 10, "irrelevance": 20}
"""Cases of a default run."""
BASELINES = 8
"""Cases of a default run that each of the other strategies gets."""
OTHERS = ("text_only", "union", "vote", "prompt", "chatml")
VERSION = 6
"""Counted up when decoding changes, so that a resumed run does not mix two versions."""


@dataclass(frozen=True)
class Outcome:
    """One case, answered one way.

    Attributes:
        strategy, category, case: What was asked, and how.
        error: None if right, else the kind of error.
        called: Whether any call came out.
        seconds: From the request to the calls.
    """

    strategy: str
    category: str
    case: str
    error: str | None
    called: bool
    seconds: float


def run(*, full: bool = False, strategies: Sequence[str] = OTHERS) -> list[Figure]:
    """Measure accuracy on our cases and, where they were pulled, BFCL's; baselines on the first of them; cost.

    Args:
        full: All cases. What was measured before is kept in the cache, and an interrupted run goes on where it stopped.
        strategies: The ways to compare ``choose_fill`` with.
    """
    chosen = settings(backend="llamacpp:smollm2-135m")
    client = labkit.load(chosen.backend)
    log = _Log(chosen.cache / "bench" / f"tools-{VERSION}.jsonl" if full else None)
    figures: list[Figure] = []
    sets = _sets(chosen, full=full)
    for category, cases in sets.items():
        outcomes = [_measure(client, "choose_fill", case, log) for case in _progress(cases, category)]
        figures += _summary(f"tools.{category}", outcomes)
        if category == "simple_python":
            figures.append(share("tools.false_none", [not o.called for o in outcomes]))
            if full:
                figures.append(
                    share("tools.simple_python.heldout_accuracy", [o.error is None for o in outcomes[1::2]])
                )
        if category in ("simple_python", "own"):
            some = cases if full and category == "own" else cases[:BASELINES]
            for strategy in strategies:
                baseline = [
                    _measure(client, strategy, case, log)
                    for case in _progress(some, f"{category}, {strategy}")
                ]
                figures += _summary(f"tools.{category}.{strategy}", baseline)[:2]
    if len(sets) > 1:
        figures.append(share("tools.check_agreement", bfcl.agreement(chosen)))
    return [*figures, *_cost(client)]


def own_cases() -> list[bfcl.Case]:
    """The 40 cases of this course.

    Raises:
        LabError: The file is not there.
    """
    path = data.path("tools/cases.jsonl")
    return [
        bfcl.Case(
            c["id"],
            c["category"],
            ({"role": "user", "content": c["request"]},),
            tuple(c["functions"]),
            tuple(c["answers"]),
        )
        for c in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    ]


def answer(client: Client, strategy: str, case: bfcl.Case) -> tuple[ToolCall, ...]:
    """The calls that a strategy makes for a case. A reply that is no valid call counts as no call."""
    registry = ToolRegistry.from_bfcl(case.functions)
    messages = as_messages([dict(m) for m in case.messages])
    parallel = case.category == "parallel"
    if strategy == "chatml":
        return _chatml(registry, messages)
    if strategy == "text_only":
        return _text_only(client, registry, messages)
    known: dict[str, Strategy] = {s: s for s in ("choose_fill", "union", "vote", "prompt")}  # type: ignore[misc]
    return call_tools(
        client, messages, registry, strategy=known[strategy], parallel=parallel, samples=3
    ).calls


def _text_only(client: Client, registry: ToolRegistry, messages: tuple[Message, ...]) -> tuple[ToolCall, ...]:
    """``choose_fill`` without the model: what the evidence in the text gives alone."""
    from labkit.decoding.choose import choose
    from labkit.decoding.fill import fill

    chosen = choose(client, registry, messages[-1].content, none=True, ask_model=False)
    if chosen.tool is None:
        return ()
    arguments = fill(client, chosen.tool, messages[-1].content, ask_model=False).arguments
    return (ToolCall(chosen.tool.name, arguments),)


def _measure(client: Client, strategy: str, case: bfcl.Case, log: _Log) -> Outcome:
    key = (strategy, case.category, case.id)
    if key in log.known:
        return log.known[key]
    started = time.perf_counter()
    try:
        calls, failed = answer(client, strategy, case), None
    except (
        LabkitError,
        ValueError,
    ) as error:  # llama-cpp-python raises ValueError for a prompt that is too long
        calls, failed = (), type(error).__name__
    seconds = time.perf_counter() - started
    outcome = Outcome(*key, failed or bfcl.check(case, calls), bool(calls), seconds)
    log.add(outcome)
    return outcome


class _Log:
    """Outcomes on disk, one a line, so that a long run can go on."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.is_file() else []
        outcomes = [Outcome(**json.loads(line)) for line in lines]
        self.known = {(o.strategy, o.category, o.case): o for o in outcomes}

    def add(self, outcome: Outcome) -> None:
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcome.__dict__) + "\n")


def _sets(chosen: Settings, *, full: bool) -> dict[str, list[bfcl.Case]]:
    sets = {"own": [replace(c, id=f"own_{c.id}") for c in own_cases()]}  # BFCL has ids of the same form
    for category in bfcl.CATEGORIES:
        try:
            sets[category] = bfcl.load(chosen, category)
        except ConfigError:  # not pulled: our own cases alone
            continue
    if full:
        return sets
    picked: dict[str, list[bfcl.Case]] = {}
    for category, cases in sets.items():
        cases = cases[1::2] if category == "simple_python" else cases
        step = max(1, len(cases) // SAMPLE[category])
        picked[category] = cases[::step][: SAMPLE[category]]
    return picked


def _summary(name: str, outcomes: Sequence[Outcome]) -> list[Figure]:
    """Accuracy, seconds per item, and the share of each kind of error."""
    errors = Counter(o.error for o in outcomes if o.error)
    return [
        share(f"{name}.accuracy", [o.error is None for o in outcomes]),
        median(f"{name}.seconds", [o.seconds for o in outcomes], "s"),
        *(share(f"{name}.error.{kind}", [o.error == kind for o in outcomes]) for kind in sorted(errors)),
    ]


def _cost(client: Client) -> list[Figure]:
    """What constraining costs in time, and how much of its prompt a second request with the same tools reads again."""
    cases = [c for c in own_cases() if c.category in ("simple", "multiple")][:10]
    ratios = [_time_ratio(client, case) for case in cases[:6]]
    reread = [ratio for case in cases if (ratio := _reread(client, case)) is not None]
    return [
        median("tools.constrained_time_ratio", ratios, "ratio"),
        median("tools.reread_ratio", reread, "ratio"),
    ]


def _time_ratio(client: Client, case: bfcl.Case) -> float:
    """Seconds a token under the schema over seconds a token without it, same prompt, prompt in the cache."""
    registry, text = ToolRegistry.from_bfcl(case.functions), case.messages[-1]["content"]
    schema = union_schema(registry, none=False)
    client.complete(text, schema=schema, max_tokens=1)  # compiles the grammar and reads the prompt
    bound = client.complete(text, schema=schema, max_tokens=48).usage
    free = client.complete(text, max_tokens=max(2, bound.completion_tokens)).usage
    return free.decode_per_s / bound.decode_per_s if bound.decode_per_s else 1.0


def _reread(client: Client, case: bfcl.Case) -> float | None:
    """Tokens read over tokens in all prompts of a second request, after a first one with the same tools.

    None where the words of the request decided alone and the model was not asked.
    """
    from labkit.backends.llamacpp import LlamaCppBackend

    backend = client.backend
    assert isinstance(backend, LlamaCppBackend)
    registry, request = ToolRegistry.from_bfcl(case.functions), case.messages[-1]["content"]
    call_tools(client, "What can you do for me today?", registry, choice="required")
    before = backend.engine.prompt_tokens, backend.engine.read_tokens
    call_tools(client, request, registry, choice="required")
    asked, read = backend.engine.prompt_tokens - before[0], backend.engine.read_tokens - before[1]
    return read / asked if asked else None


def _chatml(registry: ToolRegistry, messages: tuple[Message, ...]) -> tuple[ToolCall, ...]:
    """llama-cpp-python's own ``chatml-function-calling`` handler; a single tool is named, as its users do."""
    llama = _llama()
    choice: Any = (
        {"type": "function", "function": {"name": registry.names[0]}} if len(registry) == 1 else "auto"
    )
    dialogue: Any = [
        {"role": "system", "content": "You call functions."},
        *({"role": m.role, "content": m.content} for m in messages),
    ]
    tools: Any = registry.to_openai()
    reply: Any = llama.create_chat_completion(
        dialogue, tools=tools, tool_choice=choice, temperature=0.0, max_tokens=256
    )
    calls: list[ToolCall] = []
    for made in reply["choices"][0]["message"].get("tool_calls") or []:
        try:
            calls.append(
                registry.validate(
                    ToolCall(made["function"]["name"], json.loads(made["function"]["arguments"]))
                )
            )
        except (ToolCallError, ValueError):
            continue
    return tuple(calls)


_bare: list[Any] = []


def _llama() -> Any:
    """The bare engine with its handler, loaded once."""
    if not _bare:
        from llama_cpp import Llama

        path = models.locate("llamacpp", "smollm2-135m", settings())
        _bare.append(Llama(str(path), n_ctx=4096, chat_format="chatml-function-calling", verbose=False))
    return _bare[0]


def _progress(cases: Iterable[bfcl.Case], what: str) -> Iterable[bfcl.Case]:
    from rich.console import Console
    from rich.progress import track

    return track(list(cases), description=what, console=Console(stderr=True), transient=True)
