"""Wrong values are refused where they are made, or before anything is sent, by an error that names them.

Every field of every value that a caller makes is given every wrong value. What is accepted must be of the annotated
type, by msgspec's own conversion, and must be sent or refused with an error of this package by every protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import math
import operator
import re
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

import brainwires_provider
from brainwires_provider import (
    AnthropicOptions,
    AsyncClient,
    AsyncStream,
    BedrockOptions,
    BrainwiresOptions,
    Breaker,
    Budget,
    ByteStore,
    Cache,
    CacheStrategy,
    Citation,
    Client,
    Config,
    ConfigError,
    Deny,
    EnvKey,
    Fallback,
    FileKey,
    FilePart,
    GeminiOptions,
    GoogleInteractionsOptions,
    Hedge,
    HostedTool,
    ImagePart,
    JSONSchema,
    KeyringKey,
    Limits,
    MapParams,
    Message,
    NamedModel,
    OpaquePart,
    OpenAIChatOptions,
    OpenAIResponsesOptions,
    Options,
    Origin,
    OutputParams,
    ProviderConfig,
    ProviderError,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    Request,
    Retry,
    RunParams,
    Stream,
    Telemetry,
    TextPart,
    Timeouts,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UnsupportedError,
    WebSocketOptions,
)
from brainwires_provider.bulk.prompts import Prompt
from brainwires_provider.events import collect
from brainwires_provider.local import LocalModel
from brainwires_provider.protocols.openai_responses.operations import Order
from brainwires_provider.transports.base import Transport
from brainwires_provider.types import ChatParams, EmbeddingArgs, Part, Policies, dump_messages
from brainwires_provider.types.bulk import BulkSettings
from brainwires_provider.types.checked import (
    Checked,
    check_call,
    check_json,
    checks_calls,
    encode_unusual,
    plain,
    shown,
)
from brainwires_provider.types.runs import RunSettings

SCHEMA = {"type": "object"}
TOOL = Tool("weather", "Tells the weather.", SCHEMA)
CALL = ToolCallPart("call_1", "weather", "{}")
CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE
NESTED = functools.reduce(lambda inner, _: {"items": inner}, range(600), {"type": "string"})
HALF = "\ud83d"


def a_function() -> None: ...


class AModel:
    """Stands for a Pydantic model: a class where a schema belongs."""


GOOD: tuple[Struct, ...] = (
    TextPart("Hi"),
    ReasoningPart("Hm."),
    RefusalPart("No."),
    ImagePart(url="https://a.test/a.png"),
    FilePart(url="https://a.test/a.pdf", media_type="application/pdf"),
    CALL,
    ToolResultPart("call_1", "sun"),
    OpaquePart("note", {"type": "note"}),
    Message("user", "Hi"),
    Cache(),
    Citation(),
    Origin("openai_chat", "openai-chat"),
    TOOL,
    HostedTool("search"),
    ToolChoice(),
    JSONSchema("person", SCHEMA),
    Reasoning(),
    CacheStrategy.off(),
    Options(),
    Request((Message.user("Hi"),)),
    EmbeddingArgs(),
    WebSocketOptions(),
    AnthropicOptions(),
    BedrockOptions(),
    BrainwiresOptions(),
    GeminiOptions(),
    GoogleInteractionsOptions(),
    OpenAIChatOptions(),
    OpenAIResponsesOptions(),
)
WRONG: tuple[Any, ...] = (
    *(None, True, 5, -1, 1.5, math.nan, math.inf, "", "x", HALF, b"x", 1j),
    *([], [5], ["x"], [None], (), ("x",), {"x"}, {}, {"a": "b"}, {1: 2}, {"a": math.nan}, {"a": HALF}),
    *({HALF: 1}, {"a": {"b": object()}}, {None: 1}, CYCLE, NESTED, [CYCLE]),
    *(object(), len, a_function, int, AModel, TextPart("x"), Message.user("x"), TOOL, Timeouts(), Cache()),
)
PROTOCOLS = ("openai-chat", "openai", "anthropic", "google", "bedrock", "ollama", "brainwires")


def wrong_cases() -> Iterator[tuple[Struct, str, Any]]:
    for value in GOOD:
        for name in value.__struct_fields__:
            for wrong in WRONG:
                yield value, name, wrong


@functools.cache
def accepted_cases() -> list[tuple[Struct, str, Any, list[Request]]]:
    """The wrong cases that are accepted, and what asks for them."""
    found = []
    for value, name, wrong in wrong_cases():
        with contextlib.suppress(TypeError, ValueError):
            found.append((value, name, wrong, list(placed(made(value, name, wrong)))))
    return found


hints_of_class = functools.cache(get_type_hints)


def made(value: Struct, name: str, wrong: Any) -> Struct:
    fields = {field: getattr(value, field) for field in value.__struct_fields__}
    if isinstance(value, (ImagePart, FilePart)) and name in ("data", "file_id") and wrong is not None:
        del fields["url"]
    return type(value)(**{**fields, name: wrong})


def is_valid(value: Any, annotation: Any) -> bool:
    """Whether a kept value is of its annotation, and JSON."""
    try:
        msgspec.convert(value, annotation, strict=True)
        msgspec.json.encode(value)
    except (msgspec.ValidationError, TypeError, UnicodeEncodeError, RecursionError):
        return False
    return "null" not in msgspec.json.encode(value).decode() or not holds_nan(value)


def holds_nan(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(holds_nan, value.values()))
    return isinstance(value, float) and not math.isfinite(value)


def test_a_wrong_value_of_a_field_is_refused_or_right() -> None:
    faults = []
    for value, name, wrong in wrong_cases():
        cls = type(value)
        case = f"{cls.__name__}({name}={type(wrong).__name__})"
        try:
            kept = getattr(made(value, name, wrong), name)
        except (TypeError, ValueError) as error:
            text = str(error)
            if name not in text or (cls is not Options and cls.__name__ not in text and "Media" not in text):
                faults.append(f"{case}: {text}")
            continue
        except Exception as error:
            faults.append(f"{case}: {error!r}")
            continue
        # Half a character in a text is found when all is encoded; numbers as keys are sent as texts; a citation's
        # raw item is a service's own.
        if wrong is HALF or wrong == {1: 2} or (cls, name) == (Citation, "raw"):
            continue
        if not is_valid(kept, hints_of_class(cls)[name]):
            faults.append(f"{case}: accepted {str(wrong)[:40]}")
    assert not faults, "\n".join(faults)


# -- what is accepted is sent, or refused with an error of ours ------------------------------------------------


@functools.cache
def client(provider: str) -> AsyncClient:
    region = "us-east-1" if provider == "bedrock" else None
    key = None if provider == "ollama" else "k"
    url = "https://a.test" if provider == "brainwires" else None
    return AsyncClient(
        f"{provider}:m", providers=[ProviderConfig(provider, api_key=key, region=region, base_url=url)]
    )


def placed(value: Struct) -> Iterator[Request]:
    """Requests that hold a value."""
    plain = Request((Message.user("Hi"),), tools=(TOOL,))
    if isinstance(value, Part.__args__):  # type: ignore[attr-defined]
        for role in ("user", "assistant", "tool", "system"):
            yield replace(plain, messages=(Message.user("Hi"), Message(role, value)))
    elif isinstance(value, Message):
        yield replace(plain, messages=(value,))
    elif isinstance(value, (Tool, HostedTool)):
        yield replace(plain, tools=(value,))
    elif isinstance(value, ToolChoice):
        yield replace(plain, tool_choice=value)
    elif isinstance(value, JSONSchema):
        yield replace(plain, output=value)
    elif isinstance(value, Cache):
        yield replace(plain, messages=(Message.user(TextPart("Hi", cache=value)),))
    elif isinstance(value, Citation):
        yield replace(plain, messages=(Message.user("Hi"), Message.assistant(TextPart("Hi", (value,)))))
    elif isinstance(value, Request):
        yield value
    elif isinstance(value, (EmbeddingArgs, WebSocketOptions, Origin)):
        return
    else:
        field = {Reasoning: "reasoning", CacheStrategy: "cache"}.get(type(value), "provider_options")
        yield replace(plain, options=value if isinstance(value, Options) else Options(**{field: value}))


@pytest.mark.parametrize("provider", PROTOCOLS)
def test_an_accepted_value_is_sent_or_refused(provider: str) -> None:
    faults = []
    for value, name, wrong, requests in accepted_cases():
        for request in requests:
            try:
                client(provider).prepare(request, model=f"{provider}:m")
            except (ConfigError, UnsupportedError):
                continue
            except (TypeError, ValueError) as error:
                if name not in str(error) and "holds no message" not in str(error):
                    faults.append(f"{type(value).__name__}({name}={type(wrong).__name__}): {error!r}")
            except Exception as error:
                faults.append(f"{type(value).__name__}({name}={type(wrong).__name__}): {error!r}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", [*ChatParams.__annotations__, "input"])
def test_a_wrong_argument_is_named(name: str) -> None:
    faults = []
    for wrong in WRONG:
        try:
            client("openai-chat").prepare(**{"input": "Hi", name: wrong})
        except (TypeError, ValueError, ConfigError, UnsupportedError) as error:
            named = (name, "holds no message", "a model is named", "the request['messages']")
            if not any(word in str(error) for word in named):
                faults.append(f"{wrong!r:.40}: {error!r}")
        except Exception as error:
            faults.append(f"{wrong!r:.40}: {error!r}")
    assert not faults, "\n".join(faults)


# -- what sets up a client, and the arguments of public methods -------------------------------------------------

SETTINGS: tuple[Struct, ...] = (
    Budget(),
    Breaker(),
    Config(),
    Deny(),
    EnvKey("A"),
    Fallback("a:b"),
    FileKey("a"),
    Hedge(1),
    KeyringKey("a", "b"),
    Limits(),
    LocalModel(),
    NamedModel("a:b"),
    ProviderConfig("openai-chat"),
    Retry(),
    Telemetry(),
    Timeouts(),
)
FEW: tuple[Any, ...] = (5, "x", object(), [], {}, [5], [{"a": 1}], {"a": 5}, {5: "x"}, None, True, 1.5, b"x")
JOINED = (Mapping, Sequence, Iterable, tuple)


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of an annotation, by a reading of it that shares nothing with the library's."""
    origin, of = get_origin(annotation), get_args(annotation)
    if annotation in (Any, object) or isinstance(annotation, TypeVar):
        return True
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in of)
    if origin is Literal:
        return type(value) is str and value in of
    if origin is Callable:
        return callable(value)
    if origin is Mapping:
        return isinstance(value, dict) and all(fits(v, of[1]) for v in value.values())
    if origin in (list, tuple, Sequence, Iterable):
        return isinstance(value, (list, tuple)) and all(fits(each, of[0]) for each in value)
    if annotation is float:
        return type(value) in (int, float)
    if getattr(annotation, "_is_protocol", False):
        return False
    kind = NoneType if annotation is None else origin or annotation
    return isinstance(value, kind) and not (kind is int and value is True)


