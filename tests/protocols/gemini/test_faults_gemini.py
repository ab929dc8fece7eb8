"""Every fault of faults.py on Google's generateContent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider import ConfigError, OverloadedError
from brainwires_provider.testing import Answer, ScriptedServer, sse
from colours import COLOURS
from faults import BOTH, CONFIG, KEY, Dialect, FaultTests

pytestmark = pytest.mark.long

USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}


def chunk(text: str, **fields: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **fields}
    return {"candidates": [candidate], "modelVersion": "m-1", "responseId": "r-1"}


def stream(text: str) -> bytes:
    end = {**chunk("", finishReason="STOP"), "usageMetadata": USAGE}
    return sse(chunk(text), end, done=False)


BURNT = {"error": {"code": 503, "message": "burnt", "status": "UNAVAILABLE"}}


def ends(text: bytes) -> set[int]:
    """The last event counts once its JSON is whole; nothing comes after it but blank lines."""
    return {len(text) - 2, len(text) - 1, len(text)}


class TestGemini(FaultTests):
    dialect = Dialect(
        row="google",
        path="/v1/models/m:streamGenerateContent",
        stream=stream,
        whole=json.dumps({**chunk("Hello", finishReason="STOP"), "usageMetadata": USAGE}).encode(),
        held=sse(chunk("Hel"), done=False),
        burnt=sse(BURNT, done=False),
        misshapen=b'{"candidates": [3]}',
        unended="the stream ended before the answer did",
        ends=ends,
        odd=lambda text: {
            "[DONE] at the end": text + b"data: [DONE]\n\n",
            "counts after the end": text + sse({"usageMetadata": USAGE}, done=False),
            "chunks without candidates": sse({"usageMetadata": {"promptTokenCount": 3}}, done=False) + text,
            "chunks with nothing in them": sse({}, {"candidates": []}, done=False) + text,
        },
        said=lambda body: body["contents"][0]["parts"][0]["text"],
    )

    @BOTH
    @pytest.mark.parametrize("name", sorted(CONFIG.keys() - {"no key", "not built yet"}))
    def test_a_set_up_that_cannot_work(self, name: str, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
        super().test_a_set_up_that_cannot_work(name, colour, monkeypatch)

    @BOTH
    def test_no_key(self, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GEMINI_API_KEY", raising=False)
        monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
        make, run = COLOURS[colour]
        with pytest.raises(ConfigError, match="GEMINI_API_KEY"):
            run(make("google:m"), stream=False)

    @BOTH
    def test_an_array_instead_of_events(self, colour: str) -> None:
        """What comes where `alt=sse` is ignored: the same chunks as one JSON array."""
        end = {**chunk("lo", finishReason="STOP"), "usageMetadata": USAGE}
        array = json.dumps([chunk("Hel"), end], indent=1).encode()
        with ScriptedServer(
            [Answer(body=array), Answer(body=json.dumps([chunk("Hel"), BURNT]).encode())]
        ) as server:
            outcome = self.asked(colour, f"{server.url}/v1")
            assert outcome.response.text == "Hello"
            assert outcome.response.usage.total_tokens == 4
            with pytest.raises(OverloadedError, match="burnt") as caught:
                self.asked(colour, f"{server.url}/v1")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hel"

    def test_the_key_is_in_no_url(self) -> None:
        with ScriptedServer([self.dialect.good(True)]) as server:
            self.asked("sync", f"{server.url}/v1")
            request = server.requests[0]
        assert request.target == "/v1/models/m:streamGenerateContent?alt=sse"
        assert request.header("x-goog-api-key") == KEY
        assert request.header("authorization") is None
