"""What a model or service refuses is settled before anything is sent: the body, the report, and what strict refuses.

Each line is a request that a service refused, or a default that kept it from being useful. Where the rule comes from
is stated in the table: `providers/models.py` for models, `protocols/base/dialects.py` for schemas.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from test_strict import refused

from brainwires_provider import (
    AsyncClient,
    CacheStrategy,
    ConfigError,
    FilePart,
    ImagePart,
    JSONSchema,
    Message,
    OpenAIChatOptions,
    Options,
    Origin,
    PreparedRequest,
    ProviderConfig,
    Reasoning,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UnsupportedError,
)
from brainwires_provider.protocols.base.claude import (
    ClaudeSettings,
    check_end,
    output_in_words,
    strict_parameters,
)
from brainwires_provider.protocols.base.dialects import CLAUDE, DIALECTS, conform, holds_json_word
from brainwires_provider.protocols.base.facts import (
    UNKNOWN,
    ModelFacts,
    check_media,
    media_kind,
    nearest_effort,
)
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.openai_chat import OpenAIChat
from brainwires_provider.providers.facts import facts_of
from brainwires_provider.providers.models import FAMILIES

TOOL = Tool(
    "weather", "Tells the weather.", {"type": "object", "properties": {}, "additionalProperties": False}
)
TIME = Tool("time", "Tells the time.", {"type": "object"})
FORCED: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required"}
CONFIGS = [
    ProviderConfig("bedrock", region="us-east-1"),
    *(
        ProviderConfig(n, api_key="k")
        for n in ("openai-chat", "openai-responses", "google", "groq", "deepseek", "deepseek-responses")
    ),
    *(ProviderConfig(n, api_key="k") for n in ("alibaba", "moonshot", "zai", "xai", "mistral", "perplexity")),
    *(ProviderConfig(n, api_key="k") for n in ("anthropic", "openrouter")),
]


def prepared(model: str, args: dict[str, Any], *, strict: bool = False) -> PreparedRequest:
    return AsyncClient(providers=CONFIGS).prepare("Hi", model=model, strict=strict, **args)


def check(model: str, args: dict[str, Any], body: dict[str, Any], report: dict[str, str]) -> None:
    """`body` are members of the request; None: it has no such member. `report` is outcome by field."""
    done = prepared(model, args)
    sent = json.loads(done.body)
    assert {name: member(sent, name) for name in body} == body
    assert {d.field: d.outcome for d in done.report.deviations} == report
    if named := refused(done.report.deviations):
        with pytest.raises(UnsupportedError, match=re.escape(min(named))):
            prepared(model, args, strict=True)
    else:
        assert prepared(model, args, strict=True).body == done.body


def member(body: Any, path: str) -> Any:
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


# -- A: models -----------------------------------------------------------------------------------------------

LEVEL = "generationConfig.thinkingConfig.thinkingLevel"
BUDGET = "generationConfig.thinkingConfig.thinkingBudget"
EFFORTS: list[tuple[str, Any, dict[str, Any], str | None]] = [
    ("google:gemini-3-pro-preview", "off", {LEVEL: "LOW"}, "adapted"),
    ("google:gemini-3-pro-preview", "medium", {LEVEL: "HIGH"}, "adapted"),
    ("google:gemini-3.1-pro-preview", "medium", {LEVEL: "MEDIUM"}, None),
    ("google:gemini-3.7-flash", "minimal", {LEVEL: "LOW"}, "adapted"),
    ("google:gemini-3.8-flash", "off", {LEVEL: "LOW"}, "adapted"),
    ("google:gemini-3.5-flash", "minimal", {LEVEL: "MINIMAL"}, None),
    ("google:gemini-flash-latest", "off", {LEVEL: "LOW"}, "adapted"),
    ("google:gemini-pro-latest", "max", {LEVEL: "HIGH"}, "adapted"),
    ("google:gemini-2.5-pro", "off", {BUDGET: 128}, "adapted"),
    ("google:gemini-2.5-flash", "off", {BUDGET: 0}, None),
    ("google:gemini-2.0-flash", "high", {"generationConfig": None}, "dropped"),
    ("google:gemini-2.0-flash", "off", {"generationConfig": None}, None),
    ("bedrock:us.amazon.nova-pro-v1:0", "high", {"additionalModelRequestFields": None}, "dropped"),
    ("bedrock:us.amazon.nova-pro-v1:0", "off", {"additionalModelRequestFields": None}, None),
    ("openai-chat:gpt-4o", "high", {"reasoning_effort": None}, "dropped"),
    ("openai-chat:gpt-4o", "off", {"reasoning_effort": None}, None),
    ("openai-chat:gpt-5", "off", {"reasoning_effort": "minimal"}, "adapted"),
    ("openai-chat:gpt-5", "max", {"reasoning_effort": "high"}, "adapted"),
    ("openai-chat:gpt-5-pro", "low", {"reasoning_effort": "high"}, "adapted"),
    ("openai-chat:gpt-5.1", "off", {"reasoning_effort": "none"}, None),
    ("openai-chat:gpt-5.1", "minimal", {"reasoning_effort": "low"}, "adapted"),
    ("openai-chat:gpt-5.2", "max", {"reasoning_effort": "xhigh"}, "adapted"),
    ("openai-responses:gpt-5.6-terra", "max", {"reasoning.effort": "max"}, None),
    ("openai-responses:gpt-6-astra", "off", {"reasoning.effort": "low"}, "adapted"),
    ("openai-responses:o4-mini", "minimal", {"reasoning.effort": "low"}, "adapted"),
    ("openai-responses:gpt-4.1", "low", {"reasoning": None}, "dropped"),
    ("xai:grok-4.5", "off", {"reasoning.effort": "low"}, "adapted"),
    ("xai:grok-4.3", "off", {"reasoning.effort": "none"}, None),
    ("xai:grok-3-mini", "medium", {"reasoning.effort": "high"}, "adapted"),
    ("xai:grok-4-0709", "low", {"reasoning": None}, "dropped"),
    ("xai:grok-4.5", "max", {"reasoning.effort": "high"}, "adapted"),
    ("xai:grok-4.6", "max", {"reasoning.effort": "xhigh"}, "adapted"),
    ("xai:grok-4.6", "off", {"reasoning.effort": "low"}, "adapted"),
    ("xai:grok-4.20-0309-reasoning", "max", {"reasoning": None}, "dropped"),
    ("xai:grok-latest", "max", {"reasoning.effort": "xhigh"}, "adapted"),
    ("groq:qwen/qwen3-32b", "high", {"reasoning_effort": "default"}, "adapted"),
    ("groq:qwen/qwen3-32b", "off", {"reasoning_effort": "none"}, None),
    ("groq:openai/gpt-oss-120b", "max", {"reasoning_effort": "high"}, "adapted"),
    ("groq:llama-3.3-70b-versatile", "low", {"reasoning_effort": None}, "dropped"),
    ("ollama:deepseek-v4", "max", {"think": "max"}, None),
    ("ollama:deepseek-v4", "minimal", {"think": "low"}, "adapted"),
    ("ollama:gpt-oss:20b", "max", {"think": "high"}, "adapted"),
    ("ollama:gpt-oss:20b", "off", {"think": "low"}, "adapted"),
]


@pytest.mark.parametrize(("model", "effort", "body", "outcome"), EFFORTS)
def test_an_effort_is_one_that_the_model_takes(
    model: str, effort: str, body: dict[str, Any], outcome: str | None
) -> None:
    check(model, {"reasoning": effort}, body, {} if outcome is None else {"reasoning": outcome})


@pytest.mark.parametrize(
    "model",
    ["openai-chat:m", "openai-responses:m", "google:m", "bedrock:m", "ollama:m", "zai:m", "openrouter:m"],
)
def test_an_effort_that_does_not_exist_is_refused_with_the_nearest(model: str) -> None:
    with pytest.raises(ValueError, match='did you mean "high"'):
        prepared(model, {"reasoning": "hgih"})


SAMPLED = {"temperature": 0.2, "top_p": 0.5}
NO_SAMPLING: dict[str, Any] = {"temperature": None, "top_p": None}
LOST = {"temperature": "dropped", "top_p": "dropped"}
PENALIZED: dict[str, Any] = {"presence_penalty": 1, "frequency_penalty": 1, "stop": "x"}
UNPENALIZED: dict[str, Any] = {"presence_penalty": None, "frequency_penalty": None, "stop": None}
PENALTIES_LOST = {"presence_penalty": "dropped", "frequency_penalty": "dropped"}
ALL_LOST = {**PENALTIES_LOST, "stop": "dropped"}
SAMPLING: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = [
    ("openai-chat:o3", SAMPLED, NO_SAMPLING, LOST),
    ("openai-chat:gpt-5-mini", SAMPLED, NO_SAMPLING, LOST),
    ("openai-chat:gpt-5", {"presence_penalty": 1, "stop": "x"}, {"stop": None, "presence_penalty": None},
     {"presence_penalty": "dropped", "stop": "dropped"}),
    ("openai-chat:gpt-5-chat-latest", SAMPLED, SAMPLED, {}),
    ("openai-chat:gpt-4o-search-preview", SAMPLED, NO_SAMPLING, LOST),
    ("openai-chat:gpt-4o", SAMPLED, SAMPLED, {}),
    ("openai-chat:gpt-35-turbo", SAMPLED, SAMPLED, {}),
    ("openai-chat:gpt-5.1", SAMPLED, SAMPLED, {}),
    ("openai-chat:gpt-5.1", {**SAMPLED, "reasoning": "low"}, {**NO_SAMPLING, "reasoning_effort": "low"}, LOST),
    ("openai-responses:gpt-5.5", {**SAMPLED, "reasoning": "off"}, SAMPLED, {}),
    ("openai-responses:gpt-6", SAMPLED, NO_SAMPLING, LOST),
    ("openai-responses:o3-mini", {"parallel_tool_calls": True, "tools": [TOOL]}, {"parallel_tool_calls": None},
     {"parallel_tool_calls": "dropped"}),
    ("openai-responses:gpt-5.1-codex", SAMPLED, NO_SAMPLING, LOST),
    ("openai-responses:gpt-5.2-codex", SAMPLED, NO_SAMPLING, LOST),
    ("openai-responses:gpt-5.2-pro", SAMPLED, NO_SAMPLING, LOST),
    ("openai-responses:gpt-5.2", SAMPLED, SAMPLED, {}),
    ("openai-responses:gpt-5.4", {**SAMPLED, "reasoning": "low"}, {**NO_SAMPLING, "reasoning.effort": "low"}, LOST),
    ("openai-responses:gpt-5.4", {**SAMPLED, "reasoning": "off"}, {**SAMPLED, "reasoning.effort": "none"}, {}),
    ("openai-chat:grok-4.3", PENALIZED, UNPENALIZED, ALL_LOST),
    ("openai-chat:grok-3-mini", PENALIZED, UNPENALIZED, ALL_LOST),
    ("openai-chat:grok-4.20-0309-non-reasoning", PENALIZED, {**UNPENALIZED, "stop": "x"}, PENALTIES_LOST),
    ("openai-chat:grok-3", PENALIZED, PENALIZED, {}),
    ("moonshot:kimi-k2.6", SAMPLED, NO_SAMPLING, LOST),
    ("moonshot:kimi-k3", SAMPLED, SAMPLED, {}),
    ("bedrock:us.amazon.nova-2-lite-v1:0", {**SAMPLED, "max_tokens": 9, "reasoning": "high"},
     {"inferenceConfig": None}, {**LOST, "max_tokens": "dropped"}),
    ("bedrock:us.amazon.nova-2-lite-v1:0", {"max_tokens": 9, "reasoning": "low"},
     {"inferenceConfig.maxTokens": 9}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "args", "body", "report"), SAMPLING)
def test_an_option_is_sent_only_where_the_model_takes_it(
    model: str, args: dict[str, Any], body: dict[str, Any], report: dict[str, str]
) -> None:
    check(model, args, body, report)


STRICT = Tool(TOOL.name, TOOL.description, TOOL.parameters, strict=True)
ON_BEDROCK = (
    ("claude-sonnet-4-5-20250929-v1:0", True),
    ("claude-opus-4-7", False),
    ("claude-opus-4-8", False),
    ("claude-sonnet-5", False),
    ("claude-opus-5", True),
    ("claude-opus-5-5", False),
    ("claude-fable-5", True),
    ("claude-fable-5-1", False),
)


@pytest.mark.parametrize(("name", "takes"), ON_BEDROCK)
def test_a_strict_tool_on_bedrock(name: str, takes: bool) -> None:
    places = {"bedrock": ("toolConfig", "tools", 0, "toolSpec"), "bedrock-invoke": ("tools", 0)}
    for provider, place in places.items():
        config = ProviderConfig(provider, region="us-east-1")
        done = AsyncClient(providers=[config]).prepare(
            "Hi", model=f"{provider}:us.anthropic.{name}", tools=[STRICT]
        )
        tool = json.loads(done.body)
        for step in place:
            tool = tool[step]
        assert tool.get("strict") is (True if takes else None)
        lost = [each.field for each in done.report.dropped]
        assert lost == ([] if takes else ["tools[weather].strict"])
    assert json.loads(prepared(f"anthropic:{name.partition('-2025')[0]}", {"tools": [STRICT]}).body)["tools"][
        0
    ]["strict"]


SELF = {"type": "object", "properties": {"me": {"$ref": "#"}}, "additionalProperties": False}
MAP = {
    "type": "object",
    "properties": {"more": {"type": "object", "additionalProperties": {"type": "number"}}},
}
UNSTRICT = ((SELF, "a strict schema cannot refer to itself"), (MAP, "an object of any members"))


@pytest.mark.parametrize(("schema", "words"), UNSTRICT)
@pytest.mark.parametrize(
    "model", ["anthropic:claude-sonnet-4-5", "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"]
)
def test_why_a_tool_is_not_strict(model: str, schema: dict[str, Any], words: str) -> None:
    configs = [ProviderConfig("bedrock", region="us-east-1"), ProviderConfig("anthropic", api_key="k")]
    given = Tool("t", "d", schema, strict=True)
    done = AsyncClient(providers=configs).prepare("Hi", model=model, tools=[given])
    (dropped,) = done.report.dropped
    assert dropped.field == "tools[t].strict" and words in dropped.reason


WAV, PDF = (
    FilePart(data=b"RIFF", media_type="audio/wav"),
    FilePart(data=b"%PDF", media_type="application/pdf"),
)
CSV, VIDEO = (
    FilePart(data=b"a,b", media_type="text/csv"),
    FilePart(url="https://a.test/v", media_type="video/mp4"),
)
PNG = ImagePart(data=b"\x89PNG\r\n\x1a\n", media_type="image/png")
MEDIA = {"image": PNG, "audio": WAV, "video": VIDEO, "document": PDF}


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("deepseek:deepseek-v4-pro", ("image", "audio", "video", "document")),
        ("deepseek:deepseek-flash", ("audio", "video", "document")),
        ("deepseek:deepseek-chat", ("audio", "video", "document")),
        ("deepseek-responses:deepseek-flash", ("audio", "video", "document")),
        ("openai-chat:o3-mini", ("image", "audio", "video")),
        ("openai-chat:o3", ()),
        ("groq:openai/gpt-oss-120b", ("image", "audio", "video")),
        ("bedrock:us.amazon.nova-micro-v1:0", ("image", "audio", "video")),
        ("bedrock:us.amazon.nova-lite-v1:0", ()),
    ],
)
def test_media_that_a_model_does_not_read_are_refused(model: str, refused: tuple[str, ...]) -> None:
    name = model.partition(":")[2]
    assert facts_of(name, model.partition(":")[0]).refused_media == refused
    client = AsyncClient(providers=CONFIGS)
    shown = ToolCallPart("call_1", "weather", "{}")
    for kind in refused:
        for message in (
            Message.user("See:", MEDIA[kind]),
            Message("tool", (ToolResultPart("c", (MEDIA[kind],)),)),
        ):
            with pytest.raises(
                UnsupportedError, match=rf"{re.escape(name)} reads no {kind}; .*refused_media"
            ):
                client.prepare([Message.user("Hi"), Message.assistant(shown), message], model=model)
    if refused:
        assert b"a,b" in client.prepare(Message.user("See:", CSV), model=model).body.replace(b"YSxi", b"a,b")
        rules: dict[str, Any] = {name: {"refused_media": []}}
        assert facts_of(name, rules=rules).refused_media == ()


SONNET_5 = "bedrock:us.anthropic.claude-sonnet-5"
SONNET_45 = "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"
THINKING = "additionalModelRequestFields.thinking"
ON_CONVERSE: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = [
    (SONNET_5, SAMPLED, {"inferenceConfig": None}, LOST),
    (SONNET_45, SAMPLED, {"inferenceConfig": {"temperature": 0.2}}, {"top_p": "dropped"}),
    (SONNET_5, {"reasoning": Reasoning(budget_tokens=2000)}, {THINKING: {"type": "adaptive"}},
     {"reasoning": "dropped"}),
    (SONNET_5, {"reasoning": Reasoning(summary="auto")},
     {THINKING: {"type": "adaptive", "display": "summarized"}}, {}),
    (SONNET_5, {"output": JSONSchema("p", TOOL.parameters)}, {"outputConfig": None}, {"output": "emulated"}),
    ("bedrock:anthropic.claude-3-7-sonnet-20250219-v1:0", {"output": JSONSchema("p", TOOL.parameters)},
     {"outputConfig": None}, {"output": "emulated"}),
    ("bedrock:us.anthropic.claude-fable-5-1", FORCED, {"toolConfig.toolChoice": {"auto": {}}},
     {"tool_choice": "adapted"}),
    (SONNET_45, {**FORCED, "reasoning": Reasoning(budget_tokens=2000)}, {"toolConfig.toolChoice": {"auto": {}}},
     {"tool_choice": "adapted"}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "args", "body", "report"), ON_CONVERSE)
def test_claude_on_converse(
    model: str, args: dict[str, Any], body: dict[str, Any], report: dict[str, str]
) -> None:
    check(model, args, body, report)


BUDGETS, ADAPTIVE = {"adaptive": False}, {"budgets": False}
CUT = "the budget of this effort is cut to {} tokens, which have room"
AS_BUDGET = "this model takes no effort but a budget: {} tokens"
CLAUDE_THINKS: list[tuple[dict[str, Any], Any, int | None, Any, Any, list[tuple[str, str]]]] = [
    ({}, None, None, None, None, []),
    ({**BUDGETS, **ADAPTIVE}, "low", None, None, None,
     [("dropped", "this model does not think before it answers")]),
    ({**BUDGETS, **ADAPTIVE}, "off", None, None, None, []),
    ({}, "off", None, {"type": "disabled"}, None, []),
    ({}, Reasoning("off", summary="concise"), None, {"type": "disabled"}, None, []),
    ({"thinking_off": None}, "off", None, None, None, [("dropped", "this model always thinks")]),
    ({"thinking_off": "between_tools"}, "off", None, {"type": "between_tools"}, None,
     [("weakened", "this model still writes a little between its tool calls")]),
    ({}, "low", None, {"type": "adaptive"}, "low", []),
    ({}, Reasoning(summary="auto"), None, {"type": "adaptive", "display": "summarized"}, None, []),
    ({}, Reasoning("high", summary="detailed"), None, {"type": "adaptive", "display": "summarized"}, "high",
     [("weakened", "summaries have no sizes here")]),
    ({}, "minimal", None, {"type": "adaptive"}, "low", [("weakened", "the lowest effort here is low")]),
    ({}, Reasoning("high", 5), None, {"type": "enabled", "budget_tokens": 5}, "high", []),
    (ADAPTIVE, Reasoning("high", 5), None, {"type": "adaptive"}, "high",
     [("dropped", "this model takes no budget: it decides itself how much it thinks")]),
    (ADAPTIVE, "max", 5, {"type": "adaptive"}, "max", []),
    (BUDGETS, Reasoning(budget_tokens=5), 5, {"type": "enabled", "budget_tokens": 5}, None, []),
    (BUDGETS, Reasoning("high", 5), None, {"type": "enabled", "budget_tokens": 5}, None,
     [("weakened", "this model takes a budget or an effort: the budget is sent")]),
    *(
        (BUDGETS, effort, None, {"type": "enabled", "budget_tokens": budget}, None,
         [("adapted", AS_BUDGET.format(budget))])
        for effort, budget in {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "max": 32768}.items()
    ),
    (BUDGETS, Reasoning(summary="auto"), None, {"type": "enabled", "budget_tokens": 8192, "display": "summarized"},
     None, [("adapted", AS_BUDGET.format(8192))]),
    (BUDGETS, "low", 1024, None, None, [("dropped", "max_tokens leaves no room for 1024 tokens of thinking")]),
    (BUDGETS, "low", 1025, {"type": "enabled", "budget_tokens": 1024}, None, [("weakened", CUT.format(1024))]),
    (BUDGETS, "low", 2048, {"type": "enabled", "budget_tokens": 2047}, None, [("weakened", CUT.format(2047))]),
    (BUDGETS, "low", 2049, {"type": "enabled", "budget_tokens": 2048}, None,
     [("adapted", AS_BUDGET.format(2048))]),
    ({**BUDGETS, "max_output": 4095}, "low", None, {"type": "enabled", "budget_tokens": 2047}, None,
     [("weakened", CUT.format(2047))]),
    ({**BUDGETS, "max_output": 4096}, "low", None, {"type": "enabled", "budget_tokens": 2048}, None,
     [("adapted", AS_BUDGET.format(2048))]),
]  # fmt: skip


def reported(reader: OptionReader) -> list[tuple[str, str]]:
    """What is on the report, and whether it is less than was asked for."""
    return [
        ("weakened" if d.field in reader.weakened else d.outcome, d.reason)
        for d in reader.finish()
        if d.reason != "this provider's API has no such option"
    ]


@pytest.mark.parametrize(("facts", "wanted", "limit", "thinking", "effort", "report"), CLAUDE_THINKS)
def test_how_claude_is_to_think(
    facts: dict[str, Any], wanted: Any, limit: int | None, thinking: Any, effort: Any, report: list[Any]
) -> None:
    options = Options() if wanted is None else Options(reasoning=wanted)
    reader = OptionReader(Request((), options=options), OpenAIChatOptions, ModelFacts(**facts))
    made = ClaudeSettings(reader, limit)
    assert (made.thinking(), made.effort) == (thinking, effort)
    assert reported(reader) == report


ENABLED = {"type": "enabled", "budget_tokens": 5}


@pytest.mark.parametrize(
    ("facts", "thinking", "given", "taken", "report"),
    [
        ({}, ENABLED, {"temperature": 0.5, "top_p": 0.5, "top_k": 5}, ["temperature", "top_p", "top_k"], []),
        ({"sampling": False}, None, {"temperature": 1.0, "top_p": 1.0, "top_k": 5}, [],
         ["this model takes no sampling options"] * 3),
        *(
            ({"samples_thinking": False}, {"type": kind}, {"temperature": 0.5, "top_p": 0.94, "top_k": 5}, [],
             ["not beside thinking", "beside thinking, top_p is at least 0.95", "not beside thinking"])
            for kind in ("enabled", "adaptive")
        ),
        ({"samples_thinking": False}, ENABLED, {"temperature": 1.0, "top_p": 0.95}, ["temperature", "top_p"], []),
        *(
            ({"samples_thinking": False}, thinking, {"temperature": 0.5, "top_p": 0.5, "top_k": 5},
             ["temperature", "top_p", "top_k"], [])
            for thinking in ({"type": "disabled"}, None, "odd")
        ),
        ({"both_samplers": False}, None, {"temperature": 0.5, "top_p": 0.5, "top_k": 5}, ["temperature", "top_k"],
         ["this model takes temperature or top_p, not both"]),
        ({"both_samplers": False}, None, {"top_p": 0.5}, ["top_p"], []),
        ({"both_samplers": False, "samples_thinking": False}, ENABLED, {"temperature": 0.5, "top_p": 1.0}, ["top_p"],
         ["not beside thinking"]),
    ],
)  # fmt: skip
def test_which_samplers_claude_takes(
    facts: dict[str, Any], thinking: Any, given: dict[str, Any], taken: list[str], report: list[str]
) -> None:
    reader = OptionReader(Request((), options=Options(**given)), OpenAIChatOptions, ModelFacts(**facts))
    assert ClaudeSettings(reader, None).sampling(thinking) == {name: given[name] for name in taken}
    assert reported(reader) == [("dropped", reason) for reason in report]


@pytest.mark.parametrize(
    ("choice", "facts", "thinking", "report"),
    [
        (None, {"forced_tools": False}, ENABLED, None),
        (ToolChoice("auto"), {"forced_tools": False}, ENABLED, None),
        (ToolChoice("required", raw={"a": 1}), {"forced_tools": False}, ENABLED, None),
        (ToolChoice.tool("f"), {}, ENABLED, None),
        (ToolChoice.tool("f"), {"forced_tools": False}, None,
         "this model takes no forced tool choice: auto is sent"),
        (ToolChoice.tool("f"), {"forced_tools_thinking": False}, ENABLED,
         "beside a thinking budget no tool can be forced: auto is sent"),
        *(
            (ToolChoice.tool("f"), {"forced_tools_thinking": False}, thinking, None)
            for thinking in ({"type": "adaptive"}, {"type": "disabled"}, None, "odd")
        ),
    ],
)  # fmt: skip
def test_a_forced_call_as_claude_takes_it(
    choice: Any, facts: dict[str, Any], thinking: Any, report: str | None
) -> None:
    reader = OptionReader(Request(()), OpenAIChatOptions, ModelFacts(**facts))
    made = ClaudeSettings(reader, None).tool_choice(choice, thinking)
    assert made == (choice if report is None else ToolChoice("auto", ("f",)))
    assert reported(reader) == ([] if report is None else [("weakened", report)])


LOOSE = {"type": "object", "additionalProperties": True}
PAIR = {"type": ["string", "null"]}
UNIONS = {"anyOf": [{"type": "string"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("strict", "parameters", "on_bedrock", "facts", "made", "report"),
    [
        (None, PAIR, True, {"bedrock_strict": False}, (PAIR, None), []),
        (False, PAIR, False, {"bedrock_strict": False}, (PAIR, False), []),
        (True, PAIR, False, {"bedrock_strict": False}, (UNIONS, True),
         [("tools[f].parameters", "adapted", "expressed in Claude's schema dialect: $: several types as anyOf")]),
        *(
            (strict, PAIR, True, {"bedrock_strict": False}, (PAIR, None),
             [("tools[f].strict", "dropped", "this model takes no such field on Bedrock")])
            for strict in (True, False)
        ),
        (True, PAIR, True, {}, (UNIONS, True),
         [("tools[f].parameters", "adapted", "expressed in Claude's schema dialect: $: several types as anyOf")]),
        (True, LOOSE, False, {}, (LOOSE, None),
         [("tools[f].strict", "dropped",
           "it has an object of any members, of which a strict schema leaves none")]),
        (True, {"anyOf": [{"$ref": "#"}]}, False, {}, ({"anyOf": [{"$ref": "#"}]}, None),
         [("tools[f].strict", "dropped", "a strict schema cannot refer to itself")]),
    ],
)  # fmt: skip
def test_the_parameters_of_a_strict_tool_of_claude(
    strict: Any, parameters: dict[str, Any], on_bedrock: bool, facts: dict[str, Any], made: Any, report: Any
) -> None:
    reader = OptionReader(Request(()), OpenAIChatOptions, ModelFacts(**facts))
    tool = Tool("f", "", parameters, strict=strict)
    assert strict_parameters(reader, tool, on_bedrock=on_bedrock) == made
    assert [(d.field, d.outcome, d.reason) for d in reader.finish()] == report


@pytest.mark.parametrize(
    ("output", "words", "reason"),
    [
        ("json", "Answer with one JSON object and nothing else.",
         "this protocol has no plain JSON mode: it is put into words"),
        (JSONSchema("n", {"type": "object"}),
         'Answer with one JSON object, n, that follows this JSON Schema:\n{"type":"object"}',
         "this model takes no such schema: it is put into words"),
        (JSONSchema("n", {}, description="D"),
         "Answer with one JSON object, n (D), that follows this JSON Schema:\n{}",
         "this model takes no such schema: it is put into words"),
    ],
)  # fmt: skip
def test_an_output_is_put_into_words(output: Any, words: str, reason: str) -> None:
    reader = OptionReader(Request((), output=output), OpenAIChatOptions)
    assert output_in_words(reader, output) == words
    assert [(d.field, d.outcome, d.reason) for d in reader.finish()] == [("output", "emulated", reason)]


@pytest.mark.parametrize(
    ("facts", "effort", "sent", "report"),
    [
        ({}, None, None, []),
        ({"thinks_unasked": True}, None, "none", [("tools", "adapted", ": it is switched off")]),
        ({}, "high", "none", [("reasoning", "dropped", "; in the Responses API with it")]),
        ({"efforts": ("none", "high")}, "off", "none", []),
        ({"thinks_unasked": True, "chat_tools": "any"}, "high", "high", []),
    ],
)
def test_a_model_that_takes_tools_only_without_reasoning(
    facts: dict[str, Any], effort: Any, sent: Any, report: list[Any]
) -> None:
    options = Options() if effort is None else Options(reasoning=effort)
    request = Request((Message.user("Hi"),), "m", tools=(TOOL,), options=options)
    made = ModelFacts(**{"chat_tools": "unreasoned", **facts})
    call = OpenAIChat().encode(request, Origin("openai_chat", "p", "m"), stream=False, facts=made)
    assert call.body.get("reasoning_effort") == sent
    reason = "in Chat Completions this model takes tools only without reasoning"
    assert [(d.field, d.outcome, d.reason) for d in call.deviations] == [
        (field, outcome, reason + end) for field, outcome, end in report
    ]


@pytest.mark.parametrize(
    ("dialect", "schema", "changed", "lost"),
    [
        ("openai", {"type": "object", "properties": {"a": {}}},
         ("$: no other properties", "$: every property is required"), ()),
        ("openai", {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
         (), ()),
        ("openai", {"properties": {"a": {"additionalProperties": 1}}},
         ("$: no other properties", "$: every property is required"), ("$.a: properties of any name",)),
        ("openai", {"$id": "x", "oneOf": [{"pattern": "a"}], "default": 1},
         ("$: $id is left out", "$: oneOf as anyOf", "$: default in the description"), ()),
        ("openai", {"items": {"minLength": 1}, "allOf": [{"$comment": "c"}]},
         ("$: allOf is merged", "$[]: minLength in the description", "$: $comment is left out"), ()),
        ("groq", {"oneOf": [{"$id": "x"}, {"type": "object"}], "$defs": {"d": {"properties": {}}}},
         ("$.oneOf[0]: $id is left out", "$.oneOf[1]: no other properties", "$.d: no other properties"), ()),
        ("mistral, not strict", {"type": "object", "additionalProperties": 1, "$schema": "s"},
         ("$: $schema is left out",), ()),
        ("openai", False, (), ("$: nothing is allowed here",)),
        ("openai", 5, (), ("$: not a schema",)),
    ],
)  # fmt: skip
def test_what_is_said_of_a_schema_in_a_dialect(
    dialect: str, schema: Any, changed: tuple[str, ...], lost: tuple[str, ...]
) -> None:
    made = conform(schema, DIALECTS[dialect])
    assert (made.changed, made.lost) == (changed, lost)


@pytest.mark.parametrize(
    ("messages", "holds"),
    [
        ("as Json", True),
        ("as text", False),
        ([{"content": "a"}, {"content": [{"type": "text", "text": "JSON"}]}], True),
        ([{"text": "json"}], True),
        ([{"role": "json", "name": "json"}], False),
        ([{"content": [{"text": {"content": "json"}}]}], True),
        ([{"content": [{"type": "json", "image_url": {"url": "json"}}]}], False),
        ([{"content": None}, 3], False),
        ([], False),
        (None, False),
        (("json",), False),
    ],
)
def test_which_messages_hold_the_word(messages: Any, holds: bool) -> None:
    assert holds_json_word(messages) is holds


PREFILL = ModelFacts(prefill=False)


@pytest.mark.parametrize(
    ("messages", "facts", "is_refused"),
    [
        ((), PREFILL, False),
        ((Message.user("Hi"),), PREFILL, False),
        ((Message.user("Hi"), Message.assistant("A")), PREFILL, True),
        ((Message.user("Hi"), Message.assistant("A")), ModelFacts(), False),
        ((Message.user("Hi"), Message("assistant", ())), PREFILL, False),
        ((Message("assistant", ("A", TextPart("B", origin=Origin("x", "y")))),), PREFILL, False),
        ((Message.assistant("A"), Message.user("Hi")), PREFILL, False),
    ],
)
def test_which_ends_claude_refuses(messages: Any, facts: ModelFacts, is_refused: bool) -> None:
    request = Request(messages, "m")
    reader = OptionReader(request, OpenAIChatOptions, facts)
    if is_refused:
        with pytest.raises(UnsupportedError, match="end with a user's message"):
            check_end(reader, request, Origin("x", "p", "m"))
    else:
        check_end(reader, request, Origin("x", "p", "m"))


ADAPTED = {"tool_choice": "adapted"}
CHOICES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = [
    ("deepseek:deepseek-v4-pro", FORCED, {"tool_choice": "required", "thinking.type": "disabled"}, ADAPTED),
    ("deepseek:deepseek-v4-pro", {**FORCED, "reasoning": "high"}, {"tool_choice": "auto"}, ADAPTED),
    ("deepseek:deepseek-v4-pro", {**FORCED, "reasoning": "off"}, {"tool_choice": "required"}, {}),
    ("deepseek:deepseek-chat", FORCED, {"tool_choice": "required", "thinking": None}, {}),
    ("deepseek-responses:deepseek-v4-pro", FORCED, {"tool_choice": "required", "reasoning": {"effort": "none"}},
     ADAPTED),
    ("deepseek-responses:deepseek-v4-pro", {**FORCED, "reasoning": "high"}, {"tool_choice": "auto"}, ADAPTED),
    ("deepseek-responses:deepseek-v4-pro", {**FORCED, "reasoning": "off"}, {"tool_choice": "required"}, {}),
    ("alibaba:qwen3.5-plus", FORCED, {"tool_choice": "required", "enable_thinking": False}, ADAPTED),
    ("alibaba:qwen3.5-plus", {**FORCED, "reasoning": "medium"}, {"tool_choice": "auto", "enable_thinking": True},
     ADAPTED),
    ("alibaba:qwen-plus", FORCED, {"tool_choice": "required", "enable_thinking": None}, {}),
    ("moonshot:kimi-k2.6", FORCED, {"tool_choice": "required", "thinking.type": "disabled"}, ADAPTED),
    ("moonshot:kimi-k2-thinking", FORCED, {"tool_choice": "auto", "thinking": None}, ADAPTED),
    ("moonshot:kimi-k3", {**FORCED, "reasoning": "max"}, {"tool_choice": "required"}, {}),
    ("zai:glm-5", FORCED, {"tool_choice": "auto"}, ADAPTED),
    ("zai:glm-5", {"tools": [TOOL], "tool_choice": "none"}, {"tools": None, "tool_choice": None},
     {"tool_choice": "emulated"}),
    ("anthropic:claude-opus-5-5", FORCED, {"tool_choice.type": "auto"},
     {**ADAPTED, "max_tokens": "adapted"}),
    ("openai-chat:gpt-6", {"tools": [TOOL]}, {"reasoning_effort": "none"}, {"tools": "adapted"}),
    ("openai-chat:gpt-6-sol", {"tools": [TOOL], "reasoning": "high"}, {"reasoning_effort": "none"},
     {"reasoning": "dropped"}),
    ("openai-chat:gpt-5.4", {"tools": [TOOL]}, {"reasoning_effort": None}, {}),
    ("openai-chat:gpt-5.3", {"tools": [TOOL], "reasoning": "high"}, {"reasoning_effort": "high"}, {}),
    ("openai-responses:gpt-6", {"tools": [TOOL], "reasoning": "high"}, {"reasoning.effort": "high"}, {}),
    ("openrouter:openai/gpt-6", {"tools": [TOOL], "reasoning": "high"}, {"reasoning.effort": "high"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "args", "body", "report"), CHOICES)
def test_tools_and_the_choice_among_them(
    model: str, args: dict[str, Any], body: dict[str, Any], report: dict[str, str]
) -> None:
    check(model, args, body, report)


def test_a_forced_name_stays_the_only_one_that_can_be_called() -> None:
    args = {"tools": [TOOL, TIME], "tool_choice": ToolChoice.tool("weather")}
    done = prepared("zai:glm-5", args)
    body = json.loads(done.body)
    assert body["tool_choice"] == "auto"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather"]


def test_tools_that_a_model_takes_in_another_api_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="openai-responses"):
        prepared("openai-chat:gpt-6-astra", {"tools": [TOOL]})


def test_gemma_gets_its_instruction_in_the_first_message() -> None:
    report = {"system": "adapted"}
    check("google:gemma-3-27b-it", {"system": "S"}, {"systemInstruction": None}, report)


def test_encrypted_reasoning_is_asked_of_the_models_that_have_it() -> None:
    def included(model: str) -> Any:
        return json.loads(prepared(model, {}).body).get("include")

    asked = ["reasoning.encrypted_content"]
    assert [included(f"openai-responses:{m}") for m in ("gpt-5.2", "o3", "gpt-7")] == [asked] * 3
    assert [included(f"openai-responses:{m}") for m in ("gpt-4.1", "my-deployment")] == [None] * 2
    assert included("xai:grok-4.5") == asked
    assert included("xai:grok-4.20-non-reasoning") is None


@pytest.mark.parametrize("provider", ["anthropic:", "bedrock:us.anthropic."])
def test_an_answer_that_a_model_does_not_continue_is_not_begun(provider: str) -> None:
    client = AsyncClient(providers=CONFIGS)
    begun = [Message.user("Hi"), Message.assistant("Once")]
    with pytest.raises(UnsupportedError, match="end with a user's message"):
        client.prepare(begun, model=f"{provider}claude-opus-4-6")
    client.prepare(begun, model=f"{provider}claude-opus-4-5")
    paused = Message("assistant", (TextPart("Once", origin=Origin("anthropic_messages", "anthropic", "m")),))
    client.prepare([Message.user("Hi"), paused], model=f"{provider}claude-opus-4-6")


def test_the_table_is_loaded_with_the_first_model() -> None:
    script = (
        "import sys; from brainwires_provider import Client; c = Client('openai-chat:x', api_key='k'); "
        "name = 'brainwires_provider.providers.models'; print(name in sys.modules); c.prepare('Hi'); "
        "print(name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "True"]


# -- the table itself ----------------------------------------------------------------------------------------


def test_every_family_has_a_link_and_a_date() -> None:
    for family in FAMILIES:
        assert re.match(r"https://", family.link), family.name
        assert re.fullmatch(r"2026-\d\d-\d\d", family.checked), family.name
        for change in family.changes:
            assert change.facts.keys() <= set(UNKNOWN.__struct_fields__), family.name
            assert not change.link or change.link.startswith("https://")


def test_every_dialect_has_a_link_and_a_date() -> None:
    for dialect in (CLAUDE, *DIALECTS.values()):
        assert dialect.link.startswith("https://"), dialect.name
        assert re.fullmatch(r"2026-\d\d-\d\d", dialect.checked), dialect.name


PERMISSIVE = {
    "family": "",
    **dict.fromkeys(("sampling", "both_samplers", "samples_thinking", "penalties", "stop"), True),
    **dict.fromkeys(("efforts", "encrypted_reasoning", "tools", "max_output"), None),
    **dict.fromkeys(
        ("budgets", "adaptive", "limits_high_effort", "own_reasoning", "system", "prefill"), True
    ),
    "least_budget": 0,
    "thinking_off": "disabled",
    **dict.fromkeys(
        ("thinks_unasked", "signed_thinking", "signed_calls", "one_system", "system_turns"), False
    ),
    **dict.fromkeys(("schema", "bedrock_schema", "bedrock_strict", "json_schema", "strict_schema"), True),
    "chat_tools": "any",
    **dict.fromkeys(("forced_tools", "forced_tools_thinking", "parallel_tool_calls"), True),
    **dict.fromkeys(
        ("runs_tools", "media_results", "result_status", "cache_points", "tool_cache_points"), False
    ),
    "refused_media": (),
}
"""Of a model of which nothing is known, and of one for which a user states something else."""


def test_a_fact_that_is_not_stated_leaves_the_request_as_it_is() -> None:
    facts = ModelFacts()
    assert {name: getattr(facts, name) for name in facts.__struct_fields__} == PERMISSIVE
    picture = Message.user(ImagePart(url="u"))
    check_media(Request((picture,)), facts.refused_media, Origin("x", "y"))  # refuses none


@pytest.mark.parametrize(
    ("effort", "facts", "thinks"),
    [
        (None, {}, False),
        (None, {"thinks_unasked": True}, True),
        ("low", {}, True),
        ("off", {"thinks_unasked": True}, False),
        ("off", {"thinking_off": "between_tools"}, False),
        ("off", {"thinking_off": None}, True),
        ("off", {"efforts": ()}, False),
        ("off", {"efforts": ("low",)}, True),
        ("off", {"efforts": ("none", "low")}, False),
        ("off", {"efforts": ("none", "low"), "thinking_off": None}, True),
    ],
)
def test_whether_a_model_thinks(effort: Any, facts: dict[str, Any], thinks: bool) -> None:
    options = Options() if effort is None else Options(reasoning=effort)
    reader = OptionReader(Request((), options=options), OpenAIChatOptions, ModelFacts(**facts))
    assert reader.is_thinking is thinks


def test_what_is_not_known_of_a_model_is_sent() -> None:
    """A model of Nova's family, of which its user states the efforts alone, gets the options beside the highest."""
    rules: dict[str, Any] = {"x": {"family": "nova", "efforts": ["high"]}}
    config = ProviderConfig("bedrock", region="us-east-1", models=rules)
    done = AsyncClient(providers=[config]).prepare("Hi", model="bedrock:x", reasoning="high", max_tokens=9)
    assert json.loads(done.body)["inferenceConfig"] == {"maxTokens": 9}
    assert not done.report.deviations