def fault(error: Exception, name: str) -> str:
    """What is wrong with an error, or ""."""
    if not isinstance(error, (TypeError, ValueError, ConfigError, UnsupportedError)):
        return repr(error)
    return "" if name in str(error) else f"names no {name}: {error!r}"


def test_every_public_value_is_checked() -> None:
    """Those that a caller makes; the others are made by the library, of what a service has said."""
    public = map(brainwires_provider.__getattr__, brainwires_provider.__all__)
    kinds = {value for value in public if isinstance(value, type) and issubclass(value, Struct)}
    kinds = {kind for kind in kinds if not kind.__module__.endswith(".events")}
    assert {kind.__name__ for kind in kinds if not issubclass(kind, Checked)} == {
        *("Attempt", "BatchJob", "BatchResult", "BreakerStats", "BudgetStats", "BulkForecast"),
        "BulkProgress",
        *(
            "CallInfo",
            "ClientStats",
            "Compaction",
            "Continuation",
            "Cost",
            "Deviation",
            "Embeddings",
            "LimitStats",
        ),
        *(
            "Model",
            "PreparedRequest",
            "Provider",
            "Report",
            "ResolvedModel",
            "Response",
            "TokenCount",
            "Usage",
        ),
        *("WebSocketStats",),
    }
    tried = {type(value) for value in (*GOOD, *SETTINGS)}
    assert {kind.__name__ for kind in kinds if issubclass(kind, Checked)} - {
        each.__name__ for each in tried
    } == {
        "FunctionTool",
        "ProviderOptions",
    }


