"""From logits to a token: softmax, temperature, top-k and top-p, in numpy. Lab 01 builds the same by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
"""Shape (vocabulary,): one unnormalised score for each token."""


def log_softmax(logits: Logits) -> NDArray[np.float32]:
    """Log-probabilities (natural log) of the last axis; ``-inf`` stays ``-inf``. Any shape, the same shape back."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: Logits) -> NDArray[np.float32]:
    """Probabilities over the last axis, summing to 1."""
    return np.exp(log_softmax(logits))


def most_probable(logprobs: Logits, n: int) -> NDArray[np.intp]:
    """Indices of the ``n`` most probable tokens, best first, of equal ones the lower first; those at ``-inf`` are left out.

    Args:
        logprobs: Shape (vocabulary,).
        n: At least 1.
    """
    found = np.flatnonzero(logprobs > -np.inf)
    if n < len(found):  # to sort a whole vocabulary takes several times as long
        found = np.flatnonzero(logprobs >= np.partition(logprobs, -n)[-n])
    return found[np.argsort(-logprobs[found], kind="stable")][:n]


def sample(
    logits: Logits,
    rng: np.random.Generator,
    *,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> int:
    """Choose the next token.

    Args:
        logits: Shape (vocabulary,). Tokens at ``-inf`` are never chosen.
        rng: Source of randomness; not used when ``temperature`` is 0.
        temperature: 0 takes the most probable token. Otherwise logits are divided by it before the softmax.
        top_k: Keep this many most probable tokens; 0 keeps all.
        top_p: Then keep the most probable tokens until their probabilities reach this sum (nucleus sampling,
            Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).

    Returns:
        The token's index.
    """
    if temperature == 0:
        return int(logits.argmax())
    scaled = logits / np.float32(temperature)
    if top_k == 0 and top_p >= 1:
        return _draw(softmax(scaled), rng)
    order = np.argsort(-scaled)[: top_k or None]
    probabilities = softmax(scaled[order])
    kept = int(np.searchsorted(np.cumsum(probabilities), top_p)) + 1
    return int(order[_draw(probabilities[:kept], rng)])


def _draw(weights: NDArray[np.float32], rng: np.random.Generator) -> int:
    """An index drawn with these weights, by walking their running sum."""
    running = np.cumsum(weights, dtype=np.float64)
    return int(np.searchsorted(running, rng.random() * running[-1], side="right"))
