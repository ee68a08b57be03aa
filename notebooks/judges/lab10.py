"""Judge of lab 10. Every case is generated from the seed; expected values stay in this process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from labkit.grading import Student, grades

DAYS = ["Monday", "Tuesday", "Friday"]
FACTS = ["shipped", "2026-12-05", "18 in stock", "10:00", "Friday"]
OUTCOMES = ["completed", "completed", "failed", "lost"]
Row = dict[str, Any]


# --- verdict ---


@grades("lab10-verdict")
def test_verdict_of_random_visits(student: Student, rng: np.random.Generator) -> None:
    for _ in range(25):
        rows = [_wanted(rng) for _ in range(int(rng.integers(0, 3)))]
        made = [_made(rng) for _ in range(int(rng.integers(0, 3)))]
        if rng.random() < 0.6:
            made = [{"id": i, **row} for i, row in enumerate(rows)]
        facts = [str(f) for f in rng.permutation(FACTS)[: int(rng.integers(0, 3))]]
        answer = " and ".join(rng.permutation(FACTS)[: int(rng.integers(0, 5))]).upper()
        _verdict(student, rows, facts, made, answer)


@grades("lab10-verdict")
def test_verdict_edges(student: Student, rng: np.random.Generator) -> None:
    a, b = (int(n) for n in rng.permutation(90)[:2])
    narrow, wide = {"order": a, "day": "Friday"}, {"order": a}
    full = {"id": 1, "order": a, "day": "Friday"}
    other = {"id": 2, "order": a, "day": "Monday"}
    for rows, facts, made, answer in (
        ([wide, narrow], [], [other, full], ""),
        (
            [wide, narrow],
            [],
            [full, other],
            "",
        ),  # in order: the first takes the only fitting one
        ([wide, wide], [], [full], ""),
        ([wide], [], [full, full], ""),
        ([{"order": b}], ["x"], [full], ""),
        ([{"gone": None}], [], [full], ""),  # a column that is not there is not None
        ([], ["OK"], [], "ok"),
        ([], ["ok"], [], "OK"),
        ([{}], [], [full], ""),
        ([wide], ["no"], [], "no"),
    ):
        _verdict(student, rows, facts, made, answer)


def _verdict(
    student: Student, rows: list[Row], facts: list[str], made: list[Row], answer: str
) -> None:
    got = student.eval(
        "(lambda made: [verdict(case_rows, case_facts, made, case_answer), made])(case_made)",
        case_rows=rows,
        case_facts=facts,
        case_made=made,
        case_answer=answer,
    )
    assert got == [_judged(rows, facts, made, answer), made]


def _judged(rows: list[Row], facts: list[str], made: list[Row], answer: str) -> str:
    free, missing = [True] * len(made), False
    for wanted in rows:
        for i, row in enumerate(made):
            if free[i] and all(k in row and row[k] == v for k, v in wanted.items()):
                free[i] = False
                break
        else:
            missing = True
    if any(free):
        return "wrong row"
    if missing:
        return "missing row"
    return "" if all(f.lower() in answer.lower() for f in facts) else "missing fact"


def _wanted(rng: np.random.Generator) -> Row:
    row: Row = {"order": int(rng.integers(3))}
    return {**row, "day": str(rng.choice(DAYS))} if rng.random() < 0.5 else row


def _made(rng: np.random.Generator) -> Row:
    return {
        "id": int(rng.integers(99)),
        "order": int(rng.integers(3)),
        "day": str(rng.choice(DAYS)),
    }


# --- percentile ---


@grades("lab10-percentile")
def test_percentiles_of_random_values(
    student: Student, rng: np.random.Generator
) -> None:
    for _ in range(20):
        values = [
            round(float(x), 3) for x in rng.exponential(2.0, int(rng.integers(1, 40)))
        ]
        p = float(rng.choice([0.5, 1, 10, 25, 50, 75, 90, 95, 97.5, 99, 100]))
        got = student.eval(
            "(lambda v: [percentile(v, case_p), v])(case_values)",
            case_p=p,
            case_values=values,
        )
        assert got == [_percentile(values, p), values]


@grades("lab10-percentile")
def test_percentile_edges(student: Student, rng: np.random.Generator) -> None:
    x, y = sorted(float(v) for v in rng.normal(size=2))
    for values, p in (
        ([x], 1),
        ([x], 100),
        ([y, x], 50),
        ([y, x], 50.5),
        ([x, x, x, y], 75),
        ([x, x, x, y], 76),
        ([float(v) for v in range(100, 0, -1)], 95),
        ([float(v) for v in range(100, 0, -1)], 100),
        ([float(v) for v in range(20, 0, -1)], 95),
    ):
        assert student.call("percentile", values, p) == _percentile(values, p)


def _percentile(values: Sequence[float], p: float) -> float:
    """The definition, read aloud."""
    n = len(values)
    return next(
        v for v in sorted(values) if 100 * sum(w <= v for w in values) >= p * n - 1e-9
    )


# --- interval ---


@grades("lab10-interval")
def test_intervals_of_random_runs(student: Student, rng: np.random.Generator) -> None:
    for _ in range(8):
        n = int(rng.integers(1, 30))
        hits = [bool(x) for x in rng.random(n) < rng.random()]
        size = int(rng.integers(1, 40))  # a resample may be of another size
        draws = rng.integers(0, n, (int(rng.integers(1, 120)), size)).tolist()
        got = student.call("interval", hits, draws)
        shares = [sum(hits[i] for i in draw) / len(draw) for draw in draws]
        assert np.allclose(got, [_percentile(shares, 2.5), _percentile(shares, 97.5)])


@grades("lab10-interval")
def test_interval_where_every_share_occurs_once(
    student: Student, rng: np.random.Generator
) -> None:
    n = 40 * int(rng.integers(1, 4))
    draws = [[0] * int(k) + [1] * (n - int(k)) for k in rng.permutation(n) + 1]
    assert np.allclose(student.call("interval", [True, False], draws), [0.025, 0.975])


# --- paired ---


@grades("lab10-paired")
def test_pairs_of_random_runs(student: Student, rng: np.random.Generator) -> None:
    for _ in range(15):
        _paired(student, *_runs(rng, int(rng.integers(0, 60))))


@grades("lab10-paired")
def test_pair_edges(student: Student, rng: np.random.Generator) -> None:
    n = int(rng.integers(6, 12))
    yes, no = _all(n, True), _all(n, False)
    odd = {**_all(n, True), "x1": False}
    for before, after in (
        ({}, {}),
        (yes, {}),
        (yes, no),
        (no, yes),
        (yes, yes),
        (odd, {**no, "x1": True}),
        ({**yes, "alone": True}, {**no, "other": False}),
        ({"a": True, "b": False}, {"b": True, "a": False}),
    ):
        _paired(student, before, after)


def _paired(student: Student, before: dict[str, bool], after: dict[str, bool]) -> None:
    got = student.call("paired", before, after)
    want = _tested(before, after)
    assert got[:2] == list(want[:2])
    assert math.isclose(got[2], want[2], abs_tol=1e-9)


def _tested(before: dict[str, bool], after: dict[str, bool]) -> tuple[int, int, float]:
    lost = sum(before[c] and not after[c] for c in before if c in after)
    gained = sum(after[c] and not before[c] for c in before if c in after)
    n, p = lost + gained, 0.0
    for k in range(n + 1):  # both tails, counted
        if abs(2 * k - n) >= abs(lost - gained):
            p += math.comb(n, k) / 2**n
    return lost, gained, min(1.0, p)


def _runs(rng: np.random.Generator, n: int) -> tuple[dict[str, bool], dict[str, bool]]:
    before = {str(i): bool(rng.random() < 0.7) for i in range(n)}
    flips, after = rng.random(), dict[str, bool]()
    for case, done in before.items():
        if rng.random() < 0.9:
            after[case] = done if rng.random() < flips else bool(rng.random() < 0.4)
    return before, {**after, "new": True}


def _all(n: int, value: bool) -> dict[str, bool]:
    return {str(i): value for i in range(n)}


# --- gate ---

_REFUSES = """(lambda case: (
    case.assertRaises(ValueError, gate, case_before, case_after), "ValueError"
)[1])(__import__("unittest").TestCase())"""


@grades("lab10-gate")
def test_gate_of_random_runs(student: Student, rng: np.random.Generator) -> None:
    for _ in range(15):
        before, after = _runs(rng, int(rng.integers(2, 250)))
        before["0"], after["0"] = True, True
        tolerated = float(rng.choice([0.02, 0.05, 0.1, 0.2, 0.4]))
        got = student.call("gate", before, after, tolerated)
        assert got == list(_gated(before, after, tolerated))


@grades("lab10-gate")
def test_gate_edges(student: Student, rng: np.random.Generator) -> None:
    for n in (
        1,
        5,
        6,
        34,
        35,
        80,
    ):  # 35 cases without a loss are the fewest that rule out 10 points
        yes, no = _all(n, True), _all(n, False)
        some = {**yes, "0": False}
        for before, after in (
            (yes, no),
            (no, yes),
            (yes, yes),
            (no, no),
            (yes, some),
            (some, yes),
        ):
            assert student.call("gate", before, after) == list(
                _gated(before, after, 0.1)
            )
    few = {**_all(20, True), **{f"alone {i}": True for i in range(100)}}
    assert student.call("gate", few, _all(20, True)) == [
        0,
        "too few cases",
    ]  # only pairs count
    for n, tolerated in ((20, 0.3), (20, 0.12), (80, 0.01), (80, 0.06), (9, 0.5)):
        yes = _all(n, True)
        got = student.call("gate", yes, yes, tolerated)
        assert got == list(_gated(yes, yes, tolerated))
    for before, after in (({"a": True}, {"b": True}), ({}, {}), ({}, {"b": True})):
        got = student.eval(_REFUSES, case_before=before, case_after=after)
        assert got == "ValueError"


def _gated(
    before: dict[str, bool], after: dict[str, bool], tolerated: float
) -> tuple[int, str]:
    lost, gained, p = _tested(before, after)
    n = len(set(before) & set(after))
    if p < 0.05:
        return (1, "drop") if lost > gained else (0, "better")
    z = 1.959964
    spread = z * math.sqrt(lost * (n - lost) / n + z * z / 4)
    high = (lost + z * z / 2 + spread) / (n + z * z)
    return (0, "too few cases") if high > tolerated else (0, "no significant change")


# --- price ---


@grades("lab10-price")
def test_prices_of_random_usage(student: Student, rng: np.random.Generator) -> None:
    for _ in range(10):
        usage: list[dict[str, int]] = []
        for _ in range(int(rng.integers(1, 9))):
            prompt = int(rng.integers(0, 5000))
            cached = int(rng.integers(0, prompt + 1))
            usage.append(
                {
                    "prompt": prompt,
                    "cached": cached,
                    "written": int(rng.integers(0, 500)),
                }
            )
        kinds = ("input", "cached", "output")
        price = {
            kind: float(x) for kind, x in zip(kinds, rng.random(3) * 20, strict=True)
        }
        got = student.call("price_per_thousand", usage, price)
        each = [
            (u["prompt"] - u["cached"]) * price["input"]
            + u["cached"] * price["cached"]
            + u["written"] * price["output"]
            for u in usage
        ]
        assert math.isclose(
            got, float(np.mean(each)) / 1000, rel_tol=1e-6, abs_tol=1e-9
        )


# --- reliability ---


@grades("lab10-reliability")
def test_reliability_of_random_runs(student: Student, rng: np.random.Generator) -> None:
    for _ in range(15):
        outcomes = [str(o) for o in rng.choice(OUTCOMES, int(rng.integers(1, 12)))]
        _reliable(student, outcomes, int(rng.integers(len(outcomes))))


@grades("lab10-reliability")
def test_reliability_edges(student: Student, rng: np.random.Generator) -> None:
    good, bad, gone = "completed", "failed", "lost"
    for outcomes, at in (
        ([good], 0),
        ([gone], 0),
        ([gone, gone, bad], 0),
        ([gone, good], 1),
        ([gone, bad, good, good], 0),
        ([good, good, gone], 0),
        ([good, gone, gone, good], 2),
    ):
        _reliable(student, outcomes, at)


def _reliable(student: Student, outcomes: list[str], at: int) -> None:
    names = [f"case {i}" for i in range(len(outcomes))]
    results = [{"case": n, "outcome": o} for n, o in zip(names, outcomes, strict=True)]
    after = outcomes[at + 1 :]
    places = [i + 1 for i, o in enumerate(after) if o == "completed"]
    got = student.call("reliability", results, names[at])
    assert set(got) == {"lost", "kept", "recovered_after"}
    assert got["lost"] == outcomes[at:].count("lost")
    assert got["recovered_after"] == (places[0] if places else None)
    if after:
        assert math.isclose(got["kept"], len(places) / len(after), abs_tol=1e-9)
    else:
        assert got["kept"] is None
