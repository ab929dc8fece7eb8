"""Rows on clouds: which host a place has, who signs, and that nothing leaves its home."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from brainwires_provider import AsyncClient, Client, ConfigError, ProviderConfig
from brainwires_provider.auth.aws import Credentials
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer

SECRET = "planted-secret-key"
OWN = {
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_APPLICATION_CREDENTIALS",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OWN:
        monkeypatch.delenv(name, raising=False)


URLS: dict[str, tuple[str, dict[str, Any], dict[str, str], str]] = {
    "region given": (
        "bedrock:m",
        {"region": "eu-west-1"},
        {"AWS_REGION": "us-east-1"},
        "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse",
    ),
    "region from the environment": (
        "bedrock:us.a.b-v1:0",
        {},
        {"AWS_REGION": "us-east-1"},
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.a.b-v1%3A0/converse",
    ),
    "an ARN": (
        "bedrock:arn:aws:bedrock:us-east-1:1:application-inference-profile/x",
        {"region": "us-east-1"},
        {},
        (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/"
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fx/converse"
        ),
    ),
    "an endpoint of one's own": (
        "bedrock:m",
        {"base_url": "https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com/", "region": "eu-west-1"},
        {},
        "https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com/model/m/converse",
    ),
    "Claude by Messages": (
        "bedrock-anthropic:claude-x",
        {"region": "us-east-1"},
        {},
        "https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages",
    ),
    "Claude by InvokeModel": (
        "bedrock-invoke:anthropic.claude-x:0",
        {"region": "us-east-1"},
        {},
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-x%3A0/invoke",
    ),
    "Vertex, nowhere said": (
        "vertex:gemini-x",
        {},
        {"GOOGLE_CLOUD_PROJECT": "p"},
        (
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google/"
            "models/gemini-x:generateContent"
        ),
    ),
    "Vertex, several regions": (
        "vertex-anthropic:claude-x",
        {"region": "eu", "project": "p"},
        {"GOOGLE_CLOUD_LOCATION": "us"},
        (
            "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/publishers/anthropic/"
            "models/claude-x:rawPredict"
        ),
    ),
    "Vertex, one region": (
        "vertex-anthropic:claude-x@1",
        {"project": "example.com:p"},
        {"GOOGLE_CLOUD_LOCATION": "us-east5"},
        (
            "https://us-east5-aiplatform.googleapis.com/v1/projects/example.com:p/locations/us-east5/publishers/anthropic/"
            "models/claude-x@1:rawPredict"
        ),
    ),
    "Vertex, an express key": (
        "vertex:gemini-x",
        {"api_key": SECRET},
        {},
        "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-x:generateContent",
    ),
}


@pytest.mark.parametrize("name", URLS)
def test_where_a_request_goes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config, environ, url = URLS[name]
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    with Client(model, providers=[ProviderConfig(model.partition(":")[0], **config)]) as client:
        prepared = client.prepare("hi")

    assert prepared.url == url
    assert SECRET not in repr(prepared)


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no region": ("bedrock:m", {}, "AWS_REGION"),
    "no project": ("vertex:m", {}, "GOOGLE_CLOUD_PROJECT"),
    "a region that is a host": ("bedrock:m", {"region": "x.evil.example/"}, "no region"),
    "Google's token elsewhere": (
        "vertex:m",
        {"base_url": "https://proxy.example/v1"},
        "sent nowhere else",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_missing_is_named(name: str) -> None:
    model, config, words = FAULTS[name]
    with (
        Client(model, providers=[ProviderConfig(model.partition(":")[0], **config)]) as client,
        pytest.raises(ConfigError, match=words),
    ):
        client.prepare("hi")


CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    "metrics": {"latencyMs": 1},
}


def converse(server: ScriptedServer, **config: Any) -> str:
    async def ask() -> str:
        row = ProviderConfig("bedrock", base_url=server.url, region="us-east-1", **config)
        async with AsyncClient("bedrock:arn:aws:x/y:0", providers=[row]) as client:
            return (await client.chat("hello")).text

    return asyncio.run(ask())


def test_a_signed_request_is_what_botocore_would_sign() -> None:
    pytest.importorskip("botocore", reason="botocore is not installed (the extra bedrock)")
    with ScriptedServer(
        lambda _: Answer(200, {"content-type": "application/json"}, json.dumps(CONVERSE).encode())
    ) as server:
        text = converse(server, credentials=Credentials("AKIAEXAMPLE", SECRET, "token"))
        [request] = server.requests

    assert text == "hi"
    assert request.path == "/model/arn%3Aaws%3Ax%2Fy%3A0/converse"
    assert signature(request.header("authorization")) == theirs(request, server)


def signature(authorization: str | None) -> str:
    assert authorization is not None
    return authorization.rpartition("Signature=")[2]


def theirs(request: RecordedRequest, server: ScriptedServer) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as Botocores

    auth = request.header("authorization") or ""
    names = auth.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {name: request.header(name) or "" for name in names if name != "host"}
    again = AWSRequest(request.method, f"{server.url}{request.path}", headers, request.body)
    again.context["timestamp"] = request.header("x-amz-date")
    signer = SigV4Auth(Botocores("AKIAEXAMPLE", SECRET, "token"), "bedrock", "us-east-1")
    canonical = signer.canonical_request(again)
    return str(signer.signature(signer.string_to_sign(again, canonical), again))


@pytest.mark.parametrize("how", ["in code", "from the environment"])
def test_a_bearer_key_needs_no_extra(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    if how == "from the environment":
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", SECRET)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        with Client("bedrock:m") as client:
            assert client.prepare("hi").headers["Authorization"] == "[redacted]"
        return
    with ScriptedServer(
        lambda _: Answer(200, {"content-type": "application/json"}, json.dumps(CONVERSE).encode())
    ) as server:
        assert converse(server, api_key=SECRET) == "hi"
        assert server.requests[0].header("authorization") == f"Bearer {SECRET}"


def test_a_bearer_key_of_the_environment_stays_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", SECRET)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with ScriptedServer(
        lambda _: Answer(200, {"content-type": "application/json"}, json.dumps(CONVERSE).encode())
    ) as server:
        assert converse(server) == "hi"
        told = server.requests[0].header("authorization") or ""

    assert told.startswith("AWS4-HMAC-SHA256 ")
    assert SECRET not in told


@pytest.mark.parametrize(
    ("model", "config", "extra", "missing"),
    [
        ("bedrock:m", {"region": "us-east-1"}, "bedrock", "botocore"),
        ("vertex:m", {"project": "p"}, "vertex", "google"),
    ],
)
def test_without_its_extra_the_error_names_it(
    model: str, config: dict[str, Any], extra: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainwires_provider.providers import clouds

    clouds._made.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, missing, None)
    with (
        Client(model, providers=[ProviderConfig(model.partition(":")[0], **config)]) as client,
        pytest.raises(ConfigError, match=rf"brainwires-provider\[{extra}\]"),
    ):
        client.chat("hi")
