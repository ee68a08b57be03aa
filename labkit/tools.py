"""Tools: from a Python function to a schema the model reads, and from a model's call back to the function, safely.

Nothing runs that is not registered, and nothing runs whose arguments were not validated. A model's faults become
observations that it can read and repair; a programmer's faults raise at once.
"""

from __future__ import annotations

import copy
import inspect
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, get_type_hints, is_typeddict

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticInvalidForJsonSchema,
    PydanticUserError,
    ValidationError,
    create_model,
)
from pydantic_core import to_json

from labkit.errors import ToolCallError, ToolDefinitionError, ToolError
from labkit.jsonschemas import Draft202012Validator, SchemaError
from labkit.messages import JsonSchema, ToolCall, ToolResult
from labkit.toolschema import closed, cut, json_type, map_schema, plain, read_docstring, short
from labkit.toolschema import problems as mismatches

RESULT_LIMIT = 4000
"""Characters of a tool's result that the model gets to read."""


class UserWords:
    """Marks a parameter that is always the user's own words, as in ``said: Annotated[str, UserWords]``; an agent fills it."""


@dataclass(frozen=True, eq=False)
class Tool:
    """Something that a model may call. Made by ``@tool`` from a function, or by ``ToolRegistry.from_openai`` from a schema.

    Attributes:
        name: What the model calls it.
        description: What it is for, in words for the model.
        parameters: A JSON schema of its arguments, an object that refuses unknown keys.
        function: What runs; None where only the schema is known.
        provides: Names of the fields of its result, where its return type names them (a dataclass, a TypedDict, a pydantic model).
        bound: Arguments that the program fills in; the model never sees them.
        examples: Typical requests, from the docstring's section ``Examples:``, one a line.
        words: Names of the parameters marked ``UserWords``.
    """

    name: str
    description: str
    parameters: JsonSchema
    function: Callable[..., Any] | None = None
    model: type[BaseModel] | None = field(default=None, repr=False)
    provides: tuple[str, ...] = ()
    bound: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    examples: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain function, as if it were not a tool."""
        return self.require_function()(*args, **kwargs)

    def validate(self, arguments: object) -> dict[str, Any]:
        """The arguments, if they match the schema exactly.

        Raises:
            ToolCallError: They do not; the message names each problem and what would be allowed.
        """
        if not isinstance(arguments, Mapping):
            raise ToolCallError(f"{self.name}: the arguments must be a JSON object, not {short(arguments)}.")
        problems = mismatches(self.parameters, arguments)
        if not problems and self.model:
            try:
                self._read(arguments)
            except ValidationError as error:
                problems = [
                    f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()
                ]
            except ValueError as error:
                problems = [str(error)]
        if problems:
            raise ToolCallError(
                f"{self.name}: {'; '.join(problems)}.", "Correct these arguments and call again."
            )
        return dict(arguments)

    def run(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with validated arguments, turned into the types of its signature.

        Raises:
            ToolCallError: The arguments are not valid.
            ToolError: No function belongs to this tool.
        """
        function, values = self.require_function(), self.validate(arguments)
        if self.model:
            read = self._read(values)
            given = {**values, **self.bound}
            values = {name: getattr(read, key) for key, name in _fields(self.model).items() if name in given}
            return function(**values)
        return function(**{**values, **self.bound})

    def bind(self, **values: Any) -> Tool:
        """The same tool with these parameters filled in by the program: out of the schema, and so out of the model's reach.

        Raises:
            ToolError: It has no such parameter.
        """
        if unknown := [name for name in values if name not in self.parameters["properties"]]:
            raise ToolError(
                f"{self.name} has no parameter {', '.join(unknown)}.",
                f"Its parameters are: {', '.join(self.parameters['properties']) or 'none'}.",
            )
        parameters = copy.deepcopy(self.parameters)
        parameters["properties"] = {k: v for k, v in parameters["properties"].items() if k not in values}
        parameters["required"] = [k for k in parameters.get("required", ()) if k not in values]
        left = tuple(name for name in self.words if name not in values)
        return replace(self, parameters=parameters, bound={**self.bound, **values}, words=left)

    def to_openai(self) -> dict[str, Any]:
        """The tool in the shape of OpenAI's ``tools`` parameter."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": copy.deepcopy(self.parameters),
        }
        return {"type": "function", "function": function}

    def _read(self, arguments: Mapping[str, Any]) -> BaseModel:
        assert self.model is not None
        return self.model.model_validate_json(json.dumps({**arguments, **self.bound}), strict=True)

    def require_function(self) -> Callable[..., Any]:
        """The function behind the tool.

        Raises:
            ToolError: Only its schema is known.
        """
        if self.function is None:
            raise ToolError(
                f"The tool {self.name!r} has a schema but no function.", "Make it with @tool to run it."
            )
        return self.function


def tool(function: Callable[..., Any]) -> Tool:
    """Make a tool of a function with type hints and a docstring that describes every parameter.

    Types: str, int, float, bool, Literal, Enum, Optional, list, dict, dataclasses, pydantic models. A parameter with a
    default is optional. Google, NumPy and Sphinx docstrings are read.

    Raises:
        ToolDefinitionError: A hint or a description is missing, or a type has no JSON schema; all problems at once.

    Example:
        >>> @tool
        ... def add(a: int, b: int) -> int:
        ...     '''Add two numbers.
        ...
        ...     Args:
        ...         a: The first number.
        ...         b: The second number.
        ...     '''
        ...     return a + b
        >>> add(1, 2), add.parameters["required"]
        (3, ['a', 'b'])
    """
    name = getattr(function, "__name__", type(function).__name__)
    summary, described, examples = read_docstring(function)
    problems = [] if summary else ["it has no docstring that says what it does"]
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise ToolDefinitionError(
            f"{name} cannot be a tool: a type hint cannot be read ({error}).", "Import that type."
        ) from error
    fields: dict[str, Any] = {}
    for i, parameter in enumerate(inspect.signature(function).parameters.values()):
        key = parameter.name
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            problems.append(f"{parameter} cannot be passed by name")
            continue
        if key not in hints:
            problems.append(f"{key} has no type hint")
        if key not in described and not any(
            hasattr(m, "description") for m in getattr(hints.get(key), "__metadata__", ())
        ):
            problems.append(f"{key} has no description under Args:")
        default = ... if parameter.default is parameter.empty else parameter.default
        # the field's own name is neutral: a parameter may be called `json` or `_class`, which a pydantic field may not
        fields[f"p{i}"] = (hints.get(key, Any), Field(default, alias=key, description=described.get(key)))
    if problems:
        raise ToolDefinitionError(
            f"{name} cannot be a tool: {'; '.join(problems)}.", "Complete the signature and its docstring."
        )
    config = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=False)
    try:
        model = create_model(name, __config__=config, **fields)
        parameters = plain(model.model_json_schema(by_alias=True))
    except (PydanticInvalidForJsonSchema, PydanticUserError, TypeError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ToolDefinitionError(
            f"{name} cannot be a tool: {reason}",
            "Use types that JSON has: str, int, float, bool, Literal, Enum, list, dict, dataclass.",
        ) from error
    provides = _provides(hints.pop("return", None))
    words = tuple(key for key, hint in hints.items() if UserWords in getattr(hint, "__metadata__", ()))
    return Tool(name, summary, parameters, function, model, provides, examples=examples, words=words)


class ToolRegistry:
    """The tools that a model may call, and the only way to run them.

    Args:
        *tools: Tools, or plain functions that are made tools here.

    Raises:
        ToolDefinitionError: Two tools have the same name.
    """

    def __init__(self, *tools: Tool | Callable[..., Any]) -> None:
        made = [t if isinstance(t, Tool) else tool(t) for t in tools]
        self._tools = {t.name: t for t in made}
        if len(self._tools) < len(made):
            raise ToolDefinitionError("Two tools have the same name.", "Rename one of them.")

    @classmethod
    def from_openai(cls, tools: Sequence[Mapping[str, Any]]) -> ToolRegistry:
        """A registry of schemas without functions, from OpenAI's ``tools`` parameter.

        Raises:
            ToolDefinitionError: An entry has no name, or its parameters are not a JSON schema of an object.
        """
        return cls(*(_imported(entry.get("function", entry)) for entry in tools))

    @classmethod
    def from_bfcl(cls, functions: Sequence[Mapping[str, Any]]) -> ToolRegistry:
        """The same from a BFCL function list, whose types have Python's names (dict, float, tuple, any)."""
        return cls(
            *(
                _imported({**f, "parameters": map_schema(f.get("parameters") or {}, json_type)})
                for f in functions
            )
        )

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    @property
    def names(self) -> tuple[str, ...]:
        """The tools' names, in the order they were given."""
        return tuple(self._tools)

    def only(self, *names: str) -> ToolRegistry:
        """A registry of some of these tools.

        Raises:
            ToolError: A name is not registered.
        """
        if unknown := [n for n in names if n not in self._tools]:
            raise ToolError(
                f"No tool is called {', '.join(unknown)}.", f"Tools are: {', '.join(self.names) or 'none'}."
            )
        return ToolRegistry(*(self._tools[n] for n in names))

    def bind(self, **values: Any) -> ToolRegistry:
        """A registry in which the program fills in these parameters, of whatever tools have them (see ``Tool.bind``)."""
        return ToolRegistry(
            *(t.bind(**{k: v for k, v in values.items() if k in t.parameters["properties"]}) for t in self)
        )

    def with_words(self, words: str) -> ToolRegistry:
        """A registry in which every parameter marked ``UserWords`` has these words."""
        return ToolRegistry(*(t.bind(**dict.fromkeys(t.words, words)) for t in self))

    def schemas(self) -> dict[str, JsonSchema]:
        """The parameters' schema of each tool, by name."""
        return {t.name: copy.deepcopy(t.parameters) for t in self}

    def to_openai(self) -> list[dict[str, Any]]:
        """All tools in the shape of OpenAI's ``tools`` parameter."""
        return [t.to_openai() for t in self]

    def validate(self, call: ToolCall) -> ToolCall:
        """The call, if its tool is registered and its arguments match.

        Raises:
            ToolCallError: It cannot be run; the message names the valid tools or the allowed values.
        """
        if call.name not in self._tools:
            known = ", ".join(self.names) or "none: no tool is registered"
            raise ToolCallError(
                f"There is no tool {short(call.name)}. Valid tools: {known}.",
                "Call one of the valid tools, or none.",
            )
        arguments = self._tools[call.name].validate(call.arguments)
        return ToolCall(call.name, arguments, call.id, call.logprob)

    def execute(self, call: ToolCall, *, timeout_s: float = 30.0, limit: int = RESULT_LIMIT) -> ToolResult:
        """Run a call and return what the model may read of it.

        A call that is not valid, a tool that raises or takes too long: all become a result with ``ok=False``. A ``ToolError`` that the
        tool raises is its way to say what is wrong, and its message is the result. A tool that hangs is left behind in its
        thread, which dies with the process.

        Args:
            call: The model's call, validated or not.
            timeout_s: Seconds the tool may take.
            limit: Characters of the result to keep.

        Raises:
            ToolError: The tool has no function (the programmer's fault).
        """
        try:
            valid = self.validate(call)
        except ToolCallError as error:
            return ToolResult(call.id, cut(f"Error: {error.message}", limit), ok=False)
        chosen, outcome = self._tools[valid.name], dict[str, Any]()
        chosen.require_function()

        def work() -> None:
            try:
                outcome["text"] = to_text(chosen.run(valid.arguments))
            except ToolError as error:
                outcome["error"] = f"Error: {error.message}"
            except BaseException as error:  # also SystemExit: a tool must not end the agent
                outcome["error"] = f"Error: {chosen.name} failed: {type(error).__name__}: {error}"

        context = copy_context()  # so that what the tool traces belongs to the call
        thread = threading.Thread(target=context.run, args=(work,), name=f"tool {chosen.name}", daemon=True)
        thread.start()
        thread.join(timeout_s)
        if thread.is_alive():
            return ToolResult(
                call.id, f"Error: {chosen.name} did not finish within {timeout_s:g} s.", ok=False
            )
        ok = "text" in outcome
        return ToolResult(call.id, cut(outcome["text"] if ok else outcome["error"], limit), ok=ok)


