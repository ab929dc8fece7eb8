"""One WebSocket link against real sockets: the library's own server, and servers of a few lines that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import socket
import ssl
import struct
import subprocess
import sys
import textwrap
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from hashlib import sha1
from typing import Any
from weakref import ref

import pytest
import trustme
from msgspec.structs import replace
from websockets.asyncio.server import ServerConnection, serve

from brainwires_provider import AsyncClient, ProviderConfig, Retry, WebSocketOptions
from brainwires_provider.errors import (
    ConfigError,
    ConnectError,
    ProtocolError,
    RequestTimeout,
    StreamInterrupted,
)
from brainwires_provider.testing import ScriptedSocket, Stall
from brainwires_provider.transports.websocket.connection import (
    Closed,
    Handshake,
    HandshakeRefused,
    Link,
    LinkLost,
    connect,
)
from brainwires_provider.transports.websocket.dialing import Endpoint
from brainwires_provider.transports.websocket.handshake import Answer, Opening, say
from brainwires_provider.transports.websocket.pool import Pools
from socket_memory import FastLoop

KEY = "sk-planted-9f3a"
PASSWORD = "hunter-of-two"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(main: Coroutine[Any, Any, Any], *, fast: bool = False, **options: Any) -> Any:
    """A test that hangs fails. `fast`: on a clock that runs ten times as fast, where a whole wait is only the wait."""

    async def bounded() -> Any:
        async with asyncio.timeout(400 if fast else 40):
            return await main

    with asyncio.Runner(loop_factory=FastLoop if fast else None, **options) as runner:
        return runner.run(bounded())


class Heard:
    """What a link told: its messages, and its ends."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.ends: list[Closed] = []
        self.changed = asyncio.Event()

    def on_frame(self, frame: bytes) -> None:
        assert not self.ends
        self.frames.append(frame)
        self.changed.set()

    def on_close(self, closed: Closed) -> None:
        self.ends.append(closed)
        self.changed.set()

    async def until(self, met: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not met():
                self.changed.clear()
                await self.changed.wait()

    async def count(self, frames: int) -> list[bytes]:
        await self.until(lambda: len(self.frames) >= frames)
        return self.frames

    async def end(self) -> Closed:
        await self.until(lambda: self.ends)
        assert len(self.ends) == 1
        return self.ends[0]


def shake(url: str, **settings: Any) -> Handshake:
    return Handshake(url, **{"headers": {"Authorization": f"Bearer {KEY}"}, "proxy": None, **settings})


async def opened(url: str, **settings: Any) -> tuple[Link, Heard]:
    heard = Heard()
    link = await connect(shake(url, **settings), on_frame=heard.on_frame, on_close=heard.on_close)
    return link, heard


class Raw:
    """A TCP server that runs a script for each connection, and knows when all of them are gone."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None, *, small: bool = False) -> None:
        self.script, self.tls = script, tls
        self.sock = socket.create_server(("127.0.0.1", 0))
        if small:  # little lies on the way, as on a slow line
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self.requests: list[bytes] = []
        self.live = 0
        self.seen = 0
        self.problems: list[BaseException] = []

    async def __aenter__(self) -> Raw:
        limit = 65_536  # asyncio reads ahead twice as much
        self.server = await asyncio.start_server(self._serve, sock=self.sock, ssl=self.tls, limit=limit)
        self.port = self.sock.getsockname()[1]
        self.url = f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/v1/responses"
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.live += 1
        self.seen += 1
        try:
            await self.script(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self.problems.append(error)
        finally:
            writer.transport.abort()
            self.live -= 1

    async def idle(self) -> None:
        async with asyncio.timeout(5):
            while self.live:
                await asyncio.sleep(0.005)

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.idle()
        await self.server.wait_closed()
        assert self.problems == []


async def head(reader: asyncio.StreamReader) -> dict[str, str]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in lines[1:-2]]
    headers = {name.lower(): value for name, _, value in pairs}
    assert len(headers) == len(pairs), "a header came twice"
    return {**headers, ":line": lines[0], ":names": " ".join(name for name, _, _ in pairs)}


def accepted(headers: dict[str, str], more: str = "") -> bytes:
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    key = b64encode(sha1((headers["sec-websocket-key"] + guid).encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {key}\r\n{more}\r\n"
    ).encode()


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, bits: int = 0, masked: bool = False) -> bytes:
    first = (0x80 if fin else 0) | bits | opcode
    size = len(data)
    if size < 126:
        length = bytes([size])
    elif size < 65536:
        length = b"\x7e" + struct.pack("!H", size)
    else:
        length = b"\x7f" + struct.pack("!Q", size)
    if masked:
        length = bytes([length[0] | 0x80]) + length[1:] + b"\0\0\0\0"
    return bytes([first]) + length + data


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(8, struct.pack("!H", code) + reason.encode())


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, size = await reader.readexactly(2)
    assert size & 0x80, "a client masks"
    size &= 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4)
    data = await reader.readexactly(size)
    whole = int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return first & 15, whole.to_bytes(size, "big")


def after_upgrade(*pieces: bytes, then: Script | None = None, together: bool = False) -> Script:
    """Accept, write these, then go on with `then` (or close the TCP connection)."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = accepted(await head(reader))
        writer.write(first + b"".join(pieces) if together else first)
        if not together:
            for piece in pieces:
                await writer.drain()
                await asyncio.sleep(0.005)
                writer.write(piece)
        await writer.drain()
        if then is not None:
            await then(reader, writer)
        else:
            writer.close()
            await writer.wait_closed()

    return script


async def hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read and say nothing, until the client goes."""
    while await reader.read(65536):
        pass


async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read nothing at all, until the test is over."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(1.2)


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    await hold(reader, writer)


@contextlib.asynccontextmanager
async def library(
    handler: Callable[[ServerConnection], Awaitable[None]], **settings: Any
) -> AsyncIterator[str]:
    """The library's own server."""
    async with serve(handler, "127.0.0.1", 0, **{"max_size": None, **settings}) as server:
        yield f"{'wss' if 'ssl' in settings else 'ws'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/responses?k=v"


async def echo(server: ServerConnection) -> None:
    async for message in server:
        await server.send(message)


# The way in.


def test_what_has_happened_to_a_connection_is_said_in_words() -> None:
    for how in ("lost", "keepalive", "callback", "loop", "ours"):
        assert Closed(None, "x", how).words == f"the connection was lost ({how})"
    assert Closed(1006, "", "lost").words == "the connection was closed with code 1006"
    assert Closed(1000, "bye", "server").words == "the connection was closed with code 1000, 'bye'"


@pytest.mark.parametrize(
    ("given", "seen", "unseen"),
    [
        ({}, {"authorization": f"Bearer {KEY}"}, ["user-agent", "origin", "sec-websocket-extensions"]),
        ({"AUTHORIZATION": "a", "authorization": "b"}, {"authorization": "b"}, []),
        ({"host": "gateway.example"}, {"host": "gateway.example"}, []),
        ({"User-Agent": "brainwires/1"}, {"user-agent": "brainwires/1"}, []),
        (
            {"Connection": "close", "UPGRADE": "h2c", "Content-Length": "3", "Sec-WebSocket-Key": "x"},
            {"connection": "Upgrade", "upgrade": "websocket"},
            ["content-length"],
        ),
        (
            {"x-naive": "naïve ☕"},
            {"x-naive": "naïve ☕".encode().decode("latin-1")},
            [],
        ),
        ({"Sec-WebSocket-Protocol": "p.v1, q"}, {"sec-websocket-protocol": "p.v1, q"}, []),
        ({"Accept-Encoding": "gzip", "X-Empty": ""}, {"x-empty": ""}, ["accept-encoding"]),
    ],
)
def test_the_request_is_the_callers_and_the_handshakes(
    given: dict[str, str], seen: dict[str, str], unseen: list[str]
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = await head(reader)
        requests.append(headers)
        picked = headers.get("sec-websocket-protocol", "").partition(",")[0]
        more = f"Sec-WebSocket-Protocol: {picked}\r\n" if picked else ""
        writer.write(accepted(headers, f"X-Request-Id: r1\r\nSet-Cookie: {'c' * 20_000}\r\n{more}"))
        await hold(reader, writer)

    async def main() -> None:
        async with Raw(script) as server:
            link, _ = await opened(f"{server.url}?a=b&c", headers={"Authorization": f"Bearer {KEY}", **given})
            assert link.is_open and link.closed is None
            assert abs(link.opened_at - asyncio.get_running_loop().time()) < 5
            assert link.headers["x-request-id"] == "r1"
            await link.aclose()

    requests: list[dict[str, str]] = []
    run(main(), fast=True)
    (request,) = requests
    assert request[":line"] == "GET /v1/responses?a=b&c HTTP/1.1"
    assert {name: request.get(name) for name in seen} == seen
    assert not [name for name in unseen if name in request]
    assert request["sec-websocket-version"] == "13" and len(b64decode(request["sec-websocket-key"])) == 16


PAD = "x" * 200_000
CHUNKS = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "headers", "body"),
    [
        (
            'HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a": 1}\nrest',
            401,
            {"content-type": "application/json"},
            b'{"a": 1}\n',
        ),
        (
            f"HTTP/1.1 429 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}",
            429,
            {"retry-after": "7"},
            b"abcde",
        ),
        ("HTTP/1.0 503 Busy\r\nX-A: 1\r\nX-A: 2\r\n\r\nto the end|", 503, {"x-a": "1, 2"}, b"to the end"),
        ("HTTP/1.1 500\r\n\r\n|", 500, {}, b""),
        ("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", 426, {}, b""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, {}, b"ok"),
        ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nn", 403, {}, b"n"),
        (f"HTTP/1.1 502 Bad\r\nX-Long: {PAD[:40_000]}\r\nContent-Length: 0\r\n\r\n", 502, {}, b""),
        (f"HTTP/1.1 500 Big\r\nContent-Length: 200000\r\n\r\n{PAD}", 500, {}, PAD[:65_536].encode()),
        ("HTTP/1.1 401 Slow\r\nContent-Length: 100\r\n\r\nbegun", 401, {}, b"begun"),
        ("HTTP/1.1 400 Odd\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, {}, b""),
    ],
)
def test_a_refusal_is_told_with_all_that_it_says(
    answer: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(answer.removesuffix("|").encode())
        if not answer.endswith("|"):  # else to the end of the connection
            await hold(reader, writer)
        else:
            writer.close()
            await writer.wait_closed()

    async def main() -> None:
        async with Raw(script) as server:
            begun = time.monotonic()
            with pytest.raises(HandshakeRefused, match=f"answered {status} ") as refused:
                await opened(server.url)
            assert time.monotonic() - begun < 2.5
            assert refused.value.status == status
            assert {name: refused.value.headers.get(name) for name in headers} == headers
            assert refused.value.body == body

    run(main())


OWN_HEADERS = (
    *("connection", "upgrade", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
    *("content-length", "accept-encoding", "sec-websocket-key", "sec-websocket-version"),
    "sec-websocket-extensions",
)
"""Headers of one connection (RFC 9110, 7.6.1), of a body (9112, 6) and of the handshake (6455, 4.1)."""


def sent(**headers: str) -> list[str]:
    """The lines of the request for the upgrade."""
    opening = Opening(shake("ws://host.example:8080/v1?a=b", headers=headers))
    return opening._request.decode("latin-1").split("\r\n")


def test_a_header_of_the_connection_is_the_handshakes_own() -> None:
    plain = {line.partition(":")[0] for line in sent()}
    for name in OWN_HEADERS:
        lines = sent(**{name.title(): "planted"})
        assert {line.partition(":")[0] for line in lines} == plain and "planted" not in " ".join(lines)
        for other in (f"x-{name}", f"{name}-x"):
            assert f"{other}: planted" in sent(**{other: "planted"})


def test_the_request_names_its_headers_as_they_are_given() -> None:
    lines = sent(Host="gateway.example", **{"x-A": "1", "X-a": "2"})
    assert lines[0] == "GET /v1?a=b HTTP/1.1" and lines[-2:] == ["", ""]
    assert [line for line in lines if line.lower().startswith(("host", "x-a"))] == [
        "Host: gateway.example",
        "X-a: 2",
    ]
    assert "Host: host.example:8080" in sent()
    assert "Sec-WebSocket-Protocol: a, b" in sent(**{"sec-websocket-protocol": " a ,, b"})
    assert not any(
        line.startswith("Sec-WebSocket-Protocol") for line in sent(**{"sec-websocket-protocol": " ,"})
    )


def test_a_header_has_no_character_that_http_forbids() -> None:
    """RFC 9110, 5.1 and 5.5: a token as its name, and no control character but the tab in its value."""
    for code in range(256):
        char = chr(code)
        is_control = (code < 32 and char != "\t") or code == 127
        if is_control:
            with pytest.raises(ConfigError, match="a header cannot be sent"):
                sent(a=f"x{char}y")
        else:
            assert f"a: x{char.encode().decode('latin-1')}y" in sent(a=f"x{char}y")
        if char.isascii() and (char.isalnum() or char in "!#$%&'*+-.^_`|~"):
            assert f"x{char}: y" in sent(**{f"x{char}": "y"})
        else:
            with pytest.raises(ConfigError, match="a header cannot be sent"):
                sent(**{f"x{char}": "y"})
    for wrong in ({"": "y"}, {"a": "\ud800"}, {"a": "\udfff"}):
        with pytest.raises(ConfigError, match="a header cannot be sent"):
            sent(**wrong)


def read(*pieces: bytes) -> tuple[int, dict[str, str], bytes, bool]:
    """The head of an answer in pieces, its body as far as it has come, and whether no more is waited for."""

    async def main() -> tuple[int, dict[str, str], bytes, bool]:
        answer = Answer()
        reading = asyncio.ensure_future(answer.head("it"))
        for piece in pieces:
            answer.data_received(piece)
            await asyncio.sleep(0)
        if not reading.done():
            answer.connection_lost(None)
        status, headers = await reading
        body = asyncio.ensure_future(answer.body(headers))
        await asyncio.sleep(0)
        is_whole = body.done()
        answer.connection_lost(None)
        return status, headers, await body, is_whole

    return asyncio.run(main())


PLAIN = b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"HTTP/1.1 500 No\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "body", "is_whole"),
    [
        (PLAIN + b"abcde", 500, b"abcde", True),
        (PLAIN + b"abcdefg", 500, b"abcde", True),
        (PLAIN + b"abcd", 500, b"abcd", False),
        (b"HTTP/1.1 500 No\r\nContent-Length: -5\r\n\r\nabcdefg", 500, b"abcdefg", False),
        (b"HTTP/1.1 500 No\r\n\r\nabc", 500, b"abc", False),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\nabc", 500, b"", True),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 65_535, 500, b"x" * 65_535, False),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 65_536, 500, b"x" * 65_536, True),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 65_537, 500, b"x" * 65_536, True),
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", 500, b"abc", True),
        (CHUNKED + b"3\r\nabc\r\n0", 500, b"abc", False),
        (CHUNKED + b"3;a=b\r\nabc\r\n A \r\n0123456789\r\n0;c\r\n", 500, b"abc0123456789", True),
        (CHUNKED + b"a\r\n01234", 500, b"01234", False),
        (CHUNKED + b"3\r\nabc", 500, b"abc", False),
        (CHUNKED + b"10\r\n0123456789abcdef\r\n0\r\n", 500, b"0123456789abcdef", True),
        (CHUNKED + b"000000003\r\nabc\r\n", 500, b"", True),
        (CHUNKED + b"00000003\r\nabc\r\n0\r\n", 500, b"abc", True),
        (CHUNKED + b"-3\r\nabc\r\n0\r\n", 500, b"", True),
        (CHUNKED, 500, b"", False),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 X\r\nA: b\r\n\r\n" + PLAIN + b"abcde",
            500,
            b"abcde",
            True,
        ),
        (b"HTTP/1.1 101 Go\r\n\r\nframes", 101, b"frames", False),
        (b"HTTP/1.0 200\r\n\r\n", 200, b"", False),
        (b"HTTP/1.1 599 \r\n\r\n", 599, b"", False),
    ],
)
def test_an_answer_is_read_in_any_pieces(answer: bytes, status: int, body: bytes, is_whole: bool) -> None:
    """One that is whole is not waited for, even where the connection stays open."""
    expected = (status, body, is_whole)
    for pieces in ([answer], [answer[at : at + 1] for at in range(len(answer))])[
        : 2 if len(answer) < 999 else 1
    ]:
        found, _, *rest = read(*pieces)
        assert (found, *rest) == expected


def test_the_headers_of_an_answer() -> None:
    answer = b"HTTP/1.1 500 No\r\nX-A:  1 \r\nx-a: 2\r\nno colon\r\nX-\xe9: \xe9\r\nEmpty:\r\n\r\n"
    assert read(answer)[1] == {"x-a": "1, 2", "x-é": "é", "empty": ""}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTX", "text"),
        (b"SSH-2.0\r\n\tabc", "text"),
        (b"\x15\x03\x01", "TLS: is the URL wss"),
        (b"\x16\x03", "TLS: is the URL wss"),
        (b"\x16\x02", "binary data"),
        (b"\x14\x03", "binary data"),
        (b"X" * 64 + b"\0", "text"),
        (b"X" * 63 + b"\0", "binary data"),
        (b"HTTP/1.1 099 No\r\n\r\n", "text"),
        (b"HTTP/1.1 600 No\r\n\r\n", "text"),
        (b"HTTP/1.2 200 No\r\n\r\n", "text"),
        (b"HTTP/1.1  200 No\r\n\r\n", "text"),
        (b"HTTP/1.1 2000 No\r\n\r\n", "text"),
        (b"HTTP/1.1 500 No\r\nA: " + b"x" * (65_537 - 20), "a head of more than 64 KiB"),
    ],
)
def test_what_is_no_http_is_told_in_words(answer: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=rf"^it did not answer in HTTP \(.*{words}"):
        read(answer)


