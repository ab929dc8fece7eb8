"""One step of an interaction ↔ parts, in both directions, and the steps of a response under construction.

A thought, a function call and a hosted tool's call or result are a step and a part each. The contents of a
`model_output` are a part each; a part that begins such a step though another one ends before it, or a step with fields
of its own, has them in `extra["model_output"]`. Every other field of a step or content is kept in `extra` too, so that
encoding makes the same steps again.

The deltas of a stream are named after what they add. One with the kind of its step, or of no known kind, adds its
fields to the step; to a `model_output` it adds a content.
Reference: the API reference of `Step`, `Content`, `Annotation` and `StepDelta`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.calls import Arguments
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart, sources
from brainwires_provider.protocols.base.facts import media_kind
from brainwires_provider.protocols.base.google import TOOL_NAME, bytes_in, compact
from brainwires_provider.protocols.base.json import int_or_none, items_in, objects_in, text_or_none
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import (
    MessageEncoderBase,
    base64_of,
    is_text_file,
    local_id,
    part_name,
    tool_name,
)
from brainwires_provider.protocols.google_interactions.options import InteractionsQuirks
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

__all__ = ["OUTPUT", "PartBuilder", "PartEncoder", "begin_step", "decode_part", "decode_step"]

OUTPUT = "model_output"
CITATIONS = "citations"
"""The kind of the part that has citations without a text."""
_CITATION = "_citation"
MEDIA = frozenset(("image", "audio", "video", "document"))
Wire = dict[str, Any]


# -- contents ------------------------------------------------------------------------------------------------


def decode_part(wire: Wire, origin: Origin) -> Part:
    """A content that arrives whole and is no text: media, or anything else as it is."""
    return _decode_media(wire, origin) or OpaquePart(str(wire.get("type")), wire, origin=origin)


def _decode_media(wire: Wire, origin: Origin) -> Part | None:
    """Bytes or a URI. None for what is neither, or cannot be read."""
    kind = wire.get("type")
    if kind not in MEDIA:
        return None
    media_type = text_or_none(wire.get("mime_type"))
    known = {"type"} if media_type is None else {"type", "mime_type"}
    make = ImagePart if kind == "image" else FilePart
    data, url = bytes_in(wire.get("data")), text_or_none(wire.get("uri"))
    if data is not None:
        part: ImagePart | FilePart = make(data=data, media_type=media_type, origin=origin)
        known.add("data")
    elif url is not None:
        part = make(url=url, media_type=media_type, origin=origin)
        known.add("uri")
    else:
        return None
    extra = {name: value for name, value in wire.items() if name not in known}
    if kind != ("image" if isinstance(part, ImagePart) else media_kind(part.media_type)):
        extra["type"] = kind
    return replace(part, extra=extra or None)


def _citation(annotation: Wire) -> Citation:
    """A source; the offsets are the service's own, in bytes of UTF-8."""
    return Citation(
        url=text_or_none(annotation.get("url")) or text_or_none(annotation.get("document_uri")),
        title=text_or_none(annotation.get("title"))
        or text_or_none(annotation.get("name"))
        or text_or_none(annotation.get("file_name")),
        start=int_or_none(annotation.get("start_index")),
        end=int_or_none(annotation.get("end_index")),
        source=text_or_none(annotation.get("place_id")) or text_or_none(annotation.get("source")),
        raw=annotation,
    )


def _annotated(annotations: list[Any]) -> tuple[tuple[Citation, ...], Wire]:
    """The citations among a text's annotations; where others stand beside them, all are also kept as they came."""
    cited = [each for each in objects_in(annotations) if str(each.get("type", _CITATION)).endswith(_CITATION)]
    extra = {} if len(cited) == len(annotations) else {"annotations": annotations}
    return sources(cited, _citation), extra


# -- steps under construction --------------------------------------------------------------------------------


class PartBuilder(ABC):
    """One step, which is one part, or in a `model_output` several."""

    def __init__(self, decoder: DecoderBase, step: Wire) -> None:
        self._decoder = decoder
        self.data = dict(step)
        """The step as it began; that of a hosted tool as it stands."""
        self.kind = step.get("type")
        self.texts: list[OpenPart] = []
        """The parts that have its text or arguments."""
        self.is_done = self.is_closed = self.is_empty = False

    @abstractmethod
    def add(self, delta: Wire) -> None:
        """One delta of the step."""

    @abstractmethod
    def end(self) -> None:
        """Close what is still open."""

    def finish(self) -> None:
        """The step is over."""
        self.is_done = True
        if not self.is_closed:
            self.is_closed = True
            self.end()

    def report(self, part: OpenPart | None, delta: Wire) -> None:
        """The event of a delta that is no text."""
        index = None if part is None else part.index
        self._decoder.parts.events.append(OpaqueDelta(index, str(delta.get("type")), delta))


