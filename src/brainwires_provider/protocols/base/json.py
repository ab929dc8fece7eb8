"""Reading JSON as services send it, and describing bytes that are none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = ["decode_json", "fast_decode", "looks_like", "merged"]

fast_decode = msgspec.json.Decoder().decode
"""JSON, strictly; raises msgspec.DecodeError. For hot paths, which fall back to `decode_json`."""
_MAX_RAGGED_DEPTH = 200


def decode_json(data: bytes) -> Any:
    """JSON as services send it. Lone surrogates and NaN, which some emit, are let through; use `well_formed`.

    Raises ValueError saying what is wrong.
    """
    try:
        return fast_decode(data)
    except ValueError as error:  # msgspec.DecodeError, or UnicodeDecodeError for invalid UTF-8
        return _decode_ragged(data, error)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _decode_ragged(data: bytes, error: Exception) -> Any:
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        raise ValueError(str(error)) from None
    level = [value]
    for _ in range(_MAX_RAGGED_DEPTH):
        level = [v for each in level for v in _children(each)]
        if not level:
            return value
    raise ValueError("nested too deeply")  # mending recurses


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def merged(known: Any, value: Any) -> Any:
    """What two tellings of a field make: objects are merged, of all else the last told wins, but for null."""
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
