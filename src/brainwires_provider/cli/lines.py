"""Reads what is typed at the prompt of a conversation: a line, or several.

Python's own `readline` edits the line and keeps the history, where the platform has it. The history is a file of
one JSON text a line, which any build of `readline` can use, and which an entry of several lines fits into.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from brainwires_provider.cli.scrub import Scrubber
from brainwires_provider.cli.stored import place
from brainwires_provider.cli.terminal import is_terminal, note, read_line

__all__ = ["Lines"]

_PROMPT, _MORE = "> ", ". "
_QUOTES = '"""'
_MOST = 1000  # entries of the history


class Lines:
    """The lines at the terminal, one input after another."""

    def __init__(self, scrubber: Scrubber, *, is_kept: bool) -> None:
        self._history = (
            _History(scrubber, is_kept) if is_terminal(sys.stdin) and is_terminal(sys.stdout) else None
        )

    def complete_with(self, completed: Callable[[str], list[str]]) -> None:
        """Let Tab complete: `completed` lists the possible lines for one up to the cursor."""
        if self._history is not None:
            self._history.complete_with(completed)

    def read(self) -> str | None:
        """The next input, without its marks of continuation; None at the end of all."""
        try:
            line = read_line(_PROMPT)
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return None
        try:
            text = self._quoted(line) if line.lstrip().startswith(_QUOTES) else self._continued(line)
        except KeyboardInterrupt:  # of an input that has begun: it alone is given up
            print(file=sys.stderr)
            return ""
        except EOFError:
            print(file=sys.stderr)
            return None
        if self._history is not None and text.strip():
            self._history.add(text)
        return text

    def _quoted(self, line: str) -> str:
        """Everything up to the next three quotes at the end of a line."""
        text = line.lstrip().removeprefix(_QUOTES)
        while not text.rstrip().endswith(_QUOTES):
            text += "\n" + read_line(_MORE)
        return text.rstrip().removesuffix(_QUOTES).strip("\n")

    def _continued(self, line: str) -> str:
        """A line, and the next one as long as there is a backslash at its end."""
        text = line
        while text.endswith("\\"):
            text = text[:-1] + "\n" + read_line(_MORE)
        return text


class _History:
    """What was typed before: recalled with the arrow keys, and kept in a file unless the setting is off."""

    def __init__(self, scrubber: Scrubber, is_kept: bool) -> None:
        self._scrubber = scrubber
        self._is_kept = is_kept
        self._readline: Any = None
        try:
            import readline
        except ImportError:  # Windows, whose terminal edits lines itself
            return
        self._readline = readline
        readline.set_auto_history(False)  # it would keep the answers to questions, and secrets
        if self._is_kept:
            for entry in self._load():
                readline.add_history(entry)

    def complete_with(self, completed: Callable[[str], list[str]]) -> None:
        """Let Tab complete, where there is `readline`."""
        readline = self._readline
        if readline is None:
            return

        def found(_: str, state: int) -> str | None:
            lines = completed(readline.get_line_buffer()[: readline.get_endidx()])
            return lines[state] if state < len(lines) else None

        readline.set_completer(found)
        readline.set_completer_delims("")  # the whole line is completed
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def add(self, text: str) -> None:
        """Keep an input, without the secrets in it."""
        if self._readline is None:
            return
        clean = self._scrubber.clean(text)
        self._readline.add_history(clean)
        if not self._is_kept:
            return
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            with open(os.open(place("history"), flags, 0o600), "ab") as file:
                file.write(msgspec.json.encode(clean) + b"\n")
        except (OSError, UnicodeError) as error:
            self._is_kept = False
            note(f"the history of the prompt is not kept: {error}")

    def _load(self) -> list[str]:
        """The last entries; of a long file the earlier ones are removed."""
        from brainwires_provider.local.weights.folders import write_atomically

        try:
            with open(place("history"), "rb") as file:
                lines = file.read().splitlines()
            if len(lines) > 2 * _MOST:
                write_atomically(place("history"), b"\n".join(lines[-_MOST:]) + b"\n")
            return [msgspec.json.decode(line, type=str) for line in lines[-_MOST:]]
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            note(f"the history of the prompt cannot be read: {error}")
            return []
