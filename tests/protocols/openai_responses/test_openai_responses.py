"""Responses beyond the fixtures: the wire's whole vocabulary, quirks that no row has, and what must always hold."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider.errors import APIError, ProtocolError, StreamInterrupted, UnsupportedError
from brainwires_provider.events import OpaqueDelta, PartEnd, PartStart, ReasoningDelta, ResponseEnd, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.openai_chat import OpenAIChatOptions
from brainwires_provider.protocols.openai_responses import (
    OpenAIResponses,
    OpenAIResponsesOptions,
    ResponsesDecoder,
    ResponsesQuirks,
    operations,
)
from brainwires_provider.protocols.openai_responses.operations import (
    check_deleted,
    compact_call,
    decode_compaction,
    decode_items,
)
from brainwires_provider.protocols.openai_responses.response import EVENTS
from brainwires_provider.types import (
    Cache,
    Citation,
    FilePart,
    ImagePart,
    JSONSchema,
    Message,
    OpaquePart,
    Options,
    Origin,
    Part,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from fixture_cases import ROOT
from known import count_known, encode_known
from sdk_types import faults

ORIGIN = Origin("openai_responses", "p", "m")
RESPONSES = OpenAIResponses()
FIXTURES = ROOT / "openai_responses"

# -- the whole vocabulary ------------------------------------------------------------------------------------


def literals(union: Any, field: str = "type") -> set[str]:
    """The words that tell the members of one of openai-python's unions apart."""
    if typing.get_origin(union) is typing.Annotated:
        union = typing.get_args(union)[0]
    return {word for member in typing.get_args(union) for word in words(member, field)}


def words(member: Any, field: str) -> tuple[str, ...]:
    told: tuple[str, ...] = typing.get_args(member.model_fields[field].annotation)
    return told


def test_every_event_of_openai_python_is_known() -> None:
    responses = pytest.importorskip("openai.types.responses")
    theirs = literals(responses.ResponseStreamEvent)
    assert len(theirs) == 59
    assert theirs - set(EVENTS) == set()
    # The status exists, so the event may come; and gateways end a response by `response.done`, as the Realtime API.
    assert set(EVENTS) - theirs == {"response.cancelled", "response.done"}


def test_every_step_of_a_hosted_tool_is_passed_on() -> None:
    responses = pytest.importorskip("openai.types.responses")
    hosted = re.compile(
        r"response\.(?!function_call_|custom_tool_call_)(\w+_call(_\w+)?|mcp_list_tools|compaction)\."
    )
    kinds = sorted(filter(hosted.match, literals(responses.ResponseStreamEvent)))
    assert len(kinds) == 29
    decoder = ResponsesDecoder(ORIGIN)
    decoder.feed(WireMessage(b'{"type":"response.created","response":{"id":"r"}}'))
    for kind in kinds:
        event = {"type": kind, "output_index": 0, "item_id": "x", "delta": "a"}
        told = OpaqueDelta(None, kind.removeprefix("response."), event)
        assert decoder.feed(WireMessage(msgspec.json.encode(event))) == [told]


# What each output item becomes; "…" where the item decides.
ITEMS = {
    "message": TextPart,
    "reasoning": ReasoningPart,
    "image_generation_call": ImagePart,
    "function_call": ToolCallPart,
    "custom_tool_call": ToolCallPart,
    "apply_patch_call": ToolCallPart,
    "local_shell_call": ToolCallPart,
    "computer_call": ToolCallPart,
    "mcp_approval_request": ToolCallPart,
    "shell_call": (ToolCallPart, OpaquePart),  # the caller's own machine, or the service's container
    "tool_search_call": (ToolCallPart, OpaquePart),  # the caller's search, or the service's
}
OPAQUE = {
    "additional_tools",
    "apply_patch_call_output",
    "code_interpreter_call",
    "compaction",
    "computer_call_output",
    "custom_tool_call_output",
    "file_search_call",
    "function_call_output",
    "local_shell_call_output",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "program_output",
    "shell_call_output",
    "tool_search_output",
    "web_search_call",
}


def every_item() -> list[dict[str, Any]]:
    """One of each kind, and two that nobody has seen."""
    body = (FIXTURES / "every_item_whole" / "wire.json").read_bytes()
    items: list[dict[str, Any]] = msgspec.json.decode(body)["output"]
    return items


def test_every_output_item_of_openai_python_becomes_its_part() -> None:
    responses = pytest.importorskip("openai.types.responses")
    theirs = literals(responses.ResponseOutputItem)
    assert len(theirs) == 28
    assert theirs == set(ITEMS) | OPAQUE
    seen = set()
    for item in every_item():
        kind = item.get("type", "")
        body = msgspec.json.encode({"output": [item]})
        (part,) = collect(RESPONSES.decoder(ORIGIN).feed_whole(body)).message.content
        assert isinstance(part, ITEMS.get(kind, OpaquePart)), kind
        seen.add(kind)
    assert theirs <= seen


def test_every_item_goes_back_as_it_came() -> None:
    """JSON-equal, but without nulls and what only an output has; what is opaque in the very order of its keys."""
    items = every_item()
    body = msgspec.json.encode({"output": items, "model": "m"})
    message = collect(RESPONSES.decoder(ORIGIN).feed_whole(body)).message
    call = encode_known(RESPONSES, Request((message,), "m"), ORIGIN, stream=False)
    assert call.deviations == ()
    assert call.body["input"] == [as_input(item) for item in items]
    assert sum(isinstance(p, OpaquePart) for p in message.content) == 21
    for part, sent in zip(message.content, call.body["input"], strict=True):
        if isinstance(part, OpaquePart):
            assert msgspec.json.encode(sent) == msgspec.json.encode(as_input(part.data))


