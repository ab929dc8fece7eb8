"""Messages turns as tables: where each message and part goes, what is refused, and the recorded requests."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthropic_requests import NEW, OLD, encode, told
from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.anthropic import (
    BEDROCK_INVOKE,
    VERTEX,
    AnthropicOptions,
    AnthropicQuirks,
)
from brainwires_provider.protocols.base.turns import refused_texts
from brainwires_provider.types import (
    Cache,
    Citation,
    FilePart,
    HostedTool,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from corpus import records

# -- turns ---------------------------------------------------------------------------------------------------

CALL, OTHER = ToolCallPart("c1", "weather", "{}"), ToolCallPart("c2", "weather", "{}")
ASKED = (Message.user("Hi"), Message.assistant(CALL, OTHER))
LATER = Message.system("Now in French.")
IN_WORDS = "<system>\nNow in French.\n</system>"
SUNNY, RAIN = Message.tool_result(CALL, "sunny"), Message.tool_result(OTHER, "rain", is_error=True)
C1, C2 = "sunny@c1", "rain@c2"
TURNS: list[tuple[str, tuple[Message, ...], Any, list[Any], list[tuple[str, str]]]] = [
    (NEW, (Message.system("A"), Message.user("Hi")), "A", ["user: Hi"], []),
    (
        NEW,
        (Message.developer("A", "B"), Message.user("Hi")),
        ["A", "B"],
        ["user: Hi"],
        [("messages[0].role", "adapted")],
    ),
    (NEW, (Message.user("a"), Message.user("b")), None, ["user: a", "user: b"], []),
    (NEW, (*ASKED, SUNNY, RAIN), None, ["user: Hi", "calls", f"user: {C1} {C2}"], []),
    (
        NEW,
        (*ASKED, Message("user", (*SUNNY.content, *RAIN.content, TextPart("And?")))),
        None,
        ["user: Hi", "calls", f"user: {C1} {C2} And?"],
        [],
    ),
    (
        NEW,
        (*ASKED, SUNNY, Message("user", (TextPart("And?"), *RAIN.content))),
        None,
        ["user: Hi", "calls", f"user: {C1} {C2} And?"],
        [("messages[3].content", "adapted")],
    ),
    (
        NEW,
        (*ASKED, SUNNY, RAIN, Message.user("And?")),
        None,
        ["user: Hi", "calls", f"user: {C1} {C2}", "user: And?"],
        [],
    ),
    (
        NEW,
        (*ASKED, Message("user", (*SUNNY.content, TextPart("And?"))), RAIN),
        None,
        ["user: Hi", "calls", f"user: {C1} And?", f"user: {C2}"],
        [],
    ),
    (NEW, (Message.user("Hi"), LATER), None, ["user: Hi", "system: Now in French."], []),
    (
        NEW,
        (Message.user("Hi"), Message.developer("X")),
        None,
        ["user: Hi", "system: X"],
        [("messages[1].role", "adapted")],
    ),
    (
        NEW,
        (Message.user("Hi"), Message.assistant("Yo"), LATER, Message.user("b"), Message.user("c")),
        None,
        ["user: Hi", "assistant: Yo", "user: b", "system: Now in French.", "user: c"],
        [("messages[2]", "adapted")],
    ),
    (
        NEW,
        (*ASKED, LATER, SUNNY, RAIN, Message.user("And?")),
        None,
        ["user: Hi", "calls", f"user: {C1} {C2}", "system: Now in French.", "user: And?"],
        [("messages[3]", "adapted"), ("messages[4]", "adapted")],
    ),
    (
        NEW,
        (*ASKED, SUNNY, LATER, RAIN),
        None,
        ["user: Hi", "calls", f"user: {C1} {C2}", "system: Now in French."],
        [("messages[4]", "adapted")],
    ),
    (  # a model has answered behind it, so it is not sent behind the next user's turn
        NEW,
        (Message.user("Hi"), Message.assistant("Yo"), LATER, Message.assistant("", "Oui"), Message.user("b")),
        None,
        ["user: Hi", "assistant: Yo", f"user: {IN_WORDS}", "assistant: Oui", "user: b"],
        [("messages[2].role", "emulated"), ("messages[3].content[0]", "dropped")],
    ),
    (
        NEW,
        (Message.user("Hi"), Message.assistant("Yo"), LATER),
        None,
        ["user: Hi", "assistant: Yo", f"user: {IN_WORDS}"],
        [("messages[2].role", "emulated")],
    ),
    (
        OLD,
        (Message.user("Hi"), LATER),
        None,
        ["user: Hi", f"user: {IN_WORDS}"],
        [("messages[1].role", "emulated")],
    ),
    (
        OLD,
        (Message.user("Hi"), Message.assistant("Yo"), LATER, Message.user("b")),
        None,
        ["user: Hi", "assistant: Yo", "user: b", f"user: {IN_WORDS}"],
        [("messages[2]", "adapted"), ("messages[2].role", "emulated")],
    ),
    (
        NEW,
        (Message("system", LATER.content, extra={"clear_at": "never"}), Message.user("Hi")),
        None,
        ["user: Hi", "system: Now in French."],
        [("messages[0]", "adapted")],
    ),
    (
        NEW,
        (Message.user("Hi"), Message.assistant(ReasoningPart("Hm.")), Message.user("b")),
        None,
        ["user: Hi", "user: b"],
        [("messages[1].content[0]", "dropped"), ("messages[1]", "dropped")],
    ),
    (
        NEW,
        (Message("user", (TextPart("Hi"),), name="Ada"),),
        None,
        ["user: Hi"],
        [("messages[0].name", "dropped")],
    ),
    (
        NEW,
        (Message.user("", "Hi", "\n"),),
        None,
        ["user: Hi \n"],
        [("messages[0].content[0]", "dropped")],
    ),
    (NEW, (Message.user("", " "),), None, ["user:   "], []),  # for the API to refuse
]


def short(message: dict[str, Any]) -> str:
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if blocks[0]["type"] == "tool_use":
        return "calls"
    return f"{message['role']}: " + " ".join(
        b["text"] if b["type"] == "text" else f"{b['content']}@{b['tool_use_id']}" for b in blocks
    )


@pytest.mark.parametrize(("model", "messages", "system", "turns", "deviations"), TURNS)
def test_turns(
    model: str,
    messages: tuple[Message, ...],
    system: Any,
    turns: list[Any],
    deviations: list[tuple[str, str]],
) -> None:
    call = encode(messages, model)
    said = call.body.get("system")
    assert (said if isinstance(said, str | None) else [block["text"] for block in said]) == system
    assert [short(message) for message in call.body["messages"]] == turns
    assert told(call) == deviations


EMPTY, BLANK = "an empty text is refused", "a blank text is refused"
ALONE = "a blank text is refused where no other says anything"


@pytest.mark.parametrize(
    ("parts", "blank", "refused"),
    [
        (("a", ""), False, {1: EMPTY}),
        (("a", " "), False, {}),
        (("a", " "), True, {1: BLANK}),
        ((" ", "\n", ""), False, {0: ALONE, 1: ALONE, 2: EMPTY}),
        ((" ", ""), True, {0: BLANK, 1: EMPTY}),
        ((RefusalPart(" "), RefusalPart("")), False, {0: ALONE, 1: EMPTY}),
        ((RefusalPart("a"), " "), False, {}),
        ((CALL, " "), False, {1: ALONE}),
        ((ReasoningPart(""), ReasoningPart("a")), True, {}),
        ((), True, {}),
    ],
)
def test_which_texts_are_refused(parts: tuple[Any, ...], blank: bool, refused: dict[int, str]) -> None:
    told = tuple(TextPart(part) if isinstance(part, str) else part for part in parts)
    assert refused_texts(told, blank=blank) == refused


def test_an_empty_system_prompt_is_not_sent() -> None:
    call = encode(system="")
    assert "system" not in call.body
    assert told(call) == [("system", "dropped")]


def test_fields_of_a_turn() -> None:
    later = Message("system", (TextPart("X"),), extra={"clear_at": "next_user_message"})
    addition = OpaquePart(
        "tool_addition", {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}}
    )
    call = encode(
        (
            Message.user("Hi"),
            later,
            Message.system(addition),
            Message("user", (TextPart("a"),), extra={"z": 1}),
        )
    )
    assert call.body["messages"][1:] == [
        {"role": "system", "content": "X", "clear_at": "next_user_message"},
        {"role": "system", "content": [addition.data]},
        {"role": "user", "content": "a", "z": 1},
    ]
    results = (*ASKED, SUNNY, Message("tool", RAIN.content, extra={"z": 1}))
    assert [m.get("z") for m in encode(results).body["messages"]] == [None, None, None, 1]


turns = st.lists(
    st.sampled_from(
        [
            (Message.user("a"),),
            (Message.user("a", "b"), Message.user("c")),
            (Message.user("a"), LATER),
            (LATER, Message.user("a")),
            (Message.user("a"), Message.assistant(CALL, OTHER), SUNNY, RAIN),
            (Message.user("a"), Message.assistant(CALL), LATER, SUNNY),
        ]
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(turns, st.sampled_from([NEW, OLD]))
def test_a_longer_history_begins_with_a_shorter_one(rounds: list[tuple[Message, ...]], model: str) -> None:
    history: tuple[Message, ...] = ()
    before: list[Any] = []
    answer = Message("assistant", (TextPart("ok", origin=Origin("anthropic_messages", "anthropic", model)),))
    for said in rounds:
        history += (*said, answer)
        now = encode((Message.user("first"), *history), model).body["messages"]
        asked = encode((Message.user("first"), *history[:-1]), model).body["messages"]
        assert now[: len(before)] == before
        assert now[: len(asked)] == asked
        before = now


# -- content -------------------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\nx"
PDF = b"%PDF-1"
CONTENT: list[tuple[Part, dict[str, Any]]] = [
    (TextPart("a", extra={"citations": None}), {"type": "text", "text": "a", "citations": None}),
    (
        ImagePart(data=PNG),
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()},
        },
    ),
    (
        ImagePart(url="https://x.test/a"),
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a"}},
    ),
    (ImagePart(file_id="f"), {"type": "image", "source": {"type": "file", "file_id": "f"}}),
    (
        ImagePart(file_id="f", extra={"transformations": {}}, cache=Cache("1h")),
        {
            "type": "image",
            "source": {"type": "file", "file_id": "f"},
            "transformations": {},
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
    ),
    (
        FilePart(data=PDF, name="a.pdf", extra={"context": "c", "citations": {"enabled": True}}),
        {
            "type": "document",
            "source": {
                "type": "base64",
                "media_type": "application/pdf",
                "data": base64.b64encode(PDF).decode(),
            },
            "title": "a.pdf",
            "context": "c",
            "citations": {"enabled": True},
        },
    ),
    (
        FilePart(url="https://x.test/a"),
        {"type": "document", "source": {"type": "url", "url": "https://x.test/a"}},
    ),
    (
        FilePart(file_id="f", media_type="x/y"),
        {"type": "document", "source": {"type": "file", "file_id": "f"}},
    ),
    (
        FilePart(file_id="f", media_type="image/png"),
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
    ),
    (
        FilePart(data=b"x", media_type=" Image/PNG ; q=1"),
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}},
    ),
    (
        FilePart(data=b"x", media_type="Application/PDF; version=1", name="n"),
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "eA=="},
            "title": "n",
        },
    ),
    (
        FilePart(data="é,1".encode(), media_type="text/csv; charset=utf-8"),
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é,1"}},
    ),
    (
        FilePart(data=b"{}", media_type="application/json"),
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "{}"}},
    ),
    (OpaquePart("search_result", {"type": "search_result", "n": None}), {"type": "search_result", "n": None}),
    (
        ImagePart(file_id="f", extra={"a": 1}, origin=Origin("p", "q")),
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
    ),
]


@pytest.mark.parametrize(("part", "block"), CONTENT)
def test_content(part: Any, block: dict[str, Any]) -> None:
    assert encode((Message.user(part, "?"),)).body["messages"][0]["content"][0] == block
    inside = encode((Message("tool", (ToolResultPart("c", (part, TextPart("?"))),)),)).body["messages"][0][
        "content"
    ]
    assert inside[0]["content"][0] == {k: v for k, v in block.items() if k != "cache_control"}


def test_what_a_users_turn_loses() -> None:
    cited = TextPart("a", (Citation(url="u"),))
    call = encode((Message.user(cited, ImagePart(file_id="f", detail="low")),))
    assert told(call) == [
        ("messages[0].content[0].citations", "dropped"),
        ("messages[0].content[1].detail", "dropped"),
    ]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (FilePart(data=b"x", media_type="audio/mpeg"), "takes no audio"),
        (FilePart(url="u", media_type="video/mp4"), "takes no video"),
        (FilePart(data=b"x", media_type="application/zip"), "upload it to the Files API"),
        (FilePart(url="u", media_type="text/plain"), "takes no file of type text/plain"),
        (FilePart(data=b"\xff", media_type="text/plain"), "must be UTF-8"),
        (FilePart(data=b"x", media_type=" Audio/mpeg; q=1"), "the Messages API takes no audio$"),
        (FilePart(data=b"x"), "FilePart needs its media_type: the bytes do not show it$"),
        (ImagePart(data=b"x"), "ImagePart needs its media_type: the bytes do not show it$"),
        (ReasoningPart("x"), "ReasoningPart cannot be sent in a message of this role"),
        (OpaquePart("x", "text"), "OpaquePart\\('x'\\) is no block of this protocol"),
        (OpaquePart("x", {}, origin=Origin("other", "p")), "is no block of this protocol"),
    ],
)
def test_what_cannot_be_said(part: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^messages\[0\]: .*{words}"):
        encode((Message("user", (part,)),))


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (
            (Message("tool", (TextPart("x"),)),),
            r"messages\[0\]: a tool message takes ToolResultParts; use",
        ),
        ((Message("tool", (*SUNNY.content, TextPart("x"))),), "takes ToolResultParts; use"),
        (
            (Message.user("a"), Message.assistant("b"), Message.system(ImagePart(file_id="f"))),
            "only text in a system message",
        ),
    ],
)
def test_turns_that_cannot_be_said(messages: tuple[Message, ...], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        encode(messages)


NO_URLS = "this service takes media as data; URLs are never fetched here"
NO_IDS = "this service has no Files API: pass the data instead of a file_id"


@pytest.mark.parametrize(
    ("quirks", "urls", "ids"),
    [(AnthropicQuirks(), None, None), (BEDROCK_INVOKE, NO_URLS, NO_IDS), (VERTEX, None, NO_IDS)],
    ids=["messages", "bedrock", "vertex"],
)
@pytest.mark.parametrize("make", [ImagePart, FilePart])
def test_where_media_may_be_said_by_url_or_by_id(
    quirks: AnthropicQuirks, urls: str | None, ids: str | None, make: type[ImagePart | FilePart]
) -> None:
    for part, words in ((make(url="u"), urls), (make(file_id="f"), ids)):
        if words is None:
            encode((Message.user(part),), quirks=quirks)
            continue
        with pytest.raises(UnsupportedError, match=rf"^messages\[0\]: {words}$"):
            encode((Message.user(part),), quirks=quirks)


def test_results() -> None:
    call = ToolCallPart("a b", "click", "{}", extra={"toolset_name": "browser"})
    empty = ToolResultPart("a b", extra={"novel": 1})
    sent = encode((Message.user("Hi"), Message.assistant(call), Message("tool", (empty,)))).body["messages"]
    block = sent[2]["content"][0]
    assert block == {
        "type": "tool_result",
        "tool_use_id": sent[1]["content"][0]["id"],
        "toolset_name": "browser",
        "novel": 1,
    }


# -- the recorded requests -----------------------------------------------------------------------------------


def test_every_recorded_field_can_be_said() -> None:
    """By a general knob or an own field; what a block or a tool holds is sent as it is given."""
    said = {"messages", "model", "stream", "temperature", "top_k", "top_p"} | set(
        AnthropicOptions.__struct_fields__
    )
    fields = {name for record in records("anthropic_messages") for name in record.request or ()}
    assert len(fields) > 15
    assert fields <= said


def test_every_recorded_tool_and_user_block_goes_out_as_it_is() -> None:
    seen: set[str] = set()
    for record in records("anthropic_messages"):
        request = record.request or {}
        for tool in request.get("tools", ()):
            assert encode(tools=(tool_of(tool),)).body["tools"] == [tool]
            seen.add(tool.get("type", "function"))
        for message in request.get("messages", ()):
            if message["role"] == "assistant" or isinstance(message["content"], str):
                continue
            parts = tuple(OpaquePart(block["type"], block) for block in message["content"])
            sent = encode((Message.user("Hi"), Message(message["role"], parts))).body["messages"][1]
            assert sent == message or sent["content"] == message["content"][0]["text"]
            seen |= {block["type"] for block in message["content"]}
    assert len(seen) == 18


def tool_of(tool: dict[str, Any]) -> Tool | HostedTool:
    rest = dict(tool)
    if "type" in tool:
        return HostedTool(rest.pop("type"), rest)
    return Tool(
        rest.pop("name"),
        rest.pop("description"),
        rest.pop("input_schema"),
        rest.pop("strict", None),
        extra=rest,
    )
