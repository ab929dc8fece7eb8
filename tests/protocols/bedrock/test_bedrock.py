"""Converse against botocore's service model, and what depends on the model behind it."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    FramingError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    UnsupportedError,
)
from brainwires_provider.events import Event, PartEnd, PartStart, collect
from brainwires_provider.framing import EventStreamFraming
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.protocols.bedrock import BedrockConverse, BedrockOptions, BedrockQuirks
from brainwires_provider.protocols.bedrock.options import MEDIA_FORMATS
from brainwires_provider.protocols.bedrock.response import usage_of
from brainwires_provider.types import (
    Cache,
    CacheStrategy,
    FilePart,
    ImagePart,
    JSONSchema,
    Message,
    Model,
    OpaquePart,
    Options,
    Origin,
    Reasoning,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Usage,
    dump_messages,
    load_messages,
)
from fixture_cases import ROOT
from known import count_known, encode_known
from reading import read_stream

CONVERSE = BedrockConverse()
CLAUDE, CLAUDE_3, CLAUDE_46 = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-3-5-sonnet-20240620-v1:0",
    "anthropic.claude-sonnet-4-6",
)
OPUS = "anthropic.claude-opus-5-5"
NOVA, LLAMA = "us.amazon.nova-2-lite-v1:0", "us.meta.llama4-maverick-17b-instruct-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1dadi0g15f"


def origin(model: str) -> Origin:
    return Origin("bedrock_converse", "bedrock", model)


def encoded(
    model: str, *messages: Message, stream: bool = False, converse: BedrockConverse = CONVERSE, **given: Any
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The body as JSON has it, and what was not sent as given."""
    request = Request(messages or (Message.user("Hi"),), model, **given)
    call = encode_known(converse, request, origin(model), stream=stream)
    body: dict[str, Any] = json.loads(json.dumps(call.body))
    return body, [(d.field, d.outcome) for d in call.deviations]


# -- botocore's service model --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service() -> Any:
    return pytest.importorskip("botocore.session").Session().get_service_model("bedrock-runtime")


MODELS = (
    CLAUDE,
    LLAMA,
    PROFILE,
    "arn:aws:bedrock:us-east-1:123456789012:prompt/AB12CD34EF:3",
    "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.claude-v2:1",
    "arn:aws:sagemaker:us-east-1:123456789012:endpoint/my-endpoint",
    "a b/ü?#%2F~._-",
)


@pytest.mark.parametrize("model", MODELS)
def test_paths_are_botocores(model: str, service: Any) -> None:
    serialize = pytest.importorskip("botocore.serialize")
    told = {
        "Converse": encode_known(CONVERSE, Request((), model), origin(model), stream=False),
        "ConverseStream": encode_known(CONVERSE, Request((), model), origin(model), stream=True),
        "CountTokens": count_known(CONVERSE, Request((), model), origin(model)),
    }
    for operation, call in told.items():
        params: dict[str, Any] = {"modelId": model} | (
            {"input": {"converse": {}}} if operation == "CountTokens" else {}
        )
        made = serialize.create_serializer("rest-json").serialize_to_request(
            params, service.operation_model(operation)
        )
        assert (call.method, call.path) == (made["method"], made["url_path"])


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream"])
def test_the_options_are_the_requests_fields(operation: str, service: Any) -> None:
    members = set(service.operation_model(operation).input_shape.members)
    assert set(BedrockOptions.__struct_fields__) == members - {"modelId", "messages", "system"}


def test_formats_are_those_of_the_service_model(service: Any) -> None:
    named = {kind: service.shape_for(f"{kind.title()}Format").enum for kind in MEDIA_FORMATS}
    lost = {kind: set(enum) - set(MEDIA_FORMATS[kind].values()) for kind, enum in named.items()}
    assert all(set(MEDIA_FORMATS[kind].values()) <= set(enum) for kind, enum in named.items())
    # Other words for a container that has one already.
    assert lost == {"image": set(), "document": set(), "video": {"mpg"}, "audio": {"mkv", "mpeg", "mpga"}}


FORMATS = {
    "image": "image/png:png image/jpeg:jpeg image/jpg:jpeg image/gif:gif image/webp:webp",
    "document": "application/pdf:pdf text/csv:csv application/msword:doc text/html:html text/plain:txt "
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document:docx text/markdown:md "
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet:xlsx application/vnd.ms-excel:xls",
    "video": "video/mp4:mp4 video/x-matroska:mkv video/quicktime:mov video/webm:webm video/x-flv:flv "
    "video/mpeg:mpeg video/x-ms-wmv:wmv video/3gpp:three_gp",
    "audio": "audio/mpeg:mp3 audio/mp3:mp3 audio/wav:wav audio/x-wav:wav audio/flac:flac audio/ogg:ogg "
    "audio/opus:opus audio/aac:aac audio/x-aac:x-aac audio/mp4:mp4 audio/x-m4a:m4a audio/webm:webm "
    "audio/x-matroska:mka audio/pcm:pcm audio/l16:pcm",
}
"""The formats of the service model, and the media types by which the registry of IANA, and browsers, call them."""


@pytest.mark.parametrize("kind", FORMATS)
def test_each_media_type_is_sent_in_its_format(kind: str) -> None:
    for pair in FORMATS[kind].split():
        media_type, format = pair.split(":")
        make = ImagePart if kind == "image" else FilePart
        message = Message.user(make(data=b"x", media_type=media_type), "What is it?")
        body = CONVERSE.encode(Request((message,), CLAUDE), origin(CLAUDE), stream=False).body
        assert body["messages"][0]["content"][0][kind]["format"] == format, media_type


MADE = {
    "image": "png:image/png jpeg:image/jpeg gif:image/gif webp:image/webp novel:image/novel",
    "document": "pdf:application/pdf csv:text/csv txt:text/plain md:text/markdown xls:application/vnd.ms-excel",
    "video": "mp4:video/mp4 mkv:video/x-matroska three_gp:video/3gpp mpg:video/mpg",
    "audio": "mp3:audio/mpeg wav:audio/wav pcm:audio/pcm mka:audio/x-matroska mpga:audio/mpga",
}
"""The usual media type of a format, and what one is called that has none here."""


@pytest.mark.parametrize("kind", MADE)
def test_each_format_of_an_answer_has_its_media_type(kind: str) -> None:
    for pair in MADE[kind].split():
        form, media_type = pair.split(":")
        (part,) = collect(whole({kind: {"format": form, "source": {"bytes": "eA=="}}})).message.content
        assert isinstance(part, ImagePart if kind == "image" else FilePart)
        assert (part.media_type, part.data, part.extra) == (media_type, b"x", {kind: {"format": form}})


@pytest.mark.parametrize(("length", "is_kept"), [(64, True), (65, False)])
def test_an_id_is_as_long_as_the_service_takes_it(length: int, is_kept: bool, service: Any) -> None:
    assert service.shape_for("ToolUseId").metadata["max"] == 64
    call = ToolCallPart("i" * length, "f", "{}")
    history = (Message.user("Hi"), Message.assistant(call), Message.tool_result(call, "done"))
    body = CONVERSE.encode(Request(history, CLAUDE), origin(CLAUDE), stream=False).body
    use, result = (body["messages"][n]["content"][0] for n in (1, 2))
    id = use["toolUse"]["toolUseId"]
    assert (id == call.id, len(id) <= 64, result["toolResult"]["toolUseId"]) == (is_kept, True, id)


STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_tool_use": "malformed_tool_call",
    "malformed_model_output": "other",
    "pause_turn": "pause",
    "refusal": "refusal",
    "novel": "other",
}


def test_every_stop_reason_of_the_service_model_is_mapped(service: Any) -> None:
    assert set(service.shape_for("StopReason").enum) <= STOPS.keys()
    for raw, reason in STOPS.items():
        response = collect(whole({"text": "a"}, stop=raw))
        assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)
    assert collect(whole({"text": "a"}, stop=None)).finish_reason == "stop"


KINDS = {
    "AccessDeniedException": PermissionDeniedError,
    "InternalServerException": ServerError,
    "ModelErrorException": ServerError,
    "ModelNotReadyException": OverloadedError,
    "ModelStreamErrorException": ServerError,
    "ModelTimeoutException": ServerError,
    "ResourceNotFoundException": NotFoundError,
    "ServiceQuotaExceededException": RateLimitError,
    "ServiceUnavailableException": OverloadedError,
    "ThrottlingException": RateLimitError,
    "ValidationException": InvalidRequestError,
}


def test_every_error_of_the_service_model_is_mapped(service: Any) -> None:
    shapes = {}
    for operation, member in (("ConverseStream", "stream"), ("InvokeModelWithResponseStream", "body")):
        model = service.operation_model(operation)
        in_stream = model.output_shape.members[member].members.values()
        found = [*model.error_shapes, *(shape for shape in in_stream if shape.metadata.get("exception"))]
        shapes |= {shape.name: shape for shape in found}
    assert shapes.keys() == KINDS.keys()
    for name, shape in shapes.items():
        status = shape.metadata["error"]["httpStatusCode"]
        refused = CONVERSE.decode_error(Reply(status, {"x-amzn-errortype": name}, b'{"message": "no"}', 0))
        in_stream = failure(exception(name[0].lower() + name[1:], message="no"))
        assert (type(refused), refused.status) == (KINDS[name], status)
        assert (type(in_stream), in_stream.provider_status) == (KINDS[name], status)
        assert refused.retryable is in_stream.retryable is (KINDS[name].retryable)
        assert str(refused) == str(in_stream) == "no"


# https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html, and those of other AWS services and gateways.
COMMON = {
    PermissionDeniedError: "NotAuthorized OptInRequired",
    AuthenticationError: "ExpiredTokenException IncompleteSignature InvalidClientTokenId InvalidSignatureException "
    "MissingAuthenticationToken RequestExpired SignatureDoesNotMatch UnrecognizedClientException",
    NotFoundError: "UnknownOperationException",
    InvalidRequestError: "ValidationError",
    RateLimitError: "TooManyRequestsException",
    OverloadedError: "ServiceUnavailable",
    ServerError: "InternalError InternalFailure",
}


def test_the_name_of_an_error_decides_before_its_status() -> None:
    kinds = KINDS | {name: kind for kind, names in COMMON.items() for name in names.split()}
    for name, kind in kinds.items():
        for status in (400, 500):
            refused = CONVERSE.decode_error(Reply(status, {"x-amzn-errortype": name}, b"{}", 0))
            assert (type(refused), refused.status, refused.code) == (kind, status, name)
            assert refused.retryable is kind.retryable
    for code in (
        "InternalError",
        "InternalFailure",
    ):  # what an error of an event stream is when nobody foresaw it
        in_stream = failure(message(b"", error_code=code, error_message="no", message_type="error"))
        assert (type(in_stream), in_stream.provider_status, in_stream.code) == (ServerError, 500, code)


# -- models --------------------------------------------------------------------------------------------------

THINKING = "additionalModelRequestFields"
EFFORTS: list[tuple[str, Any, dict[str, Any], list[str]]] = [
    (CLAUDE, Reasoning(budget_tokens=2000), {THINKING: {"thinking": budget}}, [])
    for budget in [{"type": "enabled", "budget_tokens": 2000}]
] + [
    (CLAUDE, "high", {THINKING: {"thinking": {"type": "enabled", "budget_tokens": 16_384}}}, ["adapted"]),
    (CLAUDE, Reasoning(), {THINKING: {"thinking": {"type": "enabled", "budget_tokens": 8_192}}}, ["adapted"]),
    (
        CLAUDE,
        Reasoning("low", 3000),
        {THINKING: {"thinking": {"type": "enabled", "budget_tokens": 3000}}},
        ["adapted"],
    ),
    (CLAUDE, "off", {THINKING: {"thinking": {"type": "disabled"}}}, []),
    (CLAUDE_3, "high", {}, ["dropped"]),
    (CLAUDE_3, "off", {}, []),
    (CLAUDE_46, "max", {THINKING: {"thinking": {"type": "adaptive"}}, "outputConfig": {"effort": "max"}}, []),
    (
        CLAUDE_46,
        Reasoning(summary="auto"),
        {THINKING: {"thinking": {"type": "adaptive", "display": "summarized"}}},
        [],
    ),
    (
        "anthropic.claude-opus-5-5",
        Reasoning(budget_tokens=5),
        {THINKING: {"thinking": {"type": "adaptive"}}},
        ["dropped"],
    ),
    ("anthropic.claude-opus-5-5", "off", {}, ["dropped"]),
    (
        NOVA,
        "max",
        {THINKING: {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}},
        ["adapted"],
    ),
    (
        NOVA,
        "medium",
        {THINKING: {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}},
        [],
    ),
    (NOVA, "off", {THINKING: {"reasoningConfig": {"type": "disabled"}}}, []),
    ("openai.gpt-oss-120b-1:0", "minimal", {THINKING: {"reasoning_effort": "low"}}, ["adapted"]),
    ("openai.gpt-oss-120b-1:0", "off", {}, ["dropped"]),
    ("qwen.qwen3-32b-v1:0", "high", {THINKING: {"reasoning_config": "high"}}, []),
    (LLAMA, Reasoning("medium", 5), {"outputConfig": {"effort": "medium"}}, ["dropped"]),
    (LLAMA, Reasoning("low", summary="auto"), {"outputConfig": {"effort": "low"}}, ["dropped"]),
    (LLAMA, "minimal", {"outputConfig": {"effort": "low"}}, ["adapted"]),
    ("us.amazon.nova-pro-v1:0", "high", {}, ["dropped"]),
    ("us.amazon.nova-pro-v1:0", "off", {}, []),
    (NOVA, Reasoning(budget_tokens=5, summary="auto"), {}, ["dropped", "dropped"]),
    (PROFILE, "max", {"outputConfig": {"effort": "max"}}, []),
    (PROFILE, Reasoning(budget_tokens=5), {}, ["dropped"]),
]


@pytest.mark.parametrize(("model", "reasoning", "said", "outcomes"), EFFORTS)
def test_reasoning_by_model(model: str, reasoning: Any, said: dict[str, Any], outcomes: list[str]) -> None:
    body, told = encoded(model, options=Options(reasoning=reasoning))
    del body["messages"]
    assert body == said
    assert told == [("reasoning", outcome) for outcome in outcomes]


