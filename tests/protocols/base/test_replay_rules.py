"""What every encoder does alike with a history: whose a part is, what goes back, in what order, under what names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import (
    MERGED,
    MOVED,
    MessageEncoderBase,
    in_order,
    is_text_file,
    local_id,
    part_name,
    short_id,
    take_system,
    tool_name,
    wire_id,
)
from brainwires_provider.protocols.base.turns import is_plain, refused_texts
from brainwires_provider.protocols.openai_chat import OpenAIChatOptions
from brainwires_provider.types import (
    Cache,
    CacheStrategy,
    Citation,
    FilePart,
    HostedTool,
    ImagePart,
    Message,
    OpaquePart,
    Options,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    Request,
    TextPart,
    Timeouts,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

ASKED = Origin("openai_chat", "p", "m")
OTHER_MODEL, OTHER = Origin("openai_chat", "q", "n"), Origin("gemini", "p", "m")
REPORTED = Origin("openai_chat", "p", "alias", "m")


def encoder(*messages: Message, **given: Any) -> MessageEncoderBase:
    return MessageEncoderBase(ASKED, OptionReader(Request(messages, "m", **given), OpenAIChatOptions))


def told(made: MessageEncoderBase) -> list[tuple[str, str, str]]:
    return [(each.field, each.outcome, each.reason) for each in made.reader.finish()]


# -- names and ids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        *((f"application/{name}", True) for name in ["javascript", "json", "toml", "x-yaml", "xml", "yaml"]),
        ("text/csv", True),
        ("Text/Plain; charset=utf-8", True),
        ("application/json;a=b", True),
        ("application/pdf", False),
        ("application/jsonp", False),
        ("texts/plain", False),
        ("", False),
        (None, False),
    ],
)
def test_which_file_is_text(media_type: str | None, expected: bool) -> None:
    assert is_text_file(FilePart(data=b"a", media_type=media_type)) is expected


@pytest.mark.parametrize(
    ("call_id", "longest", "kept"),
    [
        ("call_1-a", None, True),
        ("a" * 64, 64, True),
        ("a" * 65, 64, False),
        ("a.b", None, False),
        ("", None, False),
        ("a\ud800", None, False),
    ],
)
def test_an_id_as_the_wire_takes_it(call_id: str, longest: int | None, kept: bool) -> None:
    made = wire_id(call_id, longest=longest)
    assert (made == call_id) is kept
    assert made == wire_id(call_id, longest=longest) != wire_id(call_id + "x.", longest=longest)
    assert made.isascii() and 0 < len(made) <= 64
    if not kept:
        begin, _, digest = made.rpartition("_")
        assert begin == ("".join(c if c.isascii() and c.isalnum() else "_" for c in call_id)[:48] or "call")
        assert len(digest) == 12


@pytest.mark.parametrize(
    ("call_id", "kept"), [("abcdefgh1", True), ("abcdefgh", False), ("abcdefgh12", False), ("abcdefgh-", False),
                          ("abcdefghé", False), ("\ud800", False), ("", False)]
)  # fmt: skip
def test_an_id_of_nine_characters(call_id: str, kept: bool) -> None:
    made = short_id(call_id)
    assert (made == call_id) is kept
    assert (len(made), made.isalnum(), made) == (9, True, short_id(call_id))
    assert len({short_id(f"call_{n}") for n in range(50)}) == 50


def test_an_id_for_a_call_without_one() -> None:
    made = local_id("r", 0, "f")
    assert made.startswith("local_") and len(made) == 30
    assert made == local_id("r", 0, "f")
    others = [local_id("s", 0, "f"), local_id("r", 1, "f"), local_id("r", 0, "g"), local_id(None, 0, "f")]
    assert len({made, *others}) == 5
    assert local_id(None, 0, "f") == local_id("", 0, "f")
    assert local_id("x" * 1024, 0, "f") == local_id("x" * 1025, 0, "f") != local_id("x" * 1023, 0, "f")
    assert local_id("\ud800", 0, "\ud800").isascii()


NAMES = "[a-zA-Z_][a-zA-Z0-9_-]{0,63}"


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("f", "f"),
        ("a" * 64, "a" * 64),
        ("a" * 65, "a" * 64),
        ("a.b c", "abc"),
        ("1f", "tool_1f"),
        ("1" * 64, "tool_" + "1" * 59),
        ("...", "_"),
        ("", "_"),
        ("f\n", "f"),
    ],
)
def test_the_name_of_a_tool_as_the_service_takes_it(name: str, sent: str) -> None:
    made = encoder()
    made.at = (3, 1)
    assert tool_name(name, NAMES, made, ".call") == sent
    reason = f"a tool's name must match {NAMES}: what does not is removed"
    assert told(made) == ([] if sent == name else [("messages[3].content[1].call.name", "adapted", reason)])
    if sent == name:
        assert tool_name(name, NAMES) == name
    else:
        with pytest.raises(UnsupportedError, match="this service takes no tool named"):
            tool_name(name, NAMES)


@pytest.mark.parametrize(
    ("system", "sent"), [(None, None), ("S", "S"), (" S\n", " S\n"), ("", None), (" \n", None)]
)
def test_an_empty_system_prompt_is_not_sent(system: str | None, sent: str | None) -> None:
    made = encoder(system=system)
    assert take_system(made.reader) == sent
    dropped = (
        [("system", "dropped", "an empty text is refused")] if system is not None and sent is None else []
    )
    assert told(made) == dropped


# -- places and whose a part is ------------------------------------------------------------------------------


def test_reports_name_the_place() -> None:
    made = encoder()
    report = (made.adapted, made.weaken, made.emulated, made.dropped)
    for at, name in (((), ""), ((2,), "messages[2]"), ((2, 0, 1), "messages[2].content[0].content[1]")):
        made.at = at
        assert made.where == name
        for say in report:
            say("reason", ".x")
        error = made.unsupported("what")
        assert error.message == (f"{name}: what" if name else "what")
        assert (error.provider, error.model) == ("p", "m")
    outcomes = ("adapted", "adapted", "emulated", "dropped")
    places = (".x", "messages[2].x", "messages[2].content[0].content[1].x")
    assert told(made) == [(place, outcome, "reason") for place in places for outcome in outcomes]
    assert made.reader.weakened == places


@pytest.mark.parametrize(
    ("origin", "own", "own_model"),
    [
        (None, True, False),
        (ASKED, True, True),
        (REPORTED, True, True),
        (OTHER_MODEL, True, False),
        (OTHER, False, False),
    ],
)
def test_whose_a_part_is(origin: Origin | None, own: bool, own_model: bool) -> None:
    made, part = encoder(), TextPart("a", origin=origin, extra={"x": 1})
    assert (made.is_own(part), made.is_own_model(part)) == (own, own_model)
    assert made.own_extra(part) == ({"x": 1} if own else {})
    assert made.own_extra(TextPart("a", origin=origin)) == {}


PICTURE, SOUND = {"url": "https://x.test/a"}, {"data": b"RIFF", "media_type": "audio/wav"}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (TextPart("a"), None),
        (TextPart("a", origin=OTHER), None),
        (RefusalPart("a", origin=OTHER), None),
        (ToolCallPart("c", "f", "{}", origin=OTHER), None),
        (ReasoningPart("a", origin=ASKED), None),
        (ReasoningPart("a", origin=REPORTED), None),
        (ReasoningPart("a"), "reasoning is sent back only by the protocol that it came by"),
        (ReasoningPart("a", origin=OTHER), "reasoning is sent back only by the protocol that it came by"),
        (ReasoningPart("a", origin=OTHER_MODEL), "reasoning is bound to the model that made it"),
        (OpaquePart("k", {}), None),
        (OpaquePart("k", {}, origin=OTHER_MODEL), None),
        (OpaquePart("k", [], origin=ASKED), "OpaquePart('k') is bound to the provider that made it"),
        (OpaquePart("k", {}, origin=OTHER), "OpaquePart('k') is bound to the provider that made it"),
        (ImagePart(**PICTURE, origin=ASKED), None),
        (ImagePart(**PICTURE, origin=OTHER), "media of another protocol cannot be sent as the assistant's"),
        (FilePart(**SOUND, origin=OTHER), "media of another protocol cannot be sent as the assistant's"),
    ],
)
def test_which_part_of_an_answer_goes_back(part: Part, reason: str | None) -> None:
    made = encoder()
    assert made.objection(part) == reason
    expected = {} if reason is None else {0: reason}
    assert made.dropped_parts([part], needs_follower=None, also={}) == expected
    assert made.dropped_parts([part], needs_follower=None, also={0: "other"}) == (expected or {0: "other"})


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (ImagePart(**PICTURE), r"^messages\[1\]: ImagePart cannot be sent in an assistant's message"),
        (FilePart(**SOUND), r"^messages\[1\]: FilePart cannot be sent in an assistant's message"),
        (ToolResultPart("c"), r"^messages\[1\]: a tool result belongs in a message of role tool"),
    ],
)
def test_what_no_answer_holds(part: Part, words: str) -> None:
    made = encoder()
    made.at = (1,)
    with pytest.raises(UnsupportedError, match=words):
        made.objection(part)
    assert part_name(part) == type(part).__name__


def use(id: str | None, origin: Origin = ASKED) -> OpaquePart:
    return OpaquePart("use", {}, role="call", id=id, origin=origin)


def done(id: str | None, origin: Origin = ASKED) -> OpaquePart:
    return OpaquePart("done", {}, role="result", id=id, origin=origin)


BOUND, HALF = "is bound to the provider that made it", "one is refused without the other"
THOUGHT, SAID = ReasoningPart("a", origin=ASKED), TextPart("a", origin=ASKED)


@pytest.mark.parametrize(
    ("parts", "also", "dropped"),
    [
        ((use("1"), done("1")), {}, {}),
        ((use("1", OTHER), done("1")), {}, {0: BOUND, 1: HALF}),
        ((use("1"), SAID, done("1", OTHER)), {}, {0: HALF, 2: BOUND}),
        ((use("1", OTHER), done("2")), {}, {0: BOUND}),
        ((use(None, OTHER), done(None)), {}, {0: BOUND}),
        ((use("1"), done("1")), {0: "own"}, {0: "own", 1: HALF}),
        ((OpaquePart("x", {}, id="1", origin=OTHER), done("1")), {}, {0: BOUND}),
        ((SAID, THOUGHT), {}, {1: "last"}),
        ((SAID, THOUGHT, THOUGHT), {}, {1: "last", 2: "last"}),
        ((THOUGHT, SAID), {}, {}),
        ((THOUGHT, SAID), {1: "own"}, {0: "last", 1: "own"}),
        ((SAID, THOUGHT, use("1", OTHER), THOUGHT), {}, {1: "last", 2: BOUND, 3: "last"}),
        ((ReasoningPart("a"),), {}, {0: "reasoning is sent back only"}),
        ((), {}, {}),
    ],
)
def test_what_goes_with_a_part_that_is_dropped(
    parts: Sequence[Part], also: dict[int, str], dropped: dict[int, str]
) -> None:
    found = encoder().dropped_parts(parts, needs_follower="last", also=also)
    assert found.keys() == dropped.keys()
    assert all(reason in found[index] for index, reason in dropped.items())
    assert "last" not in encoder().dropped_parts(parts, needs_follower=None, also=also).values()


# -- calls and results ---------------------------------------------------------------------------------------


def test_results_are_apart_from_other_parts() -> None:
    one, two, text = ToolResultPart("a"), ToolResultPart("b"), TextPart("t")
    assert encoder().split_results(Message("user", (text, one, two))) == ([(1, one), (2, two)], [(0, text)])
    assert encoder().split_results(Message("tool", (one,))) == ([(0, one)], [])
    for content in ((one, text), ()):
        with pytest.raises(UnsupportedError, match="a tool message takes ToolResultParts"):
            encoder().split_results(Message("tool", content))


@pytest.mark.parametrize(
    ("arguments", "kind", "sent", "adapted"),
    [
        ('{"a": 1}', "function", {"a": 1}, False),
        ("", "function", {}, False),
        (" \n", "function", {}, False),
        ('{"a": "\ud800"}', "function", {"a": "\ufffd\ufffd\ufffd"}, False),
        ("[1]", "function", {"INVALID_JSON": "[1]"}, True),
        ("null", "function", {"INVALID_JSON": "null"}, True),
        ('{"a"', "function", {"INVALID_JSON": '{"a"'}, True),
        ('{"a"', "other", {"INVALID_JSON": '{"a"'}, True),
        ('{"a"', "custom", {"input": '{"a"'}, False),
    ],
)
def test_the_arguments_of_a_call_as_an_object(
    arguments: str, kind: str, sent: dict[str, Any], adapted: bool
) -> None:
    made = encoder()
    made.at = (1, 2)
    assert made.arguments_object(ToolCallPart("c", "f", arguments, kind), ".x") == sent
    reason = "the arguments are no JSON object: sent as the text under 'INVALID_JSON'"
    assert told(made) == [("messages[1].content[2].x.arguments", "adapted", reason)] * adapted


def test_what_an_api_has_no_field_for_is_reported() -> None:
    made = encoder()
    made.at = (1,)
    cited = TextPart("a", citations=(Citation(url="u"), Citation(url="v")))
    for sent in (0, 1, 2):
        made.report_citations(cited, ".c", sent)
    made.report_citations(TextPart("a"))
    made.report_error_flag(ToolResultPart("c"), ".r")
    made.report_error_flag(ToolResultPart("c", is_error=True), ".r")
    for kind, known in (("function", ()), ("custom", ("custom",)), ("custom", ()), ("odd", ("custom",))):
        made.report_kind(ToolCallPart("c", "f", "{}", kind), ".k", *known)
    made.drop_name(Message.user("a"))
    made.drop_name(Message("user", (TextPart("a"),), name="n"))
    assert told(made) == [
        ("messages[1].c.citations", "dropped", "citations cannot be sent back"),
        ("messages[1].c.citations", "dropped", "only citations that came by this protocol can be sent back"),
        ("messages[1].r.is_error", "dropped", "this API has no error flag: the text is sent as it is"),
        ("messages[1].k", "emulated", "a call of kind 'custom' is sent as a function call"),
        ("messages[1].k", "emulated", "a call of kind 'odd' is sent as a function call"),
        ("messages[1].name", "dropped", "this API has no names for speakers"),
    ]
    assert made.text_of(FilePart(data="é".encode(), media_type="text/plain")) == "é"
    with pytest.raises(UnsupportedError, match="a text file must be UTF-8"):
        made.text_of(FilePart(data=b"\xff", media_type="text/plain"))


def call(*ids: str, text: str = "") -> Message:
    parts: tuple[Part, ...] = tuple(ToolCallPart(id, "f", "{}") for id in ids)
    return Message("assistant", (*((TextPart(text),) if text else ()), *parts))


def result(*ids: str) -> Message:
    return Message("tool", tuple(ToolResultPart(id, (TextPart(id),)) for id in ids))


HI, SO = Message.user("Hi"), Message.assistant("So")


@pytest.mark.parametrize(
    ("messages", "order", "reported"),
    [
        ((HI, call("a"), result("a"), HI), [0, 1, 2, 3], []),
        ((HI, call("a"), HI, result("a")), [0, 1, 3, 2], [("messages[3]", MOVED)]),
        ((call("a", "b"), result("a"), HI, result("b")), [0, 1, 3, 2], [("messages[3]", MOVED)]),
        ((call("a"), SO, result("a")), [0, 2], [("messages[1]", MERGED)]),
        ((call("a"), result("a"), SO), [0, 1, 2], []),
        ((call("a"), call("b"), result("a"), result("b")), [0, 2, 3], [("messages[1]", MERGED)]),
        ((SO, call("a"), result("a")), [0, 1, 2], []),
        ((call("a"), HI, SO, result("a")), [0, 3, 1, 2], [("messages[3]", MOVED)]),
        ((HI, result("x"), HI), [0, 1, 2], []),
        ((call("a"), result("a"), call("b"), HI, result("b"), result("a")), [0, 1, 5, 2, 4, 3],
         [("messages[4]", MOVED), ("messages[5]", MOVED)]),
        ((call("a"), HI, call("b"), result("a"), SO, result("b")), [0, 3, 1, 2, 5],
         [("messages[3]", MOVED), ("messages[4]", MERGED)]),
        ((), [], []),
    ],
)  # fmt: skip
def test_results_follow_their_calls(
    messages: tuple[Message, ...], order: list[int], reported: list[tuple[str, str]]
) -> None:
    made = encoder(*messages)
    placed = list(in_order(messages, made))
    assert [index for index, _ in placed] == order
    assert [(field, reason) for field, _, reason in told(made)] == reported
    parts = [part for _, message in placed for part in message.content]
    assert sorted(map(repr, parts)) == sorted(repr(part) for message in messages for part in message.content)


def test_turns_that_are_merged_keep_what_they_had() -> None:
    first = Message("assistant", (ToolCallPart("a", "f", "{}"),), extra={"x": 1, "y": 1})
    later = Message("assistant", (TextPart("So"),), extra={"y": 2})
    messages = (first, later, result("a"))
    made = encoder(*messages)
    (_, merged), _ = in_order(messages, made)
    assert merged == Message("assistant", (*first.content, *later.content), extra={"x": 1, "y": 2})
    assert made.reader.take_extra(merged) == {"x": 1, "y": 2}
    assert [field for field, _, _ in told(made)] == ["messages[1]"]  # the fields of both are taken


@pytest.mark.parametrize("role", ["system", "developer"])
def test_an_instruction_that_says_nothing_is_not_sent(role: Any) -> None:
    picture = ImagePart(**PICTURE)
    messages = (
        Message(role, ()),
        Message(role, (TextPart(" "),)),
        Message(role, (TextPart(""), TextPart("A"), TextPart("\n"), picture), extra={"x": 1}),
        Message.user(""),
    )
    made = encoder(*messages)
    sent = made.sendable(messages)
    assert [(index, message.content) for index, message in sent] == [
        (2, (TextPart("A"), picture)),
        (3, (TextPart(""),)),
    ]
    made.at = (2, 1)
    assert made.where == "messages[2].content[3]"  # by its place in the caller's message
    assert made.reader.take_extra(sent[0][1]) == {"x": 1}
    empty = ("messages[0]", "messages[1].content[0]", "messages[2].content[0]", "messages[2].content[2]")
    assert [field for field, _, _ in told(made)] == [*empty]


STATE = (
    *(
        "encrypted_content",
        "extra_content",
        "provider_specific_fields",
        "reasoning_details",
        "reasoning_opaque",
    ),
    *("reasoning_text", "signature", "thinking_blocks", "thoughtSignature", "thought_signature"),
)
"""Fields by which Anthropic, OpenAI, Gemini, OpenRouter, Copilot and LiteLLM go on with a model's reasoning."""


