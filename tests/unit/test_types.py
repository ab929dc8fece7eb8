"""The values and events: made, compared, shown, written and read back."""

from __future__ import annotations

import base64
import math
import re
import typing
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import brainwires_provider
from brainwires_provider import events as ev
from brainwires_provider import types as ty
from brainwires_provider.types.options import merge_options
from brainwires_provider.types.parts import sniff_media_type
from brainwires_provider.types.usage import split_usage
from paths import FIXTURES

TRANSCRIPT = FIXTURES / "transcripts" / "v1.json"
PNG = b"\x89PNG\r\n\x1a\n\x00"
ORIGIN = ty.Origin("openai_chat", "openai-chat", "m", "m-1")
CITATION = ty.Citation("https://a.test", "A", "quote", 0, 3, "file-1", {"type": "x", "a": None})
CACHE = ty.Cache("1h")
PARTS: tuple[ty.Part, ...] = (
    ty.TextPart("Hé\u2028", (CITATION,), CACHE, {"x": [1, None]}, ORIGIN),
    ty.ReasoningPart("T", ("S",), "sig", "enc", True, CACHE, {"fields": ["reasoning"]}, ORIGIN),
    ty.RefusalPart("No.", {"x": 1}, ORIGIN),
    ty.ImagePart(data=PNG, detail="low", cache=CACHE, extra={"x": 1}, origin=ORIGIN),
    ty.ImagePart(url="https://a.test/i.png"),
    ty.FilePart(file_id="file-1", media_type="application/pdf", name="a.pdf", text="words"),
    ty.ToolCallPart(None, "one", '{"x": 1}', "function", "local_1", CACHE, {"x": 1}, ORIGIN),
    ty.ToolResultPart("a", (ty.TextPart("ok"), ty.ImagePart(data=PNG)), True, "one", CACHE, {"x": 1}, ORIGIN),
    ty.OpaquePart("search", {"b": None, "a": [1.5]}, "id", "web", "call", CACHE, {"x": 1}, ORIGIN),
)
USAGE = ty.Usage(1, 2, 3, 4, 5, 6, 7, 8, ({"x": 1},), ("odd",), True, {"prompt_tokens": 1})
MESSAGE = ty.Message("assistant", PARTS, "bot", {"x": 1})
REPORT = ty.Report(("stop",), (ty.Deviation("seed", "dropped", "no such field"),))
VALUES: tuple[Any, ...] = (
    *PARTS,
    MESSAGE,
    USAGE,
    REPORT,
    CITATION,
    ty.TokenCount(3, {"x": 1}),
    ty.Tool("one", "Does one.", {"type": "object"}, True, CACHE, {"x": 1}),
    ty.HostedTool("web", {"size": 3}, CACHE),
    ty.ToolChoice("required", ("one",), {"x": 1}),
    ty.JSONSchema("person", {"type": "object"}, "A person", True),
    ty.Reasoning("low", 5, "auto"),
    ty.Timeouts(1.5, 2.5, 3.5, 4.5, None),
    ty.CacheStrategy.system_and_tail_turn(ttl="5m"),
    ty.Options(max_tokens=1, stop=("a",), reasoning=ty.Reasoning("low"), timeouts=ty.Timeouts(total=3.5)),
    ty.Attempt("429", 429, "req"),
    ty.Model("m", "p", "M", "o", 1, 2, 3, ("tools",), {"x": 1}),
    ty.PreparedRequest("POST", "https://a.test", {"a": "b"}, b"{}", REPORT),
    ty.Response(
        "r", "p", "m", MESSAGE, "stop", "end", USAGE, {"x": 1}, REPORT, "req", {"a": "b"}, (ty.Attempt("x"),)
    ),
)
EVENTS: tuple[ev.Event, ...] = (
    ev.ResponseStart("r", "m"),
    ev.PartStart(0, ty.TextPart("")),
    ev.TextDelta(0, "a"),
    ev.ReasoningDelta(0, "a"),
    ev.RefusalDelta(0, "a"),
    ev.ToolCallDelta(0, "a"),
    ev.OpaqueDelta(None, "citation", {"a": None}),
    ev.PartEnd(0, PARTS[0]),
    ev.ResponseEnd("stop", "end", USAGE, "r", "m", {"x": 1}, {"y": 2}),
)
CALL = ty.ToolCallPart("a", "one", "{}")
RUN_EVENTS: tuple[ev.RunEvent, ...] = (
    *EVENTS,
    ev.ResponseRestart(ty.Attempt("x")),
    ev.ToolStart(CALL),
    ev.ToolEnd(CALL, ty.ToolResultPart("a", (ty.TextPart("ok"),)), 1.5, "late"),
    ev.StepEnd(1, ty.Response("r", "p", "m", MESSAGE, "stop", "end", USAGE)),
)


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_values_survive_json(value: Any) -> None:
    written = msgspec.json.encode(value)
    read = msgspec.json.decode(written, type=type(value))
    assert read == value
    assert msgspec.json.encode(read) == written


