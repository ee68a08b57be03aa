"""Judges: graded tests that run outside the learner's kernel. See docs/writing-a-lab.md."""

from labkit.grading.judge import Student, StudentError, Verdict, grades, run_judge

__all__ = ["Student", "StudentError", "Verdict", "grades", "run_judge"]
