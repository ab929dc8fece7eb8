"""Amazon Bedrock's model invocation jobs in memory, with their rules, over a byte store in memory.

References (2026-11-29): https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html and
https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, unquote

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
from brainwires_provider.testing.batch_google import MemoryStore

__all__ = ["BedrockBatchService", "converse_answer"]

_WHEN = "2026-11-29T00:00:00Z"


def converse_answer(text: str, **usage: int) -> Body:
    """A whole answer of Converse."""
    counts = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15} | usage
    message = {"role": "assistant", "content": [{"text": text}]}
    return {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": counts,
        "metrics": {"latencyMs": 1},
    }


class BedrockBatchService:
    """Answers requests for `/model-invocation-job` and `/model-invocation-jobs`. `bodies` has what created each job.

    A job with fewer than `fewest` records fails, as in reality. The same `clientRequestToken` gives the same job.
    """

    def __init__(
        self, answer: AnswerLine, store: MemoryStore, faults: BatchFaults | None = None, *, fewest: int = 100
    ) -> None:
        self.faults = faults or BatchFaults()
        self.store = store
        self.jobs: dict[str, Body] = {}
        self.bodies: list[Body] = []
        self.fewest = fewest
        self._answer = answer
        self._looks: dict[str, int] = {}
        self._lost = self.faults.lost

    def __call__(self, request: RecordedRequest) -> Answer:
        """The answer to a request; a refusal where a rule is broken."""
        try:
            return json_answer(self._route(request))
        except Refused as error:
            return json_answer({"message": str(error)}, error.status)

    def _route(self, request: RecordedRequest) -> Body:
        if request.path == "/model-invocation-jobs":
            query = {name: values[0] for name, values in parse_qs(request.query).items()}
            begin, size = int(query.get("nextToken", 0)), int(query.get("maxResults", 10))
            found = list(reversed(self.jobs.values()))
            more = {"nextToken": str(begin + size)} if len(found) > begin + size else {}
            return {"invocationJobSummaries": found[begin : begin + size], **more}
        rest = request.path.removeprefix("/model-invocation-job").strip("/")
        if request.method == "POST" and not rest:
            return self._create(request.json())
        arn, _, action = rest.partition("/stop") if rest.endswith("/stop") else (rest, "", "")
        job = self.jobs.get(unquote(arn))
        if job is None:
            raise Refused(404, f"no job {arn}")
        if request.method == "POST" and request.path.endswith("/stop") and not action:
            if not self.faults.cancels:
                raise Refused(500, "out of order")
            job["status"] = "Stopping"
            return {}
        return self._look(job)

    def _create(self, body: Body) -> Body:
        self.bodies.append(body)
        for job in self.jobs.values():
            if job["clientRequestToken"] == body.get("clientRequestToken"):
                return {"jobArn": job["jobArn"]}
        key = self.store.key_of(body["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
        if key not in self.store.objects:
            raise Refused(400, f"no object {key}")
        arn = f"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/job{len(self.jobs):09}"
        self.jobs[arn] = {"jobArn": arn, **body, "status": "Submitted", "submitTime": _WHEN}
        if self._lost:
            self._lost -= 1
            raise Refused(500, "the answer was lost")
        return {"jobArn": arn}

    def _look(self, job: Body) -> Body:
        looks = self._looks[job["jobArn"]] = self._looks.get(job["jobArn"], 0) + 1
        done = self.faults.done
        if job["status"] == "Submitted":
            records = self._records(job)
            if len(records) < self.fewest:
                job |= {"status": "Failed", "message": f"at least {self.fewest} records are required"}
                return job
            job["status"] = "InProgress"
        if job["status"] == "Stopping":
            self._finish(job, "Stopped", done or 0)
        elif job["status"] == "InProgress" and looks > self.faults.looks:
            self._finish(job, "Completed" if done is None else "Expired", done)
        return job

    def _records(self, job: Body) -> list[Body]:
        key = self.store.key_of(job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
        return [json.loads(line) for line in self.store.get(key).splitlines()]

    def _finish(self, job: Body, status: str, done: int | None) -> None:
        found = [
            {**each, **answered} for each in self._records(job)[:done] if (answered := self._answered(each))
        ]
        prefix = self.store.key_of(job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]).rstrip("/")
        folder = f"{prefix}/{job['jobArn'].rpartition('/')[2]}"
        written = b"".join(json.dumps(each).encode() + b"\n" for each in shuffled(found, self.faults))
        failed = sum("error" in each for each in found)
        counts = {"totalRecordCount": len(self._records(job)), "processedRecordCount": len(found)}
        counts |= {"successRecordCount": len(found) - failed, "errorRecordCount": failed}
        self.store.put(f"{folder}/input.jsonl.out", written)
        self.store.put(f"{folder}/manifest.json.out", json.dumps(counts).encode())
        job |= {"status": status, "endTime": _WHEN, **counts}

    def _answered(self, each: Body) -> dict[str, Any] | None:
        try:
            body = self._answer(each["modelInput"])
        except LineRefused as refused:
            return {"error": {"errorCode": refused.status, "errorMessage": str(refused)}}
        return None if body is None else {"modelOutput": body}
