"""Clients that the tests of the scripted WebSocket server use: none of them is ours."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection, connect

from brainwires_provider.testing import (
    ResponsesService,
    ScriptedSocket,
)

Event = dict[str, Any]
T = TypeVar("T")
SAID = {"type": "said"}


def create(input: object = "hi", **fields: Any) -> str:
    return json.dumps({"type": "response.create", "model": "gpt-6", "input": input, **fields})


def user(text: str) -> Event:
    return {"type": "message", "role": "user", "content": text}


def run(work: Coroutine[Any, Any, T]) -> T:
    async def clocked() -> T:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(clocked())


@asynccontextmanager
async def socket_to(server: ScriptedSocket, **options: Any) -> AsyncIterator[ClientConnection]:
    settings: dict[str, Any] = {"max_size": None, "compression": None, "proxy": None, **options}
    async with connect(server.url, **settings) as ws:
        yield ws


async def read(ws: ClientConnection) -> Event:
    return json.loads(await ws.recv())


async def read_to_end(ws: ClientConnection) -> list[Event]:
    events = [await read(ws)]
    while events[-1]["type"] not in {"response.completed", "response.failed", "response.incomplete", "error"}:
        events.append(await read(ws))
    return events


def served(
    work: Callable[[ScriptedSocket, ClientConnection], Awaitable[None]],
    service: ResponsesService,
    **options: Any,
) -> None:
    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server) as ws:
            await work(server, ws)

    with ScriptedSocket(service, **options) as server:
        run(main(server))
        server.wait_idle(5)


def http(server: ScriptedSocket, body: bytes, path: str = "/v1/responses", method: str = "POST") -> bytes:
    """The whole of one raw answer."""
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(head.encode() + body)
        received = b""
        try:
            while data := sock.recv(65536):
                received += data
        except ConnectionResetError:
            received += b"<RST>"
    return received


def posted(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}).encode()
