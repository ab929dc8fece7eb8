"""`POST /embeddings` and `/batches` as OpenAI has them, and the many services that follow.

Vectors are asked for in base64 where the service is known to give them so: a quarter of the bytes, and no decimal
digits to read. Whichever form comes is read.
A batch is a file of requests, and its results come in two: one of answers, one of errors. What other services have
in its place is a field of `BatchQuirks`.
References: https://platform.openai.com/docs/api-reference/embeddings and …/api-reference/batch
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct, field

from brainwires_provider.errors import ProtocolError, UnsupportedError
from brainwires_provider.protocols.base.batches import (
    BatchLimits,
    Job,
    LineResult,
    NewJob,
    ResultPage,
    job_in,
    lines_in,
    objects_in,
    refused,
    text_in,
    whole_counts,
)
from brainwires_provider.protocols.base.embeddings import (
    Embedded,
    checked,
    counted,
    one_batch,
    read,
    set_fields,
    word_for,
)
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types import EmbeddingArgs
from brainwires_provider.types.batches import BatchState, Outcome

__all__ = ["BatchQuirks", "OpenAIBatches", "OpenAIEmbeddings", "XAIBatches"]


class _Vector(Struct):
    embedding: list[float] | str
    index: int | None = None


class _Answer(Struct):
    data: list[_Vector]
    model: str | None = None
    usage: dict[str, Any] | None = None


class OpenAIEmbeddings:
    """`POST /embeddings` of OpenAI and of compatible services.

    `texts` is the limit of one request; `packed` asks for base64. `dimensions` is the field's name, None where there
    is none. `tasks` are the service's values for the purpose of the vectors, in the field `task_field`.
    """

    def __init__(
        self,
        *,
        texts: int = 2048,
        packed: bool = False,
        dimensions: str | None = "dimensions",
        task_field: str = "input_type",
        tasks: Mapping[str, str] | None = None,
    ) -> None:
        self._texts = texts
        self._packed = packed
        self._dimensions = dimensions
        self._task_field = task_field
        self._tasks = tasks or {}

    def batch(self, model: str) -> int:
        """The limit of one request, whatever the model."""
        return self._texts

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Raises UnsupportedError for dimensions or a task that the service has no field for."""
        body: dict[str, Any] = {"model": model, "input": list(one_batch(texts, self._texts))}
        if self._packed:
            body["encoding_format"] = "base64"
        if args.dimensions is not None:
            if self._dimensions is None:
                raise UnsupportedError(
                    "this service takes no dimensions: its vectors have the model's own length"
                )
            body[self._dimensions] = args.dimensions
        body |= set_fields(**{self._task_field: word_for(args.task, self._tasks, "this service")})
        return Call("/embeddings", {**body, **(args.extra_body or {})})

    def decode(self, body: bytes, count: int) -> Embedded:
        """In the order of the texts, which `index` states where it is there. Raises ProtocolError."""
        answer = read(body, _Answer)
        found = answer.data
        places = [vector.index for vector in found]
        if all(place is not None for place in places) and len(set(places)) == len(places):
            found = sorted(found, key=lambda vector: vector.index or 0)
        usage = answer.usage or {}
        tokens = usage.get("prompt_tokens", usage.get("total_tokens"))
        return Embedded(
            checked([_numbers(vector.embedding) for vector in found], count),
            counted(tokens if isinstance(tokens, int) else None, answer.usage),
            answer.model,
        )


def _numbers(embedding: list[float] | str) -> list[float]:
    """Numbers, or base64 of little-endian 32-bit floats."""
    if not isinstance(embedding, str):
        return embedding
    numbers = array("f")
    try:
        numbers.frombytes(b64decode(embedding, validate=True))
    except ValueError as error:
        raise ProtocolError(f"a vector is no base64 of 32-bit floats: {error}") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


# -- batches -------------------------------------------------------------------------------------------------

