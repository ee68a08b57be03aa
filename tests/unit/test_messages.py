import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import Message, system, user
from labkit.errors import ConfigError
from labkit.messages import Request, Usage, as_messages


def test_a_prompt_is_read_in_every_usual_form() -> None:
    want = (user("Hi"),)
    assert as_messages("Hi") == want
    assert as_messages(user("Hi")) == want
    assert as_messages({"role": "user", "content": "Hi"}) == want
    assert as_messages([system("S"), {"role": "user", "content": "Hi"}]) == (system("S"), *want)


@pytest.mark.parametrize(
    "bad",
    [7, [7], {"role": "user"}, {"role": "king", "content": "x"}, {"role": "user", "content": 7}, [None]],
)
def test_what_is_no_message_is_refused_with_advice(bad: object) -> None:
    with pytest.raises(ConfigError, match="What to do: Pass a string"):
        as_messages(bad)  # type: ignore[arg-type]


@given(st.text(), st.sampled_from(["system", "user", "assistant", "tool"]))
def test_any_text_is_content(content: str, role: str) -> None:
    assert as_messages([{"role": role, "content": content}]) == (Message(role, content),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"logprobs": -1},
        {"stop": ("",)},
        {"schema": {}, "grammar": "start: /a/"},
    ],
)
def test_a_request_out_of_range_is_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Request((user("Hi"),), **wrong)


def test_all_problems_of_a_request_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"max_tokens.*temperature.*top_p"):
        Request((user("Hi"),), max_tokens=0, temperature=-1, top_p=2)


def test_rates_count_only_what_was_read_and_made_after_the_first_token() -> None:
    usage = Usage(prompt_tokens=100, cached_tokens=60, completion_tokens=11, prefill_s=0.5, decode_s=2.0)
    assert usage.prefill_per_s == 80
    assert usage.decode_per_s == 5
    assert Usage().decode_per_s == 0