def test_a_head_that_does_not_end_is_waited_for_up_to_its_limit() -> None:
    for begun in (b"", b"H", b"HTTP/1", b"HTTP/1.1 500 No\r\nA: " + b"x" * (65_536 - 20)):
        with pytest.raises(
            ConnectError, match=r"^it closed the connection before it answered \(it ended the conn"
        ):
            read(begun)


def test_only_addresses_are_looked_up_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may take seconds, and would hold up the event loop."""
    look_up, here, asked = socket.getaddrinfo, threading.current_thread(), []

    def noted(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        asked.append(
            (host, threading.current_thread() is here, bool(more.get("flags", 0) & socket.AI_NUMERICHOST))
        )
        return look_up(host, port, *args, **more)

    async def main() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", noted)
        async with Raw(forever) as gone:
            pass
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(ConnectError):
                await opened(gone.url.replace("127.0.0.1", host))

    run(main())
    assert {each for each in asked if each[1]} == {("127.0.0.1", True, True), ("localhost", True, True)}
    assert {each[0] for each in asked if not each[1]} == {"localhost"}


def test_a_dialer_says_all_that_the_handshake_needs() -> None:
    made: list[Handshake] = []

    async def record(handshake: Handshake, **callbacks: Any) -> Any:
        made.append(handshake)
        return callbacks

    def headers(key: str, own: Mapping[str, str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}", **own, "x-token": "of the call"}

    async def main() -> None:
        endpoint = Endpoint(
            f"wss://h.example/v1?api-key={PASSWORD}&v=1",
            "p",
            lambda: KEY,
            {"x-auth": "of the provider", "x-title": "app"},
            headers,
            WebSocketOptions(ping_interval=7.5),
            3.5,
            ("a",),
        )
        context = ssl.create_default_context()
        dialer = Pools(
            connect=record, proxy="http://p.example", ssl_context=context, max_event_bytes=99
        ).dialer(endpoint)
        assert dialer.secrets == (PASSWORD,) and dialer.url == endpoint.url
        found = await dialer(on_frame=bytes, on_close=print)  # type: ignore[arg-type]
        assert found == {"on_frame": bytes, "on_close": print}  # type: ignore[comparison-overlap]
        secrets = dialer.secrets
        await dialer(on_frame=bytes, on_close=print)  # type: ignore[arg-type]
        assert dialer.secrets == secrets  # they do not grow with each connect
        told = {name: getattr(made[0], name) for name in Handshake.__struct_fields__}
        assert told == {
            "url": endpoint.url,
            "headers": headers(KEY, {"x-auth": "of the provider", "x-title": "app"}),
            "connect_timeout": 3.5,
            "proxy": "http://p.example",
            "ssl_context": context,
            "ping_interval": 7.5,
            "ping_timeout": 7.5,
            "max_frame": 99,
        }
        assert set(dialer.secrets) >= {PASSWORD, KEY, "of the provider", "of the call"}
        assert "app" not in dialer.secrets
        keyless = replace(endpoint, key=None, url="wss://h.example/v1", own_headers={})
        plain = Pools(connect=record, max_event_bytes=99).dialer(keyless)
        await plain(on_frame=bytes, on_close=print)  # type: ignore[arg-type]
        assert (made[2].proxy, made[2].ssl_context, made[2].headers["Authorization"]) == (
            "env",
            None,
            "Bearer ",
        )

    run(main())


def test_a_failure_has_a_reason_in_words() -> None:
    assert say(ConnectionRefusedError(111, "refused")) == "refused"
    assert say(ValueError("wrong")) == "wrong" and say(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("target", "user", "lines"),
    [
        ("ws://h.example/x", "", ["CONNECT h.example:80 HTTP/1.1", "Host: h.example:80"]),
        ("wss://h.example/x", "", ["CONNECT h.example:443 HTTP/1.1", "Host: h.example:443"]),
        ("wss://[::2]:5/x", "", ["CONNECT [::2]:5 HTTP/1.1", "Host: [::2]:5"]),
        ("ws://h.example/x", "me@", ["Proxy-Authorization: Basic bWU6"]),
        ("ws://h.example/x", "m%20e:p%3Aw@", ["Proxy-Authorization: Basic bSBlOnA6dw=="]),
        ("ws://h.example/x", ":pw@", ["CONNECT h.example:80 HTTP/1.1", "Host: h.example:80"]),
    ],
)
def test_what_a_proxy_is_asked_for(target: str, user: str, lines: list[str]) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 407 No\r\n\r\n")
        await hold(reader, writer)

    async def main() -> None:
        async with Raw(script) as way:
            with pytest.raises(ConnectError, match="answered 407"):
                await opened(target, proxy=f"http://{user}127.0.0.1:{way.port}")

    asked: list[str] = []
    run(main())
    found = asked[0].split("\r\n")
    assert found[-2:] == ["", ""] and found[-len(lines) - 2 : -2] == lines
    assert len(found) == (5 if lines[0].startswith("Proxy") else 4)


def test_a_proxy_without_a_port_has_that_of_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def refused(sock: socket.socket, address: Any) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", refused)
        for proxy in ("http://127.0.0.1", "https://127.0.0.1", "HTTPS://127.0.0.1", "http://127.0.0.1:81"):
            with pytest.raises(ConnectError, match=r"the proxy .* cannot be reached"):
                await opened("ws://h.example/x", proxy=proxy)

    run(main())
    assert asked == [("127.0.0.1", port) for port in (80, 443, 443, 81)]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("same_origin", [True, False])
def test_no_redirect_is_followed(status: int, same_origin: bool) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        where = "/elsewhere" if same_origin else f"ws://127.0.0.1:{other.port}/"
        writer.write(f"HTTP/1.1 {status} Go\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())

    async def main() -> None:
        nonlocal other
        async with Raw(forever) as other, Raw(script) as server:
            with pytest.raises(HandshakeRefused) as refused:
                await opened(server.url)
            assert refused.value.status == status and refused.value.headers["location"]
            assert server.seen == 1 and other.seen == 0

    other: Raw
    run(main())


NO_ACCEPT = b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", ProtocolError, "did not answer in HTTP .it looks like text"),
        (b"\x15\x03\x01\x00\x02\x02\x46", ProtocolError, "TLS: is the URL wss"),
        (b"\x00\x00\x12\x04" * 4, ProtocolError, "binary"),
        (b"HTTP/2 200 OK\r\n\r\n", ProtocolError, "did not answer in HTTP"),
        (b"HTTP/1.1 banana\r\n\r\n", ProtocolError, "did not answer in HTTP"),
        (b"HTTP/1.1 101 OK\r\nA: " + b"x" * 70_000, ProtocolError, "more than 64 KiB"),
        (NO_ACCEPT, ProtocolError, "as a WebSocket server .*Sec-WebSocket-Accept"),
        (NO_ACCEPT[:-2] + b"Sec-WebSocket-Accept: nope\r\n\r\n", ProtocolError, "as a WebSocket server"),
        (b"HTTP/1.1 101 OK\r\n\r\n", ProtocolError, "as a WebSocket server"),
        (b"|", ConnectError, "closed the connection before it answered"),
        (b"HTTP/1.1 10|", ConnectError, "closed the connection before it answered"),
        (b"!", ConnectError, "closed the connection before it answered"),
    ],
)
def test_what_is_no_answer(answer: bytes, error: type[Exception], words: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        if answer == b"!":
            writer.transport.abort()
        writer.write(answer.removesuffix(b"|"))
        if not answer.endswith(b"|"):
            await hold(reader, writer)

    async def main() -> None:
        async with Raw(script) as server:
            with pytest.raises(error, match=words) as raised:
                await opened(f"{server.url}?secret={KEY}")
            assert KEY not in str(raised.value) and raised.value.__suppress_context__ is not None

    run(main())


def test_an_extension_that_was_not_asked_for_is_refused() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accepted(await head(reader), "Sec-WebSocket-Extensions: permessage-deflate\r\n"))
        await hold(reader, writer)

    async def main() -> None:
        async with Raw(script) as server:
            with pytest.raises(ProtocolError, match="no extensions supported"):
                await opened(server.url)

    run(main())


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://host/x", {}),
        ("ws:///x", {}),
        ("ws://host:99999/x", {}),
        ("ws://host/a b", {}),
        ("ws://host/x#y", {}),
        ("ws://[::1/x", {}),
        ("nonsense", {}),
        (f"ws://{'a' * 70}.example/x", {}),
        ("ws://user@host/x", {}),
        ("ws://host/x", {"Authorization": f"Bearer {KEY}\n"}),
        ("ws://host/x", {"bad name": "v"}),
        ("ws://host/x", {"x": "\ud800"}),
        ("ws://host/x", {"x": "a\0b"}),
    ],
)
def test_what_cannot_be_sent_is_a_config_error(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"check (base_url|headers= and the key)") as raised:
        run(opened(f"{url}{'' if '#' in url else '?' + KEY}", headers=headers))
    assert KEY not in str(raised.value)


def test_nobody_there() -> None:
    async def main() -> None:
        async with Raw(forever) as gone:
            pass
        with pytest.raises(ConnectError, match=rf"no connection to ws://127.0.0.1:{gone.port} .*listening"):
            await opened(gone.url)
        with pytest.raises(ConnectError, match=r"no connection to ws://localhost:\d+ .*listening"):
            await opened(gone.url.replace("127.0.0.1", "localhost"))
        with pytest.raises(ConnectError, match=r"the name in ws://nowhere.invalid does not resolve"):
            await opened("ws://nowhere.invalid/x")
        assert len(asyncio.all_tasks()) == 1

    run(main())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the connection and never say a byte: not of TLS, of a proxy, nor of HTTP."""
    await hold(reader, writer)


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("upgrade", r"no answer to the WebSocket handshake from ws://127\.0\.0\.1:\d+ "),
        ("head", r"no answer to the WebSocket handshake from ws://127\.0\.0\.1:\d+ "),
        ("tls", r"no connection to wss://127\.0\.0\.1:\d+ "),
        ("proxy", r"the proxy http://127\.0\.0\.1:\d+ gave no connection to ws://example\.com "),
        ("tcp", r"no connection to ws://localhost:\d+ "),
    ],
)
def test_one_clock_for_every_phase(phase: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 OK\r\nX: ")
        await hold(reader, writer)

    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)

    async def main() -> None:
        async with Raw(half if phase == "head" else silent) as server:
            url, proxy = server.url, None
            if phase == "tls":
                url = url.replace("ws:", "wss:")
            if phase == "proxy":
                url, proxy = "ws://example.com/x", f"http://u:{PASSWORD}@127.0.0.1:{server.port}"
            if phase == "tcp":  # a name server that does not answer, the one wait that loopback has not
                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
                url = url.replace("127.0.0.1", "localhost")
            begun = time.monotonic()
            with pytest.raises(RequestTimeout, match=rf"^{words}within 0.2 s.*Timeouts.connect") as late:
                await opened(url, proxy=proxy, connect_timeout=0.2)
            assert late.value.clock == "connect" and PASSWORD not in str(late.value)
            assert time.monotonic() - begun < 2
            await server.idle()  # our side is closed
            assert len(asyncio.all_tasks()) == 1 or phase != "tcp"

    run(main())


