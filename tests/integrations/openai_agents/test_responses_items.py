"""Items that come back are the parts that they were; edited ones are what they say; odd endings are whole, too."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from response_cases import IN_EVERY_WAY, encoded, events_of

from brainwires_provider.errors import RateLimitError, ServerError
from brainwires_provider.events import (
    PartEnd,
    PartStart,
    ReasoningDelta,
    ResponseEnd,
    ResponseRestart,
    ResponseStart,
    TextDelta,
    collect,
)
from brainwires_provider.integrations.responses import ResponsesEncoder, messages_of
from brainwires_provider.types import (
    Attempt,
    Message,
    OpaquePart,
    Origin,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from fixture_cases import Case

CLAUDE = Origin("anthropic_messages", "anthropic", "claude", "claude-1")


@IN_EVERY_WAY
def test_items_come_back_as_the_message_that_they_were(case: Case) -> None:
    events = events_of(case)
    ours = collect(events)
    for response in (encoded(events)[1].response, ResponsesEncoder(seed="s", model="m").whole(ours)):
        stored = msgspec.json.decode(msgspec.json.encode(response["output"]))

        back = messages_of(stored)

        content = [part for message in back for part in message.content]
        names = [part.id for part in content if isinstance(part, ToolCallPart) and part.id]
        assert len(set(names)) == len(names)
        assert named(content, ours) == named(ours.message.content, ours)
        assert ({k: v for m in back for k, v in (m.extra or {}).items()} or None) == (
            ours.message.extra or None
        )


def named(parts: Any, ours: Any) -> list[Any]:
    """The parts; calls without their ids where the provider gave two of them the same."""
    given = [part.id for part in ours.tool_calls]
    if len(set(given)) == len(given):
        return list(parts)
    return [replace(part, id=None) if isinstance(part, ToolCallPart) else part for part in parts]


def end(reason: Any = "stop") -> ResponseEnd:
    return ResponseEnd(reason, reason, Usage(output_text=1, complete=True), "r", "m")


def said(*events: Any, **args: Any) -> tuple[list[str], dict[str, Any]]:
    wire, encoder = encoded([ResponseStart("r", "m"), *events], **args)
    return [event["type"] for event in wire], encoder.response


def test_what_an_attempt_said_that_failed_is_not_in_the_response() -> None:
    thought = ReasoningPart("Old", signature="old", origin=CLAUDE)
    begun = [PartStart(0, ReasoningPart(origin=CLAUDE)), ReasoningDelta(0, "Old")]
    for left in ([], [PartEnd(0, thought), PartStart(1, ReasoningPart(origin=CLAUDE))]):
        types, response = said(
            *begun,
            *left,
            ResponseRestart(Attempt("cut")),
            ResponseStart("r2", "m"),
            PartStart(0, TextPart("")),
            TextDelta(0, "New"),
            PartEnd(0, TextPart("New")),
            end(),
        )

        assert types.count("response.output_item.added") == types.count("response.output_item.done")
        assert [item["type"] for item in response["output"]] == ["message"]
        assert messages_of(response["output"]) == [Message.assistant("New")]


def test_a_failure_ends_what_is_open() -> None:
    encoder = ResponsesEncoder(seed="s")
    wire = [
        *encoder.feed(ResponseStart("r", "m")),
        *encoder.feed(PartStart(0, ReasoningPart(origin=CLAUDE))),
        *encoder.feed(ReasoningDelta(0, "Hm")),
        *encoder.fail(RateLimitError("Slow down.", status=429)),
    ]
    assert [event["type"] for event in wire[-2:]] == ["response.output_item.done", "response.failed"]
    assert wire[-1]["response"]["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert messages_of(wire[-1]["response"]["output"]) == []
    early = ResponsesEncoder(seed="s").fail(ServerError("Down.", status=500))
    assert [event["type"] for event in early] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]


@pytest.mark.parametrize(
    "reason, status, details",
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("pause", "incomplete", None),
        ("malformed_tool_call", "incomplete", None),
        ("pending", "in_progress", None),
    ],
)
def test_statuses(reason: Any, status: str, details: Any) -> None:
    types, response = said(end(reason))
    assert (types[-1], response["status"], response["incomplete_details"]) == (
        f"response.{status}",
        status,
        details,
    )


def test_a_refusal_without_words_is_one() -> None:
    types, response = said(end("refusal"))
    assert response["output"][0]["content"][0]["type"] == "refusal"
    assert types.count("response.refusal.delta") == 1
    _, response = said(PartStart(0, RefusalPart("")), PartEnd(0, RefusalPart("No.")), end("refusal"))
    assert [piece["refusal"] for piece in response["output"][0]["content"]] == ["No."]


def test_a_call_does_not_get_the_id_of_an_earlier_one() -> None:
    call = ToolCallPart("call_0", "f", "{}", origin=CLAUDE)
    _, response = said(PartStart(0, call), PartEnd(0, call), end("tool_calls"), taken={"call_0"})
    (item,) = response["output"]
    assert item["call_id"] != "call_0"
    result = {"type": "function_call_output", "call_id": item["call_id"], "output": "x"}
    turn, answer = messages_of([item, result])
    assert turn.tool_calls[0].call_id == answer.content[0].call_id == item["call_id"]


def test_a_text_that_is_edited_loses_what_belonged_to_the_old_one() -> None:
    text = TextPart("Old", extra={"thoughtSignature": "s"}, origin=CLAUDE)
    _, response = said(PartStart(0, text), PartEnd(0, text), PartStart(1, text), PartEnd(1, text), end())
    (item,) = response["output"]
    assert messages_of([item]) == [Message.assistant(text, text)]
    item["content"][0]["text"] = "New"
    assert messages_of([item]) == [Message.assistant("New", text)]
    item["provider_data"] = {"brainwires": "{broken"}
    assert messages_of([item]) == [Message.assistant("New", "Old")]


def test_without_keeping_nothing_is_beside_the_items() -> None:
    foreign = OpaquePart("server_tool_use", {"type": "server_tool_use"}, origin=CLAUDE)
    call = ToolCallPart("c", "f", "{}", origin=CLAUDE)
    _, response = said(
        PartStart(0, foreign), PartEnd(0, foreign), PartStart(1, call), PartEnd(1, call), end(), keep=False
    )
    assert "provider_data" not in str(response)


def test_a_history_of_the_responses_api_is_that_of_the_model_that_is_asked() -> None:
    """Items that another client of the API has made: reasoning goes back to the model, built-in tools to the API."""
    target = Origin("openai_responses", "openai-responses", "gpt-6")
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "q"},
        },
        {
            "type": "message",
            "id": "__fake_id__",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hi"}],
        },
        {
            "type": "function_call",
            "call_id": "c",
            "name": "f",
            "arguments": "{}",
            "provider_data": {"model": "x"},
        },
        {"type": "shell_call_output", "call_id": "s", "output": [{"stdout": "x"}]},
        {"type": "mcp_approval_response", "approval_request_id": "m", "approve": True},
        {"type": "item_reference", "id": "i"},
    ]
    turn, shell, approval, reference = messages_of(items, origin=target)
    thought, search, text, call = turn.content
    assert thought == ReasoningPart("", (), encrypted="gAAA", extra={"id": "rs_1"}, origin=target)
    assert isinstance(search, OpaquePart) and search.origin == target
    assert text == TextPart("Hi") and call == ToolCallPart("c", "f", "{}")
    assert (shell.text, shell.content[0].text) == ("", '[{"stdout":"x"}]')
    assert approval.content[0].text == '{"approve":true}'
    assert reference.content[0].data == items[-1]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "an item is an object, not NoneType"),
        ({"role": "assistant", "content": [7]}, r"content\[0\] is an object, not int"),
        ({"role": "user", "content": [7]}, r"content\[0\] is an object, not int"),
        ({"role": "user", "content": [{"type": "input_image"}]}, r"input_image: 'image_url' is missing"),
        ({"role": "assistant", "content": [{"type": "output_text"}]}, "'text' is missing"),
        ({"role": "robot", "content": "Hi"}, "has the role user"),
        ({"type": "function_call_output", "output": "x"}, "'id' is missing"),
    ],
)
def test_what_is_no_item_is_named(item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"input\[1\]: .*" + message):
        messages_of([{"role": "user", "content": "Hi"}, item])
