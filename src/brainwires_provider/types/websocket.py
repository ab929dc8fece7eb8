"""How requests go over WebSockets: what a server can do there, how its connections are kept, and what was counted.

Servers differ: some run several responses at once on one connection ("multiplexing"), most run one; some go on after
an error, some fall silent. A server that nobody described gets the careful defaults.
Reference: OpenAI's WebSocket mode guide.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

__all__ = ["WebSocketCounters", "WebSocketOptions", "WebSocketStats"]

_SHORTEST = 300.0  # an error about the limit may be wrong; connections for one request each would be worse


class WebSocketOptions(Struct, frozen=True, kw_only=True):
    """What one server does over a WebSocket, and how its connections are kept. Times in seconds, sizes in bytes."""

    multiplexing: bool = False
    """The server runs several responses at once on one connection, in lanes named by `stream_id`."""
    max_concurrent: int = 16
    """Responses in progress on one connection, with multiplexing."""
    max_lanes: int = 32
    """Names of lanes during one connection."""
    reuse_after_error: bool = False
    """The server goes on serving a connection after an error; else the connection is replaced."""
    shared_store: bool = False
    """The server finds a stored response from any connection. Else what was sent on one connection is known to that
    one only: a server that shares nothing may answer as if nothing had been said before, without reporting it."""
    max_request_bytes: int = 15 * 1024 * 1024
    """The largest request that is sent over the WebSocket; a larger one goes over HTTP."""
    max_buffered_bytes: int = 64 * 1024 * 1024
    """What of one response may wait for its consumer; beyond it that response fails, and no other."""
    max_connections: int = 32
    """Connections to one endpoint; requests beyond what they carry wait in order."""
    max_idle_connections: int = 8
    """As long as there are fewer connections, another is opened before a conversation that could go on is dropped."""
    max_connection_age: float = 3300.0
    """A connection is replaced at this age, between responses. The service ends it at 60 minutes."""
    age_jitter: float = 120.0
    """Up to this much is taken off `max_connection_age`, for each connection another share, so that they do not end
    together."""
    idle_timeout: float = 300.0
    """A connection that carries nothing, and no conversation that could go on, is closed after this."""
    drain_timeout: float = 30.0
    """How long a lane whose response nobody wants any more may go on before its connection is given up."""
    ping_interval: float | None = 20.0
    """Seconds between two keepalive pings, and how long the answer may take; None: no keepalive."""
    http_fallback: bool = True
    """Where no WebSocket can be opened, requests go over HTTP."""
    fallback_cooldown: float = 600.0
    """How long they then go there before a WebSocket is tried again."""

    def with_age_limit(self, limit: float) -> WebSocketOptions:
        """The same for a server that turned out to end its connections at the age `limit`."""
        return replace(self, max_connection_age=min(self.max_connection_age, max(0.9 * limit, _SHORTEST)))


class WebSocketStats(Struct, frozen=True):
    """A client's WebSocket traffic so far."""

    full: int = 0
    """Requests that carried the whole history."""
    incremental: int = 0
    """Requests that carried only what the server had not seen."""
    connected: int = 0
    """Connections opened."""
    reconnected: int = 0
    """Requests sent again because their connection had died, or had reached its limit, before they began."""
    resent: int = 0
    """Requests sent again in full, because the server no longer held what they continued."""
    http_fallbacks: int = 0
    """Requests that went over HTTP instead."""
    rotated: int = 0
    """Connections replaced because of their age."""
    abandoned: int = 0
    """Responses left before their end."""
    orphaned: int = 0
    """Events that belonged to no request in progress, and were dropped."""
    misses: Mapping[str, int] = field(default_factory=dict)
    """Why requests were sent in full, by the kind of reason."""


class WebSocketCounters:
    """The same, while it counts."""

    def __init__(self) -> None:
        self.full = self.incremental = self.connected = self.reconnected = self.resent = 0
        self.http_fallbacks = self.rotated = self.abandoned = self.orphaned = 0
        self.misses: dict[str, int] = {}

    def snapshot(self) -> WebSocketStats:
        """The figures as they stand."""
        return WebSocketStats(**{**vars(self), "misses": dict(self.misses)})
