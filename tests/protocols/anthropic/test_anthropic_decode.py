"""Messages, read: the wire's whole vocabulary, blocks that grow, and what services get wrong."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from anthropic_answers import (
    BLOCKS,
    CALL,
    CITED,
    MADE,
    ORIGIN,
    SEARCH,
    START,
    USAGE,
    block,
    feed,
    only,
    stream,
    whole,
)
from anthropic_requests import assistant_blocks
from brainwires_provider.errors import (
    ProtocolError,
)
from brainwires_provider.events import OpaqueDelta, PartEnd, PartStart, ResponseEnd, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.anthropic.parts import decode_citation, decode_part
from brainwires_provider.protocols.anthropic.response import EVENTS, AnthropicDecoder, usage_of
from brainwires_provider.types import (
    Citation,
    OpaquePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    dump_messages,
    load_messages,
)

# -- the whole vocabulary ------------------------------------------------------------------------------------


def literals(union: Any) -> set[str]:
    """The words that tell the members of one of the anthropic package's unions apart."""
    if typing.get_origin(union) is typing.Annotated:
        union = typing.get_args(union)[0]
    return {
        word for m in typing.get_args(union) for word in typing.get_args(m.model_fields["type"].annotation)
    }


def test_every_event_of_the_anthropic_package_is_known() -> None:
    beta = pytest.importorskip("anthropic.types.beta")
    assert set(EVENTS) - literals(beta.BetaRawMessageStreamEvent) == {"ping", "error"}
    assert literals(beta.BetaRawMessageStreamEvent) <= set(EVENTS)


def test_every_stop_reason_of_the_anthropic_package_is_known() -> None:
    beta = pytest.importorskip("anthropic.types.beta")
    told = {
        reason: whole(stop_reason=reason).finish_reason for reason in typing.get_args(beta.BetaStopReason)
    }
    assert told == {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "pause_turn": "pause",
        "compaction": "pause",
        "refusal": "refusal",
    }
    unheard = whole(stop_reason="tired")
    assert (unheard.finish_reason, unheard.raw_finish_reason) == ("other", "tired")


def test_every_block_of_the_anthropic_package_becomes_its_part() -> None:
    beta = pytest.importorskip("anthropic.types.beta")
    theirs = literals(beta.BetaContentBlock)
    assert len(theirs) == 18
    assert theirs <= {b.get("type") for b, _ in BLOCKS}
    for told, kind in BLOCKS:
        assert type(decode_part(told, MADE)) is kind, told


@pytest.mark.parametrize(
    "told",
    [
        {"type": "text", "text": 3},
        {"type": "text"},
        {"type": "text", "text": "a", "citations": {"a": 1}},
        {"type": "thinking", "thinking": None},
        {"type": "thinking", "thinking": "a", "signature": 3},
        {"type": "redacted_thinking", "data": 3},
        {"type": "tool_use", "name": 3, "id": "i"},
        {"type": "tool_use", "name": "f", "id": 3},
    ],
)
def test_a_block_with_a_field_of_another_type_is_kept_as_it_came(told: dict[str, Any]) -> None:
    part = decode_part(told, MADE)
    assert (type(part), part.data) == (OpaquePart, told)  # type: ignore[union-attr]


def test_a_block_without_what_it_may_lack_is_its_part() -> None:
    assert [
        decode_part(told, MADE)
        for told in (
            {"type": "text", "text": "a", "citations": None, "n": 1},
            {"type": "thinking", "thinking": "a", "n": 1},
            {"type": "thinking", "thinking": "a", "signature": None},
            {"type": "redacted_thinking", "data": "d", "n": 1},
            {"type": "tool_use", "name": "f", "id": None, "n": 1},
            {"type": "tool_use", "name": "f", "id": "i", "input": None},
        )
    ] == [
        TextPart("a", extra={"n": 1}, origin=MADE),
        ReasoningPart("a", extra={"n": 1}, origin=MADE),
        ReasoningPart("a", origin=MADE),
        ReasoningPart(encrypted="d", redacted=True, extra={"n": 1}, origin=MADE),
        ToolCallPart(None, "f", "", extra={"n": 1}, origin=MADE),
        ToolCallPart("i", "f", "null", origin=MADE),
    ]


