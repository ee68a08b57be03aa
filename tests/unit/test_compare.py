"""Telling a change from noise."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from labkit import cli
from labkit.bench.compare import compare, compare_runs, mcnemar, wilson
from labkit.errors import ConfigError, LabkitError
from labkit.evaluate import Resources, Result, Run


def made(outcomes: list[bool], seconds: list[float] | None = None, **more: Any) -> Run:
    times = seconds or [1.0] * len(outcomes)
    results = tuple(
        Result(
            case=f"c{i}", outcome="completed" if done else "failed", reason="" if done else "no", seconds=s
        )
        for i, (done, s) in enumerate(zip(outcomes, times, strict=True))
    )
    fields: dict[str, Any] = {"suite": "s", "backend": "b", "machine": "here", "results": results}
    return Run(**{**fields, "resources": Resources(peak_rss_mb=1, cpu_s=1), **more})


def word(a: Run, b: Run) -> str:
    return compare_runs(a, b).changes[0].word


def figure(
    name: str = "x.accuracy", value: float = 0.8, unit: str = "share", n: int = 40, **more: Any
) -> Any:
    return (
        {"name": name, "value": value, "unit": unit, "n": n, "low": None, "high": None}
        | {"simulated": False}
        | more
    )


def files(folder: Path, a: Any, b: Any) -> tuple[Path, Path]:
    paths = folder / "a.json", folder / "b.json"
    for path, content in zip(paths, (a, b), strict=True):
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return paths


def of_figures(folder: Path, a: Any, b: Any) -> str:
    return compare(*files(folder, [a], [b])).changes[0].word


# --- the test itself ---


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (6, 2, 0.2890625)]
)
def test_mcnemar_is_the_exact_sign_test(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(p)
    assert mcnemar(gained, lost) == pytest.approx(p)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_a_probability(lost: int, gained: int) -> None:
    assert 0 < mcnemar(lost, gained) <= 1


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_has_a_width(pair: tuple[int, int]) -> None:
    hits, n = pair
    low, high = wilson(hits, n)
    assert -1e-9 <= low <= hits / n + 1e-9
    assert hits / n - 1e-9 <= high <= 1 + 1e-9
    assert high - low > 0


# --- runs ---


def test_a_drop_no_change_and_too_few_cases() -> None:
    yes = [True] * 60
    assert word(made(yes), made([False] * 6 + yes[6:])) == "DROP"
    assert word(made([False] * 6 + yes[6:]), made(yes)) == "better"
    assert word(made(yes), made(yes)) == "no significant change"
    assert word(made(yes[:9]), made(yes[:9])) == "too few cases to tell"
    assert word(made(yes[:5]), made([False] * 5)) == "too few cases to tell"  # all lost, and still p = 0.06
    assert word(made(yes[:6]), made([False] * 6)) == "DROP"


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_a_run_against_itself_is_never_a_change(outcomes: list[bool]) -> None:
    run = made(outcomes)
    assert {c.word for c in compare_runs(run, run).changes} <= {
        "no significant change",
        "too few cases to tell",
    }


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_swapping_the_runs_swaps_drop_and_better(pairs: list[tuple[bool, bool]]) -> None:
    a, b = made([x for x, _ in pairs]), made([y for _, y in pairs])
    swapped = {"DROP": "better", "better": "DROP"}
    there, back = word(a, b), word(b, a)
    assert swapped.get(there) == (back if there in swapped else None)


def test_only_common_cases_count_and_the_others_are_named() -> None:
    a, b = made([True] * 10), made([True] * 10)
    b = b.model_copy(
        update={
            "results": tuple(r.model_copy(update={"case": f"n{r.case}"}) for r in b.results[:3])
            + b.results[3:]
        }
    )
    found = compare_runs(a, b)
    assert found.changes[0].why.startswith("7 pairs")
    assert [n for n in found.notes if n.startswith("only the")] == [
        "only the first has 3 of its cases (c0, c1, c2): left out",
        "only the second has 3 of its cases (nc0, nc1, nc2): left out",
    ]


def test_broken_cases_are_named_with_their_reason() -> None:
    notes = compare_runs(made([True, True]), made([True, False])).notes
    assert "no longer completed: c1: no" in notes


def test_different_suites_and_strangers_are_refused() -> None:
    with pytest.raises(ConfigError, match="different suites"):
        compare_runs(made([True]), made([True], suite="other"))
    other = made([True]).results[0].model_copy(update={"case": "z"})
    with pytest.raises(ConfigError, match="no case in common"):
        compare_runs(made([True]), made([True], results=(other,)))


@pytest.mark.parametrize(
    ("factor", "n", "expected"),
    [
        (1.0, 12, "no significant change"),
        (1.1, 12, "no significant change"),  # tolerated
        (2.0, 12, "DROP"),
        (0.5, 12, "better"),
        (9.0, 4, "too few cases to tell"),
    ],
)
def test_times_are_paired_too(factor: float, n: int, expected: str) -> None:
    times = [0.5 + 0.1 * i for i in range(n)]
    change = compare_runs(made([True] * n, times), made([True] * n, [t * factor for t in times])).changes[1]
    assert change.word == expected


def test_times_of_zero_and_of_another_machine() -> None:
    a, b = made([True] * 8, [0.0] * 8), made([True] * 8, [0.0] * 8)
    assert compare_runs(a, b).changes[1].word == "no significant change"
    found = compare_runs(a, made([True] * 8, machine="there"))
    assert len(found.changes) == 1
    assert "another machine" in found.notes[0]


# --- figures ---


def test_shares_are_compared_by_their_counts(tmp_path: Path) -> None:
    assert of_figures(tmp_path, figure(value=0.9, n=200), figure(value=0.6, n=200)) == "DROP"
    assert of_figures(tmp_path, figure(value=0.6, n=200), figure(value=0.9, n=200)) == "better"
    assert (
        of_figures(tmp_path, figure(value=0.9, n=4000), figure(value=0.9, n=4000)) == "no significant change"
    )
    assert of_figures(tmp_path, figure(value=1.0, n=3), figure(value=0.67, n=3)) == "too few cases to tell"
    share = figure("tools.false_none", 0.1, n=200)  # less is better
    assert of_figures(tmp_path, share, {**share, "value": 0.4}) == "DROP"
    odd = figure("x.share_of_coins", 0.1, n=200)
    assert of_figures(tmp_path, odd, {**odd, "value": 1.4}) == "not compared"


def test_repeated_measurements_are_compared_by_their_ranges(tmp_path: Path) -> None:
    fast = figure("e.decode_per_s", 80.0, "tokens/s", 5, low=78.0, high=82.0)
    slow = {**fast, "value": 50.0, "low": 48.0, "high": 52.0}
    assert of_figures(tmp_path, fast, slow) == "DROP"
    assert of_figures(tmp_path, slow, fast) == "better"
    assert (
        of_figures(tmp_path, fast, {**fast, "value": 76.0, "low": 75.0, "high": 77.0})
        == "no significant change"
    )
    assert of_figures(tmp_path, fast, {**slow, "high": 79.0}) == "no significant change"
    assert of_figures(tmp_path, {**fast, "n": 3}, {**slow, "n": 3}) == "too few cases to tell"
    wait = figure("e.first_s", 1.0, "s", 5, low=0.9, high=1.1)
    assert of_figures(tmp_path, wait, {**wait, "value": 2.0, "low": 1.9, "high": 2.1}) == "DROP"
    odd = figure("e.colour", 1.0, "hue", 5, low=0.9, high=1.1)
    assert of_figures(tmp_path, odd, {**odd, "value": 2.0, "low": 1.9, "high": 2.1}) == "changed"


@pytest.mark.parametrize(
    "change", [{"unit": "s"}, {"simulated": True}, {"n": 0}, {"unit": "rows", "value": 3.0}]
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, change: dict[str, Any]) -> None:
    a = figure("x.wrong_rows", 0.0, "rows") if change.get("unit") == "rows" else figure()
    assert of_figures(tmp_path, a, {**a, **change}) == "not compared"


def test_figures_that_only_one_has_are_named(tmp_path: Path) -> None:
    found = compare(*files(tmp_path, [figure("a.x"), figure("b.x")], [figure("b.x"), figure("c.x")]))
    assert [c.name for c in found.changes] == ["b.x"]
    assert "only the first has: a.x" in found.notes
    assert "only the second has: c.x" in found.notes


# --- bad files ---


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("{}", "no run"),
        ("7", "no figures"),
        ("[7]", "no figures"),
        ([{"name": "x"}], "no figures"),
        ([figure(value=math.nan)], "not a number"),
        ([figure(low=math.inf, high=1.0)], "not a number"),
        ([figure(value="high")], "no figures"),
        ([figure(), figure()], "two figures"),
        ([], "no figure in common"),
        ([figure("other.name")], "no figure in common"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, told: str) -> None:
    good, bad = files(tmp_path, [figure()], content)
    with pytest.raises(ConfigError, match=told):
        compare(good, bad)


def test_two_forms_cannot_be_compared(tmp_path: Path) -> None:
    a, _ = files(tmp_path, [figure()], "")
    b = made([True]).save(tmp_path / "run.json")
    with pytest.raises(ConfigError, match="different forms"):
        compare(a, b)
    with pytest.raises(ConfigError, match="cannot be read"):
        compare(a, tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        compare(a, tmp_path / "b.json")


# --- the command ---


def bench(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["bench", *map(str, arguments)])


def test_the_gate_ends_with_exit_code_1_only_for_a_drop(tmp_path: Path) -> None:
    good, bad = made([True] * 40).save(tmp_path / "good.json"), made([False] * 40).save(tmp_path / "bad.json")
    result = bench("compare", good, bad, "--json", tmp_path / "out.json")
    assert result.exit_code == 1
    assert "DROP" in result.output
    assert json.loads((tmp_path / "out.json").read_text())["changes"][0]["word"] == "DROP"
    assert bench("compare", good, good).exit_code == 0
    assert bench("compare", bad, good).exit_code == 0
    for wrong in (["compare", good], ["compare"], ["compare", good, bad, good], ["engine", good]):
        assert isinstance(bench(*wrong).exception, LabkitError)
