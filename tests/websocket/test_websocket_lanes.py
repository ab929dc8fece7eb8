"""Lanes and places: forks, what concerns a connection as a whole, which chain gives way, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from brainwires_provider import (
    APIError,
    AsyncClient,
    ConfigError,
    Message,
    OpenAIResponsesOptions,
    ProtocolError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    CloseFrame,
    Failure,
    Gate,
    Incomplete,
    Job,
    ResponsesService,
    ScriptedSocket,
    SocketScript,
    Wait,
    digest,
)
from brainwires_provider.transports.websocket.connection import Closed
from brainwires_provider.transports.websocket.handshake import HandshakeRefused
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import (
    COLOURS,
    LANES,
    MODEL,
    MODES,
    SINGLE,
    answer,
    begun,
    client_of,
    config,
    created,
    ended,
    played,
    pools,
    refusal,
    run,
    tried,
)
from socket_memory import HeldNet, VirtualLoop, settle

BOTH = pytest.mark.parametrize("colour", COLOURS)
IN_BOTH_MODES = pytest.mark.parametrize("traits", MODES.values(), ids=MODES.keys())
T = TypeVar("T")
BROKE = refusal("server_error", "the gateway broke", 500)


def said_last(job: Job) -> Any:
    return job.body["input"][-1]["content"]


# -- forks ---------------------------------------------------------------------------------------------------


@BOTH
def test_forks_go_on_from_one_parent(colour: str) -> None:
    async def scenario(client: Any) -> Any:
        talk = client.conversation()
        await talk.chat("hi")
        forks = [talk, talk.fork(), talk.fork()]
        turns = await asyncio.gather(*(fork.chat(f"way {n}") for n, fork in enumerate(forks)))
        for n, turn in enumerate(turns):
            held = service.conversation(turn.id)
            assert turn.text == digest(held[:-1]) and held[2]["content"] == f"way {n}"
        for n, fork in enumerate(forks):
            turn = await fork.chat("and on")
            assert turn.report.continuation.sent == 1
            assert service.conversation(turn.id)[2]["content"] == f"way {n}"
        return client.responses.websocket_stats

    service = ResponsesService()
    with ScriptedSocket(service, pace=0.001) as server:
        counts = played(colour, server, scenario, LANES)
    assert (counts.incremental, counts.full, counts.resent) == (6, 1, 0) and server.connections == 1


@pytest.mark.parametrize("stream", [False, True])
def test_only_a_fork_leaves_what_it_continues_for_others(stream: bool) -> None:
    async def scenario(client: Any) -> list[int | None]:
        first = await client.chat("hi")
        sent = []
        for said in ("one way", "another way"):
            input = [Message.user("hi"), first.message, Message.user(said)]
            turn = await (client.stream(input).collect() if stream else client.chat(input))
            sent.append(turn.report.continuation.sent)
        return sent

    with ScriptedSocket(ResponsesService()) as server:
        sent = played("async", server, scenario, replace(LANES, shared_store=False))
    assert sent == [1, 3] and {each["stream_id"] for each in server.requests[0][:2]} == {"lane-0"}


def test_the_parents_lane_waits_until_the_fork_has_begun() -> None:
    """Else the service forgets the parent under it. Held up for long, and left, it lets the other go on too."""
    gates = {"held": Gate(), "left": Gate()}

    async def scenario(client: Any) -> None:
        for name, gate in gates.items():
            talk = client.conversation(system=name)
            await talk.chat("hi")
            fork = talk.fork()
            first = asyncio.ensure_future(fork.chat(name))
            await server.wait_requests_async(2 if name == "held" else 5)
            second = asyncio.ensure_future(talk.chat("and?"))
            await asyncio.sleep(0.1)
            assert not second.done()
            if name == "held":
                server.open(gate)
                assert (await first).report.continuation.sent == 1
            else:
                first.cancel()
            assert (await second).report.continuation.sent == 1
            assert (await second).text == digest(service.conversation((await second).id)[:-1])
        server.open(gates["left"])

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        said = said_last(job)
        return [gates[said], event] if said in gates and event["type"] == "response.created" else None

    service = ResponsesService()
    with ScriptedSocket(service, fault=hold) as server:
        played("async", server, scenario, LANES)


def test_a_fork_of_a_connection_that_takes_no_more_is_not_waited_for() -> None:
    gate = Gate()

    async def scenario(client: Any) -> None:
        talk = client.conversation()
        await talk.chat("hi")
        first = asyncio.ensure_future(talk.fork().chat("held"))
        await server.wait_requests_async(2)
        second = asyncio.ensure_future(talk.chat("and?"))
        assert isinstance(await tried(client.chat("bad")), ServerError)
        assert (await second).report.continuation.sent == 3
        server.open(gate)
        assert (await first).report.continuation.sent == 1

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        return [gate, event] if said_last(job) == "held" and event["type"] == "response.created" else None

    def author(items: Any, body: Mapping[str, Any]) -> Any:
        return Failure("server_error", "no") if items[-1]["content"] == "bad" else digest(items)

    traits = WebSocketOptions(multiplexing=True, reuse_after_error=False)
    with ScriptedSocket(ResponsesService(author), fault=hold) as server:
        played("async", server, scenario, traits)
    assert [len(events) for events in server.requests] == [3, 1]


# -- the connection as a whole -------------------------------------------------------------------------------


def test_an_error_that_names_no_lane_is_for_those_who_have_not_begun() -> None:
    gate, after = Gate(), Gate()

    async def scenario(client: Any) -> None:
        under_way = [asyncio.ensure_future(client.chat(f"begun {n}")) for n in range(2)]
        await server.wait_requests_async(2)
        waiting = [asyncio.ensure_future(tried(client.chat(f"waiting {n}"))) for n in range(2)]
        await server.wait_requests_async(4)
        server.play(BROKE)
        assert [type(error) for error in await asyncio.gather(*waiting)] == [ServerError] * 2
        server.open(gate)
        assert all(turn.text.startswith("1 items") for turn in await asyncio.gather(*under_way))
        server.open(after)

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        if said_last(job).startswith("waiting"):
            return [after, event]
        return [event, gate] if event["type"] == "response.in_progress" else None

    with ScriptedSocket(ResponsesService(), fault=hold) as server:
        played("async", server, scenario, LANES)


def test_with_all_begun_it_is_the_end_of_the_connection_not_of_the_answers() -> None:
    gate = Gate()

    async def scenario(client: Any) -> None:
        streams = [client.stream(f"begun {n}") for n in range(2)]
        for stream in streams:
            await stream.__aenter__()
        server.play([BROKE, Wait(0.01)])
        while not any(socket.retiring for pool in pools(client) for socket in pool.connections):
            await asyncio.sleep(0.01)
        assert (await client.chat("hi")).text.startswith("1 items")
        server.open(gate)
        for stream in streams:
            assert (await stream.collect()).text.startswith("1 items")
            await stream.aclose()
        while server.open_connections > 1:
            await asyncio.sleep(0.01)

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        is_held = said_last(job).startswith("begun") and event["type"] == "response.output_text.delta"
        return [event, gate] if is_held else None

    with ScriptedSocket(ResponsesService(), fault=hold) as server:
        played("async", server, scenario, LANES)
    assert server.connections == 2


def test_what_cannot_be_read_may_be_anybodys() -> None:
    gate = Gate()

    async def scenario(client: Any) -> None:
        asked = [asyncio.ensure_future(tried(client.chat(f"begun {n}"))) for n in range(3)]
        await server.wait_requests_async(3)
        server.play("\N{SNOWMAN} garbage")
        assert [type(error) for error in await asyncio.gather(*asked)] == [ProtocolError] * 3
        server.open(gate)
        assert (await client.chat("hi")).text.startswith("1 items")

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        return gate if said_last(job).startswith("begun") else None

    with ScriptedSocket(ResponsesService(), fault=hold) as server:
        played("async", server, scenario, LANES)


@BOTH
def test_events_that_nobody_asked_for_are_counted_and_nothing_else(colour: str) -> None:
    async def scenario(client: Any) -> Any:
        talk = client.conversation()
        await talk.chat("hi")
        for lane in (None, "lane-0", "lane-7"):
            for event in (*answer("r9", "wrong"), {"type": "codex.rate_limits"}, refusal("because")):
                if lane is not None or event["type"].startswith("response."):
                    server.play(event if lane is None else {**event, "stream_id": lane})
        while client.responses.websocket_stats.orphaned < 5 + 7 + 7:
            await asyncio.sleep(0.01)
        turn = await talk.chat("and?")
        assert turn.text == digest(service.conversation(turn.id)[:-1])
        return client.responses.websocket_stats

    service = ResponsesService()
    with ScriptedSocket(service) as server:
        counts = played(colour, server, scenario, LANES)
    assert counts.orphaned == 19 and server.connections == 1


@BOTH
def test_a_lane_whose_request_was_refused_gets_no_other(colour: str) -> None:
    """What was refused may still be answered. With half of the names gone, the connection goes too."""

    def author(items: Any, body: Mapping[str, Any]) -> Any:
        return Failure("server_error", "no") if items[-1]["content"] == "bad" else digest(items)

    async def scenario(client: Any) -> None:
        talk = client.conversation()
        await talk.chat("hi")
        for _ in range(3):
            assert isinstance(await tried(client.chat("bad")), ServerError)
        assert (await talk.chat("and?")).report.continuation.sent == 1
        for _ in range(2):
            assert isinstance(await tried(client.chat("bad")), ServerError)
        assert (await talk.chat("so?")).report.continuation.sent == 5

    traits = WebSocketOptions(multiplexing=True, reuse_after_error=True, max_lanes=8)
    with ScriptedSocket(ResponsesService(author)) as server:
        played(colour, server, scenario, traits)
    first, second = server.requests
    assert [event["stream_id"] for event in first] == [f"lane-{n}" for n in (0, 1, 2, 3, 0, 4, 5)]
    assert len(second) == 1


# -- who gives way, and who waits ----------------------------------------------------------------------------


@IN_BOTH_MODES
def test_the_chain_that_rested_longest_gives_way(traits: WebSocketOptions) -> None:
    async def scenario(client: Any) -> None:
        talks = [client.conversation(system=f"talk {n}") for n in range(3)]
        for talk in talks:
            await talk.chat("hi")
        await talks[0].chat("and?")
        assert (await client.chat("another")).report.continuation.sent == 1
        parents = [(await talk.chat("so?")).report.continuation.parent for talk in (talks[0], talks[2])]
        assert None not in parents
        assert (await talks[1].chat("so?")).report.continuation.parent is None

    few = WebSocketOptions(
        multiplexing=traits.multiplexing,
        reuse_after_error=True,
        max_lanes=3,
        max_idle_connections=3,
        max_connections=3,
    )
    if traits.multiplexing:
        few = WebSocketOptions(
            multiplexing=True, reuse_after_error=True, max_lanes=3, max_idle_connections=1, max_connections=1
        )
    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing)) as server:
        played("async", server, scenario, few)
    assert server.connections == (1 if traits.multiplexing else 3)


@pytest.mark.parametrize(("names", "connections"), [(1, 4), (2, 1), (2, 8), (5, 8)])
def test_a_server_with_few_names_of_lanes_loses_no_call(names: int, connections: int) -> None:
    """What one connection is refused is known to all: who is left waits for a lane, or gets another connection."""

    async def scenario(client: Any) -> None:
        for _ in range(2):
            found = await asyncio.gather(*(client.chat(f"q{n}") for n in range(20)))
            assert [each.text for each in found] == [f"a{n}" for n in range(20)]
            (pool,) = pools(client)
            assert pool.options.max_lanes == names and pool.options.multiplexing
            assert all(len(each.lanes) <= names for each in pool.connections)
        refused = [each for each in found if each.attempts]
        assert not refused  # the second time it is known

    traits = WebSocketOptions(multiplexing=True, reuse_after_error=True, max_connections=connections)
    service = ResponsesService(lambda items, _: f"a{items[-1]['content'][1:]}", max_lanes=names)
    with ScriptedSocket(service) as server:
        played("async", server, scenario, traits)


@IN_BOTH_MODES
def test_those_who_wait_are_served_in_order(traits: WebSocketOptions) -> None:
    order: list[str] = []

    async def scenario(client: Any) -> None:
        async def ask(n: int) -> None:
            await client.chat(f"number {n}")

        async with asyncio.TaskGroup() as group:
            for n in range(20):
                group.create_task(ask(n))
                await asyncio.sleep(0)

    def note(number: int, job: Job, event: Mapping[str, Any]) -> None:
        if event["type"] == "response.created":
            order.append(said_last(job))

    one = WebSocketOptions(multiplexing=traits.multiplexing, max_concurrent=1, max_connections=1)
    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing), fault=note) as server:
        played("async", server, scenario, one)
    assert order == [f"number {n}" for n in range(20)]


def test_a_stored_answer_is_continued_while_its_own_lane_is_gone() -> None:
    """By whoever comes first; the other sends everything, and both are right."""

    async def scenario(client: Any) -> None:
        talk = client.conversation(provider_options=OpenAIResponsesOptions(store=True))
        await talk.chat("hi")
        others = [client.conversation(system=f"other {n}") for n in range(3)]
        for other in others:
            await other.chat("hi")
        turn = await talk.chat("and?")
        assert turn.text == digest(service.conversation(turn.id)[:-1])

    service = ResponsesService(lanes=False)
    with ScriptedSocket(service) as server:
        played("async", server, scenario, WebSocketOptions(max_connections=1, max_idle_connections=1))


def test_a_stored_answer_is_continued_once() -> None:
    """Who comes second sends the whole history: the parent of a lane's latest response may be gone there."""

    async def scenario(client: Any) -> None:
        talk = client.conversation(provider_options=OpenAIResponsesOptions(store=True))
        await talk.chat("hi")
        server.play(CloseFrame(1001))
        await server.wait_idle_async(5)
        turns = [await fork.chat("and?") for fork in (talk.fork(), talk.fork())]
        assert [turn.report.continuation.sent for turn in turns] == [1, 3]
        for turn in turns:
            assert turn.text == digest(service.conversation(turn.id)[:-1])

    service = ResponsesService()
    with ScriptedSocket(service) as server:
        played("async", server, scenario, LANES)


