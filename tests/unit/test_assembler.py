"""Fragments into parts: the grammar, the joints between surrogate halves, and what has arrived at any moment."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider.errors import ProtocolError
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ResponseStart,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.framing.base import DEFAULT_MAX_PARTS, WireMessage
from brainwires_provider.protocols.base.decoder import (
    Assembler,
    AudioBuilder,
    DecoderBase,
    emptied,
    final_text,
    listed_error,
    sources,
    well_formed,
)
from brainwires_provider.types import (
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

ORIGIN = Origin("openai_chat", "p", "m")


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
    ("part", "seed", "text"),
    [
        (TextPart("a", (Citation("u"),)), TextPart("", (Citation("u"),)), "a"),
        (TextPart(""), TextPart(""), ""),
        (ReasoningPart("a", signature="s"), ReasoningPart("", signature="s"), "a"),
        (RefusalPart("a"), RefusalPart(""), "a"),
        (ToolCallPart("a", "one", "{}"), ToolCallPart("a", "one", ""), "{}"),
        (ImagePart(url="https://a.test"), ImagePart(url="https://a.test"), ""),
        (OpaquePart("x", {"a": None}), OpaquePart("x", {"a": None}), ""),
        (FilePart(data=b"", text="a"), FilePart(data=b"", text="a"), ""),
    ],
)
def test_a_part_that_came_at_once_has_the_same_life(part: Part, seed: Part, text: str) -> None:
    parts = Assembler()
    assert parts.whole(part) == part
    start, *deltas, end = parts.take()
    assert (start, end) == (PartStart(0, seed), PartEnd(0, part))
    assert [d.text for d in deltas] == [text] * bool(text)  # type: ignore[union-attr]
    assert (emptied(part), final_text(part)) == (seed, text)


def test_a_text_that_came_at_once_is_the_first_part() -> None:
    parts, seed, whole = Assembler(), TextPart("", origin=ORIGIN), TextPart("a", origin=ORIGIN)
    parts.text(seed, "a")
    assert parts.take() == [PartStart(0, seed), TextDelta(0, "a"), PartEnd(0, whole)]
    assert (parts.parts(), parts.kinds, parts.count) == ((whole,), {TextPart}, 1)
    parts.whole(SEEN)
    assert parts.parts() == (whole, SEEN)


def test_what_is_open_ends_in_the_order_of_its_start() -> None:
    parts = Assembler()
    first, second = parts.open(TextPart("")), parts.open(TextPart(""))
    parts.close(first)
    third = parts.open(ImagePart(url="u"), lambda: ImagePart(url="v"))
    parts.add(second, "a")
    assert parts.parts() == (TextPart(""), TextPart("a"), ImagePart(url="v"))
    parts.take()
    parts.close_all()
    assert parts.take() == [PartEnd(1, TextPart("a")), PartEnd(2, ImagePart(url="v"))]
    assert third.grown is None


def test_sound_and_its_transcript_are_one_part() -> None:
    parts = Assembler()
    audio = AudioBuilder(parts, ORIGIN)
    for sound, text in (("A", ""), ("@AAEC", ""), (5, ""), ("", 5), ("AA=", "a")):
        with pytest.raises(ValueError, match="the audio"):
            audio.add(1, "k", sound=sound, transcript=text)
    assert parts.count == 0
    pieces = ({"sound": "AAEC"}, {"transcript": "Hi"}, {"sound": "Aw==", "transcript": " you"}, {})
    for at, piece in enumerate(pieces):
        audio.add(at, "k", **piece)
    whole = FilePart(data=b"\0\1\2\3", text="Hi you", origin=ORIGIN)
    assert parts.parts() == (whole,)
    parts.close_all()
    assert parts.take() == [
        PartStart(0, FilePart(data=b"", origin=ORIGIN)),
        *(OpaqueDelta(0, "k", at) for at in range(4)),
        PartEnd(0, whole),
    ]
    AudioBuilder(parts, ORIGIN).add({}, "k", sound="AAEC")
    assert parts.parts()[1] == FilePart(data=b"\0\1\2", origin=ORIGIN)


def test_a_response_has_no_more_parts_than_its_limit() -> None:
    parts = Assembler()
    parts.limit = 2
    parts.whole(TextPart("a"))
    parts.open(TextPart(""))
    with pytest.raises(
        ProtocolError, match=r"^the response has more than 2 parts; max_parts sets this limit$"
    ):
        parts.open(TextPart(""))
    assert parts.count == 2


@pytest.mark.parametrize(
    ("known", "texts", "more"),
    [
        ("ab", ("abc",), "c"),
        ("ab", ("ab",), ""),
        ("ab", ("a", "xyz", "abcd", "abc"), "cd"),
        ("ab", ("ab", "abc"), "c"),
        ("", ("abc",), "abc"),
        ("ab", (), ""),
        ("a\ud83d", ("a😀",), ""),
        ("a\ud83d", ("a\ud83d\ude00b",), "😀b"),
    ],
)
def test_a_part_catches_up_with_its_copy(known: str, texts: tuple[str, ...], more: str) -> None:
    parts = Assembler()
    part = parts.open(TextPart(""))
    parts.add(part, known)
    before = part.joined()
    parts.take()
    parts.catch_up(part, *texts)
    assert [each.text for each in parts.take() if isinstance(each, TextDelta)] == [more] * bool(more)
    assert part.joined() == before + more


CITED = TextPart("abc", (Citation("u"),))
SEEN = OpaquePart("x", {"a": 1})


@pytest.mark.parametrize(
    ("seed", "known", "final", "texts", "parts_of_it"),
    [
        (TextPart(""), "ab", CITED, (), (CITED,)),
        (TextPart(""), "ab", CITED, ("abd",), (TextPart("abd", (Citation("u"),)),)),
        (TextPart(""), "xy", CITED, (), (TextPart("xy", (Citation("u"),)),)),
        (TextPart(""), "", CITED, (), (CITED,)),
        (TextPart(""), "ab", ReasoningPart("c"), (), (TextPart("ab"), ReasoningPart("c"))),
        (TextPart(""), "", ReasoningPart("c"), (), (ReasoningPart("c"),)),
        (TextPart(""), "\ud83d", ReasoningPart("c"), (), (TextPart("\ufffd"), ReasoningPart("c"))),
        (TextPart(""), "", SEEN, (), (SEEN,)),
        (OpaquePart("x", {}), "", SEEN, (), (SEEN,)),
        (OpaquePart("x", {}), "", CITED, (), (CITED,)),
        (
            ReasoningPart(),
            "a",
            ReasoningPart("x", signature="s"),
            ("y", "ab", "ac"),
            (ReasoningPart("ab", signature="s"),),
        ),
        (ToolCallPart("a", "f", ""), "{", ToolCallPart("b", "g", "{}"), (), (ToolCallPart("b", "g", "{}"),)),
    ],
)
def test_a_part_ends_by_its_final_copy(
    seed: Part, known: str, final: Part, texts: tuple[str, ...], parts_of_it: tuple[Part, ...]
) -> None:
    parts = Assembler()
    part = parts.open(seed)
    if known:
        parts.add(part, known)
    parts.complete(part, final, *texts)
    assert (parts.parts(), part.grown) == (parts_of_it, None)
    events = parts.take()
    assert [each.part for each in events if isinstance(each, PartEnd)] == [*parts_of_it]
    for index, whole in enumerate(parts_of_it):
        deltas = "".join(
            getattr(each, "text", "") for each in events if getattr(each, "index", None) == index
        )
        assert deltas == getattr(whole, "arguments", getattr(whole, "text", ""))


def test_a_final_copy_replaces_what_a_part_said_of_its_growth() -> None:
    for final in (CITED, SEEN):
        parts = Assembler()
        part = parts.open(TextPart(""), lambda: TextPart("so far"))
        assert parts.parts() == (TextPart("so far"),)
        parts.complete(part, final)
        assert parts.parts() == (final,)


@pytest.mark.parametrize(
    ("value", "mended"),
    [
        ("\ud800", "\ufffd"),
        (float("nan"), None),
        (float("-inf"), None),
        (1.5, 1.5),
        ([1, float("inf")], [1, None]),
        (("\udc00",), ("\ufffd",)),
        ({"a": {"\ud800": [True, None]}}, {"a": {"\ufffd": [True, None]}}),
        (TextDelta(0, "\ud800"), TextDelta(0, "\ufffd")),
    ],
)
def test_what_cannot_be_encoded_is_mended(value: Any, mended: Any) -> None:
    assert well_formed(value) == mended
    assert type(well_formed(value)) is type(mended)
    assert well_formed({"x": value, "y": [1, 2.5]}) == {"x": mended, "y": [1, 2.5]}
    assert well_formed(mended) is mended


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([{"error": "x"}], {"error": "x"}),
        ([{"error": {"a": 1}}, 3], {"error": {"a": 1}}),
        ([{"error": None}], None),
        ([{"a": 1}], None),
        (["x"], None),
        ([], None),
        ({"error": "x"}, None),
        (None, None),
    ],
)
def test_an_array_of_one_error(value: Any, error: Any) -> None:
    assert listed_error(value) == error


def test_a_text_has_no_more_sources_than_a_response() -> None:
    def read(item: dict[str, Any]) -> Citation:
        return Citation(item["u"])

    assert sources([{"u": "a"}, "odd", {"u": "b"}], read) == (Citation("a"), Citation("b"))
    assert sources("odd", read) == ()
    most, one = 5 * DEFAULT_MAX_PARTS, Citation("a")
    assert len(sources([{}] * most, lambda _: one)) == most
    with pytest.raises(ProtocolError, match=f"^a text has more than {most} citations$"):
        sources([{}] * (most + 1), lambda _: one)
    decoder = DecoderBase(ORIGIN)
    decoder.max_parts = 2
    decoder.check_citations(10)
    with pytest.raises(
        ProtocolError,
        match=r"^the response has more than 10 citations; max_parts sets this limit, 5 for each part$",
    ):
        decoder.check_citations(11)


@pytest.mark.parametrize(
    ("data", "event", "read"),
    [
        (b'{"a":1}', None, {"a": 1}),
        (b'{"a":"\\ud800"}', None, {"a": "\ud800"}),
        (b'[{"error":"x"}]', None, {"error": "x"}),
        (b'[{"a":1}]', None, None),
        (b"[DONE]", None, None),
        (b"null", None, None),
        (b'"ping"', None, None),
        (b"ping", None, None),
        (b"", None, None),
        (b" {", None, ProtocolError),
        (b"[{", None, ProtocolError),
        (b" <html>", None, ProtocolError),
        (b'{"a":1}', "error", {"a": 1}),
        (b"busy", "error", {"error": "busy"}),
        (b"[1]", "error", {"error": "[1]"}),
        (b"\xff", "error", {"error": "\ufffd"}),
    ],
)
def test_what_a_message_of_a_stream_holds(data: bytes, event: str | None, read: Any) -> None:
    message = WireMessage(data, event)
    for reading in (
        DecoderBase(ORIGIN).read_message,
        DecoderBase(ORIGIN).object_in if event is None else None,
    ):
        if reading is None:
            continue
        if read is ProtocolError:
            with pytest.raises(ProtocolError, match="the provider sent what is not JSON") as caught:
                reading(message)
            assert (caught.value.provider, caught.value.model) == ("p", "m")
            assert caught.value.partial is not None
        else:
            assert reading(message) == read
    begun = DecoderBase(ORIGIN)
    begun.start()
    if data == b" <html>":  # a page is one in place of an answer only
        assert begun.read_message(message) is None
    begun.start()
    assert begun.parts.take() == [ResponseStart(None, None)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[1]", r"^the provider sent list where a JSON object is due: '\[1\]'"),
        (b"null", "^the provider sent NoneType where"),
        (b"{", r"^the provider sent what is not JSON \(.*\): '{'"),
        (b"", r"^the provider sent what is not JSON \(.*\): an empty body"),
    ],
)
def test_what_is_no_object_where_one_is_due(data: bytes, words: str) -> None:
    decoder = DecoderBase(ORIGIN)
    decoder.parts.whole(TextPart("Hi"))
    decoder.id = "r"
    with pytest.raises(ProtocolError, match=words) as caught:
        decoder.read_json(data)
    partial = caught.value.partial
    assert partial is not None and (partial.text, partial.id, partial.finish_reason) == ("Hi", "r", "pending")
    assert decoder.read_json(b'[{"error":"x"}]') == {"error": "x"}
    assert not decoder.parts.ragged
    decoder.keep("k", decoder.read_json(b'{"a":"\\ud800"}'))
    assert decoder.message_extra == {"k": {"a": "\ud800"}}
    assert decoder.parts.ragged
    assert decoder.partial().message.extra == {"k": {"a": "\ufffd"}}


def test_the_model_that_answers_is_named_in_what_follows() -> None:
    decoder = DecoderBase(ORIGIN)
    for named in (None, ""):
        decoder.answered_by(named)
        assert (decoder.model, decoder.origin, decoder.empty_text) == (None, ORIGIN, None)
    for named, model in (("m-1", "m-1"), (7, "7"), ("x" * 300, "x" * 300), ("m-2", "m-2")):
        decoder.answered_by(named)
        origin = Origin("openai_chat", "p", "m", model)
        assert (decoder.model, decoder.origin, decoder.empty_text) == (
            model,
            origin,
            TextPart("", origin=origin),
        )


def test_what_a_decoder_has_so_far() -> None:
    decoder = DecoderBase(ORIGIN)
    decoder.keep("a", {"b": 1})
    decoder.keep("a", {"c": 2})
    decoder.extra["e"] = 3
    decoder.answered_by("n")
    partial = decoder.partial()
    assert (partial.provider, partial.model, partial.finish_reason) == ("p", "n", "pending")
    assert (partial.message.extra, partial.extra) == ({"a": {"b": 1, "c": 2}}, {"e": 3})
    assert not partial.usage.complete
    decoder.keep("a", {"d": 3})
    assert partial.message.extra == {"a": {"b": 1, "c": 2}}
    error = decoder.cut("over")
    assert (error.message, error.how, error.provider, error.model) == ("over", "eof", "p", "m")
    assert error.partial == decoder.partial()


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
    text = TextPart("x", (Citation("y", raw={"a": 1.0}),), origin=ORIGIN)
    whole: Any = {"a": ["é😀", 1.5, True, None, b"x", ("y",), text, PartEnd(0, text)]}
    for value in (whole, whole["a"], *whole["a"]):
        assert well_formed(value) is value
    assert well_formed("\ud83d\ude00") == "😀"
