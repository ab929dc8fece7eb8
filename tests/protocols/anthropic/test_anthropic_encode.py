"""Messages requests as tables: what each model takes, where a turn's parts go, and how each cloud wants it."""

from __future__ import annotations

import base64
import contextlib
import typing
from datetime import date
from typing import Any

import msgspec
import pytest

from anthropic_requests import BOTH, HI, NEW, OLD, OPUS_41, SCHEMA, WEATHER, encode, told
from brainwires_provider.errors import ConfigError, OverloadedError, ProtocolError, UnsupportedError
from brainwires_provider.framing.eventstream import EventStreamFraming
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.anthropic import (
    BEDROCK_INVOKE,
    VERTEX,
    AnthropicDecoder,
    AnthropicMessages,
    AnthropicOptions,
    AnthropicQuirks,
)
from brainwires_provider.protocols.base.facts import ModelFacts
from brainwires_provider.protocols.base.protocol import Call, Reply
from brainwires_provider.protocols.openai_chat import OpenAIChatOptions
from brainwires_provider.providers.facts import facts_of
from brainwires_provider.types import (
    CacheStrategy,
    HostedTool,
    JSONSchema,
    Model,
    Options,
    Origin,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)
from corpus import records
from known import count_known

QUIRKS = {"messages": AnthropicQuirks(), "bedrock": BEDROCK_INVOKE, "vertex": VERTEX}
CLOSED = {**SCHEMA, "additionalProperties": False}
TIME = Tool("time", "", {}, strict=True, extra={"defer_loading": True, "input_examples": [{}]})
SEARCH = HostedTool("web_search_20250305", {"name": "web_search", "max_uses": 2})

# -- what a model takes --------------------------------------------------------------------------------------

COMPATIBLE = ModelFacts()


def claude(**told: Any) -> ModelFacts:
    """What all of them have in common, and these."""
    return ModelFacts(
        family="claude",
        samples_thinking=False,
        forced_tools_thinking=False,
        signed_thinking=True,
        result_status=True,
        cache_points=True,
        tool_cache_points=True,
        refused_media=("audio", "video"),
        **told,
    )


ABLE: list[tuple[str, ModelFacts]] = [
    ("SmolLM2-135M", COMPATIBLE),
    ("claude-3-haiku-20240307", claude(budgets=False, adaptive=False, schema=False, max_output=4096)),
    ("claude-3-5-sonnet-20241022", claude(budgets=False, adaptive=False, schema=False, max_output=8192)),
    (
        "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
        claude(adaptive=False, schema=False, max_output=64000),
    ),
    ("claude-opus-4-20250514", claude(adaptive=False, schema=False, max_output=32000)),
    ("claude-opus-4@20250514", claude(adaptive=False, schema=False, max_output=32000)),
    ("claude-4-opus-20250514", claude(adaptive=False, schema=False, max_output=32000)),
    ("claude-sonnet-4-0", claude(adaptive=False, schema=False, max_output=64000)),
    ("claude-opus-4-1-20250805", claude(adaptive=False, both_samplers=False, max_output=32000)),
    ("claude-haiku-4-5", claude(adaptive=False, both_samplers=False, max_output=64000)),
    ("eu.anthropic.claude-sonnet-4-6", claude(both_samplers=False, prefill=False, max_output=128000)),
    ("claude-opus-4-6-v1", claude(both_samplers=False, prefill=False, max_output=128000)),
]
NEWER = claude(
    sampling=False,
    both_samplers=False,
    budgets=False,
    system_turns=True,
    bedrock_schema=False,
    bedrock_strict=False,
    prefill=False,
    max_output=128000,
)
ABLE += [
    ("claude-opus-4-7", msgspec.structs.replace(NEWER, system_turns=False)),
    ("claude-opus-4-8", NEWER),
    ("claude-opus-5", msgspec.structs.replace(NEWER, bedrock_strict=True)),
    ("claude-sonnet-5", NEWER),
    ("claude-haiku-5-5", NEWER),
    ("claude-opus-5-5", msgspec.structs.replace(NEWER, thinking_off=None, forced_tools=False)),
    ("claude-sonnet-5-5", msgspec.structs.replace(NEWER, thinking_off="between_tools")),
    ("claude-fable-5-1", msgspec.structs.replace(NEWER, thinking_off=None, forced_tools=False)),
    ("claude-mythos-preview", msgspec.structs.replace(NEWER, thinking_off=None, forced_tools=False)),
    ("claude-opus-12", msgspec.structs.replace(NEWER, thinking_off=None, forced_tools=False)),
    ("claude-opus-next", msgspec.structs.replace(NEWER, thinking_off=None, forced_tools=False)),
    ("claude-x", NEWER),
]


@pytest.mark.parametrize(("model", "expected"), ABLE)
def test_what_a_model_takes(model: str, expected: ModelFacts) -> None:
    assert facts_of(model) == expected


