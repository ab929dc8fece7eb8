"""A client's pools: one for each endpoint, key and set of handshake headers, and for each event loop.

What differs in any of these never shares a connection, so never a chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from brainwires_provider._core.plan import Plan
from brainwires_provider.auth.keys import header_secrets, resolve_headers, resolve_key
from brainwires_provider.sockets.counters import Counters, SocketCounts
from brainwires_provider.sockets.pool import Pool
from brainwires_provider.transports.websocket.connection import Closed, Handshake, Link, connect
from brainwires_provider.types.websocket import SocketTraits

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connect", "Sockets"]

Connect = Callable[..., Awaitable[Link]]


class Sockets:
    """Made by a client at its first request over a socket. `connect` and `random` are for tests."""

    def __init__(
        self,
        *,
        proxy: str | Literal["env"] | None = "env",
        ssl_context: SSLContext | None = None,
        max_event_bytes: int,
        connect: Connect = connect,
        random: Random | None = None,
    ) -> None:
        self.counters = Counters()
        self._proxy = proxy
        self._ssl = ssl_context
        self._max_event = max_event_bytes
        self._connect = connect
        self._random = random or Random()  # noqa: S311 (spreads rotations, guards nothing)
        self._pools: dict[asyncio.AbstractEventLoop, dict[Any, Pool]] = {}

    @property
    def counts(self) -> SocketCounts:
        """What went over all of them."""
        return self.counters.snapshot()

    def pool(self, plan: Plan) -> Pool:
        """The running loop's pool for a plan."""
        key = (
            plan.socket_url,
            plan.target.key,
            tuple(sorted(plan.handshake_headers("", {}).items())),
            tuple(sorted(plan.target.headers.items(), key=itemgetter(0))),
            plan.target.socket,
        )
        pools = self._pools_here()
        pool = pools.get(key)
        if pool is None:
            for unused in [k for k, p in pools.items() if p.is_unused]:
                del pools[unused]  # headers of one call only, it may be
            pool = pools[key] = Pool(self.dialer(plan), plan.target.socket, self.counters, self._random)
        pool.dial.connect_timeout = plan.timeouts.connect
        return pool

    def _pools_here(self) -> dict[Any, Pool]:
        """This loop's pools; those of loops that have ended are forgotten."""
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            for ended in [other for other in self._pools if other.is_closed()]:
                del self._pools[ended]
            self._pools[loop] = {}
        return self._pools[loop]

    def dialer(self, plan: Plan) -> Dialer:
        """What opens connections for requests like this one."""
        without_body = replace(plan, call=replace(plan.call, body={}))
        return Dialer(without_body, self._connect, self._proxy, self._ssl, self._max_event)

    async def aclose(self) -> None:
        """Close this loop's sockets."""
        pools = self._pools.pop(asyncio.get_running_loop(), {})
        await asyncio.gather(*(pool.aclose() for pool in pools.values()))


class Dialer:
    """See `pool.Dial`. The key is asked for at each connect."""

    def __init__(
        self,
        plan: Plan,
        connect: Connect,
        proxy: str | Literal["env"] | None,
        ssl_context: SSLContext | None,
        max_frame: int,
    ) -> None:
        self.secrets: tuple[str, ...] = ()
        self.connect_timeout = plan.timeouts.connect
        self._plan = plan
        self._connect = connect
        self._proxy = proxy
        self._ssl = ssl_context
        self._max_frame = max_frame

    async def __call__(
        self, *, on_frame: Callable[[bytes], None], on_close: Callable[[Closed], None]
    ) -> Link:
        plan, target = self._plan, self._plan.target
        traits: SocketTraits = target.socket
        key = "" if target.key is None else await resolve_key(target.key, target.provider)
        own = await resolve_headers(target.headers, target.provider)
        told = ((key,) if key else ()) + header_secrets(target.headers, own)
        self.secrets += tuple(secret for secret in told if secret not in self.secrets)
        handshake = Handshake(
            plan.socket_url,
            plan.handshake_headers(key, own),
            connect_timeout=self.connect_timeout,
            proxy=self._proxy,
            ssl_context=self._ssl,
            ping_interval=traits.ping,
            ping_timeout=traits.ping,
            max_frame=self._max_frame,
        )
        return await self._connect(handshake, on_frame=on_frame, on_close=on_close)
