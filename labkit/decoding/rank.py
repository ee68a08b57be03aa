"""Ranking a tool's possible arguments: evidence times weights, then the best combination that uses no word twice.

Each parameter's candidates get a score, a weighted sum of features, and a softmax over them makes it a log-probability. A beam search over
the parameters then adds up log-probabilities and takes a penalty where two parameters claim the same words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from labkit.decoding.evidence import Features, Question, of_boolean, of_choice, of_number, of_omit
from labkit.decoding.evidence_text import of_array, of_string
from labkit.decoding.parameters import OMIT, Leaf, leaves
from labkit.decoding.text import Reading
from labkit.decoding.values import Candidate, candidates
from labkit.tools import Tool

BEAM = 24
CLAIM_TWICE = 4.0
"""Penalty, in nats, for two parameters of one kind that claim the same words."""
CLAIM_ACROSS = 1.5
"""The same between a number and a text."""
CERTAIN = 0.97
"""Above this probability of the best candidate the model is not asked."""
SHORTLIST = 8
"""Candidates of one parameter that the model scores."""

Weights = dict[str, dict[str, float]]
_OF_KIND = {
    "string": of_string,
    "number": of_number,
    "integer": of_number,
    "boolean": of_boolean,
    "choice": of_choice,
    "array": of_array,
}


@dataclass
class Slot:
    """A parameter, its candidates and what speaks for each of them."""

    leaf: Leaf
    candidates: list[Candidate]
    evidence: list[Features] = field(repr=False)
    asked: bool = False

    def logprobs(self) -> list[float]:
        """Log-probability (natural log) of each candidate, with the model's word if it was asked."""
        weights = load_weights()["with_model" if self.asked else "text_only"].get(family(self.leaf), {})
        return log_shares([sum(weights.get(k, 0.0) * v for k, v in f.items()) for f in self.evidence])

    def shortlist(self) -> list[int]:
        """Indices of the candidates to ask the model about; empty where the text alone decides."""
        logprobs = self.logprobs()
        if family(self.leaf) not in ("string", "number", "array") or math.exp(max(logprobs)) > CERTAIN:
            return []
        values = [i for i, c in enumerate(self.candidates) if c.value is not OMIT]
        best = sorted(values, key=lambda i: -logprobs[i])[:SHORTLIST]
        return best if len(best) > 1 else []

    def add_model(self, scores: dict[int, tuple[float, int]]) -> None:
        """Add the model's log-probability and token count of some candidates to the evidence."""
        top = max(logprob for logprob, _ in scores.values())
        top_each = max(logprob / tokens for logprob, tokens in scores.values())
        for i, features in enumerate(self.evidence):
            if i in scores:
                logprob, tokens = scores[i]
                features["model"] = max(-12.0, logprob - top) / 4
                features["model:per_token"] = max(-3.0, logprob / tokens - top_each)
            elif self.candidates[i].value is not OMIT:
                features["model:not_asked"] = 1.0
        self.asked = True


def slots(tool: Tool, reading: Reading) -> list[Slot]:
    """The tool's parameters with their candidates and the evidence in the request's text."""
    every = tuple(leaves(tool.parameters))
    found: list[Slot] = []
    for leaf in every:
        question, values = Question(tool, leaf, every, reading), candidates(leaf, reading)
        score = _OF_KIND.get(leaf.kind)
        evidence = [
            of_omit(question) if c.value is OMIT else score(question, c) if score else {} for c in values
        ]
        found.append(Slot(leaf, values, evidence))
    return found


def best(filled: Sequence[Slot]) -> tuple[list[Candidate], float]:
    """The best combination of candidates, one for each slot, and the sum of their log-probabilities less penalties."""
    beams: list[tuple[float, list[Candidate]]] = [(0.0, [])]
    for slot in filled:
        logprobs = slot.logprobs()
        order = sorted(range(len(logprobs)), key=lambda i: -logprobs[i])[:12]
        grown = [
            (
                total + logprobs[i] - _claimed(slot, slot.candidates[i], filled, chosen),
                [*chosen, slot.candidates[i]],
            )
            for total, chosen in beams
            for i in order
        ]
        beams = sorted(grown, key=lambda beam: -beam[0])[:BEAM]
    total, chosen = beams[0]
    return chosen, total


def _claimed(slot: Slot, candidate: Candidate, filled: Sequence[Slot], chosen: Sequence[Candidate]) -> float:
    penalty = 0.0
    for other, taken in zip(filled, chosen, strict=False):
        if any(a.overlaps(b) for a in candidate.spans for b in taken.spans):
            penalty += CLAIM_TWICE if family(other.leaf) == family(slot.leaf) else CLAIM_ACROSS
    return penalty


def family(leaf: Leaf) -> str:
    """The kinds that share weights."""
    return "number" if leaf.kind == "integer" else leaf.kind


def log_shares(scores: Sequence[float]) -> list[float]:
    """Log-softmax of a few numbers."""
    top = max(scores)
    total = top + math.log(sum(math.exp(s - top) for s in scores))
    return [s - total for s in scores]


@cache
def load_weights() -> dict[str, Weights]:
    """The fitted weights; ``labkit/bench/fit.py`` says how they were made and makes them again."""
    return json.loads(files("labkit.decoding").joinpath("weights.json").read_text("utf-8"))
