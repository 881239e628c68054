"""Small changes of a module, each of which a test should notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Mutation:
    """One replacement in a source file.

    Attributes:
        path: File, relative to the root of the project.
        line: First line of what is replaced, from 1.
        end_line: Its last line.
        start: First byte.
        end: Byte behind the last.
        kind: ``comparison``, ``arithmetic``, ``boolean``, ``constant``, ``return`` or ``branch``.
        text: What stands there instead.
    """

    path: str
    line: int
    end_line: int
    start: int
    end: int
    kind: str
    text: str

    def apply(self, source: bytes) -> bytes:
        """Return the source with the replacement."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def find_mutations(path: str, source: bytes) -> list[Mutation]:
    """List every mutation of a module.

    Docstrings, annotations, decorators, messages of errors and f-strings are left alone.

    Args:
        path: Name of the file, for the record.
        source: Its content, UTF-8.
    """
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, kind, text in _walk(ast.parse(source), in_function=False):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        if source[start:end].decode() != text:
            found.append(Mutation(path, node.lineno, node.end_lineno, start, end, kind, text))
    return sorted(set(found))


def _walk(node: ast.AST, in_function: bool) -> Iterator[tuple[ast.AST, str, str]]:
    """Yield (node to replace, kind, replacement) of a node and of all below it."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield from _changes(node, in_function)
    inside = in_function or isinstance(node, ast.FunctionDef | ast.Lambda)
    for child in _children(node):
        yield from _walk(child, inside)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node that run and decide something."""
    match node:
        case ast.JoinedStr() | ast.Raise() | ast.Import() | ast.ImportFrom():
            return
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return
        case ast.FunctionDef():
            yield from (d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None)
            yield from node.body
        case ast.ClassDef():
            yield from node.body
        case ast.AnnAssign():
            yield from [node.value] if node.value is not None else []
        case ast.Call(func=ast.Name(id="cast" | "TypeVar" | "NewType")):
            yield from node.args[1:]
        case _:
            yield from ast.iter_child_nodes(node)


def _changes(node: ast.AST, in_function: bool) -> Iterator[tuple[ast.AST, str, str]]:
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                changed = copy.deepcopy(node)
                changed.ops[index] = COMPARISONS[type(operator)]()
                yield node, "comparison", f"({ast.unparse(changed)})"
        case ast.BinOp() | ast.AugAssign() if type(node.op) in ARITHMETIC:
            words = [part for part in ast.iter_child_nodes(node) if _is_text(part)]
            if not words and (in_function or not isinstance(node.op, ast.BitOr)):
                changed = copy.deepcopy(node)
                changed.op = ARITHMETIC[type(node.op)]()
                text = ast.unparse(changed)
                yield node, "arithmetic", text if isinstance(node, ast.AugAssign) else f"({text})"
        case ast.BoolOp():
            changed = copy.deepcopy(node)
            changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, "boolean", f"({ast.unparse(changed)})"
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node, "boolean", f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool()):
            yield node, "constant", str(not node.value)
        case ast.Constant(value=int()):
            yield node, "constant", str(node.value + 1)
        case ast.Constant(value=float()):
            yield node, "constant", repr(node.value * 1.5 if node.value else 1.0)
        case ast.Return(value=ast.expr()):
            yield node, "return", "return None"
        case ast.If() | ast.IfExp():
            for value in ("True", "False"):
                yield node.test, "branch", value
        case ast.While():
            yield node.test, "branch", "False"
        case ast.comprehension():
            for test in node.ifs:
                yield test, "branch", "True"
        case ast.Break() | ast.Continue():
            yield node, "branch", "continue" if isinstance(node, ast.Break) else "break"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr | ast.Constant) and not isinstance(
        getattr(node, "value", ""), int | float | complex
    )
