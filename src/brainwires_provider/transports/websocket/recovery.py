"""What to do about a request over a WebSocket that failed before its caller had anything.

Each step is taken once; but another lane is sought as long as connections take some names, since each refusal lowers
the number of those that are asked for. After the last step the error is raised.
`next_step` is a pure decision; `Recovery` keeps, for one request, which steps were taken, and what they change.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from brainwires_provider.auth.redaction import redact
from brainwires_provider.errors import APIError, StreamInterrupted
from brainwires_provider.transports.websocket import LaneRequest
from brainwires_provider.transports.websocket.exchange import LaneExchange
from brainwires_provider.transports.websocket.fallback import is_no_websocket
from brainwires_provider.transports.websocket.pool import Pool
from brainwires_provider.types import Attempt
from brainwires_provider.types.websocket import WebSocketOptions

__all__ = ["Recovery", "Step", "next_step"]

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
_OVER_HTTP = (Step.HTTP, Step.HTTP_ONCE)

Fault = Callable[[APIError], str]
"""What a protocol's error is about, by the names above."""


class Recovery:
    """One request's way through a pool. `attempts` are the tries that were replaced."""

    def __init__(
        self, pool: Pool, request: LaneRequest, fault: Fault, *, fresh_key: bool, fork: bool
    ) -> None:
        self.pool = pool
        self.request = request
        self.exchange: LaneExchange | None = None
        self.attempts: list[Attempt] = []
        self._fault = fault
        self._fresh_key = fresh_key
        self._fork = fork
        self._used: frozenset[Step] = frozenset()
        self.over_http = False
        """Whether the request goes over HTTP from here on."""

    async def open(self) -> LaneExchange:
        """Send the request on a lane. Raises HandshakeRefused, and every ProviderError."""
        self.exchange = None
        self.exchange = await self.pool.exchange(self.request, full=bool(self._used), fork=self._fork)
        await self.exchange.send()
        return self.exchange

    def wait_for_websocket(self) -> None:
        """Go over HTTP while the pool's fallback lasts."""
        fallback = self.pool.fallback
        if self.pool.options.http_fallback and fallback.is_on and fallback.takes():
            self.over_http = True
            self.pool.counters.http_fallbacks += 1
            self.attempts.append(Attempt(Step.HTTP.value))

    def take(self, error: Exception) -> bool:
        """Prepare the next try; False if there is none."""
        if self.over_http:
            self.pool.fallback.http_failed(error)
            return False
        step = next_step(
            error,
            self.exchange,
            options=self.pool.options,
            is_http_used=self.pool.fallback.is_on,
            used=self._used,
            fresh_key=self._fresh_key,
            fault=self._fault,
        )
        if step is None:
            return False
        words = redact(_words(error, self.exchange), self.pool.dial.secrets)
        self.attempts.append(Attempt(f"{words}; {step.value}", getattr(error, "status", None)))
        if step is Step.FULL and isinstance(error, APIError):
            self.pool.parent_refused(self._fault(error))
        self._used |= {step}
        self.over_http = step in _OVER_HTTP
        self._apply(step)
        return True

    def _apply(self, step: Step) -> None:
        pool = self.pool
        match step:
            case Step.FULL:
                pool.counters.resent += 1
            case Step.ROTATE | Step.RECONNECT | Step.AGAIN:
                pool.counters.reconnected += 1
            case Step.NO_LANES:
                pool.without_lanes(for_good=True)
            case Step.HTTP | Step.HTTP_ONCE:
                pool.counters.http_fallbacks += 1
            case Step.OTHER_LANE | Step.NEW_KEY | Step.ALONE:
                pass


def next_step(
    error: Exception,
    exchange: LaneExchange | None,
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
    if step is None or step in used or (step in _OVER_HTTP and not options.http_fallback):
        return None
    return step


def _not_connected(error: Exception, *, fresh_key: bool) -> Step | None:
    if isinstance(error, APIError) and error.status == 401:
        return Step.NEW_KEY if fresh_key else None
    return Step.AGAIN if is_no_websocket(error) else None


def _after_sending(error: Exception, exchange: LaneExchange, fault: Fault) -> Step | None:
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


def _words(error: Exception, exchange: LaneExchange | None) -> str:
    if exchange is None:
        status = error.status if isinstance(error, APIError) else None
        return str(error) if status is None else f"the handshake was refused with status {status}"
    if exchange.oversize:
        return "the request is too large for one frame"
    return exchange.loss if isinstance(error, StreamInterrupted) else str(error)