def test_the_first_address_that_answers_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as unbound:
            unbound.bind(("127.0.0.1", 0))
            crowd = [socket.socket() for _ in range(4)]
            for one in crowd:  # the kernel drops every further SYN: a black hole
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            names = [full.getsockname(), unbound.getsockname()]
            async with Raw(after_upgrade(then=hold)) as server:
                names += [("127.0.0.1", server.port), full.getsockname()]

                async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
                    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", name) for name in names]

                monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
                url = server.url.replace("127.0.0.1", "many.example")
                begun = time.monotonic()
                link, _ = await opened(url)
                assert 0.2 < time.monotonic() - begun < 2
                link.abort()
                for _ in range(9):
                    await asyncio.sleep(0)
                assert "_connected" not in str(asyncio.all_tasks())  # nobody waits for the others
                del names[2]
                with pytest.raises(RequestTimeout):
                    await opened(url, connect_timeout=0.4)
                names[:] = [unbound.getsockname()] * 3
                with pytest.raises(ConnectError, match=r"refused|Connect call failed"):
                    await opened(url)
                names.clear()
                with pytest.raises(ConnectError, match="no address"):
                    await opened(url)
                await asyncio.sleep(0)
            for one in crowd:
                one.close()

    run(main())


@pytest.mark.parametrize("loser", ["connects", "fails"])
def test_of_two_connections_at_one_moment_one_is_kept(
    loser: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("brainwires_provider.transports.websocket.handshake._STAGGER", 0)
    sockets: list[socket.socket] = []

    async def main() -> None:
        loop, both = asyncio.get_running_loop(), asyncio.Event()
        connect = loop.sock_connect

        async def at_once(sock: socket.socket, address: Any) -> None:
            await connect(sock, address)
            sockets.append(sock)
            number = len(sockets)
            if number == 2:
                both.set()
            await both.wait()
            if loser == "fails" and number == 2:
                raise ConnectionRefusedError

        async with Raw(after_upgrade(then=hold)) as server:
            address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))

            async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
                return [address] * 2

            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
            monkeypatch.setattr(loop, "sock_connect", at_once)
            link, _ = await opened(server.url.replace("127.0.0.1", "many.example"))
            assert [sock.fileno() == -1 for sock in sockets].count(True) == 1
            link.abort()

    run(main())
    gc.collect()  # an error that nobody has read would be reported now
    assert not [each.message for each in caplog.records if each.levelname == "ERROR"]


