"""What to do about a request over a WebSocket that failed before its caller had anything: pure decisions.

Each step is taken once; but another lane is sought as long as connections take some names, since each refusal lowers
the number of those that are asked for. After the last step the error is raised.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from brainwires_provider.errors import APIError, StreamInterrupted
from brainwires_provider.transports.websocket.fallback import is_no_websocket
from brainwires_provider.types.websocket import WebSocketOptions

if TYPE_CHECKING:
    from brainwires_provider.transports.websocket.connection import Closed

__all__ = ["OVER_HTTP", "Fault", "Step", "Tried", "next_step", "words_for"]

_TOO_BIG = 1009


class Step(Enum):
    """What is tried next. The value is what `Response.attempts` shows."""

    FULL = "sent again whole: the server no longer holds what it continued"
    ROTATE = "sent again on a new connection: the old one had reached its limit"
    OTHER_LANE = "sent again on another lane: the connection takes no more names"
    NO_LANES = "sent again on a connection of its own: the server has no lanes"
    ALONE = "sent again on a connection of its own: the server did not name the lane of an answer or error"
    RECONNECT = "sent again on a new connection: the old one was gone"
    AGAIN = "tried again on another connection: this one was new, and no response began on it"
    NEW_KEY = "connected again with a fresh key"
    HTTP_ONCE = "sent over HTTP: too large for a WebSocket"
    HTTP = "sent over HTTP: no WebSocket came about"


_BY_FAULT = {
    "not_found": Step.FULL,
    "no_parents": Step.FULL,
    "instructions": Step.FULL,
    "connection_limit": Step.ROTATE,
    "lane_limit": Step.OTHER_LANE,
    "lane_name": Step.NO_LANES,
    "lanes_unknown": Step.NO_LANES,
    "in_flight": Step.RECONNECT,
}
OVER_HTTP = (Step.HTTP, Step.HTTP_ONCE)

Fault = Callable[[APIError], str]
"""What a protocol's error is about, by the names above."""


class Tried(Protocol):
    """The exchange that failed: what of it decides."""

    lane: Any
    began: bool
    oversize: bool
    overflowed: bool
    is_unnamed: bool
    closed: Closed | None

    @property
    def is_continued(self) -> bool:
        """Whether only the end of the history was sent."""
        ...

    @property
    def works(self) -> bool:
        """Whether the server has begun a response on its connection."""
        ...

    @property
    def loss(self) -> str:
        """How the exchange was lost, in words."""
        ...


def next_step(
    error: Exception,
    exchange: Tried | None,
    *,
    options: WebSocketOptions,
    is_http_used: bool,
    used: frozenset[Step],
    fresh_key: bool,
    fault: Fault,
) -> Step | None:
    """The step after an error, or None: it is raised.

    `exchange` is None if there was no connection; `is_http_used`: other requests go over HTTP already; `fresh_key`:
    the key is called for at each connect.
    """
    step = (
        _not_connected(error, fresh_key=fresh_key)
        if exchange is None
        else _after_sending(error, exchange, fault)
    )
    if step is Step.RECONNECT and step in used:
        step = Step.AGAIN
    if step is Step.AGAIN and (step in used or (is_http_used and options.http_fallback)):
        step = Step.HTTP
    if step is Step.OTHER_LANE and exchange is not None and exchange.lane.connection.lanes:
        return step
    if step is None or step in used or (step in OVER_HTTP and not options.http_fallback):
        return None
    return step


def _not_connected(error: Exception, *, fresh_key: bool) -> Step | None:
    if isinstance(error, APIError) and error.status == 401:
        return Step.NEW_KEY if fresh_key else None
    return Step.AGAIN if is_no_websocket(error) else None


def _after_sending(error: Exception, exchange: Tried, fault: Fault) -> Step | None:
    if exchange.oversize:
        return Step.HTTP_ONCE
    match error:
        case StreamInterrupted() if exchange.overflowed or exchange.began:
            return None
        case StreamInterrupted() if exchange.is_unnamed:
            return Step.ALONE
        case StreamInterrupted():
            if exchange.closed is not None and exchange.closed.code == _TOO_BIG:
                return Step.HTTP_ONCE
            return Step.RECONNECT if exchange.works else Step.AGAIN
        case APIError():
            step = _BY_FAULT.get(fault(error))
            return None if step is Step.FULL and not exchange.is_continued else step
    return None


def words_for(error: Exception, exchange: Tried | None) -> str:
    """What failed, as `Response.attempts` shows it."""
    if exchange is None:
        status = error.status if isinstance(error, APIError) else None
        return str(error) if status is None else f"the handshake was refused with status {status}"
    if exchange.oversize:
        return "the request is too large for one frame"
    return exchange.loss if isinstance(error, StreamInterrupted) else str(error)
