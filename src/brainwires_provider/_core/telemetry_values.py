"""What the conventions for generative AI call the parts of a request and of a response: names and values, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from brainwires_provider._core.plan import Plan
from brainwires_provider.types import (
    FilePart,
    HostedTool,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Response,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

__all__ = [
    "as_json",
    "content_of",
    "operation_of",
    "provider_of",
    "request_attributes",
    "response_attributes",
    "usage_attributes",
]

# The conventions' list of providers, 2026-11-29. A provider that it does not have is called by its own name.
_PROVIDERS: Mapping[str, str] = {
    **dict.fromkeys(("openai-chat", "openai-responses", "openai-responses-ws"), "openai"),
    **dict.fromkeys(("azure", "azure-chat", "azure-entra", "azure-ws"), "azure.ai.openai"),
    **dict.fromkeys(("bedrock", "bedrock-anthropic", "bedrock-invoke", "bedrock-openai"), "aws.bedrock"),
    **dict.fromkeys(("google", "google-interactions"), "gcp.gemini"),
    **dict.fromkeys(("vertex", "vertex-anthropic", "vertex-interactions"), "gcp.vertex_ai"),
    **dict.fromkeys(("xai", "xai-ws"), "x_ai"),
    "deepseek-responses": "deepseek",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
}
_OPENAI_TYPES = {"openai_chat": "chat_completions", "openai_responses": "responses"}
_WITHIN = (
    (),
    ("generationConfig",),
    ("generation_config",),
    ("inferenceConfig",),
    ("options",),
    ("additionalModelRequestFields",),
    ("additionalModelRequestFields", "inferenceConfig"),
)
"""Where protocols have options in their bodies."""
# attribute: its type, and the names that the protocols' bodies have for it
_FIELDS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "gen_ai.request.max_tokens": (
        int,
        (
            "max_tokens",
            "max_completion_tokens",
            "max_output_tokens",
            "maxOutputTokens",
            "maxTokens",
            "num_predict",
        ),
    ),
    "gen_ai.request.temperature": (float, ("temperature",)),
    "gen_ai.request.top_p": (float, ("top_p", "topP")),
    "gen_ai.request.top_k": (int, ("top_k", "topK")),
    "gen_ai.request.seed": (int, ("seed", "random_seed")),
    "gen_ai.request.presence_penalty": (float, ("presence_penalty", "presencePenalty")),
    "gen_ai.request.frequency_penalty": (float, ("frequency_penalty", "frequencyPenalty")),
}
_STOPS = ("stop", "stop_sequences", "stopSequences")
_EFFORTS = (
    ("reasoning_effort",),
    ("reasoning", "effort"),
    ("output_config", "effort"),
    ("generationConfig", "thinkingConfig", "thinkingLevel"),
    ("generation_config", "thinking_level"),
    ("outputConfig", "effort"),
    ("additionalModelRequestFields", "reasoningConfig", "maxReasoningEffort"),
    ("additionalModelRequestFields", "reasoning_effort"),
    ("think",),
)
_FORMATS = (
    ("response_format", "mime_type"),
    ("response_format", "type"),
    ("outputConfig", "textFormat", "type"),
    ("text", "format", "type"),
    ("output_config", "format", "type"),
    ("generationConfig", "responseMimeType"),
    ("format",),
)


def provider_of(name: str) -> str:
    """The conventions' name of a built-in provider."""
    return _PROVIDERS.get(name, name)


def operation_of(plan: Plan) -> str:
    """The conventions' name of what a plan does."""
    is_generation = plan.operation == "chat" and plan.target.protocol.name == "gemini"
    return "generate_content" if is_generation else plan.operation


def _openai_type(plan: Plan) -> str | None:
    """Which of OpenAI's two interfaces; None at other services."""
    if provider_of(plan.target.row.name) not in ("openai", "azure.ai.openai"):
        return None
    return _OPENAI_TYPES.get(plan.target.protocol.name)


# -- a request -----------------------------------------------------------------------------------------------


def request_attributes(plan: Plan) -> dict[str, Any]:
    """What was asked for, as it was sent."""
    body = plan.call.body or {}
    if plan.operation != "chat":
        return {}
    found: dict[str, Any] = {"gen_ai.request.stream": True} if plan.stream else {}
    for attribute, (kind, names) in _FIELDS.items():
        value = _field(body, names)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found[attribute] = kind(value)
    stops = _field(body, _STOPS)
    if stops:
        found["gen_ai.request.stop_sequences"] = [stops] if isinstance(stops, str) else list(stops)
    choices = _field(body, ("n", "candidateCount"))
    if type(choices) is int and choices != 1:
        found["gen_ai.request.choice.count"] = choices
    effort = next((each for path in _EFFORTS if isinstance(each := _at(body, path), str)), None)
    if effort:
        found["gen_ai.request.reasoning.level"] = effort
    output = next(filter(None, (_at(body, path) for path in _FORMATS)), None)
    if output is not None:
        found["gen_ai.output.type"] = "text" if output in ("text", "text/plain") else "json"
    found |= _identities(body)
    openai = _openai_type(plan)
    if openai is not None:
        found["openai.api.type"] = openai
        if isinstance(body.get("service_tier"), str) and body["service_tier"] != "auto":
            found["openai.request.service_tier"] = body["service_tier"]
    return found


