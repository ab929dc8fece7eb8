"""Google's batches in memory, with their rules, as the handler of a server or of a `FakeProvider`.

`GeminiBatchService` is the Gemini API's, whose jobs hold requests and answers themselves; `VertexBatchService` that of
Vertex AI, which reads and writes a byte store. References (2026-11-29): https://ai.google.dev/gemini-api/docs/batch-api
and https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/batch-prediction-api
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from brainwires_provider.testing.answers import Answer, RecordedRequest
from brainwires_provider.testing.batch import (
    AnswerLine,
    BatchFaults,
    Body,
    LineRefused,
    Refused,
    json_answer,
    shuffled,
)

__all__ = ["GeminiBatchService", "MemoryStore", "VertexBatchService", "generated"]

_WHEN = "2026-11-29T00:00:00Z"
_STATUS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "INVALID_ARGUMENT", 500: "INTERNAL"}
_RPC = {400: 3, 404: 5, 429: 8, 500: 13}


def generated(text: str, model: str = "gemini-2.5-pro", **usage: Any) -> Body:
    """A whole answer of generateContent."""
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15} | usage
    content = {"role": "model", "parts": [{"text": text}]}
    candidate = {"index": 0, "content": content, "finishReason": "STOP"}
    return {
        "candidates": [candidate],
        "usageMetadata": counts,
        "modelVersion": model,
        "responseId": text[:20],
    }


class MemoryStore:
    """A folder of a bucket, in memory. `objects` has the bytes by key."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        """Write."""
        self.objects[key] = data

    def get(self, key: str) -> bytes:
        """Read. Raises KeyError."""
        return self.objects[key]

    def list(self, prefix: str) -> list[str]:
        """The keys that begin so."""
        return [key for key in self.objects if key.startswith(prefix)]

    def delete(self, key: str) -> None:
        """Delete."""
        del self.objects[key]

    def key_of(self, uri: str) -> str:
        """The key of an object by its whole name. Raises Refused for one of another bucket."""
        key = uri.removeprefix(self.uri + "/")
        if key == uri:
            raise Refused(400, f"{uri} is not in {self.uri}")
        return key


class _Jobs:
    """What both have in common: a job is looked after, cancelled, listed, and ends as the faults have it."""

    folder = ""

    def __init__(self, answer: AnswerLine, faults: BatchFaults | None) -> None:
        self.faults = faults or BatchFaults()
        self.jobs: dict[str, Body] = {}
        self._answer = answer
        self._looks: dict[str, int] = {}
        self._lost = self.faults.lost

    def __call__(self, request: RecordedRequest) -> Answer:
        """The answer to a request; a refusal where a rule is broken."""
        try:
            return json_answer(self._route(request))
        except Refused as error:
            fault = {
                "code": error.status,
                "message": str(error),
                "status": _STATUS.get(error.status, "UNKNOWN"),
            }
            return json_answer({"error": fault}, error.status)

    def _route(self, request: RecordedRequest) -> Body:
        id, _, action = request.path.partition(f"/{self.folder}")[2].strip("/").partition(":")
        if len(request.body) > self.faults.largest:
            raise Refused(413, "Request payload size exceeds the limit")
        if request.method == "POST" and self._creates(request):
            created = self._create(request)
            if self._lost:
                self._lost -= 1
                raise Refused(500, "the answer was lost")
            return created
        if request.method == "GET" and not id and f"/{self.folder}" in request.path:
            return self._list({name: values[0] for name, values in parse_qs(request.query).items()})
        if id not in self.jobs:
            raise Refused(404, f"there is no {request.method} {request.path}")
        if action == "cancel":
            if not self.faults.cancels:
                raise Refused(500, "out of order")
            self._cancel(self.jobs[id])
            return {}
        looks = self._looks[id] = self._looks.get(id, 0) + 1
        return self._look(id, looks)

    def _creates(self, request: RecordedRequest) -> bool:
        raise NotImplementedError

    def _create(self, request: RecordedRequest) -> Body:
        raise NotImplementedError

    def _list(self, query: Mapping[str, str]) -> Body:
        raise NotImplementedError

    def _cancel(self, job: Body) -> None:
        raise NotImplementedError

    def _look(self, id: str, looks: int) -> Body:
        raise NotImplementedError

    def _listed(self, query: Mapping[str, str], field: str) -> Body:
        found = list(reversed(self.jobs.values()))
        begin, size = int(query.get("pageToken", 0)), int(query.get("pageSize", 50))
        more = {"nextPageToken": str(begin + size)} if len(found) > begin + size else {}
        return {field: found[begin : begin + size], **more}


class GeminiBatchService(_Jobs):
    """Answers requests for `…:batchGenerateContent` and `/batches`.

    `keeps_keys=False` leaves the metadata out of the answers, as happens. Answers are in the order of the requests.
    """

    folder = "batches"

    def __init__(
        self, answer: AnswerLine, faults: BatchFaults | None = None, *, keeps_keys: bool = True
    ) -> None:
        super().__init__(answer, faults or BatchFaults(largest=20_000_000))
        self.requests: dict[str, list[Body]] = {}
        self.keeps_keys = keeps_keys

    def _creates(self, request: RecordedRequest) -> bool:
        return request.path.endswith(":batchGenerateContent")

    def _create(self, request: RecordedRequest) -> Body:
        batch = request.json().get("batch", {})
        unknown = batch.keys() - {"displayName", "inputConfig", "priority"}
        if unknown or not batch.get("displayName"):
            raise Refused(400, f"a display name is required, and there is no {', '.join(sorted(unknown))}")
        requests = batch["inputConfig"]["requests"]["requests"]
        for each in requests:
            if each.keys() - {"request", "metadata"} or "contents" not in each["request"]:
                raise Refused(400, "a request has contents")
        id = str(len(self.jobs) + 1)
        self.requests[id] = requests
        meta = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": request.path.rpartition("/")[2].partition(":")[0],
            "displayName": batch["displayName"],
            "createTime": _WHEN,
            "updateTime": _WHEN,
            "name": f"batches/{id}",
            "state": "BATCH_STATE_PENDING",
            "batchStats": {"requestCount": str(len(requests)), "pendingRequestCount": str(len(requests))},
        }
        self.jobs[id] = {"name": f"batches/{id}", "metadata": meta}
        return self.jobs[id]

    def _list(self, query: Mapping[str, str]) -> Body:
        return self._listed(query, "operations")

    def _cancel(self, job: Body) -> None:
        job["metadata"]["state"] = "BATCH_STATE_CANCELLED"
        job["done"] = True

    def _look(self, id: str, looks: int) -> Body:
        job = self.jobs[id]
        meta = job["metadata"]
        if meta["state"] == "BATCH_STATE_PENDING":
            meta["state"] = "BATCH_STATE_RUNNING"
        if meta["state"] == "BATCH_STATE_RUNNING" and looks > self.faults.looks:
            done = self.faults.done
            answers = [self._answered(each) for each in self.requests[id][:done]]
            meta["state"] = "BATCH_STATE_SUCCEEDED" if done is None else "BATCH_STATE_EXPIRED"
            meta["output"] = {"inlinedResponses": {"inlinedResponses": [each for each in answers if each]}}
            job["done"] = True
        if self.faults.lag and looks <= self.faults.looks + self.faults.lag + 1:
            return {**job, "metadata": {name: value for name, value in meta.items() if name != "output"}}
        return job

    def _answered(self, each: Body) -> Body | None:
        meta = {"metadata": each["metadata"]} if self.keeps_keys and "metadata" in each else {}
        try:
            body = self._answer(each["request"])
        except LineRefused as refused:
            return {"error": {"code": _RPC.get(refused.status, 2), "message": str(refused)}, **meta}
        return None if body is None else {"response": body, **meta}


class VertexBatchService(_Jobs):
    """Answers requests for `/batchPredictionJobs`, and reads and writes a byte store."""

    folder = "batchPredictionJobs"

    def __init__(self, answer: AnswerLine, store: MemoryStore, faults: BatchFaults | None = None) -> None:
        super().__init__(answer, faults)
        self.store = store

    def _creates(self, request: RecordedRequest) -> bool:
        return request.path.endswith(f"/{self.folder}")

    def _create(self, request: RecordedRequest) -> Body:
        body = request.json()
        if not {"displayName", "model", "inputConfig", "outputConfig"} <= body.keys():
            raise Refused(400, "displayName, model, inputConfig and outputConfig are required")
        if not body["model"].startswith("publishers/"):
            raise Refused(400, f"{body['model']} is no model")
        (uri,) = body["inputConfig"]["gcsSource"]["uris"]
        self.store.key_of(uri)
        self.store.key_of(body["outputConfig"]["gcsDestination"]["outputUriPrefix"])
        id = str(len(self.jobs) + 1)
        place = request.path.partition("/v1/")[2].rpartition("/")[0]
        self.jobs[id] = {
            "name": f"{place}/{self.folder}/{id}",
            **body,
            "state": "JOB_STATE_PENDING",
            "createTime": _WHEN,
        }
        return self.jobs[id]

    def _list(self, query: Mapping[str, str]) -> Body:
        return self._listed(query, "batchPredictionJobs")

    def _cancel(self, job: Body) -> None:
        job["state"] = "JOB_STATE_CANCELLING"

    def _look(self, id: str, looks: int) -> Body:
        job, done = self.jobs[id], self.faults.done
        if job["state"] == "JOB_STATE_PENDING":
            job["state"] = "JOB_STATE_RUNNING"
        if job["state"] == "JOB_STATE_CANCELLING":
            self._finish(job, "JOB_STATE_CANCELLED", done or 0)
        elif job["state"] == "JOB_STATE_RUNNING" and looks > self.faults.looks:
            self._finish(job, "JOB_STATE_SUCCEEDED" if done is None else "JOB_STATE_EXPIRED", done)
        return job

    def _finish(self, job: Body, state: str, done: int | None) -> None:
        data = self.store.get(self.store.key_of(job["inputConfig"]["gcsSource"]["uris"][0]))
        lines = [json.loads(line) for line in data.splitlines()][:done]
        found = [
            {**line, **answered}
            for line in lines
            if (answered := self._answered(line["request"])) is not None
        ]
        prefix = self.store.key_of(job["outputConfig"]["gcsDestination"]["outputUriPrefix"])
        folder = f"{prefix.rstrip('/')}/prediction-model-{_WHEN}"
        written = b"".join(json.dumps(each).encode() + b"\n" for each in shuffled(found, self.faults))
        self.store.put(f"{folder}/predictions.jsonl", written)
        failed = sum(bool(each["status"]) for each in found)
        counts = {"successfulCount": str(len(found) - failed), "failedCount": str(failed)}
        job |= {"state": state, "completionStats": counts, "endTime": _WHEN}

    def _answered(self, request: Body) -> Body | None:
        try:
            body = self._answer(request)
        except LineRefused as refused:
            fault = {
                "code": refused.status,
                "message": str(refused),
                "status": _STATUS.get(refused.status, "UNKNOWN"),
            }
            return {
                "status": f"Bad Request: {json.dumps({'error': fault})}",
                "response": {},
                "processed_time": _WHEN,
            }
        return None if body is None else {"status": "", "response": body, "processed_time": _WHEN}
