"""`brainwires models` against scripted servers: the table, its JSON, the mark of what a table said, and failures."""

from __future__ import annotations

import datetime as dt
import json
import os
import pty
import subprocess
import sys
from typing import Any, NoReturn

import pytest
import typer
from typer.testing import CliRunner

from brainwires_provider.cli.models import add_models
from brainwires_provider.testing import Answer, ScriptedServer
from config_files import SECRET, alone
from model_lists import SHAPES, served, snapshot

__all__ = ["alone"]


class Ran:
    """What one run of the command left behind."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def run(*args: str, **env: str) -> Ran:
    app = typer.Typer()
    app.callback()(lambda: None)

    def finish(work: Any) -> NoReturn:
        raise typer.Exit(work())

    add_models(app, finish)
    result = CliRunner().invoke(app, ["models", *args], env=env, catch_exceptions=False)
    return Ran(result.exit_code, result.stdout_bytes.decode(), result.stderr)


def ask(server: ScriptedServer, row: str, *args: str, below: str = "") -> Ran:
    return run(row, "--base-url", server.url + below, "--api-key-env", "MINE", *args, MINE=SECRET)


MODELS = [
    {
        "id": "a",
        "name": "Model A",
        "owned_by": "x",
        "created": 1741818122,
        "context_length": 131072,
        "max_completion_tokens": 16384,
        "supports_tools": True,
        "supports_vision": True,
        "status": "deprecated",
        "shutdown_date": "2027-01-31",
    },
    {"id": "longer-\x1b[31mname", "owned_by": "y"},
]
TABLE = """\
MODEL            CONTEXT  OUTPUT  CAPABILITIES  LIFECYCLE                    CREATED     OWNER  NAME
a                131072   16384   tools vision  deprecated until 2027-01-31  2025-03-12  x      Model A
longer-[31mname                                                                          y
"""


def test_what_a_person_sees() -> None:
    with ScriptedServer(served({"/v1/models": {"data": MODELS}})) as server:
        ran = ask(server, "custom", below="/v1")
        [request] = server.requests
    assert (ran.status, ran.out, ran.err) == (0, TABLE, "")
    assert ("Authorization", f"Bearer {SECRET}") in request.headers


def test_columns_that_nobody_fills_are_left_out() -> None:
    with ScriptedServer(served({"/v1/models": {"data": [{"id": "a", "owned_by": "x"}]}})) as server:
        assert ask(server, "custom", below="/v1").out == "MODEL  OWNER\na      x\n"
    with ScriptedServer(served({"/v1/models": {"data": []}})) as server:
        ran = ask(server, "custom", below="/v1")
    assert (ran.status, ran.out, ran.err) == (0, "MODEL\n", "")


def test_what_a_script_reads() -> None:
    with ScriptedServer(served({"/v1/models": {"data": MODELS}})) as server:
        first, second = ask(server, "custom", "--json", below="/v1").rows
    assert first == {
        "id": "a",
        "provider": "custom",
        "display_name": "Model A",
        "owner": "x",
        "created": 1741818122,
        "context_window": 131072,
        "max_output_tokens": 16384,
        "capabilities": ["tools", "vision"],
        "raw": MODELS[0],
        "lifecycle": "deprecated",
        "deprecated": None,
        "retires": "2027-01-31",
        "input_modalities": None,
        "output_modalities": None,
        "from_table": [],
        "table": None,
    }
    assert (second["id"], second["capabilities"], second["raw"]) == (MODELS[1]["id"], None, MODELS[1])


@pytest.mark.parametrize("name", [n for n, shape in SHAPES.items() if not shape[0].startswith("bedrock")])
def test_every_shape_is_shown(name: str) -> None:
    row, below, bodies, told = SHAPES[name]
    with ScriptedServer(served(bodies)) as server:
        shown = ask(server, row, below=below)
        rows = ask(server, row, "--json", below=below).rows
    assert (shown.status, shown.err) == (0, "")
    assert [line.split()[0] for line in shown.out.splitlines()] == ["MODEL", *told]
    assert [row["id"] for row in rows] == list(told)
    for each in rows:
        for field, value in told[each["id"]].items():
            plain = value.isoformat() if isinstance(value, dt.date) else value
            assert each[field] == (list(plain) if isinstance(plain, tuple) else plain)


def test_what_the_table_says_is_marked() -> None:
    models = {"data": [{"id": "dated-2026", "context_length": None}, {"id": "other", "context_length": 5}]}
    with snapshot(r"http://127\.0\.0\.1"), ScriptedServer(served({"/v1/models": models})) as server:
        ran = ask(server, "custom", below="/v1")
        first, second = ask(server, "custom", "--json", below="/v1").rows
    head, dated, other = (line.split() for line in ran.out.splitlines())
    assert head == ["MODEL", "CONTEXT", "LIFECYCLE"]
    assert (dated, other) == (["dated-2026", "200*", "deprecated*"], ["other", "5"])
    assert ran.err.startswith("* not stated by the provider; from genai-prices ")
    assert first["from_table"] == ["context_window", "lifecycle"]
    assert (second["from_table"], second["table"]) == ([], None)


FAILURES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "no such provider": (("nobody",), "ConfigError", "there is no provider 'nobody'"),
    "no key": (("groq",), "ConfigError", "set GROQ_API_KEY"),
    "no key by that name": (
        ("groq", "--api-key-env", SECRET),
        "ConfigError",
        "takes the name of an environment",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_goes_wrong_before_anything_is_asked(name: str) -> None:
    args, kind, words = FAILURES[name]
    ran, told = run(*args), run(*args, "--json")
    assert (ran.status, told.status, ran.out) == (1, 1, "")
    assert ran.err.startswith("brainwires: ") and words in ran.err
    [row] = told.rows
    assert row["error"]["type"] == kind
    assert SECRET not in ran.err + told.err + told.out


def test_a_refusal() -> None:
    refusal = Answer(401, body=json.dumps({"error": {"message": f"bad key {SECRET}"}}).encode())
    with ScriptedServer(served({"/v1/models": refusal})) as server:
        ran = ask(server, "custom", below="/v1")
        told = ask(server, "custom", "--json", below="/v1")
    assert (ran.status, told.status, ran.out) == (1, 1, "")
    assert "bad key" in ran.err
    assert told.rows[0]["error"]["type"] == "AuthenticationError"
    assert SECRET not in ran.err + told.err + told.out


def test_a_name_that_is_wider_than_the_terminal_is_cut() -> None:
    script = (
        "from brainwires_provider.cli.tables import print_table\n"
        "print_table(('MODEL', 'OWNER'), [('m' * 90, 'x'), ('short', 'y')])"
    )
    parent, child = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=child,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    os.close(child)
    assert done.returncode == 0, done.stderr
    lines = os.read(parent, 65536).decode().splitlines()
    os.close(parent)
    assert lines == ["MODEL", "m" * 79 + "…", "short"]


def test_a_narrow_terminal_shows_what_fits() -> None:
    script = (
        "import sys, typer\n"
        "from brainwires_provider.cli.models import add_models\n"
        "app = typer.Typer(); app.callback()(lambda: None)\n"
        "def finish(work): sys.exit(work())\n"
        "add_models(app, finish)\n"
        "app(sys.argv[1:])\n"
    )
    with ScriptedServer(served({"/v1/models": {"data": MODELS}})) as server:
        parent, child = pty.openpty()
        env = {**os.environ, "COLUMNS": "40", "MINE": SECRET}
        command = [sys.executable, "-c", script, "models", "custom", "--api-key-env", "MINE"]
        done = subprocess.run(
            [*command, "--base-url", f"{server.url}/v1"],
            stdout=child,
            stderr=subprocess.PIPE,
            env=env,
            timeout=60,
            check=False,
        )
        os.close(child)
        assert done.returncode == 0, done.stderr
        shown = os.read(parent, 65536).decode().replace("\r\n", "\n")
        os.close(parent)
    assert shown.splitlines()[0].split() == ["MODEL", "CONTEXT", "OUTPUT"]
    assert b"not shown here: capabilities, lifecycle, created, owner, name; --json has them" in done.stderr