NO_FLAG, BESIDE = ("messages[2].content[0].is_error", "dropped"), ("messages[2].content[0]", "emulated")
MEDIA_BESIDE, CACHE = ("messages[2].content[0].content", "emulated"), ("cache", "dropped")
VERSIONED = [("temperature", "adapted"), ("top_p", "adapted"), ("cache", "adapted")]
OF_THE_SERVICE: dict[str, list[tuple[str, str]]] = {
    "openai-chat": [NO_FLAG, BESIDE, CACHE],
    "openai-responses": [("messages[2].is_error", "dropped"), CACHE, ("stop", "dropped")],
    "openrouter": [NO_FLAG, BESIDE, CACHE],
    "google": [MEDIA_BESIDE, ("tools[t].strict", "adapted"), ("reasoning", "adapted"), CACHE],
    "google-interactions": [MEDIA_BESIDE, ("tools[t].strict", "adapted"), CACHE],
    "bedrock": [NO_FLAG, CACHE],
    "anthropic": VERSIONED,
    "bedrock-anthropic": VERSIONED,
    "bedrock-invoke": VERSIONED[2:],
}
"""What each service reports of everything that a request can ask of a model."""


@pytest.mark.parametrize("name", OF_THE_SERVICE)
def test_everything_is_sent_to_a_model_that_nobody_knows(name: str) -> None:
    schema = {**TOOL.parameters, "properties": {"a": {"type": "string"}}, "required": ["a"]}
    call = ToolCallPart("c1", "t", "{}")
    picture = ImagePart(data=b"\x89PNG", media_type="image/png")
    sound = FilePart(data=b"RIFF", media_type="audio/wav")
    failed = ToolResultPart("c1", (TextPart("bad"), picture), is_error=True)
    asked = ["go"] if "anthropic" in name or "invoke" in name else ["go", sound]
    config = ProviderConfig(name, api_key="k", region="us-east-1" if "bedrock" in name else None)
    done = AsyncClient(providers=[config]).prepare(
        [Message.user("Hi"), Message.assistant(call), Message("tool", (failed,)), Message.user(*asked)],
        model=f"{name}:nobody-knows-it",
        system="Be brief.",
        tools=[Tool("t", "d", schema, strict=True)],
        tool_choice="required",
        output=JSONSchema("o", schema, strict=True),
        max_tokens=9000,
        temperature=0.5,
        top_p=0.9,
        stop="x",
        reasoning="high",
        cache=CacheStrategy.system_and_tools(),
    )
    assert [(each.field, each.outcome) for each in done.report.deviations] == OF_THE_SERVICE[name]
    if name == "bedrock":
        body = json.loads(done.body)
        assert body["toolConfig"]["tools"][0]["toolSpec"]["strict"] is True
        assert body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["name"] == "o"
        assert "status" not in body["messages"][2]["content"][0]["toolResult"]


