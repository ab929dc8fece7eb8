"""Embeddings of Bedrock, by InvokeModel: each vendor's model has a body of its own, chosen by the vendor; and batches.

Reference: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from brainwires_provider.errors import ConfigError, UnsupportedError
from brainwires_provider.protocols.base.batches import (
    BatchLimits,
    Job,
    LineResult,
    NewJob,
    ResultPage,
    job_in,
    lines_in,
    objects_in,
    text_in,
    whole_counts,
)
from brainwires_provider.protocols.base.embeddings import (
    Embedded,
    checked,
    counted,
    no_embeddings,
    one_batch,
    read,
    set_fields,
    word_for,
)
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types import EmbeddingArgs
from brainwires_provider.types.batches import BatchState

__all__ = ["BedrockBatches", "BedrockEmbeddings"]

_COHERE_TEXTS = 96
_COHERE_TASKS = {
    "query": "search_query",
    "document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
}


class _Answer(Struct, rename="camel"):
    embedding: list[float] | None = None  # Titan
    input_text_token_count: int | None = None
    embeddings: list[list[float]] | dict[str, list[list[float]]] | None = None  # Cohere


class BedrockEmbeddings:
    """Embeddings of Amazon Titan, one text a request, and of Cohere.

    A Cohere model requires the purpose of the vectors: unless `task` is set, they are of documents.
    """

    def batch(self, model: str) -> int:
        """Raises UnsupportedError for a model of another vendor."""
        return 1 if _vendor(model) == "amazon" else _COHERE_TEXTS

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Raises UnsupportedError for another vendor's model, and for a task that the model has no word for."""
        texts = one_batch(texts, self.batch(model))
        body: dict[str, Any]
        if _vendor(model) == "amazon":
            word_for(args.task, {}, "Titan")
            body = {"inputText": texts[0], **set_fields(dimensions=args.dimensions)}
        else:
            task = word_for(args.task or "document", _COHERE_TASKS, "Cohere")
            body = {"texts": list(texts), "input_type": task, **set_fields(output_dimension=args.dimensions)}
        return Call(f"/model/{quote(model, safe='')}/invoke", {**body, **(args.extra_body or {})})

    def decode(self, body: bytes, count: int) -> Embedded:
        """Raises ProtocolError."""
        answer = read(body, _Answer)
        if answer.embedding is not None:
            usage = counted(answer.input_text_token_count, None)
            return Embedded(checked([answer.embedding], count), usage)
        vectors = answer.embeddings
        if isinstance(vectors, dict):
            vectors = vectors.get("float")
        if vectors is None:
            raise no_embeddings(body, "neither `embedding` nor `embeddings` with floats")
        return Embedded(checked(vectors, count), counted(None, None))


def _vendor(model: str) -> str:
    """`amazon` or `cohere`, from an id, an inference profile's id (`us.cohere.…`) or an ARN."""
    for vendor, family in (("amazon", "amazon.titan-embed"), ("cohere", "cohere.embed")):
        if family in model:
            return vendor
    raise UnsupportedError(
        f"{model!r} is no model whose embeddings are built: those of amazon.titan-embed… and cohere.embed… are"
    )


# -- batches -------------------------------------------------------------------------------------------------

_STATES: Mapping[str, BatchState] = {
    "Submitted": "queued",
    "Validating": "queued",
    "Scheduled": "queued",
    "InProgress": "running",
    "Stopping": "ending",
    "Completed": "done",
    "PartiallyCompleted": "done",
    "Failed": "failed",
    "Stopped": "cancelled",
    "Expired": "expired",
}
_JOBS = "/model-invocation-jobs"
_JOB = "/model-invocation-job"


class _Record(Struct, rename="camel"):
    record_id: str
    model_output: Raw = Raw(b"null")
    error: dict[str, Any] | None = None


class BedrockBatches:
    """Model invocation jobs, of the control plane: requests and answers are objects of S3.

    `kind` is "Converse" or "InvokeModel", as the requests are. Reference:
    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html
    """

    way: Literal["files", "inline", "store"] = "store"
    # The quotas depend on model and region; these are the smallest and largest of most models.
    limits = BatchLimits(50_000, 200_000_000, fewest=100)

    def __init__(self, kind: Literal["Converse", "InvokeModel"]) -> None:
        self._kind = kind

    def line(self, id: str, call: Call, model: str) -> dict[str, Any]:
        """With the request's body as it is."""
        return {"recordId": id, "modelInput": call.body}

    def upload(self, data: bytes, name: str) -> Call:
        """Not called: the requests are in a byte store."""
        raise NotImplementedError

    def read_upload(self, body: bytes) -> str:
        """Not called."""
        raise NotImplementedError

    def create(self, job: NewJob) -> Call:
        """Our name makes the call idempotent. Raises ConfigError without a role."""
        if not job.settings.get("roleArn"):
            raise ConfigError(
                'Bedrock reads and writes the bucket in a role of yours: pass job={"roleArn": "arn:aws:iam::…"}'
            )
        body = {
            "jobName": job.name,
            "clientRequestToken": job.name,
            "modelId": job.model,
            "modelInvocationType": self._kind,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": job.file, "s3InputFormat": "JSONL"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": job.output}},
        }
        return Call(_JOB, body | dict(job.settings))

    def retrieve(self, id: str) -> Call:
        """`GET /model-invocation-job/{arn}`."""
        return Call(f"{_JOB}/{quote(id, safe='')}", {}, method="GET")

    def cancel(self, id: str) -> Call | None:
        """`POST …/stop`."""
        return Call(f"{_JOB}/{quote(id, safe='')}/stop", {})

    def jobs(self, after: str | None) -> Call | None:
        """A page of the list, the newest first."""
        query = {"maxResults": "100", "sortBy": "CreationTime", "sortOrder": "Descending"}
        return Call(_JOBS, {}, method="GET", query=query | ({"nextToken": after} if after else {}))

    def read_jobs(self, body: bytes) -> tuple[list[Job], str | None]:
        """Raises ProtocolError, APIError."""
        page = object_in(body, "the list of jobs")
        found = objects_in(page.get("invocationJobSummaries"))
        return [_job(each) for each in found if text_in(each.get("jobArn"))], text_in(page.get("nextToken"))

    def read_job(self, body: bytes) -> Job:
        """Raises ProtocolError, APIError."""
        return _job(job_in(body, "jobArn"))

    def results(self, job: Job, source: str) -> Call:
        """Not called: the answers are in a byte store."""
        raise NotImplementedError

    def read_results(self, body: bytes, ids: Sequence[str]) -> ResultPage:
        """One result for each record; the manifest, which has none, is no matter."""
        return ResultPage([_recorded(line) for line in lines_in(body, _Record)])


def _job(found: Mapping[str, Any]) -> Job:
    raw = str(found.get("status") or "")
    counts = {name: value for name, value in whole_counts(found).items() if name.endswith("RecordCount")}
    return Job(
        str(found["jobArn"]),
        _STATES.get(raw, "running" if raw else "queued"),
        raw,
        mark=text_in(found.get("jobName")),
        counts=counts,
        error=text_in(found.get("message")),
    )


def _recorded(line: _Record) -> LineResult:
    if line.error is None:
        return LineResult(line.record_id, "succeeded", None, line.model_output)
    code = line.error.get("errorCode")
    body = Raw(msgspec.json.encode({"message": line.error.get("errorMessage") or "the record failed"}))
    return LineResult(line.record_id, "errored", code if isinstance(code, int) else None, body)
