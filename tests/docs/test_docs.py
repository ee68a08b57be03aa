"""The documents keep their word: commands, settings, links, messages, versions and code in them exist and work."""

from __future__ import annotations

import ast
import fnmatch
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labkit import cli
from labkit.backends import RUNTIMES
from labkit.config import Settings

ROOT = Path(__file__).resolve().parents[2]
LOCAL = (".git", "venv", "env", "node_modules", "test-results")
"""Folders that belong to no edition, besides those that .gitignore names."""


def tracked() -> Iterator[Path]:
    """Every file of the checkout that .gitignore leaves."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = [
        *LOCAL,
        *(line.strip().strip("/") for line in lines if line.strip() and not line.startswith("#")),
    ]
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not any(fnmatch.fnmatch(part, name) for part in parts for name in ignored):
            yield path


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


DOCS = [path for path in tracked() if path.suffix == ".md"]
each_document = pytest.mark.parametrize("path", DOCS, ids=name_of)


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def fences(path: Path) -> list[tuple[str, str]]:
    """(language, content) of each fenced block."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text_of(path), flags=re.M | re.S)
    return [(language, content) for _, language, content in found]


def prose(path: Path) -> str:
    """The text without fenced blocks and code spans."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text_of(path), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def code(path: Path) -> list[str]:
    """Lines of shell blocks, and code spans."""
    blocks = [content for language, content in fences(path) if language not in ("python", "toml")]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^( *)```.*?^\1```$", "", text_of(path), flags=re.M | re.S))
    return [line for block in blocks for line in block.splitlines()] + spans


def slug(heading: str) -> str:
    """The anchor that a heading gets on the web."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def headings(path: Path) -> list[str]:
    text = re.sub(r"^( *)```.*?^\1```$", "", text_of(path), flags=re.M | re.S)
    return [line.lstrip("#").strip() for line in text.splitlines() if re.match(r"#{1,6} ", line)]


# The README


def test_readme_has_the_two_commands() -> None:
    lines = [line for _, content in fences(ROOT / "README.md") for line in content.splitlines()]
    assert "pip install -e . && labkit start" in lines
    assert "pip install -e '.[test]' && pytest" in lines


def test_readme_has_the_commands_for_windows() -> None:
    blocks = [content.splitlines() for _, content in fences(ROOT / "README.md")]
    assert any(block[-2:] == ["pip install -e .", "labkit start"] for block in blocks)
    assert ['pip install -e ".[test]"', "pytest"] in blocks


def test_readme_lists_every_lab() -> None:
    rows = [line for line in text_of(ROOT / "README.md").splitlines() if re.match(r"\| \[?\d\d ", line)]
    assert [re.findall(r"\d\d", row)[0] for row in rows] == [f"{n:02d}" for n in range(1, 14)]
    ready = {re.findall(r"\d\d", row)[0] for row in rows if row.endswith("| ready |")}
    assert ready == {path.name[3:5] for path in (ROOT / "notebooks").glob("lab[0-9][0-9]_*.ipynb")}


def test_readme_shows_every_command() -> None:
    named = set(
        re.findall(r"^\| `labkit ([a-z ]+?)(?: \[?[A-Z]+\]?)?` \|", text_of(ROOT / "README.md"), re.M)
    )
    assert named == {" ".join(words) for words in leaves(root_command(), ())}


# Links


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in map(slug, headings(there))):
            broken.append(target)
    assert not broken


@each_document
def test_pictures_have_alt_text(path: Path) -> None:
    assert not re.findall(r"!\[\s*\]\(", prose(path))
    assert "<img" not in prose(path)


# Commands and settings


def root_command() -> Any:
    return typer.main.get_command(cli.app)


def leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(child, (*words, name))
    if not hasattr(command, "commands"):
        yield words


def options_of(command: Any) -> set[str]:
    return {"--help"} | {o for p in command.params for o in (*p.opts, *p.secondary_opts)}


@each_document
def test_commands_exist(path: Path) -> None:
    wrong: list[str] = []
    for line in code(path):
        for call in re.findall(r"(?:^|&& |-m )labkit( [^&|;]*)", line):
            command, words = root_command(), call.split("#")[0].split()
            while words and hasattr(command, "commands"):
                word = words.pop(0)
                if word.isupper() or word.startswith("-"):
                    break
                if word not in command.commands:
                    wrong.append(line)
                    break
                command = command.commands[word]
            wrong += [line for w in words if w.startswith("--") and w not in options_of(command)]
    assert not wrong


