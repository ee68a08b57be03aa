"""Tool-calling cases made from the families of ``data/routing/families.toml``, always the same ones for the same seed."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labkit import data
from labkit.bench import bfcl
from labkit.errors import ConfigError

PER_FAMILY = 16
"""Cases of a family."""
_PARAMETER = re.compile(r"(integers?|numbers?|strings?|boolean|one of (?P<options>[\w, ]+))(?P<needed>[!?]) ")
_SLOT = re.compile(r"\{(\w+)(\.said)?\}")
_ARTICLE = re.compile(r"(the|an?) ")
_DEFAULT = re.compile(r"Default is '?([^'.]+)'?\.")

Choice = Mapping[str, Sequence[Any]]
"""For each slot what is said, and what is meant: the accepted values."""


def families() -> dict[str, dict[str, Any]]:
    """The families by name, as the file has them."""
    return tomllib.loads(data.path("routing/families.toml").read_text(encoding="utf-8"))


def cases(per_family: int = PER_FAMILY, seed: int = 0) -> dict[str, list[bfcl.Case]]:
    """So many different cases of each family, by the family's name; fewer where a family has no more.

    Raises:
        ConfigError: A parameter's description cannot be read, or an argument belongs to no parameter.
    """
    return {
        name: _family(name, family, per_family, random.Random(f"{seed} {name}"))
        for name, family in families().items()
    }


def _family(name: str, family: Mapping[str, Any], wanted: int, rng: random.Random) -> list[bfcl.Case]:
    functions = {key: _function(key, *about) for key, about in family["functions"].items()}
    slots = {
        key: [v if isinstance(v, list) else [v, v] for v in ways] for key, ways in family["slots"].items()
    }
    made: dict[str, bfcl.Case] = {}
    for attempt in range(20 * wanted):
        words, tool, arguments = family["requests"][attempt % len(family["requests"])]
        choice = {key: rng.choice(ways) for key, ways in slots.items()}
        request = words.format(**{key: way[0] for key, way in choice.items()})
        request = request[0].upper() + request[1:]
        if request not in made:
            offered = dict(functions)
            if (
                len(made) % 2
            ):  # a version of the function that requires what is said: a harder and an easier case in turn
                offered[tool] = _requiring(functions[tool], arguments)
            accepted = _accepted(functions[tool], arguments, choice)
            made[request] = bfcl.Case(
                f"{name}_{len(made):02d}",
                "multiple",
                ({"role": "user", "content": request},),
                tuple(offered.values()),
                ({tool: accepted},),
            )
        if len(made) == wanted:
            break
    return list(made.values())


def _requiring(function: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The same function, which requires what is given."""
    schema = function["parameters"]
    named = [key for key, meant in given.items() if "" not in (meant if isinstance(meant, list) else [meant])]
    required = [key for key in schema["properties"] if key in named or key in schema["required"]]
    return {**function, "parameters": {**schema, "required": required}}


def _function(name: str, purpose: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for key, text in parameters.items():
        found = _PARAMETER.match(text)
        if not found:
            raise ConfigError(
                f"The parameter {key} of {name} is described as {text!r}.",
                "Begin with its type, then ! or ?, then a space, as in 'integer! How many.'",
            )
        schema: dict[str, Any] = {"type": found[1]}
        if found["options"]:
            schema = {"type": "string", "enum": found["options"].split(", ")}
        elif found[1].endswith("s"):
            schema = {"type": "array", "items": {"type": found[1][:-1]}}
        properties[key] = {**schema, "description": text[found.end() :]}
        required += [key] if found["needed"] == "!" else []
    schema = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": purpose, "parameters": schema}


def _accepted(
    function: Mapping[str, Any], arguments: Mapping[str, Any], choice: Choice
) -> dict[str, list[Any]]:
    """The accepted values of every parameter; ``""`` stands for leaving it out."""
    properties: Mapping[str, Any] = function["parameters"]["properties"]
    if unknown := arguments.keys() - properties.keys():
        raise ConfigError(
            f"{function['name']} has no parameter {', '.join(sorted(unknown))}.", "Correct the family."
        )
    return {
        key: list(_values(arguments[key], choice)) if key in arguments else ["", *_unsaid(schema)]
        for key, schema in properties.items()
    }


def _values(meant: Any, choice: Choice) -> Iterator[Any]:
    for value in meant if isinstance(meant, list) else [meant]:
        slot = _SLOT.fullmatch(value) if isinstance(value, str) else None
        if slot is None:
            yield value
        elif slot[2]:
            yield choice[slot[1]][0]
        else:
            for accepted in choice[slot[1]][1:]:
                yield accepted
                if isinstance(accepted, str) and _ARTICLE.match(accepted):
                    yield _ARTICLE.sub("", accepted)


def _unsaid(schema: Mapping[str, Any]) -> list[Any]:
    """What means the same as leaving it out: the default, and for a yes or no also no."""
    stated = _DEFAULT.search(schema["description"])
    if schema["type"] == "boolean":
        return [False]
    if not stated:
        return []
    return [stated[1]] if schema["type"] == "string" else [json.loads(stated[1])]
