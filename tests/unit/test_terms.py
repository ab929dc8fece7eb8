"""Public names, docstrings, messages, comments, `--help` texts and documents use the field's standard terms.

A term that is right in one place is listed in `ALLOWED`, with the reason.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brainwires_provider import WebSocketOptions, WebSocketStats
from paths import PROJECT, SOURCE

# A pattern, and what to write instead.
TERMS: tuple[tuple[str, str], ...] = (
    (r"(?<!/)rows?", "provider"),  # not tests/fixtures/rows, a folder
    (r"wires", "protocols, APIs"),
    (r"(?<!in )flights?", "attempt"),  # requests in flight: a standard term
    (r"(?:takes?|took|taken|taking) off|departs?|departed|lands?|landed", "send, start, end"),
    (r"leases?|leased|seats?", "connection"),
    (r"ladders?|rungs?", "recovery step"),
    (r"desks?", "session"),
    (r"houses?", "package"),
    (r"wings?", "layer"),
    (r"roads?", "request path"),
    (r"colours?|colors?", "sync and async"),
    (r"told|tells?|telling", "reported, states, distinguishes"),
    (r"(?:says?|said|saying) so", "declares, states"),
    (r"hand(?:s|ed|ing)? (?:over|out)", "passes, returns"),
    (r"(?:go|goes|going|went|gone) out", "is sent"),
    (r"(?:takes?|took|taken|taking) along|brings? along", "sent, loaded, removed"),
    (r"knobs?", "option"),
    (r"set-ups?", "configuration"),
    (r"whom", "the provider, the user"),
    (r"one's own", "your own"),
    (r"in the midst of|in mid-answer", "during a response"),
    (r"standing instructions|the longest answer", "system prompt, maximum output tokens"),
)
BAD = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern, _ in TERMS), re.IGNORECASE)

# Where a row is one of a user's data, which is what the field calls it: these files, names and commands.
DATA = re.compile(
    r"^(src/brainwires_provider/(bulk|ray|batch|sync/(bulk|of_client)|cli/(run|batch)|types/bulk)"
    r"|docs/(bulk|batch|ray|command|decisions/0020)|benchmarks/README)"
    r"|^(Async)?(Bulk|Ray)|\.map$|^brainwires (run|batch)\b"
)

# A file (a path below the project), text around an occurrence, and why it is right there.
ALLOWED: tuple[tuple[str, str, str], ...] = ()

OLD_NAMES = frozenset(
    (
        "Args",
        "PermissionDenied",
        "Prepared",
        "SocketCounts",
        "SocketTraits",
        "Timeout",
        "Tuning",
        "fell_back",
        "kept_sockets",
        "max_sockets",
    )
)
OLD_FIELDS = frozenset(
    (
        *("lanes", "kept_sockets", "max_sockets", "lifetime", "ping", "drain", "fallback"),
        *("whole", "delta", "recovered", "stale", "fell_back"),
    )
)
MODULES = ("", ".errors", ".events", ".local", ".ollama", ".testing", ".types")


SOURCES = sorted(SOURCE.rglob("*.py"))
DOCUMENTS = [
    *(PROJECT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")),
    *sorted((PROJECT / "docs").rglob("*.md")),
]


def faults(path: Path, texts: Iterator[tuple[int, str]]) -> list[str]:
    """The terms in these texts of a file, with their lines and what to write instead."""
    name = path.relative_to(PROJECT).as_posix()
    allowed = [near for file, near, _ in ALLOWED if file == name]
    return [
        f"{name}:{line + text.count(chr(10), 0, match.start())}: {match[0]!r}, use: {advice(match[0])}"
        for line, text in texts
        for match in BAD.finditer(text)
        if not any(near in text[max(0, match.start() - 40) : match.end() + 40] for near in allowed)
        and not is_data(name, match[0])
    ]


def is_data(place: str, term: str) -> bool:
    return term.lower() in ("row", "rows") and DATA.search(place) is not None


def bad(place: str, text: str) -> list[str]:
    """The terms in a text of a name or a command."""
    return [term for term in BAD.findall(text) if not is_data(place, term)]


def advice(term: str) -> str:
    return next(use for pattern, use in TERMS if re.fullmatch(pattern, term, re.IGNORECASE))


def texts_of(source: str) -> Iterator[tuple[int, str]]:
    """The docstrings, comments and messages of a module: the strings that are passed to an exception or a fault."""
    for node in ast.walk(ast.parse(source)):
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) or (
            isinstance(node, ast.Call) and re.search(r"(Error|Timeout|Interrupted|fault)$", called(node))
        ):
            yield from strings_in(node)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def strings_in(node: ast.AST) -> Iterator[tuple[int, str]]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.lineno, inner.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_docstrings_comments_and_messages(path: Path) -> None:
    found = faults(path, texts_of(path.read_text(encoding="utf-8")))

    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_documents(path: Path) -> None:
    found = faults(path, iter([(1, path.read_text(encoding="utf-8"))]))

    assert not found, "\n".join(found)


@pytest.mark.parametrize("module", MODULES)
def test_public_names(module: str) -> None:
    names = sorted(public_names(module))

    assert len(names) > 10
    assert not [name for name in names if name.rpartition(".")[2] in OLD_NAMES]
    assert not [name for name in names if bad(name, words_of(name))]


def public_names(module: str) -> Iterator[str]:
    """The names that a module exports, and the public members of its classes as `Class.member`."""
    exported = import_module(f"brainwires_provider{module}")
    for name in exported.__all__:
        yield name
        value = getattr(exported, name)
        if inspect.isclass(value):
            members = {*dir(value), *getattr(value, "__annotations__", {})}
            yield from (f"{name}.{member}" for member in members if not member.startswith("_"))


def words_of(name: str) -> str:
    """The last part of a name as lower-case words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name.rpartition(".")[2]).lower()


