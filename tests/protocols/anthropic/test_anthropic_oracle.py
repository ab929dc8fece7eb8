"""The same requests from the `anthropic` package and from ours, at one server: equal field by field."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from brainwires_provider import Client
from brainwires_provider.protocols.anthropic import AnthropicOptions
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from brainwires_provider.types import (
    Cache,
    CacheStrategy,
    FilePart,
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    OpaquePart,
    Reasoning,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
)

anthropic = pytest.importorskip("anthropic")

MODEL = "claude-opus-5"
OLD = "claude-haiku-4-5"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("weather", "Tells the weather.", SCHEMA)
NAMED = {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA}
CALL = ToolCallPart("toolu_1", "weather", '{"city":"Paris"}')
USED = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
PNG = b"\x89PNG\r\n\x1a\nx"
HI = [{"role": "user", "content": "Hi"}]
EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# What is asked of our client (input, keywords), and of theirs.
EQUAL: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "a question": ("Hi", {}, {"messages": HI}),
    "system": ("Hi", {"system": "Be brief."}, {"messages": HI, "system": "Be brief."}),
    "a talk": (
        [Message.user("Hi"), Message.assistant("Yo"), Message.user("a", "b")],
        {},
        {
            "messages": [
                *HI,
                {"role": "assistant", "content": "Yo"},
                {"role": "user", "content": [text("a"), text("b")]},
            ]
        },
    ),
    "a later system message": (
        [Message.user("Hi"), Message.system("In French.")],
        {},
        {"messages": [*HI, {"role": "system", "content": "In French."}]},
    ),
    "tools": (
        "Hi",
        {
            "tools": [
                Tool(
                    "weather",
                    "Tells the weather.",
                    SCHEMA,
                    strict=True,
                    extra={"eager_input_streaming": True},
                ),
                HostedTool("web_search_20250305", {"name": "web_search", "max_uses": 2}),
            ]
        },
        {
            "messages": HI,
            "tools": [
                {**NAMED, "strict": True, "eager_input_streaming": True},
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
            ],
        },
    ),
    "a forced tool, alone": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": ToolChoice.tool("weather"), "parallel_tool_calls": False},
        {
            "messages": HI,
            "tools": [NAMED],
            "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        },
    ),
    "answers": (
        [
            Message.user("Hi"),
            Message.assistant("Let me see.", CALL),
            Message.tool_result(CALL, "sunny", ImagePart(data=PNG), is_error=True),
        ],
        {"tools": [WEATHER]},
        {
            "messages": [
                *HI,
                {"role": "assistant", "content": [text("Let me see."), USED]},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "toolu_1",
                            "content": [
                                text("sunny"),
                                {
                                    "type": "image",
                                    "source": {
                                        "type": "base64",
                                        "media_type": "image/png",
                                        "data": coded(PNG),
                                    },
                                },
                            ],
                            "is_error": True,
                        }
                    ],
                },
            ],
            "tools": [NAMED],
        },
    ),
    "documents": (
        Message.user(
            FilePart(data=b"%PDF-1", name="a.pdf", extra={"citations": {"enabled": True}}),
            FilePart(url="https://x.test/a.pdf"),
            FilePart(data=b"plain", media_type="text/plain"),
            FilePart(file_id="file_1"),
            ImagePart(url="https://x.test/a.png"),
            OpaquePart(
                "search_result",
                {"type": "search_result", "source": "s", "title": "t", "content": [text("c")]},
            ),
        ),
        {},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {
                                "type": "base64",
                                "media_type": "application/pdf",
                                "data": coded(b"%PDF-1"),
                            },
                            "title": "a.pdf",
                            "citations": {"enabled": True},
                        },
                        {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}},
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "plain"},
                        },
                        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
                        {"type": "search_result", "source": "s", "title": "t", "content": [text("c")]},
                    ],
                }
            ]
        },
    ),
    "thinking with an effort": (
        "Hi",
        {"reasoning": Reasoning("high", summary="auto")},
        {
            "messages": HI,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "high"},
        },
    ),
    "thinking with a budget": (
        "Hi",
        {"model": f"anthropic:{OLD}", "reasoning": Reasoning(budget_tokens=2000), "max_tokens": 4000},
        {
            "model": OLD,
            "messages": HI,
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "max_tokens": 4000,
        },
    ),
    "a shape": (
        "Hi",
        {"output": JSONSchema("city", SCHEMA)},
        {"messages": HI, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "stops": ("Hi", {"stop": ["END"]}, {"messages": HI, "stop_sequences": ["END"]}),
    "sampling, under the version that takes it": (
        "Hi",
        {"model": f"anthropic:{OLD}", "temperature": 0.5, "top_k": 3},
        {
            "model": OLD,
            "messages": HI,
            "extra_body": {"temperature": 0.5, "top_k": 3},
            "extra_headers": {"anthropic-version": "2023-06-01"},
        },
    ),
    "cache marks": (
        [Message.system(TextPart("S", cache=Cache("1h"))), Message.user(TextPart("Hi", cache=Cache()))],
        {},
        {
            "system": [text("S", cache_control=HOUR)],
            "messages": [{"role": "user", "content": [text("Hi", cache_control=EPHEMERAL)]}],
        },
    ),
    "a cache strategy": (
        "Hi",
        {"system": "S", "tools": [WEATHER], "cache": CacheStrategy.system_and_tools("1h")},
        {
            "system": [text("S", cache_control=HOUR)],
            "tools": [{**NAMED, "cache_control": HOUR}],
            "messages": HI,
        },
    ),
    "own fields": (
        "Hi",
        {
            "provider_options": AnthropicOptions(
                container="c",
                diagnostics={"previous_message_id": None},
                inference_geo="eu",
                metadata={"user_id": "u"},
                service_tier="standard_only",
                speed="fast",
                user_profile_id="p",
                workspace_id="w",
            )
        },
        {
            "messages": HI,
            "container": "c",
            "diagnostics": {"previous_message_id": None},
            "inference_geo": "eu",
            "metadata": {"user_id": "u"},
            "service_tier": "standard_only",
            "speed": "fast",
            "user_profile_id": "p",
            "workspace_id": "w",
        },
    ),
}
MCP = {"type": "url", "name": "docs", "url": "https://mcp.test"}
BETA: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "beta fields": (
        "Hi",
        {
            "provider_options": AnthropicOptions(
                betas=["mcp-client-2025-11-20", "context-management-2025-06-27"],
                mcp_servers=[MCP],
                context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
                fallbacks="default",
                thread={"type": "create"},
            ),
            "tools": [HostedTool("mcp_toolset", {"mcp_server_name": "docs"})],
        },
        {
            "messages": HI,
            "betas": ["mcp-client-2025-11-20", "context-management-2025-06-27"],
            "mcp_servers": [MCP],
            "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
            "fallbacks": "default",
            "thread": {"type": "create"},
            "tools": [{"type": "mcp_toolset", "mcp_server_name": "docs"}],
        },
    ),
}

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": "Yo"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}
HEADERS = ("anthropic-version", "anthropic-beta", "anthropic-user-profile-id", "anthropic-workspace-id")


def answer(request: RecordedRequest) -> Answer:
    if request.path.endswith("/count_tokens"):
        return Answer(body=b'{"input_tokens": 7}')
    if request.path == "/v1/models":
        first = "after_id" not in request.query
        entry = {
            "type": "model",
            "id": f"claude-{1 if first else 2}",
            "display_name": "C",
            "lifecycle": "active",
        }
        entry["created_at"] = "2026-07-01T00:00:00Z"
        page = {"data": [entry], "has_more": first, "first_id": entry["id"], "last_id": entry["id"]}
        return Answer(body=msgspec.json.encode(page))
    return Answer(body=msgspec.json.encode(MESSAGE))


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(answer) as running:
        yield running


@pytest.fixture(scope="module")
def theirs(server: ScriptedServer) -> Any:
    return anthropic.Anthropic(api_key="sk-theirs", base_url=server.url, max_retries=0)


@pytest.fixture(scope="module")
def ours(server: ScriptedServer) -> Iterator[Client]:
    with Client(f"anthropic:{MODEL}", api_key="sk-ours", base_url=server.url, proxy=None) as client:
        yield client


def last(server: ScriptedServer) -> tuple[str, str, dict[str, str], Any]:
    """The request line, the headers that carry meaning, and the body."""
    request = server.requests[-1]
    told = {name.lower(): value for name, value in request.headers}
    body = request.json() if request.body else None
    return request.method, request.path, {n: told[n] for n in HEADERS if n in told}, body


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", [*EQUAL, *BETA])
def test_the_same_request(case: str, stream: bool, server: ScriptedServer, ours: Client, theirs: Any) -> None:
    input, args, asked = {**EQUAL, **BETA}[case]
    args, asked = {"max_tokens": 100, **args}, {"max_tokens": 100, "model": MODEL, **asked}
    if stream:
        with ours.stream(input, **args) as events:
            events.collect()
    else:
        assert ours.chat(input, **args).text == "Yo"
    sent = last(server)
    messages = theirs.beta.messages if case in BETA else theirs.messages
    answered = messages.create(**asked, stream=stream) if stream else messages.create(**asked)
    if stream:
        answered.close()
    else:
        assert answered.content[0].text == "Yo"
    expected = last(server)
    if not stream:
        expected[3].pop("stream", None)  # theirs may say that it is false
    assert sent == expected


@pytest.mark.parametrize("case", ["a question", "tools", "thinking with an effort", "cache marks"])
def test_the_same_count(case: str, server: ScriptedServer, ours: Client, theirs: Any) -> None:
    input, args, asked = EQUAL[case]
    assert ours.count_tokens(input, **args).input_tokens == 7
    sent = last(server)
    assert theirs.messages.count_tokens(model=MODEL, **asked).input_tokens == 7
    assert sent == last(server)


def test_the_same_models(server: ScriptedServer, ours: Client, theirs: Any) -> None:
    found = [model.id for model in ours.models()]
    paths = [(r.method, r.path) for r in server.requests[-2:]]
    assert found == [model.id for model in theirs.models.list()] == ["claude-1", "claude-2"]
    assert paths == [(r.method, r.path) for r in server.requests[-2:]] == [("GET", "/v1/models")] * 2


def test_the_key_is_in_its_own_header(server: ScriptedServer, ours: Client) -> None:
    ours.chat("Hi")
    told = {name.lower(): value for name, value in server.requests[-1].headers}
    assert told["x-api-key"] == "sk-ours"
    assert "authorization" not in told
