"""`brainwires ollama …` against a scripted service: tables, JSON, progress, failures."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from brainwires_provider.cli import ollama_views as views
from brainwires_provider.cli.app import app
from brainwires_provider.cli.tables import size_words
from brainwires_provider.testing import Answer, ScriptedServer
from brainwires_provider.types.ollama import OllamaModelInfo, OllamaProgress, OllamaRunningModel
from ollama_service import ABSENT, MODEL, STEPS, service, streamed, whole

pytestmark = pytest.mark.long


class Ran:
    """What one run of the command left behind."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def run(server: ScriptedServer | None, *args: str, **env: str) -> Ran:
    place = [] if server is None else ["--base-url", server.url.removeprefix("http://")]
    environment = {"OLLAMA_HOST": "", "OLLAMA_API_KEY": "", **env}
    result = CliRunner().invoke(app, ["ollama", *args, *place], env=environment, catch_exceptions=False)
    return Ran(result.exit_code, result.stdout_bytes.decode(), result.stderr)


SHOWN: dict[tuple[str, ...], str] = {
    ("list",): (
        "NAME         ID            SIZE    QUANTIZATION  MODIFIED\n"
        "llama3.2:3b  a80c4f17acd5  2.0 GB  Q4_K_M        2026-11-20 10:00\n"
        "big          a80c4f17acd5  2.0 GB  Q4_K_M        2026-11-20 10:00\n"
    ),
    ("ps",): (
        "NAME         ID            SIZE    ON GPU  CONTEXT  UNTIL\n"
        "llama3.2:3b  a80c4f17acd5  3.0 GB  50%     4096     2026-11-20 11:00\n"
    ),
    ("show", "a"): (
        "name:           a\n"
        "architecture:   llama\n"
        "parameters:     3.2B\n"
        "quantization:   Q4_K_M\n"
        "context length: 131072\n"
        "capabilities:   completion, tools\n"
        "license:        MIT\n"
        'parameter:      stop "<|eot|>"\n'
        "parameter:      temperature 0.5\n"
    ),
    ("version",): "0.13.1\n",
}


@pytest.mark.parametrize("args", SHOWN)
def test_what_a_person_sees(args: tuple[str, ...]) -> None:
    with ScriptedServer(service) as server:
        ran = run(server, *args)
    assert (ran.status, ran.out, ran.err) == (0, SHOWN[args], "")


def test_what_a_script_reads() -> None:
    with ScriptedServer(service) as server:
        first, second = run(server, "list", "--json").rows
        [running] = run(server, "ps", "--json").rows
        [info] = run(server, "show", "a", "--json").rows
        [version] = run(server, "version", "--json").rows
        [loaded] = run(server, "load", "a", "--json").rows
        [copied] = run(server, "copy", "a", "b", "--json").rows
        steps = run(server, "pull", "a", "--json").rows
    assert (first["name"], first["size"], first["raw"]) == ("llama3.2:3b", 2019393189, MODEL)
    assert first["modified_at"] == "2026-11-20T10:00:00.123456+02:00"
    assert first["capabilities"] is None
    assert second["remote_host"] == "https://ollama.com"
    assert (running["size_vram"], running["details"]["quantization"]) == (1500000000, "Q4_K_M")
    assert (info["name"], info["capabilities"]) == ("a", ["completion", "tools"])
    assert version == {"version": "0.13.1"}
    assert (loaded["reason"], loaded["load_duration"]) == ("load", 0.25)
    assert copied == {"done": "copied a to b"}
    assert [step["raw"] for step in steps] == STEPS
    assert steps[1] == {
        "status": "pulling aé",
        "digest": "sha256:a",
        "total": 10,
        "completed": None,
        "raw": STEPS[1],
    }


CHANGES: dict[tuple[str, ...], tuple[str, str, dict[str, Any], str]] = {
    ("copy", "a", "b"): ("POST", "/api/copy", {"source": "a", "destination": "b"}, "copied a to b\n"),
    ("delete", "a"): ("DELETE", "/api/delete", {"model": "a"}, "deleted a\n"),
    ("load", "a", "--keep-alive", "5m"): (
        "POST",
        "/api/generate",
        {"model": "a", "keep_alive": "5m", "stream": False},
        "loaded a in 0.25 s\n",
    ),
    ("unload", "a"): (
        "POST",
        "/api/generate",
        {"model": "a", "keep_alive": 0, "stream": False},
        "unloaded a\n",
    ),
}
PROGRESS = "pulling manifest\npulling aé (10 B)\npulling aé: complete\nverifying sha256 digest\nsuccess\n"