def test_a_name_that_is_newer_than_the_table_has_the_newest_facts() -> None:
    assert facts_of("claude-sonnet-9") == facts_of("claude-sonnet-5-5")
    assert facts_of("gpt-7") == facts_of("gpt-6")
    assert facts_of("gemini-4-flash") == facts_of("gemini-3.8-flash") == facts_of("gemini-flash-latest")
    assert facts_of("amazon.nova-3-pro-v1:0") == facts_of("amazon.nova-2-pro-v1:0")
    assert facts_of("something") == UNKNOWN
    assert facts_of("gpt-5-production") == facts_of("gpt-5") != facts_of("gpt-5-pro")


def test_a_rule_of_the_users_comes_first() -> None:
    rules: dict[str, Any] = {
        "prod": "claude-opus-5-5",
        "arn:*": "claude-sonnet-4-5",
        "arn:aws:x*": {"like": "claude-opus-5-5", "forced_tools": True},
        "gpt-6": {"sampling": True, "efforts": ["low"]},
    }
    assert facts_of("prod", rules=rules) == facts_of("claude-opus-5-5")
    assert facts_of("arn:other", rules=rules) == facts_of("claude-sonnet-4-5")
    assert facts_of("arn:aws:x:1", rules=rules).forced_tools
    assert not facts_of("arn:aws:x:1", rules=rules).sampling
    assert facts_of("gpt-6", rules=rules).efforts == ("low",)
    assert facts_of("gpt-6", rules=rules).chat_tools == "unreasoned"
    assert facts_of("gpt-5", rules=rules) == facts_of("gpt-5")
    own = ProviderConfig("azure-chat", api_key="k", base_url="https://x", models={"prod": "gpt-5"})
    done = AsyncClient(providers=[own]).prepare("Hi", model="azure-chat:prod", temperature=1)
    assert [d.field for d in done.report.dropped] == ["temperature"]


