"""A copy of streamed content is reconciled: recorded streams, reshaped as services do it, give the same response.

Indexes are shifted, ids are dropped or renamed, items are sent again, and the terminal event lists them in another
order or without their ends before it. The recordings are those of real services; only the reshaping is made.
"""

from __future__ import annotations

import copy
import functools
import pickle
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from brainwires_provider.events import collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.types import Part, Response
from corpus import Record, answers
from corpus_responses import BROKEN, RESPONSES, documents_of

Document = dict[str, Any]
Documents = list[Document]
Reshape = Callable[[Documents], Documents]

TERMINALS = ("response.completed", "response.incomplete")


def responses_streams() -> list[tuple[Record, Documents]]:
    """Every recorded stream up to its terminal event."""
    found = []
    for record in answers("openai_responses"):
        if record.kind != "stream" or record.id in BROKEN:
            continue
        documents = documents_of(record)
        end = next((i for i, d in enumerate(documents) if d.get("type") in TERMINALS), None)
        if end is not None:
            found.append((record, documents[: end + 1]))
    return found


@functools.cache
def as_recorded() -> list[tuple[Record, Documents, Any]]:
    return [
        (record, documents, result(decoded(record, documents))) for record, documents in responses_streams()
    ]


def decoded(record: Record, documents: Documents) -> Response:
    decoder = RESPONSES.decoder(record.origin)
    events = [e for d in documents for e in decoder.feed(WireMessage(msgspec.json.encode(d)))]
    return collect(events + decoder.finish())


def content(part: Part) -> Any:
    """What a part holds, without the ids and indexes that a reshaping changes.

    Neither with ciphertexts: OpenAI makes others for the terminal event's copies.
    """
    plain = msgspec.to_builtins(part)
    for name in ("encrypted", "extra", "id", "local_id", "origin"):
        plain.pop(name, None)
    if isinstance(plain.get("data"), dict):
        plain["data"] = {k: v for k, v in plain["data"].items() if k not in ("id", "fingerprint")}
    return plain


def result(response: Response) -> Any:
    return [content(part) for part in response.message.content], response.finish_reason, response.usage


def is_delta(document: Document) -> bool:
    return str(document["type"]).endswith(".delta")


def is_end(document: Document) -> bool:
    return document["type"] == "response.output_item.done"


def each(
    change: Callable[[Document], Any], where: Callable[[Document], bool] = lambda document: True
) -> Reshape:
    def reshape(documents: Documents) -> Documents:
        for document in documents:
            if where(document):
                change(document)
        return documents

    return reshape


def shifted(name: str, by: int) -> Callable[[Document], Any]:
    def change(document: Document) -> None:
        if isinstance(document.get(name), int):
            document[name] += by

    return change


def without(*names: str) -> Callable[[Document], Any]:
    def change(document: Document) -> None:
        for name in names:
            document.pop(name, None)

    return change


def renamed(item: Document) -> None:
    if "id" in item:
        item["id"] = f"other_{item['id']}"


def listed(change: Callable[[list[Document]], Any]) -> Reshape:
    """Change the items that the terminal event lists."""

    def reshape(documents: Documents) -> Documents:
        change(documents[-1]["response"].get("output") or [])
        return documents

    return reshape


def twice(where: Callable[[Document], bool]) -> Reshape:
    def reshape(documents: Documents) -> Documents:
        return [d for each in documents for d in ([each, copy.deepcopy(each)] if where(each) else [each])]

    return reshape


def unfinished(documents: Documents) -> Documents:
    """No item ends before the terminal event, which lists all of them."""
    listed_items = documents[-1]["response"].get("output") or []
    ended = [d["item"] for d in documents if is_end(d)]
    return [d for d in documents if not is_end(d)] if len(listed_items) == len(ended) else documents


def with_whole_frame(documents: Documents) -> Documents:
    """The whole response once more, as progress, before its end; and its end by the name that gateways use."""
    whole = {**documents[-1]["response"], "status": "in_progress"}
    end = {**documents[-1], "type": "response.done"}
    return [*documents[:-1], {"type": "response.in_progress", "response": whole}, end]


