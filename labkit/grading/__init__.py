"""Judges: graded tests that run outside the learner's kernel. See docs/writing-a-lab.md."""

import labkit.jsonschemas  # noqa: F401  # pyright: ignore[reportUnusedImport]  # before nbformat imports jsonschema
from labkit.grading.judge import Student, StudentError, Verdict, grades, run_judge

__all__ = ["Student", "StudentError", "Verdict", "grades", "run_judge"]
