"""`chat`: one question, or a conversation, streamed to the terminal.

A conversation has one event loop. Each turn is one run of it, so that Ctrl-C, which ends a run, stops the answer and
not the program; the connections stay open between the turns.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable

from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.cli.options import Question
from brainwires_provider.cli.output import dump, failure_shape, response_shape
from brainwires_provider.cli.terminal import (
    AnswerView,
    Spinner,
    complain,
    explain,
    is_terminal,
    note,
    print_line,
    read_prompt,
    statistics,
    utf8,
)
from brainwires_provider.errors import ConfigError, ProviderError

__all__ = ["INTERRUPTED", "chat"]

INTERRUPTED = 130
_FINE, _FAILED, _MISUSED = 0, 1, 2
_PROMPT = "> "


def chat(prompt: str | None, ask: Callable[[], Question], *, as_json: bool, show_reasoning: bool) -> int:
    """Answer a prompt, or hold a conversation if there is none and standard input is a terminal.

    `ask` creates the client. Returns the exit status.
    """
    try:
        question = ask()
    except ProviderError as error:
        complain(explain(error))
        return _FAILED
    text = None
    if prompt is not None or not is_terminal(sys.stdin):
        try:
            text = read_prompt(prompt)
        except ProviderError as error:
            complain(explain(error))
            return _MISUSED
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for characters that a terminal's encoding lacks
    printer = Printer(question.model, as_json=as_json, show_reasoning=show_reasoning)
    return _converse(question, printer) if text is None else _ask_once(question, printer, text)


class Printer:
    """Prints one answer after another, as text or as JSON."""

    def __init__(self, model: str, *, as_json: bool, show_reasoning: bool) -> None:
        local = model.startswith("local:")
        self._spinner = Spinner(f"loading {model}" if local else f"waiting for {model}")
        self._as_json = as_json
        self._show_reasoning = show_reasoning

    async def print(self, make: Callable[[], AsyncStream]) -> bool:
        """One answer to its end; whether it is complete. What was printed before a failure stays."""
        view = AnswerView(show_reasoning=self._show_reasoning)
        try:
            await self._stream(make(), view)
        except ProviderError as error:
            if self._as_json:
                partial = getattr(error, "partial", None)
                print_line(dump(failure_shape(error, () if partial is None else (partial,))))
            complain(explain(error))
            return False
        return True

    async def _stream(self, stream: AsyncStream, view: AnswerView) -> None:
        try:
            with self._spinner.turning():
                await stream.__aenter__()
            if self._as_json:
                print_line(dump(response_shape(await stream.collect())))
                return
            async for event in stream:
                view.show(event)
            view.end_line()
            note(statistics(stream.response, view.elapsed, view.first_token))
        finally:
            await stream.aclose()
            view.end_line()


def _ask_once(question: Question, printer: Printer, prompt: str) -> int:
    client, _, args = question

    async def ask() -> bool:
        async with client:
            return await printer.print(lambda: client.stream(prompt, **args))

    try:
        return _FINE if asyncio.run(ask()) else _FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _converse(question: Question, printer: Printer) -> int:
    """Turn after turn until Ctrl-D, or Ctrl-C at the prompt."""
    client, _, args = question
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # so that an invalid byte is reported, not raised
    conversation = client.conversation(**args)
    with asyncio.Runner() as runner:
        try:
            while (line := _read_line()) is not None:
                if not line.strip():
                    continue
                try:
                    text = utf8(line, "the line")
                    runner.run(printer.print(lambda text=text: conversation.stream(text)))  # type: ignore[misc]
                except ConfigError as error:
                    complain(explain(error))
                except KeyboardInterrupt:
                    note("stopped; this turn is not kept (Ctrl-D ends the conversation)")
        finally:
            runner.run(client.aclose())
    return _FINE


def _read_line() -> str | None:
    """The next line at the terminal; None at its end."""
    try:
        if is_terminal(sys.stdout):
            return input(_PROMPT)
        print(_PROMPT, end="", file=sys.stderr, flush=True)
        return input()
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return None
