"""Tools: schemas from signatures, validation, execution; and that nothing bad gets through."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from labkit.errors import LabkitError, ToolCallError, ToolDefinitionError, ToolError
from labkit.messages import ToolCall
from labkit.tools import ToolRegistry, to_text, tool


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Person(BaseModel):
    name: str
    age: int


@dataclass
class Tree:
    value: int
    children: list[Tree]


@tool
def paint(
    json: int,
    colour: Colour,
    where: Point,
    who: Person | None = None,
    note: Optional[str] = None,  # noqa: UP045
    sizes: list[int] = [1],  # noqa: B006
    scale: dict[str, float] = {},  # noqa: B006
    mode: Literal["dry", "wet"] = "dry",
    tree: Tree | None = None,
) -> str:
    """Paint something.

    Args:
        json: A number whose name pydantic keeps for itself.
        colour: The colour.
        where: The place.
        who: The painter.
        note: A remark.
        sizes: Sizes.
        scale: Factors.
        mode: The mode.
        tree: A recursive thing.
    """
    return f"{json} {colour!r} {where!r} {who!r} {note!r} {sizes!r} {scale!r} {mode!r} {tree!r}"


@tool
def hang(seconds: float) -> str:
    """Wait.

    Args:
        seconds: How long.
    """
    time.sleep(seconds)
    return "woke"


@tool
def misbehave(how: Literal["raise", "exit", "print"]) -> str:
    """Misbehave.

    Args:
        how: In which way.
    """
    if how == "raise":
        raise KeyError("no such customer")
    if how == "exit":
        raise SystemExit(3)
    print("noise")
    return "quiet"


GOOD = {"json": 1, "colour": "red", "where": {"x": 1}}


def test_schema_has_every_type_and_no_titles() -> None:
    properties = paint.parameters["properties"]
    assert paint.parameters["required"] == ["json", "colour", "where"]
    assert properties["json"] == {
        "type": "integer",
        "description": "A number whose name pydantic keeps for itself.",
    }
    assert properties["colour"]["enum"] == ["red", "blue"]
    assert properties["where"]["properties"] == {
        "x": {"type": "number"},
        "y": {"type": "number", "default": 0.0},
    }
    assert properties["where"]["additionalProperties"] is False
    assert properties["mode"] == {
        "type": "string",
        "enum": ["dry", "wet"],
        "default": "dry",
        "description": "The mode.",
    }
    assert '"title"' not in json.dumps(paint.parameters)
    assert list(paint.parameters["$defs"]) == ["Tree"]


def test_the_function_gets_the_types_of_its_signature() -> None:
    call = ToolCall("paint", {**GOOD, "who": {"name": "Ana", "age": 4}, "tree": {"value": 1, "children": []}})
    result = ToolRegistry(paint).execute(call)
    assert result.ok
    assert "Colour.RED" in result.content
    assert "Point(x=1.0, y=0.0)" in result.content
    assert "Person(name='Ana', age=4)" in result.content
    assert "Tree(value=1, children=[])" in result.content


def test_a_tool_is_still_a_function() -> None:
    assert hang(0.0) == "woke"


def test_every_problem_of_a_definition_is_named_at_once() -> None:
    def bad(a, *rest, b: int, c: object) -> None:  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(ToolDefinitionError) as error:
        tool(bad)
    for problem in (
        "no docstring",
        "a has no type hint",
        "a has no description",
        "*rest cannot",
        "b has no description",
    ):
        assert problem in str(error.value)


def test_a_type_without_a_schema_is_refused() -> None:
    def bad(lock: threading.Lock) -> None:
        """Do.

        Args:
            lock: A lock.
        """

    with pytest.raises(ToolDefinitionError, match="bad cannot be a tool"):
        tool(bad)


@pytest.mark.parametrize(
    "docstring",
    [
        "Add.\n\nArgs:\n    a: First.\n    b: Second.",
        "Add.\n\n:param a: First.\n:param b: Second.",
        "Add.\n\nParameters\n----------\na\n    First.\nb\n    Second.",
    ],
)
def test_docstring_styles(docstring: str) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    add.__doc__ = docstring
    made = tool(add)
    assert made.description == "Add."
    assert [p["description"] for p in made.parameters["properties"].values()] == ["First.", "Second."]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "lack json, colour, where"),
        ({**GOOD, "colour": "green"}, '"red", "blue"'),
        ({**GOOD, "json": "1"}, "of type integer"),
        ({**GOOD, "json": True}, "of type integer"),
        ({**GOOD, "json": 1.5}, "of type integer"),
        ({**GOOD, "extra": 1}, "unknown keys 'extra'"),
        ({**GOOD, "where": {"x": 1, "z": 2}}, "unknown keys 'z'"),
        ({**GOOD, "where": {"x": float("nan")}}, "where"),
        ([], "must be a JSON object"),
        ("{}", "must be a JSON object"),
        (None, "must be a JSON object"),
    ],
)
def test_a_faulty_call_becomes_an_observation_that_says_what_is_valid(arguments: Any, expected: str) -> None:
    result = ToolRegistry(paint).execute(ToolCall("paint", arguments, "call_7"))
    assert not result.ok
    assert result.call_id == "call_7"
    assert expected in result.content


def test_an_unknown_tool_names_the_valid_ones() -> None:
    assert "Valid tools: paint, hang" in ToolRegistry(paint, hang).execute(ToolCall("print", {})).content
    assert "no tool is registered" in ToolRegistry().execute(ToolCall("print", {})).content


def test_a_tool_that_hangs_is_left_behind() -> None:
    started = time.monotonic()
    result = ToolRegistry(hang).execute(ToolCall("hang", {"seconds": 5}), timeout_s=0.1)
    assert not result.ok
    assert "did not finish within 0.1 s" in result.content
    assert time.monotonic() - started < 2


def test_a_tool_that_raises_exits_or_prints(capsys: pytest.CaptureFixture[str]) -> None:
    registry = ToolRegistry(misbehave)
    assert "KeyError: 'no such customer'" in registry.execute(ToolCall("misbehave", {"how": "raise"})).content
    assert not registry.execute(ToolCall("misbehave", {"how": "exit"})).ok
    assert registry.execute(ToolCall("misbehave", {"how": "print"})).content == "quiet"


def test_a_long_result_is_cut() -> None:
    @tool
    def long() -> str:
        """Talk."""
        return "x" * 10_000

    assert (
        ToolRegistry(long)
        .execute(ToolCall("long", {}), limit=100)
        .content.endswith("… (9900 more characters)")
    )


def test_results_as_text() -> None:
    assert to_text("as it is") == "as it is"
    assert to_text(None) == "done"
    assert to_text({"a": [1, Point(1.5, 2.5)]}) == '{"a":[1,{"x":1.5,"y":2.5}]}'
    assert to_text(threading.Lock()).startswith('"')


def test_a_tool_without_a_function_is_the_programmers_fault() -> None:
    registry = ToolRegistry.from_openai([paint.to_openai()])
    assert registry.validate(ToolCall("paint", GOOD)).arguments == GOOD
    with pytest.raises(ToolError, match="no function"):
        registry.execute(ToolCall("paint", GOOD))


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="same name"):
        ToolRegistry(hang, hang)


def test_bfcl_types_become_json_types() -> None:
    function = {
        "name": "f",
        "description": "F.",
        "parameters": {
            "type": "dict",
            "required": ["a"],
            "properties": {
                "a": {"type": "float"},
                "b": {"type": "tuple", "items": {"type": "dict", "properties": {"type": {"type": "string"}}}},
                "c": {"type": "any", "optional": True},
            },
        },
    }
    properties = ToolRegistry.from_bfcl([function])["f"].parameters["properties"]
    assert properties["a"]["type"] == "number"
    assert properties["b"]["items"]["type"] == "object"
    assert properties["b"]["items"]["properties"] == {"type": {"type": "string"}}
    assert "type" not in properties["c"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"name": ""},
        {"name": "f", "parameters": {"type": "nonsense"}},
        {"name": "f", "parameters": {"type": "array"}},
    ],
)
def test_a_bad_import_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError):
        ToolRegistry.from_openai([bad])


def test_two_hundred_tools() -> None:
    entries = [{"name": f"tool_{i}", "parameters": {"type": "object", "properties": {}}} for i in range(200)]
    registry = ToolRegistry.from_openai(entries)
    assert len(registry) == 200
    assert registry.validate(ToolCall("tool_150", {})).name == "tool_150"


# --- properties ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
HINTS = st.recursive(
    st.sampled_from([str, int, float, bool, Colour, Point, Person, Literal["a", "b"], Literal[1, 2]]),
    lambda inner: st.one_of(
        inner.map(lambda t: list[t]), inner.map(lambda t: t | None), inner.map(lambda t: dict[str, t])
    ),
    max_leaves=3,
)


def _value(hint: Any) -> Any:
    """A JSON value of a type."""
    simple = {
        str: "text",
        int: 3,
        float: 2.5,
        bool: True,
        Colour: "blue",
        Point: {"x": 1.0, "y": 2.0},
        Person: {"name": "Bo", "age": 9},
    }
    if hint in simple:
        return simple[hint]
    origin, args = getattr(hint, "__origin__", None), getattr(hint, "__args__", ())
    if origin is list:
        return [_value(args[0])]
    if origin is dict:
        return {"key": _value(args[1])}
    return args[0] if origin is Literal else _value(args[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(HINTS, min_size=1, max_size=4), st.booleans())
def test_any_schema_from_type_hints_round_trips(hints: list[Any], unicode: bool) -> None:
    names = [f"größe_{i}" if unicode else f"p{i}" for i in range(len(hints))]

    def function(**values: Any) -> str:
        return "ran"

    function.__annotations__ = dict(zip(names, hints, strict=True))
    function.__doc__ = "Do.\n\nArgs:\n" + "\n".join(f"    {n}: A value." for n in names)
    import inspect

    kind = inspect.Parameter.KEYWORD_ONLY
    function.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
    made = tool(function)
    arguments = {n: _value(h) for n, h in zip(names, hints, strict=True)}
    assert made.validate(arguments) == arguments
    assert ToolRegistry.from_openai([made.to_openai()])["function"].parameters == made.parameters
    assert ToolRegistry(made).execute(ToolCall("function", arguments)).content == "ran"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=10) | st.just("paint"), JSON)
def test_any_call_ends_in_a_result_and_never_runs_unvalidated(name: str, arguments: Any) -> None:
    registry = ToolRegistry(paint)
    result = registry.execute(ToolCall(name, arguments))
    try:
        registry.validate(ToolCall(name, arguments))
    except ToolCallError:
        assert not result.ok
    except LabkitError as error:  # pragma: no cover
        pytest.fail(f"not an observation: {error}")


def test_tools_are_imported_without_the_slow_checker_of_a_format_that_nobody_uses() -> None:
    code = "import sys, labkit.tools; print('rfc3987_syntax' in sys.modules, 'jsonschema' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]
