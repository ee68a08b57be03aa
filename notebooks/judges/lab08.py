"""Judge of lab 08. Every case is generated from the seed; expected values stay in this process."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from labkit.grading import Student, grades

WORDS = ["book", "a", "table", "for", "two", "please", "open", "the", "window", "now"]


# --- by_rules ---

# Expressions evaluated in the learner's kernel. They hold no expected value.
_RULES = """(lambda asked: [
    by_rules(
        case_request,
        [
            (name, lambda text, n=name, w=word: (asked.append(n), w in text)[1], target)
            for name, word, target in case_rules
        ],
    ),
    asked,
])([])"""


@grades("lab08-by-rules")
def test_rules_on_random_texts(student: Student, rng: np.random.Generator) -> None:
    for _ in range(12):
        rules = _rules(rng)
        text = _text(rng)
        got, asked = _by_rules(student, text, False, rules)
        fitting = [i for i, (_, word, _) in enumerate(rules) if word in text]
        first = fitting[0] if fitting else None
        want = ["small", "no rule fits"]
        if first is not None:
            want = [rules[first][2], rules[first][0]]
        assert got == want
        last = len(rules) if first is None else first + 1
        assert asked == [name for name, _, _ in rules[:last]]


@grades("lab08-by-rules")
def test_no_rule_overrules_privacy(student: Student, rng: np.random.Generator) -> None:
    for _ in range(4):
        text = _text(rng)
        rules = [["always", "", "large"], *_rules(rng)]
        for words, private in ((text, True), (_private(rng, text), False)):
            got, asked = _by_rules(student, words, private, rules)
            assert got == ["small", "private"]
            assert asked == []
        assert _by_rules(student, text, False, rules)[0] == ["large", "always"]
        assert _by_rules(student, text, False, [])[0] == ["small", "no rule fits"]


# --- auc ---


@grades("lab08-auc")
def test_auc_of_random_scores(student: Student, rng: np.random.Generator) -> None:
    for _ in range(8):
        failed = _both_kinds(rng, int(rng.integers(2, 60)))
        score = _scores(rng, len(failed))
        _same(student.call("auc", score, failed), _auc(score, failed))
        _same(student.call("auc", [-x for x in score], failed), 1 - _auc(score, failed))


@grades("lab08-auc")
def test_auc_edges(student: Student, rng: np.random.Generator) -> None:
    low, high = sorted(float(x) for x in rng.normal(size=2))
    for score, failed, want in (
        ([low, high], [0, 1], 1.0),
        ([low, high], [1, 0], 0.0),
        ([low, low], [1, 0], 0.5),
        ([high, low, low, low], [1, 1, 0, 0], 0.75),
        ([low, high, high], [0, 1, 0], 0.75),
        ([low] * 5, [0, 1, 1, 0, 0], 0.5),
    ):
        _same(student.call("auc", score, failed), want)


# --- rising ---


@grades("lab08-rising")
def test_rising_of_random_groups(student: Student, rng: np.random.Generator) -> None:
    for _ in range(10):
        n = int(rng.integers(1, 40))
        means = rng.integers(0, 6, size=n) / 5 if rng.random() < 0.5 else rng.random(n)
        counts = rng.integers(1, 9, size=n)
        _same(
            student.call("rising", means.tolist(), counts.tolist()),
            _rising(means, counts),
        )


@grades("lab08-rising")
def test_rising_edges(student: Student, rng: np.random.Generator) -> None:
    x, y = sorted(round(float(v), 3) for v in rng.uniform([0, 0.6], [0.4, 1]))
    n = int(rng.integers(2, 9))
    assert student.call("rising", [], []) == []
    _same(student.call("rising", [x], [n]), [x])
    _same(student.call("rising", [x, x, y, y], [1, n, 1, n]), [x, x, y, y])
    pooled = (n * y + x) / (n + 1)
    _same(student.call("rising", [y, x], [n, 1]), [pooled] * 2)
    down = [float(k) for k in range(n, 0, -1)]
    _same(student.call("rising", down, [1] * n), [(n + 1) / 2] * n)
    late = [0.2, 0.4, 0.6, 0.0]
    counts = [1, 1, 1, 10 * n]
    _same(student.call("rising", late, counts), [1.2 / (3 + 10 * n)] * 4)


# --- ece ---


@grades("lab08-ece")
def test_ece_of_random_promises(student: Student, rng: np.random.Generator) -> None:
    for _ in range(8):
        n = int(rng.integers(1, 80))
        confidence = rng.random(n)
        if rng.random() < 0.6:  # many alike
            confidence = np.round(confidence * 4) / 4
        right = (rng.random(n) < confidence * rng.choice([0.5, 1])).astype(int)
        bins = int(rng.integers(1, min(n, 12) + 1))
        got = student.call("ece", confidence.tolist(), right.tolist(), bins)
        _same(got, _ece(confidence, right, bins))


@grades("lab08-ece")
def test_ece_edges(student: Student, rng: np.random.Generator) -> None:
    p = round(float(rng.uniform(0.1, 0.4)), 3)
    for confidence, right, bins, want in (
        ([p], [0], 1, p),
        ([p], [1], 1, 1 - p),
        ([0, 1, 0, 1], [1, 0, 1, 0], 2, 1.0),
        ([0, 1, 0, 1], [0, 1, 0, 1], 4, 0.0),
        ([0.5] * 6, [1, 1, 1, 0, 0, 0], 3, 0.0),  # alike: order does not matter
        ([0.5] * 6, [0, 1, 0, 1, 0, 1], 6, 0.0),
        ([p, 1 - p], [1, 0], 1, 0.0),  # one bin: the errors cancel
        ([p, 1 - p], [1, 0], 2, 1 - p),
        ([p, p, p, 1, 1], [0, 0, 0, 1, 1], 2, 3 * p / 5),  # bins of 3 and 2
    ):
        _same(student.call("ece", confidence, right, bins), want)


# --- quality_curve ---


@grades("lab08-quality-curve")
def test_curve_of_random_routers(student: Student, rng: np.random.Generator) -> None:
    for _ in range(8):
        n = int(rng.integers(1, 50))
        gain, weak, strong = (
            _scores(rng, n),
            _outcomes(rng, n, 0.5),
            _outcomes(rng, n, 0.7),
        )
        got = student.call("quality_curve", gain, weak, strong)
        _same(got, _curve(gain, weak, strong))


@grades("lab08-quality-curve")
def test_curve_edges(student: Student, rng: np.random.Generator) -> None:
    g = round(float(rng.uniform(0.1, 9)), 3)
    for gain, weak, strong in (
        ([g], [0], [1]),
        ([-g], [1], [0]),
        ([g] * 4, [0, 1, 0, 0], [1, 1, 1, 0]),
        ([g, -g, 0, g], [0, 0, 1, 1], [1, 1, 0, 0]),
        ([3, 1, 2], [1, 1, 1], [0, 1, 0]),
    ):
        got = student.call("quality_curve", gain, weak, strong)
        _same(got, _curve(gain, weak, strong))


# --- apgr, cpt ---


@grades("lab08-apgr-cpt")
def test_apgr_of_random_curves(student: Student, rng: np.random.Generator) -> None:
    for _ in range(10):
        points = _points(rng)
        _same(student.call("apgr", points), _apgr(points))


@grades("lab08-apgr-cpt")
def test_cpt_of_random_curves(student: Student, rng: np.random.Generator) -> None:
    for _ in range(10):
        points = _points(rng)
        for percent in (20, 50, 80, 100, int(rng.integers(1, 100))):
            _same(student.call("cpt", points, percent), _cpt(points, percent))


@grades("lab08-apgr-cpt")
def test_apgr_cpt_edges(student: Student, rng: np.random.Generator) -> None:
    low, high = sorted(round(float(v), 3) for v in rng.uniform([0, 0.6], [0.4, 1]))
    at = round(float(rng.uniform(0.1, 0.9)), 3)
    step = [[0, low], [at, high], [1, high]]
    _same(student.call("apgr", [[0, low], [1, high]]), 0.5)
    _same(student.call("apgr", step), 1 - at / 2)
    for percent in (10, 50, 100):
        _same(student.call("cpt", step, percent), at * percent / 100)
    over = [[0, low], [at, high + 0.3], [1, high]]  # above its own end
    _same(student.call("cpt", over, 100), at * (high - low) / (high + 0.3 - low))


# --- cascade ---

_CASCADE = """(lambda seen: [
    cascade(
        case_request,
        lambda text: (seen.append(["small", text]), dict(case_made))[1],
        lambda text: (seen.append(["large", text]), case_down and (_ for _ in ()).throw(
            {'os': OSError, 'connection': ConnectionError, 'time': TimeoutError}[case_down]("down")
        ), case_large)[2],
        case_threshold,
    ),
    seen,
])([])"""


@grades("lab08-cascade")
def test_cascade_on_random_requests(student: Student, rng: np.random.Generator) -> None:
    for shift in (-0.1, -0.001, 0, 0, 0, 0, 0, 0.001, 0.1) * 2:
        text, threshold = _text(rng), round(float(rng.uniform(0.1, 0.9)), 3)
        problem = str(rng.choice(["", "", "cut short", "no such tool"]))
        down = str(rng.choice(["", "", "os", "connection", "time"]))
        made = {"answer": _text(rng), "confidence": threshold + shift}
        got, seen = _cascade(
            student, text, False, {**made, "problem": problem}, threshold, down
        )
        if problem or made["confidence"] < threshold:
            want = (
                [made["answer"], "small", "unavailable"]
                if down
                else ["LARGE", "large", ""]
            )
            asked = [["small", text], ["large", text]]
        else:
            want, asked = [made["answer"], "small", ""], [["small", text]]
        assert got == want
        assert seen == asked


@grades("lab08-cascade")
def test_nothing_private_reaches_the_large_model(
    student: Student, rng: np.random.Generator
) -> None:
    for problem in ("", "refused"):
        for confidence in (0.0, 1.0):
            text = _text(rng)
            for words, private in ((text, True), (_private(rng, text), False)):
                for down in ("", "os"):
                    answer = _text(rng)
                    made = {
                        "answer": answer,
                        "confidence": confidence,
                        "problem": problem,
                    }
                    got, seen = _cascade(student, words, private, made, 0.5, down)
                    assert got == [answer, "small", "private"]
                    assert seen == [["small", words]]


@grades("lab08-cascade")
def test_other_errors_pass_through(student: Student, rng: np.random.Generator) -> None:
    source = (
        "def large(text):\n"
        "    raise ValueError('a bug')\n"
        "try:\n"
        "    cascade(case_request, lambda text: case_made, large, 0.5)\n"
        "    raised = 'nothing'\n"
        "except ValueError:\n"
        "    raised = 'ValueError'\n"
    )
    raised = student.eval(
        "(lambda space: (exec(case_source, space), space['raised'])[1])"
        "({'cascade': cascade, 'case_made': case_made, 'case_request': case_request})",
        case_source=source,
        case_made={"answer": _text(rng), "confidence": 0.0, "problem": ""},
        case_request={"text": _text(rng), "private": False},
    )
    assert raised == "ValueError"


# --- helpers ---


def _by_rules(
    student: Student, text: str, private: bool, rules: list[list[str]]
) -> tuple[Any, Any]:
    got, asked = student.eval(
        _RULES, case_request={"text": text, "private": private}, case_rules=rules
    )
    return _listed(got), asked


def _cascade(
    student: Student,
    text: str,
    private: bool,
    made: dict[str, Any],
    threshold: float,
    down: str,
) -> tuple[Any, Any]:
    got, seen = student.eval(
        _CASCADE,
        case_request={"text": text, "private": private},
        case_made=made,
        case_threshold=threshold,
        case_down=down,
        case_large="LARGE",
    )
    return _listed(got), seen


def _listed(got: Any) -> Any:
    return list(got) if isinstance(got, (list, tuple)) else got


def _rules(rng: np.random.Generator) -> list[list[str]]:
    words = rng.permutation(WORDS)[: int(rng.integers(1, 5))]
    return [
        [f"rule {i} {word}", str(word), str(rng.choice(["small", "large"]))]
        for i, word in enumerate(words)
    ]


def _text(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, size=int(rng.integers(2, 7))))


def _private(rng: np.random.Generator, text: str) -> str:
    name = "".join(rng.choice(list("abcdefgh"), size=6))
    number = "".join(str(n) for n in rng.integers(1, 10, size=9))
    secret = rng.choice([f"{name}@example.org", f"+49 {number[:3]} {number}"])
    return f"{text} {secret} {text}"


def _both_kinds(rng: np.random.Generator, n: int) -> list[int]:
    failed = _outcomes(rng, n, float(rng.uniform(0.2, 0.8)))
    failed[0], failed[-1] = 0, 1
    return failed


def _outcomes(rng: np.random.Generator, n: int, p: float) -> list[int]:
    return [int(x) for x in rng.random(n) < p]


def _scores(rng: np.random.Generator, n: int) -> list[float]:
    values = rng.normal(size=n)
    if rng.random() < 0.5:  # many alike
        values = np.round(values)
    return [float(x) for x in values]


def _points(rng: np.random.Generator) -> list[list[float]]:
    """A curve that ends above where it begins, and may do anything between."""
    n = int(rng.integers(2, 12))
    shares = np.concatenate([[0], np.sort(rng.random(n - 2)), [1]])
    quality = rng.uniform(0.1, 0.95, size=n)
    quality[0], quality[-1] = 0.4, float(rng.uniform(0.5, 0.9))
    return np.column_stack([shares, quality]).tolist()


def _auc(score: list[float], failed: list[int]) -> float:
    bad = [s for s, f in zip(score, failed, strict=True) if f]
    good = [s for s, f in zip(score, failed, strict=True) if not f]
    won = sum((b > g) + (b == g) / 2 for b in bad for g in good)
    return won / len(bad) / len(good)


def _rising(means: np.ndarray, counts: np.ndarray) -> list[float]:
    """By the max-min formula, which needs no pooling."""
    n = len(means)
    total = np.concatenate([[0], np.cumsum(means * counts)])
    weight = np.concatenate([[0], np.cumsum(counts)])

    def mean(i: int, j: int) -> float:
        return float((total[j + 1] - total[i]) / (weight[j + 1] - weight[i]))

    return [
        max(min(mean(i, j) for j in range(k, n)) for i in range(k + 1))
        for k in range(n)
    ]


def _ece(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    shared = np.array([right[confidence == c].mean() for c in confidence])
    order = np.argsort(confidence, kind="stable")
    gaps = np.array_split((confidence - shared)[order], bins)
    return float(sum(abs(gap.sum()) for gap in gaps) / len(confidence))


def _curve(gain: list[float], weak: list[int], strong: list[int]) -> list[list[float]]:
    n = len(gain)
    points = [[0.0, sum(weak) / n]]
    for least in sorted(set(gain), reverse=True):
        who = [g >= least for g in gain]
        right = sum(
            s if goes else w for goes, w, s in zip(who, weak, strong, strict=True)
        )
        points.append([sum(who) / n, right / n])
    return points


def _recovered(points: list[list[float]]) -> list[tuple[float, float]]:
    first, last = points[0][1], points[-1][1]
    return [(share, (quality - first) / (last - first)) for share, quality in points]


def _apgr(points: list[list[float]]) -> float:
    made = _recovered(points)
    return sum((b - a) * (p + q) / 2 for (a, p), (b, q) in pairwise(made))


def _cpt(points: list[list[float]], percent: float) -> float:
    made, goal = _recovered(points), percent / 100
    for (a, p), (b, q) in pairwise(made):
        if q >= goal - 1e-12:
            return a + (b - a) * (goal - p) / (q - p)
    raise AssertionError("the curve ends at 1")


def _same(got: Any, want: Any) -> None:
    assert np.shape(got) == np.shape(want)
    assert np.allclose(
        np.array(got, dtype=float),
        np.array(want, dtype=float),
        rtol=1e-6,
        atol=1e-9,
    )