def test_the_counts_are_complete_once_the_last_have_come() -> None:
    assert whole().usage.complete
    assert not whole(usage={}).usage.complete
    assert collect(feed(stream())).usage.complete
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    cut = collect(feed([stream()[0], last, {"type": "message_stop"}])).usage
    assert (cut.input_tokens, cut.complete) == (7, False)


def test_every_block_goes_back_as_it_came() -> None:
    """JSON-equal, nulls kept; what is opaque in the very order of its keys; also through a dump, and streamed."""
    blocks = [told for told, _ in BLOCKS]
    message = whole(*blocks).message
    streamed = collect(feed(stream(*(e for i, b in enumerate(blocks) for e in block(i, b))))).message
    assert message == streamed
    for kept in (message, load_messages(dump_messages([message]))[0]):
        sent, deviations = assistant_blocks(kept, ORIGIN, 1)
        assert sent == blocks
        assert not deviations
        for part, back, told in zip(kept.content, sent, blocks, strict=True):
            if isinstance(part, OpaquePart):
                assert msgspec.json.encode(back) == msgspec.json.encode(told)
    assert all(part.origin == MADE for part in message.content)


def test_what_an_opaque_part_says_of_itself() -> None:
    parts = {p.kind: p for p in whole(*(b for b, _ in BLOCKS)).message.content if isinstance(p, OpaquePart)}
    assert (parts["server_tool_use"].role, parts["server_tool_use"].id) == ("call", "srvtoolu_1")
    assert parts["server_tool_use"].name == "web_search"
    result = parts["web_search_tool_result"]
    assert (result.role, result.id, result.name) == ("result", "srvtoolu_1", None)
    assert (parts["mcp_tool_use"].role, parts["mcp_tool_result"].role) == ("call", "result")
    roleless = ("container_upload", "compaction", "fallback", "mcp_tool_listing", "never_heard_of", "block")
    assert [parts[kind].role for kind in roleless] == [None] * 6
    assert decode_part(["no object"], MADE) == OpaquePart("block", ["no object"], origin=MADE)


def test_citations_of_every_kind() -> None:
    assert [(c.url, c.title, c.quote, c.source) for c in map(decode_citation, CITED)] == [
        (None, "D", "c", "0"),
        (None, None, "p", "file_1"),
        (None, None, "b", "2"),
        ("https://x.example", "W", "w", None),
        (None, "S", "s", "kb/1"),
    ]
    assert decode_citation("odd") == Citation(raw="odd")


# -- blocks that grow ----------------------------------------------------------------------------------------


def test_text_that_a_block_starts_with_and_citations_complete_at_its_end() -> None:
    deltas = (
        {"type": "citations_delta", "citation": CITED[0]},
        {"type": "text_delta", "text": "lo"},
        {"type": "citations_delta", "citation": CITED[3]},
        {"type": "text_delta", "text": ""},
        {"type": "text_delta", "text": None},
    )
    events = feed(stream(*block(0, {"type": "text", "text": "Hel", "citations": []}, *deltas)))
    assert [e.part for e in events if isinstance(e, PartStart)] == [TextPart("", origin=MADE)]
    thought = feed(stream(*block(0, {"type": "thinking", "thinking": "Hm"})))
    assert [e.part for e in thought if isinstance(e, PartStart)] == [ReasoningPart("", origin=MADE)]
    ends = [e.part for e in events if isinstance(e, PartEnd)]
    assert ends == [TextPart("Hello", (decode_citation(CITED[0]), decode_citation(CITED[3])), origin=MADE)]
    assert [e for e in events if isinstance(e, OpaqueDelta)] == [
        OpaqueDelta(0, "citation", CITED[0]),
        OpaqueDelta(0, "citation", CITED[3]),
    ]


def test_thinking_with_its_signature() -> None:
    start = {"type": "thinking", "thinking": "", "signature": ""}
    deltas = (
        {"type": "thinking_delta", "thinking": "Hm"},
        {"type": "estimated_tokens_delta", "estimated_tokens": 4},
        {"type": "signature_delta", "signature": "sig=="},
    )
    assert only(*block(0, start, *deltas)) == ReasoningPart("Hm", signature="sig==", origin=MADE)
    passed = [e for e in feed(stream(*block(0, start, *deltas))) if isinstance(e, OpaqueDelta)]
    assert passed == [
        OpaqueDelta(0, "estimated_tokens_delta", deltas[1]),
        OpaqueDelta(0, "signature", "sig=="),
    ]
    assert only(*block(0, start, deltas[2])) == ReasoningPart("", signature="sig==", origin=MADE)
    assert only(*block(0, {"type": "thinking", "thinking": "x", "signature": None})) == ReasoningPart(
        "x", origin=MADE
    )


