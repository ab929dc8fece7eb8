"""The lines that the design shows a user typing, run against a scripted server.

Providers that later releases bring stand in for themselves as rows of one's own on Chat Completions.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import (
    APIError,
    AsyncClient,
    CacheStrategy,
    Client,
    JSONSchema,
    Message,
    PartEnd,
    ProviderConfig,
    RateLimitError,
    ReasoningDelta,
    ResponseEnd,
    Retry,
    TextDelta,
    Tool,
    ToolCallPart,
)
from brainwires_provider import ImagePart as Image
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, sse
from chat_answers import chunk

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
weather = Tool("weather", "Tells the weather.", {"type": "object"})
CALL = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}


def whole(text: str | None, finish: str = "stop", **message: Any) -> Answer:
    choice = {"message": {"content": text, **message}, "finish_reason": finish}
    return Answer(body=json.dumps({"id": "x", "choices": [choice]}).encode())


def answer(request: RecordedRequest) -> Answer:
    body = request.json()
    messages = body["messages"]
    if body["model"] == "busy":
        return Answer(
            429, {"retry-after": "3"}, b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}'
        )
    if body["model"] == "burnt":
        return Answer(500, {"x-request-id": "r5"}, b'{"error": {"message": "burnt", "code": "server_error"}}')
    if body.get("stream"):
        thinking = chunk({"reasoning_content": "Hm."})
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        done = chunk({"tool_calls": [CALL]}, "tool_calls", usage=usage)
        return Answer(body=[sse(thinking, chunk({"content": "Be"}), chunk({"content": "cause."}), done)])
    if body.get("tools") and messages[-1]["role"] == "user" and "weather" in str(messages).lower():
        return whole(None, "tool_calls", tool_calls=[CALL])
    return whole(
        f"{len(messages)} messages; {json.dumps(body.get('response_format'))}; top_k {body.get('top_k')}"
    )


@pytest.fixture
def server() -> Any:
    with ScriptedServer(answer) as running:
        yield running


@pytest.fixture
def settings(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    return {
        "providers": [
            ProviderConfig(name, based_on="openai-chat", base_url=server.url, api_key="k")
            for name in ("anthropic", "openai-responses-ws")
        ]
    }


def test_a_question(settings: dict[str, Any]) -> None:
    client = Client("openai-chat:gpt-6")  # key from the environment
    assert client.chat("Why is the sky blue?").text.startswith("1 messages")
    client.close()


def test_a_stream(settings: dict[str, Any]) -> None:
    seen: list[Any] = []

    async def main() -> None:
        async with (
            AsyncClient("anthropic:claude-x", **settings) as ac,
            ac.stream("Why?", reasoning="high") as stream,
        ):
            async for event in stream:
                match event:
                    case TextDelta(text=t):
                        seen.append(t)
                    case ReasoningDelta(text=t):
                        seen.append(t)
                    case PartEnd(part=ToolCallPart() as call):
                        seen.append((call.name, call.args()))
                    case ResponseEnd(usage=u):
                        seen.append(u.output_tokens)

    asyncio.run(main())
    assert seen == ["Hm.", "Be", "cause.", ("weather", {"city": "Paris"}), 2]


def test_tools_by_hand(settings: dict[str, Any]) -> None:
    def run(name: str, arguments: dict[str, Any]) -> str:
        return f"{name} in {arguments['city']}: sunny"

    with Client("openai-chat:gpt-6") as client:
        messages = [Message.user("Weather in Paris?")]
        while (r := client.chat(messages, tools=[weather])).tool_calls:
            messages += [r.message, *(Message.tool_result(c, run(c.name, c.args())) for c in r.tool_calls)]
        assert r.text.startswith("3 messages")


def test_the_rest(settings: dict[str, Any], server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    schema = {"type": "object"}
    with Client("openai-chat:gpt-6", **settings) as client:
        assert '"name": "person"' in client.chat("Ada, 36", output=JSONSchema("person", schema)).text
        client.chat(Message.user("What is this?", Image.from_path(tmp_path / "cat.png")))
        assert (
            server.requests[-1]
            .json()["messages"][0]["content"][1]["image_url"]["url"]
            .startswith("data:image/png")
        )
        messages = [Message.user("hi")]
        cached = client.chat(
            messages, model="anthropic:claude-x", cache=CacheStrategy.system_and_tools(ttl="1h")
        )
        assert [d.field for d in cached.report.dropped] == ["cache"]
    with Client("openai-responses-ws:gpt-6", **settings) as client:
        talk = client.conversation(system="Be brief.", tools=[weather])
        talk.chat("Hi")
        assert talk.chat("And now?").text.startswith("4 messages")
    with Client("openai-chat:qwen3", base_url=server.url, api_key="x") as client:
        assert client.chat("Hi", extra_body={"top_k": 20}).text.endswith("top_k 20")


def test_errors(settings: dict[str, Any]) -> None:
    waited = None
    with Client("openai-chat:gpt-6", retry=Retry(1)) as client:
        for model in ("busy", "burnt"):
            try:
                client.chat("hi", model=f"openai-chat:{model}")
            except RateLimitError as e:
                waited = e.retry_after
            except APIError as e:
                assert (e.status, e.code, e.request_id, e.partial) == (500, "server_error", "r5", None)
    assert waited == 3
