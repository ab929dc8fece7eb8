"""From a model's name, `"provider:model"`, and what the client was given to the place that a request goes to.

Here is the rule that keys stay home: a key from the environment goes to its own host, and to no other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from brainwires_provider.auth.base import Auth
from brainwires_provider.auth.hosts import is_own_host
from brainwires_provider.auth.keys import Key, header_fault
from brainwires_provider.errors import ConfigError
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.protocols.base.protocol import ChatProtocol
from brainwires_provider.providers.clouds import Place, auth_for, url_of
from brainwires_provider.providers.registry import Provider
from brainwires_provider.providers.table import ALIASES, PROVIDERS
from brainwires_provider.types import Options, Origin
from brainwires_provider.types.websocket import WebSocketOptions

__all__ = [
    "ProviderConfig",
    "Target",
    "find_row",
    "is_loopback",
    "protocol_named",
    "protocol_names",
    "resolve",
    "resolve_listing",
    "split_model",
]


class ProviderConfig(Struct, frozen=True):
    """The caller's settings for a provider: a built-in one, or one of the caller's own that is based on it.

    `based_on` is the built-in provider whose protocol and defaults it has (default: the one called `name`). A base URL
    given here needs its key given here too, unless it is on this machine. Plain http leaves this machine only with
    `allow_http`. `socket` is for providers over a WebSocket: how the server behaves there, and how connections are
    kept. `region`, `project` and `credentials` are for providers on clouds: see `providers.clouds.Place`. `local` is
    how models on this machine are run; a file that it names is the model of a request that names none. A header's
    value may be a callable or a reference, as `api_key` may.
    """

    name: str
    based_on: str | None = None
    api_key: Key | None = None
    base_url: str | None = None
    headers: Mapping[str, Key] = field(default_factory=dict)
    options: Options | None = None
    allow_http: bool = False
    socket: WebSocketOptions | None = None
    region: str | None = None
    project: str | None = None
    credentials: Any = None
    local: LocalModel | None = None

    def __repr__(self) -> str:
        """Names only: the key and the headers are secrets."""
        return f"ProviderConfig(name={self.name!r}, based_on={self.based_on!r}, base_url={_bare(self.base_url)!r})"


class Target(Struct, frozen=True):
    """Where one request goes: the row, the URL, and the key that belongs there."""

    provider: str
    row: Provider
    model: str
    base_url: str
    key: Key | None
    headers: Mapping[str, Key]
    options: Options | None
    origin: Origin
    """What this target's answers are marked with."""
    protocol: ChatProtocol
    """The row's protocol, one object for all its requests."""
    socket: WebSocketOptions = WebSocketOptions()
    auth: Auth | None = None
    """Who signs its requests, where no key says it all."""
    asked: tuple[tuple[str, str | None], ...] | None = None
    """The environment variables that had a say, and what they said; None where that cannot be told."""
    local: LocalModel | None = None
    """How it is run, where it runs on this machine."""

    def at_home_of(self, key: Key | None) -> Target:
        """The same, where this key belongs, for a row whose keys have hosts of their own and no other URL given."""
        home = self.row.home_of(key)
        at_default = self.base_url == self.row.base_url
        return replace(self, base_url=home) if at_default and home != self.base_url else self

    def is_current(self) -> bool:
        """Whether it would be the same if it were resolved again."""
        asked = self.asked
        return asked == () or (
            asked is not None and all(os.environ.get(name) == said for name, said in asked)
        )

    def __repr__(self) -> str:
        return f"Target({self.provider}:{self.model} at {_bare(self.base_url)})"


_protocols: dict[str, ChatProtocol] = {}


def _protocol(row: Provider) -> ChatProtocol:
    """A row's protocol object: it has no state, so one serves all."""
    protocol = _protocols.get(row.name)
    if protocol is None or PROVIDERS.get(row.name) is not row:
        protocol = _protocols[row.name] = row.protocol()
    return protocol


def protocol_names() -> tuple[str, ...]:
    """The names of the protocols that are built, as recordings and `decode` name them."""
    return tuple(sorted({_protocol(row).name for row in PROVIDERS.values()}))


