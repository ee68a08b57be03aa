"""OpenVINO on the real model. No test compares what the model says with a text, only with itself and with llama.cpp's figures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import labkit
from labkit import Client, assistant, conformance, models, system, user
from labkit.backends import openvino_model
from labkit.backends.openvino import TOGETHER, OpenVinoBackend
from labkit.config import settings
from labkit.errors import BackendError, BackendUnavailable, ContextOverflow, ModelFileError, SchemaError
from labkit.messages import Request
from labkit.sampling import log_softmax, softmax

CARD = conformance.CARD


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "cache"


@pytest.fixture(scope="module")
def client(cache: Path) -> Iterator[Client]:
    with labkit.load("openvino:smollm2-135m", context=1024, cache=cache) as client:
        yield client


slow = pytest.mark.slow
pytestmark = pytest.mark.skipif(find_spec("openvino_genai") is None, reason="openvino-genai is not installed")


@slow
@pytest.mark.parametrize("check", conformance.CHECKS)
def test_it_conforms(client: Client, check: str) -> None:
    result = conformance.attempt(check, lambda: conformance.CHECKS[check](client))
    assert result.status == "passed", result.detail


@slow
def test_logits_and_scores_are_close_to_those_of_llama_cpp(client: Client, model: Client) -> None:
    prompt = [system("Answer with one word."), user("What is the capital of France?")]
    assert client.render(prompt) == model.render(prompt)
    assert client.encode(prompt) == model.encode(prompt)
    ours, theirs = softmax(client.logits(prompt)), softmax(model.logits(prompt))
    tvd = 0.5 * np.abs(ours - theirs).sum()
    assert tvd < 0.2  # total variation distance; 1 is the most
    choices = ["Paris", "London", "I do not know."]
    here, there = ({s.choice: s for s in c.score(prompt, choices)} for c in (client, model))
    assert [here[c].tokens for c in choices] == [there[c].tokens for c in choices]
    assert all(abs(here[c].logprob - there[c].logprob) < 0.5 for c in choices)


@slow
def test_the_weights_are_those_of_the_file(client: Client, model: Client) -> None:
    tokens = client.tokenize("A harbour is a sheltered place where boats rest, and children count the gulls.")
    kl = [
        float((np.exp(theirs) * (theirs - log_softmax(client.logits(tokens[:n])))).sum())
        for n in range(1, len(tokens) + 1)
        if (theirs := log_softmax(model.logits(tokens[:n]))) is not None
    ]
    assert np.mean(kl) < 0.02  # with the minima as openvino-genai rounds them it is 0.4


@slow
@pytest.mark.parametrize(
    "text",
    ["", "Grüße, 世界 😀", "  two\r\n\n\ttabs ", "don't 1234.5", "🏳️‍🌈", "<|im_end|>", "a<|im_start|>b</s>", "\ud800 lone", "\x00"],
)  # fmt: skip
def test_tokens_are_those_of_llama_cpp_and_no_text_is_a_control_token(
    client: Client, model: Client, text: str
) -> None:
    tokens = client.tokenize(text)
    assert not any(client.backend.engine.vocab.is_special_token(t) for t in tokens)  # type: ignore[attr-defined]
    if "<|" not in text and "\ud800" not in text:
        assert tokens == model.tokenize(text)
        assert "".join(client.pieces(tokens)) == text or "😀" in text or "🏳" in text
    said = client.encode([user(text or "-")])
    assert said.count(2) == client.encode("-").count(2)  # <|im_end|>: no message can end its turn


@slow
def test_a_score_is_the_sum_of_the_log_probabilities_of_its_tokens(client: Client) -> None:
    prompt = "Is ice cold?"
    choices = ["yes", "Yes, it is cold.", "No, it is a very warm thing, warmer than fire."]
    for found in client.score(prompt, choices):
        tokens, total = client.encode(prompt), 0.0
        for token in client.tokenize(found.choice):
            total += float(log_softmax(client.logits(tokens))[token])
            tokens.append(token)
        assert found.logprob == pytest.approx(total, abs=0.02)


@slow
def test_many_choices_are_scored_in_groups(client: Client) -> None:
    choices = [f"The number {n} it is" for n in range(40)]
    together = {s.choice: s.logprob for s in client.score("Say a number.", choices)}
    alone = {c: client.score("Say a number.", [c])[0].logprob for c in choices[::13]}
    assert all(together[c] == pytest.approx(alone[c], abs=0.02) for c in alone)


@slow
def test_a_cached_prefix_does_not_change_the_logits(client: Client) -> None:
    long = [user("Tell me about the harbour."), assistant("It is old."), user("How old is it?")]
    fresh = client.logits(long)
    client.score(long, ["Very old", "ten years"])
    client.complete(long[:1], max_tokens=5)
    assert np.allclose(client.logits(long), fresh, atol=0.05)
    engine = client.backend.engine  # type: ignore[attr-defined]
    before = engine.prompt_tokens, engine.read_tokens
    usage = client.complete(long, max_tokens=1).usage
    assert usage.cached_tokens > 20
    told = engine.prompt_tokens - before[0], engine.read_tokens - before[1]
    assert told == (usage.prompt_tokens, usage.prompt_tokens - usage.cached_tokens)


@slow
def test_a_batch_answers_as_one_by_one(client: Client) -> None:
    backend = client.backend
    assert isinstance(backend, labkit.backends.Batches)
    requests = [
        Request((user("Name a colour."),), max_tokens=6),
        Request((user("Tell me a story about a boat in the old harbour."),), max_tokens=20, logprobs=2),
        Request((user("Say hello."),), max_tokens=80, schema=CARD),
        Request((user("Say hello."),), max_tokens=10, grammar='start: "kelp" | "krill"'),
        Request((user("Tell me a story."),), max_tokens=40, stop=(" ", "\n")),
        Request((user("Tell me a story."),), max_tokens=8, temperature=1.5, seed=3),
        *[Request((user(f"What comes after {n}?"),), max_tokens=4 + n) for n in range(TOGETHER)],
    ]
    found = backend.batch(requests)
    assert [a.usage.completion_tokens <= r.max_tokens for a, r in zip(found, requests, strict=True)]
    assert set(json.loads(found[2].text)) == {"kind", "fresh", "note"}
    assert found[3].text in ("kelp", "krill")
    assert (" " not in found[4].text, found[4].finish_reason) == (True, "stop")
    assert found[5].text == backend.batch([requests[5]])[0].text
    assert len(found[1].logprobs) == found[1].usage.completion_tokens
    # greedy: each token of the batch is one of the best when the same text is read alone
    text = client.encode(requests[1].messages)
    for item in found[1].logprobs:
        logits = client.logits(text)
        token = next(t for t in range(len(logits)) if backend.piece(t) == item.token)  # type: ignore[attr-defined]  # fmt: skip
        assert log_softmax(logits)[token] == pytest.approx(item.logprob, abs=0.05)
        text.append(token)
    assert backend.batch([]) == []


@slow
def test_a_batch_with_one_request_that_cannot_be_used_raises(client: Client) -> None:
    good = Request((user("Hi"),), max_tokens=2)
    long = Request((user("sea " * 2000),), max_tokens=2)
    with pytest.raises(ContextOverflow):
        client.backend.batch([good, long])  # type: ignore[attr-defined]
    with pytest.raises(SchemaError):
        client.batch(["Hi"], schema={"type": "number", "multipleOf": "x"})
    assert client.complete("Hi", max_tokens=2).text


@slow
def test_threads_share_it_and_streams_left_open_block_nobody(client: Client) -> None:
    left = [client.stream(f"Tell me story {n}.", max_tokens=50) for n in range(6)]
    for stream in left:
        next(stream)
    texts: dict[int, str] = {}

    def ask(n: int) -> None:
        texts[n] = client.complete("Name a colour.", max_tokens=6).text

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(texts.values())) == 1
    assert len(texts) == 6
    for stream in left:
        stream.close()  # type: ignore[attr-defined]
    assert len(client.backend.engine._idle) <= 4  # type: ignore[attr-defined]


@slow
def test_closed_in_mid_stream_it_says_so_and_loads_again_from_the_cache(cache: Path) -> None:
    backend = OpenVinoBackend("smollm2-135m", settings(context=256, cache=cache))
    backend.load()
    stream = backend.stream(Request((user("Tell me a story."),), max_tokens=50))
    next(stream)
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        list(stream)
    assert not backend.health().ok
    made = {p: p.stat().st_mtime_ns for p in (cache / "openvino").rglob("*") if p.is_file()}
    backend.load()
    assert {p: p.stat().st_mtime_ns for p in (cache / "openvino").rglob("*") if p.is_file()} == made
    assert Client(backend).complete("Hi", max_tokens=2).text
    backend.close()


@slow
def test_a_folder_in_its_own_format_is_taken(cache: Path, client: Client) -> None:
    [made] = [p.parent for p in (cache / "openvino").glob("*/openvino_model.xml")]
    assert openvino_model.trained_context(made) == 8192
    with labkit.load(f"openvino:{made}", context=9000, cache=cache) as other:
        assert other.capabilities.context == 8192
        assert other.encode("Hi") == client.encode("Hi")


def test_a_broken_file_or_folder_is_named(tmp_path: Path) -> None:
    whole = models.locate("llamacpp", "smollm2-135m", settings())
    cut = tmp_path / "cut.gguf"
    with whole.open("rb") as source:
        cut.write_bytes(source.read(3_000_000))
    other = tmp_path / "other.gguf"
    other.write_bytes(b"not a model")
    empty = tmp_path / "folder"
    empty.mkdir()
    for path in (cut, other, empty, tmp_path / "none.gguf"):
        with pytest.raises(ModelFileError) as caught:
            labkit.load(f"openvino:{path}", cache=tmp_path / "cache")
        assert caught.value.hint
    assert not list((tmp_path / "cache").rglob("*.xml"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    path = models.locate("llamacpp", "smollm2-135m", settings())
    with pytest.raises(BackendUnavailable, match="cannot be written") as caught:
        openvino_model.prepare(path, blocked / "openvino")
    assert "LABKIT_CACHE" in caught.value.hint


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(BackendUnavailable) as caught:
        labkit.load("openvino:smollm2-135m")
    assert caught.value.hint == "Run `pip install openvino-genai`."


def test_its_packages_report_nothing() -> None:
    code = (
        "import os, socket, subprocess, sys, threading\n"
        "def refuse(*_, **__): os._exit(7)\n"
        "socket.socket.connect = socket.getaddrinfo = subprocess.Popen = refuse\n"
        "from labkit.backends.openvino_model import packages\n"
        "packages()\n"
        "import openvino.tools.ovc as ovc\n"
        "assert 'stub' in type(ovc.telemetry).__module__, type(ovc.telemetry).__module__\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_of_a_failed_conversion_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, genai = openvino_model.packages()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nthe reason")

    monkeypatch.setattr(genai, "LLMPipeline", fail)
    path = models.locate("llamacpp", "smollm2-135m", settings())
    with pytest.raises(ModelFileError, match="the reason"):
        openvino_model.prepare(path, tmp_path / "openvino")
    assert not list((tmp_path / "openvino").iterdir())
    shutil.rmtree(tmp_path)


INTERRUPTED = """
import faulthandler, signal
faulthandler.enable()  # as Jupyter's kernel and pytest do
import labkit

def interrupt(*_):
    raise KeyboardInterrupt

model = labkit.load("openvino:smollm2-135m", context=512)
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    model.complete("Tell a very long story.", max_tokens=450)
except KeyboardInterrupt:
    print(model.complete("Hi", max_tokens=2).finish_reason)
from labkit.backends import signal_stack
now = signal_stack._Stack()
signal_stack.ctypes.CDLL(None).sigaltstack(None, signal_stack.ctypes.byref(now))
print(now.size == signal_stack.ROOM)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the signal stack of Linux")
def test_an_interrupt_ends_the_cell_and_not_the_kernel() -> None:
    """In a process of its own, where no handler ran before the model was loaded."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.strip()) == (0, "length\nTrue"), done.stderr
