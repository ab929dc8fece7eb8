"""The clocks of a request, with time passed in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brainwires_provider import ConfigError, ProviderError, RequestTimeout, StreamTimeout, Timeouts
from brainwires_provider._core.deadlines import Deadlines, timer_of
from brainwires_provider._core.waits import Waits
from virtual_time import timers, virtually

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


def test_a_request_is_looked_at_whenever_one_of_its_clocks_may_run_out() -> None:
    async def main() -> None:
        loop, over = asyncio.get_running_loop(), []
        timer, link = timer_of(loop), Link()
        clocks = Deadlines(Timeouts(first_event=5, idle=3), loop.time())
        clocks.watch(loop, lambda clock: over.append((clock, loop.time())))
        assert timer.wakes == 5 and timers()[0].when() == 5
        await asyncio.sleep(4)
        link.heard_at = 5
        clocks.begin(link)
        assert (clocks.begun, clocks.waiting_since, clocks.link) == (True, 4, link) and timer.timed == {
            clocks
        }
        timer.drop(clocks)
        link.heard_at = 6
        clocks.on_timeout()  # something has come meanwhile: again later
        assert timer.timed == {clocks} and not over
        await asyncio.sleep(4.9)
        link.heard_at = 7
        await asyncio.sleep(1)
        assert loop.time() == 9.9 and not over and timer.wakes == 10
        clocks.restart()
        assert (clocks.begun, clocks.link, clocks.waiting_since) == (False, None, loop.time())
        clocks.watch(loop, lambda clock: over.append((clock, loop.time())))
        await asyncio.sleep(9)
        assert over == [("first_event", 9.9 + 5)] and timers() == []
        clocks.drop()
        clocks.on_timeout()  # nobody is told any more
        assert len(over) == 1 and not timer.timed

    virtually(main())


@pytest.mark.parametrize("first_event", [None, 50])
def test_an_answer_that_has_begun_has_a_clock_of_its_own(first_event: float | None) -> None:
    async def main() -> None:
        loop, over = asyncio.get_running_loop(), []
        clocks = Deadlines(Timeouts(first_event=first_event, idle=3), loop.time())
        clocks.watch(loop, lambda clock: over.append((clock, loop.time())))
        await asyncio.sleep(4)
        clocks.begin(Link())
        await asyncio.sleep(99)
        assert over == [("idle", 14 + 3)]  # since the link's last sign of life

    virtually(main())


# the clock, whether an answer has begun: what the error says, and of which type it is
SAID: dict[str, tuple[bool, str, type[ProviderError]]] = {
    "first_event": (False, "no answer began within 1 s (Timeouts.first_event)", RequestTimeout),
    "attempt": (False, "no answer began within 3 s (Timeouts.attempt)", RequestTimeout),
    "total": (False, "no answer began within 4 s (Timeouts.total)", RequestTimeout),
    "idle": (True, "the answer stalled: the idle clock of 2 s ran out", StreamTimeout),
    "content": (True, "the answer stalled: the content clock of 5 s ran out", StreamTimeout),
}


@pytest.mark.parametrize("name", SAID)
def test_an_error_names_its_clock_and_limit(name: Any) -> None:
    begun, words, kind = SAID[name]
    limits = Timeouts(first_event=1, idle=2, attempt=3, total=4, content=5)
    clocks, partial = Deadlines(limits, 0), object()
    clocks.begun = begun
    error: Any = clocks.error(name, lambda: partial)  # type: ignore[arg-type,return-value]
    assert (type(error), error.clock, str(error)) == (kind, name, words)
    assert getattr(error, "partial", None) is (partial if begun else None)


def test_the_timer_keeps_nothing_of_a_request_that_is_done() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clocks = Deadlines(Timeouts(), loop.time())
        clocks.watch(loop, lambda clock: None)
        assert timer_of(loop).timed == {clocks}
        clocks.drop()
        assert not timer_of(loop).timed

    asyncio.run(main())


@pytest.mark.parametrize("leave", ["", "cancel", "close"])
def test_a_wait_leaves_nothing_however_it_ends(leave: str) -> None:
    async def main() -> float:
        waits = Waits()
        waiting = asyncio.create_task(waits.sleep(60))
        await asyncio.sleep(0)
        assert [each.when() for each in timers()] == [60]
        if leave == "cancel":
            waiting.cancel()
        elif leave == "close":
            waits.close()
        (found,) = await asyncio.gather(waiting, return_exceptions=True)
        assert type(found) is {"": type(None), "cancel": asyncio.CancelledError, "close": ConfigError}[leave]
        assert timers() == [] and not waits._futures
        return asyncio.get_running_loop().time()

    assert virtually(main()) == (0 if leave else 60)
