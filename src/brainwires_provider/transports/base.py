"""What a transport is: it opens one exchange for one request, and knows nothing of what the bytes mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from msgspec import Struct

from brainwires_provider.errors import StreamInterrupted
from brainwires_provider.types import Attempt, Continuation
from brainwires_provider.types.suspects import Guarded

__all__ = ["ByteExchange", "Exchange", "Outgoing", "Transport", "close_soon"]

_DRAIN_SECONDS = 1.0
_DRAIN_BYTES = 65_536


class Outgoing(Guarded, Struct, frozen=True, gc=False):
    """One request, final to the byte. Its headers hold the key: never show one of these."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout: float | None = None

    def __repr__(self) -> str:
        return f"Outgoing({self.method} {self.url.partition('?')[0]}, {len(self.body)} bytes)"


class Exchange(Protocol):
    """One request that was sent, and its answer: bytes over HTTP, or frames on a lane of a WebSocket.

    A `ByteExchange` gives bytes; `transports.websocket.exchange.LaneExchange` has no status, and gives whole messages.
    """

    @property
    def status(self) -> int | None:
        """Of HTTP; None over a WebSocket."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Tries that this exchange replaced."""
        ...

    @property
    def continuation(self) -> Continuation | None:
        """What of the history was sent, where a server continues answers."""
        ...

    @property
    def heard_at(self) -> float:
        """When the server last sent anything, by the loop's clock; 0 if only its messages show that."""
        ...

    @property
    def is_first(self) -> bool:
        """Whether no earlier request has had these headers."""
        ...

    async def drain(self) -> None:
        """The answer has ended: make the connection ready for another request, within a second."""
        ...

    def release(self) -> None:
        """Done: the connection is reused if the answer was read to its end, dropped if not."""
        ...

    def abort(self) -> None:
        """Drop the answer now; a waiting `messages` raises. May be called at any time, more than once."""
        ...


class ByteExchange:
    """An exchange that reads bytes."""

    __slots__ = ("attempts", "headers", "status")

    status: int
    headers: Mapping[str, str]
    attempts: tuple[Attempt, ...]

    continuation = None
    heard_at = 0.0
    is_first = True

    @property
    def ended(self) -> bool:
        """Whether the body is known to be read to its end; `read` gives nothing more then."""
        raise NotImplementedError

    async def read(self) -> bytes:
        """The next bytes, as they come; empty at the end. Raises StreamInterrupted when the body is cut."""
        raise NotImplementedError

    async def body(self, limit: int) -> bytes:
        """The whole body, or its beginning of at least `limit` bytes."""
        chunks: list[bytes] = []
        size = 0
        while size < limit and (chunk := await self.read()):
            chunks.append(chunk)
            size += len(chunk)
            if self.ended:
                break
        return b"".join(chunks)

    async def drain(self) -> None:
        """Read on to the body's end, bounded, so that the connection can be used again."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                size = 0
                while size < _DRAIN_BYTES and (chunk := await self.read()):
                    size += len(chunk)
        except (TimeoutError, StreamInterrupted):
            pass

    def release(self) -> None:
        """Done."""
        raise NotImplementedError

    def abort(self) -> None:
        """Drop the connection now."""
        raise NotImplementedError


class Transport(Protocol):
    """A way to a provider."""

    async def open(self, outgoing: Outgoing) -> ByteExchange:
        """Send, and wait for the answer's head. Raises ConnectError, RequestTimeout (connect), TransportError."""
        ...

    async def aclose(self) -> None:
        """Close this event loop's connections."""
        ...

    def abandon(self) -> bool:
        """Have every loop close its connections, since nobody else can; whether there are any.

        Does not wait. Callable from any thread, and from a finalizer.
        """
        ...


replacement: Transport | None = None
"""What carries the requests of every client in place of the network: set by tests only, see `testing.FakeProvider`."""


def close_soon(loop: asyncio.AbstractEventLoop, close: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Have a loop run `close`, without waiting; False if the loop is closed. From any thread, and a finalizer."""

    def begin() -> None:
        task = loop.create_task(close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError:  # it is closed
        return False
    return True


_closing: set[asyncio.Task[None]] = set()
