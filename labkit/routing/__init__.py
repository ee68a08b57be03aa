"""Routing: small model first, large one where it pays. One method behind everything: ``route(request) -> Decision``.

- ``RuleRouter``: rules; ``TableRouter``: the best model for a task, here and now;
- ``ClassifierRouter``: learnt from outcomes; ``ConfidenceRouter``: the small model's own confidence, calibrated;
- ``BudgetRouter``: any of them within a budget; ``Cascade``: small first, then by its attempt; ``LocalOnly``: never anything but small.

``labkit.routing.metrics`` measures them: curve, APGR, CPT, AUC, ECE, intervals.
"""

from labkit.routing.budget import Budget, BudgetRouter, Price
from labkit.routing.cascade import Cascade
from labkit.routing.decision import (
    LARGE,
    SMALL,
    Attempt,
    Decision,
    Router,
    RouteRequest,
)
from labkit.routing.learned import Calibration, ClassifierRouter, ConfidenceRouter, Predictor
from labkit.routing.outcomes import Outcomes, read_outcomes
from labkit.routing.private import Answered, LocalOnly, holds_private_data, is_private
from labkit.routing.rules import Rule, RuleRouter, longer_than, of_task, speaks_of
from labkit.routing.table import Goal, Row, State, TableRouter, read_state

__all__ = [
    "LARGE",
    "SMALL",
    "Answered",
    "Attempt",
    "Budget",
    "BudgetRouter",
    "Calibration",
    "Cascade",
    "ClassifierRouter",
    "ConfidenceRouter",
    "Decision",
    "Goal",
    "LocalOnly",
    "Outcomes",
    "Predictor",
    "Price",
    "RouteRequest",
    "Router",
    "Row",
    "Rule",
    "RuleRouter",
    "State",
    "TableRouter",
    "holds_private_data",
    "is_private",
    "longer_than",
    "of_task",
    "read_outcomes",
    "read_state",
    "speaks_of",
]
