"""Foundry Local in process, by its SDK: ``foundry:smollm2-135m`` after ``labkit models convert``, or an alias of its catalogue.

A conversion or a directory of one's own (``foundry:path/to/directory``) needs no network. ``serve()`` starts Foundry Local's web service.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from weakref import WeakSet

from labkit.backends import foundry_manager as fl
from labkit.backends.foundry_request import fill, reason
from labkit.backends.text import StopFilter
from labkit.config import Settings
from labkit.errors import BackendError, ModelFileError
from labkit.messages import Capabilities, Chunk, Health, Request, Usage

Report = Callable[[float], None]


class FoundryBackend:
    """A model of Foundry Local. Threads may share it: each request has a session of its own.

    Args:
        model: An alias or a GGUF file that was converted, a directory with ``genai_config.json``, or an alias of Foundry Local's catalogue.
        settings: Context, and where conversions and downloads are (``cache``).
    """

    def __init__(self, model: str, settings: Settings) -> None:
        self.name = f"foundry:{model}"
        self._alias, self._settings, self._own = model, settings, fl.is_own(model)
        self._model: Any = None
        self._sessions: WeakSet[Any] = WeakSet()
        self._serves = False

    @property
    def capabilities(self) -> Capabilities:
        """Schemas, grammars and seeds; it has no log-probabilities."""
        limit = (self._model and self._model.context_length) or self._settings.context
        return Capabilities(schema=True, grammar=True, seed=True, context=min(self._settings.context, limit))

    def load(self) -> None:
        """Read the model: about 2 s. Nothing is downloaded unasked.

        Raises:
            ModelFileError: It is not converted or downloaded yet.
            OfflineError: It is in the catalogue, which does not answer.
        """
        if self._model is not None:
            return
        model = (fl.registered if self._own else fl.catalogued)(self._alias, self._settings)
        with fl.errors(self.name):
            if not model.is_cached:
                raise ModelFileError(
                    f"{self._alias} is not downloaded ({model.info.file_size_mb or '?'} MB).",
                    f'Run `labkit.backends.create("{self.name}", labkit.config.settings()).download(print)`.',
                )
            model.load()
        self._model = model

    def download(self, report: Report | None = None, cancel: threading.Event | None = None) -> None:
        """Download a model of the catalogue.

        Args:
            report: Gets the percentage.
            cancel: Set it to end the download.

        Raises:
            OfflineError: The network is switched off, or the catalogue does not answer.
            UnknownModel: It has no such alias.
            BackendError: It was cancelled.
        """
        model = fl.catalogued(self._alias, self._settings)
        with fl.errors(self.name):
            model.download(report, cancel)

    def serve(self) -> str:
        """Start Foundry Local's web service on a free port of this machine, and return the spec that reaches this model there.

        Any program of this machine can use it, and stop it, until ``close``.
        """
        model, service = self._loaded(), fl.manager(self._settings)
        with fl.errors(self.name):
            if not service.urls:
                service.start_web_service()
                self._serves = True
        path = "/catalogs/local/v1" if self._own else "/v1"
        return f"openai:{model.id}@{service.urls[0].rstrip('/')}{path}"

    def stream(self, request: Request) -> Iterator[Chunk]:
        """Yield text as it comes."""
        started = first = last = time.perf_counter()
        text, made, finish = StopFilter(request.stop), 0, "stop"
        with fl.errors(self.name), self._session() as session, fl.sdk().Request() as asked:
            prompt = fill(session, asked, request, self.capabilities.context)
            with session.process_streaming_request(asked) as answer, closing(iter(answer)) as items:
                for item in items:
                    last, made = time.perf_counter(), made + 1
                    first = last if made == 1 else first
                    if piece := text.feed(item.text):
                        yield Chunk(piece)
                    if text.stopped:
                        break
                else:
                    with answer.final_response as final:
                        made, finish = final.get_usage().completion_tokens, reason(final)
        yield Chunk(text.rest(), (), finish, Usage(prompt, 0, made, first - started, last - first))

    def health(self) -> Health:
        """Loaded or not, and which models Foundry Local has on disk and in memory."""
        if self._model is None:
            return Health(False, "not loaded")
        kind = fl.sdk().CatalogType
        catalog = fl.manager(self._settings).get_catalog(kind.LOCAL if self._own else kind.PUBLIC)
        with fl.errors(self.name):
            listed = {"models": catalog.get_cached_models(), "loaded": catalog.get_loaded_models()}
            ids = {name: [m.id for m in found] for name, found in listed.items()}
        return Health(True, f"loaded. {fl.TELEMETRY}", ids)

    def close(self) -> None:
        """Free the model's memory, and stop the web service if this backend started it."""
        model, self._model, serves, self._serves = self._model, None, self._serves, False
        if model is None:
            return
        for session in list(self._sessions):
            session.__exit__()
        with suppress(BackendError), fl.errors(self.name):  # another client may still be using the model
            if serves:
                fl.manager(self._settings).stop_web_service()
            model.unload()

    def _loaded(self) -> Any:
        if self._model is None:
            raise BackendError(
                f"{self.name} is not loaded.", "Call load(), or use labkit.load(), which does."
            )
        return self._model

    @contextmanager
    def _session(self) -> Generator[Any]:
        model = self._loaded()
        model.load()  # another client may have closed it
        with fl.sdk().ChatSession(model) as session:
            self._sessions.add(session)
            yield session.set_streaming(True)
