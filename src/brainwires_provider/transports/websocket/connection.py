"""One WebSocket: its frames both ways, and its end. What a frame means is not known here.

The parser and the frames are the Sans-I/O half of `websockets`; the asyncio half is ours, since that library's own
follows redirects with every header along, reports a close frame only once TCP has ended too, measures its
keepalive against a long upload, and keeps tasks that outlive a loop. Here is no task: frames go from the transport
straight to `on_frame`, so nothing can pause the reading, and what is sent leaves through one queue in small
pieces, so that the keepalive can distinguish a slow peer from a dead one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, Literal, cast

from msgspec import Struct
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from brainwires_provider.transports.websocket.handshake import (
    Answer,
    Handshake,
    HandshakeRefused,
    Opening,
    say,
)

__all__ = ["Closed", "Handshake", "HandshakeRefused", "Link", "LinkLost", "connect"]

_CLOSE_SECONDS = 0.9
_PIECE = 65_536
_PONG = 0x8A  # the first byte of a frame that replies to a ping


class Closed(Struct, frozen=True):
    """Why a link is over."""

    code: int | None
    """The server's close code, else the one that we sent, else 1006 if the peer was lost; None if we dropped it."""
    reason: str
    """The server's words where `how` is `"server"`, ours elsewhere."""
    how: Literal["server", "lost", "keepalive", "too_big_in", "protocol", "callback", "loop", "ours"]
    """`server`: it sent a close frame; `lost`: TCP ended without one; `keepalive`: silent too long; `too_big_in`: a
    message over `max_frame`; `protocol`: it broke RFC 6455; `callback`: `on_frame` raised; `loop`: the event loop
    ended; `ours`: `abort` or `aclose`. So 1009 with `server` is about what we sent, with `too_big_in` what it sent."""
    received: int | None = None
    sent: int | None = None
    error: Exception | None = None
    """What `on_frame` raised."""

    @property
    def words(self) -> str:
        """For messages: what has happened to the connection."""
        if self.code is None:
            return f"the connection was lost ({self.how})"
        reason = f", {self.reason!r}" if self.reason else ""
        return f"the connection was closed with code {self.code}{reason}"


class LinkLost(Exception):
    """The link is over; `closed` says why."""

    def __init__(self, closed: Closed) -> None:
        super().__init__(f"the WebSocket is closed ({closed.how}, code {closed.code})")
        self.closed = closed


