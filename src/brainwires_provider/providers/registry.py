"""The definition of a provider: protocol, URL, key, and further facts about the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import Struct, field

from brainwires_provider.protocols.base.embeddings import EmbeddingProtocol
from brainwires_provider.protocols.base.protocol import ChatProtocol
from brainwires_provider.providers.clouds import Cloud
from brainwires_provider.types.websocket import WebSocketOptions

__all__ = ["Provider"]


class Provider(Struct, frozen=True):
    """A built-in provider: one service, or one kind of server."""

    name: str
    """The name before the colon of `"provider:model"`."""
    protocol: Callable[[], ChatProtocol]
    """Creates the protocol, with this service's quirks."""
    base_url: str
    """The default base URL. Empty: every user has one of their own."""
    key_env: str | None = None
    """The environment variable that holds the key."""
    other_key_env: str | None = None
    """A second such variable, read if `key_env` is not set."""
    base_url_env: str | None = None
    """The environment variable that may hold another base URL."""
    base_url_form: Callable[[str], str] | None = None
    """Converts a given base URL, for services whose address is customarily written in other forms than a URL."""
    host_by_key: Mapping[str, str] = field(default_factory=dict)
    """Base URLs by the prefix of a key, for services where a key belongs to one of several hosts."""
    keyless: bool = False
    """The service requires no key. One is sent only if it was given in code."""
    auth: str = "bearer"
    """How the key is sent: "bearer", or the name of the header that carries it."""
    transport: Literal["http", "local", "websocket"] = "http"
    """What carries its requests: HTTP, a WebSocket, or an engine on this machine."""
    cloud: Cloud | None = None
    """The cloud that it belongs to: requests are signed, or carry a token, unless a key is given. `base_url` may then
    contain the placeholders `{region}`, or `{host}`, `{location}` and `{project}`."""
    service: str = ""
    """The service's name in an AWS signature."""
    express_url: str | None = None
    """The base URL for requests with a key instead of a token (Vertex AI in express mode)."""
    socket: WebSocketOptions = WebSocketOptions()
    """How its WebSocket behaves, if it has one."""
    versioned: str = ""
    """The version with which the protocol's paths begin, such as "/v1"; it is removed from the end of a base URL."""
    embeddings: Callable[[], EmbeddingProtocol] | None = None
    """Creates the protocol of its embeddings. None: it has none."""
    listing_url: Callable[[str], str] | None = None
    """Converts the base URL to the one of its model list, if that is another."""
    listing_more: tuple[str, ...] = ()
    """Further paths with facts about the same models, which not every key may read."""
    streams_only: bool = False
    """The service streams every response, also to a request for a whole one."""
    default_model: str | None = None
    """The model of `"provider:"`, without a name after the colon."""
    note: str = ""
    """What to know before using it, shown in lists of providers."""
    docs: str = ""
    """The provider's documentation of the API."""
    checked: str = "2026-11-22"
    """The day on which these facts were checked."""

    def home_of(self, key: Any) -> str:
        """The base URL that a key belongs to; `base_url` for a callable, whose key is not known yet."""
        if isinstance(key, str):
            for prefix, url in self.host_by_key.items():
                if key.strip().startswith(prefix):
                    return url
        return self.base_url
