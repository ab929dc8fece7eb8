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
            if self._timer is not None:
                self._timer.cancel()
            self._wakes = due
            self._timer = self._loop.call_at(due, self._wake)

    def drop(self, watched: Watched) -> None:
        """It is done, or has no clock any more."""
        self._watched.discard(watched)

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is this loop's."""
        return self._loop is loop

    def _wake(self) -> None:
        self._timer, self._wakes = None, _NEVER
        now = self._loop.time()
        for watched in tuple(self._watched):
            due = watched.next_look(now)
            if due is None:
                self._watched.discard(watched)
            elif due > now:
                self.add(watched, due)
            else:
                self._loop.call_soon(self._ring, watched)  # what one of them raises is nothing to the others

    def _ring(self, watched: Watched) -> None:
        if watched in self._watched:  # unless it was done in the meantime
            self._watched.discard(watched)
            watched.ring()


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
