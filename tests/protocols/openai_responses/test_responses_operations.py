"""The Responses API's other operations, against a scripted service that openai-python talks to as well."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import openai
import pytest

from brainwires_provider import (
    APIError,
    AsyncClient,
    AsyncResponses,
    AuthenticationError,
    Client,
    ConfigError,
    Event,
    Message,
    NotFoundError,
    OpenAIResponsesOptions,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    Response,
    ResponseEnd,
    Retry,
    ServerError,
    StreamInterrupted,
    Timeouts,
    UnsupportedError,
)
from brainwires_provider.protocols.openai_responses import OpenAIResponses
from brainwires_provider.protocols.openai_responses.operations import decode_compaction
from brainwires_provider.testing import Answer, Drop, RecordedRequest, ScriptedServer, Stall, cut, sse
from brainwires_provider.types import Origin, Request
from corpus import records
from known import encode_known

pytestmark = pytest.mark.long

COLOURS = ("async", "sync")
BOTH = pytest.mark.parametrize("colour", COLOURS)
KEY = "sk-planted-key"
BACKGROUND = OpenAIResponsesOptions(background=True, store=True)
ID = "resp_1"


# -- the service -----------------------------------------------------------------------------------------


def body(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"id": ID, "object": "response", "model": "m-1", "status": status, "output": [], **fields}


def message(text: str) -> dict[str, Any]:
    piece = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [piece]}


CALL = {"id": "fc_1", "type": "function_call", "call_id": "c_1", "name": "f", "arguments": '{"a":1}'}
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "x=="}
OUTPUT = [THOUGHT, message("Hé ☃"), CALL]
USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
WHOLE = body(output=OUTPUT, usage=USAGE)


def background_events() -> list[dict[str, Any]]:
    """One of each kind that a resumed stream has to be joined in the middle of."""
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": body("queued")},
        {"type": "response.in_progress", "response": {"status": "in_progress"}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**THOUGHT, "encrypted_content": ""},
        },
        {"type": "response.output_item.done", "output_index": 0, "item": THOUGHT},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message(""), "content": []}},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "Hé"},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": " ☃"},
        {"type": "response.output_item.done", "output_index": 1, "item": message("Hé ☃")},
        {"type": "response.output_item.added", "output_index": 2, "item": {**CALL, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"},
        {"type": "response.output_item.done", "output_index": 2, "item": CALL},
        {"type": "response.completed", "response": body(output=[], usage=USAGE)},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


EVENTS = background_events()
STREAM = sse(*EVENTS, done=False)
FIRST = len(sse(EVENTS[0], done=False))
ITEMS = [
    {"id": f"msg_{n}", "type": "message", "role": "user", "content": [{"type": "input_text", "text": str(n)}]}
    for n in range(7)
]
WINDOW = [
    {
        "id": "msg_u",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "Hello"}],
    },
    {
        "id": "msg_a",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [
            {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []},
            {"type": "refusal", "refusal": "no"},
        ],
    },
    CALL,
    {"id": "x_1", "type": "never_heard_of", "deep": {"b": [1, None], "a": {}}},
    THOUGHT,
    {"id": "cmp_1", "type": "compaction", "encrypted_content": "gAAA=", "created_by": None},
]
COMPACTED = {
    "id": "resp_c",
    "object": "response.compaction",
    "created_at": 1,
    "output": WINDOW,
    "usage": USAGE,
}


def answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, {"x-request-id": "req-9"}, json.dumps(value).encode())


def missing(id: str) -> Answer:
    no = {"message": f"Response with id '{id}' not found.", "type": "invalid_request_error", "code": None}
    return answer({"error": no}, 404)


def asked(request: RecordedRequest) -> dict[str, list[str]]:
    return parse_qs(request.query)


def page(query: dict[str, list[str]]) -> dict[str, Any]:
    items = ITEMS if query.get("order", ["desc"])[0] == "asc" else ITEMS[::-1]
    if "after" in query:
        items = items[[item["id"] for item in items].index(query["after"][0]) + 1 :]
    shown = items[: int(query.get("limit", ["20"])[0])]
    more = len(shown) < len(items)
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]}
    return {"object": "list", "data": shown, "has_more": more, **ends}


class Service:
    """One stored answer, `resp_1`, that is ready at the `ready`-th look. `shape` may spoil a stream's answers."""

    def __init__(self, ready: int = 0, shape: Callable[[bytes], Answer] | None = None) -> None:
        self.looks = 0
        self.ready = ready
        self.shape = shape or (lambda data: Answer(body=[data]))

    def __call__(self, request: RecordedRequest) -> Answer:
        """Any request to the service."""
        match request.method, request.path.removeprefix("/v1/responses").strip("/").split("/"):
            case "POST", [""]:
                said = request.json()
                if said.get("stream"):
                    return self.shape(STREAM)
                return answer(body("queued") if said.get("background") else WHOLE)
            case "POST", ["compact"]:
                return answer(COMPACTED)
            case "POST", ["input_tokens"]:
                return answer({"object": "response.input_tokens", "input_tokens": 11})
            case _, [id, *_] if id != ID:
                return missing(id)
            case "GET", [_]:
                return self.look(asked(request))
            case "DELETE", [_]:
                return answer({"id": ID, "object": "response", "deleted": True})
            case "POST", [_, "cancel"]:
                return answer(body("cancelled"))
            case "GET", [_, "input_items"]:
                return answer(page(asked(request)))
        return missing(request.path)

    def look(self, query: dict[str, list[str]]) -> Answer:
        """The stored answer, whole or its stream."""
        if query.get("stream") == ["true"]:
            after = int(query.get("starting_after", ["-1"])[0])
            return self.shape(sse(*(e for e in EVENTS if e["sequence_number"] > after), done=False))
        self.looks += 1
        if self.looks > self.ready:
            return answer(WHOLE)
        return answer(body("queued" if self.looks == 1 else "in_progress"))