THINK = {"type": "adaptive"}
REASONING: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    (NEW, {"reasoning": "high"}, {"thinking": THINK, "output_config": {"effort": "high"}}, []),
    (NEW, {"reasoning": "max"}, {"thinking": THINK, "output_config": {"effort": "max"}}, []),
    (NEW, {"reasoning": "minimal"}, {"thinking": THINK, "output_config": {"effort": "low"}}, ["adapted"]),
    (NEW, {"reasoning": "off"}, {"thinking": {"type": "disabled"}}, []),
    ("claude-opus-5-5", {"reasoning": "off"}, {}, ["dropped"]),
    ("claude-sonnet-5-5", {"reasoning": "off"}, {"thinking": {"type": "between_tools"}}, ["adapted"]),
    (NEW, {"reasoning": Reasoning(budget_tokens=2000)}, {"thinking": THINK}, ["dropped"]),
    (NEW, {"reasoning": Reasoning()}, {"thinking": THINK}, []),
    (NEW, {"reasoning": Reasoning(summary="auto")}, {"thinking": {**THINK, "display": "summarized"}}, []),
    (
        NEW,
        {"reasoning": Reasoning("low", summary="concise")},
        {"thinking": {**THINK, "display": "summarized"}, "output_config": {"effort": "low"}},
        ["adapted"],
    ),
    (BOTH, {"reasoning": "medium"}, {"thinking": THINK, "output_config": {"effort": "medium"}}, []),
    (
        BOTH,
        {"reasoning": Reasoning("low", 2000)},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": {"effort": "low"}},
        [],
    ),
    (
        OLD,
        {"reasoning": Reasoning(budget_tokens=3000)},
        {"thinking": {"type": "enabled", "budget_tokens": 3000}},
        [],
    ),
    (
        OLD,
        {"reasoning": Reasoning("low", 3000)},
        {"thinking": {"type": "enabled", "budget_tokens": 3000}},
        ["adapted"],
    ),
    (OLD, {"reasoning": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 16384}}, ["adapted"]),
    (
        OLD,
        {"reasoning": Reasoning(summary="auto")},
        {"thinking": {"type": "enabled", "budget_tokens": 8192, "display": "summarized"}},
        ["adapted"],
    ),
    (
        OLD,
        {"reasoning": "max", "max_tokens": 9000},
        {"thinking": {"type": "enabled", "budget_tokens": 8999}},
        ["adapted"],
    ),
    (
        OLD,
        {"reasoning": "max", "max_tokens": 9000, "provider_options": AnthropicOptions(max_tokens=2000)},
        {"thinking": {"type": "enabled", "budget_tokens": 1999}},
        ["adapted"],
    ),
    (OLD, {"reasoning": "max", "max_tokens": 1024}, {}, ["dropped"]),
    (OPUS_41, {"reasoning": "max"}, {"thinking": {"type": "enabled", "budget_tokens": 16000}}, ["adapted"]),
    ("qwen3", {"reasoning": "low"}, {"thinking": THINK, "output_config": {"effort": "low"}}, []),
    ("claude-3-haiku-20240307", {"reasoning": "low"}, {}, ["dropped"]),
    ("claude-3-haiku-20240307", {"reasoning": "off"}, {}, []),
]


@pytest.mark.parametrize(("model", "options", "expected", "outcomes"), REASONING)
def test_reasoning(
    model: str, options: dict[str, Any], expected: dict[str, Any], outcomes: list[str]
) -> None:
    call = encode(model=model, options=options)
    assert {n: call.body[n] for n in ("thinking", "output_config") if n in call.body} == expected
    assert told(call) == [("reasoning", outcome) for outcome in outcomes]


@pytest.mark.parametrize(
    ("model", "options", "limit", "reported"),
    [
        (NEW, {}, 32000, ["adapted"]),
        (NEW, {"max_tokens": 5}, 5, []),
        ("claude-3-haiku-20240307", {}, 4096, ["adapted"]),
        ("m", {}, 32000, ["adapted"]),
        (OLD, {"reasoning": Reasoning(budget_tokens=20000)}, 52000, ["adapted"]),
        (OLD, {"reasoning": Reasoning(budget_tokens=50000)}, 64000, ["adapted"]),
        (NEW, {"provider_options": AnthropicOptions(max_tokens=7), "max_tokens": 5}, 7, ["dropped"]),
        (
            OLD,
            {"provider_options": AnthropicOptions(thinking={"type": "enabled", "budget_tokens": 9})},
            32009,
            ["adapted"],
        ),
    ],
)
def test_the_answers_limit(model: str, options: dict[str, Any], limit: int, reported: list[str]) -> None:
    call = encode(model=model, options=options)
    assert call.body["max_tokens"] == limit
    assert [d.outcome for d in call.deviations if d.field == "max_tokens"] == reported


NOW, BEFORE = "2026-10-21", "2023-06-01"
SAMPLING: list[tuple[str, dict[str, Any], dict[str, Any], str, list[tuple[str, str]]]] = [
    (NEW, {}, {}, NOW, []),
    (NEW, {"temperature": 0, "top_k": 3}, {}, NOW, [("temperature", "dropped"), ("top_k", "dropped")]),
    (OLD, {"temperature": 0.0}, {"temperature": 0.0}, BEFORE, [("temperature", "adapted")]),
    (
        "m",
        {"temperature": 1, "top_p": 0.5, "top_k": 3},
        {"temperature": 1, "top_p": 0.5, "top_k": 3},
        BEFORE,
        [("temperature", "adapted"), ("top_p", "adapted"), ("top_k", "adapted")],
    ),
    (
        OLD,
        {"temperature": 1, "top_p": 0.5},
        {"temperature": 1},
        BEFORE,
        [("top_p", "dropped"), ("temperature", "adapted")],
    ),
    (
        OLD,
        {"top_p": 0.5, "top_k": 9},
        {"top_p": 0.5, "top_k": 9},
        BEFORE,
        [("top_p", "adapted"), ("top_k", "adapted")],
    ),
    (
        BOTH,
        {"reasoning": "low", "temperature": 0.5, "top_p": 0.5, "top_k": 3},
        {},
        NOW,
        [("temperature", "dropped"), ("top_p", "dropped"), ("top_k", "dropped")],
    ),
    (BOTH, {"reasoning": "low", "top_p": 0.95}, {"top_p": 0.95}, BEFORE, [("top_p", "adapted")]),
    (BOTH, {"reasoning": "low", "temperature": 1}, {"temperature": 1}, BEFORE, [("temperature", "adapted")]),
    (
        "qwen3",
        {"reasoning": "low", "temperature": 0.5},
        {"temperature": 0.5},
        BEFORE,
        [("temperature", "adapted")],
    ),
    (BOTH, {"reasoning": "off", "temperature": 0}, {"temperature": 0}, BEFORE, [("temperature", "adapted")]),
    (NEW, {"stop": "END"}, {"stop_sequences": ["END"]}, NOW, []),
    (NEW, {"stop": ("a", "b")}, {"stop_sequences": ["a", "b"]}, NOW, []),
    (
        NEW,
        {"stop": "a", "provider_options": AnthropicOptions(stop_sequences=["b"])},
        {"stop_sequences": ["b"]},
        NOW,
        [("stop", "dropped")],
    ),
    (
        NEW,
        {"seed": 1, "presence_penalty": 1, "frequency_penalty": 1},
        {},
        NOW,
        [("seed", "dropped"), ("presence_penalty", "dropped"), ("frequency_penalty", "dropped")],
    ),
]


