"""The checks of the labs: ``with check("lab05-schema", hint="…") as expect:``.

A check shows at once whether it passed, records that locally, and fails its cell otherwise, so that one and the same cell
serves the learner, nbgrader and the tests. Everything goes to stdout: nbgrader gives no points to a cell that writes to
stderr.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np

from labkit import progress
from labkit.errors import CheckFailed, ConfigError


class Expect:
    """Compares what came with what was expected, and shows both when they differ."""

    def __init__(self) -> None:
        self.done = 0

    def equal(self, got: Any, want: Any, what: str = "your answer") -> None:
        """``got`` equals ``want``; arrays are compared element by element."""
        self._judge(_same(got, want), what, want, got)

    def close(self, got: Any, want: Any, what: str = "your answer", *, tolerance: float = 1e-4) -> None:
        """Numbers or arrays agree within ``tolerance`` (absolute or relative, whichever is wider)."""
        try:
            a, b = np.asarray(got, dtype=float), np.asarray(want, dtype=float)
            good = a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance))
        except (TypeError, ValueError):
            good = False
        self._judge(good, what, want, got)

    def true(self, condition: Any, what: str) -> None:
        """``what`` is a sentence that should be true."""
        self._judge(bool(condition), what, "true", "false")

    def raises(self, error: type[BaseException], call: Callable[[], Any], what: str = "the call") -> None:
        """``call()`` raises ``error``."""
        try:
            result = call()
        except error:
            self.done += 1
        except Exception as other:
            self._judge(False, what, f"raises {error.__name__}", f"raised {type(other).__name__}: {other}")
        else:
            self._judge(False, what, f"raises {error.__name__}", f"returned {_short(result)}")

    def _judge(self, good: bool, what: str, want: Any, got: Any) -> None:
        self.done += 1
        if not good:
            raise CheckFailed(f"{what}\n  expected: {_short(want)}\n  got:      {_short(got)}")


@contextmanager
def check(name: str, hint: str = "") -> Generator[Expect]:
    """Run the body as one check.

    Args:
        name: The check's id, the same as its cell's grade_id: letters, digits, ``-`` and ``_``.
        hint: One sentence that helps without giving the answer away.

    Raises:
        CheckFailed: The body compared something that differs, raised an error, or compared nothing.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):  # what nbgrader allows as a grade_id
        raise ConfigError(f"{name!r} is no check id.", "Use letters, digits, - and _ only.")
    expect = Expect()
    try:
        yield expect
        if not expect.done:
            raise CheckFailed(
                "this check compared nothing", "Restore the check cell: `labkit reset` makes a fresh copy."
            )
    except CheckFailed as failure:
        reason = failure.message
    except NotImplementedError:
        reason = "not written yet: the exercise above still raises NotImplementedError"
        hint = "Write the exercise, run its cell, then run this one again."
    except Exception as error:
        reason = f"your code raised {type(error).__name__}: {error}{_where(error)}"
    else:
        _record(name, True)
        print(f"PASS  {name}")
        return
    _record(name, False)
    raise CheckFailed(f"FAIL  {name}: {reason}", hint) from None


def _record(name: str, passed: bool) -> None:
    try:
        progress.record(name, passed)
    except (OSError, sqlite3.Error) as error:
        print(f"(progress is not saved: {error}; the check itself is not affected)")


def _same(got: Any, want: Any) -> bool:
    if isinstance(got, np.ndarray) or isinstance(want, np.ndarray):
        return bool(np.array_equal(got, want))
    if isinstance(got, float) and isinstance(want, float) and math.isnan(got) and math.isnan(want):
        return True
    return bool(got == want)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value in ("true", "false") else repr(value)
    return text if len(text) <= 300 else text[:297] + "…"


def _where(error: BaseException) -> str:
    """The line of the learner's code that raised, if it was in a cell."""
    frame, line = error.__traceback__, 0
    while frame:
        if "ipykernel" in frame.tb_frame.f_code.co_filename and frame.tb_frame.f_code.co_name != "<module>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return f" (line {line} of its cell)" if line else ""
