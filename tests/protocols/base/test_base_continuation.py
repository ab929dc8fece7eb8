"""Which request continues what a server holds, by content alone, and why another does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from brainwires_provider.protocols.base.continuation import (
    Head,
    Heads,
    Match,
    Miss,
    Outline,
    head_of,
    outline_of,
)

FIELDS = {"model": "m", "tools": [{"b": 1, "a": 2}]}


def deep() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


UNSAYABLE = {
    "half a surrogate pair": ("\ud800", "\ud801"),
    "a number of too many bits": (2**70, 2**71),
    "an object of no type": (slice(1), slice(2)),
    "a key that is no text": ({(1,): 1}, {(2,): 1}),
}


class Calls(Heads[str]):
    def unanswered(self, calls: Iterable[str], items: Sequence[Any]) -> list[str]:
        return [call for call in calls if {"output": call} not in items]


def item(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def outline(*texts: str, start: int = 0, **fields: Any) -> Outline:
    body = {**FIELDS, "input": 5, "stream": True, **fields}
    return outline_of(
        body, map(item, texts), aside=("input", "stream"), handles=("previous", "store"), start=start
    )


def answered(
    asked: Outline, *texts: str, id: str = "r", calls: tuple[str, ...] = (), begins_at: int = -1
) -> Head:
    return head_of(asked, [*map(item, texts)], id, stored=True, open_calls=calls, begins_at=begins_at)


@pytest.mark.parametrize("name", UNSAYABLE)
def test_what_is_no_json_has_a_digest(name: str) -> None:
    """An equal value has the same, another one another."""
    one, other = ({"type": "message", "x": value} for value in UNSAYABLE[name])
    made = [
        outline_of({"model": "m", "x": each}, [each, each], aside=(), handles=())
        for each in (one, dict(one), other)
    ]
    assert made[0] == made[1]
    assert made[0].fingerprint != made[2].fingerprint
    assert made[0].fields["model"] == made[2].fields["model"]
    assert not set(made[0].hashes) & set(made[2].hashes)
    assert len(set(made[0].hashes)) == 2


def test_what_is_too_deep_has_a_digest() -> None:
    made = outline_of({"x": deep()}, [deep(), {"a": 1}], aside=(), handles=())
    assert made.count == 2
    assert made.fields["x"] != outline_of({"x": [1]}, (), aside=(), handles=()).fields["x"]


def test_an_outline_is_of_what_the_model_sees() -> None:
    made = outline("a", "b", start=3)
    assert list(made.fields) == ["model", "tools"]
    assert (made.count, len(made.hashes), made.handle) == (5, 2, None)
    assert repr(made) == "Outline(5 items from 3 on, fields: model, tools)"
    assert made == outline("a", "b", start=3, stream=False, input=6)
    assert made.fingerprint == outline(tools=[{"a": 2, "b": 1}]).fingerprint
    assert made.fingerprint != outline(tools=[{"a": 3, "b": 1}]).fingerprint
    assert outline("a", "b").hashes[0] == outline("a").hashes[0]
    assert outline("b", "b").hashes[1] != outline("a", "b").hashes[1]
    handles = (
        {"previous": "x", "store": 1},
        {"previous": None, "store": 0},
        {"previous": None, "store": None},
    )
    assert [outline(**fields).handle for fields in handles] == ["previous", "store", None]


def test_marks_make_no_difference() -> None:
    def plain(each: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in each.items() if name != "mark"}

    bare, marked = ([{**item("a"), **mark}] for mark in ({}, {"mark": 1}))
    made = [outline_of({}, items, aside=(), handles=(), plain=plain) for items in (bare, marked)]
    assert made[0] == made[1] != outline_of({}, marked, aside=(), handles=())
    heads = [
        head_of(made[0], items, "r", stored=False, open_calls=(), plain=plain) for items in (bare, marked)
    ]
    assert heads[0] == heads[1] != head_of(made[0], marked, "r", stored=False, open_calls=())


def test_a_head_is_the_request_and_its_answer() -> None:
    asked = outline("a", start=2, store=1)
    head = answered(asked, "b", "c", calls=("c1",))
    assert (head.response_id, head.stored, head.open_calls) == ("r", True, ("c1",))
    assert head.outline == outline("a", "b", "c", start=2, store=1)
    again = answered(asked, "b", "c", begins_at=1)
    assert (again.outline.hashes, again.outline.start) == (outline("c").hashes, 4)
    assert answered(outline(), "b").outline.hashes == outline("b").hashes


def find(heads: Calls, *texts: str, start: int = 0, **fields: Any) -> Match[str] | Miss:
    items = [item("gone")] * start + [*map(item, texts)]
    return heads.find(outline(*texts, start=start, **fields), items)


def test_the_longest_and_of_those_the_newest_is_continued() -> None:
    heads = Calls()
    for place, texts in (
        ("one", ("b",)),
        ("two", ("b", "c", "d")),
        ("three", ("b", "c", "d")),
        ("four", ("b", "x")),
    ):
        heads.add(answered(outline("a"), *texts, id=place), place)
    assert (len(heads), [*heads.places()]) == (4, ["one", "two", "three", "four"])
    for texts, place, tail in (
        (("a", "b", "c", "d", "e"), "three", 4),
        (("a", "b", "c", "d", "e", "f"), "three", 4),
        (("a", "b", "c", "e"), "one", 2),
        (("a", "b", "x", "e"), "four", 3),
        (("a", "b", "c"), "one", 2),
    ):
        found = find(heads, *texts)
        assert isinstance(found, Match)
        assert (found.place, found.head.response_id, found.tail) == (place, place, tail)
    removed = heads.remove("three")
    assert removed is not None and removed.response_id == "three"
    assert heads.remove("three") is None
    assert find(heads, "a", "b", "c", "d", "e").place == "two"
    heads.add(answered(outline("z"), "y", id="new"), "two")  # a place holds one head
    assert find(heads, "a", "b", "c", "d", "e").place == "one"
    assert find(heads, "z", "y", "x").place == "two"
    for place in ("one", "two", "four"):
        heads.remove(place)
    assert len(heads) == 0
    assert find(heads, "a", "b", "c") == Miss("first", "no live chain begins like this")


def test_a_head_of_no_items_is_continued_by_all() -> None:
    heads = Calls()
    heads.add(answered(outline()), "one")
    for start in (0, 2):
        found = find(heads, "a", "b", start=start)
        assert isinstance(found, Match) and found.tail == 0
    heads.add(answered(outline("a", start=2)), "two")
    found = find(heads, "a", "b", start=2)
    assert isinstance(found, Match) and (found.place, found.tail) == ("two", 3)


def test_a_call_that_is_open_has_to_be_answered() -> None:
    heads = Calls()
    heads.add(answered(outline("a"), "b", id="old"), "one")
    heads.add(answered(outline("a"), "b", "c", calls=("c1", "c2")), "two")
    items = [*map(item, "abc"), {"output": "c1"}, {"output": "c2"}]
    for count, place in ((5, "two"), (4, "one")):
        asked = outline_of(FIELDS, items[:count], aside=(), handles=())
        found = heads.find(asked, items[:count])
        assert isinstance(found, Match) and found.place == place
    heads.remove("one")
    asked = outline_of(FIELDS, items[:4], aside=(), handles=())
    assert heads.find(asked, items[:4]) == Miss("open_call", "the call c2 of the last answer has no output")
    heads.add(answered(outline("a"), "b", id="old", calls=("c9",)), "one")
    assert heads.find(asked, items[:4]) == Miss("open_call", "the call c2 of the last answer has no output")


MISSES: tuple[tuple[tuple[str, ...], dict[str, Any], Miss], ...] = (
    (
        ("a", "b", "c"),
        {"previous": "x"},
        Miss("handles", "the request says by itself what it continues (previous)"),
    ),
    (("z",), {}, Miss("first", "no live chain begins like this")),
    (("z",), {"start": 3}, Miss("first", "no live chain begins like this from its compaction (item 3) on")),
    (
        ("a", "b"),
        {},
        Miss("nothing_new", "the history ends with the last answer: there is nothing new to send"),
    ),
    (("a",), {}, Miss("shorter", "the history is shorter than what was sent before")),
    (("a", "x"), {}, Miss("item", "item 1 (message, user) differs")),
    (("a", "x", "c"), {"model": "n"}, Miss("item", "item 1 (message, user) differs")),
    (("a", "x"), {"start": 2}, Miss("item", "item 3 (message, user) differs")),
    (("a", "b", "c"), {"model": "n"}, Miss("field", "field 'model' differs", "model")),
    (("a", "b", "c"), {"tools": None, "x": 1}, Miss("field", "field 'tools' differs", "tools")),
    (("a", "b", "c"), {"x": 1}, Miss("field", "field 'x' differs", "x")),
)


@pytest.mark.parametrize(("texts", "fields", "miss"), MISSES)
def test_why_nothing_is_continued(texts: tuple[str, ...], fields: dict[str, Any], miss: Miss) -> None:
    heads = Calls()
    heads.add(answered(outline("y"), "x"), "other")
    heads.add(answered(outline("a"), "b"), "one")
    heads.add(answered(outline("q"), "x"), "newer")
    found = find(heads, *texts, **fields)
    assert found == miss
    assert isinstance(found, Miss) and found.place is None
    assert found.kind == (miss.code if miss.field is None else f"field:{miss.field}")


@pytest.mark.parametrize(
    ("item_of_it", "words"),
    [
        ({"type": "reasoning"}, "reasoning"),
        ({"type": "message", "role": "assistant"}, "message, assistant"),
        ({"role": "user"}, "message, user"),
        ({}, "message"),
        ("text", "str"),
        (None, "NoneType"),
    ],
)
def test_the_item_that_differs_is_named(item_of_it: Any, words: str) -> None:
    heads = Calls()
    heads.add(answered(outline("a"), "b"), "one")
    items = [item("a"), item_of_it]
    found = heads.find(outline_of(FIELDS, items, aside=(), handles=()), items)
    assert found == Miss("item", f"item 1 ({words}) differs")


def test_a_miss_is_explained_by_the_head_that_shares_the_most() -> None:
    heads = Calls()
    heads.add(answered(outline("a", model="n"), "b", "c"), "whole")
    heads.add(answered(outline("a"), "b", "c", "d", "e"), "longer")
    heads.add(answered(outline("a"), "x"), "newest")
    assert find(heads, "a", "b", "c", "d", "x") == Miss("field", "field 'model' differs", "model")
    heads.add(answered(outline("a", x=1), "b", "c"), "as whole")  # of two alike the newest
    assert find(heads, "a", "b", "c", "d", "x") == Miss("field", "field 'x' differs", "x")
    heads.remove("as whole")
    heads.remove("whole")
    assert find(heads, "a", "b", "c", "d", "x") == Miss("item", "item 4 (message, user) differs")
    heads.remove("longer")
    assert find(heads, "a", "b") == Miss("item", "item 1 (message, user) differs")
