"""What failed attempts have cost."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from brainwires_provider.types.costs import Cost, added_cost
from brainwires_provider.types.responses import Attempt

__all__ = ["cost_of", "costs_of", "is_counted"]


def is_counted(attempt: Attempt) -> bool:
    """Whether a failed attempt cost nothing, or its usage is known."""
    return attempt.usage is not None or not (
        attempt.may_be_billed or attempt.superseded or attempt.is_cancelled
    )


def cost_of(attempts: Iterable[Attempt], *others: Cost | None) -> Cost | None:
    """The sum of other costs and of failed attempts; not complete where one may be billed, and is not known."""
    costs = [*others, *costs_of(attempts)]
    return reduce(added_cost, costs) if costs else None


def costs_of(attempts: Iterable[Attempt]) -> list[Cost | None]:
    """Of the failed attempts that have cost something, or may have: None where it is not known."""
    return [each.cost for each in attempts if each.usage is not None or not is_counted(each)]