@pytest.mark.parametrize("kind", [WebSocketOptions, WebSocketStats])
def test_names_of_websocket_fields(kind: type[msgspec.Struct]) -> None:
    assert not OLD_FIELDS & set(kind.__struct_fields__)


def help_texts() -> Iterator[tuple[str, str]]:
    """Every command and parameter of the command line, with its help."""
    import typer.main

    from brainwires_provider.cli.app import app

    def walk(command: Any, path: str) -> Iterator[tuple[str, str]]:
        yield path, getattr(command, "help", None) or ""
        for parameter in getattr(command, "params", ()):
            shown = getattr(parameter, "help", None) or "", getattr(parameter, "metavar", None) or ""
            yield f"{path} {parameter.name}", " ".join(shown)
        for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
            yield from walk(command.get_command(None, name), f"{path} {name}")

    return walk(typer.main.get_command(app), "brainwires")


def test_help_texts() -> None:
    texts = list(help_texts())

    assert len(texts) > 50
    assert not [(place, text) for place, text in texts if bad(place, text)]


def test_allowed_terms_occur() -> None:
    for file, near, reason in ALLOWED:
        assert near in (PROJECT / file).read_text(encoding="utf-8"), file
        assert reason


@pytest.mark.parametrize(
    "source",
    [
        '"""A row of the table."""\n',
        "x = 1\n'''Which knob it is.'''\n",
        "x = 1  # what it tells\n",
        'raise ValueError(f"{x} goes out twice")\n',
        'reader.fault(path, "takes a set-up")\n',
        "class A:\n    def f(self):\n        'Hands over the lease.'\n",
    ],
)
def test_a_term_is_found(source: str) -> None:
    path = SOURCE / "client.py"

    assert faults(path, texts_of(source))
    assert not faults(path, texts_of('"""Requests in flight, in both directions."""\nrow = told = 1\n'))
