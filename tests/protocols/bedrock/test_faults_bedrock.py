"""Every fault of faults.py on Bedrock's Converse and ConverseStream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider import RateLimitError
from brainwires_provider.testing import Answer, ScriptedServer
from dialects import Dialect
from event_streams import EventStreamFaultTests, event, exception, frames, without
from faults import BOTH, failing

pytestmark = pytest.mark.long

USAGE = {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}
START = event("messageStart", {"role": "assistant", "p": "abcd"})


def said(text: str) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}, "p": "ab"})


CLOSED = event("contentBlockStop", {"contentBlockIndex": 0})
STOPPED = event("messageStop", {"stopReason": "end_turn"})
COUNTED = event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})


def stream(text: str) -> bytes:
    return START + said(text) + CLOSED + STOPPED + COUNTED


def whole(text: str) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": USAGE,
        "metrics": {"latencyMs": 1},
    }


class TestConverse(EventStreamFaultTests):
    dialect = Dialect(
        row="bedrock",
        path="/v1/model/m/converse-stream",
        stream=stream,
        whole=json.dumps(whole("Hello")).encode(),
        held=START + said("Hel"),
        burnt=exception("serviceUnavailableException", "burnt"),
        misshapen=b'{"output": 3}',
        unended="no messageStop, and no metadata after it, came",
        ends=lambda text: {len(text) - len(COUNTED), len(text)},
        odd=lambda text: {
            "counts before the stop": START + said("Hello") + CLOSED + COUNTED + STOPPED,
            "no counts": text.removesuffix(COUNTED),
            "no start": text.removeprefix(START),
            "a block that never stops": without(text, "contentBlockStop"),
            "a start told for text": text.replace(
                START, START + event("contentBlockStart", {"contentBlockIndex": 0, "start": {}})
            ),
        },
        said=lambda body: body["messages"][0]["content"][0]["text"],
        frames=frames(garbled=event("contentBlockDelta", b"{oops"), beat=event("ping", {})),
    )

    @BOTH
    def test_a_name_under_200(self, colour: str) -> None:
        told = b'{"__type": "com.amazon#ThrottlingException", "message": "late no"}'
        with ScriptedServer([Answer(body=told)]) as server:
            error = failing(self.dialect, colour, server, stream=False)

        assert type(error) is RateLimitError
        assert (error.status, error.code) == (200, "ThrottlingException")
