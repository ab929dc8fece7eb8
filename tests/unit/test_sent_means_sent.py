"""What the report calls sent is in the request, and what is set and not sent is reported.

A setting is one option, cache mark, `extra` or provider option by itself. Each is prepared for every provider with
and without it: what is called sent must make a difference, what makes none must be reported, and must be refused when
strict.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider import (
    PROVIDERS,
    AsyncClient,
    Cache,
    CacheStrategy,
    FilePart,
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    OpaquePart,
    Options,
    Origin,
    PreparedRequest,
    ProviderConfig,
    ProviderOptions,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UnsupportedError,
)
from brainwires_provider.protocols.anthropic import AnthropicOptions
from brainwires_provider.protocols.bedrock import BedrockOptions
from brainwires_provider.protocols.gemini import GeminiOptions
from brainwires_provider.protocols.google_interactions import GoogleInteractionsOptions
from brainwires_provider.protocols.ollama import OllamaOptions
from brainwires_provider.protocols.openai_chat import OpenAIChatOptions
from brainwires_provider.protocols.openai_responses import OpenAIResponsesOptions
from brainwires_provider.protocols.relay import BrainwiresOptions
from brainwires_provider.providers.facts import facts_of
from brainwires_provider.types import Part, Request

OWN: dict[str, type[ProviderOptions]] = {
    "anthropic_messages": AnthropicOptions,
    "bedrock_converse": BedrockOptions,
    "gemini": GeminiOptions,
    "google_interactions": GoogleInteractionsOptions,
    "ollama": OllamaOptions,
    "openai_chat": OpenAIChatOptions,
    "openai_responses": OpenAIResponsesOptions,
    "relay": BrainwiresOptions,
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = Tool("weather", "Tells the weather.", SCHEMA)
CALL = ToolCallPart("call_1", "weather", '{"city":"Rome"}')
RESULT = ToolResultPart("call_1", (TextPart("sun"),), name="weather")
PLAIN = Request((Message.user("Hi"),), tools=(TOOL,))
OPTIONS: dict[str, Any] = {
    "max_tokens": 1234,
    "temperature": 0.25,
    "top_p": 0.75,
    "top_k": 17,
    "seed": 7,
    "stop": "END",
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "reasoning": "high",
    "parallel_tool_calls": False,
    "cache": CacheStrategy.system_and_tools(),
    "provider_options": None,  # one by one
    "extra_body": {"fields": 1},
    "extra_headers": {"x-own": "1"},
    "extra_query": {"own": "1"},
    "timeouts": None,  # never sent
    "strict": None,
}


class Setting(Struct, frozen=True):
    """`name` is the field on the report; `without` and `request` differ in this field alone."""

    name: str
    request: Request
    without: Request = PLAIN


def option(name: str, value: Any, without: Request = PLAIN) -> Setting:
    options = replace(without.options, **{name: value})
    return Setting(name, replace(without, options=options), without)


def options() -> Iterator[Setting]:
    """The fields of Options, and those of the request that are options too."""
    for name, value in OPTIONS.items():
        if value is not None:
            yield option(name, value)
    yield Setting("system", replace(PLAIN, system="Be brief."))
    yield Setting("tools", PLAIN, replace(PLAIN, tools=()))
    yield Setting("tool_choice", replace(PLAIN, tool_choice=ToolChoice.tool("weather")))
    yield Setting("output", replace(PLAIN, output=JSONSchema("person", SCHEMA)))
    yield Setting("extra", replace(PLAIN, extra={"own": 1}))


def marks() -> Iterator[Setting]:
    """Cache marks and `extra` at every place that can have them."""
    for name, tool in (("weather", TOOL), ("search", HostedTool("search"))):
        yield Setting(f"tools[{name}].cache", tools(replace(tool, cache=Cache())), tools(tool))
    yield Setting("tools[weather].extra", tools(replace(TOOL, extra={"own": 1})), tools(TOOL))
    for place, turns in TURNS.items():
        for change in ({"extra": {"own": 1}}, {"cache": Cache()}):
            field = next(iter(change))
            if hasattr(turns[-1].content[0], field):
                changed = replace(turns[-1], content=(replace(turns[-1].content[0], **change),))
                setting = f"messages[{len(turns) - 1}].content[0].{field}"
                yield Setting(f"{setting}@{place}", history(*turns[:-1], changed), history(*turns))
        if place in ("user text", "assistant text"):
            changed = replace(turns[-1], extra={"own": 1})
            yield Setting(
                f"messages[{len(turns) - 1}].extra@{place}", history(*turns[:-1], changed), history(*turns)
            )
    inner = history(
        *RESULT_TURNS[:-1], Message("tool", (replace(RESULT, content=(TextPart("sun", cache=Cache()),)),))
    )
    yield Setting("messages[2].content[0].content[0].cache@tool result", inner, history(*RESULT_TURNS))


def tools(*tools: Tool | HostedTool) -> Request:
    return replace(PLAIN, tools=tools)


def history(*messages: Message) -> Request:
    return replace(PLAIN, messages=messages)


def assistant(part: Part) -> tuple[Message, ...]:
    return (Message.user("Hi"), Message.assistant(part))


RESULT_TURNS = (*assistant(CALL), Message("tool", (RESULT,)))
TURNS: dict[str, tuple[Message, ...]] = {
    "user text": (Message.user("Hi"),),
    "user image": (Message.user(ImagePart(data=b"\x89PNG\r\n\x1a\n", media_type="image/png")),),
    "user file": (Message.user(FilePart(data=b"%PDF", media_type="application/pdf", name="a.pdf")),),
    "user opaque": (Message.user(OpaquePart("note", {"type": "note"})),),
    "system text": (Message.system("Be brief."),),
    "developer text": (Message.developer("Be brief."),),
    "assistant text": assistant(TextPart("Hello")),
    "assistant reasoning": assistant(ReasoningPart("Hm.")),
    "assistant refusal": assistant(RefusalPart("No.")),
    "assistant call": assistant(CALL),
    "assistant opaque": assistant(OpaquePart("note", {"type": "note"})),
    "tool result": RESULT_TURNS,
}


def own_options(kind: type[ProviderOptions]) -> Iterator[Setting]:
    """Every provider option of a protocol by itself, and one of another protocol."""
    for name, declared in get_type_hints(kind).items():
        if name != "protocol":
            yield replace(
                option("provider_options", kind(**{name: sample(declared)})), name=f"provider_options.{name}"
            )
    other: ProviderOptions = (
        BrainwiresOptions(timezone="UTC") if kind is OllamaOptions else OllamaOptions(keep_alive="1m")
    )
    yield option("provider_options", other)


def sample(declared: Any) -> Any:
    """A value of a type that is unlikely to be anybody's default."""
    if get_origin(declared) in (list, tuple) or "Sequence" in str(get_origin(declared)):
        return [sample(get_args(declared)[0])]
    if "Mapping" in str(get_origin(declared)) or get_origin(declared) is dict:
        return {"own": sample(get_args(declared)[1])}
    if "Literal" in str(get_origin(declared)):
        return get_args(declared)[0]
    if get_args(declared):
        return sample(get_args(declared)[0])
    return {bool: True, int: 3, float: 0.5, str: "own", Any: 1}[declared]


