"""An assistant's turn as the content blocks that it was, or as plain ones where it came from elsewhere.

What is bound to a model (thinking, redacted or not) goes back to that model, byte for byte; what is bound to the
protocol (server tools' blocks, citations, compactions) to any model of it; the rest is dropped and reported, a server
tool's call together with its result. Two things the API refuses, and they are left out and reported: texts that say
nothing, and thinking that nothing follows.
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.anthropic.caching import cache_control
from brainwires_provider.protocols.anthropic.writer import (
    Block,
    Outcome,
    Writer,
    part_name,
    refused_texts,
    wire_id,
)
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.types import (
    Deviation,
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

__all__ = ["assistant_blocks"]

_BROKEN = "INVALID_JSON"  # the key that Anthropic's page on fine-grained tool streaming names for this


def assistant_blocks(
    message: Message, origin: Origin, where: str, deviations: list[Deviation]
) -> list[Block]:
    """The blocks of one assistant's message, in order; none if all of it was dropped.

    `origin` is the new request's; `where` names the message in reports and errors. Each block is a fresh dict, and
    has `cache_control` as its last key where its part bears a mark. Raises UnsupportedError for a part that no
    assistant's turn can hold.
    """
    return _Turn(message, origin, where, deviations).blocks()


class _Turn(Writer):
    """One assistant's message on its way back."""

    def __init__(self, message: Message, origin: Origin, where: str, deviations: list[Deviation]) -> None:
        super().__init__(origin, deviations, where)
        self._content = message.content

    def blocks(self) -> list[Block]:
        dropped = self._dropped()
        blocks = []
        for index, part in enumerate(self._content):
            if index in dropped:
                self._report("dropped", dropped[index], index)
                continue
            block = self._block(part, index)
            cache = getattr(part, "cache", None)
            if cache is not None:
                block["cache_control"] = cache_control(cache)
            blocks.append(block)
        return blocks

    def _report(self, outcome: Outcome, reason: str, index: int, field: str = "") -> None:
        self.report(outcome, reason, f".content[{index}]{field}")

    # -- what goes back --------------------------------------------------------------------------------------

    def _dropped(self) -> dict[int, str]:
        """The places of the parts that do not go back, with the reasons."""
        dropped = refused_texts(self._content)
        torn = set()
        for index, part in enumerate(self._content):
            reason = self._objection(part)
            if reason is not None:
                dropped[index] = reason
                if isinstance(part, OpaquePart) and part.role is not None and part.id is not None:
                    torn.add(part.id)
        for index, part in enumerate(self._content):
            if isinstance(part, OpaquePart) and part.role is not None and part.id in torn:
                dropped.setdefault(
                    index, "its call or result is dropped, and one is refused without the other"
                )
        for index in range(len(self._content) - 1, -1, -1):
            if isinstance(self._content[index], ReasoningPart):
                dropped.setdefault(index, "nothing follows it: a turn that ends in thinking is refused")
            elif index not in dropped:
                break
        return dropped

    def _objection(self, part: Part) -> str | None:
        """Why a part cannot go back; None if it can. Raises UnsupportedError where the caller must choose."""
        match part:
            case ReasoningPart():
                return self._objection_to_thought(part)
            case OpaquePart():
                if not isinstance(part.data, dict) or not self._is_ours(part):
                    return f"{part_name(part)} is bound to who made it"
            case ImagePart() | FilePart():
                if part.origin is None:
                    raise self.unsupported(f"{part_name(part)} cannot be sent in an assistant's message")
                return "media cannot be sent as the assistant's"
            case ToolResultPart():
                raise self.unsupported("a tool result belongs in a message of role tool")
        return None

    def _objection_to_thought(self, part: ReasoningPart) -> str | None:
        if part.origin is None or not self._is_ours(part):
            return "reasoning goes back only by the protocol that it came by"
        if self._origin.model not in (part.origin.model, part.origin.reported):
            return "reasoning is bound to the model that made it"
        return None

    def _is_ours(self, part: Part) -> bool:
        return part.origin is None or part.origin.protocol == self._origin.protocol

    # -- blocks ----------------------------------------------------------------------------------------------

    def _block(self, part: Part, index: int) -> Block:
        """A part that `_objection` let through."""
        match part:
            case TextPart():
                return self._text(part, index)
            case ToolCallPart():
                return self._call(part, index)
            case ReasoningPart():
                return _thought(part)
            case RefusalPart():
                self._report("adapted", "this protocol has no refusals: sent as text", index)
                return {"type": "text", "text": part.text}
        assert isinstance(part, OpaquePart)
        block = dict(part.data)
        if part.role == "call" and isinstance(block.get("input"), str):
            block["input"] = self._input(block["input"], index)
        return block

    def _text(self, part: TextPart, index: int) -> Block:
        block: Block = {"type": "text", "text": part.text}
        is_ours = self._is_ours(part)
        cited = [c.raw for c in part.citations if is_ours and isinstance(c.raw, dict)]
        if len(cited) < len(part.citations):
            reason = "only citations that came by this protocol can be sent back"
            self._report("dropped", reason, index, ".citations")
        if cited:
            block["citations"] = cited
        return {**block, **(part.extra or {})} if is_ours else block

    def _call(self, part: ToolCallPart, index: int) -> Block:
        id = wire_id(part.call_id)
        if id != part.call_id:
            self._report("adapted", "this API takes letters, digits, _ and - in ids only", index, ".id")
        if part.kind != "function":
            self._report("emulated", f"a call of kind {part.kind!r} goes as a function call", index)
        told = {"input": part.arguments} if part.kind == "custom" else self._input(part.arguments, index)
        block = {"type": "tool_use", "id": id, "name": part.name, "input": told}
        return {**block, **(part.extra or {})} if self._is_ours(part) else block

    def _input(self, text: str, index: int) -> Any:
        """Arguments as the object that the wire has. Those that are none are shown to the model as they were."""
        try:
            value = decode_json(text.encode()) if text.strip() else {}
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        reason = f"the arguments are no JSON object: sent as the text under {_BROKEN!r}"
        self._report("adapted", reason, index, ".arguments")
        return {_BROKEN: text}


def _thought(part: ReasoningPart) -> Block:
    if part.redacted:
        block: Block = {"type": "redacted_thinking", "data": part.encrypted}
    else:
        block = {"type": "thinking", "thinking": part.text}
        if part.signature is not None:
            block["signature"] = part.signature
    return {**block, **(part.extra or {})}
