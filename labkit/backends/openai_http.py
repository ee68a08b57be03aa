"""Any server with OpenAI's chat API, by the official client: ``openai:MODEL@http://127.0.0.1:8000/v1``.

Without an address it is OPENAI_BASE_URL's or OpenAI's own. The key is OPENAI_API_KEY; it never goes over plain http to
another machine. With LABKIT_OFFLINE only servers on this machine are asked.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import openai

from labkit.backends import wire, wire_errors
from labkit.backends.connect import CONNECT_S, connect
from labkit.backends.probe import Probed, asker, probe
from labkit.config import Settings
from labkit.errors import BackendError, BackendUnavailable
from labkit.messages import Capabilities, Chunk, Health, Message, Request

OPENAI = "https://api.openai.com/v1"
HEALTH_S = 5.0


class OpenAIBackend:
    """A chat server. What it can do is found out by effect when it is loaded. Threads may share it.

    Args:
        model: The model's name on the server.
        settings: Only ``offline`` matters here.
        url: The address up to and with ``/v1``.
        retries: How often a request is sent again after 429, 5xx or a lost connection, with growing pauses.
        patience_s: How long to wait for the next bytes.
    """

    runtime = "openai"

    def __init__(
        self,
        model: str,
        settings: Settings,
        url: str | None = None,
        *,
        retries: int = 2,
        patience_s: float = 120.0,
    ) -> None:
        self.model = model
        self.settings = settings
        self.url = url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        self.name = f"{self.runtime}:{model}@{self.url}"
        self._retries, self._patience_s = retries, patience_s
        self._client: openai.OpenAI | None = None
        self._probed = Probed(Capabilities(), "", usage=False)

    @property
    def capabilities(self) -> Capabilities:
        """What the server showed that it can do; nothing before ``load``."""
        return self._probed.capabilities

    @property
    def client(self) -> openai.OpenAI:
        """The official client.

        Raises:
            BackendError: ``load`` was not called, or ``close`` was.
        """
        if self._client is None:
            raise BackendError(
                f"{self.name} is not loaded.", "Call load(), or use labkit.load(), which does."
            )
        return self._client

    def load(self) -> None:
        """Reach the server and try what it can do."""
        if self._client is not None:
            return
        self._client = connect(self.url, self.settings, retries=self._retries, patience_s=self._patience_s)
        weakref.finalize(self, self._client.close)  # for those who forget to
        try:
            health = self.health()
            if not health.ok:
                raise BackendUnavailable(health.detail, "Start the server, or correct the address after @.")
            self._probed = probe(
                asker(self._client, self.model, self.name), int(health.data.get("context", 0))
            )
        except BaseException:
            self.close()
            raise

    def stream(self, request: Request) -> Iterator[Chunk]:
        """Yield text as it comes. Where the server does not tell the tokens generated, its pieces are counted."""
        return self._chunks(request, self.client, float("inf"))

    def stream_within(self, request: Request, timeout_s: float) -> Iterator[Chunk]:
        """As ``stream``, without retries; no wait for the server is longer than ``timeout_s``."""
        client = self.client.with_options(
            timeout=openai.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)), max_retries=0
        )
        return self._chunks(request, client, time.perf_counter() + timeout_s)

    def call_tools(self, request: Request, tools: Sequence[dict[str, Any]], choice: str) -> Message:
        """One assistant message with the calls that the server made."""
        named: Any = {"type": "function", "function": {"name": choice}}
        fields = wire.body(self.model, request, self._probed.schema_form)
        with wire_errors.errors(self.name):
            fields["tools"] = wire.tools(tools)
            fields["tool_choice"] = choice if choice in ("auto", "required") else named
            answer = self.client.chat.completions.create(**fields)
            said = answer.choices[0].message
            return Message("assistant", said.content or "", wire.calls(said.tool_calls))

    def health(self) -> Health:
        """Whether the server answers, and which models it names."""
        if self._client is None:
            return Health(False, "not loaded")
        try:
            with wire_errors.errors(self.name):
                found: Any = self._client.with_options(max_retries=0, timeout=HEALTH_S).get(
                    "/models", cast_to=object
                )
                listed = {m["id"]: m for m in found["data"]}
        except BackendError as error:
            return Health(False, error.message)
        context = listed.get(self.model, {}).get("max_model_len") or 0
        return Health(
            True, f"answers; models: {', '.join(listed)}", {"models": [*listed], "context": context}
        )

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _chunks(self, request: Request, client: openai.OpenAI, deadline: float) -> Generator[Chunk]:
        fields = wire.body(self.model, request, self._probed.schema_form)
        answer = wire.Answer(self.name, request, deadline)
        with (
            wire_errors.errors(self.name, lambda: answer.shown),
            client.chat.completions.create(
                **fields, stream=True, stream_options={"include_usage": True}
            ) as events,
            closing(getattr(events, "_iterator", events)),
        ):  # its iterator is closed too: collected later, it may complain
            yield from answer.read(events)
