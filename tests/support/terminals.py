"""`brainwires chat` at a pseudo-terminal, and the person at it."""

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

from brainwires_provider.testing import Answer, ScriptedServer, sse
from ctrl_c import RESTORE

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

    def give_up(self, text: str) -> None:
        """Ctrl-C in an input that has begun, until the text stands on the screen; typed again as in `interrupt`."""
        deadline = time.monotonic() + CLOCK
        while self.screen.find(text, self._from) < 0 and time.monotonic() < deadline:
            self.type(CTRL_C)
            while select.select([self._master], [], [], 2)[0] and self._read():
                if self.screen.find(text, self._from) >= 0:
                    return

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # Linux says so when the other side is gone
            return False
        self.screen += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def terminal(
    server: ScriptedServer, *args: str, stdout: bool = True, kind: str = "dumb", **variables: str
) -> Iterator[Terminal]:
    master, slave = os.openpty()
    command = [sys.executable, "-W", "error", "-c", BEFORE, "chat", "-m", "openai-chat:x", *args]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": kind, "PYTHONIOENCODING": "utf-8"}
    env |= variables
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
