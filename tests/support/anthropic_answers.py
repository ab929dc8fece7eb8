"""Answers of the Messages API, made from their parts, and one block of every kind."""

from __future__ import annotations

import base64
import struct
from typing import Any
from zlib import crc32

import msgspec

from brainwires_provider.events import Event, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.anthropic.response import AnthropicDecoder
from brainwires_provider.types import (
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    Response,
    TextPart,
    ToolCallPart,
)

ORIGIN = Origin("anthropic_messages", "anthropic", "claude-x")
MADE = Origin("anthropic_messages", "anthropic", "claude-x", "claude-x-1")
ELSEWHERE = Origin("openai_responses", "openai", "gpt-6")

START = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-1", "content": []}
USAGE = {"input_tokens": 7, "output_tokens": 3}


def stream(*events: dict[str, Any], stop: str | None = "end_turn") -> list[dict[str, Any]]:
    """A whole stream around these events."""
    return [
        {"type": "message_start", "message": {**START, "usage": {"input_tokens": 7, "output_tokens": 1}}},
        *events,
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": USAGE},
        {"type": "message_stop"},
    ]


def block(index: int, start: Any, *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """A block's events."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def wire(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (str(e.get("type")).encode(), msgspec.json.encode(e)) for e in events
    )


def framed(payload: bytes, **headers: str) -> bytes:
    """One message of an AWS event stream."""
    block = b"".join(
        struct.pack(">B", len(name)) + name + struct.pack(">BH", 7, len(value)) + value
        for name, value in ((f":{k.replace('_', '-')}".encode(), v.encode()) for k, v in headers.items())
    )
    head = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    body = head + struct.pack(">I", crc32(head)) + block + payload
    return body + struct.pack(">I", crc32(body))


def chunk(event: dict[str, Any]) -> bytes:
    """An event as InvokeModelWithResponseStream sends it."""
    told = {"bytes": base64.b64encode(msgspec.json.encode(event)).decode(), "p": "abc"}
    return framed(msgspec.json.encode(told), event_type="chunk", message_type="event")


def feed(events: list[dict[str, Any]], decoder: AnthropicDecoder | None = None) -> list[Event]:
    decoder = decoder or AnthropicDecoder(ORIGIN)
    given = [e for event in events for e in decoder.feed(WireMessage(msgspec.json.encode(event)))]
    return given + decoder.finish()


def whole_body(*content: Any, **fields: Any) -> bytes:
    body = {**START, "content": list(content), "stop_reason": "end_turn", "usage": USAGE, **fields}
    return msgspec.json.encode(body)


def whole(*content: Any, **fields: Any) -> Response:
    return collect(AnthropicDecoder(ORIGIN).feed_whole(whole_body(*content, **fields)))


def only(*events: dict[str, Any]) -> Part:
    """The one part of a stream."""
    (part,) = collect(feed(stream(*events))).message.content
    return part


CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, None]}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "x", "page_age": None}
CITED: list[dict[str, Any]] = [
    {
        "type": "char_location",
        "cited_text": "c",
        "document_index": 0,
        "document_title": "D",
        "start_char_index": 1,
        "end_char_index": 2,
        "file_id": None,
    },
    {
        "type": "page_location",
        "cited_text": "p",
        "document_index": 1,
        "document_title": None,
        "start_page_number": 1,
        "end_page_number": 2,
        "file_id": "file_1",
    },
    {
        "type": "content_block_location",
        "cited_text": "b",
        "document_index": 2,
        "start_block_index": 0,
        "end_block_index": 1,
    },
    {
        "type": "web_search_result_location",
        "cited_text": "w",
        "url": "https://x.example",
        "title": "W",
        "encrypted_index": "e",
    },
    {
        "type": "search_result_location",
        "cited_text": "s",
        "source": "kb/1",
        "title": "S",
        "search_result_index": 0,
        "start_block_index": 0,
        "end_block_index": 1,
    },
]
# Every kind of block, with the part that it is.
BLOCKS: list[tuple[dict[str, Any], type[Part]]] = [
    ({"type": "text", "text": "Hi", "citations": CITED}, TextPart),
    ({"type": "thinking", "thinking": "Hm", "signature": "sig=="}, ReasoningPart),
    ({"type": "redacted_thinking", "data": "secret=="}, ReasoningPart),
    ({**CALL, "caller": {"type": "direct"}, "toolset_name": "browser"}, ToolCallPart),
    (SEARCH, OpaquePart),
    ({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [FOUND]}, OpaquePart),
    ({"type": "web_fetch_tool_result", "tool_use_id": "s", "content": {"z": 1, "a": None}}, OpaquePart),
    ({"type": "advisor_tool_result", "tool_use_id": "s", "content": {}}, OpaquePart),
    ({"type": "code_execution_tool_result", "tool_use_id": "s", "content": {}}, OpaquePart),
    ({"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {}}, OpaquePart),
    ({"type": "text_editor_code_execution_tool_result", "tool_use_id": "s", "content": {}}, OpaquePart),
    ({"type": "tool_search_tool_result", "tool_use_id": "s", "content": {}}, OpaquePart),
    ({"type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "v", "input": {}}, OpaquePart),
    ({"type": "mcp_tool_result", "tool_use_id": "m", "is_error": False, "content": []}, OpaquePart),
    ({"type": "container_upload", "file_id": "file_1"}, OpaquePart),
    ({"type": "compaction", "content": "So far …", "encrypted_content": None}, OpaquePart),
    ({"type": "fallback", "from": {"model": "claude-x-1"}, "to": {"model": "claude-x-1"}}, OpaquePart),
    ({"type": "mcp_tool_listing", "mcp_server_name": "v", "tools": [{"name": "n"}]}, OpaquePart),
    ({"type": "never_heard_of", "z": None, "a": [1]}, OpaquePart),
    ({"type": "text", "text": None}, OpaquePart),
    ({"type": "thinking", "thinking": "x", "signature": 1}, OpaquePart),
    ({"type": "redacted_thinking"}, OpaquePart),
    ({"type": "tool_use", "id": 1, "name": "f"}, OpaquePart),
    ({"no": "type"}, OpaquePart),
    ({"type": "thinking", "thinking": "of a service that signs nothing"}, ReasoningPart),
    ({"type": "text", "text": "end", "parsed": None}, TextPart),
]