def test_cancelling_a_connect_leaves_nothing() -> None:
    async def main() -> None:
        async with Raw(forever) as server:
            for host in ("127.0.0.1", "localhost"):
                url = server.url.replace("127.0.0.1", host)
                for turns in range(30):
                    task = asyncio.create_task(opened(url, connect_timeout=None))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    if turns > 25:
                        await asyncio.sleep(0.01)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
            await server.idle()
            assert server.seen > 5

    run(main())


def test_tls_by_the_callers_authority_and_no_other(authority: trustme.CA) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def main() -> None:
        async with library(echo, ssl=server_tls(authority)) as url, Raw(no_tls) as plain:
            link, heard = await opened(url, ssl_context=client_tls(authority))
            transport = link._connection.transport
            assert transport.get_write_buffer_limits()[1] == 65_536  # else TLS takes half a megabyte at once
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # and the kernel several
                low = transport.get_extra_info("socket").getsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT
                )
                assert low == 131_072
            await link.send(b"over TLS" * 500_000)
            assert await heard.count(1) == [b"over TLS" * 500_000]
            await link.aclose()
            assert (await heard.end()).how == "ours"
            for wrong in (url, plain.url.replace("ws:", "wss:")):
                with pytest.raises(
                    ConnectError, match=r"TLS with wss://127.0.0.1:\d+ failed .*(ssl_context=|without TLS)"
                ):
                    await opened(wrong)
            with pytest.raises((ProtocolError, ConnectError)):
                await opened(url.replace("wss:", "ws:"))

    run(main())