def test_a_server_whose_template_has_no_tools_emulates_them() -> None:
    def made(name: str) -> PreparedRequest:
        own = ProviderConfig(name, api_key="", models={"*": {"tools": False}})
        return AsyncClient(providers=[own]).prepare("Hi", model=f"{name}:m", tools=[TOOL])

    done = made("llama-server")
    assert "tools" not in json.loads(done.body)
    assert {d.field: d.outcome for d in done.report.deviations} == {"tools": "emulated"}
    with pytest.raises(UnsupportedError, match="no tools"):
        made("vllm")


@pytest.mark.parametrize(
    ("rule", "message"),
    [({"samplng": True}, "did you mean 'sampling'"), ({"sampling": "yes"}, r"models\['m'\].*sampling")],
)
def test_a_rule_that_does_not_fit_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        facts_of("m", rules={"m": rule})


def test_the_nearest_effort() -> None:
    assert nearest_effort("minimal", ("none", "low")) == "low"
    assert nearest_effort("medium", ("low", "high")) == "high"
    assert nearest_effort("off", ("low", "high")) == "low"
    assert nearest_effort("high", ("none",)) == "none"
    scale = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    for word in scale[1:]:
        assert nearest_effort(word, scale) == word  # type: ignore[arg-type]
    assert nearest_effort("off", scale) == "none"
    assert (
        nearest_effort("low", ("minimal", "medium"))
        == nearest_effort("low", ("medium", "minimal"))
        == "medium"
    )
    assert (
        nearest_effort("high", ("default", "max")) == nearest_effort("low", ("none", "default")) == "default"
    )
    assert nearest_effort("high", ("xhigh", "medium")) == nearest_effort("max", ("xhigh", "low")) == "xhigh"


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("image/png", "image"),
        ("audio/wav", "audio"),
        ("video/mp4", "video"),
        ("application/pdf", "document"),
        ("imagery/png", "document"),
        ("image", "image"),
        ("", "document"),
        (None, "document"),
    ],
)
def test_the_kind_of_a_media_type(media_type: str | None, kind: str) -> None:
    assert media_kind(media_type) == kind


