"""Turns of every protocol's fixtures go through LangChain's messages, its dumps and its editing, and are not lost."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from langchain_core.language_models._utils import _update_message_content_to_blocks
from langchain_core.load import dumps, loads
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    filter_messages,
    merge_message_runs,
    message_chunk_to_message,
    messages_from_dict,
    messages_to_dict,
    trim_messages,
)

from brainwires_provider.events import (
    Event,
    PartEnd,
    PartStart,
    ResponseEnd,
    ResponseStart,
    ToolCallDelta,
    collect,
)
from brainwires_provider.integrations.langchain.chunks import Chunks
from brainwires_provider.integrations.langchain.messages import from_response, to_messages
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
    Response,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from paths import FIXTURES

pytestmark = pytest.mark.long
CLAUDE = Origin("anthropic_messages", "anthropic", "claude-x")


def decoded(path: Any) -> list[Event]:
    """The events of a fixture; none for one that ends with an error."""
    events = json.loads(path.read_bytes())
    return [] if not events or "error" in events[-1] else msgspec.convert(events, list[Event])


TURNS = {
    path.parent.relative_to(FIXTURES).as_posix(): events
    for path in sorted(FIXTURES.glob("*/*/events.json"))
    if (events := decoded(path)) and isinstance(events[-1], ResponseEnd)
}


def dumped(message: BaseMessage) -> BaseMessage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is in beta, and warns of that
        return loads(dumps(message), allowed_objects="messages")


def as_dict(message: BaseMessage) -> BaseMessage:
    return messages_from_dict(json.loads(json.dumps(messages_to_dict([message]))))[0]


def standard(message: AIMessage) -> AIMessage:
    return _update_message_content_to_blocks(message, "v1")


def streamed(events: Sequence[Event], response: Response[Any], version: str | None = None) -> AIMessage:
    chunks = Chunks()
    made = [chunk.message for event in events if (chunk := chunks.of(event))]
    made += [chunk.message for chunk in chunks.last(response, "test:m")]
    if version:
        made = [
            _indexed(_update_message_content_to_blocks(chunk, version), at) for at, chunk in enumerate(made)
        ]
    total = made[0]
    for chunk in made[1:]:
        total += chunk
    return message_chunk_to_message(total)


def _indexed(chunk: AIMessageChunk, at: int) -> AIMessageChunk:
    """As `BaseChatModel.stream` numbers blocks, but each for itself."""
    for block in chunk.content:
        block.setdefault("index", at)
    return chunk


@pytest.mark.parametrize("name", sorted(TURNS))
def test_a_turn_of_any_protocol_comes_back_as_it_was(name: str) -> None:
    events = TURNS[name]
    response = collect(events, provider="test")
    ways: dict[str, AIMessage] = {
        "whole": from_response(response, "test:m"),
        "streamed": streamed(events, response),
        "standard": standard(from_response(response, "test:m")),
        "streamed, standard": streamed(events, response, "v1"),
    }
    for way, message in ways.items():
        for stored in (message, dumped(message), as_dict(message)):
            assert to_messages([stored]) == [response.message], way
    assert ways["streamed"].text == ways["whole"].text == response.text
    assert ways["streamed"].tool_calls == ways["whole"].tool_calls
    assert ways["streamed"].usage_metadata == ways["whole"].usage_metadata
    if not ways["whole"].invalid_tool_calls:
        assert ways["streamed"].content_blocks == ways["whole"].content_blocks


def calling(begun: Part, ended: Part, *texts: str, finish: Any = "tool_calls") -> list[Event]:
    """A stream of one call."""
    deltas = [ToolCallDelta(0, text) for text in texts]
    end = ResponseEnd(finish, None, Usage(), "r1", "m-1")
    return [ResponseStart(), PartStart(0, begun), *deltas, PartEnd(0, ended), end]


ARGUMENTS = '{"a": [{"b": "x{\\"]}y\\n", "c": {"d": [1, -2.5e3, null]}}], "e": "\\u00e9\\\\"}'


def test_no_arguments_that_were_cut_off_can_be_run() -> None:
    begun = ToolCallPart("c1", "add", "", extra={"x": 1}, origin=CLAUDE)
    for length in range(len(ARGUMENTS)):
        text = ARGUMENTS[:length]
        ended = msgspec.structs.replace(begun, arguments=text)
        events = calling(begun, ended, *text, finish="length")
        response = collect(events)
        for message in (streamed(events, response), from_response(response, "test:m")):
            assert not message.tool_calls and len(message.invalid_tool_calls) == 1, text
            (call,) = message.invalid_tool_calls
            assert call["id"] == "c1" and call["name"] == "add" and call["args"].startswith(text)
            for stored in (message, dumped(message)):
                assert to_messages([stored]) == [response.message]
    whole = msgspec.structs.replace(begun, arguments=ARGUMENTS)
    assert streamed(calling(begun, whole, *ARGUMENTS), collect(calling(begun, whole))).tool_calls


REPLACED: dict[str, tuple[Part, Part, str]] = {
    "nothing": (ToolCallPart("c1", "add", ""), OpaquePart("search", {"x": 1}), '{"a": 1}'),
    "nothing, before its arguments": (ToolCallPart("c1", "add", ""), OpaquePart("search", {"x": 1}), ""),
    "another name": (ToolCallPart("c1", "add", ""), ToolCallPart("c1", "sub", '{"a": 1}'), '{"a": 1}'),
    "another id": (ToolCallPart("c1", "add", ""), ToolCallPart("c2", "add", '{"a": 1}'), '{"a": 1}'),
    "a custom call": (ToolCallPart("c1", "add", ""), ToolCallPart("c1", "add", "ls", kind="custom"), "{"),
    "a call that was cut off": (ToolCallPart("c1", "add", ""), ToolCallPart("c2", "sub", '{"a'), '{"a'),
    "a call, from an item": (OpaquePart("shell", {}), ToolCallPart("c1", "sh", '{"a": 1}'), '{"a": 1}'),
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_call_that_was_announced_and_replaced_is_no_call_of_the_sum(name: str) -> None:
    begun, ended, text = REPLACED[name]
    events = calling(begun, ended, text)
    response = collect(events)
    message, whole = streamed(events, response), from_response(response, "test:m")
    assert message.tool_calls == whole.tool_calls
    assert to_messages([message]) == [response.message] == to_messages([dumped(message)])


def test_there_are_turns_with_everything_that_could_be_lost() -> None:
    parts = [part for events in TURNS.values() for part in collect(events).message.content]
    assert any(isinstance(p, ReasoningPart) and p.signature for p in parts)
    assert any(isinstance(p, ReasoningPart) and p.encrypted for p in parts)
    assert any(isinstance(p, ToolCallPart) and p.extra for p in parts)
    assert any(isinstance(p, OpaquePart) for p in parts) and any(isinstance(p, ImagePart) for p in parts)
    assert any(isinstance(p, TextPart) and p.citations for p in parts) and len(TURNS) > 100


# -- editing -------------------------------------------------------------------------------------------------

THOUGHT = ReasoningPart("Let me see.", signature="sig", origin=CLAUDE)
HIDDEN = ReasoningPart(encrypted="xyz", redacted=True, origin=CLAUDE)
FIRST = TextPart("One. ", citations=(Citation(url="https://a.example"),), origin=CLAUDE)
SECOND = TextPart("Two.", extra={"id": "t2"}, origin=CLAUDE)
SEARCH = OpaquePart(
    "server_tool_use", {"input": {"query": "x"}}, id="s1", name="web_search", role="call", origin=CLAUDE
)
CALL = ToolCallPart("c1", "add", '{"a": 1,  "b": 2}', extra={"thoughtSignature": "ts"}, origin=CLAUDE)
OTHER = ToolCallPart("c2", "add", "{}", origin=CLAUDE)
PICTURE = ImagePart(data=b"\x89PNG\r\n\x1a\nx", origin=CLAUDE)
WHOLE: tuple[Part, ...] = (THOUGHT, HIDDEN, FIRST, SEARCH, SECOND, PICTURE, CALL, OTHER)


def turn(*parts: Part, **fields: Any) -> AIMessage:
    response: Response[Any] = Response(
        "r1", "anthropic", "claude-x-1", Message("assistant", parts, **fields), "stop", "end_turn", Usage()
    )
    return from_response(response, "anthropic:claude-x")


def back(message: BaseMessage) -> tuple[Part, ...]:
    (made,) = to_messages([message])
    return made.content


def text_edited(m: AIMessage) -> None:
    m.content = "Hello."


def text_removed(m: AIMessage) -> None:
    m.content = ""


def call_edited(m: AIMessage) -> None:
    m.tool_calls[0]["args"] = {"a": 5}


def calls_replaced(m: AIMessage) -> None:
    m.tool_calls = [{"name": "sub", "args": {}, "id": "n", "type": "tool_call"}, m.tool_calls[1]]


def reasoning_removed(m: AIMessage) -> None:
    del m.additional_kwargs["reasoning_content"]


def reasoning_edited(m: AIMessage) -> None:
    m.additional_kwargs["reasoning_content"] = "Other."


def reasoning_doubled(m: AIMessage) -> None:
    m.additional_kwargs["reasoning_content"] = "Discarded by a restart.Let me see."


def as_list(m: AIMessage) -> None:
    m.content = [{"type": "text", "text": m.content, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]


def picture_added(m: AIMessage) -> None:
    m.content = [{"type": "text", "text": m.content}, {"type": "image", "url": "https://a.example/x.png"}]


OWN = TextPart("Hello.")
EDITS: dict[Callable[[AIMessage], None], tuple[Part, ...]] = {
    lambda m: None: WHOLE,
    text_edited: (THOUGHT, HIDDEN, OWN, SEARCH, PICTURE, CALL, OTHER),
    text_removed: (THOUGHT, HIDDEN, SEARCH, PICTURE, CALL, OTHER),
    call_edited: (*WHOLE[:6], ToolCallPart("c1", "add", '{"a":5}'), OTHER),
    calls_replaced: (*WHOLE[:6], OTHER, ToolCallPart("n", "sub", "{}")),
    reasoning_removed: WHOLE[1:],
    reasoning_edited: (ReasoningPart("Other."), *WHOLE[1:]),
    reasoning_doubled: WHOLE,
    as_list: WHOLE,
    picture_added: (*WHOLE, ImagePart(url="https://a.example/x.png")),
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_what_was_edited_is_sent_as_it_is_now(edit: Callable[[AIMessage], None]) -> None:
    message = turn(*WHOLE)
    edit(message)
    made = back(message)
    assert sorted(map(repr, made)) == sorted(map(repr, EDITS[edit])) or made == EDITS[edit]
    assert [p for p in made if p in WHOLE] == [p for p in WHOLE if p in made]  # in their order


def test_a_cache_mark_of_an_edit_is_taken() -> None:
    message = turn(FIRST, SECOND)
    as_list(message)
    assert [part.cache for part in back(message)] == [None, Cache("1h")]  # type: ignore[union-attr]


def removed(message: AIMessage, *kinds: str) -> tuple[Part, ...]:
    message = standard(message)
    message.content = [block for block in message.content if block["type"] not in kinds]
    return back(message)


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        (("reasoning",), (HIDDEN, FIRST, SEARCH, SECOND, PICTURE, CALL, OTHER)),
        (("image",), (THOUGHT, HIDDEN, FIRST, SEARCH, SECOND, CALL, OTHER)),
        (("server_tool_call",), (THOUGHT, HIDDEN, FIRST, SECOND, PICTURE, CALL, OTHER)),
        (("text",), (THOUGHT, HIDDEN, SEARCH, PICTURE, CALL, OTHER)),
        ((), WHOLE),
    ],
)
def test_blocks_that_were_filtered_out_of_standard_content_are_not_sent(
    kinds: tuple[str, ...], left: tuple[Part, ...]
) -> None:
    assert removed(turn(*WHOLE), *kinds) == left


def test_one_text_of_standard_content_is_edited() -> None:
    message = standard(turn(*WHOLE))
    next(block for block in message.content if block["type"] == "text")["text"] = "Hello."
    assert back(message) == (THOUGHT, HIDDEN, OWN, SEARCH, SECOND, PICTURE, CALL, OTHER)


def test_langchains_own_editing() -> None:
    history = [
        HumanMessage("a"),
        turn(*WHOLE),
        ToolMessage("3", tool_call_id="c1"),
        ToolMessage("0", tool_call_id="c2"),
    ]
    kept = filter_messages(history, include_types=["ai"])
    assert [m.content for m in to_messages(kept)] == [WHOLE]
    trimmed = trim_messages(history, max_tokens=3, token_counter=len, strategy="last")
    assert to_messages(trimmed)[0].content == WHOLE
    cut = trim_messages(
        [turn(FIRST, SECOND)],
        max_tokens=3,
        token_counter=lambda messages: sum(len(m.text) for m in messages),
        strategy="first",
        allow_partial=True,
        text_splitter=lambda text: list(text),
    )
    assert [m.content for m in to_messages(cut)] == [(TextPart("One"),)]
    (merged,) = merge_message_runs([turn(THOUGHT, FIRST), turn(HIDDEN, SECOND)])
    assert back(merged) == (THOUGHT, TextPart("One. \nTwo."), HIDDEN)
    (copied,) = to_messages([turn(*WHOLE).model_copy(deep=True)])
    assert copied.content == WHOLE


def test_fields_of_the_whole_message_are_kept() -> None:
    (made,) = to_messages([dumped(turn(FIRST, extra={"phase": "final"}))])
    assert made == Message("assistant", (FIRST,), extra={"phase": "final"})


def test_a_damaged_dump_is_named() -> None:
    message = turn(FIRST)
    message.additional_kwargs["brainwires"] = ['{"version":1,']
    with pytest.raises(ValueError, match=r"messages\[1\]\.additional_kwargs\['brainwires'\] was damaged"):
        to_messages([HumanMessage("a"), message])


def test_refusals_and_broken_calls() -> None:
    refusal = RefusalPart("I cannot.", origin=CLAUDE)
    broken = ToolCallPart("c9", "add", '{"a": ', origin=CLAUDE)
    custom = ToolCallPart("c8", "run", "ls -l", kind="custom", origin=CLAUDE)
    message = turn(refusal, broken, custom)
    assert message.additional_kwargs["refusal"] == "I cannot."
    assert [call["args"] for call in message.invalid_tool_calls] == ['{"a": ']
    assert message.tool_calls[0]["args"] == {"__arg1": "ls -l"}
    assert back(dumped(message)) == (refusal, broken, custom)
    assert [block["type"] for block in message.content_blocks] == [
        "refusal",
        "invalid_tool_call",
        "tool_call",
    ]
    message.additional_kwargs.pop("refusal")
    message.tool_calls[0]["args"] = {"__arg1": "pwd"}
    assert back(message) == (broken, ToolCallPart("c8", "run", "pwd", kind="custom"))


# -- messages that others made -------------------------------------------------------------------------------

PNG, PDF, WAV = b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"RIFF0000WAVE"
B64 = {
    kind: __import__("base64").b64encode(data).decode()
    for kind, data in (("png", PNG), ("pdf", PDF), ("wav", WAV))
}
BLOCKS: list[tuple[dict[str, Any], Part]] = [
    ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, TextPart("a", cache=Cache())),
    ({"type": "image_url", "image_url": "https://a.example/x"}, ImagePart(url="https://a.example/x")),
    (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64['png']}", "detail": "low"}},
        ImagePart(data=PNG, media_type="image/png", detail="low"),
    ),
    ({"type": "image", "url": "https://a.example/x"}, ImagePart(url="https://a.example/x")),
    (
        {"type": "image", "base64": B64["png"], "mime_type": "image/png"},
        ImagePart(data=PNG, media_type="image/png"),
    ),
    ({"type": "image", "file_id": "f1"}, ImagePart(file_id="f1")),
    (
        {"type": "image", "source_type": "base64", "data": B64["png"], "mime_type": "image/png"},
        ImagePart(data=PNG, media_type="image/png"),
    ),
    ({"type": "image", "source_type": "id", "id": "f1"}, ImagePart(file_id="f1")),
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64["png"]}},
        ImagePart(data=PNG, media_type="image/png"),
    ),
    (
        {"type": "image", "source": {"type": "url", "url": "https://a.example/x"}},
        ImagePart(url="https://a.example/x"),
    ),
    (
        {"type": "document", "source": {"type": "file", "file_id": "f1"}, "title": "T"},
        FilePart(file_id="f1", name="T"),
    ),
    (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        FilePart(data=b"x", media_type="text/plain"),
    ),
    (
        {
            "type": "file",
            "base64": B64["pdf"],
            "mime_type": "application/pdf",
            "extras": {"filename": "a.pdf"},
        },
        FilePart(data=PDF, media_type="application/pdf", name="a.pdf"),
    ),
    (
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{B64['pdf']}"},
        },
        FilePart(data=PDF, media_type="application/pdf", name="a.pdf"),
    ),
    ({"type": "file", "file": {"file_id": "f1"}}, FilePart(file_id="f1")),
    (
        {"type": "audio", "base64": B64["wav"], "mime_type": "audio/wav"},
        FilePart(data=WAV, media_type="audio/wav"),
    ),
    (
        {"type": "input_audio", "input_audio": {"data": B64["wav"], "format": "wav"}},
        FilePart(data=WAV, media_type="audio/wav"),
    ),
    ({"type": "video", "url": "https://a.example/v"}, FilePart(url="https://a.example/v")),
    (
        {"type": "text-plain", "text": "x", "mime_type": "text/plain", "title": "T"},
        FilePart(data=b"x", media_type="text/plain", name="T"),
    ),
    (
        {"type": "media", "mime_type": "image/png", "data": B64["png"]},
        ImagePart(data=PNG, media_type="image/png"),
    ),
    (
        {"type": "media", "mime_type": "video/mp4", "file_uri": "gs://b/v"},
        FilePart(url="gs://b/v", media_type="video/mp4"),
    ),
]


@pytest.mark.parametrize(("block", "part"), BLOCKS, ids=lambda each: str(each)[:60])
def test_blocks_of_all_forms_are_taken(block: dict[str, Any], part: Part) -> None:
    (made,) = back(HumanMessage([block]))
    assert made == part and getattr(made, "cache", None) == getattr(part, "cache", None)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "hologram"}, "'hologram', which is not known"),
        ({"type": "image"}, "none of url, base64"),
        ({"type": "image", "source": {"type": "x"}}, "not base64, url, file or text"),
        ({"type": "image", "base64": "!"}, "is not of that form"),
        ({"type": "text"}, "is not of that form: KeyError"),
    ],
)
def test_a_block_of_another_form_is_named(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        to_messages([SystemMessage("x"), HumanMessage(["a", block])])
    assert "messages[1].content[1]" in str(caught.value)


def test_messages_of_all_roles() -> None:
    made = to_messages(
        [
            SystemMessage("s"),
            SystemMessage("d", additional_kwargs={"__openai_role__": "developer"}),
            ChatMessage("c", role="human"),
            HumanMessage("u", name="ada"),
            AIMessage("a", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}]),
            ToolMessage([{"type": "text", "text": "3"}, {"x": 1}], tool_call_id="c1", status="error"),
            FunctionMessage("4", name="add"),
        ]
    )
    assert made == [
        Message("system", "s"),
        Message("developer", "d"),
        Message("user", "c"),
        Message("user", "u", name="ada"),
        Message("assistant", (TextPart("a"), ToolCallPart("c1", "add", '{"a":1}'))),
        Message("tool", ToolResultPart("c1", ("3", '{"x":1}'), is_error=True, name="add")),
        Message("tool", ToolResultPart("c1", "4", name="add")),
    ]
    with pytest.raises(ValueError, match=r"messages\[0\] is a RemoveMessage"):
        to_messages([RemoveMessage(id="1")])


def test_turns_of_other_classes() -> None:
    anthropic = AIMessage(
        [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "t"},
            {"type": "tool_use", "id": "c", "name": "add", "input": {}},
        ],
        tool_calls=[{"name": "add", "args": {}, "id": "c"}],
    )
    assert back(anthropic) == (ReasoningPart("hm"), TextPart("t"), ToolCallPart("c", "add", "{}"))
    deepseek = AIMessage("t", additional_kwargs={"reasoning_content": "hm"})
    assert back(deepseek) == (ReasoningPart("hm"), TextPart("t"))
    responses = AIMessage(
        [
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "text", "text": "t", "annotations": []},
            {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"query": "q"}},
        ],
        response_metadata={"model_provider": "openai"},
    )
    made = back(responses)
    assert made[:2] == (ReasoningPart("hm"), TextPart("t"))
    assert all(isinstance(part, OpaquePart) and part.origin for part in made[2:]) and len(made) > 2
    result = HumanMessage(
        [
            {
                "type": "tool_result",
                "tool_use_id": "c",
                "content": [{"type": "text", "text": "3"}],
                "is_error": True,
            },
            {"type": "text", "text": "And now?"},
        ]
    )
    assert to_messages([result]) == [
        Message("tool", ToolResultPart("c", "3", is_error=True)),
        Message("user", "And now?"),
    ]