@pytest.mark.parametrize("name", STATE)
def test_what_only_its_own_provider_takes_beside_an_answer_is_reported(name: str) -> None:
    extra = {name: {"a": "s"}, "odd": "t", "in": {name: "s", "id": "x"}}
    empty = {name: {"a": None}, "in": {name: ""}}
    for origin, is_told in ((OTHER, True), (ASKED, False), (OTHER_MODEL, False)):
        text = TextPart("a", origin=origin)
        call = ToolCallPart("c", "f", "{}", origin=origin, extra=extra)
        thought = ReasoningPart("b", origin=origin, extra=extra)  # which is dropped as a whole
        messages = (
            Message("assistant", (text,), extra=extra),
            Message("assistant", (text,), extra=empty),
            Message("assistant", (thought, call)),
        )
        made = encoder(*messages)
        assert [message for _, message in made.sendable(messages)] == [*messages]
        holders = ("messages[0]", "messages[2].content[1]")
        places = [f"{holder}.{field}" for holder in holders for field in (name, f"in.{name}")]
        reason = f"{name} is bound to the provider that made it"
        assert told(made) == [(place, "dropped", reason) for place in places if is_told]


PAIR = (TextPart(""), TextPart(" "))
EMPTY, BLANK = "an empty text is refused", "a blank text is refused"
ALONE = "a blank text is refused where no other says anything"


