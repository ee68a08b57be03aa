"""Converting a model, as far as it needs no PyTorch: steps, manifests, the comparison, errors, places."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from labkit import convert, models, quantize
from labkit.cli import app
from labkit.config import Settings, settings
from labkit.convert import MANIFEST, Progress, is_whole, make, verify, worker
from labkit.errors import BackendError, BackendUnavailable, ConfigError, ModelFileError, UnknownModel

ALIAS = "smollm2-135m"
EXPECTED = {"text": "a", "tokens": [1, 2, 3], "messages": [], "rendered": "r", "logprobs": [-1.0, -3.0]}
CONFIG = {"search": {"past_present_share_buffer": True}, "model": {"decoder": {"session_options": {}}}}


class Programs:
    """Does the steps in place of PyTorch, and notes them."""

    done: ClassVar[list[str]] = []
    mean = -2.05
    break_at = ""

    def __init__(self, python: str, log: Path, report: object) -> None:
        pass

    def versions(self) -> dict[str, str]:
        return {"torch": "0"}

    def run(self, step: str, *arguments: str) -> dict[str, Any]:
        out = Path(arguments[2])
        if step != "verify":
            (out / "part.bin").write_bytes(b"weights")
        if step == self.break_at:
            raise KeyboardInterrupt
        if step.startswith("onnx"):
            (out / "genai_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        self.done.append(step)
        return {"tokens": [1, 2, 3], "rendered": "r", "logprobs": [self.mean + 1, self.mean - 1]}


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> type[Programs]:
    fresh = type("Fresh", (Programs,), {"done": []})
    monkeypatch.setattr(convert, "_Programs", fresh)
    monkeypatch.setattr(convert, "reference", lambda *_: EXPECTED)
    return fresh


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    return settings(cache=tmp_path / "cache")


def left(chosen: Settings) -> list[str]:
    return sorted(p.name for p in convert.folder(ALIAS, chosen).iterdir())


# --- steps ---


def test_a_conversion_is_made_once(programs: type[Programs], chosen: Settings) -> None:
    made = convert.convert(ALIAS, chosen)
    assert programs.done == ["hf", "onnx-int4", "verify"]
    assert convert.convert(ALIAS, chosen) == made == convert.locate(ALIAS, chosen)
    assert convert.convert(ALIAS, chosen, "int8").name == "onnx-int8"
    assert programs.done == ["hf", "onnx-int4", "verify", "onnx-int8", "verify"]
    assert left(chosen) == ["hf", "onnx-int4", "onnx-int8"]
    facts = json.loads((made / MANIFEST).read_text(encoding="utf-8"))
    assert facts["sha256"] == models.find(ALIAS).sha256
    assert (facts["precision"], facts["mean_logprob"], facts["versions"]) == ("int4", -2.05, {"torch": "0"})
    assert facts["files"].keys() == {"part.bin", "genai_config.json"}
    patched = json.loads((made / "genai_config.json").read_text(encoding="utf-8"))
    assert patched["search"]["past_present_share_buffer"] is False


@pytest.mark.parametrize("step", ["hf", "onnx-int4", "verify"])
def test_it_goes_on_where_it_was_interrupted(step: str, programs: type[Programs], chosen: Settings) -> None:
    programs.break_at = step
    with pytest.raises(KeyboardInterrupt):
        convert.convert(ALIAS, chosen)
    assert left(chosen) == ([] if step == "hf" else ["hf"])
    with pytest.raises(ModelFileError, match="labkit models convert smollm2-135m"):
        convert.locate(ALIAS, chosen)
    programs.break_at = ""
    programs.done.clear()
    assert is_whole(convert.convert(ALIAS, chosen))
    assert programs.done == ["hf", "onnx-int4", "verify"][step != "hf" :]


def test_a_killed_process_leaves_nothing_that_counts(programs: type[Programs], chosen: Settings) -> None:
    base, gone = convert.folder(ALIAS, chosen), 2**22 + 1
    for name in (f"hf.{gone}.part", "onnx-int4"):
        (base / name).mkdir(parents=True)
        (base / name / "part.bin").write_bytes(b"half")
    convert.convert(ALIAS, chosen)
    assert left(chosen) == ["hf", "onnx-int4"]
    assert (base / "onnx-int4" / "part.bin").read_bytes() == b"weights"


@pytest.mark.parametrize("mean", [-2.31, -1.69, float("nan")])
def test_another_model_is_refused(mean: float, programs: type[Programs], chosen: Settings) -> None:
    programs.mean = mean
    with pytest.raises(ModelFileError, match="off by"):
        convert.convert(ALIAS, chosen)
    assert left(chosen) == ["hf"]


def test_two_at_once_agree(tmp_path: Path) -> None:
    target = tmp_path / "onnx-int4"

    def slower(out: Path) -> dict[str, str]:
        (out / "a").write_text("slow", encoding="utf-8")
        part = tmp_path / "other"
        part.mkdir()
        (part / "a").write_text("fast", encoding="utf-8")
        (part / MANIFEST).write_text(json.dumps({"files": {"a": 4}}), encoding="utf-8")
        part.rename(target)  # another process was faster
        return {}

    make(target, {}, slower)
    assert (target / "a").read_text(encoding="utf-8") == "fast"
    assert [p.name for p in tmp_path.iterdir()] == ["onnx-int4"]


def test_a_damaged_directory_is_made_again(programs: type[Programs], chosen: Settings) -> None:
    made = convert.convert(ALIAS, chosen)
    (made / "part.bin").write_bytes(b"cut")
    with pytest.raises(ModelFileError, match="missing or cut"):
        convert.locate(str(made), chosen)
    convert.convert(ALIAS, chosen)
    assert programs.done == ["hf", "onnx-int4", "verify", "onnx-int4", "verify"]
    assert is_whole(made)


@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["files", "a", "..", "\0"]), inner),
    )
)
def test_no_manifest_is_too_odd(content: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "odd"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
    assert is_whole(folder) is False


def test_the_command(
    programs: type[Programs],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    app(["models", "convert", "--precision", "int8"], standalone_mode=False)
    assert Path(capsys.readouterr().out.strip()).name == "onnx-int8"
    assert programs.done == ["hf", "onnx-int8", "verify"]


# --- places and errors ---


def test_places(programs: type[Programs], chosen: Settings, tmp_path: Path) -> None:
    copy = tmp_path / "mine.gguf"
    copy.symlink_to(quantize.embedded())
    assert convert.folder(str(copy), chosen).name == f"mine-{models.find(ALIAS).sha256[:8]}"
    assert convert.locate(str(convert.convert(str(copy), chosen)), chosen).name == "onnx-int4"
    assert convert.locate(str(copy), chosen).parent.name.startswith("mine-")
    for wrong in (str(tmp_path), str(tmp_path / "nothing")):
        with pytest.raises(ModelFileError, match="genai_config"):
            convert.locate(wrong, chosen)
    with pytest.raises(UnknownModel):
        convert.locate("nothing", chosen)


def test_what_cannot_be_converted(programs: type[Programs], chosen: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int4, int8, fp32"):
        convert.convert(ALIAS, chosen, "int3")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelFileError):
        convert.convert(str(broken), chosen)
    with pytest.raises(UnknownModel):
        convert.convert("nothing", chosen)
    assert programs.done == []


def test_a_full_disk_is_noticed_before(
    programs: type[Programs], chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr(convert.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelFileError, match=r"(?s)807 MB.*LABKIT_CACHE"):
        convert.convert(ALIAS, chosen)


def test_a_cache_that_cannot_be_made(programs: type[Programs], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelFileError, match="LABKIT_CACHE"):
        convert.convert(ALIAS, settings(cache=tmp_path / "file"))


# --- the programs ---


class Run:
    """Runs a program in place of ``worker.py``, whose first lines are kept."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch

    def __call__(
        self, code: str, report: convert.Report = lambda _: None, python: str = sys.executable
    ) -> Any:
        (self.folder / "worker.py").write_text(f"import sys\n{code}", encoding="utf-8")
        self._monkeypatch.setattr(convert, "__file__", str(self.folder / "__init__.py"))
        return convert._Programs(python, self.folder / "logs" / "log", report).run("step", "what")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_progress_and_the_answer(run: Run) -> None:
    seen: list[Progress] = []
    code = (
        "import time; print('begun\\rhalf', flush=True); time.sleep(0.8); open(sys.argv[1], 'w').write('[7]')"
    )
    assert run(code, seen.append) == [7]
    assert [p.done for p in seen] == [*[False] * (len(seen) - 1), True]
    assert seen[-2].detail == "half"
    assert str(seen[-1]).endswith("done")
    assert [p.name for p in (run.folder / "logs").iterdir()] == ["log"]


