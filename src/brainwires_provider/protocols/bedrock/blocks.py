"""The content blocks of Converse as parts: what a whole answer holds, and what a streamed one comes to.

A block is a union: an object with one member, which says what it is. What has no part of its own is kept whole. Blobs
are base64 on the wire.
Reference: the API reference of "ContentBlock".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from brainwires_provider.protocols.base.assembler import well_formed
from brainwires_provider.types import (
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from brainwires_provider.types.usage import split_usage

__all__ = [
    "FORMATS",
    "SERVER_TOOL",
    "call_of",
    "citation",
    "cited_block",
    "citing_part",
    "media_part",
    "part_of_block",
    "server_part",
    "usage_of",
]

SERVER_TOOL = "server_tool_use"
FORMATS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "image": {
            "image/png": "png",
            "image/jpeg": "jpeg",
            "image/jpg": "jpeg",
            "image/gif": "gif",
            "image/webp": "webp",
        },
        "document": {
            "application/pdf": "pdf",
            "text/csv": "csv",
            "application/msword": "doc",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
            "application/vnd.ms-excel": "xls",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
            "text/html": "html",
            "text/plain": "txt",
            "text/markdown": "md",
        },
        "video": {
            "video/mp4": "mp4",
            "video/x-matroska": "mkv",
            "video/quicktime": "mov",
            "video/webm": "webm",
            "video/x-flv": "flv",
            "video/mpeg": "mpeg",
            "video/x-ms-wmv": "wmv",
            "video/3gpp": "three_gp",
        },
        "audio": {
            "audio/mpeg": "mp3",
            "audio/mp3": "mp3",
            "audio/wav": "wav",
            "audio/x-wav": "wav",
            "audio/flac": "flac",
            "audio/ogg": "ogg",
            "audio/opus": "opus",
            "audio/aac": "aac",
            "audio/x-aac": "x-aac",
            "audio/mp4": "mp4",
            "audio/x-m4a": "m4a",
            "audio/webm": "webm",
            "audio/x-matroska": "mka",
            "audio/pcm": "pcm",
            "audio/l16": "pcm",
        },
    }
)
"""The wire's word for a media type, by the member that holds the media."""
_MEDIA_TYPES = {
    member: {word: media_type for media_type, word in reversed(list(known.items()))}
    for member, known in FORMATS.items()
}
_TOOL_FIELDS = ("toolUseId", "name", "input")
Block = dict[str, Any]


def part_of_block(block: Any, origin: Origin) -> Part:
    """The part that a block is."""
    if not isinstance(block, dict) or len(block) != 1:
        return OpaquePart("content", block, origin=origin)
    (kind, value), *_ = block.items()
    part: Part | None = None
    if kind == "text" and isinstance(value, str):
        return TextPart(value, origin=origin)
    if isinstance(value, dict):
        match kind:
            case "toolUse" | "toolResult":
                part = _tool(kind, value, block, origin)
            case "reasoningContent":
                part = _reasoning(value, origin)
            case "citationsContent":
                part = _cited(value, block, origin)
            case "image" | "video" | "audio" | "document":
                part = _media(kind, value, origin)
    return part or OpaquePart(str(kind), block, origin=origin)


# -- tools ---------------------------------------------------------------------------------------------------


def _tool(kind: str, value: Block, block: Block, origin: Origin) -> Part | None:
    if kind == "toolResult" or value.get("type") == SERVER_TOOL:
        return server_part(kind, value, block, origin)
    if not isinstance(value.get("name"), str):
        return None
    told = value.get("input")
    return call_of(value, "" if told is None else _compact(told), origin)


def call_of(value: Mapping[str, Any], arguments: str, origin: Origin) -> ToolCallPart:
    """A call that the caller must answer."""
    id, name = value.get("toolUseId"), str(value.get("name") or "")
    named = isinstance(id, str) and bool(id)
    digest = hashlib.sha256(f"{name}\0{arguments}".encode("utf-8", "replace")).hexdigest()[:24]
    return ToolCallPart(
        id if named else None,
        name,
        arguments,
        local_id=None if named else f"local_{digest}",
        extra={k: v for k, v in value.items() if k not in _TOOL_FIELDS} or None,
        origin=origin,
    )


def server_part(kind: str, value: Mapping[str, Any], block: Block, origin: Origin) -> OpaquePart:
    """A call that the service answers itself, or its result."""
    id, name = value.get("toolUseId"), value.get("name")
    return OpaquePart(
        kind,
        block,
        id=id if isinstance(id, str) else None,
        name=name if isinstance(name, str) else None,
        role="call" if kind == "toolUse" else "result",
        origin=origin,
    )


