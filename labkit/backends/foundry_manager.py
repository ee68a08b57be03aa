"""Foundry Local's one manager of this process: its settings, its models, and its errors as ours."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from labkit import convert, models
from labkit.config import APP, Settings
from labkit.errors import (
    BackendError,
    BackendUnavailable,
    ContextOverflow,
    LabkitError,
    OfflineError,
    SchemaError,
    UnknownModel,
)

TELEMETRY = (
    "Foundry Local's telemetry is off as far as it can be: it may still send one event about this process"
)
_lock = threading.Lock()
_ORIGIN = re.compile(r"^\S+\.cc:\d+ .*?\) ")
"""Where in Foundry Local an error comes from: file, line and function."""


def sdk() -> Any:
    """The package.

    Raises:
        BackendUnavailable: It is not installed, or not for this system.
    """
    try:
        return import_module("foundry_local_sdk")
    except (ImportError, OSError) as error:
        raise BackendUnavailable(
            f"foundry-local-sdk cannot be imported ({error}).", "Run `pip install foundry-local-sdk`."
        ) from error


def manager(settings: Settings) -> Any:
    """The manager, made at first use: the SDK allows one in a process. Its files go to labkit's folders."""
    found, base = sdk(), settings.cache / "foundry"
    with _lock, errors("Foundry Local"):
        return found.FoundryLocalManager.instance or found.FoundryLocalManager(
            found.Configuration(
                app_name=APP,
                model_cache_dir=str(base / "models"),
                app_data_dir=str(base / "data"),
                logs_dir=str(settings.home / "logs"),
                log_level=found.LogLevel.FATAL,  # what goes wrong is raised, not written
                disable_nonessential_telemetry=True,
            )
        )


def is_own(model: str) -> bool:
    """Whether a name means a conversion or a directory of one's own, not an alias of Foundry Local's catalogue."""
    return model in models.catalogue() or "/" in model or model.endswith(".gguf") or Path(model).is_dir()


def registered(model: str, settings: Settings) -> Any:
    """A conversion or a directory of one's own as Foundry Local's model. Needs no network.

    Raises:
        ModelFileError: The model is not converted yet, or the directory is not whole.
    """
    folder, found = convert.locate(model, settings), sdk()
    name = model if model in models.catalogue() else f"{folder.name}-{zlib.crc32(str(folder).encode()):08x}"
    model_id = f"{re.sub(r'[^A-Za-z0-9._-]', '-', name)}:1"
    local = manager(settings).get_catalog(found.CatalogType.LOCAL)
    with _lock, errors(model):
        known = local.get_model_variant(model_id)
        if known is not None:
            if known.is_loaded:
                return known
            local.unregister_model(model_id)  # registrations are kept; the directory may be another one now
        with found.ModelInfoBuilder() as facts:
            facts.set_string_property("task", "chat-completion")
            return local.register_model(str(folder), model_id, facts)


def catalogued(alias: str, settings: Settings) -> Any:
    """A model of Foundry Local's catalogue, which is on the network.

    Raises:
        OfflineError: The network is switched off, or the catalogue does not answer.
        UnknownModel: It has no such alias.
    """
    mend = f"Connect, or use a model of your own: foundry:{next(iter(models.catalogue()))}."
    if settings.offline:  # offline its first call blocks for seconds, and finds nothing
        raise OfflineError(f"{alias} is in Foundry Local's catalogue, and the network is switched off.", mend)
    catalog = manager(settings).get_catalog(sdk().CatalogType.PUBLIC)
    with errors(alias):
        if (found := catalog.get_model(alias)) is not None:
            return found
        names = sorted({m.alias for m in catalog.list_models()})
    if not names:
        raise OfflineError("Foundry Local's catalogue does not answer.", mend)
    raise UnknownModel(
        f"There is no model {alias!r} in Foundry Local's catalogue.", f"Choose one of {', '.join(names)}."
    )


@contextmanager
def errors(name: str) -> Generator[None]:
    """Turn what the SDK raises into labkit's errors.

    Args:
        name: Whom to name.
    """
    kind: type[Exception] = sdk().FoundryLocalException
    try:
        yield
    except (kind, RuntimeError) as error:  # the latter: its manager was closed
        raise translated(name, str(error), getattr(error, "error_code", 0)) from error


def translated(name: str, said: str, code: int) -> LabkitError:
    """The error for one of Foundry Local's codes: 2 internal, 3 argument, 4 use, 5 cancelled, 6 network."""
    said = _ORIGIN.sub("", said).partition("\n")[0]
    if "creating grammar" in said:
        return SchemaError(
            f"{name}: {said}",
            "Use only the JSON schema keywords that llguidance's docs/json_schema.md lists.",
        )
    if "maximum context length" in said:
        return ContextOverflow(f"{name}: {said}", "Shorten the conversation.")
    if code == 6:
        return OfflineError(f"{name}: {said}", "Connect and try again.")
    if code == 5:
        return BackendError(f"{name} was cancelled.", "Ask again.")
    hint = {3: "Correct the request.", 4: "Load it again with labkit.load()."}.get(
        code, "Run `labkit doctor`."
    )
    return BackendError(f"{name}: {said}", hint)
