"""The values, events and errors: made, compared, shown, written and read back."""

from __future__ import annotations

import base64
import copy
import math
import pickle
import re
import typing
from collections import OrderedDict, defaultdict
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import brainwires_provider
from brainwires_provider import errors as er
from brainwires_provider import events as ev
from brainwires_provider import types as ty
from brainwires_provider.types import ollama
from brainwires_provider.types.bulk import BulkProgress, BulkSettings, MapParams
from brainwires_provider.types.options import merge_options
from brainwires_provider.types.parts import sniff_media_type
from brainwires_provider.types.runs import RunSettings
from brainwires_provider.types.usage import add_usage, split_usage
from brainwires_provider.types.websocket import WebSocketCounters, WebSocketOptions, WebSocketStats
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


@pytest.mark.parametrize("value", (*VALUES, *RUN_EVENTS), ids=lambda v: type(v).__name__)
def test_a_value_shows_and_writes_only_what_was_set(value: Any) -> None:
    cls = type(value)
    needed = {each.name for each in msgspec.structs.fields(cls) if each.required}
    needed |= {"url"} if cls is ty.ImagePart else {"file_id"} if cls is ty.FilePart else set()
    given = {name: getattr(value, name) or "https://a.test" for name in needed}
    bare = cls(**{**given, **{name: getattr(value, name) for name in needed - {"url", "file_id"}}})
    shown = [f"{name}={getattr(bare, name)!r}" for name in cls.__struct_fields__ if name in needed]
    if cls is not ev.ToolStart:
        assert repr(bare) == f"{cls.__name__}({', '.join(shown)})"
    tag = {cls.__struct_config__.tag_field} - {None}
    assert msgspec.to_builtins(bare).keys() == needed | tag


def test_the_counters_of_websockets_begin_at_nothing() -> None:
    counters = WebSocketCounters()
    assert counters.snapshot() == WebSocketStats()
    counters.misses["field:tools"] = counters.full = 2
    stats = counters.snapshot()
    counters.misses.clear()
    assert (stats.full, stats.misses) == (2, {"field:tools": 2})


def test_options_of_websockets_follow_what_a_server_was_found_to_do() -> None:
    options = WebSocketOptions()
    assert options.without_parent("no_parents", 1).continues == "none"
    assert options.without_parent("instructions", 9) == msgspec.structs.replace(
        options, repeats_instructions=False
    )
    assert options.without_parent("not_found", 2) is options
    assert options.without_parent("not_found", 3) == msgspec.structs.replace(options, continues="stored")
    for continues in ("stored", "none"):
        other = msgspec.structs.replace(options, continues=continues)
        assert other.without_parent("not_found", 3) is other
    ages = [options.with_age_limit(limit).max_connection_age for limit in (10_000, 2000, 334, 333, 1)]
    assert ages == [3300, 1800, pytest.approx(300.6), 300, 300]
    young = msgspec.structs.replace(options, max_connection_age=60.0)
    assert young.with_age_limit(1).max_connection_age == 60


def test_the_time_that_is_left_of_a_bulk_run() -> None:
    def eta(**fields: Any) -> float | None:
        return BulkProgress(**fields).eta

    assert eta(total=10, done=4, rate=2.0) == 3 and eta(total=10, done=12, rate=2.0) == 0
    assert eta(total=0, rate=2.0) == 0
    assert eta(done=4, rate=2.0) is None and eta(total=10, done=4) is None


def test_a_bulk_run_that_has_not_begun_has_done_nothing() -> None:
    known = {
        name: value for name, value in msgspec.structs.asdict(BulkProgress()).items() if value is not None
    }
    assert not any(known.values()) and len(known) == 9


def test_embeddings_show_their_sizes() -> None:
    made = ty.Embeddings([[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]], "p", "m", USAGE)
    sizes = [ty.Embeddings(vectors, "p", None, USAGE).dimensions for vectors in ([], [[]], [[0.5, 1.5, 2.5]])]
    assert made.dimensions == 2 and sizes == [0, 0, 3]
    assert repr(made) == f"Embeddings(3 x 2, p:m, {USAGE!r})"


