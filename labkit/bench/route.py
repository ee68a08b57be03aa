"""``labkit bench route``: can a router tell which answers of the small way are wrong, and what is that worth?

Two ways of the same embedded model answer at least 500 requests (``route_record``), cheap and dear; both are real. Families of requests are split into
training and test, none is in both. Which classifier is used is decided on the training families alone, by grouped cross-validation; the test
families are looked at once, for the figures. Intervals come from drawing whole families again.

A perfect expert, who is right on every request, is shown beside the real dear way and marked as simulated.
"""

from __future__ import annotations

import csv
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import labkit
from labkit import desk
from labkit.bench.figures import Figure, median, share
from labkit.bench.route_record import Log, Recorded, record, registry, tool_cases
from labkit.client import Client
from labkit.config import settings
from labkit.routing import metrics
from labkit.routing.decision import Attempt, RouteRequest
from labkit.routing.learned import ClassifierRouter, Predictor, held_out_scores, logistic, table, trees
from labkit.routing.metrics import Numbers
from labkit.routing.one_pass import one_pass
from labkit.routing.signals import signals

CHEAP = "llamacpp:smollm2-135m"
VERSION = 1
"""Counted up when the cheap or the dear way changes, so that a resumed run does not mix two versions."""
PER_FAMILY = {False: 16, True: 32}
"""Tool cases of a family, in the default and in the full run."""
TEST = 0.4
"""Share of the generated families, and of the desk's kinds of requests, that are kept for the test."""
TIMED = 20
"""Requests on which the decision is timed against the small model's own time."""
STRONG_WEIGHTS = (0.0, 0.5, 1.0)
"""How much the expected success of the strong way counts in the gain; which one, the training families decide."""
MODELS: Mapping[str, Callable[[], Any]] = {"logistic": logistic, "trees": trees}


@dataclass(frozen=True)
class Split:
    """Outcomes with their signals. Arrays have one entry for each request.

    Attributes:
        rows: Signals.
        weak, strong: Whether each way was right.
        families: Where each request belongs.
    """

    rows: list[dict[str, float]]
    weak: Numbers
    strong: Numbers
    families: list[str]


def run(*, full: bool = False, strong: str = "") -> list[Figure]:
    """Record what is not recorded yet, train, and measure on the test families.

    Args:
        full: Twice as many tool cases. What was measured before is kept in the cache, and an interrupted run goes on where it stopped.
        strong: ``runtime:model`` of another model for the dear way; by default the same model, asked more often.
    """
    client = labkit.load(CHEAP)
    recorded = _recorded(client, full=full, strong=strong)
    rows = describe(recorded, PER_FAMILY[full])
    train, test = split(recorded, rows)
    router = choose(train)
    return [*_outcomes(recorded), *_figures(router, train, test), _decision_time(client, router)]


def export(path: Path, *, full: bool = False) -> None:
    """Write what is recorded as a CSV that ``labkit.routing.read_outcomes`` reads: outcomes, seconds as costs, families and signals.

    ``python -m labkit.bench.route FILE`` does it; ``data/routing/outcomes.csv`` was made so.
    """
    recorded = _recorded(labkit.load(CHEAP), full=full)
    write_csv(path, recorded, describe(recorded, PER_FAMILY[full]))


def _recorded(client: Client, *, full: bool, strong: str = "") -> list[Recorded]:
    name = "-".join(["route", str(VERSION), *re.findall(r"\w+", strong)])
    log = Log(settings().cache / "bench" / f"{name}.jsonl")
    return list(record(client, log, PER_FAMILY[full], labkit.load(strong) if strong else None))


def write_csv(path: Path, recorded: Sequence[Recorded], rows: Sequence[Mapping[str, float]]) -> None:
    """One line for each request: prompt, family, outcomes, costs in seconds, whether it is for the test, signals."""
    kept = held_out(recorded)
    with path.open("w", encoding="utf-8", newline="") as file:
        names = ("weak_correct", "strong_correct", "weak_cost", "strong_cost")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["prompt", "family", "test", *names, *rows[0]])
        for r, row in zip(recorded, rows, strict=True):
            outcome = (int(r.weak_correct), int(r.strong_correct), round(r.weak_s, 3), round(r.strong_s, 3))
            signals_ = [round(value, 4) for value in row.values()]
            writer.writerow([r.prompt, r.family, int(r.family in kept), *outcome, *signals_])


def describe(recorded: Sequence[Recorded], per_family: int) -> list[dict[str, float]]:
    """The signals of every recorded request, made from what the cheap way left behind; the model is not asked."""
    cases = {
        f"tools:{family}:{number}": case
        for family, every in tool_cases(per_family).items()
        for number, case in enumerate(every)
    }
    with tempfile.TemporaryDirectory() as folder:
        tools = desk.Desk(desk.build(Path(folder) / "desk.db")).tools()
        offered = [
            registry(cases[r.id]) if r.id in cases else tools.bind(said=r.prompt, question=r.prompt)
            for r in recorded
        ]
        return [signals(o, r.prompt, r.first) | _of_run(r) for o, r in zip(offered, recorded, strict=True)]


def _of_run(r: Recorded) -> dict[str, float]:
    return {
        "desk": float(r.family.startswith("desk_")),
        "passes": float(r.passes),
        "refused": float(r.refused),
    }