_STATES: Mapping[str, BatchState] = {
    "validating": "queued",
    "queued": "queued",
    "in_progress": "running",
    "running": "running",
    "finalizing": "ending",
    "cancelling": "ending",
    "cancellation_requested": "ending",
    "completed": "done",
    "success": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "expired": "expired",
    "timeout_exceeded": "expired",
}
"""By the words of all services of this shape, in lower case."""
_WITH_RESULTS = ("done", "expired", "cancelled")
_CODES: Mapping[str, Outcome] = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
_PAGE = 100
_MB = 1_000_000


class BatchQuirks(Struct, frozen=True):
    """How a service's batches differ from OpenAI's."""

    lines: int = 50_000
    size: int = 200 * _MB
    one_model: bool = True
    prefix: str = "/v1"
    """What a line's `url` and the job's `endpoint` have before the path of a request."""
    folder: str = "/batches"
    purpose: str = "batch"
    """Of the uploaded file."""
    bare_lines: bool = False
    """A line has its id and its body only."""
    inline: bool = False
    """The job is created with its lines in the body, and no file."""
    names_model: bool = False
    """The job is created with the name of its model."""
    input_field: str = "input_file_id"
    listed_input: bool = False
    """That field is a list."""
    outputs: tuple[str, ...] = ("output_file_id", "error_file_id")
    """The fields of a job that name its files of answers and errors."""
    created: Mapping[str, Any] = field(default_factory=lambda: {"completion_window": "24h"})
    """Further fields that a job is created with."""
    below: str | None = None
    """The field of the answer that describes the created job, where the answer is not the job."""
    cancel: str | None = "/cancel"
    """What cancels a job, behind its path. None: nothing does."""
    results: str | None = None
    """The field of a job with its results, where they are in no files."""
    counts: str = "request_counts"
    """The field with the counters. Empty: they are fields of the job itself."""
    upload: str = "/files"
    upload_fields: Mapping[str, str] = field(default_factory=dict)
    """Further fields of an upload, beside purpose and file."""
    page: str = "limit"
    """The parameter for the size of a page of the list."""


class _Answered(Struct):
    status_code: int | None = None
    body: Raw = Raw(b"null")
    request_id: str | None = None


class _Line(Struct):
    custom_id: str
    response: _Answered | None = None
    error: Any = None


