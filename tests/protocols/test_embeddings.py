"""Vectors of texts: every service's request and answer, many requests at once, and what the vendors' packages say."""

from __future__ import annotations

import asyncio
import json
import struct
from base64 import b64encode
from typing import Any, get_args

import pytest

from brainwires_provider import AsyncClient, Client, ProviderConfig, Retry
from brainwires_provider.errors import (
    ConfigError,
    InvalidRequestError,
    ProtocolError,
    RateLimitError,
    UnsupportedError,
)
from brainwires_provider.protocols.base.embeddings import EmbeddingProtocol
from brainwires_provider.protocols.bedrock.operations import BedrockEmbeddings
from brainwires_provider.protocols.gemini.operations import GeminiEmbeddings, VertexEmbeddings
from brainwires_provider.protocols.ollama.operations import OllamaTextEmbeddings
from brainwires_provider.protocols.openai_chat.operations import OpenAIEmbeddings
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from brainwires_provider.types import EmbeddingArgs, EmbeddingTask

PLAIN = EmbeddingArgs()
TITAN, COHERE = "amazon.titan-embed-text-v2:0", "us.cohere.embed-v4:0"
FULL = OpenAIEmbeddings(packed=True, texts=3, tasks={"query": "query", "document": "passage"})
BARE = OpenAIEmbeddings(dimensions=None)


def packed(*numbers: float) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


