"""An assistant's turn as the wire parts that it was, or as plain ones where it came from elsewhere.

A thought signature goes back on the very part it came on, to the model that made it (by either of its names), byte
for byte; to any other model the part goes without it. Where a model insists on a signature and a turn's first call
has none of its own, because another model or the caller made it, the placeholder that Google documents stands in.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.gemini.options import GeminiQuirks
from brainwires_provider.protocols.gemini.parts import SIGNATURE
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
)

__all__ = ["Turn", "media_part", "part_name"]

Wire = dict[str, Any]


class Turn:
    """One assistant's message. `where` names it in reports."""

    def __init__(
        self,
        message: Message,
        origin: Origin,
        quirks: GeminiQuirks,
        where: str,
        deviations: list[Deviation],
    ) -> None:
        self._message = message
        self._origin = origin
        self._quirks = quirks
        self._where = where
        self._deviations = deviations

    def parts(self) -> list[Wire]:
        """The turn's parts, in order. Raises UnsupportedError for a part that no assistant's turn can hold."""
        made: list[Wire] = []
        unsigned: Wire | None = None
        called = False
        for index, part in enumerate(self._message.content):
            wire = self._part(part, index)
            if wire is None:
                continue
            made.append(wire)
            if isinstance(part, ToolCallPart):
                if not called and SIGNATURE not in wire and not self._is_bound(part):
                    unsigned = wire
                called = True
            if getattr(part, "cache", None) is not None:
                self._report("dropped", "this protocol caches by itself and takes no marks", index, ".cache")
        if unsigned is not None and re.search(self._quirks.signed_models, str(self._origin.model)):
            unsigned[SIGNATURE] = self._quirks.placeholder
            reason = "the model insists on a signature of the turn's first call: the documented placeholder is sent"
            self._deviations.append(Deviation(self._where, "emulated", reason))
        return made

    # -- whose it is -----------------------------------------------------------------------------------------

    def _is_ours(self, part: Part) -> bool:
        return part.origin is not None and part.origin.protocol == self._origin.protocol

    def _is_bound(self, part: Part) -> bool:
        """Whether the model that made the part is the one that is asked."""
        origin = part.origin
        if origin is None or not self._is_ours(part):
            return False
        asked = _bare_name(self._origin.model)
        return asked in (_bare_name(origin.model), _bare_name(origin.reported))

    def _report(self, outcome: Any, reason: str, index: int, field: str = "") -> None:
        self._deviations.append(Deviation(f"{self._where}.content[{index}]{field}", outcome, reason))

    def _unsupported(self, message: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self._where}: {message}", provider=self._origin.provider, model=self._origin.model
        )

    # -- parts -----------------------------------------------------------------------------------------------

    def _part(self, part: Part, index: int) -> Wire | None:
        """None for what does not go back, which is reported."""
        match part:
            case TextPart() | RefusalPart():
                return self._text(part, index)
            case ReasoningPart():
                return self._thought(part, index)
            case ToolCallPart():
                return self._call(part, index)
            case ImagePart() | FilePart():
                return self._media(part, index)
            case OpaquePart():
                return self._opaque(part, index)
        raise self._unsupported("a tool result belongs in a message of role tool")

    def _beside(self, part: Part, index: int) -> Wire:
        """The fields that came beside a part's content, the signature only for the model that made it."""
        extra = part.extra or {}
        if part.origin is None:
            return dict(extra)
        if not self._is_ours(part):
            return {}
        return self._unsigned(dict(extra), part, index)

    def _unsigned(self, wire: Wire, part: Part, index: int) -> Wire:
        """The wire part without its signature, unless that is the asked model's or the caller's own."""
        if SIGNATURE in wire and part.origin is not None and not self._is_bound(part):
            del wire[SIGNATURE]
            reason = "a thought signature is bound to the model that made it"
            self._report("dropped", reason, index, f".{SIGNATURE}")
        return wire

    def _text(self, part: TextPart | RefusalPart, index: int) -> Wire | None:
        wire = {"text": part.text, **self._beside(part, index)}
        if isinstance(part, RefusalPart):
            self._report("adapted", "this protocol has no refusals: it goes as text", index)
            wire = {"text": part.text}
        elif part.citations and not self._is_ours(part):
            reason = "this protocol takes no citations from a caller"
            self._report("dropped", reason, index, ".citations")
        if not part.text and len(wire) == 1:
            self._report("dropped", "an empty text is refused", index)
            return None
        return wire

    def _thought(self, part: ReasoningPart, index: int) -> Wire | None:
        if not self._is_bound(part):
            ours = self._is_ours(part)
            reason = "reasoning is bound to the model that made it"
            self._report(
                "dropped", reason if ours else "reasoning goes back only by the protocol it came by", index
            )
            return None
        wire: Wire = {"text": part.text, "thought": True, **(part.extra or {})}
        if part.signature is not None:
            wire[SIGNATURE] = part.signature
        return wire

    def _call(self, part: ToolCallPart, index: int) -> Wire:
        call: Wire = {} if part.id is None else {"id": part.id}
        call["name"] = part.name
        beside = self._beside(part, index)
        call |= beside.pop("functionCall", {})
        if part.arguments.strip():
            call["args"] = self._arguments(part, index)
        return {"functionCall": call, **beside}

    def _arguments(self, part: ToolCallPart, index: int) -> Wire:
        """The arguments as an object; text that is none is put into one."""
        if part.kind == "custom":
            self._report(
                "emulated", "this protocol has no free-text calls: it goes as a function call", index
            )
            return {"input": part.arguments}
        try:
            value = decode_json(part.arguments.encode("utf-8", "replace"))
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        reason = "the arguments are no JSON object: they go as the text of one"
        self._report("emulated", reason, index, ".arguments")
        return {"arguments": part.arguments}

    def _media(self, part: ImagePart | FilePart, index: int) -> Wire | None:
        beside = self._beside(part, index)
        if part.file_id is not None:
            self._report("dropped", "a file id cannot be sent as the assistant's", index)
            return None
        if part.data is not None and part.media_type is None:
            raise self._unsupported(f"{part_name(part)} needs its media_type: the bytes do not tell it")
        wire = media_part(part)
        for where in ("inlineData", "fileData"):
            if where in beside and where in wire:
                wire[where] |= beside.pop(where)
        return {**wire, **beside}

    def _opaque(self, part: OpaquePart, index: int) -> Wire | None:
        if not isinstance(part.data, dict) or (part.origin is not None and not self._is_ours(part)):
            self._report("dropped", f"{part_name(part)} is bound to who made it", index)
            return None
        return self._unsigned(dict(part.data), part, index)


def media_part(part: ImagePart | FilePart) -> Wire:
    """Bytes as inlineData, a URL as fileData."""
    kind = {} if part.media_type is None else {"mimeType": part.media_type}
    if part.data is not None:
        return {"inlineData": {**kind, "data": base64.b64encode(part.data).decode()}}
    return {"fileData": {**kind, "fileUri": part.url}}


def part_name(part: Part) -> str:
    """A part's class, and an opaque part's kind, for messages."""
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__


def _bare_name(model: str | None) -> str | None:
    return None if model is None else model.removeprefix("models/")
