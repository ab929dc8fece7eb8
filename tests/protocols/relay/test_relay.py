"""The Brainwires relay beyond the fixtures: a service that behaves as the crate's code expects it, keys and hosts.

What a request is encoded to, and how each event is decoded, stands in `fixtures/relay`; faults in test_faults_relay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider import (
    APIError,
    AsyncClient,
    AuthenticationError,
    Client,
    ConfigError,
    ConnectError,
    ImagePart,
    InvalidRequestError,
    JSONSchema,
    Message,
    NotFoundError,
    Options,
    OverloadedError,
    ProviderConfig,
    ProviderError,
    RateLimitError,
    Request,
    Response,
    ServerError,
    TextDelta,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UnsupportedError,
)
from brainwires_provider.errors import ProtocolError, StreamInterrupted
from brainwires_provider.events import collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.bodies import feed_rest
from brainwires_provider.protocols.relay import BrainwiresOptions, BrainwiresRelay, RelayDecoder, RelayQuirks
from brainwires_provider.protocols.relay.errors import error_in_stream
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, split
from brainwires_provider.types import Origin
from colours import COLOURS

BOTH = pytest.mark.parametrize("colour", COLOURS)
FORMS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
ORIGIN = Origin("relay", "brainwires", "m")
KEY = "bw_prod_planted"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
READ = Tool("read_file", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
FILES = {"x.ts": "let x = 1 // ☃", "y.ts": "let y = 2"}


def event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


# -- the service -------------------------------------------------------------------------------------------


class Studio:
    """The relay as the crate's code and its CLI's have it: what it takes, what it refuses, what it tells.

    A user's text that names files is answered by calls to read them; results by what they say; any other text by an
    echo. It holds its answers with calls, and goes on with one of them where `previousResponseId` says so.
    """

    FIELDS = frozenset(
        (
            "content",
            "model",
            "timezone",
            "conversationHistory",
            "functionCallOutput",
            "previousResponseId",
            "systemPrompt",
            "temperature",
            "selectedMCPTools",
            "chatId",
        )
    )

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}

    def __call__(self, request: RecordedRequest) -> Answer:
        assert (request.method, request.path) == ("POST", "/api/chat/stream")
        if request.header("authorization") != f"Bearer {KEY}":
            return Answer(401, body=b'{"error": "Invalid API key"}')
        body = request.json()
        assert body.keys() <= self.FIELDS, body.keys() - self.FIELDS
        assert isinstance(body["content"], str)
        assert isinstance(body["timezone"], str)
        told = b"".join(self.answer(body))
        return Answer(headers={"content-type": "text/event-stream"}, body=split(told, every=5))

    def answer(self, body: dict[str, Any]) -> Iterator[bytes]:
        said, fault = self.read(body)
        if fault:
            yield event("error", {"message": fault})
            return
        names = [name for name in FILES if name in body["content"]]
        chat = body.get("chatId", "chat-1")
        if names:
            yield from self.calls(names, chat)
            return
        yield event("title", {"title": "About files"})
        for word in (said or f"You said: {body['content']}").split(" "):
            yield event("delta", {"delta": f"{word} "})
        yield event("complete", {"usage": USAGE, "chatId": chat})

    def calls(self, names: list[str], chat: str) -> Iterator[bytes]:
        answer = f"resp-{len(self.held) + 1}"
        made = {f"call-{answer}-{n}": {"path": name} for n, name in enumerate(names)}
        self.held[answer] = made
        yield event("delta", {"delta": "I will look. "})
        for id, parameters in made.items():
            call = {"callId": id, "toolName": "read_file", "parameters": parameters, "server": "cli-local"}
            yield event("toolCall", {**call, "responseId": answer, "chatId": chat})
        yield event("complete", {"usage": USAGE})

    def read(self, body: dict[str, Any]) -> tuple[str, str]:
        """What the results say, if they are what is to be answered; and what is wrong."""
        open_calls: dict[str, str] = {}
        results: list[str] = []
        output = body.get("functionCallOutput")
        if output is not None:
            held = self.held.get(body.get("previousResponseId", ""), {})
            if output["call_id"] not in held:
                return "", "400 No tool call found for function call output"
            open_calls |= dict.fromkeys(held, "read_file")
        for entry in body.get("conversationHistory", ()):
            assert all(isinstance(value, str) for value in entry.values()), entry
            match entry["role"]:
                case "user" | "assistant":
                    assert entry.keys() == {"role", "content"}
                    results = []
                case "function_call":
                    json.loads(entry["arguments"])
                    open_calls[entry["call_id"]] = entry["name"]
                case "tool" if entry["call_id"] in open_calls:
                    del open_calls[entry["call_id"]]
                    results.append(entry["content"])
                case role:
                    return "", f"400 No tool call found for function call output, or no role: {role}"
        if output is not None:
            assert output["name"] == open_calls.pop(output["call_id"])
            results.append(output["output"])
        if open_calls:
            return "", f"400 No tool output found for function call {next(iter(open_calls))}"
        said = "" if body["content"] else f"They say: {' | '.join(results)}"
        return said, ""


@BOTH
@FORMS
def test_text(stream: bool, colour: str) -> None:
    make, run = COLOURS[colour]
    with ScriptedServer(Studio()) as server:
        client = make("brainwires:m", api_key=KEY, base_url=server.url)
        history = [Message.user("Hello"), Message.assistant("Hi"), Message.user("How are you? ☃")]
        outcome = run(client, history, stream=stream, system="Be brief.", temperature=0.5)

    response = outcome.response
    assert response.text == "You said: How are you? ☃ "
    assert response.extra == {"title": "About files", "chatId": "chat-1"}
    assert (response.finish_reason, response.usage.input_tokens, response.usage.total_tokens) == (
        "stop",
        9,
        13,
    )
    deltas = "".join(e.text for e in outcome.events if isinstance(e, TextDelta))
    assert not stream or deltas == response.text


def to_the_end(colour: str, url: str, question: str, *, stream: bool, **args: Any) -> list[Response]:
    """A question, and the rounds of calls and results that it takes."""
    make, run = COLOURS[colour]
    messages = [Message.user(question)]
    answers: list[Response] = []
    while not answers or answers[-1].tool_calls:
        client = make("brainwires:m", api_key=KEY, base_url=url)
        answer = run(client, messages, stream=stream, tools=[READ], **args).response
        results = [Message.tool_result(c, FILES[c.args()["path"]]) for c in answer.tool_calls]
        messages += [answer.message, *results]
        answers.append(answer)
    return answers


@BOTH
@FORMS
def test_two_calls_at_once_and_their_two_results(stream: bool, colour: str) -> None:
    """Both calls and the counts after them are read, and both results arrive."""
    with ScriptedServer(Studio()) as server:
        first, last = to_the_end(colour, server.url, "Read x.ts and y.ts", stream=stream)
        again = server.requests[1].json()

    assert [c.args() for c in first.tool_calls] == [{"path": "x.ts"}, {"path": "y.ts"}]
    assert (first.text, first.finish_reason, first.id) == ("I will look. ", "tool_calls", "resp-1")
    assert first.usage.total_tokens == 13
    assert last.text == f"They say: {FILES['x.ts']} | {FILES['y.ts']} "
    assert [entry["role"] for entry in again["conversationHistory"]] == [
        "user",
        "assistant",
        "function_call",
        "function_call",
        "tool",
        "tool",
    ]
    assert "previousResponseId" not in again
    assert again["chatId"] == "chat-1"
    (told,) = last.report.adapted
    assert (told.field, told.reason.split(":")[0]) == (
        "messages[2]",
        "functionCallOutput takes the result of an answer's only call",
    )


@BOTH
@FORMS
def test_one_call_goes_on_with_its_answer(stream: bool, colour: str) -> None:
    with ScriptedServer(Studio()) as server:
        first, last = to_the_end(colour, server.url, "Read x.ts", stream=stream)
        again = server.requests[1].json()

    (call,) = first.tool_calls
    assert last.text == f"They say: {FILES['x.ts']} "
    assert again["previousResponseId"] == first.id == "resp-1"
    assert again["functionCallOutput"] == {"call_id": call.id, "name": "read_file", "output": FILES["x.ts"]}
    assert again["conversationHistory"] == [{"role": "user", "content": "Read x.ts"}]
    assert last.report.deviations == ()


def test_one_call_without_state() -> None:
    """What the relay holds is not needed: the same answer comes from the history alone."""
    with ScriptedServer(Studio()) as server:
        own = BrainwiresOptions(previousResponseId=None)
        last = to_the_end("sync", server.url, "Read x.ts", stream=False, provider_options=own)[-1]
        again = server.requests[1].json()

    assert last.text == f"They say: {FILES['x.ts']} "
    assert again.keys().isdisjoint({"previousResponseId", "functionCallOutput"})


def test_a_transcript_goes_on_later() -> None:
    """With earlier rounds in it, both of one call and of two."""
    with (
        ScriptedServer(Studio()) as server,
        Client("brainwires:m", api_key=KEY, base_url=server.url) as client,
    ):
        talk = client.conversation(tools=[READ])
        for question in ("Read x.ts", "Read x.ts and y.ts", "Thanks"):
            answer = talk.chat(question)
            while answer.tool_calls:
                results = [ToolResultPart(c.call_id, (FILES[c.args()["path"]],)) for c in answer.tool_calls]  # type: ignore[arg-type]
                answer = talk.chat(Message("tool", tuple(results)))

    assert answer.text == "You said: Thanks "
    assert len(server.requests) == 5


@BOTH
@FORMS
def test_what_the_relay_refuses_in_its_stream(stream: bool, colour: str) -> None:
    """A result without its call is the caller's fault, and told as such."""
    make, run = COLOURS[colour]
    with ScriptedServer(Studio()) as server:
        client = make("brainwires:m", api_key=KEY, base_url=server.url)
        with pytest.raises(InvalidRequestError, match="No tool call found") as caught:
            run(client, [Message.tool_result("call-9", "x")], stream=stream)

    assert (caught.value.status, caught.value.provider_status) == (200, 400)
    assert caught.value.partial is not None


