"""The models of a service that speaks Responses, and its counts of tokens.

Reference: the API reference, "List models" and "Get input token counts".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from brainwires_provider.protocols.base.errors import count_in
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, no_count
from brainwires_provider.protocols.openai_chat.models import page_query
from brainwires_provider.protocols.openai_responses.options import ResponsesQuirks
from brainwires_provider.protocols.openai_responses.request import encode_request
from brainwires_provider.types import Origin, Request, TokenCount, Usage
from brainwires_provider.types.usage import split_usage

__all__ = ["decode_count", "encode_count", "models_call", "usage_of"]

_COUNTED = frozenset(
    (
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    )
)


def encode_count(
    protocol: ProtocolBase[ResponsesQuirks], request: Request, origin: Origin, facts: ModelFacts = UNKNOWN
) -> Call:
    """`POST /responses/input_tokens`. Raises UnsupportedError where the service has no such call."""
    quirks = protocol.quirks
    if not quirks.counting:
        raise no_count(origin.provider, origin.model)
    call = encode_request(protocol, request, origin, stream=False, facts=facts)
    counted = {name: value for name, value in call.body.items() if name in _COUNTED}
    return replace(call, path="/responses/input_tokens", body=counted)


def decode_count(body: bytes) -> TokenCount:
    """The count of `{"input_tokens": …}`. Raises ProtocolError, APIError."""
    return count_in(body, "input_tokens")


def models_call(after: str | None, quirks: ResponsesQuirks) -> Call:
    """`GET /models`: the first page, or the one after a cursor; few services have pages."""
    return Call("/models", {}, method="GET", query={**quirks.models_query, **page_query(after)})


# -- usage ---------------------------------------------------------------------------------------------------


def usage_of(counts: Any) -> Usage:
    """The buckets of a `usage` object; its details are parts of the totals."""
    if not isinstance(counts, dict) or not counts:
        return Usage()
    inner, outer = _details(counts, "input"), _details(counts, "output")
    return split_usage(
        input_total=_count(counts.get("input_tokens")),
        output_total=_count(counts.get("output_tokens")),
        total=None if counts.get("total_tokens") is None else _count(counts["total_tokens"]),
        cache_read=_count(inner.get("cached_tokens")),
        cache_write=_count(inner.get("cache_write_tokens")),
        reasoning=_count(outer.get("reasoning_tokens")),
        raw=counts,
    )


def _details(counts: Mapping[str, Any], which: str) -> Mapping[str, Any]:
    details = counts.get(f"{which}_tokens_details")
    return details if isinstance(details, dict) else {}


def _count(value: Any) -> int:
    return value if type(value) is int else 0