# -- both colours, and the oracle ------------------------------------------------------------------------


def operate(colour: str, url: str, act: Callable[[Any], Any], **settings: Any) -> Any:
    """What one operation gives, of a client of that colour."""
    settings = {"base_url": f"{url}/v1", "api_key": KEY, **settings}
    if colour == "sync":
        with Client("openai:m", **settings) as client:
            return act(client)

    async def run() -> Any:
        async with AsyncClient("openai:m", **settings) as client:
            return await act(client)

    return asyncio.run(run())


def oracle(colour: str, url: str, act: Callable[[Any], Any]) -> Any:
    """The same of openai-python."""
    if colour == "sync":
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
            given = act(client)
            return list(given) if isinstance(given, Iterator) or hasattr(given, "iter_pages") else given

    async def run() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
            given = act(client)
            given = given if hasattr(given, "__aiter__") else await given
            return [each async for each in given] if hasattr(given, "__aiter__") else given

    return asyncio.run(run())


async def _events(stream: Any) -> list[Event]:
    return [event async for event in stream]


def told(request: RecordedRequest) -> tuple[Any, ...]:
    sent = request.json() if request.body else None
    return request.method, request.path, asked(request), sent


def listed(stream: Any) -> Any:
    """All events: of the synchronous stream, or a coroutine of them."""
    return _events(stream) if hasattr(stream, "__aiter__") else list(stream)


SAME: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "retrieve": (
        lambda c: c.responses.retrieve(
            ID, include=["reasoning.encrypted_content", "file_search_call.results"]
        ),
        lambda c: c.responses.retrieve(
            ID, include=["reasoning.encrypted_content", "file_search_call.results"]
        ),
    ),
    "delete": (lambda c: c.responses.delete(ID), lambda c: c.responses.delete(ID)),
    "cancel": (lambda c: c.responses.cancel(ID), lambda c: c.responses.cancel(ID)),
    "input items": (
        lambda c: c.responses.input_items(ID, order="asc", limit=3),
        lambda c: c.responses.input_items.list(ID, order="asc", limit=3),
    ),
    "input items by default": (
        lambda c: c.responses.input_items(ID),
        lambda c: c.responses.input_items.list(ID),
    ),
    "compact": (
        lambda c: c.responses.compact("hi", system="be", provider_options=PREVIOUS),
        lambda c: c.responses.compact(
            model="m",
            input=[{"role": "user", "content": "hi"}],
            instructions="be",
            previous_response_id="resp_0",
        ),
    ),
    "count": (
        lambda c: c.count_tokens("hi"),
        lambda c: c.responses.input_tokens.count(model="m", input=[{"role": "user", "content": "hi"}]),
    ),
    "resume": (
        lambda c: listed(c.responses.resume(ID, starting_after=3)),
        lambda c: c.responses.retrieve(ID, stream=True, starting_after=3),
    ),
}
PREVIOUS = OpenAIResponsesOptions(previous_response_id="resp_0")


@BOTH
@pytest.mark.parametrize("name", SAME)
def test_the_requests_are_those_of_openai_python(name: str, colour: str) -> None:
    ours, theirs = SAME[name]
    with ScriptedServer(Service()) as server:
        operate(colour, server.url, ours)
        first = server.requests
        given = oracle(colour, server.url, theirs)
        second = server.requests[len(first) :]

    assert [told(r) for r in first] == [told(r) for r in second]
    assert all(r.header("authorization") == f"Bearer {KEY}" for r in first)
    assert given is None or given