def test_a_role_is_kept_as_plain_text() -> None:
    class Role(str): ...

    message = ty.Message(Role("user"), "hi")  # type: ignore[arg-type]
    assert type(message.role) is str and message == ty.Message.user("hi")


def test_values_are_frozen() -> None:
    for value in (*VALUES, *RUN_EVENTS):
        with pytest.raises(AttributeError):
            setattr(value, value.__struct_fields__[0], None)


REQUIRED: dict[str, str] = {
    "Attempt": "error",
    "BatchJob": "id model state raw_state requests",
    "BatchResult": "id outcome",
    "BreakerStats": "provider model state failures",
    "BudgetStats": "scope spent_usd spent_tokens reserved_usd reserved_tokens",
    "CacheStrategy": "mode",
    "CallInfo": "id provider model is_stream show",
    "Compaction": "id messages usage",
    "Continuation": "sent of",
    "Cost": "usd prices",
    "Deviation": "field outcome reason",
    "Embeddings": "vectors provider model usage",
    "EnvKey": "name",
    "Fallback": "model",
    "FileKey": "path",
    "FunctionTool": "name description parameters function",
    "Hedge": "after",
    "HostedTool": "type",
    "JSONSchema": "name schema",
    "KeyringKey": "service user",
    "LimitStats": "provider model kind limit used is_learned",
    "Message": "role content",
    "Model": "id provider",
    "NamedModel": "model",
    "OllamaEmbeddings": "vectors",
    "OllamaLoad": "model reason",
    "OllamaModel": "name",
    "OllamaModelInfo": "name",
    "OllamaProgress": "status",
    "OllamaRunningModel": "name",
    "OpaqueDelta": "index kind data",
    "OpaquePart": "kind data",
    "Origin": "protocol provider",
    "PartEnd": "index part",
    "PartStart": "index part",
    "PreparedRequest": "method url headers body report",
    "Provider": "name protocol base_url",
    "ProviderConfig": "name",
    "ReasoningDelta": "index text",
    "RefusalDelta": "index text",
    "RefusalPart": "text",
    "Request": "messages",
    "ResolvedModel": "provider model protocol base_url facts",
    "Response": "id provider model message finish_reason raw_finish_reason usage",
    "ResponseEnd": "finish_reason raw_finish_reason usage",
    "ResponseRestart": "attempt",
    "StepEnd": "step response",
    "TextDelta": "index text",
    "TextPart": "text",
    "TokenCount": "input_tokens",
    "Tool": "name description parameters",
    "ToolCallDelta": "index text",
    "ToolCallPart": "id name arguments",
    "ToolEnd": "call result seconds",
    "ToolResultPart": "call_id",
    "ToolStart": "call",
}
DEFAULTS: dict[str, dict[str, Any]] = {
    **{
        name: {"details": ollama.OllamaDetails()}
        for name in ("OllamaModel", "OllamaModelInfo", "OllamaRunningModel")
    },
    "BulkSettings": {"concurrency": 100},
    "RunSettings": {"max_steps": 10, "max_parallel": 8, "max_failures": 3},
    "Breaker": {"failures": 5, "window": 30, "rest": 30},
    "Budget": {"scope": "client", "unpriced": "raise"},
    "CallInfo": {"attempt": 1},
    "Compaction": {"report": ty.Report()},
    "Config": {"trusted": True, "policies": ANY},
    "Cost": {"complete": True},
    "FunctionTool": {"parallel": True},
    "Hedge": {"share": 0.05},
    "Limits": {"learn": True, "when_down": "raise"},
    "Provider": {"auth": "bearer", "transport": "http", "socket": ANY, "checked": ANY},
    "Request": {"options": ty.Options()},
    "Response": {"report": ty.Report()},
    "Retry": {"attempts": 3, "base": 0.5, "cap": 30, "longest_wait": 120, "repairs": 1},
    "Timeouts": {"connect": 10, "first_event": 600, "idle": 300},
    "ToolCallPart": {"kind": "function"},
    "ToolChoice": {"mode": "auto"},
    "WebSocketOptions": {
        "max_concurrent": 16,
        "max_lanes": 32,
        "continues": "all",
        "repeats_instructions": True,
        "connection_headers": ("openai-organization", "openai-project", "openai-beta"),
        "max_request_bytes": 15 * 2**20,
        "max_buffered_bytes": 64 * 2**20,
        "max_connections": 32,
        "max_idle_connections": 8,
        "max_connection_age": 3300,
        "age_jitter": 120,
        "idle_timeout": 300,
        "drain_timeout": 30,
        "ping_interval": 20,
        "http_fallback": True,
        "fallback_cooldown": 600,
    },
}
IN_FULL = {
    "BatchJob",
    "BatchResult",
    "BreakerStats",
    "CallInfo",
    "ClientStats",
    "Config",
    "Embeddings",
    "EnvKey",
    "Fallback",
    "FileKey",
    "KeyringKey",
    "NamedModel",
    "Provider",
    "ProviderConfig",
    "Telemetry",
    "WebSocketStats",
}