def test_a_close_while_it_connects_is_told() -> None:
    async def main() -> None:
        client = AsyncClient(MODEL, providers=[config(server.base_url, LANES)])
        asked = [asyncio.ensure_future(tried(client.chat(f"number {n}"))) for n in range(3)]
        while not server.handshakes:
            await asyncio.sleep(0.01)
        await client.aclose()
        assert all(isinstance(error, ConfigError) for error in await asyncio.gather(*asked))

    with ScriptedSocket(ResponsesService(), delay=0.2) as server:
        run(main())
        server.wait_idle(5)


def test_a_connection_that_ends_as_it_begins_is_tried_twice() -> None:
    """The close frame comes in the same packet as the head of the 101."""

    async def scenario(client: Any) -> None:
        found = await asyncio.gather(*(tried(client.chat(f"number {n}")) for n in range(4)))
        assert all(isinstance(error, StreamInterrupted | APIError) for error in found)

    plan = [SocketScript(first=[CloseFrame(1013)])] * 8
    with ScriptedSocket(plan) as server:
        played("async", server, scenario, WebSocketOptions(http_fallback=False))
    assert len(server.handshakes) <= 8


# -- frame by frame ------------------------------------------------------------------------------------------


def held(
    work: Callable[[Any, HeldNet], Awaitable[T]],
    traits: WebSocketOptions = LANES,
    refuses: Callable[[float], Exception | None] = lambda now: None,
    author: Any = None,
    **settings: Any,
) -> T:
    """What comes of a client whose server says nothing by itself, on a clock that costs no time.

    `refuses`: with what a connection at this time fails.
    """
    net = HeldNet(ResponsesService(author or told_back, lanes=traits.multiplexing), Random(1))
    problems: list[Any] = []

    async def connect(handshake: Any, **callbacks: Any) -> Any:
        if (error := refuses(net.now())) is not None:
            raise error
        return await net.connect(handshake, **callbacks)

    async def main() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda loop, told: problems.append(told))
        async with client_of("async", config("http://localhost/v1", traits), **settings) as client:
            client._session.pools = Pools(connect=connect, max_event_bytes=1 << 20, random=Random(1))
            return await work(client, net)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(main())
    assert problems == []
    return result


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def told_back(items: Any, body: Mapping[str, Any]) -> str:
    return digest(items)


