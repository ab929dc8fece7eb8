"""One timer an event loop, however many requests it has under way.

A timer of its own would cost a small request a tenth of all that is done for it, and nearly every one of them would
be cancelled. Here a request says when it wants to be looked at, and takes its name off when it is done; the one timer
wakes for the earliest of them, and finds that nobody is due, or somebody is.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol
from weakref import ref

if TYPE_CHECKING:
    import asyncio

__all__ = ["Watch", "Watched", "watch_of"]

_NEVER = float("inf")


class Watched(Protocol):
    """What has clocks."""

    def next_look(self, now: float) -> float | None:
        """When it wants to be looked at, by the loop's clock; None if not at all."""
        ...

    def ring(self) -> None:
        """That moment has come."""
        ...


class Watch:
    """The watch of one event loop. Nothing global holds it: it goes with the last who is watched, or with the loop."""

    __slots__ = ("__weakref__", "_loop", "_timer", "_wakes", "_watched")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = _NEVER
        self._watched: set[Watched] = set()

    def add(self, watched: Watched, due: float) -> None:
        """Look at it at this time, or earlier."""
        self._watched.add(watched)
        if due < self._wakes:
            self._sleep_until(due)

    def drop(self, watched: Watched) -> None:
        """It is done, or has no clock any more."""
        self._watched.discard(watched)

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is this loop's."""
        return self._loop is loop

    def _sleep_until(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = due
        self._timer = self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer, self._wakes = None, _NEVER
        now = self._loop.time()
        dues = {watched: watched.next_look(now) for watched in self._watched}
        earliest = min((due for due in dues.values() if due is not None and due > now), default=None)
        if earliest is not None:
            self._sleep_until(earliest)
        for watched, due in dues.items():
            if due is None:
                self.drop(watched)
            elif due <= now and watched in self._watched:  # one that rang may have taken it along
                self.drop(watched)
                self._ring(watched)

    def _ring(self, watched: Watched) -> None:
        """At once: a call later, an answer could slip in. What one of them raises is nothing to the others."""
        try:
            watched.ring()
        except Exception as error:  # noqa: BLE001
            self._loop.call_exception_handler({"message": "a clock's end raised", "exception": error})


class _Here(threading.local):
    """The watch that this thread used last, while it lives."""

    watch: ref[Watch] | None = None


_here = _Here()


def watch_of(loop: asyncio.AbstractEventLoop) -> Watch:
    """The watch of the loop that runs in this thread."""
    watch = None if _here.watch is None else _here.watch()
    if watch is None or not watch.is_of(loop):
        watch = Watch(loop)
        _here.watch = ref(watch)
    return watch
