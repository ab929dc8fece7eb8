"""How servers with Ollama's API differ, and the request fields that only this protocol has.

A quirk is an argument of the protocol's constructor, which the provider's table entry sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from brainwires_provider.framing.ndjson import NDJSONFraming
from brainwires_provider.types import ProviderOptions

__all__ = ["GENERATE_ONLY", "NDJSON", "OllamaOptions", "OllamaQuirks"]

NDJSON: Mapping[str, str] = {"Accept": NDJSONFraming.media_type}
"""The headers of a streamed request."""


class OllamaQuirks(Struct, frozen=True, kw_only=True):
    """What one server accepts: no server with this API differs from Ollama's own so far."""


class OllamaOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of `/api/chat` and `/api/generate` by their wire names.

    `options` (num_ctx, repeat_penalty, mirostat, …) is merged over the general options; any other field given
    here wins over them. `keep_alive` is a duration ("10m") or seconds, negative for ever. `context`, `height`, `raw`,
    `steps`, `suffix`, `template` and `width` are fields of `/api/generate` alone: in a chat they are reported dropped.
    See the API reference, "Generate a chat message" and "Generate a response", for the others.
    """

    protocol: ClassVar[str] = "ollama"

    context: Sequence[int] | UnsetType = UNSET
    format: str | Mapping[str, Any] | UnsetType = UNSET
    height: int | UnsetType = UNSET
    keep_alive: str | float | UnsetType = UNSET
    logprobs: bool | UnsetType = UNSET
    options: Mapping[str, Any] | UnsetType = UNSET
    raw: bool | UnsetType = UNSET
    shift: bool | UnsetType = UNSET
    steps: int | UnsetType = UNSET
    suffix: str | UnsetType = UNSET
    template: str | UnsetType = UNSET
    think: bool | str | UnsetType = UNSET
    top_logprobs: int | UnsetType = UNSET
    truncate: bool | UnsetType = UNSET
    width: int | UnsetType = UNSET


GENERATE_ONLY = frozenset(("context", "height", "raw", "steps", "suffix", "template", "width"))
"""The fields that a chat does not take."""
