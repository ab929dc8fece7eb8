"""An assistant's turn as the items that it was, or as plain ones where it came from elsewhere.

What is bound to a model (reasoning) goes back to that model, what is bound to the protocol (hosted tools' items,
annotations) to any model of it, and the rest is dropped and reported. Reasoning and the item that follows it go
together: the service refuses one without the other. So reasoning that nothing follows is left out; and where
reasoning is dropped, what followed it goes without the ids by which the service would miss it.
"""

from __future__ import annotations

import base64
from typing import Any

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.openai_responses.items import BY_KIND, CallShape
from brainwires_provider.types import (
    Citation,
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

__all__ = ["Turn", "part_name", "shape_of"]

_IDS = ("id", "status")
Item = dict[str, Any]


class Turn:
    """One assistant's message. `where` names it in reports."""

    def __init__(self, message: Message, origin: Origin, where: str, deviations: list[Deviation]) -> None:
        self._message = message
        self._origin = origin
        self._where = where
        self._deviations = deviations
        self._items: list[Item] = []
        self._pieces: list[Item] | None = None
        self._fields: Any = None
        self._unbound = False

    def items(self) -> list[Item]:
        """The turn's items, in order. Raises UnsupportedError for a part that no assistant's turn can hold."""
        content = self._message.content
        kept = self._kept(content)
        for index, part in enumerate(content):
            if index not in kept:
                continue
            at = f".content[{index}]"
            match part:
                case TextPart() | RefusalPart() | OpaquePart() if self._is_piece(part):
                    self._add_piece(part, at)
                case _:
                    self._pieces = None
                    self._items.append(self._item(part))
        return self._items

    # -- what goes back --------------------------------------------------------------------------------------

    def _kept(self, content: tuple[Part, ...]) -> set[int]:
        """The places of the parts that go back; the others are reported."""
        kept = set(range(len(content)))
        for index, part in enumerate(content):
            reason = self._refusal(part)
            if reason is not None:
                kept.discard(index)
                self._report("dropped", reason, index)
                self._unbound = self._unbound or (isinstance(part, ReasoningPart) and self._is_ours(part))
        if self._unbound:
            for index in sorted(kept):
                part = content[index]
                if isinstance(part, OpaquePart) and part.role is not None and part.origin is not None:
                    kept.discard(index)
                    self._report(
                        "dropped", "the reasoning that led to it is another model's and is dropped", index
                    )
        followed = False
        for index in sorted(kept, reverse=True):
            part = content[index]
            if not isinstance(part, ReasoningPart):
                followed = part.origin is not None and self._is_ours(part)
            elif not followed:
                kept.discard(index)
                self._report(
                    "dropped", "the item that it led to does not follow it: it would be refused", index
                )
        return kept

    def _refusal(self, part: Part) -> str | None:
        """Why a part cannot go back; None if it can. Raises UnsupportedError where the caller must choose."""
        match part:
            case ReasoningPart():
                if not self._is_ours(part) or part.origin is None:
                    return "reasoning goes back only by the protocol that it came by"
                if self._origin.model not in (part.origin.model, part.origin.reported):
                    return "reasoning is bound to the model that made it"
            case OpaquePart():
                if not isinstance(part.data, dict) or not self._is_ours(part):
                    return f"{part_name(part)} is bound to who made it"
            case ImagePart() | FilePart():
                if part.origin is None:
                    raise self._unsupported(f"{part_name(part)} cannot be sent in an assistant's message")
                if (
                    not isinstance(part, ImagePart)
                    or not self._is_ours(part)
                    or "id" not in (part.extra or {})
                ):
                    return "media of this kind cannot be sent as the assistant's"
            case ToolResultPart():
                raise self._unsupported("a tool result belongs in a message of role tool")
        return None

    def _is_ours(self, part: Part) -> bool:
        return part.origin is None or part.origin.protocol == self._origin.protocol

    def _report(self, outcome: Any, reason: str, index: int, field: str = "") -> None:
        self._deviations.append(Deviation(f"{self._where}.content[{index}]{field}", outcome, reason))

    def _unsupported(self, message: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self._where}: {message}", provider=self._origin.provider, model=self._origin.model
        )

    # -- messages --------------------------------------------------------------------------------------------

    def _is_piece(self, part: Part) -> bool:
        return not isinstance(part, OpaquePart) or "message" in (part.extra or {})

    def _add_piece(self, part: TextPart | RefusalPart | OpaquePart, at: str) -> None:
        """A piece goes into the message that it came in, or that the caller's own parts before it began."""
        extra = part.extra if part.origin is not None and self._is_ours(part) else None
        fields = (extra or {}).get("message")
        goes_on = (extra or {}).get("content_index", 0) > 0 if fields is not None else True
        if self._pieces is None or self._fields != fields or not goes_on:
            self._begin(fields)
        assert self._pieces is not None
        self._pieces.append(self._piece(part, extra, at))
        message = self._items[-1]
        plain = "id" not in message and len(self._pieces) == 1 and self._pieces[0].keys() == {"type", "text"}
        message["content"] = self._pieces[0]["text"] if plain and fields is None else self._pieces

    def _begin(self, fields: Any) -> None:
        self._pieces, self._fields = [], fields
        item: Item = {"type": "message", "role": "assistant"}
        if fields is None:
            del item["type"]
            item["content"] = []
            if all(part.origin is None for part in self._message.content):
                item.update(self._message.extra or {})
        else:
            item.update({k: v for k, v in fields.items() if not (self._unbound and k in _IDS)})
        self._items.append(item)

    def _piece(self, part: TextPart | RefusalPart | OpaquePart, extra: Any, at: str) -> Item:
        rest = {k: v for k, v in (extra or {}).items() if k not in ("message", "content_index")}
        if isinstance(part, OpaquePart):
            return dict(part.data)
        if isinstance(part, RefusalPart):
            return {"type": "refusal", "refusal": part.text, **rest}
        if part.cache is not None:
            reason = "an assistant's text takes no cache mark"
            self._deviations.append(Deviation(f"{self._where}{at}.cache", "dropped", reason))
        piece: Item = {"type": "output_text", "text": part.text}
        cited = [a for a in (self._annotation(c, part) for c in part.citations) if a is not None]
        if len(cited) < len(part.citations):
            reason = "only citations that came by this protocol can be sent back"
            self._deviations.append(Deviation(f"{self._where}{at}.citations", "dropped", reason))
        if extra is not None or cited:
            piece["annotations"] = cited
        return {**piece, **rest}

    def _annotation(self, cited: Citation, part: TextPart) -> Any:
        return cited.raw if self._is_ours(part) and isinstance(cited.raw, dict) else None

    # -- other items -----------------------------------------------------------------------------------------

    def _item(self, part: Any) -> Item:
        """A part that `_refusal` let through and that is no piece of a message."""
        if isinstance(part, ToolCallPart):
            return self._call(part)
        if isinstance(part, ReasoningPart):
            return _reasoning(part)
        if isinstance(part, ImagePart):
            data = base64.b64encode(part.data or b"").decode()
            return {"type": "image_generation_call", **(part.extra or {}), "result": data}
        return dict(part.data)

    def _call(self, part: ToolCallPart) -> Item:
        shape = shape_of(part)
        extra = dict(part.extra or {}) if self._is_ours(part) else {}
        if self._unbound:
            extra.pop("id", None)
        item: Item = {"type": shape.type, shape.id_field: part.call_id}
        if shape.is_named:
            item["name"] = part.name
        if shape.kind != part.kind:
            self._deviations.append(
                Deviation(self._where, "emulated", f"a call of kind {part.kind!r} goes as a function call")
            )
        if shape.is_text:
            blank = part.kind != "custom" and part.origin is not None and not self._is_ours(part)
            item[shape.arguments[0]] = "{}" if blank and not part.arguments.strip() else part.arguments
        else:
            item.update(self._arguments(part, shape))
        return {**item, **extra}

    def _arguments(self, part: ToolCallPart, shape: CallShape) -> Item:
        """Arguments that are an object on the wire."""
        try:
            value = decode_json(part.arguments.encode()) if part.arguments.strip() else {}
        except ValueError:
            raise self._unsupported(
                f"the arguments of {part.name!r} must be JSON for a {shape.type}"
            ) from None
        if len(shape.arguments) == 1:
            return {shape.arguments[0]: value}
        return dict(value) if isinstance(value, dict) else {}


def _reasoning(part: ReasoningPart) -> Item:
    item: Item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": s} for s in part.summary]}
    if part.encrypted is not None:
        item["encrypted_content"] = part.encrypted
    return {**item, **(part.extra or {})}


def shape_of(call: ToolCallPart) -> CallShape:
    """How a call lies on the wire; one of a kind that this protocol has no word for is a function call."""
    return BY_KIND.get(call.kind, BY_KIND["function"])


def part_name(part: Part) -> str:
    """A part's class, and an opaque part's kind, for messages."""
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__