async def served(net: HeldNet, *asked: Awaitable[Any]) -> list[Any]:
    """What comes of requests that the server answers."""
    tasks = [asyncio.ensure_future(tried(each)) for each in asked]
    for _ in range(50):  # who is not served then waits for its clock
        await settle()
        for link in list(net.links):
            for event in link.events():  # type: ignore[attr-defined]
                link.say(event)  # type: ignore[attr-defined]
    return [await task for task in tasks]


async def asked(client: Any, *texts: str) -> list[asyncio.Task[Any]]:
    """Requests that have been sent, or wait for a place."""
    tasks = [asyncio.ensure_future(tried(client.chat(text))) for text in texts]
    await settle()
    return tasks


METADATA = {"type": "response.metadata", "metadata": {}}
IN_PROGRESS = {**created("r1"), "type": "response.in_progress"}
QUEUED = {**created("r1"), "type": "response.queued"}


@pytest.mark.parametrize(
    ("frame", "requests", "has_lanes", "orphaned"),
    [
        *((frame, 1, (False, False), 0) for frame in (created("r1"), QUEUED, IN_PROGRESS)),
        (ended("r1"), 1, (False, False), 1),
        (BROKE, 1, (True, True), 0),
        (METADATA, 1, (True, True), 1),
        ({"type": "codex.rate_limits"}, 1, (True, True), 0),
        (begun("r1")[-1], 1, (True, True), 1),
        *((frame, 2, (False, False), 0) for frame in (created("r1"), QUEUED, IN_PROGRESS, ended("r1"))),
        (BROKE, 2, (False, True), 0),
        (METADATA, 2, (True, True), 1),
        (begun("r1")[-1], 2, (True, True), 1),
    ],
)
def test_what_a_frame_without_a_name_shows_of_a_server(
    frame: Any, requests: int, has_lanes: tuple[bool, bool], orphaned: int
) -> None:
    """A beginning or an end: that it has no lanes; an error: only for a minute, and only if it may be another's."""

    async def work(client: Any, net: HeldNet) -> None:
        await asked(client, *(f"question {n}" for n in range(requests)))
        [link] = net.links
        link.say(frame)
        [pool] = pools(client)
        found = [pool.has_lanes]
        assert client.responses.websocket_stats.orphaned == orphaned
        await asyncio.sleep(61)
        assert (*found, pool.has_lanes) == has_lanes

    held(work)


