"""The architecture as a table: imports go down only, never from wing to wing, and in no circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "brainwires_provider"
PACKAGE = "brainwires_provider"

# Each room: the floors below it that it may look into. A room may always look into itself.
GROUND = {"types", "errors", "events"}
PURE = {"framing", "assembler", "protocols", "continuation"}
WORLD = {"auth", "local", "wires"}
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "errors": {"types"},
    "events": {"types"},
    "framing": {"types", "errors"},
    "assembler": GROUND,
    "protocols": GROUND | {"framing", "assembler"},
    "continuation": GROUND,
    "policy": GROUND,
    "auth": GROUND,
    "wires": GROUND | {"auth"},
    "local": GROUND | {"wires"},
    "requests": GROUND,
    "providers": GROUND | PURE | WORLD | {"policy"},
    "plans": GROUND | PURE | WORLD | {"providers"},
    "watch": set(),
    "flow": GROUND | PURE | WORLD | {"policy", "providers", "plans", "watch"},
    "stream": GROUND | {"protocols", "providers", "plans", "flow"},
    "sockets": GROUND | PURE | WORLD | {"continuation", "policy", "providers", "requests", "plans", "flow"},
    "responses": GROUND | PURE | {"providers", "requests", "plans", "flow", "stream", "sockets"},
    "resources": GROUND | PURE | WORLD | {"providers", "requests", "plans", "flow", "stream", "embeddings"},
    "tables": GROUND,
    "listing": GROUND | PURE | {"providers", "plans", "flow", "tables"},
    "embeddings": GROUND | PURE | WORLD | {"providers", "plans", "flow"},
    "config": GROUND | {"auth", "local", "providers"},
    "client": GROUND
    | PURE
    | WORLD
    | {"providers", "requests", "plans", "flow", "stream", "sockets"}
    | {"responses", "resources", "listing", "embeddings"},
    "portal": GROUND | {"wires", "client"},
    "pump": GROUND | {"stream", "portal"},
    "sync": GROUND
    | PURE
    | WORLD
    | {
        "providers",
        "requests",
        "stream",
        "responses",
        "resources",
        "sockets",
        "client",
        "portal",
        "pump",
    },
    "doctor": GROUND
    | PURE
    | WORLD
    | {"providers", "requests", "plans", "flow", "stream", "listing", "client"},
    "cli": GROUND
    | PURE
    | WORLD
    | {
        "providers",
        "flow",
        "requests",
        "stream",
        "resources",
        "config",
        "listing",
        "doctor",
        "client",
        "sync",
    },
    "testing": set(),
}
FORBIDDEN_IN_PURE = {
    "asyncio",
    "aiohttp",
    "websockets",
    "os",
    "socket",
    "time",
    "logging",
    "threading",
    "random",
}


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


@cache
def imports(path: Path) -> set[str]:
    """Every import of a file, deferred ones and those under TYPE_CHECKING included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name.removeprefix(f"{PACKAGE}.") in MODULES else node.module for name in names}
    return found


MODULES = modules()


def own(path: Path) -> set[str]:
    return {name.removeprefix(f"{PACKAGE}.") for name in imports(path) if name.startswith(f"{PACKAGE}.")}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    room = name.partition(".")[0]
    assert room in MAY_IMPORT, f"{room} is a new room: give it a floor in this table"
    for target in own(MODULES[name]):
        other = target.partition(".")[0]
        assert other == room or other in MAY_IMPORT[room], f"{name} imports {target}: not below it"


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.partition(".")[0] in PURE | {"policy"}))
def test_the_pure_wing_touches_no_world(name: str) -> None:
    heads = {target.partition(".")[0] for target in imports(MODULES[name])}

    assert not heads & FORBIDDEN_IN_PURE


def test_there_is_no_circle() -> None:
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


@pytest.mark.parametrize("name", sorted(MODULES))
def test_files_stay_readable(name: str) -> None:
    lines = MODULES[name].read_text().count("\n")

    assert lines <= 520, f"{name} has {lines} lines: split it"


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


def test_the_lazy_face_has_every_name() -> None:
    import brainwires_provider

    for name in brainwires_provider.__all__:
        assert getattr(brainwires_provider, name) is not None
    assert set(brainwires_provider.__all__) <= set(dir(brainwires_provider))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = brainwires_provider.nothing  # type: ignore[attr-defined]