@pytest.mark.parametrize(("model", "options", "expected", "version", "deviations"), SAMPLING)
def test_sampling_and_stops(
    model: str,
    options: dict[str, Any],
    expected: dict[str, Any],
    version: str,
    deviations: list[tuple[str, str]],
) -> None:
    call = encode(model=model, options=options)
    names = ("temperature", "top_p", "top_k", "stop_sequences")
    assert {n: call.body[n] for n in names if n in call.body} == expected
    assert call.headers == {"anthropic-version": version}
    assert told(call) == deviations


def test_a_service_without_sampling() -> None:
    call = encode(model=OLD, quirks=AnthropicQuirks(sampling_version=None), options={"temperature": 0})
    assert told(call) == [("temperature", "dropped")]
    assert call.headers == {"anthropic-version": AnthropicQuirks().version}


@pytest.mark.parametrize("cloud", ["bedrock", "vertex"])
def test_the_clouds_versions_take_sampling(cloud: str) -> None:
    call = encode(model=OLD, quirks=QUIRKS[cloud], options={"temperature": 0, "top_k": 5})
    assert (call.body["temperature"], call.body["top_k"]) == (0, 5)
    assert told(call) == []


# -- tools ---------------------------------------------------------------------------------------------------

NAMED = {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA}
CLOCK = {
    "name": "time",
    "description": "",
    "input_schema": {"type": "object"},
    "strict": True,
    "defer_loading": True,
    "input_examples": [{}],
}
WEB = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
ALL = (WEATHER, TIME, SEARCH)
PICKED: list[tuple[dict[str, Any], list[Any] | None, Any, list[tuple[str, str]]]] = [
    ({"tools": ALL}, [NAMED, CLOCK, WEB], None, [("tools[time].parameters", "adapted")]),
    ({"tools": (WEATHER,), "tool_choice": ToolChoice()}, [NAMED], {"type": "auto"}, []),
    ({"tools": (WEATHER,), "tool_choice": ToolChoice("none")}, [NAMED], {"type": "none"}, []),
    ({"tools": (WEATHER,), "tool_choice": ToolChoice("required")}, [NAMED], {"type": "any"}, []),
    (
        {"tools": (WEATHER,), "tool_choice": ToolChoice.tool("weather")},
        [NAMED],
        {"type": "tool", "name": "weather"},
        [],
    ),
    (
        {"tools": ALL, "tool_choice": ToolChoice.allowed("weather")},
        [NAMED, WEB],
        {"type": "auto"},
        [("tool_choice", "emulated"), ("tools[time].extra", "dropped")],
    ),
    (
        {"tools": ALL, "tool_choice": ToolChoice.allowed("weather", "x", mode="required")},
        [NAMED, WEB],
        {"type": "any"},
        [("tool_choice", "emulated"), ("tools[time].extra", "dropped")],
    ),
    ({"tools": (WEATHER,), "tool_choice": ToolChoice(raw={"type": "novel"})}, [NAMED], {"type": "novel"}, []),
    ({"tool_choice": ToolChoice("required")}, None, None, [("tool_choice", "dropped")]),
    (
        {"tools": (WEATHER,), "options": {"parallel_tool_calls": False}},
        [NAMED],
        {"type": "auto", "disable_parallel_tool_use": True},
        [],
    ),
    (
        {
            "tools": (WEATHER,),
            "tool_choice": ToolChoice.tool("weather"),
            "options": {"parallel_tool_calls": True},
        },
        [NAMED],
        {"type": "tool", "name": "weather", "disable_parallel_tool_use": False},
        [],
    ),
    (
        {"tools": (WEATHER,), "tool_choice": ToolChoice("none"), "options": {"parallel_tool_calls": False}},
        [NAMED],
        {"type": "none"},
        [],
    ),
    ({"options": {"parallel_tool_calls": False}}, None, None, [("parallel_tool_calls", "dropped")]),
    (
        {
            "tools": (WEATHER,),
            "options": {
                "provider_options": AnthropicOptions(tools=[WEB], tool_choice={"type": "any"}),
                "parallel_tool_calls": False,
            },
        },
        [WEB],
        {"type": "any", "disable_parallel_tool_use": True},
        [("tools", "dropped")],
    ),
    (
        {"options": {"provider_options": AnthropicOptions(tool_choice={"type": "any"})}},
        None,
        {"type": "any"},
        [],
    ),
]


@pytest.mark.parametrize(("fields", "tools", "choice", "deviations"), PICKED)
def test_tools(
    fields: dict[str, Any], tools: list[Any] | None, choice: Any, deviations: list[tuple[str, str]]
) -> None:
    call = encode(**fields)
    assert (call.body.get("tools"), call.body.get("tool_choice")) == (tools, choice)
    assert told(call) == deviations


