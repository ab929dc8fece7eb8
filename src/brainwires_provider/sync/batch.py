"""A batch, without async and await."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Literal

from brainwires_provider.resources.batch import UNFINISHED, AsyncBatch
from brainwires_provider.sync.stream import Owner, made
from brainwires_provider.types.batches import BatchJob, BatchResult, BatchState, Outcome

__all__ = ["Batch"]

_AT_ONCE = 500  # results


class Batch:
    """Made by `Client.batch`, and by `Client.load_batch` of one that was made before."""

    def __init__(self, core: AsyncBatch, client: Owner) -> None:
        self._core = core
        self._client = client

    def wait(
        self,
        *,
        every: float = 30.0,
        slowest: float = 600.0,
        timeout: float | None = None,
        on_cancel: Literal["cancel", "leave"] = "cancel",
        progress: Callable[[Batch], None] | None = None,
    ) -> BatchState:
        """Look after the jobs until all have ended, and give the state.

        The pauses begin with `every` seconds and grow by half up to `slowest`. `progress` is called after each look,
        on the thread of the network: it cannot use this client. A look that fails for a reason that may pass is made
        again.

        Where Ctrl-C ends the wait, the jobs are cancelled, since they would be billed; what cannot be cancelled within
        10 s is logged, and noted on the exception. With `on_cancel="leave"` they go on.

        Raises RequestTimeout after `timeout` seconds, by default never; the jobs go on. ConfigError where a job was
        not created yet: use `submit`.
        """
        core, share = self._core, self._client._share
        shown = None if progress is None else lambda _: progress(self)
        try:
            share.call(lambda: core._until_final(every, slowest, timeout, shown))
        except KeyboardInterrupt as stop:
            stop.add_note(share.call(lambda: core._left(on_cancel)))
            raise
        return core.state

    def results(self, *, ordered: bool = True, output: Any = None) -> Iterator[BatchResult]:
        """What became of each request: every id exactly once, in the order of the input.

        Results are read from the service once, and kept in the ledger. `ordered=False` gives them job by job, with
        less memory. `output` is the type of `response.output`, as `batch(output=…)` has it; a handle does not keep
        it. Raises ConfigError while a job has not ended.
        """
        found = self._core.results(ordered=ordered, output=output)
        while some := self._client._share.call(lambda: _some(found)):
            yield from some

    def __repr__(self) -> str:
        return repr(self._core).removeprefix("Async")

    # -- written by tools/write_sync.py from AsyncBatch --

    @property
    def id(self) -> str:
        """The batch's id in the ledger; the services' own are those of `jobs`."""
        return self._core.id

    @property
    def ids(self) -> tuple[str, ...]:
        """Your ids of the requests, in the order of the input."""
        return self._core.ids

    @property
    def jobs(self) -> tuple[BatchJob, ...]:
        """The jobs that the requests are in, as their services last showed them; those of `retry` are behind."""
        return self._core.jobs

    @property
    def state(self) -> BatchState:
        """Of all jobs, as last seen: one that is not final, if there is one; else the worst of the final ones.

        Of jobs whose requests were all sent again only the later ones count.
        """
        return self._core.state

    @property
    def is_final(self) -> bool:
        """Whether all jobs have ended, as last seen."""
        return self._core.is_final

    def to_json(self) -> bytes:
        """The handle, for `load_batch` in another process: ids and jobs, without keys, requests and results."""
        return made(self._core.to_json)

    def submit(self, *, again: bool = False) -> None:
        """Create the jobs that were not created yet: after a failure, or a crash. Does nothing where all are.

        Where a service did not answer, its list of jobs is searched first. Where that cannot be done, ConfigError is
        raised, unless `again`: then it is created once more, and perhaps paid twice. ConfigError, too, while another
        process is sending the batch.
        """
        return self._client._share.call(lambda: self._core.submit(again=again))

    def retry(self, outcomes: Iterable[Outcome] = UNFINISHED, *, output: Any = None) -> int:
        """Send the requests with these outcomes again, in new jobs of this batch, and give their number.

        By default all that did not succeed. `results` then has each id once: with what came of it last. `output` is
        as in `results`: an answer that is not of the type is `errored`. Where a job is refused, the batch is as it
        was before.

        Raises ConfigError where the batch's requests are not on this machine, for too few of them for a job of the
        service, and while another process is sending the batch.
        """
        return self._client._share.call(lambda: self._core.retry(outcomes, output=output))

    def refresh(self) -> BatchState:
        """Look after the jobs that have not ended, and give the state of all."""
        return self._client._share.call(self._core.refresh)

    def cancel(self) -> BatchState:
        """Have all jobs cancelled that have not ended, and give the state: usually `ending`, so `wait` again.

        What was answered before is billed, and among the results. All jobs are tried; the first failure is raised
        then: UnsupportedError where a service cancels no job.
        """
        return self._client._share.call(self._core.cancel)

    # -- end of what is written --


async def _some(found: AsyncIterator[BatchResult]) -> list[BatchResult]:
    some: list[BatchResult] = []
    async for result in found:
        some.append(result)
        if len(some) == _AT_ONCE:
            break
    return some
