"""Two hundred conversations against the limits of lanes, and three hours of connections' lives on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import Message, OpenAIResponsesOptions, Timeouts, Tool, WebSocketOptions
from brainwires_provider.testing import Job, ResponsesService, ScriptedSocket, digest, function_call
from brainwires_provider.transports.websocket.connection import Closed, Handshake
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import LANES, MODES, client_of, config, played
from socket_memory import MemoryLink, MemoryNet, VirtualLoop

IN_BOTH_MODES = pytest.mark.parametrize("traits", MODES.values(), ids=MODES.keys())
MINUTE, HOUR = 60.0, 3600.0
CLOCKS = Timeouts(first_event=HOUR, idle=HOUR)


class PacedLink(MemoryLink):
    """An answer's steps take up to `pace` seconds each."""

    _net: PacedNet

    def _go_on(self) -> None:
        if not self._is_stepping and self.closed is None:
            self._is_stepping = True
            self._loop.call_later(self._net.random.random() * self._net.pace, self._step)

    def end(self, closed: Closed) -> None:
        if self.closed is None:
            self._net.lives.append((self.opened_at, self._net.now(), len(self._session.runnable())))
            self._net.codes.append(closed.code)
        super().end(closed)


class PacedNet(MemoryNet):
    """Remembers each link's life: when it was opened, when it ended, and how many answers were under way then."""

    def __init__(self, service: ResponsesService, seed: int = 1, pace: float = 0.0) -> None:
        super().__init__(service, Random(seed), self._watch)
        self.pace = pace
        self.lives: list[tuple[float, float, int]] = []
        self.codes: list[int | None] = []
        """How each ended: 1000 after a closing handshake, None where this side just dropped it."""
        self.most_active = 0

    def _watch(self, link: MemoryLink, job: Job, event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        self.most_active = max(self.most_active, len(link._session.runnable()))
        return [event]

    async def connect(
        self, handshake: Handshake, *, on_frame: Callable[[bytes], None], on_close: Any
    ) -> PacedLink:
        await asyncio.sleep(0)
        link = PacedLink(self, on_frame, on_close)
        self.links[link] = None
        self.opened += 1
        return link


def lived(net: PacedNet, traits: WebSocketOptions, work: Callable[[Any], Awaitable[None]]) -> Any:
    """What a client has counted after its life on the virtual clock; no link and no task is left of it."""

    async def main() -> Any:
        place = config("http://localhost/v1", traits)
        async with client_of("async", place, timeouts=CLOCKS) as client:
            client._session.pools = Pools(connect=net.connect, max_event_bytes=1 << 24, random=net.random)
            await work(client)
            counts = client.responses.websocket_stats
        await asyncio.sleep(0)
        assert not net.links and asyncio.all_tasks() == {asyncio.current_task()}
        return counts

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


async def talk_for(client: Any, net: MemoryNet, name: str, turns: int, pause: float = 0.0) -> None:
    """A conversation whose every answer is the digest of exactly its history."""
    talk = client.conversation(system=f"You are {name}.")
    for turn in range(turns):
        response = await talk.chat(f"turn {turn}")
        assert response.text == digest(net.service.conversation(response.id)[:-1])
        assert len(net.service.conversation(response.id)) == 2 * turn + 2
        assert not response.attempts, (name, turn)
        await asyncio.sleep(net.random.random() * pause)


# -- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("active", "names", "sockets"),
    [
        (16, 32, 32),
        (4, 6, 3),
        (1, 1, 7),
        *(pytest.param(*each, marks=pytest.mark.long) for each in ((16, 32, 4), (16, 2, 64))),
    ],
)
def test_two_hundred_conversations_at_once_within_every_limit(active: int, names: int, sockets: int) -> None:
    service = ResponsesService(max_active=active, max_lanes=names, piece=8)
    net = PacedNet(service, pace=1.0)
    traits = WebSocketOptions(
        multiplexing=True,
        reuse_after_error=True,
        max_concurrent=active,
        max_lanes=names,
        max_connections=sockets,
        http_fallback=False,
    )

    async def work(client: Any) -> None:
        await asyncio.gather(*(talk_for(client, net, str(n), 3, pause=30) for n in range(200)))

    counts = lived(net, traits, work)

    assert service.counters["refused"] == 0
    assert net.most_active <= active and net.opened <= sockets
    assert counts.full + counts.incremental == 600
    if sockets * names >= 200:
        assert counts.incremental == 400  # every chain was kept


@IN_BOTH_MODES
def test_two_hundred_at_once_over_real_sockets(traits: WebSocketOptions) -> None:
    async def scenario(client: Any) -> None:
        async def one(n: int) -> None:
            talk = client.conversation(system=f"You are {n}.")
            for turn in range(2):
                response = await talk.chat(f"turn {turn}")
                assert response.text == digest(service.conversation(response.id)[:-1])
                assert not response.attempts

        await asyncio.gather(*(one(n) for n in range(200)))

    service = ResponsesService(lanes=traits.multiplexing, piece=8)
    with ScriptedSocket(service) as server:
        played("async", server, scenario, traits)
    assert service.counters["refused"] == 0 and service.counters["completed"] == 400
    assert server.connections <= 32


# -- three hours ---------------------------------------------------------------------------------------------