class OpenAIBatches:
    """`/batches` of OpenAI and of the services of its shape."""

    def __init__(self, quirks: BatchQuirks | None = None) -> None:
        self._quirks = quirks or BatchQuirks()
        self.way: Literal["files", "inline", "store"] = "inline" if self._quirks.inline else "files"
        self.limits = BatchLimits(self._quirks.lines, self._quirks.size, self._quirks.one_model)

    def line(self, id: str, call: Call, model: str) -> dict[str, Any]:
        """With the request's body as it is."""
        if self._quirks.bare_lines:
            return {"custom_id": id, "body": call.body}
        url = self._quirks.prefix + call.path
        return {"custom_id": id, "method": call.method, "url": url, "body": call.body}

    def upload(self, data: bytes, name: str) -> Call:
        """A form."""
        boundary = "form-" + blake2b(data, digest_size=16).hexdigest()
        begin = f"--{boundary}\r\nContent-Disposition: form-data; name="
        fields = {"purpose": self._quirks.purpose, **self._quirks.upload_fields}
        head = "".join(f'{begin}"{field}"\r\n\r\n{value}\r\n' for field, value in fields.items())
        head += f'{begin}"file"; filename="{name}.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n'
        content = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return Call(self._quirks.upload, {}, headers=kind, content=content)

    def read_upload(self, body: bytes) -> str:
        """Raises ProtocolError, APIError."""
        return str(job_in(body)["id"])

    def create(self, job: NewJob) -> Call:
        """The settings are merged into its body."""
        quirks = self._quirks
        body: dict[str, Any] = {"endpoint": quirks.prefix + job.path}
        if quirks.names_model:
            body["model"] = job.model
        if quirks.inline:  # behind endpoint and model: OpenRouter reads them as they come
            body["requests"] = [Raw(line) for line in job.lines]
        else:
            body[quirks.input_field] = [job.file] if quirks.listed_input else job.file
        return Call(quirks.folder, body | dict(quirks.created) | dict(job.settings))

    def retrieve(self, id: str) -> Call:
        """`GET /batches/{id}`."""
        return Call(self._place(id), {}, method="GET")

    def cancel(self, id: str) -> Call | None:
        """None where the service has no such call."""
        return None if self._quirks.cancel is None else Call(self._place(id) + self._quirks.cancel, {})

    def _place(self, id: str) -> str:
        return f"{self._quirks.folder}/{quote(id, safe='')}"

    def read_job(self, body: bytes) -> Job:
        """Raises ProtocolError, APIError."""
        return self._job(job_in(body, key=self._quirks.below))

    def _job(self, found: Mapping[str, Any]) -> Job:
        quirks = self._quirks
        raw = str(found.get("status") or "")
        counts = whole_counts(found.get(quirks.counts) if quirks.counts else found)
        files = [found.get(name) for name in quirks.outputs]
        state = _STATES.get(raw.lower(), "running")
        given = found.get(quirks.input_field)
        if isinstance(given, list):
            given = given[0] if given else None
        sources = tuple(file for file in map(text_in, files) if file)
        lags = state in _WITH_RESULTS and _lacks_files(files, counts, is_done=state == "done")
        if quirks.results is not None:
            has_results = isinstance(found.get(quirks.results), list)
            sources, lags = ("",) * has_results, state == "done" and not has_results
        return Job(
            str(found["id"]),
            state,
            raw,
            mark=text_in(given),
            sources=sources,
            counts=counts,
            error=_failure(found),
            lags=lags,
        )

    def jobs(self, after: str | None) -> Call | None:
        """A page of the list. None for jobs without a file: none would be known for ours."""
        if self._quirks.inline:
            return None
        return Call(
            self._quirks.folder,
            {},
            method="GET",
            query={self._quirks.page: str(_PAGE)} | ({"after": after} if after else {}),
        )

    def read_jobs(self, body: bytes) -> tuple[list[Job], str | None]:
        """Raises ProtocolError, APIError."""
        try:  # Together's list is bare
            page: Any = {"data": msgspec.json.decode(body, type=list[dict[str, Any]])}
        except msgspec.MsgspecError:
            page = object_in(body, "the list of batches")
        found = objects_in(page.get("data") or page.get("batches"))
        jobs = [self._job(each) for each in found if text_in(each.get("id"))]
        return jobs, jobs[-1].id if jobs and page.get("has_more") else None

    def results(self, job: Job, source: str) -> Call:
        """The content of a file; the job itself, where it has its results."""
        if self._quirks.results is not None:
            return self.retrieve(job.id)
        return Call(f"/files/{quote(source, safe='')}/content", {}, method="GET")

    def read_results(self, body: bytes, ids: Sequence[str]) -> ResultPage:
        """One result for each line."""
        if self._quirks.results is not None:
            found = objects_in(job_in(body).get(self._quirks.results))
            body = b"\n".join(msgspec.json.encode(each) for each in found)
        return ResultPage([_result(line) for line in lines_in(body, _Line)])


class _XAIOutcome(Struct):
    response: dict[str, Raw] | None = None
    error: Any = None


class _XAIResult(Struct):
    batch_request_id: str
    batch_result: _XAIOutcome = field(default_factory=_XAIOutcome)


