"""What may be spent, of dollars and of tokens: reserved before a request is sent, corrected afterwards. No I/O.

A reservation is an upper bound as far as a request can have one: no token is shorter than a byte, and no answer longer
than its maximum. So what is spent exceeds a budget, however many requests run at once, by no more than single ones
used beyond their bounds: for history that the provider keeps, a large file, an answer without a maximum. What a
request has cost is counted when it is known; what failed before an answer costs nothing, and what was cut counts as
reserved where its usage is not known.
"""

from __future__ import annotations

import os
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec import Struct

from brainwires_provider._core.locks import Locked
from brainwires_provider.errors import BudgetExceededError
from brainwires_provider.types import Budget

__all__ = ["Account", "Reserved", "account_of", "exceeded"]


class Reserved(Struct, gc=False):
    """What one request has reserved, until it is settled."""

    usd: Decimal
    tokens: int
    is_open: bool = True
    id: str = ""
    """Its name where the account is shared."""


class Account(Locked):
    """What was spent and is reserved in one scope. Safe in threads."""

    def __init__(self) -> None:
        super().__init__()
        self.usd = Decimal(0)
        self.tokens = 0
        self.reserved_usd = Decimal(0)
        self.reserved_tokens = 0

    def counted(self) -> dict[str, Any]:
        """The fields of `ClientStats` that state it."""
        return {
            "spent_usd": self.usd,
            "spent_tokens": self.tokens,
            "reserved_usd": self.reserved_usd,
            "reserved_tokens": self.reserved_tokens,
        }

    def reserve(self, budget: Budget, usd: Decimal, tokens: int) -> Reserved:
        """Set this much aside. Raises BudgetExceededError where there is less."""
        refused = None
        with self._lock:
            reserved_usd, reserved_tokens = self.reserved_usd + usd, self.reserved_tokens + tokens
            if budget.usd is not None and self.usd + reserved_usd > (limit := _exact(budget.usd)):
                spent, reserved = f"${self.usd}", f"${self.reserved_usd}"
                refused = exceeded(f"${limit}", spent, reserved, f"${usd}", budget.scope)
            elif budget.tokens is not None and self.tokens + reserved_tokens > budget.tokens:
                spent, reserved = f"{self.tokens}", f"{self.reserved_tokens}"
                refused = exceeded(f"{budget.tokens} tokens", spent, reserved, f"{tokens}", budget.scope)
            else:
                self.reserved_usd, self.reserved_tokens = reserved_usd, reserved_tokens
        if self._noted:
            self._catch_up()
        if refused is not None:
            raise refused
        return Reserved(usd, tokens)

    def settle(self, reserved: Reserved, usd: Decimal | None, tokens: int | None) -> None:
        """It has cost so much; None: as was reserved. Only the first time counts."""
        self._note(reserved, usd, tokens)

    def _end(self, reserved: Reserved, usd: Decimal | None, tokens: int | None) -> None:
        if reserved.is_open:
            reserved.is_open = False
            self.reserved_usd -= reserved.usd
            self.reserved_tokens -= reserved.tokens
            self.usd += reserved.usd if usd is None else usd
            self.tokens += reserved.tokens if tokens is None else tokens


@lru_cache(64, typed=True)
def _exact(usd: Decimal | float) -> Decimal:
    return usd if isinstance(usd, Decimal) else Decimal(str(usd))


def exceeded(limit: str, spent: str, reserved: str, asked: str, scope: str) -> BudgetExceededError:
    """The error of a request that a budget is too small for."""
    return BudgetExceededError(
        f"the budget of {limit} (scope {scope!r}) is too small for this request: {spent} spent, {reserved} reserved "
        f"by requests in progress, up to {asked} for this one; nothing was sent. A smaller max_tokens reserves less"
    )


_shared: dict[tuple[int, str], Account] = {}


def account_of(scope: str, own: Account) -> Account:
    """The account of a scope: `own` for a client's, else one for all clients of this process, forked ones not."""
    return own if scope == "client" else _shared.setdefault((os.getpid(), scope), Account())