def test_a_schema_keeps_its_own_type() -> None:
    bare = Tool("f", "", {"properties": {"a": {}}})
    assert encode(tools=(bare,)).body["tools"][0]["input_schema"] == {
        "type": "object",
        "properties": {"a": {}},
    }
    assert bare.parameters == {"properties": {"a": {}}}


# -- output --------------------------------------------------------------------------------------------------

WORDS = "Answer with one JSON object, p (A person.), that follows this JSON Schema:\n" + '{"type":"object"}'


@pytest.mark.parametrize(
    ("model", "output", "config", "system", "outcomes"),
    [
        (NEW, JSONSchema("p", CLOSED), {"format": {"type": "json_schema", "schema": CLOSED}}, "S", []),
        (
            NEW,
            JSONSchema("p", CLOSED, strict=True),
            {"format": {"type": "json_schema", "schema": CLOSED}},
            "S",
            [],
        ),
        (
            NEW,
            JSONSchema("p", CLOSED, "A person.", strict=False),
            {"format": {"type": "json_schema", "schema": {**CLOSED, "description": "A person."}}},
            "S",
            ["adapted"],
        ),
        (
            NEW,
            JSONSchema("p", {"description": "own"}, "A person."),
            {"format": {"type": "json_schema", "schema": {"description": "own"}}},
            "S",
            [],
        ),
        (
            "claude-opus-4-0",
            JSONSchema("p", {"type": "object"}, "A person."),
            None,
            ["S", WORDS],
            ["emulated"],
        ),
        (
            "claude-opus-4-0",
            JSONSchema("p", {"type": "object"}),
            None,
            ["S", WORDS.replace(" (A person.)", "")],
            ["emulated"],
        ),
        (NEW, "json", None, ["S", "Answer with one JSON object and nothing else."], ["emulated"]),
    ],
)
def test_output(model: str, output: Any, config: Any, system: Any, outcomes: list[str]) -> None:
    call = encode(model=model, output=output, system="S")
    assert call.body.get("output_config") == config
    said = call.body["system"]
    assert (said if isinstance(said, str) else [block["text"] for block in said]) == system
    assert told(call) == [("output", outcome) for outcome in outcomes]


def test_output_and_effort_and_own_fields_share_an_object() -> None:
    own = AnthropicOptions(output_config={"effort": "xhigh", "task_budget": {"type": "tokens", "total": 9}})
    call = encode(output=JSONSchema("p", CLOSED), options={"reasoning": "low", "provider_options": own})
    assert call.body["output_config"] == {
        "format": {"type": "json_schema", "schema": CLOSED},
        "effort": "xhigh",
        "task_budget": {"type": "tokens", "total": 9},
    }
    assert encode(quirks=AnthropicQuirks(schema=False), output=JSONSchema("p", CLOSED)).body["system"]


# -- the clouds ----------------------------------------------------------------------------------------------

ARN = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-5-v1:0"
ARN_IN_PATH = ARN.replace(":", "%3A").replace("/", "%2F")
BETAS = AnthropicOptions(betas=["a", "b", "a"], user_profile_id="u", workspace_id="w")
STREAM = "application/vnd.amazon.eventstream"
WHERE: list[tuple[str, str, bool, str, dict[str, str], dict[str, Any]]] = [
    ("messages", NEW, False, "/v1/messages", {"anthropic-version": NOW}, {"model": NEW}),
    ("messages", NEW, True, "/v1/messages", {"anthropic-version": NOW}, {"model": NEW, "stream": True}),
    ("bedrock", NEW, False, f"/model/{NEW}/invoke", {}, {"anthropic_version": "bedrock-2023-05-31"}),
    (
        "bedrock",
        ARN,
        True,
        f"/model/{ARN_IN_PATH}/invoke-with-response-stream",
        {"Accept": STREAM},
        {"anthropic_version": "bedrock-2023-05-31"},
    ),
    (
        "vertex",
        "claude-opus-4@2",
        False,
        "/models/claude-opus-4@2:rawPredict",
        {},
        {"anthropic_version": "vertex-2023-10-16"},
    ),
    (
        "vertex",
        NEW,
        True,
        f"/models/{NEW}:streamRawPredict",
        {},
        {"anthropic_version": "vertex-2023-10-16", "stream": True},
    ),
]


