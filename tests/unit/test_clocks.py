"""The five clocks, with time passed in."""

from __future__ import annotations

import pytest

from brainwires_provider import Timeouts
from brainwires_provider._core.deadlines import Deadlines

NONE = Timeouts(connect=None, first_event=None, idle=None)

# name: the limits, whether the first event has come, since when the caller waits, and what is due when (started at 10)
CASES: dict[str, tuple[Timeouts, bool, float | None, tuple[float, str] | None]] = {
    "none at all": (NONE, False, 10, None),
    "none at all, begun": (NONE, True, 12, None),
    "first event": (Timeouts(first_event=5, idle=1), False, 10, (15, "first_event")),
    "idle counts from the wait": (Timeouts(first_event=5, idle=1), True, 12, (13, "idle")),
    "a slow consumer uses up nothing": (Timeouts(idle=1), True, None, (21, "idle")),
    "total": (Timeouts(idle=None, total=7), True, 12, (17, "total")),
    "attempt before total": (Timeouts(attempt=3, total=7), False, 10, (13, "attempt")),
    "the nearest of all": (Timeouts(first_event=2, attempt=3, total=7), False, 10, (12, "first_event")),
}


@pytest.mark.parametrize("name", CASES)
def test_the_next_clock_to_run_out(name: str) -> None:
    timeouts, begun, waiting_since, due = CASES[name]
    clocks = Deadlines(timeouts, 10)
    clocks.begun, clocks.waiting_since = begun, waiting_since

    assert clocks.next_due(20) == due
    if due is not None:
        when, clock = due
        assert clocks.expired(when - 0.01) is None or waiting_since is None
        if waiting_since is not None:
            assert clocks.expired(when) == clock
