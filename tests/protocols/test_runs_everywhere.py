"""The same ten tools through every protocol: called by a scripted server, run, and their results read by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from brainwires_provider import Client, Continuation, ImagePart, StepEnd, ToolContext, UnsupportedError
from brainwires_provider.testing import (
    InteractionsService,
    ResponsesService,
    ScriptedServer,
    ScriptedSocket,
    called,
    function_call,
    model_output,
)
from socket_clients import config
from tool_services import SERVICES, Call, provider, scripted

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
PNG_BASE64 = "iVBORw0KGgoAAAAAAAAAAA"


@dataclass
class Point:
    x: int
    y: int = 0


def nothing() -> None:
    """Do nothing."""


def text(s: str) -> str:
    return f"text {s}"


def numbers(n: int, x: float = 0.5) -> float:
    return n * x


def word(unit: Literal["C", "F"]) -> str:
    return unit


def lists(names: list[str]) -> list[str]:
    return names[::-1]


def point(p: Point) -> Point:
    return Point(p.y, p.x)


def either(v: int | str | None = None) -> str:
    return repr(v)


async def context(ctx: ToolContext[str]) -> str:
    return f"deps {ctx.deps}"


def fails() -> None:
    raise ValueError("hunter2")


def image() -> list[Any]:
    return ["a picture", ImagePart(data=PNG)]


TOOLS = [nothing, text, numbers, word, lists, point, either, context, fails, image]
CALLS: list[Call] = [
    ("c0", "nothing", {}),
    ("c1", "text", {"s": "größer"}),
    ("c2", "numbers", {"n": 3}),
    ("c3", "word", {"unit": "F"}),
    ("c4", "lists", {"names": ["a", "b"]}),
    ("c5", "point", {"p": {"x": 1, "y": 2}}),
    ("c6", "either", {"v": "x"}),
    ("c7", "context", {}),
    ("c8", "fails", {}),
    ("c9", "image", {}),
]
RESULTS = [
    "(no output)",
    "text größer",
    "1.5",
    "F",
    '["b","a"]',
    '{"x":2,"y":1}',
    "'x'",
    "deps here",
    "The tool failed.",
]
NO_IMAGES = ("relay",)
"""Its tools are the server's own, and its results are texts."""


@pytest.mark.parametrize("name", SERVICES)
def test_ten_tools_through_every_protocol(name: str) -> None:
    service = SERVICES[name]
    calls, tools = (CALLS[:-1], TOOLS[:-1]) if name in NO_IMAGES else (CALLS, TOOLS)
    with ScriptedServer(scripted(service, calls, "done")) as server:
        with Client(service.model, providers=[provider(service, server.url)]) as client:
            run = client.run("hi", tools=tools, deps="here")
            assert run.result().text == "done" and run.why == "answer"
        first, last = (request.json() for request in server.requests)

    assert [m.role for m in run.messages] == ["user", "assistant", "tool", "assistant"]
    assert [part.name for part in run.messages[2].content] == [each for _, each, _ in calls]  # type: ignore[union-attr]
    results = service.results(last)
    assert [place for place, _ in results if place] == [
        id if service.has_ids else name for id, name, _ in calls
    ]
    for expected, (_, content) in zip(RESULTS, results, strict=False):
        assert json.dumps(expected) in content
    assert "hunter2" not in json.dumps(last)
    if name in NO_IMAGES:
        assert "tools" not in first
    else:
        assert PNG_BASE64 in json.dumps(last)
        assert all(json.dumps(tool.__name__) in json.dumps(first) for tool in tools)


def test_ten_tools_through_the_interactions_api() -> None:
    def author(steps: Sequence[Any]) -> list[Any]:
        is_answered = any(step["type"] == "function_result" for step in steps)
        return [model_output("done")] if is_answered else [called(*call) for call in CALLS]

    with (
        ScriptedServer(InteractionsService(author)) as server,
        Client("google-interactions:m", api_key="k", base_url=f"{server.url}/v1beta") as client,
    ):
        run = client.run("hi", tools=TOOLS, deps="here")
        assert run.result().text == "done" and run.why == "answer"
        last = server.requests[-1].json()
    sent = [step for step in last["input"] if step["type"] == "function_result"]
    assert [step["call_id"] for step in sent] == [id for id, _, _ in CALLS]
    for expected, step in zip(RESULTS, sent, strict=False):
        assert json.dumps(expected) in json.dumps(step)
    assert PNG_BASE64 in json.dumps(last)


def test_an_image_that_a_protocol_cannot_send_ends_the_run_with_a_valid_history() -> None:
    service = SERVICES["relay"]
    with (
        ScriptedServer(scripted(service, [("a", "image", {})], "done")) as server,
        Client(service.model, providers=[provider(service, server.url)]) as client,
    ):
        run = client.run("hi", tools=[image])
        with pytest.raises(UnsupportedError):
            run.result()
    assert [m.role for m in run.messages] == ["user", "assistant", "tool"] and run.why is None


def test_each_step_over_a_websocket_sends_only_its_tail() -> None:
    def author(items: Sequence[Any], body: Any) -> Any:
        done = sum(item.get("type") == "function_call_output" for item in items)
        return (
            "done"
            if done >= 4
            else [function_call("text", '{"s":"x"}', call_id=f"c{done + n}") for n in range(2)]
        )

    with (
        ScriptedSocket(ResponsesService(author)) as server,
        Client("openai-responses-ws:gpt-6", providers=[config(server.url)]) as client,
    ):
        run = client.run("hi", tools=[text])
        steps = [event.response for event in run if isinstance(event, StepEnd)]
        counts = client.responses.websocket_stats
    assert [each.report.continuation for each in steps][1:] == [
        Continuation(sent=2, of=5, parent=steps[0].id),
        Continuation(sent=2, of=9, parent=steps[1].id),
    ]
    assert run.why == "answer" and (counts.full, counts.incremental) == (1, 2) and server.connections == 1
