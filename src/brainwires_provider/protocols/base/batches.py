"""What a batch API is: many requests in one job, answered within hours at a lower price.

A `BatchProtocol` is pure, as a `ChatProtocol` is: it makes the calls of a job's life and reads their bodies. Services
take the requests in one of three ways: in a file that is uploaded before (`files`), in the call that creates the job
(`inline`), or in an object of a byte store that they read themselves (`store`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types.batches import BatchState, Outcome

__all__ = [
    "BatchLimits",
    "BatchProtocol",
    "Job",
    "LineResult",
    "NewJob",
    "ResultPage",
    "encoded",
    "job_in",
    "lines_in",
    "objects_in",
    "refused",
    "text_in",
    "whole_counts",
]

T = TypeVar("T")


class BatchLimits(Struct, frozen=True):
    """What one job may hold."""

    lines: int
    size: int
    """Bytes of all lines."""
    one_model: bool = True
    """All lines have the model of the job."""
    fewest: int = 1
    """The fewest lines that the service takes."""


class NewJob(Struct, frozen=True):
    """A job to create."""

    name: str
    """Ours, unique, of `[a-z0-9-]`, at most 63 characters."""
    model: str
    path: str
    """Of a single request, below the base URL."""
    lines: Sequence[bytes] = ()
    """For a service that takes them inline."""
    file: str = ""
    """The uploaded file's id, or the object's URI."""
    output: str = ""
    """The URI of the folder for the results, in a byte store."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields that are merged into the body, after everything else."""


class Job(Struct, frozen=True):
    """A job as its service shows it."""

    id: str
    state: BatchState
    raw_state: str
    mark: str | None = None
    """What it was created with and no other job was, to be known by: its file's id, or our name for it."""
    sources: tuple[str, ...] = ()
    """What holds results, to be passed to `results`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    """Why it failed as a whole."""
    lags: bool = False
    """It has ended, but does not name all of its results yet."""


class LineResult(Struct, frozen=True, omit_defaults=True):
    """What became of one line. `body` is the answer of the request, or an error's, as JSON."""

    id: str
    outcome: Outcome
    status: int | None = None
    body: Raw = Raw(b"null")
    request_id: str | None = None


class ResultPage(NamedTuple):
    """Results, and the source of the next page of them."""

    results: list[LineResult]
    next: str | None = None


class BatchProtocol(Protocol):
    """One batch API. A method that reads raises ProtocolError, or the APIError that a body is."""

    way: Literal["files", "inline", "store"]
    """How lines come to the service."""
    limits: BatchLimits

    def line(self, id: str, call: Call, model: str) -> dict[str, Any]:
        """One request as a line. Raises UnsupportedError for what the API does not take."""
        ...

    def upload(self, data: bytes, name: str) -> Call:
        """The call that uploads lines, where they go in a file."""
        ...

    def read_upload(self, body: bytes) -> str:
        """The file's id."""
        ...

    def create(self, job: NewJob) -> Call:
        """The call that creates a job. Raises ConfigError for settings that are missing."""
        ...

    def retrieve(self, id: str) -> Call:
        """The call that shows a job."""
        ...

    def read_job(self, body: bytes) -> Job:
        """A job, just created or looked after."""
        ...

    def cancel(self, id: str) -> Call | None:
        """The call that cancels a job; None where the service has none."""
        ...

    def jobs(self, after: str | None) -> Call | None:
        """The call that lists jobs, the newest first; None where they cannot be known by their mark."""
        ...

    def read_jobs(self, body: bytes) -> tuple[list[Job], str | None]:
        """One page of jobs, and the cursor of the next."""
        ...

    def results(self, job: Job, source: str) -> Call:
        """The call for the results in a source of a job; not for those in a byte store."""
        ...

    def read_results(self, body: bytes, ids: Sequence[str]) -> ResultPage:
        """The results in a body or an object. `ids` are those of the job's lines, in their order."""
        ...


def encoded(line: Mapping[str, Any]) -> bytes:
    """A line as its service gets it, without the line break."""
    return msgspec.json.encode(line)


def lines_in(body: bytes, kind: type[T]) -> Iterator[T]:
    """The lines of a JSONL body. One that is not of the form is left out: its request's result is missing then."""
    decoder = msgspec.json.Decoder(kind)
    for line in body.splitlines():
        try:
            yield decoder.decode(line)
        except (ValueError, RecursionError):
            try:  # NaN and lone surrogates, which some servers emit
                yield decoder.decode(msgspec.json.encode(well_formed(decode_json(line))))
            except (ValueError, RecursionError):
                continue


def job_in(body: bytes, name: str = "id", key: str | None = None) -> dict[str, Any]:
    """The object that describes a job, and has a field `name`; perhaps below a key.

    Raises ProtocolError, or the APIError that the body is. A job that failed has fields for its errors too: they are
    no error of the call.
    """
    try:
        found = well_formed(decode_json(body))
    except ValueError:
        found = None
    if isinstance(found, dict):
        inner = found.get(key) if key is not None else None
        job: dict[str, Any] = inner if isinstance(inner, dict) else found
        if isinstance(job.get(name), str):
            return job
    known = object_in(body, "the job")
    raise ProtocolError(f"the service describes no job: it has no {name}, but {', '.join(sorted(known)[:9])}")


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects of what should be a list of them."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text_in(value: Any) -> str | None:
    """What should be a text; None for all else, and for an empty one."""
    return value if isinstance(value, str) and value else None


def refused(error: Any, status: int | None = None) -> tuple[Raw, int | None]:
    """The body, and the status, of a line that the service answers with an error object."""
    code = error.get("code") if isinstance(error, Mapping) else None
    if status is None and isinstance(code, int) and 400 <= code < 600:
        status = code
    return Raw(msgspec.json.encode({"error": error})), status


def whole_counts(counts: Any) -> dict[str, int]:
    """The numbers among a job's counters. Google's are texts."""
    if not isinstance(counts, Mapping):
        return {}
    read = {
        name: int(value) if isinstance(value, str) and value.isdecimal() else value
        for name, value in counts.items()
    }
    return {name: value for name, value in read.items() if type(value) is int}
