"""A copy of streamed content is reconciled, never appended.

Services send an item again when it ends, and once more when the response ends, often with other indexes, with other
ids or none, or in another order. Before a decoder opens a part for such an item, it asks `match_copies` whether the
item is a copy of what was streamed. A copy completes that: a longer text continues it by one more delta, an equal one
adds nothing (`Assembler.complete`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

from msgspec import Struct

from brainwires_provider.protocols.base.decoder import Assembler, OpenPart, final_text
from brainwires_provider.types import Part

__all__ = ["NEAREST", "Seen", "complete_parts", "match_copies"]

NEAREST = 64
"""So many streamed items one copy is compared with, so that the cost of long lists is linear."""


class Seen(Struct, frozen=True, gc=False):
    """What is known of one item, as it was streamed or as its copy has it, for comparison."""

    kind: str
    """Items of different kinds never match, but for one that is `empty`."""
    texts: tuple[str, ...]
    """What its content can be: its text, its arguments with the call's name, or another canonical form."""
    ids: tuple[str, ...] = ()
    """Every id that it has had."""
    place: object = None
    """Its index: a hint, which decides only where nothing else does."""
    empty: bool = False
    """Only its beginning was streamed, so that its kind may still change."""


def match_copies(copies: Sequence[Seen], streamed: Sequence[Seen], *, whole: bool) -> list[int | None]:
    """For each copy the index in `streamed` of the item that it repeats, or None for an item of its own.

    Each streamed item is taken once, in this order: (1) one that has an id of the copy; (2) one with an equal text;
    (3) one whose text the copy continues or cuts short, the longest first;
    (4) one at the same place; and, where `whole` declares that the copies are the whole list, and as many of a kind
    are left on both sides, (5) in order. By (4) and (5) the texts differ, and what was streamed stands.
    """
    matching = _Matching(copies, streamed)
    matching.by_id()
    for rule in (matching.equal, matching.continued, matching.placed):
        if not matching.left:
            break
        rule()
    if whole and matching.left:
        matching.in_order()
    return matching.found


class _Matching:
    def __init__(self, copies: Sequence[Seen], streamed: Sequence[Seen]) -> None:
        self.left = dict(enumerate(streamed))
        self.found: list[int | None] = [None] * len(copies)
        self._copies = copies

    def _open(self) -> Iterable[tuple[int, Seen]]:
        return [(n, self._copies[n]) for n, index in enumerate(self.found) if index is None]

    def _take(self, number: int, index: int) -> None:
        self.found[number] = index
        del self.left[index]

    def _first(self, number: int, kind: str, indexes: Iterable[int]) -> None:
        for index in indexes:
            seen = self.left.get(index)
            if seen is not None and (seen.kind == kind or seen.empty):
                self._take(number, index)
                return

    def by_id(self) -> None:
        known = {id: index for index, seen in self.left.items() for id in seen.ids}
        for number, copy in self._open() if known else ():
            self._first(number, copy.kind, [known[id] for id in copy.ids if id in known])

    def equal(self) -> None:
        known: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for index, seen in reversed(self.left.items()):
            for text in seen.texts:
                known[seen.kind, text].append(index)
        for number, copy in self._open():
            for text in copy.texts:
                indexes = known.get((copy.kind, text), [])
                while indexes and self.found[number] is None:
                    self._first(number, copy.kind, [indexes.pop()])

    def continued(self) -> None:
        kinds = self._by_kind()
        for number, copy in self._open():
            same = kinds.get(copy.kind, {})
            near = ((_overlap(copy, self.left[index]), index) for index in islice(same, NEAREST))
            length, index = max(near, key=lambda each: each[0], default=(-1, 0))
            if length >= 0:
                self._take(number, index)
                del same[index]

    def placed(self) -> None:
        known = {seen.place: index for index, seen in self.left.items() if seen.place is not None}
        for number, copy in self._open():
            if copy.place in known:
                self._first(number, copy.kind, [known[copy.place]])

    def in_order(self) -> None:
        kinds = self._by_kind()
        copies: defaultdict[str, list[int]] = defaultdict(list)
        for number, copy in self._open():
            copies[copy.kind].append(number)
        for kind, numbers in copies.items():
            indexes = kinds.get(kind, {})
            if len(numbers) == len(indexes):
                for number, index in zip(numbers, indexes, strict=True):
                    self._take(number, index)

    def _by_kind(self) -> dict[str, dict[int, Seen]]:
        kinds: defaultdict[str, dict[int, Seen]] = defaultdict(dict)
        for index, seen in self.left.items():
            kinds[seen.kind][index] = seen
        return kinds


def _overlap(copy: Seen, streamed: Seen) -> int:
    """How many characters two texts share where one begins with the other; -1 if none does."""
    shared = -1
    for mine in copy.texts:
        for theirs in streamed.texts:
            if mine.startswith(theirs) or theirs.startswith(mine):
                shared = max(shared, min(len(mine), len(theirs)))
    return shared


def complete_parts(parts: Assembler, growing: Sequence[OpenPart], finals: Sequence[Part]) -> None:
    """End the parts that were streamed of one item by the item's final parts; those of their own are added."""
    copies = [_seen_part(part, index) for index, part in enumerate(finals)]
    streamed = [_seen_part(piece.part(), index) for index, piece in enumerate(growing)]
    matches = match_copies(copies, streamed, whole=True)
    for index, piece in enumerate(growing):
        if index not in matches:
            parts.close(piece)
    for final, match in zip(finals, matches, strict=True):
        if match is None:
            parts.whole(final)
        else:
            parts.complete(growing[match], final)


def _seen_part(part: Part, place: int) -> Seen:
    text = final_text(part)
    return Seen(type(part).__name__, (text,), place=place, empty=not text)
