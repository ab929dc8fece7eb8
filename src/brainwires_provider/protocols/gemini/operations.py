"""Embeddings of Google: `:batchEmbedContents` of the Gemini API, and `:predict` of Vertex AI; and batches of both.

References: https://ai.google.dev/api/embeddings and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

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
from brainwires_provider.types.batches import BatchState

__all__ = ["GeminiBatches", "GeminiEmbeddings", "VertexBatches", "VertexEmbeddings"]

_TASKS = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "similarity": "SEMANTIC_SIMILARITY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_TEXTS = 100  # of one request of the Gemini API


class _Values(Struct):
    values: list[float]
    statistics: dict[str, Any] | None = None


class _Batch(Struct, rename="camel"):
    embeddings: list[_Values]
    usage_metadata: dict[str, Any] | None = None


class _Prediction(Struct):
    embeddings: _Values


class _Predictions(Struct):
    predictions: list[_Prediction]
    metadata: dict[str, Any] | None = None


class GeminiEmbeddings:
    """The Gemini API's."""

    def batch(self, model: str) -> int:
        """A hundred, whatever the model."""
        return _TEXTS

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Each text is a request of its own in one batch."""
        name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        asked = set_fields(
            taskType=word_for(args.task, _TASKS, "Gemini"), outputDimensionality=args.dimensions
        )
        requests = [
            {"model": name, "content": {"parts": [{"text": text}]}, **asked, **(args.extra_body or {})}
            for text in one_batch(texts, _TEXTS)
        ]
        return Call(f"/{name}:batchEmbedContents", {"requests": requests})

    def decode(self, body: bytes, count: int) -> Embedded:
        """Raises ProtocolError."""
        answer = read(body, _Batch)
        usage = answer.usage_metadata or {}
        tokens = usage.get("promptTokenCount", usage.get("totalTokenCount"))
        return Embedded(
            checked([each.values for each in answer.embeddings], count),
            counted(tokens if isinstance(tokens, int) else None, answer.usage_metadata),
        )


class VertexEmbeddings:
    """Vertex AI's, which reports the tokens of each text."""

    def batch(self, model: str) -> int:
        """One text for Gemini's models; nine for others, which read 2,048 tokens of each and 20,000 of all."""
        return 1 if model.startswith("gemini-") else 9

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Each text is an instance."""
        task = set_fields(task_type=word_for(args.task, _TASKS, "Vertex AI"))
        body: dict[str, Any] = {
            "instances": [{"content": text, **task} for text in one_batch(texts, self.batch(model))]
        }
        parameters = {**set_fields(outputDimensionality=args.dimensions), **(args.extra_body or {})}
        return Call(f"/models/{model}:predict", body | ({"parameters": parameters} if parameters else {}))

    def decode(self, body: bytes, count: int) -> Embedded:
        """Raises ProtocolError."""
        answer = read(body, _Predictions)
        found = [each.embeddings for each in answer.predictions]
        told = [(each.statistics or {}).get("token_count") for each in found]
        known = [int(tokens) for tokens in told if isinstance(tokens, (int, float))]
        tokens = sum(known) if len(known) == len(found) else None
        return Embedded(checked([each.values for each in found], count), counted(tokens, answer.metadata))


# -- batches -------------------------------------------------------------------------------------------------

_STATES: Mapping[str, BatchState] = {
    "PENDING": "queued",
    "QUEUED": "queued",
    "CANCELLING": "ending",
    "SUCCEEDED": "done",
    "PARTIALLY_SUCCEEDED": "done",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}
"""By the word after `BATCH_STATE_` or `JOB_STATE_`; all others are `running`."""
_RPC_STATUS = dict(
    enumerate((499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401), start=1)
)
"""HTTP's for the codes of google.rpc.Status: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto."""
_CANCELLED = 1
_LABEL = "brainwires_id"


class _Predicted(Struct):
    response: Raw = Raw(b"null")
    status: Any = None
    request: dict[str, Any] | None = None
    custom_id: str | None = None


