"""Messages and Converse side by side: copies of a start, junk, histories that must dump, costs, thinking tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from anthropic_answers import ORIGIN, START, block, feed, stream, whole
from brainwires_provider.errors import ProtocolError
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    PartEnd,
    PartStart,
    ResponseEnd,
    ResponseStart,
    collect,
)
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.anthropic import AnthropicMessages
from brainwires_provider.protocols.bedrock import BedrockConverse
from brainwires_provider.types import (
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    ReasoningPart,
    Request,
    Response,
    TextPart,
    dump_messages,
    load_messages,
)
from known import encode_known
from work import is_in_proportion

CONVERSE, MESSAGES = BedrockConverse(), AnthropicMessages()
CONVERSE_ORIGIN = Origin("bedrock_converse", "bedrock", "m")
HELLO = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello"})
Frame = tuple[str, dict[str, Any]]
TEXT: list[Frame] = [
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
]
BEGIN: Frame = ("messageStart", {"role": "assistant"})
STOP: Frame = ("messageStop", {"stopReason": "end_turn"})
COST: Frame = ("metadata", {"usage": {"inputTokens": 5, "outputTokens": 9, "totalTokens": 14}})


def converse(*frames: Frame) -> list[Event]:
    decoder = CONVERSE.decoder(CONVERSE_ORIGIN)
    events: list[Event] = []
    for kind, payload in frames:
        events += decoder.feed(WireMessage(msgspec.json.encode(payload), kind))
    return events if decoder.ended else events + decoder.finish()


def converse_whole(**fields: Any) -> Response:
    body = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn", **fields}
    return collect(CONVERSE.decoder(CONVERSE_ORIGIN).feed_whole(msgspec.json.encode(body)))


def is_grammatical(events: list[Event]) -> bool:
    """`ResponseStart (PartStart Delta* PartEnd)* ResponseEnd`, parts interleaved or not."""
    open_parts: set[int] = set()
    for number, event in enumerate(events):
        if isinstance(event, ResponseStart) is not (number == 0):
            return False
        if isinstance(event, ResponseEnd) is not (number == len(events) - 1):
            return False
        match event:
            case PartStart(index=index):
                open_parts.add(index)
            case PartEnd(index=index):
                open_parts.remove(index)
            case ResponseStart() | ResponseEnd():
                pass
            case _:
                if event.index is not None and event.index not in open_parts:
                    return False
    return not open_parts


# -- a start that comes twice --------------------------------------------------------------------------------


def test_a_second_start_with_the_same_id_is_ignored() -> None:
    start, *rest = stream(*HELLO)
    events = feed([start, start, *rest])
    assert is_grammatical(events)
    assert collect(events).text == "Hello"
    opened = feed([start, HELLO[0], start, *HELLO[1:], *rest[len(HELLO) :]])
    assert is_grammatical(opened)
    assert collect(opened).text == "Hello"
    twice = converse(BEGIN, BEGIN, *TEXT, STOP, COST)
    assert is_grammatical(twice)
    assert collect(twice).text == "Hello"


@pytest.mark.parametrize("late", [False, True])
def test_a_second_start_of_another_message_is_an_error_with_the_partial(late: bool) -> None:
    start, *rest = stream(*HELLO)
    other = {"type": "message_start", "message": {**START, "id": "msg_2"}}
    events = [start, *HELLO, start if late else other] if late else [start, *HELLO[:2], other]
    with pytest.raises(ProtocolError, match="second message_start") as raised:
        feed(events)
    assert raised.value.partial is not None
    assert raised.value.partial.text == "Hello"
    with pytest.raises(ProtocolError, match="second messageStart"):
        converse(BEGIN, *TEXT, BEGIN)
    assert rest


ENDED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([], "before any message_start"),
        ([{"type": "ping"}], "before any message_start"),
        ([ENDED], "before any message_start"),
        ([{"type": "message_start", "message": START}], "without any content and without a stop_reason"),
        (
            [{"type": "message_start", "message": START}, {"type": "message_delta", "delta": {}}],
            "without any content and without a stop_reason",
        ),
    ],
)
def test_a_stop_after_nothing_is_no_answer(events: list[dict[str, Any]], says: str) -> None:
    """Anthropic's SDK refuses every event before message_start."""
    with pytest.raises(ProtocolError, match=f"message_stop came {says}"):
        feed([*events, {"type": "message_stop"}])