@pytest.mark.parametrize(
    ("given", "fragments", "arguments"),
    [
        ({}, ('{"a" :', " 1.0}"), '{"a" : 1.0}'),  # as the model wrote it
        ({}, (), "{}"),
        ({}, ("",), "{}"),
        ({"a": 1}, (), '{"a":1}'),
        ({"a": 1}, ('{"a": 2}',), '{"a": 2}'),
        ({}, ('{"a": ',), '{"a": '),  # cut by max_tokens
        (None, (None,), "null"),
    ],
)
def test_a_calls_arguments_are_the_providers_own_text(given: Any, fragments: Any, arguments: str) -> None:
    start = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": given}
    events = feed(
        stream(*block(0, start, *({"type": "input_json_delta", "partial_json": f} for f in fragments)))
    )
    assert collect(events).tool_calls == (ToolCallPart("toolu_1", "f", arguments, origin=MADE),)
    joined = "".join(getattr(e, "text", "") for e in events)
    assert joined == arguments
    assert [
        e.part.arguments for e in events if isinstance(e, PartStart) and isinstance(e.part, ToolCallPart)
    ] == [""]


def test_a_call_without_id_gets_one_that_is_always_the_same() -> None:
    start = {"type": "tool_use", "name": "f", "input": {}}
    streamed = only(*block(0, start))
    (made,) = whole(start).message.content
    assert streamed == made
    assert isinstance(made, ToolCallPart)
    assert made.id is None and made.call_id.startswith("local_")


def test_opaque_blocks_grow() -> None:
    query = ({"type": "input_json_delta", "partial_json": p} for p in ('{"query": ', '"q"}', None))
    part = only(*block(0, {**SEARCH, "input": {}}, *query))
    assert isinstance(part, OpaquePart)
    assert part.data == SEARCH and list(part.data) == list(SEARCH)
    broken = only(*block(0, {**SEARCH, "input": {}}, {"type": "input_json_delta", "partial_json": '{"q'}))
    assert isinstance(broken, OpaquePart) and broken.data["input"] == '{"q'
    summary = {"type": "compaction_delta", "content": "So far", "encrypted_content": None}
    grown = only(*block(0, {"type": "compaction", "content": None}, summary))
    assert isinstance(grown, OpaquePart)
    assert grown.data == {"type": "compaction", "content": "So far", "encrypted_content": None}
    unheard = (
        {"type": "text_delta", "text": "a"},
        {"type": "text_delta", "text": "b"},
        {"type": "citations_delta", "citation": CITED[0]},
        {"type": "citations_delta", "citation": CITED[1]},
        {"type": "signature_delta", "signature": "s"},
        {"type": "odd_delta", "content": None, "n": 1},
    )
    part = only(*block(0, {"type": "connector_text", "content": "c"}, *unheard))
    assert isinstance(part, OpaquePart)
    assert part.data == {
        "type": "connector_text",
        "content": "c",
        "text": "ab",
        "citations": CITED[:2],
        "signature": "s",
        "n": 1,
    }


def test_deltas_that_do_not_fit_go_by() -> None:
    odd = [
        {"type": "thinking_delta", "thinking": "x"},
        {"type": "signature_delta", "signature": "s"},
        {"type": "never_delta", "n": 1},
    ]
    events = feed(stream(*block(0, {"type": "text", "text": "A"}, *odd), *block(1, "no object", odd[2])))
    assert collect(events).message.content == (TextPart("A", origin=MADE),)
    assert [(e.index, e.kind, e.data) for e in events if isinstance(e, OpaqueDelta)] == [
        *((0, told["type"], told) for told in odd),
        (None, "never_delta", odd[2]),
    ]


def test_interleaved_blocks_and_empty_ones() -> None:
    one, two = block(0, {"type": "text", "text": ""}), block(1, {"type": "text", "text": ""})
    said = [
        {"type": "content_block_delta", "index": i, "delta": {"type": "text_delta", "text": t}}
        for i, t in ((1, "b"), (0, "a"), (1, "B"))
    ]
    response = collect(
        feed(stream(one[0], two[0], *said, two[1], one[1], *block(2, {"type": "text", "text": ""})))
    )
    assert [p.text for p in response.message.content if isinstance(p, TextPart)] == ["a", "bB", ""]