@BOTH
def test_an_image_is_refused_before_a_byte_leaves(colour: str) -> None:
    make, run = COLOURS[colour]
    with ScriptedServer(Studio()) as server:
        client = make("brainwires:m", api_key=KEY, base_url=server.url)
        with pytest.raises(UnsupportedError, match="the relay takes text and no media"):
            run(client, Message.user("What is this?", ImagePart(data=b"\x89PNG\r\n\x1a\n")))
        assert server.connections == 0


@BOTH
def test_strict_refuses_a_knob_that_it_cannot_take(colour: str) -> None:
    make, run = COLOURS[colour]
    with pytest.raises(UnsupportedError, match="max_tokens: this provider's API has no such option"):
        run(make("brainwires:m", api_key=KEY), "hi", max_tokens=5, strict=True)


# -- state goes back to whom it belongs ---------------------------------------------------------------------

HANDLES = {"previousResponseId": "resp-7", "chatId": "chat-7"}
OWNERS = {
    "nobody's": (None, True),
    "its own": (ORIGIN, True),
    "its own, from JSON": ({"protocol": "relay", "provider": "brainwires"}, True),
    "another relay's": (Origin("relay", "mine"), False),
    "another protocol's": ({"protocol": "openai_responses", "provider": "openai-responses"}, False),
}


