"""The interface of authentication that signs a request, or adds a token that it renews.

`Renewed` holds such a token. A new one is fetched in a thread, since that may block, shortly before the old one
expires, and only once for all requests that wait for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from brainwires_provider.errors import ProviderError

if TYPE_CHECKING:
    import asyncio

__all__ = ["Auth", "ProcessLock", "Renewed"]

T = TypeVar("T")

_RETRY_EARLY = 30.0


class Auth(Protocol):
    """Adds headers to requests. One object serves many requests, threads and event loops."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets of the last request, which are removed from errors."""
        ...

    @property
    def advice(self) -> str:
        """What the user should check if a service rejects the credentials."""
        ...

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers to add to a request, which must then be sent unchanged.

        Raises ConfigError for missing or unusable credentials, ConnectError if a token could not be fetched.
        """
        ...


class ProcessLock:
    """One lock for each process: in a forked child, the parent's may be held by a thread that does not exist there."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}

    def here(self) -> threading.Lock:
        """This process's."""
        return self._locks.setdefault(os.getpid(), threading.Lock())


class Renewed(Generic[T]):
    """A value that expires. `fetch` returns a new one, and is called in a thread.

    `expires` returns when a value expires, in seconds since 1970, or None for never. A value is renewed `early`
    seconds before.
    """

    def __init__(
        self,
        fetch: Callable[[], T],
        expires: Callable[[T], float | None],
        *,
        early: float = 300.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._expires = expires
        self._early = early
        self._clock = clock
        self._lock = ProcessLock()
        self._known: list[T] = []
        self._not_before = 0.0  # after a failed early renewal: the time of the next attempt
        self._renewals: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Any]] = WeakKeyDictionary()

    async def get(self) -> T:
        """The value, renewed if it expires soon. Raises what `fetch` raises."""
        for known in self._good():
            return known
        import asyncio

        loop = asyncio.get_running_loop()
        renewal = self._renewals.get(loop)
        if renewal is None or renewal.done():
            renewal = self._renewals[loop] = loop.create_task(asyncio.to_thread(self._renew))
        fresh: T = await asyncio.shield(renewal)
        return fresh

    def _good(self) -> list[T]:
        """The known value in a list; an empty list if there is none, or it has to be renewed."""
        known = self._known
        end = self._expires(known[0]) if known else None
        if end is None:
            return known
        now = self._clock()
        is_late = end - now < self._early
        return known if not is_late or now < min(self._not_before, end) else []

    def _renew(self) -> T:
        """Renew the value. Runs in a thread; waits for another event loop's renewal and uses its result."""
        with self._lock.here():
            for known in self._good():
                return known
            try:
                self._known = [self._fetch()]
            except ProviderError:
                now = self._clock()
                end = self._expires(self._known[0]) if self._known else None
                if end is None or end <= now:
                    raise
                self._not_before = now + _RETRY_EARLY  # the old one is still valid
            return self._known[0]
