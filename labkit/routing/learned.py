"""Routers that learnt from outcomes: a classifier on signals, and the small model's own confidence, calibrated.

Both end in an isotonic regression (Zadrozny and Elkan 2002): the rising step function that fits best to how often the small model was right. A line through
the middles of its steps (Oron and Flournoy 2017) keeps apart what the steps would make equal. It is fitted to scores of requests that the classifier did
not see, family by family where families are given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labkit.errors import ConfigError
from labkit.routing.decision import LARGE, SMALL, Decision, RouteRequest, traced
from labkit.routing.metrics import Numbers, columns

FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """From a score to a probability: straight between the knots, flat outside.

    Attributes:
        knots: Scores, rising.
        values: Probabilities, never falling, one for each knot.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def fit(cls, scores: ArrayLike, right: ArrayLike) -> Calibration:
        """Fit by isotonic regression.

        Raises:
            ConfigError: There are no requests, all ended the same way, or a score is not a number.
        """
        from sklearn.isotonic import IsotonicRegression

        s, r = columns(score=scores, right=right)
        _two_kinds(r)
        steps: Numbers = IsotonicRegression().fit_transform(s, r)
        values = np.unique(steps)
        return cls(tuple(float(s[steps == v].mean()) for v in values), tuple(map(float, values)))

    def __call__(self, score: float) -> float:
        """The probability that belongs to a score.

        Raises:
            ConfigError: It is not a number.
        """
        if not math.isfinite(score):
            raise ConfigError(f"A score of {score} cannot be calibrated.", "Look where it comes from.")
        return float(np.interp(score, self.knots, self.values))


@dataclass(frozen=True)
class Predictor:
    """The probability that an answer is right, from signals: a scikit-learn classifier, then calibrated.

    Attributes:
        names: The signals that it reads.
        model: The fitted classifier.
        calibration: From its score to a probability.
    """

    names: tuple[str, ...]
    model: Any
    calibration: Calibration

    @classmethod
    def fit(
        cls,
        rows: Sequence[Mapping[str, float]],
        right: ArrayLike,
        *,
        names: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        model: Any = None,
    ) -> Predictor:
        """Learn from outcomes.

        Args:
            rows: The signals of each request.
            right: Whether the answer was right.
            names: Signals to use; by default all of the first row.
            groups: The family of each request; families are kept together when scores are made for the calibration.
            model: A scikit-learn classifier with ``predict_proba``; by default ``logistic()``.

        Raises:
            ConfigError: There are no rows, all ended the same way, a signal is missing or not a number, or there are too few
                families to hold one out.
        """
        names = tuple(names if names is not None else rows[0] if rows else ())
        x, (r,) = table(rows, names), columns(right=right)
        model = logistic() if model is None else model
        unseen = held_out_scores(x, r, groups, model)
        return cls(names, _fitted(model, x, r), Calibration.fit(unseen, r))

    def score(self, signals: Mapping[str, float]) -> float:
        """Log-odds that the answer is right, as the classifier sees it.

        Raises:
            ConfigError: A signal is missing or not a number.
        """
        return float(_log_odds(self.model, table([signals], self.names))[0])

    def probability(self, signals: Mapping[str, float]) -> float:
        """The calibrated probability that the answer is right. Errors are those of ``score``."""
        return self.calibration(self.score(signals))


