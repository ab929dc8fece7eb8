"""One item of a Chat Completions message and one of our parts: written for a request, built up from a response.

Services that speak this protocol differ most in how they stream. Tool calls: the same index for two calls, no index,
no id, a fresh id with each fragment, the whole arguments at once or as an object, the name again with each fragment. A
fragment belongs to the call with its id; else to the latest call at its index (or the latest of all), unless it
plainly begins another: it names another function, or names one while that call's arguments are already whole. In a
whole body every element is a call of its own.

Reasoning comes as `reasoning_content`, as `reasoning`, within `reasoning_details` (with signatures, summaries and
ciphertexts), or as `thinking` items of the content. Which fields they were is kept in the part's `extra["fields"]`, so
that the text is sent back under the same names.

What is not of the expected type is passed over; it stays in the raw item that each part keeps.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart, well_formed
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.replay import MessageEncoderBase, local_id, part_name
from brainwires_provider.protocols.openai_chat.options import ChatQuirks
from brainwires_provider.types import (
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)

__all__ = [
    "REASONING_TEXTS",
    "AudioBuilder",
    "CallBuilder",
    "ReasoningBuilder",
    "decode_image",
    "encode_image",
    "encode_part",
]

_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}

# -- tool calls ---------------------------------------------------------------------------------------------

_OUTER = frozenset(("index", "id", "type"))
_INNER = frozenset(("name", "arguments", "input"))


class _Fragment:
    """One element of `tool_calls`, read. Raises TypeError for a shape that is none."""

    __slots__ = ("arguments", "extra", "id", "index", "kind", "name")

    def __init__(self, wire: dict[str, Any]) -> None:
        self.index = wire.get("index")
        self.kind = wire.get("type") or ("custom" if "custom" in wire and "function" not in wire else None)
        place = "custom" if self.kind == "custom" else "function"
        inner = wire.get(place) or {}
        self.name = inner.get("name") or ""
        if type(self.name) is not str:
            raise TypeError(f"a tool call's name is {type(self.name).__name__}")
        id = wire.get("id")
        self.id = None if id is None or id == "" else str(id)
        self.arguments = _arguments_text(inner.get("input" if place == "custom" else "arguments"))
        # A signature, an extra_content: it goes back with the call.
        self.extra = {k: v for k, v in wire.items() if k not in _OUTER and k != place and v is not None}
        rest = {k: v for k, v in inner.items() if k not in _INNER and v is not None}
        if rest:
            self.extra[place] = rest


def _arguments_text(arguments: Any) -> str:
    if arguments is None:
        return ""
    if type(arguments) is str:
        return arguments
    return msgspec.json.encode(well_formed(arguments)).decode()


class _OpenCall:
    """A call that is still growing; it has no part until its name is known."""

    __slots__ = ("early", "extra", "id", "index", "kind", "name", "part")

    def __init__(self, fragment: _Fragment) -> None:
        self.id = fragment.id
        self.index = fragment.index
        self.name = fragment.name
        self.kind = "function" if fragment.kind in (None, "function") else str(fragment.kind)
        self.early: list[str] = []
        self.extra: dict[str, Any] = {}
        self.part: OpenPart | None = None

    def arguments(self) -> str:
        return self.part.joined() if self.part else "".join(self.early)

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object."""
        text = self.arguments().rstrip()
        if not text.endswith("}"):
            return False
        try:
            return isinstance(decode_json(text.encode("utf-8", "surrogatepass")), dict)
        except ValueError:
            return False

    def goes_on_with(self, fragment: _Fragment) -> bool:
        """Whether a fragment that may be this call's does not plainly begin another."""
        if not fragment.name or not self.name:
            return True
        if fragment.name != self.name:
            return False
        if not fragment.arguments and fragment.index is not None and fragment.index == self.index:
            return True  # the name again, to say nothing
        return not self.is_whole()


class CallBuilder:
    """All calls of one answer."""

    __slots__ = ("_by_id", "_calls", "_decoder", "_latest_at")

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._calls: list[_OpenCall] = []
        self._by_id: dict[str, _OpenCall] = {}
        self._latest_at: dict[Any, _OpenCall] = {}

    def feed(self, wire: dict[str, Any], *, whole: bool = False) -> None:
        """One element of `tool_calls`; `whole` when it is no fragment."""
        fragment = _Fragment(wire)
        call = None if whole else self._find(fragment)
        if call is None:
            call = _OpenCall(fragment)
            self._calls.append(call)
        self._latest_at[fragment.index] = call
        call.name = call.name or fragment.name
        call.id = call.id or fragment.id
        if call.id is not None:
            self._by_id[call.id] = call
        if fragment.extra:
            call.extra.update(fragment.extra)
        self._grow(call, fragment.arguments)

    def feed_legacy(self, call: dict[str, Any], *, whole: bool = False) -> None:
        """The `function_call` of before there were tools; one without a name is a placeholder."""
        if not (call.get("name") or self._latest_at.get("function_call")):
            self._decoder.keep("function_call", call)
            return
        self.feed({"index": "function_call", "function": call}, whole=whole)

    def _find(self, fragment: _Fragment) -> _OpenCall | None:
        """The call that a fragment continues, or None if it begins one."""
        known = self._by_id.get(fragment.id) if fragment.id is not None else None
        if known is not None:
            return known if known.goes_on_with(fragment) else None
        latest = self._latest_at.get(fragment.index)
        if latest is None and fragment.index is None and self._calls:
            latest = self._calls[-1]
        if latest is None:
            return None
        if fragment.id is not None and latest.id is not None:
            # Another id at the same index: a new call if it has a name, else an id made anew per fragment.
            return None if fragment.name else latest
        return latest if latest.goes_on_with(fragment) else None

    def _grow(self, call: _OpenCall, text: str) -> None:
        if call.part is None and not call.name:
            call.early.append(text)
        else:
            self._decoder.parts.add(call.part or self._open(call), text)

    def _open(self, call: _OpenCall) -> OpenPart:
        decoder = self._decoder
        made_up = None
        if call.id is None:
            made_up = local_id(decoder.id, decoder.parts.count, call.name)
        seed = ToolCallPart(call.id, call.name, "", call.kind, local_id=made_up, origin=decoder.origin)
        part = call.part = decoder.parts.open(seed)
        for text in call.early:
            decoder.parts.add(part, text)
        return part

    def close(self) -> None:
        """End every call; one that never got a name keeps what it had."""
        for call in self._calls:
            if call.part is None and not (call.id or call.extra or any(call.early)):
                continue
            part = call.part or self._open(call)
            fields: dict[str, Any] = {} if call.id is None else {"id": call.id, "local_id": None}
            self._decoder.parts.close(part, **fields, extra=call.extra or None)
        self._calls.clear()


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
        self._details: list[Any] = []

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
        shown = merge_details(self._details, details)
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
        part = self._open()
        rest = {k: v for k, v in piece.items() if k not in ("type", "thinking") and v is not None}
        if others:
            rest["thinking"] = [*(part.seed.extra or {}).get("thinking", ()), *others]
        if rest:
            part.seed = replace(part.seed, extra={**(part.seed.extra or {}), **rest})

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
        if self._details:
            details = extra["reasoning_details"] = self._details
            fields = {
                "summary": tuple(_told(details, "summary")),
                "signature": next(_told(details, "signature"), None),
                "encrypted": next(_told(details, "data"), None),
            }
        self._fields, self._details = set(), []
        self._decoder.parts.close(part, **fields, extra=extra)