SAMPLED = {"max_tokens": 5, "temperature": 0.5, "top_p": 0.25}
INFERENCE = {"maxTokens": 5, "temperature": 0.5, "topP": 0.25, "stopSequences": ["x"]}


@pytest.mark.parametrize("effort", ["low", "medium", "high", "max", "off"])
def test_a_high_effort_of_nova_has_no_limit_and_no_sampling(effort: Any) -> None:
    body, told = encoded(NOVA, options=Options(**SAMPLED, stop="x", reasoning=effort))
    is_high = effort in ("high", "max")
    assert body["inferenceConfig"] == ({"stopSequences": ["x"]} if is_high else INFERENCE)
    dropped = [(name, "dropped") for name in SAMPLED] if is_high else []
    assert told == ([("reasoning", "adapted")] if effort == "max" else []) + dropped


def test_what_was_sent_and_what_is_weaker_is_told() -> None:
    options = Options(max_tokens=5, temperature=0.5, seed=1, reasoning="minimal")
    request = Request((Message.user("Hi"),), NOVA, system="S", options=options)
    call = encode_known(CONVERSE, request, origin(NOVA), stream=False)
    assert [(d.field, d.outcome) for d in call.deviations] == [("reasoning", "adapted"), ("seed", "dropped")]
    assert (set(call.sent), set(call.weakened)) == ({"system", "max_tokens", "temperature"}, {"reasoning"})


def test_sampling_beside_thinking_is_what_claude_takes() -> None:
    options = Options(reasoning="low", temperature=0.5, top_p=0.95, top_k=3)
    body, told = encoded(CLAUDE, options=options)
    assert (body["inferenceConfig"], body["additionalModelRequestFields"].keys()) == (
        {"topP": 0.95},
        {"thinking"},
    )
    assert told == [("reasoning", "adapted"), ("temperature", "dropped"), ("top_k", "dropped")]


@pytest.mark.parametrize(
    ("model", "takes"),
    [("anthropic.claude-opus-4-6", True), ("anthropic.claude-opus-4-7", False)],
)
def test_strict_tools_by_model(model: str, takes: bool) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body, told = encoded(model, tools=(Tool("w", "W.", schema, strict=True),))
    [tool] = body["toolConfig"]["tools"]
    assert tool["toolSpec"].get("strict") == (True if takes else None)
    assert told == ([] if takes else [("tools[w].strict", "dropped")])


def test_a_budget_stays_below_the_answers_limit() -> None:
    def budget(limit: int) -> Any:
        options = Options(max_tokens=limit, reasoning="high")
        return encoded(CLAUDE, options=options)[0].get(THINKING, {}).get("thinking")

    assert budget(4000) == {"type": "enabled", "budget_tokens": 3999}
    assert budget(30_000) == {"type": "enabled", "budget_tokens": 16_384}
    assert budget(1024) is None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (CLAUDE, {THINKING: {"top_k": 5}}),
        ("mistral.pixtral-large-2502-v1:0", {THINKING: {"top_k": 5}}),
        (NOVA, {THINKING: {"inferenceConfig": {"topK": 5}}}),
        (PROFILE, {}),
    ],
)
def test_top_k_by_model(model: str, said: dict[str, Any]) -> None:
    body, told = encoded(model, options=Options(top_k=5))
    assert body.get(THINKING) == said.get(THINKING)
    assert told == ([] if said else [("top_k", "dropped")])


@pytest.mark.parametrize(("model", "takes"), [(CLAUDE, True), (NOVA, True), (PROFILE, True), (LLAMA, False)])
def test_error_flags_by_model(model: str, takes: bool) -> None:
    body, told = encoded(
        model,
        Message.user("Hi"),
        Message.assistant(ToolCallPart("t1", "w", "{}")),
        Message.tool_result("t1", "no", is_error=True),
        tools=(Tool("w", "", {"type": "object"}),),
    )
    result = body["messages"][2]["content"][0]["toolResult"]
    assert result.get("status") == ("error" if takes else None)
    assert told == ([] if takes else [("messages[2].content[0].is_error", "dropped")])


@pytest.mark.parametrize(("model", "goes"), [(CLAUDE, True), ("us.deepseek.r1-v1:0", False)])
def test_reasoning_goes_back_where_it_is_taken(model: str, goes: bool) -> None:
    turn = Message.assistant(
        ReasoningPart("hm", signature="s", origin=origin(model)), TextPart("a", origin=origin(model))
    )
    body, told = encoded(model, Message.user("Hi"), turn, Message.user("Go on"))
    kinds = [next(iter(block)) for block in body["messages"][1]["content"]]
    assert kinds == (["reasoningContent", "text"] if goes else ["text"])
    assert told == ([] if goes else [("messages[1].content[0]", "dropped")])


@pytest.mark.parametrize(
    ("model", "quirk", "roles"),
    [
        ("anthropic.claude-opus-4-8", None, ["user", "system", "assistant", "user", "system"]),
        (CLAUDE, None, ["user", "assistant", "user"]),
        (LLAMA, True, ["user", "system", "assistant", "user", "system"]),
        ("anthropic.claude-opus-4-8", False, ["user", "assistant", "user"]),
    ],
)
def test_later_system_messages_by_model(model: str, quirk: bool | None, roles: list[str]) -> None:
    body, told = encoded(
        model,
        Message.user("Hi"),
        Message.system("In French."),
        Message.assistant("Oui"),
        Message.system("In German."),
        Message.user("Hi"),
        converse=BedrockConverse(BedrockQuirks(system_turns=quirk)),
    )
    assert [turn["role"] for turn in body["messages"]] == roles
    last = body["messages"][-1]["content"][-1]["text"]
    behind = ("messages[3]", "adapted")
    if len(roles) == 5:
        assert (last, told) == ("In German.", [behind])
    else:
        assert last == "<system>\nIn German.\n</system>"
        assert told == [("messages[1].role", "emulated"), behind, ("messages[3].role", "emulated")]


@pytest.mark.parametrize("choice", [ToolChoice(), ToolChoice("required"), ToolChoice.tool("w")])
def test_a_choice_among_no_tools_is_dropped(choice: ToolChoice) -> None:
    body, told = encoded(CLAUDE, tool_choice=choice)
    assert "toolConfig" not in body
    assert told == [("tool_choice", "dropped")]


@pytest.mark.parametrize(
    ("history", "demands"),
    [
        ((Message.user("Hi"),), False),
        ((Message.user("Hi"), Message.assistant("Hello"), Message.user("Go on")), False),
        ((Message.user("Hi"), Message.assistant(ToolCallPart("t", "w", "{}"))), True),
        ((Message.tool_result("t", "done"),), True),
    ],
)
def test_a_call_or_a_result_demands_the_tools(history: tuple[Message, ...], demands: bool) -> None:
    tool = Tool("w", "", {"type": "object"})
    body, told = encoded(LLAMA, *history, tools=(tool,), tool_choice=ToolChoice("none"))
    assert ("toolConfig" in body) is demands
    assert told == (
        [("tool_choice", "dropped")] if demands else [("tool_choice", "emulated"), ("tools", "dropped")]
    )


