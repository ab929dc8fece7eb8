"""The same as test_websocket_behaviour.py, the rows from continuation on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
from openai import AsyncOpenAI

from brainwires_provider import (
    AsyncClient,
    Client,
    InvalidRequestError,
    Message,
    Reasoning,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    Timeouts,
    Tool,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    Answer,
    Failure,
    Gate,
    Job,
    ResponsesService,
    ScriptedSocket,
    Stall,
    assistant,
    digest,
)
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import (
    COLOURS,
    LANES,
    MODEL,
    MODES,
    answer,
    begun,
    client_of,
    config,
    created,
    ended,
    played,
    refusal,
    run,
    told,
    tried,
)
from socket_memory import MemoryNet, VirtualLoop

BOTH = pytest.mark.parametrize("colour", COLOURS)
IN_BOTH_MODES = pytest.mark.parametrize("traits", MODES.values(), ids=MODES.keys())


# -- continuation --------------------------------------------------------------------------------------------


def sent(server: ScriptedSocket) -> list[tuple[bool, int]]:
    """Of each frame: whether it named a parent, and how many items it had."""
    frames = [event for events in server.requests for event in events]
    return [("previous_response_id" in frame, len(frame["input"])) for frame in frames]


@BOTH
@IN_BOTH_MODES
def test_only_what_is_new_is_sent_after_the_same_beginning(traits: WebSocketOptions, colour: str) -> None:
    async def scenario(client: Any) -> None:
        history: list[Message] = []
        for n in range(4):
            history.append(Message.user(f"turn {n}"))
            response = await client.chat(history)
            assert response.text == digest(service.conversation(response.id)[:-1])
            assert response.report.continuation.of == len(history)
            history.append(response.message)
        edited = [Message.user("edited"), *history[1:], Message.user("go on")]
        response = await client.chat(edited)
        assert response.report.continuation.reason == "no live chain begins like this"
        again = await client.chat(
            [*history[:3], Message.user("elsewhere"), *history[4:], Message.user("go on")]
        )
        assert "item 2" in again.report.continuation.reason or "item 3" in again.report.continuation.reason
        assert client.responses.websocket_stats.incremental == 3

    service = ResponsesService(lanes=traits.multiplexing)
    with ScriptedSocket(service) as server:
        played(colour, server, scenario, traits)

    first = [(False, 1), (True, 1), (True, 1), (True, 1)]
    assert sorted(sent(server)) == sorted([*first, (False, 9), (False, 9)])


CHANGES: Mapping[str, Mapping[str, Any]] = {
    "instructions": {"system": "Be brief."},
    "temperature": {"extra_body": {"temperature": 0.5}},
    "top_p": {"extra_body": {"top_p": 0.5}},
    "max_output_tokens": {"max_tokens": 9},
    "tools": {"tools": [Tool("t", "d", {"type": "object", "properties": {}})]},
    "text": {"extra_body": {"text": {"verbosity": "low"}}},
    "reasoning": {"reasoning": Reasoning(effort="high")},
    "model": {"model": "openai-responses-ws:other"},
}
FREE: Mapping[str, Any] = {
    "metadata": {"a": "b"},
    "user": "u-2",
    "safety_identifier": "s-2",
    "prompt_cache_key": "k-2",
    "client_metadata": {"turn": "2"},
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_sends_everything(field: str) -> None:
    async def scenario(client: Any) -> None:
        talk = client.conversation()
        await talk.chat("hi")
        changed = await talk.chat("and?", **CHANGES[field])
        assert changed.report.continuation.reason == f"field {field!r} differs"
        same = await talk.chat("so?", **CHANGES[field])
        assert same.report.continuation.sent == 1
        assert same.text == digest(service.conversation(same.id)[:-1])

    service = ResponsesService()
    with ScriptedSocket(service) as server:
        played("async", server, scenario, LANES)

    assert sent(server) == [(False, 1), (False, 3), (True, 1)]


@pytest.mark.parametrize("field", FREE)
def test_a_field_that_the_model_does_not_see_may_differ(field: str) -> None:
    async def scenario(client: Any) -> None:
        talk = client.conversation()
        await talk.chat("hi")
        turn = await talk.chat("and?", extra_body={field: FREE[field]})
        assert turn.report.continuation.sent == 1
        assert turn.text == digest(service.conversation(turn.id)[:-1])
        await talk.chat("so?", max_tokens=9)
        assert client.responses.websocket_stats.misses == {"first": 1, "field:max_output_tokens": 1}

    service = ResponsesService()
    with ScriptedSocket(service) as server:
        played("async", server, scenario, LANES)
    assert server.requests[0][1][field] == FREE[field]  # and it is sent all the same


NOT_FOUND = refusal("previous_response_not_found", param="previous_response_id")
GONE: Mapping[str, list[Any]] = {
    "nested error": [NOT_FOUND],
    "flat error": [{**NOT_FOUND["error"], "type": "error"}],
    "by a gateway": [refusal("codex_previous_response_stale")],
    "without a code": [refusal(None, error={"message": "Not found: 'x'", "param": "previous_response_id"})],
    "after the start": [created("r2"), NOT_FOUND],
    "in response.failed": [created("r2"), ended("r2", status="failed", error=NOT_FOUND["error"], output=[])],
}


@BOTH
@pytest.mark.parametrize("keeps", [True, False], ids=["kept after errors", "replaced after errors"])
@pytest.mark.parametrize("shape", GONE)
def test_a_forgotten_parent_is_recovered_from_once(shape: str, keeps: bool, colour: str) -> None:
    first, rest = [answer("r1"), GONE[shape]], [answer("r3", "whole")]
    script = [first + rest] if keeps or shape == "in response.failed" else [first, rest]

    async def scenario(client: Any) -> Any:
        return *await told(client, "hi", "and?"), client.responses.websocket_stats

    with ScriptedSocket(script) as server:
        _, second, counts = played(colour, server, scenario, WebSocketOptions(reuse_after_error=keeps))

    assert second.text == "whole" and len(second.attempts) == 1
    assert (counts.resent, counts.incremental, counts.full) == (1, 1, 2)
    assert sent(server) == [(False, 1), (True, 1), (False, 3)]


# -- life ----------------------------------------------------------------------------------------------------


def test_connections_are_replaced_before_the_hour() -> None:
    """See test_websocket_clock.py for the rest; the service refuses what comes after 60 minutes."""
    service = ResponsesService()
    net = MemoryNet(service, Random(1))

    async def main() -> None:
        async with client_of("async", config("http://localhost/v1", LANES)) as client:
            client._session.pools = Pools(connect=net.connect, max_event_bytes=1 << 20, random=Random(1))
            talk = client.conversation()
            for _ in range(180):
                answer = await talk.chat("hi")
                assert not answer.attempts
                await asyncio.sleep(60)
            assert client.responses.websocket_stats.rotated == 3

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert net.opened == 4


@BOTH
def test_a_warm_up_can_be_continued(colour: str) -> None:
    async def scenario(client: Any) -> None:
        async with client.responses.connect() as connection:
            assert connection.is_connected
            parent = await connection.warm_up("the long beginning", system="Be brief.")
            await connection.create("hi", previous_response_id=parent, system="Be brief.")
            async for event in connection:
                assert event["type"] != "error"
                if event["type"] == "response.completed":
                    break
            said = event["response"]["output"][0]["content"][0]["text"]
            assert said == digest(service.conversation(event["response"]["id"])[:-1])
            with pytest.raises(InvalidRequestError, match="resp_none"):
                await connection.warm_up("x", extra_body={"previous_response_id": "resp_none"})

    service = ResponsesService()
    with ScriptedSocket(service) as server:
        played(colour, server, scenario, LANES)

    assert server.requests[0][0]["generate"] is False
    assert service.counters["warm-ups"] == 1


@BOTH
def test_silence_has_a_clock(colour: str) -> None:
    async def scenario(client: Any) -> list[Any]:
        return [await tried(client.chat("hi")) for _ in range(3)]

    script = [[[Stall()]], [[created("r1"), Stall()]], [[*begun("r2"), Stall()]]]
    with ScriptedSocket(script) as server:
        clocks = Timeouts(first_event=0.4, idle=0.3)
        none, start, some = played(colour, server, scenario, timeouts=clocks)

    assert type(none) is RequestTimeout and none.clock == "first_event"
    for cut, text, id in (
        (start, "", "r1"),
        (some, "hel", "r2"),
    ):  # the start of an answer is its first event
        assert isinstance(cut, StreamInterrupted) and isinstance(cut, RequestTimeout)
        assert (cut.clock, cut.partial.text, cut.partial.id) == ("idle", text, id)


@BOTH
def test_http_gives_the_same_events(colour: str) -> None:
    async def scenario(client: Any) -> list[Any]:
        found: list[Any] = []
        for said in ("hi", "fail"):
            async with client.stream(said) as stream:
                try:
                    found.append([event async for event in stream])
                except ServerError as error:
                    found.append((error.code, str(error), error.partial.text))
        return found

    def author(items: Sequence[Any], body: Mapping[str, Any]) -> Any:
        if body["input"][0]["content"] == "fail":
            return Failure("server_error", "it broke", 500, "in_response", items=[assistant("I was abo")])
        return [assistant("hello")]

    over: list[Any] = []
    for refuses in (False, True):
        service = ResponsesService(author)
        plan: Any = [Answer(426)] * 2 if refuses else service
        with ScriptedSocket(plan, http=service, clock=lambda: 0.0) as server:
            over.append(played(colour, server, scenario))
            assert len(server.http_requests) == (2 if refuses else 0)
            assert len(server.handshakes) == 2  # the refusal is remembered for a while

    assert over[0] == over[1]


@BOTH
def test_an_answer_under_way_is_steered(colour: str) -> None:
    gate = Gate()

    async def scenario(client: Any) -> list[str]:
        kinds: list[str] = []
        async with client.responses.connect() as connection:
            await connection.create("tell me a story")
            async for event in connection:
                kinds.append(event["type"])
                if event["type"] == "response.in_progress" and kinds.count("response.created") == 1:
                    await connection.steer(event["response"]["id"], "of a fox")
                if event["type"] == "response.steer.accepted":
                    server.open(gate)
                if event["type"] == "response.completed":
                    break
        said = [item["content"] for item in service.conversation(event["response"]["id"])]
        assert said[0] == "tell me a story" and "of a fox" in said
        return kinds

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        return [event, gate] if event["type"] == "response.in_progress" else None

    service = ResponsesService(lambda items, body: "once upon a time " * 20)
    with ScriptedSocket(service, fault=hold) as server:
        kinds = played(colour, server, scenario, LANES)

    assert "response.steer.accepted" in kinds
    assert kinds.count("response.created") == 2 and "response.incomplete" in kinds


# -- where it runs -------------------------------------------------------------------------------------------


def test_one_client_in_two_loops_and_twenty_threads() -> None:
    service = ResponsesService()
    with ScriptedSocket(service) as server:
        place = config(server.base_url, LANES)
        client = AsyncClient(MODEL, providers=[place])
        talks = [run(told(client, "hi", "and?")) for _ in range(2)]  # each in a loop of its own, that ends
        run(client.aclose())
        assert [turn.report.continuation.sent for turns in talks for turn in turns] == [1, 1, 1, 1]
        assert server.connections == 2
        server.wait_idle(5)

        found: dict[int, list[str]] = {}
        with Client(MODEL, providers=[place], timeouts=Timeouts(total=15)) as sync_client:

            def work(n: int) -> None:
                talk = sync_client.conversation(system=f"thread {n}")
                found[n] = [talk.chat(f"turn {turn}").text for turn in range(3)]

            threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(15)
            counts = sync_client.responses.websocket_stats
        server.wait_idle(5)

    assert sorted(found) == list(range(20)) and len({tuple(said) for said in found.values()}) == 20
    assert (counts.incremental, counts.full) == (40, 20)


def test_the_scripted_server_is_public_and_speaks_to_others() -> None:
    """Its own tests drive every rule and step of it with openai-python and `websockets`; this is the short form."""

    async def main(server: ScriptedSocket) -> list[list[str]]:
        seen: list[list[str]] = []
        async with AsyncOpenAI(base_url=server.base_url, api_key="k") as theirs:
            for parent in (None, "resp_none"):
                kinds: list[str] = []
                async with theirs.responses.connect() as connection:
                    given = {} if parent is None else {"previous_response_id": parent}
                    await connection.response.create(model="gpt-6", input="hi", **given)
                    while not kinds or kinds[-1] not in ("response.completed", "error"):
                        kinds.append((await connection.recv()).type)
                seen.append(kinds)
        return seen

    with ScriptedSocket(ResponsesService()) as server:
        answered, refused = run(main(server))

    assert answered[0] == "response.created" and "response.output_text.delta" in answered
    assert refused == ["error"]
