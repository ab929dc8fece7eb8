"""What of a request the server has already seen, recognised by content alone.

A completed answer leaves a head: the history that the server now holds, as our own encoding says it, with the answer's
id and a digest of every other field. A request continues a head if its fields are equal and its history begins with
the head's. So nobody can continue a thread whose whole content they do not have, and nothing has to be remembered
about who asked.

Each item is hashed, as canonical JSON, into a rolling chain: two histories that agree up to an item have the same hash
there. Heads lie under their fingerprint and last hash, so that finding one is a look-up per item, the longest first;
how far a history agrees with a head that it does not continue is a binary search over both chains.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, KeysView, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

__all__ = ["Head", "Heads", "Item", "Match", "Miss", "MissCode", "Outline", "head_of", "outline_of"]

Item: TypeAlias = Mapping[str, Any]
P = TypeVar("P", bound=Hashable)
MissCode = Literal[
    "first", "field", "item", "shorter", "nothing_new", "open_call", "handles", "unsupported", "whole"
]

_SIZE = 16
_ROOT = bytes(_SIZE)
_NEAREST = 32  # heads that are looked at to explain a miss
_encode = msgspec.json.Encoder(order="deterministic").encode


class Outline(Struct, frozen=True, gc=False):
    """A request, or what a server holds, as digests of 16 bytes: enough to see whether one continues the other."""

    fields: Mapping[str, bytes]
    """Every field of the body but the input, those that say how it is sent, and those that the model does not see."""
    fingerprint: bytes
    """All of `fields` in one."""
    hashes: tuple[bytes, ...]
    """`hashes[i]` stands for the items from `start` to `start + i`, both included."""
    start: int = 0
    """The place of the last compaction item, where the history begins; 0 without one."""
    handle: str | None = None
    """The field by which the request itself names something that the server keeps."""

    @property
    def count(self) -> int:
        """How many items there are, those before `start` included."""
        return self.start + len(self.hashes)

    def __repr__(self) -> str:
        return f"Outline({self.count} items from {self.start} on, fields: {', '.join(self.fields)})"


class Head(Struct, frozen=True, gc=False):
    """What a completed response stands for."""

    response_id: str
    outline: Outline
    """The request's items and the answer's."""
    stored: bool
    """The service keeps the response, so that any connection can continue it."""
    open_calls: tuple[str, ...] = ()
    """The ids of the answer's calls that the next request has to answer."""


class Match(Struct, Generic[P], frozen=True):
    """Send `items[tail:]` after `head.response_id`."""

    head: Head
    place: P
    tail: int


class Miss(Struct, frozen=True, gc=False):
    """Why a request goes whole. The reason counts items from 0, as they lie in `input`.

    The code is `"whole"` only where nobody looked: the request was to go whole.
    """

    code: MissCode
    reason: str
    field: str | None = None
    """The field that differs, where that is the reason."""
    place: ClassVar[None] = None

    @property
    def kind(self) -> str:
        """What it is counted as."""
        return self.code if self.field is None else f"{self.code}:{self.field}"


# -- digests -------------------------------------------------------------------------------------------------


def outline_of(
    body: Mapping[str, Any],
    items: Iterable[Any],
    *,
    aside: Collection[str],
    handles: Iterable[str],
    start: int = 0,
    plain: Callable[[Any], Any] | None = None,
) -> Outline:
    """The outline of an encoded body. Never raises: what is no JSON has a digest too.

    `items` are those from `start` on, `aside` the fields that are free to differ, and `handles` those that name
    something that the server keeps. `plain` makes items equal that differ only in marks.
    """
    fields = {str(name): _digest(value) for name, value in body.items() if name not in aside}
    handle = next((name for name in handles if body.get(name) is not None), None)
    return Outline(fields, _digest(fields), _chain(_ROOT, items, plain), start, handle)


def head_of(
    asked: Outline,
    answer: Sequence[Item],
    response_id: str,
    *,
    stored: bool,
    open_calls: tuple[str, ...],
    begins_at: int = -1,
    plain: Callable[[Any], Any] | None = None,
) -> Head:
    """The head that a completed answer leaves. `answer`: its items as the next request will say them.

    `begins_at` is the item of the answer where the history begins anew; -1: it goes on.
    """
    if begins_at < 0:
        last = asked.hashes[-1] if asked.hashes else _ROOT
        hashes, start = asked.hashes + _chain(last, answer, plain), asked.start
    else:
        hashes, start = _chain(_ROOT, answer[begins_at:], plain), asked.count + begins_at
    held = Outline(asked.fields, asked.fingerprint, hashes, start, asked.handle)
    return Head(response_id, held, stored, open_calls)


def _chain(last: bytes, items: Iterable[Any], plain: Callable[[Any], Any] | None) -> tuple[bytes, ...]:
    hashes = []
    for item in items:
        if plain is not None:
            item = plain(item)
        try:
            data = _encode(item)
        except _UNSAYABLE:
            data = _spelled(item)
        last = blake2b(last + data, digest_size=_SIZE).digest()
        hashes.append(last)
    return tuple(hashes)


def _digest(value: Any) -> bytes:
    try:
        data = _encode(value)
    except _UNSAYABLE:
        data = _spelled(value)
    return blake2b(data, digest_size=_SIZE).digest()


_UNSAYABLE = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


