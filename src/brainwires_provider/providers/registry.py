"""What a row of the table is."""

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
    """One row. `key_env` and `base_url_env` name environment variables; `checked` is the day the row was checked."""

    name: str
    protocol: Callable[[], ChatProtocol]
    base_url: str
    key_env: str | None = None
    other_key_env: str | None = None
    """Read where `key_env` is not set."""
    base_url_env: str | None = None
    base_url_form: Callable[[str], str] | None = None
    """Makes the base URL of what was given as one, where other forms than a URL are customary."""
    host_by_key: Mapping[str, str] = field(default_factory=dict)
    """By what a key begins with: the base URL that such a key belongs to, where that is not `base_url`."""
    keyless: bool = False
    """Asks for no key. One is sent only where it was given in code."""
    auth: str = "bearer"
    wire: Literal["http", "local", "websocket"] = "http"
    cloud: Cloud | None = None
    """Whose cloud it is on: requests are signed, or carry a token, unless a key is given. `base_url` may then have the
    places `{region}`, or `{host}`, `{location}` and `{project}`."""
    service: str = ""
    """What an AWS signature is for."""
    express_url: str | None = None
    """Where requests go that carry a key instead of a token."""
    socket: WebSocketOptions = WebSocketOptions()
    """How its WebSocket behaves, where it has one."""
    versioned: str = ""
    """What its protocol's paths begin with; a base URL that ends in it too is meant without it."""
    embeddings: Callable[[], EmbeddingProtocol] | None = None
    """How it embeds texts, where it does."""
    listing_url: Callable[[str], str] | None = None
    """Makes of the base URL the one below which the models are listed, where that is another."""
    listing_more: tuple[str, ...] = ()
    """Paths below it where more is told of the same models, to keys that may know it."""
    streams_only: bool = False
    """Streams its answer whatever is asked for."""
    default_model: str | None = None
    note: str = ""
    """What to know before using it; lists show it."""
    docs: str = ""
    checked: str = "2026-11-22"

    def home_of(self, key: Any) -> str:
        """The base URL that a key belongs to. What a callable will give is not known yet: `base_url`."""
        if isinstance(key, str):
            for prefix, url in self.host_by_key.items():
                if key.strip().startswith(prefix):
                    return url
        return self.base_url
