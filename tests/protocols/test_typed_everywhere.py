"""The same ten types through every protocol: asked for, answered, repaired."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Literal, NamedTuple, TypedDict

import pytest
from msgspec import Struct

from brainwires_provider import Client, ProviderConfig, Retry
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, sse


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Cat:
    name: str
    color: Color = Color.RED


@dataclass
class Dog:
    name: str


class Tree(Struct):
    value: int
    left: Tree | None = None


class Movie(TypedDict, total=False):
    title: str
    year: int


class Point(NamedTuple):
    x: float
    y: float


# A type, a wrong answer, the right one, and its value.
TYPES: tuple[tuple[Any, Any, Any, Any], ...] = (
    (Cat, {"name": 1}, {"name": "Tom"}, Cat("Tom")),
    (int, {"response": "x"}, {"response": 5}, 5),
    (Color, {"response": "green"}, {"response": "blue"}, Color.BLUE),
    (Literal["a", 1], {"response": 2}, {"response": 1}, 1),
    (Cat | Dog, {"response": {"kind": "Bird"}}, {"response": {"kind": "Dog", "name": "Rex"}}, Dog("Rex")),
    (list[Point], {"response": [{"x": 1}]}, {"response": [{"x": 1, "y": 2}]}, [Point(1.0, 2.0)]),
    (Tree, {"value": 1, "left": {}}, {"value": 1, "left": {"value": 2}}, Tree(1, Tree(2))),
    (Movie, {"year": "x"}, {"title": "M"}, {"title": "M"}),
    (date | None, {"response": "soon"}, {"response": None}, None),
    (dict[str, int], {"response": {"a": "b"}}, {"a": 1}, {"a": 1}),
)


def _chat(text: str) -> Any:
    return {"id": "c", "model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


def _responses(text: str) -> Any:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    return {
        "id": "r",
        "object": "response",
        "model": "m",
        "status": "completed",
        "output": [item],
        "usage": usage,
    }


def _messages(text: str) -> Any:
    whole = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    return {
        **whole,
        "content": [{"type": "text", "text": text}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def _gemini(text: str) -> Any:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "modelVersion": "m"}


def _interactions(text: str) -> Any:
    step = {"type": "model_output", "content": [{"type": "text", "text": text}]}
    return {"id": "v1_1", "object": "interaction", "model": "m", "status": "completed", "steps": [step]}


def _ollama(text: str) -> Any:
    return {
        "model": "m",
        "message": {"role": "assistant", "content": text},
        "done": True,
        "done_reason": "stop",
    }


def _converse(text: str) -> Any:
    usage = {"inputTokens": 10, "outputTokens": 2, "totalTokens": 12}
    message = {"role": "assistant", "content": [{"text": text}]}
    return {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": usage,
        "metrics": {"latencyMs": 1},
    }


def _relay(text: str) -> bytes:
    events = (("delta", {"delta": text}), ("complete", {"usage": {"total_tokens": 3}}))
    return b"".join(b"event: %b\n" % name.encode() + sse(data, done=False) for name, data in events)


SERVICES: Mapping[str, Callable[[str], Any]] = {
    "openai-chat:gpt-6": _chat,
    "groq:qwen3": _chat,
    "mistral:m": _chat,
    "deepseek:m": _chat,
    "llama-server:m": _chat,
    "openai-responses:gpt-6": _responses,
    "anthropic:claude-sonnet-4-5": _messages,
    "anthropic:claude-3-haiku-20240307": _messages,
    "google:gemini-3-pro": _gemini,
    "google-interactions:gemini-3-pro": _interactions,
    "ollama:m": _ollama,
    "bedrock:anthropic.claude-sonnet-4-5": _converse,
    "bedrock:amazon.nova-pro": _converse,
    "brainwires:m": _relay,
}


@pytest.mark.parametrize("model", SERVICES)
def test_ten_types_through_every_protocol(model: str) -> None:
    says = SERVICES[model]
    texts = iter([json.dumps(text) for _, wrong, right, _ in TYPES for text in (wrong, right)])

    def answer(request: RecordedRequest) -> Answer:
        said = says(next(texts))
        return Answer(body=[said]) if isinstance(said, bytes) else Answer(body=json.dumps(said).encode())

    with ScriptedServer(answer) as server:
        config = ProviderConfig(model.partition(":")[0], base_url=server.url, api_key="k" * 20)
        with Client(model, providers=[config], retry=Retry(attempts=1)) as client:
            for hint, _, _, value in TYPES:
                response = client.chat("hi", output=hint)
                assert response.output == value and type(response.output) is type(value)
                assert len(response.attempts) == 1
        bodies = [request.body.decode() for request in server.requests]

    assert len(bodies) == 2 * len(TYPES)
    assert "name" in bodies[0] and "color" in bodies[0]  # the schema, in whatever form
    assert all("does not have the form" in body for body in bodies[1::2])