@pytest.mark.parametrize(("cloud", "model", "stream", "path", "headers", "fields"), WHERE)
def test_where_it_goes(
    cloud: str, model: str, stream: bool, path: str, headers: dict[str, str], fields: dict[str, Any]
) -> None:
    call = encode(HI, model, QUIRKS[cloud], stream, options={"max_tokens": 9})
    assert (call.method, call.path, call.headers) == ("POST", path, headers)
    assert call.body == {**fields, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def test_flags_and_whose_request_it_is() -> None:
    options = {"provider_options": BETAS}
    flagged = AnthropicQuirks(betas=("z", "a"))
    assert encode(quirks=flagged, options=options).headers == {
        "anthropic-version": NOW,
        "anthropic-beta": "z,a,b",
        "anthropic-user-profile-id": "u",
        "anthropic-workspace-id": "w",
    }
    mantle = encode(quirks=AnthropicQuirks(profile_in_body=True), options=options)
    assert mantle.body["user_profile_id"] == "u"
    assert "anthropic-user-profile-id" not in mantle.headers
    bedrock = encode(quirks=BEDROCK_INVOKE, options=options)
    assert (bedrock.body["anthropic_beta"], bedrock.body["user_profile_id"]) == (["a", "b"], "u")
    assert bedrock.headers == {}
    assert encode(quirks=VERTEX, options=options).headers["anthropic-beta"] == "a,b"


@pytest.mark.parametrize("cloud", ["bedrock", "vertex"])
@pytest.mark.parametrize("model", ["", ".", ".."])
def test_a_name_that_a_path_would_swallow(cloud: str, model: str) -> None:
    with pytest.raises(ConfigError, match="is no model's name"):
        encode(HI, model, QUIRKS[cloud])


def test_framings() -> None:
    assert isinstance(AnthropicMessages().framing(9), SSEFraming)
    assert isinstance(AnthropicMessages(BEDROCK_INVOKE).framing(9), EventStreamFraming)


def test_answers_are_read_as_the_cloud_gives_them() -> None:
    origin = Origin("anthropic_messages", "anthropic", NEW)
    bedrock = AnthropicMessages(BEDROCK_INVOKE).decoder(origin)
    assert isinstance(bedrock, AnthropicDecoder)
    assert type(AnthropicMessages(VERTEX).decoder(origin)) is AnthropicDecoder is not type(bedrock)
    detailed = {"type": "overloaded_error", "message": "Busy", "details": {"error_code": "why"}}
    told = msgspec.json.encode({"type": "error", "error": detailed, "request_id": "req_1"})
    error = AnthropicMessages().decode_error(Reply(529, {}, told, 0))
    assert isinstance(error, OverloadedError)
    assert (error.request_id, error.code) == ("req_1", "why")


# -- own fields and handles ----------------------------------------------------------------------------------


def test_every_request_field_of_anthropic_python_can_be_said() -> None:
    beta = pytest.importorskip("anthropic.types.beta.message_create_params")
    plain = pytest.importorskip("anthropic.types.message_create_params")
    theirs = set(typing.get_type_hints(beta.MessageCreateParamsBase)) | set(
        typing.get_type_hints(plain.MessageCreateParamsBase)
    )
    assert theirs - {"model", "messages"} == set(AnthropicOptions.__struct_fields__)


def test_own_fields_win() -> None:
    own = AnthropicOptions(
        system="Own.",
        thinking={"type": "disabled"},
        metadata={"user_id": "1"},
        container={"skills": []},
        speed="fast",
    )
    fields: dict[str, Any] = {
        "system": "S",
        "extra": {"container": "c"},
        "options": {"provider_options": own, "reasoning": "low"},
    }
    body = encode(**fields).body
    assert {n: body[n] for n in ("system", "thinking", "metadata", "container", "speed")} == {
        "system": "Own.",
        "thinking": {"type": "disabled"},
        "metadata": {"user_id": "1"},
        "container": {"skills": []},
        "speed": "fast",
    }
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert encode(options={"provider_options": AnthropicOptions(system=blocks)}).body["system"] == blocks


def test_a_system_prompt_of_the_callers_own_stays_the_callers_and_is_added_to() -> None:
    marked = {"type": "text", "text": "Own.", "cache_control": {"type": "ephemeral"}}
    options = {"provider_options": AnthropicOptions(system=[marked]), "cache": CacheStrategy.off()}
    own, words = encode(options=options, output="json").body["system"]
    assert (own, "JSON" in words["text"]) == ({"type": "text", "text": "Own."}, True)
    assert "cache_control" in marked


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, "any"),
        ({"reasoning": Reasoning(budget_tokens=2000)}, "auto"),
        ({"provider_options": AnthropicOptions(thinking={"type": "enabled", "budget_tokens": 2000})}, "auto"),
        ({"provider_options": AnthropicOptions(thinking={"type": "disabled"}), "reasoning": "low"}, "any"),
    ],
)
def test_no_tool_is_forced_beside_a_budget(options: dict[str, Any], sent: str) -> None:
    call = encode(model=OLD, tools=(WEATHER,), tool_choice=ToolChoice("required"), options=options)
    assert call.body["tool_choice"] == {"type": sent}
    assert ("tool_choice" in dict(told(call))) == (sent == "auto")


WON: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "max_tokens": (7, "max_tokens", {"options": {"max_tokens": 5}}),
    "stop_sequences": (["b"], "stop", {"options": {"stop": "a"}}),
    "system": ("Own.", "system", {"system": "S"}),
    "thinking": ({"type": "disabled"}, "reasoning", {"options": {"reasoning": "low"}}),
    "tool_choice": ({"type": "any"}, "tool_choice", {"tools": (WEATHER,), "tool_choice": ToolChoice("none")}),
    "tools": ([WEB], "tools", {"tools": (WEATHER,)}),
}
"""By an own field its value, and the general option that it is sent instead of."""


@pytest.mark.parametrize("name", WON)
def test_each_own_field_that_is_sent_instead_of_an_option(name: str) -> None:
    value, option, fields = WON[name]
    own = AnthropicOptions(**{name: value})
    call = encode(**{**fields, "options": {**fields.get("options", {}), "provider_options": own}})
    assert call.body[name] == value
    assert [(d.field, d.outcome, d.reason) for d in call.deviations if d.field == option] == [
        (option, "dropped", f"AnthropicOptions({name}=…) is sent instead")
    ]


@pytest.mark.parametrize("name", ["user_profile_id", "workspace_id"])
def test_bedrock_has_no_headers_for_whose_request_it_is(name: str) -> None:
    own = {"provider_options": AnthropicOptions(**{name: "u"})}
    quirks = msgspec.structs.replace(BEDROCK_INVOKE, profile_in_body=False)
    call = encode(quirks=quirks, options=own)
    assert told(call) == [(f"provider_options.{name}", "dropped")]
    assert (name in call.body, call.headers) == (False, {})


def test_options_of_another_protocol_are_reported() -> None:
    both = (OpenAIChatOptions(), AnthropicOptions(speed="fast"))
    call = encode(options={"provider_options": both})
    assert call.body["speed"] == "fast"
    assert told(call) == [("provider_options", "dropped")]


