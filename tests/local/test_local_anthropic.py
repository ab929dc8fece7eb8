"""Messages against llama.cpp's own HTTP server, which nobody here wrote; the anthropic package must get the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import anthropic
import pytest

from brainwires_provider import (
    AsyncClient,
    AuthenticationError,
    Client,
    ContextLengthError,
    Message,
    Tool,
)
from engines import KEY, NEEDS_ENGINE, Engine, ask_engine, started

pytestmark = NEEDS_ENGINE

QUESTION = "Name three colours."
FIXED: dict[str, Any] = {"temperature": 0, "max_tokens": 12}
THEIRS: dict[str, Any] = {
    "max_tokens": 12,
    "extra_body": {"temperature": 0},
}  # their create() has no such knob
WEATHER = Tool(
    "weather",
    "The weather of a city",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
    },
)
COLOURS = pytest.mark.parametrize("colour", ["async", "sync"])
# The model's own template knows no tools. The model is too small to call one unasked, so that a request for a call
# begins the answer; what comes after is the model's, held to the tool's schema by the engine's grammar.
BEGUN = "<tool_call>\n"
TEMPLATE = """
{%- if tools %}
{{- '<|im_start|>system\\nTools:\\n' }}
{%- for tool in tools %}
{{- tool | tojson + '\\n' }}
{%- endfor %}
{{- 'Call one as <tool_call>{"name": NAME, "arguments": ARGUMENTS}</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson + '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with started(TEMPLATE) as running:
        yield running


ask = partial(ask_engine, row="anthropic")


def oracle(engine: Engine, messages: Any, **args: Any) -> anthropic.types.Message:
    """What the anthropic package makes of the same server's answer to the same request."""
    with anthropic.Anthropic(base_url=engine.url, api_key=KEY, max_retries=0) as client:
        given = {**THEIRS, **args}
        message: anthropic.types.Message = client.messages.create(model="smollm2", messages=messages, **given)
        return message


def said(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@COLOURS
def test_text_whole_and_streamed(engine: Engine, colour: str) -> None:
    whole = ask(engine, colour, QUESTION, **FIXED)
    streamed = ask(engine, colour, QUESTION, stream=True, **FIXED)
    same = oracle(engine, [{"role": "user", "content": QUESTION}])

    assert whole.text
    assert whole.text == streamed.text == said(same)
    read = same.usage.input_tokens + (same.usage.cache_read_input_tokens or 0)
    for usage in (whole.usage, streamed.usage):
        assert (usage.input_tokens, usage.output_tokens) == (read, same.usage.output_tokens)
    assert whole.raw_finish_reason == streamed.raw_finish_reason == same.stop_reason
    assert (whole.provider, whole.model) == ("llama", "smollm2")


@COLOURS
def test_two_turns(engine: Engine, colour: str) -> None:
    first = ask(engine, colour, "My name is Ada.", system="Be brief.", **FIXED)
    history = [Message.user("My name is Ada."), first.message, Message.user("What is my name?")]
    second = ask(engine, colour, history, stream=True, system="Be brief.", **FIXED)

    told = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "What is my name?"},
    ]
    assert second.text
    assert second.text == said(oracle(engine, told, system="Be brief."))


@COLOURS
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_and_its_result(engine: Engine, colour: str, stream: bool) -> None:
    asked = Message.user("Call weather for Paris.")
    args: dict[str, Any] = {**FIXED, "tools": [WEATHER], "max_tokens": 60}
    answer = ask(
        engine,
        colour,
        [asked, Message.assistant(BEGUN)],
        stream=stream,
        tool_choice="required",
        **args,
    )
    (call,) = answer.tool_calls
    history = [asked, answer.message, Message.tool_result(call, "sunny")]
    end = ask(engine, colour, history, stream=stream, **args)

    tools = [
        {"name": WEATHER.name, "description": WEATHER.description, "input_schema": dict(WEATHER.parameters)}
    ]
    told: list[dict[str, Any]] = [{"role": "user", "content": "Call weather for Paris."}]
    forced = {"tools": tools, "tool_choice": {"type": "any"}, "max_tokens": 60}
    theirs = oracle(engine, [*told, {"role": "assistant", "content": BEGUN}], **forced)
    (block,) = theirs.content
    assert block.type == "tool_use"
    assert (call.name, call.args(), answer.finish_reason) == (block.name, block.input, "tool_calls")
    assert set(call.args()) == {"city"}
    assert call.id
    told += [
        {"role": "assistant", "content": theirs.content},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}],
        },
    ]
    assert end.text
    assert end.text == said(oracle(engine, told, tools=tools, max_tokens=60))


@COLOURS
def test_tokens_are_counted_and_models_listed(engine: Engine, colour: str) -> None:
    if colour == "sync":
        with Client("llama:smollm2", providers=engine.configs("anthropic")) as client:
            count, models = client.count_tokens(QUESTION, system="Be brief."), client.models("llama")
    else:

        async def run() -> Any:
            async with AsyncClient("llama:smollm2", providers=engine.configs("anthropic")) as client:
                return await client.count_tokens(QUESTION, system="Be brief."), await client.models("llama")

        count, models = asyncio.run(run())
    with anthropic.Anthropic(base_url=engine.url, api_key=KEY, max_retries=0) as client:
        asked: Any = [{"role": "user", "content": QUESTION}]
        same = client.messages.count_tokens(model="smollm2", system="Be brief.", messages=asked)

    assert count.input_tokens == same.input_tokens > 0
    assert count.input_tokens == ask(engine, colour, QUESTION, system="Be brief.", **FIXED).usage.input_tokens
    assert [model.id for model in models] == ["smollm2"]


@COLOURS
def test_what_goes_wrong_there(engine: Engine, colour: str) -> None:
    with pytest.raises(ContextLengthError, match="shorten the messages"):
        ask(engine, colour, "word " * 5000, **FIXED)
    engine = engine._replace(key="wrong")
    with pytest.raises(AuthenticationError):
        ask(engine, colour, QUESTION, **FIXED)
