"""When which of two requests is taken, on a virtual clock: every order in which they may end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from brainwires_provider import AsyncClient, ConfigError, ConnectError, Hedge, Limits, ProviderError, Retry
from brainwires_provider._core.deadlines import timer_of
from brainwires_provider.testing import FakeProvider
from chat_answers import WHOLE
from virtual_time import timers, virtually

AFTER = 5.5
FIRST, SECOND = (1, 4, 7, 12), (1.25, 3.25, 9.25)  # seconds; no two requests end at once


class Exchange:
    """An answer that has come."""

    status, continuation, attempts, heard_at, is_first = 200, None, (), 0.0, True
    headers: Mapping[str, str] = {"content-type": "application/json"}

    async def body(self, limit: int) -> bytes:
        return WHOLE

    def release(self) -> None:
        """Its connection is free."""

    def abort(self) -> None:
        """Its connection is closed."""


class Network:
    """What each request takes, and whether it is answered. `ended` is what became of each, and when."""

    def __init__(self, *plays: tuple[float, bool]) -> None:
        self.plays = plays
        self.requests = 0
        self.ended: list[tuple[int, str, float]] = []

    async def open(self, outgoing: Any) -> Exchange:
        number, self.requests = self.requests, self.requests + 1
        seconds, is_good = self.plays[number]
        loop, how, ended = asyncio.get_running_loop(), "cancelled", self.ended
        try:
            await asyncio.sleep(seconds)
            how = "answered" if is_good else "failed"
        finally:
            ended.append((number, how, loop.time()))
        if not is_good:
            raise ConnectError(f"no connection for request {number}")
        return Exchange()

    async def aclose(self) -> None:
        """Nothing is open."""

    def abandon(self) -> bool:
        return False


def call(network: Network, how: str) -> tuple[Any, float]:
    """What became of a call, and when; the hooks hear of it once, and nothing is left of it."""

    async def main() -> tuple[Any, float]:
        told: list[Any] = []
        settings: Any = {"hedge": Hedge(AFTER, share=1), "retry": Retry(1), "base_url": "http://localhost:9"}
        settings |= {name: lambda _, what: told.append(what) for name in ("on_response", "on_error")}
        async with AsyncClient("openai-chat:m", api_key="k", **settings) as client:
            session: Any = client._session
            session._transports["http"] = network
            try:
                found: Any = await (client.chat("Hi") if how == "chat" else client.stream("Hi").collect())
            except ProviderError as error:
                found = error
            taken = asyncio.get_running_loop().time()
            for _ in range(3):
                await asyncio.sleep(0)  # the loser's task ends
            assert told == [found] and len(asyncio.all_tasks()) == 1
            assert not timer_of(asyncio.get_running_loop()).timed
            await asyncio.sleep(1000)
            assert timers() == []
            return found, taken

    return virtually(main())


@pytest.mark.parametrize("how", ["chat", "stream"])
@pytest.mark.parametrize("first", list(product(FIRST, (True, False))))
def test_every_order_in_which_two_requests_may_end(first: tuple[float, bool], how: str) -> None:
    for second in product(SECOND, (True, False)):
        network = Network(first, second)
        found, taken = call(network, how)

        ends = [(first[0], first[1], 0)]
        if first[0] > AFTER:
            ends.append((AFTER + second[0], second[1], 1))
        good = sorted(end for end in ends if end[1])
        at = good[0][0] if good else max(end[0] for end in ends)
        assert taken == pytest.approx(at), (first, second)
        assert network.requests == len(ends)
        assert isinstance(found, ProviderError) is not bool(good)
        for seconds, is_good, number in ends:
            wanted = ("answered" if is_good else "failed") if seconds <= at else "cancelled"
            assert (number, wanted, pytest.approx(min(seconds, at))) in network.ended
        failed = [each.is_cancelled for each in found.attempts]
        lost = [number for *_, number in ends if not good or number != good[0][2]]
        assert len(failed) == len(lost)
        if good and lost:
            (seconds, _, _), = [end for end in ends if end[2] == lost[0]]  # fmt: skip
            assert failed == [seconds > at]


def test_a_first_that_waits_for_its_place_is_looked_at_twenty_times_a_second_at_most() -> None:
    async def main() -> None:
        settings: Any = {"hedge": Hedge(0.001, share=1), "limits": Limits(concurrency=1)}
        settings["base_url"] = "http://localhost:9"
        async with AsyncClient("openai-chat:m", api_key="k", **settings) as client:
            session: Any = client._session
            session._transports["http"] = Network((3, True), (3, True))
            loop, looks, calls = asyncio.get_running_loop(), set(), [client.chat("1"), client.chat("2")]
            running = asyncio.gather(*calls)
            while loop.time() < 2:
                await asyncio.sleep(0.01)
                looks.add(round(timer_of(loop).wakes, 3))
            assert len(looks) <= 42
            await running

    virtually(main())


@pytest.mark.parametrize("slow", [2.5, 3.5, 12])
def test_a_first_that_was_not_sent_when_the_second_was_due_is_hedged_once_it_is_slow(slow: float) -> None:
    """Its key takes so long; the second begins at the next look."""

    async def key() -> str:
        await asyncio.sleep(slow if not asked else 0)
        asked.append(True)
        return "k"

    async def main() -> tuple[int, float]:
        network = Network((100, True), (1, True))
        settings: Any = {"hedge": Hedge(1, share=1), "base_url": "http://localhost:9"}
        async with AsyncClient("openai-chat:m", api_key=key, **settings) as client:
            session: Any = client._session
            session._transports["http"] = network
            await client.chat("Hi")
        return network.requests, asyncio.get_running_loop().time()

    asked: list[bool] = []
    requests, taken = virtually(main())
    assert requests == 2 and slow + 1 <= taken <= slow + 2


def test_at_most_a_share_of_the_calls_is_hedged_however_slow_all_are() -> None:
    async def main() -> int:
        network = Network(*[(20.0, True)] * 400)
        settings: Any = {"hedge": Hedge(1, share=0.1), "base_url": "http://localhost:9"}
        async with AsyncClient("openai-chat:m", api_key="k", **settings) as client:
            session: Any = client._session
            session._transports["http"] = network
            for _ in range(20):
                await asyncio.gather(*(client.chat("Hi") for _ in range(10)))
        return network.requests

    assert virtually(main()) == 200 + 20


def test_a_second_that_failed_has_used_its_share_and_one_that_could_not_be_sent_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)

    async def main(hedge: Hedge, *then: Hedge) -> int:
        slow, failed = (20.0, True), (1.0, False)
        network = Network(*[slow] * 10, *([] if then else [failed]), *[slow] * 20)
        async with AsyncClient("openai-chat:m", api_key="k", base_url="http://localhost:9") as client:
            session: Any = client._session
            session._transports["http"] = network
            for each in [*[hedge] * 10, *(then or [hedge] * 9)]:
                await client.chat("Hi", hedge=each)
        return network.requests

    assert virtually(main(Hedge(1, share=0.1))) == 19 + 1
    without_key = Hedge(1, "groq:m", share=0.1)
    assert virtually(main(without_key, Hedge(1, share=0.1))) == 11 + 1


def test_a_stream_that_is_left_before_one_is_taken_has_nothing_to_resume() -> None:
    async def main() -> None:
        settings: Any = {"transport": FakeProvider("Hello"), "hedge": Hedge(AFTER)}
        async with AsyncClient("openai-responses:m", api_key="k", **settings) as client:
            stream = client.stream("Hi")
            await stream.aclose()
            with pytest.raises(ConfigError, match="send the request again"):
                client.responses.resume(stream)

    asyncio.run(main())
