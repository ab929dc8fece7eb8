"""Where the WebSockets of one endpoint go, and how one is opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from brainwires_provider.auth.keys import Key, resolve_headers, resolve_key
from brainwires_provider.auth.redaction import field_secrets, header_secrets
from brainwires_provider.transports.websocket.connection import Closed, Handshake, Link
from brainwires_provider.types.suspects import Guarded, query_fields
from brainwires_provider.types.websocket import WebSocketOptions

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connect", "Dialer", "Endpoint"]

Connect = Callable[..., Awaitable[Link]]


class Endpoint(Guarded, Struct, frozen=True):
    """Where connections go, and with which headers. `headers` adds a key and the provider's own to the rest."""

    url: str
    provider: str
    key: Key | None
    own_headers: Mapping[str, Key]
    headers: Callable[[str, Mapping[str, str]], dict[str, str]]
    options: WebSocketOptions
    connect_timeout: float | None
    identity: tuple[Any, ...]
    """Endpoints that differ in it never share a connection."""

    def __repr__(self) -> str:
        return f"Endpoint({self.provider})"


class Dialer:
    """Opens the connections of one endpoint. The key is called for at each connect. `secrets`: what no error shows.

    `max_frame` is the limit of a frame, in bytes.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        connect: Connect,
        proxy: str | Literal["env"] | None,
        ssl_context: SSLContext | None,
        max_frame: int,
    ) -> None:
        self.secrets = field_secrets(query_fields(endpoint.url))
        self.connect_timeout = endpoint.connect_timeout
        self.url = endpoint.url
        self._endpoint = endpoint
        self._connect = connect
        self._proxy = proxy
        self._ssl = ssl_context
        self.max_frame = max_frame

    async def __call__(
        self, *, on_frame: Callable[[bytes], None], on_close: Callable[[Closed], None]
    ) -> Link:
        """Open one. Raises HandshakeRefused, ProviderError."""
        endpoint = self._endpoint
        key = "" if endpoint.key is None else await resolve_key(endpoint.key, endpoint.provider)
        own = await resolve_headers(endpoint.own_headers, endpoint.provider)
        headers = endpoint.headers(key, own)
        secrets = ((key,) if key else ()) + header_secrets(endpoint.own_headers, own) + field_secrets(headers)
        self.secrets += tuple(secret for secret in secrets if secret not in self.secrets)
        handshake = Handshake(
            endpoint.url,
            headers,
            connect_timeout=self.connect_timeout,
            proxy=self._proxy,
            ssl_context=self._ssl,
            ping_interval=endpoint.options.ping_interval,
            ping_timeout=endpoint.options.ping_interval,
            max_frame=self.max_frame,
        )
        return await self._connect(handshake, on_frame=on_frame, on_close=on_close)