@each_document
def test_settings_exist(path: Path) -> None:
    known = {f"LABKIT_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"LABKIT_[A-Z][A-Z_]*", text_of(path))) <= known


def test_learner_guide_has_every_setting() -> None:
    rows = re.findall(r"^\| `LABKIT_([A-Z_]+)` \|", text_of(ROOT / "docs" / "learner-guide.md"), re.M)
    assert rows == [name.upper() for name in sorted_like(rows, Settings.model_fields)]


def sorted_like(rows: list[str], fields: Any) -> list[str]:
    """The fields, in the order of the rows; those without a row at the end."""
    return sorted(fields, key=lambda f: rows.index(f.upper()) if f.upper() in rows else len(rows))


def test_backends_that_are_listed_are_those_that_work() -> None:
    listed = re.findall(
        r"^\| `\w+` \| `(\w+)` \|", text_of(ROOT / "docs" / "backends.md"), re.M
    )  # runtime names
    assert sorted(listed) == sorted(RUNTIMES)


# Messages quoted in TROUBLESHOOTING


@cache
def messages() -> tuple[str, ...]:
    """Every text in labkit's code; what an f-string fills in is a NUL."""
    found: list[str] = []
    for path in sorted((ROOT / "labkit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def fits(fragments: list[str], message: str) -> bool:
    at = 0
    for fragment in fragments:
        at = message.find(fragment, at)
        if at < 0:
            return False
        at += len(fragment)
    return True


def quoted() -> list[str]:
    return [
        content.strip() for language, content in fences(ROOT / "TROUBLESHOOTING.md") if language == "text"
    ]


def test_troubleshooting_quotes_something() -> None:
    assert len(quoted()) > 25


@pytest.mark.parametrize("quote", quoted())
def test_quoted_messages_exist(quote: str) -> None:
    fragments = [part.strip() for part in quote.split("…") if part.strip()]
    assert any(fits(fragments, message) for message in messages())


# The glossary

GLOSSARY = ROOT / "docs" / "glossary.md"


def terms() -> list[str]:
    return headings(GLOSSARY)[1:]


def test_glossary_is_alphabetical_and_of_a_readable_size() -> None:
    assert terms() == sorted(terms(), key=lambda t: t.casefold().replace("-", " "))
    assert len(set(map(slug, terms()))) == len(terms())
    assert 40 <= len(terms()) <= 90


def test_glossary_entries_are_one_or_two_sentences() -> None:
    entries = re.findall(r"^### (.+)\n\n(.+)\n", text_of(GLOSSARY), re.M)
    assert [term for term, _ in entries] == terms()
    long = [term for term, entry in entries if len(re.findall(r"[.!?](?= |$)", entry)) not in (1, 2)]
    assert not long


def test_glossary_refers_to_its_own_terms() -> None:
    known = {term.casefold() for term in terms()}
    used = {word.casefold() for word in re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", prose(GLOSSARY))}
    assert not {word for word in used if word not in known and word.removesuffix("s") not in known}


# Versions


@cache
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#")
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines[1:])
    pairs = [line.split("==") for line in lines[1:]]
    found = {canonicalize_name(name): version for name, version in pairs}
    assert len(found) == len(pairs)
    return found


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(extra: str = "") -> Iterator[Requirement]:
    lines = project()["optional-dependencies"][extra] if extra else project()["dependencies"]
    for line in lines:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == project()["name"]:
            for other in requirement.extras:
                yield from requirements(other)
        else:
            yield requirement


def test_constraints_hold_every_dependency() -> None:
    for requirement in (*requirements(), *requirements("test")):
        version = pins().get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


CONDA_NAMES = {"matplotlib-base": "matplotlib"}
"""conda-forge's name -> the name on the Python side, where they differ."""


def conda() -> tuple[dict[str, str], list[str]]:
    """The pinned packages of environment.yml by their Python names, and the lines of its pip section."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(item["pip"] for item in listed if isinstance(item, dict))
    names = dict(
        item.split("=", 1) for item in listed if isinstance(item, str) and ">" not in item and "=" in item
    )
    from_pip = {
        Requirement(line).name: str(Requirement(line).specifier).removeprefix("==")
        for line in pip
        if not line.startswith("-e")
    }
    both = {CONDA_NAMES.get(name, name): version for name, version in (names | from_pip).items()}
    return {canonicalize_name(name): version for name, version in both.items()}, pip


def test_conda_pins_are_those_of_the_constraints() -> None:
    pinned, _ = conda()
    assert {n: v for n, v in pinned.items() if n in pins()} == {n: pins()[n] for n in pinned if n in pins()}


def test_conda_holds_every_core_dependency() -> None:
    pinned, pip = conda()
    assert {canonicalize_name(r.name) for r in requirements()} <= set(pinned)
    assert "-e ." in pip


# Code in the documents


@each_document
def test_python_blocks_compile(path: Path) -> None:
    for language, content in fences(path):
        if language == "python" and "…" not in content:
            compile(content, name_of(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_python_blocks_of_the_backend_guide_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__docs__"}
    for language, content in fences(ROOT / "docs" / "backends.md"):
        if language == "python":
            exec(compile(content, "docs/backends.md", "exec"), names)
    assert capsys.readouterr().out == "Good morning,  length\n"


def test_toml_blocks_are_settings() -> None:
    for path in DOCS:
        for language, content in fences(path):
            if language == "toml":
                assert set(tomllib.loads(content)) <= set(Settings.model_fields)


# What AGENTS.md says about the code


def floors() -> dict[str, int]:
    rows = re.findall(r"^\| (\d) \| (.+) \|$", text_of(ROOT / "AGENTS.md"), re.M)
    return {module: int(floor) for floor, modules in rows for module in re.findall(r"`(\w+)`", modules)}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "labkit":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("labkit."):
            yield node.module.split(".")[1]


def test_no_module_imports_from_a_higher_floor() -> None:
    assert floors()["errors"] == 0
    assert floors()["cli"] == 5
    for path in (ROOT / "labkit").rglob("*.py"):
        mine = path.relative_to(ROOT / "labkit").with_suffix("").parts[0]
        for other in imported(path):
            if mine in floors() and other in floors():
                assert floors()[other] <= floors()[mine], f"{mine} imports {other}"


def test_named_files_exist() -> None:
    """Paths in code spans, such as ``labkit/config.py``, are files or folders of the checkout."""
    for path in DOCS:
        for span in re.findall(r"`((?:labkit|notebooks|tests|docs)/[\w./-]*)`", text_of(path)):
            if "labNN" not in span and "NAME" not in span:
                assert (ROOT / span).exists(), f"{name_of(path)} names {span}"


# Nothing of one machine


FORBIDDEN = ("index" + "-url", "files." + "python", "/ro" + "ot/")


def test_no_index_address_and_no_machine_path() -> None:
    found: list[str] = []
    for path in tracked():
        try:
            content = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}: {word}" for word in FORBIDDEN if word in content]
    assert not found
