"""The command line: its commands, each in a module that is loaded when it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from brainwires_provider import __version__
from brainwires_provider.cli.status import FAILED, INTERRUPTED

__all__ = ["app"]

_ABOUT = "Send requests to any LLM provider in its own protocol, and decode recorded responses."
_SETTINGS = {"help_option_names": ["-h", "--help"]}  # of every command

COMMANDS = {
    "chat": ("requests", "Send a prompt to a model, or hold a conversation."),
    "prepare": (
        "requests",
        "Show the exact request that chat would send, secrets redacted, without sending it.",
    ),
    "run": (
        "run",
        "Ask a model about every row of a file, and write the rows with their results, in their order.",
    ),
    "logs": ("logs", "List, show and delete the conversations that `brainwires chat` has kept."),
    "templates": ("templates", "List, show and remove the templates of `brainwires chat -t`."),
    "decode": ("recordings", "Decode one recorded body, and print the response as one JSON object."),
    "replay": (
        "recordings",
        "Decode recorded exchanges, one JSON record per line, and print one JSON line for each.",
    ),
    "providers": ("providers", "List the providers, their protocols, and whether their keys are set."),
    "models": (
        "models",
        "List the models of a provider: their limits, capabilities and lifecycle, if it states them.",
    ),
    "doctor": (
        "doctor",
        "Check the configuration, whether a provider answers, or what a server really supports.",
    ),
    "embed": ("embed", "Print the vectors of texts, one JSON object per line."),
    "similar": ("embed", "Sort texts by their similarity to a text, the most similar first."),
    "batch": (
        "batch",
        "List, show, wait for, read, send again, cancel and forget batches that are recorded here.",
    ),
    "keys": ("keys", "Put a provider's key into the system's keyring."),
    "local": ("local", "Manage, download and measure the models on this machine."),
    "ollama": ("ollama", "Manage the models of an Ollama server."),
    "trust": ("trust", "Trust a configuration file with its present content."),
}
"""The module of each command, which has a function `add_MODULE`, and the first sentence of the command's help."""


class _Commands(TyperGroup):
    """Loads a command when it is used, and none for the list of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the list."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None if there is none."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module = COMMANDS[cmd_name][0]
            part = typer.Typer(rich_markup_mode=None, context_settings=_SETTINGS)
            add = getattr(import_module(f"brainwires_provider.cli.{module}"), f"add_{module}")
            add(part, _finish)
            self.commands.update(typer.main.get_group(part).commands)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in COMMANDS.items()])


app = typer.Typer(
    name="brainwires",
    cls=_Commands,
    pretty_exceptions_enable=False,  # its tracebacks can show local variables, and so a key
    rich_markup_mode=None,
    context_settings=_SETTINGS,
    help=_ABOUT,
)


def _finish(work: Callable[[], int]) -> NoReturn:
    """Exit with the status of `work`. A reader that closed the pipe early (`| head`) is not reported."""
    try:
        status = work()
    except BrokenPipeError:
        # Python flushes standard output once more at its end, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILED
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
