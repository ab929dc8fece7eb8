"""What a response costs."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

__all__ = ["Cost"]


class Cost(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """The price of one call's tokens: of its response, and of the attempts that failed before."""

    usd: Decimal
    """In US dollars."""
    prices: str
    """The table of prices, with its version."""
    complete: bool = True
    """False where something is not in it: tools that the provider ran, counts that are missing, an unknown tier."""


def added_cost(first: Cost | None, second: Cost | None) -> Cost | None:
    """The sum of two calls' prices; it is not complete where one of them is not known."""
    if first is None or second is None:
        known = first or second
        return None if known is None else replace(known, complete=False)
    return replace(first, usd=first.usd + second.usd, complete=first.complete and second.complete)
