"""Whether an endpoint is asked at all, after it has failed too often: decisions without I/O.

A breaker is closed, and counts failures; open, and refuses every request; and after its rest it lets one request pass,
the probe, whose outcome decides. What the endpoint is not to blame for (a limit, a wrong request, a wrong key, a
cancelled call) is no outcome, and lets the next request be the probe. An answer to a request from before the breaker
opened says nothing of the endpoint's state now, and closes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from brainwires_provider._core.locks import Locked
from brainwires_provider.errors import (
    BreakerOpenError,
    OverloadedError,
    ProtocolError,
    ProviderError,
    RequestTimeout,
    ServerError,
    TransportError,
)
from brainwires_provider.types import Breaker, BreakerStats

if TYPE_CHECKING:
    from brainwires_provider.providers.resolve import Target

__all__ = ["Circuit", "Circuits", "Permit", "is_healthy"]

_FAULTS = (TransportError, ServerError, OverloadedError, ProtocolError)


def is_healthy(error: ProviderError | None) -> bool | None:
    """What an attempt's outcome shows of its endpoint: True, False, or None for nothing."""
    if error is None:
        return True
    if isinstance(error, BreakerOpenError) or (isinstance(error, RequestTimeout) and error.clock == "total"):
        return None  # nothing was sent; the caller has little time
    return False if isinstance(error, _FAULTS) else None


class Permit:
    """One request's leave to be sent. `age` is the number of times that the breaker had opened or closed before.

    Unless it `is_probe`, only its failure is of interest to the breaker.
    """

    __slots__ = ("age", "is_probe")

    def __init__(self, age: int, *, is_probe: bool = False) -> None:
        self.age = age
        self.is_probe = is_probe


class Circuit(Locked):
    """The breaker of one model at one address, shared by a client's event loops. `clock` gives seconds.

    While it is closed, all requests have one Permit, and neither asking nor leaving takes the lock.
    """

    def __init__(
        self, policy: Breaker, provider: str, model: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._policy = policy
        self._provider = provider
        self._model = model
        self._clock = clock
        self._failures: deque[float] = deque()
        self._opened_at: float | None = None
        self._probe: Permit | None = None
        self._age = 0
        self._usual = Permit(0)  # while it is closed

    def refusal(self, earlier: Permit | None = None) -> BreakerOpenError | None:
        """What a request would be refused with now, instead of an earlier one of the same call."""
        if self._opened_at is None:
            return None
        with self, self._lock:
            is_own = earlier is not None and earlier is self._probe
            return None if is_own else self._refusal(self._clock())

    def wait(self, seconds: float) -> float:
        """How long a retry waits that would be sent so late: not at all, if it would be refused then too."""
        refusal = self.refusal()
        return seconds if refusal is None or (refusal.retry_after or 0) <= seconds else 0.0

    def enter(self, earlier: Permit | None = None) -> Permit:
        """Leave for one request, instead of an earlier one of the same call. Raises BreakerOpenError."""
        if self._opened_at is None:
            return self._usual
        with self, self._lock:
            if earlier is not None and earlier is self._probe:
                self._probe = None
            if self._opened_at is None:
                return self._usual
            refusal = self._refusal(self._clock())
            if refusal is not None:
                raise refusal
            permit = self._probe = Permit(self._age, is_probe=True)
            return permit

    def leave(self, permit: Permit, healthy: bool | None) -> None:
        """What became of a request; see `is_healthy`. A request that was answered may still fail later."""
        if healthy is False or permit is self._probe:
            self._note(permit, healthy)

    def _end(self, permit: Permit, healthy: bool | None) -> None:
        now = self._clock()
        if permit is self._probe:
            self._probe = None
            if healthy:
                self._change(None)
                permit.age = self._age
            elif healthy is False:
                self._change(now)
        elif healthy is False and permit.age == self._age and self._opened_at is None:
            self._failures.append(now)
            if self._count(now) >= self._policy.failures:
                self._change(now)

    def stats(self) -> BreakerStats:
        """Its state now."""
        with self, self._lock:
            now = self._clock()
            if self._opened_at is None:
                return BreakerStats(self._provider, self._model, "closed", self._count(now))
            rest = self._rest(now)
            return BreakerStats(self._provider, self._model, "open" if rest else "half-open", 0, rest)

    def _refusal(self, now: float) -> BreakerOpenError | None:
        rest = self._rest(now)
        if self._opened_at is None or (not rest and self._probe is None):
            return None
        wait = f"it is asked again in {rest:.1f} s" if rest else "one request asks whether it answers again"
        return BreakerOpenError(
            f"{self._provider}:{self._model} has failed {self._policy.failures} times within "
            f"{self._policy.window:g} s (breaker): nothing was sent, and {wait}",
            retry_after=rest,
        )

    def _rest(self, now: float) -> float:
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._policy.rest - now)

    def _count(self, now: float) -> int:
        """The failures within the window."""
        while self._failures and self._failures[0] <= now - self._policy.window:
            self._failures.popleft()
        return len(self._failures)

    def _change(self, opened_at: float | None) -> None:
        self._age += 1
        self._usual = Permit(self._age)
        self._opened_at = opened_at  # last: `enter` looks at it without the lock
        self._failures.clear()


class Circuits:
    """The circuits of a client: one for each provider, address, model and policy."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, Breaker], Circuit] = {}

    def of(self, policy: Breaker, target: Target) -> Circuit:
        """What decides whether a target is asked."""
        place = target.provider, target.base_url, target.model, policy
        known = self._known.get(place)
        if known is None:
            known = self._known.setdefault(place, Circuit(policy, target.provider, target.model))
        return known

    def stats(self) -> tuple[BreakerStats, ...]:
        """The state of each."""
        return tuple(each.stats() for each in list(self._known.values()))
