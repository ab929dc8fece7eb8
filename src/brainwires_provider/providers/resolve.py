"""Resolves a model's name, `"provider:model"`, and the caller's settings to the place where a request is sent.

The rule that protects keys is here: a key from the environment is sent to its provider's own host, and to no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from brainwires_provider.auth.base import Auth
from brainwires_provider.auth.hosts import is_own_host
from brainwires_provider.auth.keys import Key, header_fault
from brainwires_provider.auth.redaction import REDACTED
from brainwires_provider.errors import ConfigError
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.names import near_names
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.protocol import ChatProtocol
from brainwires_provider.providers.clouds import Place, auth_for, url_of
from brainwires_provider.providers.registry import Provider
from brainwires_provider.providers.table import ALIASES, PROVIDERS
from brainwires_provider.types import Options, Origin, Request
from brainwires_provider.types.checked import Setting, check
from brainwires_provider.types.suspects import Guarded, may_be_key, secret_fields, url_holds_secret
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


_MAKERS = {
    "gpt-": "openai",
    "chatgpt-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "claude": "anthropic",
    "gemini": "google",
    "grok": "xai",
    "mistral": "mistral",
    "magistral": "mistral",
    "codestral": "mistral",
    "deepseek": "deepseek",
    "command-": "cohere",
    "glm-": "zai",
    "kimi": "moonshot",
    "sonar": "perplexity",
    "smollm2": "local",
}
"""The provider that is suggested for a model without one, by the beginning of the model's name."""


class ProviderConfig(Guarded, Setting, frozen=True):
    """The caller's settings for a built-in provider, or a provider of the caller's own that is based on one."""

    name: str
    """The name before the colon of `"provider:model"`."""
    based_on: str | None = None
    """The built-in provider whose protocol and defaults it has. None: the one called `name`."""
    api_key: Key | None = None
    """The key: text, a callable that returns it, or a reference such as `EnvKey`. "": the server requires none.
    None: from the provider's environment variable."""
    base_url: str | None = None
    """The base URL. One given here requires `api_key` too, unless it is on this machine. None: the provider's own."""
    headers: Mapping[str, Key] = field(default_factory=dict)
    """Headers of every request. A value may be a callable or a reference, as `api_key` may."""
    options: Options | None = None
    """Default options of requests to it."""
    allow_http: bool = False
    """Allow plain http to another machine."""
    socket: WebSocketOptions | None = None
    """For providers over a WebSocket: how the server behaves, and how connections are kept."""
    region: str | None = None
    """For providers on clouds: the AWS region, or the Google Cloud location. None: from the environment."""
    project: str | None = None
    """The Google Cloud project. None: from the environment."""
    credentials: Any = None
    """AWS: `Credentials`, a function that returns them, or a profile's name. Google Cloud: a file's path, or
    google-auth's own Credentials. None: found as the cloud's own tools do."""
    local: LocalModel | None = None
    """Settings of models that run on this machine. A `path` in it is the model of a request that names none."""
    models: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    """What models accept, where `providers.models` does not know it or is wrong: by the model's name, or by its
    beginning and `*`, the name of a known model with the same facts, or single facts, with `like` for the others."""

    def __post_init__(self) -> None:
        check(self)
        given = self.credentials
        is_known = given is None or isinstance(given, (str, os.PathLike)) or callable(given)
        if not is_known and not hasattr(given, "access_key") and not hasattr(given, "refresh"):
            raise TypeError(
                "ProviderConfig.credentials takes Credentials, a function that returns them, a profile's name, or a "
                f"file's path, not a value of type {type(given).__name__}"
            )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Names only, because the key and the headers are secrets."""
        return [("name", self.name), ("based_on", self.based_on), ("base_url", _bare(self.base_url))]

    def __reduce__(self) -> Any:
        if isinstance(self.api_key, str) and self.api_key:
            self._refuse_pickling("api_key")
        if any(secret_fields(self.headers)):
            self._refuse_pickling("headers")
        if self.base_url is not None and _holds_secret(self.base_url):
            self._refuse_pickling("base_url")
        return Struct.__reduce__(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> ProviderConfig:
        return replace(self, headers=dict(self.headers), options=deepcopy(self.options, memo))


class Target(Guarded, Struct, frozen=True):
    """Where one request is sent: the provider, the URL, and the key that belongs there."""

    provider: str
    row: Provider
    model: str
    base_url: str
    key: Key | None
    headers: Mapping[str, Key]
    options: Options | None
    origin: Origin
    """The origin of the parts in this target's responses."""
    protocol: ChatProtocol
    """The provider's protocol, one object for all its requests."""
    socket: WebSocketOptions = WebSocketOptions()
    auth: Auth | None = None
    """Signs its requests, or adds a token, if a key alone is not enough."""
    asked: tuple[tuple[str, str | None], ...] | None = None
    """The environment variables that were read, and their values; None if other sources were read too."""
    local: LocalModel | None = None
    """Settings of a model that runs on this machine."""
    facts: ModelFacts = UNKNOWN
    """What the model accepts."""

    def __deepcopy__(self, memo: object) -> Target:
        return self  # of a conversation, for example

    def at_home_of(self, key: Key | None) -> Target:
        """The same target at the host that a key belongs to, for providers whose keys have different hosts."""
        home = self.row.home_of(key)
        at_default = self.base_url == self.row.base_url
        return replace(self, base_url=home) if at_default and home != self.base_url else self

    def facts_for(self, request: Request) -> ModelFacts:
        """What the model accepts. Of a model on this machine, whether it has tools is read from its file if needed."""
        facts = self.facts
        if self.row.transport != "local" or facts.tools is not None:
            return facts
        if not request.tools and not any(message.role == "tool" for message in request.messages):
            return facts
        from brainwires_provider.local.weights.find import model_takes_tools

        return replace(facts, tools=model_takes_tools(self.model, self.local))

    def is_current(self) -> bool:
        """Whether resolving it again would give the same target."""
        asked = self.asked
        return asked == () or (
            asked is not None and all(os.environ.get(name) == said for name, said in asked)
        )

    @property
    def full_name(self) -> str:
        """Of the model: `"provider:model"`."""
        return f"{self.provider}:{self.model}"

    def __repr__(self) -> str:
        return f"Target({self.full_name} at {_bare(self.base_url)})"


