"""The same Claude model by every way to it: the five providers drop, adapt, emulate and report the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from brainwires_provider import AsyncClient, FilePart, ProviderConfig, UnsupportedError
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import (
    JSONSchema,
    Message,
    Options,
    Origin,
    Part,
    Reasoning,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from known import encode_known

PROVIDER_NAMES = ("anthropic", "bedrock", "bedrock-anthropic", "bedrock-invoke", "vertex-anthropic")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
TOOLS = (Tool("weather", "Tells the weather.", SCHEMA),)
HI = (Message.user("Hi"),)
MODELS = (
    "claude-3-5-sonnet-20240620",
    "claude-3-7-sonnet-20250219",
    "claude-opus-4-20250514",
    "claude-opus-4-1-20250805",
    "claude-sonnet-4-5-20250929",
    "claude-sonnet-4-6",
    "claude-opus-4-7",
    "claude-sonnet-5",
    "claude-opus-5-5",
    "claude-fable-5-1",
)
REQUESTS: dict[str, dict[str, Any]] = {
    "temperature": {"options": {"temperature": 0.5}},
    "both samplers": {"options": {"temperature": 0.5, "top_p": 0.9}},
    "top_k": {"options": {"top_k": 5}},
    **{f"effort {e}": {"options": {"reasoning": e}} for e in ("off", "minimal", "low", "high", "max")},
    "budget": {"options": {"reasoning": Reasoning(budget_tokens=2048)}},
    "budget and effort": {"options": {"reasoning": Reasoning("low", 2048)}},
    "summary": {"options": {"reasoning": Reasoning(summary="concise")}},
    "low limit": {"options": {"reasoning": "high", "max_tokens": 1000}},
    "samplers beside thinking": {
        "options": {"reasoning": "high", "temperature": 0.5, "top_p": 0.5, "top_k": 5}
    },
    "forced": {"tools": TOOLS, "tool_choice": ToolChoice("required")},
    "named": {"tools": TOOLS, "tool_choice": ToolChoice.tool("weather")},
    "forced beside a budget": {
        "tools": TOOLS,
        "tool_choice": ToolChoice("required"),
        "options": {"reasoning": Reasoning(budget_tokens=2048)},
    },
    "absent": {"options": {"seed": 1, "presence_penalty": 1, "frequency_penalty": 1}},
    "json": {"output": "json"},
    "no tool": {"tools": TOOLS, "tool_choice": ToolChoice("none")},
    "one call at a time": {"tools": TOOLS, "options": {"parallel_tool_calls": False}},
}
ON_CONVERSE: dict[str, list[tuple[str, str]]] = {
    "no tool": [("tool_choice", "emulated"), ("tools", "dropped")],
    "one call at a time": [("parallel_tool_calls", "dropped")],
}
"""What Converse alone reports: its toolChoice is auto, any or one tool, and nothing else is said of calls (2026-11,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html). Messages has both."""


def reported(provider: str, model: str, given: dict[str, Any]) -> list[tuple[str, str]]:
    """What is reported of the options that all five have. The limit and the API's version are Anthropic's alone."""
    protocol = PROVIDERS[provider].protocol
    assert protocol is not None
    made = protocol()
    name = f"us.anthropic.{model}-v1:0" if "bedrock" in provider else model
    fields = {**given, "options": Options(**{"max_tokens": 9_000, **given.get("options", {})})}
    call = encode_known(made, Request(HI, name, **fields), Origin(made.name, provider, name), stream=False)
    return sorted((d.field, d.outcome) for d in call.deviations if "under version" not in d.reason)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", REQUESTS)
def test_every_way_to_a_model_reports_the_same(model: str, case: str) -> None:
    given = REQUESTS[case]
    found = {provider: reported(provider, model, given) for provider in PROVIDER_NAMES}
    usual = found["anthropic"]
    alone = sorted([*usual, *ON_CONVERSE.get(case, ())])
    assert found == {provider: alone if provider == "bedrock" else usual for provider in PROVIDER_NAMES}


@pytest.mark.parametrize("media_type", ["audio/wav", "video/mp4"])
@pytest.mark.parametrize("provider", PROVIDER_NAMES)
def test_audio_and_video_are_refused(provider: str, media_type: str) -> None:
    model = "us.anthropic.claude-sonnet-5" if "bedrock" in provider else "claude-sonnet-5"
    on_vertex = provider == "vertex-anthropic"
    config = ProviderConfig(
        provider,
        api_key=None if on_vertex else "k",
        region="global" if on_vertex else "us-east-1" if "bedrock" in provider else None,
        project="p-123456" if on_vertex else None,
    )
    client = AsyncClient(providers=[config])
    part = FilePart(data=b"RIFF", media_type=media_type)
    with pytest.raises(UnsupportedError, match=f"{model} reads no {media_type.partition('/')[0]}"):
        client.prepare(Message.user("What?", part), model=f"{provider}:{model}")


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [
        ("claude-sonnet-5", {"options": {"temperature": 0.5}}, [("temperature", "dropped")]),
        (
            "claude-opus-5-5",
            {"tools": TOOLS, "tool_choice": ToolChoice("required")},
            [("tool_choice", "adapted")],
        ),
        (
            "claude-sonnet-4-5-20250929",
            {
                "tools": TOOLS,
                "tool_choice": ToolChoice("required"),
                "options": {"reasoning": Reasoning(budget_tokens=2048)},
            },
            [("tool_choice", "adapted")],
        ),
        ("claude-sonnet-4-6", {"tools": TOOLS, "tool_choice": ToolChoice("required")}, []),
        (
            "claude-sonnet-4-5-20250929",
            {"options": {"temperature": 0.5, "top_p": 0.9}},
            [("top_p", "dropped")],
        ),
    ],
)
@pytest.mark.parametrize("provider", PROVIDER_NAMES)
def test_what_is_reported(
    provider: str, model: str, given: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert reported(provider, model, given) == expected


@pytest.mark.parametrize(
    ("provider", "model", "native"),
    [
        ("anthropic", "claude-sonnet-5", True),
        ("vertex-anthropic", "claude-sonnet-5", True),
        ("bedrock", "claude-sonnet-5", False),
        ("bedrock-invoke", "claude-sonnet-5", False),
        ("bedrock", "claude-sonnet-4-5-20250929", True),
        ("bedrock", "claude-3-7-sonnet-20250219", False),
        ("bedrock", "claude-opus-4-20250514", False),
        ("bedrock-invoke", "claude-opus-4-20250514", False),
    ],
)
def test_a_schema_is_native_only_where_the_cloud_takes_it(provider: str, model: str, native: bool) -> None:
    outcome = reported(provider, model, {"output": JSONSchema("p", SCHEMA)})
    assert outcome == ([] if native else [("output", "emulated")])


# -- messages that the APIs refuse ---------------------------------------------------------------------------

CALL = ToolCallPart("c", "weather", "{}")
ASKED = (Message.user("Hi"), Message("assistant", (CALL,)))


def sent(
    provider: str, *messages: Message, model: str = "claude-opus-4-5"
) -> tuple[list[Any], list[tuple[str, str]]]:
    """The turns, and what is reported of them."""
    made = PROVIDERS[provider].protocol()
    call = encode_known(
        made,
        Request(messages, model, tools=TOOLS, options=Options(max_tokens=9)),
        Origin(made.name, provider, model),
        stream=False,
    )
    return call.body["messages"], [(d.field, d.outcome) for d in call.deviations]


def answered(provider: str, model: str, *parts: Part) -> tuple[Message, ...]:
    made = PROVIDERS[provider].protocol()
    origin = Origin(made.name, provider, model)
    return (
        Message.user("Hi"),
        Message("assistant", tuple(msgspec.structs.replace(part, origin=origin) for part in parts)),
        Message.user("Go on"),
    )


@pytest.mark.parametrize("provider", PROVIDER_NAMES)
def test_thinking_without_a_signature_stays_behind(provider: str) -> None:
    parts = (ReasoningPart("Hm"), TextPart("Hello"))
    turns, told = sent(provider, *answered(provider, "claude-opus-4-5", *parts))
    assert "Hm" not in str(turns)
    assert told == [("messages[1].content[0]", "dropped")]
    turns, told = sent(provider, *answered(provider, "qwen3", *parts), model="qwen3")
    assert "Hm" in str(turns)
    assert told == []


@pytest.mark.parametrize("provider", PROVIDER_NAMES)
@pytest.mark.parametrize("parts", [("Once ",), ("Once", "upon a\n")])
def test_an_answer_to_be_continued_ends_in_no_blank(provider: str, parts: tuple[str, ...]) -> None:
    turns, told = sent(provider, Message.user("Hi"), Message.assistant(*parts))
    content = turns[-1]["content"]
    assert (content if isinstance(content, str) else content[-1]["text"]) == parts[-1].rstrip()
    assert told == [("messages[1]", "adapted")]
    later, told = sent(provider, Message.user("Hi"), Message.assistant(*parts), Message.user("Go on"))
    content = later[1]["content"]
    assert (content if isinstance(content, str) else content[-1]["text"]) == parts[-1]
    assert told == []


@pytest.mark.parametrize("provider", PROVIDER_NAMES)
@pytest.mark.parametrize("content", [(), (TextPart(""),)])
def test_an_empty_error_says_so(provider: str, content: tuple[TextPart, ...]) -> None:
    result = Message("tool", (ToolResultPart("c", content, is_error=True),))
    turns, told = sent(provider, *ASKED, result)
    assert "(empty)" in str(turns[-1])
    assert told == [("messages[2].content[0]", "adapted")]


@pytest.mark.parametrize("content", [(), (TextPart(""),), (TextPart(" "),)])
def test_an_empty_result_is_refused_by_converse(content: tuple[TextPart, ...]) -> None:
    result = Message("tool", (ToolResultPart("c", content),))
    turns, told = sent("bedrock", *ASKED, result)
    assert turns[-1]["content"][0]["toolResult"]["content"] == [{"text": "(empty)"}]
    assert told == [("messages[2].content[0]", "adapted")]
