"""One part of generateContent ↔ one Part, in both directions, and the parts of an answer under construction.

Decoding keeps every field of a wire part that a Part has no member for in `extra`, so that encoding makes the same
wire part again. A thought signature is in `extra["thoughtSignature"]`, and in `ReasoningPart.signature` for a thought.
It is sent back byte for byte on the part it came with, to the model that made it, under either of its names; for any
other model the part is sent without it.
Reference: the API reference of `Part`; "Thought signatures" of the Gemini API's guides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart
from brainwires_provider.protocols.base.google import TOOL_NAME, bytes_in, compact
from brainwires_provider.protocols.base.object_writer import ObjectWriter
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import (
    MessageEncoderBase,
    base64_of,
    local_id,
    part_name,
    tool_name,
)
from brainwires_provider.protocols.gemini.options import GeminiQuirks
from brainwires_provider.types import (
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

__all__ = ["SIGNATURE", "Content", "PartEncoder", "decode_part"]

SIGNATURE = "thoughtSignature"
_CALLS = frozenset(("executableCode", "toolCall"))
_RESULTS = frozenset(("codeExecutionResult", "toolResponse", "functionResponse"))
_CALL_FIELDS = frozenset(("id", "name", "args", "partialArgs", "willContinue"))
_BESIDE = frozenset((SIGNATURE, "thought", "partMetadata", "mediaResolution", "videoMetadata"))
Wire = dict[str, Any]


# -- wire → Part ---------------------------------------------------------------------------------------------


def decode_part(wire: Wire, origin: Origin) -> Part:
    """A part that arrives whole and is neither text nor a function call: media, or anything else as it is."""
    return _decode_media(wire, origin) or _decode_opaque(wire, origin)


def _decode_text(wire: Wire, origin: Origin) -> TextPart | ReasoningPart:
    """The part that a text or thought begins, without its text."""
    if wire.get("thought") is not True:
        return TextPart("", extra={k: v for k, v in wire.items() if k != "text"} or None, origin=origin)
    known, signature = {"text", "thought"}, wire.get(SIGNATURE)
    if isinstance(signature, str):
        known.add(SIGNATURE)
    else:
        signature = None
    extra = {k: v for k, v in wire.items() if k not in known}
    return ReasoningPart(signature=signature, extra=extra or None, origin=origin)


def _decode_call(wire: Wire, call: Wire, decoder: DecoderBase) -> ToolCallPart:
    """The part that a function call begins, without its arguments. A call without an id gets a local one."""
    name, wire_id = call["name"], call.get("id")
    wire_id = wire_id if isinstance(wire_id, str) and wire_id else None
    generated = local_id(decoder.id, decoder.parts.count, name) if wire_id is None else None
    extra = _call_extra(wire, call)
    return ToolCallPart(wire_id, name, "", local_id=generated, extra=extra, origin=decoder.origin)


def _call_extra(wire: Mapping[str, Any], call: Mapping[str, Any]) -> Wire | None:
    extra = {k: v for k, v in wire.items() if k != "functionCall"}
    inner = {k: v for k, v in call.items() if k not in _CALL_FIELDS}
    if inner:
        extra["functionCall"] = inner
    return extra or None


def _decode_media(wire: Wire, origin: Origin) -> Part | None:
    """Bytes or a URI. None for what is neither, or cannot be read."""
    where = "inlineData" if "inlineData" in wire else "fileData"
    media = wire.get(where)
    if not isinstance(media, dict):
        return None
    extra: Wire = {k: v for k, v in wire.items() if k != where}
    media_type = media.get("mimeType")
    media_type = media_type if isinstance(media_type, str) else None
    field = "data" if where == "inlineData" else "fileUri"
    inner = {k: v for k, v in media.items() if k not in (field, "mimeType")}
    if inner:
        extra[where] = inner
    kind = ImagePart if (media_type or "").startswith("image/") else FilePart
    value = media.get(field)
    if not isinstance(value, str):
        return None
    if field == "fileUri":
        return kind(url=value, media_type=media_type, extra=extra or None, origin=origin)
    data = bytes_in(value)
    if data is None:
        return None
    part = kind(data=data, media_type=media_type, extra=extra or None, origin=origin)
    return part if part.media_type is not None else None  # which could not go back


def _decode_opaque(wire: Wire, origin: Origin) -> OpaquePart:
    """The whole wire part. Its kind is the name of the member that has the content."""
    kind = next((k for k in wire if k not in _BESIDE), next(iter(wire), "part"))
    inner = wire.get(kind)
    content = inner if isinstance(inner, dict) else {}
    role: Any = "call" if kind in _CALLS else "result" if kind in _RESULTS else None
    named = content.get("id"), content.get("toolType") or content.get("name")
    id, name = (v if isinstance(v, str) and v else None for v in named)
    return OpaquePart(kind, wire, id=id, name=name, role=role, origin=origin)


class Content:
    """The parts of one answer, which grow over the chunks of a stream.

    The first text of a chunk continues the text before it, unless one of the two has a signature: then they stay two
    parts, as they came. Texts are ended last, since the citations of all texts come at the end of the answer.
    """

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._texts: list[OpenPart] = []
        self._growing: OpenPart | None = (
            None  # the last text or thought, while another fragment may continue it
        )
        self._thought: OpenPart | None = None
        self._call: PartBuilder | None = None
        self._sent: set[tuple[str, str, str]] = set()
        """The whole calls that have an id, which may come again."""

    def add(self, wire: Wire, *, continues: bool) -> None:
        """One wire part. `continues`: it is the first of a chunk, so it may belong to the part before it."""
        if isinstance(wire.get("text"), str):
            self._add_text(wire, continues)
            return
        if isinstance(wire.get("functionCall"), dict) and self._add_call(wire, wire["functionCall"]):
            return
        self._settle()
        self._decoder.parts.whole(decode_part(wire, self._decoder.origin))

    def end(self, cite: Callable[[list[str]], list[list[Citation]]]) -> None:
        """Close every part. `cite` returns what each text cites."""
        self._settle()
        cited = cite([text.joined() for text in self._texts])
        for text, citations in zip(self._texts, cited, strict=True):
            self._decoder.parts.close(text, citations=tuple(citations))

    def _settle(self) -> None:
        """End what could still grow: a part of another kind follows."""
        self._growing = None
        if self._thought is not None:
            self._decoder.parts.close(self._thought)
            self._thought = None
        if self._call is not None:
            self._call.end()
            self._call = None

    def _add_text(self, wire: Wire, continues: bool) -> None:
        parts, text = self._decoder.parts, wire["text"]
        is_thought = wire.get("thought") is True
        is_plain = len(wire) == 1 + is_thought
        if is_plain and not text:
            return  # the filler of a stream's last chunk; no service takes an empty text back
        growing = self._growing
        is_alike = growing is not None and isinstance(growing.seed, ReasoningPart) is is_thought
        if growing is not None and is_plain and continues and is_alike:
            parts.add(growing, text)
            return
        self._settle()
        opened = parts.open(_decode_text(wire, self._decoder.origin))
        parts.add(opened, text)
        if is_thought:
            self._thought = opened
        else:
            self._texts.append(opened)
        self._growing = opened if is_plain else None

    def _add_call(self, wire: Wire, call: Wire) -> bool:
        """A call, or a fragment of the one that is open. False where it is neither."""
        if not isinstance(call.get("name"), str) or not call["name"]:
            return self._continue_call(wire, call)
        self._settle()
        seed = _decode_call(wire, call, self._decoder)
        if call.get("willContinue") or "partialArgs" in call:
            self._call = PartBuilder(self._decoder, seed)
            self._continue_call({}, call)
        else:
            arguments = "" if call.get("args") is None else compact(call["args"])
            if seed.id is not None:
                key = seed.id, seed.name, arguments
                if key in self._sent:
                    return True
                self._sent.add(key)
            self._decoder.parts.whole(msgspec.structs.replace(seed, arguments=arguments))
        return True

    def _continue_call(self, wire: Wire, call: Wire) -> bool:
        if self._call is None:
            return not call and len(wire) == 1  # the empty fragment that ends a call
        self._call.add(wire, call)
        if not call.get("willContinue"):
            self._settle()
        return True


class PartBuilder:
    """A call under construction, whose arguments arrive as `partialArgs`."""

    def __init__(self, decoder: DecoderBase, seed: ToolCallPart) -> None:
        self._decoder = decoder
        self._writer = ObjectWriter()
        self._extra: Wire = dict(seed.extra or {})
        self._part = decoder.parts.open(seed)

    def add(self, wire: Wire, call: Mapping[str, Any]) -> None:
        """One fragment of the call."""
        parts = self._decoder.parts
        for name, value in (_call_extra(wire, {}) or {}).items():
            self._extra.setdefault(name, value)
        for fragment in call.get("partialArgs") or ():
            parts.add(self._part, self._writer.add(fragment))
        if isinstance(call.get("args"), dict):
            parts.add(self._part, self._writer.add_members(call["args"]))

    def end(self) -> None:
        """Close the part."""
        self._decoder.parts.add(self._part, self._writer.finish())
        self._decoder.parts.close(self._part, extra=self._extra or None)


# -- Part → wire ---------------------------------------------------------------------------------------------


class PartEncoder(MessageEncoderBase):
    """Encodes the parts of a message; `where` names the message or part on the report."""

    sent_of_others = (*MessageEncoderBase.sent_of_others, ImagePart, FilePart)

    def __init__(self, origin: Origin, quirks: GeminiQuirks, reader: OptionReader) -> None:
        super().__init__(origin, reader)
        self.quirks = quirks
        self._model = _bare(origin.model)

    def is_own_model(self, part: Part) -> bool:
        """Whether the requested model made a part, by either name; `models/` before a name makes no difference."""
        origin = part.origin
        if origin is None or not self.is_own(part):
            return False
        return self._model in (_bare(origin.model), _bare(origin.reported))

    def encode_part(self, part: Part) -> Wire:
        """One part of a message of the user or the system, or the media of a tool result."""
        match part:
            case TextPart():
                wire: Wire = {"text": part.text}
            case ImagePart() | FilePart():
                wire = self._input_media(part)
            case OpaquePart() if isinstance(part.data, dict) and self.is_own(part):
                return dict(part.data)
            case _:
                raise self.unsupported(f"{part_name(part)} cannot be sent in a message of this role")
        if part.extra and part.origin is None:
            return {**wire, **self.reader.take_extra(part)}
        return wire

    def encode_answer_part(self, part: Part) -> Wire | None:
        """One part of an assistant's message. None for what is not sent back, which is reported."""
        match part:
            case TextPart():
                return self._text(part)
            case ToolCallPart():
                return self._call(part)
            case RefusalPart():
                self.adapted("this protocol has no refusals: sent as text")
                return self._unless_empty({"text": part.text})
            case ImagePart() | FilePart():
                return self._output_media(part)
        reason = self.objection(part)
        if reason is not None:
            self.dropped(reason)
            return None
        return self._thought(part) if isinstance(part, ReasoningPart) else self._opaque(part)

    def _beside(self, part: Part) -> Wire:
        """The fields that came beside a part's content, the signature only for the model that made it."""
        if not part.extra:
            return {}
        if part.origin is None:
            return self.reader.take_extra(part)
        return self._unsigned(dict(part.extra), part) if self.is_own(part) else {}

    def _unsigned(self, wire: Wire, part: Part) -> Wire:
        """The wire part without its signature, unless that is of the requested model or the caller's own."""
        if SIGNATURE in wire and part.origin is not None and not self.is_own_model(part):
            del wire[SIGNATURE]
            reason = "a thought signature is bound to the model that made it"
            self.dropped(reason, f".{SIGNATURE}")
        return wire

    def _text(self, part: TextPart) -> Wire | None:
        wire = {"text": part.text}
        if part.extra:
            wire |= self._beside(part)
        if part.citations and (part.origin is None or not self.is_own(part)):
            reason = "this protocol takes no citations from a caller"
            self.dropped(reason, ".citations")
        return self._unless_empty(wire)

    def _unless_empty(self, wire: Wire) -> Wire | None:
        if wire["text"] or len(wire) > 1:
            return wire
        self.dropped("an empty text is refused")
        return None

    def _thought(self, part: ReasoningPart) -> Wire:
        wire: Wire = {"text": part.text, "thought": True, **(part.extra or {})}
        if part.signature is not None:
            wire[SIGNATURE] = part.signature
        return wire

    def _call(self, part: ToolCallPart) -> Wire:
        self.report_kind(part, "")
        call: Wire = {} if part.id is None else {"id": part.id}
        call["name"] = tool_name(part.name, TOOL_NAME, self)
        beside = self._beside(part)
        if beside:
            call |= beside.pop("functionCall", {})
        if part.arguments.strip():
            call["args"] = self.arguments_object(part, "")
        return {"functionCall": call, **beside} if beside else {"functionCall": call}

    def _opaque(self, part: Any) -> Wire:
        return self._unsigned(dict(part.data), part)

    # -- media -----------------------------------------------------------------------------------------------

    def _input_media(self, part: ImagePart | FilePart) -> Wire:
        if isinstance(part, ImagePart) and part.detail is not None:
            self.dropped("detail is mediaResolution here, in GeminiOptions", ".detail")
        if part.file_id is not None:
            return self._file(part, part.file_id)
        wire = self._media(part)
        name = part.name if isinstance(part, FilePart) else None
        if name is not None and self.quirks.display_names:
            next(iter(wire.values()))["displayName"] = name
        elif name is not None:
            self.dropped("this service takes no names of files", ".name")
        return wire

    def _output_media(self, part: ImagePart | FilePart) -> Wire | None:
        if part.file_id is not None:
            self.dropped("a file id cannot be sent as the assistant's")
            return None
        beside, wire = self._beside(part), self._media(part)
        for where in ("inlineData", "fileData"):
            if where in beside and where in wire:
                wire[where] |= beside.pop(where)
        return {**wire, **beside}

    def _media(self, part: ImagePart | FilePart) -> Wire:
        """Bytes as inlineData, a URL as fileData."""
        kind = {} if part.media_type is None else {"mimeType": part.media_type}
        if part.data is None:
            return {"fileData": {**kind, "fileUri": part.url}}
        if not kind:
            raise self.unsupported(f"{part_name(part)} needs its media_type: the bytes do not show it")
        return {"inlineData": {**kind, "data": base64_of(part)}}

    def _file(self, part: ImagePart | FilePart, file_id: str) -> Wire:
        kind = {} if part.media_type is None else {"mimeType": part.media_type}
        if "://" not in file_id:
            if self.quirks.files_url is None:
                raise self.unsupported(
                    "this service has no file ids: pass the file's URL (gs://… or https://…)"
                )
            file_id = self.quirks.files_url + file_id
        return {"fileData": {**kind, "fileUri": file_id}}


def _bare(model: str | None) -> str | None:
    return None if model is None else model.removeprefix("models/")
