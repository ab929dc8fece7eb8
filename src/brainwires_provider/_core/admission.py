"""What an attempt has to reserve before it is sent, of limits and budgets, and what of it is settled afterwards.

A call without limits and without a budget has no Admission.
"""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from msgspec import Struct

from brainwires_provider._core.attempt import Attempt
from brainwires_provider._core.budget import Account, Reserved, account_of
from brainwires_provider._core.counting import Size, at_most, estimated, limits_at, measured, rule_of, used
from brainwires_provider._core.deadlines import running_loop
from brainwires_provider._core.gate import Gate
from brainwires_provider._core.limits import Amounts, Ticket
from brainwires_provider._core.plan import Plan
from brainwires_provider._core.waits import Waits
from brainwires_provider.errors import ConfigError, ConnectError, ProviderError, RequestTimeout
from brainwires_provider.providers import Target
from brainwires_provider.providers.prices import Prices, tier_of
from brainwires_provider.types import Budget, BudgetStats, ClientStats, Limits, Policies, Usage

if TYPE_CHECKING:
    import asyncio

    from brainwires_provider._core.shared import Shared
    from brainwires_provider._core.shared_budget import SharedAccount
    from brainwires_provider._core.shared_limits import SharedGate

__all__ = ["Admission", "Ledger", "Purse"]

_MOST_COUNTED = 10_000
_ONE, _NOTHING = Amounts(), Amounts(0)
_FREE = Decimal(0)


class Purse(NamedTuple):
    """A budget, and the account that it is spent from."""

    budget: Budget
    account: Account | SharedAccount


class Ledger:
    """What a client's calls reserve from: its gates, and its own account."""

    def __init__(self) -> None:
        self.gates: dict[tuple[str, str, int, Limits], Gate] = {}
        self.account = Account()
        self._scopes: dict[str, Budget] = {}  # the named ones
        self._last: tuple[Target, Policies, Gate | SharedGate | None, Purse | None] | None = None
        self._counted: OrderedDict[str, tuple[Decimal, int]] = OrderedDict()
        """By the id of an answer what was counted of it, in dollars and tokens, so that no look at it counts again."""
        self._shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Shared]] = WeakKeyDictionary()

    def admission(self, plan: Plan, policies: Policies) -> Admission:
        """Of one call. Raises ConfigError without the extra that limits which are shared need."""
        last = self._last
        if last is not None and last[0] is plan.target and last[1] is policies:
            return Admission(plan, last[2], last[3], self._counted, measured(plan.call.body))
        limits, budget, target = policies.limits, policies.budget, plan.target
        gate: Gate | SharedGate | None = None
        shared = None
        limits = limits and limits_at(limits, target.row.name)
        if limits is not None and limits.shared is not None:
            shared = self._shared_by(limits)
            gate = shared.gate(target, limits)
        elif limits is not None:
            place = target.provider, target.model, hash(target.key), limits
            gate = self.gates.get(place) or self.gates.setdefault(place, Gate(limits))
        purse = None
        if budget is not None:
            if budget.scope != "client":
                self._scopes.setdefault(budget.scope, budget)
            if shared is None or budget.scope == "client":
                purse = Purse(budget, account_of(budget.scope, self.account))
            else:
                purse = Purse(budget, shared.account(budget.scope))
        if shared is None and (budget is None or budget.scope == "client"):  # others: of a loop, or a process
            self._last = target, policies, gate, purse
        return Admission(plan, gate, purse, self._counted, measured(plan.call.body))

    def _shared_by(self, limits: Limits) -> Shared:
        """The server that limits name, as this event loop uses it."""
        assert limits.shared is not None
        loop = running_loop()
        servers = self._shared.setdefault(loop, {})
        known = servers.get(limits.shared)
        if known is None:
            from brainwires_provider._core.shared import Shared

            known = servers[limits.shared] = Shared(limits, loop)
        return known

    def _account(self, budget: Budget | None) -> Account:
        """What a budget is spent from: where its scope is on a server, what one of this client's loops last heard."""
        if budget is None or budget.scope == "client":
            return self.account
        servers = [each for one in self._shared.values() for each in one.values()]
        heard = [each.accounts[budget.scope].stats() for each in servers if budget.scope in each.accounts]
        if not heard:
            return account_of(budget.scope, self.account)
        latest = max(heard, key=lambda each: (each.tokens, each.usd))  # what is spent only grows
        latest.reserved_usd = sum((each.reserved_usd for each in heard), Decimal(0))
        latest.reserved_tokens = sum(each.reserved_tokens for each in heard)
        return latest

    def stats(self, budget: Budget | None) -> ClientStats:
        """The state of all of it, and of the client's budget."""
        gates: list[tuple[tuple[str, str, int, Limits], Gate | SharedGate]] = list(self.gates.items())
        gates += (
            each
            for servers in self._shared.values()
            for one in servers.values()
            for each in one.gates.items()
        )
        own = self._account(budget)
        return ClientStats(
            tuple(each for (provider, model, *_), gate in gates for each in gate.stats(provider, model)),
            sum(gate.waiting for _, gate in gates),
            sum(gate.running for _, gate in gates),
            *(own.usd, own.tokens, own.reserved_usd, own.reserved_tokens),
            budgets=tuple(
                BudgetStats(scope, *(one.usd, one.tokens, one.reserved_usd, one.reserved_tokens))
                for scope, one in ((name, self._account(each)) for name, each in list(self._scopes.items()))
            ),
        )

    async def aclose(self) -> None:
        """Give back what is held on servers, on the loop that holds it."""
        for shared in self._shared.pop(running_loop(), {}).values():
            await shared.aclose()