class _Thought(PartBuilder):
    """The signature is that of the part; the summary's texts are its text, and all of its contents are kept."""

    def __init__(self, decoder: DecoderBase, step: Wire) -> None:
        super().__init__(decoder, step)
        self._extra = _without(step, "type", "summary", "signature")
        self._has_summary = "summary" in step
        self._contents: list[Any] = []
        self._fragments: list[str] = []
        self._part = decoder.parts.open(ReasoningPart(origin=decoder.origin))
        self.texts.append(self._part)
        for content in step.get("summary") or ():
            self._add_content(content, joins=False)

    def add(self, delta: Wire) -> None:
        match delta.get("type"):
            case "thought_summary" if isinstance(delta.get("content"), dict):
                self._add_content(delta["content"], joins=True)
            case "thought_signature":
                self.data["signature"] = delta.get("signature")
                self.report(self._part, delta)
            case _:
                more = {name: value for name, value in delta.items() if name != "type" and value is not None}
                self._extra = self._decoder.merging.grown(self._extra, more)
                self.report(self._part, delta)

    def _add_content(self, content: Any, *, joins: bool) -> None:
        """`joins`: texts that follow each other are fragments of one."""
        text = _plain_text(content)
        if joins and text is not None:
            self._fragments.append(text)
        else:
            self._join()
            self._contents.append(content)
        if isinstance(content, dict) and isinstance(content.get("text"), str):
            self._decoder.parts.add(self._part, content["text"])
        elif joins:
            self.report(self._part, content)

    def _join(self) -> None:
        """The fragments are one content."""
        if self._fragments:
            self._contents.append({"type": "text", "text": "".join(self._fragments)})
            self._fragments = []

    def end(self) -> None:
        self._join()
        extra, contents = dict(self._extra), self._contents
        is_text = len(contents) == 1 and bool(_plain_text(contents[0]))
        if (self._has_summary or contents) and not is_text:
            extra["summary"] = contents
        given = self.data.get("signature")
        signature = text_or_none(given)
        if signature is None and given is not None:
            extra["signature"] = given
        self._decoder.parts.close(self._part, signature=signature, extra=extra or None)


