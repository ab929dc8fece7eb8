"""A bulk run: rows are taken in order, asked side by side, recorded, and given in order.

`concurrency` tasks each take a row, claim it in the ledger, ask, record what came, and take the next one; they ask
about that once both lines are in the ledger and the record is on the disk. So at most `concurrency` rows are asked
and not recorded. What has ended before its turn waits in `Waiting`; a consumer that takes nothing stops the run, once
enough are ready.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self

from msgspec import Struct

from brainwires_provider._core.deadlines import running_loop
from brainwires_provider._core.plan import check_args
from brainwires_provider._core.session import Session
from brainwires_provider.bulk.asking import RunOutOfBudget, asker_of
from brainwires_provider.bulk.ledger import Ledger, opened
from brainwires_provider.bulk.progress import Meter
from brainwires_provider.bulk.prompts import Template, check_columns, id_of
from brainwires_provider.bulk.record import Record, record_after, record_of_error
from brainwires_provider.bulk.results import BulkResult, dump_result, load_result
from brainwires_provider.bulk.source import END, Source
from brainwires_provider.bulk.waiting import Waiting
from brainwires_provider.errors import AuthenticationError, BudgetExceededError, ConfigError
from brainwires_provider.types import Attempt
from brainwires_provider.types.bulk import BulkForecast, BulkProgress, BulkSettings, MapParams
from brainwires_provider.types.responses import O_co
from brainwires_provider.types.runs import RunParams

__all__ = ["AsyncBulk"]

_ALL = frozenset((*MapParams.__annotations__, "output"))
_OF_ALL_ROWS = (ConfigError, AuthenticationError)
"""What would happen to every other row too."""
_AHEAD = 100_000
"""So many rows may be taken after the first that has no result."""
_EQUAL = 10_000
"""So many may wait for an equal one."""
_PAUSE = 64  # rows that are not asked, between two chances for other tasks


class _Row(Struct, frozen=True, gc=False):
    number: int
    id: str | int
    row: Any
    key: str
    asked: Any


class AsyncBulk(Generic[O_co]):
    """Asks a model about many rows, and gives a `BulkResult` for each, in their order. Made by `map`.

    Iterate it, or `await bulk.collect()`; use `async with` where the iteration may be left. A row that fails is a
    result with an `error`; what would happen to every row is raised, after what has ended so far: a wrong key, a
    budget that is used up, a ledger that cannot be written. What is recorded is not paid for again.
    """

    def __init__(self, session: Session, rows: Any, prompt: Any, args: Mapping[str, Any]) -> None:
        check_args(args, _ALL)
        own = {name: args[name] for name in BulkSettings.__struct_fields__ if name in args}
        self._settings = settings = BulkSettings(**own)
        rest: Any = {name: value for name, value in args.items() if name not in own}
        given: RunParams = rest
        self._asker = asker_of(session, settings, prompt, given)
        self._prompt = Template(prompt) if isinstance(prompt, str) else prompt
        self._session, self._rows = session, rows
        self._source = Source(rows)
        self._id: Any = settings.id
        self._ledger: Ledger | None = None
        self._meter = Meter(settings.progress)
        self._meter.total = self._known_total()
        self._waiting: Waiting[BulkResult[Any]] = Waiting(dump_result, load_result)
        self._ready: deque[BulkResult[Any]] = deque()
        self._most_ready = max(2 * settings.concurrency, 64)
        self._following: dict[str, list[_Row]] = {}
        self._followers = 0
        self._number = 0
        self._running = 0
        self._ends = 0  # so many have ended, other than by a budget
        self._skipped = 0
        self._news, self._room, self._settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._turn = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._main: asyncio.Task[None] | None = None
        self._is_halted = self._is_over = self._is_closed = self._is_complete = False
        self._error: BaseException | None = None
        self._begun_at = 0

    def _known_total(self) -> int | None:
        total = self._source.total if self._settings.total is None else self._settings.total
        limit = self._settings.limit
        return total if limit is None or total is None else min(total, limit)

    # -- what there is -------------------------------------------------------------------------------------

    @property
    def progress(self) -> BulkProgress:
        """How far it is."""
        return self._meter.progress()

    @property
    def is_complete(self) -> bool:
        """Whether every row had its turn: false after `stop`, and after an error."""
        return self._is_complete

    @property
    def interrupted(self) -> tuple[str, ...]:
        """The ids that earlier runs with this ledger have claimed and have no result of; they are asked again."""
        return tuple(self._ledger.unfinished.values()) if self._ledger is not None else ()

    @property
    def damaged(self) -> int:
        """How many lines of the ledger could not be read, a torn last one apart; their rows are asked again."""
        return 0 if self._ledger is None else self._ledger.damaged

    # -- reading -------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BulkResult[O_co]:
        if not self._ready:
            await self._wait()
            if not self._ready:
                raise StopAsyncIteration
        return self._pop()

    async def _pull(self) -> list[BulkResult[O_co]]:
        """The next results as one batch, at least one; none once the run has ended."""
        if not self._ready:
            await self._wait()
        batch = list(self._ready)
        self._ready.clear()
        self._room.set()
        return batch

    async def collect(self) -> list[BulkResult[O_co]]:
        """Go on to the end, and give all results that are left."""
        found: list[BulkResult[O_co]] = []
        while batch := await self._pull():
            found += batch
        return found

    def _pop(self) -> BulkResult[O_co]:
        result = self._ready.popleft()
        if len(self._ready) < self._most_ready:
            self._room.set()
        return result

    async def _wait(self) -> None:
        """Until something is ready, or all is over. Raises what has ended the run, once."""
        if self._is_closed:
            return
        if self._main is None:
            self._main = running_loop().create_task(self._all())
        while not self._ready and not self._is_over:
            self._news.clear()
            await self._news.wait()
        if not self._ready and self._error is not None:
            error, self._error = self._error, None
            raise error

    async def forecast(self) -> BulkForecast:
        """What it would take; nothing is sent.

        The rows are read for it: what can be read once only is used up.

        Raises ConfigError for a ledger that another run uses, and what making the rows raises.
        """
        from brainwires_provider.bulk.forecast import forecast

        path: Any = self._settings.ledger
        ledger = None if path is None else await asyncio.to_thread(opened, os.fspath(path))
        try:
            source = Source(self._rows)
            return await forecast(self._session, source, self._asker, ledger, self._settings)
        finally:
            if ledger is not None:
                ledger.close()

    def stop(self) -> None:
        """Take no further row: what is being asked ends, is recorded, and given where its turn comes."""
        self._is_halted = True
        self._room.set()
        self._settled.set()

    async def aclose(self) -> None:
        """Leave: what is being asked is cancelled, what has ended is recorded."""
        self._is_closed = True
        self.stop()
        if self._main is not None:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait((self._main,))
        self._ready.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- the whole -----------------------------------------------------------------------------------------

    async def _all(self) -> None:
        """Everything, from opening the ledger to closing it."""
        ledger = self._ledger
        try:
            ledger = self._ledger = await self._opened()
            loop = running_loop()
            count = self._settings.concurrency
            if self._meter.total is not None:
                count = min(count, self._meter.total) or 1
            self._tasks = [loop.create_task(self._work()) for _ in range(count)]
            await asyncio.wait(self._tasks)
        except BaseException as error:  # noqa: BLE001 - the consumer's to see
            self._halt(error)
        finally:
            try:
                self._source.close()
                if ledger is not None:
                    await ledger.aclose()
                self._meter.finish()
            except Exception as error:  # noqa: BLE001 - of the ledger, and of the caller's report
                self._halt(error)
            self._waiting.close()
            self._is_over, self._is_complete = True, not self._is_halted
            self._news.set()

    async def _opened(self) -> Ledger:
        path = self._settings.ledger
        if path is None:
            ledger = Ledger(None)
            ledger.open()
        else:
            ledger = Ledger(os.fspath(path))  # type: ignore[call-overload]
            await asyncio.to_thread(ledger.open)
        self._begun_at = ledger.end
        return ledger

    def _halt(self, error: BaseException) -> None:
        self._error = self._error or error
        self.stop()

    async def _work(self) -> None:
        try:
            while (item := await self._take()) is not None:
                if await self._is_claimed(item):
                    record = await self._asked(item)
                    if record is not None:
                        self._record(item, record)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the consumer's to see
            self._halt(error)

    # -- taking --------------------------------------------------------------------------------------------

    async def _take(self) -> _Row | None:
        """The next row that has to be asked; None if there is none."""
        async with self._turn:
            while not self._is_halted:
                if not self._has_room():
                    self._room.clear()
                    await self._room.wait()
                    continue
                if self._settings.limit is not None and self._number >= self._settings.limit:
                    return None
                row = await self._source.next()
                if row is END:
                    return None
                item = await self._begin(self._number, row)
                self._number += 1
                if item is not None:
                    return item
                self._skipped += 1
                if self._skipped % _PAUSE == 0:
                    await asyncio.sleep(0)
        return None

    def _has_room(self) -> bool:
        return (
            len(self._ready) < self._most_ready
            and self._number - self._waiting.next < _AHEAD
            and self._followers < _EQUAL
        )

    async def _begin(self, number: int, row: Any) -> _Row | None:
        """The row with its request; None where it has a result, or an equal one is being asked."""
        ledger = self._ledger
        assert ledger is not None
        id = self._id_of(number, row, ledger)
        try:
            key, asked = await self._asker.request(row)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - of the caller's function, or about this row
            self._ended(number, id, row, record_of_error(error))
            return None
        if key in self._following:
            self._following[key].append(_Row(number, id, row, key, None))
            self._followers += 1
            return None
        since = self._begun_at if self._settings.retry_errors else 0
        found = ledger.find(key, errors_since=since)
        if found is None:
            self._following[key] = []
            return _Row(number, id, row, key, asked)
        record, at = found
        is_equal = at >= self._begun_at
        self._ended(number, id, row, record, is_recorded=not is_equal, is_equal=is_equal)
        return None

    def _id_of(self, number: int, row: Any, ledger: Ledger) -> str | int:
        if number == 0:
            if self._id is None and isinstance(row, Mapping) and "id" in row:
                self._id = "id"
            check_columns(row, self._prompt, self._id)
        try:
            id = id_of(row, number, self._id)
        except ValueError as error:
            raise ConfigError(f"row {number}: {error}") from None
        if self._id is not None and not ledger.index.is_new(str(id)):
            raise ConfigError(
                f"row {number}: the id {str(id)!r} occurs twice; every row needs its own: name another column or a "
                "function by id="
            )
        return id

    # -- asking --------------------------------------------------------------------------------------------

    async def _is_claimed(self, item: _Row) -> bool:
        """Claim a row, and wait until that is written; false where the run was stopped meanwhile."""
        ledger = self._ledger
        assert ledger is not None
        ledger.claim(str(item.id), item.key)
        try:
            await ledger.written()
        except asyncio.CancelledError:
            ledger.refuse(str(item.id), item.key)
            raise
        if self._is_halted:
            ledger.refuse(str(item.id), item.key)
        return not self._is_halted

    def _record(self, item: _Row, record: Record) -> None:
        """Record what came; the row has it once it is on the disk."""
        ledger = self._ledger
        assert ledger is not None
        self._meter.running = self._running
        try:
            ledger.record(str(item.id), item.key, record, partial(self._settle, item, record))
        except (TypeError, ValueError) as error:  # an answer that is no JSON, such as half a surrogate pair
            record = record_of_error(error)
            ledger.record(str(item.id), item.key, record, partial(self._settle, item, record))

    def _settle(self, item: _Row, record: Record) -> None:
        """Give a row what came, and equal rows too."""
        try:
            self._ended(item.number, item.id, item.row, record)
            for each in self._following.pop(item.key):
                self._followers -= 1
                self._ended(each.number, each.id, each.row, record, is_equal=True)
        except Exception as error:  # noqa: BLE001 - of the caller's report, of a full temporary folder
            self._halt(error)
        self._room.set()

    async def _asked(self, item: _Row) -> Record | None:
        """What came; None if a budget is at its end, or the run was halted before."""
        used: list[Attempt] = []  # by what could not go on within the budget: it is begun again once, alone
        while True:
            exceeded, ends = None, self._ends
            self._running += 1
            self._meter.running = self._running
            try:
                return record_after(await self._asker.ask(item.asked), used)
            except BudgetExceededError as error:
                exceeded = error
            except _OF_ALL_ROWS:
                raise
            except Exception as error:  # noqa: BLE001 - an error is a result
                return record_after(record_of_error(error), used)
            finally:
                self._running -= 1
                if exceeded is None:  # a refusal leaves no more to others than there was
                    self._ends += 1
                    self._settled.set()
            is_paid = any(each.usage is not None for each in exceeded.attempts)
            is_over = isinstance(exceeded, RunOutOfBudget) or (is_paid and bool(used))
            if not (is_paid or is_over or self._is_halted) and ends != self._ends:
                continue  # another has ended since it was asked
            if self._running == 0 or is_over:
                self._halt(_resumable(exceeded, self._settings.ledger))
            elif not self._is_halted:
                await self._wait_for_others(is_all=is_paid)
            used += exceeded.attempts if is_paid else ()
            if self._is_halted:
                if not (exceeded.attempts or used or isinstance(exceeded, RunOutOfBudget)):
                    assert self._ledger is not None
                    self._ledger.refuse(str(item.id), item.key)
                return None

    async def _wait_for_others(self, *, is_all: bool) -> None:
        """What others have reserved may be more than they need. Of one that has ended, or of all, until a halt."""
        while True:
            self._settled.clear()
            await self._settled.wait()
            if not (is_all and self._running) or self._is_halted:
                return

    def _ended(
        self,
        number: int,
        id: str | int,
        row: Any,
        record: Record,
        *,
        is_recorded: bool = False,
        is_equal: bool = False,
    ) -> None:
        self._meter.ended(record, is_recorded=is_recorded, is_equal=is_equal)
        result = BulkResult(id, number, row, record, is_recorded, self._asker)
        before = len(self._ready)
        for each in self._waiting.put(number, result):
            each._reader = self._asker  # one that was on disk has none
            self._ready.append(each)
        if len(self._ready) > before:
            self._news.set()


def _resumable(error: BudgetExceededError, ledger: object) -> BudgetExceededError:
    how = (
        "nothing of this run is kept, since it has no ledger"
        if ledger is None
        else f"what was answered is recorded: the same call with ledger={str(ledger)!r} and a larger budget goes on"
    )
    return BudgetExceededError(f"{error.message}. {how}", provider=error.provider, model=error.model)
