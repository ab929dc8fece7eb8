"""Carries the events of a stream from the portal's thread to a consumer in another, in bounded batches.

The consumer takes all that is there at once, and the pump wakes it only when it waits. A consumer that falls behind
stops the reading: the pump pauses above a bound of what was given and not yet taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from itertools import chain
from typing import Any

from brainwires_provider._core.stream import AsyncStream, Cut
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnd,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.sync.portal import Job, Portal, Share, belongs_to_parent
from brainwires_provider.types import Response

__all__ = ["Pump"]

_BOUND = 2_097_152  # characters, and so many for each event besides:
_EVENT = 1_024
_LEAVING = 1.5  # seconds, above the time in which an exchange is drained
_DELTAS = frozenset((TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta))


class Pump(Job[None]):
    """Reads a stream on the portal, and hands its events over. Knows nothing of the Stream, which may be dropped.

    `given` and `taken` are running sums of weight, each written by one side only.
    """

    def __init__(self, portal: Portal, share: Share, stream: AsyncStream, events: deque[Event]) -> None:
        super().__init__(portal, self._pump, share)
        self.whole = False
        self._stream: AsyncStream | None = stream
        self._last: Response | None = None
        self._cut: Cut | None = None
        self._events = events
        self._batches: deque[list[Event]] = deque()
        self._given = 0
        self._taken = 0
        self._waiting = False
        self._paused = False
        self._room = asyncio.Event()

    # -- the consumer's side -----------------------------------------------------------------------------

    def take(self) -> None:
        """Wait for events, and take all there are; raises the error that came after the last of them."""
        if self.portal.forked:
            raise belongs_to_parent()
        batches, events = self._batches, self._events
        while True:
            done, given = self.done, self._given  # before looking: what comes after counts for the next time
            while batches:
                events.extend(batches.popleft())
            self._taken = given
            if self._paused:
                self.portal.soon(self._room.set)
            if events:
                return
            if done:
                self.rethrow()
                return
            self._waiting = True  # then look again: the pump gives, then looks at it
            if not batches and not self.done:
                self.doze()
            self._waiting = False

    @property
    def last(self) -> Response:
        """The answer as far as it came; call it once the pump has ended, or on the loop."""
        if self._last is None:
            assert self._stream is not None
            return self._stream.partial
        return self._last

    def cut(self) -> Cut:
        """What is left for another stream to go on with; call it once the pump has ended."""
        cut = self._cut
        if cut is None:
            assert self._stream is not None
            cut = self._stream._cut()
        return cut._replace(undelivered=(*chain.from_iterable(self._batches), *cut.undelivered))

    def orphan(self) -> None:
        """In a forked child: what had arrived is the parent's."""
        self._batches.clear()
        self._events.clear()

    def tell(self, error: BaseException | None) -> None:
        """After a failure only the values are kept: its traceback must not hold the exchange."""
        if error is not None and not self.done and self._stream is not None:
            self._last = self._stream.partial
            self._cut = self._stream._cut()
            self._stream = None
        super().tell(error)

    # -- the loop's side ---------------------------------------------------------------------------------

    async def _pump(self) -> None:
        assert self._stream is not None
        pull, batches = self._stream.pull, self._batches
        while batch := await pull():
            if type(batch[-1]) is ResponseEnd:
                self.whole = True
            self._given += sum(map(_weight, batch))
            batches.append(batch)
            if self._waiting:
                self._waiting = False
                self.portal.rouse(self)
            if self._given - self._taken > _BOUND:
                await self._pause()

    async def _pause(self) -> None:
        """Read no further until the consumer has taken what there is."""
        self._paused = True
        while self._given - self._taken > _BOUND:
            await self._room.wait()
            self._room.clear()
        self._paused = False

    async def end(self) -> None:
        """Leave in good order: an answer at its end is read out, so that its connection is kept, any other dropped."""
        task = self._task
        if task is None:
            self.cancel()
            return
        try:
            self._taken = self._given
            self._room.set()
            if not self.whole:
                task.cancel()
            await asyncio.wait([task], timeout=_LEAVING)
        finally:
            if not self.done:
                self.cancel()

    async def look(self) -> Response:
        """What has arrived so far."""
        return self.last


def _weight(event: Event) -> int:
    kind = type(event)
    if kind in _DELTAS:
        return _EVENT + len(event.text)  # type: ignore[union-attr]
    return _EVENT + _size(event.data) if kind is OpaqueDelta else _EVENT  # type: ignore[union-attr]


def _size(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()), len(value))
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value), len(value))
    return 8
