"""Conversations go through LangChain, its stream events and a JSON dump, and reach the wire byte for byte the same.

The bodies that the provider gets are compared with those of this library's own client.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.load import dumps, loads
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.tools import tool

from brainwires_provider import Client, Message, Tool
from brainwires_provider.integrations.langchain import ChatBrainwires
from brainwires_provider.testing import Answer, FakeProvider

pytestmark = pytest.mark.long


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


PARAMETERS = {
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "type": "object",
}
ADD = Tool("add", "Add.", PARAMETERS)


# -- what services answer ------------------------------------------------------------------------------------

CLAUDE: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Let me see.", "signature": "EqQBCg=="},
    {"type": "redacted_thinking", "data": "RW5jcnlwdGVk"},
    {"type": "text", "text": "I look it up. "},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sums"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [
            {
                "type": "web_search_result",
                "url": "https://a.example",
                "title": "A",
                "encrypted_content": "Eo==",
            }
        ],
    },
    {
        "type": "text",
        "text": "It is a sum.",
        "citations": [
            {
                "type": "web_search_result_location",
                "url": "https://a.example",
                "title": "A",
                "encrypted_index": "E1",
                "cited_text": "sum",
            }
        ],
    },
    {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1, "b": 2}},
]


def claude_answer(stream: bool) -> Answer:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5"}
    usage = {
        "input_tokens": 3,
        "output_tokens": 9,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 7,
    }
    if not stream:
        body = {
            **message,
            "content": CLAUDE,
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "usage": usage,
        }
        return Answer(body=json.dumps(body).encode())
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "usage": usage}}
    ]
    for index, block in enumerate(CLAUDE):
        start, deltas = dict(block), []
        if block["type"] == "text":
            start["text"] = ""
            start.pop("citations", None)
            deltas = [{"type": "text_delta", "text": block["text"]}]
            deltas += [{"type": "citations_delta", "citation": each} for each in block.get("citations", ())]
        elif block["type"] == "thinking":
            start |= {"thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": "Let me "},
                {"type": "thinking_delta", "thinking": "see."},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif block["type"] in ("tool_use", "server_tool_use"):
            start["input"] = {}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": each} for each in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]
    return Answer(body=[named(events)])


def named(events: list[dict[str, Any]]) -> bytes:
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)


GEMINI = [
    {"text": "I think.", "thought": True},
    {"text": "Here ", "thoughtSignature": "c2lnMQ=="},
    {"text": "it is."},
    {"functionCall": {"name": "add", "args": {"a": 1, "b": 2}}, "thoughtSignature": "c2lnMg=="},
]


def gemini_answer(stream: bool) -> Answer:
    def body(parts: list[dict[str, Any]], end: bool) -> dict[str, Any]:
        candidate = {
            "content": {"role": "model", "parts": parts},
            **({"finishReason": "STOP"} if end else {}),
        }
        usage = {
            "promptTokenCount": 5,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 2,
            "totalTokenCount": 11,
        }
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": "gemini-3-pro",
            "responseId": "r1",
        }

    if not stream:
        return Answer(body=json.dumps(body(GEMINI, True)).encode())
    pieces = [body([part], part is GEMINI[-1]) for part in GEMINI]
    return Answer(body=[b"".join(f"data: {json.dumps(piece)}\n\n".encode() for piece in pieces)])


RESPONSES: list[dict[str, Any]] = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Thinking of sums."}],
        "encrypted_content": "gAAAAB1",
    },
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "sums"},
    },
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "phase": "commentary",
        "content": [{"type": "output_text", "text": "I add.", "annotations": [], "logprobs": []}],
    },
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "add",
        "arguments": '{"a": 1,  "b": 2}',
        "status": "completed",
    },
]


def responses_answer(stream: bool) -> Answer:
    usage = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 29,
    }
    head = {"id": "resp_1", "object": "response", "model": "gpt-6-2026", "created_at": 1}
    whole = {**head, "status": "completed", "output": RESPONSES, "usage": usage}
    if not stream:
        return Answer(body=json.dumps(whole).encode())
    begun = {**head, "status": "in_progress", "output": []}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for index, item in enumerate(RESPONSES):
        events.append({"type": "response.output_item.added", "output_index": index, "item": {**item}})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": whole})
    return Answer(body=[named([{**each, "sequence_number": n} for n, each in enumerate(events)])])


SERVICES: dict[str, tuple[str, Callable[[bool], Answer]]] = {
    "claude": ("anthropic:claude-sonnet-5", claude_answer),
    "gemini": ("google:gemini-3-pro", gemini_answer),
    "responses": ("openai-responses:gpt-6", responses_answer),
}


# -- ways of LangChain ---------------------------------------------------------------------------------------


def invoked(model: Any, messages: list[BaseMessage]) -> AIMessage:
    return model.invoke(messages)


def ainvoked(model: Any, messages: list[BaseMessage]) -> AIMessage:
    return asyncio.run(model.ainvoke(messages))


def streamed(model: Any, messages: list[BaseMessage]) -> AIMessage:
    total = None
    for chunk in model.stream(messages):
        total = chunk if total is None else total + chunk
    return total


def astreamed(model: Any, messages: list[BaseMessage]) -> AIMessage:
    async def read() -> AIMessage:
        total = None
        async for chunk in model.astream(messages):
            total = chunk if total is None else total + chunk
        return total

    return asyncio.run(read())


def by_events(model: Any, messages: list[BaseMessage]) -> AIMessage:
    return model.stream_events(messages, version="v3").output


def as_it_is(messages: list[BaseMessage]) -> list[BaseMessage]:
    return messages


def through_dumps(messages: list[BaseMessage]) -> list[BaseMessage]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is in beta, and warns of that
        return loads(dumps(messages), allowed_objects="messages")


def through_dicts(messages: list[BaseMessage]) -> list[BaseMessage]:
    return messages_from_dict(json.loads(json.dumps(messages_to_dict(messages))))


WAYS = (invoked, ainvoked, streamed, astreamed, by_events)
STORES = (as_it_is, through_dumps, through_dicts)


def fake_of(answer: Callable[[bool], Answer]) -> FakeProvider:
    def said(request: Any) -> Answer:
        body = request.json()
        return answer(bool(body.get("stream")) or "stream" in request.path.lower())

    return FakeProvider(said)


def direct(name: str, *, streams: bool) -> list[bytes]:
    """The bodies of two turns of this library's own client."""
    model, answer = SERVICES[name]
    fake = fake_of(answer)
    with Client(model, api_key="k", transport=fake) as client:
        messages = [Message.user("1 + 2?")]
        for _ in range(2):
            args: dict[str, Any] = {"tools": [ADD], "reasoning": "high"}
            if streams:
                with client.stream(messages, **args) as stream:
                    response = stream.collect()
            else:
                response = client.chat(messages, **args)
            messages += [response.message, Message.tool_result(response.tool_calls[0], "3")]
    return [request.body for request in fake.requests]


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", [None, "v1"])
@pytest.mark.parametrize("store", STORES)
def test_it_is_byte_equal_in_every_way_that_langchain_has(
    name: str,
    way: Callable[[Any, list[BaseMessage]], AIMessage],
    version: str | None,
    store: Callable[[list[BaseMessage]], list[BaseMessage]],
) -> None:
    compare(name, way, version, store)