# -- what services get wrong ---------------------------------------------------------------------------------


def test_blocks_without_a_start_or_a_stop() -> None:
    def delta(index: int, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": fields}

    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    response = collect(
        feed(
            stream(
                delta(3, type="thinking_delta", thinking="Hm"),
                start,
                delta(0, type="text_delta", text="A"),
                {**start, "content_block": CALL},  # the same place again
                delta(0, type="input_json_delta", partial_json="{}"),
                {"type": "content_block_stop", "index": 0},
                {"type": "content_block_stop", "index": 0},
                delta(0, type="text_delta", text="B"),
                delta(7, type="odd_delta", n=1),
            )
        )
    )
    assert response.message.content == (
        ReasoningPart("Hm", origin=MADE),
        TextPart("A", origin=MADE),
        ToolCallPart("toolu_1", "f", "{}", origin=MADE),
        TextPart("B", origin=MADE),
    )
    assert response.finish_reason == "tool_calls"
    with pytest.raises(ProtocolError, match="never began"):
        feed(stream(delta(0, type="input_json_delta", partial_json="{}")))


def test_a_stream_without_message_start_or_with_content_in_it() -> None:
    bare = stream(*block(0, {"type": "text", "text": "A"}))[1:]
    assert collect(feed(bare)).text == "A"
    assert isinstance(feed(bare)[0], type(feed(stream())[0]))
    content = ["no block", {"type": "text", "text": "A"}, None]
    told = {"type": "message_start", "message": {**START, "content": content}}
    assert collect(feed([told, *stream()[1:]])).message.content == (TextPart("A", origin=MADE),)


def test_a_second_start_is_refused_with_what_had_arrived() -> None:
    events = stream(*block(0, {"type": "text", "text": "A"}))
    with pytest.raises(ProtocolError, match="second message_start") as raised:
        feed([*events[:-2], *events])
    assert raised.value.partial is not None and raised.value.partial.text == "A"


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([{"type": "message_stop"}], "message_stop came before any message_start"),
        ([stream()[0], {"type": "message_stop"}], "without any content and without a stop_reason"),
        ([stream()[0], stream(stop=None)[1], {"type": "message_stop"}], "without any content and without"),
    ],
)
def test_an_end_that_nothing_came_before(events: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        feed(events)


def test_an_answer_of_nothing_has_a_reason() -> None:
    assert collect(feed(stream())).message.content == ()
    assert collect(feed([*stream()[:1], *block(0, {"type": "text", "text": ""}), stream()[2]])).text == ""


@pytest.mark.parametrize(("known", "kept"), [(CITED[:1], CITED[:2]), (None, CITED[1:2]), ("odd", CITED[1:2])])
def test_citations_of_a_block_of_another_kind_follow_those_that_it_begins_with(known: Any, kept: Any) -> None:
    start = {"type": "connector_text", "citations": known}
    part = only(*block(0, start, {"type": "citations_delta", "citation": CITED[1]}))
    assert isinstance(part, OpaquePart) and part.data == {"type": "connector_text", "citations": kept}


def test_one_decoder_reads_one_message() -> None:
    decoder = AnthropicDecoder(ORIGIN)
    events = stream(*block(0, {"type": "text", "text": "A"}))
    assert isinstance(feed(events, decoder)[-1], ResponseEnd)
    assert feed(events, decoder) == []


def test_what_is_not_heard_of_is_passed_over() -> None:
    decoder = AnthropicDecoder(ORIGIN)
    start, *rest = (
        WireMessage(msgspec.json.encode(e)) for e in stream(*block(0, {"type": "text", "text": "A"}))
    )
    decoder.feed(start)
    for odd in (b'{"type":"odd"}', b'{"type":["odd"]}', b"[DONE]", b"", b'{"a":1}', b'{"type":"ping"}'):
        assert decoder.feed(WireMessage(odd)) == []
    assert decoder.feed(WireMessage(b"{}", "ping")) == []
    assert collect([e for message in rest for e in decoder.feed(message)]).text == "A"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>", "an HTML page"),
        (b'{"a":1}', "is this a Messages endpoint"),
        (b'{"type":"message_start"}', "not the shape"),
        (b'{"type":"message_start","message":[]}', "not the shape"),
        (b'{"type":"content_block_start","index":0}', "not the shape"),
        (b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta"}}', "not the shape"),
        (
            b'{"type":"content_block_delta","index":[],"delta":{"type":"text_delta","text":"a"}}',
            "not the shape",
        ),
        (b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":1}}', "not the shape"),
        (b'{"type":"message_delta","delta":7}', "not the shape"),
    ],
)
def test_broken_events_are_protocol_errors(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as raised:
        AnthropicDecoder(ORIGIN).feed(WireMessage(data))
    assert raised.value.partial is not None
    assert (raised.value.provider, raised.value.model) == ("anthropic", "claude-x")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "no content"),
        (b'{"content":null}', "no content"),
        (b'{"content":3}', "its content is int"),
        (b'{"content":[],"usage":{"iterations":[{"type":"fallback_message","model":[]}]}}', ""),
        (b'{"content":[],"usage":[1],"stop_reason":"end_turn","id":1,"model":{}}', ""),
        (b"nope", "not JSON"),
        (b'{"content":[{"type":"fallback","from":{"model":"a"},"to":{"model":[]}}]}', ""),
        (b'{"content":[],"stop_details":' + b"[" * 2000 + b"]" * 2000 + b"}", "nested too deeply"),
        (
            b'{"content":[{"type":"tool_use","name":"f","input":' + b"[" * 900 + b"]" * 900 + b"}]}",
            "nested too deeply",
        ),
    ],
)
def test_broken_bodies_are_protocol_errors_or_read(body: bytes, words: str) -> None:
    if not words:
        assert collect(AnthropicDecoder(ORIGIN).feed_whole(body)).finish_reason == "stop"
        return
    with pytest.raises(ProtocolError, match=words):
        AnthropicDecoder(ORIGIN).feed_whole(body)