def _spelled(value: Any) -> bytes:
    """A stand-in for what JSON cannot say (half a surrogate pair, a key that is no text); no JSON begins with NUL."""
    try:
        return b"\0" + repr(value).encode("utf-8", "backslashreplace")
    except (ValueError, RecursionError):
        return b"\0"  # too deep, or a number of too many digits, which cannot be sent either


# -- heads ---------------------------------------------------------------------------------------------------


class Heads(ABC, Generic[P]):
    """The heads that one endpoint holds, by content. `P` is where a head lives: a lane, or its own id."""

    @abstractmethod
    def unanswered(self, calls: Iterable[str], items: Sequence[Any]) -> list[str]:
        """Which of the calls with these ids no item answers."""

    def __init__(self) -> None:
        self._heads: dict[P, Head] = {}
        self._by_end: dict[bytes, dict[bytes, dict[P, Head]]] = {}
        self._by_begin: dict[bytes, dict[P, Head]] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def places(self) -> KeysView[P]:
        """Where there are heads, the oldest first."""
        return self._heads.keys()

    def add(self, head: Head, place: P) -> None:
        """A place holds one head: this one replaces the last."""
        self.remove(place)
        begin, end = _ends(head.outline)
        self._heads[place] = head
        self._by_end.setdefault(head.outline.fingerprint, {}).setdefault(end, {})[place] = head
        self._by_begin.setdefault(begin, {})[place] = head

    def remove(self, place: P) -> Head | None:
        """The head that was there, if there was one."""
        head = self._heads.pop(place, None)
        if head is None:
            return None
        begin, end = _ends(head.outline)
        _drop(self._by_begin, begin, place)
        ends = self._by_end[head.outline.fingerprint]
        _drop(ends, end, place)
        if not ends:
            del self._by_end[head.outline.fingerprint]
        return head

    def find(self, asked: Outline, items: Sequence[Any]) -> Match[P] | Miss:
        """The head that a request continues, the longest and of those the newest; or why there is none.

        `items` are the ones that `asked` was made of. Changes nothing.
        """
        if asked.handle is not None:
            return Miss("handles", f"the request says by itself what it continues ({asked.handle})")
        ends = self._by_end.get(asked.fingerprint, {})
        waiting: Miss | None = None
        for count in range(len(asked.hashes) - 1, -1, -1) if ends else ():
            heads = ends.get(asked.hashes[count - 1] if count else _ROOT, {})
            # Before a head of no items, nothing was sent: neither what a compaction stands for.
            tail = asked.start + count if count else 0
            for place, head in reversed(heads.items()):
                missing = self.unanswered(head.open_calls, items[tail:]) if head.open_calls else ()
                if not missing:
                    return Match(head, place, tail)
                waiting = waiting or Miss(
                    "open_call", f"the call {missing[0]} of the last answer has no output"
                )
        return waiting or self._explained(asked, items)

    # -- misses ----------------------------------------------------------------------------------------------

    def _explained(self, asked: Outline, items: Sequence[Any]) -> Miss:
        """Why no head is continued: by one that is all in the history, else by the one that shares the most."""
        best: Outline | None = None
        rank: tuple[bool, int, bool] = (False, -1, False)
        for head in islice(reversed(self._near(asked).values()), _NEAREST):
            held = head.outline
            shared = _shared(asked.hashes, held.hashes)
            agrees = shared == len(held.hashes), shared, held.fingerprint == asked.fingerprint
            if agrees > rank:
                best, rank = held, agrees
        if best is None:
            since = f" from its compaction (item {asked.start}) on" if asked.start else ""
            return Miss("first", f"no live chain begins like this{since}")
        return _difference(asked, best, rank[1], items)

    def _near(self, asked: Outline) -> dict[P, Head]:
        """The heads that share the first item, else those of no items; all of them share a history of none."""
        if not asked.hashes:
            return self._heads
        return self._by_begin.get(asked.hashes[0]) or self._by_begin.get(_ROOT, {})


def _ends(held: Outline) -> tuple[bytes, bytes]:
    return (held.hashes[0], held.hashes[-1]) if held.hashes else (_ROOT, _ROOT)


def _drop(index: dict[bytes, dict[P, Head]], key: bytes, place: P) -> None:
    del index[key][place]
    if not index[key]:
        del index[key]


def _shared(a: Sequence[bytes], b: Sequence[bytes]) -> int:
    """How many items two chains have in common."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[middle - 1] == b[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low


def _difference(asked: Outline, held: Outline, shared: int, items: Sequence[Any]) -> Miss:
    if shared == len(asked.hashes):
        if shared == len(held.hashes):
            return Miss("nothing_new", "the history ends with the last answer: there is nothing new to send")
        return Miss("shorter", "the history is shorter than what was sent before")
    if shared < len(held.hashes):
        place = asked.start + shared
        return Miss("item", f"item {place} ({_kind(items[place])}) differs")
    names = [*asked.fields, *held.fields]
    name = next(n for n in names if asked.fields.get(n) != held.fields.get(n))
    return Miss("field", f"field {name!r} differs", name)


def _kind(item: Any) -> str:
    if not isinstance(item, Mapping):
        return type(item).__name__
    kind, role = item.get("type", "message"), item.get("role")
    return f"{kind}, {role}" if role is not None else str(kind)
