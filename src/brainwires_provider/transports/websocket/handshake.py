"""The way to an open WebSocket: name, TCP, proxy, TLS and the upgrade, in turn, under one clock.

The request and the check of a 101 are `websockets`'; the HTTP around them is read here, so that a refusal keeps its
status and body whatever else is odd about it, and no redirect is followed. Whatever fails is said without the
path, the query or a header: those may hold a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import zip_longest
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.uri import WebSocketURI, parse_uri

from brainwires_provider.errors import ConfigError, ConnectError, ProtocolError, ProviderError
from brainwires_provider.transports.failures import (
    late,
    origin,
    proxy_refused,
    proxy_unreachable,
    tls_failure,
)
from brainwires_provider.transports.proxies import proxy_for
from brainwires_provider.types.suspects import Guarded

__all__ = ["Answer", "Handshake", "HandshakeRefused", "Opening", "say"]

_HEAD_LIMIT = 65_536
_BODY_LIMIT = 65_536
_STAGGER = 0.25  # seconds; RFC 8305's
_BODY_SECONDS = 1.0  # a refusal's body is worth this much waiting once its status is known

# Headers that are the handshake's own, or that speak of a body and a coding which it does not have.
_OWN_HEADERS = re.compile(
    "connection|upgrade|keep-alive|proxy-connection|te|trailer|transfer-encoding|content-length|accept-encoding"
    "|sec-websocket-(key|version|extensions|protocol)"
)
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_TARGET = re.compile(r"[\x21-\x7e]+")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r\n")

# `websockets` writes every header, the key among them, and every frame to its logger.
_SILENT = logging.Logger("brainwires_provider.websocket")
_SILENT.disabled = True


class Handshake(Guarded, Struct, frozen=True):
    """Everything that one connect needs. Its headers hold the key: never show one of these."""

    url: str
    """`ws://` or `wss://`."""
    headers: Mapping[str, str]
    connect_timeout: float | None = 10
    """Seconds for name, TCP, proxy, TLS and the answer to the upgrade together."""
    proxy: str | Literal["env"] | None = "env"
    ssl_context: ssl.SSLContext | None = None
    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    """Seconds without a byte from the server after a ping, and without a byte taken by it."""
    max_frame: int = 64 * 1024 * 1024
    """Bytes of one incoming message, all its fragments together."""

    def __repr__(self) -> str:
        path = self.url.partition("?")[0].partition("#")[0].partition("://")[2].partition("/")[2]
        return f"Handshake({origin(self.url)}/{path})"


class HandshakeRefused(Exception):
    """The server answered the upgrade with another status than 101, a redirect included."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"the server answered {status} to the WebSocket handshake")
        self.status = status
        self.headers = headers
        """Names in lower case."""
        self.body = body
        """At most 64 KiB of it, and what came within a second."""


