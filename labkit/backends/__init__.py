"""The runtimes. One file each; none is imported before it is asked for."""

from __future__ import annotations

from importlib import import_module

from labkit import models
from labkit.backends.base import Backend, CallsTools, OpenModel, Scores
from labkit.backends.scripted import ScriptedBackend
from labkit.config import Settings
from labkit.errors import UnknownRuntime

RUNTIMES = {"llamacpp": "labkit.backends.llamacpp:LlamaCppBackend"}
"""Runtime name -> module and class. A class takes (model, settings)."""


def create(spec: str, settings: Settings) -> Backend:
    """The backend that ``runtime:model`` names, not yet loaded.

    Raises:
        ConfigError: The spec has no runtime or no model.
        UnknownRuntime: No runtime has that name.
        UnknownModel: The runtime has no such model.
    """
    runtime, model, _url = models.parse_spec(spec)
    if runtime not in RUNTIMES:
        raise UnknownRuntime(f"There is no runtime {runtime!r}.", f"Use one of: {', '.join(RUNTIMES)}.")
    module, _, name = RUNTIMES[runtime].partition(":")
    return getattr(import_module(module), name)(model, settings)


__all__ = ["RUNTIMES", "Backend", "CallsTools", "OpenModel", "Scores", "ScriptedBackend", "create"]