def _identities(body: Mapping[str, Any]) -> dict[str, str]:
    """What the provider keeps, and the request refers to."""
    conversation = body.get("conversation")
    if isinstance(conversation, Mapping):
        conversation = conversation.get("id")
    named = {
        "gen_ai.conversation.id": conversation,
        "gen_ai.request.previous_response.id": body.get("previous_response_id"),
    }
    return {name: value for name, value in named.items() if isinstance(value, str)}


def _field(body: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first field of these names, at any of the places where protocols have options."""
    for place in _WITHIN:
        options = _at(body, place)
        for name in names if isinstance(options, Mapping) else ():
            if options.get(name) is not None:
                return options[name]
    return None


def _at(body: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(body, Mapping):
            return None
        body = body.get(name)
    return body


# -- a response ----------------------------------------------------------------------------------------------


def response_attributes(plan: Plan, response: Response, reason: str) -> dict[str, Any]:
    """What answered, how it ended, and what it continued."""
    found: dict[str, Any] = {"gen_ai.response.finish_reasons": [reason]}
    if response.id:
        found["gen_ai.response.id"] = response.id
    if response.model:
        found["gen_ai.response.model"] = response.model
    continuation = response.report.continuation
    if continuation is not None:
        found["brainwires.continuation.sent"] = continuation.sent
        found["brainwires.continuation.of"] = continuation.of
        if continuation.parent is not None:
            found["gen_ai.request.previous_response.id"] = continuation.parent
        if continuation.reason is not None:
            found["brainwires.continuation.reason"] = continuation.reason
    if _openai_type(plan) is not None:
        for name in ("service_tier", "system_fingerprint"):
            if isinstance(response.extra.get(name), str):
                found[f"openai.response.{name}"] = response.extra[name]
    return found


def usage_attributes(usage: Usage, *, is_embedding: bool) -> dict[str, int]:
    """The counts that are always there, and those of a special kind where there are some."""
    found = {"gen_ai.usage.input_tokens": usage.input_tokens}
    if not is_embedding:
        found["gen_ai.usage.output_tokens"] = usage.output_tokens
    special = {
        "cache_read.input_tokens": usage.cache_read,
        "cache_write.input_tokens": usage.cache_write,
        "reasoning.output_tokens": usage.reasoning,
        "audio.input_tokens": usage.audio_input,
    }
    return found | {f"gen_ai.usage.{name}": count for name, count in special.items() if count}


# -- content -------------------------------------------------------------------------------------------------


def content_of(plan: Plan, response: Response, reason: str) -> dict[str, Any]:
    """What was asked and answered, in the forms of the conventions' schemas; without the bytes of media."""
    last = "tool_call" if reason == "tool_calls" else reason
    answer = {"role": "assistant", "parts": list(map(_part, response.message.content)), "finish_reason": last}
    found: dict[str, Any] = {"gen_ai.output.messages": [answer]}
    request = plan.request
    if request is None:
        return found
    found["gen_ai.input.messages"] = [_message(message) for message in request.messages]
    if request.system is not None:
        found["gen_ai.system_instructions"] = [{"type": "text", "content": request.system}]
    if request.tools:
        found["gen_ai.tool.definitions"] = list(map(_tool, request.tools))
    return found


def as_json(value: Any) -> str:
    """As text, for attributes of spans."""
    return msgspec.json.encode(value).decode()


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "parts": list(map(_part, message.content))}


def _tool(tool: Tool | HostedTool) -> dict[str, str]:
    if isinstance(tool, HostedTool):
        return {"type": tool.type, "name": tool.type}
    return {"type": "function", "name": tool.name}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart() | RefusalPart():
            return {"type": "text", "content": part.text}
        case ReasoningPart():
            return {"type": "reasoning", "content": part.text or "\n".join(part.summary)}
        case ToolCallPart():
            return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": part.arguments}
        case ToolResultPart():
            result = [_part(each) for each in part.content]
            return {"type": "tool_call_response", "id": part.call_id, "response": result}
        case ImagePart() | FilePart():
            return {"type": "image" if isinstance(part, ImagePart) else "file", "mime_type": part.media_type}
        case _:
            return {"type": part.kind}
