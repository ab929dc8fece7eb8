"""Responses against llama.cpp's own HTTP server, which nobody here wrote; openai-python must get the same text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from brainwires_provider import (
    AuthenticationError,
    ContextLengthError,
    JSONSchema,
    Message,
    Response,
)
from engines import KEY, NEEDS_ENGINE, NO_CACHE, Engine, ask_engine, started

pytestmark = NEEDS_ENGINE

QUESTION = "Name three colours."
FIXED: dict[str, Any] = {"temperature": 0, "max_output_tokens": 12}
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


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with started() as running:
        yield running


def ask(engine: Engine, colour: str, input: Any, **args: Any) -> Response:
    return ask_engine(engine, colour, input, row="openai-responses", path="/v1", **{**OURS, **args})


def oracle(engine: Engine, input: Any, **args: Any) -> str:
    """What openai-python makes of the same server's answer to the same request."""
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key=KEY, max_retries=0) as client:
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
