"""`keys`: puts a provider's key into the system's keyring, from which the configuration refers to it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from getpass import getpass
from typing import Annotated, NoReturn

import typer

from brainwires_provider.cli.status import FAILED, FINE, MISUSED
from brainwires_provider.cli.terminal import complain, explain, is_terminal, note, print_text, standard_input
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers import find_row

__all__ = ["add_keys"]

Finish = Callable[[Callable[[], int]], NoReturn]

_SERVICE = "brainwires"


def add_keys(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that they return."""
    group = typer.Typer(
        help="Put a provider's key into the system's keyring.\n\n\b\nbrainwires keys set groq",
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    app.add_typer(group, name="keys")

    @group.callback()
    def keys() -> None:
        """Put a provider's key into the system's keyring."""

    @group.command("set")
    def set_key(
        provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="One of `brainwires providers`.")],
    ) -> None:
        """Put a provider's key into the keyring, in place of an earlier one. Needs the extra `keyring`.

        The key is asked for, and not shown; without a terminal it is read from standard input. It is never an
        argument, which other users of the machine could see. The lines that are printed belong into brainwires.toml.

        \b
        brainwires keys set groq
        pass show groq | brainwires keys set groq
        """
        finish(lambda: _set(provider))


def _set(provider: str) -> int:
    try:
        name = find_row(provider).name
        import keyring
    except ConfigError as error:
        complain(explain(error))
        return FAILED
    except ImportError:
        complain('keys in a keyring require an extra: pip install "brainwires-provider[keyring]"')
        return FAILED
    key = _read_key(name)
    if not key or not key.isprintable() or not key.isascii():
        complain("there is no key: it is one line of letters, digits and signs")
        return MISUSED
    try:
        keyring.set_password(_SERVICE, name, key)
    except Exception as error:  # noqa: BLE001 (backends raise any exception, with any text)
        complain(
            f"the keyring cannot be written ({type(error).__name__}): `keyring diagnose` shows its state"
        )
        return FAILED
    note(f"the key is in the keyring, as {_SERVICE!r} of {name!r}; brainwires.toml refers to it:")
    print_text(f'[providers.{name}]\napi_key = {{ keyring = "{_SERVICE}", user = "{name}" }}')
    return FINE


def _read_key(name: str) -> str:
    try:
        if is_terminal(sys.stdin):
            return getpass(f"key of {name} (not shown): ").strip()
        return standard_input().decode("ascii", "replace").strip()
    except EOFError:
        return ""
