"""What Tab completes at the prompt of a conversation: commands, names of models that are known here, and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from brainwires_provider.errors import ConfigError
from brainwires_provider.providers import PROVIDERS, Config

__all__ = ["complete", "known_models"]

_RECENT = 50  # conversations of the log


def complete(
    line: str, commands: Iterable[tuple[str, str]], models: Callable[[], Iterable[str]]
) -> list[str]:
    """The possible lines in place of one up to the cursor, each once.

    `commands` are names, and what each takes: "NAME" is a model, "FILE" a path.
    """
    name, space, rest = line.partition(" ")
    if not name.startswith("/"):
        return []
    if not space:
        return [f"/{each} " if takes else f"/{each}" for each, takes in commands if each.startswith(name[1:])]
    takes = dict(commands).get(name[1:])
    if takes == "NAME":
        return [f"{name} {each}" for each in dict.fromkeys(models()) if each.startswith(rest.lstrip())]
    if takes == "FILE":
        return [f"{name} {each}" for each in _files(rest.lstrip())]
    return []


def _files(start: str) -> list[str]:
    folder, last = os.path.split(start)
    with suppress(OSError), os.scandir(os.path.expanduser(folder) or ".") as found:
        fits = [each for each in found if each.name.startswith(last) and (last or each.name[0] != ".")]
        return sorted(os.path.join(folder, each.name) + ("/" if each.is_dir() else "") for each in fits)
    return []


def known_models(config: Config, present: str) -> Iterator[str]:
    """The present model, those of the configuration, of this machine and of the log, and each provider's prefix."""
    from brainwires_provider.cli.log import Log
    from brainwires_provider.local.weights.registry import LocalRegistry

    yield present
    yield from config.models
    if config.model is not None:
        yield config.model
    with suppress(ConfigError):
        yield from (f"local:{each.name}" for each in LocalRegistry().list())
    with suppress(ConfigError):
        yield from (each.model for each in Log().last(_RECENT))
    for provider in PROVIDERS.values():
        yield f"{provider.name}:{provider.default_model or ''}"
    yield from (f"{provider.name}:" for provider in config.providers)
