"""`brainwires run --ray`: the rows go to actors of a Ray cluster, and their results into the same file and columns.

The file of rows is read, and the results are written, by this machine; the workers need the store only, in which every
answer is before it comes back, so that the same command goes on after whatever has died.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib import import_module
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from brainwires_provider.bulk.files import JSONLines, Scan, cells_of, open_rows
from brainwires_provider.bulk.prompts import Template, as_input
from brainwires_provider.bulk.record import COLUMNS
from brainwires_provider.bulk.waiting import Waiting
from brainwires_provider.cli.options import Question, message_of
from brainwires_provider.cli.run_output import Output
from brainwires_provider.cli.run_progress import Display
from brainwires_provider.cli.run_rows import Job, RowErrors, _ledger_of, checked_rows, file_of
from brainwires_provider.cli.status import FAILED, FINE, INTERRUPTED, MISUSED
from brainwires_provider.cli.terminal import complain, explain, note
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.ray import MapActor
from brainwires_provider.types import Part
from brainwires_provider.types.bulk import BulkProgress

__all__ = ["Cluster", "run_ray"]

_STANDARD = "-"
_FEWEST, _MOST = 10, 200  # rows that an actor is given together
_BLOCK = 1 << 20  # bytes that are read before the first rows are asked
_LINE = 10.0  # seconds between two lines about the progress
_CPUS = 0.25  # of an actor, which mostly waits
_JSON = ("output", "tool_calls")
_Write: TypeAlias = Callable[[Any, Mapping[str, Any]], None]
"""Takes a row, and the columns of its result."""


class Cluster(Struct, frozen=True):
    """Which cluster, and how much of it."""

    address: str | None
    """None: that of the variable RAY_ADDRESS, else one is started on this machine."""
    workers: int | None
    """Actors. None: one for each machine."""


class _Row(NamedTuple):
    """One row as it comes back."""

    number: int
    row: bytes
    values: dict[str, Any]


class _Prompt:
    """Makes of a row, as it is sent to a worker, what is asked."""

    def __init__(self, template: Template | None, fragments: Sequence[str], parts: Sequence[Part]) -> None:
        self._template, self._fragments, self._parts = template, fragments, parts

    async def __call__(self, sent: Mapping[str, Any]) -> Any:
        asked = await as_input(_row(sent["row"]), self._template)
        if isinstance(asked, str) and (self._fragments or self._parts):
            return message_of(asked, self._fragments, self._parts)
        return asked


def _row(packed: bytes) -> Any:
    return pickle.loads(packed)  # noqa: S301 (of this run: Ray itself sends everything so)


def run_ray(job: Job, ask: Callable[[], Question], cluster: Cluster) -> int:
    """Do it. `ask` creates the client. Returns the exit status."""
    try:
        question = ask()
        _check(job, question)
        with file_of(job.rows) as path:
            template = None if job.prompt is None else Template(job.prompt)
            found = checked_rows(path, job, template)
            data = _installed()
            place = _place(job)
            try:
                return _Run(job, question, cluster, found, place).whole(data, path, template)
            except KeyboardInterrupt:
                note(f"stopped: what was answered is in {place}, and the same command goes on")
                return INTERRUPTED
    except ProviderError as error:
        complain(explain(error))
        return MISUSED if isinstance(error, ConfigError) else FAILED


def _check(job: Job, question: Question) -> None:
    given = {
        "-T": (bool(question.tools), "the functions are on this machine only"),
        "-t with a prompt": (question.wording is not None, "give the prompt by --prompt"),
        "--budget": (
            job.budget is not None,
            "each worker would have it whole; share one by the budget of brainwires.toml",
        ),
        "--dry-run": (job.dry_run, "it is the same without --ray"),
    }
    for name, (is_given, reason) in given.items():
        if is_given:
            raise ConfigError(f"{name} is not for --ray: {reason}")


def _installed() -> Any:
    """`ray.data`. Raises ConfigError."""
    try:
        return import_module("ray.data")
    except ImportError as error:
        raise ConfigError(
            f"--ray needs the extra: pip install 'brainwires-provider[ray]' ({error})"
        ) from None


def _place(job: Job) -> str:
    """Of the store: beside the output. Raises ConfigError."""
    if job.ledger is not None:
        place = job.ledger
    elif job.output == _STANDARD:
        place = f"{_ledger_of(job).removesuffix('.ledger')}.store"
    else:
        place = f"{os.path.abspath(job.output)}.store"
    if os.path.isfile(place):
        raise ConfigError(
            f"{place} is a file: with --ray, --ledger names a folder, or a URL, for the answers"
        )
    return place


# -- the cluster -----------------------------------------------------------------------------------------------


def _connect(cluster: Cluster) -> int:
    """Returns the number of its machines. Raises ConfigError."""
    ray = import_module("ray")
    address = cluster.address or os.environ.get("RAY_ADDRESS", "").strip() or "local"
    more: dict[str, Any] = {}
    if address == "local":
        more = {"include_dashboard": False, "num_cpus": max(4, os.cpu_count() or 1)}
    note("starting a Ray cluster on this machine" if address == "local" else f"Ray cluster at {address}")
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **more)
    except Exception as error:  # noqa: BLE001 (there are many kinds, with nothing in common)
        raise ConfigError(f"the Ray cluster at {address} cannot be used: {error}") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return sum(1 for each in ray.nodes() if each["Alive"])


def _check_size(workers: int) -> None:
    """Raises ConfigError where Ray would wait for ever: the actors and the task that reads need their processors."""
    needed = 1 + workers * _CPUS
    there = import_module("ray").cluster_resources().get("CPU", 0)
    if there < needed:
        raise ConfigError(
            f"{workers} workers and the reading of rows need {needed:g} CPUs, and the Ray cluster has {there:g}: give "
            "fewer by --workers"
        )


def _actor(job: Job, question: Question, place: str, prompt: _Prompt, workers: int) -> MapActor:
    """Raises ConfigError for what cannot be sent to workers."""
    args: dict[str, Any] = {**question.args}
    if job.embed:
        args = {name: args[name] for name in ("retry", "hedge") if name in args}
    try:
        return MapActor(
            question.model,
            prompt=prompt,
            operation="embed" if job.embed else None,
            args=args,
            concurrency=max(1, job.concurrency // workers),
            store=place,
            retry_errors=job.retry_errors,
            **question.client_args,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


def _blocks(path: str, limit: int | None) -> Iterator[Any]:
    """The rows with their numbers, as tables."""
    pyarrow: Any = import_module("pyarrow")
    rows = enumerate(islice(open_rows(path), limit))
    while some := list(islice(rows, _MOST)):
        numbers, packed = [number for number, _ in some], [pickle.dumps(row) for _, row in some]
        yield pyarrow.table({"number": numbers, "row": pyarrow.array(packed, "large_binary")})


def _dataset(data: Any, path: str, limit: int | None) -> Any:
    """The rows of a file of this machine, in small blocks, which are read while others are asked."""
    metadata = import_module("ray.data.block").BlockMetadata(
        num_rows=None, size_bytes=None, input_files=None, exec_stats=None
    )

    class Rows(data.Datasource):  # type: ignore[misc] # the package is optional
        """The file is read where the command runs."""

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        @property
        def supports_distributed_reads(self) -> bool:
            return False

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            return [data.ReadTask(lambda: _blocks(path, limit), metadata)]

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK
    context.execution_options.preserve_order = True
    return data.read_datasource(Rows(), override_num_blocks=1)


def _cause(error: BaseException) -> ProviderError:
    """What has ended the job: our own error, where there is one in what Ray has made of it."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        at = getattr(at, "cause", None) or at.__cause__ or at.__context__
    for each in seen:
        if isinstance(each, ProviderError):
            return each
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ProviderError(f"the Ray job has failed: {lines[-1]}")