@pytest.mark.parametrize(
    ("extra", "sent", "deviations"),
    [
        ({"container": {"id": "c", "expires_at": "2026-12-01T00:00:00Z", "skills": []}}, "c", []),
        ({"container": {"id": "c", "skills": [1]}}, {"id": "c", "skills": [1]}, []),
        ({"container": "c", "origin": Origin("anthropic_messages", "anthropic", "other")}, "c", []),
        ({"container": "c", "origin": {"protocol": "anthropic_messages", "provider": "anthropic"}}, "c", []),
        (
            {"container": "c", "origin": Origin("anthropic_messages", "vertex")},
            None,
            [("extra", "dropped")],
        ),
        ({"container": None}, None, []),
        ({"previous_response_id": "r"}, None, [("extra", "dropped")]),
    ],
)
def test_containers(extra: dict[str, Any], sent: Any, deviations: list[tuple[str, str]]) -> None:
    call = encode(extra=extra)
    assert call.body.get("container") == sent
    assert told(call) == deviations


# -- counting and listing ------------------------------------------------------------------------------------


def count(quirks: AnthropicQuirks | None = None, **fields: Any) -> Call:
    origin = Origin("anthropic_messages", "anthropic", NEW)
    return count_known(AnthropicMessages(quirks), Request(HI, NEW, **fields), origin)


COUNTED = {"model": NEW, "system": "S", "messages": [{"role": "user", "content": "Hi"}], "thinking": THINK}


def test_counting() -> None:
    own = AnthropicOptions(betas=["b"], service_tier="auto")
    asked: dict[str, Any] = {
        "system": "S",
        "options": Options(reasoning=Reasoning(), temperature=1, provider_options=own),
    }
    call = count(**asked)
    assert (call.path, call.body) == ("/v1/messages/count_tokens", COUNTED)
    assert call.headers == {"anthropic-version": NOW, "anthropic-beta": "b"}
    assert call.deviations == ()
    vertex = count(VERTEX, **asked)
    assert vertex.path == "/models/count-tokens:rawPredict"
    assert vertex.body == {**COUNTED, "anthropic_version": "vertex-2023-10-16"}
    bedrock = count(BEDROCK_INVOKE, system="S")
    assert bedrock.path == f"/model/{NEW}/count-tokens"
    assert msgspec.json.decode(base64.b64decode(bedrock.body["input"]["invokeModel"]["body"])) == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 32000,
        "system": "S",
        "messages": [{"role": "user", "content": "Hi"}],
    }
    with pytest.raises(UnsupportedError, match="no call that counts"):
        count(AnthropicQuirks(counting=False))


COUNTED_FIELDS: dict[str, Any] = {
    "billing_policy": {"type": "x"},
    "cache_control": {"type": "ephemeral"},
    "compaction": {"type": "x"},
    "context_management": {"edits": []},
    "mcp_servers": [{"type": "url", "url": "https://a.example/", "name": "a"}],
    "output_config": {"effort": "low"},
    "speed": "fast",
    "system": "Be brief.",
    "thinking": {"type": "disabled"},
    "tool_choice": {"type": "any"},
    "tools": [WEB],
    "user_profile_id": "u",
}
"""The fields of the reference of `POST /v1/messages/count_tokens`, but for those that every count has."""


@pytest.mark.parametrize("name", sorted({*AnthropicOptions.__struct_fields__} - {"betas", "workspace_id"}))
def test_each_field_that_is_counted_is_sent_to_be_counted(name: str) -> None:
    value = COUNTED_FIELDS.get(
        name, ["x"] if name == "stop_sequences" else 1 if name == "max_tokens" else "x"
    )
    if name not in COUNTED_FIELDS and isinstance(value, str):
        with contextlib.suppress(TypeError):
            AnthropicOptions(**{name: {}})
            value = {}
    own = Options(provider_options=AnthropicOptions(**{name: value}))
    asked = encode(quirks=AnthropicQuirks(profile_in_body=True), options=own)
    counted = count(AnthropicQuirks(profile_in_body=True), options=own)
    assert (asked.body[name], "anthropic-beta" in asked.headers) == (value, False)
    assert counted.body.keys() == {"model", "messages"} | ({name} & COUNTED_FIELDS.keys())
    assert name not in COUNTED_FIELDS or counted.body[name] == value


@pytest.mark.parametrize(
    "option",
    [
        {"max_tokens": 5},
        {"temperature": 1},
        {"top_p": 0.5},
        {"top_k": 3},
        {"stop": "END"},
        {"seed": 1},
        {"presence_penalty": 1},
        {"frequency_penalty": 1},
    ],
)
def test_an_option_that_changes_no_count_is_not_reported(option: dict[str, Any]) -> None:
    call = count(options=Options(**option))
    assert (call.body.keys(), call.deviations) == ({"model", "messages"}, ())


def test_every_counted_field_of_anthropic_python_is_known() -> None:
    beta = pytest.importorskip("anthropic.types.beta.message_count_tokens_params")
    theirs = set(typing.get_type_hints(beta.MessageCountTokensParams))
    assert theirs - {"model", "messages", "betas", "workspace_id"} == COUNTED_FIELDS.keys()


COUNTS = frozenset(
    (
        *("billing_policy", "cache_control", "compaction", "context_management", "mcp_servers", "messages"),
        *("model", "output_config", "speed", "system", "thinking", "tool_choice", "tools", "user_profile_id"),
    )
)
"""What the API reference of "Count tokens in a Message" has in the body."""


