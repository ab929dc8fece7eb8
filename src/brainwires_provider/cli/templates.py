"""`templates`: the templates of `chat`: a list, one of them, and its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, NoReturn

import msgspec
import typer

from brainwires_provider.cli.output import dump
from brainwires_provider.cli.tables import print_table
from brainwires_provider.cli.template import INPUT, as_toml, load, names, place, variables
from brainwires_provider.cli.terminal import complain, explain, note, print_line, print_text
from brainwires_provider.errors import ConfigError, ProviderError

__all__ = ["add_templates"]

Finish = Callable[[Callable[[], int]], NoReturn]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The name in the list.")]
_HEAD = ("NAME", "MODEL", "VARIABLES", "TEXT")
_WIDTH = 50  # characters of a text in the list


def add_templates(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that they return."""
    group = typer.Typer(
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.add_typer(group, name="templates")

    @group.callback(invoke_without_command=True)
    def templates(
        context: typer.Context,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    ) -> None:
        """List, show and remove the templates of `brainwires chat -t`.

        Without a command: the list of them. `brainwires chat --save NAME` writes one. Each is a TOML file in your
        configuration folder, which you can edit.

        \b
        brainwires chat --save say --system 'Say it in $tongue.' -p tongue=French
        brainwires templates
        brainwires chat -t say -p tongue=Latin "Good morning!"
        """
        if context.invoked_subcommand is None:
            finish(lambda: _reported(lambda: _list(as_json=as_json)))

    @group.command()
    def show(name: _Name) -> None:
        """Print a template as it is in its file.

        \b
        brainwires templates show say
        """
        finish(lambda: _reported(lambda: _show(name)))

    @group.command()
    def remove(name: _Name) -> None:
        """Delete a template.

        \b
        brainwires templates remove say
        """
        finish(lambda: _reported(lambda: _remove(name)))


def _reported(work: Callable[[], int]) -> int:
    try:
        return work()
    except ProviderError as error:
        complain(explain(error))
        return 1


def _list(*, as_json: bool) -> int:
    lines = []
    for name in names():
        try:
            found = load(name)
        except ConfigError as error:
            complain(explain(error))
            continue
        if as_json:
            print_line(dump({"name": name, **msgspec.to_builtins(found)}))
        words = " ".join((found.prompt or found.system or "").split())
        short = words if len(words) <= _WIDTH else f"{words[: _WIDTH - 1]}…"
        asked = [each for each in variables((found.system, found.prompt)) if each != INPUT]
        lines.append((name, found.model or "", ", ".join(asked), short))
    if not as_json:
        print_table(_HEAD, lines)
        note(place())
    return 0


def _show(name: str) -> int:
    note(place(name))
    print_text(as_toml(load(name)).rstrip("\n"))
    return 0


def _remove(name: str) -> int:
    path = place(name)
    try:
        os.unlink(path)
    except FileNotFoundError:
        load(name)  # whose error lists what there is
    except OSError as error:
        raise ConfigError(f"{path}: cannot be removed: {error.strerror}") from None
    note(f"{name} is removed")
    return 0
