"""Routers: every decision, every budget, every kind of bad input; and what must never leave the machine."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import trace
from labkit.bench import bfcl, route, route_cases, route_record
from labkit.client import Client
from labkit.errors import BackendUnavailable, ConfigError, OfflineError
from labkit.messages import TokenLogprob, ToolCall
from labkit.redact import Redactor
from labkit.routing import (
    LARGE,
    SMALL,
    Attempt,
    Budget,
    BudgetRouter,
    Calibration,
    Cascade,
    ClassifierRouter,
    ConfidenceRouter,
    Decision,
    Goal,
    LocalOnly,
    Predictor,
    Price,
    RouteRequest,
    Row,
    RuleRouter,
    State,
    TableRouter,
    holds_private_data,
    longer_than,
    of_task,
    read_outcomes,
    read_state,
    speaks_of,
)
from labkit.routing.learned import trees
from labkit.routing.one_pass import Pass, one_pass
from labkit.routing.signals import describe, signals
from labkit.tools import ToolRegistry


class Always:
    """A router that wants one target."""

    def __init__(self, target: str = LARGE) -> None:
        self.target = target

    def route(self, request: RouteRequest | str, /) -> Decision:
        return Decision(self.target, 0.3, "always")


class Clock:
    """Shows what it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def outcomes(n: int = 200, seed: int = 0) -> tuple[list[dict[str, float]], np.ndarray]:
    """Signals of which one tells how often the small model is right, and one tells nothing."""
    rng = np.random.default_rng(seed)
    margin = rng.uniform(0, 3, n)
    rows = [{"margin": float(m), "noise": float(x)} for m, x in zip(margin, rng.normal(size=n), strict=True)]
    return rows, (rng.uniform(size=n) < margin / 3).astype(float)


def small(request: RouteRequest) -> Attempt:
    return Attempt("small", {"margin": 0.2, "noise": 0.0})


def cascade(router: Any = None, **options: Any) -> tuple[Cascade, list[str]]:
    """A cascade, and the texts that its large model got to see."""
    seen: list[str] = []

    def large(request: RouteRequest) -> str:
        seen.append(request.text)
        return "large"

    return Cascade(options.pop("small", small), large, router or Always(), **options), seen


# --- rules ---


def test_the_first_rule_that_fits_decides_and_is_the_reason() -> None:
    router = RuleRouter(
        [longer_than(5, LARGE), speaks_of("contracts", LARGE), of_task("greeting", SMALL)], default="other"
    )
    assert router.route("one two three four five six").reason == "more than 5 words"
    assert router.route("Is this contract valid?").target == LARGE
    assert router.route(RouteRequest("hello", task="greeting")).reason == "task greeting"
    other = router.route("hello")
    assert (other.target, other.confidence, other.reason, other.mark) == ("other", 1.0, "no rule fits", "")
    with pytest.raises(ConfigError, match="same name"):
        RuleRouter([longer_than(5, LARGE), longer_than(5, SMALL)])


@pytest.mark.parametrize("text", ["", "  \n "])
def test_no_words_are_an_error_for_every_router(text: str) -> None:
    rows, right = outcomes()
    for router in (
        RuleRouter([]),
        LocalOnly(small),
        ClassifierRouter(Predictor.fit(rows, right)),
        cascade()[0],
    ):
        with pytest.raises(ConfigError, match="no words"):
            router.route(text)


# --- learning ---


def test_a_classifier_learns_and_its_probability_is_calibrated() -> None:
    rows, right = outcomes(600)
    for model in (None, trees()):
        predictor = Predictor.fit(rows, right, model=model)
        new, truth = outcomes(500, seed=1)
        probability = np.array([predictor.probability(row) for row in new])
        assert abs(probability - np.array([row["margin"] / 3 for row in new])).mean() < 0.08
        router = ClassifierRouter(predictor, 0.5)
        sure, unsure = (
            RouteRequest("a", signals=new[0] | {"margin": 2.9}),
            RouteRequest("a", signals={"margin": 0.1, "noise": 0.0}),
        )
        assert (router.route(sure).target, router.route(unsure).target) == (SMALL, LARGE)
        assert truth.mean() == pytest.approx(probability.mean(), abs=0.08)


