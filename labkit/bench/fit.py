"""How the weights of ``labkit.decoding`` were made, and how to make them again: ``python -m labkit.bench.fit``.

Data: the even-numbered items of BFCL v4 simple_python, and ``data/tools/choosing.jsonl``, which was written for this. For the arguments, each
parameter of an even item is a choice among its candidates and the accepted ones are right (of an optional yes/no or enum that may be
left out, only leaving it out is). For the tools, each even item's request is paired with its own function, with three functions drawn from
other items, and with the function of another purpose that shares most words with it; and each of our own requests with every function of its list.
(Functions that a first fit takes for relevant are no good as further misfits: some do fit, and the fit unlearns what it should learn.)

Everything is fitted by maximum likelihood with a ridge penalty. The threshold for "none" is set so that five-fold on the even items a share
of ``FALSE_NONE`` of the requests gets no call. A score does not depend on what was asked before, so the same model and engine give the same file again;
another machine may round scores differently, by some hundredths of a nat for a token, and move weights by as much. It takes about 20 minutes, most
of it for the model's scores; they are kept in the cache, so that a second run takes one.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import labkit
from labkit import data
from labkit.bench import bfcl
from labkit.client import Client
from labkit.config import settings
from labkit.decoding import choose, fill, rank
from labkit.decoding.evidence import Features
from labkit.decoding.lexicon import GENERIC
from labkit.decoding.parameters import OMIT, Leaf
from labkit.decoding.relevance import bend, relevance
from labkit.decoding.text import read, stems
from labkit.decoding.values import Candidate
from labkit.messages import Message, Scored
from labkit.tools import Tool, ToolRegistry

RIDGE = 1.0
STEPS = 1500
RIDGE_TOOLS = 1 / 6
FALSE_NONE = 0.05
"""Share of requests with a fitting function that may be left unanswered."""
OWN_WEIGHT = 3.0
"""How much a pair of our own with a single function counts: its misfits come nearest to what a user asks in vain."""
FOLDS = 5

Example = tuple[list[Features], list[bool]]


@dataclass(frozen=True)
class Pair:
    """A request and a tool, whether they fit, how much the pair counts, and the even item that it is from (None: our own)."""

    request: str
    tool: Tool
    fits: bool
    weight: float = 1.0
    item: int | None = None


def main(target: Path) -> None:
    """Fit everything and write ``weights.json``."""
    scores = Remembered(labkit.load("llamacpp:smollm2-135m"), settings().cache / "bench" / "fit-scores.jsonl")
    client: Client = scores  # type: ignore[assignment]
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
    weights["tools"], above = fit_tools(client, [_request(case) for case in cases], tools)
    weights["thresholds"] = {"none": {"above": above}}
    target.write_text(json.dumps(weights, indent=0, sort_keys=True) + "\n", encoding="utf-8")


class Remembered:
    """A client that keeps its scores in a file, so that fitting again asks the model nothing twice."""

    def __init__(self, client: Client, path: Path) -> None:
        self._client, self._path = client, path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self._known: dict[str, tuple[float, int]] = {key: (a, b) for key, a, b in map(json.loads, lines)}

    def score(self, messages: Sequence[Message], choices: Sequence[str]) -> list[Scored]:
        """As ``Client.score``; the shares are left out, nothing here needs them."""
        head = repr(messages)
        keys = {c: hashlib.sha256(f"{head}\n{c}".encode()).hexdigest() for c in choices}
        todo = [c for c in choices if keys[c] not in self._known]
        if todo:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                for s in self._client.score(messages, todo):
                    self._known[keys[s.choice]] = (s.logprob, s.tokens)
                    file.write(json.dumps([keys[s.choice], s.logprob, s.tokens]) + "\n")
        return [Scored(c, *self._known[keys[c]], 0.0) for c in choices]


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
    return _named(names, weights)


def _gradient(
    x: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    scores = x @ weights
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return x.T @ (np.where(right, shares / max(shares[right].sum(), 1e-12), 0.0) - shares)


def _named(names: Sequence[str], weights: NDArray[np.float64]) -> dict[str, float]:
    return {name: round(float(w), 2) for name, w in zip(names, weights, strict=True) if abs(w) >= 0.005}


# --- choosing ---


def fit_tools(client: Client, requests: Sequence[str], tools: Sequence[Tool]) -> tuple[rank.Weights, float]:
    """The weights by words and with the model, and the probability of "none" above which nothing is called."""
    pairs = _drawn(requests, tools) + own_pairs()
    words = [relevance(p.tool, read(p.request)) for p in pairs]
    full = [w | model for w, model in zip(words, _opinions(client, pairs), strict=True)]
    weights = {"relevance": logistic(pairs, words), "relevance_with_model": logistic(pairs, full)}
    log_odds = held_out(pairs, words, full)
    lowest = float(
        np.quantile(
            [s for p, s in zip(pairs, log_odds, strict=True) if p.item is not None and p.fits], FALSE_NONE
        )
    )
    none_above = round(20 / (1 + math.exp(lowest))) / 20  # in steps of 0.05: two hundred requests say no more
    return weights, none_above


def _opinions(client: Client, pairs: Sequence[Pair]) -> list[Features]:
    """The model's evidence on each pair; all tools of a request at once."""
    together: dict[str, list[int]] = defaultdict(list)
    for i, pair in enumerate(pairs):
        together[pair.request].append(i)
    found: list[Features] = [{} for _ in pairs]
    for request, members in together.items():
        said = choose.opinions(client, [pairs[i].tool for i in members], request)
        for i, model in zip(members, said, strict=True):
            found[i] = model
    return found


