"""What a runtime must offer: one method, ``stream``, and a few facts about itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from labkit.messages import Capabilities, Chunk, Completion, Health, Message, Request, Scored
from labkit.sampling import Logits, softmax


@runtime_checkable
class Backend(Protocol):
    """A runtime that answers requests. Its constructor neither downloads nor starts anything: ``load`` does."""

    @property
    def name(self) -> str:
        """What to call it, such as ``llamacpp:smollm2-135m``."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this runtime can do with this model."""
        ...

    def load(self) -> None:
        """Make the model ready. Doing it twice does nothing more.

        Raises:
            BackendUnavailable: The runtime is not installed or does not answer.
            ModelFileError: The model's file cannot be used.
        """
        ...

    def stream(self, request: Request) -> Iterator[Chunk]:
        """Yield the answer in pieces; only the last chunk carries ``finish_reason`` and ``usage``.

        Closing the iterator early stops the generation and leaves the backend usable.
        """
        ...

    def health(self) -> Health:
        """Whether it can answer now."""
        ...

    def close(self) -> None:
        """Give back memory and processes. ``load`` works again afterwards."""
        ...


@runtime_checkable
class Scores(Protocol):
    """A backend with ``capabilities.score``."""

    def score(self, messages: tuple[Message, ...], choices: Sequence[str]) -> list[Scored]:
        """The log-probability of each choice as the assistant's next words, in the order given."""
        ...


@runtime_checkable
class OpenModel(Protocol):
    """A backend with ``capabilities.logits``: its tokenizer, template and logits are open to the caller."""

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a plain text; control tokens written in it are read as text."""
        ...

    def piece(self, token: int) -> str:
        """The text of one token; bytes that are only part of a character show as the replacement character."""
        ...

    def render(self, messages: tuple[Message, ...]) -> str:
        """The text that the model really reads: the chat template filled in."""
        ...

    def encode(self, messages: tuple[Message, ...]) -> list[int]:
        """Token ids of a conversation as the model reads it, template and opened assistant turn included."""
        ...

    def logits(self, tokens: Sequence[int]) -> Logits:
        """Next-token logits after these tokens, shape (vocabulary,)."""
        ...


@runtime_checkable
class CallsTools(Protocol):
    """A backend with ``capabilities.tools``: the runtime itself takes tools and answers with calls."""

    def call_tools(self, request: Request, tools: Sequence[dict[str, Any]], choice: str) -> Message:
        """One assistant message, with the calls that the runtime made of the model's answer. Nothing is validated yet.

        Args:
            request: Messages and limits.
            tools: In the shape of OpenAI's ``tools``.
            choice: ``auto``, ``required`` or a tool's name.
        """
        ...


@runtime_checkable
class Batches(Protocol):
    """A backend that answers several requests in one go, faster than one after the other."""

    def batch(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in their order."""
        ...


@runtime_checkable
class Waits(Protocol):
    """A backend that waits for somebody else, a server for instance, and can give up waiting."""

    def stream_within(self, request: Request, timeout_s: float) -> Iterator[Chunk]:
        """As ``stream``.

        Raises:
            GenerationTimeout: Time is up; also when nothing at all came in that time.
        """
        ...


def lacking(capabilities: Capabilities, request: Request) -> list[str]:
    """Names of the capabilities that a request needs and that are not there."""
    asked = {
        "schema": request.schema is not None,
        "grammar": request.grammar is not None,
        "logprobs": request.logprobs > 0,
    }
    return [name for name, wanted in asked.items() if wanted and not getattr(capabilities, name)]


def scored(rows: Sequence[tuple[str, float, int]]) -> list[Scored]:
    """Build ``Scored`` from (choice, logprob, tokens), with each choice's share among all of them."""
    shares = softmax(np.array([logprob for _, logprob, _ in rows]))
    return [Scored(*row, probability=float(share)) for row, share in zip(rows, shares, strict=True)]
