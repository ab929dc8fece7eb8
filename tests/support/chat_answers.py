"""Answers of a Chat Completions service, streamed and whole."""

from __future__ import annotations

import json
from typing import Any

from brainwires_provider.testing import sse


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


WHOLE = json.dumps(
    {
        "id": "c1",
        "model": "m-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
).encode()


def stream(text: str) -> bytes:
    return sse(chunk({"role": "assistant", "content": ""}), chunk({"content": text}), chunk({}, "stop"))


TEXT = stream("Hello")
