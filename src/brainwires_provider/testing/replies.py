"""A model's replies, written as the answers of each protocol: for fake providers and scripted servers.

A reply is written once (a text, calls of tools, reasoning), and sent in the form that a request asks for: in the
protocol of its path, whole or as a stream. Streams send one word at a time.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Literal
from zlib import crc32

import msgspec
from msgspec import Struct

from brainwires_provider.testing.answers import Answer, RecordedRequest, sse
from brainwires_provider.testing.interactions import InteractionsService, called, model_output, thought
from brainwires_provider.testing.responses_checks import input_items
from brainwires_provider.testing.responses_events import Failure, Incomplete, function_call, reasoning
from brainwires_provider.testing.responses_events import assistant as message_item
from brainwires_provider.testing.responses_rules import ResponsesService
from brainwires_provider.types import ReasoningPart, TextPart, ToolCallPart

__all__ = ["Reply", "Said", "reply_answer"]

Body = dict[str, Any]


class Reply(Struct, frozen=True):
    """What a model replies: parts in order, why it ends, and the tokens that it counts.

    `parts` are TextPart, ReasoningPart and ToolCallPart. `finish` None is "tool_calls" with a call, else "stop".
    """

    parts: tuple[TextPart | ReasoningPart | ToolCallPart, ...]
    finish: Literal["stop", "length", "tool_calls", "content_filter"] | None = None
    input_tokens: int = 10
    output_tokens: int = 5

    def __post_init__(self) -> None:
        """Raises TypeError for parts of another kind."""
        for part in self.parts:
            if not isinstance(part, (TextPart, ReasoningPart, ToolCallPart)):
                given = type(part).__name__
                raise TypeError(
                    f"a Reply has a tuple of TextPart, ReasoningPart and ToolCallPart, not of {given}"
                )

    @property
    def text(self) -> str:
        """The text of all text parts."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def ended(self) -> str:
        """The reason for the end."""
        calls = any(isinstance(part, ToolCallPart) for part in self.parts)
        return self.finish or ("tool_calls" if calls else "stop")


Said = (
    str | TextPart | ReasoningPart | ToolCallPart | Sequence[TextPart | ReasoningPart | ToolCallPart] | Reply
)


def reply_of(said: Said) -> Reply:
    """What an author has written, as a Reply. Raises TypeError for anything else."""
    if isinstance(said, Reply):
        return said
    if isinstance(said, str):
        return Reply((TextPart(said),))
    return Reply((said,) if isinstance(said, Struct) else tuple(said))


def reply_answer(request: RecordedRequest, said: Said | Failure) -> Answer:
    """The reply in the form that a request asks for; to a request for embeddings, vectors that follow from its texts.

    Raises ValueError for a path of no protocol.
    """
    for pattern, encode in _PATHS:
        if re.search(pattern, request.path):
            if isinstance(said, Failure):
                return failure_answer(said)
            body = request.json() if request.body else {}
            return encode(reply_of(said), body, request.path)
    raise ValueError(
        f"a reply is for chats and OpenAI's embeddings, not for {request.path}: script an Answer"
    )


def failure_answer(failure: Failure) -> Answer:
    """An error with its status, in the form that most services share."""
    error = {"message": failure.message, "type": failure.type, "code": failure.code, "param": failure.param}
    return Answer(failure.status, failure.headers, msgspec.json.encode({"error": error}))


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+(?:\s+$)?|\s+$", text)


def _call_id(part: ToolCallPart, number: int) -> str:
    return part.id or f"call_{number}"


def _whole(body: Body) -> Answer:
    return Answer(body=msgspec.json.encode(body))


def _events(*events: Body, named: bool = False, done: bool = False) -> Answer:
    """A stream of server-sent events, each one write."""
    if named:
        chunks = [f"event: {event['type']}\n".encode() + sse(event, done=False) for event in events]
    else:
        chunks = [sse(event, done=False) for event in events]
    return Answer(body=[*chunks, *([sse()] if done else [])])


# -- Chat Completions ------------------------------------------------------------------------------------------