# Frames.


def test_messages_go_both_ways_whole_and_in_order() -> None:
    sizes = [0, 1, 125, 126, 65_535, 65_536, 65_537, 1_000_000, 17_000_000]

    async def main() -> None:
        async with library(echo) as url:
            link, heard = await opened(url)
            for size in sizes:
                await link.send(b"\xc3\xa9" * (size // 2) + b"e" * (size % 2))
            assert [len(message) for message in await heard.count(len(sizes))] == sizes
            assert set(heard.frames[-1]) == {0xC3, 0xA9} and all(type(m) is bytes for m in heard.frames)
            await link.aclose()

    run(main())


def test_thirty_megabytes_come_in_whole() -> None:
    async def main() -> None:
        async with library(lambda server: server.send(b"\xe2\x82\xac" * 10_000_000, text=True)) as url:
            _, heard = await opened(url)
            (message,) = await heard.count(1)
            assert len(message) == 30_000_000 and message[-3:] == b"\xe2\x82\xac"

    run(main())


@pytest.mark.parametrize("together", [True, False])
def test_fragments_are_joined_with_control_frames_between_them(together: bool) -> None:
    pieces = (
        frame(1, b"one ", fin=False),
        frame(9, b"are you there"),
        frame(0, b"two", fin=False),
        frame(0, b""),
        frame(10, b"unasked"),
        frame(2, b"\xff\xfe"),
        frame(2, b"three ", fin=False),
        frame(0, b"four"),
        frame(1, b"bad \xff utf-8"),
    )
    said: list[tuple[int, bytes]] = []

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await read_frame(reader))
        writer.write(close_frame(1000))
        said.append(await read_frame(reader))

    async def main() -> None:
        async with Raw(after_upgrade(*pieces, then=then, together=together)) as server:
            heard = Heard()
            link = await connect(shake(server.url), on_frame=heard.on_frame, on_close=heard.on_close)
            assert heard.frames == []  # not before the caller has the link, even if it came with the 101
            assert (await heard.end()).code == 1000
            assert heard.frames == [b"one two", b"\xff\xfe", b"three four", b"bad \xff utf-8"]
            assert not link.is_open
        assert said == [(10, b"are you there"), (8, b"\x03\xe8")]

    run(main())


def test_no_frame_comes_after_an_abort_in_mid_batch() -> None:
    async def main() -> None:
        batch = b"".join(frame(1, str(n).encode()) for n in range(10)) + close_frame(1000)
        async with Raw(after_upgrade(batch, then=hold)) as server:
            heard = Heard()

            def take(message: bytes) -> None:
                heard.on_frame(message)
                if message == b"2":
                    link.abort()
                    assert heard.ends == []  # never from inside a call of ours

            link = await connect(shake(server.url), on_frame=take, on_close=heard.on_close)
            assert (await heard.end()).how == "ours"
            await server.idle()
            assert heard.frames == [b"0", b"1", b"2"] and len(heard.ends) == 1

    run(main())


# Ends.

ENDS: list[tuple[bytes, tuple[Any, ...]]] = [
    *[
        (close_frame(code, "why ☕"), ("server", code, code, code, "why ☕"))
        for code in (1000, 1001, 1008, 1009, 1011, 1012, 1013, 3000, 4999)
    ],
    (frame(8), ("server", 1005, 1005, 1005, "")),
    (b"", ("lost", 1006, None, None, "without a close frame")),
    (frame(1, b"x" * 500)[:100], ("lost", 1006, None, None, "without a close frame")),
    (frame(1, b"part", fin=False), ("lost", 1006, None, None, "without a close frame")),
    (frame(1, b"part", fin=False) + close_frame(1011, "cut"), ("server", 1011, 1011, 1002, "cut")),
    (frame(1, b"x" * 2001), ("too_big_in", 1009, None, 1009, "2000")),
    (frame(1, b"x" * 1500, fin=False) + frame(0, b"x" * 501), ("too_big_in", 1009, None, 1009, "2000")),
    (frame(8, b"\x03\xe8\xff\xff"), ("protocol", 1007, None, 1007, "")),
    (close_frame(1006), ("protocol", 1002, None, 1002, "")),
    (frame(8, b"\x03"), ("protocol", 1002, None, 1002, "")),
    (frame(1, b"hi", bits=0x40), ("protocol", 1002, None, 1002, "reserved")),
    (frame(3, b"hi"), ("protocol", 1002, None, 1002, "opcode")),
    (frame(1, b"hi", masked=True), ("protocol", 1002, None, 1002, "masking")),
    (frame(0, b"hi"), ("protocol", 1002, None, 1002, "continuation")),
    (frame(9, b"x" * 200), ("protocol", 1002, None, 1002, "")),
    (b"HTTP/1.1 200 OK\r\n" * 9, ("protocol", 1002, None, 1002, "")),
]


@pytest.mark.parametrize(
    ("bytes_", "expected", "then"),
    [(*end, then) for end in ENDS for then in (None, hold) if end[1][0] != "lost" or then is None],
)
def test_every_end_is_told_once_and_at_once(
    bytes_: bytes, expected: tuple[Any, ...], then: Script | None
) -> None:
    how, code, received, sent, words = expected

    async def main() -> None:
        async with Raw(after_upgrade(frame(1, b"first"), bytes_, then=then)) as server:
            link, heard = await opened(server.url, max_frame=2000)
            await heard.count(1)
            begun = time.monotonic()
            closed = await heard.end()
            assert time.monotonic() - begun < 0.7  # a server that never ends TCP delays nothing
            assert (closed.how, closed.code, closed.received, closed.sent) == (how, code, received, sent)
            assert words in closed.reason
            assert heard.frames == [b"first"] and link.closed is closed and not link.is_open
            for attempt in (link.send(b"late"), link.ping()):
                with pytest.raises(LinkLost, match=how) as lost:
                    await attempt
                assert lost.value.closed is closed
            await server.idle()  # and the socket is freed all the same
            link.abort()
            await link.aclose()
            await asyncio.sleep(0)
            assert heard.ends == [closed] and len(asyncio.all_tasks()) == 1 + server.live

    run(main(), fast=True)


def test_a_reset_is_lost() -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def main() -> None:
        async with Raw(after_upgrade(frame(1, b"first"), then=reset)) as server:
            _, heard = await opened(server.url)
            closed = await heard.end()
            assert (closed.how, closed.code) == ("lost", 1006) and "reset" in closed.reason

    run(main())


def test_a_close_right_after_the_upgrade_still_gives_a_link() -> None:
    async def main() -> None:
        for bytes_, how in ((close_frame(1008, "policy"), "server"), (b"", "lost")):
            async with Raw(after_upgrade(bytes_, together=True)) as server:
                _, heard = await opened(server.url)
                assert heard.ends == []
                assert (await heard.end()).how == how

    run(main())


def test_a_request_that_a_link_did_not_take_is_none_that_was_sent() -> None:
    async def main() -> None:
        async with Raw(after_upgrade(close_frame(1012), together=True)) as server:
            url, options = f"http://127.0.0.1:{server.port}/v1", WebSocketOptions(http_fallback=False)
            own = ProviderConfig("openai-responses-ws", base_url=url, api_key=KEY, socket=options)
            async with AsyncClient("openai-responses-ws:m", providers=[own], retry=Retry(1)) as client:
                with pytest.raises(StreamInterrupted) as caught:
                    await client.chat("hi")
                stats = client.stats().websockets
                assert caught.value.how == "1012" and stats is not None
                assert (stats.connected, stats.full, stats.incremental) == (2, 0, 0)

    run(main())


def test_an_exception_in_a_callback_is_told() -> None:
    def burst(message: bytes) -> None:
        raise KeyError(message.decode())

    def broken(closed: Closed) -> None:
        heard.on_close(closed)
        raise LookupError("in on_close")

    async def main() -> None:
        nonlocal heard
        heard = Heard()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with Raw(after_upgrade(frame(1, b"boom") * 3, then=hold)) as server:
            link = await connect(shake(server.url), on_frame=burst, on_close=broken)
            closed = await heard.end()
            assert closed.how == "callback" and "KeyError" in closed.reason and link.closed is closed
            assert isinstance(closed.error, KeyError)
            await server.idle()

    heard: Heard
    problems: list[dict[str, Any]] = []
    run(main())
    assert [type(problem["exception"]) for problem in problems] == [LookupError]
    assert problems[0]["message"] == "on_close of a WebSocket raised"


def test_an_exit_asked_for_in_a_callback_goes_out() -> None:
    def leave(_: bytes) -> None:
        raise SystemExit(3)

    async def main() -> None:
        async with Raw(after_upgrade(frame(1, b"x"), then=hold)) as server:
            link = await connect(shake(server.url), on_frame=leave, on_close=heard.append)
            await asyncio.sleep(5)
            link.abort()

    heard: list[Closed] = []
    with pytest.raises(SystemExit, match="3"):
        run(main())
    assert [closed.how for closed in heard] == ["callback"]


def test_aclose_shakes_hands_and_a_peer_that_will_not_is_left_in_a_second() -> None:
    codes: list[int | None] = []

    async def polite(server: ServerConnection) -> None:
        await server.wait_closed()
        codes.append(server.close_code)

    async def main() -> None:
        async with library(polite) as url:
            link, heard = await opened(url)
            await asyncio.gather(link.aclose(), link.aclose())
            assert (await heard.end()) == Closed(1000, "closed here", "ours", sent=1000)
            await link.aclose()
        assert codes == [1000]
        async with Raw(after_upgrade(then=deaf)) as server:
            link, heard = await opened(server.url)
            begun = time.monotonic()
            await link.aclose()
            assert time.monotonic() - begun <= 1.2
            assert heard.ends == [link.closed]
            link, heard = await opened(server.url)
            task = asyncio.create_task(link.aclose())
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await heard.end()).how == "ours"

    run(main())


