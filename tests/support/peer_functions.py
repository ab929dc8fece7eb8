"""Other clients' functions that convert schemas and counts: what ours say for the same arguments, and theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from brainwires_provider.events import collect
from brainwires_provider.protocols.base.dialects import CLAUDE, conform
from brainwires_provider.protocols.base.schemas import compile_schema
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Origin

Body = dict[str, Any]
Pair = tuple[Any, Any]

# -- schemas ---------------------------------------------------------------------------------------------------


def _google(schema: Any) -> Any:
    return _plain_types(compile_schema(schema).schema)


def _claude(schema: Any) -> Any:
    return conform(schema, CLAUDE).schema


def _plain_types(value: Any) -> Any:
    """Google's dialect in the notation of JSON Schema; an enum names its format there."""
    if isinstance(value, list):
        return [_plain_types(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _plain_types(inner) for name, inner in value.items()}
    if isinstance(plain.get("type"), str):
        plain["type"] = plain["type"].lower()
    if plain.get("format") == "enum":
        del plain["format"]
    return plain


def _without_words(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_words(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _without_words(inner) for name, inner in value.items() if name != "description"}


_SCHEMAS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "convertJSONSchemaToOpenAPISchema": (_google, _plain_types),
    "transform_schema": (_claude, lambda schema: schema),
    "sanitizeJsonSchema": (lambda schema: _without_words(_claude(schema)), _without_words),
}
"""By a function's name: ours, and what evens theirs out. Each client has words of its own for a limit."""

# -- counts ----------------------------------------------------------------------------------------------------

_CHAT = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}]}
_RESPONSES = {
    "object": "response",
    "status": "completed",
    "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}],
}
_MESSAGES = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "x"}],
    "stop_reason": "end_turn",
}
_CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "x"}]}},
    "stopReason": "end_turn",
}
_USAGE: dict[str, tuple[str, Body]] = {
    "convertAlibabaUsage": ("alibaba", _CHAT),
    "convertAmazonBedrockUsage": ("bedrock", _CONVERSE),
    "convertAnthropicUsage": ("anthropic", _MESSAGES),
    "convertGroqUsage": ("groq", _CHAT),
    "convertMistralUsage": ("mistral", _CHAT),
    "convertMoonshotAIChatUsage": ("moonshot", _CHAT),
    "convertXaiChatUsage": ("custom", _CHAT),
    "convertXaiResponsesUsage": ("xai", _RESPONSES),
}
"""By a function's name: a provider, and a whole answer that its counts are put into."""


def _counted(name: str, given: Any) -> Body:
    row, body = _USAGE[name]
    protocol = PROVIDERS[row].protocol()
    usage = given.get("rawUsage") or given["usage"] if row == "anthropic" else given
    whole = json.dumps({"model": "m", **body, "usage": usage}).encode()
    counts = collect(protocol.decoder(Origin(protocol.name, row, "m")).feed_whole(whole)).usage
    return {
        "inputTokens.total": counts.input_tokens,
        "inputTokens.noCache": counts.uncached_input,
        "inputTokens.cacheRead": counts.cache_read,
        "inputTokens.cacheWrite": counts.cache_write,
        "outputTokens.total": counts.output_tokens,
        "outputTokens.text": counts.output_text,
        "outputTokens.reasoning": counts.reasoning,
    }


def _flat(expected: Body) -> Body:
    """Their counts by our names; what they leave out is not compared, and none is no count."""
    kinds = ("inputTokens", "outputTokens")
    return {f"{kind}.{n}": count or 0 for kind in kinds for n, count in expected.get(kind, {}).items()}


# -- both ------------------------------------------------------------------------------------------------------


def is_compared(name: str) -> bool:
    """Whether ours has a counterpart of that function."""
    return name in _SCHEMAS or name in _USAGE


def function_differences(case: Body) -> list[str]:
    """The members in which ours differs from theirs: `schema`, or counts by their names."""
    name, given, expected = case["name"], case["args"][0], case["expected"]
    if name in _SCHEMAS:
        ours, even = _SCHEMAS[name]
        return [] if ours(given) == even(expected) else ["schema"]
    ours_counted, theirs = _counted(name, given), _flat(expected)
    return [member for member, count in theirs.items() if ours_counted[member] != count]
