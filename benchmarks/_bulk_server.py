"""A loopback server of chat completions that echoes the prompt after a wait, in a process of its own.

    PYTHON _bulk_server.py

It prints its port, and ends with its standard input. `/WAIT/v1/chat/completions` answers after WAIT milliseconds with
the text of the last message; `GET /count` is the number of requests so far.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from typing import Any

from _server import ChildServer

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: %d\r\n\r\n"
_BODY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"bench-model","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,'
    b'"completion_tokens":18,"total_tokens":30}}'
)


class _Connection(asyncio.Protocol):
    count = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, _, length = head.partition(b"content-length:")
            size = end + 4 + int(length.partition(b"\r\n")[0] or 0)
            if len(self._buffer) < size:
                return
            body, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
            self._answer(head.split(b" ", 2)[1].decode(), body)

    def _answer(self, path: str, body: bytes) -> None:
        if path == "/count":
            self._write(b"%d" % _Connection.count)
            return
        _Connection.count += 1
        content = json.loads(body)["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        answer = _BODY % json.dumps(text).encode()
        wait = int(path.split("/")[1]) / 1000
        if wait:
            asyncio.get_running_loop().call_later(wait, self._write, answer)
        else:
            self._write(answer)

    def _write(self, body: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(_HEAD % len(body) + body)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


class EchoServer(ChildServer):
    """This file's server."""

    order = (__file__,)

    def url(self, wait: int) -> str:
        """The base URL of answers after so many milliseconds."""
        return f"http://127.0.0.1:{self.port}/{wait}/v1"

    @property
    def requests(self) -> int:
        """How many were made so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count", timeout=10) as answer:
            return int(answer.read())


if __name__ == "__main__":
    asyncio.run(_serve())