@pytest.mark.parametrize(
    ("messages", "refused_kind", "place"),
    [
        ((Message.user("a", PNG),), "image", "messages[0].content[1]"),
        ((Message.user("a"), Message.user(WAV)), "audio", "messages[1].content[0]"),
        ((Message.system(PDF),), "document", "messages[0].content[0]"),
        (
            (Message("tool", (ToolResultPart("c", (TextPart("a"), PNG)),)),),
            "image",
            "messages[0].content[0]",
        ),
        ((Message.assistant(PNG, WAV, PDF),), None, None),
        ((Message.user(CSV),), None, None),
        ((Message.user(FilePart(file_id="f1")), Message.user("a")), None, None),
        ((), None, None),
    ],
)
def test_media_that_a_model_does_not_read(
    messages: tuple[Message, ...], refused_kind: Any, place: str | None
) -> None:
    request, origin = Request(messages), Origin("openai_chat", "p", "m")
    every: tuple[Any, ...] = ("image", "audio", "video", "document")
    check_media(request, [kind for kind in every if kind != refused_kind], origin)
    check_media(request, (), origin)
    if place is None:
        check_media(request, every, origin)
        return
    with pytest.raises(UnsupportedError) as caught:
        check_media(request, (refused_kind,), origin)
    assert caught.value.message.startswith(f"{place}: m reads no {refused_kind}; ")
    assert 'models={"m": {"refused_media": []}}' in caught.value.message
    assert (caught.value.provider, caught.value.model) == ("p", "m")


