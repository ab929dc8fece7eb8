"""The command line: names, options and their help. The other modules of this package do the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from brainwires_provider import __version__
from brainwires_provider.cli.chat import INTERRUPTED
from brainwires_provider.cli.doctor import add_doctor
from brainwires_provider.cli.local import add_local
from brainwires_provider.cli.models import add_models
from brainwires_provider.cli.ollama import add_ollama
from brainwires_provider.cli.options import ChatOptions, Connection, expand_options
from brainwires_provider.cli.providers import add_providers
from brainwires_provider.cli.trust import add_trust

__all__ = ["app"]

_ABOUT = "Send requests to any LLM provider in its own protocol, and decode recorded responses."

app = typer.Typer(
    name="brainwires",
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks can show local variables, and so a key
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},  # of every command
    help=_ABOUT,
)


class FramingName(StrEnum):
    """How a recorded body is divided into messages."""

    sse = "sse"
    ndjson = "ndjson"
    eventstream = "eventstream"
    whole = "whole"


def _finish(work: Callable[[], int]) -> NoReturn:
    """Exit with the status of `work`. A reader that closed the pipe early (`| head`) is not reported."""
    try:
        status = work()
    except BrokenPipeError:
        # Python flushes standard output once more at its end, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except KeyboardInterrupt:
        status = INTERRUPTED
    raise typer.Exit(status)


@app.callback(invoke_without_command=True, help=_ABOUT)
def brainwires(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"brainwires-provider {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
@expand_options
def chat(
    prompt: Annotated[str | None, typer.Argument(help="The prompt.", show_default=False)] = None,
    *,
    chat_options: ChatOptions,
    connection: Connection,
    as_json: Annotated[bool, typer.Option("--json", help="Print the response as one JSON object.")] = False,
    show_reasoning: Annotated[
        bool, typer.Option("--show-reasoning", help="Print the model's reasoning on standard error.")
    ] = False,
) -> None:
    """Send a prompt to a model, or hold a conversation.

    The prompt is the argument, standard input, or both: standard input after the argument. At a terminal without a
    prompt a conversation begins, which Ctrl-D ends. Ctrl-C stops a response. Statistics are printed on standard error.

    \b
    brainwires chat "Explain what a WebSocket is in one sentence."
    git diff | brainwires chat "Review this change." -m openai-chat:gpt-6
    brainwires chat -m openai-chat:qwen3 --base-url http://localhost:8000/v1
    """
    from brainwires_provider.cli.chat import chat as run

    _finish(
        lambda: run(
            prompt,
            lambda: chat_options.question(connection),
            as_json=as_json,
            show_reasoning=show_reasoning,
        )
    )


@app.command()
@expand_options
def prepare(
    prompt: Annotated[str | None, typer.Argument(help="The prompt.", show_default=False)] = None,
    *,
    chat_options: ChatOptions,
    connection: Connection,
    stream: Annotated[bool, typer.Option("--stream", help="The request for a streamed response.")] = False,
    curl: Annotated[bool, typer.Option("--curl", help="Print it as a curl command.")] = False,
) -> None:
    """Show the exact request that chat would send, secrets redacted, without sending it.

    \b
    brainwires prepare "Hi" -m groq:llama-4
    brainwires prepare "Hi" -m openai-chat:gpt-6 --stream --curl
    """
    from brainwires_provider.cli.prepare import prepare as run

    _finish(lambda: run(prompt, lambda: chat_options.question(connection), stream=stream, curl=curl))


class _DecodeCommand(TyperCommand):
    """Lists the protocols at the end of its help; they are loaded only for that."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from brainwires_provider.cli.decode import recorded_names

        with formatter.section("Protocols"):
            formatter.write_text(", ".join(recorded_names()))


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
    _finish(lambda: run(protocol, file, status=status, events=events, framing=name))


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

    _finish(lambda: run(files))


add_providers(app, _finish)
add_models(app, _finish)
add_doctor(app, _finish)
add_local(app, _finish)
add_ollama(app, _finish)
add_trust(app, _finish)
