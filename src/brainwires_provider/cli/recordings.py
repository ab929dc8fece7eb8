"""The commands `decode` and `replay`: their names, options and help. `decode.py` does the work."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

__all__ = ["add_recordings"]

Finish = Callable[[Callable[[], int]], NoReturn]


class FramingName(StrEnum):
    """How a recorded body is divided into messages."""

    sse = "sse"
    ndjson = "ndjson"
    eventstream = "eventstream"
    whole = "whole"


class _DecodeCommand(TyperCommand):
    """Lists the protocols at the end of its help; they are loaded only for that."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from brainwires_provider.cli.decode import recorded_names

        with formatter.section("Protocols"):
            formatter.write_text(", ".join(recorded_names()))


def add_recordings(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that they return."""

    @app.command(cls=_DecodeCommand)
    def decode(
        protocol: Annotated[str, typer.Argument(metavar="PROTOCOL", help="One of those below.")],
        file: Annotated[str, typer.Argument(metavar="FILE", help="A recorded body; - is standard input.")],
        status: Annotated[int, typer.Option(metavar="N", help="HTTP status of the response.")] = 200,
        events: Annotated[bool, typer.Option("--events", help="Print one event per line.")] = False,
        framing: Annotated[
            FramingName | None, typer.Option(help="Default: recognised from the body.", show_default=False)
        ] = None,
    ) -> None:
        """Decode one recorded body, and print the response as one JSON object.

        Exits with 1 and prints {"error": ..., "partial": ...} if the response failed.

        \b
        curl -sN "$URL" ... | tee body.sse | brainwires decode openai_chat -
        brainwires decode openai_chat body.sse --events
        brainwires decode openai_chat refused.json --status 429
        """
        from brainwires_provider.cli.decode import decode as run

        name = None if framing is None else framing.value
        finish(lambda: run(protocol, file, status=status, events=events, framing=name))

    @app.command()
    def replay(
        files: Annotated[
            list[str],
            typer.Argument(metavar="FILE...", help="Recordings: .jsonl, or .jsonl.gz; - is standard input."),
        ],
    ) -> None:
        """Decode recorded exchanges, one JSON record per line, and print one JSON line for each.

        \b
        brainwires replay recordings.jsonl.gz
        """
        from brainwires_provider.cli.decode import replay as run

        finish(lambda: run(files))
