"""Every fault of faults.py on Google's Interactions API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider import ConfigError
from brainwires_provider.testing import ScriptedServer, sse
from colours import COLOURS
from faults import BOTH, CONFIG, KEY, Dialect, FaultTests

pytestmark = pytest.mark.long

USAGE = {"total_input_tokens": 3, "total_output_tokens": 1, "total_tokens": 4}


def interaction(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": "r-1", "object": "interaction", "model": "m-1", "status": status, **fields}


def delta(text: str) -> dict[str, Any]:
    return {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": text}}


START = (
    {"event_type": "interaction.created", "interaction": interaction("in_progress")},
    {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
)


def stream(text: str) -> bytes:
    stop = {"event_type": "step.stop", "index": 0}
    end = {"event_type": "interaction.completed", "interaction": interaction("completed", usage=USAGE)}
    return sse(*START, delta(text), stop, end, done=False)


def ends(text: bytes) -> set[int]:
    """The last event counts once its JSON is whole; nothing comes after it but blank lines."""
    return {len(text) - 2, len(text) - 1, len(text)}


OUTPUT = {"type": "model_output", "content": [{"type": "text", "text": "Hello"}]}


class TestGoogleInteractions(FaultTests):
    dialect = Dialect(
        row="google-interactions",
        path="/v1/interactions",
        stream=stream,
        whole=json.dumps(interaction("completed", steps=[OUTPUT], usage=USAGE)).encode(),
        held=sse(*START, delta("Hel"), done=False),
        burnt=sse(
            {"event_type": "error", "error": {"code": "service_unavailable", "message": "burnt"}}, done=False
        ),
        misshapen=b'{"status": "completed", "steps": [3]}',
        unended="the stream ended before the answer did",
        ends=ends,
        odd=lambda text: {
            "[DONE] at the end": text + b"event: done\ndata: [DONE]\n\n",
            "an event that is not known": sse({"event_type": "interaction.mood"}, done=False) + text,
            "no event has an id": text.replace(b'"id":"r-1",', b"").replace(b'"id": "r-1", ', b""),
        },
        said=lambda body: body["input"][0]["content"][0]["text"],
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
            run(make("google-interactions:m"), stream=False)

    def test_the_key_is_in_no_url(self) -> None:
        with ScriptedServer([self.dialect.good(True)]) as server:
            self.asked("sync", f"{server.url}/v1")
            request = server.requests[0]
        assert request.target == "/v1/interactions?alt=sse"
        assert request.header("x-goog-api-key") == KEY
        assert request.header("api-revision") == "2026-05-20"
        assert request.header("authorization") is None