def test_parts_and_events_are_told_apart_by_their_tags() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PARTS), type=tuple[ty.Part, ...]) == PARTS
    assert msgspec.json.decode(msgspec.json.encode(RUN_EVENTS), type=tuple[ev.RunEvent, ...]) == RUN_EVENTS


def test_every_kind_is_written_under_its_name() -> None:
    """Stored transcripts, other processes and readers of the command's output know them by these names."""
    for kinds, field, values in ((ev.RunEvent, "event", RUN_EVENTS), (ty.Part, "type", PARTS)):
        assert {type(value) for value in values} == set(typing.get_args(kinds))
        for value in values:
            words = re.findall("[A-Z][a-z]+", type(value).__name__.removesuffix("Part"))
            assert msgspec.to_builtins(value)[field] == "_".join(words).lower()
    tools = (ty.Tool("one", "Does one.", {}), ty.HostedTool("web"))
    assert [msgspec.to_builtins(tool)["kind"] for tool in tools] == ["function", "hosted"]


def test_values_are_frozen() -> None:
    for value in (*VALUES, *RUN_EVENTS):
        with pytest.raises(AttributeError):
            setattr(value, value.__struct_fields__[0], None)


# -- transcripts -------------------------------------------------------------------------------------------

HISTORY = [
    ty.Message.system("Be brief."),
    ty.Message("developer", ("No jokes.",), name="dev"),  # type: ignore[arg-type]
    ty.Message.developer("No puns."),
    ty.Message.user("What is this?", ty.ImagePart(data=PNG), ty.FilePart(url="https://a.test/a.pdf")),
    MESSAGE,
    ty.Message.tool_result("a", "ok", is_error=True),
]


def test_a_version_1_transcript_is_read_for_ever() -> None:
    assert ty.load_messages(TRANSCRIPT.read_bytes()) == HISTORY


def test_dumped_messages_are_read_back() -> None:
    assert ty.load_messages(ty.dump_messages(iter(HISTORY))) == HISTORY
    assert ty.load_messages(ty.dump_messages([]).decode()) == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "not a dump_messages document"),
        (b"[]", "not a dump_messages document"),
        (b"\xff", "not a dump_messages document"),
        (b"{}", "no version"),
        (b'{"version":2,"messages":[]}', "version 2"),
        (b'{"version":1}', "messages"),
        (b'{"version":1,"messages":[{"role":"user","content":[{"type":"novel"}]}]}', "novel"),
    ],
)
def test_what_is_no_transcript_says_so(document: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ty.load_messages(document)


def test_only_messages_are_dumped() -> None:
    with pytest.raises(TypeError, match="not str"):
        ty.dump_messages(["hi"])  # type: ignore[list-item]


# -- content -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["hi", ["hi"], ("hi",), ty.TextPart("hi"), [ty.TextPart("hi")]])
def test_content_becomes_a_tuple_of_parts(content: Any) -> None:
    assert ty.Message("user", content).content == (ty.TextPart("hi"),)
    assert ty.ToolResultPart("a", content).content == (ty.TextPart("hi"),)


@pytest.mark.parametrize(
    ("content", "named"),
    [(5, "5 .int"), ([b"hi"], ".*bytes"), ({"a": 1}, ".*dict"), (None, "None"), ([None], "None")],
)
def test_a_wrong_content_is_named(content: Any, named: str) -> None:
    with pytest.raises(TypeError, match=rf"Message\.content takes .*not {named}"):
        ty.Message("user", content)


def test_a_wrong_role_and_a_wrong_call_are_named() -> None:
    with pytest.raises(ValueError, match="not 'robot'"):
        ty.Message("robot", ())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"not 5 \(int"):
        ty.Message.tool_result(5, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "data", "media_type"),
    [
        ("data:image/png;base64,aVBORw==", b"iPNG", "image/png"),
        ("DATA:image/png;BASE64,aVBORw==", b"iPNG", "image/png"),
        ("data:image/svg+xml;charset=utf-8,%3Csvg/%3E", b"<svg/>", "image/svg+xml"),
        ("data:,hi", b"hi", None),
    ],
)
def test_a_data_url_is_decoded_once(url: str, data: bytes, media_type: str | None) -> None:
    part = ty.ImagePart(url=url)
    assert (part.data, part.url, part.media_type) == (data, None, media_type)
    assert ty.ImagePart(url=url, media_type="image/webp").media_type == "image/webp"