@pytest.mark.parametrize("traits", [LANES, SINGLE], ids=["lanes", "single"])
@pytest.mark.parametrize("late", ["r1", "r2"])
def test_an_answer_is_late_by_its_first_id_and_by_its_last(traits: WebSocketOptions, late: str) -> None:
    """The end of a response may name it anew; what comes under either name afterwards is not the next response."""
    first = ended("r2", "first")
    [item] = first["response"]["output"]
    done = {"type": "response.output_item.done", "sequence_number": 1, "output_index": 0, "item": item}
    wrong = [
        {**created(late), "type": "response.in_progress"},
        *begun(late, "wrong")[1:],
        ended(late, "wrong"),
    ]

    async def work(client: Any, net: HeldNet) -> None:
        named = {"stream_id": "lane-0"} if traits.multiplexing else {}
        turns = []
        for text, events in (
            ("a", [created("r1"), done, first]),
            ("b", [*wrong, *answer("r3", "second")]),
        ):
            [task] = await asked(client, text)
            [link] = net.links
            for event in events:
                link.say({**event, **named})
            turns.append(getattr(await task, "text", await task))
        assert turns == ["first", "second"]

    held(work, replace(traits, max_idle_connections=1, max_lanes=1))


# -- connections that fail to open ---------------------------------------------------------------------------