def as_input(item: dict[str, Any]) -> dict[str, Any]:
    of_input = ("type", "id", "status", "result")
    is_image = item.get("type") == "image_generation_call"
    if isinstance(item.get("action"), dict):
        item = {**item, "action": {k: v for k, v in item["action"].items() if v is not None}}
    return {k: v for k, v in item.items() if v is not None and (not is_image or k in of_input)}


# What answers each kind of call: our name of the kind, the text of a result, and the item for it; then the same of
# a result that is an error, with the place that is reported where the item cannot say so.
OK = {"call_id": "c", "output": "ok"}
SHELL = {"stdout": "no", "stderr": "", "outcome": {"type": "exit", "exit_code": 1}}
SCREEN = {"type": "computer_screenshot", "image_url": "https://a.example/i.png"}
SEARCH = {"call_id": "c", "execution": "client", "status": "completed", "tools": []}
ANSWERS: dict[str, tuple[str, str, dict[str, Any], str, dict[str, Any], bool]] = {
    "function_call_output": ("function", "ok", OK, "ok", OK, True),
    "custom_tool_call_output": ("custom", "ok", OK, "ok", OK, True),
    "apply_patch_call_output": (
        "apply_patch",
        "ok",
        {**OK, "status": "completed"},
        "ok",
        {**OK, "status": "failed"},
        False,
    ),
    "shell_call_output": (
        "shell",
        "ok",
        {
            "call_id": "c",
            "output": [{"stdout": "ok", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
        },
        "no",
        {"call_id": "c", "output": [SHELL]},
        False,
    ),
    "local_shell_call_output": (
        "local_shell",
        "ok",
        {"id": "c", "output": "ok"},
        "ok",
        {"id": "c", "output": "ok"},
        True,
    ),
    "tool_search_output": ("tool_search", "[]", SEARCH, "[]", SEARCH, True),
    "computer_call_output": (
        "computer",
        msgspec.json.encode(SCREEN).decode(),
        {"call_id": "c", "output": SCREEN},
        msgspec.json.encode(SCREEN).decode(),
        {"call_id": "c", "output": SCREEN},
        True,
    ),
    "mcp_approval_response": (
        "mcp_approval",
        "true",
        {"approval_request_id": "c", "approve": True},
        "no",
        {"approval_request_id": "c", "approve": False, "reason": "no"},
        False,
    ),
}


def test_every_kind_of_call_has_its_answer() -> None:
    responses = pytest.importorskip("openai.types.responses")
    union = responses.ResponseInputItem
    theirs = {word for word in literals(union) if str(word).endswith(("_output", "_response"))}
    assert set(ANSWERS) == theirs - {"program_output"}  # which only the service makes
    for type_, (kind, *both, is_lost) in ANSWERS.items():
        for is_error, (text, fields) in enumerate((both[:2], both[2:])):
            result = ToolResultPart("c", (TextPart(text),), is_error=bool(is_error))
            named = msgspec.structs.replace(result, extra={"type": type_})
            call = Message.assistant(ToolCallPart("c", kind, "{}", kind=kind))
            for messages in ((Message("tool", (named,)),), (call, Message("tool", (result,)))):
                sent = encode_known(RESPONSES, Request(messages, "m"), ORIGIN, stream=False)
                assert sent.body["input"][-1] == {"type": type_, **fields}
                lost = [d.field for d in sent.deviations if d.field.endswith("is_error")]
                assert len(lost) == (is_error and is_lost)
            assert faults(sent.body["input"][-1:], list[responses.ResponseInputItemParam]) == []


@pytest.mark.parametrize("provider", ["p", "q"])
def test_ids_of_another_service_go_back_where_they_begin_as_the_apis_do(provider: str) -> None:
    """How they begin is in the examples of the API reference."""
    items: dict[str, dict[str, Any]] = {
        "rs": {"type": "reasoning", "summary": []},
        "msg": {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A"}]},
        "fc": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        "ctc": {"type": "custom_tool_call", "call_id": "d", "name": "f", "input": "a"},
    }
    for prefix in ("", "x"):
        output = [{**item, "id": f"{prefix}{start}_1"} for start, item in items.items()]
        body = msgspec.json.encode({"output": output, "model": "m"})
        decoder = RESPONSES.decoder(msgspec.structs.replace(ORIGIN, provider=provider))
        message = collect(decoder.feed_whole(body)).message
        sent = encode_known(RESPONSES, Request((message,), "m"), ORIGIN, stream=False).body["input"]
        ids = [item["id"] if provider == "p" or not prefix else None for item in output]
        assert [item.get("id") for item in sent] == ids


@pytest.mark.parametrize("name", ["message", "content_index", "piece", "novel"])
def test_a_field_of_a_piece_goes_back_whatever_its_name(name: str) -> None:
    texts: list[dict[str, Any]] = [
        {"type": "output_text", "text": "A", "annotations": [], name: "x"},
        {"type": "refusal", "refusal": "B", name: {"y": 1}},
    ]
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": texts}
    message = collect(RESPONSES.decoder(ORIGIN).feed_whole(msgspec.json.encode({"output": [item]}))).message
    assert encode_known(RESPONSES, Request((message,), "m"), ORIGIN, stream=False).body["input"] == [item]


X = {"x": 1}
CALL = ToolCallPart("c", "f", "{}")
SENT_EXTRA: dict[str, tuple[Message, list[dict[str, Any]], list[str]]] = {
    **{
        role: (Message(role, (TextPart("a"),), extra=X), [{"role": role, "content": "a", **X}], [])
        for role in typing.get_args(typing.Literal["system", "developer", "user"])
    },
    "text": (
        Message("user", (TextPart("a", extra=X),)),
        [{"role": "user", "content": [{"type": "input_text", "text": "a", **X}]}],
        [],
    ),
    "image": (
        Message("user", (ImagePart(url="https://a.example/i.png", extra=X),)),
        [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": "https://a.example/i.png", **X}],
            }
        ],
        [],
    ),
    "file": (
        Message("user", (FilePart(file_id="f", extra=X),)),
        [{"role": "user", "content": [{"type": "input_file", "file_id": "f", **X}]}],
        [],
    ),
    "opaque": (
        Message("user", (OpaquePart("input_x", {"type": "input_x"}, extra=X),)),
        [{"role": "user", "content": [{"type": "input_x"}]}],
        [".content[0].extra"],
    ),
    "item": (
        Message("user", (OpaquePart("x", {"type": "x"}, extra=X),)),
        [{"type": "x"}],
        [".content[0].extra"],
    ),
    "result": (
        Message("tool", (ToolResultPart("c", (TextPart("r"),), extra=X),)),
        [{"type": "function_call_output", "call_id": "c", "output": "r", **X}],
        [],
    ),
    "assistant": (
        Message("assistant", (CALL, TextPart("a")), extra=X),
        [
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "message", "role": "assistant", "content": "a", **X},
        ],
        [],
    ),
    "assistant's text": (
        Message.assistant(TextPart("a", extra=X)),
        [{"type": "message", "role": "assistant", "content": "a"}],
        [".content[0].extra"],
    ),
    "assistant's refusal": (
        Message.assistant(RefusalPart("a", extra=X)),
        [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "a"}]}],
        [".content[0].extra"],
    ),
    "call": (
        Message.assistant(msgspec.structs.replace(CALL, extra=X)),
        [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", **X}],
        [],
    ),
    "assistant's item": (
        Message.assistant(OpaquePart("x", {"type": "x"}, extra=X)),
        [{"type": "x", **X}],
        [],
    ),
    "reasoning": (
        Message.assistant(ReasoningPart("a", extra=X)),
        [],
        [".content[0]", ".content[0].extra"],
    ),
}