class XAIBatches(OpenAIBatches):
    """xAI's: lines in a file as OpenAI's, counters in place of a state, and results in pages.

    Reference: https://docs.x.ai/developers/advanced-api-usage/batch-api
    """

    def create(self, job: NewJob) -> Call:
        """Our name is the job's."""
        return Call("/batches", {"name": job.name, "input_file_id": job.file, **job.settings})

    def read_job(self, body: bytes) -> Job:
        """Raises ProtocolError, APIError."""
        return self._job(job_in(body, "batch_id"))

    def _job(self, found: Mapping[str, Any]) -> Job:
        counts = whole_counts(found.get("state"))
        total, pending = counts.get("num_requests", 0), counts.get("num_pending", 0)
        refusal = text_in(found.get("cancel_by_xai_message"))
        state: BatchState = "running" if pending else "done"
        if found.get("cancel_time"):
            state = "failed" if refusal else "cancelled"
        elif not total:
            state = "queued"  # its file is being read
        word = "cancelled" if found.get("cancel_time") else f"{pending} of {total} pending"
        id, mark = str(found["batch_id"]), text_in(found.get("name")) or text_in(found.get("input_file_id"))
        return Job(id, state, word, mark=mark, sources=("",), counts=counts, error=refusal)

    def jobs(self, after: str | None) -> Call | None:
        """A page of the list."""
        query = {"limit": str(_PAGE)} | ({"pagination_token": after} if after else {})
        return Call("/batches", {}, method="GET", query=query)

    def read_jobs(self, body: bytes) -> tuple[list[Job], str | None]:
        """Raises ProtocolError, APIError."""
        page = object_in(body, "the list of batches")
        found = [self._job(each) for each in objects_in(page.get("batches")) if text_in(each.get("batch_id"))]
        return found, text_in(page.get("pagination_token"))

    def results(self, job: Job, source: str) -> Call:
        """A page."""
        query = {"limit": "1000"} | ({"pagination_token": source} if source else {})
        return Call(f"{self._place(job.id)}/results", {}, method="GET", query=query)

    def read_results(self, body: bytes, ids: Sequence[str]) -> ResultPage:
        """Each answer is below the name of its endpoint."""
        page = object_in(body, "the page of results")
        lines = b"\n".join(msgspec.json.encode(each) for each in objects_in(page.get("results")))
        found = [_xai_result(line) for line in lines_in(lines, _XAIResult)]
        return ResultPage(found, text_in(page.get("pagination_token")))


def _xai_result(line: _XAIResult) -> LineResult:
    answers = list((line.batch_result.response or {}).values())
    if answers:
        return LineResult(line.batch_request_id, "succeeded", None, answers[0])
    body, status = refused(line.batch_result.error or {"message": "there is no answer"})
    return LineResult(line.batch_request_id, "errored", status, body)


def _result(line: _Line) -> LineResult:
    answered = line.response
    code = str(line.error.get("code")) if isinstance(line.error, Mapping) else ""
    if line.error or answered is None:
        body, status = refused(line.error)
        return LineResult(line.custom_id, _CODES.get(code, "errored"), status, body)
    status = answered.status_code
    outcome: Outcome = "succeeded" if status is None or 200 <= status < 300 else "errored"
    return LineResult(line.custom_id, outcome, status, answered.body, answered.request_id)


def _lacks_files(files: Sequence[Any], counts: Mapping[str, int], *, is_done: bool) -> bool:
    """Whether a job that has ended names fewer files than it has results: some services name them later.

    An empty id is none.
    """
    expected = [
        next((counts[name] for name in names if name in counts), None)
        for names in (("completed", "succeeded_requests"), ("failed", "failed_requests"))
    ]
    if expected == [None, None]:
        return is_done and not any(files)
    return any(count and not file for count, file in zip(expected, files, strict=False))


def _failure(found: Mapping[str, Any]) -> str | None:
    """Why a job failed as a whole, with the first lines that are wrong."""
    errors = found.get("errors") or found.get("error")
    listed = errors.get("data") if isinstance(errors, Mapping) else errors
    if isinstance(listed, str) and listed:
        return listed
    if not isinstance(listed, list) or not listed:
        return str(errors["message"]) if isinstance(errors, Mapping) and errors.get("message") else None
    words = []
    for each in listed[:3]:
        if isinstance(each, Mapping):
            line = f"line {each['line']}: " if each.get("line") is not None else ""
            words.append(f"{line}{each.get('message') or each.get('code')}")
    more = f"; and {len(listed) - 3} more" if len(listed) > 3 else ""
    return "; ".join(words) + more or None