class GeminiBatches:
    """`:batchGenerateContent` of the Gemini API, with the requests in the call, and the answers in the job.

    Reference: https://ai.google.dev/gemini-api/docs/batch-api
    """

    way: Literal["files", "inline", "store"] = "inline"
    limits = BatchLimits(100_000, 19_000_000)  # 20 MB for the whole body

    def line(self, id: str, call: Call, model: str) -> dict[str, Any]:
        """With the request's body as it is."""
        return {"request": call.body, "metadata": {"key": id}}

    def upload(self, data: bytes, name: str) -> Call:
        """Not called: the requests are in the call that creates the job."""
        raise NotImplementedError

    def read_upload(self, body: bytes) -> str:
        """Not called."""
        raise NotImplementedError

    def create(self, job: NewJob) -> Call:
        """Our name is the job's display name, which it is known by."""
        requests = {"requests": {"requests": [Raw(line) for line in job.lines]}}
        path = job.path.partition(":")[0] + ":batchGenerateContent"
        return Call(path, {"batch": {"displayName": job.name, "inputConfig": requests, **job.settings}})

    def retrieve(self, id: str) -> Call:
        """`GET batches/{id}`."""
        return Call(_below(id, "batches"), {}, method="GET")

    def cancel(self, id: str) -> Call | None:
        """`POST batches/{id}:cancel`."""
        return Call(_below(id, "batches") + ":cancel", {})

    def jobs(self, after: str | None) -> Call | None:
        """A page of the list."""
        return Call("/batches", {}, method="GET", query=_page(after))

    def read_jobs(self, body: bytes) -> tuple[list[Job], str | None]:
        """Raises ProtocolError, APIError."""
        return _jobs(body, "operations", _operation)

    def read_job(self, body: bytes) -> Job:
        """Raises ProtocolError, APIError."""
        return _operation(job_in(body, "name"))

    def results(self, job: Job, source: str) -> Call:
        """The job itself."""
        return self.retrieve(job.id)

    def read_results(self, body: bytes, ids: Sequence[str]) -> ResultPage:
        """By key; where no answer has one, as it happens, by the order, which is that of the requests."""
        found = objects_in(_answers(job_in(body, "name")))
        keys = [_key(each) for each in found]
        if not any(keys) and len(keys) == len(ids):
            keys = list(ids)
        return ResultPage([_inlined(key, each) for key, each in zip(keys, found, strict=True) if key])


class VertexBatches:
    """`batchPredictionJobs` of Vertex AI, for Google's models and others', with the requests in Cloud Storage.

    `custom_ids`: lines have an id of their own, as Claude's do. Google's have none; ours is a label of the request,
    which the answer repeats. Reference: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/
    batch-prediction-api
    """

    way: Literal["files", "inline", "store"] = "store"
    limits = BatchLimits(200_000, 200_000_000)

    def __init__(self, publisher: str, *, custom_ids: bool = False) -> None:
        self._publisher = publisher
        self._custom_ids = custom_ids

    def line(self, id: str, call: Call, model: str) -> dict[str, Any]:
        """With the request's body, and its label."""
        if self._custom_ids:
            return {"custom_id": id, "request": call.body}
        return {"request": {**call.body, "labels": {**(call.body.get("labels") or {}), _LABEL: id}}}

    def upload(self, data: bytes, name: str) -> Call:
        """Not called: the requests are in a byte store."""
        raise NotImplementedError

    def read_upload(self, body: bytes) -> str:
        """Not called."""
        raise NotImplementedError

    def create(self, job: NewJob) -> Call:
        """Our name is the job's display name, which it is known by."""
        body = {
            "displayName": job.name,
            "model": f"publishers/{self._publisher}{job.path.partition(':')[0]}",
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [job.file]}},
            "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": job.output}},
        }
        return Call("/batchPredictionJobs", body | dict(job.settings))

    def retrieve(self, id: str) -> Call:
        """`GET batchPredictionJobs/{id}`."""
        return Call(_below(id, "batchPredictionJobs"), {}, method="GET")

    def cancel(self, id: str) -> Call | None:
        """`POST batchPredictionJobs/{id}:cancel`."""
        return Call(_below(id, "batchPredictionJobs") + ":cancel", {})

    def jobs(self, after: str | None) -> Call | None:
        """A page of the list."""
        return Call("/batchPredictionJobs", {}, method="GET", query=_page(after))

    def read_jobs(self, body: bytes) -> tuple[list[Job], str | None]:
        """Raises ProtocolError, APIError."""
        return _jobs(body, "batchPredictionJobs", _prediction_job)

    def read_job(self, body: bytes) -> Job:
        """Raises ProtocolError, APIError."""
        return _prediction_job(job_in(body, "name"))

    def results(self, job: Job, source: str) -> Call:
        """Not called: the answers are in a byte store."""
        raise NotImplementedError

    def read_results(self, body: bytes, ids: Sequence[str]) -> ResultPage:
        """One result for each line with an id."""
        found = []
        for line in lines_in(body, _Predicted):
            labels = (line.request or {}).get("labels")
            id = line.custom_id or (labels.get(_LABEL) if isinstance(labels, Mapping) else None)
            if isinstance(id, str):
                found.append(_predicted(id, line))
        return ResultPage(found)


