"""Google's generateContent: what the fixtures and recordings leave open."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    UnsupportedError,
)
from brainwires_provider.events import Event, PartEnd, PartStart, ToolCallDelta, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.google import bytes_in, model_path
from brainwires_provider.protocols.base.object_writer import ObjectWriter
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.protocols.gemini import Gemini, GeminiOptions, GeminiQuirks
from brainwires_provider.protocols.gemini.response import FINISH_REASONS, decode_usage
from brainwires_provider.protocols.google_interactions.models import decode_usage as interactions_usage
from brainwires_provider.types import (
    Cache,
    CacheStrategy,
    Citation,
    FilePart,
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    Model,
    OpaquePart,
    Options,
    Origin,
    Part,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    Request,
    Response,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Usage,
)
from known import count_known, encode_known

ORIGIN = Origin("gemini", "google", "gemini-3-flash")
CACHES = "this API caches by itself; what was cached is named by cachedContent, in GeminiOptions"
PLACEHOLDER = GeminiQuirks().placeholder


def encoded(
    *messages: Message, model: str = "gemini-3-flash", quirks: GeminiQuirks | None = None, **fields: Any
) -> Any:
    request = Request(messages or (Message.user("Hi"),), model=model, **fields)
    return encode_known(Gemini(quirks), request, Origin("gemini", "google", model), stream=False)


def decoded(*chunks: Any) -> Response:
    decoder = Gemini().decoder(ORIGIN)
    events: list[Event] = []
    for chunk in chunks:
        events += decoder.feed(WireMessage(json.dumps(chunk).encode()))
    return collect(events + decoder.finish())


def chunk(*parts: Any, **candidate: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, **candidate}], "responseId": "r"}


END = chunk(finishReason="STOP")


def test_a_call_with_the_same_id_is_one() -> None:
    def called(*ids: str | None, **more: Any) -> int:
        calls = [{"functionCall": {"id": id, "name": "f", "args": {"a": 1} | more}} for id in ids]
        return len(decoded(chunk(calls[0]), chunk(*calls), END).tool_calls)

    assert (called("a"), called("a", "b"), called("a", "a"), called(None)) == (1, 2, 1, 2)
    one = {"functionCall": {"id": "a", "name": "f", "args": {}}}
    other = {"functionCall": {"id": "a", "name": "f", "args": {"a": 2}}}
    assert len(decoded(chunk(one), chunk(other), END).tool_calls) == 2
    renamed = {"functionCall": {**one["functionCall"], "name": "g"}}
    assert [call.name for call in decoded(chunk(one), chunk(renamed), END).tool_calls] == ["f", "g"]


# -- paths, models, counts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-3-flash", "/models/gemini-3-flash"),
        ("models/gemini-3-flash", "/models/gemini-3-flash"),
        ("tunedModels/mine", "/tunedModels/mine"),
        ("gemini@001", "/models/gemini@001"),
        ("odd?key=x#y", "/models/odd%3Fkey%3Dx%23y"),
    ],
)
def test_the_model_is_in_the_path(model: str, path: str) -> None:
    protocol, request = Gemini(), Request((Message.user("Hi"),), model=model)
    whole = encode_known(protocol, request, ORIGIN, stream=False)
    assert (whole.path, whole.query) == (f"{path}:generateContent", {})
    stream = encode_known(protocol, request, ORIGIN, stream=True)
    assert (stream.path, stream.query) == (f"{path}:streamGenerateContent", {"alt": "sse"})
    assert stream.body == whole.body
    assert count_known(protocol, request, ORIGIN).path == f"{path}:countTokens"


def test_a_request_without_a_message_is_refused() -> None:
    for messages in ((), (Message.system("S"), Message.developer("D"))):
        with pytest.raises(UnsupportedError) as caught:
            encode_known(Gemini(), Request(messages, "m"), ORIGIN, stream=False)
        assert caught.value.message == (
            "generateContent answers a message: pass one that is not the system's"
        )
        assert (caught.value.provider, caught.value.model) == ("google", "gemini-3-flash")


def test_a_count_holds_the_whole_request_or_its_fields() -> None:
    options = Options(provider_options=GeminiOptions(safetySettings=[]))
    request = Request(
        (Message.user("Hi"),), model="m", system="S", tools=(HostedTool("googleSearch"),), options=options
    )
    fields = {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "S"}]},
        "tools": [{"googleSearch": {}}],
    }
    studio = count_known(Gemini(), request, ORIGIN)
    assert studio.body == {"generateContentRequest": {"model": "models/m", **fields, "safetySettings": []}}
    vertex = count_known(Gemini(GeminiQuirks(counting="fields")), request, ORIGIN)
    assert vertex.body == fields


@pytest.mark.parametrize(
    ("body", "count"),
    [(b'{"totalTokens": 7, "cachedContentTokenCount": 2}', 7), (b'{"promptTokensDetails": []}', 0)],
)
def test_a_count_is_read(body: bytes, count: int) -> None:
    told = Gemini().decode_count(body)
    assert told.input_tokens == count
    assert told.raw == json.loads(body)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"oops", b'{"totalTokens": "7"}'])
def test_a_count_that_is_none_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        Gemini().decode_count(body)


def test_models_come_in_pages() -> None:
    protocol = Gemini()
    assert protocol.models_call(None).query == {"pageSize": "1000"}
    call = protocol.models_call("next")
    assert (call.method, call.path, call.query) == (
        "GET",
        "/models",
        {"pageSize": "1000", "pageToken": "next"},
    )
    entry = {
        "name": "models/gemini-3-flash",
        "displayName": "Gemini 3 Flash",
        "inputTokenLimit": 100,
        "outputTokenLimit": 10,
        "supportedGenerationMethods": ["generateContent"],
    }
    page = json.dumps({"models": [entry, {"name": ""}, 3], "nextPageToken": "p2"}).encode()
    [model], after = protocol.decode_models(page, "google")
    assert after == "p2"
    assert (model.id, model.provider, model.display_name) == ("gemini-3-flash", "google", "Gemini 3 Flash")
    assert (model.context_window, model.max_output_tokens) == (100, 10)
    assert model.capabilities == ("chat",)
    assert model.raw == entry


def test_vertex_lists_publisher_models() -> None:
    page = b'{"publisherModels": [{"name": "publishers/google/models/gemini-3-flash"}]}'
    [model], after = Gemini().decode_models(page, "vertex")
    assert (model.id, model.capabilities, after) == ("gemini-3-flash", None, None)
    with pytest.raises(UnsupportedError):
        Gemini(GeminiQuirks(listing=False)).models_call(None)


def test_an_empty_page_is_a_page() -> None:
    assert Gemini().decode_models(b"{}", "google") == ([], None)
    assert Gemini().decode_models(b'{"nextPageToken": "x"}', "google") == ([], "x")


@pytest.mark.parametrize("body", [b'{"models": 3}', b'{"data": []}', b"[]", b"<html>"])
def test_a_listing_that_is_none_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        Gemini().decode_models(body, "google")


# -- thinking ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "reasoning", "sent", "reported"),
    [
        ("gemini-3-flash", "low", {"thinkingLevel": "LOW"}, None),
        ("gemini-3.5-pro", "off", {"thinkingLevel": "LOW"}, "adapted"),
        ("models/gemini-4-x", "max", {"thinkingLevel": "HIGH"}, "adapted"),
        ("gemini-2.5-flash", "off", {"thinkingBudget": 0}, None),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192}, "adapted"),
        ("gemini-2.5-pro", Reasoning(summary="auto"), {"includeThoughts": True}, None),
        ("gemini-2.5-pro", Reasoning(budget_tokens=5), {"thinkingBudget": 5}, None),
        ("gemini-3-flash", Reasoning(), None, None),
    ],
)
def test_effort_is_a_level_or_a_budget(model: str, reasoning: Any, sent: Any, reported: str | None) -> None:
    call = encoded(model=model, options=Options(reasoning=reasoning))
    assert call.body.get("generationConfig", {}).get("thinkingConfig") == sent
    assert [d.outcome for d in call.deviations] == ([reported] if reported else [])


@pytest.mark.parametrize(
    ("model", "reasoning", "reported"),
    [
        ("gemini-2.0-flash", "low", [("reasoning", "this model does not think before it answers")]),
        ("gemini-2.0-flash", "off", []),
        ("gemini-3.5-pro", "off", [("reasoning", "this model has no level 'off': the nearest is sent")]),
        (
            "gemini-2.5-pro",
            "off",
            [("reasoning", "this model always thinks: its least budget is 128 tokens")],
        ),
        ("gemini-2.5-pro", "high", [("reasoning", "this model takes a budget in tokens")]),
        (
            "gemini-2.5-pro",
            Reasoning("high", 5, "detailed"),
            [
                ("reasoning.effort", "a budget is set too, and only one of both can be sent"),
                ("reasoning.summary", "summaries have one length here"),
            ],
        ),
    ],
)
def test_why_an_effort_is_sent_in_another_form(
    model: str, reasoning: Any, reported: list[tuple[str, str]]
) -> None:
    call = encoded(model=model, options=Options(reasoning=reasoning))
    assert [(d.field, d.reason) for d in call.deviations] == reported


BUDGETS = {"off": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "max": 24576}


@pytest.mark.parametrize("effort", BUDGETS)
def test_the_budget_of_an_effort(effort: Any) -> None:
    call = encoded(model="gemini-2.5-flash", options=Options(reasoning=effort))
    assert call.body["generationConfig"] == {"thinkingConfig": {"thinkingBudget": BUDGETS[effort]}}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("API_KEY_INVALID", AuthenticationError),
        ("API_KEY_EXPIRED", AuthenticationError),
        ("ACCESS_TOKEN_EXPIRED", AuthenticationError),
        ("CREDENTIALS_MISSING", AuthenticationError),
        ("SERVICE_DISABLED", PermissionDeniedError),
        ("NOVEL", InvalidRequestError),
    ],
)
def test_a_reason_decides_before_the_status(reason: str, kind: type[APIError]) -> None:
    details = [{"@type": "…ErrorInfo", "reason": reason}]
    told = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no", "details": details}}
    error = refused(400, told)
    assert (type(error), error.code, error.type) == (kind, reason, "INVALID_ARGUMENT")


def test_schemas_that_compile_alike_are_not_reported() -> None:
    tool = Tool("f", "", {"type": "string"})
    call = encoded(tools=(tool,), quirks=GeminiQuirks(json_schema=False))
    assert call.body["tools"][0]["functionDeclarations"][0]["parameters"] == {"type": "STRING"}
    assert call.deviations == ()


# -- whose signature -----------------------------------------------------------------------------------------


def turn(*parts: Any, model: str = "gemini-3-flash") -> tuple[list[Any], list[str]]:
    call = encoded(Message.user("?"), Message.assistant(*parts), model=model)
    return call.body["contents"][1]["parts"], [d.outcome for d in call.deviations]


def call_part(**fields: Any) -> ToolCallPart:
    return ToolCallPart(fields.pop("id", "c"), "f", "{}", **fields)


SIGNED = {"thoughtSignature": "c2ln"}
MADE = {"functionCall": {"id": "c", "name": "f", "args": {}}}


def test_a_signature_goes_back_to_either_name_of_its_model() -> None:
    origin = Origin("gemini", "google", "gemini-3-flash-latest", "gemini-3-flash")
    assert turn(call_part(extra=SIGNED, origin=origin)) == ([{**MADE, **SIGNED}], [])
    assert turn(call_part(extra=SIGNED, origin=origin), model="models/gemini-3-flash-latest") == (
        [{**MADE, **SIGNED}],
        [],
    )


def test_a_foreign_call_gets_the_placeholder_where_a_signature_is_a_must() -> None:
    foreign = Origin("openai_chat", "openai-chat", "gpt")
    other = Origin("gemini", "google", "gemini-2.5-pro")
    stands_in = {**MADE, "thoughtSignature": PLACEHOLDER}
    assert turn(call_part(origin=foreign), call_part(origin=foreign)) == ([stands_in, MADE], ["emulated"])
    assert turn(call_part()) == ([stands_in], ["emulated"])
    assert turn(call_part(extra=SIGNED, origin=other)) == ([stands_in], ["dropped", "emulated"])
    assert turn(call_part(extra=SIGNED, origin=foreign)) == ([stands_in], ["dropped", "emulated"])
    assert turn(call_part(), model="gemini-2.5-pro") == ([MADE], [])


def test_a_call_of_the_models_own_without_a_signature_stays_without() -> None:
    assert turn(call_part(origin=ORIGIN)) == ([MADE], [])
    assert turn(call_part(extra=SIGNED, origin=ORIGIN), call_part()) == ([{**MADE, **SIGNED}, MADE], [])


def test_a_thought_without_a_signature_goes_back_too() -> None:
    assert turn(ReasoningPart("Hm.", origin=ORIGIN), "a") == (
        [{"text": "Hm.", "thought": True}, {"text": "a"}],
        [],
    )


def test_what_an_assistants_turn_cannot_hold() -> None:
    with pytest.raises(UnsupportedError, match="role tool"):
        turn(ToolResultPart("c"))
    with pytest.raises(UnsupportedError, match="media_type"):
        turn(FilePart(data=b"??"))
    assert turn(OpaquePart("x", 3), "a") == ([{"text": "a"}], ["dropped"])
    assert turn(TextPart("a", cache=Cache())) == ([{"text": "a"}], ["dropped"])


OTHER = Origin("gemini", "google", "gemini-2.5-pro")
REPORTED: dict[str, tuple[Message, list[tuple[str, str, str]]]] = {
    "a detail": (
        Message.user(ImagePart(data=b"\x89PNG\r\n\x1a\n", detail="high")),
        [("content[0].detail", "dropped", "detail is mediaResolution here, in GeminiOptions")],
    ),
    "a name": (
        Message.user(FilePart(data=b"%PDF-1", name="a.pdf")),
        [("content[0].name", "dropped", "this service takes no names of files")],
    ),
    "a refusal": (
        Message.assistant(RefusalPart("No.")),
        [("content[0]", "adapted", "this protocol has no refusals: sent as text")],
    ),
    "an empty text": (
        Message.assistant("", "a"),
        [("content[0]", "dropped", "an empty text is refused")],
    ),
    "an empty refusal": (
        Message.assistant(RefusalPart(""), "a"),
        [
            ("content[0]", "adapted", "this protocol has no refusals: sent as text"),
            ("content[0]", "dropped", "an empty text is refused"),
        ],
    ),
    "citations": (
        Message.assistant(TextPart("a", citations=(Citation("u"),))),
        [("content[0].citations", "dropped", "this protocol takes no citations from a caller")],
    ),
    "a file id": (
        Message.assistant(FilePart(file_id="files/a", media_type="text/csv"), "a"),
        [("content[0]", "dropped", "a file id cannot be sent as the assistant's")],
    ),
    "a signature": (
        Message.assistant(TextPart("a", extra=SIGNED, origin=OTHER)),
        [
            (
                "content[0].thoughtSignature",
                "dropped",
                "a thought signature is bound to the model that made it",
            )
        ],
    ),
    "nothing": (
        Message.assistant(""),
        [
            ("content[0]", "dropped", "an empty text is refused"),
            ("", "dropped", "nothing is left of this turn, and an empty one is refused"),
        ],
    ),
    "a later instruction": (
        Message.system("S"),
        [("role", "adapted", "only leading ones can be instructions: sent as the user's")],
    ),
}


@pytest.mark.parametrize("name", REPORTED)
def test_what_becomes_of_a_part_is_reported(name: str) -> None:
    message, reported = REPORTED[name]
    call = encoded(Message.user("?"), message, Message.user("!"))
    assert [(d.field, d.outcome, d.reason) for d in call.deviations] == [
        (f"messages[1].{field}" if field else "messages[1]", outcome, reason)
        for field, outcome, reason in reported
    ]


@pytest.mark.parametrize(
    ("choice", "strict", "config"),
    [
        (None, None, None),
        (None, True, {"mode": "VALIDATED"}),
        (ToolChoice(), None, {"mode": "AUTO"}),
        (ToolChoice(), True, {"mode": "VALIDATED"}),
        (ToolChoice("none"), None, {"mode": "NONE"}),
        (ToolChoice("required"), True, {"mode": "ANY"}),
        (ToolChoice("auto", ("f",)), None, {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
        (ToolChoice("required", ("f",)), None, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_which_mode_a_choice_is(choice: ToolChoice | None, strict: bool | None, config: Any) -> None:
    call = encoded(tools=(Tool("f", "", {}, strict=strict),), tool_choice=choice)
    assert call.body.get("toolConfig") == (None if config is None else {"functionCallingConfig": config})
    assert [(d.field, d.outcome, d.reason) for d in call.deviations] == (
        [
            (
                "tools[f].strict",
                "adapted",
                f"set for all functions by the calling mode {config['mode']}",
            )
        ]
        if strict
        else []
    )


@pytest.mark.parametrize("takes", [True, False])
def test_where_the_schema_of_an_answer_is(takes: bool) -> None:
    quirks = GeminiQuirks(json_schema=takes)
    described = JSONSchema("n", {"type": "object"}, "D")
    schema = {"type": "object", "description": "D"} if takes else {"type": "OBJECT", "description": "D"}
    config = encoded(output=described, quirks=quirks).body["generationConfig"]
    field = "responseJsonSchema" if takes else "responseSchema"
    assert config == {"responseMimeType": "application/json", field: schema}
    own = JSONSchema("n", {"type": "object", "description": "E"}, "D")
    assert encoded(output=own, quirks=quirks).body["generationConfig"][field]["description"] == "E"
    plain = JSONSchema("n", {"type": "object"})
    del schema["description"]
    assert encoded(output=plain, quirks=quirks).body["generationConfig"][field] == schema
    assert encoded(output="json", quirks=quirks).body["generationConfig"] == {
        "responseMimeType": "application/json"
    }


# -- results -------------------------------------------------------------------------------------------------


def results(*parts: ToolResultPart, model: str = "gemini-3-flash", **quirks: Any) -> list[Any]:
    asked = Message.assistant(
        call_part(origin=ORIGIN), ToolCallPart(None, "g", "{}", local_id="local_1", origin=ORIGIN)
    )
    messages = [Message.user("?"), asked, *(Message("tool", (part,)) for part in parts)]
    call = encoded(*messages, model=model, quirks=GeminiQuirks(**quirks))
    contents = call.body["contents"]
    assert len(contents) == 3
    made: list[Any] = contents[2]["parts"]
    return made


PICTURE = ImagePart(data=b"\x89PNG\r\n\x1a\n")
INLINE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}


def test_media_go_into_a_result_or_beside_all_of_them() -> None:
    first = {"id": "c", "name": "f", "response": {"output": "see"}}
    second = {"functionResponse": {"name": "g", "response": {"output": ""}}}
    parts = ToolResultPart("c", ("see", PICTURE)), ToolResultPart("local_1")  # type: ignore[arg-type]
    assert results(*parts) == [{"functionResponse": {**first, "parts": [INLINE]}}, second]
    assert results(*parts, model="gemini-2.5-pro") == [{"functionResponse": first}, second, INLINE]


def test_a_result_of_media_alone_has_an_empty_response() -> None:
    [made] = results(ToolResultPart("c", (PICTURE,)))
    assert made["functionResponse"]["response"] == {}


def test_a_result_may_be_an_object() -> None:
    told = OpaquePart("response", {"a": 1})
    [made] = results(ToolResultPart("c", (told,), is_error=True, cache=Cache()))
    assert made["functionResponse"]["response"] == {"a": 1, "error": ""}
    for bad in (OpaquePart("x", 3), OpaquePart("x", {}, origin=Origin("openai_chat", "openai-chat"))):
        with pytest.raises(UnsupportedError, match="object of the caller's own"):
            results(ToolResultPart("c", (bad,)))


def test_another_protocols_result_keeps_its_extra_to_itself() -> None:
    origin = Origin("openai_responses", "openai")
    [made] = results(ToolResultPart("c", extra={"status": "done"}, origin=origin))
    assert made == {"functionResponse": {"id": "c", "name": "f", "response": {"output": ""}}}


def test_a_longer_history_begins_with_the_contents_of_a_shorter_one() -> None:
    messages = [
        Message.system("S"),
        Message.user("a"),
        Message.assistant("b", call_part(origin=ORIGIN), ToolCallPart("d", "g", "{}", origin=ORIGIN)),
        Message.tool_result("c", "1"),
        Message.tool_result("d", "2", PICTURE),
        Message.assistant("e"),
        Message.system("late"),
        Message.user("f"),
    ]
    whole = encoded(*messages).body["contents"]
    for end in (2, 3, 5, 6, 7):  # within the results the turn has not ended
        part = encoded(*messages[:end]).body["contents"]
        assert whole[: len(part)] == part
    assert len(whole) == 6


# -- files ---------------------------------------------------------------------------------------------------


def test_names_of_files_and_ids_go_where_the_service_takes_them() -> None:
    named = FilePart(data=b"%PDF-1", name="a.pdf", cache=Cache())
    call = encoded(Message.user(named), quirks=GeminiQuirks(display_names=True))
    [part] = call.body["contents"][0]["parts"]
    assert part["inlineData"]["displayName"] == "a.pdf"
    with pytest.raises(UnsupportedError, match="gs://"):
        encoded(Message.user(FilePart(file_id="files/a")), quirks=GeminiQuirks(files_url=None))


def test_fields_beside_a_part_are_the_callers_own_only() -> None:
    shown = ImagePart(url="https://a.example/b.png", extra={"mediaResolution": {"level": "X"}})
    mine = encoded(Message("user", (shown,), extra={"odd": 1})).body["contents"][0]
    assert mine == {
        "role": "user",
        "parts": [{"fileData": {"fileUri": "https://a.example/b.png"}, "mediaResolution": {"level": "X"}}],
        "odd": 1,
    }
    made = ImagePart(url="https://a.example/b.png", extra={"odd": 1}, origin=ORIGIN)
    assert encoded(Message.user(made)).body["contents"][0]["parts"] == [
        {"fileData": {"fileUri": "https://a.example/b.png"}}
    ]
    foreign = OpaquePart("x", {}, origin=Origin("openai_chat", "openai-chat"))
    with pytest.raises(UnsupportedError, match="OpaquePart"):
        encoded(Message.user(foreign))


def test_fields_of_the_request_are_sent_as_they_are() -> None:
    call = encoded(extra={"labels": {"team": "a"}, "cachedContent": "c"})
    assert (call.body["labels"], call.body["cachedContent"]) == ({"team": "a"}, "c")
    assert call.deviations == ()


@pytest.mark.parametrize(
    ("strategy", "reported"),
    [
        (CacheStrategy.off(), ("adapted", "no cache marks are sent")),
        (CacheStrategy.system_only(), ("dropped", CACHES)),
        (CacheStrategy.system_and_tools(), ("dropped", CACHES)),
        (CacheStrategy.system_and_tail_turn(1), ("dropped", CACHES)),
    ],
)
def test_every_cache_strategy_but_off_is_dropped(strategy: CacheStrategy, reported: tuple[str, str]) -> None:
    [told] = encoded(options=Options(cache=strategy)).deviations
    assert (told.field, told.outcome, told.reason) == ("cache", *reported)


def test_own_fields_that_are_no_objects_win() -> None:
    options = Options(
        provider_options=(
            GeminiOptions(toolConfig={"retrievalConfig": {}}, thinkingConfig={"thinkingBudget": 3}),
        ),
        reasoning="low",
    )
    body = encoded(options=options, tools=(Tool("f", "", {}, strict=True),)).body
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}, "retrievalConfig": {}}
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW", "thinkingBudget": 3}


def test_own_fields_lie_where_the_service_has_them() -> None:
    """The SDK's type of `generationConfig` says which are there; it lacks two that the API reference has there."""
    kind = pytest.importorskip("google.genai.types").GenerationConfig
    settings = {field.alias or name for name, field in kind.model_fields.items()}
    settings |= {"imageConfig", "modelConfig"}
    for name in set(GeminiOptions.__struct_fields__) - {"generationConfig"}:
        options, value = own_field(name)
        body = encoded(options=Options(provider_options=options)).body
        del body["contents"]
        assert body == ({"generationConfig": {name: value}} if name in settings else {name: value})


