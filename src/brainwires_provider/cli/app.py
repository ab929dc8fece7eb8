"""The command line itself: names, options and their help. The work is in the modules beside this one."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Literal, NoReturn

import typer

from brainwires_provider import __version__
from brainwires_provider.cli.asking import Asking
from brainwires_provider.cli.chat import INTERRUPTED
from brainwires_provider.cli.doctor import add_doctor
from brainwires_provider.cli.local import add_local
from brainwires_provider.cli.models import add_models
from brainwires_provider.cli.ollama import add_ollama
from brainwires_provider.cli.providers import add_providers
from brainwires_provider.cli.trust import add_trust

__all__ = ["app"]

app = typer.Typer(
    name="brainwires",
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks can show local variables, and so a key
    rich_markup_mode=None,
    help="Talk to any LLM provider in its own wire protocol, and read recordings of such talk.",
)


class FramingName(StrEnum):
    """How a recorded body is cut into messages."""

    sse = "sse"
    ndjson = "ndjson"
    eventstream = "eventstream"
    whole = "whole"


def _temperature(text: str | None) -> float | Literal["unset"] | None:
    """A number, or "none" for a model that takes no temperature."""
    if text is None:
        return "unset"
    if text.lower() == "none":
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter("--temperature takes a number, or none to send no temperature")
    return number


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="PROVIDER:MODEL",
        help="For example openai-chat:gpt-6, or local:/models/x.gguf, or a name from brainwires.toml; unless that "
        "names one, the default is local:, the installed SmolLM2.",
    ),
]
System = Annotated[str | None, typer.Option(help="Standing instructions.")]
Temperature = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER",
        help="none sends no temperature, for models that take none; the default is 0, or what brainwires.toml says.",
    ),
]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="The longest answer, in tokens.")]
BaseURL = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="Another server of the same protocol.")
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The NAME of the environment variable that holds the key, where it is not the provider's own.",
    ),
]


def _finish(work: Callable[[], int]) -> NoReturn:
    """Leave with what the work gives. A reader that left early (`| head`) is no failure to speak of."""
    try:
        status = work()
    except BrokenPipeError:
        # Python flushes standard output once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except KeyboardInterrupt:
        status = INTERRUPTED
    raise typer.Exit(status)


@app.callback(invoke_without_command=True)
def brainwires(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Talk to any LLM provider in its own wire protocol, and read recordings of such talk."""
    if version:
        typer.echo(f"brainwires-provider {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def chat(
    prompt: Annotated[str | None, typer.Argument(help="What to say.", show_default=False)] = None,
    *,
    model: Model = None,
    system: System = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole answer as one JSON object instead.")
    ] = False,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    base_url: BaseURL = None,
    api_key_env: KeyEnv = None,
    show_reasoning: Annotated[
        bool, typer.Option("--show-reasoning", help="Show what the model thinks, on standard error.")
    ] = False,
) -> None:
    """Ask a model, or talk with it.

    The prompt is the argument, or standard input; at a terminal without a prompt a conversation begins, which
    Ctrl-D ends. Ctrl-C stops an answer. Statistics go to standard error.

    \b
    brainwires chat "Explain what a WebSocket is in one sentence."
    git diff | brainwires chat --system "Review this change." -m openai-chat:gpt-6
    brainwires chat -m openai-chat:qwen3 --base-url http://localhost:8000/v1
    """
    from brainwires_provider.cli.chat import chat as run

    asking = Asking(model, system, _temperature(temperature), max_tokens, base_url, api_key_env)
    _finish(lambda: run(prompt, asking, as_json=as_json, show_reasoning=show_reasoning))


@app.command()
def prepare(
    prompt: Annotated[str, typer.Argument(help="What to say.")],
    *,
    model: Model = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    base_url: BaseURL = None,
    api_key_env: KeyEnv = None,
    stream: Annotated[bool, typer.Option("--stream", help="The request for a streamed answer.")] = False,
    curl: Annotated[bool, typer.Option("--curl", help="As a curl command.")] = False,
) -> None:
    """Show the exact request, secrets redacted, without sending it.

    \b
    brainwires prepare "Hi" -m groq:llama-4
    brainwires prepare "Hi" -m openai-chat:gpt-6 --stream --curl
    """
    from brainwires_provider.cli.prepare import prepare as run

    asking = Asking(model, system, _temperature(temperature), max_tokens, base_url, api_key_env)
    _finish(lambda: run(prompt, asking, stream=stream, curl=curl))


@app.command()
def decode(
    protocol: Annotated[str, typer.Argument(metavar="PROTOCOL", help="As in recordings: openai_chat.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="One recorded body; - is standard input.")],
    status: Annotated[int, typer.Option(metavar="N", help="The HTTP status it came with.")] = 200,
    events: Annotated[bool, typer.Option("--events", help="One event a line.")] = False,
    framing: Annotated[
        FramingName | None, typer.Option(help="Told from the bytes unless given.", show_default=False)
    ] = None,
) -> None:
    """Read one recorded body, and print the answer as one JSON object.

    Exits with 1 and prints {"error": ..., "partial": ...} where the answer failed.

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
    """Read recorded exchanges, one JSON record a line, and print one JSON line for each.

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
