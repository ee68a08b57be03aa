"""llama.cpp by its C interface: tokens in, logits out, and a KV cache that several conversations share.

Why not ``llama_cpp.Llama``: it holds one conversation, is not safe with threads, applies grammars to the whole
vocabulary, and cannot score branches. The functions used here are llama-cpp-python's public low-level interface.

Conversations have *slots*. A slot remembers its tokens; a request takes the idle slot that shares the longest prefix with
its prompt and reads only the rest. One slot at a time is live in llama.cpp's cache, from its first cell on; the keys and
values of the others are parked in memory. So where a token lies in the cache depends on its position only, and a prompt's
logits do not depend on what was asked before. One lock guards each step, not each request: several threads can stream at
once, and an abandoned stream blocks nobody.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.backends.llama_lib import llama_cpp, quiet
from labkit.backends.slot_engine import common_prefix
from labkit.backends.threads import IdleCores
from labkit.errors import BackendError, ContextOverflow, ModelFileError
from labkit.sampling import Logits, log_softmax

SLOTS = 16
"""Conversations whose prefix is kept."""
PARKED = 2
"""How many context windows the parked ones may fill together; 16 windows of 4,096 tokens would take 1.5 GB."""
BRANCHES = 16
"""Continuations scored in one step; each needs a sequence of its own."""
LIVE = 0
"""The sequence of the live slot; branches have the sequences from 1 on."""


@dataclass
class Slot:
    """A conversation's tokens and, unless it is live, their keys and values; and the logits after its prompt, if nothing came after."""

    tokens: list[int] = field(default_factory=list[int])
    logits: Logits | None = None
    parked: NDArray[np.uint8] | None = None
    thread: int | None = None
    used: int = 0


