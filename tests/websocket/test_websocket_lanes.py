"""Lanes and places: forks, what concerns a connection as a whole, which chain gives way, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import (
    APIError,
    AsyncClient,
    ConfigError,
    Message,
    OpenAIResponsesOptions,
    ProtocolError,
    ServerError,
    StreamInterrupted,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    CloseFrame,
    Failure,
    Gate,
    Job,
    ResponsesService,
    ScriptedSocket,
    SocketScript,
    Wait,
    digest,
)
from socket_clients import COLOURS, LANES, MODEL, MODES, answer, config, played, pools, refusal, run, tried

BOTH = pytest.mark.parametrize("colour", COLOURS)
IN_BOTH_MODES = pytest.mark.parametrize("traits", MODES.values(), ids=MODES.keys())
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