@pytest.mark.parametrize("name", SENT_EXTRA)
def test_the_callers_own_fields_are_sent_or_reported(name: str) -> None:
    message, sent, lost = SENT_EXTRA[name]
    request = Request((Message.user("q"), message), "m")
    call = encode_known(RESPONSES, request, ORIGIN, stream=False)
    assert call.body["input"] == [{"role": "user", "content": "q"}, *sent]
    assert [each.field for each in call.deviations] == [f"messages[1]{place}" for place in lost]


PICTURE = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}


@pytest.mark.parametrize(
    ("fields", "data", "media_type"),
    [
        ({}, b"\x89PNG\r\n\x1a\n", "image/png"),
        ({"output_format": "webp"}, b"\x89PNG\r\n\x1a\n", "image/webp"),
        ({"output_format": "svg", "result": "PHN2Zy8+"}, b"<svg/>", "image/svg+xml"),
        ({"output_format": 7, "result": "PHN2Zy8+"}, b"<svg/>", None),
        *(({"result": result}, None, None) for result in ("", None, 7, "PHN2Zy8", "PHN2\nZy8+", "YR==", "é")),
    ],
)
def test_an_image_that_the_service_made_goes_back_as_it_came(
    fields: dict[str, Any], data: bytes | None, media_type: str | None
) -> None:
    """What is no base64 of our own form could not be made again, and is kept as it is."""
    item = {**PICTURE, **fields}
    [part] = collect(
        RESPONSES.decoder(ORIGIN).feed_whole(msgspec.json.encode({"output": [item]}))
    ).message.content
    if data is None:
        assert isinstance(part, OpaquePart) and part.data == item
    else:
        assert isinstance(part, ImagePart) and (part.data, part.media_type) == (data, media_type)
        assert part.extra == {name: item[name] for name in item if name not in ("type", "result")}
    sent = encode_known(RESPONSES, Request((Message.assistant(part),), "m"), ORIGIN, stream=False)
    if item["result"]:
        assert sent.body["input"] == [{name: item[name] for name in PICTURE}] and not sent.deviations
    else:
        assert [each.reason for each in sent.deviations] == ["its image has not arrived"]


def test_the_options_are_the_apis_own_fields() -> None:
    params = pytest.importorskip("openai.types.responses.response_create_params")
    theirs = set(params.ResponseCreateParamsBase.__annotations__)
    assert set(OpenAIResponsesOptions.__struct_fields__) == theirs - {"input", "model"}


# -- fixtures go back too ------------------------------------------------------------------------------------

STREAMS = sorted(
    path.parent.name
    for path in FIXTURES.glob("*/wire.sse")
    if b'"error": {\n' not in path.with_name("events.json").read_bytes()
)


@pytest.mark.parametrize("name", STREAMS)
def test_a_turn_decoded_from_its_dump_goes_back_the_same(name: str) -> None:
    decoder = RESPONSES.decoder(ORIGIN)
    events: list[Any] = []
    framing = SSEFraming()
    for message in framing.feed((FIXTURES / name / "wire.sse").read_bytes()) + framing.finish()[0]:
        events += decoder.feed(message)
    turn = collect(events).message
    again = msgspec.json.decode(msgspec.json.encode(turn), type=Message)
    encoded = [encode_known(RESPONSES, Request((m,), "m"), ORIGIN, stream=False) for m in (turn, again)]
    assert encoded[0] == encoded[1]


