"""The data that passes between an agent, a client and a backend. Plain, frozen, comparable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from labkit.errors import ConfigError

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length"]
JsonSchema = dict[str, Any]


@dataclass(frozen=True)
class ToolCall:
    """A model's wish to run a tool. Nothing runs until a registry has validated it.

    Attributes:
        name: The tool's name.
        arguments: Its arguments, by name.
        id: Joins the call to its result.
        logprob: Log-probability (natural log) of the decision to call, where the strategy measured it.
    """

    name: str
    arguments: Mapping[str, Any]
    id: str = "call_1"
    logprob: float | None = None


@dataclass(frozen=True)
class ToolResult:
    """What a tool answered, as text the model can read; ``ok`` is False for an error it may repair."""

    call_id: str
    content: str
    ok: bool = True


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: The text.
        tool_calls: The calls that an assistant message carries.
        tool_call_id: For a ``tool`` message: the call it answers.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


def system(content: str) -> Message:
    """A message that says how the assistant should behave."""
    return Message("system", content)


def user(content: str) -> Message:
    """A message from the person."""
    return Message("user", content)


def assistant(content: str) -> Message:
    """A message from the model."""
    return Message("assistant", content)


MessagesLike = str | Message | Mapping[str, str] | Sequence[Message | Mapping[str, str]]


def as_messages(value: MessagesLike) -> tuple[Message, ...]:
    """Read a prompt in any of the usual forms: text, one message, or a list of messages or dicts.

    Raises:
        ConfigError: The value is none of these, or a role is unknown.
    """
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(_as_message(item) for item in items)


def _as_message(item: object) -> Message:
    if isinstance(item, Message):
        return item
    if isinstance(item, str):
        return user(item)
    if isinstance(item, Mapping) and {"role", "content"} <= set(item):
        role, content = item["role"], item["content"]
        if role in ("system", "user", "assistant", "tool") and isinstance(content, str):
            return Message(role, content)
    raise ConfigError(
        f"{item!r} is not a message.",
        'Pass a string, a Message, or {"role": "system" | "user" | "assistant" | "tool", "content": "text"}.',
    )


@dataclass(frozen=True)
class Request:
    """What is asked of a backend.

    Attributes:
        messages: The conversation so far, oldest first.
        max_tokens: Upper bound on generated tokens.
        temperature: 0 is greedy (always the most probable token); 1 samples from the model's own distribution.
        top_p: Sample only from the smallest set of tokens whose probabilities sum to this.
        top_k: Sample only from this many tokens; 0 for all.
        seed: Makes sampling repeatable on one machine.
        stop: Generation ends before any of these strings.
        schema: A JSON schema that the text must match.
        grammar: A Lark grammar that the text must match. At most one of ``schema`` and ``grammar``.
        logprobs: How many alternatives to report for each token; 0 for no log-probabilities at all.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    schema: JsonSchema | None = None
    grammar: str | None = None
    logprobs: int = 0

    def __post_init__(self) -> None:
        problems = [
            text
            for bad, text in (
                (not self.messages, "messages is empty"),
                (self.max_tokens < 1, f"max_tokens is {self.max_tokens}, and must be at least 1"),
                (self.temperature < 0, f"temperature is {self.temperature}, and must not be negative"),
                (not 0 < self.top_p <= 1, f"top_p is {self.top_p}, and must be in (0, 1]"),
                (self.top_k < 0, f"top_k is {self.top_k}, and must not be negative"),
                (self.logprobs < 0, f"logprobs is {self.logprobs}, and must not be negative"),
                (
                    self.schema is not None and not isinstance(self.schema, dict),  # pyright: ignore[reportUnnecessaryIsInstance]
                    "schema is not a dict",
                ),
                ("" in self.stop, "stop holds an empty string"),
                (
                    self.schema is not None and self.grammar is not None,
                    "schema and grammar exclude each other",
                ),
            )
            if bad
        ]
        if problems:
            raise ConfigError(f"The request cannot be used: {'; '.join(problems)}.", "Correct these values.")


@dataclass(frozen=True)
class TokenLogprob:
    """A generated token, its log-probability (natural log), and the best alternatives, most probable first."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Usage:
    """What a completion cost.

    Attributes:
        prompt_tokens: Tokens in the prompt.
        cached_tokens: Those of them whose keys and values were still in the KV cache and were not read again.
        completion_tokens: Tokens generated, without the end-of-turn token.
        prefill_s: Seconds from the request to the first token.
        decode_s: Seconds from the first token to the last.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0

    @property
    def prefill_per_s(self) -> float:
        """Prompt tokens read per second (those not in the cache)."""
        return (self.prompt_tokens - self.cached_tokens) / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_per_s(self) -> float:
        """Tokens generated per second, after the first."""
        return (self.completion_tokens - 1) / self.decode_s if self.decode_s > 0 else 0.0


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed completion. The last one carries ``finish_reason`` and ``usage``."""

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


@dataclass(frozen=True)
class Completion:
    """A whole answer. ``str(completion)`` is its text."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()
    model: str = ""

    def __str__(self) -> str:
        return self.text

    def json(self) -> Any:
        """The text read as JSON.

        Raises:
            json.JSONDecodeError: It is not JSON, for instance because ``max_tokens`` cut it short.
        """
        return json.loads(self.text)


@dataclass(frozen=True)
class Scored:
    """A choice and the log-probability (natural log) that the model continues with exactly that text.

    Attributes:
        choice: The text.
        logprob: Sum of its tokens' log-probabilities.
        tokens: How many tokens it has.
        probability: Its share among the choices given (a softmax over their log-probabilities).
    """

    choice: str
    logprob: float
    tokens: int
    probability: float


@dataclass(frozen=True)
class Capabilities:
    """What a runtime can do, as data. Nothing is silently downgraded: what is False raises ``CapabilityMissing``.

    Attributes:
        schema: Output can be bound to a JSON schema.
        grammar: Output can be bound to a Lark grammar.
        logprobs: Log-probabilities of generated tokens.
        score: Log-probability of given continuations.
        logits: Raw next-token logits, the tokenizer and the chat template are open to the caller.
        seed: Sampling is repeatable.
        prefix_cache: The KV cache of a shared prompt prefix is reused.
        context: Context window in tokens; 0 where the runtime does not tell.
        tools: The runtime takes tools itself and answers with calls.
    """

    schema: bool = False
    grammar: bool = False
    logprobs: bool = False
    score: bool = False
    logits: bool = False
    seed: bool = False
    prefix_cache: bool = False
    context: int = 0
    tools: bool = False


@dataclass(frozen=True)
class Health:
    """Whether a runtime can answer now, and why not."""

    ok: bool
    detail: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