def held_out(recorded: Sequence[Recorded]) -> set[str]:
    """The test families: the last ones of the generated cases and of the desk. Our 40 cases are all for training."""
    names = list(dict.fromkeys(r.family for r in recorded if not r.family.startswith("own_")))
    sorts = [[n for n in names if n.startswith("desk_") == is_desk] for is_desk in (False, True)]
    return {name for sort in sorts for name in sort[len(sort) - round(TEST * len(sort)) :]}


def split(recorded: Sequence[Recorded], rows: Sequence[dict[str, float]]) -> tuple[Split, Split]:
    """Training and test; no family is in both."""
    kept = held_out(recorded)
    parts: list[Split] = []
    for wanted in (False, True):
        some = [i for i, r in enumerate(recorded) if (r.family in kept) == wanted]
        parts.append(
            Split(
                [rows[i] for i in some],
                np.array([recorded[i].weak_correct for i in some], dtype=float),
                np.array([recorded[i].strong_correct for i in some], dtype=float),
                [recorded[i].family for i in some],
            )
        )
    return parts[0], parts[1]


def choose(train: Split) -> ClassifierRouter:
    """The router with the best APGR on training families that its classifiers did not see."""
    names = list(train.rows[0])
    x = table(train.rows, names)
    found: list[tuple[float, str, float]] = []
    for name, make in MODELS.items():
        weak, strong = (
            1 / (1 + np.exp(-held_out_scores(x, right, train.families, make())))
            for right in (train.weak, train.strong)
        )
        for weight in STRONG_WEIGHTS:
            found.append((metrics.apgr(weight * strong - weak, train.weak, train.strong), name, weight))
    _, name, weight = max(found)
    weak, strong = (
        Predictor.fit(train.rows, right, names=names, groups=train.families, model=MODELS[name]())
        for right in (train.weak, train.strong)
    )
    return ClassifierRouter(weak, 0.5, strong, weight)


def _figures(router: ClassifierRouter, train: Split, test: Split) -> list[Figure]:
    n, families = len(test.weak), test.families
    wrong = 1 - test.weak
    doubt = np.array([-router.predictor.score(row) for row in test.rows])
    gain = np.array([router.gain(RouteRequest("recorded", signals=row)) for row in test.rows])
    margin = np.array([-row["margin_min"] for row in test.rows])
    confidence = np.array([router.predictor.probability(row) for row in test.rows])

    def figure(name: str, measure: Callable[..., float], *every: Numbers, simulated: bool = False) -> Figure:
        low, high = metrics.bootstrap(measure, *every, groups=families)
        return Figure(f"route.{name}", measure(*every), "share", n, low, high, simulated)

    def at(percent: float) -> Callable[..., float]:
        return lambda *every: metrics.cpt(metrics.curve(*every), percent)

    perfect = np.ones(n)
    return [
        Figure("route.train", len(train.weak), "requests", len(set(train.families))),
        Figure("route.test", n, "requests", len(set(families))),
        figure("auc", metrics.auc, doubt, wrong),
        figure("auc.margin", metrics.auc, margin, wrong),
        figure("apgr", metrics.apgr, gain, test.weak, test.strong),
        figure("apgr.margin", metrics.apgr, margin, test.weak, test.strong),
        figure("apgr.random", metrics.apgr, np.zeros(n), test.weak, test.strong),
        figure("apgr.oracle", metrics.apgr, metrics.oracle(test.weak, test.strong), test.weak, test.strong),
        figure("apgr.perfect_expert", metrics.apgr, doubt, test.weak, perfect, simulated=True),
        *(figure(f"cpt{p}", at(p), gain, test.weak, test.strong) for p in (20, 50, 80)),
        figure("ece", metrics.ece, confidence, test.weak),
        figure("ece.always_mean", metrics.ece, np.full(n, train.weak.mean()), test.weak),
    ]


def _outcomes(recorded: Sequence[Recorded]) -> list[Figure]:
    """What the two ways did, training and test together."""
    both = [r.strong_s / r.weak_s for r in recorded if r.first.tokens]
    return [
        share("route.weak_correct", [r.weak_correct for r in recorded]),
        share("route.strong_correct", [r.strong_correct for r in recorded]),
        median("route.weak_s", [r.weak_s for r in recorded], "s"),
        median("route.strong_s", [r.strong_s for r in recorded], "s"),
        median("route.cost_ratio", both, "ratio"),
    ]


def _decision_time(client: Client, router: ClassifierRouter) -> Figure:
    """Seconds of the decision, signals included, over seconds of the small way, on the same requests, one after the other."""
    cases = [every[0] for every in tool_cases(1).values()]
    ratios: list[float] = []
    for case in cases[:: max(1, len(cases) // TIMED)]:
        offered, words = registry(case), case.messages[-1]["content"]
        made = one_pass(client, offered, words, none=case.category == "irrelevance")
        if not made.tokens:
            continue  # the words alone decided, and no model was asked
        began = time.perf_counter()
        known = signals(offered, words, made) | {"desk": 0.0, "passes": 1.0, "refused": 0.0}
        router.route(RouteRequest(words, attempt=Attempt(made.calls, known, made.problem, made.seconds)))
        ratios.append((time.perf_counter() - began) / made.seconds)
    return median("route.decision_time_ratio", ratios, "ratio")


if __name__ == "__main__":
    export(Path(sys.argv[1]))
