"""Whether a failed attempt is followed by another, and after how many seconds: decisions without I/O.

An attempt may be repeated while nothing of it commits (`attempt.commits`): text, a refusal, a call, or anything that
the provider ran. Waits are drawn with full jitter, so that clients which failed together do not return
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from brainwires_provider.errors import (
    APIError,
    BreakerOpenError,
    ConnectError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
)
from brainwires_provider.types import Policies, Retry

if TYPE_CHECKING:
    from brainwires_provider._core.plan import Plan

__all__ = ["DEFAULT_RETRY", "NO_RETRY", "is_worth_retrying", "next_delay", "retry_of"]

DEFAULT_RETRY = Retry()
NO_RETRY = Retry(attempts=1)

_LARGEST_EXPONENT = 60


def is_worth_retrying(error: ProviderError, headers: Mapping[str, str], *, is_stored: bool) -> bool:
    """Whether the same request may succeed later.

    `headers` are those of a refusal. An answer that the provider stores (`is_stored`) may exist already unless the
    request was refused or never arrived.
    """
    if isinstance(error, BreakerOpenError) or (isinstance(error, RequestTimeout) and error.clock == "total"):
        return False
    if is_stored and not isinstance(error, ConnectError | RateLimitError | OverloadedError):
        return False
    wish = headers.get("x-should-retry") if isinstance(error, APIError) else None
    if wish == "false":
        return False
    if wish == "true" and not isinstance(
        error, RateLimitError
    ):  # one that is not retryable is a used-up quota
        return True
    return error.retryable


def retry_of(plan: Plan, client: Policies) -> Retry:
    """The policy of a call: its own, its client's, or the usual one; models on this machine are asked once."""
    own = (plan.policies or client).retry
    return own or (NO_RETRY if plan.target.row.transport == "local" else DEFAULT_RETRY)


def next_delay(
    retry: Retry, error: ProviderError, *, failed: int, left: float | None, fraction: float
) -> float | None:
    """Seconds until the next attempt; None if there is none within the policy and the time that is `left`.

    `failed` attempts were made so far; `fraction`, from 0 to 1, is random.
    """
    if failed >= retry.attempts:
        return None
    wait = fraction * min(retry.cap, retry.base * 2.0 ** min(failed - 1, _LARGEST_EXPONENT))
    asked = getattr(error, "retry_after", None)
    if asked is not None:
        if asked > retry.longest_wait:
            return None
        wait += asked
    return None if left is not None and wait >= left else wait
