"""How deeply the JSON that is read may be nested, as text and as bytes."""

from __future__ import annotations

import pytest

from brainwires_provider.protocols.base.json import decode_json, fast_decode

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
