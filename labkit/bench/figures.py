"""A measured number with its name, unit and spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: Its stable name, such as ``engine.decode_ratio``.
        value: The number.
        unit: ``tokens/s``, ``s``, ``ratio``, ``share``, ``MB``.
        n: How many measurements it comes from.
        low: Lower bound of what was seen or of its interval; None where there is none.
        high: Upper bound.
        simulated: True where any part of it is not real.
    """

    name: str
    value: float
    unit: str
    n: int
    low: float | None = None
    high: float | None = None
    simulated: bool = False


def median(name: str, values: Sequence[float], unit: str) -> Figure:
    """The median of several runs, with the smallest and the largest."""
    return Figure(name, statistics.median(values), unit, len(values), min(values), max(values))


def share(name: str, hits: Sequence[bool]) -> Figure:
    """A share with its 95% bootstrap interval (2,000 resamples, fixed seed)."""
    values = np.array(hits, dtype=float)
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Figure(name, float(values.mean()), "share", len(values), float(low), float(high))
