"""Rows from anything that has some: a file, a list, an iterable, an async one, a DataFrame."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from math import isnan
from typing import Any

from brainwires_provider.bulk.files import open_rows

__all__ = ["END", "Source", "present"]

END: Any = object()
_AT_ONCE = 256
_MISSING = ("NAType", "NaTType")  # of pandas, which is not imported for it
_PATIENCE = 0.005  # seconds that rows are collected for before the first of them is passed on


class Source:
    """Gives one row after another. Rows that are made by an iterator are made in a thread.

    Raises TypeError for what has no rows, ConfigError for a file that cannot be read.
    """

    def __init__(self, rows: Any) -> None:
        self.total: int | None = None
        self.path: str | None = None
        self._buffer: deque[Any] = deque()
        self._error: BaseException | None = None
        self._later: AsyncIterator[Any] | None = None
        self._iterator: Iterator[Any] | None = None
        self._is_ready = False
        """Whether its iterator has all rows, so that a thread is not needed."""
        if isinstance(rows, (str, os.PathLike)):
            self.path = os.fspath(rows)
            rows = open_rows(self.path)
            self._iterator = iter(rows)
        elif hasattr(rows, "__aiter__"):
            self._later = aiter(rows)
        else:
            self._of_values(rows)

    def _of_values(self, rows: Any) -> None:
        frame = _of_frame(rows)
        if frame is None:
            if isinstance(rows, (Mapping, bytes)) or not isinstance(rows, Iterable):
                raise TypeError(
                    f"rows are a file's path, an iterable, or a DataFrame, not {type(rows).__name__}"
                )
            self._is_ready = isinstance(rows, (list, tuple, range))
            frame = iter(rows)
        self._iterator = frame
        if hasattr(rows, "__len__"):
            sized: Any = rows
            self.total = len(sized)

    async def next(self) -> Any:
        """The next row; END once there is none. Raises what making it raises."""
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._later is not None:
                return await anext(self._later, END)
            if self._iterator is None:
                return END
            if self._is_ready:
                self._fill(self._iterator)
            else:
                await asyncio.to_thread(self._fill, self._iterator)
        return self._buffer.popleft()

    def _fill(self, iterator: Iterator[Any]) -> None:
        """Some rows, and after them what went wrong."""
        until = time.monotonic() + _PATIENCE
        try:
            while len(self._buffer) < _AT_ONCE and (not self._buffer or time.monotonic() < until):
                row = next(iterator, END)
                if row is END:
                    self._iterator = None
                    return
                self._buffer.append(row)
        except BaseException as error:  # noqa: BLE001 - raised in its place among the rows
            self._error = error
            self._iterator = None

    def close(self) -> None:
        """Close a file, and whatever else is a generator."""
        close = getattr(self._iterator, "close", None)
        if close is not None:
            with suppress(ValueError):  # it runs in a thread
                close()


def _of_frame(rows: Any) -> Iterator[Any] | None:
    """The rows of a DataFrame of pandas or Polars, or of an Arrow table, as dicts; None of anything else."""
    if hasattr(rows, "itertuples") and hasattr(rows, "columns"):  # pandas
        names = [str(each) for each in rows.columns]
        return (
            dict(zip(names, map(present, values), strict=True))
            for values in rows.itertuples(index=False, name=None)
        )
    if hasattr(rows, "iter_rows") and hasattr(rows, "columns"):  # Polars
        found: Iterator[Any] = rows.iter_rows(named=True)
        return found
    if hasattr(rows, "to_batches") and hasattr(rows, "schema"):  # Arrow
        return (row for batch in rows.to_batches(max_chunksize=1000) for row in batch.to_pylist())
    return None


def present(value: Any) -> Any:
    """The value; None for what pandas marks a missing one by."""
    if isinstance(value, float):
        return None if isnan(value) else value
    return None if type(value).__name__ in _MISSING else value