# -- encoding is prefix-stable -------------------------------------------------------------------------------

OWN = Origin("openai_responses", "p", "m", "m-1")
OTHER = Origin("openai_responses", "p", "x", "x-1")
FOREIGN = Origin("anthropic_messages", "q", "c")
FIELDS = {"message": {"id": "msg_1", "role": "assistant", "status": "completed"}}
TEXTS = st.sampled_from(["", "A", "Hm\n", "é"])


def made(origin: Origin | None) -> st.SearchStrategy[Part]:
    """Parts of an assistant's turn."""
    extra = FIELDS if origin in (OWN, OTHER) else None
    return st.one_of(
        TEXTS.map(lambda t: TextPart(t, extra=extra, origin=origin)),
        TEXTS.map(lambda t: RefusalPart(t, extra=extra and {**extra, "content_index": 1}, origin=origin)),
        TEXTS.map(lambda t: ReasoningPart(t, (t,), encrypted="g", extra={"id": "rs_1"}, origin=origin)),
        TEXTS.map(lambda t: ToolCallPart("c", t, "{}", extra={"id": "fc_1"}, origin=origin)),
        st.sampled_from(["custom", "shell", "other"]).map(
            lambda k: ToolCallPart("c", k, "{}", kind=k, origin=origin)
        ),
        st.just(
            OpaquePart(
                "web_search_call", {"type": "web_search_call", "id": "ws_1"}, role="call", origin=origin
            )
        ),
    )


ASSISTANT = st.sampled_from([OWN, OTHER, FOREIGN, None]).flatmap(lambda o: st.lists(made(o), max_size=4))
SAID = st.one_of(
    TEXTS.map(TextPart),
    st.just(ImagePart(url="https://a.example/i.png")),
    st.just(FilePart(file_id="file_1")),
    st.just(OpaquePart("item_reference", {"type": "item_reference", "id": "msg_1"})),
    TEXTS.map(lambda t: ToolResultPart("c", t)),  # type: ignore[arg-type]
)
MESSAGES = st.one_of(
    ASSISTANT.map(lambda parts: Message("assistant", tuple(parts))),
    st.lists(SAID, max_size=3).map(lambda parts: Message("user", tuple(parts))),
    TEXTS.map(Message.system),
    TEXTS.map(Message.developer),
    TEXTS.map(lambda t: Message.tool_result("c", t)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSAGES, max_size=6))
def test_a_longer_history_begins_with_the_items_of_a_shorter_one(messages: list[Message]) -> None:
    whole = encode_known(RESPONSES, Request(tuple(messages), "m"), ORIGIN, stream=False).body
    leading = 0
    while leading < len(messages) and (
        messages[leading].role == "system"
        or (messages[leading].role == "developer" and not messages[leading].text.strip())  # it is not sent
    ):
        leading += 1
    for count in range(leading, len(messages) + 1):
        part = encode_known(RESPONSES, Request(tuple(messages[:count]), "m"), ORIGIN, stream=False).body
        assert whole["input"][: len(part["input"])] == part["input"]
        assert whole.get("instructions") == part.get("instructions")


# -- quirks --------------------------------------------------------------------------------------------------


def body_of(
    quirks: ResponsesQuirks, request: Request, origin: Origin = ORIGIN
) -> tuple[dict[str, Any], list[str]]:
    call = encode_known(OpenAIResponses(quirks), request, origin, stream=False)
    return call.body, [f"{d.field} {d.outcome}" for d in call.deviations]


HI = (Message.user("Hi"),)
PLAIN = {"model": "m", "input": [{"role": "user", "content": "Hi"}]}
CIPHER = {"include": ["reasoning.encrypted_content"]}
TWO = (Tool("f", "", {}), Tool("g", "", {}))