BUSY = HandshakeRefused(429, {}, b"")


def test_who_waits_behind_connections_that_failed_gets_some_of_its_own() -> None:
    """Two may be open, and each that is tried fails for one request."""
    tries: list[float] = []

    async def work(client: Any, net: HeldNet) -> list[Any]:
        return await asyncio.gather(*await asked(client, *(f"question {n}" for n in range(5))))

    found = held(work, replace(SINGLE, max_connections=2), lambda now: tries.append(now) or BUSY)
    assert {type(error) for error in found} == {RateLimitError} and tries == [0.0] * 5


def test_beside_a_connection_that_serves_another_is_tried_after_pauses_that_double() -> None:
    """At most a minute; one that opens begins anew."""
    tries: list[float] = []
    fails = False

    def refuses(now: float) -> Exception | None:
        tries.append(now)
        return BUSY if fails else None

    async def work(client: Any, net: HeldNet) -> None:
        nonlocal fails
        await asked(client, "held")
        fails = True
        await asked(client, "waits")
        await asyncio.sleep(200)
        assert tries == [0, 0, 1, 3, 7, 15, 31, 63, 123, 183] and len(net.sent) == 1
        fails = False
        await asyncio.sleep(60)
        assert tries[10:] == [243] and len(net.sent) == 2
        fails = True
        begun = net.now()
        await asked(client, "waits too")
        await asyncio.sleep(4)
        assert tries[11:] == [begun, begun + 1, begun + 3] and len(net.sent) == 2

    clocks = Timeouts(first_event=3600, idle=3600)
    held(work, SINGLE, refuses, timeouts=clocks)


