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
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import payload
from yarl import URL

from brainwires_provider.errors import (
    ConfigError,
    ConnectError,
    ProtocolError,
    RequestTimeout,
    StreamInterrupted,
    TransportError,
)
from brainwires_provider.transports.base import ByteExchange, Outgoing
from brainwires_provider.transports.proxies import proxy_for
from brainwires_provider.types import Attempt

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

__all__ = ["HTTPTransport", "make_transport"]

_HEADER_LIMIT = 65_536
_KEEPALIVE_SECONDS = 60
_LARGE_BODY = 1_000_000  # above it, aiohttp warns about bytes and wants a file
_NO_CLOCK = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)


class HTTPExchange(ByteExchange):
    """See `transports.base.Exchange`."""

    __slots__ = ("_content", "_peers", "_response")

    def __init__(
        self, response: aiohttp.ClientResponse, attempts: tuple[Attempt, ...], peers: set[HTTPExchange]
    ) -> None:
        super().__init__(response.status, {k.lower(): v for k, v in response.headers.items()}, attempts)
        self._response = response
        self._content = response.content
        self._peers = peers
        peers.add(self)

    @property
    def ended(self) -> bool:
        """Whether the body is read to its end."""
        return self._content.at_eof()

    async def read(self) -> bytes:
        """The next bytes, as they come; empty at the end."""
        if self._content.at_eof():
            return b""
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError, EOFError) as error:
            raise StreamInterrupted(
                f"the connection was lost during the response ({_say(error)})", how="reset"
            ) from None

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
        if not self._response.closed:
            self._response.close()


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
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, _Session] = WeakKeyDictionary()

    async def open(self, outgoing: Outgoing) -> HTTPExchange:
        """Send and wait for the head of the response.

        Raises ConnectError, RequestTimeout (connect), TransportError, ProtocolError (not HTTP), ConfigError (URL).
        """
        proxy = self._proxy_for(outgoing.url)
        session = self._sessions.get(asyncio.get_running_loop()) or await self._begin_session()
        attempts: tuple[Attempt, ...] = ()
        while True:
            if _fresh.get():
                _fresh.set(False)  # set by this task's last request
            try:
                response = await session.http.request(
                    outgoing.method,
                    _exact(outgoing.url),
                    data=_body(outgoing.body) if outgoing.body else None,
                    headers=outgoing.headers,
                    allow_redirects=False,
                    proxy=proxy,
                    timeout=_clock(outgoing.connect_timeout),
                )
            except (aiohttp.ClientError, OSError, ValueError, UnicodeError) as error:
                if not (_fresh.get() or attempts) and _died(error):
                    attempts = (Attempt(f"a reused connection had died ({_say(error)}); sent once more"),)
                    continue
                raise _translate(error, outgoing, proxy) from None
            return HTTPExchange(response, attempts, session.exchanges)

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
        for other in [known for known in self._sessions if known.is_closed()]:
            self._sessions.pop(other).forget()
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
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.aclose()
        for other in list(self._sessions):
            if other.is_closed():
                self._sessions.pop(other).forget()

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
        )
        self.exchanges: set[HTTPExchange] = set()  # those that were neither aborted nor released yet
        self._guard = self._until_shutdown()

    async def start(self) -> None:
        await anext(self._guard)

    async def _until_shutdown(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # aiohttp closes its connections without a word to those who wait on them.
            for exchange in list(self.exchanges):
                exchange.abort()
            await self.http.close()

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


_fresh: ContextVar[bool] = ContextVar("_fresh", default=False)


class _Connector(aiohttp.BaseConnector):
    """Reports to the request's task in `_fresh` that its connection is a new one, or would have been.

    aiohttp's tracing reports it too, for a tenth more CPU time on every request.
    """

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        _fresh.set(True)
        return await super()._create_connection(req, traces, timeout)


class _TCPConnector(_Connector, aiohttp.TCPConnector):
    pass


class _UnixConnector(_Connector, aiohttp.UnixConnector):
    pass


@lru_cache(256)
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


def _translate(error: Exception, outgoing: Outgoing, proxy: str | None) -> Exception:
    where = _origin(outgoing.url)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return RequestTimeout(
            f"no connection to {where} within {outgoing.connect_timeout} s; is the host reachable? "
            "Timeouts.connect sets this clock",
            clock="connect",
        )
    if isinstance(error, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        status = getattr(error, "status", None)
        refused = f"answered {status}" if status else f"cannot be reached ({_say(error)})"
        return ConnectError(
            f"the proxy {_origin(proxy or '')} {refused}; check proxy= and the proxy variables of the environment"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ConnectError(f"the name in {where} does not resolve; check base_url and the network")
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
        return ConnectError(
            f"TLS with {where} failed ({_say(error)}); for a private authority pass ssl_context="
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectError(f"no connection to {where} ({_say(error)}); is a server listening there?")
    if isinstance(error, aiohttp.InvalidURL) or (isinstance(error, ValueError) and "URL" in str(error)):
        return ConfigError(f"{where!r} is no URL that a request can go to; check base_url")
    if isinstance(error, (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)):
        return ProtocolError(f"{where} did not answer in HTTP ({_say(error)})")
    if isinstance(error, (UnicodeError, ValueError)):
        return ConfigError(
            f"a header or the URL cannot be sent ({type(error).__name__}): check headers= and the key"
        )
    return TransportError(f"{where} closed the connection before it answered ({_say(error)})")


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


def _origin(url: str) -> str:
    """Scheme and host: a path may name a tenant, a query hold a key, a proxy's URL a password."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "the URL"
