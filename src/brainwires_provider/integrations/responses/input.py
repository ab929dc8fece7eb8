"""Responses input items as messages: what the caller said, and what earlier answers were."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from brainwires_provider.integrations.responses.content import content_of
from brainwires_provider.integrations.responses.items import PROTOCOL, is_own, is_piece
from brainwires_provider.integrations.responses.kept import (
    Kept,
    Note,
    digest_of,
    note_of,
    restored,
    texts_of,
    texts_of_piece,
)
from brainwires_provider.protocols.openai_responses.continuation import BY_RESULT
from brainwires_provider.protocols.openai_responses.parts import decode_message, decode_part
from brainwires_provider.types import (
    FilePart,
    Message,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["messages_of"]

_NOT_OURS = Origin(PROTOCOL, "openai-responses")
_FAKE_ID = "__fake_id__"  # which the Agents SDK gives to items of other APIs


def messages_of(items: Iterable[Mapping[str, Any]], *, origin: Origin | None = None) -> list[Message]:
    """The messages of input items: what the caller said, and what earlier answers were.

    `origin` is the model that made the items beside which nothing is kept, so that its reasoning goes back to it.
    Default: some model of the Responses API. Raises ValueError, with the place, for an item that is none.
    """
    reader = _Reader(origin or _NOT_OURS)
    for index, item in enumerate(items):
        try:
            reader.add(item)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"input[{index}]: {what}") from None
    reader.end_turn()
    return reader.messages


class _Reader:
    """Reads items into messages. What the model made without a break is one turn."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.messages: list[Message] = []
        self._turn: list[Part] = []
        self._extra: dict[str, Any] = {}
        self._names: dict[str, str] = {}

    def add(self, item: Mapping[str, Any]) -> None:
        if not isinstance(item, Mapping):
            raise TypeError(f"an item is an object, not {type(item).__name__}")
        kind, role = item.get("type") or "message", item.get("role")
        note = note_of(item)
        if note is not None and (kind != "message" or _is_opaque(note)):
            self._restore(item, note)
        elif kind == "message" and role != "assistant":
            self.end_turn()
            self.messages.append(Message(_role(role), content_of(item.get("content"))))
        elif kind in {"item_reference", "compaction_trigger"}:
            self.end_turn()
            self.messages.append(Message("user", (OpaquePart(kind, dict(item)),)))
        elif kind in BY_RESULT:
            self.end_turn()
            self.messages.append(Message("tool", (self._result(item, kind),)))
        elif kind == "message":
            self._turn += _said(item, note, self.origin)
        elif not _is_given_up(item):
            part = _foreign(item, self.origin)
            self._name(part)
            self._turn.append(part)

    def end_turn(self) -> None:
        if self._turn or self._extra:
            self.messages.append(Message("assistant", self._turn, extra=self._extra or None))
            self._turn, self._extra = [], {}

    def _restore(self, item: Mapping[str, Any], note: Note) -> None:
        """An item of the model that is no message, with what was kept of it."""
        self._extra |= note.extra or {}
        texts = texts_of(item)
        for kept in note.kept:
            part = (
                restored(kept, texts) if kept.digest == digest_of("\n\n".join(texts)) else _edited(kept, item)
            )
            if isinstance(part, ToolCallPart) and (item.get("call_id") or part.call_id) != part.call_id:
                part = replace(part, id=item["call_id"])
            self._name(part)
            self._turn.append(part)

    def _name(self, part: Part) -> None:
        if isinstance(part, ToolCallPart):
            self._names[part.call_id] = part.name

    def _result(self, item: Mapping[str, Any], kind: str) -> ToolResultPart:
        shape = BY_RESULT[kind]
        call_id = item.get("call_id") or item.get("approval_request_id") or item["id"]
        name = self._names.get(call_id)
        if kind in ("function_call_output", "custom_tool_call_output"):
            output = item.get("output")
            return ToolResultPart(call_id, content_of("" if output is None else output), name=name)
        extra = None if name == shape.kind else {"type": kind}
        failed = kind == "apply_patch_call_output" and item.get("status") == "failed"
        return ToolResultPart(call_id, _output(item, kind), is_error=failed, name=name, extra=extra)


