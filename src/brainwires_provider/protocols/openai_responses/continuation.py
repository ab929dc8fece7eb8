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

from collections.abc import Hashable, Iterable, KeysView, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

__all__ = ["Head", "Heads", "Match", "Miss", "MissCode", "Outline", "head_of", "items_of", "outline"]

Item: TypeAlias = Mapping[str, Any]
P = TypeVar("P", bound=Hashable)
MissCode = Literal["first", "field", "item", "shorter", "nothing_new", "open_call", "handles", "whole"]

_ASIDE = frozenset(
    (
        "type",
        "input",
        "stream",
        "stream_options",
        "stream_id",
        "generate",
        "background",
        "background_options",
    )
)
_HANDLES = ("previous_response_id", "conversation")
_MARK = "prompt_cache_breakpoint"
_PLAIN_PIECE = {"type", "text"}
_SIZE = 16
_ROOT = bytes(_SIZE)
_NEAREST = 32  # heads that are looked at to explain a miss
_encode = msgspec.json.Encoder(order="deterministic").encode

# The calls that the caller answers, and where their id lies.
_CALLS = {
    "function_call": "call_id",
    "custom_tool_call": "call_id",
    "apply_patch_call": "call_id",
    "shell_call": "call_id",
    "local_shell_call": "call_id",
    "tool_search_call": "call_id",
    "computer_call": "call_id",
    "mcp_approval_request": "id",
}


class Outline(Struct, frozen=True, gc=False):
    """A request, or what a server holds, as digests of 16 bytes: enough to see whether one continues the other."""

    fields: Mapping[str, bytes]
    """Every field of the body but the input and those that say how it is sent."""
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
    place: ClassVar[None] = None


# -- digests -------------------------------------------------------------------------------------------------


def items_of(body: Mapping[str, Any]) -> Sequence[Any]:
    """The input's items; a text by itself is the user's message."""
    given = body.get("input")
    if isinstance(given, (list, tuple)):
        return given
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [] if given is None else [given]


def outline(body: Mapping[str, Any]) -> Outline:
    """The outline of an encoded Responses body. Never raises: what is no JSON has a digest too."""
    items = items_of(body)
    fields = {str(name): _digest(value) for name, value in body.items() if name not in _ASIDE}
    start = max(_last_compaction(items), 0)
    handle = next((name for name in _HANDLES if body.get(name) is not None), None)
    return Outline(fields, _digest(fields), _chain(_ROOT, items[start:]), start, handle)


def head_of(asked: Outline, answer: Sequence[Item], response_id: str, *, stored: bool) -> Head:
    """The head that a completed answer leaves. `answer`: its items as the next request will say them."""
    compaction = _last_compaction(answer)
    if compaction < 0:
        last = asked.hashes[-1] if asked.hashes else _ROOT
        hashes, start = asked.hashes + _chain(last, answer), asked.start
    else:
        hashes, start = _chain(_ROOT, answer[compaction:]), asked.count + compaction
    held = Outline(asked.fields, asked.fingerprint, hashes, start, asked.handle)
    return Head(response_id, held, stored, _open_calls(answer))


def _last_compaction(items: Sequence[Any]) -> int:
    """-1 without one."""
    for index in range(len(items) - 1, -1, -1):
        item = items[index]
        if isinstance(item, dict) and item.get("type") == "compaction":
            return index
    return -1


def _chain(last: bytes, items: Iterable[Any]) -> tuple[bytes, ...]:
    hashes = []
    for item in items:
        if type(item) is dict and (type(item.get("content")) is list or type(item.get("output")) is list):
            item = _unmarked(item)
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


def _unmarked(item: dict[str, Any]) -> dict[str, Any]:
    """The item without cache marks. Text that is a list only for its mark's sake is the text that it is without."""
    plain = {name: _plain(item[name]) for name in ("content", "output") if type(item.get(name)) is list}
    return {**item, **plain}


def _plain(pieces: list[Any]) -> Any:
    if any(type(piece) is dict and _MARK in piece for piece in pieces):
        pieces = [
            {k: v for k, v in piece.items() if k != _MARK} if type(piece) is dict else piece
            for piece in pieces
        ]
    if len(pieces) == 1:
        only = pieces[0]
        is_plain = type(only) is dict and only.keys() == _PLAIN_PIECE and only["type"] == "input_text"
        if is_plain and type(only["text"]) is str:
            return only["text"]
    return pieces


# -- calls ---------------------------------------------------------------------------------------------------


def _open_calls(answer: Sequence[Item]) -> tuple[str, ...]:
    """The calls that neither the service nor the answer itself has answered."""
    wanted = [str(item.get(_CALLS[item["type"]]) or item.get("id")) for item in answer if _is_ours(item)]
    return tuple(dict.fromkeys(_unanswered(wanted, answer)))


def _is_ours(item: Item) -> bool:
    """Whether an item is a call that waits for the caller."""
    kind = item.get("type")
    if kind == "shell_call":
        environment = item.get("environment")
        return not isinstance(environment, Mapping) or environment.get("type") == "local"
    return kind in _CALLS and (kind != "tool_search_call" or item.get("execution") == "client")


def _unanswered(calls: Iterable[str], items: Sequence[Any]) -> list[str]:
    told = set()
    for item in items:
        kind = item.get("type") if isinstance(item, Mapping) else None
        if kind == "mcp_approval_response":
            told.add(str(item.get("approval_request_id")))
        elif isinstance(kind, str) and kind.endswith("_output"):
            told.add(str(item.get("call_id") or item.get("id")))
    return [call for call in calls if call not in told]


# -- heads ---------------------------------------------------------------------------------------------------


class Heads(Generic[P]):
    """The heads that one endpoint holds, by content. `P` is where a head lives: a lane, or its own id."""

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
                missing = _unanswered(head.open_calls, items[tail:]) if head.open_calls else ()
                if not missing:
                    return Match(head, place, tail)
                waiting = waiting or Miss(
                    "open_call", f"the call {missing[0]} of the last answer has no output"
                )
        return waiting or self._explained(asked, items)

    # -- misses ----------------------------------------------------------------------------------------------

    def _explained(self, asked: Outline, items: Sequence[Any]) -> Miss:
        """Why no head is continued, by the one that shares the most."""
        best: Outline | None = None
        rank: tuple[int, bool] = (-1, False)
        for head in islice(reversed(self._near(asked).values()), _NEAREST):
            held = head.outline
            agrees = _shared(asked.hashes, held.hashes), held.fingerprint == asked.fingerprint
            if agrees > rank:
                best, rank = held, agrees
        if best is None:
            since = f" from its compaction (item {asked.start}) on" if asked.start else ""
            return Miss("first", f"no live chain begins like this{since}")
        return _difference(asked, best, rank[0], items)

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
    return Miss(
        "field",
        f"field {next(n for n in names if asked.fields.get(n) != held.fields.get(n))!r} differs",
    )


def _kind(item: Any) -> str:
    if not isinstance(item, Mapping):
        return type(item).__name__
    kind, role = item.get("type", "message"), item.get("role")
    return f"{kind}, {role}" if role is not None else str(kind)