def own_field(name: str) -> tuple[GeminiOptions, Any]:
    """The options that have one field, and the value of it that is of its type."""
    for value in ("x", 1, True, {}, ["x"], [{}]):
        with contextlib.suppress(TypeError):
            return GeminiOptions(**{name: value}), value
    raise AssertionError(name)


# -- failures ------------------------------------------------------------------------------------------------


def refused(status: int, told: Any, headers: dict[str, str] | None = None) -> APIError:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return Gemini().decode_error(Reply(status, headers or {}, body, 0))


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (400, "INVALID_ARGUMENT", InvalidRequestError),
        (400, "FAILED_PRECONDITION", InvalidRequestError),
        (401, "UNAUTHENTICATED", AuthenticationError),
        (403, "PERMISSION_DENIED", PermissionDeniedError),
        (404, "NOT_FOUND", NotFoundError),
        (429, "RESOURCE_EXHAUSTED", RateLimitError),
        (500, "INTERNAL", ServerError),
        (503, "UNAVAILABLE", OverloadedError),
        (504, "DEADLINE_EXCEEDED", ServerError),
        (499, "CANCELLED", InvalidRequestError),
    ],
)
def test_a_status_in_words_is_a_kind(code: int, status: str, kind: type[APIError]) -> None:
    error = refused(code, {"error": {"code": code, "message": "no", "status": status}})
    assert type(error) is kind
    assert (error.status, error.provider_status, error.code, error.type) == (code, code, status, status)
    inside = decoding_error({"error": {"message": "no", "status": status}})
    assert type(inside) is kind or status in ("FAILED_PRECONDITION", "INVALID_ARGUMENT", "CANCELLED")


