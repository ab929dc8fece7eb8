"""A batch: many requests in one job or several, answered within hours at a lower price.

The handle is small and has no secrets: it survives JSON, and another process. Every state that it passes through is
written to the ledger before the step that it belongs to.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from logging import getLogger
from typing import Any, Final, Literal

from brainwires_provider._core.session import Session
from brainwires_provider.errors import ConfigError, ProviderError, RequestTimeout
from brainwires_provider.protocols.base.batches import Job
from brainwires_provider.resources.batch_calls import ByteStore, JobCalls
from brainwires_provider.resources.batch_ledger import Folder, Handle, Ledger, Part
from brainwires_provider.resources.batch_making import BatchItems, make_batch
from brainwires_provider.resources.batch_results import Reader, once_each
from brainwires_provider.types import OutputParams
from brainwires_provider.types.batches import BatchJob, BatchResult, BatchState, Outcome
from brainwires_provider.types.checked import check_call, checks_calls

__all__ = ["UNFINISHED", "AsyncBatch", "load_batch", "start_batch"]

_FINAL: Final = ("done", "failed", "cancelled", "expired")
_WORST: Final = ("failed", "expired", "cancelled", "done")
_MOST_LATE = 10
"""How often a job that has ended is looked after for results that it does not name."""
_MOST_FAILED = 5
"""How many looks may fail, one after another."""
_TO_CANCEL = 10.0  # seconds
_PATIENCE = 2.0  # seconds, for another process that is writing
_PAUSE = 0.02  # seconds
UNFINISHED: Final = ("errored", "expired", "cancelled", "missing")


@checks_calls
class AsyncBatch:
    """Made by `AsyncClient.batch`, and by `AsyncClient.load_batch` of one that was made before.

    `sleep` and `clock` are for tests of `wait`.
    """

    def __init__(
        self,
        session: Session,
        handle: Handle,
        folder: Folder | None = None,
        *,
        store: ByteStore | None = None,
        output: Any = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._handle = handle
        self._folder = folder
        self._store = store
        self._output = output
        self._sleep = sleep
        self._clock = clock

    # -- what is known of it -----------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The batch's id in the ledger; the services' own are those of `jobs`."""
        return self._handle.id

    @property
    def ids(self) -> tuple[str, ...]:
        """Your ids of the requests, in the order of the input."""
        return tuple(self._handle.ids)

    @property
    def jobs(self) -> tuple[BatchJob, ...]:
        """The jobs that the requests are in, as their services last showed them; those of `retry` are behind."""
        return tuple(_shown(part) for part in self._handle.parts)

    @property
    def state(self) -> BatchState:
        """Of all jobs, as last seen: one that is not final, if there is one; else the worst of the final ones.

        Of jobs whose requests were all sent again only the later ones count.
        """
        states = [_state(part) for part in self._current()]
        if any(state not in _FINAL for state in states):
            if all(state == "queued" for state in states):
                return "queued"
            return "running" if {"queued", "running"} & set(states) else "ending"
        return next(state for state in _WORST if state in states)

    @property
    def is_final(self) -> bool:
        """Whether all jobs have ended, as last seen."""
        return self.state in _FINAL

    def to_json(self) -> bytes:
        """The handle, for `load_batch` in another process: ids and jobs, without keys, requests and results."""
        return self._handle.dump()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.state}, {len(self._handle.ids)} requests)"

    def _current(self) -> list[Part]:
        """The jobs that at least one request was last sent in."""
        last: dict[int, int] = {}
        for number, part in enumerate(self._handle.parts):
            last |= dict.fromkeys(part.members, number)
        return [self._handle.parts[number] for number in sorted(set(last.values()))]

    # -- sending -----------------------------------------------------------------------------------------

    async def submit(self, *, again: bool = False) -> None:
        """Create the jobs that were not created yet: after a failure, or a crash. Does nothing where all are.

        Where a service did not answer, its list of jobs is searched first. Where that cannot be done, ConfigError is
        raised, unless `again`: then it is created once more, and perhaps paid twice. ConfigError, too, while another
        process is sending the batch.
        """
        async with self._alone():
            await self._create(again=again)

    async def _create(self, *, again: bool = False) -> None:
        for calls in self._calls():
            try:
                await calls.submit(again=again)
            except BaseException as error:
                error.add_note(
                    f"batch {self.id} is recorded{'' if self._folder is None else f' in {self._folder.path}'}: "
                    f"load_batch({self.id!r}) and submit() go on with it"
                )
                raise

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """With the batch's folder to oneself, and with what others have done by then. Raises ConfigError."""
        if self._folder is None:
            yield
            return
        until = time.monotonic() + _PATIENCE
        while True:
            with self._folder.locked() as is_free:
                if is_free:
                    self._reload()
                    yield
                    return
            if time.monotonic() > until:
                raise ConfigError(
                    f"batch {self.id} is being sent by another process, or another task: wait for its end"
                )
            await asyncio.sleep(_PAUSE)

    def _reload(self) -> None:
        """What is recorded by now: another process may have sent something. Raises OSError, ConfigError."""
        if self._folder is not None:
            self._handle.parts[:] = self._folder.load().parts

    async def retry(self, outcomes: Iterable[Outcome] = UNFINISHED, *, output: Any = None) -> int:
        """Send the requests with these outcomes again, in new jobs of this batch, and give their number.

        By default all that did not succeed. `results` then has each id once: with what came of it last. `output` is
        as in `results`: an answer that is not of the type is `errored`. Where a job is refused, the batch is as it
        was before.

        Raises ConfigError where the batch's requests are not on this machine, for too few of them for a job of the
        service, and while another process is sending the batch.
        """
        wanted = _unfinished(outcomes)
        await self.refresh()
        known = len(self._handle.parts)
        again: dict[int, list[int]] = {}
        async for place, number, result in self._read(ordered=True, output=output or self._output):
            if result.outcome in wanted:
                again.setdefault(number, []).append(place)
        async with self._alone():
            if len(self._handle.parts) != known:
                raise ConfigError(f"another process has just sent requests of batch {self.id} again")
            try:
                for number, members in again.items():
                    self._resend(number, members)
                self._save()
                await self._create()
            except BaseException:
                self._unsend(known)
                raise
        return sum(map(len, again.values()))

    def _unsend(self, known: int) -> None:
        """Forget new jobs that were not created: the results of those before could not be read else."""
        parts = self._handle.parts
        while len(parts) > known and parts[-1].stage in ("planned", "uploaded"):
            parts.pop()
        with suppress(OSError):
            self._save()

    def _resend(self, number: int, members: list[int]) -> None:
        """A new job with some requests of an earlier one."""
        handle, job = self._handle, self._job(number)
        lines, fewest = job.lines_of(members), job.protocol.limits.fewest
        if len(members) < fewest:
            raise ConfigError(
                f"{job.part.model} takes batches of at least {fewest} requests, and {len(members)} would be sent "
                "again: ask them one by one"
            )
        before, new = handle.parts[number], len(handle.parts)
        assert self._folder is not None
        self._folder.write_lines(new, lines)
        reports = dict(zip(before.members, before.reports, strict=True))
        handle.parts.append(
            Part(
                before.model,
                before.path,
                f"{handle.id}-{new}",
                members,
                before.headers,
                [reports[place] for place in members],
                {place: before.models[place] for place in members if place in before.models},
            )
        )

    def _save(self) -> None:
        if self._folder is not None:
            self._folder.save(self._handle)

    def _job(self, number: int) -> JobCalls:
        return JobCalls(
            self._session, self._handle, number, folder=self._folder, store=self._store, save=self._save
        )

    def _calls(self) -> list[JobCalls]:
        return [self._job(number) for number in range(len(self._handle.parts))]

    # -- looking after -----------------------------------------------------------------------------------

    async def refresh(self) -> BatchState:
        """Look after the jobs that have not ended, and give the state of all."""
        self._reload()
        try:
            for calls in self._calls():
                if _state(calls.part) not in _FINAL:
                    await calls.refresh()
        finally:
            self._keep_states()
        return self.state

    def _keep_states(self) -> None:
        """Record how the jobs are; not while another process is writing, for they are looked after again."""
        if self._folder is None:
            return
        seen = {part.name: part for part in self._handle.parts if part.job is not None}
        try:
            with self._folder.locked() as is_free:
                if not is_free:
                    return
                self._reload()
                for part in self._handle.parts:
                    now = seen.get(part.name, part)
                    part.job, part.late = now.job, now.late
                self._save()
        except (OSError, ConfigError) as error:
            getLogger("brainwires_provider").warning("batch %s cannot be recorded: %s", self.id, error)

    async def wait(
        self,
        *,
        every: float = 30.0,
        slowest: float = 600.0,
        timeout: float | None = None,
        on_cancel: Literal["cancel", "leave"] = "cancel",
        progress: Callable[[AsyncBatch], None] | None = None,
    ) -> BatchState:
        """Look after the jobs until all have ended, and give the state.

        The pauses begin with `every` seconds and grow by half up to `slowest`. `progress` is called after each look.
        A look that fails for a reason that may pass is made again.

        Where the wait is cancelled, the jobs are cancelled too, since they would be billed; what cannot be cancelled
        within 10 s is logged, and noted on the exception. With `on_cancel="leave"` they go on.

        Raises RequestTimeout after `timeout` seconds, by default never; the jobs go on. ConfigError where a job was
        not created yet: use `submit`.
        """
        try:
            await self._until_final(every, slowest, timeout, progress)
        except asyncio.CancelledError as stop:
            stop.add_note(await self._left(on_cancel))
            raise
        return self.state

    async def _until_final(
        self,
        every: float,
        slowest: float,
        timeout: float | None,
        progress: Callable[[AsyncBatch], None] | None,
    ) -> None:
        if not every > 0:
            raise ConfigError(f"every is the number of seconds between two looks, not {every!r}")
        due = None if timeout is None else self._clock() + timeout
        failed = 0
        while True:
            try:
                await self.refresh()
                failed = 0
            except ProviderError as error:
                failed += 1
                if not error.retryable or failed >= _MOST_FAILED:
                    raise
                getLogger("brainwires_provider").warning(
                    "batch %s: %s; it is looked after again", self.id, error
                )
            if progress is not None:
                progress(self)
            if self.is_final:
                return
            if any(part.job is None for part in self._current()):
                raise ConfigError(f"batch {self.id} has a job that was not created: use submit()")
            left = every if due is None else min(every, due - self._clock())
            if left <= 0:
                raise RequestTimeout(
                    f"batch {self.id} was {self.state} after {timeout:g} s; wait again, or cancel it",
                    clock="total",
                )
            await (self._sleep or asyncio.sleep)(left)
            every = max(every, min(every * 1.5, slowest))

    async def _left(self, on_cancel: str) -> str:
        """The wait was cancelled: have the jobs cancelled, or say that they go on."""
        words = f"batch {self.id} goes on, and is billed"
        if on_cancel == "leave":
            return words
        try:
            async with asyncio.timeout(_TO_CANCEL):
                await self.cancel()
            words = f"batch {self.id}: cancellation was asked for"
        except TimeoutError:
            words += f": it was not cancelled within {_TO_CANCEL:g} s"
        except (ProviderError, OSError) as error:
            words += f": it was not cancelled ({error})"
        getLogger("brainwires_provider").warning("%s", words)
        return words

    async def cancel(self) -> BatchState:
        """Have all jobs cancelled that have not ended, and give the state: usually `ending`, so `wait` again.

        What was answered before is billed, and among the results. All jobs are tried; the first failure is raised
        then: UnsupportedError where a service cancels no job.
        """
        first: ProviderError | None = None
        self._reload()
        try:
            for calls in self._calls():
                if calls.part.job is None or _state(calls.part) in _FINAL:
                    continue
                try:
                    await calls.cancel()
                    await calls.refresh()
                except ProviderError as error:
                    first = first or error
        finally:
            self._keep_states()
        if first is not None:
            raise first
        return self.state

    # -- results -----------------------------------------------------------------------------------------

    async def results(self, *, ordered: bool = True, output: Any = None) -> AsyncIterator[BatchResult]:
        """What became of each request: every id exactly once, in the order of the input.

        Results are read from the service once, and kept in the ledger. `ordered=False` gives them job by job, with
        less memory. `output` is the type of `response.output`, as `batch(output=…)` has it; a handle does not keep
        it. Raises ConfigError while a job has not ended.
        """
        async for _, _, result in self._read(ordered=ordered, output=output or self._output):
            yield result

    async def _read(self, *, ordered: bool, output: Any) -> AsyncIterator[tuple[int, int, BatchResult]]:
        """Each place, the number of its last job, and its result."""
        if not self.is_final:
            await self.refresh()
        if not self.is_final:
            raise ConfigError(f"batch {self.id} is {self.state}: its results come at its end, see wait()")
        reader = Reader(self._session, self._handle, output)
        async for found in once_each(self._calls(), len(self._handle.ids), ordered=ordered):
            yield found.place, found.number, await reader.result(found)


