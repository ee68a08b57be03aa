"""OpenVINO by its own interface: tokens in, logits out, also for several conversations side by side.

Why not ``openvino_genai.LLMPipeline``: it gives no logits, so choices could not be scored, and it binds output to grammars of another kind.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.backends.openvino_model import MODEL, last_line, packages, trained_context, with_rows
from labkit.backends.signal_stack import widen
from labkit.backends.slot_engine import Slot, SlotEngine
from labkit.errors import ModelFileError
from labkit.sampling import log_softmax

BRANCHES = 8
"""Continuations scored in one step; each has a copy of the keys and values of the prompt."""
ENDS = (b"<|endoftext|>", b"<|im_end|>", b"<|eot_id|>", b"</s>")
"""Tokens that end a turn, besides the one that the model names."""


class OpenVinoEngine(SlotEngine):
    """A compiled model: a slot holds an inference request, which has keys and values of its own.

    Args:
        folder: A language model in OpenVINO's format, with its tokenizer.
        context: Tokens that a conversation may have, prompt and answer together.
        batch: Prompt tokens read in one step.
        threads: Threads to compute with.
        cache: Where the compiled model is kept.

    Raises:
        ModelFileError: OpenVINO cannot read it.
    """

    def __init__(self, folder: Path, *, context: int, batch: int, threads: int, cache: Path) -> None:
        from llguidance import LLTokenizer, TokenizerWrapper

        openvino, openvino_genai = packages()
        options = {
            # 32 bits, so that what a model says depends less on the processor; no slower than 16 where that was tried
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "CACHE_DIR": str(cache),
        }
        try:
            model = with_rows(openvino.Core().read_model(folder / MODEL))
            self._compiled: Any = openvino.Core().compile_model(model, "CPU", options)
            self._text: Any = openvino_genai.Tokenizer(folder)
        except RuntimeError as error:
            raise ModelFileError(
                f"OpenVINO cannot read {folder}: {last_line(error)}", "Delete that folder, and load again."
            ) from error
        widen()  # compiling has replaced the stack of signal handlers by one of 12 kB
        self._tensor: Any = openvino.Tensor
        words = _Vocabulary(self._text)
        super().__init__(
            LLTokenizer(TokenizerWrapper(words), n_vocab=len(words.tokens), eos_token=words.ends),
            ends=words.ends,
            names=[words.tokens[token].decode() for token in words.special_token_ids],
            context=min(context, trained_context(folder) or context),
            batch=batch,
        )

    def close(self) -> None:
        """Free the model. A stream that goes on raises BackendError."""
        super().close()
        self._compiled = None

    def render(self, messages: list[dict[str, str]]) -> str:
        """The model's chat template, filled in."""
        self._require_open()
        valid = [{**m, "content": m["content"].encode("utf-8", "replace").decode()} for m in messages]
        return self._text.apply_chat_template(valid, add_generation_prompt=True)

    def score(self, slot: Slot, prompt: Sequence[int], choices: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability (natural log) of each choice's tokens after the prompt, which is read once; choices side by side."""
        with self._lock:
            first = log_softmax(self.evaluate(slot, prompt))
            totals = [float(first[choice[0]]) for choice in choices]
            longer = [i for i, choice in enumerate(choices) if len(choice) > 1]
            for at in range(0, len(longer), BRANCHES):
                group = [choices[i] for i in longer[at : at + BRANCHES]]
                width = max(map(len, group)) - 1
                tokens = np.array([[*choice[:-1], *[0] * (width + 1 - len(choice))] for choice in group])
                mask = np.ones((len(group), len(prompt) + width), dtype=np.int64)
                slot.tokens = []  # an interrupt from here on leaves an empty slot
                found = self._run(slot.cache, tokens, range(width), mask, [0] * len(group))
                for i, choice, rows in zip(longer[at:], group, found, strict=False):
                    logprobs = log_softmax(rows[: len(choice) - 1])
                    totals[i] += float(logprobs[np.arange(len(logprobs)), list(choice[1:])].sum())
                self._cut(slot.cache, len(prompt))
                slot.tokens = list(prompt)
            return totals

    def together(self, prompts: Sequence[Sequence[int]]) -> Generator[NDArray[np.float32], dict[int, int]]:
        """Read several prompts side by side. Yields the next-token logits of the rows that go on; takes their next tokens.

        The keys of what is sent are the rows to go on with, counted among those of the last logits, in order. Close it to stop.
        """
        with self._lock:
            self._require_open()
            cache = self._new()
        longest = max(map(len, prompts))
        tokens = np.array([[*[0] * (longest - len(p)), *p] for p in prompts])
        mask = np.array([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        beams = list(range(len(prompts)))
        while True:
            with self._lock:
                self._require_open()
                rows = self._run(cache, tokens, [tokens.shape[1] - 1], mask, beams)[:, 0]
            chosen = yield rows
            beams = list(chosen)
            tokens = np.array([[token] for token in chosen.values()])
            mask = np.hstack([mask[beams], np.ones((len(beams), 1), dtype=np.int64)])

    def _new(self) -> Any:
        return self._compiled.create_infer_request()

    def _cut(self, cache: Any, n: int) -> None:
        if n == 0:
            cache.reset_state()
            return
        for state in cache.query_state():
            held = state.state.data
            if held.shape[0] == 1 and held.shape[2] == n:
                return
            state.state = self._tensor(np.ascontiguousarray(held[:1, :, :n]))

    def _read(self, cache: Any, tokens: Sequence[int], past: int, wanted: int) -> NDArray[np.float32]:
        size = len(tokens)
        mask = np.ones((1, past + size), dtype=np.int64)
        return self._run(cache, np.array([tokens]), range(size - wanted, size), mask, [0])[0]

    @staticmethod
    def _run(
        cache: Any, tokens: NDArray[np.int64], rows: Sequence[int], mask: NDArray[np.int64], beams: list[int]
    ) -> NDArray[np.float32]:
        """One step. ``tokens`` has the shape (conversations, new tokens), ``mask`` (conversations, all tokens).

        Args:
            cache: An inference request.
            tokens: Those to read.
            rows: Positions among the new tokens whose logits are wanted.
            mask: 0 where a conversation has no token.
            beams: For each conversation, which one of the step before it goes on with.

        Returns:
            Shape (conversations, rows, vocabulary); the request's next step overwrites it.
        """
        inputs = {
            "input_ids": tokens,
            "attention_mask": mask,
            "position_ids": np.maximum(mask.cumsum(1) - 1, 0)[:, -tokens.shape[1] :],
            "beam_idx": np.array(beams, dtype=np.int32),
            "rows": np.array(rows, dtype=np.int64),
        }
        return cache.infer(inputs, share_inputs=True, share_outputs=True)[0]


class _Vocabulary:
    """What llguidance asks of a tokenizer, and the tokens that end a turn."""

    bos_token_id = None

    def __init__(self, tokenizer: Any) -> None:
        by_piece: dict[bytes, int] = tokenizer.get_vocab()
        self.tokens = [b""] * (max(by_piece.values()) + 1)
        for piece, token in by_piece.items():
            self.tokens[token] = piece
        one_by_one = [[token] for token in range(len(self.tokens))]
        hidden = tokenizer.decode(one_by_one, skip_special_tokens=True)
        shown = tokenizer.decode(one_by_one, skip_special_tokens=False)
        self.special_token_ids = [t for t in range(len(self.tokens)) if shown[t] and not hidden[t]]
        self.eos_token_id: int = tokenizer.get_eos_token_id()
        self.ends = [self.eos_token_id, *(by_piece[e] for e in ENDS if e in by_piece)]
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
