"""The table itself: one row for each service, with its protocol's quirks, its place, its key and its documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import Struct

from brainwires_provider.policy.sockets import SocketTraits
from brainwires_provider.protocols.base import ChatProtocol
from brainwires_provider.providers.clouds import Cloud

__all__ = ["ALIASES", "PROVIDERS", "Provider"]


class Provider(Struct, frozen=True):
    """One row. `key_env` and `base_url_env` name environment variables; `checked` is the day the row was checked."""

    name: str
    protocol: Callable[[], ChatProtocol]
    base_url: str
    key_env: str | None = None
    other_key_env: str | None = None
    """Read where `key_env` is not set."""
    base_url_env: str | None = None
    base_url_form: Callable[[str], str] | None = None
    """Makes the base URL of what was given as one, where other forms than a URL are customary."""
    keyless: bool = False
    """Asks for no key. One is sent only where it was given in code."""
    auth: str = "bearer"
    wire: Literal["http", "local", "websocket"] = "http"
    cloud: Cloud | None = None
    """Whose cloud it is on: requests are signed, or carry a token, unless a key is given. `base_url` may then have the
    places `{region}`, or `{host}`, `{location}` and `{project}`."""
    service: str = ""
    """What an AWS signature is for."""
    express_url: str | None = None
    """Where requests go that carry a key instead of a token."""
    socket: SocketTraits = SocketTraits()
    """How its WebSocket behaves, where it has one."""
    versioned: str = ""
    """What its protocol's paths begin with; a base URL that ends in it too is meant without it."""
    default_model: str | None = None
    docs: str = ""
    checked: str = "2026-11-22"


