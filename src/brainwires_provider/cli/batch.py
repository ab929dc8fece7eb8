"""`batch`: the batches that are recorded on this machine: listed, shown, waited for, read, sent again, cancelled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from brainwires_provider.cli.options import Connection, expand_options
from brainwires_provider.cli.output import dump, error_shape, response_shape
from brainwires_provider.cli.status import FAILED, FINE, INTERRUPTED, MISUSED
from brainwires_provider.cli.tables import print_table
from brainwires_provider.cli.terminal import complain, explain, note, print_line
from brainwires_provider.errors import ConfigError, ProviderError, RequestTimeout
from brainwires_provider.resources.batch import AsyncBatch
from brainwires_provider.resources.batch_ledger import Handle, Ledger
from brainwires_provider.types.batches import BatchJob, BatchResult

__all__ = ["add_batch"]

Finish = Callable[[Callable[[], int]], NoReturn]
_Id = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="The id in the list. Default: the last batch.", show_default=False),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Folder = Annotated[
    str | None,
    typer.Option("--ledger", metavar="FOLDER", help="Where batches are recorded. Default: your data folder."),
]
_LIST = ("ID", "CREATED", "MODEL", "REQUESTS", "JOBS", "STATE WHEN LAST SEEN")
_JOBS = ("JOB", "MODEL", "REQUESTS", "STATE", "SERVICE'S STATE", "COUNTS", "ERROR")


def add_batch(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that they return."""
    group = typer.Typer(
        help="List, show, wait for, read, send again, cancel and forget batches that are recorded here.\n\n"
        "\b\nbrainwires batch list",
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    app.add_typer(group, name="batch")
    _add_local(group, finish)
    _add_asking(group, finish)
    _add_ending(group, finish)


def _add_local(group: typer.Typer, finish: Finish) -> None:
    @group.command("list")
    def list_all(
        most: Annotated[int, typer.Option("-n", min=1, help="How many, at most.")] = 20,
        as_json: _Json = False,
        ledger: _Folder = None,
    ) -> None:
        """List the batches that are recorded here, the last one first. Nothing is sent.

        \b
        brainwires batch list
        brainwires batch list -n 5 --json
        """
        finish(lambda: _reported(lambda: _list(most, ledger, as_json=as_json)))

    @group.command()
    def delete(
        id: Annotated[str, typer.Argument(metavar="ID", help="The id in the list.")], ledger: _Folder = None
    ) -> None:
        """Delete what is recorded here of a batch: requests, results, and its ids. The service keeps its own.

        \b
        brainwires batch delete 20261130-021500-3fa2b1c0
        """
        finish(lambda: _reported(lambda: _delete(id, ledger)))


def _add_asking(group: typer.Typer, finish: Finish) -> None:
    @group.command()
    @expand_options
    def show(
        *, id: _Id = None, as_json: _Json = False, ledger: _Folder = None, connection: Connection
    ) -> None:
        """Show a batch's jobs, as their services have them now.

        \b
        brainwires batch show
        brainwires batch show 20261130-021500-3fa2b1c0 --json
        """
        finish(
            lambda: _reported(
                lambda: _with(id, ledger, connection, lambda each: _show(each, as_json=as_json))
            )
        )

    @group.command()
    @expand_options
    def wait(
        *,
        id: _Id = None,
        every: Annotated[
            float, typer.Option(help="Seconds between the first two looks; they grow to 600.")
        ] = 30.0,
        timeout: Annotated[
            float | None, typer.Option(min=0, help="Seconds after which to give up. Default: never.")
        ] = None,
        ledger: _Folder = None,
        connection: Connection,
    ) -> None:
        """Wait until a batch has ended. Ctrl-C ends the wait; the batch goes on.

        \b
        brainwires batch wait && brainwires batch results -o answers.jsonl
        """
        finish(
            lambda: _reported(lambda: _with(id, ledger, connection, lambda each: _wait(each, every, timeout)))
        )


def _add_ending(group: typer.Typer, finish: Finish) -> None:
    @group.command()
    @expand_options
    def results(
        *,
        id: _Id = None,
        output: Annotated[
            Path | None, typer.Option("-o", "--output", help="A file. Default: standard output.")
        ] = None,
        texts: Annotated[bool, typer.Option("--text", help="Print id and text only.")] = False,
        ledger: _Folder = None,
        connection: Connection,
    ) -> None:
        """Print what became of each request, one JSON object per line, in the order of the input.

        The exit status is 1 if a request did not succeed.

        \b
        brainwires batch results > answers.jsonl
        brainwires batch results -o answers.jsonl --text
        """
        finish(
            lambda: _reported(
                lambda: _with(id, ledger, connection, lambda each: _results(each, output, texts))
            )
        )

    @group.command()
    @expand_options
    def retry(*, id: _Id = None, ledger: _Folder = None, connection: Connection) -> None:
        """Create the jobs that were not created yet; if all are and have ended, send again what did not succeed.

        \b
        brainwires batch retry
        """
        finish(lambda: _reported(lambda: _with(id, ledger, connection, _retry)))

    @group.command()
    @expand_options
    def cancel(*, id: _Id = None, ledger: _Folder = None, connection: Connection) -> None:
        """Cancel a batch. What was answered before is billed, and among its results.

        \b
        brainwires batch cancel 20261130-021500-3fa2b1c0
        """
        finish(lambda: _reported(lambda: _with(id, ledger, connection, _cancel)))


def _reported(work: Callable[[], int]) -> int:
    try:
        return work()
    except ProviderError as error:
        complain(explain(error))
        return MISUSED if isinstance(error, ConfigError) else FAILED
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}")
        return FAILED


