"""The client's own behaviour: models by name, options merged, requests prepared, keys that stay home."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import (
    PROVIDERS,
    APIError,
    AsyncClient,
    AuthenticationError,
    Cache,
    CacheStrategy,
    Citation,
    Client,
    ConfigError,
    ConnectError,
    ContextLengthError,
    Deviation,
    HostedTool,
    ImagePart,
    InvalidRequestError,
    JSONSchema,
    Message,
    NotFoundError,
    OpenAIChatOptions,
    OpenAIResponsesOptions,
    Options,
    ProtocolError,
    ProviderConfig,
    ProviderError,
    ProviderOptions,
    RateLimitError,
    Reasoning,
    Request,
    ResponseEnd,
    Retry,
    TextPart,
    Timeouts,
    Tool,
    ToolChoice,
    UnsupportedError,
    WebSocketOptions,
    __version__,
)
from brainwires_provider._core.attempt import Attempt
from brainwires_provider._core.explaining import explain as explain_error
from brainwires_provider._core.explaining import refusal
from brainwires_provider._core.plan import Plan, build_request, plan_call, plan_encoded
from brainwires_provider.cli.terminal import explain
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.testing import Answer, FakeProvider, RecordedRequest, ScriptedServer, sse
from chat_answers import TEXT, WHOLE, chunk
from faults import KEY

WEATHER = Tool(
    "weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}}
)
REMOTE = sorted(name for name, row in PROVIDERS.items() if row.transport == "http")


def prepared(model: str = "openai-chat:m", **args: Any) -> tuple[dict[str, Any], Any]:
    done = AsyncClient(model, api_key=KEY).prepare("hi", **args)
    return json.loads(done.body), done


def test_a_model_name_is_split_at_the_first_colon() -> None:
    body, _ = prepared("openai-chat:ft:gpt:x")

    assert body["model"] == "ft:gpt:x"


def test_nothing_is_sent_that_was_not_set() -> None:
    body, done = prepared()

    assert body == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert done.report.sent == ()


CLOSED = {"type": "object", "additionalProperties": False}
WEATHER_SENT = {
    "type": "function",
    "function": {"name": "weather", "description": WEATHER.description, "parameters": WEATHER.parameters},
}
TUNING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({"max_tokens": 5}, {"max_completion_tokens": 5}),
    "several": (
        {"temperature": 0, "top_p": 0.5, "seed": 1, "presence_penalty": 0.1, "frequency_penalty": 0.2},
        {"temperature": 0, "top_p": 0.5, "seed": 1, "presence_penalty": 0.1, "frequency_penalty": 0.2},
    ),
    "stop": ({"stop": "x"}, {"stop": "x"}),
    "stops": ({"stop": ["x", "y"]}, {"stop": ["x", "y"]}),
    "effort": ({"reasoning": "high"}, {"reasoning_effort": "high"}),
    "effort off": ({"reasoning": "off"}, {"reasoning_effort": "none"}),
    "parallel": ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    "own options": (
        {"provider_options": OpenAIChatOptions(logprobs=True, top_logprobs=2)},
        {"logprobs": True, "top_logprobs": 2},
    ),
    "extra body": ({"extra_body": {"top_k": 20}}, {"top_k": 20}),
    "json": (
        {"system": "Answer in JSON.", "output": "json"},
        {"response_format": {"type": "json_object"}},
    ),
    "schema": (
        {"output": JSONSchema("p", CLOSED, strict=True)},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "p", "schema": CLOSED, "strict": True},
            }
        },
    ),
    "tools": (
        {"tools": [WEATHER, HostedTool("web", {"a": 1})], "tool_choice": "required"},
        {
            "tools": [
                WEATHER_SENT,
                {"type": "web", "a": 1},
            ],
            "tool_choice": "required",
        },
    ),
    "one tool": (
        {"tools": [WEATHER], "tool_choice": ToolChoice.tool("weather")},
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
    "a tool without a list": ({"tools": WEATHER}, {"tools": [WEATHER_SENT]}),
    "a tool that the provider runs": (
        {"tools": HostedTool("web", {"a": 1})},
        {"tools": [{"type": "web", "a": 1}]},
    ),
    "no options at all": ({"options": Options()}, {}),
}


@pytest.mark.parametrize("name", TUNING)
def test_what_is_set_is_sent_and_reported(name: str) -> None:
    args, expected = TUNING[name]
    body, done = prepared(**args)

    assert {key: body.get(key) for key in expected} == expected
    assert set(done.report.sent) == args.keys() - {"options"}


DROPPED: dict[str, tuple[dict[str, Any], str]] = {
    "top_k": ({"top_k": 3}, "no such option"),
    "cache": ({"cache": CacheStrategy.system_only()}, "caches by itself"),
    "reasoning": ({"reasoning": Reasoning(budget_tokens=9)}, "budget_tokens"),
}


class OtherOptions(ProviderOptions, frozen=True):
    protocol = "other"


@pytest.mark.parametrize("name", DROPPED)
def test_what_cannot_be_said_is_reported_or_refused(name: str) -> None:
    args, says = DROPPED[name]
    body, done = prepared(**args)

    assert [d.field for d in done.report.dropped] == [name]
    assert says in done.report.dropped[0].reason
    assert body.keys() == {"model", "messages"}
    with pytest.raises(UnsupportedError, match=says):
        prepared(**args, strict=True)
    with pytest.raises(UnsupportedError, match="strict, and openai-chat cannot take"):
        AsyncClient("openai-chat:m", api_key=KEY, strict=True).prepare("hi", **args)


def test_strictness_is_not_about_earlier_turns() -> None:
    cited = Message.assistant(TextPart("so they say", citations=(Citation(url="https://a"),)))
    done = AsyncClient("openai-chat:m", api_key=KEY, strict=True).prepare(
        [Message.user("hi"), cited, Message.user("?")]
    )

    assert [d.field for d in done.report.dropped] == ["messages[1].content[0].citations"]


def test_half_a_character_is_refused_before_any_byte() -> None:
    with pytest.raises(UnsupportedError, match="half of a surrogate pair"):
        prepared(system="\ud83d")


def test_another_protocols_options_are_reported_dropped() -> None:
    _, done = prepared(provider_options=[OtherOptions(), OpenAIChatOptions(user="u")])

    assert [d.reason for d in done.report.dropped] == ["OtherOptions is for other, not for openai_chat"]


def test_a_cache_mark_is_reported_where_there_are_none_and_sent_where_there_are() -> None:
    message = Message.user(TextPart("long", cache=Cache("1h")))
    plain = AsyncClient("openai-chat:m", api_key=KEY).prepare(message)
    marked = AsyncClient("openrouter:m", api_key=KEY).prepare(message)

    assert [d.field for d in plain.report.dropped] == ["messages[0].content[0].cache"]
    assert json.loads(marked.body)["messages"][0]["content"][0]["cache_control"] == {
        "type": "ephemeral",
        "ttl": "1h",
    }


def test_keywords_over_options_over_the_request_over_the_client() -> None:
    client = AsyncClient(
        "openai-chat:m", api_key=KEY, options=Options(temperature=0.1, top_p=0.1, seed=1, max_tokens=1)
    )
    request = Request((Message.user("hi"),), options=Options(top_p=0.2, seed=2, max_tokens=2), system="be")
    body = json.loads(client.prepare(request, options=Options(seed=3, max_tokens=3), max_tokens=4).body)

    assert (body["temperature"], body["top_p"], body["seed"], body["max_completion_tokens"]) == (
        0.1,
        0.2,
        3,
        4,
    )
    assert body["messages"][0] == {"role": "system", "content": "be"}


def test_extra_headers_and_query_come_last() -> None:
    _, done = prepared(extra_headers={"USER-AGENT": "mine", "x-a": "b"}, extra_query={"v": "1 2"})

    assert done.headers["USER-AGENT"] == "mine"
    assert "User-Agent" not in done.headers
    assert done.url == "https://api.openai.com/v1/chat/completions?v=1+2"


NAMES_OF_KEYS = ("authorization", "x-api-key", "x-team", "x-turn")
OWN = {
    "headers": lambda: ProviderConfig("openai-chat", api_key="k-1", headers={"x-team": "blue"}),
    "called for": lambda: ProviderConfig("openai-chat", api_key=iter(["k-1", "k-2", "k-3"]).__next__),
    "fixed": lambda: ProviderConfig("openai-chat", api_key="k-1"),
}
# the model, further settings of the call, and its headers of these names
SENT: dict[str, tuple[tuple[str, dict[str, Any], dict[str, str]], ...]] = {
    "fixed": (
        ("openai-chat:m", {}, {"authorization": "Bearer k-1"}),
        ("openai-chat:m", {"extra_headers": {"x-turn": "2"}}, {"authorization": "Bearer k-1", "x-turn": "2"}),
        ("openai-chat:other", {}, {"authorization": "Bearer k-1"}),
        ("anthropic:m", {}, {"x-api-key": "k-1"}),
        ("mistral:m", {}, {"authorization": "Bearer k-4"}),
        ("openai-chat:m", {}, {"authorization": "Bearer k-1"}),
    ),
    "headers": (
        ("openai-chat:m", {}, {"authorization": "Bearer k-1", "x-team": "blue"}),
        ("openai-responses:m", {}, {"authorization": "Bearer k-1"}),
        ("openai-chat:m", {}, {"authorization": "Bearer k-1", "x-team": "blue"}),
    ),
    "called for": tuple(("openai-chat:m", {}, {"authorization": f"Bearer k-{n}"}) for n in (1, 2, 3)),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SENT)
def test_each_call_has_its_own_headers_whatever_was_kept_of_others(name: str, stream: bool) -> None:
    keys = {"openai-responses": "k-1", "anthropic": "k-1", "mistral": "k-4"}
    settings = [replace(OWN[name](), base_url="https://api.test/v1")]
    settings += [
        ProviderConfig(each, base_url="https://api.test/v1", api_key=key) for each, key in keys.items()
    ]

    async def main() -> None:
        transport = FakeProvider(lambda _: Answer(400))
        async with AsyncClient(providers=settings, transport=transport) as client:
            for model, args, _ in SENT[name]:
                with pytest.raises(ProviderError):
                    if stream:
                        await client.stream("hi", model=model, **args).collect()
                    else:
                        await client.chat("hi", model=model, **args)
        sent = [{key.lower(): value for key, value in each.headers} for each in transport.requests]
        assert [{key: each[key] for key in NAMES_OF_KEYS if key in each} for each in sent] == [
            headers for _, _, headers in SENT[name]
        ]
        accepted = "text/event-stream" if stream else "application/json"
        assert {each["accept"] for each in sent} == {accepted}

    asyncio.run(main())


CHAT, STREAMED = "/chat/completions", "/models/m:streamGenerateContent"
# name: the model, the query of the base URL, that of the call, and where the request goes
QUERIES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "none": ("openai-chat:m", "", {}, CHAT),
    "the base URL's": ("openai-chat:m", "?v=1&w=a%20b", {}, f"{CHAT}?v=1&w=a%20b"),
    "an empty one": ("openai-chat:m", "?", {}, CHAT),
    "the call's": ("openai-chat:m", "", {"v": "1 2"}, f"{CHAT}?v=1+2"),
    "both": ("openai-chat:m", "?v=1", {"w": "2"}, f"{CHAT}?v=1&w=2"),
    "the protocol's": ("google:m", "", {}, f"{STREAMED}?alt=sse"),
    "all": ("google:m", "?v=1", {"w": "2"}, f"{STREAMED}?v=1&alt=sse&w=2"),
    "the call's over the protocol's": ("google:m", "", {"alt": "json"}, f"{STREAMED}?alt=json"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_stands_behind_the_path(name: str) -> None:
    model, base, query, expected = QUERIES[name]
    client = AsyncClient(model, api_key=KEY, base_url=f"https://host.example/v1{base}")

    assert client.prepare("hi", stream=True, extra_query=query).url == f"https://host.example/v1{expected}"


def test_a_field_of_a_query_may_stand_there_several_times() -> None:
    session: Any = AsyncClient("openai:m", api_key=KEY)._session
    call = Call("/responses/r", {}, method="GET", query={"include[]": ["a", "b"], "stream": "true"})

    assert session.plan_call(call, session.target("openai:m")).url.endswith(
        "/v1/responses/r?include%5B%5D=a&include%5B%5D=b&stream=true"
    )


IMAGE = ImagePart(b"x", media_type="image/png")
UNSENDABLE: dict[str, tuple[str, dict[str, Any], type[ProviderError], str | None]] = {
    "half a character": ("openai-chat:m", {"system": "\ud83d"}, UnsupportedError, "m"),
    "a strict option": ("openai-chat:m", {"top_k": 3, "strict": True}, UnsupportedError, "m"),
    "media": ("openai-chat:o3-mini", {"input": Message.user(IMAGE)}, UnsupportedError, "o3-mini"),
    "a header": ("openai-chat:m", {"extra_headers": {"a b": "c"}}, ConfigError, None),
    "a header of a handshake": ("openai-responses-ws:m", {"extra_headers": {"a b": "c"}}, ConfigError, None),
}


@pytest.mark.parametrize("name", UNSENDABLE)
def test_what_cannot_be_sent_names_its_provider_and_model(name: str) -> None:
    model, args, kind, own = UNSENDABLE[name]
    with pytest.raises(kind) as caught:
        AsyncClient(model, api_key=KEY).prepare(**{"input": "hi", **args})

    assert (caught.value.provider, caught.value.model) == (model.partition(":")[0], own)


def test_a_model_that_is_no_text_is_named() -> None:
    with pytest.raises(TypeError, match=r"^model takes text, not 3 "):
        AsyncClient("openai-chat:m", api_key=KEY).prepare("hi", model=3)  # type: ignore[arg-type]


def test_what_a_websocket_does_not_carry_is_reported_as_over_http() -> None:
    _, done = prepared("openai-responses-ws:m", extra_headers={"x-a": "b"}, extra_body={"background": True})

    assert (done.method, done.report.dropped, done.headers["x-a"]) == ("POST", (), "b")
    assert done.report.sent == ("extra_body", "extra_headers")


OWN_HEADERS = (
    "a request over a WebSocket has no headers of its own ({}); name those that belong to the connection in"
)
NO_FIELD = "a request over a WebSocket has no such field"
# arguments: the client's settings, the headers beside the usual ones, what is reported as sent, and as dropped
HANDSHAKES: dict[
    str, tuple[dict[str, Any], dict[str, Any], dict[str, str], tuple[str, ...], dict[str, str]]
] = {
    "nothing": ({}, {}, {}, (), {}),
    "an option": ({"max_tokens": 3}, {}, {}, ("max_tokens",), {}),
    "a header of the request": (
        {"extra_headers": {"x-a": "b", "x-c": "d"}},
        *({}, {}, (), {"extra_headers": OWN_HEADERS.format("x-a, x-c")}),
    ),
    "a key": (
        {"extra_headers": {"x-api-key": "of-somebody"}},
        *({}, {"x-api-key": "[redacted]"}, ("extra_headers",), {}),
    ),
    "headers that are the client's, and others": (
        {"extra_headers": {"X-Tenant": "b", "x-a": "b"}, "max_tokens": 3},
        {"headers": {"x-tenant": "a"}},
        *({"X-Tenant": "[redacted]"}, ("max_tokens",), {"extra_headers": OWN_HEADERS.format("x-a")}),
    ),
    "headers that are the connection's": (
        {"extra_headers": {"X-Beta": "b"}},
        {"socket": WebSocketOptions(connection_headers=("x-beta",))},
        *({"X-Beta": "b"}, ("extra_headers",), {}),
    ),
    "headers of a body": (
        {"extra_headers": {"Accept": "b", "accept-encoding": "c", "CONTENT-TYPE": "d"}},
        {"socket": WebSocketOptions(connection_headers=("accept", "Accept-Encoding", "content-type"))},
        *({}, ("extra_headers",), {}),
    ),
    "a field of the body": (
        {"extra_body": {"stream_options": {}, "max_tokens": 3}},
        *({}, {}, ("extra_body",), {"extra_body.stream_options": NO_FIELD}),
    ),
    "an option of the protocol": (
        {
            "provider_options": OpenAIResponsesOptions(stream_options={"include_obfuscation": False}),
            "stream": True,
        },
        *({}, {}, ("provider_options",), {"provider_options.stream_options": NO_FIELD}),
    ),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_what_a_websocket_carries(name: str) -> None:
    args, given, headers, sent, dropped = HANDSHAKES[name]
    provider = ProviderConfig("openai-responses-ws", api_key=KEY, **given)
    done = AsyncClient("openai-responses-ws:m", providers=[provider]).prepare("hi", **args)

    usual = {"User-Agent": f"brainwires-provider/{__version__}", "Authorization": "[redacted]"}
    assert (done.method, done.url) == ("GET", "wss://api.openai.com/v1/responses")
    assert dict(done.headers) == usual | headers
    frame = json.loads(done.body)
    assert frame.pop("type") == "response.create" and "stream_options" not in frame
    assert done.report.sent == sent and len(done.report.dropped) == len(done.report.deviations)
    found = {each.field: each.reason for each in done.report.dropped}
    assert found.keys() == dropped.keys()
    assert all(found[field].startswith(reason) for field, reason in dropped.items())

    stream = args.get("stream", False)
    given: Any = {field: value for field, value in args.items() if field != "stream"}
    session: Any = AsyncClient("openai-responses-ws:m", providers=[provider])._session
    report = session.plan("hi", given, stream=stream).http_report  # where it goes over HTTP after all
    assert set(report.sent) == given.keys() and report.deviations == ()


# options, what an encoder has sent, and what it has not: the report
REPORTS: dict[str, tuple[Options | None, tuple[str, ...], tuple[Deviation, ...], tuple[str, ...]]] = {
    "nothing": (None, (), (), ()),
    "sent, of the request itself": (None, ("tools",), (), ("tools",)),
    "not sent, of the request itself": (None, (), (Deviation("tools", "dropped", "x"),), ()),
    "sent": (Options(seed=1), ("seed",), (), ("seed",)),
    "not sent": (Options(seed=1), (), (Deviation("seed", "dropped", "x"),), ()),
    "both": (Options(seed=1, top_p=1), ("seed",), (Deviation("top_p", "adapted", "x"),), ("seed",)),
    "what is merged": (
        Options(extra_body={"a": 1}, extra_headers={"b": "2"}, extra_query={"c": "3"}),
        *(("tools",), (), ("tools", "extra_body", "extra_headers", "extra_query")),
    ),
    "what is merged, and empty": (Options(extra_body={}, extra_headers={}, extra_query={}), (), (), ()),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_report_has_what_the_encoder_says_and_what_is_merged(name: str) -> None:
    options, sent, deviations, expected = REPORTS[name]
    session: Any = AsyncClient("openai-chat:m", api_key=KEY)._session
    request = build_request("hi", {}, model="m", defaults=options)
    body: dict[str, Any] = {"model": "m", "a": 0}
    call = Call("/chat/completions", body, sent=sent, deviations=deviations)
    made = plan_encoded(
        call, request, session.target("openai-chat:m"), stream=False, timeouts=Timeouts(idle=7)
    )

    assert (made.report.sent, made.report.deviations) == (expected, deviations)
    assert made.timeouts == Timeouts(idle=7) and body == {"model": "m", "a": 0}
    assert made.call.body["a"] == (1 if name == "what is merged" else 0)
    given = options or Options()
    assert (made.extra_headers, made.extra_query) == (given.extra_headers, given.extra_query)


def test_a_stream_that_is_resumed_goes_on_as_it_was_sent_and_uses_nothing() -> None:
    client = AsyncClient("openai-responses:m", api_key=KEY, timeouts=Timeouts(idle=7))
    headers, query = {"x-a": "b"}, {"c": "d"}
    stream = client.stream("hi", extra_headers=headers, extra_query=query, max_tokens=3)
    cut, call = stream._cut(), Call("/responses/r", None, "GET")
    made = cut.plan(call)

    assert made == Plan(cut.target, call, cut.report, Timeouts(idle=7), True, headers, query, uses="nothing")
    assert made.report.sent == ("max_tokens", "extra_headers", "extra_query") and made.uses == "nothing"
    assert (cut.target.model, cut.decoder, cut.end_event) == ("m", stream._sending.attempt.decoder, None)
    asked = client._session.plan("hi", {}, stream=True)
    looked = plan_call(call, None, cut.target, timeouts=Timeouts())
    assert asked.uses == "output" and looked.uses == "nothing" and not looked.stream
    embedded = client._session.plan_call(call, cut.target, operation="embeddings")
    assert (embedded.uses, embedded.operation) == ("input", "")


def test_the_most_parts_of_an_answer_are_its_decoder_s_limit() -> None:
    session: Any = AsyncClient("openai-chat:m", api_key=KEY)._session
    made = session.plan("hi", {}, stream=False)
    usual = made.target.protocol.decoder(made.target.origin).max_parts
    for limit in (7, usual):
        attempt, resumed = Attempt(made, 9, limit), made.target.protocol.decoder(made.target.origin)
        assert attempt.decoder.max_parts == limit and attempt.decoder is attempt.decoder
        assert Attempt(made, 9, limit, resumed).decoder is resumed and resumed.max_parts == limit
        attempt.decoder = other = made.target.protocol.decoder(made.target.origin)
        assert attempt.decoder is other and other.max_parts == limit


def test_prepare_and_curl_show_no_secret() -> None:
    client = AsyncClient("openai-chat:m", api_key=KEY, headers={"x-org-token": KEY})
    done = client.prepare("it's", stream=True)

    assert KEY not in f"{done!r} {done.curl()} {client!r}"
    assert done.headers["Authorization"] == "[redacted]"
    assert "it'\"'\"'s" in done.curl()


@pytest.mark.parametrize("places", [*itertools.product((False, True), repeat=3)])
def test_the_secrets_of_a_call_are_those_of_its_headers_and_queries(places: tuple[bool, bool, bool]) -> None:
    """Of its base URL's query, its own headers, and its own query."""
    in_url, in_headers, in_query = places
    base = "https://host.example/v1" + ("?key=secret-of-the-url" if in_url else "")
    args: Any = {"extra_headers": {"x-api-key": "secret-of-a-header"}} if in_headers else {}
    args |= {"extra_query": {"token": "secret-of-the-query"}} if in_query else {}
    session: Any = AsyncClient("openai-chat:m", api_key="k", base_url=base)._session
    names = ("secret-of-the-url", "secret-of-a-header", "secret-of-the-query")
    assert set(session.plan("hi", args, stream=False).secrets) == set(itertools.compress(names, places))


