"""Connections of a scripted server, on its event loop: each reads requests and plays scripted answers.

Bytes are read and written with asyncio's streams, with three additions: a reader that reports when the client
disconnects even while an answer is stalled, one timer per connection that limits every wait at no cost per chunk, and
a wheel that paces any number of streams with one timer per millisecond.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

from brainwires_provider.testing.answers import (
    Answer,
    Close,
    Drop,
    Gate,
    Paced,
    RecordedRequest,
    Stall,
    Step,
    Wait,
    chunk,
    framing_of,
    has_header,
    is_bodiless,
    plain_text,
    response_head,
    response_headers,
    steps_of,
)

if TYPE_CHECKING:
    from ssl import SSLContext

_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
_MAX_LINE = 1 << 20
_IDLE = "the next request"


class Host(Protocol):
    """What a connection requires of its server. All of it is called on the server's event loop."""

    timeout: float
    ssl_context: SSLContext | None
    failures: list[str]

    def _answer(self, request: RecordedRequest, *, reused: bool) -> Answer: ...
    def _gate(self, name: str) -> asyncio.Event: ...
    def _left(self, connection: Connection) -> None: ...
    def _script_raised(self, error: Exception, where: str) -> None: ...


class Connection:
    """One accepted connection: reads requests and plays the answers, one after the other."""

    def __init__(self, host: Host, wheel: Wheel, accepted: socket.socket, number: int) -> None:
        self._host, self._wheel, self._accepted, self._number = host, wheel, accepted, number
        self._loop = asyncio.get_running_loop()
        self._reader = _Reader(self._client_left, self._loop)
        self._writer: asyncio.StreamWriter | None = None
        self._served, self._answering = 0, False
        self._touch("the TLS handshake")
        self._clock = self._loop.call_later(host.timeout, self._check)
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._done)  # runs even if the task is cancelled before its first step

    async def _run(self) -> None:
        try:
            self._writer = await self._connect()
            while await self._exchange(self._writer):
                pass
            self._touch("the connection to close")
            self._writer.close()
            await self._writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, a step dropped it, a clock ran out, or the server closes
        except Exception as error:  # noqa: BLE001 - a wrong script must reach the test
            self._host._script_raised(error, f"connection {self._number}")
        finally:
            await self._release()

    async def _connect(self) -> asyncio.StreamWriter:
        transport, protocol = await self._loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(self._reader, loop=self._loop),
            self._accepted,
            ssl=self._host.ssl_context,
        )
        if self._host.ssl_context is None:  # asyncio's TLS transport never wakes a drain at this limit
            transport.set_write_buffer_limits(0)  # drain() then means: handed to the operating system
        return asyncio.StreamWriter(transport, protocol, self._reader, self._loop)

    async def _release(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            with suppress(OSError, asyncio.CancelledError):
                await self._writer.wait_closed()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._clock.cancel()
        self._accepted.close()
        self._host._left(self)

    def _touch(self, waiting_for: object) -> None:
        self._waiting_for, self._since = waiting_for, self._loop.time()

    def _check(self) -> None:
        due = self._since + self._host.timeout
        if self._loop.time() < due:
            self._clock = self._loop.call_at(due, self._check)
            return
        if self._waiting_for != _IDLE:
            waited = f"waited {self._host.timeout} s for {self._waiting_for}"
            self._host.failures.append(f"connection {self._number}: {waited}")
            self._reset_on_close()
        self.task.cancel()

    def _reset_on_close(self) -> None:
        with suppress(OSError):  # the client may have left already
            self._accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)

    def _client_left(self) -> None:
        if self._answering:
            self.task.cancel()

    async def _exchange(self, writer: asyncio.StreamWriter) -> bool:
        """Read one request and answer it; False when the connection is to end."""
        self._touch(_IDLE)
        try:
            request, keep_alive = await self._read_request()
        except (ValueError, asyncio.LimitOverrunError) as error:
            self._host.failures.append(f"connection {self._number}: not an HTTP/1.1 request: {error}")
            await self._respond(writer, plain_text(400, "ScriptedServer: not an HTTP/1.1 request"), "GET")
            return False
        answer = self._host._answer(request, reused=self._served > 0)
        self._served += 1
        if self._reader.left:
            return False
        self._answering = True
        try:
            return await self._respond(writer, answer, request.method) and keep_alive
        finally:
            self._answering = False

    async def _read_request(self) -> tuple[RecordedRequest, bool]:
        line = (await self._reader.readuntil(b"\r\n")).decode("latin-1")
        self._touch("the rest of the request")
        method, target, version = line.split()
        headers: list[tuple[str, str]] = []
        while field := (await self._reader.readuntil(b"\r\n"))[:-2].decode("latin-1"):
            name, colon, value = field.partition(":")
            if not colon:
                raise ValueError(f"a header line without a colon: {field!r}")
            headers.append((name, value.strip()))
        body = await self._read_body(headers)
        path, _, query = target.partition("?")
        if "://" in path:
            path, query = urlsplit(target).path, urlsplit(target).query
        keep_alive = version == "HTTP/1.1" and not has_header(headers, "connection", "close")
        return RecordedRequest(method, target, path, query, headers, body, self._number), keep_alive

    async def _read_body(self, headers: list[tuple[str, str]]) -> bytes:
        if not has_header(headers, "transfer-encoding", "chunked"):
            length = next((value for name, value in headers if name.lower() == "content-length"), "0")
            return await self._reader.readexactly(int(length))
        body = bytearray()
        while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers
        return bytes(body)

    async def _respond(self, writer: asyncio.StreamWriter, answer: Answer, method: str) -> bool:
        """Play an answer; False when the connection is to end after it."""
        if answer.drop or (answer.drop_if_reused and self._served > 1):
            return await self._play(writer, [Drop()])
        before = [*answer.before, *([Stall()] if answer.stall_before_headers else [])]
        if not await self._play(writer, before):
            return False
        if answer.raw is not None:
            await self._play(writer, steps_of(answer.raw))
            return False
        headers = response_headers(answer)
        head = response_head(answer.status, headers)
        keep_alive = not has_header(headers, "connection", "close")
        if method == "HEAD" or is_bodiless(answer.status):
            await self._write(writer, head)
        elif framing_of(answer) == "chunked":
            await self._write(writer, head)
            if not await self._play(writer, steps_of(answer.body), chunked=True):
                return False
            await self._write(writer, b"0\r\n\r\n")
        elif isinstance(answer.body, bytes):
            await self._write(writer, head + answer.body)
        else:
            await self._write(writer, head)
            keep_alive = await self._play(writer, answer.body) and keep_alive
        return keep_alive

    async def _play(
        self, writer: asyncio.StreamWriter, steps: Sequence[Step], *, chunked: bool = False
    ) -> bool:
        """Play steps in order; False when one of them ends the connection."""
        for step in steps:
            self._touch(step)
            match step:
                case bytes():
                    await self._write(writer, chunk(step) if chunked else step)
                case Paced():
                    await self._play_paced(writer, step, chunked=chunked)
                case Wait(until=str() as name) | Gate(name=name):
                    await self._host._gate(name).wait()
                case Wait(until=int() | float() as seconds):
                    await asyncio.sleep(seconds)
                case Stall():
                    await self._loop.create_future()
                case Drop():
                    self._reset_on_close()
                    raise ConnectionAbortedError("dropped by the script")
                case Close():
                    return False
                case _:
                    raise TypeError(
                        f"{step!r} is no step: use bytes, Paced, Wait, Gate, Stall, Drop or Close"
                    )
        return True

    async def _play_paced(self, writer: asyncio.StreamWriter, step: Paced, *, chunked: bool) -> None:
        due = self._loop.time()
        for data in step.chunks:
            due += step.every
            # Without a pace, still one turn of the loop per chunk: many streams then interleave.
            await (self._wheel.at(due) if step.every else asyncio.sleep(0))
            await self._write(writer, chunk(data) if chunked else data)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self._touch("the client to read")
        writer.write(data)
        await writer.drain()


class _Reader(asyncio.StreamReader):
    """A StreamReader that reports when the client disconnects, even while nobody reads."""

    def __init__(self, on_leave: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_MAX_LINE, loop=loop)
        self.left, self._on_leave = False, on_leave

    def feed_eof(self) -> None:
        super().feed_eof()
        self._leave()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._leave()

    def _leave(self) -> None:
        self.left = True
        self._on_leave()


class Wheel:
    """Wakes any number of streams with one timer per millisecond."""

    def __init__(self) -> None:
        self._slots: dict[int, asyncio.Event] = {}

    def at(self, when: float) -> Coroutine[Any, Any, Literal[True]]:
        """Wait until this time of the loop's clock, rounded up to a millisecond."""
        slot = math.ceil(when * 1000)
        if slot not in self._slots:
            self._slots[slot] = asyncio.Event()
            asyncio.get_running_loop().call_at(slot / 1000, self._turn, slot)
        return self._slots[slot].wait()

    def _turn(self, slot: int) -> None:
        self._slots.pop(slot).set()
