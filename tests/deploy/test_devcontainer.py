"""The dev container names only what the repository has. The image itself is not built here."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from labkit import cli

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "name": str, "image": str, "hostRequirements": dict, "containerEnv": dict, "onCreateCommand": dict, "postCreateCommand": str,
    "forwardPorts": list, "portsAttributes": dict, "customizations": dict,
}  # fmt: skip
"""The keys of the Dev Container specification that are used, and the form that each has here."""


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    return json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def commands(container: dict[str, Any]) -> list[str]:
    return [*container["onCreateCommand"].values(), container["postCreateCommand"]]


def test_keys_are_documented_ones(container: dict[str, Any]) -> None:
    assert {key: type(value) for key, value in container.items()} == KEYS
    assert set(container["hostRequirements"]) <= {"cpus", "memory", "storage", "gpu"}
    assert all(int(port) in container["forwardPorts"] for port in container["portsAttributes"])
    assert set(container["customizations"]) == {"vscode"}


def test_python_is_the_one_that_ci_runs(container: dict[str, Any]) -> None:
    line = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[0]
    python = re.findall(r"Python (\d\.\d+)", line)
    assert re.fullmatch(rf"python:{re.escape(python[0])}(-\w+)?", container["image"])


def test_files_and_extras_of_the_commands_exist(container: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pip = " ".join(line for line in commands(container) if line.startswith("pip install"))
    extras, files = re.findall(r"\.\[(\w+)\]", pip), re.findall(r"-c (\S+)", pip)
    assert extras
    assert set(extras) <= set(project["optional-dependencies"])
    assert files
    assert all((ROOT / file).is_file() for file in files)


def test_system_packages_are_those_of_ci(container: dict[str, Any]) -> None:
    packages = container["onCreateCommand"]["system"].partition("--no-install-recommends ")[2].split()
    assert packages
    assert set(packages) <= set(re.findall(r"[\w-]+", (ROOT / ".ci" / "run").read_text(encoding="utf-8")))


def test_labkit_commands_exist(container: dict[str, Any]) -> None:
    root: Any = typer.main.get_command(cli.app)
    named = [word for line in commands(container) for word in re.findall(r"\blabkit (\w+)", line)]
    assert named == ["doctor"]
    assert set(named) <= set(root.commands)
