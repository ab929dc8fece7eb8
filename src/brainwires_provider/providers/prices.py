"""What tokens cost, by the dated table that `genai-prices` ships (the extra `prices`); nothing is fetched.

A service is known by its base URL, so that a server of your own has no prices, and a model by its very name: a match
by a name's beginning may be another model's. Rates are read once for each model; a cost is a few multiplications then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from time import monotonic, time
from typing import Any, NamedTuple, TypeAlias

from brainwires_provider.errors import ConfigError, RequestTimeout
from brainwires_provider.types import OpaquePart, Response, Usage
from brainwires_provider.types.attempts import is_counted
from brainwires_provider.types.costs import Cost

__all__ = ["Prices", "check_installed", "own_entry", "prices_at", "service_at", "tier_of"]

_PACKAGE = "genai-prices"
_MODULE = "genai_prices"
# A service by the base URL that the table has for it, where that is no longer its only one.
_MOVED = {"https://api.together.ai": "https://api.together.xyz"}
_ZERO = Decimal(0)
_MILLION = Decimal(1_000_000)
_MOST_KNOWN = 1000  # names, which providers report as they like
_LONGEST_KNOWN = 300  # characters of one: no name of the table is as long
_STANDARD = frozenset((None, "auto", "default", "standard", "on_demand"))
"""Names of the usual tier, which has the usual prices."""
_BOUNDING = ("input_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok")
# For each count of `_dollars`: the names of their rates, the first that there is.
_NAMES = (
    ("input_mtok",),
    ("cache_read_mtok", "input_mtok"),
    ("cache_write_mtok", "input_mtok"),
    ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    ("input_audio_mtok", "input_mtok"),
    ("output_mtok",),
)
_COUNTED = frozenset(
    (
        "input_mtok",
        "output_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "cache_write_1h_mtok",
        "input_audio_mtok",
    )
)


def check_installed() -> None:
    """Raises ConfigError without the extra."""
    if find_spec(_MODULE) is None:
        raise ConfigError("prices=True needs the extra: pip install 'brainwires-provider[prices]'")


def service_at(base_url: str) -> tuple[str, Any] | None:
    """The table's name, and its service at a base URL; None without the extra, or for another service."""
    if find_spec(_MODULE) is None:
        return None
    snapshot = import_module(f"{_MODULE}.data_snapshot").get_snapshot()
    for moved, known in _MOVED.items():
        if base_url.startswith(moved):
            base_url = known + base_url.removeprefix(moved)
    try:
        service = snapshot.find_provider(None, None, base_url)
    except LookupError:
        return None
    name = f"{_PACKAGE} {version(_PACKAGE)}"
    if snapshot.from_auto_update:
        name += f", updated {snapshot.timestamp:%Y-%m-%d}"
    return name, service


def own_entry(service: Any, name: str) -> Any:
    """The entry that the table's own search gives, if it is this name's own."""
    known = service.find_model(name)
    if known is None or not (known.id.lower() == name.lower() or _names(known.match, name.lower())):
        return None
    return known


def _names(clause: Any, name: str) -> bool:
    """Whether a rule of the table means just this name, spelt out or by a pattern, and not names like it."""
    rule = type(clause).__name__
    if rule == "ClauseOr":
        return any(_names(each, name) for each in clause.or_)
    if rule == "ClauseAnd":
        return bool(clause.is_match(name)) and any(_names(each, name) for each in clause.and_)
    return rule in ("ClauseEquals", "ClauseRegex") and bool(clause.is_match(name))


class _Rates(NamedTuple):
    """Dollars for a million tokens; a rate may depend on the size of the whole input."""

    prices: Mapping[str, Any]
    is_known_tier: bool
    highest: tuple[Decimal, Decimal] | None = None
    """`highest_at`, where it is the same for every size."""
    flat: tuple[Decimal | None, ...] = ()
    """The rates by `_NAMES`, where they are the same for every size."""

    def highest_at(self, size: int, *, generates: bool = True) -> tuple[Decimal, Decimal] | None:
        """The most dollars that a token of an input of this size, and one of its output, may cost.

        None where the table has no price of it; an embedding needs none of output.
        """
        *of_input, of_output = (self.of(size, name) for name in _BOUNDING)
        if of_input[0] is None or (of_output is None and generates):
            return None
        return max(filter(None, of_input)) / _MILLION, (of_output or _ZERO) / _MILLION

    def all_of(self, size: int) -> tuple[Decimal | None, ...]:
        """The rates by `_NAMES`."""
        return tuple(self.of(size, *names) for names in _NAMES)

    def of(self, size: int, *names: str) -> Decimal | None:
        """The rate by the first of these names that has one."""
        for name in names:
            rate = self.prices.get(name)
            if rate is None:
                continue
            if isinstance(rate, Decimal):
                return rate
            above = [tier.price for tier in rate.tiers if size > tier.start]
            return Decimal(above[-1] if above else rate.base)
        return None


