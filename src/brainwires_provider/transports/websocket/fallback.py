"""When requests go over HTTP because no WebSocket works: how that is found out, and how a WebSocket is tried again."""

from __future__ import annotations

from collections.abc import Callable

from brainwires_provider.errors import APIError, ProtocolError, TransportError
from brainwires_provider.transports.websocket.handshake import HandshakeRefused

__all__ = ["Fallback", "is_no_websocket"]

_NO_WEBSOCKET = (403, 404, 405, 426, 501)
_NO_HTTP = (404, 405)
_FAILURES = 2
_FIRST_WAIT = 10.0


def is_no_websocket(error: Exception) -> bool:
    """Whether the failure of an opening handshake may mean that no WebSocket can be opened here."""
    if isinstance(error, (HandshakeRefused, APIError)):
        status = error.status
        return status is not None and (status in _NO_WEBSOCKET or 200 <= status < 300)
    return isinstance(error, (TransportError, ProtocolError))


class Fallback:
    """One endpoint's fallback to HTTP.

    It begins after two successive new connections that were refused, or died before any response; any response on a
    connection ends it. While it lasts, one request after a wait, which doubles up to `longest` seconds, is sent over a
    new WebSocket; where HTTP fails too, the next request is.
    """

    def __init__(self, time: Callable[[], float], longest: float) -> None:
        self._time = time
        self._longest = longest
        self._failures = 0
        self.is_on = False
        """Whether it has begun: it lasts until a WebSocket works."""
        self._wait = 0.0
        self._until = float("-inf")
        self._is_trial = False

    def takes(self) -> bool:
        """Whether a request that begins now goes over HTTP; if not, and it is on, that request is the trial."""
        if not self.is_on:
            return False
        if self._time() < self._until:
            return True
        self._until = self._time() + self._wait
        self._is_trial = True
        return False

    def connection_failed(self) -> None:
        """A new connection was refused, or died before any response."""
        if self.is_on and not self._is_trial:
            return  # of those that were tried at once, one counts
        self._failures += 1
        self.is_on = self._failures >= _FAILURES
        self._is_trial = False
        if self.is_on:
            self._wait = min(max(2 * self._wait, _FIRST_WAIT), self._longest)
            self._until = self._time() + self._wait

    def connection_works(self) -> None:
        """A response has begun on a connection."""
        self._failures, self.is_on = 0, False
        self._wait, self._until = 0.0, float("-inf")

    def http_failed(self, error: Exception) -> None:
        """A request over HTTP failed: if nothing serves it there, a WebSocket may be as good."""
        is_down = isinstance(error, (TransportError, ProtocolError))
        if isinstance(error, APIError) and error.status is not None:
            is_down = error.status in _NO_HTTP or error.status >= 500
        if is_down:
            self._wait, self._until = 0.0, float("-inf")
