"""What an auth is that has to know the request: it signs it, or carries a token that it renews by itself.

`Renewed` is what both of ours keep such a token in: fetched in a thread, since that may block, shortly before the old
one ends, and once however many requests wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from brainwires_provider.errors import ProviderError

if TYPE_CHECKING:
    import asyncio

__all__ = ["Auth", "Renewed"]

T = TypeVar("T")

_RETRY_EARLY = 30.0


class Auth(Protocol):
    """Serves many requests, threads and loops."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What the last request was carried by, to be kept out of errors."""
        ...

    @property
    def advice(self) -> str:
        """What to look at where a service does not take what it was shown."""
        ...

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers to add to a request, which then goes out as it is. Raises ConfigError, ConnectError."""
        ...


class Renewed(Generic[T]):
    """A value with an end, in seconds since 1970 or None. `fetch` gives a fresh one; it is called in a thread."""

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
        self._lock = Lock()
        self._known: list[T] = []
        self._not_before = 0.0  # after a failed early renewal: when the next one may be tried
        self._renewals: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Any]] = WeakKeyDictionary()

    async def get(self) -> T:
        """The value, good for some time more. Raises what `fetch` raises."""
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
        """The known value while it needs no renewal; empty without."""
        known = self._known
        end = self._expires(known[0]) if known else None
        if end is None:
            return known
        now = self._clock()
        is_late = end - now < self._early
        return known if not is_late or now < min(self._not_before, end) else []

    def _renew(self) -> T:
        """Runs in a thread; another loop's renewal is waited for, and its result taken."""
        with self._lock:
            for known in self._good():
                return known
            try:
                self._known = [self._fetch()]
            except ProviderError:
                now = self._clock()
                end = self._expires(self._known[0]) if self._known else None
                if end is None or end <= now:
                    raise
                self._not_before = now + _RETRY_EARLY  # the old one holds for a while yet
            return self._known[0]
