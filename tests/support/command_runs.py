"""Runs of the command in this process, against a scripted server that speaks Chat Completions."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from brainwires_provider.cli.app import app
from brainwires_provider.testing import Answer, ScriptedServer, sse


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "r", "model": "x-1", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


COUNTS = {"id": "r", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}


def answer(*deltas: dict[str, Any], finish: str = "stop") -> Answer:
    return Answer(body=[sse(*deltas, delta(finish), COUNTS)])


HELLO = answer(delta(role="assistant", content="Hel"), delta(content="lo\x1b[31m ☕"))


class Ran:
    """What one run of the command left behind."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


def run(*args: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> Ran:
    environment = {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": "", **(env or {})}
    result = CliRunner().invoke(app, list(args), input=stdin, env=environment, catch_exceptions=False)
    return Ran(result.exit_code, result.stdout_bytes.decode(), result.stderr)


def chat(server: ScriptedServer, *args: str, stdin: bytes | None = None, **env: str) -> Ran:
    return run("chat", "-m", "openai-chat:x", "--base-url", server.url, *args, stdin=stdin, env=env)
