"""The judge: asks the learner's kernel for values, and compares them in this process, where the expected ones stay."""

from __future__ import annotations

import importlib.util
import inspect
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labkit.bridge import pack
from labkit.errors import LabError
from labkit.kernel import Kernel


class StudentError(Exception):
    """The learner's code raised, or answered nothing that can be read. The text is theirs."""


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
            raise StudentError(error.message) from None
        if not isinstance(reply, dict) or "value" not in reply:
            error = reply if isinstance(reply, dict) else {}
            raise StudentError(f"{error.get('error', 'Error')}: {error.get('message', '')}")
        return reply["value"]

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
    """

    check: str
    points: float
    earned: float
    reason: str = ""


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
        reason = next(filter(None, (_fails(f, student, seed) for f in functions[check])), "")
        verdicts.append(Verdict(check, most, 0.0 if reason else most, reason))
    return verdicts


def _fails(function: JudgeFunction, student: Student, seed: int) -> str:
    rng = np.random.default_rng([seed, zlib.crc32(function.__name__.encode())])
    try:
        function(student, rng)
    except StudentError as error:
        return f"your code raised {error}"
    except Exception:  # the judge compared something that is not of the form it should be
        return "a hidden case did not come out right"
    return ""


def _load(judge: Path) -> dict[str, list[JudgeFunction]]:
    spec = importlib.util.spec_from_file_location(f"judge_{judge.stem}", judge)
    if spec is None or spec.loader is None or not judge.is_file():
        raise LabError(f"There is no judge at {judge}.", "Judges are in notebooks/judges/ of the repository.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, list[JudgeFunction]] = {}
    for _, function in inspect.getmembers(module, inspect.isfunction):
        if check := getattr(function, "grades", None):
            found.setdefault(check, []).append(function)
    return found