@BOTH
def test_openai_python_reads_the_scripted_service_as_it_would_the_real_one(colour: str) -> None:
    """What it makes of every answer is complete: the server speaks the service's language."""
    with ScriptedServer(Service(ready=1)) as server:
        url = server.url
        assert oracle(colour, url, lambda c: c.responses.retrieve(ID)).status == "queued"
        whole = oracle(colour, url, lambda c: c.responses.retrieve(ID))
        assert (whole.output_text, whole.output[2].arguments) == ("Hé ☃", '{"a":1}')
        assert oracle(colour, url, lambda c: c.responses.delete(ID)) is None
        assert oracle(colour, url, lambda c: c.responses.cancel(ID)).status == "cancelled"
        items = oracle(colour, url, lambda c: c.responses.input_items.list(ID, limit=2))
        assert [item.id for item in items] == [item["id"] for item in ITEMS[::-1]]
        made = oracle(colour, url, lambda c: c.responses.compact(model="m", input="x"))
        assert made.output[-1].encrypted_content == "gAAA="
        count = oracle(colour, url, lambda c: c.responses.input_tokens.count(model="m", input="x"))
        assert count.input_tokens == 11
        rest = oracle(colour, url, lambda c: c.responses.retrieve(ID, stream=True, starting_after=3))
        assert [(e.type, e.sequence_number) for e in rest] == [
            (e["type"], e["sequence_number"]) for e in EVENTS[4:]
        ]
        with pytest.raises(openai.NotFoundError):
            oracle(colour, url, lambda c: c.responses.retrieve("other"))


# -- stored answers --------------------------------------------------------------------------------------


@BOTH
def test_retrieve_delete_cancel(colour: str) -> None:
    with ScriptedServer(Service(ready=2)) as server:
        looks = [operate(colour, server.url, lambda c: c.responses.retrieve(ID)) for _ in range(3)]
        assert operate(colour, server.url, lambda c: c.responses.delete(ID)) is None
        stopped = operate(colour, server.url, lambda c: c.responses.cancel(ID))

    assert [(r.finish_reason, r.raw_finish_reason) for r in looks] == [
        ("pending", "queued"),
        ("pending", "in_progress"),
        ("tool_calls", "completed"),
    ]
    assert (looks[2].text, looks[2].tool_calls[0].arguments) == ("Hé ☃", '{"a":1}')
    assert looks[2].usage.total_tokens == 12
    assert (looks[2].request_id, looks[2].provider) == ("req-9", "openai")
    assert (stopped.finish_reason, stopped.raw_finish_reason) == ("other", "cancelled")


@BOTH
def test_all_pages_of_input_items(colour: str) -> None:
    with ScriptedServer(Service()) as server:
        for limit, pages in ((None, 1), (1, 7), (3, 3), (7, 1)):
            before = len(server.requests)
            items = operate(
                colour, server.url, lambda c: c.responses.input_items(ID, order="asc", limit=limit)
            )
            assert items == ITEMS
            assert len(server.requests) - before == pages
        assert operate(colour, server.url, lambda c: c.responses.input_items(ID)) == ITEMS[::-1]


@BOTH
def test_an_id_stays_one_step_of_the_path(colour: str) -> None:
    odd = "a/b?c#d %é%2F"
    with ScriptedServer(lambda r: answer(WHOLE)) as server:
        operate(colour, server.url, lambda c: c.responses.retrieve(odd))
        operate(colour, server.url, lambda c: c.responses.cancel(odd))
        targets = [r.target for r in server.requests]

    step = "/v1/responses/a%2Fb%3Fc%23d%20%25%C3%A9%252F"
    assert targets == [step, f"{step}/cancel"]


@BOTH
@pytest.mark.parametrize("id", ["", " ", ".", "..", None])
def test_what_is_no_id_is_not_asked_after(id: Any, colour: str) -> None:
    with ScriptedServer() as server:
        for act in (lambda c: c.responses.retrieve(id), lambda c: c.responses.delete(id)):
            with pytest.raises(TypeError if id is None else ConfigError, match="id"):
                operate(colour, server.url, act)
        assert server.requests == []


# -- errors ----------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Any, str], Any]] = {
    "retrieve": lambda c, id: c.responses.retrieve(id),
    "delete": lambda c, id: c.responses.delete(id),
    "cancel": lambda c, id: c.responses.cancel(id),
    "input_items": lambda c, id: c.responses.input_items(id),
    "wait": lambda c, id: c.responses.wait(id),
    "resume": lambda c, id: listed(c.responses.resume(id)),
    "compact": lambda c, id: c.responses.compact(id),
}