@pytest.mark.parametrize(
    ("parts", "blank", "refused"),
    [
        (PAIR, True, {0: EMPTY, 1: BLANK}),
        (PAIR, False, {0: EMPTY, 1: ALONE}),
        ((*PAIR, TextPart("a")), True, {0: EMPTY, 1: BLANK}),
        ((*PAIR, TextPart("a")), False, {0: EMPTY}),
        ((*PAIR, RefusalPart("a")), False, {0: EMPTY}),
        ((RefusalPart(""), RefusalPart("\n")), False, {0: EMPTY, 1: ALONE}),
        ((*PAIR, ImagePart(url="https://x.test/a")), False, {0: EMPTY, 1: ALONE}),
        ((ReasoningPart(""), ToolCallPart("c", "f", "")), True, {}),
        ((), True, {}),
    ],
)
def test_texts_that_an_api_refuses(parts: Sequence[Part], blank: bool, refused: dict[int, str]) -> None:
    assert refused_texts(parts, blank=blank) == refused


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (TextPart("a"), True),
        (TextPart(" a "), True),
        (TextPart(""), False),
        (TextPart(" \n"), False),
        (TextPart("a", extra={"x": 1}), False),
        (TextPart("a", (Citation("u"),)), False),
        (TextPart("a", cache=Cache()), False),
        (RefusalPart("a"), False),
    ],
)
def test_a_text_and_nothing_else(part: Part, expected: bool) -> None:
    assert is_plain(part) is expected


