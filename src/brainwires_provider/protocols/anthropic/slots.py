"""One content block of an answer while it grows.

Text, thinking and a call's arguments go through the assembler. What grows otherwise (citations, a signature) is put
into the part that will be closed; an opaque block grows as the same object that it will be sent back as.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.anthropic.blocks import citation, part_of_block
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.replay import local_id
from brainwires_provider.types import OpaquePart, Part, ReasoningPart, TextPart, ToolCallPart

__all__ = ["Slot"]

_TEXTS: dict[str, tuple[type[Part], str]] = {
    "text_delta": (TextPart, "text"),
    "thinking_delta": (ReasoningPart, "thinking"),
    "input_json_delta": (ToolCallPart, "partial_json"),
}


class Slot:
    """A block's place in the answer. Made by `content_block_start`, or from a block of a whole body."""

    __slots__ = ("_data", "_json", "_parts", "_told", "part")

    def __init__(self, decoder: DecoderBase, block: Any) -> None:
        self._parts = decoder.parts
        self._told = ""
        self._json: list[str] = []
        self._data: dict[str, Any] = {}
        seed = part_of_block(block, decoder.origin)
        match seed:
            case TextPart() | ReasoningPart():
                self.part = self._parts.open(replace(seed, text=""))
                self._parts.add(self.part, seed.text)
            case ToolCallPart():
                made_up = None if seed.id else local_id(decoder.id, self._parts.count, seed.name)
                self._told = seed.arguments
                self.part = self._parts.open(replace(seed, arguments="", local_id=made_up))
            case OpaquePart(data=dict(data)):
                self._data = dict(data)
                self.part = self._parts.open(seed, self._grown)
            case _:
                self.part = self._parts.open(seed)

    def grow(self, delta: dict[str, Any]) -> None:
        """One delta. What does not fit the block, or was never heard of, only goes by as an OpaqueDelta."""
        kind, seed = delta["type"], self.part.seed
        told = _TEXTS.get(kind)
        if told is not None and type(seed) is told[0]:
            self._parts.add(self.part, delta[told[1]] or "")
        elif kind == "citations_delta" and isinstance(seed, TextPart):
            source = delta["citation"]
            self.part.seed = replace(seed, citations=(*seed.citations, citation(source)))
            self._tell("citation", source)
        elif kind == "signature_delta" and isinstance(seed, ReasoningPart):
            self.part.seed = replace(seed, signature=delta["signature"])
            self._tell("signature", delta["signature"])
        else:
            if isinstance(seed, OpaquePart) and self.part.grown is not None:
                self._grow_data(kind, delta)
            self._tell(kind, delta)

    def _tell(self, kind: str, data: Any) -> None:
        self._parts.events.append(OpaqueDelta(self.part.index, kind, data))

    def _grow_data(self, kind: str, delta: dict[str, Any]) -> None:
        """Known fragments are joined; of all else the last told wins, but for null."""
        if kind == "input_json_delta":
            self._json.append(delta["partial_json"] or "")
        elif kind in _TEXTS:
            name = _TEXTS[kind][1]
            self._data[name] = (self._data.get(name) or "") + (delta[name] or "")
        elif kind == "citations_delta":
            self._data["citations"] = [*(self._data.get("citations") or ()), delta["citation"]]
        else:
            for name, value in delta.items():
                if name != "type" and (value is not None or name not in self._data):
                    self._data[name] = value

    def _grown(self) -> Part:
        data, text = dict(self._data), "".join(self._json)
        if text:
            data["input"] = _value(text)
        return replace(self.part.seed, data=data)

    def finish(self) -> None:
        """The block is whole. A call of which no fragment came has the arguments that it began with."""
        if self._told and not self.part.fragments:
            self._parts.add(self.part, self._told)
        self._parts.close(self.part)
        self.part.grown = None  # it refers back to here


def _value(text: str) -> Any:
    """The value of a JSON text; of one that was cut, the text."""
    try:
        return decode_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return text
