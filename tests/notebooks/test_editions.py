"""Every lab: its editions fit its source; the solution earns everything, the untouched student edition nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from labkit import editions, labs
from labkit.grading import bundle as bundles
from labkit.grading.grade import grade
from labkit.grading.limits import Limits
from labkit.grading.sandbox import Bubblewrap, Plain

LABS = editions.sources()
IDS = [lab.id for lab in LABS]
OUTSIDE = ("Timeout", "KernelDied")


def test_there_are_labs_and_each_has_all_its_files() -> None:
    assert [lab.name for lab in labs.labs()] == [lab.name for lab in LABS] != []
    for lab in LABS:
        for path in (lab.student, lab.solution, lab.source, lab.judge):
            assert path.is_file(), path


@pytest.mark.parametrize("lab", LABS, ids=IDS)
def test_the_editions_fit_the_source(lab: labs.Lab) -> None:
    assert editions.drift(lab) == []


@pytest.mark.parametrize("lab", LABS, ids=IDS)
def test_no_solution_is_left_in_the_student_edition(lab: labs.Lab) -> None:
    student = nbformat.read(lab.student, as_version=4)
    text = "\n".join(cell.source for cell in student.cells)
    assert "BEGIN SOLUTION" not in text
    assert not any(cell.get("outputs") for cell in student.cells)
    source = lab.source.read_text(encoding="utf-8")
    outside = re.sub(r"### BEGIN SOLUTION.*?### END SOLUTION", "", source, flags=re.S)
    for region in re.findall(r"### BEGIN SOLUTION\n(.*?)\n *(?:# )?### END SOLUTION", source, flags=re.S):
        for line in region.splitlines():
            plain = line.removeprefix("# ").strip()
            if len(plain) > 24 and plain not in outside:
                assert plain not in text, f"solution text in the student edition: {plain!r}"


@pytest.mark.parametrize("lab", LABS, ids=IDS)
def test_a_lab_has_the_anatomy_that_the_guide_asks_for(lab: labs.Lab) -> None:
    student = nbformat.read(lab.student, as_version=4)
    graded = labs.graded(student)
    checks = {name: cell for name, cell in graded.items() if cell.cell_type == "code"}
    assert 4 <= len(checks) <= 8
    assert len(graded) - len(checks) == 1  # one written question
    for name, cell in checks.items():
        assert name.startswith(f"{lab.id}-")
        assert re.match(rf'with check\(\s*"{name}"', cell.source)
        assert "hint=" in cell.source
    ids = [cell.id for cell in student.cells]
    assert len(set(ids)) == len(ids)
    text = "\n".join(cell.source for cell in student.cells if cell.cell_type == "markdown")
    images = re.findall(r"!\[(.*?)\]\((.*?)\)", text)
    assert images
    for alt, target in images:
        assert len(alt) > 15, f"no alt text for {target}"
        assert (lab.student.parent / target).is_file(), target
    code = [cell for cell in student.cells if cell.cell_type == "code"]
    assert not any(re.search(r"^\s*[!%]\s*(pip|conda)", cell.source, re.M) for cell in code)
    shown = [
        cell for cell in code if not labs.nbgrader_meta(cell)
    ]  # exercises and checks are as long as they must be
    lengths = sorted(sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in shown)
    assert lengths[len(lengths) // 2] <= 10


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lab", LABS, ids=IDS)
def test_the_solution_earns_everything_and_writes_nothing_to_stderr(lab: labs.Lab, tmp_path: Path) -> None:
    made = editions.solution(lab)
    path = tmp_path / "solution.ipynb"
    nbformat.write(made, path)
    report = labs.run_checks(path, lab, judge=True, seed=20261122, total_s=500)
    assert report.notes == []
    assert [(run.index, run.error, run.message) for run in report.cells if run.error] == []
    assert [(run.index, run.stderr) for run in report.cells if run.stderr] == []
    for outcome in report.outcomes:
        assert outcome.passed is not False, outcome
        if outcome.verdict:
            assert outcome.verdict.earned == outcome.points, outcome.verdict
    print(f"{lab.id}: {sum(run.seconds for run in report.cells):.1f} s in its cells")


@pytest.mark.slow
@pytest.mark.parametrize("lab", LABS, ids=IDS)
def test_the_solution_earns_everything_where_only_what_is_needed_runs(lab: labs.Lab, tmp_path: Path) -> None:
    limits = Limits(cell_s=120)
    path = tmp_path / f"{lab.name}.ipynb"
    nbformat.write(editions.solution(lab), path)
    bundle = bundles.make(lab, editions.student(lab), "a secret of the tests")
    done = grade(path, bundle, Plain(limits) if Bubblewrap().problem() else Bubblewrap(limits))
    assert (done.earned, done.notes, done.tampering) == (done.points, (), ())
    assert [check.check for check in done.checks if not check.public] == []
    assert done.left_out > 15  # it did not have to run again as a whole


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lab", LABS, ids=IDS)
def test_the_untouched_student_edition_earns_nothing_and_fails_only_where_it_should(
    lab: labs.Lab, tmp_path: Path
) -> None:
    path = tmp_path / "student.ipynb"
    shutil.copyfile(lab.student, path)
    report = labs.run_checks(path, lab, judge=True, total_s=500)
    merged, _ = labs.with_own_checks(labs.read(path), labs.read(lab.student))
    for run in report.cells:
        if run.error:
            assert run.error not in OUTSIDE
            assert labs.nbgrader_meta(merged.cells[run.index]), (
                f"cell {run.index} is no exercise: {run.message}"
            )
    for outcome in report.outcomes:
        assert outcome.passed is not True, f"{outcome.check} passes without any work"
        if outcome.verdict:
            assert outcome.verdict.earned == 0, f"the judge pays for nothing: {outcome.check}"