@pytest.mark.parametrize(
    ("terminal", "shown"),
    [
        (True, "\rhf            1 s  a lon\rhf            2 s  done \n"),
        (False, "hf            2 s  done\n"),
    ],
)
def test_progress_on_a_console(terminal: bool, shown: str) -> None:
    out = io.StringIO()
    report = convert.shown_on(Console(file=out, force_terminal=terminal, width=25))
    report(Progress("hf", 1.2, "a long line"))
    report(Progress("hf", 2.4, done=True))
    assert out.getvalue() == shown


def test_a_failure_shows_the_last_words(run: Run) -> None:
    with pytest.raises(BackendError, match=r"(?s)exit code 3: no luck.*Read .*log"):
        run("print('no luck'); raise SystemExit(3)")


def test_an_interrupt_ends_the_program(run: Run) -> None:
    place = run.folder / "pid"

    def interrupt(_: Progress) -> None:
        if place.exists() and place.read_text(encoding="utf-8"):
            raise KeyboardInterrupt

    code = f"import os, time; open({str(place)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        run(code, interrupt)
    assert not psutil.pid_exists(int(place.read_text(encoding="utf-8")))


def test_no_such_interpreter(run: Run) -> None:
    with pytest.raises(ConfigError, match="interpreter"):
        run("", python=str(run.folder / "python"))


