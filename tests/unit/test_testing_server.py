"""The scripted server is a faithful HTTP/1.1 server, and each of its faults is what it says on the socket."""

import asyncio
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trustme
from openai import AsyncOpenAI

from brainwires_provider.testing import (
    Answer,
    Close,
    Drop,
    Gate,
    Paced,
    RecordedRequest,
    ScriptedServer,
    Stall,
    Step,
    Wait,
    cut,
    refuse,
    split,
    sse,
)

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def connect(server: ScriptedServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        yield sock


def read_all(sock: socket.socket) -> tuple[bytes, str]:
    """Everything until the end, and how it came: "fin" or "rst"."""
    received = b""
    try:
        while data := sock.recv(65536):
            received += data
    except ConnectionResetError:
        return received, "rst"
    return received, "fin"


def read_until(sock: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        received += sock.recv(1) or pytest.fail(f"the connection ended after {received!r}")
    return received


def ask(server: ScriptedServer) -> tuple[bytes, str]:
    with connect(server) as sock:
        sock.sendall(GET)
        return read_all(sock)


def is_silent(sock: socket.socket, seconds: float = 0.1) -> bool:
    sock.settimeout(seconds)
    try:
        return sock.recv(1) is None
    except TimeoutError:
        return True
    finally:
        sock.settimeout(5)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
BARE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"

ON_THE_WIRE: dict[str, tuple[Answer, bytes, str]] = {
    "drop": (Answer(drop=True), b"", "rst"),
    "end without a byte": (Answer(before=[Close()]), b"", "fin"),
    "raw": (Answer(raw=b"HTTP/9 what\n"), b"HTTP/9 what\n", "fin"),
    "raw in steps": (Answer(raw=[b"HTT", Wait(0.01), Drop()]), b"HTT", "rst"),
    "stream ended early": (Answer(body=[b"one", Close(), b"two"]), STREAM_HEAD + b"3\r\none\r\n", "fin"),
    "stream reset": (Answer(body=[b"one", Drop()]), STREAM_HEAD + b"3\r\none\r\n", "rst"),
    "empty steps make no chunk": (Answer(body=[b"", b"a", Drop()]), STREAM_HEAD + b"1\r\na\r\n", "rst"),
    "stream until close": (Answer(body=[b"a", b"b"], framing="close"), BARE_HEAD + b"ab", "fin"),
    "cut, length": (cut(Answer(body=b"12345"), 2), JSON_HEAD % 5 + b"12", "fin"),
    "cut, length, rst": (cut(Answer(body=b"12345"), 2, "rst"), JSON_HEAD % 5 + b"12", "rst"),
    "cut at nothing": (cut(Answer(body=[Stall(), b"1"]), 0), STREAM_HEAD, "fin"),
    "cut, chunked": (cut(Answer(body=[b"12", b"345"]), 3), STREAM_HEAD + b"2\r\n12\r\n1\r\n3\r\n", "fin"),
    "cut, paced": (
        cut(Answer(body=[Paced([b"12", b"345", b"6"])]), 4),
        STREAM_HEAD + b"2\r\n12\r\n2\r\n34\r\n",
        "fin",
    ),
    "cut at the end": (cut(Answer(body=[b"12"]), 2), STREAM_HEAD + b"2\r\n12\r\n", "fin"),
    "own headers win": (
        Answer(
            502,
            [("Content-Type", "text/html"), ("x", "1"), ("x", "2"), ("Content-Length", "9")],
            cut_body := b"<p>",
        ),
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nx: 1\r\nx: 2\r\nContent-Length: 9\r\n\r\n"
        + cut_body,
        "open",
    ),
    "no body": (
        Answer(204),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        "open",
    ),
}


@pytest.mark.parametrize("name", ON_THE_WIRE)
def test_bytes_and_end(name: str) -> None:
    answer, expected, how = ON_THE_WIRE[name]
    with ScriptedServer(answer) as server:
        if how == "open":
            with connect(server) as sock:
                sock.sendall(GET)
                assert read_until(sock, expected[-8:]) == expected
                assert is_silent(sock)
        else:
            assert ask(server) == (expected, how)
        server.wait_idle()
        assert not server.failures


def test_keep_alive_and_recording() -> None:
    def handler(request: RecordedRequest) -> Answer:
        return Answer(body=json.dumps([request.method, request.path, request.query]).encode())

    with ScriptedServer(handler) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        client.request("POST", "/v1/x?q=1&r=", body=b'{"a": 1}', headers={"X-Key": "k", "x-key": "l"})
        assert json.load(client.getresponse()) == ["POST", "/v1/x", "q=1&r="]
        client.request("PUT", "/y", body=iter([b"ab", b"cd"]), encode_chunked=True)
        assert json.load(client.getresponse()) == ["PUT", "/y", ""]
        client.request("HEAD", "/z")
        assert client.getresponse().read() == b""
        client.request("GET", "http://example.invalid/p?s=t")
        assert json.load(client.getresponse()) == ["GET", "/p", "s=t"]
        assert (server.connections, server.open_connections) == (1, 1)
        client.close()
        server.wait_idle()
        first, second, _, proxied = server.requests
        assert first.json() == {"a": 1}
        assert [pair for pair in first.headers if pair[0].lower() == "x-key"] == [
            ("X-Key", "k"),
            ("x-key", "l"),
        ]
        assert (first.header("x-KEY"), first.header("none")) == ("k", None)
        assert second.body == b"abcd"
        assert proxied.target == "http://example.invalid/p?s=t"
        assert {request.connection for request in server.requests} == {1}


def test_connect_is_recorded_and_refused_like_a_proxy() -> None:
    with ScriptedServer({"api.test:443": [Answer(407, {"proxy-authenticate": "Basic"})]}) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        client.set_tunnel("api.test", 443)
        with pytest.raises(OSError, match="407"):
            client.request("GET", "/")
        assert [(r.method, r.path) for r in server.requests] == [("CONNECT", "api.test:443")]


def test_scripts_run_out_clearly() -> None:
    with ScriptedServer({"/a": [Answer(201)], "/b": Answer(202)}) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        answers = []
        for path in ("/a", "/a", "/b", "/b", "/c"):
            client.request("GET", path)
            response = client.getresponse()
            answers.append((response.status, response.read().decode()))
        client.close()
    assert [status for status, _ in answers] == [201, 500, 202, 202, 404]
    assert answers[1][1] == "ScriptedServer: no answer is left for request 2 (GET /a)"
    assert "/c" in answers[4][1]


def test_drop_if_reused_spares_new_connections() -> None:
    with ScriptedServer([Answer(201), Answer(202, drop_if_reused=True), Answer(203)]) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        client.request("GET", "/")
        assert client.getresponse().read() == b""
        client.request("GET", "/")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            client.getresponse()
        client.close()
        assert ask_status(server) == 202
        assert server.connections == 2


def ask_status(server: ScriptedServer) -> int:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    client.request("GET", "/")
    response = client.getresponse()
    response.read()
    client.close()
    return response.status


@pytest.mark.parametrize(
    ("step", "key"),
    [(Gate("go"), Gate("go")), (Gate("go"), "go"), (Wait("go"), "go"), (gate := Gate(), gate)],
)
def test_gates_hold_until_opened(step: Step, key: Gate | str) -> None:
    with ScriptedServer(Answer(body=[b"a", step, b"b"])) as server, connect(server) as sock:
        sock.sendall(GET)
        assert read_until(sock, b"a\r\n") == STREAM_HEAD + b"1\r\na\r\n"
        assert is_silent(sock)
        server.open(key)
        assert read_until(sock, b"0\r\n\r\n") == b"1\r\nb\r\n0\r\n\r\n"
        sock.sendall(GET)  # stays open
        assert read_until(sock, b"0\r\n\r\n").endswith(b"b\r\n0\r\n\r\n")


def test_anonymous_gates_differ() -> None:
    assert Gate() != Gate()


@pytest.mark.parametrize("answer", [Answer(stall_before_headers=True), Answer(body=[Stall()])])
@pytest.mark.parametrize("rst", [False, True])
def test_a_stall_ends_when_the_client_leaves(answer: Answer, rst: bool) -> None:
    with ScriptedServer(answer) as server:
        with connect(server) as sock:
            sock.sendall(GET)
            server.wait_requests(1)
            if answer.stall_before_headers:
                assert is_silent(sock)
            else:
                assert read_until(sock, b"\r\n\r\n") == STREAM_HEAD
            assert server.open_connections == 1
            if rst:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.wait_idle()
        assert not server.failures


@pytest.mark.parametrize(
    ("answer", "waited_for"),
    [
        (Answer(body=[Stall()]), "Stall()"),
        (Answer(before=[Gate("never")]), "Gate(name='never')"),
        (Answer(before=[Wait(60)]), "Wait(until=60)"),
        (Answer(body=b"x" * 50_000_000), "the client to read"),
    ],
)
def test_every_wait_has_a_clock(answer: Answer, waited_for: str) -> None:
    with ScriptedServer(answer, timeout=0.2) as server, connect(server) as sock:
        sock.sendall(GET)
        server.wait_idle()
        assert server.failures == [f"connection 1: waited 0.2 s for {waited_for}"]
        assert read_all(sock)[1] == "rst"


def test_the_clock_while_reading_and_idle() -> None:
    with ScriptedServer(Answer(), timeout=0.2) as server, connect(server) as idle, connect(server) as half:
        half.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        assert (read_all(idle)[1], read_all(half)[1]) == ("fin", "rst")
        server.wait_idle()
        assert server.failures == ["connection 2: waited 0.2 s for the rest of the request"]


def test_progress_winds_the_clock_up() -> None:
    with ScriptedServer(Answer(body=[Paced([b"x"] * 8, every=0.1)]), timeout=0.4) as server:
        start = time.monotonic()
        assert ask_status(server) == 200
        assert 0.7 < time.monotonic() - start < 3
        assert not server.failures


@pytest.mark.parametrize(
    "request_bytes",
    [b"hello\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"],
)
def test_a_malformed_request_is_a_failure(request_bytes: bytes) -> None:
    with ScriptedServer(Answer()) as server, connect(server) as sock:
        sock.sendall(request_bytes)
        assert read_all(sock)[0].startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert len(server.failures) == 1
        assert not server.requests


def raises(request: RecordedRequest) -> Answer:
    raise KeyError("planned")


@pytest.mark.parametrize(
    ("script", "cause"),
    [(raises, KeyError), (lambda request: None, TypeError), (Answer(body=["text"]), TypeError)],  # type: ignore[list-item]
)
def test_a_script_that_raises_fails_loudly(script: Any, cause: type[Exception]) -> None:
    server = ScriptedServer(script)
    with pytest.raises(AssertionError, match="script raised") as caught, server:
        ask(server) if isinstance(script, Answer) else ask_status(server)
    assert isinstance(caught.value.__cause__, cause)
    assert len(server.failures) == 1


def test_the_error_of_the_test_itself_goes_first() -> None:
    with pytest.raises(ConnectionResetError, match="mine"), ScriptedServer(raises) as server:
        fail_after(server)


def fail_after(server: ScriptedServer) -> None:
    assert ask_status(server) == 500
    raise ConnectionResetError("mine")


def test_life_cycle() -> None:
    server = ScriptedServer()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.url
    server.close()
    with server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        with pytest.raises(TimeoutError, match="until 1 requests have come"):
            server.wait_requests(1, 0.05)
        with pytest.raises(RuntimeError, match="once"):
            server.__enter__()
    server.close()
    server.wait_idle()
    assert not [thread for thread in threading.enumerate() if thread.name == "scripted-server"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_refuse() -> None:
    with refuse() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_helpers() -> None:
    assert sse({"a": 1}, "not json") == b'data: {"a":1}\n\ndata: not json\n\ndata: [DONE]\n\n'
    assert sse(done=False) == b""
    table: list[tuple[Callable[[], list[bytes]], list[bytes]]] = [
        (lambda: split(b"abcde", [1, 3]), [b"a", b"bcd", b"e"]),
        (lambda: split(b"abcde", [5, 9]), [b"abcde"]),
        (lambda: split(b"abc", every=1), [b"a", b"b", b"c"]),
        (lambda: split(b"abc", every=2), [b"ab", b"c"]),
    ]
    for call, expected in table:
        assert call() == expected
    for bad in (lambda: split(b"a", every=0), lambda: cut(Answer(body=b"12"), 3), lambda: cut(Answer(), -1)):
        with pytest.raises(ValueError):
            bad()


def completion_chunk(text: str | None, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


CHAT = sse(completion_chunk("Zü"), completion_chunk("rich"), completion_chunk(None, "stop"))


@pytest.mark.parametrize("body", [CHAT, [CHAT], split(CHAT, every=1), [Paced(split(CHAT, every=7), 0.001)]])
def test_openai_streams_from_it(body: bytes | list[Step]) -> None:
    async def main() -> None:
        headers = {"content-type": "text/event-stream"}
        async with (
            ScriptedServer(Answer(headers=headers, body=body)) as server,
            AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0) as client,
        ):
            for _ in range(2):
                stream = await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "?"}], stream=True
                )
                texts = [c.choices[0].delta.content or "" async for c in stream]
                assert "".join(texts) == "Zürich"
            await server.wait_requests_async(2)
            assert server.connections == 1
            assert server.requests[0].path == "/chat/completions"
            assert server.requests[0].header("authorization") == "Bearer x"
            await client.close()
            await server.wait_idle_async()
            with pytest.raises(TimeoutError, match="until 3 requests"):
                await server.wait_requests_async(3, 0.05)
            await server.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("every", [0, 0.01])
