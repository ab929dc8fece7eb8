"""What the parts of an answer are as our parts, and how they grow over a stream.

A part keeps beside its meaning every other field of its wire part, so that `replay` can make the same one again; its
thought signature lies in `extra["thoughtSignature"]` (a thought's in `signature`). A chunk's first text goes on with
the text before it, unless one of the two is signed: then they stay two parts, as they came.

Texts are ended last of all, since what they cite is told at the end.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from brainwires_provider.protocols.base.assembler import OpenPart, well_formed
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.replay import local_id
from brainwires_provider.protocols.gemini.arguments import ArgumentsWriter
from brainwires_provider.types import (
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

__all__ = ["SIGNATURE", "Content"]

SIGNATURE = "thoughtSignature"
_CALLS = frozenset(("executableCode", "toolCall"))
_RESULTS = frozenset(("codeExecutionResult", "toolResponse", "functionResponse"))
_CALL_FIELDS = frozenset(("id", "name", "args", "partialArgs", "willContinue"))
_BESIDE = frozenset((SIGNATURE, "thought", "partMetadata", "mediaResolution", "videoMetadata"))


class Content:
    """The content of one answer's candidate."""

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._texts: list[OpenPart] = []
        self._growing: OpenPart | None = None  # the last text or thought, while another fragment may join it
        self._thought: OpenPart | None = None
        self._call: _StreamedCall | None = None

    def add(self, wire: dict[str, Any], *, goes_on: bool) -> None:
        """One part of the wire. `goes_on`: it is the first of a chunk, and so may belong to the part before it."""
        if isinstance(wire.get("text"), str):
            self._add_text(wire, goes_on)
            return
        if isinstance(wire.get("functionCall"), dict) and self._add_call(wire, wire["functionCall"]):
            return
        self._settle()
        origin = self._decoder.origin
        self._decoder.parts.whole(_media(wire, origin) or _opaque(wire, origin))

    def end(self, cite: Callable[[list[str]], list[list[Citation]]]) -> None:
        """Close every part. `cite` tells what each text cites."""
        self._settle()
        cited = cite([text.joined() for text in self._texts])
        for text, citations in zip(self._texts, cited, strict=True):
            self._decoder.parts.close(text, citations=tuple(citations))
        self._texts.clear()

    def _settle(self) -> None:
        """Another kind of part comes: what could still grow is over."""
        self._growing = None
        if self._thought is not None:
            self._decoder.parts.close(self._thought)
            self._thought = None
        if self._call is not None:
            self._call.end()
            self._call = None

    # -- texts and thoughts ----------------------------------------------------------------------------------

    def _add_text(self, wire: dict[str, Any], goes_on: bool) -> None:
        parts, text = self._decoder.parts, wire["text"]
        is_thought = wire.get("thought") is True
        is_plain = len(wire) == 1 + is_thought
        if is_plain and not text:
            return  # the filler of a stream's last chunk; no service takes an empty text back
        growing = self._growing
        is_alike = growing is not None and isinstance(growing.seed, ReasoningPart) is is_thought
        if growing is not None and is_plain and goes_on and is_alike:
            parts.add(growing, text)
            return
        self._settle()
        opened = parts.open(_text_seed(wire, is_thought, self._decoder.origin))
        parts.add(opened, text)
        if is_thought:
            self._thought = opened
        else:
            self._texts.append(opened)
        self._growing = opened if is_plain else None

    # -- calls -----------------------------------------------------------------------------------------------

    def _add_call(self, wire: dict[str, Any], call: dict[str, Any]) -> bool:
        """A call, or a fragment of the one that is open. False where it is neither."""
        name = call.get("name")
        if not isinstance(name, str) or not name:
            return self._go_on(wire, call)
        self._settle()
        decoder = self._decoder
        wire_id = call.get("id")
        wire_id = wire_id if isinstance(wire_id, str) and wire_id else None
        made_up = local_id(decoder.id, decoder.parts.count, name) if wire_id is None else None
        seed = ToolCallPart(
            wire_id, name, "", local_id=made_up, extra=_call_extra(wire, call), origin=decoder.origin
        )
        if call.get("willContinue") or "partialArgs" in call:
            self._call = _StreamedCall(decoder, seed)
            self._go_on({}, call)
        else:
            arguments = "" if call.get("args") is None else _compact(call["args"])
            decoder.parts.whole(msgspec.structs.replace(seed, arguments=arguments))
        return True

    def _go_on(self, wire: dict[str, Any], call: dict[str, Any]) -> bool:
        if self._call is None:
            return not call and len(wire) == 1  # the empty fragment that ends a call
        self._call.add(wire, call)
        if not call.get("willContinue"):
            self._settle()
        return True


