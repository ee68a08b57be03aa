"""Judge of lab 01.

Every case is generated from the seed; expected values stay in this process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from labkit.grading import Student, grades

Messages = list[dict[str, str]]

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
WORDS = [
    "table",
    "four",
    "Friday",
    "evening",
    "ticket",
    "refund",
    "broken",
    "hello",
    "please",
    "Đorđe",
    "42",
    "<|im_end|>",
]
NO_NUMBER = -1e30
"""Logits below this count as minus infinity when a case is put together in the learner's kernel."""


@grades("lab01-chatml")
def test_chatml_turns(student: Student, rng: np.random.Generator) -> None:
    for with_system in (True, False, True, False):
        messages = _conversation(
            rng, turns=int(rng.integers(1, 7)), with_system=with_system
        )
        assert student.call("chatml", messages) == _chatml(messages)


@grades("lab01-chatml")
def test_chatml_edges(student: Student, rng: np.random.Generator) -> None:
    odd = [
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": f"  {_words(rng)} \n\n {_words(rng)}\n"}],
        [{"role": "system", "content": _words(rng)}],
        [
            {"role": "user", "content": _words(rng)},
            {"role": "system", "content": _words(rng)},
        ],
        [
            {"role": "user", "content": _words(rng)},
            {"role": "assistant", "content": _words(rng)},
        ],
    ]
    for messages in odd:
        assert student.call("chatml", messages) == _chatml(messages)
        unchanged = student.eval(
            "(lambda given: [chatml(given), given][1])(case_m)", case_m=messages
        )
        assert unchanged == messages


@grades("lab01-softmax")
def test_softmax_values(student: Student, rng: np.random.Generator) -> None:
    for temperature in (1.0, float(rng.uniform(0.2, 0.9)), float(rng.uniform(1.1, 5))):
        logits = rng.normal(scale=3, size=int(rng.integers(2, 40)))
        _close(
            student.call("softmax", logits, temperature), _softmax(logits, temperature)
        )
    logits = rng.normal(size=5)
    _close(student.call("softmax", logits), _softmax(logits, 1.0))
    _close(student.call("softmax", np.array([float(rng.normal())])), np.ones(1))


@grades("lab01-softmax")
def test_softmax_extremes(student: Student, rng: np.random.Generator) -> None:
    base = rng.permutation(np.arange(6.0))
    for logits, temperature in (
        (base, 1e-5),
        (base, 1e8),
        (base + 5_000, 1.0),
        (base - 5_000, 0.5),
        (base * 400, 1.0),
    ):
        _close(
            student.call("softmax", logits, temperature), _softmax(logits, temperature)
        )
    tied = np.where(base >= 4, 9.0, base)  # two tokens share the top
    _close(student.call("softmax", tied, 1e-5), (tied == 9.0) / 2)


@grades("lab01-softmax")
def test_softmax_forbidden_tokens(student: Student, rng: np.random.Generator) -> None:
    logits = rng.normal(size=8)
    logits[rng.choice(8, size=3, replace=False)] = -np.inf
    for temperature in (1.0, 0.3, 4.0):
        _close(_softmax_of(student, logits, temperature), _softmax(logits, temperature))


@grades("lab01-draw")
def test_draw_hits(student: Student, rng: np.random.Generator) -> None:
    for _ in range(4):
        probabilities = rng.dirichlet(np.ones(int(rng.integers(2, 12))))
        ends = np.cumsum(probabilities)
        middles = ends - probabilities / 2  # well inside each piece, away from rounding
        wide = np.flatnonzero(probabilities > 1e-6)
        got = _draws(student, probabilities, [float(middles[i]) for i in wide])
        assert got == wide.tolist()


@grades("lab01-draw")
def test_draw_edges(student: Student, rng: np.random.Generator) -> None:
    assert _draws(student, np.array([1.0]), [0.0, float(rng.random()), 0.9995]) == [
        0,
        0,
        0,
    ]
    zeros = int(rng.integers(1, 5))
    padded = np.concatenate([np.zeros(zeros), [0.25, 0.0, 0.75], np.zeros(zeros)])
    assert _draws(student, padded, [0.0, 0.2, 0.3, 0.9999]) == [
        zeros,
        zeros,
        zeros + 2,
        zeros + 2,
    ]
    short = np.concatenate([rng.dirichlet(np.full(4, 5.0)) * 0.9991, np.zeros(zeros)])
    assert _draws(student, short, [0.99999]) == [3]


@grades("lab01-top-p")
def test_top_p_nucleus(student: Student, rng: np.random.Generator) -> None:
    for _ in range(6):
        probabilities = rng.dirichlet(np.ones(int(rng.integers(2, 15))))
        p = _clear_border(probabilities, rng)
        _close(student.call("top_p", probabilities, p), _top_p(probabilities, p))


