"""A whole answer as pydantic-ai's `ModelResponse`: usage, finish reason, and what is kept beside the parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import FinishReason, ModelResponse, ModelResponseState
from pydantic_ai.usage import RequestUsage

from brainwires_provider.integrations.pydantic_ai.answers import response_part
from brainwires_provider.integrations.pydantic_ai.keeping import KEY
from brainwires_provider.types import RefusalPart, Response, TokenCount, Usage

__all__ = ["counted", "details_of", "finish_of", "model_response", "state_after", "usage_of"]

_FINISHES: Mapping[str, FinishReason] = MappingProxyType(
    {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool_call",
        "content_filter": "content_filter",
        "refusal": "content_filter",
        "malformed_tool_call": "error",
    }
)
_STATE = ("container",)
"""Fields of a response that a conversation repeats."""


def model_response(
    response: Response, *, name: str, provider: str, url: str, unsent: Sequence[str] = ()
) -> ModelResponse:
    """pydantic-ai's form of a whole answer of the model called `name`; `unsent` goes into its report."""
    made = [response_part(part, provider) for part in response.message.content]
    return ModelResponse(
        parts=[part for part in made if part is not None],
        usage=usage_of(response.usage),
        model_name=response.model or name,
        provider_name=provider,
        provider_url=url,
        provider_details=details_of(response, unsent),
        provider_response_id=response.id,
        finish_reason=finish_of(response),
        state=state_after(response),
    )


def finish_of(response: Response) -> FinishReason | None:
    """Why the answer has ended, in pydantic-ai's words; None where it has no word for it."""
    return _FINISHES.get(response.finish_reason)


def state_after(response: Response) -> ModelResponseState:
    """`suspended` for a turn that the provider has paused, and that goes on when it is sent back.

    Raises UserError for a response that is only begun, in the background.
    """
    if response.finish_reason == "pending":
        raise UserError("a background response cannot be waited for by an agent: use client.responses")
    return "suspended" if response.finish_reason == "pause" else "complete"


def details_of(response: Response, unsent: Sequence[str] = ()) -> dict[str, Any] | None:
    """The provider's own finish reason and refusal, what was not sent as it was given, and what goes back."""
    details: dict[str, Any] = {}
    if response.raw_finish_reason is not None:
        details["finish_reason"] = response.raw_finish_reason
    refusal = "".join(part.text for part in response.message.content if isinstance(part, RefusalPart))
    if refusal:
        details["refusal"] = refusal
    note: dict[str, Any] = {}
    if response.message.extra:
        note["message"] = dict(response.message.extra)
    state = {name: response.extra[name] for name in _STATE if response.extra.get(name) is not None}
    if state:
        note["state"] = state
    deviations = response.report.deviations
    report = [*unsent, *(f"{each.field}: {each.outcome}, {each.reason}" for each in deviations)]
    if report:
        note["report"] = report
    if response.request_id is not None:
        note["request_id"] = response.request_id
    if note:
        details[KEY] = note
    return details or None


def usage_of(usage: Usage) -> RequestUsage:
    """Token counts in pydantic-ai's nested buckets; where the provider gave none, that it gave none."""
    if usage == Usage():
        return RequestUsage(unmeasured_requests=1)
    details = {
        "tool_input_tokens": usage.tool_input,
        "unattributed_tokens": usage.unattributed,
        "reasoning_tokens": usage.reasoning,
    }
    return RequestUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        input_audio_tokens=usage.audio_input,
        output_reasoning_tokens=usage.reasoning,
        details={name: count for name, count in details.items() if count},
    )


def counted(count: TokenCount) -> RequestUsage:
    """The tokens of a request that is not sent yet."""
    return RequestUsage(input_tokens=count.input_tokens)
