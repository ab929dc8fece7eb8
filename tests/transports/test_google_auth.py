"""Google's tokens: from a scripted metadata server and from a service account's file that the test makes."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from brainwires_provider import AsyncClient, ConfigError, ConnectError, ProviderConfig
from brainwires_provider.auth.google import GoogleAuth
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, refuse

pytest.importorskip("google.auth", reason="google-auth is not installed (the extra vertex)")

SECRET = "ya29.planted-token"
ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}


def token_answer(number: int, seconds: int = 3600) -> Answer:
    body = {"access_token": f"{SECRET}-{number}", "expires_in": seconds, "token_type": "Bearer"}
    return Answer(
        200, {"content-type": "application/json", "metadata-flavor": "Google"}, json.dumps(body).encode()
    )


class Metadata:
    """What a virtual machine's metadata server says."""

    def __init__(self, seconds: int = 3600) -> None:
        self.tokens = 0
        self.seconds = seconds

    def __call__(self, request: RecordedRequest) -> Answer:
        path = request.path.partition("?")[0]
        if path.endswith("/token"):
            self.tokens += 1
            return token_answer(self.tokens, self.seconds)
        said = {"project-id": b"my-project"}.get(path.rsplit("/", 1)[-1])
        if said is None and "/service-accounts/" in path:
            said = json.dumps({"email": "a@example.com", "scopes": [], "aliases": []}).encode()
        kind = "application/json" if said and said.startswith(b"{") else "text/plain"
        return Answer(200, {"metadata-flavor": "Google", "content-type": kind}, said or b"")


def on_a_machine(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer, home: Path) -> None:
    host = f"127.0.0.1:{server.port}"
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"):
        monkeypatch.setenv(name, host)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(home))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    from google.auth.compute_engine import _metadata

    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)  # read from the environment at its import


def service_account(place: Path, token_uri: str) -> Path:
    """A file as Google gives it, with a key made here and now."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    told = {
        "type": "service_account",
        "project_id": "file-project",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "a@file-project.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    path = place / "account.json"
    path.write_text(json.dumps(told))
    return path


VERTEX = "https://us-east5-aiplatform.googleapis.com/v1/x"


async def tokens(auth: GoogleAuth, count: int = 100, url: str = VERTEX) -> set[str]:
    made = await asyncio.gather(*(auth.headers("POST", url, {}, b"") for _ in range(count)))
    return {headers["Authorization"] for headers in made}


def test_a_hundred_requests_fetch_one_token_and_one_more_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = [datetime.now(UTC).timestamp()]
    metadata = Metadata()
    with ScriptedServer(metadata) as server:
        on_a_machine(monkeypatch, server, tmp_path)
        auth = GoogleAuth(clock=lambda: now[0])

        async def twice() -> tuple[set[str], set[str], set[str]]:
            first = await tokens(auth)
            again = await tokens(auth)
            now[0] += timedelta(hours=1).total_seconds() - 200
            return first, again, await tokens(auth)

        first, again, later = asyncio.run(twice())

    assert first == again == {f"Bearer {SECRET}-1"}
    assert later == {f"Bearer {SECRET}-2"}
    assert metadata.tokens == 2


def test_a_service_accounts_file(tmp_path: Path) -> None:
    def answer(request: RecordedRequest) -> Answer:
        asked = parse_qs(request.body.decode())
        assert asked["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        assert asked["assertion"][0].count(".") == 2
        return token_answer(7)

    with ScriptedServer(answer) as server:
        path = service_account(tmp_path, f"{server.url}/token")
        auth = GoogleAuth(path)
        made = asyncio.run(tokens(auth))
        project = auth.project()

    assert made == {f"Bearer {SECRET}-7"}
    assert project == "file-project"
    assert len(server.requests) == 1


def test_a_token_goes_to_googles_own_hosts(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: token_answer(7)) as server:
        path = service_account(tmp_path, f"{server.url}/token")
        with pytest.raises(ConfigError, match="sent to Vertex AI's own hosts only"):
            asyncio.run(tokens(GoogleAuth(path), url="https://storage.googleapis.com/bucket"))
        assert server.requests == []  # none is fetched, either
        elsewhere = asyncio.run(tokens(GoogleAuth(path, any_host=True), url="https://llm.example/v1"))

    assert elsewhere == {f"Bearer {SECRET}-7"}


def test_the_road_carries_the_token(tmp_path: Path) -> None:
    def answer(request: RecordedRequest) -> Answer:
        if request.path == "/token":
            return token_answer(1)
        assert request.header("authorization") == f"Bearer {SECRET}-1"
        return Answer(200, {"content-type": "application/json"}, json.dumps(ANSWER).encode())

    async def ask(config: ProviderConfig) -> str:
        async with AsyncClient("vertex:gemini-3", providers=[config]) as client:
            return (await client.chat("hello")).text

    with ScriptedServer(answer) as server:
        config = ProviderConfig(
            "vertex",
            base_url=f"{server.url}/v1/projects/p/locations/global/publishers/google",
            credentials=str(service_account(tmp_path, f"{server.url}/token")),
        )
        assert asyncio.run(ask(config)) == "hi"


Fault = tuple[Callable[[Path], Any], type[Exception], str]
FAULTS: dict[str, Fault] = {
    "no such file": (lambda place: place / "none.json", ConfigError, "cannot be read|not found|no Google"),
    "no JSON": (lambda place: written(place, "{"), ConfigError, "Google Cloud credentials"),
    "no kind": (lambda place: written(place, '{"type": "x"}'), ConfigError, "Google Cloud credentials"),
}


def written(place: Path, text: str) -> Path:
    path = place / "broken.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", FAULTS)
def test_files_that_are_none(name: str, tmp_path: Path) -> None:
    make, kind, words = FAULTS[name]
    with pytest.raises(kind, match=words):
        asyncio.run(tokens(GoogleAuth(make(tmp_path)), 1))


def test_a_refused_token_is_told_without_what_was_sent(tmp_path: Path) -> None:
    refusal = Answer(
        400, {"content-type": "application/json"}, b'{"error": "invalid_grant", "error_description": "no"}'
    )
    with ScriptedServer(lambda _: refusal) as server:
        auth = GoogleAuth(service_account(tmp_path, f"{server.url}/token"))
        with pytest.raises(ConfigError, match="invalid_grant"):
            asyncio.run(tokens(auth, 3))


def test_no_token_server(tmp_path: Path) -> None:
    with refuse() as port:
        auth = GoogleAuth(service_account(tmp_path, f"http://127.0.0.1:{port}/token"))
        with pytest.raises(ConnectError, match="no Google Cloud token"):
            asyncio.run(tokens(auth, 1))


def test_nothing_shows_a_token(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: token_answer(1)) as server:
        auth = GoogleAuth(service_account(tmp_path, f"{server.url}/token"))
        asyncio.run(tokens(auth, 1))

    assert SECRET not in repr(auth)
    assert auth.secrets == (f"{SECRET}-1",)
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(auth)
