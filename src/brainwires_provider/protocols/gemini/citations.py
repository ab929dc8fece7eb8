"""Where grounding and citation metadata belong: which text cites what.

A support names a stretch of the answer in bytes of UTF-8, and the chunks that stand behind it. The stretch is looked
for in the text that the support quotes: the answer's texts are cut otherwise here than the service counted them when
they came as a stream. Offsets stay the service's own; `raw` has the items as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from brainwires_provider.types import Citation

__all__ = ["gathered", "place_citations"]

Placed: TypeAlias = list[tuple[int, Citation]]
_KINDS = ("web", "retrievedContext", "maps", "image")


def place_citations(
    texts: Sequence[str], grounding: Iterable[Any], sources: Iterable[Any]
) -> list[list[Citation]]:
    """The citations of each text. `grounding` and `sources` are every grounding and citation metadata that came."""
    finder = _Finder(texts)
    placed: Placed = []
    for metadata in grounding:
        if isinstance(metadata, dict):
            placed += _grounded(metadata, finder)
    for metadata in sources:
        if isinstance(metadata, dict):
            told = metadata.get("citationSources") or metadata.get("citations")
            placed += [finder.place(_source(item), None) for item in _dicts(told)]
    cited: list[list[Citation]] = [[] for _ in texts]
    for index, citation in placed if texts else ():
        if citation not in cited[index]:
            cited[index].append(citation)
    return cited


def _grounded(metadata: Mapping[str, Any], finder: _Finder) -> Placed:
    """One citation for each chunk of each support; chunks that no support names come last, without a place."""
    chunks = metadata.get("groundingChunks")
    chunks = chunks if isinstance(chunks, list) else []
    found: Placed = []
    used: set[int] = set()
    for support in _dicts(metadata.get("groundingSupports")):
        segment = support.get("segment")
        segment = segment if isinstance(segment, dict) else {}
        for index in _list(support.get("groundingChunkIndices")):
            if type(index) is int and 0 <= index < len(chunks):
                used.add(index)
                found.append(finder.place(_chunk(chunks[index], segment, support), segment))
    loose = [c for i, c in enumerate(chunks) if i not in used]
    return found + [finder.place(_chunk(chunk, {}, None), None) for chunk in loose]


def _chunk(chunk: Any, segment: Mapping[str, Any], support: Any) -> Citation:
    told: dict[str, Any] = (
        next((chunk[k] for k in _KINDS if isinstance(chunk.get(k), dict)), {}) if _is(chunk) else {}
    )
    quote = _text(segment.get("text"))
    return Citation(
        url=_text(told.get("uri")) or _text(told.get("sourceUri")),
        title=_text(told.get("title")),
        quote=quote,
        start=_whole(segment.get("startIndex"), 0) if quote else None,
        end=_whole(segment.get("endIndex")),
        source=next((s for s in map(_text, map(told.get, _SOURCES)) if s), None),
        raw=chunk if support is None else {"groundingChunk": chunk, "groundingSupport": support},
    )


_SOURCES = ("documentName", "placeId", "fileSearchStore", "domain")


def _source(item: Mapping[str, Any]) -> Citation:
    return Citation(
        url=_text(item.get("uri")),
        title=_text(item.get("title")),
        start=_whole(item.get("startIndex")),
        end=_whole(item.get("endIndex")),
        source=_text(item.get("license")),
        raw=item,
    )


class _Finder:
    """Finds the text that a segment is of."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text.encode("utf-8", "replace") for text in texts]

    def place(self, citation: Citation, segment: Mapping[str, Any] | None) -> tuple[int, Citation]:
        """The index of a text; the last one where it cannot be told."""
        quote = (citation.quote or "").encode("utf-8", "replace")
        if segment is None or not quote:
            return len(self._texts) - 1, citation
        told = _whole(segment.get("partIndex"), 0)
        start = citation.start or 0
        order = sorted(range(len(self._texts)), key=lambda i: i != told)
        for index in order:
            if self._texts[index][start : start + len(quote)] == quote:
                return index, citation
        holders = [index for index in order if quote in self._texts[index]]
        return (holders[0] if holders else len(self._texts) - 1), citation


def gathered(known: Any, value: Any) -> Any:
    """Metadata told over several chunks: objects are merged, lists go on, of all else the last told wins."""
    if type(known) is dict and type(value) is dict:
        both = dict(known)
        for name, inner in value.items():
            both[name] = gathered(known[name], inner) if name in known else inner
        return both
    if type(known) is list and type(value) is list:
        if value[: len(known)] == known:
            return value
        return known + [item for item in value if item not in known]
    return value


def _is(value: Any) -> bool:
    return isinstance(value, dict)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any, default: int | None = None) -> int | None:
    return value if type(value) is int else default