@pytest.mark.parametrize("value", SETTINGS, ids=lambda value: type(value).__name__)
def test_a_wrong_value_of_a_setting_is_refused(value: Struct) -> None:
    cls, faults = type(value), []
    for name in cls.__struct_fields__:
        for wrong in FEW:
            try:
                made(value, name, wrong)
            except Exception as error:
                text = fault(error, name) or fault(error, cls.__name__) * (cls is not LocalModel)
                faults += [text] * bool(text)
                continue
            if not fits(wrong, get_type_hints(cls)[name]):
                faults.append(f"{name}={wrong!r} is accepted")
    assert not faults, "\n".join(faults)


ARGUMENTS: dict[str, str] = {
    "retry": "Retry(attempts=5)",
    "limits": "Limits(rpm=60)",
    "budget": "Budget(usd=5)",
    "breaker": "Breaker(failures=5)",
    "hedge": "Hedge(after=10)",
    "timeouts": "Timeouts(total=30)",
}
"""What a client is set up with, and the example that the error of a wrong value gives."""


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_wrong_policy_is_told_with_an_example(name: str) -> None:
    settings: Any = {name: object()}
    with pytest.raises(TypeError, match=re.escape(f"; for example {ARGUMENTS[name]}") + "$"):
        AsyncClient("openai-chat:m", api_key="k", **settings)


# Of numbers the last that is refused, and the first that is taken; at both ends, where there are two.
NEGATIVE, POSITIVE = math.nextafter(0, -1), math.nextafter(0, 1)
Pair = tuple[float, float]
BOUNDS: tuple[tuple[Struct, str, tuple[Pair, ...]], ...] = (
    (Retry(), "attempts", ((0, 1),)),
    (Retry(), "repairs", ((-1, 0),)),
    (Retry(), "base cap longest_wait", ((NEGATIVE, 0),)),
    (Limits(), "rpm tpm itpm otpm", ((0, POSITIVE), (1e15, math.nextafter(1e15, 0)))),
    (Limits(), "concurrency", ((0, 1), (10**15, 10**15 - 1))),
    (Budget(), "usd", ((NEGATIVE, 0), (1e15, math.nextafter(1e15, 0)))),
    (Budget(), "tokens", ((-1, 0), (10**15, 10**15 - 1))),
    (Hedge(1), "after", ((NEGATIVE, 0), (math.inf, sys.float_info.max))),
    (Hedge(1), "share", ((0, POSITIVE), (math.nextafter(1, 2), 1))),
    (Breaker(), "failures", ((0, 1),)),
    (Breaker(), "window rest", ((0, POSITIVE),)),
    (Timeouts(), "connect first_event idle content attempt total", ((0, POSITIVE),)),
    (LocalModel(), "context threads slots batch", ((0, 1),)),
    (LocalModel(), "idle_timeout load_timeout", ((0, POSITIVE), (math.inf, sys.float_info.max))),
    (LocalModel(), "gpu_layers", ((-1, 0),)),
    (Options(), "max_tokens", ((-1, 0),)),
    (Options(), "temperature", ((NEGATIVE, 0),)),
    (Options(), "top_p", ((NEGATIVE, 0), (math.nextafter(1, 2), 1))),
    (RunSettings(), "max_steps max_parallel max_failures", ((0, 1),)),
    (BulkSettings(), "concurrency", ((0, 1),)),
    (BulkSettings(), "limit", ((-1, 0),)),
    (Tool.from_function(a_function), "timeout", ((0, POSITIVE),)),
)


