"""What a bulk run would take: its requests are made and counted, and not sent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from brainwires_provider._core.session import Session
from brainwires_provider.bulk.asking import Asker
from brainwires_provider.bulk.index import Index, Place
from brainwires_provider.bulk.ledger import Ledger
from brainwires_provider.bulk.source import END, Source
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers.prices import Prices
from brainwires_provider.types import Usage
from brainwires_provider.types.bulk import BulkForecast, BulkSettings

__all__ = ["forecast"]


async def forecast(
    session: Session, source: Source, asker: Asker, ledger: Ledger | None, settings: BulkSettings
) -> BulkForecast:
    """Count every row. `ledger` is an open one. Raises what reading the rows raises, and ConfigError."""
    counted = _Counted(session)
    index = Index()
    number, limit = 0, settings.limit
    since = ledger.end if ledger is not None and settings.retry_errors else 0
    try:
        while limit is None or number < limit:
            row = await source.next()
            if row is END:
                break
            number += 1
            try:
                key, asked = await asker.request(row)
            except ConfigError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a caller's function raises
                counted.fault(f"row {number - 1}: {error}")
                continue
            if ledger is not None and ledger.find(key, errors_since=since) is not None:
                counted.add(recorded=1)
            elif index.find(key) is not None:
                counted.add(equal=1)
            else:
                index.put(key, Place(0, 0, "result"))
                await counted.ask(asker, asked)
    finally:
        index.close()
        source.close()
    return counted.result(number)


class _Counted:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._prices: Prices | None = None
        self._counts: dict[str, int] = {}
        self._fault = ""
        self._input, self._output = 0, 0
        self._is_limited = True
        self._usd_input: Decimal | None = Decimal(0)
        self._usd_output: Decimal | None = Decimal(0)

    def add(self, **counts: int) -> None:
        for name, count in counts.items():
            self._counts[name] = self._counts.get(name, 0) + count

    def fault(self, words: str) -> None:
        self.add(faulty=1)
        self._fault = self._fault or words

    async def ask(self, asker: Asker, asked: Any) -> None:
        self.add(asked=1)
        seen = asker.foresee(asked)
        self._input += seen.input
        self._output += seen.output
        self._is_limited = self._is_limited and seen.is_limited
        if self._prices is None:
            self._prices = await self._session.prices(seen.plan.target)
        model = seen.plan.target.model
        self._usd_input = self._plus(self._usd_input, Usage(uncached_input=seen.input), model)
        self._usd_output = self._plus(self._usd_output, Usage(output_text=seen.output), model)

    def _plus(self, total: Decimal | None, usage: Usage, model: str) -> Decimal | None:
        assert self._prices is not None
        dollars = self._prices.dollars(usage, None, model, None)
        return None if total is None or dollars is None else total + dollars

    def result(self, rows: int) -> BulkForecast:
        usd = self._usd_input
        most = (
            None
            if usd is None or self._usd_output is None or not self._is_limited
            else usd + self._usd_output
        )
        counts: Mapping[str, int] = self._counts
        return BulkForecast(
            rows,
            **counts,
            first_fault=self._fault,
            input_tokens=self._input,
            most_output_tokens=self._output if self._is_limited else None,
            usd_input=usd,
            usd_at_most=most,
        )
