"""Every row of the table, held to its service's documentation: the requests that it makes, and why they look so.

A fixture in `fixtures/rows` holds what a row asks for (a plain, a tool and an image request, and a tuned one, which
shows the dialect) and the facts behind it, each with a link. A new row needs one: its test shows what to write, for
review against the documentation. The recorded exchanges, where they are at hand, are a second witness: they hold
no request headers, so which header bears the key is told by the fixtures alone.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import Struct

from brainwires_provider import (
    PROVIDERS,
    AsyncClient,
    ConfigError,
    FilePart,
    ImagePart,
    JSONSchema,
    Message,
    Options,
    PreparedRequest,
    ProviderConfig,
    Reasoning,
    TextPart,
    Tool,
    ToolChoice,
    UnsupportedError,
)
from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat
from brainwires_provider.providers import find_row
from brainwires_provider.providers.table import ALIASES
from brainwires_provider.types import Origin, Request
from corpus import corpus_dir
from paths import FIXTURES

FOLDER = FIXTURES / "rows"
KEY = "test-key"
WEATHER = Tool(
    "weather",
    "Tells the weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
PIXEL = ImagePart(data=b"\x89PNG\r\n\x1a\n", media_type="image/png")

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": ("Hi", {}),
    "tool": ("Weather in Paris?", {"tools": [WEATHER], "tool_choice": ToolChoice.tool("weather")}),
    "image": (Message.user("What is this?", PIXEL), {}),
    "tuned": (
        [Message(role="developer", content=(TextPart("Be brief."),)), Message.user("Ada, 36")],
        {
            "stream": True,
            "max_tokens": 4096,
            "top_k": 40,
            "seed": 7,
            "stop": "END",
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "parallel_tool_calls": False,
            "reasoning": "low",
            "tools": [WEATHER],
            "output": JSONSchema("person", {"type": "object", "properties": {"name": {"type": "string"}}}),
        },
    ),
}


def config(name: str) -> ProviderConfig:
    """What a caller would have to give, and no more."""
    row = PROVIDERS[name]
    return ProviderConfig(
        name,
        api_key=None if row.transport == "local" or row.keyless else KEY,
        base_url=None if row.base_url else "https://mine.example.com/v1",
        region={"aws": "us-east-1", "google": "global", None: None}[row.cloud],
        project="p" if row.cloud == "google" else None,
    )


def prepared(name: str, case: str) -> PreparedRequest:
    content, args = CASES[case]
    return AsyncClient(providers=[config(name)]).prepare(content, model=f"{name}:m", **args)


def asked(name: str, case: str) -> dict[str, Any]:
    """One request as its fixture holds it."""
    try:
        made = prepared(name, case)
    except UnsupportedError as error:
        return {"refused": str(error)}
    headers = {k: v for k, v in made.headers.items() if k not in ("User-Agent", "Accept-Encoding")}
    asked: dict[str, Any] = {"method": made.method, "url": made.url, "headers": headers}
    asked["body"] = json.loads(made.body)
    lost = {d.field: d.outcome for d in made.report.deviations}
    return asked | ({"report": lost} if lost else {})


class Fact(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that the documentation says, in our words; `fields` are those of the request that it explains."""

    says: str
    link: str
    fields: tuple[str, ...] = ()


class Fixture(Struct, frozen=True, forbid_unknown_fields=True):
    docs: str
    checked: str
    facts: tuple[Fact, ...]
    plain: dict[str, Any]
    tool: dict[str, Any]
    image: dict[str, Any]
    tuned: dict[str, Any]

    @property
    def explained(self) -> set[str]:
        return {name for fact in self.facts for name in fact.fields}


@functools.cache
def fixture(name: str) -> Fixture:
    path = FOLDER / f"{name}.json"
    if not path.exists():
        shown = {case: asked(name, case) for case in CASES}
        pytest.fail(
            f"{path} is missing. Hold this to the documentation, add docs, checked and facts, and write it:\n"
            + json.dumps(shown, indent=1)
        )
    return msgspec.json.decode(path.read_bytes(), type=Fixture)


def test_every_fixture_has_a_row() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} <= set(PROVIDERS)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_row_asks_as_its_service_is_documented(name: str, case: str) -> None:
    assert asked(name, case) == getattr(fixture(name), case)


