"""Reading JSON as services send it, and describing bytes that are none."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = [
    "decode_json",
    "fast_decode",
    "int_or_none",
    "looks_like",
    "merged",
    "text_or_none",
]

_decode = msgspec.json.Decoder().decode
_MAX_DEPTH = 200  # of objects and lists; what decoders and encoders do with values is recursive
_SHALLOW = 2 * _MAX_DEPTH  # bytes: a shorter text cannot be nested more deeply


def fast_decode(data: bytes | str) -> Any:
    """JSON, strictly, for hot paths, which fall back to `decode_json`. Raises ValueError or RecursionError."""
    value = _decode(data)
    if len(data) > _SHALLOW and _brackets(data) > _MAX_DEPTH:
        _check_depth(value)
    return value


def decode_json(data: bytes) -> Any:
    """JSON as services send it. Raises ValueError with what is wrong.

    Lone surrogates and NaN, which some services send, are let through; use `well_formed`. Bytes that are no UTF-8
    become U+FFFD.
    """
    try:
        return fast_decode(data)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        value = _decode_ragged(data, error)
    _check_depth(value)
    return value


_TOO_DEEP = f"nested too deeply, in more than {_MAX_DEPTH} objects and lists"


def _decode_ragged(data: bytes, error: ValueError) -> Any:
    try:
        return json.loads(data if _is_utf8(data) else data.decode("utf-8-sig", "replace"))
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError:
        raise ValueError(str(error)) from None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _brackets(data: bytes | str) -> int:
    """How many objects and lists a text can hold at the most."""
    if isinstance(data, str):
        return data.count("[") + data.count("{")
    return data.count(b"[") + data.count(b"{")


def _check_depth(value: Any) -> None:
    """Raise ValueError for a value that is nested too deeply."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _containers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [inner for inner in value.values() if isinstance(inner, (dict, list))]
    return [inner for inner in value if isinstance(inner, (dict, list))] if isinstance(value, list) else []


def merged(known: Any, value: Any) -> Any:
    """Two values of one field as one: objects are merged, of all else the last value wins, but for null."""
    if type(value) is not dict or type(known) is not dict:
        return value
    both = dict(known)
    for name, inner in value.items():
        if inner is not None or name not in both:
            both[name] = merged(both.get(name), inner)
    return both


def looks_like(body: bytes) -> str:
    """What bytes that are not the expected JSON look like, in words for an error message."""
    head = body[:400].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        return "an empty body"
    lowered = head[:100].lower()
    if lowered.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return f"an HTML page ({_excerpt(head)})"
    if head.startswith((b"data:", b"event:", b":")):
        return f"a server-sent event stream ({_excerpt(head)})"
    return _excerpt(head)


def _excerpt(head: bytes, limit: int = 120) -> str:
    text = " ".join(head.decode("utf-8", "replace").split())
    return repr(text[:limit] + ("…" if len(text) > limit else ""))


def text_or_none(value: Any) -> str | None:
    """The value if it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def int_or_none(value: Any) -> int | None:
    """The value if it is a whole number, and no boolean."""
    return value if type(value) is int else None
