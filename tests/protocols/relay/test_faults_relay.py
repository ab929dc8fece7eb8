"""Every fault of faults.py on the Brainwires relay, which streams whatever is asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from brainwires_provider import ProtocolError, StreamInterrupted
from brainwires_provider.testing import Answer, ScriptedServer
from colours import COLOURS
from dialects import SSE, Dialect
from faults import BOTH, CONFIG, FORMS, KEY, FaultTests

pytestmark = pytest.mark.long


def event(name: str, data: Any) -> bytes:
    """One event, as the relay names them."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


COMPLETE = event("complete", {"usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}})


def stream(text: str) -> bytes:
    return event("delta", {"delta": text}) + COMPLETE


def ends(text: bytes) -> set[int]:
    """The last event counts once its JSON is whole; nothing comes after it but blank lines."""
    return {len(text) - 2, len(text) - 1, len(text)}


class TestRelay(FaultTests):
    dialect = Dialect(
        row="brainwires",
        path="/v1/api/chat/stream",
        stream=stream,
        whole=stream("Hello"),  # there is no whole form: a stream under the name of JSON
        held=event("delta", {"delta": "Hel"}),
        burnt=event("error", {"message": "burnt", "code": 503}),
        misshapen=event("delta", {"delta": 3}),
        unended="no complete event came",
        ends=ends,
        odd=lambda text: {
            "no space after the colon": text.replace(b": ", b":"),
            "data in lines": text.replace(b': "Hello"', b':\ndata: "Hello"'),
            "a title": event("title", {"title": "Hi"}) + text,
            "events after the end": text
            + event("delta", {"delta": "more"})
            + b"event: delta\ndata: {oops\n\n",
            "[DONE] at the end": text + b"data: [DONE]\n\n",
        },
        said=lambda body: body["content"],
        frames=replace(
            SSE,
            garbled=b"event: delta\ndata: {oops\n\n",
            torn=b'event: delta\ndata: {"del',
            beat=b"event: ping\n\n",
        ),
    )

    @BOTH
    @pytest.mark.parametrize("name", sorted(CONFIG.keys() - {"no model"}))  # the row has one of its own
    def test_a_set_up_that_cannot_work(self, name: str, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
        super().test_a_set_up_that_cannot_work(name, colour, monkeypatch)

    @BOTH
    @FORMS
    def test_a_whole_answer_is_streamed_too(self, stream: bool, colour: str) -> None:
        with ScriptedServer([self.dialect.streamed(self.dialect.text)]) as server:
            outcome = self.asked(colour, f"{server.url}/v1", stream=stream)
            request = server.requests[0]

        assert outcome.response.text == "Hello"
        assert outcome.response.usage.total_tokens == 4
        assert (request.method, request.target) == ("POST", "/v1/api/chat/stream")
        assert request.header("accept") == "text/event-stream"
        assert request.header("authorization") == f"Bearer {KEY}"
        assert request.json() == {"content": "hi", "model": "m", "timezone": "UTC"}

    @BOTH
    def test_a_whole_answer_that_is_cut_keeps_what_had_come(self, colour: str) -> None:
        make, run = COLOURS[colour]
        with ScriptedServer([self.dialect.streamed(self.dialect.held)]) as server:
            client = make("brainwires:m", base_url=server.url, api_key=KEY)
            with pytest.raises(StreamInterrupted, match="no complete event came") as caught:
                run(client, stream=False)

        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hel"

    def test_any_other_body_is_no_answer(self) -> None:
        with (
            ScriptedServer([Answer(body=b'{"choices": []}')]) as server,
            pytest.raises(ProtocolError, match="the relay answers in events only"),
        ):
            self.asked("sync", server.url)