STANDARD = {
    "openai_chat": {"model", "messages", "tools", "tool_choice", "stream", "stop"},
    "openai_responses": {"model", "input", "tools", "tool_choice", "stream"},
    "anthropic_messages": {"model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream"},
    "gemini": {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"},
    "google_interactions": {"model", "input", "system_instruction", "tools", "generation_config", "stream"},
    "bedrock_converse": {"messages", "system", "toolConfig", "inferenceConfig"},
    "ollama": {"model", "messages", "tools", "stream", "options"},
    "relay": {"model"},
}
"""Fields that every service of a protocol takes: they need no fact of their own."""


@pytest.mark.parametrize("name", PROVIDERS)
def test_whatever_is_not_standard_has_a_fact_with_a_link(name: str) -> None:
    row, held = PROVIDERS[name], fixture(name)
    assert (held.docs, held.checked) == (row.docs, row.checked)
    assert held.docs.startswith("https://")
    for fact in held.facts:
        assert fact.link.startswith("https://"), fact
        assert fact.says.endswith("."), fact
    standard = STANDARD[find_row(name).protocol().name]
    unexplained = set()
    for case in CASES:
        request = getattr(held, case)
        changed = {re.sub(r"messages.*role$", "developer", of) for of in request.get("report", {})}
        changed = {re.sub(r"messages.*content.*", "messages.content", of) for of in changed}
        if case != "tuned":
            changed.discard("max_tokens")  # the Messages API's mandatory limit, explained as a field
        unexplained |= (request.get("body", {}).keys() - standard | changed) - held.explained
    assert unexplained == set()


# -- the recorded exchanges -------------------------------------------------------------------------------


class Sent(Struct, frozen=True):
    """What of a recorded exchange was asked."""

    host: str
    protocol: str
    method: str
    path: str
    request: dict[str, Any] | None
    status: int


@functools.cache
def sent() -> tuple[Sent, ...]:
    files = sorted(corpus_dir().glob("*.jsonl.gz"))
    if not files:
        pytest.skip(
            f"the recorded exchanges are not here: {corpus_dir()} (BRAINWIRES_WIRE_CORPUS names another place)"
        )
    found = []
    for path in files:
        if path.stem.split(".")[0] not in ("models", "count_tokens", "openai_compact"):
            with gzip.open(path) as lines:
                found += [msgspec.json.decode(line, type=Sent) for line in lines]
    return tuple(each for each in found if each.status < 400)


def fields(value: Any, at: str = "") -> Iterator[str]:
    """Every field's name with the names above it; the items of a list go by their type, schemas are passed over."""
    if isinstance(value, list):
        for item in value:
            yield from fields(item, at)
    elif isinstance(value, dict):
        kind = value.get("type")
        if at and isinstance(kind, str) and at.endswith("content"):
            at = f"{at}.{kind}"
            yield at
        for name, inner in value.items():
            if name in ("type", "parameters", "input_schema", "parametersJsonSchema", "json"):
                continue
            path = f"{at}.{name}" if at else name
            yield path
            yield from fields(inner, path)


def path_of(url_path: str) -> str:
    """A path with its model left out, where it holds one."""
    return re.sub(r"(/models?/)[^/:]+(:[\w.:-]+)?(?=[:/])", r"\1*", url_path)


ELSEWHERE = {
    "huggingface": "recorded at the addresses of single providers, before the router had one for all",
    "vertex": "recorded under v1beta1, and the version that is documented is v1",
}
"""Rows whose host was recorded at other paths, and why."""
RECORDED = (
    "openai-chat",
    "openai-responses",
    "xai",
    "deepseek-responses",
    "bedrock-openai",
    "openrouter-responses",
    "anthropic",
    "google",
    "google-interactions",
    "bedrock",
    "bedrock-invoke",
    "vertex",
    "groq",
    "mistral",
    "deepseek",
    "openrouter",
    "cerebras",
    "perplexity",
    "zai",
    "huggingface",
)


@functools.cache
def recorded(name: str) -> tuple[Sent, ...]:
    """What was sent to a row's own host, in its protocol."""
    host = urlsplit(fixture(name).plain["url"]).hostname
    protocol = PROVIDERS[name].protocol().name
    spoken = {protocol, "bedrock_anthropic"} if protocol == "anthropic_messages" else {protocol}
    return tuple(each for each in sent() if each.host == host and each.protocol in spoken)


def test_no_recorded_host_is_left_out() -> None:
    assert {name for name, row in PROVIDERS.items() if row.transport == "http" and recorded(name)} == set(
        RECORDED
    )


@pytest.mark.parametrize("name", RECORDED)
def test_the_recorded_exchanges_bear_a_row_out(name: str) -> None:
    """The address is one that was recorded; a field was sent to that host, or a fact explains it."""
    requests = [getattr(fixture(name), case) for case in ("plain", "tool", "image")]
    addresses = {(each.method, path_of(each.path)) for each in recorded(name)}
    for request in requests:
        address = (request["method"], path_of(urlsplit(request["url"]).path))
        assert (address in addresses) == (name not in ELSEWHERE), address
    known = {path for each in recorded(name) for path in fields(each.request)}
    strange = {path for request in requests for path in fields(request["body"])} - known
    explained = fixture(name).explained
    assert {path for path in strange if not any(f"{path}.".startswith(f"{e}.") for e in explained)} == set()


# -- the table's own manners ------------------------------------------------------------------------------


def test_a_row_of_ones_own_is_one_line() -> None:
    mine = ProviderConfig("mine", based_on="custom", base_url="https://llm.example.com/v1", api_key="k")
    done = AsyncClient("mine:qwen", providers=[mine]).prepare("Hi")
    assert done.url == "https://llm.example.com/v1/chat/completions"

    near = ProviderConfig("here", based_on="vllm", base_url="http://127.0.0.1:9000/v1")
    done = AsyncClient("here:qwen", providers=[near]).prepare("Hi", max_tokens=5)
    assert json.loads(done.body)["max_completion_tokens"] == 5
    assert "Authorization" not in done.headers


@pytest.mark.parametrize(
    "name", [name for name, row in PROVIDERS.items() if row.base_url_env and not row.base_url]
)
def test_a_row_without_a_base_url_says_what_to_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(str(PROVIDERS[name].base_url_env), raising=False)
    with pytest.raises(ConfigError, match=f"pass base_url=, or set {PROVIDERS[name].base_url_env}"):
        AsyncClient(f"{name}:m", api_key="k").prepare("Hi")


@pytest.mark.parametrize(
    ("mistyped", "near"),
    [("opnai-chat", "openai-chat"), ("fireworks-ai", "fireworks"), ("lm-studio", "lmstudio")],
)
def test_a_mistyped_row_gives_a_near_name(mistyped: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean [^)]*{near!r}"):
        find_row(mistyped)
    with pytest.raises(ConfigError, match=f"did you mean [^)]*{near!r}") as caught:
        AsyncClient(f"{mistyped}:m", api_key="k").prepare("Hi")
    assert str(caught.value).count(mistyped) == 1


def test_other_names_lead_to_rows() -> None:
    assert {find_row(name).name for name in ALIASES} <= set(PROVIDERS)
    assert not ALIASES.keys() & PROVIDERS.keys()
    assert find_row("gemini").name == "google"


def test_every_row_names_its_documentation_and_the_day() -> None:
    for name, row in PROVIDERS.items():
        assert row.docs.startswith("https://"), name
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row.checked), name
        assert row.keyless or row.cloud or row.transport == "local" or row.key_env, name


