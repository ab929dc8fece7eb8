"""What is kept beside a Responses item: the part that it is, without what the item says itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.types import (
    Extra,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

__all__ = ["Kept", "Note", "digest_of", "kept_of", "note_of", "restored", "texts_of", "texts_of_piece"]

_NAME = "brainwires"
"""The field of `provider_data` that holds what was kept."""
_SPOKEN = ("function", "custom")  # the kinds of calls whose arguments are a text


class Kept(Struct, frozen=True, omit_defaults=True):
    """A part without what its item says, which `digest` identifies."""

    part: Part
    digest: str = ""
    summary: bool = False
    """The item's summary is the part's `summary`, too."""


class Note(Struct, frozen=True, omit_defaults=True):
    """All that is kept beside an item."""

    kept: tuple[Kept, ...] = ()
    extra: Extra | None = None
    """The message's own."""


_NOTE = msgspec.json.Decoder(Note)


def kept_of(
    parts: Sequence[Part], texts: Sequence[Sequence[str]], extra: Extra | None = None
) -> dict[str, Any]:
    """The `provider_data` of an item; `texts` are what the item says of each part, `extra` is the message's."""
    note = Note(tuple(map(_kept, parts, texts)), extra)
    return {_NAME: msgspec.json.encode(note).decode()}


def _kept(part: Part, texts: Sequence[str]) -> Kept:
    joined = "\n\n".join(texts)
    digest = digest_of(joined)
    match part:
        case TextPart() | RefusalPart():
            return Kept(replace(part, text=""), digest)
        case ReasoningPart() if part.summary and part.summary == tuple(texts) and part.text == joined:
            return Kept(replace(part, text="", summary=()), digest, summary=True)
        case ReasoningPart() if part.text == joined:
            return Kept(replace(part, text=""), digest)
        case ToolCallPart() if part.kind in _SPOKEN:
            return Kept(replace(part, arguments=""), digest)
        case ImagePart() if part.data is not None:
            return Kept(replace(part, data=b""), digest)
    return Kept(part, digest)


def restored(kept: Kept, texts: Sequence[str]) -> Part:
    """The part, of what was kept and what the item says."""
    part = kept.part
    match part:
        case TextPart() | RefusalPart():
            return replace(part, text="\n\n".join(texts))
        case ReasoningPart() if kept.summary:
            return replace(part, text="\n\n".join(texts), summary=tuple(texts))
        case ReasoningPart():
            return part if part.text else replace(part, text="\n\n".join(texts))
        case ToolCallPart() if part.kind in _SPOKEN:
            return replace(part, arguments=texts[-1])
        case ImagePart() if part.data is not None:
            return replace(part, data=base64.b64decode(texts[0]))
    return part


def digest_of(text: str) -> str:
    """What identifies a text: the same for the same."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def note_of(item: Mapping[str, Any]) -> Note | None:
    """What was kept beside an item; None where nothing was, or where it cannot be read."""
    data = item.get("provider_data")
    text = data.get(_NAME) if isinstance(data, Mapping) else None
    if not isinstance(text, str):
        return None
    try:
        return _NOTE.decode(text)
    except (msgspec.MsgspecError, TypeError, ValueError):
        return None


def texts_of(item: Mapping[str, Any]) -> tuple[str, ...]:
    """What an item says that is no message."""
    match item:
        case {"type": "reasoning", "summary": list() as pieces}:
            return tuple(piece["text"] for piece in pieces)
        case {"type": "function_call", "name": str() as name, "arguments": str() as arguments}:
            return name, arguments
        case {"type": "custom_tool_call", "name": str() as name, "input": str() as given}:
            return name, given
        case {"type": "image_generation_call", "result": str() as result}:
            return (result,)
    return (_plain(item),)


def texts_of_piece(piece: Mapping[str, Any]) -> tuple[str, ...]:
    """What a piece of a message says."""
    text = piece.get("refusal") if piece.get("type") == "refusal" else piece.get("text")
    return (text,) if isinstance(text, str) else (_plain(piece),)


def _plain(item: Mapping[str, Any]) -> str:
    """An item's content as JSON, without what changes on its way."""
    aside = ("id", "status", "created_by", "provider_data")
    kept = {name: value for name, value in item.items() if name not in aside and value is not None}
    return msgspec.json.encode(kept, order="deterministic").decode()
