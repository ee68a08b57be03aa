"""The client of the labs: one way to ask any backend. Collecting, time-outs and capability checks are written here, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from labkit import backends, trace
from labkit.backends import Backend, Batches, OpenModel, Scores, Waits, lacking
from labkit.config import DEFAULT_BACKEND, default_backend, settings
from labkit.errors import BackendError, CapabilityMissing, ConfigError, GenerationTimeout
from labkit.messages import (
    Capabilities,
    Chunk,
    Completion,
    Health,
    MessagesLike,
    Request,
    Scored,
    Usage,
    as_messages,
)
from labkit.sampling import Logits

T = TypeVar("T")
log = logging.getLogger(__name__)


class Client:
    """Asks a backend. Threads may share a client if its backend says so (the default one does).

    Args:
        backend: Any object with the methods of ``labkit.backends.Backend``.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do."""
        return self.backend.capabilities

    def stream(
        self, messages: MessagesLike, *, timeout_s: float | None = None, **options: Any
    ) -> Iterator[Chunk]:
        """Yield the answer as it is made.

        Args:
            messages: A text, a message, or a list of messages or dicts.
            timeout_s: Give up after this many seconds.
            **options: Fields of ``Request``: max_tokens, temperature, top_p, top_k, seed, stop, schema, grammar, logprobs.

        Raises:
            ConfigError: An option is unknown or out of range.
            CapabilityMissing: The backend cannot do what an option asks.
            ContextOverflow: The prompt is too long.
            GenerationTimeout: Time is up; the error carries the text so far.
        """
        request = _request(messages, options)
        self._require(request)
        chunks = self._timed(request, timeout_s) if timeout_s is not None else self.backend.stream(request)
        return trace.chat(self.backend.name, request, chunks)

    def complete(
        self, messages: MessagesLike, *, timeout_s: float | None = None, **options: Any
    ) -> Completion:
        """The whole answer. Arguments and errors are those of ``stream``."""
        with closing(self.stream(messages, timeout_s=timeout_s, **options)) as stream:  # type: ignore[type-var]
            answer = collect(stream, self.backend.name)
        return replace(answer, model=self.backend.name)  # with several backends: the one that answered

    def batch(self, prompts: Sequence[MessagesLike], *, at_once: int = 8, **options: Any) -> list[Completion]:
        """The whole answers to several prompts, in their order. Options and errors are those of ``stream``, without ``timeout_s``.

        Args:
            prompts: Each one as ``stream`` takes it.
            at_once: How many to ask at the same time, where the runtime has no batches of its own.
            **options: Fields of ``Request``, the same for all.
        """
        requests = [_request(prompt, dict(options)) for prompt in prompts]
        for request in requests:
            self._require(request)
        if isinstance(self.backend, Batches):
            return self.backend.batch(requests)
        with ThreadPoolExecutor(max(1, min(at_once, len(requests)))) as pool:
            return [f.result() for f in [pool.submit(self.complete, p, **options) for p in prompts]]

    def score(self, messages: MessagesLike, choices: Sequence[str]) -> list[Scored]:
        """How probable each choice is as the assistant's next words, most probable first.

        The log-probability is exact: the sum over the choice's own tokens, after the same prompt, which is read once.
        A long choice has more tokens to pay for; divide by ``tokens`` where lengths differ much.

        Raises:
            CapabilityMissing: The backend cannot score.
            ConfigError: There is no choice, or one is empty or occurs twice.
        """
        if not choices or "" in choices or len(set(choices)) < len(choices):
            raise ConfigError(
                f"{list(choices)} cannot be scored.", "Give at least one choice, none empty, none twice."
            )
        backend = self._ask(Scores, "score")
        asked = as_messages(messages)
        with trace.score_span(self.backend, asked, choices):
            return sorted(backend.score(asked, choices), key=lambda s: -s.logprob)

    def choose(self, messages: MessagesLike, choices: Sequence[str]) -> str:
        """The most probable choice."""
        return self.score(messages, choices)[0].choice

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self._ask(OpenModel, "logits").tokenize(text)

    def pieces(self, tokens: str | Sequence[int]) -> list[str]:
        """The text of each token of a text or of a list of ids."""
        model = self._ask(OpenModel, "logits")
        return [model.piece(t) for t in (model.tokenize(tokens) if isinstance(tokens, str) else tokens)]

    def render(self, messages: MessagesLike) -> str:
        """The text that the model really reads: the chat template filled in."""
        return self._ask(OpenModel, "logits").render(as_messages(messages))

    def encode(self, messages: MessagesLike) -> list[int]:
        """Token ids of a conversation as the model reads it: ``len`` of them is what a prompt costs."""
        return self._ask(OpenModel, "logits").encode(as_messages(messages))

    def logits(self, prompt: MessagesLike | Sequence[int], *, raw: bool = False) -> Logits:
        """Next-token logits, shape (vocabulary,).

        Args:
            prompt: A conversation; or token ids, which are read as they stand.
            raw: Read a text as it stands, without the chat template.
        """
        model = self._ask(OpenModel, "logits")
        if isinstance(prompt, list | tuple) and prompt and all(isinstance(item, int) for item in prompt):
            return model.logits([int(item) for item in prompt])  # type: ignore[arg-type]
        if not raw:
            return model.logits(model.encode(as_messages(prompt)))  # type: ignore[arg-type]
        if not isinstance(prompt, str):
            raise ConfigError("raw=True takes a text.", "Pass a string, or leave raw out.")
        return model.logits(model.tokenize(prompt))

    def health(self) -> Health:
        """Whether the backend can answer now."""
        return self.backend.health()

    def close(self) -> None:
        """Give back memory and processes."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        try:  # an error is on its way already: a complaint about closing must not hide it
            self.close()
        except BackendError:
            return

    def __repr__(self) -> str:
        return f"Client({self.backend.name!r})"

    def _ask(self, kind: type[T], capability: str) -> T:
        if not getattr(self.capabilities, capability) or not isinstance(self.backend, kind):
            raise self._missing(capability)
        return self.backend

    def _require(self, request: Request) -> None:
        if missing := lacking(self.capabilities, request):
            raise self._missing(missing[0])

    def _missing(self, capability: str) -> CapabilityMissing:
        return CapabilityMissing(
            f"{self.backend.name} has no {capability}.",
            f"Switch to {default_backend()}, which has every capability.",
        )

    def _timed(self, request: Request, timeout_s: float) -> Iterator[Chunk]:
        if isinstance(self.backend, Waits):
            yield from self.backend.stream_within(request, timeout_s)
            return
        deadline, partial = time.monotonic() + timeout_s, ""
        for chunk in self.backend.stream(request):
            partial += chunk.text
            if time.monotonic() > deadline and chunk.finish_reason is None:
                raise GenerationTimeout(
                    f"{self.backend.name} did not finish within {timeout_s:g} s ({len(partial)} characters came).",
                    "Allow more time, or fewer max_tokens.",
                    partial=partial,
                )
            yield chunk


