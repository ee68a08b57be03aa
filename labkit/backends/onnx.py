"""ONNX Runtime GenAI on a converted model: ``onnx:smollm2-135m`` after ``labkit models convert``, or ``onnx:path/to/directory``.

The loop that generates, the masks of schemas and grammars and the scores are those of ``llamacpp``; only the engine is another.
"""

from __future__ import annotations

import weakref
from typing import Any

from labkit import convert
from labkit.backends.llamacpp import LlamaCppBackend
from labkit.backends.onnx_engine import OnnxEngine
from labkit.backends.slot_engine import EngineMasks
from labkit.backends.threads import default_threads
from labkit.config import Settings
from labkit.messages import Message


class OnnxBackend(LlamaCppBackend):
    """ONNX Runtime GenAI in process. It can do what ``LlamaCppBackend`` can; threads may share it.

    Args:
        model: An alias or a GGUF file that was converted, or a directory with ``genai_config.json``.
        settings: Context, batch, threads, and where the conversions are (``cache``).
    """

    def __init__(self, model: str, settings: Settings) -> None:
        super().__init__(model, settings)
        self.name = f"onnx:{model}"

    def load(self) -> None:
        """Read the model: about 2 s."""
        if self._engine is not None:
            return
        s = self._settings
        engine = OnnxEngine(
            convert.locate(self._model, s),
            context=s.context,
            batch=s.batch,
            threads=s.threads or default_threads(),
        )
        weakref.finalize(self, engine.close)  # the library complains about what is left at the end
        self._masks = EngineMasks(engine)
        self._engine = engine  # pyright: ignore[reportAttributeAccessIssue]  # it has the same methods

    @property
    def engine(self) -> Any:
        """The loaded engine, an ``OnnxEngine``."""
        return super().engine

    def render(self, messages: tuple[Message, ...]) -> str:
        """The model's chat template, filled in."""
        return self.engine.render([{"role": m.role, "content": m.content} for m in messages])
