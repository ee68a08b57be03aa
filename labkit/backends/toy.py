"""A toy that answers OpenAI's chat API without a model: random words, but every option does what it says.

``ToyModel(ignores={"schema"})`` is a server that accepts an option with status 200 and ignores it, as several do.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from typing import Any

from labkit.backends.scripted_http import Json, Reply, delta, usage, used, whole

WORDS = [
    "sea",
    "boat",
    "rain",
    "wind",
    "gull",
    "rope",
    "sand",
    "shell",
    "tide",
    "kelp",
    "port",
    "sail",
    "wave",
    "crab",
    "fish",
    "reef",
]


class ToyModel:
    """Answers a request body.

    Args:
        ignores: What it ignores: ``schema``, ``stop``, ``max_tokens``, ``logprobs``, ``seed``, ``tools``, ``required``, ``usage``.
        length: Words in a full answer.
        pause: Seconds before each token.
    """

    def __init__(self, ignores: Iterable[str] = (), *, length: int = 40, pause: float = 0.0) -> None:
        self.ignores = frozenset(ignores)
        self.length = length
        self.pause = pause

    def __call__(self, body: Json) -> Reply:
        """The reply, streamed if the body asks for that."""
        if call := self._call(body):
            return whole(
                {"id": "c", "object": "chat.completion", "created": 0, "model": "toy", "choices": [call]}
            )
        tokens, finish = self._tokens(body)
        cost = usage(sum(len(str(m["content"]).split()) for m in body["messages"]), len(tokens))
        listed = [_logprob(t, int(body.get("top_logprobs") or 0)) for t in tokens]
        logprobs = "logprobs" not in self.ignores and body.get("logprobs")
        if not body.get("stream"):
            choice: Json = {"index": 0, "finish_reason": finish}
            choice["message"] = {"role": "assistant", "content": "".join(tokens)}
            choice["logprobs"] = {"content": listed} if logprobs else None
            return whole(
                {
                    "id": "c",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "toy",
                    "choices": [choice],
                    "usage": cost,
                }
            )
        pieces: list[bytes | float] = []
        for token, item in zip(tokens, listed, strict=True):
            pieces += [self.pause] if self.pause else []
            more: Json = {"logprobs": {"content": [item]}} if logprobs else {}
            pieces.append(delta(token, **more))
        pieces.append(delta(finish=finish))
        if "usage" not in self.ignores and (body.get("stream_options") or {}).get("include_usage"):
            pieces.append(used(cost))
        return Reply([*pieces, b"data: [DONE]\n\n"])

    def _tokens(self, body: Json) -> tuple[list[str], str]:
        schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
        if schema is not None and "schema" not in self.ignores:
            text = json.dumps(instance(schema, schema), ensure_ascii=False)
        else:
            fixed = not body.get("temperature") or False
            seed = None if "seed" in self.ignores and not fixed else body.get("seed")
            rng = random.Random(0 if fixed else seed)
            text = " ".join(rng.choices(WORDS, k=self.length))
        for stop in body.get("stop") or [] if "stop" not in self.ignores else []:
            text = text.partition(stop)[0]
        tokens = re.findall(r"\s*\S{1,6}", text)
        limit = body.get("max_tokens") or len(tokens)
        if len(tokens) > limit and "max_tokens" not in self.ignores:
            return tokens[:limit], "length"
        return tokens, "stop"

    def _call(self, body: Json) -> Json | None:
        choice = body.get("tool_choice")
        if not body.get("tools") or "tools" in self.ignores or choice in (None, "auto", "none"):
            return None
        if choice == "required":
            if "required" in self.ignores:
                return None
            name = body["tools"][0]["function"]["name"]
        else:
            name = choice["function"]["name"]
        function = next(t["function"] for t in body["tools"] if t["function"]["name"] == name)
        arguments = json.dumps(instance(function["parameters"], function["parameters"]))
        call = {"id": "call_toy", "type": "function", "function": {"name": name, "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return {"index": 0, "finish_reason": "tool_calls", "message": message}


def instance(schema: Json, root: Json) -> Any:
    """The smallest value that fits a schema of the usual keywords."""
    if "$ref" in schema:
        return instance(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for name in ("oneOf", "anyOf"):
        if name in schema:
            return instance(schema[name][0], root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", [])
            return {k: instance(v, root) for k, v in schema.get("properties", {}).items() if k in wanted}
        case "array":
            return [instance(schema.get("items", {}), root)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "string":
            return "kelp kelp"[: schema.get("maxLength", 9)].ljust(schema.get("minLength", 0), "p")
        case _:
            return None


def _logprob(token: str, alternatives: int) -> Json:
    top = [
        {"token": token, "logprob": -0.1, "bytes": None},
        {"token": "other", "logprob": -3.0, "bytes": None},
    ]
    return {"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": top[:alternatives]}
