"""Decodes a generateContent response: the chunks of a stream, one body, or a body that is an array of chunks.

A chunk is a small response of the same form. The parts of its candidate are new ones, or continue the last one. The
response is over when the stream is: chunks with counts or metadata may follow the one with the finish reason. A
blocked prompt has no candidate, and a block reason instead.
Reference: the API reference of `GenerateContentResponse`, `UsageMetadata`, `GroundingMetadata`, `CitationMetadata`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import msgspec

from brainwires_provider.events import Event, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import (
    fast_decode,
    list_or_empty,
    looks_like,
    objects_in,
    text_or_none,
)
from brainwires_provider.protocols.gemini.errors import chunk_error
from brainwires_provider.protocols.gemini.models import decode_usage
from brainwires_provider.protocols.gemini.parts import Content
from brainwires_provider.types import Citation, FinishReason, Origin, Response, ToolCallPart, Usage

__all__ = ["FINISH_REASONS", "GeminiDecoder"]

FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "pause",
    "MALFORMED_FUNCTION_CALL": "malformed_tool_call",
    "UNEXPECTED_TOOL_CALL": "malformed_tool_call",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "LANGUAGE": "other",
    "IMAGE_OTHER": "other",
    "NO_IMAGE": "other",
    "TOO_MANY_TOOL_CALLS": "other",
    "MISSING_THOUGHT_SIGNATURE": "other",
    "MALFORMED_RESPONSE": "other",
    "PUP_LIMITED_DISABLED": "other",
    "OTHER": "other",
    "FINISH_REASON_UNSPECIFIED": "other",
}
"""Google's reasons; an unknown one is `other`."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_TOP = frozenset(("candidates", "usageMetadata", "modelVersion", "responseId"))
_OURS = _TOP | {"promptFeedback"}
_CANDIDATE = frozenset(("content", "finishReason", "index"))
_GATHERED = frozenset(("groundingMetadata", "urlContextMetadata", "citationMetadata", "logprobsResult"))
_OTHERS = {
    "event_type": "the Interactions API",
    "steps": "the Interactions API",
    "setupComplete": "the Live API",
    "serverContent": "the Live API",
}


