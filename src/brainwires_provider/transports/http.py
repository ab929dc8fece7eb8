"""HTTP on aiohttp, with everything off that would send a key elsewhere or change a request.

A transport binds to no event loop when made: each running loop gets a session of its own, closed with that loop when
the loop is shut down in the usual way (`asyncio.run`, `Runner`), and forgotten silently when it was just closed.
No redirect is followed, no cookie kept, no .netrc read, and nothing is retried but one case: a *reused*
connection that dies before one byte of the answer is replaced once, and the exchange reports it in `attempts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import payload
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError
from yarl import URL

from brainwires_provider.errors import (
    ConfigError,
    ConnectError,
    ProtocolError,
    ProviderError,
    StreamInterrupted,
    TransportError,
)
from brainwires_provider.transports.base import ByteExchange, Outgoing, close_soon
from brainwires_provider.transports.failures import (
    late,
    origin,
    proxy_refused,
    proxy_unreachable,
    tls_failure,
)
from brainwires_provider.transports.proxies import proxy_for
from brainwires_provider.types import Attempt

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

__all__ = ["HTTPTransport", "make_transport"]

_HEADER_LIMIT = 65_536
_KEEPALIVE_SECONDS = 60
_WAYS_KNOWN = 256
_SMALL_BODY = 65_536  # up to it, aiohttp does not wait for the body to leave
_LARGE_BODY = 1_000_000  # above it, aiohttp warns about bytes and wants a file
_lower = str.lower
_NO_CLOCK = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)


class HTTPExchange(ByteExchange):
    """See `transports.base.Exchange`."""

    __slots__ = ("_content", "_peers", "_response")

    def __init__(
        self, response: aiohttp.ClientResponse, attempts: tuple[Attempt, ...], peers: set[HTTPExchange]
    ) -> None:
        headers = response.headers
        self.status, self.attempts = response.status, attempts
        self.headers = dict(zip(map(_lower, headers), headers.values(), strict=True))
        self._response = response
        self._content = response.content
        self._peers = peers
        peers.add(self)

    @property
    def ended(self) -> bool:
        """Whether the body is read to its end."""
        return self._content.at_eof() and self._content.exception() is None

    @property
    def left(self) -> bool:
        """Whether this side has aborted or released it."""
        return self not in self._peers

    async def read(self) -> bytes:
        """The next bytes, as they come; empty at the end. What came before a fault is given first."""
        content = self._content
        if self.ended:
            return b""
        try:
            return content._read_nowait(-1) if content._buffer else await content.readany()
        except Exception as error:  # noqa: BLE001 - the engine's own failures have many types
            raise self._lost(error) from None

    async def body(self, limit: int) -> bytes:
        """The whole body, or its beginning of at least `limit` bytes."""
        content = self._content
        if content.is_eof() and content.exception() is None:  # all of it has come with its head
            return content.read_nowait()
        return await super().body(limit)

    def _lost(self, error: Exception) -> ProviderError:
        if isinstance(error, ContentEncodingError) or isinstance(error.__cause__, ContentEncodingError):
            coding = self.headers.get("content-encoding")
            return ProtocolError(f"the body is not what its Content-Encoding, {coding}, says")
        if isinstance(error, HttpProcessingError):
            # its own message goes on with the bytes
            error = ConnectionError(f"its chunks are broken: {error.message.partition(':')[0]}")
        return StreamInterrupted(f"the connection was lost during the response ({_say(error)})", how="reset")

    def abort(self) -> None:
        """Drop the connection; a waiting `read` raises at once."""
        self._peers.discard(self)
        response = self._response
        if not response.closed:
            self._content.set_exception(ConnectionResetError("aborted"))
        response.close()

    def release(self) -> None:
        """aiohttp takes the connection back by itself once the body is at its end."""
        self._peers.discard(self)
        response = self._response
        if not response.closed:
            response.close()


class HTTPTransport:
    """See `transports.base.Transport`. `socket_path` reaches a server on a Unix socket instead of by name."""

    def __init__(
        self,
        *,
        proxy: str | Literal["env"] | None = "env",
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 1000,
        socket_path: str | None = None,
    ) -> None:
        self._proxy = proxy
        self._ssl = ssl_context
        self._max_connections = max_connections
        self._socket_path = socket_path
        self._proxies: dict[str, str | None] = {}
        self._ways: dict[str, tuple[str | URL, str | None]] = {}
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, _Session] = WeakKeyDictionary()
        self._last: _Session | None = None

    async def open(self, outgoing: Outgoing) -> HTTPExchange:
        """Send and wait for the head of the response.

        Raises ConnectError, RequestTimeout (connect), TransportError, ProtocolError (not HTTP), ConfigError (URL).
        """
        url, proxy = self._ways.get(outgoing.url) or self._way(outgoing.url)
        loop = asyncio.get_running_loop()
        session = self._last
        if session is None or session.loop is not loop:
            session = self._sessions.get(loop) or await self._begin_session()
            self._last = session
        attempts: tuple[Attempt, ...] = ()
        while True:
            if _fresh.get():
                _fresh.set(False)  # set by this task's last request
            connect = outgoing.connect_timeout
            try:
                response = await session.http._request(  # `request` is the same behind two more objects
                    outgoing.method,
                    url,
                    data=_body(outgoing.body) if outgoing.body else None,
                    headers=outgoing.headers,
                    allow_redirects=False,
                    proxy=proxy,
                    timeout=_clocks.get(connect) or _clock(connect),
                )
            except (aiohttp.ClientError, OSError, ValueError, UnicodeError) as error:
                if not (_fresh.get() or attempts) and _died(error):
                    attempts = (Attempt(f"a reused connection had died ({_say(error)}); sent once more"),)
                    continue
                translated = _translate(error, outgoing, proxy)
                translated.attempts = attempts
                raise translated from None
            if response.status == 407:
                response.close()
                refused = proxy_refused(proxy, 407)
                refused.attempts = attempts
                raise refused
            return HTTPExchange(response, attempts, session.exchanges)

    def _way(self, url: str) -> tuple[str | URL, str | None]:
        """The URL as it is sent, and the proxy."""
        way = _exact(url), self._proxy_for(url)
        if len(self._ways) < _WAYS_KNOWN:
            self._ways[url] = way
        return way

    def _proxy_for(self, url: str) -> str | None:
        """Looked up once for each origin: reading the environment costs as much as a request."""
        if self._socket_path:
            return None
        end = url.find("/", 8)  # the first after the scheme's own two
        origin = url if end < 0 else url[:end]
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(url, self._proxy)
        return self._proxies[origin]

    async def _begin_session(self) -> _Session:
        self._forget_ended()
        session = self._sessions[asyncio.get_running_loop()] = _Session(self._connector())
        await session.start()
        return session

    def _connector(self) -> aiohttp.BaseConnector:
        common: dict[str, Any] = {"limit": self._max_connections, "keepalive_timeout": _KEEPALIVE_SECONDS}
        if self._socket_path:
            return _UnixConnector(self._socket_path, **common)
        return _TCPConnector(ssl=self._ssl if self._ssl is not None else True, **common)

    async def aclose(self) -> None:
        """Close this loop's connections; those of other loops go with their loops."""
        self._last = None
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.aclose()
        self._forget_ended()

    def _forget_ended(self) -> None:
        """The sessions of loops that were closed. Other threads begin and forget some meanwhile."""
        for known in self._sessions.keyrefs():
            loop = known()
            if (
                loop is not None
                and loop.is_closed()
                and (ended := self._sessions.pop(loop, None)) is not None
            ):
                ended.forget()

    def abandon(self) -> bool:
        """See `transports.base.Transport`."""
        self._last = None
        closed, known = [], list(self._sessions.items())
        self._sessions.clear()
        for loop, session in known:
            if not close_soon(loop, session.end):
                closed.append(session)
                session.forget()
        return len(closed) < len(known)

    def __repr__(self) -> str:
        return "HTTPTransport()"


