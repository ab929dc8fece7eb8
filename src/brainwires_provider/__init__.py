"""Client for all LLM providers, each in its own wire protocol, without vendor SDKs.

    from brainwires_provider import Client
    print(Client("openai-chat:gpt-6").chat("Why is the sky blue?").text)

Importing this package loads no HTTP library: names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainwires_provider._lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from brainwires_provider._core.stream import AsyncStream
    from brainwires_provider.auth.aws import Credentials
    from brainwires_provider.auth.keys import EnvKey, FileKey, KeyringKey
    from brainwires_provider.client import AsyncClient, AsyncConversation
    from brainwires_provider.config import load_config
    from brainwires_provider.errors import (
        APIError,
        AuthenticationError,
        ConfigError,
        ConnectError,
        ContextLengthError,
        FramingError,
        InvalidRequestError,
        NotFoundError,
        OverloadedError,
        PermissionDeniedError,
        ProtocolError,
        ProviderError,
        RateLimitError,
        RequestTimeout,
        ServerError,
        StreamInterrupted,
        StreamTimeout,
        ToolArgumentsError,
        TransportError,
        UnsupportedError,
    )
    from brainwires_provider.events import (
        Event,
        OpaqueDelta,
        PartEnd,
        PartStart,
        ReasoningDelta,
        RefusalDelta,
        ResponseEnd,
        ResponseStart,
        TextDelta,
        ToolCallDelta,
        collect,
    )
    from brainwires_provider.protocols.anthropic.options import AnthropicOptions
    from brainwires_provider.protocols.bedrock.options import BedrockOptions
    from brainwires_provider.protocols.gemini.options import GeminiOptions
    from brainwires_provider.protocols.openai_chat.options import OpenAIChatOptions
    from brainwires_provider.protocols.openai_responses.operations import Compaction
    from brainwires_provider.protocols.openai_responses.options import OpenAIResponsesOptions
    from brainwires_provider.protocols.relay.options import BrainwiresOptions
    from brainwires_provider.providers import PROVIDERS, Config, NamedModel, Provider, ProviderConfig
    from brainwires_provider.resources.responses import AsyncResponses
    from brainwires_provider.resources.responses_connection import AsyncResponsesConnection
    from brainwires_provider.sync.client import Client, Conversation
    from brainwires_provider.sync.connection import ResponsesConnection
    from brainwires_provider.sync.responses import Responses
    from brainwires_provider.sync.stream import Stream
    from brainwires_provider.types import (
        Attempt,
        Cache,
        CacheStrategy,
        Capability,
        ChatParams,
        Citation,
        Continuation,
        Deviation,
        Embeddings,
        EmbeddingTask,
        FilePart,
        HostedTool,
        ImagePart,
        JSONSchema,
        Lifecycle,
        Message,
        Model,
        OpaquePart,
        OptionParams,
        Options,
        Origin,
        Part,
        PreparedRequest,
        ProviderOptions,
        Reasoning,
        ReasoningPart,
        RefusalPart,
        Report,
        Request,
        Response,
        TextPart,
        Timeouts,
        TokenCount,
        Tool,
        ToolCallPart,
        ToolChoice,
        ToolResultPart,
        Usage,
        dump_messages,
        load_messages,
    )
    from brainwires_provider.types.websocket import WebSocketOptions, WebSocketStats

__all__ = [
    "PROVIDERS",
    "APIError",
    "AnthropicOptions",
    "AsyncClient",
    "AsyncConversation",
    "AsyncResponses",
    "AsyncResponsesConnection",
    "AsyncStream",
    "Attempt",
    "AuthenticationError",
    "BedrockOptions",
    "BrainwiresOptions",
    "Cache",
    "CacheStrategy",
    "Capability",
    "ChatParams",
    "Citation",
    "Client",
    "Compaction",
    "Config",
    "ConfigError",
    "ConnectError",
    "ContextLengthError",
    "Continuation",
    "Conversation",
    "Credentials",
    "Deviation",
    "EmbeddingTask",
    "Embeddings",
    "EnvKey",
    "Event",
    "FileKey",
    "FilePart",
    "FramingError",
    "GeminiOptions",
    "HostedTool",
    "ImagePart",
    "InvalidRequestError",
    "JSONSchema",
    "KeyringKey",
    "Lifecycle",
    "Message",
    "Model",
    "NamedModel",
    "NotFoundError",
    "OpaqueDelta",
    "OpaquePart",
    "OpenAIChatOptions",
    "OpenAIResponsesOptions",
    "OptionParams",
    "Options",
    "Origin",
    "OverloadedError",
    "Part",
    "PartEnd",
    "PartStart",
    "PermissionDeniedError",
    "PreparedRequest",
    "ProtocolError",
    "Provider",
    "ProviderConfig",
    "ProviderError",
    "ProviderOptions",
    "RateLimitError",
    "Reasoning",
    "ReasoningDelta",
    "ReasoningPart",
    "RefusalDelta",
    "RefusalPart",
    "Report",
    "Request",
    "RequestTimeout",
    "Response",
    "ResponseEnd",
    "ResponseStart",
    "Responses",
    "ResponsesConnection",
    "ServerError",
    "Stream",
    "StreamInterrupted",
    "StreamTimeout",
    "TextDelta",
    "TextPart",
    "Timeouts",
    "TokenCount",
    "Tool",
    "ToolArgumentsError",
    "ToolCallDelta",
    "ToolCallPart",
    "ToolChoice",
    "ToolResultPart",
    "TransportError",
    "UnsupportedError",
    "Usage",
    "WebSocketOptions",
    "WebSocketStats",
    "collect",
    "dump_messages",
    "load_config",
    "load_messages",
]

_MODULES = {
    "types": " ".join(__all__),  # all names that no module below defines
    "protocols.gemini.options": "GeminiOptions",
    "protocols.relay.options": "BrainwiresOptions",
    "auth.keys": "EnvKey FileKey KeyringKey",
    "config": "load_config",
    "client": "AsyncClient AsyncConversation",
    "errors": "APIError AuthenticationError ConfigError ConnectError ContextLengthError FramingError "
    "InvalidRequestError NotFoundError OverloadedError PermissionDeniedError ProtocolError ProviderError "
    "RateLimitError ServerError StreamInterrupted StreamTimeout RequestTimeout ToolArgumentsError "
    "TransportError UnsupportedError",
    "events": "Event OpaqueDelta PartEnd PartStart ReasoningDelta RefusalDelta ResponseEnd ResponseStart "
    "TextDelta ToolCallDelta collect",
    "protocols.anthropic.options": "AnthropicOptions",
    "protocols.openai_chat.options": "OpenAIChatOptions",
    "protocols.openai_responses.operations": "Compaction",
    "protocols.openai_responses.options": "OpenAIResponsesOptions",
    "providers": "Config NamedModel PROVIDERS Provider ProviderConfig",
    "resources.responses": "AsyncResponses",
    "_core.stream": "AsyncStream",
    "auth.aws": "Credentials",
    "protocols.bedrock.options": "BedrockOptions",
    "types.websocket": "WebSocketOptions WebSocketStats",
    "resources.responses_connection": "AsyncResponsesConnection",
    "sync.client": "Client Conversation",
    "sync.connection": "ResponsesConnection",
    "sync.responses": "Responses",
    "sync.stream": "Stream",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