def test_a_body_whose_content_is_plain_text() -> None:
    body = msgspec.json.encode({**START, "content": "Hi", "stop_reason": None})
    response = collect(AnthropicDecoder(ORIGIN).feed_whole(body))
    assert (response.text, response.finish_reason, response.raw_finish_reason) == ("Hi", "stop", None)
    assert not response.usage.complete


# -- the message's own fields --------------------------------------------------------------------------------


def test_stop_sequence_container_and_the_like_are_extra() -> None:
    last = {
        "type": "message_delta",
        "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END", "container": {"id": "c"}},
        "usage": USAGE,
        "context_management": {"applied_edits": []},
        "input_transformations": None,
    }
    stop = {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 7}}
    message = {**START, "diagnostics": {"x": 1}, "container": {"id": "b"}}
    start = {"type": "message_start", "message": message, "novel": 1, "none": None}
    response = collect(feed([start, last, stop]))
    assert (response.finish_reason, response.raw_finish_reason) == ("stop", "stop_sequence")
    assert response.extra == {
        "diagnostics": {"x": 1},
        "novel": 1,
        "container": {"id": "c"},
        "stop_sequence": "END",
        "context_management": {"applied_edits": []},
        "amazon-bedrock-invocationMetrics": {"inputTokenCount": 7},
    }


def test_what_an_event_is_made_of_is_not_kept_beside_the_answer() -> None:
    envelope = {"index": 0, "usage": USAGE, "delta": {}, "message": START}
    start, last, stop = stream()
    response = collect(feed([start | {"index": 0}, last | {"index": 0, "message": {}}, envelope | stop]))
    assert response.extra == {}


def test_a_refusal_keeps_its_details() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "No."}
    response = whole(stop_reason="refusal", stop_details=details)
    assert (response.finish_reason, response.message.content) == ("refusal", ())
    assert response.extra == {"stop_details": details}


def test_a_plain_stop_with_a_call_is_tool_calls_and_any_other_reason_wins() -> None:
    assert whole(CALL).finish_reason == "tool_calls"
    assert whole(CALL, stop_reason="max_tokens").finish_reason == "length"
    assert whole(SEARCH).finish_reason == "stop"