def own_field(name: str) -> AnthropicOptions:
    """The options that have one field, of its type."""
    for value in ("x", 1, {"type": "auto"}, [{"name": "t"}], ["x"]):
        try:
            return AnthropicOptions(**{name: value})
        except TypeError:
            continue
    raise AssertionError(name)


@pytest.mark.parametrize("name", AnthropicOptions.__struct_fields__)
def test_a_field_is_counted_where_the_api_counts_it(name: str) -> None:
    options = Options(provider_options=own_field(name))
    body = encode(quirks=AnthropicQuirks(profile_in_body=True), options=options).body
    call = count(AnthropicQuirks(profile_in_body=True), options=options)
    assert call.body.keys() == body.keys() & COUNTS
    assert (name in body) == (name not in ("betas", "workspace_id"))


def test_what_is_counted_is_what_the_anthropic_package_counts() -> None:
    kinds = pytest.importorskip("anthropic.types.beta.message_count_tokens_params")
    headers = {"betas", "workspace_id"}
    assert set(kinds.MessageCountTokensParams.__annotations__) - headers == COUNTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 5),
        ("temperature", 1.0),
        ("top_p", 0.5),
        ("top_k", 5),
        ("stop", "x"),
        ("seed", 1),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
    ],
)
def test_what_makes_no_token_is_not_reported_by_a_count(name: str, value: Any) -> None:
    call = count(options=Options(**{name: value}))
    assert call.deviations == ()
    assert call.body.keys() <= COUNTS


@pytest.mark.parametrize(
    ("own", "given", "general"),
    [
        ({"max_tokens": 7}, {"options": {"max_tokens": 5}}, "max_tokens"),
        ({"stop_sequences": ["y"]}, {"options": {"stop": "x"}}, "stop"),
        ({"system": "T"}, {"system": "S"}, "system"),
        ({"thinking": {"type": "adaptive"}}, {"options": {"reasoning": "high"}}, "reasoning"),
        (
            {"tool_choice": {"type": "any"}},
            {"tools": (WEATHER,), "tool_choice": ToolChoice("auto")},
            "tool_choice",
        ),
        ({"tools": [{"name": "t"}]}, {"tools": (WEATHER,)}, "tools"),
    ],
)
def test_an_own_field_is_sent_instead_of_a_general_option(
    own: dict[str, Any], given: dict[str, Any], general: str
) -> None:
    options = {**given.get("options", {}), "provider_options": AnthropicOptions(**own)}
    call = encode(**{**given, "options": options})
    ((name, value),) = own.items()
    assert call.body[name] == value
    assert [(d.field, d.outcome, d.reason) for d in call.deviations if d.field == general] == [
        (general, "dropped", f"AnthropicOptions({name}=…) is sent instead")
    ]


@pytest.mark.parametrize(
    ("quirks", "headers", "in_body", "reported"),
    [
        (
            AnthropicQuirks(),
            {"anthropic-user-profile-id": "p", "anthropic-workspace-id": "w"},
            {},
            [],
        ),
        (
            AnthropicQuirks(profile_in_body=True),
            {"anthropic-workspace-id": "w"},
            {"user_profile_id": "p"},
            [],
        ),
        (
            BEDROCK_INVOKE,
            {},
            {"user_profile_id": "p"},
            [("provider_options.workspace_id", "dropped", "this service has no such header")],
        ),
    ],
)
def test_which_own_fields_are_headers(
    quirks: AnthropicQuirks, headers: dict[str, str], in_body: dict[str, str], reported: list[Any]
) -> None:
    own = AnthropicOptions(user_profile_id="p", workspace_id="w")
    call = encode(quirks=quirks, options={"provider_options": own, "max_tokens": 5})
    assert {k: v for k, v in call.headers.items() if k.endswith("-id")} == headers
    assert {k: v for k, v in call.body.items() if k.endswith("_id")} == in_body
    assert [(d.field, d.outcome, d.reason) for d in call.deviations] == reported


