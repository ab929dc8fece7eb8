"""How the clouds and services differ that speak Anthropic's Messages, and the fields that only this protocol has.

A quirk is a constructor argument, set by the provider's entry in the table. Nothing tests for a provider's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import ProviderOptions

__all__ = ["BEDROCK_INVOKE", "VERTEX", "AnthropicOptions", "AnthropicQuirks"]


class AnthropicQuirks(Struct, frozen=True, kw_only=True):
    """One service's dialect. The defaults are Anthropic's own."""

    cloud: Literal["messages", "bedrock", "vertex"] = "messages"
    """Where model and version stand. `messages`: `POST {prefix}/messages`, the model in the body, the version in a
    header. `bedrock`: InvokeModel, the model in the path, version and beta flags in the body, the stream by its path.
    `vertex`: rawPredict, the model in the path, the version in the body, beta flags in a header."""
    prefix: str = "/v1"
    """What stands before `/messages` and `/models`: Anthropic's base URLs have no version in them."""
    version: str = "2026-10-21"
    """`anthropic-version`."""
    sampling_version: str | None = "2023-06-01"
    """The version under which a request with temperature, top_p or top_k is sent: `version` may refuse them, whatever
    the model. None: this service takes them under no version."""
    betas: tuple[str, ...] = ()
    """Beta flags of every request; AnthropicOptions(betas=…) adds to them."""
    default_max_tokens: int = 32_000
    """The limit of an answer where none was set, for the API demands one; less for a model that gives less."""
    system_turns: bool | None = None
    """Takes system messages in mid-conversation. None: as the model's name shows."""
    schema: bool = True
    """Takes `output_config.format`; else the schema is put into words."""
    media_urls: bool = True
    """Fetches images and PDFs by their URL."""
    file_ids: bool = True
    """Has a Files API, so that media can be named by its id."""
    profile_in_body: bool = False
    """Takes `user_profile_id` in the body instead of a header."""
    counting: bool = True
    """Has a call that counts tokens."""
    listing: Literal["pages", "whole", "publishers", "foundation"] | None = "pages"
    """How models are listed. `pages`: `GET {prefix}/models`. `whole`: the same at once, in OpenAI's form.
    `publishers`: as Vertex AI lists a publisher's. `foundation`: as Bedrock's control plane does. None: not at all."""


BEDROCK_INVOKE = AnthropicQuirks(
    cloud="bedrock",
    version="bedrock-2023-05-31",
    sampling_version="bedrock-2023-05-31",
    media_urls=False,
    file_ids=False,
    profile_in_body=True,
    listing="foundation",
)
"""Amazon Bedrock's InvokeModel and InvokeModelWithResponseStream."""

VERTEX = AnthropicQuirks(
    cloud="vertex",
    version="vertex-2023-10-16",
    sampling_version="vertex-2023-10-16",
    file_ids=False,
    listing="publishers",
)
"""Claude on Vertex AI; the base URL ends in `…/publishers/anthropic`."""


class AnthropicOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of the Messages API by their wire names: all but `model`, `messages` and `stream`.

    See the API reference of "Create a Message", and of its beta, for their meaning. `output_config` is merged with
    what `output` and `reasoning` say; any other field given here wins over the general options. `betas`,
    `user_profile_id` and `workspace_id` are headers where the service has them so. A beta field needs its flag in
    `betas`: which one is needed, the field's own page states.
    """

    protocol: ClassVar[str] = "anthropic_messages"

    betas: Sequence[str] | UnsetType = UNSET
    billing_policy: Mapping[str, Any] | UnsetType = UNSET
    cache_control: Mapping[str, Any] | UnsetType = UNSET
    compaction: Mapping[str, Any] | UnsetType = UNSET
    container: str | Mapping[str, Any] | UnsetType = UNSET
    context_management: Mapping[str, Any] | UnsetType = UNSET
    diagnostics: Mapping[str, Any] | UnsetType = UNSET
    fallback_credit_token: str | Mapping[str, Any] | UnsetType = UNSET
    fallbacks: str | Sequence[Mapping[str, Any]] | UnsetType = UNSET
    inference_geo: str | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    mcp_servers: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    metadata: Mapping[str, Any] | UnsetType = UNSET
    output_config: Mapping[str, Any] | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    speed: str | UnsetType = UNSET
    stop_sequences: Sequence[str] | UnsetType = UNSET
    system: str | Sequence[Mapping[str, Any]] | UnsetType = UNSET
    thinking: Mapping[str, Any] | UnsetType = UNSET
    thread: Mapping[str, Any] | UnsetType = UNSET
    tool_choice: Mapping[str, Any] | UnsetType = UNSET
    tools: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    user_profile_id: str | UnsetType = UNSET
    workspace_id: str | UnsetType = UNSET