def _is_text(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "text"


def _told(details: list[Any], name: str) -> Any:
    """The texts under this name, in order."""
    return (d[name] for d in details if isinstance(d, dict) and isinstance(d.get(name), str) and d[name])


def merge_details(known: list[Any], fragments: list[Any]) -> str:
    """Add streamed `reasoning_details` to those that came before: text grows, everything else is told once.

    Gives the text that they show: the thinking itself, else the summaries with a blank line between two.
    """
    thought, summed = "", ""
    for fragment in fragments:
        continues = bool(known) and _continues(known[-1], fragment)
        if isinstance(fragment, dict):
            thought += _text_at(fragment, "text")
            summary = _text_at(fragment, "summary")
            if summary and not continues and any(True for _ in _told(known, "summary")):
                summary = f"\n\n{summary}"
            summed += summary
        if continues:
            _grow(known[-1], fragment)
        else:
            known.append(dict(fragment) if isinstance(fragment, dict) else fragment)
    return thought or summed


def _text_at(fragment: dict[str, Any], name: str) -> str:
    value = fragment.get(name)
    return value if isinstance(value, str) else ""


def _grow(known: dict[str, Any], fragment: dict[str, Any]) -> None:
    for name, value in fragment.items():
        if name in _GROWING and isinstance(value, str) and isinstance(known.get(name), str):
            known[name] += value
        elif value is not None:
            known[name] = value


def _continues(last: Any, fragment: Any) -> bool:
    if not isinstance(last, dict) or not isinstance(fragment, dict):
        return False
    if last.get("type") != fragment.get("type") or last.get("index") != fragment.get("index"):
        return False
    if "data" in fragment or (last.get("signature") and _text_at(fragment, "text")):
        return False  # what is signed is whole
    known, new = last.get("id"), fragment.get("id")
    return known is None or new is None or known == new


# -- content items and media ---------------------------------------------------------------------------------


def decode_image(item: Any, origin: Origin) -> ImagePart | None:
    """An image that the model made: `{"type": "image_url", "image_url": {"url": …}}`."""
    inner = item.get("image_url") if isinstance(item, dict) else None
    url = inner.get("url") if isinstance(inner, dict) else inner
    if not isinstance(url, str) or item.get("type", "image_url") != "image_url":
        return None
    rest = {k: v for k, v in item.items() if k not in ("type", "image_url")}
    if isinstance(inner, dict):
        rest |= {k: v for k, v in inner.items() if k != "url"}
    head, comma, payload = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        data = _decoded(payload)
        if data is not None:
            media_type = head[5:-7] or None
            return ImagePart(data=data, media_type=media_type, extra=rest or None, origin=origin)
    return ImagePart(url=url, extra=rest or None, origin=origin)


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
    if quirks.documents == "file_url":
        if part.file_id is not None:
            raise encoder.unsupported("this service takes files as data or by URL, not by file_id")
        named = {} if part.name is None else {"file_name": part.name}
        return {"type": "file_url", "file_url": {"url": part.url or _base64(part)}, **named}
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
        return {"type": "input_audio", "input_audio": part.url or _base64(part)}
    if part.url is not None:
        raise encoder.unsupported("this service takes audio as data, not by URL; URLs are never fetched")
    media_type = part.media_type or ""
    form = _AUDIO_FORMATS.get(media_type, media_type.removeprefix("audio/"))
    return {"type": "input_audio", "input_audio": {"data": _base64(part), "format": form}}


def _data_url(part: ImagePart | FilePart, encoder: MessageEncoderBase) -> str:
    if part.media_type is None:
        raise encoder.unsupported(f"{part_name(part)} needs its media_type: the bytes do not show it")
    return f"data:{part.media_type};base64,{_base64(part)}"


def _base64(part: ImagePart | FilePart) -> str:
    return base64.b64encode(part.data or b"").decode()


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
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
            self._part = None
