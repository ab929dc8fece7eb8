"""The server's side of one WebSocket: reads the client's messages in order, and plays steps onto the connection.

`websockets` makes and reads the frames without its I/O: the bytes then pass through our hands, so that half
a frame, a broken one, or a close of any code is as easy as a whole one. What is said is the subclass's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from logging import CRITICAL, Logger
from typing import Any, Protocol

import msgspec
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from brainwires_provider.testing.answers import (
    Answer,
    Close,
    Drop,
    Gate,
    Paced,
    RecordedRequest,
    Stall,
    Wait,
    plain_text,
)
from brainwires_provider.testing.connection import Wheel
from brainwires_provider.testing.websocket_steps import (
    Binary,
    CloseFrame,
    Fault,
    Fragments,
    HalfFrame,
    RawBytes,
    SocketStep,
)

IDLE = "the next request"
_CLOSE_CLOCK = 2.0  # seconds that a client has to answer a close frame
_SILENT = Logger("brainwires_provider.testing.silent", CRITICAL)
_SILENT.propagate = False  # the library's own logger would print the client's Authorization


class Over(ConnectionError):
    """The connection has ended regularly: what is buffered is still sent."""


class SocketHost(Protocol):
    """What an upgraded connection requires of its server. All of it is called on the server's event loop."""

    pace: float
    delay: float
    fault: Fault | None
    ping: float | None
    compression: bool
    clock: Callable[[], float]
    failures: list[str]

    def _gate(self, name: str) -> asyncio.Event: ...
    def _came(self, number: int, data: bytes) -> None: ...
    def _script_raised(self, error: Exception, where: str) -> None: ...


class Link(Protocol):
    """The TCP connection below a WebSocket."""

    wheel: Wheel
    writer: asyncio.StreamWriter

    @property
    def reader(self) -> asyncio.StreamReader:
        """The bytes from the client."""
        ...

    def touch(self, waiting_for: object) -> None:
        """Note what the connection waits for, and restart its timeout."""
        ...

    def reset_on_close(self) -> None:
        """Close the connection with a TCP reset."""
        ...


