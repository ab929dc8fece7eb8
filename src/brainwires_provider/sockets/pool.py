"""The sockets to one endpoint: which lane a request takes, when another socket is opened, and who waits.

A request that continues a live chain goes to the lane that holds it. Any other takes, in this order: a free lane
that holds nothing, a new lane, a new socket, the free lane whose chain was longest without use; and where nothing is
free it waits, in order of arrival. Sockets are opened by the pool, not by a request, so that a request that is
cancelled takes nothing from the others.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from brainwires_provider.errors import ConfigError, ConnectError, ProviderError
from brainwires_provider.protocols.openai_responses.continuation import Head, Heads, Match, Miss, Outline
from brainwires_provider.sockets.counters import Counters
from brainwires_provider.sockets.lines import Socket
from brainwires_provider.sockets.seats import Lane, Seat
from brainwires_provider.transports.websocket.connection import Closed, Link
from brainwires_provider.types.websocket import SocketTraits

__all__ = ["Dial", "Lease", "Pool"]

_MAX_STORED = 1000


class Dial(Protocol):
    """Opens one connection. Raises HandshakeRefused, ProviderError."""

    secrets: tuple[str, ...]
    """What connections were opened with, and no error may show."""
    connect_timeout: float | None
    """The clock of the connections that are opened from now on."""

    def __call__(
        self, *, on_frame: Callable[[bytes], None], on_close: Callable[[Closed], None]
    ) -> Awaitable[Link]: ...


class Lease(NamedTuple):
    """A seat, and what of the request its server has seen."""

    seat: Seat
    parent: str | None
    tail: int
    missed: Miss | None


class Pool:
    """See above. Belongs to one event loop, whose clock it goes by."""

    def __init__(self, dial: Dial, traits: SocketTraits, counters: Counters, random: Random) -> None:
        self.traits = traits
        self.counters = counters
        self.sockets: list[Socket] = []
        self.http_until = float("-inf")
        """Until then, requests go over HTTP: no WebSocket came about."""
        self.dial = dial
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._heads: Heads[Lane] = Heads()
        self._stored: Heads[str] = Heads()
        self._waiting: deque[asyncio.Future[Seat]] = deque()
        self._dialing: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.dial.secrets

    @property
    def is_unused(self) -> bool:
        """Whether nothing would be lost without this pool."""
        return not (self.sockets or self._dialing or self._waiting or self._closing) and (
            self._loop.time() >= self.http_until and not len(self._stored)
        )

    # -- leases ------------------------------------------------------------------------------------------

    async def lease(
        self, asked: Outline, items: Sequence[Mapping[str, Any]], *, whole: bool = False, fork: bool = False
    ) -> Lease:
        """A seat for a request; `whole`: nothing is continued; `fork`: what it continues is left for others too.

        Raises what opening a connection raises.
        """
        self._retire_old()
        while True:
            if self._is_closed:
                raise ConfigError("this client is closed; make a new one")
            found = Miss("whole", "sent again") if whole else self._heads.find(asked, items)
            if not isinstance(found, Match):
                break
            if found.place.guard is not None:
                await asyncio.shield(found.place.guard)  # a fork still reads from there
                continue
            return self._continued(found, fork=fork)
        if not whole:
            kept = self._stored.find(asked, items)
            if isinstance(kept, Match):
                self._stored.remove(kept.place)
                return Lease(await self._seat(), kept.head.response_id, kept.tail, None)
        return Lease(await self._seat(), None, 0, found)

    def _continued(self, found: Match[Lane], *, fork: bool) -> Lease:
        lane = found.place
        seat: Seat | None = None
        if fork and self.traits.lanes:
            seat = self._forked(lane)
        if seat is None:
            self._heads.remove(lane)
            seat = lane.take(self._loop.time())
        return Lease(seat, found.head.response_id, found.tail, None)

    def _forked(self, lane: Lane) -> Seat | None:
        """A seat beside a lane, whose last answer stays where it is until the fork has begun."""
        socket = next(s for s in self.sockets if lane in s.lanes.values())
        beside = self._lane_in(socket) or socket.new_lane()
        if beside is None:
            return None
        seat = beside.take(self._loop.time())
        seat.guarded = lane
        lane.guard = self._loop.create_future()
        return seat

    async def _seat(self) -> Seat:
        lane = self._free_lane() if not self._waiting else None
        if lane is not None:
            return lane.take(self._loop.time())
        waiter: asyncio.Future[Seat] = self._loop.create_future()
        self._waiting.append(waiter)
        self._grow()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().leave()
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _free_lane(self) -> Lane | None:
        """A lane for a request that continues nothing."""
        usable = [socket for socket in self.sockets if socket.has_room]
        for socket in usable:
            lane = self._lane_in(socket) or socket.new_lane()
            if lane is not None:
                return lane
        idle = [lane for socket in usable for lane in socket.idle_lanes()]
        if not idle or len(self.sockets) + len(self._dialing) < min(
            self.traits.kept_sockets, self.traits.max_sockets
        ):
            return None
        oldest = min(idle, key=lambda lane: lane.used)
        self._heads.remove(oldest)
        return oldest

    def _lane_in(self, socket: Socket) -> Lane | None:
        """A free lane of a socket that holds nothing."""
        held = self._heads.places()
        return next((lane for lane in socket.idle_lanes() if lane not in held), None)

    # -- growing -----------------------------------------------------------------------------------------

    @property
    def _capacity(self) -> int:
        """How many requests one new socket takes."""
        return self.traits.max_active if self.traits.lanes else 1

    def _grow(self) -> None:
        """Open as many sockets as those who wait need, and may have."""
        missing = len(self._waiting) - len(self._dialing) * self._capacity
        while missing > 0 and len(self.sockets) + len(self._dialing) < self.traits.max_sockets:
            task = self._loop.create_task(self._open())
            self._dialing.add(task)
            missing -= self._capacity

    async def _open(self) -> None:
        socket = Socket(self, self._loop)
        task = asyncio.current_task()
        assert task is not None
        try:
            socket.link = await self.dial(on_frame=socket.on_frame, on_close=socket.on_close)
        except Exception as error:  # noqa: BLE001 - a key's callable may raise anything, and somebody waits for it
            self._dialing.discard(task)
            self._not_opened(error)
            return
        finally:
            self._dialing.discard(task)
        if self._is_closed:
            socket.abort()
            return
        self.counters.connected += 1
        socket.fit(self.traits)  # which may have been found out meanwhile
        socket.opened, socket.share = self._loop.time(), self._random.random()
        if not socket.is_usable:  # to open another for those who wait could go on for ever
            self._not_opened(ConnectError("the server closed the connection as soon as it stood"))
            return
        self.sockets.append(socket)
        self._arm()
        self._serve()
        self._grow()

    def _not_opened(self, error: Exception) -> None:
        """Those whom the connection was for are told; a seat that comes free elsewhere is not waited for."""
        for _ in range(min(self._capacity, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(copy.copy(error) if isinstance(error, ProviderError) else error)
        self._grow()

    def _serve(self) -> None:
        """Hand free lanes to those who wait, in order."""
        while self._waiting:
            lane = self._free_lane()
            if lane is None:
                return
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(lane.take(self._loop.time()))

    # -- what sockets tell -------------------------------------------------------------------------------

    def lane_free(self, socket: Socket, lane: Lane, head: Head | None) -> None:
        """See `lines.Owner`."""
        if head is not None and socket.is_usable:
            self._heads.add(head, lane)
        elif head is not None and head.stored:
            self._keep(head)
        self._serve()
        self._grow()
        self._arm()

    def _keep(self, head: Head) -> None:
        """The service may hold a stored answer for any connection."""
        if not self.traits.keeps_stored:
            return
        self._stored.add(head, head.response_id)
        if len(self._stored) > _MAX_STORED:
            self._stored.remove(next(iter(self._stored.places())))

    def _forget_heads(self, socket: Socket) -> None:
        for lane in socket.lanes.values():
            head = self._heads.remove(lane)
            if head is not None and head.stored:
                self._keep(head)
            if lane.guard is not None and not lane.guard.done():
                lane.guard.set_result(None)
            lane.guard = None

    def limit_reached(self, socket: Socket, limit: float | None) -> None:
        """See `lines.Owner`. Other connections are replaced before they meet the same limit."""
        age = self._loop.time() - socket.opened
        self.traits = self.traits.with_limit(age / 2 if limit is None else limit)
        self._retire_old()
        self._arm()

    def socket_retired(self, socket: Socket) -> None:
        """See `lines.Owner`."""
        self._forget_heads(socket)

    def socket_lost(self, socket: Socket) -> None:
        """See `lines.Owner`."""
        if socket in self.sockets:
            self.sockets.remove(socket)
        self._forget_heads(socket)
        self._grow()

    def without_lanes(self) -> None:
        """The server turned out to have no lanes: it gets one request a connection from now on."""
        if self.traits.lanes:
            self.traits = replace(self.traits, lanes=False)
            for socket in list(self.sockets):
                socket.retire()

    # -- age ---------------------------------------------------------------------------------------------

    def _retire_old(self) -> None:
        now = self._loop.time()
        for socket in list(self.sockets):
            if not socket.retiring and now >= socket.expires:
                self.counters.rotated += 1
                self._part(socket)
            elif self._is_idle(socket) and now - socket.idle_since >= self.traits.idle:
                self._part(socket)

    def _part(self, socket: Socket) -> None:
        """Retire in good order: an idle socket is closed with a closing handshake."""
        socket.retiring = True
        self._forget_heads(socket)
        if not socket.is_wanted:
            self.sockets.remove(socket)
            task = self._loop.create_task(socket.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _is_idle(self, socket: Socket) -> bool:
        held = self._heads.places()
        return not socket.is_busy and not any(lane in held for lane in socket.lanes.values())

    def _arm(self) -> None:
        """Wake when the next socket has served its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = [s.expires for s in self.sockets if not s.retiring]
        due += [s.idle_since + self.traits.idle for s in self.sockets if self._is_idle(s)]
        if due and not self._is_closed:
            self._timer = self._loop.call_at(min(due), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._retire_old()
        self._arm()

    # -- closing -----------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close every socket. Those who wait get a ConfigError, who reads gets a StreamInterrupted."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ConfigError("the client was closed while the request waited"))
        self._waiting.clear()
        tasks = list(self._dialing)
        for task in tasks:
            task.cancel()
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            self._forget_heads(socket)
        await asyncio.gather(*tasks, *(s.aclose() for s in sockets), *self._closing, return_exceptions=True)
