"""What the content blocks of an answer are as parts, and what its counts are as buckets.

Four kinds of block have a part of their own: text, thinking (whole or redacted), and the calls that the caller must
answer. All the others (server tools' calls and results, uploads, compactions, kinds not heard of) are opaque: kept as
they came, so that they can go back. A part keeps beside its meaning every other field of its block in `extra`. A
block whose form is not the known one is opaque too; nothing here raises for that.
Reference: the Messages API reference, "Create a Message", under `content` and `usage`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from brainwires_provider.protocols.base.assembler import well_formed
from brainwires_provider.types import (
    Citation,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from brainwires_provider.types.usage import split_usage

__all__ = ["citation", "compact", "part_of_block", "usage_of"]

_IN_TOTALS = ("message", "fallback_message")


def part_of_block(block: Any, origin: Origin) -> Part:
    """The part that a whole block is."""
    match block:
        case {"type": "text", "text": str(text)} if isinstance(block.get("citations") or [], list):
            cited = tuple(citation(item) for item in block.get("citations") or ())
            return TextPart(text, cited, extra=_rest(block, "text", "citations"), origin=origin)
        case {"type": "thinking", "thinking": str(text)} if isinstance(block.get("signature") or "", str):
            extra = _rest(block, "thinking", "signature")
            return ReasoningPart(text, signature=block.get("signature"), extra=extra, origin=origin)
        case {"type": "redacted_thinking", "data": str(data)}:
            return ReasoningPart(encrypted=data, redacted=True, extra=_rest(block, "data"), origin=origin)
        case {"type": "tool_use", "name": str(name)} if isinstance(block.get("id") or "", str):
            return ToolCallPart(
                block.get("id") or None,
                name,
                compact(block["input"]) if "input" in block else "",
                extra=_rest(block, "id", "name", "input"),
                origin=origin,
            )
    return _opaque(block, origin)


def _rest(block: Mapping[str, Any], *known: str) -> dict[str, Any] | None:
    return {k: v for k, v in block.items() if k != "type" and k not in known} or None


def compact(value: Any) -> str:
    """JSON without spaces."""
    return msgspec.json.encode(well_formed(value)).decode()


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


def citation(raw: Any) -> Citation:
    """A source, of whatever kind of location. The places that it names are the document's, so only `raw` has them."""
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


# -- counts --------------------------------------------------------------------------------------------------


def usage_of(counts: Any, complete: bool = True) -> Usage:
    """The buckets of a `usage` object. Its input counts stand beside each other; thinking is a part of the output.

    `passes` are the iterations that the totals leave out: compactions, advisors, and the tries of models that
    declined before a fallback.
    """
    if not isinstance(counts, dict) or not counts:
        return Usage()
    tiers, details = counts.get("cache_creation"), counts.get("output_tokens_details")
    written = counts.get("cache_creation_input_tokens")
    if written is None and isinstance(tiers, dict):
        written = sum(_count(tokens) for tokens in tiers.values())
    plain, read, written = (
        _count(n) for n in (counts.get("input_tokens"), counts.get("cache_read_input_tokens"), written)
    )
    usage = split_usage(
        input_total=plain + read + written,
        output_total=_count(counts.get("output_tokens")),
        cache_read=read,
        cache_write=written,
        reasoning=_count(details.get("thinking_tokens")) if isinstance(details, dict) else 0,
        raw=counts,
    )
    return msgspec.structs.replace(usage, passes=_passes(counts.get("iterations")), complete=complete)


def _passes(iterations: Any) -> tuple[Mapping[str, Any], ...]:
    told = [i for i in iterations if isinstance(i, dict)] if isinstance(iterations, list) else []
    served = [i.get("model") for i in told if i.get("type") == "fallback_message"]
    return tuple(i for i in told if i.get("type") not in _IN_TOTALS or _declined(i, served))


def _declined(iteration: Mapping[str, Any], served: Iterable[Any]) -> bool:
    return bool(served) and iteration.get("model") not in (None, *served)


def _count(value: Any) -> int:
    return value if type(value) is int else 0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
