"""The fields that only the native API of llama.cpp's server has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec import UNSET, UnsetType

from brainwires_provider.types import ProviderOptions

__all__ = ["LlamaCppOptions"]


class LlamaCppOptions(ProviderOptions, frozen=True, kw_only=True):
    """The request fields of `POST /completion` by their wire names; any given here wins over the general options.

    See "POST /completion" in the server's README for their meaning.
    """

    protocol: ClassVar[str] = "llamacpp"

    cache_prompt: bool | UnsetType = UNSET
    dry_allowed_length: int | UnsetType = UNSET
    dry_base: float | UnsetType = UNSET
    dry_multiplier: float | UnsetType = UNSET
    dry_penalty_last_n: int | UnsetType = UNSET
    dry_sequence_breakers: Sequence[str] | UnsetType = UNSET
    dynatemp_exponent: float | UnsetType = UNSET
    dynatemp_range: float | UnsetType = UNSET
    grammar: str | UnsetType = UNSET
    id_slot: int | UnsetType = UNSET
    ignore_eos: bool | UnsetType = UNSET
    json_schema: Mapping[str, Any] | UnsetType = UNSET
    logit_bias: Sequence[Any] | Mapping[str, Any] | UnsetType = UNSET
    lora: Sequence[Mapping[str, Any]] | UnsetType = UNSET
    min_keep: int | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    mirostat: int | UnsetType = UNSET
    mirostat_eta: float | UnsetType = UNSET
    mirostat_tau: float | UnsetType = UNSET
    n_indent: int | UnsetType = UNSET
    n_keep: int | UnsetType = UNSET
    n_probs: int | UnsetType = UNSET
    post_sampling_probs: bool | UnsetType = UNSET
    repeat_last_n: int | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    response_fields: Sequence[str] | UnsetType = UNSET
    return_progress: bool | UnsetType = UNSET
    return_tokens: bool | UnsetType = UNSET
    samplers: Sequence[str] | UnsetType = UNSET
    t_max_predict_ms: int | UnsetType = UNSET
    timings_per_token: bool | UnsetType = UNSET
    typical_p: float | UnsetType = UNSET
    xtc_probability: float | UnsetType = UNSET
    xtc_threshold: float | UnsetType = UNSET
