"""`brainwires providers`: the table, its JSON, whether keys are there, and that none is shown."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from typer.testing import CliRunner

from brainwires_provider import PROVIDERS
from brainwires_provider.cli.providers import add_providers
from config_files import SECRET, alone, key_file, write

__all__ = ["alone"]

HEAD = r"PROVIDER +KEY +VARIABLE +PROTOCOL +HOST +DEFAULT MODEL +CHECKED +DOCUMENTATION"


class Ran:
    """What one run of the command left behind."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def rows(self) -> dict[str, Any]:
        read = [json.loads(line) for line in self.out.splitlines()]
        return {row["name"]: row for row in read}


def run(*args: str, **env: str) -> Ran:
    app = typer.Typer()
    app.callback()(lambda: None)

    def finish(work: Any) -> NoReturn:
        raise typer.Exit(work())

    add_providers(app, finish)
    result = CliRunner().invoke(app, ["providers", *args], env=env, catch_exceptions=False)
    return Ran(result.exit_code, result.stdout_bytes.decode(), result.stderr)


def test_every_row_has_its_line() -> None:
    ran = run()
    head, *lines = ran.out.splitlines()
    assert ran.status == 0
    noted = [f"{name}: {row.note}" for name, row in PROVIDERS.items() if row.note]
    assert ran.err.splitlines() == noted
    assert re.fullmatch(HEAD, head)
    assert [line.split()[0] for line in lines] == list(PROVIDERS)
    at = [match.start() for match in re.finditer(r"[A-Z]+( [A-Z]+)?", head)]
    assert all(
        line[start - 1 : start] in (" ", "") for line in lines for start in at[1:]
    )  # columns are straight
    assert not re.search(r"\x1b| $", ran.out, re.MULTILINE)


def test_the_json_of_a_row() -> None:
    rows = run("--json", GROQ_API_KEY=SECRET).rows
    assert list(rows) == list(PROVIDERS)
    row = PROVIDERS["groq"]
    assert rows["groq"] == {
        "name": "groq",
        "based_on": "groq",
        "aliases": [],
        "protocol": "openai_chat",
        "transport": "http",
        "host": "api.groq.com",
        "key_variables": ["GROQ_API_KEY"],
        "key": "yes",
        "configured": False,
        "problem": None,
        "default_model": row.default_model,
        "documentation": row.docs,
        "checked": row.checked,
        "embeddings": False,
        "note": "",
    }
    assert "openai" in rows["openai-responses"]["aliases"]


