"""Servers that differ from the guide: xAI, services without retention, gateways; errors without a lane or status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import (
    APIError,
    InvalidRequestError,
    Message,
    OpenAIResponsesOptions,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    Tool,
    WebSocketOptions,
)
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.testing import (
    Answer,
    Gate,
    Incomplete,
    Job,
    ResponsesService,
    ScriptedSocket,
    assistant,
    digest,
    function_call,
    reasoning,
)
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import (
    COLOURS,
    LANES,
    SINGLE,
    answer,
    begun,
    client_of,
    config,
    created,
    ended,
    played,
    refusal,
    told,
    tried,
)
from socket_memory import MemoryNet, VirtualLoop

BOTH = pytest.mark.parametrize("colour", COLOURS)
KEEPS = WebSocketOptions(reuse_after_error=True)
STORED = OpenAIResponsesOptions(store=True)
XAI = PROVIDERS["xai-ws"].socket


# -- xAI -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "options", [XAI, KEEPS, WebSocketOptions()], ids=["set", "learned", "learned, no reuse"]
)
@pytest.mark.parametrize("store", [False, True])
def test_no_turn_fails_in_xais_manner(options: WebSocketOptions, store: bool, colour: str) -> None:
    """No parent that is not stored, no instructions beside one, one id for all responses of a connection."""

    async def scenario(client: Any) -> list[Any]:
        talk = client.conversation(system="Be brief.", provider_options=OpenAIResponsesOptions(store=store))
        turns = []
        for n in range(8):
            turn = await talk.chat(f"turn {n}")
            assert turn.text == digest(service.conversation(turn.id)[:-1])
            turns.append(turn)
        return turns

    service = ResponsesService(manner="xai", lanes=False)
    with ScriptedSocket(service) as server:
        turns = played(colour, server, scenario, options)
    sent_again = sum(len(turn.attempts) for turn in turns)
    continued = [turn.report.continuation.parent is not None for turn in turns]
    if options == XAI:
        assert sent_again == 0 and server.connections == 1
        assert continued == [store and n > 0 for n in range(8)]
    elif store:
        assert sent_again == 1 and continued[2:] == [True] * 6  # the first refusal says what is refused
    else:
        assert sent_again <= 4 and not any(continued)
        assert turns[-1].report.continuation.reason == (
            "the server continues only responses that it stores (store=True)"
        )


def test_xais_connections_end_before_its_25_minutes() -> None:
    net = MemoryNet(ResponsesService(manner="xai", lanes=False, seconds=1500), Random(1))

    async def main() -> None:
        place = config("http://localhost/v1", XAI)
        async with client_of("async", place) as client:
            client._session.pools = Pools(connect=net.connect, max_event_bytes=1 << 20, random=Random(1))
            talk = client.conversation(provider_options=STORED)
            for _ in range(60):
                assert not (await talk.chat("hi")).attempts
                await asyncio.sleep(60)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert net.opened == 3


def test_an_error_without_a_type_ends_the_answer() -> None:
    untyped = {"error": {"message": "no such model", "type": "api_error"}}
    with ScriptedSocket([[[untyped]]]) as server:
        [error] = played("async", server, lambda client: told(client, "hi"), KEEPS)
    assert isinstance(error, APIError) and "no such model" in str(error)


# -- parents that are refused --------------------------------------------------------------------------------

REFUSED_PARENTS: Mapping[str, Mapping[str, Any]] = {
    "not found": refusal("previous_response_not_found", param="previous_response_id"),
    "Codex, stale": refusal("codex_previous_response_stale"),
    "words only": refusal(None, "Invalid previous_response_id."),
    "words only, without a status": refusal(None, "Invalid previous_response_id.", None),
    "LiteLLM": {
        "type": "error",
        "error": {
            "type": "permission_denied",
            "message": "Forbidden. This response id was not issued by this proxy, so it cannot tell who owns it.",
        },
    },
    "xAI": {"error": {"message": "gRPC error: Response with id=resp_1 not found", "type": "api_error"}},
    "no retention": refusal(
        "unsupported_parameter",
        "Previous response cannot be used for this organization.",
        param="previous_response_id",
    ),
    "failed": {
        "type": "response.failed",
        "response": {
            "id": "r7",
            "status": "failed",
            "error": {"code": "previous_response_not_found", "message": "no"},
        },
    },
}
REFUSED_PARENTS["no retention"]["error"]["param"] = "previous_response_id"


@pytest.mark.parametrize("case", REFUSED_PARENTS)
def test_a_refused_parent_is_recovered_from(case: str) -> None:
    script = [[answer("r1"), [REFUSED_PARENTS[case]], answer("r2", "new")], [answer("r2", "new")]]
    with ScriptedSocket(script) as server:
        _, turn = played("async", server, lambda client: told(client, "hi", "and?"), KEEPS)

    assert turn.text == "new" and len(turn.attempts) == 1
    assert [len(event["input"]) for events in server.requests for event in events] == [1, 1, 3]
    assert server.connections == (2 if case == "failed" else 1)  # whose failure it was, nothing says


def test_without_retention_no_parent_is_sent_again() -> None:
    async def scenario(client: Any) -> None:
        turns = await told(client, *map(str, range(4)))
        assert [len(turn.attempts) for turn in turns] == [0, 1, 0, 0]
        assert turns[-1].report.continuation.reason == "the server continues no response"
        assert client.responses.websocket_stats.misses == {"first": 1, "unsupported": 2}

    with ScriptedSocket(ResponsesService(continues="none")) as server:
        played("async", server, scenario, LANES)
    assert sum("previous_response_id" in event for event in server.requests[0]) == 1


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["server_is_overloaded", "slow_down"])
@pytest.mark.parametrize("shape", ["nested", "flat", "failed"])
def test_overload_without_a_status(code: str, shape: str) -> None:
    event: dict[str, Any] = refusal(code, "try later", None)
    if shape == "flat":
        event = {"type": "error", "code": code, "message": "try later"}
    if shape == "failed":
        error = {"code": code, "message": "try later"}
        event = {"type": "response.failed", "response": {"id": "r1", "status": "failed", "error": error}}
    with ScriptedSocket([[[event]]]) as server:
        [error_] = played("async", server, lambda client: told(client, "hi"), KEEPS)
    assert isinstance(error_, OverloadedError) and error_.code == code and error_.retryable


def test_a_429_without_a_lane_does_not_end_multiplexing_for_good() -> None:
    """Three wait on a connection whose lanes are not known yet; the error is sent to nobody who did not earn it."""
    limit = refusal("rate_limit_exceeded", "slow", 429)
    net = MemoryNet(ResponsesService(piece=4), Random(1), lambda link, job, event: said(link, event))
    hits: list[Any] = []

    def said(link: Any, event: Mapping[str, Any]) -> list[Any]:
        if not hits:
            hits.append(link)
            return [limit]
        return [] if hits[0] is link else [event]

    async def main() -> Any:
        async with client_of("async", config("http://localhost/v1", LANES)) as client:
            client._session.pools = Pools(connect=net.connect, max_event_bytes=1 << 20, random=Random(1))
            found = await asyncio.gather(*(tried(client.chat(f"{n}")) for n in range(3)))
            assert all(turn.text.startswith("1 items") for turn in found)
            alone = net.opened
            await asyncio.sleep(301)
            await asyncio.gather(*(client.chat(f"{n}") for n in range(12)))
            return alone, net.opened

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(main()) == (4, 5)  # each alone in doubt; later twelve on one


def test_an_error_without_a_lane_goes_to_the_one_request_that_it_can_belong_to() -> None:
    """One answer is under way on a connection with lanes, another waits: the error is the other's."""
    gate = Gate()

    def fault(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        if job.body["input"][0]["content"] == "bad":
            return refusal("content_policy", "not this") if event["type"] == "response.created" else []
        return [event, gate] if event["type"] == "response.output_text.delta" else None

    async def scenario(client: Any) -> None:
        async with client.stream("good") as stream:
            error = await tried(client.chat("bad"))
            assert isinstance(error, InvalidRequestError) and error.code == "content_policy"
            server.open(gate)
            assert (await stream.collect()).text.startswith("1 items")

    with ScriptedSocket(ResponsesService(), fault=fault) as server:
        played("async", server, scenario, LANES)
    assert server.connections == 1


@pytest.mark.parametrize(
    "garbage", ['{"stream_id": "%s", "type": ', '{"type": "x", "stream_id":"%s", \ud83d']
)
def test_an_unreadable_frame_fails_only_the_answer_of_its_lane(garbage: str) -> None:
    gate = Gate()

    def fault(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        if event["type"] != "response.output_text.delta":
            return None
        if job.body["input"][0]["content"] == "bad":
            return (garbage % job.stream_id).encode("utf-8", "surrogatepass")
        return [event, gate]

    async def scenario(client: Any) -> None:
        good = asyncio.ensure_future(client.chat("good"))
        await server.wait_requests_async(1)
        assert isinstance(await tried(client.chat("bad")), ProtocolError)
        server.open(gate)
        assert (await good).text.startswith("1 items") and not (await good).attempts

    with ScriptedSocket(ResponsesService(), fault=fault) as server:
        played("async", server, scenario, LANES)


def test_the_age_limit_in_a_failed_response_takes_a_new_connection() -> None:
    error = {"code": "websocket_connection_limit_reached", "message": "limit reached (60 minutes)."}
    failed = {"type": "response.failed", "response": {"id": "r2", "status": "failed", "error": error}}
    for end in ([failed], [created("r2"), failed]):
        script = [[answer("r1"), end, answer("r9", "the same connection")], [answer("r3", "new")]]
        with ScriptedSocket(script) as server:
            _, turn = played("async", server, lambda client: told(client, "hi", "and?"), KEEPS)
        assert turn.text == "new" and len(turn.attempts) == 1


def test_an_answer_that_quotes_the_limits_code_is_an_answer() -> None:
    quoted = begun("r1", "websocket_connection_limit_reached")
    error = {"code": "server_error", "message": "it broke: websocket_connection_limit_reached"}
    failed = {"type": "response.failed", "response": {"id": "r1", "status": "failed", "error": error}}
    with ScriptedSocket([[[*quoted, failed]], [answer("r2")]]) as server:
        [found] = played("async", server, lambda client: told(client, "hi"), KEEPS)
    assert isinstance(found, ServerError)


# -- ids -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("options", [LANES, SINGLE], ids=["lanes", "single"])
def test_the_id_of_a_response_may_differ_in_each_event(options: WebSocketOptions, colour: str) -> None:
    async def scenario(client: Any) -> None:
        turns = await told(client, "hi", "and?", "so?")
        assert [turn.report.continuation.sent for turn in turns] == [1, 1, 1]
        assert [turn.text for turn in turns] == [digest(service.conversation(turn.id)[:-1]) for turn in turns]
        assert not any(turn.attempts for turn in turns)

    service = ResponsesService(changes_ids=True, lanes=options.multiplexing)
    with ScriptedSocket(service) as server:
        played(colour, server, scenario, options)


@pytest.mark.parametrize("options", [LANES, SINGLE], ids=["lanes", "single"])
def test_the_ids_of_items_may_differ_in_each_event(options: WebSocketOptions) -> None:
    """As long as the response has one id. If both differ, nothing shows whose the end is."""
    output = [reasoning("so"), assistant("hello there"), function_call("f", '{"a": 1}', call_id="c1")]
    tool = Tool("f", "does it", {"type": "object"})

    async def scenario(client: Any) -> Any:
        first = await client.chat("hi", tools=[tool])
        history = [Message.user("hi"), first.message, Message.tool_result("c1", "2")]
        return first, await client.chat(history, tools=[tool])

    def author(items: Any, body: Mapping[str, Any]) -> Any:
        return output if len(items) == 1 else digest(items)

    service = ResponsesService(author, piece=4, changes_item_ids=True, lanes=options.multiplexing)
    with ScriptedSocket(service) as server:
        first, second = played("async", server, scenario, options)
    assert [type(part).__name__ for part in first.message.content] == [
        "ReasoningPart",
        "TextPart",
        "ToolCallPart",
    ]
    assert first.text == "hello there" and first.tool_calls[0].arguments == '{"a": 1}'
    assert second.text == digest(service.conversation(second.id)[:-1])
    assert second.report.continuation.parent == first.id and not second.attempts

    service = ResponsesService(changes_item_ids=True, changes_ids=True, lanes=options.multiplexing)
    with ScriptedSocket(service) as server:
        [error] = played("async", server, lambda client: told(client, "hi"), options)
    assert isinstance(error, ProtocolError)


def test_what_is_late_from_a_server_that_changes_ids_is_not_the_next_responses() -> None:
    def progress(id: str) -> dict[str, Any]:
        return {"type": "response.in_progress", "response": {"id": id, "status": "in_progress"}}

    script = [
        [created("r1"), progress("r1b"), *begun("r1", "hello")[1:], ended("r1")],
        [created("r2"), refusal("server_error", "it broke", 500)],
        [progress("r2b"), *begun("r2", "late")[1:], ended("r2c", "late")],
    ]
    with ScriptedSocket([script, [answer("r3", "right")]]) as server:
        first, second, third = played("async", server, lambda client: told(client, "a", "b", "c"), KEEPS)
    assert (first.text, type(second), third.text) == ("hello", ServerError, "right")


def test_an_end_that_lists_what_never_came_is_another_responses() -> None:
    item = {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": ended("r1")["response"]["output"][0],
    }
    for end, is_right in ((ended("r9", "wrong"), False), (with_id(ended("r1"), "r9"), True)):
        with ScriptedSocket([[[*begun("r1", "hello"), item, end, ended("r1")]]]) as server:
            [found] = played("async", server, lambda client: told(client, "hi"), KEEPS)
        assert (found.text == "hello") if is_right else isinstance(found, ProtocolError)


def with_id(event: dict[str, Any], id: str) -> dict[str, Any]:
    return {**event, "response": {**event["response"], "id": id}}


@pytest.mark.parametrize("options", [LANES, SINGLE], ids=["lanes", "single"])
def test_heartbeats_and_metadata_change_nothing(options: WebSocketOptions) -> None:
    async def scenario(client: Any) -> None:
        found = await asyncio.gather(*(client.chat(f"question {n}") for n in range(8)))
        assert len({turn.text for turn in found}) == 8 and not any(turn.attempts for turn in found)

    with ScriptedSocket(ResponsesService(heartbeats=True, lanes=options.multiplexing)) as server:
        played("async", server, scenario, options)
    assert server.connections == (1 if options.multiplexing else 8)


# -- limits --------------------------------------------------------------------------------------------------


def test_idle_chains_that_are_all_continued_at_once_keep_the_limit_of_responses() -> None:
    async def scenario(client: Any) -> None:
        talks = [client.conversation(system=f"You are {n}.") for n in range(32)]
        for talk in talks:
            await talk.chat("hi")
        asked = [asyncio.ensure_future(talk.chat("and?")) for talk in talks]
        await server.wait_requests_async(32 + 16)
        server.open(gate)
        assert all([(await turn).report.continuation.sent == 1 for turn in asked])

    most: list[int] = []

    def count(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        running.add(job)
        most.append(sum(one.state == "active" for one in running))
        is_held = job.parent is not None and event["type"] == "response.created"
        return [event, gate] if is_held else None

    running: set[Job] = set()
    gate = Gate()
    service = ResponsesService(max_active=64, piece=2)
    with ScriptedSocket(service, fault=count) as server:
        played("async", server, scenario, LANES)
    assert max(most) == 16 and server.connections == 1


def test_a_fork_without_in_progress_frees_its_parent_at_its_first_words() -> None:
    gate = Gate()

    def fault(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        if event["type"] == "response.in_progress":
            return []
        is_fork = job.body["input"][-1]["content"] == "fork"
        return [event, gate] if is_fork and event["type"] == "response.output_text.delta" else None

    async def scenario(client: Any) -> None:
        talk = client.conversation()
        await talk.chat("hi")
        forked = talk.fork()
        first = asyncio.ensure_future(forked.chat("fork"))
        await server.wait_requests_async(2)
        assert (await talk.chat("on")).report.continuation.sent == 1  # while the fork is under way
        server.open(gate)
        assert (await first).report.continuation.sent == 1

    with ScriptedSocket(ResponsesService(), fault=fault) as server:
        played("async", server, scenario, LANES)


def test_the_reason_of_a_miss_is_the_chains_own_and_not_a_siblings() -> None:
    """A sibling shares as many items, and differs after them; the chain itself differs in a field only."""

    async def scenario(client: Any) -> None:
        talk = client.conversation()
        await talk.chat("hi")
        other = talk.fork()
        await other.chat("another way")
        turn = await talk.chat("on", max_tokens=9)
        assert turn.report.continuation.reason == "field 'max_output_tokens' differs"
        assert client.responses.websocket_stats.misses["field:max_output_tokens"] == 1

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, LANES)


def test_a_stored_response_is_retrieved_over_http() -> None:
    async def scenario(client: Any) -> None:
        turn = await client.chat("hi", provider_options=STORED)
        again = await client.responses.retrieve(turn.id)
        assert again.text == turn.text
        assert isinstance(await tried(client.responses.retrieve("resp_none")), APIError)

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, LANES)


def test_a_refused_handshake_leaves_those_waiting_that_an_open_connection_serves() -> None:
    """The second connection is refused while the first answers: who waits gets the first one's lane."""
    gate = Gate()

    def plan(handshake: Any) -> Any:
        return ResponsesService() if handshake.number == 1 else Answer(429)

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        return [gate, event] if event["type"] == "response.completed" else None

    async def scenario(client: Any) -> None:
        asked = [asyncio.ensure_future(tried(client.chat(f"{n}"))) for n in range(6)]
        while len(server.handshakes) < 2:
            await asyncio.sleep(0.01)
        server.open(gate)
        found = await asyncio.gather(*asked)
        assert not [one for one in found if isinstance(one, RateLimitError)]

    with ScriptedSocket(plan, fault=hold) as server:
        played("async", server, scenario, replace(LANES, max_concurrent=2))


def test_only_a_completed_response_is_continued() -> None:
    def author(items: Any, body: Mapping[str, Any]) -> Any:
        return Incomplete(items=[assistant("I was")]) if len(items) == 1 else digest(items)

    async def scenario(client: Any) -> None:
        first, second, third = await told(client, "hi", "and?", "so?")
        assert first.finish_reason == "length"
        assert [turn.report.continuation.sent for turn in (first, second, third)] == [1, 3, 1]

    with ScriptedSocket(ResponsesService(author)) as server:
        played("async", server, scenario, LANES)
