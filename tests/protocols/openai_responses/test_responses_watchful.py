"""A connection that carries several answers: an event of another one is told by its ids, and never mixed in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import ProtocolError
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.openai_responses import ResponsesDecoder
from brainwires_provider.types import Origin

ORIGIN = Origin("openai_responses", "p", "m")
Event = dict[str, Any]


def item(id: str | None, text: str = "hello") -> Event:
    piece = {"type": "output_text", "text": text, "annotations": []}
    told = {"type": "message", "role": "assistant", "status": "completed", "content": [piece]}
    return told if id is None else {**told, "id": id}


def added(id: str | None, place: int = 0) -> Event:
    opened = {**item(id), "status": "in_progress", "content": []}
    return {"type": "response.output_item.added", "output_index": place, "item": opened}


def delta(id: str | None, text: str) -> Event:
    said = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}
    return said if id is None else {**said, "item_id": id}


def done(id: str | None, place: int = 0, text: str = "hello") -> Event:
    return {"type": "response.output_item.done", "output_index": place, "item": item(id, text)}


def completed(*ids: str | None, text: str = "hello") -> Event:
    response = {"id": "resp_1", "status": "completed", "output": [item(id, text) for id in ids]}
    return {"type": "response.completed", "response": response}


CREATED: Event = {
    "type": "response.created",
    "response": {"id": "resp_1", "status": "in_progress", "output": []},
}
MIXED: dict[str, list[Event]] = {
    "a fragment": [
        added("a"),
        delta("a", "he"),
        delta("b", "X"),
        delta("a", "llo"),
        done("a"),
        completed("a"),
    ],
    "the first fragment": [added("a"), delta("b", "X"), delta("a", "hello"), done("a"), completed("a")],
    "an item's end": [added("a"), delta("a", "he"), done("b", text="X"), delta("a", "llo"), completed("a")],
    "an item in a place that is used": [
        added("a"),
        delta("a", "hello"),
        done("a"),
        added("b"),
        completed("a"),
    ],
    "one item more": [
        added("a"),
        delta("a", "hello"),
        done("a"),
        added("b", 1),
        done("b", 1, "X"),
        completed("a"),
    ],
    "an item's end in a place that is used": [
        added("a"),
        delta("a", "hello"),
        done("a"),
        done("b", text="X"),
        completed(),
    ],
    "the answer's end": [added("a"), delta("a", "hello"), done("a"), completed("b", text="X")],
}
WELL: dict[str, list[Event]] = {
    "one id throughout": [added("a"), delta("a", "he"), delta("a", "llo"), done("a"), completed("a")],
    "a new id each time": [added("a"), delta("b", "he"), delta("c", "llo"), done("d"), completed("e")],
    "no ids": [added(None), delta(None, "he"), delta(None, "llo"), done(None), completed(None)],
    "another id in the item's end": [
        added("a"),
        delta("a", "he"),
        delta("a", "llo"),
        done("b"),
        completed("b"),
    ],
    "another id in the answer's end": [added("a"), delta("a", "hello"), done("a"), completed("b")],
    "an end that tells of nothing": [added("a"), delta("a", "hello"), done("a"), completed()],
    "a fragment after its item's end": [
        added("a"),
        delta("a", "hello"),
        done("a"),
        delta("a", "X"),
        completed("a"),
    ],
}


def numbered(*numbers: int | None) -> list[Event]:
    """A whole answer whose events have these numbers."""
    events = [added("a"), delta("a", "he"), delta("a", "llo"), done("a"), completed("a")]
    return [e if n is None else {**e, "sequence_number": n} for e, n in zip(events, numbers, strict=True)]


REFUSED: Event = {
    "type": "response.refusal.delta",
    "output_index": 0,
    "content_index": 1,
    "item_id": "b",
    "delta": "No",
}
MIXED["a fragment of a refusal"] = [
    added("a"),
    delta("a", "hello"),
    REFUSED,
    done("a"),
    completed("a"),
]
MIXED["an event told twice"] = numbered(1, 2, 2, 3, 4)
MIXED["an event out of order"] = numbered(1, 2, 1, 3, 4)
WELL["numbers that count up"] = numbered(1, 2, 5, 6, 7)
WELL["numbers that say nothing"] = numbered(0, 0, 0, 0, 0)
WELL["a number here and there"] = numbered(None, 3, None, None, 4)


def read(events: list[Event], *, watchful: bool) -> str:
    decoder = ResponsesDecoder(ORIGIN, watchful=watchful)
    for event in [CREATED, *events]:
        decoder.feed(WireMessage(msgspec.json.encode(event)))
    assert decoder.ended
    return decoder.partial().text


@pytest.mark.parametrize("name", MIXED)
def test_an_event_of_another_answer_is_an_error(name: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        read(MIXED[name], watchful=True)

    assert raised.value.partial is not None
    assert raised.value.partial.text in ("", "he", "hello", "helloX", "X")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (
            completed("b", text="X"),
            r"the item \('a',\) came, and the response's end lists \('b',\) in its place",
        ),
        (
            completed("c", text="Y"),
            r"the item \('a',\) came, and the response's end lists \('c',\) in its place",
        ),
        (completed("d"), r"the item \('b',\) came, and the response's end lists fewer items"),
    ],
)
def test_an_end_of_another_answer_names_what_it_lists(end: Event, words: str) -> None:
    is_one = "fewer" not in words
    more = [] if is_one else [added("b", 1), done("b", 1, "X")]
    with pytest.raises(ProtocolError, match=words):
        read([added("a"), delta("a", "hello"), done("a"), *more, end], watchful=True)


@pytest.mark.parametrize("name", WELL)
def test_what_services_really_do_is_none(name: str) -> None:
    assert read(WELL[name], watchful=True) == "hello"


@pytest.mark.parametrize("said", [delta("b", "X"), done("b", text="X")], ids=["a fragment", "an end"])
def test_what_goes_on_with_an_item_by_a_new_id_must_be_the_next_event(said: Event) -> None:
    cases = (
        ((0, 1, 2), True),
        ((0, 1, 7), False),
        ((0, 1, 1), False),
        ((0, 1, None), True),
        ((0, 5, None), True),
    )
    for numbers, is_taken in cases:
        decoder = ResponsesDecoder(ORIGIN, watchful=True)
        for event, place in zip([CREATED, added("a"), said], numbers, strict=True):
            frame = msgspec.json.encode({**event, "sequence_number": place})
            if event is said and not is_taken:
                with pytest.raises(ProtocolError):
                    decoder.feed(WireMessage(frame))
            else:
                decoder.feed(WireMessage(frame))
        assert decoder.partial().text == ("X" if is_taken else "")


@pytest.mark.parametrize("name", MIXED)
def test_over_http_nothing_is_watched(name: str) -> None:
    """There a stream carries one answer, and what was streamed stands."""
    said = {"a fragment": "heXllo", "the first fragment": "Xhello", "an item's end": "he"}
    assert read(MIXED[name], watchful=False).startswith(said.get(name, "hello"))
