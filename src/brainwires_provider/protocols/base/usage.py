"""Counts of tokens under OpenAI's names, and under those that its followers have given them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from brainwires_provider.types import Usage
from brainwires_provider.types.usage import split_usage

__all__ = ["usage_of"]


class _Details(Struct):
    """Parts of a total."""

    cached_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Counts(Struct):
    """What is read of a `usage` object."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    prompt_token_details: _Details | None = None  # Mistral
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    num_cached_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cached_tokens: int | None = None


_NO_DETAILS = _Details()
_LARGEST = 2**63  # what counts are read as


def usage_of(counts: Mapping[str, Any]) -> Usage:
    """The buckets of a `usage` object. The details are parts of the totals, whatever a service calls them."""
    if not counts:
        return Usage()
    try:
        told = msgspec.convert(counts, _Counts)
    except (msgspec.ValidationError, UnicodeEncodeError):
        told = msgspec.convert(_mended(counts), _Counts)
    prompt = told.prompt_tokens_details or told.prompt_token_details or _NO_DETAILS
    completion = told.completion_tokens_details or _NO_DETAILS
    read = (
        prompt.cached_tokens
        or prompt.cache_read_input_tokens
        or told.prompt_cache_hit_tokens
        or told.num_cached_tokens
        or told.cached_tokens
        or 0
    )
    written = (
        prompt.cache_write_tokens
        or prompt.cache_creation_tokens
        or prompt.cache_creation_input_tokens
        or told.cache_creation_input_tokens
        or 0
    )
    return split_usage(
        input_total=told.prompt_tokens or 0,
        output_total=told.completion_tokens or 0,
        total=told.total_tokens,
        cache_read=read,
        cache_write=written,
        audio_input=prompt.audio_tokens or 0,
        reasoning=completion.reasoning_tokens or 0,
        raw=dict(counts),
    )


def _mended(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Whole numbers where counts are due; what is no number, or no object of details, counts nothing."""
    mended: dict[str, Any] = {}
    for name, value in counts.items():
        if not name.isidentifier():
            continue  # no name of a count, and perhaps no text that can be encoded
        if name.endswith("_details"):
            mended[name] = _mended(value) if isinstance(value, dict) else None
        else:
            mended[name] = None if value is None else _count(value)
    return mended


def _count(value: Any) -> int:
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) else 0
    return int(value) if isinstance(value, int) and abs(value) < _LARGEST else 0