CALLS: dict[str, tuple[EmbeddingProtocol, list[str], str, EmbeddingArgs, str, dict[str, Any]]] = {
    "openai": (
        OpenAIEmbeddings(),
        ["a", "b"],
        "m",
        EmbeddingArgs(256, extra_body={"user": "u"}),
        "/embeddings",
        {"model": "m", "input": ["a", "b"], "dimensions": 256, "user": "u"},
    ),
    "openai, all": (
        FULL,
        ["a"],
        "m",
        EmbeddingArgs(task="document"),
        "/embeddings",
        {"model": "m", "input": ["a"], "encoding_format": "base64", "input_type": "passage"},
    ),
    "gemini": (
        GeminiEmbeddings(),
        ["a", "b"],
        "gemini-embedding-001",
        EmbeddingArgs(768, "query"),
        "/models/gemini-embedding-001:batchEmbedContents",
        {
            "requests": [
                {
                    "model": "models/gemini-embedding-001",
                    "content": {"parts": [{"text": text}]},
                    "taskType": "RETRIEVAL_QUERY",
                    "outputDimensionality": 768,
                }
                for text in "ab"
            ]
        },
    ),
    "vertex": (
        VertexEmbeddings(),
        ["a", "b"],
        "text-embedding-005",
        EmbeddingArgs(task="clustering"),
        "/models/text-embedding-005:predict",
        {"instances": [{"content": text, "task_type": "CLUSTERING"} for text in "ab"]},
    ),
    "vertex, of Gemini": (
        VertexEmbeddings(),
        ["a"],
        "gemini-embedding-001",
        EmbeddingArgs(256, extra_body={"autoTruncate": False}),
        "/models/gemini-embedding-001:predict",
        {
            "instances": [{"content": "a"}],
            "parameters": {"outputDimensionality": 256, "autoTruncate": False},
        },
    ),
    "ollama": (
        OllamaTextEmbeddings(),
        ["a", "b"],
        "nomic-embed-text",
        EmbeddingArgs(64, extra_body={"truncate": False}),
        "/api/embed",
        {"model": "nomic-embed-text", "input": ["a", "b"], "dimensions": 64, "truncate": False},
    ),
    "titan": (
        BedrockEmbeddings(),
        ["a"],
        TITAN,
        EmbeddingArgs(512),
        "/model/amazon.titan-embed-text-v2%3A0/invoke",
        {"inputText": "a", "dimensions": 512},
    ),
    "cohere": (
        BedrockEmbeddings(),
        ["a", "b"],
        COHERE,
        EmbeddingArgs(512, "query"),
        "/model/us.cohere.embed-v4%3A0/invoke",
        {"texts": ["a", "b"], "input_type": "search_query", "output_dimension": 512},
    ),
    "cohere, unless told": (
        BedrockEmbeddings(),
        ["a"],
        f"arn:aws:bedrock:us-east-1::foundation-model/{COHERE}",
        PLAIN,
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Fus.cohere.embed-v4%3A0/invoke",
        {"texts": ["a"], "input_type": "search_document"},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_request(name: str) -> None:
    protocol, texts, model, args, path, body = CALLS[name]

    call = protocol.call(texts, model, args)

    assert (call.method, call.path, call.body) == ("POST", path, body)


TASKS = {
    "query": ("RETRIEVAL_QUERY", "search_query"),
    "document": ("RETRIEVAL_DOCUMENT", "search_document"),
    "similarity": ("SEMANTIC_SIMILARITY", None),
    "classification": ("CLASSIFICATION", "classification"),
    "clustering": ("CLUSTERING", "clustering"),
}
"""The words of Google's `taskType` and of Cohere's `input_type`."""


@pytest.mark.parametrize("task", get_args(EmbeddingTask))
def test_every_task_has_the_services_word(task: Any) -> None:
    google, cohere = TASKS[task]
    args = EmbeddingArgs(task=task)
    gemini = GeminiEmbeddings().call(["a"], "gemini-embedding-001", args)
    vertex = VertexEmbeddings().call(["a"], "text-embedding-005", args)
    assert gemini.body["requests"][0]["taskType"] == google
    assert vertex.body["instances"][0]["task_type"] == google
    if cohere is not None:
        assert BedrockEmbeddings().call(["a"], COHERE, args).body["input_type"] == cohere


REFUSED: list[tuple[EmbeddingProtocol, list[str], str, EmbeddingArgs, str]] = [
    (BARE, ["a"], "m", EmbeddingArgs(dimensions=3), "takes no dimensions"),
    (BARE, ["a"], "m", EmbeddingArgs(task="query"), "no task 'query'"),
    (FULL, ["a"], "m", EmbeddingArgs(task="clustering"), "it knows query, document"),
    (FULL, ["a"] * 4, "m", PLAIN, "1 to 3 texts, not 4"),
    (GeminiEmbeddings(), [], "m", PLAIN, "not 0"),
    (OllamaTextEmbeddings(), ["a"], "m", EmbeddingArgs(task="query"), "Ollama has no task"),
    (BedrockEmbeddings(), ["a"], TITAN, EmbeddingArgs(task="query"), "Titan has no task"),
    (BedrockEmbeddings(), ["a"], COHERE, EmbeddingArgs(task="similarity"), "Cohere has no task"),
    (BedrockEmbeddings(), ["a"], "meta.llama4", PLAIN, "cohere.embed"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[-1])
def test_what_cannot_be_asked(case: tuple[EmbeddingProtocol, list[str], str, EmbeddingArgs, str]) -> None:
    protocol, texts, model, args, said = case
    with pytest.raises(UnsupportedError, match=said):
        protocol.call(texts, model, args)


SIZES: list[tuple[EmbeddingProtocol, str, int]] = [
    (GeminiEmbeddings(), "gemini-embedding-001", 100),
    (VertexEmbeddings(), "gemini-embedding-001", 1),
    (VertexEmbeddings(), "text-embedding-005", 9),
    (OllamaTextEmbeddings(), "m", 512),
    (BedrockEmbeddings(), TITAN, 1),
    (BedrockEmbeddings(), COHERE, 96),
]


@pytest.mark.parametrize(("protocol", "model", "size"), SIZES)
def test_how_many_texts_one_request_takes(protocol: EmbeddingProtocol, model: str, size: int) -> None:
    assert protocol.batch(model) == size
    protocol.call(["a"] * size, model, PLAIN)
    with pytest.raises(UnsupportedError, match=f"not {size + 1}"):
        protocol.call(["a"] * (size + 1), model, PLAIN)


@pytest.mark.parametrize(
    ("model", "path"),
    [("tunedModels/m", "/tunedModels/m:batchEmbedContents"), ("models/m", "/models/m:batchEmbedContents")],
)
def test_a_model_of_gemini_that_is_named_in_full(model: str, path: str) -> None:
    call = GeminiEmbeddings().call(["a"], model, EmbeddingArgs(extra_body={"title": "t"}))
    assert (call.path, call.body) == (
        path,
        {"requests": [{"model": model, "content": {"parts": [{"text": "a"}]}, "title": "t"}]},
    )


def test_bedrock_takes_fields_of_the_models_own() -> None:
    own = EmbeddingArgs(extra_body={"normalize": False})
    assert BedrockEmbeddings().call(["a"], TITAN, own).body == {"inputText": "a", "normalize": False}


ANSWERS: dict[str, tuple[EmbeddingProtocol, Any, int | None, str | None]] = {
    "openai": (
        BARE,
        {
            "data": [{"embedding": [3, 4.5], "index": 1}, {"embedding": [1, 2], "index": 0}],
            "model": "m-1",
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        },
        7,
        "m-1",
    ),
    "packed": (FULL, {"data": [{"embedding": packed(1, 2)}, {"embedding": packed(3, 4.5)}]}, None, None),
    "places that say nothing": (
        BARE,
        {
            "data": [{"embedding": [1, 2], "index": 0}, {"embedding": [3, 4.5], "index": 0}],
            "usage": {"total_tokens": 2},
        },
        2,
        None,
    ),
    "gemini": (
        GeminiEmbeddings(),
        {
            "embeddings": [{"values": [1, 2]}, {"values": [3, 4.5]}],
            "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 5},
        },
        4,
        None,
    ),
    "vertex": (
        VertexEmbeddings(),
        {
            "predictions": [
                {"embeddings": {"values": [1, 2], "statistics": {"token_count": 3, "truncated": False}}},
                {"embeddings": {"values": [3, 4.5], "statistics": {"token_count": 2.0}}},
            ],
            "metadata": {"billableCharacterCount": 9},
        },
        5,
        None,
    ),
    "gemini with a sum alone": (
        GeminiEmbeddings(),
        {"embeddings": [{"values": [1, 2]}, {"values": [3, 4.5]}], "usageMetadata": {"totalTokenCount": 4}},
        4,
        None,
    ),
    "gemini without counts": (
        GeminiEmbeddings(),
        {
            "embeddings": [{"values": [1, 2]}, {"values": [3, 4.5]}],
            "usageMetadata": {"promptTokenCount": "4"},
        },
        None,
        None,
    ),
    "vertex with a count of one": (
        VertexEmbeddings(),
        {
            "predictions": [
                {"embeddings": {"values": [1, 2], "statistics": {"token_count": 3}}},
                {"embeddings": {"values": [3, 4.5], "statistics": {"token_count": "2"}}},
            ]
        },
        None,
        None,
    ),
    "vertex without counts": (
        VertexEmbeddings(),
        {"predictions": [{"embeddings": {"values": [1, 2]}}, {"embeddings": {"values": [3, 4.5]}}]},
        None,
        None,
    ),
    "ollama": (
        OllamaTextEmbeddings(),
        {"model": "n", "embeddings": [[1, 2], [3, 4.5]], "prompt_eval_count": 8, "total_duration": 9},
        8,
        "n",
    ),
    "cohere": (BedrockEmbeddings(), {"embeddings": [[1, 2], [3, 4.5]], "id": "x"}, None, None),
    "cohere by type": (
        BedrockEmbeddings(),
        {"embeddings": {"float": [[1, 2], [3, 4.5]]}, "response_type": "embeddings_by_type"},
        None,
        None,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer(name: str) -> None:
    protocol, body, tokens, model = ANSWERS[name]

    embedded = protocol.decode(json.dumps(body).encode(), 2)

    assert embedded.vectors == [[1.0, 2.0], [3.0, 4.5]]
    assert (embedded.usage.input_tokens, embedded.usage.complete) == (tokens or 0, tokens is not None)
    assert embedded.model == model


RAW: list[tuple[EmbeddingProtocol, dict[str, Any], dict[str, Any]]] = [
    (GeminiEmbeddings(), {"embeddings": [{"values": [1]}]}, {"usageMetadata": {"promptTokenCount": 4}}),
    (VertexEmbeddings(), {"predictions": [{"embeddings": {"values": [1]}}]}, {"metadata": {"n": 9}}),
]


@pytest.mark.parametrize(("protocol", "body", "usage"), RAW)
def test_what_a_service_says_of_the_usage_is_kept(
    protocol: EmbeddingProtocol, body: dict[str, Any], usage: dict[str, Any]
) -> None:
    embedded = protocol.decode(json.dumps(body | usage).encode(), 1)
    assert (embedded.usage.raw, embedded.extra) == (next(iter(usage.values())), {})


def test_ollama_tells_how_long_it_took() -> None:
    body = {"embeddings": [[1]], "total_duration": 9, "load_duration": 3, "x": 1}
    embedded = OllamaTextEmbeddings().decode(json.dumps(body).encode(), 1)
    assert embedded.extra == {"total_duration": 9, "load_duration": 3}


def test_usage_without_counts_keeps_what_it_says() -> None:
    body = {"data": [{"embedding": [1, 2], "index": 0}], "usage": {"cost": 0.5}}
    usage = OpenAIEmbeddings().decode(json.dumps(body).encode(), 1).usage
    assert (usage.complete, usage.raw) == (False, {"cost": 0.5})


def test_titan_answers_one_text() -> None:
    body = b'{"embedding": [1, 2], "inputTextTokenCount": 3}'

    embedded = BedrockEmbeddings().decode(body, 1)

    assert (embedded.vectors, embedded.usage.input_tokens) == ([[1.0, 2.0]], 3)


BROKEN: list[tuple[EmbeddingProtocol, bytes, str]] = [
    (BARE, b"<html>busy</html>", "holds no embeddings"),
    (BARE, b'{"data": [{"embedding": [1]}]}', "2 texts were sent, and 1 vectors"),
    (BARE, b'{"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}', "not of one length"),
    (BARE, b'{"data": [{"embedding": []}, {"embedding": []}]}', "not of one length"),
    (BARE, b'{"data": [{"embedding": [1]}, {"embedding": [NaN]}]}', "not finite"),
    (BARE, b'{"data": [{"embedding": [1]}, {"embedding": ["x"]}]}', "holds no embeddings"),
    (BARE, b'{"data": [{"embedding": "abc"}, {"embedding": "abc"}]}', "no base64"),
    (BARE, b'{"data": [{"embedding": "YWI="}, {"embedding": "YWI="}]}', "no base64"),
    (BARE, b'{"data": [1' + b"[" * 100_000, "holds no embeddings"),
    (GeminiEmbeddings(), b'{"embedding": {"values": [1]}}', "holds no embeddings"),
    (BedrockEmbeddings(), b'{"other": "no"}', "neither"),
    (BedrockEmbeddings(), b'{"embeddings": {"int8": [[1], [2]]}}', "neither"),
]


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: f"{type(case[0]).__name__} {case[1][:50]!r}")
def test_what_is_no_answer(case: tuple[EmbeddingProtocol, bytes, str]) -> None:
    protocol, body, said = case
    with pytest.raises(ProtocolError, match=said):
        protocol.decode(body, 2)


def test_a_big_endian_machine_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = b64encode(struct.pack(">2f", 1, 2)).decode()
    monkeypatch.setattr("sys.byteorder", "big")

    assert FULL.decode(json.dumps({"data": [{"embedding": turned}]}).encode(), 1).vectors == [[1.0, 2.0]]


# -- through the client ----------------------------------------------------------------------------------------


def vector(text: str) -> list[float]:
    return [float(len(text)), float(ord(text[0]))]


def service(request: RecordedRequest) -> Answer:
    """Embeds by length and first letter, last text first."""
    body = request.json()
    if body["model"] == "busy":
        return Answer(429, {"retry-after": "2"}, b'{"error": {"message": "slow down"}}')
    data = [{"index": n, "embedding": vector(text)} for n, text in enumerate(body["input"])]
    usage = {"prompt_tokens": len(data), "total_tokens": len(data)}
    return Answer(body=json.dumps({"data": data[::-1], "model": "m-1", "usage": usage}).encode())


def test_thousands_of_texts_keep_their_order() -> None:
    texts = [chr(97 + n % 26) * (1 + n % 7) for n in range(5000)]

    with (
        ScriptedServer(service) as server,
        Client("openai-chat:m", api_key="k", base_url=server.url) as client,
    ):
        answer = client.embed(texts)
        single = client.embed("zz", model="openai-chat:m")
        none = client.embed([])

    assert answer.vectors == [vector(text) for text in texts]
    assert answer.usage.input_tokens == 5000 and answer.usage.complete
    assert (answer.provider, answer.model, answer.dimensions) == ("openai-chat", "m-1", 2)
    assert sorted(len(request.json()["input"]) for request in server.requests) == [1, 904, 2048, 2048]
    assert {request.path for request in server.requests} == {"/embeddings"}
    assert single.vectors == [[2.0, 122.0]]
    assert (none.vectors, none.dimensions, none.usage.complete) == ([], 0, False)
    assert repr(answer).startswith("Embeddings(5000 x 2, openai-chat:m-1, Usage(")


def test_the_first_failure_is_raised_and_ends_the_others() -> None:
    async def main() -> None:
        with ScriptedServer(service) as server:
            asked = AsyncClient("openai-chat:busy", api_key="k", base_url=server.url, retry=Retry(attempts=1))
            async with asked as client:
                with pytest.raises(RateLimitError) as raised:
                    await client.embed(["a"] * 4100)
            assert (raised.value.retry_after, raised.value.model) == (2.0, "busy")
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()

    asyncio.run(main())


@pytest.mark.parametrize("texts", [[""], ["a", ""], ["a", None], [b"a"]])
def test_texts_are_strings_that_are_not_empty(texts: list[Any]) -> None:
    wrong = pytest.raises((ConfigError, TypeError), match=r"to embed is|texts\[\d\] takes text")
    with Client("openai-chat:m", api_key="k") as client, wrong:
        client.embed(texts)


def test_a_provider_without_embeddings_says_so() -> None:
    with (
        Client("anthropic:m", api_key="k") as client,
        pytest.raises(UnsupportedError, match=r"anthropic has no embeddings.* openai-chat"),
    ):
        client.embed("a")


def test_each_row_that_embeds_makes_a_request() -> None:
    made = {name: row.embeddings() for name, row in PROVIDERS.items() if row.embeddings is not None}

    assert {"openai-chat", "google", "vertex", "ollama", "bedrock", "mistral", "local", "custom"} <= set(made)
    for name, protocol in made.items():
        model = TITAN if name.startswith("bedrock") else "m"
        assert protocol.batch(model) >= 1
        assert protocol.call(["a"], model, PLAIN).path.startswith("/"), name


# -- what the vendors' packages send for the same, and read in the same answer ---------------------------------


def test_as_openai_python_has_it() -> None:
    openai = pytest.importorskip("openai")
    with ScriptedServer(service) as server:
        theirs = openai.OpenAI(api_key="k", base_url=server.url, max_retries=0)
        said = theirs.embeddings.create(model="m", input=["a", "bb"], dimensions=2, encoding_format="float")
        theirs.close()
        with Client("openai-chat:m", api_key="k", base_url=server.url) as client:
            ours = client.embed(["a", "bb"], dimensions=2, extra_body={"encoding_format": "float"})

    first, second = server.requests
    assert (first.path, first.json()) == (second.path, second.json())
    by_place = sorted(said.data, key=lambda each: each.index)
    assert [each.embedding for each in by_place] == ours.vectors


def gemini_service(request: RecordedRequest) -> Answer:
    texts = [each["content"]["parts"][0]["text"] for each in request.json()["requests"]]
    return Answer(body=json.dumps({"embeddings": [{"values": vector(text)} for text in texts]}).encode())


def test_as_google_genai_has_it() -> None:
    genai = pytest.importorskip("google.genai")
    with ScriptedServer(gemini_service) as server:
        theirs = genai.Client(api_key="k", http_options={"base_url": server.url, "api_version": "v1beta"})
        said = theirs.models.embed_content(
            model="gemini-embedding-001",
            contents=["a", "bb"],
            config={"task_type": "RETRIEVAL_DOCUMENT", "output_dimensionality": 2},
        )
        theirs.close()
        config = ProviderConfig("google", api_key="k", base_url=f"{server.url}/v1beta")
        with Client("google:gemini-embedding-001", providers=[config]) as client:
            ours = client.embed(["a", "bb"], dimensions=2, task="document")

    first, second = server.requests
    assert first.path.partition("?")[0] == second.path

    def in_order(body: Any) -> Any:
        return json.loads(json.dumps(body, sort_keys=True))

    mine, other = in_order(second.json()), in_order(first.json())
    for each in (*mine["requests"], *other["requests"]):
        each["content"].pop("role", None)
    assert mine == other
    assert [each.values for each in said.embeddings] == ours.vectors


def ollama_service(request: RecordedRequest) -> Answer:
    vectors = [vector(text) for text in request.json()["input"]]
    return Answer(body=json.dumps({"model": "m", "embeddings": vectors, "prompt_eval_count": 3}).encode())


def test_as_the_ollama_package_has_it() -> None:
    ollama = pytest.importorskip("ollama")
    with ScriptedServer(ollama_service) as server:
        theirs = ollama.Client(host=server.url)
        said = theirs.embed("m", ["a", "bb"], dimensions=2)
        theirs._client.close()
        with Client("ollama:m", base_url=server.url) as client:
            ours = client.embed(["a", "bb"], dimensions=2)

    first, second = server.requests
    assert (first.path, first.json()) == (second.path, second.json())
    assert [list(each) for each in said.embeddings] == ours.vectors


def test_a_refusal_is_the_providers() -> None:
    def refuse(request: RecordedRequest) -> Answer:
        return Answer(400, {}, b'{"error": {"message": "too long", "type": "invalid_request_error"}}')

    with (
        ScriptedServer(refuse) as server,
        Client("openai-chat:m", api_key="k", base_url=server.url) as client,
        pytest.raises(InvalidRequestError, match="too long"),
    ):
        client.embed("a")
