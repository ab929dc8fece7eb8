"""`logs`: the conversations that the command has kept: a list, one of them, and their end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Annotated, NoReturn

import typer

from brainwires_provider.cli.output import dump, escaped
from brainwires_provider.cli.stored import SETTING, is_kept, place
from brainwires_provider.cli.tables import print_table
from brainwires_provider.cli.terminal import ask, complain, explain, is_terminal, note, print_line, print_text
from brainwires_provider.config import load_config
from brainwires_provider.errors import ProviderError
from brainwires_provider.types import ToolCallPart, ToolResultPart, dump_messages

__all__ = ["add_logs"]

Finish = Callable[[Callable[[], int]], NoReturn]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_HEAD = ("ID", "LAST TURN", "MODEL", "PROMPTS", "FIRST PROMPT")
_WIDTH = 60  # characters of a prompt in the list


def add_logs(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that they return."""
    group = typer.Typer(
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.add_typer(group, name="logs")

    @group.callback(invoke_without_command=True)
    def logs(
        context: typer.Context,
        most: Annotated[int, typer.Option("-n", min=1, help="How many, at most.")] = 20,
        as_json: _Json = False,
    ) -> None:
        """List, show and delete the conversations that `brainwires chat` has kept.

        Without a command: the list of them, the last one first.

        They are in your data folder, readable by you alone, without keys. BRAINWIRES_LOGS=off keeps none,
        and neither does logs = false in brainwires.toml.

        \b
        brainwires logs
        brainwires logs -n 5 --json
        brainwires logs show 12
        brainwires chat -c "And in French?"
        """
        if context.invoked_subcommand is None:
            finish(lambda: _reported(lambda: _list(most, as_json=as_json)))

    @group.command()
    def show(
        id: Annotated[int, typer.Argument(metavar="ID", help="The number in the list.")],
        as_json: _Json = False,
    ) -> None:
        """Print one conversation. The JSON is what /load and load_messages read.

        \b
        brainwires logs show 12
        brainwires logs show 12 --json > talk.json
        """
        finish(lambda: _reported(lambda: _show(id, as_json=as_json)))

    @group.command()
    def clear(
        id: Annotated[
            int | None,
            typer.Argument(metavar="ID", help="One conversation. Default: all.", show_default=False),
        ] = None,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ) -> None:
        """Delete one conversation, or all of them and the history of the prompt.

        \b
        brainwires logs clear 12
        brainwires logs clear --yes
        """
        finish(lambda: _reported(lambda: _clear(id, unasked=yes)))


def _reported(work: Callable[[], int]) -> int:
    try:
        return work()
    except ProviderError as error:
        complain(explain(error))
        return 1


def _list(most: int, *, as_json: bool) -> int:
    from brainwires_provider.cli.log import Log

    found = Log().last(most)
    lines = []
    for each in found:
        first = next(iter(each.prompts), "")
        if as_json:
            shape = {"id": each.id, "began": each.began, "updated": each.updated, "model": each.model}
            print_line(dump({**shape, "prompts": len(each.prompts), "first": first}))
        else:
            words = " ".join(first.split())
            short = words if len(words) <= _WIDTH else f"{words[: _WIDTH - 1]}…"
            when = datetime.fromtimestamp(each.updated).astimezone().strftime("%Y-%m-%d %H:%M")
            lines.append((str(each.id), when, each.model, str(len(each.prompts)), short))
    if not as_json:
        print_table(_HEAD, lines)
        off = f"{SETTING} is off, or logs = false in brainwires.toml: no more are kept"
        state = f"{SETTING}=off keeps none" if is_kept(load_config()) else off
        note(f"{place('logs.db')}; {state}")
    return 0


def _show(id: int, *, as_json: bool) -> int:
    from brainwires_provider.cli.log import Log

    entry = Log().entry(id)
    if as_json:
        print_line(escaped(dump_messages(entry.messages)))
        return 0
    note(f"{entry.model}{f' at {entry.base_url}' if entry.base_url else ''}")
    if entry.system:
        print_text(f"# system\n\n{entry.system}\n")
    for message in entry.messages:
        print_text(f"# {message.role}\n")
        for part in message.content:
            if isinstance(part, ToolCallPart):
                print_text(f"{part.name}({part.arguments})\n")
            elif text := getattr(part, "text", None):
                print_text(f"{text}\n")
            elif not isinstance(part, ToolResultPart):
                print_text(f"[{type(part).__struct_config__.tag}]\n")
    return 0


def _clear(id: int | None, *, unasked: bool) -> int:
    from brainwires_provider.cli.log import Log

    if not unasked:
        if not is_terminal(sys.stdin):
            complain("clear asks first, which needs a terminal; --yes deletes without asking")
            return 2
        what = "all conversations and the history of the prompt" if id is None else f"conversation {id}"
        if ask(f"delete {what}? [y/N]").lower() not in ("y", "yes"):
            return 1
    if id is not None:
        Log().entry(id)
    count = Log().clear(id)
    if id is None:
        with suppress(FileNotFoundError):
            os.unlink(place("history"))
    note(f"{count} deleted")
    return 0
