"""Leaving early, in every state and mode: no event of it reaches anybody, and the next request works at once."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    ConfigError,
    ConnectError,
    ProviderError,
    RequestTimeout,
    ResponseEnd,
    ServerError,
    StreamInterrupted,
    TextDelta,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider.testing import Failure, Gate, Job, ResponsesService, ScriptedSocket, Stall, digest
from brainwires_provider.transports.websocket.connection import Closed, LinkLost
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import COLOURS, LANES, MODEL, MODES, client_of, config, played, pools, run, tried
from socket_memory import MemoryLink, MemoryNet, VirtualLoop

BOTH = pytest.mark.parametrize("colour", COLOURS)
IN_BOTH_MODES = pytest.mark.parametrize("traits", MODES.values(), ids=MODES.keys())


class Holding:
    """A service whose answers to "left" stop after (or before any) event, until they are let go."""

    def __init__(self, traits: WebSocketOptions, hold_after: str | None) -> None:
        self.gate = Gate()
        self.reached = threading.Event()
        self._hold_after = hold_after
        self.service = ResponsesService(lanes=traits.multiplexing, piece=2)
        self.server = ScriptedSocket(self.service, fault=self._fault)

    def _fault(self, number: int, job: Job, event: Mapping[str, Any]) -> Any:
        if job.body["input"][-1]["content"] != "left":
            return None
        if self._hold_after is None and event["type"] == "response.created":
            self.reached.set()
            return [self.gate, event]
        if event["type"] == self._hold_after:
            self.reached.set()
            # After an answer's end nothing may hold its lane: the next request may be on it.
            return event if event["type"] == "response.completed" else [event, self.gate]
        return None

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 5)


async def check(client: Any, said: str) -> None:
    assert (await client.chat(said)).text == digest([{"role": "user", "content": said}])


STATES = (
    None,
    "response.created",
    "response.in_progress",
    "response.output_text.delta",
    "response.completed",
)


@IN_BOTH_MODES
@pytest.mark.parametrize("state", STATES)
def test_cancelled_in_any_state(state: str | None, traits: WebSocketOptions) -> None:
    holding = Holding(traits, state)

    async def scenario(client: Any) -> None:
        left = asyncio.create_task(client.chat("left"))
        await holding.wait()
        left.cancel()
        await asyncio.wait([left])
        assert left.cancelled() or (state == "response.completed" and left.result())
        await check(client, "kept")
        server.open(holding.gate)
        await asyncio.gather(*(check(client, f"kept {n}") for n in range(3)))

    with holding.server as server:
        played("async", server, scenario, traits)


@IN_BOTH_MODES
def test_cancelled_while_it_waits_for_a_place(traits: WebSocketOptions) -> None:
    holding = Holding(traits, "response.created")

    async def scenario(client: Any) -> None:
        first = asyncio.create_task(client.chat("left"))
        await holding.wait()
        waiting = [asyncio.create_task(client.chat(f"waiting {n}")) for n in range(3)]
        await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.wait(waiting[:2])
        server.open(holding.gate)
        assert (await first).text.startswith("1 items")
        assert (await waiting[2]).text.startswith("1 items")
        assert client.responses.websocket_stats.abandoned == 0

    one = WebSocketOptions(
        multiplexing=traits.multiplexing, reuse_after_error=True, max_concurrent=1, max_connections=1
    )
    with holding.server as server:
        played("async", server, scenario, one)
    assert [len(events) for events in server.requests] == [2]  # those that were cancelled were never sent


@IN_BOTH_MODES
def test_cancelled_while_it_connects(traits: WebSocketOptions) -> None:
    async def scenario(client: Any) -> None:
        left = asyncio.create_task(client.chat("left"))
        while not server.handshakes:
            await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.wait([left])
        await check(client, "kept")

    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing), delay=0.1) as server:
        played("async", server, scenario, traits)
    assert server.connections == 1 and [len(events) for events in server.requests] == [1]


@BOTH
@IN_BOTH_MODES
def test_the_next_turn_waits_for_no_drain(traits: WebSocketOptions, colour: str) -> None:
    """The server goes silent in the answer that was left, for ever."""

    async def scenario(client: Any) -> None:
        began = time.monotonic()
        for n in range(3):
            async with client.stream("left") as stream:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        break
            await check(client, f"kept {n}")
        assert time.monotonic() - began < 3

    def stall(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        is_left = job.body["input"][-1]["content"] == "left" and event["sequence_number"] == 6
        return Stall() if is_left else None

    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing, piece=2), fault=stall) as server:
        played(colour, server, scenario, traits)


def test_a_lane_that_never_ends_is_given_up_with_its_connection() -> None:
    """But not before the answers beside it have ended, and no later."""
    holding = Holding(LANES, "response.output_text.delta")
    beside = Gate()

    def fault(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        if job.body["input"][-1]["content"] == "beside" and event["type"] == "response.completed":
            return [beside, event]
        return holding._fault(number, job, event)

    async def scenario(client: Any) -> None:
        left = asyncio.create_task(client.chat("left"))
        other = asyncio.create_task(client.chat("beside"))
        await holding.wait()
        left.cancel()
        await asyncio.wait([left])
        while not any(socket.retiring for pool in pools(client) for socket in pool.connections):
            await asyncio.sleep(0.02)
        await check(client, "meanwhile")
        assert server.open_connections == 2
        server.open(beside)
        assert (await other).text.startswith("1 items")
        while server.open_connections != 1:
            await asyncio.sleep(0.02)

    traits = WebSocketOptions(multiplexing=True, reuse_after_error=True, drain_timeout=0.2)
    with ScriptedSocket(holding.service, fault=fault) as server:
        played("async", server, scenario, traits)


@IN_BOTH_MODES
def test_an_answer_that_had_ended_costs_nothing(traits: WebSocketOptions) -> None:
    async def scenario(client: Any) -> None:
        talk = client.conversation()
        async with talk.stream("hi") as stream:
            await stream.collect()
        turn = await talk.chat("and?")
        assert turn.report.continuation.sent == 1
        assert client.responses.websocket_stats.abandoned == 0

    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing)) as server:
        played("async", server, scenario, traits)
    assert server.connections == 1


@BOTH
@IN_BOTH_MODES
def test_an_answer_left_right_at_its_end_is_continued(traits: WebSocketOptions, colour: str) -> None:
    """Nobody asks for more after the `ResponseEnd`: leaving gives the lane back with what its server holds."""

    async def scenario(client: Any) -> None:
        talk = client.conversation()
        async with talk.stream("hi") as stream:
            async for event in stream:
                if isinstance(event, ResponseEnd):
                    break
        turn = await talk.chat("and?")
        assert turn.report.continuation.sent == 1
        assert client.responses.websocket_stats.abandoned == 0

    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing)) as server:
        played(colour, server, scenario, traits)
    assert server.connections == 1


def test_the_lane_of_a_left_answer_that_has_ended_is_used_again() -> None:
    """And its connection outlives the drain period, which is over before the second answer is asked for."""
    holding = Holding(LANES, "response.output_text.delta")

    async def scenario(client: Any) -> None:
        left = asyncio.create_task(client.chat("left"))
        await holding.wait()
        left.cancel()
        await asyncio.wait([left])
        server.open(holding.gate)
        [[connection]] = [pool.connections for pool in pools(client)]
        while connection.is_busy:
            await asyncio.sleep(0.01)
        drained = asyncio.Event()  # set by a timer that is due after the drain's
        asyncio.get_running_loop().call_later(0.3, drained.set)
        await drained.wait()
        await check(client, "kept")
        assert (len(connection.lanes), connection.retiring) == (1, False)

    traits = WebSocketOptions(multiplexing=True, reuse_after_error=True, drain_timeout=0.2)
    with holding.server as server:
        played("async", server, scenario, traits)
    assert server.connections == 1


@IN_BOTH_MODES
def test_a_stream_dropped_unread_warns_and_frees_its_lane(traits: WebSocketOptions) -> None:
    holding = Holding(traits, "response.output_text.delta")

    async def scenario(client: Any) -> None:
        stream = client.stream("left")
        await stream.__aenter__()
        with pytest.warns(ResourceWarning, match="test_websocket_cancel.py"):
            del stream
            gc.collect()
        await asyncio.sleep(0)
        assert client.responses.websocket_stats.abandoned == 1
        server.open(holding.gate)
        await check(client, "kept")

    with holding.server as server:
        played("async", server, scenario, traits)


def test_a_thread_drops_a_stream() -> None:
    holding = Holding(LANES, "response.output_text.delta")
    with holding.server as server, Client(MODEL, providers=[config(server.base_url, LANES)]) as client:
        stream = client.stream("left")
        assert next(stream)
        with pytest.warns(ResourceWarning, match="test_websocket_cancel.py"):
            del stream
            gc.collect()
        assert client.chat("kept").text == digest([{"role": "user", "content": "kept"}])
        deadline = time.monotonic() + 5
        while client.responses.websocket_stats.abandoned != 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.responses.websocket_stats.abandoned == 1
        server.open(holding.gate)


@BOTH
@IN_BOTH_MODES
def test_a_client_that_is_closed_keeps_nobody_waiting(traits: WebSocketOptions, colour: str) -> None:
    one = WebSocketOptions(
        multiplexing=traits.multiplexing, reuse_after_error=True, max_concurrent=1, max_connections=1
    )
    holding = Holding(one, "response.output_text.delta")

    async def main() -> list[Any]:
        async with client_of(colour, config(server.base_url, one)) as client:
            asked = [asyncio.create_task(tried(client.chat("left")))]
            await holding.wait()
            asked += [asyncio.create_task(tried(client.chat(f"waiting {n}"))) for n in range(3)]
            while sum(len(pool._waiting) for pool in pools(client)) < 3:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            await client.aclose()
            ends = await asyncio.gather(*asked)
            assert time.monotonic() - began < 3
            assert isinstance(await tried(client.chat("late")), ConfigError)
            return ends

    with holding.server as server:
        reading, *waiting = run(main())
        server.wait_idle(5)
    assert isinstance(reading, StreamInterrupted | ConfigError)
    assert all(isinstance(end, ProviderError) for end in waiting)


def test_a_hundred_left_answers_leave_no_task_and_no_lane() -> None:
    async def main() -> None:
        async with AsyncClient(MODEL, providers=[config(server.base_url, LANES)]) as client:
            for n in range(100):
                async with client.stream(f"left {n}") as stream:
                    async for _ in stream:
                        break
            await check(client, "kept")
            await asyncio.sleep(0)
            assert server.connections <= 8  # their lanes were used again
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with ScriptedSocket(ResponsesService(piece=2)) as server:
        run(main())
        server.wait_idle(5)


# -- one connection for one request at a time: whatever has become of a call, the next one has its place -----------


class OnePlace:
    """A client on a virtual clock, what its service does with the calls of these names, and what connecting does."""

    def __init__(self) -> None:
        service = ResponsesService(lambda items, body: self._said(items), piece=2)
        self.net = MemoryNet(service, Random(1), fault=self._fault)
        self.connects: list[Any] = []
        """What becomes of the next connections: an error, or what is done with the link."""
        self.client: Any = None

    @staticmethod
    def _said(items: Any) -> Any:
        is_refused = items[-1]["content"] == "refused"
        return Failure("server_error", "no") if is_refused else digest(items)

    @staticmethod
    def _fault(link: MemoryLink, job: Job, event: Mapping[str, Any]) -> Any:
        said = job.body["input"][-1]["content"]
        is_held = said == "silent" or (said == "stuck" and event["type"].endswith(("done", "completed")))
        return [] if is_held else [event]

    async def connect(self, handshake: Any, **callbacks: Any) -> Any:
        await asyncio.sleep(1)
        outcome = self.connects.pop(0) if self.connects else None
        if isinstance(outcome, Exception):
            raise outcome
        link = await self.net.connect(handshake, **callbacks)
        link.aclose = partial(self._close_slowly, link)  # type: ignore[method-assign]
        if outcome is not None:
            outcome(link)
        return link

    @staticmethod
    async def _close_slowly(link: MemoryLink) -> None:
        await asyncio.sleep(1)
        link.end(Closed(1000, "closed here", "ours"))

    def run(self, work: Callable[[OnePlace], Awaitable[None]], *, lanes: bool) -> None:
        """Afterwards no link, no task and nobody who waits is left."""
        settings: Any = {
            "multiplexing": lanes,
            "max_connections": 1,
            "max_concurrent": 1,
            "http_fallback": False,
            "drain_timeout": 3,
        }

        async def main() -> None:
            place = config("http://localhost/v1", WebSocketOptions(**settings))
            async with client_of("async", place) as self.client:
                made = Pools(connect=self.connect, max_event_bytes=1 << 20, random=Random(1))
                self.client._session.pools = made
                await work(self)
                [pool] = pools(self.client)
                await asyncio.sleep(2)
                assert not (pool._waiting or pool._waiting_for_room or pool._dialing or pool._closing)
                assert len(pool.connections) == len(self.net.links) <= 1
            assert not self.net.links and not pool.connections
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    async def cancelled(self, said: str, seconds: float) -> None:
        task = asyncio.ensure_future(self.client.chat(said))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    async def stopped(self, stop: Callable[[Any], Awaitable[None] | None]) -> None:
        """In the middle of an answer."""
        async with self.client.stream("stuck") as stream:
            await anext(stream)
            if (waits := stop(stream)) is not None:
                await waits
            else:
                assert isinstance(await tried(stream.collect()), StreamInterrupted)


def broken(link: MemoryLink) -> None:
    async def send(frame: bytes) -> None:
        link.end(Closed(1006, "", "lost"))
        raise LinkLost(Closed(1006, "", "lost"))

    link.send = send  # type: ignore[method-assign]


async def answered(here: OnePlace) -> None:
    await check(here.client, "answered")


async def refused(here: OnePlace) -> None:
    assert isinstance(await tried(here.client.chat("refused")), ServerError)


async def lost_between(here: OnePlace) -> None:
    await check(here.client, "answered")
    here.net.cut()


async def lost_within(here: OnePlace) -> None:
    await here.stopped(lambda stream: here.net.cut())


async def left(here: OnePlace) -> None:
    await here.stopped(lambda stream: stream.aclose())


async def timed_out(here: OnePlace) -> None:
    found = await tried(here.client.chat("silent", timeouts=Timeouts(first_event=5)))
    assert isinstance(found, RequestTimeout)


async def cancelled_in_connecting(here: OnePlace) -> None:
    here.net.cut()
    await asyncio.sleep(0)
    await here.cancelled("answered", 0.5)


async def cancelled_before_it_began(here: OnePlace) -> None:
    await here.cancelled("silent", 5)


async def cancelled_in_waiting(here: OnePlace) -> None:
    async with here.client.stream("stuck") as stream:
        await anext(stream)
        await here.cancelled("answered", 2)


async def aged(here: OnePlace) -> None:
    await check(here.client, "answered")
    await asyncio.sleep(4000)


async def failed_to_open(here: OnePlace) -> None:
    here.net.cut()
    await asyncio.sleep(0)
    here.connects = [ConnectError("no connection")] * 2
    assert isinstance(await tried(here.client.chat("answered")), ConnectError)


async def dead_on_arrival(here: OnePlace) -> None:
    here.net.cut()
    await asyncio.sleep(0)
    here.connects = [lambda link: link.abort()] * 2
    assert isinstance(await tried(here.client.chat("answered")), ConnectError)


async def broken_in_sending(here: OnePlace) -> None:
    here.net.cut()
    await asyncio.sleep(0)
    here.connects = [broken] * 2
    assert isinstance(await tried(here.client.chat("answered")), StreamInterrupted)


WAYS = (
    answered,
    refused,
    lost_between,
    lost_within,
    left,
    timed_out,
    cancelled_in_connecting,
    cancelled_before_it_began,
    cancelled_in_waiting,
    aged,
    failed_to_open,
    dead_on_arrival,
    broken_in_sending,
)


@pytest.mark.parametrize("lanes", [False, True], ids=["single", "lanes"])
@pytest.mark.parametrize("end", WAYS, ids=lambda end: end.__name__)
def test_the_next_call_has_the_place_of_one_that_has_ended(
    end: Callable[[OnePlace], Awaitable[None]], lanes: bool
) -> None:
    async def work(here: OnePlace) -> None:
        loop = asyncio.get_running_loop()
        for n in range(3):
            await end(here)
            begun = loop.time()
            await check(here.client, f"kept {n}")
            # To connect takes one second, and so does a close, which nobody waits for but behind an answer that was
            # left and is still read on a lane, for three.
            assert loop.time() - begun <= (5 if lanes else 1)

    OnePlace().run(work, lanes=lanes)


@pytest.mark.parametrize("lanes", [False, True], ids=["single", "lanes"])
@pytest.mark.parametrize("end", WAYS[:10], ids=lambda end: end.__name__)
def test_who_waits_has_the_place_of_a_call_that_has_ended(
    end: Callable[[OnePlace], Awaitable[None]], lanes: bool
) -> None:
    async def waiting(here: OnePlace, said: str) -> None:
        await asyncio.sleep(0.25)
        await check(here.client, said)

    async def work(here: OnePlace) -> None:
        for n in range(3):
            await asyncio.gather(end(here), *(waiting(here, f"kept {n}.{m}") for m in range(2)))

    OnePlace().run(work, lanes=lanes)


def test_a_connection_that_stands_only_when_the_client_is_closed_is_dropped() -> None:
    """As where what gives the key lets no cancellation out."""
    here = OnePlace()

    async def connect(handshake: Any, **callbacks: Any) -> Any:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return await here.net.connect(handshake, **callbacks)

    async def main() -> None:
        async with client_of("async", config("http://localhost/v1", LANES)) as client:
            client._session.pools = Pools(connect=connect, max_event_bytes=1 << 20, random=Random(1))
            asked = asyncio.ensure_future(tried(client.chat("hi")))
            await asyncio.sleep(1)
        assert isinstance(await asked, ConfigError)
        assert here.net.opened == 1 and not here.net.links

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
