"""Judge of lab 05. Every case is generated from the seed; expected values stay in this process."""

from __future__ import annotations

import json
import string
from typing import Any

import numpy as np
from labkit.grading import Student, grades

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
NAMES = [
    "zone",
    "minutes",
    "label",
    "amount",
    "floor",
    "rate",
    "loud",
    "title",
    "day",
    "unit",
]
TOOLS = ["set_timer", "water_plants", "next_bus", "order_parts", "translate", "mean_of"]
ALLOWED = ["front", "back", "celsius", "kelvin", "low", "high", "vegan", "express"]
PLACES = [
    "Castle Square",
    "Leeds",
    "Mill Lane",
    "Ana",
    "Tom Ford",
    "KX-2290",
    "Rome",
    "Oslo-2",
]
PLAIN = ["bedroom", "tablet", "garden", "kitchen", "parcel", "battery"]
COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}  # fmt: skip


# --- schema_of ---


@grades("lab05-schema-of")
def test_schema_of_signatures(student: Student, rng: np.random.Generator) -> None:
    for _ in range(5):
        source, descriptions, want = _signature(rng)
        assert (
            student.eval(_SCHEMA_OF, case_source=source, case_told=descriptions) == want
        )


@grades("lab05-schema-of")
def test_schema_of_edges(student: Student, rng: np.random.Generator) -> None:
    empty = {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert (
        student.eval(_SCHEMA_OF, case_source="def made(): ...", case_told={}) == empty
    )
    falsy = {
        "a: int = 0": 0,
        "a: str = ''": "",
        "a: bool = False": False,
        "a: float = 0.0": 0.0,
    }
    word = _word(rng)
    for parameter, default in falsy.items():
        got = student.eval(
            _SCHEMA_OF, case_source=f"def made({parameter}): ...", case_told={"a": word}
        )
        assert got["required"] == []
        part = got["properties"]["a"]
        assert set(part) == {"type", "description", "default"}
        assert part["default"] == default
        assert type(part["default"]) is type(default)


@grades("lab05-schema-of")
def test_schema_of_values_of_literals(
    student: Student, rng: np.random.Generator
) -> None:
    values = [str(v) for v in rng.permutation(ALLOWED)]
    source = (
        f"def made(*, a: Literal[{', '.join(map(repr, values))}] = {values[2]!r}): ..."
    )
    got = student.eval(_SCHEMA_OF, case_source=source, case_told={"a": "x"})
    want = {"type": "string", "enum": values, "description": "x", "default": values[2]}
    assert got["properties"]["a"] == want
    assert got["required"] == []


# --- find_problems ---


@grades("lab05-find-problems")
def test_problems_of_valid_calls(student: Student, rng: np.random.Generator) -> None:
    for _ in range(5):
        schemas = _schemas(rng)
        name = str(rng.choice(list(schemas)))
        call = _valid_call(rng, name, schemas[name])
        assert student.call("find_problems", call, schemas) == []


@grades("lab05-find-problems")
def test_problems_one_at_a_time(student: Student, rng: np.random.Generator) -> None:
    for _ in range(4):
        schemas = _schemas(rng)
        name = str(rng.choice(list(schemas)))
        for spoil in (_no_tool, _left_out, _unknown, _not_allowed, _wrong_type):
            call = _valid_call(rng, name, schemas[name])
            words = spoil(rng, call, schemas)
            if words is not None:
                _names(student.call("find_problems", call, schemas), [words])


@grades("lab05-find-problems")
def test_problems_together(student: Student, rng: np.random.Generator) -> None:
    for _ in range(4):
        schemas = _schemas(rng)
        name = str(rng.choice(list(schemas)))
        call = _valid_call(rng, name, schemas[name])
        wanted = [spoil(rng, call, schemas) for spoil in (_left_out, _unknown)]
        _names(
            student.call("find_problems", call, schemas),
            [w for w in wanted if w is not None],
        )


@grades("lab05-find-problems")
def test_problems_of_types(student: Student, rng: np.random.Generator) -> None:
    good = {
        "string": ["", "7"],
        "integer": [0, -3],
        "number": [2, 0.5, 0.0],
        "boolean": [True, False],
    }
    bad = {
        "string": [7, True, ["a"], None],
        "integer": ["7", 2.5, True, False, None],
        "number": ["0.5", True, False, [1.0]],
        "boolean": ["true", 1, 0, None],
    }
    tool, name = str(rng.choice(TOOLS)), str(rng.choice(NAMES))
    for kind in good:
        properties = {name: {"type": kind, "description": _word(rng)}}
        for required in ([name], []):
            schemas = {tool: _object(properties, required)}
            for value in good[kind]:
                call = {"name": tool, "arguments": {name: value}}
                assert student.call("find_problems", call, schemas) == []
            for value in bad[kind]:
                call = {"name": tool, "arguments": {name: value}}
                _names(student.call("find_problems", call, schemas), [[name, kind]])


# --- parse_call ---


@grades("lab05-parse-call")
def test_parse_call_finds(student: Student, rng: np.random.Generator) -> None:
    before = [
        "",
        "Sure! ",
        "Here it is:\n```json\n",
        "A {short} one: ",
        "{ {{ ",
        "[1, 2] ",
        '{"a": 1} ',
        '"} ',
    ]
    after = [
        "",
        " Done.",
        "\n```\nAnything else?",
        " }}",
        ' {"name": "other", "arguments": {}}',
        '{"name":',
    ]
    for _ in range(12):
        call = _any_call(rng)
        text = str(rng.choice(before)) + _dumps(call, rng) + str(rng.choice(after))
        assert student.call("parse_call", text) == call


@grades("lab05-parse-call")
def test_parse_call_drops_other_keys(
    student: Student, rng: np.random.Generator
) -> None:
    call = _any_call(rng)
    for extra in (
        {"id": 7, **call},
        {**call, "why": _word(rng)},
        {"type": "function", **call, "x": [1]},
    ):
        assert student.call("parse_call", "So: " + json.dumps(extra)) == call


@grades("lab05-parse-call")
def test_parse_call_gives_none(student: Student, rng: np.random.Generator) -> None:
    call = _any_call(rng)
    text, name = json.dumps(call), json.dumps(call["name"])
    bad = [
        "", "   ", "{", "}{", _word(rng), "null", "[]", "3", text[:-1], text[:-2],
        text[: int(rng.integers(1, len(text)))],
        f'{{"name": {name}}}',
        f'{{"name": {name}, "arguments": "x"}}',
        f'{{"name": {name}, "arguments": null}}',
        f'{{"name": {name}, "arguments": []}}',
        '{"name": 5, "arguments": {}}',
        '{"name": null, "arguments": {}}',
        '{"arguments": {}}',
    ]  # fmt: skip
    for case in bad:
        assert student.call("parse_call", case) is None


@grades("lab05-parse-call")
def test_parse_call_never_raises(student: Student, rng: np.random.Generator) -> None:
    letters = list("{}[]\":,\\ntrue0.'` ")
    for _ in range(10):
        assert student.call("parse_call", "".join(rng.choice(letters, size=60))) is None
    assert student.eval("parse_call(case_start * 2500)", case_start='{"a":') is None
    assert student.eval("parse_call('[' * 20000)") is None
    call = _any_call(rng)
    assert (
        student.eval("parse_call('{' * 50 + case_text)", case_text=json.dumps(call))
        == call
    )


# --- matches ---


@grades("lab05-matches")
def test_matches_right(student: Student, rng: np.random.Generator) -> None:
    for _ in range(6):
        name, accepted = _answer(rng)
        for _ in range(3):
            call = {"name": name, "arguments": _accepted_arguments(rng, accepted)}
            assert student.call("matches", call, [{name: accepted}]) is True


@grades("lab05-matches")
def test_matches_wrong(student: Student, rng: np.random.Generator) -> None:
    for _ in range(6):
        name, accepted = _answer(rng)
        good = _accepted_arguments(rng, accepted)
        spoiled = [{**good, "surely_unknown": 1}]
        for key in good:
            spoiled.append({**good, key: "zzz" if isinstance(good[key], str) else -987})
            if "" not in accepted[key]:
                spoiled.append({k: v for k, v in good.items() if k != key})
        for arguments in spoiled:
            assert (
                student.call(
                    "matches",
                    {"name": name, "arguments": arguments},
                    [{name: accepted}],
                )
                is False
            )
        other = {"name": name + "_2", "arguments": good}
        assert student.call("matches", other, [{name: accepted}]) is False


@grades("lab05-matches")
def test_matches_no_call(student: Student, rng: np.random.Generator) -> None:
    name, accepted = _answer(rng)
    call = {"name": name, "arguments": _accepted_arguments(rng, accepted)}
    assert student.call("matches", None, []) is True
    assert student.call("matches", call, []) is False
    assert student.call("matches", None, [{name: accepted}]) is False
    optional = {key: [*values, ""] for key, values in accepted.items()}
    assert (
        student.call("matches", {"name": name, "arguments": {}}, [{name: optional}])
        is True
    )
    assert (
        student.call("matches", {"name": name, "arguments": {}}, [{name: {}}]) is True
    )


# --- repair ---


@grades("lab05-repair")
def test_repair_counts(student: Student, rng: np.random.Generator) -> None:
    for _ in range(5):
        tries = int(rng.integers(1, 6))
        wrong = [_word(rng) for _ in range(int(rng.integers(0, 7)))]
        replies = [*wrong, "ok " + _word(rng)]
        got, seen, given = _repair(student, replies, tries)
        if len(wrong) < tries:
            assert got == [replies[-1].upper(), len(wrong) + 1]
            assert len(seen) == len(wrong) + 1
        else:
            assert got == [None, tries]
            assert len(seen) == tries
        assert given == 2


@grades("lab05-repair")
def test_repair_conversation(student: Student, rng: np.random.Generator) -> None:
    wrong = [_word(rng) for _ in range(3)]
    _, seen, _ = _repair(student, [*wrong, "ok"], 5)
    talk = [["system", "s"], ["user", "u"]]
    for number, request in enumerate(seen):
        assert request == talk
        if number < len(wrong):
            talk = [
                *talk,
                ["assistant", wrong[number]],
                ["user", f"refused: {wrong[number]}"],
            ]
    assert len(seen) == 4


# --- pick ---


@grades("lab05-pick")
def test_pick_best(student: Student, rng: np.random.Generator) -> None:
    for _ in range(10):
        names = [str(n) for n in rng.permutation(TOOLS)[: int(rng.integers(1, 6))]]
        without, tokens = float(-rng.uniform(20, 60)), int(rng.integers(1, 20))
        given = {n: float(without + rng.normal() * 15) for n in names}
        best = max(given, key=lambda n: given[n])
        gain = (given[best] - without) / tokens
        assert student.call("pick", without, given, tokens) == (
            best if gain > 0 else None
        )
        for threshold in (gain - 0.01, gain + 0.01):
            want = best if gain > threshold else None
            assert student.call("pick", without, given, tokens, threshold) == want
            assert (
                student.call("pick", without, given, tokens, threshold=threshold)
                == want
            )


@grades("lab05-pick")
def test_pick_edges(student: Student, rng: np.random.Generator) -> None:
    without = float(rng.integers(-40, -10))
    first, second = (str(n) for n in rng.permutation(TOOLS)[:2])
    assert student.call("pick", without, {}, 3) is None
    assert student.call("pick", without, {}, 3, -5.0) is None
    assert student.call("pick", without, {first: without}, 4) is None
    assert (
        student.call("pick", without, {first: without + 8, second: without + 8}, 4)
        == first
    )
    assert student.call("pick", without, {first: without + 8}, 4, 2.0) is None
    assert student.call("pick", without, {first: without - 8}, 4, -2.5) == first


# --- numbers ---


@grades("lab05-numbers")
def test_numbers_in_requests(student: Student, rng: np.random.Generator) -> None:
    for _ in range(8):
        pieces, numbers, integers = ["Take"], [], []
        for _ in range(int(rng.integers(1, 6))):
            text, number, whole = _number(rng)
            pieces += [text, str(rng.choice(["of", "and", "for", "then", "to"]))]
            numbers += [] if number is None else [number]
            integers += [] if whole is None else [whole]
        request = " ".join([*pieces, "me."])
        _same_numbers(student.call("numbers", request, "number"), _unique(numbers))
        _same_numbers(student.call("numbers", request, "integer"), _unique(integers))


@grades("lab05-numbers")
def test_numbers_edges(student: Student, rng: np.random.Generator) -> None:
    n = int(rng.integers(11, 99))
    for request, kind, want in (
        (f"Send {n}.", "integer", [n]),
        (f"Send ${n}, please.", "integer", [n]),
        (f"Send ({n}) now", "number", [n]),
        (f"Article AB-{n} or {n}-B or {n}th or x{n}", "integer", []),
        (f"On {n}/12/2031 or {n}/5", "number", []),
        (f"Ten at {n}%", "number", [10, n / 100]),
        (f"Ten at {n}%", "integer", [10]),
        ("Often someone phones, tone it down", "integer", []),
        (f"{n} and {n} and {n}.5", "number", [n, n + 0.5]),
        ("", "integer", []),
    ):
        _same_numbers(student.call("numbers", request, kind), want)


# --- phrases ---


@grades("lab05-phrases")
def test_phrases_in_requests(student: Student, rng: np.random.Generator) -> None:
    for _ in range(6):
        a, b, c = (str(p) for p in rng.permutation(PLACES)[:3])
        x, y = (str(p) for p in rng.permutation(PLAIN)[:2])
        mark = str(rng.choice(["'", '"']))
        for request, want in (
            (f"Go from {a} to {b}.", [a, b]),
            (f"Find {a}, {b} and {c}!", [a, b, c]),
            (f"Call it {mark}{x} {y}{mark} with {a}.", [f"{x} {y}", a]),
            (f"Use {a} for {mark}{b} {x}{mark} then", [f"{b} {x}", a]),
            (f"Is {a} near {b} or {a}?", [a, b]),
            (f"Can I see {a}?", [a]),
            (f"Put it in the {x} by my {y}.", [x, y]),
            (f"Dim the {x} and the {x}, I do it at {mark}{y}{mark}", [y]),
            (f"Kitchen {x} is on me", [x]),
            (f"{a.split()[0]} {x} is on {b}", [b]),
            (f"Is {a} I or {b}", [a, b]),
        ):
            assert student.call("phrases", request) == want
    for request in ("", "Go", "Do it so", "I am on it"):
        assert student.call("phrases", request) == []


# Expressions evaluated in the learner's kernel. They hold no expected value.

_SCHEMA_OF = (
    "(lambda space: (exec(compile('from typing import Literal\\n' + case_source, 'case', 'exec', 0, True), space),"
    " schema_of(space['made'], case_told))[1])({})"
)
_REPAIR = (
    "(lambda L, given, seen, left: [list(repair("
    "type('Model', (), {'complete': lambda self, messages, **options: ("
    "seen.append([[m.role, m.content] if hasattr(m, 'role') else [m['role'], m['content']] for m in messages]),"
    " type('Answer', (), {'text': left.pop(0)})())[1]})(),"
    " given, lambda text: text.upper() if text.startswith('ok') else"
    " (_ for _ in ()).throw(L.errors.ToolCallError('refused: ' + text)), case_tries)), seen, len(given)])"
    "(__import__('labkit.errors'), [__import__('labkit').system('s'), __import__('labkit').user('u')], [], list(case_replies))"
)


def _repair(student: Student, replies: list[str], tries: int) -> tuple[Any, Any, Any]:
    got, seen, given = student.eval(_REPAIR, case_replies=replies, case_tries=tries)
    return got, seen, given


# Cases, and what is expected of them.


def _word(rng: np.random.Generator) -> str:
    return "".join(
        rng.choice(list(string.ascii_lowercase), size=int(rng.integers(3, 9)))
    )


def _pick(rng: np.random.Generator, items: list[Any]) -> Any:
    return items[int(rng.integers(0, len(items)))]


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _signature(rng: np.random.Generator) -> tuple[str, dict[str, str], dict[str, Any]]:
    names = [str(n) for n in rng.permutation(NAMES)[: int(rng.integers(2, 7))]]
    parameters: list[str] = []
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name in names:
        hint, part = _hint(rng)
        part["description"] = _word(rng)
        text = f"{name}: {hint}"
        if rng.random() < 0.5:
            value = _value(rng, part)
            part["default"] = value
            text += f" = {value!r}"
        else:
            required.append(name)
        properties[name] = part
        parameters.append(text)
    told = {name: part["description"] for name, part in properties.items()}
    return (
        f"def made(*, {', '.join(parameters)}): ...",
        told,
        _object(properties, required),
    )


def _hint(rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    if rng.random() < 0.25:
        values = [str(v) for v in rng.permutation(ALLOWED)[: int(rng.integers(1, 5))]]
        return f"Literal[{', '.join(map(repr, values))}]", {
            "type": "string",
            "enum": values,
        }
    hint = str(rng.choice(list(TYPES)))
    return hint, {"type": TYPES[hint]}


def _value(rng: np.random.Generator, part: dict[str, Any]) -> Any:
    if "enum" in part:
        return _pick(rng, part["enum"])
    values = {
        "string": _word(rng),
        "integer": int(rng.integers(-5, 100)),
        "number": float(round(rng.uniform(0.01, 9), 2)),
        "boolean": bool(rng.random() < 0.5),
    }
    return values[part["type"]]


def _schemas(rng: np.random.Generator) -> dict[str, Any]:
    """Two to four tools; each has at least one required argument, an enum, and an integer."""
    schemas: dict[str, Any] = {}
    for tool in rng.permutation(TOOLS)[: int(rng.integers(2, 5))]:
        names = [str(n) for n in rng.permutation(NAMES)[: int(rng.integers(3, 6))]]
        properties: dict[str, Any] = {
            n: {**_hint(rng)[1], "description": _word(rng)} for n in names
        }
        values = [str(v) for v in rng.permutation(ALLOWED)[:3]]
        properties[names[0]] = {
            "type": "string",
            "enum": values,
            "description": _word(rng),
        }
        properties[names[1]] = {"type": "integer", "description": _word(rng)}
        required = [names[1], *(n for n in names[2:] if rng.random() < 0.4)]
        schemas[str(tool)] = _object(properties, required)
    return schemas


def _valid_call(
    rng: np.random.Generator, name: str, schema: dict[str, Any]
) -> dict[str, Any]:
    arguments = {
        n: _value(rng, part)
        for n, part in schema["properties"].items()
        if n in schema["required"] or rng.random() < 0.5
    }
    return {"name": name, "arguments": arguments}


def _no_tool(
    rng: np.random.Generator, call: dict[str, Any], schemas: dict[str, Any]
) -> list[str]:
    call["name"] = "no_" + _word(rng)
    call["arguments"]["surely_unknown"] = 1
    return [call["name"], *schemas]


def _left_out(
    rng: np.random.Generator, call: dict[str, Any], schemas: dict[str, Any]
) -> list[str]:
    name = _pick(rng, schemas[call["name"]]["required"])
    del call["arguments"][name]
    return [name]


def _unknown(
    rng: np.random.Generator, call: dict[str, Any], schemas: dict[str, Any]
) -> list[str]:
    name = "q_" + _word(rng)
    call["arguments"][name] = _pick(rng, [1, "x", True])
    return [name, *schemas[call["name"]]["properties"]]


def _not_allowed(
    rng: np.random.Generator, call: dict[str, Any], schemas: dict[str, Any]
) -> list[str]:
    properties = schemas[call["name"]]["properties"]
    name = next(n for n, part in properties.items() if "enum" in part)
    call["arguments"][name] = _pick(rng, ["no_" + _word(rng), "", 5, True])
    return [name, *properties[name]["enum"]]


def _wrong_type(
    rng: np.random.Generator, call: dict[str, Any], schemas: dict[str, Any]
) -> list[str]:
    name = next(
        n
        for n, p in schemas[call["name"]]["properties"].items()
        if p["type"] == "integer"
    )
    call["arguments"][name] = _pick(rng, ["12", 2.5, True, None])
    return [name, "integer"]


def _names(problems: Any, wanted: list[list[str]]) -> None:
    """One problem for each list of words, and each list found whole in a problem of its own."""
    assert isinstance(problems, list)
    assert all(isinstance(p, str) for p in problems)
    assert len(problems) == len(wanted)
    left = list(problems)
    for words in sorted(wanted, key=len, reverse=True):
        match = next(p for p in left if all(w in p for w in words))
        left.remove(match)


def _any_call(rng: np.random.Generator) -> dict[str, Any]:
    odd = ["a } b", "{", 'say "hi"', "back\\slash", "Đorđe", "line\nbreak", "```", ""]
    arguments: dict[str, Any] = {
        str(n): _pick(
            rng,
            [
                int(rng.integers(0, 99)),
                _word(rng),
                *odd,
                True,
                None,
                [1, 2],
                {"in": {"deep": 1}},
            ],
        )
        for n in rng.permutation(NAMES)[: int(rng.integers(0, 4))]
    }
    return {"name": str(rng.choice(TOOLS)), "arguments": arguments}


def _dumps(call: dict[str, Any], rng: np.random.Generator) -> str:
    keys = list(call) if rng.random() < 0.5 else list(call)[::-1]
    indent = _pick(rng, [None, 2])
    return json.dumps(
        {k: call[k] for k in keys}, indent=indent, ensure_ascii=bool(rng.random() < 0.5)
    )


def _answer(rng: np.random.Generator) -> tuple[str, dict[str, list[Any]]]:
    accepted: dict[str, list[Any]] = {}
    for name in rng.permutation(NAMES)[: int(rng.integers(1, 5))]:
        values: list[Any] = _pick(
            rng,
            [
                [int(rng.integers(0, 99))],
                [float(round(rng.uniform(0, 9), 2))],
                [str(rng.choice(PLACES)), str(rng.choice(PLAIN))],
                [["Ana", "Tom Ford"]],
                [[1.5, 2, 7]],
                [True],
            ],
        )
        accepted[str(name)] = [*values, ""] if rng.random() < 0.3 else list(values)
    return str(rng.choice(TOOLS)), accepted


def _accepted_arguments(
    rng: np.random.Generator, accepted: dict[str, list[Any]]
) -> dict[str, Any]:
    """Arguments that are right: optional ones sometimes left out, strings written another way."""
    out: dict[str, Any] = {}
    for name, values in accepted.items():
        if "" in values and rng.random() < 0.5:
            continue
        value = _pick(rng, [v for v in values if v != ""])
        change = _pick(rng, [str.upper, str.lower, str])
        if isinstance(value, str):
            value = change(value)
        elif isinstance(value, list):
            value = [change(v) if isinstance(v, str) else v for v in value]
        out[name] = value
    return out


def _number(rng: np.random.Generator) -> tuple[str, float | None, int | None]:
    """A text, its value as a number and as an integer; None where it is none."""
    n = int(rng.integers(0, 500))
    word = str(rng.choice(list(COUNTS)))
    x = float(round(rng.uniform(0, 90), 2))
    kinds: list[tuple[str, float | None, int | None]] = [
        (str(n), n, n),
        (f"${n},", n, n),
        (f"{x:.2f}", float(f"{x:.2f}"), None),
        (f"{n}%", n / 100, None),
        (f"{x:.1f}%", float(f"{x:.1f}") / 100, None),
        (
            _pick(rng, [word, word.upper(), word.capitalize()]),
            COUNTS[word],
            COUNTS[word],
        ),
        (f"AB-{n}", None, None),
        (f"{n}/{n + 1}", None, None),
        (f"{n}th", None, None),
    ]
    return _pick(rng, kinds)


def _unique(values: list[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _same_numbers(got: Any, want: list[Any]) -> None:
    assert isinstance(got, list)
    assert len(got) == len(want)
    assert np.allclose(
        np.array(got, dtype=float), np.array(want, dtype=float), rtol=1e-9, atol=1e-12
    )