def _unfinished(outcomes: Iterable[Outcome]) -> frozenset[str]:
    wanted = frozenset(outcomes)
    wrong = sorted(map(repr, wanted.difference(UNFINISHED)))
    if wrong:
        raise ConfigError(f"what can be sent again is {', '.join(UNFINISHED)}, not {', '.join(wrong)}")
    return wanted


def _state(part: Part) -> BatchState:
    job = part.job
    if job is None:
        return "queued"
    return "ending" if job.lags and part.late < _MOST_LATE else job.state


def _shown(part: Part) -> BatchJob:
    job = part.job or Job("", "queued", "")
    return BatchJob(
        job.id or None, part.model, _state(part), job.raw_state, len(part.members), job.counts, job.error
    )


async def start_batch(
    session: Session,
    items: BatchItems,
    args: OutputParams,
    *,
    job: Mapping[str, Any] | None,
    ledger: str | os.PathLike[str] | None,
    store: ByteStore | None,
    submit: bool = True,
) -> AsyncBatch:
    """Record a batch, and create its jobs. See `AsyncClient.batch`."""
    session.check_open()
    check_call(start_batch, {"store": store})
    id, folder = Ledger(ledger).new()
    try:
        handle = await asyncio.to_thread(make_batch, session, items, args, id, folder, job=job)
        batch = AsyncBatch(session, handle, folder, store=store, output=_typed(args))
        for calls in batch._calls():
            calls.check()
    except BaseException:
        with suppress(OSError):  # a thread that was abandoned may be writing still
            folder.delete()
        raise
    if submit:
        await batch.submit()
    return batch


def _typed(args: OutputParams) -> Any:
    from brainwires_provider._core.plan import is_typed

    return args.get("output") if is_typed(args) else None


async def load_batch(
    session: Session,
    source: bytes | str,
    *,
    ledger: str | os.PathLike[str] | None,
    store: ByteStore | None,
) -> AsyncBatch:
    """A batch that was made before. See `AsyncClient.load_batch`."""
    check_call(load_batch, {"store": store})
    known = Ledger(ledger)
    is_json = source.lstrip()[:1] in ("{", b"{")
    if isinstance(source, str) and not is_json:
        handle, folder = await asyncio.to_thread(known.load, source)
        return AsyncBatch(session, handle, folder, store=store)
    handle = Handle.load(source)
    here = known.folder(handle.id)
    if here is not None:  # what is recorded may be later than the JSON
        handle = await asyncio.to_thread(here.load)
    return AsyncBatch(session, handle, here, store=store)
