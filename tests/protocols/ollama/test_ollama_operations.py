"""What an Ollama server does besides chatting, in both colours, against a scripted service."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import colours
from brainwires_provider import (
    APIError,
    Client,
    ConfigError,
    ConnectError,
    ImagePart,
    Message,
    NotFoundError,
    ProtocolError,
    ProviderConfig,
    ReasoningDelta,
    ResponseEnd,
    StreamInterrupted,
    StreamTimeout,
    TextDelta,
    Timeouts,
    Tool,
    UnsupportedError,
)
from brainwires_provider.ollama import OllamaOptions, OllamaProgress
from brainwires_provider.testing import Answer, ScriptedServer, Stall, refuse
from colours import listed
from ollama_service import ABSENT, MODEL, RUNNING, SHOWN, STEPS, lines, service, streamed, whole

COLOURS = ("async", "sync")

BOTH = pytest.mark.parametrize("colour", COLOURS)


def operate(colour: str, url: str, act: Callable[[Any], Any], model: str = "ollama:m", **more: Any) -> Any:
    return colours.operate(colour, act, model, **{"base_url": url, **more})


@BOTH
def test_what_there_is(colour: str) -> None:
    with ScriptedServer(service) as server:
        mine, remote = operate(colour, server.url, lambda c: c.ollama.list())
        [running] = operate(colour, server.url, lambda c: c.ollama.ps())
        info = operate(colour, server.url, lambda c: c.ollama.show("llama3.2:3b", verbose=True))
        version = operate(colour, server.url, lambda c: c.ollama.version())
        models = operate(colour, server.url, lambda c: c.models())
        asked = [(r.method, r.path, r.json() if r.body else None) for r in server.requests]

    assert asked == [
        ("GET", "/api/tags", None),
        ("GET", "/api/ps", None),
        ("POST", "/api/show", {"model": "llama3.2:3b", "verbose": True}),
        ("GET", "/api/version", None),
        ("GET", "/api/tags", None),
    ]
    assert (mine.name, mine.size, mine.details.quantization, mine.raw) == (
        "llama3.2:3b",
        2019393189,
        "Q4_K_M",
        MODEL,
    )
    assert (remote.remote_model, remote.remote_host) == ("big:120b", "https://ollama.com")
    assert (running.size_vram, running.context_length, running.raw) == (1500000000, 4096, RUNNING)
    assert running.expires_at == datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert (info.context_length, info.capabilities, info.raw) == (131072, ("completion", "tools"), SHOWN)
    assert version == "0.13.1"
    assert [(m.id, m.provider, m.display_name) for m in models] == [
        ("llama3.2:3b", "ollama", "llama3.2:3b (3.2B, Q4_K_M)"),
        ("big", "ollama", "big (3.2B, Q4_K_M)"),
    ]


@BOTH
def test_names_are_changed(colour: str) -> None:
    with ScriptedServer(service) as server:
        operate(colour, server.url, lambda c: c.ollama.copy("a", "ollama:b"))
        operate(colour, server.url, lambda c: c.ollama.delete("a"))
        asked = [(r.method, r.path, r.json()) for r in server.requests]

    assert asked == [
        ("POST", "/api/copy", {"source": "a", "destination": "b"}),
        ("DELETE", "/api/delete", {"model": "a"}),
    ]


BEGIN: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "pull": (lambda o: o.pull("a"), {"model": "a"}),
    "an insecure pull": (lambda o: o.pull("a", insecure=True), {"model": "a", "insecure": True}),
    "push": (lambda o: o.push("me/a", insecure=False), {"model": "me/a", "insecure": False}),
    "create": (lambda o: o.create("b", from_="a", system="S"), {"model": "b", "from": "a", "system": "S"}),
    "create of files": (
        lambda o: o.create(
            "b",
            files={"a.gguf": "sha256:a"},
            adapters={"l": "sha256:l"},
            template="T",
            license=["MIT"],
            parameters={"num_ctx": 9},
            messages=[Message.user("Hi", ImagePart(data=b"GIF8")), Message.assistant("Hello")],
            quantize="q4_K_M",
            renderer="qwen3-coder",
            parser="qwen3-coder",
        ),
        {
            "model": "b",
            "files": {"a.gguf": "sha256:a"},
            "adapters": {"l": "sha256:l"},
            "template": "T",
            "license": ["MIT"],
            "parameters": {"num_ctx": 9},
            "messages": [
                {"role": "user", "content": "Hi", "images": ["R0lGOA=="]},
                {"role": "assistant", "content": "Hello"},
            ],
            "quantize": "q4_K_M",
            "renderer": "qwen3-coder",
            "parser": "qwen3-coder",
        },
    ),
}


@BOTH
@pytest.mark.parametrize("name", BEGIN)
def test_progress_to_its_end(name: str, colour: str) -> None:
    begin, body = BEGIN[name]
    with ScriptedServer(service) as server:
        steps = operate(colour, server.url, lambda c: listed(begin(c.ollama)))
        finished = operate(colour, server.url, lambda c: begin(c.ollama).finish())
        server.wait_idle(5)
        first, second = server.requests

    assert [step.raw for step in steps] == STEPS
    assert all(type(step) is OllamaProgress for step in steps)
    assert [step.fraction for step in steps] == [None, 0.0, 0.4, 1.0, None, None]
    assert finished is None
    assert first.json() == second.json() == {**body, "stream": True}
    assert first.header("accept") == "application/x-ndjson"


FAILURES: dict[str, tuple[Answer, type[Exception], str, int]] = {
    "no such model": (
        streamed(STEPS[0], {"error": "pull model manifest: file does not exist"}),
        NotFoundError,
        r"does not exist \(check the name 'a': does the library have it\?\)",
        1,
    ),
    "the disk is full": (
        streamed(*STEPS[:2], {"error": "no space left on device"}),
        APIError,
        "no space left",
        2,
    ),
    "the server just stops": (streamed(*STEPS[:3]), StreamInterrupted, "no success was reported", 3),
    "no progress": (streamed({"message": {}}), ProtocolError, "not the shape of progress", 0),
    "refused": (whole({"error": "invalid model name"}, 400), APIError, "invalid model name", 0),
    "another server": (Answer(404, {}, b"404 page not found"), NotFoundError, "does the library have it", 0),
    "silence": (
        Answer(headers={"content-type": "application/x-ndjson"}, body=[lines(STEPS[0]), Stall()]),
        StreamTimeout,
        "idle clock",
        1,
    ),
}


@BOTH
@pytest.mark.parametrize("name", FAILURES)
def test_progress_that_fails(name: str, colour: str) -> None:
    answer, kind, says, given = FAILURES[name]
    seen: list[OllamaProgress] = []

    def act(client: Any) -> Any:
        stream = client.ollama.pull("a", timeouts=Timeouts(idle=0.2))
        if colour == "sync":
            seen.extend(stream)
            return None

        async def read() -> None:
            async for step in stream:
                seen.append(step)

        return read()

    with ScriptedServer([answer]) as server:
        with pytest.raises(kind, match=says):
            for _ in [operate(colour, server.url, act)]:
                pass
        server.wait_idle(5)
    assert [step.raw for step in seen] == STEPS[:given]


@BOTH
def test_leaving_early_ends_the_connection(colour: str) -> None:
    def act(client: Any) -> Any:
        stream = client.ollama.pull("a")
        if colour == "sync":
            with stream:
                return next(stream)

        async def read() -> Any:
            async with stream:
                return await anext(stream)

        return read()

    answer = Answer(headers={"content-type": "application/x-ndjson"}, body=[lines(*STEPS[:2]), Stall()])
    with ScriptedServer([answer]) as server:
        assert operate(colour, server.url, act).status == "pulling manifest"
        server.wait_idle(5)


def test_a_pull_that_is_dropped_is_told() -> None:
    answer = Answer(headers={"content-type": "application/x-ndjson"}, body=[lines(*STEPS[:2]), Stall()])
    with ScriptedServer([answer]) as server, Client("ollama:m", base_url=server.url) as client:
        stream = client.ollama.pull("a")
        assert next(stream).status == "pulling manifest"
        with pytest.warns(ResourceWarning, match="test_ollama_operations.py"):
            del stream
            gc.collect()
        server.wait_idle(5)


@BOTH
def test_memory(colour: str) -> None:
    with ScriptedServer(service) as server:
        loaded = operate(
            colour, server.url, lambda c: c.ollama.load("a", keep_alive=-1, options={"num_ctx": 9})
        )
        operate(colour, server.url, lambda c: c.ollama.load())
        gone = operate(colour, server.url, lambda c: c.ollama.unload())
        bodies = [r.json() for r in server.requests]

    assert (loaded.model, loaded.reason, loaded.load_duration) == ("a", "load", 0.25)
    assert (gone.model, gone.reason) == ("m", "unload")
    assert bodies == [
        {"model": "a", "keep_alive": -1, "options": {"num_ctx": 9}, "stream": False},
        {"model": "m", "stream": False},
        {"model": "m", "keep_alive": 0, "stream": False},
    ]


@BOTH
def test_embeddings(colour: str) -> None:
    with ScriptedServer(service) as server:
        one = operate(colour, server.url, lambda c: c.ollama.embed("a", model="e"))
        three = operate(
            colour,
            server.url,
            lambda c: c.ollama.embed(
                ("a", "b", "c"), truncate=False, dimensions=2, options={"num_ctx": 9}, keep_alive="1m"
            ),
        )
        bodies = [r.json() for r in server.requests]

    assert one.vectors == ((0.5, -0.25),)
    assert (one.model, one.input_tokens, one.total_duration, one.load_duration) == ("e", 11, 1.2, 0.25)
    assert "embeddings" not in one.raw
    assert three.vectors == ((0.5, -0.25), (1.0, 0.0), (0.0, 0.001))
    assert bodies == [
        {"model": "e", "input": "a"},
        {
            "model": "m",
            "input": ["a", "b", "c"],
            "truncate": False,
            "dimensions": 2,
            "options": {"num_ctx": 9},
            "keep_alive": "1m",
        },
    ]


@BOTH
def test_a_prompt_is_completed(colour: str) -> None:
    own = OllamaOptions(raw=True, suffix="}", options={"num_ctx": 9})

    def act(client: Any) -> Any:
        return listed(client.ollama.generate("def f", provider_options=own, temperature=0))

    with ScriptedServer(service) as server:
        events = operate(colour, server.url, act)
        whole = operate(colour, server.url, lambda c: c.ollama.generate("Hi", stream=False).collect())
        streamed_body, whole_body = (r.json() for r in server.requests)

    assert [e.text for e in events if isinstance(e, (TextDelta, ReasoningDelta))] == ["hm", "Hé", " ☃"]
    assert isinstance(events[-1], ResponseEnd)
    assert (whole.text, whole.reasoning, whole.finish_reason) == ("Hé ☃", "hm", "stop")
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (11, 5)
    assert whole.extra["context"] == [1, 2]
    assert whole_body == {"model": "m", "prompt": "Hi", "stream": False}
    assert streamed_body == {
        "model": "m",
        "prompt": "def f",
        "options": {"temperature": 0, "num_ctx": 9},
        "raw": True,
        "suffix": "}",
        "stream": True,
    }


@BOTH
def test_a_prompt_that_is_none(colour: str) -> None:
    tool = Tool("f", "", {})
    with ScriptedServer(service) as server:
        with pytest.raises(UnsupportedError, match="one prompt, without tools"):
            operate(colour, server.url, lambda c: c.ollama.generate("Hi", tools=[tool]))
        assert server.requests == []


ABOUT_ONE: dict[str, Callable[[Any], Any]] = {
    "show": lambda o: o.show(ABSENT),
    "copy": lambda o: o.copy(ABSENT, "b"),
    "delete": lambda o: o.delete(ABSENT),
    "load": lambda o: o.load(ABSENT),
    "unload": lambda o: o.unload(ABSENT),
    "embed": lambda o: o.embed("a", model=ABSENT),
    "push": lambda o: o.push(ABSENT).finish(),
    "create": lambda o: o.create(ABSENT, from_=ABSENT).finish(),
}


@BOTH
@pytest.mark.parametrize("name", ABOUT_ONE)
def test_a_model_that_is_not_there(name: str, colour: str) -> None:
    says = r'pull\("nowhere"\) fetches it .check the name .nowhere.: client.ollama.list'
    with ScriptedServer(service) as server, pytest.raises(NotFoundError, match=says):
        operate(colour, server.url, lambda c: ABOUT_ONE[name](c.ollama))


@BOTH
def test_where_operations_go(colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the provider that is named, to the client's own where it speaks Ollama, else to the one of this machine."""
    with ScriptedServer(service) as here, ScriptedServer(service) as there:
        monkeypatch.setenv("OLLAMA_HOST", here.url.removeprefix("http://"))
        box = ProviderConfig("box", based_on="ollama", base_url=there.url)
        own = {"base_url": None, "providers": [box]}
        operate(colour, "", lambda c: c.ollama.list(), "openai-chat:m", **own)
        operate(colour, "", lambda c: c.ollama.list(), None, **own)  # type: ignore[arg-type]
        assert (len(here.requests), len(there.requests)) == (2, 0)
        operate(colour, "", lambda c: c.ollama.list(), "box:m", **own)
        operate(colour, "", lambda c: c.ollama.load("box:a"), "box:m", **own)
        operate(colour, "", lambda c: c.ollama.list(provider="box"), "openai-chat:m", **own)
        assert (len(here.requests), len(there.requests)) == (2, 3)
        assert there.requests[1].json() == {"model": "a", "stream": False}
        with pytest.raises(
            UnsupportedError, match=r'openai-chat does not speak Ollama.s API.*provider="ollama"'
        ):
            operate(
                colour,
                "",
                lambda c: c.ollama.list(provider="openai-chat"),
                "openai-chat:m",
                api_key="k",
                **own,
            )
        with pytest.raises(UnsupportedError, match="openai-chat does not speak"):
            operate(colour, "", lambda c: c.ollama.generate("Hi"), "openai-chat:m", api_key="k", **own)