def test_what_a_public_value_is_made_of() -> None:
    """Which fields it must be given, and what each of the others is without: nothing, unless the table says so."""
    public = [getattr(brainwires_provider, name) for name in brainwires_provider.__all__]
    public += [*(getattr(ollama, name) for name in ollama.__all__), BulkSettings, RunSettings]
    kinds = {v.__name__: v for v in public if isinstance(v, type) and issubclass(v, msgspec.Struct)}
    fields = {name: msgspec.structs.fields(kind) for name, kind in kinds.items()}
    required = {name: " ".join(f.name for f in each if f.required) for name, each in fields.items()}
    assert {name: each for name, each in required.items() if each} == REQUIRED
    defaults: dict[str, dict[str, Any]] = {}
    for name, each in fields.items():
        for f in (f for f in each if not f.required):
            value = f.default if f.default is not msgspec.NODEFAULT else f.default_factory()
            if value and value is not msgspec.UNSET:
                defaults.setdefault(name, {})[f.name] = value
    assert defaults == DEFAULTS
    some = {name: kind.__struct_config__ for name, kind in kinds.items() if kind.__struct_defaults__}
    assert {name for name, each in some.items() if not each.omit_defaults} == IN_FULL
    assert {name for name, each in some.items() if not each.repr_omit_defaults} == IN_FULL
    assert [name for name, kind in kinds.items() if not kind.__struct_config__.frozen] == []


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
    for text in ("a", "aGk=!", "aG k="):
        with pytest.raises(ValueError, match=r"(?i)base64|padding"):
            kind.from_base64(text)
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
    assert len({hash(part) for part in (*PARTS, ty.TextPart("a"), ty.TextPart("b"))}) == len(PARTS) + 2
    for part in PARTS:
        assert (part == "a") is False and part == ANY  # the other side decides, where it can
    assert len({ty.TextPart("a"), ty.TextPart("a", cache=CACHE), ty.TextPart("a", extra={"x": [1]})}) == 2


def test_only_what_a_caller_made_is_searched_for_what_is_no_json() -> None:
    own: Any = MappingProxyType({"a": math.nan})
    for make in (partial(ty.TextPart, "a"), partial(ty.OpaquePart, "note", {}), partial(ty.ImagePart, PNG)):
        assert make(extra=own, origin=ORIGIN).extra is own
        with pytest.raises(ValueError, match=r"extra\['a'\] is nan"):
            make(extra=own)
    assert ty.Message("assistant", "a", extra=own).extra is own  # type: ignore[arg-type]
    for role in ("system", "developer", "user", "tool"):
        with pytest.raises(ValueError, match=r"Message\.extra\['a'\] is nan"):
            ty.Message(role, "a", extra=own)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [OrderedDict, partial(defaultdict, int), MappingProxyType])