def _chat(reply: Reply, body: Body, path: str) -> Answer:
    usage = {"prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens}
    usage["total_tokens"] = reply.input_tokens + reply.output_tokens
    head = {"id": "chatcmpl-1", "created": 0, "model": body.get("model")}
    if not body.get("stream"):
        message: Body = {"role": "assistant", "content": reply.text or None}
        calls = [delta["tool_calls"][0] for delta in _chat_deltas(reply) if "tool_calls" in delta]
        if calls:
            message["tool_calls"] = calls
        if thought := "".join(p.text for p in reply.parts if isinstance(p, ReasoningPart)):
            message["reasoning_content"] = thought
        choice = {"index": 0, "message": message, "finish_reason": reply.ended}
        return _whole({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    head["object"] = "chat.completion.chunk"
    deltas: list[Body] = [{"role": "assistant", "content": ""}, *_chat_deltas(reply)]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reply.ended}]}
    return _events(*chunks, end, {**head, "choices": [], "usage": usage}, done=True)


def _chat_deltas(reply: Reply) -> Iterator[Body]:
    number = 0
    for part in reply.parts:
        if isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": part.arguments}
            call = {"index": number, "id": _call_id(part, number), "type": "function", "function": function}
            yield {"tool_calls": [call]}
            number += 1
        else:
            field = "content" if isinstance(part, TextPart) else "reasoning_content"
            for word in _words(part.text):
                yield {field: word}


# -- Responses -------------------------------------------------------------------------------------------------


def _responses(reply: Reply, body: Body, path: str) -> Answer:
    items: list[Body] = []
    for number, part in enumerate(reply.parts):
        if isinstance(part, ToolCallPart):
            items.append(function_call(part.name, part.arguments, call_id=_call_id(part, number)))
        else:
            items.append(message_item(part.text) if isinstance(part, TextPart) else reasoning(part.text))
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.ended)
    service = ResponsesService(lambda conversation, asked: Incomplete(cut, items) if cut else items)
    service.pass_over(input_items(body))
    sent = {name: value for name, value in body.items() if name != "stream"}
    events = service.connect(over_http=True).run({"type": "response.create", **sent})
    if events[0]["type"] == "error":  # the request breaks a rule of the API
        return Answer(events[0]["status"], body=msgspec.json.encode({"error": events[0]["error"]}))
    for event in events:
        if isinstance(shown := event.get("response"), dict) and shown.get("usage"):
            shown["usage"] = _responses_usage(reply)
    if body.get("stream"):
        return _events(*events, named=True)
    return _whole(events[-1]["response"])


def _responses_usage(reply: Reply) -> Body:
    return {
        "input_tokens": reply.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }


# -- Messages --------------------------------------------------------------------------------------------------

_ANTHROPIC_ENDS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def _messages(reply: Reply, body: Body, path: str) -> Answer:
    usage = {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    end = {"stop_reason": _ANTHROPIC_ENDS[reply.ended], "stop_sequence": None}
    message: Body = {"id": "msg_1", "type": "message", "role": "assistant", "model": body.get("model")}
    if not (body.get("stream") or "stream" in path.lower()):
        content = [block for block, _ in map(_block, reply.parts, range(len(reply.parts)))]
        return _whole({**message, "content": content, **end, "usage": usage})
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 0}}
    events: list[Body] = [{"type": "message_start", "message": start}]
    for index, part in enumerate(reply.parts):
        block, deltas = _block(part, index)
        field = {"text": "text", "thinking": "thinking", "tool_use": "input"}[block["type"]]
        empty = {**block, field: {} if field == "input" else ""}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": reply.output_tokens}})
    return _events(*events, {"type": "message_stop"}, named=True)


def _block(part: TextPart | ReasoningPart | ToolCallPart, index: int) -> tuple[Body, list[Body]]:
    """A content block, whole and as its deltas."""
    if isinstance(part, ToolCallPart):
        block = {"type": "tool_use", "id": _call_id(part, index), "name": part.name, "input": part.args()}
        return block, [{"type": "input_json_delta", "partial_json": part.arguments}]
    kind = "text" if isinstance(part, TextPart) else "thinking"
    block = {"type": kind, kind: part.text}
    deltas: list[Body] = [{"type": f"{kind}_delta", kind: word} for word in _words(part.text)]
    if kind == "thinking":
        block["signature"] = "fake"
        deltas.append({"type": "signature_delta", "signature": "fake"})
    return block, deltas


# -- generateContent -------------------------------------------------------------------------------------------

_GEMINI_ENDS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}


