"""How deeply the JSON that is read may be nested, as text and as bytes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from brainwires_provider.protocols.base.json import (
    Merging,
    decode_json,
    fast_decode,
    int_or_none,
    items_in,
    list_or_empty,
    merged,
    objects_in,
    text_or_none,
)
from brainwires_provider.protocols.base.replay import value_in_text

PADDING = " " * 100
"""Makes a text long enough that its brackets are counted."""


def nested(depth: int) -> str:
    """Lists and objects in turn, so many in all."""
    opened = ["[" if level % 2 else '{"a":' for level in range(depth)]
    closed = ["]" if level % 2 else "}" for level in range(depth)]
    return "".join(opened) + "1" + "".join(reversed(closed)) + PADDING


def depth_of(value: object) -> int:
    depth = 0
    while isinstance(value, dict | list):
        depth += 1
        value = value["a"] if isinstance(value, dict) else value[0]
    return depth


@pytest.mark.parametrize("depth", [199, 200])
def test_what_is_nested_less_deeply_is_read(depth: int) -> None:
    text = nested(depth)
    for value in (fast_decode(text), fast_decode(text.encode()), decode_json(text.encode())):
        assert depth_of(value) == depth


@pytest.mark.parametrize("depth", [201, 900, 100_000])
def test_what_is_nested_too_deeply_is_refused(depth: int) -> None:
    text = nested(depth)
    for data in (text, text.encode()):
        with pytest.raises((ValueError, RecursionError)):
            fast_decode(data)
    with pytest.raises(ValueError, match="nested too deeply, in more than 200"):
        decode_json(text.encode())


def test_many_values_side_by_side_are_not_deep() -> None:
    text = "[" + ",".join(["[{}]"] * 300) + "]"
    assert fast_decode(text) == fast_decode(text.encode()) == [[{}]] * 300


@pytest.mark.parametrize("item", ["{}", "[]", '{"a":1}', "[[]]"])
def test_what_would_take_many_times_its_size_is_refused(item: str) -> None:
    """Without being read: four million bytes of empty lists are a hundred megabytes of values."""
    text = "[" + ",".join([item] * (2_000_000 // len(item))) + "]"
    for read in (fast_decode, decode_json):
        with pytest.raises(ValueError, match="too many small objects and lists"):
            read(text.encode())


@pytest.mark.parametrize("item", ['"a"', '""'])
def test_a_large_text_of_very_short_texts_is_refused(item: str) -> None:
    """A text of one character takes fifty bytes in memory. What is smaller, or has longer texts, is read."""
    text = "[" + ",".join([item] * (1_200_000 // len(item))) + "]"
    for data in (text, text.encode()):
        with pytest.raises(ValueError, match="too many short texts"):
            fast_decode(data)
    assert len(fast_decode("[" + ",".join(['"a"'] * 100_000) + "]")) == 100_000
    assert len(fast_decode("[" + ",".join(['"abc"'] * 200_000) + "]")) == 200_000


def test_log_probabilities_of_a_long_answer_are_read() -> None:
    one = {"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": []}
    text = json.dumps([one] * 100_000, separators=(",", ":"))
    assert len(fast_decode(text.encode())) == 100_000
    assert len(fast_decode("[" + "[]," * 190_000 + "0]")) == 190_001


@pytest.mark.parametrize(
    ("known", "value", "name", "both", "pieces"),
    [
        ({"a": "x", "b": 1}, {"a": "y", "c": 2}, "", *[{"a": "xy", "b": 1, "c": 2}] * 2),
        ("ab", "abc", "", "abc", "ababc"),
        ("ab", "c", "", "abc", "abc"),
        ("ab", "", "", "ab", "ab"),
        ("ab", "c", "idx", "abc", "abc"),
        ("ab", "c", "call_id", "c", "abc"),
        ("ab", "c", "thought_signature", "c", "abc"),
        ("ab", "c", "type", "c", "abc"),
        ([1], [2], "", [1, 2], [1, 2]),
        ([1], [1, 2], "", [1, 2], [1, 1, 2]),
        ([1], [2], "ids_id", [2], [1, 2]),
        (1, None, "", 1, None),
        (1, 2, "", 2, 2),
        ("a", 5, "", 5, 5),
        ({"b": None}, {"b": "y"}, "", *[{"b": "y"}] * 2),
        (
            {"a": {"t": "ab", "l": [1], "n": 1, "signature": "s", "id": "i", "type": "x", "o": {"k": 1}}},
            {"a": {"t": "abc", "l": [1, 2], "n": None, "signature": "t", "id": "j", "type": "y", "o": {}}},
            "",
            {"a": {"t": "abc", "l": [1, 2], "n": 1, "signature": "t", "id": "j", "type": "y", "o": {"k": 1}}},
            {
                "a": {
                    "t": "ababc",
                    "l": [1, 1, 2],
                    "n": None,
                    "signature": "st",
                    "id": "ij",
                    "type": "xy",
                    "o": {"k": 1},
                }
            },
        ),
    ],
)
def test_what_a_delta_adds_to(known: Any, value: Any, name: str, both: Any, pieces: Any) -> None:
    """A value may come again, or be one more piece."""
    before = copy.deepcopy((known, value))
    assert Merging().grown(known, value, name) == both
    assert Merging().grown(known, value, name, repeats=False) == pieces
    assert (known, value) == before


def test_what_is_merged_in_place_is_what_the_values_say() -> None:
    pieces: list[dict[str, Any]] = [
        {"a": {"b": 1, "c": {"d": None}}, "e": 1},
        {"a": {"b": None, "c": {"d": {"f": 1}}}, "e": {"g": 1}},
        {"a": {"c": {"d": {"h": 2}}}, "e": {"g": None, "i": 2}},
        {"a": None, "e": 3, "j": None},
    ]
    given, merging, known, plain = copy.deepcopy(pieces), Merging(), {}, {}
    for piece in pieces:
        known, plain = merging.merged(known, piece), merged(plain, piece)
        assert known == plain
    assert pieces == given, "a piece was changed"


def test_what_was_copied_once_is_changed_in_place() -> None:
    merging = Merging()
    for add in (merging.merged, merging.completed, merging.grown):
        given: dict[str, Any] = {"a": {"b": 1}}
        known = add(given, {"c": 1})
        assert known is not given
        assert add(known, {"d": 1}) is known
        merging.release()
        assert add(known, {"e": 1}) is not known


def test_what_is_known_wins_over_what_completes_it() -> None:
    known = {"a": 1, "b": None, "c": {"d": 1, "e": None}}
    more = {"a": 2, "b": 3, "c": {"d": 4, "e": 5, "f": 6}, "g": None}
    assert Merging().completed(known, more) == merged(more, known)
    assert known == {"a": 1, "b": None, "c": {"d": 1, "e": None}}


def test_what_was_handed_out_is_not_changed_later() -> None:
    merging = Merging()
    known: Any = {"a": {"b": 1}, "l": [1], "t": "x", "n": {}}
    for piece in ({"a": {"c": 1}, "l": [2], "t": "y"}, {"n": {"o": [3]}}, {"n": {"o": [4]}}):
        known = merging.grown(known, piece)
        shown = copy.deepcopy(known)
        merging.release()
        assert merging.grown(known, {"a": {"z": 1}, "l": [5], "t": "z", "n": {"o": [6]}}) != shown
        assert known == shown
        merging.release()


@pytest.mark.parametrize(
    ("value", "is_list", "objects", "text", "number"),
    [
        ([1, {"a": 1}, None, {}], True, [{"a": 1}, {}], None, None),
        ([], True, [], None, None),
        ((), False, [], None, None),
        (({},), False, [], None, None),
        ({}, False, [], None, None),
        ("a", False, [], "a", None),
        ("", False, [], None, None),
        (5, False, [], None, 5),
        (0, False, [], None, 0),
        (True, False, [], None, None),
        (1.0, False, [], None, None),
        (None, False, [], None, None),
    ],
)
def test_a_value_is_taken_as_what_it_is(
    value: Any, is_list: bool, objects: list[Any], text: Any, number: Any
) -> None:
    assert list_or_empty(value) == (value if is_list else [])
    assert objects_in(value) == objects
    assert (text_or_none(value), int_or_none(value)) == (text, number)
    if is_list or not value:
        assert items_in(value) == (value if is_list else (value or []))
    else:
        with pytest.raises(TypeError, match=f"^{type(value).__name__} where a list is due$"):
            items_in(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('{"a": "\ud800"}', {"a": "\ufffd" * 3}),
        (" \n", {}),
        ("{", None),
    ],
)
def test_the_value_of_arguments(text: str, value: Any) -> None:
    assert value_in_text(text) == value
