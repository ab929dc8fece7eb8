"""The timeouts of one request, and the one timer that an event loop needs for all of them.

A timer for each request would cost a small request a tenth of all its work, and nearly every one would be cancelled.
Here a request registers with the loop's timer when it begins, and is removed when it is done; the timer wakes for the
earliest deadline, and finds it due or moved. Per event nothing is computed but one assignment: the caller notes when
it began to wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Protocol
from weakref import ref

from brainwires_provider.errors import Clock, ConfigError, ProviderError, RequestTimeout, StreamTimeout
from brainwires_provider.types import Response, Timeouts

__all__ = ["Deadlines", "LoopTimer", "Timed", "running_loop", "timer_of"]

_NEVER = float("inf")


class Heard(Protocol):
    """What a response comes over."""

    @property
    def heard_at(self) -> float:
        """When the server last showed that it is there, by the loop's clock; events need not be counted."""
        ...


class Deadlines:
    """When the timeouts of one request run out, in seconds of a monotonic clock; and, once watched, what is done then.

    `total` counts from `start`, over all attempts; `first_event` and `attempt` count from the last attempt's start.
    `waiting_since` is when the caller began to wait for the next event, None while it does not wait: a slow consumer
    does not use up the server's time. `begun` is set by an attempt's first event. `link` knows when it was last heard
    of the server.
    """

    __slots__ = (
        "_attempt",
        "_loop",
        "_on_expiry",
        "_start",
        "_timeouts",
        "_timer",
        "begun",
        "link",
        "waiting_since",
    )

    def __init__(self, timeouts: Timeouts, start: float) -> None:
        self._timeouts = timeouts
        self._start = self._attempt = start
        self.begun = False
        self.waiting_since: float | None = start
        self.link: Heard | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: LoopTimer | None = None
        self._on_expiry: Callable[[Clock], None] | None = None

    # -- by a loop's timer -------------------------------------------------------------------------------

    def watch(self, loop: asyncio.AbstractEventLoop, on_expiry: Callable[[Clock], None]) -> None:
        """Call `on_expiry` with the timeout that runs out first, once, unless they are dropped before."""
        self._loop, self._on_expiry = loop, on_expiry
        timer = self._timer = timer_of(loop)
        due = self.next_due(loop.time() if self.begun else self._attempt)
        if due is not None:
            timer.timed.add(self)
            if due[0] < timer.wakes:
                timer.sleep_until(due[0])

    def error(self, clock: Clock, partial: Callable[[], Response]) -> ProviderError:
        """What a request fails with whose timeout has run out; `partial` gives what had arrived."""
        limit = getattr(self._timeouts, clock)
        if not self.begun:
            return RequestTimeout(f"no answer began within {limit} s (Timeouts.{clock})", clock=clock)
        words = f"the answer stalled: the {clock} clock of {limit} s ran out"
        return StreamTimeout(words, clock=clock, partial=partial())

    def restart(self) -> None:
        """Another attempt begins."""
        assert self._loop is not None
        self._attempt = self.waiting_since = self._loop.time()
        self.begun, self.link = False, None

    def begin(self, link: Heard) -> None:
        """The first event of the attempt has come over this link; more of it is waited for."""
        assert self._loop is not None
        self.begun = True
        self.waiting_since = now = self._loop.time()
        self._arm(now)
        self.link = link  # heard of until now

    def drop(self) -> None:
        """Nothing is waited for any more."""
        self._on_expiry = None
        if self._timer is not None:
            self._timer.timed.discard(self)

    def _arm(self, now: float) -> None:
        """Be looked at when the next timeout runs out."""
        due = self.next_due(now)
        if due is not None and self._timer is not None:
            self._timer.add(self, due[0])

    def due_at(self, now: float) -> float | None:
        """When the next timeout runs out."""
        due = self.next_due(now)
        return None if due is None else due[0]

    def on_timeout(self) -> None:
        """A timeout has run out, unless something has come in the meantime."""
        assert self._loop is not None
        now = self._loop.time()
        clock = self.expired(now)
        if clock is None:
            self._arm(now)
        elif self._on_expiry is not None:
            self._on_expiry(clock)

    # -- which is next, and when: the time is passed in ----------------------------------------------------

    def next_due(self, now: float) -> tuple[float, Clock] | None:
        """When the next timeout runs out, and which; None when none is set."""
        limits = self._timeouts
        due: tuple[float, Clock] | None = None
        if not self.begun:
            if limits.first_event is not None:
                due = self._attempt + limits.first_event, "first_event"
        else:
            since = now if self.waiting_since is None else self.waiting_since
            if limits.idle is not None:
                heard = since if self.link is None else max(since, self.link.heard_at)
                due = heard + limits.idle, "idle"
            if limits.content is not None and (due is None or since + limits.content < due[0]):
                due = since + limits.content, "content"
        if limits.attempt is not None and (due is None or self._attempt + limits.attempt <= due[0]):
            due = self._attempt + limits.attempt, "attempt"
        if limits.total is not None and (due is None or self._start + limits.total < due[0]):
            due = self._start + limits.total, "total"
        return due

    def expired(self, now: float) -> Clock | None:
        """The timeout that has run out, if one has."""
        due = self.next_due(now)
        return due[1] if due is not None and due[0] <= now else None