def make_transport(_model: str, _local: object, **transport: Any) -> HTTPTransport:
    """One transport for all hosts: aiohttp keeps a pool for each."""
    return HTTPTransport(**transport)


class _Session:
    """One event loop's session, which closes with its loop.

    An asynchronous generator that has begun is finalised by `loop.shutdown_asyncgens`, which every regular end of
    a loop calls while the loop still runs: the one hook there is.
    """

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self.http = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=_NO_CLOCK,
            max_line_size=_HEADER_LIMIT,
            max_field_size=_HEADER_LIMIT,
            request_class=_Request,
        )
        self.loop = asyncio.get_running_loop()
        self.exchanges: set[HTTPExchange] = set()  # those that were neither aborted nor released yet
        self._guard = self._until_shutdown()
        self._ending: asyncio.Future[None] | None = None

    async def start(self) -> None:
        await anext(self._guard)

    async def _until_shutdown(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.end()

    async def end(self) -> None:
        """Close the connections. Twice is once: the loop may shut down meanwhile."""
        if self._ending is None:
            # aiohttp closes its connections without a word to those who wait on them.
            for exchange in list(self.exchanges):
                exchange.abort()
            self._ending = asyncio.ensure_future(self.http.close())
        await self._ending

    async def aclose(self) -> None:
        await self._guard.aclose()  # type: ignore[attr-defined]

    def forget(self) -> None:
        """The loop is closed: nothing can be awaited any more. Free the sockets without a word."""
        connector = self.http.connector
        self.http.detach()
        if connector is None:
            return
        for protocols in list(connector._conns.values()):
            for protocol, _ in protocols:
                transport = protocol.transport
                protocol.transport = None
                sock = getattr(transport, "_sock", None)
                if sock is not None:
                    with contextlib.suppress(OSError):
                        sock.close()
                    transport._sock = None  # type: ignore[union-attr]
        connector._conns.clear()
        connector._closed = True


class _Request(aiohttp.ClientRequest):
    """Sends a small body with the head of its request, without the task that aiohttp starts for every body.

    That task, and the turn of the loop until it runs, take a sixth of a request's CPU time on Python 3.11.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request. Raises ClientError, OSError."""
        body, protocol = getattr(self, "_body", None), conn.protocol  # aiohttp 3.12.0 has another name for it
        content: bytes = body._value if type(body) is payload.BytesPayload else b""
        transport = None if protocol is None or protocol.writing_paused else protocol.transport
        if protocol is None or transport is None or not 0 < len(content) <= _SMALL_BODY:
            return await super().send(conn)
        self._body = None  # a request without a body is sent at once
        protocol.transport = cast("asyncio.Transport", _WithBody(transport, content))
        try:
            return await super().send(conn)
        finally:
            self._body, protocol.transport = body, transport


class _WithBody:
    """A transport on which a body follows the head that is written to it."""

    __slots__ = ("_body", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, body: bytes) -> None:
        self._transport, self._body = transport, body
        self.is_closing = transport.is_closing

    def write(self, head: bytes) -> None:
        self._transport.write(head + self._body)


_fresh: ContextVar[bool] = ContextVar("_fresh", default=False)


def _may_be_broken(head: bytes) -> bool:
    """Whether a body after this head has a form that may be broken."""
    return b"chunked" in head or b"content-encoding" in head


class _Handler(ResponseHandler):
    """Reports to the reader of a body what aiohttp notes on the connection alone, where nobody looks.

    Without it, a reader waits for its own clock when the chunks of a body are broken, and takes a body without a
    length for whole when the connection is reset.
    """

    def data_received(self, data: bytes) -> None:
        """Parse the head alone first: a fault of the body's form in the same segment would take it along."""
        body = self._payload
        if body is None or body.is_eof():
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end < len(data) and _may_be_broken(data[:end].lower()):
                super().data_received(data[:end])
                if self.exception() is not None:
                    return
                data = data[end:]
        super().data_received(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """A failure to parse is the body's too; a failure to send is not: the answer may explain it."""
        if isinstance(exc, HttpProcessingError):
            exc.__cause__ = exc_cause
            self._fail(exc)
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone, reset where there is an error."""
        if exc is not None:
            self._fail(ConnectionResetError(str(exc)))
        body = self._payload
        first = None if body is None else body.exception()
        super().connection_lost(exc)
        if body is not None and first is not None:
            body.set_exception(first)  # what follows from a fault does not take its place

    def _fail(self, exc: BaseException) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(exc)


class _Connector(aiohttp.BaseConnector):
    """Makes connections under one clock, and reports to the request's task in `_fresh` that it would make one.

    aiohttp's tracing reports it too, for a tenth more CPU time on every request; its own clocks leave out the look-up
    of the name and a proxy's answer, or count the wait for a free place in the pool.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._factory = cast("partial[ResponseHandler]", partial(_Handler, loop=self._loop))

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        _fresh.set(True)
        async with asyncio.timeout(timeout.sock_connect):
            return await super()._create_connection(req, traces, timeout)


class _TCPConnector(_Connector, aiohttp.TCPConnector):
    pass


class _UnixConnector(_Connector, aiohttp.UnixConnector):
    pass


def _exact(url: str) -> str | URL:
    """As it is, to the letter: aiohttp would write `%3A` in a path as a colon, and break a signature over it."""
    return URL(url, encoded=True) if url.isascii() and " " not in url else url


def _body(body: bytes) -> payload.Payload:
    """Made here, for aiohttp takes longer to find the kind. The request's own content type goes before this one."""
    if len(body) > _LARGE_BODY:
        return payload.BytesIOPayload(io.BytesIO(body))
    return payload.BytesPayload(body, content_type="application/json")


_clocks: dict[float | None, aiohttp.ClientTimeout] = {None: _NO_CLOCK}


def _clock(connect: float | None) -> aiohttp.ClientTimeout:
    clock = _clocks.get(connect)
    if clock is None:
        clock = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=connect)
        if len(_clocks) < 100:
            _clocks[connect] = clock
    return clock


def _died(error: Exception) -> bool:
    """The connection went away before the answer began; nothing else is worth a second try."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return False
    return isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError))


def _translate(error: Exception, outgoing: Outgoing, proxy: str | None) -> ProviderError:
    where = origin(outgoing.url)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        by = "" if proxy is None else f"the proxy {origin(proxy)} gave "
        return late(f"{by}no connection to {where}", outgoing.connect_timeout)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_refused(proxy, error.status)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _no_connection(error, where, proxy)
    if isinstance(error, aiohttp.InvalidURL) or (isinstance(error, ValueError) and "URL" in str(error)):
        return ConfigError(f"{where!r} is no URL that a request can go to; check base_url")
    if isinstance(error, (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)):
        return ProtocolError(f"{where} did not answer in HTTP ({_say(error)})")
    if isinstance(error, (UnicodeError, ValueError)):
        return ConfigError(
            f"a header or the URL cannot be sent ({type(error).__name__}): check headers= and the key"
        )
    return TransportError(f"{where} closed the connection before it answered ({_say(error)})")


def _no_connection(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError,
    where: str,
    proxy: str | None,
) -> ConnectError:
    """The name, TCP or TLS failed, of the server or of the proxy on the way to it."""
    at_proxy = proxy is not None and (error.host, error.port) == (URL(proxy).raw_host, URL(proxy).port)
    if isinstance(error, aiohttp.ClientSSLError):
        cause = getattr(error, "certificate_error", None) or error.os_error
        return tls_failure(f"the proxy {origin(proxy or '')}" if at_proxy else where, cause)
    if at_proxy:
        return proxy_unreachable(proxy or "", _say(error))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ConnectError(f"the name in {where} does not resolve; check base_url and the network")
    return ConnectError(f"no connection to {where} ({_say(error)}); is a server listening there?")


def _say(error: BaseException) -> str:
    """The error's own words, without the request that some errors show."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message or type(error).__name__
    text = str(error)
    return text if text and len(text) < 200 and "headers" not in text else type(error).__name__