@BOTH
@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "compact"])
def test_an_unknown_id(name: str, colour: str) -> None:
    with ScriptedServer(Service()) as server:
        with pytest.raises(NotFoundError, match=r"'other' not found.*check the id: was it stored") as caught:
            operate(colour, server.url, lambda c: OPERATIONS[name](c, "other"))
        server.wait_idle(5)
    assert (caught.value.status, caught.value.request_id) == (404, "req-9")


REFUSED = json.dumps({"error": {"message": f"late no {KEY}", "code": "rate_limit_exceeded"}}).encode()
WRONG: dict[str, tuple[Answer, type[Exception], str, tuple[str, ...]]] = {
    "no key": (
        answer({"error": {"message": f"bad {KEY}", "code": "invalid_api_key"}}, 401),
        AuthenticationError,
        "check the key",
        (),
    ),
    "an error under 200": (Answer(body=REFUSED), RateLimitError, "late no", ()),
    "not JSON": (Answer(body=b"hello"), ProtocolError, "'hello'", ()),
    "a page": (Answer(200, {"content-type": "text/html"}, b"<html>hi"), ProtocolError, "an HTML page", ()),
    "a list": (answer([1]), ProtocolError, "object", ()),
    "another shape": (answer({"object": "pong"}), ProtocolError, "no ", ("delete",)),
    "misshapen": (answer({"id": "x", "output": [3], "data": [3]}), ProtocolError, "", ("delete",)),
    "empty": (Answer(body=b"", headers={"content-type": "application/json"}), ProtocolError, "", ("delete",)),
    "failed": (
        answer(body("failed", error={"code": "server_error", "message": "burnt"})),
        ServerError,
        "burnt",
        ("delete", "compact", "input_items"),
    ),
    "not deleted": (answer({"deleted": False}), ProtocolError, "deleted nothing", tuple(OPERATIONS)[:1]),
}


@BOTH
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_wrong_answer(name: str, wrong: str, colour: str) -> None:
    given, kind, says, spared = WRONG[wrong]
    if name in spared or (wrong == "not deleted" and name != "delete"):
        return
    with ScriptedServer([given]) as server:
        with pytest.raises(kind) as caught:
            operate(colour, server.url, lambda c: OPERATIONS[name](c, ID))
        server.wait_idle(5)
    error: Any = caught.value
    assert says in str(error)
    assert error.provider == "openai"
    assert KEY not in f"{error!r} {error} {vars(error)}"