class Timed(Protocol):
    """What has deadlines."""

    def due_at(self, now: float) -> float | None:
        """When the next one is, by the loop's clock; None if there is none."""
        ...

    def on_timeout(self) -> None:
        """That moment has come."""
        ...


class LoopTimer:
    """The timer of one event loop. Nothing global holds it: it lives as long as what it times, or the loop."""

    __slots__ = ("__weakref__", "_loop", "_timer", "timed", "wakes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.wakes = _NEVER
        self.timed: set[Timed] = set()

    def add(self, timed: Timed, due: float) -> None:
        """Look at it at this time, or earlier."""
        self.timed.add(timed)
        if due < self.wakes:
            self.sleep_until(due)

    def drop(self, timed: Timed) -> None:
        """It is done, or has no deadline any more."""
        self.timed.discard(timed)

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is this loop's."""
        return self._loop is loop

    def sleep_until(self, due: float) -> None:
        """Wake at this time."""
        if self._timer is not None:
            self._timer.cancel()
        self.wakes = due
        self._timer = self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer, self.wakes = None, _NEVER
        now = self._loop.time()
        dues = {timed: timed.due_at(now) for timed in list(self.timed)}  # the collector may remove some
        earliest = min((due for due in dues.values() if due is not None and due > now), default=None)
        if earliest is not None:
            self.sleep_until(earliest)
        for timed, due in dues.items():
            if due is not None and due <= now and timed in self.timed:  # another's end may have removed it
                self.drop(timed)
                self._expire(timed)

    def _expire(self, timed: Timed) -> None:
        """At once: a call later, an answer could slip in. What one of them raises does not affect the others."""
        try:
            timed.on_timeout()
        except Exception as error:  # noqa: BLE001
            self._loop.call_exception_handler({"message": "the end of a timeout raised", "exception": error})


class _Here(threading.local):
    """The timer that this thread used last, while it lives."""

    timer: ref[LoopTimer] | None = None


_here = _Here()


def timer_of(loop: asyncio.AbstractEventLoop) -> LoopTimer:
    """The timer of the loop that runs in this thread."""
    timer = None if _here.timer is None else _here.timer()
    if timer is None or timer._loop is not loop:
        timer = LoopTimer(loop)
        _here.timer = ref(timer)
    return timer


def running_loop() -> asyncio.AbstractEventLoop:
    """The running event loop. Raises ConfigError where there is none, or one of another kind."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigError(
            "the asynchronous client runs in an asyncio event loop, and none runs here; under trio, run the program "
            'with anyio.run(main, backend="asyncio"), or call the synchronous client in a thread: '
            "await anyio.to_thread.run_sync(client.chat, …)"
        ) from None