class Answer(asyncio.Protocol):
    """Reads the head of an HTTP answer, the proxy's or the server's, and the body of a refusal."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Append the bytes to the buffer and wake the reader."""
        self.buffer += data
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note why the connection ended and wake the reader."""
        self.ended = exc or ConnectionResetError("it ended the connection")
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> bool:
        if self.ended is not None:
            return False
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
        return True

    async def head(self, who: str) -> tuple[int, dict[str, str]]:
        """Status and headers. Raises ProtocolError for what is not HTTP, ConnectError for an end before it."""
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                if not (self.buffer[:7] or b"HTTP/1.").startswith(b"HTTP/1."[: len(self.buffer)]):
                    raise ProtocolError(f"{who} did not answer in HTTP ({_looks_like(self.buffer)})")
                if len(self.buffer) > _HEAD_LIMIT:
                    raise ProtocolError(f"{who} did not answer in HTTP (a head of more than 64 KiB)")
                if not await self._more():
                    assert self.ended is not None
                    raise ConnectError(f"{who} closed the connection before it answered ({say(self.ended)})")
                continue
            head = bytes(self.buffer[: end + 2])
            del self.buffer[: end + 4]
            status = _STATUS.match(head)
            if status is None:
                raise ProtocolError(f"{who} did not answer in HTTP ({_looks_like(head)})")
            if (code := int(status[1])) >= 200 or code == 101:
                return code, _headers(head[status.end() :])

    async def body(self, headers: Mapping[str, str]) -> bytes:
        """What comes of it in a short time."""
        body, whole = _body(self.buffer, headers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BODY_SECONDS):
                while not whole and await self._more():
                    body, whole = _body(self.buffer, headers)
        return body


class Opening:
    """One try at a link: name, TCP, proxy, TLS and upgrade in turn, under one clock."""

    def __init__(self, handshake: Handshake) -> None:
        self.handshake = handshake
        self.where = origin(handshake.url)
        self.uri = _parse(handshake.url, self.where)
        self.protocol, self._request = _request(self.uri, handshake)
        self.proxy = proxy_for(handshake.url, handshake.proxy)
        self.answer = Answer()
        self.transport: asyncio.Transport | None = None
        self._late = f"no connection to {self.where}"
        self._proxy_reached = self.proxy is None

    async def run(self) -> Mapping[str, str]:
        """The headers of the 101."""
        clock = asyncio.timeout(self.handshake.connect_timeout)
        try:
            async with clock:
                await (self._direct() if self.proxy is None else self._tunnel(self.proxy))
                status, headers = await self._upgrade()
            if status != 101:
                raise HandshakeRefused(status, headers, await self.answer.body(headers))
            self._agree(headers)
        except BaseException as error:
            if self.transport is not None:
                self.transport.abort()
            if clock.expired() and isinstance(error, TimeoutError):
                raise late(self._late, self.handshake.connect_timeout) from None
            if isinstance(error, (OSError, UnicodeError)) and not isinstance(error, ProviderError):
                raise self._translate(error) from None
            raise
        return headers

    def _tls(self) -> ssl.SSLContext:
        return self.handshake.ssl_context or _default_tls()

    async def _direct(self) -> None:
        await self._dial(self.uri.host, self.uri.port, secure=self.uri.secure)

    async def _dial(self, host: str, port: int, *, secure: bool) -> None:
        tls: dict[str, Any] = {"ssl": self._tls(), "server_hostname": host} if secure else {}
        sock = await _reach(host, port)
        self.transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: self.answer, sock=sock, **tls
        )

    async def _tunnel(self, proxy: str) -> None:
        name = f"the proxy {origin(proxy)}"
        self._late = f"{name} gave no connection to {self.where}"
        parts = urlsplit(proxy)
        secure = parts.scheme.lower() == "https"
        await self._dial(parts.hostname or "", parts.port or (443 if secure else 80), secure=secure)
        assert self.transport is not None
        self.transport.write(_connect_request(self.uri, parts.username, parts.password))
        status, _ = await self.answer.head(name)
        if not 200 <= status < 300:
            raise proxy_refused(proxy, status)
        self._proxy_reached = True
        self.answer = Answer()
        if self.uri.secure:
            self.transport = await asyncio.get_running_loop().start_tls(
                self.transport, self.answer, self._tls(), server_hostname=self.uri.host
            )
        else:
            self.transport.set_protocol(self.answer)

    async def _upgrade(self) -> tuple[int, dict[str, str]]:
        assert self.transport is not None
        self._late = f"no answer to the WebSocket handshake from {self.where}"
        self.transport.write(self._request)
        return await self.answer.head(self.where)

    def _agree(self, headers: Mapping[str, str]) -> None:
        """The parser checks what RFC 6455 asks of a 101; other headers are none of its business."""
        lines = [
            f"{name}: {value}\r\n"
            for name, value in headers.items()
            if name in ("connection", "upgrade") or name.startswith("sec-websocket-")
        ]
        self.protocol.receive_data(f"HTTP/1.1 101 OK\r\n{''.join(lines)}\r\n".encode("latin-1"))
        self.protocol.events_received()
        if (problem := self.protocol.handshake_exc) is not None:
            raise ProtocolError(f"{self.where} did not answer as a WebSocket server ({str(problem)[:200]})")

    def _translate(self, error: Exception) -> ProviderError:
        where = self.where if self._proxy_reached else f"the proxy {origin(self.proxy or '')}"
        if isinstance(error, ssl.SSLError):
            return tls_failure(where, error)
        if not isinstance(error, OSError):
            return ConfigError(f"{where!r} is no URL that a request can go to; check base_url")
        if not self._proxy_reached:
            return proxy_unreachable(self.proxy or "", say(error))
        if isinstance(error, socket.gaierror):
            return ConnectError(f"the name in {where} does not resolve; check base_url and the network")
        return ConnectError(f"no connection to {where} ({say(error)}); is a server listening there?")


async def _reach(host: str, port: int) -> socket.socket:
    """The first of the host's addresses that connects, each begun when the one before it fails or is slow (RFC 8305).

    asyncio's own race loses the winner's socket when it is cancelled at the wrong moment.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if len(infos) == 1:
        return await _connected(infos[0])
    running: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    waiting = _interleaved(infos)
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_connected(waiting.pop(0))))
            done, _ = await asyncio.wait(
                running, timeout=_STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                failure = task.exception()
                if failure is None:
                    return task.result()
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)
    raise failure or OSError("the name has no address")