def logistic(strength: float = 0.1) -> Any:
    """Logistic regression on standardised signals; ``strength`` is the inverse of its ridge penalty."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))


def trees(seed: int = 0) -> Any:
    """Gradient boosting with small trees: it finds pairs of signals that matter together."""
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(
        n_estimators=80,
        learning_rate=0.06,
        max_depth=3,
        min_samples_leaf=10,
        subsample=0.7,
        random_state=seed,
    )


def table(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> Numbers:
    """Signals as an array of shape (rows, names).

    Raises:
        ConfigError: There is no row or no name, or a signal is missing or not a number.
    """
    if not rows or not names:
        raise ConfigError(
            "There is nothing to learn from: no requests, or no signals.", "Record outcomes first."
        )
    if missing := sorted({name for row in rows for name in names if name not in row}):
        raise ConfigError(f"Signals are missing: {', '.join(missing)}.", "Give every request all of them.")
    return np.column_stack(columns(**{name: [row[name] for row in rows] for name in names}))


def held_out_scores(x: Numbers, right: Numbers, groups: Sequence[str] | None, model: Any) -> Numbers:
    """For each row the log-odds of a classifier that did not see it, nor any of its family.

    Args:
        x: Signals, shape (rows, signals).
        right: Outcomes, 0 or 1.
        groups: Families; without them each row is one.
        model: A scikit-learn classifier; it is not changed.

    Raises:
        ConfigError: The lengths differ, there are too few families, or what is left of them ended all the same way.
    """
    from sklearn.model_selection import GroupKFold

    names = np.array(groups) if groups is not None else np.arange(len(x)).astype(str)
    if not len(x) == len(right) == len(names):
        raise ConfigError(
            f"There are {len(x)} rows, {len(right)} outcomes and {len(names)} families.",
            "Give one for each row.",
        )
    if (n := min(FOLDS, len(np.unique(names)))) < 2:
        raise ConfigError("There is only one family, so nothing can be held out.", "Record more families.")
    scores = np.zeros(len(x))
    for seen, unseen in GroupKFold(n).split(x, right, names):
        scores[unseen] = _log_odds(_fitted(model, x[seen], right[seen]), x[unseen])
    return scores


def _fitted(model: Any, x: Numbers, right: Numbers) -> Any:
    from sklearn.base import clone

    _two_kinds(right)
    fresh: Any = clone(model)
    return fresh.fit(x, right)


def _log_odds(model: Any, x: Numbers) -> Numbers:
    p = np.clip(model.predict_proba(x)[:, 1], 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def _two_kinds(right: Numbers) -> None:
    if not np.isin(right, (0.0, 1.0)).all():
        raise ConfigError("An outcome is neither 0 nor 1.", "Write 1 for right, 0 for wrong.")
    if not 0 < right.sum() < len(right):
        raise ConfigError(
            "All requests to learn from ended the same way.",
            "Record requests that go right and that go wrong.",
        )


class ClassifierRouter:
    """Escalates where the small model is probably wrong.

    Args:
        predictor: Learnt from outcomes of the small model.
        threshold: Least probability of being right with which a request stays small.
        strong: Learnt from outcomes of the large model, so that no request is sent to it in vain; without it the large model counts
            as always right.
        weight: How far to trust ``strong``: 0 not at all, 1 fully.

    Raises:
        ConfigError: The threshold or the weight is not from 0 to 1.
    """

    def __init__(
        self,
        predictor: Predictor,
        threshold: float = 0.5,
        strong: Predictor | None = None,
        weight: float = 1.0,
    ) -> None:
        self.predictor, self.threshold = predictor, _threshold(threshold)
        self.strong, self.weight = strong, _threshold(weight)

    def gain(self, request: RouteRequest) -> float:
        """What the large model is expected to add; compare it with 1 - threshold."""
        known = request.known
        fails = 1 - self.strong.probability(known) if self.strong else 0.0
        return 1 - self.weight * fails - self.predictor.probability(known)

    @traced
    def route(self, request: RouteRequest) -> Decision:
        """Small or large, by the signals of the request and of the small model's attempt."""
        confidence = self.predictor.probability(request.known)
        if self.gain(request) > 1 - self.threshold:
            return Decision(LARGE, confidence, "the small model is probably wrong")
        return Decision(SMALL, confidence, "the small model is probably right")


class ConfidenceRouter:
    """Escalates where the small model itself was unsure.

    Args:
        calibration: From its signal to a probability.
        signal: Which signal of the attempt to read, such as the margin of its first decision.
        threshold: Least probability of being right with which a request stays small.
    """

    def __init__(self, calibration: Calibration, signal: str = "margin", threshold: float = 0.5) -> None:
        self.calibration, self.signal, self.threshold = calibration, signal, _threshold(threshold)

    @traced
    def route(self, request: RouteRequest) -> Decision:
        """Small or large, by one number."""
        if self.signal not in request.known:
            raise ConfigError(
                f"The request has no signal {self.signal!r}.",
                "Ask the small model first and pass its attempt.",
            )
        confidence = self.calibration(request.known[self.signal])
        target = SMALL if confidence >= self.threshold else LARGE
        return Decision(target, confidence, f"{self.signal} of the small model")


def _threshold(value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"{value} is no probability.", "Use a number from 0 to 1.")
    return value