def compare(
    name: str,
    way: Callable[[Any, list[BaseMessage]], AIMessage],
    version: str | None,
    store: Callable[[list[BaseMessage]], list[BaseMessage]],
) -> None:
    model, answer = SERVICES[name]
    fake = fake_of(answer)
    made = ChatBrainwires(
        model=model, api_key="k", reasoning="high", output_version=version, client_options={"transport": fake}
    )
    bound = made.bind_tools([add])
    messages: list[BaseMessage] = [HumanMessage("1 + 2?")]
    for _ in range(2):
        turn = way(bound, messages)
        (call,) = turn.tool_calls
        assert (call["name"], call["args"]) == ("add", {"a": 1, "b": 2})
        messages = store([*messages, turn, ToolMessage("3", tool_call_id=call["id"])])
    made.close()
    streams = way not in (invoked, ainvoked)
    assert [request.body for request in fake.requests] == direct(name, streams=streams)
    second = fake.requests[1].body.decode()
    for secret in {
        "claude": ("EqQBCg==", "RW5jcnlwdGVk", "encrypted_index", "srvtoolu_1"),
        "gemini": ("c2lnMQ==", "c2lnMg=="),
        "responses": ("gAAAAB1", "ws_1", '"phase":"commentary"', '{\\"a\\": 1,  \\"b\\": 2}'),
    }[name]:
        assert secret in second


def test_usage_and_facts_of_the_response() -> None:
    expected = {
        "claude": ({"cache_read": 5, "cache_creation": 7}, None, 15, 9),
        "gemini": (None, {"reasoning": 2}, 5, 6),
        "responses": ({"cache_read": 8}, {"reasoning": 4}, 20, 9),
    }
    for name, (read, written, into, out) in expected.items():
        model, answer = SERVICES[name]
        made = ChatBrainwires(
            model=model, api_key="k", reasoning="high", client_options={"transport": fake_of(answer)}
        )
        for way in (invoked, streamed, by_events):
            message = way(made, [HumanMessage("1 + 2?")])
            usage = message.usage_metadata
            assert usage is not None and usage["total_tokens"] == into + out
            assert (usage["input_tokens"], usage["output_tokens"]) == (into, out)
            assert usage.get("input_token_details") == read and usage.get("output_token_details") == written
            facts = message.response_metadata
            assert facts["provider"] == model.partition(":")[0] and facts["model_provider"] == "brainwires"
            assert facts["finish_reason"] == "tool_calls" and facts["id"] and facts["model_name"]
            assert "sent" in facts["report"]
        made.close()
