"""What the items of an answer are as parts: one table for the calls, one rule for all the rest.

A part keeps beside its meaning every other field of its item, so that `replay` can make the same item again. An
item whose form is not the known one becomes an OpaquePart and so is kept whole; nothing here raises for that.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from brainwires_provider.protocols.base.assembler import well_formed
from brainwires_provider.protocols.base.replay import local_id
from brainwires_provider.types import (
    Citation,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from brainwires_provider.types.usage import split_usage

__all__ = [
    "BY_KIND",
    "CallShape",
    "call_shape",
    "citation",
    "compact",
    "message_fields",
    "part_of_item",
    "part_of_piece",
    "parts_of_message",
    "usage_of",
]


class CallShape(Struct, frozen=True):
    """How one kind of call that the caller must answer lies on the wire."""

    type: str
    kind: str
    arguments: tuple[str, ...]
    """The fields that are its arguments; several are put into one object."""
    answer: str
    """The type of the item that answers it."""
    is_text: bool = False
    """The arguments are text on the wire; else JSON, of which ours is the compact form."""
    is_named: bool = False
    id_field: str = "call_id"


_SHAPES = (
    CallShape("function_call", "function", ("arguments",), "function_call_output", True, True),
    CallShape("custom_tool_call", "custom", ("input",), "custom_tool_call_output", True, True),
    CallShape("apply_patch_call", "apply_patch", ("operation",), "apply_patch_call_output"),
    CallShape("shell_call", "shell", ("action",), "shell_call_output"),
    CallShape("local_shell_call", "local_shell", ("action",), "local_shell_call_output"),
    CallShape("tool_search_call", "tool_search", ("arguments",), "tool_search_output"),
    CallShape("computer_call", "computer", ("action", "actions"), "computer_call_output"),
    CallShape(
        "mcp_approval_request", "mcp_approval", ("arguments",), "mcp_approval_response", True, True, "id"
    ),
)
_BY_TYPE = {shape.type: shape for shape in _SHAPES}
BY_KIND: Mapping[str, CallShape] = {shape.kind: shape for shape in _SHAPES}
"""The shapes by the `kind` of their ToolCallPart."""

_IMAGE_TYPES = {"svg": "image/svg+xml"}


def call_shape(item: Mapping[str, Any]) -> CallShape | None:
    """The shape of a call that the caller must answer; None for anything else, server-side calls included."""
    shape = _BY_TYPE.get(str(item.get("type")))
    if shape is None:
        return None
    if shape.kind == "shell":
        environment = item.get("environment")
        is_ours = not isinstance(environment, dict) or environment.get("type") == "local"
        return shape if is_ours else None
    if shape.kind == "tool_search" and item.get("execution") != "client":
        return None
    return shape


def part_of_item(item: dict[str, Any], origin: Origin) -> Part:
    """The part that any item but a message is."""
    kind = item.get("type")
    if kind == "reasoning":
        return _reasoning(item, origin) or _opaque(item, origin)
    if kind == "image_generation_call":
        return _image(item, origin) or _opaque(item, origin)
    shape = call_shape(item)
    if shape is not None and (not shape.is_named or isinstance(item.get("name"), str)):
        return _call(item, shape, origin)
    return _opaque(item, origin)


def _opaque(item: dict[str, Any], origin: Origin) -> OpaquePart:
    kind = str(item.get("type") or "item")
    role: Any = None
    if kind.endswith(("_output", "_response")):
        role = "result"
    elif kind.endswith(("_call", "_request")) or kind == "program":
        role = "call"
    name = item.get("name")
    return OpaquePart(
        kind,
        item,
        id=_text(item.get("call_id")) or _text(item.get("id")),
        name=name if isinstance(name, str) else None,
        role=role,
        origin=origin,
    )


def _call(item: dict[str, Any], shape: CallShape, origin: Origin) -> ToolCallPart:
    first, *more = shape.arguments
    value = {name: item[name] for name in shape.arguments if name in item} if more else item.get(first)
    is_text = value is None or (shape.is_text and isinstance(value, str))
    arguments = str(value or "") if is_text else compact(value)
    known = {"type", *shape.arguments}
    id = _text(item.get(shape.id_field))
    if id is not None:
        known.add(shape.id_field)
    if shape.is_named:
        known.add("name")
    name = item["name"] if shape.is_named else shape.kind
    id = id or _text(item.get("id"))
    return ToolCallPart(
        id,
        name,
        arguments,
        shape.kind,
        local_id=local_id(None, 0, f"{name}\0{arguments}") if id is None else None,
        extra={k: v for k, v in item.items() if k not in known} or None,
        origin=origin,
    )


def compact(value: Any) -> str:
    """JSON without spaces."""
    return msgspec.json.encode(well_formed(value)).decode()


def _reasoning(item: dict[str, Any], origin: Origin) -> ReasoningPart | None:
    """None where the summary or the thinking is no list of texts."""
    summary = _texts(item.get("summary"), "summary_text")
    content = _texts(item.get("content"), "reasoning_text")
    if summary is None or content is None:
        return None
    encrypted = item.get("encrypted_content")
    known = {"type", "summary"}
    if isinstance(encrypted, str):
        known.add("encrypted_content")
    elif encrypted is not None:
        return None
    return ReasoningPart(
        "\n\n".join(content or summary),
        tuple(summary),
        encrypted=encrypted,
        extra={k: v for k, v in item.items() if k not in known} or None,
        origin=origin,
    )


def _texts(pieces: Any, kind: str) -> list[str] | None:
    """The texts of a list of plain pieces; None if it is anything else."""
    found = []
    for piece in pieces if isinstance(pieces, list) else [] if pieces is None else [pieces]:
        text = piece.get("text") if isinstance(piece, dict) else None
        if not isinstance(text, str) or piece.get("type") != kind:
            return None
        if kind == "summary_text" and len(piece) > 2:
            return None
        found.append(text)
    return found


def _image(item: dict[str, Any], origin: Origin) -> ImagePart | None:
    """None where there is no picture, or one whose text we could not make again."""
    result = item.get("result")
    if not isinstance(result, str) or not result:
        return None
    try:
        data = base64.b64decode(result, validate=True)
    except (binascii.Error, ValueError):
        return None
    if base64.b64encode(data).decode() != result:
        return None
    told = item.get("output_format")
    media_type = _IMAGE_TYPES.get(told, f"image/{told}") if isinstance(told, str) else None
    extra = {k: v for k, v in item.items() if k not in ("type", "result")}
    return ImagePart(data=data, media_type=media_type, extra=extra or None, origin=origin)


# -- messages ------------------------------------------------------------------------------------------------


def message_fields(item: Mapping[str, Any]) -> dict[str, Any]:
    """What of a message item is not its content."""
    return {k: v for k, v in item.items() if k not in ("type", "content")}


def parts_of_message(item: dict[str, Any], origin: Origin) -> list[Part]:
    """A part for each piece; one opaque part for a message that is not the assistant's, or has no pieces."""
    content = item.get("content")
    if not isinstance(content, list) or not content or item.get("role", "assistant") != "assistant":
        return [_opaque(item, origin)]
    fields = message_fields(item)
    return [part_of_piece(piece, index, fields, origin) for index, piece in enumerate(content)]


