"""`prepare`: the exact request that `chat` would send, secrets redacted, nothing sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from brainwires_provider.cli.options import Question
from brainwires_provider.cli.output import dump, report_shape
from brainwires_provider.cli.terminal import complain, explain, print_line, read_prompt
from brainwires_provider.errors import ProviderError

__all__ = ["prepare"]


def prepare(prompt: str | None, ask: Callable[[], Question], *, stream: bool, curl: bool) -> int:
    """Print it as one JSON object, or as a curl command. Returns the exit status."""
    try:
        question = ask()
    except ProviderError as error:
        complain(explain(error))
        return 1
    try:
        text = read_prompt(prompt, needed=not question.is_whole)
    except ProviderError as error:
        complain(explain(error))
        return 2
    try:
        args: Any = question.args
        if question.tools:
            from brainwires_provider.cli.tools import tool_args

            args = {**args, "tools": tool_args(question.tools, unasked=True).get("tools", ())}
        prepared = question.client.prepare(question.message(text), stream=stream, **args)
    except ProviderError as error:
        complain(explain(error))
        return 1
    if curl:
        print_line(prepared.curl().encode())
        return 0
    print_line(
        dump(
            {
                "method": prepared.method,
                "url": prepared.url,
                "headers": dict(prepared.headers),
                "body": msgspec.json.decode(prepared.body),
                "report": report_shape(prepared.report),
            }
        )
    )
    return 0
