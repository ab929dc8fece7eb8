"""What an untrusted configuration file may contain: one found in the current folder, that the user did not name.

Such a file may belong to somebody else's project. It may name models, options, what models accept, and built-in
providers at their own hosts. The module lists what is allowed; every other field is refused, including those that are
added later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from brainwires_provider.auth.keys import EnvKey
from brainwires_provider.config.lines import Path
from brainwires_provider.config.reading import Reader
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers.config import Config
from brainwires_provider.providers.registry import Provider
from brainwires_provider.providers.resolve import ProviderConfig, find_row
from brainwires_provider.providers.table import ALIASES, PROVIDERS

__all__ = ["ALLOWED", "check_found"]

Allowed: TypeAlias = "Mapping[str, Allowed | None]"

_NAMED = "*"  # any name of a model or a provider
_OPTIONS: Allowed = {
    **dict.fromkeys(("max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "strict")),
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "parallel_tool_calls")),
    "reasoning": dict.fromkeys(("effort", "budget_tokens", "summary")),
    "cache": dict.fromkeys(("mode", "ttl", "threshold")),
    "timeouts": dict.fromkeys(("connect", "first_event", "idle", "content", "attempt", "total")),
}
ALLOWED: Allowed = {
    "model": None,
    "options": _OPTIONS,
    "retry": dict.fromkeys(("attempts", "base", "cap", "longest_wait", "repairs")),
    "limits": dict.fromkeys(("rpm", "tpm", "itpm", "otpm", "concurrency", "learn")),
    "budget": dict.fromkeys(("usd", "tokens", "unpriced")),
    "hedge": dict.fromkeys(("after", "share")),
    "breaker": dict.fromkeys(("failures", "window", "rest")),
    "prices": None,
    "models": {_NAMED: {"model": None, "options": _OPTIONS}},
    "providers": {
        _NAMED: {"based_on": None, "base_url": None, "api_key": None, "options": _OPTIONS, "models": None}
    },
}
"""The allowed fields, as nested tables. The values of `model`, `based_on`, `base_url` and `api_key` are checked
too."""

_REFUSED = (
    "this file was merely found and is not trusted, so it may not decide where anything is sent or what is read from "
    "this machine"
)
_LOOPBACK = re.compile(
    r"(?:https?|wss?)://(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?",
    re.IGNORECASE,
)
_MODEL = re.compile(r"(?!arn:)[A-Za-z0-9._:/@+~-]*", re.IGNORECASE)  # an ARN contains an account
_STEP = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def check_found(reader: Reader, document: Mapping[str, Any], config: Config) -> bool:
    """Report every field that is not allowed; returns whether there was any. `config` was read from `document`."""
    reported = [reader.fault(path, fault) for path, fault in _refusals(document, config)]
    return any(reported)


def _refusals(document: Mapping[str, Any], config: Config) -> Iterator[tuple[Path, str]]:
    yield from ((path, _REFUSED) for path in _beyond(document, ALLOWED, ()))
    for provider in config.providers:
        yield from _of_provider(provider, ("providers", provider.name))
    names: list[tuple[Path, str | None]] = [(("model",), config.model)]
    for name, named in config.models.items():
        is_short = isinstance(document["models"][name], str)
        names.append((("models", name) if is_short else ("models", name, "model"), named.model))
    own = {provider.name: provider for provider in config.providers}
    for path, model in names:
        if model is not None and model not in config.models and not _is_plain_model(model, own):
            yield path, f"{_REFUSED}: it names a file, an account or a path"


def _beyond(value: Any, allowed: Allowed | None, path: Path) -> Iterator[Path]:
    """The paths of the fields that are not allowed."""
    if not isinstance(value, dict) or allowed is None:
        return
    for key, inner in value.items():
        if key in allowed or _NAMED in allowed:
            yield from _beyond(inner, allowed.get(key, allowed.get(_NAMED)), (*path, key))
        else:
            yield (*path, key)


def _of_provider(config: ProviderConfig, path: Path) -> Iterator[tuple[Path, str]]:
    row = find_row(config.based_on or config.name)
    built_in = PROVIDERS.get(ALIASES.get(config.name, config.name))
    if built_in is not None and built_in is not row:
        yield (
            (*path, "based_on"),
            f"{_REFUSED}: {config.name} is a built-in provider, and cannot be redefined",
        )
    if config.base_url is not None and not _is_keyless_loopback(config, row):
        yield (*path, "base_url"), f"{_REFUSED}; a server on this machine that gets no key is the exception"
    of_row = isinstance(config.api_key, EnvKey) and config.api_key.name in (row.key_env, row.other_key_env)
    if config.api_key and not of_row:
        yield (*path, "api_key"), f"{_REFUSED}; the provider's own variable is the exception"


def _is_keyless_loopback(config: ProviderConfig, row: Provider) -> bool:
    url = (row.base_url_form or str)(config.base_url or "")
    return row.cloud is None and not config.api_key and _LOOPBACK.fullmatch(url) is not None


def _is_plain_model(model: str, own: Mapping[str, ProviderConfig]) -> bool:
    """Whether a model's name is only a name: no path, on this machine or in a URL, and no account."""
    provider, _, name = model.partition(":")
    config = own.get(provider)
    try:
        row = find_row((config and config.based_on) or provider)
    except ConfigError:
        return False
    if _MODEL.fullmatch(name) is None or _STEP.search(name):
        return False
    return row.transport != "local" or _is_registered(name)


def _is_registered(name: str) -> bool:
    """Whether a local model's name refers to a file that the user registered, and not to one in the current folder."""
    from brainwires_provider.local.weights.registry import LocalRegistry

    if not name or name.startswith("ollama:"):
        return True
    try:
        return LocalRegistry().find(name) is not None
    except ConfigError:
        return False
