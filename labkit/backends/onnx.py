"""ONNX Runtime GenAI on a converted model: ``onnx:smollm2-135m`` after ``labkit models convert``, or ``onnx:path/to/directory``.

The loop that generates, the masks of schemas and grammars and the scores are those of ``llamacpp``; only the engine is another.
"""

from __future__ import annotations

import weakref

from labkit import convert
from labkit.backends.onnx_engine import OnnxEngine
from labkit.backends.slot_backend import SlotBackend
from labkit.backends.threads import default_threads


class OnnxBackend(SlotBackend):
    """ONNX Runtime GenAI in process. It can do what ``LlamaCppBackend`` can; threads may share it.

    Args:
        model: An alias or a GGUF file that was converted, or a directory with ``genai_config.json``.
        settings: Context, batch, threads, and where the conversions are (``cache``).
    """

    runtime = "onnx"

    def _open(self) -> OnnxEngine:
        """Read the model: about 2 s."""
        s = self._settings
        engine = OnnxEngine(
            convert.locate(self._model, s),
            context=s.context,
            batch=s.batch,
            threads=s.threads or default_threads(),
        )
        weakref.finalize(self, engine.close)  # the library complains about what is left at the end
        return engine