async def _connected(info: Any) -> socket.socket:
    family, kind, number, _, address = info
    sock = socket.socket(family, kind, number)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _interleaved(infos: Iterable[Any]) -> list[Any]:
    """IPv6 and IPv4 in turn, beginning with the resolver's first."""
    families: dict[int, list[Any]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    return [info for row in zip_longest(*families.values()) for info in row if info is not None]


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _parse(url: str, where: str) -> WebSocketURI:
    try:
        uri = parse_uri(url)
        if _TARGET.fullmatch(uri.resource_name):
            return uri
    except (InvalidURI, ValueError):  # their words have the query
        pass
    raise ConfigError(
        f"{where!r} is no ws:// or wss:// URL that a request can go to; check base_url"
    ) from None


def _request(uri: WebSocketURI, handshake: Handshake) -> tuple[ClientProtocol, bytes]:
    """The parser, and the request for the upgrade; a header's text is UTF-8, as on the HTTP wire."""
    given = {name.lower(): (name, value) for name, value in handshake.headers.items()}
    _, wanted = given.get("sec-websocket-protocol", ("", ""))
    subprotocols: list[Any] = [part for item in wanted.split(",") if (part := item.strip())]
    protocol = ClientProtocol(
        uri, subprotocols=subprotocols or None, max_size=handshake.max_frame, logger=_SILENT
    )
    request = protocol.connect()
    for lower, (name, value) in given.items():
        if _OWN_HEADERS.fullmatch(lower):
            continue
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ConfigError(
                "a header cannot be sent (a character that HTTP forbids): check headers= and the key"
            )
        if lower in request.headers:
            del request.headers[lower]
        request.headers[name] = value.encode().decode("latin-1")
    lines = [f"{name}: {value}" for name, value in request.headers.raw_items()]
    start = f"GET {uri.resource_name} HTTP/1.1"
    return protocol, "\r\n".join([start, *lines, "", ""]).encode("latin-1")


def _connect_request(uri: WebSocketURI, user: str | None, password: str | None) -> bytes:
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    lines = [f"CONNECT {host}:{uri.port} HTTP/1.1", f"Host: {host}:{uri.port}"]
    if user:
        pair = f"{unquote(user)}:{unquote(password or '')}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(pair.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


@cache
def _default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _headers(lines: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _body(buffer: bytearray, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    """The body as far as it has come, and whether that is all that is wanted of it."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body, whole = _dechunk(bytes(buffer))
    else:
        body, length = bytes(buffer), headers.get("content-length", "")
        whole = length.isdecimal() and len(body) >= int(length)
        body = body[: int(length)] if whole else body
    return body[:_BODY_LIMIT], whole or len(buffer) >= _BODY_LIMIT


def _dechunk(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        size = line.partition(b";")[0].strip()
        if not end or not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            return body, bool(end)
        length = int(size, 16)
        if length == 0:
            return body, True
        body += data[:length]
        data = data[length + 2 :]


def _looks_like(data: bytes | bytearray) -> str:
    """In words: the bytes themselves may echo our request, key and all."""
    if data[:1] in (b"\x15", b"\x16") and data[1:2] == b"\x03":
        return "it looks like TLS: is the URL wss://?"
    text = bytes(data[:64]).decode("latin-1").translate({9: None, 10: None, 13: None})
    return "it looks like text" if text.isprintable() else "it looks like binary data"


def say(error: Exception) -> str:
    """The reason of a failure, in words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
