"""What a response's headers state of a provider's limits: which, how much is left, and for how long that holds.

Only limits of a minute, or of unstated length, which count as of one, are read. Read on 2026-11-29, in stored copies:
https://developers.openai.com/api/docs/guides/rate-limits (of 2026-06-26), https://console.groq.com/docs/rate-limits,
https://platform.claude.com/docs/en/api/rate-limits (of 2026), https://inference-docs.cerebras.ai/support/rate-limits,
https://docs.fireworks.ai/serverless/rate-limits, https://github.com/mistralai/client-ts/issues/169 (a response; the
vendor's own page, https://docs.mistral.ai/deployment/ai-studio/tier, names no headers).
Not found: a page of xAI (https://docs.x.ai/developers/rate-limits has limits, no headers) or Azure that lists them;
one of Together (searched on 2026-11-30) for its `x-ratelimit-limit` and `x-tokenlimit-limit`. Not of use: OpenRouter's
`X-RateLimit-*`, on its own refusals only and of a minute or a day alike (https://openrouter.ai/docs/api_reference/limits).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct

from brainwires_provider.protocols.base.errors import server_time

__all__ = ["Stated", "stated_limits"]

_LONGEST_RESET = 86_400.0
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_SPAN.pattern})+")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

# kind: the names of its limit, with {} in place of limit, remaining and reset.
_HEADERS: dict[str, tuple[str, ...]] = {
    "requests": ("x-ratelimit-{}-requests", "anthropic-ratelimit-requests-{}", "x-ratelimit-{}-req-minute"),
    "tokens": (
        "x-ratelimit-{}-tokens",  # OpenAI, Azure, Groq; unverified: xAI
        "anthropic-ratelimit-tokens-{}",
        "x-ratelimit-{}-tokens-minute",  # Mistral, Cerebras
    ),
    "input": ("anthropic-ratelimit-input-tokens-{}", "x-ratelimit-{}-tokens-prompt"),  # the second: Fireworks
    "output": ("anthropic-ratelimit-output-tokens-{}", "x-ratelimit-{}-tokens-generated"),
}

_NAMES = {
    kind: tuple(tuple(map(name.format, ("limit", "remaining", "reset"))) for name in names)
    for kind, names in _HEADERS.items()
}


class Stated(Struct, frozen=True, gc=False):
    """One limit as the provider states it."""

    limit: int | None
    remaining: int | None
    reset: float | None
    """Seconds until it counts less; None where none that is of use is stated: those of the limit's own window."""


def stated_limits(
    headers: Mapping[str, str], now: float, without: frozenset[str] = frozenset()
) -> dict[str, Stated]:
    """The limits by kind; `headers` have names in lower case, `now` is in seconds since 1970, if they have no `date`.

    `without`: the kinds that are of a day at this provider.
    """
    if "ratelimit" not in " ".join(headers):
        return {}
    found = {}
    for kind, names in _NAMES.items():
        if kind in without:
            continue
        for limit_name, remaining_name, reset_name in names:
            if limit_name in headers and (limit := _count(headers[limit_name], least=1)) is not None:
                remaining = _count(headers.get(remaining_name), least=0)
                found[kind] = Stated(limit, remaining, _seconds(headers, reset_name, now))
                break
    return found


def _count(text: str | None, *, least: int) -> int | None:
    """A whole number; some services state -1, or 0 as a limit, where they have none."""
    try:
        number = int(float(text or ""))
    except (ValueError, OverflowError):
        return None
    return number if number >= least else None


def _seconds(headers: Mapping[str, str], name: str, now: float) -> float | None:
    """A duration (`6m0s`, `172ms`), seconds, or a time by RFC 3339; one that is past is 0, an absurd one None."""
    known = _time(headers.get(name) or "")
    if known is None:
        return None
    seconds, is_moment = known
    if is_moment:
        seconds -= server_time(headers, now)
    seconds = max(0.0, seconds)
    return seconds if seconds <= _LONGEST_RESET else None


@lru_cache(256)
def _time(text: str) -> tuple[float, bool] | None:
    """A duration in seconds, or a moment (True) in seconds since 1970; None for what is neither."""
    if _DURATION.fullmatch(text):
        return sum(float(count) * _UNITS[unit] for count, unit in _SPAN.findall(text)), False
    try:
        return float(text), False
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), True