_UNSEEN = _Rates({}, False)
_Key: TypeAlias = tuple[str | None, str, str | None]
"""The model that has answered, the one that was asked for, the tier."""


class Prices:
    """The prices of one service. `now` gives the time, since some depend on it."""

    def __init__(self, base_url: str, now: Callable[[], datetime] | None = None) -> None:
        found = service_at(base_url)
        self.name = "" if found is None else found[0]
        self._service: Any = None if found is None else found[1]
        self._now = now
        self._entries: dict[str, Any] = {}
        self._until = float("-inf")  # by the monotonic clock: the end of the minute of what is known
        self._known: dict[_Key, _Rates | None] = {}
        self._last: tuple[Usage, tuple[_Rates | None, Decimal | None]] | None = None
        """What was counted last: it is asked for twice, for a budget and for the response."""

    def cost(self, response: Response, requested: str) -> Cost | None:
        """What a response and its failed attempts cost; None where a price is not known."""
        usage, attempts, last = response.usage, response.attempts, self._last
        if last is not None and last[0] is usage:
            rates, total = last[1]
        else:
            rates, total = self.of(usage, response.model, requested, tier_of(response.extra, usage))
        if rates is None:
            return None
        if not (total or attempts or usage.total_tokens):
            return None
        for each in attempts:
            if total is None:
                return None
            if each.cost is not None:  # perhaps another model's
                total += each.cost.usd
            elif each.usage is not None:
                dollars = _dollars(each.usage, rates)
                total = None if dollars is None else total + dollars
        if total is None:
            return None
        return Cost(total, self.name, rates.is_known_tier and _is_complete(response))

    def batch_cost(
        self,
        response: Response,
        requested: str,
        share: Decimal | None,
        cached: Decimal | None,
        *,
        is_uniform: bool = True,
    ) -> Cost | None:
        """What an answer of a batch cost, at the table's rate for batches; where it has none, at a share of the usual.

        Without a share, and a rate of the table, it is not known. `cached` is the share for tokens read from a cache,
        if it is another; `is_uniform`: it holds for all models.
        """
        rates = self._rates((response.model, requested, "batch"))
        if rates is None or not response.usage.total_tokens:
            return None
        name, is_known = self.name, True
        if not rates.is_known_tier:
            usual = self._rates((response.model, requested, None))
            if share is None or usual is None:
                return None
            rates = _shared(usual, share, share if cached is None else cached)
            name, is_known = f"{name}, batch at {share} of it", is_uniform
        dollars = _dollars(response.usage, rates)
        return None if dollars is None else Cost(dollars, name, is_known and _is_complete(response))

    def dollars(self, usage: Usage, reported: str | None, requested: str, tier: str | None) -> Decimal | None:
        """What one answer's tokens cost; None where a price is not known."""
        return self.of(usage, reported, requested, tier)[1]

    def of(
        self, usage: Usage, reported: str | None, requested: str, tier: str | None
    ) -> tuple[_Rates | None, Decimal | None]:
        """The rates of an answer, and what its tokens cost; None where a price is not known."""
        rates = self._rates((reported, requested, tier))
        priced = rates, None if rates is None else _dollars(usage, rates)
        if priced[1]:
            self._last = usage, priced
        return priced

    def _entry(self, reported: str | None, requested: str) -> Any:
        """Of the model that answered; of the one that was asked for where the other is a dated name of it."""
        if self._service is None:
            return None
        names = [reported] if reported and not reported.startswith(requested) else [reported, requested]
        for name in filter(None, names):
            if name not in self._entries:
                if len(self._entries) > _MOST_KNOWN:
                    self._entries.clear()
                self._entries[name] = own_entry(self._service, name)
            if self._entries[name] is not None:
                return self._entries[name]
        return None

    def at_most(self, requested: str, input: int, output: int, tier: Any) -> Decimal | None:
        """The most that so many tokens may cost; None where a price is not known."""
        rates = self._rates((None, requested, tier if type(tier) is str else None))
        if rates is None:
            return None
        highest = rates.highest or rates.highest_at(input, generates=output > 0)
        return None if highest is None else highest[0] * input + highest[1] * output

    def _rates(self, key: _Key) -> _Rates | None:
        """Of this minute: some prices depend on the time of day. None where no price is known."""
        if monotonic() >= self._until:
            self._known.clear()
            if self._now is None:
                self._until = monotonic() + 60 - time() % 60
        known = self._known.get(key, _UNSEEN)
        return self._rates_now(*key) if known is _UNSEEN else known

    def _rates_now(self, reported: str | None, requested: str, tier: str | None) -> _Rates | None:
        key = reported and reported[:_LONGEST_KNOWN], requested, tier and tier[:_LONGEST_KNOWN]
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        rates = self._known[key] = self._rates_of(*key)
        return rates

    def _rates_of(self, reported: str | None, requested: str, tier: str | None) -> _Rates | None:
        entry = self._entry(reported, requested)
        if entry is None:
            return None
        rates = self._rates_at(datetime.now(UTC) if self._now is None else self._now(), entry, tier)
        if all(rate is None or isinstance(rate, Decimal) for rate in map(rates.prices.get, _BOUNDING)):
            rates = rates._replace(highest=rates.highest_at(0))
        if all(rate is None or isinstance(rate, Decimal) for rate in map(rates.prices.get, _COUNTED)):
            rates = rates._replace(flat=rates.all_of(0))
        return rates

    def _rates_at(self, now: datetime, entry: Any, tier: str | None) -> _Rates:
        if tier in _STANDARD:
            return _Rates(vars(entry.get_prices(now)), True)
        wish = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
        is_known = any(variant.when == wish for variant in entry.price_variants or ())
        return _Rates(vars(entry.get_prices(now, wish)), is_known)


