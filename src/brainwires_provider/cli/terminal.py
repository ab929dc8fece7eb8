"""Input and output of the command: the answer on standard output, everything about it on standard error.

What a model writes may hold control characters and bidirectional overrides. At a terminal they are removed, so that an
answer can neither move the cursor, nor change the terminal's settings, nor show its characters in another order.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from brainwires_provider.cli.controls import harmless
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.events import (
    PartEnd,
    ReasoningDelta,
    RefusalDelta,
    RunEvent,
    TextDelta,
    ToolCallDelta,
    ToolEnd,
)
from brainwires_provider.types import FilePart, ImagePart, Part, Response, TextPart, ToolCallPart, Usage

if TYPE_CHECKING:
    from brainwires_provider.cli.markdown import LiveMarkdown

__all__ = [
    "AnswerView",
    "Spinner",
    "ask",
    "complain",
    "explain",
    "is_terminal",
    "live_markdown",
    "note",
    "print_line",
    "print_text",
    "read_line",
    "read_prompt",
    "standard_input",
    "statistics",
    "utf8",
]

_PATIENCE: Final = 3.0  # seconds without the end of standard input before the wait is explained
_SIMPLE: Final = ("dumb", "unknown")  # kinds of terminals
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CONTENT = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)


def is_terminal(stream: Any) -> bool:
    """Whether this stream is a terminal; a closed or missing one is not."""
    return stream is not None and not stream.closed and stream.isatty()


def live_markdown() -> LiveMarkdown | None:
    """What renders Markdown on standard output; None if that is no terminal, or one that cannot move its cursor."""
    if not is_terminal(sys.stdout) or os.environ.get("TERM", "") in _SIMPLE:
        return None
    from brainwires_provider.cli.markdown import LiveMarkdown

    return LiveMarkdown.at_terminal()


def standard_input() -> bytes:
    """All of standard input."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def read_prompt(argument: str | None, *, needed: bool = True) -> str:
    """The prompt: the argument, standard input, or both, standard input after the argument and a blank line.

    With an argument, standard input is read only if it is a file, a pipe or a socket. Raises ConfigError for input
    that is not UTF-8, and if there is none but it is `needed`.
    """
    prompt = "" if argument is None else utf8(argument, "the prompt")
    data = b""
    if argument is None and not is_terminal(sys.stdin):
        data = standard_input()
    elif argument is not None and _is_redirected():
        with _explained_wait():
            data = standard_input()
    text = utf8(data, "standard input")
    given = [each for each in (prompt, text) if each.strip()]
    if not given and needed:
        raise ConfigError("there is no prompt: give one as an argument or on standard input")
    return "\n\n".join(given)


def _is_redirected() -> bool:
    if sys.stdin is None or sys.stdin.closed:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # held in memory
        return not sys.stdin.isatty()
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