@pytest.mark.parametrize("url", ["data:image/png;base64,!", "data:image/png", "data:image/png;base64,A"])
def test_a_data_url_that_cannot_be_decoded_is_refused_unless_a_service_sent_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"ImagePart\.url is a data: URL that cannot be decoded"):
        ty.ImagePart(url=url)
    assert ty.ImagePart(url=url, origin=ORIGIN).url == url


def test_a_message_tells_its_text_reasoning_and_calls() -> None:
    call = ty.ToolCallPart(None, "one", "", local_id="local_1")
    parts = (
        ty.ReasoningPart("A"),
        ty.ReasoningPart(),
        ty.ReasoningPart("B"),
        "x",
        ty.RefusalPart("No"),
        "y",
        call,
    )
    message = ty.Message.assistant(*parts)
    assert (message.text, message.reasoning, message.tool_calls) == ("xy", "A\n\nB", (call,))
    result = ty.Message.tool_result(call, "a", "b").content[0]
    assert isinstance(result, ty.ToolResultPart)
    assert (result.call_id, result.name, result.text) == ("local_1", "one", "ab")
    response = ty.Response("r", "p", "m", message, "stop", None, USAGE)
    assert (response.text, response.reasoning, response.tool_calls, response.citations) == (
        "xy",
        "A\n\nB",
        (call,),
        (),
    )
    assert msgspec.structs.replace(response, message=MESSAGE).citations == (CITATION,)


# -- media -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ty.ImagePart, ty.FilePart])
def test_media_is_exactly_one_of_data_url_and_file_id(kind: Any) -> None:
    with pytest.raises(ValueError, match="none was"):
        kind()
    with pytest.raises(ValueError, match="data and url were"):
        kind(data=b"", url="https://a.test")
    with pytest.raises(TypeError, match="from_base64"):
        kind(data="aGk=")
    with pytest.raises(ValueError, match="base64"):
        kind.from_base64("a")
    assert (
        kind(data=bytearray(PNG))
        == kind(data=memoryview(PNG))
        == kind.from_base64(base64.b64encode(PNG).decode())
    )
    assert kind(data=PNG).media_type == "image/png"
    assert kind(data=PNG, media_type="x/y").media_type == "x/y"
    assert kind(data=b"").media_type is None


def test_media_is_read_from_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PNG)
    (tmp_path / "b.csv").write_bytes(b"a,b")
    image, table = ty.ImagePart.from_path(tmp_path / "a.jpg"), ty.FilePart.from_path(str(tmp_path / "b.csv"))
    assert (image.data, image.media_type) == (PNG, "image/png")
    assert (table.media_type, table.name) == ("text/csv", "b.csv")
    with pytest.raises(FileNotFoundError):
        ty.ImagePart.from_path(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"\x89PNG\r\n\x1a\n\x00", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF0000WEBP", "image/webp"),
        (b"RIFF0000WAVE", "audio/wav"),
        (b"%PDF-1.7", "application/pdf"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\xff\xf3\x40", "audio/mpeg"),
        (b"OggS\x00", "audio/ogg"),
        (b"fLaC\x00", "audio/flac"),
        (b"0000ftypM4A ", "audio/mp4"),
        (b"0000ftypisom", "video/mp4"),
        (b"RIFF", None),
    ],
)
def test_media_types_are_told_from_the_first_bytes(head: bytes, told: str | None) -> None:
    assert sniff_media_type(head) == told


def test_a_repr_shows_sizes_and_never_bytes() -> None:
    secret = b"\x00secret-bytes" * 1000
    shown = repr(
        [ty.ImagePart(data=secret, detail="low"), ty.Message.user(ty.FilePart(data=secret, name="a"))]
    )
    assert "13,000 bytes" in shown
    assert "secret" not in shown
    assert "detail='low'" in shown
    long = repr(ty.ImagePart(url="https://a.test/" + "QUJD" * 100))
    assert "415 characters" in long
    assert len(long) < 150
    assert repr(ty.ImagePart(url="https://a.test")) == "ImagePart(url='https://a.test')"


