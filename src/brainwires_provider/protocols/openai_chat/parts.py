"""One item of a Chat Completions message and one of our parts: written for a request, built up from a response.

Reasoning comes as `reasoning_content`, as `reasoning`, within `reasoning_details` (with signatures, summaries and
ciphertexts), or as `thinking` items of the content. Which fields they were is kept in the part's `extra["fields"]`, so
that the text is sent back under the same names.

What is not of the expected type is passed over; it stays in the raw item that each part keeps.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.calls import CallFragment
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart, well_formed
from brainwires_provider.protocols.base.json import int_or_none, list_or_empty, objects_in
from brainwires_provider.protocols.base.replay import MessageEncoderBase, base64_of, is_text_file, part_name
from brainwires_provider.protocols.openai_chat.options import ChatQuirks
from brainwires_provider.types import (
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    TextPart,
)

__all__ = [
    "REASONING_TEXTS",
    "AudioBuilder",
    "ReasoningBuilder",
    "citations_of",
    "decode_fragment",
    "decode_image",
    "encode_image",
    "encode_part",
    "extra_of",
    "joined_blocks",
    "search_citations",
]

_AUDIO_FORMATS = {"audio/x-wav": "wav", "audio/mpeg": "mp3"}  # others: the subtype

# -- tool calls ---------------------------------------------------------------------------------------------

_OUTER = frozenset(("index", "id", "type"))
_INNER = frozenset(("name", "arguments", "input"))


def decode_fragment(wire: dict[str, Any]) -> CallFragment:
    """One element of `tool_calls`. Raises TypeError for a shape that is none."""
    kind = wire.get("type") or ("custom" if "custom" in wire and "function" not in wire else None)
    place = "custom" if kind == "custom" else "function"
    inner = wire.get(place)
    if inner is None and not _INNER.isdisjoint(wire):
        inner, wire, place = wire, {k: v for k, v in wire.items() if k not in _INNER}, ""  # a flat call
    inner = inner or {}
    name = inner.get("name") or ""
    if type(name) is not str:
        raise TypeError(f"a tool call's name is {type(name).__name__}")
    id = wire.get("id")
    # A signature, an extra_content: it is sent back with the call.
    extra = {k: v for k, v in wire.items() if k not in _OUTER and k != place and v is not None}
    rest = {k: v for k, v in inner.items() if k not in _INNER and v is not None} if place else {}
    if rest:
        extra[place] = rest
    return CallFragment(
        wire.get("index"),
        None if id is None or id == "" else str(id),
        name,
        "function" if kind in (None, "function") else str(kind),
        _arguments_text(inner.get("input" if kind == "custom" else "arguments")),
        extra,
    )


def _arguments_text(arguments: Any) -> str:
    if arguments is None:
        return ""
    if type(arguments) is str:
        return arguments
    return msgspec.json.encode(well_formed(arguments)).decode()


# -- reasoning ----------------------------------------------------------------------------------------------

REASONING_TEXTS = ("reasoning_content", "reasoning")
_GROWING = ("text", "summary")


class ReasoningBuilder:
    """The reasoning of one answer: one part, or several where the content's own order divides it."""

    __slots__ = ("_decoder", "_details", "_fields", "_part")

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._part: OpenPart | None = None
        self._fields: set[str] = set()
        self._details = _Details()

    @property
    def is_listed(self) -> bool:
        """Whether the open part is a piece of the content, so that text ends it."""
        return self._part is not None and "content" in self._fields

    def feed(self, message: Mapping[str, Any]) -> None:
        """The reasoning fields of a message or delta. Some services fill two with the same text."""
        text = ""
        for name in REASONING_TEXTS:
            value = message.get(name)
            if not value:
                continue
            if type(value) is not str:
                self._decoder.keep(name, value)
            elif not text or value == text:
                self._fields.add(name)
                text = value
            else:
                self._decoder.keep(name, self._decoder.message_extra.get(name, "") + value)
        details = message.get("reasoning_details")
        if details:
            self._add_details(details, text)
        elif text:
            self._think(text)

    def _add_details(self, details: Any, text: str) -> None:
        if type(details) is not list:
            self._decoder.keep("reasoning_details", details)
            if text:
                self._think(text)
            return
        self._fields.add("reasoning_details")
        shown = self._details.add(details)
        if text or shown:
            self._think(text or shown)
        else:
            self._decoder.parts.events.append(OpaqueDelta(self._open().index, "reasoning_details", details))

    def feed_piece(self, piece: Mapping[str, Any]) -> None:
        """A `thinking` piece of the content: text, or a list of texts and references."""
        self._fields.add("content")
        inner = piece.get("thinking")
        items = inner if type(inner) is list else [{"type": "text", "text": inner}]
        others = [item for item in items if not _is_text(item)]
        self._think("".join(item.get("text") or "" for item in items if _is_text(item)))
        extra = extra_of(self._open())
        extra.update({k: v for k, v in piece.items() if k not in ("type", "thinking") and v is not None})
        if others:
            extra.setdefault("thinking", []).extend(others)

    def feed_copy(self, message: Mapping[str, Any]) -> None:
        """The reasoning of a whole message that follows its own deltas: what it has beyond them is added."""
        part, details = self._part, message.get("reasoning_details")
        if part is None:
            return
        texts = [text for name in REASONING_TEXTS if isinstance(text := message.get(name), str)]
        if isinstance(details, list):
            final = _Details()
            texts.append(final.add(details))
            if final.size >= self._details.size:
                self._details = final
                self._fields.add("reasoning_details")
        self._decoder.parts.catch_up(part, *texts)

    def _open(self) -> OpenPart:
        if self._part is None:
            self._part = self._decoder.parts.open(ReasoningPart(origin=self._decoder.origin))
        return self._part

    def _think(self, text: str) -> None:
        self._decoder.parts.add(self._part or self._open(), text)

    def close(self) -> None:
        """End the part, if there is one."""
        part, self._part = self._part, None
        if part is None:
            return
        extra = {**(part.seed.extra or {}), "fields": sorted(self._fields)}
        fields: dict[str, Any] = {}
        details = self._details.all()
        if details:
            extra["reasoning_details"] = details
            fields = {
                "summary": tuple(_told(details, "summary")),
                "signature": next(_told(details, "signature"), None),
                "encrypted": next(_told(details, "data"), None),
            }
        self._fields, self._details = set(), _Details()
        self._decoder.parts.close(part, **fields, extra=extra)


