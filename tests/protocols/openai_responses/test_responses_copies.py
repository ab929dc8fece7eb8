"""Copies of streamed items, each case as a service sends it; and what no bytes may do to a decoder of Responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import APIError, ProtocolError, ProviderError
from brainwires_provider.events import OpaqueDelta, PartEnd, PartStart, ResponseEnd, ResponseStart, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.copies import Seen
from brainwires_provider.protocols.base.decoder import final_text
from brainwires_provider.protocols.openai_responses import OpenAIResponses, ResponsesDecoder
from brainwires_provider.protocols.openai_responses.parts import StreamedItems
from brainwires_provider.types import (
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    RefusalPart,
    Request,
    Response,
    TextPart,
    dump_messages,
    load_messages,
)
from known import encode_known
from work import is_in_proportion

ORIGIN = Origin("openai_responses", "p", "m")
RESPONSES = OpenAIResponses()
Item = dict[str, Any]


def message(text: str | None = "Hello", id: str | None = "msg_1") -> Item:
    pieces = [] if text is None else [{"type": "output_text", "text": text, "annotations": []}]
    item = {"type": "message", "role": "assistant", "content": pieces}
    return item if id is None else {**item, "id": id}


def reasoning(text: str | None = "Hm", id: str | None = "rs_1") -> Item:
    content = [] if text is None else [{"type": "reasoning_text", "text": text}]
    item = {"type": "reasoning", "summary": [], "content": content}
    return item if id is None else {**item, "id": id}


def call(arguments: str, id: str | None = "fc_1", call_id: str = "call_1") -> Item:
    item = {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}
    return item if id is None else {**item, "id": id}


def event(kind: str, **fields: Any) -> Item:
    return {"type": f"response.{kind}", **fields}


def added(item: Item, **fields: Any) -> Item:
    return event("output_item.added", item=item, **fields)


def done(item: Item, **fields: Any) -> Item:
    return event("output_item.done", item=item, **fields)


def text(delta: str, **fields: Any) -> Item:
    return event("output_text.delta", delta=delta, **fields)


def thought(delta: str, **fields: Any) -> Item:
    return event("reasoning_text.delta", delta=delta, **fields)


def summary(delta: str, **fields: Any) -> Item:
    return event("reasoning_summary_text.delta", delta=delta, **fields)


def arguments(delta: str, **fields: Any) -> Item:
    return event("function_call_arguments.delta", delta=delta, **fields)


def completed(*items: Item, kind: str = "completed", id: str = "resp_1") -> Item:
    return event(kind, response={"id": id, "status": "completed", "output": list(items)})


CREATED = event("created", response={"id": "resp_1", "status": "in_progress"})


def decoded(*events: Item, origin: Origin = ORIGIN) -> Response:
    decoder = ResponsesDecoder(origin)
    found = [e for each in (CREATED, *events) for e in decoder.feed(WireMessage(msgspec.json.encode(each)))]
    grammar(found, ended=True)
    return collect(found + decoder.finish())


def texts(response: Response) -> list[str]:
    return [
        getattr(part, "text", None) or getattr(part, "arguments", "") for part in response.message.content
    ]


COPIES: dict[str, tuple[list[Item], list[str]]] = {
    "pieces counted with the reasoning": (
        [
            added(message(None), output_index=0),
            text("Hel", output_index=0, content_index=1, item_id="msg_1"),
            text("lo", output_index=0, content_index=1, item_id="msg_1"),
            done(message(), output_index=0),
            completed(message()),
        ],
        ["Hello"],
    ),
    "reasoning at another index": (
        [
            thought("Hm", output_index=7, item_id="rs_1"),
            done(reasoning(id="rs_2"), output_index=8),
            completed(reasoning(id="rs_3")),
        ],
        ["Hm"],
    ),
    "no ends, and another index in the list": (
        [added(message(None), output_index=5), text("Hello", output_index=5), completed(message())],
        ["Hello"],
    ),
    "deltas without names": ([text("Hel"), text("lo"), completed(message())], ["Hello"]),
    "a list that begins with reasoning, under new ids": (
        [
            added(message(None), output_index=0),
            text("Hello", output_index=0, item_id="msg_1"),
            done(message(), output_index=0),
            completed(reasoning(id="rs_9"), message(id="msg_9")),
        ],
        ["Hello", "Hm"],
    ),
    "ends without indexes": (
        [done(message("Hello", None)), done(message("World", None)), completed()],
        ["Hello", "World"],
    ),
    "items with indexes, deltas without": (
        [added(message(None), output_index=0), text("Hi"), done(message("Hi"), output_index=0), completed()],
        ["Hi"],
    ),
    "a longer text at the end": (
        [text("Hel", output_index=0), completed(message("Hello", "msg_9"))],
        ["Hello"],
    ),
    "another text at the end": (
        [text("Hxx", output_index=3), completed(message("Hello", "msg_9"))],
        ["Hxx"],
    ),
    "an equal text behind a longer one": (
        [text("Hello", output_index=3), completed(message("Hello!", None), message("Hello", None))],
        ["Hello", "Hello!"],
    ),
    "an equal text behind the same id": (
        [
            text("Hel", output_index=0, item_id="msg_1"),
            text("Hello", output_index=1, item_id="msg_2"),
            completed(message("Hello", "msg_1"), message("Hello, you", None)),
        ],
        ["Hello", "Hello, you"],
    ),
    "the longest of the texts that are continued": (
        [
            text("Hel", output_index=5),
            text("Hello", output_index=6),
            completed(message("Hello!", None), message("Help", None)),
        ],
        ["Help", "Hello!"],
    ),
    "an equal text of another kind": (
        [thought("Hm", output_index=5), completed(message("Hm", None))],
        ["Hm", "Hm"],
    ),
    "two messages whose ends come in another order, longer and without names": (
        [
            added(message(None, None), output_index=0),
            text("Hel", output_index=0),
            added(message(None, None), output_index=1),
            text("Wor", output_index=1),
            completed(message("World", None), message("Hello", None)),
        ],
        ["Hello", "World"],
    ),
    "two messages by their ids alone": (
        [
            added(message(None, "msg_1")),
            added(message(None, "msg_2")),
            text("Hel", item_id="msg_1"),
            text("World", item_id="msg_2"),
            text("lo", item_id="msg_1"),
            completed(message("Hello", "msg_1"), message("World", "msg_2")),
        ],
        ["Hello", "World"],
    ),
    "arguments by the item's id": (
        [
            added(call(""), output_index=0),
            event("function_call_arguments.delta", item_id="fc_1", delta="{}"),
            completed(call("{}")),
        ],
        ["{}"],
    ),
    "arguments without a name": (
        [
            added(call(""), output_index=0),
            event("function_call_arguments.delta", delta='{"a"'),
            event("function_call_arguments.done", arguments='{"a":1}'),
            event("function_call_arguments.done", arguments='{"a":1}'),
            completed(call('{"a":1}', "fc_9")),
        ],
        ['{"a":1}'],
    ),
    "calls of one function": (
        [
            added(call("", "fc_1", "call_1"), output_index=0),
            done(call("{}", "fc_2", "call_2"), output_index=1),
            done(call("{}", "fc_1", "call_1"), output_index=0),
            completed(call("{}", "fc_1", "call_1"), call("{}", "fc_2", "call_2")),
        ],
        ["{}", "{}"],
    ),
    "another id at the end of an item": (
        [added(message(None, "a"), output_index=0), done(message("Hi", "b"), output_index=0), completed()],
        ["Hi"],
    ),
    "an end sent twice without a name": (
        [done(message("Hi", None)), done(message("Hi", None)), completed(message("Hi", None))],
        ["Hi"],
    ),
    "a text of the piece before sent again": (
        [
            text("Hi", output_index=0, content_index=1),
            event("output_text.done", output_index=0, content_index=0, text="Hi!"),
            completed(message("Hi!")),
        ],
        ["Hi!"],
    ),
    "the same response starts again": ([text("A"), CREATED, text("B"), completed()], ["AB"]),
    "a bare heartbeat": ([{"type": "response.in_progress"}, text("A"), completed()], ["A"]),
    "another response id at the end": ([text("A"), completed(id="resp_2")], ["A"]),
    "response.done": ([text("A"), completed(kind="done")], ["A"]),
    "a refusal beside a text": (
        [text("A", output_index=0), event("refusal.delta", output_index=0, delta="No"), completed()],
        ["A", "No"],
    ),
    "a delta of another kind at the place of a call": (
        [
            added(call(""), output_index=0),
            text("A", output_index=0),
            thought("Hm", output_index=0),
            completed(call("{}")),
        ],
        ["{}", "A", "Hm"],
    ),
    "reasoning announced twice, by two ids": (
        [
            added(reasoning(None, "rs_1"), output_index=0),
            added(reasoning(None, "rs_2"), output_index=0),
            thought("Hm", output_index=0),
            completed(reasoning("Hm", "rs_3")),
        ],
        ["Hm"],
    ),
    "a text without a name after the end of an item": (
        [text("A", output_index=0), done(message("A"), output_index=0), text("B"), completed()],
        ["A", "B"],
    ),
    "a late text by the id that came with the end of an item": (
        [
            text("A", output_index=0),
            done(message("A", "b"), output_index=0),
            text("B", item_id="b"),
            completed(),
        ],
        ["A"],
    ),
    "late arguments of a call whose place another item has taken": (
        [
            added(call(""), output_index=0),
            arguments('{"a"', output_index=0),
            done(message(), output_index=0),
            arguments(":1}"),
            completed(),
        ],
        ['{"a"', "Hello"],
    ),
    "arguments again in a call whose place another item has taken": (
        [
            added(call(""), output_index=0),
            arguments('{"a":', output_index=0),
            arguments('{"a":1}', output_index=0),
            done(message(), output_index=0),
            completed(),
        ],
        ['{"a":1}', "Hello"],
    ),
    "arguments again in a call that does not end": (
        [
            added(call(""), output_index=0),
            arguments('{"a":', output_index=0),
            arguments('{"a":1}', output_index=0),
            completed(),
        ],
        ['{"a":1}'],
    ),
    "arguments before their call": (
        [
            arguments("x", output_index=0),
            event("function_call_arguments.done", output_index=0, arguments="x"),
            added(call(""), output_index=0),
            arguments("{}", output_index=0),
            completed(),
        ],
        ["{}"],
    ),
    "a call whose name comes at its end": (
        [
            added({"type": "function_call", "call_id": "call_1"}, output_index=0),
            arguments("{", output_index=0),
            done(call("{}"), output_index=0),
            completed(),
        ],
        ["{}"],
    ),
    "a call that ends twice, by two ids": (
        [
            done(call("{}", "fc_1"), output_index=0),
            done(call("{}", "fc_2"), output_index=1),
            completed(),
        ],
        ["{}"],
    ),
    "a piece of reasoning that is announced": (
        [
            added(reasoning(None), output_index=0),
            event("content_part.added", output_index=0, part={"type": "reasoning_text", "text": ""}),
            thought("Hm", output_index=0),
            completed(reasoning()),
        ],
        ["Hm"],
    ),
    "a text without an index after a piece that is announced": (
        [
            text("A", output_index=0),
            event(
                "content_part.added",
                output_index=0,
                content_index=1,
                part={"type": "output_text", "text": ""},
            ),
            text("B", output_index=0),
            completed(),
        ],
        ["A", "B"],
    ),
    "two pieces in turns": (
        [
            text("A", output_index=0, content_index=0),
            text("B", output_index=0, content_index=1),
            text("C", output_index=0, content_index=0),
            completed(),
        ],
        ["AC", "B"],
    ),
    "a refusal that its end completes": (
        [
            event("refusal.delta", output_index=0, content_index=0, delta="N"),
            event("refusal.done", output_index=0, content_index=0, refusal="No"),
            completed(),
        ],
        ["No"],
    ),
    "events that name their item by its id, and then others by another": (
        [
            added(message(None, "a")),
            text("A", item_id="a"),
            text("B", item_id="b"),
            completed(),
        ],
        ["A", "B"],
    ),
    "events that name their item by a new id each time": (
        [added(message(None, "a")), text("A", item_id="b"), text("B", item_id="c"), completed()],
        ["AB"],
    ),
    "two pieces of thinking": (
        [
            thought("A", content_index=0),
            thought("B", content_index=1),
            thought("C", content_index=1),
            completed(),
        ],
        ["A\n\nBC"],
    ),
    "two pieces of a summary": (
        [
            summary("A", summary_index=0),
            summary("B", summary_index=1),
            summary("C", summary_index=1),
            completed(),
        ],
        ["A\n\nBC"],
    ),
    "a summary that the end completes beside the thinking": (
        [
            summary("A", output_index=0),
            done({**reasoning("Hm"), "summary": [{"type": "summary_text", "text": "AB"}]}, output_index=0),
            completed(),
        ],
        ["AB"],
    ),
    "a text without a name in the item that came last": (
        [text("A"), added(message(None, "b")), text("B"), completed()],
        ["A", "B"],
    ),
    "an item that ended under another id, and is listed under the first": (
        [
            added(message(None, "a"), output_index=0),
            done(message("Hi", "b"), output_index=0),
            completed(message("X", "c"), message("Y", "a")),
        ],
        ["Hi", "X"],
    ),
    "a custom call whose text comes at its end": (
        [
            added({"type": "custom_tool_call", "id": "ct", "call_id": "c", "name": "g"}, output_index=0),
            event("custom_tool_call_input.done", output_index=0, input="x"),
            completed(),
        ],
        ["x"],
    ),
    "a response that starts again without an id": (
        [text("A"), event("created", response={}), completed()],
        ["A"],
    ),
}


@pytest.mark.parametrize("end", ["added", "done", "list"])
@pytest.mark.parametrize(
    ("deltas", "arguments"),
    [
        (('{"a":1}', '{"a":1}'), '{"a":1}'),
        (('{"a"', '{"a":1}'), '{"a":1}'),
        (("{", '{"a":', '{"a":[', '{"a":[1]}'), '{"a":[1]}'),
        (('{"a":', '{"a":1}'), '{"a":1}'),
        (('{"a":', '{"a":1}', "}"), '{"a":{"a":1}}'),
        (('{"a":[{"b":1},', '{"b":1}', "]}"), '{"a":[{"b":1},{"b":1}]}'),
        (('{"a":', '{"a":'), '{"a":{"a":1}}'),
    ],
)
def test_arguments_that_come_again_are_one_object(deltas: tuple[str, ...], arguments: str, end: str) -> None:
    grown = [event("function_call_arguments.delta", output_index=0, delta=delta) for delta in deltas]
    last = call(arguments)
    ends = {
        "added": [
            event("function_call_arguments.done", output_index=0, arguments=arguments),
            completed(last),
        ],
        "done": [done(last, output_index=0), completed(last)],
        "list": [completed(last)],
    }
    assert texts(decoded(added(call(""), output_index=0), *grown, *ends[end])) == [arguments]


@pytest.mark.parametrize(
    ("final", "arguments"),
    [
        ('{"a":{"a":1}}', '{"a":{"a":1}}'),
        ('{"a": 1}', '{"a": 1}'),
        ('{ "a":1}', '{"a":1}'),
        ('{"b":2}', '{"a":1}'),
        ("", '{"a":1}'),
    ],
    ids=["goes on with them", "goes on without them", "in another form", "others", "none"],
)
def test_what_may_be_arguments_again_is_decided_by_the_final_ones(final: str, arguments: str) -> None:
    grown = [
        event("function_call_arguments.delta", output_index=0, delta=delta) for delta in ('{"a":', '{"a":1}')
    ]
    ends = [done(call(final), output_index=0), completed(call(final))]
    assert texts(decoded(added(call(""), output_index=0), *grown, *ends)) == [arguments]


def test_the_text_of_a_custom_call_may_repeat() -> None:
    item = {"type": "custom_tool_call", "id": "ct", "call_id": "c", "name": "g", "input": ""}
    delta = event("custom_tool_call_input.delta", output_index=0, delta="{")
    assert texts(decoded(added(item, output_index=0), delta, delta, completed())) == ["{{"]


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_reconciled(name: str) -> None:
    events, expected = COPIES[name]
    response = decoded(*events)
    assert texts(response) == expected
    assert response.finish_reason in ("stop", "tool_calls", "refusal")


def test_equal_texts_are_copied_in_order() -> None:
    streamed = (text("Hi", output_index=5), text("Hi", output_index=6))
    response = decoded(*streamed, completed(message("Hi", "a"), message("Hi", "b")))
    assert [(part.extra or {})["message"]["id"] for part in response.message.content] == ["a", "b"]


TEXTS: dict[str, Callable[[str], Item]] = {
    "output_text.delta": lambda said: message(said, None),
    "refusal.delta": lambda said: {**message(None, None), "content": [{"type": "refusal", "refusal": said}]},
    "reasoning_text.delta": lambda said: reasoning(said, None),
    "reasoning_summary_text.delta": lambda said: {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": said}],
    },
    "function_call_arguments.delta": lambda said: {"type": "function_call", "name": "f", "arguments": said},
    "custom_tool_call_input.delta": lambda said: {"type": "custom_tool_call", "name": "f", "input": said},
}


@pytest.mark.parametrize("kind", TEXTS)
def test_items_in_another_order_are_told_by_their_texts(kind: str) -> None:
    made = TEXTS[kind]
    events: list[Item] = []
    for place, said in enumerate("AB"):
        events += [added(made(""), output_index=place), event(kind, output_index=place, delta=said)]
    response = decoded(*events, completed({**made("B"), "own": "B"}, {**made("A"), "own": "A"}))
    assert texts(response) == ["A", "B"]
    fields = [(part.extra or {}).get("message") or part.extra for part in response.message.content]
    assert [each["own"] for each in fields] == ["A", "B"]


def test_equal_calls_in_another_order_are_told_by_the_ids_that_results_name() -> None:
    ids = ("call_1", "call_2")
    events = [added(call("", None, id), output_index=place) for place, id in enumerate(ids)]
    ends = [{**call("{}", None, id), "own": id} for id in reversed(ids)]
    calls = decoded(*events, completed(*ends)).tool_calls
    assert [(each.id, each.extra) for each in calls] == [(id, {"own": id}) for id in ids]


def test_a_piece_that_does_not_end_knows_its_place() -> None:
    said = [text(each, output_index=0, content_index=place) for place, each in enumerate("AB")]
    refused = event("refusal.delta", output_index=0, content_index=1, delta="No")
    for events, places in (([*said, refused], [None, 1, None]), ([text("A")], [None])):
        parts = decoded(*events, completed()).message.content
        assert [(part.extra or {}).get("content_index") for part in parts] == places


@pytest.mark.parametrize(
    "fields",
    [{}, {"id": None}, {"status": "x"}, {"other": None}, {"action": {"b": 1, "a": "A"}}],
)
def test_an_item_of_a_hosted_tool_is_told_by_what_it_did(fields: Item) -> None:
    """Whatever its id and status are, and the order of its keys."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"a": "A", "b": 1}}
    other = {**search, "id": "ws_2", "action": {"a": "B", "b": 1}}
    response = decoded(done(search, output_index=0), completed(other, {**search, "id": "ws_9", **fields}))
    assert [part.data for part in response.message.content if isinstance(part, OpaquePart)] == [search, other]


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        *(("completed", status, "stop") for status in ("completed", None)),
        *(("done", status, "stop") for status in ("completed", None)),
        *((kind, "incomplete", "length") for kind in ("completed", "incomplete", "done")),
        *((kind, "cancelled", "other") for kind in ("cancelled", "done")),
        ("incomplete", None, "length"),
        *(("failed", status, None) for status in ("failed", "in_progress", "completed", None)),
        *((kind, "failed", None) for kind in ("completed", "done")),
    ],
)
def test_the_status_of_the_response_counts_but_a_failure_is_one(
    kind: str, status: str | None, reason: str | None
) -> None:
    details = {"reason": "max_output_tokens"} if reason == "length" else None
    end = event(kind, response={"id": "resp_1", "status": status, "incomplete_details": details})
    if reason is None:
        with pytest.raises(APIError, match="does not say why"):
            decoded(end)
    else:
        assert decoded(end).finish_reason == reason