def _page(after: str | None) -> dict[str, str]:
    return {"pageSize": "100"} | ({"pageToken": after} if after else {})


def _below(name: str, folder: str) -> str:
    """The path of a job by its name, of which only the last part is its own."""
    return f"/{folder}/{quote(name.rpartition('/')[2], safe='')}"


def _state(raw: Any) -> BatchState:
    return _STATES.get(str(raw).partition("STATE_")[2], "running")


def _jobs(body: bytes, field: str, read: Callable[[Mapping[str, Any]], Job]) -> tuple[list[Job], str | None]:
    page = object_in(body, "the list of batches")
    found = [read(each) for each in objects_in(page.get(field)) if text_in(each.get("name"))]
    return found, text_in(page.get("nextPageToken"))


def _message(error: Any) -> str | None:
    return str(error["message"]) if isinstance(error, Mapping) and error.get("message") else None


def _operation(found: Mapping[str, Any]) -> Job:
    meta = found.get("metadata")
    meta = meta if isinstance(meta, Mapping) else {}
    raw = str(meta.get("state") or "")
    state, answered = _state(raw), bool(_answers(found))
    return Job(
        str(found["name"]),
        state,
        raw,
        mark=text_in(meta.get("displayName")),
        sources=("",) if answered else (),
        counts=whole_counts(meta.get("batchStats")),
        error=_message(found.get("error")),
        lags=state == "done" and not answered,
    )


def _answers(found: Mapping[str, Any]) -> list[Any]:
    """The answers in a job: below its metadata or its response, as it happens."""
    meta, response = found.get("metadata"), found.get("response")
    for place in (meta.get("output") if isinstance(meta, Mapping) else None, response):
        inlined: Any = place.get("inlinedResponses") if isinstance(place, Mapping) else None
        answers = inlined.get("inlinedResponses") if isinstance(inlined, Mapping) else None
        if isinstance(answers, list):
            return answers
    return []


def _key(answer: Mapping[str, Any]) -> str | None:
    meta = answer.get("metadata")
    return text_in(meta.get("key")) if isinstance(meta, Mapping) else None


def _inlined(id: str, answer: Mapping[str, Any]) -> LineResult:
    error = answer.get("error")
    if error is None:
        return LineResult(id, "succeeded", None, Raw(msgspec.json.encode(answer.get("response"))))
    code = error.get("code") if isinstance(error, Mapping) else None
    body, status = refused(error, _RPC_STATUS.get(code) if isinstance(code, int) else None)
    return LineResult(id, "cancelled" if code == _CANCELLED else "errored", status, body)


def _prediction_job(found: Mapping[str, Any]) -> Job:
    raw = str(found.get("state") or "")
    return Job(
        str(found["name"]),
        _state(raw),
        raw,
        mark=text_in(found.get("displayName")),
        counts=whole_counts(found.get("completionStats")),
        error=_message(found.get("error")),
    )


def _predicted(id: str, line: _Predicted) -> LineResult:
    """A failed request has an empty response, and a status that is the service's error as a text."""
    if not line.status and bytes(line.response) not in (b"null", b"{}"):
        return LineResult(id, "succeeded", None, line.response)
    status = line.status if isinstance(line.status, str) else ""
    text = status[status.find("{") :] if "{" in status else ""
    try:
        error = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        error = {}
    inner = error.get("error", error)
    body, code = refused(
        inner if isinstance(inner, dict) and inner else {"message": status or "there is no answer"}
    )
    return LineResult(id, "errored", code, body)
