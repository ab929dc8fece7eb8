"""Both colours have the same face, member by member, and give the same answers."""

import asyncio
import inspect
import re
from typing import Any

import msgspec
import pytest

from brainwires_provider import (
    AsyncClient,
    AsyncConversation,
    AsyncInteractions,
    AsyncResponses,
    AsyncResponsesConnection,
    AsyncStream,
    Client,
    ConfigError,
    Conversation,
    Interactions,
    InvalidRequestError,
    Message,
    ProviderConfig,
    Responses,
    ResponsesConnection,
    Stream,
    StreamInterrupted,
)
from brainwires_provider.ollama import AsyncOllama, AsyncOllamaProgressStream, Ollama, OllamaProgressStream
from brainwires_provider.resources.local import AsyncLocal, AsyncLocalPool
from brainwires_provider.sync.local import Local, LocalPool
from brainwires_provider.testing import Answer, Drop, RecordedRequest, ScriptedServer, sse

PAIRS = [
    (AsyncClient, Client),
    (AsyncStream, Stream),
    (AsyncConversation, Conversation),
    (AsyncInteractions, Interactions),
    (AsyncResponses, Responses),
    (AsyncResponsesConnection, ResponsesConnection),
    (AsyncOllama, Ollama),
    (AsyncOllamaProgressStream, OllamaProgressStream),
    (AsyncLocal, Local),
    (AsyncLocalPool, LocalPool),
]
RENAMED = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
# What one face has for the rest of the package, and not for users.
ONE_FACE_ONLY = {
    AsyncStream: {"pull", "abort", "when_whole", "made_at"},
}
MADE_BY_THE_CLIENT = (
    AsyncStream,
    AsyncConversation,
    AsyncInteractions,
    AsyncResponses,
    AsyncResponsesConnection,
    AsyncOllama,
    AsyncOllamaProgressStream,
    AsyncLocal,
    AsyncLocalPool,
)
PROTOCOL = {"__init__", "__repr__", *RENAMED, *RENAMED.values()}
ASYNC_WORDS = re.compile(r"Async(?=[A-Z])")


def members(kind: type, example: object) -> set[str]:
    """Every public name, of the class or of an instance, and the special ones that a user's code calls."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("brainwires_provider")]
    own = {name for base in ours for name in vars(base) if not name.startswith("_") or name in PROTOCOL}
    return own | {name for name in vars(example) if not name.startswith("_")}


def signature(kind: type, name: str) -> list[tuple[Any, ...]]:
    """Parameters, kinds, defaults and annotations, with the asynchronous words taken out; the answer last."""
    member = vars(kind)[name]
    function = member.fget if isinstance(member, property) else member
    told = inspect.signature(function)
    rows = [
        (p.name, p.kind, p.default, ASYNC_WORDS.sub("", str(p.annotation))) for p in told.parameters.values()
    ]
    return [*rows, (ASYNC_WORDS.sub("", str(told.return_annotation)), isinstance(member, property))]


def examples() -> list[tuple[type, object, type, object]]:
    other = ProviderConfig("openai-responses-ws", api_key="k")
    a = AsyncClient("openai-chat:m", api_key="k", providers=[other])
    s = Client("openai-chat:m", api_key="k", providers=[other])
    return [
        (AsyncClient, a, Client, s),
        (AsyncStream, a.stream("x"), Stream, s.stream("x")),
        (AsyncConversation, a.conversation(), Conversation, s.conversation()),
        (AsyncInteractions, a.interactions, Interactions, s.interactions),
        (AsyncResponses, a.responses, Responses, s.responses),
        (
            AsyncResponsesConnection,
            a.responses.connect(provider="openai-responses-ws"),
            ResponsesConnection,
            s.responses.connect(provider="openai-responses-ws"),
        ),
        (AsyncOllama, a.ollama, Ollama, s.ollama),
        (AsyncOllamaProgressStream, a.ollama.pull("x"), OllamaProgressStream, s.ollama.pull("x")),
        (AsyncLocal, a.local, Local, s.local),
        (AsyncLocalPool, a.local.pool(["local:"]), LocalPool, s.local.pool(["local:"])),
    ]


def test_both_faces_have_the_same_members() -> None:
    for asynchronous, first, synchronous, second in examples():
        expected = members(asynchronous, first) - ONE_FACE_ONLY.get(asynchronous, set())
        assert {RENAMED.get(name, name) for name in expected} == members(synchronous, second)


def test_both_faces_have_the_same_signatures() -> None:
    compared = 0
    for asynchronous, synchronous in PAIRS:
        for name in vars(asynchronous):
            other = RENAMED.get(name, name)
            known = name in PROTOCOL or not name.startswith("_")
            if not known or name in ONE_FACE_ONLY.get(asynchronous, set()) or other not in vars(synchronous):
                continue
            if name == "__init__" and asynchronous in MADE_BY_THE_CLIENT:
                continue
            assert signature(asynchronous, name) == signature(synchronous, other), name
            compared += 1
    assert compared >= 24


def test_every_public_member_is_documented_on_both_faces() -> None:
    for pair in PAIRS:
        for kind in pair:
            for name, member in vars(kind).items():
                if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                    assert inspect.getdoc(member), f"{kind.__name__}.{name}"


def chunk(delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
    return {"id": "c1", "model": "m1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


EVENTS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "one "}),
    chunk({"content": "two"}),
    chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}),
    chunk({}, "tool_calls"),
]
WHOLE = {
    "id": "c1",
    "model": "m1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
MODELS = {"object": "list", "data": [{"id": "m1", "object": "model", "owned_by": "o"}]}
ANSWERS = {
    "whole": Answer(body=msgspec.json.encode(WHOLE)),
    "words": Answer(body=[sse(*EVENTS)]),
    "byte by byte": Answer(body=[bytes([byte]) for byte in sse(*EVENTS)]),
    "cut": Answer(body=[sse(*EVENTS[:3], done=False), Drop()]),
    "refused": Answer(status=400, body=b'{"error": {"message": "no", "type": "invalid_request_error"}}'),
}


def answer(request: RecordedRequest) -> Answer:
    if request.method == "GET":
        return Answer(body=msgspec.json.encode(MODELS))
    return ANSWERS[request.json()["messages"][-1]["content"]]


def plain(response: Any) -> bytes:
    """Without what differs from answer to answer: the transport's own headers."""
    return msgspec.json.encode(msgspec.structs.replace(response, headers={}))


