"""Options for requests over a WebSocket: what the server supports, how connections are kept; and traffic statistics.

Servers differ: some run several responses at once on one connection (multiplexing), most run one; some continue after
an error, some fall silent. The defaults are safe for a server that is not known.
Reference: OpenAI's WebSocket mode guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from brainwires_provider.types.checked import Checked

__all__ = ["WebSocketCounters", "WebSocketOptions", "WebSocketStats"]

_SHORTEST = 300.0  # an error about the limit may be wrong; connections for one request each would be worse

_REFUSALS = 3


class WebSocketOptions(Checked, frozen=True, kw_only=True):
    """What a server supports over a WebSocket, and how connections are kept. Times in seconds, sizes in bytes."""

    multiplexing: bool = False
    """The server runs several responses at once on one connection, in lanes named by `stream_id`."""
    max_concurrent: int = 16
    """The largest number of responses in progress on one connection, with multiplexing."""
    max_lanes: int = 32
    """The largest number of different lanes during one connection."""
    reuse_after_error: bool = False
    """The server continues to serve a connection after an error. If not, the connection is replaced."""
    shared_store: bool = False
    """The server finds a stored response from any connection. If not, a response is continued only on the connection
    that it was received on: another one may answer as if there were no history, without reporting it."""
    continues: Literal["all", "stored", "none"] = "all"
    """Which responses the server continues: all, on the connection that they were received on; only those that it
    stores (`store=True`); or none."""
    repeats_instructions: bool = True
    """The system prompt is sent again with a request that continues a response. If not, the server keeps that of the
    response, and refuses another."""
    connection_headers: tuple[str, ...] = ("openai-organization", "openai-project", "openai-beta")
    """Headers of `extra_headers`, in lower case, that belong to the connection: requests share a connection only if
    these are equal. Keys always do, and so do the provider's own `headers`. Others cannot be sent with one request,
    and are reported as dropped."""
    max_request_bytes: int = 15 * 1024 * 1024
    """The largest request that is sent over the WebSocket; a larger one goes over HTTP."""
    max_buffered_bytes: int = 64 * 1024 * 1024
    """How much of one response may wait for its consumer. Beyond it that response fails, and no other."""
    max_connections: int = 32
    """The largest number of connections to one endpoint; requests that they cannot carry wait in order."""
    max_idle_connections: int = 8
    """Up to this many connections are kept for conversations that may continue; beyond it, the oldest is reused."""
    max_connection_age: float = 3300.0
    """A connection is replaced at this age, between responses. The service ends it at 60 minutes."""
    age_jitter: float = 120.0
    """Up to this much, different for each connection, is subtracted from `max_connection_age`, so that connections are
    not all replaced at once."""
    idle_timeout: float = 300.0
    """An unused connection without a conversation that may continue is closed after this time."""
    drain_timeout: float = 30.0
    """How long an abandoned response may continue on its lane before the connection is closed."""
    ping_interval: float | None = 20.0
    """Seconds between two keepalive pings, and the time limit for each reply. None: no pings."""
    http_fallback: bool = True
    """Send requests over HTTP if no WebSocket can be opened."""
    fallback_cooldown: float = 600.0
    """The longest time that requests are then sent over HTTP before one of them tries a WebSocket again. The first
    wait is 10 s, and each is twice the last."""

    def without_parent(self, fault: str, times: int) -> WebSocketOptions:
        """The same options, for a server that refused to continue a response, for the `times`th successive time."""
        if fault == "no_parents":
            return replace(self, continues="none")
        if fault == "instructions":
            return replace(self, repeats_instructions=False)
        is_usual = times >= _REFUSALS and self.continues == "all"
        return replace(self, continues="stored") if is_usual else self

    def with_age_limit(self, limit: float) -> WebSocketOptions:
        """The same options, for a server that ends its connections at the age `limit`."""
        return replace(self, max_connection_age=min(self.max_connection_age, max(0.9 * limit, _SHORTEST)))


class WebSocketStats(Struct, frozen=True):
    """Statistics of a client's WebSocket traffic so far."""

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
    """Why requests were sent in full, by the kind of reason; a field that differs is named, as `"field:tools"`."""


class WebSocketCounters:
    """The counters behind `WebSocketStats`."""

    def __init__(self) -> None:
        self.full = self.incremental = self.connected = self.reconnected = self.resent = 0
        self.http_fallbacks = self.rotated = self.abandoned = self.orphaned = 0
        self.misses: dict[str, int] = {}

    def snapshot(self) -> WebSocketStats:
        """The figures as they stand."""
        return WebSocketStats(**{**vars(self), "misses": dict(self.misses)})
