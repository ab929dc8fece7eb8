"""`brainwires chat -T`: functions by their names, run after an approval at a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from brainwires_provider.cli.app import app
from brainwires_provider.testing import ScriptedServer
from ctrl_c import RESTORE
from tool_services import SERVICES, chat_results, scripted

pytestmark = pytest.mark.long

pty = pytest.importorskip("pty")
ON_A_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {RESTORE}; "
ON_A_TERMINAL += "from brainwires_provider.cli import main; main()"
CHAT = SERVICES["chat"]
CALLS = [("c0", "weather", {"city": "Rome"})]
MODULE = '''
from brainwires_provider import tool

def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"

class Box:
    @staticmethod
    @tool
    def inner(n: int) -> int:
        return n

no_function = 3
def unhinted(a): ...
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mytools.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mytools", raising=False)
    return tmp_path


def invoke(server: ScriptedServer, *args: str) -> Any:
    environment = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.url}
    words = ["chat", "Weather?", "-m", "openai-chat:m", *args]
    return CliRunner().invoke(app, words, env=environment, catch_exceptions=False)


def results(server: ScriptedServer) -> list[str]:
    return [json.loads(text) for _, text in chat_results(server.requests[-1].json())]


def test_with_yes_the_calls_are_run_without_asking() -> None:
    with ScriptedServer(scripted(CHAT, CALLS, "It is sunny.")) as server:
        done = invoke(server, "-T", "mytools:weather", "--tool", "mytools:Box.inner", "--yes")
    assert done.exit_code == 0 and done.stdout == "It is sunny.\n"
    assert "weather: sunny in Rome" in done.stderr and "20 tokens in, 4 out" in done.stderr
    assert results(server) == ["sunny in Rome"]
    assert [each["function"]["name"] for each in server.requests[0].json()["tools"]] == ["weather", "inner"]


def test_json_is_the_last_response_with_all_tokens() -> None:
    with ScriptedServer(scripted(CHAT, CALLS, "It is sunny.")) as server:
        done = invoke(server, "-T", "mytools:Box.inner", "-T", "mytools:weather", "--yes", "--json")
    shape = json.loads(done.stdout)
    assert shape["message"]["content"][0]["text"] == "It is sunny." and shape["usage"]["uncached_input"] == 20


def test_a_run_without_an_answer_states_why_it_has_ended() -> None:
    with ScriptedServer(scripted(CHAT, [("c0", "nothing", {})])) as server:
        done = invoke(server, "-T", "mytools:weather", "--yes")
    assert done.exit_code == 0 and "the run has ended before the answer: max_failures" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-T", "mytools:weather"], "-T asks before each call, which needs a terminal; --yes runs"),
        (["-T", "mytools", "--yes"], "-T takes MODULE:FUNCTION, not 'mytools'"),
        (
            ["-T", "mytools:nothing", "--yes"],
            "-T mytools:nothing: module 'mytools' has no attribute 'nothing'",
        ),
        (["-T", "nowhere:f", "--yes"], "-T nowhere:f: No module named 'nowhere'"),
        (["-T", "mytools:no_function", "--yes"], "-T: tools[0] takes a Tool, a HostedTool or a function"),
        (["-T", "mytools:unhinted", "--yes"], "-T: the tool 'unhinted': its parameter 'a' has no type hint"),
        (["-T", "mytools:weather", "-T", "mytools:weather", "--yes"], "-T: two tools are named 'weather'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_a_request(words: list[str], said: str) -> None:
    with ScriptedServer(scripted(CHAT, "never")) as server:
        done = invoke(server, *words)
        assert done.exit_code == 1 and said in done.stderr and not server.requests


def at_terminal(server: ScriptedServer, words: list[str], *lines: tuple[str, str]) -> str:
    """What a terminal shows; each line is typed when the text before it has appeared."""
    master, slave = pty.openpty()
    environment = {**os.environ, "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.url, "TERM": "dumb"}
    command = [
        sys.executable,
        "-c",
        ON_A_TERMINAL,
        "chat",
        *words,
        "-m",
        "openai-chat:m",
        "-T",
        "mytools:weather",
    ]
    shown = b""
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    try:
        for awaited, typed in lines:
            while awaited.encode() not in shown:
                shown += os.read(master, 4096)
            shown = shown.partition(awaited.encode())[2]
            os.write(master, typed.encode())
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # its end has closed
                break
            if not piece:
                break
            shown += piece
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return shown.decode()


@pytest.mark.parametrize(
    ("typed", "result"),
    [
        ("y\n", "sunny in Rome"),
        ("\n", "The user denied this call."),
        ("\x04", "The user denied this call."),
        ("\x03", "The user denied this call."),
        ("not today\n", "The user denied this call. Reason: not today"),
    ],
)
def test_at_a_terminal_every_call_is_asked_about(typed: str, result: str) -> None:
    with ScriptedServer(scripted(CHAT, CALLS, "The end.")) as server:
        shown = at_terminal(
            server, ["Weather?"], ('run weather({"city": "Rome"})? [y/N, or why not] ', typed)
        )
    assert "The end." in shown and results(server) == [result]


def test_a_conversation_keeps_the_calls_of_its_turns() -> None:
    with ScriptedServer(scripted(CHAT, CALLS, "First.", "Second.")) as server:
        at_terminal(
            server,
            [],
            ("> ", "Weather?\n"),
            ("why not] ", "y\n"),
            ("First.", ""),
            ("> ", "And now?\n"),
            ("Second.", ""),
            ("> ", "\x04"),
        )
    roles = [message["role"] for message in server.requests[-1].json()["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