def _output(item: Mapping[str, Any], kind: str) -> str:
    """What answers a call of a built-in tool: its text, else the JSON that stands for it."""
    output = item.get("output")
    if kind == "mcp_approval_response":
        output = {name: item[name] for name in ("approve", "reason") if item.get(name) is not None}
    elif kind == "tool_search_output":
        output = item.get("tools")
    if output is None or isinstance(output, str):
        return output or ""
    return msgspec.json.encode(output).decode()


def _role(role: Any) -> Any:
    if role not in ("user", "system", "developer"):
        raise ValueError(f"a message has the role user, assistant, system or developer, not {role!r}")
    return role


def _is_opaque(note: Note) -> bool:
    """Whether a message was kept whole, since its form is none that is known."""
    return any(isinstance(kept.part, OpaquePart) and not is_piece(kept.part) for kept in note.kept)


def _said(item: Mapping[str, Any], note: Note | None, origin: Origin) -> list[Part]:
    """The parts of an assistant's message."""
    content = item.get("content")
    if isinstance(content, str):
        return [TextPart(content)] if content or note is None else []
    pieces: list[Mapping[str, Any]] = list(content or ())
    for index, piece in enumerate(pieces):
        if not isinstance(piece, Mapping):
            raise TypeError(f"content[{index}] is an object, not {type(piece).__name__}")
    if note is None:
        if _is_of_the_api(item):
            return decode_message(dict(item), origin)
        return [_plain_piece(piece) for piece in pieces]
    left, parts = list(note.kept), []
    for piece in pieces:
        texts = texts_of_piece(piece)
        digest = digest_of("\n\n".join(texts))
        found = next((each for each in left if each.digest == digest), None)
        if found is not None:
            left.remove(found)
        parts.append(_plain_piece(piece) if found is None else restored(found, texts))
    return parts


def _is_of_the_api(item: Mapping[str, Any]) -> bool:
    """Whether an item can be one that the Responses API made: it has an id, and nothing of another provider."""
    return item.get("id") not in (None, _FAKE_ID) and not item.get("provider_data")


def _is_given_up(item: Mapping[str, Any]) -> bool:
    """Whether an item is reasoning of an attempt that failed."""
    return (
        item["type"] == "reasoning"
        and item.get("status") == "incomplete"
        and not item.get("encrypted_content")
    )


def _plain_piece(piece: Mapping[str, Any]) -> Part:
    if piece.get("type") == "refusal":
        return RefusalPart(piece["refusal"])
    return TextPart(piece["text"])


def _foreign(item: Mapping[str, Any], origin: Origin) -> Part:
    """A part of an item beside which nothing of ours is kept."""
    if _is_of_the_api(item) or ("provider_data" not in item and item.get("id") != _FAKE_ID):
        return decode_part(dict(item), origin)
    own = {name: value for name, value in item.items() if name not in ("id", "provider_data")}
    return _without_origin(decode_part(own, origin))


def _without_origin(part: Part) -> Part:
    if isinstance(part, (ReasoningPart, ToolCallPart)):
        return replace(part, extra=None, origin=None)
    return part


def _edited(kept: Kept, item: Mapping[str, Any]) -> Part:
    """A part whose item says something else than was kept: what the item says now, without what was of the old."""
    if isinstance(kept.part, (OpaquePart, FilePart)):
        return _opaque_again(kept.part, item)
    plain = {name: value for name, value in item.items() if name not in ("id", "status", "provider_data")}
    own = kept.part.origin if is_own(kept.part) else None
    part = decode_part(plain, own or _NOT_OURS)
    return (
        part
        if own is not None and part.origin and not isinstance(part, ReasoningPart)
        else _without_origin(part)
    )


def _opaque_again(part: OpaquePart | FilePart, item: Mapping[str, Any]) -> Part:
    if not is_own(part) or part.origin is None:
        return part  # a carrier says nothing itself
    return decode_part({name: value for name, value in item.items() if name != "provider_data"}, part.origin)
