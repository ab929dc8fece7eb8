"""Faults of HTTP that come after the head of an answer, or before there is a connection: at once, and by cause."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import json
import ssl
import zlib
from typing import Any

import pytest
import trustme

from brainwires_provider import (
    AsyncClient,
    ConnectError,
    FramingError,
    ProtocolError,
    ProviderConfig,
    ProviderError,
    RequestTimeout,
    StreamInterrupted,
    StreamTimeout,
    Timeouts,
)
from brainwires_provider.testing import Answer, Close, Drop, ScriptedServer, Stall, sse
from brainwires_provider.transports.failures import origin, proxy_refused, tls_failure
from chat_answers import TEXT, WHOLE, chunk
from colours import ask

HELD = sse(chunk({"content": "Hel"}), done=False)
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n%b\r\n" % (len(HELD), HELD)
)


def asked(server: ScriptedServer, **settings: Any) -> ProviderError:
    """The error of one request, which comes before any clock."""
    settings.setdefault("timeouts", Timeouts(first_event=20, idle=20))
    with pytest.raises(ProviderError) as caught:
        ask("async", f"{server.url}/v1", **settings)
    server.wait_idle(5)
    assert not isinstance(caught.value, StreamTimeout)
    return caught.value


# -- after the head --------------------------------------------------------------------------------------

BROKEN_CHUNKS = {
    "a size that is no number": b"zz\r\nhello\r\n",
    "a negative size": b"-5\r\nhello\r\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\nhello\r\n",
    "no line break after a chunk": b"5\r\nhelloworld\r\n",
    "another response": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "a page": b"<html><h1>502 Bad Gateway</h1></html>",
    "an extension with a control character": b"5;\x00=1\r\nhello\r\n",
    "a trailer that is no header": b"0\r\nno colon\r\n\r\n",
    "an empty line": b"\r\n\r\n\r\n",
}


@pytest.mark.parametrize("after", [Stall(), Close()], ids=["open", "closed"])
@pytest.mark.parametrize("together", [True, False], ids=["one segment", "two segments"])
@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_broken_chunks_are_an_error_at_once_with_the_partial(name: str, together: bool, after: Any) -> None:
    wrong = BROKEN_CHUNKS[name]
    raw = [HEAD + wrong, after] if together else [HEAD, wrong, after]
    with ScriptedServer([Answer(raw=raw)]) as server:
        error = asked(server)
    assert isinstance(error, StreamInterrupted)
    assert "chunks are broken" in str(error)
    assert error.retryable
    assert error.partial is not None
    assert error.partial.text == "Hel"


@pytest.mark.parametrize("together", [True, False])
def test_a_body_whose_chunks_break_is_cut(together: bool) -> None:
    head = HEAD.replace(b"text/event-stream", b"application/json")
    raw = [head + b"zz\r\n", Stall()] if together else [head, b"zz\r\n", Stall()]
    with ScriptedServer([Answer(raw=raw)]) as server:
        assert isinstance(asked(server, stream=False), StreamInterrupted)


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_without_a_length_that_is_reset_is_cut(stream: bool) -> None:
    """Its end is the connection's end: a reset one is no end."""
    body = [HELD if stream else WHOLE[:40], Drop()]
    headers = {"content-type": "text/event-stream" if stream else "application/json"}
    with ScriptedServer([Answer(headers=headers, body=body, framing="close")]) as server:
        error = asked(server, stream=stream)
    assert isinstance(error, StreamInterrupted)
    assert error.how == "reset"


def test_the_answer_to_a_request_that_could_not_be_sent_whole_is_read() -> None:
    """A server that refuses a large body may close before it has read it: its words are worth more than ours."""
    refused = b'HTTP/1.1 413 Too Large\r\nContent-Length: 34\r\n\r\n{"error": {"message": "too large"}}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refused)
        await writer.drain()
        await reader.read(1 << 22)
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with AsyncClient(
                "openai-chat:m", base_url=f"http://127.0.0.1:{port}", api_key="k"
            ) as client:
                with pytest.raises(ProviderError, match=r"too large|before it answered"):
                    await client.chat("x" * 30_000_000)

    asyncio.run(main())


# -- what a Content-Encoding says ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_is_not_what_its_content_encoding_says(coding: str, steps: int, stream: bool) -> None:
    text = TEXT if stream else WHOLE
    body = [text] if steps == 1 else [text[:50], text[50:]]
    headers = {
        "content-encoding": coding,
        "content-type": "text/event-stream" if stream else "application/json",
    }
    with ScriptedServer([Answer(headers=headers, body=body)]) as server:
        error = asked(server, stream=stream)
    assert isinstance(error, ProtocolError)
    assert not error.retryable
    assert coding in str(error) or "content-encoding" in str(error)