# -- what is reported of options -----------------------------------------------------------------------------

MARKED = TextPart("a", cache=Cache(), extra={"x": 1})
SHOWN = ImagePart(url="https://x.test/a", cache=Cache())
MESSAGES = (
    Message.system("S"),
    Message("user", (TextPart("b"), MARKED), extra={"y": 1}),
    Message("assistant", (TextPart("c", origin=ASKED, extra={"own": 1}),), extra={"own": 1}),
    Message("assistant", (TextPart("d"),), extra={"y": 2}),
    Message("tool", (ToolResultPart("c", (TextPart("e"), SHOWN)), ToolResultPart("d", cache=Cache()))),
    Message("tool", (ToolResultPart("c", (MARKED,)),)),
    Message("assistant", (), extra={"own": 1}),
)
TOOLS = (
    Tool("f", "", {}, cache=Cache(), extra={"z": 1}),
    Tool("g", "", {}),
    Tool("h", "", {}, extra={"z": 1}),
    HostedTool("search", cache=Cache()),
)
MARKS = (
    *("tools[f].cache", "tools[f].extra", "tools[h].extra", "tools[search].cache"),
    *(
        "messages[1].extra",
        "messages[1].content[1].cache",
        "messages[1].content[1].extra",
        "messages[3].extra",
    ),
    *("messages[4].content[0].content[1].cache", "messages[4].content[1].cache"),
    *("messages[5].content[0].content[0].cache", "messages[5].content[0].content[0].extra"),
)