def own_pairs() -> list[Pair]:
    """Each of our own requests with every function of its list."""
    pairs: list[Pair] = []
    for line in data.path("tools/choosing.jsonl").read_text(encoding="utf-8").splitlines():
        group = json.loads(line)
        tools = list(ToolRegistry.from_bfcl(group["functions"]))
        weight = OWN_WEIGHT if len(tools) == 1 else 1.0
        pairs += [Pair(r, tool, tool.name == name, weight) for r, name in group["requests"] for tool in tools]
    return pairs


def logistic(pairs: Sequence[Pair], evidence: Sequence[Features]) -> dict[str, float]:
    """Log-odds of fitting as a weighted sum of the bent evidence: Newton's method on the likelihood less a ridge penalty."""
    rows = [bend(e) for e in evidence]
    names = sorted({name for row in rows for name in row})
    x = np.array([[row.get(n, 0.0) for n in names] for row in rows])
    y, counts = np.array([p.fits for p in pairs], dtype=float), np.array([p.weight for p in pairs])
    weights = np.zeros(len(names))
    for _ in range(30):
        shares = 1 / (1 + np.exp(-(x @ weights)))
        gradient = x.T @ (counts * (y - shares)) - 2 * RIDGE_TOOLS * weights
        curvature = (x.T * (counts * shares * (1 - shares))) @ x + 2 * RIDGE_TOOLS * np.eye(len(names))
        weights = weights + np.linalg.solve(curvature, gradient)
    return _named(names, weights)


def held_out(pairs: Sequence[Pair], words: Sequence[Features], full: Sequence[Features]) -> list[float]:
    """Log-odds of each pair by weights fitted without its item, as ``choose`` would see them; our own pairs by all weights."""
    found = [0.0] * len(pairs)
    for fold in range(FOLDS + 1):
        test = [i for i, p in enumerate(pairs) if (FOLDS if p.item is None else p.item % FOLDS) == fold]
        left = [i for i in range(len(pairs)) if fold == FOLDS or i not in set(test)]
        some = [pairs[i] for i in left]
        by_words, with_model = (logistic(some, [e[i] for i in left]) for e in (words, full))
        for i in test:
            alone, both = _sum(by_words, words[i]), _sum(with_model, full[i])
            found[i] = alone if 1 / (1 + math.exp(-abs(alone))) >= choose.CERTAIN else both
    return found


def _sum(weights: dict[str, float], evidence: Features) -> float:
    return sum(weights.get(k, 0.0) * v for k, v in bend(evidence).items())


def _drawn(requests: Sequence[str], tools: Sequence[Tool]) -> list[Pair]:
    """A request with its own tool, three drawn ones, and the one of another purpose with most of its words."""
    rng, words = random.Random(0), [_words(tool) for tool in tools]
    pairs: list[Pair] = []
    for i, request in enumerate(requests):
        others, said = [j for j in range(len(tools)) if j != i], stems(request)
        drawn = rng.sample(others, 3)
        nearest = max(_different(i, words), key=lambda j: len(words[j] & said) / max(1, len(words[j])))
        pairs += [Pair(request, tools[j], i == j, item=i) for j in (i, *drawn, nearest)]
    return pairs


def _words(tool: Tool) -> frozenset[str]:
    return (stems(tool.name) | stems(tool.description)) - GENERIC


def _different(i: int, words: Sequence[frozenset[str]]) -> list[int]:
    """Tools of another purpose: they share at most a third of their words with tool ``i``."""
    shorter = [max(1, min(len(words[i]), len(w))) for w in words]
    return [j for j in range(len(words)) if j != i and len(words[i] & words[j]) <= 0.34 * shorter[j]]


if __name__ == "__main__":
    main(Path(rank.__file__).with_name("weights.json"))
