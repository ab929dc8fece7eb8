"""Links that end in a ResponsesService in this process: the pool's and the flight's own code, without sockets.

The order in which answers progress, and when a link breaks, is drawn from a seeded `random.Random`, and the loop's
time is virtual: where there is nothing to do, the next timer is due at once. So a case runs the same each time, and
hours take none.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from brainwires_provider.testing import ResponsesService
from brainwires_provider.testing.responses_rules import Job
from brainwires_provider.transports.websocket.connection import Closed, Handshake, LinkLost

Said = Mapping[str, Any] | bytes
Fault = Callable[["MemoryLink", Job, Mapping[str, Any]], Sequence[Said]]


class _Jump(selectors.SelectSelector):
    """Where the loop would sleep, its time goes on instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits, and nothing can happen any more")
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop with a time of its own, in seconds from 0. For what uses no sockets and no threads."""

    def __init__(self) -> None:
        selector = _Jump()
        selector.loop = self
        self.now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class _Hurry(selectors.SelectSelector):
    def select(self, timeout: float | None = None) -> Any:
        return super().select(None if timeout is None else timeout / FastLoop.SPEED)


class FastLoop(asyncio.SelectorEventLoop):
    """A loop whose clock runs ten times as fast: for waits of a second on real sockets."""

    SPEED = 10.0

    def __init__(self) -> None:
        super().__init__(_Hurry())

    def time(self) -> float:
        return super().time() * self.SPEED


class MemoryLink:
    def __init__(self, net: MemoryNet, on_frame: Callable[[bytes], None], on_close: Any) -> None:
        self._net = net
        self._on_frame, self._on_close = on_frame, on_close
        self._loop = asyncio.get_running_loop()
        self._session = net.service.connect(net.now())
        self._is_stepping = False
        self.headers: Mapping[str, str] = {"x-request-id": "r"}
        self.opened_at = self.heard_at = self._loop.time()
        self.closed: Closed | None = None

    @property
    def is_open(self) -> bool:
        return self.closed is None

    async def send(self, frame: bytes) -> None:
        await asyncio.sleep(0)
        if self.closed is not None:
            raise LinkLost(self.closed)
        self._net.sent.append(frame)
        for event in self._session.receive(frame, self._net.now()):
            self._say(event)
        if self._session.close_code is not None:
            self.end(Closed(self._session.close_code, "", "server"))
        self._go_on()

    def _go_on(self) -> None:
        if not self._is_stepping and self.closed is None:
            self._is_stepping = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        """A few events of whichever answer the draw picks."""
        self._is_stepping = False
        for _ in range(self._net.random.randrange(1, 6)):
            jobs = self._session.runnable()
            if not jobs or self.closed is not None:
                return
            if self._net.random.random() < self._net.breaks:
                self.end(Closed(self._net.random.choice((1000, 1001, 1006, 1011, 1012)), "", "server"))
                return
            job = self._net.random.choice(jobs)
            event = self._session.step(job, self._net.now())
            if event is not None:
                for said in self._net.fault(self, job, event):
                    self._say(said)
        if self._session.runnable():
            self._go_on()

    def _say(self, event: Mapping[str, Any] | bytes) -> None:
        if self.closed is None:
            self.heard_at = self._loop.time()
            self._on_frame(event if isinstance(event, bytes) else msgspec.json.encode(event))

    def end(self, closed: Closed) -> None:
        if self.closed is None:
            self.closed = closed
            self._session.close()
            self._net.links.pop(self, None)
            self._loop.call_soon(self._on_close, closed)

    def abort(self) -> None:
        self.end(Closed(None, "aborted here", "ours"))

    async def aclose(self) -> None:
        self.end(Closed(1000, "closed here", "ours"))


class MemoryNet:
    """Give its `connect` to a client's Sockets. `breaks` is how likely a link breaks at each event.

    `fault` says what goes out in the place of an event: it may end the link, say nothing, or something else.
    """

    def __init__(self, service: ResponsesService, random: Random, fault: Fault | None = None) -> None:
        self.service = service
        self.random = random
        self.fault: Fault = fault or (lambda link, job, event: [event])
        self.breaks = 0.0
        self.links: dict[MemoryLink, None] = {}
        self.sent: list[bytes] = []
        self.opened = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def connect(
        self, handshake: Handshake, *, on_frame: Callable[[bytes], None], on_close: Any
    ) -> MemoryLink:
        await asyncio.sleep(0)
        link = MemoryLink(self, on_frame, on_close)
        self.links[link] = None
        self.opened += 1
        return link

    def cut(self) -> None:
        """Every link is lost at once."""
        for link in list(self.links):
            link.end(Closed(1006, "cut", "lost"))


class HeldLink(MemoryLink):
    """Says nothing by itself."""

    def _go_on(self) -> None:
        pass

    def events(self) -> list[Mapping[str, Any]]:
        """What its session still has to say."""
        return self._session.drain(self._net.now())

    def say(self, event: Said) -> None:
        self._say(event)


class HeldNet(MemoryNet):
    async def connect(self, handshake: Any, *, on_frame: Callable[[bytes], None], on_close: Any) -> Any:
        link = HeldLink(self, on_frame, on_close)
        self.links[link] = None
        return link


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)
