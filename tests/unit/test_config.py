"""`brainwires.toml`: what a file means, which one is read, and what goes before what."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from brainwires_provider import (
    AsyncClient,
    CacheStrategy,
    ConfigError,
    OpenAIResponsesOptions,
    Options,
    ProviderConfig,
    ProviderOptions,
    Reasoning,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider.auth.keys import EnvKey, FileKey, KeyringKey, resolve_key
from brainwires_provider.config import load_config
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.providers.config import Config, NamedModel, provider_options_kinds
from config_files import alone, load, write
from paths import PROJECT

__all__ = ["alone"]

DOCS = PROJECT / "docs" / "configuration.md"


# -- what a file means ---------------------------------------------------------------------------------------

EVERYTHING = """
    model = "fast"

    [options]
    temperature = 0.2
    max_tokens = 100
    stop = ["a", "b"]
    reasoning = "high"
    cache = "system_only"
    strict = false
    extra_body = { seed = 1, nested = { list = [1, "x", 2.5] } }
    [options.timeouts]
    first_event = 30
    [options.provider_options.openai_responses]
    store = false
    metadata = { team = "a" }

    [models]
    fast = "groq:llama"
    [models.slow]
    model = "mine:big:7b"
    options = { reasoning = { budget_tokens = 9, summary = "auto" }, cache = { mode = "off", ttl = "1h" }, stop = "x" }

    [providers.groq]
    api_key = { env = "MY_GROQ" }
    headers = { X-Title = "app", X-Team-Token = { file = "~/token" } }
    [providers.mine]
    based_on = "openai-chat"
    base_url = "http://gpu.example/v1"
    api_key = ""
    allow_http = true
    options.temperature = 1
    [providers.openai-responses-ws]
    api_key = { keyring = "openai", user = "ada" }
    socket = { multiplexing = false, ping_interval = 5 }
    [providers.vertex]
    region = "eu"
    project = "p-1"
    credentials = "google.json"
    [providers.bedrock]
    region = "eu-west-1"
    credentials = "work"
    [providers.local]
    local = { path = "m.gguf", context = 512, cache_type_k = "q8_0" }