def test_a_request_stays_small_where_the_large_model_fails_too() -> None:
    rows, right = outcomes(400)
    hopeless = 1.0 - right
    router = ClassifierRouter(Predictor.fit(rows, right), 0.5, strong=Predictor.fit(rows, right))
    unsure = RouteRequest("a", signals={"margin": 0.1, "noise": 0.0})
    assert router.gain(unsure) == pytest.approx(0.0)
    assert router.route(unsure).target == SMALL
    assert ClassifierRouter(router.predictor, 0.5, router.strong, weight=0.0).route(unsure).target == LARGE
    helped = ClassifierRouter(Predictor.fit(rows, right), 0.5, strong=Predictor.fit(rows, hopeless))
    assert helped.route(unsure).target == LARGE


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_the_ends_send_nothing_and_nearly_everything(threshold: float) -> None:
    rows, right = outcomes()
    router = ClassifierRouter(Predictor.fit(rows, right), threshold)
    targets = {router.route(RouteRequest("a", signals=row)).target for row in rows if row["margin"] < 2}
    assert targets == ({SMALL} if threshold == 0 else {LARGE})


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12, unique=True))
def test_a_higher_threshold_never_escalates_less(thresholds: list[float]) -> None:
    rows, right = outcomes(60)
    calibration = Calibration.fit([row["margin"] for row in rows], right)
    shares = [
        sum(
            ConfidenceRouter(calibration, threshold=t).route(RouteRequest("a", signals=row)).target == LARGE
            for row in rows
        )
        for t in sorted(thresholds)
    ]
    assert shares == sorted(shares)


def test_a_calibration_never_falls_and_is_flat_outside() -> None:
    rows, right = outcomes()
    calibration = Calibration.fit([row["margin"] for row in rows], right)
    values = [calibration(x) for x in np.linspace(-5, 8, 200)]
    assert values == sorted(values)
    assert 0 <= values[0] <= values[-1] <= 1
    assert calibration(-1e9) == values[0]


GOOD, RIGHT = outcomes(40)


@pytest.mark.parametrize(
    ("rows", "right", "says"),
    [
        ([], [], "nothing to learn from"),
        ([{}], [1], "nothing to learn from"),
        (GOOD, np.ones(40), "ended the same way"),
        (GOOD, np.zeros(40), "ended the same way"),
        (GOOD, RIGHT[:-1], "40 rows, 39 outcomes"),
        ([*GOOD[:-1], {"margin": 1.0}], RIGHT, "missing: noise"),
        ([*GOOD[:-1], {"margin": math.nan, "noise": 0.0}], RIGHT, "margin has nan in row 40"),
        ([*GOOD[:-1], {"margin": math.inf, "noise": 0.0}], RIGHT, "margin has inf"),
        (GOOD, [*RIGHT[:-1], math.nan], "right has nan"),
        (GOOD, [*RIGHT[:-1], 0.5], "neither 0 nor 1"),
    ],
)
def test_data_that_teaches_nothing_is_refused(rows: list[dict[str, float]], right: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Predictor.fit(rows, right)
    assert caught.value.hint


def test_too_few_families_and_odd_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="only one family"):
        Predictor.fit(GOOD, RIGHT, groups=["a"] * 40)
    with pytest.raises(ConfigError, match="3 families"):
        Predictor.fit(GOOD, RIGHT, groups=["a", "b", "c"])
    order = np.argsort(RIGHT)
    with pytest.raises(ConfigError, match="ended the same way"):  # without one family only one kind is left
        Predictor.fit([GOOD[i] for i in order], RIGHT[order], groups=[str(r) for r in RIGHT[order]])
    with pytest.raises(ConfigError, match="empty"):
        Calibration.fit([], [])
    with pytest.raises(ConfigError, match="has nan"):
        Calibration.fit([1.0, math.nan], [0, 1])


