"""Faults of services that speak Chat Completions: copies, junk, errors in odd places, counts, costs."""

from __future__ import annotations

import contextlib
import json
from itertools import permutations
from typing import Any

import pytest

from brainwires_provider.errors import (
    APIError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    StreamInterrupted,
)
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    PartEnd,
    PartStart,
    ResponseEnd,
    ResponseStart,
    ToolCallDelta,
    collect,
)
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.openai_chat import OpenAIChat
from brainwires_provider.types import (
    Message,
    Origin,
    ReasoningPart,
    RefusalPart,
    Response,
    dump_messages,
    load_messages,
)
from reading import read_stream
from work import is_in_proportion

ORIGIN = Origin("openai_chat", "p", "m")


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **top: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "r", "model": "m", "choices": [choice], **top}


def whole(message: dict[str, Any], finish: str = "stop", **top: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    return {"id": "r", "model": "m", "object": "chat.completion", "choices": [choice], **top}


def call(arguments: Any, index: int = 0, id: str | None = "c1", name: str | None = "f") -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}


def decoded(*chunks: Any, body: bytes | None = None) -> tuple[list[Event], Response]:
    """The events of a stream, or of a whole body, checked for their grammar; and their response."""
    decoder = OpenAIChat().decoder(ORIGIN)
    events: list[Event] = []
    if body is not None:
        events = decoder.feed_whole(body)
    else:
        for piece in chunks:
            data = piece if isinstance(piece, bytes) else json.dumps(piece).encode()
            events += decoder.feed(WireMessage(data))
        events += decoder.finish()
    assert isinstance(events[0], ResponseStart) and isinstance(events[-1], ResponseEnd)
    opened = [e.index for e in events if isinstance(e, PartStart)]
    assert (
        opened == list(range(len(opened)))
        and sorted(e.index for e in events if isinstance(e, PartEnd)) == opened
    )
    response = collect(events)
    history = [Message.user("Hi"), response.message]
    assert load_messages(dump_messages(history)) == history
    return events, response


# -- a copy of what was streamed -----------------------------------------------------------------------------


def test_a_whole_last_frame_completes_the_text() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    for text in ("Hi", "Hi there", "H"):
        _, response = decoded(chunk({"content": "Hi"}), whole({"content": text}, usage=usage))
        assert response.text == max("Hi", text, key=len)
        assert response.finish_reason == "stop"
        assert response.usage.output_tokens == 2


def test_a_whole_last_frame_doubles_neither_reasoning_nor_calls() -> None:
    details = [{"type": "reasoning.text", "text": "Hm", "index": 0}]
    last = {
        "content": "Hi",
        "reasoning_content": "Hm",
        "reasoning_details": details,
        "refusal": "No",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": '{"b":2}'}},
        ],
        "images": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x.test"}}],
    }
    streamed = (
        chunk({"reasoning_content": "Hm", "reasoning_details": details}),
        chunk({"content": "Hi", "annotations": last["annotations"]}),
        chunk({"refusal": "No", "images": last["images"]}),
        chunk(call('{"a"')),
        chunk(call(":1}", id=None, name=None)),
        chunk(call('{"b":2}', index=1, id="c2", name="g")),
    )
    _, response = decoded(*streamed, whole(last, "tool_calls"))
    _, plain = decoded(*streamed, chunk({}, "tool_calls"))
    assert response.message == plain.message
    assert [c.arguments for c in response.tool_calls] == ['{"a":1}', '{"b":2}']
    assert len(response.citations) == 1


def test_what_only_the_last_frame_has_is_not_lost() -> None:
    last = whole({"content": "Hi", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]})
    _, response = decoded(chunk({"reasoning_content": "Hm"}), last)
    assert (response.text, response.reasoning, len(response.tool_calls)) == ("Hi", "Hm", 1)
    _, response = decoded(chunk({"content": "Hi"}), whole({"function_call": LEGACY}))
    assert [(call.name, call.arguments) for call in response.tool_calls] == [("f", "no JSON")]
    decoder = OpenAIChat().decoder(ORIGIN)
    decoder.feed(WireMessage(json.dumps(chunk({"content": "Hi"})).encode()))
    events = decoder.feed(WireMessage(json.dumps(last).encode()))
    assert [event.text for event in events if isinstance(event, ToolCallDelta)] == ["{}"]


DETAILS = [{"type": "reasoning.text", "text": "Hm", "index": 0}, {"type": "reasoning.encrypted", "data": "g"}]
PICTURE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
TEXT = {"type": "text", "text": "Hi"}
LEGACY = {"name": "f", "arguments": "no JSON"}
THOUGHT = {"type": "thinking", "thinking": "Hm"}


@pytest.mark.parametrize(
    ("delta", "copy"),
    [
        ({"content": "Hi"}, {"content": [TEXT]}),
        ({"content": [TEXT, PICTURE]}, {"content": [TEXT, PICTURE]}),
        ({"content": [THOUGHT, TEXT]}, {"content": [THOUGHT, TEXT], "reasoning_content": "Hm"}),
        ({"reasoning_details": DETAILS}, {"reasoning_details": DETAILS[:1]}),
        ({"audio": {"id": "a", "data": "AAEC"}}, {"audio": {"id": "a", "data": "AAEC"}}),
        ({"function_call": LEGACY}, {"function_call": LEGACY}),
    ],
    ids=[
        *("a list of texts", "a text before a picture", "a thought before a text", "less reasoning", "sound"),
        "a call in the older form",
    ],
)
def test_a_whole_last_frame_that_has_nothing_new_changes_nothing(
    delta: dict[str, Any], copy: dict[str, Any]
) -> None:
    _, response = decoded(chunk(delta), whole(copy))
    _, plain = decoded(chunk(delta), chunk({}, "stop"))
    assert response.message == plain.message
    assert response.message.content


def test_a_whole_last_frame_completes_a_text_by_a_list_of_texts() -> None:
    more = [TEXT, {"type": "text", "text": " you"}, {"type": "text", "text": 5}, "odd"]
    _, response = decoded(chunk({"content": "Hi"}), whole({"content": more}))
    assert response.text == "Hi you"


@pytest.mark.parametrize(
    ("delta", "copy", "text"),
    [
        ({"refusal": "N"}, {"refusal": "No"}, "No"),
        ({"refusal": "No"}, {"refusal": None}, "No"),
        ({"reasoning_content": "H"}, {"reasoning_content": "Hm"}, "Hm"),
        ({"reasoning": "H"}, {"reasoning": "Hm"}, "Hm"),
        ({"reasoning_details": [{**DETAILS[0], "text": "H"}]}, {"reasoning_details": DETAILS}, "Hm"),
    ],
)
def test_a_whole_last_frame_completes_a_refusal_and_reasoning(
    delta: dict[str, Any], copy: dict[str, Any], text: str
) -> None:
    _, response = decoded(chunk(delta), whole(copy))
    [part] = response.message.content
    assert isinstance(part, (RefusalPart, ReasoningPart))
    assert part.text == text


SHOWN = {"type": "reasoning.text", "text": "Hm", "signature": "s"}
HIDDEN = {"type": "reasoning.encrypted", "data": "d"}


@pytest.mark.parametrize(
    ("deltas", "copy", "kept"),
    [
        ([{"reasoning_details": [{**SHOWN, "text": "H"}]}], [SHOWN, HIDDEN], [SHOWN, HIDDEN]),
        ([{"reasoning_details": [{**SHOWN, "signature": "t"}]}], [SHOWN], [SHOWN]),
        ([{"reasoning_details": [SHOWN]}, {"reasoning_details": [HIDDEN]}], [SHOWN], [SHOWN, HIDDEN]),
        ([{"reasoning": "Hm"}], [SHOWN], [SHOWN]),
        ([{"reasoning": "Hm"}], [], None),
        ([{"reasoning_details": [SHOWN]}], [{**SHOWN, "text": "H", "signature": "t"}], [SHOWN]),
    ],
    ids=["more of it", "as much", "less of it", "under another name", "none", "a shorter text"],
)
def test_a_whole_last_frame_completes_what_reasoning_holds(
    deltas: list[dict[str, Any]], copy: list[Any], kept: Any
) -> None:
    _, response = decoded(*map(chunk, deltas), whole({"reasoning_details": copy}))
    (part,) = response.message.content
    assert isinstance(part, ReasoningPart) and part.extra is not None
    assert (part.text, part.extra.get("reasoning_details")) == ("Hm", kept)
    assert (part.signature, part.encrypted) == (
        "s" if kept else None,
        "d" if kept and HIDDEN in kept else None,
    )
    names = {name for delta in deltas for name in delta} | {"reasoning_details"}
    assert part.extra["fields"] == sorted(names)


