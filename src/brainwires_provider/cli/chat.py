"""`chat`: one question, or a conversation, streamed to the terminal.

A conversation has one event loop. Each turn is one run of it, so that Ctrl-C, which ends a run, stops the answer and
not the program; the connections stay open between the turns.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable

from msgspec.structs import replace

from brainwires_provider.cli.lines import Lines
from brainwires_provider.cli.log import Log, Recorder
from brainwires_provider.cli.options import Question
from brainwires_provider.cli.output import dump, failure_shape, response_shape
from brainwires_provider.cli.scrub import Scrubber
from brainwires_provider.cli.slash import Commands
from brainwires_provider.cli.status import FAILED, FINE, INTERRUPTED, MISUSED
from brainwires_provider.cli.stored import Entry, is_kept
from brainwires_provider.cli.talk import Answer, Talk
from brainwires_provider.cli.terminal import (
    AnswerView,
    Spinner,
    complain,
    explain,
    is_terminal,
    live_markdown,
    note,
    print_line,
    read_prompt,
    statistics,
    utf8,
)
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.events import TextDelta
from brainwires_provider.runs.run import AsyncRun
from brainwires_provider.types import Response

__all__ = ["chat"]


def chat(
    prompt: str | None,
    ask: Callable[[Entry | None], Question],
    *,
    as_json: bool,
    show_reasoning: bool,
    plain: bool = False,
    unasked: bool = False,
    goes_on: bool = False,
) -> int:
    """Answer a prompt, or hold a conversation if there is none and standard input is a terminal.

    `ask` creates the client, for the last conversation if it `goes_on`. Answers are `plain`, or rendered as Markdown
    at a terminal. The model may call the question's tools: `unasked`, or with an approval of each call. Returns the
    exit status.
    """
    try:
        entry = _last() if goes_on else None
        question = ask(entry)
        keeps = is_kept(question.config)
        if tools := question.tools:
            from brainwires_provider.cli.tools import tool_args

            question = question._replace(args={**question.args, **tool_args(tools, unasked=unasked)})  # type: ignore[typeddict-unknown-key]
    except ProviderError as error:
        complain(explain(error))
        return FAILED
    text = None
    if prompt is None and question.wording is not None and question.is_whole and is_terminal(sys.stdin):
        text = ""  # a template with all that is to be asked
    elif prompt is not None or not is_terminal(sys.stdin):
        try:
            text = read_prompt(prompt, needed=not question.is_whole)
        except ProviderError as error:
            complain(explain(error))
            return MISUSED
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for characters that a terminal's encoding lacks
    output = question.args.get("output")
    plain = plain or as_json or output is not None
    printer = Printer(question.model, as_json=as_json, show_reasoning=show_reasoning, plain=plain)
    printer.by_value = output is not None and (bool(tools) or not getattr(output, "is_object", True))
    scrubber = Scrubber(question.secrets())
    talk, recorder = Talk(question), Recorder(scrubber, entry, is_kept=keeps)
    if entry is not None:
        talk.begin(entry.messages)
    if text is not None:
        return _ask_once(talk, printer, recorder, text)
    return _converse(talk, printer, recorder, Lines(scrubber, is_kept=keeps))


def _last() -> Entry:
    found = Log().last()
    if not found:
        raise ConfigError("there is no conversation to continue; BRAINWIRES_LOGS=off keeps none")
    return found[0]


class Printer:
    """Prints one answer after another, as text or as JSON."""

    def __init__(self, model: str, *, as_json: bool, show_reasoning: bool, plain: bool) -> None:
        self.wait_for(model)
        self._markdown = None if plain else live_markdown()
        self._as_json = as_json
        self._show_reasoning = show_reasoning
        self.by_value = False
        """Whether an answer's value is printed at its end, and not its text, which is wrapped or may be corrected."""

    def wait_for(self, model: str) -> None:
        """The next answers are of this model."""
        local = model.startswith("local:")
        self._spinner = Spinner(f"loading {model}" if local else f"waiting for {model}")

    async def print(self, make: Callable[[], Answer]) -> bool:
        """One answer to its end; whether it is complete. What was printed before a failure stays."""
        view = AnswerView(show_reasoning=self._show_reasoning, markdown=self._markdown)
        try:
            await self._stream(make(), view)
        except ProviderError as error:
            if self._as_json:
                partial = getattr(error, "partial", None)
                print_line(dump(failure_shape(error, () if partial is None else (partial,))))
            complain(explain(error))
            return False
        return True

    async def _stream(self, stream: Answer, view: AnswerView) -> None:
        try:
            with self._spinner.turning():
                events = await stream.pull()
            if self._as_json:
                print_line(dump(response_shape(await _whole(stream))))
                return
            while events:
                for event in events:
                    if not (self.by_value and isinstance(event, TextDelta)):
                        view.show(event)
                events = await stream.pull()
            view.end_line()
            if self.by_value and not (response := await _whole(stream)).tool_calls:
                print_line(dump(response.output))
            note(statistics(await _whole(stream), view.elapsed, view.first_token))
            if isinstance(stream, AsyncRun) and stream.why != "answer":
                note(f"the run has ended before the answer: {stream.why}")
        finally:
            await stream.aclose()
            view.end_line()


async def _whole(stream: Answer) -> Response:
    """Read on to the end; of a run the last response, with the tokens of all."""
    if isinstance(stream, AsyncRun):
        return replace(await stream.result(), usage=stream.usage)
    return await stream.collect()


def _ask_once(talk: Talk, printer: Printer, recorder: Recorder, prompt: str) -> int:
    async def ask() -> bool:
        async with talk.question.client:
            return await talk.turn(prompt, printer)

    try:
        if not asyncio.run(ask()):
            return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    recorder.keep(talk)
    return FINE


def _converse(talk: Talk, printer: Printer, recorder: Recorder, lines: Lines) -> int:
    """Turn after turn until Ctrl-D, or Ctrl-C at the prompt."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # so that an invalid byte is reported, not raised
    commands = Commands(talk, printer)
    lines.complete_with(commands.completed)

    async def take(text: str) -> None:
        before = talk.messages[:]
        if not await commands.obey(text):
            await talk.turn(text, printer)
        if talk.messages and talk.messages != before:
            recorder.keep(talk)

    with asyncio.Runner() as runner:
        try:
            while (given := lines.read()) is not None:
                if not given.strip():
                    continue
                try:
                    runner.run(take(utf8(given, "the line")))
                except ConfigError as error:
                    complain(explain(error))
                except KeyboardInterrupt:
                    note("stopped; this turn is not kept (Ctrl-D ends the conversation)")
        finally:
            runner.run(talk.question.client.aclose())
    return FINE