# -- which connection goes -----------------------------------------------------------------------------------


def bearer(n: int) -> dict[str, str]:
    return {"Authorization": f"Bearer key-{n}"}


def test_of_other_keys_the_connection_that_is_idle_longest_makes_room() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        for n in (1, 2, 1, 3):
            await asyncio.sleep(1)
            before = list(net.links)
            await served(net, client.chat(f"hi {n}", extra_headers=bearer(n)))
        assert list(net.links) == [before[0], *set(net.links) - set(before)] and len(net.links) == 2

    held(work, replace(SINGLE, max_connections=2, max_idle_connections=1))


def test_of_one_key_the_connection_without_a_conversation_makes_room_first() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        talk = client.conversation()
        await served(net, talk.chat("hi"), client.chat("short"))
        first, second = net.links
        await served(net, client.chat("hi", extra_headers=bearer(2)))
        assert first in net.links and second not in net.links
        [turn] = await served(net, talk.chat("and?"))
        assert turn.report.continuation.sent == 1

    def author(items: Any, body: Mapping[str, Any]) -> Any:
        return Incomplete("max_output_tokens") if items[-1]["content"] == "short" else digest(items)

    held(work, replace(SINGLE, max_connections=2), author=author)


def test_who_leaves_as_it_gets_a_place_gives_it_to_the_next() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        await asked(client, "first")
        [leaves] = await asked(client, "leaves")
        [pool] = pools(client)
        [link] = net.links
        for event in link.events():  # type: ignore[attr-defined]
            link.say(event)  # type: ignore[attr-defined]
        for _ in range(100):
            if pool._waiting:
                await asyncio.sleep(0)
        leaves.cancel()
        [turn] = await served(net, client.chat("next"))
        assert turn.text == digest([user("next")]) and leaves.cancelled()

    held(work, replace(SINGLE, max_connections=1))


def test_of_stored_responses_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(client: Any, net: HeldNet) -> None:
        store = OpenAIResponsesOptions(store=True)
        talks = [client.conversation(system=f"talk {n}", provider_options=store) for n in range(3)]
        for talk in talks:
            await served(net, talk.chat("hi"))
        net.cut()
        await settle()
        turns = [(await served(net, talk.chat("and?")))[0] for talk in talks]
        assert [turn.report.continuation.sent for turn in turns] == [3, 1, 1]

    monkeypatch.setattr("brainwires_provider.transports.websocket.pool._MAX_STORED", 2)
    held(work, replace(LANES, max_connections=1))


@pytest.mark.parametrize(
    ("age", "words", "limit"),
    [
        (2000, "the limit is reached (25 minutes)", 0.9 * 25 * 60),
        (2000, "the limit is reached", 0.9 * 1000),
        (100, "the limit is reached", 300),
        (100, "the limit is reached (2000 minutes)", 3300),
    ],
)
def test_an_age_limit_is_taken_as_it_is_said_or_guessed(age: float, words: str, limit: float) -> None:
    """Never below five minutes, and never above what is set."""

    async def work(client: Any, net: HeldNet) -> None:
        await asyncio.sleep(7)
        talk = client.conversation()
        await served(net, talk.chat("hi"))
        await asyncio.sleep(age)
        [link] = net.links
        task = asyncio.ensure_future(talk.chat("and?"))
        await settle()
        link.say(refusal("websocket_connection_limit_reached", words))  # type: ignore[attr-defined]
        await settle()
        [turn] = await served(net, task)
        assert len(turn.attempts) == 1 and link not in net.links
        [pool] = pools(client)
        assert pool.options.max_connection_age == limit

    held(work, SINGLE)