def test_signals_that_are_missing_or_no_numbers_are_refused_when_routing() -> None:
    predictor = Predictor.fit(*outcomes())
    router = ClassifierRouter(predictor)
    with pytest.raises(ConfigError, match="missing: noise"):
        router.route(RouteRequest("a", signals={"margin": 1.0}))
    with pytest.raises(ConfigError, match="margin has nan"):
        router.route(RouteRequest("a", signals={"margin": math.nan, "noise": 0.0}))
    confident = ConfidenceRouter(predictor.calibration)
    with pytest.raises(ConfigError, match="no signal 'margin'"):
        confident.route("a")
    with pytest.raises(ConfigError, match="nan cannot be calibrated"):
        confident.route(RouteRequest("a", attempt=Attempt("x", {"margin": math.nan})))
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigError, match="no probability"):
            ClassifierRouter(predictor, bad)
        with pytest.raises(ConfigError, match="no probability"):
            ConfidenceRouter(predictor.calibration, threshold=bad)


# --- budgets ---


def test_a_budget_for_twenty_requests_admits_twenty() -> None:
    price = Price(money=0.0016)
    budget = Budget(money=20 * price.money)
    admitted = [budget.admit(price) == ("", "") for _ in range(22)]
    assert sum(admitted) == 20


def test_money_is_spent_and_comes_back_with_the_period() -> None:
    clock = Clock()
    budget = Budget(money=0.25, period_s=60, clock=clock)
    router = BudgetRouter(Always(), budget, lambda _: Price(0.1))
    assert [router.route("a").target for _ in range(4)] == [LARGE, LARGE, SMALL, SMALL]
    last = router.route("a")
    assert (last.mark, last.reason, last.money) == ("budget", "the money is spent", 0.0)
    clock.now += 60
    assert (router.route("a").target, router.route("a").money) == (LARGE, 0.1)


def test_a_request_that_would_take_too_long_stays() -> None:
    router = BudgetRouter(Always(), Budget(seconds=2), lambda r: Price(0, 3.0 if r.task == "slow" else 1.0))
    assert router.route("a").target == LARGE
    assert router.route(RouteRequest("a", task="slow")).reason == "it would take too long"


@given(st.floats(0, 1), st.lists(st.booleans(), max_size=60))
def test_the_share_of_escalations_is_kept_at_every_moment(share: float, wishes: list[bool]) -> None:
    budget, sent = Budget(share=share), 0
    for i, wish in enumerate(wishes, 1):
        sent += (
            BudgetRouter(Always(LARGE if wish else SMALL), budget, lambda _: Price()).route("a").target
            == LARGE
        )
        assert sent <= share * i + 1e-6
    assert (budget.seen, budget.escalated) == (len(wishes), sent)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
def test_whatever_the_clock_shows_no_more_is_spent_than_the_budget_of_a_period(times: list[float]) -> None:
    clock = Clock()
    budget = Budget(money=1.0, period_s=1e9, clock=clock)
    router = BudgetRouter(Always(), budget, lambda _: Price(0.4))
    for now in times:
        earlier, clock.now = clock.now, now
        decision = router.route("a")
        if not now >= earlier:
            assert decision.target == SMALL
            assert decision.mark in ("clock", "budget")
        assert budget.spent <= 1.0


def test_a_clock_that_goes_backwards_gives_a_marked_local_decision_and_no_new_money() -> None:
    clock = Clock()
    router = BudgetRouter(Always(), Budget(money=0.1, period_s=60, clock=clock), lambda _: Price(0.1))
    assert router.route("a").target == LARGE
    clock.now = 10.0
    assert (router.route("a").target, router.route("a").mark) == (SMALL, "budget")
    clock.now = 5.0
    decision = router.route("a")
    assert (decision.target, decision.mark) == (SMALL, "clock")
    clock.now = 64.0
    assert router.route("a").mark == "budget"
    clock.now = 66.0
    assert router.route("a").target == LARGE


def test_threads_share_a_budget() -> None:
    budget = Budget(money=50)
    router, sent = BudgetRouter(Always(), budget, lambda _: Price(1.0)), list[str]()

    def work() -> None:
        sent.extend(router.route("a").target for _ in range(40))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sent.count(LARGE), budget.spent) == (50, 50.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"money": -1},
        {"money": math.nan},
        {"share": 1.2},
        {"share": -0.1},
        {"seconds": math.nan},
        {"period_s": 0},
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="cannot be kept"):
        Budget(**bad)