@pytest.mark.parametrize("args", CHANGES)
def test_what_changes_is_told_on_standard_error(args: tuple[str, ...]) -> None:
    method, path, body, says = CHANGES[args]
    with ScriptedServer(service) as server:
        ran = run(server, *args)
        [request] = server.requests
    assert (ran.status, ran.out, ran.err) == (0, "", says)
    assert (request.method, request.path, request.json()) == (method, path, body)


@pytest.mark.parametrize("args", [("pull", "a"), ("push", "me/a", "--insecure")])
def test_progress_as_lines_where_there_is_no_terminal(args: tuple[str, ...]) -> None:
    with ScriptedServer(service) as server:
        ran = run(server, *args)
        body = server.requests[0].json()
    assert (ran.status, ran.out, ran.err) == (0, "", PROGRESS)
    assert body == {"model": args[1], "stream": True} | ({"insecure": True} if len(args) > 2 else {})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_as_bars_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    view = views.progress_view(False)
    with view:
        for step in (STEPS[0], *STEPS):
            view.show(OllamaProgress(**{**step, "status": step["status"] + "\x1b[31m"}))
    shown = screen.getvalue()
    assert "pulling manifest[31m" in shown  # the words, without what would colour them
    assert "10/10 bytes" in shown
    assert "━" in shown
    assert shown.count("pulling manifest") == shown.count("verifying sha256 digest") == 1


def test_a_failure_in_words_and_as_json() -> None:
    with ScriptedServer(service) as server:
        ran = run(server, "show", ABSENT)
        told = run(server, "show", ABSENT, "--json")
        broken = run(server, "pull", ABSENT)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith('brainwires: ollama: model "nowhere" not found; client.ollama.pull')
    assert (told.status, told.rows[0]["error"]["type"], told.rows[0]["partial"]) == (1, "NotFoundError", None)
    assert broken.status == 1
    assert "pulling manifest\nbrainwires: ollama: pull model manifest: file does not exist" in broken.err


def test_the_place_and_the_key() -> None:
    with ScriptedServer(whole({"version": "1"})) as server:
        assert run(None, "version", OLLAMA_HOST=server.url.removeprefix("http://")).out == "1\n"
        assert run(server, "version", "--api-key-env", "MY_KEY", MY_KEY="sk-mine").out == "1\n"
        cloud = run(
            server, "version", "--provider", "ollama-cloud", "--api-key-env", "MY_KEY", MY_KEY="sk-mine"
        )
        assert cloud.out == "1\n"
        keys = [request.header("authorization") for request in server.requests]
    assert keys == [None, "Bearer sk-mine", "Bearer sk-mine"]
    assert "set OLLAMA_API_KEY" in run(None, "list", "--provider", "ollama-cloud").err
    assert "there is none by the name given" in run(None, "list", "--api-key-env", "NOT_SET").err
    assert (
        "does not have Ollama's API" in run(None, "list", "--provider", "openai-chat", OPENAI_API_KEY="k").err
    )


def test_names_cannot_steer_the_terminal() -> None:
    entry = {"name": "a\x1b[2Jb\nc", "details": {"quantization_level": "Q\x07"}}
    with ScriptedServer([whole({"models": [entry]}), streamed({"status": "x\x1b[2J"}, STEPS[-1])]) as server:
        listed, pulled = run(server, "list"), run(server, "pull", "a")
    assert "\x1b" not in listed.out + pulled.err
    assert listed.out.splitlines()[1].startswith("a[2Jbc")


SIZES = {None: "", 0: "0 B", 999: "999 B", 1000: "1 KB", 1_500_000: "1.5 MB", 2_019_393_189: "2.0 GB"}


@pytest.mark.parametrize("size", [*SIZES, 5 * 10**15])
def test_sizes(size: int | None) -> None:
    assert size_words(size) == SIZES.get(size, "5000.0 TB")


def test_what_is_not_known_is_left_out(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    views.print_info(OllamaModelInfo("a"))
    views.print_running([OllamaRunningModel("b", size=0, size_vram=0)])
    out = capfdbinary.readouterr().out.decode().splitlines()
    assert out == ["name:           a", "NAME  SIZE", "b     0 B"]


def test_help_without_a_command() -> None:
    ran = run(None)
    assert all(name in ran.out + ran.err for name in ("list", "show", "ps", "pull", "push", "copy", "unload"))


def test_nothing_is_left_open() -> None:
    with ScriptedServer(Answer(drop=True)) as server:
        ran = run(server, "list")
        server.wait_idle(5)
    assert ran.status == 1
    assert "closed the connection before it answered" in ran.err