def to_text(value: object) -> str:
    """A tool's result as text: a string as it is, ``None`` as ``done``, everything else as JSON."""
    if isinstance(value, str):
        return value
    return "done" if value is None else to_json(value, fallback=str).decode("utf-8", "replace")


def _provides(result: Any) -> tuple[str, ...]:
    """The field names of a result's type."""
    if is_dataclass(result):
        return tuple(f.name for f in fields(result))
    if isinstance(result, type) and issubclass(result, BaseModel):
        return tuple(result.model_fields)
    return tuple(result.__annotations__) if is_typeddict(result) else ()


def _fields(model: type[BaseModel]) -> dict[str, str]:
    """Field name -> parameter name."""
    return {key: info.alias or key for key, info in model.model_fields.items()}


def _imported(entry: Mapping[str, Any]) -> Tool:
    name, parameters = (
        entry.get("name"),
        map_schema(copy.deepcopy(dict(entry.get("parameters") or {})), closed),
    )
    if not isinstance(name, str) or not name:
        raise ToolDefinitionError(f"A tool has no name: {short(entry)}.", 'Give each entry a "name".')
    parameters.setdefault("type", "object")
    parameters.setdefault("properties", {})
    try:
        Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        raise ToolDefinitionError(
            f"The parameters of {name} are not a JSON schema: {error.message}", "Correct the schema."
        ) from error
    if parameters["type"] != "object":
        raise ToolDefinitionError(
            f"The parameters of {name} are not an object.", 'Use {"type": "object", "properties": …}.'
        )
    return Tool(name, str(entry.get("description", "")), closed(parameters))
