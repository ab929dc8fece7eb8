"""Every shape of a model list that services send, and what is read from it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from brainwires_provider.testing import Answer, RecordedRequest

Bodies = Mapping[str, Any]

VERTEX = "/v1/projects/p/locations/l/publishers"
ABSENT = Answer(404, body=b'{"error": {"message": "no such page"}}')


def served(bodies: Bodies) -> Callable[[RecordedRequest], Answer]:
    """Bodies by their targets, for GET: JSON values, or whole answers."""

    def answer(request: RecordedRequest) -> Answer:
        body = bodies.get(request.target, ABSENT) if request.method == "GET" else ABSENT
        return body if isinstance(body, Answer) else Answer(body=json.dumps(body).encode())

    return answer


SHAPES: dict[str, tuple[str, str, Bodies, dict[str, dict[str, Any]]]] = {
    "OpenAI, with the end of a model": (
        "openai-chat",
        "/v1",
        {
            "/v1/models": {
                "object": "list",
                "data": [
                    {"id": "a", "object": "model", "created": 1715367049, "owned_by": "system"},
                    {"id": "b", "object": "model", "created": 0, "shutdown_date": "2027-01-31"},
                ],
            }
        },
        {
            "a": {"created": 1715367049, "owner": "system", "capabilities": None, "lifecycle": None},
            "b": {"created": None, "lifecycle": "deprecated", "retires": dt.date(2027, 1, 31)},
        },
    ),
    "by Responses, in pages of the kind that OpenAI's other lists have": (
        "openai-responses",
        "/v1",
        {
            "/v1/models": {"data": [{"id": "a"}], "has_more": True, "last_id": "a"},
            "/v1/models?after=a": {"data": [{"id": "b"}], "has_more": False, "last_id": "b"},
        },
        {"a": {}, "b": {}},
    ),
    "Anthropic": (
        "anthropic",
        "",
        {
            "/v1/models?limit=1000": {
                "data": [
                    {
                        "type": "model",
                        "id": "claude-a",
                        "display_name": "Claude A",
                        "created_at": "2026-07-01T00:00:00Z",
                        "max_input_tokens": 1000000,
                        "max_tokens": 128000,
                        "lifecycle": "deprecated",
                        "deprecated_at": "2026-10-01T00:00:00Z",
                        "retires_at": "2027-04-01T00:00:00Z",
                        "capabilities": {
                            "image_input": {"supported": True},
                            "structured_outputs": {"supported": True},
                            "thinking": {"supported": False},
                            "batch": {"supported": True},
                        },
                    }
                ],
                "has_more": True,
                "first_id": "claude-a",
                "last_id": "claude-a",
            },
            "/v1/models?limit=1000&after_id=claude-a": {
                "data": [{"id": "claude-b", "lifecycle": "retired", "created_at": "1970-01-01T00:00:00Z"}],
                "has_more": False,
            },
        },
        {
            "claude-a": {
                "display_name": "Claude A",
                "created": 1782864000,
                "context_window": 1000000,
                "max_output_tokens": 128000,
                "capabilities": ("structured_output", "vision"),
                "lifecycle": "deprecated",
                "deprecated": dt.date(2026, 10, 1),
                "retires": dt.date(2027, 4, 1),
            },
            "claude-b": {"lifecycle": "retired", "created": None, "capabilities": None},
        },
    ),
    "by Messages, of a service whose list is OpenAI's": (
        "anthropic",
        "",
        {
            "/v1/models?limit=1000": {
                "object": "list",
                "data": [{"id": "m", "object": "model", "created": 1677610602, "owned_by": "openai"}],
            }
        },
        {"m": {"owner": "openai", "created": 1677610602, "display_name": None, "capabilities": None}},
    ),
    "Gemini": (
        "google",
        "/v1beta",
        {
            "/v1beta/models?pageSize=1000": {
                "models": [
                    {
                        "name": "models/gemini-a",
                        "displayName": "Gemini A",
                        "inputTokenLimit": 1048576,
                        "outputTokenLimit": 65536,
                        "supportedGenerationMethods": ["generateContent", "countTokens"],
                        "thinking": True,
                    }
                ],
                "nextPageToken": "p+2",
            },
            "/v1beta/models?pageSize=1000&pageToken=p%2B2": {
                "models": [{"name": "models/embed", "supportedGenerationMethods": ["embedContent"]}]
            },
        },
        {
            "gemini-a": {
                "display_name": "Gemini A",
                "context_window": 1048576,
                "max_output_tokens": 65536,
                "capabilities": ("chat", "reasoning"),
            },
            "embed": {"capabilities": ("embedding",), "context_window": None},
        },
    ),
    "Vertex AI": (
        "vertex",
        f"{VERTEX}/google",
        {
            "/v1beta1/publishers/google/models?pageSize=1000": {
                "publisherModels": [
                    {"name": "publishers/google/models/gemini-a", "launchStage": "GA"},
                    {"name": "publishers/google/models/gemini-b", "launchStage": "PUBLIC_PREVIEW"},
                ]
            }
        },
        {"gemini-a": {"lifecycle": "active", "owner": "google"}, "gemini-b": {"lifecycle": "preview"}},
    ),
    "Claude on Vertex AI": (
        "vertex-anthropic",
        f"{VERTEX}/anthropic",
        {
            "/v1beta1/publishers/anthropic/models?pageSize=1000": {
                "publisherModels": [{"name": "publishers/anthropic/models/claude-a"}]
            }
        },
        {"claude-a": {"owner": "anthropic", "lifecycle": None}},
    ),
    "Bedrock": (
        "bedrock",
        "",
        {
            "/foundation-models": {
                "modelSummaries": [
                    {
                        "modelArn": "arn:aws:bedrock:us-east-1::foundation-model/x.a-v1:0",
                        "modelId": "x.a-v1:0",
                        "modelName": "A",
                        "providerName": "X",
                        "inputModalities": ["TEXT", "IMAGE"],
                        "outputModalities": ["TEXT"],
                        "modelLifecycle": {
                            "status": "LEGACY",
                            "startOfLifeTime": "2024-05-01T00:00:00Z",
                            "legacyTime": "2026-05-01T00:00:00Z",
                            "endOfLifeTime": "2027-05-01T00:00:00Z",
                        },
                    },
                    {"modelId": "x.embed", "inputModalities": ["TEXT"], "outputModalities": ["EMBEDDING"]},
                    {"modelId": "x.bare", "modelLifecycle": "odd"},
                    {"modelName": "nameless"},
                    "odd",
                ]
            },
            "/inference-profiles?maxResults=1000": {
                "inferenceProfileSummaries": [
                    {
                        "inferenceProfileName": "US A",
                        "inferenceProfileId": "us.x.a-v1:0",
                        "createdAt": "2024-06-01T00:00:00+00:00",
                        "status": "ACTIVE",
                        "type": "SYSTEM_DEFINED",
                    },
                    {"inferenceProfileName": "nameless"},
                    3,
                ],
                "nextToken": "t/2",
            },
            "/inference-profiles?maxResults=1000&nextToken=t%2F2": {
                "inferenceProfileSummaries": [
                    {
                        "inferenceProfileId": "abc",
                        "inferenceProfileArn": "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
                        "type": "APPLICATION",
                    }
                ]
            },
        },
        {
            "x.a-v1:0": {
                "display_name": "A",
                "owner": "X",
                "created": 1714521600,
                "capabilities": ("vision",),
                "lifecycle": "deprecated",
                "deprecated": dt.date(2026, 5, 1),
                "retires": dt.date(2027, 5, 1),
                "input_modalities": ("text", "image"),
                "output_modalities": ("text",),
            },
            "x.embed": {"capabilities": ("embedding",)},
            "x.bare": {"capabilities": None, "lifecycle": None},
            "us.x.a-v1:0": {"display_name": "US A", "lifecycle": "active", "created": 1717200000},
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc": {"capabilities": None},
        },
    ),
    "Claude by InvokeModel": (
        "bedrock-invoke",
        "",
        {
            "/foundation-models": {"modelSummaries": [{"modelId": "a"}]},
            "/inference-profiles?maxResults=1000": {"inferenceProfileSummaries": []},
        },
        {"a": {}},
    ),
    "Claude on Bedrock's newer host": (
        "bedrock-anthropic",
        "/anthropic",
        {
            "/v1/models": {
                "data": [{"id": "a", "created": 1764460800, "owned_by": "s", "status": "available"}]
            }
        },
        {"a": {"lifecycle": "active", "created": 1764460800, "owner": "s"}},
    ),
    "Ollama": (
        "ollama",
        "",
        {
            "/api/tags": {
                "models": [
                    {
                        "name": "l:3b",
                        "details": {"parameter_size": "3B"},
                        "capabilities": ["completion", "tools"],
                    },
                    {"name": "e", "capabilities": ["embedding"]},
                    {"name": "bare"},
                ]
            }
        },
        {
            "l:3b": {"display_name": "l:3b (3B)", "capabilities": ("chat", "tools")},
            "e": {"capabilities": ("embedding",)},
            "bare": {"capabilities": None, "context_window": None},
        },
    ),
    "the relay": (
        "brainwires",
        "",
        {"/api/models": [{"model_id": "a", "max_token_output_length": 8192, "abilities": "text,vision"}]},
        {"a": {"max_output_tokens": 8192, "capabilities": ("chat", "vision")}},
    ),
    "OpenRouter": (
        "openrouter",
        "/api/v1",
        {
            "/api/v1/models?output_modalities=all": {
                "data": [
                    {
                        "id": "x/a:free",
                        "name": "X: A (free)",
                        "created": 1741818122,
                        "context_length": 131072,
                        "architecture": {
                            "modality": "text+image->text",
                            "input_modalities": ["text", "image"],
                            "output_modalities": ["text"],
                        },
                        "pricing": {"prompt": "0.0000007"},
                        "top_provider": {"context_length": 128000, "max_completion_tokens": 16384},
                        "supported_parameters": ["max_tokens", "tools", "reasoning", "structured_outputs"],
                        "expiration_date": "2026-12-31",
                    },
                    {
                        "id": "x/speech",
                        "context_length": 0,
                        "architecture": {"input_modalities": ["text"], "output_modalities": ["speech"]},
                        "top_provider": {"max_completion_tokens": None},
                        "supported_parameters": [],
                    },
                ]
            }
        },
        {
            "x/a:free": {
                "display_name": "X: A (free)",
                "context_window": 131072,
                "max_output_tokens": 16384,
                "capabilities": ("chat", "tools", "reasoning", "structured_output", "vision"),
                "input_modalities": ("text", "image"),
                "output_modalities": ("text",),
                "retires": dt.date(2026, 12, 31),
                "lifecycle": "deprecated",
            },
            "x/speech": {"capabilities": ("audio",), "context_window": None, "max_output_tokens": None},
        },
    ),
    "Mistral": (
        "mistral",
        "/v1",
        {
            "/v1/models": {
                "data": [
                    {
                        "id": "a",
                        "name": "mistral-a",
                        "created": 1750000000,
                        "owned_by": "mistralai",
                        "capabilities": {
                            "completion_chat": True,
                            "completion_fim": False,
                            "function_calling": True,
                            "vision": False,
                        },
                        "max_context_length": 131072,
                        "aliases": ["a-latest"],
                        "deprecation": "2026-11-30T12:00:00Z",
                        "type": "base",
                    },
                    {
                        "id": "b",
                        "capabilities": {"completion_fim": True},
                        "deprecation": None,
                        "type": "base",
                    },
                ]
            }
        },
        {
            "a": {
                "display_name": "mistral-a",
                "context_window": 131072,
                "capabilities": ("chat", "tools"),
                "deprecated": dt.date(2026, 11, 30),
                "lifecycle": "deprecated",
            },
            "b": {"capabilities": (), "lifecycle": None},
        },
    ),
    "Groq": (
        "groq",
        "/openai/v1",
        {
            "/openai/v1/models": {
                "data": [
                    {"id": "a", "active": True, "context_window": 131072, "max_completion_tokens": 32768},
                    {"id": "b", "active": False},
                ]
            }
        },
        {
            "a": {"context_window": 131072, "max_output_tokens": 32768, "lifecycle": "active"},
            "b": {"lifecycle": None},
        },
    ),
    "Together, without an envelope": (
        "together",
        "/v1",
        {
            "/v1/models": [
                {"id": "a", "type": "chat", "display_name": "A", "organization": "X", "context_length": 8192},
                {"id": "b", "type": "image", "created": 1690000000.0},
                {"id": "c", "type": "language"},
            ]
        },
        {
            "a": {"owner": "X", "display_name": "A", "context_window": 8192, "capabilities": ("chat",)},
            "b": {"capabilities": ("image_generation",), "created": 1690000000},
            "c": {"capabilities": None},
        },
    ),
    "Fireworks": (
        "fireworks",
        "/inference/v1",
        {
            "/inference/v1/models": {
                "data": [
                    {
                        "id": "accounts/fireworks/models/a",
                        "supports_chat": True,
                        "supports_image_input": True,
                        "supports_tools": False,
                        "context_length": 131072,
                    }
                ]
            }
        },
        {"accounts/fireworks/models/a": {"capabilities": ("chat", "vision"), "context_window": 131072}},
    ),
    "Cohere's own list, in pages": (
        "cohere",
        "/compatibility/v1",
        {
            "/v1/models?page_size=1000": {
                "models": [
                    {
                        "name": "command-a",
                        "is_deprecated": True,
                        "endpoints": ["chat", "generate"],
                        "context_length": 256000.0,
                        "features": ["tools", "json_mode"],
                    }
                ],
                "next_page_token": "n",
            },
            "/v1/models?page_size=1000&page_token=n": {
                "models": [{"name": "embed-v4", "endpoints": ["embed"], "is_deprecated": False}],
                "next_page_token": "",
            },
        },
        {
            "command-a": {
                "context_window": 256000,
                "capabilities": ("chat", "tools"),
                "lifecycle": "deprecated",
            },
            "embed-v4": {"capabilities": ("embedding",), "lifecycle": None},
        },
    ),
    "GitHub's catalog": (
        "github",
        "/inference",
        {
            "/catalog/models": [
                {
                    "id": "openai/a",
                    "name": "A",
                    "publisher": "OpenAI",
                    "capabilities": ["streaming", "tool-calling"],
                    "limits": {"max_input_tokens": 1048576, "max_output_tokens": 32768},
                    "supported_input_modalities": ["text", "image"],
                    "supported_output_modalities": ["text"],
                }
            ]
        },
        {
            "openai/a": {
                "owner": "OpenAI",
                "context_window": 1048576,
                "max_output_tokens": 32768,
                "capabilities": ("chat", "tools", "vision"),
                "input_modalities": ("text", "image"),
            }
        },
    ),
    "Hugging Face's router, whose servers differ": (
        "huggingface",
        "/v1",
        {
            "/v1/models": {
                "data": [
                    {
                        "id": "x/a",
                        "owned_by": "x",
                        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
                        "providers": [
                            {"provider": "p", "context_length": 131072, "supports_tools": True},
                            {"provider": "q", "context_length": 131072, "supports_tools": True},
                        ],
                    },
                    {
                        "id": "x/b",
                        "providers": [
                            {"provider": "p", "context_length": 131072, "supports_tools": True},
                            {"provider": "q", "context_length": 8192, "supports_tools": False},
                        ],
                    },
                ]
            }
        },
        {
            "x/a": {"context_window": 131072, "capabilities": ("chat", "tools")},
            "x/b": {"context_window": None, "capabilities": None},
        },
    ),
    "vLLM": (
        "vllm",
        "/v1",
        {"/v1/models": {"data": [{"id": "a", "owned_by": "vllm", "max_model_len": 32768, "root": "a"}]}},
        {"a": {"context_window": 32768, "owner": "vllm"}},
    ),
    "llama.cpp's server": (
        "llama-server",
        "/v1",
        {
            "/v1/models": {
                "models": [{"name": "a.gguf", "capabilities": ["completion"]}],
                "data": [{"id": "a.gguf", "meta": {"n_ctx_train": 8192, "n_params": 134515008}}],
            }
        },
        {"a.gguf": {"context_window": 8192}},
    ),
    "LM Studio, which tells more in its own API": (
        "lmstudio",
        "/v1",
        {
            "/v1/models": {"data": [{"id": "google/gemma", "owned_by": "organization_owner"}]},
            "/api/v1/models": {
                "models": [
                    {
                        "type": "llm",
                        "publisher": "google",
                        "key": "google/gemma",
                        "display_name": "Gemma",
                        "max_context_length": 131072,
                        "capabilities": {"vision": True, "trained_for_tool_use": True},
                    },
                    {"type": "embedding", "key": "not/listed"},
                ]
            },
        },
        {
            "google/gemma": {
                "owner": "organization_owner",
                "display_name": "Gemma",
                "context_window": 131072,
                "capabilities": ("chat", "tools", "vision"),
            }
        },
    ),
    "LiteLLM, which tells more to some": (
        "litellm",
        "/v1",
        {
            "/v1/models": {"data": [{"id": "m", "created": 1677610602, "owned_by": "openai"}, {"id": "n"}]},
            "/v1/model/info": {
                "data": [
                    {
                        "model_name": "m",
                        "model_info": {
                            "mode": "chat",
                            "max_tokens": 16384,
                            "max_input_tokens": 128000,
                            "max_output_tokens": 16384,
                            "supports_vision": True,
                            "supports_function_calling": True,
                            "supports_reasoning": None,
                        },
                    },
                    {"model_name": "m", "model_info": {"max_input_tokens": 5, "supports_reasoning": True}},
                ]
            },
        },
        {
            "m": {
                "owner": "openai",
                "context_window": 128000,
                "max_output_tokens": 16384,
                "capabilities": ("chat", "tools", "reasoning", "vision"),
            },
            "n": {"capabilities": None},
        },
    ),
    "Azure": (
        "azure-chat",
        "/openai/v1",
        {
            "/openai/v1/models": {
                "data": [
                    {
                        "id": "a",
                        "status": "succeeded",
                        "created_at": 1646126127,
                        "capabilities": {"inference": True, "chat_completion": True, "embeddings": False},
                        "lifecycle_status": "generally-available",
                        "deprecation": {"fine_tune": 1677662127, "inference": 1800000000},
                    }
                ]
            }
        },
        {
            "a": {
                "created": 1646126127,
                "capabilities": ("chat",),
                "lifecycle": "active",
                "retires": dt.date(2027, 1, 15),
                "deprecated": None,
            }
        },
    ),
    "xAI, which tells more of its language models": (
        "xai",
        "/v1",
        {
            "/v1/models": {"data": [{"id": "grok", "owned_by": "xai"}, {"id": "grok-image"}]},
            "/v1/language-models": {
                "models": [
                    {"id": "grok", "input_modalities": ["text", "image"], "output_modalities": ["text"]}
                ]
            },
        },
        {
            "grok": {
                "owner": "xai",
                "capabilities": ("chat", "vision"),
                "input_modalities": ("text", "image"),
            },
            "grok-image": {"capabilities": None},
        },
    ),
    "Nebius": (
        "nebius",
        "/v1",
        {
            "/v1/models?verbose=true": {
                "data": [
                    {"id": "a", "context_length": 8192, "architecture": {"modality": "text+image->text"}}
                ]
            }
        },
        {"a": {"input_modalities": ("text", "image"), "output_modalities": ("text",)}},
    ),
    "Moonshot": (
        "moonshot",
        "/v1",
        {"/v1/models": {"data": [{"id": "k", "supports_image_in": True, "supports_reasoning": True}]}},
        {"k": {"capabilities": ("reasoning", "vision")}},
    ),
    "Vercel's gateway": (
        "vercel-ws",
        "/v1",
        {
            "/v1/models": {
                "data": [
                    {
                        "id": "x/a",
                        "context_window": 40960,
                        "max_tokens": 16384,
                        "type": "language",
                        "tags": ["reasoning", "tool-use", "new"],
                    }
                ]
            }
        },
        {"x/a": {"max_output_tokens": 16384, "capabilities": ("tools", "reasoning")}},
    ),
}


@contextmanager
def snapshot(pattern: str, *, updated: bool = False) -> Iterator[None]:
    """The table's package with one service of ours, by its own means for that."""
    types = pytest.importorskip("genai_prices.types")
    data = pytest.importorskip("genai_prices.data_snapshot")
    service = types.Provider(
        id="ours",
        name="Ours",
        api_pattern=pattern,
        models=[
            types.ModelInfo(id="equal-1", match=types.ClauseEquals("equal-1-x"), context_window=100),
            types.ModelInfo(
                id="pattern",
                match=types.ClauseOr([types.ClauseRegex(r"^dated-\d{4}$"), types.ClauseStartsWith("begins")]),
                context_window=200,
                deprecated=True,
            ),
            types.ModelInfo(
                id="both",
                match=types.ClauseAnd([types.ClauseContains("and"), types.ClauseRegex("^and-[a-z]$")]),
                context_window=300,
            ),
            types.ModelInfo(id="part", match=types.ClauseContains("part"), context_window=400),
            types.ModelInfo(id="empty", match=types.ClauseEquals("empty")),
        ],
    )
    made = data.DataSnapshot(
        providers=[service], from_auto_update=updated, timestamp=dt.datetime(2026, 11, 23, 12)
    )
    data.set_custom_snapshot(made)
    try:
        yield
    finally:
        data.set_custom_snapshot(None)