LISTS: dict[str, tuple[AnthropicQuirks, str, dict[str, str], dict[str, str], bytes]] = {
    "pages": (
        AnthropicQuirks(),
        "/v1/models",
        {"limit": "1000"},
        {"limit": "1000", "after_id": "c"},
        b'{"data": [{"id": "m"}]}',
    ),
    "whole": (
        AnthropicQuirks(listing="whole"),
        "/v1/models",
        {},
        {"after_id": "c"},
        b'{"data": [{"id": "m"}]}',
    ),
    "publishers": (
        VERTEX,
        "/models",
        {"pageSize": "1000"},
        {"pageSize": "1000", "pageToken": "c"},
        b'{"publisherModels": [{"name": "publishers/anthropic/models/m"}]}',
    ),
    "foundation": (
        BEDROCK_INVOKE,
        "/foundation-models",
        {},
        {"maxResults": "1000", "nextToken": "c"},
        b'{"modelSummaries": [{"modelId": "m"}]}',
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_each_cloud_has_its_own_list(name: str) -> None:
    quirks, path, first, later, page = LISTS[name]
    protocol = AnthropicMessages(quirks)
    call, following = protocol.models_call(None), protocol.models_call("c")
    assert (call.method, call.path, call.query) == ("GET", path, first)
    assert (following.method, following.query) == ("GET", later)
    ([model], _) = protocol.decode_models(page, "p")
    assert (model.id, model.provider) == ("m", "p")
    one = protocol.model_call("a/b")
    assert (one is None) == (name != "pages")
    if one is not None:
        assert (one.method, one.path, one.headers) == (
            "GET",
            "/v1/models/a%2Fb",
            {"anthropic-version": quirks.version},
        )
        assert call.headers == one.headers


def test_the_count() -> None:
    read = AnthropicMessages().decode_count
    assert read(b'{"input_tokens": 7, "context_management": {}}').input_tokens == 7
    assert read(b'{"inputTokens": 8}').input_tokens == 8
    for body in (b"{}", b"[]", b"<html>", b'{"input_tokens": "7"}'):
        with pytest.raises(ProtocolError, match=r"no count of input tokens|the count of tokens is not"):
            read(body)


def test_every_recorded_count_is_read() -> None:
    hosts = ("api.anthropic.com", "bedrock-runtime.us-east-1.amazonaws.com")
    bodies = [r for r in records("count_tokens") if r.host in hosts and r.status == 200]
    assert len(bodies) == 12
    for record in bodies:
        body = msgspec.json.decode(record.data)
        found = AnthropicMessages().decode_count(record.data)
        assert found.input_tokens == body.get("input_tokens", body.get("inputTokens"))


ENTRY: dict[str, Any] = {
    "type": "model",
    "id": "claude-opus-5",
    "display_name": "Claude Opus 5",
    "created_at": "2026-07-01T00:00:00Z",
    "max_input_tokens": 1_000_000,
    "max_tokens": 128_000,
    "lifecycle": "active",
    "capabilities": {
        "batch": {"supported": True},
        "citations": {"supported": False},
        "effort": {"supported": True, "high": {"supported": True}, "xhigh": None},
        "thinking": {
            "supported": True,
            "types": {"adaptive": {"supported": True}, "enabled": {"supported": False}},
        },
    },
}


def test_listing() -> None:
    protocol = AnthropicMessages()
    first = protocol.models_call(None)
    assert (first.method, first.path, first.query) == ("GET", "/v1/models", {"limit": "1000"})
    assert first.headers == {"anthropic-version": NOW}
    assert protocol.models_call("m9").query == {"limit": "1000", "after_id": "m9"}
    page = msgspec.json.encode(
        {"data": [ENTRY, {"no": "id"}, "odd"], "has_more": True, "last_id": "claude-opus-5"}
    )
    models, after = protocol.decode_models(page, "anthropic")
    assert after == "claude-opus-5"
    assert models == [
        Model(
            "claude-opus-5",
            "anthropic",
            "Claude Opus 5",
            None,
            1_782_864_000,
            1_000_000,
            128_000,
            ("reasoning",),
            ENTRY,
            "active",
        )
    ]
    with pytest.raises(UnsupportedError, match="lists no models"):
        AnthropicMessages(AnthropicQuirks(listing=None)).models_call(None)


def test_every_field_of_a_listed_model() -> None:
    entry = {
        **ENTRY,
        "owned_by": "anthropic",
        "lifecycle": "deprecated",
        "deprecated_at": "2026-02-01T00:00:00Z",
        "retires_at": "2026-03-01T00:00:00Z",
    }
    model = Model(
        "claude-opus-5",
        "p",
        "Claude Opus 5",
        "anthropic",
        1_782_864_000,
        1_000_000,
        128_000,
        ("reasoning",),
        entry,
        "deprecated",
        deprecated=date(2026, 2, 1),
        retires=date(2026, 3, 1),
    )
    assert AnthropicMessages().decode_model(msgspec.json.encode(entry), "p") == model
    bare = AnthropicMessages().decode_model(b'{"id": "m", "capabilities": 3}', "p")
    assert bare == Model("m", "p", raw={"id": "m", "capabilities": 3})
    with pytest.raises(ProtocolError, match="the body is no model") as caught:
        AnthropicMessages().decode_model(b'{"id": ""}', "p")
    assert caught.value.provider == "p"


@pytest.mark.parametrize(
    ("listing", "pages", "one"),
    [
        ("pages", ("/v1/models", {"limit": "1000", "after_id": "c"}), "/v1/models/m%2F1"),
        ("whole", ("/v1/models", {"after_id": "c"}), None),
        ("publishers", None, None),
        ("foundation", ("/inference-profiles", {"maxResults": "1000", "nextToken": "c"}), None),
        (None, None, None),
    ],
)
def test_where_models_are_listed(
    listing: Any, pages: tuple[str, dict[str, str]] | None, one: str | None
) -> None:
    protocol = AnthropicMessages(AnthropicQuirks(listing=listing))
    if pages is not None:
        call = protocol.models_call("c")
        assert (call.method, call.path, call.query) == ("GET", *pages)
        assert call.headers == ({} if listing == "foundation" else {"anthropic-version": NOW})
    shown = protocol.model_call("m/1")
    assert (None if shown is None else (shown.method, shown.path, shown.headers)) == (
        None if one is None else ("GET", one, {"anthropic-version": NOW})
    )


@pytest.mark.parametrize(
    ("fields", "created"),
    [
        ({"created_at": "1970-01-01T00:00:00Z"}, None),
        ({"created_at": "2026-07-01T00:00:00"}, 1_782_864_000),
        ({"created_at": "lately"}, None),
        ({"created": 5}, 5),
        ({"created": "5"}, None),
    ],
)
def test_when_a_model_came_out(fields: dict[str, Any], created: int | None) -> None:
    page = msgspec.json.encode({"data": [{"id": "m", **fields}]})
    models, after = AnthropicMessages().decode_models(page, "p")
    assert (models[0].created, models[0].capabilities, after) == (created, None, None)


@pytest.mark.parametrize(
    "end", [{"has_more": True}, {"has_more": False, "last_id": "m"}, {"has_more": True, "last_id": 5}]
)
def test_the_last_page(end: dict[str, Any]) -> None:
    page = msgspec.json.encode({"data": [{"id": "m"}], **end})
    assert AnthropicMessages().decode_models(page, "p")[1] is None


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"data": {}}'])
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a list of models") as caught:
        AnthropicMessages().decode_models(body, "p")
    assert caught.value.provider == "p"