@pytest.mark.parametrize(
    ("copies", "calls"),
    [
        ([(None, "f", '{"a":1}')], [("c1", "f", '{"a":1}')]),
        ([("c1", "f", '{"a":1}'), ("c2", "g", "{}")], [("c1", "f", '{"a":1}'), ("c2", "g", "{}")]),
        ([(None, "g", "{}"), (None, "f", '{"a":1}')], [("c1", "f", '{"a":1}'), (None, "g", "{}")]),
        ([("c1", "g", '{"a":1}')], [("c1", "f", '{"a":1}')]),
    ],
    ids=["without its id", "and one more", "and one more before it", "by another name"],
)
def test_a_whole_last_frame_completes_its_calls(copies: list[Any], calls: list[Any]) -> None:
    last = [{"id": id, "function": {"name": name, "arguments": text}} for id, name, text in copies]
    _, response = decoded(chunk(call('{"a"')), whole({"tool_calls": last}, "tool_calls"))
    assert [(c.id, c.name, c.arguments) for c in response.tool_calls] == calls


@pytest.mark.parametrize(
    "ids", [("c1", "c2"), ("x1", "x2"), (None, None)], ids=["the same", "others", "none"]
)
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_whole_last_frame_has_its_calls_in_any_order(
    ids: tuple[str | None, ...], order: tuple[int, ...]
) -> None:
    """The calls are matched by what they are, and one with a field of its own keeps it."""
    first, second = ("f", '{"a":1,"b":2}'), ("f", '{"a":2,"b":1}')
    turned = {first: '{"b": 2, "a": 1}', second: '{"b": 1, "a": 2}', ("g", "{}"): "{}"}
    streamed = [
        chunk(call(first[1])),
        chunk(call(second[1], index=1, id="c2")),
        chunk(call("{}", 2, "c3", "g")),
    ]
    copies = [
        {"id": id, "function": {"name": said[0], "arguments": turned[said]}, "signature": said[1]}
        for id, said in zip((*ids, "c3"), turned, strict=True)
    ]
    _, response = decoded(*streamed, whole({"tool_calls": [copies[n] for n in order]}, "tool_calls"))
    assert [(c.id, c.name, c.arguments) for c in response.tool_calls] == [
        ("c1", *first),
        ("c2", *second),
        ("c3", "g", "{}"),
    ]
    assert [c.extra for c in response.tool_calls] == [{"signature": c.arguments} for c in response.tool_calls]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_equal_calls_of_a_last_frame_are_told_apart_by_their_ids(order: tuple[int, ...]) -> None:
    streamed = [chunk(call("{}", index, id)) for index, id in enumerate(("c1", "c2"))]
    copies = [
        {"id": id, "function": {"name": "f", "arguments": "{}"}, "signature": id} for id in ("c1", "c2")
    ]
    _, response = decoded(*streamed, whole({"tool_calls": [copies[n] for n in order]}, "tool_calls"))
    assert [(c.id, c.extra) for c in response.tool_calls] == [(id, {"signature": id}) for id in ("c1", "c2")]


def test_two_equal_calls_of_one_last_frame_are_two() -> None:
    last = whole({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}] * 2}, "tool_calls")
    for before in ((), (chunk({"content": "Hi"}),)):
        assert len(decoded(*before, last)[1].tool_calls) == 2


def test_a_stream_of_messages_instead_of_deltas_is_joined() -> None:
    def piece(text: str, finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": finish}]}

    assert decoded(piece("Hi"), piece(" you"), piece("", "stop"))[1].text == "Hi you"


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ({}, {}, True),
        ({}, {"type": "reasoning.summary"}, False),
        ({"index": 0}, {"index": 0}, True),
        ({"index": 0}, {"index": 1}, False),
        ({"index": 0}, {}, False),
        ({"index": 0}, {"type": "reasoning.summary", "index": 0}, False),
        ({"index": 0}, {"type": "reasoning.summary", "index": 1}, False),
        ({"id": "a"}, {"id": "a"}, True),
        ({"id": "a"}, {}, True),
        ({}, {"id": "a"}, True),
        ({"id": "a"}, {"id": "b"}, False),
        ({"signature": "s"}, {}, False),
        ({"signature": "s"}, {"text": ""}, True),
        ({}, {"text": "", "signature": "s"}, True),
        ({}, {"data": "d"}, False),
    ],
)
def test_which_reasoning_details_are_one(first: dict[str, Any], second: dict[str, Any], is_one: bool) -> None:
    """The fields are those of https://openrouter.ai/docs (reasoning tokens)."""
    pieces = [
        {"type": "reasoning.text", "text": "a", **first},
        {"type": "reasoning.text", "text": "b", **second},
    ]
    chunks = [chunk({"reasoning_details": [piece]}) for piece in pieces]
    (part,) = decoded(*chunks, chunk(finish="stop"))[1].message.content
    assert part.extra is not None
    joined = {**pieces[0], **pieces[1], "text": "a" + pieces[1]["text"]}
    assert part.extra["reasoning_details"] == ([joined] if is_one else pieces)


@pytest.mark.parametrize("details", [{"text": "b"}, "b", 5])
def test_text_beside_details_that_are_no_list_is_reasoning(details: Any) -> None:
    response = decoded(chunk({"reasoning": "a", "reasoning_details": details}), chunk(finish="stop"))[1]
    assert (response.reasoning, response.message.extra) == ("a", {"reasoning_details": details})


def test_reasoning_details_may_be_cumulative() -> None:
    def details(*texts: str) -> str:
        chunks = [chunk({"reasoning_details": [{"type": "reasoning.text", "text": text}]}) for text in texts]
        return decoded(*chunks, chunk({"content": "x"}, "stop"))[1].reasoning

    assert details("a", "ab") == "ab"
    assert details("a", "ab", "abc", "abc") == "abc"
    assert details("Hello", " world", "Hello") == "Hello worldHello"
    assert details("a", "a", "b") == "aab"
    assert details("a", "ab", "c") == "abc"
    assert details("a", "ab", "c", "abcd") == "abcabcd"
    assert details("a", "b", "", "abx") == "ababx"


def test_each_of_the_reasoning_details_may_be_cumulative() -> None:
    def details(*texts: tuple[str, int]) -> str:
        pieces = [{"type": "reasoning.text", "text": text, "index": index} for text, index in texts]
        chunks = [chunk({"reasoning_details": [piece]}) for piece in pieces]
        return decoded(*chunks, chunk({"content": "x"}, "stop"))[1].reasoning

    assert details(("a", 0), ("b", 0), ("c", 1), ("cd", 1)) == "abcd"
    assert details(("a", 0), ("ab", 0), ("c", 1), ("c", 1)) == "abcc"


@pytest.mark.parametrize(
    ("fragments", "arguments"),
    [
        (('{"a"', '{"a":1}'), '{"a":1}'),
        (('{"a":1}', '{"a":1}'), '{"a":1}'),
        (("{}", '{"a":1}'), '{"a":1}'),
        (("{}",), "{}"),
        (("{}", "{}"), "{}"),
        (("{}", '{"a":', "1}"), '{"a":1}'),
        (("", '{"a":1}'), '{"a":1}'),
        (('{"a":', "1}"), '{"a":1}'),
        (('{"a":', '{"a":1}', "}"), '{"a":{"a":1}}'),
        (("{}", '{"a":{"b":1}}'), '{"a":{"b":1}}'),
        (('{"a":1}', '{"a":1,"b":2}'), '{"a":1,"b":2}'),
        (('{"a":1}', '{"b":2,"a":1}', '{"b":2,"a":1}'), '{"b":2,"a":1}'),
        (('{"a":', "1}", '{"a":1,"b":2}'), '{"a":1}'),
    ],
)
def test_repeated_arguments_are_one_call(fragments: tuple[str, ...], arguments: str) -> None:
    is_nested = arguments.count("{") > 1
    chunks = [
        chunk(call(text) if not is_nested or not at else call(text, id=None, name=None))
        for at, text in enumerate(fragments)
    ]
    events, response = decoded(*chunks, chunk({}, "tool_calls"))
    assert [c.arguments for c in response.tool_calls] == [arguments]
    assert "".join(getattr(e, "text", "") for e in events) == arguments