"""


def test_what_a_file_means() -> None:
    config = load(EVERYTHING)
    here = os.getcwd()
    expected = Config(
        model="fast",
        providers=(
            ProviderConfig(
                "groq",
                api_key=EnvKey("MY_GROQ", "mine.toml:25: providers.groq.api_key"),
                headers={
                    "X-Title": "app",
                    "X-Team-Token": FileKey("~/token", "mine.toml:26: providers.groq.headers.X-Team-Token"),
                },
            ),
            ProviderConfig(
                "mine",
                based_on="openai-chat",
                base_url="http://gpu.example/v1",
                api_key="",
                allow_http=True,
                options=Options(temperature=1.0),
            ),
            ProviderConfig(
                "openai-responses-ws",
                api_key=KeyringKey("openai", "ada", "mine.toml:34: providers.openai-responses-ws.api_key"),
                socket=WebSocketOptions(multiplexing=False, ping_interval=5.0),
            ),
            ProviderConfig(
                "vertex", region="eu", project="p-1", credentials=os.path.join(here, "google.json")
            ),
            ProviderConfig("bedrock", region="eu-west-1", credentials="work"),
            ProviderConfig(
                "local",
                local=LocalModel(path=os.path.join(here, "m.gguf"), context=512, cache_type_k="q8_0"),
            ),
        ),
        models={
            "fast": NamedModel("groq:llama"),
            "slow": NamedModel(
                "mine:big:7b",
                Options(
                    reasoning=Reasoning(budget_tokens=9, summary="auto"),
                    cache=CacheStrategy("off", ttl="1h"),
                    stop="x",
                ),
            ),
        },
        options=Options(
            temperature=0.2,
            max_tokens=100,
            stop=("a", "b"),
            reasoning=Reasoning("high"),
            cache=CacheStrategy("system_only"),
            strict=False,
            extra_body={"seed": 1, "nested": {"list": [1, "x", 2.5]}},
            timeouts=Timeouts(first_event=30.0),
            provider_options=(OpenAIResponsesOptions(store=False, metadata={"team": "a"}),),
        ),
        source="mine.toml",
    )
    assert config == expected


def test_every_field_of_options_can_be_written() -> None:
    """A field that is added later is read, or this fails."""
    written = {
        "max_tokens": "1",
        "temperature": "0.5",
        "top_p": "1",
        "top_k": "1",
        "seed": "1",
        "stop": '"x"',
        "presence_penalty": "0.5",
        "frequency_penalty": "0.5",
        "reasoning": '{ effort = "low" }',
        "parallel_tool_calls": "true",
        "cache": '{ mode = "system_only" }',
        "provider_options": "{ gemini = { seed = 1 } }",
        "extra_body": "{ a = 1 }",
        "extra_headers": '{ X-A = "1" }',
        "extra_query": '{ a = "1" }',
        "timeouts": "{ idle = 1 }",
        "strict": "true",
    }
    assert set(written) == set(Options.__struct_fields__)
    options = load("[options]\n" + "".join(f"{k} = {v}\n" for k, v in written.items())).options
    assert options is not None
    assert set(options.set_fields()) == set(written)


def test_every_field_of_a_provider_can_be_written() -> None:
    """A field that is added later is read, or this fails."""
    written = {
        "groq": ("based_on", "base_url", "api_key", "headers", "options", "allow_http", "models"),
        "openai-responses-ws": ("socket",),
        "vertex": ("region", "project", "credentials"),
        "local": ("local",),
    }
    fields = {
        "based_on": '"groq"',
        "base_url": '"https://x"',
        "api_key": '{ env = "X" }',
        "headers": '{ A = "b" }',
        "options": "{ seed = 1 }",
        "allow_http": "true",
        "socket": "{ ping_interval = 1 }",
        "region": '"eu"',
        "project": '"p"',
        "credentials": '"c"',
        "local": "{ slots = 1 }",
        "models": '{ mine = "gpt-6", own = { like = "gpt-6", sampling = true } }',
    }
    assert {"name", *fields} == set(ProviderConfig.__struct_fields__)
    for name, names in written.items():
        [config] = load(f"[providers.{name}]\n" + "".join(f"{n} = {fields[n]}\n" for n in names)).providers
        assert {n for n in fields if getattr(config, n) != getattr(ProviderConfig(name), n)} == set(names)


def test_what_models_accept_is_read_and_used() -> None:
    config = load("""
        [providers.azure-chat]
        base_url = "https://x.example.com/v1"
        api_key = { env = "KEY" }
        [providers.azure-chat.models]
        prod = "gpt-5"
        own = { like = "gpt-5", sampling = true, efforts = ["low"], samples_thinking = true }
    """)
    client = AsyncClient(config=config)
    asked: dict[str, Any] = {"temperature": 0.5, "reasoning": "high"}
    assert [d.field for d in client.prepare("Hi", model="azure-chat:prod", **asked).report.dropped] == [
        "temperature"
    ]
    done = client.prepare("Hi", model="azure-chat:own", **asked)
    assert json.loads(done.body)["temperature"] == 0.5
    assert json.loads(done.body)["reasoning_effort"] == "low"


def test_every_protocol_has_its_options_by_its_name() -> None:
    kinds = provider_options_kinds()
    assert kinds["openai_responses"] is OpenAIResponsesOptions
    assert all(issubclass(kind, ProviderOptions) and kind.protocol == name for name, kind in kinds.items())
    assert set(kinds) >= {"anthropic_messages", "bedrock_converse", "gemini", "ollama", "openai_chat"}


# -- which file ----------------------------------------------------------------------------------------------


def users_file() -> str:
    return os.path.join(platformdirs.user_config_dir("brainwires", appauthor=False), "brainwires.toml")


def test_which_file_is_read() -> None:
    """The first that is there: the argument, BRAINWIRES_CONFIG, the current folder's, the user's own; else nothing."""
    named = {
        "arg.toml": {"path": "arg.toml", "environ": {"BRAINWIRES_CONFIG": "env.toml"}},
        "env.toml": {"environ": {"BRAINWIRES_CONFIG": "env.toml"}},
        "brainwires.toml": {"environ": {"BRAINWIRES_CONFIG": " "}},
        users_file(): {"environ": {}},
    }
    for place in named:
        write(f'model = "groq:{Path(place).stem}"', place)
    for place, how in named.items():
        config = load_config(**how)  # type: ignore[arg-type]
        assert (config.source, config.model) == (place, f"groq:{Path(place).stem}")
        if place == "brainwires.toml":
            os.remove(place)
    os.remove(users_file())
    assert load_config(environ={}) == Config()


@pytest.mark.parametrize("how", [{"path": "none.toml"}, {"environ": {"BRAINWIRES_CONFIG": "none.toml"}}])
def test_a_file_that_was_named_must_be_there(how: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^none\.toml: cannot be read: No such file"):
        load_config(**how)


def test_nothing_is_read_by_a_client_alone() -> None:
    write('model = "groq:from-the-file"', "brainwires.toml")
    with pytest.raises(ConfigError, match="name a model"):
        AsyncClient().prepare("hi")


# -- what goes before what -----------------------------------------------------------------------------------

# A setting, and its layers from the first that counts to the last, as docs/configuration.md has them.
LAYERS = {
    "temperature": ["keyword", "options=", "client", "models", "providers", "options", None],
    "timeouts": ["keyword", "options=", "client options", "client", "models", "providers", "options", None],
    "model": ["keyword", "client", "BRAINWIRES_MODEL", "file"],
    "key": ["client", "providers", "variable"],
    "base_url": ["client", "providers", "variable", None],
}


def client_with(
    layers: set[str | None], *, model: str | None = "named"
) -> tuple[AsyncClient, dict[str, Any]]:
    """A client with a temperature and a timeout from each layer: the layer's place in the list, from 1."""
    number = {name: LAYERS["timeouts"].index(name) + 1 for name in layers if name in LAYERS["timeouts"]}

    def both(layer: str) -> dict[str, Any]:
        if layer not in number:
            return {}
        return {"temperature": float(number[layer]), "timeouts": Timeouts(idle=number[layer])}

    def written(layer: str) -> str:
        if layer not in number:
            return "{}"
        return f"{{ temperature = {number[layer]}, timeouts = {{ idle = {number[layer]} }} }}"

    config = load(
        f"options = {written('options')}\n[models.named]\nmodel = 'groq:m'\noptions = {written('models')}\n"
        f"[providers.groq]\napi_key = {{ env = 'MY_GROQ' }}\noptions = {written('providers')}\n"
    )
    clocks = {"timeouts": Timeouts(idle=number["client"])} if "client" in number else {}
    client = AsyncClient(model, config=config, options=Options(**both("client options")), **clocks)
    args = both("keyword") | ({"options": Options(**both("options="))} if "options=" in layers else {})
    return client, args