class GeminiDecoder(DecoderBase):
    """One response. See `base.protocol.Decoder`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._raw_finish: str | None = None
        self._block: str | None = None
        self._counts: dict[str, Any] = {}
        self._last_counts: dict[str, Any] = {}
        self._content = Content(self)
        self._gathered: dict[str, _Gathered] = {}
        self._cited: dict[str, list[Any]] = {"groundingMetadata": [], "citationMetadata": []}

    # -- entry points ----------------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one chunk. An object that is no chunk is ignored."""
        if self.ended:
            return []
        chunk = self.object_in(message)
        if chunk is None:
            return []
        if message.event == "error":
            self._fail(chunk)
        self._read(chunk, message.data, streams=True)
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a body: one response, or the array of its chunks."""
        if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            return self._feed_array(body)
        value = self.read_json(body)
        self._read(value, body, streams=False)
        if not value.get("candidates") and self._block is None:
            self.broken(f"the body has no candidates: {looks_like(body)}")
        self._end()
        return self.parts.take()

    def _feed_array(self, body: bytes) -> list[Event]:
        """A stream from a service that was not asked for server-sent events, or ignores `alt=sse`."""
        try:
            chunks = fast_decode(body)
        except (ValueError, RecursionError):
            chunks = self._read_ragged(body)
        if not chunks or not all(type(chunk) is dict for chunk in chunks):
            self.not_an_object(chunks, body)
        for chunk in chunks:
            self._read(chunk, body, streams=True)
        return self.parts.take() + self.finish()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; without a finish or block reason the response is incomplete."""
        if self.ended:
            return []
        if self._raw_finish is None and self._block is None:
            raise self.cut("the stream ended before the answer did: no finishReason came")
        self._end()
        return self.parts.take()

    def usage(self) -> Usage:
        """The counts so far."""
        return decode_usage(self._counts, self._last_counts)

    def partial(self) -> Response:
        """What has arrived so far."""
        self._place_gathered()
        return super().partial()

    # -- one chunk -------------------------------------------------------------------------------------------

    def _read(self, chunk: dict[str, Any], data: bytes, *, streams: bool) -> None:
        if chunk.get("error"):
            self._fail(chunk)
        if _OURS.isdisjoint(chunk):
            foreign = next((name for key, name in _OTHERS.items() if key in chunk), None)
            if foreign is not None and not self.started:
                self.broken(f"this is an answer of {foreign}, and has no candidates: {looks_like(data)}")
            return
        try:
            self._top(chunk)
            candidates = chunk.get("candidates")
            if candidates:
                self._candidates(candidates, streams)
        except _MISSHAPEN as error:
            self.broken(f"not the shape of a generateContent answer ({error!r}): {looks_like(data)}")

    def _top(self, chunk: dict[str, Any]) -> None:
        """The response-level fields: the last value wins."""
        self.answered_by(chunk.get("modelVersion"))
        if chunk.get("responseId"):
            self.id = str(chunk["responseId"])
        self.start()
        if chunk.get("usageMetadata"):
            self._last_counts = dict(chunk["usageMetadata"])
            self._counts.update(self._last_counts)
        feedback = chunk.get("promptFeedback")
        if feedback and feedback.get("blockReason"):
            self._block = str(feedback["blockReason"])
        if not chunk.keys() <= _TOP:
            for name, value in chunk.items():
                if value is not None and name not in _TOP:
                    self.extra[name] = self.merging.merged(self.extra.get(name), value)

    def _candidates(self, candidates: list[dict[str, Any]], streams: bool) -> None:
        """The first candidate is the answer; the others are kept as they came."""
        for place, candidate in enumerate(candidates):
            if candidate.get("index", place) != 0:
                self.extra.setdefault("candidates", []).append(candidate)
                continue
            content = candidate.get("content")
            if content:
                continues = streams
                for part in content.get("parts") or ():
                    self._content.add(part, continues=continues)
                    continues = False
            if candidate.get("finishReason"):
                self._raw_finish = str(candidate["finishReason"])
            if not candidate.keys() <= _CANDIDATE:
                self._metadata(candidate)

    def _metadata(self, candidate: dict[str, Any]) -> None:
        """A candidate's fields beside its content."""
        for name, value in candidate.items():
            if value is None or name in _CANDIDATE:
                continue
            if name in self._cited:
                self._cited[name].append(value)
            if name not in _GATHERED:
                self.extra[name] = value
            elif name in self._gathered:
                self._gathered[name].add(value)
            else:
                self._gathered[name] = _Gathered(value, repeats=name == "logprobsResult")

    # -- the end ---------------------------------------------------------------------------------------------

    def _end(self) -> None:
        cited = self._cited
        try:
            self._content.end(
                lambda texts: _citations(
                    texts, cited["groundingMetadata"], cited["citationMetadata"], self.check_citations
                )
            )
        except _MISSHAPEN as error:
            self.broken(f"not the shape of a generateContent answer ({error!r})")
        self._place_gathered()
        self.ended = True
        del self._content  # it refers back to here
        reason, raw = self._finish_reason()
        self.parts.events.append(ResponseEnd(reason, raw, self.usage(), self.id, self.model, self.extra))

    def _place_gathered(self) -> None:
        for name, gathered in self._gathered.items():
            self.extra[name] = _copy(gathered.value)

    def _finish_reason(self) -> tuple[FinishReason, str | None]:
        if self._raw_finish is None and self._block is not None:
            return "content_filter", self._block
        reason = FINISH_REASONS.get(self._raw_finish or "STOP", "other")
        if reason == "stop" and ToolCallPart in self.parts.kinds:
            reason = "tool_calls"
        return reason, self._raw_finish

    def _fail(self, chunk: dict[str, Any]) -> NoReturn:
        partial = self.partial()
        self.ended = True
        raise chunk_error(chunk, partial, self.origin)


