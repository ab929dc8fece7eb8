"""A Responses service in memory: each rule that refuses a create, each limit, and how answers fail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from brainwires_provider.testing import (
    Failure,
    Incomplete,
    ResponsesService,
    RulesSession,
    assistant,
    function_call,
)
from rules import Event, answered, caller, create, invalid, not_found, output, refused, user

# -- what is refused -----------------------------------------------------------------------------------

LONG = "x" * 257
BAD_STREAM_ID = (
    "The 'stream_id' field must be a non-empty string with at most 256 characters and may only contain "
    "letters, numbers, underscores, hyphens, and periods."
)
REFUSED: dict[str, tuple[Event, str | None, str, str | None]] = {
    "stop": (create(stop=["x"]), "unknown_parameter", "Unknown parameter: 'stop'.", "stop"),
    "an unknown field": (create(xyz=1), "unknown_parameter", "Unknown parameter: 'xyz'.", "xyz"),
    "a null": (
        create(temperature=None),
        "invalid_type",
        "Invalid type for 'temperature': expected a value, but got null instead.",
        "temperature",
    ),
    "a null one level down": (
        create(reasoning={"mode": None}),
        "invalid_type",
        "Invalid type for 'reasoning.mode': expected a value, but got null instead.",
        "reasoning.mode",
    ),
    "background": (
        create(background=True),
        None,
        "'background' is not supported over WebSocket.",
        "background",
    ),
    "background, false": (
        create(background=False),
        None,
        "'background' is not supported over WebSocket.",
        "background",
    ),
    "two chains": (
        create(previous_response_id="a", conversation="b"),
        "mutually_exclusive_parameters",
        (
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are only "
            "providing one of them."
        ),
        "conversation",
    ),
    "a number for a parent": (
        create(previous_response_id=1),
        "invalid_type",
        "Invalid type for 'previous_response_id': expected a string.",
        "previous_response_id",
    ),
    "a list for a conversation": (
        create(conversation=[]),
        "invalid_type",
        "Invalid type for 'conversation': expected a string or an object with an id.",
        "conversation",
    ),
    "no model": (
        {"type": "response.create", "input": "x"},
        "missing_required_parameter",
        "Missing required parameter: 'model'.",
        "model",
    ),
    "no input": (
        {"type": "response.create", "model": "m"},
        "missing_required_parameter",
        "One of 'input', 'previous_response_id', 'prompt' or 'conversation' must be provided.",
        "input",
    ),
    "input of texts": (
        create(["a"]),
        "invalid_type",
        "Invalid type for 'input': expected a string or an array of objects.",
        "input",
    ),
    "an output without its call": (
        create([output("call_9")]),
        None,
        "No tool call found for function call output with call_id call_9.",
        "input",
    ),
    "a call without its output": (
        create([{**function_call("f"), "call_id": "call_8"}, user("b")]),
        None,
        "No tool output found for function call call_8.",
        "input",
    ),
    "an output of another kind": (
        create([{**function_call("f"), "call_id": "c"}, {"type": "custom_tool_call_output", "call_id": "c"}]),
        None,
        "No tool call found for custom tool call output with call_id c.",
        "input",
    ),
    "an id twice": (
        create([{**user("a"), "id": "msg_1"}, {**user("a"), "id": "msg_1"}]),
        None,
        "Duplicate item found with id msg_1. Remove duplicate items from your input and try again.",
        "input",
    ),
    "a trigger before the end": (
        create([{"type": "compaction_trigger"}, user("a")]),
        None,
        "A compaction_trigger must be the last input item.",
        "input",
    ),
    "an empty stream_id": (create(stream_id=""), "invalid_stream_id", BAD_STREAM_ID, "stream_id"),
    "a long stream_id": (create(stream_id=LONG), "invalid_stream_id", BAD_STREAM_ID, "stream_id"),
    "an odd stream_id": (create(stream_id="a b"), "invalid_stream_id", BAD_STREAM_ID, "stream_id"),
    "a stream_id with a line end": (create(stream_id="a\n"), "invalid_stream_id", BAD_STREAM_ID, "stream_id"),
    "a number for a stream_id": (create(stream_id=1), "invalid_stream_id", BAD_STREAM_ID, "stream_id"),
    "another client event": (
        {"type": "response.cancel"},
        "invalid_value",
        "Invalid value: 'response.cancel'. Supported values are: 'response.create' and 'response.steer'.",
        "type",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_create_is_refused_and_the_connection_goes_on(case: str) -> None:
    event, code, message, param = REFUSED[case]
    session = ResponsesService().connect()

    assert refused(session, event) == {"type": "error", "status": 400, "error": invalid(code, message, param)}
    answered(session)


@pytest.mark.parametrize("frame", [b"{", b"\xff\xfe", b"[1]", "null", b""])
def test_what_is_no_object_is_refused(frame: bytes | str) -> None:
    session = ResponsesService().connect()
    [error] = session.receive(frame)

    assert error["error"]["code"] == "invalid_json"
    answered(session)


def test_every_documented_field_passes() -> None:
    fields = {
        "access_programs": {}, "background_options": {}, "context_management": [], "image": {}, "include": [],
        "instructions": "x", "max_output_tokens": 1, "max_tool_calls": 1, "metadata": {"a": None},
        "moderation": {}, "parallel_tool_calls": True, "prompt": {"id": "p"}, "prompt_cache_key": "k",
        "prompt_cache_options": {}, "prompt_cache_retention": "24h", "reasoning": {}, "safety_identifier": "s",
        "service_tier": "auto", "store": False, "stream": True, "stream_options": {}, "temperature": 1.2,
        "text": {}, "tool_choice": "auto", "tools": [{"type": "function", "description": None}],
        "top_logprobs": 1, "top_p": 1, "truncation": "auto", "user": "u", "generate": True, "stream_id": "l",
    }  # fmt: skip

    assert answered(ResponsesService().connect(), **fields)["instructions"] == "x"


def test_sending_the_history_with_the_id_is_a_duplicate() -> None:
    session = ResponsesService().connect()
    first = answered(session, [user("a")])
    history = [user("a"), *first["output"], user("b")]

    error = refused(session, create(history, previous_response_id=first["id"]))["error"]
    assert error["message"].startswith(f"Duplicate item found with id {first['output'][0]['id']}.")
    answered(session, history)  # alone it is fine


def test_a_call_in_the_chain_wants_its_output_in_the_input() -> None:
    service = ResponsesService(caller)
    session = service.connect()
    first = answered(session, [user("a")])
    call = first["output"][1]

    error = refused(session, create("b", previous_response_id=first["id"]))["error"]
    assert error == invalid(None, f"No tool output found for function call {call['call_id']}.", "input")
    second = answered(session, [output(call["call_id"])], previous_response_id=first["id"])
    assert second["output"][0]["content"][0]["text"] == "it is 42"


def test_a_reference_stands_for_a_stored_item() -> None:
    service = ResponsesService()
    session = service.connect()
    first = answered(session, [user("a")])
    item = first["output"][0]
    second = answered(session, [{"type": "item_reference", "id": item["id"]}, user("b")])

    assert service.conversation(second["id"])[:2] == [item, user("b")]
    error = refused(session, create([{"type": "item_reference", "id": "msg_0"}]))
    assert (error["status"], error["error"]["message"]) == (404, "Item with id 'msg_0' not found.")


# -- limits --------------------------------------------------------------------------------------------


def test_a_33rd_name_is_refused_and_the_old_ones_go_on() -> None:
    session = ResponsesService().connect()
    for number in range(1, 33):
        answered(session, stream_id=f"agent_{number}")

    assert refused(session, create(stream_id="agent_33")) == {
        "type": "error",
        "status": 400,
        "stream_id": "agent_33",
        "error": invalid(
            "websocket_stream_limit_reached",
            "This WebSocket connection has reached its maximum number of distinct stream IDs (32). Reuse an "
            "existing stream_id or open a new WebSocket connection.",
            "stream_id",
        ),
    }
    answered(session, stream_id="agent_7")
    answered(session)  # the default lane is not counted


@pytest.mark.parametrize(("age", "is_open"), [(3599.9, True), (3600, False)])
def test_an_old_connection_takes_no_create(age: float, is_open: bool) -> None:
    session = ResponsesService().connect(now=100)
    events = session.run(create(stream_id="a"), now=100 + age)

    if is_open:
        assert events[-1]["type"] == "response.completed"
        return
    assert events == [
        {
            "type": "error",
            "status": 400,
            "error": invalid(
                "websocket_connection_limit_reached",
                "Responses websocket connection limit reached (60 minutes). Create a new websocket "
                "connection to continue.",
                None,
            ),
        }
    ]


def test_an_old_connection_ends_what_it_has_begun() -> None:
    session = ResponsesService().connect()
    session.receive(json.dumps(create()), 3599)

    assert session.drain(7200)[-1]["type"] == "response.completed"


@pytest.mark.parametrize(("more", "code"), [(0, None), (1, 1009)])
def test_a_frame_beyond_the_limit_closes_with_1009(more: int, code: int | None) -> None:
    service = ResponsesService(max_frame=1000)
    session = service.connect()
    frame = json.dumps(create("é", metadata={"x": ""}), ensure_ascii=False)
    frame = frame.replace('"x": ""', '"x": "{}"'.format("y" * (1000 + more - len(frame.encode()))))
    session.receive(frame)

    assert session.close_code == code
    assert bool(session.runnable()) is (code is None)
    if code:
        assert session.receive(json.dumps(create())) == []


def starts(session: RulesSession) -> list[str | None]:
    return [job.stream_id for job in session.runnable()]


def test_a_lane_is_a_queue_and_lanes_run_side_by_side() -> None:
    session = ResponsesService().connect()
    for text, lane in [("1", "a"), ("2", "a"), ("3", "b"), ("4", None), ("5", None)]:
        session.receive(json.dumps(create(text, **({} if lane is None else {"stream_id": lane}))))

    assert starts(session) == ["a", "b", None]
    order = [e.get("stream_id") for e in session.drain() if e["type"] == "response.created"]
    assert order == ["a", "b", None, "a", None]


def test_at_most_so_many_are_active_and_more_wait() -> None:
    session = ResponsesService(max_active=16).connect()
    for number in range(20):
        session.receive(json.dumps(create(stream_id=f"lane{number}")))

    assert len(session.runnable()) == 16
    oldest = session.runnable()[0]
    while session.step(oldest):
        pass
    assert starts(session)[-1] == "lane16"
    assert sum(e["type"] == "response.completed" for e in session.drain()) == 19


def test_an_error_behind_a_response_waits_for_its_turn() -> None:
    session = ResponsesService().connect()

    assert session.receive(json.dumps(create())) == []
    assert session.receive(json.dumps(create(stop="x"))) == []
    assert [e["type"] for e in session.drain()][-2:] == ["response.completed", "error"]


def test_without_lanes_a_stream_id_is_unknown_and_creates_wait() -> None:
    session = ResponsesService(lanes=False).connect()

    error = refused(session, create(stream_id="a"))
    assert error["error"] == invalid("unknown_parameter", "Unknown parameter: 'stream_id'.", "stream_id")
    for _ in range(3):
        session.receive(json.dumps(create()))
    assert len(session.runnable()) == 1
    assert sum(e["type"] == "response.completed" for e in session.drain()) == 3


# -- failures ------------------------------------------------------------------------------------------


def raised(failure: Failure | Incomplete) -> Any:
    def author(items: Sequence[Event], body: Event) -> list[Event]:
        raise failure

    return author


@pytest.mark.parametrize(
    ("failure", "kinds"),
    [
        (Failure("rate_limit_exceeded", "slow", 429, headers={"retry-after": "3"}), ["error"]),
        (Failure("x", "no", 500, "after_created"), ["response.created", "response.in_progress", "error"]),
        (
            Failure("x", "no", 500, "after_created", late_failed=True),
            ["response.created", "response.in_progress", "error", "response.failed"],
        ),
        (
            Failure("x", "no", when="in_response", items=[assistant("par")]),
            ["response.created", "response.in_progress", "response.failed"],
        ),
        (
            Incomplete("content_filter", [assistant("par")]),
            ["response.created", "response.in_progress", "response.incomplete"],
        ),
    ],
)
@pytest.mark.parametrize("how", ["returned", "raised"])
def test_an_author_may_fail(failure: Failure | Incomplete, kinds: list[str], how: str) -> None:
    service = ResponsesService(raised(failure) if how == "raised" else lambda items, body: failure)

    events = service.connect().run(create())

    lifecycle = {
        "error",
        *(f"response.{name}" for name in ("created", "in_progress", "failed", "incomplete")),
    }
    assert [event["type"] for event in events if event["type"] in lifecycle] == kinds
    last = events[-1]
    match failure:
        case Incomplete():
            assert last["response"]["incomplete_details"] == {"reason": "content_filter"}
            assert last["response"]["output"][0]["content"][0]["text"] == "par"
            assert service.conversation(last["response"]["id"])
        case Failure(when="in_response"):
            assert last["response"]["error"] == {"code": "x", "message": "no"}
            assert last["response"]["output"][0]["content"][0]["text"] == "par"
        case Failure(headers={"retry-after": "3"}):
            assert (last["status"], last["error"]["headers"]) == (429, {"retry-after": "3"})


def test_a_failed_response_is_no_parent() -> None:
    service = ResponsesService(lambda items, body: Failure("x", "no", when="in_response"))
    session = service.connect()
    failed = session.run(create())[-1]["response"]["id"]

    assert refused(session, create(previous_response_id=failed)) == not_found(failed)
    with pytest.raises(KeyError):
        service.conversation(failed)


def test_what_an_author_raises_else_is_the_tests_own() -> None:
    def author(items: Sequence[Event], body: Event) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ResponsesService(author).connect().run(create())
