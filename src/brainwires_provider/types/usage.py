"""What an answer cost, in tokens, in buckets that never overlap.

Providers nest their counts differently (cached inside prompt, or beside it). Here every token stands in
exactly one bucket, so that sums are sums; the provider's own object is kept in `raw`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

__all__ = ["TokenCount", "Usage"]


class Usage(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Token counts of one answer.

    The buckets plus `unattributed` equal `total_tokens`, the provider's own total. An impossible split (more
    cached than there was input) is clamped, and named in `anomalies`. `complete` is False when the answer was
    cut before its counts came, or the provider gave none. `passes` holds side passes billed beside the answer.
    """

    uncached_input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output_text: int = 0
    reasoning: int = 0
    tool_input: int = 0
    audio_input: int = 0
    unattributed: int = 0
    passes: tuple[Mapping[str, Any], ...] = ()
    anomalies: tuple[str, ...] = ()
    complete: bool = False
    raw: Mapping[str, Any] | None = None

    @property
    def input_tokens(self) -> int:
        """All that went in: uncached, read from and written to the cache, audio, and what server tools brought."""
        return self.uncached_input + self.cache_read + self.cache_write + self.tool_input + self.audio_input

    @property
    def output_tokens(self) -> int:
        """All that came out: the answer and the reasoning."""
        return self.output_text + self.reasoning

    @property
    def total_tokens(self) -> int:
        """The provider's own total (the sum of all buckets equals it)."""
        return self.input_tokens + self.output_tokens + self.unattributed


class TokenCount(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """How many tokens a request would take in. `raw` is the provider's whole answer."""

    input_tokens: int
    raw: Mapping[str, Any] | None = None


def split_usage(
    *,
    input_total: int,
    output_total: int,
    total: int | None = None,
    cache_read: int = 0,
    cache_write: int = 0,
    audio_input: int = 0,
    reasoning: int = 0,
    raw: Mapping[str, Any] | None = None,
) -> Usage:
    """Disjoint buckets from totals that *include* their details, as OpenAI-like services count.

    What does not fit is clamped, never negative, and named in `anomalies`.
    """
    anomalies: list[str] = []
    lowest = min(input_total, cache_read, cache_write, audio_input, output_total, reasoning)
    if lowest < 0 or cache_read + cache_write + audio_input > input_total:
        input_total = left = _not_negative("input", input_total, anomalies)
        left -= (cache_read := _fitting("cache_read", cache_read, left, anomalies))
        left -= (cache_write := _fitting("cache_write", cache_write, left, anomalies))
        audio_input = _fitting("audio_input", audio_input, left, anomalies)
        output_total = _not_negative("output", output_total, anomalies)
        reasoning = _not_negative("reasoning", reasoning, anomalies)
    if reasoning and total == input_total + output_total + reasoning:
        output_total += reasoning  # this service counts it beside the answer, not inside it: its total tells
    elif reasoning > output_total:
        anomalies.append(f"reasoning {reasoning} exceeds output {output_total}")
        reasoning = output_total
    used = input_total + output_total
    unattributed = 0 if total is None else total - used
    if unattributed < 0:
        anomalies.append(f"total {total} is less than input and output, {used}")
        unattributed = 0
    return Usage(
        uncached_input=input_total - cache_read - cache_write - audio_input,
        cache_read=cache_read,
        cache_write=cache_write,
        output_text=output_total - reasoning,
        reasoning=reasoning,
        audio_input=audio_input,
        unattributed=unattributed,
        anomalies=tuple(anomalies),
        complete=True,
        raw=raw,
    )


def _not_negative(name: str, count: int, anomalies: list[str]) -> int:
    if count < 0:
        anomalies.append(f"{name} is negative: {count}")
        return 0
    return count


def _fitting(name: str, count: int, left: int, anomalies: list[str]) -> int:
    count = _not_negative(name, count, anomalies)
    if count > left:
        anomalies.append(f"{name} {count} exceeds the {left} input tokens left")
        return left
    return count
