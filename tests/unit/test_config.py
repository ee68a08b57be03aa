from pathlib import Path

import pytest

from labkit import models
from labkit.backends import create
from labkit.config import settings
from labkit.errors import ConfigError, UnknownModel, UnknownRuntime


def test_the_argument_beats_the_variable_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labkit.toml").write_text('backend = "llamacpp:file"\nthreads = 3\ncontext = 256\n')
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    monkeypatch.setenv("LABKIT_THREADS", "5")
    read = settings(context=512)
    assert (read.backend, read.threads, read.context) == ("llamacpp:file", 5, 512)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CONTEXT", "")
    assert settings().context == 4096


@pytest.mark.parametrize("text", ["threads = 'many'", "colour = 'red'", "threads = ", "context = 3"])
def test_a_bad_file_is_named_with_what_is_wrong(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labkit.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"labkit\.toml"):
        settings()


@pytest.mark.parametrize("name", ["LABKIT_THREADS", "LABKIT_OFFLINE"])
def test_a_bad_variable_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "perhaps")
    with pytest.raises(ConfigError, match=name.removeprefix("LABKIT_").lower()):
        settings()


@pytest.mark.parametrize("spec", ["", "llamacpp", "llamacpp:", ":smollm2-135m", "smollm2-135m"])
def test_a_spec_without_runtime_or_model_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="runtime:model"):
        models.parse_spec(spec)


def test_a_spec_may_carry_a_colon_and_an_address() -> None:
    assert models.parse_spec("ollama:qwen2.5:0.5b") == ("ollama", "qwen2.5:0.5b", None)
    assert models.parse_spec("vllm:Qwen/Q@http://127.0.0.1:8000/v1") == (
        "vllm",
        "Qwen/Q",
        "http://127.0.0.1:8000/v1",
    )


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownRuntime, match="llamacpp"):
        create("abacus:beads", settings())
    with pytest.raises(UnknownModel, match="smollm2-135m"):
        create("llamacpp:beads", settings()).load()
