"""What a model on this machine does besides chatting, in both colours: against scripted bytes, and the real engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import colours
from brainwires_provider import (
    AsyncClient,
    Client,
    ConfigError,
    JSONSchema,
    Message,
    NotFoundError,
    ProviderConfig,
    ResponseEnd,
    ServerError,
    StreamInterrupted,
    TextDelta,
    Tool,
    UnsupportedError,
)
from brainwires_provider.events import collect
from brainwires_provider.protocols.llamacpp import LlamaCppOptions
from brainwires_provider.resources.local import AsyncLocalPool
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, Stall, cut, split, sse
from colours import listed
from engines import NEEDS_ENGINE
from llamacpp_answers import CHUNKS, PLACES, VECTORS, last, read

BOTH = pytest.mark.parametrize("colour", ("async", "sync"))

# -- the client ------------------------------------------------------------------------------------------------------


def service(request: RecordedRequest) -> Answer:
    """A llama.cpp server, as far as these tests go."""
    body = request.json() if request.body else {}
    if request.path == "/v1/embeddings":
        return Answer(body=msgspec.json.encode({**VECTORS, "data": VECTORS["data"][-len(body["input"]) :]}))  # type: ignore[index]
    if request.path != "/completion":
        return Answer(
            404, {}, b'{"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}'
        )
    if body["stream"]:
        return Answer(body=[sse(*CHUNKS, done=False)])
    return Answer(body=msgspec.json.encode(last(" Paris ☃", completion_probabilities=PLACES)))


def config(url: str, key: str = "k") -> ProviderConfig:
    return ProviderConfig("box", based_on="openai-chat", base_url=f"{url}/v1", api_key=key)


def operate(
    colour: str, url: str, act: Callable[[Any], Any], model: str | None = "box:m", **more: Any
) -> Any:
    return colours.operate(colour, act, model, **{"providers": [config(url)], **more})


@BOTH
def test_generate(colour: str) -> None:
    def act(client: Any) -> Any:
        return client.local.generate(
            "The capital of France is",
            max_tokens=3,
            temperature=0,
            grammar="root ::= [a-z]",
            logprobs=2,
            provider_options=LlamaCppOptions(min_p=0.1),
        )

    with ScriptedServer(service) as server:
        response = operate(colour, server.url, act)
        events = operate(
            colour,
            server.url,
            lambda c: listed(
                c.local.stream_generate("Hi", logprobs=0, provider_options=[LlamaCppOptions(n_probs=5)])
            ),
        )
        whole, streamed = server.requests
    assert (response.text, response.provider, response.finish_reason) == (" Paris ☃", "box", "stop")
    assert response.report.sent == ("max_tokens", "temperature", "provider_options")
    assert isinstance(events[-1], ResponseEnd) and collect(events).text == response.text
    assert (whole.path, streamed.path) == ("/completion", "/completion")
    assert whole.json() == {
        "model": "m",
        "prompt": "The capital of France is",
        "n_predict": 3,
        "temperature": 0,
        "min_p": 0.1,
        "grammar": "root ::= [a-z]",
        "n_probs": 2,
        "stream": False,
    }
    assert streamed.json() == {"model": "m", "prompt": "Hi", "n_probs": 0, "stream": True}
    assert whole.header("authorization") == "Bearer k"


@BOTH
def test_a_stream_in_small_pieces_and_one_that_is_cut(colour: str) -> None:
    body = sse(*CHUNKS, done=False)
    answers = [Answer(body=split(body, every=7)), cut(Answer(body=[body]), len(body) - 40)]
    with ScriptedServer(answers) as server:
        events = operate(colour, server.url, lambda c: listed(c.local.stream_generate("Hi")))
        assert collect(events) == collect(read(CHUNKS, provider="box"))
        with pytest.raises(StreamInterrupted) as caught:
            operate(colour, server.url, lambda c: listed(c.local.stream_generate("Hi")))
    assert caught.value.partial is not None
    assert caught.value.partial.text == " Paris ☃"


@BOTH
def test_embed(colour: str) -> None:
    with ScriptedServer(service) as server:
        two = operate(colour, server.url, lambda c: c.local.embed(iter(("a", "b"))))
        one = operate(colour, server.url, lambda c: c.local.embed("a", model="box:e"))
        bodies = [r.json() for r in server.requests]
    assert two.vectors == [[1.0, 0.0], [0.5, -0.25]]
    assert (two.provider, two.model, two.dimensions, two.usage.input_tokens) == ("box", "smollm2", 2, 7)
    assert one.vectors == [[1.0, 0.0]]
    assert bodies == [
        {"model": "m", "input": ["a", "b"], "encoding_format": "base64"},
        {"model": "e", "input": ["a"], "encoding_format": "base64"},
    ]


CANNOT: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "another provider": (
        lambda c: c.local.route("a", ["b", "c"], model="openai-chat:m"),
        UnsupportedError,
        "openai-chat does not run llama.cpp",
    ),
    "another protocol": (
        lambda c: c.local.generate("a", model="ollama:m"),
        UnsupportedError,
        "ollama does not run llama.cpp",
    ),
    "loading elsewhere": (
        lambda c: c.local.load(),
        UnsupportedError,
        "does not run in an engine of this process",
    ),
    "unloading elsewhere": (
        lambda c: c.local.unload(),
        UnsupportedError,
        "does not run in an engine of this process",
    ),
    "looking elsewhere": (
        lambda c: c.local.status(),
        UnsupportedError,
        "does not run in an engine of this process",
    ),
    "messages": (lambda c: c.local.generate([Message.user("a")]), TypeError, "prompt takes text, not "),
    "a keyword that is none": (lambda c: c.local.generate("a", tempture=1), TypeError, "temperature"),
    "a schema of tools": (
        lambda c: c.local.stream_generate("a", tools=[Tool("f", "", {})]),
        UnsupportedError,
        "one prompt, without a system message",
    ),
    "a pool of none": (lambda c: c.local.pool([]), ConfigError, "a pool needs at least one model"),
    "a pool of one twice": (lambda c: c.local.pool(["box:a", "box:a"]), ConfigError, "named twice"),
    "a pool of others": (lambda c: c.local.pool(["box:a", "ollama:m"]), UnsupportedError, "ollama does not"),
    "a pool's model": (
        lambda c: c.local.pool("box:a").chat("Hi", model="box:b"),
        ConfigError,
        "the pool chooses the model",
    ),
    "a pool's stream's model": (
        lambda c: c.local.pool("box:a").stream("Hi", model="box:b"),
        ConfigError,
        "the pool chooses the model",
    ),
}


@BOTH
@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_done(name: str, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    act, kind, says = CANNOT[name]
    with ScriptedServer(service) as server:
        with pytest.raises(kind, match=says):
            operate(colour, server.url, act)
        assert server.requests == []


@BOTH
def test_a_server_that_is_another(colour: str) -> None:
    page = Answer(404, {}, b"404 page not found")
    with ScriptedServer(page) as server, pytest.raises(NotFoundError, match="own server answer there"):
        operate(colour, server.url, lambda c: c.local.generate("Hi"))


@BOTH
def test_a_closed_client(colour: str) -> None:
    client: Any = Client("box:m", providers=[config("http://localhost")])
    if colour == "sync":
        client.close()
    else:
        client = AsyncClient("box:m", providers=[config("http://localhost")])
        asyncio.run(client.aclose())
    acts: tuple[Callable[[], Any], ...] = (
        lambda: client.local.pool(["box:m"]),
        lambda: client.local.stream_generate("a"),
    )
    for act in acts:
        with pytest.raises(ConfigError, match="closed"):
            act()


def test_where_no_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own model where that can be, else the default one of this machine."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    for model, name in (("box:m", "box:m"), ("openai-chat:m", "local:"), (None, "local:")):
        client = AsyncClient(model, providers=[config("http://localhost")])
        assert client.local._name(None) == name
        assert client.local._name("box:x") == "box:x"


# -- the pool --------------------------------------------------------------------------------------------------------

CHAT = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]}
CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}}]}


def busy_service(request: RecordedRequest) -> Answer:
    """`slow` streams do not come to their end; the model named `broken` fails."""
    body = request.json()
    if body["model"] == "broken":
        return Answer(500, {}, b'{"error": {"message": "cannot be loaded", "type": "server_error"}}')
    if not body.get("stream"):
        return Answer(body=msgspec.json.encode({**CHAT, "model": body["model"]}))
    slow = body["messages"][0]["content"] == "slow"
    return Answer(body=[sse({**CHUNK, "model": body["model"]}, done=not slow), *([Stall()] if slow else [])])


def test_a_pool_takes_turns_and_spares_the_busy() -> None:
    async def main(url: str) -> None:
        async with AsyncClient(providers=[config(url)]) as client:
            pool = client.local.pool(["box:a", "box:b", "box:c"])
            assert (type(pool), pool.models) == (AsyncLocalPool, ("box:a", "box:b", "box:c"))
            assert [(await pool.chat("Hi")).model for _ in range(4)] == ["a", "b", "c", "a"]
            assert pool.in_flight == {"box:a": 0, "box:b": 0, "box:c": 0}
            slow = pool.stream("slow")
            assert slow._plan.target.model == "b"
            async with slow:
                assert pool.in_flight == {"box:a": 0, "box:b": 1, "box:c": 0}
                chats = await asyncio.gather(*(pool.chat("Hi") for _ in range(6)))
                told = sorted(str(chat.model) for chat in chats)
                assert (told.count("a") + told.count("c"), told.count("b")) in ((5, 1), (4, 2))
            assert set(pool.in_flight.values()) == {0}
            async with pool.stream("Hi") as quick:
                assert (await quick.collect()).text == "a"
                assert set(pool.in_flight.values()) == {0}
            dropped = pool.stream("never entered")
            assert sum(pool.in_flight.values()) == 1
            del dropped
            assert sum(pool.in_flight.values()) == 0

    with ScriptedServer(busy_service) as server:
        asyncio.run(main(server.url))
        server.wait_idle(5)


def test_a_pool_without_async() -> None:
    with ScriptedServer(busy_service) as server:
        with Client(providers=[config(server.url)]) as client:
            pool = client.local.pool(["box:a", "box:b"])
            with pool.stream("slow") as slow:
                assert next(slow) is not None
                assert pool.in_flight == {"box:a": 1, "box:b": 0}
                assert [pool.chat("Hi").model for _ in range(3)] == ["b", "b", "b"]
            assert set(pool.in_flight.values()) == {0}
            assert pool.models == ("box:a", "box:b")
        server.wait_idle(5)


def test_a_pool_hides_no_failure() -> None:
    async def main(url: str) -> None:
        async with AsyncClient(providers=[config(url)]) as client:
            pool = client.local.pool(["box:a", "box:broken"])
            told = await asyncio.gather(*(pool.chat("Hi") for _ in range(4)), return_exceptions=True)
            failed = [each for each in told if isinstance(each, ServerError)]
            assert (len(failed), len(told) - len(failed)) == (2, 2)
            assert "cannot be loaded" in str(failed[0])
            assert set(pool.in_flight.values()) == {0}

    with ScriptedServer(busy_service) as server:
        asyncio.run(main(server.url))


# -- the real engine -------------------------------------------------------------------------------------------------


PROMPT = "The capital of France is"
FIXED: Any = {"temperature": 0, "max_tokens": 8, "provider_options": LlamaCppOptions(cache_prompt=False)}


@pytest.fixture(scope="module")
def engine() -> Iterator[Client]:
    """Holds the engine, which every other client of this process shares."""
    with Client("local:") as client:
        client.local.load()
        yield client


def on_engine(act: Callable[[AsyncClient], Any]) -> Any:
    async def main() -> Any:
        async with AsyncClient("local:") as client:
            return await act(client)

    return asyncio.run(main())


@pytest.mark.usefixtures("engine")
class TestEngine:
    pytestmark = NEEDS_ENGINE

    def test_a_prompt_is_gone_on_with_and_both_forms_and_colours_agree(self, engine: Client) -> None:
        whole = on_engine(lambda c: c.local.generate(PROMPT, logprobs=2, **FIXED))
        streamed = on_engine(lambda c: c.local.stream_generate(PROMPT, logprobs=2, **FIXED).collect())
        blocking = engine.local.generate(PROMPT, logprobs=2, **FIXED)
        with engine.local.stream_generate(PROMPT, logprobs=2, **FIXED) as stream:
            deltas = [event.text for event in stream if isinstance(event, TextDelta)]
        assert "Paris" in whole.text
        assert len(deltas) > 3 and "".join(deltas) == stream.response.text
        told = [(r.text, r.finish_reason, r.usage.total_tokens) for r in (whole, streamed, blocking)]
        assert told == [(stream.response.text, "length", whole.usage.input_tokens + 8)] * 3
        assert whole.usage.complete and whole.extra["timings"]["predicted_n"] == 8
        places = [each.extra["completion_probabilities"] for each in (whole, streamed)]
        assert [len(each) for each in places] == [8, 8]
        assert [place["token"] for place in places[0]] == [place["token"] for place in places[1]]
        assert len(places[0][0]["top_logprobs"]) == 2

    def test_what_ends_it_and_what_holds_it(self, engine: Client) -> None:
        stopped = engine.local.generate(PROMPT, temperature=0, max_tokens=8, stop=["Par"])
        assert (stopped.finish_reason, stopped.raw_finish_reason) == ("stop", "word")
        assert (stopped.text, stopped.extra["stopping_word"]) == (" ", "Par")
        held = engine.local.generate(
            PROMPT, temperature=0, max_tokens=8, grammar='root ::= " Rome" | " Oslo"'
        )
        assert (held.text in (" Rome", " Oslo"), held.raw_finish_reason) == (True, "eos")
        schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
        shaped = engine.local.generate(
            "Ada is 36. As JSON:", temperature=0, max_tokens=60, output=JSONSchema("a", schema)
        )
        assert type(msgspec.json.decode(shaped.text)["age"]) is int
        again = engine.local.generate(PROMPT, temperature=0, max_tokens=1)
        assert engine.local.generate(PROMPT, temperature=0, max_tokens=1).usage.cache_read > 0
        assert again.usage.input_tokens == 5

    def test_vectors_come_of_an_engine_of_their_own(self, engine: Client) -> None:
        told = engine.local.embed(["A cat sleeps.", "The kitten is asleep.", "Interest rates rose."])
        assert (len(told.vectors), told.dimensions, told.provider) == (3, 576, "local")
        cat, kitten, rates = told.vectors
        assert math.dist(cat, kitten) < math.dist(cat, rates)
        assert told.usage.input_tokens > 9
        assert (
            engine.embed("A cat sleeps.", model="local:").vectors
            == engine.local.embed("A cat sleeps.").vectors
        )
        assert engine.local.generate(PROMPT, max_tokens=1).text

    def test_it_is_unloaded_and_loaded_again(self, engine: Client) -> None:
        before = engine.local.status()
        assert before.loaded and before.pid
        assert engine.local.unload() is True
        assert (engine.local.status().loaded, engine.local.unload()) == (False, False)
        assert on_engine(lambda c: c.local.generate(PROMPT, max_tokens=1)).text
        assert engine.local.status().pid not in (None, before.pid)

    def test_a_pool_of_two_models_and_one_that_cannot_be_loaded(self, engine: Client, tmp_path: Path) -> None:
        (tmp_path / "copy.gguf").symlink_to(engine.local.status().path)
        (tmp_path / "bad.gguf").write_bytes(b"GGUF")
        names = ["local:", f"local:{tmp_path}/copy.gguf", f"local:{tmp_path}/bad.gguf"]

        async def main(client: AsyncClient) -> None:
            pool = client.local.pool(names)
            asked = (pool.chat("Hi", max_tokens=2, temperature=0) for _ in range(3))
            one, other, broken = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(broken, ConfigError) and "bad.gguf" in str(broken)
            assert [each.text for each in (one, other)] == [one.text] * 2  # type: ignore[union-attr]
            assert (await client.local.status(names[1])).loaded

        on_engine(main)