def decoding_error(chunk: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        decoded(chunk)
    return caught.value


BY_NAME = {
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "NOT_FOUND": NotFoundError,
    "RESOURCE_EXHAUSTED": RateLimitError,
    "UNAVAILABLE": OverloadedError,
    "INTERNAL": ServerError,
    "UNKNOWN": ServerError,
    "DEADLINE_EXCEEDED": ServerError,
    "ODD": APIError,
}
"""By google.rpc.Code, whose names tell more than a status that a proxy may have changed."""
BY_REASON = {
    "API_KEY_INVALID": AuthenticationError,
    "API_KEY_EXPIRED": AuthenticationError,
    "ACCESS_TOKEN_EXPIRED": AuthenticationError,
    "CREDENTIALS_MISSING": AuthenticationError,
    "SERVICE_DISABLED": PermissionDeniedError,
    "ODD": InvalidRequestError,
}
"""By google.api.ErrorInfo: a wrong key is INVALID_ARGUMENT of status 400."""


@pytest.mark.parametrize("name", BY_NAME)
def test_the_name_of_a_status_decides_alone(name: str) -> None:
    kind = BY_NAME[name]
    for told in ({"message": "no", "status": name}, {"status": name}):
        error = decoding_error({"error": told})
        assert (type(error), error.status, error.provider_status) == (kind, None, None)
        assert (error.code, error.type, error.message) == (name, name, told.get("message", name))
        assert error.retryable is kind.retryable
        assert (error.provider, error.model) == (ORIGIN.provider, ORIGIN.model)
        assert error.partial is not None
        assert type(refused(418, {"error": told})) is (InvalidRequestError if kind is APIError else kind)


@pytest.mark.parametrize("reason", BY_REASON)
def test_the_reason_of_an_error_decides_before_its_status(reason: str) -> None:
    details = [{"@type": "…Help"}, {"@type": "…ErrorInfo", "reason": reason}, {"reason": "LATER"}]
    told = {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": details}
    for error in (
        refused(400, {"error": told}),
        refused(400, [{"error": told}, 3]),
        decoding_error({"error": told}),
    ):
        assert type(error) is BY_REASON[reason]
        assert (error.provider_status, error.code, error.type) == (400, reason, "INVALID_ARGUMENT")
        assert (error.message, error.body) == ("no", {"error": told})


@pytest.mark.parametrize(
    ("code", "claimed"),
    [
        *((399, None), (400, 400), (599, 599), (600, None)),
        *(("429", None), (True, None), (None, None), (400.0, None)),
    ],
)
def test_the_number_of_a_status_is_one_of_errors(code: Any, claimed: int | None) -> None:
    error = refused(502, {"error": {"code": code, "message": "no", "status": "ODD"}})
    assert (error.status, error.provider_status) == (502, claimed)
    assert type(error) is (InvalidRequestError if claimed == 400 else ServerError)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ([{"violations": [{"quotaId": "q", "quotaValue": 5}]}], " (q: 5)"),
        ([{"violations": [{"quotaId": "q", "description": "d", "quotaValue": 5}]}], " (q: d)"),
        ([{"violations": [{"field": "f", "quotaId": "q", "subject": "s"}]}], " (f)"),
        ([{"violations": [{"field": "f", "quotaId": "q", "description": "d"}]}], " (f: d)"),
        ([{"fieldViolations": [{"quotaId": "q", "quotaValue": 5}]}], " (q: 5)"),
        ([{"violations": [{"quotaId": "q", "subject": "s"}]}], " (q)"),
        ([{"violations": [{"description": "d"}]}], " (d)"),
        (
            [{"violations": [{"subject": "s"}, {"subject": "s"}]}, {"violations": [{"subject": "t"}]}],
            " (s; t)",
        ),
        ([{"violations": [{"subject": "s"}], "fieldViolations": [{"field": "f"}]}], " (f; s)"),
        ([{"violations": [{}, 3]}, {"fieldViolations": "odd"}], ""),
        ([3], ""),
        ("odd", ""),
        (None, ""),
    ],
)
def test_what_of_the_details_is_in_the_message(details: Any, words: str) -> None:
    error = refused(429, {"error": {"message": "no", "status": "RESOURCE_EXHAUSTED", "details": details}})
    assert error.message == f"no{words}"


@pytest.mark.parametrize(
    ("quota", "retryable"),
    [
        ("GenerateRequestsPerDay", False),
        ("GenerateRequestsPerDayPerProject", False),
        ("PerMinute", True),
        (None, True),
    ],
)
def test_a_quota_of_a_day_is_not_asked_for_again(quota: str | None, retryable: bool) -> None:
    details = [{}, {"violations": [{"quotaId": "PerMinute"}, {"quotaId": quota}]}, {"retryDelay": "5s"}]
    told = {"message": "no", "status": "RESOURCE_EXHAUSTED", "details": details}
    error = refused(429, {"error": told}, {"retry-after": "7"})
    assert (error.retryable, error.retry_after) == (retryable, 5.0)


def test_the_details_are_told() -> None:
    details = [
        {"@type": "…RetryInfo", "retryDelay": "1.5s"},
        {"@type": "…QuotaFailure", "violations": [{"subject": "project", "description": "spent"}, 3, {}]},
        {"@type": "…BadRequest", "fieldViolations": [{"field": "a.b", "description": "wrong"}]},
        {"@type": "…ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"},
        "odd",
    ]
    error = refused(429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}})
    assert error.retry_after == 1.5
    assert error.code == "RATE_LIMIT_EXCEEDED"
    assert str(error) == "RESOURCE_EXHAUSTED (project: spent; a.b: wrong)"


def test_retry_after_may_be_a_header() -> None:
    told = {
        "error": {
            "code": 429,
            "message": "m",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"retryDelay": "soon"}],
        }
    }
    for header in ("7", "Thu, 01 Jan 1970 00:00:07 GMT"):
        assert refused(429, told, {"retry-after": header}).retry_after == 7


