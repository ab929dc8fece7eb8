"""OpenAI's batch API in memory, with its files and its rules, as the handler of a server or of a `FakeProvider`.

    service = OpenAIBatchService(lambda body: chat_answer("Hi"))
    with ScriptedServer(service) as server: ...

A line is answered by a function of its body. The rules are those of the API reference (2026-11-29:
https://developers.openai.com/api/docs/guides/batch): a job is validated only after it was created; ids are unique, and
all lines have the job's endpoint and one model; answers come in one file and errors in another, in any order; what an
expired job has not done is in the file of errors. `BatchFaults` adds what was seen to go wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from email import message_from_bytes
from random import Random
from typing import Any
from urllib.parse import parse_qs

from msgspec import Struct

from brainwires_provider.testing.answers import Answer, RecordedRequest

__all__ = ["BatchFaults", "LineRefused", "OpenAIBatchService", "Refused", "chat_answer", "json_answer"]

Body = dict[str, Any]
AnswerLine = Callable[[Body], Body | None]
_ENDED = ("completed", "failed", "expired", "cancelled")


class LineRefused(Exception):
    """Raised by a function that answers lines: this one is answered with an error."""

    def __init__(self, status: int, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Refused(Exception):
    """A request that breaks a rule."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class BatchFaults(Struct, frozen=True):
    """What goes wrong, and when. A line that the function answers with None is in no result."""

    looks: int = 1
    """How often a job is looked after before it ends."""
    done: int | None = None
    """The number of lines that are answered before the job expires. None: all, and it completes."""
    seed: int | None = None
    """Of the order of the results. None: that of the lines."""
    lag: int = 0
    """How often a completed job is looked after before it names its results."""
    empty_ids: bool = False
    """A file that is not there has the id "" in place of null."""
    repeats: bool = False
    """Each result comes twice, and one of a line that was never sent."""
    largest: int = 200_000_000
    """Bytes of a file, or of the call that creates a job; more is answered with 413."""
    most: int = 50_000
    cancels: bool = True
    """Jobs can be cancelled; else that is answered with 500."""
    lost: int = 0
    """How many jobs are created without an answer: 500 in its place."""


def chat_answer(text: str, model: str = "gpt-6", **usage: int) -> Body:
    """A whole answer of Chat Completions."""
    counts = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15} | usage
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return {
        "id": f"chatcmpl-{text[:20]}",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": counts,
    }


def json_answer(value: object, status: int = 200) -> Answer:
    """A body of JSON."""
    return Answer(status, {"content-type": "application/json"}, json.dumps(value).encode())


def shuffled(items: Sequence[Any], faults: BatchFaults) -> list[Any]:
    """Results in the order that they come in, with what is repeated."""
    found = list(items)
    if faults.seed is not None:
        Random(faults.seed).shuffle(found)  # noqa: S311
    return [each for item in found for each in ([item, item] if faults.repeats else [item])]


