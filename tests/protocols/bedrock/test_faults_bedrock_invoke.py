"""Every fault of faults.py on Bedrock's InvokeModel with Claude: Messages events inside an AWS event stream."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from brainwires_provider import OverloadedError, ProtocolError
from brainwires_provider.testing import ScriptedServer
from dialects import Dialect
from event_streams import EventStreamFaultTests, event, exception, frames
from faults import BOTH, failing

pytestmark = pytest.mark.long

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "stop_sequence": None}


def chunk(payload: Any) -> bytes:
    """One Messages event, or bytes in its place, wrapped as InvokeModel wraps it."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return event("chunk", {"bytes": base64.b64encode(data).decode(), "p": "abc"})


START = chunk(
    {
        "type": "message_start",
        "message": {**MESSAGE, "content": [], "stop_reason": None, "usage": {"input_tokens": 3}},
    }
)
OPENED = chunk({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})


def said(text: str) -> bytes:
    return chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


CLOSED = chunk({"type": "content_block_stop", "index": 0})
COUNTED = chunk(
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
)
STOPPED = chunk({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}})
PING = chunk({"type": "ping"})


def stream(text: str) -> bytes:
    return START + OPENED + said(text) + CLOSED + COUNTED + STOPPED


WHOLE = {
    **MESSAGE,
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


class TestInvokeModel(EventStreamFaultTests):
    dialect = Dialect(
        row="bedrock-invoke",
        path="/v1/model/m/invoke-with-response-stream",
        stream=stream,
        whole=json.dumps(WHOLE).encode(),
        held=START + OPENED + said("Hel"),
        burnt=exception("serviceUnavailableException", "burnt"),
        misshapen=b'{"id": "x", "content": 3}',
        unended="no message_stop came",
        ends=lambda text: {len(text)},
        odd=lambda text: {
            "pings": PING + text.replace(CLOSED, PING + CLOSED),
            "an event never heard of": START + chunk({"type": "novel"}) + text.removeprefix(START),
            "no start of the block": text.replace(OPENED, b""),
            "a block that never stops": text.replace(CLOSED, b""),
        },
        said=lambda body: body["messages"][0]["content"],
        frames=frames(garbled=chunk(b"{oops"), beat=PING),
    )

    @BOTH
    def test_an_error_of_the_messages_api_in_its_wrapping(self, colour: str) -> None:
        told = chunk({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        with ScriptedServer([self.dialect.streamed(self.dialect.held, told)]) as server:
            error = failing(self.dialect, colour, server, stream=True)

        assert type(error) is OverloadedError
        assert error.partial is not None and error.partial.text == "Hel"

    @BOTH
    @pytest.mark.parametrize("payload", [{"bytes": "?"}, {"bytes": 7}, [1], b"{oops"], ids=str)
    def test_a_wrapping_that_is_broken(self, payload: Any, colour: str) -> None:
        with ScriptedServer([self.dialect.streamed(self.dialect.held, event("chunk", payload))]) as server:
            error = failing(self.dialect, colour, server, stream=True)

        assert isinstance(error, ProtocolError)
        assert error.partial is not None and error.partial.text == "Hel"
