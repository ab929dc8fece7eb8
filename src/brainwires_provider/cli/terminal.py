"""The terminal's two sides: the answer on standard output, everything about it on standard error.

What a model says may hold control characters; on a terminal they are left out, so that an answer can neither
move the cursor nor change the terminal's settings.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from brainwires_provider.errors import ProviderError
from brainwires_provider.events import (
    Event,
    PartEnd,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.types import FilePart, ImagePart, Part, Response, ToolCallPart, Usage

__all__ = [
    "AnswerView",
    "Spinner",
    "complain",
    "explain",
    "is_terminal",
    "note",
    "print_line",
    "standard_input",
    "statistics",
]

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CONTENT = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)


def is_terminal(stream: Any) -> bool:
    """Whether a person sits at this stream; a closed or missing one has none."""
    return stream is not None and not stream.closed and stream.isatty()


def standard_input() -> bytes:
    """All of standard input."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def print_line(line: bytes) -> None:
    """One line of output as it is, at once."""
    out = sys.stdout.buffer
    out.write(line + b"\n")
    out.flush()


def note(message: str) -> None:
    """One line on standard error."""
    print(" ".join(message.split()).translate(_CONTROLS), file=sys.stderr, flush=True)


def complain(message: str) -> None:
    """One line on standard error about what went wrong."""
    note(f"brainwires: {message}")


def explain(error: ProviderError) -> str:
    """A failure in one line, with the name by which the provider can find the request."""
    message = error.message
    if "api_key=" in message:
        message += " (on the command line: --api-key-env NAME, the name of an environment variable)"
    return f"{message} (request id {error.request_id})" if error.request_id else message


class Spinner:
    """Something that moves on standard error while nothing else does; nothing where nobody looks.

    `turning` is one wait. What it needs is imported when it is made, before anything is timed.
    """

    def __init__(self, text: str) -> None:
        self._turn: Callable[[], AbstractContextManager[object]] = nullcontext
        if is_terminal(sys.stderr):
            from rich.console import Console
            from rich.text import Text

            console, words = Console(stderr=True), Text(text.translate(_CONTROLS))
            self._turn = lambda: console.status(words)

    def turning(self) -> AbstractContextManager[object]:
        """Turns until left."""
        return self._turn()


class AnswerView:
    """Shows one answer as it comes, and keeps its times: seconds on `clock` from when the view was made."""

    def __init__(self, *, show_reasoning: bool, clock: Callable[[], float] = time.perf_counter) -> None:
        self._show_reasoning = show_reasoning
        self._clock = clock
        self._began = clock()
        self._at_line_start = {"out": True, "err": True}
        self._thinking = False
        self.first_token: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._clock() - self._began

    def show(self, event: Event) -> None:
        """Print what a person would want to see of it."""
        if self.first_token is None and isinstance(event, _CONTENT):
            self.first_token = self.elapsed
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                self._stop_thinking()
                self._write("out", text)
            case ReasoningDelta(text=text) if self._show_reasoning:
                self._think(text)
            case PartEnd(part=part) if words := _words_for(part):
                self.end_line()
                note(words)

    def end_line(self) -> None:
        """Leave the cursor at a line's start, on both sides."""
        self._stop_thinking()
        if not self._at_line_start["out"]:
            self._write("out", "\n")

    def _think(self, text: str) -> None:
        if not self._thinking:
            self.end_line()
            self._thinking = True
            if is_terminal(sys.stderr):
                print(_DIM, end="", file=sys.stderr)
        self._write("err", text)

    def _stop_thinking(self) -> None:
        if not self._thinking:
            return
        self._thinking = False
        if is_terminal(sys.stderr):
            print(_PLAIN, end="", file=sys.stderr)
        if not self._at_line_start["err"]:
            self._write("err", "\n")

    def _write(self, side: str, text: str) -> None:
        stream = sys.stdout if side == "out" else sys.stderr
        if is_terminal(stream):
            text = text.translate(_CONTROLS)
        if text:
            stream.write(text)
            stream.flush()
            self._at_line_start[side] = text.endswith("\n")


def _words_for(part: Part) -> str | None:
    match part:
        case ToolCallPart(name=name, arguments=arguments):
            return f"the model calls {name}({arguments})"
        case ImagePart(data=data, url=url) | FilePart(data=data, url=url):
            kind = "an image" if isinstance(part, ImagePart) else "a file"
            held = f"{len(data):,} bytes" if data is not None else url or part.file_id
            return f"the model made {kind} ({part.media_type or 'unknown type'}, {held}); --json has it"
    return None


def statistics(response: Response, elapsed: float, first_token: float | None) -> str:
    """Tokens, seconds, tokens a second and the time to the first token; what is not known is left out.

    The rate counts from the first token on, so that loading a model and reading a prompt do not blur it.
    """
    usage = response.usage
    words = [_tokens(usage), f"{elapsed:.2f} s"]
    writing = elapsed - (first_token or 0.0)
    if usage.output_tokens and writing > 0:
        words.append(f"{usage.output_tokens / writing:.1f} tokens/s")
    if first_token is not None:
        words.append(f"first token after {first_token:.2f} s")
    if response.finish_reason not in ("stop", "tool_calls"):
        words.append(f"finish reason: {response.finish_reason} ({response.raw_finish_reason})")
    return ", ".join(word for word in words if word)


def _tokens(usage: Usage) -> str:
    if not usage.total_tokens:
        return "tokens not counted by the provider"
    return f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
