"""What ends is fetched anew: in time, off the loop, and once however many wait for it."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any, NamedTuple

import pytest

from brainwires_provider import ConfigError, ConnectError
from brainwires_provider.auth.base import Renewed

START = 1_790_000_000.0


class Token(NamedTuple):
    number: int
    expires: float | None


class Station:
    """Gives tokens of an hour, on a clock of the test's; `gate` holds it up."""

    def __init__(self, seconds: float | None = 3600) -> None:
        self.now = START
        self.seconds = seconds
        self.fetched = 0
        self.fault: Exception | None = None
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self) -> Token:
        self.threads.add(threading.get_ident())
        assert self.gate.wait(10)
        if self.fault is not None:
            raise self.fault
        self.fetched += 1
        return Token(self.fetched, None if self.seconds is None else self.now + self.seconds)

    def renewed(self, **settings: Any) -> Renewed[Token]:
        return Renewed(self.fetch, lambda token: token.expires, clock=lambda: self.now, **settings)


def numbers(renewed: Renewed[Token], count: int = 1) -> list[int]:
    async def ask() -> list[Token]:
        return await asyncio.gather(*(renewed.get() for _ in range(count)))

    return [token.number for token in asyncio.run(ask())]


# After how many seconds, with which early, the second or still the first is given.
WHEN = [
    (0, 300, 1),
    (3300, 300, 1),
    (3301, 300, 2),
    (3600, 300, 2),
    (9999, 300, 2),
    (3301, 225, 1),
    (3376, 225, 2),
    (3599, 0, 1),
    (3601, 0, 2),
]


@pytest.mark.parametrize(("later", "early", "number"), WHEN)
def test_when_it_is_fetched_anew(later: float, early: float, number: int) -> None:
    station = Station()
    renewed = station.renewed(early=early)
    assert numbers(renewed) == [1]
    station.now += later
    assert numbers(renewed, 3) == [number] * 3
    assert station.fetched == number


def test_what_has_no_end_is_fetched_once() -> None:
    station = Station(seconds=None)
    renewed = station.renewed()
    assert numbers(renewed, 100) == [1] * 100
    station.now += 1e9
    assert numbers(renewed) == [1]


def test_a_hundred_wait_for_one_and_who_leaves_takes_nobody_along() -> None:
    station = Station()
    renewed = station.renewed()
    station.gate.clear()

    async def ask() -> list[Any]:
        asking = [asyncio.create_task(renewed.get()) for _ in range(100)]
        await asyncio.sleep(0)  # all are under way
        asking[0].cancel()  # the one that began it
        station.gate.set()
        return await asyncio.gather(*asking, return_exceptions=True)

    first, *others = asyncio.run(ask())
    assert isinstance(first, asyncio.CancelledError)
    assert {token.number for token in others} == {1}
    assert station.fetched == 1
    assert threading.get_ident() not in station.threads


def test_all_who_waited_have_left_and_it_failed() -> None:
    """Nobody is there to hear of it, and nothing is said on standard error either."""
    station = Station()
    station.fault = ConfigError("nobody asked")
    renewed = station.renewed()
    station.gate.clear()
    complaints: list[Any] = []

    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        asking = asyncio.create_task(renewed.get())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        station.gate.set()
        await asyncio.gather(
            *(t for t in asyncio.all_tasks() if t is not asyncio.current_task()), return_exceptions=True
        )
        gc.collect()

    asyncio.run(ask())
    assert complaints == []
    station.fault = None
    assert numbers(renewed) == [1]


def test_loops_in_several_threads_wait_for_one() -> None:
    station = Station()
    renewed = station.renewed()
    station.gate.clear()
    told: list[int] = []
    threads = [threading.Thread(target=lambda: told.extend(numbers(renewed, 5))) for _ in range(6)]
    for thread in threads:
        thread.start()
    station.gate.set()
    for thread in threads:
        thread.join(10)
    assert told == [1] * 30
    assert station.fetched == 1


def test_a_loop_that_ended_while_it_waited_is_no_ones_loss() -> None:
    station = Station()
    renewed = station.renewed()
    station.gate.clear()

    async def leave() -> None:
        asking = asyncio.create_task(renewed.get())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not asking.done()
        station.gate.set()

    asyncio.run(leave())
    assert numbers(renewed, 3) == [1] * 3
    assert station.fetched == 1


FAULTS = [ConnectError("the station is down"), ConfigError("no more"), ZeroDivisionError("a bug")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_first_fetch_that_fails_fails_for_all_and_is_tried_again(fault: Exception) -> None:
    station = Station()
    station.fault = fault
    renewed = station.renewed()

    async def ask() -> list[Any]:
        return await asyncio.gather(*(renewed.get() for _ in range(5)), return_exceptions=True)

    assert asyncio.run(ask()) == [fault] * 5
    station.fault = None
    assert numbers(renewed) == [1]


def test_one_that_fails_early_leaves_the_old_one_for_a_while() -> None:
    station = Station()
    renewed = station.renewed()
    assert numbers(renewed) == [1]
    station.now = START + 3400
    station.fault = ConnectError("the station is down")
    assert numbers(renewed, 5) == [1] * 5
    station.fault = AssertionError("asked again too soon")
    station.now += 29
    assert numbers(renewed) == [1]
    station.fault = ConnectError("still down")
    station.now = START + 3599
    assert numbers(renewed) == [1]
    station.now += 1
    with pytest.raises(ConnectError, match="still down"):
        numbers(renewed)
    station.fault = None
    assert numbers(renewed) == [2]