class _Gathered:
    """A field that is sent over several chunks: objects are merged, lists continued, else the last value wins.

    A list that begins with the whole known list replaces it. Otherwise only new items are added, or all of them where
    an item may occur again (`repeats`).
    """

    def __init__(self, value: Any, *, repeats: bool) -> None:
        self.value = _copy(value)
        self._repeats = repeats
        self._keys: dict[tuple[str, ...], set[_Key]] = {}

    def add(self, value: Any) -> None:
        """The field of one more chunk."""
        self.value = self._merge(self.value, value, ())

    def _merge(self, known: Any, value: Any, path: tuple[str, ...]) -> Any:
        if type(known) is dict and type(value) is dict:
            for name, inner in value.items():
                known[name] = (
                    self._merge(known[name], inner, (*path, name)) if name in known else _copy(inner)
                )
            return known
        if type(known) is not list or type(value) is not list:
            return _copy(value)
        if self._repeats:
            known += value
        elif value[: len(known)] == known:
            self._keys.pop(path, None)
            return list(value)
        else:
            self._add_new(known, value, path)
        return known

    def _add_new(self, known: list[Any], value: list[Any], path: tuple[str, ...]) -> None:
        keys = self._keys.get(path)
        if keys is None:
            keys = self._keys[path] = set(map(_key, known))
        for item in value:
            key = _key(item)
            if key not in keys:
                keys.add(key)
                known.append(item)


def _copy(value: Any) -> Any:
    """The same value in objects and lists of its own; the items of a list are shared."""
    if type(value) is dict:
        return {name: _copy(inner) for name, inner in value.items()}
    return list(value) if type(value) is list else value


def _key(value: Any) -> _Key:
    """A text that is equal for equal JSON values."""
    try:
        return _encode(value)
    except ValueError:  # a lone surrogate
        return json.dumps(value, sort_keys=True)


# -- citations -----------------------------------------------------------------------------------------------

_KINDS = ("web", "retrievedContext", "maps", "image")
_SOURCES = ("documentName", "placeId", "fileSearchStore", "domain")
_MAX_CHUNKS = (
    64  # of one support, which is repeated in the citation of each; further ones are cited without a place
)
_MAX_SEARCH = (
    50_000_000  # bytes compared to find the texts that are quoted; later quotes belong to the last text
)
_CHECK = 100  # what one comparison costs at least
_Key: TypeAlias = bytes | str
_Cited: TypeAlias = tuple[tuple[_Key, _Key], Mapping[str, Any], Mapping[str, Any] | None, Any]
"""A key that distinguishes a citation from the others, its source, the segment that it is of, and the support."""


def _citations(
    texts: Sequence[str], grounding: Iterable[Any], sources: Iterable[Any], check: Callable[[int], None]
) -> list[list[Citation]]:
    """The citations of each text. `grounding` and `sources` are the grounding and citation metadata of every chunk.

    `check` is called with the number of the citations so far.

    A grounding support names a stretch of the answer in bytes of UTF-8, and the grounding chunks that it is based on.
    The stretch is searched for by the text that the support quotes, since a streamed answer's texts are divided in
    another way than the service counted them. Offsets stay the service's own; `raw` has the items as they came.
    """
    cited: list[list[Citation]] = [[] for _ in texts]
    if not texts:
        return cited
    finder, seen = _Finder(texts), set()
    for key, item, segment, support in _all_cited(grounding, sources, check):
        if key not in seen:
            seen.add(key)
            check(len(seen))
            citation = _source(item) if segment is None else _chunk(item, segment, support)
            cited[finder.find(citation, segment or {})].append(citation)
    return cited