@functools.cache
def client(name: str) -> AsyncClient:
    provider = PROVIDERS[name]
    config = ProviderConfig(
        name,
        api_key=None if provider.transport == "local" or provider.keyless else "test-key",
        base_url=None if provider.base_url else "https://mine.example.com/v1",
        region={"aws": "us-east-1", "google": "global", None: None}[provider.cloud],
        project="p" if provider.cloud == "google" else None,
    )
    return AsyncClient(providers=[config])


def prepared(name: str, request: Request, *, stream: bool, **args: Any) -> PreparedRequest | None:
    """None where the protocol has no such content or tool at all."""
    try:
        return client(name).prepare(request, model=f"{name}:m", stream=stream, **args)
    except UnsupportedError:
        return None


def content(request: PreparedRequest) -> Any:
    return request.url, dict(request.headers), json.loads(request.body)


def fault(name: str, setting: Setting, *, stream: bool) -> str | None:
    """What is wrong with the report of one setting at one provider."""
    field = setting.name.partition("@")[0]
    done = prepared(name, setting.request, stream=stream)
    without = prepared(name, setting.without, stream=stream)
    if done is None or without is None:
        return None
    report, makes_a_difference = done.report, content(done) != content(without)
    names = (field, "provider_options") if field.startswith("provider_options.") else (field,)
    is_of_extra = field == "extra"
    deviations = [
        d for d in report.deviations if d.field in names or (is_of_extra and d.field.startswith("extra."))
    ]
    if not deviations:
        if not makes_a_difference:
            return "is called sent and is not" if names[-1] in report.sent else "is lost without a report"
        return None if names[-1] in report.sent else "is sent and not on the report"
    if names[0] in report.sent:
        return "is called sent and deviates"
    is_lost = any(d.outcome != "adapted" for d in deviations)
    if is_lost and prepared(name, setting.request, stream=stream, strict=True) is not None:
        return "is lost and not refused when strict"
    return None


def protocol_of(name: str) -> str:
    return PROVIDERS[name].protocol().name


