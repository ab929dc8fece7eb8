"""An assistant's turn on its way back: to whom each part goes, in what form, and what the report says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from anthropic_answers import (
    CITED,
    ELSEWHERE,
    MADE,
    ORIGIN,
    SEARCH,
)
from anthropic_requests import assistant_blocks
from brainwires_provider.errors import (
    UnsupportedError,
)
from brainwires_provider.protocols.base.replay import wire_id
from brainwires_provider.protocols.base.turns import refused_texts
from brainwires_provider.types import (
    Cache,
    Citation,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

# -- the way back --------------------------------------------------------------------------------------------


def back(*parts: Part, origin: Origin = ORIGIN) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    blocks, deviations = assistant_blocks(Message.assistant(*parts), origin, 3)
    return blocks, [(d.field, d.outcome, d.reason) for d in deviations]


TEXT = TextPart("Hi", origin=MADE)
SENT = {"type": "text", "text": "Hi"}
THOUGHT = ReasoningPart("Hm", signature="s", origin=MADE)


@pytest.mark.parametrize(
    ("model", "goes"), [("claude-x", True), ("claude-x-1", True), ("claude-y", False), (None, False)]
)
def test_thinking_goes_back_to_the_model_that_made_it(model: str | None, goes: bool) -> None:
    blocks, told = back(THOUGHT, TEXT, origin=Origin("anthropic_messages", "elsewhere", model))
    thought = [{"type": "thinking", "thinking": "Hm", "signature": "s"}] if goes else []
    assert blocks == [*thought, SENT]
    reason = "reasoning is bound to the model that made it"
    assert told == ([] if goes else [("messages[3].content[0]", "dropped", reason)])


def test_reasoning_from_elsewhere_is_dropped_and_reported() -> None:
    foreign = ReasoningPart("Hm", encrypted="e", origin=ELSEWHERE)
    own = ReasoningPart("Hm")
    blocks, told = back(foreign, own, TEXT)
    assert blocks == [SENT]
    reason = "reasoning is sent back only by the protocol that it came by"
    assert told == [(f"messages[3].content[{i}]", "dropped", reason) for i in (0, 1)]


def test_thinking_that_nothing_follows_is_dropped_and_reported() -> None:
    redacted = ReasoningPart(redacted=True, encrypted="x", origin=MADE)
    blocks, told = back(THOUGHT, TEXT, THOUGHT, TextPart("", origin=MADE), redacted)
    assert blocks == [{"type": "thinking", "thinking": "Hm", "signature": "s"}, SENT]
    ends = "nothing follows it: a turn that ends in reasoning is refused"
    assert told == [
        ("messages[3].content[2]", "dropped", ends),
        ("messages[3].content[3]", "dropped", "an empty text is refused"),
        ("messages[3].content[4]", "dropped", ends),
    ]
    assert back(THOUGHT) == ([], [("messages[3].content[0]", "dropped", ends)])
    assert back() == ([], [])


EMPTY = "an empty text is refused"
BLANK = "a blank text is refused where no other says anything"


@pytest.mark.parametrize(
    ("parts", "refused"),
    [
        ((TextPart(" "), TextPart("Hi"), TextPart("\n")), {}),
        ((TextPart(""), TextPart("Hi"), RefusalPart("")), {0: EMPTY, 2: EMPTY}),
        ((TextPart(" "), RefusalPart("No."), TextPart("")), {2: EMPTY}),
        ((TextPart("\n\n"), ToolCallPart("c", "f", "{}"), TextPart("")), {0: BLANK, 2: EMPTY}),
        ((THOUGHT, ToolCallPart("c", "f", "{}")), {}),
    ],
)
def test_texts_that_say_nothing(parts: tuple[Part, ...], refused: dict[int, str]) -> None:
    assert refused_texts(parts, blank=False) == refused
    _, told = back(*parts)
    dropped = [(field, reason) for field, outcome, reason in told if outcome == "dropped"]
    assert dropped == [(f"messages[3].content[{i}]", reason) for i, reason in refused.items()]


def test_a_server_call_goes_with_its_result() -> None:
    call = OpaquePart("server_tool_use", SEARCH, id="srvtoolu_1", role="call", origin=MADE)
    result = OpaquePart(
        "web_search_tool_result", {"type": "r"}, id="srvtoolu_1", role="result", origin=ELSEWHERE
    )
    blocks, told = back(call, TEXT, result)
    assert blocks == [SENT]
    assert told == [
        (
            "messages[3].content[0]",
            "dropped",
            "its call or result is dropped, and one is refused without the other",
        ),
        (
            "messages[3].content[2]",
            "dropped",
            "OpaquePart('web_search_tool_result') is bound to the provider that made it",
        ),
    ]
    assert back(call)[0] == [SEARCH]  # paused: its result is still to come
    assert back(OpaquePart("odd", "no object"))[0] == []


def test_a_users_own_opaque_block_goes_as_it_is() -> None:
    upload = {"type": "container_upload", "file_id": "f"}
    assert back(OpaquePart("container_upload", upload)) == ([upload], [])


def test_text_from_elsewhere_is_plain() -> None:
    cited = (Citation(url="u", raw={"type": "url_citation"}),)
    foreign = TextPart("Hi", cited, extra={"message": {"id": "m"}}, origin=ELSEWHERE)
    reason = "citations cannot be sent back"
    assert back(foreign) == ([SENT], [("messages[3].content[0].citations", "dropped", reason)])
    own = TextPart("Hi", (Citation(raw=CITED[0]), Citation(url="u")), extra={"x": 1})
    assert back(own)[0] == [{**SENT, "citations": [CITED[0]], "x": 1}]


def test_a_refusal_is_sent_as_text() -> None:
    blocks, told = back(RefusalPart("No.", origin=ELSEWHERE), RefusalPart(""))
    assert blocks == [{"type": "text", "text": "No."}]
    assert [t[:2] for t in told] == [
        ("messages[3].content[0]", "adapted"),
        ("messages[3].content[1]", "dropped"),
    ]


@pytest.mark.parametrize(
    ("call", "sent", "told"),
    [
        (ToolCallPart("c-1", "f", '{"a": 1}', extra={"id": "fc"}, origin=ELSEWHERE), {"a": 1}, []),
        (ToolCallPart("c-1", "f", " ", origin=ELSEWHERE), {}, []),
        (ToolCallPart("c-1", "f", '{"a": ', origin=MADE), {"INVALID_JSON": '{"a": '}, ["adapted"]),
        (ToolCallPart("c-1", "f", "[1]"), {"INVALID_JSON": "[1]"}, ["adapted"]),
        (
            ToolCallPart("c-1", "f", "free text", "custom", origin=ELSEWHERE),
            {"input": "free text"},
            ["emulated"],
        ),
        (ToolCallPart("c-1", "f", '{"type":"x"}', "shell", origin=ELSEWHERE), {"type": "x"}, ["emulated"]),
    ],
)
def test_calls_go_as_tool_use(call: ToolCallPart, sent: Any, told: list[str]) -> None:
    blocks, reported = back(call)
    assert blocks == [{"type": "tool_use", "id": "c-1", "name": "f", "input": sent}]
    assert [outcome for _, outcome, _ in reported] == told


def test_a_server_calls_broken_input_is_shown_as_it_was() -> None:
    part = OpaquePart("server_tool_use", {**SEARCH, "input": '{"q'}, id="s", role="call", origin=MADE)
    blocks, told = back(part)
    assert blocks == [{**SEARCH, "input": {"INVALID_JSON": '{"q'}}]
    assert [outcome for _, outcome, _ in told] == ["adapted"]


def test_ids_are_made_acceptable_the_same_on_both_sides() -> None:
    call = ToolCallPart("call_1|fc_2", "f", "{}", origin=ELSEWHERE)
    blocks, told = back(call)
    assert blocks[0]["id"] == wire_id("call_1|fc_2")
    assert [t[:2] for t in told] == [("messages[3].content[0].id", "adapted")]
    assert wire_id("toolu_01-a") == "toolu_01-a"


@given(st.text(), st.text())
@pytest.mark.many
def test_ids_never_collide(one: str, other: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", wire_id(one)) or wire_id(one) == one
    assert (wire_id(one) == wire_id(other)) == (one == other)


def test_media_and_results_have_no_place_in_an_assistants_turn() -> None:
    image = ImagePart(data=b"x", media_type="image/png")
    file = FilePart(data=b"x", media_type="application/pdf")
    for part, words in (
        (image, "ImagePart cannot"),
        (file, "FilePart cannot"),
        (ToolResultPart("c"), "role tool"),
    ):
        with pytest.raises(UnsupportedError, match=words) as raised:
            back(TEXT, part)
        assert raised.value.message.startswith("messages[3]: ")


@pytest.mark.parametrize(
    "media",
    [ImagePart(data=b"x", media_type="image/png"), FilePart(data=b"x", media_type="application/pdf")],
    ids=["image", "file"],
)
@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        (ELSEWHERE, "media of another protocol cannot be sent as the assistant's"),
        (MADE, "media cannot be sent as the assistant's"),
    ],
    ids=["another protocol", "this protocol"],
)
def test_media_that_a_model_made_are_dropped(
    media: ImagePart | FilePart, origin: Origin, reason: str
) -> None:
    made = replace(media, origin=origin)
    assert back(made, TEXT) == ([SENT], [("messages[3].content[0]", "dropped", reason)])


def test_cache_marks() -> None:
    call = ToolCallPart("c", "f", "{}", cache=Cache("1h"))
    opaque = OpaquePart("compaction", {"type": "compaction", "content": "x"}, cache=Cache(), origin=MADE)
    blocks, told = back(THOUGHT, call, opaque, TextPart("Hi", cache=Cache()))
    assert [b.get("cache_control") for b in blocks] == [
        None,
        {"type": "ephemeral", "ttl": "1h"},
        {"type": "ephemeral"},
        {"type": "ephemeral"},
    ]
    assert told == []
    assert "cache_control" not in opaque.data
