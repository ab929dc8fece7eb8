"""What a request needs of its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from brainwires_provider._core.attempt import Connections
from brainwires_provider._core.hooks import Hooks
from brainwires_provider._core.plan import Plan
from brainwires_provider._core.waits import Waits
from brainwires_provider.providers import Target
from brainwires_provider.types import Policies

if TYPE_CHECKING:
    from brainwires_provider._core.admission import Terms
    from brainwires_provider._core.telemetry import Instruments
    from brainwires_provider._core.watch import Watch
    from brainwires_provider.providers.prices import Prices

__all__ = ["SendingSession"]


class SendingSession(Connections, Protocol):
    """What a request needs of its session."""

    max_event_bytes: int
    max_parts: int
    has_prices: bool
    known_prices: dict[str, Prices]
    """By base URL, those that were loaded."""
    hooks: Hooks | None
    instruments: Instruments | None
    policies: Policies
    waits: Waits

    def terms(self, plan: Plan) -> Terms:
        """What the limits, the budget and the breaker of a call are kept by."""
        ...

    async def prices(self, target: Target, until: float | None = None) -> Prices:
        """What a target's tokens cost. Raises RequestTimeout at a time of the event loop."""
        ...

    def watch(self, plan: Plan) -> Watch:
        """What reports on a call, where somebody looks on."""
        ...