async def ask_async(url: str) -> list[Any]:
    told: list[Any] = []
    async with AsyncClient("openai-chat:m", base_url=url, api_key="k") as c:
        told += [plain(await c.chat("whole")), await c.models(), c.prepare("whole", temperature=0.5)]
        for text in ("words", "byte by byte"):
            async with c.stream(text) as stream:
                told += [[event async for event in stream], plain(stream.response), plain(stream.partial)]
        told += [[part async for part in c.stream("words").text_stream()]]
        told += [plain(await c.stream("words").collect())]
        talk = c.conversation(system="be", messages=[Message.user("before"), Message.assistant("yes")])
        await talk.chat("whole")
        fork = talk.fork()
        async for _ in talk.stream("words"):
            pass
        told += [talk.messages, fork.messages]
        for text in ("cut", "refused"):
            broken = talk.stream(text)
            try:
                await broken.collect()
            except (StreamInterrupted, InvalidRequestError) as error:
                told += [type(error), str(error), plain(broken.partial)]
            with pytest.raises(RuntimeError):
                broken.response  # noqa: B018
            told += [[event async for event in broken], len(talk.messages)]
        left = c.stream("words")
        first = await anext(left)
        await left.aclose()
        told += [first, [event async for event in left]]
        unread = c.stream("words")
        told += [plain(unread.partial)]
        await unread.aclose()
        told += [[event async for event in unread]]
    for call in (lambda: c.stream("x"), lambda: c.prepare("x")):
        with pytest.raises(ConfigError, match="closed"):
            call()
    with pytest.raises(ConfigError, match="closed"):
        await c.chat("x")
    return told


def ask_sync(url: str) -> list[Any]:
    told: list[Any] = []
    with Client("openai-chat:m", base_url=url, api_key="k") as c:
        told += [plain(c.chat("whole")), c.models(), c.prepare("whole", temperature=0.5)]
        for text in ("words", "byte by byte"):
            with c.stream(text) as stream:
                told += [list(stream), plain(stream.response), plain(stream.partial)]
        told += [list(c.stream("words").text_stream())]
        told += [plain(c.stream("words").collect())]
        talk = c.conversation(system="be", messages=[Message.user("before"), Message.assistant("yes")])
        talk.chat("whole")
        fork = talk.fork()
        for _ in talk.stream("words"):
            pass
        told += [talk.messages, fork.messages]
        for text in ("cut", "refused"):
            broken = talk.stream(text)
            try:
                broken.collect()
            except (StreamInterrupted, InvalidRequestError) as error:
                told += [type(error), str(error), plain(broken.partial)]
            with pytest.raises(RuntimeError):
                broken.response  # noqa: B018
            told += [list(broken), len(talk.messages)]
        left = c.stream("words")
        first = next(left)
        left.close()
        told += [first, list(left)]
        unread = c.stream("words")
        told += [plain(unread.partial)]
        unread.close()
        told += [list(unread)]
    for call in (lambda: c.stream("x"), lambda: c.prepare("x"), lambda: c.chat("x")):
        with pytest.raises(ConfigError, match="closed"):
            call()
    return told


def test_both_faces_give_the_same_answers() -> None:
    with ScriptedServer(answer) as server:
        url = f"{server.url}/v1"
        first, second = asyncio.run(ask_async(url)), ask_sync(url)
        sent = server.requests
    assert len(first) > 25
    assert first == second
    half = len(sent) // 2
    assert [r.body for r in sent[:half]] == [r.body for r in sent[half:]]


def test_a_keyword_that_does_not_exist_is_refused_by_both() -> None:
    wrong: Any = {"temprature": 1}
    with Client("openai-chat:m", api_key="k") as c, pytest.raises(TypeError, match="temperature"):
        c.chat("x", **wrong)
    for face in (Client("openai-chat:m", api_key="k"), AsyncClient("openai-chat:m", api_key="k")):
        for call in (face.stream, face.prepare, lambda *a, f=face, **k: f.conversation(**k)):
            with pytest.raises(TypeError, match="temperature"):
                call("x", **wrong)
