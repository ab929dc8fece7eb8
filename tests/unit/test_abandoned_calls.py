"""A call that nobody holds any more is ended by the garbage collector: in any thread, at any moment.

What it had reserved is given back at once; its connection belongs to its event loop, which alone touches it.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from brainwires_provider import AsyncClient, Budget, Hedge, Limits, Retry, Timeouts
from brainwires_provider._core.deadlines import LoopTimer, timer_of
from brainwires_provider._core.limits import Amounts
from brainwires_provider._core.shared_limits import Held
from brainwires_provider.testing import sse
from brainwires_provider.transports.base import ByteExchange
from chat_answers import chunk

_PATIENCE = 4.0


class Hanging(ByteExchange):
    """An answer that never comes to its end. Notes the threads that drop it."""

    status, attempts, headers, ended = 200, (), {"content-type": "text/event-stream"}, False  # type: ignore[assignment]

    def __init__(self, dropped: list[int]) -> None:
        self._dropped = dropped
        self._chunks = [sse(chunk({"role": "assistant", "content": "Hel"}))]

    async def read(self) -> bytes:
        if self._chunks:
            return self._chunks.pop()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")

    def release(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._dropped.append(threading.get_ident())


class Network:
    """Gives answers; `dropped` are the threads that have dropped one."""

    def __init__(self) -> None:
        self.dropped: list[int] = []

    async def open(self, outgoing: Any) -> Hanging:
        return Hanging(self.dropped)

    async def aclose(self) -> None:
        """Nothing is open."""

    def abandon(self) -> bool:
        return False


def client_over(network: Network, **policies: Any) -> AsyncClient:
    given: dict[str, Any] = {"api_key": "k", "base_url": "http://localhost:9", "transport": network}
    return AsyncClient("openai-chat:m", **given, retry=Retry(1), timeouts=Timeouts(total=None), **policies)


async def _begun(client: AsyncClient) -> Any:
    """A stream whose first events were read."""
    stream = client.stream("Hi")
    await stream.pull()
    return stream


async def _asked(client: AsyncClient) -> Any:
    """A call that waits for its answer."""
    call: Any = client.chat("Hi")
    call.send(None)
    return call


LEFT: dict[str, tuple[Callable[[AsyncClient], Any], dict[str, Any]]] = {
    "stream": (_begun, {}),
    "chat": (_asked, {}),
    "hedged stream": (_begun, {"hedge": Hedge(1000, share=1)}),
    "hedged chat": (_asked, {"hedge": Hedge(1000, share=1)}),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", LEFT)
def test_a_call_whose_event_loop_has_ended_gives_back_what_it_had_reserved(how: str) -> None:
    """Its loop is closed: nobody else could. A client's limits are those of all its event loops."""
    begin, more = LEFT[how]
    network = Network()
    client = client_over(network, limits=Limits(concurrency=1), budget=Budget(tokens=10**6), **more)
    loop = asyncio.new_event_loop()
    left = loop.run_until_complete(begin(client))
    loop.close()
    assert client.stats().running == 1
    del left
    gc.collect()
    assert (client.stats().running, client.stats().reserved_tokens) == (0, 0)


@pytest.mark.parametrize("how", LEFT)
def test_the_collector_of_another_thread_does_not_touch_a_connection(how: str) -> None:
    """Its event loop drops it. What was reserved is there at once, for whoever waits on another loop."""
    begin, more = LEFT[how]

    async def main() -> None:
        network = Network()
        client = client_over(network, limits=Limits(concurrency=1), **more)
        held = [await begin(client)]
        await asyncio.sleep(0)
        elsewhere = threading.Thread(target=held.clear)
        gc.disable()
        try:
            elsewhere.start()
            elsewhere.join()
        finally:
            gc.enable()
        assert client.stats().running == 0 and network.dropped == []
        async with asyncio.timeout(_PATIENCE):
            while not network.dropped:
                await asyncio.sleep(0)
        assert set(network.dropped) == {threading.get_ident()}

    with pytest.warns(ResourceWarning) if "stream" in how else nullcontext():
        asyncio.run(main(), debug=True)


def test_a_timeout_is_kept_while_the_collector_ends_another_call() -> None:
    """The loop's timer goes through its calls; ending one of them removes it."""

    class Timed:
        def __init__(self, timer: LoopTimer) -> None:
            self.timer, self.is_over = timer, False
            timer.add(self, loop_time() + 0.001)

        def due_at(self, now: float) -> float | None:
            gc.collect()
            return now

        def on_timeout(self) -> None:
            self.is_over = True

    class Collected:
        """In a cycle, with one that the timer knows."""

        def __init__(self, timer: LoopTimer, known: Any) -> None:
            self.timer, self.known, self.itself = timer, known, self

        def __del__(self) -> None:
            self.timer.timed.discard(self.known)

    def loop_time() -> float:
        return asyncio.get_running_loop().time()

    async def main() -> None:
        timer = timer_of(asyncio.get_running_loop())
        timed = [Timed(timer) for _ in range(4)]
        gc.disable()
        Collected(timer, timed[3])
        try:
            async with asyncio.timeout(_PATIENCE):
                while not all(each.is_over for each in timed[:3]):
                    await asyncio.sleep(0.001)
        finally:
            gc.enable()

    asyncio.run(main())


def test_a_shared_limit_says_all_it_holds_while_the_collector_ends_a_call() -> None:
    """What is on a server belongs to one event loop: it gives the place back."""

    class Moment(float):
        """Of a place; the collector runs when it is looked at."""

        def __rsub__(self, now: float) -> float:
            gc.collect()
            return now

    async def main() -> None:
        limits = Limits(shared="redis://localhost:9", concurrency=9)
        client = client_over(Network(), limits=limits)
        session: Any = client._session
        terms = session.terms(session.plan("Hi", {}, stream=False))
        session._terms = terms
        gate = terms.gate
        call: Any = client.chat("Hi")
        call.send(None)
        (waiter,) = gate._waiting.values()
        gate._hold(waiter, is_known=True)
        gate._task.cancel()
        await asyncio.sleep(0)
        with suppress(BaseException):
            call.send(None)
        assert gate.running == 1
        gate._held[-1] = Held(Amounts(), at=Moment(0))
        gate._held = dict(reversed(gate._held.items()))
        gate._is_full = True
        gc.disable()
        around: list[Any] = [call]
        around.append(around)
        del call, around
        try:
            assert len(gate._message({}, [], [], {})["holding"].split()) == 2
        finally:
            gc.enable()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert gate.running == 1

    asyncio.run(main())
