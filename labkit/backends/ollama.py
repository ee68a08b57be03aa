"""Ollama: ``ollama:qwen2.5:0.5b``, or ``ollama:qwen2.5:0.5b@http://host:11434``. Its own API lists and pulls, /v1 answers.

Ollama accepts ``tool_choice`` and ignores it, so ``tools`` is never declared: ``call_tools`` then uses one schema over all tools,
which the server turns into its ``format``. A prompt longer than its context is cut at the front without a word; raise
OLLAMA_CONTEXT_LENGTH where the server is started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from labkit.backends.connect import is_local, require_reachable
from labkit.backends.openai_http import HEALTH_S, OpenAIBackend
from labkit.config import Settings
from labkit.errors import BackendError, BackendUnavailable, OfflineError, UnknownModel
from labkit.messages import Health

PORT = 11434


@dataclass(frozen=True)
class Pulling:
    """How far a download is: Ollama's words, and bytes of the part that is coming."""

    status: str
    completed: int = 0
    total: int = 0


class OllamaBackend(OpenAIBackend):
    """A model of an Ollama server.

    Args:
        model: A name of Ollama's, with or without a tag.
        settings: Only ``offline`` matters here.
        url: The server; by default OLLAMA_HOST, or this machine.
    """

    runtime = "ollama"

    def __init__(self, model: str, settings: Settings, url: str | None = None) -> None:
        self.host = host_url(url or os.environ.get("OLLAMA_HOST") or "")
        super().__init__(model, settings, f"{self.host}/v1")
        self.name = f"ollama:{model}@{self.host}"

    def load(self) -> None:
        """Reach the server, see that it has the model, and try what it can do.

        Raises:
            BackendUnavailable: The ``ollama`` package or the server is missing.
            UnknownModel: The server does not have the model yet; nothing is downloaded unasked.
        """
        if self._client is not None:
            return
        require_reachable(self.host, self.settings)
        with self.api() as api:
            names = [m.model for m in api.list().models]
        tagged = self.model if ":" in self.model else f"{self.model}:latest"
        if tagged not in names:
            raise UnknownModel(
                f"{self.host} does not have {tagged}. It has: {', '.join(map(str, names)) or 'no model'}.",
                f"Run `ollama pull {tagged}`.",
            )
        super().load()
        # its context is not declared: a longer prompt is cut, where a declared context means an error
        self._probed = replace(self._probed, capabilities=replace(self.capabilities, tools=False, context=0))

    @contextmanager
    def api(self, timeout_s: float | None = HEALTH_S) -> Generator[Any]:
        """The official client (``list``, ``ps``, ``show``, and whatever else it has), with our errors.

        Raises:
            BackendUnavailable: It is not installed, or the server does not answer.
            UnknownModel: The server does not have the model asked for.
        """
        try:
            import httpx
            import ollama
        except ImportError as error:
            raise BackendUnavailable(
                "The package ollama is not installed.", "Run `pip install ollama`."
            ) from error
        try:
            with ollama.Client(self.host, timeout=timeout_s, trust_env=not is_local(self.host)) as client:
                yield client
        except (ConnectionError, httpx.TransportError) as error:
            raise BackendUnavailable(
                f"No Ollama server answers at {self.host}.",
                "Start it with `ollama serve`, or set OLLAMA_HOST.",
            ) from error
        except ollama.ResponseError as error:
            if error.status_code == 404 or "not exist" in error.error:
                raise UnknownModel(
                    f"Ollama: {error.error}", "See https://ollama.com/library for the names."
                ) from error
            raise BackendUnavailable(
                f"Ollama at {self.host} failed: {error.error}", "Look at its log."
            ) from error
        except ValueError as error:
            raise BackendUnavailable(
                f"{self.host} does not speak Ollama's API.", "Correct the address after @, without /v1."
            ) from error

    def pull(self, report: Callable[[Pulling], None] = lambda _: None) -> None:
        """Let the server download the model; it resumes what was begun. An exception of ``report`` cancels.

        Raises:
            OfflineError: The network is switched off.
            UnknownModel: There is no such model.
        """
        if self.settings.offline:
            raise OfflineError(
                f"{self.model} cannot be pulled: the network is switched off.", "Unset LABKIT_OFFLINE."
            )
        with self.api(timeout_s=None) as api:
            for step in api.pull(self.model, stream=True):
                report(Pulling(step.status or "", step.completed or 0, step.total or 0))

    def show(self) -> Any:
        """What the server knows of the model: template, licence, parameters, capabilities.

        Raises:
            UnknownModel: The server does not have it.
        """
        with self.api() as api:
            return api.show(self.model)

    def health(self) -> Health:
        """Whether the server answers /api/tags, which models it has, and which it holds in memory with what context."""
        try:
            with self.api() as api:
                have = [str(m.model) for m in api.list().models]
                loaded = {str(m.model): m.context_length for m in api.ps().models}
        except BackendError as error:
            return Health(False, error.message)
        return Health(True, f"answers; models: {', '.join(have)}", {"models": have, "loaded": loaded})


def host_url(host: str) -> str:
    """An OLLAMA_HOST in any of its spellings, as a URL without a path."""
    url = (host if "://" in host else f"http://{host or '127.0.0.1'}").rstrip("/").removesuffix("/v1")
    scheme, _, place = url.partition("://")
    place = place.replace("0.0.0.0", "127.0.0.1") if not place.startswith(":") else f"127.0.0.1{place}"
    bare = place.rpartition("]")[2]
    return f"{scheme}://{place}" if ":" in bare or "://" in host else f"{scheme}://{place}:{PORT}"
