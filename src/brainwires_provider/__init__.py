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
    from brainwires_provider._core.hooks import CallInfo
    from brainwires_provider._core.stream import AsyncStream
    from brainwires_provider.auth.aws import Credentials
    from brainwires_provider.auth.keys import EnvKey, FileKey, KeyringKey
    from brainwires_provider.bulk.engine import AsyncBulk
    from brainwires_provider.bulk.results import BulkResult
    from brainwires_provider.client import AsyncClient
    from brainwires_provider.config import load_config
    from brainwires_provider.conversation import AsyncConversation
    from brainwires_provider.errors import (
        APIError,
        AuthenticationError,
        BreakerOpenError,
        BudgetExceededError,
        ConfigError,
        ConnectError,
        ContextLengthError,
        FramingError,
        InvalidRequestError,
        NotFoundError,
        OutputError,
        OutputInvalid,
        OutputRefused,
        OutputTruncated,
        OverloadedError,
        PermissionDeniedError,
        ProtocolError,
        ProviderError,
        RateLimitError,
        RequestTimeout,
        ServerError,
        SharedServerError,
        StoreError,
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
        ResponseRestart,
        ResponseStart,
        RunEvent,
        StepEnd,
        TextDelta,
        ToolCallDelta,
        ToolEnd,
        ToolStart,
        collect,
    )
    from brainwires_provider.protocols.anthropic.options import AnthropicOptions
    from brainwires_provider.protocols.bedrock.options import BedrockOptions
    from brainwires_provider.protocols.gemini.options import GeminiOptions
    from brainwires_provider.protocols.google_interactions.options import GoogleInteractionsOptions
    from brainwires_provider.protocols.openai_chat.options import OpenAIChatOptions
    from brainwires_provider.protocols.openai_responses.operations import Compaction
    from brainwires_provider.protocols.openai_responses.options import OpenAIResponsesOptions
    from brainwires_provider.protocols.relay.options import BrainwiresOptions
    from brainwires_provider.providers import PROVIDERS, Config, NamedModel, Provider, ProviderConfig
    from brainwires_provider.resources.batch import AsyncBatch
    from brainwires_provider.resources.batch_calls import ByteStore
    from brainwires_provider.resources.interactions import AsyncInteractions
    from brainwires_provider.resources.resolved import ResolvedModel
    from brainwires_provider.resources.responses import AsyncResponses
    from brainwires_provider.resources.responses_connection import AsyncResponsesConnection
    from brainwires_provider.runs.mcp import MCPTools
    from brainwires_provider.runs.run import AsyncRun
    from brainwires_provider.sync.batch import Batch
    from brainwires_provider.sync.bulk import Bulk
    from brainwires_provider.sync.client import Client
    from brainwires_provider.sync.connection import ResponsesConnection
    from brainwires_provider.sync.conversation import Conversation
    from brainwires_provider.sync.interactions import Interactions
    from brainwires_provider.sync.responses import Responses
    from brainwires_provider.sync.run import Run
    from brainwires_provider.sync.stream import Stream
    from brainwires_provider.types import (
        Attempt,
        BatchJob,
        BatchResult,
        Breaker,
        BreakerStats,
        Budget,
        BudgetStats,
        Cache,
        CacheStrategy,
        Capability,
        ChatParams,
        Citation,
        ClientStats,
        Continuation,
        Cost,
        Deny,
        Deviation,
        Embeddings,
        EmbeddingTask,
        Fallback,
        FilePart,
        FunctionTool,
        Hedge,
        HostedTool,
        ImagePart,
        JSONSchema,
        Lifecycle,
        Limits,
        LimitStats,
        Message,
        Model,
        OpaquePart,
        OptionParams,
        Options,
        Origin,
        OutputParams,
        Part,
        PolicyParams,
        PreparedRequest,
        ProviderOptions,
        Reasoning,
        ReasoningPart,
        RefusalPart,
        Report,
        Request,
        Response,
        Retry,
        RunParams,
        Telemetry,
        TextPart,
        Timeouts,
        TokenCount,
        Tool,
        ToolArgs,
        ToolCallPart,
        ToolChoice,
        ToolContext,
        ToolResultPart,
        Usage,
        Verdict,
        dump_messages,
        load_messages,
        tool,
    )
    from brainwires_provider.types.bulk import BulkForecast, BulkProgress, MapParams
    from brainwires_provider.types.websocket import WebSocketOptions, WebSocketStats

