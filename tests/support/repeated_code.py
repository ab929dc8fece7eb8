"""Finds runs of code that stand in two modules, for tests that hold that there are none."""

import ast
import io
import keyword
import tokenize
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

RUN = 12
"""As many lines of code in a row are a repetition."""

_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def runs(text: str, *, shapes: bool, skipped: Iterable[int] = ()) -> dict[tuple[str, ...], int]:
    """Every `RUN` lines in a row of a module's functions and classes, with the number of their first line.

    Documentation, comments, imports and punctuation are left out; with `shapes`, names, strings and numbers too.
    """
    counted: set[int] = set()
    left_out = set(skipped)
    tree = ast.parse(text)
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, (ast.Import, ast.ImportFrom)):
            left_out |= set(_lines_of(node))
        elif node in tree.body and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            counted |= set(_lines_of(node))
    lines: dict[int, list[str]] = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            lines[token.start[0]].append(_shape(token) if shapes else token.string)
    kept = [
        (number, " ".join(tokens))
        for number, tokens in sorted(lines.items())
        if number in counted - left_out and any(each[0].isalnum() for each in tokens)
    ]
    return {tuple(line for _, line in kept[at : at + RUN]): kept[at][0] for at in range(len(kept) - RUN + 1)}


def repeated(
    first: dict[Path, dict[tuple[str, ...], int]], second: dict[Path, dict[tuple[str, ...], int]]
) -> list[str]:
    """Where a run of a module of `first` stands in one of `second` too."""
    return [
        f"{path.parent.name}/{path.name}:{found[run]} ~ {other.parent.name}/{other.name}:{elsewhere[run]}"
        for path, found in first.items()
        for other, elsewhere in second.items()
        for run in found.keys() & elsewhere.keys()
    ]


def _lines_of(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _shape(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
        return "name"
    return {tokenize.STRING: "text", tokenize.NUMBER: "0"}.get(token.type, token.string)
