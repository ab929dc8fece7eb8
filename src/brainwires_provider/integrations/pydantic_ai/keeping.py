"""What pydantic-ai's parts have no field for, and how it survives: in `provider_details`, beside the content.

A part's text, arguments or bytes are the framework's alone. All else that the part was (its origin, ids, signatures,
citations, fields of one provider) is kept under one key, with a digest of the content that it belongs to. On the way
back the content decides: where it was edited, the kept rest is not used, since it would speak for another content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from brainwires_provider.types import Part

__all__ = ["KEY", "digest", "keep", "kept", "note_of", "restored"]

KEY = "brainwires"
"""The key in `provider_details`."""

P = TypeVar("P")


def digest(*content: str | bytes | None) -> str:
    """A short digest of a part's content."""
    made = hashlib.blake2b(digest_size=9)
    for piece in content:
        data = piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece or b""
        made.update(len(data).to_bytes(8, "big") + data)
    return made.hexdigest()


def keep(part: Part, content: str, *elsewhere: str) -> dict[str, Any]:
    """The details that hold a part but for the fields that are `elsewhere`; `content` is their digest."""
    whole = msgspec.json.decode(msgspec.json.encode(part))
    for name in elsewhere:
        whole.pop(name, None)
    return {KEY: {"of": content, "part": whole}}


def note_of(details: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What is kept in a message's or part's details; empty if nothing is."""
    note = (details or {}).get(KEY)
    return note if isinstance(note, dict) else {}


def kept(details: Mapping[str, Any] | None, content: str) -> Mapping[str, Any] | None:
    """The fields of the part that had this very content; None if there are none, or it was edited."""
    note = note_of(details)
    part = note.get("part")
    return part if note.get("of") == content and isinstance(part, dict) else None


def restored(fields: Mapping[str, Any], kind: type[P], **content: Any) -> P | None:
    """The part that was kept, with its content; None if what is kept makes no such part."""
    try:
        return msgspec.convert({**fields, **content}, kind)
    except (msgspec.ValidationError, TypeError, ValueError):
        return None
