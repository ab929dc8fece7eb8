"""The connections to one endpoint: which lane a request takes, when another connection is opened, and who waits.

A request that continues what a lane holds goes to that lane. Any other takes, in this order: a free lane that holds
nothing, a new lane, a new connection, the free lane that was not used for the longest time; and where nothing is free
it waits, in order of arrival. Connections are opened by the pool, not by a request, so that a request that is
cancelled takes nothing from the others.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from brainwires_provider.errors import ConfigError, ConnectError, ProviderError
from brainwires_provider.transports.base import close_soon
from brainwires_provider.transports.websocket import LaneOwner, LaneRequest, WebSocketMode
from brainwires_provider.transports.websocket.connection import connect
from brainwires_provider.transports.websocket.dialing import Connect, Dialer, Endpoint
from brainwires_provider.transports.websocket.exchange import Lane, LaneExchange
from brainwires_provider.transports.websocket.fallback import Fallback, is_no_websocket
from brainwires_provider.transports.websocket.lanes import PooledConnection
from brainwires_provider.types.websocket import WebSocketCounters, WebSocketOptions

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Pool", "Pools"]

_MAX_STORED = 1000
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds without another connection after one that failed
_KEPT = 32  # pools without a connection that are kept for what they know
_DOUBT = 60.0  # seconds of one request a connection after an error that named no lane


class Pool:
    """See the module. It belongs to one event loop, whose clock it uses."""

    def __init__(
        self,
        dial: Dialer,
        options: WebSocketOptions,
        rules: WebSocketMode,
        *,
        counters: WebSocketCounters,
        random: Random,
    ) -> None:
        self.options = options
        self.rules = rules
        self.counters = counters
        self.max_event_bytes = dial.max_frame
        self.connections: list[PooledConnection] = []
        self.dial = dial
        self._random = random
        self._loop = asyncio.get_running_loop()
        self.fallback = Fallback(self._loop.time, options.fallback_cooldown)
        self._held = rules.held()
        self._stored = rules.held()
        self._stored_places = count()
        self.parents_lost = 0
        """How many successive times a response was not continued."""
        self.peers: Callable[[], Iterable[Pool]] = lambda: (self,)
        """The pools that share `max_connections`, this one among them."""
        self._waiting: deque[asyncio.Future[LaneExchange]] = deque()
        self._waiting_for_room: list[asyncio.Future[None]] = []
        self._pause = 0.0
        self._unserved = 0
        """How many requests the connections were for that failed to open while others were being opened."""
        self._grows_at = float("-inf")
        self._doubted_until = float("-inf")
        self._dialing: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def is_unused(self) -> bool:
        """Whether it has no connection, and nobody waits for one."""
        return not (self.connections or self._dialing or self._waiting or self._closing)

    @property
    def knows(self) -> bool:
        """Whether it has found out anything that is worth keeping."""
        return self.fallback.is_on or len(self._stored) > 0

    @property
    def has_lanes(self) -> bool:
        """Whether a new connection carries several requests at once."""
        return self.options.multiplexing and self._loop.time() >= self._doubted_until

    # -- an exchange for a request -----------------------------------------------------------------------

    async def exchange(self, request: LaneRequest, *, full: bool = False, fork: bool = False) -> LaneExchange:
        """A lane for a request, which is not sent yet.

        `full`: nothing is continued; `fork`: what it continues is left for others too.

        Raises HandshakeRefused, and every ProviderError of opening a connection.
        """
        self._retire_old()
        found = None
        while True:
            if self._is_closed:
                raise ConfigError("this client is closed; make a new one")
            found = None if full else request.find(self._held, self.options)
            if found is None or found.place is None:
                break
            if found.place.guard is not None:
                await asyncio.shield(found.place.guard)  # a fork still reads from there
                continue
            connection = found.place.connection
            if not connection.has_room and connection.is_usable:
                await self._room()
                continue
            exchange = self._continued(found.place, fork=fork)
            exchange.request, exchange.found = request, found
            return exchange
        if not full:
            stored = request.find(self._stored, self.options)
            if stored.place is not None:
                self._stored.remove(stored.place)
                found = stored
        exchange = await self._next_exchange()
        exchange.request, exchange.found = request, found
        if found is not None and found.place is None:
            self.counters.misses[found.kind] = self.counters.misses.get(found.kind, 0) + 1
        return exchange

    async def _room(self) -> None:
        """Wait until something has ended, somewhere."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting_for_room.append(waiter)
        await waiter

    def _more_room(self) -> None:
        waiters, self._waiting_for_room = self._waiting_for_room, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _continued(self, lane: Lane, *, fork: bool) -> LaneExchange:
        exchange = self._forked(lane) if fork and lane.connection.has_lanes else None
        if exchange is None:
            self._held.remove(lane)
            exchange = lane.take()
        return exchange

    def _forked(self, lane: Lane) -> LaneExchange | None:
        """An exchange beside a lane, whose last answer stays where it is until the fork has begun."""
        beside = self._lane_in(lane.connection) or lane.connection.new_lane()
        if beside is None:
            return None
        exchange = beside.take()
        exchange.guarded = lane
        lane.guard = self._loop.create_future()
        return exchange

    async def _next_exchange(self) -> LaneExchange:
        lane = self._free_lane() if not self._waiting else None
        if lane is not None:
            return lane.take()
        waiter: asyncio.Future[LaneExchange] = self._loop.create_future()
        self._waiting.append(waiter)
        self._grow()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().abort()
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _free_lane(self) -> Lane | None:
        """A lane for a request that continues nothing."""
        usable = [connection for connection in self.connections if connection.has_room]
        for connection in usable:
            lane = self._lane_in(connection) or connection.new_lane()
            if lane is not None:
                return lane
        idle = [lane for connection in usable for lane in connection.idle_lanes()]
        if not idle or (self._size < self.options.max_idle_connections and self._can_grow()):
            return None
        oldest = min(idle, key=lambda lane: lane.used)
        self._held.remove(oldest)
        return oldest

    def _lane_in(self, connection: LaneOwner) -> Lane | None:
        """A free lane of a connection that holds nothing."""
        held = self._held.places()
        return next((lane for lane in connection.idle_lanes() if lane not in held), None)

    # -- growing -----------------------------------------------------------------------------------------

    @property
    def _capacity(self) -> int:
        """How many requests one new connection takes."""
        return min(self.options.max_concurrent, self.options.max_lanes) if self.has_lanes else 1

    @property
    def _size(self) -> int:
        return len(self.connections) + len(self._dialing)

    def _can_grow(self) -> bool:
        """Whether another connection may be opened, be it in the place of an idle one of another pool."""
        if self._loop.time() < self._grows_at and self._is_served:
            return False
        return not self._is_full or any(pool._spare() for pool in self._others())

    @property
    def _is_served(self) -> bool:
        """Whether who waits will get a lane without another connection."""
        return any(connection.is_usable for connection in self.connections)

    @property
    def _is_full(self) -> bool:
        """Whether the pools that share the limit have as many connections as they may."""
        return self._size + sum(pool._size for pool in self._others()) >= self.options.max_connections

    def _others(self) -> Iterator[Pool]:
        return (pool for pool in self.peers() if pool is not self)

    def _spare(self) -> PooledConnection | None:
        """A connection that could go: nobody uses it; one without a conversation first, then the one idle longest."""
        idle = [c for c in self.connections if not c.is_busy]
        return min(idle, key=lambda c: (not self._is_idle(c), c.idle_since), default=None)

    def _make_room(self) -> None:
        """Close the connection of another pool that is idle longest, where one has to go."""
        if self._is_full:
            spares = [spare for pool in self._others() if (spare := pool._spare()) is not None]
            min(spares, key=lambda spare: spare.idle_since).retire()

    def _grow(self) -> None:
        """Open as many connections as those who wait need, and may have."""
        missing = len(self._waiting) - len(self._dialing) * self._capacity
        while missing > 0 and self._can_grow():
            self._make_room()
            task = self._loop.create_task(self._open())
            self._dialing.add(task)
            missing -= self._capacity

    async def _open(self) -> None:
        connection = PooledConnection(self, self._loop)
        task = asyncio.current_task()
        assert task is not None
        try:
            connection.link = await self.dial(on_frame=connection.on_frame, on_close=connection.on_close)
        except Exception as error:  # noqa: BLE001 - a key's callable may raise anything, and somebody waits for it
            self._dialing.discard(task)
            if is_no_websocket(error):
                self.fallback.connection_failed()
            self._not_opened(error)
            return
        finally:
            self._dialing.discard(task)
        if self._is_closed:
            connection.abort()
            return
        self.counters.connected += 1
        self._pause, self._unserved = 0.0, 0
        connection.fit(self.options, has_lanes=self.has_lanes)  # which may have been found out meanwhile
        connection.opened, connection.share = self._loop.time(), self._random.random()
        if not connection.is_usable:  # to open another for those who wait could go on for ever
            self.fallback.connection_failed()
            self._not_opened(ConnectError("the server closed the connection as soon as it stood"))
            return
        self.connections.append(connection)
        self._arm()
        self._serve()
        self._loop.call_at(self._grows_at, self._grow)

    def _not_opened(self, error: Exception) -> None:
        """Requests that the connection was for get the error, unless another connection will serve them."""
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._grows_at = self._loop.time() + self._pause
        self._unserved += self._capacity
        for pool in self._others():
            pool._grow()
        if self._dialing:
            return
        unserved, self._unserved = self._unserved, 0
        if self._is_served:
            self._serve()  # a lane may be free that a new connection was preferred to
            self._loop.call_at(self._grows_at, self._grow)
            return
        for _ in range(min(unserved, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(copy.copy(error) if isinstance(error, ProviderError) else error)
        self._grow()

    def _serve(self) -> None:
        """Give free lanes to those who wait, in order."""
        while self._waiting:
            lane = self._free_lane()
            if lane is None:
                return
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(lane.take())

    # -- what connections report -------------------------------------------------------------------------

    def lane_free(self, connection: PooledConnection, lane: Lane, head: Any) -> None:
        """A lane can be used again; its server holds `head`."""
        if head is not None and connection.is_usable:
            self._held.add(head, lane)
        elif head is not None:
            self._keep(head)
        self._give_way(connection)
        self._something_ended()
        self._arm()

    def answer_ended(self) -> None:
        """A response has ended, whether or not its consumer has read it: another one may run."""
        self._more_room()
        self._serve()

    def _something_ended(self) -> None:
        self._more_room()
        self._serve()
        for pool in self.peers():
            pool._grow()

    def _give_way(self, connection: PooledConnection) -> None:
        """Begin nothing more on this connection, where another pool has none and may not open one."""
        if connection.retiring or any(other.retiring for other in self.connections):
            return
        starves = [pool for pool in self.peers() if pool._waiting and not pool._size]
        if starves and not starves[0]._can_grow():
            connection.retire()

    def _keep(self, head: Any) -> None:
        """What the service stores may be found from any connection."""
        if not (head.stored and self.options.shared_store):
            return
        self._stored.add(head, next(self._stored_places))
        if len(self._stored) > _MAX_STORED:
            self._stored.remove(next(iter(self._stored.places())))

    def limit_reached(self, connection: PooledConnection, limit: float | None) -> None:
        """A server took no more requests because of a connection's age: others are replaced before that."""
        age = self._loop.time() - connection.opened
        self.options = self.options.with_age_limit(age / 2 if limit is None else limit)
        self._tick()

    def connection_retired(self, connection: PooledConnection) -> None:
        """No request begins there any more."""
        for lane in connection.lanes.values():
            head = self._held.remove(lane)
            if head is not None:
                self._keep(head)
            if lane.guard is not None and not lane.guard.done():
                lane.guard.set_result(None)

    def connection_lost(self, connection: PooledConnection) -> None:
        """The connection is over."""
        if connection in self.connections:
            self.connections.remove(connection)
        self.connection_retired(connection)
        self._something_ended()

    def connection_unwanted(self, connection: PooledConnection) -> None:
        """Nobody waits for anything of a retired connection: it is closed with a closing handshake."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        task = self._loop.create_task(connection.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def without_lanes(self, *, for_good: bool) -> None:
        """The server turned out to have no lanes, or that is in doubt: one request per connection from now on."""
        if not self.options.multiplexing:
            return
        if for_good:
            self.options = replace(self.options, multiplexing=False)
            for connection in list(self.connections):
                connection.retire()
        else:
            self._doubted_until = self._loop.time() + _DOUBT

    def names_limited(self, most: int) -> None:
        """A server took no more names of lanes than so many on one connection, perhaps fewer."""
        self.options = replace(self.options, max_lanes=max(1, min(self.options.max_lanes, most)))
        for connection in self.connections:
            connection.max_names = min(connection.max_names, most)

    def parent_refused(self, fault: str) -> None:
        """A server did not continue a response. What it never does is not asked of it again."""
        self.parents_lost += 1
        self.options = self.options.without_parent(fault, self.parents_lost)

    # -- age ---------------------------------------------------------------------------------------------

    def _retire_old(self) -> None:
        now, options = self._loop.time(), self.options
        for connection in list(self.connections):
            if not connection.retiring and now >= connection.expires:
                self.counters.rotated += 1
                connection.retire()
            elif now - connection.idle_since >= options.idle_timeout and self._is_idle(connection):
                connection.retire()

    def _is_idle(self, connection: PooledConnection) -> bool:
        held = self._held.places()
        return not connection.is_busy and not any(lane in held for lane in connection.lanes.values())

    def _arm(self) -> None:
        """Wake when the next connection is to be replaced, or has been idle for long enough."""
        if self._timer is not None:
            self._timer.cancel()
        due = [c.expires for c in self.connections if not c.retiring]
        due += [c.idle_since + self.options.idle_timeout for c in self.connections if self._is_idle(c)]
        if due and not self._is_closed:
            self._timer = self._loop.call_at(min(due), self._tick)

    def _tick(self) -> None:
        self._retire_old()
        self._arm()

    # -- closing -----------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close every connection. Who waits gets a ConfigError, who reads gets a StreamInterrupted."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ConfigError("the client was closed while the request waited"))
        self._waiting.clear()
        self._more_room()
        tasks = list(self._dialing)
        for task in tasks:
            task.cancel()
        connections, self.connections = self.connections, []
        await asyncio.gather(
            *tasks, *(c.aclose() for c in connections), *self._closing, return_exceptions=True
        )


class Pools:
    """A client's pools: one for each endpoint and event loop. `connect` and `random` are for tests."""

    def __init__(
        self,
        *,
        proxy: str | Literal["env"] | None = "env",
        ssl_context: SSLContext | None = None,
        max_event_bytes: int,
        connect: Connect = connect,
        random: Random | None = None,
    ) -> None:
        self.counters = WebSocketCounters()
        self._settings = connect, proxy, ssl_context, max_event_bytes
        self._random = random or Random()  # noqa: S311 (spreads rotations, guards nothing)
        self._pools: dict[asyncio.AbstractEventLoop, dict[Any, Pool]] = {}

    def pool(self, endpoint: Endpoint, mode: WebSocketMode) -> Pool:
        """The running loop's pool for an endpoint."""
        pools, key = self._pools_here(), endpoint.identity
        pool = pools.pop(key, None)
        if pool is None:
            self._forget_unused(pools)
            dial = self.dialer(endpoint)
            pool = Pool(dial, endpoint.options, mode, counters=self.counters, random=self._random)
            pool.peers = lambda: [each for each in list(pools.values()) if each.dial.url == endpoint.url]
        pools[key] = pool  # the last is the one that was used last
        pool.dial.connect_timeout = endpoint.connect_timeout
        return pool

    @staticmethod
    def _forget_unused(pools: dict[Any, Pool]) -> None:
        unused = [key for key, pool in pools.items() if pool.is_unused]
        known = [key for key in unused if pools[key].knows]
        for key in unused:
            if key not in known[-_KEPT:]:
                del pools[key]

    def _pools_here(self) -> dict[Any, Pool]:
        """This loop's pools; those of loops that have ended are forgotten."""
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            for other in list(self._pools):  # to which other threads add theirs
                if other.is_closed():
                    self._pools.pop(other, None)
            self._pools[loop] = {}
        return self._pools[loop]

    def dialer(self, endpoint: Endpoint) -> Dialer:
        """What opens connections to an endpoint."""
        return Dialer(endpoint, *self._settings)

    async def aclose(self) -> None:
        """Close this loop's connections."""
        await _close(self._pools.pop(asyncio.get_running_loop(), {}))

    def abandon(self) -> bool:
        """As `Transport.abandon`."""
        known, self._pools = self._pools, {}
        were_open = [close_soon(loop, partial(_close, pools)) for loop, pools in known.items()]
        return any(were_open)


async def _close(pools: Mapping[Any, Pool]) -> None:
    await asyncio.gather(*(pool.aclose() for pool in pools.values()))
