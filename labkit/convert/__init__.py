"""A GGUF file as a directory for ONNX Runtime GenAI and Foundry Local: ``labkit models convert``.

Two steps, each a directory in the cache: ``hf`` (a Hugging Face directory with 32-bit weights) and ``onnx-PRECISION``, which is
compared with llama.cpp before it gets its name. A step is done in a directory of another name, which is renamed when it is
whole; so a step that was finished is kept, and one that was broken off leaves nothing that could be taken for whole. The work
that needs PyTorch is done by ``worker.py`` in a process of its own, also in another Python's environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from labkit import models
from labkit.config import Settings
from labkit.convert.verify import compare, reference
from labkit.errors import BackendError, BackendUnavailable, ConfigError, ModelFileError
from labkit.gguf import read_gguf
from labkit.machine import make_room

PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "int4": ("-p", "int4", "--extra_options", "algo_config=k_quant_mixed"),
    "int8": ("-p", "int8"),
    "fp32": ("-p", "fp32"),
}
"""Options of ONNX Runtime GenAI's builder. Its default 4-bit rounding loses more: see docs/backends.md."""
MANIFEST = "labkit.json"


@dataclass(frozen=True)
class Progress:
    """How far a conversion is.

    Attributes:
        step: ``check``, ``hf``, ``onnx-PRECISION`` or ``verify``.
        seconds: Since the step began.
        detail: The last words of the program that does it.
        done: Whether the step is over.
    """

    step: str
    seconds: float
    detail: str = ""
    done: bool = False

    def __str__(self) -> str:
        return f"{self.step:<10} {self.seconds:4.0f} s  {'done' if self.done else self.detail}"


Report = Callable[[Progress], None]


def shown_on(console: Console) -> Report:
    """Report to a console: on a terminal a line that moves, and everywhere a line for each step that is over."""

    def report(progress: Progress) -> None:
        line, width = str(progress), console.width - 1
        if console.is_terminal:
            console.file.write(f"\r{line[:width]:<{width}}" + "\n" * progress.done)
        elif progress.done:
            console.file.write(line + "\n")
        console.file.flush()

    return report