class _Output(PartBuilder):
    """The contents, one after the other. A text grows until another content begins."""

    def __init__(self, decoder: DecoderBase, step: Wire, *, follows: bool) -> None:
        super().__init__(decoder, step)
        fields = _without(step, "type", "content")
        self._first: Wire = {OUTPUT: fields} if fields or follows else {}
        self._fields = fields
        self.is_empty = True
        self._part: OpenPart | None = None
        self._extra: Wire = {}
        self._annotations: list[Any] = []
        self._sound: list[bytes] = []
        for content in items_in(step.get("content")):
            self._begin(content)

    def add(self, delta: Wire) -> None:
        kind, part = delta.get("type"), self._part
        if kind == "text" and part is not None and isinstance(part.seed, TextPart):
            self._grow(part, delta)
        elif kind == "text_annotation_delta":
            self._annotations += items_in(delta.get("annotations"))
            self.report(part, delta)
        elif kind == "audio" and part is not None and self._is_more_of(part, delta):
            self._sound.append(bytes_in(delta["data"]) or b"")
            self.report(part, delta)
        else:
            self._begin(delta)

    def end(self) -> None:
        self._close()
        whole, origin = self._decoder.parts.whole, self._decoder.origin
        if self.is_empty and self._fields:
            item = {"type": OUTPUT, **self._fields}
            whole(OpaquePart(OUTPUT, item, extra={OUTPUT: self._fields}, origin=origin))
        if self._annotations:
            cited, _ = _annotated(self._annotations)
            whole(OpaquePart(CITATIONS, {"annotations": self._annotations}, origin=origin, citations=cited))

    def _begin(self, content: Any) -> None:
        if not isinstance(content, dict):
            return  # what is no object is no part
        if content.get("type") == "text" and isinstance(content.get("text"), str):
            if content["text"] or len(content) > 2:
                self._begin_text(content)
            return
        self._close()
        part = decode_part(content, self._decoder.origin)
        extra = {**(part.extra or {}), **self._taken()}
        if isinstance(part, OpaquePart):
            extra.setdefault(OUTPUT, None)
        part = replace(part, extra=extra or None)
        if content.get("type") == "audio" and isinstance(part, FilePart) and part.data is not None:
            self._sound = [part.data]
            self._extra = extra
            self._part = self._decoder.parts.open(part, lambda: self._sounding(part))
        else:
            self._decoder.parts.whole(part)

    def _begin_text(self, content: Wire) -> None:
        self._close()
        self._extra = {**self._taken(), **_without(content, "type", "text", "annotations")}
        self._part = self._decoder.parts.open(TextPart("", origin=self._decoder.origin))
        self.texts.append(self._part)
        self._decoder.parts.add(self._part, content["text"])
        self._annotations += items_in(content.get("annotations"))

    def _grow(self, part: OpenPart, delta: Wire) -> None:
        self._decoder.parts.add(part, delta["text"])
        self._annotations += items_in(delta.get("annotations"))
        more = _without(delta, "type", "text", "annotations")
        if more:
            self._extra = self._decoder.merging.grown(self._extra, more)

    def _taken(self) -> Wire:
        first, self._first, self.is_empty = self._first, {}, False
        return first

    def _is_more_of(self, part: OpenPart, delta: Wire) -> bool:
        """Whether a delta continues a sound: it has bytes, and none of its fields is another."""
        if not isinstance(part.seed, FilePart) or bytes_in(delta.get("data")) is None:
            return False
        known = {"mime_type": part.seed.media_type, **self._extra}
        return all(known.get(name) == value for name, value in _without(delta, "type", "data").items())

    def _sounding(self, part: FilePart) -> FilePart:
        return replace(part, data=b"".join(self._sound))

    def _close(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        if not isinstance(part.seed, TextPart):
            self._decoder.parts.close(part)
            return
        annotations, self._annotations = self._annotations, []
        citations, extra = _annotated(annotations)
        self._decoder.parts.close(part, citations=citations, extra={**self._extra, **extra} or None)


class _Call(PartBuilder):
    """A function call. Its start has its arguments, or an empty object in their place, and deltas their text."""

    def __init__(self, decoder: DecoderBase, step: Wire) -> None:
        super().__init__(decoder, step)
        id, name = text_or_none(step.get("id")), step["name"]
        made_up = local_id(decoder.id, decoder.parts.count, name) if id is None else None
        self._extra = _without(step, "type", "id", "name", "arguments")
        self._part = decoder.parts.open(ToolCallPart(id, name, "", local_id=made_up, origin=decoder.origin))
        self.texts.append(self._part)
        self._text = Arguments(decoder.parts, self._part)

    def add(self, delta: Wire) -> None:
        arguments, more = delta.get("arguments"), _without(delta, "type", "arguments")
        if isinstance(arguments, str):
            self._text.add(arguments)
        elif arguments is not None:
            self.data["arguments"] = self._decoder.merging.grown(self.data.get("arguments"), arguments)
        if more:
            self._extra = self._decoder.merging.grown(self._extra, more)
            self.report(self._part, delta)

    def end(self) -> None:
        given = self.data.get("arguments")
        self._text.end()
        if given is not None and not self._part.fragments:
            text = given if isinstance(given, str) else compact(given)
            self._decoder.parts.add(self._part, text)
        self._decoder.parts.close(self._part, extra=self._extra or None)


class _Opaque(PartBuilder):
    """A hosted tool's call or result, or a step of another kind, whole."""

    def __init__(self, decoder: DecoderBase, step: Wire) -> None:
        super().__init__(decoder, step)
        self._part = decoder.parts.open(self._so_far(), self._so_far)

    def _so_far(self) -> OpaquePart:
        return decode_step(self.data, self._decoder.origin)

    def add(self, delta: Wire) -> None:
        self.data = self._decoder.merging.grown(self.data, _without(delta, "type"))
        self.report(self._part, delta)

    def end(self) -> None:
        self._decoder.parts.close(self._part)


class _Input(PartBuilder):
    """What the user has said, which an interaction repeats when it is asked to: no part of the answer."""

    def add(self, delta: Wire) -> None:
        self.data.setdefault("content", []).append(delta)

    def end(self) -> None:
        self._decoder.extra.setdefault("user_input", []).append(self.data)


def begin_step(decoder: DecoderBase, step: Wire, before: PartBuilder | None) -> PartBuilder:
    """The step that an object begins, after the one before it."""
    match step.get("type"):
        case "thought":
            return _Thought(decoder, step)
        case "model_output":
            return _Output(decoder, step, follows=before is not None and before.kind == OUTPUT)
        case "user_input":
            return _Input(decoder, step)
        case "function_call" if isinstance(step.get("name"), str) and step["name"]:
            return _Call(decoder, step)
    return _Opaque(decoder, step)


def decode_step(step: Wire, origin: Origin) -> OpaquePart:
    """A whole step that is no thought, output or function call."""
    kind = str(step.get("type"))
    role: Any = "call" if kind.endswith("_call") else "result" if kind.endswith("_result") else None
    id = text_or_none(step.get("call_id" if role == "result" else "id"))
    name = text_or_none(step.get("name")) or (kind.removesuffix(f"_{role}") if role else None)
    return OpaquePart(kind, step, id=id, name=name, role=role, origin=origin)


def _without(wire: Mapping[str, Any], *names: str) -> Wire:
    return {name: value for name, value in wire.items() if name not in names}


def _plain_text(content: Any) -> str | None:
    """The text of a content that is nothing else."""
    if not isinstance(content, dict) or content.keys() != {"type", "text"} or content["type"] != "text":
        return None
    return content["text"] if isinstance(content["text"], str) else None


# -- Part → wire ---------------------------------------------------------------------------------------------


class PartEncoder(MessageEncoderBase, ABC):
    """Encodes the parts of a message; `where` names the message or part on the report."""

    def __init__(self, origin: Origin, quirks: InteractionsQuirks, reader: OptionReader) -> None:
        super().__init__(origin, reader)
        self.quirks = quirks

    def objection(self, part: Part) -> str | None:
        """See `MessageEncoderBase`."""
        reason = super().objection(part)
        if reason is None and isinstance(part, ReasoningPart) and part.signature is None:
            return "a thought without its signature, as a cut stream leaves it, is refused"
        if reason is None and isinstance(part, OpaquePart) and part.kind == CITATIONS:
            return "citations are sent back only with the text that cites"
        if isinstance(part, TextPart) and not part.text and not (part.extra and self.is_own(part)):
            return "an empty text is refused"
        return reason

    @abstractmethod
    def input_media(self, part: ImagePart | FilePart) -> Wire:
        """Media of a user's input."""

    def encode_part(self, part: Part) -> Wire:
        """A content of a user's input, or of a function's result."""
        match part:
            case TextPart():
                wire: Wire = {"type": "text", "text": part.text}
            case FilePart() if part.data is not None and is_text_file(part) and part.media_type != _CSV:
                self.adapted("text files have no kind of content here: sent as text")
                wire = {"type": "text", "text": self.text_of(part)}
            case ImagePart() | FilePart():
                wire = self.input_media(part)
            case OpaquePart() if isinstance(part.data, dict) and self.is_own(part):
                return dict(part.data)
            case _:
                raise self.unsupported(f"{part_name(part)} cannot be sent in a message of this role")
        return wire | self.own_extra(part)

    def encode_answer_part(self, part: Part) -> Wire:
        """One part of an assistant's message: a content of a `model_output`, or a step."""
        if isinstance(part, OpaquePart):
            return dict(part.data)
        beside = self.own_extra(part)
        beside.pop(OUTPUT, None)
        match part:
            case ReasoningPart():
                return self._thought(part, beside)
            case ToolCallPart():
                return self._call(part, beside)
            case TextPart():
                return {"type": "text", "text": part.text, **self._annotations(part), **beside}
            case RefusalPart():
                self.adapted("this protocol has no refusals: sent as text")
                return {"type": "text", "text": part.text, **beside}
        return encoded_media(part) | beside  # type: ignore[arg-type]  # no other part is without an objection

    def is_content(self, part: Part) -> bool:
        """Whether a part of an assistant's message is a content of a `model_output`, and no step."""
        if isinstance(part, OpaquePart):
            kinds = () if part.origin is not None else ("text", *MEDIA)
            return OUTPUT in (part.extra or {}) or part.data.get("type") in kinds
        return not isinstance(part, (ReasoningPart, ToolCallPart))

    def begun_output(self, part: Part) -> Wire | None:
        """The fields of the `model_output` that begins with a part; None where it may continue another."""
        extra = getattr(part, "extra", None) or {}
        fields = extra.get(OUTPUT) if self.is_own(part) else None
        return fields if isinstance(fields, dict) else None

    def _annotations(self, part: TextPart) -> Wire:
        """The citations as they came, unless the text's `extra` has all annotations."""
        own = part.origin is not None and self.is_own(part)
        found = [dict(cited.raw) for cited in part.citations if own and isinstance(cited.raw, Mapping)]
        self.report_citations(part, sent=len(found))
        return {"annotations": found} if found else {}

    def _thought(self, part: ReasoningPart, beside: Wire) -> Wire:
        wire: Wire = {"type": "thought", "signature": part.signature}
        if part.text:
            wire["summary"] = [{"type": "text", "text": part.text}]
        return wire | beside

    def _call(self, part: ToolCallPart, beside: Wire) -> Wire:
        """A call of an API without ids has the one that its result names."""
        self.report_kind(part)
        name = tool_name(part.name, TOOL_NAME, self)
        arguments = self.arguments_object(part)
        return {"type": "function_call", "id": part.call_id, "name": name, "arguments": arguments, **beside}


_CSV = "text/csv"


def encoded_media(part: ImagePart | FilePart) -> Wire:
    """The kind of a part's content, its media type and its bytes or URL."""
    kind = "image" if isinstance(part, ImagePart) else media_kind(part.media_type)
    wire: Wire = {"type": kind}
    if part.media_type is not None:
        wire["mime_type"] = part.media_type
    if part.data is not None:
        wire["data"] = base64_of(part)
    else:
        wire["uri"] = part.url
    return wire
