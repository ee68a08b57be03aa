"""Late work: when it was due, when it came, and what that costs."""

from __future__ import annotations

import math
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from labkit.errors import LabError

SECONDS = {"hour": 3600, "day": 86400}
CLOCK_SLACK = timedelta(minutes=5)
"""How far a submission's clock may be ahead of this machine's."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""An older time is that of a clock that was never set."""


class Penalty(BaseModel, frozen=True, extra="forbid"):
    """What late work loses.

    Attributes:
        points: For each hour or day that has begun, counted from the time when it was due.
        per: ``hour`` or ``day``.
        most: Never more than this.
        grace_minutes: Work that is not later than this loses nothing.
    """

    points: float = Field(gt=0)
    per: Literal["hour", "day"] = "day"
    most: float = Field(gt=0)
    grace_minutes: float = Field(default=0, ge=0)

    def lost(self, seconds_late: float) -> float:
        """Points that work loses that came so many seconds after it was due."""
        if seconds_late <= 60 * self.grace_minutes:
            return 0.0
        return min(self.most, self.points * math.ceil(seconds_late / SECONDS[self.per]))


class Rules(BaseModel, frozen=True, extra="forbid"):
    """A class's deadlines.

    Attributes:
        due: For each lab when it is due, with its time zone.
        late: What late work loses; nothing by default.
    """

    due: dict[str, AwareDatetime] = {}
    late: Penalty | None = None


def load(path: Path) -> Rules:
    """Read the rules from a TOML file with the tables ``[due]`` and ``[late]``.

    Raises:
        LabError: It cannot be read, or a time has no zone.
    """
    try:
        return Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        told = (
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise LabError(
            f"{path} has no usable rules: {told}.",
            "Times look like 2026-11-20T18:00:00+01:00; the instructor guide has an example.",
        ) from None


def moment(text: str, now: datetime | None = None) -> datetime:
    """The time that a text tells, in UTC: ISO 8601 or as nbgrader writes it (``2026-11-20 18:00:00 Europe/Vienna``).

    Args:
        text: With its time zone, as an offset or as a name of the IANA database.
        now: This machine's time.

    Raises:
        LabError: It tells none, has no zone, or the clock that it came from was wrong.
    """
    words = text.strip().split(" ")
    try:
        if len(words) == 3 and words[2][:1] not in "+-":
            when = datetime.fromisoformat(" ".join(words[:2])).replace(tzinfo=ZoneInfo(words[2]))
        else:
            when = datetime.fromisoformat(" ".join(words[:2]) + "".join(words[2:]))
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise LabError(
            f"{text.strip()[:60]!r} is no time with a time zone.", "Write it like 2026-11-20T18:00:00+01:00."
        ) from None
    if when.tzinfo is None:
        raise LabError(f"{text.strip()[:60]!r} has no time zone.", "Write it like 2026-11-20T18:00:00+01:00.")
    when = when.astimezone(UTC)
    if when < EARLIEST or when > (now or datetime.now(UTC)) + CLOCK_SLACK:
        raise LabError(
            f"{when.isoformat()} cannot be right: it is in the future, or of a clock that was never set.",
            "Look at the clock of the machine that wrote it, and write the right time into times.csv.",
        )
    return when
