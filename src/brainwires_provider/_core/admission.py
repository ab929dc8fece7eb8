"""What an attempt has to reserve before it is sent, of limits and budgets, and what of it is settled afterwards.

A call without limits and without a budget has no Admission.
"""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from msgspec import Struct

from brainwires_provider._core.attempt import Attempt
from brainwires_provider._core.breaker import Circuit, Circuits
from brainwires_provider._core.budget import Account, Reserved, account_of
from brainwires_provider._core.counting import (
    Counting,
    Size,
    at_most,
    estimated,
    limits_at,
    measured,
    rule_of,
    used,
)
from brainwires_provider._core.deadlines import running_loop
from brainwires_provider._core.gate import Gate
from brainwires_provider._core.limits import Amounts, Ticket
from brainwires_provider._core.plan import Plan
from brainwires_provider._core.waits import Waits
from brainwires_provider.errors import ConfigError, ProviderError, RequestTimeout
from brainwires_provider.providers import Target
from brainwires_provider.providers.prices import Prices, tier_of
from brainwires_provider.types import Budget, BudgetStats, ClientStats, Limits, Policies, Usage

if TYPE_CHECKING:
    import asyncio

    from brainwires_provider._core.shared import Shared
    from brainwires_provider._core.shared_budget import SharedAccount
    from brainwires_provider._core.shared_limits import SharedGate

__all__ = ["Admission", "Ledger", "Terms"]

_MOST_COUNTED = 10_000
_ONE, _NOTHING = Amounts(), Amounts(0)
_FREE = Decimal(0)


class Purse(Struct, frozen=True, eq=False):
    """A budget, and the account that it is spent from."""

    budget: Budget
    account: Account | SharedAccount


class Terms(Struct, frozen=True, eq=False):
    """What the limits, the budget and the breaker of the calls to one model are kept by."""

    target: Target
    policies: Policies
    gate: Gate | SharedGate | None
    """Of its limits."""
    purse: Purse | None
    circuit: Circuit | None
    """Of its breaker."""
    counting: Counting
    """How its provider counts tokens."""
    needs_prices: bool
    """Whether there is a budget in dollars."""
    counted: OrderedDict[str, tuple[Decimal, int]]
    """By the id of an answer what was counted of it, in dollars and tokens, so that no look at it counts again."""
    is_lasting: bool
    """Whether they are those of the next call, too: what is on a server belongs to an event loop."""

    @property
    def is_local(self) -> bool:
        """Whether what is reserved can be given back in any thread, at any moment: no server has it."""
        is_purse_local = self.purse is None or isinstance(self.purse.account, Account)
        return is_purse_local and (self.gate is None or isinstance(self.gate, Gate))

    def admission(self, plan: Plan) -> Admission | None:
        """What one call reserves; None where there are no limits and no budget."""
        return None if self.gate is None and self.purse is None else Admission(plan, self)