# -- equality ----------------------------------------------------------------------------------------------


def test_a_cache_mark_is_no_content() -> None:
    for part in PARTS:
        if isinstance(part, ty.RefusalPart):
            continue
        marked, bare = (msgspec.structs.replace(part, cache=cache) for cache in (ty.Cache("5m"), None))
        assert marked == bare
        assert hash(marked) == hash(bare)
    assert ty.TextPart("a") != ty.TextPart("b")
    assert ty.TextPart("a") != ty.RefusalPart("a")
    for part in PARTS:
        assert (part == "a") is False and part == ANY  # the other side decides, where it can
    assert len({ty.TextPart("a"), ty.TextPart("a", cache=CACHE), ty.TextPart("a", extra={"x": [1]})}) == 2


# -- calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "told"), [("", {}), (" \n", {}), ("{}", {}), ('{"a": [1]}', {"a": [1]})])
def test_arguments_are_a_dict(text: str, told: dict[str, Any]) -> None:
    assert ty.ToolCallPart("a", "one", text).args() == told


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not valid JSON"), ("[1]", "not list"), ("null", "not NoneType"), ('"\ud800"', "valid")],
)
def test_arguments_that_are_none_say_what_to_do(text: str, words: str) -> None:
    with pytest.raises(ty.ToolArgumentsError, match=f"'one'.*{words}"):
        ty.ToolCallPart("a", "one", text).args()


def test_a_call_is_answered_by_its_id_or_ours() -> None:
    assert ty.ToolCallPart("a", "one", "", local_id="b").call_id == "a"
    assert ty.ToolCallPart(None, "one", "", local_id="b").call_id == "b"
    assert ty.ToolCallPart(None, "one", "").call_id == ""


# -- options -----------------------------------------------------------------------------------------------


def test_options_and_keywords_are_the_same_fields() -> None:
    assert tuple(ty.Options.__struct_fields__) == tuple(typing.get_type_hints(ty.OptionParams))
    assert set(ty.OptionParams.__annotations__) < set(ty.ChatParams.__annotations__)


def test_no_keyword_must_be_given() -> None:
    public = [getattr(brainwires_provider, name) for name in brainwires_provider.__all__]
    keywords = list(filter(typing.is_typeddict, public))
    assert ty.ToolArgs in keywords
    assert [each.__name__ for each in keywords if each.__required_keys__] == []


def test_options_are_merged_field_by_field() -> None:
    merged = merge_options(ty.Options(seed=1, top_k=2), None, ty.Options(seed=3), ty.Options())
    assert merged == ty.Options(seed=3, top_k=2)
    assert merged.set_fields() == ("top_k", "seed")
    assert merge_options(None) == ty.Options()
    assert merge_options(None, merged) is merged


def test_a_choice_and_a_strategy_are_made_by_name() -> None:
    assert ty.ToolChoice.tool("one") == ty.ToolChoice("required", ("one",))
    assert ty.ToolChoice.allowed("one", "two") == ty.ToolChoice("auto", ("one", "two"))
    modes = [
        s.mode
        for s in (ty.CacheStrategy.off(), ty.CacheStrategy.system_only(), ty.CacheStrategy.system_and_tools())
    ]
    assert modes == ["off", "system_only", "system_and_tools"]


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_a_clock_takes_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"Timeouts\.idle"):
        ty.Timeouts(idle=seconds)


def test_a_report_sorts_its_fields() -> None:
    told = [ty.Deviation(outcome, outcome, "why") for outcome in ("adapted", "emulated", "dropped")]
    report = ty.Report(("seed",), tuple(told))
    assert report.sent == ("seed",)
    assert [report.adapted, report.emulated, report.dropped] == [(d,) for d in told]


def test_a_prepared_request_is_a_shell_command() -> None:
    prepared = ty.PreparedRequest(
        "POST", "https://a.test/v1?x=1", {"A": "b c"}, b'{"a": "it\'s"}', ty.Report()
    )
    assert prepared.curl() == (
        """curl -X POST 'https://a.test/v1?x=1' -H 'A: b c' --data-binary '{"a": "it'"'"'s"}'"""
    )


