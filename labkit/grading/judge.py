"""The judge: asks the learner's kernel for values, and compares them in this process, where the expected ones stay."""

from __future__ import annotations

import builtins
import inspect
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from labkit.bridge import pack
from labkit.errors import LabError
from labkit.kernel import Kernel


class StudentError(Exception):
    """The learner's code raised, or answered nothing that can be read.

    Args:
        reason: What happened, in words of the judge's own: it may be shown to the learner.
        detail: What the learner's code says; it may hold the judge's inputs.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail or self.reason


class Student:
    """The learner's notebook, seen from the judge. Arguments go in as JSON, values come back as JSON."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def eval(self, expression: str, **inputs: Any) -> Any:
        """The value of an expression among the notebook's names and the inputs.

        Raises:
            StudentError: It raised, or its value is not plain data.
        """
        try:
            reply = self._kernel.ask({"expression": expression, "inputs": pack(inputs)})
        except LabError as error:
            raise StudentError(error.message[:1].lower() + error.message[1:].rstrip(".")) from None
        if isinstance(reply, dict) and "value" in reply:
            return reply["value"]
        told = reply if isinstance(reply, dict) else {}
        name, message = str(told.get("error", "Error")), str(told.get("message", ""))
        raise StudentError(f"your code raised {_known(name)}", f"{name}: {message}"[:500])

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call one of the learner's functions."""
        return self.eval(f"{name}(*_args, **_kwargs)", _args=list(args), _kwargs=kwargs)

    def value(self, name: str) -> Any:
        """Read one of the learner's variables."""
        return self.eval(name)


JudgeFunction = Callable[[Student, np.random.Generator], None]


def grades(check: str) -> Callable[[JudgeFunction], JudgeFunction]:
    """Mark a judge function as the grade of a check. It passes if it returns, and fails if it raises."""

    def mark(function: JudgeFunction) -> JudgeFunction:
        function.grades = check  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True)
class Verdict:
    """What the judge found for one check.

    Attributes:
        check: The check's id.
        points: Points that it can earn.
        earned: All of them or none.
        reason: Why not, without a word of the judge's inputs or expected values.
        detail: What the learner's code said, for the instructor: it may hold the judge's inputs.
    """

    check: str
    points: float
    earned: float
    reason: str = ""
    detail: str = ""


def run_judge(judge: Path, kernel: Kernel, points: Mapping[str, float], seed: int = 0) -> list[Verdict]:
    """Judge a notebook that has run in ``kernel``.

    Args:
        judge: ``notebooks/judges/labNN.py``.
        kernel: Where the learner's notebook ran.
        points: Points of each check, from the lab's own metadata.
        seed: Cases are generated from it; a class has its own secret one.

    Raises:
        LabError: The judge grades a check that the lab does not have, or misses one.
    """
    functions = _load(judge)
    if set(functions) != set(points):
        odd = ", ".join(sorted(set(functions) ^ set(points)))
        raise LabError(
            f"{judge.name} and its lab disagree on the checks: {odd}.", "Give every check a judge function."
        )
    student = Student(kernel)
    verdicts: list[Verdict] = []
    for check, most in points.items():
        failure = next(filter(None, (_fails(f, student, seed) for f in functions[check])), None)
        verdicts.append(Verdict(check, most, 0.0, *failure) if failure else Verdict(check, most, most))
    return verdicts


def _fails(function: JudgeFunction, student: Student, seed: int) -> tuple[str, str] | None:
    rng = np.random.default_rng([seed, zlib.crc32(function.__name__.encode())])
    try:
        function(student, rng)
    except StudentError as error:
        return error.reason, error.detail
    except Exception:  # the judge compared something that is not of the form it should be
        return "a hidden case did not come out right", ""
    return None


def _known(name: str) -> str:
    """The exception's name if Python has it: any other is the learner's text."""
    kind = getattr(builtins, name, None)
    return name if isinstance(kind, type) and issubclass(kind, BaseException) else "an error"


def _load(judge: Path) -> dict[str, list[JudgeFunction]]:
    if not judge.is_file():
        raise LabError(f"There is no judge at {judge}.", "Judges are in notebooks/judges/ of the repository.")
    module = ModuleType(f"judge_{judge.stem}")
    exec(compile(judge.read_text(encoding="utf-8"), str(judge), "exec", dont_inherit=True), module.__dict__)
    found: dict[str, list[JudgeFunction]] = {}
    for _, function in inspect.getmembers(module, inspect.isfunction):
        if check := getattr(function, "grades", None):
            found.setdefault(check, []).append(function)
    return found
