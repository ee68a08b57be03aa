"""A server with the pages of Ollama's documented API (docs/api.md and docs/openai.md of its repository). No model is in it.

What it cannot show is how a real Ollama behaves; the same suite runs on one where OLLAMA_HOST answers.
"""

from __future__ import annotations

import json
from typing import Any

from labkit.backends.scripted_http import Reply, ScriptedServer, whole
from labkit.backends.toy import ToyModel

DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "135M",
    "quantization_level": "Q4_1",
}
MODEL = "smollm2:135m"


def row(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-11-22T10:00:00.123456+01:00",
        "size": 98_000_000,
        "digest": "0" * 64,
        "details": DETAILS,
    }


def ollama_server(*models: str) -> ScriptedServer:
    """It has these models; by default ``MODEL``. Pulling ``MODEL`` works, other names do not exist."""
    names = models or (MODEL,)
    loaded = {**row(names[0]), "expires_at": "2026-11-22T10:05:00Z", "size_vram": 0, "context_length": 4096}
    server = ScriptedServer(
        otherwise=ToyModel(ignores={"tools"}),
        pages={
            "/api/tags": {"models": [row(n) for n in names]},
            "/api/ps": {"models": [loaded]},
            "/api/version": {"version": "contract"},
            "/v1/models": {"object": "list", "data": [{"id": n, "object": "model"} for n in names]},
        },
    )
    server.routes["/api/show"] = show
    server.routes["/api/pull"] = pull
    return server


def show(body: dict[str, Any]) -> Reply:
    if body["model"] != MODEL:
        return Reply(
            [b'{"error":"model \'%s\' not found"}' % body["model"].encode()], 404, kind="application/json"
        )
    return whole(
        {
            "modelfile": "FROM x",
            "parameters": 'stop "<|im_end|>"',
            "template": "{{ .Prompt }}",
            "details": DETAILS,
            "model_info": {"llama.context_length": 8192},
            "capabilities": ["completion", "tools"],
        }
    )


def pull(body: dict[str, Any]) -> Reply:
    def line(**fields: Any) -> bytes:
        return json.dumps(fields).encode() + b"\n"

    if body["model"] != MODEL:
        refused = [line(status="pulling manifest"), line(error="pull model manifest: file does not exist")]
        return Reply(refused, kind="application/x-ndjson")
    if not body.get("stream", True):
        return whole({"status": "success"})
    parts = [line(status="pulling 00", digest="sha256:0", total=100, completed=n) for n in (0, 40, 100)]
    return Reply(
        [
            line(status="pulling manifest"),
            *parts,
            0.01,
            line(status="verifying sha256 digest"),
            line(status="success"),
        ],
        kind="application/x-ndjson",
    )


__all__ = ["MODEL", "ollama_server"]
