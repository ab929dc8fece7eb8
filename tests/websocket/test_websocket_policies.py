"""The steps of a WebSocket's recovery beside policies: what they count, cost and wait for."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from brainwires_provider import (
    AsyncClient,
    Breaker,
    Budget,
    Hedge,
    Limits,
    ProviderError,
    Retry,
    WebSocketOptions,
)
from brainwires_provider.testing import Answer, Drop, ResponsesService, ScriptedSocket, SocketScript, Stall
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import LANES, MODEL, SINGLE, answer, config, played, run, tried
from socket_memory import MemoryLink, MemoryNet

ALONE = WebSocketOptions(http_fallback=False)
HELLO = ResponsesService(lambda *_: "hello")


def test_a_request_that_is_too_large_for_a_frame_costs_nothing_until_it_is_sent() -> None:
    async def scenario(client: Any) -> Any:
        return await client.chat("x" * 2000, max_tokens=10), client.stats()

    policies: Any = {"limits": Limits(rpm=9, tpm=10**6), "budget": Budget(tokens=10**6)}
    with ScriptedSocket(HELLO) as server:
        response, stats = played(
            "async", server, scenario, WebSocketOptions(max_request_bytes=1000), **policies
        )
        assert (server.requests, len(server.http_requests)) == ([[]], 1)
    total = response.usage.total_tokens
    assert [each.may_be_billed for each in response.attempts] == [False]
    assert [each.used for each in stats.limits] == [1, total] and stats.spent_tokens == total


def test_the_request_that_tests_whether_a_breaker_may_close_is_recovered_as_any_other() -> None:
    async def scenario(client: Any) -> Any:
        assert isinstance(await tried(client.chat("hi")), ProviderError)
        return await client.chat("hi"), client.stats().breakers[0].state

    # The breaker opens at once, and its rest is over at once.
    breaker = Breaker(failures=1, rest=1e-9)
    with ScriptedSocket([Answer(503), [[Drop()]], [answer("a")]]) as server:
        response, state = played("async", server, scenario, ALONE, breaker=breaker)
        assert [len(each) for each in server.requests] == [0, 1, 1]
    assert (response.text, len(response.attempts), state) == ("hello", 1, "closed")


def test_what_was_replaced_is_listed_with_its_model_where_there_are_several() -> None:
    async def scenario(client: Any) -> Any:
        return await client.chat("hi"), await client.chat("hi")

    with ScriptedSocket([[[Drop()]], [[Drop()]]], http=HELLO) as server:
        responses = played("async", server, scenario, fallback=["openai-chat:other"])
    assert [[each.model for each in response.attempts] for response in responses] == [[MODEL] * 2, [MODEL]]


def test_what_a_handshake_states_of_limits_holds_once() -> None:
    """It is as old as the connection when the next requests are sent there."""
    left = {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "40ms",
    }

    async def scenario(client: Any) -> Any:
        for _ in range(6):
            await client.chat("hi")
        return client.stats().limits

    script = SocketScript([answer(f"r{n}") for n in range(6)], headers=left)
    with ScriptedSocket([script]) as server:
        (limit,) = played("async", server, scenario, WebSocketOptions(max_connections=1), limits=Limits())
    assert (limit.limit, limit.used) == (100, 5)  # the first was sent before the limit was known


def test_a_free_lane_is_taken_when_a_new_connection_does_not_open() -> None:
    """A lane that holds an answer is taken last; but nobody waits beside it."""

    async def scenario(client: Any) -> Any:
        return [(await client.chat("hi")).attempts for _ in range(2)]

    for refused in (Answer(503), Answer(403), Answer(drop=True)):
        with ScriptedSocket([[answer("a"), answer("b")], refused]) as server:
            assert played("async", server, scenario, ALONE) == [(), ()]
            assert [len(each) for each in server.requests] == [2, 0]


def test_the_second_request_of_a_hedged_call_does_not_wait_for_what_the_first_forks() -> None:
    begun: list[Any] = []

    def fault(connection: int, job: Any, event: dict[str, Any]) -> Any:
        if event["type"] == "response.created":
            begun.append(job)
        return [Stall()] if begun[1:] == [job] else None

    async def scenario(client: Any) -> Any:
        talk = client.conversation()
        await talk.chat("hi")
        return await talk.fork().chat("and?", hedge=Hedge(0, share=1))

    with ScriptedSocket(HELLO, fault=fault) as server:
        response = played("async", server, scenario, LANES)
    assert response.text == "hello" and [each.is_cancelled for each in response.attempts] == [True]


class Unread(MemoryLink):
    """The server reads nothing, so that a request is never sent to its end."""

    async def send(self, frame: bytes) -> None:
        await asyncio.Event().wait()


class FirstUnread(MemoryNet):
    async def connect(self, handshake: Any, **calls: Any) -> MemoryLink:
        return await super().connect(handshake, **calls) if self.links else self.unread(**calls)

    def unread(self, on_frame: Any, on_close: Any) -> MemoryLink:
        link = Unread(self, on_frame, on_close)
        self.links[link] = None
        return link


def test_a_request_that_the_server_does_not_read_is_hedged() -> None:
    async def main() -> Any:
        place = config("http://localhost/v1", SINGLE)
        async with AsyncClient(MODEL, providers=[place], hedge=Hedge(0, share=1)) as client:
            pools = Pools(connect=FirstUnread(HELLO, Random(1)).connect, max_event_bytes=1 << 20)
            client._session.pools = pools
            return await client.chat("hi")

    response = run(main())
    assert response.text == "hello" and [each.is_cancelled for each in response.attempts] == [True]


def test_a_handshake_that_is_refused_says_whether_it_is_tried_again() -> None:
    async def scenario(client: Any) -> Any:
        return await tried(client.chat("hi"))

    refused = [
        Answer(503, headers=[("x-should-retry", "false")]),
        Answer(409, headers=[("x-should-retry", "true")]),
    ]
    for first, asked in zip(refused, (1, 2), strict=True):
        with ScriptedSocket([first, [answer("a")]]) as server:
            played("async", server, scenario, ALONE, retry=Retry(2, base=0))
            assert len(server.handshakes) == asked
