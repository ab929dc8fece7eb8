"""Replies without a network reach the caller over the real request path, in the protocol of every provider."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    ConfigError,
    InvalidRequestError,
    Message,
    ProviderError,
    RateLimitError,
    ReasoningPart,
    RequestTimeout,
    Retry,
    StreamInterrupted,
    TextPart,
    Timeouts,
    Tool,
    ToolCallPart,
    ToolResultPart,
    TransportError,
)
from brainwires_provider.testing import (
    Answer,
    Close,
    Drop,
    Failure,
    FakeProvider,
    Gate,
    Paced,
    Reply,
    ScriptedServer,
    Stall,
    Wait,
    reply_answer,
    sse,
)

MODELS = {
    "openai-chat:gpt-4o": "openai_chat",
    "openai:gpt-4o": "openai_responses",
    "anthropic:claude-3-5-haiku-latest": "anthropic_messages",
    "google:gemini-2.5-flash": "gemini",
    "bedrock:amazon.nova-lite-v1:0": "bedrock_converse",
    "ollama:qwen3": "ollama",
    "google-interactions:gemini-3-flash": "google_interactions",
    "brainwires:m": "relay",
}
CALL = ToolCallPart("call_7", "weather", '{"city":"Paris"}')
WEATHER = Tool("weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.fixture(autouse=True)
def key_of_bedrock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def client(model: str, script: Any, **args: Any) -> Client:
    return Client(model, api_key="test", transport=FakeProvider(script), **args)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", MODELS)
def test_a_reply_arrives_as_it_was_written(model: str, stream: bool) -> None:
    thought, text = ReasoningPart("Let me look."), TextPart("Two words,\n and more ")
    reply = Reply((thought, text, CALL), input_tokens=40, output_tokens=7)
    with client(model, [reply, Reply((text,), "length"), "Hello"]) as asked:
        whole = (
            asked.stream("Hi", tools=[WEATHER]).collect
            if stream
            else lambda: asked.chat("Hi", tools=[WEATHER])
        )
        response = whole()
        is_relay = model.startswith("brainwires")  # which has no reasoning, and no other end
        assert response.reasoning == ("" if is_relay else thought.text) and response.text == text.text
        (call,) = response.tool_calls
        assert (call.name, call.args()) == ("weather", {"city": "Paris"})
        assert response.finish_reason == "tool_calls"
        assert (response.usage.input_tokens, response.usage.output_tokens) == (40, 7)
        assert response.message.content[0].origin is not None
        assert response.message.content[0].origin.protocol == MODELS[model]
        cut = asked.stream("Hi").collect() if stream else asked.chat("Hi")
        assert (cut.text, cut.finish_reason) == (text.text, "stop" if is_relay else "length")
        last = [*asked.stream("Hi")] if stream else asked.chat("Hi")
        assert last


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", MODELS)
def test_replies_go_back_in_the_next_requests(model: str, stream: bool) -> None:
    """No item's id is that of an earlier reply, and a thought's signature is one that the service knows."""
    call = ToolCallPart("", "weather", '{"city":"Paris"}')
    said = Reply((ReasoningPart("Let me look."), TextPart("Looking."), call))
    with client(model, [said, said, said, "Done"]) as asked:
        messages = [Message.user("Hi")]
        while True:
            response = (
                asked.stream(messages, tools=[WEATHER]).collect()
                if stream
                else asked.chat(messages, tools=[WEATHER])
            )
            if not response.tool_calls:
                break
            results = [ToolResultPart(made.call_id, "Sunny", name=made.name) for made in response.tool_calls]
            messages += [response.message, Message("tool", results)]
        assert response.text == "Done" and len(messages) == 7


def test_what_was_asked_is_kept() -> None:
    fake = FakeProvider(lambda request: request.json()["messages"][-1]["content"].upper())
    with Client("openai-chat:m", api_key="test", transport=fake) as asked:
        assert asked.chat("hello").text == "HELLO"
        assert [request.json()["messages"] for request in fake.requests] == [
            [{"role": "user", "content": "hello"}]
        ]
        assert fake.requests[0].header("Authorization") == "Bearer test"
        assert repr(fake) == "FakeProvider(1 requests)"


def test_faults_take_the_real_path() -> None:
    limited = Failure("rate_limit_exceeded", "slow down", 429)
    with client("openai-chat:m", [limited, "at last"], retry=Retry(base=0)) as asked:
        response = asked.chat("Hi")
        assert response.text == "at last" and len(response.attempts) == 1
    first = sse({"choices": [{"delta": {"content": "a"}}]}, done=False)
    whole = sse({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]})
    clocks = Timeouts(idle=0.05, first_event=0.05)
    script: list[Any] = [
        limited,
        Answer(body=[first, Close()]),
        Answer(body=[first, Drop()]),
        Answer(body=[first], drop=True),
        Answer(body=[first, Stall()]),
        Answer(stall_before_headers=True),
        Answer(before=[Wait(0.001), Drop()]),
        Answer(body=[Wait(0.001), Paced([b": a comment\n\n"], 0.001), whole]),
    ]
    with client("openai-chat:m", script, retry=Retry(attempts=1), timeouts=clocks) as asked:
        with pytest.raises(RateLimitError, match="slow down"):
            asked.chat("Hi")
        for _ in range(3):
            with pytest.raises(StreamInterrupted) as cut:
                asked.stream("Hi").collect()
            assert cut.value.partial is not None and cut.value.partial.text == "a"
        for _ in range(3):
            with pytest.raises((RequestTimeout, StreamInterrupted, TransportError)):
                asked.stream("Hi").collect()
        assert asked.stream("Hi").collect().text == "a"


def test_a_script_that_is_used_up_or_wrong_says_so() -> None:
    with (
        client("openai-chat:m", []) as asked,
        pytest.raises(AssertionError, match=r"no reply is left for request 1"),
    ):
        asked.chat("Hi")
    with client("openai-chat:m", Answer(raw=b"x")) as asked, pytest.raises(TypeError, match="ScriptedServer"):
        asked.chat("Hi")
    with client("openai-chat:m", Answer(body=[Gate()])) as asked, pytest.raises(TypeError, match="gates"):
        asked.chat("Hi")
    with client("openai-chat:m", 5) as asked, pytest.raises(TypeError):
        asked.chat("Hi")
    with client("openai-chat:m", "x") as asked, pytest.raises(ValueError, match="/models"):
        asked.models()
    with client("openai-responses-ws:m", "x") as asked, pytest.raises(ConfigError, match="ScriptedSocket"):
        asked.chat("Hi", timeouts=Timeouts(total=5))


def test_a_stream_is_left_without_waiting_for_its_end() -> None:
    async def leave() -> None:
        first = sse({"choices": [{"delta": {"content": "a"}}]}, done=False)
        asked = AsyncClient(
            "openai-chat:m", api_key="test", transport=FakeProvider(Answer(body=[first, Stall()]))
        )
        async with asyncio.timeout(5), asked, asked.stream("Hi") as stream:
            async for _ in stream:
                break

    asyncio.run(leave())


def test_one_server_answers_every_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda request: reply_answer(request, "Hello there")) as server:
        for model in MODELS:
            with Client(model, api_key="test", base_url=server.url) as asked:
                assert asked.chat("Hi").text == asked.stream("Hi").collect().text == "Hello there"


def test_responses_obey_the_rules_of_the_api() -> None:
    result = Message("tool", (ToolResultPart("call_9", (TextPart("x"),)),))
    with client("openai:gpt-4o", "x") as asked, pytest.raises(InvalidRequestError, match="call_9"):
        asked.chat([result])


def test_embeddings_follow_from_their_texts(fake_provider: Any) -> None:
    fake_provider("")
    with Client("openai-chat:m") as asked:
        first, second, again = asked.embed(["a", "b", "a"]).vectors
    assert list(first) == list(again) != list(second) and abs(sum(x * x for x in first) - 1) < 1e-6


@pytest.mark.parametrize("model", ["bedrock:amazon.nova-lite-v1:0", "azure:m", "custom:m"])
def test_the_fixture_gives_what_clouds_need(model: str, fake_provider: Any) -> None:
    fake_provider("Hello")
    with Client(model) as asked:
        assert asked.chat("Hi").text == "Hello"


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "InvalidRequestError"), (401, "AuthenticationError"), (503, "ServerError")]
)
def test_a_failure_is_of_its_status(status: int, kind: str) -> None:
    asked = client("openai-chat:m", Failure("bad", "bad", status), retry=Retry(attempts=1))
    with asked, pytest.raises(ProviderError) as failed:
        asked.chat("Hi")
    assert type(failed.value).__name__ == kind
