"""One content block of a streamed answer while it grows, and the part that it is in the end.

A block of text or reasoning is not announced: its first delta opens it. Citations may come before, after or without
text of their own, so they wait until the block ends. What we have no word for is gathered member by member: texts
join, lists grow, of all else the last told wins.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.assembler import OpenPart
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.bedrock.blocks import (
    SERVER_TOOL,
    call_of,
    citation,
    citing_part,
    media_part,
    server_part,
)
from brainwires_provider.types import OpaquePart, Part, ReasoningPart, TextPart, ToolCallPart

__all__ = ["Slot"]


class Slot:
    """A block's place in the answer. A place that is used for another kind of block ends the part before."""

    __slots__ = (
        "_citations",
        "_data",
        "_decoder",
        "_fields",
        "_kind",
        "_pieces",
        "_signature",
        "_told",
        "part",
    )

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self.part: OpenPart | None = None
        self._reset("")

    def _reset(self, kind: str) -> None:
        self._kind = kind
        self._told: Any = None
        self._pieces: list[str] = []
        self._data = b""
        self._fields: dict[str, Any] = {}
        self._citations: list[Any] = []
        self._signature: str | None = None

    def start(self, start: dict[str, Any]) -> None:
        """`contentBlockStart`."""
        for kind, value in start.items():
            self._become(kind)
            self._told = value
            self._open(kind, value)

    def grow(self, delta: dict[str, Any]) -> None:
        """`contentBlockDelta`."""
        for name, value in delta.items():
            kind = "text" if name == "citation" else name
            if kind != self._kind:
                self._become(kind)
            _GROW.get(name, Slot._unknown)(self, value)

    def _become(self, kind: str) -> None:
        self.close()
        self._reset(kind)

    def _opened(self, seed: Part, grown: Callable[[], Part] | None = None) -> OpenPart:
        if self.part is None:
            self.part = self._decoder.parts.open(seed, grown)
        return self.part

    def _progress(self, kind: str, value: Any) -> None:
        assert self.part is not None
        self._decoder.parts.events.append(OpaqueDelta(self.part.index, kind, value))

    # -- kinds -----------------------------------------------------------------------------------------------

    def _open(self, kind: str, value: Any) -> None:
        origin = self._decoder.origin
        if kind == "toolUse" and value.get("type") != SERVER_TOOL:
            self._opened(call_of(value, "", origin))
        elif kind == "toolUse":
            self._opened(self._server_call(), self._server_call)
        elif kind == "toolResult":
            self._told = {**value, "content": []}
            self._opened(self._server_result(), self._server_result)
        elif kind == "image":
            self._opened(media_part("image", value, b"", origin), self._image)
        else:
            self._opened(self._opaque(), self._opaque)

    def _text(self, value: Any) -> None:
        if self.part is None:
            self._opened(TextPart("", origin=self._decoder.origin))
            for waiting in self._citations:
                self._progress("citation", waiting)
        assert self.part is not None
        self._decoder.parts.add(self.part, value)

    def _citation(self, value: Any) -> None:
        self._citations.append(value)
        if self.part is not None:
            self._progress("citation", value)

    def _reasoning(self, value: Any) -> None:
        part = self._opened(ReasoningPart(origin=self._decoder.origin))
        for name, told in value.items():
            if name == "text":
                self._decoder.parts.add(part, told)
                continue
            if name == "signature":
                self._signature = (self._signature or "") + _text(told)
                part.seed = replace(part.seed, signature=self._signature)
            elif name == "redactedContent":
                self._pieces.append(_text(told))
                part.seed = replace(part.seed, encrypted=_joined(self._pieces), redacted=True)
            else:
                self._fields[name] = _grown(self._fields[name], told) if name in self._fields else told
                part.seed = replace(part.seed, extra=dict(self._fields))
            self._progress(name, told)

    def _call(self, value: Any) -> None:
        if self.part is None:
            self._told = {}
            self._open("toolUse", {})
        part = self.part
        assert part is not None
        if isinstance(part.seed, ToolCallPart):
            self._decoder.parts.add(part, value["input"])
        else:
            self._pieces.append(_text(value["input"]))
            self._progress("toolUse", value)

    def _server_call(self) -> OpaquePart:
        text = "".join(self._pieces)
        try:
            told = decode_json(text.encode()) if text else {}
        except ValueError:
            told = text
        value = {**self._told, "input": told}
        return server_part("toolUse", value, {"toolUse": value}, self._decoder.origin)

    def _result(self, value: Any) -> None:
        if self.part is None:
            self._open("toolResult", {})
        content = self._told["content"]
        for number, piece in enumerate(value):
            goes_on = number == 0 and content and piece.keys() == content[-1].keys() == {"text"}
            if goes_on:
                content[-1] = {"text": content[-1]["text"] + piece["text"]}
            else:
                content.append(piece)
        self._progress("toolResult", value)

    def _server_result(self) -> OpaquePart:
        value = {**self._told, "content": list(self._told["content"])}
        return server_part("toolResult", value, {"toolResult": value}, self._decoder.origin)

    def _image_delta(self, value: Any) -> None:
        if self.part is None:
            self._told = {}
            self._open("image", {})
        source = value.get("source") or {}
        if "bytes" in source:
            self._data += _decoded(source["bytes"])
        self._told = {**self._told, **{k: v for k, v in value.items() if k != "source"}}
        self._progress("image", value)

    def _image(self) -> Part:
        return media_part("image", self._told, self._data, self._decoder.origin)

    def _unknown(self, value: Any) -> None:
        self._told = value if self.part is None else _grown(self._told, value)
        self._opened(self._opaque(), self._opaque)
        self._progress(self._kind, value)

    def _opaque(self) -> OpaquePart:
        return OpaquePart(self._kind, {self._kind: self._told}, origin=self._decoder.origin)

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """`contentBlockStop`."""
        part, self.part = self.part, None
        parts = self._decoder.parts
        if part is None:
            if self._citations:
                parts.whole(citing_part(self._citations, self._decoder.origin))
        elif self._citations:
            parts.close(part, citations=tuple(citation(c) for c in self._citations))
        else:
            parts.close(part)
        self._reset("")


_GROW: dict[str, Callable[[Slot, Any], None]] = {
    "text": Slot._text,
    "citation": Slot._citation,
    "reasoningContent": Slot._reasoning,
    "toolUse": Slot._call,
    "toolResult": Slot._result,
    "image": Slot._image_delta,
}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    return value


def _joined(pieces: list[str]) -> str:
    """A blob out of its fragments; a lone one is left as it came."""
    return pieces[0] if len(pieces) == 1 else base64.b64encode(b"".join(map(_decoded, pieces))).decode()


def _decoded(piece: str) -> bytes:
    try:
        return base64.b64decode(_text(piece), validate=True)
    except binascii.Error:
        raise ValueError("a blob is not base64") from None


def _grown(known: Any, value: Any) -> Any:
    if isinstance(known, str) and isinstance(value, str):
        return known + value
    if isinstance(known, list) and isinstance(value, list):
        return known + value
    if isinstance(known, dict) and isinstance(value, dict):
        return {**known, **{k: _grown(known[k], v) if k in known else v for k, v in value.items()}}
    return value