@pytest.mark.parametrize(
    ("quirks", "request_", "rest", "deviations"),
    [
        (ResponsesQuirks(), Request(HI, "m"), {"store": False}, []),
        (ResponsesQuirks(), Request(HI, "o3"), {"model": "o3", "store": False, **CIPHER}, []),
        (
            ResponsesQuirks(),
            Request(HI, "o3", options=Options(provider_options=OpenAIResponsesOptions(include=[]))),
            {"model": "o3", "store": False},
            [],
        ),
        (ResponsesQuirks(store_field=False), Request(HI, "m"), {}, []),
        (ResponsesQuirks(encrypted_reasoning=False), Request(HI, "m"), {"store": False}, []),
        (ResponsesQuirks(), Request(HI, "gpt-4o-mini"), {"model": "gpt-4o-mini", "store": False}, []),
        (ResponsesQuirks(), Request(HI, "openai/gpt-4.1"), {"model": "openai/gpt-4.1", "store": False}, []),
        (
            ResponsesQuirks(),
            Request(HI, "gpt-5-chat-latest"),
            {"model": "gpt-5-chat-latest", "store": False},
            [],
        ),
        (ResponsesQuirks(), Request(HI, "gpt-5.4"), {"model": "gpt-5.4", "store": False, **CIPHER}, []),
        (
            ResponsesQuirks(reasoning_summary=False, store_field=False),
            Request(HI, "m", options=Options(reasoning=Reasoning("low", summary="auto"))),
            {"reasoning": {"effort": "low"}},
            ["reasoning dropped"],
        ),
        (
            ResponsesQuirks(efforts={"max": "xhigh"}, store_field=False),
            Request(HI, "m", options=Options(reasoning="max")),
            {"reasoning": {"effort": "xhigh"}},
            [],
        ),
        (
            ResponsesQuirks(schema="words", store_field=False),
            Request(HI, "m", output=JSONSchema("p", {"a": 1}, "a p")),
            {
                "text": {"format": {"type": "json_object"}},
                "instructions": 'Answer with one JSON object, p (a p), that follows this JSON Schema:\n{"a":1}',
            },
            ["output emulated"],
        ),
        (
            ResponsesQuirks(schema="words", store_field=False),
            Request(HI, "m", "Be brief.", output=JSONSchema("p", {})),
            {
                "text": {"format": {"type": "json_object"}},
                "instructions": (
                    "Be brief.\n\nAnswer with one JSON object, p, that follows this JSON Schema:\n{}"
                ),
            },
            ["output emulated"],
        ),
        (
            ResponsesQuirks(schema="response_format", store_field=False),
            Request(HI, "m", output=JSONSchema("p", {})),
            {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": {}}}},
            [],
        ),
        (
            ResponsesQuirks(schema="response_format", store_field=False, json_word=False),
            Request(HI, "m", output="json"),
            {"response_format": {"type": "json_object"}},
            [],
        ),
        (
            ResponsesQuirks(allowed_tools=False, store_field=False),
            Request(HI, "m", tools=(*TWO, Tool("h", "", {})), tool_choice=ToolChoice.allowed("f", "g")),
            {
                "tools": [
                    {"type": "function", "name": n, "description": "", "parameters": {}, "strict": False}
                    for n in "fg"
                ],
                "tool_choice": "auto",
            },
            ["tool_choice emulated"],
        ),
        (
            ResponsesQuirks(developer_role=False, store_field=False),
            Request((Message.developer("Hi"),), "m"),
            {"input": [{"role": "system", "content": "Hi"}]},
            ["messages[0].role adapted"],
        ),
        (
            ResponsesQuirks(cache_marks=False, store_field=False),
            Request(
                (Message.system(TextPart("S", cache=Cache())), Message.user(TextPart("Hi", cache=Cache()))),
                "m",
            ),
            {
                "instructions": "S",
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
            },
            ["messages[0].content[0].cache dropped", "messages[1].content[0].cache dropped"],
        ),
        (
            ResponsesQuirks(store_field=False),
            Request(HI, "m", options=Options(provider_options=OpenAIChatOptions(n=2))),
            {},
            ["provider_options dropped"],
        ),
        (
            ResponsesQuirks(store_field=False),
            Request(HI, "m", extra={"previous_response_id": "resp_1", "other": 1}),
            {"previous_response_id": "resp_1"},
            ["extra.other dropped"],
        ),
        (
            ResponsesQuirks(store_field=False),
            Request(HI, "m", extra={"conversation": "conv_1", "origin": ORIGIN}),
            {"conversation": "conv_1"},
            [],
        ),
        (
            ResponsesQuirks(store_field=False),
            Request(
                HI,
                "m",
                extra={"conversation": "conv_1", "origin": {"protocol": "openai_responses", "provider": "q"}},
            ),
            {},
            ["extra.conversation dropped"],
        ),
        (
            ResponsesQuirks(store_field=False),
            Request(HI, "m", extra={"conversation": "conv_1", "previous_response_id": None, "other": None}),
            {"conversation": "conv_1"},
            [],
        ),
    ],
)
def test_the_request_is_in_the_services_dialect(
    quirks: ResponsesQuirks, request_: Request, rest: dict[str, Any], deviations: list[str]
) -> None:
    assert body_of(quirks, request_) == ({**PLAIN, **rest}, deviations)


@pytest.mark.parametrize(
    ("owner", "foreign"),
    [
        (None, None),
        (ORIGIN, None),
        ({"protocol": "openai_responses", "provider": "p"}, None),
        ({"protocol": "openai_responses", "provider": "q"}, "it belongs to openai_responses at q"),
        ({"protocol": "relay", "provider": "p"}, "it belongs to relay at p"),
        (Origin("relay", "p", "m"), "it belongs to relay at p"),
    ],
)
def test_state_that_the_service_keeps_goes_to_its_owner(owner: Any, foreign: str | None) -> None:
    handles = {"previous_response_id": "r", "conversation": "c"}
    request = Request(HI, "m", extra={**handles, "other": 1, "nothing": None, "origin": owner})
    call = encode_known(RESPONSES, request, ORIGIN, stream=False)
    assert {name: call.body[name] for name in handles if name in call.body} == ({} if foreign else handles)
    dropped = {**dict.fromkeys(handles if foreign else ()), "other": "it is no state that the service keeps"}
    assert {each.field: each.reason for each in call.deviations} == {
        f"extra.{name}": reason or foreign for name, reason in dropped.items()
    }


@pytest.mark.parametrize("extra", [{}, {"conversation": None}, {"origin": ORIGIN}])
def test_a_request_that_names_no_state_loses_none(extra: dict[str, Any]) -> None:
    assert encode_known(RESPONSES, Request(HI, "m", extra=extra), ORIGIN, stream=False).deviations == ()


def by_name(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        *((ToolChoice(mode), mode) for mode in typing.get_args(typing.Literal["auto", "none", "required"])),
        (ToolChoice.tool("f"), by_name("f")),
        (ToolChoice.allowed("f"), {"type": "allowed_tools", "mode": "auto", "tools": [by_name("f")]}),
        (
            ToolChoice("required", ("f", "g")),
            {"type": "allowed_tools", "mode": "required", "tools": [by_name("f"), by_name("g")]},
        ),
        (ToolChoice(raw={"type": "x"}), {"type": "x"}),
    ],
)
def test_every_choice_of_tools(choice: ToolChoice, sent: Any) -> None:
    request = Request(HI, "m", tools=TWO, tool_choice=choice)
    assert encode_known(RESPONSES, request, ORIGIN, stream=False).body["tool_choice"] == sent