@BOTH
@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "resume"])
def test_a_whole_body_cut_short(name: str, colour: str) -> None:
    values = {"input_items": page({}), "compact": COMPACTED, "delete": {"deleted": True}}
    whole = answer(values.get(name, WHOLE))
    size = len(whole.body)
    cuts = [0, 1, size // 2, size - 1]
    with ScriptedServer([cut(whole, n) for n in cuts]) as server:
        for _ in cuts:
            with pytest.raises(StreamInterrupted):
                operate(colour, server.url, lambda c: OPERATIONS[name](c, ID), retry=Retry(attempts=1))
        server.wait_idle(5)


ENDLESS = {
    "in a circle": {"data": [{"id": "a"}], "has_more": True, "last_id": "a"},
    "not say where": {"data": [], "has_more": True},
}


@BOTH
@pytest.mark.parametrize("says", ENDLESS)
def test_pages_without_an_end(says: str, colour: str) -> None:
    with ScriptedServer(answer(ENDLESS[says])) as server, pytest.raises(ProtocolError, match=says):
        operate(colour, server.url, lambda c: c.responses.input_items(ID))


@BOTH
@pytest.mark.parametrize("name", OPERATIONS)
def test_another_protocol_has_no_such_operations(name: str, colour: str) -> None:
    def act(c: Any) -> Any:
        if name == "compact":
            return c.responses.compact("x", model="groq:m")
        operation = getattr(c.responses, name)
        return listed(operation(ID, provider="groq")) if name == "resume" else operation(ID, provider="groq")

    from brainwires_provider import ProviderConfig

    with ScriptedServer() as server:
        groq = ProviderConfig("groq", api_key="g", base_url=f"{server.url}/v1")
        with pytest.raises(UnsupportedError, match="groq does not speak the Responses API"):
            operate(colour, server.url, act, providers=[groq])
        assert server.requests == []


@BOTH
def test_a_deletion_without_a_word(colour: str) -> None:
    with ScriptedServer(Answer(204)) as server:
        assert operate(colour, server.url, lambda c: c.responses.delete(ID)) is None


@BOTH
def test_one_name_is_no_list_of_them(colour: str) -> None:
    with pytest.raises(TypeError, match=r"include takes a list of \(text\), not 'usage'"):
        operate(colour, "http://127.0.0.1:1", lambda c: c.responses.retrieve(ID, include="usage"))


# -- compaction ------------------------------------------------------------------------------------------


def sent_back(messages: Any) -> list[Any]:
    """The items that our encoder makes of a history, for a request to the same model."""
    origin = Origin("openai_responses", "openai", "m")
    call = encode_known(OpenAIResponses(), Request(tuple(messages), model="m"), origin, stream=False)
    assert call.deviations == ()
    items: list[Any] = json.loads(json.dumps(call.body["input"]))
    return items


@BOTH
def test_a_compaction_goes_on_as_it_is(colour: str) -> None:
    def act(c: Any) -> Any:
        return c.responses.compact([Message.user("a"), Message.assistant("b")], temperature=0.5, top_k=3)

    with ScriptedServer(Service()) as server:
        made = operate(colour, server.url, act)
        sent = server.requests[0].json()

        def next_turn(c: Any) -> Any:
            return c.chat([*made.messages, Message.user("And now?")])

        operate(colour, server.url, next_turn)
        items = server.requests[1].json()["input"]

    assert sent == {
        "model": "m",
        "input": [
            {"role": "user", "content": "a"},
            {"type": "message", "role": "assistant", "content": "b"},
        ],
    }
    assert {d.field for d in made.report.dropped} == {"temperature", "top_k"}
    assert (made.id, made.usage.total_tokens) == ("resp_c", 12)
    assert made.extra == {"object": "response.compaction", "created_at": 1}
    assert items == [
        *({name: value for name, value in item.items() if value is not None} for item in WINDOW),
        {"role": "user", "content": "And now?"},
    ]


@BOTH
def test_a_strict_compaction_refuses_what_it_does_not_take(colour: str) -> None:
    with (
        ScriptedServer() as server,
        pytest.raises(UnsupportedError, match="temperature: a compaction does not"),
    ):
        operate(colour, server.url, lambda c: c.responses.compact("a", temperature=0.5, strict=True))


@BOTH
def test_a_compaction_of_what_the_service_keeps(colour: str) -> None:
    with ScriptedServer(Service()) as server:
        operate(colour, server.url, lambda c: c.responses.compact(provider_options=PREVIOUS))
        assert server.requests[0].json() == {"model": "m", "input": [], "previous_response_id": "resp_0"}


def test_recorded_compactions_go_back_item_for_item() -> None:
    recorded = records("openai_compact")
    assert recorded
    for record in recorded:
        value = json.loads(record.data)
        made = decode_compaction(record.data, Origin("openai_responses", "openai", "m"))
        assert value["output"]
        assert sent_back(made.messages) == value["output"]
        assert made.usage.total_tokens == value["usage"]["total_tokens"]
        assert {"id": made.id, "output": value["output"], "usage": made.usage.raw, **made.extra} == value


# -- waiting ---------------------------------------------------------------------------------------------


class Time:
    """A clock that goes on only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


def waiting(url: str, **args: Any) -> tuple[Any, list[float]]:
    """`wait` for a background answer, by a clock of its own; the error if there was one."""
    time = Time()

    async def run() -> Any:
        async with AsyncClient("openai:m", base_url=f"{url}/v1", api_key=KEY) as client:
            first = await client.chat("hi", provider_options=BACKGROUND)
            assert (first.finish_reason, first.usage.complete) == ("pending", False)
            responses = AsyncResponses(client._session, sleep=time.sleep, clock=time.clock)
            try:
                return await responses.wait(first, **args)
            except RequestTimeout as error:
                return error

    return asyncio.run(run()), time.slept


def test_waiting_looks_every_so_often_until_it_is_ready() -> None:
    with ScriptedServer(Service(ready=3)) as server:
        response, slept = waiting(server.url, every=2.5)
        sent = server.requests[0].json()
    assert (sent["background"], sent["store"]) == (True, True)
    assert response.text == "Hé ☃"
    assert slept == [2.5] * 4


def test_waiting_has_an_end() -> None:
    with ScriptedServer(Service(ready=99)) as server:
        error, slept = waiting(server.url, every=4, timeout=10)
    assert isinstance(error, RequestTimeout)
    assert "resp_1 was still pending after 10 s" in str(error)
    assert (error.clock, slept) == ("total", [4, 4, 2])


@BOTH
def test_both_colours_wait(colour: str) -> None:
    def act(c: Any) -> Any:
        return c.responses.wait(ID, every=0.001)

    with ScriptedServer(Service(ready=3)) as server:
        assert operate(colour, server.url, act).text == "Hé ☃"
        assert operate(colour, server.url, lambda c: c.responses.wait(ID, timeout=None)).text == "Hé ☃"


@BOTH
def test_a_look_that_stalls_does_not_outlast_the_wait(colour: str) -> None:
    with ScriptedServer(Answer(stall_before_headers=True)) as server:
        with pytest.raises(RequestTimeout, match=r"resp_1 was still pending after 0\.2 s"):
            operate(colour, server.url, lambda c: c.responses.wait(ID, timeout=0.2))
        server.wait_idle(5)


@BOTH
def test_a_look_has_clocks_of_its_own(colour: str) -> None:
    with ScriptedServer(Answer(stall_before_headers=True)) as server:
        with pytest.raises(RequestTimeout, match=r"Timeouts\.first_event"):
            clocks = Timeouts(first_event=0.2)
            operate(colour, server.url, lambda c: c.responses.wait(ID, timeout=9), timeouts=clocks)
        server.wait_idle(5)


@BOTH
def test_a_wait_that_cannot_be(colour: str) -> None:
    ready = Response(None, "openai", None, Message.assistant(), "pending", None, usage=EMPTY)
    with ScriptedServer() as server:
        for act in (lambda c: c.responses.wait(ID, every=0), lambda c: c.responses.wait(ready)):
            with pytest.raises(ConfigError):
                operate(colour, server.url, act)
    assert server.requests == []


EMPTY = decode_compaction(b'{"output": []}', Origin("p", "q")).usage


# -- resuming --------------------------------------------------------------------------------------------


async def take_async(client: AsyncClient, first: Any, limit: int | None = None) -> tuple[list[Event], Any]:
    """The events of a stream until it ends, is cut, or `limit` were taken; and the stream, left."""
    taken: list[Event] = []
    try:
        async with first:
            while limit is None or len(taken) < limit:
                taken.append(await anext(first))
    except (StopAsyncIteration, StreamInterrupted):
        pass
    return taken, first


def take_sync(client: Client, first: Any, limit: int | None = None) -> tuple[list[Event], Any]:
    taken: list[Event] = []
    try:
        with first:
            while limit is None or len(taken) < limit:
                taken.append(next(first))
    except (StopIteration, StreamInterrupted):
        pass
    return taken, first


async def _both_async(url: str, limits: Any) -> list[tuple[list[Event], Any]]:
    found = []
    async with AsyncClient("openai:m", base_url=f"{url}/v1", api_key=KEY) as client:
        for limit in limits:
            taken, stream = await take_async(client, client.stream("hi", provider_options=BACKGROUND), limit)
            try:
                while not (taken and isinstance(taken[-1], ResponseEnd)):
                    more, stream = await take_async(client, client.responses.resume(stream))
                    taken += more
                found.append((taken, stream.response))
            except ConfigError as error:
                found.append((taken, error))
    return found


def _both_sync(url: str, limits: Any) -> list[tuple[list[Event], Any]]:
    found = []
    with Client("openai:m", base_url=f"{url}/v1", api_key=KEY) as client:
        for limit in limits:
            taken, stream = take_sync(client, client.stream("hi", provider_options=BACKGROUND), limit)
            try:
                while not (taken and isinstance(taken[-1], ResponseEnd)):
                    more, stream = take_sync(client, client.responses.resume(stream))
                    taken += more
                found.append((taken, stream.response))
            except ConfigError as error:
                found.append((taken, error))
    return found


def resumed(colour: str, url: str, limits: Any) -> list[tuple[list[Event], Any]]:
    """Stream, once for each limit, leave after so many events or where it is cut, and resume until the end."""
    return asyncio.run(_both_async(url, limits)) if colour == "async" else _both_sync(url, limits)


def uncut(colour: str) -> tuple[list[Event], Any]:
    with ScriptedServer(Service()) as server:
        return resumed(colour, server.url, [None])[0]


def same(response: Response, other: Response) -> bool:
    return (response.message, response.usage, response.extra, response.finish_reason, response.id) == (
        other.message,
        other.usage,
        other.extra,
        other.finish_reason,
        other.id,
    )


@pytest.mark.parametrize(
    ("how", "colour", "step"),
    [("eof", "async", 1), ("reset", "sync", 1), ("reset", "async", 7), ("eof", "sync", 7)],
)
@pytest.mark.many
def test_a_stream_cut_at_any_byte_and_resumed_loses_and_repeats_nothing(
    how: str, colour: str, step: int
) -> None:
    events, whole = uncut(colour)
    cuts = range(0, len(STREAM), step)
    points = iter(cuts)

    def shape(data: bytes) -> Answer:
        if data != STREAM:
            return Answer(body=[data])
        n = next(points)
        return cut(Answer(body=[data]), n) if how == "reset" else Answer(body=[data[:n]], framing="close")

    with ScriptedServer(Service(shape=shape)) as server:
        told = resumed(colour, server.url, [None] * len(cuts))
        sent = [asked(r) for r in server.requests if r.method == "GET"]
        server.wait_idle(5)

    for n, (taken, response) in zip(cuts, told, strict=True):
        if n < FIRST - 2 or (how == "reset" and n < FIRST):
            assert isinstance(response, ConfigError), n
            assert "before its id had arrived" in str(response)
        else:
            assert taken == events, n
            assert same(response, whole)
    numbers = {int(query["starting_after"][0]) for query in sent}
    assert numbers == set(range(len(EVENTS) - 1))


@BOTH
def test_a_stream_that_is_cut_again_and_again(colour: str) -> None:
    """Each connection gives only what holds one more event, whatever its size."""
    events, whole = uncut(colour)
    largest = max(len(sse(event, done=False)) for event in EVENTS)
    for size in (largest, largest + 40, 2 * largest):
        shape = lambda data: cut(Answer(body=[data]), min(size, len(data)), "rst")  # noqa: E731
        with ScriptedServer(Service(shape=shape)) as server:
            [(taken, response)] = resumed(colour, server.url, [None])
            assert len(server.requests) > 2
        assert taken == events
        assert same(response, whole)


@BOTH
@pytest.mark.fast
def test_a_stream_left_after_any_event_goes_on_with_the_next(colour: str) -> None:
    """Whole, in one chunk: most of what was left had been decoded, and nobody had taken it."""
    events, whole = uncut(colour)
    with ScriptedServer(Service()) as server:
        for taken, response in resumed(colour, server.url, range(1, len(events))):
            assert taken == events
            assert same(response, whole)
        server.wait_idle(5)


@BOTH
@pytest.mark.fast
def test_a_stream_that_is_cut_behind_its_start_gives_the_start_when_it_goes_on(colour: str) -> None:
    """The start alone is held back until more comes."""
    events, whole = uncut(colour)
    shape = lambda data: cut(Answer(body=[data]), FIRST) if data == STREAM else Answer(body=[data])  # noqa: E731
    with ScriptedServer(Service(shape=shape)) as server:
        [(taken, response)] = resumed(colour, server.url, [None])
    assert taken == events
    assert same(response, whole)


@BOTH
@pytest.mark.fast
def test_a_stream_that_goes_on_is_left_unread_and_goes_on_again(colour: str) -> None:
    events, whole = uncut(colour)

    async def act_async(c: Any) -> tuple[list[Event], Any]:
        taken, stream = await take_async(c, c.stream("hi", provider_options=BACKGROUND), 2)
        unread = c.responses.resume(stream)
        await unread.aclose()
        again = c.responses.resume(unread)
        again.abort()
        rest, last = await take_async(c, c.responses.resume(again))
        return taken + rest, last.response

    def act_sync(c: Any) -> tuple[list[Event], Any]:
        taken, stream = take_sync(c, c.stream("hi", provider_options=BACKGROUND), 2)
        unread = c.responses.resume(stream)
        unread.close()
        rest, last = take_sync(c, c.responses.resume(unread))
        return taken + rest, last.response

    with ScriptedServer(Service()) as server:
        taken, response = operate(colour, server.url, act_async if colour == "async" else act_sync)
    assert taken == events
    assert same(response, whole)


@BOTH
@pytest.mark.fast
def test_resuming_by_id(colour: str) -> None:
    events, whole = uncut(colour)

    with ScriptedServer(Service()) as server:
        assert operate(colour, server.url, lambda c: listed(c.responses.resume(ID))) == events
        end = operate(colour, server.url, lambda c: c.responses.resume(ID, starting_after=5).collect())
        queries = [asked(r) for r in server.requests]
    assert queries == [{"stream": ["true"]}, {"stream": ["true"], "starting_after": ["5"]}]
    assert end.usage == whole.usage
    assert [call.arguments for call in end.tool_calls] == [call.arguments for call in whole.tool_calls]


@BOTH
@pytest.mark.fast
def test_a_resumed_stream_that_is_refused_keeps_what_had_arrived(colour: str) -> None:
    after_text = sum(len(sse(event, done=False)) for event in EVENTS[:6])
    gone = answer({"error": {"message": "too late"}}, 404)
    with ScriptedServer([cut(Answer(body=[STREAM]), after_text), gone]) as server:

        async def act_async(c: Any) -> Any:
            _, stream = await take_async(c, c.stream("hi", provider_options=BACKGROUND))
            again = c.responses.resume(stream)
            with pytest.raises(NotFoundError, match="too late") as caught:
                await again.collect()
            return caught.value, again.partial

        def act_sync(c: Any) -> Any:
            _, stream = take_sync(c, c.stream("hi", provider_options=BACKGROUND))
            again = c.responses.resume(stream)
            with pytest.raises(NotFoundError, match="too late") as caught:
                again.collect()
            return caught.value, again.partial

        error, partial = operate(colour, server.url, act_async if colour == "async" else act_sync)
    assert isinstance(error, APIError)
    assert error.partial is not None
    assert error.partial.text == partial.text == "Hé"


BURNT = answer(body("failed", error={"code": "server_error", "message": "burnt"}))
# what a stored answer is asked for with, what the server answers each time, and how often it is asked
ASKED_AGAIN: dict[str, tuple[str, Answer, int]] = {
    "a look at what has failed": ("look", BURNT, 1),
    "a look that is refused": ("look", Answer(503, body=b"{}"), 3),
    "a stream that has begun": ("resume", Answer(body=[Drop()]), 1),
    "a stream that is refused": ("resume", Answer(503, body=b"{}"), 3),
}


@pytest.mark.fast
@pytest.mark.parametrize("name", ASKED_AGAIN)
def test_a_stored_answer_is_asked_for_again_where_the_request_has_failed(name: str) -> None:
    how, again, times = ASKED_AGAIN[name]
    after_text = sum(len(sse(event, done=False)) for event in EVENTS[:6])
    begun = cut(Answer(body=[STREAM]), after_text)

    async def main() -> None:
        settings: Any = {"api_key": KEY, "retry": Retry(3, base=0.001)}
        async with AsyncClient("openai:m", base_url=f"{server.url}/v1", **settings) as client:
            _, stream = await take_async(client, client.stream("hi", provider_options=BACKGROUND))
            asked = (
                client.responses.resume(stream).collect()
                if how == "resume"
                else client.responses.retrieve("r")
            )
            with pytest.raises(ProviderError):
                await asked

    with ScriptedServer(lambda request: begun if request.method == "POST" else again) as server:
        asyncio.run(main())
    assert [request.method for request in server.requests] == ["POST", *["GET"] * times]


def refusals_async(url: str) -> list[str]:
    async def run() -> list[str]:
        told = []
        async with AsyncClient("openai:m", base_url=f"{url}/v1", api_key=KEY) as c:
            running = c.stream("hi")
            await anext(running)
            left = c.stream("hi")
            await anext(left)
            await left.aclose()
            going_on = c.responses.resume(left)
            ended = c.stream("hi")
            await ended.collect()
            for stream, args in ((running, {}), (left, {}), (ended, {}), (going_on, {"starting_after": 1})):
                with pytest.raises(ConfigError) as caught:
                    c.responses.resume(stream, **args)
                told.append(str(caught.value))
            await running.aclose()
        return told

    return asyncio.run(run())


def refusals_sync(url: str) -> list[str]:
    told = []
    with Client("openai:m", base_url=f"{url}/v1", api_key=KEY) as c:
        running = c.stream("hi")
        next(running)
        left = c.stream("hi")
        next(left)
        left.close()
        going_on = c.responses.resume(left)
        ended = c.stream("hi")
        ended.collect()
        for stream, args in ((running, {}), (left, {}), (ended, {}), (going_on, {"starting_after": 1})):
            with pytest.raises(ConfigError) as caught:
                c.responses.resume(stream, **args)
            told.append(str(caught.value))
        running.close()
    return told


@BOTH
@pytest.mark.fast
def test_what_cannot_be_resumed(colour: str) -> None:
    whole = iter([False, False, True])
    shape = lambda data: Answer(body=[data] if next(whole) else [data[:-40], Stall()])  # noqa: E731
    with ScriptedServer(Service(shape=shape)) as server:
        told = refusals_async(server.url) if colour == "async" else refusals_sync(server.url)
        server.wait_idle(5)
    says = (
        "leave a stream before it is resumed",
        "was resumed before",
        "nothing to resume",
        "by itself where",
    )
    for words, said in itertools.zip_longest(says, told):
        assert words in said