def test_500_streams_at_once(every: float) -> None:
    body = Paced([b"data: %d\n\n" % n for n in range(20)], every)

    async def one(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        received = await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return received

    async def main() -> None:
        async with ScriptedServer(Answer(body=[body])) as server:
            results = await asyncio.gather(*(one(server.port) for _ in range(500)))
            await server.wait_idle_async()
            assert (server.connections, server.failures) == (500, [])
        assert set(results) == {results[0]}
        assert results[0].count(b"data: ") == 20

    asyncio.run(main())


def test_tls() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with ScriptedServer([Answer(body=b"{}"), Answer(drop=True)], ssl_context=context) as server:
        assert server.url.startswith("https://")
        client = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=trusting)
        client.request("GET", "/")
        assert client.getresponse().read() == b"{}"
        client.request("GET", "/")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            client.getresponse()
        client.close()
        stranger = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5)
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.request("GET", "/")
        stranger.close()
        server.wait_idle()
        mute = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        with pytest.raises(TimeoutError, match="1 connections open"):
            server.wait_idle(0.05)
        start = time.monotonic()
    assert time.monotonic() - start < 5  # a handshake that never comes does not hold up the end
    assert read_all(mute)[0] == b""
    mute.close()


LEAK_CHECK = """
import gc, socket, threading
from brainwires_provider.testing import Answer, ScriptedServer, Stall, Wait
with ScriptedServer(Answer(body=[b"a", Stall()])) as server:
    socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    for sock in socks[:3]:
        sock.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
    server.wait_requests(3)
    late = socket.create_connection(("127.0.0.1", server.port))
for sock in (*socks, late):
    sock.close()
assert threading.active_count() == 1, threading.enumerate()
del server
gc.collect()
"""


def test_nothing_leaks_in_dev_mode() -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", LEAK_CHECK]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={**os.environ}
    )
    assert (done.returncode, done.stderr) == (0, "")