def convert(
    model: str,
    settings: Settings,
    precision: str = "int4",
    python: Path | str = sys.executable,
    report: Report = lambda _: None,
) -> Path:
    """The directory of a model for ONNX Runtime GenAI, made if it is not there yet; goes on where it stopped.

    Args:
        model: An alias of the catalogue or the path of a GGUF file.
        settings: Where the cache is.
        precision: A key of ``PRECISIONS``.
        python: An interpreter that has the packages of the extra ``convert``.
        report: Called twice a second. An exception of it ends the conversion.

    Raises:
        ConfigError: There is no such precision or interpreter.
        BackendUnavailable: Packages are missing.
        ModelFileError: The source cannot be used, there is no room, or the result is not the same model.
        BackendError: A program failed.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"There is no precision {precision!r}.", f"Choose one of {', '.join(PRECISIONS)}.")
    source, base = models.locate("llamacpp", model, settings), folder(model, settings)
    target = base / f"onnx-{precision}"
    if is_whole(target):
        return target
    weights = sum(t.weights for t in read_gguf(source).tensors)
    make_room(base, weights * 4 * (2 if precision == "fp32" else 1.5), "The conversion")
    programs = _Programs(str(python), base / "convert.log", report)
    facts = {"source": source.name, "sha256": models.sha256(source), "versions": programs.versions()}
    hf = make(base / "hf", facts, lambda out: programs.run("hf", "hf", str(source), str(out)))

    def build(out: Path) -> dict[str, Any]:
        programs.run(target.name, "onnx", str(hf), str(out), *PRECISIONS[precision])
        _save_memory(out / "genai_config.json")
        expected = reference(source, settings)
        found = programs.run("verify", "measure", str(out), json.dumps(expected))
        return {"precision": precision, **compare(expected, found, precision)}

    return make(target, facts, build)


def folder(model: str, settings: Settings) -> Path:
    """Where the conversions of a model are; named after the file and the beginning of its checksum."""
    row = models.catalogue().get(model)
    if row and row.sha256:
        return settings.cache / "models" / "converted" / f"{Path(row.file).stem}-{row.sha256[:8]}"
    source = models.locate("llamacpp", model, settings)
    return settings.cache / "models" / "converted" / f"{source.stem}-{models.sha256(source)[:8]}"


def locate(model: str, settings: Settings) -> Path:
    """The directory that ONNX Runtime GenAI loads: an alias' or a GGUF file's conversion to 4 bits, or a directory of one's own.

    Raises:
        ModelFileError: It is not converted yet, or the directory is not whole.
        UnknownModel: There is no such alias.
    """
    own = Path(model).expanduser()
    if own.is_dir() or ("/" in model and own.suffix != ".gguf"):
        if not (own / "genai_config.json").is_file():
            raise ModelFileError(
                f"{own} has no genai_config.json: it is no directory for ONNX Runtime GenAI.",
                "Make one with `labkit models convert`.",
            )
        if (own / MANIFEST).is_file() and not is_whole(own):
            raise ModelFileError(
                f"Files are missing or cut off in {own}.", f"Delete {own} and convert again."
            )
        return own
    target = folder(model, settings) / "onnx-int4"
    if not is_whole(target):
        raise ModelFileError(
            f"{model} is not converted for ONNX Runtime GenAI yet.",
            f'Run `labkit models convert {model}` (3 minutes; needs `pip install "edge-agents-lab[convert]"`).',
        )
    return target


def is_whole(made: Path) -> bool:
    """Whether a step's directory has a manifest and each file that it lists, in full length."""
    try:
        files = json.loads((made / MANIFEST).read_text(encoding="utf-8"))["files"]
        return bool(files) and all((made / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def make(target: Path, facts: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]]) -> Path:
    """A step's directory: the one that is there if it is whole, or a new one. Nothing half done gets its name.

    Args:
        target: Its place.
        facts: What the manifest says of the source.
        work: Fills an empty directory, and returns more for the manifest.
    """
    if is_whole(target):
        return target
    for left in target.parent.glob(f"{target.name}.*.part"):
        if not psutil.pid_exists(int(left.suffixes[-2][1:])):
            shutil.rmtree(left, ignore_errors=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        more = work(part)
        files = {
            p.relative_to(part).as_posix(): p.stat().st_size for p in sorted(part.rglob("*")) if p.is_file()
        }
        (part / MANIFEST).write_text(
            json.dumps({**facts, **more, "files": files}, indent=2), encoding="utf-8"
        )
        if not is_whole(target):  # another process may have been faster
            shutil.rmtree(target, ignore_errors=True)
            part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


class _Programs:
    """Runs what needs the extra ``convert``, one program at a time, and ends it when we end.

    Args:
        python: The interpreter.
        log: Where their output goes; an older file is replaced.
        report: Called twice a second.
    """

    def __init__(self, python: str, log: Path, report: Report) -> None:
        self._python, self._log, self._report = python, log, report

    def versions(self) -> dict[str, str]:
        found = self.run("check", "check")
        if missing := found["missing"]:
            raise BackendUnavailable(
                f"{self._python} lacks {', '.join(missing)}.",
                "Best in an environment of its own: `python -m venv convert-env`, there"
                ' `pip install "edge-agents-lab[convert]"`, and here'
                " `labkit models convert --python convert-env/bin/python` (on Windows convert-env\\Scripts\\python).",
            )
        return found["versions"]

    def run(self, step: str, *arguments: str) -> Any:
        """Run ``worker.py``; what it answers."""
        answer, started = self._log.with_name(f"answer.{os.getpid()}.json"), time.monotonic()
        command = [self._python, str(Path(__file__).with_name("worker.py")), str(answer), *arguments]
        quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1"}
        self._log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._log.open("wb") as out:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **quiet},
                )
        except OSError as error:
            raise ConfigError(
                f"{self._python} cannot be run: {error.strerror}.", "Give the path of a Python interpreter."
            ) from error
        with process:
            try:
                while process.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(0.5)
                    self._report(Progress(step, time.monotonic() - started, self._tail()))
                if process.returncode:
                    raise BackendError(
                        f"The step {step} failed with exit code {process.returncode}: {self._tail() or 'no words'}",
                        f"Read {self._log}.",
                    )
                found = json.loads(answer.read_text(encoding="utf-8"))
            finally:
                process.kill()
                answer.unlink(missing_ok=True)
        self._report(Progress(step, time.monotonic() - started, done=True))
        return found

    def _tail(self) -> str:
        """The last line of the log; a progress bar writes over its line with carriage returns."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:100]


def _save_memory(config: Path) -> None:
    """Let keys and values take memory as a conversation grows, and threads sleep while they wait.

    With the builder's own settings each of Foundry Local's sessions takes the memory of the whole context at once: 380 MB for 8,192 tokens.
    """
    facts = json.loads(config.read_text(encoding="utf-8"))
    facts["search"]["past_present_share_buffer"] = False
    facts["model"]["decoder"]["session_options"]["session.intra_op.allow_spinning"] = "0"
    config.write_text(json.dumps(facts, indent=4), encoding="utf-8")
