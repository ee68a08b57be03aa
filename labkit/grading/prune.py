"""Cells that only show something: a lab's own, untouched, whose names nothing else needs. Grading need not run them.

What the learner wrote always runs, and so do exercises, checks, and every cell that binds a name which one of those, or a text
in the judge, needs. Who runs less must look at the outcome: a ``NameError`` says that too much was left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence

WORD = re.compile(r"[^\W\d]\w*")
DARK = {"exec", "eval", "globals", "locals", "vars", "get_ipython", "setattr"}
"""Whoever calls these may do more than shows."""
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def demonstrations(cells: Sequence[str], own: Collection[str], judge: str) -> set[int]:
    """Places of the cells that need not run.

    Args:
        cells: Sources of all code cells, in their order.
        own: Sources of the lab's plain cells: only a cell that is one of these, to the letter, can be left out.
        judge: The judge's source; what it asks for stands in its texts.
    """
    seen = [_Names.of(source) for source in cells]
    left = {place for place, names in enumerate(seen) if cells[place] in own and not names.dark}
    needed = _asked_for(judge)
    needed |= {name for place in set(range(len(cells))) - left for name in seen[place].needed}
    while used := {place for place in left if needed & (seen[place].bound | seen[place].changed)}:
        left -= used
        needed |= {name for place in used for name in seen[place].needed}
    return left


def _asked_for(judge: str) -> set[str]:
    """The names in a judge's texts: what it evaluates in the learner's kernel are expressions."""
    needed: set[str] = set()
    for node in ast.walk(ast.parse(judge)):
        match node:
            case ast.Call(func=ast.Attribute(attr="call" | "value" | "eval"), args=[asked, *_]):
                texts = [
                    n.value
                    for n in ast.walk(asked)
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
                needed |= {word for text in texts for word in WORD.findall(text)}
            case ast.Constant(value=str() as text) if re.search(
                r"[(\[.]", text
            ):  # a single word is more often data
                needed |= _Names.of(text).free
            case _:
                pass
    return needed


class _Names(ast.NodeVisitor):
    """The names that a cell binds or changes, and those that it needs from elsewhere, followed as the cell runs."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.changed: set[str] = set()
        self.needed: set[str] = set()
        self.later: set[str] = set()
        self.free: set[str] = set()
        self.dark = False

    @classmethod
    def of(cls, source: str) -> _Names:
        names = cls()
        try:
            names.visit(ast.parse(source))
        except (SyntaxError, ValueError, RecursionError):  # magics among others
            names = cls()
            names.dark = True
        names.free = names.needed | names.later - names.bound
        names.needed = names.free | (set(WORD.findall(source)) if names.dark else set())
        return names

    def visit_Name(self, node: ast.Name) -> None:
        self.dark |= node.id in DARK
        if not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)
        elif node.id not in self.bound:
            self.needed.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._in_order(node.value, *node.targets)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.visit_Name(ast.Name(node.target.id, ast.Load()))
        self._in_order(node.value, node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._in_order(node.value, node.target)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._in_order(node.iter, node.target, *node.body, *node.orelse)

    visit_AsyncFor = visit_For

    def visit_Attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):  # a change of what the name stands for
            self.changed |= {inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name)}

    visit_Subscript = visit_Attribute

    def visit_alias(self, node: ast.alias) -> None:
        self.dark |= node.name == "*"
        self.bound.add((node.asname or node.name).partition(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.bound |= {node.name} if node.name else set()
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outside = set(self.bound)
        self.generic_visit(node)
        self.bound = outside | {node.name}

    def visit_FunctionDef(self, node: Function) -> None:
        body = node.body if isinstance(node.body, list) else [node.body]
        now = [
            *getattr(node, "decorator_list", []),
            *node.args.defaults,
            *filter(None, node.args.kw_defaults),
        ]
        self._in_order(*now)
        inside = _Names()
        inside._in_order(*body)
        shared = {name for n in ast.walk(node) if isinstance(n, ast.Global) for name in n.names}
        mine = {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)} | inside.bound - shared
        self.later |= (inside.needed | inside.later) - mine  # it needs them when it is called
        self.changed |= inside.changed - mine
        self.bound |= shared | ({node.name} if not isinstance(node, ast.Lambda) else set())
        self.dark |= inside.dark

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_ListComp(self, node: Comprehension) -> None:
        outside = set(self.bound)
        for part in node.generators:
            self._in_order(part.iter, part.target, *part.ifs)
        self._in_order(*([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]))
        self.bound = outside

    visit_SetComp = visit_ListComp
    visit_DictComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp

    def _in_order(self, *nodes: ast.AST) -> None:
        for node in nodes:
            self.visit(node)
