"""MLX, Apple's runtime for its own processors: ``mlx:MODEL``. On Linux it computes on the CPU, slowly.

The model is a Hugging Face directory (an alias or a GGUF file is converted before), or a name on the hub, such as one of ``mlx-community``. The
loop that generates, the masks of schemas and grammars and the scores are those of ``llamacpp``; only the engine is another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.backends import hf_directory
from labkit.backends.slot_backend import SlotBackend
from labkit.backends.slot_engine import SlotEngine
from labkit.errors import BackendUnavailable, ModelFileError

INSTALL = 'Run `pip install mlx-lm` on a Mac, or `pip install "mlx[cpu]" mlx-lm` on Linux.'


class MlxBackend(SlotBackend):
    """MLX in process. It can do what ``LlamaCppBackend`` can.

    Args:
        model: A Hugging Face directory, what was converted to one, or a name on the hub.
        settings: Context, batch, and whether the hub may be asked (``offline``).
    """

    runtime = "mlx"

    def _open(self) -> MlxEngine:
        if find_spec("mlx_lm") is None:
            raise BackendUnavailable("mlx-lm is not installed.", INSTALL)
        s = self._settings
        return MlxEngine(hf_directory.locate(self._model, s), context=s.context, batch=s.batch)


class MlxEngine(SlotEngine):
    """A model of MLX: a slot holds a prompt cache.

    Args:
        directory: A Hugging Face directory or a name on the hub.
        context: Tokens that a conversation may have, prompt and answer together.
        batch: Prompt tokens read in one step.

    Raises:
        ModelFileError: MLX cannot read it.
    """

    def __init__(self, directory: str, *, context: int, batch: int) -> None:
        from llguidance.hf import from_tokenizer

        self._mx: Any = import_module("mlx.core")
        self._caches: Any = import_module("mlx_lm.models.cache")
        load: Any = import_module("mlx_lm").load
        try:
            self._model: Any
            self._model, self._text, config = load(
                directory, model_config=_flat(Path(directory)), return_config=True
            )
            ends = [*self._text.eos_token_ids]
            vocab = from_tokenizer(self._text._tokenizer, n_vocab=int(config["vocab_size"]), eos_token=ends)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelFileError(
                f"MLX cannot read {directory}: {str(error).splitlines()[0]}.",
                "Give a Hugging Face directory of a language model in safetensors.",
            ) from error
        super().__init__(
            vocab,
            ends=ends,
            names=self._text.get_added_vocab(),
            context=min(context, int(config.get("max_position_embeddings", context))),
            batch=batch,
        )

    def close(self) -> None:
        """Free the model. A stream that goes on raises BackendError."""
        super().close()
        self._model = None

    def render(self, messages: list[dict[str, str]]) -> str:
        """The model's chat template, filled in."""
        self._require_open()
        return self._text.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _new(self) -> Any:
        return self._caches.make_prompt_cache(self._model)

    def _cut(self, cache: Any, n: int) -> None:
        if (more := cache[0].offset - n) > 0:
            self._caches.trim_prompt_cache(cache, more)

    def _read(self, cache: Any, tokens: Sequence[int], past: int, wanted: int) -> NDArray[np.float32]:
        logits = self._model(self._mx.array([list(tokens)]), cache=cache)[0, -wanted:]
        return np.array(logits.astype(self._mx.float32))


def _flat(directory: Path) -> dict[str, Any]:
    """The base of the rotary embedding where mlx-lm looks for it: transformers 5 writes it into a table of its own."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        return {"rope_theta": config["rope_parameters"]["rope_theta"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