def _gemini(reply: Reply, body: Body, path: str) -> Answer:
    usage = {"promptTokenCount": reply.input_tokens, "candidatesTokenCount": reply.output_tokens}
    usage["totalTokenCount"] = reply.input_tokens + reply.output_tokens
    model = path.rpartition("/")[2].partition(":")[0]
    end = {"finishReason": _GEMINI_ENDS[reply.ended], "index": 0}
    head = {"modelVersion": model, "responseId": "fake"}
    if "streamGenerateContent" not in path:
        content = {"role": "model", "parts": list(_gemini_parts(reply, whole=True))}
        return _whole({"candidates": [{"content": content, **end}], "usageMetadata": usage, **head})
    chunks = [
        {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], **head}
        for part in _gemini_parts(reply, whole=False)
    ]
    return _events(*chunks, {"candidates": [end], "usageMetadata": usage, **head})


def _gemini_parts(reply: Reply, *, whole: bool) -> Iterator[Body]:
    for number, part in enumerate(reply.parts):
        if isinstance(part, ToolCallPart):
            call = {"id": _call_id(part, number), "name": part.name, "args": part.args()}
            yield {"functionCall": call}
            continue
        for text in [part.text] if whole else _words(part.text):
            yield {"text": text, **({"thought": True} if isinstance(part, ReasoningPart) else {})}


# -- Converse --------------------------------------------------------------------------------------------------

_CONVERSE_ENDS = {**_ANTHROPIC_ENDS, "content_filter": "content_filtered"}


def _converse(reply: Reply, body: Body, path: str) -> Answer:
    usage = {"inputTokens": reply.input_tokens, "outputTokens": reply.output_tokens}
    usage["totalTokens"] = reply.input_tokens + reply.output_tokens
    end = {"stopReason": _CONVERSE_ENDS[reply.ended]}
    tail = {"usage": usage, "metrics": {"latencyMs": 1}}
    if not path.endswith("/converse-stream"):
        content = [_converse_block(part, number) for number, part in enumerate(reply.parts)]
        return _whole({"output": {"message": {"role": "assistant", "content": content}}, **end, **tail})
    frames = [_frame("messageStart", {"role": "assistant"})]
    for index, part in enumerate(reply.parts):
        at = {"contentBlockIndex": index}
        if isinstance(part, ToolCallPart):
            start = {"toolUse": {"toolUseId": _call_id(part, index), "name": part.name}}
            frames.append(_frame("contentBlockStart", {"start": start, **at}))
            deltas: list[Body] = [{"toolUse": {"input": part.arguments}}]
        elif isinstance(part, TextPart):
            deltas = [{"text": word} for word in _words(part.text)]
        else:
            deltas = [{"reasoningContent": {"text": word}} for word in _words(part.text)]
            deltas.append({"reasoningContent": {"signature": "fake"}})
        frames += [_frame("contentBlockDelta", {"delta": delta, **at}) for delta in deltas]
        frames.append(_frame("contentBlockStop", at))
    frames += [_frame("messageStop", end), _frame("metadata", tail)]
    return Answer(headers={"content-type": "application/vnd.amazon.eventstream"}, body=frames)


def _converse_block(part: TextPart | ReasoningPart | ToolCallPart, number: int) -> Body:
    if isinstance(part, ToolCallPart):
        return {"toolUse": {"toolUseId": _call_id(part, number), "name": part.name, "input": part.args()}}
    if isinstance(part, TextPart):
        return {"text": part.text}
    return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": "fake"}}}


