"""Counts tokens of a response; the API has no call that counts. Lists of models are read by `base.google`.

Reference: the API reference of `Usage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.protocols.base.google import Counts, split_counts
from brainwires_provider.types import Usage

__all__ = ["decode_usage"]

_COUNTS = Counts(
    prompt="total_input_tokens",
    cached="total_cached_tokens",
    output=("total_output_tokens",),
    thoughts="total_thought_tokens",
    tools="total_tool_use_tokens",
    total="total_tokens",
    audio="input_tokens_by_modality",
    cached_audio="cached_tokens_by_modality",
    modality="tokens",
)


def decode_usage(counts: Mapping[str, Any], last: Mapping[str, Any]) -> Usage:
    """`usage` as disjoint buckets; see `split_counts`."""
    return split_counts(_COUNTS, counts, last)