def _all_cited(
    grounding: Iterable[Any], sources: Iterable[Any], check: Callable[[int], None]
) -> Iterator[_Cited]:
    for metadata in grounding:
        if isinstance(metadata, dict):
            chunks = list_or_empty(metadata.get("groundingChunks"))
            supports = objects_in(metadata.get("groundingSupports"))
            check(len(chunks) + sum(len(_named(support)) for support in supports))
            yield from _grounded(chunks, supports)
    for metadata in sources:
        if isinstance(metadata, dict):
            for item in objects_in(metadata.get("citationSources") or metadata.get("citations")):
                yield ("source", _key(item)), item, None, None


def _grounded(chunks: list[Any], supports: list[dict[str, Any]]) -> Iterator[_Cited]:
    """One citation for each chunk of each support, then the chunks that no support names, without a place."""
    keys: dict[int, _Key] = {}  # of the chunks that a support names
    for support in supports:
        segment = support.get("segment")
        segment = segment if isinstance(segment, dict) else {}
        key = _key(support)
        for index in _named(support):
            if type(index) is int and 0 <= index < len(chunks) and isinstance(chunks[index], dict):
                if index not in keys:
                    keys[index] = _key(chunks[index])
                yield (key, keys[index]), chunks[index], segment, support
    for index, chunk in enumerate(chunks):
        if isinstance(chunk, dict) and index not in keys:
            yield ("", _key(chunk)), chunk, {}, None


def _named(support: Mapping[str, Any]) -> list[Any]:
    return list_or_empty(support.get("groundingChunkIndices"))[:_MAX_CHUNKS]


def _chunk(chunk: Mapping[str, Any], segment: Mapping[str, Any], support: Any) -> Citation:
    source: Mapping[str, Any] = next((chunk[k] for k in _KINDS if isinstance(chunk.get(k), dict)), {})
    quote = text_or_none(segment.get("text"))
    return Citation(
        url=text_or_none(source.get("uri")) or text_or_none(source.get("sourceUri")),
        title=text_or_none(source.get("title")),
        quote=quote,
        start=_integer(segment.get("startIndex"), 0) if quote else None,
        end=_integer(segment.get("endIndex")),
        source=next((s for s in map(text_or_none, map(source.get, _SOURCES)) if s), None),
        raw=chunk if support is None else {"groundingChunk": chunk, "groundingSupport": support},
    )


def _source(item: Mapping[str, Any]) -> Citation:
    return Citation(
        url=text_or_none(item.get("uri")),
        title=text_or_none(item.get("title")),
        start=_integer(item.get("startIndex")),
        end=_integer(item.get("endIndex")),
        source=text_or_none(item.get("license")),
        raw=item,
    )


class _Finder:
    """Finds the text that a citation is of."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text.encode() for text in texts]
        self._left = _MAX_SEARCH

    def find(self, citation: Citation, segment: Mapping[str, Any]) -> int:
        """The index of a text; the last one where it cannot be found."""
        quote = (citation.quote or "").encode("utf-8", "replace")
        last = len(self._texts) - 1
        if not quote:
            return last
        start = max(0, citation.start or 0)
        for index in self._places(segment):
            if self._texts[index][start : start + len(quote)] == quote:
                return index
            if not self._may_compare(len(quote)):
                return last
        for index in self._places(segment):
            if not self._may_compare(len(self._texts[index])):
                return last
            if quote in self._texts[index]:
                return index
        return last

    def _places(self, segment: Mapping[str, Any]) -> Iterator[int]:
        """The texts, the one that the segment names first."""
        count, named = len(self._texts), segment.get("partIndex", 0)
        if type(named) is int and 0 <= named < count:
            yield named
        yield from (index for index in range(count) if index != named)

    def _may_compare(self, size: int) -> bool:
        self._left -= size + _CHECK
        return self._left > 0


def _integer(value: Any, default: int | None = None) -> int | None:
    return value if type(value) is int else default
