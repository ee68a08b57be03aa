"""The parameters of a tool as leaves: what each of them is, what it may be, and what it is by default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit.decoding.text import stems
from labkit.messages import JsonSchema
from labkit.toolschema import matches


class _Omit:
    def __repr__(self) -> str:
        return "OMIT"


OMIT = _Omit()
"""The candidate of leaving an optional parameter out."""


@dataclass(frozen=True)
class Leaf:
    """A parameter with a plain value; a nested object's properties are leaves too.

    Attributes:
        path: Names from the outermost object to this one.
        schema: Its own schema.
        kind: ``string``, ``number``, ``integer``, ``boolean``, ``choice``, ``array`` or ``json`` (anything else).
        required: Whether it and all objects around it are required.
        description: Its description and those of the objects around it.
    """

    path: tuple[str, ...]
    schema: JsonSchema
    kind: str
    required: bool
    description: str

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def words(self) -> frozenset[str]:
        """Stems of its name and description, without the default and without examples."""
        return stems(" ".join(self.path)) | stems(_DEFAULT.sub("", self.description))


_DEFAULT = re.compile(r"(?i)[^.(]*\bdefault(?:s|ed)?\b.*$")
_STATED = re.compile(
    r"""(?x) \b[Dd]efault(?:s|ed)?\b (?:\ value|\ unit)? (?:\ is|\ to|\ be|:|\ of|\ as|=|,)* \s*
    (?: ['"‘“]([^'"’”]+)['"’”]
      | (?!is\b|to\b|that\b|be\b|not\b|use\b|no\b|the\b|empty\b|none\b|None\b|current\b|if\b|\.)([-+]?[\d.]+(?:e[-+]?\d+)?\b|[A-Za-z][\w/%-]*(?:\ [A-Z]\w*|\ of\ [A-Z]\w*)*) )
    | ['"‘“]([^'"’”]+)['"’”] \ (?:as|is|by)\ (?:the\ )?default"""
)
_OPTIONS = re.compile(r"['\"‘“]([^'\"’”]{1,40})['\"’”]")


def leaves(
    schema: JsonSchema, path: tuple[str, ...] = (), required: bool = True, around: str = ""
) -> Iterator[Leaf]:
    """The leaves of an object schema, in order. Recursive references count as ``json``."""
    wanted = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        part = without_null(part)
        needed, here = required and name in wanted, (*path, name)
        text = f"{around} {part.get('description', '')}".strip()
        if part.get("type") == "object" and part.get("properties"):
            inner = (
                part if part.get("required") or not needed else {**part, "required": list(part["properties"])}
            )
            yield from leaves(inner, here, needed, text)
        else:
            yield Leaf(here, part, kind_of(part), needed, text)


def default(leaf: Leaf) -> Any:
    """The default that the schema or its description names; ``OMIT`` if neither does."""
    if "default" in leaf.schema:
        return leaf.schema["default"]
    found = _STATED.search(leaf.description)
    return (found[1] or found[2] or found[3]).rstrip(".") if found else OMIT


def options(leaf: Leaf) -> list[Any]:
    """The values that the schema allows, or that its description quotes as examples."""
    if "const" in leaf.schema:
        return [leaf.schema["const"]]
    if "enum" in leaf.schema:
        return list(leaf.schema["enum"])
    return list(dict.fromkeys(_OPTIONS.findall(leaf.description))) if leaf.kind == "string" else []


def identifies(leaf: Leaf) -> bool:
    """Whether a schema is so narrow that what fits it is meant: a pattern, or a number of at least four digits."""
    return "pattern" in leaf.schema or leaf.schema.get("minimum", 0) >= 1000


_LIMITS = frozenset(
    {"pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"multipleOf", "minItems", "maxItems"}
)


def allowed(schema: JsonSchema, value: Any) -> bool:
    return not _LIMITS & schema.keys() or matches(schema, value)


def kind_of(schema: JsonSchema) -> str:
    if "enum" in schema or "const" in schema:
        return "choice"
    kind = schema.get("type", "string" if not set(schema) - {"description", "default"} else "json")
    return kind if kind in ("string", "number", "integer", "boolean", "array") else "json"


def without_null(schema: JsonSchema) -> JsonSchema:
    """``X | None`` as X: leaving an argument out says the same."""
    branches = [b for b in schema.get("anyOf", ()) if b.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **branches[0]} if len(branches) == 1 else schema