def test_each_part_is_the_model_s_that_made_it() -> None:
    """A fallback block hands over from one model to the next."""
    handover = {"type": "fallback", "from": {"model": "claude-x"}, "to": {"model": "claude-y"}}
    blocks = [{"type": "text", "text": "A"}, handover, {"type": "text", "text": "B"}]
    streamed = collect(feed(stream(*(e for i, b in enumerate(blocks) for e in block(i, b)))))
    assert [p.origin.reported for p in streamed.message.content if p.origin] == ["claude-x-1"] * 2 + [
        "claude-y"
    ]
    assert streamed.model == "claude-y"
    told = whole(*blocks, model="claude-y")
    assert [p.origin.reported for p in told.message.content if p.origin] == ["claude-x"] * 2 + ["claude-y"]
    assert told.model == "claude-y"
    assert (
        whole(*blocks, model="claude-y-1").model == "claude-y-1"
    )  # the body's own word, where a block has an alias


# -- counts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "buckets"),
    [
        ({"input_tokens": 3, "output_tokens": 5}, (3, 0, 0, 5, 0)),
        (
            {
                "input_tokens": 3,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 6,
                "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 5},
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 7},
            },
            (3, 4, 6, 2, 7),
        ),
        ({"input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 2, "x": 3}}, (1, 0, 5, 0, 0)),
        ({"input_tokens": None, "output_tokens": "?", "cache_read_input_tokens": None}, (0, 0, 0, 0, 0)),
    ],
)
def test_the_buckets_of_usage(counts: dict[str, Any], buckets: tuple[int, ...]) -> None:
    usage = usage_of(counts)
    assert (
        usage.uncached_input,
        usage.cache_read,
        usage.cache_write,
        usage.output_text,
        usage.reasoning,
    ) == buckets
    assert usage.total_tokens == sum(buckets)
    assert usage.complete and usage.raw == counts and not usage.anomalies


def test_counts_are_the_last_told_field_by_field() -> None:
    start = {
        "input_tokens": 1,
        "cache_read_input_tokens": 8,
        "cache_creation": {"ephemeral_5m_input_tokens": 2},
        "output_tokens": 1,
        "service_tier": "standard",
    }
    later = {
        "input_tokens": 5,
        "cache_read_input_tokens": None,
        "output_tokens": 4,
        "server_tool_use": {"web_search_requests": 1},
        "cache_creation": {"ephemeral_1h_input_tokens": 3},
    }
    events = stream()
    events[0]["message"]["usage"] = start
    events[1]["usage"] = later
    last = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 6}}
    usage = collect(feed([*events[:2], last, events[2]])).usage
    assert usage.raw == {
        "input_tokens": 5,
        "cache_read_input_tokens": 8,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
        "output_tokens": 6,
        "service_tier": "standard",
        "server_tool_use": {"web_search_requests": 1},
    }
    assert (usage.input_tokens, usage.output_tokens, usage.complete) == (18, 6, True)


def test_impossible_counts_are_clamped_and_named() -> None:
    usage = usage_of({"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"thinking_tokens": 9}})
    assert (usage.output_text, usage.reasoning, len(usage.anomalies)) == (0, 2, 1)


def test_passes_are_what_the_totals_leave_out() -> None:
    def passes(*iterations: Any) -> list[Any]:
        return [p["n"] for p in usage_of({"input_tokens": 1, "iterations": list(iterations)}).passes]

    message, compaction = {"type": "message", "n": 1}, {"type": "compaction", "n": 2}
    advisor = {"type": "advisor_message", "model": "claude-y", "n": 3}
    assert passes(message, compaction, advisor, "odd") == [2, 3]
    declined = {"type": "message", "model": "claude-x", "n": 4}
    served = {"type": "fallback_message", "model": "claude-y", "n": 5}
    own = {"type": "message", "model": "claude-y", "n": 6}
    assert passes(declined, own, message, served) == [4]
    assert usage_of({"input_tokens": 1, "iterations": None}).passes == ()


def test_counts_before_the_end_are_not_complete() -> None:
    decoder = AnthropicDecoder(ORIGIN)
    decoder.feed(WireMessage(msgspec.json.encode(stream()[0])))
    assert (decoder.usage().uncached_input, decoder.usage().complete) == (7, False)


def test_an_end_that_counts_nothing_leaves_the_usage_incomplete() -> None:
    events = stream()
    del events[1]["usage"]
    response = collect(feed(events))
    assert response.finish_reason == "stop"
    assert not response.usage.complete