@pytest.mark.parametrize("owner", OWNERS)
def test_handles_of_a_request_are_bound_to_their_origin(owner: str) -> None:
    origin, goes = OWNERS[owner]
    request = Request((Message.user("hi"),), "m", extra={**HANDLES, "origin": origin})
    call = BrainwiresRelay().encode(request, ORIGIN, stream=True)

    assert {name: call.body.get(name) for name in HANDLES} == (HANDLES if goes else dict.fromkeys(HANDLES))
    assert [d.field for d in call.deviations] == ([] if goes else [f"extra.{name}" for name in HANDLES])


@pytest.mark.parametrize(
    "extra", [None, {}, {"responseId": "", "chatId": ""}, {"responseId": 3, "chatId": 3}]
)
def test_a_call_that_names_no_answer_goes_in_the_history(extra: dict[str, Any] | None) -> None:
    call = ToolCallPart("c1", "f", "{}", extra=extra, origin=ORIGIN)
    body = encoded([Message.user("a"), Message("assistant", (call,)), Message.tool_result(call, "b")])
    assert [entry["role"] for entry in body["conversationHistory"]] == ["user", "function_call", "tool"]
    assert body.keys() == {"content", "model", "timezone", "conversationHistory"}


def test_a_quirk_is_the_zone_and_the_server_of_ones_own_relay() -> None:
    relay = BrainwiresRelay(RelayQuirks(timezone=None, server="mine"))
    body = relay.encode(Request((Message.user("hi"),), "m", tools=(READ,)), ORIGIN, stream=False).body

    assert "timezone" not in body
    assert body["selectedMCPTools"][0]["server"] == "mine"


