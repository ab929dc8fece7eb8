"""When requests go over HTTP instead: if two new connections showed that no WebSocket works, and while that is so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from brainwires_provider import (
    APIError,
    ConfigError,
    ConnectError,
    NotFoundError,
    OutputError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    Retry,
    ServerError,
    TransportError,
    WebSocketOptions,
)
from brainwires_provider.testing import Drop, Gate, Job, ResponsesService, ScriptedSocket
from brainwires_provider.transports.websocket.connection import Closed, HandshakeRefused, LinkLost
from brainwires_provider.transports.websocket.fallback import Fallback, is_no_websocket
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import LANES, client_of, config, played, tried
from socket_memory import MemoryNet, VirtualLoop


class AskedOverHttp(ProviderError):
    """What HTTP says here."""


async def broken(link: Any, frame: bytes) -> None:
    """It ends while a frame is sent; whom it tells, it tells afterwards."""
    link.end(Closed(1006, "", "lost"))
    raise LinkLost(link.closed)


def by_the_clock(work: Callable[[Any, dict[str, Any]], Awaitable[None]]) -> MemoryNet:
    """Run with a client whose WebSockets and HTTP do what the dict says, and a clock that costs no time."""
    net = MemoryNet(ResponsesService(), Random(1))
    ways: dict[str, Any] = {"socket": None, "http": AskedOverHttp("asked"), "dead": False, "breaks": False}
    ways["on_connect"] = lambda: None

    async def connect(handshake: Any, **callbacks: Any) -> Any:
        ways["on_connect"]()
        if ways["socket"] is not None:
            raise ways["socket"]
        link = await net.connect(handshake, **callbacks)
        if ways["dead"]:
            assert net.opened < 9
            link.abort()
        if ways["breaks"]:
            link.send = partial(broken, link)
        return link

    async def transport(target: Any) -> Any:
        raise ways["http"]

    async def main() -> None:
        async with client_of(
            "async", config("http://localhost:9/v1", WebSocketOptions(fallback_cooldown=600))
        ) as client:
            client._session.pools = Pools(connect=connect, max_event_bytes=1 << 20, random=Random(1))
            client._session.transport = transport
            await work(client, ways)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    return net


REFUSED = HandshakeRefused(426, {}, b"")


def test_a_websocket_is_tried_again_after_waits_that_double() -> None:
    tries: list[float] = []

    async def work(client: Any, ways: dict[str, Any]) -> None:
        ways.update(socket=REFUSED, on_connect=lambda: tries.append(asyncio.get_running_loop().time()))
        while len(tries) < 9:
            assert isinstance(await tried(client.chat("hi")), AskedOverHttp)
            await asyncio.sleep(10)
        ways["socket"] = None
        while isinstance(await tried(client.chat("hi")), AskedOverHttp):
            await asyncio.sleep(10)
        assert (await client.chat("hi")).text  # from here on at once

    assert by_the_clock(work).opened == 2
    assert tries[:9] == [0, 0, 10, 30, 70, 150, 310, 630, 1230]  # two at once; at most 600 s apart


def test_only_one_request_at_a_time_is_the_trial() -> None:
    tries: list[float] = []

    async def work(client: Any, ways: dict[str, Any]) -> None:
        ways.update(socket=REFUSED, on_connect=lambda: tries.append(asyncio.get_running_loop().time()))
        for pause in (0, 11):
            await asyncio.sleep(pause)
            found = await asyncio.gather(*(tried(client.chat(f"{n}")) for n in range(8)))
            assert all(isinstance(error, AskedOverHttp) for error in found)

    by_the_clock(work)
    assert tries.count(11) == 1


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("no connection"),
        ServerError("it broke", status=500),
        NotFoundError("not here", status=404),
    ],
    ids=["down", "500", "404"],
)
def test_the_fallback_is_forgotten_where_http_fails_too(error: ProviderError) -> None:
    """Neither answers while it restarts; afterwards the next turn goes over a WebSocket at once."""

    async def work(client: Any, ways: dict[str, Any]) -> None:
        ways.update(socket=ConnectError("no connection"), http=error)
        talk = client.conversation()
        for _ in range(3):
            assert type(await tried(talk.chat("hi"))) is type(error)
        ways["socket"] = None
        assert (await talk.chat("hi")).text.startswith("1 items")
        assert (await talk.chat("and?")).report.continuation.sent == 1

    assert by_the_clock(work).opened == 1


def test_that_there_is_no_websocket_is_once_among_the_attempts_of_a_call() -> None:
    async def work(client: Any, ways: dict[str, Any]) -> None:
        ways["socket"] = REFUSED
        await tried(client.chat("hi"))
        for times in (1, 3):
            ways["http"] = RateLimitError("slow down", status=429)
            error = await tried(client.chat("hi", retry=Retry(times)))
            words = [each.error.partition(":")[0] for each in error.attempts]
            assert words == ["sent over HTTP", *["slow down"] * times]

    by_the_clock(work)


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        *((APIError("no", status=status), False) for status in (None, 200, 400, 401, 403, 429, 499)),
        *((APIError("no", status=status), True) for status in (404, 405, 500, 503, 599)),
        *((kind("no"), True) for kind in (ConnectError, TransportError, ProtocolError)),
        *((kind("no"), False) for kind in (ConfigError, OutputError)),
    ],
    ids=repr,
)
def test_which_errors_over_http_end_the_fallback(error: ProviderError, ends: bool) -> None:
    fallback = Fallback(lambda: 0.0, 600)
    assert not fallback.takes()
    fallback.connection_failed()
    fallback.connection_failed()
    assert fallback.takes()
    fallback.http_failed(error)
    assert fallback.takes() is not ends and fallback.is_on


def test_of_the_connections_that_fail_at_once_one_makes_the_wait_longer() -> None:
    now = 0.0
    fallback = Fallback(lambda: now, 600)
    fallback.connection_failed()
    fallback.connection_failed()
    for begins, ends in ((0, 10), (10, 30), (30, 70)):
        now = begins
        if begins:
            assert not fallback.takes() and fallback.takes()  # the trial, and who asks meanwhile
            for _ in range(3):
                fallback.connection_failed()
        now = ends - 1
        assert fallback.takes()
    now = 70
    assert not fallback.takes()


@pytest.mark.parametrize("make", [lambda s: HandshakeRefused(s, {}, b""), lambda s: APIError("no", status=s)])
def test_which_answers_to_a_handshake_mean_that_no_websocket_works(make: Callable[[int], Exception]) -> None:
    """Those of a server that takes it for a usual request, or does not know or allow it."""
    meant = {status for status in range(100, 600) if is_no_websocket(make(status))}
    assert meant == {*range(200, 300), 403, 404, 405, 426, 501}


def test_which_failures_of_a_handshake_mean_that_no_websocket_works() -> None:
    kinds = (ConnectError, TransportError, ProtocolError, APIError, ConfigError, ProviderError)
    assert [is_no_websocket(kind("no")) for kind in kinds] == [True] * 3 + [False] * 3


def test_a_connection_that_is_dead_on_arrival_is_no_storm() -> None:
    async def work(client: Any, ways: dict[str, Any]) -> None:
        ways["dead"] = True
        for _ in range(3):
            assert isinstance(await tried(client.chat("hi")), AskedOverHttp)

    assert by_the_clock(work).opened == 2


def test_connections_that_break_in_sending_are_counted_before_the_next_is_opened() -> None:
    async def work(client: Any, ways: dict[str, Any]) -> None:
        ways["breaks"] = True
        for _ in range(3):
            assert isinstance(await tried(client.chat("hi")), AskedOverHttp)

    assert by_the_clock(work).opened == 2


# -- what is no reason ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fallback", [True, False])
def test_a_link_that_dies_while_another_answers_sends_nobody_to_http(fallback: bool) -> None:
    """One answer streams, another has not begun, the link dies: the endpoint is well."""
    gate = Gate()

    def fault(number: int, job: Job, event: Any) -> Any:
        said = job.body["input"][-1]["content"]
        if number == 1 and said == "second":
            return Drop()
        return [event, gate] if number == 1 and event["type"] == "response.output_text.delta" else None

    async def scenario(client: Any) -> None:
        async with client.stream("first") as stream:
            await anext(stream)
            second = await client.chat("second")
        assert second.text.startswith("1 items") and len(second.attempts) == 1
        assert (await client.chat("third")).text.startswith("1 items")
        assert client.responses.websocket_stats.http_fallbacks == 0

    options = WebSocketOptions(multiplexing=True, reuse_after_error=True, http_fallback=fallback)
    with ScriptedSocket(ResponsesService(), fault=fault) as server:
        played("async", server, scenario, options)
    assert not server.http_requests and server.connections == 2


def test_one_new_connection_that_dies_is_tried_again_over_a_websocket() -> None:
    async def scenario(client: Any) -> None:
        turn = await client.chat("hi")
        assert turn.text.startswith("1 items") and len(turn.attempts) == 1
        assert client.responses.websocket_stats.http_fallbacks == 0

    service = ResponsesService()
    with ScriptedSocket([[[Drop()]], service], http=service) as server:
        played("async", server, scenario, LANES)
    assert not server.http_requests and len(server.handshakes) == 2
