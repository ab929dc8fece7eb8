"""One content block of Messages and one part, in both directions.

Four kinds of block have a part of their own: text, thinking (whole or redacted), and the calls that the caller must
answer. All others (server tools' calls and results, uploads, compactions, kinds that are not known) are opaque: kept
as they came, so that they can be sent back. A part keeps every other field of its block in `extra`. A block whose
form is not the known one is opaque too; decoding raises for none.
Reference: https://platform.claude.com/docs/en/api/messages/create under `content`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.decoder import DecoderBase, sources, well_formed
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.replay import local_id
from brainwires_provider.protocols.base.turns import Block
from brainwires_provider.types import (
    Cache,
    Citation,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)

__all__ = [
    "PartBuilder",
    "cache_control",
    "collapsed",
    "decode_citation",
    "decode_part",
    "thinking_block",
]

# -- blocks to parts -----------------------------------------------------------------------------------------


def decode_part(block: Any, origin: Origin) -> Part:
    """The part of a whole block."""
    match block:
        case {"type": "text", "text": str(text)} if isinstance(block.get("citations") or [], list):
            cited = sources(block.get("citations"), decode_citation)
            return TextPart(text, cited, extra=_rest(block, "text", "citations"), origin=origin)
        case {"type": "thinking", "thinking": str(text)} if isinstance(block.get("signature"), str | None):
            extra = _rest(block, "thinking", "signature")
            return ReasoningPart(text, signature=block.get("signature"), extra=extra, origin=origin)
        case {"type": "redacted_thinking", "data": str(data)}:
            return ReasoningPart(encrypted=data, redacted=True, extra=_rest(block, "data"), origin=origin)
        case {"type": "tool_use", "name": str(name)} if isinstance(block.get("id") or "", str):
            return ToolCallPart(
                block.get("id") or None,
                name,
                msgspec.json.encode(well_formed(block["input"])).decode() if "input" in block else "",
                extra=_rest(block, "id", "name", "input"),
                origin=origin,
            )
    return _opaque(block, origin)


def _rest(block: Mapping[str, Any], *known: str) -> dict[str, Any] | None:
    return {k: v for k, v in block.items() if k != "type" and k not in known} or None


def _opaque(block: Any, origin: Origin) -> OpaquePart:
    fields: Mapping[str, Any] = block if isinstance(block, dict) else {}
    kind = str(fields.get("type") or "block")
    role: Literal["call", "result"] | None = None
    if kind.endswith("tool_use"):
        role = "call"
    elif kind.endswith("tool_result"):
        role = "result"
    id = _text(fields.get("id")) or _text(fields.get("tool_use_id"))
    return OpaquePart(kind, block, id=id, name=_text(fields.get("name")), role=role, origin=origin)


def decode_citation(raw: Any) -> Citation:
    """A citation with any kind of location. Its offsets are the document's, so only `raw` has them."""
    if not isinstance(raw, dict):
        return Citation(raw=raw)
    index = raw.get("document_index")
    source = _text(raw.get("source")) or _text(raw.get("file_id"))
    return Citation(
        url=_text(raw.get("url")),
        title=_text(raw.get("title")) or _text(raw.get("document_title")),
        quote=_text(raw.get("cited_text")),
        source=source or (str(index) if type(index) is int else None),
        raw=raw,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


_TEXTS: dict[str, tuple[type[Part], str]] = {
    "text_delta": (TextPart, "text"),
    "thinking_delta": (ReasoningPart, "thinking"),
    "input_json_delta": (ToolCallPart, "partial_json"),
}


class PartBuilder:
    """A part under construction. Made by `content_block_start`, or from a block of a whole body.

    Text, thinking and a call's arguments go through the assembler; citations and a signature are put into the part
    that will be closed; an opaque block grows as the same object that it will be sent back as.
    """

    __slots__ = ("_arguments", "_citations", "_data", "_parts", "_pieces", "part")

    def __init__(self, decoder: DecoderBase, block: dict[str, Any]) -> None:
        self._parts = decoder.parts
        self._arguments = ""
        self._citations: list[Citation] = []
        self._pieces: dict[str, list[Any]] = {}
        self._data: dict[str, Any] = {}
        seed = decode_part(block, decoder.origin)
        match seed:
            case TextPart() | ReasoningPart():
                self.part = self._parts.open(replace(seed, text=""))
                self._parts.add(self.part, seed.text)
            case ToolCallPart():
                generated = None if seed.id else local_id(decoder.id, self._parts.count, seed.name)
                self._arguments = seed.arguments
                self.part = self._parts.open(replace(seed, arguments="", local_id=generated))
            case _:
                assert isinstance(seed, OpaquePart)
                self._data = dict(block)
                self.part = self._parts.open(seed, self._grown)

    def grow(self, delta: dict[str, Any]) -> None:
        """One delta. What does not fit the block, or is not known, is only passed on as an OpaqueDelta."""
        kind, seed = delta["type"], self.part.seed
        text = _TEXTS.get(kind)
        if text is not None and type(seed) is text[0]:
            self._parts.add(self.part, delta[text[1]] or "")
        elif kind == "citations_delta" and isinstance(seed, TextPart):
            self._citations.append(decode_citation(delta["citation"]))
            self.part.grown = self._cited
            self._pass_on("citation", delta["citation"])
        elif kind == "signature_delta" and isinstance(seed, ReasoningPart):
            self.part.seed = replace(seed, signature=_string(delta["signature"]))
            self._pass_on("signature", delta["signature"])
        else:
            if isinstance(seed, OpaquePart):
                self._grow_data(kind, delta)
            self._pass_on(kind, delta)

    def _pass_on(self, kind: str, data: Any) -> None:
        self._parts.events.append(OpaqueDelta(self.part.index, kind, data))

    def _grow_data(self, kind: str, delta: dict[str, Any]) -> None:
        """Known fragments are gathered, to be joined once; of all else the last value wins, but for null."""
        if kind in _TEXTS:
            name = _TEXTS[kind][1]
            _string(self._data.get(name))
            self._pieces.setdefault(name, []).append(_string(delta[name]))
        elif kind == "citations_delta":
            self._pieces.setdefault("citations", []).append(delta["citation"])
        else:
            for name, value in delta.items():
                if name != "type" and (value is not None or name not in self._data):
                    self._data[name] = value

    def _grown(self) -> Part:
        data = dict(self._data)
        for name, pieces in self._pieces.items():
            if name == "citations":
                known = data.get(name)
                data[name] = [*(known if isinstance(known, list) else ()), *pieces]
            elif name != "partial_json":
                data[name] = (data.get(name) or "") + "".join(pieces)
            elif any(pieces):
                data["input"] = _value("".join(pieces))
        return replace(self.part.seed, data=data)

    def _cited(self) -> Part:
        seed = self.part.seed
        assert isinstance(seed, TextPart)
        return replace(seed, text=self.part.joined(), citations=(*seed.citations, *self._citations))

    def finish(self) -> None:
        """The block is whole. A call without a fragment has the arguments that it began with."""
        if self._arguments and not self.part.fragments:
            self._parts.add(self.part, self._arguments)
        self._parts.close(self.part)


def _string(value: Any) -> str:
    """A text; an empty one for null. Raises TypeError for anything else."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    return value or ""


def _value(text: str) -> Any:
    """The value of a JSON text; of one that was cut, the text."""
    try:
        return decode_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return text


# -- parts to blocks -----------------------------------------------------------------------------------------


def cache_control(cache: Cache) -> Block:
    """A cache mark as the wire has it."""
    return {"type": "ephemeral", "ttl": cache.ttl} if cache.ttl else {"type": "ephemeral"}


def collapsed(blocks: list[Block]) -> str | list[Block]:
    """A single plain text as the string that it is short for."""
    if len(blocks) == 1:
        only = blocks[0]
        if len(only) == 2 and only.get("type") == "text" and "text" in only:
            return only["text"]  # type: ignore[no-any-return]
    return blocks


def thinking_block(part: ReasoningPart) -> Block:
    """The block that a reasoning part was; its other fields are added by the caller."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.encrypted}
    block: Block = {"type": "thinking", "thinking": part.text}
    if part.signature is not None:
        block["signature"] = part.signature
    return block