@pytest.mark.parametrize(
    "message",
    [
        "The input token count (9) exceeds the maximum number of tokens allowed (8).",
        "The input token count is 9 but model only supports up to 8; it exceeds the maximum number of tokens",
    ],
)
def test_too_long_a_prompt(message: str) -> None:
    error = refused(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
    assert type(error) is ContextLengthError


@pytest.mark.parametrize(
    "told", [{"error": "words"}, {"error": {"message": "words"}}, {"message": "words"}, b"words"]
)
def test_a_proxys_own_words_are_an_error_too(told: Any) -> None:
    error = refused(502, told)
    assert type(error) is ServerError
    assert "words" in str(error)


# -- answers -------------------------------------------------------------------------------------------------


OURS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "pause",
    **dict.fromkeys(("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"), "malformed_tool_call"),
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "ESCALATION", "MODEL_ARMOR"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        ),
        "content_filter",
    ),
}
"""What Google's reference says of each; the others say only that it ended in some other way."""
OTHER_REASONS = (
    *("LANGUAGE", "IMAGE_OTHER", "NO_IMAGE", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE", "OTHER"),
    *("MALFORMED_RESPONSE", "PUP_LIMITED_DISABLED", "FINISH_REASON_UNSPECIFIED"),
)


def test_every_finish_reason_of_google_genai_is_known() -> None:
    theirs = {reason.value for reason in pytest.importorskip("google.genai.types").FinishReason}
    assert theirs <= {*OURS, *OTHER_REASONS}


@pytest.mark.parametrize("raw", [*OURS, *OTHER_REASONS, "NEVER_HEARD_OF"])
def test_every_finish_reason(raw: str) -> None:
    expected = OURS.get(raw, "other")
    assert (raw in FINISH_REASONS) is (raw != "NEVER_HEARD_OF")
    response = decoded(chunk({"text": "a"}), chunk(finishReason=raw))
    assert (response.finish_reason, response.raw_finish_reason) == (expected, raw)
    with_call = decoded(chunk({"functionCall": {"name": "f"}}), chunk(finishReason=raw))
    assert with_call.finish_reason == ("tool_calls" if raw == "STOP" else expected)


IMAGE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
PARTIAL = {
    "functionCall": {
        "id": "c",
        "name": "f",
        "partialArgs": [{"jsonPath": "$.a", "numberValue": 1}],
        "willContinue": True,
    }
}
HM = {"text": "hm", "thought": True}
FLOWS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "texts of chunks": ([chunk({"text": "a"}), chunk({"text": "b"})], ["text ab"]),
    "texts of one chunk": ([chunk({"text": "a"}, {"text": "b"})], ["text a", "text b"]),
    "an image between": (
        [chunk({"text": "a"}), chunk(IMAGE), chunk({"text": "b"})],
        ["text a", "image", "text b"],
    ),
    "a thought after an image": ([chunk(HM), chunk(IMAGE), chunk(HM)], ["thought hm", "image", "thought hm"]),
    "thought and text": (
        [chunk(HM), chunk({"text": "a"}), chunk(HM)],
        ["thought hm", "text a", "thought hm"],
    ),
    "a call between": (
        [chunk({"text": "a"}), chunk({"functionCall": {"name": "f"}}), chunk({"text": "b"})],
        ["text a", "call ", "text b"],
    ),
    "a signature": (
        [chunk({"text": "a"}), chunk({"text": "b", "thoughtSignature": "c2ln"}), chunk({"text": "c"})],
        ["text a", "text b", "text c"],
    ),
    "empty texts": ([chunk({"text": "a"}), chunk({"text": ""}), chunk({"text": "b"})], ["text ab"]),
    "an open call and an image": ([chunk(PARTIAL), chunk(IMAGE)], ['call {"a":1}', "image"]),
    "an open call and a text": ([chunk(PARTIAL), chunk({"text": "a"})], ['call {"a":1}', "text a"]),
    "an open call and another": (
        [chunk(PARTIAL), chunk({"functionCall": {"name": "g", "args": {}}})],
        ['call {"a":1}', "call {}"],
    ),
    "an open call": ([chunk(PARTIAL)], ['call {"a":1}']),
}


@pytest.mark.parametrize("name", FLOWS)
def test_which_parts_go_on_and_which_are_over(name: str) -> None:
    def told(part: Any) -> str:
        match part:
            case TextPart():
                return f"text {part.text}"
            case ReasoningPart():
                return f"thought {part.text}"
            case ToolCallPart():
                return f"call {part.arguments}"
        return "image" if isinstance(part, ImagePart) else part.kind

    chunks, parts = FLOWS[name]
    decoder = Gemini().decoder(ORIGIN)
    ended = -1  # no part but a text, whose citations come last, is open while another grows
    content = decoded(*chunks, END).message.content
    for each in chunks:
        for event in decoder.feed(WireMessage(json.dumps(each).encode())):
            if isinstance(event, PartStart):
                assert all(isinstance(part, TextPart) for part in content[ended + 1 : event.index])
            elif isinstance(event, PartEnd):
                ended = event.index
    assert [told(part) for part in content] == parts


ADDRESS = "https://a.example/b"
NAMED = {"mimeType": "image/png", "data": "AAAA", "displayName": "d"}
DECODED: list[tuple[dict[str, Any], Part]] = [
    ({"text": "a"}, TextPart("a")),
    ({"text": "a", "thoughtSignature": "s"}, TextPart("a", extra={"thoughtSignature": "s"})),
    ({"text": "a", "thought": True}, ReasoningPart("a")),
    ({"text": "a", "thought": True, "thoughtSignature": "s"}, ReasoningPart("a", signature="s")),
    (
        {"text": "a", "thought": True, "thoughtSignature": 5, "novel": 1},
        ReasoningPart("a", extra={"thoughtSignature": 5, "novel": 1}),
    ),
    (
        {"inlineData": NAMED, "thoughtSignature": "s"},
        ImagePart(
            data=b"\0\0\0",
            media_type="image/png",
            extra={"thoughtSignature": "s", "inlineData": {"displayName": "d"}},
        ),
    ),
    (
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        FilePart(data=b"\0\0\0", media_type="audio/wav"),
    ),
    ({"inlineData": {"data": "AAAA"}}, OpaquePart("inlineData", {"inlineData": {"data": "AAAA"}})),
    ({"fileData": {"fileUri": ADDRESS}}, FilePart(url=ADDRESS)),
    (
        {"fileData": {"mimeType": "image/png", "fileUri": ADDRESS, "novel": 1}},
        ImagePart(url=ADDRESS, media_type="image/png", extra={"fileData": {"novel": 1}}),
    ),
    (
        {"fileData": {"mimeType": "video/mp4", "fileUri": ADDRESS}, "videoMetadata": {"fps": 1}},
        FilePart(url=ADDRESS, media_type="video/mp4", extra={"videoMetadata": {"fps": 1}}),
    ),
]


@pytest.mark.parametrize(("wire", "part"), DECODED)
def test_a_part_has_what_the_wire_says_of_it(wire: dict[str, Any], part: Part) -> None:
    assert decoded(chunk(wire), END).message.content == (replace(part, origin=ORIGIN),)


SAID = {"text": "a"}
KEPT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "what the answer is made of": (
        {"modelVersion": "v", "usageMetadata": {"totalTokenCount": 1}, "none": None},
        {},
    ),
    "a block reason": ({"promptFeedback": {"safetyRatings": []}}, {"promptFeedback": {"safetyRatings": []}}),
    "any other field": ({"modelStatus": {"a": 1}}, {"modelStatus": {"a": 1}}),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_beside_an_answer(name: str) -> None:
    fields, extra = KEPT[name]
    response = decoded({**chunk(SAID), **fields}, END)
    assert (response.extra, response.id) == (extra, "r")


