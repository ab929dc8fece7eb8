"""Leaving early, in every state and mode: no event of it reaches anybody, and the next request works at once."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    ConfigError,
    ProviderError,
    ResponseEnd,
    StreamInterrupted,
    TextDelta,
    WebSocketOptions,
)
from brainwires_provider.testing import Gate, Job, ResponsesService, ScriptedSocket, Stall, digest
from socket_clients import COLOURS, LANES, MODEL, MODES, client_of, config, played, pools, run, tried

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
        server.open(holding.gate)
        assert client.chat("kept").text == digest([{"role": "user", "content": "kept"}])
        deadline = time.monotonic() + 5
        while client.responses.websocket_stats.abandoned != 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.responses.websocket_stats.abandoned == 1


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
