"""Whether a converted model is still the same model: its tokenizer, its chat template, and how probable it finds a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labkit.backends.llamacpp import LlamaCppBackend
from labkit.config import Settings
from labkit.errors import ModelFileError
from labkit.messages import assistant, system, user
from labkit.quantize import all_logits
from labkit.sampling import log_softmax

TEXT = (
    "The harbour of a small town is quiet in the morning. The first ferry leaves at seven, and the last one comes back"
    " at nine in the evening. In winter the sea is rough, so the captain reads the weather report before he decides."
    " Water boils at one hundred degrees Celsius at sea level. On a mountain the air pressure is lower, and water boils at"
    " a lower temperature. This is why cooking takes longer there. The Earth goes around the Sun once a year, and the Moon"
    " goes around the Earth in about twenty-seven days."
)
MESSAGES = (
    system("Be brief."),
    user("What is the capital of France?"),
    assistant("Paris."),
    user("And of Italy?"),
)
TOLERANCE = {"int4": (0.3, 0.6), "int8": (0.05, 0.15), "fp32": (0.05, 0.15)}
"""How far tokens' log-probabilities of ``TEXT`` may be from llama.cpp's, in nats, by precision: their mean, and one by one on average.

Measured with onnxruntime-genai 0.18.0: int4 0.16 and 0.42, int8 0.009 and 0.09, fp32 0.001 and 0.06. A tenth of the right RoPE base
changed the mean by 0.02 only, but the tokens by 0.43: errors of both signs cancel in a mean, so it is not enough.
"""


def reference(source: Path, settings: Settings) -> dict[str, Any]:
    """How llama.cpp reads the text: ``text``, ``tokens``, ``messages``, ``rendered`` and ``logprobs`` (of each token but the first).

    Args:
        source: The GGUF file.
        settings: Engine options.
    """
    backend = LlamaCppBackend(str(source), settings)
    backend.load()
    try:
        tokens, rendered = backend.tokenize(TEXT), backend.render(MESSAGES)
    finally:
        backend.close()
    rows = log_softmax(all_logits(source, tokens)[:-1])
    came = rows[np.arange(len(tokens) - 1), tokens[1:]].tolist()
    messages = [{"role": m.role, "content": m.content} for m in MESSAGES]
    return {"text": TEXT, "tokens": tokens, "messages": messages, "rendered": rendered, "logprobs": came}


def compare(expected: Mapping[str, Any], found: Mapping[str, Any], precision: str) -> dict[str, float]:
    """What the manifest says about the comparison.

    Args:
        expected: From ``reference``.
        found: From the worker's ``measure``.
        precision: A key of ``TOLERANCE``.

    Raises:
        ModelFileError: The converted model tokenizes, renders or predicts otherwise.
    """
    ours, theirs = np.array(found["logprobs"]), np.array(expected["logprobs"])
    mean_off, token_off = abs(ours.mean() - theirs.mean()), np.abs(ours - theirs).mean()
    most = TOLERANCE[precision]
    problems = [
        text
        for bad, text in (
            (found["tokens"] != expected["tokens"], "its tokenizer cuts a text otherwise"),
            (found["rendered"] != expected["rendered"], "its chat template gives another text"),
            (
                not (mean_off <= most[0] and token_off <= most[1]),  # also if one is not a number
                f"log-probabilities are off by {mean_off:.3f} in the mean and {token_off:.3f} for one token,"
                f" where {most[0]} and {most[1]} are allowed",
            ),
        )
        if bad
    ]
    if problems:
        raise ModelFileError(
            f"The converted model is not the same as the source: {'; '.join(problems)}.",
            "Use the versions of the extra `convert`, or another precision (fp32 loses nothing).",
        )
    return {
        "mean_logprob": float(ours.mean()),
        "mean_logprob_llamacpp": float(theirs.mean()),
        "mean_difference": float(token_off),
    }