def test_tools_that_were_called_are_named_where_none_are_given() -> None:
    calls = [ToolCallPart(id, name, "{}") for id, name in (("a", "f"), ("b", "g"), ("c", "f"))]
    results = Message("tool", tuple(ToolResultPart(id, (TextPart("1"),)) for id in "abc"))
    body, told = encoded(CLAUDE, Message.user("Hi"), Message.assistant(*calls), results)
    schema = {"json": {"type": "object"}}
    assert body["toolConfig"]["tools"] == [
        {"toolSpec": {"name": name, "description": "Called earlier.", "inputSchema": schema}} for name in "fg"
    ]
    assert told == [("tools", "emulated")]


def test_a_schema_in_words_where_none_is_taken() -> None:
    quirky = BedrockConverse(BedrockQuirks(output_schema=False))
    for description, said in ((None, "person"), ("Who", "person (Who)")):
        output = JSONSchema("person", {"type": "object"}, description)
        body, told = encoded(LLAMA, converse=quirky, output=output)
        assert body["system"] == [
            {
                "text": f'Answer with one JSON object, {said}, that follows this JSON Schema:\n{{"type":"object"}}'
            }
        ]
        assert told == [("output", "emulated")]


# -- cache points --------------------------------------------------------------------------------------------

TOOL = Tool("w", "", {"type": "object"})
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
HISTORY = (Message.system("S"), Message.user("a" * 40), Message.assistant("b"), Message.user("c"))


def points(body: dict[str, Any]) -> list[str]:
    """Where cache points stand: behind what."""
    told = []
    lists = [("tool", body.get("toolConfig", {}).get("tools", [])), ("system", body.get("system", []))]
    lists += [(f"turn {i}", turn["content"]) for i, turn in enumerate(body["messages"])]
    for where, blocks in lists:
        for index, block in enumerate(blocks):
            if "cachePoint" in block:
                assert index
                told.append(f"{where}.{index - 1}" + (f" {block['cachePoint'].get('ttl', '')}".rstrip()))
    return told


PLANS: list[tuple[str, Any, tuple[Message, ...], list[str]]] = [
    (CLAUDE, None, HISTORY, []),
    (CLAUDE, CacheStrategy.off(), HISTORY, []),
    (CLAUDE, CacheStrategy.system_only(), HISTORY, ["system.0"]),
    (CLAUDE, CacheStrategy.system_and_tools("1h"), HISTORY, ["tool.0 1h", "system.0 1h"]),
    (NOVA, CacheStrategy.system_and_tools(), HISTORY, ["system.0"]),
    (CLAUDE, CacheStrategy.system_and_tail_turn(0), HISTORY, ["system.0", "turn 2.0"]),
    (CLAUDE, CacheStrategy.system_and_tail_turn(9999), HISTORY, ["system.0"]),
    (PROFILE, CacheStrategy.system_only(), HISTORY, ["system.0"]),
    (LLAMA, CacheStrategy.system_only(), HISTORY, []),
    (LLAMA, CacheStrategy.off(), (Message.user(TextPart("a", cache=Cache())),), []),
    (CLAUDE, None, (Message.user(TextPart("a", cache=Cache("1h")), "b"),), ["turn 0.0 1h"]),
    (CLAUDE, CacheStrategy.off(), (Message.user(TextPart("a", cache=Cache()), "b"),), []),
    (CLAUDE, None, (Message.user("a", OpaquePart("cachePoint", POINT)),), ["turn 0.0"]),
    (CLAUDE, CacheStrategy.off(), (Message.user("a", OpaquePart("cachePoint", POINT)),), []),
    (LLAMA, None, (Message.user("a", OpaquePart("cachePoint", POINT)),), []),
    (
        CLAUDE,
        None,
        (Message.user(*(TextPart(t, cache=Cache()) for t in "abcdef")),),
        [
            "turn 0.2",
            "turn 0.4",
            "turn 0.6",
            "turn 0.8",
        ],
    ),
]


@pytest.mark.parametrize(("model", "strategy", "history", "stand"), PLANS)
def test_where_cache_points_stand(
    model: str, strategy: CacheStrategy | None, history: tuple[Message, ...], stand: list[str]
) -> None:
    body, told = encoded(model, *history, tools=(TOOL,), options=Options(cache=strategy))
    assert points(body) == stand
    assert len(stand) <= 4
    taken = "adapted" if stand or strategy is None or strategy.mode == "off" else "dropped"
    assert [report for report in told if report[0] == "cache"] == ([("cache", taken)] if strategy else [])


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (CacheStrategy.system_only(), "breakpoints after system"),
        (CacheStrategy.system_and_tools("1h"), "breakpoints after system, tools"),
        (CacheStrategy.system_and_tail_turn(0), "breakpoints after system, messages[3]"),
        (
            CacheStrategy.system_and_tail_turn(9999),
            "breakpoints after system; the history has about 10 tokens, the threshold is 9999",
        ),
    ],
)
def test_where_cache_points_stand_is_reported(strategy: CacheStrategy, reason: str) -> None:
    request = Request(HISTORY, CLAUDE, tools=(TOOL,), options=Options(cache=strategy))
    (told,) = encode_known(CONVERSE, request, origin(CLAUDE), stream=False).deviations
    assert (told.field, told.outcome, told.reason) == ("cache", "adapted", reason)


def test_marks_that_are_too_many_are_reported_where_they_are() -> None:
    history = (
        Message("system", tuple(TextPart(text, cache=Cache()) for text in "ab")),
        Message.user(*(TextPart(text, cache=Cache()) for text in "cdef")),
    )
    body, told = encoded(CLAUDE, *history, tools=(Tool("w", "", {}, cache=Cache()),))
    assert len(points(body)) == 4
    assert told == [
        (f"{place}.cache", "dropped")
        for place in ("tools[w]", "messages[0].content[0]", "messages[0].content[1]")
    ]


def test_marks_of_tools_results_and_calls() -> None:
    call = ToolCallPart("t1", "w", "{}", cache=Cache())
    result = ToolResultPart("t1", (TextPart("x"),), cache=Cache())
    body, told = encoded(
        CLAUDE,
        Message.user("a"),
        Message.assistant(call),
        Message("tool", (result,)),
        tools=(Tool("w", "", {}, cache=Cache("1h")), TOOL),
    )
    assert points(body) == ["tool.0 1h", "turn 1.0", "turn 2.0"]
    assert told == []


def test_a_model_without_cache_points_reports_marks_and_strategy() -> None:
    options = Options(cache=CacheStrategy.system_only())
    _, told = encoded(LLAMA, Message.user(TextPart("a", cache=Cache())), options=options)
    assert told == [("messages[0].content[0].cache", "dropped"), ("cache", "dropped")]


def test_what_media_weigh_in_a_plan() -> None:
    """The threshold is in tokens; a picture's bytes are none."""
    picture = {"image": {"format": "png", "source": {"bytes": "x" * 100_000}}}
    options = Options(cache=CacheStrategy.system_and_tail_turn(3000))
    body, _ = encoded(CLAUDE, Message.user(OpaquePart("image", picture), "?"), options=options, system="S")
    assert points(body) == ["system.0"]


def test_odd_marks_of_the_callers_own() -> None:
    first = OpaquePart("cachePoint", POINT)
    odd = OpaquePart("cachePoint", {"cachePoint": "odd"})
    body, _ = encoded(CLAUDE, Message.user(first, "a", odd, "b", OpaquePart("n", {"novel": [1, None]})))
    assert body["messages"][0]["content"] == [{"text": "a"}, POINT, {"text": "b"}, {"novel": [1, None]}]


