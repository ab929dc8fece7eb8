"""Faults of services that speak Chat Completions: copies, junk, errors in odd places, counts, costs."""

from __future__ import annotations

import contextlib
import json
from itertools import permutations
from typing import Any

import pytest

from brainwires_provider.errors import APIError, OverloadedError, ProtocolError, RateLimitError
from brainwires_provider.events import Event, PartEnd, PartStart, ResponseEnd, ResponseStart, collect
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


@pytest.mark.parametrize(
    ("copies", "calls"),
    [
        ([(None, "f", '{"a":1}')], [("c1", "f", '{"a":1}')]),
        ([("c1", "f", '{"a":1}'), ("c2", "g", "{}")], [("c1", "f", '{"a":1}'), ("c2", "g", "{}")]),
        ([(None, "g", "{}"), (None, "f", '{"a":1}')], [("c1", "f", '{"a":1}'), (None, "g", "{}")]),
    ],
    ids=["without its id", "and one more", "and one more before it"],
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


@pytest.mark.parametrize(
    ("fragments", "arguments"),
    [
        (('{"a"', '{"a":1}'), '{"a":1}'),
        (('{"a":1}', '{"a":1}'), '{"a":1}'),
        (("{}", '{"a":1}'), '{"a":1}'),
        (("{}",), "{}"),
        (("{}", "{}"), "{}"),
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
    assert caught.value.partial is not None and caught.value.partial.text == "Hi"
    with pytest.raises(OverloadedError):
        decoded(body=data)


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
    assert [c["index"] for c in response.extra["choices"]] == [2]
    body = json.dumps(indexed(1, whole({"content": "Hi"}))).encode()
    assert decoded(body=body)[1].text == "Hi"
    last = indexed(
        1, whole({"content": "Hello", "tool_calls": said[-1]["choices"][0]["delta"]["tool_calls"]})
    )
    again = decoded(*(indexed(1, each) for each in said), last)[1]
    assert (again.text, len(again.tool_calls), again.finish_reason) == ("Hello", 1, "tool_calls")
    two = decoded(chunk({"content": "A"}), indexed(1, chunk({"content": "B"})), chunk({}, "stop"))[1]
    assert (two.text, len(two.extra["choices"])) == ("A", 1)


def test_a_field_named_choices_is_no_choice() -> None:
    choice = {"index": 0, "delta": {"role": "assistant"}, "finish_reason": "stop", "choices": [None, "a", {}]}
    assert decoded({"choices": [choice]})[1].extra == {"choices": [None, "a", {}]}


def test_another_choice_that_is_misshapen_is_a_typed_error() -> None:
    wrong = {"choices": [{"index": 1, "delta": {"content": 5.5}, "finish_reason": "stop"}]}
    for run in (lambda: decoded(wrong), lambda: decoded(wrong, b"[DONE]")):
        with pytest.raises(ProtocolError, match="content is float"):
            run()


@pytest.mark.parametrize("url", ["", "data:;base64,AAEC", "data:image/png;base64,AAEC", "https://x.test/a"])
def test_an_image_goes_back_whatever_is_known_of_it(url: str) -> None:
    _, response = decoded(
        whole({"content": "Hi", "images": [{"type": "image_url", "image_url": {"url": url}}]})
    )
    OpenAIChat().encode(_request(response), ORIGIN, stream=False)


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