def test_an_image_begins_without_bytes() -> None:
    decoder = ResponsesDecoder(ORIGIN)
    opened = added({"type": "image_generation_call", "id": "ig_1"}, output_index=0)
    events = [e for each in (CREATED, opened) for e in decoder.feed(WireMessage(msgspec.json.encode(each)))]
    assert events[1:] == [PartStart(0, ImagePart(data=b"", origin=ORIGIN))]


def test_what_is_shown_of_reasoning_is_what_began() -> None:
    """The other of summary and thinking is passed on as it comes."""
    for first, other, kind in ((summary, thought, "content"), (thought, summary, "summary")):
        decoder = ResponsesDecoder(ORIGIN)
        told = (CREATED, first("A"), other("B"), first("C"), completed())
        events = [e for each in told for e in decoder.feed(WireMessage(msgspec.json.encode(each)))]
        assert [e for e in events if isinstance(e, OpaqueDelta)] == [OpaqueDelta(0, f"reasoning_{kind}", "B")]
        assert collect(events).reasoning == "AC"


def test_half_a_character_is_no_part_of_a_copy_of_another_kind() -> None:
    """The half that was streamed stands, and the copy is a part of its own."""
    decoder = ResponsesDecoder(ORIGIN)
    refused = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}
    half = text("\ud83d", output_index=0, content_index=0)
    events = []
    for each in (CREATED, half, done(refused, output_index=0), completed(refused)):
        events += decoder.feed(WireMessage(json.dumps(each).encode()))
    content = collect(events + decoder.finish()).message.content
    assert [(type(part), part.text) for part in content if isinstance(part, (TextPart, RefusalPart))] == [
        (TextPart, "\ufffd"),
        (RefusalPart, "No"),
    ]
    assert len(content) == 2