def test_a_deflated_body_that_is_cut() -> None:
    packed = zlib.compress(WHOLE)[:-20]
    headers = {"content-encoding": "deflate", "content-type": "application/json"}
    with ScriptedServer([Answer(headers=headers, body=packed)]) as server:
        error = asked(server, stream=False)
    assert isinstance(error, ProtocolError)
    assert "Content-Encoding, deflate" in str(error)


@pytest.mark.parametrize("stream", [True, False])
def test_a_decompressed_body_counts_against_the_limit(stream: bool) -> None:
    """Four thousand bytes on the wire are four million in memory."""
    packed = gzip.compress(b'data: {"a":"' + b"x" * 4_000_000, 9)
    assert len(packed) < 5000
    headers = {
        "content-encoding": "gzip",
        "content-type": "text/event-stream" if stream else "application/json",
    }
    with ScriptedServer([Answer(headers=headers, body=packed)]) as server:
        error = asked(server, stream=stream, max_event_bytes=1_000_000)
    assert isinstance(error, FramingError)
    assert "max_event_bytes" in str(error)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_number_of_parts_is_a_setting(colour: str, stream: bool) -> None:
    images = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}] * 12
    whole = json.loads(WHOLE)
    whole["choices"][0]["message"]["content"] = images
    body = sse(chunk({"content": images}), chunk({}, "stop")) if stream else json.dumps(whole).encode()
    answer = Answer(body=[body] if stream else body)
    with ScriptedServer([answer] * 2) as server:
        with pytest.raises(ProtocolError, match="more than 11 parts; max_parts sets"):
            ask(colour, f"{server.url}/v1", stream=stream, max_parts=11)
        response = ask(colour, f"{server.url}/v1", stream=stream, max_parts=12).response
    assert len(response.message.content) == 12


# -- the connect clock -----------------------------------------------------------------------------------


def test_the_connect_clock_covers_the_look_up_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", silent)
    with pytest.raises(RequestTimeout, match=r"no connection to https://api\.test within 0\.2 s") as caught:
        ask("async", "https://api.test/v1", timeouts=Timeouts(connect=0.2, first_event=20))
    assert caught.value.clock == "connect"


@pytest.mark.parametrize(
    "behaviour", [Answer(stall_before_headers=True), Answer(raw=[b"HTTP/1.1 200", Stall()])]
)
def test_the_connect_clock_covers_a_proxys_connect(behaviour: Answer) -> None:
    with ScriptedServer([behaviour]) as proxy:
        with pytest.raises(
            RequestTimeout, match=r"the proxy http://127.0.0.1:\d+ gave no connection to https://api.test"
        ) as caught:
            ask(
                "async",
                "https://api.test/v1",
                proxy=proxy.url,
                timeouts=Timeouts(connect=0.2, first_event=20),
            )
        proxy.wait_idle(5)
    assert caught.value.clock == "connect"


# -- certificates and proxies ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


CERTIFICATES = {
    "an unknown issuer": (False, {}, "pass ssl_context="),
    "out of date": (
        True,
        {"not_after": datetime.datetime(2020, 1, 2), "not_before": datetime.datetime(2020, 1, 1)},
        "out of date",
    ),
    "another host": (True, {"host": "other.example"}, "for another host"),
}


@pytest.mark.parametrize("at_proxy", [False, True])
@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_refused_certificate_is_not_retryable_and_the_advice_fits(
    name: str, at_proxy: bool, authority: trustme.CA
) -> None:
    trusted, made, advice = CERTIFICATES[name]
    made = dict(made)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(made.pop("host", "127.0.0.1"), **made).configure_cert(serving)
    trusting = ssl.create_default_context()
    if trusted:
        authority.configure_trust(trusting)
    with (
        ScriptedServer([Answer(body=WHOLE)], ssl_context=serving) as server,
        pytest.raises(ConnectError) as caught,
    ):
        url, proxy = (f"{server.url}/v1", None) if not at_proxy else ("https://api.test/v1", server.url)
        ask("async", url, proxy=proxy, ssl_context=trusting)
    error = caught.value
    assert error.retryable is False
    assert f"TLS with {'the proxy ' if at_proxy else ''}{server.url} failed" in str(error)
    assert advice in str(error)
    assert ("ssl_context=" in str(error)) is (name == "an unknown issuer")


