"""How good a router is: the curve of quality over cost, and what it says about its own certainty.

A router orders requests by *gain*, highest first: how much it expects the strong model to add. Moving its threshold sends more and more of that
order to the strong model. Requests with the same gain cannot be told apart, so they go together; between two such points the curve is straight,
which is the expectation of sending some of them at random. A router that knows nothing has one point at each end.

PGR, APGR and CPT as in RouteLLM (Ong et al. 2024, arXiv:2406.18665); ECE with bins of equal mass (Nixon et al. 2019, arXiv:1904.01685).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labkit.errors import ConfigError

Numbers = NDArray[np.float64]
PER_BIN = 50
"""Requests that a bin of the calibration error has at least, as long as there are enough for two bins."""


@dataclass(frozen=True)
class Curve:
    """Quality and cost as the threshold falls. All arrays have one entry for each point, from all-weak to all-strong.

    Attributes:
        share: Share of requests at the strong model, 0 to 1, rising.
        quality: Share of right answers.
        cost: Mean cost of a request.
        threshold: Requests of at least this gain go to the strong model; infinite for none.
    """

    share: Numbers
    quality: Numbers
    cost: Numbers
    threshold: Numbers

    @property
    def recovered(self) -> Numbers:
        """Performance gap recovered (PGR): 0 where quality is the weak model's, 1 where it is the strong one's.

        Raises:
            ConfigError: The strong model is no better than the weak one, so there is no gap.
        """
        gap = self.quality[-1] - self.quality[0]
        if gap <= 0:
            raise ConfigError(
                f"The strong model is right in {self.quality[-1]:.1%} and the weak one in {self.quality[0]:.1%}: there is no gap.",
                "Compare with a model that is better on these requests.",
            )
        return (self.quality - self.quality[0]) / gap

    def at(self, share: float) -> float:
        """Quality with this share of requests at the strong model."""
        return float(np.interp(share, self.share, self.quality))


def curve(
    gain: ArrayLike,
    weak: ArrayLike,
    strong: ArrayLike,
    weak_cost: ArrayLike = 0.0,
    strong_cost: ArrayLike = 1.0,
) -> Curve:
    """The curve of a router.

    Args:
        gain: For each request, what the router expects the strong model to add; any scale.
        weak, strong: Whether each model is right, 0 or 1.
        weak_cost, strong_cost: What each answer costs; one number for all, or one for each request.

    Raises:
        ConfigError: The columns are empty, not equally long, or hold what is not a number.
    """
    g, w, s = columns(gain=gain, weak=weak, strong=strong)
    costs = columns(weak_cost=_full(weak_cost, g), strong_cost=_full(strong_cost, g))
    order = np.argsort(-g, kind="stable")
    last = np.append(np.flatnonzero(np.diff(g[order])), len(g) - 1)  # of each group of equal gains
    points = np.concatenate([[0], last + 1])

    def path(before: Numbers, after: Numbers) -> Numbers:
        return (before.sum() + np.concatenate([[0.0], np.cumsum((after - before)[order])])[points]) / len(g)

    return Curve(points / len(g), path(w, s), path(*costs), np.concatenate([[np.inf], g[order][last]]))


def apgr(gain: ArrayLike, weak: ArrayLike, strong: ArrayLike) -> float:
    """Average PGR: the area under PGR over the share of strong answers. 0.5 for a router that knows nothing."""
    made = curve(gain, weak, strong)
    return float(np.trapezoid(made.recovered, made.share))


def cpt(made: Curve, percent: float) -> float:
    """Call-performance threshold: the smallest share of strong answers that recovers this part of the gap, in percent.

    The curve may fall again after it rose, so this is the first point that reaches it, not an inverse of the whole curve.
    """
    recovered = made.recovered
    i = int(np.argmax(recovered >= percent / 100 - 1e-12))
    if i == 0:
        return 0.0
    low, high = recovered[i - 1], recovered[i]
    part = (percent / 100 - low) / (high - low)
    return float(made.share[i - 1] + part * (made.share[i] - made.share[i - 1]))


def oracle(weak: ArrayLike, strong: ArrayLike) -> Numbers:
    """The gains that a router would need to know: 1 where only the strong model is right, -1 where only the weak one is."""
    w, s = columns(weak=weak, strong=strong)
    return s - w


def random_router(weak: ArrayLike, strong: ArrayLike) -> Curve:
    """The expected curve of sending requests at random: a straight line."""
    (w,) = columns(weak=weak)
    return curve(np.zeros(len(w)), w, strong)


def auc(score: ArrayLike, event: ArrayLike) -> float:
    """Probability that the score of a request with the event is above that of one without it; a tie counts half.

    Raises:
        ConfigError: Every request has the event, or none has.
    """
    s, e = columns(score=score, event=event)
    if not 0 < e.sum() < len(e):
        raise ConfigError(
            "All requests ended the same way, so nothing can be told apart.", "Use requests of both kinds."
        )
    _, place, counts = np.unique(s, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    hits = e.sum()
    return float((ranks[e == 1].sum() - hits * (hits + 1) / 2) / (hits * (len(e) - hits)))


def ece(confidence: ArrayLike, right: ArrayLike, bins: int | None = None) -> float:
    """Expected calibration error: how far confidence and share of right answers are apart, averaged over bins of equal mass.

    Requests of equal confidence count with their common share, wherever a bin's border falls between them. A finite sample never gives 0:
    n/k requests in a bin miss by about 0.8 sqrt(p(1-p)k/n) by chance alone.

    Args:
        confidence: Probability that the answer is right.
        right: Whether it is.
        bins: How many; by default as many as hold 50 requests each, from 2 to 10.
    """
    c, r = columns(confidence=confidence, right=right)
    if c.min() < 0 or c.max() > 1:
        raise ConfigError("A confidence is not a probability.", "Pass numbers from 0 to 1.")
    order = np.argsort(c, kind="stable")
    _, place, counts = np.unique(c, return_inverse=True, return_counts=True)
    r = (np.bincount(place, r) / counts)[place]
    k = min(len(c), bins or int(np.clip(len(c) // PER_BIN, 2, 10)))
    gaps = [abs(float((c[part] - r[part]).sum())) for part in np.array_split(order, k)]
    return sum(gaps) / len(c)


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = 5) -> list[tuple[float, float, int]]:
    """For a calibration plot: mean confidence, share of right answers and number of requests of each bin."""
    c, r = columns(confidence=confidence, right=right)
    parts = np.array_split(np.argsort(c, kind="stable"), min(bins, len(c)))
    return [(float(c[p].mean()), float(r[p].mean()), len(p)) for p in parts]


def bootstrap(
    figure: Callable[..., float],
    *every: ArrayLike,
    groups: Sequence[str] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95% interval of a figure, by drawing requests again with replacement (percentiles).

    Args:
        figure: A function of the columns.
        *every: Columns, equally long.
        groups: The family of each request: then whole families are drawn, because requests of one family are alike.
        draws: How many samples; those for which the figure is not defined are left out.
        seed: Of the draws.

    Raises:
        ConfigError: The figure is defined for none of them.
    """
    data = columns(**{f"column {i + 1}": column for i, column in enumerate(every)})
    n = len(data[0])
    names = np.array(groups) if groups is not None else np.arange(n)
    if len(names) != n:
        raise ConfigError(f"{len(names)} groups for {n} requests.", "Give one for each.")
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    rng, found = np.random.default_rng(seed), list[float]()
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        try:
            found.append(figure(*(column[rows] for column in data)))
        except ConfigError:
            continue
    if not found:
        raise ConfigError("No sample defines this figure.", "Use more requests.")
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def columns(**named: ArrayLike) -> tuple[Numbers, ...]:
    """Columns of finite numbers, equally long.

    Raises:
        ConfigError: A column is empty or too short, or holds what is not a number; its name and first bad row are named.
    """
    made: list[Numbers] = []
    for name, values in named.items():
        try:
            column = np.asarray(values, dtype=float)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"The column {name} has values that are not numbers.", "Use numbers."
            ) from error
        if column.ndim != 1 or not len(column):
            raise ConfigError(f"The column {name} is empty.", "Give at least one request.")
        if not np.isfinite(column).all():
            row = int(np.argmin(np.isfinite(column)))
            raise ConfigError(
                f"The column {name} has {column[row]} in row {row + 1}.", "Fill or remove that row."
            )
        made.append(column)
    if len({len(column) for column in made}) > 1:
        raise ConfigError(
            f"The columns {', '.join(named)} are not equally long.", "Give one value for each request."
        )
    return tuple(made)


def _full(cost: ArrayLike, like: Numbers) -> ArrayLike:
    return np.full(len(like), cost) if np.ndim(cost) == 0 else cost
