"""The states and results of batches: many requests in one job, answered within hours at a lower price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from brainwires_provider.types.costs import Cost
from brainwires_provider.types.responses import Response

__all__ = ["BatchJob", "BatchResult", "BatchState", "Outcome"]

BatchState: TypeAlias = Literal["queued", "running", "ending", "done", "failed", "cancelled", "expired"]
"""`queued`: not begun, or not sent yet. `running`. `ending`: its results are being put together, or it is being
cancelled. The last four are final."""

Outcome: TypeAlias = Literal["succeeded", "errored", "expired", "cancelled", "missing"]
"""What became of one request. `missing`: the job has ended, and its results do not mention it."""


class BatchJob(Struct, frozen=True):
    """One of a batch's jobs, as its service last showed it."""

    id: str | None
    """The service's id. None: it was not created yet."""
    model: str
    """`"provider:model"`; where a job may mix models, that of its first request."""
    state: BatchState
    raw_state: str
    """The service's own word for the state; empty if the job was not created yet."""
    requests: int
    counts: Mapping[str, int] = field(default_factory=dict)
    """The service's own counters."""
    error: str | None = None
    """Why it failed as a whole."""


class BatchResult(Struct, frozen=True):
    """What became of one request of a batch."""

    id: str
    """The caller's id."""
    outcome: Outcome
    response: Response[Any] | None = None
    """The answer, if it succeeded."""
    error: Exception | None = None
    """A `ProviderError` that says what went wrong, if it did not succeed."""

    @property
    def cost(self) -> Cost | None:
        """What the answer cost, at the batch's rate; None without an answer or a known price."""
        return None if self.response is None else self.response.cost
