"""The same Claude model by every way to it: the five providers drop, adapt, emulate and report the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from brainwires_provider import AsyncClient, FilePart, ProviderConfig, UnsupportedError
from brainwires_provider.protocols.anthropic import AnthropicOptions
from brainwires_provider.protocols.base.claude import (
    ClaudeSettings,
    check_end,
    output_in_words,
    strict_parameters,
)
from brainwires_provider.protocols.base.facts import ModelFacts
from brainwires_provider.protocols.base.options import OptionReader
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


# -- what the settings of a model come to, whatever the route ------------------------------------------------

BY_BUDGET = ModelFacts(adaptive=False)
BY_EFFORT = ModelFacts(budgets=False)
PLAIN = ModelFacts(budgets=False, adaptive=False)
NO_ROOM = "max_tokens leaves no room for 1024 tokens of thinking"
NO_BUDGET = "this model takes no budget: it decides itself how much it thinks"
NO_SIZES = "summaries have no sizes here"
LOWEST = "the lowest effort here is low"


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


def in_tokens(tokens: int) -> tuple[str, str]:
    return "adapted", f"this model takes no effort but a budget: {tokens} tokens"


def cut(tokens: int) -> tuple[str, str]:
    return "weakened", f"the budget of this effort is cut to {tokens} tokens, which have room"


def settled(
    facts: ModelFacts, limit: int | None = None, **given: Any
) -> tuple[ClaudeSettings, Callable[[], list[tuple[str, str]]]]:
    """The settings, and what they have reported."""
    reader = OptionReader(Request(HI, "m", **given), AnthropicOptions, facts)

    def told() -> list[tuple[str, str]]:
        found = reader.finish()
        return [(("weakened" if e.field in reader.weakened else e.outcome), e.reason) for e in found]

    return ClaudeSettings(reader, limit), told


@pytest.mark.parametrize(
    ("facts", "wanted", "limit", "thinking", "effort", "told"),
    [
        *(
            (BY_BUDGET, effort, None, budget(tokens), None, [in_tokens(tokens)])
            for effort, tokens in (
                ("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16384), ("max", 32768)
            )
        ),
        (BY_BUDGET, Reasoning(), None, budget(8192), None, [in_tokens(8192)]),
        (BY_BUDGET, "minimal", 1024, None, None, [("dropped", NO_ROOM)]),
        (BY_BUDGET, "minimal", 1025, budget(1024), None, [in_tokens(1024)]),
        (BY_BUDGET, "low", 1025, budget(1024), None, [cut(1024)]),
        (BY_BUDGET, "low", 2048, budget(2047), None, [cut(2047)]),
        (BY_BUDGET, "low", 2049, budget(2048), None, [in_tokens(2048)]),
        (ModelFacts(adaptive=False, max_output=4096), "low", None, budget(2048), None, [in_tokens(2048)]),
        (ModelFacts(adaptive=False, max_output=4095), "low", None, budget(2047), None, [cut(2047)]),
        (ModelFacts(adaptive=False, max_output=4095), "low", 9000, budget(2048), None, [in_tokens(2048)]),
        (BY_BUDGET, Reasoning(budget_tokens=5), None, budget(5), None, []),
        (BY_BUDGET, Reasoning("low", 5), None, budget(5), None,
         [("weakened", "this model takes a budget or an effort: the budget is sent")]),
        (ModelFacts(), Reasoning("high", 5), None, budget(5), "high", []),
        (ModelFacts(), Reasoning("minimal", 5), None, budget(5), "low", [("weakened", LOWEST)]),
        (ModelFacts(), "high", None, {"type": "adaptive"}, "high", []),
        (BY_EFFORT, "max", None, {"type": "adaptive"}, "max", []),
        (BY_EFFORT, "minimal", None, {"type": "adaptive"}, "low", [("weakened", LOWEST)]),
        (BY_EFFORT, Reasoning(), None, {"type": "adaptive"}, None, []),
        (BY_EFFORT, Reasoning("low", 5), None, {"type": "adaptive"}, "low", [("dropped", NO_BUDGET)]),
        (BY_EFFORT, Reasoning(summary="auto"), None, {"type": "adaptive", "display": "summarized"}, None, []),
        *(
            (BY_EFFORT, Reasoning(summary=size), None, {"type": "adaptive", "display": "summarized"}, None,
             [("weakened", NO_SIZES)])
            for size in ("concise", "detailed")
        ),
        (BY_BUDGET, Reasoning("low", summary="concise"), 1024, None, None, [("dropped", NO_ROOM)]),
        (PLAIN, "off", None, None, None, []),
        (PLAIN, "low", None, None, None, [("dropped", "this model does not think before it answers")]),
        (ModelFacts(), "off", None, {"type": "disabled"}, None, []),
        (ModelFacts(thinking_off=None), "off", None, None, None, [("dropped", "this model always thinks")]),
        (ModelFacts(thinking_off="between_tools"), "off", None, {"type": "between_tools"}, None,
         [("weakened", "this model still writes a little between its tool calls")]),
        (ModelFacts(), None, None, None, None, []),
    ],
)  # fmt: skip
def test_what_a_wish_to_think_comes_to(
    facts: ModelFacts, wanted: Any, limit: int | None, thinking: Any, effort: str | None, told: list[Any]
) -> None:
    settings, report = settled(facts, limit, options=Options(reasoning=wanted))
    assert settings.thinking() == thinking
    assert settings.effort == effort
    assert report() == told


ENABLED, ADAPTIVE, DISABLED = budget(9), {"type": "adaptive"}, {"type": "disabled"}
UNFORCED = "this model takes no forced tool choice: auto is sent"
UNFORCED_THINKING = "beside a thinking budget no tool can be forced: auto is sent"


@pytest.mark.parametrize(
    ("facts", "choice", "thinking", "sent", "told"),
    [
        (ModelFacts(), ToolChoice("required"), ENABLED, ToolChoice("required"), None),
        (ModelFacts(forced_tools=False), None, ENABLED, None, None),
        (ModelFacts(forced_tools=False), ToolChoice("none"), ENABLED, ToolChoice("none"), None),
        (ModelFacts(forced_tools=False), ToolChoice("auto"), None, ToolChoice("auto"), None),
        (ModelFacts(forced_tools=False), ToolChoice(raw={"type": "any"}), None, ToolChoice(raw={"type": "any"}), None),
        (ModelFacts(forced_tools=False), ToolChoice("required"), None, ToolChoice("auto"), UNFORCED),
        (ModelFacts(forced_tools=False), ToolChoice.tool("a"), ADAPTIVE, ToolChoice("auto", ("a",)), UNFORCED),
        (ModelFacts(forced_tools_thinking=False), ToolChoice.tool("a"), ENABLED, ToolChoice("auto", ("a",)),
         UNFORCED_THINKING),
        *(
            (ModelFacts(forced_tools_thinking=False), ToolChoice.tool("a"), thinking, ToolChoice.tool("a"), None)
            for thinking in (ADAPTIVE, DISABLED, None, "enabled")
        ),
    ],
)  # fmt: skip
def test_which_choice_of_tools_goes_beside_thinking(
    facts: ModelFacts, choice: ToolChoice | None, thinking: Any, sent: ToolChoice | None, told: str | None
) -> None:
    settings, report = settled(facts, tools=TOOLS, tool_choice=choice)
    assert settings.tool_choice(choice, thinking) == sent
    assert [each for each in report() if each[0] == "weakened"] == (
        [] if told is None else [("weakened", told)]
    )


APART = ModelFacts(samples_thinking=False)
NOT_BESIDE = "not beside thinking"


@pytest.mark.parametrize(
    ("facts", "thinking", "given", "dropped"),
    [
        (ModelFacts(), ENABLED, {"temperature": 0.5, "top_p": 0.1, "top_k": 3}, {}),
        *(
            (APART, thinking, {"temperature": 0.5, "top_p": 0.1, "top_k": 3},
             {"temperature": NOT_BESIDE, "top_p": "beside thinking, top_p is at least 0.95", "top_k": NOT_BESIDE})
            for thinking in (ENABLED, ADAPTIVE)
        ),
        *((APART, thinking, {"temperature": 0.5, "top_p": 0.1, "top_k": 3}, {}) for thinking in (DISABLED, None, "x")),
        (APART, ENABLED, {"temperature": 1.0, "top_p": 0.95}, {}),
        (APART, ENABLED, {"top_p": 0.949}, {"top_p": "beside thinking, top_p is at least 0.95"}),
        (ModelFacts(both_samplers=False), None, {"temperature": 0.5, "top_p": 0.9, "top_k": 3},
         {"top_p": "this model takes temperature or top_p, not both"}),
        (ModelFacts(both_samplers=False), None, {"top_p": 0.9, "top_k": 3}, {}),
        (ModelFacts(both_samplers=False, samples_thinking=False), ENABLED, {"temperature": 0.5, "top_p": 0.99},
         {"temperature": NOT_BESIDE}),
        (ModelFacts(sampling=False), None, {"temperature": 1, "top_p": 1.0, "top_k": 3},
         dict.fromkeys(("temperature", "top_p", "top_k"), "this model takes no sampling options")),
    ],
)  # fmt: skip
def test_which_samplers_go_beside_thinking(
    facts: ModelFacts, thinking: Any, given: dict[str, Any], dropped: dict[str, str]
) -> None:
    settings, report = settled(facts, options=Options(**given))
    assert settings.sampling(thinking) == {name: given[name] for name in given if name not in dropped}
    assert report() == [("dropped", reason) for reason in dropped.values()]


OWN = TextPart("Hello", origin=Origin("anthropic_messages", "anthropic", "m"))


@pytest.mark.parametrize(
    ("prefill", "messages", "refused"),
    [
        (False, (), False),
        (False, HI, False),
        (False, (*HI, Message.assistant("Once")), True),
        (True, (*HI, Message.assistant("Once")), False),
        (False, (*HI, Message.assistant("Once", "more")), True),
        (False, (*HI, Message("assistant", (TextPart("Once"), OWN))), False),
        (False, (*HI, Message("assistant", (OWN,))), False),
        (False, (*HI, Message("assistant", ())), False),
        (False, (Message.assistant("Once"), *HI), False),
    ],
)
def test_which_answer_is_not_continued(prefill: bool, messages: tuple[Message, ...], refused: bool) -> None:
    request, origin = Request(messages, "m"), Origin("anthropic_messages", "vertex-anthropic", "m9")
    reader = OptionReader(request, AnthropicOptions, ModelFacts(prefill=prefill))
    if not refused:
        check_end(reader, request, origin)
        return
    with pytest.raises(UnsupportedError, match="end with a user's message") as caught:
        check_end(reader, request, origin)
    assert (caught.value.provider, caught.value.model) == ("vertex-anthropic", "m9")


OPEN = {"type": "object", "properties": {}}
SHUT = {**OPEN, "additionalProperties": False}
MAPPED = {"type": "object", "additionalProperties": {"type": "string"}}


@pytest.mark.parametrize(
    ("on_bedrock", "takes", "strict", "given", "sent", "told"),
    [
        (True, True, None, OPEN, (OPEN, None), []),
        (True, False, None, OPEN, (OPEN, None), []),
        (True, True, False, OPEN, (OPEN, False), []),
        *((True, False, strict, OPEN, (OPEN, None), ["tools[t].strict"]) for strict in (True, False)),
        (True, True, True, OPEN, (SHUT, True), ["tools[t].parameters"]),
        (False, False, True, OPEN, (SHUT, True), ["tools[t].parameters"]),
        (False, False, False, OPEN, (OPEN, False), []),
        (False, True, True, SHUT, (SHUT, True), []),
        (False, True, True, MAPPED, (MAPPED, None), ["tools[t].strict"]),
    ],
)
def test_how_strict_a_tool_is_sent(
    on_bedrock: bool, takes: bool, strict: bool | None, given: Any, sent: Any, told: list[str]
) -> None:
    reader = OptionReader(Request(HI, "m"), AnthropicOptions, ModelFacts(bedrock_strict=takes))
    tool = Tool("t", "", given, strict=strict)
    assert strict_parameters(reader, tool, on_bedrock=on_bedrock) == sent
    assert [each.field for each in reader.finish()] == told


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("json", "Answer with one JSON object and nothing else."),
        (
            JSONSchema("pet", {"type": "object"}),
            'Answer with one JSON object, pet, that follows this JSON Schema:\n{"type":"object"}',
        ),
        (
            JSONSchema("pet", {"a": 1}, description="a pet"),
            'Answer with one JSON object, pet (a pet), that follows this JSON Schema:\n{"a":1}',
        ),
    ],
)
def test_an_output_in_words(output: Any, words: str) -> None:
    reader = OptionReader(Request(HI, "m", output=output), AnthropicOptions)
    assert output_in_words(reader, output) == words
    (told,) = reader.finish()
    missing = (
        "this protocol has no plain JSON mode" if output == "json" else "this model takes no such schema"
    )
    assert (told.field, told.outcome, told.reason) == (
        "output",
        "emulated",
        f"{missing}: it is put into words",
    )


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
