"""Canaries: a public check whose every expectation is made wrong. It must fail; where it passes, someone tampered with checks.

A patched ``check``, ``Expect`` or IPython, and an object that equals everything, let the canary pass as they let the check
pass. The canary is the check's own code, with its own name, so that it does not look like one.
"""

from __future__ import annotations

import ast


def canary(source: str, nonce: str) -> str | None:
    """The check cell ``source`` with every expectation made wrong. It runs without an error only if one of them passes.

    Args:
        source: One ``with check(…) as expect:`` block, perhaps among other statements.
        nonce: A name that the notebook does not know, letters and digits.

    Returns:
        None if there is nothing in it that can be made wrong.
    """
    module, block, expect = _block(source)
    if block is None:
        return None
    mark = f"_{nonce}"
    wrong = _Wrong(expect, mark, nonce)
    block.body = [wrong.visit(statement) for statement in _until_last(block.body, expect)]
    if not wrong.places:
        return None
    block.body += ast.parse(f"if not {mark}:\n    {expect}.true(False, 'a canary')").body
    module.body.insert(module.body.index(block), *ast.parse(f"{mark} = False").body)
    return ast.unparse(ast.fix_missing_locations(module))


def shortened(source: str) -> str:
    """The check cell ``source`` without what comes after its last expectation: that shows something, and costs time."""
    module, block, expect = _block(source)
    if block is None:
        return source
    body = _until_last(block.body, expect)
    if len(body) in (0, len(block.body)):
        return source
    block.body = body
    return ast.unparse(module)


def _block(source: str) -> tuple[ast.Module, ast.With | None, str]:
    module = ast.parse(source)
    for block in module.body:
        if isinstance(block, ast.With) and isinstance(name := block.items[0].optional_vars, ast.Name):
            return module, block, name.id
    return module, None, ""


def _until_last(body: list[ast.stmt], expect: str) -> list[ast.stmt]:
    """The statements up to the last one that expects something."""
    places = [
        i for i, s in enumerate(body) if any(isinstance(n, ast.Name) and n.id == expect for n in ast.walk(s))
    ]
    return body[: places[-1] + 1] if places else []


class _Wrong(ast.NodeTransformer):
    """Each expectation becomes a wrong one, which must raise; a mark is set if it does not."""

    def __init__(self, expect: str, mark: str, nonce: str) -> None:
        self._expect, self._mark, self._nonce = expect, mark, nonce
        self.places = 0

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        match node.value:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=self._expect), attr=method)) as call if (
                call.args
            ):
                if not self._spoil(method, call.args):
                    return node
                trap = ast.Try(
                    body=[node],
                    handlers=[ast.ExceptHandler(type=None, name=None, body=[ast.Pass()])],
                    orelse=ast.parse(f"{self._mark} = True").body,
                    finalbody=[],
                )
                self.places += 1
                return trap
            case _:
                return node

    def _spoil(self, method: str, args: list[ast.expr]) -> bool:
        match method, args:
            case (("equal" | "close"), [_, want, *_]):
                args[1] = self._other(want)
            case "raises", [_, _, *_]:
                args[1] = ast.parse("lambda: None", mode="eval").body
            case "true", [ast.Compare(ops=[ast.Eq()], comparators=[want]) as compare, *_]:
                compare.comparators = [self._other(want)]
            case "true", [ast.Compare(ops=[ast.In()], left=item) as compare, *_]:
                compare.left = self._other(item)
            case "true", [_, *_]:
                args[0] = ast.Constant(value=False)
            case _:
                return False
        return True

    def _other(self, value: ast.expr) -> ast.expr:
        """A value that an honest one never equals."""
        return ast.Tuple(elts=[value, ast.Constant(value=self._nonce)], ctx=ast.Load())
