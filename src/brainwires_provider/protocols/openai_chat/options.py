"""How services differ that all speak Chat Completions, and the fields that only this protocol has.

A quirk is a constructor argument, set by the provider's entry in the table. Nothing tests for a provider's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import Effort, ProviderOptions

__all__ = ["ChatQuirks", "OpenAIChatOptions"]

_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})
_NO_QUERY: Mapping[str, str] = MappingProxyType({})
_OPENAI_EFFORTS: Mapping[Effort, str | None] = MappingProxyType({"off": "none"})


class ChatQuirks(Struct, frozen=True, kw_only=True):
    """One service's dialect. The defaults are OpenAI's own."""

    always: Mapping[str, Any] = _NO_FIELDS
    """Sent with every request: what keeps an answer apart that the service would run together."""
    models_path: str | None = "/models"
    """Where the models are listed, if they are."""
    models_query: Mapping[str, str] = _NO_QUERY
    """What the list is asked with."""
    max_tokens_field: str = "max_completion_tokens"
    seed_field: str | None = "seed"
    stop_list: bool = False
    """Takes `stop` as a list only."""
    required_word: str = "required"
    """The word of `tool_choice` for "some tool must be called"."""
    stream_usage: bool = True
    """Ask for counts in streams by `stream_options`; some services refuse the field, and count anyway."""
    developer_role: bool = True
    top_k: bool = False
    penalties: bool = True
    frequency_penalty: bool = True
    """Takes `frequency_penalty` too, where it takes a penalty at all."""
    parallel_tool_calls: bool = True
    json_schema: bool = True
    """Takes `response_format` of type `json_schema`; else the schema is put into words and JSON asked for."""
    allowed_tools: bool = True
    """Takes a `tool_choice` of several names; else only those tools are sent."""
    named_choice: bool = True
    """Takes a `tool_choice` of one name; else only that tool is sent, and some call is required."""
    none_choice: bool = True
    """Takes a `tool_choice` of "none"; else the tools are not sent."""
    schemas: Literal["openai", "groq", "mistral"] | None = "openai"
    """The subset of JSON Schema that it takes where a schema is strict. None: all of it."""
    json_object: bool = True
    """Takes `response_format` of type `json_object`; else a schema of any object is sent."""
    json_word: bool = True
    """Refuses `json_object` unless a message holds the word JSON."""
    constrains: bool = False
    """Holds an answer to a schema whatever the model is, so that tools can be emulated for a model without any."""
    cache_marks: bool = False
    """Takes `cache_control` on content and tools."""
    reasoning: Literal["effort", "object", "thinking", "none"] = "effort"
    """How reasoning is asked for: `reasoning_effort`, a `reasoning` object, a `thinking` switch, or never."""
    efforts: Mapping[Effort, str | None] = _OPENAI_EFFORTS
    """The service's words for ours, where they differ: the nearest one, or None where there is no such thing."""
    thinking_on: Mapping[str, Any] = _NO_FIELDS
    """The fields that switch thinking on: beside any effort but "off", or as the `thinking` switch itself."""
    thinking_off: Mapping[str, Any] = _NO_FIELDS
    """The fields that switch it off, where no word for an effort does."""
    budget_field: str | None = None
    """Takes a budget of tokens for thinking, under this name."""
    replay_reasoning: bool = True
    """Takes reasoning back under the names it came by."""
    missing_reasoning: str | None = None
    """The `reasoning_content` of a turn that has calls and no reasoning, where a thinking model refuses a turn
    without the field. None: the field is not sent."""
    empty_turns: bool = True
    """Takes an assistant's turn without content; else it is left out."""
    one_system: bool = False
    """Takes one system message, the first; else all are merged into one."""
    tool_names: str = "[a-zA-Z0-9_-]{1,64}"
    """The form of a tool's name (2026-11: https://platform.openai.com/docs/api-reference/chat/create)."""
    short_ids: bool = False
    """Takes ids of calls with nine letters and digits only; else up to 64 characters of any kind."""
    prefix: bool = False
    """Continues a last turn of the assistant that is marked with `prefix`."""
    media_results: bool = False
    """Takes media in a tool's result; else they follow the results in a message of the user."""
    text_files: bool = True
    """Takes text files in `file`; else their text is sent."""
    file_urls: bool = False
    """Takes a URL where a file's data goes."""
    video: bool = False
    """Takes `video_url`."""
    documents: Literal["file", "document_url", "file_url"] = "file"
    """As `file` with its data in an object, as `document_url`, or as `file_url` with a URL or bare base64."""
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
