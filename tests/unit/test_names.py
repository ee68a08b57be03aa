"""What a text binds and needs, beside what Python's own compiler says of it."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import symtable
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import editions
from labkit.grading.names import Names

STANDARD = ["argparse", "dataclasses", "typing", "asyncio.base_events", "email.message", "json.decoder", "doctest", "inspect", "tarfile"]  # fmt: skip


def statements(path: Path) -> list[str]:
    return [ast.unparse(statement) for statement in ast.parse(path.read_text(encoding="utf-8")).body]


def scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from scopes(child)


def agree(source: str) -> None:
    """Whatever the compiler looks up among the globals is needed or bound; whatever it stores there is bound."""
    names, top = Names.of(source), symtable.symtable(source, "<text>", "exec")
    used = {
        symbol.get_name()
        for table in scopes(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    stored = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()}
    assert used - set(dir(builtins)) <= names.needed | names.bound, source
    assert stored <= names.bound, source


@pytest.mark.parametrize("module", STANDARD)
def test_it_agrees_with_the_compiler_on_the_standard_library(module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec
    assert spec.origin
    for source in statements(Path(spec.origin)):
        agree(source)


@pytest.mark.parametrize("lab", editions.sources(), ids=lambda lab: lab.id)
def test_it_agrees_with_the_compiler_on_a_lab(lab: editions.Lab) -> None:
    for source in statements(lab.source):
        agree(source)


@pytest.mark.parametrize(
    "source",
    ["-" * 200_000 + "a", "(" * 5000 + "a" + ")" * 5000, "a" + ".b" * 100_000, "lambda: " * 3000 + "a", "a\x00b", "a" + "()" * 60_000],
    ids=["minus", "brackets", "attributes", "lambdas", "null", "calls"],
)  # fmt: skip
def test_what_cannot_be_read_is_dark_and_needs_all_its_words(source: str) -> None:
    names = Names.of(source)
    assert names.dark
    assert "a" in names.needed
