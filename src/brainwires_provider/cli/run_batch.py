"""`brainwires run --batch`: the rows go to the provider's batch API, and their results into the same columns.

The batch's id is in a file beside the output before anything is sent, so that the same command goes on: it waits for
the batch that is under way, and never sends a second one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from brainwires_provider._core.plan import plan
from brainwires_provider.bulk.files import open_rows
from brainwires_provider.bulk.prompts import Template, as_input, id_of
from brainwires_provider.bulk.record import Record, columns, record_of, record_of_error, request_key
from brainwires_provider.cli.options import Question
from brainwires_provider.cli.run_output import Output, locked
from brainwires_provider.cli.run_rows import Job, checked_rows, file_of
from brainwires_provider.cli.status import FAILED, FINE, INTERRUPTED, MISUSED
from brainwires_provider.cli.terminal import complain, explain, note
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.resources.batch import AsyncBatch
from brainwires_provider.types import Policies
from brainwires_provider.types.batches import BatchResult

__all__ = ["run_batch"]

_STANDARD = "-"
_ENDING = ".batch"
_LARGEST = 10_000


class _Begun(Struct, frozen=True):
    """What the file beside the output has."""

    id: str
    requests: str
    """A hash of the ids, requests and models, in their order."""


class _Asked(NamedTuple):
    """What is asked."""

    items: dict[str, Any]
    """The requests by id."""
    failed: dict[int, Exception]
    """By number, the rows that nothing can be asked about."""
    digest: str
    """Of ids, requests and models, in their order."""


def run_batch(job: Job, ask: Callable[[], Question]) -> int:
    """Do it. `ask` creates the client. Returns the exit status."""
    try:
        question = ask()
        _check(job, question)
        with file_of(job.rows) as path:
            template = None if job.prompt is None else Template(job.prompt)
            found = checked_rows(path, job, template)
            with (
                _begun_file(job.output + _ENDING) as file,
                Output(job.output, found, job.prefix) as output,
            ):
                return asyncio.run(_whole(job, path, file, question, template, output=output))
    except ProviderError as error:
        complain(explain(error))
        return MISUSED if isinstance(error, ConfigError) else FAILED


async def _whole(
    job: Job, path: str, file: int, question: Question, template: Template | None, *, output: Output
) -> int:
    """Send, or go on with what was sent; wait; write. Raises ProviderError."""
    asked = await _asked(job, path, question, template)
    async with question.client as client:
        if not asked.items:
            first = next(iter(asked.failed.values()), "the file has no entry")
            raise ConfigError(f"nothing can be asked: {first}")
        batch = await _begun(job, file, client, question, asked)
        try:
            await batch.submit()
            if job.retry_errors and await batch.refresh() in ("done", "failed", "expired", "cancelled"):
                note(f"{await batch.retry(output=_output(question))} requests are sent again")
            await batch.wait(on_cancel="leave", progress=_shown)
        except asyncio.CancelledError:
            note(
                f"batch {batch.id} goes on: the same command waits for it, `brainwires batch cancel` cancels it"
            )
            return INTERRUPTED
        return await _written(job, path, batch, question, output=output, failed=asked.failed)


def _check(job: Job, question: Question) -> None:
    given = {
        "--embed": job.embed,
        "-T": bool(question.tools),
        "-t with a prompt": question.wording is not None,
        "--budget": job.budget is not None,
        "--dry-run": job.dry_run,
    }
    for name, is_given in given.items():
        if is_given:
            raise ConfigError(f"{name} is not for --batch, whose requests the provider sends itself")
    if job.output == _STANDARD:
        raise ConfigError(
            "--batch needs a file to write to: it takes hours, and the same command goes on with it"
        )


async def _asked(job: Job, path: str, question: Question, template: Template | None) -> _Asked:
    """Raises ConfigError for what is wrong with every row."""
    items: dict[str, Any] = {}
    failed: dict[int, Exception] = {}
    digest = hashlib.sha256()
    session, args = question.client._session, _args(question)
    for number, id, row in _rows(job, path):
        try:
            asked: Any = await as_input(row, template)
            if isinstance(asked, str) and (question.parts or question.fragments):
                asked = question.message(asked)
            target, request = session.request(asked, args)
            plan(request, target, stream=False, timeouts=session.timeouts)
            key = request_key(request, target.full_name)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - of this row, as in a run without a batch
            failed[number] = error
            continue
        items[id] = asked
        digest.update(f"{id!r} {key}\n".encode())
    return _Asked(items, failed, digest.hexdigest())


def _args(question: Question) -> Any:
    """The keywords of a batch: the service itself sends what is in it."""
    return {name: value for name, value in question.args.items() if name not in Policies.__struct_fields__}


def _rows(job: Job, path: str) -> Iterator[tuple[int, str, Any]]:
    """Each row with its number and its id."""
    column = job.id
    for number, row in enumerate(islice(open_rows(path), job.limit)):
        if number == 0 and column is None and isinstance(row, Mapping) and "id" in row:
            column = "id"
        yield number, str(id_of(row, number, column)), row


@contextmanager
def _begun_file(place: str) -> Iterator[int]:
    """The open file beside the output, for this run alone. Raises ConfigError."""
    file = locked(place, 0o600, "name another output")
    try:
        yield file
    finally:
        os.close(file)


async def _begun(job: Job, file: int, client: AsyncClient, question: Question, asked: _Asked) -> AsyncBatch:
    """The batch of an earlier run of the same command, or a new one that nothing was sent of yet."""
    place = job.output + _ENDING
    known = _known(file, place)
    if known is not None:
        if known.requests != asked.digest:
            raise ConfigError(
                f"{place} is of batch {known.id}, with other rows, another prompt or another model; delete the file "
                "to send a new batch, or name another output"
            )
        note(f"going on with batch {known.id}")
        return await client.load_batch(known.id, ledger=job.ledger)
    batch = await client.batch(asked.items, ledger=job.ledger, submit=False, **_args(question))
    os.write(file, msgspec.json.encode(_Begun(batch.id, asked.digest)))
    os.fsync(file)
    note(f"batch {batch.id}: {len(asked.items)} requests")
    return batch


def _known(file: int, place: str) -> _Begun | None:
    """What an earlier run has written; None if it did not come to that. Raises ConfigError."""
    os.lseek(file, 0, os.SEEK_SET)
    written = os.read(file, _LARGEST)
    if not written:
        return None
    try:
        return msgspec.json.decode(written, type=_Begun)
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"{place} does not name a batch ({error}): delete it, or name another output"
        ) from None


def _output(question: Question) -> Any:
    """The type of the answers, if they have one."""
    from brainwires_provider._core.plan import is_typed

    return question.args.get("output") if is_typed(question.args) else None


def _shown(batch: AsyncBatch) -> None:
    counts = "".join(f"; {value} {name}" for job in batch.jobs for name, value in job.counts.items())
    note(f"batch {batch.id}: {batch.state}{counts}")


async def _written(
    job: Job,
    path: str,
    batch: AsyncBatch,
    question: Question,
    *,
    output: Output,
    failed: Mapping[int, Exception],
) -> int:
    """The rows with their results; the file has its name when it has every row."""
    outcomes: Counter[str] = Counter()
    results = batch.results(output=_output(question))
    try:
        for number, _, row in _rows(job, path):
            if number in failed:
                record = record_of_error(failed[number])
                outcomes["errored"] += 1
            else:
                result = await anext(results)
                record = _record(result)
                outcomes[result.outcome] += 1
            output.write(row, columns(record, prefix=job.prefix))
    finally:
        await results.aclose()  # type: ignore[attr-defined] # it is an asynchronous generator
    output.complete()
    note(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    if set(outcomes) == {"succeeded"}:
        return FINE
    note("--retry-errors sends what did not succeed again, in the same batch")
    return FAILED


def _record(result: BatchResult) -> Record:
    if result.error is None and result.response is not None:
        return record_of(result.response)
    return record_of_error(result.error or ConfigError(f"the request is {result.outcome}"))
