"""Routing metrics: what they must be for routers whose quality is known, and for columns that are no good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labkit.errors import ConfigError
from labkit.routing import metrics, read_outcomes
from labkit.routing.metrics import Numbers


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[Numbers, Numbers]:
    """Weak and strong outcomes with a gap."""
    n = draw(st.integers(2, 40))
    weak, strong = (draw(hnp.arrays(float, n, elements=st.sampled_from([0.0, 1.0]))) for _ in range(2))
    assume(strong.sum() > weak.sum())
    return weak, strong


@st.composite
def routed(draw: st.DrawFn) -> tuple[Numbers, Numbers, Numbers]:
    """Outcomes, and gains with many ties."""
    weak, strong = draw(outcomes())
    return draw(hnp.arrays(float, len(weak), elements=st.integers(0, 4).map(float))), weak, strong


@given(outcomes())
def test_a_router_that_knows_nothing_has_an_apgr_of_one_half_exactly(both: tuple[Numbers, Numbers]) -> None:
    assert metrics.apgr(np.zeros(len(both[0])), *both) == pytest.approx(0.5)


def test_random_gains_have_an_apgr_of_one_half_on_average() -> None:
    rng = np.random.default_rng(3)
    weak, strong = (rng.uniform(size=400) < 0.6).astype(float), (rng.uniform(size=400) < 0.85).astype(float)
    mean = np.mean([metrics.apgr(rng.normal(size=400), weak, strong) for _ in range(300)])
    assert mean == pytest.approx(0.5, abs=0.02)


@given(routed())
def test_ties_are_the_expectation_over_every_order_among_them(
    case: tuple[Numbers, Numbers, Numbers],
) -> None:
    gain, weak, strong = case
    rng = np.random.default_rng(0)
    broken = [metrics.apgr(gain + rng.uniform(0, 0.5, len(gain)), weak, strong) for _ in range(400)]
    spread = np.std(broken) / 20 + 1e-9
    # breaking n ties in a row replaces a straight line by n steps whose trapezoids have the same expected area
    assert abs(np.mean(broken) - metrics.apgr(gain, weak, strong)) < 6 * spread


@given(routed())
def test_no_router_beats_the_oracle_at_any_share(case: tuple[Numbers, Numbers, Numbers]) -> None:
    gain, weak, strong = case
    best, mine = metrics.curve(metrics.oracle(weak, strong), weak, strong), metrics.curve(gain, weak, strong)
    for share in np.linspace(0, 1, 23):
        assert best.at(share) >= mine.at(share) - 1e-9
    assert metrics.apgr(metrics.oracle(weak, strong), weak, strong) >= metrics.apgr(gain, weak, strong) - 1e-9


@given(routed())
def test_the_share_rises_as_the_threshold_falls_from_all_weak_to_all_strong(
    case: tuple[Numbers, Numbers, Numbers],
) -> None:
    gain, weak, strong = case
    made = metrics.curve(gain, weak, strong, weak_cost=0.1, strong_cost=2.0)
    assert (np.diff(made.share) > 0).all()
    assert (np.diff(made.threshold) < 0).all()
    assert (made.share[0], made.share[-1]) == (0.0, 1.0)
    assert (made.quality[0], made.quality[-1]) == pytest.approx((weak.mean(), strong.mean()))
    assert (made.cost[0], made.cost[-1]) == pytest.approx((0.1, 2.0))
    for share, threshold in zip(made.share, made.threshold, strict=True):
        assert share == pytest.approx(np.mean(gain >= threshold))


@given(routed())
def test_the_order_of_the_rows_does_not_matter(case: tuple[Numbers, Numbers, Numbers]) -> None:
    order = np.random.default_rng(1).permutation(len(case[0]))
    mixed = [column[order] for column in case]
    assert metrics.apgr(*mixed) == pytest.approx(metrics.apgr(*case))
    confidence = case[0] / 4
    assert metrics.ece(confidence[order], case[1][order], bins=3) == pytest.approx(
        metrics.ece(confidence, case[1], bins=3)
    )


@given(routed())
def test_a_threshold_is_the_first_point_that_reaches_it(case: tuple[Numbers, Numbers, Numbers]) -> None:
    made = metrics.curve(*case)
    shares = [metrics.cpt(made, p) for p in (20, 50, 80)]
    assert shares == sorted(shares)
    fine = np.linspace(0, 1, 2001)
    recovered = np.interp(fine, made.share, made.recovered)
    for p, share in zip((0.2, 0.5, 0.8), shares, strict=True):
        assert np.interp(share, made.share, made.recovered) == pytest.approx(p)
        assert (recovered[fine < share - 1e-9] < p + 1e-9).all()


def test_a_curve_that_falls_again_is_not_inverted_at_its_second_crossing() -> None:
    weak, strong = np.array([0.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 1.0])
    made = metrics.curve([4, 3, 2, 1], weak, strong)
    assert list(made.recovered) == [0.0, 0.5, 0.0, 0.5, 1.0]
    assert metrics.cpt(made, 50) == pytest.approx(0.25)
    assert metrics.cpt(made, 80) == pytest.approx(0.75 + 0.25 * 0.6)


def test_known_values() -> None:
    weak, strong = [0, 1, 0, 1], [1, 1, 1, 1]
    assert metrics.apgr([1, 0, 1, 0], weak, strong) == pytest.approx(0.75)
    assert metrics.apgr([0, 1, 0, 1], weak, strong) == pytest.approx(0.25)
    assert metrics.cpt(metrics.random_router(weak, strong), 80) == pytest.approx(0.8)
    assert metrics.auc([0.9, 0.2, 0.5, 0.5], [1, 0, 1, 0]) == pytest.approx(0.875)
    assert metrics.ece([0.1] * 10 + [0.9] * 10, [0] * 10 + [1] * 10, bins=2) == pytest.approx(0.1)


@given(
    hnp.arrays(float, st.integers(4, 60), elements=st.integers(0, 9).map(float)),
    st.integers(0, 2**32 - 1),
)
def test_auc_is_the_share_of_pairs_in_the_right_order(score: Numbers, seed: int) -> None:
    event = (np.random.default_rng(seed).uniform(size=len(score)) < 0.5).astype(float)
    assume(0 < event.sum() < len(event))
    above = score[event == 1][:, None] - score[event == 0]
    assert metrics.auc(score, event) == pytest.approx(np.mean((above > 0) + 0.5 * (above == 0)))


def test_ece_is_small_for_the_calibrated_and_large_for_the_sure() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=20_000)
    right = (rng.uniform(size=len(p)) < p).astype(float)
    assert metrics.ece(p, right) < 0.02
    assert metrics.ece(np.ones(len(p)), right) == pytest.approx(0.5, abs=0.02)
    assert metrics.ece(np.full(len(p), right.mean()), right) < 1e-9
    low, high = metrics.bootstrap(metrics.ece, p[:500], right[:500], draws=200)
    assert 0 <= low < metrics.ece(p[:500], right[:500]) < high + 0.02
    shown = metrics.reliability(p, right, bins=10)
    assert [n for _, _, n in shown] == [2000] * 10
    assert all(abs(c - r) < 0.05 for c, r, _ in shown)


def test_drawing_families_again_gives_a_wider_interval_than_drawing_requests() -> None:
    rng = np.random.default_rng(0)
    base = np.repeat(rng.uniform(size=12), 20)
    right = (rng.uniform(size=240) < base).astype(float)
    groups = [str(i // 20) for i in range(240)]

    def mean(column: Numbers) -> float:
        return float(column.mean())

    by_row, by_family = (metrics.bootstrap(mean, right, groups=g, draws=500) for g in (None, groups))
    assert by_family[1] - by_family[0] > 1.5 * (by_row[1] - by_row[0])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (([], [], []), "is empty"),
        (([1.0, np.nan], [0, 1], [1, 1]), "gain has nan in row 2"),
        (([1.0, 2.0], [0, np.inf], [1, 1]), "weak has inf in row 2"),
        (([1.0], [0, 1], [1, 1]), "not equally long"),
        ((["high", "low"], [0, 1], [1, 1]), "not numbers"),
        (([1.0, 2.0], [1, 1], [0, 1]), "there is no gap"),
        (([1.0, 2.0], [1, 1], [1, 1]), "there is no gap"),
    ],
)
def test_bad_columns_are_named(columns: tuple[list[float], ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        metrics.apgr(*columns)
    assert caught.value.hint


def test_one_kind_of_outcome_has_no_auc_and_no_interval() -> None:
    with pytest.raises(ConfigError, match="ended the same way"):
        metrics.auc([1, 2, 3], [1, 1, 1])
    with pytest.raises(ConfigError, match="No sample"):
        metrics.bootstrap(metrics.auc, [1, 2, 3], [1, 1, 1], draws=20)
    with pytest.raises(ConfigError, match="2 groups for 3"):
        metrics.bootstrap(metrics.auc, [1, 2, 3], [1, 0, 1], groups=["a", "b"])
    with pytest.raises(ConfigError, match="not a probability"):
        metrics.ece([0.5, 1.5], [0, 1])


def test_outcomes_come_from_any_csv_with_the_columns(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.csv"
    file.write_text('extra,strong_correct,weak_correct,prompt\nx,1,0,"a, b"\ny,1,1,c\n', encoding="utf-8")
    read = read_outcomes(file)
    assert read.prompts == ("a, b", "c")
    assert (list(read.weak), list(read.strong)) == ([0, 1], [1, 1])
    assert (list(read.weak_cost), list(read.strong_cost)) == ([0, 0], [1, 1])
    file.write_text(
        "prompt,weak_correct,strong_correct,weak_cost,strong_cost\na,True,False,0.5,7\n", encoding="utf-8"
    )
    assert (list(read_outcomes(file).weak), list(read_outcomes(file).strong_cost)) == ([1], [7])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompt,weak_correct\na,1\n", "no column strong_correct"),
        ("prompt,weak_correct,strong_correct\n", "is empty"),
        ("prompt,weak_correct,strong_correct\na,,1\n", "weak_correct has nan in row 1"),
        ("prompt,weak_correct,strong_correct\na,0.5,1\n", "other than 0 and 1"),
        ("prompt,weak_correct,strong_correct\na,yes,1\n", "not numbers"),
        ("prompt,weak_correct,strong_correct\n,1,1\n", "without a prompt"),
        ("prompt,weak_correct,strong_correct,weak_cost\na,1,1,\n", "weak_cost has nan"),
        ("", "cannot be read"),
    ],
)
def test_a_bad_csv_is_refused_with_the_place(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        read_outcomes(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_outcomes(tmp_path / "none.csv")
