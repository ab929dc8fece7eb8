"""`providers`: a table of the built-in and the configured providers, and which of them have a key now.

A key is searched where a request would search it, and only whether it exists is reported. Finding the credentials of a
cloud can take seconds, so for those only the configuration and the environment are searched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, NoReturn
from urllib.parse import urlsplit

import msgspec
import typer
from msgspec import Struct

from brainwires_provider.auth.keys import Key
from brainwires_provider.cli.options import ConfigPath
from brainwires_provider.cli.output import dump, failure_shape
from brainwires_provider.cli.tables import print_table
from brainwires_provider.cli.terminal import complain, note, print_line
from brainwires_provider.config import load_config
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers import PROVIDERS, Provider, ProviderConfig, find_row, resolve_listing
from brainwires_provider.providers.table import ALIASES

__all__ = ["add_providers"]

Finish = Callable[[Callable[[], int]], NoReturn]
KeyState = Literal["yes", "no", "not needed", "unknown"]

_CLOUD_VARIABLES = {
    "aws": ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID"),
    "google": ("GOOGLE_APPLICATION_CREDENTIALS",),
}
_HEAD = ("PROVIDER", "KEY", "VARIABLE", "PROTOCOL", "HOST", "DEFAULT MODEL", "CHECKED", "DOCUMENTATION")


def add_providers(app: typer.Typer, finish: Finish) -> None:
    """Add the command. `finish` exits with the status that it returns."""

    @app.command("providers")
    def providers(
        *,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
        config: ConfigPath = None,
        ready: Annotated[
            bool, typer.Option("--ready", help="Only those that have a key or need none.")
        ] = False,
    ) -> None:
        """List the providers, their protocols, and whether their keys are set. No key is ever shown.

        \b
        brainwires providers --ready
        brainwires providers --json --config ./brainwires.toml
        """
        finish(lambda: _run(config, as_json=as_json, ready=ready))


class _Entry(Struct, frozen=True):
    """One provider. `key` is whether one is set, `problem` what would make a request fail, if anything."""

    name: str
    based_on: str
    aliases: tuple[str, ...]
    protocol: str
    transport: str
    host: str
    key_variables: tuple[str, ...]
    key: KeyState
    configured: bool
    problem: str | None
    default_model: str | None
    documentation: str
    checked: str
    embeddings: bool
    note: str


def _run(path: str | None, *, as_json: bool, ready: bool) -> int:
    try:
        configs = {each.name: each for each in load_config(path).providers}
    except ConfigError as error:
        if as_json:
            print_line(dump(failure_shape(error)))
        for line in error.message.splitlines():
            complain(line)
        return 1
    entries = [_entry(name, configs) for name in dict.fromkeys((*PROVIDERS, *configs))]
    if ready:
        entries = [entry for entry in entries if entry.key in ("yes", "not needed")]
    if as_json:
        for entry in entries:
            print_line(dump(msgspec.structs.asdict(entry)))
        return 0
    print_table(_HEAD, [_cells(entry) for entry in entries])
    for entry in entries:
        if entry.configured and entry.problem:
            note(f"{entry.name}: {entry.problem}")
        elif entry.note:
            note(f"{entry.name}: {entry.note}")
    return 0


# -- one provider --------------------------------------------------------------------------------------------


def _entry(name: str, configs: Mapping[str, ProviderConfig]) -> _Entry:
    config = configs.get(name) or ProviderConfig(name)
    row = find_row(config.based_on or name)
    look = _look_on_cloud if row.cloud else _look
    key, host, problem = look(row, config)
    return _Entry(
        name=name,
        based_on=row.name,
        aliases=tuple(alias for alias, meant in ALIASES.items() if meant == name),
        protocol=row.protocol().name,
        transport=row.transport,
        host=host,
        key_variables=_variables(row),
        key=key,
        configured=name in configs,
        problem=problem,
        default_model=row.default_model,
        documentation=row.docs,
        checked=row.checked,
        embeddings=row.embeddings is not None,
        note=row.note,
    )


def _variables(row: Provider) -> tuple[str, ...]:
    if row.cloud is not None:
        return _CLOUD_VARIABLES[row.cloud]
    return tuple(name for name in (row.key_env, row.other_key_env) if name)


def _look(row: Provider, config: ProviderConfig) -> tuple[KeyState, str, str | None]:
    """Whether a request would have a key, its host, and what would make it fail."""
    try:
        target = resolve_listing(config.name, {config.name: config})
    except ConfigError as error:
        key = _state(config.api_key)[0] if config.api_key else "no"
        if config.api_key is None and config.base_url is None and _is_set(_variables(row)):
            key = "yes"  # but the host is not known
        url = config.base_url or os.environ.get(row.base_url_env or "", "") or row.base_url
        return key, _host(url), error.message
    carried = [value for name, value in target.headers.items() if name.lower() in ("authorization", row.auth)]
    key, problem = _state(target.key or next(iter(carried), None))
    return key, "this machine" if row.transport == "local" else _host(target.base_url), problem


def _look_on_cloud(row: Provider, config: ProviderConfig) -> tuple[KeyState, str, str | None]:
    host = _host(config.base_url or row.base_url).replace("{host}", "by location")
    if config.api_key:
        key, problem = _state(config.api_key)
        return key, host, problem
    known = config.credentials is not None or _is_set(_variables(row))
    return "yes" if known else "unknown", host, None


def _is_set(variables: tuple[str, ...]) -> bool:
    return any(os.environ.get(name, "").strip() for name in variables)


def _state(key: Key | None) -> tuple[KeyState, str | None]:
    """Whether a key is set, and if not, why. The value of a reference is not kept."""
    if not key:
        return "not needed", None
    try:
        return ("yes", None) if isinstance(key, str) or key() else ("no", None)
    except ConfigError as error:
        return "no", error.message


def _host(url: str) -> str:
    """A URL's host and port, without anything in it that could be secret."""
    try:
        place = urlsplit(url if "//" in url else f"//{url}").netloc.rpartition("@")[2]
    except ValueError:
        place = ""
    return place or "your own"


# -- the table -----------------------------------------------------------------------------------------------


def _cells(entry: _Entry) -> tuple[str, ...]:
    protocol = entry.protocol + (" (WebSocket)" if entry.transport == "websocket" else "")
    based_on = f" ({entry.based_on})" if entry.name != entry.based_on else ""
    return (
        entry.name + based_on,
        entry.key,
        " ".join(entry.key_variables),
        protocol,
        entry.host,
        entry.default_model or "",
        entry.checked,
        entry.documentation,
    )