def heartbeats(documents: Documents) -> Documents:
    beat = {"type": "response.in_progress"}
    return [documents[0], *(d for document in documents[1:] for d in (beat, document))]


def all_arguments_so_far(documents: Documents) -> Documents:
    """Each delta of a call's arguments has those before it too."""
    so_far: dict[Any, str] = {}
    for document in documents:
        if document["type"] == "response.function_call_arguments.delta":
            place = document.get("output_index")
            so_far[place] = document["delta"] = so_far.get(place, "") + document["delta"]
    return documents


def arguments_again(documents: Documents) -> Documents:
    """All arguments of a call once more as one delta, before their end."""
    kind = "response.function_call_arguments.delta"
    return [
        each
        for d in documents
        for each in (
            [{**d, "type": kind, "delta": d["arguments"]}, d]
            if d["type"] == "response.function_call_arguments.done"
            else [d]
        )
    ]


RESPONSES_SHAPES: dict[str, Reshape] = {
    "every index shifted": each(shifted("output_index", 3)),
    "the indexes of ends shifted": each(shifted("output_index", 1), is_end),
    "the indexes of deltas' pieces shifted": each(shifted("content_index", 1), is_delta),
    "deltas without indexes": each(without("output_index", "content_index"), is_delta),
    "deltas without ids": each(without("item_id"), is_delta),
    "deltas without indexes and ids": each(without("output_index", "content_index", "item_id"), is_delta),
    "ends without indexes": each(without("output_index"), is_end),
    "ends under other ids": each(lambda d: renamed(d["item"]), is_end),
    "ends under other ids without indexes": each(
        lambda d: (renamed(d["item"]), d.pop("output_index", None)), is_end
    ),
    "no indexes at all": each(without("output_index", "content_index")),
    "ids dropped at the end": listed(lambda items: [item.pop("id", None) for item in items]),
    "ids renamed at the end": listed(lambda items: [renamed(item) for item in items]),
    "the end in another order": listed(list.reverse),
    "the end in another order under other ids": listed(
        lambda items: (items.reverse(), [renamed(item) for item in items])
    ),
    "ends sent twice": twice(is_end),
    "texts and arguments sent twice": twice(lambda d: str(d["type"]).endswith((".done", ".added"))),
    "no ends but the last": unfinished,
    "a whole frame before the end": with_whole_frame,
    "heartbeats": heartbeats,
    "all arguments so far in each delta": all_arguments_so_far,
    "arguments again as a delta": arguments_again,
}


@pytest.mark.parametrize("shape", RESPONSES_SHAPES)
def test_a_reshaped_responses_stream_gives_the_same(shape: str) -> None:
    streams = as_recorded()
    assert len(streams) == 50
    reshape = RESPONSES_SHAPES[shape]
    wrong = [
        record.id
        for record, documents, expected in streams
        if result(decoded(record, reshape(pickle.loads(pickle.dumps(documents))))) != expected
    ]
    assert wrong == []


def in_any_order(response: Response) -> Any:
    """Two searches whose ends never came, and whose ids and order the terminal event changed, cannot be told apart."""
    parts, *rest = result(response)
    return sorted(map(repr, parts)), rest


@pytest.mark.many
def test_a_stream_reshaped_in_several_ways_gives_the_same() -> None:
    chance = random.Random(9)
    for record, documents in responses_streams():
        expected = in_any_order(decoded(record, documents))
        for _ in range(20):
            shapes = chance.sample(sorted(RESPONSES_SHAPES), 3)
            if {"ends under other ids", "the indexes of ends shifted"} <= set(shapes):
                continue  # a call with another id at another place is another call
            reshaped = copy.deepcopy(documents)
            for shape in shapes:
                reshaped = RESPONSES_SHAPES[shape](reshaped)
            assert in_any_order(decoded(record, reshaped)) == expected, (record.id, shapes)