@pytest.mark.parametrize("name", [None, "f"], ids=["without a name", "with the name"])
@pytest.mark.parametrize(
    ("fragments", "arguments"),
    [
        (('{"a":1}', '{"a":1}'), '{"a":1}'),
        (('{"a":', "1}", '{"a":1}'), '{"a":1}'),
        (('{"a"', '{"a":1}'), '{"a":1}'),
        (("{", '{"a":', '{"a":[', '{"a":[1,', '{"a":[1,2]}'), '{"a":[1,2]}'),
        (('{"a":', '{"a":1}'), '{"a":1}'),
        (('{"a":', '{"a":1}', "}"), '{"a":{"a":1}}'),
        (('{"a":', '{"a":1}', ",", '"b":2}'), '{"a":{"a":1},"b":2}'),
        (('{"a":[{"b":1},', '{"b":1}', "]}"), '{"a":[{"b":1},{"b":1}]}'),
        (('{"a":"', '{"', '"}'), '{"a":"{""}'),
    ],
)
def test_arguments_again_without_an_id_are_one_call(
    fragments: tuple[str, ...], arguments: str, name: str | None
) -> None:
    first, *more = fragments
    chunks = [chunk(call(first)), *(chunk(call(text, id=None, name=name)) for text in more)]
    events, response = decoded(*chunks, chunk({}, "tool_calls"))
    assert [c.arguments for c in response.tool_calls] == [arguments]
    assert "".join(getattr(e, "text", "") for e in events) == arguments


@pytest.mark.parametrize(
    ("first", "listed", "arguments"),
    [
        (call("{}"), '{"a":1', '{"a":1'),
        (call('{"a"', name=None), '{"a":1}', '{"a":1}'),
        (call('{"a"', name=None), '{"b":1}', '{"a"'),
        (call('{"a":1}'), '{"b":2}', '{"a":1}'),
    ],
    ids=["an empty object, then one that was cut", "no name before", "no name, and others", "others"],
)
def test_a_listed_call_completes_what_came(first: dict[str, Any], listed: str, arguments: str) -> None:
    last = whole({"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": listed}}]}, "tool_calls")
    _, response = decoded(chunk(first), last)
    assert [(c.name, c.arguments) for c in response.tool_calls] == [("f", arguments)]


def piece(
    index: int | None = 0, id: str | None = None, name: str = "", arguments: str = "", **more: Any
) -> dict[str, Any]:
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}, **more}


