"""How a Responses server behaves over a WebSocket, and when a connection to it has served its time.

Servers differ: some run several responses at once on one connection ("lanes"), most run one; some go on after an
error, some fall silent. A server that nobody described gets the careful defaults. Pure: time is passed in.
Reference: OpenAI's WebSocket mode guide.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

__all__ = ["SocketTraits"]

_SHORTEST = 300.0  # an error about the limit may be wrong; connections for one request each would be worse


class SocketTraits(Struct, frozen=True, kw_only=True):
    """What one server does over a WebSocket, and how its connections are kept. Times in seconds, sizes in bytes."""

    lanes: bool = False
    """Runs several responses at once on one connection, told apart by `stream_id`."""
    max_active: int = 16
    """Responses in flight on one connection, where it has lanes."""
    max_lanes: int = 32
    """Names of lanes in a connection's life."""
    keeps_after_error: bool = False
    """Goes on serving a connection after an error; else it is replaced."""
    keeps_stored: bool = False
    """Finds a stored answer from any connection. Else what one connection was told is known to that one only: a server
    that shares nothing may answer as if nothing had been said before, and not say so."""
    max_frame: int = 15 * 1024 * 1024
    """The largest request that goes over the socket; a larger one goes over HTTP."""
    max_buffered: int = 64 * 1024 * 1024
    """What of one answer may wait for its consumer; beyond it that answer fails, and no other."""
    max_sockets: int = 32
    """Connections to one endpoint; requests beyond what they carry wait in order."""
    kept_sockets: int = 8
    """As long as there are fewer connections, another is opened before a conversation that could go on is dropped."""
    lifetime: float = 3300.0
    """A connection is replaced at this age, between responses. The service ends it at 60 minutes."""
    jitter: float = 120.0
    """Up to so much is taken off `lifetime`, for each connection another share, so that they do not end together."""
    idle: float = 300.0
    """A connection that carries nothing, and no conversation that could go on, is closed after this."""
    drain: float = 30.0
    """How long a lane whose answer nobody wants any more may go on before its connection is given up."""
    ping: float | None = 20.0
    """Seconds between two keepalive pings, and how long the answer may take; None: no keepalive."""
    http_fallback: bool = True
    """Where no WebSocket comes about, requests go over HTTP."""
    fallback: float = 600.0
    """How long they then go there before a WebSocket is tried again."""

    def with_limit(self, limit: float) -> SocketTraits:
        """The same for a server that turned out to end its connections at the age `limit`."""
        return replace(self, lifetime=min(self.lifetime, max(0.9 * limit, _SHORTEST)))

    def expires(self, opened: float, share: float) -> float:
        """When a connection opened at `opened` is to be replaced; `share`, 0 to 1, is its part of the jitter."""
        return opened + self.lifetime - self.jitter * share
