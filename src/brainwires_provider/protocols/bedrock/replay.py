"""An assistant's turn as the blocks that it was, or as plain ones where it came from elsewhere.

Reasoning goes back to the model that made it, byte for byte; what is bound to the protocol (calls and results of the
service's own tools, citations, media) to any model behind it; the rest is dropped and reported. A turn that ends in
reasoning is refused by the newer models, so there it is left out.
Reference: the API reference of "ContentBlock"; "Use a tool to complete a request" in the user guide.
"""

from __future__ import annotations

import re
from typing import Any

from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.bedrock.blocks import cited_block
from brainwires_provider.protocols.bedrock.content import ContentEncoder, cache_point, part_name, wire_id
from brainwires_provider.protocols.bedrock.options import BedrockQuirks
from brainwires_provider.types import (
    FilePart,
    ImagePart,
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

__all__ = ["Turns"]

_BROKEN = "INVALID_JSON"
Block = dict[str, Any]


class Turns:
    """Encodes one request's assistant messages."""

    def __init__(self, origin: Origin, quirks: BedrockQuirks, model: str, content: ContentEncoder) -> None:
        self._origin = origin
        self._refuses_reasoning = re.search(quirks.own_reasoning_refused, model) is not None
        self._content = content

    def blocks(self, message: Message) -> list[Block]:
        """The turn's blocks, in order; none where nothing of it can be sent.

        Raises UnsupportedError for a part that no assistant's turn can hold.
        """
        dropped = self._dropped(message.content)
        blocks: list[Block] = []
        for index, part in enumerate(message.content):
            at = f".content[{index}]"
            cache = getattr(part, "cache", None)
            if index in dropped:
                self._content.report("dropped", dropped[index], at)
                continue
            blocks.append(self._block(part, at))
            if cache is not None and isinstance(part, ReasoningPart):
                self._content.report("dropped", "behind reasoning no cache point can stand", f"{at}.cache")
            elif cache is not None:
                blocks.append(cache_point(cache))
        return blocks

    # -- what goes back --------------------------------------------------------------------------------------

    def _dropped(self, parts: tuple[Part, ...]) -> dict[int, str]:
        """The places of the parts that do not go back, with the reasons."""
        dropped: dict[int, str] = {}
        for index, part in enumerate(parts):
            reason = self._objection(part)
            if reason is not None:
                dropped[index] = reason
        torn = {p.id for i in dropped if isinstance(p := parts[i], OpaquePart) and p.role and p.id}
        for index, part in enumerate(parts):
            if isinstance(part, OpaquePart) and part.role is not None and part.id in torn:
                dropped.setdefault(
                    index, "its call or result is dropped, and one is refused without the other"
                )
        for index in range(len(parts) - 1, -1, -1):
            if isinstance(parts[index], ReasoningPart):
                dropped.setdefault(index, "nothing follows it: a turn that ends in reasoning is refused")
            elif index not in dropped:
                break
        return dropped

    def _objection(self, part: Part) -> str | None:
        """Why a part cannot go back; None if it can. Raises UnsupportedError where the caller must choose."""
        match part:
            case TextPart() | RefusalPart() if not part.text.strip():
                return "the API refuses a blank text"
            case ReasoningPart():
                return self._objection_to_reasoning(part)
            case OpaquePart() if not isinstance(part.data, dict) or not self._is_ours(part):
                return f"{part_name(part)} is bound to who made it"
            case ImagePart() | FilePart():
                if part.origin is None:
                    raise self._content.unsupported(
                        f"{part_name(part)} cannot be sent in an assistant's message"
                    )
                if not self._is_ours(part):
                    return "another protocol's media cannot be sent as the assistant's"
                if not part.data:
                    return "nothing of it had come"
            case ToolResultPart():
                raise self._content.unsupported("a tool result belongs in a message of role tool")
        return None

    def _objection_to_reasoning(self, part: ReasoningPart) -> str | None:
        if part.origin is None or not self._is_ours(part):
            return "reasoning goes back only by the protocol that it came by"
        if self._origin.model not in (part.origin.model, part.origin.reported):
            return "reasoning is bound to the model that made it"
        return "this model refuses to be shown its reasoning" if self._refuses_reasoning else None

    def _is_ours(self, part: Part) -> bool:
        return part.origin is None or part.origin.protocol == self._origin.protocol

    # -- blocks ----------------------------------------------------------------------------------------------

    def _block(self, part: Part, at: str) -> Block:
        """A part that `_objection` let through."""
        match part:
            case TextPart():
                return self._text(part, at)
            case ReasoningPart():
                return _reasoning(part)
            case ToolCallPart():
                return self._call(part, at)
            case RefusalPart():
                self._content.report("adapted", "this protocol has no refusals: sent as text", at)
                return {"text": part.text}
            case ImagePart() | FilePart():
                return self._content.media(part, at)
        assert isinstance(part, OpaquePart)
        return dict(part.data)

    def _text(self, part: TextPart, at: str) -> Block:
        ours = self._is_ours(part)
        if ours and part.extra and "citationsContent" in part.extra:
            return dict(part.extra)
        cited = [c.raw for c in part.citations if ours and isinstance(c.raw, dict)]
        if len(cited) < len(part.citations):
            reason = "only citations that came by this protocol can be sent back"
            self._content.report("dropped", reason, f"{at}.citations")
        return cited_block(part.text, cited) if cited else {"text": part.text}

    def _call(self, part: ToolCallPart, at: str) -> Block:
        id = wire_id(part.call_id)
        if id != part.call_id:
            self._content.report("adapted", "this API takes few characters in ids", f"{at}.id")
        if part.kind != "function":
            self._content.report("emulated", f"a call of kind {part.kind!r} goes as a function call", at)
        told = {"input": part.arguments} if part.kind == "custom" else self._input(part, at)
        extra = {k: v for k, v in (part.extra or {}).items() if k != "type"} if self._is_ours(part) else {}
        return {"toolUse": {"toolUseId": id, "name": part.name, "input": told, **extra}}

    def _input(self, part: ToolCallPart, at: str) -> Any:
        """Arguments as the object that the wire has. Those that are none are shown to the model as they were."""
        try:
            value = decode_json(part.arguments.encode()) if part.arguments.strip() else {}
        except ValueError:
            value = None
        if isinstance(value, dict) or (value is not None and part.origin is not None and self._is_ours(part)):
            return value
        reason = f"the arguments are no JSON object: sent as the text under {_BROKEN!r}"
        self._content.report("adapted", reason, f"{at}.arguments")
        return {_BROKEN: part.arguments}


def _reasoning(part: ReasoningPart) -> Block:
    if part.encrypted is not None:
        return {"reasoningContent": {"redactedContent": part.encrypted}}
    told: Block = {"text": part.text}
    if part.signature is not None:
        told["signature"] = part.signature
    return {"reasoningContent": {"reasoningText": {**told, **(part.extra or {})}}}
