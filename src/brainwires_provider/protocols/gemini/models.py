"""Counts tokens, before a request and in its response. Lists of models are read by `base.google`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.google import Counts, google_error, split_counts
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.types import TokenCount, Usage

__all__ = ["decode_count", "decode_usage"]

_COUNTS = Counts(
    prompt="promptTokenCount",
    cached="cachedContentTokenCount",
    output=("candidatesTokenCount", "responseTokenCount"),
    thoughts="thoughtsTokenCount",
    tools="toolUsePromptTokenCount",
    total="totalTokenCount",
    audio="promptTokensDetails",
    cached_audio="cacheTokensDetails",
    modality="tokenCount",
)


def decode_usage(counts: Mapping[str, Any], last: Mapping[str, Any] | None = None) -> Usage:
    """`usageMetadata` as disjoint buckets; see `split_counts`."""
    return split_counts(_COUNTS, counts, last)


def decode_count(body: bytes) -> TokenCount:
    """The count of `{"totalTokens": …}`, which is left out when it is zero.

    Raises ProtocolError, and the APIError that an error object under status 200 is.
    """
    value = object_in(body, "the token count", google_error)
    count = value.get("totalTokens", 0 if "promptTokensDetails" in value else None)
    if type(count) is not int:
        raise ProtocolError(f"the body has no count of tokens: {looks_like(body)}")
    return TokenCount(count, value)
