"""Choosing: what speaks for a tool, what the model adds, and how the weights are fitted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.backends.base import scored
from labkit.bench import fit
from labkit.client import Client
from labkit.decoding import choose as choosing
from labkit.decoding.choose import choose, gains_back, opinions, prompt, prompt_back
from labkit.decoding.rank import load_weights
from labkit.decoding.related import asked, groups
from labkit.decoding.relevance import bend, relevance
from labkit.decoding.text import read, stem
from labkit.messages import Capabilities, Chunk, Health, Message, Request, Scored, Usage
from labkit.tools import Tool, ToolRegistry, tool


class Judge:
    """A model that gives each token of a text what a function of prompt and text says."""

    name = "judge"
    capabilities = Capabilities(schema=True, score=True)

    def __init__(self, each: Callable[[str, str], float] = lambda prompt, text: -2.0) -> None:
        self.each, self.asked = each, 0

    def load(self) -> None: ...

    def stream(self, request: Request) -> Iterator[Chunk]:
        yield Chunk(finish_reason="stop", usage=Usage())

    def score(self, messages: tuple[Message, ...], choices: Sequence[str]) -> list[Scored]:
        self.asked += 1
        sizes = [(c, max(1, len(c.split()))) for c in choices]
        return scored([(c, self.each(messages[-1].content, c) * n, n) for c, n in sizes])

    def health(self) -> Health:
        return Health(True)

    def close(self) -> None: ...


@tool
def order_status(order_id: int) -> str:
    """Where an order is and when it arrives.

    Args:
        order_id: Number of the order.
    """
    return str(order_id)


@tool
def product_info(product: str) -> str:
    """Price, stock and description of a product.

    Args:
        product: Name of the product.
    """
    return product


@tool
def schedule_callback(day: str, time: str) -> str:
    """Arrange that a colleague calls the customer back.

    Args:
        day: Weekday.
        time: Time of the day.
    """
    return day + time


DESK = ToolRegistry(order_status, product_info, schedule_callback)


@pytest.mark.parametrize(
    ("one", "other"), [("ring", "phone"), ("film", "movie"), ("cost", "price"), ("parcel", "delivery")]
)
def test_words_for_the_same_thing_are_in_one_group(one: str, other: str) -> None:
    assert groups(stem(one)) & groups(stem(other))


def test_words_for_other_things_are_not() -> None:
    assert not groups(stem("film")) & groups(stem("matrix"))
    assert not groups("zyx")


def test_a_question_word_asks_for_something() -> None:
    assert stem("distance") in asked("How far is it?")[0]
    assert asked("Book it.") == ()
    assert len(asked("When and where?")) == 2


def test_related_words_count_where_the_same_words_are_missing() -> None:
    kin = relevance(schedule_callback, read("can someone ring me on Tuesday"))
    none = relevance(schedule_callback, read("can someone juggle on Tuesday"))
    assert kin["purpose"] == none["purpose"] == 0
    assert kin["related:purpose"] > none["related:purpose"]
    assert kin["related:left"] < none["related:left"]


def test_what_is_asked_for_is_met_or_not() -> None:
    assert relevance(product_info, read("how much is the drill"))["asked:met"] == 1
    assert relevance(product_info, read("who made the drill"))["asked:unmet"] == 1


@given(st.text(max_size=200))
def test_evidence_is_finite_for_any_text(text: str) -> None:
    for each in DESK:
        assert all(math.isfinite(v) for v in bend(relevance(each, read(text))).values())


@given(st.text(max_size=80), st.booleans())
def test_any_request_gets_a_choice(text: str, none: bool) -> None:
    chosen = choose(Client(Judge()), DESK, text, none=none)
    assert chosen.logprob <= 0
    assert none or chosen.tool is not None


def test_every_feature_has_a_weight_or_was_fitted_to_nothing() -> None:
    """A feature that was added without fitting again would count for nothing, and nobody would notice."""
    names = set(bend({**relevance(order_status, read("x")), "model:gain": 0.0, "model:back": 0.0}))
    known = set(load_weights()["tools"]["relevance_with_model"])
    assert known <= names
    assert len(names - known) <= 3


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        ("Where is my order 20417?", "order_status"),
        ("What is the price of the cordless drill?", "product_info"),
        ("Which colleague calls me back on Tuesday at 10:30?", "schedule_callback"),
    ],
)
def test_the_words_alone_pick_among_several(request_text: str, expected: str) -> None:
    chosen = choose(Client(Judge()), DESK, request_text, none=False, ask_model=False)
    assert chosen.tool is not None
    assert chosen.tool.name == expected


@pytest.mark.parametrize(
    "request_text", ["", "Write a poem about the sea.", "hi there", "thanks, that's all"]
)
def test_nothing_fits(request_text: str) -> None:
    assert choose(Client(Judge()), DESK, request_text, none=True).tool is None


def test_the_model_can_tip_the_choice() -> None:
    def for_callback(asked: str, text: str) -> float:
        return -1.0 if "schedule_callback" in asked + text else -4.0

    request_text = "I would like to talk to a person about the drill."
    flat = choose(Client(Judge()), DESK, request_text, none=True)
    told = choose(Client(Judge(for_callback)), DESK, request_text, none=False)
    assert told.tool is not None
    assert told.tool.name == "schedule_callback"
    assert flat.tool is None or flat.tool.name != "schedule_callback"


def test_the_model_is_not_asked_for_comparison() -> None:
    judge = Judge()
    choose(Client(judge), DESK, "Is it there?", none=True, ask_model=False)
    assert judge.asked == 0


def test_only_the_difference_to_nothing_counts() -> None:
    """A tool whose description is probable anyway gains nothing by that."""
    likely = Judge(lambda asked, text: -0.5 if "order" in text else -3.0)
    assert gains_back(Client(likely), [order_status, product_info], "where is it") == [0.0, 0.0]


def test_tools_that_read_alike_get_the_same_opinion() -> None:
    twice = [order_status, order_status]
    first, second = opinions(Client(Judge()), twice, "where is it")
    assert first == second


def test_prompts_begin_alike() -> None:
    """The examples come first and the tool or the request last, so that the cache keeps the beginning."""
    assert prompt(order_status)[:-1] == prompt(None)[:-1] == prompt(product_info)[:-1]
    assert prompt_back("a")[:-1] == prompt_back("b")[:-1]


# --- fitting ---


def _pair(request_text: str, each: Tool, *, fits: bool) -> fit.Pair:
    return fit.Pair(request_text, each, fits)


def test_fitted_weights_separate_what_can_be_separated() -> None:
    pairs = [
        _pair("Where is order 20417?", order_status, fits=True),
        _pair("When does order 3 arrive?", order_status, fits=True),
        _pair("Sing a song.", order_status, fits=False),
        _pair("Paint a house.", order_status, fits=False),
    ]
    evidence = [relevance(p.tool, read(p.request)) for p in pairs]
    weights = fit.logistic(pairs, evidence)
    odds = [sum(weights.get(k, 0.0) * v for k, v in bend(e).items()) for e in evidence]
    assert min(odds[:2]) > 0 > max(odds[2:])


def test_own_pairs_are_sound() -> None:
    pairs = fit.own_pairs()
    fitting: dict[tuple[str, str], int] = {}
    for p in pairs:
        key = (p.request, p.tool.name)
        fitting[key] = fitting.get(key, 0) + 1
        assert p.request.strip() == p.request
        assert p.item is None
    assert max(fitting.values()) == 1
    assert 0.1 < sum(p.fits for p in pairs) / len(pairs) < 0.5


def test_scores_are_asked_once(tmp_path: Path) -> None:
    judge, path = Judge(), tmp_path / "deep" / "scores.jsonl"
    first = fit.Remembered(Client(judge), path)
    a = first.score(prompt(None), ["one two", "three"])
    b = fit.Remembered(Client(judge), path).score(prompt(None), ["three", "one two"])
    assert judge.asked == 1
    assert [s.choice for s in b] == ["three", "one two"]
    assert {(s.choice, s.logprob, s.tokens) for s in a} == {(s.choice, s.logprob, s.tokens) for s in b}


def test_own_requests_are_not_in_the_cases() -> None:
    from labkit.bench.tools import own_cases

    cases = {c.messages[-1]["content"].lower() for c in own_cases()}
    assert not cases & {p.request.lower() for p in fit.own_pairs()}


def test_certain_is_a_probability() -> None:
    assert 0.5 < choosing.CERTAIN < 1
