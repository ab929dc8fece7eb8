"""A file that was merely found: every field of the format, with hostile values, in every place that it can have.

Whatever is accepted is resolved and prepared, its keys are looked up, and every file that is opened meanwhile is
recorded: nothing may reach another host than the provider table's, and no file may be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from brainwires_provider import PROVIDERS, AsyncClient, ConfigError, Options, ProviderConfig, Timeouts
from brainwires_provider.auth.keys import EnvKey, resolve_key
from brainwires_provider.config import load_config, sections
from brainwires_provider.config.found import ALLOWED
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import find_model
from brainwires_provider.local.weights.registry import LocalRegistry
from brainwires_provider.providers import Config, find_row, is_loopback, resolve
from brainwires_provider.providers.config import provider_options_kinds
from config_files import SECRET, alone, key_file, write

__all__ = ["alone"]

FILE = "brainwires.toml"
OWN = "own-key-of-the-provider"
OPENED: list[str] = []
_is_recording = [False]


def _record(event: str, args: tuple[Any, ...]) -> None:
    if _is_recording[0] and event == "open" and isinstance(args[0], (str, bytes)):
        OPENED.append(os.fsdecode(args[0]))


sys.addaudithook(_record)


# -- set-ups -------------------------------------------------------------------------------------------------

REFERENCES: list[Any] = [
    {"env": "PLANTED"},
    {"env": "OPENAI_API_KEY"},
    {"file": "planted"},
    {"file": "~/planted"},
    {"keyring": "planted", "user": "ada"},
]
TEXTS = (
    *("https://evil.example/v1", "https://evil.amazonaws.com", "http://127.0.0.1.evil.example/v1"),
    *(
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "http://127.0.0.1:9/v1",
        "127.0.0.1:9",
    ),
    *("https://evil.example\\@127.0.0.1/", "ws://localhost:9", "wss://evil.example", "http://[::1]:9/x"),
    *(
        "http://x.localhost:9",
        "http://127.0.0.1:9/../x?y#z",
        "evil.example/",
        "eu-west-1",
        "eu",
        "evil-project",
    ),
    *("planted", "~/planted", "../other/planted", "planted.gguf", "groq", "openai-chat", "PLANTED", ""),
)
VALUES: list[Any] = [
    *TEXTS,
    *REFERENCES,
    *(True, 1, ["https://evil.example"]),
    *(
        {"Host": "evil.example"},
        {"X-A": {"file": "planted"}},
        {"path": "planted.gguf"},
        {"url": "evil.example"},
    ),
]
MODELS = (
    *(
        "groq:m",
        "openai:m",
        "ollama:m",
        "bedrock:m",
        "vertex:m",
        "local:",
        "local:planted",
        "local:planted.gguf",
    ),
    *(
        "local:./planted.gguf",
        "local:~/planted",
        "vertex:../../../../evil/locations/x/publishers/google/models/m",
    ),
    *(
        "google:models/../../x",
        "bedrock:arn:aws:bedrock:us-east-1:6:imported-model/x",
        "vertex:m?x=y",
        "vertex:m#",
    ),
    *("evil:m", "https://evil.example", "planted", "bedrock:../x", "vertex-anthropic:..", "local:ollama:m"),
)


def leaves(kind: Any) -> Iterator[str]:
    yield from kind.__struct_fields__


def option_tables() -> Iterator[dict[str, Any]]:
    """Every field of the options, those of every protocol and of the structs within them too."""
    kinds = {kind.__name__: kind for kind in vars(sections).values() if isinstance(kind, type)}
    for name in leaves(Options):
        yield from ({name: value} for value in VALUES)
    for name, inner in (("reasoning", "Reasoning"), ("cache", "CacheStrategy"), ("timeouts", "Timeouts")):
        for field in leaves(kinds[inner]):
            yield from ({name: {field: value}} for value in (1, "off", "low", "https://evil.example"))
    for name, kind in provider_options_kinds().items():
        for field in leaves(kind):
            for value in ("https://evil.example", [{"url": "https://evil.example"}], {"url": "x"}, True):
                yield {"provider_options": {name: {field: value}}}
    for name in ("extra_headers", "extra_query", "extra_body"):
        yield from ({name: {key: "evil.example"}} for key in ("Host", "X-Forwarded-Host", "url", "model", ""))


def provider_tables() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a provider, for every built-in provider and for names of one's own."""
    fields = [name for name in leaves(ProviderConfig) if name not in ("name", "options")]
    dice = random.Random(18)
    for name, field in itertools.product(PROVIDERS, fields):
        values = VALUES if name in ("bedrock", "vertex", "openai-responses-ws") else dice.sample(VALUES, 4)
        yield from ((name, {field: value}) for value in values)
    for row, field, value in itertools.product(("vllm", "bedrock"), fields, VALUES):
        yield "lab", {"based_on": row, field: value}
    urls = ("http://127.0.0.1:9/v1", "http://localhost.evil.example", "")
    for name, url, key in itertools.product(PROVIDERS, urls, ("", None, {"env": "PLANTED"}, {"env": "OWN"})):
        variable = PROVIDERS[name].key_env or "OWN"
        table = {"base_url": url, "api_key": {"env": variable} if key == {"env": "OWN"} else key}
        yield name, {field: value for field, value in table.items() if value or value == "" != url}
    for _ in range(1000):
        chosen = {field: dice.choice(VALUES) for field in dice.sample(fields, dice.randint(2, 5))}
        yield dice.choice([*PROVIDERS, "lab", "openai"]), {**chosen, "based_on": dice.choice([*PROVIDERS])}


