"""Anthropic's message batches in memory, with their rules, as the handler of a server or of a `FakeProvider`.

A request is answered by a function of its params. The rules are those of the API reference (2026-11-29:
https://platform.claude.com/docs/en/api/messages/batches/create): ids are unique and of `[A-Za-z0-9_-]{1,64}`; params
are validated only when they are run; all requests count as `processing` until the end; there are no results before it.
"""

from __future__ import annotations

import json
import re
from typing import Any

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

__all__ = ["AnthropicBatchService", "message_answer"]

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WHEN = "2026-11-29T00:00:00Z"
_KINDS = ("succeeded", "errored", "canceled", "expired")
_TYPES = {400: "invalid_request_error", 404: "not_found_error", 413: "request_too_large"}


def message_answer(text: str, model: str = "claude-sonnet-4-5", **usage: Any) -> Body:
    """A whole answer of the Messages API."""
    return {
        "id": f"msg_{text[:20]}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, "service_tier": "batch"} | usage,
    }


class AnthropicBatchService:
    """Answers requests for `/v1/messages/batches`. `batches` has every job as it is shown, `requests` its requests."""

    def __init__(self, answer: AnswerLine, faults: BatchFaults | None = None) -> None:
        self.faults = faults or BatchFaults(most=100_000, largest=256_000_000)
        self.batches: dict[str, Body] = {}
        self.requests: dict[str, list[Body]] = {}
        self._answer = answer
        self._looks: dict[str, int] = {}
        self._results: dict[str, bytes] = {}
        self._lost = self.faults.lost

    def __call__(self, request: RecordedRequest) -> Answer:
        """The answer to a request; a refusal where a rule is broken."""
        try:
            found = self._route(request)
        except Refused as error:
            fault = {"type": _TYPES.get(error.status, "api_error"), "message": str(error)}
            return json_answer({"type": "error", "error": fault, "request_id": "req_1"}, error.status)
        return Answer(body=found) if isinstance(found, bytes) else json_answer(found)

    def _route(self, request: RecordedRequest) -> Body | bytes:
        if "anthropic-version" not in {name.lower() for name, _ in request.headers}:
            raise Refused(400, "anthropic-version: header is required")
        rest = request.path.partition("/v1/messages/batches")[2]
        id, _, action = rest.strip("/").partition("/")
        match request.method, id, action:
            case "POST", "", "":
                return self._create(request)
            case "GET", "", "":
                found = list(reversed(self.batches.values()))
                ends = {"first_id": found[0]["id"], "last_id": found[-1]["id"]} if found else {}
                return {"data": found, "has_more": False, **ends}
            case "GET", _, "" if id in self.batches:
                return self._look(id)
            case "GET", _, "results" if id in self._results:
                return self._results[id]
            case "POST", _, "cancel" if id in self.batches:
                return self._cancel(self.batches[id])
        raise Refused(404, f"there is no {request.method} {request.path}, or no results yet")

    def _create(self, request: RecordedRequest) -> Body:
        if len(request.body) > self.faults.largest:
            raise Refused(413, "Request exceeds the maximum size")
        body = request.json()
        if body.keys() != {"requests"} or not body["requests"]:
            raise Refused(400, "requests: a list that is not empty, and nothing else")
        if len(body["requests"]) > self.faults.most:
            raise Refused(400, "requests: too many")
        seen: set[str] = set()
        for number, each in enumerate(body["requests"]):
            if each.keys() != {"custom_id", "params"} or not _ID.fullmatch(each["custom_id"]):
                raise Refused(400, f"requests.{number}: custom_id and params")
            if each["custom_id"] in seen:
                raise Refused(400, f"requests.{number}.custom_id: must be unique")
            seen.add(each["custom_id"])
        id = f"msgbatch_{len(self.batches) + 1}"
        self.requests[id] = body["requests"]
        self.batches[id] = {
            "id": id,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": {"processing": len(seen), **dict.fromkeys(_KINDS, 0)},
            "ended_at": None,
            "created_at": _WHEN,
            "expires_at": _WHEN,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": None,
        }
        if self._lost:
            self._lost -= 1
            raise Refused(500, "the answer was lost")
        return self.batches[id]

    def _cancel(self, batch: Body) -> Body:
        if not self.faults.cancels:
            raise Refused(500, "out of order")
        if batch["processing_status"] != "ended":
            batch |= {"processing_status": "canceling", "cancel_initiated_at": _WHEN}
        return batch

    def _look(self, id: str) -> Body:
        batch = self.batches[id]
        looks = self._looks[id] = self._looks.get(id, 0) + 1
        if batch["processing_status"] == "canceling":
            self._finish(id, self.faults.done or 0, "canceled")
        elif batch["processing_status"] == "in_progress" and looks > self.faults.looks:
            done = self.faults.done
            self._finish(id, len(self.requests[id]) if done is None else done, "expired")
        shown = dict(batch)
        if self.faults.lag and looks <= self.faults.looks + self.faults.lag + 1:
            shown["results_url"] = None
        return shown

    def _finish(self, id: str, done: int, rest: str) -> None:
        results = []
        for number, each in enumerate(self.requests[id]):
            result = self._result(each["params"]) if number < done else {"type": rest}
            if result is not None:
                results.append({"custom_id": each["custom_id"], "result": result})
        counts = {kind: sum(each["result"]["type"] == kind for each in results) for kind in _KINDS}
        found = shuffled(results, self.faults)
        self._results[id] = b"".join(json.dumps(line).encode() + b"\n" for line in found)
        self.batches[id] |= {
            "processing_status": "ended",
            "request_counts": {"processing": 0, **counts},
            "ended_at": _WHEN,
            "results_url": f"https://api.anthropic.com/v1/messages/batches/{id}/results",
        }

    def _result(self, params: Body) -> Body | None:
        try:
            if params.get("max_tokens", 0) < 1:
                raise LineRefused(400, "max_tokens: at least 1")
            message = self._answer(params)
        except LineRefused as refused:
            fault = {"type": _TYPES.get(refused.status, "api_error"), "message": str(refused)}
            return {"type": "errored", "error": {"type": "error", "error": fault, "request_id": "req_2"}}
        return None if message is None else {"type": "succeeded", "message": message}