def test_a_total_may_cover_its_own_counts_alone() -> None:
    """Those of an earlier chunk are added to it."""
    first = {"usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}
    last = {"usageMetadata": {"candidatesTokenCount": 3, "totalTokenCount": 3}}
    usage = decoded({**chunk(SAID), **first}, {**END, **last}).usage
    assert (usage.input_tokens, usage.output_tokens, usage.anomalies) == (7, 3, ())
    odd = {"usageMetadata": {"candidatesTokenCount": 3, "totalTokenCount": 4}}
    usage = decoded({**chunk(SAID), **first}, {**END, **odd}).usage
    assert usage.anomalies == ("total 4 is less than its parts, 10",)


def test_candidates_beside_the_first_are_kept_as_they_came() -> None:
    first = {"content": {"parts": [SAID]}, "index": 0, "avgLogprobs": -0.5, "tokenCount": None}
    second = {"content": {"parts": [{"text": "b"}]}, "index": 1, "finishReason": "SAFETY"}
    third = {"content": {"parts": [{"text": "c"}]}}
    response = decoded({"candidates": [first, second, third]}, END)
    assert (response.text, response.finish_reason) == ("a", "stop")
    assert response.extra == {"candidates": [second, third], "avgLogprobs": -0.5}


def test_a_blocked_prompt_has_its_reason() -> None:
    feedback = {"promptFeedback": {"blockReason": "SAFETY"}}
    response = decoded(feedback)
    assert (response.finish_reason, response.raw_finish_reason) == ("content_filter", "SAFETY")
    whole = collect(Gemini().decoder(ORIGIN).feed_whole(json.dumps(feedback).encode()))
    assert (whole.finish_reason, whole.extra) == ("content_filter", feedback)


SUPPORT = {"segment": {"text": "a", "startIndex": 0, "endIndex": 1}, "groundingChunkIndices": [0]}
SOURCES: list[tuple[dict[str, Any], tuple[str | None, str | None, str | None]]] = [
    ({"web": {"uri": "u", "title": "t", "domain": "d"}}, ("u", "t", "d")),
    ({"retrievedContext": {"uri": "u", "title": "t", "documentName": "n"}}, ("u", "t", "n")),
    ({"retrievedContext": {"title": "t", "fileSearchStore": "f"}}, (None, "t", "f")),
    ({"maps": {"uri": "u", "title": "t", "placeId": "p"}}, ("u", "t", "p")),
    ({"image": {"sourceUri": "u", "title": "t", "domain": "d"}}, ("u", "t", "d")),
    ({"image": {"uri": "v", "sourceUri": "u"}}, ("v", None, None)),
    (
        {"web": {"documentName": "n", "placeId": "p", "fileSearchStore": "f", "domain": "d"}},
        (None, None, "n"),
    ),
    ({"novel": {"uri": "u"}}, (None, None, None)),
    ({"web": 3, "maps": {"uri": "u", "title": "", "placeId": 3}}, ("u", None, None)),
]


@pytest.mark.parametrize(("source", "told"), SOURCES)
def test_a_citation_is_of_any_kind_of_source(
    source: dict[str, Any], told: tuple[str | None, str | None, str | None]
) -> None:
    url, title, name = told
    cited = decoded(
        chunk(SAID, groundingMetadata={"groundingChunks": [source], "groundingSupports": [SUPPORT]}), END
    )
    raw = {"groundingChunk": source, "groundingSupport": SUPPORT}
    assert cited.citations == (Citation(url, title, "a", 0, 1, name, raw),)
    alone = decoded(chunk(SAID, groundingMetadata={"groundingChunks": [source]}), END)
    assert alone.citations == (Citation(url, title, source=name, raw=source),)


@pytest.mark.parametrize("field", ["citationSources", "citations"])
def test_what_was_recited_is_a_citation(field: str) -> None:
    item = {"uri": "u", "title": "t", "startIndex": 2, "endIndex": 9, "license": "MIT"}
    odd = {"uri": 3, "startIndex": "x"}
    response = decoded(chunk(SAID, citationMetadata={field: [item, item, odd, 3]}), END)
    assert response.citations == (
        Citation("u", "t", None, 2, 9, "MIT", item),
        Citation(raw=odd),
    )


@pytest.mark.parametrize("count", [64, 65])
def test_a_support_is_repeated_for_so_many_sources(count: int) -> None:
    sources = [{"web": {"uri": f"u{n}"}} for n in range(count)]
    support = {**SUPPORT, "groundingChunkIndices": [*range(count), -1, count, "x"]}
    response = decoded(
        chunk(SAID, groundingMetadata={"groundingChunks": sources, "groundingSupports": [support]}), END
    )
    assert [c.url for c in response.citations] == [f"u{n}" for n in range(count)]
    assert [c.quote for c in response.citations] == ["a"] * 64 + [None] * (count - 64)


def test_a_finish_reason_of_the_candidate_wins_over_a_block_reason() -> None:
    feedback = {"promptFeedback": {"blockReason": "OTHER"}}
    assert decoded({**chunk({"text": "a"}), **feedback}, END).raw_finish_reason == "STOP"


def test_a_whole_body_may_lack_its_finish_reason() -> None:
    response = collect(Gemini().decoder(ORIGIN).feed_whole(json.dumps(chunk({"text": "a"})).encode()))
    assert (response.text, response.finish_reason, response.raw_finish_reason) == ("a", "stop", None)


def test_an_object_that_is_no_chunk_is_passed_over() -> None:
    ping = {"type": "ping"}
    assert decoded(ping, chunk({"text": "a"}), ping, END).extra == {}


@pytest.mark.parametrize(
    ("chunk", "api"),
    [
        ({"event_type": "interaction.created"}, "the Interactions API"),
        ({"id": "v1", "steps": []}, "the Interactions API"),
        ({"setupComplete": {}}, "the Live API"),
        ({"serverContent": {"turnComplete": True}}, "the Live API"),
    ],
)
def test_an_answer_of_another_api_is_named(chunk: dict[str, Any], api: str) -> None:
    data = json.dumps(chunk).encode()
    decoder = Gemini().decoder(ORIGIN)
    for feed in (lambda: decoder.feed(WireMessage(data)), lambda: decoder.feed_whole(data)):
        with pytest.raises(ProtocolError, match=f"this is an answer of {api}, and has no candidates"):
            feed()
    started = Gemini().decoder(ORIGIN)
    started.feed(WireMessage(b'{"responseId": "r"}'))
    assert started.feed(WireMessage(data)) == []


def test_nothing_comes_after_the_end() -> None:
    decoder = Gemini().decoder(ORIGIN)
    decoder.feed(WireMessage(json.dumps(END).encode()))
    assert decoder.finish()
    assert decoder.ended
    assert decoder.finish() == []
    assert decoder.feed(WireMessage(b"{}")) == []


def test_an_array_of_chunks_that_has_no_end_was_cut() -> None:
    with pytest.raises(StreamInterrupted) as caught:
        Gemini().decoder(ORIGIN).feed_whole(b"[" + json.dumps(chunk({"text": "Hel"})).encode() + b"]")
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


@pytest.mark.parametrize("body", [b"[" * 100_000, b'[{"candidates":' + b"[" * 100_000, b"[oops"])
def test_an_array_that_cannot_be_read_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        Gemini().decoder(ORIGIN).feed_whole(body)


def test_an_array_may_hold_half_characters() -> None:
    halves = [b'{"candidates":[{"content":{"parts":[{"text":"\\ud83d"}]}}]}']
    halves.append(b'{"candidates":[{"content":{"parts":[{"text":"\\ude00"}]},"finishReason":"STOP"}]}')
    events = Gemini().decoder(ORIGIN).feed_whole(b"[" + b",".join(halves) + b"]")
    assert collect(events).text == "😀"


def test_grounding_over_several_chunks_is_gathered() -> None:
    def grounded(uri: str, text: str, start: int) -> dict[str, Any]:
        return {
            "groundingMetadata": {
                "webSearchQueries": ["q"],
                "groundingChunks": [{"web": {"uri": uri}}],
                "groundingSupports": [
                    {
                        "segment": {"startIndex": start, "endIndex": start + 2, "text": text, "partIndex": 0},
                        "groundingChunkIndices": [0],
                    }
                ],
                "retrievalMetadata": {"score": start},
            }
        }

    response = decoded(
        chunk({"text": "ab"}, **grounded("u1", "ab", 0)),
        chunk({"text": "cd"}, **grounded("u2", "cd", 2)),
        chunk({"text": "", "thoughtSignature": "c2ln"}, **grounded("u2", "cd", 2)),
        chunk({"text": "xy"}, **grounded("u3", "elsewhere", 0)),
        chunk(groundingMetadata="odd", citationMetadata=3, finishReason="STOP"),
        END,
    )
    first, _, last = (p for p in response.message.content if isinstance(p, TextPart))
    assert [(c.url, c.start, c.end) for c in first.citations] == [("u1", 0, 2), ("u2", 2, 4)]
    assert [c.url for c in last.citations] == ["u3"]
    assert response.extra["groundingMetadata"] == "odd"


def test_metadata_that_goes_on_is_one() -> None:
    response = decoded(
        chunk({"text": "a"}, groundingMetadata={"webSearchQueries": ["a"], "odd": {"x": 1}}),
        chunk(
            groundingMetadata={"webSearchQueries": ["a", "b"], "odd": {"y": 2}, "imageSearchQueries": ["i"]}
        ),
        chunk(
            groundingMetadata={"webSearchQueries": ["c"], "groundingChunks": [3, {"odd": {}}]},
            avgLogprobs=None,
        ),
        chunk(logprobsResult={"chosenCandidates": [1]}),
        chunk(logprobsResult="odd", finishReason="STOP"),
    )
    assert response.extra["groundingMetadata"] == {
        "webSearchQueries": ["a", "b", "c"],
        "odd": {"x": 1, "y": 2},
        "imageSearchQueries": ["i"],
        "groundingChunks": [3, {"odd": {}}],
    }
    assert response.extra["logprobsResult"] == "odd"
    assert [c.raw for c in response.citations] == [{"odd": {}}]


def test_sources_with_half_a_character_are_cited_once_each() -> None:
    one = b'"title":"\\ud83d1"'
    other = b'"title":"\\ud83d2"'
    named = [b'{"web":{%s}}' % fields for fields in (one, other + b',"uri":"u"', b'"uri":"u",' + other)]
    text = (
        b'{"candidates":[{"content":{"parts":[{"text":"a"}]},"groundingMetadata":{"groundingChunks":[%s]}}]}'
    )
    cited = collect(Gemini().decoder(ORIGIN).feed_whole(text % b",".join(named))).citations
    assert [each.title for each in cited] == ["\ufffd1", "\ufffd2"]


ITEM = {"uri": "u", "title": "t", "startIndex": 2, "endIndex": 5, "license": "MIT"}
CITATIONS: list[tuple[dict[str, Any], Citation]] = [
    ({"citationMetadata": {"citationSources": [ITEM]}}, Citation("u", "t", None, 2, 5, "MIT", ITEM)),
    ({"citationMetadata": {"citations": [ITEM]}}, Citation("u", "t", None, 2, 5, "MIT", ITEM)),
    *(
        ({"groundingMetadata": {"groundingChunks": [{kind: fields}]}}, replace(citation, raw={kind: fields}))
        for kind, fields, citation in (
            ("web", {"uri": "u", "title": "t", "domain": "d"}, Citation("u", "t", source="d")),
            ("retrievedContext", {"uri": "u", "documentName": "n"}, Citation("u", source="n")),
            ("retrievedContext", {"title": "t", "fileSearchStore": "f"}, Citation(None, "t", source="f")),
            ("maps", {"uri": "u", "title": "t", "placeId": "p"}, Citation("u", "t", source="p")),
            ("image", {"sourceUri": "u", "title": "t", "domain": "d"}, Citation("u", "t", source="d")),
        )
    ),
]


@pytest.mark.parametrize(("metadata", "citation"), CITATIONS)
def test_every_field_of_a_citation(metadata: dict[str, Any], citation: Citation) -> None:
    assert decoded(chunk({"text": "Hello"}), chunk(finishReason="STOP", **metadata)).citations == (citation,)


def test_odd_grounding_cites_nothing() -> None:
    odd = {"groundingChunks": 3, "groundingSupports": [3, {"segment": 3, "groundingChunkIndices": [0, "x"]}]}
    response = decoded(chunk({"text": "a"}, groundingMetadata=odd), END)
    assert response.citations == ()
    odd = {"groundingChunks": [{}], "groundingSupports": [{"groundingChunkIndices": [0]}]}
    [cited] = decoded(chunk({"text": "a"}, groundingMetadata=odd), END).citations
    assert (cited.url, cited.start) == (None, None)


@pytest.mark.parametrize(
    ("segment", "place"),
    [
        ({"text": "one", "startIndex": 0}, 0),
        ({"text": "three", "startIndex": 0, "partIndex": 1}, 1),
        ({"text": "two", "startIndex": 90}, 0),
        ({"text": "o"}, 0),
        ({"text": "o", "startIndex": 0}, 0),
        ({"text": "t"}, 1),
        ({"text": "o", "startIndex": 7}, 1),
        ({"text": "three", "startIndex": 90}, 1),
        ({"text": "o", "startIndex": 90}, 0),
        ({"text": "o", "startIndex": 90, "partIndex": 1}, 1),
        ({"text": "one", "partIndex": 7}, 0),
        ({"text": "one", "partIndex": "odd"}, 0),
        ({"text": "nowhere"}, 1),
        ({"text": "one\ud83d"}, 1),
        ({}, 1),
    ],
)
def test_a_citation_belongs_to_the_text_that_it_quotes(segment: dict[str, Any], place: int) -> None:
    assert cited_text(segment) == place


SPENT = 2 * (len("one") + 100) + len("one two") + 100
"""What it costs to compare the quote with either text at its place, and to search the first text for it."""


@pytest.mark.parametrize(("limit", "place"), [(50, 1), (250, 1), (SPENT, 1), (SPENT + 1, 0), (1000, 0)])
def test_the_search_for_a_quote_is_bounded(monkeypatch: pytest.MonkeyPatch, limit: int, place: int) -> None:
    """A quote that is not found within the limit belongs to the last text."""
    monkeypatch.setattr("brainwires_provider.protocols.gemini.response._MAX_SEARCH", limit)
    assert cited_text({"text": "one", "startIndex": 90}) == place


def cited_text(segment: dict[str, Any]) -> int:
    """Which of two texts is given the citation of a segment."""
    grounding = {
        "groundingChunks": [{"web": {"uri": "u"}}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
    }
    response = decoded(chunk({"text": "one two"}, {"text": "three four"}, groundingMetadata=grounding), END)
    texts = [part for part in response.message.content if isinstance(part, TextPart)]
    assert [part.text for part in texts] == ["one two", "three four"]
    [place] = [index for index, part in enumerate(texts) if part.citations]
    return place


def test_usage_without_counts_is_incomplete() -> None:
    assert not decode_usage({"trafficType": "ON_DEMAND"}).complete
    assert decode_usage({}).raw is None
    told = decode_usage({"responseTokenCount": 4, "promptTokensDetails": [3, {"modality": "AUDIO"}]})
    assert (told.output_text, told.total_tokens, told.audio_input) == (4, 4, 0)


@pytest.mark.parametrize(
    ("name", "bucket"),
    [
        ("promptTokenCount", "uncached_input"),
        ("candidatesTokenCount", "output_text"),
        ("responseTokenCount", "output_text"),
        ("thoughtsTokenCount", "reasoning"),
        ("toolUsePromptTokenCount", "tool_input"),
        ("totalTokenCount", "unattributed"),
    ],
)
def test_a_count_alone_is_usage(name: str, bucket: str) -> None:
    usage = decode_usage({name: 5})
    assert (usage.total_tokens, usage.complete, getattr(usage, bucket)) == (5, True, 5)


# -- results stay with their calls, and what models take ----------------------------------------------------

A = ToolCallPart("a", "f", "{}")
B = ToolCallPart("b", "g", "{}")
CALL_A = {"functionCall": {"id": "a", "name": "f", "args": {}}}
CALL_B = {"functionCall": {"id": "b", "name": "g", "args": {}}}


def answer_to(call: ToolCallPart, text: str) -> dict[str, Any]:
    return {"functionResponse": {"id": call.id, "name": call.name, "response": {"output": text}}}


ADJACENT: dict[str, tuple[tuple[Message, ...], list[Any], list[str]]] = {
    "a note between": (
        (Message.assistant(A), Message.user("note"), Message.tool_result(A, "1")),
        [("model", [CALL_A]), ("user", [answer_to(A, "1")]), ("user", [{"text": "note"}])],
        ["messages[3]"],
    ),
    "a note between two results": (
        (
            Message.assistant(A, B),
            Message.tool_result(A, "1"),
            Message.user("note"),
            Message.tool_result(B, "2"),
        ),
        [
            ("model", [CALL_A, CALL_B]),
            ("user", [answer_to(A, "1"), answer_to(B, "2")]),
            ("user", [{"text": "note"}]),
        ],
        ["messages[4]"],
    ),
    "two turns of the model": (
        (
            Message.assistant(A),
            Message.assistant("And", B),
            Message.tool_result(A, "1"),
            Message.tool_result(B, "2"),
        ),
        [("model", [CALL_A, {"text": "And"}, CALL_B]), ("user", [answer_to(A, "1"), answer_to(B, "2")])],
        ["messages[2]"],
    ),
    "results and a note in one message": (
        (
            Message.assistant(A),
            Message.user("x"),
            Message("user", (TextPart("n"), ToolResultPart("a", (TextPart("1"),)))),
        ),
        [
            ("model", [CALL_A]),
            ("user", [answer_to(A, "1")]),
            ("user", [{"text": "x"}]),
            ("user", [{"text": "n"}]),
        ],
        ["messages[3]"],
    ),
    "a result alone in a user's message": (
        (Message.assistant(A), Message.user("x"), Message("user", (ToolResultPart("a", (TextPart("1"),)),))),
        [("model", [CALL_A]), ("user", [answer_to(A, "1")]), ("user", [{"text": "x"}])],
        ["messages[3]"],
    ),
    "a result with a picture": (
        (
            Message.assistant(A),
            Message.user("x"),
            Message(
                "tool", (ToolResultPart("a", (TextPart("1"), ImagePart(data=b"x", media_type="image/png"))),)
            ),
        ),
        [
            ("model", [CALL_A]),
            ("user", [answer_to(A, "1"), {"inlineData": {"mimeType": "image/png", "data": "eA=="}}]),
            ("user", [{"text": "x"}]),
        ],
        ["messages[3]"],
    ),
    "in order already": (
        (Message.assistant(A), Message.tool_result(A, "1"), Message.assistant("B."), Message.assistant("C.")),
        [
            ("model", [CALL_A]),
            ("user", [answer_to(A, "1")]),
            ("model", [{"text": "B."}]),
            ("model", [{"text": "C."}]),
        ],
        [],
    ),
}


@pytest.mark.parametrize("name", ADJACENT)
def test_results_are_sent_right_after_their_calls(name: str) -> None:
    messages, contents, adapted = ADJACENT[name]
    call = encoded(Message.user("?"), *messages, model="gemini-2.5-flash")
    assert call.body["contents"][1:] == [{"role": role, "parts": parts} for role, parts in contents]
    assert [d.field for d in call.deviations if d.outcome == "adapted"] == adapted


@pytest.mark.parametrize(
    ("model", "effort", "config", "adapted"),
    [
        ("gemini-3-flash", "off", {"thinkingLevel": "MINIMAL"}, True),
        ("gemini-3-flash", "minimal", {"thinkingLevel": "MINIMAL"}, False),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "LOW"}, True),
        ("models/gemini-3.1-pro", "off", {"thinkingLevel": "LOW"}, True),
        ("gemini-3.7-flash", "minimal", {"thinkingLevel": "LOW"}, True),
        ("gemini-3.8-flash", "off", {"thinkingLevel": "LOW"}, True),
        ("gemini-3.8-flash", "low", {"thinkingLevel": "LOW"}, False),
        ("gemini-flash-latest", "off", {"thinkingLevel": "LOW"}, True),
        ("gemini-pro-latest", "high", {"thinkingLevel": "HIGH"}, False),
        ("gemini-2.5-pro", "off", {"thinkingBudget": 128}, True),
        ("gemini-2.5-flash", "off", {"thinkingBudget": 0}, False),
    ],
)
def test_the_least_thinking_is_what_the_model_takes(
    model: str, effort: Any, config: dict[str, Any], adapted: bool
) -> None:
    call = encoded(model=model, options=Options(reasoning=effort))
    assert call.body["generationConfig"]["thinkingConfig"] == config
    assert [d.outcome for d in call.deviations] == ["adapted"] * adapted