def test_a_reconciled_message_goes_back_as_one_item() -> None:
    events, _ = COPIES["a list that begins with reasoning, under new ids"]
    history = Request((decoded(*events).message,), "m")
    items = encode_known(RESPONSES, history, ORIGIN, stream=False).body["input"]
    assert [item["content"][0]["text"] for item in items if item["type"] == "message"] == ["Hello"]


def test_a_terminal_without_status_ends_as_it_is_named() -> None:
    decoder = ResponsesDecoder(ORIGIN)
    ended = decoder.feed(WireMessage(b'{"type":"response.done","response":{"id":"r"}}'))
    assert isinstance(ended[-1], ResponseEnd)
    assert ended[-1].raw_finish_reason == "completed"


def test_the_start_of_another_response_is_an_error() -> None:
    other = event("created", response={"id": "resp_2"})
    with pytest.raises(ProtocolError, match="another response") as raised:
        decoded(text("A"), other)
    assert raised.value.partial is not None
    assert raised.value.partial.text == "A"


CONTENT = (
    *("output_text.delta", "refusal.delta", "function_call_arguments.delta", "custom_tool_call_input.delta"),
    *("reasoning_summary_text.delta", "reasoning_text.delta", "audio.delta", "audio.transcript.delta"),
)


@pytest.mark.parametrize("kind", [*CONTENT, "heartbeat.unknown", "in_progress", "output_text.done"])
def test_only_content_must_not_repeat_a_number(kind: str) -> None:
    decoder = ResponsesDecoder(ORIGIN, watchful=True)
    for number, each in enumerate((CREATED, text("A"), text("B"))):
        decoder.feed(WireMessage(msgspec.json.encode({**each, "sequence_number": number})))
    repeated = WireMessage(
        msgspec.json.encode({**event(kind, delta="QQ==", text="AB"), "sequence_number": 2})
    )
    if kind in CONTENT:
        with pytest.raises(ProtocolError, match="number 2"):
            decoder.feed(repeated)
    else:
        assert decoder.feed(repeated) == []
    assert decoder.sequence == 2