# -- B.1: schemas --------------------------------------------------------------------------------------------


class Address(BaseModel):
    zip: int = Field(ge=1, le=99999, description="the code")
    kind: Literal["home", "work"] = "home"


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=10)
    home: Address = Field(description="where")
    others: list[Address] = Field(min_length=2)
    note: str | None = None


class Tree(BaseModel):
    child: Tree | None = None


PYDANTIC = JSONSchema("person", Person.model_json_schema(), strict=True)
FORMAT = "output_config.format"


def objects(schema: Any) -> list[dict[str, Any]]:
    """Every object's schema."""
    if isinstance(schema, list):
        return [found for inner in schema for found in objects(inner)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "object" else []
    return own + [found for inner in schema.values() for found in objects(inner)]


@pytest.mark.parametrize(
    ("model", "place", "all_required"),
    [
        ("anthropic:claude-sonnet-5", "output_config.format.schema", False),
        ("openai-chat:gpt-5", "response_format.json_schema.schema", True),
        ("openai-responses:gpt-5", "text.format.schema", True),
        ("groq:openai/gpt-oss-20b", "response_format.json_schema.schema", True),
        ("mistral:mistral-large-latest", "response_format.json_schema.schema", False),
    ],
)
def test_a_plain_pydantic_schema_is_one_that_the_service_takes(
    model: str, place: str, all_required: bool
) -> None:
    done = prepared(model, {"output": PYDANTIC})
    schema = member(json.loads(done.body), place)
    assert all(each["additionalProperties"] is False for each in objects(schema))
    assert all(set(each["required"]) == set(each["properties"]) for each in objects(schema)) is all_required
    assert {d.outcome for d in done.report.deviations if d.field == "output"} == {"adapted"}
    if model.startswith(("groq", "mistral")):
        prepared(model, {"output": PYDANTIC}, strict=True)
        return
    with pytest.raises(UnsupportedError, match=r"not all of it binding: .*maxLength in the description"):
        prepared(model, {"output": PYDANTIC}, strict=True)


ALIKE = [{"type": "string"}, {"type": "null"}]


@pytest.mark.parametrize("model", ["openai-chat:gpt-5", "anthropic:claude-sonnet-5"])
@pytest.mark.parametrize(
    ("inner", "is_weaker"),
    [
        ({"anyOf": ALIKE}, False),
        ({"allOf": ALIKE[:1]}, False),
        ({"oneOf": ALIKE}, True),
        ({"oneOf": ALIKE, "discriminator": {"propertyName": "type"}}, False),
        *(({"type": "string", name: "x"}, False) for name in ("default", "example", "examples")),
        ({"type": "object", "properties": {}, "propertyOrdering": []}, False),
        ({"type": "string", "maxLength": 3}, True),
        ({"type": "string", "maxLength": 3, "default": "x"}, True),
        ({"type": "string", "format": "regex"}, True),
    ],
)
def test_a_schema_that_binds_less_is_refused_by_strict(
    model: str, inner: dict[str, Any], is_weaker: bool
) -> None:
    """Words for the reader and alternatives that exclude each other by a field bind as before."""
    schema = {"type": "object", "properties": {"a": inner}, "required": ["a"]}
    args: dict[str, Any] = {"output": JSONSchema("s", schema, strict=True), "max_tokens": 9}
    (deviation,) = (each for each in prepared(model, args).report.deviations if each.field == "output")
    assert (deviation.outcome, "not all of it binding" in deviation.reason) == ("adapted", is_weaker)
    if is_weaker:
        with pytest.raises(UnsupportedError, match="not all of it binding"):
            prepared(model, args, strict=True)


def test_a_schema_that_is_not_strict_stays_as_it_is() -> None:
    schema = Person.model_json_schema()
    for model in ("openai-chat:gpt-5", "groq:openai/gpt-oss-20b", "mistral:m"):
        done = prepared(model, {"output": JSONSchema("p", schema)})
        assert member(json.loads(done.body), "response_format.json_schema.schema") == schema
        assert not done.report.deviations


def test_mistral_gets_no_notes_in_the_schema_of_a_tool() -> None:
    tool = Tool("f", "", {"$schema": "x", "$id": "y", "type": "object"})
    done = prepared("mistral:mistral-large-latest", {"tools": [tool]})
    assert json.loads(done.body)["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert {d.field: d.outcome for d in done.report.deviations} == {"tools[f].parameters": "adapted"}


def test_a_strict_schema_is_not_called_strict_where_the_model_has_none() -> None:
    done = prepared("groq:llama-3.3-70b-versatile", {"output": PYDANTIC})
    assert "strict" not in json.loads(done.body)["response_format"]["json_schema"]
    assert {d.field: d.outcome for d in done.report.deviations} == {"output": "adapted"}
    with pytest.raises(UnsupportedError, match="as well as it can"):
        prepared("groq:llama-3.3-70b-versatile", {"output": PYDANTIC}, strict=True)


STRICT_TOOL = Tool(
    "f", "", {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}, strict=True
)


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("anthropic:claude-sonnet-5", "input_schema"),
        ("bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0", "toolSpec.inputSchema.json"),
        ("openai-chat:gpt-5", "function.parameters"),
        ("openai-responses:gpt-5", "parameters"),
    ],
)
def test_a_strict_tool_has_a_schema_that_can_be_strict(model: str, place: str) -> None:
    done = prepared(model, {"tools": [STRICT_TOOL], "max_tokens": 9})
    body = json.loads(done.body)
    [tool] = body["toolConfig"]["tools"] if "toolConfig" in body else body["tools"]
    assert member(tool, place)["additionalProperties"] is False
    assert {d.field: d.outcome for d in done.report.deviations} == {"tools[f].parameters": "adapted"}