_protocols: dict[str, ChatProtocol] = {}


def _protocol(row: Provider) -> ChatProtocol:
    """A provider's protocol object. It has no state, so one is enough."""
    protocol = _protocols.get(row.name)
    if protocol is None or PROVIDERS.get(row.name) is not row:
        protocol = _protocols[row.name] = row.protocol()
    return protocol


def protocol_names() -> tuple[str, ...]:
    """The names of all protocols, as recordings and `brainwires decode` use them."""
    return tuple(sorted({_protocol(row).name for row in PROVIDERS.values()}))


def protocol_named(name: str) -> ChatProtocol:
    """The protocol of that name, with the quirks of the first provider that has it.

    Raises ConfigError for an unknown name.
    """
    for row in PROVIDERS.values():
        if _protocol(row).name == name:
            return _protocol(row)
    raise ConfigError(
        f"there is no protocol {name!r} in this release; known are: {', '.join(protocol_names())}"
    )


def split_model(model: str) -> tuple[str, str]:
    """Split `"provider:model"` at the first colon. Raises ConfigError for a name without a provider."""
    provider, colon, name = model.partition(":")
    if not colon or not provider:
        raise ConfigError(
            f'a model is named "provider:model", but {model!r} names no provider{_suggestion(model)}; '
            "`brainwires providers` lists them"
        )
    return provider, name


def _suggestion(model: str) -> str:
    """The model with the provider that is probably meant, for an error message."""
    from brainwires_provider.local.weights.known import find_known  # reads a table

    before, _, after = model.partition("/")
    if after and ALIASES.get(before, before) in PROVIDERS:
        return f'; did you mean "{before}:{after}"?'
    if find_known(model) is not None:
        return f'; did you mean "local:{model}"?'
    maker = next((maker for start, maker in _MAKERS.items() if model.lower().startswith(start)), None)
    return f'; did you mean "{maker}:{model}"?' if maker else f'; for example "openrouter:{model}"'


def find_row(name: str, own: Iterable[str] = ()) -> Provider:
    """The built-in provider of that name or alias. Raises ConfigError with the most similar names, `own` included."""
    row = PROVIDERS.get(ALIASES.get(name, name))
    if row is not None:
        return row
    others = [
        alias for alias in ALIASES if alias.replace("_", "-") not in PROVIDERS
    ]  # not the same name twice
    known = dict.fromkeys(each for each in (*own, *others, *PROVIDERS) if each != name)
    near = near_names(name, known)
    raise ConfigError(f"there is no provider {name!r}{near}; `brainwires providers` lists them")


