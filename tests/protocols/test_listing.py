"""The models of a provider: every shape of a list, pages, further paths, the dated table, the vendors' packages."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import closing
from datetime import date
from typing import Any, get_args

import anthropic
import openai
import pytest

from brainwires_provider import AsyncClient, Client, ProviderConfig, Retry
from brainwires_provider.auth.aws import Credentials
from brainwires_provider.errors import (
    AuthenticationError,
    ConfigError,
    NotFoundError,
    ProtocolError,
    ProviderError,
    RequestTimeout,
    ServerError,
    UnsupportedError,
)
from brainwires_provider.protocols.anthropic import AnthropicMessages, AnthropicQuirks
from brainwires_provider.protocols.base.models import (
    able,
    able_by_modality,
    count_of,
    day_of,
    seconds_of,
    stage_of,
)
from brainwires_provider.protocols.bedrock import BedrockConverse
from brainwires_provider.protocols.gemini import Gemini, GeminiQuirks
from brainwires_provider.protocols.openai_chat import OpenAIChat
from brainwires_provider.protocols.openai_chat.models import decode_models, decode_page, page_query
from brainwires_provider.providers import PROVIDERS, prices
from brainwires_provider.providers.lists import control_plane, project_list, publisher_list, up_from
from brainwires_provider.resources import model_catalog, models
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, Stall
from brainwires_provider.types import Capability, Model, Timeouts
from corpus import records
from model_lists import ABSENT, SHAPES, Bodies, served, snapshot


def config(row: str, url: str) -> ProviderConfig:
    if PROVIDERS[row].cloud == "aws":
        credentials = Credentials("AKIDEXAMPLE", "secret")
        return ProviderConfig(row, base_url=url, region="us-east-1", credentials=credentials)
    return ProviderConfig(row, base_url=url, api_key="k")


def listed(row: str, bodies: Bodies, below: str = "", **settings: Any) -> tuple[list[Model], list[str]]:
    """What the client makes of a service, and the targets that it asked for."""
    with ScriptedServer(served(bodies)) as server:
        with Client(providers=[config(row, server.url + below)], **settings) as client:
            models = client.models(row)
        return models, [request.target for request in server.requests]


# -- every shape ---------------------------------------------------------------------------------------------

# The row, what of its base URL follows the host, bodies by target, and what the models must say.


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape(name: str) -> None:
    row, below, bodies, told = SHAPES[name]
    models, asked = listed(row, bodies, below)
    assert asked == list(bodies)
    assert [model.id for model in models] == list(told)
    for model in models:
        assert (model.provider, model.from_table, model.table) == (row, (), None)
        assert model.raw
        wanted = told[model.id]
        assert {field: getattr(model, field) for field in wanted} == wanted


def test_rows_without_a_list_say_so() -> None:
    for call in (
        lambda: AnthropicMessages(AnthropicQuirks(listing=None)).models_call(None),
        lambda: Gemini(GeminiQuirks(listing=False)).models_call(None),
    ):
        with pytest.raises(UnsupportedError, match=r"lists? (no|not|its)|does not list"):
            call()
    with pytest.raises(ConfigError, match="no provider 'nobody'"), Client() as client:
        client.models("nobody")


def test_every_row_has_a_list() -> None:
    for name, row in PROVIDERS.items():
        assert row.protocol().models_call(None).method == "GET", name


def test_lists_at_other_places() -> None:
    runtime = "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert control_plane(runtime) == "https://bedrock.eu-west-1.amazonaws.com"
    assert control_plane("https://gateway.example/bedrock") == "https://gateway.example/bedrock"
    express = "https://aiplatform.googleapis.com/v1/publishers/google"
    assert publisher_list(express) == "https://aiplatform.googleapis.com/v1beta1/publishers/google"
    project = "https://eu-aiplatform.googleapis.com/v1beta1/projects/p/locations/eu"
    assert project_list(project) == "https://eu-aiplatform.googleapis.com/v1beta1/publishers/google"
    assert publisher_list("https://gateway.example/v1") == "https://gateway.example/v1"
    assert up_from("/openai/v1", "/v1")("https://h/openai/v1") == "https://h/v1"
    assert up_from("/openai/v1", "/v1")("https://h/other") == "https://h/other"


# -- pages, faults and clocks --------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["a", "b"])
def test_pages_that_go_in_a_circle_are_an_error(again: str) -> None:
    bodies = {
        "/v1/models?limit=1000": {"data": [{"id": "a"}], "has_more": True, "last_id": "a"},
        "/v1/models?limit=1000&after_id=a": {"data": [{"id": "b"}], "has_more": True, "last_id": "b"},
        "/v1/models?limit=1000&after_id=b": {"data": [{"id": again}], "has_more": True, "last_id": again},
    }
    with pytest.raises(ProtocolError, match="no end: after page 3 it names one that was read") as caught:
        listed("anthropic", bodies)
    assert caught.value.provider == "anthropic"


def test_pages_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_MOST_PAGES", 5)
    pages = iter(range(1000))

    def endless(request: RecordedRequest) -> Answer:
        return Answer(body=json.dumps({"nextPageToken": str(next(pages))}).encode())

    with ScriptedServer(endless) as server, Client(providers=[config("google", server.url)]) as client:
        with pytest.raises(ProtocolError, match="after page 5 it names more than 5"):
            client.models("google")
        assert len(server.requests) == 5


FAULTS: dict[str, tuple[Answer, type[ProviderError], str]] = {
    "a web page": (Answer(body=b"<html>Welcome</html>"), ProtocolError, "an HTML page"),
    "nothing": (Answer(body=b""), ProtocolError, "an empty body"),
    "half a list": (Answer(body=b'{"data": [{"id": "a"'), ProtocolError, "nor any JSON"),
    "no list": (Answer(body=b'{"data": null}'), ProtocolError, "not a list of models"),
    "other things": (Answer(body=b'{"detail": [{"msg": "x"}]}'), ProtocolError, "not a list of models"),
    "an error with status 200": (
        Answer(body=b'{"error": {"message": "bad key", "code": "invalid_api_key"}}'),
        AuthenticationError,
        "bad key",
    ),
    "a refusal": (Answer(401, body=b'{"error": {"message": "who?"}}'), AuthenticationError, "who"),
    "nowhere": (ABSENT, NotFoundError, "no such page"),
    "a failure": (Answer(500, body=b"oops"), ServerError, "HTTP 500"),
}


@pytest.mark.parametrize("row", ["openai-chat", "anthropic", "google", "bedrock", "ollama", "cohere"])
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_list(name: str, row: str) -> None:
    answer, kind, words = FAULTS[name]
    with (
        ScriptedServer(lambda _: answer) as server,
        Client(providers=[config(row, server.url)], retry=Retry(attempts=1)) as client,
        pytest.raises(kind) as caught,
    ):
        client.models(row)
    if row != "ollama" and kind is not ServerError and "not a list" not in words:
        assert words in caught.value.message
    assert caught.value.provider == row


def test_a_clock_ends_a_page_that_does_not_come() -> None:
    pages = {
        "/v1/models?limit=1000": {"data": [{"id": "a"}], "has_more": True, "last_id": "a"},
        "/v1/models?limit=1000&after_id=a": Answer(stall_before_headers=True, body=[Stall()]),
    }
    with pytest.raises(RequestTimeout):
        listed("anthropic", pages, timeouts=Timeouts(first_event=0.3))


def test_many_lists_at_once() -> None:
    bodies = SHAPES["Anthropic"][2]

    async def ask(url: str) -> list[list[str]]:
        async with AsyncClient(providers=[config("anthropic", url)]) as client:
            lists = await asyncio.gather(*(client.models("anthropic") for _ in range(8)))
            return [[model.id for model in models] for models in lists]

    with ScriptedServer(served(bodies)) as server:
        assert asyncio.run(ask(server.url)) == [["claude-a", "claude-b"]] * 8


def test_a_model_that_two_pages_name_is_one() -> None:
    bodies = {
        "/v1/models?limit=1000": {"data": [{"id": "a"}], "has_more": True, "last_id": "a"},
        "/v1/models?limit=1000&after_id=a": {"data": [{"id": "a", "display_name": "A", "max_tokens": 5}]},
    }
    [model], _ = listed("anthropic", bodies)
    assert (model.display_name, model.max_output_tokens) == ("A", 5)
    assert model.raw == {"id": "a", "display_name": "A", "max_tokens": 5}


@pytest.mark.parametrize(
    "refusal",
    [
        ABSENT,
        Answer(403, body=b'{"error": "not for you"}'),
        Answer(body=b'{"error": "Unexpected endpoint or method. (GET /api/v1/models)"}'),
        Answer(body=b"<html>Welcome</html>"),
    ],
)
def test_where_no_more_is_told_the_list_stands(refusal: Answer) -> None:
    bodies = {"/v1/models": {"data": [{"id": "a", "owned_by": "o"}]}, "/v1/model/info": refusal}
    [model], _ = listed("litellm", bodies, "/v1")
    assert (model.id, model.owner, model.context_window) == ("a", "o", None)


def test_a_failure_where_more_is_told_is_a_failure() -> None:
    bodies = {"/v1/models": {"data": [{"id": "a"}]}, "/v1/model/info": Answer(503, body=b"{}")}
    with pytest.raises(ProviderError) as caught:
        listed("litellm", bodies, "/v1")
    assert caught.value.retryable


# -- the longest answer --------------------------------------------------------------------------------------

# Row, what follows the host, model, bodies, the limit.
LIMITS: dict[str, tuple[str, str, str, Bodies, int | None]] = {
    "one model, by its alias": (
        "anthropic",
        "",
        "claude-latest",
        {"/v1/models/claude-latest": {"id": "claude-9", "max_tokens": 64000}},
        64000,
    ),
    "one that the service does not know": ("anthropic", "", "claude-0", {}, None),
    "one of Gemini's": (
        "google",
        "/v1beta",
        "gemini-a",
        {"/v1beta/models/gemini-a": {"name": "models/gemini-a", "outputTokenLimit": 65536}},
        65536,
    ),
    "one that was tuned": (
        "google",
        "/v1beta",
        "tunedModels/mine",
        {"/v1beta/tunedModels/mine": {"name": "tunedModels/mine"}},
        None,
    ),
    "out of a list": (
        "groq",
        "/v1",
        "b",
        {
            "/v1/models": {
                "data": [{"id": "a", "max_completion_tokens": 1}, {"id": "b", "max_completion_tokens": 2}]
            }
        },
        2,
    ),
    "not in the list": ("groq", "/v1", "c", {"/v1/models": {"data": [{"id": "a"}]}}, None),
    "not told": ("openai-chat", "/v1", "a", {"/v1/models": {"data": [{"id": "a"}]}}, None),
    "a cloud's": (
        "bedrock-anthropic",
        "/anthropic",
        "a",
        {"/v1/models": {"data": [{"id": "a", "max_output_tokens": 7}]}},
        7,
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_longest_answer(name: str) -> None:
    row, below, model, bodies, limit = LIMITS[name]
    with ScriptedServer(served(bodies)) as server:
        with Client(providers=[config(row, server.url + below)]) as client:
            assert client.max_output_tokens(f"{row}:{model}") == limit
        assert len(server.requests) == 1


def test_without_a_list_the_longest_answer_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from brainwires_provider.protocols.openai_chat import ChatQuirks
    from brainwires_provider.providers import Provider

    row = Provider(
        "mute", lambda: OpenAIChat(ChatQuirks(models_path=None)), "http://127.0.0.1:9", keyless=True
    )
    monkeypatch.setitem(PROVIDERS, "mute", row)  # type: ignore[arg-type]
    with Client() as client:
        assert client.max_output_tokens("mute:a") is None
        with pytest.raises(UnsupportedError, match="does not list its models"):
            client.models("mute")


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"id": 3, "name": 3}'])
def test_what_is_no_model(body: bytes) -> None:
    for protocol in (AnthropicMessages(), Gemini()):
        with pytest.raises(ProtocolError) as caught:
            protocol.decode_model(body, "p")
        assert caught.value.provider == "p"


@pytest.mark.parametrize("body", [b"3", b"<html>", b'{"data": 3, "models": 3, "modelSummaries": 3, "x": 1}'])
def test_what_is_no_list_names_its_provider(body: bytes) -> None:
    for name in (
        "anthropic",
        "google",
        "google-interactions",
        "bedrock",
        "ollama",
        "openai-chat",
        "openai-responses",
    ):
        with pytest.raises(ProviderError) as caught:
            PROVIDERS[name].protocol().decode_models(body, "p")
        if name != "ollama":
            assert (type(caught.value), caught.value.provider) == (ProtocolError, "p"), name


def test_only_some_services_tell_of_one_model() -> None:
    assert AnthropicMessages(AnthropicQuirks(listing="publishers")).model_call("a") is None
    assert Gemini(GeminiQuirks(listing=False)).model_call("a") is None
    call = AnthropicMessages().model_call("a/b")
    assert call is not None and call.path == "/v1/models/a%2Fb"


# -- the dated table -----------------------------------------------------------------------------------------


IDS = (
    "equal-1-x",
    "equal-1-y",
    "DATED-2026",
    "begins-so",
    "and-b",
    "and-bc",
    "part",
    "a-part",
    "empty",
    "none",
)


def test_the_table_fills_what_is_not_told_and_is_named() -> None:
    told = [{"id": name} for name in IDS]
    told += [{"id": "dated-2025", "context_window": 5, "lifecycle": "active"}]
    with snapshot(r"http://127\.0\.0\.1"):
        models, _ = listed("custom", {"/v1/models": {"data": told}}, "/v1")
    found = {model.id: (model.context_window, model.lifecycle, model.from_table) for model in models}
    context = ("context_window",)
    assert found == {
        "equal-1-x": (100, None, context),
        "equal-1-y": (None, None, ()),
        "DATED-2026": (200, "deprecated", (*context, "lifecycle")),
        "begins-so": (None, None, ()),
        "and-b": (300, None, context),
        "and-bc": (None, None, ()),
        "part": (400, None, context),  # the entry's own name, however its rule is put
        "a-part": (None, None, ()),
        "empty": (None, None, ()),
        "none": (None, None, ()),
        "dated-2025": (5, "active", ()),
    }
    tables_named = {model.table for model in models if model.from_table}
    assert len(tables_named) == 1
    assert re.fullmatch(r"genai-prices \d[\w.]*", tables_named.pop() or "")
    assert all(model.table is None for model in models if not model.from_table)


def test_the_table_is_asked_for_a_services_own_host_only() -> None:
    with snapshot(r"https://api\.ours\.example", updated=True):
        table = model_catalog.load("https://api.ours.example/v1")
        assert table is not None and table.name.endswith(", updated 2026-11-23")
        assert model_catalog.load("https://api.other.example/v1") is None
        [model], _ = listed("custom", {"/v1/models": {"data": [{"id": "equal-1"}]}}, "/v1")
        assert model.context_window is None


def test_no_table_speaks_of_ones_own_server() -> None:
    with snapshot(r"http://127\.0\.0\.1"):
        [model], _ = listed("vllm", {"/v1/models": {"data": [{"id": "equal-1"}]}}, "/v1")
    assert (model.context_window, model.from_table) == (None, ())


def test_without_the_extra_there_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "find_spec", lambda _: None)
    assert model_catalog.load("https://api.openai.com/v1") is None


def test_the_real_table() -> None:
    pytest.importorskip("genai_prices")
    together = model_catalog.load("https://api.together.ai/v1")
    openai_table = model_catalog.load("https://api.openai.com/v1")
    assert together is not None and openai_table is not None
    filled = openai_table.fill(Model("gpt-4o-2024-08-06", "openai-chat"))
    assert (filled.context_window, filled.from_table) == (128_000, ("context_window",))
    alike = Model("gpt-4o-audio-preview-2099-01-01", "openai-chat")
    assert openai_table.fill(alike) == alike


# -- words and values ----------------------------------------------------------------------------------------


def test_words() -> None:
    assert able(["Tool-Use", "image input", "nonsense", "chat"]) == ("chat", "tools", "vision")
    assert able(get_args(Capability)) == get_args(Capability)
    assert [stage_of(word) for word in ("GA", "succeeded", None, "Public Preview")] == [
        "active",
        None,
        None,
        "preview",
    ]


STAGES = {
    "active": "active available GA generally-available stable",
    "preview": "experimental preview private_preview public_preview",
    "deprecated": "deprecated deprecating legacy",
    "retired": "retired",
}
ABILITIES = {
    ("chat",): "chat chat/completions chat_completion chat-completions completion_chat generateContent llm",
    ("chat", "vision"): "vlm",
    ("embedding",): "embed embedContent embedding embeddings",
    ("tools",): "function_calling tool_calling tool-use tools trained_for_tool_use",
    ("reasoning",): "reasoning thinking",
    ("structured_output",): "response_schema structured_output structured-outputs",
    ("vision",): "image_in image_input vision",
    (
        "audio",
    ): "audio audio_input audio_output audio_speech audio_transcription speech stt transcription tts",
    ("image_generation",): "image_generation",
}


@pytest.mark.parametrize(
    ("taken", "made", "words"),
    [
        (["text", "image"], ["text"], {"vision"}),
        (["audio"], ["text"], {"audio"}),
        (["text"], ["audio"], {"audio"}),
        (["text"], ["image"], {"image_generation"}),
        (["speech", "embedding"], ["text"], set()),
        (["text"], ["embedding", "text"], {"embedding"}),
        (None, ["embeddings", "speech", "transcription"], {"embeddings", "speech", "transcription"}),
        (["video"], None, set()),
        (None, None, set()),
    ],
)
def test_what_modalities_say_of_abilities(taken: Any, made: Any, words: set[str]) -> None:
    assert able_by_modality(taken, made) == words


def test_every_word_of_the_services() -> None:
    """Of Azure, Bedrock, Google, Mistral, Together, LM Studio and others."""
    for stage, words in STAGES.items():
        assert {stage_of(word) for word in words.split()} == {stage}
    for abilities, words in ABILITIES.items():
        assert {able([word]) for word in words.split()} == {abilities}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5),
        (5.5, 5),
        ("1970-01-01T00:00:05Z", 5),
        ("1970-01-02", 86400),
        (0, None),
        (-1, None),
        (True, None),
        (10**20, None),
        (float("nan"), None),
        ("0001-01-01T00:00:00Z", None),
        ("soon", None),
        (None, None),
    ],
)
def test_moments(value: Any, seconds: int | None) -> None:
    assert seconds_of(value) == seconds
    assert (day_of(value) is None) == (seconds is None)


def test_counts() -> None:
    assert [count_of(value) for value in (8, 1, 8.0, 8.5, 0, -1, True, "8", None)] == [8, 1, 8, *[None] * 6]


# What a field of a model is called by services of Chat Completions, beside an id, and what is read of it.
LENGTHS = "context_length context_window max_context_length max_model_len"
CALLED: dict[str, tuple[Any, str]] = {
    "display_name": ("N", "display_name displayName name"),
    "owner": ("o", "owned_by organization publisher"),
    "created": (1_700_000_000, "created created_at"),
    "context_window": (9, f"{LENGTHS} context_size max_input_tokens n_ctx n_ctx_train"),
    "max_output_tokens": (9, "max_output_tokens max_completion_tokens"),
    "deprecated": ("2026-01-02", "deprecated_at deprecation_date deprecation"),
    "retires": ("2026-01-02", "retires_at retirement_date shutdown_date expiration_date"),
    "lifecycle": ("deprecated", "lifecycle lifecycle_status status"),
    "capabilities": (["tools"], "capabilities features endpoints supported_parameters tags"),
    "input_modalities": (["text"], "input_modalities supported_input_modalities"),
    "output_modalities": (["text"], "output_modalities supported_output_modalities"),
}
INSIDE = ["model_info", "top_provider", "limits", "metadata", "meta"]


@pytest.mark.parametrize("field", CALLED)
def test_every_name_of_a_field_is_known(field: str) -> None:
    value, names = CALLED[field]
    entries: list[dict[str, Any]] = [{"id": "m", name: value} for name in names.split()]
    if field in ("context_window", "max_output_tokens", "deprecated", "retires"):
        entries += [{"id": "m", place: {names.split()[-1]: value}} for place in INSIDE]
    models, _ = decode_page(json.dumps(entries).encode(), "p")
    read = day_of(value) if field in ("deprecated", "retires") else value

    assert [getattr(model, field) for model in models] == [
        tuple(read) if isinstance(read, list) else read for _ in entries
    ]


@pytest.mark.parametrize("name", ["id", "model_name", "key", "canonical_name", "name"])
def test_every_name_of_an_id_is_known(name: str) -> None:
    assert [model.id for model in decode_page(json.dumps([{name: "m"}]).encode(), "p")[0]] == ["m"]


SERVERS = [
    {"context_length": 8, "supports_tools": True},
    {"context_length": 8.0, "supports_tools": True},
    "odd",
]
DAY = date(2026, 1, 2)
# What a service says of a model, and what of it is not as for a model of which it says nothing but its id.
TOLD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"display_name": " ", "name": "N"}, {"display_name": "N"}),
    ({"display_name": "D", "displayName": "E", "name": "N"}, {"display_name": "D"}),
    ({"name": "N", "displayName": "D"}, {"display_name": "D"}),
    ({"owned_by": "", "organization": "o", "publisher": "p"}, {"owner": "o"}),
    ({"created": 0, "created_at": 7}, {"created": 7}),
    ({"created": 6, "created_at": 7}, {"created": 6}),
    # limits: by the entry itself, then by what is inside
    ({"context_length": 0, "context_window": 5, "limits": {"context_length": 9}}, {"context_window": 5}),
    ({"model_info": {"n_ctx": 5}, "meta": {"context_length": 9}}, {"context_window": 5}),
    ({"context_length": 5, "providers": SERVERS}, {"context_window": 5, "capabilities": ("tools",)}),
    ({"providers": SERVERS}, {"context_window": 8, "capabilities": ("tools",)}),
    ({"providers": [SERVERS[0], {"context_length": 9}]}, {}),
    ({"providers": [{"context_length": 9}, {}]}, {}),
    ({"providers": [{}, {"supports_tools": True}]}, {}),
    ({"providers": [{"supports_tools": "yes"}]}, {}),
    ({"providers": []}, {}),
    ({"providers": {"a": SERVERS[0]}}, {}),
    ({"max_tokens": 5}, {}),
    ({"max_tokens": 5, "context_window": 9}, {"context_window": 9, "max_output_tokens": 5}),
    ({"max_tokens": 5, "context_length": 9}, {"context_window": 9}),
    ({"max_tokens": 5, "context_window": 0}, {}),
    (
        {"max_tokens": 5, "context_window": 9, "max_output_tokens": 4},
        {"context_window": 9, "max_output_tokens": 4},
    ),
    # modalities
    (
        {"input_modalities": ["TEXT", "Image", 3], "output_modalities": ["Text"]},
        {
            "input_modalities": ("text", "image"),
            "output_modalities": ("text",),
            "capabilities": ("chat", "vision"),
        },
    ),
    (
        {"architecture": {"input_modalities": ["audio"], "output_modalities": ["audio"], "modality": "a->b"}},
        {"input_modalities": ("audio",), "output_modalities": ("audio",), "capabilities": ("audio",)},
    ),
    (
        {"input_modalities": ["text"], "architecture": {"input_modalities": ["file"]}},
        {"input_modalities": ("text",)},
    ),
    ({"input_modalities": [], "supported_input_modalities": ["text"]}, {"input_modalities": ("text",)}),
    (
        {"architecture": {"modality": "Text+Image->Text+Audio"}},
        {
            "input_modalities": ("text", "image"),
            "output_modalities": ("text", "audio"),
            "capabilities": ("chat", "vision", "audio"),
        },
    ),
    (
        {"architecture": {"modality": "text->text"}, "input_modalities": ["text"]},
        {"input_modalities": ("text",)},
    ),
    (
        {"architecture": {"modality": "text->text"}, "output_modalities": ["text"]},
        {"output_modalities": ("text",)},
    ),
    ({"architecture": {"modality": "text"}}, {}),
    ({"modality": "text->text"}, {}),
    # abilities: a field that is about them says which there are, and so that there is none
    ({"capabilities": []}, {"capabilities": ()}),
    ({"capabilities": {}}, {"capabilities": ()}),
    ({"capabilities": "vision"}, {}),
    ({"capabilities": ["vision", 3, "odd"]}, {"capabilities": ("vision",)}),
    (
        {"capabilities": {"vision": True, "tools": False, "audio": 1, "chat": "yes"}},
        {"capabilities": ("vision",)},
    ),
    (
        {
            "capabilities": {
                "vision": {"supported": True},
                "tools": {"supported": False},
                "chat": {"supported": 1},
            }
        },
        {"capabilities": ("vision",)},
    ),
    (
        {"features": ["tools"], "endpoints": ["chat"], "meta": {"supported_parameters": ["reasoning"]}},
        {"capabilities": ("chat", "tools", "reasoning")},
    ),
    ({"supports_vision": True, "supports_tools": False}, {"capabilities": ("vision",)}),
    ({"supports_vision": False}, {"capabilities": ()}),
    ({"supports_vision": 1, "supports_tools": True}, {"capabilities": ("tools",)}),
    ({"supports_vision": "yes"}, {}),
    ({"supports_vision": None, "supports": True}, {}),
    ({"model_info": {"supports_vision": True}}, {"capabilities": ("vision",)}),
    ({"type": "llm"}, {"capabilities": ("chat",)}),
    ({"mode": "embedding"}, {"capabilities": ("embedding",)}),
    ({"metadata": {"mode": "embedding"}}, {"capabilities": ("embedding",)}),
    ({"tags": ["vision", "new"]}, {"capabilities": ("vision",)}),
    ({"type": "image"}, {"capabilities": ("image_generation",)}),
    ({"tags": ["image"]}, {}),
    ({"type": "model", "tags": ["new"], "mode": "odd"}, {}),
    # how long
    ({"lifecycle": "odd", "lifecycle_status": "preview", "status": "active"}, {"lifecycle": "preview"}),
    ({"status": "active", "deprecation_date": "2026-01-02"}, {"lifecycle": "active", "deprecated": DAY}),
    ({"deprecation_date": "2026-01-02"}, {"lifecycle": "deprecated", "deprecated": DAY}),
    ({"meta": {"retires_at": "2026-01-02"}}, {"lifecycle": "deprecated", "retires": DAY}),
    (
        {"deprecation": {"inference": "2026-01-02", "fine_tune": "2025-01-02"}},
        {"lifecycle": "deprecated", "retires": DAY},
    ),
    (
        {"deprecation": {"inference": "2025-01-02"}, "retires_at": "2026-01-02"},
        {"lifecycle": "deprecated", "retires": DAY},
    ),
    ({"is_deprecated": True, "active": True}, {"lifecycle": "deprecated"}),
    ({"is_deprecated": 1}, {}),
    ({"is_deprecated": False, "active": True}, {"lifecycle": "active"}),
    ({"active": "yes"}, {}),
    ({"active": False}, {}),
]


@pytest.mark.parametrize(("entry", "told"), TOLD)
def test_what_a_service_says_of_a_model(entry: dict[str, Any], told: dict[str, Any]) -> None:
    named = {"id": "m", **entry}
    expected = {"raw": named, "display_name": entry.get("name"), **told}
    for body in ([named], {"data": [named]}, {"models": [named]}, named):
        [model], after = decode_page(json.dumps(body).encode(), "p")
        assert model == Model("m", "p", **expected)
        assert after is None


@pytest.mark.parametrize(
    ("page", "after", "query"),
    [
        ({"next_page_token": "t"}, "page_token=t", {"page_token": "t"}),
        (
            {"next_page_token": "t=u", "has_more": True, "last_id": "m"},
            "page_token=t=u",
            {"page_token": "t=u"},
        ),
        ({"has_more": True, "last_id": "m"}, "after=m", {"after": "m"}),
        ({"has_more": True, "last_id": ""}, None, {}),
        ({"has_more": True, "last_id": 5}, None, {}),
        ({"has_more": 1, "last_id": "m"}, None, {}),
        ({"has_more": False, "last_id": "m"}, None, {}),
        ({"next_page_token": ""}, None, {}),
    ],
)
def test_where_the_next_page_is(page: dict[str, Any], after: str | None, query: dict[str, str]) -> None:
    assert decode_page(json.dumps({"data": [], **page}).encode(), "p") == ([], after)
    assert page_query(after) == query
    assert decode_models(json.dumps({"data": [{"id": "m"}], **page}).encode(), "p")[0].id == "m"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            {"stt": [{"name": "a"}], "tts": [{"name": "b", "type": "llm"}], "x": 3},
            [("a", "stt"), ("b", "llm")],
        ),
        ({"data": [], "models": [{"id": "a"}]}, []),
        ({"data": 3, "models": [{"id": "a"}]}, [("a", None)]),
        ({"id": "a", "tts": [{"name": "b"}]}, [("a", None)]),
        ({"stt": [{"name": "a"}], "tts": [{"x": 1}]}, None),
        ({"stt": [{"name": "a"}], "tts": ["b"]}, None),
        ({"stt": []}, None),
        ({"id": ""}, None),
        ({}, None),
        ("models", None),
    ],
)
def test_lists_by_kind(body: Any, found: list[tuple[str, str | None]] | None) -> None:
    data = json.dumps(body).encode()
    if found is not None:
        models, _ = decode_page(data, "p")
        assert [(model.id, model.raw and model.raw.get("type")) for model in models] == found
        return
    with pytest.raises(ProtocolError, match=r"^the model list is not a list of models: ") as caught:
        decode_page(data, "p")
    assert caught.value.provider == "p"


ODD = [
    {"id": "a", "name": 3, "owned_by": [], "created": {}, "context_length": "8k", "top_provider": 3},
    {"id": "b", "capabilities": "all", "architecture": [], "providers": {}, "deprecation": [], "status": 5},
    {"id": "c", "input_modalities": [3], "supports_tools": "yes", "max_tokens": 5, "modality": "text"},
    {"id": "d", "architecture": {"modality": "text"}, "capabilities": {"tools": {"supported": True}, "x": 1}},
    {"id": ""},
    {"id": 5},
    "odd",
    None,
]


def test_odd_entries_lose_what_is_odd_and_nothing_else() -> None:
    models, after = decode_page(json.dumps({"data": ODD, "has_more": True}).encode(), "p")
    assert after is None
    plain = [Model(entry["id"], "p", raw=entry) for entry in ODD[:2]]  # type: ignore[index]
    assert models[:2] == plain
    assert (models[2].input_modalities, models[2].capabilities, models[2].max_output_tokens) == (
        None,
        None,
        None,
    )
    assert (models[3].capabilities, models[3].input_modalities) == (("tools",), None)
    assert [model.id for model in models] == ["a", "b", "c", "d"]


def test_bedrock_without_lists() -> None:
    for body in (b"{}", b"[]", b'{"modelSummaries": 3}'):
        with pytest.raises(ProtocolError, match="no list of models"):
            BedrockConverse().decode_models(body, "bedrock")


# -- recordings and the vendors' packages --------------------------------------------------------------------


def test_recorded_lists_say_what_they_say() -> None:
    recorded = records("models")
    found = {r.host: OpenAIChat().decode_models(r.data, r.host) for r in recorded}
    for record in recorded:
        models, after = found[record.host]
        body = json.loads(record.data)
        entries = body.get("data") or ([body] if "id" in body else [*body["stt"], *body["tts"]])
        assert after is None
        assert [m.id for m in models] == [e.get("id") or e["canonical_name"] for e in entries]
        assert all(
            m.raw is not None and e.items() <= m.raw.items() for m, e in zip(models, entries, strict=True)
        )
        assert [m.owner for m in models] == [e.get("owned_by") for e in entries]
        assert [m.created for m in models] == [e.get("created") or None for e in entries]
    mantle = next(models for host, (models, _) in found.items() if host.startswith("bedrock-mantle"))
    assert {m.lifecycle for m in mantle} == {"active"}
    spoken, _ = found["api.deepgram.com"]
    assert {m.capabilities for m in spoken} == {("audio",)}


def test_what_openais_package_reads() -> None:
    body = SHAPES["OpenAI, with the end of a model"][2]
    with ScriptedServer(served(body)) as server:
        url = f"{server.url}/v1"
        with (
            openai.OpenAI(api_key="k", base_url=url) as theirs,
            Client(providers=[config("custom", url)]) as ours,
        ):
            for model, their in zip(ours.models("custom"), theirs.models.list(), strict=True):
                assert (model.id, model.created or 0) == (their.id, their.created)
                ends = None if model.retires is None else model.retires.isoformat()
                assert ends == their.shutdown_date
        ask, again = server.requests
        assert (ask.method, ask.target) == (again.method, again.target)


def test_what_anthropics_package_reads() -> None:
    shape = SHAPES["Anthropic"][2]
    first = {k: v for k, v in shape["/v1/models?limit=1000"]["data"][0].items() if k != "capabilities"}
    second = {**first, "id": "claude-b", "retires_at": None}
    pages = {
        "/v1/models?limit=1000": {**shape["/v1/models?limit=1000"], "data": [first]},
        "/v1/models?limit=1000&after_id=claude-a": {
            "data": [second],
            "has_more": False,
            "last_id": "claude-b",
        },
        "/v1/models/claude-a": first,
    }
    with ScriptedServer(served(pages)) as server:
        with (
            anthropic.Anthropic(api_key="k", base_url=server.url) as theirs,
            Client(providers=[config("anthropic", server.url)]) as ours,
        ):
            told = list(theirs.models.list(limit=1000))
            for model, their in zip(ours.models("anthropic"), told, strict=True):
                assert (model.id, model.display_name) == (their.id, their.display_name)
                assert model.created == int(their.created_at.timestamp())
                assert (model.context_window, model.max_output_tokens) == (
                    their.max_input_tokens,
                    their.max_tokens,
                )
                assert model.lifecycle == their.lifecycle
                assert model.retires == (their.retires_at and their.retires_at.date())
            one = theirs.models.retrieve("claude-a")
            assert ours.max_output_tokens("anthropic:claude-a") == one.max_tokens
        asked = [request.target for request in server.requests]
        assert asked[0:2] == asked[2:4]
        assert asked[4] == asked[5]
        assert len({request.header("anthropic-version") for request in server.requests}) == 1


def test_what_googles_package_reads() -> None:
    genai = pytest.importorskip("google.genai")
    shape = SHAPES["Gemini"][2]
    [first] = shape["/v1beta/models?pageSize=1000"]["models"]
    with ScriptedServer(served({**shape, "/v1beta/models/gemini-a": first})) as server:
        options = genai.types.HttpOptions(base_url=server.url, api_version="v1beta")
        theirs = genai.Client(api_key="k", http_options=options)
        with closing(theirs), Client(providers=[config("google", f"{server.url}/v1beta")]) as ours:
            told = list(theirs.models.list(config={"page_size": 1000}))
            for model, their in zip(ours.models("google"), told, strict=True):
                assert f"models/{model.id}" == their.name
                assert (model.display_name, model.context_window) == (
                    their.display_name,
                    their.input_token_limit,
                )
            one = theirs.models.get(model="gemini-a")
            assert ours.max_output_tokens("google:gemini-a") == one.output_token_limit == 65536


def test_what_ollamas_package_reads() -> None:
    ollama = pytest.importorskip("ollama")
    with ScriptedServer(served(SHAPES["Ollama"][2])) as server:
        theirs = ollama.Client(host=server.url)
        with closing(theirs._client), Client(providers=[config("ollama", server.url)]) as ours:
            # Theirs knows a model by another field, which real servers fill with the same name.
            told = [model.details and model.details.parameter_size for model in theirs.list().models]
            assert told == ["3B", None, None]
            assert [model.id for model in ours.models("ollama")] == ["l:3b", "e", "bare"]
        assert {request.target for request in server.requests} == {"/api/tags"}