def test_the_advice_of_a_tls_failure_follows_its_code() -> None:
    """OpenSSL's X509_V_ERR codes (X509_STORE_CTX_get_error), and the reasons of an answer in plain text."""
    private, late, other = (
        "for a private authority pass ssl_context=",
        "out of date",
        "for another host: check the URL",
    )
    codes = {
        **dict.fromkeys((2, 18, 19, 20, 21, 24, 27), private),
        **dict.fromkeys((9, 10), late),
        **dict.fromkeys((62, 64), other),
        **dict.fromkeys((1, 3, 8, 11, 23, 26, 63), ""),
    }
    for code, advice in codes.items():
        refused = ssl.SSLCertVerificationError(1, "[SSL] certificate verify failed")
        refused.verify_code, refused.verify_message = code, "said so"
        error = tls_failure("https://h", refused)
        assert str(error).startswith("TLS with https://h failed (said so)") and error.retryable is False
        assert [each for each in (private, late, other) if each in str(error)] == ([advice] if advice else [])
    for reason in (
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "HTTP_REQUEST",
        "UNEXPECTED_EOF_WHILE_READING",
    ):
        broken = ssl.SSLError(1, f"[SSL: {reason}] text")
        broken.reason = reason
        error = tls_failure("https://h", broken)
        is_plain = reason != "UNEXPECTED_EOF_WHILE_READING"
        assert f"failed ({reason})" in str(error) and error.retryable is not is_plain
        assert ("answered without TLS: check the URL's scheme and port" in str(error)) is is_plain
    assert str(tls_failure("https://h", OSError("it broke"))) == "TLS with https://h failed (it broke)"


def test_a_proxys_refusal_is_retryable_by_its_status() -> None:
    statuses = {**dict.fromkeys((400, 401, 403, 404, 407, 409, 428, 499), False)}
    statuses |= dict.fromkeys((408, 429, 500, 502, 503, 504), True)
    for status, retryable in statuses.items():
        error = proxy_refused("http://me:secret@p.example:3128/x", status)
        assert error.retryable is retryable
        assert str(error).startswith(f"the proxy http://p.example:3128 answered {status}")
        assert ("it wants a user and a password" in str(error)) is (status == 407)
    assert str(proxy_refused(None, 502)).startswith("a proxy on the way answered 502; check proxy=")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pw@h.example:8443/tenant?key=a", "https://h.example:8443"),
        ("http://h.example", "http://h.example"),
        ("http://h.example:0/", "http://h.example"),
        ("nonsense", "://"),
        ("http://h:port/", "the URL"),
        ("http://[::1", "the URL"),
    ],
)
def test_of_a_url_only_scheme_and_host_are_told(url: str, shown: str) -> None:
    assert origin(url) == shown


def test_a_server_without_tls_is_not_called_a_private_authority() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with AsyncClient("openai-chat:m", base_url=url, api_key="k") as client:
                await client.chat("hi")

    with pytest.raises(ConnectError) as caught:
        asyncio.run(main())
    assert "answered without TLS" in str(caught.value)
    assert "ssl_context=" not in str(caught.value)
    assert caught.value.retryable is False


@pytest.mark.parametrize(
    ("status", "retryable"), [(403, False), (407, False), (404, False), (502, True), (503, True)]
)
def test_a_proxys_refusal_is_named_as_the_proxys(status: int, retryable: bool) -> None:
    with ScriptedServer([Answer(status)]) as proxy, pytest.raises(ConnectError) as caught:
        ask("async", "https://api.test/v1", proxy=proxy.url.replace("//", "//me:secret@"))
    error = caught.value
    assert f"the proxy {proxy.url} answered {status}" in str(error)
    assert "secret" not in str(error)
    assert error.retryable is retryable


def test_a_proxy_that_asks_who_we_are_under_plain_http() -> None:
    """There is no CONNECT; the proxy answers in the server's place."""
    place = ProviderConfig("openai-chat", base_url="http://service.test/v1", api_key="k", allow_http=True)

    async def main(proxy: str) -> None:
        async with AsyncClient("openai-chat:m", providers=[place], proxy=proxy) as client:
            await client.chat("hi")

    with ScriptedServer([Answer(407, body=b"who?")]) as proxy, pytest.raises(ConnectError) as caught:
        asyncio.run(main(proxy.url))
    assert f"the proxy {proxy.url} answered 407" in str(caught.value)
    assert caught.value.retryable is False


def test_a_proxy_that_nobody_configured_is_no_server() -> None:
    with ScriptedServer([Answer(407)]) as server, pytest.raises(ConnectError) as caught:
        ask("async", f"{server.url}/v1")
    assert "a proxy on the way answered 407" in str(caught.value)


def test_a_proxys_name_that_does_not_resolve_is_the_proxys() -> None:
    with pytest.raises(ConnectError, match=r"the proxy http://proxy\.invalid:3128 cannot be reached"):
        ask("async", "https://api.test/v1", proxy="http://proxy.invalid:3128")