def test_what_is_said_beside_a_result_follows_or_precedes_it() -> None:
    result, sent = (
        ToolResultPart("c", (TextPart("r"),)),
        {"type": "function_call_output", **OK, "output": "r"},
    )
    said = {"role": "user", "content": "a"}
    for parts, items in (((result, TextPart("a")), [sent, said]), ((TextPart("a"), result), [said, sent])):
        request = Request((Message("user", parts),), "m")
        assert encode_known(RESPONSES, request, ORIGIN, stream=False).body["input"] == items


def test_reasoning_of_another_protocol_binds_no_item_of_a_hosted_tool() -> None:
    search = {"type": "web_search_call", "id": "ws_1"}
    item = OpaquePart("web_search_call", search, role="call", origin=OWN)
    for origin, sent in ((FOREIGN, [search]), (OTHER, [])):
        turn = Message.assistant(ReasoningPart("Hm", encrypted="g", origin=origin), item)
        assert encode_known(RESPONSES, Request((turn,), "m"), ORIGIN, stream=False).body["input"] == sent


def test_a_document_by_url_where_urls_are_not_taken() -> None:
    request = Request((Message.user(FilePart(url="https://a.example/a.pdf")),), "m")
    with pytest.raises(UnsupportedError, match="never fetched"):
        body_of(ResponsesQuirks(file_urls=False), request)


# -- the other calls -----------------------------------------------------------------------------------------


def test_counting() -> None:
    request = Request(HI, "m", "S", options=Options(max_tokens=5, reasoning="low"))
    call = count_known(RESPONSES, request, ORIGIN)
    assert (call.method, call.path) == ("POST", "/responses/input_tokens")
    assert call.body == {**PLAIN, "instructions": "S", "reasoning": {"effort": "low"}}
    body = b'{"object": "response.input_tokens", "input_tokens": 11}'
    count = RESPONSES.decode_count(body)
    assert (count.input_tokens, count.raw) == (11, msgspec.json.decode(body))
    for broken in (b"<html>", b"[]", b'{"input_tokens": null}'):
        with pytest.raises(ProtocolError, match=r"no count|the count of tokens is not"):
            RESPONSES.decode_count(broken)
    with pytest.raises(UnsupportedError, match="no call that counts"):
        count_known(OpenAIResponses(ResponsesQuirks(counting=False)), request, ORIGIN)


def test_a_count_is_asked_with_every_field_that_the_api_takes_and_no_other() -> None:
    """The fields of the API reference's "Get input token counts"."""
    own = OpenAIResponsesOptions(
        conversation="c", previous_response_id="r", truncation="auto", store=False, metadata={"a": "b"}
    )
    request = Request(
        HI,
        "m",
        "S",
        (Tool("one", "Does one.", {"type": "object"}),),
        ToolChoice("none"),
        "json",
        Options(
            parallel_tool_calls=False, reasoning="low", max_tokens=5, temperature=0.5, provider_options=own
        ),
    )
    assert sorted(count_known(RESPONSES, request, ORIGIN).body) == [
        *("conversation", "input", "instructions", "model", "parallel_tool_calls", "previous_response_id"),
        *("reasoning", "text", "tool_choice", "tools", "truncation"),
    ]


def test_what_a_compaction_takes() -> None:
    compact = pytest.importorskip("openai.types.responses.response_compact_params")
    create = pytest.importorskip("openai.types.responses.response_create_params")
    takes = compact.ResponseCompactParams.__annotations__.keys()
    created = create.ResponseCreateParamsBase.__annotations__.keys() | {"stream"}
    call = compact_call(Call("/responses", {name: name for name in takes | created}))
    assert (call.method, call.path, call.body) == ("POST", "/responses/compact", {n: n for n in takes})
    # What every request of ours may have is no loss.
    assert {d.field for d in call.deviations} == created - takes - {"store", "include", "stream"}
    assert {d.outcome for d in call.deviations} == {"dropped"}


@pytest.mark.parametrize(
    ("page", "after"),
    [
        ({"data": [], "has_more": False}, None),
        ({"data": [{"id": "a"}], "has_more": False, "last_id": "a"}, None),
        ({"data": [{"id": "a"}], "has_more": True, "last_id": "b"}, "b"),
        ({"data": [{"id": "a"}, {"id": "c"}], "has_more": True}, "c"),
        ({"data": [], "has_more": True, "last_id": "b"}, "b"),
        ({"data": [], "has_more": True}, "does not say where"),
        ({"data": [{}], "has_more": True}, "does not say where"),
        ({"data": [{"id": "a"}], "has_more": True, "last_id": 5}, "does not say where"),
        ({"data": ["a"]}, "holds no items"),
        ({"data": {}}, "holds no items"),
        ({}, "holds no items"),
        ([], "the list of input items is not"),
    ],
)
def test_a_page_of_items_says_what_follows(page: Any, after: str | None) -> None:
    body = msgspec.json.encode(page)
    if after is None or " " not in after:
        assert decode_items(body) == (page["data"], after)
        return
    with pytest.raises(ProtocolError, match=after):
        decode_items(body)


def test_what_says_that_an_answer_was_deleted() -> None:
    for body in (b"", b" \n", b"{}", b'{"deleted": true}', b'{"deleted": null}'):
        check_deleted(body)
    for body, words in ((b'{"deleted": false}', "deleted nothing"), (b"[]", "the answer to a deletion")):
        with pytest.raises(ProtocolError, match=words):
            check_deleted(body)