# -- any bytes give a response or a ProviderError ------------------------------------------------------------

JUNK: list[Any] = [
    {"type": []},
    {"type": {"a": 1}},
    {"type": "response.completed", "response": []},
    {"type": "response.completed"},
    {"type": "response.created", "response": 5},
    {"type": "response.in_progress", "response": []},
    {"type": "response.audio.transcript.delta", "delta": True},
    {"type": "response.audio.transcript.delta", "delta": "A"},
    {"type": "response.audio.delta", "delta": 5},
    {"type": "response.audio.delta", "delta": "é"},
    {"type": "response.output_text.delta", "delta": 5},
    {"type": "response.output_text.delta", "delta": "a", "content_index": []},
    {"type": "response.output_text.delta", "delta": "a", "output_index": {}},
    {"type": "response.output_text.delta", "delta": "a", "item_id": []},
    {"type": "response.output_text.annotation.added", "annotation": 1},
    {"type": "response.web_search_call.searching", "output_index": 3},
    added({"type": []}),
    added({"type": "message", "id": []}),
    done({"type": "message", "content": [1, "a", None, []]}),
    done({"type": "message", "content": "text"}),
    done({"type": "function_call", "name": "f", "arguments": [1]}),
    done({"type": "reasoning", "summary": 5}),
    completed({"type": "message", "content": [{"type": "output_text", "text": "a", "message": 1}]}),
]


