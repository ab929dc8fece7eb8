"""A synchronous bulk run: each batch of results is one call of the asynchronous run on the portal."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Generic, Self

from brainwires_provider.bulk.engine import AsyncBulk
from brainwires_provider.bulk.results import BulkResult
from brainwires_provider.sync.stream import Owner
from brainwires_provider.types.bulk import BulkForecast, BulkProgress
from brainwires_provider.types.responses import O_co

__all__ = ["Bulk"]


class Bulk(Generic[O_co]):
    """Asks a model about many rows, and gives a `BulkResult` for each, in their order. Made by `map`.

    Iterate it, or call `bulk.collect()`; use `with` where the iteration may be left. A row that fails is a result with
    an `error`; what would happen to every row is raised, after what has ended so far: a wrong key, a budget that is
    used up, a ledger that cannot be written. What is recorded is not paid for again. Functions of a row are called on
    the portal's thread: they may not use this client.
    """

    def __init__(self, core: AsyncBulk[O_co], client: Owner) -> None:
        self._core = core
        self._client = client  # a client that is dropped closes its connections
        self._buffer: deque[BulkResult[O_co]] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BulkResult[O_co]:
        if not self._buffer:
            self._buffer.extend(self._client._share.call(self._core._pull))
            if not self._buffer:
                raise StopIteration
        return self._buffer.popleft()

    def collect(self) -> list[BulkResult[O_co]]:
        """Go on to the end, and give all results that are left."""
        return list(self)

    def stop(self) -> None:
        """Take no further row: what is being asked ends, is recorded, and given where its turn comes."""

        async def stop() -> None:
            self._core.stop()

        self._client._share.call(stop)

    def close(self) -> None:
        """Leave: what is being asked is cancelled, what has ended is recorded."""
        self._buffer.clear()
        self._client._share.call(self._core.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- written by tools/write_sync.py from AsyncBulk --

    @property
    def progress(self) -> BulkProgress:
        """How far it is."""
        return self._core.progress

    @property
    def is_complete(self) -> bool:
        """Whether every row had its turn: false after `stop`, and after an error."""
        return self._core.is_complete

    @property
    def interrupted(self) -> tuple[str, ...]:
        """The ids that earlier runs with this ledger have claimed and have no result of; they are asked again."""
        return self._core.interrupted

    @property
    def damaged(self) -> int:
        """How many lines of the ledger could not be read, a torn last one apart; their rows are asked again."""
        return self._core.damaged

    def forecast(self) -> BulkForecast:
        """What it would take; nothing is sent.

        The rows are read for it: what can be read once only is used up.

        Raises ConfigError for a ledger that another run uses, and what making the rows raises.
        """
        return self._client._share.call(self._core.forecast)

    # -- end of what is written --