def test_a_schema_that_refers_to_itself_is_put_into_words_for_claude() -> None:
    tree = Tree.model_json_schema()
    done = prepared("anthropic:claude-sonnet-5", {"output": JSONSchema("t", tree), "max_tokens": 9})
    assert "output_config" not in json.loads(done.body)
    assert {d.field: d.outcome for d in done.report.deviations} == {"output": "emulated"}
    tool = Tool("f", "", tree, strict=True)
    done = prepared("anthropic:claude-sonnet-5", {"tools": [tool], "max_tokens": 9})
    assert {d.field: d.outcome for d in done.report.dropped} == {"tools[f].strict": "dropped"}


@pytest.mark.parametrize(
    ("schema", "dialect", "expected", "lost"),
    [
        (True, "claude", {}, 0),
        (3, "claude", {}, 1),
        ({"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"}, "claude",
         {"type": "integer", "description": "A number\n\n{minimum: 1, maximum: 10}"}, 0),
        ({"type": "array", "minItems": 1, "items": True}, "claude",
         {"type": "array", "minItems": 1, "description": "{items: true}"}, 0),
        ({"type": "string", "format": "uri"}, "claude", {"type": "string", "format": "uri"}, 0),
        ({"type": "string", "format": "odd"}, "claude", {"type": "string", "description": '{format: "odd"}'}, 0),
        ({"$schema": "x", "oneOf": [{"type": "null"}]}, "claude", {"anyOf": [{"type": "null"}]}, 0),
        ({"type": ["string", "null"], "title": "T"}, "claude",
         {"title": "T", "anyOf": [{"type": "string"}, {"type": "null"}]}, 0),
        ({"type": ["string", "integer", "null"], "enum": ["a", 1, None], "description": "D", "$defs": {"x": {}}},
         "claude",
         {"description": "D", "$defs": {"x": {}}, "anyOf": [{"type": "string", "enum": ["a", 1, None]},
          {"type": "integer", "enum": ["a", 1, None]}, {"type": "null"}]}, 0),
        ({"type": ["object", "null"], "properties": {"a": {}}, "required": ["a"]}, "claude",
         {"anyOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
          {"type": "null"}]}, 0),
        ({"allOf": [{"type": "object"}, {"title": "T"}]}, "claude",
         {"type": "object", "title": "T", "additionalProperties": False}, 0),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "openai",
         {"type": "object", "additionalProperties": False}, 1),
        ({"const": 1}, "claude", {"const": 1}, 0),
        ({"$defs": {"x": {"type": "object"}}, "definitions": {"y": {"type": "object"}}, "$ref": "#/$defs/x"}, "claude",
         {"$defs": {"x": {"type": "object", "additionalProperties": False}},
          "definitions": {"y": {"type": "object", "additionalProperties": False}}, "$ref": "#/$defs/x"}, 0),
        ({"allOf": [{"properties": {"a": {}}}]}, "groq",
         {"allOf": [{"properties": {"a": {}}, "additionalProperties": False, "required": ["a"]}]}, 0),
        ({"type": ["object", "null"], "properties": {"a": {}}}, "openai",
         {"type": ["object", "null"], "properties": {"a": {}}, "additionalProperties": False,
          "required": ["a"]}, 0),
        ({"properties": 3, "anyOf": 3}, "openai",
         {"description": "{properties: 3, anyOf: 3}", "additionalProperties": False}, 0),
        ({"$id": "x", "type": "object", "oneOf": [{}]}, "mistral, not strict", {"type": "object", "oneOf": [{}]}, 0),
    ],
)  # fmt: skip
def test_a_keyword_is_kept_put_into_words_or_lost(
    schema: Any, dialect: str, expected: Any, lost: int
) -> None:
    made = conform(schema, CLAUDE if dialect == "claude" else DIALECTS[dialect])
    assert made.schema == expected
    assert len(made.lost) == lost
    assert not made.refused


NOTED = "$schema $id id $comment $anchor $vocabulary readOnly writeOnly deprecated"
CLOSED = {"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "dialect", "expected", "changed"),
    [
        *(({name: "x"}, "mistral, not strict", {}, (f"$: {name} is left out",)) for name in NOTED.split()),
        *(({name: "x"}, "claude", {}, (f"$: {name} is left out",)) for name in NOTED.split()),
        ({"type": ["object", "null"]}, "openai", {"type": ["object", "null"], "additionalProperties": False},
         ("$: no other properties",)),
        ({**CLOSED, "required": ["b", "a"]}, "openai", {**CLOSED, "required": ["b", "a"]}, ()),
        ({**CLOSED, "required": ["a"]}, "openai", {**CLOSED, "required": ["a", "b"]},
         ("$: every property is required",)),
        ({**CLOSED, "required": "ab"}, "groq", {**CLOSED, "required": ["a", "b"]},
         ("$: every property is required",)),
        ({"anyOf": [{}], "oneOf": [{"const": 1}]}, "openai", {"anyOf": [{}, {"const": 1}]}, ("$: oneOf as anyOf",)),
        ({"oneOf": [{"items": {"minLength": 1}}]}, "openai",
         {"anyOf": [{"items": {"description": "{minLength: 1}"}}]},
         ("$.oneOf[0][]: minLength in the description", "$: oneOf as anyOf")),
        ({"type": ["string"]}, "claude", {"anyOf": [{"type": "string"}]}, ("$: several types as anyOf",)),
        *(({"type": "array", "minItems": n}, "claude", {"type": "array", "minItems": n}, ()) for n in (0, 1)),
        ({"minItems": 2, "maxItems": 1}, "claude", {"description": "{minItems: 2, maxItems: 1}"},
         ("$: minItems, maxItems in the description",)),
        ({"description": "", "minLength": 1}, "openai", {"description": "{minLength: 1}"},
         ("$: minLength in the description",)),
        ({"format": 3}, "openai", {"description": "{format: 3}"}, ("$: format in the description",)),
        ({"$ref": "#/$defs/x", "title": "T", "$defs": {"x": {}}}, "mistral",
         {"$ref": "#/$defs/x", "title": "T", "$defs": {"x": {}}}, ()),
    ],
)  # fmt: skip
def test_what_a_strict_schema_says_in_another_way(
    schema: Any, dialect: str, expected: Any, changed: tuple[str, ...]
) -> None:
    before = json.dumps(schema)
    made = conform(schema, CLAUDE if dialect == "claude" else DIALECTS[dialect])
    assert (made.schema, set(made.changed), made.lost) == (expected, set(changed), ())
    assert json.dumps(schema) == before


MEMBERS, ITSELF = "an object of any members", "cannot refer to itself"