# -- streams -------------------------------------------------------------------------------------------------


def message(payload: bytes, **headers: str) -> bytes:
    """One message of an event stream; `event_type` is `:event-type`."""
    named = b"".join(
        bytes([len(k) + 1]) + b":" + k.replace("_", "-").encode() + b"\x07" + len(v).to_bytes(2) + v.encode()
        for k, v in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(named) + len(payload), len(named))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + named + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(kind: str, **payload: Any) -> bytes:
    return message(json.dumps(payload).encode(), event_type=kind, message_type="event")


def exception(kind: str, **payload: Any) -> bytes:
    return message(json.dumps(payload).encode(), exception_type=kind, message_type="exception")


USAGE = {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}
START = event("messageStart", role="assistant")
SAID = event("contentBlockDelta", contentBlockIndex=0, delta={"text": "Hello"})
STOP = event("contentBlockStop", contentBlockIndex=0) + event("messageStop", stopReason="end_turn")
METADATA = event("metadata", usage=USAGE, metrics={"latencyMs": 1})
STREAM = START + SAID + STOP + METADATA


def streamed(*chunks: bytes) -> list[Event]:
    return read_stream(EventStreamFraming(), CONVERSE.decoder(origin("m")), chunks, [])


def whole(*blocks: Any, stop: str | None = "end_turn") -> list[Event]:
    body = {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": stop,
        "usage": USAGE,
    }
    return CONVERSE.decoder(origin("m")).feed_whole(json.dumps(body).encode())


def failure(data: bytes) -> APIError:
    with pytest.raises(APIError) as caught:
        streamed(START + SAID + data)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hello"
    assert caught.value.model == "m"
    return caught.value


@pytest.mark.many
def test_a_stream_is_the_same_at_every_split_point() -> None:
    expected = streamed(STREAM)
    assert collect(expected).text == "Hello"
    assert streamed(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == expected
    for at in range(len(STREAM)):
        assert streamed(STREAM[:at], STREAM[at:]) == expected


@pytest.mark.many
def test_a_stream_cut_anywhere_is_never_passed_off_as_whole() -> None:
    ends = {len(START + SAID + STOP), len(STREAM)}
    for at in range(len(STREAM) + 1):
        if at in ends:
            assert collect(streamed(STREAM[:at])).text == "Hello"
            continue
        with pytest.raises(StreamInterrupted) as caught:
            streamed(STREAM[:at])
        assert caught.value.how == "eof"
    assert not collect(streamed(START + SAID + STOP)).usage.complete


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("delta", [{"text": 3}, {"reasoningContent": {"signature": 3}}])
def test_a_text_that_is_no_text(place: int, delta: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="not the shape of Converse") as caught:
        streamed(START, SAID, event("contentBlockDelta", contentBlockIndex=place, delta=delta))
    assert caught.value.partial is not None and caught.value.partial.text == "Hello"


def test_every_flipped_bit_of_a_message_is_caught() -> None:
    """A length that claims more than there is waits for it, and is caught by the end."""
    kinds = set()
    for bit in range(8 * len(SAID)):
        damaged = bytearray(SAID)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FramingError) as caught:
            streamed(START + bytes(damaged) + STOP + METADATA)
        kinds.add("prelude" if "prelude" in str(caught.value) else "message")
    assert kinds == {"prelude", "message"}


def test_a_decoder_that_has_ended_says_no_more() -> None:
    decoder = CONVERSE.decoder(origin("m"))
    for each in EventStreamFraming().feed(STREAM):
        decoder.feed(each)
    assert decoder.feed(WireMessage(b"{}", "messageStart")) == []
    assert decoder.finish() == []


@pytest.mark.parametrize(
    ("stop", "ended"),
    [
        (event("contentBlockStop", contentBlockIndex=0), [0]),
        (event("messageStop", stopReason="end_turn"), [0, 1]),
        (METADATA, []),
    ],
)
def test_a_stop_ends_its_block_or_all_at_once(stop: bytes, ended: list[int]) -> None:
    decoder = CONVERSE.decoder(origin("m"))
    begun = START + SAID + event("contentBlockDelta", contentBlockIndex=1, delta={"text": "!"})
    for each in EventStreamFraming().feed(begun):
        decoder.feed(each)
    [message] = EventStreamFraming().feed(stop)
    told = decoder.feed(message)
    assert [each.index for each in told] == ended
    assert all(isinstance(each, PartEnd) for each in told)


@pytest.mark.parametrize(
    "deltas",
    [
        [{"text": "a"}],
        [{"text": "a"}, {"citation": {"title": "t"}}],
        [{"citation": {"title": "t"}}],
        [{"reasoningContent": {"text": "a", "signature": "s"}}],
        [{"reasoningContent": {"redactedContent": "AAAA"}}],
        [{"reasoningContent": {"text": "a", "mood": {"a": [1]}}}],
        [{"toolUse": {"input": "{}"}}],
        [{"toolResult": [{"text": "a"}]}],
        [{"image": {"source": {"bytes": "AAAA"}}}],
        [{"novel": {"a": "x"}}],
    ],
)
def test_a_place_that_is_used_again_holds_nothing_of_the_block_before(deltas: list[dict[str, Any]]) -> None:
    block = b"".join(event("contentBlockDelta", contentBlockIndex=0, delta=each) for each in deltas)
    block += event("contentBlockStop", contentBlockIndex=0)
    first, second = collect(streamed(START, block, block, STOP, METADATA)).message.content
    assert first == second


def test_a_block_is_over_where_one_of_another_kind_takes_its_place() -> None:
    start = event(
        "contentBlockStart", contentBlockIndex=0, start={"toolUse": {"toolUseId": "t", "name": "f"}}
    )
    events = streamed(START, SAID, start, SAID, STOP, METADATA)
    told = [(type(each).__name__, each.index) for each in events if isinstance(each, (PartStart, PartEnd))]
    assert told == [(kind, index) for index in range(3) for kind in ("PartStart", "PartEnd")]


def test_citations_without_a_text_are_kept_as_they_came() -> None:
    cited = {"citationsContent": {"citations": [{"title": "t"}], "content": [], "novel": 1}}
    [part] = collect(whole(cited)).message.content
    assert isinstance(part, OpaquePart)
    assert (part.data, [each.title for each in part.citations]) == (cited, ["t"])
    citation = event("contentBlockDelta", contentBlockIndex=0, delta={"citation": {"title": "t"}})
    [part] = collect(streamed(START, citation, STOP, METADATA)).message.content
    assert isinstance(part, OpaquePart)
    assert part.data == {"citationsContent": {"citations": [{"title": "t"}]}}
    assert [each.title for each in part.citations] == ["t"]


@pytest.mark.parametrize("stop", [STOP, event("messageStop", stopReason="end_turn")])
def test_the_counts_may_come_before_the_stop(stop: bytes) -> None:
    decoder = CONVERSE.decoder(origin("m"))
    events = [
        e for each in EventStreamFraming().feed(START + SAID + METADATA + stop) for e in decoder.feed(each)
    ]
    assert decoder.ended
    answer = collect(events)
    assert (answer.text, answer.usage.output_tokens, answer.usage.complete) == ("Hello", 1, True)