@pytest.mark.parametrize("model", ["gemini-flash-latest", "models/gemini-pro-latest"])
def test_the_latest_models_are_of_the_newest_generation(model: str) -> None:
    call = encoded(Message.user("?"), Message.assistant(A), Message.tool_result(A, "1"), model=model)
    assert call.body["contents"][1]["parts"] == [{**CALL_A, "thoughtSignature": PLACEHOLDER}]


@pytest.mark.parametrize("model", ["gemma-3-27b-it", "models/gemma-3n-e4b-it"])
def test_gemma_has_its_instruction_in_the_first_message(model: str) -> None:
    call = encoded(Message.system("Two."), Message.user("Hi"), model=model, system="One.")
    assert "systemInstruction" not in call.body
    parts = [{"text": "One.\n\nTwo.\n\n"}, {"text": "Hi"}]
    assert call.body["contents"] == [{"role": "user", "parts": parts}]
    assert [(d.field, d.outcome) for d in call.deviations] == [("system", "adapted")]
    begun = encoded(Message.system("Two."), Message.assistant("Hello"), Message.user("Hi"), model=model)
    assert begun.body["contents"][0] == {"role": "user", "parts": [{"text": "Two.\n\n"}]}
    assert [(d.field, d.outcome) for d in begun.deviations] == [("messages[0].role", "adapted")]
    assert encoded(model=model).deviations == ()


# -- usage, and what several chunks add up to ----------------------------------------------------------------

COUNTED = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}


@pytest.mark.parametrize(
    ("last", "output", "reasoning", "total"),
    [
        ({"promptTokenCount": 10, "totalTokenCount": 15}, 5, 0, 15),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, 5, 0, 15),
        ({"promptTokenCount": 10}, 5, 0, 15),
        ({"promptTokenCount": 10, "thoughtsTokenCount": 20, "totalTokenCount": 30}, 5, 20, 35),
        ({"promptTokenCount": 10, "thoughtsTokenCount": 20, "totalTokenCount": 35}, 5, 20, 35),
        ({"promptTokenCount": 10, "candidatesTokenCount": 8, "totalTokenCount": 18}, 8, 0, 18),
    ],
)
def test_the_last_usage_may_lack_what_an_earlier_chunk_reported(
    last: dict[str, int], output: int, reasoning: int, total: int
) -> None:
    usage = decoded({**chunk({"text": "a"}), "usageMetadata": COUNTED}, {**END, "usageMetadata": last}).usage
    assert (usage.output_text, usage.reasoning, usage.total_tokens) == (output, reasoning, total)
    assert (usage.input_tokens, usage.anomalies, usage.complete) == (10, (), True)