# Sending.

BIG = b"b" * 20_000_000


def test_a_stuck_peer_blocks_no_one_for_ever() -> None:
    async def main() -> None:
        async with Raw(after_upgrade(then=deaf)) as server:
            link, heard = await opened(server.url)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await link.send(BIG)
            assert link.is_open
            sending = asyncio.create_task(link.send(BIG))
            await asyncio.sleep(0.02)
            link.abort()
            with pytest.raises(LinkLost) as lost:
                await sending
            assert lost.value.closed.how == "ours" and (await heard.end()) is lost.value.closed
            await asyncio.sleep(0.05)
            kept = [view.nbytes for view in gc.get_objects() if type(view) is memoryview]
            assert sum(kept) < 1_000_000  # the link is still in hand, what it could not send is not

    run(main())


def test_a_cancelled_send_leaves_the_frames_whole() -> None:
    got: list[tuple[int, int]] = []
    gate = asyncio.Event()

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        for _ in range(3):
            opcode, data = await read_frame(reader)
            got.append((opcode, len(data)))
        writer.write(frame(1, b"done"))
        await hold(reader, writer)

    async def main() -> None:
        async with Raw(after_upgrade(then=then)) as server:
            link, heard = await opened(server.url)
            first = asyncio.create_task(link.send(BIG[:9_000_000]))
            await asyncio.sleep(0.02)
            second = asyncio.create_task(link.send(b"after it"))
            pinging = asyncio.create_task(link.ping())
            await asyncio.sleep(0.02)
            assert not first.done() and not second.done()
            for task in (first, pinging):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            gate.set()
            await second
            assert await heard.count(1) == [b"done"]
            link.abort()
        assert got == [(1, 9_000_000), (1, 8), (9, 8)]
        assert not (link._connection._senders or link._connection._pings)

    run(main())


@pytest.mark.parametrize("rude", [False, True])
def test_a_frame_too_big_for_the_server_is_its_1009(rude: bool) -> None:
    """`rude` ends TCP with our bytes unread, which resets the connection behind the close frame."""

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        writer.write(close_frame(1009, "message too big"))
        await writer.drain()
        writer.close()

    async def tries(url: str) -> None:
        for _ in range(10):
            link, heard = await opened(url)
            with pytest.raises(LinkLost):
                await link.send(BIG)
            closed = await heard.end()
            assert (closed.how, closed.code, closed.received) == ("server", 1009, 1009), closed
            link.abort()

    async def main() -> None:
        if rude:
            async with Raw(after_upgrade(then=slam)) as server:
                await tries(server.url)
        else:
            async with library(echo, max_size=2**20) as url:
                await tries(url)

    run(main())


# The keepalive.


def test_a_half_open_peer_is_noticed() -> None:
    async def main() -> None:
        async with Raw(after_upgrade(then=deaf)) as server:
            for sending in (False, True):
                link, heard = await opened(server.url, ping_interval=0.05, ping_timeout=0.05)
                begun = time.monotonic()
                if sending:
                    with pytest.raises(LinkLost):
                        await link.send(BIG)
                closed = await heard.end()
                assert (closed.how, closed.code) == ("keepalive", 1006) and "0.05 s" in closed.reason
                assert time.monotonic() - begun < 1

    run(main())


