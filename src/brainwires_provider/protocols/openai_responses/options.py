"""How services differ that all speak Responses, and the fields that only this protocol has.

A quirk is a constructor argument, set by the provider's entry in the table. Nothing tests for a provider's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import Effort, ProviderOptions

__all__ = ["OpenAIResponsesOptions", "ResponsesQuirks"]

_OPENAI_EFFORTS: Mapping[Effort, str] = MappingProxyType({"off": "none"})
_NO_QUERY: Mapping[str, str] = MappingProxyType({})


class ResponsesQuirks(Struct, frozen=True, kw_only=True):
    """One service's dialect. The defaults are OpenAI's own."""

    encrypted_reasoning: bool = True
    """Gives reasoning as a ciphertext when asked, so that a turn that is not stored can be continued; asked are the
    models whose facts state that they have it."""
    tool_names: str = "[a-zA-Z0-9_-]{1,128}"
    """The form of a tool's name (2026-11: https://platform.openai.com/docs/api-reference/responses/create)."""
    store_field: bool = True
    """Takes `store`; the service keeps answers unless asked not to."""
    cache_marks: bool = True
    """Takes `prompt_cache_breakpoint` on content."""
    efforts: Mapping[Effort, str] = _OPENAI_EFFORTS
    """The service's words for ours, where they differ."""
    reasoning_summary: bool = True
    """Takes `reasoning.summary`."""
    developer_role: bool = True
    file_urls: bool = True
    """Takes a document by its URL."""
    schema: Literal["text", "response_format", "words"] = "text"
    """Where an output's shape goes: in `text.format`, in Chat's `response_format` (llama.cpp's server, which reads
    no other), or into words, with JSON asked for."""
    dialect: Literal["openai"] | None = "openai"
    """The subset of JSON Schema that it takes where a schema is strict. None: all of it."""
    json_word: bool = True
    """Refuses plain JSON unless an item of the input holds the word JSON."""
    allowed_tools: bool = True
    """Takes a `tool_choice` of several names; else only those tools are sent."""
    counting: bool = True
    """Has `POST /responses/input_tokens`."""
    models_query: Mapping[str, str] = _NO_QUERY
    """What the list of models is asked with."""


class OpenAIResponsesOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of the Responses API by their wire names: all but `model`, `input` and `stream`.

    See the API reference of "Create a model response" for their meaning. `text` and `reasoning` are merged with
    what `output` and `reasoning` say; any other field given here wins over the general options.
    """

    protocol: ClassVar[str] = "openai_responses"

    access_programs: Mapping[str, Any] | UnsetType = UNSET
    background: bool | UnsetType = UNSET
    background_options: Mapping[str, Any] | UnsetType = UNSET
    context_management: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    conversation: str | Mapping[str, Any] | UnsetType = UNSET
    image: Mapping[str, Any] | UnsetType = UNSET
    include: Sequence[str] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    max_output_tokens: int | UnsetType = UNSET
    max_tool_calls: int | UnsetType = UNSET
    metadata: Mapping[str, str] | UnsetType = UNSET
    moderation: Mapping[str, Any] | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    previous_response_id: str | UnsetType = UNSET
    prompt: Mapping[str, Any] | UnsetType = UNSET
    prompt_cache_key: str | UnsetType = UNSET
    prompt_cache_options: Mapping[str, Any] | UnsetType = UNSET
    prompt_cache_retention: str | UnsetType = UNSET
    reasoning: Mapping[str, Any] | UnsetType = UNSET
    safety_identifier: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    store: bool | UnsetType = UNSET
    stream_options: Mapping[str, Any] | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    text: Mapping[str, Any] | UnsetType = UNSET
    tool_choice: str | Mapping[str, Any] | UnsetType = UNSET
    tools: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    top_logprobs: int | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    truncation: str | UnsetType = UNSET
    user: str | UnsetType = UNSET
