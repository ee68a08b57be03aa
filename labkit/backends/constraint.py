"""Binding output to a JSON schema or a grammar: llguidance says which tokens may come next, we mask the others.

llama.cpp's own grammar sampler tries the grammar on the whole vocabulary at each token and turns a schema that it
cannot convert into "any JSON"; llguidance computes a mask from a trie and reports what it cannot compile.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from labkit.errors import SchemaError
from labkit.messages import JsonSchema, Request
from labkit.sampling import Logits

SCHEMA_HELP = "Use only the JSON schema keywords that llguidance's docs/json_schema.md lists."
GRAMMAR_HELP = "Write a Lark grammar as llguidance's docs/syntax.md describes; its first rule is `start`."


class _HasVocab(Protocol):
    vocab: Any
    n_vocab: int


class Constraint:
    """One generation under one grammar."""

    def __init__(self, matcher: Any, n_vocab: int) -> None:
        self._matcher = matcher
        self._bits = np.zeros((n_vocab + 31) // 32, dtype=np.int32)
        self._n_vocab = n_vocab

    def apply(self, logits: Logits) -> None:
        """Set the logits of tokens that may not come next to ``-inf``, in place. Shape (vocabulary,)."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._fail_on_error()
        allowed = np.unpackbits(self._bits.view(np.uint8), count=self._n_vocab, bitorder="little")
        logits[allowed == 0] = -np.inf

    def accept(self, token: int) -> None:
        """Move on by one generated token."""
        self._matcher.consume_token(token)
        self._fail_on_error()

    @property
    def complete(self) -> bool:
        """Whether the text matches and nothing can be added to it."""
        return bool(self._matcher.is_stopped())

    def _fail_on_error(self) -> None:
        if self._matcher.is_error():
            raise SchemaError(
                f"The grammar failed: {self._matcher.get_error()}", "Simplify the schema or grammar."
            )


class Masks:
    """Compiles grammars for one tokenizer.

    Args:
        engine: Whose tokens are masked.
        tokenizer: llguidance's, where the engine has one; otherwise it is built of llama.cpp's at first use (about 0.3 s).
    """

    def __init__(self, engine: _HasVocab, tokenizer: Any = None) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._grammars: dict[str, Any] = {}

    def constraint(self, request: Request) -> Constraint:
        """A fresh constraint for the request's schema or grammar.

        Raises:
            SchemaError: It cannot be compiled; nothing weaker is used instead.
        """
        from llguidance import LLMatcher

        if self._tokenizer is None:
            from llguidance.llamacpp import lltokenizer_from_vocab

            with warnings.catch_warnings():  # it still calls a llama.cpp function by its old name
                warnings.simplefilter("ignore", DeprecationWarning)
                self._tokenizer = lltokenizer_from_vocab(self._engine.vocab)
        text = (
            compile_schema(request.schema)
            if request.schema is not None
            else LLMatcher.grammar_from_lark(request.grammar or "")
        )
        if text not in self._grammars:
            matcher = LLMatcher(self._tokenizer, text, log_level=0)
            if matcher.is_error():
                raise SchemaError(
                    f"It cannot be compiled: {matcher.get_error().splitlines()[0]}",
                    SCHEMA_HELP if request.schema is not None else GRAMMAR_HELP,
                )
            if len(self._grammars) >= 64:
                self._grammars.pop(next(iter(self._grammars)))
            self._grammars[text] = matcher
        return Constraint(self._grammars[text].deep_copy(), self._engine.n_vocab)


def compile_schema(schema: JsonSchema) -> str:
    """A grammar for compact-but-spaced JSON (``{"a": 1, "b": 2}``), the way models write it.

    Raises:
        SchemaError: The schema is not a JSON schema.
    """
    from llguidance import LLMatcher

    style: Mapping[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    try:
        return LLMatcher.grammar_from_json_schema(schema, defaults=style)  # pyright: ignore[reportArgumentType]
    except (ValueError, TypeError) as error:
        raise SchemaError(
            f"This is not a JSON schema: {error}", 'Start from {"type": "object", "properties": {…}}.'
        ) from error
