"""Scripted servers of every protocol that call the same tools, and what they then read of the results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from brainwires_provider import ProviderConfig
from brainwires_provider.testing import Answer, RecordedRequest, sse
from event_streams import CONTENT_TYPE, event

Call = tuple[str, str, dict[str, Any]]
"""An id, a tool's name, its arguments."""
Body = dict[str, Any]


class Service(NamedTuple):
    """One protocol's streamed answers, and its requests."""

    model: str
    calls: Callable[[Sequence[Call]], Answer]
    says: Callable[[str], Answer]
    results: Callable[[Body], list[tuple[str, str]]]
    """The id and the content of every result in a request; the content as JSON of whatever the API takes."""
    has_ids: bool = True


def _events(*pairs: tuple[str, Body]) -> Answer:
    return Answer(
        body=[b"".join(b"event: %b\n" % name.encode() + sse(data, done=False) for name, data in pairs)]
    )


def _typed(*objects: Body) -> Answer:
    return _events(*((each["type"], each) for each in objects))


# -- Chat Completions ----------------------------------------------------------------------------------------

_USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


def _chunk(delta: Body, finish: str) -> Answer:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return Answer(body=[sse({"id": "c", "model": "m", "choices": [choice], "usage": _USAGE})])


def chat_calls(calls: Sequence[Call]) -> Answer:
    made = [
        {"index": i, "id": id, "function": {"name": name, "arguments": json.dumps(given)}}
        for i, (id, name, given) in enumerate(calls)
    ]
    return _chunk({"tool_calls": made}, "tool_calls")


def chat_says(text: str) -> Answer:
    return _chunk({"content": text}, "stop")


def chat_results(body: Body) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            found.append((message["tool_call_id"], json.dumps(message["content"])))
        elif message["role"] == "user" and found:
            found[-1] = (
                found[-1][0],
                found[-1][1] + json.dumps(message["content"]),
            )  # images follow as the user's
    return found


# -- Responses -----------------------------------------------------------------------------------------------


def _responses(items: Sequence[Body]) -> Answer:
    whole = {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "status": "completed",
        "output": list(items),
        "usage": {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12},
    }
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    done = (
        {"type": "response.output_item.done", "output_index": i, "item": each} for i, each in enumerate(items)
    )
    return _typed(
        {"type": "response.created", "response": begun},
        *done,
        {"type": "response.completed", "response": whole},
    )


def responses_calls(calls: Sequence[Call]) -> Answer:
    return _responses(
        [
            {
                "type": "function_call",
                "id": f"fc_{id}",
                "call_id": id,
                "name": name,
                "arguments": json.dumps(given),
            }
            | {"status": "completed"}
            for id, name, given in calls
        ]
    )


def responses_says(text: str) -> Answer:
    part = {"type": "output_text", "text": text, "annotations": []}
    return _responses(
        [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}]
    )


def responses_results(body: Body) -> list[tuple[str, str]]:
    return [
        (item["call_id"], json.dumps(item["output"]))
        for item in body["input"]
        if item.get("type") == "function_call_output"
    ]


# -- Messages ------------------------------------------------------------------------------------------------


def _messages(blocks: Sequence[tuple[Body, Body]], stop: str) -> Answer:
    usage = {"input_tokens": 10, "output_tokens": 2}
    start = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": usage,
    }
    events: list[Body] = [{"type": "message_start", "message": start}]
    for index, (block, delta) in enumerate(blocks):
        events += [
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    events += [
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return _typed(*events)


def messages_calls(calls: Sequence[Call]) -> Answer:
    return _messages(
        [
            (
                {"type": "tool_use", "id": id, "name": name, "input": {}},
                {"type": "input_json_delta", "partial_json": json.dumps(given)},
            )
            for id, name, given in calls
        ],
        "tool_use",
    )


def messages_says(text: str) -> Answer:
    return _messages([({"type": "text", "text": ""}, {"type": "text_delta", "text": text})], "end_turn")


def messages_results(body: Body) -> list[tuple[str, str]]:
    return [
        (part["tool_use_id"], json.dumps(part["content"]))
        for message in body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "tool_result"
    ]


# -- Gemini, Interactions, Ollama, Converse, the relay -------------------------------------------------------


def _gemini(parts: Sequence[Body]) -> Answer:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12}
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}
    return Answer(
        body=[sse({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}, done=False)]
    )


def gemini_results(body: Body) -> list[tuple[str, str]]:
    return [
        (part["functionResponse"]["name"], json.dumps(part["functionResponse"]))
        if "functionResponse" in part
        else ("", json.dumps(part))
        for content in body["contents"][2:]
        for part in content["parts"]
    ]


def _interactions(status: str, steps: Sequence[Body]) -> Answer:
    usage = {"total_input_tokens": 10, "total_output_tokens": 2, "total_tokens": 12}
    top = {"id": "v1_1", "object": "interaction", "model": "m"}
    each = (event for i, step in enumerate(steps) for event in (_started(i, step), _stopped(i)))
    return Answer(
        body=[
            sse(
                {"event_type": "interaction.created", "interaction": {**top, "status": "in_progress"}},
                *each,
                {
                    "event_type": "interaction.completed",
                    "interaction": {**top, "status": status, "usage": usage},
                },
                done=False,
            )
        ]
    )


