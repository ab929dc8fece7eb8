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
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.auth.keys import Key, header_secrets, resolve_headers, resolve_key
from brainwires_provider.errors import ConfigError, ConnectError, ProviderError
from brainwires_provider.transports.websocket import FrameRules, LaneRequest
from brainwires_provider.transports.websocket.connection import Closed, Handshake, Link, connect
from brainwires_provider.transports.websocket.lanes import Lane, LaneExchange, PooledConnection
from brainwires_provider.types.websocket import WebSocketCounters, WebSocketOptions

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connect", "Dialer", "Endpoint", "Pool", "Pools"]

_MAX_STORED = 1000

Connect = Callable[..., Awaitable[Link]]


class Held(Protocol):
    """What the server of a pool holds, by place: a lane, or a number for what any connection finds."""

    def __len__(self) -> int: ...
    def places(self) -> Any: ...
    def add(self, head: Any, place: Any) -> None: ...
    def remove(self, place: Any) -> Any: ...


class WebSocketMode(FrameRules, Protocol):
    """What a protocol supplies to a pool."""

    def held(self) -> Held:
        """An empty index of what a server holds."""
        ...


class Endpoint(Struct, frozen=True):
    """Where connections go, and with which headers. `headers` adds a key and the provider's own to the rest."""

    url: str
    provider: str
    key: Key | None
    own_headers: Mapping[str, Key]
    headers: Callable[[str, Mapping[str, str]], dict[str, str]]
    options: WebSocketOptions
    connect_timeout: float | None

    @property
    def identity(self) -> Any:
        """What differs in it never shares a connection."""
        return (
            self.url,
            self.key,
            tuple(sorted(self.headers("", {}).items())),
            tuple(sorted(self.own_headers.items(), key=itemgetter(0))),
            self.options,
        )

    def __repr__(self) -> str:
        return f"Endpoint({self.provider})"


