"""The runtimes. One file each; none is imported before it is asked for."""

from __future__ import annotations

from importlib import import_module
from inspect import signature

from labkit import models
from labkit.backends.base import Backend, Batches, CallsTools, OpenModel, Scores, Waits, lacking
from labkit.backends.scripted import ScriptedBackend
from labkit.config import Settings
from labkit.errors import ConfigError, UnknownRuntime

RUNTIMES = {
    "llamacpp": "labkit.backends.llamacpp:LlamaCppBackend",
    "openai": "labkit.backends.openai_http:OpenAIBackend",
    "ollama": "labkit.backends.ollama:OllamaBackend",
    "llamaserver": "labkit.backends.server:LlamaServerBackend",
    "onnx": "labkit.backends.onnx:OnnxBackend",
    "foundry": "labkit.backends.foundry:FoundryBackend",
    "openvino": "labkit.backends.openvino:OpenVinoBackend",
    "vllm": "labkit.backends.vllm:VllmBackend",
    "mlx": "labkit.backends.mlx:MlxBackend",
}
"""Runtime name -> module and class. A class takes (model, settings), and ``url`` if it asks a server."""


def create(spec: str, settings: Settings) -> Backend:
    """The backend that ``runtime:model[@url]`` names, not yet loaded; or several, divided by ``|``, of which the first that works answers.

    Raises:
        ConfigError: The spec has no runtime or no model, or a URL that the runtime has no use for.
        UnknownRuntime: No runtime has that name.
        UnknownModel: The runtime has no such model.
    """
    if "|" in spec:
        from labkit.backends.failover import FailoverBackend

        return FailoverBackend([part.strip() for part in spec.split("|")], settings)
    runtime, model, url = models.parse_spec(spec)
    if runtime not in RUNTIMES:
        raise UnknownRuntime(f"There is no runtime {runtime!r}.", f"Use one of: {', '.join(RUNTIMES)}.")
    module, _, name = RUNTIMES[runtime].partition(":")
    kind = getattr(import_module(module), name)
    if url is None:
        return kind(model, settings)
    if "url" not in signature(kind).parameters:
        raise ConfigError(
            f"{runtime} asks no server.", f"Write {runtime}:{model}, without the part from @ on."
        )
    return kind(model, settings, url=url)


__all__ = [
    "RUNTIMES",
    "Backend",
    "Batches",
    "CallsTools",
    "OpenModel",
    "Scores",
    "ScriptedBackend",
    "Waits",
    "create",
    "lacking",
]
