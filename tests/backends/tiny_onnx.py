"""A language model of 3 kB for ONNX Runtime GenAI, written here byte by byte: so the runtimes are tested without PyTorch.

It knows 259 tokens: the 256 bytes and three control tokens. Its next-token logits depend on all tokens so far, through its
KV cache (the running sum of the token ids), so a cache that is cut or joined wrongly changes what it says. It says letters and spaces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 256 + len(CONTROL)
CONTEXT = 8192
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write(folder: Path) -> Path:
    """Make a directory that ONNX Runtime GenAI and Foundry Local load."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(_model())
    files: dict[str, Any] = {
        "genai_config.json": _config(),
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer",
            "chat_template": TEMPLATE,
            "eos_token": "<|im_end|>",
            "bos_token": "<|im_start|>",
            "unk_token": "<|endoftext|>",
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def logits(tokens: Sequence[int]) -> NDArray[np.float32]:
    """What the model must say after these tokens, shape (vocabulary,): the same in numpy."""
    base, waves = _weights()
    return base + 3 * np.sin(np.float32(sum(tokens)) * waves[0])


def _weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    base = np.full(VOCABULARY, -12, dtype=np.float32)
    base[256:] = -40
    base[ord("a") : ord("z") + 1] = 0
    base[ord(" ")] = 2.5
    waves = np.random.default_rng(0).uniform(0.5, 2.5, (1, VOCABULARY)).astype(np.float32)
    return base, waves


def _config() -> dict[str, Any]:
    decoder = {
        "session_options": {"provider_options": []},
        "filename": "model.onnx",
        "head_size": 1,
        "hidden_size": 1,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
    }
    model = {
        "type": "llama",
        "bos_token_id": 257,
        "eos_token_id": 258,
        "pad_token_id": 258,
        "vocab_size": VOCABULARY,
        "context_length": CONTEXT,
        "decoder": decoder,
    }
    return {"model": model, "search": {"max_length": CONTEXT, "past_present_share_buffer": False}}


def _tokenizer() -> dict[str, Any]:
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    letters = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": 256 + i, "content": c, **flags} for i, c in enumerate(CONTROL)],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {letters[b]: b for b in range(256)} | {c: 256 + i for i, c in enumerate(CONTROL)},
            "merges": [],
        },
    }


def _model() -> bytes:
    """The ONNX graph: logits = base + 3 sin(total * waves), where total is the sum of the token ids so far."""
    base, waves = _weights()
    constants = [
        _tensor("base", base),
        _tensor("waves", waves),
        _tensor("height", np.array([3], dtype=np.float32)),
        _tensor("heads", np.array([1, 3], dtype=np.int64)),
        _tensor("one", np.array([1], dtype=np.int64)),
        _tensor("time", np.array(2, dtype=np.int64)),
        _tensor("minus", np.array([-1], dtype=np.int64)),
        _tensor("end", np.array([2**60], dtype=np.int64)),
        _tensor("axis", np.array([2], dtype=np.int64)),
    ]
    nodes = [
        _node("Cast", ["input_ids"], ["ids"], to=1),
        _node("Unsqueeze", ["ids", "heads"], ["new"]),
        _node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2),
        _node("Concat", ["past_key_values.0.value", "new"], ["present.0.value"], axis=2),
        _node("CumSum", ["present.0.key", "time"], ["sums"]),
        # of the running sums only those at the new tokens
        _node("Shape", ["input_ids"], ["shape"]),
        _node("Gather", ["shape", "one"], ["count"]),
        _node("Mul", ["count", "minus"], ["from"]),
        _node("Slice", ["sums", "from", "end", "axis"], ["recent"]),
        _node("Squeeze", ["recent", "one"], ["total"]),
        _node("MatMul", ["total", "waves"], ["phase"]),
        _node("Sin", ["phase"], ["wave"]),
        _node("Mul", ["wave", "height"], ["swing"]),
        _node("Add", ["swing", "base"], ["logits"]),
    ]
    cache = ["batch", 1, "past", 1]
    inputs = [
        _value("input_ids", 7, ["batch", "new"]),
        _value("attention_mask", 7, ["batch", "all"]),
        *(_value(f"past_key_values.0.{kind}", 1, cache) for kind in ("key", "value")),
    ]
    outputs = [
        _value("logits", 1, ["batch", "new", VOCABULARY]),
        *(_value(f"present.0.{kind}", 1, ["batch", 1, "all", 1]) for kind in ("key", "value")),
    ]
    graph = b"".join(
        [
            *(_field(1, n) for n in nodes),
            _field(2, b"tiny"),
            *(_field(5, c) for c in constants),
            *(_field(11, i) for i in inputs),
            *(_field(12, o) for o in outputs),
        ]
    )
    return _number(1, 9) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 17))


# --- protocol buffers, as onnx.proto numbers their fields ---


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **integers: int) -> bytes:
    names = b"".join([*(_field(1, i.encode()) for i in inputs), *(_field(2, o.encode()) for o in outputs)])
    attributes = [
        _field(5, _field(1, name.encode()) + _number(3, value) + _number(20, 2))
        for name, value in integers.items()
    ]
    return names + _field(4, operator.encode()) + b"".join(attributes)


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    kind = {"float32": 1, "int64": 7}[values.dtype.name]
    dims = b"".join(_number(1, n) for n in values.shape)
    return dims + _number(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes())


def _value(name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    dims = b"".join(_field(1, _number(1, n) if isinstance(n, int) else _field(2, n.encode())) for n in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, kind) + _field(2, dims)))