@pytest.mark.parametrize("price", [Price(-1.0), Price(math.nan), Price(0, math.nan)])
def test_a_price_that_is_none_is_refused(price: Price) -> None:
    with pytest.raises(ConfigError, match="is no price"):
        BudgetRouter(Always(), Budget(), lambda _: price).route("a")
    with pytest.raises(ConfigError, match="is no price"):
        cascade(price=lambda _: price)[0].answer("a")


# --- cascade ---


def test_small_first_then_large_where_the_router_or_a_check_says_so() -> None:
    stays, seen = cascade(Always(SMALL))
    assert (stays.answer("a").answer, seen) == ("small", [])
    goes, seen = cascade(Always(LARGE), price=lambda _: Price(0.02))
    answered = goes.answer("a")
    assert (answered.answer, answered.decision.money, answered.attempt.answer) == ("large", 0.02, "small")
    failed, seen = cascade(Always(SMALL), small=lambda _: Attempt(None, problem="not valid"))
    assert (failed.answer("a").decision.reason, seen) == ("the answer failed a check", ["a"])


def test_an_attempt_that_was_made_is_not_made_again() -> None:
    def never(request: RouteRequest) -> Attempt:
        raise AssertionError("asked again")

    made, _ = cascade(Always(SMALL), small=never)
    assert made.answer(RouteRequest("a", attempt=Attempt("before"))).answer == "before"


@pytest.mark.parametrize(
    "error", [BackendUnavailable("down"), OfflineError("off"), ConnectionResetError(), TimeoutError()]
)
def test_a_large_model_that_is_down_leaves_a_marked_local_answer_and_costs_nothing(error: Exception) -> None:
    def large(request: RouteRequest) -> str:
        raise error

    budget = Budget(money=1.0)
    down = Cascade(small, large, Always(), budget=budget, price=lambda _: Price(0.5))
    for _ in range(3):
        answered = down.answer("a")
        assert (answered.answer, answered.decision.target, answered.decision.mark) == (
            "small",
            SMALL,
            "unavailable",
        )
        assert type(error).__name__ in answered.decision.reason
    assert (budget.spent, budget.escalated, budget.seen) == (0.0, 0, 3)


def test_a_fault_of_the_program_is_not_hidden_as_an_outage() -> None:
    def large(request: RouteRequest) -> str:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        Cascade(small, large, Always()).answer("a")


def test_a_spent_budget_leaves_a_marked_local_answer() -> None:
    made, seen = cascade(budget=Budget(money=0.1), price=lambda _: Price(0.1))
    answers = [made.answer("a") for _ in range(3)]
    assert [a.answer for a in answers] == ["large", "small", "small"]
    assert [a.decision.mark for a in answers] == ["", "budget", "budget"]
    assert len(seen) == 1


# --- private data ---

PRIVATE = ("ana@example.com", "+381 64 123 4567", "Bearer abcdef123456")


@given(st.sampled_from(PRIVATE), st.text(max_size=30), st.text(max_size=30), st.floats(0, 1))
def test_private_data_never_reaches_the_large_model(secret: str, before: str, after: str, p: float) -> None:
    made, seen = cascade(Always(), small=lambda _: Attempt("small", {}, "failed a check"))
    answered = made.answer(f"{before} {secret} {after}")
    assert (seen, answered.answer, answered.decision.mark) == ([], "small", "private")
    assert made.route(f"{before} {secret} {after}").target == SMALL


def test_the_flag_and_what_a_redactor_learnt_are_private_too() -> None:
    made, seen = cascade()
    assert made.answer(RouteRequest("My knee hurts.", private=True)).decision.mark == "private"
    redactor = Redactor(content=True)
    redactor.clean({"customer_name": "Quintana"})
    knows, also = cascade(redactor=redactor)
    assert knows.answer("Where does quintana live?").decision.mark == "private"
    assert knows.answer("Where does the river end?").answer == "large"
    assert (seen, also) == ([], ["Where does the river end?"])
    assert not holds_private_data("Order 20033 of 2026-12-05, 12.50 euros?")


def test_local_only_has_nothing_to_escalate_to() -> None:
    local = LocalOnly(small)
    assert vars(local).keys() == {"_small"}
    assert local.answer(RouteRequest("a", attempt=Attempt("x", problem="wrong"))).answer == "x"
    assert local.route("a").target == SMALL