def grammar(events: list[Any], *, ended: bool) -> None:
    """`ResponseStart (PartStart Delta* PartEnd)* ResponseEnd`, and the joined deltas are the part's text."""
    assert isinstance(events[0], ResponseStart)
    growing: dict[int, list[str]] = {}
    count = 0
    for each in events[1:]:
        match each:
            case PartStart(index=index):
                assert index == count
                count += 1
                growing[index] = []
            case OpaqueDelta(index=index):
                assert index is None or index in growing
            case PartEnd(index=index, part=part):
                joined = "".join(growing.pop(index))
                assert joined == final_text(part)
            case ResponseEnd():
                assert growing == {}
                assert each is events[-1]
            case ResponseStart():
                raise AssertionError("a second start")
            case _:
                growing[each.index].append(each.text)
    assert isinstance(events[-1], ResponseEnd) is ended


@pytest.mark.parametrize("before", [[], [CREATED], [CREATED, added(call("")), text("A")]])
@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_no_event_breaks_the_decoder(junk: Any, before: list[Item]) -> None:
    decoder = ResponsesDecoder(ORIGIN)
    events: list[Any] = []
    ended = False
    try:
        for each in (*before, junk, completed(message("B", "msg_7"))):
            if not decoder.ended:
                events += decoder.feed(WireMessage(msgspec.json.encode(each)))
        ended = True
    except ProviderError as error:
        assert error.partial is not None  # type: ignore[attr-defined]
        assert load_messages(dump_messages([error.partial.message]))  # type: ignore[attr-defined]
    if events:
        grammar(events, ended=ended)
    if ended:
        goes_back(collect(events).message)