def test_a_compaction_keeps_every_item() -> None:
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Ho"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "g"},
    ]
    answer = {"id": "r", "created_at": 1, "x": None, "output": items, "usage": {"input_tokens": 3}}
    made = decode_compaction(msgspec.json.encode(answer), ORIGIN)
    assert (made.id, made.extra, made.usage.input_tokens) == ("r", {"created_at": 1}, 3)
    (message,) = made.messages
    assert message.role == "assistant"
    assert [type(part) for part in message.content] == [OpaquePart, TextPart, OpaquePart, OpaquePart]
    assert [p.data for p in message.content if isinstance(p, OpaquePart)] == [items[0], *items[2:]]
    assert [p.kind for p in message.content if isinstance(p, OpaquePart)] == [
        "message",
        "reasoning",
        "compaction",
    ]
    assert all(part.origin == ORIGIN for part in message.content)
    for broken in ({}, {"output": {}}, {"output": ["a"]}):
        with pytest.raises(ProtocolError, match="no output"):
            decode_compaction(msgspec.json.encode(broken), ORIGIN)


def test_models() -> None:
    assert RESPONSES.models_call(None).path == "/models"
    models, cursor = RESPONSES.decode_models(b'{"data": [{"id": "m", "owned_by": "o"}]}', "p")
    assert [(m.id, m.owner, m.provider) for m in models] == [("m", "o", "p")]
    assert cursor is None


@pytest.mark.parametrize(
    ("make", "method", "path", "query"),
    [
        (partial(operations.retrieve_call, "r"), "GET", "", {}),
        (partial(operations.retrieve_call, "r", ("a", "b")), "GET", "", {"include[]": ("a", "b")}),
        (partial(operations.resume_call, "r", None), "GET", "", {"stream": "true"}),
        (
            partial(operations.resume_call, "r", 0, ("a",)),
            "GET",
            "",
            {"stream": "true", "starting_after": "0", "include[]": ("a",)},
        ),
        (partial(operations.delete_call, "r"), "DELETE", "", {}),
        (partial(operations.cancel_call, "r"), "POST", "/cancel", {}),
        (partial(operations.items_call, "r"), "GET", "/input_items", {}),
        (
            partial(operations.items_call, "r", order="asc", limit=3, include=("a",), after="i"),
            "GET",
            "/input_items",
            {"order": "asc", "limit": "3", "include[]": ("a",), "after": "i"},
        ),
    ],
)
def test_calls_for_a_stored_answer(
    make: Callable[[], Call], method: str, path: str, query: dict[str, Any]
) -> None:
    """`test_responses_operations.py`, which is slow, holds them to those of openai-python."""
    call = make()
    assert (call.method, call.path, call.query) == (method, f"/responses/r{path}", query)
    assert (call.body, call.content) == ({}, None)


# -- the decoder's own life ----------------------------------------------------------------------------------


def event(kind: str, **fields: Any) -> WireMessage:
    return WireMessage(msgspec.json.encode({"type": kind, **fields}))


def test_an_answer_ends_once() -> None:
    decoder = ResponsesDecoder(ORIGIN)
    decoder.feed(event("response.created", response={"id": "r", "model": "m-1"}, sequence_number=0))
    decoder.feed(
        event("response.output_text.delta", output_index=0, content_index=0, delta="A", sequence_number=4)
    )
    assert decoder.sequence == 4
    assert decoder.partial().text == "A"
    assert decoder.partial().finish_reason == "pending"
    with pytest.raises(StreamInterrupted) as cut:
        decoder.finish()
    assert cut.value.partial is not None
    assert cut.value.partial.text == "A"
    ended = decoder.feed(event("response.completed", response={"status": "completed"}))
    assert isinstance(ended[-1], ResponseEnd)
    assert decoder.ended
    assert decoder.feed(event("response.output_text.delta", output_index=0, delta="B")) == []
    assert decoder.finish(False) == []


# An annotation as the services send it, and the citation that it becomes.
CITED: tuple[tuple[dict[str, Any], Citation], ...] = (
    (
        {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 7},
        Citation("https://a", "A", start=0, end=7),
    ),
    (
        {"type": "file_citation", "file_id": "f", "filename": "F", "index": 3},
        Citation(title="F", start=3, source="f"),
    ),
    ({"title": "T", "filename": "F", "start_index": 1, "index": 2}, Citation(title="T", start=1)),
    ({"url": 5, "title": "", "start_index": "1", "end_index": 1.5, "file_id": None}, Citation(title=None)),
)


@pytest.mark.parametrize(("given", "made"), CITED)
def test_an_annotation_is_a_citation(given: dict[str, Any], made: Citation) -> None:
    item = {"type": "message", "content": [{"type": "output_text", "text": "A", "annotations": [given]}]}
    decoder = ResponsesDecoder(ORIGIN)
    decoder.feed(event("response.completed", response={"id": "r", "status": "completed", "output": [item]}))
    (cited,) = decoder.partial().citations
    assert msgspec.structs.replace(cited, raw=None) == made and cited.raw == given


@pytest.mark.parametrize("id", ["a", "b"], ids=["of its id", "at its place"])
def test_an_item_that_gives_way_to_another_is_ended_before_it(id: str) -> None:
    decoder = ResponsesDecoder(ORIGIN)
    decoder.feed(event("response.created", response={"id": "r"}))
    decoder.feed(event("response.output_item.added", output_index=0, item={"type": "message", "id": "a"}))
    decoder.feed(
        event("response.output_text.delta", output_index=0, item_id="a", content_index=0, delta="Hm")
    )
    done = {"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": "S"}]}
    given = decoder.feed(event("response.output_item.done", output_index=0, item=done))
    assert [type(each) for each in given] == [PartEnd, PartStart, ReasoningDelta, PartEnd]
    assert given[0].part.text == "Hm" and given[-1].part.text == "S"  # type: ignore[union-attr]