class WebSocketPeer:
    """One WebSocket; `number` counts handshakes from 1."""

    def __init__(self, host: SocketHost, link: Link, number: int, headers: Mapping[str, str]) -> None:
        self._host, self._link, self._number, self._headers = host, link, number, headers
        self._loop = asyncio.get_running_loop()
        extensions = [ServerPerMessageDeflateFactory()] if host.compression else None
        self._protocol = ServerProtocol(extensions=extensions, max_size=None, logger=_SILENT)
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fragments: list[bytes] = []
        self._on_the_way: deque[tuple[float, bytes]] = deque()
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self._ponged = True

    async def _serve(self) -> None:
        """Say what there is to say."""
        raise NotImplementedError

    async def run(self, request: RecordedRequest) -> Answer | None:
        """Upgrade and serve until the connection ends; an Answer if the request is no valid upgrade."""
        refusal = self._upgrade(request)
        if refusal is not None:
            return refusal
        try:
            self.start(self._read())
            self.start(self._serve())
            if self._host.ping is not None:
                self.start(self._keep_alive(self._host.ping))
            await self._over
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return None

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as this connection lives; what it raises ends the connection."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            if not isinstance(error, OSError):  # those are the client's leaving, or a step's own end
                self._host._script_raised(error, f"WebSocket {self._number}")
            self._end(None if isinstance(error, Over) else error)

    def _end(self, error: Exception | None = None) -> None:
        if self._over.done():
            return
        if isinstance(error, OSError):
            self._over.set_exception(error)
        else:
            self._over.set_result(None)

    def _upgrade(self, request: RecordedRequest) -> Answer | None:
        lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers)]
        self._protocol.receive_data("\r\n".join([*lines, "", ""]).encode("latin-1"))
        events = self._protocol.events_received()
        if not events or not isinstance(events[0], Request):
            return plain_text(400, f"ScriptedSocket: no WebSocket handshake: {self._protocol.handshake_exc}")
        response = self._protocol.accept(events[0])
        if response.status_code != 101:
            return plain_text(response.status_code, bytes(response.body or b"").decode())
        for name, value in self._headers.items():
            response.headers[name] = value
        self._protocol.send_response(response)
        self._flush()
        return None

    # -- in ----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while data := await self._link.reader.read(1 << 16):
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                assert isinstance(event, Frame)
                self._take(event)
            if self._protocol.parser_exc is not None:
                self._host.failures.append(f"WebSocket {self._number}: {self._protocol.parser_exc!r}")
                self._flush()
                raise Over
            self._flush()
        self._end()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._ponged = True
        if frame.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            return
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return
        message, self._fragments = b"".join(self._fragments), []
        self._host._came(self._number, message)
        if not self._host.delay:
            self._arrived.put_nowait(message)
            return
        # The delay of both directions at once: the client cannot distinguish them.
        due = self._loop.time() + 2 * self._host.delay
        self._on_the_way.append((due, message))
        if len(self._on_the_way) == 1:
            self._loop.call_at(due, self._arrive)

    def _arrive(self) -> None:
        _, message = self._on_the_way.popleft()
        self._arrived.put_nowait(message)
        if self._on_the_way:
            self._loop.call_at(self._on_the_way[0][0], self._arrive)

    async def next_message(self) -> bytes:
        """The client's next message, or forever nothing."""
        self._link.touch(IDLE)
        return await self._arrived.get()

    async def _keep_alive(self, every: float) -> None:
        while True:
            self._ponged = False
            self._send(lambda: self._protocol.send_ping(b""))
            await asyncio.sleep(every)
            if not self._ponged:
                await self.play([CloseFrame(1011, "keepalive ping timeout")])

    # -- out ---------------------------------------------------------------------------------------------

    async def play(self, steps: Sequence[SocketStep]) -> None:
        """Play steps in order; raises when one of them has ended the connection."""
        for step in steps:
            match step:
                case dict():
                    await self._text(msgspec.json.encode(step))
                case str():
                    await self._text(step.encode())
                case bytes():
                    await self._text(step)
                case Wait() | Gate() | Stall():
                    await self._pause(step)
                case Paced(chunks=chunks, every=every):
                    await self._play_paced(chunks, every)
                case Drop() | Close() | CloseFrame() | HalfFrame():
                    await self._play_end(step)
                case Binary() | Fragments() | RawBytes():
                    await self._play_odd(step)
                case _:
                    raise TypeError(f"{step!r} is no step: see brainwires_provider.testing.SocketStep")

    async def _pause(self, step: Wait | Gate | Stall) -> None:
        self._link.touch(step)
        match step:
            case Wait(until=str() as name) | Gate(name=name):
                await self._host._gate(name).wait()
            case Wait(until=int() | float() as seconds):
                await asyncio.sleep(seconds)
            case _:
                await self._loop.create_future()

    async def _text(self, payload: bytes) -> None:
        self._send(lambda: self._protocol.send_text(payload))
        await self._drain()

    async def _play_paced(self, chunks: Sequence[bytes], every: float) -> None:
        due = self._loop.time()
        for payload in chunks:
            due += every
            await (self._link.wheel.at(due) if every else asyncio.sleep(0))
            await self._text(payload)

    async def _play_odd(self, step: Binary | Fragments | RawBytes) -> None:
        match step:
            case Binary(payload=payload):
                self._send(lambda: self._protocol.send_binary(payload))
            case RawBytes(data=data):
                self._link.writer.write(data)
            case Fragments(payload=payload, size=size):
                cuts = range(size, len(payload), size)
                self._send(lambda: self._protocol.send_text(payload[:size], fin=not cuts))
                for start in cuts:
                    await self._drain()
                    self._continue(payload[start : start + size], fin=start == cuts[-1])
        await self._drain()

    def _continue(self, piece: bytes, *, fin: bool) -> None:
        self._send(lambda: self._protocol.send_continuation(piece, fin))

    async def _play_end(self, step: Drop | Close | CloseFrame | HalfFrame) -> None:
        match step:
            case CloseFrame(code=code, reason=reason):
                self._send(lambda: self._protocol.send_close(code, reason))
                await self._drain()
                await asyncio.wait({self._over}, timeout=_CLOSE_CLOCK)
            case HalfFrame(payload=payload):
                self._protocol.send_text(payload)
                frame = b"".join(self._protocol.data_to_send())
                self._link.writer.write(frame[: len(frame) // 2])
                await self._drain()
        if isinstance(step, Drop) or (isinstance(step, HalfFrame) and step.how == "rst"):
            self._link.reset_on_close()
            raise ConnectionAbortedError("dropped by the script")
        raise Over

    def _send(self, frame: Callable[[], None]) -> None:
        if self._protocol.state is not State.OPEN:
            raise Over
        frame()
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._link.writer.write(data)
            else:  # the closing handshake is done: the server is the one to end the connection
                self._end()

    async def _drain(self) -> None:
        self._link.touch("the client to read")
        await self._link.writer.drain()
