"""Judge of lab 06. Every case is generated from the seed; expected values stay in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from labkit.grading import Student, grades

NAMES = ["find", "status", "book", "open", "search", "price", "cancel", "move"]
FIELDS = ["customer", "order", "email", "day", "time", "sku", "slot", "phone"]
WORDS = ["Where is it?", "My kettle leaks.", "Call me!", "hello", "20033?"]


# --- run_loop ---

_RUN_LOOP = """(lambda box: (lambda decisions, seen, ran: (lambda outcome: [
    outcome[0],
    [[m.role, m.content, [[c.name, dict(c.arguments), c.id] for c in m.tool_calls], m.tool_call_id] for m in outcome[1]],
    seen,
    ran,
])(run_loop(
    case_words,
    lambda messages: (seen.append(len(messages)), decisions[len(seen) - 1])[1],
    lambda call: (ran.append([call.name, dict(call.arguments)]), box["ToolResult"](call.id, f"{call.name} {len(ran)}", case_ok))[1],
    *case_steps,
)))(
    [box["Decision"](
        tuple(box["ToolCall"](name, arguments, id) for name, arguments, id in calls), "judge", None, text, observation
    ) for calls, text, observation in case_decisions],
    [],
    [],
))({
    "ToolCall": __import__("labkit.messages", fromlist=["x"]).ToolCall,
    "ToolResult": __import__("labkit.messages", fromlist=["x"]).ToolResult,
    "Decision": __import__("labkit.decoding", fromlist=["x"]).Decision,
})"""

Decision = tuple[list[list[Any]], str, str]


@grades("lab06-run-loop")
def test_loop_of_random_scripts(student: Student, rng: np.random.Generator) -> None:
    for _ in range(12):
        decisions = [_decision(rng) for _ in range(int(rng.integers(1, 9)))]
        decisions += [([], "Done.", "")] * 12
        _loop(student, rng, decisions, int(rng.integers(1, 9)))


@grades("lab06-run-loop")
def test_loop_edges(student: Student, rng: np.random.Generator) -> None:
    a, b = (str(n) for n in rng.permutation(NAMES)[:2])
    one, same = [a, {"x": 1}, "call_1"], [a, {"x": 1}, "call_2"]
    other, near = [b, {"x": 1}, "call_3"], [a, {"x": 2}, "call_4"]
    fault: Decision = ([], "{oops", "no JSON")
    done: Decision = ([], "It is done.", "")
    for decisions, steps in (
        ([done], 1),
        ([fault] * 9, 3),
        ([([one], "", "")], 1),
        ([([one], "", ""), done], 1),
        ([([one], "", ""), done], 2),
        ([([one, same], "", ""), done], 8),
        ([([one, other, same, near], "", ""), done], 8),
        ([([one], "", ""), ([other], "", ""), ([near], "", ""), done], 4),
        ([([one], "", ""), fault, ([same], "", ""), done], 8),
        ([fault, ([one], "", ""), fault, done], 8),
        ([([one], "{bad", "refused"), done], 8),  # an observation: nothing runs
        ([([], "", "")], 5),
    ):
        _loop(student, rng, decisions, steps)


@grades("lab06-run-loop")
def test_loop_has_eight_steps_by_default(
    student: Student, rng: np.random.Generator
) -> None:
    decisions: list[Decision] = [
        ([[str(rng.choice(NAMES)), {"n": n}, f"call_{n}"]], "", "") for n in range(20)
    ]
    _loop(student, rng, decisions, None)


def _decision(rng: np.random.Generator) -> Decision:
    kind = rng.random()
    if kind < 0.15:
        return [], "{broken", f"problem {int(rng.integers(9))}"
    if kind < 0.25:
        return [], f"Answer {int(rng.integers(9))}.", ""
    calls = [
        [
            str(rng.choice(NAMES)),
            {"x": int(rng.integers(3)), "y": str(rng.choice(FIELDS[:2]))},
            f"call_{int(rng.integers(1, 99))}",
        ]
        for _ in range(int(rng.integers(1, 3)))
    ]
    return calls, "", ""


def _loop(
    student: Student,
    rng: np.random.Generator,
    decisions: Sequence[Decision],
    steps: int | None,
) -> None:
    words, ok = str(rng.choice(WORDS)), bool(rng.random() < 0.7)
    got = student.eval(
        _RUN_LOOP,
        case_words=words,
        case_decisions=decisions,
        case_steps=[] if steps is None else [steps],
        case_ok=ok,
    )
    assert got == _looped(words, decisions, 8 if steps is None else steps)


def _looped(words: str, decisions: Sequence[Decision], steps: int) -> list[Any]:
    messages: list[Any] = [["user", words, [], None]]
    seen: list[int] = []
    ran: list[list[Any]] = []
    for calls, text, observation in decisions[:steps]:
        seen.append(len(messages))
        if observation:
            messages.append(["assistant", text, [], None])
            messages.append(["tool", f"Error: {observation}", [], None])
            continue
        if not calls:
            messages.append(["assistant", text, [], None])
            return ["answered", messages, seen, ran]
        for name, arguments, id in calls:
            if [name, arguments] in ran:
                return ["limit", messages, seen, ran]
            ran.append([name, arguments])
            messages.append(["assistant", "", [[name, arguments, id]], None])
            messages.append(["tool", f"{name} {len(ran)}", [], id])
    return ["limit", messages, seen, ran]


# --- chain ---

_CHAIN = """(lambda found: [
    [[s.tool, {k: ["ref", v.step, v.field] if type(v).__name__ == "Ref" else v for k, v in s.arguments.items()}, s.goal] for s in found[0]],
    list(found[1]),
])(chain(case_goal, case_said, case_menu))"""


@grades("lab06-chain")
def test_chain_of_random_menus(student: Student, rng: np.random.Generator) -> None:
    for _ in range(20):
        menu = _menu(rng)
        said = _said(rng)
        _chain(student, str(rng.choice(list(menu))), said, menu)


@grades("lab06-chain")
def test_chain_edges(student: Student, rng: np.random.Generator) -> None:
    a, b, c, d = (str(n) for n in rng.permutation(NAMES)[:4])
    x, y, z = (str(f) for f in rng.permutation(FIELDS)[:3])
    for goal, said, menu in (
        (a, {}, {a: _tool([], [])}),
        (a, {x: 0}, {a: _tool([x], [])}),  # 0 is a value
        (a, {x: ""}, {a: _tool([x], [x]), b: _tool([], [x])}),  # said comes first
        (a, {}, {a: _tool([x], [x])}),  # not from itself
        (a, {z: 1}, {a: _tool([x], []), b: _tool([y], [x]), c: _tool([z], [x])}),
        (a, {z: 1}, {c: _tool([z], [x]), a: _tool([x], []), b: _tool([z], [x])}),
        (a, {}, {a: _tool([x, y], []), b: _tool([], [x, y])}),  # one step for two
        (a, {}, {a: _tool([x, y], []), b: _tool([], [y]), c: _tool([], [x])}),
        (a, {}, {a: _tool([x, y, z], []), b: _tool([], [x, z]), c: _tool([], [y])}),
        (a, {y: 2}, {a: _tool([x, y, z], []), b: _tool([y], [x])}),
        (a, {}, {a: _tool([x], []), b: _tool([y], [x]), c: _tool([], [y])}),  # depth 1
        (
            a,
            {z: 3},
            {
                a: _tool([x, y, z], []),
                b: _tool([], [x]),
                c: _tool([z], [y]),
                d: _tool([], [x, y]),
            },
        ),
    ):
        _chain(student, goal, said, menu)


def _chain(
    student: Student, goal: str, said: dict[str, Any], menu: dict[str, Any]
) -> None:
    got = student.eval(_CHAIN, case_goal=goal, case_said=said, case_menu=menu)
    assert got == _chained(goal, said, menu)


def _chained(goal: str, said: dict[str, Any], menu: dict[str, Any]) -> list[Any]:
    steps: list[list[Any]] = []
    arguments: dict[str, Any] = {}
    missing: list[str] = []
    for need in menu[goal]["needs"]:
        if need in said:
            arguments[need] = said[need]
            continue
        able = [
            name
            for name, entry in menu.items()
            if name != goal and need in entry["provides"] and set(entry["needs"]) <= set(said)
        ]  # fmt: skip
        if not able:
            missing.append(need)
            continue
        step = [able[0], {n: said[n] for n in menu[able[0]]["needs"]}, False]
        if step not in steps:
            steps.append(step)
        arguments[need] = ["ref", steps.index(step), need]
    return [[], missing] if missing else [[*steps, [goal, arguments, True]], []]


def _tool(needs: list[str], provides: list[str]) -> dict[str, list[str]]:
    return {"needs": needs, "provides": provides}


def _menu(rng: np.random.Generator) -> dict[str, Any]:
    def some(most: int) -> list[str]:
        return [str(f) for f in rng.permutation(FIELDS)[: int(rng.integers(0, most))]]

    names = [str(n) for n in rng.permutation(NAMES)[: int(rng.integers(2, 7))]]
    return {name: _tool(some(4), some(5)) for name in names}


def _said(rng: np.random.Generator) -> dict[str, Any]:
    return {
        str(f): int(rng.integers(0, 9))
        for f in rng.permutation(FIELDS)[: int(rng.integers(0, 6))]
    }


# --- bad_steps ---

_STEPS = """(lambda box: [
    box.Step(tool, {k: box.Ref(*v[1:]) if isinstance(v, list) else v for k, v in arguments.items()})
    for tool, arguments in case_steps
])(__import__("labkit.plan", fromlist=["x"]))"""
_BAD_STEPS = f"bad_steps({_STEPS}, case_menu)"


@grades("lab06-bad-steps")
def test_bad_steps_of_random_plans(student: Student, rng: np.random.Generator) -> None:
    for _ in range(25):
        menu = _menu(rng)
        names = [*menu, *menu, *menu, "unheard"]
        steps = [_random_step(rng, names, menu) for _ in range(int(rng.integers(1, 6)))]
        got = student.eval(_BAD_STEPS, case_steps=steps, case_menu=menu)
        assert got == _bad(steps, menu)


@grades("lab06-bad-steps")
def test_bad_steps_edges(student: Student, rng: np.random.Generator) -> None:
    a, b = (str(n) for n in rng.permutation(NAMES)[:2])
    x, y = (str(f) for f in rng.permutation(FIELDS)[:2])
    menu = {a: _tool([], [x]), b: _tool([x], [y])}
    for steps in (
        [],
        [[a, {}]],
        [[b, {}]],
        [[b, {x: 0}]],
        [[b, {x: None}]],
        [[a, {}], [b, {x: ["ref", 0, x]}]],
        [[a, {}], [b, {x: ["ref", 0, y]}]],
        [[a, {}], [b, {x: ["ref", 1, y]}]],
        [[b, {x: ["ref", 1, x]}], [a, {}]],
        [[a, {}], [b, {x: ["ref", -2, x]}]],
        [[a, {}], [b, {x: ["ref", 7, x]}]],
        [["unheard", {}], [b, {x: ["ref", 0, "anything"]}]],
        [[a, {}], [a, {}], [b, {x: ["ref", 1, x]}], [b, {y: ["ref", 2, y]}]],
        [[a, {y: ["ref", 0, x]}]],
        [["unheard", {x: ["ref", 9, x]}], [b, {}], [b, {x: 1, y: ["ref", 1, x]}]],
    ):
        got = student.eval(_BAD_STEPS, case_steps=steps, case_menu=menu)
        assert got == _bad(steps, menu)


def _random_step(
    rng: np.random.Generator, names: list[str], menu: dict[str, Any]
) -> list[Any]:
    name = str(rng.choice(names))
    arguments: dict[str, Any] = {}
    for need in menu.get(name, _tool([], []))["needs"]:
        kind = rng.random()
        if kind < 0.5:
            arguments[need] = int(rng.integers(9))
        elif kind < 0.9:
            fields = [need, need, str(rng.choice(FIELDS))]
            arguments[need] = ["ref", int(rng.integers(-1, 5)), str(rng.choice(fields))]
    return [name, arguments]


def _bad(steps: list[list[Any]], menu: dict[str, Any]) -> list[int]:
    return [i for i in range(len(steps)) if _is_bad(i, steps, menu)]


def _is_bad(i: int, steps: list[list[Any]], menu: dict[str, Any]) -> bool:
    name, arguments = steps[i]
    if name not in menu or set(menu[name]["needs"]) - set(arguments):
        return True
    for _, number, field in (v for v in arguments.values() if isinstance(v, list)):
        if not 0 <= number < i:
            return True
        source = menu.get(steps[number][0])
        if source and field not in source["provides"]:
            return True
    return False


# --- run_plan ---

_RUN_PLAN = f"""(lambda ran, plan: [
    run_plan(plan, lambda name, arguments: (ran.append([name, dict(arguments)]), case_results[len(ran) - 1])[1]),
    ran,
    [[s.tool, {{k: ["ref", v.step, v.field] if type(v).__name__ == "Ref" else v for k, v in s.arguments.items()}}] for s in plan],
])([], {_STEPS})"""


@grades("lab06-run-plan")
def test_running_random_plans(student: Student, rng: np.random.Generator) -> None:
    for _ in range(20):
        steps = [_running_step(rng, i) for i in range(int(rng.integers(1, 7)))]
        results = [
            None if rng.random() < 0.25 else _result(rng) for _ in range(len(steps))
        ]
        _run(student, steps, results)


@grades("lab06-run-plan")
def test_running_edges(student: Student, rng: np.random.Generator) -> None:
    a, b, c = (str(n) for n in rng.permutation(NAMES)[:3])
    x = str(rng.choice(FIELDS))
    chained = [[a, {}], [b, {x: ["ref", 0, x]}], [c, {"k": ["ref", 1, x], "n": 1}]]
    for steps, results in (
        ([], []),
        ([[a, {}]], [{}]),
        ([[a, {}]], [None]),
        (chained, [{x: 1}, {x: 2}, {x: 3}]),
        (chained, [None, {x: 2}, {x: 3}]),
        (chained, [{x: 1}, None, {x: 3}]),
        (chained, [{}, {x: 2}, {x: 3}]),
        (chained, [{x: 0}, {x: ""}, {x: 3}]),
        (chained, [{x: False}, {x: [1]}, {}]),
        ([[a, {}], [b, {"k": ["ref", 0, x], "n": ["ref", 0, "gone"]}]], [{x: 1}, {}]),
        ([[a, {}], [b, {"k": 1}], [c, {x: ["ref", 0, x]}]], [None, {x: 5}, {}]),
    ):
        _run(student, steps, results)


def _run(student: Student, steps: list[Any], results: list[Any]) -> None:
    got = student.eval(_RUN_PLAN, case_steps=steps, case_results=results)
    assert got == [*_ran(steps, results), steps]


def _ran(steps: list[Any], results: list[Any]) -> tuple[list[Any], list[Any]]:
    found: list[Any] = []
    ran: list[Any] = []
    for name, arguments in steps:
        refs = [v for v in arguments.values() if isinstance(v, list)]
        if any(found[n] is None or field not in found[n] for _, n, field in refs):
            found.append(None)
            continue
        filled = {
            k: found[v[1]][v[2]] if isinstance(v, list) else v
            for k, v in arguments.items()
        }
        found.append(results[len(ran)])
        ran.append([name, filled])
    return found, ran


def _running_step(rng: np.random.Generator, i: int) -> list[Any]:
    arguments: dict[str, Any] = {}
    for field in rng.permutation(FIELDS)[: int(rng.integers(0, 4))]:
        refer = i > 0 and rng.random() < 0.5
        arguments[str(field)] = (
            ["ref", int(rng.integers(i)), str(rng.choice(FIELDS))]
            if refer
            else int(rng.integers(9))
        )
    return [str(rng.choice(NAMES)), arguments]


def _result(rng: np.random.Generator) -> dict[str, Any]:
    fields = rng.permutation(FIELDS)[: int(rng.integers(3, 9))]
    return {str(f): int(rng.integers(0, 3)) for f in fields}


# --- unsupported ---


@grades("lab06-unsupported")
def test_unsupported_of_random_texts(
    student: Student, rng: np.random.Generator
) -> None:
    for _ in range(15):
        pool = [_fact(rng) for _ in range(8)]
        answer = _sentence(rng, pool)
        evidence = [_sentence(rng, pool[:5]) for _ in range(int(rng.integers(0, 4)))]
        got = student.call("unsupported", answer, evidence)
        assert got == _unsupported(answer, evidence)


@grades("lab06-unsupported")
def test_unsupported_edges(student: Student, rng: np.random.Generator) -> None:
    n = int(rng.integers(20001, 20040))
    for answer, evidence in (
        ("", []),
        ("", [str(n)]),
        ("Nothing to see.", []),
        (f"{n}", []),
        (f"{n} {n}. #{n}!", []),
        (f"Order #{n}.", [f"order {n}"]),
        (f"Order {n}", [f"order 1{n}", f"{n}-1"]),
        ("in 2026", ["2026-12-05"]),
        ("on 2026-12-05", ["2026", "12", "05"]),
        ("C-1003 (ANA@example.com)", ["c-1003", "<ana@example.com>"]),
        ("C-1003, Ana@Example.com?", ["I am ana@example.com;", "(c-1003)"]),
        (f"a\n{n}\tb 3.5", ["3.50", f"'{n}'"]),
        ("at 10:30, 10.30 or 10-30", ["10:30:"]),
        ("--- ... #", ["1"]),
        ("[7] '8' \"9\"", ["7", "9."]),
        ("b2 A1 b2 a1", [""]),
    ):
        got = student.call("unsupported", answer, evidence)
        assert got == _unsupported(answer, evidence)


def _unsupported(answer: str, evidence: list[str]) -> list[str]:
    known = {fact for text in evidence for fact in _facts(text)}
    return [fact for fact in dict.fromkeys(_facts(answer)) if fact not in known]


def _facts(text: str) -> list[str]:
    words = (word.strip(".,:;!?()[]\"'#-").lower() for word in text.split())
    return [w for w in words if "@" in w or any(c.isdigit() for c in w)]


def _fact(rng: np.random.Generator) -> str:
    n = int(rng.integers(1, 30))
    forms = (f"200{n:02d}", f"2026-12-{n:02d}", f"{n}:30", f"C-10{n:02d}", f"{n}.90", f"ana{n}@example.com", "ana@example.net")  # fmt: skip
    return forms[int(rng.integers(len(forms)))]


def _sentence(rng: np.random.Generator, pool: list[str]) -> str:
    plain = ["order", "arrives", "on", "By", "the", "well-known", "(see", "you!"]
    words = []
    for _ in range(int(rng.integers(0, 10))):
        word = str(rng.choice(pool if rng.random() < 0.5 else plain))
        word = word.upper() if rng.random() < 0.2 else word
        marks = [("", ""), ("", "."), ("(", ")"), ("#", ""), ("'", "',"), ("", "?!")]
        left, right = marks[int(rng.integers(len(marks)))]
        words.append(f"{left}{word}{right}")
    return " ".join(words)


# --- own_time ---


@grades("lab06-own-time")
def test_own_time_of_random_trees(student: Student, rng: np.random.Generator) -> None:
    kinds = ["agent", "score", "chat", "tool", "other"]
    for _ in range(15):
        spans: list[dict[str, Any]] = []
        for i in range(int(rng.integers(1, 14))):
            parents = [None, "gone", *(span["span"] for span in spans)]
            spans.append(
                {
                    "span": f"s{i}",
                    "parent": parents[int(rng.integers(len(parents)))],
                    "kind": str(rng.choice(kinds)),
                    "seconds": round(float(rng.uniform(0, 3)), 3),
                    "name": "x",
                }
            )
        mixed = [spans[int(i)] for i in rng.permutation(len(spans))]
        _times(student.call("own_time", mixed), _own_time(mixed))


@grades("lab06-own-time")
def test_own_time_edges(student: Student, rng: np.random.Generator) -> None:
    assert student.call("own_time", []) == {}
    s = [round(float(v), 3) for v in rng.uniform(0.1, 1.0, size=4)]

    def span(id: str, parent: str | None, kind: str, seconds: float) -> dict[str, Any]:
        return {"span": id, "parent": parent, "kind": kind, "seconds": seconds}

    deep = [
        span("d", "c", "chat", s[3]),
        span("c", "b", "tool", s[2] + s[3]),
        span("a", None, "agent", 9.0),
        span("b", "a", "score", s[1] + s[2] + s[3]),
    ]
    for spans in (
        [span("a", None, "agent", 0.0)],
        [span("a", None, "agent", s[0]), span("b", "a", "agent", s[0])],
        [span("a", None, "agent", s[0]), span("b", "a", "tool", s[0] + 1)],
        [span("a", "gone", "agent", s[0]), span("b", "gone", "tool", s[1])],
        [span("a", None, "agent", s[0]), span("b", None, "agent", s[1])],
        deep,
        deep[:3],
    ):
        _times(student.call("own_time", spans), _own_time(spans))


def _own_time(spans: list[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for span in spans:
        inside = sum(s["seconds"] for s in spans if s["parent"] == span["span"])
        own = max(0.0, span["seconds"] - inside)
        total[span["kind"]] = total.get(span["kind"], 0.0) + own
    return total


def _times(got: Any, want: dict[str, float]) -> None:
    assert isinstance(got, dict)
    assert set(got) == set(want)
    assert np.allclose([got[k] for k in want], list(want.values()), atol=1e-9)
