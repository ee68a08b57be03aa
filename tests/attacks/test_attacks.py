"""No hostile notebook earns a point, escapes, or keeps the others from being graded."""

from __future__ import annotations

import json
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from needs import needs_sandbox

from labkit.grading.autograde import Summary
from labkit.grading.bundle import Bundle
from labkit.grading.grade import grade
from labkit.grading.hostile import ATTACKS, Attack
from labkit.grading.result import Result
from labkit.grading.sandbox import Bubblewrap
from labkit.grading.small_lab import LIMITS, SOLVED, notebook

pytestmark = needs_sandbox
Attacked = tuple[Summary, dict[str, Result]]


@pytest.mark.parametrize("attack", ATTACKS, ids=[a.name for a in ATTACKS])
def test_an_attack_earns_nothing(attack: Attack, attacked: Attacked) -> None:
    summary, results = attacked
    result = results[attack.name]
    assert result.status in ("graded", "refused"), result.reason
    assert result.earned == 0, result.checks
    assert result.seconds < LIMITS.total_s + 15
    if attack.forges:
        assert any(check.public for check in result.checks), "the attack does not do what it should"
        assert result.tampering
    folder = next(path.parent for path in summary.results if path.parent.parent.name == attack.name)
    if attack.loot:
        shown = [check.reason for check in result.checks] + list(result.notes)
        assert not any(attack.loot in text for text in shown)
        executed = nbformat.read(folder / "executed.ipynb", as_version=4)
        outputs = [json.dumps(output) for cell in executed.cells for output in cell.get("outputs", [])]
        assert not any(attack.loot in output for output in outputs), outputs


def test_the_honest_one_beside_them_earns_everything(attacked: Attacked) -> None:
    honest = attacked[1]["honest"]
    assert (honest.earned, honest.points, honest.tampering, honest.notes) == (5, 5, (), ())
    assert all(check.public for check in honest.checks)


def test_every_attack_has_a_result_and_the_figures_are_zero(attacked: Attacked) -> None:
    summary, results = attacked
    forged = [attack for attack in ATTACKS if attack.forges]
    figures = {
        "grade.attack_points": sum(results[a.name].earned for a in ATTACKS),
        "grade.unreported_attacks": sum(not results[a.name].tampering for a in forged),
        "grade.lost": summary.found - len(results),
    }
    print(f"{len(ATTACKS)} attacks, {len(forged)} on the public checks: {figures}, {summary.seconds:.0f} s")
    assert set(figures.values()) == {0}
    assert summary.failed == 0


def test_nothing_survives(attacked: Attacked) -> None:
    del attacked
    until = time.monotonic() + 5
    while time.monotonic() < until and (left := _left_behind()):
        time.sleep(0.1)
    assert not left


def _left_behind() -> list[str]:
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    return [
        line for line in lines if "98765" in line or ("ipykernel_launcher" in line and "/labkit-" in line)
    ]


def test_the_result_is_the_same_twice_but_for_the_time(
    bundle: Bundle, sandbox: Bubblewrap, tmp_path: Path
) -> None:
    nbformat.write(notebook(*SOLVED, after=("1 / 0",)), tmp_path / "a.ipynb")
    first, second = (
        grade(tmp_path / "a.ipynb", bundle, sandbox).model_copy(update={"seconds": 0}) for _ in "ab"
    )
    assert first == second
    assert first.earned == 5