# The elements of `tool_calls`, each in a chunk of its own, and the calls that they are: id, name, arguments, extra.
STREAMS: dict[str, tuple[list[dict[str, Any]], list[tuple[Any, ...]]]] = {
    "by their index": (
        [piece(0, "a", "f", "{"), piece(1, "b", "g", "["), piece(0, arguments="}"), piece(1, arguments="]")],
        [("a", "f", "{}", None), ("b", "g", "[]", None)],
    ),
    "by their id": (
        [
            piece(None, "a", "f", "{"),
            piece(None, "b", "g", "["),
            piece(None, "a", "", "}"),
            piece(None, "b", "", "]"),
        ],
        [("a", "f", "{}", None), ("b", "g", "[]", None)],
    ),
    "without index and id": (
        [
            piece(None, "a", "f", "{"),
            piece(None, arguments="}"),
            piece(None, "b", "g", "["),
            piece(None, arguments="]"),
        ],
        [("a", "f", "{}", None), ("b", "g", "[]", None)],
    ),
    "another id at the index, with a name": (
        [piece(0, "a", "f", "{}"), piece(0, "b", "f", "{}")],
        [("a", "f", "{}", None), ("b", "f", "{}", None)],
    ),
    "an id made anew for each fragment": (
        [piece(0, "a", "f", '{"a"'), piece(0, "b", "", ":1}")],
        [("a", "f", '{"a":1}', None)],
    ),
    "another name at the index": (
        [piece(0, None, "f", "{"), piece(0, None, "g", "[]")],
        [(None, "f", "{", None), (None, "g", "[]", None)],
    ),
    "the name again, with each fragment": (
        [
            piece(0, None, "f", "{"),
            piece(0, None, "f"),
            piece(0, None, "f", '"a":1'),
            piece(0, None, "f", "}"),
        ],
        [(None, "f", '{"a":1}', None)],
    ),
    "the name again, after a whole object": (
        [piece(0, None, "f", '{"a":1}'), piece(0, None, "f", '{"a":2}')],
        [(None, "f", '{"a":1}', None), (None, "f", '{"a":2}', None)],
    ),
    "a name that comes late": (
        [piece(0, "a", "", '{"a"'), piece(0, "a", "", ":"), piece(0, "a", "f", "1}")],
        [("a", "f", '{"a":1}', None)],
    ),
    "a name that never comes": (
        [piece(0, "a", "", "{}"), piece(1, "b"), piece(2, None, "", "x"), piece(3, None, x=1), piece(4)],
        [("a", "", "{}", None), ("b", "", "", None), (None, "", "x", None), (None, "", "", {"x": 1})],
    ),
    "an id that comes late": ([piece(0, None, "f", "{"), piece(0, "a", "", "}")], [("a", "f", "{}", None)]),
    "no arguments": ([piece(0, "a", "f")], [("a", "f", "", None)]),
    "a placeholder before the arguments": (
        [piece(0, "a", "f", "{}"), piece(0, "a", "", '{"a":1}')],
        [("a", "f", '{"a":1}', None)],
    ),
    "fields of its own in several fragments": (
        [piece(0, "a", "f", "{", x=1, y=1), piece(0, arguments="}", y=2, z=3)],
        [("a", "f", "{}", {"x": 1, "y": 2, "z": 3})],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_which_call_a_fragment_belongs_to(name: str) -> None:
    pieces, calls = STREAMS[name]
    events, response = decoded(*(chunk({"tool_calls": [each]}) for each in pieces), chunk({}, "tool_calls"))
    assert [(c.id, c.name, c.arguments, c.extra) for c in response.tool_calls] == calls
    for at, found in enumerate(response.tool_calls):
        assert (found.local_id is None) is (found.id is not None)
        deltas = "".join(e.text for e in events if isinstance(e, ToolCallDelta) and e.index == at)
        assert deltas == found.arguments


def test_the_calls_of_a_whole_answer_are_each_its_own() -> None:
    calls = [
        piece(0, "a", "f", "{}"),
        piece(0, "a", "f", "{}"),
        piece(None, None, "", '{"b":1}'),
        piece(None, "c", "g"),
    ]
    _, response = decoded(body=json.dumps(whole({"tool_calls": calls}, "tool_calls")).encode())
    assert [(c.id, c.name, c.arguments) for c in response.tool_calls] == [
        ("a", "f", "{}"),
        ("a", "f", "{}"),
        ("c", "g", ""),
        (None, "", '{"b":1}'),  # it has a part at the end, where it is sure that no name comes
    ]


def test_a_custom_call_has_a_text() -> None:
    def custom(text: str, **more: Any) -> dict[str, Any]:
        return chunk(
            {"tool_calls": [{"index": 0, "type": "custom", "custom": {"input": text, **more}, "id": "a"}]}
        )

    _, response = decoded(custom("{", name="f"), custom("{"), custom("{x"), chunk({}, "tool_calls"))
    (found,) = response.tool_calls
    assert (found.kind, found.name, found.arguments) == ("custom", "f", "{{{x")


def test_two_real_calls_with_equal_arguments_stay_two() -> None:
    def count(*deltas: dict[str, Any]) -> int:
        return len(decoded(*map(chunk, deltas), chunk({}, "tool_calls"))[1].tool_calls)

    one, other = call('{"a":1}'), call('{"a":1}', id="c2")
    unnamed = [{**each["tool_calls"][0], "id": None} for each in (one, other)]
    assert count(one, other) == count({"tool_calls": unnamed}) == 2
    assert count(call('{"a":1}', 0, None), call('{"a":1}', 1, None)) == 2
    assert count(call('{"a":1}', 0, None), call('{"a":1}', 0, None)) == 1


def test_a_call_that_came_at_once_is_in_the_partial() -> None:
    decoder = OpenAIChat().decoder(ORIGIN)
    decoder.feed(WireMessage(json.dumps(chunk(call('{"a":1}'))).encode()))
    assert [c.arguments for c in decoder.partial().tool_calls] == ['{"a":1}']


def test_a_call_may_be_flat() -> None:
    flat = {"id": "c1", "name": "f", "arguments": '{"a":1}'}
    for _, response in (
        decoded(chunk({"tool_calls": [flat]}, "tool_calls")),
        decoded(body=json.dumps(whole({"tool_calls": [flat]}, "tool_calls")).encode()),
    ):
        found = response.tool_calls[0]
        assert (found.id, found.name, found.arguments, found.extra) == ("c1", "f", '{"a":1}', None)


# -- junk, and errors in odd places ----------------------------------------------------------------------------


@pytest.mark.parametrize("junk", [b"null", b": keepalive", b'"ping"', b"5", b"ping", b"[]", b"true", b"  "])
def test_junk_in_a_stream_is_ignored(junk: bytes) -> None:
    _, response = decoded(junk, chunk({"content": "Hi"}), junk, chunk({}, "stop"), junk)
    assert response.text == "Hi"


@pytest.mark.parametrize("cut", [b'{"choices":', b"[{", b'{"choices":[{"delta":{"content":"\\'])
def test_a_broken_frame_is_not_junk(cut: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(chunk({"content": "Hi"}), cut)


@pytest.mark.parametrize(
    "data",
    [
        b'{"error":{"message":"busy","code":"slow_down"}}',
        b'[{"error":{"message":"busy","code":"slow_down"}}]',
        b'{"choices":null,"error":{"message":"busy","code":"slow_down"}}',
    ],
)
def test_an_error_in_any_form_is_that_error(data: bytes) -> None:
    with pytest.raises(OverloadedError) as caught:
        decoded(chunk({"content": "Hi"}), data)
    partial = caught.value.partial
    assert partial is not None and (partial.text, partial.finish_reason) == ("Hi", "pending")
    assert "error" not in partial.extra
    with pytest.raises(OverloadedError) as whole_caught:
        decoded(body=data)
    for error in (caught.value, whole_caught.value):
        assert (error.provider, error.model, error.status, error.message) == ("p", "m", None, "busy")


ERROR = {"error": {"message": "busy", "code": "slow_down"}}


@pytest.mark.parametrize(
    "last",
    [
        ERROR,
        chunk({"content": "Hi"}, **ERROR),
        whole({"content": "Hi"}, **ERROR),
        {"id": "r", "choices": [{"index": 0, "delta": {"content": "Hi"}, **ERROR}]},
    ],
    ids=["alone", "beside a delta", "beside a message", "in the choice"],
)
@pytest.mark.parametrize("is_whole", [False, True])
def test_an_error_is_no_field_of_what_had_arrived(last: dict[str, Any], is_whole: bool) -> None:
    said = {"id": "r", "kept": 1}
    with pytest.raises(OverloadedError, match="busy") as caught:
        if is_whole:
            decoded(body=json.dumps({**last, **said}).encode())
        else:
            decoded({**last, **said})
    error = caught.value
    assert (error.provider, error.model, error.code, error.body) == (
        "p",
        "m",
        "slow_down",
        ERROR if "error" not in last else {**last, **said},
    )
    assert error.partial is not None
    extra = {name: value for name, value in error.partial.extra.items() if name != "object"}
    assert extra == ({"kept": 1} if "choices" in last else {})


def test_an_error_beside_the_choices_is_an_error() -> None:
    body = {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
    for run in (lambda: decoded(body), lambda: decoded(body=json.dumps(body).encode())):
        with pytest.raises(RateLimitError, match="insufficient balance") as caught:
            run()
        assert caught.value.code == "1008" and not caught.value.retryable
    _, response = decoded(whole({"content": "Hi"}, base_resp={"status_code": 0, "status_msg": ""}))
    assert response.text == "Hi"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"error":{"message":"busy","code":"slow_down"}}',
        b'{"error":{"message":"busy","code":"slow_down"}}\n\n',
        b'{\n  "error": {\n    "message": "busy",\n    "code": "slow_down"\n  }\n}\n',
    ],
)
def test_a_raw_error_in_an_event_stream_is_that_error(raw: bytes) -> None:
    stream = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n' + raw
    for size in (1, 7, len(stream)):
        framing, decoder = SSEFraming(), OpenAIChat().decoder(ORIGIN)
        with pytest.raises(OverloadedError, match="busy"):
            read_stream(framing, decoder, [stream[at : at + size] for at in range(0, len(stream), size)], [])


@pytest.mark.parametrize("name", ["message", "detail"])
def test_words_without_choices_are_an_error_unless_the_object_has_an_id(name: str) -> None:
    """Gateways answer so, under status 200; with an id it is a chunk that has a field of this name."""
    for ours in ({name: "no such model"}, {name: "no such model", "object": "error", "id": "e1"}):
        with pytest.raises(APIError, match="no such model"):
            decoded(ours)
        with pytest.raises(APIError, match="no such model"):
            OpenAIChat().decoder(ORIGIN).feed_whole(json.dumps(ours).encode())
    _, response = decoded({"id": "c1", name: "warming up", "choices": []}, chunk({"content": "Hi"}, "stop"))
    assert (response.text, response.extra[name]) == ("Hi", "warming up")


def indexed(choice_index: int, chunk: dict[str, Any]) -> dict[str, Any]:
    return {**chunk, "choices": [{**choice, "index": choice_index} for choice in chunk["choices"]]}


def test_the_answer_may_be_the_choice_of_another_number() -> None:
    said = [chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk(call("{}"))]
    both = [
        chunk({"role": "assistant", "content": ""}),
        *(indexed(1, each) for each in said),
        chunk({}, "stop"),
    ]
    alone = [indexed(1, each) for each in [*said, chunk({}, "tool_calls")]]
    for chunks in (both, alone, [*alone, indexed(2, chunk({"content": "other"}))]):
        response = decoded(*chunks)[1]
        assert (response.text, len(response.tool_calls), response.finish_reason) == ("Hello", 1, "tool_calls")
        others = [c["index"] for c in response.extra["choices"]] if "choices" in response.extra else None
        assert others == ([2] if "other" in str(chunks) else None)
    body = json.dumps(indexed(1, whole({"content": "Hi"}))).encode()
    assert decoded(body=body)[1].text == "Hi"
    last = indexed(
        1, whole({"content": "Hello", "tool_calls": said[-1]["choices"][0]["delta"]["tool_calls"]})
    )
    again = decoded(*(indexed(1, each) for each in said), last)[1]
    assert (again.text, len(again.tool_calls), again.finish_reason) == ("Hello", 1, "tool_calls")
    two = decoded(chunk({"content": "A"}), indexed(1, chunk({"content": "B"})), chunk({}, "stop"))[1]
    assert (two.text, len(two.extra["choices"])) == ("A", 1)


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_of_several_choices_the_first_is_the_answer(numbers: tuple[int, int]) -> None:
    body = whole({"content": "A0"})
    body["choices"] = [
        {"index": number, "message": {"content": f"A{number}"}, "finish_reason": "stop"} for number in numbers
    ]
    _, response = decoded(body=json.dumps(body).encode())
    assert (response.text, [c["message"]["content"] for c in response.extra["choices"]]) == ("A0", ["A1"])


def test_a_field_named_choices_is_no_choice() -> None:
    choice = {"index": 0, "delta": {"role": "assistant"}, "finish_reason": "stop", "choices": [None, "a", {}]}
    assert decoded({"choices": [choice]})[1].extra == {"choices": [None, "a", {}]}


def test_another_choice_that_is_misshapen_is_a_typed_error() -> None:
    wrong = {"choices": [{"index": 1, "delta": {"content": 5.5}, "finish_reason": "stop"}]}
    for run in (lambda: decoded(wrong), lambda: decoded(wrong, b"[DONE]")):
        with pytest.raises(ProtocolError, match="content is float"):
            run()


@pytest.mark.parametrize("is_whole", [False, True])
@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        ({"error": ""}, {"error": ""}),
        ({"error": {}}, {"error": {}}),
        ({"error": None}, {}),
        ({"usage": 5}, {"usage": 5}),
        ({"usage": {"prompt_tokens": 3}}, {}),
        ({"logprobs": "x"}, {"logprobs": "x"}),
        ({"logprobs": {"content": [1], "refusal": None}}, {"logprobs": {"content": [1], "refusal": None}}),
        ({"stop_reason": {"a": 1}}, {"stop_reason": {"a": 1}}),
        ({"stop_reason": None}, {}),
    ],
)
def test_a_field_of_the_choice_is_kept_as_what_it_is(
    fields: dict[str, Any], extra: dict[str, Any], is_whole: bool
) -> None:
    sent = whole({"content": "Hi"}) if is_whole else chunk({"content": "Hi"}, "stop")
    sent["choices"][0].update(fields)
    _, response = decoded(body=json.dumps(sent).encode()) if is_whole else decoded(sent)
    assert {name: value for name, value in response.extra.items() if name != "object"} == extra
    assert response.usage.input_tokens == (3 if fields == {"usage": {"prompt_tokens": 3}} else 0)


