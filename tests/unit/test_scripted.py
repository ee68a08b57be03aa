import pytest

from labkit import Client, user
from labkit.backends import Backend, ScriptedBackend
from labkit.errors import CapabilityMissing, ConfigError, GenerationTimeout, ScriptError
from labkit.messages import Completion, Usage


def test_it_is_a_backend_and_answers_in_order() -> None:
    backend = ScriptedBackend(["one two", lambda request: request.messages[-1].content.upper()])
    assert isinstance(backend, Backend)
    with Client(backend) as model:
        assert str(model.complete("a")) == "one two"
        assert model.complete("b c").text == "B C"
    assert [r.messages for r in backend.requests] == [(user("a"),), (user("b c"),)]


def test_an_unexpected_request_and_an_unused_step_raise() -> None:
    model = Client(ScriptedBackend(["only"]))
    model.complete("a")
    with pytest.raises(ScriptError, match="no step left"):
        model.complete("b")
    with pytest.raises(ScriptError, match="never asked for"):
        Client(ScriptedBackend(["unused"])).close()


def test_an_error_on_its_way_is_not_hidden_by_unused_steps() -> None:
    with pytest.raises(ZeroDivisionError), Client(ScriptedBackend(["unused"])):
        _ = 1 / 0


def test_scores_and_errors_can_be_scripted() -> None:
    model = Client(ScriptedBackend([{"yes": -1.0, "no": -0.5}, OSError("down"), {"a": 0.0}, {"a": 0.0}]))
    scored = model.score("?", ["yes", "no"])
    assert [s.choice for s in scored] == ["no", "yes"]
    assert sum(s.probability for s in scored) == pytest.approx(1)
    with pytest.raises(OSError, match="down"):
        model.complete("?")
    with pytest.raises(ScriptError, match="scores were asked for"):
        model.score("?", ["b"])
    with pytest.raises(ScriptError, match="a completion was asked for"):
        model.complete("?")


def test_max_tokens_cuts_and_a_whole_completion_passes_through() -> None:
    answer = Completion("x", "length", Usage(3, 1, 1, 0.1, 0.2))
    model = Client(ScriptedBackend(["a b c", answer]))
    cut = model.complete("?", max_tokens=2)
    assert (cut.text, cut.finish_reason) == ("a b", "length")
    assert model.complete("?").usage == answer.usage


def test_options_and_capabilities_are_checked_before_anything_is_asked() -> None:
    backend = ScriptedBackend([])
    model = Client(backend)
    with pytest.raises(ConfigError, match="temprature"):
        model.complete("?", temprature=1)
    with pytest.raises(CapabilityMissing, match="logprobs"):
        model.complete("?", logprobs=1)
    with pytest.raises(CapabilityMissing, match="logits"):
        model.tokenize("?")
    for choices in ([], ["a", ""], ["a", "a"]):
        with pytest.raises(ConfigError):
            model.score("?", choices)
    assert backend.requests == []


def test_a_slow_answer_ends_with_its_text_so_far() -> None:
    import time

    class Slow(ScriptedBackend):
        def stream(self, request):
            for chunk in super().stream(request):
                time.sleep(0.05)
                yield chunk

    with pytest.raises(GenerationTimeout) as caught:
        Client(Slow(["word " * 100])).complete("?", timeout_s=0.2)
    assert caught.value.partial.startswith("word")
