"""What to do about a request that failed before its caller saw anything: each rung once, then the error goes up.

Pure decisions. A rung says whether the request is sent again over a socket (whole, and where) or over HTTP.
"""

from __future__ import annotations

from enum import Enum

from brainwires_provider.errors import APIError, ConnectError, ProtocolError, RequestTimeout, TransportError
from brainwires_provider.protocols.base.protocol import ChatProtocol, Reply
from brainwires_provider.protocols.openai_responses.ws import fault_of
from brainwires_provider.sockets.seats import Lost, Unnamed
from brainwires_provider.transports.websocket.connection import Closed, HandshakeRefused
from brainwires_provider.types.websocket import SocketTraits

__all__ = ["Oversize", "Rung", "refusal_error", "rung_for"]

_NO_SOCKETS_HERE = (403, 404, 405, 426, 501)
_TOO_BIG = 1009


class Oversize(Exception):
    """The request is larger than what the endpoint takes in one frame."""


def refusal_error(refused: HandshakeRefused, protocol: ChatProtocol, now: float) -> APIError:
    """What the caller gets for a refused handshake. `now` is in seconds since 1970."""
    status = refused.status
    if 300 <= status < 400:
        return APIError(
            f"the server redirects (HTTP {status}), which is not followed, because the key would go along; set "
            "base_url to the address that answers",
            status=status,
        )
    return protocol.decode_error(Reply(status, refused.headers, refused.body, now))


class Rung(Enum):
    """What is tried next."""

    WHOLE = "sent again whole: the server no longer holds what it continued"
    ROTATE = "sent again on a new connection: the old one had reached its limit"
    OTHER_LANE = "sent again on another lane: the connection takes no more names"
    NO_LANES = "sent again on a connection of its own: the server has no lanes"
    RECONNECT = "sent again on a new connection: the old one was gone"
    NEW_KEY = "connected again with a fresh key"
    HTTP_ONCE = "sent over HTTP: too large for a WebSocket"
    HTTP = "sent over HTTP: no WebSocket came about"


_BY_FAULT = {
    "not_found": Rung.WHOLE,
    "connection_limit": Rung.ROTATE,
    "lane_limit": Rung.OTHER_LANE,
    "lane_name": Rung.NO_LANES,
    "lanes_unknown": Rung.NO_LANES,
    "in_flight": Rung.RECONNECT,
}
_OVER_HTTP = (Rung.HTTP, Rung.HTTP_ONCE)


def rung_for(
    error: Exception,
    *,
    traits: SocketTraits,
    used: frozenset[Rung],
    connected: bool,
    reused: bool,
    continued: bool,
    fresh_key: bool,
) -> Rung | None:
    """The rung for an error, or None: it goes to the caller.

    `connected`: there was a connection; `reused`: it had answered before; `continued`: the request continued an
    answer; `fresh_key`: the key is asked for at each connect.
    """
    if connected:
        rung = _after_sending(error, reused=reused, continued=continued)
    else:
        rung = _no_connection(error, fresh_key=fresh_key)
    if rung in used and rung is Rung.RECONNECT:
        rung = Rung.HTTP
    if rung is None or rung in used or (rung in _OVER_HTTP and not traits.http_fallback):
        return None
    return rung


def _no_connection(error: Exception, *, fresh_key: bool) -> Rung | None:
    match error:
        case HandshakeRefused(status=401):
            return Rung.NEW_KEY if fresh_key else None
        case HandshakeRefused(status=status):
            return Rung.HTTP if status in _NO_SOCKETS_HERE or 200 <= status < 300 else None
        case ConnectError() | ProtocolError() | RequestTimeout(clock="connect") | TransportError():
            return Rung.HTTP
    return None


def _after_sending(error: Exception, *, reused: bool, continued: bool) -> Rung | None:
    match error:
        case Oversize():
            return Rung.HTTP_ONCE
        case Unnamed():
            return Rung.NO_LANES
        case Lost(begun=True) | Lost(closed=Closed(how="too_big_in")):
            return None
        case Lost(closed=closed):
            if closed is not None and closed.code == _TOO_BIG:
                return Rung.HTTP_ONCE
            return Rung.RECONNECT if reused else Rung.HTTP
        case APIError():
            rung = _BY_FAULT.get(fault_of(error))
            if rung is None and "previous_response_id" in error.message:
                rung = Rung.WHOLE  # a server behind a server that keeps no answers says so in its own words
            return None if rung is Rung.WHOLE and not continued else rung
    return None
