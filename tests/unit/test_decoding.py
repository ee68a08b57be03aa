"""Decoding: what is read from a request, how values are ranked, and that any model's output ends well."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.backends import ScriptedBackend
from labkit.backends.base import scored
from labkit.client import Client
from labkit.decoding import NEEDS, call_tools, pick
from labkit.decoding.fill import fill
from labkit.decoding.parameters import OMIT, default, leaves
from labkit.decoding.parse import read_calls
from labkit.decoding.text import Span, date_pattern, lists, read, runs, stem
from labkit.decoding.values import candidates, phrases, rebuild
from labkit.errors import CapabilityMissing, ConfigError, LabkitError, ToolCallError, ToolError
from labkit.messages import (
    Capabilities,
    Chunk,
    Health,
    Message,
    Request,
    Scored,
    ToolCall,
    Usage,
    assistant,
    user,
)
from labkit.tools import ToolRegistry, tool


class FlatModel:
    """A model without opinions: every text costs two nats a word, and it answers whatever it was told to."""

    name = "flat"

    def __init__(self, answer: str = "", capabilities: Capabilities | None = None) -> None:
        self.answer = answer
        self.capabilities = capabilities or Capabilities(schema=True, score=True)
        self.requests: list[Request] = []

    def load(self) -> None: ...

    def stream(self, request: Request) -> Iterator[Chunk]:
        self.requests.append(request)
        yield Chunk(self.answer)
        yield Chunk(finish_reason="stop", usage=Usage())

    def score(self, messages: tuple[Message, ...], choices: Sequence[str]) -> list[Scored]:
        return scored([(c, -2.0 * len(c.split()), max(1, len(c.split()))) for c in choices])

    def health(self) -> Health:
        return Health(True)

    def close(self) -> None: ...


@tool
def book_room(city: str, nights: int, breakfast: bool = False) -> str:
    """Book a hotel room.

    Args:
        city: The city of the hotel.
        nights: Number of nights.
        breakfast: Whether breakfast is included.
    """
    return f"{city} {nights} {breakfast}"


@tool
def convert(amount: float, to: str) -> str:
    """Convert an amount of money.

    Args:
        amount: Amount of money.
        to: Currency to convert to.
    """
    return f"{amount} {to}"


TOOLS = ToolRegistry(book_room, convert)
ASK = "Book a hotel room in Lisbon for three nights."


# --- reading ---


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2,000,000 and -5 and 1.75m", [2_000_000, -5, 1.75]),
        ("two hundred and fifty people, twenty-one days", [250, 21]),
        ("5 million and 3k and 1.6 x 10^-19 and 1e-9", [5e6, 3000, 1.6e-19, 1e-9]),
        ("8% of $40 on the 19th, a dozen", [8, 40, 19, 12]),
        ("order LAX2019080202 at 6:30", [6, 30]),
        ("[1, 2.5]", [1, 2.5]),
        ("", []),
    ],
)
def test_numbers(text: str, values: list[float]) -> None:
    assert [n.value for n in read(text).numbers] == pytest.approx(values)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("on March.11, 2022 please", "2022-03-11"),
        ("10th December 2022", "2022-12-10"),
        ("the 1st of May 2024", "2024-05-01"),
        ("2022/08/16", "2022-08-16"),
        ("11/23/2026", "2026-11-23"),
        ("23/11/2026", "2026-11-23"),
    ],
)
def test_dates(text: str, iso: str) -> None:
    (found,) = read(text).dates
    assert found.write("yyyy-mm-dd") == iso


def test_a_date_without_a_year_is_not_given_one() -> None:
    (found,) = read("on May 3").dates
    assert found.write("yyyy-mm-dd") is None
    assert found.write("mm/dd") == "05/03"


@pytest.mark.parametrize(
    ("description", "pattern"),
    [
        ("Format: yyyy-mm-dd.", "yyyy-mm-dd"),
        ("in the format MM/DD/YYYY", "mm/dd/yyyy"),
        ("The date (month-day-year).", "mm-dd-yyyy"),
        ("such as 2024-01-31", "yyyy-mm-dd"),
        ("The day it starts.", None),
    ],
)
def test_date_patterns(description: str, pattern: str | None) -> None:
    assert date_pattern(description) == pattern


def test_quotations_keep_their_apostrophes() -> None:
    reading = read("the review 'I love it! It's good.' and \"C#\"")
    assert [reading[q] for q in reading.quotes] == ["I love it! It's good.", "C#"]


def test_lists_and_runs() -> None:
    reading = read("points [[1, 2], [3, 4]] and (40.7, -74.0), chords [C, F]")
    assert [values for _, values in lists(reading)] == [[[1, 2], [3, 4]], [40.7, -74.0], ["C", "F"]]
    numbers = read("4.2, 5.1 and 3.9 but 7")
    assert [[numbers[s] for s in run] for run in runs(numbers, [n.span for n in numbers.numbers])] == [
        ["4.2", "5.1", "3.9"]
    ]


def test_stems_meet() -> None:
    assert stem("rates") == stem("rate")
    assert stem("cities") == stem("city")


def test_phrases_have_no_small_words_at_their_ends() -> None:
    reading = read("the Museum of Modern Art in New York")
    found = {reading[s] for s in phrases(reading)}
    assert {"Museum of Modern Art", "New York"} <= found
    assert not {"Museum of", "in New York", "the Museum"} & found


# --- values ---


def test_default_and_options_are_read_from_the_description() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "description": "Unit. Default is 'km'."},
            "b": {"type": "integer", "description": "Count, defaults to 5."},
            "c": {"type": "string", "description": "Default to not use it."},
        },
    }
    assert [default(leaf) for leaf in leaves(schema)] == ["km", "5", OMIT]


def test_a_percentage_is_a_fraction_unless_percent_is_asked_for() -> None:
    def values(description: str) -> list[Any]:
        schema = {
            "type": "object",
            "required": ["r"],
            "properties": {"r": {"type": "number", "description": description}},
        }
        (leaf,) = leaves(schema)
        return [c.value for c in candidates(leaf, read("at 8%")) if c.spans]

    assert values("The rate.")[0] == 0.08
    assert values("The rate as a percentage.") == [8.0]


def test_rebuild_nests_and_omits() -> None:
    assert rebuild({("a", "b"): 1, ("a", "c"): OMIT, ("d",): OMIT}) == {"a": {"b": 1}}


def test_spans() -> None:
    assert Span(0, 5).overlaps(Span(4, 9))
    assert not Span(0, 5).overlaps(Span(5, 9))


# --- deciding ---


def test_choose_fill_takes_values_from_the_request() -> None:
    decision = call_tools(Client(FlatModel()), ASK, TOOLS)
    assert decision.strategy == "choose_fill"
    assert decision.logprob is not None
    assert decision.logprob <= 0
    assert decision.calls == (
        ToolCall("book_room", {"city": "Lisbon", "nights": 3}, logprob=decision.calls[0].logprob),
    )


def test_optional_arguments_are_filled_when_the_text_speaks_of_them() -> None:
    filled = fill(Client(FlatModel()), book_room, f"{ASK[:-1]}, with breakfast included.")
    assert filled.arguments["breakfast"] is True


def test_numbers_go_where_their_words_are() -> None:
    @tool
    def triangle(base: int, height: int) -> float:
        """Area of a triangle.

        Args:
            base: The base.
            height: The height.
        """
        return base * height / 2

    filled = fill(Client(FlatModel()), triangle, "Area of a triangle with height 7 and base 12.")
    assert filled.arguments == {"base": 12, "height": 7}


def test_several_calls_come_out_of_an_enumeration() -> None:
    request = "Book a hotel room in Lisbon for three nights and in Madrid for two nights."
    decision = call_tools(Client(FlatModel()), request, ToolRegistry(book_room), parallel=True)
    assert [(c.id, c.arguments["city"], c.arguments["nights"]) for c in decision.calls] == [
        ("call_1", "Lisbon", 3),
        ("call_2", "Madrid", 2),
    ]


def test_only_the_named_tool_can_come_out() -> None:
    decision = call_tools(Client(FlatModel()), ASK, TOOLS, choice="convert")
    assert {c.name for c in decision.calls} <= {"convert"}


def test_none_and_the_empty_registry_call_nothing() -> None:
    model = Client(FlatModel())
    assert call_tools(model, ASK, TOOLS, choice="none").calls == ()
    assert call_tools(model, ASK, ToolRegistry()).calls == ()


def test_the_programmers_faults_raise() -> None:
    model = Client(FlatModel())
    with pytest.raises(ToolError, match="none is registered"):
        call_tools(model, ASK, ToolRegistry(), choice="required")
    with pytest.raises(ToolError, match="No tool is called fly"):
        call_tools(model, ASK, TOOLS, choice="fly")
    with pytest.raises(ConfigError, match="no strategy"):
        call_tools(model, ASK, TOOLS, strategy="guess")  # type: ignore[arg-type]


def test_the_strategy_follows_the_capabilities_and_is_never_weaker_than_asked() -> None:
    assert pick(Capabilities(schema=True, score=True)) == "choose_fill"
    assert pick(Capabilities(tools=True, schema=True)) == "native"
    assert pick(Capabilities(schema=True)) == "union"
    assert pick(Capabilities()) == "prompt"
    for strategy, needs in NEEDS.items():
        if needs:
            with pytest.raises(CapabilityMissing):
                pick(Capabilities(), strategy)  # type: ignore[arg-type]


def test_union_is_one_request_under_a_schema_with_the_tools_first() -> None:
    model = FlatModel(
        '{"name": "convert", "arguments": {"amount": 5, "to": "yen"}}', Capabilities(schema=True)
    )
    decision = call_tools(Client(model), "5 euros to yen", TOOLS)
    assert decision.strategy == "union"
    assert decision.calls[0].arguments == {"amount": 5, "to": "yen"}
    (request,) = model.requests
    assert request.schema is not None
    assert request.messages[0].role == "system"
    assert request.messages[0].content.index("book_room") < request.messages[0].content.index("convert")


def test_a_union_of_recursive_schemas_keeps_its_definitions() -> None:
    tree = {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/Node"}},
        "required": ["root"],
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    }
    registry = ToolRegistry.from_openai([{"name": "grow", "parameters": tree}, book_room.to_openai()])
    model = FlatModel('{"name": "grow", "arguments": {"root": {"next": {}}}}', Capabilities(schema=True))
    assert call_tools(Client(model), "grow it", registry).calls[0].arguments == {"root": {"next": {}}}
    assert "0_Node" in json.dumps(model.requests[0].schema)


def test_a_value_that_no_words_make_is_generated_under_its_schema() -> None:
    node = {
        "type": "array",
        "items": {"type": "object", "properties": {"field": {"type": "string"}}},
        "description": "Conditions.",
    }
    registry = ToolRegistry.from_openai(
        [
            {
                "name": "query",
                "parameters": {
                    "type": "object",
                    "properties": {"conditions": node},
                    "required": ["conditions"],
                },
            }
        ]
    )
    model = FlatModel('[{"field": "age"}]')
    decision = call_tools(Client(model), "query it by age", registry, choice="required")
    assert decision.calls[0].arguments == {"conditions": [{"field": "age"}]}
    assert model.requests[0].schema is not None


def test_the_vote_goes_to_the_most_frequent_valid_answer() -> None:
    yen, euro = (
        json.dumps({"name": "convert", "arguments": {"amount": 5, "to": c}}) for c in ("yen", "euro")
    )
    backend = ScriptedBackend([euro, yen, "nonsense {", yen, yen])
    decision = call_tools(Client(backend), "5 to yen", TOOLS, strategy="vote", samples=5)
    assert decision.calls[0].arguments["to"] == "yen"
    assert decision.logprob == pytest.approx(math.log(3 / 5))
    backend.close()


def test_native_validates_what_the_runtime_returns() -> None:
    class Native(FlatModel):
        def call_tools(self, request: Request, tools: list[dict[str, Any]], choice: str) -> Message:
            return Message("assistant", "", (ToolCall("convert", {"amount": "five"}),))

    decision = call_tools(Client(Native(capabilities=Capabilities(tools=True))), "5 to yen", TOOLS)
    assert decision.strategy == "native"
    assert decision.calls == ()
    assert "amount" in decision.observation


def test_the_request_is_what_was_said_since_the_last_answer() -> None:
    talk = [user("Book a hotel room in Oslo for nine nights."), assistant("Done."), user(ASK)]
    (call,) = call_tools(Client(FlatModel()), talk, TOOLS).calls
    assert call.arguments == {"city": "Lisbon", "nights": 3}


def test_two_hundred_tools_and_names_in_any_script() -> None:
    entries = [
        {
            "name": f"werkzeug_{i}",
            "description": f"Prüft die Größe {i}.",
            "parameters": {"type": "object", "properties": {}},
        }
        for i in range(199)
    ]
    registry = ToolRegistry(*ToolRegistry.from_openai(entries), book_room)
    decision = call_tools(Client(FlatModel()), ASK, registry)
    assert decision.calls[0].name == "book_room"


# --- properties ---


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"name": 1, "arguments": {}}',
        '{"name": "x", "arguments": "{"}',
        "[" * 5000 + "{",
        '{"a":' * 3000,
        '{"name": "x", "arguments": {"v": NaN}}',
    ],
)
def test_broken_json_is_an_observation(text: str) -> None:
    with pytest.raises(ToolCallError):
        read_calls(text)


def test_text_without_json_is_no_call() -> None:
    assert read_calls("I cannot do that.") == []


def test_openai_style_arguments_are_read() -> None:
    assert read_calls('{"function": {"name": "f", "arguments": "{\\"a\\": 1}"}}') == [ToolCall("f", {"a": 1})]


PIECES = st.sampled_from(
    [
        '{"name": "',
        "convert",
        "book_room",
        "none",
        '", "arguments": {',
        '"amount": 5',
        '"to": "yen"',
        ", ",
        "}}",
        "{",
        "}",
        "[",
        "null",
        "\\",
        '"',
        "NaN",
        "1e999",
        "é",
        "\x00",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60),
    st.sampled_from(["union", "prompt", "vote"]),
    st.sampled_from(["auto", "required"]),
)
def test_any_output_ends_in_valid_calls_an_observation_or_none(
    answer: str, strategy: Any, choice: str
) -> None:
    decision = call_tools(Client(FlatModel(answer)), ASK, TOOLS, strategy=strategy, choice=choice, samples=3)
    for call in decision.calls:
        assert TOOLS.validate(call) == call
    assert not (decision.calls and decision.observation)


SCALARS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "enum": ["a", "lisbon"]},
        {"type": "string", "pattern": "^[A-Z]{3}$"},
        {"type": "integer"},
        {"type": "integer", "minimum": 10, "maximum": 12},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": [1, "x", None]},
        {"const": 7},
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        {},
    ]
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        inner.map(lambda s: {"type": "array", "items": s}),
        st.dictionaries(st.text(max_size=6), inner, max_size=3).map(
            lambda p: {"type": "object", "properties": p, "required": list(p)[:1]}
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=8), SCHEMAS, max_size=4),
    st.text(max_size=80) | st.just(ASK),
    st.booleans(),
    st.text(max_size=10),
)
def test_any_schema_and_any_request_end_well(
    properties: dict[str, Any], request: str, parallel: bool, answer: str
) -> None:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:2]}
    registry = ToolRegistry.from_openai([{"name": "f", "description": "Do it.", "parameters": parameters}])
    decision = call_tools(Client(FlatModel(answer)), request, registry, choice="required", parallel=parallel)
    for call in decision.calls:
        assert registry.validate(call) == call
    assert decision.calls or decision.observation


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_reading_never_fails_and_every_span_is_inside(text: str) -> None:
    reading = read(text)
    spans = [
        *(w.span for w in reading.words),
        *(n.span for n in reading.numbers),
        *reading.quotes,
        *(d.span for d in reading.dates),
    ]
    assert all(0 <= s.start < s.end <= len(text) for s in spans)


def test_a_very_long_request_is_still_quick() -> None:
    decision = call_tools(Client(FlatModel()), "word " * 3000 + ASK, TOOLS, choice="book_room")
    assert decision.calls[0].arguments == {"city": "Lisbon", "nights": 3}


def test_errors_are_labkits() -> None:
    assert issubclass(ToolCallError, ToolError)
    assert issubclass(ToolError, LabkitError)


def test_the_embedded_model_calls_validly(model: Client) -> None:
    decision = call_tools(model, ASK, TOOLS, choice="required")
    assert decision.strategy == "choose_fill"
    assert [c.name for c in decision.calls] == ["book_room"]
    assert TOOLS.validate(decision.calls[0]) == decision.calls[0]
    assert call_tools(model, ASK, TOOLS, strategy="union", choice="required").strategy == "union"