def protocol_named(name: str) -> ChatProtocol:
    """The plain form of a protocol. Raises ConfigError naming those that are built."""
    for row in PROVIDERS.values():
        if _protocol(row).name == name:
            return _protocol(row)
    raise ConfigError(
        f"the protocol {name!r} is not built in this release; built are: {', '.join(protocol_names())}"
    )


def split_model(model: str) -> tuple[str, str]:
    """`"provider:model"`, split at the first colon. Raises ConfigError for a name without a provider."""
    provider, colon, name = model.partition(":")
    if not colon or not provider:
        raise ConfigError(
            f'a model is named "provider:model", but {model!r} names no provider; for example "openai-chat:{model}"'
        )
    return provider, name


def find_row(name: str) -> Provider:
    """Raises ConfigError with the nearest names."""
    row = PROVIDERS.get(ALIASES.get(name, name))
    if row is not None:
        return row
    near = get_close_matches(name, PROVIDERS, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"there is no provider {name!r}; {hint}known are: {', '.join(PROVIDERS)}")


def resolve(model: str, configs: Mapping[str, ProviderConfig]) -> Target:
    """Where a request for `model` goes, and with whose key.

    Raises ConfigError: an unknown provider, no model, no key, a key that would leave its home, or a header that cannot
    be set.
    """
    provider, name = split_model(model)
    config = configs.get(provider) or ProviderConfig(provider)
    row = find_row(config.based_on or provider)
    if not name:
        if row.default_model is None:
            raise ConfigError(f'name a model of {provider}: "{provider}:MODEL"')
        name = row.default_model
    for wrong in filter(None, map(header_fault, config.headers)):
        raise ConfigError(f"headers: {wrong}", provider=provider)
    auth: Auth | None = None
    if row.cloud is not None:
        base_url, key, auth = _on_cloud(row, config)
    else:
        base_url, from_code = _base_url(row, config)
        if row.wire == "websocket":
            base_url = _http_form(base_url)
        key = None if row.wire == "local" else _key(row, config, base_url, from_code=from_code)
    protocol = _protocol(row)
    target = Target(
        provider=provider,
        row=row,
        model=name,
        base_url=base_url,
        key=key,
        headers=config.headers,
        options=config.options,
        origin=Origin(protocol.name, provider, name),
        protocol=protocol,
        socket=config.socket or (row.socket if base_url == row.base_url else WebSocketOptions()),
        auth=auth,
        asked=_asked(row, config),
        local=config.local,
    )
    if row.wire != "local":
        fault = _url_fault(base_url, config.allow_http)
        if fault is not None:
            raise ConfigError(fault, provider=provider)
    return target.at_home_of(target.key) if row.host_by_key else target


def _asked(row: Provider, config: ProviderConfig) -> tuple[tuple[str, str | None], ...] | None:
    if row.cloud is not None:
        return None
    of_url = () if config.base_url is not None else (row.base_url_env,)
    of_key = () if config.api_key is not None else (row.key_env, row.other_key_env)
    return tuple((name, os.environ.get(name)) for name in (*of_url, *of_key) if name)


def resolve_listing(provider: str, configs: Mapping[str, ProviderConfig]) -> Target:
    """Where a provider's models are listed. Raises ConfigError as `resolve` does."""
    config = configs.get(provider) or ProviderConfig(provider)
    row = find_row(config.based_on or provider)
    return resolve(f"{provider}:{'*' if row.default_model is None else row.default_model}", configs)


def _base_url(row: Provider, config: ProviderConfig) -> tuple[str, bool]:
    """The base URL, and whether it was given in code."""
    form = row.base_url_form or str
    if config.base_url is not None:
        return form(config.base_url).rstrip("/").removesuffix(row.versioned), True
    if row.base_url_env and os.environ.get(row.base_url_env):
        return form(os.environ[row.base_url_env].strip()).rstrip("/").removesuffix(row.versioned), False
    if not row.base_url:
        raise ConfigError(
            f"{config.name} has no base URL of its own: pass base_url=, or set {row.base_url_env}",
            provider=config.name,
        )
    return row.base_url, False