@grades("lab01-top-p")
def test_top_p_edges(student: Student, rng: np.random.Generator) -> None:
    probabilities = rng.permutation(np.array([0.05, 0.1, 0.15, 0.3, 0.4]))
    _close(
        student.call("top_p", probabilities, 1e-6), (probabilities == 0.4).astype(float)
    )
    _close(student.call("top_p", probabilities, 1.0), probabilities)
    _close(student.call("top_p", np.array([1.0]), 0.5), np.ones(1))
    masked = np.concatenate([probabilities, np.zeros(3)])
    _close(student.call("top_p", masked, 1.0), masked)
    again = student.eval(
        "(lambda given: [top_p(given, 0.6), given][1])(case_p)", case_p=probabilities
    )
    _close(again, probabilities)


@grades("lab01-top-p")
def test_top_p_ties(student: Student, rng: np.random.Generator) -> None:
    got = np.asarray(
        student.call("top_p", np.full(8, 0.125), 0.3), dtype=float
    )  # three; which ones is free
    kept = np.flatnonzero(got)
    assert got.shape == (8,)
    assert 3 <= len(kept) <= 8
    _close(got[kept], np.full(len(kept), 1 / len(kept)))


@grades("lab01-generate")
def test_generate_follows_the_model(student: Student, rng: np.random.Generator) -> None:
    for _ in range(4):
        size = 12
        table = rng.permuted(np.tile(np.arange(float(size)), (size, 1)), axis=1)
        prompt = [int(i) for i in rng.integers(0, size, size=int(rng.integers(1, 6)))]
        free = _generate(table, prompt, stop=-1, limit=15)
        stop = free[int(rng.integers(0, len(free)))]
        for end, limit in (
            (-1, 15),
            (stop, 15),
            (stop, int(rng.integers(1, 4))),
            (free[0], 5),
        ):
            assert _generated(student, table, prompt, end, limit) == _generate(
                table, prompt, end, limit
            )


@grades("lab01-generate")
def test_generate_edges(student: Student, rng: np.random.Generator) -> None:
    table = rng.permuted(np.tile(np.arange(6.0), (6, 1)), axis=1)
    prompt = [int(i) for i in rng.integers(0, 6, size=3)]
    assert _generated(student, table, prompt, -1, 0) == []
    assert len(_generated(student, table, prompt, -1, 1)) == 1
    call = _GENERATE.replace("case_prompt", "given")
    inputs = {"case_prompt": prompt, "case_stop": -1, "case_limit": 4}
    look = f"(lambda given: [{call}, given][1])(case_prompt)"
    assert student.eval(look, case_table=table.tolist(), **inputs) == prompt


@grades("lab01-generate")
def test_generate_uses_the_choice_it_is_given(
    student: Student, rng: np.random.Generator
) -> None:
    table = rng.permuted(np.tile(np.arange(9.0), (9, 1)), axis=1)
    prompt = [int(i) for i in rng.integers(0, 9, size=2)]
    lowest = _GENERATE.replace("max(", "min(")
    got = student.eval(
        lowest,
        case_table=table.tolist(),
        case_prompt=prompt,
        case_stop=-1,
        case_limit=6,
    )
    assert got == _generate(-table, prompt, -1, 6)


@grades("lab01-trim")
def test_trim_budgets(student: Student, rng: np.random.Generator) -> None:
    for with_system in (True, False, True, False):
        messages = _conversation(
            rng, turns=int(rng.integers(2, 10)), with_system=with_system
        )
        total = sum(len(m["content"]) for m in messages)
        for budget in (
            0,
            *map(int, rng.integers(1, total + 1, size=4)),
            total - 1,
            total,
            total + 50,
        ):
            assert _trimmed(student, messages, budget) == _trim(messages, budget)


@grades("lab01-trim")
def test_trim_edges(student: Student, rng: np.random.Generator) -> None:
    system = {"role": "system", "content": _words(rng)}
    first, second = ({"role": "user", "content": _words(rng)} for _ in range(2))
    gap = [
        system,
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y" * 500},
        first,
    ]
    late = [
        first,
        system,
        second,
    ]  # a system message that is not the first one is like any other
    for messages in ([], [system], [first], [system, first], gap, late):
        for budget in (0, 1, 100, 400, 10_000):
            assert _trimmed(student, messages, budget) == _trim(messages, budget)
    call = _TRIM.replace("case_messages", "given")
    look = f"(lambda given: [{call}, given][1])(case_messages)"
    assert student.eval(look, case_messages=gap, case_budget=60) == gap