def goes_back(message: Message) -> None:
    """What was decoded can be dumped, loaded and encoded again."""
    (again,) = load_messages(dump_messages([message]))
    encoded = [
        encode_known(RESPONSES, Request((m,), "m"), ORIGIN, stream=False).body for m in (message, again)
    ]
    assert msgspec.json.encode(encoded[0]) == msgspec.json.encode(encoded[1])


KINDS: list[Item] = [
    message("A", "x"),
    reasoning("A", "x"),
    call('{"a":1}', "x"),
    {"type": "web_search_call", "id": "x", "status": "completed"},
    {"type": "image_generation_call", "id": "x", "result": "AAAA"},
    {"type": "custom_tool_call", "id": "x", "call_id": "c", "name": "g", "input": "A"},
]
GROWTH: list[list[Item]] = [
    [],
    [text("A", output_index=0)],
    [thought("A", output_index=0)],
    [event("function_call_arguments.delta", delta='{"a"', output_index=0)],
    [event("refusal.delta", delta="A", output_index=0)],
    [text("\ud83d", output_index=0)],
]


@pytest.mark.parametrize("first", KINDS, ids=lambda item: str(item["type"]))
@pytest.mark.parametrize("last", KINDS, ids=lambda item: str(item["type"]))
def test_an_item_that_changes_its_kind_keeps_the_grammar(first: Item, last: Item) -> None:
    for growth in GROWTH:
        for end in ([done(last, output_index=0)], []):
            decoder = ResponsesDecoder(ORIGIN)
            events: list[Any] = []
            for each in (CREATED, added(first, output_index=0), *growth, *end, completed(last)):
                events += decoder.feed(WireMessage(json.dumps(each).encode()))  # half a surrogate pair too
            grammar(events, ended=True)
            goes_back(collect(events).message)