class Engine:
    """A loaded model and its KV cache. Safe with threads.

    Args:
        path: A GGUF file.
        context: Tokens in the KV cache, for all slots together.
        batch: Prompt tokens read in one step.
        threads: Threads to compute with; 0 chooses for each request by what is idle.
        gpu_layers: Layers kept on a GPU; -1 for all.
        mlock: Keep the model in RAM.

    Raises:
        ModelFileError: llama.cpp cannot read the file.
        BackendError: It cannot make a context of that size.
    """

    def __init__(
        self, path: Path, *, context: int, batch: int, threads: int, gpu_layers: int, mlock: bool
    ) -> None:
        c: Any = llama_cpp()
        self.c = c
        # what goes wrong is raised, not written
        logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)
        self._ctx: Any = None
        self._turn = threading.Condition(threading.RLock())
        self._idle = IdleCores(threads)
        model_params = c.llama_model_default_params()
        model_params.n_gpu_layers = 999 if gpu_layers < 0 else gpu_layers
        model_params.use_mlock = mlock
        with quiet(c) as said:
            self._model: Any = c.llama_model_load_from_file(os.fsencode(path), model_params)
        if not self._model:
            reason = f": {said[0].strip()}" if said else ""
            raise ModelFileError(
                f"llama.cpp cannot read {path}{reason}.", "Download it again, or run `labkit doctor`."
            )
        self.vocab: Any = c.llama_model_get_vocab(self._model)
        self.n_vocab: int = c.llama_vocab_n_tokens(self.vocab)
        self.context = min(context, c.llama_model_n_ctx_train(self._model))
        self.batch = min(batch, self.context)
        params = c.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = self.context, self.batch, self.batch
        params.n_seq_max = 1 + BRANCHES
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = self._idle.most
        params.no_perf = True
        if gpu_layers == 0:
            # on a CPU, flash attention read prompts 10% faster but halved decoding at 1,000 tokens
            params.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        with quiet(c):
            self._ctx = c.llama_init_from_model(self._model, params)
        if not self._ctx:
            self.close()
            raise BackendError(
                f"llama.cpp cannot make a context of {self.context} tokens.",
                "Lower LABKIT_CONTEXT, or free memory.",
            )
        self._memory: Any = c.llama_get_memory(self._ctx)
        self._batch: Any = c.llama_batch_init(self.batch, 0, 1)
        self._slots = [Slot() for _ in range(SLOTS)]
        self._live = self._slots[0]
        self._clock = count(1)
        self.prompt_tokens = 0
        """Tokens in all prompts so far."""
        self.read_tokens = 0
        """Those of them that were not in the cache and had to be read."""

    def close(self) -> None:
        """Free the model. The engine cannot be used afterwards; a stream that goes on raises BackendError."""
        with self._turn:
            if self._ctx:
                self.c.llama_batch_free(self._batch)
                self.c.llama_free(self._ctx)
                self._ctx = None
            if self._model:
                self.c.llama_model_free(self._model)
                self._model = None

    def _require_open(self) -> None:
        if not self._ctx:
            raise BackendError(
                "The model was closed while it was in use.", "Load it again with labkit.load()."
            )

    def clear(self) -> None:
        """Forget every cached conversation."""
        with self._turn:
            self._require_open()
            for slot in self._slots:
                self._forget(slot, 0)

    # --- text and tokens ---

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids; with ``special``, control tokens written in the text are read as such."""
        data = text.encode("utf-8", "surrogatepass")
        buffer = (self.c.llama_token * (len(data) + 1))()
        n = self.c.llama_tokenize(self.vocab, data, len(data), buffer, len(buffer), False, special)
        if n < 0:
            raise BackendError(
                "llama.cpp cannot tokenize this text.", "Report the text to the labkit project."
            )
        return list(buffer[:n])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; empty for a control token unless ``special``."""
        buffer = ctypes.create_string_buffer(256)
        n = self.c.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[: max(n, 0)]

    def ends_turn(self, token: int) -> bool:
        """Whether this token means that the model has finished."""
        return bool(self.c.llama_vocab_is_eog(self.vocab, token))

    def metadata(self, key: str) -> str | None:
        """A string of the GGUF's header, or None."""
        buffer = ctypes.create_string_buffer(1 << 16)
        n = self.c.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8") if n >= 0 else None

    # --- evaluation ---

    @contextmanager
    def slot(self, prompt: Sequence[int]) -> Generator[Slot]:
        """Hold the slot that shares most with the prompt. Waits while other threads hold all of them."""
        with self._turn:
            self._require_open()
            me = threading.get_ident()
            while not (free := [s for s in self._slots if s.thread is None]):
                # a stream that this thread left open must not block it; that stream reads its prompt again if it goes on
                if free := [s for s in self._slots if s.thread == me]:
                    break
                self._turn.wait()
            donor = max(self._slots, key=lambda s: common_prefix(s.tokens, prompt))
            slot = max(free, key=lambda s: (common_prefix(s.tokens, prompt), -s.used))
            if common_prefix(slot.tokens, prompt) < len(slot.tokens) // 2:
                # it holds another conversation: take the oldest instead
                slot = min(free, key=lambda s: (len(s.tokens) > 0, s.used))
            better = common_prefix(donor.tokens, prompt) > common_prefix(slot.tokens, prompt)
            self._activate(slot, donor if better else slot)
            known = slot.logits is not None and slot.tokens == list(prompt)
            if not known:
                # llama.cpp rounds a batch of one token differently from a larger one. Reading the last two again, always
                # together, makes a prompt's logits the same whether it was cached or not.
                self._forget(slot, max(0, min(common_prefix(slot.tokens, prompt), len(prompt) - 2)))
            slot.thread, slot.used = me, next(self._clock)
            self.prompt_tokens += len(prompt)
            self.read_tokens += len(prompt) - len(slot.tokens)
            self.c.llama_set_n_threads(self._ctx, n := self._idle.now(), n)
        try:
            yield slot
        finally:
            with self._turn:
                slot.thread = None
                self._turn.notify()

    def evaluate(self, slot: Slot, tokens: Sequence[int]) -> Logits:
        """Read ``tokens`` into the slot, apart from the prefix it holds, and return the next-token logits.

        Returns:
            Shape (vocabulary,), a copy.
        """
        with self._turn:
            self._require_open()
            if len(tokens) > self.context:
                raise ContextOverflow(
                    f"The prompt has {len(tokens)} tokens, {len(tokens) - self.context} more than the context of "
                    f"{self.context}.",
                    "Shorten the conversation, or raise LABKIT_CONTEXT (the model sets its own upper bound).",
                )
            self._activate(slot, slot)
            if slot.logits is not None and slot.tokens == list(tokens):
                return slot.logits.copy()
            try:
                size = 0
                self._forget(slot, min(common_prefix(slot.tokens, tokens), len(tokens) - 1))
                while (start := len(slot.tokens)) < len(tokens):
                    left = len(tokens) - start
                    size = min(left, self.batch) - (left == self.batch + 1)  # never a single token at the end
                    outputs = [size - 1] if size == left else []
                    part = tokens[start : start + size]
                    self._decode([(token, start + i, LIVE) for i, token in enumerate(part)], outputs)
                    slot.tokens.extend(part)
                logits = self._row(-1).copy()
                slot.logits = (
                    logits.copy() if size > 1 else None
                )  # a batch of one token is rounded differently
                return logits
            except BaseException:  # also Ctrl-C: what the cache holds now is not known
                self._forget(slot, 0)
                raise

    def score(self, slot: Slot, prompt: Sequence[int], choices: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability (natural log) of each choice's tokens after the prompt, which is read once.

        Raises:
            ContextOverflow: Prompt and the longest choice do not fit.
        """
        with self._turn:
            first = log_softmax(self.evaluate(slot, prompt))
            totals = [float(first[choice[0]]) for choice in choices]
            todo = [i for i, choice in enumerate(choices) if len(choice) > 1]
            room = min(self.batch, self.context - len(prompt))
            while todo:
                group: list[int] = []
                while todo and len(group) < BRANCHES:
                    if group and sum(len(choices[i]) for i in (*group, todo[0])) > room:
                        break
                    group.append(todo.pop(0))
                for i, total in zip(group, self._branches(slot, [choices[i] for i in group]), strict=True):
                    totals[i] += total
            return totals

    def _branches(self, slot: Slot, choices: Sequence[Sequence[int]]) -> list[float]:
        """Sum of log-probabilities after each choice's first token; every choice is a sequence of its own."""
        start, rows, entries = len(slot.tokens), [], []
        try:
            for branch, choice in enumerate(choices, LIVE + 1):
                self.c.llama_memory_seq_cp(self._memory, LIVE, branch, -1, -1)
                entries += [(token, start + i, branch) for i, token in enumerate(choice[:-1])]
                rows += choice[1:]
            picked: list[float] = []
            for at in range(0, len(entries), self.batch):  # more than one part only for a single long choice
                part = entries[at : at + self.batch]
                self._decode(part, range(len(part)))
                picked += [
                    float(log_softmax(self._row(i))[t]) for i, t in enumerate(rows[at : at + self.batch])
                ]
        finally:
            for branch in range(LIVE + 1, LIVE + 1 + len(choices)):
                self.c.llama_memory_seq_rm(self._memory, branch, -1, -1)
        values = iter(picked)
        return [sum(next(values) for _ in choice[1:]) for choice in choices]

    def _decode(self, entries: Sequence[tuple[int, int, int]], outputs: Sequence[int]) -> None:
        """Run (token, position, sequence) entries through the model; rows at ``outputs`` get logits."""
        batch, wanted = self._batch, set(outputs)
        batch.n_tokens = len(entries)
        for i, (token, position, sequence) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position, 1, sequence
            batch.logits[i] = i in wanted
        code = self.c.llama_decode(self._ctx, batch)
        if code == 1:
            raise ContextOverflow(
                "The KV cache is full.", "Shorten the conversation, or raise LABKIT_CONTEXT."
            )
        if code:
            raise BackendError(f"llama_decode failed with code {code}.", "Run `labkit doctor`.")

    def _row(self, i: int) -> Logits:
        """Logits of output row ``i`` as a view that the next decode overwrites."""
        return np.ctypeslib.as_array(self.c.llama_get_logits_ith(self._ctx, i), shape=(self.n_vocab,))

    def _activate(self, slot: Slot, source: Slot) -> None:
        """Make a slot live, with what ``source`` holds: its own, or a copy of another's."""
        if slot is source and slot is self._live:
            return
        if self._live.tokens:
            parked = np.empty(self.c.llama_state_seq_get_size(self._ctx, LIVE), dtype=np.uint8)
            self.c.llama_state_seq_get_data(self._ctx, _bytes(parked), parked.size, LIVE)
            self._live.parked = parked
        self.c.llama_memory_seq_rm(self._memory, LIVE, -1, -1)
        held, tokens = source.parked, list(source.tokens)
        if held is None or not self.c.llama_state_seq_set_data(self._ctx, _bytes(held), held.size, LIVE):
            tokens = []
        logits = source.logits if tokens else None
        slot.tokens, slot.logits, slot.parked, self._live = tokens, logits, None, slot
        self._trim()

    def _trim(self) -> None:
        """Drop the oldest parked conversations beyond what ``PARKED`` allows."""
        parked = sorted((s for s in self._slots if s.parked is not None), key=lambda s: -s.used)
        total = 0
        for slot in parked:
            total += len(slot.tokens)
            if total > PARKED * self.context and slot.thread is None:
                self._forget(slot, 0)

    def _forget(self, slot: Slot, keep: int) -> None:
        """Keep only the first tokens of a slot: of the live one any number, of a parked one none."""
        if slot is self._live:
            self.c.llama_memory_seq_rm(self._memory, LIVE, keep, -1)
        else:
            slot.parked = None
        if keep < len(slot.tokens):
            slot.logits = None
        del slot.tokens[keep:]


def _bytes(array: NDArray[np.uint8]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