def collect(stream: Iterator[Chunk], model: str = "") -> Completion:
    """Join a stream's chunks to a completion.

    Raises:
        BackendError: The stream ended without a finish reason.
    """
    chunks = list(stream)
    last = chunks[-1] if chunks else None
    if last is None or last.finish_reason is None:
        raise BackendError(f"{model or 'The backend'} broke off in the middle of an answer.", "Ask again.")
    return Completion(
        text="".join(c.text for c in chunks),
        finish_reason=last.finish_reason,
        usage=last.usage or Usage(),
        logprobs=tuple(item for c in chunks for item in c.logprobs),
        model=model,
    )


_open: WeakValueDictionary[str, Client] = WeakValueDictionary()


def load(spec: str | None = None, **options: Any) -> Client:
    """A client on a loaded model; the same client for the same arguments, as long as somebody holds it.

    Args:
        spec: ``runtime:model``, or ``runtime:model@url`` for a server; several, divided by ``|``, are tried in that order; by default ``LABKIT_BACKEND``, ``labkit.toml``, or the embedded model
            on the first engine that is installed (a warning says which, if it is not llama.cpp).
        **options: Engine settings: context, threads, batch, gpu_layers, mlock.

    Raises:
        UnknownRuntime, UnknownModel: The spec names nothing that exists.
        ModelFileError: The model's file cannot be used.
        BackendUnavailable: The runtime is not installed or does not answer.
    """
    chosen = settings(backend=spec, **options)
    key = chosen.model_dump_json()
    client = _open.get(key)
    if client is None or not client.health().ok:
        client = Client(backends.create(chosen.backend, chosen))
        client.backend.load()
        if spec is None and chosen.backend == default_backend() != DEFAULT_BACKEND:
            log.warning("llama-cpp-python is not installed; %s answers.", chosen.backend)
        _open[key] = client
    return client


def _request(messages: MessagesLike, options: dict[str, Any]) -> Request:
    unknown = options.keys() - Request.__dataclass_fields__.keys()
    if unknown:
        raise ConfigError(
            f"Unknown option: {', '.join(sorted(unknown))}.",
            f"Options are {', '.join(f for f in Request.__dataclass_fields__ if f != 'messages')}.",
        )
    if isinstance(options.get("stop"), str):
        options["stop"] = (options["stop"],)
    elif "stop" in options:
        options["stop"] = tuple(options["stop"])
    return Request(as_messages(messages), **options)
