"""The same Claude model by every way to it: the five providers drop, adapt, emulate and report the same."""

from __future__ import annotations

from typing import Any

import pytest

from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import (
    JSONSchema,
    Message,
    Options,
    Origin,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)

PROVIDER_NAMES = ("anthropic", "bedrock", "bedrock-anthropic", "bedrock-invoke", "vertex-anthropic")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
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
}


def reported(provider: str, model: str, given: dict[str, Any]) -> list[tuple[str, str]]:
    """What is reported of the options that all five have. The limit and the API's version are Anthropic's alone."""
    protocol = PROVIDERS[provider].protocol
    assert protocol is not None
    made = protocol()
    name = f"us.anthropic.{model}-v1:0" if "bedrock" in provider else model
    fields = {**given, "options": Options(**{"max_tokens": 9_000, **given.get("options", {})})}
    call = made.encode(Request(HI, name, **fields), Origin(made.name, provider, name), stream=False)
    return sorted((d.field, d.outcome) for d in call.deviations if "under version" not in d.reason)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", REQUESTS)
def test_every_way_to_a_model_reports_the_same(model: str, case: str) -> None:
    given = REQUESTS[case]
    first, *others = (reported(provider, model, given) for provider in PROVIDER_NAMES)
    assert all(other == first for other in others), dict(zip(PROVIDER_NAMES, (first, *others), strict=True))


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