# --- table ---

ROWS = [
    Row("chat", "tiny", quality=0.5, seconds=0.5, ram_mb=200),
    Row("chat", "medium", quality=0.8, seconds=4.0, ram_mb=2000),
    Row("chat", "cloud", quality=0.95, seconds=1.5, ram_mb=0, money=0.01, remote=True),
    Row("code", "medium", quality=0.6, seconds=6.0, ram_mb=2000),
]
EVERY = frozenset({"tiny", "medium", "cloud"})


def at(state: State, **options: Any) -> TableRouter:
    return TableRouter(ROWS, lambda: state, **options)


def test_a_table_chooses_by_priority_goal_memory_and_what_is_here() -> None:
    chat = RouteRequest("a", task="chat")
    assert at(State(EVERY)).route(chat).target == "cloud"
    assert at(State(EVERY)).route(chat).money == 0.01
    assert (
        at(State(frozenset({"tiny", "medium"}))).route(RouteRequest("a", "chat", priority="quality")).target
        == "medium"
    )
    assert (
        at(State(frozenset({"tiny", "medium"}))).route(RouteRequest("a", "chat", priority="speed")).target
        == "tiny"
    )
    assert (
        at(State(frozenset({"tiny", "medium"}), free_mb=1000))
        .route(RouteRequest("a", "chat", priority="quality"))
        .target
        == "tiny"
    )
    loaded = State(frozenset({"tiny", "medium"}), frozenset({"medium"}), free_mb=10)
    assert at(loaded).route(RouteRequest("a", "code")).target == "medium"
    slow = at(State(frozenset({"tiny", "medium"}), load=3.0), goals={"chat": Goal(seconds=3)})
    assert slow.route(RouteRequest("a", "chat", priority="quality")).target == "tiny"


def test_no_model_is_quick_enough_is_marked() -> None:
    decision = at(State(EVERY - {"cloud"}, load=9.0), goals={"chat": Goal(seconds=1)}).route(
        RouteRequest("a", "chat")
    )
    assert (decision.target, decision.mark) == ("tiny", "late")


def test_private_requests_never_get_a_remote_model() -> None:
    for request in (RouteRequest("a", "chat", private=True), RouteRequest(f"Write to {PRIVATE[0]}", "chat")):
        assert at(State(EVERY)).route(request).target != "cloud"
        with pytest.raises(BackendUnavailable):
            at(State(frozenset({"cloud"}))).route(request)


def test_a_table_changes_models_as_they_come_and_go_and_else_stays() -> None:
    states: Iterator[State] = iter(
        [State(EVERY - {"cloud"}), State(EVERY), State(EVERY - {"cloud"}), State(frozenset({"tiny"}))]
    )
    router = TableRouter(ROWS, lambda: next(states))
    request = RouteRequest("a", "chat", priority="quality")
    decisions = [router.route(request) for _ in range(4)]
    assert [d.target for d in decisions] == ["medium", "cloud", "medium", "tiny"]
    assert ["changed" in d.reason for d in decisions] == [False, True, True, True]
    alike = [Row("t", "a", 0.80, 1, 1), Row("t", "b", 0.81, 1, 1)]
    both = iter([State(frozenset({"a"})), State(frozenset({"a", "b"}))])
    stays = TableRouter(alike, lambda: next(both))
    assert [stays.route(RouteRequest("x", "t")).target for _ in range(2)] == ["a", "a"]


def test_a_table_that_cannot_answer_says_why() -> None:
    with pytest.raises(ConfigError, match="no task 'poetry'") as caught:
        at(State(EVERY)).route(RouteRequest("a", "poetry"))
    assert "chat, code" in caught.value.hint
    with pytest.raises(BackendUnavailable, match="answers now"):
        at(State(frozenset())).route(RouteRequest("a", "chat"))
    with pytest.raises(BackendUnavailable, match="fits the memory"):
        at(State(frozenset({"medium"}), free_mb=5)).route(RouteRequest("a", "chat"))
    for bad in ([], [ROWS[0], ROWS[0]]):
        with pytest.raises(ConfigError, match="table"):
            TableRouter(bad, lambda: State(EVERY))
    with pytest.raises(ConfigError, match="not measured"):
        Row("chat", "x", math.nan, 1, 1)


