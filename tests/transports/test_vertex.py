"""Claude and Gemini on Vertex AI: where requests go, what they carry, and what the vendors' own clients send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from brainwires_provider import (
    APIError,
    AuthenticationError,
    Client,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderConfig,
    RateLimitError,
    Retry,
)
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, sse
from colours import COLOURS
from faults import BOTH, FORMS

auth = pytest.importorskip(
    "google.auth.credentials", reason="google-auth is not installed (the extra vertex)"
)

TOKEN = "ya29.planted-token"
PLACE = "/v1/projects/p/locations/us-east5/publishers"
CLAUDE, GEMINI = "claude-x@20260101", "gemini-x"


class Given(auth.Credentials):  # type: ignore[misc,name-defined]
    """Credentials as google-auth has them, whose tokens are made here."""

    refreshed = 0

    def refresh(self, request: Any) -> None:
        self.refreshed += 1
        self.token = f"{TOKEN}-{self.refreshed}"
        self.expiry = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_API_KEY",
        "CLOUD_ML_REGION",
        "ANTHROPIC_VERTEX_PROJECT_ID",
    ):
        monkeypatch.delenv(name, raising=False)


# -- answers -------------------------------------------------------------------------------------------------

MESSAGE = {
    "id": "msg_vrtx_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x-20260101",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
CLAUDE_EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 1},
    },
    {"type": "message_stop"},
]
GENERATED = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
    "modelVersion": "gemini-x-001",
    "responseId": "r-1",
}


def service(request: RecordedRequest) -> Answer:
    """Both publishers' models, by their paths."""
    verb = request.path.rpartition(":")[2]
    if request.path.endswith("/count-tokens:rawPredict"):
        return whole({"input_tokens": 7})
    match verb:
        case "rawPredict":
            return whole(MESSAGE)
        case "streamRawPredict":
            named = [f"event: {e['type']}\n".encode() + sse(e, done=False) for e in CLAUDE_EVENTS]
            return Answer(body=named)
        case "generateContent":
            return whole(GENERATED)
        case "streamGenerateContent":
            assert request.query == "alt=sse"
            return Answer(body=[sse(GENERATED, done=False)])
        case "countTokens":
            return whole({"totalTokens": 7, "totalBillableCharacters": 2})
    return Answer(404)


