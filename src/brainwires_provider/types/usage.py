"""Token counts of a response, in disjoint categories.

Providers nest their counts differently (cached tokens within the prompt's, or beside them). Here every token is
counted in exactly one field, so that fields can be added; the provider's own object is kept in `raw`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

__all__ = ["TokenCount", "Usage"]


class Usage(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Token counts of one response, each token in exactly one field.

    All counts together equal `total_tokens`, the provider's own total, and none is negative.
    """

    uncached_input: int = 0
    """Input tokens that were neither read from the prompt cache nor written to it."""
    cache_read: int = 0
    """Input tokens read from the prompt cache."""
    cache_write: int = 0
    """Input tokens written to the prompt cache."""
    output_text: int = 0
    """Output tokens other than reasoning: text, tool calls, refusals."""
    reasoning: int = 0
    """Output tokens spent on reasoning."""
    tool_input: int = 0
    """Input tokens that came from tools which the provider ran."""
    audio_input: int = 0
    """Input tokens of audio."""
    unattributed: int = 0
    """Tokens of the provider's total that none of its other counts explains."""
    passes: tuple[Mapping[str, Any], ...] = ()
    """Further passes that are billed beside the response, as the provider reported them."""
    anomalies: tuple[str, ...] = ()
    """Counts that contradicted each other, such as more cached than input tokens, and were reduced to fit."""
    complete: bool = False
    """False if the response was cut off before its counts arrived, or the provider sent none."""
    raw: Mapping[str, Any] | None = None
    """The provider's own usage object, unchanged; None if there was none."""

    @property
    def input_tokens(self) -> int:
        """All input tokens: uncached, read from and written to the cache, audio, and those from hosted tools."""
        return self.uncached_input + self.cache_read + self.cache_write + self.tool_input + self.audio_input

    @property
    def output_tokens(self) -> int:
        """All output tokens: text, tool calls and reasoning."""
        return self.output_text + self.reasoning

    @property
    def total_tokens(self) -> int:
        """The provider's own total, which equals the sum of all counts."""
        return (
            self.uncached_input
            + self.cache_read
            + self.cache_write
            + self.output_text
            + self.reasoning
            + self.tool_input
            + self.audio_input
            + self.unattributed
        )


class TokenCount(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """How many input tokens a request would have."""

    input_tokens: int
    """System prompt, tools and messages together."""
    raw: Mapping[str, Any] | None = None
    """The provider's response body, unchanged."""


def add_usage(*counts: Usage) -> Usage:
    """The sum of several responses' counts, complete if each of them is; `raw` is none's."""
    counted = [each for each in counts if each != Usage()]
    sums: dict[str, Any] = {name: sum(getattr(each, name) for each in counted) for name in _COUNTS}
    return Usage(
        **sums,
        passes=tuple(item for each in counted for item in each.passes),
        anomalies=tuple(item for each in counted for item in each.anomalies),
        complete=bool(counted) and all(each.complete for each in counted),
    )


_COUNTS = Usage.__struct_fields__[: Usage.__struct_fields__.index("passes")]


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
    """Disjoint counts from totals that *include* their details, as in OpenAI's and similar APIs.

    Cached tokens that `total` proves to be counted beside the input are part of it here. A count that does not fit is
    reduced, never below zero, and listed in `anomalies`.
    """
    anomalies: list[str] = []
    cached = cache_read + cache_write
    if cached > 0 and total == input_total + output_total + cached:
        input_total += cached
    lowest = min(input_total, cache_read, cache_write, audio_input, output_total, reasoning)
    if lowest < 0 or cache_read + cache_write + audio_input > input_total:
        input_total = left = _not_negative("input", input_total, anomalies)
        left -= (cache_read := _fitting("cache_read", cache_read, left, anomalies))
        left -= (cache_write := _fitting("cache_write", cache_write, left, anomalies))
        audio_input = _fitting("audio_input", audio_input, left, anomalies)
        output_total = _not_negative("output", output_total, anomalies)
        reasoning = _not_negative("reasoning", reasoning, anomalies)
    if reasoning and total == input_total + output_total + reasoning:
        output_total += reasoning  # by its total, this service counts reasoning beside the output
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
