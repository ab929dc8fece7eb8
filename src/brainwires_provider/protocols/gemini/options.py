"""How the services differ that speak generateContent, and the fields that only this protocol has.

AI Studio and Vertex AI speak the same protocol below different base URLs: `https://HOST/v1beta`, and
`https://HOST/v1/projects/P/locations/L/publishers/google` (with an express key: `https://HOST/v1/publishers/google`).
What else differs is a quirk; what differs by model comes with the model's facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import Effort, ProviderOptions

__all__ = ["GENERATION_FIELDS", "GeminiOptions", "GeminiQuirks"]

_BUDGETS: Mapping[Effort, int] = MappingProxyType(
    {"off": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "max": 24576}
)


class GeminiQuirks(Struct, frozen=True, kw_only=True):
    """One service's dialect. The defaults are AI Studio's."""

    json_schema: bool = True
    """Takes JSON Schema as it is, in `parametersJsonSchema` and `responseJsonSchema`; else schemas are compiled."""
    budgets: Mapping[Effort, int] = _BUDGETS
    """Budgets of thinking in tokens, for the models that take no level."""
    placeholder: str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
    """The documented signature for calls that another model made: base64 of `skip_thought_signature_validator`."""
    files_url: str | None = "https://generativelanguage.googleapis.com/v1beta/"
    """What a file id (`files/…`) is put behind to make a URI; None where files have no ids."""
    display_names: bool = False
    """Takes a file's name beside its bytes."""
    counting: Literal["request", "fields"] = "request"
    """`:countTokens` takes the whole request as `generateContentRequest`, or some of its fields."""
    listing: bool = True
    """`GET /models` below the base URL lists the models."""


class GeminiOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of generateContent by their wire names, those of `generationConfig` among them.

    See the API reference of `models.generateContent` (on Vertex AI: `publishers.models.generateContent`) for their
    meaning. `generationConfig`, `toolConfig` and `thinkingConfig` are merged with the general options; any
    other field given here wins over them.
    """

    protocol: ClassVar[str] = "gemini"

    cachedContent: str | UnsetType = UNSET  # noqa: N815
    continuationToken: str | UnsetType = UNSET  # noqa: N815
    generationConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    labels: Mapping[str, str] | UnsetType = UNSET
    modelArmorConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    outputConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    safetySettings: Sequence[Mapping[str, Any]] | UnsetType = UNSET  # noqa: N815
    serviceTier: str | UnsetType = UNSET  # noqa: N815
    store: bool | UnsetType = UNSET
    systemInstruction: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    toolConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    tools: Sequence[Mapping[str, Any]] | UnsetType = UNSET

    audioTimestamp: bool | UnsetType = UNSET  # noqa: N815
    audioTranscriptionConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    candidateCount: int | UnsetType = UNSET  # noqa: N815
    enableAffectiveDialog: bool | UnsetType = UNSET  # noqa: N815
    enableEnhancedCivicAnswers: bool | UnsetType = UNSET  # noqa: N815
    frequencyPenalty: float | UnsetType = UNSET  # noqa: N815
    imageConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    logprobs: int | UnsetType = UNSET
    maxOutputTokens: int | UnsetType = UNSET  # noqa: N815
    mediaResolution: str | UnsetType = UNSET  # noqa: N815
    modelConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    presencePenalty: float | UnsetType = UNSET  # noqa: N815
    responseFormat: Any | UnsetType = UNSET  # noqa: N815
    responseJsonSchema: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    responseLogprobs: bool | UnsetType = UNSET  # noqa: N815
    responseMimeType: str | UnsetType = UNSET  # noqa: N815
    responseModalities: Sequence[str] | UnsetType = UNSET  # noqa: N815
    responseSchema: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    routingConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    seed: int | UnsetType = UNSET
    speechConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    stopSequences: Sequence[str] | UnsetType = UNSET  # noqa: N815
    temperature: float | UnsetType = UNSET
    thinkingConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    topK: int | UnsetType = UNSET  # noqa: N815
    topP: float | UnsetType = UNSET  # noqa: N815
    translationConfig: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815


_REQUEST_FIELDS = frozenset(
    (
        "cachedContent",
        "continuationToken",
        "generationConfig",
        "labels",
        "modelArmorConfig",
        "outputConfig",
        "safetySettings",
        "serviceTier",
        "store",
        "systemInstruction",
        "toolConfig",
        "tools",
    )
)
GENERATION_FIELDS = frozenset(GeminiOptions.__struct_fields__) - _REQUEST_FIELDS
"""The options that lie in `generationConfig`."""
