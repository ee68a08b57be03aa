"""The bench of the grader, on a class that has every fault once."""

from __future__ import annotations

import pytest
from needs import PROBLEM

from labkit.bench import grade
from labkit.bench.faulty import BROKEN, CHANGED, FAULTS, HONEST, MISSING, STOPPED, as_it_should, hand_in
from labkit.grading.result import Result


def test_every_fault_changes_the_file() -> None:
    honest = hand_in(7, HONEST)
    assert honest is not None
    files = {kind: hand_in(7, kind) for kind in FAULTS}
    assert None not in files.values()
    assert len({honest, *files.values()}) == len(FAULTS) + 1
    assert hand_in(7, HONEST) == honest != hand_in(8, HONEST)
    assert hand_in(7, MISSING) is None


@pytest.mark.parametrize(
    ("kinds", "good"),
    [
        (BROKEN, Result(status="refused", reason="it is broken")),
        ([MISSING], Result(status="refused", reason="there is no notebook in it")),
        (CHANGED, Result(status="graded", earned=5, notes=("a cell was deleted",))),
        (STOPPED, Result(status="graded", notes=("cell 3 ended the run",))),
        ([HONEST], Result(status="graded", earned=5)),
    ],
)
def test_a_wrong_result_counts_as_lost(kinds: list[str], good: Result) -> None:
    for kind in kinds:
        assert as_it_should(kind, good)
        assert not as_it_should(kind, good.model_copy(update={"status": "failed"}))
        if kind in CHANGED or kind == HONEST:
            assert not as_it_should(kind, good.model_copy(update={"earned": 2}))
            assert not as_it_should(kind, good.model_copy(update={"notes": () if good.notes else ("odd",)}))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(bool(PROBLEM), reason=f"no bubblewrap: {PROBLEM}")
def test_nothing_of_a_faulty_class_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {figure.name: figure for figure in grade.faults(len(FAULTS) + 2)}
    assert figures["grade.lost"].value == 0, capsys.readouterr().out
    assert figures["grade.lost"].n == len(FAULTS) + 2