# -- dialects that a tuned request does not show ----------------------------------------------------------

REASONING: list[tuple[str, Any, dict[str, Any], list[str]]] = [
    ("groq", "off", {"reasoning_effort": "none"}, []),
    ("groq", "max", {"reasoning_effort": "high"}, ["this service's nearest effort is 'high'"]),
    ("deepseek", "off", {"thinking": {"type": "disabled"}}, []),
    ("deepseek", "high", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}, []),
    ("perplexity", "off", {}, ["this service has no effort 'off'"]),
    ("together", "off", {"reasoning": {"enabled": False}}, []),
    ("minimax", "off", {"thinking": {"type": "disabled"}}, []),
    ("minimax", "medium", {"thinking": {"type": "adaptive"}}, []),
    ("moonshot", "off", {"thinking": {"type": "disabled"}}, []),
    ("moonshot", "max", {"reasoning_effort": "max"}, []),
    ("alibaba", Reasoning("medium", 512), {"enable_thinking": True, "thinking_budget": 512}, []),
    ("alibaba", Reasoning(budget_tokens=512), {"thinking_budget": 512}, []),
    (
        "openrouter",
        Reasoning("off", 9, "auto"),
        {"reasoning": {"effort": "none", "max_tokens": 9, "summary": "auto"}},
        [],
    ),
    ("lmstudio", "low", {}, ["this service's Chat Completions cannot say effort"]),
]


