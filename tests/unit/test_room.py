"""The engine's portable wheel, the installer, and a room without internet from one end to the other."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from engine_wheels import NATIVE, PLATFORM, PORTABLE, VERSION, telling, wheel_of
from hypothesis import given
from hypothesis import strategies as st

from labkit import wheelhouse
from labkit.errors import ConfigError, LabkitError
from labkit.room import engine, install
from labkit.room.pip import pip, put

# The engine: what was compiled counts, not the flags


@pytest.mark.parametrize(
    ("info", "baseline", "more"),
    [
        (NATIVE, "x86-64-v3", ["AMX_INT8", "AVX512"]),
        (PORTABLE, "x86-64-v3", []),
        (PORTABLE, "x86-64-v2", ["AVX", "AVX2", "BMI2", "F16C", "FMA"]),
        (PORTABLE.replace("REPACK", "AVX_VNNI"), "x86-64-v3", ["AVX_VNNI"]),
        ("CPU : SSE3 = 1 | SSSE3 = 1 | AVX512 = 0 | ", "x86-64-v2", []),
        ("Metal : EMBED_LIBRARY = 1 | CPU : NEON = 1 | ARM_FMA = 1 | DOTPROD = 1 | ", "apple-m1", []),
        ("CPU : NEON = 1 | ARM_FMA = 1 | DOTPROD = 1 | SVE = 1 | SVE_CNT = 32 | ", "armv8-a", ["DOTPROD", "SVE", "SVE_CNT"]),
        ("CUDA : ARCHS = 890 | CPU : SSE3 = 1 | ", "x86-64-v3", ["ARCHS"]),
    ],
)  # fmt: skip
def test_instructions_beyond_the_baseline_are_seen(info: str, baseline: str, more: list[str]) -> None:
    assert engine.beyond(info, baseline) == more


@given(st.from_regex(r"[A-Z][A-Z0-9_]{1,12}", fullmatch=True), st.integers(1, 9))
def test_an_unknown_instruction_is_never_portable(name: str, value: int) -> None:
    known = {*engine.ANYWHERE, *engine.BASELINES["x86-64-v3"]}
    assert bool(engine.beyond(f"{PORTABLE}{name} = {value} | ", "x86-64-v3")) == (name not in known)


def test_every_switch_is_stated() -> None:
    assert engine.cmake_args("x86-64-v3") == (
        "-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_F16C=ON -DGGML_FMA=ON -DGGML_BMI2=ON"
    )
    assert "AVX=OFF -DGGML_AVX2=OFF -DGGML_F16C=OFF" in engine.cmake_args("x86-64-v2")
    assert engine.cmake_args("armv8-a") == "-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF"


@pytest.mark.parametrize(
    ("machine", "wrong"), [("x86_64", "armv8-a"), ("aarch64", "x86-64-v3"), ("AMD64", "native")]
)
def test_a_baseline_of_another_processor_is_refused(
    machine: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert engine.baseline() in engine.BASELINES
    with pytest.raises(ConfigError, match=f"{wrong}.*\n.*Choose {engine.baseline()}"):
        engine.baseline(wrong)


def test_the_wheels_own_library_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one that is installed here, and not the one that LLAMA_CPP_LIB_PATH names."""
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    code = f"import os; assert 'LLAMA_CPP_LIB_PATH' not in os.environ\n{telling(PORTABLE)}"
    assert engine.check(wheel_of(tmp_path, code), VERSION, "x86-64-v3") == PORTABLE.strip()
    with pytest.raises(ConfigError, match=r"may use AMX_INT8, AVX512, which x86-64-v3 does not have"):
        engine.check(wheel_of(tmp_path, telling(NATIVE)), VERSION, "x86-64-v3")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("llama.whl", "no wheel"),
        (f"llama_cpp_python-0.3.1-py3-none-{PLATFORM}.whl", r"llama-cpp-python 0\.3\.1; needed is llama-cpp-python"),
        (f"numpy-{VERSION}-py3-none-{PLATFORM}.whl", "is numpy"),
        (f"llama_cpp_python-{VERSION}-py3-none-win_arm64.whl", "not for this system"),
        (f"llama_cpp_python-{VERSION}-cp27-cp27m-{PLATFORM}.whl", "not for this system"),
    ],
)  # fmt: skip
def test_another_wheel_is_refused(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        engine.check(wheel_of(tmp_path, telling(PORTABLE), name), VERSION, "x86-64-v3")


@pytest.mark.parametrize(
    "code", ["raise OSError('libgomp.so.1 is missing')", "import os; os.kill(os.getpid(), 4)", ""]
)
def test_a_library_that_does_not_load_is_refused(code: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not load here: .*"):
        engine.check(wheel_of(tmp_path, code), VERSION, "x86-64-v3")


def test_a_cut_wheel_is_refused(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, telling(PORTABLE))
    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises(ConfigError, match="cannot be opened"):
        engine.check(wheel, VERSION, "x86-64-v3")
    with pytest.raises(ConfigError, match="cannot be opened"):
        engine.check(tmp_path / f"llama_cpp_python-{VERSION}-py3-none-any.whl", VERSION, "x86-64-v3")


@pytest.mark.skipif(engine.baseline() != "x86-64-v3", reason="the baseline of x86-64")
def test_the_installed_engine_is_judged_by_what_it_is(tmp_path: Path) -> None:
    """The real library: refused exactly if it was compiled for more than the baseline."""
    import llama_cpp

    wheel = tmp_path / f"llama_cpp_python-{VERSION}-py3-none-{PLATFORM}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        package = Path(llama_cpp.__file__).parent
        for file in (p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            archive.write(file, f"llama_cpp/{file.relative_to(package)}")
    info = llama_cpp.llama_print_system_info().decode().strip()
    if more := engine.beyond(info, "x86-64-v3"):
        with pytest.raises(ConfigError, match=", ".join(more)):
            engine.check(wheel, VERSION, "x86-64-v3")
    else:
        assert engine.check(wheel, VERSION, "x86-64-v3") == info


# pip, and copies


def test_pip_says_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        LabkitError, match=r"pip could not fetch it: .*no-such-thing.*\n  What to do: connect"
    ):
        pip("fetch it", "connect", "download", "--no-index", "-d", os.devnull, "no-such-thing")
    none = subprocess.CompletedProcess[str]([], 1, "", "/usr/bin/python3: No module named pip")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: none)
    with pytest.raises(ConfigError, match="ensurepip"):
        pip("fetch it", "connect", "download")


def test_a_copy_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a").write_bytes(b"old")

    def half(_: Path, target: Path) -> None:
        target.write_bytes(b"n")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", half)
        with pytest.raises(KeyboardInterrupt):
            put(tmp_path / "a", tmp_path / "room")
    assert (tmp_path / "room" / "a").read_bytes() == b"old"
    assert put(tmp_path / "a", tmp_path / "room").read_bytes() == b"new"
    assert put(tmp_path / "room" / "a", tmp_path / "room").read_bytes() == b"new"


# On the laptop

MADE = {"systems": {"cp311-linux-x86_64": {"glibc": "2.31", "cpu": ["avx2", "fma"], "baseline": "x86-64-v3"}}}


@pytest.mark.parametrize(
    ("tag", "glibc", "flags", "says"),
    [
        ("cp311-linux-x86_64", "2.31", {"avx2", "fma", "sse2"}, ""),
        ("cp311-linux-x86_64", "2.100", set(), ""),
        ("cp312-linux-x86_64", "2.31", {"avx2", "fma"}, "This Python is cp312-linux-x86_64, and the wheelhouse is for cp311"),
        ("cp311-windows-x86_64", "0", {"avx2", "fma"}, "labkit wheelhouse"),
        ("cp311-linux-x86_64", "2.4", {"avx2", "fma"}, "glibc 2.4, and the engine was built with 2.31"),
        ("cp311-linux-x86_64", "0", {"avx2", "fma"}, "oldest Linux"),
        ("cp311-linux-x86_64", "2.31", {"sse2", "fma"}, "lacks avx2"),
    ],
)  # fmt: skip
def test_a_laptop_that_does_not_fit_is_told_why(tag: str, glibc: str, flags: set[str], says: str) -> None:
    reason = install.problem(MADE, tag, glibc, flags)
    assert says in reason
    assert bool(says) == bool(reason)


def test_the_installer_can_be_read_by_an_old_python() -> None:
    ast.parse(Path(install.__file__).read_text(encoding="utf-8"), feature_version=(3, 7))


def test_the_installer_says_what_is_wrong(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, install.__file__, *arguments]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 1
        return ended.stderr

    assert "cannot be used: " in run(str(tmp_path))
    (tmp_path / "wheelhouse.json").write_text('{"systems": {"cp37-plan9-mips": {}}}', encoding="utf-8")
    assert "the wheelhouse is for cp37-plan9-mips" in run(str(tmp_path))
    here = {"glibc": "0", "cpu": [], "baseline": "", "pip": "wheels/pip.whl", "files": {}}
    (tmp_path / "wheelhouse.json").write_text(
        json.dumps({"systems": {install.system_tag(): here}, "models": {}}), encoding="utf-8"
    )
    (tmp_path / "mine").mkdir()
    assert "is no virtual environment" in run(str(tmp_path), "--venv", "mine")


# From one end to the other

ENGINES = Path(os.environ.get("LAB_ENGINE_WHEELS", "no-such-folder"))
"""A folder with an engine's wheel that is built portably; .ci/run installs from it."""
BWRAP = shutil.which("bwrap") or "bwrap"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs Linux with bubblewrap")
@pytest.mark.skipif(
    not list(ENGINES.glob("llama_cpp_python-*.whl")), reason="LAB_ENGINE_WHEELS has no wheel of the engine"
)
def test_a_room_without_internet(tmp_path: Path, root: Path) -> None:
    """Made with the network; installed and used in a namespace that has only loopback, where the checkout is hidden."""
    room, laptop = tmp_path / "room", tmp_path / "laptop"
    laptop.mkdir()
    (wheel,) = ENGINES.glob("llama_cpp_python-*.whl")
    made = subprocess.run(
        [sys.executable, "-m", "labkit", "wheelhouse", str(room), "--engine", str(wheel)], capture_output=True, text=True
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert wheelhouse.check(room) == []
    own = {k: v for k, v in os.environ.items() if not k.startswith(("LABKIT_", "PIP_", "VIRTUAL_ENV"))}
    alone = [
        BWRAP,
        "--dev-bind",
        "/",
        "/",
        "--unshare-net",
        "--die-with-parent",
        "--tmpfs",
        str(root),
        "--chdir",
        str(laptop),
    ]

    def run(*command: str) -> str:
        ended = subprocess.run(
            [*alone, *command], env=own | {"HOME": str(laptop)}, capture_output=True, text=True, timeout=400
        )
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        return ended.stdout

    python = getattr(sys, "_base_executable", sys.executable)
    assert "Ready: run `labkit start`." in run(python, str(room / "install.py"))
    here = laptop / "edge-agents-lab-env" / ("Scripts" if os.name == "nt" else "bin")
    code = "import labkit; print(labkit.__file__); print(labkit.load().complete('Hello!', max_tokens=8).usage.completion_tokens)"
    where, tokens = run(str(here / "python"), "-c", code).split()
    assert Path(where).is_relative_to(laptop)
    assert int(tokens) > 0
    with subprocess.Popen(
        [*alone, str(here / "labkit"), "start", "--no-browser"],
        env=own | {"HOME": str(laptop)}, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as started:  # fmt: skip
        assert started.stdout
        shown = next((line for line in started.stdout if "http://127.0.0.1" in line), "")
        os.killpg(started.pid, signal.SIGTERM)
    assert "lab01" in shown
    assert (laptop / "edge-agents-lab" / "lab01_first_tokens.ipynb").is_file()
