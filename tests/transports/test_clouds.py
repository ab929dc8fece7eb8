"""Rows on clouds: which host a place has, who signs, and that nothing leaves its home."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from brainwires_provider import PROVIDERS, AsyncClient, Client, ConfigError, ProviderConfig
from brainwires_provider.auth.aws import Credentials
from brainwires_provider.auth.hosts import checked, is_own_host
from brainwires_provider.providers import resolve
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
    "GOOGLE_CLOUD_REGION",
    "CLOUD_ML_REGION",
    "ANTHROPIC_VERTEX_PROJECT_ID",
    "GCLOUD_PROJECT",
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
    "a region that is a host": ("bedrock:m", {"region": "x.evil.example/"}, "not a valid region"),
    "a project that is a path": ("vertex:m", {"project": "p/../../x"}, "not a valid project"),
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


HOSTS = (
    "evil.example/",
    "evil.example#",
    "evil.example?x=",
    "u@evil.example/",
    "a.b",
    "evil.example:443/",
    "..",
)
CLOUD_ROWS = [name for name, row in PROVIDERS.items() if row.cloud]
VARIABLES = {
    "aws": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "google": ("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION", "CLOUD_ML_REGION"),
}


@pytest.mark.parametrize("row", CLOUD_ROWS)
def test_no_region_from_any_source_becomes_a_host(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = PROVIDERS[row].cloud
    assert cloud is not None
    more = {"project": "p"} if cloud == "google" else {}

    def prepare(**config: Any) -> str:
        with Client(f"{row}:m", providers=[ProviderConfig(row, **more, **config)]) as client:
            return client.prepare("hi").url

    for place in (*HOSTS, "us-east-1\n", "us-east5\n", "us-east-1.evil.example", "US-EAST-1"):
        with pytest.raises(ConfigError, match="is not a valid region"):
            prepare(region=place)
        for variable in VARIABLES[cloud]:
            with monkeypatch.context() as patch:
                patch.setenv(variable, place)
                if place != place.strip():  # what is around a variable's text is not part of it
                    continue
                with pytest.raises(ConfigError, match="is not a valid region"):
                    prepare()
    if cloud == "google":
        more = {}
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p/locations/us/../../x")
        with pytest.raises(ConfigError, match="is not a valid project"):
            prepare()


KNOWN_PLACES = {
    "region": (
        *("us-east-1", "us-gov-west-1", "cn-north-1", "ap-southeast-7", "il-central-1", "us-iso-east-1"),
        *("us-isob-east-1", "eusc-de-east-1", "mx-central-1"),
    ),
    "location": (
        *("global", "us", "eu", "us-central1", "europe-west12", "northamerica-northeast1", "me-central2"),
        *("southamerica-east1", "africa-south1"),
    ),
    "project": ("my-project-1", "example.com:my-project", "123456789012", "p"),
}


@pytest.mark.parametrize("part", KNOWN_PLACES)
def test_places_that_there_are(part: Any) -> None:
    for value in KNOWN_PLACES[part]:
        assert checked(part, value) == value


OWN_HOSTS: list[tuple[Any, str, bool]] = [
    ("aws", "https://bedrock-runtime.us-east-1.amazonaws.com", True),
    ("aws", "https://BEDROCK-runtime.us-east-1.amazonaws.com:443/x", True),
    ("aws", "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/", True),
    ("aws", "https://bedrock.eu-west-1.api.aws", True),
    ("aws", "https://bedrock-mantle.eu-west-1.api.aws/anthropic", True),
    ("aws", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn", True),
    ("aws", "https://bedrock-runtime.us-east-1.amazonaws.com.cn", False),
    ("aws", "http://bedrock-runtime.us-east-1.amazonaws.com", False),
    ("aws", "https://bedrock-runtime.us-east-1.amazonaws.com:8443", False),
    ("aws", "https://bucket.s3.us-east-1.amazonaws.com", False),
    ("aws", "https://x.execute-api.us-east-1.amazonaws.com", False),
    ("aws", "https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com", False),
    ("aws", "https://evil.amazonaws.com", False),
    ("aws", "https://evil.bedrock-runtime.us-east-1.amazonaws.com", False),
    ("aws", "https://u@bedrock-runtime.us-east-1.amazonaws.com", False),
    ("aws", "https://bedrock-runtime.us-east-1.amazonaws.com.evil.example", False),
    ("aws", "https://evil.example\\@bedrock-runtime.us-east-1.amazonaws.com", False),
    ("aws", "https://aiplatform.googleapis.com", False),
    ("aws", "https://[", False),
    ("google", "https://aiplatform.googleapis.com/v1", True),
    ("google", "https://us-east5-aiplatform.googleapis.com/v1", True),
    ("google", "https://aiplatform.eu.rep.googleapis.com/v1", True),
    ("google", "https://storage.googleapis.com/bucket", False),
    ("google", "https://evil-aiplatform.googleapis.com", False),
    ("google", "https://aiplatform.evil.rep.googleapis.com", False),
    ("google", "https://aiplatform-x.p.googleapis.com", False),
    ("google", "https://aiplatform.googleapis.com.evil.example", False),
]


@pytest.mark.parametrize(("cloud", "url", "own"), OWN_HOSTS)
def test_own_hosts_are_exact_service_names(cloud: Any, url: str, own: bool) -> None:
    assert is_own_host(cloud, url) is own


def test_a_key_of_the_environment_does_not_go_to_a_customers_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", SECRET)
    for host, carried in (
        ("https://bucket.s3.us-east-1.amazonaws.com", False),
        ("https://bedrock-runtime.us-east-1.amazonaws.com", True),
    ):
        config = ProviderConfig("bedrock", base_url=host, region="us-east-1")
        auth: Any = resolve("bedrock:m", {"bedrock": config}).auth
        assert (auth._key() == SECRET) is carried


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
