"""`chat`: one question, or a conversation, streamed to the terminal.

One event loop serves a whole conversation. Each turn is one run of it, so that Ctrl-C, which ends a run,
stops the answer and not the program; the connections live on between the turns.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable

from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.cli.asking import Asking
from brainwires_provider.cli.output import dump, failure_shape, response_shape
from brainwires_provider.cli.terminal import (
    AnswerView,
    Spinner,
    complain,
    explain,
    is_terminal,
    note,
    print_line,
    standard_input,
    statistics,
)
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ProviderError
from brainwires_provider.protocols.base.decoder import well_formed

__all__ = ["INTERRUPTED", "chat"]

INTERRUPTED = 130
_FINE, _FAILED, _MISUSED = 0, 1, 2
_PROMPT = "> "


def chat(prompt: str | None, asking: Asking, *, as_json: bool, show_reasoning: bool) -> int:
    """Answer `prompt`, or what standard input holds, or talk with who sits there. Gives the exit status."""
    try:
        client = asking.client()
    except ProviderError as error:
        complain(explain(error))
        return _FAILED
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for letters that a terminal's encoding lacks
    teller = Teller(asking.name, as_json=as_json, show_reasoning=show_reasoning)
    if prompt is None and is_terminal(sys.stdin):
        return _converse(client, asking, teller)
    if prompt is None:
        prompt = standard_input().decode("utf-8-sig", "replace")
    if not prompt.strip():
        complain("there is no prompt: give one as an argument or on standard input")
        return _MISUSED
    return _ask_once(client, asking, teller, well_formed(prompt))


class Teller:
    """Tells of one answer after another, for a person or as JSON."""

    def __init__(self, model: str, *, as_json: bool, show_reasoning: bool) -> None:
        local = model.startswith("local:")
        self._spinner = Spinner(f"loading {model}" if local else f"waiting for {model}")
        self._as_json = as_json
        self._show_reasoning = show_reasoning

    async def tell(self, make: Callable[[], AsyncStream]) -> bool:
        """One answer to its end; whether it came to one. What had been shown before a failure stays."""
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


def _ask_once(client: AsyncClient, asking: Asking, teller: Teller, prompt: str) -> int:
    async def ask() -> bool:
        async with client:
            return await teller.tell(lambda: client.stream(prompt, **asking.args()))

    try:
        return _FINE if asyncio.run(ask()) else _FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _converse(client: AsyncClient, asking: Asking, teller: Teller) -> int:
    """Turn after turn until Ctrl-D, or Ctrl-C at the prompt."""
    talk = client.conversation(**asking.args())
    with asyncio.Runner() as runner:
        try:
            while (said := _listen()) is not None:
                if not said.strip():
                    continue
                try:
                    runner.run(teller.tell(lambda: talk.stream(well_formed(said))))
                except KeyboardInterrupt:
                    note("stopped; this turn is not kept (Ctrl-D ends the conversation)")
        finally:
            runner.run(client.aclose())
    return _FINE


def _listen() -> str | None:
    """What the person says next; None when they leave."""
    try:
        if is_terminal(sys.stdout):
            return input(_PROMPT)
        print(_PROMPT, end="", file=sys.stderr, flush=True)
        return input()
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return None
