"""How many tokens a request takes of a provider's limits: estimated before it is sent, corrected by its usage.

Providers count differently what a request reserves, and what counts against a limit afterwards; see `RULES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from brainwires_provider._core.limits import Amounts
from brainwires_provider.types import Usage

__all__ = ["Counting", "Size", "at_most", "estimated", "measured", "rule_of", "used"]

_BYTES_PER_TOKEN = 4
_MEDIA_LENGTH = 4_096  # a text without a blank, longer than this, is an encoded picture, sound or file
_MEDIA_TOKENS = 1_000
_LARGEST_MEDIA = 10_000
_FRAME = 8  # tokens that a service adds around a text
_USUAL_OUTPUT = 16_384
_MAX_TOKENS = frozenset(
    (
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "maxTokens",
        "num_predict",
    )
)
_SCALARS = frozenset((int, float, bool, type(None)))
_WITHIN = ("generationConfig", "inferenceConfig", "options")


class Counting(Struct, frozen=True, gc=False):
    """How one provider counts."""

    reserves_output: bool = True
    """The maximum output counts from the beginning."""
    counts_output: bool = True
    counts_cached: bool = True
    """Tokens read from a cache count like others."""
    daily: frozenset[str] = frozenset()
    """The kinds of limits whose headers are of a day, not of a minute."""


# Read on 2026-11-29, in stored copies of the pages; the date of a copy is given where it is known.
RULES: Mapping[str, Counting] = {
    # https://platform.claude.com/docs/en/api/rate-limits (copies of 2026): output counts as it is produced, max_tokens
    # does not; cache reads are free but for some old models. Copies of 2025 still reserve max_tokens.
    "anthropic": Counting(reserves_output=False, counts_cached=False),
    # https://console.groq.com/docs/rate-limits: cached tokens do not count; the headers' requests are of a day.
    "groq": Counting(counts_cached=False, daily=frozenset(("requests",))),
    # https://github.com/aws/agent-toolkit-for-aws (quota-health.md): cache reads are reserved, and given back at
    # the end. https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html: Claude's output
    # counts five times, which is not followed here: set the limit accordingly.
    "bedrock": Counting(counts_cached=False),
    "bedrock-invoke": Counting(counts_cached=False),
    # https://ai.google.dev/gemini-api/docs/rate-limits: tokens a minute are those of the input.
    "google": Counting(reserves_output=False, counts_output=False),
    "google-interactions": Counting(reserves_output=False, counts_output=False),
}
"""By provider. All others reserve the maximum output, and count all, as Cerebras
(https://inference-docs.cerebras.ai/support/rate-limits) and Azure do
(https://learn.microsoft.com/answers/questions/1839866). OpenAI reserves the larger one of the maximum and an estimate
of the request, so less than is reserved here: https://developers.openai.com/api/docs/guides/rate-limits, as others
quote it; no copy of the page with the sentence was found."""
_USUAL = Counting()


def rule_of(provider: str) -> Counting:
    """How a provider counts."""
    return RULES.get(provider, _USUAL)


class Size(Struct, frozen=True, gc=False):
    """What a request consists of."""

    characters: int
    bytes: int
    media: int
    """Pictures, sounds and files, which are no text."""
    values: int
    """All values in the body."""
    max_tokens: int
    """Of the output; 0 if it is not set."""


def measured(body: Mapping[str, Any] | None) -> Size:
    """The size of everything in a body that is text, in any place."""
    characters, size, media = 0, 0, 0
    values: list[Any] = [body or {}]
    for value in values:  # which grows meanwhile
        kind = type(value)  # an exact type is a tenth of the question to an abstract one
        if kind is str:
            length = len(value)
            if length > _MEDIA_LENGTH and " " not in value[:_MEDIA_LENGTH]:
                media += 1
            else:
                characters += length
                size += length if value.isascii() else len(value.encode("utf-8", "replace"))
        elif kind is dict:
            values += value.values()
        elif kind is list or kind is tuple:
            values += value
        elif kind not in _SCALARS and isinstance(value, Mapping):
            values += value.values()
    return Size(characters, size, media, len(values), _max_tokens(body or {}))


def estimated(size: Size, provider: str) -> Amounts:
    """What a request takes before its usage is known."""
    input = size.characters // _BYTES_PER_TOKEN + size.media * _MEDIA_TOKENS + 1
    return Amounts(1, input, size.max_tokens if RULES.get(provider, _USUAL).reserves_output else 0)


def at_most(size: Size, *, has_output: bool = True) -> tuple[int, int]:
    """The most input and output tokens that a request may use: no token is shorter than a byte."""
    input = size.bytes + size.media * _LARGEST_MEDIA + size.values * _FRAME
    return input, (size.max_tokens or _USUAL_OUTPUT) if has_output else 0


def used(usage: Usage, provider: str) -> Amounts:
    """What a request took."""
    rule = RULES.get(provider, _USUAL)
    cached = 0 if rule.counts_cached else usage.cache_read
    return Amounts(1, usage.input_tokens - cached, usage.output_tokens if rule.counts_output else 0)


def _max_tokens(body: Mapping[str, Any]) -> int:
    most = 0
    for place in (body, *map(body.get, _WITHIN)):
        if place and isinstance(place, dict) and not _MAX_TOKENS.isdisjoint(place):
            for name in _MAX_TOKENS & place.keys():
                if type(place[name]) is int and place[name] > most:
                    most = place[name]
    return most
