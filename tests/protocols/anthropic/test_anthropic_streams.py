"""Messages, streamed: cut anywhere, refused in the middle, and anything at all."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anthropic_answers import (
    BLOCKS,
    CALL,
    CITED,
    FOUND,
    ORIGIN,
    SEARCH,
    block,
    feed,
    stream,
    wire,
)
from anthropic_requests import assistant_blocks
from brainwires_provider.errors import (
    APIError,
    ContextLengthError,
    InvalidRequestError,
    OverloadedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
)
from brainwires_provider.events import Event, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.anthropic.errors import decode_error
from brainwires_provider.protocols.anthropic.response import EVENTS, AnthropicDecoder
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import OpaquePart, TextPart, dump_messages, load_messages
from decoder_fuzz import check_grammar

# -- cut, and refused ----------------------------------------------------------------------------------------

RICH = stream(
    {"type": "ping"},
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm \u2028 ü"},
        {"type": "signature_delta", "signature": "sig=="},
    ),
    *block(1, {"type": "redacted_thinking", "data": "x=="}),
    *block(
        2,
        {"type": "text", "text": "", "citations": []},
        {"type": "text_delta", "text": "Hé"},
        {"type": "citations_delta", "citation": CITED[3]},
        {"type": "text_delta", "text": "llo 😀"},
    ),
    *block(3, {**SEARCH, "input": {}}, {"type": "input_json_delta", "partial_json": '{"query": "q"}'}),
    *block(4, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [FOUND]}),
    *block(
        5,
        {**CALL, "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"a":'},
        {"type": "input_json_delta", "partial_json": " [1, null]}"},
    ),
    stop="tool_use",
)
SPLIT = {
    "crlf": wire(RICH).replace(b"\n", b"\r\n"),
    "lf": wire(RICH),
    "no names": b"".join(b"data:" + msgspec.json.encode(e) + b"\n\n" for e in RICH),
}


def outcome(chunks: list[bytes]) -> list[Event]:
    decoder, framing = AnthropicDecoder(ORIGIN), SSEFraming()
    events = [e for chunk in chunks for m in framing.feed(chunk) for e in decoder.feed(m)]
    return events + decoder.finish()


@pytest.mark.parametrize("name", SPLIT)
@pytest.mark.many
def test_a_stream_is_the_same_at_every_split_point(name: str) -> None:
    data = SPLIT[name]
    events = outcome([data])
    assert len(collect(events).message.content) == 6
    for at in range(1, len(data)):
        assert outcome([data[:at], data[at:]]) == events
    assert outcome([data[i : i + 1] for i in range(len(data))]) == events


def test_a_cut_stream_keeps_what_had_arrived_at_every_event() -> None:
    full = collect(feed(RICH))
    for count in range(len(RICH) - 1):
        decoder = AnthropicDecoder(ORIGIN)
        for told in RICH[:count]:
            decoder.feed(WireMessage(msgspec.json.encode(told)))
        with pytest.raises(StreamInterrupted) as cut:
            decoder.finish()
        partial = cut.value.partial
        assert partial is not None and partial.finish_reason == "pending" and not partial.usage.complete
        for part, final in zip(partial.message.content, full.message.content, strict=False):
            assert type(part) is type(final)
            text = getattr(part, "text", None)
            assert text is None or getattr(final, "text", "").startswith(text)
    assert partial is not None and partial.message == full.message


def test_a_partial_is_a_moment() -> None:
    """What comes later does not change it."""
    decoder = AnthropicDecoder(ORIGIN)
    first, second = (
        WireMessage(msgspec.json.encode({"type": "content_block_delta", "index": 0, "delta": d}))
        for d in ({"type": "odd_delta", "n": 1}, {"type": "odd_delta", "n": 2})
    )
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "odd"}}
    decoder.feed(WireMessage(msgspec.json.encode(start)))
    decoder.feed(first)
    before = decoder.partial()
    decoder.feed(second)
    assert [
        p.data for r in (before, decoder.partial()) for p in r.message.content if isinstance(p, OpaquePart)
    ] == [
        {"type": "odd", "n": 1},
        {"type": "odd", "n": 2},
    ]


@pytest.mark.parametrize(
    ("kind", "message", "error"),
    [
        ("overloaded_error", "Overloaded", OverloadedError),
        ("api_error", "Internal server error", ServerError),
        ("rate_limit_error", "Slow down", RateLimitError),
        ("invalid_request_error", "messages: no", InvalidRequestError),
        ("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", ContextLengthError),
    ],
)
def test_an_error_in_a_stream_under_200_and_as_a_decode_error(
    kind: str, message: str, error: type[APIError]
) -> None:
    told = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    decoder = AnthropicDecoder(ORIGIN)
    for event in stream(*block(0, {"type": "text", "text": "A"}))[:3]:
        decoder.feed(WireMessage(msgspec.json.encode(event)))
    with pytest.raises(error) as streamed:
        decoder.feed(WireMessage(msgspec.json.encode(told), "error"))
    assert streamed.value.partial is not None and streamed.value.partial.text == "A"
    assert decoder.ended and decoder.finish() == []
    with pytest.raises(error) as answered:
        AnthropicDecoder(ORIGIN).feed_whole(msgspec.json.encode(told))
    refused = decode_error(
        Reply(400 if error is InvalidRequestError else 0, {}, msgspec.json.encode(told), 0)
    )
    for each in (streamed.value, answered.value, refused):
        assert type(each) is error
        assert (each.type, each.message, each.request_id, each.body) == (kind, message, "req_1", told)


def test_an_error_says_whose_it_is() -> None:
    for told in ({"type": "error", "error": {"message": "no"}}, {"type": "error"}, {"error": "no"}):
        data = msgspec.json.encode(told)
        for fail in (
            lambda d, data: d.feed(WireMessage(data)),
            lambda d, data: d.feed(WireMessage(data, "error")),
            lambda d, data: d.feed_whole(data),
        ):
            decoder = AnthropicDecoder(ORIGIN)
            with pytest.raises(APIError) as caught:
                fail(decoder, data)
            error = caught.value
            assert (error.provider, error.model, error.body) == ("anthropic", "claude-x", told)
            assert error.partial is not None
            assert decoder.ended and decoder.feed(WireMessage(data)) == decoder.finish() == []
            if told == {"type": "error"}:
                assert error.message == "the provider reports an error without a message"


@pytest.mark.parametrize(
    ("body", "request_id", "code"),
    [
        ({"error": {"message": "no"}, "request_id": "req_b"}, "req_b", None),
        ({"error": {"message": "no"}, "request_id": ""}, None, None),
        ({"error": {"message": "no"}, "request_id": 3}, None, None),
        ({"error": {"message": "no", "details": {"error_code": "credits_out"}}}, None, "credits_out"),
        ({"error": {"message": "no", "code": "c", "details": {"error_code": "d"}}}, None, "c"),
        ({"error": {"message": "no", "details": None}}, None, None),
    ],
)
def test_the_id_and_the_code_of_an_error(
    body: dict[str, Any], request_id: str | None, code: str | None
) -> None:
    refused = decode_error(Reply(400, {}, msgspec.json.encode(body), 0))
    with pytest.raises(APIError) as caught:
        feed([body])
    for error in (refused, caught.value):
        assert (error.request_id, error.code) == (request_id, code)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"type":"error","content":null}', APIError),
        (b'{"error":"no"}', APIError),
        (b'{"message":"no"}', APIError),
        (b'{"message":"no","id":"m"}', ProtocolError),
        (b'{"type":"message"}', ProtocolError),
    ],
)
def test_a_body_without_content_is_an_error_or_no_answer(body: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        AnthropicDecoder(ORIGIN).feed_whole(body)


def test_errors_in_other_shapes() -> None:
    with pytest.raises(APIError, match="upstream"):
        feed([{"error": {"message": "upstream"}}])
    with pytest.raises(APIError, match="without a message"):
        feed([{"type": "error"}])
    with pytest.raises(APIError, match="no such model"):
        AnthropicDecoder(ORIGIN).feed_whole(b'{"message":"no such model"}')
    assert decode_error(Reply(502, {}, b"<html>", 0)).request_id is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "text", "a", "\ud83d", "error"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "id", "usage", "input", "delta", "message", "citations", "index"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)
EVENT = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    st.sampled_from([*EVENTS, "odd"]),
    st.fixed_dictionaries(
        {},
        optional={
            "message": ANYTHING,
            "index": st.integers(0, 1),
            "content_block": ANYTHING | st.sampled_from([b for b, _ in BLOCKS]),
            "delta": ANYTHING
            | st.sampled_from([e["delta"] for e in RICH if e["type"] == "content_block_delta"]),
            "usage": ANYTHING,
        },
    ),
)


@pytest.mark.many
def test_any_events_are_a_response_or_a_typed_error() -> None:
    outcomes: set[str] = set()

    @settings(max_examples=200, deadline=None)
    @example(RICH)
    @given(st.lists(EVENT, max_size=8))
    def check(told: list[dict[str, Any]]) -> None:
        decoder, events = AnthropicDecoder(ORIGIN), []
        try:
            for event in told:
                events += decoder.feed(WireMessage(json.dumps(event).encode()))
            events += decoder.finish()
        except ProviderError as error:
            check_grammar(events, whole=False)
            answer = decoder.partial().message
            outcomes.add(type(error).__name__)
        else:
            check_grammar(events, whole=True)
            answer = collect(events).message
            assert answer == decoder.partial().message
            blocks, reasons = assistant_blocks(answer, ORIGIN, 1)
            assert bool(blocks or reasons) >= any(
                part.text for part in answer.content if type(part) is TextPart
            )
            outcomes.add("read")
        assert load_messages(dump_messages([answer])) == [answer]

    check()
    assert {"read", "ProtocolError", "StreamInterrupted"} <= outcomes