@pytest.mark.parametrize("first", range(len(LAYERS["timeouts"])))
def test_which_timeouts_and_temperature_count(first: int) -> None:
    layers = LAYERS["timeouts"][first:]
    client, args = client_with(set(layers))
    plan = client._session.plan("hi", args, stream=False)  # type: ignore[arg-type]
    winner = layers[0]
    assert plan.timeouts.idle == (300 if winner is None else first + 1)
    body = json.loads(client.prepare("hi", **args).body)
    if winner == "client":  # there is no temperature of this kind: the next layer's
        first += 1
        winner = layers[1]
    assert body.get("temperature") == (None if winner is None else first + 1)


def test_a_call_without_a_request_goes_to_the_provider_of_the_model_s_name() -> None:
    config = load(
        "model = 'fast'\n[models]\nfast = 'groq:llama'\n[providers.groq]\napi_key = { env = 'MY_GROQ' }\n"
    )
    session = AsyncClient(config=config)._session
    places = [session.place(provider).provider for provider in (None, "groq", "ollama")]
    assert places == ["groq", "groq", "ollama"]


def test_a_provider_in_code_is_in_the_place_of_the_files() -> None:
    """Its options go before the client's, as they do without a file; none of the file's is left."""
    config = load("[providers.groq]\nheaders = { X-A = '1' }\noptions = { temperature = 1, seed = 1 }\n")
    coded = ProviderConfig("groq", api_key="k", options=Options(temperature=3))
    client = AsyncClient(
        "groq:m", config=config, providers=[coded], options=Options(temperature=2, top_p=0.5)
    )
    prepared = client.prepare("hi")
    body = json.loads(prepared.body)
    assert (body["temperature"], body["top_p"], body.get("seed")) == (3, 0.5, None)
    assert "X-A" not in prepared.headers


