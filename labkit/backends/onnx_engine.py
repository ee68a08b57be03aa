"""ONNX Runtime GenAI by its own interface: tokens in, logits out. A slot's cache is a generator."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.backends.slot_engine import SlotEngine
from labkit.errors import BackendError, BackendUnavailable, ModelFileError


class OnnxEngine(SlotEngine):
    """A loaded model.

    Args:
        folder: A directory for ONNX Runtime GenAI.
        context: Tokens that a conversation may have, prompt and answer together.
        batch: Prompt tokens read in one step.
        threads: Threads to compute with.

    Raises:
        BackendUnavailable: onnxruntime-genai is not installed.
        ModelFileError: It cannot read the directory.
    """

    def __init__(self, folder: Path, *, context: int, batch: int, threads: int) -> None:
        try:
            og: Any = import_module("onnxruntime_genai")
        except ImportError as error:
            raise BackendUnavailable(
                f"onnxruntime-genai cannot be imported ({error}).", "Run `pip install onnxruntime-genai`."
            ) from error
        from llguidance import LLTokenizer

        og.disable_telemetry_events()
        # threads that spin while they wait take the processor from everybody else: see threads.py
        options = {"intra_op_num_threads": threads, "session.intra_op.allow_spinning": "0"}
        file = folder / "tokenizer.json"
        try:
            facts = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
            names = [t["content"] for t in json.loads(file.read_text(encoding="utf-8"))["added_tokens"]]
            config = og.Config(str(folder))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
            self._model: Any = og.Model(config)
            self._text: Any = og.Tokenizer(self._model)
            ends = [int(t) for t in self._text.eos_token_ids]
            vocab = LLTokenizer(str(file), n_vocab=int(facts["vocab_size"]), eos_token=ends)
            context = min(context, int(facts["context_length"]))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ModelFileError(
                f"ONNX Runtime GenAI cannot read {folder}: {str(error).splitlines()[0]}.",
                "Delete it and run `labkit models convert`.",
            ) from error
        super().__init__(vocab, ends=ends, names=names, context=context, batch=batch)
        self._og = og

    def close(self) -> None:
        """Free the model. A stream that goes on raises BackendError."""
        super().close()
        with self._lock:
            self._model = self._text = None

    def render(self, messages: list[dict[str, str]]) -> str:
        """The model's chat template, filled in."""
        self._require_open()
        asked = json.dumps(messages, ensure_ascii=False).encode("utf-8", "replace").decode()
        with _failures("fill in its chat template"):
            return self._text.apply_chat_template(asked, add_generation_prompt=True)

    def _new(self) -> Any:
        params = self._og.GeneratorParams(self._model)
        # a shared buffer would take the memory of the whole context (190 MB for 4,096 tokens) at once
        params.set_search_options(max_length=self.context, past_present_share_buffer=False)
        return self._og.Generator(self._model, params)

    def _cut(self, cache: Any, n: int) -> None:
        if n < cache.token_count():
            cache.rewind_to(n)

    def _read(self, cache: Any, tokens: Sequence[int], past: int, wanted: int) -> NDArray[np.float32]:
        with _failures("compute"):
            cache.append_tokens(np.array(tokens, dtype=np.int32))
            return cache.get_output("logits")[0].astype(np.float32)


@contextmanager
def _failures(what: str) -> Generator[None]:
    try:
        yield
    except RuntimeError as error:
        raise BackendError(
            f"ONNX Runtime GenAI could not {what}: {error}", "Convert the model again."
        ) from error