@pytest.mark.parametrize("field", ["message", "content_index", "piece"])
@pytest.mark.parametrize("kind", ["output_text", "refusal"])
def test_a_piece_with_a_field_of_our_own_name_goes_back_as_it_came(field: str, kind: str) -> None:
    piece = {"type": kind, {"output_text": "text", "refusal": "refusal"}[kind]: "A", field: ["x"]}
    item = {**message(None), "content": [piece, piece]}
    turn = decoded(done(item), completed(item)).message
    goes_back(turn)
    (sent,) = encode_known(RESPONSES, Request((turn,), "m"), ORIGIN, stream=False).body["input"]
    assert [{k: v for k, v in each.items() if k != "annotations"} for each in sent["content"]] == [
        piece,
        piece,
    ]


def test_a_call_with_a_field_of_our_own_name_goes_back() -> None:
    item = {"type": "computer_call", "id": "cu", "call_id": "c", "message": {"type": "x"}, "content_index": 1}
    goes_back(decoded(done(item), completed(item)).message)


# -- at bounded cost -----------------------------------------------------------------------------------------


def whole(content: Any) -> bytes:
    return msgspec.json.encode(
        {"id": "r", "status": "completed", "output": [{**message(None), "content": content}]}
    )


def test_what_is_no_object_is_no_part() -> None:
    response = collect(RESPONSES.decoder(ORIGIN).feed_whole(whole([1] * 2_000_000)))
    assert response.message.content == ()


