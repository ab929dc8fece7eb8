"""One timer for all requests of a loop, with a loop whose time is moved by hand."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any, cast
from weakref import ref

import pytest

from brainwires_provider._core.deadlines import LoopTimer, timer_of


class HandLoop:
    """What a watch needs of a loop. `at` moves the time and runs what is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[asyncio.TimerHandle] = []
        self.faults: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, (), cast("Any", self))
        self.timers.append(timer)
        return timer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context["exception"])

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        self.timers.remove(timer)

    def at(self, now: float) -> None:
        self.now = now
        for timer in [t for t in self.timers if t.when() <= now]:
            self.timers.remove(timer)
            timer._run()

    @property
    def wakes_at(self) -> list[float]:
        return [timer.when() for timer in self.timers]


class Request:
    """Rings at `due`, which may move; None is no clock."""

    def __init__(self, due: float | None) -> None:
        self.due = due
        self.rung = 0

    def due_at(self, now: float) -> float | None:
        return self.due

    def on_timeout(self) -> None:
        self.rung += 1


@pytest.fixture
def loop() -> HandLoop:
    return HandLoop()


@pytest.fixture
def watch(loop: HandLoop) -> LoopTimer:
    return LoopTimer(cast("Any", loop))


def test_the_earliest_has_the_one_timer(loop: HandLoop, watch: LoopTimer) -> None:
    for due in (600, 300, 5, 601):
        watch.add(Request(due), due)

    assert loop.wakes_at == [5]


def test_who_is_due_is_rung_once_and_the_next_is_waited_for(loop: HandLoop, watch: LoopTimer) -> None:
    early, late = Request(5), Request(600)
    watch.add(early, 5)
    watch.add(late, 600)

    loop.at(5)
    assert (early.rung, late.rung, loop.wakes_at) == (1, 0, [600])

    loop.at(600)
    assert (early.rung, late.rung, loop.wakes_at) == (1, 1, [])


@pytest.mark.parametrize(("due", "wakes_at"), [(9.0, [9.0]), (None, [])])
def test_a_moment_that_has_moved_is_seen_when_the_timer_wakes(
    loop: HandLoop, watch: LoopTimer, due: float | None, wakes_at: list[float]
) -> None:
    request = Request(5)
    watch.add(request, 5)
    request.due = due

    loop.at(5)

    assert request.rung == 0
    assert loop.wakes_at == wakes_at


def test_who_is_done_is_not_rung(loop: HandLoop, watch: LoopTimer) -> None:
    request = Request(5)
    watch.add(request, 5)
    watch.drop(request)

    loop.at(5)

    assert request.rung == 0


def test_who_is_taken_along_by_another_is_not_rung(loop: HandLoop, watch: LoopTimer) -> None:
    class Both(Request):
        def on_timeout(self) -> None:
            super().on_timeout()
            for each in pair:
                watch.drop(each)

    pair = [Both(5), Both(5)]
    for request in pair:
        watch.add(request, 5)

    loop.at(5)

    assert sum(request.rung for request in pair) == 1


def test_what_one_raises_is_nothing_to_the_others(loop: HandLoop, watch: LoopTimer) -> None:
    class Bad(Request):
        def on_timeout(self) -> None:
            raise RuntimeError

    requests = [Bad(5), Request(5), Bad(5), Request(6)]
    for request in requests:
        watch.add(request, 5)

    loop.at(5)

    assert [type(fault) for fault in loop.faults] == [RuntimeError, RuntimeError]
    assert [request.rung for request in requests] == [0, 1, 0, 0]
    assert loop.wakes_at == [6]


def test_a_loop_has_one_watch_and_a_thread_knows_its_last() -> None:
    async def watches() -> list[LoopTimer]:
        loop = asyncio.get_running_loop()
        return [timer_of(loop), timer_of(loop)]

    first, again = asyncio.run(watches())
    other, _ = asyncio.run(watches())
    there: list[LoopTimer] = []
    thread = threading.Thread(target=lambda: there.extend(asyncio.run(watches())))
    thread.start()
    thread.join()

    assert first is again
    assert len({first, other, there[0]}) == 3


def test_a_watch_goes_with_its_loop() -> None:
    async def leave_one_behind() -> tuple[ref[LoopTimer], ref[asyncio.AbstractEventLoop]]:
        loop = asyncio.get_running_loop()
        watch = timer_of(loop)
        watch.add(Request(1e9), loop.time() + 1e9)
        return ref(watch), ref(loop)

    watch, loop = asyncio.run(leave_one_behind())
    gc.collect()

    assert (watch(), loop()) == (None, None)
