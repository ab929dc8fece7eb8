"""Continuation by content: what counts as content, what a head stands for, and what each miss says."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.openai_responses import ResponsesQuirks
from brainwires_provider.protocols.openai_responses.continuation import (
    BY_KIND,
    Head,
    Heads,
    Match,
    Miss,
    head_of,
    items_of,
    outline,
)
from brainwires_provider.protocols.openai_responses.ws import SocketRequest
from brainwires_provider.types import Origin
from brainwires_provider.types.websocket import WebSocketOptions

HI = {"role": "user", "content": "Hi"}
HELLO = {
    "type": "message",
    "role": "assistant",
    "id": "msg_1",
    "content": [{"type": "output_text", "text": "Hello"}],
}
MORE = {"role": "user", "content": "More"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
COMPACTION = {"type": "compaction", "encrypted_content": "gA"}
MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}
BODY = {"model": "m", "store": False}


def body(*items: Any, **fields: Any) -> dict[str, Any]:
    return {**BODY, **fields, "input": list(items)}


def held(asked: dict[str, Any], *answer: dict[str, Any], id: str = "r1", stored: bool = False) -> Head:
    return head_of(outline(asked), answer, id, stored=stored)


def one(head: Head) -> Heads[str]:
    heads: Heads[str] = Heads()
    heads.add(head, "lane")
    return heads


def found(heads: Heads[Any], asked: dict[str, Any]) -> Match[Any] | Miss:
    return heads.find(outline(asked), items_of(asked))


def text(*pieces: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(pieces)}


def piece(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "input_text", "text": words, **fields}


# -- what is content -----------------------------------------------------------------------------------------

DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]

SAME = {
    "key order": ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}),
    "a mark": (text(piece("a"), piece("b", **MARK)), text(piece("a"), piece("b"))),
    "another mark": (
        text(piece("a"), piece("b", prompt_cache_breakpoint={"mode": "explicit", "ttl": "1h"})),
        text(piece("a", **MARK), piece("b")),
    ),
    "text with a mark, plain text": (text(piece("a", **MARK)), {"role": "user", "content": "a"}),
    "a list of one text, plain text": (text(piece("a")), {"role": "user", "content": "a"}),
    "a marked result": (
        {"type": "function_call_output", "call_id": "c", "output": [piece("a", **MARK)]},
        {"type": "function_call_output", "call_id": "c", "output": "a"},
    ),
    "a marked image": (
        text({"type": "input_image", "image_url": "u", **MARK}),
        text({"type": "input_image", "image_url": "u"}),
    ),
    "not a number, which goes as null": ({"a": math.nan}, {"a": None}),
    "half a surrogate pair": ({"a": "\ud800"}, {"a": "\ud800"}),
    "a key that is no text": ({1: "a"}, {1: "a"}),
    "deeper than JSON goes": ({"a": DEEP}, {"a": DEEP}),
    "no object": (5, 5),
    "pieces that are no objects": (text(5, None), text(5, None)),  # type: ignore[arg-type]
}
OTHER = {
    "another text": (HI, MORE),
    "another role": (HI, {**HI, "role": "system"}),
    "another of two texts": (text(piece("a"), piece("b")), text(piece("a"), piece("c"))),
    "another of two texts of a result": (
        {"type": "function_call_output", "call_id": "c", "output": [piece("a"), piece("b")]},
        {"type": "function_call_output", "call_id": "c", "output": [piece("a"), piece("c")]},
    ),
    "two texts, one": (text(piece("a"), piece("b")), {"role": "user", "content": "ab"}),
    "a list of one number": (text({"type": "input_text", "text": 5}), {"role": "user", "content": 5}),
    "the assistant's list": (
        text({"type": "output_text", "text": "a"}, role="assistant"),
        {"role": "assistant", "content": "a"},
    ),
    "a text with more fields": (text(piece("a", x=1)), {"role": "user", "content": "a"}),
    "nothing, an empty text": (text(), {"role": "user", "content": ""}),
    "a mark where no piece is": ({"a": [MARK]}, {"a": [{}]}),
    "a piece that is no object": (text("a"), {"role": "user", "content": "a"}),  # type: ignore[arg-type]
    "null, absent": ({"a": None}, {}),
    "a whole number, a decimal": ({"a": 1}, {"a": 1.0}),
    "half a surrogate pair, its name": ({"a": "\ud800"}, {"a": "\\ud800"}),
    "a number as a key, a text": ({1: "a"}, {"1": "a"}),
    "half a pair, and what its stand-in says": ({"a": "\ud800"}, "\0{'a': '\\ud800'}"),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_content(name: str) -> None:
    a, b = SAME[name]

    assert outline(body(HI, a)).hashes == outline(body(HI, b)).hashes


@pytest.mark.parametrize("name", OTHER)
def test_other_content(name: str) -> None:
    a, b = OTHER[name]
    left, right = outline(body(HI, a)), outline(body(HI, b))

    assert left.hashes[0] == right.hashes[0]
    assert left.hashes[1] != right.hashes[1]


def test_a_mark_beside_a_piece_that_is_no_object() -> None:
    assert outline(body(text("a", piece("b", **MARK)))).hashes == outline(body(text("a", piece("b")))).hashes  # type: ignore[arg-type]


def test_a_repr_is_short() -> None:
    assert repr(outline(body(HI, COMPACTION, MORE))) == "Outline(3 items from 1 on, fields: model, store)"


def test_making_an_outline_changes_nothing() -> None:
    item = text(piece("a", **MARK))
    outline(body(item))

    assert item == text(piece("a", **MARK))


INPUTS: dict[str, tuple[Any, list[Any]]] = {
    "items": ([HI], [HI]),
    "a tuple": ((HI,), [HI]),
    "a text": ("Hi", [HI]),
    "null": (None, []),
    "one item": (HI, [HI]),
}


@pytest.mark.parametrize("name", INPUTS)
def test_every_form_of_input_is_items(name: str) -> None:
    given, items = INPUTS[name]

    assert list(items_of({"input": given})) == items
    assert outline({"input": given}) == outline({"input": items})
    assert items_of({}) == []


@pytest.mark.parametrize(
    "name",
    [
        *("stream", "stream_options", "stream_id", "generate", "background", "background_options", "type"),
        *("metadata", "client_metadata", "user", "safety_identifier", "prompt_cache_key"),
    ],
)
def test_how_a_request_is_sent_is_no_field(name: str) -> None:
    assert outline(body(HI, **{name: True})).fingerprint == outline(body(HI)).fingerprint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.5),
        ("temperature", None),
        ("tools", [{"type": "web_search"}]),
        ("text", {"a": "\ud800"}),
        ("store", True),
        ("model", "n"),
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
    ],
)
def test_every_other_field_counts(name: str, value: Any) -> None:
    left, right = outline(body(HI)), outline(body(HI, **{name: value}))

    assert left.fingerprint != right.fingerprint
    assert {k for k in left.fields.keys() | right.fields if left.fields.get(k) != right.fields.get(k)} == {
        name
    }


# -- heads ---------------------------------------------------------------------------------------------------


def test_a_request_that_goes_on_continues() -> None:
    head = held(body(HI, temperature=1), HELLO, stored=True)
    match = found(one(head), body(HI, HELLO, MORE, temperature=1, stream=True))

    assert match == Match(head, "lane", 2)
    assert (head.response_id, head.stored, head.open_calls) == ("r1", True, ())


@pytest.mark.parametrize(
    "item", [text(piece("a")), {"type": "function_call_output", "call_id": "c2", "output": [piece("a")]}]
)
def test_an_answer_that_lists_one_text_goes_on(item: dict[str, Any]) -> None:
    heads = one(held(body(HI), item))
    assert isinstance(found(heads, body(HI, item, MORE)), Match)


def test_marks_that_move_do_not_hinder() -> None:
    heads = one(held(body(text(piece("Hi", **MARK))), HELLO))

    assert isinstance(found(heads, body(HI, HELLO, text(piece("More", **MARK)))), Match)


def test_an_answer_of_nothing_is_a_head() -> None:
    assert found(one(held(body(HI))), body(HI, MORE)) == Match(held(body(HI)), "lane", 1)


def test_a_warm_up_is_a_head() -> None:
    heads = one(held(body(generate=False)))

    assert isinstance(match := found(heads, body(HI)), Match)
    assert match.tail == 0
    assert isinstance(match := found(heads, body(HI, COMPACTION, MORE)), Match)
    assert match.tail == 0  # nothing was sent before, so what lies before the compaction is not left out
    assert found(heads, body()) == Miss(
        "nothing_new", "the history ends with the last answer: there is nothing new to send"
    )
    assert found(heads, body(HI, temperature=1)) == Miss(
        "field", "field 'temperature' differs", "temperature"
    )


def test_the_longest_head_is_found_and_of_equals_the_newest() -> None:
    heads: Heads[str] = Heads()
    short, long = held(body(HI), HELLO, id="short"), held(body(HI, HELLO, MORE), HELLO, id="long")
    for place, head in (("a", long), ("b", short), ("c", long), ("d", short)):
        heads.add(head, place)
    asked = body(HI, HELLO, MORE, HELLO, HI)

    assert list(heads.places()) == ["a", "b", "c", "d"]
    assert found(heads, asked) == Match(long, "c", 4)
    assert heads.remove("c") is long
    assert found(heads, asked) == Match(long, "a", 4)
    heads.remove("a")
    assert found(heads, asked) == Match(short, "d", 2)
    assert [heads.remove(place) for place in ("d", "b", "b")] == [short, short, None]
    assert len(heads) == 0
    assert isinstance(found(heads, asked), Miss)


def test_a_place_holds_one_head() -> None:
    heads = one(held(body(HI), HELLO))
    heads.add(held(body(MORE), HELLO), "lane")

    assert len(heads) == 1
    assert isinstance(found(heads, body(HI, HELLO, MORE)), Miss)
    assert isinstance(found(heads, body(MORE, HELLO, HI)), Match)


# -- calls ---------------------------------------------------------------------------------------------------

EXTRA = {"tool_search": {"execution": "client"}, "shell": {"environment": {"type": "local"}}}


@pytest.mark.parametrize("kind", BY_KIND)
def test_every_call_that_the_caller_answers_is_open(kind: str) -> None:
    shape = BY_KIND[kind]
    call = {"type": shape.type, "id": "i1", shape.id_field: "c1", **EXTRA.get(kind, {})}
    head = held(body(HI), call)
    answered_by = {"mcp_approval": "approval_request_id", "local_shell": "id"}.get(kind, "call_id")

    assert head.open_calls == ("c1",)
    assert found(one(head), body(HI, call, MORE)) == Miss(
        "open_call", "the call c1 of the last answer has no output"
    )
    assert isinstance(found(one(head), body(HI, call, {"type": shape.answer, answered_by: "c1"})), Match)


@pytest.mark.parametrize(
    "answer",
    [
        [{"type": "shell_call", "call_id": "c1", "environment": {"type": "container_reference"}}],
        [{"type": "tool_search_call", "call_id": "c1", "execution": "server"}],
        [{"type": "web_search_call", "id": "ws_1"}],
        [CALL, OUTPUT],
        [
            {"type": "mcp_approval_request", "id": "m"},
            {"type": "mcp_approval_response", "approval_request_id": "m"},
        ],
        [{"untyped": True}],
    ],
)
def test_what_the_service_does_itself_is_not_open(answer: list[dict[str, Any]]) -> None:
    assert held(body(HI), *answer).open_calls == ()


def test_each_call_wants_its_output() -> None:
    other = {**CALL, "call_id": "c2"}
    heads = one(held(body(HI), CALL, other))

    assert found(heads, body(HI, CALL, other, OUTPUT, 5)) == Miss(
        "open_call", "the call c2 of the last answer has no output"
    )
    assert isinstance(found(heads, body(HI, CALL, other, {**OUTPUT, "call_id": "c2"}, OUTPUT)), Match)


def test_a_shorter_head_stands_in_for_one_that_waits() -> None:
    heads: Heads[str] = Heads()
    heads.add(held(body(HI), HELLO, id="short"), "a")
    heads.add(held(body(HI, HELLO, MORE), CALL, id="long"), "b")

    assert isinstance(match := found(heads, body(HI, HELLO, MORE, CALL, MORE)), Match)
    assert (match.place, match.tail) == ("a", 2)


# -- compaction ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [[], [HI], [HI, HELLO, MORE], [COMPACTION, HI], [5]])
def test_a_history_begins_at_its_last_compaction(before: list[Any]) -> None:
    whole, pruned = outline(body(*before, COMPACTION, HI)), outline(body(COMPACTION, HI))

    assert (whole.hashes, whole.start, whole.count) == (pruned.hashes, len(before), len(before) + 2)
    for asked in (body(HI), body(*before, COMPACTION)):
        answer = [HELLO] if COMPACTION in asked["input"] else [MORE, COMPACTION, HELLO]
        heads = one(held(asked, *answer))
        match = found(heads, body(*before, COMPACTION, HELLO, MORE))
        assert isinstance(match, Match)
        assert match.tail == len(before) + 2


def test_an_answer_that_begins_with_a_compaction_is_the_whole_history() -> None:
    """What was asked before it is not sent again."""
    match = found(one(held(body(HI), COMPACTION, HELLO)), body(COMPACTION, HELLO, MORE))
    assert isinstance(match, Match)
    assert match.tail == 2


# -- misses --------------------------------------------------------------------------------------------------

KNOWN = body(HI, HELLO, MORE, temperature=1)  # and HELLO after it
MISSES: dict[str, tuple[dict[str, Any], Miss]] = {
    "nothing like it": (body(MORE), Miss("first", "no live chain begins like this")),
    "nothing since a compaction": (
        body(HI, COMPACTION, MORE),
        Miss("first", "no live chain begins like this from its compaction (item 1) on"),
    ),
    "a field": (
        {**KNOWN, "input": [*KNOWN["input"], HELLO, HI], "temperature": 2},
        Miss("field", "field 'temperature' differs", "temperature"),
    ),
    "a field more": (
        {**KNOWN, "input": [*KNOWN["input"], HELLO, HI], "top_p": 1},
        Miss("field", "field 'top_p' differs", "top_p"),
    ),
    "a field less": (
        body(*KNOWN["input"], HELLO, HI),
        Miss("field", "field 'temperature' differs", "temperature"),
    ),
    "a message": (
        body(HI, HELLO, HI, HELLO, HI, temperature=1),
        Miss("item", "item 2 (message, user) differs"),
    ),
    "the answer": (body(*KNOWN["input"], OUTPUT, HI), Miss("item", "item 3 (function_call_output) differs")),
    "no item at all": (body(HI, 5, HI), Miss("item", "item 1 (int) differs")),
    "an item before a field": (
        body(HI, HI, HI, temperature=2),
        Miss("item", "item 1 (message, user) differs"),
    ),
    "shorter": (body(HI, HELLO), Miss("shorter", "the history is shorter than what was sent before")),
    "empty": (body(), Miss("shorter", "the history is shorter than what was sent before")),
    "again": (
        body(*KNOWN["input"], HELLO, temperature=1),
        Miss("nothing_new", "the history ends with the last answer: there is nothing new to send"),
    ),
    "a response's id": (
        body(MORE, previous_response_id="resp_1"),
        Miss("handles", "the request says by itself what it continues (previous_response_id)"),
    ),
    "a conversation": (
        {**KNOWN, "input": [*KNOWN["input"], HELLO, HI], "conversation": {"id": "conv_1"}},
        Miss("handles", "the request says by itself what it continues (conversation)"),
    ),
}


@pytest.mark.parametrize("name", MISSES)
def test_a_miss_says_why(name: str) -> None:
    asked, miss = MISSES[name]

    assert found(one(held(KNOWN, HELLO)), asked) == miss


def test_an_item_is_counted_where_it_lies() -> None:
    heads = one(held(body(COMPACTION, HI), HELLO))

    assert found(heads, body(MORE, MORE, COMPACTION, MORE, HELLO, HI)) == Miss(
        "item", "item 3 (message, user) differs"
    )


def test_the_head_that_shares_the_most_explains_a_miss() -> None:
    heads: Heads[int] = Heads()
    heads.add(held(body(HI, HELLO, MORE, top_p=1), HELLO), 0)
    heads.add(held(body(HI, HELLO, MORE), HELLO), 1)
    for place in range(2, 12):
        heads.add(held(body(HI), {**HELLO, "id": f"msg_{place}"}), place)

    assert found(heads, body(HI, HELLO, MORE, MORE)) == Miss("item", "item 3 (message, user) differs")
    heads.remove(1)
    assert found(heads, body(HI, HELLO, MORE, HELLO, HI)) == Miss("field", "field 'top_p' differs", "top_p")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_head_that_is_all_in_the_history_explains_a_miss(order: tuple[int, int]) -> None:
    known = held(body(HI, temperature=1), HELLO), held(body(HI), HELLO, COMPACTION | {"type": "other"})
    heads: Heads[int] = Heads()
    for place in order:
        heads.add(known[place], place)

    miss = Miss("field", "field 'temperature' differs", "temperature")
    assert found(heads, body(HI, HELLO, MORE)) == miss  # and not that an item of the other differs


def test_a_head_of_a_request_with_a_handle_is_never_continued() -> None:
    for handle in ("previous_response_id", "conversation"):
        heads = one(held(body(HI, **{handle: "x"}), HELLO))
        assert found(heads, body(HI, HELLO, MORE)) == Miss("field", f"field {handle!r} differs", handle)


@pytest.mark.parametrize(
    ("fields", "id", "head"),
    [
        ({}, "r1", "r1"),
        ({}, None, None),
        ({"previous_response_id": "r0"}, "r1", None),
    ],
    ids=["an answer", "one without an id", "one that goes on from what was not seen"],
)
def test_only_an_answer_that_can_be_named_and_was_seen_whole_is_a_head(
    fields: dict[str, Any], id: str | None, head: str | None
) -> None:
    request = SocketRequest(body(HI, **fields), Origin("openai_responses", "p", "m"), ResponsesQuirks())
    assert request.head(WebSocketOptions()) is None
    response = {"id": id, "status": "completed", "output": [HELLO]}
    told = json.dumps({"type": "response.completed", "response": response}).encode()
    decoder = request.decoder()
    decoder.feed(WireMessage(told))
    assert (decoder.ended, decoder.partial().text) == (True, "Hello")
    assert request.head(WebSocketOptions(continues="none")) is None
    found = request.head(WebSocketOptions())
    assert (found and found.response_id) == head