@pytest.mark.parametrize(
    ("closed", "counts"),
    [
        (Closed(1006, "", "lost"), True),
        (Closed(1006, "", "keepalive"), True),
        (Closed(1002, "", "protocol"), True),
        (Closed(1011, "", "server"), True),
        (Closed(1009, "", "server"), False),
        (Closed(1009, "", "too_big_in"), False),
        (Closed(None, "", "loop"), False),
        (Closed(None, "", "ours"), False),
    ],
    ids=str,
)
def test_which_ends_before_an_answer_mean_that_no_websocket_works(closed: Closed, counts: bool) -> None:
    async def work(client: Any, net: HeldNet) -> None:
        for _ in range(2):
            [task] = await asked(client, "hi")
            for _ in range(5):
                for link in list(net.links):
                    link.end(closed)
                await settle()
            assert task.done()
        [pool] = pools(client)
        assert pool.fallback.is_on is counts

    held(work, replace(SINGLE, http_fallback=False))


@pytest.mark.parametrize(("turns", "continues"), [("rrr", "stored"), ("rrcrr", "all"), ("rr", "all")])
def test_a_server_that_does_not_continue_thrice_is_not_asked_to_again(turns: str, continues: str) -> None:
    """In succession: `r` is a turn that it refuses to continue, `c` one that it continues."""

    async def work(client: Any, net: HeldNet) -> None:
        talk = client.conversation()
        await served(net, talk.chat("hi"))
        for turn in turns:
            task = asyncio.ensure_future(talk.chat("and?"))
            await settle()
            if turn == "r":
                [link] = net.links
                link.say(refusal("previous_response_not_found"))  # type: ignore[attr-defined]
            await served(net, task)
        [pool] = pools(client)
        assert pool.options.continues == continues

    held(work, SINGLE)


def test_a_key_that_waits_for_a_place_is_not_forgotten() -> None:
    """Two others ask meanwhile, for whom what is not used is forgotten."""

    async def work(client: Any, net: HeldNet) -> Any:
        texts = ["held", "waits", "waits too", "last"]
        calls = [client.chat(text, extra_headers=bearer(n)) for n, text in enumerate(texts)]
        tasks = []
        for call in calls:
            tasks.append(asyncio.ensure_future(call))
            await settle()
        assert len(net.sent) == 1
        turns = await served(net, *tasks)
        assert [turn.text for turn in turns] == [digest([user(t)]) for t in texts]
        return client.responses.websocket_stats

    counts = held(work, replace(SINGLE, max_connections=1))
    assert (counts.connected, counts.full, counts.misses) == (4, 4, {"first": 4})


@pytest.mark.parametrize("is_refused", [False, True])
@pytest.mark.parametrize("is_late", [False, True])
def test_who_leaves_as_its_connection_opens_or_fails_is_only_passed_over(
    is_refused: bool, is_late: bool
) -> None:
    """Just before that, or just after."""
    gates: list[asyncio.Future[None]] = []

    async def work(client: Any, net: HeldNet) -> None:
        async def connect(handshake: Any, **callbacks: Any) -> Any:
            gates.append(asyncio.get_running_loop().create_future())
            await gates[-1]
            return await net.connect(handshake, **callbacks)

        client._session.pools = Pools(connect=connect, max_event_bytes=1 << 20, random=Random(1))
        leaves, stays = await asked(client, "leaves", "stays")
        [pool] = pools(client)
        for gate in gates:
            if is_refused:
                gate.set_exception(BUSY)
            else:
                gate.set_result(None)
        for _ in range(100):
            if is_late and len(pool._waiting) > 1:
                await asyncio.sleep(0)
        leaves.cancel()
        [found] = await served(net, stays)
        assert leaves.cancelled()
        assert isinstance(found, RateLimitError) if is_refused else found.text == digest([user("stays")])

    held(work, replace(LANES, max_concurrent=2))