class _StreamedCall:
    """A call whose arguments come piece by piece."""

    def __init__(self, decoder: DecoderBase, seed: ToolCallPart) -> None:
        self._decoder = decoder
        self._writer = ArgumentsWriter()
        self._extra: dict[str, Any] = dict(seed.extra or {})
        self._part = decoder.parts.open(seed)

    def add(self, wire: dict[str, Any], call: Mapping[str, Any]) -> None:
        parts = self._decoder.parts
        for name, value in (_call_extra(wire, {}) or {}).items():
            self._extra.setdefault(name, value)
        for piece in call.get("partialArgs") or ():
            parts.add(self._part, self._writer.add(piece))
        if isinstance(call.get("args"), dict):
            parts.add(self._part, self._writer.whole(call["args"]))

    def end(self) -> None:
        self._decoder.parts.add(self._part, self._writer.finish())
        self._decoder.parts.close(self._part, extra=self._extra or None)


def _call_extra(wire: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any] | None:
    extra = {k: v for k, v in wire.items() if k != "functionCall"}
    inner = {k: v for k, v in call.items() if k not in _CALL_FIELDS}
    if inner:
        extra["functionCall"] = inner
    return extra or None


# -- parts that come whole -----------------------------------------------------------------------------------


def _text_seed(wire: dict[str, Any], is_thought: bool, origin: Origin) -> Part:
    if not is_thought:
        return TextPart("", extra={k: v for k, v in wire.items() if k != "text"} or None, origin=origin)
    signature = wire.get(SIGNATURE)
    known = {"text", "thought"}
    if isinstance(signature, str):
        known.add(SIGNATURE)
    else:
        signature = None
    extra = {k: v for k, v in wire.items() if k not in known}
    return ReasoningPart(signature=signature, extra=extra or None, origin=origin)


def _media(wire: dict[str, Any], origin: Origin) -> Part | None:
    """Bytes or a URI. None for what is neither, or cannot be read."""
    where = "inlineData" if "inlineData" in wire else "fileData"
    told = wire.get(where)
    if not isinstance(told, dict):
        return None
    extra: dict[str, Any] = {k: v for k, v in wire.items() if k != where}
    media_type = told.get("mimeType")
    media_type = media_type if isinstance(media_type, str) else None
    field = "data" if where == "inlineData" else "fileUri"
    inner = {k: v for k, v in told.items() if k not in (field, "mimeType")}
    if inner:
        extra[where] = inner
    kind = ImagePart if (media_type or "").startswith("image/") else FilePart
    value = told.get(field)
    if not isinstance(value, str):
        return None
    if field == "fileUri":
        return kind(url=value, media_type=media_type, extra=extra or None, origin=origin)
    try:
        data = base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return kind(data=data, media_type=media_type, extra=extra or None, origin=origin)


def _opaque(wire: dict[str, Any], origin: Origin) -> OpaquePart:
    """Anything else, whole. Its kind is the field that says what it is."""
    kind = next((k for k in wire if k not in _BESIDE), next(iter(wire), "part"))
    inner = wire.get(kind)
    told = inner if isinstance(inner, dict) else {}
    role: Any = "call" if kind in _CALLS else "result" if kind in _RESULTS else None
    named = told.get("id"), told.get("toolType") or told.get("name")
    id, name = (v if isinstance(v, str) and v else None for v in named)
    return OpaquePart(kind, wire, id=id, name=name, role=role, origin=origin)


def _compact(value: Any) -> str:
    return msgspec.json.encode(well_formed(value)).decode()
