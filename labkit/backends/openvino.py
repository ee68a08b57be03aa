"""OpenVINO on the same GGUF files as llama.cpp, prebuilt for every system: ``openvino:smollm2-135m``, ``openvino:path/model.gguf``.

A folder with a language model in OpenVINO's format is taken too: ``openvino:path/to/folder``. The loop that generates, the masks of schemas
and grammars and the scores are those of ``llamacpp``; only the engine is another. ``batch`` reads and writes several answers side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labkit import models
from labkit.backends.openvino_batch import Answer, answer_together
from labkit.backends.openvino_engine import OpenVinoEngine
from labkit.backends.openvino_model import packages, prepare
from labkit.backends.slot_backend import SlotBackend
from labkit.backends.threads import default_threads
from labkit.messages import Completion, Request

TOGETHER = 8
"""Requests of a batch that are answered side by side."""


class OpenVinoBackend(SlotBackend):
    """OpenVINO in process. It can do what ``LlamaCppBackend`` can, and batches; threads may share it.

    Args:
        model: An alias of the catalogue, the path of a GGUF file, or a folder in OpenVINO's format.
        settings: Context, batch, threads, and where the converted and compiled model is kept (``cache``).
    """

    runtime = "openvino"

    def _open(self) -> OpenVinoEngine:
        """Convert the file at first use, compile it or take the compiled one from the cache."""
        packages()  # missing ones are named before anything else
        s, folder = self._settings, Path(self._model).expanduser()
        if not folder.is_dir():
            folder = prepare(models.locate("llamacpp", self._model, s), s.cache / "openvino")
        return OpenVinoEngine(
            folder,
            context=s.context,
            batch=s.batch,
            threads=s.threads or default_threads(),
            cache=s.cache / "openvino" / "compiled",
        )

    def batch(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request; up to 8 of them are computed side by side."""
        answers: list[Answer] = []
        for request in requests:
            prompt = self.encode(request.messages)
            self._check_fits(prompt)
            bound = request.schema is not None or request.grammar is not None
            constraint = self._masks.constraint(request) if bound else None
            answers.append(Answer(self.engine, request, prompt, constraint, self._logprob))
        for at in range(0, len(answers), TOGETHER):
            answer_together(self.engine, answers[at : at + TOGETHER])
        return [answer.completion(self.name) for answer in answers]