def _frame(kind: str, payload: Body) -> bytes:
    """One message of the AWS event stream."""
    headers = b"".join(
        bytes([len(name)]) + name + struct.pack(">BH", 7, len(value)) + value
        for name, value in (
            (b":event-type", kind.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    data = msgspec.json.encode(payload)
    prelude = struct.pack(">II", 16 + len(headers) + len(data), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + data
    return message + struct.pack(">I", crc32(message))


# -- Ollama ----------------------------------------------------------------------------------------------------


def _ollama(reply: Reply, body: Body, path: str) -> Answer:
    head = {"model": body.get("model"), "created_at": "2026-01-01T00:00:00Z"}
    counts = {"prompt_eval_count": reply.input_tokens, "eval_count": reply.output_tokens}
    end = {"done": True, "done_reason": "length" if reply.ended == "length" else "stop", **counts}
    if body.get("stream") is False:
        message: Body = {"role": "assistant", "content": reply.text}
        for delta in _ollama_deltas(reply):
            if "tool_calls" in delta:
                message.setdefault("tool_calls", []).extend(delta["tool_calls"])
            elif "thinking" in delta:
                message["thinking"] = message.get("thinking", "") + delta["thinking"]
        return _whole({**head, "message": message, **end})
    lines = [
        {**head, "message": {"role": "assistant", "content": "", **delta}, "done": False}
        for delta in _ollama_deltas(reply)
    ]
    lines.append({**head, "message": {"role": "assistant", "content": ""}, **end})
    chunks = [msgspec.json.encode(line) + b"\n" for line in lines]
    return Answer(headers={"content-type": "application/x-ndjson"}, body=chunks)


def _ollama_deltas(reply: Reply) -> Iterator[Body]:
    for part in reply.parts:
        if isinstance(part, ToolCallPart):
            yield {"tool_calls": [{"function": {"name": part.name, "arguments": part.args()}}]}
            continue
        for word in _words(part.text):
            yield {"content" if isinstance(part, TextPart) else "thinking": word}


# -- Interactions ----------------------------------------------------------------------------------------------


def _interactions(reply: Reply, body: Body, path: str) -> Answer:
    steps: list[Body] = []
    for number, part in enumerate(reply.parts):
        if isinstance(part, ToolCallPart):
            steps.append(called(_call_id(part, number), part.name, part.args()))
        else:
            is_text = isinstance(part, TextPart)
            steps.append(model_output(part.text) if is_text else thought("fake", part.text))
    service = _Interactions(lambda history: steps)
    service.reply = reply
    return service(RecordedRequest("POST", path, path, "", [], msgspec.json.encode(body), 1))


class _Interactions(InteractionsService):
    """The service for one reply, which has its own counts and end."""

    reply: Reply

    def _check(self, history: Sequence[Body]) -> None:
        self._signatures.add("fake")  # of earlier replies
        super()._check(history)

    def _made(self, body: Body, new: list[Body], history: Sequence[Body]) -> Body:
        counts = {
            "total_input_tokens": self.reply.input_tokens,
            "total_output_tokens": self.reply.output_tokens,
        }
        made = {
            **super()._made(body, new, history),
            "usage": {**counts, "total_tokens": sum(counts.values())},
        }
        return {**made, "status": "incomplete"} if self.reply.ended in ("length", "content_filter") else made


# -- the relay -------------------------------------------------------------------------------------------------


def _relay(reply: Reply, body: Body, path: str) -> Answer:
    events: list[tuple[str, Body]] = []
    for number, part in enumerate(reply.parts):
        if isinstance(part, ToolCallPart):
            call = {"callId": _call_id(part, number), "toolName": part.name, "parameters": part.args()}
            events.append(("toolCall", call))
        elif isinstance(part, TextPart):
            events += [("delta", {"delta": word}) for word in _words(part.text)]
    usage = {"prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens}
    events.append(("complete", {"usage": {**usage, "total_tokens": sum(usage.values())}}))
    return Answer(body=[f"event: {name}\n".encode() + sse(data, done=False) for name, data in events])


# -- embeddings ------------------------------------------------------------------------------------------------


def _embeddings(reply: Reply, body: Body, path: str) -> Answer:
    """Vectors of eight numbers that follow from each text alone; the reply's text is not used."""
    given = body["input"]
    texts = [given] if isinstance(given, str) else given
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": reply.input_tokens, "total_tokens": reply.input_tokens}
    return _whole({"object": "list", "data": data, "model": body.get("model"), "usage": usage})


def _vector(text: str) -> list[float]:
    digest = sha256(text.encode("utf-8", "replace")).digest()
    numbers = [(byte - 127.5) / 127.5 for byte in digest[:8]]
    return [number / math.hypot(*numbers) for number in numbers]


_PATHS = (
    (r"/chat/completions$", _chat),
    (r"/responses$", _responses),
    (r"/messages$|:(stream)?[rR]awPredict$", _messages),
    (r":(g|streamG)enerateContent$", _gemini),
    (r"/converse(-stream)?$", _converse),
    (r"/api/chat$", _ollama),
    (r"/interactions$", _interactions),
    (r"/api/chat/stream$", _relay),
    (r"/embeddings$", _embeddings),
)
