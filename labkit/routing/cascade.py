"""Small first: the small model answers, and the large one only where the router or a failed check asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from labkit.errors import BackendError, OfflineError
from labkit.redact import Redactor
from labkit.routing.budget import Budget, Price
from labkit.routing.decision import (
    LARGE,
    SMALL,
    Decision,
    Router,
    RouteRequest,
    as_request,
    deciding,
    traced,
)
from labkit.routing.private import Answered, LocalOnly, Small, is_private


class Cascade:
    """Asks the small model first, and escalates on low confidence or a failed check.

    A private request is handed to ``LocalOnly``, which has no large model to send it to.

    Args:
        small: The small model; its attempt carries signals, and the problem if a check refused the answer.
        large: The large model; raises ``BackendError``, ``OfflineError`` or ``OSError`` when it is down.
        router: Decides by the attempt.
        budget: What escalations may cost; without one they may cost anything.
        price: What the large model costs for a request.
        redactor: Finds private data; by default the patterns of ``labkit.redact``.
    """

    def __init__(
        self,
        small: Small,
        large: Callable[[RouteRequest], Any],
        router: Router,
        *,
        budget: Budget | None = None,
        price: Callable[[RouteRequest], Price] = lambda _: Price(),
        redactor: Redactor | None = None,
    ) -> None:
        self.local = LocalOnly(small)
        self.router, self.budget, self.price = router, budget or Budget(), price
        self._small, self._large, self._redactor = small, large, redactor

    @traced
    def route(self, request: RouteRequest) -> Decision:
        """Where the request goes. The small model is asked first unless the request carries its attempt.

        The budget is not touched: it is taken when the large model is really asked.
        """
        if is_private(request, self._redactor):
            return Decision(SMALL, 1.0, "private data", "private")
        attempt = request.attempt or self._small(request)
        if attempt.problem:
            return Decision(LARGE, 0.0, "the answer failed a check")
        return self.router.route(replace(request, attempt=attempt))

    def answer(self, request: RouteRequest | str) -> Answered:
        """The answer of whoever is to give it. Where the large model is down or the budget is spent, the small one's, marked."""
        request = as_request(request)
        if is_private(request, self._redactor):
            return self.local.answer(request, reason="private data", mark="private")
        attempt = request.attempt or self._small(request)
        request = replace(request, attempt=attempt)
        with deciding("Cascade.answer") as made:
            made.append(self.route(request))
            answer = self._escalated(request, made) if made[-1].target == LARGE else None
            if made[-1].target == LARGE:
                return Answered(answer, made[-1], attempt)
            if not made[-1].mark:
                self.budget.local()
            return Answered(attempt.answer, made[-1], attempt)

    def _escalated(self, request: RouteRequest, made: list[Decision]) -> Any:
        """The large model's answer; if it gives none, the last decision then says why."""
        price = self.price(request)
        mark, reason = self.budget.admit(price)
        if mark:
            made.append(replace(made[-1], target=SMALL, reason=reason, mark=mark))
            return None
        try:
            answer = self._large(request)
        except (BackendError, OfflineError, OSError) as error:
            self.budget.refund(price)
            reason = f"the large model failed: {type(error).__name__}"
            made.append(replace(made[-1], target=SMALL, reason=reason, mark="unavailable"))
            return None
        made.append(replace(made[-1], money=price.money))
        return answer