# -- what is here --------------------------------------------------------------------------------------------


def _list(most: int, root: str | None, *, as_json: bool) -> int:
    ledger, lines = Ledger(root), []
    for id in ledger.ids()[:most]:
        try:
            handle, _ = ledger.load(id)
        except ConfigError as error:
            note(f"{id}: {error.message}")
            continue
        models = sorted({part.model for part in handle.parts})
        state = AsyncBatch(None, handle).state  # type: ignore[arg-type] # nothing is asked
        if as_json:
            shape = {"id": id, "created": handle.created, "models": models, "requests": len(handle.ids)}
            print_line(dump({**shape, "jobs": len(handle.parts), "state": state}))
        else:
            when = datetime.fromtimestamp(handle.created).astimezone().strftime("%Y-%m-%d %H:%M")
            lines.append((id, when, ", ".join(models), str(len(handle.ids)), str(len(handle.parts)), state))
    if not as_json:
        print_table(_LIST, lines)
        note(ledger.root)
    return FINE


def _delete(id: str, root: str | None) -> int:
    folder = Ledger(root).load(id)[1]
    folder.delete()
    note(f"{id} deleted here")
    return FINE


# -- what is asked of services -------------------------------------------------------------------------------


def _with(
    id: str | None, root: str | None, connection: Connection, work: Callable[[AsyncBatch], Awaitable[int]]
) -> int:
    ledger = Ledger(root)
    known = ledger.ids()
    if id is None and not known:
        raise ConfigError(f"no batch is recorded in {ledger.root}")
    handle, _ = ledger.load(id or known[0])

    async def main() -> int:
        async with _opened(handle, root, connection) as batch:
            return await work(batch)

    return asyncio.run(main())


@asynccontextmanager
async def _opened(handle: Handle, root: str | None, connection: Connection) -> AsyncIterator[AsyncBatch]:
    model = handle.parts[0].model if handle.parts else ""
    async with connection.client(model, connection.load()) as client:
        yield await client.load_batch(handle.id, ledger=root)


async def _show(batch: AsyncBatch, *, as_json: bool) -> int:
    await batch.refresh()
    if as_json:
        jobs = [_job_shape(job) for job in batch.jobs]
        print_line(dump({"id": batch.id, "state": batch.state, "requests": len(batch.ids), "jobs": jobs}))
        return FINE
    lines = [
        (job.id or "-", job.model, str(job.requests), job.state, job.raw_state, _counts(job), job.error or "")
        for job in batch.jobs
    ]
    print_table(_JOBS, lines)
    note(f"{batch.id}: {batch.state}, {len(batch.ids)} requests")
    return FINE


def _job_shape(job: BatchJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__struct_fields__}


def _counts(job: BatchJob) -> str:
    return ", ".join(f"{value} {name}" for name, value in job.counts.items())


async def _wait(batch: AsyncBatch, every: float, timeout: float | None) -> int:
    shown = [""]

    def progress(batch: AsyncBatch) -> None:
        line = f"{batch.id}: {batch.state}" + "".join(f"; {_counts(job)}" for job in batch.jobs if job.counts)
        if line != shown[0]:
            shown[0] = line
            note(line)

    try:
        state = await batch.wait(every=every, timeout=timeout, on_cancel="leave", progress=progress)
    except RequestTimeout as error:
        complain(explain(error))
        return FAILED
    except asyncio.CancelledError:
        note(f"the batch goes on; `brainwires batch cancel {batch.id}` cancels it")
        return INTERRUPTED
    return FINE if state == "done" else FAILED


async def _results(batch: AsyncBatch, output: Path | None, texts: bool) -> int:
    outcomes: Counter[str] = Counter()
    with _written(output) as write:
        async for result in batch.results():
            outcomes[result.outcome] += 1
            write(dump(_result_shape(result, texts)))
    note(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    return FINE if set(outcomes) == {"succeeded"} else FAILED


@contextmanager
def _written(output: Path | None) -> Iterator[Callable[[bytes], object]]:
    """What writes a line; a file has its name when it has every line, and is as it was before else."""
    if output is None:
        yield print_line
        return
    is_special = output.exists() and not output.is_file()  # /dev/null
    unfinished = output if is_special else Path(f"{output}.part")
    try:
        with unfinished.open("wb") as file:
            yield lambda line: file.write(line + b"\n")
        if not is_special:
            unfinished.replace(output)
    except BaseException:
        if not is_special:
            unfinished.unlink(missing_ok=True)
        raise


def _result_shape(result: BatchResult, texts: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {"id": result.id, "outcome": result.outcome}
    if result.response is not None:
        shape |= {"text": result.response.text} if texts else {"response": response_shape(result.response)}
    if result.error is not None:
        shape["error"] = str(result.error) if texts else error_shape(result.error)
    return shape


async def _retry(batch: AsyncBatch) -> int:
    if any(job.id is None for job in batch.jobs):
        await batch.submit()
        note(f"{batch.id}: all jobs are created")
        return FINE
    count = await batch.retry()
    note(f"{batch.id}: {count} requests sent again")
    return FINE


async def _cancel(batch: AsyncBatch) -> int:
    note(f"{batch.id}: {await batch.cancel()}")
    return FINE