@IN_BOTH_MODES
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_three_hours_without_one_request_lost(traits: WebSocketOptions, seed: int) -> None:
    """Conversations with pauses and answers of minutes; the service refuses what comes after the hour."""
    service = ResponsesService(lanes=traits.multiplexing, piece=16)
    net = PacedNet(service, seed, pace=4.0 if traits.multiplexing else 40.0)  # lanes take turns on their link

    async def work(client: Any) -> None:
        end = net.now() + 3 * HOUR

        async def one(n: int) -> None:
            while net.now() < end:
                await talk_for(
                    client, net, f"{n} at {net.now()}", net.random.randrange(1, 12), pause=10 * MINUTE
                )

        await asyncio.gather(*(one(n) for n in range(20)))

    counts = lived(net, replace(traits, max_idle_connections=20), work)

    assert service.counters["refused"] == 0
    assert (counts.reconnected, counts.resent, counts.http_fallbacks) == (0, 0, 0)
    assert counts.rotated >= 2 and counts.incremental > counts.full
    rotated = [(ended - opened, under_way) for opened, ended, under_way in net.lives if ended - opened > 3100]
    assert len(rotated) >= 2
    assert all(under_way == 0 for _, under_way in rotated)  # between responses only
    assert all(3180 <= age < HOUR for age, _ in rotated), rotated
    assert len({round(age) for age, _ in rotated}) > 1  # the jitter
    old = [
        code for (opened, ended, _), code in zip(net.lives, net.codes, strict=True) if ended - opened > 3100
    ]
    assert old == [1000] * len(rotated)  # with a closing handshake, also where answers were under way


def test_connections_opened_together_are_not_replaced_together() -> None:
    """And one that rests with a conversation is replaced without being asked for."""
    net = PacedNet(ResponsesService(lanes=False))

    async def work(client: Any) -> None:
        await asyncio.gather(*(talk_for(client, net, str(n), 2) for n in range(8)))
        await asyncio.sleep(2 * HOUR)

    counts = lived(net, WebSocketOptions(), work)

    ages = sorted(ended - opened for opened, ended, _ in net.lives)
    assert counts.rotated == 8 and ages[0] >= 3180 and ages[-1] <= 3300
    assert ages[-1] - ages[0] > 30 and len(set(ages)) == 8
    assert net.codes == [1000] * 8


def test_the_limit_comes_early_and_nothing_is_lost() -> None:
    """A service that ends connections at 20 minutes, to a client that would keep them for 55."""
    net = PacedNet(ResponsesService(seconds=20 * MINUTE), pace=5.0)

    async def work(client: Any) -> None:
        async def one(n: int) -> None:
            talk = client.conversation(system=f"You are {n}.")
            for turn in range(40):
                response = await talk.chat(f"turn {turn}")
                assert response.text == digest(net.service.conversation(response.id)[:-1])
                assert len(response.attempts) <= 1
                await asyncio.sleep(net.random.random() * 5 * MINUTE)

        await asyncio.gather(*(one(n) for n in range(20)))

    counts = lived(net, LANES, work)

    assert 1 <= counts.reconnected <= 20 and counts.http_fallbacks == 0
    assert net.service.counters["refused"] == counts.reconnected  # those of the first time: then it is known
    assert max(ended - opened for opened, ended, _ in net.lives[-3:]) <= 20 * MINUTE


def test_an_idle_connection_goes_and_one_with_a_conversation_stays() -> None:
    net = PacedNet(ResponsesService())

    async def work(client: Any) -> None:
        async with client.stream("left") as stream:
            await anext(stream)
        await asyncio.sleep(299)
        assert len(net.links) == 1
        await asyncio.sleep(2)
        assert not net.links
        talk = client.conversation(tools=[Tool("t", "d", {"type": "object", "properties": {}})])
        await talk.chat("hi")
        await asyncio.sleep(40 * MINUTE)
        assert len(net.links) == 1
        assert (await talk.chat("and?")).report.continuation.sent == 1

    assert lived(net, LANES, work).rotated == 0


def test_a_tool_that_takes_its_time_costs_no_chain() -> None:
    net = PacedNet(ResponsesService(lambda items, body: [function_call("t")] if len(items) == 1 else "done"))

    async def work(client: Any) -> None:
        talk = client.conversation(tools=[Tool("t", "d", {"type": "object", "properties": {}})])
        turn = await talk.chat("hi")
        await asyncio.sleep(327)
        turn = await talk.chat([Message.tool_result(call, "ok") for call in turn.tool_calls])
        assert turn.text == "done" and turn.report.continuation.sent == 1 and not turn.attempts

    lived(net, LANES, work)


@IN_BOTH_MODES
@pytest.mark.parametrize("is_noticed", [True, False])
@pytest.mark.parametrize("store", [True, False])
def test_a_laptop_that_slept_goes_on(traits: WebSocketOptions, is_noticed: bool, store: bool) -> None:
    """Eight hours later the connection is gone; whether the system has said so or not, the next turn works."""
    net = PacedNet(ResponsesService(lanes=traits.multiplexing))

    async def work(client: Any) -> None:
        talk = client.conversation(provider_options=OpenAIResponsesOptions(store=store))
        await talk.chat("hi")
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        [link] = net.links
        if is_noticed:
            loop.now += 8 * HOUR
            net.cut()
            await asyncio.sleep(0)
        else:
            link.closed = Closed(1006, "no route", "lost")  # said to whoever sends, and to nobody before
            net.links.clear()
        turn = await talk.chat("and?")
        assert turn.text == digest(net.service.conversation(turn.id)[:-1])
        assert len(turn.attempts) == (0 if is_noticed else 1)
        assert turn.report.continuation.sent == (1 if store and is_noticed else 3)
        assert (await talk.chat("so?")).report.continuation.sent == 1

    assert lived(net, traits, work).http_fallbacks == 0
