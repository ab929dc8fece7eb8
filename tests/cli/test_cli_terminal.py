"""`brainwires chat` at a terminal: a conversation, its keys, and a terminal that no answer may move."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from brainwires_provider.testing import Answer, Gate, ScriptedServer, sse
from ctrl_c import RESTORE

pytestmark = pytest.mark.long

pytest.importorskip("termios", reason="pseudo-terminals are POSIX")

CLOCK = 60.0
CTRL_C, CTRL_D = "\x03", "\x04"
# The terminal becomes the child's own, so that its Ctrl-C reaches the child as it would a person's program.
BEFORE = f"""
import fcntl, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
{RESTORE}
from brainwires_provider.cli import main
main()
"""


def delta(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"id": "r", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def answer(text: str) -> Answer:
    return Answer(body=[sse(delta(text, "stop"))])


class Terminal:
    """The person's side: what is on the screen, and what they type. Every wait has a clock."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self._from = 0
        self.process = process
        self.screen = ""

    def see(self, text: str) -> None:
        """Wait until the text stands on the screen, after what was seen before."""
        deadline = time.monotonic() + CLOCK
        while (at := self.screen.find(text, self._from)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come after {self.screen!r}"
            if select.select([self._master], [], [], left)[0] and not self._read():
                pytest.fail(f"the program ended before {text!r}: {self.screen!r}")
        self._from = at + len(text)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def say(self, text: str) -> None:
        """Wait for the prompt, and answer it with a line."""
        self.see("> ")
        self.type(f"{text}\n")

    def end(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + CLOCK
        while select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0] and self._read():
            pass
        return self.process.wait(CLOCK)

    def interrupt(self) -> int:
        """Ctrl-C at the prompt, to the end; the exit status.

        Typed again if nothing comes of it: a signal between the prompt and the read behind it is seen by Python only
        when that read returns.
        """
        deadline = time.monotonic() + CLOCK
        while time.monotonic() < deadline:
            self.type(CTRL_C)
            while select.select([self._master], [], [], 2)[0]:
                if not self._read():
                    return self.process.wait(CLOCK)
        return self.process.wait(0)

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # Linux says so when the other side is gone
            return False
        self.screen += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def terminal(
    server: ScriptedServer, *args: str, stdout: bool = True, kind: str = "dumb"
) -> Iterator[Terminal]:
    master, slave = os.openpty()
    command = [sys.executable, "-W", "error", "-c", BEFORE, "chat", "-m", "openai-chat:x", *args]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": kind, "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        [*command, "--base-url", server.url],
        stdin=slave,
        stdout=slave if stdout else subprocess.PIPE,
        stderr=slave,
        env=env,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        process.kill()
        process.communicate()
        os.close(master)


def asked(server: ScriptedServer) -> list[list[str]]:
    return [[message["content"] for message in request.json()["messages"]] for request in server.requests]


def test_a_conversation_survives_control_c_and_a_failed_turn() -> None:
    gate = Gate()
    stalled = Answer(body=[sse(delta("Half an"), done=False), gate])
    broken = Answer(500, {"x-request-id": "req-7"}, b'{"error": {"message": "Out of order."}}')
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
