"""The scripted WebSocket server: each step and each end is what it says, and nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
from typing import Any

import pytest
import trustme
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from brainwires_provider import testing
from brainwires_provider.testing import (
    Answer,
    Binary,
    Close,
    CloseFrame,
    Drop,
    Fragments,
    Gate,
    HalfFrame,
    Handshake,
    Paced,
    RawBytes,
    ResponsesService,
    ScriptedSocket,
    SocketScript,
    SocketStep,
    Stall,
    Wait,
)
from websocket_clients import (
    SAID,
    create,
    read,
    read_to_end,
    run,
    served,
    socket_to,
)

# -- a script: what arrives ----------------------------------------------------------------------------

HUGE = {"type": "huge", "text": "x" * 30_000_000}


@pytest.mark.parametrize(
    ("steps", "frames"),
    [
        ([SAID, {"type": "again"}], [b'{"type":"said"}', b'{"type":"again"}']),
        (["not JSON", b"[1]"], [b"not JSON", b"[1]"]),
        ([b"\xff\xfe"], [b"\xff\xfe"]),
        ([Binary(b"\x00")], [b"\x00"]),
        ([Fragments(b"0123456789", 3)], [b"0123456789"]),
        ([Fragments(b"", 3)], [b""]),
        ([Fragments(b"012", 3)], [b"012"]),
        ([RawBytes(b"\x81\x02hi")], [b"hi"]),
        ([Paced([b"1", b"2"], every=0.001), Paced([b"3"])], [b"1", b"2", b"3"]),
        ([Wait(0.001), SAID], [b'{"type":"said"}']),
        ([HUGE], [json.dumps(HUGE, separators=(",", ":")).encode()]),
    ],
    ids=["events", "text", "UTF-8", "binary", "fragments", "empty", "exact", "raw", "paced", "wait", "huge"],
)
@pytest.mark.parametrize("compression", [False, True])
def test_steps_are_the_frames_they_say(
    steps: list[SocketStep], frames: list[bytes], compression: bool
) -> None:
    if compression and any(isinstance(step, RawBytes) for step in steps):
        pytest.skip("raw bytes know no compression")

    async def main(server: ScriptedSocket) -> None:
        options = {"compression": "deflate"} if compression else {}
        async with socket_to(server, **options) as ws:
            await ws.send("go")
            for frame in frames:
                assert await ws.recv(decode=False) == frame

    with ScriptedSocket([[steps]], compression=compression) as server:
        run(main(server))
        assert server.requests == [[b"go"]]


def test_a_script_waits_for_each_request_and_says_when_it_is_over() -> None:
    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server) as ws:
            assert await read(ws) == SAID
            assert ws.response is not None and ws.response.headers["x-a"] == "b"
            for number in (1, 2):
                await ws.send("{}")
                assert await read(ws) == {"type": str(number)}
            await ws.send("{}")
            assert "no request is left" in (await read(ws))["error"]["message"]
        with pytest.raises(InvalidStatus, match="503"):
            async with socket_to(server):
                pass

    script = SocketScript([[{"type": "1"}], [{"type": "2"}]], first=[SAID], headers={"x-a": "b"})
    with ScriptedSocket([script]) as server:
        run(main(server))


def test_a_gate_holds_until_it_is_opened() -> None:
    gate = Gate()

    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server) as ws:
            await ws.send("{}")
            await server.wait_requests_async(1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.recv(), 0.05)
            server.open(gate)
            assert await read(ws) == SAID

    with ScriptedSocket([[[gate, SAID]]]) as server:
        run(main(server))


# -- a script: how it ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "received", "reason"),
    [
        (CloseFrame(1000), 1000, ""),
        (CloseFrame(1001, "bye"), 1001, "bye"),
        (CloseFrame(1011), 1011, ""),
        (CloseFrame(4000, "own"), 4000, "own"),
        (CloseFrame(None), 1005, ""),
        (Close(), None, ""),
        (Drop(), None, ""),
        (HalfFrame(b"x" * 100, "fin"), None, ""),
        (HalfFrame(b"x" * 100, "rst"), None, ""),
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["first", "request", "play"])
def test_ends_are_what_they_say(step: SocketStep, received: int | None, reason: str, where: str) -> None:
    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server) as ws:
            if where != "first":
                await ws.send("{}")
            await server.wait_requests_async(int(where != "first"))
            if where == "play":
                assert await read(ws) == SAID
                server.play(step)
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
        rcvd = closed.value.rcvd
        assert (None if rcvd is None else (rcvd.code, rcvd.reason)) == (
            None if received is None else (received, reason)
        )

    script = {
        "first": SocketScript(first=[step]),
        "request": SocketScript([[step]]),
        "play": SocketScript([[SAID]]),
    }[where]
    with ScriptedSocket([script]) as server:
        run(main(server))
        server.wait_idle(5)
        assert server.failures == []


@pytest.mark.parametrize(
    ("step", "got", "end"),
    [
        (HalfFrame(b"x" * 100, "fin"), 51, "fin"),
        (HalfFrame(b"x" * 100, "rst"), 51, "rst"),
        (Close(), 0, "fin"),
        (Drop(), 0, "rst"),
    ],
    ids=str,
)
def test_ends_on_the_wire(step: SocketStep, got: int, end: str) -> None:
    request = (
        b"GET /x?y=z HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    with ScriptedSocket([SocketScript(first=[step])]) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            sock.sendall(request)
            received, how = b"", "fin"
            try:
                while data := sock.recv(65536):
                    received += data
            except ConnectionResetError:
                how = "rst"
        assert (server.handshakes[0].path, server.handshakes[0].query) == ("/x", "y=z")
    assert how == end
    if end == "fin":  # a reset may overtake what was sent
        assert len(received.partition(b"\r\n\r\n")[2]) == got


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer(429, {"retry-after": "7"}, b'{"error": {}}'), InvalidStatus, "429"),
        (Answer(401), InvalidStatus, "401"),
        (Answer(426), InvalidStatus, "426"),
        (Answer(drop=True), (InvalidMessage, OSError), None),
        (Answer(raw=b"garbage\r\n\r\n"), InvalidMessage, None),
        (Answer(stall_before_headers=True), TimeoutError, None),
    ],
)
def test_a_handshake_may_be_refused(answer: Answer, error: Any, says: str | None) -> None:
    async def main(server: ScriptedSocket) -> None:
        with pytest.raises(error, match=says) as refused:
            async with socket_to(server, open_timeout=0.3):
                pass
        if answer.status == 429:
            assert refused.value.response.headers["retry-after"] == "7"
            assert refused.value.response.body == answer.body

    with ScriptedSocket([answer]) as server:
        run(main(server))
        server.wait_idle()
        assert len(server.handshakes) == 1
        assert server.requests == [[]]


def test_a_redirect_leads_to_another_server() -> None:
    async def main(first: ScriptedSocket, second: ScriptedSocket) -> None:
        async with socket_to(first) as ws:
            await ws.send(create())
            assert (await read_to_end(ws))[-1]["type"] == "response.completed"
        assert (len(first.handshakes), len(second.handshakes)) == (1, 1)

    with (
        ScriptedSocket(ResponsesService()) as second,
        ScriptedSocket([Answer(302, {"location": second.url})]) as first,
    ):
        run(main(first, second))


def test_a_function_decides_by_the_handshake() -> None:
    service = ResponsesService()

    def decide(handshake: Handshake) -> Any:
        return service if handshake.header("x-key") == "right" and handshake.number > 1 else Answer(403)

    async def main(server: ScriptedSocket) -> None:
        for _ in range(2):
            with pytest.raises(InvalidStatus):
                async with socket_to(server):
                    pass
        async with socket_to(server, additional_headers={"X-Key": "right"}) as ws:
            await ws.send(create())
            assert (await read_to_end(ws))[-1]["type"] == "response.completed"

    with ScriptedSocket(decide) as server:
        run(main(server))
        assert [handshake.connection for handshake in server.handshakes] == [1, 2, 3]


# -- the life of the server ----------------------------------------------------------------------------


def test_tls() -> None:
    authority = trustme.CA()
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.configure_trust(client_side)

    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server, ssl=client_side) as ws:
            await ws.send(create())
            assert (await read_to_end(ws))[-1]["type"] == "response.completed"

    with ScriptedSocket(ResponsesService(), ssl_context=server_side) as server:
        assert server.url.startswith("wss://")
        assert server.base_url.startswith("https://")
        run(main(server))
        server.wait_idle()


@pytest.mark.parametrize("what", ["author", "fault", "plan", "step", "close code"])
def test_what_a_script_raises_is_told_at_the_end(what: str) -> None:
    def explode(*_: Any) -> Any:
        raise ZeroDivisionError("boom")

    plans: dict[str, Any] = {
        "author": ResponsesService(explode),
        "fault": ResponsesService(),
        "plan": explode,
        "step": [[[object()]]],
        "close code": [[[CloseFrame(1006)]]],
    }

    async def main(server: ScriptedSocket) -> None:
        with pytest.raises((ConnectionClosed, InvalidStatus)):
            async with socket_to(server) as ws:
                await ws.send(create())
                await ws.recv()

    server = ScriptedSocket(plans[what], fault=explode if what == "fault" else None)
    with pytest.raises(AssertionError, match="the server's script raised"), server:
        run(main(server))


def test_a_wait_has_a_clock_and_says_what_it_waited_for() -> None:
    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server) as ws:
            await ws.send("{}")
            with pytest.raises(ConnectionClosed):
                await ws.recv()

    with ScriptedSocket([[[Stall()]]], timeout=0.2) as server:
        run(main(server))
        server.wait_idle()
        assert server.failures == ["connection 1: waited 0.2 s for Stall()"]


def test_an_idle_connection_is_just_ended() -> None:
    async def work(server: ScriptedSocket, ws: ClientConnection) -> None:
        await ws.send(create())
        await read_to_end(ws)
        await server.wait_idle_async(5)
        assert server.failures == []

    served(work, ResponsesService(), timeout=0.2)


def test_a_broken_client_is_told_and_named() -> None:
    request = (
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    with ScriptedSocket(ResponsesService()) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            sock.sendall(request + b"\x81\x02hi")  # a client's frame must be masked
            received = b""
            while data := sock.recv(65536):
                received += data
        assert (
            received.partition(b"\r\n\r\n")[2][:4]
            == b"\x88" + received.partition(b"\r\n\r\n")[2][1:2] + b"\x03\xea"
        )
        assert "incorrect masking" in server.failures[0]
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            sock.sendall(request.replace(b"Sec-WebSocket-Version: 13\r\n", b""))
            assert sock.recv(100).startswith(b"HTTP/1.1 400")


def test_leaving_ends_open_connections_and_no_thread_or_task_is_left() -> None:
    before = threading.active_count()

    async def main() -> None:
        async with ScriptedSocket([[[Stall()]], ResponsesService(), [[SAID]]]) as server:
            sockets = [await connect(server.url, proxy=None) for _ in range(3)]
            for ws in sockets:
                await ws.send(create())
            await server.wait_requests_async(3)
        for ws in sockets:
            with pytest.raises(ConnectionClosed):
                while True:
                    await ws.recv()

    run(main())
    assert threading.active_count() == before


def test_a_server_starts_once_and_has_no_port_before() -> None:
    server = ScriptedSocket([])
    with pytest.raises(RuntimeError, match="has not started"):
        _ = server.url
    server.close()
    with server, pytest.raises(RuntimeError, match="a ScriptedSocket starts once"):
        server.__enter__()


def test_importing_the_tools_imports_no_websockets() -> None:
    script = (
        "import sys, brainwires_provider.testing as t; print('websockets' in sys.modules); "
        "[getattr(t, name) for name in t.__all__]; print('websockets' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing
    assert websockets.__version__
