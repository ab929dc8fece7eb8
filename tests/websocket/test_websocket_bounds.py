"""Headers that differ per call, and many keys: connections and what is remembered of them stay within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import (
    ConnectError,
    InvalidRequestError,
    OpenAIResponsesOptions,
    UnsupportedError,
    WebSocketOptions,
)
from brainwires_provider.protocols.openai_responses import OpenAIResponses
from brainwires_provider.testing import Answer, Gate, Job, ResponsesService, ScriptedSocket
from brainwires_provider.transports.websocket.lanes import PooledConnection
from brainwires_provider.transports.websocket.pool import Pool, Pools
from brainwires_provider.types.websocket import WebSocketCounters
from socket_clients import COLOURS, KEY, LANES, SINGLE, client_of, config, played, pools, tried
from socket_memory import MemoryNet, VirtualLoop

BOTH = pytest.mark.parametrize("colour", COLOURS)
STORED = OpenAIResponsesOptions(store=True)


def trace(n: int) -> dict[str, str]:
    return {"traceparent": f"00-{n:032x}-{n:016x}-01"}


@BOTH
def test_headers_of_one_call_share_the_connection_and_are_reported(colour: str) -> None:
    async def scenario(client: Any) -> None:
        talk = client.conversation()
        for n in range(20):
            turn = await talk.chat("hi", extra_headers={"Idempotency-Key": str(n), **trace(n)})
            [lost] = turn.report.dropped
            assert lost.field == "extra_headers" and "(Idempotency-Key, traceparent)" in lost.reason
            assert "extra_headers" not in turn.report.sent
            assert (n == 0) == (turn.report.continuation.parent is None)

    with ScriptedSocket(ResponsesService()) as server:
        played(colour, server, scenario, LANES)
    assert len(server.handshakes) == 1 and server.handshakes[0].header("traceparent") is None


def test_a_header_that_belongs_to_the_connection_has_one_of_its_own() -> None:
    async def scenario(client: Any) -> None:
        for tenant in ("a", "b", "a"):
            turn = await client.chat("hi", extra_headers={"X-Tenant": tenant, **trace(1)})
            [lost] = turn.report.dropped
            assert "(traceparent)" in lost.reason

    options = replace(LANES, connection_headers=("X-Tenant",))
    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, options)
    assert [handshake.header("x-tenant") for handshake in server.handshakes] == ["a", "b"]


@pytest.mark.parametrize("name", ["Authorization", "api-key", "OpenAI-Project", "X-Team"])
def test_keys_and_the_providers_own_headers_always_belong_to_the_connection(name: str) -> None:
    async def scenario(client: Any) -> None:
        for value in ("Bearer one", "Bearer two"):
            assert not (await client.chat("hi", extra_headers={name: value})).report.dropped

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, LANES, {"headers": {"x-team": "blue"}})
    assert [handshake.header(name) for handshake in server.handshakes] == ["Bearer one", "Bearer two"]


def test_over_http_the_header_is_sent() -> None:
    async def scenario(client: Any) -> None:
        turn = await client.chat("hi", extra_headers=trace(7))
        assert not turn.report.dropped and "extra_headers" in turn.report.sent

    with ScriptedSocket([Answer(426)] * 2, http=ResponsesService()) as server:
        played("async", server, scenario)
    assert dict(server.http_requests[0].headers)["traceparent"] == trace(7)["traceparent"]


def test_a_strict_request_is_not_sent_without_its_header() -> None:
    async def scenario(client: Any) -> None:
        with pytest.raises(UnsupportedError, match="traceparent"):
            await client.chat("hi", extra_headers=trace(1), strict=True)

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario)


def test_what_one_connection_finds_out_holds_for_the_pool() -> None:
    async def main() -> None:
        rules: Any = OpenAIResponses().websocket
        more: Any = {"counters": WebSocketCounters(), "random": Random(1)}
        unused: Any = SimpleNamespace(max_frame=1 << 20)
        pool = Pool(unused, replace(LANES, max_lanes=8), rules, **more)
        pool.connections = [PooledConnection(pool, asyncio.get_running_loop()) for _ in range(2)]
        pool.names_limited(5)
        pool.connections[1].max_names = 3
        pool.names_limited(4)
        assert [each.max_names for each in pool.connections] == [4, 3] and pool.options.max_lanes == 4
        pool.names_limited(0)
        assert [each.max_names for each in pool.connections] == [0, 0] and pool.options.max_lanes == 1
        pool.without_lanes(for_good=False)
        assert not pool.has_lanes and pool.options.multiplexing
        assert not any(each.retiring for each in pool.connections)
        connections = list(pool.connections)
        pool.without_lanes(for_good=True)
        assert not pool.options.multiplexing and all(each.retiring for each in connections)
        for times, continues in enumerate(("all", "all", "stored"), 1):
            pool.parent_refused("not_found")
            assert (pool.parents_lost, pool.options.continues) == (times, continues)
        await pool.aclose()

    asyncio.run(main())


def bearer(n: int) -> dict[str, str]:
    return {"Authorization": f"Bearer key-{n}"}


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("options", [LANES, SINGLE], ids=["lanes", "single"])
@pytest.mark.parametrize("keys", [60, pytest.param(100, marks=pytest.mark.long)])
def test_many_keys_share_one_limit_of_connections(options: WebSocketOptions, store: bool, keys: int) -> None:
    """Many keys in turn, then all at once: never more connections than may be, and nobody waits for long."""
    net = MemoryNet(ResponsesService(lanes=options.multiplexing), Random(1))
    most: list[int] = []

    async def main() -> None:
        more = {"provider_options": STORED} if store else {}
        place = config("http://localhost/v1", replace(options, max_connections=4))
        async with client_of("async", place) as client:
            client._session.pools = Pools(connect=net.connect, max_event_bytes=1 << 20, random=Random(1))
            for n in range(keys):
                await client.chat("hi", extra_headers=bearer(n), **more)
                most.append(len(net.links))
            asked = (client.chat("hi", extra_headers=bearer(n)) for n in range(keys))
            assert all(turn.text.startswith("1 items") for turn in await asyncio.gather(*asked))
            assert asyncio.get_running_loop().time() < 1
            await client.chat("hi", extra_headers=bearer(1000))
            assert len(net.links) <= 4
            assert len(pools(client)) <= 4 + 32 + 4  # with a connection, known, and going

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert max(most) == 4


def test_what_is_known_of_a_key_without_a_connection_is_kept() -> None:
    """One response that the service stores; or that no WebSocket can be opened."""
    net = MemoryNet(ResponsesService(), Random(1))
    tries: list[str] = []

    async def connect(handshake: Any, **callbacks: Any) -> Any:
        tries.append(handshake.headers["Authorization"])
        if tries[-1] == "Bearer key-2":
            raise ConnectError("no connection")
        return await net.connect(handshake, **callbacks)

    async def unreachable(target: Any) -> Any:
        raise InvalidRequestError("asked over HTTP", status=400)

    async def main() -> None:
        async with client_of("async", config("http://localhost/v1", LANES)) as client:
            client._session.pools = Pools(connect=connect, max_event_bytes=1 << 20, random=Random(1))
            client._session.transport = unreachable
            talk = client.conversation(extra_headers=bearer(1), provider_options=STORED)
            await talk.chat("hi")
            for _ in range(2):
                assert isinstance(
                    await tried(client.chat("hi", extra_headers=bearer(2))), InvalidRequestError
                )
            net.cut()
            await client.chat("hi", extra_headers=bearer(3))
            net.cut()
            await client.chat("hi", extra_headers=bearer(4))
            assert (await talk.chat("and?")).report.continuation.sent == 1
            assert isinstance(await tried(client.chat("hi", extra_headers=bearer(2))), InvalidRequestError)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert tries.count("Bearer key-2") == 2


def test_a_key_without_a_connection_is_not_starved_by_another_that_is_busy() -> None:
    gate = Gate()

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        is_held = job.body["input"][0]["content"] == "long" and event["type"] == "response.completed"
        return [gate, event] if is_held else None

    async def scenario(client: Any) -> None:
        held = [asyncio.ensure_future(client.chat("long")) for _ in range(2)]
        await server.wait_requests_async(2)
        waits = [asyncio.ensure_future(client.chat("short")) for _ in range(20)]
        other = asyncio.ensure_future(client.chat("other", extra_headers=bearer(1)))
        await asyncio.sleep(0)
        server.open(gate)
        await asyncio.gather(other, *held, *waits)
        said = [events[0]["input"][0]["content"] for events in server.requests]
        assert said[2] == "other"

    with ScriptedSocket(ResponsesService(lanes=False), fault=hold) as server:
        played("async", server, scenario, replace(SINGLE, max_connections=2))
    assert server.handshakes[2].header("authorization") == "Bearer key-1" != f"Bearer {KEY}"
