"""Which streamed item a copy repeats: the rules of `match_copies`, one after another."""

from __future__ import annotations

from typing import Any

import pytest

from brainwires_provider.events import PartEnd
from brainwires_provider.protocols.base.copies import Seen, complete_parts, match_copies
from brainwires_provider.protocols.base.decoder import Assembler
from brainwires_provider.types import Citation, Part, ReasoningPart, TextPart


def seen(*texts: str, kind: str = "text", ids: str = "", **fields: Any) -> Seen:
    return Seen(kind, texts, tuple(ids), **fields)


# The copies, what was streamed, whether the copies are the whole list, and what each copy repeats.
CASES: dict[str, tuple[tuple[Seen, ...], tuple[Seen, ...], bool, list[int | None]]] = {
    "an id before an equal text": (
        (seen("a", ids="2"),),
        (seen("a", ids="1"), seen("b", ids="2")),
        False,
        [1],
    ),
    "an id of several on both sides": ((seen("x", ids="92"),), (seen("a"), seen("b", ids="12")), False, [1]),
    "an id twice": ((seen("a", ids="1"), seen("x", ids="1")), (seen("a", ids="1"),), False, [0, None]),
    "an id of another kind": ((seen("x", kind="call", ids="1"),), (seen("a", ids="1"),), False, [None]),
    "an id of another kind, of which only the beginning came": (
        (seen("x", kind="call", ids="1"),),
        (seen("", ids="1", empty=True),),
        False,
        [0],
    ),
    "another id, and an equal text": (
        (seen("a", ids="2"),),
        (seen("b", ids="1"), seen("a", ids="1")),
        False,
        [1],
    ),
    "an equal text before a longer one": (
        (seen("Hello"), seen("Hello you!")),
        (seen("Hello you"), seen("Hello")),
        False,
        [1, 0],
    ),
    "equal texts, in order": ((seen("a"), seen("a"), seen("a")), (seen("a"), seen("a")), True, [0, 1, None]),
    "an equal text that the id of another has taken": (
        (seen("a"), seen("a", ids="1")),
        (seen("a", ids="1"), seen("a")),
        False,
        [1, 0],
    ),
    "one of several texts": ((seen("x", "{}"),), (seen("a"), seen("{}", "y")), False, [1]),
    "several texts, each of another item": (
        (seen("a", "b"), seen("b")),
        (seen("a"), seen("b")),
        False,
        [0, 1],
    ),
    "two texts of one item": ((seen("a"), seen("b")), (seen("a", "b"),), False, [0, None]),
    "an equal text of another kind": ((seen("a", kind="call"),), (seen("a"),), True, [None]),
    "the longest text that goes on": (
        (seen("Hello you"),),
        (seen("Hel"), seen("Hello"), seen("")),
        False,
        [1],
    ),
    "of two that go on equally the first": ((seen("Hello"),), (seen("Hel"), seen("Hel")), False, [0]),
    "a text that is cut short": ((seen("Hel"),), (seen("x"), seen("Hello")), False, [1]),
    "a text where none came": ((seen("a"),), (seen("x"), seen("")), False, [1]),
    "one text for two that go on": ((seen("ab"), seen("abc")), (seen("a"),), False, [0, None]),
    "a text of another kind that goes on": ((seen("ab", kind="call"),), (seen("a"),), False, [None]),
    "the same place": ((seen("x", place=1),), (seen("a", place=0), seen("b", place=1)), False, [1]),
    "the same place, but another kind": (
        (seen("x", kind="call", place=0),),
        (seen("a", place=0),),
        False,
        [None],
    ),
    "the same place, and only the beginning": (
        (seen("x", kind="call", place=0),),
        (seen("", place=0, empty=True),),
        False,
        [0],
    ),
    "a text that goes on before the same place": (
        (seen("ab", place=0),),
        (seen("x", place=0), seen("a", place=1)),
        False,
        [1],
    ),
    "no place on either side": ((seen("x"),), (seen("a"),), False, [None]),
    "the whole list, in order": ((seen("x"), seen("y")), (seen("a"), seen("b")), True, [0, 1]),
    "the whole list, each kind in order": (
        (seen("x"), seen("y", kind="call"), seen("z")),
        (seen("b", kind="call"), seen("a"), seen("c")),
        True,
        [1, 0, 2],
    ),
    "a list that has fewer": ((seen("x"),), (seen("a"), seen("b")), True, [None]),
    "a list that has more": ((seen("x"), seen("y")), (seen("a"),), True, [None, None]),
    "nothing was streamed": ((seen("x"),), (), True, [None]),
    "no copies": ((), (seen("a"),), True, []),
    "an id before all else of another copy": (
        (seen("a"), seen("x", ids="1")),
        (seen("a", ids="1"), seen("y")),
        False,
        [None, 0],
    ),
    "the last of two items that had one id": (
        (seen("x", ids="1"),),
        (seen("a", ids="1"), seen("b", ids="1")),
        False,
        [1],
    ),
    "a place that is 0": ((seen("x", place=0),), (seen("a", place=1), seen("b", place=0)), False, [1]),
    "the place of one that is taken": (
        (seen("a", place=0), seen("x", place=0)),
        (seen("a", place=0), seen("b", place=1)),
        False,
        [0, None],
    ),
    "the whole list, of which one kind has as many": (
        (seen("x"), seen("y", kind="call")),
        (seen("a"), seen("b", kind="call"), seen("c", kind="call")),
        True,
        [0, None],
    ),
}


def test_a_copy_is_compared_with_the_nearest_items() -> None:
    for count, found in ((64, 0), (65, None)):
        others = [seen(f"{n} other") for n in range(count - 1)]
        assert match_copies([seen("Hello")], [seen("Hel"), *others], whole=False) == [0]
        assert match_copies([seen("Hello")], [*others, seen("Hel")], whole=False) == [
            None if found is None else count - 1
        ]


@pytest.mark.parametrize("name", CASES)
def test_what_a_copy_repeats(name: str) -> None:
    copies, streamed, whole, matches = CASES[name]
    assert match_copies(copies, streamed, whole=whole) == matches


CITED = (Citation("u"),)


@pytest.mark.parametrize(
    ("finals", "ended"),
    [
        (
            [TextPart("New"), TextPart("Hello", CITED)],
            [TextPart("Hello", CITED), ReasoningPart("Hm"), TextPart("Bye")],
        ),
        (
            [TextPart("Other", CITED)],
            [TextPart("Hel", CITED), ReasoningPart("Hm"), TextPart("Bye")],
        ),
        ([], [TextPart("Hel"), ReasoningPart("Hm"), TextPart("Bye")]),
    ],
    ids=["by its text, and in order", "by its place", "none"],
)
def test_the_final_parts_of_an_item_end_all_that_was_streamed_of_it(
    finals: list[Part], ended: list[Part]
) -> None:
    parts = Assembler()
    growing = [parts.open(seed) for seed in (TextPart(""), ReasoningPart(), TextPart(""))]
    for part, text in zip(growing, ("Hel", "Hm", "Bye"), strict=True):
        parts.add(part, text)
    parts.take()
    complete_parts(parts, growing, finals)
    ends = {event.index: event.part for event in parts.take() if isinstance(event, PartEnd)}
    assert [part for _, part in sorted(ends.items())] == ended
