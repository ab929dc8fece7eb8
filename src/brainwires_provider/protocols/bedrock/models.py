"""Reads the model list of Bedrock's control plane: foundation models at once, then inference profiles by page.

Newer models answer only under a profile's id, so the profiles belong to the list.
Reference: `ListFoundationModels` and `ListInferenceProfiles` of the API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.models import (
    able,
    able_by_modality,
    day_of,
    lower_words,
    object_of,
    read_json,
    seconds_of,
    stage_of,
    text_of,
)
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types import Model

__all__ = ["decode_page", "page_call"]

_PAGE = "1000"
_FIRST_PROFILES = ""
"""The cursor of the first page of profiles; of the others it is the service's token."""


def page_call(after: str | None) -> Call:
    """The foundation models, or the page of profiles at a cursor."""
    if after is None:
        return Call("/foundation-models", {}, method="GET")
    query = {"maxResults": _PAGE} | ({"nextToken": after} if after else {})
    return Call("/inference-profiles", {}, method="GET", query=query)


def decode_page(body: bytes, provider: str) -> tuple[list[Model], str | None]:
    """One page, and the cursor of the next: the profiles follow the models. Raises ProtocolError."""
    value = object_of(read_json(body, provider))
    models, profiles = value.get("modelSummaries"), value.get("inferenceProfileSummaries")
    if isinstance(models, list):
        named = (entry for entry in models if text_of(object_of(entry).get("modelId")))
        return [_model(entry, provider) for entry in named], _FIRST_PROFILES
    if isinstance(profiles, list):
        named = (entry for entry in profiles if _profile_id(object_of(entry)))
        return [_profile(entry, provider) for entry in named], text_of(value.get("nextToken"))
    raise ProtocolError(f"the body has no list of models: {looks_like(body)}", provider=provider)


def _model(entry: Mapping[str, Any], provider: str) -> Model:
    accepted, produced = lower_words(entry.get("inputModalities")), lower_words(entry.get("outputModalities"))
    life = object_of(entry.get("modelLifecycle"))
    return Model(
        id=entry["modelId"],
        provider=provider,
        display_name=text_of(entry.get("modelName")),
        owner=text_of(entry.get("providerName")),
        created=seconds_of(life.get("startOfLifeTime")),
        # Text in and out does not mean chat: models that rank texts have the same.
        capabilities=able(able_by_modality(accepted, produced)) if accepted or produced else None,
        raw=entry,
        lifecycle=stage_of(life.get("status")),
        deprecated=day_of(life.get("legacyTime")),
        retires=day_of(life.get("endOfLifeTime")),
        input_modalities=accepted,
        output_modalities=produced,
    )


def _profile_id(entry: Mapping[str, Any]) -> str | None:
    """An account's own profiles go by their ARN, Bedrock's by an id."""
    if entry.get("type") == "APPLICATION":
        return text_of(entry.get("inferenceProfileArn"))
    return text_of(entry.get("inferenceProfileId"))


def _profile(entry: Mapping[str, Any], provider: str) -> Model:
    return Model(
        id=_profile_id(entry) or "",
        provider=provider,
        display_name=text_of(entry.get("inferenceProfileName")),
        created=seconds_of(entry.get("createdAt")),
        raw=entry,
        lifecycle=stage_of(entry.get("status")),
    )
