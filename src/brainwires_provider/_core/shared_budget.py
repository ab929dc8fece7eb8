"""Budgets that processes and machines share: an account on the server, by the name of its scope.

What was spent is kept by the server, without an end. What a process that has died had reserved stays reserved, since
the provider may bill it. A server that comes back without its memory is given what its clients know.

One task talks to the server for all: what is asked for while a message is on its way is in the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

from brainwires_provider._core.budget import Account, Reserved, exceeded
from brainwires_provider._core.lifecycle import soon
from brainwires_provider._core.shared_scripts import BUDGET
from brainwires_provider._core.shared_server import TIMEOUT, Server, on_loop
from brainwires_provider._core.waits import closed
from brainwires_provider.errors import ProviderError
from brainwires_provider.types import Budget

if TYPE_CHECKING:
    import asyncio

__all__ = ["SharedAccount"]

_UNITS = 1_000_000_000
"""Of a dollar: whole numbers on the server, rounded up."""
_RETRY = 1.0


class Asked(NamedTuple):
    """Somebody who waits for what is to be reserved. The answer is the server's, and what there is too little of."""

    reserved: Reserved
    ask: dict[str, Any]
    future: asyncio.Future[tuple[str, Mapping[str, Any]]]


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
        self._asked: list[Asked] = []
        self._open: dict[str, Reserved] = {}
        self._ends: list[str] = []
        self._news: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    async def reserve(self, budget: Budget, usd: Decimal, tokens: int) -> Reserved:
        """Set this much aside. Raises BudgetExceededError where there is less, SharedServerError, ConfigError."""
        reserved = Reserved(usd, tokens, id=uuid4().hex)
        ask: dict[str, Any] = {"id": reserved.id, "usd": _units(usd), "tokens": tokens}
        if budget.usd is not None:
            ask["most_usd"] = int(Decimal(str(budget.usd)) * _UNITS)
        if budget.tokens is not None:
            ask["most_tokens"] = budget.tokens
        asked = Asked(reserved, ask, self._loop.create_future())
        self._asked.append(asked)
        self._wake()
        try:
            short, answer = await asked.future
        except GeneratorExit:  # the garbage collector's, in any thread, at any moment
            soon(self._loop, lambda: self._withdraw(asked))
            raise
        except BaseException:
            self._withdraw(asked)
            raise
        if short != "ok":
            raise _exceeded(short, answer, budget, usd, tokens)
        return reserved

    def _withdraw(self, asked: Asked) -> None:
        """Somebody waits no more."""
        asked.future.cancel()
        with suppress(ValueError):
            self._asked.remove(asked)
        if asked.reserved.id in self._open:  # it was answered as its caller left
            self._end(asked.reserved, Decimal(0), 0)

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
        self._begin()

    def _begin(self) -> None:
        if self._task is None:
            import asyncio

            self._news = asyncio.Event()
            self._task = self._loop.create_task(self._talk_on())

    def _wake(self) -> None:
        self._begin()
        if self._news is not None:
            self._news.set()

    async def _talk_on(self) -> None:
        """Until nobody waits, and the server knows of every end."""
        import asyncio

        assert self._news is not None
        try:
            while self._asked or self._ends:
                try:
                    await self._talk()
                except Exception:  # noqa: BLE001 (whatever it is: who waits has it as an error)
                    self._news.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_RETRY):
                            await self._news.wait()
        except asyncio.CancelledError:  # the loop ends, or the client is closed
            with suppress(Exception):
                await self._talk()
            raise
        finally:
            self._task = None

    async def _talk(self) -> None:
        """Once. Raises SharedServerError, ConfigError, which all who wait get too."""
        asked, ends, self._asked = self._asked, self._ends[:], []
        held = (f"{each.id},{_units(each.usd)},{each.tokens}" for each in self._open.values())
        message = {
            "owner": self._owner,
            "epoch": self._epoch,
            "spent": self._spent,
            "open": " ".join(held),
            "ends": " ".join(ends),
            "asks": [each.ask for each in asked],
        }
        try:
            answer = await self._server.run(BUDGET, self._keys, message)
        except BaseException as error:
            self._ends += [f"{each.reserved.id}:0,0,1" for each in asked]  # the server may have reserved it
            for each in asked + self._asked:
                if not each.future.done():
                    each.future.set_exception(_own(error))
            self._asked = []
            raise
        self._epoch, self._spent = answer["epoch"], answer["spent"]
        told = frozenset(ends)  # what was reported twice counts once
        self._ends = [each for each in self._ends if each not in told]
        for end in ends:
            self._open.pop(end.partition(":")[0], None)
        for each, short in zip(asked, answer["shorts"].split(","), strict=False):
            if short == "ok":
                self._open[each.reserved.id] = each.reserved
            if not each.future.done():
                each.future.set_result((short, answer))
            elif short == "ok":  # its caller has left
                self._end(each.reserved, Decimal(0), 0)


def _own(error: BaseException) -> Exception:
    """An error for one of those who wait."""
    if isinstance(error, ProviderError):
        return type(error)(error.message)
    return error if isinstance(error, Exception) else closed()


def _units(usd: Decimal) -> int:
    return int((usd * _UNITS).to_integral_value(ROUND_CEILING))


def _exceeded(
    short: str, answer: Mapping[str, Any], budget: Budget, usd: Decimal, tokens: int
) -> ProviderError:
    spent, reserved = (tuple(map(int, answer[name].split(","))) for name in ("spent", "reserved"))
    if short == "tokens":
        return exceeded(f"{budget.tokens} tokens", f"{spent[1]}", f"{reserved[1]}", f"{tokens}", budget.scope)
    spent_usd, reserved_usd = (Decimal(each[0]) / _UNITS for each in (spent, reserved))
    limit, asked = Decimal(str(budget.usd)), f"${usd:f}"
    return exceeded(f"${limit:f}", f"${spent_usd:f}", f"${reserved_usd:f}", asked, budget.scope)