MAYBE = "the relay cannot make a model call a tool: it may answer without"
NO_FIELD = "the relay has no such field"
ONLY = "only the tools that may be called are sent"


@pytest.mark.parametrize(
    ("choice", "report"),
    [
        (ToolChoice("auto"), []),
        (ToolChoice("none"), [("emulated", "no tools are sent")]),
        (ToolChoice("required"), [("dropped", MAYBE)]),
        (ToolChoice("auto", raw={"a": 1}), [("dropped", NO_FIELD)]),
        (ToolChoice("required", raw={"a": 1}), [("dropped", MAYBE)]),
        (
            ToolChoice.tool("read_file"),
            [("emulated", ONLY), ("dropped", MAYBE)],
        ),
        (ToolChoice.tool("f"), [("emulated", ONLY), ("dropped", MAYBE)]),
    ],
)
def test_there_is_no_tool_choice(choice: ToolChoice, report: list[tuple[str, str]]) -> None:
    request = Request((Message.user("hi"),), "m", tools=(READ,), tool_choice=choice)
    call = BrainwiresRelay().encode(request, ORIGIN, stream=True)
    assert [(d.field, d.outcome, d.reason) for d in call.deviations] == [
        ("tool_choice", *each) for each in report
    ]
    sent = choice.mode != "none" and choice.names != ("f",)
    assert [tool["name"] for tool in call.body.get("selectedMCPTools", ())] == ["read_file"] * sent
    assert "tool_choice" not in call.body


@pytest.mark.parametrize("strict", [None, True, False])
def test_a_tool_is_one_of_a_server(strict: bool | None) -> None:
    tool = Tool("f", "F.", {"a": 1}, strict=strict, extra={"b": 2})
    own = BrainwiresOptions(selectedMCPTools=({"name": "g"},))
    request = Request((Message.user("hi"),), "m", tools=(tool,), options=Options(provider_options=own))
    call = BrainwiresRelay().encode(request, ORIGIN, stream=True)
    wire = {"name": "f", "server": "cli-local", "description": "F.", "inputSchema": {"a": 1}, "b": 2}
    assert call.body["selectedMCPTools"] == [wire, {"name": "g"}]
    lost = [] if strict is None else [("tools[f].strict", "dropped", NO_FIELD)]
    assert [(d.field, d.outcome, d.reason) for d in call.deviations] == lost


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("json", "Answer with one JSON object and nothing else."),
        (
            JSONSchema("s", {"a": 1}),
            'Answer with one JSON object, s, that follows this JSON Schema:\n{"a":1}',
        ),
        (
            JSONSchema("s", {}, description="D"),
            "Answer with one JSON object, s (D), that follows this JSON Schema:\n{}",
        ),
    ],
)
@pytest.mark.parametrize("system", [None, "S"])
def test_a_form_of_an_answer_is_put_into_words(output: Any, words: str, system: str | None) -> None:
    request = Request((Message.user("hi"),), "m", system=system, output=output)
    call = BrainwiresRelay().encode(request, ORIGIN, stream=True)
    assert call.body["systemPrompt"] == (words if system is None else f"S\n\n{words}")
    reason = "the relay takes no form of an answer: it is put into words"
    assert [(d.field, d.outcome, d.reason) for d in call.deviations] == [("output", "emulated", reason)]


TEXTS = st.text(min_size=1, max_size=8).filter(str.strip)
ROUNDS = st.lists(st.tuples(TEXTS, st.integers(0, 3), st.lists(TEXTS, min_size=3, max_size=3)), max_size=4)


