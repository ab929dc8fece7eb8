"""How models and gateways differ behind Converse, and the fields that only this protocol has.

A quirk is a constructor argument; the provider's table entry sets it. Converse is one format for every model, but not
every model takes all of it: which one does, its facts state.
"""

# ruff: noqa: N815  the fields bear the wire's own names

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import ProviderOptions

__all__ = ["MEDIA_FORMATS", "BedrockOptions", "BedrockQuirks"]

MEDIA_FORMATS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "image": {
            "image/png": "png",
            "image/jpeg": "jpeg",
            "image/jpg": "jpeg",
            "image/gif": "gif",
            "image/webp": "webp",
        },
        "document": {
            "application/pdf": "pdf",
            "text/csv": "csv",
            "application/msword": "doc",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
            "application/vnd.ms-excel": "xls",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
            "text/html": "html",
            "text/plain": "txt",
            "text/markdown": "md",
        },
        "video": {
            "video/mp4": "mp4",
            "video/x-matroska": "mkv",
            "video/quicktime": "mov",
            "video/webm": "webm",
            "video/x-flv": "flv",
            "video/mpeg": "mpeg",
            "video/x-ms-wmv": "wmv",
            "video/3gpp": "three_gp",
        },
        "audio": {
            "audio/mpeg": "mp3",
            "audio/mp3": "mp3",
            "audio/wav": "wav",
            "audio/x-wav": "wav",
            "audio/flac": "flac",
            "audio/ogg": "ogg",
            "audio/opus": "opus",
            "audio/aac": "aac",
            "audio/x-aac": "x-aac",
            "audio/mp4": "mp4",
            "audio/x-m4a": "m4a",
            "audio/webm": "webm",
            "audio/x-matroska": "mka",
            "audio/pcm": "pcm",
            "audio/l16": "pcm",
        },
    }
)
"""The wire's name of a media type, by the member that holds the media."""


class BedrockQuirks(Struct, frozen=True, kw_only=True):
    """What is different at one service. The defaults are Amazon Bedrock's own."""

    system_turns: bool | None = None
    """Takes system messages in mid-conversation. None: as the model's facts say."""
    short_id_models: str = r"mistral|magistral|ministral|pixtral"
    """A pattern of models that take ids of calls with nine letters and digits only (2026-11:
    https://github.com/langchain-ai/langchain/pull/24668; the models' own check, whatever service leads to them)."""
    output_schema: bool = True
    """Takes `outputConfig.textFormat`; else the schema is put into words."""
    counting: bool = True
    """Has `POST /model/{modelId}/count-tokens`."""


class BedrockOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of Converse by their wire names: all but `modelId`, `messages` and `system`.

    See the API reference of "Converse" for their meaning. Objects are merged, member by member, with the
    general options; what is given here wins. `additionalModelRequestFields` holds the fields of one model.
    """

    protocol: ClassVar[str] = "bedrock_converse"

    additionalModelRequestFields: Mapping[str, Any] | UnsetType = UNSET
    additionalModelResponseFieldPaths: Sequence[str] | UnsetType = UNSET
    guardrailConfig: Mapping[str, Any] | UnsetType = UNSET
    inferenceConfig: Mapping[str, Any] | UnsetType = UNSET
    outputConfig: Mapping[str, Any] | UnsetType = UNSET
    performanceConfig: Mapping[str, Any] | UnsetType = UNSET
    promptVariables: Mapping[str, Any] | UnsetType = UNSET
    requestMetadata: Mapping[str, str] | UnsetType = UNSET
    serviceTier: Mapping[str, Any] | UnsetType = UNSET
    toolConfig: Mapping[str, Any] | UnsetType = UNSET
