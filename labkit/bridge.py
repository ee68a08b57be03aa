"""The learner's side of a judge's question. It runs in the learner's kernel, so nothing here is trusted by the judge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

ARRAY = "__array__"


def pack(value: Any) -> Any:
    """Numpy arrays as ``{"__array__": nested lists}``, so that they arrive as arrays."""
    if hasattr(value, "tolist"):
        plain = value.tolist()
        return {ARRAY: plain} if isinstance(plain, list) else plain
    if isinstance(value, Mapping):
        return {str(key): pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item) for item in value]
    return value


def unpack(value: Any) -> Any:
    """The inverse of ``pack``."""
    if isinstance(value, dict):
        if set(value) == {ARRAY}:
            import numpy as np

            return np.asarray(value[ARRAY])
        return {key: unpack(item) for key, item in value.items()}
    return [unpack(item) for item in value] if isinstance(value, list) else value


class Answer(str):
    """JSON that shows as it is, so that nobody has to unquote it."""

    __slots__ = ()
    __repr__ = str.__str__


def answer(question: str, namespace: dict[str, Any]) -> Answer:
    """Evaluate the question's expression among the notebook's names. Returns ``{"value": …}`` or ``{"error": …}`` as JSON."""
    asked = json.loads(question)
    try:
        names = {**namespace, **unpack(asked["inputs"])}
        value = eval(compile(asked["expression"], "<judge>", "eval", dont_inherit=True), names)
        return Answer(json.dumps({"value": _plain(value)}))
    except Exception as error:
        return Answer(json.dumps({"error": type(error).__name__, "message": str(error)[:500]}))


def _plain(value: Any) -> Any:
    """JSON for what learners return: arrays and tuples as lists, sets sorted, keys as texts."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    return value
