"""Reading JSON as services send it, and describing bytes that are none."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = [
    "SHORT",
    "Merging",
    "check_depth",
    "decode_json",
    "decode_short",
    "fast_decode",
    "int_or_none",
    "items_in",
    "list_or_empty",
    "looks_like",
    "merged",
    "objects_in",
    "text_or_none",
]

_MAX_DEPTH = 200  # of objects and lists; what decoders and encoders do with values is recursive
SHORT = 2 * _MAX_DEPTH
"""Bytes: a text that has no more cannot be nested too deeply."""
decode_short = msgspec.json.Decoder().decode
"""JSON of at most `SHORT` bytes, strictly, as most events have. Raises ValueError."""
_FREE = 200_000  # objects and lists that any text may have
_DENSEST = 18  # bytes for each of more than that: log probabilities, the densest that services send, have 20
_LARGE = 1_000_000  # bytes: a smaller text cannot hold so many texts that they matter
_QUOTES = 3  # bytes for each quotation mark of a large one, at the least: short keys and values have 4


class _TooDense(ValueError):
    pass


def fast_decode(data: bytes | str) -> Any:
    """JSON, strictly, for hot paths, which fall back to `decode_json`. Raises ValueError or RecursionError."""
    if len(data) <= SHORT:
        return decode_short(data)
    if len(data) > _LARGE and _quotes(data) * _QUOTES > len(data):
        raise _TooDense("made of too many short texts for its size")
    is_text = isinstance(data, str)
    brackets: int = data.count("[" if is_text else b"[") + data.count("{" if is_text else b"{")  # type: ignore[arg-type]
    if brackets > _MAX_DEPTH:
        _check_density(brackets, len(data))
    value = decode_short(data)
    if brackets > _MAX_DEPTH:
        check_depth(value)
    return value


def decode_json(data: bytes) -> Any:
    """JSON as services send it. Raises ValueError with what is wrong.

    Lone surrogates, NaN and infinities, which some services send, are let through; use `well_formed`. Bytes that are
    no UTF-8 become U+FFFD.
    """
    try:
        return fast_decode(data)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except _TooDense:
        raise
    except ValueError as error:
        value = _decode_ragged(data, error)
    check_depth(value)
    return value


_TOO_DEEP = f"nested too deeply, in more than {_MAX_DEPTH} objects and lists"


def _decode_ragged(data: bytes, error: ValueError) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig", "replace"))
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError:
        raise ValueError(str(error)) from None


def _quotes(data: bytes | str) -> int:
    return data.count('"') if isinstance(data, str) else data.count(b'"')


def _check_density(brackets: int, size: int) -> None:
    """Raise ValueError for a text whose value would take many times its size, as one of empty lists and objects."""
    if brackets > max(_FREE, size // _DENSEST):
        raise _TooDense("made of too many small objects and lists for its size")


def check_depth(value: Any) -> None:
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


class Merging:
    """Merges the pieces of fields at the cost of what is new: what it has copied once is changed in place.

    `release` says that the values were returned to a caller; what is merged after it is copied again.
    """

    __slots__ = ("_own",)

    def __init__(self) -> None:
        self._own: dict[int, Any] = {}  # by identity: it keeps them alive

    def release(self) -> None:
        """The values belong to someone else, too."""
        self._own.clear()

    def merged(self, known: Any, value: Any) -> Any:
        """As the function `merged`."""
        if type(value) is not dict or type(known) is not dict:
            return value
        both = self._mine(known)
        for name, inner in value.items():
            if inner is not None or name not in both:
                both[name] = self.merged(both.get(name), inner)
        return both

    def completed(self, known: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        """The known fields win: a value counts where there is none."""
        both: dict[str, Any] = self._mine(known)
        for name, inner in value.items():
            there = both.get(name)
            if there is None:
                both[name] = inner
            elif type(there) is dict and type(inner) is dict:
                both[name] = self.completed(there, inner)
        return both

    def grown(self, known: Any, value: Any, name: str = "", *, repeats: bool = True) -> Any:
        """A field to which a delta adds: objects are merged, lists and texts continued, else the last value wins.

        `repeats`: null adds nothing, a value that begins with all that is known is a later copy of it, and ids and
        signatures are never in pieces.
        """
        if type(known) is not type(value) or type(known) not in (dict, list, str):
            return known if repeats and value is None else value
        if type(known) is dict:
            return self._grown_fields(known, value, repeats)
        if repeats and _is_again(known, value, name):
            return value
        if type(known) is str:
            return known + value
        both = self._mine(known)
        both += value
        return both

    def _grown_fields(self, known: dict[str, Any], value: dict[str, Any], repeats: bool) -> dict[str, Any]:
        both: dict[str, Any] = self._mine(known)
        for name, inner in value.items():
            there = both.get(name)
            if name not in both:
                both[name] = inner
            elif (
                type(there) is str and type(inner) is str and not (repeats and _is_again(there, inner, name))
            ):
                both[name] = None
                there += inner  # in place, where nobody else has it
                both[name] = there
            else:
                both[name] = self.grown(there, inner, name, repeats=repeats)
        return both

    def _mine(self, known: Any) -> Any:
        if id(known) in self._own:
            return known
        made = known.copy()
        self._own[id(made)] = made
        return made


def _is_again(known: Any, value: Any, name: str) -> bool:
    return value[: len(known)] == known or name.endswith(("id", "signature", "type"))


def looks_like(body: bytes) -> str:
    """What bytes that are not the expected JSON look like, in words for an error message."""
    head = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:400]
    if not head:
        return "an empty body"
    if head.lower().startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return f"an HTML page ({_excerpt(head)})"
    if head.startswith((b"data:", b"event:", b":")):
        return f"a server-sent event stream ({_excerpt(head)})"
    return _excerpt(head)


def _excerpt(head: bytes, limit: int = 120) -> str:
    text = " ".join(head.decode("utf-8", "replace").split())
    return repr(text[:limit] + ("…" if len(text) > limit else ""))


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, in their order; none where it is no list. What is no object is nothing."""
    return [item for item in list_or_empty(value) if isinstance(item, dict)]


def items_in(value: Any) -> list[Any]:
    """The items of a list, none where there is no value. Raises TypeError for anything else, such as a text."""
    if value and type(value) is not list:
        raise TypeError(f"{type(value).__name__} where a list is due")
    return value or []


def list_or_empty(value: Any) -> list[Any]:
    """The value if it is a list."""
    return value if isinstance(value, list) else []


def text_or_none(value: Any) -> str | None:
    """The value if it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def int_or_none(value: Any) -> int | None:
    """The value if it is a whole number, and no boolean."""
    return value if type(value) is int else None
