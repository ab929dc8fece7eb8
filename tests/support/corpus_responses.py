"""What the corpus tests of Responses share: a record's events, its response, its turn as the next request's items."""

from __future__ import annotations

from typing import Any

import msgspec

from brainwires_provider.events import Event, collect
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.openai_responses import OpenAIResponses
from brainwires_provider.types import Request, Response
from corpus import Record, answers, read
from known import encode_known

RESPONSES = OpenAIResponses()
FILES = ("openai_responses", "openai_compact")

BROKEN = {
    "vercel-ai/openai/parallel-tool-call-wrapper.1.chunks.txt": "its first and last event lack a closing brace",
}


def events_of(record: Record, chunks: list[bytes] | None = None) -> list[Event]:
    return read(RESPONSES, RESPONSES.decoder(record.origin), record, chunks)


def response_of(record: Record) -> Response:
    return collect(events_of(record))


def good() -> list[Record]:
    return [r for file in FILES for r in answers(file) if r.id not in BROKEN]


def sent_back(record: Record, response: Response) -> tuple[list[dict[str, Any]], list[str]]:
    """The assistant's turn as the items of a next request, and what the report says of it."""
    request = Request((response.message,), model=record.model)
    call = encode_known(RESPONSES, request, record.origin, stream=False)
    return call.body["input"], [d.reason for d in call.deviations]


def as_input(item: dict[str, Any]) -> dict[str, Any]:
    """An output item as the API takes it back: without nulls, and of an image only what the API describes as input."""
    item = {name: value for name, value in item.items() if value is not None}
    if isinstance(item.get("action"), dict):
        item["action"] = {name: value for name, value in item["action"].items() if value is not None}
    if item["type"] == "image_generation_call":
        item = {name: item[name] for name in ("type", "id", "status", "result")}
    return item


def documents_of(record: Record) -> list[Any]:
    """The JSON documents of an answer."""
    if record.kind == "whole":
        return [msgspec.json.decode(record.data)]
    framing = SSEFraming()
    messages = framing.feed(record.data) + framing.finish()[0]
    return [msgspec.json.decode(m.data) for m in messages if m.data != b"[DONE]"]


def first_answer(record: Record) -> list[Any]:
    """A stream's events up to the first terminal."""
    documents = documents_of(record)
    end = next(i for i, d in enumerate(documents) if d["type"] == "response.completed")
    return documents[: end + 1]


PLAIN = ("user", "system", "developer")


def their_items(before: Record, record: Record) -> list[dict[str, Any]]:
    """The items of a recorded request that are the answer before it."""
    if before.request is None or record.request is None:
        return []
    sent, first = record.request.get("input"), before.request.get("input")
    if not isinstance(sent, list):
        return []
    known = len(first) if isinstance(first, list) else 1
    items = []
    for item in sent[known:]:
        kind = item.get("type", "message")
        if item.get("role") in PLAIN or (kind.endswith("_output") and item.get("execution") != "server"):
            break
        items.append(item)
    return items


def why_not(before: Record, record: Record) -> str:
    if record.request is None:
        return "a retrieval, which has no body"
    for name in ("previous_response_id", "conversation"):
        if record.request.get(name):
            return f"the later request continues by {name}"
    return "the later request does not hold the earlier answer"
