"""The heavy steps of a conversion, as a script of its own: ``python worker.py ANSWER STEP arguments…``.

It needs PyTorch, which the labs do not. So it imports nothing of labkit and can run in another Python's environment.
What a step finds out is written to the file ANSWER as JSON. It ends when its standard input is closed: so it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
import threading
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NEEDS = {
    "torch": "torch",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "gguf": "gguf",
    "onnx": "onnx",
    "onnx_ir": "onnx-ir",
    "onnxruntime_genai": "onnxruntime-genai",
}
"""Module and distribution of each package that a conversion needs."""


def check() -> dict[str, Any]:
    """Which packages are missing, and the versions of the others."""
    missing = [name for module, name in NEEDS.items() if find_spec(module) is None]
    have = [name for name in NEEDS.values() if name not in missing]
    return {"missing": missing, "versions": {name: metadata.version(name) for name in have}}


def hf(gguf: str, out: str) -> dict[str, Any]:
    """A GGUF file as a Hugging Face directory: 32-bit weights, tokenizer, chat template."""
    torch, transformers = import_module("torch"), import_module("transformers")
    folder, name = str(Path(gguf).parent), Path(gguf).name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    read = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    # transformers does not save a model that it calls quantized: the weights go into a fresh one
    fields = read.config.to_dict()
    for field in ("quantization_config", "_name_or_path", "transformers_version"):
        fields.pop(field, None)
    model = type(read)(type(read.config)(**{**fields, "architectures": [type(read).__name__]}))
    found = model.load_state_dict({k: v.float() for k, v in read.state_dict().items()}, strict=False)
    lost = [k for k in found.missing_keys if k not in (getattr(model, "_tied_weights_keys", None) or ())]
    if lost or found.unexpected_keys:
        raise SystemExit(f"The weights do not fit: missing {lost}, unexpected {found.unexpected_keys}.")
    model.tie_weights()
    for field in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.generation_config, field, getattr(tokenizer, field))
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def onnx(source: str, out: str, *options: str) -> dict[str, Any]:
    """A Hugging Face directory as one for ONNX Runtime GenAI on a CPU, by its own builder."""
    scratch = Path(out, "scratch")
    sys.argv = ["builder", "-i", source, "-o", out, "-e", "cpu", "-c", str(scratch), *options]
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__", alter_sys=True)
    shutil.rmtree(scratch, ignore_errors=True)
    return {}


def measure(folder: str, question: str) -> dict[str, Any]:
    """How a converted model reads a text.

    Args:
        folder: A directory for ONNX Runtime GenAI.
        question: JSON with ``text``, ``tokens`` (its ids by llama.cpp) and ``messages``.

    Returns:
        ``tokens`` (ids of the text), ``rendered`` (the chat template filled in) and ``logprobs`` (of each token but the first).
    """
    import numpy as np

    og, asked = import_module("onnxruntime_genai"), json.loads(question)
    model = og.Model(folder)
    tokenizer, params = og.Tokenizer(model), og.GeneratorParams(model)
    ids = asked["tokens"]
    params.set_search_options(max_length=len(ids) + 1)
    generator = og.Generator(model, params)
    generator.append_tokens(np.array(ids, dtype=np.int32))
    rows = generator.get_output("logits")[0].astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    logprobs = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return {
        "tokens": tokenizer.encode(asked["text"]).tolist(),
        "rendered": tokenizer.apply_chat_template(json.dumps(asked["messages"]), add_generation_prompt=True),
        "logprobs": logprobs[np.arange(len(ids) - 1), ids[1:]].tolist(),
    }


STEPS: dict[str, Any] = {"check": check, "hf": hf, "onnx": onnx, "measure": measure}

if __name__ == "__main__":
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    place, step, *arguments = sys.argv[1:]
    Path(place).write_text(json.dumps(STEPS[step](*arguments)), encoding="utf-8")