@pytest.mark.parametrize(("name", "wanted", "fields", "reasons"), REASONING)
def test_reasoning_is_asked_for_in_the_services_own_words(
    name: str, wanted: Any, fields: dict[str, Any], reasons: list[str]
) -> None:
    made = AsyncClient(providers=[config(name)]).prepare(
        "Hi", model=f"{name}:m", options=Options(reasoning=wanted)
    )
    body = json.loads(made.body)
    assert {k: v for k, v in body.items() if k not in ("model", "messages", "reasoning_split")} == fields
    assert [d.reason for d in made.report.deviations] == reasons


@pytest.mark.parametrize(
    ("name", "choice", "names", "sent"),
    [
        ("llama-server", ToolChoice.tool("weather"), ["weather"], "required"),
        ("lmstudio", ToolChoice.allowed("weather"), ["weather"], "auto"),
        (
            "vllm",
            ToolChoice.tool("weather"),
            ["weather", "time"],
            {"type": "function", "function": {"name": "weather"}},
        ),
        ("lmstudio", ToolChoice(raw={"type": "odd"}), ["weather", "time"], {"type": "odd"}),
        ("lmstudio", ToolChoice("required"), ["weather", "time"], "required"),
    ],
)
def test_a_choice_that_cannot_be_said_is_made_by_what_is_sent(
    name: str, choice: ToolChoice, names: list[str], sent: Any
) -> None:
    other = Tool("time", "Tells the time.", {"type": "object"})
    made = AsyncClient(providers=[config(name)]).prepare(
        "Hi", model=f"{name}:m", tools=[WEATHER, other], tool_choice=choice
    )
    body = json.loads(made.body)
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body["tool_choice"] == sent


def test_stop_words_go_in_the_form_that_is_taken() -> None:
    def sent_stop(name: str, stop: Any) -> Any:
        return json.loads(
            AsyncClient(providers=[config(name)]).prepare("Hi", model=f"{name}:m", stop=stop).body
        )["stop"]

    assert sent_stop("together", "END") == ["END"]
    assert sent_stop("together", ("A", "B")) == ["A", "B"]
    assert sent_stop("groq", "END") == "END"


def test_files_go_as_urls_where_they_do() -> None:
    def item(part: FilePart) -> Any:
        made = AsyncClient(providers=[config("perplexity")]).prepare(
            Message.user("Read", part), model="perplexity:m"
        )
        return json.loads(made.body)["messages"][0]["content"][1]

    data = FilePart(data=b"%PDF", media_type="application/pdf", name="a.pdf")
    assert item(data) == {"type": "file_url", "file_url": {"url": "JVBERg=="}, "file_name": "a.pdf"}
    assert item(FilePart(url="https://x/a.pdf", media_type="application/pdf"))["file_url"] == {
        "url": "https://x/a.pdf"
    }
    with pytest.raises(UnsupportedError, match="not by file_id"):
        item(FilePart(file_id="f", media_type="application/pdf"))


def test_models_are_listed_where_the_service_says() -> None:
    assert OpenAIChat().models_call(None).path == "/models"
    assert PROVIDERS["perplexity"].protocol().models_call(None).path == "/v1/models"
    with pytest.raises(UnsupportedError, match="does not list its models"):
        OpenAIChat(ChatQuirks(models_path=None)).models_call(None)


def test_a_quirk_is_a_constructor_argument() -> None:
    quirks = ChatQuirks(thinking_on={"deep": True}, always={"split": 1})
    request = Request((Message.user("Hi"),), "m", options=Options(reasoning="high"))
    body = OpenAIChat(quirks).encode(request, Origin("openai_chat", "p", "m"), stream=False).body
    assert body["split"] == 1
    assert (body["deep"], body["reasoning_effort"]) == (True, "high")
