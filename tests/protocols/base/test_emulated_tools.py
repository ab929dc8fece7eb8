"""Tools for a model without any: what the request says instead, and what the response becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider.errors import StreamInterrupted, UnsupportedError
from brainwires_provider.events import (
    Event,
    PartEnd,
    PartStart,
    ResponseEnd,
    ResponseStart,
    TextDelta,
    ToolCallDelta,
    collect,
)
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.facts import ModelFacts
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.base.replay import local_id
from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat
from brainwires_provider.types import (
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    Options,
    Origin,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

ORIGIN = Origin("openai_chat", "local", "m")
CHAT = OpenAIChat(ChatQuirks(constrains=True))
PARAMETERS = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"enum": [1]}}}
WEATHER = Tool("weather", "Tells the weather.", {"properties": {"city": {"type": "string"}}})
ODD = Tool("odd", "", PARAMETERS)
HI = (Message.user("Hi"),)


def encoded(*messages: Message, protocol: OpenAIChat = CHAT, **fields: Any) -> Call:
    request = Request(messages or HI, "m", **{"tools": (WEATHER,), **fields})
    return protocol.encode(request, ORIGIN, stream=True, facts=ModelFacts(tools=False))


def reported(call: Call) -> dict[str, str]:
    return {d.field: d.outcome for d in call.deviations}


def branches(call: Call) -> list[list[str]]:
    schema = call.body["response_format"]["json_schema"]["schema"]
    return [list(branch["properties"]) for branch in schema["anyOf"]]


# -- the request ---------------------------------------------------------------------------------------------


def test_the_tools_are_in_the_system_message_and_in_the_schema() -> None:
    call = encoded(system="Be brief.", tools=(WEATHER, ODD))
    system, hi = call.body["messages"]
    assert system["content"].startswith(
        "Be brief.\n\nYou have these functions:\n- weather: Tells the weather."
    )
    assert hi == {"role": "user", "content": "Hi"}
    assert "tools" not in call.body
    schema = call.body["response_format"]["json_schema"]["schema"]
    assert [branch["properties"].get("call") for branch in schema["anyOf"]] == [
        {"const": "weather"},
        {"const": "odd"},
        None,
    ]
    assert schema["$defs"]["arguments0"] == {"type": "object", **WEATHER.parameters}
    assert schema["$defs"]["arguments1"]["properties"]["a"] == {"$ref": "#/$defs/arguments1/$defs/a"}
    assert schema["$defs"]["answer"] == {"type": "string"}
    assert reported(call) == {"tools": "emulated"}
    assert call.sent == ("system",)


@pytest.mark.parametrize(
    ("choice", "expected", "report"),
    [
        (ToolChoice("auto"), [["call", "arguments"], ["call", "arguments"], ["answer"]], "emulated"),
        (ToolChoice("required"), [["call", "arguments"], ["call", "arguments"]], "emulated"),
        (ToolChoice.tool("odd"), [["call", "arguments"]], "emulated"),
        (ToolChoice.allowed("odd"), [["call", "arguments"], ["answer"]], "emulated"),
        (ToolChoice(raw={"x": 1}), [["call", "arguments"], ["call", "arguments"], ["answer"]], "dropped"),
    ],
)
def test_a_choice_decides_what_the_answer_may_be(
    choice: ToolChoice, expected: list[list[str]], report: str
) -> None:
    call = encoded(tools=(WEATHER, ODD), tool_choice=choice)
    assert branches(call) == expected
    assert reported(call) == {"tools": "emulated", "tool_choice": report}


def test_without_a_choice_of_tools_nothing_is_emulated() -> None:
    call = encoded(tool_choice=ToolChoice("none"), output="json")
    assert call.wrap is None
    assert call.body["response_format"] == {"type": "json_object"}
    assert reported(call)["tool_choice"] == "emulated"
    plain = encoded(tools=())
    assert (plain.wrap, plain.deviations) == (None, ())


@pytest.mark.parametrize(
    ("output", "answer"),
    [("json", {"type": "object"}), (JSONSchema("p", {"$ref": "#"}), {"$ref": "#/$defs/answer"})],
)
def test_an_output_is_within_the_same_schema(output: Any, answer: Any) -> None:
    call = encoded(output=output, options=Options(parallel_tool_calls=True))
    assert call.body["response_format"]["json_schema"]["schema"]["$defs"]["answer"] == answer
    assert reported(call) == {"tools": "emulated", "output": "emulated", "parallel_tool_calls": "dropped"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tools": (HostedTool("web_search"),)}, "'web_search'"),
        ({"options": Options(extra_body={"grammar": "root ::= x"})}, "grammar"),
        ({"protocol": OpenAIChat()}, "no tools"),
    ],
)
def test_what_cannot_be_emulated_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        encoded(**fields)
    assert (caught.value.provider, caught.value.model) == ("local", "m")


@pytest.mark.parametrize("field", ["grammar", "json_schema", "response_format"])
def test_a_constraint_of_the_callers_own_is_refused_beside_tools(field: str) -> None:
    options = Options(extra_body={field: {}, "a": 1})
    with pytest.raises(UnsupportedError, match=f"constraining its answer, as {field} does: send one of both"):
        encoded(options=options)
    assert encoded(tools=(), options=options).wrap is None
    assert encoded(options=Options(extra_body={"a": 1})).wrap is not None


FUNCTIONS = (
    "You have these functions:\n"
    '- weather: Tells the weather. Arguments: {"properties":{"city":{"type":"string"}}}\n'
    '- odd:  Arguments: {"type":"object"}\n\n'
    'To call a function, reply with JSON like {"call": "weather", "arguments": {...}}.'
)
ANSWER = ' When you have the result, reply with {"answer": "..."}.'
REASON = "this model's template has no tools: the answer is held to a call or a text by a schema"
BY_SCHEMA = "by the schema that the answer is held to"


@pytest.mark.parametrize(
    ("given", "words", "told"),
    [
        ({}, FUNCTIONS + ANSWER, []),
        (
            {"tool_choice": ToolChoice("required")},
            f"{FUNCTIONS} Call one now.",
            [("tool_choice", "emulated", BY_SCHEMA)],
        ),
        ({"tool_choice": ToolChoice("auto")}, FUNCTIONS + ANSWER, [("tool_choice", "emulated", BY_SCHEMA)]),
        (
            {"tool_choice": ToolChoice(raw={"x": 1})},
            FUNCTIONS + ANSWER,
            [("tool_choice", "dropped", "emulated tools have no such field")],
        ),
        (
            {"output": "json"},
            FUNCTIONS + ANSWER,
            [("output", "emulated", "within the schema that the answer is held to")],
        ),
        (
            {"options": Options(parallel_tool_calls=True)},
            FUNCTIONS + ANSWER,
            [("parallel_tool_calls", "dropped", "emulated tools are called one at a time")],
        ),
        ({"options": Options(parallel_tool_calls=False)}, FUNCTIONS + ANSWER, []),
    ],
)
def test_what_the_system_message_says_of_the_tools(
    given: dict[str, Any], words: str, told: list[tuple[str, str, str]]
) -> None:
    call = encoded(tools=(WEATHER, Tool("odd", "", {"type": "object"})), **given)
    assert call.body["messages"] == [{"role": "system", "content": words}, {"role": "user", "content": "Hi"}]
    found = [(each.field, each.outcome, each.reason) for each in call.deviations]
    assert found == [("tools", "emulated", REASON), *told]
    image = ImagePart(url="https://x.test/a")
    beside = encoded(Message.system("A", image), *HI, tools=(WEATHER,)).body["messages"]
    assert [message["role"] for message in beside] == ["system", "system", "user"]
    texts = [{"type": "text", "text": text} for text in "AB"]
    for said, contents in (("A", [f"A\n\n{words}"]), ("AB", [words, texts])):
        call = encoded(
            Message.system(*said), *HI, tools=(WEATHER, Tool("odd", "", {"type": "object"})), **given
        )
        assert call.body["messages"][:-1] == [{"role": "system", "content": content} for content in contents]


@pytest.mark.parametrize("choice", [ToolChoice.tool("odd"), ToolChoice.allowed("odd")])
def test_a_choice_of_names_is_reported_once(choice: ToolChoice) -> None:
    call = encoded(tools=(WEATHER, ODD), tool_choice=choice)
    assert [(each.field, each.outcome, each.reason) for each in call.deviations] == [
        ("tool_choice", "emulated", "only the tools that may be called are sent"),
        ("tools", "emulated", REASON),
    ]


def test_the_whole_schema() -> None:
    inner = {
        "type": "array",
        "items": [{"$ref": "#"}, {"$ref": "https://x.test"}, {"$ref": 3}, "#"],
        "enum": ({"$ref": "#/a"},),
    }
    tool = Tool("f", "", {"properties": {"$ref": inner}})
    place = "#/$defs/arguments0"
    items = [{"$ref": place}, {"$ref": "https://x.test"}, {"$ref": 3}, "#"]
    moved = {"type": "array", "items": items, "enum": [{"$ref": f"{place}/a"}]}

    def closed(**properties: Any) -> dict[str, Any]:
        fields = {"type": "object", "properties": properties, "required": [*properties]}
        return {**fields, "additionalProperties": False}

    called = closed(call={"const": "f"}, arguments={"$ref": place})
    answered = closed(answer={"$ref": "#/$defs/answer"})
    defined = {"arguments0": {"type": "object", "properties": {"$ref": moved}}}
    schemas: dict[Any, dict[str, Any]] = {
        "auto": {"anyOf": [called, answered], "$defs": {**defined, "answer": {"type": "string"}}},
        "required": {"anyOf": [called], "$defs": defined},
    }
    for mode, schema in schemas.items():
        assert encoded(tools=(tool,), tool_choice=ToolChoice(mode)).body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "call_or_answer", "schema": schema},
        }


def test_earlier_calls_and_results_are_in_words() -> None:
    image = ImagePart(data=b"\x89PNG", media_type="image/png")
    call = encoded(
        Message.system("S", "T"),
        Message.user("Hi"),
        Message("assistant", (TextPart("Well"), ToolCallPart("c", "weather", '{"city":"Rome"}'))),
        Message("tool", (ToolResultPart("c", (TextPart("sun"), image)),)),
        Message("tool", (ToolResultPart("d", (TextPart("bad"),), is_error=True),)),
        Message("assistant", (ToolCallPart("e", "weather", ""),)),
        tools=(),
    )
    _, _, asked, result, failed, last = call.body["messages"]
    assert asked == {
        "role": "assistant",
        "content": 'Well\n{"call": "weather", "arguments": {"city":"Rome"}}',
    }
    assert result["role"] == "user"
    assert [item["type"] for item in result["content"]] == ["text", "image_url"]
    assert result["content"][0]["text"] == "Result of weather: sun"
    assert failed == {"role": "user", "content": "Error of the function: bad"}
    assert last["content"] == '{"call": "weather", "arguments": {}}'
    assert reported(call) == {
        "messages[2].content[1]": "emulated",
        "messages[3].content[0]": "emulated",
        "messages[4].content[0]": "emulated",
        "messages[5].content[0]": "emulated",
    }
    assert {d.reason for d in call.deviations} == {"this model's template has no tools: put into words"}


# -- the response --------------------------------------------------------------------------------------------


def chunks(text: str, size: int, finish: str | None) -> Iterator[WireMessage]:
    for at in range(0, len(text), size):
        yield message({"delta": {"content": text[at : at + size]}})
    if finish is not None:
        yield message({"delta": {}, "finish_reason": finish})
        yield WireMessage(b"[DONE]")


def message(choice: dict[str, Any]) -> WireMessage:
    return WireMessage(json.dumps({"id": "r", "choices": [{"index": 0, **choice}]}).encode())


def streamed(text: str, size: int = 1, finish: str = "stop", **fields: Any) -> list[Event]:
    call = encoded(**fields)
    assert call.wrap is not None
    decoder = call.wrap(CHAT.decoder(ORIGIN))
    events = [event for chunk in chunks(text, size, finish) for event in decoder.feed(chunk)]
    if not decoder.ended:
        events += decoder.finish()
    assert decoder.ended
    assert decoder.partial().message.content == collect(events).message.content
    return events


CALLED = '{\n "call": "weather",\n "arguments": {"city": "Rome"}\n}'


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_object_with_a_call_is_a_call(size: int) -> None:
    events = streamed(CALLED, size)
    response = collect(events)
    [call] = response.tool_calls
    assert (call.name, call.args(), call.arguments) == ("weather", {"city": "Rome"}, '{"city": "Rome"}')
    assert (call.id, call.call_id, call.local_id) == (None, *[local_id("r", 0, "weather")] * 2)
    assert response.finish_reason == "tool_calls"
    assert [e.text for e in events if isinstance(e, ToolCallDelta)] == ['{"city": "Rome"}']


@pytest.mark.parametrize(
    ("quoted", "text"),
    [
        ("Hello", "Hello"),
        ("", ""),
        ('a \\"b\\" \\n \\u00e9 \\ud83d\\ude00 \\\\', 'a "b" \n \u00e9 \U0001f600 \\'),
        ("line\nbreak\tand\rmore", "line\nbreak\tand\rmore"),
        ("odd \\ud800 end", "odd \\ud800 end"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_an_answer_streams_as_its_text(quoted: str, text: str, size: int) -> None:
    events = streamed(f'{{"answer": "{quoted}"}}', size)
    response = collect(events)
    assert response.text == text
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == text
    assert response.finish_reason == "stop"
    kinds = [type(event) for event in events]
    begin, end = [ResponseStart, PartStart], [PartEnd, ResponseEnd]
    assert kinds == [*begin, *[TextDelta] * (len(kinds) - 4), *end]


@pytest.mark.parametrize(
    ("text", "finish", "expected", "reason"),
    [
        ('{"call": "f", "arguments": [1, 2]}', "stop", ("f", "[1, 2]"), "tool_calls"),
        ('{"call": "f", "arguments": {}, "answer": "x"}', "length", ("f", "{}"), "length"),
        ('{"arguments": {"a": 1}, "call": "f"}', "stop", ("f", '{"a": 1}'), "tool_calls"),
        ('{"call": 5, "arguments": {}}', "stop", ("5", "{}"), "tool_calls"),
        ('{"call": "f"}', "stop", '{"call": "f"}', "stop"),
        ('{"arguments": {}}', "stop", '{"arguments": {}}', "stop"),
        ('[{"call": "f", "arguments": {}}]', "stop", '[{"call": "f", "arguments": {}}]', "stop"),
        (' {\n"answer" :  "a b" } \n', "stop", "a b", "stop"),
        ('{"answer": "a\\u00', "length", "a\\u00", "length"),
        ('{"answer": "a\\', "length", "a\\", "length"),
        ('{"answer": "a', "length", "a", "length"),
        ('{"answer": "a"', "length", "a", "length"),
        ('{"answer": "a}', "length", "a}", "length"),
        ('{"answer": 5}', "stop", "5", "stop"),
        ('{"answer": null, "x": 1}', "stop", "null", "stop"),
        ('{"x": 1, "answer": "a"}', "stop", "a", "stop"),
        ('{"a": 1}', "stop", '{"a": 1}', "stop"),
        ('["call", "arguments"]', "stop", '["call", "arguments"]', "stop"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_an_object_is(text: str, finish: str, expected: Any, reason: str, size: int) -> None:
    response = collect(streamed(text, size, finish))
    assert (response.finish_reason, response.raw_finish_reason) == (reason, finish)
    if isinstance(expected, tuple):
        (call,) = response.tool_calls
        assert (call.id, call.name, call.arguments, call.origin) == (None, *expected, ORIGIN)
        assert len(response.message.content) == 1
    else:
        assert (response.text, response.tool_calls) == (expected, ())


def test_an_output_comes_at_once() -> None:
    events = streamed('{"answer": "ab"}', output=JSONSchema("p", {"type": "string"}))
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["ab"]


def test_the_text_comes_before_its_end() -> None:
    call = encoded()
    assert call.wrap is not None
    decoder = call.wrap(CHAT.decoder(ORIGIN))
    events = [e for chunk in chunks('{"answer": "Hel', 1, None) for e in decoder.feed(chunk)]
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["H", "e", "l"]
    with pytest.raises(StreamInterrupted):
        decoder.finish(False)


@pytest.mark.parametrize(
    ("text", "output", "expected"),
    [
        ('{"answer": {"a": 1}}', "json", '{"a": 1}'),
        ('{"answer": "a\\nb"}', JSONSchema("p", {"type": "string"}), "a\nb"),
        ('{"answer": ""}', "json", ""),
        ('{"answer": null}', "json", "null"),
        ('{"a": 1}', "json", '{"a": 1}'),
        ('{"call": "wea', None, '{"call": "wea'),
        ("no object", None, "no object"),
    ],
)
def test_any_other_answer_is_the_text_that_it_is(text: str, output: Any, expected: str) -> None:
    response = collect(streamed(text, output=output, finish="length"))
    assert response.text == expected
    assert response.finish_reason == "length"


def test_a_body_that_came_whole() -> None:
    call = encoded()
    assert call.wrap is not None
    decoder = call.wrap(CHAT.decoder(ORIGIN))
    choice = {"index": 0, "message": {"role": "assistant", "content": CALLED}, "finish_reason": "stop"}
    events = decoder.feed_whole(json.dumps({"id": "r", "choices": [choice]}).encode())
    response = collect(events)
    assert [c.name for c in response.tool_calls] == ["weather"]
    end = events[-1]
    assert isinstance(end, ResponseEnd)
    assert (end.finish_reason, end.raw_finish_reason) == ("tool_calls", "stop")
    assert not response.text
    decoder.max_parts = 7
    assert decoder.max_parts == 7


def test_a_call_is_no_part_before_its_end() -> None:
    call = encoded()
    assert call.wrap is not None
    decoder = call.wrap(CHAT.decoder(ORIGIN))
    *before, last = chunks(CALLED, 10, "stop")
    events = [event for each in before for event in decoder.feed(each)]
    assert [type(event) for event in events] == [ResponseStart]
    assert (decoder.partial().text, decoder.ended) == (CALLED, False)
    events = decoder.feed(last)
    assert [type(event) for event in events] == [PartStart, ToolCallDelta, PartEnd, ResponseEnd]
    assert [event.index for event in events[:3]] == [0, 0, 0]  # type: ignore[union-attr]
    assert [type(part) for part in decoder.partial().message.content] == [ToolCallPart]


def test_reasoning_is_left_as_it_is() -> None:
    call = encoded()
    assert call.wrap is not None
    decoder = call.wrap(CHAT.decoder(ORIGIN))
    choice = {"message": {"reasoning_content": "Hm", "content": '{"answer": "Hi"}'}, "finish_reason": "stop"}
    response = collect(decoder.feed_whole(json.dumps({"id": "r", "choices": [choice]}).encode()))
    assert [type(part).__name__ for part in response.message.content] == ["ReasoningPart", "TextPart"]
    assert response.text == "Hi"


def test_what_was_called_goes_back_in_words() -> None:
    called = collect(streamed(CALLED)).message
    result = Message.tool_result(called.tool_calls[0], "sun")
    call = encoded(*HI, called, replace(result, name=None))
    assert [m["role"] for m in call.body["messages"]] == ["system", "user", "assistant", "user"]
    assert call.body["messages"][-1]["content"] == "Result of weather: sun"
