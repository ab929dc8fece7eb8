"""What holds of Chat Completions for any input: calls come back, nothing crashes, a longer history only adds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider.errors import APIError, ProtocolError, StreamInterrupted, UnsupportedError
from brainwires_provider.events import collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.replay import MERGED, MOVED
from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat
from brainwires_provider.types import (
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    ReasoningPart,
    RefusalPart,
    Request,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

pytestmark = [pytest.mark.long, pytest.mark.many]

CHAT = OpenAIChat()
ORIGIN = Origin("openai_chat", "openai-chat", "m")
FEW = settings(max_examples=150, deadline=None)

names = st.sampled_from(["one", "two", "three"])
values = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=6), max_size=3)
calls = st.lists(st.tuples(names, values), min_size=1, max_size=4)

# How services number and name the fragments of a call. Each gives the fields of fragment `n` of call `i`.
STYLES: dict[str, Any] = {
    "index and id once": lambda i, n, name: {"index": i} | ({"id": f"c{i}", "name": name} if n == 0 else {}),
    "index and id always": lambda i, n, name: (
        {"index": i, "id": f"c{i}"} | ({"name": name} if n == 0 else {})
    ),
    "name always": lambda i, n, name: {"index": i, "id": f"c{i}", "name": name},
    "same index": lambda i, n, name: {"index": 0} | ({"id": f"c{i}", "name": name} if n == 0 else {}),
    "no index": lambda i, n, name: {"id": f"c{i}", "name": name} if n == 0 else {},
    "no id": lambda i, n, name: {"index": i} | ({"name": name} if n == 0 else {}),
    "no index, no id": lambda i, n, name: {"name": name} if n == 0 else {},
    "fresh ids": lambda i, n, name: {"index": i, "id": f"c{i}-{n}"} | ({"name": name} if n == 0 else {}),
}
INTERLEAVED = ("index and id once", "index and id always", "name always", "no id", "fresh ids")


def chunk(fragment: dict[str, Any]) -> bytes:
    delta = {"tool_calls": [fragment]}
    return msgspec.json.encode({"id": "r", "model": "m", "choices": [{"index": 0, "delta": delta}]})


def fragments(
    style: str, made: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> list[dict[str, Any]]:
    """The calls in one service's style, each one's arguments cut anywhere, in an order that the style allows."""
    queues = []
    for i, (name, arguments) in enumerate(made):
        text = json.dumps(arguments)
        cuts = sorted(data.draw(st.lists(st.integers(1, len(text) - 1), max_size=3, unique=True)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        queue = []
        for n, piece in enumerate(pieces):
            said = STYLES[style](i, n, name)
            function = {"arguments": piece} | ({"name": said.pop("name")} if "name" in said else {})
            queue.append({**said, "function": function})
        queues.append(queue)
    told: list[dict[str, Any]] = []
    if style not in INTERLEAVED:
        return [fragment for queue in queues for fragment in queue]
    while queues := [queue for queue in queues if queue]:
        told.append(queues[data.draw(st.integers(0, len(queues) - 1))].pop(0))
    return told


@FEW
@given(st.sampled_from(sorted(STYLES)), calls, st.data())
def test_calls_come_back_in_any_style_and_cut(style: str, made: Any, data: st.DataObject) -> None:
    decoder = CHAT.decoder(ORIGIN)
    events = []
    told = fragments(style, made, data)
    for fragment in told:
        events += decoder.feed(WireMessage(chunk(fragment)))
    events += decoder.feed(WireMessage(b"[DONE]"))
    response = collect(events)
    order = list(dict.fromkeys(f["index"] for f in told)) if style in INTERLEAVED else range(len(made))
    assert [(c.name, c.args()) for c in response.tool_calls] == [made[i] for i in order]
    assert response.finish_reason == "tool_calls"
    assert len({c.call_id for c in response.tool_calls}) == len(made)
    assert [c.local_id is None for c in response.tool_calls] == [
        c.id is not None for c in response.tool_calls
    ]


@FEW
@given(calls, st.booleans())
def test_calls_of_a_whole_body_come_back(made: Any, as_object: bool) -> None:
    wire = [{"function": {"name": n, "arguments": a if as_object else json.dumps(a)}} for n, a in made]
    body = {"choices": [{"message": {"tool_calls": wire}, "finish_reason": "tool_calls"}]}
    response = collect(CHAT.decoder(ORIGIN).feed_whole(msgspec.json.encode(body)))
    assert [(c.name, c.args()) for c in response.tool_calls] == made


# -- any JSON at all ---------------------------------------------------------------------------------------

leaf = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3)
anything = st.recursive(
    leaf, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3)
)
FIELDS = [
    "role",
    "content",
    "refusal",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "tool_calls",
    "function_call",
    "annotations",
    "audio",
    "images",
    "type",
    "text",
    "thinking",
    "summary",
    "signature",
    "data",
    "id",
    "index",
    "name",
    "arguments",
    "function",
    "custom",
    "input",
    "url",
    "url_citation",
    "image_url",
    "transcript",
]
odd = st.recursive(
    leaf,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), v, max_size=4),
    max_leaves=12,
)
messages = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS[:11], odd))
choices = st.fixed_dictionaries(
    {},
    optional={
        "delta": messages,
        "message": messages,
        "finish_reason": odd,
        "logprobs": odd,
        "error": odd,
        "x": odd,
    },
)
TOP = ("id", "model", "error", "usage", "citations", "search_results", "x_groq", "choices", "logprobs")
bodies = st.fixed_dictionaries(
    {"choices": st.lists(choices, max_size=3)}, optional=dict.fromkeys(TOP[:-2] + TOP[-1:], odd)
) | st.fixed_dictionaries({}, optional=dict.fromkeys(TOP, anything))


@settings(max_examples=400, deadline=None)
@given(st.lists(bodies, max_size=3))
def test_any_json_is_a_response_or_a_typed_error(told: list[Any]) -> None:
    texts = [
        json.dumps(body, allow_nan=True).encode() for body in told
    ]  # json writes NaN and lone surrogates
    decoder = CHAT.decoder(ORIGIN)
    try:
        events = [event for text in texts for event in decoder.feed(WireMessage(text))]
        msgspec.json.encode(collect(events + decoder.feed(WireMessage(b"[DONE]"))))
    except (APIError, ProtocolError) as error:
        assert error.partial is not None
        msgspec.json.encode(error.partial)
        assert msgspec.json.encode(decoder.partial())
    for text in texts:
        try:
            msgspec.json.encode(collect(CHAT.decoder(ORIGIN).feed_whole(text)))
        except (APIError, ProtocolError) as error:
            assert error.partial is not None
            assert error.message


@FEW
@given(st.binary(max_size=40), st.sampled_from([None, "error", "ping"]))
def test_any_bytes_are_a_typed_error(data: bytes, event: str | None) -> None:
    decoder = CHAT.decoder(ORIGIN)
    try:
        decoder.feed(WireMessage(data, event))
        decoder.finish(False)
    except (APIError, ProtocolError, StreamInterrupted) as error:
        assert error.partial is not None


# -- the encoder -------------------------------------------------------------------------------------------

OTHER = Origin("gemini", "google", "g")
origins = st.sampled_from([None, ORIGIN, Origin("openai_chat", "openai-chat", "x", "m"), OTHER])
short = st.text(max_size=4)
sayable = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | short
)
extras = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "fields": st.lists(
            st.sampled_from(["reasoning", "reasoning_content", "reasoning_details", "content"])
        ),
        "reasoning_details": st.lists(st.dictionaries(short, sayable, max_size=2), max_size=2),
        "thinking": st.lists(short, max_size=2),
        "id": short,
        "extra_content": short,
    },
)
media = st.sampled_from(
    [
        {"data": b"\x89PNG\r\n\x1a\n"},
        {"data": b"RIFF0000WAVE"},
        {"data": b"?"},
        {"url": "https://x.test/a"},
        {"url": "https://x.test/a", "media_type": "video/mp4"},
        {"file_id": "f"},
        {"file_id": "f", "media_type": "audio/mpeg"},
    ]
)
told_parts = (
    st.builds(TextPart, short, extra=extras, origin=origins)
    | st.builds(lambda m, e, o: ImagePart(**m, extra=e, origin=o), media, extras, origins)
    | st.builds(lambda m, e, o: FilePart(**m, extra=e, origin=o), media, extras, origins)
    | st.builds(OpaquePart, short, st.dictionaries(short, sayable, max_size=2) | sayable, origin=origins)
)
parts = (
    told_parts
    | st.builds(ReasoningPart, short, extra=extras, origin=origins)
    | st.builds(RefusalPart, short, origin=origins)
    | st.builds(ToolCallPart, st.none() | short, short, short, kind=short, extra=extras, origin=origins)
    | st.builds(ToolResultPart, short, st.lists(told_parts, max_size=2), extra=extras)
)
turns = st.builds(
    Message,
    st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    st.lists(parts, max_size=4),
    name=st.none() | short,
    extra=st.none() | st.dictionaries(short, sayable, max_size=2),
)
quirks = st.sampled_from(
    [
        ChatQuirks(),
        ChatQuirks(developer_role=False, replay_reasoning=False, documents="document_url", audio="text"),
        ChatQuirks(cache_marks=True, file_urls=True, video=True, json_schema=False),
    ]
)


def encoded(protocol: OpenAIChat, history: list[Message]) -> list[Any] | None:
    """The wire's messages, or None where the protocol cannot say them, or reports that it arranged the turns anew."""
    try:
        call = protocol.encode(Request(tuple(history), "m", "Be brief."), ORIGIN, stream=True)
    except UnsupportedError as error:
        assert str(error).startswith("messages[")
        return None
    msgspec.json.encode(call.body)
    if any(deviation.reason in (MERGED, MOVED) for deviation in call.deviations):
        return None
    told: list[Any] = call.body["messages"]
    return told


@settings(max_examples=300, deadline=None)
@given(st.lists(turns, max_size=4), quirks)
def test_a_longer_history_begins_with_the_shorter_one(history: list[Message], dialect: ChatQuirks) -> None:
    protocol = OpenAIChat(dialect)
    whole = encoded(protocol, history)
    for k in range(len(history)):
        beginning = encoded(protocol, history[:k])
        if whole is not None:
            assert beginning is not None
            assert beginning == whole[: len(beginning)]