def test_nothing_is_timed_on_a_link_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ping after the end, which is not waited for when TCP has ended too."""

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await end.wait()
        writer.write(close_frame(1001))
        await leave.wait()

    async def main() -> None:
        async with Raw(after_upgrade(then=then)) as server:
            link, heard = await opened(server.url, ping_interval=0.01)
            timers = link._connection._timers
            while timers.keys() != {"beat", "verdict"}:
                await asyncio.sleep(0.01)
            end.set()
            await heard.end()
            assert [name for name, timer in timers.items() if not timer.cancelled()] == ["linger"]
            leave.set()
            await link._connection._over
            assert timers["linger"].cancelled()

    monkeypatch.setattr("brainwires_provider.transports.websocket.connection._CLOSE_SECONDS", 30)
    end, leave = asyncio.Event(), asyncio.Event()
    run(main())


@pytest.mark.parametrize("settings", [{"ping_interval": None}, {"ping_interval": 0.05, "ping_timeout": None}])
def test_the_keepalive_can_be_off(settings: dict[str, Any]) -> None:
    async def main() -> None:
        async with Raw(after_upgrade(then=hold)) as server:
            link, _ = await opened(server.url, **settings)
            await asyncio.sleep(0.3)
            assert link.is_open
            link.abort()

    run(main())


@pytest.mark.parametrize("tls", [False, pytest.param(True, marks=[pytest.mark.long])])
def test_a_slow_upload_is_alive_and_so_is_a_server_that_talks_and_never_pongs(
    tls: bool, authority: trustme.CA
) -> None:
    upload = BIG[:2_000_000]

    async def sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = len(upload)
        while left > 0:  # more than a second, with not one byte to the client
            left -= len(await reader.read(20_000))
            await asyncio.sleep(0.01)
        for _ in range(60):
            writer.write(frame(1, b"tick"))
            await asyncio.sleep(0.01)
        writer.write(close_frame(1000))
        await hold(reader, writer)

    async def main() -> None:
        way = Raw(after_upgrade(then=sip), server_tls(authority) if tls else None, small=True)
        async with way as server:
            context = client_tls(authority) if tls else None
            link, heard = await opened(server.url, ping_interval=0.1, ping_timeout=0.4, ssl_context=context)
            await link.send(upload)
            closed = await heard.end()
            assert closed.how == "server" and len(heard.frames) == 60

    run(main())


def test_pings_measure_and_slow_callbacks_cost_no_link() -> None:
    async def chatter(server: ServerConnection) -> None:
        for n in range(2000):
            await server.send(f"{n}")
        await server.wait_closed()

    async def main() -> None:
        async with library(chatter, ping_interval=0.1, ping_timeout=0.3) as url:
            heard = Heard()

            def slow(message: bytes) -> None:
                time.sleep(0.0005)
                heard.on_frame(message)

            quick = {"ping_interval": 0.05, "ping_timeout": 0.3}
            link = await connect(shake(url, **quick), on_frame=slow, on_close=heard.on_close)
            assert await heard.count(2000) == [str(n).encode() for n in range(2000)]
            both = await asyncio.gather(link.ping(), link.ping())
            assert all(0 < latency < 1 for latency in both)
            await link.aclose()

    run(main())


# Proxies.


class Proxy:
    """A CONNECT proxy in a few lines."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n") -> None:
        self.answer = answer
        self.asked: list[dict[str, str]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await head(reader)
        self.asked.append(asked)
        writer.write(self.answer)
        if b" 200 " not in self.answer:
            return await hold(reader, writer)
        host, _, port = asked[":line"].split()[1].rpartition(":")
        target_reader, target_writer = await asyncio.open_connection(host, int(port))

        async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.transport.abort()

        await asyncio.gather(pour(reader, target_writer), pour(target_reader, writer))
        return None


@pytest.mark.parametrize("proxy_tls", [False, True])
@pytest.mark.parametrize("target_tls", [False, True])
def test_through_a_proxy_with_credentials(proxy_tls: bool, target_tls: bool, authority: trustme.CA) -> None:
    tls = server_tls(authority)

    async def main() -> None:
        settings = {"ssl": tls} if target_tls else {}
        async with library(echo, **settings) as url, Raw(proxy, tls if proxy_tls else None) as way:
            scheme = "https" if proxy_tls else "http"
            link, heard = await opened(
                url,
                proxy=f"{scheme}://us%40r:{PASSWORD}%21@127.0.0.1:{way.port}",
                ssl_context=client_tls(authority),
            )
            await link.send(b"x" * 300_000)
            assert await heard.count(1) == [b"x" * 300_000]
            await link.aclose()
            assert (await heard.end()).how == "ours"
            (asked,) = proxy.asked
            assert asked[":line"].startswith("CONNECT 127.0.0.1:")
            assert b64decode(asked["proxy-authorization"].split()[1]).decode() == f"us@r:{PASSWORD}!"
            assert "authorization" not in asked

    proxy = Proxy()
    run(main())


@pytest.mark.parametrize("target_tls", [False, True])
def test_what_a_proxy_adds_to_its_answer_is_not_the_servers(target_tls: bool, authority: trustme.CA) -> None:
    async def main() -> None:
        settings = {"ssl": server_tls(authority)} if target_tls else {}
        surplus = b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"
        async with library(echo, **settings) as url, Raw(Proxy(Proxy().answer + surplus)) as way:
            link, _ = await opened(
                url, proxy=f"http://127.0.0.1:{way.port}", ssl_context=client_tls(authority)
            )
            await link.aclose()

    run(main())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "answered 407 .*; check proxy=",
        ),
        (b"HTTP/1.0 502 No\r\n\r\n", "answered 502; check proxy="),
        (b"220 smtp.example ESMTP\r\n", "did not answer in HTTP"),
    ],
)
def test_a_proxy_that_refuses(answer: bytes, words: str) -> None:
    async def main() -> None:
        async with Raw(Proxy(answer)) as way:
            with pytest.raises((ConnectError, ProtocolError), match=words) as raised:
                await opened("wss://api.example/x", proxy=f"http://u:{PASSWORD}@127.0.0.1:{way.port}")
            assert PASSWORD not in str(raised.value) and f"http://127.0.0.1:{way.port}" in str(raised.value)
        with pytest.raises(ConnectError, match=r"proxy .* cannot be reached .*check proxy="):
            await opened("wss://api.example/x", proxy=f"http://u:{PASSWORD}@127.0.0.1:{way.port}")
        for wrong in ("http://:80", "http://host:port"):
            with pytest.raises(ConfigError, match="the proxy's URL"):
                await opened("wss://api.example/x", proxy=wrong)

    run(main())


def test_an_environment_proxy_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        proxy = Proxy()
        async with library(echo) as url, Raw(proxy) as way:
            monkeypatch.setenv("WS_PROXY", f"http://127.0.0.1:{way.port}")
            monkeypatch.setenv("no_proxy", "")
            monkeypatch.setenv("NO_PROXY", "")
            link, heard = await opened(url, proxy="env")
            await link.send(b"hi")
            assert await heard.count(1) == [b"hi"] and proxy.asked == []
            await link.aclose()

    run(main())


# Secrets, leaks, loops.


def test_no_key_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            library(echo, logger=logging.Logger("server", logging.CRITICAL)) as url,
            Raw(Proxy()) as way,
        ):
            settings = {"proxy": f"http://u:{PASSWORD}@127.0.0.1:{way.port}"}
            link, heard = await opened(f"{url}&key={KEY}", **settings)
            await link.send(KEY.encode())
            await heard.count(1)
            await link.ping()
            shown = repr(link) + repr(shake(f"ws://u:{PASSWORD}@host/path?key={KEY}#{KEY}", **settings))
            await link.aclose()
            shown += repr(link) + repr(await heard.end())
            assert KEY not in shown and PASSWORD not in shown and "ws://host/path" in shown

    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.client", "asyncio", "brainwires_provider"):
        caplog.set_level(logging.DEBUG, name)
    run(main(), debug=True)
    assert KEY not in caplog.text and PASSWORD not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("websockets")]


def sockets() -> int:
    return sum(
        "socket" in os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is(fd)
    )