@pytest.mark.parametrize("protocol", OWN)
def test_what_is_called_sent_is_in_the_request_and_what_is_not_is_reported(protocol: str) -> None:
    settings = [*options(), *marks(), *own_options(OWN[protocol])]
    found = {
        f"{setting.name}: {said}"
        for name in PROVIDERS
        if protocol_of(name) == protocol
        for setting in settings
        for stream in (False, True)
        if (said := fault(name, setting, stream=stream))
    }
    assert not found


ASKED = Request(
    (Message.user("Hi"),),
    options=Options(max_tokens=9000, top_p=0.5, seed=3, parallel_tool_calls=True, reasoning="minimal"),
    system="Be brief.",
)
SAMPLED = ("system", "max_tokens", "top_p", "seed")
REPORTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...] | None]] = {
    "anthropic": (
        "claude-sonnet-4-6",
        ("system", "max_tokens"),
        ("parallel_tool_calls", "top_p", "seed"),
        ("reasoning",),
        ("parallel_tool_calls",),
    ),
    "bedrock": (
        "us.meta.llama4-maverick-17b-instruct-v1:0",
        ("system", "max_tokens", "top_p"),
        ("seed", "parallel_tool_calls"),
        ("reasoning",),
        ("seed", "parallel_tool_calls"),
    ),
    "google": ("gemini-3-pro", SAMPLED, ("parallel_tool_calls",), ("reasoning",), ("parallel_tool_calls",)),
    "google-interactions": ("gemini-3-pro", SAMPLED, ("parallel_tool_calls",), ("reasoning",), None),
    "ollama": ("m", SAMPLED, ("parallel_tool_calls",), ("reasoning",), None),
}
"""A model, and what a request to it reports as sent, dropped, weakened; and as dropped when its tokens are counted."""


@pytest.mark.parametrize("name", REPORTS)
def test_each_call_of_a_request_says_what_became_of_its_options(name: str) -> None:
    model, sent, dropped, weakened, uncounted = REPORTS[name]
    protocol, facts = PROVIDERS[name].protocol(), facts_of(model, name)
    request, origin = replace(ASKED, model=model), Origin(protocol.name, name, model)
    calls = [protocol.encode(request, origin, stream=stream, facts=facts) for stream in (False, True)]
    told = [
        (call.sent, tuple(d.field for d in call.deviations if d.outcome == "dropped"), call.weakened)
        for call in calls
    ]
    assert told == [(sent, dropped, weakened)] * 2
    if uncounted is not None:
        count = protocol.count_call(request, origin, facts)
        assert count.sent == sent
        assert tuple(d.field for d in count.deviations if d.outcome == "dropped") == uncounted


def test_every_option_has_a_setting() -> None:
    assert OPTIONS.keys() == set(Options.__struct_fields__)
    assert set(map(protocol_of, PROVIDERS)) == OWN.keys()


class NewOptions(Options, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Options with a field that no protocol knows."""

    brand_new: int | None = None


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_option_that_no_protocol_knows_is_reported_by_every_provider(name: str) -> None:
    given = NewOptions(brand_new=1)
    done = prepared(name, replace(PLAIN, options=given), stream=False)
    is_reported = done is not None and [d.field for d in done.report.dropped] == ["brand_new"]
    is_refused = prepared(name, replace(PLAIN, options=replace(given, strict=True)), stream=False) is None
    assert is_reported and is_refused


class Text(str):
    """As `numpy.str_`, `markupsafe.Markup` and frameworks' texts are."""


class Whole(int):
    """An integer of a subclass."""


class Number(float):
    """As `numpy.float64` is."""


def disguised(value: Any) -> Any:
    """The same value of subclasses of the types that it is made of."""
    kind = {str: Text, int: Whole, float: Number}.get(type(value))
    if kind is not None:
        return kind(value)
    if isinstance(value, Struct):
        fields = {name: disguised(getattr(value, name)) for name in value.__struct_fields__}
        return type(value)(**fields)
    if isinstance(value, (list, tuple)):
        return type(value)(map(disguised, value))
    if isinstance(value, Mapping):
        return MappingProxyType({disguised(key): disguised(inner) for key, inner in value.items()})
    return value


@pytest.mark.parametrize("protocol", OWN)
def test_values_of_subclasses_are_sent_as_those_of_the_types_themselves(protocol: str) -> None:
    name = next(name for name in PROVIDERS if protocol_of(name) == protocol)
    for setting in [*options(), *marks(), *own_options(OWN[protocol])]:
        done = prepared(name, setting.request, stream=True)
        same = prepared(name, disguised(setting.request), stream=True)
        assert (done and content(done)) == (same and content(same)), setting.name
    assert content(client(name).prepare(Text("Hi"), model=Text(f"{name}:m"))) == content(
        client(name).prepare("Hi", model=f"{name}:m")
    )