def test_every_mark_and_field_of_the_callers_is_reported() -> None:
    """What a provider said of its own answer is none of the caller's."""
    request = Request(MESSAGES, "m", tools=TOOLS, extra={"w": 1})
    reader = OptionReader(request, OpenAIChatOptions)
    assert reader.take("tools") == TOOLS
    found = reader.finish()
    assert [each.field for each in found] == ["extra", *MARKS]
    assert {each.outcome for each in found} == {"dropped"}
    words = {"cache": "takes no cache mark here", "extra": "takes no other fields here"}
    assert all(words[each.field.rpartition(".")[2]] in each.reason for each in found)
    assert reader.sent == ("tools",)


def test_what_is_taken_is_sent() -> None:
    request = Request(MESSAGES, "m", tools=TOOLS, extra={"w": 1})
    reader = OptionReader(request, OpenAIChatOptions)
    reader.take("tools")
    parts = [part for message in MESSAGES for part in message.content]
    inner = [part for result in parts if isinstance(result, ToolResultPart) for part in result.content]
    for item in (request, *TOOLS, *MESSAGES, *parts, *inner):
        extra, mark = getattr(item, "extra", None), getattr(item, "cache", None)
        assert reader.take_extra(item) == (extra or {})
        if not isinstance(item, (Request, Message)):
            assert reader.take_cache(item) == mark
    assert reader.finish() == ()
    assert set(reader.sent) == {"tools", "extra", *MARKS}