def _is(fd: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{fd}")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors by /proc")
@pytest.mark.parametrize("way", ["abort", "aclose", "drop"])
def test_a_hundred_links_leave_no_task_and_no_socket(way: str) -> None:
    async def main() -> None:
        async with Raw(after_upgrade(then=hold)) as server:
            before = sockets()
            pairs = await asyncio.gather(*(opened(server.url) for _ in range(100)))
            assert sockets() >= before + 200
            ends = [heard for _, heard in pairs]
            if way == "aclose":
                await asyncio.gather(*(link.aclose() for link, _ in pairs))
            elif way == "abort":
                _ = [link.abort() for link, _ in pairs]
            del pairs[:]
            await asyncio.gather(*(heard.end() for heard in ends))
            await server.idle()
            async with asyncio.timeout(5):  # the server's half is closed an iteration later
                while sockets() != before:
                    await asyncio.sleep(0.005)
            assert len(asyncio.all_tasks()) == 1

    run(main())


@contextlib.contextmanager
def in_a_thread(script: Script, tls: ssl.SSLContext | None) -> Iterator[str]:
    """A server with a loop of its own, up to the end of its connections."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    urls: list[str] = []

    async def main() -> None:
        async with asyncio.timeout(10), Raw(script, tls) as server:
            urls.append(server.url)
            ready.set()
            await over.wait()
            await server.idle()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()
    assert not thread.is_alive()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("way", ["abort", "aclose", "drop"])
def test_a_link_whose_loop_was_closed_is_over_and_frees_its_socket(
    way: str, tls: bool, authority: trustme.CA, recwarn: pytest.WarningsRecorder
) -> None:
    """Without a word: nothing is left for a finalizer to warn of."""
    with in_a_thread(after_upgrade(then=hold), server_tls(authority) if tls else None) as url:
        loop = asyncio.new_event_loop()
        link, heard = loop.run_until_complete(opened(url, ssl_context=client_tls(authority) if tls else None))
        loop.close()
        assert link.closed is None and not link.is_open
        if way == "drop":
            del link
        else:
            for use in (link.send(b"late"), link.ping()):
                with pytest.raises(LinkLost) as lost:
                    asyncio.run(use)
                assert lost.value.closed.how == "loop"
            for _ in range(2):
                link.abort() if way == "abort" else asyncio.run(link.aclose())
                assert link.closed is not None and link.closed.how == "loop"
    assert heard.ends == [] and heard.frames == []
    gone = ref(heard)
    del heard
    gc.collect()
    assert gone() is None  # who still has the link has nothing of its callbacks
    if way != "drop":
        del link
        gc.collect()
    assert [str(each.message) for each in recwarn if each.category is ResourceWarning] == []


@pytest.mark.parametrize("way", ["abort", "aclose", "server"])
def test_a_link_that_is_over_keeps_nothing_of_its_callbacks(way: str) -> None:
    async def main() -> None:
        async with Raw(after_upgrade(*([close_frame(1000)] if way == "server" else []), then=hold)) as server:
            link, heard = await opened(server.url)
            if way == "abort":
                link.abort()
            elif way == "aclose":
                await link.aclose()
            await heard.end()
            gone = ref(heard)
            del heard
            gc.collect()
            assert gone() is None and link.closed is not None

    run(main(), fast=True)


PROGRAM = """
import asyncio, gc, os, sys
from brainwires_provider.transports.websocket.connection import Handshake, LinkLost, connect

ends = []

async def accept(reader, writer):
    from base64 import b64encode; from hashlib import sha1
    lines = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().split("\\r\\n")
    key = next(l.split(": ")[1] for l in lines if l.lower().startswith("sec-websocket-key"))
    key = b64encode(sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    writer.write(("HTTP/1.1 101 OK\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                  f"Sec-WebSocket-Accept: {key}\\r\\n\\r\\n").encode())

def sockets():
    folder = "/proc/self/fd"
    names = [f"{folder}/{fd}" for fd in os.listdir(folder)] if os.path.isdir(folder) else []
    return sum("socket" in os.readlink(name) for name in names if os.path.islink(name))

async def link_to(port, **more):
    asyncio.get_running_loop().slow_callback_duration = 30  # -X dev tells of a busy machine
    return await connect(Handshake(f"ws://127.0.0.1:{port}/", headers={}, proxy=None, **more),
                         on_frame=print, on_close=lambda c: ends.append(c.how))
"""


def test_a_link_ends_with_its_loop_and_says_so() -> None:
    async def main() -> tuple[Link, Heard]:
        link, heard = await opened(f"{server.base_url.replace('http', 'ws')}/responses")
        await link.send(b"{}")
        return link, heard

    with ScriptedSocket([[[Stall()]]]) as server:
        link, heard = asyncio.run(main())
        assert [end.how for end in heard.ends] == ["loop"] and link.closed is heard.ends[0]
        server.wait_idle(5)


@pytest.mark.long
@pytest.mark.parametrize(
    ("body", "ends"),
    [
        # The loop ends in the usual way, with the link open, kept and dropped, pinging and sending.
        pytest.param(
            "kept = asyncio.run(link_to(PORT, ping_interval=0.001)); assert not sockets()",
            "['loop']",
            marks=[pytest.mark.fast],
        ),
        ("asyncio.run(link_to(PORT)); gc.collect()", None),
        (
            """
            async def main():
                link = await link_to(PORT)
                asyncio.create_task(link.send(b"x" * 9_000_000)); asyncio.create_task(link.ping())
                await asyncio.sleep(0.02)
                kept.append(link)
            kept = []; asyncio.run(main()); assert not sockets()
            """,
            "['loop']",
        ),
        # In the middle of a handshake, of a close, of an abort.
        ("try: asyncio.run(asyncio.wait_for(link_to(DEAD), 0.05))\nexcept TimeoutError: pass", "[]"),
        (
            """
            async def main():
                asyncio.create_task(link_to(DEAD)); await asyncio.sleep(0.05)
            asyncio.run(main())
            """,
            "[]",
        ),
        (
            """
            async def main():
                link = await link_to(PORT); asyncio.create_task(link.aclose()); await asyncio.sleep(0)
            asyncio.run(main())
            """,
            "['ours']",
        ),
        ("async def main(): (await link_to(PORT)).abort()\nasyncio.run(main())", "['ours']"),
        # The loop is closed without a word: nothing is told, nothing printed.
        (
            """
            loop = asyncio.new_event_loop(); link = loop.run_until_complete(link_to(PORT)); loop.close()
            assert not link.is_open
            link.abort(); link.abort(); assert link.closed.how == "loop"
            asyncio.run(link.aclose())
            """,
            "[]",
        ),
        pytest.param(
            """
            loop = asyncio.new_event_loop(); link = loop.run_until_complete(link_to(PORT)); loop.close()
            del link, loop; gc.collect()
            """,
            "[]",
            marks=[pytest.mark.fast],
        ),
        # Whoever still holds such a link, and uses it in another loop, learns that it is over.
        (
            """
            loop = asyncio.new_event_loop(); link = loop.run_until_complete(link_to(PORT)); loop.close()
            for use in (lambda: link.send(b"late"), link.ping):
                try: asyncio.run(use())
                except LinkLost as lost: assert lost.closed.how == "loop"
                else: assert False
            """,
            "[]",
        ),
    ],
)
def test_loops_end_in_silence(body: str, ends: str | None) -> None:
    program = f"{PROGRAM}\nPORT, DEAD = map(int, sys.argv[1:])\n{textwrap.dedent(body)}\nprint(ends)"
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]

    async def main() -> tuple[int, str, str]:
        async with Raw(after_upgrade(then=deaf)) as server, Raw(silent) as dead:
            done = await asyncio.to_thread(
                subprocess.run,
                [*command, str(server.port), str(dead.port)],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            return done.returncode, done.stdout.strip(), done.stderr

    code, out, err = run(main())
    assert (code, err) == (0, "")
    assert out == ends or (ends is None and json.loads(out.replace("'", '"')) in (["loop"], ["ours"]))