def test_fields_of_the_first_event_are_kept_beside_the_message() -> None:
    start = event("messageStart", role="assistant", novel={"a": 1}, none=None, p="abc")
    answer = collect(streamed(start, SAID, STOP, METADATA))
    assert answer.message.extra == {"novel": {"a": 1}}


@pytest.mark.parametrize(
    "delta",
    [
        {"image": 5},
        {"toolResult": 5},
        {"toolUse": 5},
        {"reasoningContent": 5},
        {"reasoningContent": {"redactedContent": 5}},
    ],
)
def test_a_delta_of_another_shape_is_a_protocol_error(delta: dict[str, Any]) -> None:
    """With or without a start of its block."""
    for index in (0, 1):
        with pytest.raises(ProtocolError, match="not the shape of Converse") as caught:
            streamed(START, SAID, event("contentBlockDelta", contentBlockIndex=index, delta=delta))
        assert caught.value.partial is not None and caught.value.partial.text == "Hello"


@pytest.mark.parametrize(
    ("pieces", "encrypted"),
    [
        (["?"], "?"),
        (["AAAA", "BBBB"], "AAAABBBB"),
        (["YQ==", "Yg=="], "YWI="),
        (["YQ==", "Yg==", "Yw=="], "YWJj"),
        (["?", "AAAA"], None),
        (["AAAA", "?"], None),
        (["AAAA", "AAAA", "?"], None),
    ],
)
def test_a_blob_in_pieces_is_base64(pieces: list[str], encrypted: str | None) -> None:
    """One that comes whole is sent back as it came, whatever it is."""
    deltas = [
        event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"redactedContent": each}})
        for each in pieces
    ]
    if encrypted is None:
        with pytest.raises(ProtocolError, match="a blob is not base64") as caught:
            streamed(START, *deltas)
        assert caught.value.partial is not None
        return
    [part] = collect(streamed(START, *deltas, STOP, METADATA)).message.content
    assert isinstance(part, ReasoningPart)
    assert (part.encrypted, part.redacted, part.text) == (encrypted, True, "")


@pytest.mark.parametrize("given", [{}, {"toolUseId": None}, {"toolUseId": ""}, {"toolUseId": 5}])
@pytest.mark.parametrize("name", ["f", "f\ud83d"])
def test_a_call_without_an_id_gets_one_that_is_always_the_same(given: dict[str, Any], name: str) -> None:
    use = {"name": name, **given}
    start = event("contentBlockStart", contentBlockIndex=0, start={"toolUse": use})
    arguments = event("contentBlockDelta", contentBlockIndex=0, delta={"toolUse": {"input": '{"a":1}'}})

    def answers() -> list[Any]:
        block = {"toolUse": {**use, "input": {"a": 1}}}
        return [collect(whole(block)), collect(streamed(START, start, arguments, STOP, METADATA))]

    for answer, again in zip(answers(), answers(), strict=True):
        [call] = answer.tool_calls
        assert (call.id, call.name, call.arguments) == (None, name.replace("\ud83d", "\ufffd"), '{"a":1}')
        assert call.call_id == again.tool_calls[0].call_id


def test_what_has_arrived_is_seen_at_any_moment() -> None:
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    stream = (
        START
        + event("contentBlockStart", contentBlockIndex=0, start={"image": {"format": "png"}})
        + event("contentBlockDelta", contentBlockIndex=0, delta={"image": {"source": {"bytes": png}}})
        + event("contentBlockDelta", contentBlockIndex=1, delta={"novel": {"a": "x"}})
    )
    decoder = CONVERSE.decoder(origin("m"))
    for each in EventStreamFraming().feed(stream):
        decoder.feed(each)
    image, novel = decoder.partial().message.content
    assert image.data == base64.b64decode(png)  # type: ignore[union-attr]
    assert novel.data == {"novel": {"a": "x"}}  # type: ignore[union-attr]


# -- odd answers ---------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (None, 3, "x", [[]], {"a": 1})


def changed(value: Any) -> Iterator[Any]:
    """The same JSON with one of its values, at every place, another."""
    yield from ODD
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in list(inner):
        for other in changed(each):
            made = dict(value) if isinstance(value, dict) else list(value)
            made[key] = other
            yield made


def settled(events: Callable[[], list[Event]]) -> str:
    """What comes of an answer, and of its way back; anything but a result or an error of ours is let through."""
    try:
        turn = collect(events()).message
    except ProviderError as error:
        return type(error).__name__
    request = Request((Message.user("a"), turn, Message.user("b")), "m")
    json.dumps(encode_known(CONVERSE, request, origin("m"), stream=False).body)
    return "Response"


@pytest.mark.long
@pytest.mark.many
def test_odd_values_anywhere_end_in_a_response_or_an_error_of_ours() -> None:
    told: Counter[str] = Counter()
    for path in sorted((ROOT / "bedrock_converse").glob("*_whole/wire.json")):
        if b"{" not in path.read_bytes()[:1]:
            continue
        for body in changed(json.loads(path.read_bytes())):
            data = json.dumps(body).encode()
            told[settled(lambda data=data: CONVERSE.decoder(origin("m")).feed_whole(data))] += 1  # type: ignore[misc]
    for path in sorted((ROOT / "bedrock_converse").glob("*/wire.bin")):
        try:
            messages = EventStreamFraming().feed(path.read_bytes())
            payloads = [json.loads(each.data) for each in messages]
        except (FramingError, ValueError):
            continue
        for index, payload in enumerate(payloads):
            for odd in changed(payload):
                other = replace(messages[index], data=json.dumps(odd).encode())
                told[settled(lambda m=(*messages[:index], other, *messages[index + 1 :]): fed(m))] += 1  # type: ignore[misc]
    assert told["Response"] > 1000
    assert told["ProtocolError"] > 1000


def fed(messages: tuple[WireMessage, ...]) -> list[Event]:
    decoder = CONVERSE.decoder(origin("m"))
    events: list[Event] = []
    for each in messages:
        events += decoder.feed(each)
        json.dumps(to_builtins(decoder.partial()))
    return events if decoder.ended else events + decoder.finish()


# -- refusals, counting, listing -----------------------------------------------------------------------------

NO_KEY = b'{"Message": "Authentication failed: Please make sure your API Key is valid."}'
NO = b'{"message": "no"}'
REFUSALS: list[tuple[int, str | None, bytes, type[APIError], str | None]] = [
    (400, None, b'{"message": "Input is too long for requested model."}', ContextLengthError, None),
    (400, None, b'{"__type": "ns#ValidationException"}', InvalidRequestError, "ValidationException"),
    (400, "ValidationException:http://x/", NO, InvalidRequestError, "ValidationException"),
    (
        400,
        "ValidationException",
        b'{"message": "prompt is too long"}',
        ContextLengthError,
        "ValidationException",
    ),
    (400, "ServiceQuotaExceededException", b"{}", RateLimitError, "ServiceQuotaExceededException"),
    (403, None, NO_KEY, AuthenticationError, None),
    (403, "AccessDeniedException", NO_KEY, AuthenticationError, "AccessDeniedException"),
    (403, "AccessDeniedException", NO, PermissionDeniedError, "AccessDeniedException"),
    (403, "InvalidSignatureException", NO, AuthenticationError, "InvalidSignatureException"),
    (403, "NovelException", NO, PermissionDeniedError, "NovelException"),
    (403, "ExpiredTokenException", b"", AuthenticationError, "ExpiredTokenException"),
    (
        404,
        None,
        b'{"Output": {"__type": "ns#UnknownOperationException"}}',
        NotFoundError,
        "UnknownOperationException",
    ),
    (429, "", NO, RateLimitError, None),
    (500, "InternalServerException", b"<html>", ServerError, None),
    (503, None, b"[1]", OverloadedError, None),
]


