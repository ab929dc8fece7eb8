"""Chat Completions beyond the fixtures: quirks that no row has, and what a careless caller may do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider.errors import ProtocolError, UnsupportedError
from brainwires_provider.events import OpaqueDelta, ResponseEnd, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.facts import ModelFacts
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat, OpenAIChatOptions
from brainwires_provider.protocols.openai_chat.messages import merge_system
from brainwires_provider.protocols.openai_chat.parts import (
    citations_of,
    decode_fragment,
    decode_image,
    joined_blocks,
    search_citations,
)
from brainwires_provider.protocols.openai_responses import OpenAIResponses
from brainwires_provider.types import (
    Cache,
    Citation,
    FilePart,
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    OpaquePart,
    Options,
    Origin,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Usage,
)
from known import encode_known

ORIGIN = Origin("openai_chat", "p", "m")


@pytest.mark.parametrize(
    ("quirk", "wanted", "body", "lost"),
    [
        ("effort", Reasoning(budget_tokens=5), {}, "budget_tokens"),
        ("effort", "off", {"reasoning_effort": "none"}, ""),
        ("object", Reasoning(), {"reasoning": {}}, ""),
        ("thinking", "medium", {"thinking": {"type": "enabled"}}, ""),
        ("none", Reasoning("low", 5), {}, "effort or budget_tokens"),
    ],
)
def test_reasoning_is_asked_for_as_the_service_takes_it(
    quirk: Any, wanted: Any, body: dict[str, Any], lost: str
) -> None:
    request = Request((Message.user("Hi"),), "m", options=Options(reasoning=wanted))
    call = OpenAIChat(ChatQuirks(reasoning=quirk)).encode(request, ORIGIN, stream=False)
    assert {k: v for k, v in call.body.items() if k not in ("model", "messages")} == body
    assert [d.reason for d in call.deviations] == (
        [f"this service's Chat Completions cannot say {lost}"] if lost else []
    )


@pytest.mark.parametrize(
    ("media_type", "form"),
    [
        ("audio/wav", "wav"),
        ("audio/x-wav", "wav"),
        ("audio/mpeg", "mp3"),
        ("audio/mp3", "mp3"),
        ("audio/flac", "flac"),
    ],
)
def test_the_format_of_sound(media_type: str, form: str) -> None:
    """Both APIs of OpenAI have "wav" and "mp3" (`InputAudio.format` of openai-python); others are named alike."""
    request = Request((Message.user(FilePart(data=b"a", media_type=media_type)),), "m")
    item = {"type": "input_audio", "input_audio": {"data": "YQ==", "format": form}}
    protocols: tuple[tuple[Any, str], ...] = ((OpenAIChat(), "messages"), (OpenAIResponses(), "input"))
    for protocol, name in protocols:
        (message,) = encode_known(protocol, request, ORIGIN, stream=False).body[name]
        assert message["content"] == [item]


# What one element of `tool_calls` is read as: index, id, name, kind, arguments, extra.
FRAGMENTS: tuple[tuple[dict[str, Any], tuple[Any, ...]], ...] = (
    (
        {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        (1, "c", "f", "function", "{}", {}),
    ),
    ({}, (None, None, "", "function", "", {})),
    ({"id": "", "function": None}, (None, None, "", "function", "", {})),
    ({"id": 5, "function": {"name": None}}, (None, "5", "", "function", "", {})),
    (
        {"type": "custom", "custom": {"name": "f", "input": "x", "arguments": "y"}},
        (None, None, "f", "custom", "x", {}),
    ),
    ({"custom": {"name": "f", "input": "x"}}, (None, None, "f", "custom", "x", {})),
    (
        {"custom": {"a": 1}, "function": {"name": "f"}},
        (None, None, "f", "function", "", {"custom": {"a": 1}}),
    ),
    ({"type": "odd", "function": {"name": "f", "arguments": "{}"}}, (None, None, "f", "odd", "{}", {})),
    (
        {"id": "c", "name": "f", "arguments": {"a": 1}, "x": 2},
        (None, "c", "f", "function", '{"a":1}', {"x": 2}),
    ),
    ({"type": "custom", "name": "f", "input": "x"}, (None, None, "f", "custom", "x", {})),
    ({"name": "g", "function": {"name": "f"}}, (None, None, "f", "function", "", {"name": "g"})),
    ({"arguments": "{}"}, (None, None, "", "function", "{}", {})),
    ({"input": "x"}, (None, None, "", "function", "", {})),
    (
        {
            "function": {"name": "f", "arguments": None, "strict": True, "n": None},
            "extra_content": {"a": 1},
            "s": None,
        },
        (None, None, "f", "function", "", {"function": {"strict": True}, "extra_content": {"a": 1}}),
    ),
    ({"function": {"arguments": [1]}}, (None, None, "", "function", "[1]", {})),
    ({"function": {"arguments": False}}, (None, None, "", "function", "false", {})),
    ({"function": {"arguments": {}}}, (None, None, "", "function", "{}", {})),
)


@pytest.mark.parametrize(("wire", "expected"), FRAGMENTS)
def test_every_form_of_a_call(wire: dict[str, Any], expected: tuple[Any, ...]) -> None:
    before = json.dumps(wire)
    read = decode_fragment(wire)
    assert (read.index, read.id, read.name, read.kind, read.arguments, read.extra) == expected
    assert json.dumps(wire) == before
    for name in (5, ["f"]):
        with pytest.raises(TypeError, match=f"a tool call's name is {type(name).__name__}"):
            decode_fragment({"function": {"name": name}})


THINKING = {"type": "thinking", "thinking": "a"}


@pytest.mark.parametrize(
    ("fragments", "blocks"),
    [
        ([THINKING, {**THINKING, "thinking": "b"}], [{**THINKING, "thinking": "ab"}]),
        (
            [THINKING, {"type": "thinking", "signature": "s"}, THINKING],
            [{**THINKING, "signature": "s"}, THINKING],
        ),
        ([THINKING, {**THINKING, "thinking": None}], [THINKING]),
        ([THINKING, {"type": "redacted_thinking", "data": "d"}, THINKING],
         [THINKING, {"type": "redacted_thinking", "data": "d"}, THINKING]),
        ([{"type": "redacted_thinking"}, {"type": "redacted_thinking"}], [{"type": "redacted_thinking"}] * 2),
        (["odd", THINKING, THINKING], ["odd", {**THINKING, "thinking": "aa"}]),
        ([None, THINKING, 3, THINKING], [None, THINKING, 3, THINKING]),
        ([], []),
        ("odd", "odd"),
        ({"a": 1}, {"a": 1}),
    ],
)  # fmt: skip
def test_blocks_of_thinking_go_back_whole(fragments: Any, blocks: Any) -> None:
    before = json.dumps(fragments)
    assert joined_blocks(fragments) == blocks
    assert json.dumps(fragments) == before
    answer = Message("assistant", (TextPart("Hi", origin=ORIGIN),), extra={"thinking_blocks": fragments})
    call = OpenAIChat().encode(Request((Message.user("a"), answer), "m"), ORIGIN, stream=False)
    assert call.body["messages"][1] == {"role": "assistant", "content": "Hi", "thinking_blocks": blocks}


PIXEL = "data:image/png;base64,AAEC"
FAR = "https://x.test/;base64,AAEC"
BYTES = {"data": b"\x00\x01\x02", "media_type": "image/png"}


@pytest.mark.parametrize(
    ("item", "image"),
    [
        ({"type": "image_url", "image_url": {"url": FAR}}, {"url": FAR}),
        ({"image_url": FAR}, {"url": FAR}),
        (
            {"type": "image_url", "index": 0, "image_url": {"url": PIXEL, "detail": "low"}},
            {**BYTES, "extra": {"index": 0, "detail": "low"}},
        ),
        ({"image_url": PIXEL.replace(";", ";a=b;")}, BYTES),
        ({"image_url": PIXEL.replace("data", "DATA")}, BYTES),
        (
            {"image_url": "data:;base64,iVBORw0KGgo="},
            {"data": b"\x89PNG\r\n\x1a\n", "media_type": "image/png"},
        ),
        ({"image_url": "data:image/png;base64,@"}, {"url": "data:image/png;base64,@"}),
        ({"image_url": "data:image/svg+xml,%3Csvg>"}, {"data": b"<svg>", "media_type": "image/svg+xml"}),
        ({"image_url": "data:;base64,AAEC"}, None),
        ({"image_url": "data:,AAEC"}, None),
        ({"type": "video_url", "image_url": PIXEL}, None),
        ({"image_url": ""}, None),
        ({"image_url": {"url": 3}}, None),
        ({"image_url": None}, None),
        ({}, None),
        ("odd", None),
    ],
)
def test_every_form_of_an_image(item: Any, image: dict[str, Any] | None) -> None:
    assert decode_image(item, ORIGIN) == (None if image is None else ImagePart(**image, origin=ORIGIN))


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (
            {
                "type": "url_citation",
                "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 3},
            },
            {"url": "u", "title": "t", "start": 0, "end": 3},
        ),
        ({"type": "url_citation", "url": "u", "content": "q"}, {"url": "u", "quote": "q"}),
        ({"type": "url_citation", "url_citation": "odd", "url": "u"}, {"url": "u"}),
        ({"type": "file", "file": {"name": "n", "hash": "h"}, "url": "u"}, {"title": "n", "source": "h"}),
        ({"title": "t", "name": "n", "file_id": "f", "hash": "h"}, {"title": "t", "source": "f"}),
        ({"url": 3, "title": [], "content": {}, "start_index": "0", "end_index": True, "file_id": 5}, {}),
        ({}, {}),
    ],
)
def test_every_form_of_an_annotation(annotation: dict[str, Any], told: dict[str, Any]) -> None:
    assert citations_of([annotation, "odd", 3]) == [Citation(**told, raw=annotation)]


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (
            {
                "search_results": [
                    {"url": "u", "title": "t", "snippet": "s"},
                    {"url": ""},
                    {"title": "t"},
                    "odd",
                ]
            },
            [{"url": "u", "title": "t", "quote": "s"}],
        ),
        ({"citations": ["u", "v", 3, None]}, [{"url": "u"}, {"url": "v"}]),
        ({"search_results": [{"url": "u"}], "citations": ["u", "v"]}, [{"url": "u"}, {"url": "v"}]),
        ({"search_results": "odd", "citations": {"u": 1}}, []),
        ({}, []),
    ],
)
def test_every_form_of_a_search(extra: dict[str, Any], told: list[dict[str, Any]]) -> None:
    found = search_citations(extra)
    assert [{name: getattr(each, name) for name in ("url", "title", "quote")} for each in found] == [
        {"title": None, "quote": None, **each} for each in told
    ]
    assert [each.raw for each in found] == [
        next((item for item in extra.get("search_results", ()) if item["url"] == each.url), each.url)
        for each in found
    ]


PDF = FilePart(data=b"abc", media_type="application/pdf", name="a.pdf")
DATA = "data:application/pdf;base64,YWJj"
NAMED = FilePart(file_id="f1", media_type="application/pdf")
LINKED = FilePart(url="https://x.test/a", media_type="application/pdf")
CSV = FilePart(data=b"a,b", media_type="text/csv")
FILM = FilePart(data=b"abc", media_type="video/mp4")


@pytest.mark.parametrize(
    ("quirks", "part", "item"),
    [
        ({}, PDF, {"type": "file", "file": {"file_data": DATA, "filename": "a.pdf"}}),
        ({}, replace(PDF, name=None), {"type": "file", "file": {"file_data": DATA, "filename": "file"}}),
        ({}, NAMED, {"type": "file", "file": {"file_id": "f1"}}),
        ({}, FilePart(file_id="f"), {"type": "file", "file": {"file_id": "f"}}),
        ({}, LINKED, "files as data or file_id, not by URL"),
        (
            {"file_urls": True},
            LINKED,
            {"type": "file", "file": {"file_data": "https://x.test/a", "filename": "file"}},
        ),
        ({}, CSV, {"type": "file", "file": {"file_data": "data:text/csv;base64,YSxi", "filename": "file"}}),
        ({"text_files": False}, CSV, {"type": "text", "text": "a,b"}),
        ({"text_files": False}, replace(CSV, data=b"\xff"), "must be UTF-8"),
        ({"text_files": False}, PDF, {"type": "file", "file": {"file_data": DATA, "filename": "a.pdf"}}),
        (
            {"documents": "file_url"},
            PDF,
            {"type": "file_url", "file_url": {"url": "YWJj"}, "file_name": "a.pdf"},
        ),
        ({"documents": "file_url"}, LINKED, {"type": "file_url", "file_url": {"url": "https://x.test/a"}}),
        ({"documents": "file_url"}, NAMED, "files as data or by URL, not by file_id"),
        ({"documents": "document_url"}, PDF, {"type": "document_url", "document_url": DATA}),
        ({"documents": "document_url"}, LINKED, {"type": "document_url", "document_url": "https://x.test/a"}),
        ({"documents": "document_url"}, FilePart(url="u"), {"type": "document_url", "document_url": "u"}),
        ({"documents": "document_url"}, NAMED, {"type": "file", "file_id": "f1"}),
        ({}, FILM, "takes no video"),
        ({"video": True}, FILM, {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,YWJj"}}),
        (
            {"video": True},
            FilePart(url="https://x.test/a", media_type="video/mp4"),
            {"type": "video_url", "video_url": {"url": "https://x.test/a"}},
        ),
        ({"video": True}, FilePart(file_id="f", media_type="video/mp4"), "takes no video"),
        ({}, FilePart(file_id="f", media_type="audio/wav"), "audio as data, not by file_id"),
        ({}, FilePart(url="https://x.test/a", media_type="audio/wav"), "audio as data, not by URL"),
        (
            {"audio": "text"},
            FilePart(url="https://x.test/a", media_type="audio/wav"),
            {"type": "input_audio", "input_audio": "https://x.test/a"},
        ),
        (
            {"audio": "text"},
            FilePart(data=b"abc", media_type="audio/wav"),
            {"type": "input_audio", "input_audio": "YWJj"},
        ),
        ({"audio": "text"}, FilePart(file_id="f", media_type="audio/wav"), "audio as data, not by file_id"),
        ({}, FilePart(data=b"abc"), "needs its media_type"),
        ({}, ImagePart(file_id="f"), "images as data or URL, not by file_id"),
        ({}, ImagePart(data=b"abc"), "needs its media_type"),
        ({}, ReasoningPart("H"), "ReasoningPart cannot be sent in a message of this role"),
        ({}, OpaquePart("x", [1]), r"OpaquePart\('x'\) cannot be sent in a message of this role"),
        (
            {},
            ImagePart(data=b"abc", media_type="image/png", detail="low"),
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj", "detail": "low"}},
        ),
        (
            {},
            ImagePart(url="https://x.test/a"),
            {"type": "image_url", "image_url": {"url": "https://x.test/a"}},
        ),
    ],
)
def test_every_form_of_a_file(quirks: dict[str, Any], part: Any, item: Any) -> None:
    protocol, request = OpenAIChat(ChatQuirks(**quirks)), Request((Message.user("a", part),), "m")
    if isinstance(item, str):
        with pytest.raises(UnsupportedError, match=item) as caught:
            protocol.encode(request, ORIGIN, stream=False)
        assert (caught.value.provider, caught.value.model) == ("p", "m")
        return
    call = protocol.encode(request, ORIGIN, stream=False)
    assert call.body["messages"][0]["content"][1:] == [item] or call.body["messages"][0]["content"] == "aa,b"
    assert [each.outcome for each in call.deviations] == ["adapted"] * (item["type"] == "text")


def test_sound_that_is_none_is_misshapen() -> None:
    for audio in ({"data": "@"}, {"data": "A"}, {"transcript": 3}):
        with pytest.raises(ProtocolError):
            OpenAIChat().decoder(ORIGIN).feed(spoken(audio))
    decoder = OpenAIChat().decoder(ORIGIN)
    said: list[dict[str, Any]] = [
        {"expires_at": None, "data": ""},
        {"id": "a", "data": "AA==", "expires_at": 5, "x": None},
        {"data": "AQ==", "transcript": "H"},
        {"transcript": "i", "expires_at": 6},
    ]
    events = [event for audio in said for event in decoder.feed(spoken(audio))]
    response = collect(events + decoder.feed(WireMessage(b"[DONE]")))
    sound = FilePart(data=b"\x00\x01", text="Hi", extra={"id": "a", "expires_at": 6}, origin=ORIGIN)
    assert response.message.content == (sound,)
    assert response.message.extra == {"audio": {"expires_at": None, "data": ""}}
    assert [event.data for event in events if isinstance(event, OpaqueDelta)] == said[1:]


def spoken(audio: dict[str, Any]) -> WireMessage:
    return WireMessage(json.dumps({"choices": [{"delta": {"audio": audio}}]}).encode())


NO_SUCH = "this provider's API has no such option"
UNMARKED = "this provider's API takes no cache mark here"
A, B = (Tool(name, f"does {name}", {"type": "object"}) for name in "ab")
FUNCTIONS = {
    name: {
        "type": "function",
        "function": {"name": name, "description": f"does {name}", "parameters": {"type": "object"}},
    }
    for name in "ab"
}
SENT = {"tools": [*FUNCTIONS.values()]}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [*map(named, names)]}}


THOUGHT_OFF = {"thinking_off": {"thinking": "off"}}
ONLY = [("tool_choice", "emulated", "only the tools that may be called are sent")]
NO_TOOLS = [("tool_choice", "emulated", "no tools are sent")]
SWITCHED = [("tool_choice", "adapted", "no tool can be forced while this model thinks: it is switched off")]
AUTO = [("tool_choice", "adapted", "no tool can be forced while this model thinks: auto is sent")]
THINKS = ModelFacts(thinks_unasked=True, forced_tools_thinking=False)
TOOLS_ASKED: tuple[
    tuple[dict[str, Any], ModelFacts, Any, dict[str, Any], list[tuple[str, str, str]]], ...
] = (
    ({}, ModelFacts(), None, SENT, []),
    *(
        ({}, ModelFacts(), ToolChoice(mode), {**SENT, "tool_choice": mode}, [])
        for mode in ("auto", "none", "required")
    ),
    ({"required_word": "any"}, ModelFacts(), ToolChoice("required"), {**SENT, "tool_choice": "any"}, []),
    ({"required_word": "any"}, ModelFacts(), ToolChoice("auto"), {**SENT, "tool_choice": "auto"}, []),
    ({}, ModelFacts(), ToolChoice("none", ("a",)), {**SENT, "tool_choice": "none"}, []),
    ({"none_choice": False}, ModelFacts(), ToolChoice("none"), {}, NO_TOOLS),
    ({"none_choice": False}, ModelFacts(), ToolChoice("none", ("a",)), {}, NO_TOOLS),
    ({"none_choice": False}, ModelFacts(), ToolChoice("auto"), {**SENT, "tool_choice": "auto"}, []),
    *(
        (
            {"none_choice": False},
            ModelFacts(),
            ToolChoice(mode, raw={"x": 1}),
            {**SENT, "tool_choice": {"x": 1}},
            [],
        )
        for mode in ("auto", "none")
    ),
    ({}, ModelFacts(), ToolChoice.tool("a"), {**SENT, "tool_choice": named("a")}, []),
    ({}, ModelFacts(), ToolChoice.allowed("a"), {**SENT, "tool_choice": allowed("auto", "a")}, []),
    (
        {},
        ModelFacts(),
        ToolChoice("required", ("a", "b")),
        {**SENT, "tool_choice": allowed("required", "a", "b")},
        [],
    ),
    (
        {"named_choice": False},
        ModelFacts(),
        ToolChoice.tool("b"),
        {"tools": [FUNCTIONS["b"]], "tool_choice": "required"},
        ONLY,
    ),
    (
        {"named_choice": False},
        ModelFacts(),
        ToolChoice.allowed("a"),
        {**SENT, "tool_choice": allowed("auto", "a")},
        [],
    ),
    (
        {"allowed_tools": False},
        ModelFacts(),
        ToolChoice.allowed("a"),
        {"tools": [FUNCTIONS["a"]], "tool_choice": "auto"},
        ONLY,
    ),
    (
        {"allowed_tools": False, "required_word": "any"},
        ModelFacts(),
        ToolChoice("required", ("a", "b")),
        {**SENT, "tool_choice": "any"},
        ONLY,
    ),
    ({"allowed_tools": False}, ModelFacts(), ToolChoice.tool("a"), {**SENT, "tool_choice": named("a")}, []),
    (
        {"allowed_tools": False, "named_choice": False},
        ModelFacts(),
        ToolChoice(raw={"x": 1}),
        {**SENT, "tool_choice": {"x": 1}},
        [],
    ),
    (THOUGHT_OFF, ModelFacts(), ToolChoice("required"), {**SENT, "tool_choice": "required"}, []),
    (THOUGHT_OFF, THINKS, ToolChoice("auto"), {**SENT, "tool_choice": "auto"}, []),
    (
        THOUGHT_OFF,
        THINKS,
        ToolChoice("required"),
        {**SENT, "thinking": "off", "tool_choice": "required"},
        SWITCHED,
    ),
    ({}, THINKS, ToolChoice("required"), {**SENT, "tool_choice": "auto"}, AUTO),
    (
        THOUGHT_OFF,
        replace(THINKS, thinking_off=None),
        ToolChoice.tool("a"),
        {**SENT, "tool_choice": allowed("auto", "a")},
        AUTO,
    ),
    (
        THOUGHT_OFF,
        ModelFacts(forced_tools=False),
        ToolChoice("required"),
        {**SENT, "tool_choice": "auto"},
        [("tool_choice", "adapted", "this model takes no forced tool choice: auto is sent")],
    ),
)


@pytest.mark.parametrize(("quirks", "facts", "choice", "body", "told"), TOOLS_ASKED)
def test_every_choice_of_tools_by_what_a_service_takes(
    quirks: dict[str, Any],
    facts: ModelFacts,
    choice: Any,
    body: dict[str, Any],
    told: list[tuple[str, str, str]],
) -> None:
    asked = encoded_options(quirks, facts, tools=(A, B), tool_choice=choice)
    assert asked == (body, told)
    if choice is not None and not choice.names and choice.raw is None and choice.mode != "required":
        sent = {} if choice.mode == "none" and "none_choice" in quirks else {"tool_choice": choice.mode}
        assert encoded_options(quirks, facts, tool_choice=choice) == (sent, told)


MARKED = Tool("a", "does a", {"type": "object"}, strict=False, cache=Cache("1h"))
LOOSE = {"type": "function", "function": {**FUNCTIONS["a"]["function"], "strict": False}}


@pytest.mark.parametrize(
    ("quirks", "given", "body", "told"),
    [
        ({}, {"tools": (MARKED,)}, {"tools": [LOOSE]}, [("tools[a].cache", "dropped", UNMARKED)]),
        ({"cache_marks": True}, {"tools": (MARKED,)},
         {"tools": [{**LOOSE, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}, []),
        ({}, {"tools": (HostedTool("w", {"x": 1}),)}, {"tools": [{"type": "w", "x": 1}]}, []),
        ({"allowed_tools": False},
         {"tools": (A, B, HostedTool("w", {})), "tool_choice": ToolChoice("auto", ("a", "c"))},
         {"tools": [FUNCTIONS["a"], {"type": "w"}], "tool_choice": "auto"}, ONLY),
        ({"always": {"split": True}}, {}, {"split": True}, []),
    ],
)  # fmt: skip
def test_every_form_of_a_tool_and_fields_that_are_always_sent(
    quirks: dict[str, Any], given: dict[str, Any], body: dict[str, Any], told: list[tuple[str, str, str]]
) -> None:
    assert encoded_options(quirks, ModelFacts(), **given) == (body, told)


def encoded_options(
    quirks: dict[str, Any], facts: ModelFacts, *, stream: bool = False, **given: Any
) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """The body beside the model and one message, and what is reported."""
    request = Request((Message.user("Hi"),), "m", **given)
    call = OpenAIChat(ChatQuirks(**quirks)).encode(request, ORIGIN, stream=stream, facts=facts)
    rest = dict(call.body)
    assert (rest.pop("model"), rest.pop("messages")[-1]) == ("m", {"role": "user", "content": "Hi"})
    return rest, [(each.field, each.outcome, each.reason) for each in call.deviations]


SAMPLERS: dict[str, Any] = {
    "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 1, "stop": "x",
    "presence_penalty": 0.1, "frequency_penalty": 0.2, "parallel_tool_calls": False,
}  # fmt: skip
USUAL = {
    "max_completion_tokens": 9,
    **{name: SAMPLERS[name] for name in SAMPLERS if name not in ("max_tokens", "top_k")},
}


def without(*names: str, **more: Any) -> dict[str, Any]:
    return {**{name: value for name, value in USUAL.items() if name not in names}, **more}


@pytest.mark.parametrize(
    ("quirks", "body", "lost"),
    [
        ({}, USUAL, ["top_k"]),
        ({"top_k": True}, without(top_k=3), []),
        ({"max_tokens_field": "max_tokens"}, without("max_completion_tokens", max_tokens=9), ["top_k"]),
        ({"seed_field": "random_seed"}, without("seed", random_seed=1), ["top_k"]),
        ({"seed_field": None}, without("seed"), ["top_k", "seed"]),
        ({"stop_list": True}, without(stop=["x"]), ["top_k"]),
        ({"penalties": False}, without("presence_penalty", "frequency_penalty"),
         ["top_k", "presence_penalty", "frequency_penalty"]),
        ({"frequency_penalty": False}, without("frequency_penalty"), ["top_k", "frequency_penalty"]),
        ({"parallel_tool_calls": False}, without("parallel_tool_calls"), ["top_k", "parallel_tool_calls"]),
        ({"always": {"reasoning_split": True}}, without(reasoning_split=True), ["top_k"]),
    ],
)  # fmt: skip
def test_every_sampler_by_what_a_service_takes(
    quirks: dict[str, Any], body: dict[str, Any], lost: list[str]
) -> None:
    sent, told = encoded_options(quirks, ModelFacts(), options=Options(**SAMPLERS))
    assert sent == body
    assert sorted(told) == sorted((name, "dropped", NO_SUCH) for name in lost)
    for is_list in (False, True):
        listed, _ = encoded_options({"stop_list": is_list}, ModelFacts(), options=Options(stop=("x", "y")))
        assert listed == {"stop": ["x", "y"]}


ALL_SAMPLERS = ["temperature", "top_p", "presence_penalty", "frequency_penalty"]


@pytest.mark.parametrize(
    ("facts", "reasoning", "lost", "reason"),
    [
        (ModelFacts(sampling=False), None, ["temperature", "top_p"], "this model takes no such option"),
        (ModelFacts(samples_thinking=False), None, [], ""),
        (ModelFacts(samples_thinking=False), "low", ALL_SAMPLERS, "not while this model reasons"),
        (ModelFacts(samples_thinking=False), "off", [], ""),
        (ModelFacts(samples_thinking=False, thinks_unasked=True), None, ALL_SAMPLERS,
         "not while this model reasons"),
        (ModelFacts(stop=False), "low", ["stop"], "this model takes no such option"),
        (ModelFacts(penalties=False), "low", ["presence_penalty", "frequency_penalty"],
         "this model takes no such option"),
        (ModelFacts(parallel_tool_calls=False), None, ["parallel_tool_calls"], "this model takes no such option"),
    ],
)  # fmt: skip
def test_every_sampler_by_what_a_model_takes(
    facts: ModelFacts, reasoning: Any, lost: list[str], reason: str
) -> None:
    options = {name: value for name, value in SAMPLERS.items() if name != "top_k"}
    sent, told = encoded_options({}, facts, options=Options(**options, reasoning=reasoning))
    word = {None: {}, "low": {"reasoning_effort": "low"}, "off": {"reasoning_effort": "none"}}[reasoning]
    assert sent == without(*lost, **word)
    assert told == [(name, "dropped", reason) for name in lost]


def weaker(reason: str) -> list[tuple[str, str, str]]:
    return [("reasoning", "adapted", reason)]


def unsaid(what: str) -> list[tuple[str, str, str]]:
    return [("reasoning", "dropped", f"this service's Chat Completions cannot say {what}")]


ON_OFF = {"thinking_on": {"think": True}, "thinking_off": {"think": False}}
SWITCH = {"reasoning": "thinking"}
TWO_WORDS = {"efforts": {"off": "none", "minimal": "low", "max": None}}
ONLY_SWITCHES = "this service only switches thinking on and off"


@pytest.mark.parametrize(
    ("quirks", "facts", "wanted", "body", "told"),
    [
        ({}, ModelFacts(), "minimal", {"reasoning_effort": "minimal"}, []),
        ({}, ModelFacts(), Reasoning(summary="auto"), {}, unsaid("summary")),
        ({}, ModelFacts(), Reasoning("low", 5, summary="auto"), {"reasoning_effort": "low"},
         unsaid("budget_tokens or summary")),
        (TWO_WORDS, ModelFacts(), "off", {"reasoning_effort": "none"}, []),
        (TWO_WORDS, ModelFacts(), "minimal", {"reasoning_effort": "low"},
         weaker("this service's nearest effort is 'low'")),
        (TWO_WORDS, ModelFacts(), "max", {}, [("reasoning", "dropped", "this service has no effort 'max'")]),
        (TWO_WORDS, ModelFacts(efforts=("max",)), "low", {"reasoning_effort": "max"},
         weaker("this model's nearest effort is 'max'")),
        ({}, ModelFacts(efforts=("none", "low")), "off", {"reasoning_effort": "none"}, []),
        ({}, ModelFacts(efforts=()), "low", {}, [("reasoning", "dropped", "this model takes no effort")]),
        ({}, ModelFacts(efforts=()), "off", {}, []),
        (ON_OFF, ModelFacts(), "off", {"think": False}, []),
        (ON_OFF, ModelFacts(), "low", {"think": True, "reasoning_effort": "low"}, []),
        (ON_OFF, ModelFacts(efforts=("low",)), "low", {"reasoning_effort": "low"}, []),
        (SWITCH, ModelFacts(), "off", {"thinking": {"type": "disabled"}}, []),
        (SWITCH, ModelFacts(), "medium", {"thinking": {"type": "enabled"}}, []),
        (SWITCH, ModelFacts(), "high", {"thinking": {"type": "enabled"}}, weaker(ONLY_SWITCHES)),
        (SWITCH, ModelFacts(efforts=("low",)), "medium", {"thinking": {"type": "enabled"}}, []),
        ({**SWITCH, **ON_OFF}, ModelFacts(), "off", {"think": False}, []),
        ({**SWITCH, **ON_OFF}, ModelFacts(), "medium", {"think": True}, []),
        ({**SWITCH, "budget_field": "budget"}, ModelFacts(), Reasoning("medium", 5),
         {"thinking": {"type": "enabled"}, "budget": 5}, []),
        ({"budget_field": "budget"}, ModelFacts(), Reasoning(budget_tokens=5), {"budget": 5}, []),
        ({"budget_field": "budget"}, ModelFacts(), Reasoning("low", summary="auto"), {"reasoning_effort": "low"},
         unsaid("summary")),
        ({"reasoning": "object"}, ModelFacts(), Reasoning("off", 5, summary="auto"),
         {"reasoning": {"effort": "none", "max_tokens": 5, "summary": "auto"}}, []),
        ({"reasoning": "object"}, ModelFacts(), "high", {"reasoning": {"effort": "high"}}, []),
        ({"reasoning": "none"}, ModelFacts(), Reasoning("low", 5, summary="auto"), {},
         unsaid("effort or budget_tokens or summary")),
    ],
)  # fmt: skip
def test_every_wish_to_think_by_what_a_service_takes(
    quirks: dict[str, Any],
    facts: ModelFacts,
    wanted: Any,
    body: dict[str, Any],
    told: list[tuple[str, str, str]],
) -> None:
    assert encoded_options(quirks, facts, options=Options(reasoning=wanted)) == (body, told)


UNREASONED = "in Chat Completions this model takes tools only without reasoning"


@pytest.mark.parametrize(
    ("quirks", "facts", "wanted", "body", "told"),
    [
        ({}, ModelFacts(chat_tools="unreasoned"), None, {}, []),
        ({}, ModelFacts(chat_tools="unreasoned", thinks_unasked=True), None, {"reasoning_effort": "none"},
         [("tools", "adapted", f"{UNREASONED}: it is switched off")]),
        ({}, ModelFacts(chat_tools="unreasoned"), "low", {"reasoning_effort": "none"},
         [("reasoning", "dropped", f"{UNREASONED}; in the Responses API with it")]),
        ({}, ModelFacts(chat_tools="unreasoned"), "off", {"reasoning_effort": "none"}, []),
        ({}, ModelFacts(chat_tools="any", thinks_unasked=True), None, {}, []),
        ({"reasoning": "none"}, ModelFacts(chat_tools="none"), None, {}, []),
    ],
)  # fmt: skip
def test_tools_beside_reasoning(
    quirks: dict[str, Any],
    facts: ModelFacts,
    wanted: Any,
    body: dict[str, Any],
    told: list[tuple[str, str, str]],
) -> None:
    given = {} if wanted is None else {"options": Options(reasoning=wanted)}
    assert encoded_options(quirks, facts, tools=(A, B), **given) == ({**SENT, **body}, told)
    with pytest.raises(UnsupportedError, match="in the Responses API only") as caught:
        encoded_options({}, ModelFacts(chat_tools="none"), tools=(A,))
    assert (caught.value.provider, caught.value.model) == ("p", "m")
    assert encoded_options({}, ModelFacts(chat_tools="none")) == ({}, [])


@pytest.mark.parametrize("wanted", [None, "low", "off"])
def test_a_model_that_does_not_reason_beside_tools_is_sampled(wanted: Any) -> None:
    facts = ModelFacts(chat_tools="unreasoned", samples_thinking=False, thinks_unasked=True)
    options = Options(reasoning=wanted, temperature=0.5)
    sent, _ = encoded_options({}, facts, tools=(A, B), options=options)
    assert sent == {**SENT, "reasoning_effort": "none", "temperature": 0.5}
    sent, told = encoded_options({}, facts, options=Options(reasoning="low", temperature=0.5))
    assert sent == {"reasoning_effort": "low"} and [each[0] for each in told] == ["temperature"]


def test_what_a_streamed_request_asks_for() -> None:
    usage = {"include_usage": True}
    own = Options(provider_options=OpenAIChatOptions(stream_options={"x": 1}))
    facts = ModelFacts()
    assert encoded_options({}, facts, stream=True) == ({"stream": True, "stream_options": usage}, [])
    assert encoded_options({"stream_usage": False}, facts, stream=True) == ({"stream": True}, [])
    assert encoded_options({}, facts, stream=True, options=own)[0]["stream_options"] == {"x": 1}
    dropped = ("provider_options.stream_options", "dropped", "only a streamed response has stream options")
    assert encoded_options({}, facts, options=own) == ({}, [dropped])


STRICT = JSONSchema("pet", {"type": "object"}, description="a pet", strict=True)
CLOSED = {"type": "object", "additionalProperties": False}
AS_OBJECT = {"response_format": {"type": "json_object"}}


def schema(**fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": fields}}


@pytest.mark.parametrize(
    ("quirks", "facts", "output", "body", "system", "told"),
    [
        ({}, ModelFacts(), replace(STRICT, description=None, strict=None),
         schema(name="pet", schema={"type": "object"}), None, []),
        ({}, ModelFacts(), replace(STRICT, strict=False),
         schema(name="pet", schema={"type": "object"}, description="a pet", strict=False), None, []),
        ({}, ModelFacts(), STRICT, schema(name="pet", schema=CLOSED, description="a pet", strict=True), None,
         [("output", "adapted")]),
        ({"schemas": None}, ModelFacts(), STRICT,
         schema(name="pet", schema={"type": "object"}, description="a pet", strict=True), None, []),
        ({}, ModelFacts(strict_schema=False), STRICT,
         schema(name="pet", schema={"type": "object"}, description="a pet"), None, [("output", "adapted")]),
        ({"json_schema": False}, ModelFacts(), STRICT, AS_OBJECT,
         'Answer with one JSON object, pet (a pet), that follows this JSON Schema:\n{"type":"object"}',
         [("output", "emulated")]),
        ({"json_schema": False}, ModelFacts(), replace(STRICT, description=None), AS_OBJECT,
         'Answer with one JSON object, pet, that follows this JSON Schema:\n{"type":"object"}',
         [("output", "emulated")]),
        ({}, ModelFacts(), "json", AS_OBJECT, "Answer with one JSON object and nothing else.",
         [("output", "adapted")]),
        ({"json_word": False}, ModelFacts(), "json", AS_OBJECT, None, []),
        ({"json_object": False}, ModelFacts(), "json", schema(name="object", schema={"type": "object"}), None,
         [("output", "adapted")]),
    ],
)  # fmt: skip
def test_every_output_by_what_a_service_takes(
    quirks: dict[str, Any],
    facts: ModelFacts,
    output: Any,
    body: dict[str, Any],
    system: str | None,
    told: list[tuple[str, str]],
) -> None:
    sent, report = encoded_options(quirks, facts, output=output)
    assert (sent, [each[:2] for each in report]) == (body, told)
    request = Request((Message.user("Hi"),), "m", output=output)
    call = OpenAIChat(ChatQuirks(**quirks)).encode(request, ORIGIN, stream=False, facts=facts)
    assert call.body["messages"][:-1] == ([] if system is None else [{"role": "system", "content": system}])


MODEL_2, SERVICE_2 = Origin("openai_chat", "p", "n"), Origin("openai_chat", "q", "m")
ALIAS, GEMINI = Origin("openai_chat", "p", "alias", "m"), Origin("gemini", "p", "m")
BOUND = "what is signed is bound to the model that made it"
NOT_HERE = "reasoning is sent back only to the service that it came from"
SIGNED = "signed or encrypted reasoning is bound to the model that made it"
NO_MEDIA = "media of another service's model cannot be sent as the assistant's"
HI = TextPart("Hi", origin=ORIGIN)
WITH_DETAILS = {"fields": ["reasoning", "reasoning_details"], "reasoning_details": [{"a": 1}]}
OTHER_DETAILS = {**WITH_DETAILS, "reasoning_details": [{"b": 2}]}
WIRE_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def said(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", **fields}


def thought(origin: Origin | None = ORIGIN, **extra: Any) -> ReasoningPart:
    return ReasoningPart("Hm", extra=extra or None, origin=origin)


def called(
    origin: Origin | None = ORIGIN, arguments: str = "{}", kind: str = "function", **extra: Any
) -> ToolCallPart:
    return ToolCallPart("c", "f", arguments, kind, extra=extra or None, origin=origin)


TURNS: tuple[tuple[dict[str, Any], Message, dict[str, Any] | None, list[tuple[str, str]]], ...] = (
    ({}, Message("assistant", (HI, replace(HI, text=" you"))), said(content="Hi you"), []),
    ({}, Message("assistant", ()), said(content=""), []),
    (
        {"empty_turns": False},
        Message("assistant", (TextPart("", origin=ORIGIN),)),
        None,
        [("", "nothing of this turn can be sent, and an empty one is refused")],
    ),
    ({"empty_turns": False}, Message("assistant", (called(),)), said(tool_calls=[WIRE_CALL]), []),
    ({"empty_turns": False}, Message("assistant", (HI,)), said(content="Hi"), []),
    # calls
    ({}, Message("assistant", (called(),)), said(tool_calls=[WIRE_CALL]), []),
    ({}, Message("assistant", (HI, called(arguments=" "))), said(content="Hi", tool_calls=[WIRE_CALL]), []),
    (
        {},
        Message("assistant", (called(arguments="x", kind="custom"),)),
        said(tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]),
        [],
    ),
    (
        {},
        Message("assistant", (called(kind="odd"),)),
        said(tool_calls=[WIRE_CALL]),
        [(".content[0]", "a call of kind 'odd' is sent as a function call")],
    ),
    (
        {},
        Message("assistant", (called(extra_content=1, reasoning_text=2, x=3),)),
        said(tool_calls=[{**WIRE_CALL, "extra_content": 1, "reasoning_text": 2}]),
        [],
    ),
    (
        {},
        Message("assistant", (called(ALIAS, reasoning_opaque=1),)),
        said(tool_calls=[{**WIRE_CALL, "reasoning_opaque": 1}]),
        [],
    ),
    (
        {},
        Message("assistant", (called(MODEL_2, extra_content=1, provider_specific_fields=2),)),
        said(tool_calls=[{**WIRE_CALL, "extra_content": 1}]),
        [(".content[0].provider_specific_fields", BOUND)],
    ),
    ({}, Message("assistant", (called(SERVICE_2, x=3),)), said(tool_calls=[WIRE_CALL]), []),
    ({}, Message("assistant", (called(None, x=3),)), said(tool_calls=[{**WIRE_CALL, "x": 3}]), []),
    *(
        (
            {"missing_reasoning": missing},
            Message("assistant", (called(),)),
            said(tool_calls=[WIRE_CALL], reasoning_content=missing),
            [("", "this service refuses a turn with calls without reasoning: an empty one is sent")],
        )
        for missing in ("-", "")
    ),
    (
        {"missing_reasoning": ""},
        Message("assistant", (thought(fields=["reasoning_content"]), called())),
        said(tool_calls=[WIRE_CALL], reasoning_content="Hm"),
        [],
    ),
    ({"missing_reasoning": "-"}, Message("assistant", (HI,)), said(content="Hi"), []),
    # reasoning
    (
        {},
        Message("assistant", (thought(fields=["reasoning_content"]), HI, thought(fields=("reasoning",)))),
        said(content="Hi", reasoning_content="Hm", reasoning="Hm"),
        [],
    ),
    (
        {},
        Message("assistant", (thought(fields=["reasoning", "reasoning_content"]), thought(fields=["reasoning"]))),
        said(content="", reasoning="HmHm", reasoning_content="Hm"),
        [],
    ),
    (
        {},
        Message("assistant", (thought(**WITH_DETAILS), thought(ALIAS, **OTHER_DETAILS), HI)),
        said(content="Hi", reasoning="HmHm", reasoning_details=[{"a": 1}, {"b": 2}]),
        [],
    ),
    (
        {},
        Message("assistant", (thought(MODEL_2, **WITH_DETAILS), HI)),
        said(content="Hi", reasoning="Hm"),
        [(".content[0].reasoning_details", SIGNED)],
    ),
    (
        {},
        Message("assistant", (thought(fields=["content"], thinking=[{"x": 1}], signature="s"), HI)),
        said(
            content=[
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, {"x": 1}], "signature": "s"},
                {"type": "text", "text": "Hi"},
            ]
        ),
        [],
    ),
    (
        {"replay_reasoning": False},
        Message("assistant", (thought(fields=["reasoning"]), HI)),
        said(content="Hi"),
        [(".content[0]", "this service does not take reasoning back")],
    ),
    *(
        ({}, Message("assistant", (part, HI)), said(content="Hi"), [(".content[0]", NOT_HERE)])
        for part in (thought(), thought(fields="reasoning"), thought(fields=[]), thought(None))
    ),
    *(
        ({}, Message("assistant", (thought(origin, fields=["reasoning"]), HI)), said(content="Hi"),
         [(".content[0]", NOT_HERE)])
        for origin in (SERVICE_2, GEMINI)
    ),
    # other parts
    (
        {},
        Message("assistant", (RefusalPart("No"), RefusalPart("pe", origin=GEMINI))),
        said(refusal="Nope"),
        [],
    ),
    ({}, Message("assistant", (OpaquePart("x", {"a": 1}, origin=ORIGIN), HI)),
     said(content=[{"a": 1}, {"type": "text", "text": "Hi"}]), []),
    (
        {},
        Message("assistant", (OpaquePart("x", {"a": 1}, origin=SERVICE_2), HI)),
        said(content="Hi"),
        [(".content[0]", "OpaquePart('x') is bound to the provider that made it")],
    ),
    ({}, Message("assistant", (FilePart(data=b"a", extra={"id": "s"}, origin=ORIGIN),)), said(audio={"id": "s"}), []),
    *(
        ({}, Message("assistant", (part, HI)), said(content="Hi"), [(".content[0]", NO_MEDIA)])
        for part in (
            FilePart(data=b"a", origin=ORIGIN),
            FilePart(data=b"a", extra={"id": "s"}, origin=SERVICE_2),
            ImagePart(url="https://x.test/a", origin=SERVICE_2),
        )
    ),
    (
        {},
        Message("assistant", (ImagePart(url="https://x.test/a", origin=ORIGIN),)),
        said(content="", images=[{"type": "image_url", "image_url": {"url": "https://x.test/a"}}]),
        [],
    ),
    (
        {},
        Message("assistant", (TextPart("Hi", (Citation("u"),), origin=ORIGIN),)),
        said(content="Hi"),
        [(".content[0].citations", "citations cannot be sent back")],
    ),
    *(
        ({"cache_marks": True}, Message("assistant", (replace(HI, cache=cache),)), said(content=content), [])
        for cache, content in (
            (None, "Hi"),
            (Cache(), [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]),
        )
    ),
    # the turn's own fields
    (
        {},
        Message("assistant", (HI,), extra={"thinking_blocks": [], "reasoning_opaque": 1, "x": 2}, name="n"),
        said(content="Hi", thinking_blocks=[], reasoning_opaque=1, name="n"),
        [],
    ),
    (
        {},
        Message("assistant", (replace(HI, origin=MODEL_2),), extra={"reasoning_text": 1, "extra_content": 2}),
        said(content="Hi", extra_content=2),
        [(".reasoning_text", BOUND)],
    ),
    ({}, Message("assistant", (replace(HI, origin=SERVICE_2),), extra={"x": 1}), said(content="Hi"), []),
    (
        {},
        Message("assistant", (TextPart("Hi"),), extra={"x": 1}, name="n"),
        said(content="Hi", x=1, name="n"),
        [],
    ),
    (
        {"short_ids": True},
        Message("assistant", (replace(called(), id="abcdefgh1"),)),
        said(tool_calls=[{**WIRE_CALL, "id": "abcdefgh1"}]),
        [],
    ),
)  # fmt: skip


@pytest.mark.parametrize(("quirks", "turn", "wire", "told"), TURNS)
def test_every_turn_of_the_assistant(
    quirks: dict[str, Any], turn: Message, wire: dict[str, Any] | None, told: list[tuple[str, str]]
) -> None:
    request = Request((Message.user("a"), turn, Message.user("b")), "m")
    call = OpenAIChat(ChatQuirks(**quirks)).encode(request, ORIGIN, stream=False)
    assert call.body["messages"][1:-1] == ([] if wire is None else [wire])
    assert [(each.field.removeprefix("messages[1]"), each.reason) for each in call.deviations] == told


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (OpaquePart("x", [1], origin=ORIGIN), r"OpaquePart\('x'\) has data that is no JSON object"),
        (ToolResultPart("c"), "a tool result belongs in a message of role tool"),
        (ImagePart(url="https://x.test/a"), "takes no media in an assistant's message"),
    ],
)
def test_what_no_turn_of_the_assistant_holds(part: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^messages\[0\]: .*{words}"):
        OpenAIChat().encode(Request((Message("assistant", (part,)),), "m"), ORIGIN, stream=False)


SHORT = "this service takes only short ids: sent as another, as in its result"
RESULT = ToolResultPart("c", (TextPart("sun"),))
VIEW = ImagePart(url="https://x.test/a")
WIRE_VIEW = {"type": "image_url", "image_url": {"url": "https://x.test/a"}}
FOLLOWS = "The result's files follow in the next message of the user."
ABOVE = {"type": "text", "text": "The files of the tool results above:"}
CALLING = Message("assistant", (ToolCallPart("c", "f", "{}"), ToolCallPart("d", "f", "{}")))
FLAG = "this API has no error flag: the text is sent as it is"
IN_A_MESSAGE = "a result takes text only: its media follow in a message of the user"


def tool(content: Any, id: str = "c", **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content, **fields}


@pytest.mark.parametrize(
    ("quirks", "messages", "wire", "told"),
    [
        ({}, (Message("tool", (RESULT, replace(RESULT, call_id="d"))),), [tool("sun"), tool("sun", "d")], []),
        ({}, (Message("tool", (replace(RESULT, is_error=True),)),), [tool("sun")],
         [("messages[2].content[0].is_error", FLAG)]),
        ({}, (Message("tool", (replace(RESULT, content=()),)),), [tool("")], []),
        ({}, (Message("tool", (replace(RESULT, extra={"x": 1}),)),), [tool("sun", x=1)], []),
        ({}, (Message("user", (RESULT, TextPart("And?"))),), [tool("sun"), {"role": "user", "content": "And?"}], []),
        ({}, (Message("tool", (replace(RESULT, content=(TextPart("a"), VIEW)),)),),
         [tool("a"), {"role": "user", "content": [ABOVE, WIRE_VIEW]}], [("messages[2].content[0]", IN_A_MESSAGE)]),
        ({}, (Message("tool", (replace(RESULT, content=(VIEW,)),)), Message("tool", (replace(RESULT, call_id="d"),)),
              Message.user("And?")),
         [tool(FOLLOWS), tool("sun", "d"), {"role": "user", "content": [ABOVE, WIRE_VIEW]},
          {"role": "user", "content": "And?"}], [("messages[2].content[0]", IN_A_MESSAGE)]),
        ({"media_results": True}, (Message("tool", (replace(RESULT, content=(TextPart("a"), VIEW)),)),),
         [tool([{"type": "text", "text": "a"}, WIRE_VIEW])], []),
        ({"cache_marks": True}, (Message("tool", (replace(RESULT, cache=Cache("1h")),)),),
         [tool([{"type": "text", "text": "sun", "cache_control": {"type": "ephemeral", "ttl": "1h"}}])], []),
        ({"cache_marks": True}, (Message("tool", (replace(RESULT, content=("a", "b"), cache=Cache()),)),),
         [tool([{"type": "text", "text": "a"},
                {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}])], []),
        ({}, (Message("tool", (replace(RESULT, cache=Cache()),)),), [tool("sun")],
         [("messages[2].content[0].cache", UNMARKED)]),
        ({}, (Message.user(TextPart("a", cache=Cache())),),
         [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
         [("messages[2].content[0].cache", UNMARKED)]),
        ({"cache_marks": True}, (Message.user(TextPart("a", cache=Cache())),),
         [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}], []),
        ({}, (Message.user(TextPart("a", extra={"x": 1})),),
         [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}], []),
        ({}, (Message("user", (TextPart("a"),), extra={"x": 1}, name="n"),),
         [{"role": "user", "content": "a", "x": 1, "name": "n"}], []),
        ({}, (Message.developer("a"),), [{"role": "developer", "content": "a"}], []),
        ({"developer_role": False}, (Message.developer("a"),), [{"role": "system", "content": "a"}],
         [("messages[2].role", "this service has no developer role: sent as system")]),
        ({}, (Message.user(),), [{"role": "user", "content": ""}], []),
        ({"prefix": True}, (Message.assistant("a"),), [said(content="a", prefix=True)], []),
        ({"prefix": True}, (Message.user("a"),), [{"role": "user", "content": "a"}], []),
    ],
)  # fmt: skip
def test_every_turn_of_others(
    quirks: dict[str, Any], messages: tuple[Message, ...], wire: list[Any], told: list[tuple[str, str]]
) -> None:
    begin = (Message.user("Hi"), CALLING if messages[0].role in ("tool", "user") else Message.user("Hi"))
    request = Request((*begin, *messages), "m")
    call = OpenAIChat(ChatQuirks(**quirks)).encode(request, ORIGIN, stream=False)
    assert call.body["messages"][2:] == wire
    assert [(each.field, each.reason) for each in call.deviations] == told


def test_ids_that_a_service_does_not_take_are_the_same_in_call_and_result() -> None:
    for quirks, id, length in (({"short_ids": True}, "call_1", 9), ({}, "a" * 65, None)):
        messages = (
            Message("assistant", (ToolCallPart(id, "f", "{}"),)),
            Message("tool", (ToolResultPart(id),)),
        )
        call = OpenAIChat(ChatQuirks(**quirks)).encode(Request(messages, "m"), ORIGIN, stream=False)
        asked, result = call.body["messages"]
        sent = asked["tool_calls"][0]["id"]
        assert sent == result["tool_call_id"] != id
        assert len(sent) == length if length else len(sent) <= 64
        assert [(each.field, each.reason) for each in call.deviations] == [
            ("messages[0].content[0].id", SHORT)
        ]
    for id in ("a" * 64, "." * 64):  # of any kind, up to 64
        turn = Message("assistant", (ToolCallPart(id, "f", "{}"),))
        call = OpenAIChat().encode(Request((turn,), "m"), ORIGIN, stream=False)
        assert call.body["messages"][0]["tool_calls"][0]["id"] == id
    ended = OpenAIChat(ChatQuirks(prefix=True)).encode(Request((CALLING,), "m"), ORIGIN, stream=False)
    assert "prefix" not in ended.body["messages"][0]


S1, S2, U = (
    {"role": role, "content": text} for role, text in (("system", "a"), ("system", "b"), ("user", "c"))
)
LIST = {"role": "system", "content": [{"type": "text", "text": "x"}], "y": 1}


@pytest.mark.parametrize(
    ("messages", "merged", "told"),
    [
        ([], [], None),
        ([U], [U], None),
        ([S1, U], [S1, U], None),
        ([S1, S2, U], [{"role": "system", "content": "a\n\nb"}, U],
         ("adapted", "one system message is taken: all are merged")),
        ([U, S1], [S1, U], ("weakened", "one system message is taken, the first: all are merged into it")),
        ([S1, U, S2], [{"role": "system", "content": "a\n\nb"}, U],
         ("weakened", "one system message is taken, the first: all are merged into it")),
        ([LIST, S1], [{**LIST, "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "a"}]}],
         ("adapted", "one system message is taken: all are merged")),
    ],
)  # fmt: skip
def test_one_system_message(messages: list[Any], merged: list[Any], told: tuple[str, str] | None) -> None:
    reader = OptionReader(Request((), "m"), OpenAIChatOptions)
    assert merge_system(messages, reader) == merged
    outcomes = [("weakened" if reader.weakened else each.outcome, each.reason) for each in reader.finish()]
    assert outcomes == ([] if told is None else [told])


@pytest.mark.parametrize(
    ("quirks", "facts"), [({"one_system": True}, ModelFacts()), ({}, ModelFacts(one_system=True))]
)
def test_one_system_message_by_what_service_and_model_take(quirks: dict[str, Any], facts: ModelFacts) -> None:
    protocol = OpenAIChat(ChatQuirks(**quirks))
    request = Request((Message.user("Hi"), Message.system("a", "b")), "m", system="s")
    call = protocol.encode(request, ORIGIN, stream=False, facts=facts)
    items = [{"type": "text", "text": text} for text in "sab"]
    assert call.body["messages"] == [{"role": "system", "content": items}, {"role": "user", "content": "Hi"}]
    assert [(each.field, each.outcome) for each in call.deviations] == [("messages", "adapted")]
    call = protocol.encode(replace(request, messages=request.messages[:1]), ORIGIN, stream=False, facts=facts)
    assert (call.body["messages"][0], call.deviations) == ({"role": "system", "content": "s"}, ())


def test_an_answer_ends_once() -> None:
    decoder = OpenAIChat().decoder(ORIGIN)
    decoder.feed(WireMessage(b'{"choices": [{"delta": {"content": "A"}}]}'))
    assert decoder.partial().text == "A"
    assert decoder.partial().finish_reason == "pending"
    assert isinstance(decoder.feed(WireMessage(b"[DONE]"))[-1], ResponseEnd)
    assert decoder.ended
    assert decoder.feed(WireMessage(b"[DONE]")) == []
    assert decoder.finish(False) == []


def test_a_partial_is_a_moment() -> None:
    """What comes later does not change it."""
    decoder = OpenAIChat().decoder(ORIGIN)
    decoder.feed(WireMessage(b'{"choices": [{"delta": {"x": {"a": 1}}}], "y": {"b": 1}}'))
    before = decoder.partial()
    decoder.feed(WireMessage(b'{"choices": [{"delta": {"x": {"c": 2}}}], "y": {"d": 2}}'))
    assert (before.extra, before.message.extra) == ({"y": {"b": 1}}, {"x": {"a": 1}})
    after = decoder.partial()
    assert (after.extra, after.message.extra) == ({"y": {"b": 1, "d": 2}}, {"x": {"a": 1, "c": 2}})


def test_sound_that_has_arrived_is_in_the_partial() -> None:
    decoder = OpenAIChat().decoder(ORIGIN)
    decoder.feed(
        WireMessage(b'{"choices": [{"delta": {"audio": {"id": "a", "data": "AAEC", "transcript": "Hi"}}}]}')
    )
    (part,) = decoder.partial().message.content
    assert (part.data, part.text, part.extra) == (b"\x00\x01\x02", "Hi", {"id": "a"})  # type: ignore[union-attr]


def test_a_decoder_that_has_read_nothing_has_no_counts() -> None:
    assert DecoderBase(ORIGIN).partial().usage == Usage()


@pytest.mark.parametrize("depth", [100, 100_000])
def test_arguments_that_are_nested_however_deeply_come_as_they_are(depth: int) -> None:
    text = '{"a":' + "[" * depth + "]" * depth + "}"
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": text}}
    decoder = OpenAIChat().decoder(ORIGIN)
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    events = decoder.feed(WireMessage(json.dumps(chunk).encode()))
    (part,) = collect(events + decoder.feed(WireMessage(b"[DONE]"))).message.content
    assert isinstance(part, ToolCallPart) and part.arguments == text