@pytest.mark.parametrize("begins", [True, False])
def test_a_lane_is_used_again_after_an_error_of_an_answer_that_had_an_id(begins: bool) -> None:
    """What may follow it is told by that id."""

    async def work(client: Any, net: HeldNet) -> list[str]:
        await served(net, client.chat("names a lane"))
        [task] = await asked(client, "hi")
        [link] = net.links
        for event in ([created("r1")] if begins else []) + [BROKE]:
            link.say({**event, "stream_id": "lane-1"})  # type: ignore[attr-defined]
        assert isinstance(await task, ServerError)
        await asked(client, "next")
        return list(map(named, net.sent))

    def named(frame: bytes) -> str:
        return str(msgspec.json.decode(frame)["stream_id"])

    assert held(work) == ["lane-0", "lane-1", "lane-1" if begins else "lane-2"]


def test_a_connection_that_takes_no_name_at_all_is_closed() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        [task] = await asked(client, "hi")
        [link] = net.links
        link.say({**refusal("websocket_stream_limit_reached"), "stream_id": "lane-0"})  # type: ignore[attr-defined]
        [turn] = await served(net, task)
        assert len(turn.attempts) == 1 and link not in net.links and len(net.links) == 1
        [pool] = pools(client)
        assert pool.options.max_lanes == 1

    held(work)


@pytest.mark.parametrize("frame", [created("r1"), BROKE], ids=["begun", "error"])
def test_requests_that_a_frame_without_a_name_may_belong_to_get_connections_of_their_own(frame: Any) -> None:
    async def work(client: Any, net: HeldNet) -> None:
        tasks = await asked(client, "a", "b")
        [link] = net.links
        link.say(frame)
        for text, turn in zip("ab", await served(net, *tasks), strict=True):
            [attempt] = turn.attempts
            assert "did not name the lane" in attempt.error and turn.text == digest([user(text)])
        assert link not in net.links and len(net.links) == 2
        assert [b"stream_id" in frame for frame in net.sent] == [True, True, False, False]

    held(work)


def test_a_chain_goes_on_as_soon_as_another_answer_has_ended_unread() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        talk, other = client.conversation(), client.conversation()
        await served(net, talk.chat("hi"), other.chat("hi"))
        stream = other.stream("unread")
        begun = asyncio.ensure_future(stream.__aenter__())
        await settle()
        [link] = net.links
        events = link.events()  # type: ignore[attr-defined]
        while not begun.done():
            link.say(events.pop(0))  # type: ignore[attr-defined]
            await settle()
        task = asyncio.ensure_future(talk.chat("and?"))
        await settle()
        assert len(net.sent) == 3
        for event in events:
            link.say(event)  # type: ignore[attr-defined]
        await settle()
        assert len(net.sent) == 4
        [turn] = await served(net, task)
        assert turn.report.continuation.sent == 1
        await stream.aclose()

    held(work, replace(LANES, max_concurrent=1, max_connections=1))


def test_a_fork_without_a_lane_of_its_own_takes_its_parents() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        talk = client.conversation()
        await served(net, talk.chat("hi"))
        turns = [(await served(net, each.chat("and?")))[0] for each in (talk.fork(), talk)]
        assert [turn.report.continuation.sent for turn in turns] == [1, 3]

    held(work, replace(LANES, shared_store=False, max_lanes=1, max_connections=1, max_idle_connections=1))


def test_a_frame_without_a_name_shows_nothing_of_a_server_that_has_named_a_lane() -> None:
    async def work(client: Any, net: HeldNet) -> None:
        await served(net, client.chat("hi"))
        [link] = net.links
        tasks = await asked(client, "a", "b")
        for frame in (*answer("r1"), METADATA):
            link.say(frame)  # type: ignore[attr-defined]
        [pool] = pools(client)
        assert pool.has_lanes and client.responses.websocket_stats.orphaned == 6
        turns = await served(net, *tasks)
        assert [turn.text for turn in turns] == [digest([user(text)]) for text in "ab"]
        assert not any(turn.attempts for turn in turns) and list(net.links) == [link]

    held(work)
