"""What only shows something: untouched statements of a lab whose names nothing else needs. Grading need not run them.

What the learner wrote always runs, whole cells of it, and so do exercises and checks. Of the lab's own cells those statements
run that bind or change a name which one of these, or a text in the judge, needs; and what those need in their turn. Who runs
less must look at the outcome: a ``NameError`` for one of the names that were left out says that it was too much.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from labkit.grading.names import Names


class Demonstrations(NamedTuple):
    """What need not run.

    Attributes:
        rest: What is left of the cells that need not run as a whole, by their place; empty if nothing is.
        names: What the statements bind that need not run.
    """

    rest: dict[int, str]
    names: set[str]


def demonstrations(cells: Sequence[str], own: Collection[str], judge: str) -> Demonstrations:
    """Find what need not run.

    Args:
        cells: Sources of all code cells, in their order.
        own: Sources of the lab's plain cells: only of a cell that is one of these, to the letter, something is left out.
        judge: The judge's source; what it asks for stands in its texts.
    """
    parts = [(place, part) for place, cell in enumerate(cells) for part in _parts(cell, cell in own)]
    seen = [Names.of(part) for _, part in parts]
    changes = _changes(seen, [place for place, _ in parts])
    left = {i for i, (place, _) in enumerate(parts) if cells[place] in own and not seen[i].dark}
    at_any_time: set[str] = set()  # what functions need is needed whenever they are called
    while True:
        needed, before = _asked_for(judge), len(at_any_time)
        for i in reversed(range(len(parts))):
            if i in left and not (needed | at_any_time) & (seen[i].bound | changes[i]):
                continue
            left.discard(i)
            needed = needed - (seen[i].given if cells[parts[i][0]] in own else set()) | seen[i].needed
            at_any_time |= seen[i].later - seen[i].bound
        if len(at_any_time) == before:
            break
    run: dict[int, list[str]] = {parts[i][0]: [] for i in sorted(left)}
    for i, (place, part) in enumerate(parts):
        if place in run and i not in left:
            run[place].append(part)
    rest = {place: "\n".join(kept) for place, kept in run.items()}
    return Demonstrations(rest, set[str]().union(*(seen[i].bound for i in left)))


def _parts(source: str, own: bool) -> list[str]:
    """The statements of one of the lab's own cells; any other cell as it is."""
    try:
        return [ast.unparse(statement) for statement in ast.parse(source).body] if own else [source]
    except (SyntaxError, ValueError, RecursionError):
        return [source]


def _changes(seen: Sequence[Names], places: Sequence[int]) -> list[set[str]]:
    """What each part may change, also by way of the functions and objects that it uses.

    Calls change no module and no function. In the cell that makes an object, whatever is called on it may belong to its making.
    """
    binders: dict[str, list[Names]] = defaultdict(list)
    made: dict[int, set[str]] = defaultdict(set)
    for place, names in zip(places, seen, strict=True):
        made[place] |= names.bound
        for name in names.bound:
            binders[name].append(names)
    firm = {name for name, some in binders.items() if all(name in names.firm for names in some)}
    firm |= set(dir(builtins))

    def reached(start: Iterable[str]) -> set[str]:
        found: set[str] = set()
        todo = list(start)
        while todo:
            if (name := todo.pop()) not in found:
                found.add(name)
                todo += [free for names in binders[name] for free in names.free]
        return found

    def by_call(names: Names, place: int) -> set[str]:
        used = [binder for name in reached(names.now) for binder in binders[name]]
        return names.touched.union(names.called & made[place], *(binder.effects for binder in used)) - firm

    return [names.changed | by_call(names, place) for place, names in zip(places, seen, strict=True)]


def _asked_for(judge: str) -> set[str]:
    """The names in a judge's texts: what it evaluates in the learner's kernel are expressions. What it sends along is not needed."""
    tree = ast.parse(judge)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    rest = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    needed = set[str]().union(*map(_in_texts, rest))
    for function in functions:
        sent = {
            keyword.arg
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "eval"
            for keyword in node.keywords
        }
        needed |= _in_texts(function) - sent
    return needed


def _in_texts(tree: ast.AST) -> set[str]:
    needed: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="call" | "value" | "eval"), args=[asked, *_]):
                texts = [
                    n.value
                    for n in ast.walk(asked)
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
                needed = needed.union(*(Names.of(text).needed for text in texts))
            case ast.Constant(value=str() as text) if re.search(r"[(\[.]", text):
                # a single word is more often data
                needed |= Names.of(text).free
            case _:
                pass
    return needed
