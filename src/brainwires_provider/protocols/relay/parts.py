"""Texts, calls and results: entries of `conversationHistory` when sent, events when received. Media have no place."""

from __future__ import annotations

from typing import Any

import msgspec

from brainwires_provider.protocols.base.decoder import DecoderBase, well_formed
from brainwires_provider.protocols.base.replay import MessageEncoderBase, local_id, part_name
from brainwires_provider.types import Part, TextPart, ToolCallPart, ToolResultPart

__all__ = [
    "BETWEEN_TEXTS",
    "ONLY_TEXT",
    "Entry",
    "decode_call",
    "encode_call",
    "encode_result",
    "encode_text",
]

BETWEEN_TEXTS = "\n"
"""Between the texts of one entry, as the relay's own client joins them."""
ONLY_TEXT = "the relay takes text and no media, as far as its own clients show"
_IN_A_CALL = frozenset(("callId", "toolName", "parameters"))
Entry = dict[str, Any]


def encode_text(part: Part, encoder: MessageEncoderBase) -> str:
    """Raises UnsupportedError for a part that is no text."""
    if not isinstance(part, TextPart):
        raise encoder.unsupported(f"{part_name(part)} cannot be sent: {ONLY_TEXT}")
    return part.text


def encode_call(part: ToolCallPart, encoder: MessageEncoderBase, place: str) -> Entry:
    """A call, as an entry of its own."""
    arguments = part.arguments if part.arguments.strip() else "{}"
    if part.kind == "custom":
        arguments = msgspec.json.encode({"input": part.arguments}).decode()
    encoder.report_kind(part, place)
    return {"role": "function_call", "call_id": part.call_id, "name": part.name, "arguments": arguments}


def encode_result(part: ToolResultPart, name: str | None, encoder: MessageEncoderBase, place: str) -> Entry:
    """A result, as an entry of its own; `name` is that of the tool."""
    entry: Entry = {"role": "tool", "call_id": part.call_id}
    if name is not None:
        entry["name"] = name
    entry["content"] = BETWEEN_TEXTS.join(encode_text(inner, encoder) for inner in part.content)
    encoder.report_error_flag(part, place)
    return entry | encoder.reader.take_extra(part)


def decode_call(wire: dict[str, Any], decoder: DecoderBase) -> ToolCallPart:
    """A `toolCall` event, which is a whole call. Raises TypeError, KeyError for another shape."""
    name, arguments = wire["toolName"], wire.get("parameters")
    if type(name) is not str or not name:
        raise TypeError(f"a tool's name is {name!r}")
    if arguments is None:
        arguments = {}
    if type(arguments) is not str:
        arguments = msgspec.json.encode(well_formed(arguments)).decode()
    id = str(wire["callId"]) if wire.get("callId") else None
    return ToolCallPart(
        id,
        name,
        arguments,
        local_id=None if id else local_id(decoder.id, decoder.parts.count, name),
        extra={k: v for k, v in wire.items() if v is not None and k not in _IN_A_CALL} or None,
        origin=decoder.origin,
    )
