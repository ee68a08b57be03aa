import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.sampling import log_softmax, most_probable, sample, softmax

LOGITS = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40).map(
    lambda v: np.array(v, dtype=np.float32)
)


@given(LOGITS)
def test_softmax_is_a_distribution_in_the_order_of_the_logits(logits: np.ndarray) -> None:
    probabilities = softmax(logits)
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    assert probabilities[logits.argmax()] == probabilities.max()  # two logits may be too close to tell apart
    assert np.allclose(np.exp(log_softmax(logits)), probabilities)


def test_huge_logits_do_not_overflow() -> None:
    assert softmax(np.array([1e4, 1e4, -1e4], dtype=np.float32)).tolist() == [0.5, 0.5, 0.0]


@given(LOGITS, st.floats(0.1, 5), st.integers(0, 50), st.floats(0.01, 1), st.integers(0, 2**32))
def test_a_sample_is_always_a_token_that_the_filters_left(logits, temperature, top_k, top_p, seed) -> None:
    token = sample(logits, np.random.default_rng(seed), temperature=temperature, top_k=top_k, top_p=top_p)
    assert 0 <= token < len(logits)
    if top_k:
        scaled = logits / np.float32(temperature)
        assert np.sum(scaled > scaled[token]) < top_k


@given(LOGITS, st.integers(0, 2**32))
def test_a_masked_token_is_never_chosen(logits, seed) -> None:
    logits = np.append(logits, np.float32(-np.inf))
    for temperature in (0.0, 1.0):
        assert sample(logits, np.random.default_rng(seed), temperature=temperature) != len(logits) - 1


@given(
    st.lists(st.sampled_from([-np.inf, -3.0, -2.5, -1.0, -0.5]), min_size=1, max_size=40), st.integers(1, 50)
)
def test_the_most_probable_are_those_of_a_whole_sort_and_ties_have_an_order(values, n) -> None:
    logprobs = np.array(values, dtype=np.float32)
    every = sorted(
        (token for token in range(len(values)) if values[token] > -np.inf), key=lambda t: (-values[t], t)
    )
    assert most_probable(logprobs, n).tolist() == every[:n]


def test_samples_follow_the_distribution() -> None:
    logits, rng = np.log(np.array([0.7, 0.2, 0.1], dtype=np.float32)), np.random.default_rng(0)
    for options in ({}, {"top_k": 3}, {"top_p": 0.9999}):
        counts = np.bincount(
            [sample(logits, rng, temperature=1.0, **options) for _ in range(4000)], minlength=3
        )
        assert counts / 4000 == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


def test_a_small_top_p_is_greedy_and_a_seed_repeats() -> None:
    logits = np.array([1.0, 3.0, 2.0], dtype=np.float32)
    assert {sample(logits, np.random.default_rng(s), temperature=1, top_p=0.01) for s in range(50)} == {1}
    draws = [
        [sample(logits, rng, temperature=1) for _ in range(20)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    ]
    assert draws[0] == draws[1]
