"""Answers on the wire that hold what must come back: thinking with signatures, redacted thinking, encrypted reasoning.

Each conversation is three answers: a call of `weather` after some thinking, an answer, and a later answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from brainwires_provider.testing import Answer, sse

CITY = {"city": "Paris"}
USAGE = {"input_tokens": 3, "output_tokens": 4}


def _claude(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-8",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE,
    }


CLAUDE = (
    _claude(
        {"type": "thinking", "thinking": "Which city? Paris.", "signature": "EqQBCgIYAh=="},
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4="},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": CITY},
        stop="tool_use",
    ),
    _claude(
        {"type": "thinking", "thinking": "", "signature": "c2lnbmF0dXJlIG9ubHk="},
        {"type": "text", "text": "Sunny."},
    ),
    _claude({"type": "text", "text": "Sunny as well."}),
)


def _gemini(*parts: dict[str, Any]) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-3-flash",
        "responseId": "r1",
    }


GEMINI = (
    _gemini(
        {"text": "Which city?", "thought": True},
        {"functionCall": {"name": "weather", "args": CITY}, "thoughtSignature": "Y2FsbA=="},
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
    ),
    _gemini({"text": "Sunny."}, {"text": "", "thoughtSignature": "dGFpbA=="}),
    _gemini({"text": "Sunny as well."}),
)


def _responses(number: int, *output: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "gpt-5.2",
        "output": list(output),
        "usage": {**USAGE, "total_tokens": 7},
    }


def _message(number: int, text: str) -> dict[str, Any]:
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": f"msg_{number}",
        "status": "completed",
        "role": "assistant",
        "content": [content],
    }


RESPONSES = (
    _responses(
        1,
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "**Which city?**"}],
            "encrypted_content": "gAAAAABo",
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{ "city":"Paris"}',
            "status": "completed",
        },
    ),
    _responses(
        2,
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAAAABp"},
        _message(2, "Sunny."),
    ),
    _responses(3, _message(3, "Sunny as well.")),
)


def _chat(reasoning: str | None, text: str | None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "reasoning_content": reasoning, **more}
    reason = "tool_calls" if more else "stop"
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "deepseek-reasoner",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


_CALLED = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
}
CHAT = (
    _chat("Which city?", None, tool_calls=[_CALLED]),
    _chat("Sunny it is.", "Sunny."),
    _chat(None, "Sunny as well."),
)

CONVERSATIONS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "anthropic:claude-opus-4-8": CLAUDE,
    "google:gemini-3-flash": GEMINI,
    "openai:gpt-5.2": RESPONSES,
    "deepseek:deepseek-reasoner": CHAT,
}


def whole(body: dict[str, Any]) -> Answer:
    """A body as a whole answer."""
    return Answer(body=msgspec.json.encode(body))


def streamed(body: dict[str, Any]) -> Answer:
    """The same answer as a stream, in its protocol's events."""
    if "candidates" in body:
        return Answer(body=[sse(body, done=False)])
    if body.get("object") == "response":
        return Answer(body=[sse(*_events_of(body), done=False)])
    if body.get("type") == "message":
        return Answer(body=[sse(*_blocks_of(body), done=False)])
    choice = body["choices"][0]
    message = choice["message"]
    calls = [{"index": at, **call} for at, call in enumerate(message.get("tool_calls", ()))]
    delta = {**message, **({"tool_calls": calls} if calls else {})}
    head = {**body, "object": "chat.completion.chunk"}
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
    ]
    return Answer(body=[sse(*chunks)])


def _events_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Items that come whole: a service need not send their deltas."""
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    items = [
        {"type": "response.output_item.done", "output_index": at, "item": item}
        for at, item in enumerate(body["output"])
    ]
    return [
        {"type": "response.created", "response": begun},
        *items,
        {"type": "response.completed", "response": body},
    ]


def _blocks_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    begun = {**body, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for at, block in enumerate(body["content"]):
        empty, deltas = _pieces(block)
        events.append({"type": "content_block_start", "index": at, "content_block": empty})
        events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": at})
    end = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": end, "usage": USAGE}, {"type": "message_stop"}]


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match block:
        case {"type": "thinking", "thinking": text, "signature": signature}:
            said = [{"type": "thinking_delta", "thinking": text}] if text else []
            signed = {"type": "signature_delta", "signature": signature}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*said, signed]
        case {"type": "text", "text": text}:
            return {"type": "text", "text": ""}, [{"type": "text_delta", "text": text}]
        case {"type": "tool_use", "input": given}:
            written = msgspec.json.encode(given).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": written}]
    return block, []