def test_an_answer_may_be_empty_or_without_its_start() -> None:
    start, stop = {"type": "message_start", "message": START}, {"type": "message_stop"}
    assert collect(feed([start, ENDED, stop])).message.content == ()
    assert collect(feed([*HELLO, ENDED, stop])).text == "Hello"
    assert collect(feed([*HELLO, stop])).text == "Hello"


# -- what was decoded can be dumped, loaded and sent again ---------------------------------------------------

ODD_BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Hm", "signature": odd} for odd in ({}, [], 0, False)
]
ODD_BLOCKS += [
    {"type": "text", "text": "a", "citations": {}},
    {"type": "tool_use", "id": {}, "name": "f", "input": {}},
]


@pytest.mark.parametrize("odd", ODD_BLOCKS)
def test_odd_blocks_do_not_poison_the_history(odd: dict[str, Any]) -> None:
    message = whole(odd, {"type": "text", "text": "Hello"}).message
    (loaded,) = load_messages(dump_messages([message]))
    assert loaded == message
    encode_known(
        MESSAGES, Request((Message.user("Hi"), loaded, Message.user("Go on")), "m"), ORIGIN, stream=False
    )


@pytest.mark.parametrize(
    ("start", "delta"),
    [
        ({"type": "thinking", "thinking": ""}, {"type": "signature_delta", "signature": {}}),
        (
            {"type": "tool_use", "id": "c", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": 5},
        ),
        (
            {"type": "server_tool_use", "id": "c", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": 5},
        ),
        ({"type": "novel", "text": {}}, {"type": "text_delta", "text": "a"}),
    ],
)
def test_fragments_of_another_type_are_a_protocol_error(start: dict[str, Any], delta: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as raised:
        feed(stream(*block(0, start, delta)))
    assert raised.value.partial is not None
    dump_messages([raised.value.partial.message])


@pytest.mark.parametrize("extra", [None, {}, {"image": 5}, {"a": {}, "b": {}}])
def test_own_media_without_its_block_are_sent_by_their_media_type(extra: dict[str, Any] | None) -> None:
    image = ImagePart(data=b"x", media_type="image/png", extra=extra, origin=CONVERSE_ORIGIN)
    request = Request((Message.user("Hi"), Message("assistant", (image,))), "m")
    sent = encode_known(CONVERSE, request, CONVERSE_ORIGIN, stream=False).body["messages"][1]["content"][0][
        "image"
    ]
    assert (sent["format"], sent["source"]) == ("png", {"bytes": "eA=="})


def test_invalid_utf8_becomes_replacement_characters() -> None:
    body = b'{"content":[{"type":"text","text":"a\xffb"}]}'
    response = collect(MESSAGES.decoder(ORIGIN).feed_whole(body))
    assert response.text == "a\ufffdb"
    dump_messages([response.message])
    start, delta = (
        WireMessage(b'{"role":"assistant"}', "messageStart"),
        b'{"contentBlockIndex":0,"delta":{"text":"a\xffb"}}',
    )
    decoder = CONVERSE.decoder(CONVERSE_ORIGIN)
    decoder.feed(start)
    decoder.feed(WireMessage(delta, "contentBlockDelta"))
    assert decoder.partial().text == "a\ufffdb"


@pytest.mark.parametrize("depth", [150, 700, 100_000])
def test_deep_nesting_is_a_response_or_a_protocol_error(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    whole_bodies = (
        b'{"content":[{"type":"tool_use","id":"c","name":"f","input":{"d":%s}}]}' % deep,
        b'{"output":{"message":{"content":[{"toolUse":{"toolUseId":"c","name":"f","input":{"d":%s}}}]}}}'
        % deep,
    )
    streamed = (
        (MESSAGES, ORIGIN, WireMessage(b'{"type":"message_start","message":{"x":%s}}' % deep)),
        (CONVERSE, CONVERSE_ORIGIN, WireMessage(b'{"role":"assistant","x":%s}' % deep, "messageStart")),
        (MESSAGES, ORIGIN, WireMessage(b'{"type":"message_start","message":{"id":"\\ud800","x":%s}}' % deep)),
        (CONVERSE, CONVERSE_ORIGIN, WireMessage(b'{"role":"\\ud800","x":%s}' % deep, "messageStart")),
    )
    for body, protocol, origin in zip(
        whole_bodies, (MESSAGES, CONVERSE), (ORIGIN, CONVERSE_ORIGIN), strict=True
    ):
        with_error_or_not(lambda: protocol.decoder(origin).feed_whole(body))
    for protocol, origin, message in streamed:
        with_error_or_not(lambda: protocol.decoder(origin).feed(message))


def with_error_or_not(decode: Any) -> None:
    try:
        decode()
    except ProtocolError as error:
        assert "nested too deeply" in str(error) or "shape" in str(error)


# -- grammar -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [
        [BEGIN, STOP, *TEXT, COST],
        [BEGIN, STOP, TEXT[0], COST],
        [STOP, TEXT[0]],
        [
            BEGIN,
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": {"title": "t"}}}),
            STOP,
            COST,
        ],
        [COST, BEGIN, TEXT[0], STOP],
    ],
)
def test_the_grammar_holds_in_any_order(frames: list[Frame]) -> None:
    events = converse(*frames)
    assert is_grammatical(events)
    assert collect(events).text in ("Hello", "")


def test_parts_after_the_stop_are_kept() -> None:
    assert collect(converse(BEGIN, STOP, *TEXT, COST)).text == "Hello"


# -- cost ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["BBBB", {"a": 1}, 5])
def test_content_that_is_no_list_is_an_error(content: Any) -> None:
    with pytest.raises(ProtocolError):
        converse_whole(output={"message": {"role": "assistant", "content": content}})


def test_what_is_no_object_is_no_part() -> None:
    ones = [1, None, "x", [1]]
    assert whole(*ones, {"type": "text", "text": "Hello"}).message.content == (
        TextPart("Hello", origin=whole({"type": "text", "text": ""}).message.content[0].origin),
    )
    message = {"role": "assistant", "content": [*ones, {"text": "Hello"}]}
    assert converse_whole(output={"message": message}).message.content == (
        TextPart("Hello", origin=CONVERSE_ORIGIN),
    )
    assert collect(feed(stream(*block(0, 5), *block(1, {"type": "text", "text": "Hello"})))).text == "Hello"


def cited(count: int) -> None:
    delta = {"type": "citations_delta", "citation": {"type": "x", "cited_text": "y"}}
    feed(stream(*block(0, {"type": "text", "text": "a"}, *[delta] * count)))


def opaque(count: int) -> None:
    feed(stream(*block(0, {"type": "novel"}, *[{"type": "text_delta", "text": "x" * 50}] * count)))


def redacted(count: int) -> None:
    piece = {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "AAAA" * 10}}}
    converse(BEGIN, *[("contentBlockDelta", piece)] * count, STOP, COST)