class OpenAIBatchService:
    """Answers requests for `/files` and `/batches`. `answer` makes a line's answer of its body.

    `files` has every file by id, and `batches` every job as it is shown.
    """

    def __init__(self, answer: AnswerLine, faults: BatchFaults | None = None) -> None:
        self.faults = faults or BatchFaults()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Body] = {}
        self._answer = answer
        self._looks: dict[str, int] = {}
        self._lost = self.faults.lost

    def __call__(self, request: RecordedRequest) -> Answer:
        """The answer to a request; a refusal where a rule is broken."""
        try:
            found = self._route(request)
        except Refused as error:
            fault = {
                "message": str(error),
                "type": "invalid_request_error",
                "param": None,
                "code": error.code,
            }
            return json_answer({"error": fault}, error.status)
        return Answer(body=found) if isinstance(found, bytes) else json_answer(found)

    def _route(self, request: RecordedRequest) -> Body | bytes:
        if len(request.body) > self.faults.largest + 1000:
            raise Refused(413, "the file is too large")
        *_, folder, rest = (
            ("", *request.path.partition("/files"))
            if "/files" in request.path
            else ("", *request.path.partition("/batches"))
        )
        id, _, action = rest.strip("/").partition("/")
        match request.method, folder, id, action:
            case "POST", "/files", "", "":
                return self._upload(request)
            case "GET", "/files", _, "content":
                return self._file(id)
            case "POST", "/batches", "", "":
                return self._create(request.json())
            case "GET", "/batches", "", "":
                return self._list({name: values[0] for name, values in parse_qs(request.query).items()})
            case "GET", "/batches", _, "":
                return self._look(self._batch(id))
            case "POST", "/batches", _, "cancel":
                return self._cancel(self._batch(id))
        raise Refused(404, f"there is no {request.method} {request.path}")

    # -- files -------------------------------------------------------------------------------------------

    def _upload(self, request: RecordedRequest) -> Body:
        kind = next(value for name, value in request.headers if name.lower() == "content-type")
        form = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + request.body)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.walk()}
        if "purpose" not in fields or fields["purpose"].get_payload() != "batch":
            raise Refused(400, "the purpose is batch")
        data = fields["file"].get_payload(decode=True)
        assert isinstance(data, bytes)
        return {
            "id": self._keep(data),
            "object": "file",
            "bytes": len(data),
            "created_at": 1,
            "filename": fields["file"].get_filename(),
            "purpose": "batch",
            "status": "processed",
        }

    def _keep(self, data: bytes) -> str:
        id = f"file-{len(self.files) + 1}"
        self.files[id] = data
        return id

    def _file(self, id: str) -> bytes:
        if id not in self.files:
            raise Refused(404, f"no file {id}")
        return self.files[id]

    # -- jobs --------------------------------------------------------------------------------------------

    def _batch(self, id: str) -> Body:
        if id not in self.batches:
            raise Refused(404, f"no batch {id}")
        return self.batches[id]

    def _create(self, body: Body) -> Body:
        unknown = body.keys() - {
            "input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"
        }  # fmt: skip
        if unknown:
            raise Refused(400, f"unknown fields: {', '.join(sorted(unknown))}")
        if body.get("completion_window") != "24h":
            raise Refused(400, "completion_window is 24h")
        self._file(str(body.get("input_file_id")))
        id = f"batch_{len(self.batches) + 1}"
        batch = {
            "id": id,
            "object": "batch",
            "endpoint": body["endpoint"],
            "errors": None,
            "input_file_id": body["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": len(self.batches) + 1,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": body.get("metadata"),
        }
        self.batches[id] = batch
        if self._lost:
            self._lost -= 1
            raise Refused(500, "the answer was lost")
        return batch

    def _list(self, query: Mapping[str, str]) -> Body:
        found = list(reversed(self.batches.values()))
        if "after" in query:
            places = [place for place, each in enumerate(found) if each["id"] == query["after"]]
            found = found[places[0] + 1 :] if places else []
        limit = int(query.get("limit", "20"))
        page = found[:limit]
        return {
            "object": "list",
            "data": page,
            "has_more": len(found) > limit,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }

    def _cancel(self, batch: Body) -> Body:
        if not self.faults.cancels:
            raise Refused(500, "out of order")
        if batch["status"] in _ENDED:
            raise Refused(409, f"the batch is {batch['status']}")
        batch["status"] = "cancelling"
        return batch

    def _look(self, batch: Body) -> Body:
        looks = self._looks[batch["id"]] = self._looks.get(batch["id"], 0) + 1
        status = batch["status"]
        if status == "cancelling":
            self._finish(batch, "cancelled", self.faults.done or 0)
        elif status == "validating":
            fault = self._fault(batch)
            if fault is not None:
                line, message = fault
                data = [{"code": "invalid", "line": line, "message": message, "param": None}]
                batch |= {"status": "failed", "errors": {"object": "list", "data": data}}
                return batch
            batch["status"] = "in_progress"
        if batch["status"] == "in_progress" and looks > self.faults.looks:
            done = self.faults.done
            self._finish(batch, "completed" if done is None else "expired", done)
        return self._shown(batch, looks)

    def _shown(self, batch: Body, looks: int) -> Body:
        shown = dict(batch)
        if (
            shown["status"] == "completed"
            and looks <= self.faults.looks + self.faults.lag + 1
            and self.faults.lag
        ):
            shown |= {"output_file_id": None, "error_file_id": None}
        if self.faults.empty_ids:
            shown |= {name: shown[name] or "" for name in ("output_file_id", "error_file_id")}
        return shown

    def _lines(self, batch: Body) -> list[Body]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    def _fault(self, batch: Body) -> tuple[int, str] | None:
        """The first line that breaks a rule."""
        lines = self._lines(batch)
        if len(lines) > self.faults.most:
            return self.faults.most + 1, "too many lines"
        seen: set[str] = set()
        for number, line in enumerate(lines, 1):
            if line["custom_id"] in seen:
                return number, f"the custom_id {line['custom_id']} is not unique"
            seen.add(line["custom_id"])
            if line.get("url") != batch["endpoint"] or line.get("method") != "POST":
                return number, "the url is not the endpoint of the batch"
            if line["body"].get("model") != lines[0]["body"].get("model"):
                return number, "all lines have one model"
        return None

    def _finish(self, batch: Body, status: str, done: int | None) -> None:
        answers, errors = [], []
        lines = self._lines(batch)
        code = "batch_cancelled" if status == "cancelled" else "batch_expired"
        for number, line in enumerate(lines):
            if done is not None and number >= done:
                error = {"code": code, "message": f"the request was not done: {status}"}
                errors.append(_line(line["custom_id"], None, error))
                continue
            try:
                body = self._answer(line["body"])
                if body is not None:
                    answers.append(_line(line["custom_id"], _reply(200, body), None))
            except LineRefused as refused:
                fault = {"message": str(refused), "type": "invalid_request_error", "code": refused.code}
                errors.append(_line(line["custom_id"], _reply(refused.status, {"error": fault}), None))
        batch |= {
            "status": status,
            "output_file_id": self._results(answers),
            "error_file_id": self._results(errors),
            "request_counts": {"total": len(lines), "completed": len(answers), "failed": len(errors)},
        }

    def _results(self, lines: Sequence[Body]) -> str | None:
        if not lines:
            return None
        found = shuffled(lines, self.faults)
        if self.faults.repeats:
            found.append({**found[0], "custom_id": "never-sent"})
        return self._keep(b"".join(json.dumps(line).encode() + b"\n" for line in found))


def _reply(status: int, body: Body) -> Body:
    return {"status_code": status, "request_id": f"req_{status}", "body": body}


def _line(id: str, response: Body | None, error: Body | None) -> Body:
    return {"id": f"batch_req_{id[:8]}", "custom_id": id, "response": response, "error": error}


def bodies(service: OpenAIBatchService) -> Iterator[Body]:
    """The lines of every uploaded file, in order."""
    for batch in service.batches.values():
        for line in service.files[batch["input_file_id"]].splitlines():
            yield json.loads(line)
