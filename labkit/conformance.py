"""The conformance suite: what every backend must do, checked by effect. ``labkit backends test SPEC`` runs it.

A check never looks at what a model says, only at shapes, limits and errors; a capability that is declared must show, and one
that is not must raise. Each check is a function of a loaded client; it returns a word on what it saw, or raises.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from labkit.client import Client, load
from labkit.errors import CapabilityMissing, ContextOverflow, GenerationTimeout, LabkitError
from labkit.jsonschemas import ValidationError, validate
from labkit.messages import Chunk, assistant, user
from labkit.tools import ToolRegistry, tool

STORY = "Tell me a long story about a boat."
ODD = "Grüße, 世界 😀"
"""Characters of one to four bytes: most tokenizers split the last one."""
CARD = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["kelp", "krill"]},
        "fresh": {"type": "boolean"},
        "note": {"type": "string", "maxLength": 12},
    },
    "required": ["kind", "fresh", "note"],
    "additionalProperties": False,
}

Status = Literal["passed", "failed", "skipped"]
T = TypeVar("T")


class Skipped(Exception):
    """A check does not apply; the text says why."""


@dataclass(frozen=True)
class Result:
    """What became of one check."""

    name: str
    status: Status
    detail: str
    seconds: float


def stream(client: Client) -> str:
    """Only the last chunk ends the answer, and the pieces are the whole."""
    client.complete(
        "Name a colour.", max_tokens=8
    )  # some engines round otherwise when the prompt is in the cache
    chunks = list(client.stream("Name a colour.", max_tokens=8))
    ends = [c.finish_reason is not None for c in chunks]
    require(ends == [False] * (len(ends) - 1) + [True], f"finish_reason stands in chunks {ends}")
    require([c.usage is not None for c in chunks] == ends, "usage stands elsewhere than in the last chunk")
    text = "".join(c.text for c in chunks)
    require(text != "", "no text came")
    if not client.capabilities.seed:
        return f"{len(chunks)} chunks"
    _same(client.complete("Name a colour.", max_tokens=8).text, text, "the whole and the joined stream")
    return f"{len(chunks)} chunks, the same as the whole"


def max_tokens(client: Client) -> str:
    """The limit holds, and is told as ``length``."""
    answer = client.complete(STORY, max_tokens=3)
    _same(answer.finish_reason, "length", "finish_reason")
    require(0 < answer.usage.completion_tokens <= 3, f"{answer.usage.completion_tokens} tokens came for 3")
    return f"{answer.usage.completion_tokens} tokens"


def stop(client: Client) -> str:
    """The text ends before a stop string."""
    answer = client.complete(STORY, max_tokens=40, stop=[" ", "\n"])
    require(not {" ", "\n"} & set(answer.text), f"a stop string is in {answer.text!r}")
    _same(answer.finish_reason, "stop", "finish_reason")
    return f"stopped after {len(answer.text)} characters"


def usage(client: Client) -> str:
    """Tokens and seconds are told."""
    cost = client.complete(STORY, max_tokens=6).usage
    require(1 <= cost.completion_tokens <= 6, f"completion_tokens is {cost.completion_tokens}")
    require(cost.prefill_s > 0, "prefill_s is missing")
    return "tokens told" if cost.prompt_tokens else "pieces counted: the runtime tells no usage"


def schema(client: Client) -> str:
    """Output bound to a schema is valid."""
    _needs(client, "schema", schema={"type": "object"})
    answer = client.complete("Say hello.", schema=CARD, max_tokens=80)
    _same(answer.finish_reason, "stop", "finish_reason")
    validate(answer.json(), CARD)
    return answer.text


def bounds(client: Client) -> str:
    """The limits of a number in a schema hold."""
    if not client.capabilities.schema:
        raise Skipped("no schema")
    number = {"type": "integer", "minimum": 7003, "maximum": 7009}
    only = {"type": "object", "properties": {"n": number}, "required": ["n"], "additionalProperties": False}
    answer = client.complete("How many boats are there?", schema=only, max_tokens=40)
    validate(answer.json(), only)
    return answer.text


def unicode(client: Client) -> str:
    """Characters of several bytes arrive whole, however they are cut into tokens and chunks."""
    if not client.capabilities.schema:
        require("\ufffd" not in client.complete(STORY, max_tokens=16).text, "a broken character came")
        raise Skipped("no schema to make it write such characters")
    only = {"type": "object", "properties": {"a": {"type": "string", "enum": [ODD]}}, "required": ["a"]}
    answer = client.complete("Say hello.", schema={**only, "additionalProperties": False}, max_tokens=80)
    _same(answer.json(), {"a": ODD}, "the text")
    return ODD


def grammar(client: Client) -> str:
    """Output bound to a grammar is in its language."""
    _needs(client, "grammar", grammar='start: "a"')
    answer = client.complete("Say hello.", grammar='start: "kelp" | "krill"', max_tokens=12)
    require(answer.text in ("kelp", "krill"), f"{answer.text!r} is not in the language")
    return answer.text


def logprobs(client: Client) -> str:
    """Each token has a log-probability, and as many alternatives as were asked for."""
    _needs(client, "logprobs", logprobs=1)
    answer = client.complete(STORY, max_tokens=5, logprobs=2)
    _same(len(answer.logprobs), answer.usage.completion_tokens, "log-probabilities and tokens")
    for item in answer.logprobs:
        require(item.logprob <= 1e-6, f"{item.logprob} is no log-probability")
        require(len(item.top) == 2 and item.top[0][1] >= item.top[1][1], f"the alternatives are {item.top}")
    return f"{len(answer.logprobs)} tokens"


def score(client: Client) -> str:
    """Choices are scored; their shares sum to one."""
    _declared(client, "score", lambda: client.score("Is ice cold?", ["yes", "no"]))
    found = client.score("Is ice cold?", ["yes", "no"])
    require(abs(sum(s.probability for s in found) - 1) < 1e-6, "the shares do not sum to one")
    require(found[0].logprob >= found[1].logprob and found[0].logprob < 0, "they are not in order")
    return f"{found[0].choice} {found[0].probability:.2f}"


def logits(client: Client) -> str:
    """Tokenizer, template and logits are open, and fit together."""
    _declared(client, "logits", lambda: client.tokenize("a"))
    words = "A small red boat."
    _same("".join(client.pieces(words)), words, "the joined pieces")
    require(words in client.render(words), "the text is not in the filled template")
    found = client.logits(words)
    require(found.ndim == 1 and len(found) > max(client.tokenize(words)), f"the shape is {found.shape}")
    return f"vocabulary {len(found)}"


def seed(client: Client) -> str:
    """Sampling repeats with the same seed, and varies with it."""
    if not client.capabilities.seed:
        raise Skipped("not declared")
    texts = [client.complete(STORY, max_tokens=10, temperature=1.5, seed=n).text for n in (5, 5, 5, 6, 7)]
    _same(texts[2], texts[1], "two answers with one seed")
    require(len(set(texts[1:])) > 1, "other seeds change nothing")
    return f"{len(set(texts[1:]))} texts of 3 seeds"


def prefix_cache(client: Client) -> str:
    """A second turn re-uses what the first one read."""
    if not client.capabilities.prefix_cache:
        raise Skipped("not declared")
    asked = user("The ferry leaves at nine from the old harbour. When does it leave?")
    said = client.complete([asked], max_tokens=4)
    cached = client.complete([asked, assistant(said.text), user("Where?")], max_tokens=2).usage.cached_tokens
    require(cached > 0, "nothing was re-used")
    return f"{cached} tokens re-used"


def context(client: Client) -> str:
    """A prompt that is too long raises; it is not cut."""
    size = client.capabilities.context
    if not size:
        raise Skipped("the runtime does not tell its context")
    _raises(ContextOverflow, lambda: client.complete("sea " * (size + 100), max_tokens=2))
    return f"{size} tokens"


def tools(client: Client) -> str:
    """A valid tool call comes out of ``call_tools``, by the best strategy that the capabilities allow."""
    from labkit.decoding import call_tools

    @tool
    def set_timer(minutes: Annotated[int, Field(description="How long.", ge=1, le=60)]) -> str:
        """Set a kitchen timer.

        Args:
            minutes: How long.
        """
        return f"{minutes} minutes"

    registry = ToolRegistry(set_timer)
    decided = call_tools(client, "Set a timer for 7 minutes, please.", registry, choice="required")
    if decided.strategy == "prompt" and not decided.calls:
        raise Skipped("only a prompt to work with, and the model wrote no call")
    _same([c.name for c in decided.calls], ["set_timer"], f"the calls by {decided.strategy}")
    return f"by {decided.strategy}: {dict(decided.calls[0].arguments)}"


def eight_at_once(client: Client) -> str:
    """Eight requests at the same time get eight answers."""
    started = time.perf_counter()
    answers = client.batch([f"What comes after {n}?" for n in range(8)], max_tokens=4)
    require(len(answers) == 8 and all(a.text for a in answers), "an answer is missing")
    made = sum(a.usage.completion_tokens for a in answers)
    return f"{made / (time.perf_counter() - started):.0f} tokens/s together"


def cancellation(client: Client) -> str:
    """A stream that is closed early leaves the backend usable."""
    with closing(client.stream(STORY, max_tokens=400)) as left:  # type: ignore[type-var]
        first: Chunk = next(left)
    require(first.finish_reason is None, "the answer was over at once")
    started = time.perf_counter()
    require(client.complete("Hi", max_tokens=2).text != "", "no text after a cancelled stream")
    return f"the next answer took {time.perf_counter() - started:.2f} s"


def time_out(client: Client) -> str:
    """A time-out raises, and the backend stays usable."""
    _raises(GenerationTimeout, lambda: client.complete(STORY, max_tokens=200, timeout_s=0.001))
    require(client.complete("Hi", max_tokens=2).text != "", "no text after a time-out")
    return ""


def health(client: Client) -> str:
    """A loaded backend is well, and loading it again changes nothing."""
    client.backend.load()
    found = client.health()
    require(found.ok, found.detail)
    return found.detail


CHECKS: Mapping[str, Callable[[Client], str]] = {
    check.__name__: check
    for check in (
        *(
            health,
            stream,
            max_tokens,
            stop,
            usage,
            schema,
            bounds,
            unicode,
            grammar,
            logprobs,
            score,
            logits,
            seed,
        ),
        *(prefix_cache, context, tools, eight_at_once, cancellation, time_out),
    )
}
"""The checks by name, in order."""


def run(client: Client) -> Iterator[Result]:
    """Run all checks, one result each, as they come."""
    for name, check in CHECKS.items():
        yield attempt(name, lambda check=check: check(client))


def attempt(name: str, check: Callable[[], str]) -> Result:
    """Run one check. What a check or a backend raises is its result."""
    started, status = time.perf_counter(), "passed"
    try:
        detail = check()
    except Skipped as reason:
        status, detail = "skipped", str(reason)
    except LabkitError as error:
        status, detail = "failed", error.message
    except (AssertionError, ValidationError, json.JSONDecodeError) as error:
        status, detail = "failed", str(error).partition("\n")[0]
    except Exception as error:  # a backend's bug is a result too, and must not hide the other checks
        status, detail = "failed", f"it raised {type(error).__name__}: {error}"
    return Result(name, status, detail, time.perf_counter() - started)


def test(spec: str) -> Iterator[Result]:
    """Load a backend and run the suite on it; if it asks a server, the faults of a scripted server too.

    Raises:
        LabkitError: It cannot be loaded.
    """
    from labkit.backends.openai_http import OpenAIBackend
    from labkit.conformance_http import run_faults

    with load(spec) as client:
        yield from run(client)
        if isinstance(client.backend, OpenAIBackend):
            yield from run_faults()


test.__test__ = False  # type: ignore[attr-defined]  # pytest must not take it for one


def _needs(client: Client, capability: str, **options: Any) -> None:
    _declared(client, capability, lambda: client.complete("Hi", max_tokens=2, **options))


def _declared(client: Client, capability: str, use: Callable[[], object]) -> None:
    """Skip what is not declared, after seeing that using it raises."""
    if not getattr(client.capabilities, capability):
        _raises(CapabilityMissing, use)
        raise Skipped("not declared, and raises")


def require(fact: bool, otherwise: str) -> None:
    """Fail a check with a sentence."""
    if not fact:
        raise AssertionError(otherwise)


def _same(found: T, expected: T, what: str) -> None:
    require(found == expected, f"{what}: {found!r} and not {expected!r}")


def _raises(kind: type[Exception], use: Callable[[], object]) -> None:
    try:
        use()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} did not come")