@pytest.mark.parametrize("model", ["openai-chat:m", "openai-responses-ws:m"])
def test_a_key_in_the_query_of_a_base_url_is_not_shown(model: str) -> None:
    client = AsyncClient(model, api_key="k", base_url=f"https://host.example/v1?key={KEY}&v=1")
    done = client.prepare("hi")

    assert KEY not in f"{done!r} {client!r}"
    assert done.url.endswith("?key=[redacted]&v=1")


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "misspelt": ({"temprature": 1}, TypeError, "did you mean 'temperature'"),
    "another library's": ({"max_retries": 2}, TypeError, r"did you mean 'retry=Retry\(attempts=3\)'"),
    "another library's clock": ({"timeout": 2}, TypeError, r"did you mean 'timeouts=Timeouts\(total=60\)'"),
    "another library's maximum": ({"max_completion_tokens": 2}, TypeError, "did you mean 'max_tokens'"),
    "unknown": ({"zzz": 1}, TypeError, "unexpected keyword argument 'zzz'"),
    "input": ({"input": 3}, TypeError, r"not 3 \(int\)"),
    "input list": ({"input": [{"role": "user"}]}, TypeError, r"input\[0\] takes a Message, .*Message\.user"),
    "nothing": ({"input": []}, ValueError, "nothing to say"),
    "tools": ({"tools": ["x"]}, TypeError, r"tools\[0\] takes a Tool"),
    "tools type": ({"tools": "x"}, TypeError, r"a list of \(a Tool"),
    "tool_choice": ({"tool_choice": "weather"}, ValueError, r"ToolChoice\.tool"),
    "output": ({"output": {"type": "object"}}, TypeError, "JSONSchema"),
    "a policy": ({"retry": 3}, TypeError, "retry"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named(name: str) -> None:
    args, kind, says = WRONG[name]
    client = AsyncClient("openai-chat:m", api_key=KEY)
    with pytest.raises(kind, match=says):
        client.prepare(**{"input": "hi", **args})
    if "input" not in args:
        with pytest.raises(kind, match=says):
            talk = client.conversation(**args)
            assert name == "output"  # a type is looked at when it is asked for
            talk.stream("hi")


def test_a_stream_that_is_asked_of_chat_is_pointed_to_its_method() -> None:
    client = AsyncClient("openai-chat:m", api_key=KEY)
    wrong: dict[str, Any] = {"stream": True}
    with pytest.raises(TypeError, match=r"client\.stream\(\.\.\.\) streams a response"):
        asyncio.run(client.chat("hi", **wrong))


def test_settings_without_a_model_have_no_provider_to_go_to() -> None:
    with pytest.raises(ConfigError, match="api_key: these belong to the provider of `model`"):
        AsyncClient(api_key=KEY)
    with pytest.raises(ConfigError, match="name a model"):
        AsyncClient().prepare("hi")
    with pytest.raises(ConfigError, match="gpt"):  # before it is asked
        AsyncClient("gpt")
    texts: Any = {"embed": ("hi",), "max_output_tokens": (), "count_tokens": ("hi",), "chat": ("hi",)}
    for call, args in texts.items():
        with pytest.raises(
            ConfigError, match=r"^name a model: model=.provider:model., here or when the client"
        ):
            asyncio.run(getattr(AsyncClient(), call)(*args))
        with pytest.raises(TypeError, match=r"^model takes text( or None)?, not 3 "):
            asyncio.run(getattr(AsyncClient(), call)(*args, model=3))
    with pytest.raises(ConfigError, match="name the provider whose models to list"):
        asyncio.run(AsyncClient().models())
    with pytest.raises(ValueError, match=r"Timeouts\.idle"):
        Timeouts(idle=0)


def test_counting_is_refused_where_the_protocol_cannot() -> None:
    with pytest.raises(UnsupportedError, match="no call that counts tokens"):
        asyncio.run(AsyncClient("openai-chat:m", api_key=KEY).count_tokens("hi"))


@pytest.mark.parametrize("model", ["anthropic:m", "openai-responses:m", "gemini:m", "bedrock:m"])
def test_a_strict_count_is_refused_for_what_a_strict_call_is_refused_for(model: str) -> None:
    client = AsyncClient(model, api_key=KEY, base_url="http://127.0.0.1:1", retry=Retry(1))
    said = Message("user", (TextPart("hi"),), name="Ann")
    for call in (client.chat, client.count_tokens):
        with pytest.raises(UnsupportedError, match=r"^strict, and .* cannot take: messages\[0\]\.name"):
            asyncio.run(call(said, strict=True))
        with pytest.raises(ConnectError):
            asyncio.run(call(said))


def test_a_text_of_a_type_of_one_s_own_is_sent_as_text() -> None:
    class Own(str):
        __slots__ = ()

    request = build_request(Own("hi"), {}, model="m", defaults=None)
    (part,) = request.messages[0].content
    assert isinstance(part, TextPart) and (type(part.text), part.text) == (str, "hi")


def test_entering_a_stream_sends_its_request_and_loses_no_event() -> None:
    async def main() -> None:
        transport = FakeProvider(lambda _: Answer(body=[TEXT]))
        async with AsyncClient("openai-chat:m", api_key=KEY, transport=transport) as client:
            events = [event async for event in client.stream("hi")]
            async with client.stream("hi") as stream:
                assert len(transport.requests) == 2
                assert [event async for event in stream] == events

    asyncio.run(main())


# -- conversations ---------------------------------------------------------------------------------------

# the settings of a conversation, those of a turn, and what of them is sent
TURNS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "of the conversation": ({"seed": 1, "options": Options(top_p=1)}, {}, {"seed": 1, "top_p": 1}),
    "of the turn": ({}, {"seed": 1, "options": Options(top_p=1)}, {"seed": 1, "top_p": 1}),
    "the turn's keyword over the other": ({"seed": 1}, {"seed": 2}, {"seed": 2}),
    "the turn's options over the others, field by field": (
        {"options": Options(seed=1, top_p=1)},
        {"options": Options(seed=2)},
        {"seed": 2, "top_p": 1},
    ),
    "the turn's options under the conversation's keyword": (
        {"seed": 1},
        {"options": Options(seed=2, top_p=1)},
        {"seed": 1, "top_p": 1},
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_a_turn_goes_over_its_conversation(name: str) -> None:
    kept, own, sent = TURNS[name]

    async def main() -> None:
        transport = FakeProvider(lambda _: Answer(body=WHOLE))
        async with AsyncClient("openai-chat:m", api_key=KEY, transport=transport) as client:
            await client.conversation(**kept).chat("hi", **own)
        (request,) = transport.requests
        body = request.json()
        assert {field: body[field] for field in body.keys() - {"model", "messages"}} == sent

    asyncio.run(main())


def test_a_conversation_grows_only_when_a_turn_has_ended_well() -> None:
    async def main() -> None:
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key=KEY, retry=Retry(1)) as client:
            talk = client.conversation(system="Be brief.", temperature=0)
            assert (await talk.chat("one")).text == "Hello"
            async with talk.stream("two") as stream:
                await anext(stream)  # left early
            assert len(talk.messages) == 2
            async with talk.stream("two") as stream:
                assert (await stream.collect()).text == "Hello"
            assert len(talk.messages) == 4
            told = talk.fork()
            assert [event async for event in told.stream("two")] and len(told.messages) == 6  # not left
            async with told.stream("three") as stream:
                while type(await anext(stream)) is not ResponseEnd:
                    pass
            assert len(told.messages) == 8  # left at its end
            with pytest.raises(APIError):
                await talk.chat("three")
            assert len(talk.messages) == 4
            other = talk.fork()
            await other.chat("four", temperature=1)
            assert (len(talk.messages), len(other.messages)) == (4, 6)

    streamed = Answer(body=[TEXT])
    answers = [Answer(body=WHOLE), *[streamed] * 4, Answer(500, body=b"{}"), Answer(body=WHOLE)]
    with ScriptedServer(answers) as server:
        asyncio.run(main())
        last = server.requests[-1].json()
        assert [m["content"] for m in last["messages"]] == [
            "Be brief.",
            "one",
            "Hello",
            "two",
            "Hello",
            "four",
        ]
        assert last["temperature"] == 1


def test_a_tool_loop_by_hand() -> None:
    def answer(request: RecordedRequest) -> Answer:
        if len(request.json()["messages"]) == 1:
            calls = [
                {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
            ]
            return Answer(
                body=json.dumps(whole({"tool_calls": calls, "content": None}, "tool_calls")).encode()
            )
        assert request.json()["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"city": "Paris"}'
        assert request.json()["messages"][2] == {
            "role": "tool",
            "tool_call_id": "c1",
            "content": "Sunny in Paris",
        }
        return Answer(body=json.dumps(whole({"content": "Sunny."}, "stop")).encode())

    def whole(message: dict[str, Any], finish: str) -> dict[str, Any]:
        return {"id": "x", "choices": [{"message": message, "finish_reason": finish}]}

    async def main() -> None:
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key=KEY) as client:
            messages = [Message.user("Weather in Paris?")]
            while (r := await client.chat(messages, tools=[WEATHER])).tool_calls:
                results = (Message.tool_result(c, f"Sunny in {c.args()['city']}") for c in r.tool_calls)
                messages += [r.message, *results]
            assert r.text == "Sunny."

    with ScriptedServer(answer) as server:
        asyncio.run(main())


# -- keys stay home --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REMOTE)
def test_a_planted_key_reaches_no_other_provider_and_no_output(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment holds a key for every row; a client for one row, with a key, asks every other row."""
    outputs: list[str] = []
    for row in PROVIDERS.values():
        if row.key_env:
            monkeypatch.setenv(row.key_env, f"env-key-of-{row.name}")
        if row.base_url_env:
            monkeypatch.delenv(row.base_url_env, raising=False)

    def refuse_with_the_key(request: RecordedRequest) -> Answer:
        key = (request.header("authorization") or "").removeprefix("Bearer ")
        return Answer(401, body=json.dumps({"error": {"message": f"wrong key {key}", "key": key}}).encode())

    async def ask(client: AsyncClient, model: str) -> None:
        try:
            await client.chat("hi", model=model)
        except ProviderError as error:
            again = pickle.loads(pickle.dumps(error))
            for shown in (error, again, copy.copy(error), copy.deepcopy(error)):
                outputs.append(f"{shown!r} {shown} {vars(shown)}")
        prepared = client.prepare("hi", model=model)
        outputs.append(f"{prepared!r} {prepared.curl()}")

    async def main() -> None:
        configs = [
            ProviderConfig(other, api_key=f"given-to-{other}", base_url=f"{server.url}/{other}")
            for other in REMOTE
            if other != name
        ]
        async with AsyncClient(
            f"{name}:m",
            api_key=KEY,
            base_url=f"{server.url}/{name}",
            headers={"x-planted": KEY},
            providers=configs,
        ) as client:
            for other in REMOTE:
                await ask(client, f"{other}:m")
            outputs.append(f"{client!r} {configs!r} {client._session.configs!r}")

    with ScriptedServer(refuse_with_the_key) as server:
        asyncio.run(main())
        for request in server.requests:
            home = request.path.split("/")[1]
            sent = str(request.headers)
            assert (KEY in sent) == (home == name)
            assert "env-key-of" not in sent  # the base URLs are from code, so are their keys
            assert (f"given-to-{home}" in sent) == (home != name)
    shown = " ".join(outputs)
    assert KEY not in shown
    assert "given-to" not in shown
    assert "env-key-of" not in shown


@pytest.mark.parametrize("name", [name for name in REMOTE if PROVIDERS[name].key_env])
def test_a_key_from_the_environment_goes_to_its_own_host_only(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = PROVIDERS[name]
    assert row.key_env is not None
    monkeypatch.setenv(row.key_env, "env-key\n")
    home = row.base_url
    if not home:
        assert row.base_url_env is not None
        with pytest.raises(ConfigError, match=f"pass base_url=, or set {row.base_url_env}"):
            AsyncClient().prepare("hi", model=f"{name}:m")
        home = "https://mine.example.com/v1"
        monkeypatch.setenv(row.base_url_env, home)

    assert AsyncClient().prepare("hi", model=f"{name}:m").url.startswith(home)
    with pytest.raises(ConfigError, match="stays with its own host"):
        AsyncClient(f"{name}:m", base_url="https://example.com/v1").prepare("hi")
    local = AsyncClient(f"{name}:m", base_url="http://localhost:1/v1").prepare("hi")
    assert "Authorization" not in local.headers
    own = AsyncClient(
        f"{name}:m", base_url="https://example.com/v1", headers={"Authorization": "mine"}
    ).prepare("hi")
    assert own.headers["Authorization"] == "[redacted]"


def test_a_base_url_from_the_environment_takes_the_key_from_there_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "env-key")
    with ScriptedServer([Answer(body=WHOLE)]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1/")
        client = AsyncClient("openai-chat:m")
        assert asyncio.run(client.chat("hi")).text == "Hello"
        assert server.requests[0].header("authorization") == "Bearer env-key"


def test_a_provider_of_ones_own() -> None:
    """A name on top of a row; plain http to a network that is trusted."""
    mine = ProviderConfig(
        "mine",
        based_on="openai-chat",
        api_key="k",
        base_url="http://example.com/v1",
        allow_http=True,
        options=Options(seed=7),
    )
    done = AsyncClient("mine:qwen", providers=[mine]).prepare("hi")

    assert done.url == "http://example.com/v1/chat/completions"
    assert json.loads(done.body)["seed"] == 7


@pytest.mark.parametrize(
    ("name", "variable", "url", "settings", "shows"),
    [
        ("ollama", "OLLAMA_HOST", "http://ollama:11434", {}, "which shows the messages"),
        ("ollama", "OLLAMA_HOST", "192.168.1.5", {"api_key": "k"}, "which shows the key and the messages"),
        ("vllm", None, "http://10.0.0.5:8000/v1", {}, "which shows the messages"),
        ("custom", None, "http://gpu-box:1234/v1", {"api_key": ""}, "which shows the messages"),
        ("openai-chat", None, "http://10.0.0.5/v1", {"api_key": "k"}, "which shows the key and the messages"),
    ],
)
def test_plain_http_to_another_machine_needs_one_word(
    name: str,
    variable: str | None,
    url: str,
    settings: dict[str, Any],
    shows: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Docker's usual OLLAMA_HOST, and keyless servers on the local network, which have no key to show."""
    if variable is not None:
        monkeypatch.setenv(variable, url)
        url = f"http://{url}:11434" if "//" not in url else url
    else:
        settings = {**settings, "base_url": url}
    for make in (AsyncClient, Client):
        with pytest.raises(ConfigError, match=shows) as caught:
            make(f"{name}:m", **settings).prepare("hi")
        assert "allow_http=True" in str(caught.value)
        assert "allow_http = true" in str(caught.value)
        assert "--allow-http" in explain(caught.value)
        assert make(f"{name}:m", **settings, allow_http=True).prepare("hi").url.startswith(url)
    with pytest.raises(ConfigError, match="allow_http: these belong to the provider of `model`"):
        AsyncClient(allow_http=True)


def test_errors_tell_the_provider_the_model_and_the_request() -> None:
    async def main() -> None:
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key=KEY) as client:
            with pytest.raises(APIError) as caught:
                async for _ in client.stream("hi"):
                    pass
            error = caught.value
            assert (error.provider, error.model, error.request_id) == ("openai-chat", "m", "r1")
            assert (error.status, error.provider_status) == (200, 529)
            assert error.partial is not None
            assert (error.partial.text, error.partial.request_id, error.partial.model) == ("a", "r1", "m-1")
            assert error.partial.headers["x-request-id"] == "r1"
            assert [each.request_id for each in error.partial.attempts] == ["r0"]
            assert [each.request_id for each in error.attempts] == ["r0", "r1"]

    broken = sse(chunk({"content": "a"}), {"error": {"message": "x", "code": 529}})
    busy = Answer(429, {"x-request-id": "r0", "retry-after": "0"})
    with ScriptedServer([busy, Answer(headers={"x-request-id": "r1"}, body=[broken])]) as server:
        asyncio.run(main())


# name: the error, what is being asked for in place of an answer; all that its message ends with
ADVICE: dict[str, tuple[ProviderError, str | None, str]] = {
    "a wrong key": (
        AuthenticationError("x", status=401),
        None,
        "x (check the key: api_key= or OPENAI_API_KEY)",
    ),
    "a wrong name": (NotFoundError("x", status=404), None, "x (check the model's name, 'm', and base_url)"),
    "a wrong id": (NotFoundError("x", status=404), "the id", "x (check the id)"),
    "too long": (ContextLengthError("x", status=400), None, "x (shorten the messages, or lower max_tokens)"),
    "a limit": (RateLimitError("x", status=429, retry_after=1.5), None, "x (try again in 1.5 s)"),
    "a limit without a time": (RateLimitError("x", status=429), None, "x"),
    "any other": (APIError("x", status=500), None, "x"),
}


@pytest.mark.parametrize("name", ADVICE)
def test_an_error_says_what_to_do(name: str) -> None:
    error, subject, words = ADVICE[name]
    session: Any = AsyncClient("openai-chat:m", api_key=KEY)._session
    plan = replace(session.plan("hi", {}, stream=False), subject=subject)
    explained = explain_error(error, plan, ())
    assert explained is error and str(error) == f"openai-chat: {words}"
    assert (error.provider, error.model) == ("openai-chat", "m")
    error.provider, error.model = "other", "n"
    assert (explain_error(error, plan, ()).provider, error.model) == ("other", "n")


# a call that is no chat, by its model: what to check where its address is answered with 404
SUBJECTS: dict[str, tuple[Callable[[AsyncClient], Any], str]] = {
    "openai:m": (lambda client: client.responses.retrieve("r"), "the id: was it stored"),
    "google-interactions:m": (lambda client: client.interactions.retrieve("r"), "the id: was it stored"),
    "ollama:m": (lambda client: client.ollama.list(), "base_url: is an Ollama server there?"),
    "llama-server:m": (
        lambda client: client.local.generate("hi"),
        "base_url: does llama.cpp's own server answer",
    ),
    "openai-chat:m": (lambda client: client.chat("hi"), "the model's name, 'm', and base_url"),
}


@pytest.mark.parametrize("model", SUBJECTS)
def test_an_address_that_does_not_exist_says_what_to_check(model: str) -> None:
    call, subject = SUBJECTS[model]
    client = AsyncClient(model, api_key=KEY, transport=FakeProvider(lambda _: Answer(404, body=b"{}")))
    with pytest.raises(NotFoundError) as caught:
        asyncio.run(call(client))
    assert f"(check {subject}" in str(caught.value)


# where a refusal leads, and how that is shown
REDIRECTS = {
    "https://b.example:8443/v2?key=1": "to https://b.example/v2 (HTTP 307)",
    "/v2": "to /v2 (HTTP 307)",
    "": "to nowhere (HTTP 307)",
    "http://[": "to what is no URL (HTTP 307)",
}


@pytest.mark.parametrize("location", REDIRECTS)
def test_a_redirect_is_named_and_not_followed(location: str) -> None:
    protocol = PROVIDERS["openai-chat"].protocol()
    error = refusal(protocol, 307, {"location": location} if location else {}, b"")
    assert REDIRECTS[location] in str(error) and "set base_url" in str(error) and error.status == 307
    assert type(error) is APIError and type(refusal(protocol, 400, {}, b"")) is InvalidRequestError


def test_what_the_environment_says_counts_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolved row is kept only as long as the variables that had a say are the same."""
    client = AsyncClient("google:m")
    seen = []
    for variable, value in (
        ("GEMINI_API_KEY", "a"),
        ("GEMINI_API_KEY", "b"),
        ("GEMINI_API_KEY", None),
        ("GOOGLE_API_KEY", "c"),
    ):
        if value is None:
            monkeypatch.delenv(variable)
            monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
            with pytest.raises(ConfigError, match="GEMINI_API_KEY or GOOGLE_API_KEY"):
                client.prepare("hi")
            continue
        monkeypatch.setenv(variable, value)
        seen.append(client._session.request("hi", {})[0].key)
    assert seen == ["a", "b", "c"]

    other = AsyncClient("openai-chat:m", api_key=KEY)
    urls = []
    for base in ("https://one.example/v1", "https://two.example/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", base)
        urls.append(other.prepare("hi").url)
    assert urls == ["https://one.example/v1/chat/completions", "https://two.example/v1/chat/completions"]


def test_an_answer_whose_decoder_gives_no_end_is_an_error() -> None:
    """A decoder of one's own may forget it."""

    class Endless:
        ended = True
        max_parts = 10

        def __init__(self, inner: Any) -> None:
            self.partial = inner.partial

        def feed_whole(self, _: bytes) -> list[Any]:
            return []

    async def main() -> None:
        transport = FakeProvider(lambda _: Answer(body=WHOLE))
        async with AsyncClient("openai-chat:m", api_key=KEY, transport=transport) as client:
            session: Any = client._session
            plan = session.plan("hi", {}, stream=False)
            with pytest.raises(ProtocolError, match="gave no ResponseEnd") as caught:
                await session.chat(replace(plan, call=replace(plan.call, wrap=Endless)))
            assert caught.value.partial is not None and caught.value.partial.headers

    asyncio.run(main())
