"""Judge of lab 07. Every case is generated from the seed; expected values stay in this process."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import numpy as np
from labkit.grading import Student, grades

NOUNS = [
    "kettle",
    "toaster",
    "parcel",
    "refund",
    "card",
    "gift",
    "lid",
    "seal",
    "invoice",
    "filter",
    "price",
    "driver",
]
SMALL = ["the", "of", "is", "and", "a", "to", "in"]
MARKS = [" ", ", ", ". ", "! ", " - ", ' "', '" ', " (", ") ", ": ", "\n", "_", "* "]


# --- build_index ---


@grades("lab07-build-index")
def test_index_of_random_texts(student: Student, rng: np.random.Generator) -> None:
    for _ in range(5):
        texts = [_text(rng) for _ in range(int(rng.integers(1, 8)))]
        assert student.call("build_index", texts) == _index(texts)


@grades("lab07-build-index")
def test_index_edges(student: Student, rng: np.random.Generator) -> None:
    word = _word(rng)
    assert student.call("build_index", []) == {}
    assert student.call("build_index", ["", "?!", ""]) == {}
    texts = ["", f"{word} {word.upper()}", "", f"x{word}", word.title() + "!"]
    assert student.call("build_index", texts) == {
        word: [[1, 2], [4, 1]],
        f"x{word}": [[3, 1]],
    }


# --- bm25 ---


@grades("lab07-bm25")
def test_bm25_of_random_texts(student: Student, rng: np.random.Generator) -> None:
    for _ in range(6):
        texts = [_text(rng) for _ in range(int(rng.integers(2, 10)))] + [_word(rng)]
        lengths = [len(_tokens(text)) for text in texts]
        question = [
            _pick(rng, [*NOUNS, *SMALL]) for _ in range(int(rng.integers(1, 5)))
        ]
        question += [*question[:1], "zebra"]
        got = student.call("bm25", _index(texts), lengths, question)
        _same(got, _bm25(_index(texts), lengths, question))


@grades("lab07-bm25")
def test_bm25_edges(student: Student, rng: np.random.Generator) -> None:
    lengths = [int(n) for n in rng.integers(1, 40, size=6)]
    a, b = (str(w) for w in rng.permutation(NOUNS)[:2])
    index = {a: [[2, int(rng.integers(1, 9))]], b: [[n, 1 + n % 3] for n in range(5)]}
    _same(student.call("bm25", index, lengths, []), [0.0] * 6)
    _same(student.call("bm25", index, lengths, ["zebra"]), [0.0] * 6)
    _same(student.call("bm25", {}, lengths, [a]), [0.0] * 6)
    for question in ([a], [b], [a, b], [b, a, b, "zebra"]):
        got = student.call("bm25", index, lengths, question)
        want = _bm25(index, lengths, question)
        _same(got, want)
    assert (
        student.call("bm25", index, lengths, [b])[0] > 0
    )  # 0.000001, not 0 and not below
    _same(
        student.call("bm25", {a: [[1, 3]]}, [0, 7], [a]),
        _bm25({a: [[1, 3]]}, [0, 7], [a]),
    )


# --- safe_query ---


@grades("lab07-safe-query")
def test_safe_query_of_random_questions(
    student: Student, rng: np.random.Generator
) -> None:
    for _ in range(10):
        question = _text(rng)
        stop = [
            str(w) for w in rng.permutation([*SMALL, *NOUNS])[: int(rng.integers(0, 9))]
        ]
        assert student.call("safe_query", question, stop) == _query(question, stop)


@grades("lab07-safe-query")
def test_safe_query_of_hostile_questions(
    student: Student, rng: np.random.Generator
) -> None:
    word = _word(rng)
    for question in (
        "",
        '"',
        f'{word}" OR "x',
        f"NEAR({word} b, 3)",
        f"text : {word}*",
        f"-{word} NOT AND or OR",
        f"{{a b}}: ^{word} + c_d",
        "'; DROP TABLE passage; --",
        f"Café {word.upper()} 12.50 € 3x",
        word * 500,
        " ".join([word, "b"] * 700),
    ):
        for stop in ([], SMALL, [word]):
            assert student.call("safe_query", question, stop) == _query(question, stop)
    inside = student.eval(
        "safe_query(case_text, {'the', 'of'})", case_text="The lid of it"
    )
    assert inside == '"lid" OR "it"'


# --- share ---


@grades("lab07-share")
def test_share_of_random_words(student: Student, rng: np.random.Generator) -> None:
    for _ in range(10):
        weight = {str(w): _weight(rng) for w in rng.permutation(NOUNS)[:7]}
        question = [
            _pick(rng, [*NOUNS, "peru"]) for _ in range(int(rng.integers(1, 7)))
        ]
        passage = [_pick(rng, NOUNS) for _ in range(int(rng.integers(0, 12)))]
        unknown = _weight(rng)
        got = student.call("share", question, passage, weight, unknown)
        _same([got], [_share(question, passage, weight, unknown)])


@grades("lab07-share")
def test_share_edges(student: Student, rng: np.random.Generator) -> None:
    a, b, c = (str(w) for w in rng.permutation(NOUNS)[:3])
    x, y, z = (_weight(rng) for _ in range(3))
    weight = {a: x, b: y}
    for question, passage, want in (
        ([], [a], 0.0),
        ([], [], 0.0),
        ([a, b], [], 0.0),
        ([c], [a, b], 0.0),
        ([c], [c], 1.0),
        ([a, b], [b, a, a], 1.0),
        ([a, a, b], [a], x / (x + y)),
        ([a, c, c], [a], x / (x + z)),
        ([b, c], [c, a], z / (y + z)),
    ):
        _same([student.call("share", question, passage, weight, z)], [want])


# --- best_threshold ---


@grades("lab07-best-threshold")
def test_threshold_of_random_rows(student: Student, rng: np.random.Generator) -> None:
    for _ in range(10):
        rows = [_row(rng) for _ in range(int(rng.integers(2, 30)))]
        rows.append(
            {"share": 0.5, "right": bool(rng.random() < 0.5), "answerable": True}
        )
        _same([student.call("best_threshold", rows)], [_threshold(rows)])


@grades("lab07-best-threshold")
def test_threshold_edges(student: Student, rng: np.random.Generator) -> None:
    low, high = sorted(round(float(v), 3) for v in rng.uniform([0.1, 0.6], [0.5, 0.9]))

    def row(share: float, right: bool, answerable: bool = True) -> dict[str, Any]:
        return {"share": share, "right": right, "answerable": answerable}

    for rows in (
        [row(low, True)],
        [row(low, False), row(high, False)],  # all 0: the largest
        [row(high, True), row(high, False, False), row(low, True)],  # equal shares
        [row(high, False), row(low, True)],
        [row(low, True), row(high, False, False), row(high, True)],
        [row(0.0, False, False), row(0.0, False)],
        [row(high, True), *[row(low, False, False)] * 3],
        [row(low, False, False), row(high, True), row(low, True)],
    ):
        _same([student.call("best_threshold", rows)], [_threshold(rows)])


# --- reply ---

_REPLY = """(lambda calls: [
    reply(
        case_question,
        lambda q: calls.append(["find", q]) or case_passage,
        case_threshold,
        lambda q, t: calls.append(["write", q, t]) or case_written,
    ),
    calls,
])([])"""


@grades("lab07-reply")
def test_reply_keeps_what_is_in_the_passage(
    student: Student, rng: np.random.Generator
) -> None:
    for _ in range(4):
        a, b, c = (int(n) for n in rng.permutation(np.arange(10, 99))[:3])
        text = f"It costs {a}.50 euros and takes {b} days, until 1{b % 10}:30."
        for written, kept in (
            (f"{b} days", True),
            (f"  {a}.50 euros in {b} days.\n", True),
            ("It is cheap.", True),
            (f"1{b % 10}:30", True),
            (f"{c} days", False),
            (f"{a} euros", False),
            (f"{a}.50 euros, {b} days, {c} hours", False),
            (f"{b}{b} days", False),
            ("", False),
            (" \n ", False),
        ):
            passage = _passage(rng, text)
            want = f"{written.strip() if kept else text} [{passage['source']}]"
            got, calls = _reply(student, passage, 0.3, written)
            assert got == want
            assert calls == [["find", "Which?"], ["write", "Which?", text]]


@grades("lab07-reply")
def test_reply_refuses(student: Student, rng: np.random.Generator) -> None:
    assert _reply(student, None, 0.0, "5")[0] == "I do not know."
    for _ in range(5):
        passage = _passage(rng, f"It takes {int(rng.integers(2, 9))} days.")
        share = passage["share"]
        for threshold, used in (
            (share, True),
            (share - 0.01, True),
            (share + 0.01, False),
        ):
            got, calls = _reply(student, passage, threshold, "Some days.")
            want = f"Some days. [{passage['source']}]" if used else "I do not know."
            assert got == want
            assert [kind for kind, *_ in calls] == (
                ["find", "write"] if used else ["find"]
            )


# --- helpers ---


def _reply(
    student: Student, passage: dict[str, Any] | None, threshold: float, written: str
) -> list[Any]:
    return student.eval(
        _REPLY,
        case_question="Which?",
        case_passage=passage,
        case_threshold=threshold,
        case_written=written,
    )


def _passage(rng: np.random.Generator, text: str) -> dict[str, Any]:
    share = round(float(rng.uniform(0.35, 0.9)), 3)
    return {"source": f"{_pick(rng, NOUNS)}.md", "text": text, "share": share}


def _tokens(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _index(texts: list[str]) -> dict[str, list[list[int]]]:
    index: dict[str, list[list[int]]] = {}
    for number, text in enumerate(texts):
        for word, times in Counter(_tokens(text)).items():
            index.setdefault(word, []).append([number, times])
    return index


def _bm25(
    index: dict[str, list[list[int]]], lengths: list[int], question: list[str]
) -> list[float]:
    scores, average = [0.0] * len(lengths), sum(lengths) / len(lengths)
    for word in set(question) & set(index):
        n = len(index[word])
        idf = math.log((len(lengths) - n + 0.5) / (n + 0.5))
        for number, f in index[word]:
            norm = 1.2 * (0.25 + 0.75 * lengths[number] / average)
            scores[number] += (idf if idf > 0 else 1e-6) * f * 2.2 / (f + norm)
    return scores


def _query(question: str, stop: list[str]) -> str:
    words = [word for word in dict.fromkeys(_tokens(question)) if word not in stop]
    return " OR ".join(f'"{word}"' for word in words)


def _share(
    question: list[str], passage: list[str], weight: dict[str, float], unknown: float
) -> float:
    weights = {word: weight.get(word, unknown) for word in question}
    had = sum(w for word, w in weights.items() if word in passage)
    return had / sum(weights.values())


def _threshold(rows: list[dict[str, Any]]) -> float:
    best, top = 0.0, -1.0
    answerable = sum(row["answerable"] for row in rows)
    for threshold in sorted({row["share"] for row in rows}, reverse=True):
        given = [row["right"] for row in rows if row["share"] >= threshold]
        precision, recall = sum(given) / len(given), sum(given) / answerable
        total = precision + recall
        f1 = 2 * precision * recall / total if total else 0.0
        if f1 > top + 1e-9:
            best, top = threshold, f1
    return best


def _row(rng: np.random.Generator) -> dict[str, Any]:
    answerable = bool(rng.random() < 0.6)
    share = round(
        float(rng.uniform(0.3 if answerable else 0, 1 if answerable else 0.7)), 2
    )
    right = answerable and bool(rng.random() < 0.8)
    return {"share": share, "right": right, "answerable": answerable}


def _text(rng: np.random.Generator) -> str:
    pieces = []
    for _ in range(int(rng.integers(0, 25))):
        word = _pick(rng, [*NOUNS, *SMALL, *SMALL, str(int(rng.integers(0, 30)))])
        style = _pick(rng, [str.lower, str.title, str.upper])
        pieces += [style(word), _pick(rng, MARKS)]
    return "".join(pieces)


def _word(rng: np.random.Generator) -> str:
    letters = rng.choice(list("bcdfghklmnprstvw"), size=4)
    return "".join(
        f"{letter}{vowel}" for letter, vowel in zip(letters, "aeio", strict=True)
    )


def _weight(rng: np.random.Generator) -> float:
    return round(float(rng.uniform(0.2, 5)), 3)


def _pick(rng: np.random.Generator, options: list[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _same(got: Any, want: list[float]) -> None:
    assert isinstance(got, list)
    assert len(got) == len(want)
    assert np.allclose(
        np.array(got, dtype=float), np.array(want, dtype=float), rtol=1e-6, atol=1e-12
    )
