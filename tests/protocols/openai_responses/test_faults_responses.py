"""Every fault of faults.py on Responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider.testing import sse
from faults import Dialect, FaultTests

pytestmark = pytest.mark.long

ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}


def response(**fields: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "model": "m-1",
        "status": "in_progress",
        "output": [],
        **fields,
    }


def message(text: str) -> dict[str, Any]:
    piece = {"type": "output_text", "text": text, "annotations": []}
    return {**ITEM, "status": "completed", "content": [piece]}


def begun(text: str) -> bytes:
    return sse(
        {"type": "response.created", "sequence_number": 0, "response": response()},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": ITEM},
        {
            "type": "response.output_text.delta",
            "sequence_number": 2,
            "output_index": 0,
            "content_index": 0,
            "delta": text,
        },
        done=False,
    )


USAGE = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}


def completed(text: str) -> dict[str, Any]:
    return response(status="completed", output=[message(text)], usage=USAGE)


def stream(text: str) -> bytes:
    """An 8 MB text fits into one event, so only its delta has it."""
    done = {
        "type": "response.output_item.done",
        "sequence_number": 3,
        "output_index": 0,
        "item": message(text),
    }
    end = {
        "type": "response.completed",
        "sequence_number": 4,
        "response": response(status="completed", usage=USAGE),
    }
    return begun(text) + sse(done, end, done=False)


BURNT = {
    "type": "error",
    "sequence_number": 3,
    "code": "service_unavailable",
    "message": "burnt",
    "param": None,
}


class TestResponses(FaultTests):
    dialect = Dialect(
        row="openai-responses",
        path="/v1/responses",
        stream=stream,
        whole=json.dumps(completed("Hello")).encode(),
        held=begun("Hel"),
        burnt=sse(BURNT, done=False),
        misshapen=b'{"id": "x", "output": [3]}',
        unended="the stream ended before the answer did",
        ends=lambda text: {len(text) - 2, len(text) - 1, len(text)},
        odd=lambda text: {
            "[DONE] at the end": text + b"data: [DONE]\n\n",
            "named events": text.replace(b"data: ", b"event: message\ndata: "),
            "names of their own": b"".join(
                b"event: " + json.loads(line[6:])["type"].encode() + b"\n" + line + b"\n\n"
                for line in text.split(b"\n\n")
                if line
            ),
        },
        said=lambda body: body["input"][0]["content"],
    )
