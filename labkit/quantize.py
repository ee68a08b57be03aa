"""The same model stored in another type, and how far two versions of a model are apart. Requantizing is llama.cpp's own."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
from numpy.typing import NDArray

from labkit import models
from labkit.backends.llama_lib import llama_cpp, quiet
from labkit.backends.threads import default_threads
from labkit.config import DEFAULT_BACKEND, Settings, settings
from labkit.errors import ConfigError, ModelFileError
from labkit.gguf import GGUF, read_gguf
from labkit.machine import make_room
from labkit.sampling import Logits, log_softmax

RECIPES: dict[str, tuple[int, float]] = {
    "F16": (1, 16.0), "Q4_0": (2, 4.5), "Q4_1": (3, 5.0), "Q5_0": (8, 5.5), "Q5_1": (9, 6.0), "Q8_0": (7, 8.5),
    "Q2_K": (10, 3.4), "Q3_K_S": (11, 3.5), "Q3_K_M": (12, 3.9), "Q4_K_S": (14, 4.6), "Q4_K_M": (15, 4.9),
    "Q5_K_S": (16, 5.5), "Q5_K_M": (17, 5.7), "Q6_K": (18, 6.6),
}  # fmt: skip
"""For each recipe of llama.cpp: its number, and roughly the bits a weight of a large model. A recipe may mix tensor types."""


def embedded() -> Path:
    """The file of the embedded model."""
    runtime, model, _ = models.parse_spec(DEFAULT_BACKEND)
    return models.locate(runtime, model, settings())


def folder(chosen: Settings | None = None) -> Path:
    """Where requantized files are kept. Deleting it costs only the time to make them again."""
    return (chosen or settings()).cache / "models" / "requantized"


def requantize(recipe: str, source: Path | None = None) -> Path:
    """The same model stored by another recipe of llama.cpp, in the cache; made once. Lost quality does not come back.

    Args:
        recipe: A key of ``RECIPES``.
        source: A GGUF file; by default the embedded model.

    Raises:
        ConfigError: There is no such recipe.
        ModelFileError: The source cannot be read, there is no room, or the cache cannot be written.
        BackendUnavailable: llama-cpp-python is not installed.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"There is no recipe {recipe!r}.", f"Choose one of {', '.join(RECIPES)}.")
    source = source or embedded()
    header = read_gguf(source)
    target = folder() / f"{source.stem}-{source.stat().st_size:x}.to-{recipe}.gguf"
    if _complete(target, header):
        return target
    size = sum(t.weights for t in header.tensors) * RECIPES[recipe][1] / 8
    make_room(target.parent, 1.5 * size + 50e6, "The requantized file")
    part = target.with_suffix(f".{os.getpid()}.part")
    try:
        _run(source, part, RECIPES[recipe][0])
        if not _complete(part, header):
            raise ModelFileError(
                f"The requantized {recipe} file is not complete.",
                f"Free some space in {target.parent} and try again.",
            )
        part.replace(target)
    except OSError as error:
        raise ModelFileError(
            f"{target.name} cannot be written: {error.strerror}.", "Set LABKIT_CACHE to a folder of yours."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def all_logits(path: Path, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Next-token logits after each of the tokens, read in one piece. Shape (tokens, vocabulary).

    Raises:
        ConfigError: There is no token.
        ModelFileError: llama.cpp cannot read the file.
        BackendUnavailable: llama-cpp-python is not installed.
    """
    if not tokens:
        raise ConfigError("There is no token to read.", "Pass at least one token id.")
    read_gguf(path)  # its errors are clearer
    c, n, threads = llama_cpp(), len(tokens), default_threads()
    with quiet(c):
        try:
            model = c.Llama(
                str(path), n_ctx=n, n_batch=n, n_ubatch=n, logits_all=True, n_threads=threads,
                n_threads_batch=threads, verbose=False,
            )  # fmt: skip
        except ValueError as error:
            raise ModelFileError(
                f"llama.cpp cannot read {path}: {error}.", "Download it again, or run `labkit doctor`."
            ) from error
    try:
        model.eval(list(tokens))
        return np.array(model.scores[:n], dtype=np.float32)
    finally:
        model.close()


def round_blocks(
    weights: NDArray[np.floating[Any]], bits: int, block: int = 32
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Cut weights into blocks and round each to integers with one scale; lab 03 builds the same by hand.

    Args:
        weights: Shape (n,); n is a multiple of ``block``.
        bits: From 2 to 8.
        block: Weights that share a scale.

    Returns:
        Integers, shape (n / block, block), and scales, shape (n / block,).

    Raises:
        ConfigError: The weights are no whole blocks, or the bits are out of range.
    """
    if not 2 <= bits <= 8 or block < 1 or weights.size % block:
        raise ConfigError(
            f"{weights.size} weights cannot be rounded to {bits} bits in blocks of {block}.",
            "Take 2 to 8 bits, and a block size that divides the number of weights.",
        )
    rows, largest = np.asarray(weights, dtype=np.float32).reshape(-1, block), 2 ** (bits - 1) - 1
    scales = np.abs(rows).max(axis=1) / np.float32(largest)
    safe = np.where(scales > 0, scales, 1)[:, None]
    return np.rint(rows / safe).astype(np.int32), scales


def restore(codes: NDArray[np.int32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights that integers and scales stand for, shape (n,)."""
    return (codes * scales[:, None]).astype(np.float32).ravel()


def resident_mb() -> float:
    """Memory of this process in RAM, in MB, after giving back to the system what it does not use, where that is possible."""
    with suppress(OSError, AttributeError, TypeError):
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
        elif sys.platform == "darwin":
            ctypes.CDLL(None).malloc_zone_pressure_relief(None, ctypes.c_size_t(0))
    return psutil.Process().memory_info().rss / 1e6


def kl_divergence(reference: Logits, other: Logits) -> NDArray[np.float32]:
    """How far ``other``'s next-token distribution is from the reference, in nats; 0 if they are the same.

    Args:
        reference: Logits, shape (..., vocabulary).
        other: The same shape.

    Returns:
        Shape (...), one divergence for each distribution.
    """
    p, q = log_softmax(reference), log_softmax(other)
    with np.errstate(invalid="ignore"):  # 0 times infinity, where the reference rules a token out
        terms = np.exp(p) * (p - q)
    return cast(NDArray[np.float32], np.where(np.isneginf(p), 0, terms).sum(axis=-1))


def perplexity(logits: Logits, tokens: Sequence[int]) -> float:
    """The exponential of the mean negative log-probability of a text's tokens, each judged by the row before it.

    Args:
        logits: Shape (tokens, vocabulary), as ``all_logits`` returns them.
        tokens: At least two; the first is not judged.

    Raises:
        ConfigError: There is no token to judge, or there are more or fewer rows than tokens.
    """
    if len(tokens) < 2 or len(logits) != len(tokens):
        raise ConfigError(
            f"{len(logits)} rows of logits and {len(tokens)} tokens have no perplexity.",
            "Pass at least two tokens, and all_logits of the same tokens.",
        )
    came = log_softmax(logits[:-1])[np.arange(len(tokens) - 1), list(tokens[1:])]
    return float(np.exp(-came.mean(dtype=np.float64)))


def choose(versions: Sequence[Mapping[str, Any]], device: Mapping[str, float]) -> Mapping[str, Any] | None:
    """The version nearest to the reference among those that a device can run; the smaller file where two are equally near.

    Args:
        versions: Each with ``file_mb``, ``ram_mb``, ``tokens_per_s`` and ``kl``.
        device: With ``disk_mb``, ``ram_mb`` and ``min_tokens_per_s``; a bound may be reached, not passed.

    Returns:
        The version, or None if the device can run none.
    """
    fitting = [
        v
        for v in versions
        if v["file_mb"] <= device["disk_mb"]
        and v["ram_mb"] <= device["ram_mb"]
        and v["tokens_per_s"] >= device["min_tokens_per_s"]
    ]
    return min(fitting, key=lambda v: (v["kl"], v["file_mb"]), default=None)


def _complete(path: Path, source: GGUF) -> bool:
    """Whether the file is there to its last byte and has the source's tensors."""
    try:
        made = read_gguf(path)
    except ModelFileError:
        return False
    return {(t.name, t.shape) for t in made.tensors} == {(t.name, t.shape) for t in source.tensors}


def _run(source: Path, target: Path, recipe: int) -> None:
    c = llama_cpp()
    params = c.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = recipe, True, default_threads()
    with quiet(c) as said:
        code = c.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    if code:
        reasons = [line.strip() for line in said if "fall" not in line and "warning" not in line.lower()]
        raise ModelFileError(
            f"llama.cpp could not requantize {source.name}: {' '.join(reasons) or f'code {code}'}.",
            f"Check that {target.parent} can be written and has room; `labkit doctor` checks the model.",
        )