class Dialer:
    """Opens the connections of one endpoint. The key is called for at each connect. `secrets`: what no error shows."""

    def __init__(
        self,
        endpoint: Endpoint,
        connect: Connect,
        proxy: str | Literal["env"] | None,
        ssl_context: SSLContext | None,
        max_frame: int,
    ) -> None:
        self.secrets: tuple[str, ...] = ()
        self.connect_timeout = endpoint.connect_timeout
        self._endpoint = endpoint
        self._connect = connect
        self._proxy = proxy
        self._ssl = ssl_context
        self._max_frame = max_frame

    async def __call__(
        self, *, on_frame: Callable[[bytes], None], on_close: Callable[[Closed], None]
    ) -> Link:
        """Open one. Raises HandshakeRefused, ProviderError."""
        endpoint = self._endpoint
        key = "" if endpoint.key is None else await resolve_key(endpoint.key, endpoint.provider)
        own = await resolve_headers(endpoint.own_headers, endpoint.provider)
        secrets = ((key,) if key else ()) + header_secrets(endpoint.own_headers, own)
        self.secrets += tuple(secret for secret in secrets if secret not in self.secrets)
        handshake = Handshake(
            endpoint.url,
            endpoint.headers(key, own),
            connect_timeout=self.connect_timeout,
            proxy=self._proxy,
            ssl_context=self._ssl,
            ping_interval=endpoint.options.ping_interval,
            ping_timeout=endpoint.options.ping_interval,
            max_frame=self._max_frame,
        )
        return await self._connect(handshake, on_frame=on_frame, on_close=on_close)


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
        self.max_event_bytes = max_event_bytes
        self._proxy = proxy
        self._ssl = ssl_context
        self._connect = connect
        self._random = random or Random()  # noqa: S311 (spreads rotations, guards nothing)
        self._pools: dict[asyncio.AbstractEventLoop, dict[Any, Pool]] = {}

    def pool(self, endpoint: Endpoint, mode: WebSocketMode) -> Pool:
        """The running loop's pool for an endpoint."""
        pools, key = self._pools_here(), endpoint.identity
        pool = pools.get(key)
        if pool is None:
            for unused in [k for k, p in pools.items() if p.is_unused]:
                del pools[unused]  # headers of one call only, it may be
            pool = pools[key] = Pool(
                self.dialer(endpoint),
                endpoint.options,
                mode,
                counters=self.counters,
                random=self._random,
                max_event_bytes=self.max_event_bytes,
            )
        pool.dial.connect_timeout = endpoint.connect_timeout
        return pool

    def _pools_here(self) -> dict[Any, Pool]:
        """This loop's pools; those of loops that have ended are forgotten."""
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            for ended in [other for other in self._pools if other.is_closed()]:
                del self._pools[ended]
            self._pools[loop] = {}
        return self._pools[loop]

    def dialer(self, endpoint: Endpoint) -> Dialer:
        """What opens connections to an endpoint."""
        return Dialer(endpoint, self._connect, self._proxy, self._ssl, self.max_event_bytes)

    async def aclose(self) -> None:
        """Close this loop's connections."""
        pools = self._pools.pop(asyncio.get_running_loop(), {})
        await asyncio.gather(*(pool.aclose() for pool in pools.values()))


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
        max_event_bytes: int,
    ) -> None:
        self.options = options
        self.rules = rules
        self.counters = counters
        self.max_event_bytes = max_event_bytes
        self.connections: list[PooledConnection] = []
        self.http_until = float("-inf")
        """Until then, requests go over HTTP: no WebSocket came about."""
        self.dial = dial
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._held = rules.held()
        self._stored = rules.held()
        self._stored_places = count()
        self._waiting: deque[asyncio.Future[LaneExchange]] = deque()
        self._dialing: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def time(self) -> float:
        """Of the loop's clock."""
        return self._loop.time()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What connections were opened with."""
        return self.dial.secrets

    @property
    def is_unused(self) -> bool:
        """Whether nothing would be lost without this pool."""
        return not (self.connections or self._dialing or self._waiting or self._closing) and (
            self._loop.time() >= self.http_until and not len(self._stored)
        )

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
            found = None if full else request.find(self._held)
            if found is None or found.place is None:
                break
            if found.place.guard is not None:
                await asyncio.shield(found.place.guard)  # a fork still reads from there
                continue
            return self._begun(self._continued(found.place, fork=fork), request, found)
        if not full:
            stored = request.find(self._stored)
            if stored.place is not None:
                self._stored.remove(stored.place)
                found = stored
        exchange = self._begun(await self._next_exchange(), request, found)
        if found is not None and found.place is None:
            self.counters.misses[found.code] = self.counters.misses.get(found.code, 0) + 1
        return exchange

    @staticmethod
    def _begun(exchange: LaneExchange, request: LaneRequest, found: Any) -> LaneExchange:
        exchange.request, exchange.found = request, found
        return exchange

    def _continued(self, lane: Lane, *, fork: bool) -> LaneExchange:
        exchange = self._forked(lane) if fork and self.options.multiplexing else None
        if exchange is None:
            self._held.remove(lane)
            exchange = lane.take(self._loop.time())
        return exchange

    def _forked(self, lane: Lane) -> LaneExchange | None:
        """An exchange beside a lane, whose last answer stays where it is until the fork has begun."""
        beside = self._lane_in(lane.connection) or lane.connection.new_lane()
        if beside is None:
            return None
        exchange = beside.take(self._loop.time())
        exchange.guarded = lane
        lane.guard = self._loop.create_future()
        return exchange

    async def _next_exchange(self) -> LaneExchange:
        lane = self._free_lane() if not self._waiting else None
        if lane is not None:
            return lane.take(self._loop.time())
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
        if not idle or len(self.connections) + len(self._dialing) < min(
            self.options.max_idle_connections, self.options.max_connections
        ):
            return None
        oldest = min(idle, key=lambda lane: lane.used)
        self._held.remove(oldest)
        return oldest

    def _lane_in(self, connection: PooledConnection) -> Lane | None:
        """A free lane of a connection that holds nothing."""
        held = self._held.places()
        return next((lane for lane in connection.idle_lanes() if lane not in held), None)

    # -- growing -----------------------------------------------------------------------------------------

    @property
    def _capacity(self) -> int:
        """How many requests one new connection takes."""
        return self.options.max_concurrent if self.options.multiplexing else 1

    def _grow(self) -> None:
        """Open as many connections as those who wait need, and may have."""
        missing = len(self._waiting) - len(self._dialing) * self._capacity
        while missing > 0 and len(self.connections) + len(self._dialing) < self.options.max_connections:
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
            self._not_opened(error)
            return
        finally:
            self._dialing.discard(task)
        if self._is_closed:
            connection.abort()
            return
        self.counters.connected += 1
        connection.fit(self.options)  # which may have been found out meanwhile
        connection.opened, connection.share = self._loop.time(), self._random.random()
        if not connection.is_usable:  # to open another for those who wait could go on for ever
            self._not_opened(ConnectError("the server closed the connection as soon as it stood"))
            return
        self.connections.append(connection)
        self._arm()
        self._serve()
        self._grow()

    def _not_opened(self, error: Exception) -> None:
        """Requests that the connection was for get the error; they do not wait for a lane elsewhere."""
        for _ in range(min(self._capacity, len(self._waiting))):
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
                waiter.set_result(lane.take(self._loop.time()))

    # -- what connections report -------------------------------------------------------------------------

    def lane_free(self, connection: PooledConnection, lane: Lane, head: Any) -> None:
        """A lane can be used again; its server holds `head`."""
        if head is not None and connection.is_usable:
            self._held.add(head, lane)
        elif head is not None:
            self._keep(head)
        self._serve()
        self._grow()
        self._arm()

    def _keep(self, head: Any) -> None:
        """What the service stores may be found from any connection."""
        if not (head.stored and self.options.shared_store):
            return
        self._stored.add(head, next(self._stored_places))
        if len(self._stored) > _MAX_STORED:
            self._stored.remove(next(iter(self._stored.places())))

    def _forget_held(self, connection: PooledConnection) -> None:
        for lane in connection.lanes.values():
            head = self._held.remove(lane)
            if head is not None:
                self._keep(head)
            if lane.guard is not None and not lane.guard.done():
                lane.guard.set_result(None)
            lane.guard = None

    def limit_reached(self, connection: PooledConnection, limit: float | None) -> None:
        """A server took no more requests because of a connection's age: others are replaced before that."""
        age = self._loop.time() - connection.opened
        self.options = self.options.with_age_limit(age / 2 if limit is None else limit)
        self._retire_old()
        self._arm()

    def connection_retired(self, connection: PooledConnection) -> None:
        """No request begins there any more."""
        self._forget_held(connection)

    def connection_lost(self, connection: PooledConnection) -> None:
        """The connection is over."""
        if connection in self.connections:
            self.connections.remove(connection)
        self._forget_held(connection)
        self._grow()

    def without_lanes(self) -> None:
        """The server turned out to have no lanes: it gets one request per connection from now on."""
        if self.options.multiplexing:
            self.options = replace(self.options, multiplexing=False)
            for connection in list(self.connections):
                connection.retire()

    # -- age ---------------------------------------------------------------------------------------------

    def _retire_old(self) -> None:
        now, options = self._loop.time(), self.options
        for connection in list(self.connections):
            if not connection.retiring and now >= self._expires(connection):
                self.counters.rotated += 1
                self._part(connection)
            elif now - connection.idle_since >= options.idle_timeout and self._is_idle(connection):
                self._part(connection)

    def _expires(self, connection: PooledConnection) -> float:
        """When a connection is to be replaced; each has another share of the jitter."""
        options = self.options
        return connection.opened + options.max_connection_age - options.age_jitter * connection.share

    def _part(self, connection: PooledConnection) -> None:
        """Retire in good order: an idle connection is closed with a closing handshake."""
        connection.retiring = True
        self._forget_held(connection)
        if not connection.is_wanted:
            self.connections.remove(connection)
            task = self._loop.create_task(connection.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _is_idle(self, connection: PooledConnection) -> bool:
        held = self._held.places()
        return not connection.is_busy and not any(lane in held for lane in connection.lanes.values())

    def _arm(self) -> None:
        """Wake when the next connection is to be replaced, or has been idle for long enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = [self._expires(c) for c in self.connections if not c.retiring]
        due += [c.idle_since + self.options.idle_timeout for c in self.connections if self._is_idle(c)]
        if due and not self._is_closed:
            self._timer = self._loop.call_at(min(due), self._tick)

    def _tick(self) -> None:
        self._timer = None
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
        tasks = list(self._dialing)
        for task in tasks:
            task.cancel()
        connections, self.connections = self.connections, []
        for connection in connections:
            self._forget_held(connection)
        await asyncio.gather(
            *tasks, *(c.aclose() for c in connections), *self._closing, return_exceptions=True
        )
