"""A conversation at the terminal: commands, several lines, what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainwires_provider.testing import Answer, Gate, ScriptedServer, sse
from brainwires_provider.types import load_messages
from terminals import CTRL_C, CTRL_D, answer, asked, delta, terminal

pytestmark = pytest.mark.long
pytest.importorskip("termios", reason="pseudo-terminals are POSIX")


def test_several_lines_are_one_prompt() -> None:
    with ScriptedServer([answer("First."), answer("Second."), answer("Third.")]) as server:
        with terminal(server) as at:
            at.say("one\\")
            at.see(". ")
            at.type("two\\\n")
            at.see(". ")
            at.type("three\n")
            at.see("First.")
            at.say('"""four')
            at.see(". ")
            at.type(" five\n")
            at.see(". ")
            at.type('"""\n')
            at.see("Second.")
            at.say('"""')
            at.see(". ")
            at.give_up("> ")
            at.say(" /usr/bin\\n")
            at.see("Third.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
        server.wait_idle()
    assert asked(server)[-1] == ["one\ntwo\nthree", "First.", "four\n five", "Second.", " /usr/bin\\n"]


def test_the_commands_change_the_conversation(tmp_path: Path) -> None:
    file, other = tmp_path / "talk.json", tmp_path / "notes.txt"
    other.write_text("mine")
    replies = ["First.", "Second.", "Third.", "Fourth."]
    with ScriptedServer([answer(each) for each in replies]) as server:
        with terminal(server, "--system", "Old.") as at:
            at.say("one")
            at.see("First.")
            at.say("/retry")
            at.see("Second.")
            at.say("/system Be brief.")
            at.see("the system prompt is changed")
            at.say("/model openai-chat:y")
            at.see("the model is openai-chat:y")
            at.say("two")
            at.see("Third.")
            at.say(f"/save {file}")
            at.see(f"4 messages are in {file}")
            at.say(f"/save {file}")
            at.see("4 messages")
            at.say(f"/save {other}")
            at.see("it exists and is no saved conversation")
            at.say("/system")
            at.see("there is no system prompt now")
            at.say(f"/load {file}")
            at.see("4 messages are from")
            at.say("/retry")
            at.see("Fourth.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
            assert "Traceback" not in at.screen
        server.wait_idle()
    assert asked(server) == [
        ["Old.", "one"],
        ["Old.", "one"],
        ["Be brief.", "one", "Second.", "two"],
        ["one", "Second.", "two"],
    ]
    assert [request.json()["model"] for request in server.requests] == ["x", "x", "y", "y"]
    assert [message.text for message in load_messages(file.read_bytes())] == [
        "one",
        "Second.",
        "two",
        "Third.",
    ]
    assert file.stat().st_mode & 0o777 == 0o600 and other.read_text() == "mine"


def test_a_command_that_fails_is_one_line_and_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    wrong = [
        ("/hlep", "there is no command /hlep; did you mean 'help'?"),
        ("/qwertz", "there is no command /qwertz; /help lists them"),
        ("/retry", "there is no turn to repeat"),
        ("/retry now", "/retry takes nothing"),
        ("/save", "/save takes a file"),
        (f"/save {tmp_path}/no/where", "cannot be written: No such file"),
        (f"/load {tmp_path}/nowhere", "cannot be read: No such file"),
        (f"/load {tmp_path}/notes.txt", "it is no saved conversation (not a dump_messages document"),
        ("/model nobody:x", "there is no provider 'nobody'"),
        ("/model gpt-6", "names no provider"),
        ("/model", "the model is openai-chat:x"),
        ("/help", "/model NAME   go on with another model"),
    ]
    with ScriptedServer(answer("First.")) as server:
        with terminal(server) as at:
            for line, said in wrong:
                at.say(line)
                at.see(said)
            at.say("one")
            at.see("First.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
            assert "Traceback" not in at.screen
        server.wait_idle()
    assert asked(server) == [["one"]]


def test_retry_asks_again_after_a_failure_and_leaves_the_answer_that_it_could_not_replace() -> None:
    stalled = Answer(body=[sse(delta("Half an"), done=False), Gate()])
    refused = Answer(422, body=b'{"error": {"message": "Out of order."}}')
    replies = [refused, answer("First."), stalled, answer("Second."), answer("Third.")]
    with ScriptedServer(replies) as server:
        with terminal(server) as at:
            at.say("one")
            at.see("Out of order.")
            at.say("/retry")
            at.see("First.")
            at.say("/retry")
            at.see("Half an")
            at.type(CTRL_C)
            at.see("stopped")
            at.say("two")
            at.see("Second.")
            at.say("/retry")
            at.see("Third.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
        server.wait_idle()
    assert asked(server) == [
        ["one"],
        ["one"],
        ["one"],
        ["one", "First.", "two"],
        ["one", "First.", "two"],
    ]


def test_an_attachment_goes_with_the_first_turn_that_ends_well(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("Notes.")
    refused = Answer(422, body=b'{"error": {"message": "Out of order."}}')
    with ScriptedServer([refused, answer("First."), answer("Second.")]) as server:
        with terminal(server, "-f", str(tmp_path / "notes")) as at:
            for line, said in (("one", "Out of order."), ("two", "First."), ("three", "Second.")):
                at.say(line)
                at.see(said)
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
        server.wait_idle()
    assert asked(server) == [["Notes.\n\none"], ["Notes.\n\ntwo"], ["Notes.\n\ntwo", "First.", "three"]]


def test_another_provider_gets_neither_the_address_nor_the_key_of_the_first() -> None:
    with (
        ScriptedServer([answer("First.")]) as server,
        terminal(server, "--api-key-env", "HOME", GROQ_API_KEY="") as at,
    ):
        for line, said in (
            ("/model groq:z", "the model is groq:z"),
            ("one", "GROQ_API_KEY"),  # its own key is missing
            ("/model openai-chat:y", "the model is openai-chat:y"),
            ("one", "First."),
        ):
            at.say(line)
            at.see(said)
        at.see("> ")
        at.type(CTRL_D)
        assert at.end() == 0
        assert server.requests[0].json()["model"] == "y"


# -- the history of the prompt -------------------------------------------------------------------------------

UP = "\x1b[A"
TYPED = "sk-planted-0123456789abcdef"


def test_the_line_is_edited_and_earlier_ones_come_back(tmp_path: Path) -> None:
    folder = {"BRAINWIRES_DATA_DIR": str(tmp_path)}
    with ScriptedServer([answer(each) for each in ("First.", "Second.", "Third.", "Fourth.")]) as server:
        with terminal(server, **folder) as at:
            at.say("two\x01one ")  # Ctrl-A: to the beginning of the line
            at.see("First.")
            at.say("three\\\nfour")
            at.see("Second.")
            at.say(f"my key is {TYPED}")
            at.see("Third.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
        with terminal(server, **folder) as at:
            at.say(UP + UP)
            at.see("Fourth.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
        server.wait_idle()
    assert [each[-1] for each in asked(server)] == [
        "one two",
        "three\nfour",
        f"my key is {TYPED}",
        "three\nfour",
    ]
    kept = tmp_path / "history"
    assert kept.read_text() == '"one two"\n"three\\nfour"\n"my key is [redacted]"\n"three\\nfour"\n'
    assert kept.stat().st_mode & 0o777 == 0o600


def test_nothing_is_stored_where_that_is_off(tmp_path: Path) -> None:
    with ScriptedServer(answer("First.")) as server:
        with terminal(server, BRAINWIRES_DATA_DIR=str(tmp_path), BRAINWIRES_LOGS="off") as at:
            at.say("one")
            at.see("First.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
        server.wait_idle()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no JSON\n", b'"x"\n' * 2001, None])
def test_a_history_that_is_long_or_unreadable(tmp_path: Path, content: bytes | None) -> None:
    history = tmp_path / "history"
    if content is None:
        history.mkdir()
    else:
        history.write_bytes(content)
    with (
        ScriptedServer(answer("First.")) as server,
        terminal(server, BRAINWIRES_DATA_DIR=str(tmp_path)) as at,
    ):
        if content is None or content.startswith(b"no"):
            at.see("the history of the prompt cannot be read")
        at.say("one")
        at.see("First.")
        at.see("> ")
        at.type(CTRL_D)
        assert at.end() == 0
        assert "Traceback" not in at.screen
    if content is not None and content.startswith(b'"x"'):
        assert len(history.read_bytes().splitlines()) == 1001
