"""Recordings keep chunk boundaries and no key, and answer the same requests again; pytest's plugin uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import Client, Retry, StreamInterrupted
from brainwires_provider.testing import (
    Answer,
    Close,
    RecordedRequest,
    Recorder,
    Replay,
    ScriptedServer,
    reply_answer,
    split,
    sse,
)

KEY = "sk-planted-0123456789abcdef"


def client(transport: Any, server: str = "https://api.openai.com", model: str = "openai-chat:m") -> Client:
    return Client(model, api_key=KEY, base_url=server, transport=transport, retry=Retry(attempts=1))


def events(asked: Client, text: str) -> list[Any]:
    return [*asked.stream(text)]


def test_a_recording_replays_chunk_by_chunk(tmp_path: Path) -> None:
    body = sse(*({"choices": [{"delta": {"content": f"{word} "}}]} for word in ("one", KEY, "three")))
    end = sse({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    chunks = split(body.replace(b"data: [DONE]\n\n", b"") + end, every=7)  # the key is cut by a boundary
    path = tmp_path / "of" / "recording.jsonl"
    with (
        ScriptedServer(
            Answer(headers={"x-request-id": "r1", "set-cookie": f"k={KEY}"}, body=chunks)
        ) as server,
        client(Recorder(path), server.url) as asked,
    ):
        recorded = asked.stream("Hi").collect()
    text = path.read_text()
    (line,) = map(json.loads, text.splitlines())
    assert KEY not in text and KEY[:10] not in text and "cookie" not in text
    assert line["headers"]["x-request-id"] == "r1"
    assert "".join(line["chunks"]).encode() == b"".join(chunks).replace(KEY.encode(), b"*" * len(KEY))
    with client(Replay(path)) as again:
        replayed = again.stream("Hi").collect()
    assert recorded.text.replace(KEY, "*" * len(KEY)) == replayed.text == f"one {'*' * len(KEY)} three "
    assert replayed.finish_reason == "stop" and recorded.request_id == replayed.request_id == "r1"


@pytest.mark.parametrize(
    "model",
    ["openai:m", "anthropic:claude-3-5-haiku-latest", "google:gemini-2.5-flash", "ollama:m", "bedrock:m"],
)
def test_every_protocol_is_recorded(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    path = tmp_path / "recording.jsonl"
    with (
        ScriptedServer(lambda request: reply_answer(request, "Hello there")) as server,
        client(Recorder(path), server.url, model) as asked,
    ):
        recorded = events(asked, "Hi"), asked.chat("Hi").text
    assert KEY not in path.read_text()
    with client(Replay(path), server.url, model) as again:
        texts = [event.text for event in events(again, "Hi") if hasattr(event, "text")]
        assert texts == [event.text for event in recorded[0] if hasattr(event, "text")]
        assert again.chat("Hi").text == recorded[1] == "Hello there"


def test_a_cut_answer_is_cut_again(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    begun = sse({"choices": [{"delta": {"content": "a"}}]}, done=False)
    with (
        ScriptedServer(Answer(body=[begun, Close()])) as server,
        client(Recorder(path), server.url) as asked,
        pytest.raises(StreamInterrupted),
    ):
        asked.stream("Hi").collect()
    with client(Replay(path)) as again, pytest.raises(StreamInterrupted) as cut:
        again.stream("Hi").collect()
    assert cut.value.partial is not None and cut.value.partial.text == "a"


def test_what_was_not_recorded_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    with (
        ScriptedServer(lambda request: reply_answer(request, "Hello")) as server,
        client(Recorder(path), server.url) as asked,
    ):
        asked.chat("Hi")
    with client(Replay(path)) as again:
        with pytest.raises(AssertionError, match="with another body: messages, temperature differ"):
            again.chat("Ho", temperature=0.5)
        assert again.chat("Hi").text == "Hello"
        with pytest.raises(AssertionError, match="no unused exchange for POST /chat/completions"):
            again.chat("Hi")


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":"' + KEY[:20].encode() + b'"}',
        b"\xff" + KEY.encode(),
        b'{"error":"' + KEY.replace("s", "\\u0073").encode() + b'"}',
    ],
)
def test_a_secret_that_cannot_be_masked_is_not_recorded(body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    with (
        ScriptedServer(Answer(body=body)) as server,
        client(Recorder(path), server.url) as asked,
        pytest.raises(ValueError, match="it is not recorded") as refused,
    ):
        asked.chat("Hi")
    assert KEY not in str(refused.value) and not path.exists()


USERS_TEST = """
import pytest
from brainwires_provider import Client
from brainwires_provider.testing import Failure, ToolCallPart

def greet(name):
    with Client("anthropic:claude-3-5-haiku-latest") as client:
        return client.chat(f"Greet {name}").text

def test_greets(fake_provider):
    fake = fake_provider(["Hello Ada!"])
    assert greet("Ada") == "Hello Ada!"
    assert fake.requests[0].json()["messages"][0]["content"] == "Greet Ada"

def test_recorded(recorded_provider):
    with Client("openai-chat:m") as client:
        assert client.chat("Hi").text == "Hello there"
"""


@pytest.mark.long
def test_a_users_test_file_with_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_greet.py").write_text(USERS_TEST.replace(", ToolCallPart", ""))

    def run(*options: str, **env: str) -> str:
        import os

        clean = {
            name: value for name, value in os.environ.items() if "PYTEST" not in name and "OPENAI" not in name
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            str(tmp_path),
            *options,
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=100,
            cwd=tmp_path,
            env={**clean, **env},
            check=False,
        )
        return done.stdout

    def hello(request: RecordedRequest) -> Answer:
        return reply_answer(request, "Hello there")

    assert "run this test once with --brainwires-record" in run()
    with ScriptedServer(hello) as server:
        out = run("--brainwires-record", OPENAI_BASE_URL=f"{server.url}/v1", OPENAI_API_KEY=KEY)
        assert "2 passed" in out, out
    assert KEY not in (tmp_path / "recordings" / "test_greet" / "test_recorded.jsonl").read_text()
    assert "2 passed" in run()
