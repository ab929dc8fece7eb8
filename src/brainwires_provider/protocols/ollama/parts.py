"""Images and tool calls of `/api/chat` ↔ Parts, in both directions.

Text and thoughts are strings of the message itself. A call keeps every field that a ToolCallPart has no member for in
`extra`, so that encoding makes the same call again.
Reference: the API reference, "Generate a chat message"; the guides "Tool calling" and "Vision".
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from brainwires_provider.protocols.base.decoder import DecoderBase, well_formed
from brainwires_provider.protocols.base.replay import MessageEncoderBase, base64_of, local_id
from brainwires_provider.types import ImagePart, ToolCallPart

__all__ = ["PartEncoder", "decode_call", "decode_image"]

_MAX_SEED = 512  # characters of a field that generated ids depend on
Wire = dict[str, Any]


# -- wire → Part ---------------------------------------------------------------------------------------------


def decode_image(image: str, decoder: DecoderBase) -> ImagePart:
    """An image of an answer. Raises ValueError for what is not base64."""
    try:
        data = base64.b64decode(image, validate=True)
    except binascii.Error:
        raise ValueError("an image is no base64") from None
    return ImagePart(data=data, origin=decoder.origin)


def decode_call(call: Wire, created_at: Any, decoder: DecoderBase) -> ToolCallPart:
    """One call, whole. Most servers send no id; a local one is derived from the line's date, so that turns differ.

    Raises TypeError or KeyError for a shape that is none.
    """
    function = call["function"]
    name, arguments = function["name"], function.get("arguments")
    if type(name) is not str:
        raise TypeError(f"a tool call's name is {type(name).__name__}")
    if arguments is None:
        arguments = {}
    id = str(call["id"]) if call.get("id") else None
    seed = None if id else f"{str(decoder.model or '')[:_MAX_SEED]} {str(created_at or '')[:_MAX_SEED]}"
    extra = {k: v for k, v in call.items() if k not in ("id", "function", "type") and v is not None}
    rest = {k: v for k, v in function.items() if k not in ("name", "arguments") and v is not None}
    if rest:
        extra["function"] = rest
    return ToolCallPart(
        id,
        name,
        arguments if type(arguments) is str else _compact(arguments),
        local_id=None if id else local_id(seed, decoder.parts.count, name),
        extra=extra or None,
        origin=decoder.origin,
    )


def _compact(value: Any) -> str:
    """JSON without spaces."""
    return msgspec.json.encode(well_formed(value)).decode()


# -- Part → wire ---------------------------------------------------------------------------------------------


class PartEncoder(MessageEncoderBase):
    """Encodes images and calls; `where` names the message or part on the report."""

    sent_of_others = (*MessageEncoderBase.sent_of_others, ImagePart)

    def encode_image(self, part: ImagePart) -> str:
        """The bytes in base64."""
        if part.data is None:
            raise self.unsupported(
                "Ollama takes images as data; a URL or a file_id is never fetched here: read the image, and pass its "
                "bytes"
            )
        return base64_of(part)

    def encode_call(self, part: ToolCallPart) -> Wire:
        """One call of an assistant's turn; its id only where an Ollama server made it."""
        self.report_kind(part, "")
        function: Wire = {"name": part.name, "arguments": self.arguments_object(part, "")}
        wire: Wire = {"id": part.id} if part.id is not None and self.is_own(part) else {}
        wire["function"] = function
        if part.extra:
            extra = self.own_extra(part)
            function |= extra.pop("function", {})
            wire |= extra
        return wire