def test_parts_that_are_equal_have_one_hash_whatever_their_dicts_are(kind: Any) -> None:
    part = ty.OpaquePart("note", kind({"a": 1}), extra=kind({"b": 2}), origin=ORIGIN)
    assert {part} == {ty.OpaquePart("note", {"a": 1}, extra={"b": 2}, origin=ORIGIN)}


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
    assert [each.__name__ for each in (*keywords, MapParams) if each.__required_keys__] == []


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
    assert ty.ToolChoice.allowed("one", mode="required") == ty.ToolChoice("required", ("one",))
    assert ty.CacheStrategy.system_only("5m") == ty.CacheStrategy("system_only", "5m")
    assert ty.CacheStrategy.system_and_tools("5m") == ty.CacheStrategy("system_and_tools", "5m")
    tail = ty.CacheStrategy("system_and_tail_turn", threshold=1024)
    assert ty.CacheStrategy.system_and_tail_turn() == tail
    assert ty.CacheStrategy.system_and_tail_turn(5, "1h") == ty.CacheStrategy("system_and_tail_turn", "1h", 5)


def test_options_show_that_they_hold_a_secret_and_not_which() -> None:
    fields = {"X-Api-Key": "hunter2", "X-Title": "a"}
    shown = "{'X-Api-Key': '[redacted]', 'X-Title': 'a'}"
    options = ty.Options(seed=1, extra_headers=fields, extra_query=fields)
    assert repr(options) == f"Options(seed=1, extra_headers={shown}, extra_query={shown})"


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


def test_the_counts_of_each_direction_are_added() -> None:
    powers = [10**n for n in range(len(BUCKETS))]
    usage = ty.Usage(*powers)
    came = ("uncached_input", "cache_read", "cache_write", "tool_input", "audio_input")
    assert usage.input_tokens == sum(getattr(usage, name) for name in came)
    assert usage.output_tokens == usage.output_text + usage.reasoning
    assert usage.total_tokens == sum(powers)
    twice = add_usage(usage, msgspec.structs.replace(usage, anomalies=("odd",)), USAGE)
    assert [getattr(twice, name) for name in BUCKETS] == [
        2 * each + n for n, each in enumerate(powers, start=1)
    ]
    assert (twice.anomalies, twice.passes, twice.raw) == (("odd", "odd"), USAGE.passes, None)


@pytest.mark.parametrize("name", ["cache_read", "cache_write", "audio_input"])
def test_more_of_one_kind_than_of_input_is_reduced(name: str) -> None:
    usage = split_usage(input_total=1, output_total=1, total=None, **{name: 2})
    assert usage == ty.Usage(
        output_text=1,
        complete=True,
        anomalies=(f"{name} 2 exceeds the 1 input tokens left",),
        **{name: 1},  # type: ignore[arg-type]
    )


def test_counts_that_cannot_be_are_named() -> None:
    fields = ("cache_read", "cache_write", "audio_input", "reasoning")
    names = ("input", "cache_read", "cache_write", "audio_input", "output", "reasoning")
    usage = split_usage(input_total=-1, output_total=-1, total=None, **dict.fromkeys(fields, -1))
    assert usage.anomalies == tuple(f"{name} is negative: -1" for name in names)
    usage = split_usage(input_total=1, output_total=1, total=None, **dict.fromkeys(fields, 2))
    assert usage.anomalies == (
        "cache_read 2 exceeds the 1 input tokens left",
        "cache_write 2 exceeds the 0 input tokens left",
        "audio_input 2 exceeds the 0 input tokens left",
        "reasoning 2 exceeds output 1",
    )


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
    restart = ev.ResponseRestart(ty.Attempt("x"))
    for events in (EVENTS[:-1], (*EVENTS, restart), (*EVENTS, restart, *EVENTS[:-1])):
        with pytest.raises(ValueError, match="ResponseEnd"):
            ev.collect(events)


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