# A row, the environment, and what is told of its key and its host.
SET_UP: list[tuple[str, dict[str, str], str, str]] = [
    ("groq", {}, "no", "api.groq.com"),
    ("groq", {"GROQ_API_KEY": " "}, "no", "api.groq.com"),
    ("groq", {"GROQ_API_KEY": "k"}, "yes", "api.groq.com"),
    ("google", {"GOOGLE_API_KEY": "k"}, "yes", "generativelanguage.googleapis.com"),
    ("openai-chat", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://u:p@host:1/v1?k=v"}, "yes", "host:1"),
    ("openai-chat", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://[x"}, "yes", "your own"),
    ("azure", {}, "no", "your own"),
    ("azure", {"AZURE_OPENAI_API_KEY": "k"}, "yes", "your own"),
    (
        "azure",
        {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_BASE_URL": "https://me.example/v1"},
        "yes",
        "me.example",
    ),
    ("ollama", {}, "not needed", "127.0.0.1:11434"),
    ("local", {}, "not needed", "this machine"),
    ("bedrock", {}, "unknown", "bedrock-runtime.{region}.amazonaws.com"),
    ("bedrock", {"AWS_BEARER_TOKEN_BEDROCK": "k"}, "yes", "bedrock-runtime.{region}.amazonaws.com"),
    ("vertex", {}, "unknown", "by location"),
    ("vertex", {"GOOGLE_APPLICATION_CREDENTIALS": "/x.json"}, "yes", "by location"),
]


@pytest.mark.parametrize(("name", "env", "key", "host"), SET_UP)
def test_whether_a_key_is_there(name: str, env: dict[str, str], key: str, host: str) -> None:
    row = run("--json", **env).rows[name]
    assert (row["key"], row["host"]) == (key, host)
    problem = row["problem"] or ""
    assert bool(problem) == (key == "no" or host == "your own" or "@" in env.get("OPENAI_BASE_URL", ""))
    assert "u:p" not in problem


FILE = """
    [providers.groq]
    api_key = { env = "MINE" }
    [providers.mine]
    based_on = "openai-chat"
    base_url = "https://mine.example:8/v1"
    api_key = { file = "key" }
    [providers.lost]
    based_on = "openai-chat"
    base_url = "https://lost.example/v1"
    api_key = { file = "none" }
    [providers.bare]
    based_on = "openai-chat"
    base_url = "https://bare.example/v1"
    [providers.free]
    based_on = "openai-chat"
    base_url = "https://free.example/v1"
    api_key = ""
    [providers.headed]
    based_on = "openai-chat"
    base_url = "https://headed.example/v1"
    headers = { Authorization = { env = "MINE" } }
    [providers.aws]
    based_on = "bedrock"
    api_key = { env = "MINE" }
    [providers.profiled]
    based_on = "bedrock"
    credentials = "work"
    [providers.rag]
    based_on = "azure"
    api_key = { env = "MINE" }
"""


def test_the_set_ups_own_providers() -> None:
    path = str(write(FILE))
    key_file()
    rows = run("--json", "--config", path, MINE=SECRET).rows
    own = {
        name: (row["based_on"], row["key"], row["host"]) for name, row in rows.items() if row["configured"]
    }
    assert own == {
        "groq": ("groq", "yes", "api.groq.com"),
        "mine": ("openai-chat", "yes", "mine.example:8"),
        "lost": ("openai-chat", "no", "lost.example"),
        "bare": ("openai-chat", "no", "bare.example"),
        "free": ("openai-chat", "not needed", "free.example"),
        "headed": ("openai-chat", "yes", "headed.example"),
        "aws": ("bedrock", "yes", "bedrock-runtime.{region}.amazonaws.com"),
        "profiled": ("bedrock", "yes", "bedrock-runtime.{region}.amazonaws.com"),
        "rag": ("azure", "yes", "your own"),
    }
    assert "none cannot be read" in rows["lost"]["problem"]
    ran = run("--config", path, MINE=SECRET)
    assert re.search(r"^mine \(openai-chat\) +yes ", ran.out, re.MULTILINE)
    told = [line.partition(":")[0] for line in ran.err.splitlines()]
    assert [name for name in told if name not in PROVIDERS] == ["lost", "bare", "rag"]


def test_only_those_that_are_ready() -> None:
    write(FILE, "brainwires.toml")
    rows = run("--json", "--ready", "--config", "brainwires.toml", MINE=SECRET, XAI_API_KEY="k").rows
    assert {"groq", "free", "headed", "aws", "xai", "local", "ollama"} < set(rows)
    assert not {"mine", "lost", "bare", "openai-chat", "vertex"} & set(rows)


def test_a_wrong_set_up_is_told_line_by_line() -> None:
    path = str(write("[option]\nx = 1\n[providers.groq]\napi_key = '" + SECRET + "'"))
    ran = run("--config", path)
    assert (ran.status, ran.out) == (1, "")
    assert [line[:28] for line in ran.err.splitlines()] == [
        "brainwires: mine.toml:1: opt",
        "brainwires: mine.toml:4: pro",
    ]
    ran = run("--json", "--config", path)
    assert json.loads(ran.out)["error"]["type"] == "ConfigError"
    assert SECRET not in ran.out + ran.err


def test_no_key_is_shown() -> None:
    path = str(write(FILE))
    key_file()
    variables = {row.key_env: SECRET for row in PROVIDERS.values() if row.key_env}
    for args in ((), ("--json",), ("--ready",)):
        ran = run(*args, "--config", path, MINE=SECRET, **variables)
        assert ran.status == 0
        assert SECRET not in ran.out + ran.err


@pytest.mark.parametrize(("columns", "shown"), [(60, 2), (400, 8)])
def test_at_a_terminal_the_table_has_the_columns_that_fit(columns: int, shown: int) -> None:
    """In a process of its own, at a terminal of that width."""
    script = (
        "import sys, typer\n"
        "from brainwires_provider.cli.providers import _run\n"
        "sys.exit(_run(None, as_json=False, ready=False))"
    )
    parent, child = pty.openpty()
    os.set_blocking(parent, True)
    source = str(Path(sys.modules["brainwires_provider"].__file__ or "").parents[1])
    env = {**os.environ, "COLUMNS": str(columns), "PYTHONPATH": source}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=child, stderr=subprocess.PIPE, env=env
    ) as process:
        os.close(child)
        out = b""
        try:
            while piece := os.read(parent, 65_536):
                out += piece
        except OSError:  # Linux's end of a terminal
            pass
        err = process.stderr.read().decode() if process.stderr else ""
        assert process.wait(30) == 0
    os.close(parent)
    head, *lines = out.decode().splitlines()
    assert len(re.split(r" {2,}", head)) == shown
    assert all(len(line) <= columns for line in lines)
    assert ("not shown here: variable, protocol" in err) == (shown < 8)
