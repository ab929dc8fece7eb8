"""The reasons that the protocols' code gives for sending something in another form, read out of the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from paths import PROJECT

SOURCE = PROJECT / "src" / "brainwires_provider" / "protocols"
_KINDS = frozenset(("adapted", "weaken"))


def reasons() -> Iterator[tuple[str, str]]:
    """`adapted` or `weaken`, and a reason: a text with `{}` where a value stands, `{}` alone for one put together."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    constants = dict(pair for tree in trees.values() for pair in _assigned(tree.body) if pair[0].isupper())
    for path, tree in trees.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef) or function.name in _KINDS:
                continue
            local = list(_assigned(function.body))
            for node in ast.walk(function):
                for kind in _reports(node, local):
                    assert isinstance(node, ast.Call)
                    for text in _texts(_reason(node, path), local, constants):
                        yield kind, text


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield node.targets[0].id, node.value


def _reports(node: ast.AST, local: list[tuple[str, ast.expr]]) -> set[str]:
    """The kinds of report that a node makes; the name `report` stands for any that the function gives it."""
    if not isinstance(node, ast.Call):
        return set()
    if isinstance(node.func, ast.Name) and node.func.id == "report":
        named = [each for name, value in local if name == "report" for each in ast.walk(value)]
        return {each.attr for each in named if isinstance(each, ast.Attribute)} & _KINDS
    return {node.func.attr} & _KINDS if isinstance(node.func, ast.Attribute) else set()


def _reason(call: ast.Call, path: Path) -> ast.expr:
    """The second argument of an OptionReader's method, the first of an encoder's."""
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
    name = receiver.attr if isinstance(receiver, ast.Attribute) else getattr(receiver, "id", "")
    to_reader = receiver is None or path.name == "options.py" or name.lstrip("_") == "reader"
    return call.args[int(to_reader)]


def _texts(
    given: ast.expr, local: list[tuple[str, ast.expr]], constants: dict[str, ast.expr]
) -> Iterator[str]:
    if isinstance(given, ast.Constant):
        yield str(given.value)
    elif isinstance(given, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in given.values)
    elif isinstance(given, ast.Name):
        values = [value for name, value in local if name == given.id] or [constants[given.id]]
        for value in values:
            yield from _texts(value, [], constants)
    else:
        yield "{}"
