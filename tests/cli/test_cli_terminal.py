"""`brainwires chat` at a terminal: a conversation, its keys, and a terminal that no answer may move."""

from __future__ import annotations

import pytest

from brainwires_provider.testing import Answer, Gate, ScriptedServer, sse
from terminals import CLOCK, CTRL_C, CTRL_D, answer, asked, delta, terminal

pytestmark = pytest.mark.long

pytest.importorskip("termios", reason="pseudo-terminals are POSIX")


def test_a_conversation_survives_control_c_and_a_failed_turn() -> None:
    gate = Gate()
    stalled = Answer(body=[sse(delta("Half an"), done=False), gate])
    broken = Answer(422, {"x-request-id": "req-7"}, b'{"error": {"message": "Out of order."}}')
    with ScriptedServer([answer("First."), stalled, broken, answer("Fourth."), answer("Fifth.")]) as server:
        with terminal(server) as at:
            at.say("one")
            at.see("First.")
            at.see("first token after")
            at.say("")
            at.say("two")
            at.see("Half an")
            at.type(CTRL_C)
            at.see("stopped; this turn is not kept")
            at.say("three")
            at.see("brainwires: openai-chat: Out of order. (request id req-7)")
            at.say("four")
            at.see("Fourth.")
            at.say("five")
            at.see("Fifth.")
            at.see("> ")
            at.type(CTRL_D)
            assert at.end() == 0
            assert "Traceback" not in at.screen
            assert "Warning" not in at.screen
        server.wait_idle()
    assert asked(server) == [
        ["one"],
        ["one", "First.", "two"],
        ["one", "First.", "three"],
        ["one", "First.", "four"],
        ["one", "First.", "four", "Fourth.", "five"],
    ]


def test_control_c_stops_an_answer_that_has_not_begun() -> None:
    stalled = Answer(stall_before_headers=True)
    with ScriptedServer([stalled, answer("Second.")]) as server, terminal(server) as at:
        at.say("one")
        server.wait_requests(1, CLOCK)
        at.type(CTRL_C)
        at.see("stopped")
        at.say("two")
        at.see("Second.")
        at.see("> ")
        assert at.interrupt() == 0
        assert "Traceback" not in at.screen
    assert asked(server) == [["one"], ["two"]]


def test_json_in_a_conversation_keeps_standard_output_clean() -> None:
    with (
        ScriptedServer([answer("First."), answer("Second.")]) as server,
        terminal(server, "--json", stdout=False) as at,
    ):
        assert at.process.stdout is not None
        at.say("one")
        assert b'"text":"First."' in at.process.stdout.readline()
        at.say("two")
        assert b'"text":"Second."' in at.process.stdout.readline()
        at.see("> ")
        at.type(CTRL_D)
        assert at.end() == 0
        assert at.process.stdout.read() == b""


def test_an_answer_cannot_move_the_cursor() -> None:
    tricky = [delta("safe \x1b[2J\x07\x9b31m\u202e\u2066"), delta("text\r\n", "stop")]
    thinking = {"id": "r", "choices": [{"index": 0, "delta": {"reasoning_content": "Hm\x1b[1A"}}]}
    with (
        ScriptedServer(Answer(body=[sse(thinking, *tricky)])) as server,
        terminal(server, "Hi", "--show-reasoning") as at,
    ):
        at.see("Hm[1A")
        at.see("safe [2J31mtext\r\n")
        assert at.end() == 0
    for sequence in ("\x1b[2J", "\x07", "\x9b", "\x1b[1A", "\u202e", "\u2066"):
        assert sequence not in at.screen


def test_something_moves_while_nothing_else_does() -> None:
    gate = Gate()
    with (
        ScriptedServer(Answer(body=[gate, sse(delta("Here.", "stop"))])) as server,
        terminal(server, "Hi", kind="xterm") as at,
    ):
        at.see("waiting for openai-chat:x")
        server.open(gate)
        at.see("Here.")
        assert at.end() == 0