NAMED_COUNTS = {
    "gemini": {
        "prompt": "promptTokenCount", "cached": "cachedContentTokenCount", "output": "candidatesTokenCount",
        "thoughts": "thoughtsTokenCount", "tools": "toolUsePromptTokenCount", "total": "totalTokenCount",
        "details": "promptTokensDetails", "cached_details": "cacheTokensDetails", "modality": "tokenCount",
    },
    "google_interactions": {
        "prompt": "total_input_tokens", "cached": "total_cached_tokens", "output": "total_output_tokens",
        "thoughts": "total_thought_tokens", "tools": "total_tool_use_tokens", "total": "total_tokens",
        "details": "input_tokens_by_modality", "cached_details": "cached_tokens_by_modality", "modality": "tokens",
    },
}  # fmt: skip
"""By the reference of each API."""
SPOKEN = [
    {"modality": "AUDIO", "modality_": 4},
    {"modality": "TEXT", "modality_": 6},
    "odd",
    {"modality": "audio", "modality_": 1},
]
BUCKETS = (
    "uncached_input",
    "cache_read",
    "audio_input",
    "output_text",
    "reasoning",
    "tool_input",
    "unattributed",
)


@pytest.mark.parametrize("protocol", NAMED_COUNTS)
@pytest.mark.parametrize(
    ("counts", "last", "buckets", "anomaly"),
    [
        ({"prompt": 10}, {}, (10, 0, 0, 0, 0, 0, 0), None),
        ({"prompt": 10, "cached": 4, "output": 3, "thoughts": 2, "tools": 1, "total": 16}, {},
         (6, 4, 0, 3, 2, 1, 0), None),
        ({"total": 7}, {}, (0, 0, 0, 0, 0, 0, 7), None),
        ({"prompt": 10, "output": 3, "total": 20}, {}, (10, 0, 0, 3, 0, 0, 7), None),
        ({"prompt": 10, "output": 3, "total": 12}, {}, (10, 0, 0, 3, 0, 0, 0), "total 12 is less than its parts, 13"),
        ({"prompt": 10, "output": 3, "total": 10}, {"prompt": 10}, (10, 0, 0, 3, 0, 0, 0), None),
        ({"prompt": 10, "output": 3, "total": 10}, {"prompt": 9}, (10, 0, 0, 3, 0, 0, 0), "total 10 is less"),
        ({"prompt": 10, "details": SPOKEN}, {}, (5, 0, 5, 0, 0, 0, 0), None),
        ({"prompt": 10, "details": SPOKEN, "cached": 2, "cached_details": SPOKEN[:1]}, {},
         (7, 2, 1, 0, 0, 0, 0), None),
        ({"prompt": 10, "cached_details": SPOKEN}, {}, (10, 0, 0, 0, 0, 0, 0), None),
        ({"prompt": 3, "details": SPOKEN}, {}, (0, 0, 3, 0, 0, 0, 0), "audio_input 5 exceeds the 3 input tokens left"),
        ({"prompt": 3, "cached": 4}, {}, (0, 3, 0, 0, 0, 0, 0), "cache_read 4 exceeds the 3 input tokens left"),
        ({"prompt": -3, "output": 2}, {}, (0, 0, 0, 2, 0, 0, 0), "is negative: -3"),
        ({"prompt": "x", "output": True, "thoughts": 2.5}, {}, (0, 0, 0, 0, 0, 0, 0), None),
        ({"prompt": 3, "details": "odd", "cached_details": [3]}, {}, (3, 0, 0, 0, 0, 0, 0), None),
        ({"prompt": 3, "details": [{"modality": "AUDIO", "modality_": "2"}]}, {}, (3, 0, 0, 0, 0, 0, 0), None),
    ],
)  # fmt: skip
def test_every_count_of_google_is_in_its_bucket(
    protocol: str, counts: dict[str, Any], last: dict[str, Any], buckets: tuple[int, ...], anomaly: str | None
) -> None:
    names = NAMED_COUNTS[protocol]

    def told(values: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps({names[name]: value for name, value in values.items()})
        return dict(json.loads(text.replace("modality_", names["modality"])))

    read = decode_usage if protocol == "gemini" else interactions_usage
    usage = read(told(counts), told(last))
    assert tuple(getattr(usage, name) for name in BUCKETS) == buckets
    assert (usage.complete, usage.raw) == (True, told(counts))
    assert len(usage.anomalies) == (anomaly is not None)
    assert anomaly is None or anomaly in usage.anomalies[0]
    for none in ({}, {"trafficType": "x"}, {names["cached"]: 5}, {names["details"]: []}):
        assert read(none, {}) == Usage(raw=none or None)


def test_the_second_name_of_an_answers_count() -> None:
    assert decode_usage({"promptTokenCount": 1, "responseTokenCount": 2}).output_text == 2
    assert decode_usage({"candidatesTokenCount": 3, "responseTokenCount": 2}).output_text == 3
    none = decode_usage({"candidatesTokenCount": 0, "responseTokenCount": 2})
    assert (none.output_text, none.anomalies) == (2, ())


@pytest.mark.parametrize(
    ("text", "data"),
    [("AAEC", b"\0\1\2"), ("-_-_", b"\xfb\xff\xbf"), ("+/+/", b"\xfb\xff\xbf"), ("", b""), ("@", None), ("A", None),
     (3, None), (None, None), (b"AAEC", None)],
)  # fmt: skip
def test_base64_of_either_alphabet(text: Any, data: bytes | None) -> None:
    assert bytes_in(text) == data


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-a", "/models/gemini-a"),
        ("models/gemini-a", "/models/gemini-a"),
        ("tunedModels/mine", "/tunedModels/mine"),
        ("publishers/x/models/y", "/models/publishers/x/models/y"),
        ("a b?c#d%", "/models/a%20b%3Fc%23d%25"),
        ("a@1:2-3._~", "/models/a@1:2-3._~"),
    ],
)
def test_the_path_of_a_model(name: str, path: str) -> None:
    assert model_path(name) == path


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"name": "models/a"}, {"id": "a"}),
        ({"name": "a"}, {"id": "a"}),
        ({"name": "tunedModels/a"}, {"id": "tunedModels/a"}),
        ({"name": "publishers/x-y/models/a/b"}, {"id": "a/b", "owner": "x-y"}),
        (
            {
                "name": "models/a",
                "displayName": "A",
                "inputTokenLimit": 9,
                "outputTokenLimit": 8,
                "launchStage": "GA",
            },
            {
                "id": "a",
                "display_name": "A",
                "context_window": 9,
                "max_output_tokens": 8,
                "lifecycle": "active",
            },
        ),
        (
            {"name": "a", "supportedGenerationMethods": ["generateContent", 3]},
            {"id": "a", "capabilities": ("chat",)},
        ),
        ({"name": "a", "supportedGenerationMethods": []}, {"id": "a", "capabilities": ()}),
        (
            {"name": "a", "supportedGenerationMethods": [], "thinking": True},
            {"id": "a", "capabilities": ("reasoning",)},
        ),
        (
            {"name": "a", "supportedGenerationMethods": ["embedContent"], "thinking": True},
            {"id": "a", "capabilities": ("embedding", "reasoning")},
        ),
        ({"name": "a", "thinking": True}, {"id": "a"}),
        ({"name": "a", "supportedGenerationMethods": [], "thinking": 1}, {"id": "a", "capabilities": ()}),
        ({"name": "a", "supportedGenerationMethods": "chat", "thinking": True}, {"id": "a"}),
    ],
)
def test_what_google_says_of_a_model(entry: dict[str, Any], told: dict[str, Any]) -> None:
    model = Model(**{"provider": "p", "raw": entry, **told})
    protocol = Gemini()
    for name in ("models", "publisherModels"):
        page = {name: [entry, {"name": ""}, "odd"], "nextPageToken": "t"}
        assert protocol.decode_models(json.dumps(page).encode(), "p") == ([model], "t")
    assert protocol.decode_model(json.dumps(entry).encode(), "p") == model
    with pytest.raises(ProtocolError, match="the body is no model"):
        protocol.decode_model(b'{"name": ""}', "p")
    for empty, after in (({}, None), ({"nextPageToken": "t"}, "t")):
        assert protocol.decode_models(json.dumps(empty).encode(), "p") == ([], after)
    for wrong in ({"x": 1}, {"models": None}, {"models": {}}, [], [entry]):
        with pytest.raises(ProtocolError, match="the body has no list of models") as caught:
            protocol.decode_models(json.dumps(wrong).encode(), "p")
        assert caught.value.provider == "p"


def test_url_context_is_gathered_over_the_chunks() -> None:
    def read(*urls: str) -> dict[str, Any]:
        return chunk(urlContextMetadata={"urlMetadata": [{"retrievedUrl": url} for url in urls]})

    response = decoded(read("a", "b"), read("b", "c"), chunk({"text": "x"}), read("d"), END)
    metadata = response.extra["urlContextMetadata"]["urlMetadata"]
    assert [each["retrievedUrl"] for each in metadata] == ["a", "b", "c", "d"]
    again = decoded(read("a", "a"), read("a", "a", "b"), END).extra["urlContextMetadata"]
    assert [each["retrievedUrl"] for each in again["urlMetadata"]] == ["a", "a", "b"]
    twice = decoded(read("a"), read("b", "b"), read("b"), END).extra["urlContextMetadata"]
    assert [each["retrievedUrl"] for each in twice["urlMetadata"]] == ["a", "b"]
    copied = decoded(read("a"), read("b"), read("a", "b", "c"), read("c", "d"), END)
    metadata = copied.extra["urlContextMetadata"]["urlMetadata"]
    assert [each["retrievedUrl"] for each in metadata] == ["a", "b", "c", "d"]


def test_a_partial_answer_keeps_what_was_gathered_when_more_comes() -> None:
    decoder = Gemini().decoder(ORIGIN)
    logprobs = {"logprobsResult": {"chosenCandidates": [{"token": "a"}]}}
    decoder.feed(WireMessage(json.dumps(chunk({"text": "a"}, **logprobs)).encode()))
    first = decoder.partial().extra
    decoder.feed(WireMessage(json.dumps(chunk({"text": "a"}, **logprobs)).encode()))
    assert len(first["logprobsResult"]["chosenCandidates"]) == 1
    assert len(decoder.partial().extra["logprobsResult"]["chosenCandidates"]) == 2


# -- streamed arguments --------------------------------------------------------------------------------------

