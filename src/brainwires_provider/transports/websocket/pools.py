"""A client's pools of WebSockets: one for each endpoint, key and headers in each event loop, within one limit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from brainwires_provider.transports.base import close_soon
from brainwires_provider.transports.websocket.connection import connect
from brainwires_provider.transports.websocket.dialing import Connect, Dialer, Endpoint
from brainwires_provider.transports.websocket.pool import Pool, WebSocketMode
from brainwires_provider.types.websocket import WebSocketCounters

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Pools"]

_KEPT = 32  # pools without a connection that are kept for what they know


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
        pool = pools.pop(key, None)
        if pool is None:
            self._forget_unused(pools)
            pool = Pool(
                self.dialer(endpoint),
                endpoint.options,
                mode,
                counters=self.counters,
                random=self._random,
                max_event_bytes=self.max_event_bytes,
            )
            pool.peers = lambda: self._peers(pools, endpoint.url)
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

    @staticmethod
    def _peers(pools: dict[Any, Pool], url: str) -> Iterator[Pool]:
        """The pools that share the limit of connections to one URL."""
        return (pool for pool in list(pools.values()) if pool.dial.url == url)

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

    def abandon(self) -> bool:
        """As `Transport.abandon`."""
        known, self._pools = self._pools, {}
        were_open = [_close_soon(loop, pools) for loop, pools in known.items()]
        return any(were_open)


def _close_soon(loop: asyncio.AbstractEventLoop, pools: Mapping[Any, Pool]) -> bool:
    async def close() -> None:
        await asyncio.gather(*(pool.aclose() for pool in pools.values()))

    return close_soon(loop, close)
