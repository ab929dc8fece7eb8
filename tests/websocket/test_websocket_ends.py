"""What a server may say, and how a connection may end: nothing hangs, nothing is lost, nothing passes for success."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from brainwires_provider import (
    FramingError,
    InvalidRequestError,
    OpaquePart,
    ProtocolError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    TextDelta,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    Binary,
    CloseFrame,
    Failure,
    Fragments,
    HalfFrame,
    ResponsesService,
    ScriptedSocket,
    Stall,
)
from socket_clients import (
    COLOURS,
    LANES,
    answer,
    begun,
    client_of,
    config,
    created,
    ended,
    played,
    pools,
    refusal,
    response,
    run,
    told,
    tried,
)

BOTH = pytest.mark.parametrize("colour", COLOURS)
KEEPS = WebSocketOptions(reuse_after_error=True)


def said(*events: Any, traits: WebSocketOptions = KEEPS, colour: str = "async", **settings: Any) -> Any:
    """What a client makes of one answer."""
    with ScriptedSocket([[events]]) as server:
        [found] = played(colour, server, lambda c: told(c, "hi"), traits, **settings)
    return found


# -- errors --------------------------------------------------------------------------------------------------


@BOTH
def test_a_failed_response_after_an_error_reaches_nobody(colour: str) -> None:
    """Behind an `error`, some servers send `response.failed` for the same answer."""
    late = ended("r1", "hel", status="failed", error={"code": "server_error", "message": "it broke"})
    broke = refusal("server_error", "it broke", 500)
    first, second = [*begun("r1"), broke], [late, *answer("r2", "right")]
    for requests in ([first, second], [[*first, late], second[1:]]):
        with ScriptedSocket([requests]) as server:
            error, right = played(colour, server, lambda c: told(c, "hi", "hi"), KEEPS)
        assert type(error) is ServerError and error.partial.text == "hel"
        assert right.text == "right" and server.connections == 1


def test_a_server_that_falls_silent_after_an_error_is_left() -> None:
    with ScriptedSocket([[[refusal("server_error", status=500)], [Stall()]], [answer("r2")]]) as server:
        error, right = played("async", server, lambda c: told(c, "hi", "hi"), WebSocketOptions())

    assert type(error) is ServerError
    assert right.text == "hello" and server.connections == 2


@BOTH
@pytest.mark.parametrize("code", [1000, 1008, 1011])
def test_an_error_and_then_a_close_is_the_error(code: int, colour: str) -> None:
    limited = refusal("usage_limit_reached", "used up", 429, headers={"retry-after": "9"})
    for events in ([limited, CloseFrame(code)], [*begun("r1"), limited, CloseFrame(code)]):
        error = said(*events, colour=colour)
        assert type(error) is RateLimitError and error.retry_after == 9


def test_an_error_does_not_wait_for_a_closing_handshake() -> None:
    """The server goes silent: neither its end of the handshake comes, nor that of TCP."""
    began = time.monotonic()
    error = said(*begun("r1"), refusal("server_error", status=500), Stall(), traits=WebSocketOptions())

    assert type(error) is ServerError
    assert time.monotonic() - began < 5


def test_a_refused_request_costs_no_other_its_chain() -> None:
    async def scenario(client: Any) -> None:
        talks = [client.conversation(system=f"lane {n}") for n in range(3)]
        for talk in talks:
            await talk.chat("hi")
        error = await tried(talks[0].chat("and?", extra_body={"max_output_tokens": 5, "input": None}))
        assert type(error) is InvalidRequestError
        for talk in talks[1:]:
            assert (await talk.chat("and?")).report.continuation.sent == 1
        assert (await talks[0].chat("and?")).text.startswith("3 items")

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, LANES)
    assert server.connections == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 429, "error": {"type": "x", "code": None, "message": "m", "param": None}},
        {"status_code": 500, "error": {"message": "m"}},
        {"error": {"message": "m", "code": 17, "headers": None}},
        {"error": "only words"},
        {"error": None, "message": "flat beside null"},
        {"code": None, "message": None, "param": None},
        {},
    ],
)
def test_an_error_of_any_shape_ends_the_answer(fields: Mapping[str, Any]) -> None:
    error = said(*begun("r1"), {"type": "error", **fields})

    assert error.__class__.__module__.endswith("errors") and error.partial.text == "hel"


# -- what nobody expected ------------------------------------------------------------------------------------

ODD_ITEMS: Sequence[Mapping[str, Any]] = [
    {"type": "never_heard_of", "id": "x1", "data": {"a": [1]}},
    {
        "type": "code_interpreter_call",
        "id": "ci1",
        "code": "1",
        "container_id": "c",
        "outputs": None,
        "status": "completed",
    },
    {"type": "compaction", "id": "cp1", "encrypted_content": "SEALED"},
    {
        "type": "shell_call",
        "id": "s1",
        "call_id": "c1",
        "action": {"commands": ["ls"]},
        "status": "completed",
    },
    {"type": "program", "id": "p1"},
    {"type": "mcp_list_tools", "id": "l1", "server_label": "s", "tools": []},
]
ODD_NOTES: Sequence[Mapping[str, Any]] = [
    {"type": "file_citation", "index": 3, "filename": "a.pdf", "file_id": "f"},
    {
        "type": "container_file_citation",
        "container_id": "c",
        "file_id": "f",
        "start_index": 0,
        "end_index": 1,
    },
    {"type": "never_heard_of", "of": None},
]


def test_unknown_events_items_and_annotations_are_no_end() -> None:
    item = ended("r1")["response"]["output"][0]
    noted = {**item, "content": [{**item["content"][0], "annotations": ODD_NOTES}], "phase": "final_answer"}
    events = [
        {"type": "codex.rate_limits", "plan_type": "plus", "rate_limits": {"primary": None}},
        {"type": "responsesapi.websocket_timing", "timing_metrics": {"a": 1}},
        {"type": "response.metadata", "headers": {}},
        created("r1"),
        {"type": "response.queued", "sequence_number": 1, "response": response("r1", "queued")},
        {"type": "response.never_heard_of", "sequence_number": 2, "delta": "x"},
        {"type": "never.heard.of", "response": {"id": "other"}},
        {
            "type": "response.code_interpreter_call_code.delta",
            "delta": "1",
            "output_index": 9,
            "item_id": "ci1",
        },
        ended(
            "r1",
            output=[noted, *ODD_ITEMS],
            reasoning=None,
            metadata=None,
            usage=None,
            incomplete_details=None,
        ),
    ]
    found = said(*events)

    assert found.text == "hello" and found.finish_reason in ("stop", "tool_calls")
    kinds = [part.kind for part in found.message.content if isinstance(part, OpaquePart)]
    assert {"never_heard_of", "code_interpreter_call", "compaction", "program", "mcp_list_tools"} <= set(
        kinds
    )


@pytest.mark.parametrize(
    "last",
    [
        {"status": None, "usage": None, "output": None},
        {"output": [{"type": None}]},
        {"output": [{"type": "message", "role": "assistant", "content": None}]},
        {"output": [None]},
        {"output": [{"type": "function_call", "name": None, "arguments": None, "call_id": None}]},
        {"usage": {"input_tokens": None, "output_tokens": "x"}},
    ],
)
def test_null_fields_in_the_last_event_end_the_answer(last: Mapping[str, Any]) -> None:
    event = ended("r1")
    event["response"] |= last
    found = said(created("r1"), event)

    assert getattr(found, "id", None) == "r1" or isinstance(found, ProtocolError)


BROKEN = {
    "text": "\N{SNOWMAN}" * 300,
    "cut in a character": '{"type": "\N{GRINNING FACE}' + "\N{GRINNING FACE}" * 200,
    "no UTF-8": b"\xff\xfe" * 200,
    "binary": Binary(b"\x00\x80\xff" * 100),
    "a list": "[1, 2]",
    "null": "null",
    "a page": "<html><body>502 Bad Gateway</body></html>",
}


@BOTH
@pytest.mark.parametrize("garbage", BROKEN)
def test_garbage_is_an_error_that_says_so_with_the_partial(garbage: str, colour: str) -> None:
    with ScriptedSocket([[[*begun("r1"), BROKEN[garbage]]], [answer("r2")]]) as server:
        error, after = played(colour, server, lambda c: told(c, "hi", "hi"))

    assert isinstance(error, ProtocolError) and error.partial.text == "hel"
    assert after.text == "hello"


@pytest.mark.parametrize(
    "frame", ["", '{"no": "type"}', '{"type": 5}', '{"type": null}', "{}", '{"type": ""}']
)
def test_a_frame_without_a_type_is_passed_over_or_told(frame: str) -> None:
    found = said(*begun("r1"), frame, ended("r1"))

    assert isinstance(found, ProtocolError) or found.text == "hello"


def test_events_of_another_answer_are_never_taken() -> None:
    found = said(created("r1"), *begun("r1", "hello")[1:], ended("r9", "wrong"), ended("r1"))
    assert isinstance(found, ProtocolError) and "wrong" not in str(found.partial.text)

    with ScriptedSocket(
        [[answer("r1"), [ended("r1"), *answer("r2", "right")], [*answer("r1")[1:-1], *answer("r3", "3")]]]
    ) as server:
        turns = played("async", server, lambda c: told(c, "a", "b", "c"), KEEPS)
    assert [turn.text for turn in turns] == ["hello", "right", "3"]


# -- ends of connections -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_half_a_frame_is_no_frame(how: Any, colour: str) -> None:
    error = said(*begun("r1"), HalfFrame(msgspec.json.encode(ended("r1")), how), colour=colour)

    assert type(error) is StreamInterrupted and error.how == "1006"


@pytest.mark.parametrize("size", [3_000_000, 30_000_000])
def test_large_events_come_whole_and_beyond_the_limit_is_told(size: int) -> None:
    event = msgspec.json.encode(ended("r1", "x" * size))
    assert len(said(*begun("r1", "x"), Fragments(event, 1_000_000)).text) == size

    error = said(*begun("r1", "x"), event, max_event_bytes=1_000_000)
    assert type(error) is FramingError and "max_event_bytes" in str(error) and error.partial.text == "x"

    error = said(event, max_event_bytes=1_000_000)  # HTTP would not take it either
    assert type(error) is FramingError and "max_event_bytes" in str(error) and error.partial is None


@pytest.mark.parametrize("most", [2, 3])
def test_the_number_of_parts_is_a_setting_here_too(most: int) -> None:
    said_ = [
        {"type": "message", "id": f"m{n}", "content": [{"type": "output_text", "text": "a"}]}
        for n in range(3)
    ]
    found = said(created("r1"), ended("r1", output=said_), max_parts=most)
    if most == 3:
        assert len(found.message.content) == 3
    else:
        assert type(found) is ProtocolError and "more than 2 parts; max_parts sets this limit" in str(found)


class Relay:
    """Passes bytes on between a client and a server, until it is told to swallow them: a link that is half dead."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.is_dead = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if not self.is_dead:
                    sink.write(data)
            sink.transport.abort()

        await asyncio.gather(pour(reader, far_writer), pour(far_reader, writer), return_exceptions=True)