def test_the_state_is_that_of_this_machine() -> None:
    state = read_state({"here": lambda: True, "gone": lambda: False}, loaded=["here"])
    assert (state.available, state.loaded) == (frozenset({"here"}), frozenset({"here"}))
    assert state.free_mb > 0
    assert state.load >= 0


# --- traces ---


def test_every_decision_is_in_the_trace_with_its_cost_and_without_the_words(tmp_path: Path) -> None:
    made, _ = cascade(budget=Budget(money=0.05), price=lambda _: Price(0.03))
    with trace.start(tmp_path / "t.jsonl"):
        made.answer("The duck is asleep.")
        made.answer("The duck is awake.")
        made.answer(RouteRequest("The duck is private.", private=True))
    text = (tmp_path / "t.jsonl").read_text(encoding="utf-8")
    assert "duck" not in text
    final = [
        line["attributes"]
        for line in map(json.loads, text.splitlines())
        if line["name"] in ("route Cascade.answer", "route LocalOnly")
    ]
    assert [a["labkit.route.target"] for a in final] == [LARGE, SMALL, SMALL]
    assert [a["labkit.route.mark"] for a in final] == ["", "budget", "private"]
    assert [a["labkit.route.money"] for a in final] == [0.03, 0.0, 0.0]
    assert all(0 <= a["labkit.route.confidence"] <= 1 for a in final)


# --- the bench's cases, signals and records ---


def test_the_cases_are_the_same_each_time_and_their_answers_are_right() -> None:
    every = route_cases.cases()
    few = route_cases.cases(2)
    assert few == {name: cases[:2] for name, cases in every.items()}
    assert few != route_cases.cases(2, seed=1)
    assert len(every) >= 20
    assert sum(map(len, every.values())) + 40 + 60 >= 500
    for cases in every.values():
        requests = [case.messages[0]["content"] for case in cases]
        assert len(set(requests)) == len(requests)
        assert not any("{" in request for request in requests)
        for case in cases:
            ((name, accepted),) = case.answers[0].items()
            arguments = {k: next(v for v in ok if v != "") for k, ok in accepted.items() if "" not in ok}
            call = ToolRegistry.from_bfcl(case.functions).validate(ToolCall(name, arguments))
            assert bfcl.check(case, [call]) is None
            assert bfcl.check(case, []) == "count"


def test_a_family_with_a_mistake_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"functions": {"f": ["Do.", {"x": "string! What."}]}, "slots": {"x": ["a", "b"]}}
    for family, says in (
        ({**good, "requests": [["Do {x}.", "f", {"y": "{x}"}]]}, "no parameter y"),
        (
            {**good, "functions": {"f": ["Do.", {"x": "text! What."}]}, "requests": [["Do {x}.", "f", {}]]},
            "described as",
        ),
    ):
        monkeypatch.setattr(route_cases, "families", lambda family=family: {"one": family})
        with pytest.raises(ConfigError, match=says):
            route_cases.cases()


REGISTRY = ToolRegistry.from_bfcl(route_cases.cases(1)["gym"][0].functions)


def made(**changes: Any) -> Pass:
    token = TokenLogprob("x", -0.1, (("x", -0.1), ("y", -2.4)))
    first = Pass((), "book_class", {"name": "boxing", "day": "Friday"}, -0.1, -3.0, (token,), "", 0.5)
    return Pass(**{**vars(first), **changes})


@given(st.text(max_size=80))
def test_signals_are_finite_and_have_the_same_names_whatever_the_words(words: str) -> None:
    passes = [
        made(),
        made(tool="", arguments={}, tokens=()),
        made(arguments={"name": 3, "day": None}, problem="bad"),
    ]
    found = [signals(REGISTRY, words, p) for p in passes]
    assert len({tuple(f) for f in found}) == 1
    assert all(math.isfinite(v) for f in found for v in f.values())
    assert describe(words).items() <= found[0].items()