__all__ = [
    "PROVIDERS",
    "APIError",
    "AnthropicOptions",
    "AsyncBatch",
    "AsyncBulk",
    "AsyncClient",
    "AsyncConversation",
    "AsyncInteractions",
    "AsyncResponses",
    "AsyncResponsesConnection",
    "AsyncRun",
    "AsyncStream",
    "Attempt",
    "AuthenticationError",
    "Batch",
    "BatchJob",
    "BatchResult",
    "BedrockOptions",
    "BrainwiresOptions",
    "Breaker",
    "BreakerOpenError",
    "BreakerStats",
    "Budget",
    "BudgetExceededError",
    "BudgetStats",
    "Bulk",
    "BulkForecast",
    "BulkProgress",
    "BulkResult",
    "ByteStore",
    "Cache",
    "CacheStrategy",
    "CallInfo",
    "Capability",
    "ChatParams",
    "Citation",
    "Client",
    "ClientStats",
    "Compaction",
    "Config",
    "ConfigError",
    "ConnectError",
    "ContextLengthError",
    "Continuation",
    "Conversation",
    "Cost",
    "Credentials",
    "Deny",
    "Deviation",
    "EmbeddingTask",
    "Embeddings",
    "EnvKey",
    "Event",
    "Fallback",
    "FileKey",
    "FilePart",
    "FramingError",
    "FunctionTool",
    "GeminiOptions",
    "GoogleInteractionsOptions",
    "Hedge",
    "HostedTool",
    "ImagePart",
    "Interactions",
    "InvalidRequestError",
    "JSONSchema",
    "KeyringKey",
    "Lifecycle",
    "LimitStats",
    "Limits",
    "MCPTools",
    "MapParams",
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
    "OutputError",
    "OutputInvalid",
    "OutputParams",
    "OutputRefused",
    "OutputTruncated",
    "OverloadedError",
    "Part",
    "PartEnd",
    "PartStart",
    "PermissionDeniedError",
    "PolicyParams",
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
    "ResolvedModel",
    "Response",
    "ResponseEnd",
    "ResponseRestart",
    "ResponseStart",
    "Responses",
    "ResponsesConnection",
    "Retry",
    "Run",
    "RunEvent",
    "RunParams",
    "ServerError",
    "SharedServerError",
    "StepEnd",
    "StoreError",
    "Stream",
    "StreamInterrupted",
    "StreamTimeout",
    "Telemetry",
    "TextDelta",
    "TextPart",
    "Timeouts",
    "TokenCount",
    "Tool",
    "ToolArgs",
    "ToolArgumentsError",
    "ToolCallDelta",
    "ToolCallPart",
    "ToolChoice",
    "ToolContext",
    "ToolEnd",
    "ToolResultPart",
    "ToolStart",
    "TransportError",
    "UnsupportedError",
    "Usage",
    "Verdict",
    "WebSocketOptions",
    "WebSocketStats",
    "collect",
    "dump_messages",
    "load_config",
    "load_messages",
    "tool",
]

_MODULES = {
    "types": " ".join(__all__),  # all names that no module below defines
    "protocols.gemini.options": "GeminiOptions",
    "protocols.google_interactions.options": "GoogleInteractionsOptions",
    "protocols.relay.options": "BrainwiresOptions",
    "auth.keys": "EnvKey FileKey KeyringKey",
    "config": "load_config",
    "bulk.engine": "AsyncBulk",
    "bulk.results": "BulkResult",
    "client": "AsyncClient",
    "conversation": "AsyncConversation",
    "errors": "APIError AuthenticationError BreakerOpenError BudgetExceededError ConfigError ConnectError "
    "ContextLengthError FramingError InvalidRequestError NotFoundError OutputError OutputInvalid OutputRefused "
    "OutputTruncated OverloadedError PermissionDeniedError ProtocolError ProviderError RateLimitError ServerError "
    "SharedServerError StoreError StreamInterrupted StreamTimeout RequestTimeout ToolArgumentsError TransportError "
    "UnsupportedError",
    "events": "Event OpaqueDelta PartEnd PartStart ReasoningDelta RefusalDelta ResponseEnd ResponseRestart "
    "ResponseStart RunEvent StepEnd TextDelta ToolCallDelta ToolEnd ToolStart collect",
    "protocols.anthropic.options": "AnthropicOptions",
    "protocols.openai_chat.options": "OpenAIChatOptions",
    "protocols.openai_responses.operations": "Compaction",
    "protocols.openai_responses.options": "OpenAIResponsesOptions",
    "providers": "Config NamedModel PROVIDERS Provider ProviderConfig",
    "resources.batch": "AsyncBatch",
    "resources.batch_calls": "ByteStore",
    "resources.interactions": "AsyncInteractions",
    "resources.resolved": "ResolvedModel",
    "resources.responses": "AsyncResponses",
    "_core.hooks": "CallInfo",
    "_core.stream": "AsyncStream",
    "auth.aws": "Credentials",
    "protocols.bedrock.options": "BedrockOptions",
    "types.bulk": "BulkForecast BulkProgress MapParams",
    "types.websocket": "WebSocketOptions WebSocketStats",
    "resources.responses_connection": "AsyncResponsesConnection",
    "runs.mcp": "MCPTools",
    "runs.run": "AsyncRun",
    "sync.bulk": "Bulk",
    "sync.run": "Run",
    "sync.batch": "Batch",
    "sync.client": "Client",
    "sync.connection": "ResponsesConnection",
    "sync.conversation": "Conversation",
    "sync.interactions": "Interactions",
    "sync.responses": "Responses",
    "sync.stream": "Stream",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
