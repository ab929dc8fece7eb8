"""How relays may differ, and the fields that only this protocol has.

A quirk is a constructor argument, set by the provider's entry in the table. Nothing tests for a provider's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.types import ProviderOptions

__all__ = ["BrainwiresOptions", "RelayQuirks"]


class RelayQuirks(Struct, frozen=True, kw_only=True):
    """One relay's dialect. The defaults are Brainwires Studio's."""

    timezone: str | None = "UTC"
    """What is said where none is given: every known client says one, so nothing shows that it may be left out."""
    server: str = "cli-local"
    """The MCP server that tools answered by the caller are said to be of."""


class BrainwiresOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of `/api/chat/stream` by their wire names: all but `content`, `model` and the history.

    `selectedMCPTools` come after those of `tools`; any other field given here wins over what is said elsewhere.
    `previousResponseId` is the answer that is gone on with: without it, that of the one tool call that is answered;
    with None no answer, so that the call and its result go in the history. `timezone` is a name ("Europe/Paris");
    with None none is sent.
    """

    protocol: ClassVar[str] = "relay"

    chatId: str | UnsetType = UNSET  # noqa: N815
    functionCallOutput: Mapping[str, Any] | UnsetType = UNSET  # noqa: N815
    previousResponseId: str | UnsetType | None = UNSET  # noqa: N815
    selectedMCPTools: Sequence[Mapping[str, Any]] | UnsetType = UNSET  # noqa: N815
    systemPrompt: str | UnsetType = UNSET  # noqa: N815
    temperature: float | UnsetType = UNSET
    timezone: str | UnsetType | None = UNSET
