"""Which of the five clocks runs out next.

Pure: the caller passes the time in, and sleeps until `next_due`. Nothing is computed per event but one
assignment: the caller says when it began to wait, and a clock is only looked at when its timer fires.
"""

from __future__ import annotations

from brainwires_provider.errors import Clock
from brainwires_provider.types import Timeouts

__all__ = ["Clocks"]


class Clocks:
    """The clocks of one request, begun at `start`, in seconds of a monotonic clock.

    `waiting_since` is when the caller began to wait for the next event, None while it does not wait: a slow
    consumer does not use up the server's time. `begun` is set by the first event.
    """

    __slots__ = ("_start", "_timeouts", "begun", "waiting_since")

    def __init__(self, timeouts: Timeouts, start: float) -> None:
        self._timeouts = timeouts
        self._start = start
        self.begun = False
        self.waiting_since: float | None = start

    def next_due(self, now: float) -> tuple[float, Clock] | None:
        """When the next clock runs out, and which; None when none is set."""
        limits = self._timeouts
        due: tuple[float, Clock] | None = None
        if not self.begun:
            if limits.first_event is not None:
                due = self._start + limits.first_event, "first_event"
        elif limits.idle is not None:
            since = now if self.waiting_since is None else self.waiting_since
            due = since + limits.idle, "idle"
        if limits.attempt is not None and (due is None or self._start + limits.attempt <= due[0]):
            due = self._start + limits.attempt, "attempt"
        if limits.total is not None and (due is None or self._start + limits.total < due[0]):
            due = self._start + limits.total, "total"
        return due

    def expired(self, now: float) -> Clock | None:
        """The clock that has run out, if one has."""
        due = self.next_due(now)
        return due[1] if due is not None and due[0] <= now else None
