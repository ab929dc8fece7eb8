"""What the corpus tests of Messages share: a record's events, its response, its turn as the next request's blocks."""

from __future__ import annotations

from typing import Any

import msgspec

from anthropic_requests import assistant_blocks
from brainwires_provider.events import Event, collect
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.anthropic import AnthropicMessages
from brainwires_provider.types import Response
from corpus import Record, answers, read

FILES = ("anthropic_messages", "bedrock_anthropic")


MESSAGES = AnthropicMessages()


def events_of(record: Record, chunks: list[bytes] | None = None) -> list[Event]:
    return read(MESSAGES, MESSAGES.decoder(record.origin), record, chunks)


def response_of(record: Record) -> Response:
    return collect(events_of(record))


def good() -> list[Record]:
    return [r for file in FILES for r in answers(file)]


def sent_back(record: Record, response: Response) -> tuple[list[dict[str, Any]], list[str]]:
    """The assistant's turn as the blocks of a next request, and what the report says of it."""
    blocks, deviations = assistant_blocks(response.message, record.origin, 1)
    return blocks, [d.reason for d in deviations]


def documents_of(record: Record) -> list[Any]:
    """The JSON documents of an answer: a whole body, or a stream's events up to the first message's end."""
    if record.kind == "whole":
        return [msgspec.json.decode(record.data)]
    framing = SSEFraming()
    messages = framing.feed(record.data) + framing.finish()[0]
    documents = [msgspec.json.decode(m.data) for m in messages]
    end = next(i for i, d in enumerate(documents) if d["type"] == "message_stop")
    return documents[: end + 1]