@given(ROUNDS, TEXTS)
@settings(max_examples=50, deadline=None)
def test_nothing_said_is_lost_and_a_longer_history_begins_as_the_shorter(rounds: Any, last: str) -> None:
    """Rounds of a question, some calls with their results, and an answer; then a question."""
    messages: list[Message] = []
    said: list[str] = []
    bodies = []
    for number, (question, calls, results) in enumerate(rounds):
        messages.append(Message.user(question))
        made = [ToolCallPart(f"c{number}.{n}", "f", "{}") for n in range(calls)]
        if made:
            messages.append(Message("assistant", tuple(made)))
            messages += [Message.tool_result(c, text) for c, text in zip(made, results, strict=False)]
        messages.append(Message.assistant("A"))
        said += [question, *("{}" for _ in made), *results[:calls], "A"]
        bodies.append(encoded([*messages, Message.user(last)]))
    bodies.append(encoded([*messages, Message.user(last)]))

    history = bodies[-1].get("conversationHistory", [])
    assert [entry.get("content", entry.get("arguments")) for entry in history] == said
    assert bodies[-1]["content"] == last
    for body in bodies:
        shorter = body.get("conversationHistory", [])
        assert history[: len(shorter)] == shorter


def encoded(messages: list[Message]) -> dict[str, Any]:
    return BrainwiresRelay().encode(Request(tuple(messages), "m"), ORIGIN, stream=True).body


# -- streams that end too soon -------------------------------------------------------------------------------

CALLED = event("toolCall", {"callId": "c1", "toolName": "f", "responseId": "r1", "parameters": {"a": [1]}})
TWO = event("toolCall", {"callId": "c2", "toolName": "f"})
COMPLETE = event("complete", {"usage": USAGE})


def ended_after(stream: bytes) -> Response:
    framing, decoder = SSEFraming(), RelayDecoder(ORIGIN)
    events = [e for message in framing.feed(stream) for e in decoder.feed(message)]
    feed_rest(decoder, *framing.finish(), events)
    return collect(events, provider="brainwires")


def test_a_stream_with_calls_closed_at_every_byte() -> None:
    """It is whole at its end; and after a call, where the crate reads no further; nowhere else."""
    stream = event("delta", {"delta": "Hé"}) + CALLED + TWO + COMPLETE
    first = len(stream) - len(TWO + COMPLETE)
    second = len(stream) - len(COMPLETE)
    calls = dict.fromkeys(range(first - 2, first + 1), 1)
    calls |= dict.fromkeys((n for end in (second, len(stream)) for n in range(end - 2, end + 1)), 2)
    seen = {}
    for n in range(len(stream) + 1):
        try:
            response = ended_after(stream[:n])
        except StreamInterrupted as error:
            assert error.how == "eof"
        else:
            seen[n] = len(response.tool_calls)
            assert response.usage.complete == (n > second)

    assert seen == calls


def test_an_error_closed_at_every_byte() -> None:
    stream = event("delta", {"delta": "Hé"}) + event("error", {"message": "gone ☃"})
    for n in range(len(stream) + 1):
        with pytest.raises((StreamInterrupted, APIError)) as caught:
            ended_after(stream[:n])
        words = caught.value.message if isinstance(caught.value, APIError) else None
        unsaid = stream[:n].endswith((b"data", b"data:", b"data: ")) and b"error" in stream[:n]
        said = "the relay reports an error, and not which" if unsaid else None
        assert words == ("gone ☃" if n >= len(stream) - 2 else said), n


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"gone", "gone"),
        (b"gone \xff\xfe", "gone \ufffd\ufffd"),
        (b'{"message": "gone \xff"}', "gone \ufffd"),
        (b'"gone \xff"', "gone \ufffd"),
        (b"", "the relay reports an error, and not which"),
    ],
)
def test_an_error_of_bytes_that_are_no_text(data: bytes, message: str) -> None:
    assert error_in_stream(data, RelayDecoder(ORIGIN)).message == message


UNTOLD = "the relay reports an error, and not which"


