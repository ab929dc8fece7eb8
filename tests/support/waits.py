"""A client's waits without waiting: what was slept is noted, and the random fraction is the test's."""

from __future__ import annotations

import asyncio
from typing import Any

from brainwires_provider import AsyncClient
from brainwires_provider._core.waits import Waits


class NotedWaits(Waits):
    """Every sleep ends at once. `fraction` is what a random number would be."""

    def __init__(self, fraction: float = 0.5) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._fraction = fraction

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def fraction(self) -> float:
        return self._fraction


def noted(client: AsyncClient, fraction: float = 0.5) -> NotedWaits:
    """The waits of a client, from now on."""
    session: Any = client._session
    waits = session.waits = NotedWaits(fraction)
    return waits
