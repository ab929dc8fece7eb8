"""What a Chat Completions model thought, out of the several fields in which services tell it.

The text comes as `reasoning_content`, as `reasoning`, within `reasoning_details` (with signatures, summaries
and ciphertexts), or as `thinking` pieces of the content. Which fields they were is kept in the part's
`extra["fields"]`, so that the text goes back under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.assembler import OpenPart
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.types import ReasoningPart

__all__ = ["REASONING_TEXTS", "ReasoningPieces"]

REASONING_TEXTS = ("reasoning_content", "reasoning")
_GROWING = ("text", "summary")


class ReasoningPieces:
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
            thought += _text(fragment, "text")
            summary = _text(fragment, "summary")
            if summary and not continues and any(True for _ in _told(known, "summary")):
                summary = f"\n\n{summary}"
            summed += summary
        if continues:
            _grow(known[-1], fragment)
        else:
            known.append(dict(fragment) if isinstance(fragment, dict) else fragment)
    return thought or summed


def _text(fragment: dict[str, Any], name: str) -> str:
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
    if "data" in fragment or (last.get("signature") and _text(fragment, "text")):
        return False  # what is signed is whole
    known, new = last.get("id"), fragment.get("id")
    return known is None or new is None or known == new
