"""The `ollama` package and our client, pointed at one scripted server: the same requests, the same content."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ollama
import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    ImagePart,
    JSONSchema,
    Message,
    NotFoundError,
    OpaqueDelta,
    Tool,
    ToolCallPart,
)
from brainwires_provider.ollama import OllamaOptions
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from ollama_service import ABSENT, COUNTS, STEPS, service, streamed, whole

pytestmark = pytest.mark.long

PNG = b"\x89PNG\r\n\x1a\n"
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
WEATHER = Tool("weather", "Tells the weather.", SCHEMA)
THEIR_WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
}
HEAD = {"model": "m", "created_at": "2026-11-20T10:00:00.5Z"}
END = {"done": True, "done_reason": "stop", **COUNTS}


def said(content: str = "", **message: Any) -> dict[str, Any]:
    return {**HEAD, "message": {"role": "assistant", "content": content, **message}, "done": False}


CALLS = [
    {"function": {"name": "weather", "arguments": {"city": "Paris", "n": [1, None]}}},
    {"function": {"name": "weather", "arguments": {}}},
]
LOGPROBS = [{"token": "Hé", "logprob": -0.25, "top_logprobs": [{"token": "Hé", "logprob": -0.25}]}]


@dataclass(frozen=True)
class Chat:
    """One chat: what the server says, line by line, and how each of us asks for it."""

    says: list[dict[str, Any]] = field(default_factory=lambda: [said("Hé"), said("llo")])
    ask: Any = "Hi"
    args: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=lambda: [{"role": "user", "content": "Hi"}])
    more: dict[str, Any] = field(default_factory=dict)
    reason: str = "stop"


CHATS: dict[str, Chat] = {
    "text": Chat(),
    "system": Chat(
        args={"system": "Be brief."},
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    ),
    "every knob": Chat(
        args={
            "max_tokens": 5,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 3,
            "seed": 1,
            "stop": ["a", "b"],
            "presence_penalty": 0.5,
            "frequency_penalty": 0.25,
        },
        more={
            "options": {
                "num_predict": 5,
                "temperature": 0.5,
                "top_p": 0.9,
                "top_k": 3,
                "seed": 1,
                "stop": ["a", "b"],
                "presence_penalty": 0.5,
                "frequency_penalty": 0.25,
            }
        },
    ),
    "options of its own": Chat(
        own={"options": {"num_ctx": 9, "mirostat": 1}, "keep_alive": "10m"},
        more={"options": {"num_ctx": 9, "mirostat": 1}, "keep_alive": "10m"},
    ),
    "kept for ever": Chat(own={"keep_alive": -1}, more={"keep_alive": -1}),
    "thinking": Chat(
        says=[said(thinking="Let "), said(thinking="me see."), said("Yes.")],
        args={"reasoning": "high"},
        more={"think": "high"},
    ),
    "thinking switched on": Chat(own={"think": True}, more={"think": True}),
    "thinking switched off": Chat(args={"reasoning": "off"}, more={"think": False}),
    "JSON": Chat(says=[said('{"age"'), said(": 36}")], args={"output": "json"}, more={"format": "json"}),
    "a schema": Chat(args={"output": JSONSchema("person", SCHEMA)}, more={"format": SCHEMA}),
    "logprobs": Chat(
        says=[{**said("Hé"), "logprobs": LOGPROBS}, {**said("llo"), "logprobs": LOGPROBS}],
        own={"logprobs": True, "top_logprobs": 1},
        more={"logprobs": True, "top_logprobs": 1},
    ),
    "an image": Chat(
        ask=Message.user("What is it?", ImagePart(data=PNG)),
        messages=[{"role": "user", "content": "What is it?", "images": [PNG]}],
    ),
    "tools": Chat(
        says=[said("Let me see."), said(tool_calls=CALLS)],
        args={"tools": [WEATHER]},
        more={"tools": [THEIR_WEATHER]},
    ),
    "results": Chat(
        ask=[
            Message.user("Weather?"),
            Message.assistant(ToolCallPart(None, "weather", '{"city":"Paris"}', local_id="l")),
            Message.tool_result("l", "sunny"),
        ],
        messages=[
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}],
            },
            {"role": "tool", "content": "sunny", "tool_name": "weather"},
        ],
    ),
    "cut by its limit": Chat(args={"max_tokens": 1}, more={"options": {"num_predict": 1}}, reason="length"),
    "no answer at all": Chat(says=[]),
}


class Scripted:
    """The service, whose chats say what the test wants."""

    def __init__(self) -> None:
        self.says: list[dict[str, Any]] = []
        self.reason = "stop"

    def __call__(self, request: RecordedRequest) -> Answer:
        if request.path != "/api/chat":
            return service(request)
        end = {**said(), **END, "done_reason": self.reason}
        if request.json()["stream"]:
            return streamed(*self.says, end)
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        told: dict[str, Any] = {}
        for line in self.says:
            for name, value in line["message"].items():
                message[name] = value if name == "role" else message.get(name, type(value)()) + value
            if "logprobs" in line:
                told["logprobs"] = told.get("logprobs", []) + line["logprobs"]
        return whole({**end, **told, "message": message})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[ScriptedServer, Scripted]]:
    script = Scripted()
    with ScriptedServer(script) as running:
        yield running, script


@pytest.fixture(scope="module")
def theirs(server: Any) -> Iterator[ollama.Client]:
    client = ollama.Client(server[0].url)
    yield client
    client.close()


@pytest.fixture(scope="module")
def ours(server: Any) -> Iterator[Client]:
    with Client("ollama:m", base_url=server[0].url.removeprefix("http://"), proxy=None) as client:
        yield client


def same(request: RecordedRequest) -> Any:
    """A request without what the `ollama` package says and that says nothing."""
    body = request.json() if request.body else None
    if isinstance(body, dict):
        for name in ("tools", "insecure", "suffix"):
            if not body.get(name):
                body.pop(name, None)
        for message in body.get("messages", ()):
            if message.get("content") == "":
                del message["content"]  # to Ollama, no text and a text of no length are one
        if request.path in ("/api/chat", "/api/pull", "/api/push", "/api/create"):
            assert "stream" in body
    return request.method, request.path, request.query, body


def joined(chunks: list[Any]) -> Any:
    """The chunks of their stream as their whole answer is."""
    last = chunks[-1]
    last.message.content = "".join(chunk.message.content or "" for chunk in chunks)
    last.message.thinking = "".join(chunk.message.thinking or "" for chunk in chunks)
    last.message.tool_calls = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    last.logprobs = [logprob for chunk in chunks for logprob in chunk.logprobs or ()]
    return last


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CHATS)
def test_the_same_chat(name: str, stream: bool, server: Any, ours: Client, theirs: ollama.Client) -> None:
    case, (scripted, script) = CHATS[name], server
    script.says, script.reason = case.says, case.reason
    asked: Any = {"model": "m", "messages": case.messages, **case.more}
    told = joined(list(theirs.chat(**asked, stream=True))) if stream else theirs.chat(**asked)
    args = dict(case.args)
    if case.own:
        args["provider_options"] = OllamaOptions(**case.own)
    response = ours.stream(case.ask, **args).collect() if stream else ours.chat(case.ask, **args)

    their_request, our_request = scripted.requests[-2:]
    assert same(our_request) == same(their_request)
    assert response.text == (told.message.content or "")
    assert response.reasoning == (told.message.thinking or "")
    assert [(c.name, c.args()) for c in response.tool_calls] == [
        (c.function.name, c.function.arguments) for c in told.message.tool_calls or ()
    ]
    assert (response.model, response.raw_finish_reason) == (told.model, told.done_reason)
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens) == (told.prompt_eval_count, told.eval_count)
    for name in ("created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        assert response.extra[name] == getattr(told, name)
    logprobs = [logprob.model_dump(exclude_none=True) for logprob in told.logprobs or ()]
    assert response.extra.get("logprobs", []) == logprobs


def test_a_turn_goes_back_as_the_ollama_package_sends_it_back(
    server: Any, ours: Client, theirs: ollama.Client
) -> None:
    """A thought, a text and calls without ids, each in the place where it came."""
    scripted, script = server
    script.says = [said(thinking="hm"), said("Let me see."), said(tool_calls=CALLS)]
    told = theirs.chat(model="m", messages=[{"role": "user", "content": "?"}])
    response = ours.chat("?")
    script.says = [said("So.")]
    results = [
        {"role": "tool", "content": "sun", "tool_name": c.function.name}
        for c in told.message.tool_calls or ()
    ]
    theirs.chat(model="m", messages=[{"role": "user", "content": "?"}, told.message, *results])
    ours.chat(
        [
            Message.user("?"),
            response.message,
            *(Message.tool_result(call, "sun") for call in response.tool_calls),
        ]
    )
    their_request, our_request = scripted.requests[-2:]
    assert same(our_request) == same(their_request)
    assert our_request.json()["messages"][1]["thinking"] == "hm"


# -- management ------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Their values as JSON has them, without what was not told."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True, by_alias=True)
    return value


@dataclass(frozen=True)
class Operation:
    """The same operation by each of us, and what of both values must agree."""

    theirs: Callable[[Any], Any]
    ours: Callable[[Any], Any]
    agree: Callable[[Any, Any], tuple[Any, Any]] = lambda theirs, ours: (None, None)


def models(theirs: Any, ours: Any) -> tuple[Any, Any]:
    return (
        [(m.model, m.size, m.digest, m.modified_at, m.details.quantization_level) for m in theirs.models],
        [(m.name, m.size, m.digest, m.modified_at, m.details.quantization) for m in ours],
    )


def running(theirs: Any, ours: Any) -> tuple[Any, Any]:
    return (
        [(m.model, m.size, m.size_vram, m.context_length, m.expires_at) for m in theirs.models],
        [(m.name, m.size, m.size_vram, m.context_length, m.expires_at) for m in ours],
    )


TEXTS = ("template", "modelfile", "license", "parameters", "modified_at")


def info(theirs: Any, ours: Any) -> tuple[Any, Any]:
    return (
        (
            *(getattr(theirs, name) for name in TEXTS),
            theirs.capabilities,
            theirs.modelinfo,
            theirs.details.family,
        ),
        (
            *(getattr(ours, name) for name in TEXTS),
            list(ours.capabilities),
            ours.model_info,
            ours.details.family,
        ),
    )


def progress(theirs: Any, ours: Any) -> tuple[Any, Any]:
    return [plain(step) for step in theirs], [step.raw for step in ours]


def embedded(theirs: Any, ours: Any) -> tuple[Any, Any]:
    return (
        (theirs.embeddings, theirs.model, theirs.prompt_eval_count, theirs.total_duration),
        ([list(v) for v in ours.vectors], ours.model, ours.input_tokens, ours.raw["total_duration"]),
    )


def loaded(theirs: Any, ours: Any) -> tuple[Any, Any]:
    return (theirs.model, theirs.done_reason, theirs.load_duration), (
        ours.model,
        ours.reason,
        ours.raw["load_duration"],
    )


def generated(theirs: Any, ours: Any) -> tuple[Any, Any]:
    chunks = theirs if isinstance(theirs, list) else [theirs]
    return (
        (
            "".join(c.response for c in chunks),
            "".join(c.thinking or "" for c in chunks),
            chunks[-1].context,
            chunks[-1].eval_count,
        ),
        (ours.text, ours.reasoning, ours.extra["context"], ours.usage.output_tokens),
    )


RAW = OllamaOptions(raw=True, template="T", suffix="}", context=[1], keep_alive=5, options={"num_ctx": 9})
OPERATIONS: dict[str, Operation] = {
    "list": Operation(lambda c: c.list(), lambda o: o.list(), models),
    "ps": Operation(lambda c: c.ps(), lambda o: o.ps(), running),
    "show": Operation(lambda c: c.show("a"), lambda o: o.show("a"), info),
    "pull": Operation(lambda c: c.pull("a", stream=True), lambda o: o.pull("a"), progress),
    "push": Operation(
        lambda c: c.push("a", insecure=True, stream=True), lambda o: o.push("a", insecure=True), progress
    ),
    "create": Operation(
        lambda c: c.create(
            "b",
            from_="a",
            template="T",
            license="MIT",
            system="S",
            parameters={"num_ctx": 9},
            messages=[{"role": "user", "content": "Hi"}],
            quantize="q4_K_M",
            files={"x": "sha256:x"},
            adapters={"y": "sha256:y"},
            stream=True,
        ),
        lambda o: o.create(
            "b",
            from_="a",
            template="T",
            license="MIT",
            system="S",
            parameters={"num_ctx": 9},
            messages=[Message.user("Hi")],
            quantize="q4_K_M",
            files={"x": "sha256:x"},
            adapters={"y": "sha256:y"},
        ),
        progress,
    ),
    "copy": Operation(lambda c: c.copy("a", "b"), lambda o: o.copy("a", "b")),
    "delete": Operation(lambda c: c.delete("a"), lambda o: o.delete("a")),
    "embed": Operation(
        lambda c: c.embed(
            "a", ["x", "y"], truncate=False, options={"num_ctx": 9}, keep_alive=5, dimensions=2
        ),
        lambda o: o.embed(
            ["x", "y"], model="a", truncate=False, options={"num_ctx": 9}, keep_alive=5, dimensions=2
        ),
        embedded,
    ),
    "load": Operation(lambda c: c.generate("a"), lambda o: o.load("a"), loaded),
    "unload": Operation(lambda c: c.generate("a", keep_alive=0), lambda o: o.unload("a"), loaded),
    "generate": Operation(
        lambda c: c.generate("m", "Hi", system="S", images=[PNG]),
        lambda o: o.generate(Message.user("Hi", ImagePart(data=PNG)), system="S", stream=False).collect(),
        generated,
    ),
    "generate, streamed": Operation(
        lambda c: c.generate(
            "m",
            "Hi",
            "}",
            raw=True,
            template="T",
            context=[1],
            keep_alive=5,
            options={"num_ctx": 9, "seed": 1},
            think=True,
            format=SCHEMA,
            stream=True,
        ),
        lambda o: o.generate(
            "Hi",
            provider_options=(RAW, OllamaOptions(think=True)),
            seed=1,
            output=JSONSchema("p", SCHEMA),
        ).collect(),
        generated,
    ),
}


def drained(value: Any) -> Any:
    return list(value) if hasattr(value, "__next__") else value


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_operation(name: str, server: Any, ours: Client, theirs: ollama.Client) -> None:
    operation = OPERATIONS[name]
    scripted, _ = server
    told = drained(operation.theirs(theirs))
    got = drained(operation.ours(ours.ollama))
    their_request, our_request = scripted.requests[-2:]
    assert same(our_request) == same(their_request)
    expected, found = operation.agree(told, got)
    assert found == expected


async def awaited(value: Any) -> Any:
    """What an operation of an asynchronous client gives, all of it."""
    if hasattr(value, "__await__"):
        value = await value
    return [each async for each in value] if hasattr(value, "__anext__") else value


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_operation_without_blocking(name: str, server: Any) -> None:
    operation = OPERATIONS[name]
    scripted, _ = server

    async def run() -> tuple[Any, Any]:
        theirs = ollama.AsyncClient(scripted.url)
        told = await awaited(operation.theirs(theirs))
        await theirs._client.aclose()
        async with AsyncClient("ollama:m", base_url=scripted.url, proxy=None) as client:
            return told, await awaited(operation.ours(client.ollama))

    told, got = asyncio.run(run())
    their_request, our_request = scripted.requests[-2:]
    assert same(our_request) == same(their_request)
    expected, found = operation.agree(told, got)
    assert found == expected


def test_the_last_of_a_pull_is_theirs_without_a_stream(ours: Client, theirs: ollama.Client) -> None:
    assert plain(theirs.pull("a")) == list(ours.ollama.pull("a"))[-1].raw == STEPS[-1]


def test_the_same_refusals(server: Any, ours: Client, theirs: ollama.Client) -> None:
    for act, mine in (
        (lambda: theirs.show(ABSENT), lambda: ours.ollama.show(ABSENT)),
        (lambda: list(theirs.pull(ABSENT, stream=True)), lambda: ours.ollama.pull(ABSENT).finish()),
    ):
        with pytest.raises(ollama.ResponseError) as refused:
            act()
        with pytest.raises(NotFoundError) as caught:
            mine()
        assert refused.value.error in str(caught.value)


def test_progress_of_an_image_is_told(server: Any, ours: Client) -> None:
    """`ollama` has the fields; no model of ours makes images, so the events are looked at here."""
    body = [{**HEAD, "completed": n, "total": 2, "done": False} for n in (1, 2)]
    image = {**HEAD, "image": "iVBORw0KGgo=", **END}
    with ScriptedServer(streamed(*body, image)) as other, Client("ollama:m", base_url=other.url) as client:
        stream = client.ollama.generate("A cat", provider_options=OllamaOptions(width=8, height=8, steps=2))
        told = [e.data for e in stream if isinstance(e, OpaqueDelta)]
        assert told == [ollama_progress(line) for line in body]
        [part] = stream.response.message.content
        assert isinstance(part, ImagePart)
        assert part.data == PNG
        assert json.loads(other.requests[0].body)["steps"] == 2


def ollama_progress(line: dict[str, Any]) -> dict[str, Any]:
    told = ollama.GenerateResponse(**line)
    return {"completed": told.completed, "total": told.total}


def test_the_cases_are_enough() -> None:
    assert len(CHATS) >= 15
    assert len(OPERATIONS) >= 12