def test_without_caching_no_mark_is_sent() -> None:
    request = Request(MESSAGES, "m", tools=TOOLS, options=Options(cache=CacheStrategy.off()))
    off = OptionReader(request, OpenAIChatOptions)
    assert [off.take_cache(tool) for tool in TOOLS] == [None] * 4
    off.absent("cache", "there is none")
    told = [(each.field, each.outcome, each.reason) for each in off.finish() if each.field.endswith("cache")]
    assert told == [("cache", "adapted", "no cache marks are sent")]
    by_field = OptionReader(request, OpenAIChatOptions)
    assert by_field.take_cache_off()
    assert not [each for each in by_field.finish() if each.field.endswith("cache")]
    assert "cache" in by_field.sent
    for strategy in (None, CacheStrategy.system_only()):
        other = OptionReader(Request((), "m", options=Options(cache=strategy)), OpenAIChatOptions)
        assert not other.take_cache_off()
        other.absent("cache", "there is none")
        assert [each.reason for each in other.finish()] == ["there is none"] * (strategy is not None)


def test_the_clients_own_options_are_no_deviations() -> None:
    """They are applied by the client, whatever the protocol is."""
    mine = Options(
        extra_body={"a": 1},
        extra_headers={"b": "c"},
        extra_query={"d": "e"},
        timeouts=Timeouts(total=5),
        strict=True,
    )
    reader = encoder(HI, options=mine).reader
    assert reader.is_empty and reader.finish() == () and reader.sent == ()
    reader = encoder(HI, options=Options(seed=1, timeouts=Timeouts(total=5))).reader
    assert not reader.is_empty
    assert reader.take("seed") == 1
    assert (reader.finish(), reader.sent) == ((), ("seed",))
    reader = encoder(HI, options=Options(seed=1)).reader
    assert [(each.field, each.outcome) for each in reader.finish()] == [("seed", "dropped")]


@pytest.mark.parametrize(
    ("choice", "names", "words"),
    [
        (None, ["a", "b", "search"], None),
        ("auto", ["a", "b", "search"], None),
        ("none", [], "no tools are sent"),
        (("auto", ("a",)), ["a"], "only the tools that may be called are sent"),
        (("required", ("b",)), ["b"], "only the tools that may be called are sent"),
        (("none", ("b",)), [], "no tools are sent"),
    ],
)
def test_the_tools_that_may_be_called(choice: Any, names: list[str], words: str | None) -> None:
    tools = (Tool("a", "", {}), Tool("b", "", {}), HostedTool("search"))
    made = ToolChoice(choice) if isinstance(choice, str) else None if choice is None else ToolChoice(*choice)
    reader = encoder(HI, tools=tools, tool_choice=made).reader
    found = reader.callable_tools()
    assert [tool.name if isinstance(tool, Tool) else tool.type for tool in found] == names
    assert [(each.field, each.reason) for each in reader.finish()] == [("tool_choice", words)] * (
        words is not None
    )