class Ledger:
    """What a client's calls reserve from: its gates, and its own account; and its breakers."""

    def __init__(self) -> None:
        self.gates: dict[tuple[str, str, int, Limits], Gate] = {}
        self.account = Account()
        self.circuits = Circuits()
        self._scopes: dict[str, Budget] = {}  # the named ones
        self._counted: OrderedDict[str, tuple[Decimal, int]] = OrderedDict()
        self._shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Shared]] = WeakKeyDictionary()

    def terms(self, target: Target, policies: Policies) -> Terms:
        """Of the calls to one model. Raises ConfigError without the extra that limits which are shared need."""
        limits, budget = policies.limits, policies.budget
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
        return Terms(
            target,
            policies,
            gate,
            purse,
            None if policies.breaker is None else self.circuits.of(policies.breaker, target),
            rule_of(target.row.name),
            budget is not None and budget.usd is not None,
            self._counted,
            is_lasting=shared is None and (budget is None or budget.scope == "client"),
        )

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

    def _servers(self) -> list[Shared]:
        """Those of all event loops. Each step is a copy: another thread may add to it meanwhile."""
        loops = [each() for each in self._shared.keyrefs()]
        known = [self._shared.get(loop, {}) for loop in loops if loop is not None]
        return [one for servers in known for one in list(servers.values())]

    def _account(self, budget: Budget | None) -> Account:
        """What a budget is spent from: where its scope is on a server, what one of this client's loops last heard."""
        if budget is None or budget.scope == "client":
            return self.account
        accounts = [each.accounts.get(budget.scope) for each in self._servers()]
        heard = [each.stats() for each in accounts if each is not None]
        if not heard:
            return account_of(budget.scope, self.account)
        latest = max(heard, key=lambda each: (each.tokens, each.usd))  # what is spent only grows
        latest.reserved_usd = sum((each.reserved_usd for each in heard), Decimal(0))
        latest.reserved_tokens = sum(each.reserved_tokens for each in heard)
        return latest

    def stats(self, budget: Budget | None) -> ClientStats:
        """The state of all of it, and of the client's budget."""
        gates: list[tuple[tuple[str, str, int, Limits], Gate | SharedGate]] = list(self.gates.items())
        for one in self._servers():
            gates += list(one.gates.items())
        own = self._account(budget)
        return ClientStats(
            tuple(each for (provider, model, *_), gate in gates for each in gate.stats(provider, model)),
            sum(gate.waiting for _, gate in gates),
            sum(gate.running for _, gate in gates),
            *(own.usd, own.tokens, own.reserved_usd, own.reserved_tokens),
            breakers=self.circuits.stats(),
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
    terms: Terms
    _size: Size | None = None
    _amounts: Amounts = _ONE
    _ticket: Ticket | None = None
    _reserved: Reserved | None = None
    _asked: tuple[Decimal, int] | None = None
    """Of an account that is shared."""
    prices: Prices | None = None
    """Needed for a budget in dollars."""

    def try_enter(self) -> bool:
        """Reserve what an attempt may cost, and its place; False if it has to `wait` for that.

        Raises BudgetExceededError, ConfigError.
        """
        plan, terms = self._plan, self.terms
        gate, purse, uses = terms.gate, terms.purse, plan.uses
        size = self._size
        if size is None and uses != "nothing":
            size = self._size = measured(plan.call.body)
        if purse is not None:
            usd, tokens = (_FREE, 0) if size is None else self._bound(purse.budget, size)
            if not isinstance(purse.account, Account):
                self._asked = usd, tokens  # the server of shared limits has it: see `wait`
            elif size is None:
                self._reserved = Reserved(usd, tokens)  # even where nothing is left
            else:
                self._reserved = purse.account.reserve(purse.budget, usd, tokens)
        if gate is None:
            return True
        if size is not None:
            self._amounts = estimated(size, terms.counting)
        ticket = self._ticket = gate.try_enter(self._amounts)
        return ticket is not None

    async def wait(self, until: float | None, waits: Waits) -> None:
        """Wait for the place, until a time of the event loop.

        Raises RequestTimeout, and where limits are shared BudgetExceededError, SharedServerError, ConfigError.
        """
        import asyncio

        gate, purse, target = self.terms.gate, self.terms.purse, self._plan.target
        assert gate is not None
        try:
            async with asyncio.timeout_at(until):
                if purse is not None and self._asked is not None:
                    account: Any = purse.account
                    self._reserved = await account.reserve(purse.budget, *self._asked)
                self._ticket = await gate.enter(self._amounts, waits)
        except TimeoutError:
            raise RequestTimeout(
                f"no place within the limits of {target.full_name} in "
                f"{self._plan.timeouts.total} s (Timeouts.total)",
                clock="total",
            ) from None

    def learn(self, attempt: Attempt) -> None:
        """An attempt was answered: follow the limits that its headers state."""
        gate, exchange = self.terms.gate, attempt.exchange
        if gate is not None and exchange is not None and exchange.is_first:
            headers = exchange.headers
            if "ratelimit" in " ".join(headers):
                gate.learn(headers, self.terms.counting.daily)

    def settle(self, attempt: Attempt, result: Any, error: ProviderError | None) -> None:
        """An attempt is over: replace what was reserved by what is known. Only the first time counts.

        `result` is what it came to, if it did; `error` is what it failed with, if it did.
        """
        ticket, reserved, terms = self._ticket, self._reserved, self.terms
        if ticket is None and reserved is None:
            return
        if result is None and attempt.begun:
            result = attempt.partial()
        given, id = getattr(result, "usage", None), getattr(result, "id", None)
        total = given.total_tokens if isinstance(given, Usage) else 0
        usage: Usage | None = given if total else None
        is_look = self._plan.uses == "nothing"
        known = terms.counted.get(id) if is_look and id is not None else None
        if ticket is not None and terms.gate is not None:
            if usage is not None and known is None:
                amounts: Amounts | None = used(usage, terms.counting)
            else:
                amounts = _without_usage(attempt, error, known is not None)
            terms.gate.settle(ticket, amounts)
            self._ticket = None
        usd: Decimal | None = None
        tokens: int | None = None
        if usage is not None:
            usd, tokens = self._dollars(result, usage), total
        elif attempt.is_free(error):
            usd, tokens = _FREE, 0
        if id is not None and (usage is not None or not is_look):
            usd = usd if usd is not None else _FREE if reserved is None else reserved.usd
            tokens = tokens if tokens is not None else 0 if reserved is None else reserved.tokens
            terms.counted[id] = usd, tokens
            if len(terms.counted) > _MOST_COUNTED:
                terms.counted.popitem(last=False)
            if known is not None:  # it is looked at: only what was not counted before
                usd, tokens = usd - known[0], tokens - known[1]
        if reserved is not None and terms.purse is not None:
            terms.purse.account.settle(reserved, usd, tokens)

    def _bound(self, budget: Budget, size: Size) -> tuple[Decimal, int]:
        """The most that an attempt may cost, in dollars and tokens."""
        plan = self._plan
        input, output = at_most(size, plan.uses == "output")
        if budget.usd is None or self.prices is None:
            return _FREE, input + output
        tier = None if plan.call.body is None else plan.call.body.get("service_tier")
        usd = self.prices.at_most(plan.target.model, input, output, tier)
        if usd is None and budget.unpriced == "raise":
            raise ConfigError(
                f"no price of {plan.target.full_name} is known, so that a budget in dollars "
                'cannot count it: set Budget(unpriced="allow"), or a budget of tokens'
            )
        return usd or _FREE, input + output

    def _dollars(self, result: Any, usage: Usage) -> Decimal | None:
        if self.prices is None or (usage.unattributed and usage.unattributed == usage.total_tokens):
            return None  # of a total alone no price is known: what was reserved counts
        tier = tier_of(result.extra, usage)
        return self.prices.of(usage, result.model, self._plan.target.model, tier)[1]


def _without_usage(attempt: Attempt, error: ProviderError | None, is_counted: bool) -> Amounts | None:
    """What an attempt counts whose usage is not known, or was counted before; None: as reserved, as it was cut."""
    if not attempt.sent:
        return _NOTHING
    is_failed = attempt.was_refused(error) or attempt.exchange is None
    return _ONE if is_failed or is_counted else None  # a failure counts as a request, but used no tokens