# -- usage -------------------------------------------------------------------------------------------------

BUCKETS = [
    "uncached_input",
    "cache_read",
    "cache_write",
    "output_text",
    "reasoning",
    "tool_input",
    "audio_input",
    "unattributed",
]
counts = st.integers(-3, 2**60) | st.integers(0, 30)


@settings(max_examples=300, deadline=None)
@given(counts, counts, st.none() | counts, counts, counts, counts, counts)
@example(came=0, went=0, total=1, read=0, wrote=1, audio=0, thought=0)
@example(came=4142, went=254, total=8724, read=4328, wrote=0, audio=0, thought=0)
def test_buckets_add_up_and_are_never_negative(
    came: int, went: int, total: int | None, read: int, wrote: int, audio: int, thought: int
) -> None:
    usage = split_usage(
        input_total=came,
        output_total=went,
        total=total,
        cache_read=read,
        cache_write=wrote,
        audio_input=audio,
        reasoning=thought,
    )
    buckets = {name: getattr(usage, name) for name in BUCKETS}
    assert min(buckets.values()) >= 0
    assert (
        sum(buckets.values())
        == usage.total_tokens
        == usage.input_tokens + usage.output_tokens + usage.unattributed
    )
    assert usage.complete
    if read + wrote > 0 and total == came + went + read + wrote:
        came += read + wrote  # which the total proves to be counted beside the input
    assert usage.input_tokens == max(came, 0)
    if not usage.anomalies:
        assert usage.total_tokens == (came + went if total is None else total)
        assert (usage.cache_read, usage.cache_write, usage.audio_input, usage.reasoning) == (
            read,
            wrote,
            audio,
            thought,
        )
        assert usage.output_tokens in (went, went + thought)


def test_a_cost_is_complete_unless_it_says_otherwise() -> None:
    cost = ty.Cost(Decimal("0.5"), "mine")
    assert cost.complete
    assert msgspec.json.decode(b'{"usd":"0.5","prices":"mine"}', type=ty.Cost) == cost


def test_no_usage_is_not_complete() -> None:
    assert (ty.Usage().total_tokens, ty.Usage().complete) == (0, False)


# -- events ------------------------------------------------------------------------------------------------


def test_collect_gives_the_response_of_its_events() -> None:
    response = ev.collect(EVENTS, provider="p")
    assert response.message == ty.Message("assistant", (PARTS[0],), extra={"y": 2})
    assert (response.id, response.model, response.provider, response.extra) == ("r", "m", "p", {"x": 1})
    assert (response.finish_reason, response.raw_finish_reason, response.usage) == ("stop", "end", USAGE)


def test_collect_keeps_the_order_of_starts() -> None:
    told = [ev.PartEnd(1, ty.TextPart("b")), ev.PartEnd(0, ty.TextPart("a")), EVENTS[-1]]
    assert ev.collect(told).text == "ab"


def test_collect_begins_again_at_a_restart() -> None:
    one, two, three = (ev.PartEnd(n, ty.TextPart(text)) for n, text in enumerate("abc"))
    restart = ev.ResponseRestart(ty.Attempt("x"))
    assert ev.collect([one, two, EVENTS[-1], restart, three, EVENTS[-1]]).message.content == (three.part,)


def test_events_without_an_end_are_no_response() -> None:
    with pytest.raises(ValueError, match="ResponseEnd"):
        ev.collect(EVENTS[:-1])


def test_a_request_round_trips_through_json() -> None:
    request = ty.Request(
        (ty.Message.user("hi", ty.ImagePart(url="https://a/b.png")),),
        model="m",
        system="be",
        tools=(ty.Tool("t", "d", {"type": "object"}), ty.HostedTool("web_search", {"a": [1, None]})),
        tool_choice=ty.ToolChoice.tool("t"),
        output=ty.JSONSchema("p", {"type": "object"}),
        options=ty.Options(
            stop=("a", "b"), reasoning=ty.Reasoning(budget_tokens=3), timeouts=ty.Timeouts(idle=None)
        ),
    )

    assert msgspec.json.decode(msgspec.json.encode(request), type=ty.Request) == request


def test_curl_cannot_say_a_websocket() -> None:
    prepared = ty.PreparedRequest("GET", "wss://a.test/v1/responses", {}, b"{}", ty.Report())
    with pytest.raises(ValueError, match="WebSocket"):
        prepared.curl()
