"""`brainwires run` on this machine: checks the rows, asks, writes the results, and explains how to go on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from typing import Any

from msgspec import Struct

from brainwires_provider.bulk.engine import AsyncBulk
from brainwires_provider.bulk.files import JSONLines, Scan, cells_of, format_of, scan
from brainwires_provider.bulk.index import Index
from brainwires_provider.bulk.prompts import Template, check_columns, has_prompt, id_of
from brainwires_provider.bulk.record import COLUMNS
from brainwires_provider.cli.options import Question
from brainwires_provider.cli.run_output import UNFINISHED, Output
from brainwires_provider.cli.run_progress import Display, forecast_lines
from brainwires_provider.cli.status import FAILED, FINE, INTERRUPTED, MISUSED
from brainwires_provider.cli.stored import place
from brainwires_provider.cli.terminal import complain, explain, note, standard_input
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.types import Budget

__all__ = ["Job", "RowErrors", "checked_rows", "file_of", "run_rows"]

_STANDARD = "-"


class Job(Struct, frozen=True):
    """What the command was asked for; see its options."""

    rows: str
    output: str
    prompt: str | None
    id: str | None
    prefix: str
    ledger: str | None
    concurrency: int
    limit: int | None
    budget: float | None
    embed: bool
    retry_errors: bool
    dry_run: bool


def run_rows(job: Job, ask: Callable[[], Question], *, unasked: bool) -> int:
    """Do it. `ask` creates the client. Returns the exit status."""
    try:
        with file_of(job.rows) as path, ExitStack() as stack:
            template = None if job.prompt is None else Template(job.prompt)
            found = checked_rows(path, job, template)
            question = ask()
            bulk = _bulk(job, path, question, template, _args(job, question, found, unasked=unasked))
            if job.dry_run:
                return asyncio.run(_forecast(bulk, question))
            output = None
            if job.output != _STANDARD:
                output = stack.enter_context(Output(job.output, found, job.prefix))
            return asyncio.run(_Run(job, bulk, question.client, output).whole())
    except ProviderError as error:
        complain(explain(error))
        return MISUSED if isinstance(error, ConfigError) else FAILED


@contextmanager
def file_of(rows: str) -> Iterator[str]:
    """The file of the rows: what comes on standard input may be read once only, and becomes one."""
    if rows != _STANDARD:
        yield rows
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.jsonl")
        with open(path, "wb") as file:
            file.write(standard_input())
        yield path


def checked_rows(path: str, job: Job, template: Template | None) -> Scan:
    """What can be wrong with the rows is found before anything is paid for. Raises ConfigError."""
    into = _checked_output(job)
    ids = Index()
    column, can_ask = job.id, template is not None

    def check(row: Any, number: int) -> None:
        nonlocal column, can_ask
        can_ask = can_ask or has_prompt(row)
        if number == 0:
            if column is None and isinstance(row, Mapping) and "id" in row:
                column = "id"
            check_columns(row, template, column)
        if column is None:
            return
        try:
            id = id_of(row, number, column)
        except ValueError as error:
            raise ConfigError(f"row {number}: {error}") from None
        if not ids.is_new(str(id)):
            raise ConfigError(
                f"row {number}: the id {str(id)!r} occurs twice; name a column by --id in which none does"
            )

    try:
        found = scan(path, check, job.limit, into=into)
    finally:
        ids.close()
    if found.rows and not can_ask:
        raise ConfigError(
            "no row has a value in a column 'prompt' or 'messages': give the prompt by --prompt, with columns in "
            f"braces, of which there are {', '.join(found.columns) or 'none'}"
        )
    taken = [name for name in (f"{job.prefix}{each}" for each in COLUMNS) if name in found.columns]
    if taken:
        raise ConfigError(
            f"the rows have the column {taken[0]!r}, which results have too: give these others, by --prefix result_"
        )
    return found


def _checked_output(job: Job) -> str:
    """The format that is written. Raises ConfigError."""
    if job.output == _STANDARD:
        return "jsonl"
    into = format_of(job.output)
    if os.path.isdir(job.output):
        raise ConfigError(f"{job.output} is a folder: name a file to write to")
    places = [os.path.normcase(os.path.realpath(f"{job.output}{each}")) for each in ("", UNFINISHED)]
    if job.ledger is not None and os.path.normcase(os.path.realpath(job.ledger)) in places:
        raise ConfigError(f"--ledger {job.ledger} is where the results are written: name another file")
    return into


def _args(job: Job, question: Question, found: Scan, *, unasked: bool) -> dict[str, Any]:
    args: dict[str, Any] = {**question.args}
    if job.embed:
        args = {name: value for name, value in args.items() if name in ("retry", "hedge")}
        args["operation"] = "embed"
    if question.wording is not None:
        raise ConfigError("the template has a prompt, but each row has its own: give it by --prompt")
    if question.tools:
        from brainwires_provider.cli.tools import tool_args

        if not unasked:
            raise ConfigError("-T with many rows asks nobody: --yes runs the tools' calls")
        args |= tool_args(question.tools, unasked=True)
    if job.budget is not None:
        args["budget"] = Budget(usd=Decimal(str(job.budget)))
    return {
        **args,
        "id": job.id,
        "concurrency": job.concurrency,
        "limit": job.limit,
        "total": found.rows,
        "retry_errors": job.retry_errors,
        "ledger": _ledger_of(job),
    }


def _bulk(
    job: Job, path: str, question: Question, template: Template | None, args: dict[str, Any]
) -> AsyncBulk[Any]:
    prompt: Any = job.prompt
    if template is not None and (question.parts or question.fragments):
        fill = template.fill
        prompt = lambda row: question.message(fill(row))  # noqa: E731
    try:
        return question.client.map(path, prompt, **args)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


def _ledger_of(job: Job) -> str:
    """Beside the output; in the user's data folder where that is standard output. Raises ConfigError."""
    if job.ledger is not None:
        return job.ledger
    if job.output != _STANDARD:
        return f"{job.output}.ledger"
    name = hashlib.sha256(os.path.abspath(job.rows).encode()).hexdigest()[:16]
    try:
        folder = place("runs")
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder of ledgers: {error}; name one by --ledger") from None
    return os.path.join(folder, f"{name}.ledger")


