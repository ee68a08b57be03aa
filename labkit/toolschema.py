"""JSON schemas of tools: read from docstrings and pydantic, imported from other dialects, checked, explained to a model."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

from labkit.jsonschemas import Draft202012Validator
from labkit.jsonschemas import ValidationError as SchemaMismatch
from labkit.messages import JsonSchema


def read_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """What the function is for, what each parameter means, and typical requests. Google, NumPy and Sphinx styles."""
    import griffe

    text = inspect.getdoc(function) or ""
    style = (
        griffe.Parser.sphinx
        if ":param" in text
        else griffe.Parser.numpy
        if "\n----" in text
        else griffe.Parser.google
    )
    summary, described, requests = "", dict[str, str](), list[str]()
    for section in griffe.parse(griffe.Docstring(text), style, warnings=False) if text else []:
        if isinstance(section, griffe.DocstringSectionText) and not summary:
            summary = " ".join(section.value.split())
        elif isinstance(section, griffe.DocstringSectionParameters):
            described |= {p.name: " ".join(p.description.split()) for p in section.value if p.description}
        elif isinstance(section, griffe.DocstringSectionExamples):
            texts = [text for kind, text in section.value if kind is griffe.DocstringSectionKind.text]
            requests += [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return summary, described, tuple(requests)


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


def problems(schema: JsonSchema, value: Mapping[str, Any]) -> list[str]:
    """One sentence for the model on each thing that does not match; empty if all does."""
    errors = _validator(json.dumps(schema)).iter_errors(dict(value))
    return list(dict.fromkeys(_explain(error) for error in errors))


def matches(schema: JsonSchema, value: Any) -> bool:
    """Whether a value is valid under a schema."""
    return _validator(json.dumps(schema)).is_valid(value)


def _explain(error: SchemaMismatch) -> str:
    """One sentence for the model. jsonschema's own messages quote whole values and schemas."""
    where = ".".join(map(str, error.absolute_path)) or "arguments"
    rule, wanted, value = str(error.validator), cast(Any, error.validator_value), cast(Any, error.instance)
    if rule == "enum":
        return f"{where} is {short(value)}, but must be one of {json.dumps(wanted, ensure_ascii=False)}"
    if rule == "type":
        return f"{where} is {short(value)}, but must be of type {wanted}"
    if rule == "required":
        return f"{where} lack{'' if where == 'arguments' else 's'} {', '.join(k for k in wanted if k not in value)}"
    if rule == "additionalProperties":
        known = list(cast(Any, error.schema).get("properties", {}))
        unknown = [short(k) for k in value if k not in known]
        return f"{where} has unknown keys {', '.join(unknown)}; valid keys: {', '.join(known) or 'none'}"
    return f"{where}: {cut(error.message, 200)}"


def map_schema(node: Any, change: Callable[[JsonSchema], JsonSchema]) -> Any:
    """Apply ``change`` to every schema inside a schema, innermost first; values such as ``enum`` are left alone."""
    if isinstance(node, list):
        return [map_schema(item, change) for item in node]
    if not isinstance(node, dict):
        return node
    out: JsonSchema = {}
    for key, value in node.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            out[key] = {name: map_schema(schema, change) for name, schema in value.items()}
        else:
            out[key] = value if key in ("enum", "const", "default", "examples") else map_schema(value, change)
    return change(out)


def plain(schema: JsonSchema) -> JsonSchema:
    """pydantic's schema without titles, references filled in unless they are recursive, every object closed."""
    definitions: dict[str, JsonSchema] = schema.pop("$defs", {})

    def reached(node: JsonSchema, seen: set[str]) -> set[str]:
        def note(part: JsonSchema) -> JsonSchema:
            name = str(part.get("$ref", "")).removeprefix("#/$defs/")
            if name in definitions and name not in seen:
                seen.add(name)
                reached(definitions[name], seen)
            return part

        map_schema(node, note)
        return seen

    recursive = {name for name in definitions if name in reached(definitions[name], set())}

    def fill(node: JsonSchema) -> JsonSchema:
        name = str(node.get("$ref", "")).removeprefix("#/$defs/")
        if name in definitions and name not in recursive:
            return {**map_schema(definitions[name], fill), **{k: v for k, v in node.items() if k != "$ref"}}
        return closed({k: v for k, v in node.items() if k != "title"})

    plain = map_schema(schema, fill)
    if recursive:
        plain["$defs"] = {name: map_schema(definitions[name], fill) for name in sorted(recursive)}
    return plain


def closed(node: JsonSchema) -> JsonSchema:
    """An object of known properties, closed to unknown keys."""
    if node.get("type") == "object" and "properties" in node:
        node.setdefault("additionalProperties", False)
    return node


_JSON_TYPES = {
    "dict": "object",
    "float": "number",
    "tuple": "array",
    "list": "array",
    "int": "integer",
    "str": "string",
    "bool": "boolean",
}


def json_type(node: JsonSchema) -> JsonSchema:
    """BFCL writes Python's type names; ``any`` means no restriction, and ``optional`` is not a keyword."""
    kind = node.get("type")
    out = {k: v for k, v in node.items() if k not in ("type", "optional")}
    return out if kind in (None, "any") else {"type": _JSON_TYPES.get(kind, kind), **out}


def bounded(schema: JsonSchema) -> JsonSchema:
    """The schema with bounds on strings, lists and integers, so that a weak model that generates under it comes to an end.

    A pattern is its own bound: the constraint engine cannot hold both.
    """
    bounds: dict[str, JsonSchema] = {
        "string": {"maxLength": 200},
        "array": {"maxItems": 20},
        "integer": {"minimum": -(10**12), "maximum": 10**12},
    }

    def bound(part: JsonSchema) -> JsonSchema:
        kind = part.get("type")
        free = isinstance(kind, str) and not {"enum", "const", "pattern"} & part.keys()
        return {**bounds.get(str(kind), {}), **part} if free else part

    return map_schema(schema, bound)


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and how much is missing."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"


def short(value: object) -> str:
    """A value as it may be quoted in a message."""
    return cut(repr(value), 80)