@pytest.mark.parametrize(
    ("told", "kind", "status", "message", "body"),
    [
        ({"message": "400 no", "code": "odd", "type": "t"}, InvalidRequestError, 400, "400 no", None),
        ("429 slow", RateLimitError, 429, "429 slow", {"message": "429 slow"}),
        ({"message": " \n503 full"}, OverloadedError, 503, " \n503 full", None),
        ({"error": {"message": "401 key"}}, AuthenticationError, 401, "401 key", None),
        (
            [{"error": {"message": "404 gone"}}],
            NotFoundError,
            404,
            "404 gone",
            {"error": {"message": "404 gone"}},
        ),
        ({"message": "599: x"}, ServerError, 599, "599: x", None),
        ({"message": "399 x"}, APIError, None, "399 x", None),
        ({"message": "600 x"}, APIError, None, "600 x", None),
        ({"message": "4000 x"}, APIError, None, "4000 x", None),
        ({"message": "at 400"}, APIError, None, "at 400", None),
        ({"message": "400 no", "type": "overloaded_error"}, OverloadedError, None, "400 no", None),
        ({"message": "400 no", "status": 503}, OverloadedError, 503, "400 no", None),
        (5, APIError, None, "5", {"message": 5}),
        *((empty, APIError, None, UNTOLD, {"message": UNTOLD}) for empty in ({}, [], "", 0, None)),
    ],
)
def test_every_field_of_an_error_in_a_stream(
    told: Any, kind: type[APIError], status: int | None, message: str, body: Any
) -> None:
    decoder = RelayDecoder(ORIGIN)
    delta = WireMessage(b'{"delta": "Hi", "responseId": "r"}', "delta")
    decoder.feed(delta)
    with pytest.raises(APIError) as caught:
        decoder.feed(WireMessage(json.dumps(told).encode(), "error"))
    error = caught.value
    assert (type(error), error.status, error.provider_status) == (kind, None, status)
    fields = told if isinstance(told, dict) else {}
    assert (error.message, error.code, error.type) == (message, fields.get("code"), fields.get("type"))
    assert (error.body, error.provider, error.model) == (told if body is None else body, "brainwires", "m")
    assert error.partial is not None and (error.partial.text, error.partial.id) == ("Hi", "r")
    assert decoder.ended and decoder.feed(delta) == decoder.finish() == []


@pytest.mark.parametrize("name", [None, "", "other", "message"])
@pytest.mark.parametrize("data", [{"error": "503 full"}, [{"error": {"message": "503 full"}}]])
def test_an_error_of_another_name_is_one_too(name: str | None, data: Any) -> None:
    decoder = RelayDecoder(ORIGIN)
    for none in ({"error": ""}, [{"error": None}], "error", ["error"]):
        assert decoder.feed(WireMessage(json.dumps(none).encode(), name)) == []
    for read in (lambda body: decoder.feed(WireMessage(body, name)), RelayDecoder(ORIGIN).feed_whole):
        with pytest.raises(OverloadedError, match="503 full"):
            read(json.dumps(data).encode())


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        ({"callId": "c"}, {}, 1),
        ({"callId": "c"}, {"parameters": {"a": 2}}, 2),
        ({"callId": "c"}, {"callId": "d"}, 2),
        ({"callId": None}, {}, 2),
        ({"callId": ""}, {}, 2),
        ({}, {}, 2),
    ],
)
def test_a_call_that_comes_again_is_one_call(
    first: dict[str, Any], second: dict[str, Any], count: int
) -> None:
    calls = [{"toolName": "f", "parameters": {"a": 1}, "responseId": "r", **first}]
    calls.append({**calls[0], **second})
    stream = b"".join(event("toolCall", call) for call in calls)
    response = ended_after(event("delta", {"delta": "Hi"}) + stream + COMPLETE)
    assert (len(response.tool_calls), response.id, response.finish_reason) == (count, "r", "tool_calls")
    ids = [(call.id is None, call.local_id is None) for call in response.tool_calls]
    assert ids == [(not given.get("callId"), bool(given.get("callId"))) for given in calls[:count]]


@pytest.mark.parametrize(
    ("wire", "arguments", "extra"),
    [
        ({}, "{}", None),
        ({"parameters": None, "server": None}, "{}", None),
        ({"parameters": {"a": [1]}}, '{"a":[1]}', None),
        ({"parameters": '{"a": 1}'}, '{"a": 1}', None),
        ({"parameters": ""}, "", None),
        ({"parameters": [1]}, "[1]", None),
        (
            {"server": "s", "responseId": "r", "chatId": "k"},
            "{}",
            {"server": "s", "responseId": "r", "chatId": "k"},
        ),
    ],
)
def test_what_a_call_holds(wire: dict[str, Any], arguments: str, extra: Any) -> None:
    (call,) = ended_after(event("toolCall", {"callId": 7, "toolName": "f", **wire})).tool_calls
    assert (call.id, call.name, call.arguments, call.extra, call.origin) == (
        "7",
        "f",
        arguments,
        extra,
        ORIGIN,
    )