LEAVES = (
    st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from((0.5, -2.25)) | st.text(max_size=4)
)
NAMES = st.text("ab c🎉", min_size=1, max_size=3)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def pieces_of(value: Any, path: str, seeded: random.Random) -> list[dict[str, Any]]:
    """A value as Google streams it, its texts cut somewhere."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in pieces_of(v, f"{path}['{k}']", seeded)]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in pieces_of(v, f"{path}[{i}]", seeded)]
    if isinstance(value, str) and seeded.random() < 0.7:
        at = seeded.randint(0, len(value))
        ends: list[dict[str, Any]] = [{"jsonPath": path, "stringValue": value[at:]}]
        return [{"jsonPath": path, "stringValue": value[:at], "willContinue": True}, *ends]
    if value is None:
        return [{"jsonPath": path, "nullValue": "NULL_VALUE"}]
    kind = (
        "stringValue" if isinstance(value, str) else "boolValue" if isinstance(value, bool) else "numberValue"
    )
    return [{"jsonPath": path, kind: value}]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.integers(), st.booleans())
def test_streamed_arguments_are_the_object(value: dict[str, Any], seed: int, shuffled: bool) -> None:
    """In order they are its compact text; in any order, a text that is read as it."""
    seeded = random.Random(seed)
    pieces = pieces_of(value, "$", seeded)
    if shuffled:
        by_path: dict[str, list[Any]] = {}
        for piece in pieces:
            by_path.setdefault(piece["jsonPath"], []).append(piece)
        order = [piece["jsonPath"] for piece in pieces]
        seeded.shuffle(order)
        pieces = [by_path[path].pop(0) for path in order]
    writer = ObjectWriter()
    text = "".join(writer.add(piece) for piece in pieces) + writer.finish()
    assert json.loads(text) == value
    if not shuffled:
        assert text == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_a_call_that_goes_on_is_over_with_its_last_fragment() -> None:
    """A fragment may have members whole, or fields beside the call."""
    call: dict[str, Any] = {"id": "c", "name": "f", "args": {"a": 1}, "willContinue": True}
    more = {"partialArgs": [{"jsonPath": "$.b", "numberValue": 2}], "willContinue": True}
    parts: list[dict[str, Any]] = [
        {"functionCall": call, "thoughtSignature": "c2ln"},
        {"functionCall": more, "thoughtSignature": "bGF0ZXI="},
        {"functionCall": {"args": {"c": 3}}, "novel": 1},
    ]
    decoder = Gemini().decoder(ORIGIN)
    told = [decoder.feed(WireMessage(json.dumps(chunk(part)).encode())) for part in parts]
    assert [[e.index for e in events if isinstance(e, PartEnd)] for events in told] == [[], [], [0]]
    extra = {"thoughtSignature": "c2ln", "novel": 1}
    assert decoder.partial().message.content == (
        ToolCallPart("c", "f", '{"a":1,"b":2,"c":3}', extra=extra, origin=ORIGIN),
    )


def test_arguments_are_told_as_they_come() -> None:
    decoder = Gemini().decoder(ORIGIN)
    told = []
    for text in ("Ro", "me"):
        piece = {"jsonPath": "$.city", "stringValue": text, "willContinue": True}
        name = {"name": "f"} if text == "Ro" else {}
        part = {"functionCall": {**name, "partialArgs": [piece], "willContinue": True}}
        events = decoder.feed(WireMessage(json.dumps(chunk(part)).encode()))
        told.append([event.text for event in events if isinstance(event, ToolCallDelta)])
    assert told == [['{"city":"Ro'], ["me"]]


@pytest.mark.parametrize(
    ("pieces", "value"),
    [
        ([("$.a", "x"), ("$.a", "y")], {"a": "y"}),
        ([("$.a.b", "x"), ("$.a", "y")], {"a": "y"}),
        ([("$.a", "x"), ("$.a.b", "y")], {"a": {"b": "y"}}),
        ([("$.l[0]", "x"), ("$.l[0].b", "y")], {"l": [{"b": "y"}]}),
        ([("$.l[0]", "x"), ("$.l[2]", "y"), ("$.l[1]", "z")], {"l": ["x", "z", "y"]}),
        ([("$.l[0]", "x"), ("$.l[2]", "y")], {"l": ["x", None, "y"]}),
        ([("$", "x")], {"$": "x"}),
        ([("$[0]", "x")], {"$[0]": "x"}),
        ([('$["a b"].c', "x")], {"a b": {"c": "x"}}),
        ([("$.l[0][0]", "x"), ("$.l[0][1]", "y"), ("$.l[1][0]", "z")], {"l": [["x", "y"], ["z"]]}),
    ],
)
def test_odd_paths(pieces: list[tuple[str, str]], value: Any) -> None:
    writer = ObjectWriter()
    text = "".join(writer.add({"jsonPath": path, "stringValue": told}) for path, told in pieces)
    assert json.loads(text + writer.finish()) == value


@pytest.mark.parametrize(
    ("pieces", "texts", "rest"),
    [
        ([{"numberValue": 1, "jsonPath": "$.a"}, {"boolValue": False, "jsonPath": "$.b"}],
         ['{"a":1', ',"b":false'], "}"),
        ([{"nullValue": "NULL_VALUE", "jsonPath": "$.a"}], ['{"a":null'], "}"),
        ([{"stringValue": "x", "jsonPath": "a"}], ['{"a":"x"'], "}"),
        ([{"stringValue": "x", "jsonPath": "$['a b']"}], ['{"a b":"x"'], "}"),
        ([{"stringValue": "x"}], ['{"$":"x"'], "}"),
        ([{"stringValue": "x", "jsonPath": "$.a.[b"}], ['{"$.a.[b":"x"'], "}"),
        ([{"jsonPath": "$.a"}], [""], "{}"),
        ([], [], "{}"),
        (
            [{"stringValue": t, "jsonPath": "$.a", "willContinue": True} for t in ("x", '"')]
            + [{"stringValue": "y", "jsonPath": "$.a"}, {"numberValue": 1, "jsonPath": "$.b"}],
            ['{"a":"x', '\\"', 'y"', ',"b":1'],
            "}",
        ),
        ([{"stringValue": "x", "jsonPath": "$.a", "willContinue": True}], ['{"a":"x'], '"}'),
        (
            [{"stringValue": "x", "jsonPath": "$.a", "willContinue": True}, {"numberValue": 1, "jsonPath": "$.a"}],
            ['{"a":"x', ""],
            '","a":1}',
        ),
        (
            [{"stringValue": "x", "jsonPath": "$.a", "willContinue": True}, {"stringValue": "y", "jsonPath": "$.a"},
             {"stringValue": "z", "jsonPath": "$.a"}],
            ['{"a":"x', 'y"', ""],
            ',"a":"z"}',
        ),
        ([{"numberValue": 1, "jsonPath": "$.a", "willContinue": True}], ['{"a":1'], "}"),
        (
            [{"stringValue": "x", "jsonPath": "$.a", "willContinue": True}, {"numberValue": 1, "jsonPath": "$.b"},
             {"stringValue": "y", "jsonPath": "$.a"}],
            ['{"a":"x', '","b":1', ""],
            ',"a":"xy"}',
        ),
        (
            [{"numberValue": n, "jsonPath": f"$.{path}"}
             for n, path in enumerate(("a.b[0]", "a.b[1]", "a.c", "d", "a.e"))],
            ['{"a":{"b":[0', ",1", '],"c":2', '},"d":3', ""],
            ',"a":{"b":[0,1],"c":2,"e":4}}',
        ),
        (
            [{"numberValue": 1, "jsonPath": "$.o.k"}, {"stringValue": "x", "jsonPath": "$.a", "willContinue": True},
             {"numberValue": 2, "jsonPath": "$.o.m"}, {"stringValue": "y", "jsonPath": "$.a"}],
            ['{"o":{"k":1', '},"a":"x', '"', ""],
            ',"o":{"k":1,"m":2},"a":"xy"}',
        ),
        ([{"numberValue": 1, "jsonPath": "$.l[2]"}], [""], '{"l":[null,null,1]}'),
    ],
)  # fmt: skip
def test_the_text_of_arguments_as_their_values_come(pieces: list[Any], texts: list[str], rest: str) -> None:
    writer = ObjectWriter()
    assert ([writer.add(piece) for piece in pieces], writer.finish()) == (texts, rest)


def test_the_bounds_of_an_arguments_path() -> None:
    ObjectWriter().add({"jsonPath": "$" + ".a" * 100, "numberValue": 1})
    with pytest.raises(ValueError, match="an argument's path has 101 steps"):
        ObjectWriter().add({"jsonPath": "$" + ".a" * 101, "numberValue": 1})
    writer = ObjectWriter()
    writer.add({"jsonPath": "$.a[600]", "numberValue": 1})
    writer.add({"jsonPath": "$.b[400]", "numberValue": 1})
    with pytest.raises(ValueError, match="an argument's place in a list is 1"):
        writer.add({"jsonPath": "$.c[1]", "numberValue": 1})


def test_members_that_come_whole_can_be_added_to() -> None:
    writer = ObjectWriter()
    text = writer.add_members({"a": {"x": 1}}) + writer.add({"jsonPath": "$.a.y", "numberValue": 2})
    assert json.loads(text + writer.finish()) == {"a": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    "paths",
    [["$" + ".a" * 200], ["$.a[5000]"], [f"$.a[{900 * i}]" for i in range(3)]],
    ids=["deep", "far", "far step by step"],
)
def test_absurd_argument_paths_are_an_error(paths: list[str]) -> None:
    pieces = [{"jsonPath": path, "numberValue": 1} for path in paths]
    with pytest.raises(ProtocolError, match="an argument's"):
        decoded(chunk({"functionCall": {"name": "f", "partialArgs": pieces}}), END)


def test_arguments_too_deep_for_the_stack_that_is_left_are_an_error() -> None:
    """They are written once more at the end, where a caller may be deep in a stack of its own."""
    value: Any = 1
    for _ in range(180):
        value = [value]
    pieces = [
        {"jsonPath": "$.a", "numberValue": 1},
        {"jsonPath": "$.b", "numberValue": 1},
        {"jsonPath": "$" + ".a" * 100, "numberValue": value},
    ]
    call = {"name": "f", "partialArgs": pieces, "willContinue": True}

    def deep_down(decoder: Any, depth: int) -> list[Event]:
        return deep_down(decoder, depth - 1) if depth else list(decoder.finish())

    decoder = Gemini().decoder(ORIGIN)
    decoder.feed(WireMessage(json.dumps(chunk({"functionCall": call}, finishReason="STOP")).encode()))
    with pytest.raises(ProtocolError, match="not the shape of a generateContent answer"):
        deep_down(decoder, sys.getrecursionlimit() - 250)


def test_a_string_that_was_replaced_is_not_continued() -> None:
    pieces = [
        {"jsonPath": "$.a.b", "stringValue": "x", "willContinue": True},
        {"jsonPath": "$.a", "numberValue": 5},
        {"jsonPath": "$.a.b", "stringValue": "y"},
    ]
    [call] = decoded(chunk({"functionCall": {"name": "f", "partialArgs": pieces}}), END).tool_calls
    assert call.args() == {"a": {"b": "y"}}