class Link:
    """An open WebSocket. It belongs to the event loop that made it; a link that is dropped is aborted."""

    __slots__ = ("__weakref__", "_connection", "headers", "opened_at")

    def __init__(self, connection: _Connection, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self.headers = headers
        """Of the answer to the upgrade; names in lower case."""
        self.opened_at = connection.opened_at
        """By the loop's clock."""

    @property
    def closed(self) -> Closed | None:
        """How the connection was closed; None while it is open."""
        return self._connection.closed

    @property
    def is_open(self) -> bool:
        """Whether frames can still be sent."""
        return self._connection.closed is None and not self._connection.loop.is_closed()

    @property
    def heard_at(self) -> float:
        """When the server last sent anything, the reply to a ping included, by the loop's clock."""
        return self._connection.heard_at

    async def send(self, frame: bytes) -> None:
        """Send one text frame, and wait until the system has taken it. Raises LinkLost.

        There is no clock here. Cancelling is safe: the stream of frames stays whole, and a frame that was begun
        is sent when the peer reads again, so a caller who must not have it sent aborts the link.
        """
        connection = self._connection
        connection.check()
        connection.protocol.send_text(frame)
        await connection.drain()

    async def ping(self) -> float:
        """Seconds that a ping took there and back. Raises LinkLost; the clock is the caller's."""
        connection = self._connection
        connection.check()
        return await connection.ping()

    def abort(self) -> None:
        """Drop the connection now, without a closing handshake. On the loop's thread; at any moment, and often."""
        self._connection.abort()

    async def aclose(self) -> None:
        """Close with a closing handshake, within a second. Raises nothing but a cancellation, which aborts."""
        await self._connection.aclose()

    def __del__(self) -> None:
        self._connection.drop()

    def __repr__(self) -> str:
        return f"Link({'open' if self.is_open else self.closed})"


async def connect(
    handshake: Handshake, *, on_frame: Callable[[bytes], None], on_close: Callable[[Closed], None]
) -> Link:
    """Open a link. Every whole message goes to `on_frame`, text and binary alike, undecoded; then, once, `on_close`.

    Both are called by the event loop and must return at once. `on_close` never runs inside a call of ours, and no
    frame comes after `closed` is set. An exception in `on_frame` closes the link.

    Raises ConfigError (URL, header, proxy), ConnectError, RequestTimeout (connect), ProtocolError (no HTTP, no
    WebSocket), HandshakeRefused. Follows RFC 6455; redirects are not followed and nothing is tried twice.
    """
    opening = Opening(handshake)
    headers = await opening.run()
    assert opening.transport is not None
    connection = _Connection(opening.transport, opening.protocol, handshake, on_frame, on_close)
    connection.start(opening.answer)
    return Link(connection, headers)


class _Connection(asyncio.Protocol):
    """The open connection. `closed` is its state: None while open, and set once."""

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: ClientProtocol,
        handshake: Handshake,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[Closed], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = transport
        self.protocol = protocol
        self.closed: Closed | None = None
        self.opened_at = self.heard_at = self._moved_at = self._asked_at = self.loop.time()
        self._interval, self._patience = handshake.ping_interval, handshake.ping_timeout
        self._on_frame, self._on_close = on_frame, on_close
        self._over: asyncio.Future[None] = self.loop.create_future()
        self._held: bytearray | None = None
        self._parts = bytearray()
        self._out: deque[memoryview] = deque()
        self._reply: memoryview | None = None
        """The reply to a ping, while it is the last in `_out`."""
        self._paused = False
        self._senders: set[asyncio.Future[None]] = set()
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._pinged = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._guard = self._until_shutdown()
        self._shutting_down = False

    def start(self, answer: Answer) -> None:
        """Take over from `answer` what came with or after the head; nothing is passed on before `connect` returns."""
        self._held = answer.buffer
        self.transport.set_protocol(self)
        # TLS would take half a megabyte at once and the kernel several: a slow upload would look like a dead one.
        self.transport.set_write_buffer_limits(_PIECE)
        with contextlib.suppress(AttributeError, OSError):
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2 * _PIECE)
        # The first step of the guard, by hand: it does not wait, and nothing may come in between.
        with contextlib.suppress(StopIteration):
            anext(self._guard).__await__().send(None)
        self.loop.call_soon(self._release)
        if answer.ended is not None:
            self.loop.call_soon(self.connection_lost, answer.ended)
        elif self._interval is not None:
            self._timers["beat"] = self.loop.call_later(self._interval, self._beat)

    async def _until_shutdown(self) -> AsyncGenerator[None]:
        """Finalised by `loop.shutdown_asyncgens`, the one hook there is in the regular end of a loop."""
        try:
            yield
        finally:
            if not self._over.done():
                self._shutting_down = True
                self._end(Closed(None, "the event loop ended", "loop"))
                self.transport.abort()
                await asyncio.wait([self._over], timeout=_CLOSE_SECONDS)

    # Reading.

    def data_received(self, data: bytes) -> None:
        if self._held is not None:
            self._held += data
            return
        self.heard_at = self.loop.time()
        protocol = self.protocol
        protocol.receive_data(data)
        self._flush()
        try:
            for event in protocol.events_received():
                if self.closed is not None:
                    break
                self._take(cast(Frame, event))
        except BaseException as error:
            self._broke(error)
            if not isinstance(error, Exception):
                raise
        if self.closed is None and protocol.state is not State.OPEN:
            self._end(self._failed())
            self._linger()

    def _take(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                self._on_frame(bytes(frame.data))
            else:
                self._parts += frame.data
        elif opcode is Opcode.CONT:
            self._parts += frame.data
            if frame.fin:
                whole = bytes(self._parts)
                self._parts.clear()
                self._on_frame(whole)
        elif opcode is Opcode.PONG:
            waiting = self._pings.pop(bytes(frame.data), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def _broke(self, error: BaseException) -> None:
        kept = error if isinstance(error, Exception) else None
        self._end(Closed(None, f"on_frame raised {type(error).__name__}", "callback", error=kept))
        self.transport.abort()

    def _failed(self) -> Closed:
        """Why the parser left the open state: a close frame, or bytes that it refused."""
        protocol = self.protocol
        received, sent = protocol.close_rcvd, protocol.close_sent
        code = int(sent.code) if sent else None
        if received is not None:
            theirs = int(received.code)
            return Closed(theirs, received.reason, "server", received=theirs, sent=code)
        error = protocol.parser_exc
        how: Literal["too_big_in", "protocol"] = (
            "too_big_in" if isinstance(error, PayloadTooBig) else "protocol"
        )
        return Closed(code, str(error) or type(error).__name__, how, sent=code)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held:
            self.data_received(bytes(held))

    def eof_received(self) -> None:
        self._release()
        self._end(Closed(1006, "the server ended the connection without a close frame", "lost"))
        self._linger()  # the transport closes by itself, but only once all is written

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        why = f"the connection was lost ({say(exc)})" if exc else "the connection was lost"
        self._end(Closed(1006, why, "lost"))
        for timer in self._timers.values():
            timer.cancel()
        self._out.clear()
        if not self._over.done():
            self._over.set_result(None)
        if not self._shutting_down:
            with contextlib.suppress(StopIteration):
                self._guard.aclose().send(None)

    # Writing.

    def check(self) -> None:
        if self.closed is not None:
            raise LinkLost(self.closed)
        if self.loop.is_closed():
            raise LinkLost(Closed(None, "the event loop ended", "loop"))

    def _flush(self) -> None:
        """Queue what the parser wants sent. Of the replies to pings that cannot be sent yet, the last is enough."""
        for data in self.protocol.data_to_send():
            if not self._out and not self._paused and len(data) <= _PIECE and not self.transport.is_closing():
                self.transport.write(data)
                continue
            is_reply = data[0] == _PONG
            if is_reply and self._out and self._out[-1] is self._reply:
                self._out.pop()
            self._out.append(memoryview(data))
            self._reply = self._out[-1] if is_reply else None
            self._pump()

    def _pump(self) -> None:
        out = self._out
        while out and not self._paused:
            if self.transport.is_closing():
                return  # TCP has failed, and the loop does not know yet; it would log each write
            rest = out.popleft()
            if len(rest) > _PIECE:
                out.appendleft(rest[_PIECE:])
            self.transport.write(rest[:_PIECE])
        if not self._paused:
            _wake(self._senders)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._moved_at = self.loop.time()
        self._pump()

    async def drain(self) -> None:
        self._flush()
        if self.closed is None and (self._out or self._paused or self.transport.is_closing()):
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._senders.add(waiter)
            try:
                await waiter
            finally:
                self._senders.discard(waiter)
        if self.closed is not None:
            raise LinkLost(self.closed)

    async def ping(self) -> float:
        self._pinged += 1
        data = self._pinged.to_bytes(8, "big")
        waiter = self._pings[data] = self.loop.create_future()
        begun = self.loop.time()
        try:
            self.protocol.send_ping(data)
            self._flush()
            await waiter
        finally:
            self._pings.pop(data, None)
        self.check()
        return self.loop.time() - begun

    # The keepalive.

    def _beat(self) -> None:
        assert self._interval is not None
        self._timers["beat"] = self.loop.call_later(self._interval, self._beat)
        if not self._out:  # behind a long upload a ping says nothing, and would wait there
            self.protocol.send_ping(b"")
            self._flush()
        if self._patience is not None and "verdict" not in self._timers:
            self._asked_at = self.loop.time()
            self._timers["verdict"] = self.loop.call_later(self._patience, self._verdict)

    def _verdict(self) -> None:
        """Any byte is a sign of life, not only the pong: in either direction."""
        del self._timers["verdict"]
        if max(self.heard_at, self._moved_at) < self._asked_at:
            self._end(Closed(1006, f"no sign of life within {self._patience} s of a ping", "keepalive"))
            self.transport.abort()

    # The end.

    def _end(self, closed: Closed) -> None:
        if self.closed is not None:
            return
        self.closed = closed
        for timer in self._timers.values():
            timer.cancel()
        _wake(self._senders)
        _wake(self._pings.values())
        self.loop.call_soon(self._tell, closed)

    def _tell(self, closed: Closed) -> None:
        tell, self._on_close, self._on_frame = (
            self._on_close,
            _ignore,
            _ignore,
        )  # they hold the caller's world
        try:
            tell(closed)
        except Exception as error:  # noqa: BLE001 - the loop's handler is where such an error is seen
            self.loop.call_exception_handler(
                {"message": "on_close of a WebSocket raised", "exception": error}
            )

    def _linger(self) -> None:
        """The server is to end TCP; it is not waited for long."""
        self._timers["linger"] = self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)

    def abort(self) -> None:
        if self.loop.is_closed():
            self._forget()
        elif not self._over.done():
            self._end(Closed(None, "aborted here", "ours"))
            self.transport.abort()

    async def aclose(self) -> None:
        if self.loop.is_closed():
            self._forget()
            return
        if self.closed is None:
            self._end(Closed(1000, "closed here", "ours", sent=1000))
            self.protocol.send_close(1000)
            self._flush()
        try:
            await asyncio.wait([self._over], timeout=_CLOSE_SECONDS)
        finally:
            self.abort()
        await asyncio.wait([self._over], timeout=0.1)

    def drop(self) -> None:
        """From a finalizer: on any thread, at any moment."""
        if self.loop.is_closed():
            self._forget()
        elif not self._over.done():
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.abort)

    def _forget(self) -> None:
        """The loop is closed and calls nothing back any more: free the socket without a word."""
        if self.closed is None:
            self.closed = Closed(None, "the event loop ended", "loop")
        self._on_close = self._on_frame = _ignore
        transport: Any = self.transport
        while (secured := getattr(transport, "_ssl_protocol", None)) is not None:
            transport._closed = True
            transport = secured._transport
        if getattr(transport, "_sock", None) is not None:
            with contextlib.suppress(OSError):
                transport._sock.close()
            transport._sock = None


def _wake(waiters: Iterable[asyncio.Future[None]]) -> None:
    for waiter in list(waiters):
        if not waiter.done():
            waiter.set_result(None)


def _ignore(_: Any) -> None:
    pass
