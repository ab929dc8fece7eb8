"""The smaller pieces of a Chat Completions answer: citations, media, counts.

What is not of the expected type is passed over here; it stays in the raw item that each of them keeps.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.assembler import OpenPart
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.types import Citation, FilePart, ImagePart, Origin, Usage
from brainwires_provider.types.usage import split_usage

__all__ = [
    "AudioPieces",
    "citations_of",
    "image_part",
    "search_citations",
    "usage_of",
]


def citations_of(annotations: list[Any]) -> list[Citation]:
    """Citations from a message's `annotations`."""
    found = []
    for item in annotations:
        outer = item if isinstance(item, dict) else {}
        inner = outer.get(str(outer.get("type")))
        if not isinstance(inner, dict):
            inner = outer
        found.append(
            Citation(
                url=_text(inner.get("url")),
                title=_text(inner.get("title")) or _text(inner.get("name")),
                quote=_text(inner.get("content")),
                start=_whole(inner.get("start_index")),
                end=_whole(inner.get("end_index")),
                source=_text(inner.get("file_id")) or _text(inner.get("hash")),
                raw=item,
            )
        )
    return found


def search_citations(extra: Mapping[str, Any]) -> list[Citation]:
    """Citations that a search service lists beside the choices; the lists themselves stay in `extra`."""
    found = []
    for item in _list(extra.get("search_results")):
        url = _text(item.get("url")) if isinstance(item, dict) else None
        if url:
            title, quote = _text(item.get("title")), _text(item.get("snippet"))
            found.append(Citation(url=url, title=title, quote=quote, raw=item))
    known = {c.url for c in found}
    urls = (url for url in _list(extra.get("citations")) if isinstance(url, str) and url not in known)
    return found + [Citation(url=url, raw=url) for url in urls]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def image_part(item: Any, origin: Origin) -> ImagePart | None:
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


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


class AudioPieces:
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


class _Details(Struct):
    """Parts of a total."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Counts(Struct):
    """What is read of a `usage` object."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    num_cached_tokens: int | None = None
    cached_tokens: int | None = None


_NO_DETAILS = _Details()


def usage_of(counts: Mapping[str, Any]) -> Usage:
    """The buckets of a `usage` object. The details are parts of the totals, whatever a service calls them."""
    if not counts:
        return Usage()
    try:
        told = msgspec.convert(counts, _Counts)
    except msgspec.ValidationError:
        told = msgspec.convert(_mended(counts), _Counts)
    prompt = told.prompt_tokens_details or _NO_DETAILS
    completion = told.completion_tokens_details or _NO_DETAILS
    return split_usage(
        input_total=told.prompt_tokens or 0,
        output_total=told.completion_tokens or 0,
        total=told.total_tokens,
        cache_read=(
            prompt.cached_tokens
            or told.prompt_cache_hit_tokens
            or told.num_cached_tokens
            or told.cached_tokens
            or 0
        ),
        cache_write=prompt.cache_write_tokens or 0,
        audio_input=prompt.audio_tokens or 0,
        reasoning=completion.reasoning_tokens or 0,
        raw=dict(counts),
    )


def _mended(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Whole numbers where counts are due; what is no number, or no object of details, counts nothing."""
    mended: dict[str, Any] = {}
    for name, value in counts.items():
        if name.endswith("_details"):
            mended[name] = _mended(value) if isinstance(value, dict) else None
        else:
            mended[name] = None if value is None else _count(value)
    return mended


def _count(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0