def test_every_number_has_its_bounds() -> None:
    for value, names, pairs in BOUNDS:
        for name in names.split():
            for refused, taken in (*pairs, (math.nan, pairs[0][1])):
                assert getattr(made(value, name, taken), name) == taken
                with pytest.raises((TypeError, ValueError, ConfigError), match=name):
                    made(value, name, refused)
    bounded = {(type(value), name) for value, names, _ in BOUNDS for name in names.split()}
    for cls in map(type, SETTINGS):
        numbers = [
            name for name, hint in get_type_hints(cls).items() if {int, float} & {hint, *get_args(hint)}
        ]
        assert {(cls, name) for name in numbers} <= bounded


class Sent(Exception):
    pass


class NoTransport:
    """Nothing is to be sent to it."""

    async def open(self, *_: Any) -> Any:
        raise Sent

    async def aclose(self) -> None: ...

    def abandon(self) -> bool:
        return False


def hints_of(function: Any) -> dict[str, Any]:
    """The annotations of a function, those of its keywords instead of `**args`."""
    names = {"SSLContext": ssl.SSLContext, "Transport": Transport, "ByteStore": ByteStore, "BatchItems": Any}
    names |= {"AsyncStream": AsyncStream, "Stream": Stream, "Prompt": Prompt, "Order": Order}
    found = {}
    for name, text in inspect.unwrap(function).__annotations__.items():
        if "Unpack[" in text:
            keywords = {"OutputParams": OutputParams, "RunParams": RunParams, "MapParams": MapParams}
            found |= {name: hint | None for name, hint in get_type_hints(keywords[text[7:-1]]).items()}
        elif name not in ("return", "output"):
            found[name] = eval(text, vars(sys.modules[inspect.unwrap(function).__module__]), names)
    return found


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_a_wrong_argument_of_a_client_is_refused(cls: Any) -> None:
    faults = []
    for name, annotation in hints_of(cls.__init__).items():
        for wrong in FEW:
            try:
                cls(**{"model": "openai-chat:m", "api_key": "k", name: wrong}).prepare("Hi")
            except Exception as error:
                text = fault(error, name)
                faults += [text] * bool(text)
                continue
            if not fits(wrong, annotation):
                faults.append(f"{name}={wrong!r} is accepted")
    assert not faults, "\n".join(faults)


REQUIRED: dict[str, Any] = {
    "texts": ["Hi"],
    "input": "Hi",
    "prompt": "Hi",
    "rows": ["Hi"],
    "items": {"a": "Hi"},
    "source": "a",
    "destination": "b",
    "id": "a",
    "response": "a",
    "stream": "a",
    "model": "m",
    "models": ["local:m"],
    "text": "Hi",
    "labels": ["a", "b"],
}
OWN: dict[str, str] = {
    "": "openai-chat",
    "responses": "openai-responses",
    "interactions": "google-interactions",
    "ollama": "ollama",
    "local": "llama-server",
}


def methods() -> Iterator[tuple[str, str, str]]:
    for face in ("Client", "AsyncClient"):
        for place, provider in OWN.items():
            made = getattr(brainwires_provider, face)(f"{provider}:m", api_key="k")
            owner = operator.attrgetter(place)(made) if place else made
            for name, _ in inspect.getmembers(type(owner), inspect.isfunction):
                if not name.startswith("_") and name not in ("close", "aclose", "stats", "chat", "stream"):
                    yield face, place, name


