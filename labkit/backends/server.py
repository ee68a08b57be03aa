"""llama.cpp's server, as llama-cpp-python brings it, in a process of its own: ``llamaserver:smollm2-135m``.

The same engine and model as ``llamacpp``, behind HTTP. It answers one request at a time.
"""

from __future__ import annotations

import weakref
from importlib.util import find_spec

import openai

from labkit import models
from labkit.backends.openai_http import OpenAIBackend
from labkit.backends.process import ServerProcess, free_port
from labkit.backends.threads import SPIN, default_threads
from labkit.config import Settings
from labkit.errors import BackendUnavailable
from labkit.messages import Health

NEEDS = ("fastapi", "uvicorn", "sse_starlette", "starlette_context")


class LlamaServerBackend(OpenAIBackend):
    """Starts the server when it is loaded, on a free port of this machine, and stops it when it is closed.

    Args:
        model: An alias of the catalogue or the path of a GGUF file.
        settings: Context, threads, batch, and where the log goes (``home``).
    """

    def __init__(self, model: str, settings: Settings) -> None:
        super().__init__(model, settings, "http://127.0.0.1")
        self.name = f"llamaserver:{model}"
        self.process: ServerProcess | None = None

    @property
    def client(self) -> openai.OpenAI:
        """The official client.

        Raises:
            BackendError: ``load`` was not called, or ``close`` was.
            BackendUnavailable: The server has ended; nobody is asked again and again whether it is there.
        """
        if self.process is not None and not self.process.running:
            raise BackendUnavailable(
                f"The server of {self.name} has ended.", f"Read {self.process.log}, and load the model again."
            )
        return super().client

    def load(self) -> None:
        """Start the server, wait until it answers, and try what it can do: a few seconds.

        Raises:
            BackendUnavailable: Its packages are missing, or it did not start.
            ModelFileError: The model's file cannot be used.
        """
        if self.process is not None:
            if self.process.running:
                return
            self.close()
        if missing := [name for name in NEEDS if find_spec(name) is None]:
            raise BackendUnavailable(
                f"llama.cpp's server needs {', '.join(missing)}.",
                'Run `pip install "llama-cpp-python[server]"`.',
            )
        s, port = self.settings, free_port()
        path = models.locate("llamacpp", self.model, s)
        self.url = f"http://127.0.0.1:{port}/v1"
        options = {
            "model": path,
            "model_alias": self.model,
            "host": "127.0.0.1",
            "port": port,
            "n_ctx": s.context,
            "n_batch": s.batch,
            "n_threads": s.threads or default_threads(),
            "n_threads_batch": s.threads or default_threads(),
            "n_gpu_layers": s.gpu_layers,
            "interrupt_requests": False,  # otherwise a new request ends the one that is being answered
            "verbose": False,
        }
        self.process = ServerProcess(
            "llama_cpp.server",
            [text for name, value in options.items() for text in (f"--{name}", str(value))],
            ready=f"{self.url}/models",
            log=s.home / "logs" / f"llamaserver-{port}.log",
            environment={"GOMP_SPINCOUNT": SPIN},
        )
        weakref.finalize(self, self.process.stop)  # for those who forget to
        try:
            self.process.start()
            super().load()
        except BaseException:
            self.close()
            raise

    def health(self) -> Health:
        """Whether the process runs. It is not asked: while it answers a request, it answers nobody else."""
        if self.process is None or not self.process.running:
            return Health(False, "not running")
        return Health(True, f"runs as process {self.process.pid}; log: {self.process.log}")

    def close(self) -> None:
        """Stop the server. Its log stays."""
        super().close()
        if self.process is not None:
            self.process.stop()
            self.process = None