def _chat(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Chat Completions in one service's dialect, made when first used."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat

        return OpenAIChat(ChatQuirks(**quirks))

    return make


_COMPATIBLE: dict[str, Any] = {
    "max_tokens_field": "max_tokens",
    "developer_role": False,
    "allowed_tools": False,
}


def _responses(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Responses in one service's dialect, made when first used."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.openai_responses import OpenAIResponses, ResponsesQuirks

        return OpenAIResponses(ResponsesQuirks(**quirks))

    return make


def _anthropic(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Anthropic's Messages in one service's dialect, made when first used."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.anthropic import AnthropicMessages, AnthropicQuirks

        return AnthropicMessages(AnthropicQuirks(**quirks))

    return make


def _claude_on_bedrock() -> ChatProtocol:
    """Anthropic's Messages by InvokeModel."""
    from brainwires_provider.protocols.anthropic import AnthropicMessages
    from brainwires_provider.protocols.anthropic.options import BEDROCK_INVOKE

    return AnthropicMessages(BEDROCK_INVOKE)


def _claude_on_vertex() -> ChatProtocol:
    """Anthropic's Messages by rawPredict."""
    from brainwires_provider.protocols.anthropic import AnthropicMessages
    from brainwires_provider.protocols.anthropic.options import VERTEX

    return AnthropicMessages(VERTEX)


def _converse(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Bedrock's Converse in one service's dialect, made when first used."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.bedrock import BedrockConverse, BedrockQuirks

        return BedrockConverse(BedrockQuirks(**quirks))

    return make


def _gemini(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Google's generateContent in one service's dialect, made when first used."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.gemini import Gemini, GeminiQuirks

        return Gemini(GeminiQuirks(**quirks))

    return make


def _ollama(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Ollama's API in one server's dialect, made when first used."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.ollama import Ollama, OllamaQuirks

        return Ollama(OllamaQuirks(**quirks))

    return make


def _ollama_host(text: str) -> str:
    """See `protocols.ollama.host`, which is loaded when first used."""
    from brainwires_provider.protocols.ollama.host import host_url

    return host_url(text)


_ROWS = (
    Provider(
        "openai-chat",
        _chat(),
        "https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        base_url_env="OPENAI_BASE_URL",
        docs="https://platform.openai.com/docs/api-reference/chat",
    ),
    Provider(
        "openai-responses",
        _responses(),
        "https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        base_url_env="OPENAI_BASE_URL",
        docs="https://platform.openai.com/docs/api-reference/responses",
    ),
    Provider(
        "openai-responses-ws",
        _responses(),
        "https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        base_url_env="OPENAI_BASE_URL",
        wire="websocket",
        socket=SocketTraits(lanes=True, keeps_after_error=True, keeps_stored=True),
        docs="https://developers.openai.com/api/docs/guides/websocket-mode",
    ),
    Provider(
        "azure-ws",
        _responses(),
        "",
        key_env="AZURE_OPENAI_API_KEY",
        base_url_env="AZURE_OPENAI_BASE_URL",
        wire="websocket",
        docs="https://learn.microsoft.com/azure/foundry/openai/how-to/websockets",
    ),
    Provider(
        "xai-ws",
        _responses(cache_marks=False, counting=False),
        "https://api.x.ai/v1",
        key_env="XAI_API_KEY",
        wire="websocket",
        docs="https://docs.x.ai/developers/advanced-api-usage/websocket-mode",
    ),
    Provider(
        "vercel-ws",
        _responses(counting=False),
        "https://ai-gateway.vercel.sh/v1",
        key_env="AI_GATEWAY_API_KEY",
        wire="websocket",
        docs="https://vercel.com/docs/ai-gateway/sdks-and-apis/responses/websockets",
    ),
    Provider(
        "azure",
        _responses(),
        "",  # each resource has a host of its own: https://RESOURCE.openai.azure.com/openai/v1
        key_env="AZURE_OPENAI_API_KEY",
        base_url_env="AZURE_OPENAI_BASE_URL",
        auth="api-key",
        docs="https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses",
    ),
    Provider(
        "azure-entra",  # a token instead of a key: api_key= takes a callable that gives a fresh one
        _responses(),
        "",
        key_env="AZURE_OPENAI_AD_TOKEN",
        base_url_env="AZURE_OPENAI_BASE_URL",
        docs="https://learn.microsoft.com/azure/ai-foundry/openai/how-to/managed-identity",
    ),
    Provider(
        "xai",
        _responses(cache_marks=False, counting=False),
        "https://api.x.ai/v1",
        key_env="XAI_API_KEY",
        docs="https://docs.x.ai/docs/api-reference",
    ),
    Provider(
        "deepseek-responses",
        _responses(encrypted_reasoning=False, cache_marks=False, counting=False),
        "https://api.deepseek.com",
        key_env="DEEPSEEK_API_KEY",
        docs="https://api-docs.deepseek.com",
    ),
    Provider(
        "bedrock-openai",
        _responses(cache_marks=False, counting=False),
        "https://bedrock-mantle.us-east-1.api.aws/openai/v1",
        key_env="AWS_BEARER_TOKEN_BEDROCK",
        docs="https://docs.aws.amazon.com/bedrock/latest/userguide/inference-responses-api.html",
    ),
    Provider(
        "openrouter-responses",
        _responses(counting=False),
        "https://openrouter.ai/api/v1",
        key_env="OPENROUTER_API_KEY",
        docs="https://openrouter.ai/docs/api-reference",
    ),
    Provider(
        "anthropic",
        _anthropic(),
        "https://api.anthropic.com",  # as in Anthropic's own variable, the version is in the paths
        key_env="ANTHROPIC_API_KEY",
        base_url_env="ANTHROPIC_BASE_URL",
        auth="x-api-key",
        versioned="/v1",
        docs="https://platform.claude.com/docs/en/api/messages",
    ),
    Provider(
        "google",
        _gemini(),
        "https://generativelanguage.googleapis.com/v1beta",
        key_env="GEMINI_API_KEY",
        other_key_env="GOOGLE_API_KEY",
        auth="x-goog-api-key",
        docs="https://ai.google.dev/api/generate-content",
    ),
    Provider(
        "bedrock",
        _converse(),
        "https://bedrock-runtime.{region}.amazonaws.com",
        base_url_env="AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        cloud="aws",
        service="bedrock",
        docs="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
    ),
    Provider(
        "bedrock-anthropic",
        _anthropic(profile_in_body=True, file_ids=False, listing=False),
        "https://bedrock-mantle.{region}.api.aws/anthropic",
        base_url_env="ANTHROPIC_BEDROCK_MANTLE_BASE_URL",
        versioned="/v1",
        cloud="aws",
        service="bedrock-mantle",
        docs="https://platform.claude.com/docs/en/build-with-claude/claude-on-amazon-bedrock",
    ),
    Provider(
        "bedrock-invoke",
        _claude_on_bedrock,
        "https://bedrock-runtime.{region}.amazonaws.com",
        base_url_env="ANTHROPIC_BEDROCK_BASE_URL",
        cloud="aws",
        service="bedrock",
        docs="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html",
    ),
    Provider(
        "vertex",
        _gemini(files_url=None, display_names=True, counting="fields", listing=False),
        "https://{host}/v1/projects/{project}/locations/{location}/publishers/google",
        auth="x-goog-api-key",
        cloud="google",
        express_url="https://aiplatform.googleapis.com/v1/publishers/google",
        docs="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
    ),
    Provider(
        "vertex-anthropic",
        _claude_on_vertex,
        "https://{host}/v1/projects/{project}/locations/{location}/publishers/anthropic",
        cloud="google",
        docs="https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude",
    ),
    Provider(
        "groq",
        _chat(
            **_COMPATIBLE | {"max_tokens_field": "max_completion_tokens"},
            replay_reasoning=False,
        ),
        "https://api.groq.com/openai/v1",
        key_env="GROQ_API_KEY",
        docs="https://console.groq.com/docs/api-reference",
    ),
    Provider(
        "mistral",
        _chat(
            **_COMPATIBLE,
            stream_usage=False,
            seed_field="random_seed",
            required_word="any",
            documents="document_url",
            audio="text",
        ),
        "https://api.mistral.ai/v1",
        key_env="MISTRAL_API_KEY",
        docs="https://docs.mistral.ai/api",
    ),
    Provider(
        "deepseek",
        _chat(**_COMPATIBLE, json_schema=False, reasoning="thinking", parallel_tool_calls=False),
        "https://api.deepseek.com",
        key_env="DEEPSEEK_API_KEY",
        docs="https://api-docs.deepseek.com",
    ),
    Provider(
        "openrouter",
        _chat(
            **_COMPATIBLE | {"developer_role": True},
            top_k=True,
            cache_marks=True,
            reasoning="object",
            file_urls=True,
            video=True,
        ),
        "https://openrouter.ai/api/v1",
        key_env="OPENROUTER_API_KEY",
        docs="https://openrouter.ai/docs/api-reference",
    ),
    Provider(
        "cerebras",
        _chat(**_COMPATIBLE | {"max_tokens_field": "max_completion_tokens"}, penalties=False),
        "https://api.cerebras.ai/v1",
        key_env="CEREBRAS_API_KEY",
        docs="https://inference-docs.cerebras.ai/api-reference/chat-completions",
    ),
    Provider(
        "perplexity",
        _chat(**_COMPATIBLE, top_k=True),
        "https://api.perplexity.ai",
        key_env="PERPLEXITY_API_KEY",
        docs="https://docs.perplexity.ai/api-reference/chat-completions-post",
    ),
    Provider(
        "zai",
        _chat(**_COMPATIBLE, json_schema=False, reasoning="thinking", penalties=False),
        "https://api.z.ai/api/paas/v4",
        key_env="ZAI_API_KEY",
        docs="https://docs.z.ai/api-reference/llm/chat-completion",
    ),
    Provider(
        "huggingface",
        _chat(**_COMPATIBLE),
        "https://router.huggingface.co/v1",
        key_env="HF_TOKEN",
        docs="https://huggingface.co/docs/inference-providers",
    ),
    Provider(
        "ollama",
        _ollama(),
        "http://127.0.0.1:11434",
        base_url_env="OLLAMA_HOST",
        base_url_form=_ollama_host,
        keyless=True,
        versioned="/api",
        docs="https://docs.ollama.com/api",
    ),
    Provider(
        "ollama-cloud",
        _ollama(),
        "https://ollama.com",
        key_env="OLLAMA_API_KEY",
        base_url_form=_ollama_host,
        versioned="/api",
        docs="https://docs.ollama.com/cloud",
    ),
    Provider(
        "local",
        _chat(**_COMPATIBLE, top_k=True),
        "http://localhost/v1",
        wire="local",
        default_model="",
        docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    ),
)

PROVIDERS: Mapping[str, Provider] = {row.name: row for row in _ROWS}
"""The rows by name."""

ALIASES = {"openai": "openai-responses"}
