"""Functions that create a protocol with one service's quirks, loading its module on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brainwires_provider.protocols.base.embeddings import EmbeddingProtocol
from brainwires_provider.protocols.base.protocol import ChatProtocol

__all__ = [
    "COMPATIBLE",
    "TEMPLATED",
    "anthropic",
    "bedrock_vectors",
    "chat",
    "claude_on_bedrock",
    "claude_on_vertex",
    "converse",
    "gemini",
    "gemini_vectors",
    "interactions",
    "ollama",
    "ollama_host",
    "ollama_vectors",
    "openai_vectors",
    "relay",
    "responses",
    "vertex_vectors",
]


def chat(**quirks: Any) -> Callable[[], ChatProtocol]:
    """OpenAI's Chat Completions with one service's quirks, created on first use."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat

        return OpenAIChat(ChatQuirks(**quirks))

    return make


COMPATIBLE: dict[str, Any] = {
    "max_tokens_field": "max_tokens",
    "developer_role": False,
    "allowed_tools": False,
    "text_files": False,
    "tool_names": ".+",
    "schemas": None,
    "json_word": False,
}
# Chat templates that take one system message, the first (2026-04: https://github.com/vllm-project/vllm/issues/41114,
# of Qwen3.5 and newer; Gemma's has none but the first).
TEMPLATED: dict[str, Any] = COMPATIBLE | {"one_system": True}


def responses(**quirks: Any) -> Callable[[], ChatProtocol]:
    """OpenAI's Responses API with one service's quirks, created on first use."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.openai_responses import OpenAIResponses, ResponsesQuirks

        return OpenAIResponses(ResponsesQuirks(**quirks))

    return make


def anthropic(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Anthropic's Messages API with one service's quirks, created on first use."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.anthropic import AnthropicMessages, AnthropicQuirks

        return AnthropicMessages(AnthropicQuirks(**quirks))

    return make


def claude_on_bedrock() -> ChatProtocol:
    """Anthropic's Messages API through Amazon Bedrock's InvokeModel."""
    from brainwires_provider.protocols.anthropic import AnthropicMessages
    from brainwires_provider.protocols.anthropic.options import BEDROCK_INVOKE

    return AnthropicMessages(BEDROCK_INVOKE)


def claude_on_vertex() -> ChatProtocol:
    """Anthropic's Messages API through Vertex AI's rawPredict."""
    from brainwires_provider.protocols.anthropic import AnthropicMessages
    from brainwires_provider.protocols.anthropic.options import VERTEX

    return AnthropicMessages(VERTEX)


def converse(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Amazon Bedrock's Converse with one service's quirks, created on first use."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.bedrock import BedrockConverse, BedrockQuirks

        return BedrockConverse(BedrockQuirks(**quirks))

    return make


def gemini(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Google's generateContent with one service's quirks, created on first use."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.gemini import Gemini, GeminiQuirks

        return Gemini(GeminiQuirks(**quirks))

    return make


def interactions(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Google's Interactions API with one service's quirks, created on first use."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.google_interactions import GoogleInteractions, InteractionsQuirks

        return GoogleInteractions(InteractionsQuirks(**quirks))

    return make


def ollama(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Ollama's API with one server's quirks, created on first use."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.ollama import Ollama, OllamaQuirks

        return Ollama(OllamaQuirks(**quirks))

    return make


def relay() -> ChatProtocol:
    """The Brainwires relay's own protocol."""
    from brainwires_provider.protocols.relay import BrainwiresRelay

    return BrainwiresRelay()


def ollama_host(text: str) -> str:
    """The base URL for an `OLLAMA_HOST`: see `providers.ollama_host`, which is loaded on first use."""
    from brainwires_provider.providers.ollama_host import host_url

    return host_url(text)


def openai_vectors(**quirks: Any) -> Callable[[], EmbeddingProtocol]:
    """`POST /embeddings` with one service's quirks, created on first use."""

    def make() -> EmbeddingProtocol:
        from brainwires_provider.protocols.openai_chat.operations import OpenAIEmbeddings

        return OpenAIEmbeddings(**quirks)

    return make


def gemini_vectors() -> EmbeddingProtocol:
    """Embeddings of the Gemini API."""
    from brainwires_provider.protocols.gemini.operations import GeminiEmbeddings

    return GeminiEmbeddings()


def vertex_vectors() -> EmbeddingProtocol:
    """Embeddings of Vertex AI."""
    from brainwires_provider.protocols.gemini.operations import VertexEmbeddings

    return VertexEmbeddings()


def ollama_vectors() -> EmbeddingProtocol:
    """Embeddings of Ollama."""
    from brainwires_provider.protocols.ollama.operations import OllamaTextEmbeddings

    return OllamaTextEmbeddings()


def bedrock_vectors() -> EmbeddingProtocol:
    """Embeddings of Bedrock's models, by InvokeModel."""
    from brainwires_provider.protocols.bedrock.operations import BedrockEmbeddings

    return BedrockEmbeddings()
