"""What is kept of conversations, shown, continued and deleted; and that no secret is among it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.testing import Answer, ScriptedServer
from brainwires_provider.types import load_messages
from command_runs import HELLO, answer, chat, delta, run
from terminals import CTRL_D, asked, terminal
from terminals import answer as line

pytestmark = pytest.mark.long

KEY = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def listed() -> list[Any]:
    ran = run("logs", "--json")
    assert (ran.status, ran.err) == (0, "")
    return [json.loads(each) for each in ran.out.splitlines()]


def said(server: ScriptedServer) -> list[list[str]]:
    return [[each["content"] for each in request.json()["messages"]] for request in server.requests]


def test_a_conversation_is_kept_shown_continued_and_deleted(folder: Path) -> None:
    replies = [answer(delta(content=each)) for each in ("First.", "Second.", "Third.", "Fourth.")]
    with ScriptedServer(replies) as server:
        assert chat(server, "one", "--system", "Be brief.").status == 0
        assert chat(server, "other").status == 0
        assert run("chat", "-c", "two").status == 0  # at the address of the conversation
        assert run("chat", "--continue", "three", "--system", "New.", "-m", "openai-chat:y").status == 0
    assert said(server) == [
        ["Be brief.", "one"],
        ["other"],
        ["other", "Second.", "two"],
        ["New.", "other", "Second.", "two", "Third.", "three"],
    ]
    assert [(each["id"], each["model"], each["prompts"], each["first"]) for each in listed()] == [
        (2, "openai-chat:y", 3, "other"),
        (1, "openai-chat:x", 1, "one"),
    ]
    table = run("logs", "-n", "1")
    assert "other" in table.out and "one" not in table.out and str(folder / "logs.db") in table.err
    shown = run("logs", "show", "1")
    assert shown.out == "# system\n\nBe brief.\n\n# user\n\none\n\n# assistant\n\nFirst.\n\n"
    assert shown.err == f"openai-chat:x at {server.url}\n"
    whole = load_messages(run("logs", "show", "2", "--json").out)
    assert [each.text for each in whole] == ["other", "Second.", "two", "Third.", "three", "Fourth."]
    assert (folder / "logs.db").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert run("logs", "clear", "1", "--yes").err == "1 deleted\n"
    assert [each["id"] for each in listed()] == [2]
    (folder / "history").write_text('"x"\n')
    assert run("logs", "clear", "--yes").err == "1 deleted\n"
    assert listed() == [] and not (folder / "history").exists()
    assert b"Second." not in (folder / "logs.db").read_bytes()


def test_a_conversation_at_a_terminal_is_one_entry_and_a_loaded_one_another(tmp_path: Path) -> None:
    pytest.importorskip("termios")
    replies = [line(each) for each in ("First.", "Second.", "Third.", "Fourth.")]
    with ScriptedServer(replies) as server:
        with terminal(server) as at:
            for text, answered in (("one", "First."), ("two", "Second."), ("/retry", "Third.")):
                at.say(text)
                at.see(answered)
            at.say(f"/save {tmp_path}/talk")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
        assert [(each["prompts"], each["first"]) for each in listed()] == [(2, "one")]
        with terminal(server, "-c") as at:
            at.say("three")
            at.see("Fourth.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
        server.wait_idle()
    assert asked(server)[-1] == ["one", "First.", "two", "Third.", "three"]
    assert [each["prompts"] for each in listed()] == [3]


@pytest.mark.parametrize("place", ["prompt", "answer", "system", "fragment", "attachment", "variable"])
def test_no_secret_is_kept(folder: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text(f"A={KEY}")
    variable = "correct-horse-battery"
    words = {
        "prompt": [f"my key is {KEY}"],
        "system": ["Hi", "--system", f"Use {KEY}."],
        "fragment": ["Hi", "-f", str(tmp_path / "file")],
        "attachment": ["Hi", "-a", f"https://me:{KEY}@e.test/cat.png"],
        "variable": [f"it is {variable}", "--api-key-env", "PLANTED"],
    }.get(place, ["Hi"])
    reply = answer(delta(content=f"It is {KEY}.")) if place == "answer" else HELLO
    with ScriptedServer(reply) as server:
        assert chat(server, *words, PLANTED=variable).status == 0
    kept = b"".join(each.read_bytes() for each in folder.iterdir())
    assert listed()[0]["prompts"] == 1
    assert b"[redacted]" in kept or place == "attachment"
    assert KEY.encode() not in kept and variable.encode() not in kept


def test_off_keeps_nothing(folder: Path) -> None:
    with ScriptedServer(HELLO) as server:
        assert chat(server, "Hi", BRAINWIRES_LOGS="off").status == 0
    assert not folder.exists()
    assert "BRAINWIRES_LOGS is off" in run("logs", env={"BRAINWIRES_LOGS": "OFF"}).err


OWN, NAMED, FOUND = "config/brainwires/brainwires.toml", "named.toml", "brainwires.toml"


@pytest.mark.parametrize(
    ("files", "setting", "is_kept"),
    [
        ({}, "", True),
        ({OWN: "logs = false"}, "", False),
        ({OWN: "logs = true"}, "off", False),
        ({OWN: "logs = false"}, "on", True),
        ({NAMED: "logs = false", OWN: "logs = true"}, "", False),
        ({NAMED: "logs = true", OWN: "logs = false"}, "", True),
        ({NAMED: "", OWN: "logs = false"}, "", False),
        ({FOUND: "", OWN: "logs = false"}, "", False),  # somebody else's file does not turn it on again
        ({FOUND: "", OWN: "logs = true"}, "", True),
        ({FOUND: "logs = true", OWN: "logs = false"}, "", None),
        ({FOUND: "logs = false"}, "", None),
        ({FOUND: "[logs]\nfolder = '/tmp'"}, "", None),
        ({NAMED: "logs = 'off'"}, "", None),
        ({FOUND: "", OWN: "logs ="}, "", None),
    ],
)
def test_the_file_decides_unless_the_variable_does(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    setting: str,
    is_kept: bool | None,
) -> None:
    """None: the command fails, and asks nothing."""
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    env = {"BRAINWIRES_LOGS": setting, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    if NAMED in files:
        env["BRAINWIRES_CONFIG"] = NAMED
    with ScriptedServer(HELLO) as server:
        status = chat(server, "Hi", **env).status
        assert (status, len(server.requests)) == ((1, 0) if is_kept is None else (0, 1))
    assert folder.exists() == bool(is_kept)
    if is_kept is not None:
        assert ("no more are kept" in run("logs", env=env).err) == (not is_kept)


def test_a_turn_that_failed_is_not_kept() -> None:
    with ScriptedServer(Answer(422, body=b'{"error": {"message": "Out of order."}}')) as server:
        assert chat(server, "Hi").status == 1
    assert listed() == []


@pytest.mark.parametrize("damage", ["folder", "content", "readonly"])
def test_a_log_that_cannot_be_written_stops_no_answer(folder: Path, damage: str) -> None:
    folder.mkdir(mode=0o700)
    if damage == "folder":
        (folder / "logs.db").mkdir()
    elif damage == "content":
        (folder / "logs.db").write_bytes(b"no database, but something else of some length" * 50)
    else:
        sqlite3.connect(folder / "logs.db").execute("CREATE TABLE conversations (id)").connection.close()
    with ScriptedServer(HELLO) as server:
        ran = chat(server, "Hi")
    assert (ran.status, ran.out) == (0, "Hello\x1b[31m ☕\n")
    assert "the conversation is not kept: " in ran.err and "Traceback" not in ran.err
    listing = run("logs")
    assert listing.status == 1 and "logs.db" in listing.err and listing.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["chat", "-c", "Hi"], 1, "there is no conversation to continue"),
        (["logs", "show", "7"], 1, "there is no conversation 7; `brainwires logs` lists them"),
        (["logs", "clear", "7", "--yes"], 1, "there is no conversation 7"),
        (["logs", "clear"], 2, "--yes deletes without asking"),
    ],
)
def test_what_is_not_there(words: list[str], status: int, said: str) -> None:
    ran = run(*words)
    assert (ran.status, ran.out) == (status, "")
    assert said in ran.err and ran.err.count("\n") == 1