def _is_text(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "text"


def _told(details: list[Any], name: str) -> Any:
    """The texts under this name, in order."""
    return (d[name] for d in details if isinstance(d, dict) and isinstance(d.get(name), str) and d[name])


class _Details:
    """Streamed `reasoning_details`, joined: text grows, everything else is given once.

    A text fragment may also be cumulative; the second one of an item shows whether it is.
    """

    __slots__ = ("_has_summary", "_items", "_texts", "_way", "size")

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._texts: dict[str, list[str]] = {}  # the last item's texts, by name
        self._way: Literal["cumulative", "delta"] | None = None
        self._has_summary = False
        self.size = 0
        """How many items and characters have come."""

    def add(self, fragments: list[Any]) -> str:
        """Returns the text that they show: the thinking itself, else the summaries, a blank line between two."""
        thought: list[str] = []
        summaries: list[str] = []
        for fragment in fragments:
            if not isinstance(fragment, dict):
                continue
            continues = bool(self._items) and _continues(self._items[-1], fragment)
            text, summary = self._beyond(_text_at(fragment, "text"), continues), _text_at(fragment, "summary")
            thought.append(text)
            if summary and not continues and self._has_summary:
                summaries.append("\n\n")
            summaries.append(summary)
            self._has_summary = self._has_summary or bool(summary)
            self._keep({**fragment, "text": text} if "text" in fragment else fragment, continues)
        return "".join(thought) or "".join(summaries)

    def _beyond(self, text: str, continues: bool) -> str:
        """What a text has beyond the texts before, if it repeats them; else the text."""
        known = self._texts.get("text") if continues else None
        if not text or not known:
            self._way = self._way if continues else None
            return text
        if self._way is None:
            is_longer = len(text) > len(known[0]) and text.startswith(known[0])
            self._way = "cumulative" if is_longer else "delta"
        if self._way == "cumulative":
            known[:] = ["".join(known)]
            if text.startswith(known[0]):
                return text[len(known[0]) :]
            self._way = "delta"
        return text

    def _keep(self, fragment: dict[str, Any], continues: bool) -> None:
        self.size += 1
        if not continues:
            self._join()
            self._items.append({})
        last = self._items[-1]
        for name, value in fragment.items():
            if name in _GROWING and isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
                self.size += len(value)
                value = ""
            if value is not None or name not in last:
                last[name] = value

    def _join(self) -> None:
        for name, texts in self._texts.items():
            self._items[-1][name] = "".join(texts)
        self._texts = {}

    def all(self) -> list[Any]:
        """Every item, its text joined."""
        self._join()
        return self._items


def _text_at(fragment: dict[str, Any], name: str) -> str:
    value = fragment.get(name)
    return value if isinstance(value, str) else ""


def _continues(last: dict[str, Any], fragment: dict[str, Any]) -> bool:
    if last.get("type") != fragment.get("type") or last.get("index") != fragment.get("index"):
        return False
    if "data" in fragment or (last.get("signature") and _text_at(fragment, "text")):
        return False  # what is signed is whole
    known, new = last.get("id"), fragment.get("id")
    return known is None or new is None or known == new


def joined_blocks(fragments: Any) -> Any:
    """The `thinking_blocks` of an answer, whole: in a stream, each has a piece of the text, the last the signature."""
    blocks: list[Any] = []
    for fragment in fragments if isinstance(fragments, list) else ():
        last: Any = blocks[-1] if blocks else None
        if not _is_thinking(last) or not _is_thinking(fragment) or last.get("signature"):
            blocks.append(fragment)
            continue
        text = _text_at(last, "thinking") + _text_at(fragment, "thinking")
        blocks[-1] = {**last, **fragment, "thinking": text}
    return blocks or fragments


def _is_thinking(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "thinking"


def extra_of(part: OpenPart) -> dict[str, Any]:
    """The `extra` of a part under construction, to add to."""
    if part.seed.extra is None:
        part.seed = replace(part.seed, extra={})
    extra: dict[str, Any] = part.seed.extra  # type: ignore[assignment]
    return extra


# -- content items and media ---------------------------------------------------------------------------------


def decode_image(item: Any, origin: Origin) -> ImagePart | None:
    """An image that the model made: `{"type": "image_url", "image_url": {"url": …}}`."""
    inner = item.get("image_url") if isinstance(item, dict) else None
    url = inner.get("url") if isinstance(inner, dict) else inner
    if not isinstance(url, str) or not url or item.get("type", "image_url") != "image_url":
        return None
    rest = {k: v for k, v in item.items() if k not in ("type", "image_url")}
    if isinstance(inner, dict):
        rest |= {k: v for k, v in inner.items() if k != "url"}
    image = ImagePart(url=url, extra=rest or None, origin=origin)
    return None if image.data is not None and image.media_type is None else image  # it could not be sent back


def encode_part(part: Part, encoder: MessageEncoderBase, quirks: ChatQuirks) -> dict[str, Any]:
    """One content item of a user's, system's or tool's message. Raises UnsupportedError."""
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            return encode_image(part, encoder)
        case FilePart():
            return _encode_file(part, encoder, quirks)
        case OpaquePart() if isinstance(part.data, dict) and encoder.is_own(part):
            return dict(part.data)
    raise encoder.unsupported(f"{part_name(part)} cannot be sent in a message of this role")


def encode_image(part: ImagePart, encoder: MessageEncoderBase) -> dict[str, Any]:
    """An image by its data or URL, the user's or the model's."""
    if part.file_id is not None:
        raise encoder.unsupported("Chat Completions takes images as data or URL, not by file_id")
    image = {"url": part.url or _data_url(part, encoder)}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _encode_file(part: FilePart, encoder: MessageEncoderBase, quirks: ChatQuirks) -> dict[str, Any]:
    media_type = part.media_type or ""
    if media_type.startswith("audio/"):
        return _encode_audio(part, encoder, quirks)
    if media_type.startswith("video/"):
        if not quirks.video or part.file_id is not None:
            raise encoder.unsupported("this service takes no video through Chat Completions")
        return {"type": "video_url", "video_url": {"url": part.url or _data_url(part, encoder)}}
    if part.data is not None and is_text_file(part) and not quirks.text_files:
        encoder.adapted("this service has no part for text files: sent as text")
        return {"type": "text", "text": encoder.text_of(part)}
    if quirks.documents == "file_url":
        if part.file_id is not None:
            raise encoder.unsupported("this service takes files as data or by URL, not by file_id")
        named = {} if part.name is None else {"file_name": part.name}
        return {"type": "file_url", "file_url": {"url": part.url or base64_of(part)}, **named}
    if quirks.documents == "document_url":
        if part.file_id is not None:
            return {"type": "file", "file_id": part.file_id}
        return {"type": "document_url", "document_url": part.url or _data_url(part, encoder)}
    if part.file_id is not None:
        return {"type": "file", "file": {"file_id": part.file_id}}
    if part.url is not None and not quirks.file_urls:
        reason = "this service takes files as data or file_id, not by URL; URLs are never fetched"
        raise encoder.unsupported(reason)
    file = {"file_data": part.url or _data_url(part, encoder), "filename": part.name or "file"}
    return {"type": "file", "file": file}


def _encode_audio(part: FilePart, encoder: MessageEncoderBase, quirks: ChatQuirks) -> dict[str, Any]:
    if part.file_id is not None:
        raise encoder.unsupported("Chat Completions takes audio as data, not by file_id")
    if quirks.audio == "text":
        return {"type": "input_audio", "input_audio": part.url or base64_of(part)}
    if part.url is not None:
        raise encoder.unsupported("this service takes audio as data, not by URL; URLs are never fetched")
    media_type = part.media_type or ""
    form = _AUDIO_FORMATS.get(media_type, media_type.removeprefix("audio/"))
    return {"type": "input_audio", "input_audio": {"data": base64_of(part), "format": form}}


def _data_url(part: ImagePart | FilePart, encoder: MessageEncoderBase) -> str:
    if part.media_type is None:
        raise encoder.unsupported(f"{part_name(part)} needs its media_type: the bytes do not show it")
    return f"data:{part.media_type};base64,{base64_of(part)}"


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


class AudioBuilder:
    """Spoken output: fragments of sound and of its transcript, one FilePart at the end."""

    __slots__ = ("_decoder", "_part", "_rest", "_sound", "_transcript")

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._part: OpenPart | None = None
        self._sound: list[bytes] = []
        self._transcript: list[str] = []
        self._rest: dict[str, Any] = {}

    def feed(self, audio: dict[str, Any]) -> None:
        """One `audio` object. One with nothing in it is a placeholder and stays with the message."""
        sound, transcript = audio.get("data") or "", audio.get("transcript") or ""
        data = _decoded(sound)
        if data is None or type(transcript) is not str:
            raise ValueError("the audio is not base64, or its transcript no text")
        if self._part is None:
            if not (audio.get("id") or sound or transcript):
                self._decoder.keep("audio", audio)
                return
            seed = FilePart(data=b"", origin=self._decoder.origin)
            self._part = self._decoder.parts.open(seed, self._so_far)
        self._sound.append(data)
        self._transcript.append(transcript)
        self._rest |= {k: v for k, v in audio.items() if k not in ("data", "transcript") and v is not None}
        self._decoder.parts.events.append(OpaqueDelta(self._part.index, "audio", audio))

    def _so_far(self) -> FilePart:
        text = "".join(self._transcript)
        return FilePart(
            data=b"".join(self._sound),
            text=text or None,
            extra=dict(self._rest) or None,
            origin=self._decoder.origin,
        )

    def close(self) -> None:
        """End the part, if there is one. Its format is the one that was asked for: the wire does not say it."""
        if self._part is not None:
            self._decoder.parts.close(self._part)


# -- citations --------------------------------------------------------------------------------------------


def citations_of(annotations: list[Any]) -> list[Citation]:
    """Citations from a message's `annotations`."""
    found = []
    for item in objects_in(annotations):
        inner = item.get(str(item.get("type")))
        if not isinstance(inner, dict):
            inner = item
        found.append(
            Citation(
                url=_text(inner.get("url")),
                title=_text(inner.get("title")) or _text(inner.get("name")),
                quote=_text(inner.get("content")),
                start=int_or_none(inner.get("start_index")),
                end=int_or_none(inner.get("end_index")),
                source=_text(inner.get("file_id")) or _text(inner.get("hash")),
                raw=item,
            )
        )
    return found


def search_citations(extra: Mapping[str, Any]) -> list[Citation]:
    """Citations that a search service lists beside the choices; the lists themselves stay in `extra`."""
    found = []
    for item in list_or_empty(extra.get("search_results")):
        url = _text(item.get("url")) if isinstance(item, dict) else None
        if url:
            title, quote = _text(item.get("title")), _text(item.get("snippet"))
            found.append(Citation(url=url, title=title, quote=quote, raw=item))
    known = {c.url for c in found}
    urls = (url for url in list_or_empty(extra.get("citations")) if isinstance(url, str) and url not in known)
    return found + [Citation(url=url, raw=url) for url in urls]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
