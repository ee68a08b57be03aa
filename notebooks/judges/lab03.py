"""Judge of lab 03.

Every case is generated from the seed; expected values stay in this process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from labkit.grading import Student, StudentError, grades

SIZES = {
    "F32": (1, 4),
    "F16": (1, 2),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q4_K": (256, 144),
    "Q6_K": (256, 210),
}


# --- round_blocks ---


@grades("lab03-round-blocks")
def test_round_blocks_values(student: Student, rng: np.random.Generator) -> None:
    for _ in range(6):
        bits, block = int(rng.integers(2, 9)), int(rng.choice([1, 2, 8, 16, 32, 64]))
        scale = float(10 ** rng.uniform(-4, 3))
        weights = _clear_of_ties(rng, bits, block, int(rng.integers(1, 6))) * scale
        codes, scales = _round_blocks(weights, bits, block)
        got = _rounded(student, weights, bits, f", block={block}")
        assert got["integers"]
        assert np.array_equal(np.asarray(got["codes"]), codes)
        assert np.allclose(got["scales"], scales, rtol=1e-4, atol=0)


@grades("lab03-round-blocks")
def test_round_blocks_edges(student: Student, rng: np.random.Generator) -> None:
    weights = _clear_of_ties(rng, 4, 32, 3)
    codes, scales = _round_blocks(weights, 4, 32)
    got = _rounded(student, weights, 4)  # blocks of 32 unless told otherwise
    assert np.array_equal(np.asarray(got["codes"]), codes)
    weights[32:64] = 0.0
    codes, scales = _round_blocks(weights, 4, 32)
    got = _rounded(student, weights, 4)
    assert np.array_equal(np.asarray(got["codes"]), codes)
    assert np.allclose(got["scales"], scales)
    zeros = _rounded(student, np.zeros(16), 2, ", block=8")
    assert np.array_equal(np.asarray(zeros["codes"]), np.zeros((2, 8)))
    assert list(zeros["scales"]) == [0, 0]
    down = -np.abs(_clear_of_ties(rng, 8, 16, 1))  # the largest weight is negative
    got = _rounded(student, down, 8, ", block=16")
    assert np.min(got["codes"]) == -127
    assert np.array_equal(np.asarray(got["codes"]), _round_blocks(down, 8, 16)[0])


# --- average_bits ---


@grades("lab03-average-bits")
def test_average_bits_values(student: Student, rng: np.random.Generator) -> None:
    for _ in range(8):
        tensors = [_tensor(rng) for _ in range(int(rng.integers(1, 9)))]
        got = student.call("average_bits", tensors, SIZES)
        assert np.isclose(got, _average_bits(tensors, SIZES), rtol=1e-6)
    sizes = {
        "own": (int(rng.integers(2, 9)), int(rng.integers(1, 30)))
    }  # a table of the judge's
    tensors = [((int(rng.integers(1, 9)), 7 * sizes["own"][0]), "own")]
    assert np.isclose(
        student.call("average_bits", tensors, sizes), _average_bits(tensors, sizes)
    )
    cube = [((3, 5, 64), "Q4_0"), ((1,), "F32")]
    assert np.isclose(
        student.call("average_bits", cube, SIZES), _average_bits(cube, SIZES)
    )


@grades("lab03-average-bits")
def test_average_bits_refuses_broken_rows(
    student: Student, rng: np.random.Generator
) -> None:
    for kind, row in (("Q4_0", 16), ("Q4_K", 576), ("Q6_K", 128), ("Q8_0", 33)):
        shape = (
            256 * int(rng.integers(1, 9)),
            row,
        )  # enough weights in all, but no whole rows
        tensors = rng.permutation(np.array([0, 1]))
        pair = [(shape, kind), ((64,), "F32")]
        given = [pair[int(i)] for i in tensors]
        refused = False
        try:
            student.call("average_bits", given, SIZES)
        except StudentError as error:
            refused = "ValueError" in str(error)
        assert refused


# --- unpack_q4_1 ---


@grades("lab03-unpack-q4-1")
def test_unpack_blocks(student: Student, rng: np.random.Generator) -> None:
    for n in (1, 2, int(rng.integers(3, 40))):
        raw, want = _q4_1(rng, n)
        got = student.eval(
            "unpack_q4_1(__import__('numpy').array(case_raw, dtype='uint8'))",
            case_raw=raw.tolist(),
        )
        assert np.shape(got) == (32 * n,)
        assert np.allclose(got, want, rtol=1e-4, atol=1e-6)


@grades("lab03-unpack-q4-1")
def test_unpack_leaves_its_bytes_alone(
    student: Student, rng: np.random.Generator
) -> None:
    raw, _ = _q4_1(rng, 4)
    look = (
        "(lambda given: [unpack_q4_1(given), given.tolist()][1])"
        "(__import__('numpy').array(case_raw, dtype='uint8'))"
    )
    assert student.eval(look, case_raw=raw.tolist()) == raw.tolist()


# --- kl ---


@grades("lab03-kl")
def test_kl_values(student: Student, rng: np.random.Generator) -> None:
    for _ in range(6):
        n = int(rng.integers(2, 300))
        p = rng.normal(scale=float(rng.uniform(0.5, 6)), size=n)
        q = p + rng.normal(scale=float(rng.uniform(0.1, 3)), size=n)
        assert np.isclose(student.call("kl", p, q), _kl(p, q), rtol=1e-4, atol=1e-6)
        assert np.isclose(student.call("kl", q, p), _kl(q, p), rtol=1e-4, atol=1e-6)


@grades("lab03-kl")
def test_kl_edges(student: Student, rng: np.random.Generator) -> None:
    p = rng.normal(size=9)
    shift = float(rng.uniform(1000, 9000))
    assert abs(student.call("kl", p, p)) < 1e-6
    assert abs(student.call("kl", p + shift, p - shift)) < 1e-6
    gap = float(rng.uniform(1500, 4000))
    far = np.array([0.0, -gap, 0.0, -2 * gap])
    assert np.isclose(
        student.call("kl", far, far[::-1]), _kl(far, far[::-1]), rtol=1e-4
    )
    assert np.isclose(
        student.call("kl", far + shift, far[::-1]), _kl(far, far[::-1]), rtol=1e-4
    )


# --- perplexity ---


@grades("lab03-perplexity")
def test_perplexity_values(student: Student, rng: np.random.Generator) -> None:
    for n in (2, 3, int(rng.integers(4, 30))):
        size = int(rng.integers(2, 50))
        logits = rng.normal(scale=2, size=(n, size)) + rng.normal(
            scale=300, size=(n, 1)
        )
        tokens = [int(t) for t in rng.integers(0, size, size=n)]
        got = student.call("perplexity", logits, tokens)
        assert np.isclose(got, _perplexity(logits, tokens), rtol=1e-4)


@grades("lab03-perplexity")
def test_perplexity_edges(student: Student, rng: np.random.Generator) -> None:
    size = int(rng.integers(3, 40))
    tokens = [int(t) for t in rng.integers(0, size, size=6)]
    assert np.isclose(
        student.call("perplexity", np.zeros((6, size)), tokens), size, rtol=1e-4
    )
    sure = np.zeros((6, size))
    for i, token in enumerate(tokens[1:]):
        sure[i, token] = 800.0
    assert np.isclose(student.call("perplexity", sure, tokens), 1.0, rtol=1e-4)
    last = rng.normal(size=(6, size))
    other = last.copy()
    other[-1] = rng.normal(size=size) * 50  # judged by nothing
    first = [(tokens[0] + 1) % size, *tokens[1:]]  # never judged
    for logits, ids in ((last, tokens), (other, tokens), (other, first)):
        assert np.isclose(
            student.call("perplexity", logits, ids),
            _perplexity(last, tokens),
            rtol=1e-4,
        )


# --- choose_version ---


@grades("lab03-choose-version")
def test_choose_version_values(student: Student, rng: np.random.Generator) -> None:
    for _ in range(12):
        versions = [_version(rng, i) for i in range(int(rng.integers(1, 9)))]
        device = {
            "disk_mb": float(rng.choice([80, 120, 200])),
            "ram_mb": float(rng.choice([100, 150, 300])),
            "min_tokens_per_s": float(rng.choice([5, 20, 35])),
        }
        assert student.call("choose_version", versions, device) == _choose(
            versions, device
        )


@grades("lab03-choose-version")
def test_choose_version_edges(student: Student, rng: np.random.Generator) -> None:
    version = _version(rng, 0)
    device = {
        "disk_mb": version["file_mb"],
        "ram_mb": version["ram_mb"],
        "min_tokens_per_s": version["tokens_per_s"],
    }
    assert student.call("choose_version", [version], device) == version["name"]
    for key, step in (("disk_mb", -1), ("ram_mb", -1), ("min_tokens_per_s", 1)):
        assert (
            student.call(
                "choose_version", [version], device | {key: device[key] + step}
            )
            is None
        )
    assert student.call("choose_version", [], device) is None
    twins = [
        {**version, "name": f"v{i}", "file_mb": version["file_mb"] - int(i)}
        for i in rng.permutation(4)
    ]
    assert student.call("choose_version", twins, device) == "v3"
    perfect = {**version, "name": "perfect", "kl": 0.0}
    assert student.call("choose_version", [version, perfect], device) == "perfect"


# Expressions evaluated in the learner's kernel. They hold no expected value.

_ROUNDED = (
    "(lambda np: (lambda made: {'codes': np.asarray(made[0]).tolist(), 'scales': np.asarray(made[1], dtype=float).tolist(),"
    " 'integers': bool(np.issubdtype(np.asarray(made[0]).dtype, np.integer))})"
    "(round_blocks(case_weights, case_bits%s)))(__import__('numpy'))"
)


def _rounded(student: Student, weights: Any, bits: int, more: str = "") -> Any:
    return student.eval(_ROUNDED % more, case_weights=weights, case_bits=bits)


# The judge's own answers, and its cases.


def _clear_of_ties(rng: np.random.Generator, bits: int, block: int, n: int) -> Any:
    """Weights that lie well inside a step, so that the last digit of a division decides nothing."""
    largest = 2 ** (bits - 1) - 1
    codes = rng.integers(-largest, largest + 1, size=(n, block)) + rng.uniform(
        -0.4, 0.4, size=(n, block)
    )
    codes = np.clip(codes, -largest, largest)
    codes[np.arange(n), rng.integers(0, block, size=n)] = largest * rng.choice(
        [-1, 1], size=n
    )
    return (codes * rng.uniform(0.1, 2, size=(n, 1))).ravel()


def _round_blocks(weights: Any, bits: int, block: int) -> tuple[Any, Any]:
    rows = weights.reshape(-1, block)
    scales = np.abs(rows).max(axis=1) / (2 ** (bits - 1) - 1)
    return np.rint(rows / np.where(scales > 0, scales, 1)[:, None]).astype(int), scales


def _tensor(rng: np.random.Generator) -> tuple[list[int], str]:
    kind = str(rng.choice(list(SIZES)))
    row = SIZES[kind][0] * int(rng.integers(1, 9))
    return [
        *(int(n) for n in rng.integers(1, 60, size=int(rng.integers(0, 3)))),
        row,
    ], kind


def _average_bits(tensors: Any, sizes: dict[str, tuple[int, int]]) -> float:
    weights = [int(np.prod(shape)) for shape, _ in tensors]
    total = sum(
        n // sizes[kind][0] * sizes[kind][1]
        for n, (_, kind) in zip(weights, tensors, strict=True)
    )
    return 8 * total / sum(weights)


def _q4_1(rng: np.random.Generator, n: int) -> tuple[Any, Any]:
    numbers = (rng.normal(size=(n, 2)) * [0.02, 0.2]).astype("<f2")
    codes = rng.integers(0, 16, size=(n, 32))
    packed = (codes[:, :16] | codes[:, 16:] << 4).astype(np.uint8)
    raw = np.concatenate([numbers.view(np.uint8).reshape(n, 4), packed], axis=1)
    exact = numbers.astype(float)
    return raw.ravel(), (exact[:, :1] * codes + exact[:, 1:]).ravel()


def _log_softmax(logits: Any) -> Any:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _kl(p: Any, q: Any) -> float:
    log_p, log_q = _log_softmax(p), _log_softmax(q)
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def _perplexity(logits: Any, tokens: list[int]) -> float:
    came = _log_softmax(logits[:-1])[np.arange(len(tokens) - 1), tokens[1:]]
    return float(np.exp(-came.mean()))


def _version(rng: np.random.Generator, i: int) -> dict[str, Any]:
    return {
        "name": f"v{i}",
        "file_mb": float(rng.integers(60, 250)),
        "ram_mb": float(rng.integers(80, 350)),
        "tokens_per_s": float(rng.integers(3, 60)),
        "kl": float(round(rng.uniform(0.001, 0.5), 4)),
    }


def _choose(versions: list[dict[str, Any]], device: dict[str, float]) -> str | None:
    fitting = [
        v
        for v in versions
        if v["file_mb"] <= device["disk_mb"]
        and v["ram_mb"] <= device["ram_mb"]
        and v["tokens_per_s"] >= device["min_tokens_per_s"]
    ]
    fitting.sort(key=lambda v: (v["kl"], v["file_mb"]))
    return fitting[0]["name"] if fitting else None