@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        ({"annotations": "x"}, {"annotations": "x"}),
        ({"images": {"a": 1}}, {"images": {"a": 1}}),
        ({"thinking_blocks": "x"}, {"thinking_blocks": "x"}),
        ({"thinking_blocks": [{"a": 1}]}, {"thinking_blocks": [{"a": 1}]}),
        ({"odd": 0, "no": False, "blank": ""}, {"odd": 0, "no": False, "blank": ""}),
        ({"reasoning_content": {"a": 1}}, {"reasoning_content": {"a": 1}}),
        ({"reasoning_content": "", "reasoning": None, "reasoning_details": []}, None),
        ({"images": {}, "audio": {}, "tool_calls": [], "function_call": {}}, None),
        *(({name: empty}, None) for name in ("annotations", "images") for empty in ([], "", None)),
        *(
            ({name: empty}, None)
            for name in ("refusal", "tool_calls", "function_call", "audio")
            for empty in ("", None)
        ),
        ({"odd": None}, None),
        ({"role": "user"}, None),
        ({"reasoning_content": "Hm"}, None),
    ],
)
def test_a_field_of_the_message_that_no_part_has_a_place_for_is_kept(
    fields: dict[str, Any], extra: dict[str, Any] | None
) -> None:
    said = {"content": "Hi", **fields}
    for _, response in (
        decoded(chunk(said, "stop")),
        decoded(chunk({"content": "Hi"}), chunk(fields, "stop")),
        decoded(body=json.dumps(whole(said)).encode()),
    ):
        assert (response.text, response.message.extra) == ("Hi", extra)
        assert len(response.message.content) == (2 if fields.get("reasoning_content") == "Hm" else 1)


@pytest.mark.parametrize(
    ("piece", "kind"),
    [
        ({"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, "reasoning"),
        ({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}, "image"),
        ({"type": "odd", "a": 1}, "odd"),
        ({"a": 1}, "content"),
    ],
)
def test_a_piece_between_two_texts_parts_them(piece: dict[str, Any], kind: str) -> None:
    first, last = {"type": "text", "text": "A", "own": 1, "none": None}, {"type": "text", "text": "B"}
    for content in ([first, piece, last], [[first], [piece], [last]]):
        chunks = [chunk({"content": part if isinstance(part, list) else [part]}) for part in content]
        before, between, after = decoded(*chunks, chunk({}, "stop"))[1].message.content
        assert (before.text, before.extra, after.text, after.extra) == ("A", {"own": 1}, "B", None)  # type: ignore[union-attr]
        assert getattr(between, "kind", type(between).__name__.removesuffix("Part").lower()) == kind
    whole_answer = decoded(body=json.dumps(whole({"content": [first, piece, last]})).encode())[1]
    assert [getattr(part, "text", None) for part in whole_answer.message.content][::2] == ["A", "B"]


@pytest.mark.parametrize("url", ["", "data:;base64,AAEC", "data:image/png;base64,AAEC", "https://x.test/a"])
def test_an_image_goes_back_whatever_is_known_of_it(url: str) -> None:
    _, response = decoded(
        whole({"content": "Hi", "images": [{"type": "image_url", "image_url": {"url": url}}]})
    )
    OpenAIChat().encode(_request(response), ORIGIN, stream=False)


# -- parts -----------------------------------------------------------------------------------------------------


def both_ways(message: dict[str, Any], **top: Any) -> list[Response]:
    """The same message as a body, and as one delta."""
    body = json.dumps(whole(message, **top)).encode()
    return [decoded(body=body)[1], decoded(chunk(message, "stop", **top))[1]]


@pytest.mark.parametrize("model", [None, "", "m-1"])
@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hi"},
        {"content": [TEXT]},
        {"content": [THOUGHT]},
        {"content": [PICTURE]},
        {"content": [{"type": "odd"}]},
        {"content": "", "annotations": [{"url": "u"}]},
        {"refusal": "No"},
        {"reasoning": "Hm"},
        {"reasoning_details": DETAILS},
        {"audio": {"id": "a"}},
        {"images": [PICTURE]},
        {"images": [{}]},
        call("{}"),
        {"function_call": LEGACY},
    ],
)
def test_every_part_says_where_it_comes_from(message: dict[str, Any], model: str | None) -> None:
    for response in both_ways(message, model=model):
        (part,) = response.message.content
        assert part.origin == Origin("openai_chat", "p", "m", model or None)


def test_the_citations_of_a_text_are_not_those_of_the_next() -> None:
    first = {"content": [TEXT], "annotations": [{"url": "a"}]}
    _, response = decoded(chunk(first), chunk({"content": [PICTURE, TEXT]}, "stop"))
    cited = [[c.url for c in getattr(part, "citations", ())] for part in response.message.content]
    assert cited == [["a"], [], []]


@pytest.mark.parametrize(
    ("annotation", "cited"),
    [
        ({"url": "u", "title": "t", "content": "q"}, {"url": "u", "title": "t", "quote": "q"}),
        ({"name": "n", "start_index": 1, "end_index": 2}, {"title": "n", "start": 1, "end": 2}),
        ({"title": "t", "name": "n"}, {"title": "t"}),
        ({"file_id": "f", "hash": "h"}, {"source": "f"}),
        ({"hash": "h"}, {"source": "h"}),
        ({"url": 1, "title": 2, "name": 3, "content": 4, "file_id": 5, "hash": 6}, {}),
        ({"start_index": "1", "end_index": True}, {}),
    ],
)
def test_every_field_of_a_citation(annotation: dict[str, Any], cited: dict[str, Any]) -> None:
    """The names are those of OpenAI (`url_citation`, `file_citation`) and of OpenRouter (`file`)."""
    nested = {"type": "url_citation", "url_citation": annotation, "url": "no"}
    for raw in (annotation, nested, {"type": "file", **annotation}):
        for response in both_ways({"content": "Hi", "annotations": [raw, "odd"]}):
            (citation,) = response.citations
            said = {name: getattr(citation, name) for name in citation.__struct_fields__}
            assert {name: value for name, value in said.items() if value is not None} == {**cited, "raw": raw}


def test_what_a_search_lists_is_cited_once() -> None:
    """As Perplexity has it: https://docs.perplexity.ai/api-reference/chat-completions-post (2026-11)."""
    found = [{"url": "a", "title": "t", "snippet": "s"}, {"url": "b", "title": 1, "snippet": 2}]
    odd = [{"title": "no url"}, {"url": ""}, "c", None]
    top = {"search_results": [*found, *odd], "citations": ["b", "d", 5]}
    for response in both_ways({"content": "Hi"}, **top):
        assert [(c.url, c.title, c.quote, c.raw) for c in response.citations] == [
            ("a", "t", "s", found[0]),
            ("b", None, None, found[1]),
            ("d", None, None, "d"),
        ]
        assert {name: response.extra[name] for name in top} == top
    for response in both_ways({"content": "Hi"}, search_results="x", citations={"a": 1}):
        assert response.citations == ()
    for response in both_ways({"content": ""}, citations=["d"]):
        assert [
            (type(part).__name__, c.url) for part in response.message.content for c in part.citations
        ] == [  # type: ignore[union-attr]
            ("TextPart", "d")
        ]


IMAGE = "https://x.test/a.png"


@pytest.mark.parametrize(
    ("item", "is_image", "extra"),
    [
        ({"type": "image_url", "image_url": {"url": IMAGE}}, True, None),
        ({"image_url": {"url": IMAGE}}, True, None),
        ({"type": "image_url", "image_url": IMAGE}, True, None),
        (
            {"type": "image_url", "index": 0, "image_url": {"url": IMAGE, "detail": "low"}},
            True,
            {"index": 0, "detail": "low"},
        ),
        ({"type": "image_url", "image_url": {"url": ""}}, False, None),
        ({"type": "image_url", "image_url": {"url": 5}}, False, None),
        ({"type": "image_url", "image_url": 5}, False, None),
        ({"type": "image_url"}, False, None),
        ({"type": "other", "image_url": {"url": IMAGE}}, False, None),
    ],
)
def test_an_image_is_told_by_its_url(item: dict[str, Any], is_image: bool, extra: Any) -> None:
    for response in both_ways({"content": "Hi", "images": [item, 5]}):
        _, image = response.message.content
        if is_image:
            assert (image.url, image.data, image.extra) == (IMAGE, None, extra)  # type: ignore[union-attr]
        else:
            assert (image.kind, image.data) == ("image", item)  # type: ignore[union-attr]
        assert image.origin == Origin("openai_chat", "p", "m", "m")


