"""The architecture as a table: imports point down only, the pure and the I/O packages do not import each other."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from paths import SOURCE, TESTS

PACKAGE = "brainwires_provider"

# The layers, the lowest first. A package or module imports only from layers below its own, and from itself.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split(", "))
    for names in (
        "types",
        "errors, events",
        "_lazy, framing, auth",
        "transports, protocols",
        "testing",
        "local",
        "providers",
        "_core, config",
        "resources",
        "conversation",
        "runs",
        "bulk",
        "client",
        "sync",
        "ollama, local (public names)",
        "doctor, integrations, ray",
        "cli",
        "__main__, pytest_plugin",
    )
)
PURE = frozenset(("types", "errors", "events", "framing", "protocols"))
IO = frozenset(("auth", "local", "transports"))
FORBIDDEN_IN_PURE = frozenset(
    ["asyncio", "aiohttp", "websockets", "os", "socket", "time", "logging", "threading", "random"]
)  # I/O, clock, environment, logging
MAX_LINES = 520
MOST_OF_A_FUNCTION = 60  # lines


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


MODULES = modules()


class Class(NamedTuple):
    """A class as it is written: the names of its bases, and the keywords with a constant, such as `frozen=True`."""

    name: str
    bases: set[str]
    keywords: dict[str, object]


@cache
def read(path: Path) -> tuple[frozenset[str], tuple[Class, ...]]:
    """Every import of a file, deferred ones and those under TYPE_CHECKING included, and its classes."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name.removeprefix(f"{PACKAGE}.") in MODULES else node.module for name in names}
    return frozenset(found), tuple(as_written(node) for node in tree.body if isinstance(node, ast.ClassDef))


def as_written(node: ast.ClassDef) -> Class:
    bases = {each.value if isinstance(each, ast.Subscript) else each for each in node.bases}
    names = {each.id if isinstance(each, ast.Name) else getattr(each, "attr", "") for each in bases}
    keywords = {each.arg: each.value.value for each in node.keywords if isinstance(each.value, ast.Constant)}
    return Class(node.name, names, {name: value for name, value in keywords.items() if name is not None})


def imports(path: Path) -> frozenset[str]:
    return read(path)[0]


def own(path: Path) -> set[str]:
    return {name.removeprefix(f"{PACKAGE}.") for name in imports(path) if name.startswith(f"{PACKAGE}.")}


def head(module: str) -> str:
    """The package that a module belongs to, by the table. `local` itself only re-exports public names."""
    return "local (public names)" if module == "local" else module.partition(".")[0]


def test_imports_point_down() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    unknown = {head(name) for name in MODULES} - layer.keys()
    assert not unknown, f"give these a layer in the table: {unknown}"

    wrong = [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        for target in own(path)
        if head(target) != head(name) and layer[head(target)] >= layer[head(name)]
    ]

    assert not wrong


def test_pure_and_io_packages_do_not_import_each_other() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        for target in own(path)
        if (head(name) in PURE and head(target) in IO)
        or (head(name) in IO and head(target) in ("framing", "protocols") and target != "framing.base")
    ]

    assert not wrong


def test_pure_packages_do_no_io() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        if head(name) in PURE - {"types"}
        for target in imports(path)
        if head(target) in FORBIDDEN_IN_PURE
    ]

    assert not wrong


def test_there_is_no_import_cycle() -> None:
    edges = {name: own(path) & MODULES.keys() for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in done:
            for target in edges[name]:
                visit(target, (*above, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_files_stay_readable() -> None:
    lines = {name: path.read_text().count("\n") for name, path in MODULES.items()}

    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_functions_stay_small() -> None:
    """Without the lines of their signature and docstring."""
    found = {}
    for name, path in MODULES.items():
        for each in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = each.body[1:] if ast.get_docstring(each) and each.body[1:] else each.body
                assert each.end_lineno is not None
                found[f"{name}.{each.name}:{each.lineno}"] = each.end_lineno - body[0].lineno + 1

    assert {name: count for name, count in found.items() if count > MOST_OF_A_FUNCTION} == {}
    assert median(found.values()) <= 8


def test_a_module_of_tests_gives_a_name_one_meaning() -> None:
    """A second test function replaces the first unseen, and a second table takes the place of that of the first."""
    found = {}
    for path in TESTS.rglob("test_*.py"):
        names: Counter[str] = Counter()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names[node.name] += 1
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            names.update(each.id for each in targets if isinstance(each, ast.Name))
        if twice := [name for name, count in names.items() if count > 1]:
            found[path.name] = twice
    assert found == {}


HEAVY = ("aiohttp", "websockets", "xllamacpp", "typer", "rich", "urllib.request", "openai")


def test_import_and_a_client_load_nothing_heavy() -> None:
    script = (
        "import sys; from brainwires_provider import AsyncClient, Client, Message; "
        "AsyncClient('openai-chat:x', api_key='k'); c = Client('openai-chat:x', api_key='k'); c.close(); "
        f"print([n for n in {HEAVY!r} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"


PUBLIC = (PACKAGE, f"{PACKAGE}.local", f"{PACKAGE}.ollama")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_lazy_public_module_has_every_name(name: str) -> None:
    module = importlib.import_module(name)

    for each in module.__all__:
        assert getattr(module, each) is not None
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_no_public_name_is_in_two_places() -> None:
    names = [each for name in PUBLIC for each in importlib.import_module(name).__all__]

    assert len(names) == len(set(names))


IN_PROGRESS = {"Admission", "Hedged", "Held", "Reserved", "Ticket"}  # they change while they are counted with


def test_struct_types_are_frozen_and_those_of_options_take_keywords_alone() -> None:
    """Those of answers' forms, whose names begin with an underscore, are read once and may stay as they are."""
    paths = [path for name, path in MODULES.items() if head(name) in PURE | {"_core", "transports"}]
    classes = [each for path in paths for each in read(path)[1]]
    structs = {"Struct"}
    while more := {each.name for each in classes if each.bases & structs} - structs:
        structs |= more
    public = [each for each in classes if each.bases & structs and not each.name.startswith("_")]

    assert {each.name for each in public if not each.keywords.get("frozen")} == IN_PROGRESS
    options = [
        each for each in public if "ProviderOptions" in each.bases or each.name.endswith(("Quirks", "Facts"))
    ]
    assert [each.name for each in options if not each.keywords.get("kw_only")] == ["BatchQuirks"]