@pytest.mark.parametrize(
    ("counts", "buckets"),
    [
        ({"prompt_tokens": 9}, (9, 0, 0, 0, 0)),
        (
            {"prompt_tokens": 9, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 4},
            (0, 5, 4, 0, 0),
        ),
        (
            {"prompt_tokens": 8, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 4},
            (8, 5, 4, 0, 0),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 15}, (9, 0, 0, 4, 2)),
        ({"prompt_tokens": 9, "completion_tokens": "4", "total_tokens": None}, (9, 0, 0, 0, 0)),
        ({}, None),
        ({"prompt_tokens": "9", "total_tokens": 9}, None),
    ],
)
def test_each_count_has_its_bucket(counts: dict[str, Any], buckets: tuple[int, ...] | None) -> None:
    usage = ended_after(event("complete", {"usage": counts})).usage
    names = ("uncached_input", "cache_read", "cache_write", "output_text", "unattributed")
    assert tuple(getattr(usage, name) for name in names) == (buckets or (0,) * 5)
    assert (usage.complete, usage.raw) == ((False, None) if buckets is None else (True, counts))


def test_what_follows_the_end_is_passed_over() -> None:
    decoder = RelayDecoder(ORIGIN)
    events = [e for message in SSEFraming().feed(COMPLETE + CALLED) for e in decoder.feed(message)]

    assert [type(e).__name__ for e in events] == ["ResponseStart", "ResponseEnd"]
    assert decoder.finish() == []


# -- models and counts ---------------------------------------------------------------------------------------

SONNET = {
    "model_id": "claude-3-5-sonnet-20241022",
    "model_name": "Claude 3.5 Sonnet",
    "ai_vendor": "anthropic",
    "hosted_id": "claude-3-5-sonnet-20241022",
    "image_input": True,
    "abilities": "text, vision,",
    "is_premium": False,
    "available": "AVAILABLE",
    "pricing_currency": "USD",
    "pricing_input_cost": 3.0,
    "max_content_length": 200_000,
    "max_token_output_length": 8_192,
    "api_adapter": "anthropic",
}


def test_the_relay_lists_its_models() -> None:
    odd = {"model_id": "odd", "provider_id": "old", "model_name": 3, "max_content_length": "many"}
    listed, after = BrainwiresRelay().decode_models(json.dumps([SONNET, odd, {}, 3]).encode(), "brainwires")
    first, second = listed

    assert after is None
    assert (first.id, first.display_name, first.owner) == (
        SONNET["model_id"],
        "Claude 3.5 Sonnet",
        "anthropic",
    )
    assert (first.context_window, first.max_output_tokens, first.capabilities) == (
        200_000,
        8_192,
        ("chat", "vision"),
    )
    assert (first.raw, first.provider, second.provider) == (SONNET, "brainwires", "brainwires")
    assert (second.owner, second.display_name, second.context_window, second.capabilities) == (
        "old",
        None,
        None,
        None,
    )
    call = BrainwiresRelay().models_call(None)
    assert (call.method, call.path) == ("GET", "/api/models")


