"""How models and gateways differ behind Converse, and the fields that only this protocol has.

A quirk is a constructor argument; the provider's row picks it. Converse says the same to every model, but not every
model takes all of it. Which does is told by patterns over model names; an ARN names no model, so it passes them all.
"""

# ruff: noqa: N815  the fields bear the wire's own names

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import ProviderOptions

__all__ = ["BedrockOptions", "BedrockQuirks"]


class BedrockQuirks(Struct, frozen=True, kw_only=True):
    """One service's dialect. The defaults are Amazon Bedrock's own."""

    result_status: str = r"claude|nova|^arn:"
    """Models that take `status` in a tool's result."""
    prompt_caching: str = r"claude|nova|^arn:"
    """Models that take cache points."""
    tool_caching: str = r"claude|^arn:"
    """Models that take a cache point after tools."""
    own_reasoning_refused: str = r"deepseek"
    """Models that refuse to be shown their reasoning again."""
    system_turns: bool | None = None
    """Takes system messages in mid-conversation. None: as the model's name tells."""
    output_schema: bool = True
    """Takes `outputConfig.textFormat`; else the schema is put into words."""
    counting: bool = True
    """Has `POST /model/{modelId}/count-tokens`."""


class BedrockOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of Converse by their wire names: all but `modelId`, `messages` and `system`.

    See the API reference of "Converse" for their meaning. Objects are merged, member by member, with what the
    general knobs say; what is given here wins. `additionalModelRequestFields` holds the fields of one model.
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