def test_a_partial_is_a_moment() -> None:
    """What comes later does not change it."""
    decoder = ResponsesDecoder(ORIGIN)
    decoder.feed(event("response.created", response={"id": "r", "metadata": {"a": "1"}}))
    before = decoder.partial()
    decoder.feed(event("response.in_progress", response={"id": "r", "metadata": {"a": "2"}}))
    assert (before.extra, decoder.partial().extra) == ({"metadata": {"a": "1"}}, {"metadata": {"a": "2"}})


def test_a_failure_ends_the_answer() -> None:
    """A late `response.failed` after an `error` says nothing new."""
    decoder = ResponsesDecoder(ORIGIN)
    with pytest.raises(Exception, match="it broke") as raised:
        decoder.feed(event("error", code="server_error", message="it broke"))
    assert raised.value.body == {"type": "error", "code": "server_error", "message": "it broke"}  # type: ignore[attr-defined]
    assert raised.value.type is None  # type: ignore[attr-defined]
    assert decoder.ended
    late = {"status": "failed", "error": {"code": "server_error", "message": "it broke"}}
    assert decoder.feed(event("response.failed", response=late)) == []


@pytest.mark.parametrize("told", [{"output": []}, {}], ids=["with a list", "without one"])
@pytest.mark.parametrize("error", [{"code": "server_error", "message": "it broke"}, None])
def test_a_response_that_failed_is_told_with_what_had_arrived(
    told: dict[str, Any], error: dict[str, Any] | None
) -> None:
    response = {"id": "r", "model": "m-1", "status": "failed", "error": error, "metadata": {"a": "b"}, **told}
    for is_whole in (False, True):
        decoder = ResponsesDecoder(ORIGIN)
        with pytest.raises(APIError) as raised:
            if is_whole:
                decoder.feed_whole(msgspec.json.encode(response))
            else:
                decoder.feed(event("response.failed", response=response))
        failure = raised.value
        told_error = error or {"message": "the response failed, and does not say why"}
        assert (failure.message, failure.code) == (told_error["message"], told_error.get("code"))
        assert (failure.body, failure.provider, failure.model) == ({"error": told_error}, "p", "m")
        partial = failure.partial
        assert partial is not None and (partial.id, partial.model) == ("r", "m-1")
        assert partial.extra.get("metadata") == {"a": "b"} and "error" not in partial.extra


@pytest.mark.parametrize(
    ("fields", "reason", "raw"),
    [
        ({"status": "completed"}, "stop", "completed"),
        ({"status": "completed", "incomplete_details": {"reason": "content_filter"}}, "stop", "completed"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length",
         "max_output_tokens"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter",
         "content_filter"),
        ({"status": "incomplete", "incomplete_details": {"reason": "odd"}}, "other", "odd"),
        ({"status": "incomplete", "incomplete_details": {}}, "other", "incomplete"),
        ({"status": "incomplete", "incomplete_details": None}, "other", "incomplete"),
        ({"status": "cancelled"}, "other", "cancelled"),
        ({"status": "queued"}, "pending", "queued"),
        ({"status": "in_progress"}, "pending", "in_progress"),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "length", "max_output_tokens"),
        ({}, "stop", None),
    ],
)  # fmt: skip
def test_why_an_answer_ended(fields: dict[str, Any], reason: str, raw: str | None) -> None:
    """`Response.status` and `IncompleteDetails.reason` of openai-python."""
    body = msgspec.json.encode({"id": "r", "output": [], **fields})
    response = collect(ResponsesDecoder(ORIGIN).feed_whole(body))
    assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)


def test_an_annotation_belongs_to_the_piece_that_it_names() -> None:
    note = {"type": "url_citation", "url": "https://a"}
    decoder = ResponsesDecoder(ORIGIN)
    kind = "response.output_text.annotation.added"
    assert decoder.feed(event(kind, output_index=0, annotation=note))[1:] == [
        OpaqueDelta(None, "citation", note)
    ]
    for place in range(2):
        decoder.feed(event("response.created", response={"id": "r"}))
        decoder.feed(event("response.output_text.delta", output_index=0, content_index=place, delta="A"))
    for fields, index in (
        ({"content_index": 1}, 1),
        ({"content_index": 0}, 0),
        ({}, 0),
        ({"content_index": 2}, None),
    ):
        assert decoder.feed(event(kind, output_index=0, annotation=note, **fields)) == [
            OpaqueDelta(index, "citation", note)
        ]


def test_the_encoder_leaves_the_request_alone() -> None:
    part = OpaquePart("item", {"type": "item", "a": [1]})
    request = Request((Message.assistant(part),), "m", tools=(Tool("f", "", {}),))
    sent = OpenAIResponses().encode(request, ORIGIN, stream=True).body["input"][0]
    sent["b"] = 2
    assert part.data == {"type": "item", "a": [1]}


@pytest.mark.parametrize(
    ("status", "is_complete"), [("completed", True), ("queued", False), ("in_progress", False)]
)
def test_the_usage_of_a_pending_answer_is_not_complete(status: str, is_complete: bool) -> None:
    counts = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    body = {"id": "r", "status": status, "output": [], "usage": counts}
    usage = collect(ResponsesDecoder(ORIGIN).feed_whole(msgspec.json.encode(body))).usage
    assert (usage.total_tokens, usage.complete) == (5, is_complete)
