"""Budgets that processes and machines share: an account on the server, by the name of its scope.

What was spent is kept by the server, without an end. What a process that has died had reserved stays reserved, since
the provider may bill it. A server that comes back without its memory is given what its clients know.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

from brainwires_provider._core.budget import Account, Reserved, exceeded
from brainwires_provider._core.lifecycle import soon
from brainwires_provider._core.shared_scripts import BUDGET
from brainwires_provider._core.shared_server import TIMEOUT, Server, on_loop
from brainwires_provider.errors import ProviderError
from brainwires_provider.types import Budget

if TYPE_CHECKING:
    import asyncio

__all__ = ["SharedAccount"]

_UNITS = 1_000_000_000
"""Of a dollar: whole numbers on the server, rounded up."""
_RETRY = 1.0


class SharedAccount:
    """What was spent and is reserved in one scope by all processes, as one event loop sees it."""

    def __init__(self, server: Server, scope: str, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        name = f"brainwires:budget:{{{quote(scope, safe='')}}}"
        self._keys = tuple(f"{name}:{part}" for part in ("account", "open", "gone"))
        self._loop = loop
        self._owner = uuid4().hex
        self._epoch = ""
        self._spent = "0,0"
        self._open: dict[str, Reserved] = {}
        self._ends: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def reserve(self, budget: Budget, usd: Decimal, tokens: int) -> Reserved:
        """Set this much aside. Raises BudgetExceededError where there is less, SharedServerError, ConfigError."""
        reserved = Reserved(usd, tokens, id=uuid4().hex)
        ask: dict[str, Any] = {"id": reserved.id, "usd": _units(usd), "tokens": tokens}
        if budget.usd is not None:
            ask["most_usd"] = int(Decimal(str(budget.usd)) * _UNITS)
        if budget.tokens is not None:
            ask["most_tokens"] = budget.tokens
        try:
            answer = await self._ask(ask)
        except GeneratorExit:  # the garbage collector's, in any thread, at any moment
            soon(self._loop, lambda: self._end(reserved, Decimal(0), 0))
            raise
        except BaseException:
            self._end(reserved, Decimal(0), 0)  # the server may have reserved it
            raise
        if answer["short"]:
            raise _exceeded(answer, budget, usd, tokens)
        self._open[reserved.id] = reserved
        return reserved

    def settle(self, reserved: Reserved, usd: Decimal | None, tokens: int | None) -> None:
        """It has cost so much; None: as was reserved. Only the first time counts. From any thread."""
        spent = reserved.usd if usd is None else usd, reserved.tokens if tokens is None else tokens
        on_loop(self._loop, lambda: self._end(reserved, *spent))

    def stats(self) -> Account:
        """What was spent by all processes as the server said last, and what is reserved here."""
        known, spent = Account(), self._spent.split(",")
        known.usd, known.tokens = Decimal(spent[0]) / _UNITS, int(spent[1])
        known.reserved_usd = sum((each.usd for each in list(self._open.values())), Decimal(0))
        known.reserved_tokens = sum(each.tokens for each in list(self._open.values()))
        return known

    async def aclose(self) -> None:
        """Report what is not reported yet."""
        from asyncio import wait

        if self._task is not None:
            self._task.cancel()
            await wait((self._task,), timeout=2 * TIMEOUT)

    def _end(self, reserved: Reserved, usd: Decimal, tokens: int) -> None:
        """Send it to the server, which takes the first report of a reservation."""
        self._ends.append(f"{reserved.id}:{_units(usd)},{tokens}")
        if self._task is None:
            self._task = self._loop.create_task(self._report())

    async def _report(self) -> None:
        """Until the server knows of every end."""
        import asyncio

        try:
            while self._ends:
                try:
                    await self._ask({"id": ""})
                except ProviderError:
                    await asyncio.sleep(_RETRY)
        except asyncio.CancelledError:  # the loop ends, or the client is closed
            with suppress(ProviderError):
                await self._ask({"id": ""})
            raise
        finally:
            self._task = None

    async def _ask(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        ends = self._ends[:]
        held = (f"{each.id},{_units(each.usd)},{each.tokens}" for each in self._open.values())
        message = {
            "owner": self._owner,
            "epoch": self._epoch,
            "spent": self._spent,
            "open": " ".join(held),
            "ends": " ".join(ends),
            **ask,
        }
        answer = await self._server.run(BUDGET, self._keys, message)
        self._epoch, self._spent = answer["epoch"], answer["spent"]
        for end in ends:  # what was reported twice counts once
            with suppress(ValueError):
                self._ends.remove(end)
            self._open.pop(end.partition(":")[0], None)
        return answer


def _units(usd: Decimal) -> int:
    return int((usd * _UNITS).to_integral_value(ROUND_CEILING))


def _exceeded(answer: Mapping[str, Any], budget: Budget, usd: Decimal, tokens: int) -> ProviderError:
    spent, reserved = (tuple(map(int, answer[name].split(","))) for name in ("spent", "reserved"))
    if answer["short"] == "tokens":
        return exceeded(f"{budget.tokens} tokens", f"{spent[1]}", f"{reserved[1]}", f"{tokens}", budget.scope)
    spent_usd, reserved_usd = (Decimal(each[0]) / _UNITS for each in (spent, reserved))
    limit, asked = Decimal(str(budget.usd)), f"${usd:f}"
    return exceeded(f"${limit:f}", f"${spent_usd:f}", f"${reserved_usd:f}", asked, budget.scope)