@pytest.mark.parametrize("first", range(4))
def test_which_model_counts(first: int) -> None:
    layers = LAYERS["model"][first:]
    environ = {"BRAINWIRES_MODEL": "groq:BRAINWIRES_MODEL"} if "BRAINWIRES_MODEL" in layers else {}
    config = load('model = "groq:file"\n[providers.groq]\napi_key = { env = "X" }', **environ)
    client = AsyncClient("groq:client" if "client" in layers else None, config=config)
    args: dict[str, Any] = {"model": "groq:keyword"} if "keyword" in layers else {}
    assert json.loads(client.prepare("hi", **args).body)["model"] == layers[0]


@pytest.mark.parametrize("first", range(3))
def test_which_key_counts(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = LAYERS["key"][first:]
    monkeypatch.setenv("GROQ_API_KEY", "variable")
    monkeypatch.setenv("MINE", "providers")
    config = load("[providers.groq]\napi_key = { env = 'MINE' }" if "providers" in layers else "")
    client = AsyncClient("groq:m", api_key="client" if "client" in layers else None, config=config)
    key = client._session.target("groq:m").key
    assert key is not None
    assert asyncio.run(resolve_key(key, "groq")) == layers[0]


@pytest.mark.parametrize("first", range(4))
def test_which_base_url_counts(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = LAYERS["base_url"][first:]
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    if "variable" in layers:
        monkeypatch.setenv("OPENAI_BASE_URL", "https://variable/v1")
    config = load(
        "[providers.openai-chat]\nbase_url = 'https://providers/v1'\napi_key = { env = 'X' }"
        if "providers" in layers
        else ""
    )
    given = {"base_url": "https://client/v1", "api_key": "k"} if "client" in layers else {}
    url = AsyncClient("openai-chat:m", config=config, **given).prepare("hi").url
    assert url == f"https://{layers[0] or 'api.openai.com'}/v1/chat/completions"


def test_the_page_has_the_same_table() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = text.partition("## Precedence")[2].partition("##")[0]
    order = [line for line in table.splitlines() if line.startswith("| ") and line[2].isdigit()]
    words = ("call", "client", "BRAINWIRES_MODEL", "file", "variables", "provider")
    assert [next(word for word in words if word in line) for line in order] == list(words)


@pytest.mark.parametrize(
    ("model", "words"), [("fsat", "did you mean 'fast'"), ("gorq:x", "did you mean 'groq'"), ("x", "takes")]
)
def test_a_wrong_model_in_the_environment(model: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^BRAINWIRES_MODEL: .*{words}"):
        load("models.fast = 'groq:x'", BRAINWIRES_MODEL=model)
    assert load("models.fast = 'groq:x'", BRAINWIRES_MODEL=" fast ").model == "fast"


# -- the page ------------------------------------------------------------------------------------------------

TEXT = DOCS.read_text(encoding="utf-8")
FILES = re.findall(r"^```toml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_the_pages_files_can_be_read(text: str) -> None:
    load(text)


def test_the_pages_examples(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert FILES and EXAMPLES
    write(FILES[0], "brainwires.toml")
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(example, names)
        assert capsys.readouterr().out.splitlines() == re.findall(r"^ *# (.*)$", example, re.MULTILINE)
