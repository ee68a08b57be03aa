"""A measured number with its name, unit and spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.errors import ConfigError

DRAWS = 2000
"""Resamples of a bootstrap."""
Statistic = Callable[..., Any]
"""A function of an array and ``axis``, such as ``numpy.mean``."""


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
    """A share with its 95% bootstrap interval."""
    low, high = bootstrap(hits)
    return Figure(name, sum(hits) / len(hits), "share", len(hits), low, high)


def bootstrap(values: Sequence[float] | NDArray[Any], statistic: Statistic = np.mean) -> tuple[float, float]:
    """The 95% percentile interval of a statistic (Efron 1979): 2,000 resamples with a fixed seed.

    The same draws as ``labkit.routing.metrics.bootstrap``, which takes any function of several columns, but in one step (1 ms in place of 40 for 60 values).

    Args:
        values: One number for each measurement; for pairs, their differences.
        statistic: What to compute of each resample.

    Raises:
        ConfigError: There are no values.
    """
    rows = np.asarray(values, dtype=float)
    if not len(rows):
        raise ConfigError("There is nothing to resample.", "Give at least one measurement.")
    draws = statistic(np.random.default_rng(0).choice(rows, (DRAWS, len(rows))), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
