"""How the services differ that speak the Interactions API, and the fields that only this protocol has.

AI Studio has it at `https://HOST/v1beta/interactions`, Vertex AI at
`https://HOST/v1beta1/projects/P/locations/L/interactions` (2026-11-29:
https://docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rest/v1beta1/projects.locations.interactions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import ProviderOptions

__all__ = ["GoogleInteractionsOptions", "InteractionsQuirks"]


class InteractionsQuirks(Struct, frozen=True, kw_only=True):
    """One service's dialect. The defaults are AI Studio's."""

    revision: str | None = "2026-05-20"
    """The API's revision, sent in a header: the one with `steps` (2026-11-29:
    https://ai.google.dev/gemini-api/docs/interactions-breaking-changes-may-2026)."""
    agents: tuple[str, ...] = ("agents/", "deep-research-", "antigravity-")
    """How the names of agents begin, which are asked in the place of a model (2026-11-29:
    https://ai.google.dev/gemini-api/docs/deep-research). A folder is not part of the name."""
    files_url: str | None = "https://generativelanguage.googleapis.com/v1beta/"
    """What a file id (`files/…`) is put behind to make a URI; None where files have no ids."""
    listing: bool = True
    """`GET /models` below the base URL lists the models."""


class GoogleInteractionsOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of the Interactions API by their wire names: all but `model`, `input` and `stream`.

    See the API reference of "Creating an interaction" for their meaning. `generation_config` is merged with the
    general options; any other field given here wins over them. With `agent`, the request names no model.
    """

    protocol: ClassVar[str] = "google_interactions"

    agent: str | UnsetType = UNSET
    agent_config: Mapping[str, Any] | UnsetType = UNSET
    background: bool | UnsetType = UNSET
    cached_content: str | UnsetType = UNSET
    continuation_token: str | UnsetType = UNSET
    environment: str | Mapping[str, Any] | UnsetType = UNSET
    generation_config: Mapping[str, Any] | UnsetType = UNSET
    labels: Mapping[str, str] | UnsetType = UNSET
    previous_interaction_id: str | UnsetType = UNSET
    response_format: Any | UnsetType = UNSET
    response_mime_type: str | UnsetType = UNSET
    response_modalities: Sequence[str] | UnsetType = UNSET
    safety_settings: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    store: bool | UnsetType = UNSET
    system_instruction: str | UnsetType = UNSET
    tools: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    webhook_config: Mapping[str, Any] | UnsetType = UNSET