async def prices_at(base_url: str, known: dict[str, Prices], until: float | None = None) -> Prices:
    """What a service's tokens cost; `known` keeps it. The table takes a fifth of a second to load: not on the loop.

    Raises RequestTimeout where that is not done at a time of the event loop.
    """
    if base_url not in known:
        import asyncio

        try:
            async with asyncio.timeout_at(until):
                known.setdefault(base_url, await asyncio.to_thread(Prices, base_url))
        except TimeoutError:
            words = "the table of prices was not loaded in time (Timeouts.total); nothing was sent"
            raise RequestTimeout(words, clock="total") from None
    return known[base_url]


class _Tiered(NamedTuple):
    """Rates by the size of the input, as the table has them."""

    base: Decimal
    tiers: list[_Tier]


class _Tier(NamedTuple):
    start: int
    price: Decimal


def _shared(rates: _Rates, share: Decimal, cached: Decimal) -> _Rates:
    """The rates at a share of them."""

    def part(name: str, rate: Any) -> Any:
        of = cached if name.startswith("cache_read") else share
        if rate is None or isinstance(rate, Decimal):
            return rate and rate * of
        if not hasattr(rate, "tiers"):
            return rate
        return _Tiered(rate.base * of, [_Tier(tier.start, tier.price * of) for tier in rate.tiers])

    prices = {name: part(name, rate) for name, rate in rates.prices.items()}
    if prices.get("cache_read_mtok") is None and cached != share and prices.get("input_mtok") is not None:
        prices["cache_read_mtok"] = part("cache_read", rates.prices["input_mtok"])
    return _Rates(prices, True)


def tier_of(extra: Mapping[str, Any], usage: Usage) -> str | None:
    """The service tier that a response states."""
    tier = extra.get("service_tier") or (usage.raw and usage.raw.get("service_tier"))
    return tier if type(tier) is str else None


def _dollars(usage: Usage, rates: _Rates) -> Decimal | None:
    plain, written, output = (
        usage.uncached_input + usage.tool_input,
        usage.cache_write,
        usage.output_text + usage.reasoning,
    )
    of_each = rates.flat or rates.all_of(usage.input_tokens)
    if not (usage.cache_read or written or usage.audio_input):  # as most are
        of_input, of_output = of_each[0], of_each[-1]
        if of_input is not None and of_output is not None:
            return (of_input * plain + of_output * output) / _MILLION
    long_writes = _written_for_an_hour(usage) if written else 0
    counts = (plain, usage.cache_read, written - long_writes, long_writes, usage.audio_input, output)
    total = _ZERO
    for count, rate in zip(counts, of_each, strict=True):
        if count:
            if rate is None:
                return None
            total += rate * count
    return total / _MILLION


def _written_for_an_hour(usage: Usage) -> int:
    """Of the tokens written to the cache: Anthropic states how many stay for an hour, at another price."""
    written = (usage.raw or {}).get("cache_creation")
    count = written.get("ephemeral_1h_input_tokens") if isinstance(written, Mapping) else None
    return min(count, usage.cache_write) if type(count) is int and count > 0 else 0


def _is_complete(response: Response) -> bool:
    """Whether all that is billed is known."""
    usage = response.usage
    if usage.unattributed or usage.passes or usage.anomalies or not usage.complete:
        return False
    for part in response.message.content:
        if isinstance(part, OpaquePart) and part.role == "call":
            return False
    return not response.attempts or all(map(is_counted, response.attempts))
