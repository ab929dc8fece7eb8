"""The frames of the WebSocket mode: what goes out, what a glance sees of what comes in, and what an error is about."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import APIError, UnsupportedError
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.protocol import Call, Reply
from brainwires_provider.protocols.openai_responses import OpenAIResponses
from brainwires_provider.protocols.openai_responses.continuation import Miss, head_of, outline
from brainwires_provider.protocols.openai_responses.response import EVENTS
from brainwires_provider.protocols.openai_responses.ws import (
    TERMINAL,
    Peek,
    ResponsesOverWebSocket,
    answer_items,
    create_frame,
    fault_of,
    peek,
    steer_frame,
)
from brainwires_provider.types import Message, Origin, Request, TextPart
from brainwires_provider.types.websocket import WebSocketOptions
from corpus_responses import documents_of, good, response_of
from known import encode_known

ORIGIN = Origin("openai_responses", "p", "m")
RESPONSES = OpenAIResponses()

# -- a glance ------------------------------------------------------------------------------------------------

DELTA = b'{"type":"response.output_text.delta","sequence_number":4,"delta":"a","stream_id":"lane-1"}'
GLANCES: dict[str, tuple[bytes, tuple[str, str | None, str | None, str | None] | None]] = {
    "a delta": (DELTA, ("response.output_text.delta", "lane-1", None, None)),
    "a beginning": (
        b'{"type":"response.created","response":{"id":"r1","status":"in_progress","output":[]}}',
        ("response.created", None, "r1", "in_progress"),
    ),
    "type last": (
        b'{"response":{"output":[{"type":"x","id":"no"}],"id":"r1"},"type":"response.completed"}',
        ("response.completed", None, "r1", None),
    ),
    "nulls": (b'{"type":"error","stream_id":null,"response":null}', ("error", None, None, None)),
    "half a surrogate pair": (
        b'{"type":"response.created","stream_id":"a","response":{"id":"r\\ud800"}}',
        ("response.created", "a", "r\ud800", None),
    ),
    "NaN": (b'{"type":"error","stream_id":"a","x":NaN}', ("error", "a", None, None)),
    "a response that is a text": (b'{"type":"a","response":"r1"}', ("a", None, None, None)),
    "an id that is a number": (
        b'{"type":"a","response":{"id":7,"status":"x"}}',
        ("a", None, "7", "x"),
    ),
    "a lane that is a number": (b'{"type":"a","stream_id":7}', ("a", "7", None, None)),
    "an empty response": (b'{"type":"a","response":{}}', ("a", None, None, None)),
    "no type": (b'{"no":{"message":"no"}}', ("", None, None, None)),
    "an error without a type": (b'{"error":{"message":"no"}}', ("error", None, None, None)),
    "an error without a type that is a text": (b'{"error":"no"}', ("", None, None, None)),
    "a type that is a number": (b'{"type":1}', ("", None, None, None)),
    "a type that is null": (b'{"type":null}', ("", None, None, None)),
    "a list": (b'["type"]', None),
    "a text": (b'"type"', None),
    "nothing": (b"", None),
    "no JSON": (b"ping", None),
    "cut": (DELTA[:-1], None),
    "no UTF-8": (b'{"type":"\xff\xfe"}', ("\ufffd\ufffd", None, None, None)),
    "too deep": (b'{"type":"a","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", None),
}


@pytest.mark.parametrize("name", GLANCES)
def test_a_glance(name: str) -> None:
    frame, told = GLANCES[name]
    seen = peek(frame)

    assert (None if seen is None else (seen.type, seen.lane, seen.answer_id, seen.status)) == told


def test_a_glance_at_every_recorded_event() -> None:
    count = 0
    for record in good():
        for event in documents_of(record) if record.kind == "stream" else ():
            told = event.get("response") or {}
            seen = peek(msgspec.json.encode({**event, "stream_id": "a"}))
            assert seen is not None
            assert (seen.type, seen.lane) == (event["type"], "a")
            assert (seen.answer_id, seen.status) == (told.get("id"), told.get("status"))
            count += 1
    assert count > 3000


# What any event needs.
FULL = {
    "response": {"id": "r", "output": []},
    "error": {"message": "no"},
    "item": {"type": "message", "role": "assistant", "content": []},
    "part": {"type": "output_text", "text": ""},
    "annotation": {"type": "file_citation"},
    "delta": "YQ==",
    "text": "YQ==",
    "arguments": "{}",
}


def test_the_terminals_are_those_that_the_decoder_ends_at() -> None:
    ends = set()
    for kind in EVENTS:
        decoder = RESPONSES.decoder(ORIGIN)
        try:
            decoder.feed(WireMessage(msgspec.json.encode({**FULL, "type": kind})))
        except APIError:
            assert decoder.ended
        if decoder.ended:
            ends.add(kind)
    assert ends == TERMINAL


# -- going out -----------------------------------------------------------------------------------------------

BODY = {"model": "m", "input": [{"role": "user", "content": "Hi"}], "store": False, "temperature": None}
CREATE = {**BODY, "type": "response.create"}
TAIL = [{"role": "user", "content": "More"}]
FRAMES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "whole": (BODY, {}, CREATE),
    "without what HTTP has": (
        {**BODY, "stream": True, "stream_options": {}, "background": True, "background_options": {}},
        {},
        CREATE,
    ),
    "on a lane": (BODY, {"stream_id": "a"}, {**CREATE, "stream_id": "a"}),
    "on the pool's lane, not the body's": ({**BODY, "stream_id": "b"}, {}, CREATE),
    "a tail": (
        BODY,
        {"stream_id": "a", "parent": "r1", "tail": TAIL},
        {**CREATE, "stream_id": "a", "previous_response_id": "r1", "input": TAIL},
    ),
    "an empty tail": (
        BODY,
        {"parent": "r1", "tail": []},
        {**CREATE, "previous_response_id": "r1", "input": []},
    ),
    "a tail, where the body names no parent": (
        {**BODY, "previous_response_id": None},
        {"parent": "r1", "tail": TAIL},
        {**CREATE, "previous_response_id": "r1", "input": TAIL},
    ),
    "a parent of the body's own": (
        {**BODY, "previous_response_id": "mine"},
        {},
        {**CREATE, "previous_response_id": "mine"},
    ),
    "a warm-up": (BODY, {"generate": False}, {**CREATE, "generate": False}),
    "another type": ({**BODY, "type": "response.steer"}, {}, CREATE),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_create_frame(name: str) -> None:
    body, arguments, event = FRAMES[name]
    given = dict(body)

    assert msgspec.json.decode(create_frame(body, **arguments)) == event
    assert body == given


@pytest.mark.parametrize(
    ("body", "arguments", "words"),
    [
        (BODY, {"parent": "r1"}, "go together"),
        (BODY, {"tail": TAIL}, "go together"),
        ({**BODY, "previous_response_id": "r0"}, {"parent": "r1", "tail": TAIL}, "previous_response_id"),
        ({**BODY, "conversation": "c"}, {"parent": "r1", "tail": TAIL}, "conversation"),
    ],
)
def test_never_both(body: dict[str, Any], arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        create_frame(body, **arguments)


def test_a_text_that_cannot_be_sent() -> None:
    with pytest.raises(UnsupportedError, match="surrogate"):
        create_frame({"input": "\ud800"})
    with pytest.raises(UnsupportedError, match="surrogate"):
        steer_frame("r1", "\ud800")
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnsupportedError, match="nested"):
        create_frame({"input": deep})


def test_a_steer_frame() -> None:
    event = {"type": "response.steer", "previous_response_id": "r1", "input": "Shorter!"}

    assert msgspec.json.decode(steer_frame("r1", "Shorter!")) == event
    assert msgspec.json.decode(steer_frame("r1", TAIL)) == {**event, "input": TAIL}


def test_the_client_events_are_those_of_openai_python() -> None:
    responses = pytest.importorskip("openai.types.responses")
    members = typing.get_args(responses.ResponsesClientEventParam)
    create, steer = (next(m for m in members if word in m.__name__) for word in ("Create", "Steer"))
    frame = create_frame({"model": "m", "store": False}, stream_id="a", parent="r", tail=TAIL, generate=False)

    assert msgspec.json.decode(frame).keys() <= typing.get_type_hints(create).keys()
    assert typing.get_args(typing.get_type_hints(create)["type"]) == ("response.create",)
    assert msgspec.json.decode(steer_frame("r", "x")).keys() == typing.get_type_hints(steer).keys()


# -- faults --------------------------------------------------------------------------------------------------


def nested(code: str | None, message: str = "no", **fields: Any) -> dict[str, Any]:
    error = {"type": "invalid_request_error", "code": code, "message": message, **fields}
    return {"type": "error", "status": 400, "error": error}


def flat(code: str | None, message: str = "no", **fields: Any) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": message, **fields}


def failed(code: str, message: str = "no") -> dict[str, Any]:
    response = {"id": "r", "status": "failed", "error": {"code": code, "message": message}, "output": []}
    return {"type": "response.failed", "response": response}


NOT_FOUND = "Previous response with id 'resp_abc' not found."
FAULTS: list[tuple[dict[str, Any], str]] = [
    (nested("previous_response_not_found", NOT_FOUND, param="previous_response_id"), "not_found"),
    (flat("previous_response_not_found", NOT_FOUND), "not_found"),
    (failed("previous_response_not_found"), "not_found"),
    (failed("codex_previous_response_stale"), "not_found"),
    (nested("codex_previous_response_stale"), "not_found"),
    (nested(None, NOT_FOUND, param="previous_response_id"), "not_found"),
    (nested(None, "Invalid 'previous_response_id'", param="previous_response_id"), "not_found"),
    (nested(None, "Invalid previous_response_id."), "not_found"),
    ({"error": {"message": "gRPC error: Response with id=r1 not found", "type": "api_error"}}, "not_found"),
    (flat(None, "Forbidden. This response id was not issued by this proxy."), "not_found"),
    (nested("unsupported_parameter", "no retention", param="previous_response_id"), "no_parents"),
    ({"error": {"message": "Not supported: instructions and previous_response_id together"}}, "instructions"),
    (nested("websocket_connection_limit_reached"), "connection_limit"),
    (flat("websocket_connection_limit_reached"), "connection_limit"),
    (nested("websocket_stream_limit_reached", param="stream_id"), "lane_limit"),
    (nested("invalid_stream_id", "The 'stream_id' field must be …", param="stream_id"), "lane_name"),
    (nested("unknown_parameter", "Unknown parameter: 'stream_id'.", param="stream_id"), "lanes_unknown"),
    (nested(None, "stream_id: extra fields not permitted"), "lanes_unknown"),
    (flat(None, "Unknown parameter", param="stream_id"), "lanes_unknown"),
    ({**nested(None, "stream_id: extra inputs"), "status": 422}, "lanes_unknown"),
    (nested(None, "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_id')}]"), "lanes_unknown"),
    (nested(None, "Unrecognized request argument supplied: stream_id"), "lanes_unknown"),
    ({**nested(None, "stream_id worker died"), "status": 500}, "other"),
    (nested(None, "Invalid schema for function 'cut': 'stream_id' is required"), "other"),
    (nested(None, "Unknown parameter: 'stream_id'.", param="tools[0].parameters"), "other"),
    (nested("response_already_in_flight"), "in_flight"),
    (flat("websocket_queue_full"), "in_flight"),
    (nested("rate_limit_exceeded"), "other"),
    (failed("rate_limit_exceeded", "Please try again in 11.054s"), "other"),
    (flat("server_error"), "other"),
    ({"type": "error", "error": "it broke"}, "other"),
    ({"type": "error"}, "other"),
]


@pytest.mark.parametrize(("event", "fault"), FAULTS)
def test_what_an_error_is_about(event: dict[str, Any], fault: str) -> None:
    with pytest.raises(APIError) as caught:
        RESPONSES.decoder(ORIGIN).feed(WireMessage(msgspec.json.encode(event)))

    assert fault_of(caught.value) == fault


def test_a_refused_upgrade_and_an_error_without_a_body() -> None:
    reply = Reply(
        400, {}, msgspec.json.encode({"error": {"code": "websocket_queue_full", "message": "no"}}), 0
    )

    assert fault_of(RESPONSES.decode_error(reply)) == "in_flight"
    assert fault_of(APIError("no", body=None)) == "other"
    assert (
        fault_of(APIError("no", body={"response": {"error": {"code": "invalid_stream_id"}}})) == "lane_name"
    )


# -- answers -------------------------------------------------------------------------------------------------


def test_an_answer_is_said_as_a_longer_history_says_it() -> None:
    said = 0
    for record in good():
        answer = response_of(record).message
        history = (Message.system("s"), Message.user("a"), answer, Message.user("b"))
        call = encode_known(RESPONSES, Request(history, model=record.model), record.origin, stream=True)
        items = answer_items(answer, record.origin, RESPONSES.quirks)
        assert call.body["input"][1:-1] == items, record.id
        said += len(items)
    assert said == 587


def test_a_made_up_answer() -> None:
    answer = Message("assistant", (TextPart("a"),))

    assert answer_items(answer, ORIGIN, RESPONSES.quirks) == [
        {"type": "message", "role": "assistant", "content": "a"}
    ]
    assert peek(b'{"type":"a"}') == Peek("a")


# -- what a connection asks about frames ---------------------------------------------------------------------

SOCKET = ResponsesOverWebSocket(RESPONSES.quirks)


@pytest.mark.parametrize(
    ("frame", "lane"),
    [
        (b'{"stream_id": "a.1", "type"', "a.1"),
        (b'{"type":"x","stream_id":"lane-3","delta":"\xff', "lane-3"),
        (b'{"type": "x', None),
        (b'{"stream_id": null, ', None),
    ],
)
def test_the_lane_of_what_cannot_be_read(frame: bytes, lane: str | None) -> None:
    assert SOCKET.lane_of(frame) == lane


def ending(*ids: Any) -> bytes:
    output = [{"id": id, "type": "message"} for id in ids]
    return msgspec.json.encode({"type": "response.completed", "response": {"id": "r", "output": output}})


ITEM = msgspec.json.encode({"type": "response.output_item.done", "item": {"id": "m1"}})


@pytest.mark.parametrize(
    ("end", "item", "lists"),
    [
        (ending("m0", "m1"), ITEM, True),
        (ending("m2"), ITEM, False),
        (ending(), ITEM, False),
        (ending(), None, True),
        (ending("m1"), None, False),
        (ending(None), b'{"item": {"type": "message"}}', False),
        (b'{"response": 5}', ITEM, False),
        (ending("m1"), b"garbage", False),
        (ending("m1"), b'{"item": {"id": "m1\xff"}}', False),
    ],
)
def test_whether_an_end_lists_an_item(end: bytes, item: bytes | None, lists: bool) -> None:
    assert SOCKET.lists(end, item) is lists


@pytest.mark.parametrize(
    ("event", "is_limit"),
    [
        (nested("websocket_connection_limit_reached"), True),
        (failed("websocket_connection_limit_reached"), True),
        (nested("server_error", "websocket_connection_limit_reached"), False),
    ],
)
def test_the_age_limit_is_the_errors_own_code(event: dict[str, Any], is_limit: bool) -> None:
    assert SOCKET.is_age_limit(msgspec.json.encode(event)) is is_limit
    assert not SOCKET.is_age_limit(b"websocket_connection_limit_reached")
    assert not SOCKET.is_lane_limit(b"{}")


@pytest.mark.parametrize(
    ("continues", "store", "reason"),
    [
        ("all", False, None),
        ("stored", False, "the server continues only responses that it stores (store=True)"),
        ("stored", True, None),
        ("none", True, "the server continues no response"),
    ],
)
def test_a_server_that_does_not_continue_every_response(continues: Any, store: bool, reason: Any) -> None:
    socket = OpenAIResponses().websocket
    request = socket.request(Call("/responses", {"model": "m", "input": "a", "store": store}), ORIGIN)
    found = request.find(socket.held(), WebSocketOptions(continues=continues))

    assert isinstance(found, Miss)
    assert (found.reason, found.kind) == ((reason, "unsupported") if reason else (found.reason, "first"))


@pytest.mark.parametrize("repeats", [True, False])
def test_instructions_beside_a_parent_where_the_server_takes_them(repeats: bool) -> None:
    options = WebSocketOptions(repeats_instructions=repeats)
    body = {"model": "m", "instructions": "Be brief.", "input": [{"role": "user", "content": "a"}]}
    held = SOCKET.held()
    held.add(head_of(outline(body), [], "r1", stored=False), "lane")
    body["input"] = [*body["input"], {"role": "user", "content": "b"}]
    request = SOCKET.request(Call("/responses", body), ORIGIN)
    frame = msgspec.json.decode(request.frame(None, request.find(held, options), options))

    assert frame["previous_response_id"] == "r1" and ("instructions" in frame) is repeats
    assert "instructions" in msgspec.json.decode(request.frame(None, None, options))
