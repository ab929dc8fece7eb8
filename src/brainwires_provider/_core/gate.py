"""Waits for places within limits: one gate for each provider, model and key, shared by a client's event loops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from brainwires_provider._core.limit_headers import stated_limits
from brainwires_provider._core.limits import Amounts, Limiter, Ticket, Waiter
from brainwires_provider._core.locks import Locked
from brainwires_provider._core.waits import Waits
from brainwires_provider.types import Limits, LimitStats

if TYPE_CHECKING:
    import asyncio

__all__ = ["Gate"]


class Gate(Locked):
    """The limits of one provider, model and key. `clock` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.limiter = Limiter(limits)
        self._clock = clock

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self.limiter.waiting

    @property
    def running(self) -> int:
        """How many have a place."""
        return self.limiter.running

    def try_enter(self, amounts: Amounts) -> Ticket | None:
        """A place at once, if there is one and nobody waits."""
        with self._lock:
            limiter = self.limiter
            ticket = None if limiter.queue else limiter.reserve(amounts, self._clock())
        if self._noted:
            self._catch_up()
        return ticket

    async def enter(self, amounts: Amounts, waits: Waits) -> Ticket:
        """Wait for a place, in order of arrival. Raises ConfigError when the client is closed meanwhile."""
        import asyncio

        loop = asyncio.get_running_loop()
        wake: list[asyncio.Future[None]] = []

        def woken() -> bool:
            try:
                for future in wake:
                    loop.call_soon_threadsafe(_finish, future)
            except RuntimeError:  # its loop is closed: nobody waits there
                return False
            return True

        waiter = Waiter(amounts, woken)
        try:
            with self, self._lock:
                self.limiter.enter(waiter, self._clock())
            while waiter.ticket is None:
                future = loop.create_future()
                wake[:] = [future]
                timer = self._timer(loop, waiter, future)
                try:
                    if waiter.ticket is None:
                        await waits.until(future)
                finally:
                    if timer is not None:
                        timer.cancel()
                with self, self._lock:
                    self.limiter.grant(self._clock())
        except BaseException:
            self._note(waiter, None)
            raise
        return waiter.ticket

    def _timer(self, loop: Any, waiter: Waiter, future: Any) -> asyncio.TimerHandle | None:
        """Wakes the head of the queue when there is room for it."""
        with self, self._lock:
            now = self._clock()
            due = self.limiter.due(now) if self.limiter.is_head(waiter) else None
        handle: asyncio.TimerHandle | None = (
            None if due is None else loop.call_later(due - now, _finish, future)
        )
        return handle

    def settle(self, ticket: Ticket, amounts: Amounts | None) -> None:
        """A request is done; see `Limiter.settle`."""
        self._note(ticket, amounts)

    def _end(self, who: Ticket | Waiter, amounts: Amounts | None) -> None:
        """A request is done, or somebody waits no more."""
        limiter = self.limiter
        if isinstance(who, Waiter):
            limiter.leave(who, self._clock())
        elif limiter.take_back(who, amounts):
            limiter.grant(self._clock())

    def learn(self, headers: Mapping[str, str], daily: frozenset[str] = frozenset()) -> None:
        """Follow what a response states of the provider's limits, but those that are of a day."""
        stated = stated_limits(headers, time.time(), daily)
        if stated:
            with self, self._lock:
                self.limiter.learn(stated, self._clock())
                self.limiter.grant(self._clock())

    def stats(self, provider: str, model: str) -> list[LimitStats]:
        """Every limit as it stands."""
        with self, self._lock:
            return self.limiter.stats(provider, model, self._clock())


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