@pytest.mark.parametrize(("face", "place", "name"), list(methods()))
def test_a_wrong_argument_of_a_method_is_refused(
    face: str, place: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is called, and before anything is sent."""
    monkeypatch.chdir(tmp_path)  # a text among the wrong values may be a path
    kind = getattr(brainwires_provider, face)
    client = kind(f"{OWN[place]}:m", api_key="k", transport=NoTransport(), retry=Retry(attempts=1))
    owner = operator.attrgetter(place)(client) if place else client
    function, faults = getattr(type(owner), name), []
    for argument, annotation in hints_of(function).items():
        for wrong in FEW:
            needed = [n for n, p in inspect.signature(function).parameters.items() if p.default is p.empty]
            given = {n: REQUIRED[n] for n in needed if n in REQUIRED}
            if name in ("batch", "load_batch"):
                given["ledger"] = tmp_path
            try:
                result = getattr(owner, name)(**{**given, argument: wrong})
                if inspect.isawaitable(result):
                    asyncio.run(result)
            except Exception as error:
                is_ours = isinstance(error, (TypeError, ValueError, ProviderError, Sent))
                text = fault(error, argument) if not fits(wrong, annotation) else repr(error) * (not is_ours)
                faults += [f"{argument}={wrong!r}: {text}"] * bool(text)
                continue
            if not fits(wrong, annotation):
                faults.append(f"{argument}={wrong!r} is accepted")
    assert not faults, "\n".join(faults)


# -- what is said ----------------------------------------------------------------------------------------------

SAID: dict[str, tuple[Any, type[Exception], str]] = {
    "max_tokens": (
        lambda: Options(max_tokens="100"),
        TypeError,
        "max_tokens takes an integer or None, not '100'",
    ),
    "a range": (lambda: Options(top_p=2), ValueError, "top_p takes a number, 0 to 1, not 2"),
    "an open range": (lambda: Options(max_tokens=-1), ValueError, "max_tokens takes a number, 0 or more"),
    "temperature": (
        lambda: Options(temperature="hot"),
        TypeError,
        "temperature takes a number or None, not 'hot'",
    ),
    "nan": (lambda: Options(temperature=math.nan), ValueError, "temperature is nan"),
    "cache": (
        lambda: Options(cache="off"),
        TypeError,
        r"cache takes a CacheStrategy.*CacheStrategy\.off\(\)",
    ),
    "provider_options": (
        lambda: Options(provider_options={}),
        TypeError,
        "provider_options takes a ProviderOpt",
    ),
    "timeouts": (lambda: Options(timeouts=5), TypeError, r"timeouts takes a Timeouts.*Timeouts\(total=30\)"),
    "effort": (lambda: Options(reasoning="hgh"), ValueError, 'reasoning takes "off", .*did you mean "high"'),
    "options": (lambda: client("openai-chat").prepare("Hi", options=5), TypeError, "options takes a Options"),
    "text": (lambda: TextPart({}), TypeError, r"TextPart\.text takes text, not \{\} \(dict\)"),
    "role": (lambda: Message("usr", "Hi"), ValueError, 'Message.role takes .*did you mean "user"'),
    "data": (lambda: ImagePart("cat.png"), TypeError, r"ImagePart\.from_path"),
    "dict": (lambda: client("openai-chat").prepare([{"role": "user"}]), TypeError, r"Message\.user"),
    "function": (
        lambda: client("openai-chat").prepare("Hi", tools=[lambda city: city]),
        ValueError,
        r"services refuse a tool named '<lambda>'",
    ),
    "model class": (lambda: Tool("a", "b", AModel), TypeError, r"AModel\.model_json_schema\(\)"),
    "cycle": (lambda: Tool("a", "b", CYCLE), ValueError, "nested deeper than 200 levels, or holds itself"),
    "deep": (lambda: JSONSchema("a", NESTED), ValueError, "nested deeper"),
    "list cycle": (lambda: JSONSchema("a", {"enum": [CYCLE]}), ValueError, "nested deeper"),
    "nan in a schema": (
        lambda: Tool("a", "b", {"minimum": math.nan}),
        ValueError,
        r"parameters\['minimum'\] is nan",
    ),
    "half in a schema": (lambda: Tool("a", "b", {"title": HALF}), ValueError, r"\['title'\] holds half"),
    "half in a query": (
        lambda: Options(extra_query={"a": HALF}),
        ValueError,
        r"extra_query\['a'\] holds half",
    ),
    "header": (lambda: Options(extra_headers={"a": 5}), TypeError, r"extra_headers\['a'\] takes text, not 5"),
    "half in a text": (lambda: client("openai").prepare(HALF), UnsupportedError, r"\['input'\].* holds half"),
}


@pytest.mark.parametrize("name", SAID)
def test_an_error_names_the_argument_the_value_and_the_right_form(name: str) -> None:
    make, kind, says = SAID[name]
    with pytest.raises(kind, match=says):
        make()


EXAMPLES: dict[str, str] = {
    "fallback: Fallback": 'Fallback("groq:qwen3")',
    "cache: Cache": "Cache()",
    "strategy: CacheStrategy": "CacheStrategy.system_and_tools() or CacheStrategy.off()",
    "output: JSONSchema": "JSONSchema(name, schema)",
    "message: Message": "Message.user(…)",
    "options: Options": "Options(temperature=0)",
    "own: brainwires_provider.ProviderOptions": "AnthropicOptions(…)",
    "reasoning: Reasoning": "Reasoning(budget_tokens=4096)",
    "retry: Retry": "Retry(attempts=5)",
    "timeouts: Timeouts": "Timeouts(total=30)",
    "tool: Tool": "Tool(name, description, parameters)",
    "choice: ToolChoice": "ToolChoice.tool(name)",
    "either: Citation | None | ToolChoice": "ToolChoice.tool(name)",
}


def taking(annotation: str, /, **defaults: Any) -> Any:
    """A function of one argument."""
    name = annotation.partition(":")[0]
    default = "".join(f" = {default!r}" for default in defaults.values())
    scope: dict[str, Any] = {}
    exec(
        f"from __future__ import annotations\ndef f({annotation}{default}): ...",
        vars(sys.modules[__name__]),
        scope,
    )
    scope["f"].__module__ = __name__
    assert name in scope["f"].__annotations__
    return scope["f"]


@pytest.mark.parametrize("argument", EXAMPLES)
def test_every_value_has_an_example(argument: str) -> None:
    name = argument.partition(":")[0]
    with pytest.raises(TypeError) as caught:
        check_call(taking(argument), {name: 5})
    assert str(caught.value).endswith(f", not 5 (int); for example {EXAMPLES[argument]}")


# An annotation, how the error names it, and a value that is refused.
NAMED: tuple[tuple[str, str, Any], ...] = (
    ("str", "text", 5),
    ("int", "an integer", True),
    ("int", "an integer", 1.5),
    ("float", "a number", True),
    ("float", "a number", "5"),
    ("bool", "True or False", 1),
    ("bytes", "bytes", "x"),
    ("None", "None", 5),
    ("str | None", "text or None", 5),
    ("int | str | None", "an integer, text or None", 1.5),
    ("Literal['a', 'b'] | None", '"a", "b" or None', 5),
    ("Mapping[str, int]", "a dict", 5),
    ("Callable[[int], str]", "a function", 5),
    ("tuple[str, int]", "a tuple of 2", 5),
    ("tuple[str, ...]", "a list of (text)", 5),
    ("Sequence[int | str]", "a list of (an integer or text)", 5),
    ("Iterable[int]", "a list of (an integer)", 5),
    ("Iterable[str]", "a list of (text)", "text"),
    ("Iterable[int]", "a list of (an integer)", b"bytes"),
    ("Iterable[str]", "a list of (text)", {"a": 1}),
    ("Path", "a Path", 5),
    ("str | msgspec.UnsetType", "text", 5),
    ("Thing", "a Thing", 5),
)


class Thing(Protocol):
    name: str

    def do(self) -> None: ...


@pytest.mark.parametrize(("annotation", "words", "wrong"), NAMED)
def test_an_annotation_is_named_in_words(annotation: str, words: str, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        check_call(taking(f"it: {annotation}"), {"it": wrong})
    assert str(caught.value) == f"it takes {words}, not {shown(wrong)}"


class Sub(StrEnum):
    A = "a"


class Text(str): ...


class Many(dict[Any, Any]): ...


# An annotation, what is given, and what the function gets.
TAKEN: tuple[tuple[str, Any, Any], ...] = (
    ("tuple[str, ...]", ["a"], ("a",)),
    ("Sequence[str]", ["a"], ["a"]),
    ("Sequence[str]", [Text("a")], ("a",)),
    ("Iterable[str]", (each for each in "ab"), ("a", "b")),
    ("Iterable[int]", {5}, (5,)),
    ("float", 5, 5),
    ("str", Text("a"), "a"),
    ("Literal['a']", Text("a"), "a"),
    ("Mapping[str, str]", {"a": "b"}, {"a": "b"}),
    ("Mapping[str, Any]", {"a": Text("b")}, {"a": "b"}),
    ("Mapping[str, int]", {"a": 1}, {"a": 1}),
    ("int | tuple[int, str]", [1, "a"], (1, "a")),
    ("Any", HALF, HALF),
    ("Unpack[RunParams]", 5, 5),
    ("Nowhere", 5, 5),
)


@pytest.mark.parametrize(("annotation", "given", "taken"), TAKEN)
def test_an_argument_is_taken_in_the_form_of_its_annotation(annotation: str, given: Any, taken: Any) -> None:
    found = check_call(taking(f"it: {annotation}"), {"it": given})["it"]
    assert found == taken and type(found) is type(taken)
    if isinstance(taken, list):
        assert found is given
    if isinstance(taken, dict):
        assert type(found.get("a")) in (str, int)


# What has an item, a key or a member of the wrong type is told with its place.
PLACES: tuple[tuple[str, Any, str], ...] = (
    ("tuple[str, ...]", ["a", 5], "it[1] takes text, not 5 (int)"),
    ("tuple[str, int]", ["a", "b"], "it[1] takes an integer, not 'b' (str)"),
    ("Mapping[str, int]", {"a": "b"}, "it['a'] takes an integer, not 'b' (str)"),
    ("Mapping[str, str]", {5: "b"}, "it (a key) takes text, not 5 (int)"),
    ("Mapping[str, Any]", {None: 5}, "the keys of it are texts, not None"),
    ("Mapping[str, Any]", {True: 5}, "the keys of it are texts, not True"),
    ("Mapping[str, Any]", {HALF: 5}, "it (a key) holds half"),
    ("Mapping[str, Any]", {"a": [{"b": math.inf}]}, "it['a'][0]['b'] is inf, which JSON has no form for"),
    (
        "Mapping[str, Any]",
        {"a": {"b": {"c": {"d": {"e": {"f": math.nan}}}}}},
        "it['a']['b']['c']['d']['e'] is nan",
    ),
    ("Mapping[str, Any]", {"a": [[[[[math.nan]]]]]}, "it['a'][0][0][0][0] is nan"),
    ("Mapping[str, Any]", {"a": object()}, "it['a'] takes JSON values, not a object"),
    ("float", math.inf, "it is inf"),
)


@pytest.mark.parametrize(("annotation", "wrong", "words"), PLACES)
def test_a_wrong_item_is_told_with_its_place(annotation: str, wrong: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        check_call(taking(f"it: {annotation}"), {"it": wrong})
    assert str(caught.value).startswith(words)


def test_what_is_given_as_its_default_is_not_looked_at() -> None:
    wrong: Any = object()

    def call(a: int, b: int = wrong, *, c: int = wrong) -> None: ...

    given = {"a": 1, "b": wrong, "c": wrong}
    assert check_call(call, given) == given
    for name in given:
        with pytest.raises(TypeError, match=f"{name} takes an integer"):
            check_call(call, {**given, name: object()})


def test_what_has_a_protocols_public_members_fits_it() -> None:
    class Whole:
        name, do = "x", print

    class Half:
        name = "x"

    class Other:
        do = print

    assert type(check_call(taking("it: Thing"), {"it": Whole()})["it"]) is Whole
    for wrong in (Half(), Other()):
        with pytest.raises(TypeError, match="it takes a Thing"):
            check_call(taking("it: Thing"), {"it": wrong})


def test_a_name_that_only_annotations_use_is_looked_up_in_its_module() -> None:
    later = {"Lately": "brainwires_provider.types.tools"}
    with pytest.raises(AttributeError):
        check_call(taking("it: Lately"), {"it": 5}, **later)
    with pytest.raises(TypeError, match="it takes a ToolContext"):
        check_call(taking("it: ToolContext"), {"it": 5}, ToolContext="brainwires_provider.types.context")
    assert check_call(taking("it: int"), {"it": 5}, **later) == {"it": 5}


def test_the_public_methods_of_a_class_check_their_calls() -> None:
    class Plain:
        def chat(self, input: Any, output: Any = None, **args: Any) -> Any:
            return input

        def take(self, n: int, m: int = 2) -> Any:
            return n, m

        async def later(self, n: int) -> Any:
            return n

        def _own(self, n: int) -> Any:
            return n

        @staticmethod
        def still(n: int) -> Any:
            return n

        value = len

    before = dict(vars(Plain))
    cls: Any = checks_calls(Plain)
    changed = {name for name, value in vars(cls).items() if value is not before.get(name)}
    made = cls()

    assert cls is Plain and changed == {"take", "later"}
    assert made.take(1) == (1, 2) and made.take(1, 3) == made.take(n=1, m=3) == (1, 3)
    assert asyncio.run(made.later(1)) == 1 and inspect.iscoroutinefunction(cls.later)
    assert (made.chat("x"), made._own("x"), made.still("x")) == ("x", "x", "x")
    with pytest.raises(TypeError, match="n takes an integer"):
        made.take("x")
    with pytest.raises(TypeError, match="m takes an integer"):
        made.take(1, m="x")
    with pytest.raises(TypeError, match="n takes an integer"):
        asyncio.run(made.later("x"))
    for args, kwargs in (((1, 2, 3), {}), ((1,), {"n": 1}), ((), {})):
        with pytest.raises(TypeError, match=r"(?i)takes .* positional|multiple values|missing 1 required"):
            made.take(*args, **kwargs)


# A value, and whether an encoder takes it as it is.
JSON_VALUES: tuple[tuple[Any, bool], ...] = (
    *(("a", True), ("é", True), (Sub.A, True), (Text("a"), False), (Text("é"), False)),
    *((5, True), (True, True), (ssl.TLSVersion.TLSv1_2, True), (type("Int", (int,), {})(5), False)),
    *((1.5, True), (type("Float", (float,), {})(1.5), False), (None, True), (date(2026, 1, 2), True)),
    *(
        ({"a": 1}, True),
        ({5: 1}, True),
        (Many(a=1), True),
        ({Text("a"): 1}, False),
        ({"a": [Text("b")]}, False),
    ),
    *((MappingProxyType({"a": 1}), False), ([1, "a"], True), ((1, "a"), True), ([1, Text("a"), "b"], False)),
    *(([Text("a"), 1], False), ({"a": Text("b"), "c": 1}, False)),
)


@pytest.mark.parametrize(("value", "is_plain"), JSON_VALUES, ids=lambda each: repr(each)[:30])
def test_what_an_encoder_does_not_take_is_made_plain(value: Any, is_plain: bool) -> None:
    assert check_json(value, "it") is is_plain
    made = plain(value)
    assert made == value or isinstance(value, tuple)
    assert check_json(made, "it") is True
    assert encode_unusual(value, "it") == msgspec.json.encode(made)


def test_json_may_be_nested_as_deep_as_the_error_says() -> None:
    for wrap in (lambda inner: {"a": inner}, lambda inner: [inner], lambda inner: (inner,)):
        value: Any = 1
        for _ in range(201):
            value = wrap(value)
        assert check_json(value, "it")
        with pytest.raises(ValueError, match=r"^it.* is nested deeper than 200 levels"):
            check_json(wrap(value), "it")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (int, "<class 'int'>"),
        (5, "5 (int)"),
        ("x", "'x' (str)"),
        (b"ab\xff", "b'ab\N{REPLACEMENT CHARACTER}' (bytes)"),
        ([1], "[1] (list)"),
        (len, "a builtin_function_or_method"),
        (object(), "a object"),
        (Cache(), "a Cache"),
        ("a?b", "'a?b' (str)"),
        ("https://h/x?y=z", "'https://h/x?…' (str)"),
        ("https://h/x", "'https://h/x' (str)"),
        ("https://u:p@h/x", "'https://…@h/x' (str)"),
        ("u:p@h", "'u:p@h' (str)"),
        ({"token": 5, 5: 6, "a": "b"}, "{'token': '…', 5: 6, 'a': 'b'} (dict)"),
        ("x" * 58, f"'{'x' * 58}' (str)"),
        ("x" * 59, f"'{'x' * 27}...{'x' * 28}' (str)"),
        ("sk-" + "a" * 16, "'…' (str)"),
    ],
)
def test_a_wrong_value_is_shown_with_its_type(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("place", "is_hidden"),
    [
        *((name, True) for name in ("api_key", "headers", "credentials", "access_key", "secret_key")),
        *((name, True) for name in ("session_token", "extra_headers", "my_api_key")),
        *((name, False) for name in ("api_keys", "xapi_key", "headersx", "model")),
    ],
)
def test_the_value_of_what_holds_a_secret_is_only_named_by_its_type(place: str, is_hidden: bool) -> None:
    with pytest.raises(TypeError) as caught:
        check_call(taking(f"{place}: float"), {place: "value"})
    assert str(caught.value) == f"{place} takes a number, not " + ("a str" if is_hidden else "'value' (str)")
    for shown_too in (5, 1.5, None):
        with pytest.raises(TypeError, match=re.escape(f"{place} takes text, not {shown(shown_too)}")):
            check_call(taking(f"{place}: str"), {place: shown_too})


SECRET = "hunter2secret"
SECRETS: list[Any] = [
    f"redis://user:{SECRET}@host:6379/0",
    f"redis://user:{'x' * 60}p@{SECRET}@host",
    f"redis://host?password={SECRET}",
    f"redis://user:{SECRET}@host".encode(),
    {"shared": f"redis://user:{SECRET}@host"},
    {"shared": {"password": SECRET}, "api_key": SECRET},
    [{"shared": f"rediss://:{SECRET}@host"}],
    f"sk-{SECRET}-{SECRET}",
]


@pytest.mark.parametrize("wrong", SECRETS)
def test_a_wrong_value_shows_no_secret(wrong: Any) -> None:
    """At the place of a policy, of an option's value, in a list and as what must be JSON."""
    for make in (
        lambda: client("openai-chat").prepare("Hi", options=wrong),
        lambda: Policies(limits=wrong),
        lambda: Limits(rpm=wrong),
        lambda: Options(stop=({"a": wrong},)),
        lambda: Options(cache=wrong),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            make()
        assert "hunter2" not in f"{caught.value}{caught.value!r}"


def test_a_wrong_value_with_fields_is_only_named() -> None:
    with pytest.raises(TypeError, match=r"not a Message$"):
        Options(stop=Message.user("what nobody else should read"))  # type: ignore[arg-type]


def test_what_is_documented_is_accepted() -> None:
    assert Message("user", "Hi") == Message.user("Hi") == Message("user", ["Hi"])
    assert Options(stop=["a"]).stop == ("a",)
    assert Request([Message.user("Hi")]).messages == (Message.user("Hi"),)
    assert OpenAIChatOptions(logit_bias={50256: -100}).items() == {"logit_bias": {50256: -100}}
    assert Options(temperature=1).temperature == 1


# -- what would change the URL ---------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("model", ["..", ".", "../admin", "a/../b", "a/.."])
def test_a_model_changes_no_path(provider: str, model: str) -> None:
    with pytest.raises(ConfigError, match="would change the path"):
        client(provider).prepare("Hi", model=f"{provider}:{model}")


@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("model", ["a?b", "a#b", "a%2e%2e", "..%2f", "a b"])
def test_a_model_is_quoted(provider: str, model: str) -> None:
    plain = client(provider).prepare("Hi", model=f"{provider}:m").url
    url = client(provider).prepare("Hi", model=f"{provider}:{model}").url
    assert url.count("/") == plain.count("/") and url.count("?") == plain.count("?") and "#" not in url
    assert url == plain or "%" in url


def test_a_base_url_has_no_fragment() -> None:
    config = ProviderConfig("openai-chat", base_url="https://h#x", api_key="k")
    with pytest.raises(ConfigError, match="fragment"):
        AsyncClient("openai-chat:m", providers=[config]).prepare("Hi")


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", ""])
def test_headers_of_the_connection_are_not_set(name: str) -> None:
    with pytest.raises(ConfigError, match="extra_headers"):
        client("openai-chat").prepare("Hi", extra_headers={name: "x"})


@pytest.mark.parametrize(("take", "name"), [(collect, "events"), (dump_messages, "messages")])
def test_what_is_no_list_of_values_is_refused(take: Any, name: str) -> None:
    for wrong in (5, None, *("text", b"bytes") * (take is dump_messages)):
        with pytest.raises(TypeError, match=f"^{name} takes a list"):
            take(wrong)


def test_arguments_that_a_method_does_not_have_are_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="positional arguments"):
        Client("openai-chat:m", api_key="k").resolve("openai-chat:m", "more")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["chat", "stream", "prepare", "run", "count_tokens", "map", "conversation"])
def test_a_keyword_that_is_named_as_the_keywords_are_is_pythons_own_error(name: str) -> None:
    with Client("openai-chat:m", api_key="k") as made:
        given: Any = {"conversation": (), "map": (["Hi"],)}.get(name, ("Hi",))
        with pytest.raises(TypeError, match="unexpected keyword argument 'args'"):
            getattr(made, name)(*given, args=5)


def test_a_value_that_only_the_encoder_knows_stays_as_it_is() -> None:
    day = date(2026, 11, 30)
    assert plain({"day": day, "list": (1.5, day)}) == {"day": day, "list": [1.5, day]}


def test_a_tuple_has_as_many_values_as_its_annotation() -> None:
    def pair(of: tuple[str, int]) -> None: ...

    assert check_call(pair, {"of": ["a", 1]}) == {"of": ("a", 1)}
    with pytest.raises(TypeError, match="of takes"):
        check_call(pair, {"of": ("a",)})