@pytest.mark.parametrize(
    ("schema", "refused", "lost"),
    [
        ({"type": "object", "additionalProperties": {}}, MEMBERS, ("$: properties of any name",)),
        ({"type": "object", "additionalProperties": True, "properties": {}}, MEMBERS, ("$: properties of any name",)),
        ({"items": {"type": "object", "additionalProperties": {}}}, MEMBERS, ("$[]: properties of any name",)),
        ({"type": "object", "additionalProperties": True, "properties": {"a": {}}}, None,
         ("$: properties of any name",)),
        ({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, ITSELF, ()),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}},
         ITSELF, ()),
        ({"anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/a"}],
          "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {}}}, None, ()),
        ({"type": "string", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, None, ()),
        ({"$ref": 3, "type": "string"}, None, ()),
    ],
)  # fmt: skip
def test_what_claude_refuses_in_a_strict_schema(
    schema: Any, refused: str | None, lost: tuple[str, ...]
) -> None:
    made = conform(schema, CLAUDE)
    assert made.lost == lost
    assert made.refused is None if refused is None else refused in str(made.refused)
    for dialect in DIALECTS.values():
        assert conform(schema, dialect).refused is None


@pytest.mark.parametrize(("count", "more"), [(8, ""), (10, "; and 2 more")])
def test_eight_changes_of_a_schema_are_listed(count: int, more: str) -> None:
    names = "abcdefghij"[:count]
    schema = {**CLOSED, "properties": {name: {"minLength": 1} for name in names}, "required": [*names]}
    done = prepared("openai-chat:gpt-5", {"output": JSONSchema("p", schema, strict=True)})
    (changed,) = done.report.adapted
    listed = "; ".join(f"$.{name}: minLength in the description" for name in names[:8])
    assert changed.reason.endswith(f"not all of it binding: {listed}{more}")


# Keywords of JSON Schema beyond a schema's shape, and those that strict schemas may have, by each service's page.
LIMITS = {
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), 2),
    **dict.fromkeys(("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), 2),
    "pattern": "^a",
    "uniqueItems": True,
    "contains": {},
    "prefixItems": [],
}
FORMATS = "date-time time date duration email hostname ipv4 ipv6 uuid"
TAKEN = {
    "claude": ("", f"{FORMATS} uri"),
    "openai": (
        "pattern multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems",
        FORMATS,
    ),
    **dict.fromkeys(("groq", "mistral"), (" ".join(LIMITS), f"{FORMATS} uri byte")),
}


@pytest.mark.parametrize("dialect", TAKEN)
def test_a_strict_schema_keeps_what_the_service_takes(dialect: str) -> None:
    limits, formats = TAKEN[dialect]
    said = [*LIMITS.items(), *(("format", name) for name in f"{FORMATS} uri byte".split())]
    said += [
        ("default", 1),
        ("examples", [1]),
        ("example", 1),
        ("discriminator", {}),
        ("propertyOrdering", []),
    ]
    for name, value in said:
        made = conform({name: value}, CLAUDE if dialect == "claude" else DIALECTS[dialect])
        is_limit = name in LIMITS or name == "format"
        is_taken = name in limits.split() or (name == "format" and value in formats.split())
        if is_taken or (not is_limit and dialect in ("groq", "mistral")):
            assert made.schema == {name: value}
        else:
            assert made.schema == {"description": f"{{{name}: {json.dumps(value)}}}"}
        assert made.is_weaker is (is_limit and not is_taken)


def test_anthropics_package_keeps_the_same_formats_and_limits() -> None:
    theirs = pytest.importorskip("anthropic.lib._parse._transform")
    assert set(TAKEN["claude"][1].split()) == theirs.SupportedStringFormats
    for count in (0, 1, 2):
        schema = {"type": "array", "items": {"type": "string"}, "minItems": count}
        assert ("minItems" in conform(schema, CLAUDE).schema) is (
            "minItems" in theirs.transform_schema(schema)
        )


def test_others_than_claude_take_a_strict_schema_that_refers_to_itself() -> None:
    for dialect in DIALECTS.values():
        assert conform(Tree.model_json_schema(), dialect).refused is None


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["object", "#/a", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "anyOf", "allOf", "oneOf", "$ref", "$defs", "required", "enum",
                         "format", "minItems", "minimum", "additionalProperties", "description", "title", "a"]),
        inner, max_size=4,
    ),
    max_leaves=12,
))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_value_compiles(schema: Any) -> None:
    for dialect in (CLAUDE, *DIALECTS.values()):
        json.dumps(conform(schema, dialect).schema)


def test_what_a_schema_loses_is_reported() -> None:
    schema = {
        "type": "object",
        "properties": {str(i): {"type": "object", "additionalProperties": True} for i in range(9)},
    }
    done = prepared("openai-chat:gpt-5", {"output": JSONSchema("p", schema, strict=True)})
    [lost] = done.report.dropped
    assert lost.field == "output"
    assert lost.reason.endswith("and 1 more")
    with pytest.raises(UnsupportedError, match="properties of any name"):
        prepared("openai-chat:gpt-5", {"output": JSONSchema("p", schema, strict=True)}, strict=True)
    kept = {"type": "object", "additionalProperties": True}
    assert conform(kept, DIALECTS["mistral, not strict"]).schema == kept
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    assert conform({"default": cyclic}, CLAUDE).lost


@pytest.mark.parametrize("name", ["properties", "$defs", "definitions", "items", "anyOf", "oneOf", "allOf"])
def test_a_schema_is_cut_off_below_its_48th_level(name: str) -> None:
    def nested(depth: int) -> Any:
        schema: Any = {"title": "T"}
        for _ in range(depth):
            schema = {name: schema if name == "items" else {"a": schema} if step == ".a" else [schema]}
        return schema

    step = {"items": "[]", **dict.fromkeys(("properties", "$defs", "definitions"), ".a")}.get(
        name, f".{name}[0]"
    )
    for dialect in (DIALECTS["mistral, not strict"], *([CLAUDE] if name in ("anyOf", "oneOf") else [])):
        assert conform(nested(48), dialect).lost == ()
        assert conform(nested(49), dialect).lost == (f"${step * 49}: too large a schema: cut off here",)


def test_a_schema_of_any_depth_compiles() -> None:
    deep: dict[str, Any] = {}
    for _ in range(600):
        deep = {"type": "object", "properties": {"a": deep}}
    assert conform(deep, CLAUDE).lost


# -- B.7: JSON mode ------------------------------------------------------------------------------------------

WORD = {"role": "system", "content": "Answer with one JSON object and nothing else."}
OBJECT = {"type": "json_schema", "json_schema": {"name": "object", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("model", "form", "adapted", "words"),
    [
        ("openai-chat:gpt-4o", {"type": "json_object"}, True, True),
        ("mistral:mistral-large-latest", {"type": "json_object"}, True, True),
        ("deepseek:deepseek-chat", {"type": "json_object"}, True, True),
        ("groq:llama-3.3-70b-versatile", {"type": "json_object"}, True, True),
        ("alibaba:qwen-plus", {"type": "json_object"}, True, True),
        ("lmstudio:m", OBJECT, True, False),
        ("perplexity:sonar", OBJECT, True, False),
        ("vllm:m", {"type": "json_object"}, False, False),
    ],
)
def test_plain_json_is_asked_for_as_the_service_demands(
    model: str, form: dict[str, Any], adapted: bool, words: bool
) -> None:
    done = prepared(model, {"output": "json"})
    body = json.loads(done.body)
    assert body["response_format"] == form
    assert (body["messages"][0] == WORD) is words
    assert [d.outcome for d in done.report.deviations] == ["adapted"] * adapted
    named = AsyncClient(providers=CONFIGS).prepare("Give me Json", model=model, output="json")
    assert len(json.loads(named.body)["messages"]) == 1


def test_plain_json_in_responses() -> None:
    done = prepared("openai-responses:gpt-5", {"output": "json"})
    assert json.loads(done.body)["input"][0] == {**WORD, "role": "developer"}
    assert [d.outcome for d in done.report.deviations] == ["adapted"]
    parts = Message.user("Give me JSON")
    named = AsyncClient(providers=CONFIGS).prepare(parts, model="openai-responses:gpt-5", output="json")
    assert len(json.loads(named.body)["input"]) == 1


def test_tools_of_responses_are_strict_only_when_set() -> None:
    def strict(tool: Tool) -> Any:
        return json.loads(prepared("openai-responses:gpt-5", {"tools": [tool]}).body)["tools"][0]["strict"]

    assert strict(TOOL) is False
    assert strict(STRICT_TOOL) is True


def test_fields_of_the_protocols_own_win() -> None:
    own = OpenAIChatOptions(reasoning_effort="high")
    done = prepared("openai-chat:gpt-6", {"tools": [TOOL], "provider_options": own})
    assert json.loads(done.body)["reasoning_effort"] == "high"


def test_what_stands_beside_a_reference_is_reported_at_its_place() -> None:
    named = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x", "description": "d"}}}
    made = conform({**named, "$defs": {"x": {"type": "string", "minLength": 3}}}, CLAUDE)

    assert made.schema["properties"]["a"] == {"anyOf": [{"$ref": "#/$defs/x"}], "description": "d"}
    assert made.changed == (
        "$.a: $ref within anyOf, since it stands alone",
        "$.x: minLength in the description",
        "$: no other properties",
    )