def part_of_piece(piece: Any, index: int, fields: Mapping[str, Any], origin: Origin) -> Part:
    """One piece of a message. `extra["message"]` says which message it is part of, so that it goes back as one."""
    extra: dict[str, Any] = {"message": fields}
    if index:
        extra["content_index"] = index
    kind = piece.get("type") if isinstance(piece, dict) else None
    if kind == "output_text" and isinstance(piece.get("text"), str):
        known = {"type", "text"}
        annotations = piece.get("annotations")
        if isinstance(annotations, list):
            known.add("annotations")
        extra |= {k: v for k, v in piece.items() if k not in known}
        cited = tuple(citation(a) for a in annotations) if isinstance(annotations, list) else ()
        return TextPart(piece["text"], cited, extra=extra, origin=origin)
    if kind == "refusal" and isinstance(piece.get("refusal"), str):
        extra |= {k: v for k, v in piece.items() if k not in ("type", "refusal")}
        return RefusalPart(piece["refusal"], extra=extra, origin=origin)
    return OpaquePart(str(kind or "content"), piece, extra=extra, origin=origin)


def citation(annotation: Any) -> Citation:
    """An annotation of any kind. `source` is a file's id; a position without an end is its `start`."""
    told = annotation if isinstance(annotation, dict) else {}
    start = _whole(told.get("start_index"))
    return Citation(
        url=_text(told.get("url")),
        title=_text(told.get("title")) or _text(told.get("filename")),
        start=_whole(told.get("index")) if start is None else start,
        end=_whole(told.get("end_index")),
        source=_text(told.get("file_id")),
        raw=annotation,
    )


# -- counts --------------------------------------------------------------------------------------------------


def usage_of(counts: Any) -> Usage:
    """The buckets of a `usage` object; its details are parts of the totals."""
    if not isinstance(counts, dict) or not counts:
        return Usage()
    inner, outer = _details(counts, "input"), _details(counts, "output")
    return split_usage(
        input_total=_count(counts.get("input_tokens")),
        output_total=_count(counts.get("output_tokens")),
        total=None if counts.get("total_tokens") is None else _count(counts["total_tokens"]),
        cache_read=_count(inner.get("cached_tokens")),
        cache_write=_count(inner.get("cache_write_tokens")),
        reasoning=_count(outer.get("reasoning_tokens")),
        raw=counts,
    )


def _details(counts: Mapping[str, Any], which: str) -> Mapping[str, Any]:
    details = counts.get(f"{which}_tokens_details")
    return details if isinstance(details, dict) else {}


def _count(value: Any) -> int:
    return value if type(value) is int else 0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None
