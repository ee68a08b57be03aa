"""What escalations may cost: money in a period, seconds for one request, and their share of all requests."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from labkit.errors import ConfigError
from labkit.routing.decision import LARGE, SMALL, Decision, Mark, Router, RouteRequest, traced

ROUNDING = 1e-9
"""How far a sum of prices or a share may be above its limit, because binary fractions are not exact."""


@dataclass(frozen=True)
class Price:
    """What the large model is expected to cost for one request: money in any one unit, and seconds."""

    money: float = 0.0
    seconds: float = 0.0


class Budget:
    """Keeps count. Threads may share it.

    Args:
        money: Most that may be spent in a period.
        seconds: Most that one request may take.
        share: Most of all requests that may escalate.
        period_s: Seconds after which the money is there again; never by default.
        clock: Seconds that only grow. Where they do not, nothing is spent at that moment.

    Raises:
        ConfigError: A limit is negative or not a number, or the share is above 1.
    """

    def __init__(
        self,
        money: float = math.inf,
        seconds: float = math.inf,
        share: float = 1.0,
        period_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (money >= 0 and seconds >= 0 and 0 <= share <= 1 and period_s > 0):
            raise ConfigError(
                f"A budget of money={money}, seconds={seconds}, share={share}, period_s={period_s} cannot be kept.",
                "Use numbers from 0 on, a share of at most 1, and a period above 0.",
            )
        self.money, self.seconds, self.share, self.period_s = money, seconds, share, period_s
        self.spent, self.seen, self.escalated = 0.0, 0, 0
        self._clock, self._lock = clock, threading.Lock()
        self._began = self._last = clock()

    def local(self) -> None:
        """Count a request that stays here."""
        with self._lock:
            self.seen += 1

    def admit(self, price: Price) -> tuple[Mark, str]:
        """Count a request that wants to escalate, and take its price.

        Returns:
            Two empty texts if it may; else the mark and the reason, and nothing is taken.

        Raises:
            ConfigError: The price is negative or not a number.
        """
        if not (price.money >= 0 and price.seconds >= 0):
            raise ConfigError(f"{price} is no price.", "Return numbers from 0 on.")
        with self._lock:
            self.seen += 1
            now = self._clock()
            if not now >= self._last:  # also where it is not a number
                self._began = self._last = now
                return "clock", "the clock went backwards"
            self._last = now
            if now - self._began >= self.period_s:
                self._began, self.spent = now, 0.0
            if price.seconds > self.seconds:
                return "budget", "it would take too long"
            if self.spent + price.money > self.money * (1 + ROUNDING):
                return "budget", "the money is spent"
            if self.escalated + 1 > self.share * self.seen + ROUNDING:
                return "budget", "the share of escalations is reached"
            self.spent += price.money
            self.escalated += 1
            return "", ""

    def refund(self, price: Price) -> None:
        """Give back what was taken for a request that the large model did not answer."""
        with self._lock:
            self.spent = max(0.0, self.spent - price.money)
            self.escalated = max(0, self.escalated - 1)


class BudgetRouter:
    """Another router within a budget: what it would send to the large model stays here when the budget says so.

    Args:
        router: Who decides.
        budget: What is left.
        price: What the large model costs for a request, dated in your price table.
    """

    def __init__(self, router: Router, budget: Budget, price: Callable[[RouteRequest], Price]) -> None:
        self.router, self.budget, self.price = router, budget, price

    @traced
    def route(self, request: RouteRequest) -> Decision:
        """The router's decision, or a marked local one."""
        decision = self.router.route(request)
        if decision.target != LARGE:
            self.budget.local()
            return decision
        price = self.price(request)
        mark, reason = self.budget.admit(price)
        if mark:
            return Decision(SMALL, decision.confidence, reason, mark)
        return replace(decision, money=price.money)