def test_signals_tell_a_grounded_call_from_another() -> None:
    good = signals(REGISTRY, "Sign me up for boxing on Friday.", made())
    bad = signals(
        REGISTRY, "Sign me up for boxing on Friday.", made(arguments={"name": "Friday", "day": "Monday"})
    )
    assert good["words_sum"] > bad["words_sum"]
    assert good["differs"] < bad["differs"]
    assert good["margin"] == pytest.approx(2.3)


def test_one_pass_calls_a_tool_with_words_of_the_request(model: Client) -> None:
    words = "Sign me up for boxing on Friday."
    first = one_pass(model, REGISTRY, words, none=False)
    assert first.tool == "book_class"
    assert first.arguments["day"] == "Friday"
    assert first.calls
    assert first.tokens
    assert first.seconds > 0
    lacking = one_pass(model, REGISTRY.only("book_class"), "Hello there!", none=False, grounded=True)
    assert (lacking.calls, lacking.tokens) == ((), ())
    assert lacking.missing
    assert one_pass(model, REGISTRY, "What is the capital of Peru?").calls == ()


def record(number: int, family: str, weak: bool, strong: bool) -> route_record.Recorded:
    return route_record.Recorded(
        f"tools:{family}:{number}", family, "words", made(), 1, 0, weak, strong, 0.5, 1.5
    )


def test_a_log_survives_a_run_that_was_cut_in_the_middle_of_a_line(tmp_path: Path) -> None:
    log = route_record.Log(tmp_path / "sub" / "log.jsonl")
    for i in range(3):
        log.add(record(i, "a", True, False))
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"id": "tools:a:3", "fam')
    again = route_record.Log(log.path)
    assert again.known == log.known
    assert next(iter(again.known.values())).first.tokens[0].top == (("x", -0.1), ("y", -2.4))


def test_no_family_is_in_training_and_in_the_test() -> None:
    names = [f"f{i}" for i in range(10)] + [f"desk_{i}" for i in range(5)] + [f"own_{i}" for i in range(4)]
    recorded = [record(i, name, i % 2 == 0, True) for name in names for i in range(3)]
    train, test = route.split(recorded, [{"x": 1.0}] * len(recorded))
    assert set(test.families) == {"f6", "f7", "f8", "f9", "desk_3", "desk_4"}
    assert not set(train.families) & set(test.families)
    assert len(train.rows) + len(test.rows) == len(recorded)
    assert len(train.weak) == len(train.rows)


def test_recorded_outcomes_are_written_as_a_csv_that_can_be_read(tmp_path: Path) -> None:
    recorded = [record(0, "a", True, False), record(1, "a", False, True), record(0, "b", True, True)]
    route.write_csv(tmp_path / "o.csv", recorded, [{"margin": 1.23456}] * 3)
    read = read_outcomes(tmp_path / "o.csv")
    assert (list(read.weak), list(read.strong)) == ([1, 0, 1], [0, 1, 1])
    assert (list(read.weak_cost), list(read.strong_cost)) == ([0.5] * 3, [1.5] * 3)
    assert "1.2346" in (tmp_path / "o.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_figures_are_of_the_test_families_and_only_the_perfect_expert_is_simulated() -> None:
    rng = np.random.default_rng(0)
    rows, recorded = [], []
    for family in [f"f{i}" for i in range(20)]:
        for i in range(10):
            margin = rng.uniform(0, 3)
            rows.append({"margin": margin, "margin_min": margin, "noise": rng.normal()})
            recorded.append(record(i, family, rng.uniform() < margin / 3, rng.uniform() < 0.9))
    train, test = route.split(recorded, rows)
    figures = {f.name: f for f in route._figures(route.choose(train), train, test)}
    assert {"route.auc", "route.apgr", "route.ece", "route.cpt50"} <= figures.keys()
    assert [name for name, f in figures.items() if f.simulated] == ["route.apgr.perfect_expert"]
    assert figures["route.apgr.random"].value == pytest.approx(0.5)
    assert figures["route.auc"].value > 0.7
    assert figures["route.apgr.oracle"].value >= figures["route.apgr"].value > 0.6
    for f in figures.values():
        assert f.low is None or f.low <= f.value + 0.05
        assert f.high is None or f.high >= f.value - 0.05