@pytest.mark.parametrize(
    ("url", "data", "media_type"),
    [
        ("data:image/png;base64,AAEC", b"\0\1\2", "image/png"),
        ("data:image/png,AAEC", b"AAEC", "image/png"),
        ("data:image/png;base64,A", None, None),
        ("image/png;base64,AAEC", None, None),
        ("data:image/png;base64", None, None),
    ],
)
def test_an_image_in_its_url_is_its_bytes(url: str, data: bytes | None, media_type: str | None) -> None:
    item = {"type": "image_url", "image_url": {"url": url, "a": 1}}
    for response in both_ways({"content": "Hi", "images": [item]}):
        image: Any = response.message.content[1]
        kept = (image.data, image.media_type, image.url, image.extra)
        assert kept == (data, media_type, None if data else url, {"a": 1})


def test_sound_is_joined_with_its_transcript_and_its_other_fields() -> None:
    pieces: list[dict[str, Any]] = [
        {"id": "a", "data": "AAEC", "none": None},
        {"transcript": "Hi"},
        {"data": "Aw==", "transcript": " you", "expires_at": 9},
        {},
    ]
    events, response = decoded(
        *(chunk({"audio": piece} if piece else {}) for piece in pieces), chunk({}, "stop")
    )
    part: Any = response.message.content[0]
    assert (part.data, part.text, part.extra) == (b"\0\1\2\3", "Hi you", {"id": "a", "expires_at": 9})
    deltas = [e for e in events if isinstance(e, OpaqueDelta)]
    assert [(e.index, e.kind, e.data) for e in deltas] == [(0, "audio", piece) for piece in pieces[:3]]
    for bare, text in (({"id": "a"}, None), ({"data": "AAEC"}, None), ({"transcript": "Hi"}, "Hi")):
        for one in both_ways({"content": None, "audio": bare}):
            (part,) = one.message.content
            assert (type(part).__name__, part.text) == ("FilePart", text)


@pytest.mark.parametrize("audio", [{"expires_at": 9}, {"id": "", "data": "", "transcript": ""}, {"id": None}])
def test_sound_without_anything_stays_with_the_message(audio: dict[str, Any]) -> None:
    for response in both_ways({"content": "Hi", "audio": audio}):
        assert (len(response.message.content), response.message.extra) == (1, {"audio": audio})


@pytest.mark.parametrize("audio", [{"data": "A"}, {"data": 5}, {"transcript": 5}, "x", ["x"]])
def test_sound_that_is_none_is_a_typed_error(audio: Any) -> None:
    for run in (lambda: decoded(chunk({"audio": audio})), lambda: both_ways({"audio": audio})):
        with pytest.raises(ProtocolError, match="not the shape of a Chat Completions answer"):
            run()


@pytest.mark.parametrize(
    ("wire", "told"),
    [
        ({"function": {"name": "f", "arguments": "{}"}}, ("function", "{}", None)),
        (
            {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}},
            ("function", '{"a":1}', None),
        ),
        ({"type": "function", "function": {"name": "f"}}, ("function", "", None)),
        ({"type": "custom", "custom": {"name": "f", "input": "x"}}, ("custom", "x", None)),
        ({"custom": {"name": "f", "input": "x"}}, ("custom", "x", None)),
        ({"type": "odd", "function": {"name": "f", "arguments": "{}"}}, ("odd", "{}", None)),
        ({"name": "f", "arguments": "{}", "more": 1}, ("function", "{}", {"more": 1})),
        ({"type": "custom", "name": "f", "input": "x"}, ("custom", "x", None)),
        (
            {
                "function": {"name": "f", "arguments": "{}", "a": 1, "b": None},
                "extra_content": {"c": 2},
                "d": None,
            },
            ("function", "{}", {"function": {"a": 1}, "extra_content": {"c": 2}}),
        ),
        (
            {"type": "custom", "custom": {"name": "f", "input": "x", "a": 1}},
            ("custom", "x", {"custom": {"a": 1}}),
        ),
    ],
)
def test_every_form_of_a_call(wire: dict[str, Any], told: tuple[Any, ...]) -> None:
    for id in ("c1", 7):
        for response in both_ways({"tool_calls": [{"id": id, "index": 0, **wire}, None]}):
            (found,) = response.tool_calls
            assert (found.kind, found.arguments, found.extra) == told
            assert (found.id, found.local_id, found.name) == (str(id), None, "f")
    for response in both_ways({"tool_calls": [{"id": "", **wire}]}):
        (found,) = response.tool_calls
        assert found.id is None and found.local_id is not None


def test_a_name_that_is_no_text_is_a_typed_error() -> None:
    for run in (lambda: decoded(chunk(call("{}", name=5))), lambda: both_ways(call("{}", name=5))):  # type: ignore[arg-type]
        with pytest.raises(ProtocolError, match="a tool call's name is int"):
            run()


@pytest.mark.parametrize(
    ("message", "text", "fields", "kept"),
    [
        ({"reasoning_content": "a"}, "a", ["reasoning_content"], None),
        ({"reasoning": "a"}, "a", ["reasoning"], None),
        ({"reasoning_content": "a", "reasoning": "a"}, "a", ["reasoning", "reasoning_content"], None),
        ({"reasoning_content": "a", "reasoning": "b"}, "a", ["reasoning_content"], {"reasoning": "b"}),
        ({"reasoning_content": "", "reasoning": "b"}, "b", ["reasoning"], None),
        (
            {"reasoning_content": {"a": 1}, "reasoning": "b"},
            "b",
            ["reasoning"],
            {"reasoning_content": {"a": 1}},
        ),
        ({"reasoning": "a", "reasoning_details": []}, "a", ["reasoning"], None),
        (
            {"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "b"}, "odd"]},
            "a",
            ["reasoning", "reasoning_details"],
            None,
        ),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "b"}]}, "b", ["reasoning_details"], None),
        (
            {"reasoning_details": [{"type": "reasoning.summary", "summary": "b"}]},
            "b",
            ["reasoning_details"],
            None,
        ),
        (
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "g"}]},
            "",
            ["reasoning_details"],
            None,
        ),
    ],
)
def test_reasoning_comes_under_several_names(
    message: dict[str, Any], text: str, fields: list[str], kept: Any
) -> None:
    for response in both_ways({"content": "Hi", **message}):
        part, _ = response.message.content
        assert isinstance(part, ReasoningPart) and part.extra is not None
        assert (part.text, part.extra["fields"], response.message.extra) == (text, fields, kept)


def test_what_reasoning_details_hold_is_in_the_parts_fields() -> None:
    details = [
        {"type": "reasoning.summary", "summary": "S", "index": 0},
        {"type": "reasoning.summary", "summary": "T", "index": 1},
        {"type": "reasoning.text", "text": "Hm", "signature": "s1", "index": 2},
        {"type": "reasoning.text", "text": "", "signature": "s2", "index": 3},
        {"type": "reasoning.encrypted", "data": "d1", "index": 4},
        {"type": "reasoning.encrypted", "data": "d2", "index": 5},
    ]
    for response in both_ways({"reasoning_details": details}):
        (part,) = response.message.content
        assert isinstance(part, ReasoningPart) and part.extra is not None
        assert (part.text, part.summary, part.signature, part.encrypted) == ("Hm", ("S", "T"), "s1", "d1")
        assert part.extra == {"fields": ["reasoning_details"], "reasoning_details": details}
    for response in both_ways({"reasoning_details": details[:2]}):
        (part,) = response.message.content
        assert (part.text, part.signature, part.encrypted) == ("S\n\nT", None, None)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("thinking", "text", "extra"),
    [
        ("Hm", "Hm", {}),
        ([{"type": "text", "text": "H"}, {"type": "text", "text": "m"}], "Hm", {}),
        ([{"type": "text"}, {"type": "text", "text": None}], "", {}),
        (
            [{"type": "text", "text": "H"}, {"type": "ref", "a": 1}, "odd"],
            "H",
            {"thinking": [{"type": "ref", "a": 1}, "odd"]},
        ),
        (None, "", {}),
    ],
)
def test_a_thought_among_the_content(thinking: Any, text: str, extra: dict[str, Any]) -> None:
    """As Mistral has it: https://docs.mistral.ai/capabilities/reasoning (2026-11)."""
    piece = {"type": "thinking", "thinking": thinking, "closed": True, "signature": None}
    for response in both_ways({"content": [piece, {"type": "text", "text": "Hi"}]}):
        part, after = response.message.content
        assert isinstance(part, ReasoningPart)
        assert (part.text, part.extra) == (text, {"closed": True, **extra, "fields": ["content"]})
        assert response.text == "Hi" and after.extra is None
    twice = [piece, {**piece, "closed": False}]
    streamed = decoded(
        chunk({"content": twice[:1]}), chunk({"content": twice[1:]}), chunk({"content": "Hi"}, "stop")
    )[1]
    part, _ = streamed.message.content
    listed = {name: value * 2 for name, value in extra.items()}
    assert (part.text, part.extra) == (text * 2, {"closed": False, **listed, "fields": ["content"]})  # type: ignore[union-attr]