def _on_cloud(row: Provider, config: ProviderConfig) -> tuple[str, Key | None, Auth | None]:
    """The base URL of a row on a cloud, and its key or who signs instead."""
    assert row.cloud is not None
    place = Place(config.name, config.region, config.project, config.credentials, config.api_key)
    given = config.base_url
    if given is None and row.base_url_env and os.environ.get(row.base_url_env, "").strip():
        base_url = os.environ[row.base_url_env].strip()
    elif given is None and config.api_key is not None and row.express_url is not None:
        base_url = row.express_url
    else:
        base_url = url_of(row.base_url, place) if given is None else given
    if any(name.lower() == "authorization" for name in config.headers):
        return base_url.rstrip("/"), None, None
    if config.api_key is not None and row.cloud == "google":
        return base_url.rstrip("/"), config.api_key, None
    at_home = given is None or is_own_host(row.cloud, given)
    return base_url.rstrip("/"), None, auth_for(row.cloud, place, service=row.service, at_home=at_home)


def _http_form(url: str) -> str:
    """A WebSocket's URL as the base URL of the HTTP API beside it."""
    for socket, http in (("ws://", "http://"), ("wss://", "https://")):
        if url.lower().startswith(socket):
            path, mark, query = (http + url[len(socket) :]).partition("?")
            return path.rstrip("/").removesuffix("/responses") + mark + query
    return url


def _key(row: Provider, config: ProviderConfig, base_url: str, *, from_code: bool) -> Key | None:
    """A key from the environment goes to the row's own host, or to a base URL that is also from there."""
    if config.api_key is not None:
        return config.api_key
    if row.keyless or any(name.lower() in ("authorization", row.auth) for name in config.headers):
        return None
    names = [name for name in (row.key_env, row.other_key_env) if name]
    said = (os.environ.get(name, "").strip() for name in names)
    key = next((value for value in said if value), None)
    if from_code and base_url != row.home_of(key).rstrip("/"):
        if is_loopback(base_url):
            return None
        raise ConfigError(
            f"{_bare(base_url)} was given as base_url in code, so its key must be given in code too: api_key=… "
            '(api_key="" for a server that wants none); a key from the environment stays with its own host',
            provider=config.name,
        )
    if key is not None:
        return key
    where = f"set {' or '.join(names)} or pass api_key=" if names else "pass api_key="
    raise ConfigError(f"no key for {config.name}: {where}", provider=config.name)


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "::1") or host.endswith(".localhost") or _is_127(host)


def _is_127(host: str) -> bool:
    parts = host.split(".")
    return (
        len(parts) == 4
        and parts[0] == "127"
        and all(p.isascii() and p.isdigit() and int(p) < 256 for p in parts)
    )


@lru_cache(64)
def _url_fault(base_url: str, allow_http: bool) -> str | None:
    """What is wrong with a base URL, if anything. Asked at each request, and always the same."""
    try:
        parts = urlsplit(base_url)
        host, scheme, user = parts.hostname, parts.scheme, parts.username
        _ = parts.port
    except ValueError:
        host, scheme, user = None, "", None
    if scheme not in ("http", "https") or not host:
        return f"base_url {_bare(base_url)!r} is no http(s) URL; it looks like https://host/v1"
    if user is not None:
        return (
            f"base_url {_bare(base_url)!r} holds a user name or password, which would show in logs; "
            'pass headers={"Authorization": …} instead'
        )
    if scheme == "http" and not allow_http and not is_loopback(base_url):
        return (
            f"{_bare(base_url)} is plain http, which would show the key to the network: use https, or "
            "ProviderConfig(allow_http=True) for a network that you trust"
        )
    return None


def _bare(url: str | None) -> str | None:
    """A URL without user, password and query, for messages."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return (
            f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
            if parts.hostname
            else url.partition("?")[0]
        )
    except ValueError:
        return "(unreadable)"