def test_the_number_of_parts_is_bounded() -> None:
    with pytest.raises(ProtocolError, match="parts"):
        RESPONSES.decoder(ORIGIN).feed_whole(whole([{"type": "output_text", "text": ""}] * 100_000))


def many_citations(count: int) -> None:
    note = {
        "type": "url_citation",
        "url": "https://a.example/",
        "title": "A",
        "start_index": 0,
        "end_index": 1,
    }
    added_notes = [event("output_text.annotation.added", output_index=0, annotation=note)] * count
    piece = {"type": "output_text", "text": "A", "annotations": [note] * count}
    decoded(
        text("A", output_index=0),
        *added_notes,
        done({**message(None), "content": [piece]}, output_index=0),
        completed(),
    )


def many_items_without_ids(count: int) -> None:
    items = [message(f"{i} says", None) for i in range(count)]
    decoded(*(done(item) for item in items), completed(*reversed(items)))


@pytest.mark.parametrize("case", [many_citations, many_items_without_ids])
def test_the_work_is_in_proportion(case: Callable[[int], None]) -> None:
    fits, small, large = is_in_proportion(case, 250)
    assert fits, (small, large)


class Growing:
    """An item that is streamed."""

    def __init__(self, text: str, ids: str = "", place: Any = None) -> None:
        self.text = text
        self.ids = tuple(ids)
        self.place = place
        self.is_done = False

    def seen(self) -> Seen:
        return Seen("text", (self.text,), self.ids, self.place)


def test_items_are_found_by_id_and_by_place() -> None:
    items: Any = StreamedItems()
    one, two, three = Growing("a", "1", 0), Growing("b", "2", 0), Growing("c")
    assert [items.begin(each) for each in (one, two, three)] == [one, two, three] == items.all
    assert (items.named("1"), items.named("2"), items.named("3"), items.named(1)) == (one, two, None, None)
    assert (items.at(0), items.at(1), items.at(None)) == (one, None, None)  # a place is the first one's there
    two.ids += ("9",)
    items.end(two)
    assert items.named("9") is items.named("2") is two
    one.is_done = True
    again = items.begin(Growing("d", "1", 0))
    assert items.at(0) is items.named("1") is again


def test_the_newest_item_that_grows_is_found() -> None:
    items: Any = StreamedItems()
    made = [items.begin(Growing(text)) for text in ("a", "b", "a")]
    assert items.last_growing(lambda each: True) is made[2]
    assert items.last_growing(lambda each: each.text == "b") is made[1]
    assert items.last_growing(lambda each: each.text == "x") is None
    items.end(made[2])
    assert items.last_growing(lambda each: each.text == "a") is made[0]
    for each in made[:2]:
        items.end(each)
    assert items.last_growing(lambda each: True) is None


def test_the_item_that_a_copy_ends_is_found() -> None:
    items: Any = StreamedItems()
    made = [items.begin(Growing(text)) for text in ("Hel", "Hello", "Bye", "Hello")]
    assert items.ended_by(Seen("text", ("Hello",)), lambda each: True) is made[1]
    assert items.ended_by(Seen("text", ("Hello",)), lambda each: each is not made[1]) is made[3]
    items.end(made[1])
    assert items.ended_by(Seen("text", ("Hello",)), lambda each: True) is made[3]
    assert items.ended_by(Seen("text", ("Help",)), lambda each: True) is made[0]
    assert items.ended_by(Seen("text", ("x",)), lambda each: True) is None  # no list: order decides nothing
    assert items.match_all([Seen("text", ("Hello",)), Seen("text", ("x",))], whole=False) == [
        made[1],
        None,
    ]  # the ended ones too
    assert items.match_all([Seen("text", (text,)) for text in "wxyz"], whole=True) == made
