"""How services differ that all speak Chat Completions, and the fields that only this protocol has.

A quirk is a constructor argument; the provider's row picks it. No provider's name is tested for anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import Effort, ProviderOptions

__all__ = ["ChatQuirks", "OpenAIChatOptions"]

_OPENAI_EFFORTS: Mapping[Effort, str] = MappingProxyType({"off": "none"})


class ChatQuirks(Struct, frozen=True, kw_only=True):
    """One service's dialect. The defaults are OpenAI's own."""

    max_tokens_field: str = "max_completion_tokens"
    seed_field: str = "seed"
    required_word: str = "required"
    """The word of `tool_choice` for "some tool must be called"."""
    stream_usage: bool = True
    """Ask for counts in streams by `stream_options`; some services refuse the field, and count anyway."""
    developer_role: bool = True
    top_k: bool = False
    penalties: bool = True
    parallel_tool_calls: bool = True
    json_schema: bool = True
    """Takes `response_format` of type `json_schema`; else the schema is put into words and JSON asked for."""
    allowed_tools: bool = True
    """Takes a `tool_choice` of several names; else only those tools are sent."""
    cache_marks: bool = False
    """Takes `cache_control` on content and tools."""
    reasoning: Literal["effort", "object", "thinking", "none"] = "effort"
    """How reasoning is asked for: `reasoning_effort`, a `reasoning` object, a `thinking` switch, or never."""
    efforts: Mapping[Effort, str] = _OPENAI_EFFORTS
    """The service's words for ours, where they differ."""
    replay_reasoning: bool = True
    """Takes reasoning back under the names it came by."""
    file_urls: bool = False
    """Takes a URL where a file's data goes."""
    video: bool = False
    """Takes `video_url`."""
    documents: Literal["file", "document_url"] = "file"
    audio: Literal["object", "text"] = "object"
    """`input_audio` holds an object of data and format, or just the data or URL."""


class OpenAIChatOptions(ProviderOptions, frozen=True, kw_only=True):
    """Fields of Chat Completions that few other protocols have, by their wire names.

    See the API reference of "Create chat completion" for their meaning.
    """

    protocol: ClassVar[str] = "openai_chat"

    audio: Mapping[str, Any] | UnsetType = UNSET
    logit_bias: Mapping[str, int] | UnsetType = UNSET
    logprobs: bool | UnsetType = UNSET
    metadata: Mapping[str, str] | UnsetType = UNSET
    modalities: Sequence[str] | UnsetType = UNSET
    moderation: Mapping[str, Any] | UnsetType = UNSET
    n: int | UnsetType = UNSET
    prediction: Mapping[str, Any] | UnsetType = UNSET
    prompt_cache_key: str | UnsetType = UNSET
    prompt_cache_options: Mapping[str, Any] | UnsetType = UNSET
    prompt_cache_retention: str | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET
    safety_identifier: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    store: bool | UnsetType = UNSET
    stream_options: Mapping[str, Any] | UnsetType = UNSET
    top_logprobs: int | UnsetType = UNSET
    user: str | UnsetType = UNSET
    verbosity: str | UnsetType = UNSET
    web_search_options: Mapping[str, Any] | UnsetType = UNSET
