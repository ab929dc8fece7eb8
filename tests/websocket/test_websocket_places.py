"""Whose place becomes free, and who gets it: in memory, frame by frame, on a clock that costs no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from test_websocket_lanes import asked, bearer, held, served, user

from brainwires_provider import (
    APIError,
    ConfigError,
    FramingError,
    OpenAIResponsesOptions,
    ProtocolError,
    StreamInterrupted,
    Timeouts,
)
from brainwires_provider.testing import digest
from brainwires_provider.transports.websocket import lanes
from brainwires_provider.transports.websocket.connection import Closed, LinkLost
from brainwires_provider.transports.websocket.handshake import HandshakeRefused
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import LANES, SINGLE, answer, begun, created, ended, pools, refusal, tried
from socket_memory import HeldNet, settle

BUSY = HandshakeRefused(429, {}, b"")
PATIENT = Timeouts(first_event=3600, idle=3600)
ONE = replace(LANES, max_concurrent=1, max_connections=1)


NAMED_LIMIT = refusal("websocket_connection_limit_reached", "the limit is reached", stream_id="lane-0")
LIMIT = refusal("websocket_connection_limit_reached", "the limit is reached")


def lane_of(frame: bytes) -> Any:
    return msgspec.json.decode(frame).get("stream_id")


def on(lane: str, *events: Any) -> list[Any]:
    return [{**event, "stream_id": lane} for event in events]


def only_link(net: HeldNet) -> Any:
    [link] = net.links
    return link


def say(link: Any, *events: Any) -> None:
    for event in events:
        link.say(event)


def connecting(client: Any, connect: Callable[..., Any]) -> None:
    client._session.pools = Pools(connect=connect, max_event_bytes=1 << 20, random=Random(1))


# -- connections that fail, beside others --------------------------------------------------------------------


@pytest.mark.parametrize("opens", [0.5, 5.0])
def test_who_waits_beside_a_connection_that_opened_after_another_failed_gets_one_after_the_pause(
    opens: float,
) -> None:
    """A second after the failure, or at once where the other one took longer to open."""
    tries: list[float] = []

    async def work(client: Any, net: HeldNet) -> None:
        async def connect(handshake: Any, **callbacks: Any) -> Any:
            tries.append(net.now())
            if len(tries) == 1:
                raise BUSY
            if len(tries) == 2:
                await asyncio.sleep(opens)
            return await net.connect(handshake, **callbacks)

        connecting(client, connect)
        await asked(client, "a", "b")
        await asyncio.sleep(60)
        assert tries == [0, 0, max(1.0, opens)] and len(net.sent) == 2

    held(work, SINGLE, timeouts=PATIENT)


def test_who_waits_for_room_gets_it_when_the_connection_of_another_key_does_not_open() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        gate = asyncio.get_running_loop().create_future()

        async def connect(handshake: Any, **callbacks: Any) -> Any:
            if handshake.headers["Authorization"] == "Bearer key-1":
                await gate
            return await net.connect(handshake, **callbacks)

        connecting(client, connect)
        first, second = (
            asyncio.ensure_future(tried(client.chat("hi", extra_headers=bearer(n)))) for n in (1, 2)
        )
        await settle()
        assert not net.links
        gate.set_exception(BUSY)
        [turn] = await served(net, second)
        assert (await first).status == 429 and turn.text == digest([user("hi")])

    held(work, replace(SINGLE, max_connections=1))


@pytest.mark.parametrize("moment", range(10))
def test_a_connection_that_is_lost_as_the_client_closes_is_not_replaced(moment: int) -> None:
    tries: list[float] = []

    async def work(client: Any, net: HeldNet) -> None:
        tasks = await asked(client, "first", "waits")
        closing = asyncio.ensure_future(client.aclose())
        for _ in range(moment):
            await asyncio.sleep(0)
        net.cut()
        await closing
        await settle()
        assert all(task.done() for task in tasks)
        assert len(tries) == 1 and not net.links

    def refuses(now: float) -> None:
        tries.append(now)

    held(work, replace(SINGLE, max_connections=1), refuses)


def test_who_waits_for_a_lane_learns_that_the_client_was_closed() -> None:
    """Behind another answer, or a fork that still reads what it would continue."""

    async def work(client: Any, net: HeldNet) -> None:
        talk, other = client.conversation(), client.conversation()
        await served(net, talk.chat("hi"), other.chat("hi"))
        tasks = [asyncio.ensure_future(tried(each.chat("and?"))) for each in (talk.fork(), talk, other)]
        await settle()
        assert len(net.sent) == 3 + 1
        await client.aclose()
        await settle()
        assert [type(task.result()) for task in tasks] == [ConfigError] * 3

    held(work)
    held(behind_another, ONE)


async def behind_another(client: Any, net: HeldNet) -> None:
    talk = client.conversation()
    await served(net, talk.chat("hi"))
    await asked(client, "busy")
    task = asyncio.ensure_future(tried(talk.chat("and?")))
    await settle()
    await client.aclose()
    await settle()
    assert isinstance(task.result(), ConfigError)


def test_behind_an_answer_that_was_left_and_never_ends_another_connection_is_opened() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        [left] = await asked(client, "left")
        link = only_link(net)
        say(link, *on("lane-0", created("r1")))
        left.cancel()
        [waits] = await asked(client, "waits")
        await asyncio.sleep(ONE.drain_timeout - 1)
        assert list(net.links) == [link] and not waits.done()
        await asyncio.sleep(2)
        [turn] = await served(net, waits)
        assert turn.text == digest([user("waits")]) and link not in net.links

    held(work, ONE, timeouts=PATIENT)


def test_who_waits_to_go_on_sends_all_when_the_connection_is_lost() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        talk = client.conversation()
        await served(net, talk.chat("hi"))
        await asked(client, "busy")
        task = asyncio.ensure_future(talk.chat("and?"))
        await settle()
        net.cut()
        [turn] = await served(net, task)
        assert (turn.attempts, turn.report.continuation.sent) == ((), 3)

    held(work, replace(ONE, shared_store=False))


def test_who_waits_for_a_lane_gets_one_when_another_answer_has_ended_unread() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        stream = client.stream("unread")
        entering = asyncio.ensure_future(stream.__aenter__())
        await settle()
        link = only_link(net)
        events = link.events()
        say(link, *events[:-1])
        await settle()
        [task] = await asked(client, "waits")
        assert entering.done() and len(net.sent) == 1
        say(link, events[-1])
        await settle()
        assert len(net.sent) == 2
        await served(net)
        assert (await task).text == digest([user("waits")])
        await stream.aclose()

    held(work, ONE)


def test_a_stored_answer_that_ended_on_a_connection_at_its_limit_is_continued_on_another() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        talk = client.conversation(provider_options=OpenAIResponsesOptions(store=True))
        task = asyncio.ensure_future(talk.chat("hi"))
        await settle()
        link = only_link(net)
        events = link.events()
        say(link, *events[:5], LIMIT, *events[5:])
        await task
        [turn] = await served(net, talk.chat("and?"))
        assert link not in net.links and turn.report.continuation.sent == 1

    held(work)


# -- when connections go -------------------------------------------------------------------------------------


def test_a_limit_that_one_connection_states_ends_the_others_in_time() -> None:
    """Those too that rest with a conversation, which nobody asks for."""

    async def work(client: Any, net: HeldNet) -> None:
        await served(net, *(client.conversation().chat(f"hi {n}") for n in range(2)))
        first, second = net.links
        begun = net.now()
        await asyncio.sleep(600)
        say(first, refusal("websocket_connection_limit_reached", "the limit is reached (25 minutes)"))
        await settle()
        assert list(net.links) == [second]
        while net.links:
            await asyncio.sleep(1)
        assert 0.9 * 25 * 60 - SINGLE.age_jitter <= net.now() - begun <= 0.9 * 25 * 60 + 1

    held(work, SINGLE)


def test_a_connection_that_nobody_has_used_goes_after_its_time() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        gate = asyncio.get_running_loop().create_future()

        async def connect(handshake: Any, **callbacks: Any) -> Any:
            await gate
            return await net.connect(handshake, **callbacks)

        connecting(client, connect)
        [leaves] = await asked(client, "leaves")
        leaves.cancel()
        gate.set_result(None)
        await settle()
        assert len(net.links) == 1 and not net.sent
        await asyncio.sleep(SINGLE.idle_timeout - 1)
        assert len(net.links) == 1
        await asyncio.sleep(2)
        assert not net.links

    held(work, SINGLE)


def test_after_a_sleep_of_the_machine_no_request_goes_over_an_old_connection() -> None:
    """Timers that are due have not run yet."""

    async def work(client: Any, net: HeldNet) -> None:
        loop: Any = asyncio.get_running_loop()
        await served(net, client.conversation().chat("hi"))
        old = only_link(net)
        loop.now += 7200
        [turn] = await served(net, client.chat("and?"))
        assert not turn.attempts and old not in net.links

    held(work, SINGLE)


@pytest.mark.parametrize(
    ("traits", "limit", "ends"),
    [(LANES, NAMED_LIMIT, True), (LANES, LIMIT, False), (SINGLE, LIMIT, False)],
    ids=["its lane", "no lane", "single"],
)
def test_an_age_limit_ends_an_answer_that_has_begun_only_if_it_names_its_lane(
    traits: Any, limit: Any, ends: bool
) -> None:
    async def work(client: Any, net: HeldNet) -> None:
        [task] = await asked(client, "begun")
        link = only_link(net)
        events = link.events()
        say(link, *events[:5], limit)
        await settle()
        assert task.done() is ends
        say(link, *events[5:])
        found = await task
        assert isinstance(found, APIError) if ends else found.text == digest([user("begun")])

    held(work, traits)


# -- what an exchange leaves behind --------------------------------------------------------------------------


@pytest.mark.parametrize("is_left", [False, True])
def test_a_lane_on_which_another_answer_was_heard_gets_no_request(is_left: bool) -> None:
    """Whether its own answer was still wanted or not; the caller who waits for it is told at once."""

    async def work(client: Any, net: HeldNet) -> None:
        await served(net, client.conversation().chat("names a lane"))
        [task] = await asked(client, "hi")
        link, when = only_link(net), net.now()
        begins, other = on("lane-1", *begun("r1")), on("lane-1", created("r9"))
        say(link, *begins)
        await settle()
        if is_left:
            task.cancel()
            await settle()
        say(link, *other)
        await settle()
        assert task.cancelled() if is_left else isinstance(task.result(), ProtocolError)
        say(link, *other)
        assert net.now() == when
        [connection] = pools(client)[0].connections
        assert connection.lanes["lane-1"].exchange is None
        await served(net, client.chat("next"))
        assert list(map(lane_of, net.sent)) == ["lane-0", "lane-1", "lane-2"]

    held(work)


def test_an_exchange_that_is_over_leaves_the_next_one_of_its_lane_alone() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        await asked(client, "first")
        [connection] = pools(client)[0].connections
        exchange = connection.lanes[None].exchange
        assert exchange is not None
        await served(net)
        assert await exchange.messages() == []
        [task] = await asked(client, "second")
        exchange.abort()
        exchange.abort()
        await served(net)
        assert (await task).text == digest([user("second")])
        assert client.responses.websocket_stats.abandoned == 0

    held(work, replace(SINGLE, max_connections=1, max_idle_connections=1))


def test_an_exchange_that_was_left_gives_nothing_more() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        [task] = await asked(client, "left")
        link = only_link(net)
        [connection] = pools(client)[0].connections
        exchange = connection.lanes["lane-0"].exchange
        assert exchange is not None
        say(link, *on("lane-0", *begun("r1")))
        exchange.abort()
        exchange.abort()
        with pytest.raises(StreamInterrupted):
            await exchange.messages()
        assert client.responses.websocket_stats.abandoned == 1
        task.cancel()

    held(work)


def test_of_the_answers_that_have_ended_the_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(client: Any, net: HeldNet) -> None:
        for n in range(4):
            [task] = await asked(client, "hi")
            say(only_link(net), *on("lane-0", *answer(f"r{n}")))
            await task
        [connection] = pools(client)[0].connections
        assert [connection.has_ended(f"r{n}") for n in range(4)] == [False, False, True, True]

    monkeypatch.setattr(lanes, "_REMEMBERED", 2)
    held(work, replace(LANES, max_lanes=1, max_connections=1, max_idle_connections=1))


def test_the_parent_of_a_fork_goes_on_when_the_forks_answer_has_ended_unread() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        talk = client.conversation()
        await served(net, talk.chat("hi"))
        stream = talk.fork().stream("unread")
        begun = asyncio.ensure_future(stream.__aenter__())
        await settle()
        task = asyncio.ensure_future(talk.chat("and?"))
        await settle()
        assert len(net.sent) == 2
        say(only_link(net), *on("lane-1", created("r8"), ended("r8")))
        await settle()
        assert len(net.sent) == 3
        await served(net)
        assert (await task).report.continuation.sent == 1
        await begun
        await stream.aclose()

    held(work)


def test_frames_that_were_read_do_not_count_against_the_buffer() -> None:
    """It holds exactly as many bytes as it may, as often as it was emptied."""

    async def work(client: Any, net: HeldNet) -> None:
        await asked(client, "hi")
        [connection] = pools(client)[0].connections
        exchange = connection.lanes["lane-0"].exchange
        assert exchange is not None
        frames = [msgspec.json.encode(event) for event in on("lane-0", *begun("r1"))]
        for frame in frames:
            connection.max_buffered = len(frame)
            connection.on_frame(frame)
            assert [len(each.data) for each in await exchange.messages()] == [len(frame)]
        connection.on_frame(frame)
        connection.on_frame(frame)
        await exchange.messages()
        with pytest.raises(StreamInterrupted, match="max_buffered_bytes"):
            await exchange.messages()

    held(work)


# -- connections that end ------------------------------------------------------------------------------------


def test_a_frame_over_the_limit_is_an_error_that_states_the_limit() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        [task] = await asked(client, "hi")
        only_link(net).end(Closed(1009, "", "too_big_in"))
        await settle()
        error = task.result()
        assert isinstance(error, FramingError) and "exceeds 1048576 bytes" in str(error)

    held(work, replace(LANES, http_fallback=False))


@pytest.mark.parametrize("traits", [LANES, SINGLE], ids=["lanes", "single"])
def test_connections_that_have_answered_may_be_lost_as_often_as_they_are(traits: Any) -> None:
    """And each is replaced as one that was gone."""

    async def work(client: Any, net: HeldNet) -> None:
        await served(net, client.chat("hi"))
        for _ in range(3):
            [task] = await asked(client, "and?")
            net.cut()
            await settle()
            [turn] = await served(net, task)
            [attempt] = turn.attempts
            assert attempt.error.endswith("; sent again on a new connection: the old one was gone")
            [pool] = pools(client)
            assert not pool.fallback.is_on

    held(work, replace(traits, max_connections=1, max_idle_connections=1))


def test_a_connection_that_breaks_in_sending_counts_once() -> None:
    """Two requests were to go over it: both are answered over a WebSocket."""

    async def work(client: Any, net: HeldNet) -> None:
        async def connect(handshake: Any, **callbacks: Any) -> Any:
            link = await net.connect(handshake, **callbacks)
            if len(links) == 0:
                link.send = broken
            links.append(link)
            return link

        async def broken(frame: bytes) -> None:
            links[0].end(Closed(1006, "", "lost"))
            raise LinkLost(Closed(1006, "", "lost"))

        links: list[Any] = []
        connecting(client, connect)
        turns = await served(net, client.chat("a"), client.chat("b"))
        assert [turn.text for turn in turns] == [digest([user(text)]) for text in "ab"]
        assert client.responses.websocket_stats.http_fallbacks == 0

    held(work)


def test_a_request_is_not_sent_beside_an_answer_that_has_just_begun_without_a_name() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        async def connect(handshake: Any, **callbacks: Any) -> Any:
            link = await net.connect(handshake, **callbacks)
            if len(net.links) == 1:
                link.send = at_once
            return link

        async def at_once(frame: bytes) -> None:
            net.sent.append(frame)
            say(only_link(net), *begun("r1"))

        connecting(client, connect)
        first, second = await asked(client, "a", "b")
        say(next(iter(net.links)), ended("r1"))
        await served(net)
        assert (await first).text == "hello" and (await second).text == digest([user("b")])
        [attempt] = (await second).attempts
        assert attempt.error == (
            "the server names no lanes, and several requests were in progress; sent again on a connection of its "
            "own: the server did not name the lane of an answer or error"
        )
        assert list(map(lane_of, net.sent)) == ["lane-0", None]

    held(work)