def _started(index: int, step: Body) -> Body:
    return {"event_type": "step.start", "index": index, "step": step}


def _stopped(index: int) -> Body:
    return {"event_type": "step.stop", "index": index}


def interactions_calls(calls: Sequence[Call]) -> Answer:
    return _interactions(
        "requires_action",
        [{"type": "function_call", "id": id, "name": name, "arguments": given} for id, name, given in calls],
    )


def interactions_says(text: str) -> Answer:
    content = [{"type": "text", "text": text}]
    return _interactions("completed", [{"type": "model_output", "content": content}])


def interactions_results(body: Body) -> list[tuple[str, str]]:
    """Media that the model takes only beside a result are the user's input behind all results."""
    return [
        (step.get("call_id", ""), json.dumps(step))
        for step in body["input"][1:]
        if step["type"] in ("function_result", "user_input")
    ]


def _ollama(message: Body) -> Answer:
    ends = {"done": True, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 2}
    line = {
        "model": "m",
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", **message},
        **ends,
    }
    headers = {"content-type": "application/x-ndjson"}
    return Answer(headers=headers, body=[json.dumps(line).encode() + b"\n"])


def ollama_results(body: Body) -> list[tuple[str, str]]:
    return [
        (message.get("tool_name", ""), json.dumps([message["content"], message.get("images")]))
        for message in body["messages"]
        if message["role"] == "tool"
    ]


def _converse(blocks: Sequence[tuple[Body | None, Body]], stop: str) -> Answer:
    body = event("messageStart", {"role": "assistant"})
    for index, (start, delta) in enumerate(blocks):
        if start is not None:
            body += event("contentBlockStart", {"contentBlockIndex": index, "start": start})
        body += event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
        body += event("contentBlockStop", {"contentBlockIndex": index})
    body += event("messageStop", {"stopReason": stop})
    body += event("metadata", {"usage": {"inputTokens": 10, "outputTokens": 2, "totalTokens": 12}})
    return Answer(headers=CONTENT_TYPE, body=[body])


def converse_calls(calls: Sequence[Call]) -> Answer:
    return _converse(
        [
            ({"toolUse": {"toolUseId": id, "name": name}}, {"toolUse": {"input": json.dumps(given)}})
            for id, name, given in calls
        ],
        "tool_use",
    )


def converse_results(body: Body) -> list[tuple[str, str]]:
    return [
        (part["toolResult"]["toolUseId"], json.dumps(part["toolResult"]["content"]))
        for message in body["messages"]
        for part in message["content"]
        if "toolResult" in part
    ]


def relay_calls(calls: Sequence[Call]) -> Answer:
    made = (
        (
            "toolCall",
            {
                "callId": id,
                "responseId": "r",
                "chatId": "c",
                "toolName": name,
                "server": "s",
                "parameters": given,
            },
        )
        for id, name, given in calls
    )
    return _events(*made, ("complete", {"usage": _USAGE}))


def relay_results(body: Body) -> list[tuple[str, str]]:
    return [
        (message["call_id"], json.dumps(message["content"]))
        for message in body["conversationHistory"]
        if message["role"] == "tool"
    ]


SERVICES = {
    "chat": Service("openai-chat:m", chat_calls, chat_says, chat_results),
    "responses": Service("openai-responses:m", responses_calls, responses_says, responses_results),
    "anthropic": Service("anthropic:m", messages_calls, messages_says, messages_results),
    "gemini": Service(
        "google:m",
        lambda calls: _gemini([{"functionCall": {"name": name, "args": given}} for _, name, given in calls]),
        lambda text: _gemini([{"text": text}]),
        gemini_results,
        has_ids=False,
    ),
    "interactions": Service(
        "google-interactions:m", interactions_calls, interactions_says, interactions_results
    ),
    "ollama": Service(
        "ollama:m",
        lambda calls: _ollama(
            {
                "content": "",
                "tool_calls": [{"function": {"name": n, "arguments": given}} for _, n, given in calls],
            }
        ),
        lambda text: _ollama({"content": text}),
        ollama_results,
        has_ids=False,
    ),
    "bedrock": Service(
        "bedrock:m",
        converse_calls,
        lambda text: _converse([(None, {"text": text})], "end_turn"),
        converse_results,
    ),
    "relay": Service(
        "brainwires:m",
        relay_calls,
        lambda text: _events(("delta", {"delta": text}), ("complete", {"usage": _USAGE})),
        relay_results,
    ),
}


def provider(service: Service, url: str) -> ProviderConfig:
    """The service's provider at a scripted server."""
    return ProviderConfig(service.model.partition(":")[0], base_url=url, api_key="k" * 20)


def scripted(service: Service, *turns: Sequence[Call] | str) -> Callable[[RecordedRequest], Answer]:
    """Answers of a server: the calls or the text of each request in turn, the last one for ever."""
    count = iter(range(1_000))

    def answer(request: RecordedRequest) -> Answer:
        turn = turns[min(next(count), len(turns) - 1)]
        return service.says(turn) if isinstance(turn, str) else service.calls(turn)

    return answer