def set_ups() -> Iterator[dict[str, Any]]:
    for name in (
        "model",
        "options",
        "models",
        "providers",
        "base_url",
        "api_key",
        "headers",
        "region",
        "proxy",
    ):
        yield from ({name: value} for value in (*VALUES, *MODELS))
    for model in MODELS:
        yield {"models": {"a": model}, "model": "a"}
        yield {"models": {"a": {"model": model}}}
        for field in ("base_url", "api_key", "headers", "credentials", "based_on"):
            yield from ({"models": {"a": {"model": model, field: value}}} for value in VALUES[::9])
    for number, options in enumerate(option_tables()):
        yield {"options": options}
        yield (
            {"models": {"a": {"model": "groq:m", "options": options}}}
            if number % 2
            else {"providers": {"groq": {"options": options}}}
        )
    for name, table in provider_tables():
        yield {"providers": {name: table}}


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


# -- what must hold ------------------------------------------------------------------------------------------


@pytest.fixture
def prepared_folder(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every provider is usable here, and there is something to steal."""
    del alone
    for row in PROVIDERS.values():
        for name in (row.key_env, row.other_key_env):
            if name:
                monkeypatch.setenv(name, OWN)
        if row.base_url_env and not row.base_url:
            monkeypatch.setenv(row.base_url_env, "https://my-resource.example/v1")
    monkeypatch.setenv("PLANTED", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    for name in ("planted", "planted.gguf", os.path.expanduser("~/planted"), "evil.json"):
        Path(name).parent.mkdir(exist_ok=True)
        key_file(name=name)


def models_of(config: Config) -> set[str]:
    names = {f"{provider.name}:m" for provider in config.providers}
    names |= {named.model for named in config.models.values()}
    if config.model is not None and config.model not in config.models:
        names.add(config.model)
    return {"local:" if name == "local:m" else name for name in names}


def check(config: Config) -> None:
    """Nothing leaves this machine but for the hosts of the provider table, with the keys that belong there."""
    layers = [
        config.options,
        *(m.options for m in config.models.values()),
        *(p.options for p in config.providers),
    ]
    for options in filter(None, layers):
        assert not set(options.set_fields()) & {
            "provider_options",
            "extra_body",
            "extra_headers",
            "extra_query",
        }
    given = {provider.name: provider for provider in config.providers}
    client = AsyncClient(config=config)
    for model in models_of(config):
        name = model.partition(":")[0]
        own = given.get(name, ProviderConfig(name))
        row = find_row(own.based_on or name)
        usual = resolve(f"{row.name}:{model.partition(':')[2]}", {})
        try:
            target = resolve(model, given)
        except ConfigError:  # such as a WebSocket's URL for a provider that has none: nothing is sent
            assert own.base_url is not None
            continue
        assert not target.headers and target.local is None
        assert own.credentials is own.region is own.project is own.socket is None and not own.allow_http
        is_usual = target.base_url == usual.base_url
        if target.base_url == row.express_url:  # the same host, for those that pass no token
            continue
        assert is_usual or (is_loopback(target.base_url) and not target.key and target.auth is None)
        if row.transport == "local":
            with contextlib.suppress(ConfigError):
                assert "planted" not in find_model(target.model).path
        if target.key:
            assert asyncio.run(resolve_key(target.key, name)) == OWN
            assert isinstance(target.key, str) or (
                isinstance(target.key, EnvKey) and target.key.name in (row.key_env, row.other_key_env)
            )
        url = urlsplit(client.prepare("hello", model=model).url)
        expected = urlsplit(AsyncClient().prepare("hello", model=f"{row.name}:{model.partition(':')[2]}").url)
        assert (url.path == expected.path and url.query == expected.query) or not is_usual
        assert url.netloc == expected.netloc or not is_usual
        assert "/../" not in url.path and url.path.startswith(urlsplit(target.base_url).path)


@pytest.mark.many
@pytest.mark.usefixtures("prepared_folder")
def test_nothing_that_is_found_leads_elsewhere() -> None:
    accepted = refused = 0
    own = os.path.expanduser(
        "~/brainwires/"
    )  # the records of what is trusted, and of the local models' names
    homes = (sys.prefix, sys.base_prefix, str(Path(sections.__file__).parents[2]), own)
    homes += () if sys.pycache_prefix is None else (sys.pycache_prefix,)
    for document in [{"model": "groq:m"}, *set_ups()]:  # the first loads what is loaded once
        text = "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in document.items())
        Path(FILE).unlink(missing_ok=True)
        Path(FILE).write_text(text, encoding="utf-8")
        OPENED.clear()
        _is_recording[0] = True
        try:
            config = load_config(environ={})
        except ConfigError:
            refused += 1
        else:
            check(config)
            accepted += 1
        finally:
            _is_recording[0] = False
        assert not {path for path in OPENED if path != FILE and not path.startswith(homes)}, text
        assert SECRET not in text
    assert accepted > 300 and refused > 4000 and accepted + refused > 5000


# -- the list ------------------------------------------------------------------------------------------------


def test_the_list_of_what_is_allowed() -> None:
    """To widen it takes two edits, of which this is one."""
    options = {
        *(
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "seed",
            "stop",
            "presence_penalty",
            "frequency_penalty",
        ),
        *("reasoning", "parallel_tool_calls", "cache", "timeouts", "strict"),
    }
    policies = {
        "retry",
        "limits",
        "budget",
        "prices",
        "hedge",
        "breaker",
    }  # how often and how much is sent, never where to
    assert set(ALLOWED) == {"model", "options", "models", "providers", *policies}
    assert ALLOWED["budget"] is not None and "scope" not in ALLOWED["budget"]  # the budget of others
    models: Any = ALLOWED["models"]
    providers: Any = ALLOWED["providers"]
    assert set(models["*"]) == {"model", "options"}
    assert set(providers["*"]) == {"based_on", "base_url", "api_key", "options", "models"}
    for table in (ALLOWED["options"], models["*"]["options"], providers["*"]["options"]):
        assert table is not None and set(table) == options
        timeouts = table["timeouts"]
        assert timeouts is not None and set(timeouts) <= set(Timeouts.__struct_fields__)


def test_a_field_that_the_format_gets_later_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = msgspec.defstruct("Grown", [("gateway", str | None, None)], bases=(Options,), frozen=True)
    clocks = msgspec.defstruct("Clocks", [("later", float | None, None)], bases=(Timeouts,), frozen=True)
    monkeypatch.setattr(sections, "Options", grown)
    monkeypatch.setattr(sections, "Timeouts", clocks)
    monkeypatch.setattr(sections, "_FIELDS", (*sections._FIELDS, "gateway"))
    for text in (
        "[options]\ngateway = 'x'",
        "[models.a]\nmodel = 'groq:m'\noptions.gateway = 'x'",
        "[providers.groq]\noptions.gateway = 'x'",
        "[options.timeouts]\nlater = 1",
        "[providers.groq]\ngateway = 'x'",
    ):
        write(text, FILE)
        load_config(FILE)  # the format has it
        with pytest.raises(ConfigError, match=r"(gateway|later): this file was merely found"):
            load_config(environ={})


FOUND = {
    "everything that it may say": """
        model = "fast"
        [options]
        max_tokens = 1
        temperature = 0.5
        top_p = 1
        top_k = 1
        seed = 1
        stop = ["x"]
        presence_penalty = 0.5
        frequency_penalty = 0.5
        reasoning = { effort = "low", budget_tokens = 1, summary = "auto" }
        parallel_tool_calls = true
        cache = { mode = "off", ttl = "1h", threshold = 1 }
        timeouts = { connect = 1, first_event = 1, idle = 1, content = 1, attempt = 1, total = 1 }
        strict = true
        [models]
        fast = "groq:m"
        own = "lab:m"
        here = "local:"
        [models.slow]
        model = "huggingface:org/Model-1.5:free@x"
        options = { cache = "off", reasoning = "low" }
        [providers.groq]
        api_key = { env = "GROQ_API_KEY" }
        options = { seed = 1 }
        [providers.google]
        api_key = { env = "GOOGLE_API_KEY" }
        [providers.ollama]
        base_url = "127.0.0.1:1"
        [providers.openai]
        based_on = "openai-responses"
        [providers.second]
        based_on = "groq"
        [providers.lab]
        based_on = "openai-chat"
        base_url = "http://localhost:8000/v1"
        api_key = ""
    """,
    "a server on this machine over a WebSocket": (
        "[providers.openai-responses-ws]\nbase_url = 'ws://[::1]:8000/v1'"
    ),
    "a model in Ollama's own store": "model = 'local:ollama:llama3'",
}


@pytest.mark.parametrize("name", FOUND)
def test_what_a_found_file_may_say(name: str) -> None:
    write(FOUND[name], FILE)
    config = load_config(environ={})
    assert (config.source, config.trusted) == (FILE, False)
    assert load_config(FILE) == msgspec.structs.replace(
        config, trusted=True, providers=load_config(FILE).providers
    )


def test_a_local_model_by_a_name_that_the_user_gave(tmp_path: Path) -> None:
    LocalRegistry().register("mine", LocalModel())
    write("model = 'local:mine'", FILE)
    assert load_config(environ={}).model == "local:mine"
    write("model = 'local:other'", FILE)
    with pytest.raises(ConfigError, match="it names a file"):
        load_config(environ={})
    data = next((tmp_path / "home").rglob("local_models.json"))
    data.write_text("{", encoding="utf-8")
    write("model = 'local:mine'", FILE)
    with pytest.raises(ConfigError, match="it names a file"):
        load_config(environ={})


def test_a_fault_that_is_no_matter_of_trust_has_no_advice_on_it() -> None:
    write("[options]\ntemprature = 1\n[providers.x]\n[models]\na = 'nobody:m'", FILE)
    with pytest.raises(ConfigError) as caught:
        load_config(environ={})
    assert "trust" not in str(caught.value)
    assert "did you mean 'temperature'?" in str(caught.value)


def test_a_key_in_code_does_not_go_to_a_base_url_that_was_found() -> None:
    write("[providers.lab]\nbased_on = 'vllm'\nbase_url = 'http://127.0.0.1:9/v1'", FILE)
    found, named = load_config(environ={}), load_config(FILE)
    given: Any
    for given in ({"api_key": "k"}, {"headers": {"Authorization": "k"}}):
        with pytest.raises(ConfigError, match=r"merely found, so no key is sent there; .*brainwires trust"):
            AsyncClient("lab:m", config=found, **given)
        AsyncClient("lab:m", config=named, **given)
        AsyncClient("groq:m", config=found, **given)
        AsyncClient("lab:m", config=found, base_url="http://127.0.0.1:9/v1", **given)
