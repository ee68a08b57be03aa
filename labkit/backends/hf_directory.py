"""What vLLM and MLX load: a Hugging Face directory."""

from __future__ import annotations

from pathlib import Path

from labkit import models
from labkit.config import Settings
from labkit.errors import ModelFileError, OfflineError


def locate(model: str, settings: Settings) -> str:
    """A directory of one's own, the conversion of an alias or of a GGUF file, or a name on the Hugging Face hub as it stands.

    Raises:
        ModelFileError: The model has not been converted yet.
        OfflineError: It can only be on the hub, and the network is switched off.
    """
    if Path(model).expanduser().is_dir():
        return str(Path(model).expanduser())
    if model in models.catalogue() or model.endswith(".gguf"):
        from labkit import convert

        made = convert.folder(model, settings) / "hf"
        if not convert.is_whole(made):
            raise ModelFileError(
                f"{model} is not here as a Hugging Face directory.", f"Run `labkit models convert {model}`."
            )
        return str(made)
    if settings.offline:
        raise OfflineError(
            f"{model} is no directory and no alias; it would be looked for on the Hugging Face hub, and the network is switched off.",
            "Unset LABKIT_OFFLINE, or give the path of a directory.",
        )
    return model
