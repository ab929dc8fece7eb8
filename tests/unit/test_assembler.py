"""Fragments into parts: the grammar, the joints between surrogate halves, and what has arrived at any moment."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider.events import Event, PartEnd, PartStart, ReasoningDelta, TextDelta, ToolCallDelta
from brainwires_provider.protocols.base.decoder import Assembler, well_formed
from brainwires_provider.types import (
    Citation,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)


def test_parts_interleave_and_keep_the_order_of_their_starts() -> None:
    parts = Assembler()
    text, thought = parts.open(TextPart("")), parts.open(ReasoningPart())
    parts.add(text, "a")
    parts.add(thought, "b")
    parts.add(text, "")
    assert parts.parts() == (TextPart("a"), ReasoningPart("b"))
    parts.close(thought, signature="s")
    parts.add(text, "c")
    parts.close_all()
    assert parts.take() == [
        PartStart(0, TextPart("")),
        PartStart(1, ReasoningPart()),
        TextDelta(0, "a"),
        ReasoningDelta(1, "b"),
        PartEnd(1, ReasoningPart("b", signature="s")),
        TextDelta(0, "c"),
        PartEnd(0, TextPart("ac")),
    ]
    assert parts.take() == []
    assert parts.parts() == (TextPart("ac"), ReasoningPart("b", signature="s"))
    assert parts.count == 2


def test_what_has_arrived_is_known_by_kind() -> None:
    parts = Assembler()
    call = parts.open(ToolCallPart("a", "one", ""))
    assert parts.kinds == {ToolCallPart}
    parts.close(call)
    assert parts.kinds == {ToolCallPart}


@pytest.mark.parametrize(
    "part",
    [
        TextPart("a", (Citation("u"),)),
        ReasoningPart("a"),
        RefusalPart("a"),
        ToolCallPart("a", "one", "{}"),
        ImagePart(url="https://a.test"),
        OpaquePart("x", {"a": None}),
    ],
    ids=lambda p: type(p).__name__,
)
def test_a_part_that_came_at_once_has_the_same_life(part: Part) -> None:
    parts = Assembler()
    assert parts.whole(part) == part
    start, *deltas, end = parts.take()
    assert isinstance(start, PartStart)
    assert end == PartEnd(0, part)
    assert "".join(d.text for d in deltas) == getattr(part, "arguments", getattr(part, "text", ""))  # type: ignore[union-attr]


@settings(deadline=None)
@given(st.text(st.sampled_from("aé😀\u2028\U0010ffff"), max_size=8), st.data())
def test_text_cut_between_surrogates_is_whole_again(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(units) // 2))))
    edges = [0, *(2 * c for c in cuts), len(units)]
    parts = Assembler()
    part = parts.open(ToolCallPart("a", "one", ""))
    for a, b in itertools.pairwise(edges):
        parts.add(part, units[a:b].decode("utf-16-le", "surrogatepass"))
    parts.close(part)
    deltas = [e.text for e in parts.take() if isinstance(e, ToolCallDelta)]
    assert "".join(deltas) == text
    assert all(d and d.encode() for d in deltas)


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("a\ud83d\ude00"), max_size=3), max_size=5))
def test_lone_halves_become_replacement_characters(fragments: list[str]) -> None:
    parts = Assembler()
    part = parts.open(TextPart(""))
    for fragment in fragments:
        parts.add(part, fragment)
    parts.close(part)
    events = parts.take()
    joined = "".join(e.text for e in events if isinstance(e, TextDelta))
    units = "".join(fragments).encode("utf-16-le", "surrogatepass")
    assert joined == units.decode("utf-16-le", "replace")
    assert events[-1] == PartEnd(0, TextPart(joined))


def test_everything_is_mended_on_its_way_out_once_ragged() -> None:
    parts = Assembler()
    parts.ragged = True
    raw: Any = {"a\ud83d": ["\ud83d", 1, None, {"b": "\udc00"}]}
    origin = Origin("openai_chat", "openai-chat")
    parts.whole(TextPart("x", (Citation("\ud83d", raw=raw),), extra=raw, origin=origin))
    events: list[Event] = parts.take()
    mended = {"a\ufffd": ["\ufffd", 1, None, {"b": "\ufffd"}]}
    whole = TextPart("x", (Citation("\ufffd", raw=mended),), extra=mended, origin=origin)
    assert events[-1] == PartEnd(0, whole)
    msgspec.json.encode(events)


def test_what_is_well_formed_stays() -> None:
    value = {"a": ["é😀", 1.5, True, None, b"x", ("y",)]}
    assert well_formed(value) == value
    assert well_formed("\ud83d\ude00") == "😀"