# -- finish and counts ---------------------------------------------------------------------------------------

FINISHES = {
    "stop": "stop eos eos_token end_turn stop_sequence completed STOP",
    "length": "length max_tokens model_length model_context_window_exceeded",
    "tool_calls": "tool_calls function_call tool_use",
    "content_filter": "content_filter safety sensitive",
    "refusal": "refusal",
    "malformed_tool_call": "malformed_function_call function_call_filter: MALFORMED_FUNCTION_CALL",
    "other": "insufficient_system_resource error unknown",
}
"""OpenAI's own, and those of Mistral (model_length), Together (eos), DeepSeek (insufficient_system_resource), Z.AI
(sensitive), Gemini's compatible endpoint (function_call_filter: …), Anthropic's and Bedrock's behind gateways."""


@pytest.mark.parametrize(
    ("reason", "raw"), [(r, raw) for r, all_ in FINISHES.items() for raw in all_.split()]
)
def test_every_finish_reason(reason: str, raw: str) -> None:
    _, response = decoded(chunk({"content": "Hi"}, raw))
    assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)


def test_a_full_window_is_a_length() -> None:
    _, response = decoded(chunk({"content": "Hi"}, "model_context_window_exceeded"))
    assert (response.finish_reason, response.raw_finish_reason) == ("length", "model_context_window_exceeded")


def test_counts_may_be_in_the_choice() -> None:
    usage = {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}
    last = chunk({"content": "Hi"}, "stop")
    last["choices"][0]["usage"] = usage
    _, response = decoded(last)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (8, 2)
    assert "usage" not in response.extra


@pytest.mark.parametrize(
    ("message", "raw", "reason"),
    [
        ({"content": "Hi"}, "stop", "stop"),
        ({"content": "Hi"}, None, "other"),
        ({"content": "Hi", **call("{}")}, "stop", "tool_calls"),
        ({"content": "Hi", **call("{}")}, None, "tool_calls"),
        ({"content": "Hi", **call("{}")}, "length", "length"),
        ({"refusal": "No"}, "stop", "refusal"),
        ({"refusal": "No"}, None, "refusal"),
        ({"refusal": "No"}, "content_filter", "content_filter"),
        ({"refusal": "No"}, "length", "length"),
        ({"content": "Hi"}, "", "other"),
        ({"content": "Hi", **call("{}")}, "", "tool_calls"),
        ({"content": "Hi"}, "length: too long", "length"),
        ({"content": "Hi"}, "odd: stop", "other"),
        ({"refusal": "No", **call("{}")}, "stop", "tool_calls"),
    ],
)
def test_a_finish_reason_beside_what_was_said(message: dict[str, Any], raw: str | None, reason: str) -> None:
    body = whole(message)
    body["choices"][0]["finish_reason"] = raw
    _, response = decoded(body=json.dumps(body).encode())
    assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)
    if raw:
        _, response = decoded(chunk(message), chunk({}, raw))
        assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)


COUNTS = {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}


@pytest.mark.parametrize(
    ("chunks", "tokens", "extra"),
    [
        ([chunk({"content": "Hi"}, "stop", usage=COUNTS)], (8, 2), {}),
        ([chunk({"content": "Hi"}, usage={"prompt_tokens": 8}), chunk({}, "stop", usage={"completion_tokens": 2})],
         (8, 2), {}),
        ([chunk({"content": "Hi"}, usage={"prompt_tokens": 7}), chunk({}, "stop", usage=COUNTS)], (8, 2), {}),
        ([chunk({"content": "Hi"}, "stop", x_groq={"id": "q", "usage": COUNTS})], (8, 2),
         {"x_groq": {"id": "q", "usage": COUNTS}}),
        ([chunk({"content": "Hi"}, "stop", usage={"prompt_tokens": 3}, x_groq={"usage": COUNTS})], (3, 0),
         {"x_groq": {"usage": COUNTS}}),
        ([chunk({"content": "Hi"}, "stop", x_groq={"usage": 5})], (0, 0), {"x_groq": {"usage": 5}}),
        ([chunk({"content": "Hi"}, "stop", x_groq="q")], (0, 0), {"x_groq": "q"}),
        ([chunk({"content": "Hi"}, a={"b": 1}, c=1), chunk({}, "stop", a={"d": 2}, c=None)], (0, 0),
         {"a": {"b": 1, "d": 2}, "c": 1}),
        ([chunk({"content": "Hi"}, a=None), chunk({}, "stop", a=1)], (0, 0), {"a": 1}),
        ([chunk({"content": "Hi"}, a=[1]), chunk({}, "stop", a=[2])], (0, 0), {"a": [2]}),
        ([chunk({"content": "Hi"}, a={"b": 1, "c": None}, d=None), chunk({}, a={"c": 2}), chunk({}, "stop", a=None)],
         (0, 0), {"a": {"b": 1, "c": 2}}),
    ],
)  # fmt: skip
def test_fields_of_the_response_come_in_pieces(
    chunks: list[dict[str, Any]], tokens: tuple[int, int], extra: dict[str, Any]
) -> None:
    _, response = decoded(*chunks)
    assert ((response.usage.input_tokens, response.usage.output_tokens), response.extra) == (tokens, extra)


def test_counts_in_pieces_are_merged_in_depth() -> None:
    first = chunk({"content": "Hi"}, usage={"prompt_tokens": 3, "details": {"a": 1}})
    _, response = decoded(first, chunk({}, "stop", usage={"completion_tokens": 2, "details": {"b": 1}}))
    assert response.usage.raw == {"prompt_tokens": 3, "completion_tokens": 2, "details": {"a": 1, "b": 1}}


def test_fields_of_a_choice_come_in_pieces() -> None:
    """An object is merged, null adds nothing, and of two counts the first stays."""
    fields: list[dict[str, Any]] = [
        {"stop_reason": {"a": 1}, "native": "n", "logprobs": {"content": [1]}},
        {"stop_reason": {"b": 2}, "native": None, "logprobs": None},
        {"usage": {"prompt_tokens": 3, "completion_tokens": 1}, "finish_reason": "stop"},
        {"usage": {"prompt_tokens": 9, "total_tokens": 4}},
    ]
    chunks = [chunk({"content": "a"}) for _ in fields]
    for each, said in zip(chunks, fields, strict=True):
        each["choices"][0] |= said
    _, response = decoded(*chunks)
    assert response.extra == {
        "logprobs": {"content": [1]},
        "stop_reason": {"a": 1, "b": 2},
        "native": "n",
    }
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 1)


def test_log_probabilities_are_put_together() -> None:
    pieces: list[Any] = [
        {"content": [1], "refusal": None, "n": 1},
        {"content": [2, 3], "refusal": [4], "n": 2, "none": None},
        {"content": None, "refusal": [5], "n": None},
    ]
    given = json.loads(json.dumps(pieces))
    chunks = [chunk({"content": "a"}) for _ in pieces]
    for each, piece in zip(chunks, given, strict=True):
        each["choices"][0]["logprobs"] = piece
    _, response = decoded(*chunks, chunk({}, "stop"))
    assert response.extra == {"logprobs": {"content": [1, 2, 3], "refusal": [4, 5], "n": 2, "none": None}}


def test_a_model_may_change_on_the_way() -> None:
    _, response = decoded(
        {**chunk({"reasoning": "Hm"}), "model": "a"},
        {**chunk({"content": "Hi"}), "model": "b"},
        {**chunk({}, "stop"), "model": None},
    )
    assert (response.id, response.model) == ("r", "b")
    assert [part.origin for part in response.message.content] == [
        Origin("openai_chat", "p", "m", name) for name in "ab"
    ]
    _, response = decoded(
        chunk({"content": "Hi"}) | {"id": "", "model": None},
        chunk() | {"id": 7},
        chunk({}, "stop") | {"id": None, "model": ""},
    )
    assert (response.id, response.model) == ("7", "m")