@pytest.mark.parametrize(("status", "name", "body", "kind", "code"), REFUSALS)
def test_refusals(status: int, name: str | None, body: bytes, kind: type[APIError], code: str | None) -> None:
    headers = {} if name is None else {"x-amzn-errortype": name}
    error = CONVERSE.decode_error(Reply(status, {**headers, "retry-after": "3"}, body, 0))
    assert (type(error), error.status, error.code, error.retry_after) == (kind, status, code, 3.0)
    assert str(error)
    at = {"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}
    assert CONVERSE.decode_error(Reply(status, {**headers, **at}, body, 100)).retry_after == 20


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ({"type": "rate_limit_error", "message": "Slow down"}, RateLimitError, "Slow down"),
        ({"type": "authentication_error", "message": "No such key"}, AuthenticationError, "No such key"),
        ("Not today", APIError, "Not today"),
    ],
)
def test_a_gateways_error_under_status_200(error: Any, kind: type[APIError], message: str) -> None:
    with pytest.raises(APIError) as caught:
        CONVERSE.decoder(origin("m")).feed_whole(json.dumps({"error": error}).encode())
    assert (type(caught.value), caught.value.message) == (kind, message)
    assert (caught.value.provider, caught.value.model) == ("bedrock", "m")
    assert caught.value.body == {"error": error}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "no"}, "no"),
        ({"Message": "no"}, "no"),
        ({"message": "no", "Message": "other"}, "no"),
        ({"__type": "ns#Novel"}, "Novel"),
        ({"__type": "ns#Novel:http://x", "originalMessage": "no"}, "no"),
        ({"Output": {"__type": "Novel", "message": "no"}}, "no"),
        ({"message": ""}, "the service failed without a message"),
    ],
)
def test_an_error_in_place_of_an_answer(body: dict[str, Any], message: str) -> None:
    with pytest.raises(APIError) as caught:
        CONVERSE.decoder(origin("m")).feed_whole(json.dumps(body).encode())
    error = caught.value
    assert (error.message, error.code) == (message, "Novel" if "Novel" in json.dumps(body) else None)
    assert (error.provider, error.model, error.body) == ("bedrock", "m", body)
    assert error.partial is not None


@pytest.mark.parametrize("body", [{}, {"message": "no", "other": 1}, {"error": None}, {"__type": ""}])
def test_what_is_neither_an_error_nor_an_answer(body: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="the body has no output"):
        CONVERSE.decoder(origin("m")).feed_whole(json.dumps(body).encode())


@pytest.mark.parametrize("words", ["Authentication failed", "Invalid API key", "the Security Token is bad"])
def test_a_key_that_is_refused_is_no_lack_of_permission(words: str) -> None:
    body = json.dumps({"message": words}).encode()
    refused = CONVERSE.decode_error(Reply(403, {"x-amzn-errortype": "AccessDeniedException"}, body, 0))
    assert type(refused) is AuthenticationError
    in_stream = failure(exception("accessDeniedException", message=words))
    assert type(in_stream) is AuthenticationError
    assert (in_stream.provider, in_stream.model) == ("bedrock", "m")


def test_a_block_may_name_its_member_by_a_type() -> None:
    content = [{"type": "text", "text": "A"}, {"type": "x", "text": "B", "more": 1}]
    body = {"output": {"message": {"content": content}}, "stopReason": "end_turn"}
    response = collect(CONVERSE.decoder(origin(CLAUDE)).feed_whole(json.dumps(body).encode()))
    assert [type(part).__name__ for part in response.message.content] == ["TextPart", "OpaquePart"]
    assert response.text == "A"


def test_counting() -> None:
    options = Options(max_tokens=5, top_k=3, provider_options=BedrockOptions(serviceTier={"type": "flex"}))
    request = Request((Message.user("Hi"),), CLAUDE, system="S", tools=(TOOL,), options=options)
    call = count_known(CONVERSE, request, origin(CLAUDE))
    body = encode_known(CONVERSE, request, origin(CLAUDE), stream=False).body
    counted = ("messages", "system", "toolConfig", "additionalModelRequestFields")
    assert call.body == {"input": {"converse": {name: body[name] for name in counted}}}
    assert CONVERSE.decode_count(b'{"inputTokens": 18}').input_tokens == 18
    for broken in (b"", b"[]", b'{"inputTokens": "18"}', b"<html>"):
        with pytest.raises(ProtocolError, match=r"no count of input tokens|the count of tokens is not"):
            CONVERSE.decode_count(broken)
    with pytest.raises(UnsupportedError, match="no call that counts"):
        count_known(BedrockConverse(BedrockQuirks(counting=False)), request, origin(CLAUDE))


def test_recorded_counts() -> None:
    from corpus import records

    told = [r for r in records("count_tokens") if r.request and "converse" in r.request.get("input", {})]
    assert [CONVERSE.decode_count(r.data).input_tokens for r in told] == [11, 375, 23, 19]


LISTED: dict[str, Any] = {
    "modelId": "amazon.nova-x",
    "modelName": "Nova X",
    "providerName": "Amazon",
    "inputModalities": ["TEXT", "IMAGE"],
    "outputModalities": ["TEXT"],
    "modelLifecycle": {
        "status": "LEGACY",
        "startOfLifeTime": "2026-01-01T00:00:00Z",
        "legacyTime": "2026-02-01T00:00:00Z",
        "endOfLifeTime": "2026-03-01T00:00:00Z",
    },
}
PROFILED: dict[str, Any] = {
    "inferenceProfileId": "us.amazon.nova-x",
    "inferenceProfileArn": "arn:p",
    "inferenceProfileName": "US Nova X",
    "createdAt": "2026-01-01T00:00:00Z",
    "status": "ACTIVE",
    "type": "SYSTEM_DEFINED",
}
NEW_YEAR = 1_767_225_600


def test_every_field_of_a_listed_model() -> None:
    first, after = CONVERSE.decode_models(
        json.dumps({"modelSummaries": [LISTED, {"modelId": "m"}, {"modelName": "x"}, "odd"]}).encode(), "p"
    )
    assert after == ""
    assert first == [
        Model(
            "amazon.nova-x",
            "p",
            "Nova X",
            "Amazon",
            NEW_YEAR,
            capabilities=("vision",),
            raw=LISTED,
            lifecycle="deprecated",
            deprecated=date(2026, 2, 1),
            retires=date(2026, 3, 1),
            input_modalities=("text", "image"),
            output_modalities=("text",),
        ),
        Model("m", "p", raw={"modelId": "m"}),
    ]
    own = {**PROFILED, "type": "APPLICATION"}
    page = {"inferenceProfileSummaries": [PROFILED, own, {"type": "APPLICATION"}], "nextToken": "t"}
    profiles, after = CONVERSE.decode_models(json.dumps(page).encode(), "p")
    assert after == "t"
    assert profiles == [
        Model(id, "p", "US Nova X", created=NEW_YEAR, raw=raw, lifecycle="active")
        for id, raw in (("us.amazon.nova-x", PROFILED), ("arn:p", own))
    ]