def test_the_worker_ends_with_who_started_it(tmp_path: Path) -> None:
    code = (
        Path(worker.__file__).read_text(encoding="utf-8").replace("STEPS[step]", "__import__('time').sleep")
    )
    slow = tmp_path / "slow.py"
    slow.write_text(code.replace("(*arguments)", "(60)"), encoding="utf-8")
    process = subprocess.Popen([sys.executable, slow, tmp_path / "answer", "check"], stdin=subprocess.PIPE)
    assert process.poll() is None
    process.stdin.close()  # type: ignore[union-attr]  # as it is when the other process is killed
    assert process.wait(30) == 1


def test_missing_packages_are_named_together(chosen: Settings, tmp_path: Path) -> None:
    """In an interpreter that sees no packages at all."""
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n', encoding="utf-8")
    bare.chmod(0o755)
    if os.name == "nt":
        pytest.skip("a shell script stands for the interpreter")
    with pytest.raises(BackendUnavailable) as caught:
        convert.convert(ALIAS, chosen, python=bare)
    assert all(name in caught.value.message for name in worker.NEEDS.values())
    assert 'pip install "edge-agents-lab[convert]"' in caught.value.hint
    assert "--python" in caught.value.hint
    assert left(chosen) == ["convert.log"]


# --- the comparison ---


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"tokens": [1, 2]}, "tokenizer"),
        ({"rendered": "R"}, "chat template"),
        ({"logprobs": [-1.2, -3.2]}, "0.200 in the mean"),
        ({"logprobs": [-3.0, -1.0]}, "0.000 in the mean and 2.000 for one"),
        ({"logprobs": [-1.0, float("nan")]}, "off by nan"),
    ],
)
def test_what_is_different_is_said(found: dict[str, Any], says: str) -> None:
    same = {"tokens": [1, 2, 3], "rendered": "r", "logprobs": [-1.0, -3.02]}
    assert verify.compare(EXPECTED, same, "fp32")["mean_logprob"] == pytest.approx(-2.01)
    with pytest.raises(ModelFileError, match=says):
        verify.compare(EXPECTED, same | found, "fp32")


def test_every_precision_has_a_tolerance() -> None:
    assert convert.PRECISIONS.keys() == verify.TOLERANCE.keys()


@pytest.mark.slow
def test_llamacpps_side_of_the_comparison(chosen: Settings) -> None:
    found = verify.reference(quantize.embedded(), chosen)
    assert len(found["tokens"]) > 100
    assert found["rendered"].count("<|im_start|>") == 5
    assert np.mean(found["logprobs"]) == pytest.approx(-2.88, abs=0.05)
    json.dumps(found)


def test_the_workers_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime_genai", reason="run `pip install onnxruntime-genai`")
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "backends"))
    import tiny_onnx

    ids = list(b"a small boat")
    asked = {"text": "a small boat", "tokens": ids, "messages": [{"role": "user", "content": "Hi"}]}
    found = worker.measure(str(tiny_onnx.write(tmp_path)), json.dumps(asked))
    rows = np.array([tiny_onnx.logits(ids[: i + 1]) for i in range(len(ids) - 1)], dtype=np.float64)
    wanted = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(found["logprobs"], wanted[np.arange(len(ids) - 1), ids[1:]], atol=0.01)
    assert found["tokens"] == ids
    assert found["rendered"] == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
