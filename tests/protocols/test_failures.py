"""A provider's "no", in every shape that services give it, sorted into the right error."""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ConfigError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UnsupportedError,
)
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.eventstream import EventStreamMessage
from brainwires_provider.protocols.anthropic import AnthropicMessages, AnthropicOptions
from brainwires_provider.protocols.base.bodies import framing_named
from brainwires_provider.protocols.base.decoder import Assembler, AudioBuilder, DecoderBase
from brainwires_provider.protocols.base.embeddings import checked, one_batch
from brainwires_provider.protocols.base.errors import (
    api_error,
    count_in,
    error_in_reply,
    object_in,
    retry_after,
)
from brainwires_provider.protocols.base.facts import ModelFacts, check_media
from brainwires_provider.protocols.base.json import decode_json, looks_like, merged
from brainwires_provider.protocols.base.models import seconds_of
from brainwires_provider.protocols.base.object_writer import ObjectWriter
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Reply, stored_path
from brainwires_provider.protocols.base.replay import tool_name
from brainwires_provider.protocols.bedrock import BedrockConverse, BedrockOptions
from brainwires_provider.protocols.gemini import Gemini, GeminiOptions, GeminiQuirks
from brainwires_provider.protocols.google_interactions import GoogleInteractionsOptions
from brainwires_provider.protocols.llamacpp import LlamaCpp, LlamaCppOptions
from brainwires_provider.protocols.llamacpp.operations import (
    decode_choice,
    decode_constrained,
    decode_tokens,
    question_of,
)
from brainwires_provider.protocols.ollama import OllamaOptions
from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat, OpenAIChatOptions
from brainwires_provider.protocols.openai_chat.operations import OpenAIBatches, OpenAIEmbeddings, XAIBatches
from brainwires_provider.protocols.openai_responses import OpenAIResponsesOptions
from brainwires_provider.protocols.relay import BrainwiresOptions, BrainwiresRelay
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import (
    Cache,
    CacheStrategy,
    Deviation,
    EmbeddingArgs,
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    Options,
    Origin,
    ProviderOptions,
    Reasoning,
    RefusalPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from known import count_known, encode_known

NOW = 1_700_000_000.0
HI = Message.user("Hi")


def refused(status: int, body: Any, headers: dict[str, str] | None = None) -> APIError:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return error_in_reply(Reply(status, headers or {}, data, NOW))


def error(**fields: Any) -> dict[str, Any]:
    return {"error": fields}


TABLE: tuple[tuple[int, Any, type[APIError], str], ...] = (
    (400, error(message="no"), InvalidRequestError, "no"),
    (401, error(message="key"), AuthenticationError, "key"),
    (402, error(message="pay"), RateLimitError, "pay"),
    (403, error(message="no"), PermissionDeniedError, "no"),
    (404, b"404 page not found", NotFoundError, "404 page not found"),
    (405, b"", NotFoundError, "an empty body"),
    (408, error(message="slow"), ServerError, "slow"),
    (409, error(message="no"), InvalidRequestError, "no"),
    (413, error(message="too big"), InvalidRequestError, "too big"),
    (415, error(message="no"), InvalidRequestError, "no"),
    (501, error(message="no"), InvalidRequestError, "no"),
    (499, error(message="no"), InvalidRequestError, "no"),
    (599, error(message="no"), ServerError, "no"),
    (302, error(message="no"), APIError, "no"),
    (418, {"message": "teapot"}, InvalidRequestError, "teapot"),
    (422, {"detail": "bad"}, InvalidRequestError, "bad"),
    (429, error(message="slow"), RateLimitError, "slow"),
    (500, b"oops", ServerError, "oops"),
    (502, b" <html><body>Bad</body></html>", ServerError, "an HTML page"),
    (503, error(message="full"), OverloadedError, "full"),
    (529, error(message="full"), OverloadedError, "full"),
    # The code and type decide before the status does.
    (400, error(message="no", code="invalid_api_key"), AuthenticationError, "no"),
    (400, error(message="no", type="overloaded_error"), OverloadedError, "no"),
    (500, error(message="no", code="context_length_exceeded"), ContextLengthError, "no"),
    (400, error(message="pay", type="billing_error"), RateLimitError, "pay"),
    (400, error(message="slow", type="timeout_error"), ServerError, "slow"),
    (200, error(message="big", type="request_too_large"), InvalidRequestError, "big"),
    (413, error(message="prompt is too long", type="request_too_large"), ContextLengthError, "prompt"),
    (403, error(message="no", code="insufficient_quota"), RateLimitError, "no"),
    # A status inside the body decides before HTTP's own.
    (200, error(message="no", code=429), RateLimitError, "no"),
    (200, error(message="no", code="503"), OverloadedError, "no"),
    (400, error(message="no", status_code=404), NotFoundError, "no"),
    (400, error(message="no", code="²³¹"), InvalidRequestError, "no"),
    # Words that every refusal of a service carries decide last.
    (401, error(message="no", type="invalid_request_error"), AuthenticationError, "no"),
    (401, error(message="no", type="api_error"), AuthenticationError, "no"),
    (200, error(message="no", type="api_error"), ServerError, "no"),
    (200, error(message="no", code="bad_request"), InvalidRequestError, "no"),
    (200, error(message="no"), APIError, "no"),
    # A prompt that is too long is told by words alone at most services.
    (400, error(message="This model's maximum context length is 5"), ContextLengthError, "maximum"),
    (413, error(message="Prompt is too long"), ContextLengthError, "too long"),
    (429, error(message="rate limited: context window tokens a minute"), RateLimitError, "rate"),
    # The shapes.
    (400, {"error": "text"}, InvalidRequestError, "text"),
    (400, {"error": 5}, InvalidRequestError, "5"),
    (400, {"error": {}, "message": "outer"}, InvalidRequestError, "outer"),
    (
        400,
        {"error": None, "detail": ["a", {"msg": "b"}, {"loc": "x", "msg": "c"}]},
        InvalidRequestError,
        "a; b; x: c",
    ),
    (400, [error(message="listed")], InvalidRequestError, "listed"),
    (400, [], InvalidRequestError, "'[]'"),
    (400, error(code="odd"), InvalidRequestError, "odd"),
    (400, b'data: {"error": 1}\n\n', InvalidRequestError, "server-sent event stream"),
    (400, b"\xff" * 500, InvalidRequestError, "…"),
)


@pytest.mark.parametrize(("status", "body", "kind", "words"), TABLE)
def test_a_refusal_is_sorted(status: int, body: Any, kind: type[APIError], words: str) -> None:
    failure = refused(status, body)
    assert type(failure) is kind
    assert words in failure.message
    assert failure.status == status
    is_used_up = status == 402 or failure.code == "insufficient_quota" or failure.type == "billing_error"
    assert failure.retryable is (kind in (RateLimitError, OverloadedError, ServerError) and not is_used_up)
    for twin in (pickle.loads(pickle.dumps(failure)), copy.copy(failure), copy.deepcopy(failure)):
        assert type(twin) is kind
        assert vars(twin) == vars(failure)
    msgspec.json.encode(failure.body)


def test_what_cannot_be_encoded_again_is_mended() -> None:
    failure = refused(400, b'{"error": {"message": "a\\ud83d", "n": NaN}}')
    assert failure.message == "a\ufffd"
    msgspec.json.encode(failure.body)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": str(31 * 86_400)}, 31 * 86_400),
        ({"retry-after": str(31 * 86_400 + 1)}, None),  # a clock that is wrong
        ({"retry-after": "Tue, 14 Nov 2023 22:13:25 GMT"}, 5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:25 -0000"}, 5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0),
        ({"retry-after": "Tue, 14 Nov 99999999999999999999 22:13:25 GMT"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
    assert refused(429, error(message="slow"), headers).retry_after == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set")
def test_a_moment_without_a_zone_is_one_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "ODD-9")
        time.tzset()
        assert retry_after({"retry-after": "Tue, 14 Nov 2023 22:13:26 -0000"}, NOW) == 6
        assert seconds_of("2023-11-14T22:13:20") == NOW
    time.tzset()


def test_a_date_needs_a_clock() -> None:
    assert retry_after({"retry-after": "Tue, 14 Nov 2023 22:13:25 GMT"}, None) is None


# -- what protocols share ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated"),
        (b'{"a": ', "truncated"),
        (b"[" * 100_000, "too deeply"),
        (b'["\\ud800", ' + b"[" * 300 + b"]" * 300 + b"]", "too deeply"),
        (b'["\\ud800", ' + b"[" * 100_000, "too deeply"),
    ],
)
def test_what_is_no_json_says_why(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_json(data)


def test_ragged_json_is_let_through() -> None:
    assert decode_json(b'{"a": ["\\ud800", NaN, {"b": 1}]}')["a"][0] == "\ud800"


@pytest.mark.parametrize(
    ("known", "value", "both"),
    [
        (1, 2, 2),
        ({"a": 1}, 2, 2),
        (None, {"a": None}, {"a": None}),
        (
            {"a": 1, "b": {"c": 1}},
            {"a": None, "b": {"d": None}, "e": 2},
            {"a": 1, "b": {"c": 1, "d": None}, "e": 2},
        ),
    ],
)
def test_two_tellings_are_merged(known: Any, value: Any, both: Any) -> None:
    before = copy.deepcopy((known, value))
    assert merged(known, value) == both
    assert (known, value) == before


def test_a_body_is_described() -> None:
    assert looks_like(b"\xef\xbb\xbf \n") == "an empty body"
    for blanks in (b" " * 400, b"\r\n" * 1000):  # sent to keep a connection alive
        assert looks_like(blanks) == "an empty body"
        assert looks_like(blanks + b"<html>") == "an HTML page ('<html>')"
    assert looks_like(b"x" * 200) == repr("x" * 120 + "…")
    assert looks_like(b"x" * 121) == repr("x" * 120 + "…")
    assert looks_like(b"x" * 120) == repr("x" * 120)
    assert looks_like(b" \t\r\na \t\n b ") == repr("a b")
    assert looks_like(b"\xff") == repr("\ufffd")
    for head in ("<!DOCTYPE html>", "<html lang='de'>", "<head>", "<BODY>"):
        assert looks_like(f"\n{head}x".encode()) == f"an HTML page ({head + 'x'!r})"
    for head in ("data: 1", "event: a", ": ping"):
        assert looks_like(head.encode()) == f"a server-sent event stream ({head!r})"


def test_options_of_another_protocol_are_reported() -> None:
    class Others(ProviderOptions, frozen=True):
        protocol = "gemini"

    given = Options(provider_options=(OpenAIChatOptions(n=2), Others(), OpenAIChatOptions(store=False)))
    reader = OptionReader(Request((), options=given), OpenAIChatOptions)
    assert reader.provider_options() == {"n": 2, "store": False}
    assert reader.finish() == (
        Deviation("provider_options", "dropped", "Others is for gemini, not for openai_chat"),
    )
    for nothing in (Options(), Options(provider_options=OpenAIChatOptions()), Options(provider_options=())):
        reader = OptionReader(Request((), options=nothing), OpenAIChatOptions)
        assert (reader.provider_options(), reader.finish(), reader.sent) == ({}, (), ())


MADE = Origin("openai_chat", "p", "m")
MARK, MORE = Cache(), {"a": 1}


def of_user(*parts: Any) -> dict[str, Any]:
    return {"messages": (HI, Message("user", parts))}


MARKED: list[tuple[dict[str, Any], list[str]]] = [
    ({"extra": MORE}, ["extra"]),
    ({"tools": (Tool("f", "", {}), Tool("g", "", {}, cache=MARK))}, ["tools[g].cache"]),
    ({"tools": (Tool("f", "", {}, cache=MARK, extra=MORE),)}, ["tools[f].cache", "tools[f].extra"]),
    ({"tools": (HostedTool("w", {"b": 1}, cache=MARK),)}, ["tools[w].cache"]),
    ({"messages": (HI, Message("user", ("A",), extra=MORE))}, ["messages[1].extra"]),
    ({"messages": (Message("assistant", ("A",), extra=MORE),)}, ["messages[0].extra"]),
    ({"messages": (Message("assistant", (TextPart("A", origin=MADE), "B"), extra=MORE),)}, []),
    ({"messages": (Message("assistant", (), extra=MORE),)}, []),
    ({"messages": (Message("user", (), extra=MORE),)}, ["messages[0].extra"]),
    (of_user("A", TextPart("B", cache=MARK)), ["messages[1].content[1].cache"]),
    (of_user("A", TextPart("B", extra=MORE)), ["messages[1].content[1].extra"]),
    (of_user(ImagePart(url="u", cache=MARK)), ["messages[1].content[0].cache"]),
    (of_user(ImagePart(url="u", extra=MORE)), ["messages[1].content[0].extra"]),
    (of_user(TextPart("B", extra=MORE, origin=MADE)), []),
    (of_user(TextPart("B", extra=MORE, cache=MARK, origin=MADE)), ["messages[1].content[0].cache"]),
    (of_user(RefusalPart("B", extra=MORE)), ["messages[1].content[0].extra"]),
    (of_user(ToolCallPart("c", "f", "{}", cache=MARK)), ["messages[1].content[0].cache"]),
    (of_user("A", ToolResultPart("c", ("R",), cache=MARK)), ["messages[1].content[1].cache"]),
    (of_user(ToolResultPart("c", ("R",), extra=MORE)), ["messages[1].content[0].extra"]),
    (
        of_user(ToolResultPart("c", ("R", TextPart("S", cache=MARK)))),
        ["messages[1].content[0].content[1].cache"],
    ),
    (
        of_user("A", ToolResultPart("c", (TextPart("S", extra=MORE), "R"))),
        ["messages[1].content[1].content[0].extra"],
    ),
    (of_user("A", ToolResultPart("c", ("R",))), []),
]


@pytest.mark.parametrize(("fields", "marks"), MARKED)
def test_every_mark_is_sent_or_reported(fields: dict[str, Any], marks: list[str]) -> None:
    request = Request(**{"messages": (HI,), **fields})
    outcomes = OptionReader(request, OpenAIChatOptions).finish()
    assert [d.field for d in outcomes if d.field != "tools"] == marks
    for each in outcomes:
        what = {"cache": "cache mark here", "extra": "other fields here"}.get(each.field.rpartition(".")[2])
        if what is not None:
            assert each == Deviation(each.field, "dropped", f"this provider's API takes no {what}")

    reader = OptionReader(request, OpenAIChatOptions)
    reader.take("tools")
    parts = [part for message in request.messages for part in message.content]
    inner = [each for part in parts if isinstance(part, ToolResultPart) for each in part.content]
    for item in (request, *request.tools, *request.messages, *parts, *inner):
        assert reader.take_extra(item) == (getattr(item, "extra", None) or {})
    for marked in (*request.tools, *parts, *inner):
        assert reader.take_cache(marked) == getattr(marked, "cache", None)
    assert reader.finish() == ()
    assert list(reader.sent) == [*(["tools"] if request.tools else []), *marks]

    off = Request(**{"messages": (HI,), **fields, "options": Options(cache=CacheStrategy.off())})
    reader = OptionReader(off, OpenAIChatOptions)
    assert [reader.take_cache(marked) for marked in (*off.tools, *parts, *inner)].count(None) == len(
        [*off.tools, *parts, *inner]
    )
    reported = {d.field: d.outcome for d in reader.finish() if d.field != "tools"}
    kept = [mark for mark in marks if not mark.endswith(".cache")]
    assert reported == {"cache": "adapted", **dict.fromkeys(kept, "dropped")}


EVERY_OPTION: dict[str, Any] = {
    "max_tokens": 5,
    "temperature": 0.5,
    "stop": "a",
    "reasoning": "low",
    "cache": CacheStrategy.system_only(),
}


def test_what_is_set_is_sent_or_reported() -> None:
    request = Request((HI,), system="S", tool_choice=ToolChoice("auto"), options=Options(**EVERY_OPTION))
    names = ["system", "tool_choice", *EVERY_OPTION]
    reader = OptionReader(request, OpenAIChatOptions)
    assert (reader.is_empty, reader.has_options) == (False, True)
    untaken = reader.finish()
    assert {d.field for d in untaken} == set(names) and reader.sent == ()
    assert {(d.outcome, d.reason) for d in untaken} == {("dropped", "this provider's API has no such option")}

    reader = OptionReader(request, OpenAIChatOptions)
    assert [reader.take(name) for name in names[:5]] == ["S", ToolChoice("auto"), 5, 0.5, "a"]
    assert (reader.take("reasoning"), reader.take("top_p")) == (Reasoning("low"), None)
    reader.adapted("temperature", "A")
    reader.weaken("stop", "W")
    reader.emulated("reasoning.effort", "E")
    reader.absent("cache", "C")
    reader.absent("top_p", "C")
    assert reader.finish() == (
        Deviation("temperature", "adapted", "A"),
        Deviation("stop", "adapted", "W"),
        Deviation("reasoning.effort", "emulated", "E"),
        Deviation("cache", "dropped", "C"),
    )
    assert reader.weakened == ("stop",)
    assert set(reader.sent) == {"system", "tool_choice", "max_tokens", "reasoning"}
    bare = OptionReader(Request((HI,)), OpenAIChatOptions)
    assert (bare.is_empty, bare.has_options, bare.finish(), bare.sent) == (True, False, (), ())


def test_a_change_of_one_field_below_another_is_its_report() -> None:
    request = Request((HI,), tools=(Tool("f", "", {}),), extra={"chatId": 1}, options=Options(seed=1))
    reader = OptionReader(request, OpenAIChatOptions)
    reader.dropped("extra.chatId", "X")
    reader.dropped("tools[f].strict", "T")
    assert [d.field for d in reader.finish()] == ["extra.chatId", "tools[f].strict", "tools", "seed"]


@pytest.mark.parametrize(
    ("name", "facts", "thinks", "reason"),
    [
        *((name, {"sampling": False}, False, "no") for name in ("temperature", "top_p", "top_k")),
        *((name, {"samples_thinking": False}, True, "not") for name in ("temperature", "top_p", "top_k")),
        *((name, {"samples_thinking": False}, False, "") for name in ("temperature", "top_p", "top_k")),
        *((name, {}, True, "") for name in ("temperature", "top_p", "top_k")),
        *((name, {"penalties": False}, True, "no") for name in ("presence_penalty", "frequency_penalty")),
        *(
            (name, {"samples_thinking": False}, True, "not")
            for name in ("presence_penalty", "frequency_penalty")
        ),
        *((name, {"samples_thinking": False}, True, "") for name in ("stop", "parallel_tool_calls")),
        ("stop", {"stop": False}, False, "no"),
        ("parallel_tool_calls", {"parallel_tool_calls": False}, False, "no"),
        ("seed", {"sampling": False, "penalties": False, "stop": False}, True, ""),
    ],
)
def test_what_a_model_refuses(name: str, facts: dict[str, Any], thinks: bool, reason: str) -> None:
    reader = OptionReader(Request((HI,)), OpenAIChatOptions, ModelFacts(**facts))
    assert reader.refuses(name, thinks=thinks) is bool(reason)
    said = {"no": "this model takes no such option", "not": "not while this model reasons"}
    assert reader.finish() == ((Deviation(name, "dropped", said[reason]),) if reason else ())


@pytest.mark.parametrize(
    ("effort", "efforts", "word", "report"),
    [
        ("low", (), None, ("dropped", "this model takes no effort")),
        ("off", (), None, None),
        ("low", ("low", "high"), "low", None),
        ("off", ("none", "low"), "none", None),
        ("max", ("low", "high"), "high", ("adapted", "this model's nearest effort is 'high'")),
        ("minimal", ("none", "high"), "high", ("adapted", "this model's nearest effort is 'high'")),
        ("low", ("none",), "none", ("adapted", "this model's nearest effort is 'none'")),
        ("off", ("low", "high"), "low", ("adapted", "this model's nearest effort is 'low'")),
    ],
)
def test_an_effort_in_a_models_words(effort: Any, efforts: tuple[str, ...], word: Any, report: Any) -> None:
    reader = OptionReader(Request((HI,)), OpenAIChatOptions)
    assert reader.take_effort(effort, efforts) == word
    assert reader.finish() == (() if report is None else (Deviation("reasoning", *report),))
    assert reader.weakened == (("reasoning",) if report and report[0] == "adapted" else ())


F, G, W = Tool("f", "", {}), Tool("g", "", {}), HostedTool("w", {})


@pytest.mark.parametrize(
    ("choice", "tools", "report"),
    [
        (None, (F, G, W), None),
        (ToolChoice("auto"), (F, G, W), None),
        (ToolChoice("required"), (F, G, W), None),
        (ToolChoice("none"), (), "no tools are sent"),
        (ToolChoice("none", ("f",)), (), "no tools are sent"),
        (ToolChoice.tool("f"), (F,), "only the tools that may be called are sent"),
        (ToolChoice("auto", ("g", "f")), (F, G), "only the tools that may be called are sent"),
    ],
)
def test_the_tools_that_may_be_called(choice: Any, tools: Any, report: str | None) -> None:
    reader = OptionReader(Request((HI,), tools=(F, G, W), tool_choice=choice), OpenAIChatOptions)
    assert reader.callable_tools() == tools
    assert reader.finish() == (() if report is None else (Deviation("tool_choice", "emulated", report),))


FORCED, FREE = ToolChoice("required", ("f",)), ToolChoice("auto", ("f",))
SWITCHED = "no tool can be forced while this model thinks: it is switched off"
UNFORCED = "this model takes no forced tool choice: auto is sent"
THINKING = "no tool can be forced while this model thinks: auto is sent"


@pytest.mark.parametrize(
    ("choice", "facts", "asked", "can_stop", "made", "report"),
    [
        (None, {"forced_tools": False}, None, True, (None, False), None),
        (FREE, {"forced_tools": False}, None, True, (FREE, False), None),
        (ToolChoice("required", raw=MORE), {"forced_tools": False}, None, True, (..., False), None),
        (FORCED, {}, "low", True, (FORCED, False), None),
        (FORCED, {"forced_tools": False}, None, True, (FREE, False), UNFORCED),
        (FORCED, {"forced_tools_thinking": False}, None, True, (FORCED, False), None),
        (FORCED, {"forced_tools_thinking": False}, "low", True, (FREE, False), THINKING),
        (FORCED, {"forced_tools_thinking": False}, "off", True, (FORCED, False), None),
        (
            FORCED,
            {"forced_tools_thinking": False, "thinks_unasked": True},
            None,
            True,
            (FORCED, True),
            SWITCHED,
        ),
        (
            FORCED,
            {"forced_tools_thinking": False, "thinks_unasked": True},
            None,
            False,
            (FREE, False),
            THINKING,
        ),
        (
            FORCED,
            {"forced_tools_thinking": False, "thinks_unasked": True, "thinking_off": None},
            None,
            True,
            (FREE, False),
            THINKING,
        ),
    ],
)
def test_a_forced_call_as_the_model_takes_it(
    choice: Any, facts: dict[str, Any], asked: Any, can_stop: bool, made: Any, report: str | None
) -> None:
    options = Options() if asked is None else Options(reasoning=asked)
    reader = OptionReader(Request((HI,), options=options), OpenAIChatOptions, ModelFacts(**facts))
    found, stops = reader.forcible(choice, can_stop=can_stop)
    assert (found, stops) == ((choice if made[0] is ... else made[0]), made[1])
    reported = [(d.outcome, d.reason) for d in reader.finish() if d.field == "tool_choice"]
    assert reported == ([] if report is None else [("adapted", report)])
    assert reader.weakened == (("tool_choice",) if report in (UNFORCED, THINKING) else ())


@pytest.mark.parametrize("outcome", ["adapted", "dropped"])
def test_what_an_encoder_reports_of_the_cache_stands_alone(outcome: str) -> None:
    reader = OptionReader(Request((), options=Options(cache=CacheStrategy.off())), OpenAIChatOptions)
    getattr(reader, outcome)("cache", "as I say")
    reader.take("cache")
    assert reader.finish() == (Deviation("cache", outcome, "as I say"),)  # type: ignore[arg-type]


OWN: dict[str, type[ProviderOptions]] = {
    "anthropic": AnthropicOptions,
    "bedrock": BedrockOptions,
    "google": GeminiOptions,
    "google-interactions": GoogleInteractionsOptions,
    "ollama": OllamaOptions,
    "openai-chat": OpenAIChatOptions,
    "openai-responses": OpenAIResponsesOptions,
    "brainwires": BrainwiresOptions,
}
"""By row, the options that its protocol takes."""


@pytest.mark.parametrize("row", OWN)
def test_whose_options_they_are_is_said(row: str) -> None:
    protocol = PROVIDERS[row].protocol()
    others = (LlamaCppOptions(), *(kind() for kind in OWN.values() if kind is not OWN[row]))
    request = Request((HI,), "m", options=Options(provider_options=(*others, OWN[row]())))
    deviations = encode_known(protocol, request, Origin(protocol.name, row, "m"), stream=False).deviations
    assert [d.reason for d in deviations if d.field == "provider_options"] == [
        f"{type(other).__name__} is for {other.protocol}, not for {protocol.name}" for other in others
    ]


LATE = (Message.user("a"), Message.system("b"), Message.user("c"))
WEAKENED: list[tuple[str, str, dict[str, Any], tuple[str, ...], tuple[str, ...]]] = [
    (
        "ollama",
        "m",
        {"output": JSONSchema("n", {}, "D"), "options": Options(seed=1)},
        ("seed",),
        ("output",),
    ),
    (
        "google",
        "gemini-3-flash",
        {"options": Options(reasoning=Reasoning("off", summary="detailed"), seed=1)},
        ("seed",),
        ("reasoning", "reasoning.summary"),
    ),
    (
        "google-interactions",
        "gemini-3-flash",
        {"options": Options(reasoning=Reasoning("off", summary="detailed"), seed=1)},
        ("seed",),
        ("reasoning", "reasoning.summary"),
    ),
    (
        "brainwires",
        "m",
        {"messages": LATE, "options": Options(temperature=0.5)},
        ("temperature",),
        ("messages[1].role",),
    ),
    (
        "openai-chat",
        "gpt-5",
        {"options": Options(reasoning="max", max_tokens=5)},
        ("max_tokens",),
        ("reasoning",),
    ),
    (
        "openai-responses",
        "gpt-5",
        {"options": Options(reasoning="max", max_tokens=5)},
        ("max_tokens",),
        ("reasoning",),
    ),
]


@pytest.mark.parametrize(("row", "model", "given", "sent", "weakened"), WEAKENED)
def test_what_was_sent_as_given_and_what_as_less(
    row: str, model: str, given: dict[str, Any], sent: tuple[str, ...], weakened: tuple[str, ...]
) -> None:
    protocol = PROVIDERS[row].protocol()
    request = Request(**{"messages": (HI,), "model": model, **given})
    call = encode_known(protocol, request, Origin(protocol.name, row, model), stream=False)
    assert (call.sent, call.weakened) == (sent, weakened)


def test_chat_counts_no_tokens() -> None:
    with pytest.raises(UnsupportedError, match="usage has the count"):
        count_known(OpenAIChat(), Request(()), Origin("openai_chat", "p", "m"))
    with pytest.raises(UnsupportedError):
        OpenAIChat().decode_count(b"{}")


BEGUN = (HI, Message.assistant("Dear"))
TOOLS: dict[str, Any] = {"tools": (Tool("f", "", {}),)}
NOT_BEGUN = "this model continues no answer that the request begins: end with a user's message"
UNSUPPORTED: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "a begun answer, Anthropic": (AnthropicMessages(), {"messages": BEGUN}, {"prefill": False}, NOT_BEGUN),
    "a begun answer, Converse": (BedrockConverse(), {"messages": BEGUN}, {"prefill": False}, NOT_BEGUN),
    "media of the assistant": (
        OpenAIChat(),
        {"messages": (Message.assistant(ImagePart(data=b"GIF8")),)},
        {},
        "messages[0]: Chat Completions takes no media in an assistant's message",
    ),
    "tools that nothing emulates": (
        OpenAIChat(),
        TOOLS,
        {"tools": False},
        "this model takes no tools, and this service has no grammar to emulate them with",
    ),
    "hosted tools that are emulated": (
        OpenAIChat(ChatQuirks(constrains=True)),
        {"tools": (HostedTool("web_search"),)},
        {"tools": False},
        "no server here runs 'web_search': it has to be a Tool that you answer",
    ),
    "tools beside a grammar": (
        OpenAIChat(ChatQuirks(constrains=True)),
        {**TOOLS, "options": Options(extra_body={"json_schema": {}, "grammar": ""})},
        {"tools": False},
        "this model's tools are emulated by constraining its answer, as grammar does: send one of both",
    ),
    "tools of Responses alone": (
        OpenAIChat(),
        TOOLS,
        {"chat_tools": "none"},
        (
            "this model takes tools in the Responses API only: name it with a provider that speaks it, such as "
            "openai-responses"
        ),
    ),
    "no message for the relay": (
        BrainwiresRelay(),
        {"messages": ()},
        {},
        "there is no message, and the relay answers a user's message or tool results",
    ),
    "hosted tools of the relay": (
        BrainwiresRelay(),
        {"tools": (HostedTool("web_search"),)},
        {},
        (
            "the relay has no hosted tools: 'web_search' has to be a Tool that you answer, or one of "
            "BrainwiresOptions(selectedMCPTools=…)"
        ),
    ),
    "turns of a plain completion": (
        LlamaCpp(),
        {"messages": BEGUN},
        {},
        (
            "/completion takes one prompt, without a system message, turns or tools; use client.chat or client.stream "
            "for more"
        ),
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_sent_is_an_error_that_names_service_and_model(name: str) -> None:
    protocol, fields, facts, message = UNSUPPORTED[name]
    origin = Origin(protocol.name, "p", "m")
    request = Request(**{"messages": (HI,), "model": "m", **fields})
    with pytest.raises(UnsupportedError) as caught:
        protocol.encode(request, origin, stream=False, facts=ModelFacts(**facts))
    assert (str(caught.value.args[0]), caught.value.provider, caught.value.model) == (message, "p", "m")


def test_a_count_and_media_that_there_are_not_name_service_and_model() -> None:
    origin = Origin("openai_chat", "p", "m")
    picture = Message.user(ImagePart(data=b"GIF8"))
    for ask in (
        lambda: count_known(OpenAIChat(), Request((HI,)), origin),
        lambda: check_media(Request((picture,)), ("image",), origin),
    ):
        with pytest.raises(UnsupportedError) as caught:
            ask()
        assert (caught.value.provider, caught.value.model) == ("p", "m")


NAMED = OpenAIEmbeddings(dimensions=None, texts=3)
MESSAGES: dict[str, Callable[[], Any]] = {
    "there is no framing 'x'; there are: sse, ndjson, eventstream, whole": lambda: framing_named("x"),
    "the audio or its transcript is no text": lambda: AudioBuilder(Assembler(), MADE).add(1, "k", sound=5),
    "the audio is not base64": lambda: AudioBuilder(Assembler(), MADE).add(1, "k", sound="A"),
    "the provider sent what is not JSON: an HTML page ('<html>')": lambda: DecoderBase(MADE).read_message(
        WireMessage(b"<html>")
    ),
    "the provider sent list where a JSON object is due: '[1]'": lambda: DecoderBase(MADE).read_json(b"[1]"),
    "the answer holds no embeddings: JSON is malformed: invalid character (byte 0); it is 'x'": lambda: (
        NAMED.decode(b"x", 1)
    ),
    "a vector holds a number that is not finite": lambda: checked([[math.inf]], 1),
    "the vectors are not of one length: [1, 2]": lambda: checked([[1.0], [1.0, 2.0]], 2),
    "2 texts were sent, and 1 vectors came back": lambda: checked([[1.0]], 2),
    "one request carries 1 to 3 texts, not 4": lambda: one_batch("abcd", 3),
    "this service takes no dimensions: its vectors have the model's own length": lambda: NAMED.call(
        ["a"], "m", EmbeddingArgs(dimensions=3)
    ),
    "it is not an object: '[]'": lambda: object_in(b"[]", "it"),
    "it is not JSON (JSON is malformed: invalid character (byte 0)): 'x'": lambda: object_in(b"x", "it"),
    "the body has no count of input tokens: '{}'": lambda: count_in(b"{}", "a"),
    'messages[0].content[0]: m reads no image; if yours does, state it: ProviderConfig(…, models={"m": '
    '{"refused_media": []}})': lambda: check_media(
        Request((Message.user(ImagePart(url="u")),)), ("image",), MADE
    ),
    "the body is no model: '[]'": lambda: Gemini().decode_model(b"[]", "p"),
    "the body has no list of models: '[]'": lambda: Gemini().decode_models(b"[]", "p"),
    "this service does not list its models below its base URL": lambda: Gemini(
        GeminiQuirks(listing=False)
    ).models_call(None),
    "this service does not list its models here; its documentation does": lambda: OpenAIChat(
        ChatQuirks(models_path=None)
    ).models_call(None),
    "the model list is not a list of models: '5'": lambda: OpenAIChat().decode_models(b"5", "p"),
    "the model list is not a list of models: '{}'": lambda: BrainwiresRelay().decode_models(b"{}", "p"),
    "the model list is not a list of models, nor any JSON (JSON is malformed: invalid character (byte 0)): 'x'": (
        lambda: OpenAIChat().decode_models(b"x", "p")
    ),
    "this API has no call that counts tokens; a response's usage has the count": lambda: (
        OpenAIChat().decode_count(b"")
    ),
    "a response is named by the id that the service gave it, not by 5": lambda: stored_path("a", 5),  # type: ignore[arg-type]
    "a response is named by the id that the service gave it, not by ' '": lambda: stored_path("a", " "),
    "'..' is no response's id": lambda: stored_path("a", ".."),
    "'.' is no response's id": lambda: stored_path("a", "."),
    "this service takes no tool named 'a b': a name must match [a-z]": lambda: tool_name("a b", "[a-z]"),
    "the list of batches is not an object: '5'": lambda: OpenAIBatches().read_jobs(b"5"),
    "the page of results is not an object: '5'": lambda: XAIBatches().read_results(b"5", ()),
    "an argument's path has 101 steps": lambda: ObjectWriter().add(
        {"jsonPath": "$.a" + ".b" * 100, "nullValue": None}
    ),
    "the list of tokens is not an object: '5'": lambda: decode_tokens(b"5"),
    "the answer has no list of tokens: '{}'": lambda: decode_tokens(b"{}"),
    "the choice is not an object: '5'": lambda: decode_choice(b"5", ()),
    "the engine did not keep to the grammar that was sent: '{}'": lambda: decode_constrained(b"{}", ["a"]),
    'route takes a list of labels, for example ["positive", "negative"]': lambda: question_of("a"),
    "the label ' a' cannot be used: a label is text on one line, without space around it": lambda: (
        question_of([" a"])
    ),
    "labels are given twice: 'a', 'b'": lambda: question_of(["b", "a", "b", "a"]),
    "an example has the label 'c', which is none of ['a']": lambda: question_of(["a"], None, [("x", "c")]),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_what_an_error_says(message: str) -> None:
    with pytest.raises((ConfigError, ProtocolError, UnsupportedError, ValueError)) as caught:
        MESSAGES[message]()
    error = caught.value
    assert getattr(error, "message", str(error)) == message


def test_models_are_listed() -> None:
    call = OpenAIChat().models_call(None)
    assert (call.method, call.path) == ("GET", "/models")
    entries = [
        {"id": "a", "owned_by": "x", "created": 5, "context_length": 8, "max_completion_tokens": 4},
        {"id": "b", "name": "B", "created": "old", "context_length": "8"},
        {"no": "id"},
        "odd",
    ]
    for body in ({"data": entries}, entries):
        models, cursor = OpenAIChat().decode_models(msgspec.json.encode(body), "p")
        assert cursor is None
        a, b = models
        assert (a.id, a.owner, a.created, a.context_window, a.max_output_tokens) == ("a", "x", 5, 8, 4)
        assert (b.display_name, b.created, b.context_window, b.raw) == ("B", None, None, entries[1])


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"data": {}}', b"5"])
def test_what_is_no_model_list_says_so(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a list of models"):
        OpenAIChat().decode_models(body, "p")


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 11.054s.", 11.054),
        ("Please try again in 20ms", 0.02),
        ("Please try again in 1m30s. Visit the page.", 90.0),
        ("Please try again in a while.", None),
    ],
)
def test_a_rate_limit_in_a_stream_says_in_words_how_long(message: str, seconds: float | None) -> None:
    limited = api_error(message=message, status=None, code="rate_limit_exceeded")
    assert limited.retry_after == pytest.approx(seconds)
    assert api_error(message=message, status=500).retry_after is None
    by_header = api_error(message=message, status=429, headers={"retry-after": "3"})
    assert by_header.retry_after == 3


OVERLOADED = {"type": "overloaded_error", "message": "no"}
FAILED = [{"message": "no", "code": "x"}]
ENDS: list[tuple[str, Any, Any]] = [
    ("anthropic", {"type": "error", "error": OVERLOADED}, WireMessage(b'{"type":"error","error":{"message":"no"}}')),
    ("anthropic", {"message": "no"}, WireMessage(b'{"error":{"message":"no"}}')),
    ("anthropic", {"error": OVERLOADED}, WireMessage(b'{"message":"no"}', "error")),
    (
        "bedrock-invoke",
        {"type": "error", "error": OVERLOADED},
        EventStreamMessage(b'{"message":"no"}', headers={":message-type": "exception", ":exception-type": "x"}),
    ),
    (
        "bedrock-invoke",
        {"message": "no"},
        EventStreamMessage(b"", headers={":message-type": "error", ":error-message": "no"}),
    ),
    (
        "bedrock",
        {"message": "no"},
        EventStreamMessage(b'{"message":"no"}', headers={":message-type": "exception", ":exception-type": "x"}),
    ),
    (
        "bedrock",
        {"error": OVERLOADED},
        EventStreamMessage(b"", headers={":message-type": "error", ":error-message": "no"}),
    ),
    ("google", {"error": {"message": "no"}}, WireMessage(b'{"error":{"message":"no"}}')),
    ("google", {"error": {"message": "no"}}, WireMessage(b'{"message":"no"}', "error")),
    ("google-interactions", {"error": {"message": "no"}}, WireMessage(b'{"error":{"message":"no"}}')),
    ("google-interactions", {"message": "no"}, WireMessage(b'{"event_type":"error","message":"no"}')),
    (
        "google-interactions",
        {"status": "failed", "steps": [], "errors": FAILED},
        WireMessage(b'{"event_type":"interaction.completed","interaction":'
                    b'{"status":"failed","errors":[{"message":"no"}]}}'),
    ),
    ("ollama", {"error": "no"}, WireMessage(b'{"error":"no"}')),
]  # fmt: skip
"""A provider, a whole body that is an error, and an event of a stream that is one."""


@pytest.mark.parametrize(("row", "body", "event"), ENDS)
def test_nothing_follows_an_error(row: str, body: Any, event: WireMessage) -> None:
    protocol = PROVIDERS[row].protocol()
    for read in (lambda d: d.feed_whole(msgspec.json.encode(body)), lambda d: d.feed(event)):
        decoder = protocol.decoder(Origin(protocol.name, row, "m"))
        with pytest.raises(APIError, match="no") as caught:
            read(decoder)
        assert (caught.value.provider, caught.value.model) == (row, "m")
        assert caught.value.partial is not None
        assert (decoder.ended, decoder.feed(event), decoder.finish()) == (True, [], [])