async def _forecast(bulk: AsyncBulk[Any], question: Question) -> int:
    async with question.client:
        for line in forecast_lines(await bulk.forecast()):
            print(line)
    return FINE


class RowErrors:
    """The errors of rows, for the end of a run: how many of each type, and the first in full."""

    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._first = ""

    @property
    def count(self) -> int:
        """Rows with an error."""
        return self._types.total()

    def add(self, type: str, message: str) -> None:
        """Count the error of one row."""
        self._first = self._first or message
        self._types[type] += 1

    def note(self, what_to_do: str) -> None:
        """Explain them on standard error, if there are any."""
        if self._types:
            types = ", ".join(f"{name} {count}" for name, count in self._types.most_common())
            note(
                f"{self.count} {'row has' if self.count == 1 else 'rows have'} an error ({types}); {what_to_do}"
            )
            note(f"the first error: {self._first}")


class _Run:
    """One run, from the first row to the last line about it."""

    def __init__(self, job: Job, bulk: AsyncBulk[Any], client: AsyncClient, output: Output | None) -> None:
        self._job, self._bulk, self._client, self._output = job, bulk, client, output
        self._ledger = _ledger_of(job)
        self._errors = RowErrors()
        self._was_stopped = self._is_whole = False
        self._task: asyncio.Task[int] | None = None

    async def whole(self) -> int:
        """Ask, write, and explain. Returns the exit status."""
        self._task = asyncio.current_task()
        self._obey_signals()
        status = FINE
        async with self._client, self._bulk:
            try:
                with Display(self._bulk) as display:
                    display.start()
                    await self._write()
            except ProviderError as error:
                complain(explain(error))
                status = FAILED
            except asyncio.CancelledError:
                status = INTERRUPTED
        return self._explained(INTERRUPTED if self._was_stopped and status == FINE else status)

    def _obey_signals(self) -> None:
        """The first Ctrl-C takes no further row, the second one leaves; on Windows the first one does."""
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupted)

    def _interrupted(self) -> None:
        if self._was_stopped:
            assert self._task is not None
            self._task.cancel()
            return
        self._was_stopped = True
        running = self._bulk.progress.running
        self._bulk.stop()
        note(f"stopping: {running} rows are being asked, and are waited for; Ctrl-C again leaves at once")

    async def _write(self) -> None:
        """Write the results in their order; the file has its name when it has every row."""
        output = self._output
        lines = JSONLines(sys.stdout.buffer) if output is None else None
        while batch := await self._bulk._pull():
            for result in batch:
                if result.error is not None:
                    self._errors.add(result.error.type, result.error.message)
                columns = result.columns(self._job.prefix)
                if lines is not None:
                    lines.write({**cells_of(result.row), **columns})
                elif output is not None:
                    output.write(result.row, columns)
        if output is None:
            sys.stdout.flush()
        elif self._bulk.is_complete:
            output.complete()
        self._is_whole = self._bulk.is_complete

    def _explained(self, status: int) -> int:
        progress, job = self._bulk.progress, self._job
        note(Display.summary(progress))
        if self._bulk.damaged:
            note(f"{self._bulk.damaged} lines of the ledger could not be read; their rows were asked again")
        self._errors.note("--retry-errors asks them again")
        if not self._is_whole:
            note(
                f"not all rows are written: what was answered is in {self._ledger}, and the same command goes on; "
                + ("" if job.output == _STANDARD else f"{job.output}{UNFINISHED} has the rows so far")
            )
            return status or FAILED
        return status or (FAILED if self._errors.count else FINE)