@pytest.mark.parametrize("body", [b"{}", b"<html>", b""])
def test_a_body_that_lists_nothing(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a list of models") as caught:
        BrainwiresRelay().decode_models(body, "brainwires")
    assert caught.value.provider == "brainwires"


def test_it_counts_no_tokens() -> None:
    with pytest.raises(UnsupportedError, match="a response's usage has the count"):
        BrainwiresRelay().count_call(Request((Message.user("hi"),), "m"), ORIGIN)
    with pytest.raises(UnsupportedError):
        BrainwiresRelay().decode_count(b"{}")


# -- keys and their hosts ------------------------------------------------------------------------------------

HOME, DEV = "https://brainwires.studio", "https://dev.brainwires.net"
HOSTS = {"bw_dev_abc": DEV, " bw_dev_abc\n": DEV, "bw_prod_xyz": HOME, "bw_test_xyz": HOME, "xbw_dev_": HOME}


def asked_url(**settings: Any) -> str:
    return AsyncClient("brainwires:m", **settings).prepare("hi").url


@pytest.mark.parametrize("key", HOSTS)
def test_the_key_says_the_host(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAINWIRES_BACKEND_URL", raising=False)
    assert asked_url(api_key=key) == f"{HOSTS[key]}/api/chat/stream"
    monkeypatch.setenv("BRAINWIRES_API_KEY", key)
    assert asked_url() == f"{HOSTS[key]}/api/chat/stream"


@BOTH
@pytest.mark.parametrize("key", ["bw_dev_abc", "bw_prod_abc"])
def test_a_key_that_is_called_for_says_the_host_too(key: str, colour: str) -> None:
    """It is known only when the request leaves; the proxy sees where to."""
    make, run = COLOURS[colour]
    with ScriptedServer(Answer(407)) as proxy:
        with pytest.raises(ConnectError, match="the proxy"):
            run(make("brainwires:m", api_key=lambda: key, proxy=proxy.url), "hi")
        assert [r.path for r in proxy.requests] == [f"{HOSTS.get(key, HOME).removeprefix('https://')}:443"]


def test_a_key_from_the_environment_stays_with_its_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither host gets the other's key; a URL that comes with the key is gone to."""
    monkeypatch.delenv("BRAINWIRES_BACKEND_URL", raising=False)
    monkeypatch.setenv("BRAINWIRES_API_KEY", "bw_dev_abc")
    assert asked_url(base_url=f"{DEV}/").startswith(f"{DEV}/api/")
    for elsewhere in (HOME, "https://example.com"):
        with pytest.raises(ConfigError, match="stays with its own host"):
            asked_url(base_url=elsewhere)
    monkeypatch.setenv("BRAINWIRES_API_KEY", "bw_prod_abc")
    with pytest.raises(ConfigError, match="stays with its own host"):
        asked_url(base_url=DEV)
    assert asked_url(base_url="https://example.com", api_key="bw_dev_abc").startswith(
        "https://example.com/api/"
    )
    monkeypatch.setenv("BRAINWIRES_BACKEND_URL", "http://localhost:3000")
    monkeypatch.setenv("BRAINWIRES_API_KEY", "bw_dev_abc")
    assert asked_url() == "http://localhost:3000/api/chat/stream"


def test_no_key_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAINWIRES_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="set BRAINWIRES_API_KEY or pass api_key="):
        asked_url()


def test_a_relay_of_ones_own_has_the_same_hosts() -> None:
    mine = ProviderConfig("mine", based_on="brainwires", api_key="bw_dev_abc")
    assert AsyncClient("mine:m", providers=[mine]).prepare("hi").url.startswith(DEV)


def test_the_row_has_a_model_of_its_own() -> None:
    body = json.loads(AsyncClient("brainwires:", api_key=KEY).prepare("hi").body)
    assert body["model"] == PROVIDERS["brainwires"].default_model


@BOTH
@FORMS
def test_the_key_shows_nowhere(stream: bool, colour: str) -> None:
    """Not in an error that repeats it, refused or streamed, nor in a request that is shown."""
    make, run = COLOURS[colour]
    words = {"message": f"400 bad key {KEY}", "key": KEY}
    answers = [
        Answer(401, body=json.dumps({"error": words}).encode()),
        Answer(headers={"content-type": "text/event-stream"}, body=[event("error", words)]),
        Answer(
            headers={"content-type": "text/event-stream"}, body=[event("delta", {"delta": "Hi"}), COMPLETE]
        ),
    ]
    shown = []
    with ScriptedServer(answers) as server:
        for _ in range(2):
            with pytest.raises(ProviderError) as caught:
                run(make("brainwires:m", api_key=KEY, base_url=server.url), "hi", stream=stream)
            shown.append(f"{caught.value!r} {caught.value} {vars(caught.value)}")
        client = make("brainwires:m", api_key=KEY, base_url=server.url)
        prepared = client.prepare("hi")
        shown += [repr(client), repr(prepared), prepared.curl(), repr(run(client, "hi", stream=stream))]
        assert all(r.header("authorization") == f"Bearer {KEY}" for r in server.requests)

    assert "bad key [redacted]" in shown[0]
    assert "bad key [redacted]" in shown[1]
    assert KEY not in "".join(shown)
