"""The clocks of a request, with time passed in."""

from __future__ import annotations

import asyncio

import pytest

from brainwires_provider import Timeouts
from brainwires_provider._core.deadlines import Deadlines, timer_of

NONE = Timeouts(connect=None, first_event=None, idle=None)

# name: the limits, whether the first event has come, since when the caller waits, and what is due when (started at 10)
CASES: dict[str, tuple[Timeouts, bool, float | None, tuple[float, str] | None]] = {
    "content, whatever else comes": (Timeouts(idle=9, content=3), True, 12, (15, "content")),
    "content without idle": (Timeouts(idle=None, content=3), True, 12, (15, "content")),
    "idle before content": (Timeouts(idle=1, content=3), True, 12, (13, "idle")),
    "content begins with the response": (Timeouts(first_event=9, content=3), False, 10, (19, "first_event")),
    "none at all": (NONE, False, 10, None),
    "none at all, begun": (NONE, True, 12, None),
    "first event": (Timeouts(first_event=5, idle=1), False, 10, (15, "first_event")),
    "idle counts from the wait": (Timeouts(first_event=5, idle=1), True, 12, (13, "idle")),
    "a slow consumer uses up nothing": (Timeouts(idle=1), True, None, (21, "idle")),
    "total": (Timeouts(idle=None, total=7), True, 12, (17, "total")),
    "attempt before total": (Timeouts(attempt=3, total=7), False, 10, (13, "attempt")),
    "the nearest of all": (Timeouts(first_event=2, attempt=3, total=7), False, 10, (12, "first_event")),
    # two at once: which one is named
    "idle and content": (Timeouts(idle=3, content=3), True, 12, (15, "idle")),
    "idle and total": (Timeouts(idle=3, total=5), True, 12, (15, "idle")),
    "content and total": (Timeouts(idle=None, content=3, total=5), True, 12, (15, "content")),
    "first event and total": (Timeouts(first_event=5, total=5), False, 10, (15, "first_event")),
    "first event and attempt": (Timeouts(first_event=5, attempt=5), False, 10, (15, "attempt")),
    "idle and attempt": (Timeouts(idle=3, attempt=5), True, 12, (15, "attempt")),
    "attempt and total": (Timeouts(attempt=5, total=5), False, 10, (15, "attempt")),
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


class Link:
    heard_at = 14.0


def test_silence_of_the_link_counts_from_its_last_sign_of_life() -> None:
    clocks = Deadlines(Timeouts(idle=3, content=4), 10)
    clocks.begun, clocks.waiting_since, clocks.link = True, 12, Link()

    assert clocks.next_due(14) == (16, "content")
    clocks.waiting_since = 13.5
    assert clocks.next_due(14) == (17, "idle")
    clocks.waiting_since = 15
    assert clocks.next_due(16) == (18, "idle")  # an event is a sign of life too


def test_the_timer_keeps_nothing_of_a_request_that_is_done() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clocks = Deadlines(Timeouts(), loop.time())
        clocks.watch(loop, lambda clock: None)
        assert timer_of(loop).timed == {clocks}
        clocks.drop()
        assert not timer_of(loop).timed

    asyncio.run(main())
