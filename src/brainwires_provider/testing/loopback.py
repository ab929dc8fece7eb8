"""Base class of the scripted servers: starts, accepts connections, waits and stops, on a thread of its own.

Subclasses define what a connection does and what counts as a request. The server has its own event loop, so that the
same object serves async, sync and subprocess tests, and never shares a loop with the client under test.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Self

from brainwires_provider.testing.answers import Gate
from brainwires_provider.testing.connection import Connection, Wheel

_LIFE_CLOCK = 30.0  # seconds to start or to end: nothing a script decides


class LoopbackServer:
    """A server for use in `with` or `async with`. Leaving the block raises AssertionError if a script raised."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.connections = 0
        self._open: set[Connection] = set()
        self._gates: dict[str, asyncio.Event] = {}
        self._waiters: list[tuple[Callable[[], bool], Future[None]]] = []
        self._raised: BaseException | None = None
        self._port: int | None = None
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready, self._ended = _future(), _future()
        self._stopping = asyncio.Event()

    def _connection(self, accepted: socket.socket, wheel: Wheel) -> Connection:
        """Begin to serve one accepted connection."""
        raise NotImplementedError

    def _seen(self) -> int:
        """How many requests have come."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        """The port; raises RuntimeError before the server has started."""
        if self._port is None:
            raise RuntimeError("the server has not started: enter it with `with` or `async with` first")
        return self._port

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def open(self, gate: Gate | str) -> None:
        """Open a gate: steps that wait at it, now or later, continue. It can be called from any thread."""
        self._call(self._gate(gate if isinstance(gate, str) else gate.name).set)

    def wait_idle(self, timeout: float = 10) -> None:
        """Block until no connection is open; TimeoutError after `timeout` seconds."""
        self._block(self._when(lambda: not self._open), timeout, "no connection is open")

    def wait_requests(self, n: int, timeout: float = 10) -> None:
        """Block until n requests have come in all; TimeoutError after `timeout` seconds."""
        self._block(self._when(lambda: self._seen() >= n), timeout, f"{n} requests have come")

    async def wait_idle_async(self, timeout: float = 10) -> None:
        """As wait_idle, without blocking the running loop."""
        await self._await(self._when(lambda: not self._open), timeout, "no connection is open")

    async def wait_requests_async(self, n: int, timeout: float = 10) -> None:
        """As wait_requests, without blocking the running loop."""
        await self._await(self._when(lambda: self._seen() >= n), timeout, f"{n} requests have come")

    def __enter__(self) -> Self:
        self._start()
        self._block(self._ready, _LIFE_CLOCK, "the server has started")
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._call(self._stopping.set)
        self._block(self._ended, _LIFE_CLOCK, "the server has ended")
        self._finish(error)

    async def __aenter__(self) -> Self:
        self._start()
        await self._await(self._ready, _LIFE_CLOCK, "the server has started")
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._call(self._stopping.set)
        await self._await(self._ended, _LIFE_CLOCK, "the server has ended")
        self._finish(error)

    def close(self) -> None:
        """End every connection and the thread; AssertionError if a handler or a script raised."""
        if self._thread is not None:
            self.__exit__(None, None, None)

    async def aclose(self) -> None:
        """As close, without blocking the running loop."""
        if self._thread is not None:
            await self.__aexit__(None, None, None)

    def _start(self) -> None:
        if self._thread is not None:
            raise RuntimeError(f"a {type(self).__name__} starts once: make a new one")
        self._thread = Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()

    def _finish(self, error: BaseException | None) -> None:
        if self._thread is not None:
            self._thread.join(_LIFE_CLOCK)
        raised, self._raised = self._raised, None
        if raised is not None and error is None:
            raise AssertionError(f"the server's script raised {raised!r}") from raised

    def _run(self) -> None:
        try:
            # Not the platform's default loop: Windows' own has no add_reader.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001 - a thread has no caller but these futures
            self._raised = error
            if not self._ready.done():
                self._ready.set_exception(error)
        finally:
            self._ended.set_result(None)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wheel = Wheel()
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as self._listener:
            self._listener.setblocking(False)
            self._port = self._listener.getsockname()[1]
            self._loop.add_reader(self._listener, self._accept)
            self._ready.set_result(None)
            await self._stopping.wait()
            self._loop.remove_reader(self._listener)
        tasks = [connection.task for connection in self._open]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:  # the loop would cancel them in silence
            self._script_raised(RuntimeError(f"tasks were left: {left}"), "the end")

    def _accept(self) -> None:
        # In one synchronous step: a cancelled `sock_accept` can lose a socket that it has just accepted.
        while True:
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors: every further attempt would fail too
                self._script_raised(error, "accepting a connection")
                self._stopping.set()
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio leaves it to us
            self.connections += 1
            self._open.add(self._connection(accepted, self._wheel))

    def _left(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._changed()

    def _script_raised(self, error: Exception, where: str) -> None:
        self._raised = self._raised or error
        self.failures.append(f"{where}: {error!r}")

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    def _changed(self) -> None:
        """Wake the waiters whose condition is now true; subclasses call it whenever their counts change."""
        for waiter in [w for w in self._waiters if w[0]()]:
            self._waiters.remove(waiter)
            waiter[1].set_result(None)

    def _look(self) -> None:
        if self._loop is not None and not self._stopping.is_set():
            self._accept()  # a client that has connected counts, accepted or not
        self._changed()

    def _call(self, function: Callable[[], object]) -> None:
        """Run a function on the event loop; directly if the loop has not started or has ended."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(function)
                return
            except RuntimeError:
                pass
        function()

    def _when(self, condition: Callable[[], bool]) -> Future[None]:
        future = _future()
        self._waiters.append((condition, future))
        self._call(self._look)
        return future

    def _block(self, future: Future[None], timeout: float, what: str) -> None:
        try:
            future.result(timeout)
        except TimeoutError:
            raise self._late(timeout, what) from None

    async def _await(self, future: Future[None], timeout: float, what: str) -> None:
        try:
            await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except TimeoutError:
            raise self._late(timeout, what) from None

    def _late(self, timeout: float, what: str) -> TimeoutError:
        state = f"{len(self._open)} connections open, {self._seen()} requests, failures {self.failures}"
        return TimeoutError(f"waited {timeout} s in vain until {what} ({state})")


def _future() -> Future[None]:
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # a waiter that gives up must not cancel what others wait for
    return future