class Admission(Struct, eq=False):
    """The reservations of one call, one attempt after another."""

    _plan: Plan
    _gate: Gate | SharedGate | None
    _purse: Purse | None
    _counted: OrderedDict[str, tuple[Decimal, int]]
    _size: Size
    _amounts: Amounts = _ONE
    _ticket: Ticket | None = None
    _reserved: Reserved | None = None
    _asked: tuple[Decimal, int] | None = None
    """Of an account that is shared."""
    prices: Prices | None = None
    """Needed for a budget in dollars."""

    @property
    def needs_prices(self) -> bool:
        """Whether there is a budget in dollars."""
        return self._purse is not None and self._purse.budget.usd is not None

    def try_enter(self) -> bool:
        """Reserve what an attempt may cost, and its place; False if it has to `wait` for that.

        Raises BudgetExceededError, ConfigError.
        """
        plan, purse, gate = self._plan, self._purse, self._gate
        uses = plan.uses
        if purse is not None:
            usd, tokens = (_FREE, 0) if uses == "nothing" else self._bound(purse.budget, uses == "output")
            if not isinstance(purse.account, Account):
                self._asked = usd, tokens  # the server of shared limits has it: see `wait`
            elif uses == "nothing":
                self._reserved = Reserved(usd, tokens)  # even where nothing is left
            else:
                self._reserved = purse.account.reserve(purse.budget, usd, tokens)
        if gate is None:
            return True
        if uses != "nothing":
            self._amounts = estimated(self._size, plan.target.row.name)
        ticket = self._ticket = gate.try_enter(self._amounts)
        return ticket is not None

    async def wait(self, until: float | None, waits: Waits) -> None:
        """Wait for the place, until a time of the event loop.

        Raises RequestTimeout, and where limits are shared BudgetExceededError, SharedServerError, ConfigError.
        """
        import asyncio

        assert self._gate is not None
        target = self._plan.target
        try:
            async with asyncio.timeout_at(until):
                if self._purse is not None and self._asked is not None:
                    account: Any = self._purse.account
                    self._reserved = await account.reserve(self._purse.budget, *self._asked)
                self._ticket = await self._gate.enter(self._amounts, waits)
        except TimeoutError:
            raise RequestTimeout(
                f"no place within the limits of {target.provider}:{target.model} in "
                f"{self._plan.timeouts.total} s (Timeouts.total)",
                clock="total",
            ) from None

    def learn(self, attempt: Attempt) -> None:
        """An attempt was answered: follow the limits that its headers state."""
        if self._gate is not None and attempt.exchange is not None:
            headers = attempt.exchange.headers
            if "ratelimit" in " ".join(headers):
                self._gate.learn(headers, rule_of(self._plan.target.row.name).daily)

    def settle(self, attempt: Attempt, result: Any, error: ProviderError | None) -> None:
        """An attempt is over: replace what was reserved by what is known. Only the first time counts.

        `result` is what it came to, if it did; `error` is what it failed with, if it did.
        """
        ticket, gate = self._ticket, self._gate
        if ticket is None and self._reserved is None:
            return
        if result is None and attempt.begun:
            result = attempt.partial()
        usage, id = getattr(result, "usage", None), getattr(result, "id", None)
        total = usage.total_tokens if isinstance(usage, Usage) else 0
        if not total:
            usage = None
        exchange, is_look = attempt.exchange, self._plan.uses == "nothing"
        is_refused = not attempt.sent or attempt.is_refused
        known = self._counted.get(id) if is_look and id is not None else None
        if ticket is not None and gate is not None:
            amounts = None  # an answer that was cut counts as reserved
            if not attempt.sent:
                amounts = _NOTHING
            elif is_refused or exchange is None or known is not None:
                amounts = _ONE  # a failure counts as a request, but used no tokens
            elif usage is not None:
                amounts = used(usage, self._plan.target.row.name)
            gate.settle(ticket, amounts)
            self._ticket = None
        usd: Decimal | None = None
        tokens: int | None = None
        if usage is not None:
            usd, tokens = self._dollars(result, usage), total
        elif is_refused or isinstance(error, ConnectError | ConfigError):
            usd, tokens = _FREE, 0  # refused, or never sent
        if id is not None and (usage is not None or not is_look):
            usd, tokens = self._counted_once(id, usd, tokens, known)
        self._spend(usd, tokens)

    def _spend(self, usd: Decimal | None, tokens: int | None) -> None:
        if self._reserved is not None and self._purse is not None:
            self._purse.account.settle(self._reserved, usd, tokens)

    def _counted_once(
        self, id: str, usd: Decimal | None, tokens: int | None, known: tuple[Decimal, int] | None
    ) -> tuple[Decimal, int]:
        """What is counted of an answer now; of one that is looked at, what was not counted before (`known`)."""
        reserved, counted = self._reserved, self._counted
        if usd is None:
            usd = _FREE if reserved is None else reserved.usd
        if tokens is None:
            tokens = 0 if reserved is None else reserved.tokens
        counted[id] = usd, tokens
        if len(counted) > _MOST_COUNTED:
            counted.popitem(last=False)
        return (usd, tokens) if known is None else (usd - known[0], tokens - known[1])

    def _bound(self, budget: Budget, has_output: bool) -> tuple[Decimal, int]:
        """The most that an attempt may cost, in dollars and tokens."""
        input, output = at_most(self._size, has_output)
        if budget.usd is None or self.prices is None:
            return _FREE, input + output
        plan = self._plan
        tier = None if plan.call.body is None else plan.call.body.get("service_tier")
        usd = self.prices.at_most(plan.target.model, input, output, tier)
        if usd is None and budget.unpriced == "raise":
            raise ConfigError(
                f"no price of {plan.target.provider}:{plan.target.model} is known, so that a budget in dollars "
                'cannot count it: set Budget(unpriced="allow"), or a budget of tokens'
            )
        return usd or _FREE, input + output

    def _dollars(self, result: Any, usage: Usage) -> Decimal | None:
        if self.prices is None:
            return None
        tier = tier_of(result.extra, usage)
        return self.prices.of(usage, result.model, self._plan.target.model, tier)[1]
