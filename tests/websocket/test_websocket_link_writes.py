"""What a link writes: replies to pings that nobody takes do not pile up, and a dead socket is not written to."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading

import pytest
from test_websocket_link import Raw, accepted, after_upgrade, frame, opened, run

from brainwires_provider.errors import ConnectError
from brainwires_provider.transports.websocket.connection import LinkLost

PING, TEXT = 9, 1


def test_replies_to_pings_are_bounded_while_the_server_reads_nothing() -> None:
    pings = frame(PING, b"x" * 100) * 5_000

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(pings + frame(TEXT, b"last"))
        await over.wait()

    over = asyncio.Event()

    async def main() -> None:
        async with Raw(after_upgrade(then=deaf), small=True) as server:
            link, heard = await opened(server.url, ping_interval=None)
            sending = asyncio.ensure_future(link.send(b"a" * 8_000_000))
            try:
                assert await heard.count(1) == [b"last"]
                waiting = link._connection._out
                assert sum(map(len, waiting)) < 8_001_000 and len(waiting) <= 4
                link.abort()
                with pytest.raises(LinkLost):
                    await sending
            finally:
                over.set()

    run(main())


def test_a_socket_that_has_failed_is_not_written_to(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio logs each write after the fifth."""
    listener = socket.create_server(("127.0.0.1", 0))
    leave = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            request = b""
            while b"\r\n\r\n" not in request:
                request += sock.recv(65_536)
            lines = request.decode().split("\r\n")[1:-2]
            sock.sendall(accepted({k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}))
            leave.wait(10)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def main() -> None:
        link, heard = await opened(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        leave.set()
        thread.join(10)  # not awaited: the loop has not seen the reset when it writes
        with pytest.raises(LinkLost):
            await link.send(b"a" * 5_000_000)
        assert (await heard.end()).how == "lost"

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        run(main())
    assert "socket.send() raised exception" not in caplog.text


def test_a_proxy_that_wants_a_password_is_an_error_that_states_it() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async def main() -> None:
        async with Raw(refuse) as proxy:
            with pytest.raises(ConnectError, match=r"answered 407 \(it wants a user and a password"):
                await opened("ws://example.invalid/", proxy=f"http://127.0.0.1:{proxy.port}")

    run(main())
