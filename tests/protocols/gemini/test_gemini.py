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
from brainwires_provider.events import Event, ToolCallDelta, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.object_writer import ObjectWriter
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.protocols.gemini import Gemini, GeminiOptions, GeminiQuirks
from brainwires_provider.protocols.gemini.response import FINISH_REASONS, decode_usage
from brainwires_provider.types import (
    Cache,
    FilePart,
    HostedTool,
    ImagePart,
    Message,
    OpaquePart,
    Options,
    Origin,
    Reasoning,
    ReasoningPart,
    Request,
    Response,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from known import count_known, encode_known

ORIGIN = Origin("gemini", "google", "gemini-3-flash")
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
    assert refused(429, told, {"retry-after": "7"}).retry_after == 7


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


def test_every_finish_reason_of_google_genai_is_known() -> None:
    theirs = {reason.value for reason in pytest.importorskip("google.genai.types").FinishReason}
    assert theirs <= FINISH_REASONS.keys() and OURS.keys() <= FINISH_REASONS.keys()


@pytest.mark.parametrize("raw", [*FINISH_REASONS, "NEVER_HEARD_OF"])
def test_every_finish_reason(raw: str) -> None:
    expected = OURS.get(raw, "other")
    response = decoded(chunk({"text": "a"}), chunk(finishReason=raw))
    assert (response.finish_reason, response.raw_finish_reason) == (expected, raw)
    with_call = decoded(chunk({"functionCall": {"name": "f"}}), chunk(finishReason=raw))
    assert with_call.finish_reason == ("tool_calls" if raw == "STOP" else expected)


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
    named = [b'{"web":{"title":"\\ud83d%d"}}' % place for place in (1, 2, 2)]
    text = (
        b'{"candidates":[{"content":{"parts":[{"text":"a"}]},"groundingMetadata":{"groundingChunks":[%s]}}]}'
    )
    cited = collect(Gemini().decoder(ORIGIN).feed_whole(text % b",".join(named))).citations
    assert [each.title for each in cited] == ["\ufffd1", "\ufffd2"]


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
        ({"text": "one", "partIndex": 7}, 0),
        ({"text": "one", "partIndex": "odd"}, 0),
        ({"text": "nowhere"}, 1),
        ({}, 1),
    ],
)
def test_a_citation_belongs_to_the_text_that_it_quotes(segment: dict[str, Any], place: int) -> None:
    assert cited_text(segment) == place


@pytest.mark.parametrize(("limit", "place"), [(50, 1), (250, 1), (1000, 0)])
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


def test_url_context_is_gathered_over_the_chunks() -> None:
    def read(*urls: str) -> dict[str, Any]:
        return chunk(urlContextMetadata={"urlMetadata": [{"retrievedUrl": url} for url in urls]})

    response = decoded(read("a", "b"), read("b", "c"), chunk({"text": "x"}), read("d"), END)
    metadata = response.extra["urlContextMetadata"]["urlMetadata"]
    assert [each["retrievedUrl"] for each in metadata] == ["a", "b", "c", "d"]
    again = decoded(read("a", "a"), read("a", "a", "b"), END).extra["urlContextMetadata"]
    assert [each["retrievedUrl"] for each in again["urlMetadata"]] == ["a", "a", "b"]


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
