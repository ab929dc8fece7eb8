"""A terminal of tmux with a shell in it: what is typed, and what stands on the screen. Every wait has a clock."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CLOCK = 120.0
_LOOK = 0.05  # seconds between two looks at the screen
_CHANGING = (
    (
        re.compile(
            r"7 tokens in, 2 out, [^\n]*? s, [^\n]*? tokens/s, first token after [^\n]*? s$", re.MULTILINE
        ),
        "[DONE]",
    ),
    (re.compile(r"\d+\.\d+ s\b"), "T s"),
    (re.compile(r"\d+(\.\d+)? tokens/s"), "N tokens/s"),
    (re.compile(r"127\.0\.0\.1:\d+"), "SERVER"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d"), "DATE"),
)


class Tmux:
    """One shell in a terminal of its own. `folder` is its home, its data, its configuration and where it is."""

    def __init__(self, folder: Path, *, width: int, height: int, environ: dict[str, str]) -> None:
        self._socket = str(folder / "tmux")
        self.folder = folder
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        kept = {
            name: os.environ[name]
            for name in ("LANG", "COVERAGE_PROCESS_START", "COVERAGE_FILE")
            if name in os.environ
        }
        env = kept | {
            "PATH": path,
            "HOME": str(folder),
            "PS1": "$ ",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONIOENCODING": "utf-8",
            "PYTHONWARNINGS": "error",
            "INPUTRC": "/dev/null",
            "BRAINWIRES_DATA_DIR": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            **environ,
        }
        shell = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), "TERM=tmux-256color"]
        shell += ["TMUX=1", "bash", "--norc", "--noprofile"]
        size = ("-x", str(width), "-y", str(height))
        self._tmux("-f", "/dev/null", "-u", "new-session", "-d", *size, "-c", str(folder), shlex.join(shell))
        self._tmux("set-option", "-g", "status", "off")
        self._tmux("set-option", "-g", "window-size", "manual")

    def _tmux(self, *args: str) -> str:
        command = ["tmux", "-S", self._socket, *args]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=CLOCK).stdout

    def close(self) -> None:
        self._tmux("kill-server")

    def type(self, *keys: str) -> None:
        """Keys by tmux's names (`C-c`, `Up`), or text."""
        for each in keys:
            named = re.fullmatch(r"C-.|Up|Down|Left|Right|Tab|Enter|Escape", each) is not None
            self._tmux("send-keys", *(() if named else ("-l",)), "--", each)

    def enter(self, line: str, *, hidden: bool = False) -> None:
        """A line: its letters are seen before Enter, and that Enter did something before what comes next."""
        if line:
            self.type(line)
        if not hidden:
            self._until(lambda screen: screen.replace("\n", "").endswith(line.rstrip()), line)
        before = self.screen()
        self.type("Enter")
        self._until(lambda screen: screen != before, "(anything else)")

    def begin(self, line: str) -> None:
        """A command on an empty screen."""
        self.ready("$")
        self._tmux("send-keys", "-R")
        self._tmux("clear-history")
        self.enter(f"clear; {line}")

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self, *, styled: bool = False, history: bool = False) -> str:
        """What stands there, without what differs from run to run."""
        wide = ("-S", "-") if history else ()
        text = self._tmux("capture-pane", "-p", *wide, *(("-e",) if styled else ()))
        for pattern, word in _CHANGING:
            text = pattern.sub(word, text)
        return "\n".join(line.rstrip() for line in text.rstrip().split("\n"))

    def see(self, text: str) -> None:
        """Wait until the text stands on the screen."""
        self._until(lambda screen: text in screen, text)

    def shows(self, whole: str, *, history: bool = False) -> None:
        """Wait until this is all that stands on the screen."""
        wanted = whole.strip("\n")
        self._until(lambda screen: screen.strip("\n") == wanted, wanted, history=history)

    def ready(self, prompt: str) -> None:
        """Wait until the last line is this prompt, with nothing behind it."""
        self._until(lambda screen: screen.rpartition("\n")[2] == prompt, f"... {prompt}")

    def say(self, line: str, prompt: str = ">") -> None:
        """Wait for the prompt, and answer it with a line."""
        self.ready(prompt)
        self.enter(line)

    def _until(self, holds: Callable[[str], bool], wanted: str, *, history: bool = False) -> None:
        deadline = time.monotonic() + CLOCK
        while not holds(screen := self.screen(history=history)):
            if time.monotonic() > deadline:
                pytest.fail(f"this did not come:\n{wanted}\n\nthe screen:\n{screen}")
            time.sleep(_LOOK)


@contextmanager
def tmux(folder: Path, *, width: int = 80, height: int = 24, **environ: str) -> Iterator[Tmux]:
    terminal = Tmux(folder, width=width, height=height, environ=environ)
    try:
        yield terminal
    finally:
        terminal.close()