# -- results ---------------------------------------------------------------------------------------------------


class _Run:
    """One run, from the connection to the last line about it."""

    def __init__(self, job: Job, question: Question, cluster: Cluster, found: Scan, place: str) -> None:
        self._job, self._question, self._cluster = job, question, cluster
        self._found, self._place = found, place
        self._errors = RowErrors()
        self._counts: Counter[str] = Counter()
        self._usd = 0.0
        self._waiting: Waiting[_Row] = Waiting(pickle.dumps, pickle.loads)
        self._begun = self._noted = time.monotonic()

    def whole(self, data: Any, path: str, template: Template | None) -> int:
        """Ask, write, and explain. Returns the exit status."""
        job, question = self._job, self._question
        prompt = _Prompt(template, question.fragments, question.parts)
        workers = self._cluster.workers or 1
        actor = _actor(job, question, self._place, prompt, workers)  # wrong arguments need no cluster
        try:
            machines = _connect(self._cluster)
            if self._cluster.workers is None and machines > 1:
                workers = machines
                actor = _actor(job, question, self._place, prompt, workers)
            if machines > 1 and "://" not in self._place:
                note(
                    f"all {machines} machines must have the folder {self._place}; else name a URL by --ledger"
                )
            _check_size(workers)
            size = min(max(_FEWEST, job.concurrency // workers), _MOST, 1 + self._found.rows // workers)
            rows = _dataset(data, os.path.abspath(path), job.limit)
            rows = rows.repartition(target_num_rows_per_block=size)
            self._write(actor.map(rows, workers=workers, batch_size=size, num_cpus=_CPUS))
        finally:
            self._waiting.close()
            import_module("ray").shutdown()
        return self._explained()

    def _write(self, answered: Any) -> None:
        """Write the results in their order; the file has its name when it has every row. Raises ProviderError."""
        job = self._job
        if job.output == _STANDARD:
            lines = JSONLines(sys.stdout.buffer)
            self._rows_to(lambda row, columns: lines.write({**cells_of(row), **columns}), answered)
            sys.stdout.flush()
            return
        with Output(job.output, self._found, job.prefix) as output:
            self._rows_to(output.write, answered)
            output.complete()

    def _rows_to(self, write: _Write, answered: Any) -> None:
        for values in self._answers(answered):
            row = _Row(values.pop("number"), values.pop("row"), values)
            for each in self._waiting.put(row.number, row):
                self._write_row(write, each)
            self._show()
        if self._waiting.next != self._found.rows:
            raise ProviderError(
                f"the Ray job gave {self._waiting.next} rows of {self._found.rows} in order: the same command goes on"
            )

    def _answers(self, answered: Any) -> Iterator[dict[str, Any]]:
        """The rows as Ray gives them. Raises ProviderError for whatever ends the job."""
        try:
            for table in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from table.to_pylist()
        except (GeneratorExit, ProviderError):
            raise
        except Exception as error:  # noqa: BLE001 (Ray has several, which wrap what a worker has raised)
            raise _cause(error) from None

    def _write_row(self, write: _Write, each: _Row) -> None:
        row, values = _row(each.row), each.values
        for name in _JSON:
            if values[name] is not None:
                values[name] = msgspec.json.decode(values[name])
        if values["error_type"] is not None:
            self._errors.add(values["error_type"], values["error"] or "")
        self._counts["recorded"] += values["from_store"]
        if not values["from_store"]:
            self._usd += values["cost_usd"] or 0
            for name in ("input_tokens", "output_tokens"):
                self._counts[name] += values[name] or 0
        write(row, {f"{self._job.prefix}{name}": values.get(name) for name in COLUMNS})

    def _show(self) -> None:
        if time.monotonic() - self._noted > _LINE:
            self._noted = time.monotonic()
            note(self._summary())

    def _summary(self) -> str:
        seconds, done = time.monotonic() - self._begun, self._waiting.next
        counts = self._counts
        return Display.summary(
            BulkProgress(
                total=self._found.rows,
                done=done,
                failed=self._errors.count,
                recorded=counts["recorded"],
                input_tokens=counts["input_tokens"],
                output_tokens=counts["output_tokens"],
                usd=Decimal(str(self._usd)) if self._usd else None,
                seconds=seconds,
                rate=(done - counts["recorded"]) / seconds if seconds else 0.0,
            )
        )

    def _explained(self) -> int:
        note(self._summary())
        self._errors.note("the same command asks those again that cost nothing, --retry-errors all")
        return FAILED if self._errors.count else FINE