# -- errors ------------------------------------------------------------------------------------------------

CONTEXT = {"provider": None, "model": None, "request_id": None}
API = CONTEXT | dict.fromkeys(("status", "provider_status", "code", "type", "body", "retry_after", "partial"))
PARTIAL = {**CONTEXT, "partial": None}
ERRORS: dict[str, tuple[tuple[type[Exception], ...], dict[str, Any], dict[str, Any], bool]] = {
    "ConfigError": ((er.ProviderError,), {}, CONTEXT, False),
    "UnsupportedError": ((er.ProviderError,), {}, CONTEXT, False),
    "BudgetExceededError": ((er.ProviderError,), {}, CONTEXT, False),
    "SharedServerError": ((er.ProviderError,), {}, CONTEXT, True),
    "StoreError": ((er.ProviderError,), {}, CONTEXT, True),
    "TransportError": ((er.ProviderError,), {}, CONTEXT, True),
    "ConnectError": ((er.TransportError, ConnectionError), {}, CONTEXT, True),
    "BreakerOpenError": ((er.ConnectError,), {"retry_after": 1.5}, CONTEXT, True),
    "RequestTimeout": ((er.TransportError, TimeoutError), {"clock": "total"}, CONTEXT, True),
    "StreamInterrupted": ((er.TransportError,), {"how": "eof"}, PARTIAL, True),
    "StreamTimeout": ((er.StreamInterrupted, er.RequestTimeout), {"clock": "idle"}, PARTIAL, True),
    "APIError": ((er.ProviderError,), {}, API, False),
    "AuthenticationError": ((er.APIError,), {}, API, False),
    "PermissionDeniedError": ((er.APIError,), {}, API, False),
    "NotFoundError": ((er.APIError,), {}, API, False),
    "InvalidRequestError": ((er.APIError,), {}, API, False),
    "ContextLengthError": ((er.InvalidRequestError,), {}, API, False),
    "RateLimitError": ((er.APIError,), {}, API, True),
    "OverloadedError": ((er.APIError,), {}, API, True),
    "ServerError": ((er.APIError,), {}, API, True),
    "ProtocolError": ((er.ProviderError,), {}, PARTIAL, False),
    "FramingError": ((er.ProtocolError,), {}, PARTIAL, False),
    "OutputError": ((er.ProviderError,), {}, PARTIAL, False),
    "OutputTruncated": ((er.OutputError,), {}, PARTIAL, False),
    "OutputRefused": ((er.OutputError,), {}, PARTIAL, False),
    "OutputInvalid": ((er.OutputError,), {}, PARTIAL | {"problems": ()}, False),
}


def test_the_table_has_every_error() -> None:
    assert ERRORS.keys() == {*er.__all__} - {"ProviderError", "ToolArgumentsError"}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_keeps_what_it_is_given(name: str) -> None:
    """Every field, under its name, without it, and in a copy and another process too."""
    kind: Any = getattr(er, name)
    bases, required, optional, retryable = ERRORS[name]
    assert kind.__bases__ == bases
    for fields in (optional, {each: f"a {each}" for each in optional}):
        error = kind("words", **required, **fields)
        if fields is optional:
            assert vars(kind("words", **required)) == vars(error)
        given = {"message": "words", **required, **fields}
        if name == "StreamTimeout":
            given["how"] = required["clock"]
        assert vars(error) == given and error.retryable is retryable and error.attempts == ()
        error.attempts = (ty.Attempt("x"),)
        for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert (type(other), str(other), vars(other)) == (kind, "words", vars(error))
    if issubclass(kind, er.APIError):
        assert [kind("words", retryable=each).retryable for each in (False, True)] == [False, True]
    for each in required:
        with pytest.raises(TypeError):
            kind("words", **{k: v for k, v in required.items() if k != each})