def _compact(value: Any) -> str:
    return msgspec.json.encode(well_formed(value)).decode()


# -- reasoning and citations ---------------------------------------------------------------------------------


def _reasoning(value: Block, origin: Origin) -> ReasoningPart | None:
    told, redacted = value.get("reasoningText"), value.get("redactedContent")
    if len(value) != 1:
        return None
    if isinstance(redacted, str):
        return ReasoningPart(encrypted=redacted, redacted=True, origin=origin)
    if not isinstance(told, dict) or not isinstance(told.get("text"), str):
        return None
    signature = told.get("signature")
    known = {"text", "signature"} if isinstance(signature, str) else {"text"}
    return ReasoningPart(
        told["text"],
        signature=signature if isinstance(signature, str) else None,
        extra={k: v for k, v in told.items() if k not in known} or None,
        origin=origin,
    )


def citation(raw: Any) -> Citation:
    """A citation of any kind. Places inside a cited document are in `raw`: `start` and `end` are of the text."""
    told = raw if isinstance(raw, dict) else {}
    location = told.get("location")
    web = location.get("web") if isinstance(location, dict) else None
    source = told.get("sourceContent")
    pieces = source if isinstance(source, list) else []
    quotes = [piece.get("text") for piece in pieces if isinstance(piece, dict)]
    return Citation(
        url=_text(web.get("url")) if isinstance(web, dict) else None,
        title=_text(told.get("title")),
        quote="".join(q for q in quotes if isinstance(q, str)) or None,
        source=_text(told.get("source")),
        raw=raw,
    )


def cited_block(text: str, citations: list[Any]) -> Block:
    """Text with what it leans on; citations alone, where no text came with them."""
    content: Block = {"content": [{"text": text}]} if text else {}
    return {"citationsContent": {**content, "citations": citations}}


def citing_part(citations: list[Any], origin: Origin, block: Block | None = None) -> OpaquePart:
    """Citations that no text came with; `block` is what they came in."""
    data = cited_block("", citations) if block is None else block
    return OpaquePart("citations", data, citations=tuple(citation(c) for c in citations), origin=origin)


def _cited(value: Block, block: Block, origin: Origin) -> Part | None:
    pieces, citations = value.get("content") or [], value.get("citations") or []
    if not isinstance(pieces, list) or not isinstance(citations, list):
        return None
    if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in pieces):
        return None
    text = "".join(p["text"] for p in pieces)
    if not text:
        return citing_part(citations, origin, block)
    as_told = bool(citations) and cited_block(text, citations) == block
    return TextPart(
        text,
        tuple(citation(c) for c in citations),
        extra=None if as_told else block,
        origin=origin,
    )


# -- media ---------------------------------------------------------------------------------------------------


def _media(kind: str, value: Block, origin: Origin) -> Part | None:
    """None where the bytes are elsewhere, or are none whose text we could make again."""
    source = value.get("source")
    encoded = source.get("bytes") if isinstance(source, dict) and len(source) == 1 else None
    if not isinstance(encoded, str):
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    if base64.b64encode(data).decode() != encoded:
        return None
    return media_part(kind, {k: v for k, v in value.items() if k != "source"}, data, origin)


def media_part(kind: str, fields: Mapping[str, Any], data: bytes, origin: Origin) -> Part:
    """Media that a model made; `fields` is the block without its source."""
    word = fields.get("format")
    media_type = _MEDIA_TYPES[kind].get(word, f"{kind}/{word}") if isinstance(word, str) else None
    made = ImagePart if kind == "image" else FilePart
    return made(data=data, media_type=media_type, extra={kind: fields}, origin=origin)


# -- counts --------------------------------------------------------------------------------------------------


def usage_of(counts: Any) -> Usage:
    """The buckets of `usage`: what was read from a cache or written to one stands beside `inputTokens`."""
    if not isinstance(counts, dict) or not counts:
        return Usage()
    read, written = _count(counts.get("cacheReadInputTokens")), _count(counts.get("cacheWriteInputTokens"))
    total = counts.get("totalTokens")
    return split_usage(
        input_total=_count(counts.get("inputTokens")) + read + written,
        output_total=_count(counts.get("outputTokens")),
        total=_count(total) if type(total) is int else None,
        cache_read=read,
        cache_write=written,
        raw=counts,
    )


def _count(value: Any) -> int:
    return value if type(value) is int else 0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
