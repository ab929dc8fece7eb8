"""One content block of Converse and one part, in both directions.

A block is a union: an object with one member, which names its kind. What has no part of its own is kept whole. Blobs
are base64 on the wire. A block of text or reasoning is not announced in a stream: its first delta opens it. Citations
may come before, after or without text of their own, so they wait until the block ends.
Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html, and
"ToolResultBlock", "DocumentBlock" beside it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart, sources, well_formed
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.turns import Block
from brainwires_provider.protocols.bedrock.options import MEDIA_FORMATS
from brainwires_provider.types import (
    Cache,
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)

__all__ = ["PartBuilder", "cache_point", "cited_block", "decode_part", "reasoning_block"]

_SERVER_TOOL = "server_tool_use"
_TOOL_FIELDS = ("toolUseId", "name", "input")
_MEDIA_TYPES = {
    member: {name: media_type for media_type, name in reversed(list(known.items()))}
    for member, known in MEDIA_FORMATS.items()
}

# -- blocks to parts -----------------------------------------------------------------------------------------


def decode_part(block: Any, origin: Origin) -> Part:
    """The part that a block is. Some gateways name its one member by a `type` beside it."""
    members = [item for item in block.items() if item[0] != "type"] if isinstance(block, dict) else []
    if len(members) != 1:
        return OpaquePart("content", block, origin=origin)
    kind, value = members[0]
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


def _tool(kind: str, value: Block, block: Block, origin: Origin) -> Part | None:
    if kind == "toolResult" or value.get("type") == _SERVER_TOOL:
        return _server_part(kind, value, block, origin)
    if not isinstance(value.get("name"), str):
        return None
    given = value.get("input")
    arguments = "" if given is None else msgspec.json.encode(well_formed(given)).decode()
    return _call_part(value, arguments, origin)


def _call_part(value: Mapping[str, Any], arguments: str, origin: Origin) -> ToolCallPart:
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


def _server_part(kind: str, value: Mapping[str, Any], block: Block, origin: Origin) -> OpaquePart:
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


def _reasoning(value: Block, origin: Origin) -> ReasoningPart | None:
    plain, redacted = value.get("reasoningText"), value.get("redactedContent")
    if len(value) != 1:
        return None
    if isinstance(redacted, str):
        return ReasoningPart(encrypted=redacted, redacted=True, origin=origin)
    if not isinstance(plain, dict) or not isinstance(plain.get("text"), str):
        return None
    signature = plain.get("signature")
    known = {"text", "signature"} if isinstance(signature, str) else {"text"}
    return ReasoningPart(
        plain["text"],
        signature=signature if isinstance(signature, str) else None,
        extra={k: v for k, v in plain.items() if k not in known} or None,
        origin=origin,
    )


def _citation(raw: Any) -> Citation:
    """A citation of any kind. Places inside a cited document are in `raw`: `start` and `end` are of the text."""
    fields = raw if isinstance(raw, dict) else {}
    location = fields.get("location")
    web = location.get("web") if isinstance(location, dict) else None
    source = fields.get("sourceContent")
    excerpts = source if isinstance(source, list) else []
    quotes = [excerpt.get("text") for excerpt in excerpts if isinstance(excerpt, dict)]
    return Citation(
        url=_optional_text(web.get("url")) if isinstance(web, dict) else None,
        title=_optional_text(fields.get("title")),
        quote="".join(q for q in quotes if isinstance(q, str)) or None,
        source=_optional_text(fields.get("source")),
        raw=raw,
    )


def cited_block(text: str, citations: list[Any]) -> Block:
    """Text with its citations; citations alone, where no text came with them."""
    content: Block = {"content": [{"text": text}]} if text else {}
    return {"citationsContent": {**content, "citations": citations}}


def _citing_part(citations: list[Any], origin: Origin, block: Block | None = None) -> OpaquePart:
    """Citations that no text came with; `block` is what they came in."""
    data = cited_block("", citations) if block is None else block
    return OpaquePart("citations", data, citations=sources(citations, _citation), origin=origin)


def _cited(value: Block, block: Block, origin: Origin) -> Part | None:
    pieces, citations = value.get("content") or [], value.get("citations") or []
    if not isinstance(pieces, list) or not isinstance(citations, list):
        return None
    if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in pieces):
        return None
    text = "".join(p["text"] for p in pieces)
    if not text:
        return _citing_part(citations, origin, block)
    is_plain = bool(citations) and cited_block(text, citations) == block
    return TextPart(
        text,
        sources(citations, _citation),
        extra=None if is_plain else block,
        origin=origin,
    )


def _media(kind: str, value: Block, origin: Origin) -> Part | None:
    """None where the bytes are elsewhere, or are not base64 that could be made again."""
    source = value.get("source")
    encoded = source.get("bytes") if isinstance(source, dict) and len(source) == 1 else None
    if not isinstance(encoded, str):
        return None
    try:
        data = base64.b64decode(encoded)
    except ValueError:
        return None
    if base64.b64encode(data).decode() != encoded:
        return None
    return _media_part(kind, {k: v for k, v in value.items() if k != "source"}, data, origin)


def _media_part(kind: str, fields: Mapping[str, Any], data: bytes, origin: Origin) -> Part:
    """Media that a model made; `fields` is the block without its source."""
    form = fields.get("format")
    media_type = _MEDIA_TYPES[kind].get(form, f"{kind}/{form}") if isinstance(form, str) else None
    part_type = ImagePart if kind == "image" else FilePart
    return part_type(data=data, media_type=media_type, extra={kind: fields}, origin=origin)


def _optional_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


class PartBuilder:
    """A part under construction, at one index of the stream. Another kind of block at this index ends the part before.

    What has no part of its own is gathered member by member: texts join, lists grow, of all else the last value wins.
    """

    __slots__ = (
        "_citations",
        "_data",
        "_decoder",
        "_fields",
        "_kind",
        "_pieces",
        "_signature",
        "_value",
        "part",
    )

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self.part: OpenPart | None = None
        self._reset("")

    def _reset(self, kind: str) -> None:
        self._kind = kind
        self._value: Any = None
        self._pieces: list[str] = []
        self._data = bytearray()
        self._fields: dict[str, Any] = {}
        self._citations: list[Any] = []
        self._signature: str | None = None

    def start(self, start: dict[str, Any]) -> None:
        """`contentBlockStart`."""
        for kind, value in start.items():
            self._become(kind)
            self._value = value
            self._open(kind, value)

    def grow(self, delta: dict[str, Any]) -> None:
        """`contentBlockDelta`."""
        for name, value in delta.items():
            kind = "text" if name == "citation" else name
            if kind != self._kind:
                self._become(kind)
            _GROW.get(name, PartBuilder._unknown)(self, value)

    def _become(self, kind: str) -> None:
        self.close()
        self._reset(kind)

    def _opened(self, seed: Part, grown: Callable[[], Part] | None = None) -> OpenPart:
        if self.part is None:
            self.part = self._decoder.parts.open(seed, grown)
        return self.part

    def _pass_on(self, kind: str, value: Any) -> None:
        assert self.part is not None
        self._decoder.parts.events.append(OpaqueDelta(self.part.index, kind, value))

    # -- kinds -----------------------------------------------------------------------------------------------

    def _open(self, kind: str, value: Any) -> None:
        origin = self._decoder.origin
        if kind == "toolUse" and value.get("type") != _SERVER_TOOL:
            self._opened(_call_part(value, "", origin))
        elif kind == "toolUse":
            self._opened(self._server_call(), self._server_call)
        elif kind == "toolResult":
            self._value = {**value, "content": []}
            self._opened(self._server_result(), self._server_result)
        elif kind == "image":
            self._opened(_media_part("image", value, b"", origin), self._image)
        else:
            self._fields = {kind: value}
            self._opened(self._opaque(), self._opaque)

    def _text(self, value: Any) -> None:
        if self.part is None:
            self._opened(TextPart("", origin=self._decoder.origin))
            for waiting in self._citations:
                self._pass_on("citation", waiting)
        assert self.part is not None
        self._decoder.parts.add(self.part, value)

    def _citation(self, value: Any) -> None:
        self._citations.append(value)
        if self.part is not None:
            self._pass_on("citation", value)

    def _reasoning(self, value: Any) -> None:
        part = self._opened(ReasoningPart(origin=self._decoder.origin))
        for name, inner in value.items():
            if name == "text":
                self._decoder.parts.add(part, inner)
                continue
            if name == "signature":
                self._signature = (self._signature or "") + _text(inner)
                part.seed = replace(part.seed, signature=self._signature)
            elif name == "redactedContent":
                self._add_blob(_text(inner))
                part.seed = replace(part.seed, redacted=True)
                part.grown = self._redacted
            else:
                fields = self._grown(self._fields, {name: inner})
                if fields is not self._fields:
                    self._fields, part.seed = fields, replace(part.seed, extra=fields)
            self._pass_on(name, inner)

    def _add_blob(self, piece: str) -> None:
        """A fragment of a blob. Only a lone one may be anything but base64, since it is sent back as it came."""
        if len(self._pieces) == 1:
            _decoded(self._pieces[0])
        if self._pieces:
            _decoded(piece)
        self._pieces.append(piece)

    def _redacted(self) -> Part:
        assert self.part is not None
        encrypted = _joined(self._pieces)
        return replace(self.part.seed, text=self.part.joined(), encrypted=encrypted)

    def _call(self, value: Any) -> None:
        if self.part is None:
            self._open("toolUse", {})
        part = self.part
        assert part is not None
        if isinstance(part.seed, ToolCallPart):
            self._decoder.parts.add(part, value["input"])
        else:
            self._pieces.append(_text(value["input"]))
            self._pass_on("toolUse", value)

    def _server_call(self) -> OpaquePart:
        text = "".join(self._pieces)
        try:
            arguments = decode_json(text.encode()) if text else {}
        except ValueError:
            arguments = text
        value = {**self._value, "input": arguments}
        return _server_part("toolUse", value, {"toolUse": value}, self._decoder.origin)

    def _result(self, value: Any) -> None:
        if self.part is None:
            self._open("toolResult", {})
        content = self._value["content"]
        for number, piece in enumerate(value):
            goes_on = number == 0 and content and piece.keys() == content[-1].keys() == {"text"}
            if goes_on:
                content[-1] = {"text": content[-1]["text"] + piece["text"]}
            else:
                content.append(piece)
        self._pass_on("toolResult", value)

    def _server_result(self) -> OpaquePart:
        value = {**self._value, "content": list(self._value["content"])}
        return _server_part("toolResult", value, {"toolResult": value}, self._decoder.origin)

    def _image_delta(self, value: Any) -> None:
        if self.part is None:
            self._value = {}
            self._open("image", {})
        source = value.get("source") or {}
        if "bytes" in source:
            self._data += _decoded(source["bytes"])
        more = {k: v for k, v in value.items() if k != "source"}
        self._value = self._decoder.merging.merged(self._value, more)
        self._pass_on("image", value)

    def _image(self) -> Part:
        return _media_part("image", self._value, bytes(self._data), self._decoder.origin)

    def _unknown(self, value: Any) -> None:
        more = {self._kind: value}
        self._fields = more if self.part is None else self._grown(self._fields, more)
        self._opened(self._opaque(), self._opaque)
        self._pass_on(self._kind, value)

    def _opaque(self) -> OpaquePart:
        return OpaquePart(self._kind, self._fields, origin=self._decoder.origin)

    def _grown(self, known: Any, value: Any) -> Any:
        return self._decoder.merging.grown(known, value, repeats=False)

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """`contentBlockStop`."""
        part, parts = self.part, self._decoder.parts
        if part is None:
            if self._citations:
                parts.whole(_citing_part(self._citations, self._decoder.origin))
        elif self._citations:
            parts.close(part, citations=sources(self._citations, _citation))
        else:
            parts.close(part)
        self.part = None
        self._reset("")


_GROW: dict[str, Callable[[PartBuilder, Any], None]] = {
    "text": PartBuilder._text,
    "citation": PartBuilder._citation,
    "reasoningContent": PartBuilder._reasoning,
    "toolUse": PartBuilder._call,
    "toolResult": PartBuilder._result,
    "image": PartBuilder._image_delta,
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


# -- parts to blocks -----------------------------------------------------------------------------------------


def cache_point(cache: Cache) -> Block:
    """A cache mark as the wire has it."""
    return {"cachePoint": {"type": "default", "ttl": cache.ttl} if cache.ttl else {"type": "default"}}


def reasoning_block(part: ReasoningPart) -> Block:
    """The block that a reasoning part was."""
    if part.encrypted is not None:
        return {"reasoningContent": {"redactedContent": part.encrypted}}
    text: Block = {"text": part.text}
    if part.signature is not None:
        text["signature"] = part.signature
    return {"reasoningContent": {"reasoningText": {**text, **(part.extra or {})}}}