@grades("lab01-stream-speed")
def test_stream_speed_values(student: Student, rng: np.random.Generator) -> None:
    for _ in range(5):
        sent = float(rng.uniform(0, 1000))
        arrivals = (
            sent + np.cumsum(rng.uniform(0.01, 0.9, size=int(rng.integers(2, 30))))
        ).tolist()
        rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        _close(student.call("stream_speed", sent, arrivals), [arrivals[0] - sent, rate])


@grades("lab01-stream-speed")
def test_stream_speed_edges(student: Student, rng: np.random.Generator) -> None:
    wait = float(rng.uniform(0.1, 3))
    _close(student.call("stream_speed", 0.0, [wait]), [wait, 0.0])
    _close(
        student.call("stream_speed", 0.0, [wait] * int(rng.integers(2, 6))), [wait, 0.0]
    )


# Expressions evaluated in the learner's kernel. They hold no expected value.

_GENERATE = (
    "[int(i) for i in generate("
    "lambda ids: case_table[int(sum((k + 1) * int(i) for k, i in enumerate(ids)))"
    " % len(case_table)],"
    " lambda row: max(range(len(row)), key=lambda i: row[i]),"
    " case_prompt, case_stop, case_limit)]"
)
_TRIM = "trim(case_messages, case_budget, lambda m: len(m['content']))"


def _generated(
    student: Student, table: Any, prompt: list[int], stop: int, limit: int
) -> Any:
    return student.eval(
        _GENERATE,
        case_table=table.tolist(),
        case_prompt=prompt,
        case_stop=stop,
        case_limit=limit,
    )


def _trimmed(student: Student, messages: Messages, budget: int) -> Any:
    return student.eval(_TRIM, case_messages=messages, case_budget=budget)


def _draws(student: Student, probabilities: Any, throws: list[float]) -> list[int]:
    return student.eval(
        "[int(draw(case_p, u)) for u in case_u]", case_p=probabilities, case_u=throws
    )


def _softmax_of(student: Student, logits: Any, temperature: float) -> Any:
    finite = np.where(np.isfinite(logits), logits, 2 * NO_NUMBER)
    items = f"x if x > {NO_NUMBER} else float('-inf') for x in case_logits.tolist()"
    call = f"softmax(__import__('numpy').array([{items}]), case_t)"
    return student.eval(call, case_logits=finite, case_t=temperature)


# The judge's own answers.


def _chatml(messages: Messages) -> str:
    text = (
        ""
        if messages[0]["role"] == "system"
        else f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    )
    for m in messages:
        text += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


def _softmax(logits: Any, temperature: float) -> Any:
    exp = np.exp((logits - logits.max()) / temperature)
    return exp / exp.sum()


def _top_p(probabilities: Any, p: float) -> Any:
    kept, total = np.zeros(len(probabilities)), 0.0
    for i in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
        kept[i] = probabilities[i]
        total += probabilities[i]
        if total >= p:
            break
    return kept / kept.sum()


def _clear_border(probabilities: Any, rng: np.random.Generator) -> float:
    """A ``p`` that no running sum comes near, so that rounding cannot decide."""
    running = np.cumsum(np.sort(probabilities)[::-1])
    while True:
        p = float(rng.uniform(0.05, 0.98))
        if np.abs(running - p).min() > 1e-5:
            return p


def _generate(table: Any, prompt: list[int], stop: int, limit: int) -> list[int]:
    ids = list(prompt)
    while len(ids) - len(prompt) < limit:
        token = int(
            table[sum((k + 1) * i for k, i in enumerate(ids)) % len(table)].argmax()
        )
        if token == stop:
            break
        ids.append(token)
    return ids[len(prompt) :]


def _trim(messages: Messages, budget: int) -> Messages:
    start = 1 if messages and messages[0]["role"] == "system" else 0
    for first in range(start, len(messages)):
        kept = messages[:start] + messages[first:]
        if sum(len(m["content"]) for m in kept) <= budget:
            return kept
    return messages[:start] + messages[start:][-1:]


def _close(got: Any, want: Any) -> None:
    a, b = np.asarray(got, dtype=float), np.asarray(want, dtype=float)
    assert a.shape == b.shape
    assert np.allclose(a, b, rtol=1e-4, atol=1e-5)


def _words(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, size=int(rng.integers(1, 8))))


def _conversation(rng: np.random.Generator, turns: int, with_system: bool) -> Messages:
    roles = ["user", "assistant"] * turns
    chat = [{"role": role, "content": _words(rng)} for role in roles[:turns]]
    return [{"role": "system", "content": _words(rng)}, *chat] if with_system else chat