def test_a_dead_link_is_noticed_in_mid_answer_and_between_turns() -> None:
    async def main(server: ScriptedSocket) -> None:
        relay = Relay(server.port)
        async with await asyncio.start_server(relay, "127.0.0.1", 0) as listening:
            place = config(
                f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1",
                WebSocketOptions(ping_interval=0.4),
            )
            async with client_of("async", place) as client:
                with pytest.raises(StreamInterrupted, match="no sign of life") as raised:
                    async with client.stream("hi") as stream:
                        async for event in stream:
                            relay.is_dead = relay.is_dead or isinstance(event, TextDelta)
                assert raised.value.partial.text == "hel"
                relay.is_dead = False
                assert (await client.chat("hi")).text == "hello"
                relay.is_dead = True
                while any(pool.connections for pool in pools(client)):  # bounded by run()
                    await asyncio.sleep(0.05)
                relay.is_dead = False
                answer = await client.chat("hi")
                assert answer.text == "hello" and not answer.attempts

    script = [[[*begun("r1"), Stall()]], [answer("r2")], [answer("r3")]]
    with ScriptedSocket(script) as server:
        run(main(server))


def test_a_lane_is_free_after_its_connection_was_lost() -> None:
    async def scenario(client: Any) -> None:
        talk = client.conversation()
        for n in range(1, 4):
            before = list(talk.messages)
            with pytest.raises(StreamInterrupted):
                await talk.chat("lost")
            assert talk.messages == before
            assert (await talk.chat(f"turn {n}")).text.startswith(f"{2 * n - 1} items")

    def fault(number: int, job: Any, event: Mapping[str, Any]) -> Any:
        is_lost = job.body["input"][-1]["content"] == "lost" and event["type"] == "response.output_text.done"
        return CloseFrame(1012) if is_lost else None

    with ScriptedSocket(ResponsesService(), fault=fault) as server:
        played("async", server, scenario, LANES)
    assert server.connections == 4


@BOTH
def test_a_failure_in_mid_answer_keeps_what_had_come(colour: str) -> None:
    said_ = Failure("server_error", "it broke", 500, "after_created", late_failed=True)
    with ScriptedSocket(ResponsesService(lambda items, body: said_)) as server:
        errors = played(colour, server, lambda c: told(c, "hi", "hi", "hi"), LANES)

    assert [type(error) for error in errors] == [ServerError] * 3 and server.connections == 1