@contextmanager
def _explained_wait() -> Iterator[None]:
    """A program that leaves its end of a pipe open would otherwise be waited for without a word."""
    words = (
        "reading standard input to its end, to send it after the prompt; `< /dev/null` sends the prompt alone"
    )
    timer = threading.Timer(_PATIENCE, note, (words,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def utf8(data: bytes | str, name: str) -> str:
    """The text of an input, without a byte order mark. Raises ConfigError that names the first invalid byte."""
    try:
        if isinstance(data, str):  # an argument: Python kept its invalid bytes as lone surrogates
            data = data.encode("utf-8", "surrogateescape")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte, offset = error.object[error.start], error.start + (3 if data[:3] == b"\xef\xbb\xbf" else 0)
        raise ConfigError(
            f"{name} is not UTF-8: byte 0x{byte:02x} at offset {offset}; convert it, for example with iconv"
        ) from None
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{name} is not Unicode text: half a surrogate pair at offset {error.start}"
        ) from None


def print_line(line: bytes) -> None:
    """One line of output as it is, at once."""
    out = sys.stdout.buffer
    out.write(line + b"\n")
    out.flush()


def print_text(text: str) -> None:
    """Text as output, at a terminal without what would control it."""
    print(harmless(text) if is_terminal(sys.stdout) else text)


def note(message: str, *, keep: bool = False) -> None:
    """One line on standard error; `keep` its spaces."""
    line = message if keep else " ".join(message.split())
    print(harmless(line), file=sys.stderr, flush=True)


def ask(question: str) -> str:
    """The user's answer on standard input to a question on standard error; empty at its end, and after Ctrl-C."""
    # An event loop's own handler would not end the wait; it is replaced before there is something to interrupt.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _until_typed():
            print(harmless(" ".join(question.split())), end=" ", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return ""
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _until_typed() -> Iterator[None]:
    """Wait, after the block, for a line at the terminal, or for a signal.

    Python sees a signal only when a read that it precedes returns, so it is not the read that waits.
    """
    if sys.platform == "win32":
        yield
        return
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield
        select.select([sys.stdin, woken], [], [])
    finally:
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(wake)


def read_line(prompt: str) -> str:
    """A line from standard input; the prompt is no part of the output. Raises EOFError at the end."""
    if is_terminal(sys.stdout):
        return input(prompt)  # which must know it to edit the line
    print(prompt, end="", file=sys.stderr, flush=True)
    return input()


def complain(message: str) -> None:
    """One line on standard error about what went wrong."""
    note(f"brainwires: {message}")


def explain(error: ProviderError) -> str:
    """A failure in one line, with the request id, and the option for what is a parameter in code."""
    message = error.message
    if "api_key=" in message:
        message += " (on the command line: --api-key-env NAME, the name of an environment variable)"
    if "allow_http=" in message:
        message += " (on the command line: --allow-http)"
    return f"{message} (request id {error.request_id})" if error.request_id else message


class Spinner:
    """A progress indicator on standard error, if that is a terminal.

    `turning` is one wait. What it needs is imported when it is created, before anything is timed.
    """

    def __init__(self, text: str) -> None:
        self._turn: Callable[[], AbstractContextManager[object]] = nullcontext
        if is_terminal(sys.stderr):
            from rich.console import Console
            from rich.text import Text

            console, words = Console(stderr=True), Text(harmless(text))
            self._turn = lambda: console.status(words)

    def turning(self) -> AbstractContextManager[object]:
        """The indicator moves while this context lasts."""
        return self._turn()


class AnswerView:
    """Prints one answer as it arrives, and keeps its times: seconds on `clock` since the view was created."""

    def __init__(
        self,
        *,
        show_reasoning: bool,
        markdown: LiveMarkdown | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._show_reasoning = show_reasoning
        self._markdown = markdown
        self._clock = clock
        self._began = clock()
        self._at_line_start = {"out": True, "err": True}
        self._thinking = False
        self.first_token: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._clock() - self._began

    def show(self, event: RunEvent) -> None:
        """Print the text of an event, or a note about a part that is not text."""
        if self.first_token is None and isinstance(event, _CONTENT):
            self.first_token = self.elapsed
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                self._stop_thinking()
                if self._markdown is None:
                    self._write("out", text)
                else:
                    self._markdown.write(harmless(text))
            case ReasoningDelta(text=text) if self._show_reasoning:
                self._think(text)
            case ToolEnd(call=call, result=result, error=error):
                self.end_line()
                note(f"{call.name}: {error or result.text or 'no text'}")
            case PartEnd(part=TextPart()) if self._markdown is not None:
                self._markdown.finish()
            case PartEnd(part=part) if words := _words_for(part):
                self.end_line()
                note(words)

    def end_line(self) -> None:
        """End the current line of both streams."""
        self._stop_thinking()
        if self._markdown is not None:
            self._markdown.finish()
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
            text = harmless(text)
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
    """Tokens, seconds, tokens per second and the time to the first token; unknown values are left out.

    The rate is counted from the first token on, without the time to load a model and to read the prompt.
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
