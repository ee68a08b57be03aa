"""The names of a piece of code: what it binds, changes and needs, as far as its text tells."""

from __future__ import annotations

import ast
import re

WORD = re.compile(r"[^\W\d]\w*")
DARK = {"exec", "eval", "globals", "locals", "vars", "get_ipython", "setattr", "sys", "warnings"}
STATE = {"chdir", "environ", "seed"}
"""Whoever uses these names, or calls or stores into these attributes, may do more than shows."""
SHOWS = {"print", "display"}
"""Whoever calls these for their effect changes nothing."""
CHANGES = {
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove", "reverse", "setdefault",
    "sort", "update",
}  # fmt: skip
"""Methods of Python's containers that change them."""
SURE = ast.Assign | ast.AnnAssign | ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
"""Statements after which the names that they bind are bound anew, whatever they were before."""
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Names(ast.NodeVisitor):
    """The names that a cell binds or changes, and those that it needs from elsewhere, followed as the cell runs.

    Attributes:
        bound: What it gives names to, ``firm``: modules, functions and classes among them.
        changed: What it stores into.
        touched: What it calls a method of, or hands over, for nothing but the effect.
        called: What it calls methods of.
        effects: What its functions may change when they are called.
        given: What it is sure to bind, in one statement.
        now: What it takes from elsewhere when it runs.
        later: What its functions take when they are called.
        needed: Both; all its words if it is dark.
        dark: It may do more than can be seen.
    """

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.given: set[str] = set()
        self.firm: set[str] = set()
        self.changed: set[str] = set()
        self.touched: set[str] = set()
        self.called: set[str] = set()
        self.effects: set[str] = set()
        self.now: set[str] = set()
        self.later: set[str] = set()
        self.free: set[str] = set()
        self.needed: set[str] = set()
        self.dark = False

    @classmethod
    def of(cls, source: str) -> Names:
        names = cls()
        try:
            names.visit(tree := ast.parse(source))
            if len(tree.body) == 1 and isinstance(tree.body[0], SURE):
                names.given = set(names.bound)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            # magics among others; or nested too deep
            names = cls()
            names.dark = True
        names.free = names.now | names.later - names.bound
        names.needed = names.free | (set(WORD.findall(source)) if names.dark else set())
        return names

    def visit_Name(self, node: ast.Name) -> None:
        self.dark |= node.id in DARK
        if not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)
        elif node.id not in self.bound:
            self.now.add(node.id)

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

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call for its effect changes what it is called on, and what it is given."""
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        match call:
            case ast.Call(func=ast.Name(id=name)) if name in SHOWS:
                pass
            case ast.Call(func=ast.Attribute(attr=name)) if name in CHANGES:
                pass  # what it is called on, and nothing else
            case _:
                self._for_its_effect(call)
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        """A context is entered for its effect."""
        self._for_its_effect(node.context_expr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            self.dark |= node.func.attr in STATE
            self.called |= (on := _names_in(node.func.value))
            self.touched |= on if node.func.attr in CHANGES else set()
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):  # a change of what the name stands for
            self.changed |= _names_in(node.value)
            self.dark |= isinstance(node.value, ast.Attribute) and node.value.attr in STATE

    visit_Subscript = visit_Attribute

    def visit_alias(self, node: ast.alias) -> None:
        self.dark |= node.name == "*"
        self._firmly((node.asname or node.name).partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.dark |= node.module == "__future__"
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.bound |= {node.name} if node.name else set()
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.bound |= {node.name} if node.name else set()
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outside = set(self.bound)
        self.generic_visit(node)
        self.bound = outside
        self._firmly(node.name)

    def visit_FunctionDef(self, node: Function) -> None:
        body = node.body if isinstance(node.body, list) else [node.body]
        args = [arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)]
        now = [*node.args.defaults, *node.args.kw_defaults, *(arg.annotation for arg in args)]
        if not isinstance(node, ast.Lambda):
            now += [*node.decorator_list, node.returns]
        self._in_order(*filter(None, now))
        inside = Names()
        inside._in_order(*body)
        shared = {name for n in ast.walk(node) if isinstance(n, ast.Global) for name in n.names}
        mine = {arg.arg for arg in args} | inside.bound - shared
        self.later |= (inside.now | inside.later) - mine  # it needs them when it is called
        self.effects |= (inside.changed | inside.touched | inside.effects) - mine | shared
        if not isinstance(node, ast.Lambda):
            self._firmly(node.name)
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

    def _for_its_effect(self, call: ast.expr) -> None:
        if isinstance(call, ast.Call):
            self.touched |= _names_in(call.func).union(*map(_handed_over, (*call.args, *call.keywords)))

    def _firmly(self, name: str) -> None:
        self.bound.add(name)
        self.firm.add(name)

    def _in_order(self, *nodes: ast.AST) -> None:
        for node in nodes:
            self.visit(node)


def _names_in(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _handed_over(tree: ast.AST) -> set[str]:
    """The names in an argument. What a call among them gives back is something new."""
    if isinstance(tree, ast.Name):
        return {tree.id}
    parts = [] if isinstance(tree, ast.Call) else ast.iter_child_nodes(tree)
    return set[str]().union(*map(_handed_over, parts))