def whole(body: Any, status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/json; charset=UTF-8"}, json.dumps(body).encode())


def config(row: str, server: ScriptedServer, **given: Any) -> ProviderConfig:
    publisher = "anthropic" if row == "vertex-anthropic" else "google"
    return ProviderConfig(row, base_url=f"{server.url}{PLACE}/{publisher}", **given)


# -- what goes out -------------------------------------------------------------------------------------------

SAID: dict[str, dict[str, Any]] = {
    "vertex-anthropic": {"messages": [{"role": "user", "content": "hi"}]},
    "vertex": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
MODELS = {"vertex-anthropic": CLAUDE, "vertex": GEMINI}
PATHS = {
    ("vertex-anthropic", False): f"{PLACE}/anthropic/models/{CLAUDE}:rawPredict",
    ("vertex-anthropic", True): f"{PLACE}/anthropic/models/{CLAUDE}:streamRawPredict",
    ("vertex", False): f"{PLACE}/google/models/{GEMINI}:generateContent",
    ("vertex", True): f"{PLACE}/google/models/{GEMINI}:streamGenerateContent",
}
ROWS = pytest.mark.parametrize("row", MODELS)


@BOTH
@FORMS
@ROWS
def test_an_answer_and_what_was_sent_for_it(row: str, stream: bool, colour: str) -> None:
    credentials = Given()
    make, run = COLOURS[colour]
    with ScriptedServer(service) as server:
        for _ in range(2):
            client = make(f"{row}:{MODELS[row]}", providers=[config(row, server, credentials=credentials)])
            outcome = run(client, stream=stream, max_tokens=9)
            assert outcome.response.text == "Hello"
            assert outcome.response.usage.total_tokens == 4
            assert outcome.response.finish_reason == "stop"
        sent = server.requests

    body = sent[0].json()
    assert {name: body[name] for name in SAID[row]} == SAID[row]
    assert "model" not in body
    if row == "vertex-anthropic":
        assert body["anthropic_version"] == "vertex-2023-10-16"
        assert body.get("stream", False) is stream
        assert body["max_tokens"] == 9
    for request in sent:
        assert (request.method, request.path) == ("POST", PATHS[row, stream])
        assert request.header("authorization") == f"Bearer {TOKEN}-1"
        assert request.header("x-goog-api-key") is None
        assert request.header("x-api-key") is None
    assert credentials.refreshed == 1


COUNTED = {
    "vertex-anthropic": (
        f"{PLACE}/anthropic/models/count-tokens:rawPredict",
        {"model": CLAUDE, "messages": [{"role": "user", "content": "hi"}]},
    ),
    "vertex": (f"{PLACE}/google/models/{GEMINI}:countTokens", SAID["vertex"]),
}


@ROWS
def test_tokens_are_counted(row: str) -> None:
    path, said = COUNTED[row]
    with ScriptedServer(service) as server:
        with Client(f"{row}:{MODELS[row]}", providers=[config(row, server, credentials=Given())]) as client:
            assert client.count_tokens("hi", temperature=0.5).input_tokens == 7
        [request] = server.requests

    assert request.path == path
    body = request.json()
    assert {name: body[name] for name in said} == said
    assert "temperature" not in body
    assert request.header("authorization") == f"Bearer {TOKEN}-1"


def test_a_quota_project_goes_along() -> None:
    credentials = Given()
    credentials._quota_project_id = "payer"
    with ScriptedServer(service) as server:
        with Client("vertex:m", providers=[config("vertex", server, credentials=credentials)]) as client:
            client.chat("hi")

        assert server.requests[0].header("x-goog-user-project") == "payer"


KEYS = {
    "vertex": ("x-goog-api-key", "planted-key", "authorization"),
    "vertex-anthropic": ("authorization", "Bearer planted-key", "x-goog-api-key"),
}


@ROWS
def test_a_key_given_in_code_goes_instead_of_a_token(row: str) -> None:
    """Gemini takes an express key; for Claude, a key is an access token that somebody else fetched."""
    name, value, absent = KEYS[row]
    with ScriptedServer(service) as server:
        with Client(f"{row}:m", providers=[config(row, server, api_key="planted-key")]) as client:
            assert client.chat("hi").text == "Hello"
        [request] = server.requests

    assert request.header(name) == value
    assert request.header(absent) is None


# -- the vendors' own clients, asked for the same ------------------------------------------------------------


def ours(row: str, server: ScriptedServer, how: str) -> RecordedRequest:
    with Client(f"{row}:{MODELS[row]}", providers=[config(row, server, credentials=Given())]) as client:
        match how:
            case "count":
                client.count_tokens("hi")
            case "stream":
                with client.stream("hi", max_tokens=9) as stream:
                    assert stream.collect().text == "Hello"
            case _:
                assert client.chat("hi", max_tokens=9).text == "Hello"
    return server.requests[-1]


def anthropics(server: ScriptedServer, how: str) -> RecordedRequest:
    anthropic = pytest.importorskip("anthropic")
    messages: Any = [{"role": "user", "content": "hi"}]
    with anthropic.AnthropicVertex(
        region="us-east5", project_id="p", credentials=Given(), base_url=f"{server.url}/v1"
    ) as client:
        match how:
            case "count":
                client.messages.count_tokens(model=CLAUDE, messages=messages)
            case "stream":
                with client.messages.stream(model=CLAUDE, messages=messages, max_tokens=9) as stream:
                    assert stream.get_final_text() == "Hello"
            case _:
                told = client.messages.create(model=CLAUDE, messages=messages, max_tokens=9)
                assert told.content[0].text == "Hello"
    return server.requests[-1]


def googles(server: ScriptedServer, how: str) -> RecordedRequest:
    genai = pytest.importorskip("google.genai")
    client = genai.Client(
        vertexai=True,
        project="p",
        location="us-east5",
        credentials=Given(),
        http_options={"base_url": server.url, "api_version": "v1"},
    )
    settings = {"max_output_tokens": 9}
    match how:
        case "count":
            client.models.count_tokens(model=GEMINI, contents="hi")
        case "stream":
            for told in client.models.generate_content_stream(model=GEMINI, contents="hi", config=settings):
                assert told.text == "Hello"
        case _:
            told = client.models.generate_content(model=GEMINI, contents="hi", config=settings)
            assert told.text == "Hello"
    client.close()
    return server.requests[-1]


THEIRS = {"vertex-anthropic": anthropics, "vertex": googles}
# The pages of "Claude on Vertex AI" name this version and no other; the package sends its own service's there too.
DOCUMENTED = {"vertex-anthropic": {"anthropic_version": "vertex-2023-10-16"}, "vertex": {}}


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # theirs are not ours to answer for
@pytest.mark.parametrize("how", ["whole", "stream", "count"])
@ROWS
def test_the_vendors_own_client_sends_the_same(row: str, how: str) -> None:
    with ScriptedServer(service) as server:
        mine, his = ours(row, server, how), THEIRS[row](server, how)

    assert (mine.method, mine.path, mine.query) == (his.method, his.path, his.query)
    assert mine.header("authorization") == his.header("authorization") == f"Bearer {TOKEN}-1"
    assert mine.json() == his.json() | DOCUMENTED[row]


@pytest.mark.long
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("region", ["global", "us", "eu", "us-east5", "europe-west4"])
@ROWS
def test_hosts_are_the_vendors_own(row: str, region: str) -> None:
    place = ProviderConfig(row, region=region, project="p")
    with Client(f"{row}:m", providers=[place]) as client:
        host = client.prepare("hi").url.split("/")[2]

    if row == "vertex-anthropic":
        anthropic = pytest.importorskip("anthropic")
        told = anthropic.AnthropicVertex(region=region, project_id="p", access_token="x")
        assert told.base_url.host == host
    else:
        genai = pytest.importorskip("google.genai")
        client = genai.Client(vertexai=True, project="p", location=region, credentials=Given())
        assert client._api_client._http_options.base_url.split("/")[2] == host


# -- what is refused -----------------------------------------------------------------------------------------


def no(status: int, words: str, said: str) -> Answer:
    return whole({"error": {"code": status, "message": said, "status": words}}, status)


ROOM = {"type": "error", "error": {"type": "overloaded_error", "message": "no room"}}
NOES: dict[str, tuple[Answer, type[APIError], str]] = {
    "a token that is not taken": (
        no(401, "UNAUTHENTICATED", f"Request had invalid authentication credentials: {TOKEN}-1"),
        AuthenticationError,
        "check the Google Cloud credentials: credentials=",
    ),
    "no right": (
        no(403, "PERMISSION_DENIED", "denied on resource"),
        PermissionDeniedError,
        "denied on resource",
    ),
    "no such model": (
        no(404, "NOT_FOUND", "Publisher Model was not found"),
        NotFoundError,
        "check the model's name, 'm'",
    ),
    "quota": (no(429, "RESOURCE_EXHAUSTED", "Resource exhausted."), RateLimitError, "Resource exhausted"),
    "a bad field": (no(400, "INVALID_ARGUMENT", "bad field"), InvalidRequestError, "bad field"),
    "a precondition": (no(400, "FAILED_PRECONDITION", "not allowed"), InvalidRequestError, "not allowed"),
    "in a list": (
        whole([{"error": {"code": 503, "message": "no room", "status": "UNAVAILABLE"}}], 503),
        OverloadedError,
        "no room",
    ),
    "the model's own": (whole(ROOM, 529), OverloadedError, "no room"),
    "a page": (
        Answer(404, {"content-type": "text/html"}, b"<html>Not Found"),
        NotFoundError,
        "an HTML page",
    ),
}


@BOTH
@FORMS
@ROWS
@pytest.mark.parametrize("name", NOES)
def test_a_refusal(name: str, row: str, stream: bool, colour: str) -> None:
    answer, kind, says = NOES[name]
    make, run = COLOURS[colour]
    with ScriptedServer(lambda _: answer) as server:
        providers = [config(row, server, credentials=Given())]
        client = make(f"{row}:m", providers=providers, retry=Retry(attempts=1))
        with pytest.raises(APIError) as caught:
            run(client, stream=stream)
        server.wait_idle(5)

    error = caught.value
    assert type(error) is kind
    assert says in str(error)
    assert (error.status, error.provider, error.model) == (answer.status, row, "m")
    assert TOKEN not in f"{error!r} {vars(error)}"


@ROWS
def test_a_key_that_is_not_taken(row: str) -> None:
    answer = no(401, "UNAUTHENTICATED", "API keys are not supported by this API")
    with (
        ScriptedServer([answer]) as server,
        Client(f"{row}:m", providers=[config(row, server, api_key="planted-key")]) as client,
        pytest.raises(AuthenticationError, match=r"\(check the key: api_key=\)"),
    ):
        client.chat("hi")
