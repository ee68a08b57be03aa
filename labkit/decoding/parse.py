"""From a model's text to calls. Whatever the text is, the result is calls, nothing, or an observation; no other exception."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from labkit.errors import ToolCallError
from labkit.messages import ToolCall


def read_calls(text: str) -> list[ToolCall]:
    """The calls written in a text as JSON objects with ``name`` and ``arguments``; empty if there is no JSON object.

    Raises:
        ToolCallError: There is the beginning of a JSON object, but no call can be read from it.
    """
    calls: list[ToolCall] = []
    at, braces = 0, [m.start() for m in re.finditer(r"\{", text)]
    for start in braces[:50]:
        if start < at:
            continue
        try:
            value, at = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if call := _as_call(value, len(calls) + 1):
            calls.append(call)
    if braces and not calls:
        raise ToolCallError(
            'That is not a call: a call is one JSON object with "name" and "arguments".',
            "Write the whole object, and nothing else.",
        )
    return calls


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _as_call(value: Any, number: int) -> ToolCall | None:
    if not isinstance(value, dict):
        return None
    value = value.get("function") if isinstance(value.get("function"), dict) else value
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):  # OpenAI writes the arguments as a string of JSON
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError):
            return None
    if isinstance(name, str) and isinstance(arguments, Mapping):
        return ToolCall(name, arguments, f"call_{number}")
    return None
