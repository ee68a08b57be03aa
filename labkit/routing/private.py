"""What must stay on this machine: found by the redactor's patterns, or said so by the caller."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.redact import Redactor
from labkit.routing.decision import SMALL, Attempt, Decision, Mark, RouteRequest, as_request, deciding, traced

Small = Callable[[RouteRequest], Attempt]
"""The small model: a request -> what it made of it."""


@dataclass(frozen=True)
class Answered:
    """An answer, and how it was decided who gives it."""

    answer: Any
    decision: Decision
    attempt: Attempt


def holds_private_data(text: str, redactor: Redactor | None = None) -> bool:
    """Whether a text has an e-mail address, a phone number, a secret, or a value that the redactor has learnt.

    Names and addresses that nobody declared are not found: set ``private`` on a request wherever you know better.
    """
    redactor = redactor or Redactor(content=True)
    plain = unicodedata.normalize("NFC", text).encode("utf-8", "replace").decode()
    return any(redactor.text(part) != part for part in plain.split("\n"))


def is_private(request: RouteRequest, redactor: Redactor | None = None) -> bool:
    """Whether a request must stay here: by its flag or by its text."""
    return request.private or holds_private_data(request.text, redactor)


class LocalOnly:
    """Answers with the small model, always. It knows of no other model, so nothing can escalate.

    Args:
        small: The small model.
    """

    def __init__(self, small: Small) -> None:
        self._small = small

    @traced
    def route(self, request: RouteRequest) -> Decision:
        """The only decision there is."""
        return Decision(SMALL, 1.0, "local only")

    def answer(self, request: RouteRequest | str, *, reason: str = "local only", mark: Mark = "") -> Answered:
        """The small model's answer; whoever sent the request here may say why."""
        request = as_request(request)
        attempt = request.attempt or self._small(request)
        with deciding("LocalOnly") as made:
            made.append(Decision(SMALL, 1.0, reason, mark))
        return Answered(attempt.answer, made[0], attempt)
