import multiprocessing
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from labkit import check, progress
from labkit.errors import CheckFailed, ConfigError


def test_a_check_that_passes_says_so_and_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    with check("lab01-x") as expect:
        expect.equal(1 + 1, 2)
        expect.close([0.1 + 0.2], [0.3])
        expect.true(1 < 2, "one is less than two")
        expect.raises(ZeroDivisionError, lambda: 1 / 0)
    out = capsys.readouterr()
    assert out.out == "PASS  lab01-x\n"
    assert out.err == ""
    assert [(e.check, e.passed, e.tries) for e in progress.entries()] == [("lab01-x", True, 1)]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (lambda e: e.equal(3, 4, "the sum"), "the sum\n  expected: 4\n  got:      3"),
        (lambda e: e.close([1.0], [1.0, 2.0]), "expected: \\[1.0, 2.0\\]"),
        (lambda e: e.close("cat", 1.0), "got:      'cat'"),
        (lambda e: e.equal(np.ones(2), np.zeros(2)), "expected: array"),
        (lambda e: e.true([], "the list has items"), "the list has items"),
        (lambda e: e.raises(KeyError, lambda: 5), "returned 5"),
        (lambda e: e.raises(KeyError, lambda: 1 / 0), "raised ZeroDivisionError"),
        (lambda e: None, "compared nothing"),
        (lambda e: undefined_name, "NameError"),  # noqa: F821
    ],
)
def test_a_check_that_fails_says_what_was_expected_what_came_and_the_hint(body, says: str) -> None:
    with (
        pytest.raises(CheckFailed, match=f"(?s)FAIL  lab01-x: .*{says}.*What to do: Look up") as caught,
        check("lab01-x", "Look up.") as e,
    ):
        body(e)
    assert caught.value._render_traceback_() == [str(caught.value)]
    assert not progress.entries()[0].passed


def test_an_exercise_that_is_not_written_yet_gets_no_hint_that_spoils_it() -> None:
    with (
        pytest.raises(CheckFailed, match=r"(?s)not written yet.*Write the exercise") as caught,
        check("lab01-x", "42!"),
    ):
        raise NotImplementedError
    assert "42" not in str(caught.value)


def test_once_passed_stays_passed_and_tries_are_counted() -> None:
    for value in (1, 2, 3):
        try:
            with check("lab01-y") as expect:
                expect.equal(value, 2)
        except CheckFailed:
            pass
    entry = progress.entries()[0]
    assert (entry.passed, entry.tries) == (True, 3)


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(CheckFailed) as caught, check("lab01-z") as expect:
        expect.equal("a" * 10_000, "b")
    assert len(str(caught.value)) < 1000


def test_an_interrupt_is_not_a_failure() -> None:
    with pytest.raises(KeyboardInterrupt), check("lab01-k"):
        raise KeyboardInterrupt
    assert progress.entries() == []


@pytest.mark.parametrize("bad", ["", "lab 01", "lab01.x", "läb"])
def test_an_id_that_nbgrader_would_refuse_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError), check(bad):
        pass


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_home_does_not_stop_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("LABKIT_HOME", str(blocked))
    with check("lab01-r") as expect:
        expect.equal(1, 1)
    assert "progress is not saved" in capsys.readouterr().out
    assert progress.entries() == []


def _many(home: str, name: str) -> None:
    os.environ["LABKIT_HOME"] = home
    for i in range(25):
        progress.record(f"{name}-{i % 5}", True)


def test_two_kernels_may_write_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    context = multiprocessing.get_context("spawn")
    kernels = [context.Process(target=_many, args=(str(tmp_path), "same")) for _ in range(3)]
    for kernel in kernels:
        kernel.start()
    for kernel in kernels:
        kernel.join(60)
        assert kernel.exitcode == 0
    assert {e.check: e.tries for e in progress.entries()} == {f"same-{i}": 15 for i in range(5)}
    assert not (tmp_path / "progress.db").stat().st_mode & stat.S_IXUSR
