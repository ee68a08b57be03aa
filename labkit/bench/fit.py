"""How the weights of ``labkit.decoding`` were made, and how to make them again: ``python -m labkit.bench.fit``.

Data: the even-numbered items of BFCL v4 simple_python, and nothing else. For the arguments, each parameter is a choice among its candidates
and the accepted ones are right (of an optional yes/no or enum that may be left out, only leaving it out is). For the tools, each request is paired with
its own function, with three functions drawn from other items, with the function that shares most words with it, and with the two that the
first fit takes for relevant.
Both are fitted by maximum likelihood with a ridge penalty. Takes about 20 minutes; the model's scores are most of it.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import labkit
from labkit.bench import bfcl
from labkit.client import Client
from labkit.config import settings
from labkit.decoding import choose, fill, rank
from labkit.decoding.evidence import Features
from labkit.decoding.lexicon import GENERIC
from labkit.decoding.text import read, stems
from labkit.decoding.values import OMIT, Candidate, Leaf
from labkit.tools import Tool, ToolRegistry

RIDGE = 1.0
STEPS = 1500
NONE_ABOVE = 0.87
"""The probability of "none" above which nothing is called: five-fold on the same pairs it leaves 5% of requests unanswered."""

Example = tuple[list[Features], list[bool]]


def main(target: Path) -> None:
    """Fit everything and write ``weights.json``."""
    client = labkit.load("llamacpp:smollm2-135m")
    cases = bfcl.load(settings(), "simple_python")[::2]
    tools = [next(iter(ToolRegistry.from_bfcl(case.functions))) for case in cases]
    weights: dict[str, Any] = {"text_only": {}, "with_model": {}}
    rank.load_weights = lambda: weights  # type: ignore[assignment]
    slots = [rank.slots(tool, read(_request(case))) for tool, case in zip(tools, cases, strict=True)]
    answers = [next(iter(case.answers[0].values())) for case in cases]
    every = [
        (slot, _right(slot, a))
        for group, a in zip(slots, answers, strict=True)
        for slot in group
        if slot.candidates
    ]
    weights["text_only"] = _by_family(every)
    for tool, case, group in zip(tools, cases, slots, strict=True):
        for slot in group:
            if slot.candidates:
                fill.ask(client, tool, _request(case), slot)
    weights["with_model"] = _by_family([(slot, right) for slot, right in every if slot.asked])
    weights["tools"] = _fit_tools(client, cases, tools)
    weights["thresholds"] = {"none": {"above": NONE_ABOVE}}
    target.write_text(json.dumps(weights, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def _request(case: bfcl.Case) -> str:
    return case.messages[-1]["content"]


def _right(slot: rank.Slot, answer: dict[str, list[Any]]) -> list[bool]:
    """Which candidates BFCL accepts."""
    accepted: list[Any] = answer.get(slot.leaf.path[0], [""])
    for name in slot.leaf.path[1:]:
        accepted = next((a[name] for a in accepted if isinstance(a, dict) and name in a), [""])
    return [_accepted(slot.leaf, c, accepted) for c in slot.candidates]


def _accepted(leaf: Leaf, candidate: Candidate, accepted: list[Any]) -> bool:
    if candidate.value is OMIT:
        return "" in accepted
    if leaf.kind in ("boolean", "choice") and not leaf.required and "" in accepted:
        return False
    same_kind = [a for a in accepted if a != "" and isinstance(a, bool) == isinstance(candidate.value, bool)]
    return _standard(candidate.value) in [_standard(a) for a in same_kind]


def _standard(value: Any) -> Any:
    return [_standard(v) for v in value] if isinstance(value, list) else bfcl.standard(value)


def _by_family(slots: Sequence[tuple[rank.Slot, list[bool]]]) -> rank.Weights:
    examples: dict[str, list[Example]] = defaultdict(list)
    for slot, right in slots:
        if any(right) and not all(right):
            examples[rank.family(slot.leaf)].append((slot.evidence, right))
    return {family: fit(found) for family, found in examples.items()}


def fit(examples: Sequence[Example], ridge: float = RIDGE) -> dict[str, float]:
    """Weights that make the right candidates probable: gradient ascent (Adam) on their log-likelihood less a ridge penalty."""
    names = sorted({name for rows, _ in examples for row in rows for name in row})
    tables = [
        (np.array([[row.get(n, 0.0) for n in names] for row in rows]), np.array(right))
        for rows, right in examples
    ]
    weights, mean, square = (np.zeros(len(names)) for _ in range(3))
    for step in range(1, STEPS + 1):
        gradient = sum((_gradient(x, right, weights) for x, right in tables), start=-2 * ridge * weights)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weights = weights + 0.03 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-9)
    return {name: round(float(w), 2) for name, w in zip(names, weights, strict=True) if abs(w) >= 0.005}


def _gradient(
    x: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    scores = x @ weights
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return x.T @ (np.where(right, shares / max(shares[right].sum(), 1e-12), 0.0) - shares)


def _fit_tools(client: Client, cases: Sequence[bfcl.Case], tools: Sequence[Tool]) -> rank.Weights:
    """Fit by words on drawn pairs; then with the pairs added that these weights take for relevant, by words and with the model."""
    pairs = _pairs(cases, tools)
    first = fit(
        [_example(choose.relevance(tools[j], read(_request(cases[i]))), i == j) for i, j in pairs], 0.5
    )
    pairs += _hardest(cases, tools, first)
    plain: list[Example] = []
    full: list[Example] = []
    for i, j in pairs:
        request = _request(cases[i])
        evidence = choose.relevance(tools[j], read(request))
        gain = choose.gains(client, [tools[j]], request)[0]
        plain.append(_example(evidence, i == j))
        full.append(_example({**evidence, "model:gain": gain}, i == j))
    return {"relevance": fit(plain, 0.5), "relevance_with_model": fit(full, 0.5)}


def _example(evidence: Features, own: bool) -> Example:
    """A choice between this tool and none, whose score is 0."""
    return [choose.bend(evidence), {}], [own, not own]


def _pairs(cases: Sequence[bfcl.Case], tools: Sequence[Tool]) -> list[tuple[int, int]]:
    """Pairs of a request and a tool: its own, three drawn ones, and the one of another purpose with most of its words."""
    rng, words = random.Random(0), [_words(tool) for tool in tools]
    pairs: list[tuple[int, int]] = []
    for i, case in enumerate(cases):
        others = [j for j in range(len(tools)) if j != i]
        said = stems(_request(case))
        drawn = rng.sample(others, 3)
        nearest = max(_different(i, words), key=lambda j: len(words[j] & said) / max(1, len(words[j])))
        pairs += [(i, i), *((i, j) for j in drawn), (i, nearest)]
    return pairs


def _hardest(
    cases: Sequence[bfcl.Case], tools: Sequence[Tool], weights: dict[str, float]
) -> list[tuple[int, int]]:
    """For each request, the two tools of another purpose that the weights think most relevant."""
    words = [_words(tool) for tool in tools]
    pairs: list[tuple[int, int]] = []
    for i, case in enumerate(cases):
        reading = read(_request(case))
        scores = {
            j: sum(
                weights.get(k, 0.0) * v for k, v in choose.bend(choose.relevance(tools[j], reading)).items()
            )
            for j in _different(i, words)
        }
        pairs += [(i, j) for j in sorted(scores, key=lambda j: -scores[j])[:2]]
    return pairs


def _words(tool: Tool) -> frozenset[str]:
    return (stems(tool.name) | stems(tool.description)) - GENERIC


def _different(i: int, words: Sequence[frozenset[str]]) -> list[int]:
    """Tools of another purpose: they share at most a third of their words with tool ``i``."""
    shorter = [max(1, min(len(words[i]), len(w))) for w in words]
    return [j for j in range(len(words)) if j != i and len(words[i] & words[j]) <= 0.34 * shorter[j]]


if __name__ == "__main__":
    main(Path(rank.__file__).with_name("weights.json"))
