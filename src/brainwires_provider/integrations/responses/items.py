"""Parts as the output items of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from msgspec.structs import replace

from brainwires_provider.integrations.responses.kept import kept_of, texts_of, texts_of_piece
from brainwires_provider.protocols.base.replay import base64_of
from brainwires_provider.protocols.openai_responses.parts import encode_part
from brainwires_provider.types import (
    Citation,
    Extra,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

__all__ = [
    "PROTOCOL",
    "Item",
    "carrier_of",
    "is_item",
    "is_own",
    "is_piece",
    "item_of",
    "message_of",
    "own_id",
    "own_message",
    "piece_of",
]

Item: TypeAlias = dict[str, Any]
PROTOCOL = "openai_responses"
"""The protocol whose items these are: its parts have an item of their own."""
_ITEMS = frozenset(
    (
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "computer_call",
        "computer_call_output",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "mcp_approval_request",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    )
)
"""The items of built-in tools, which programs know."""


def is_own(part: Part) -> bool:
    """Whether a part came by the Responses API."""
    return part.origin is not None and part.origin.protocol == PROTOCOL


def is_item(part: Part) -> bool:
    """Whether an opaque part is an item that programs know."""
    return is_own(part) and isinstance(part, OpaquePart) and part.kind in _ITEMS and type(part.data) is dict


def is_piece(part: Part) -> bool:
    """Whether a part is a piece of a message."""
    if isinstance(part, OpaquePart):
        return is_own(part) and isinstance((part.extra or {}).get("message"), Mapping)
    return isinstance(part, (TextPart, RefusalPart))


def piece_of(part: Part) -> Item:
    """The piece of a message's content."""
    extra = (part.extra or {}) if is_own(part) else {}
    match part:
        case TextPart():
            cited = [_annotation(each, part) for each in part.citations]
            logprobs = extra.get("logprobs")
            probable = logprobs if isinstance(logprobs, list) else []
            return {"type": "output_text", "text": part.text, "annotations": cited, "logprobs": probable}
        case RefusalPart():
            return {"type": "refusal", "refusal": part.text}
    assert isinstance(part, OpaquePart)
    return dict(part.data)


def _annotation(cited: Citation, part: TextPart) -> Item:
    raw = cited.raw
    if is_own(part) and isinstance(raw, dict):
        return raw
    if cited.url is None:
        source = cited.source or cited.title or ""
        name = cited.title or source
        return {"type": "file_citation", "file_id": source, "filename": name, "index": cited.start or 0}
    return {
        "type": "url_citation",
        "url": cited.url,
        "title": cited.title or "",
        "start_index": cited.start or 0,
        "end_index": len(part.text) if cited.end is None else cited.end,
    }


def message_of(id: str, parts: Sequence[Part], *, keep: bool = True, status: str = "completed") -> Item:
    """The item of a message whose pieces these are."""
    fields = own_message(parts[0])
    item: Item = {"type": "message", "id": id, "status": status, "role": "assistant", **fields}
    item["status"] = item["status"] or status
    item["content"] = [piece_of(part) for part in parts]
    if keep:
        item["provider_data"] = kept_of(parts, [texts_of_piece(piece) for piece in item["content"]])
    return item


def own_message(part: Part) -> Mapping[str, Any]:
    """The fields of the Responses message that a part came in."""
    fields = (part.extra or {}).get("message") if is_own(part) else None
    return fields if isinstance(fields, Mapping) else {}


def own_id(part: Part) -> str | None:
    """The id of the Responses item that a part came as."""
    if not is_own(part):
        return None
    if isinstance(part, ToolCallPart) and part.kind == "mcp_approval":
        return part.id
    given = part.data if isinstance(part, OpaquePart) else own_message(part) or part.extra
    id = given.get("id") if isinstance(given, Mapping) else None
    return id if isinstance(id, str) and id else None


def item_of(
    part: Part,
    id: str,
    *,
    call_id: str | None = None,
    summary: Sequence[str] | None = None,
    keep: bool = True,
) -> Item:
    """The item of a part that is no piece of a message; `summary` is its reasoning as it was streamed."""
    match part:
        case ReasoningPart():
            texts = summary or part.summary or ((part.text,) if part.text else ())
            pieces = [{"type": "summary_text", "text": text} for text in texts]
            item: Item = {"type": "reasoning", "id": id, "summary": pieces, "status": "completed"}
            if part.encrypted is not None:
                item["encrypted_content"] = part.encrypted
        case ToolCallPart():
            item = _call(part, id, call_id or part.call_id)
        case ImagePart() if part.data is not None:
            own = part.extra if is_own(part) else None
            item = {"type": "image_generation_call", "id": id, "status": "completed", **(own or {})}
            item["result"] = base64_of(part)
        case OpaquePart() if is_item(part):
            item = {"id": id, **(part.data or {})}
        case _:
            return carrier_of(id, (part,)) if keep else {"type": "reasoning", "id": id, "summary": []}
    if keep:
        item["provider_data"] = kept_of((part,), (texts_of(item),))
    return item


def _call(part: ToolCallPart, id: str, call_id: str) -> Item:
    own = dict(part.extra or {}) if is_own(part) else {}
    if is_own(part) and part.kind != "function":
        return {"id": id, **encode_part(part if call_id == part.call_id else replace(part, id=call_id), own)}
    head: Item = {"id": id, "status": "completed", **own, "call_id": call_id, "name": part.name}
    head["status"] = head["status"] or "completed"
    if part.kind == "custom":
        return {"type": "custom_tool_call", **head, "input": part.arguments}
    return {"type": "function_call", **head, "arguments": part.arguments}


def carrier_of(id: str, parts: Sequence[Part], extra: Extra | None = None) -> Item:
    """Reasoning without a text, which carries what no Responses item can say."""
    note = kept_of(parts, [()] * len(parts), extra)
    return {"type": "reasoning", "id": id, "summary": [], "status": "completed", "provider_data": note}
