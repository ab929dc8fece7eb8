"""The end of a response: its status, its counts, and what the service itself has said of it."""

from __future__ import annotations

from collections.abc import Mapping

from brainwires_provider.events import ResponseEnd
from brainwires_provider.integrations.responses.items import Item
from brainwires_provider.types import FinishReason, Usage

__all__ = ["ended", "usage_of"]

_INCOMPLETE: Mapping[FinishReason, Item | None] = {
    "length": {"reason": "max_output_tokens"},
    "content_filter": {"reason": "content_filter"},
    "pause": None,
    "malformed_tool_call": None,
}


def ended(response: Item, end: ResponseEnd) -> Item:
    """The response object with what its end says."""
    own = end.extra if end.extra.get("object") == "response" else {}
    status = "completed"
    if end.finish_reason in _INCOMPLETE:
        status = "incomplete"
    elif end.finish_reason == "pending":
        status = "in_progress"
    kept = {name: value for name, value in own.items() if name not in ("output", "usage", "status", "error")}
    return {
        **response,
        **kept,
        "id": response["id"],  # a response has one id from its beginning to its end
        "model": end.model or response["model"],
        "status": status,
        "incomplete_details": _INCOMPLETE.get(end.finish_reason),
        "usage": usage_of(end.usage),
    }


def usage_of(usage: Usage) -> Item | None:
    """The token counts as the Responses API nests them; None where the provider sent none."""
    if not usage.complete and not usage.total_tokens:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total_tokens,
    }
