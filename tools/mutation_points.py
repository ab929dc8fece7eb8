"""The changes that `tools/mutate.py` makes to a source file: each is one small fault, as somebody could write it.

A change is a range of bytes and what takes its place. Texts of messages (constants with a space), docstrings,
annotations, assertions (as `strict` of `zip` is one), `__all__`, what only a type checker reads, `gc` of a struct,
which says nothing of what it does, and "utf-8", of which Python takes any spelling, are left alone: no test should
depend on them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ["Change", "changes_in"]

_COMPARED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
_COUNTED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.Div: "*", ast.FloorDiv: "*"}
_LOAD = ast.Load()
_GENERIC = frozenset(
    ("Callable", "Iterator", "Literal", "Mapping", "Sequence", "dict", "frozenset", "list", "set", "tuple")
)
"""What has types in brackets, wherever it stands."""
_UNREAD = frozenset(("__all__", "__slots__", "__match_args__"))


@dataclass(frozen=True)
class Change:
    """One fault: the bytes from `start` to `end` become `text`."""

    path: str
    line: int
    kind: str
    start: int
    end: int
    text: str

    def applied(self, source: bytes) -> bytes:
        """The file with the fault."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def changes_in(path: str, source: bytes) -> list[Change]:
    """Every change that a file offers, in the order of their places."""
    return sorted(_Finder(path, source).found(), key=lambda change: (change.start, change.end, change.text))


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self._path = path
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def found(self) -> Iterator[Change]:
        waiting: list[ast.AST] = [ast.parse(self._source)]
        while waiting:
            node = waiting.pop()
            if not self._is_left_alone(node):
                yield from self._of(node)
                waiting += self._children(node)

    # -- where to look -----------------------------------------------------------------------------------

    @staticmethod
    def _is_left_alone(node: ast.AST) -> bool:
        match node:
            case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
                return True
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return True
            case ast.Assign(targets=[ast.Name(id=name)]) if name in _UNREAD:
                return True
            case ast.Expr(value=ast.Constant()):
                return True
            case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
                return True
            case ast.Subscript(value=ast.Name(id=name)) if name in _GENERIC:
                return True
        return False

    @staticmethod
    def _children(node: ast.AST) -> list[ast.AST]:
        """All but annotations, type parameters, also of bases, and what a call of `cast` or `TypeVar` names."""
        unread: list[ast.AST | None] = [getattr(node, name, None) for name in ("annotation", "returns")]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            unread += node.args[:1] if node.func.id in ("cast", "TypeVar") else ()
            unread += node.keywords if node.func.id == "zip" else ()
        if isinstance(node, ast.ClassDef):
            unread += [base for base in node.bases if isinstance(base, ast.Subscript)]
            unread += [each for each in node.keywords if each.arg == "gc"]
        return [child for child in ast.iter_child_nodes(node) if not any(child is each for each in unread)]

    def _place(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def _range(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, (ast.expr, ast.stmt, ast.keyword)) and node.end_lineno and node.end_col_offset
        return self._place(node.lineno, node.col_offset), self._place(node.end_lineno, node.end_col_offset)

    def _text(self, node: ast.AST) -> str:
        start, end = self._range(node)
        return self._source[start:end].decode()

    def _put(self, node: ast.AST, kind: str, text: str) -> Change:
        start, end = self._range(node)
        return Change(self._path, getattr(node, "lineno", 0), kind, start, end, text)

    def _between(self, before: ast.AST, after: ast.AST, kind: str, old: str, new: str) -> Iterator[Change]:
        """An operator between two operands."""
        start, end = self._range(before)[1], self._range(after)[0]
        at = self._source.find(old.encode(), start, end)
        if at >= 0:
            line = self._source.count(b"\n", 0, at) + 1
            yield Change(self._path, line, kind, at, at + len(old), new)

    # -- what to change ----------------------------------------------------------------------------------

    def _of(self, node: ast.AST) -> Iterator[Change]:
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield self._put(node.test, "condition inverted", f"(not ({self._text(node.test)}))")
        if isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield self._put(test, "condition inverted", f"(not ({self._text(test)}))")
        if isinstance(node, ast.stmt):
            yield from self._of_statement(node)
        elif isinstance(node, ast.expr):
            yield from self._of_expression(node)

    def _of_statement(self, node: ast.stmt) -> Iterator[Change]:
        match node:
            case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise() | ast.Delete():
                yield self._put(node, "statement removed", "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
                yield self._put(node, "statement removed", "pass")
            case ast.Continue() | ast.Break():
                yield self._put(node, "statement removed", "pass")
            case ast.Return(value=ast.expr() as value) if not self._is_none_or_false(value):
                yield self._put(value, "result removed", "None")

    def _of_expression(self, node: ast.expr) -> Iterator[Change]:
        match node:
            case ast.Compare(ops=[op], comparators=[right]) if type(op) in _COMPARED:
                old = self._source[self._range(node.left)[1] : self._range(right)[0]].decode().strip(" ()\n")
                yield from self._between(node.left, right, "comparison", old, _COMPARED[type(op)])
            case ast.BoolOp(op=op, values=values):
                old, new = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
                for before, after in pairwise(values):
                    yield from self._between(before, after, f"{old} is {new}", old, new)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _COUNTED:
                old = {"-": "+", "+": "-", "//": "*"}.get(_COUNTED[type(op)], "//")
                yield from self._between(left, right, "arithmetic", old, _COUNTED[type(op)])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield self._put(node, "not removed", f"({self._text(operand)})")
            case ast.Constant(value=value):
                yield from self._of_constant(node, value)
            case _:
                yield from self._of_members(node)

    def _of_constant(self, node: ast.Constant, value: Any) -> Iterator[Change]:
        if isinstance(value, bool):
            yield self._put(node, "constant", str(not value))
        elif isinstance(value, int):
            yield self._put(node, "constant", str(value + 1))
        elif isinstance(value, str) and value not in ("", "utf-8") and " " not in value and "\n" not in value:
            yield self._put(node, "constant", repr(value + "~"))

    def _of_members(self, node: ast.expr) -> Iterator[Change]:
        match node:
            case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements) if (
                len(elements) > 1
            ):
                if isinstance(getattr(node, "ctx", _LOAD), ast.Load):
                    yield from self._elements(elements)
            case ast.Dict(keys=keys, values=values) if len(keys) > 1:
                for key, value in zip(keys, values, strict=True):
                    if key is not None:
                        start, end = self._range(key)[0], self._range(value)[1]
                        yield self._removed(start, end, key.lineno, "entry removed")
            case ast.Call(func=func, keywords=keywords):
                is_zip = isinstance(func, ast.Name) and func.id == "zip"
                for keyword in keywords:
                    if keyword.arg is not None and not is_zip:
                        yield self._removed(*self._range(keyword), keyword.lineno, "argument removed")

    def _elements(self, elements: list[ast.expr]) -> Iterator[Change]:
        for element in elements:
            if not isinstance(element, ast.Starred):
                yield self._removed(*self._range(element), element.lineno, "element removed")

    def _removed(self, start: int, end: int, line: int, kind: str) -> Change:
        """A member of a list, with the comma behind it or before it."""
        after = self._source[end:].lstrip()
        if after.startswith(b","):
            end = self._source.index(b",", end) + 1
        else:
            before = self._source[:start].rstrip()
            start = len(before) - 1 if before.endswith(b",") else start
        return Change(self._path, line, kind, start, end, "")

    @staticmethod
    def _is_none_or_false(node: ast.expr) -> bool:
        """None, or False, which is changed as a constant."""
        return isinstance(node, ast.Constant) and (node.value is None or node.value is False)