@pytest.mark.parametrize(
    ("after", "path", "query"),
    [
        (None, "/foundation-models", {}),
        ("", "/inference-profiles", {"maxResults": "1000"}),
        ("t", "/inference-profiles", {"maxResults": "1000", "nextToken": "t"}),
    ],
)
def test_each_page_of_the_list(after: str | None, path: str, query: dict[str, str]) -> None:
    call = CONVERSE.models_call(after)
    assert (call.method, call.path, call.query) == ("GET", path, query)


COUNTS = {
    "inputTokens": 3,
    "outputTokens": 9,
    "totalTokens": 24,
    "cacheReadInputTokens": 5,
    "cacheWriteInputTokens": 7,
}


@pytest.mark.parametrize(
    ("counts", "fields", "usage"),
    [
        (COUNTS, None, Usage(3, 5, 7, output_text=9, complete=True, raw=COUNTS)),
        (
            COUNTS,
            {"usage": {"output_tokens_details": {"thinking_tokens": 4}}},
            Usage(3, 5, 7, output_text=5, reasoning=4, complete=True, raw=COUNTS),
        ),
        (
            {"inputTokens": 1, "outputTokens": "2", "totalTokens": "3"},
            {"usage": {"output_tokens_details": {"thinking_tokens": True}}},
            Usage(1, complete=True, raw={"inputTokens": 1, "outputTokens": "2", "totalTokens": "3"}),
        ),
        ({}, None, Usage()),
        (3, None, Usage()),
    ],
)
def test_every_count_of_a_usage(counts: Any, fields: Any, usage: Usage) -> None:
    assert usage_of(counts, fields) == usage


# -- properties ----------------------------------------------------------------------------------------------

TURN = st.lists(
    st.sampled_from(
        [
            Message.user("a"),
            Message.user("b", "c"),
            Message.system("s"),
            Message.developer("d"),
            Message.tool_result("t1", "r"),
            Message("user", (TextPart("x"), ToolResultPart("t2", (TextPart("y"),)))),
        ]
    ),
    min_size=1,
    max_size=4,
)
ANSWERS = st.sampled_from(
    [
        Message.assistant("A"),
        Message.assistant("B", ToolCallPart("t1", "w", "{}")),
        Message.assistant(ReasoningPart("hm", origin=origin(CLAUDE)), TextPart("C", origin=origin(CLAUDE))),
        Message.assistant(ReasoningPart("hm", origin=origin(CLAUDE))),
    ]
)


def has_late_results(talk: list[tuple[list[Message], Message]]) -> bool:
    """Whether a result comes after another answer than the one with its call: it is sent where the call is."""
    calls: set[str] = set()
    last: set[str] = set()
    for asked, answer in talk:
        results = {part.call_id for m in asked for part in m.content if isinstance(part, ToolResultPart)}
        if results & (calls - last):
            return True
        last = {call.call_id for call in answer.tool_calls}
        calls |= last
    return False


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(TURN, ANSWERS), min_size=1, max_size=4), st.sampled_from([CLAUDE, "claude-opus-4-8"])
)
def test_a_longer_history_begins_with_the_turns_of_a_shorter_one(
    talk: list[tuple[list[Message], Message]], model: str
) -> None:
    """Where a model is to answer; after an answer of which nothing goes back, the same side goes on speaking."""
    messages: list[Message] = []
    before: list[Any] = []
    assume(not has_late_results(talk))
    for asked, answer in talk:
        request = Request((*messages, *asked), model)
        turns = encode_known(CONVERSE, request, origin(model), stream=False).body.get("messages", [])
        roles = [turn["role"] for turn in turns]
        assert all(a != b for a, b in pairwise(roles))
        assert turns[: len(before)] == before
        messages += [*asked, answer]
        before = turns[:-1] if isinstance(answer.content[-1], ReasoningPart) else turns


@pytest.mark.parametrize(
    ("said", "sent", "reported"),
    [
        ("Hi Ra", "Ra Hi", [("messages[1].content", "adapted")]),
        ("Hi Ho Ra", "Ra Hi Ho", [("messages[2].content", "adapted")]),
        ("Ra Rb Hi", "Ra Rb Hi", []),
        ("Ra Hi Rb", "Ra Rb Hi", [("messages[2].content", "adapted")]),
        ("Hi Ra Ho Rb", "Ra Rb Hi Ho", [(f"messages[{n}].content", "adapted") for n in (1, 3)]),
    ],
)
def test_results_of_calls_that_are_not_there_lead_their_turn_too(
    said: str, sent: str, reported: list[tuple[str, str]]
) -> None:
    messages = [
        Message("tool", (ToolResultPart(word, (TextPart("done"),)),))
        if word[0] == "R"
        else Message.user(word)
        for word in said.split()
    ]
    body, deviations = encoded("m", *messages)
    (turn,) = body["messages"]
    blocks = [
        block["text"] if "text" in block else block["toolResult"]["toolUseId"] for block in turn["content"]
    ]
    assert (blocks, deviations) == (sent.split(), reported)


def test_citations_of_a_block_of_their_own_are_the_responses_too() -> None:
    web = {"location": {"web": {"url": "https://example.com/a", "domain": "example.com"}}}
    quoted = {"title": "", "source": "s", "sourceContent": [{"text": "ab"}, {"text": "c"}]}
    alone, cited = {"citations": [web]}, {"content": [{"text": "x"}], "citations": [quoted]}
    response = collect(whole({"citationsContent": alone}, {"citationsContent": cited}))
    assert [(c.url, c.title, c.quote, c.source, c.raw) for c in response.citations] == [
        ("https://example.com/a", None, None, None, web),
        (None, None, "abc", "s", quoted),
    ]
    again = load_messages(dump_messages([response.message]))[0]
    assert again == response.message
    (body, _) = encoded("m", Message.user("Hi"), again)
    assert body["messages"][1]["content"] == [{"citationsContent": alone}, {"citationsContent": cited}]


@pytest.mark.parametrize(
    "source", [{"bytes": "é"}, {"bytes": "YQ"}, {"bytes": "YQ==", "novel": 1}, {"bytes": 5}]
)
def test_media_that_could_not_be_made_again_goes_back_as_it_came(source: dict[str, Any]) -> None:
    block = {"image": {"format": "png", "source": source}}
    message = collect(whole(block)).message
    assert isinstance(message.content[0], OpaquePart)
    body, _ = encoded("m", Message.user("Hi"), message)
    assert body["messages"][1]["content"] == [block]


def test_a_block_of_a_kind_that_is_not_known_and_has_no_deltas_is_kept() -> None:
    decoder = CONVERSE.decoder(origin(CLAUDE))
    events = [
        event
        for name, value in (
            ("messageStart", {"role": "assistant"}),
            ("contentBlockStart", {"contentBlockIndex": 0, "start": {"novel": {"a": 1}}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}),
        )
        for event in decoder.feed(WireMessage(json.dumps(value).encode(), name))
    ]
    (part,) = collect(events).message.content
    assert isinstance(part, OpaquePart) and part.data == {"novel": {"a": 1}}