@pytest.mark.parametrize(
    ("chunks", "is_clean", "says"),
    [
        ([], True, "the stream ended before the answer did: no finish reason came"),
        ([chunk({"content": "Hi"})], True, "the stream ended before the answer did: no finish reason came"),
        ([chunk({"content": "Hi"})], False, "the stream ended before the answer did: no finish reason came"),
        (
            [chunk({"content": "Hi"}, "stop")],
            False,
            "the stream ended inside a message, after the finish reason",
        ),
        ([{"id": "r", "choices": []}], True, "without a single choice: is this a Chat Completions endpoint"),
        ([{"id": "r", "model": "m"}], False, "the stream ended before the answer did"),
        ([{"id": "r", "model": "m"}, b"[DONE]"], True, "the stream ended without a single choice"),
        ([{**chunk({"content": "Hi"}, "stop"), "usage": [1]}], True, r"not the shape .* \(usage is list\)"),
        ([chunk({"content": 5})], True, r"not the shape .* \(content is int\)"),
    ],
)
def test_why_a_stream_is_no_answer(chunks: list[Any], is_clean: bool, says: str) -> None:
    decoder = OpenAIChat().decoder(ORIGIN)
    with pytest.raises((ProtocolError, StreamInterrupted), match=says) as caught:
        for piece in chunks:
            decoder.feed(WireMessage(piece if isinstance(piece, bytes) else json.dumps(piece).encode()))
        decoder.finish(is_clean)
    assert (caught.value.provider, caught.value.model) == ("p", "m")
    assert caught.value.partial is not None
    if isinstance(caught.value, StreamInterrupted):
        assert caught.value.partial.text == ("Hi" if "'Hi'" in str(chunks) else "")


@pytest.mark.parametrize(
    ("legacy", "calls", "kept"),
    [
        ([{"name": "f", "arguments": "{}"}], [("f", "{}")], None),
        ([{"name": "f", "arguments": '{"a"'}, {"arguments": ":1}"}], [("f", '{"a":1}')], None),
        ([{"name": "", "arguments": "x"}], [], {"function_call": {"name": "", "arguments": "x"}}),
        ([{"arguments": None, "a": 1}], [], {"function_call": {"arguments": None, "a": 1}}),
    ],
)
def test_a_call_of_the_older_form(legacy: list[Any], calls: list[Any], kept: Any) -> None:
    _, response = decoded(*(chunk({"function_call": each}) for each in legacy), chunk({}, "function_call"))
    assert [(call.name, call.arguments) for call in response.tool_calls] == calls
    assert response.message.extra == kept
    if len(legacy) == 1:
        message = {"content": "Hi", "function_call": legacy[0]}
        _, response = decoded(body=json.dumps(whole(message)).encode())
        assert [(call.name, call.arguments) for call in response.tool_calls] == calls
        assert response.message.extra == kept


@pytest.mark.parametrize("count", [10**30, -(10**30), 1e300, float("inf"), "\ud800", True])
def test_a_count_that_is_none_or_too_large_is_no_count(count: Any) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": count, "\ud800": 1, "odd": 2}
    decoder = OpenAIChat().decoder(ORIGIN)
    body = json.dumps(whole({"content": "Hi"}, usage=usage)).encode()
    response = collect(decoder.feed_whole(body))
    assert response.text == "Hi"
    assert response.usage.input_tokens == 3
    assert response.usage.output_tokens == (1 if count is True else 0)


@pytest.mark.parametrize(
    ("usage", "buckets"),
    [
        ({"cache_creation_input_tokens": 4}, {"cache_write": 4, "uncached_input": 6}),
        ({"prompt_tokens_details": {"cache_creation_tokens": 4}}, {"cache_write": 4, "uncached_input": 6}),
        ({"prompt_tokens_details": {"cache_creation_input_tokens": 4}}, {"cache_write": 4}),
        ({"prompt_tokens_details": {"cache_read_input_tokens": 4}}, {"cache_read": 4, "uncached_input": 6}),
    ],
)
def test_cached_counts_have_several_names(usage: dict[str, Any], buckets: dict[str, int]) -> None:
    counts = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, **usage}
    _, response = decoded(chunk({"content": "Hi"}, "stop", usage=counts))
    assert {name: getattr(response.usage, name) for name in buckets} == buckets
    assert response.usage.total_tokens == 12 and not response.usage.anomalies


# -- any bytes, at bounded cost --------------------------------------------------------------------------------

DEEP = b"[" * 700


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"\xff"},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":"\\ud800"}',
        b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":"\\ud800"}}',
        b'{"choices":[{"message":{"content":[1,null,true,{"type":{}}]},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"Hi","tool_calls":[1,{"function":5},{}]},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"\\ud800","x":'
        + b"[" * 150
        + b"]" * 150
        + b'},"finish_reason":"stop"}]}',
        b'{"error":{"message":"no","d":' + DEEP + b"}}",
        b'{"choices":' + DEEP,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"choices":[{"message":{"content":"Hi"}}]}',
        b'{"choices":[1]}',
        b'{"choices":{}}',
    ],
)
def test_any_bytes_give_a_response_or_a_typed_error(body: bytes) -> None:
    for run in (lambda: decoded(body=body), lambda: decoded(body)):
        try:
            _, response = run()
        except (ProtocolError, APIError) as error:
            partial = error.partial
            assert partial is None or dump_messages([partial.message])
        else:
            OpenAIChat().encode(
                _request(response), ORIGIN, stream=False
            )  # what was decoded can be sent again
    OpenAIChat().decode_error(_reply(body))


def _request(response: Response) -> Any:
    from brainwires_provider.types import Request

    return Request((Message.user("Hi"), response.message, Message.user("And?")), "m")


def _reply(body: bytes) -> Any:
    from brainwires_provider.protocols.base.protocol import Reply

    return Reply(400, {}, body, 0.0)


def test_what_is_no_object_is_no_part() -> None:
    _, response = decoded(body=json.dumps(whole({"content": [1, None, "Hi", 2.5, True]})).encode())
    assert [type(part).__name__ for part in response.message.content] == ["TextPart"]
    assert response.text == "Hi"


def test_the_number_of_calls_is_bounded_before_they_have_a_name() -> None:
    with pytest.raises(ProtocolError, match="more than 10000 calls; max_parts"):
        decoded(body=json.dumps(whole({"tool_calls": [{"type": "x"}] * 20_000})).encode())


SHAPES = {
    "numbers in the content": lambda n: {"content": [1] * n},
    "images in the content": lambda n: {
        "content": [{"type": "image_url", "image_url": {"url": "x"}}] * (n // 20)
    },
    "texts in the content": lambda n: {"content": [{"type": "text", "text": "a"}] * (n // 20)},
    "thinking in the content": lambda n: {
        "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}, {"x": 1}]}] * (n // 40)
    },
    "text between images": lambda n: {"content": ["a", {"type": "i"}] * (n // 12)},
    "details": lambda n: {"reasoning_details": [{"type": "reasoning.text", "text": "a"}] * (n // 30)},
    "summaries": lambda n: {
        "reasoning_details": [
            {"type": "reasoning.summary", "summary": "a", "index": i} for i in range(n // 45)
        ]
    },
    "citations": lambda n: {"content": "x", "annotations": [{"url": "u"}] * (n // 8)},
    "calls": lambda n: {"tool_calls": [{"id": "c", "name": "f", "arguments": "{"}] * (n // 30)},
    "images": lambda n: {"images": [{}] * (n // 4)},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_is_proportional_to_the_body(shape: str) -> None:
    def read(size: int) -> None:
        body = json.dumps(whole(SHAPES[shape](size))).encode()
        with contextlib.suppress(ProtocolError):  # more parts than a response may have
            OpenAIChat().decoder(ORIGIN).feed_whole(body)

    fits, small, large = is_in_proportion(read, 25_000)
    assert fits, (small, large)


def test_the_work_of_many_fragments_is_in_proportion() -> None:
    pieces = (
        chunk({"content": [{"type": "text", "text": "a", "k": 1}]}),
        chunk(call("1")),
        chunk({"reasoning_details": [{"type": "reasoning.summary", "summary": "a"}]}),
        {**chunk(), "choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": "a"}]}}]},
    )
    encoded = [WireMessage(json.dumps(piece).encode()) for piece in pieces]

    def read(count: int) -> None:
        decoder = OpenAIChat().decoder(ORIGIN)
        for _ in range(count):
            for message in encoded:
                decoder.feed(message)

    fits, small, large = is_in_proportion(read, 500)
    assert fits, (small, large)


def test_deltas_of_a_copy_join_to_the_final_text() -> None:
    events, response = decoded(
        chunk({"content": "Hi"}), whole({"content": "Hi there", "reasoning_content": "Hm"})
    )
    end = next(e for e in events if isinstance(e, PartEnd) and e.index == 0)
    texts = "".join(e.text for e in events if getattr(e, "index", None) == 0 and hasattr(e, "text"))
    assert texts == end.part.text == response.text  # type: ignore[union-attr]
