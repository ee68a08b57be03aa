"""What the hub's configuration decides, read as JupyterHub reads it, without a hub."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from traitlets.config.loader import PyFileConfigLoader

grp = pytest.importorskip("grp", reason="the hub needs Unix accounts")
FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "jupyterhub"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server with 8 cores, 31 accounts in the group, and root at the keyboard."""
    members = ["teacher", *(f"learner{n:02d}" for n in range(1, 31))]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "umask", lambda _: 0o022)
    monkeypatch.setattr(grp, "getgrnam", {"learners": SimpleNamespace(gr_mem=members)}.__getitem__)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8)
    for name in [name for name in os.environ if name.startswith(("LABKIT_", "HUB_"))]:
        monkeypatch.delenv(name)


def read() -> Any:
    return PyFileConfigLoader("jupyterhub_config.py", str(FOLDER)).load_config()


def test_a_term_has_accounts_with_their_own_passwords() -> None:
    c = read()
    assert c.JupyterHub.spawner_class == "localprocess"
    assert c.JupyterHub.authenticator_class == "pam"
    assert len(c.Authenticator.allowed_users) == 31
    assert "root" not in c.Authenticator.allowed_users
    assert c.Authenticator.allow_existing_users is False


def test_a_workshop_has_one_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_PASSWORD", "blue harbour 42")
    c = read()
    assert c.JupyterHub.authenticator_class == "shared-password"
    assert c.SharedPasswordAuthenticator.user_password == "blue harbour 42"
    assert c.JupyterHub.spawner_class == "localprocess"
    assert "blue harbour 42" not in str(c.Spawner)


def test_a_trial_stays_on_this_computer_and_says_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUB_TRIAL", "ana ben")
    c = read()
    assert c.JupyterHub.spawner_class == "simple"
    assert c.JupyterHub.bind_url.startswith("http://127.0.0.1:")
    assert c.Authenticator.allowed_users == {"ana", "ben"}
    assert "Never with a class" in capsys.readouterr().out


def test_without_root_there_is_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="as root"):
        read()


def test_without_accounts_there_is_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grp, "getgrnam", {}.__getitem__)
    with pytest.raises(SystemExit, match=r"deploy/README\.md"):
        read()


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (8, "1"), (16, "2"), (64, "8"), (None, "1")])
def test_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int | None, threads: str) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: cores)
    environment = read().Spawner.environment
    assert (environment["LABKIT_THREADS"], environment["OMP_NUM_THREADS"]) == (threads, threads)


def test_learners_are_offline_and_read_the_shared_models(tmp_path: Path) -> None:
    environment = read().Spawner.environment
    assert environment["LABKIT_OFFLINE"] == "1"
    assert environment["LABKIT_CACHE"] == str(tmp_path / "cache")
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o755


def test_what_the_hub_sets_holds_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_BACKEND", "llamacpp:qwen2.5-0.5b")
    monkeypatch.setenv("LABKIT_THREADS", "3")
    environment = read().Spawner.environment
    assert environment["LABKIT_BACKEND"] == "llamacpp:qwen2.5-0.5b"
    assert environment["LABKIT_THREADS"] == "3"


def test_the_program_that_it_starts_exists() -> None:
    command = read().Spawner.cmd
    assert Path(command[-1]) == FOLDER / "learner_server.py"
    assert Path(command[-1]).is_file()
