"""A loopback server that costs little, run in a process of its own, so that only the client is measured.

It speaks just enough HTTP/1.1 for the benchmarks: keep-alive, a body with a length, an answer in chunks. Every chunk
is one write on a socket with TCP_NODELAY. The streams of one batch wait for each other, so that they truly run at
once; then one pump serves them in turn, a write for each.

    POST /PACE/STREAMS/EVENTS/v1/chat/completions     a batch of streams
    POST /whole/v1/chat/completions                   one small body
    POST /typed/v1/chat/completions                   the same with JSON as its text
    POST /open/v1/chat/completions                    a stream that has begun, and then waits for good

The paces: `saturated`, as fast as the server can while it yields between two writes; `ticks`, every 10 ms an event for
each stream, one right after the other; `spread`, the same with the streams spread evenly over the 10 ms, so that the
client wakes up for every single event.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_INTERVAL = 0.01
_WORDS = (" the", " sky", " is", " blue", " because", " shorter", " waves", " scatter", " more", " strongly")
WHOLE_TEXT = "The sky is blue because shorter waves of light scatter more strongly than longer ones."

TYPED_TEXT = (
    '{"name":"Ada Lovelace","age":36,"born":"1815-12-10","tags":["mathematician","writer"],"unit":"metric"}'
)


def stream_text(events: int) -> str:
    """The text of a stream of so many text events."""
    return "".join(_WORDS[i % len(_WORDS)] for i in range(events))


def _chunk_body(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
    body = {
        "id": "chatcmpl-9f2c1e7ab3d14f0e8a6b5c4d3e2f1a0b",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "bench-model-2026-09-01",
        "service_tier": "default",
        "system_fingerprint": "fp_4f1c2b7a90",
        "choices": choices,
        "usage": usage,
    }
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def _stream_chunks(events: int) -> list[bytes]:
    """Chunks of HTTP, one event each; the last holds the terminal and the body's end."""

    def choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    text = [_chunk_body(choice({"content": _WORDS[i % len(_WORDS)]})) for i in range(events)]
    usage = {"prompt_tokens": 12, "completion_tokens": events, "total_tokens": events + 12}
    bodies = [
        _chunk_body(choice({"role": "assistant", "content": "", "refusal": None})),
        *text,
        _chunk_body(choice({}, "stop")),
        _chunk_body([], usage),
        b"data: [DONE]\n\n",
    ]
    chunks = [b"%x\r\n%s\r\n" % (len(body), body) for body in bodies]
    chunks[-1] += b"0\r\n\r\n"
    return chunks


def _whole_answer(text: str) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    body = {
        "id": "chatcmpl-9f2c1e7ab3d14f0e8a6b5c4d3e2f1a0b",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "bench-model-2026-09-01",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 18,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_4f1c2b7a90",
    }
    text = json.dumps(body, separators=(",", ":")).encode()
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: %d\r\n\r\n"
    return (head % len(text)).encode() + text


class _Batches:
    """Streams that wait for the rest of their batch, and the pump that serves a full one."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int, int], list[asyncio.Transport]] = {}
        self._chunks: dict[int, list[bytes]] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    def join(self, pace: str, streams: int, events: int, transport: asyncio.Transport) -> None:
        kind = (pace, streams, events)
        waiting = self._waiting.setdefault(kind, [])
        waiting.append(transport)
        if len(waiting) < streams:
            return
        del self._waiting[kind]
        if events not in self._chunks:
            self._chunks[events] = _stream_chunks(events)
        pump = asyncio.create_task(_pump(waiting, self._chunks[events], pace))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)


async def _pump(streams: list[asyncio.Transport], chunks: list[bytes], pace: str) -> None:
    start = time.perf_counter()
    for turn, chunk in enumerate(chunks):
        for place, stream in enumerate(streams):
            if pace != "saturated":
                due = start + _INTERVAL * (turn + (place / len(streams) if pace == "spread" else 0))
                # The loop's own timers are rounded up to whole milliseconds.
                time.sleep(max(0.0, due - time.perf_counter()))
            stream.write(chunk)
            if pace != "ticks":
                await asyncio.sleep(0)
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    def __init__(self, batches: _Batches, whole: dict[str, bytes]) -> None:
        self._batches = batches
        self._whole = whole
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport  # asyncio has set TCP_NODELAY

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, _, length = head.partition(b"content-length:")
            size = end + 4 + int(length.partition(b"\r\n")[0] or 0)
            if len(self._buffer) < size:
                return
            self._buffer = self._buffer[size:]
            self._answer(head.split(b" ", 2)[1].decode())

    def _answer(self, path: str) -> None:
        _, kind, *numbers = path.split("/")
        if kind in self._whole:
            self._transport.write(self._whole[kind])
        elif kind == "open":
            self._transport.write(_HEAD + b"".join(_stream_chunks(1)[:2]))
        else:
            self._transport.write(_HEAD)
            self._batches.join(kind, int(numbers[0]), int(numbers[1]), self._transport)


async def _serve() -> None:
    batches, whole = _Batches(), {"whole": _whole_answer(WHOLE_TEXT), "typed": _whole_answer(TYPED_TEXT)}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(batches, whole), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # the parent's end closes it


class ChildServer:
    """A server as a child process, which prints its port; it ends with the `with` block, or with its parent."""

    order: tuple[str, ...] = (__file__,)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, *self.order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._read())
        return self

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


class Server(ChildServer):
    """This file's server."""

    def stream_url(self, pace: str, streams: int, events: int) -> str:
        """The base URL of one batch of streams."""
        return f"http://127.0.0.1:{self.port}/{pace}/{streams}/{events}/v1"

    @property
    def open_url(self) -> str:
        """The base URL of streams that do not end."""
        return f"http://127.0.0.1:{self.port}/open/v1"

    @property
    def whole_url(self) -> str:
        """The base URL of whole answers."""
        return f"http://127.0.0.1:{self.port}/whole/v1"

    @property
    def typed_url(self) -> str:
        """The base URL of whole answers that are JSON."""
        return f"http://127.0.0.1:{self.port}/typed/v1"


if __name__ == "__main__":
    asyncio.run(_serve())
