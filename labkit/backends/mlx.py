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
from labkit.backends.llamacpp import LlamaCppBackend
from labkit.backends.slot_engine import EngineMasks, SlotEngine
from labkit.config import Settings
from labkit.errors import BackendUnavailable, ModelFileError
from labkit.messages import Message

INSTALL = 'Run `pip install mlx-lm` on a Mac, or `pip install "mlx[cpu]" mlx-lm` on Linux.'


class MlxBackend(LlamaCppBackend):
    """MLX in process. It can do what ``LlamaCppBackend`` can.

    Args:
        model: A Hugging Face directory, what was converted to one, or a name on the hub.
        settings: Context, batch, and whether the hub may be asked (``offline``).
    """

    def __init__(self, model: str, settings: Settings) -> None:
        super().__init__(model, settings)
        self.name = f"mlx:{model}"

    def load(self) -> None:
        """Read the model.

        Raises:
            BackendUnavailable: MLX is not installed.
            ModelFileError: The model is not here, or MLX cannot read it.
            OfflineError: It can only be on the hub, and the network is switched off.
        """
        if self._engine is not None:
            return
        if find_spec("mlx_lm") is None:
            raise BackendUnavailable("mlx-lm is not installed.", INSTALL)
        s = self._settings
        engine = MlxEngine(hf_directory.locate(self._model, s), context=s.context, batch=s.batch)
        self._masks = EngineMasks(engine)
        self._engine = engine  # pyright: ignore[reportAttributeAccessIssue]  # it has the same methods

    @property
    def engine(self) -> Any:
        """The loaded engine, an ``MlxEngine``."""
        return super().engine

    def render(self, messages: tuple[Message, ...]) -> str:
        """The model's chat template, filled in."""
        return self.engine.render([{"role": m.role, "content": m.content} for m in messages])


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
