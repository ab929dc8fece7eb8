"""How far a bulk run is: a bar at a terminal, a line now and then where there is none; and what one would take."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from brainwires_provider.bulk.engine import AsyncBulk
from brainwires_provider.cli.terminal import is_terminal, note
from brainwires_provider.types.bulk import BulkForecast, BulkProgress

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Display", "forecast_lines"]

_FRAME = 0.25  # seconds between two states of the bar
_LINE = 10.0  # seconds between two lines


class Display:
    """Shows the progress while its block runs; `start` begins, within an event loop."""

    def __init__(self, bulk: AsyncBulk[Any]) -> None:
        self._bulk = bulk
        self._bar: Progress | None = None
        self._task: asyncio.Task[None] | None = None
        if is_terminal(sys.stderr):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            console = Console(stderr=True)
            self._bar = Progress(
                BarColumn(), TextColumn("{task.description}"), console=console, transient=True
            )

    def start(self) -> None:
        """Show it from now on."""
        self._task = asyncio.get_running_loop().create_task(self._bars() if self._bar else self._lines())

    async def _bars(self) -> None:
        assert self._bar is not None
        shown = self._bar.add_task("", total=None)
        while True:
            progress = self._bulk.progress
            self._bar.update(
                shown, total=progress.total, completed=progress.done, description=self.summary(progress)
            )
            await asyncio.sleep(_FRAME)

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(_LINE)
            note(self.summary(self._bulk.progress))

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._bar is not None:
            self._bar.stop()

    @staticmethod
    def summary(progress: BulkProgress) -> str:
        """One line about it."""
        of = "" if progress.total is None else f"/{progress.total:,}"
        words = [f"{progress.done:,}{of} rows"]
        if progress.done != progress.total and progress.rate:
            words.append(f"{progress.rate:,.1f}/s")
        if progress.eta:
            words.append(f"{_duration(progress.eta)} left")
        for count, what in (
            (progress.recorded, "recorded"),
            (progress.equal, "equal"),
            (progress.failed, "failed"),
        ):
            if count:
                words.append(f"{count:,} {what}")
        words.append(f"{progress.input_tokens:,} tokens in, {progress.output_tokens:,} out")
        if progress.usd is not None:
            words.append(_dollars(progress.usd))
        return ", ".join(words)


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _dollars(usd: Decimal) -> str:
    return f"${usd:,.4f}" if usd < 1 else f"${usd:,.2f}"


def forecast_lines(found: BulkForecast) -> Iterator[str]:
    """What a run would take, line by line."""
    yield f"{found.rows:,} rows: {found.asked:,} to ask, {found.recorded:,} recorded, {found.equal:,} equal to others"
    if found.faulty:
        yield f"{found.faulty:,} rows make no request ({found.first_fault})"
    yield f"about {found.input_tokens:,} input tokens" + (
        f", {_dollars(found.usd_input)}" if found.usd_input is not None else ", at a price that is not known"
    )
    if found.most_output_tokens is None:
        yield "output tokens without a limit: --max-tokens sets one for each row"
    elif found.most_output_tokens:
        price = f", {_dollars(found.usd_at_most)} with the input" if found.usd_at_most is not None else ""
        yield f"at most {found.most_output_tokens:,} output tokens{price}"
