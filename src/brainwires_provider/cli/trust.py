"""`trust`: records that a configuration file of the current folder is trusted, until it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from brainwires_provider.cli.terminal import complain, note
from brainwires_provider.config.load import FILE, trust
from brainwires_provider.config.records import forget, whole_path
from brainwires_provider.errors import ConfigError

__all__ = ["add_trust"]

Finish = Callable[[Callable[[], int]], NoReturn]


def add_trust(app: typer.Typer, finish: Finish) -> None:
    """Add the command. `finish` exits with the status that it returns."""

    @app.command("trust")
    def trust_file(
        file: Annotated[
            str, typer.Argument(metavar="FILE", help="The configuration file.", show_default=True)
        ] = FILE,
        *,
        revoke: Annotated[bool, typer.Option("--revoke", help="Trust the file no longer.")] = False,
    ) -> None:
        """Trust a configuration file with its present content. A changed file is not trusted.

        A brainwires.toml that was found in the current folder may set models, options, and built-in providers at
        their own hosts. A trusted file may also set where requests are sent, and which keys, files and environment
        variables are read. Read it before you trust it.

        \b
        brainwires trust
        brainwires trust ~/project/brainwires.toml
        brainwires trust --revoke
        """
        finish(lambda: _revoke(file) if revoke else _trust(file))


def _trust(file: str) -> int:
    try:
        _, digest = trust(file)
    except ConfigError as error:
        for line in error.message.splitlines():
            complain(line)
        return 1
    note(f"{whole_path(file)}: trusted until it changes (SHA-256 {digest})")
    note("`brainwires doctor` shows where requests are sent")
    return 0


def _revoke(file: str) -> int:
    if not forget(file):
        complain(f"{whole_path(file)} was not trusted")
        return 1
    note(f"{whole_path(file)}: not trusted any more")
    return 0
