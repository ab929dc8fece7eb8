"""Message batches: one call creates a job of requests, and its results come as JSON lines, in any order.

Reference: https://platform.claude.com/docs/en/api/messages/batches/create
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    text_in,
    whole_counts,
)
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types.batches import BatchState, Outcome

__all__ = ["AnthropicBatches"]

_PATH = "/messages/batches"
_OUTCOMES: Mapping[str, Outcome] = {
    "succeeded": "succeeded",
    "errored": "errored",
    "canceled": "cancelled",
    "expired": "expired",
}


class _Result(Struct):
    type: str
    message: Raw = Raw(b"null")
    error: Raw = Raw(b"null")


class _Line(Struct):
    custom_id: str
    result: _Result


class AnthropicBatches:
    """`/v1/messages/batches`. Requests of one job may have different models; `prefix` is as in `AnthropicQuirks`."""

    way: Literal["files", "inline", "store"] = "inline"
    limits = BatchLimits(100_000, 255_000_000, one_model=False)  # 256 MB for the whole body

    def __init__(self, prefix: str = "/v1") -> None:
        self._path = prefix + _PATH

    def line(self, id: str, call: Call, model: str) -> dict[str, Any]:
        """With the request's body as it is."""
        return {"custom_id": id, "params": call.body}

    def upload(self, data: bytes, name: str) -> Call:
        """Not called: the requests are in the call that creates the job."""
        raise NotImplementedError

    def read_upload(self, body: bytes) -> str:
        """Not called."""
        raise NotImplementedError

    def create(self, job: NewJob) -> Call:
        """All requests, and the settings."""
        return Call(self._path, {"requests": [Raw(line) for line in job.lines], **job.settings})

    def retrieve(self, id: str) -> Call:
        """`GET /v1/messages/batches/{id}`."""
        return Call(self._place(id), {}, method="GET")

    def cancel(self, id: str) -> Call | None:
        """`POST …/cancel`."""
        return Call(self._place(id, "/cancel"), {})

    def jobs(self, after: str | None) -> Call | None:
        """None: nothing of a job in the list shows whose it is."""
        return None

    def read_jobs(self, body: bytes) -> tuple[list[Job], str | None]:
        """Not called."""
        raise NotImplementedError

    def _place(self, id: str, action: str = "") -> str:
        return f"{self._path}/{quote(id, safe='')}{action}"

    def read_job(self, body: bytes) -> Job:
        """Raises ProtocolError, APIError."""
        return _job(job_in(body))

    def results(self, job: Job, source: str) -> Call:
        """`GET …/results`: the URL that the job names is the same, and would not be ours to choose a host by."""
        return Call(self._place(job.id, "/results"), {}, method="GET")

    def read_results(self, body: bytes, ids: Sequence[str]) -> ResultPage:
        """One result for each line."""
        return ResultPage([_result(line) for line in lines_in(body, _Line)])


def _job(found: Mapping[str, Any]) -> Job:
    raw = str(found.get("processing_status") or "")
    counts = whole_counts(found.get("request_counts"))
    has_results = bool(found.get("results_url"))
    state: BatchState = "running"
    if raw == "canceling":
        state = "ending"
    elif raw == "ended":
        state = "cancelled" if counts.get("canceled") else "expired" if counts.get("expired") else "done"
    return Job(
        str(found["id"]),
        state,
        raw,
        sources=("results",) if has_results else (),
        counts=counts,
        lags=raw == "ended" and not has_results and not found.get("archived_at"),
    )


def _result(line: _Line) -> LineResult:
    result = line.result
    outcome = _OUTCOMES.get(result.type, "errored")
    body = result.message if outcome == "succeeded" else result.error
    request_id = None
    if outcome == "errored":
        try:
            request_id = text_in(msgspec.json.decode(body, type=dict[str, Any]).get("request_id"))
        except msgspec.MsgspecError:
            body = Raw(
                msgspec.json.encode(
                    {"error": {"type": result.type, "message": "the result has another form"}}
                )
            )
    return LineResult(line.custom_id, outcome, None, body, request_id)