@BOTH
def test_what_cannot_be_asked(colour: str) -> None:
    with ScriptedServer(service) as server:
        for act in (lambda o: o.pull(""), lambda o: o.copy("a", " ")):
            with pytest.raises(ConfigError, match="as Ollama names it"):
                operate(colour, server.url, lambda c, act=act: act(c.ollama))
        with pytest.raises(TypeError, match="model takes text"):
            operate(colour, server.url, lambda c: c.ollama.show(3))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="name a model as Ollama names it"):
            operate(colour, None, lambda c: c.ollama.load(), "openai-chat:m", api_key="k")  # type: ignore[arg-type]
        assert server.requests == []


def test_a_closed_client() -> None:
    client = Client("ollama:m")
    client.close()
    for act in (client.ollama.list, lambda: client.ollama.pull("a"), lambda: client.ollama.generate("Hi")):
        with pytest.raises(ConfigError, match="closed"):
            act()


@BOTH
def test_no_server_runs(colour: str) -> None:
    with refuse() as port:
        for act in (lambda o: o.list(), lambda o: o.pull("a").finish()):
            with pytest.raises(ConnectError, match="is a server listening there"):
                operate(colour, f"127.0.0.1:{port}", lambda c, act=act: act(c.ollama))


@BOTH
def test_a_server_that_is_none_of_ollama(colour: str) -> None:
    page = Answer(404, {}, b"404 page not found")
    with (
        ScriptedServer(page) as server,
        pytest.raises(NotFoundError, match="is an Ollama server there"),
    ):
        operate(colour, server.url, lambda c: c.ollama.list())