def pictured(count: int) -> None:
    piece = {"contentBlockIndex": 0, "delta": {"image": {"source": {"bytes": "AAAA" * 10}}}}
    converse(BEGIN, *[("contentBlockDelta", piece)] * count, STOP, COST)


@pytest.mark.parametrize("case", [cited, opaque, redacted, pictured])
def test_many_fragments_are_work_in_proportion(case: Callable[[int], None]) -> None:
    fits, small, large = is_in_proportion(case, 500)
    assert fits, (small, large)


def test_citations_stream_into_the_partial_and_the_part() -> None:
    decoder = MESSAGES.decoder(ORIGIN)
    source = {"type": "x", "cited_text": "y"}
    events = stream(
        *block(
            0,
            {"type": "text", "text": "a"},
            {"type": "citations_delta", "citation": source},
            {"type": "text_delta", "text": "b"},
        )
    )
    for event in events[:4]:
        decoder.feed(WireMessage(msgspec.json.encode(event)))
    (part,) = decoder.partial().message.content
    assert isinstance(part, TextPart)
    assert (part.text, [c.quote for c in part.citations]) == ("ab", ["y"])
    assert collect(feed(events)).citations == part.citations


def test_redacted_pieces_are_in_the_partial() -> None:
    decoder = CONVERSE.decoder(CONVERSE_ORIGIN)
    for piece in ("AAAA", "BBBB"):
        delta = {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": piece}}}
        decoder.feed(WireMessage(msgspec.json.encode(delta), "contentBlockDelta"))
    (part,) = decoder.partial().message.content
    assert isinstance(part, ReasoningPart)
    assert (part.encrypted, part.redacted) == ("AAAABBBB", True)


WEB = {"location": {"web": {"url": "https://example.com"}}}
SERVER = {"toolUseId": "t", "name": "n", "type": "server_tool_use"}
RESULT = {"toolUseId": "t", "type": "x", "status": "success"}
GROWING: dict[str, tuple[Any, list[Any], list[tuple[str, Any]], dict[str, Any]]] = {
    "a text": (
        None,
        [{"citation": WEB}, {"text": "a"}, {"citation": WEB}],
        [("citation", WEB), ("citation", WEB)],
        {"text": "a"},
    ),
    "reasoning": (
        None,
        [{"reasoningContent": each} for each in ({"text": "a", "mood": {"a": [1]}}, {"mood": {"a": [2]}})]
        + [{"reasoningContent": {"signature": each}} for each in "st"],
        [("mood", {"a": [1]}), ("mood", {"a": [2]}), ("signature", "s"), ("signature", "t")],
        {"text": "a", "signature": "st", "extra": {"mood": {"a": [1, 2]}}},
    ),
    "redacted reasoning": (
        None,
        [{"reasoningContent": {"redactedContent": "AAAA"}}],
        [("redactedContent", "AAAA")],
        {"text": "", "encrypted": "AAAA", "redacted": True},
    ),
    "a server's call": (
        {"toolUse": SERVER},
        [{"toolUse": {"input": '{"a":'}}, {"toolUse": {"input": "1}"}}],
        [("toolUse", {"input": '{"a":'}), ("toolUse", {"input": "1}"})],
        {"data": {"toolUse": {**SERVER, "input": {"a": 1}}}, "id": "t", "name": "n", "role": "call"},
    ),
    "a server's result": (
        {"toolResult": RESULT},
        [{"toolResult": [{"text": "a"}]}, {"toolResult": [{"text": "b"}, {"json": {}}]}],
        [("toolResult", [{"text": "a"}]), ("toolResult", [{"text": "b"}, {"json": {}}])],
        {
            "data": {"toolResult": {**RESULT, "content": [{"text": "ab"}, {"json": {}}]}},
            "id": "t",
            "role": "result",
        },
    ),
    "an image": (
        {"image": {"format": "png"}},
        [{"image": {"source": {"bytes": "AAEC"}}}, {"image": {"source": {"bytes": "Aw=="}, "mood": 1}}],
        [("image", {"source": {"bytes": "AAEC"}}), ("image", {"source": {"bytes": "Aw=="}, "mood": 1})],
        {"data": b"\0\1\2\3", "media_type": "image/png", "extra": {"image": {"format": "png", "mood": 1}}},
    ),
    "a novel one": (
        {"novel": {"a": "x", "c": 1}},
        [{"novel": {"a": "y"}}, {"novel": {"b": [1]}}, {"novel": {"a": "xyz", "b": [1, 2], "c": None}}],
        [("novel", {"a": "y"}), ("novel", {"b": [1]}), ("novel", {"a": "xyz", "b": [1, 2], "c": None})],
        {"kind": "novel", "data": {"novel": {"a": "xyxyz", "b": [1, 1, 2], "c": None}}},
    ),
}
"""By the kind of a block: its start, its deltas, those of them that are no text, and the part's fields."""


@pytest.mark.parametrize("kind", GROWING)
def test_a_block_of_converse_grows(kind: str) -> None:
    """A part that was shown stays as it was, and every delta that is no text is passed on."""
    start, deltas, told, fields = GROWING[kind]
    decoder = CONVERSE.decoder(CONVERSE_ORIGIN)
    frames = [("contentBlockStart", {"start": start})] if start else []
    frames += [("contentBlockDelta", {"delta": delta}) for delta in deltas]
    frames.append(("contentBlockStop", {}))
    events: list[Event] = []
    shown: list[tuple[Response, str]] = []
    for name, frame in frames:
        wire = msgspec.json.encode({"contentBlockIndex": 0, **frame})
        events += decoder.feed(WireMessage(wire, name))
        shown.append((decoder.partial(), repr(decoder.partial().message)))
    passed = [(each.index, each.kind, each.data) for each in events if isinstance(each, OpaqueDelta)]
    assert passed == [(0, *each) for each in told]
    (part,) = decoder.partial().message.content
    assert {name: getattr(part, name) for name in fields} == fields
    assert part.origin == CONVERSE_ORIGIN
    assert all(repr(partial.message) == then for partial, then in shown)


# -- usage ---------------------------------------------------------------------------------------------------

THOUGHT = {"additionalModelResponseFields": {"usage": {"output_tokens_details": {"thinking_tokens": 6}}}}
USAGE = {"inputTokens": 5, "outputTokens": 9, "totalTokens": 14}


def test_thinking_tokens_that_were_asked_for_are_counted() -> None:
    for response in (
        converse_whole(usage=USAGE, **THOUGHT),
        collect(converse(BEGIN, *TEXT, ("messageStop", {"stopReason": "end_turn", **THOUGHT}), COST)),
    ):
        assert (response.usage.reasoning, response.usage.output_text, response.usage.total_tokens) == (
            6,
            3,
            14,
        )


@pytest.mark.parametrize(
    "fields",
    [5, {"usage": 5}, {"usage": {"output_tokens_details": 5}}, {"usage": {"output_tokens_details": {}}}],
)
def test_other_fields_of_the_model_are_no_counts(fields: Any) -> None:
    assert converse_whole(usage=USAGE, additionalModelResponseFields=fields).usage.reasoning == 0


@pytest.mark.parametrize(
    "use", [{"input": {}}, [], 5, None, {"name": []}, {"name": {}, "type": "server_tool_use"}]
)
def test_a_call_without_a_name_does_not_poison_the_history(use: Any) -> None:
    answer = converse_whole(output={"message": {"role": "assistant", "content": [{"toolUse": use}]}}).message
    history = (Message.user("Hi"), answer, Message.user("And?"))
    CONVERSE.encode(Request(history, "m"), CONVERSE_ORIGIN, stream=False)


def test_an_opaque_part_is_still_sent_as_it_came() -> None:
    data = {"type": "novel", "text": "ab"}
    events = stream(
        *block(0, {"type": "novel"}, {"type": "text_delta", "text": "a"}, {"type": "text_delta", "text": "b"})
    )
    (part,) = collect(feed(events)).message.content
    assert isinstance(part, OpaquePart)
    assert part.data == data
