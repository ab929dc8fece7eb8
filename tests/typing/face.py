"""The public face, line by line: checked by mypy --strict and pyright, never run.

A misspelt keyword must be refused by both: each `ignore` below is itself an error if there is nothing to ignore.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, assert_type

from brainwires_provider import (
    APIError,
    AsyncClient,
    AsyncConversation,
    AsyncStream,
    CacheStrategy,
    Citation,
    Client,
    Conversation,
    Event,
    FilePart,
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    Model,
    OpaqueDelta,
    OpenAIChatOptions,
    Options,
    PartEnd,
    PartStart,
    PreparedRequest,
    ProviderConfig,
    RateLimitError,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Request,
    Response,
    ResponseEnd,
    ResponseRestart,
    ResponseStart,
    Stream,
    TextDelta,
    TextPart,
    Timeouts,
    TokenCount,
    Tool,
    ToolCallDelta,
    ToolCallPart,
    ToolChoice,
    Usage,
    collect,
    dump_messages,
    load_messages,
)

weather = Tool("weather", "Tells the weather.", {"type": "object"}, strict=True)
schema: Mapping[str, Any] = {"type": "object"}


def log(text: str) -> None: ...


def wait(seconds: float | None) -> None: ...


def run(name: str, arguments: dict[str, Any]) -> str:
    return name + str(arguments)


def what_a_user_types(messages: list[Message]) -> None:
    client = Client("openai-chat:gpt-6")
    print(client.chat("Why is the sky blue?").text)
    while (r := client.chat(messages, tools=[weather])).tool_calls:
        messages += [r.message, *(Message.tool_result(c, run(c.name, c.args())) for c in r.tool_calls)]
    client.chat("Ada, 36", output=JSONSchema("person", schema)).text.upper()
    client.chat(Message.user("What is this?", ImagePart.from_path("cat.png")))
    client.chat(messages, model="anthropic:claude-x", cache=CacheStrategy.system_and_tools(ttl="1h"))
    talk = Client("openai-responses-ws:gpt-6").conversation(system="Be brief.", tools=[weather])
    talk.chat("Hi")
    talk.chat("And now?")
    Client("openai-chat:qwen3", base_url="http://localhost:8000/v1", api_key="x").chat(
        "Hi", extra_body={"top_k": 20}
    )
    try:
        client.chat(messages)
    except RateLimitError as e:
        wait(e.retry_after)
    except APIError as e:
        print(e.status, e.code, e.request_id, e.partial)


async def the_same_with_await() -> None:
    async with AsyncClient("anthropic:claude-x") as ac, ac.stream("Why?", reasoning="high") as stream:
        async for event in stream:
            match event:
                case TextDelta(text=t):
                    print(t, end="")
                case ReasoningDelta(text=t):
                    log(t)
                case PartEnd(part=ToolCallPart() as call):
                    print(call.name, call.args())
                case ResponseEnd(usage=u):
                    print(u.output_tokens)
                case _:
                    pass


async def every_member_async(client: AsyncClient) -> None:
    assert_type(await client.chat("hi"), Response[None])
    stream = client.stream("hi")
    assert_type(stream, AsyncStream[None])
    assert_type(await anext(stream), Event)
    async for text in stream.text_stream():
        assert_type(text, str)
    assert_type(await stream.collect(), Response[None])
    assert_type(stream.partial, Response[None])
    assert_type(stream.response, Response[None])
    await stream.aclose()
    assert_type(client.prepare("hi", stream=True), PreparedRequest)
    assert_type(await client.count_tokens("hi"), TokenCount)
    assert_type(await client.models("groq"), list[Model])
    talk = client.conversation(messages=[Message.system("x")], system="y")
    assert_type(talk, AsyncConversation)
    assert_type(await talk.chat("hi"), Response)
    assert_type(talk.stream("hi"), AsyncStream)
    assert_type(talk.fork(), AsyncConversation)
    assert_type(talk.messages, list[Message])
    await client.aclose()


def every_member_sync(client: Client) -> None:
    with client:
        assert_type(client.chat("hi"), Response[None])
        with client.stream("hi") as stream:
            assert_type(stream, Stream[None])
            for event in stream:
                assert_type(event, Event)
            for text in stream.text_stream():
                assert_type(text, str)
            assert_type(stream.collect(), Response[None])
            assert_type(stream.partial, Response[None])
            assert_type(stream.response, Response[None])
            stream.close()
        assert_type(client.prepare("hi", stream=True), PreparedRequest)
        assert_type(client.count_tokens("hi"), TokenCount)
        assert_type(client.models(), list[Model])
        talk = client.conversation(system="y")
        assert_type(talk, Conversation)
        assert_type(talk.chat("hi"), Response)
        assert_type(talk.stream("hi"), Stream)
        assert_type(talk.fork(), Conversation)
    client.close()


async def fresh_key() -> str:
    return "k"


def every_setting(key: Callable[[], str], context: ssl.SSLContext) -> None:
    AsyncClient(
        "openai-chat:m",
        api_key=key,
        base_url="https://h/v1",
        headers={"a": "b"},
        providers=[ProviderConfig("mine", based_on="openai-chat", api_key=fresh_key)],
        options=Options(temperature=0.5, stop=("a",)),
        timeouts=Timeouts(connect=1, first_event=2, idle=3, content=3, attempt=4, total=5),
        strict=True,
        proxy=None,
        ssl_context=context,
        max_connections=5,
    )
    Client(None, proxy="env")


def every_argument(client: Client) -> None:
    client.chat(
        Request((Message.user("hi"),)),
        model="groq:x",
        system="be",
        tools=[weather, HostedTool("web_search", {"a": 1})],
        tool_choice=ToolChoice.tool("weather"),
        output="json",
        options=Options(),
        max_tokens=1,
        temperature=0.5,
        top_p=0.5,
        top_k=5,
        seed=1,
        stop=["a", "b"],
        presence_penalty=0.1,
        frequency_penalty=0.1,
        reasoning=Reasoning(budget_tokens=5),
        parallel_tool_calls=True,
        cache=CacheStrategy.off(),
        provider_options=[OpenAIChatOptions(logprobs=True)],
        extra_body={"a": 1},
        extra_headers={"a": "b"},
        extra_query={"a": "b"},
        timeouts=Timeouts(idle=None),
        strict=True,
    )


def a_misspelt_keyword_is_refused(client: Client, ac: AsyncClient) -> None:
    client.chat("hi", temprature=1)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    ac.stream("hi", sytem="x")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    ac.prepare("hi", streem=True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.conversation(tols=[])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.chat("hi", reasoning="much")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]
    client.chat("hi", tool_choice="weather")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]
    AsyncClient("m", apikey="x")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Message.user(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.chat(3)  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]


def every_event(event: Event) -> str:
    match event:
        case ResponseStart(id=id, model=model):
            return f"{id}{model}"
        case PartStart(index=index, part=part) | PartEnd(index=index, part=part):
            return f"{index}{part}"
        case (
            TextDelta(text=text)
            | ReasoningDelta(text=text)
            | RefusalDelta(text=text)
            | ToolCallDelta(text=text)
        ):
            return text
        case OpaqueDelta(kind=kind):
            return kind
        case ResponseRestart(attempt=attempt):
            return attempt.error
        case ResponseEnd(finish_reason=reason):
            return reason


def every_value(response: Response) -> None:
    assert_type(response.text, str)
    assert_type(response.reasoning, str)
    assert_type(response.tool_calls, tuple[ToolCallPart, ...])
    assert_type(response.citations, tuple[Citation, ...])
    assert_type(response.usage, Usage)
    assert_type(response.usage.input_tokens, int)
    assert_type(load_messages(dump_messages([response.message])), list[Message])
    assert_type(collect([]), Response)
    assert_type(FilePart.from_path(Path("a.pdf")), FilePart)
    assert_type(ImagePart.from_base64("aGk="), ImagePart)
    for part in response.message.content:
        if isinstance(part, TextPart):
            assert_type(part.text, str)