def resolve(model: str, configs: Mapping[str, ProviderConfig]) -> Target:
    """Where a request for `model` is sent, and with which key.

    Raises ConfigError for an unknown provider, no model, no key, a key that would be sent to another host than its
    own, or a header that cannot be set.
    """
    provider, name = split_model(model)
    config = configs.get(provider) or ProviderConfig(provider)
    row = find_row(config.based_on or provider, configs)
    if not name:
        if row.default_model is None:
            raise ConfigError(f'name a model of {provider}: "{provider}:MODEL"')
        name = row.default_model
    if row.transport != "local" and not {".", ".."}.isdisjoint(name.split("/")):
        raise ConfigError(f"{model!r} names no model: '.' and '..' would change the path of the URL")
    for wrong in filter(None, map(header_fault, config.headers)):
        raise ConfigError(f"headers: {wrong}", provider=provider)
    auth: Auth | None = None
    if row.cloud is not None:
        if config.base_url is not None:
            _check_url(config.base_url, config, row)
        base_url, key, auth = _on_cloud(row, config)
    else:
        base_url, from_code = _base_url(row, config)
        if row.transport == "websocket":
            base_url = _http_form(base_url)
        if row.transport != "local":
            _check_url(base_url, config, row)  # before its key: a URL that cannot be needs none
        key = None if row.transport == "local" else _key(row, config, base_url, from_code=from_code)
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
        facts=_facts(name, row, config),
    )
    if row.cloud is not None:
        _check_url(base_url, config, row)
    return target.at_home_of(target.key) if row.host_by_key else target


def _facts(model: str, row: Provider, config: ProviderConfig) -> ModelFacts:
    # With its table of models it is loaded when a first model is resolved.
    from brainwires_provider.providers.facts import facts_of

    return facts_of(model, row.name, config.models)


def _asked(row: Provider, config: ProviderConfig) -> tuple[tuple[str, str | None], ...] | None:
    if row.cloud is not None:
        return None
    of_url = () if config.base_url is not None else (row.base_url_env,)
    of_key = () if config.api_key is not None else (row.key_env, row.other_key_env)
    return tuple((name, os.environ.get(name)) for name in (*of_url, *of_key) if name)


def resolve_listing(provider: str, configs: Mapping[str, ProviderConfig]) -> Target:
    """The target of a provider's model list. Raises ConfigError as `resolve` does."""
    config = configs.get(provider) or ProviderConfig(provider)
    row = find_row(config.based_on or provider, configs)
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
    """The base URL of a provider on a cloud, and its key, or the authentication in place of a key."""
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
    """The base URL of the HTTP API that belongs to a WebSocket's URL."""
    for socket, http in (("ws://", "http://"), ("wss://", "https://")):
        if url.lower().startswith(socket):
            path, mark, query = (http + url[len(socket) :]).partition("?")
            return path.rstrip("/").removesuffix("/responses") + mark + query
    return url


def _key(row: Provider, config: ProviderConfig, base_url: str, *, from_code: bool) -> Key | None:
    """A key from the environment is sent to the provider's own host, or to a base URL from the environment."""
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
            '(api_key="" for a server that requires none); a key from the environment stays with its own host',
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


def _check_url(url: str, config: ProviderConfig, row: Provider) -> None:
    has_key = bool(config.headers) or bool(config.api_key if row.keyless else config.api_key != "")
    fault = _url_fault(url, config.allow_http, has_key)
    if fault is not None:
        raise ConfigError(fault, provider=config.name)


@lru_cache(64)
def _url_fault(base_url: str, allow_http: bool, has_key: bool) -> str | None:
    """What is wrong with a base URL, or None. Cached, since every request checks it."""
    try:
        parts = urlsplit(base_url)
        host, scheme, user = parts.hostname, parts.scheme, parts.username
        _ = parts.port
    except ValueError:
        host, scheme, user = None, "", None
    if scheme not in ("http", "https") or not host:
        return f"base_url {_bare(base_url)!r} is not an http(s) URL; one looks like https://host/v1"
    if "#" in base_url:
        return f"base_url {_bare(base_url)!r} has a fragment (#…), behind which no path is sent: remove it"
    if user is not None:
        return (
            f"base_url {_bare(base_url)!r} holds a user name or password, which would show in logs; "
            'pass headers={"Authorization": …} instead'
        )
    if scheme == "http" and not allow_http and not is_loopback(base_url):
        return (
            f"{_bare(base_url)} is plain http, which shows {'the key and the' if has_key else 'the'} messages to the "
            "network: use https, or, in a network that you trust, allow_http=True (of the client or the "
            "ProviderConfig; allow_http = true in the configuration)"
        )
    return None


def _bare(url: str | None) -> str | None:
    """A URL without user name, password and query, for messages. What is no URL may be anything, a key too."""
    if url is None:
        return None
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url.removeprefix("//")
    place = rest.partition("?")[0].partition("#")[0]
    try:
        _ = urlsplit(f"//{place}").port
        is_plain = "@" not in place
    except ValueError:
        is_plain = False
    if not is_plain:  # the last "@" ends the password, which may contain any character
        place = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]
    return REDACTED if may_be_key(place) and not mark else f"{scheme}{mark}{place}"


def _holds_secret(url: str) -> bool:
    try:
        return url_holds_secret(url)
    except ValueError:
        return True  # nobody can say what it is
