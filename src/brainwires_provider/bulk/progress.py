"""Counts how far a run is, and reports it about once a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from brainwires_provider.bulk.record import Record
from brainwires_provider.types.bulk import BulkProgress

__all__ = ["Meter"]

_EVERY = 1.0  # seconds between two reports
_SPAN = 30  # reports that the rate is measured over


class Meter:
    """Counts of one run; `clock` gives seconds."""

    def __init__(
        self, report: Callable[[BulkProgress], Any] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total: int | None = None
        self.done = self.failed = self.recorded = self.equal = self.running = 0
        self._input = self._output = self._asked = 0
        self._usd: Decimal | None = None
        self._report, self._clock = report, clock
        self._began = clock()
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)], _SPAN)

    def ended(self, record: Record, *, is_recorded: bool = False, is_equal: bool = False) -> None:
        """A row has its result."""
        self.done += 1
        self.failed += record.error is not None
        self.recorded += is_recorded
        self.equal += is_equal
        if not is_recorded and not is_equal:
            self._asked += 1
            self._input += record.usage.input_tokens
            self._output += record.usage.output_tokens
            if record.cost is not None:
                self._usd = record.cost.usd + (self._usd or 0)
        now = self._clock()
        if now - self._samples[-1][0] >= _EVERY:
            self._samples.append((now, self._asked))
            if self._report is not None:
                self._report(self.progress())

    def finish(self) -> None:
        """The last report."""
        if self._report is not None:
            self._report(self.progress())

    def progress(self) -> BulkProgress:
        """As it is now."""
        now = self._clock()
        began, asked = self._samples[0]
        return BulkProgress(
            self.total,
            self.done,
            self.failed,
            self.recorded,
            self.equal,
            self.running,
            self._input,
            self._output,
            self._usd,
            now - self._began,
            (self._asked - asked) / (now - began) if now > began else 0.0,
        )
