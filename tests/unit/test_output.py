"""Typed answers: `output=T`, sync and async, whole and streamed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from time import monotonic
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, cast

import msgspec
import pytest
from msgspec.structs import replace

from brainwires_provider import (
    AsyncClient,
    AuthenticationError,
    Client,
    Fallback,
    Hedge,
    OutputError,
    OutputInvalid,
    OutputRefused,
    OutputTruncated,
    RequestTimeout,
    ResponseEnd,
    ResponseRestart,
    Retry,
    StepEnd,
    TextDelta,
    Timeouts,
    Tool,
)
from brainwires_provider._core.output import _answering, _json_in, is_open
from brainwires_provider.events import PartEnd, PartStart, ResponseStart, collect
from brainwires_provider.providers import prices
from brainwires_provider.testing import Answer, FakeProvider, ScriptedServer, Wait, split, sse
from brainwires_provider.types.typed import typed_schema
from chat_answers import chunk
from colours import COLOURS, ask
from virtual_time import virtually

USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
WAYS = [(colour, stream) for colour in COLOURS for stream in (False, True)]


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Person:
    name: str
    age: int


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str


class Shape(NamedTuple):
    color: Color
    size: float
    kind: Literal["small", "big"] = "small"


def said(text: str | None, finish: str = "stop", **message: Any) -> Answer:
    choice = {"message": {"content": text, **message}, "finish_reason": finish}
    return Answer(
        body=json.dumps({"id": "x", "model": "gpt-4o", "choices": [choice], "usage": USAGE}).encode()
    )


def streamed(text: str | None, finish: str = "stop", **delta: Any) -> Answer:
    pieces = split((text or "").encode(), every=3)
    chunks = [chunk({"content": piece.decode()}) for piece in pieces] if text and text.isascii() else []
    return Answer(body=[sse(*chunks, chunk(delta, finish, usage=USAGE))])


def served(*answers: Any, stream: bool = False) -> ScriptedServer:
    """Answers one after another: texts, or (text, finish reason)."""
    make = streamed if stream else said
    return ScriptedServer(
        [a if isinstance(a, Answer) else make(*a) if isinstance(a, tuple) else make(a) for a in answers]
    )


@pytest.mark.parametrize(("colour", "stream"), WAYS)
def test_an_answer_has_its_type(colour: str, stream: bool) -> None:
    with served('{"name": "Ada", "age": 36}', stream=stream) as server:
        outcome = ask(colour, server.url, stream=stream, args={"output": Person})
    assert outcome.response.output == Person("Ada", 36)
    assert outcome.response.text == '{"name": "Ada", "age": 36}'
    form = server.requests[0].json()["response_format"]["json_schema"]
    assert form["name"] == "Person" and form["strict"] is True


@pytest.mark.parametrize(("colour", "stream"), WAYS)
@pytest.mark.parametrize("text", ['{"name": "Ad', None])
def test_a_cut_answer_is_truncated_and_not_repaired(colour: str, stream: bool, text: str | None) -> None:
    """B.1."""
    with served((text, "length"), "{}", stream=stream) as server, pytest.raises(OutputTruncated) as caught:
        ask(colour, server.url, stream=stream, args={"output": Person})
    assert len(server.requests) == 1
    assert caught.value.partial is not None and caught.value.partial.text == (text or "")
    assert "max_tokens" in str(caught.value) and not caught.value.retryable


@pytest.mark.parametrize(("colour", "stream"), WAYS)
def test_a_refusal_is_not_repaired(colour: str, stream: bool) -> None:
    """B.2."""
    refused = streamed(None, refusal="I cannot.") if stream else said(None, refusal="I cannot.")
    for answer, words in ((refused, "I cannot."), ((None, "content_filter"), "refused")):
        with (
            served(answer, "{}", stream=stream) as server,
            pytest.raises(OutputRefused, match=words) as caught,
        ):
            ask(colour, server.url, stream=stream, args={"output": Person})
        assert len(server.requests) == 1
        assert caught.value.partial is not None and caught.value.partial.usage.input_tokens == 10


ROOTS: tuple[tuple[Any, Any, Any], ...] = (
    (int, 5, 5),
    (Annotated[int, ["a note that has no hash"]], 5, 5),
    (list[Person], [{"name": "A", "age": 1}], [Person("A", 1)]),
    (Color, "red", Color.RED),
    (Cat | Dog, {"kind": "Dog", "name": "Rex"}, Dog("Rex")),
    (Person | None, None, None),
    (type(None), None, None),
    (str, "x", "x"),
)


@pytest.mark.parametrize(("hint", "given", "value"), ROOTS, ids=[str(each[0]) for each in ROOTS])
def test_roots_that_are_no_objects_are_wrapped(hint: Any, given: Any, value: Any) -> None:
    """B.3."""
    with served(json.dumps({"response": given}), json.dumps(given)) as server:
        assert ask("sync", server.url, stream=False, args={"output": hint}).response.output == value
        bare = ask(
            "sync", server.url, stream=False, args={"output": hint}
        ).response  # the wrapper was ignored
    assert bare.output == value
    schema = server.requests[0].json()["response_format"]["json_schema"]["schema"]
    assert schema["type"] == "object" and list(schema["properties"]) == ["response"]


@pytest.mark.parametrize(
    "model", ["openai-chat:gpt-4o", "google:gemini-2.5-pro", "anthropic:claude-sonnet-4-5"]
)
@pytest.mark.parametrize("hint", [list[int], list[Any], int | None], ids=str)
def test_a_wrapped_root_is_required_and_stands_alone(hint: Any, model: str) -> None:
    """Of a schema that is open no protocol makes a strict one, which would require all."""
    with Client(model, api_key="k") as client:
        body = json.loads(client.prepare("hi", output=hint).body)
    found: list[dict[str, Any]] = []
    values: list[Any] = [body]
    for value in values:
        values += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if isinstance(value, dict) and isinstance(value.get("properties"), dict):
            found.append(value)
    (schema,) = found
    assert list(schema["properties"]) == schema["required"] == ["response"]
    assert schema["additionalProperties"] is False and schema["type"] == "object"


def test_definitions_of_a_wrapped_root_stay_at_the_root() -> None:
    client = Client("openai-chat:m", api_key="k")
    schema = client.prepare("hi", output=tuple[Person, Person]).body
    form = json.loads(schema)["response_format"]["json_schema"]["schema"]
    assert "Person" in form["$defs"] and "#/$defs/Person" in json.dumps(form["properties"])
    client.close()


class Limited(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(max_length=3)]


def test_old_definitions_of_a_wrapped_root_stay_at_the_root() -> None:
    numbers = {
        "type": "array",
        "items": {"$ref": "#/definitions/N"},
        "definitions": {"N": {"type": "integer"}},
    }
    with Client("openai-chat:m", api_key="k") as client:
        body = json.loads(client.prepare("hi", output=typed_schema("numbers", numbers)).body)
    sent = body["response_format"]["json_schema"]["schema"]
    assert sent["definitions"] == {"N": {"type": "integer"}}
    assert sent["properties"]["response"]["items"] == {"$ref": "#/definitions/N"}


def test_a_limit_that_the_provider_does_not_take_is_reported_and_holds() -> None:
    """B.4."""
    with served('{"name": "Adam"}', '{"name": "Ada"}') as server:
        response = ask("sync", server.url, stream=False, args={"output": Limited}).response
    assert response.output == Limited("Ada")
    (adapted,) = [d for d in response.report.deviations if d.field == "output"]
    assert "maxLength" in adapted.reason and "name" in adapted.reason
    assert "length <= 3" in server.requests[1].json()["messages"][-1]["content"]


TOO_LARGE = Answer(
    400,
    body=b'{"error": {"message": "The compiled grammar is too large, simplify your schema", "code": "invalid"}}',
)
FORCED = {"id": "c1", "index": 0, "function": {"name": "answer", "arguments": '{"name": "Ada", "age": 36}'}}


@pytest.mark.parametrize(("colour", "stream"), WAYS)
def test_a_grammar_too_large_goes_by_a_forced_tool_once(colour: str, stream: bool) -> None:
    """B.5."""
    make = streamed if stream else said
    forced = make(None, "tool_calls", tool_calls=[FORCED])
    with ScriptedServer([TOO_LARGE, forced, forced]) as server:
        responses = asked_twice(colour, server.url, stream)
    for response in responses:
        assert response.output == Person("Ada", 36)
        assert response.finish_reason == "stop" and not response.tool_calls
        assert any(d.field == "output" and d.outcome == "emulated" for d in response.report.deviations)
    bodies = [request.json() for request in server.requests]
    assert ["response_format" in body for body in bodies] == [True, False, False]
    (tool,) = bodies[1]["tools"]
    schema = bodies[0]["response_format"]["json_schema"]["schema"]
    asked = {"name": "answer", "description": "Give the answer.", "parameters": schema}
    assert {**tool["function"], **asked} == tool["function"] and bodies[1]["tools"] == bodies[2]["tools"]
    assert bodies[1]["tool_choice"]["function"]["name"] == "answer"


@pytest.mark.parametrize(
    "words",
    [
        "The compiled grammar is too large, which would cause performance issues.",
        "Schema is too complex.",
        "The schema of the answer is too large.",
        "grammar: too complex",
        "The grammar would become too big",
        "The specified schema produces a constraint that has too many states for serving.  Typical causes …",
        "Schemas contains too many optional parameters (26), which would make grammar compilation inefficient.",
        "Schemas contains too many parameters with union types (17 parameters with type arrays or anyOf).",
    ],
)
def test_a_schema_is_too_large_in_every_services_words(words: str) -> None:
    refusal = Answer(400, body=json.dumps({"error": {"message": words}}).encode())
    with (
        ScriptedServer([refusal, said(None, "tool_calls", tool_calls=[FORCED])]) as server,
        Client("openai-chat:m", api_key="k", base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        assert client.chat("hi", output=Person).output == Person("Ada", 36)


def asked_twice(colour: str, url: str, stream: bool) -> list[Any]:
    settings: dict[str, Any] = {"base_url": url, "api_key": "k", "retry": Retry(attempts=1)}
    if colour == "sync":
        with Client("openai-chat:m", **settings) as client:
            if not stream:
                return [client.chat("hi", output=Person) for _ in range(2)]
            return [client.stream("hi", output=Person).collect() for _ in range(2)]

    async def run() -> list[Any]:
        async with AsyncClient("openai-chat:m", **settings) as client:
            if not stream:
                return [await client.chat("hi", output=Person) for _ in range(2)]
            return [await client.stream("hi", output=Person).collect() for _ in range(2)]

    return asyncio.run(run())


def test_an_answer_beside_the_forced_tool_is_read_as_any_other() -> None:
    call = named(FORCED, "weather", id="c2")
    answers = [said('{"name": "Ada", "age": 36}'), said(None, "tool_calls", tool_calls=[call])]
    for answer, output in zip(answers, (Person("Ada", 36), None), strict=True):
        with ScriptedServer([TOO_LARGE, answer]) as server:
            args = {"output": Person, "tools": [weather]}
            response = ask("sync", server.url, stream=False, args=args).response
        assert response.output == output and len(response.tool_calls) == (output is None)


def test_only_the_type_and_model_of_a_refused_schema_go_by_a_forced_tool() -> None:
    forced, person = said(None, "tool_calls", tool_calls=[FORCED]), said('{"name": "Ada", "age": 36}')
    with (
        ScriptedServer([TOO_LARGE, forced, said('{"response": 5}'), person, forced]) as server,
        Client("openai-chat:m", api_key="k", base_url=server.url) as client,
    ):
        assert client.chat("hi", output=Person).output == Person("Ada", 36)
        assert client.chat("hi", output=int).output == 5
        for model in ("openai-chat:n", "openai-chat:m"):
            assert client.chat("hi", output=Person, model=model).output == Person("Ada", 36)
    bodies = [request.json() for request in server.requests]
    assert ["response_format" in body for body in bodies] == [True, False, True, True, False]


def test_another_refusal_of_a_schema_is_raised() -> None:
    wrong = Answer(400, body=b'{"error": {"message": "no such field", "code": "invalid"}}')
    with ScriptedServer([wrong]) as server, pytest.raises(Exception, match="no such field"):
        ask("sync", server.url, stream=True, args={"output": Person})
    with ScriptedServer([TOO_LARGE, TOO_LARGE]) as server, pytest.raises(Exception, match="too large"):
        ask("sync", server.url, stream=False, args={"output": Person})
    assert len(server.requests) == 2


def test_a_forced_tool_stands_beside_the_callers_own() -> None:
    other = Tool("other", "", {"type": "object"})
    with ScriptedServer([TOO_LARGE, said(None, "tool_calls", tool_calls=[FORCED])]) as server:
        response = ask("sync", server.url, stream=False, args={"output": Person, "tools": [other]}).response
    assert response.output == Person("Ada", 36)
    body = server.requests[1].json()
    assert body["tool_choice"] == "required" and len(body["tools"]) == 2


def test_prose_beside_a_forced_answer_is_dropped_and_reasoning_kept() -> None:
    forced = said("Here it is:", "tool_calls", tool_calls=[FORCED], reasoning_content="Who?")
    with ScriptedServer([TOO_LARGE, forced]) as server:
        response = ask("sync", server.url, stream=False, args={"output": Person}, model="custom:m").response
    assert response.output == Person("Ada", 36) and response.finish_reason == "stop"
    assert (response.reasoning, json.loads(response.text)) == ("Who?", {"name": "Ada", "age": 36})


def test_a_tool_of_the_forced_ones_name_is_another() -> None:
    taken = Tool("answer", "", {"type": "object"})
    forced = said(None, "tool_calls", tool_calls=[named(FORCED, "answer_2")])
    with ScriptedServer([TOO_LARGE, forced, said(None, "tool_calls", tool_calls=[FORCED])]) as server:
        args = {"output": Person, "tools": [taken, weather]}
        response = ask("sync", server.url, stream=False, args=args).response
        other = ask("sync", server.url, stream=False, args=args)
    assert response.output == Person("Ada", 36)
    tools = server.requests[1].json()["tools"]
    assert [each["function"]["name"] for each in tools] == ["answer", "weather", "answer_2"]
    assert other.response.tool_calls[0].name == "answer" and other.response.output is None


def named(call: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    return {**call, **more, "function": {**call["function"], "name": name}}


@pytest.mark.parametrize("first", [0, 1])
def test_a_forced_answer_beside_calls_waits_for_their_results(first: int) -> None:
    call = {"id": "c2", "index": 1, "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    both = (
        [FORCED, call] if first == 0 else [named(call, "weather", index=0), named(FORCED, "answer", index=1)]
    )
    answers = [
        TOO_LARGE,
        streamed(None, "tool_calls", tool_calls=both),
        streamed(None, "tool_calls", tool_calls=[FORCED]),
    ]
    with (
        ScriptedServer(answers) as server,
        Client("openai-chat:m", base_url=server.url, api_key="k", retry=Retry(attempts=1)) as client,
    ):
        run = client.run("hi", tools=[weather], output=Person)
        assert run.result().output == Person("Ada", 36)
    assert [call.name for message in run.messages for call in message.tool_calls] == ["weather"]
    assert "There is no tool" not in str(run.messages)


@pytest.mark.parametrize(
    "text",
    [
        'Sure! Here it is:\n```json\n{"name": "Ada", "age": 36}\n```\nAnything else?',
        'The answer {as asked}: {"name": "Ada", "age": 36}.',
        '{"thought": 1} and then {"name": "Ada", "age": 36}',
        '```\n{"name": "Ada", "age": 36}```',
        '[NaN] is no JSON, {"name": "Ada", "age": 36} is',
        '<think>maybe {"name": "wrong", "age": 1}?</think>{"name": "Ada", "age": 36}',
        '<think>[{"name": </think>\n{"name": "Ada", "age": 36}',
        'maybe {"name": "wrong", "age": 1}?</think> It is {"name": "Ada", "age": 36}',
        'First {"name": "draft", "age": 1}, now corrected: {"name": "Ada", "age": 36} [1]',
        '{"name": "wrong", "age": 1}\n```json\n{"name": "Ada", "age": 36}\n```\nSee [{"name": "x", "age": 1}].',
        '```json\n{"name": "Ada", "age": 36}\n```\nNot {"name": "x",',
        '{"name": "x",\n```json\n{"name": "Ada", "age": 36}\n```',
        'See {x: {"name": "wrong", "age": 1}} and {"name": "Ada", "age": 36}. {',
    ],
)
def test_prose_and_fences_are_read_without_a_repair(text: str) -> None:
    """B.6, first half."""
    with served(text) as server:
        assert ask("sync", server.url, stream=False, args={"output": Person}).response.output == Person(
            "Ada", 36
        )


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ada", "age": "old"}',
        'Sure! {"name": "Ada", "age": "old"}',
        'First {"name": 1, "age": 2}, now corrected: {"name": "Ada", "age": "old"}',
        '{"name": 1, "age": 2}\n```json\n{"name": "Ada", "age": "old"}\n```\nSee {"name": 2}.',
        '<think>{"name": 1}</think>{"name": "Ada", "age": "old"}',
    ],
)
def test_the_problems_are_those_of_what_was_meant_as_the_answer(text: str) -> None:
    with served(text) as server, pytest.raises(OutputInvalid) as caught:
        ask("sync", server.url, stream=False, args={"output": Person, "retry": Retry(1, repairs=0)})
    assert [(each.path, each.message) for each in caught.value.problems] == [
        ("age", 'must be an integer, not "old"')
    ]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_wrong_answer_is_repaired_once_and_everything_counts(colour: str) -> None:
    """B.6."""
    with served("I would say Ada.", '{"name": "Ada", "age": 36}') as server:
        response = ask(colour, server.url, stream=False, args={"output": Person}).response
    assert response.output == Person("Ada", 36)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (20, 4)
    assert response.usage.complete
    (bad,) = response.attempts
    assert "no whole JSON" in bad.error and bad.usage is None
    with served("no", "no", "no") as server, pytest.raises(OutputInvalid) as caught:
        ask(colour, server.url, stream=False, args={"output": Person})
    assert len(server.requests) == 2
    assert caught.value.problems[0].message == "there is no whole JSON in the answer"
    assert caught.value.partial is not None and caught.value.partial.usage.input_tokens == 20
    assert len(caught.value.attempts) == 1


def test_a_repair_carries_only_the_last_bad_answer() -> None:
    """B.7."""
    answers = [json.dumps({"name": "x" * 1000, "age": f"bad {i}"}) for i in range(4)]
    with served(*answers, '{"name": "Ada", "age": 36}') as server:
        retry = Retry(attempts=1, repairs=4)
        args = {"output": Person, "retry": retry, "system": "Be brief."}
        response = ask("sync", server.url, stream=False, args=args).response
    assert response.output == Person("Ada", 36) and response.usage.input_tokens == 50
    sizes = [len(request.body) for request in server.requests]
    assert max(sizes[1:]) - min(sizes[1:]) < 50
    roles = [[m["role"] for m in request.json()["messages"]] for request in server.requests]
    assert roles == [["system", "user"], *[["system", "user", "assistant", "user"]] * 4]
    assert "bad 3" in str(server.requests[4].json()) and "bad 2" not in str(server.requests[4].json())
    assert server.requests[4].json()["messages"][-1]["content"] == (
        "Your answer does not have the form that was asked for:\n"
        '- age: must be an integer, not "bad 3"\n'
        "Give the whole answer again, corrected, as JSON only."
    )


def test_same_shaped_dataclasses_are_chosen_by_tag() -> None:
    """B.8."""
    dog, bird = ({"kind": kind, "name": "x"} for kind in ("Dog", "Bird"))
    with served(json.dumps({"response": bird}), json.dumps({"response": dog})) as server:
        response = ask("sync", server.url, stream=False, args={"output": Cat | Dog}).response
    assert response.output == Dog("x")
    assert 'kind: must be "Cat" or "Dog", not "Bird"' in server.requests[1].json()["messages"][-1]["content"]


SHAPE = '{"color": "red", "size": 12.75, "kind": "small"}'


@dataclass
class Node:
    name: str
    kids: list[Node]


class Loose(TypedDict, total=False):
    name: str


FENCE = "```json\n{}\n```"
MANY = " ".join(f'{{"a": {n}}}' for n in range(40))  # of which the last 32 are looked at
# a text that is no JSON as a whole: what of it may be the answer, the likeliest first
FOUND: dict[str, tuple[str, list[Any]]] = {
    "none": ("no", []),
    "two": ('{"a": 1} and {"b": 2}', [{"b": 2}, {"a": 1}]),
    "braces of prose before one": ('{"x"} {"a": 1}', [{"a": 1}]),
    "a broken one after one": ('{"a": 1} then {"b": ', []),
    "a part of a broken one": ('{"a": 1} {"b": , {"c": 3}', []),
    "a fence before prose": ('{"a": 1} ' + FENCE.format('{"b": 2}'), [{"b": 2}, {"a": 1}]),
    "two fences": (FENCE.format('{"a": 1}') + FENCE.format('{"b": 2}'), [{"b": 2}, {"a": 1}]),
    "a broken fence after one": (FENCE.format('{"a": 1}') + FENCE.format('{"b": '), []),
    "a broken fence after prose": ('{"a": 1} ' + FENCE.format('{"b": '), []),
    "broken prose after a fence": (FENCE.format('{"a": 1}') + ' then {"b": ', [{"a": 1}]),
    "broken prose before a fence": ('{"b": 1 ' + FENCE.format('{"a": 1}'), [{"a": 1}]),
    "many in prose": (MANY, [{"a": n} for n in range(39, 7, -1)]),
    "many in a fence": (FENCE.format(MANY), [{"a": n} for n in range(39, 7, -1)]),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_of_a_text_may_be_the_answer(name: str) -> None:
    text, values = FOUND[name]
    assert list(_json_in(text)) == values


# A type, and an answer of which only a part is of it: what is broken, or only thought of, is no answer.
FRAGMENTS: tuple[tuple[Any, str], ...] = (
    (Node, '{"name":"a","kids":[{"name":"b","kids":[]}'),
    (Node, '{name: "a", kids: [{"name":"b","kids":[]}]}'),
    (Node, "{'name': 'a', 'kids': [{\"name\":\"b\",\"kids\":[]}"),
    (Node, 'Sure: {"name":"a","kids":[{"name":"b","kids":[]},]}'),
    (Node, 'Draft {"name":"b","kids":[]}. Final: {"name":"a","kids":[,'),
    (Node, 'Draft {"name":"b","kids":[]}. Final: {"name":"a","kids":[],}'),
    (Node, '```json\n{"name":"a","kids":[{"name":"b","kids":[]}\n```'),
    (Node, 'Draft {"name":"b","kids":[]}.\n```\n{"name":"a","kids":[,\n```'),
    (Node, '```\n{"name":"b","kids":[]}\n```\nFinal:\n```\n{"name":"a","kids":[,\n```'),
    (Node, 'Draft {"name":"b","kids":[]}.\n```\nlook()\n```\nFinal: {"name":"a","kids":[,'),
    (Node, '<think>{"name":"b","kids":[]}</think>'),
    (Node, '<think>{"name":"b","kids":[]}'),
    (dict[str, Any], '{"a": 1, "b": {"c":2}'),
    (list[Any], '{"response":[1,[2,3],4'),
    (Loose, '{"name": "a", "other": {}'),
    (Any, '[{"a": 1}, {"b": "]}'),
    (Node, '{"name": "' + "[" * 1500 + '", "kids": ' + "[" * 1500),
)


@pytest.mark.parametrize(("hint", "text"), FRAGMENTS, ids=lambda each: str(each)[:40])
def test_a_part_of_a_broken_answer_is_none(hint: Any, text: str) -> None:
    with served(text) as server, pytest.raises(OutputInvalid, match="there is no whole JSON"):
        ask("sync", server.url, stream=False, args={"output": hint, "retry": Retry(attempts=1, repairs=0)})
    with served(text, stream=True) as server, pytest.raises(OutputInvalid):
        ask("sync", server.url, args={"output": hint})


@pytest.mark.parametrize("colour", COLOURS)
def test_what_other_tools_are_given_is_no_part_of_the_answer(colour: str) -> None:
    """Only the deltas of the text count, or of the forced tool's arguments."""
    call = {"id": "c1", "index": 0, "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    with ScriptedServer([streamed(None, "tool_calls", tool_calls=[call])]) as server:
        assert partials(colour, server.url, Person, tools=[weather]) == [None]
    with ScriptedServer([TOO_LARGE, streamed(None, "tool_calls", tool_calls=[FORCED])]) as server:
        values = partials(colour, server.url, Person, tools=[weather])
    assert values == [{"name": "Ada", "age": 36}, Person("Ada", 36)]


@pytest.mark.parametrize("colour", COLOURS)
def test_partials_never_show_half_of_something(colour: str) -> None:
    """B.9."""
    pieces = [chunk({"content": letter}) for letter in SHAPE]
    body = [sse(*pieces, chunk({}, "stop", usage=USAGE))]
    with ScriptedServer([Answer(body=body)]) as server:
        values = partials(colour, server.url, Shape)
    assert values[-1] == Shape(Color.RED, 12.75, "small")
    assert values[:-1] == [
        {},
        {"color": "red"},
        {"color": "red", "size": 12.75},
        {"color": "red", "size": 12.75, "kind": "small"},
    ]


def partials(colour: str, url: str, hint: Any, **args: Any) -> list[Any]:
    if colour == "sync":
        with Client("openai-chat:m", base_url=url, api_key="k") as client:
            return list(client.stream("hi", output=hint, **args).partial_output())

    async def run() -> list[Any]:
        async with AsyncClient("openai-chat:m", base_url=url, api_key="k") as client:
            return [value async for value in client.stream("hi", output=hint, **args).partial_output()]

    return asyncio.run(run())


def test_partials_are_of_typed_streams_only() -> None:
    with (
        Client("openai-chat:m", api_key="k") as client,
        pytest.raises(TypeError, match="needs a stream with output"),
    ):
        next(client.stream("hi").partial_output())


def test_aliases_validators_and_renames_hold() -> None:
    """B.10; that Pydantic is never imported for others' types is the next test."""
    pydantic = pytest.importorskip("pydantic")

    class Account(pydantic.BaseModel):
        number: int = pydantic.Field(alias="accountNumber", gt=0)
        note: str = "none"

        @pydantic.field_validator("number")
        @classmethod
        def even(cls, number: int) -> int:
            if number % 2:
                raise ValueError("must be even")
            return number

    class Renamed(msgspec.Struct, rename="camel"):
        first_name: str

    with served('{"accountNumber": 3, "note": null}', '{"accountNumber": 4, "note": null}') as server:
        response = ask("sync", server.url, stream=False, args={"output": Account}).response
    assert response.output == Account(accountNumber=4)
    assert "accountNumber: Value error, must be even" in server.requests[1].json()["messages"][-1]["content"]
    with served('{"firstName": "Ada"}') as server:
        made = ask("sync", server.url, stream=False, args={"output": Renamed}).response.output
    assert made == Renamed("Ada")


def test_pydantic_is_not_imported_for_others_types() -> None:
    """B.10; and nothing of this is imported with the package."""
    script = (
        "import sys, dataclasses; from brainwires_provider import Client\n"
        "print([n for n in sys.modules if n.startswith('brainwires_provider.types.') and n.endswith('d')])\n"
        "c = Client('openai-chat:m', api_key='k')\n"
        "@dataclasses.dataclass\nclass A:\n    x: 'list[int]'\n"
        "c.prepare('hi', output=A); c.close(); print('pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["['brainwires_provider.types.checked']", "False"]


def test_tool_calls_have_no_output() -> None:
    call = {"id": "c1", "index": 0, "function": {"name": "other", "arguments": "{}"}}
    other = Tool("other", "", {"type": "object"})
    with served(said(None, "tool_calls", tool_calls=[call])) as server:
        response = ask("sync", server.url, stream=False, args={"output": Person, "tools": [other]}).response
    assert response.output is None and response.tool_calls


@pytest.mark.parametrize("colour", COLOURS)
def test_a_stream_is_validated_at_its_end(colour: str) -> None:
    with served("no", stream=True) as server, pytest.raises(OutputInvalid) as caught:
        ask(colour, server.url, args={"output": Person})
    assert caught.value.partial is not None and caught.value.partial.text == "no"


@pytest.mark.parametrize("colour", COLOURS)
def test_iterating_alone_raises_at_the_end_of_an_answer_of_another_type(colour: str) -> None:
    make = COLOURS[colour][0]
    events: list[Any] = []

    async def read(stream: Any) -> None:
        async for event in stream:
            events.append(event)

    for text in ("no", '{"response": 5}'):
        with served(text, stream=True) as server:
            client = make("openai-chat:m", base_url=server.url, api_key="k")
            stream = client.stream("hi", output=int)
            with pytest.raises(OutputInvalid) if text == "no" else nullcontext():
                _ = asyncio.run(read(stream)) if colour == "async" else [events.append(e) for e in stream]
    assert [type(each) for each in events].count(ResponseEnd) == 2


def test_a_conversation_has_typed_turns_and_no_bad_answers() -> None:
    answers = ("no", '{"response": 5}', '{"response": 6}', '{"response": "x"}', "no")
    with served(*answers) as server, Client("openai-chat:m", base_url=server.url, api_key="k") as client:
        talk = client.conversation(output=int)
        assert talk.chat("one").output == 5
        assert talk.chat("two").output == 6
        with pytest.raises(OutputInvalid):
            talk.chat("three")
    assert [m.text for m in talk.messages] == ["one", '{"response": 5}', "two", '{"response": 6}']


def test_a_fallback_answers_with_the_type() -> None:
    with served(Answer(500), '{"response": 5}') as server:
        args = {"output": int, "fallback": [Fallback("openai-chat:other")]}
        response = ask("sync", server.url, stream=False, args=args).response
    assert response.output == 5 and server.requests[1].json()["model"] == "other"


@pytest.mark.parametrize("how", ["chat", "run"])
def test_a_wrong_answer_of_a_call_to_several_models_names_its_model(how: str) -> None:
    whole = Answer(body=cast(bytes, said("no").body).replace(b"gpt-4o", b"m-1"))
    wrong = streamed("no") if how == "run" else whole
    with (
        ScriptedServer([Answer(500), wrong, Answer(500), said('{"response": 5}')]) as server,
        Client("openai-chat:m", base_url=server.url, api_key="k", retry=Retry(1)) as client,
    ):
        args: dict[str, Any] = {"output": int, "fallback": ["openai-chat:m-1"]}
        if how == "chat":
            response: Any = client.chat("Hi", **args)
        else:
            run = client.run("Hi", **args)
            restart = next(each for each in run if isinstance(each, ResponseRestart))
            assert restart.attempt.model == "openai-chat:m-1"
            response = run.result()
    asked = [request.json()["model"] for request in server.requests]

    assert response.output == 5 and asked == ["m", "m-1", "m", "m-1"]
    assert [each.model for each in response.attempts] == [f"openai-chat:{name}" for name in asked[:3]]


SEVERAL = ("openai-chat:m-1", "groq:m", "groq:m-large")
# The other models, that of a hedge, what the answer says of itself, and the name that its model was asked by.
NAMES: list[tuple[tuple[str, ...], Hedge | None, tuple[str, str | None], str | None]] = [
    ((), None, ("openai-chat", "m"), None),
    ((), Hedge(1), ("openai-chat", "m-2024"), "openai-chat:m"),
    ((), Hedge(1, model="anthropic:c"), ("anthropic", "c-1"), "anthropic:c"),
    (SEVERAL, None, ("openai-chat", "m-2024"), "openai-chat:m"),
    (SEVERAL, None, ("openai-chat", "m-1-2024"), "openai-chat:m-1"),
    (SEVERAL, None, ("groq", "m-2024"), "groq:m"),
    (SEVERAL, None, ("groq", "m-large-2"), "groq:m-large"),
    (SEVERAL, None, ("groq", "another"), "groq:m-large"),
    (SEVERAL, None, ("groq", None), "groq:m-large"),
    (SEVERAL, None, ("cohere", "x"), "cohere:x"),
]


@pytest.mark.parametrize(("others", "hedge", "said_of_itself", "name"), NAMES)
def test_of_several_models_the_one_that_answered_is_named_as_it_was_asked(
    others: tuple[str, ...], hedge: Hedge | None, said_of_itself: tuple[str, str | None], name: str | None
) -> None:
    session: Any = AsyncClient("openai-chat:m", api_key="k")._session
    planned = session.plan("hi", {}, stream=False)
    plan = replace(planned, others=tuple(map(Fallback, others)), hedge=hedge)
    provider, model = said_of_itself
    answer = replace(planned.target.protocol.decoder(planned.target.origin).partial(), provider=provider)
    assert _answering(plan, replace(answer, model=model)) == name


def test_counting_takes_a_type() -> None:
    with (
        ScriptedServer([Answer(body=b'{"input_tokens": 9}')]) as server,
        Client("anthropic:claude-sonnet-4-5", base_url=server.url, api_key="k") as client,
    ):
        assert client.count_tokens("hi", output=Person).input_tokens == 9
    assert b"age" in server.requests[0].body


WRONG: tuple[tuple[Any, str], ...] = (
    ("jsn", "output takes a JSONSchema or a type"),
    (5, "output: 5 has no form|output: 5: 5 has no form"),
    (complex, "output: complex: complex has no form"),
)


@pytest.mark.parametrize(("output", "words"), WRONG, ids=lambda each: str(each)[:20])
def test_a_wrong_output_is_refused_before_anything_is_sent(output: Any, words: str) -> None:
    with Client("openai-chat:m", api_key="k") as client, pytest.raises(TypeError, match=words):
        client.chat("hi", output=output)


def test_open_objects_are_not_strict() -> None:
    with Client("openai-chat:m", api_key="k") as client:
        bodies = [
            json.loads(client.prepare("hi", output=hint).body) for hint in (dict[str, int], list[Any], Person)
        ]
    assert ["strict" in body["response_format"]["json_schema"] for body in bodies] == [False, False, True]


TEXT: dict[str, Any] = {"type": "string"}
EXACT: dict[str, Any] = {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False}
VALUES = ("default", "enum", "const", "examples")
# a schema, and whether objects of any members are in it
OPEN: dict[str, tuple[Any, bool]] = {
    "anything": ({}, True),
    "text": (TEXT, False),
    "an object": ({"type": "object"}, True),
    "an object without members": ({"type": "object", "properties": {}}, True),
    "an object of these members": (EXACT, False),
    "an object of these members at least": (EXACT | {"additionalProperties": True}, True),
    "an object of these members, and of text": (EXACT | {"additionalProperties": TEXT}, True),
    "a list of anything": ({"type": "array", "items": {}}, True),
    "a list of text": ({"type": "array", "items": TEXT}, False),
    "text or anything": ({"anyOf": [TEXT, {}]}, True),
    "text or a number": ({"anyOf": [TEXT, {"type": "integer"}]}, False),
    **{f"a value, {word}": (TEXT | {word: [{}]}, False) for word in VALUES},
    **{
        f"{'anything' if is_any else 'text'} by the name of {word} in {place}": (
            EXACT | {place: {word: {} if is_any else TEXT}},
            is_any,
        )
        for word in VALUES
        for place in ("properties", "$defs")
        for is_any in (False, True)
    },
}


@pytest.mark.parametrize("name", OPEN)
def test_in_which_schemas_objects_are_open(name: str) -> None:
    schema, expected = OPEN[name]
    assert is_open(schema) is expected


def test_costs_of_repairs_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server on loopback has the prices of OpenAI's address."""
    monkeypatch.setattr(
        prices, "service_at", lambda _, real=prices.service_at: real("https://api.openai.com/v1")
    )
    with served("no", '{"response": 5}', '{"response": 5}') as server:
        settings = {"model": "openai-chat:gpt-4o", "prices": True}
        repaired = ask("sync", server.url, stream=False, args={"output": int}, **settings).response.cost
        once = ask("sync", server.url, stream=False, args={"output": int}, **settings).response.cost
    assert repaired is not None and once is not None
    assert repaired.usd == 2 * once.usd > Decimal(0)


@pytest.mark.parametrize("way", ["chat", "run"])
def test_the_total_timeout_holds_for_an_answer_with_its_repairs(way: str) -> None:
    """A slow server: each answer is in time, all of them are not."""

    def slow(request: Any) -> Answer:
        body = (streamed if request.json().get("stream") else said)("no").body
        return Answer(body=[Wait(0.2), *([body] if isinstance(body, bytes) else body)])  # type: ignore[misc]

    settings: dict[str, Any] = {"api_key": "k", "retry": Retry(attempts=1, repairs=9)}
    with (
        ScriptedServer(slow) as server,
        Client("openai-chat:m", base_url=server.url, **settings) as client,
    ):
        begun = monotonic()
        with pytest.raises((OutputInvalid, RequestTimeout)) as caught:
            args: Any = {"output": int, "timeouts": Timeouts(total=0.5)}
            _ = client.chat("hi", **args) if way == "chat" else client.run("hi", **args).result()
        assert monotonic() - begun < 0.7 and 2 <= len(server.requests) <= 3
    assert len(caught.value.attempts) >= 1


def test_without_time_for_it_no_repair_is_asked_for() -> None:
    """An answer that comes at the end of the call's time."""
    transport = FakeProvider(lambda _: Answer(body=[Wait(0.9997), said("no").body]))  # type: ignore[list-item]

    async def main() -> None:
        async with AsyncClient("openai-chat:m", api_key="k", transport=transport) as client:
            with pytest.raises(OutputInvalid):
                await client.chat("hi", output=int, timeouts=Timeouts(total=1))

    virtually(main())
    assert len(transport.requests) == 1


# name: the answer, and the error of it
FAILURES: dict[str, tuple[Answer, type[OutputError], str]] = {
    "refused": (said(None, refusal="No."), OutputRefused, "the model refused to answer: No."),
    "refused, without words": (said("", "content_filter"), OutputRefused, "the model refused to answer"),
    "cut off": (
        said("4", "length"),
        OutputTruncated,
        "the answer was cut off by the token limit: raise max_tokens",
    ),
    "of another type": (
        said("no"),
        OutputInvalid,
        "the answer is not of the type int:\n- there is no whole JSON in the answer",
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", FAILURES)
def test_the_error_of_an_answer_tells_where_it_came_from(name: str, stream: bool) -> None:
    """The second attempt's answer: the first is among the attempts."""
    answer, kind, words = FAILURES[name]
    second = Answer(headers={"x-request-id": "r-2", "content-type": "application/json"}, body=answer.body)
    with (
        ScriptedServer([Answer(500, {"x-request-id": "r-1"}), second]) as server,
        pytest.raises(kind) as caught,
    ):
        settings: dict[str, Any] = {"retry": Retry(2, base=0.001, repairs=0)}
        ask("sync", server.url, stream=stream, args={"output": int}, **settings)
    error = caught.value
    assert error.message == words
    assert (error.provider, error.model, error.request_id) == ("openai-chat", "gpt-4o", "r-2")
    assert [(each.status, each.request_id) for each in error.attempts] == [(500, "r-1")]
    assert error.partial is not None and error.partial.request_id == "r-2"
    assert [each.path for each in getattr(error, "problems", ())] == ([""] if kind is OutputInvalid else [])


def test_wrong_answers_are_among_the_attempts_with_all_that_is_known_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After each one's own attempts; what they used is in the answer's usage, or where there is none, beside them."""
    monkeypatch.setattr(
        prices, "service_at", lambda _, real=prices.service_at: real("https://api.openai.com/v1")
    )
    wrong = [Answer(headers={"x-request-id": f"r-{n}"}, body=said("no").body) for n in (2, 3)]
    retry = Retry(2, base=0.001, repairs=2)
    settings: dict[str, Any] = {"model": "openai-chat:gpt-4o", "prices": True, "retry": retry}
    outcomes = []
    for last in (said('{"response": 5}'), Answer(401, {"x-request-id": "r-4"}, b"{}")):
        with ScriptedServer([Answer(500, {"x-request-id": "r-1"}), *wrong, last]) as server:
            try:
                outcomes.append(
                    ask("sync", server.url, stream=False, args={"output": int}, **settings).response
                )
            except AuthenticationError as error:
                outcomes.append(error)
    for outcome in outcomes:
        known = [(each.request_id, each.status, each.model) for each in outcome.attempts]
        assert known[:3] == [("r-1", 500, None), ("r-2", None, None), ("r-3", None, None)]
        assert len(known) == 3 + (outcome is outcomes[1])
    answered, failed = outcomes
    assert all(each.usage is each.cost is None for each in answered.attempts)
    assert [each.usage and each.usage.input_tokens for each in failed.attempts] == [None, 10, 10, None]
    costs = [each.cost for each in failed.attempts]
    assert costs[2] is not None and costs[0] is costs[1] is costs[3] is None


@pytest.mark.parametrize("colour", COLOURS)
def test_what_a_wrong_answer_has_used_is_on_the_error_of_its_repair(colour: str) -> None:
    with served("no", Answer(401, body=b"{}")) as server, pytest.raises(AuthenticationError) as caught:
        ask(colour, server.url, stream=False, args={"output": int})
    first, second = caught.value.attempts
    assert "no whole JSON" in first.error and first.usage is not None and first.usage.input_tokens == 10
    assert second.status == 401 and second.usage is None


def weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


@pytest.mark.parametrize("colour", COLOURS)
def test_a_run_ends_with_its_type_after_tools_and_a_repair(colour: str) -> None:
    call = {"id": "c1", "index": 0, "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    answers = (streamed(None, "tool_calls", tool_calls=[call]), streamed("no"), said('{"response": 20}'))
    settings: dict[str, Any] = {"api_key": "k", "retry": Retry(attempts=1)}
    with ScriptedServer(list(answers)) as server:
        if colour == "sync":
            with Client("openai-chat:m", base_url=server.url, **settings) as client:
                run: Any = client.run("How warm is it?", tools=[weather], output=int)
                response: Any = run.result()
        else:

            async def main() -> Any:
                async with AsyncClient("openai-chat:m", base_url=server.url, **settings) as client:
                    made = client.run("How warm is it?", tools=[weather], output=int)
                    return made, await made.result()

            run, response = asyncio.run(main())
    assert response.output == 20 and run.why == "answer"
    assert [m.role for m in run.messages] == ["user", "assistant", "tool", "assistant"]
    assert run.usage.input_tokens == 30 and len(run.attempts) == 1
    with (
        ScriptedServer(list(answers)) as server,
        Client("openai-chat:m", base_url=server.url, **settings) as client,
    ):
        events: list[Any] = list(client.run("How warm is it?", tools=[weather], output=int))
    again = next(index for index, event in enumerate(events) if isinstance(event, ResponseRestart))
    assert "no whole JSON" in events[again].attempt.error
    assert [type(event) for event in events[again:]] == [
        *(ResponseRestart, ResponseStart, PartStart, TextDelta, PartEnd, ResponseEnd, StepEnd)
    ]
    assert collect(events[again:-1]).text == events[again + 3].text == '{"response": 20}'
    with (
        served("no", stream=True) as server,
        Client("openai-chat:m", base_url=server.url, **settings) as client,
        pytest.raises(OutputInvalid),
    ):
        client.run("hi", output=int, retry=Retry(repairs=0)).result()


def test_a_dialect_without_maps_has_them_in_words() -> None:
    """Closed, as Claude's grammar wants every object, a map would always be empty."""
    with Client("anthropic:claude-sonnet-4-5", api_key="k") as client:
        prepared = client.prepare("hi", output=dict[str, int])
        native = client.prepare("hi", output=Person)
    assert (
        "output_config" not in json.loads(prepared.body) and "additionalProperties" in prepared.body.decode()
    )
    assert [d.outcome for d in prepared.report.deviations if d.field == "output"] == ["emulated"]
    assert "output_config" in json.loads(native.body)
