"""Asks one server as every request is sent, and keeps what it really sent.

Every exchange is observed: status, headers and every piece of a body are kept with the time of arrival, and decoded as
always, so that a reply holds both what came and what the library made of it. Nothing but running out of
requests or time raises: whatever a server does is an answer here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider._core.plan import Plan
from brainwires_provider.auth.redaction import REDACTED, redact
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ConnectError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    StreamInterrupted,
    StreamTimeout,
)
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.errors import error_in_reply
from brainwires_provider.protocols.base.json import decode_json, looks_like
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.base.protocol import Reply as ProtocolReply
from brainwires_provider.providers import Target
from brainwires_provider.transports.base import ByteExchange
from brainwires_provider.types import Report, Response, Timeouts
from brainwires_provider.types.suspects import is_secret_header

__all__ = ["Asker", "Reply", "Spent", "cleaned", "is_unreachable"]

_LARGEST = 4_194_304  # bytes of one reply
_TOLD = 160  # characters of what a server says
_REFUSING = (400, 422, 501)
_NOT_ABOUT_THE_REQUEST = (AuthenticationError, PermissionDeniedError, RateLimitError, OverloadedError)


class Spent(Exception):
    """No request or no time is left; its text says which."""


class Reply(Struct, frozen=True):
    """What came back. `pieces` are the body's, each with the seconds from when the request was sent."""

    seconds: float
    status: int | None = None
    kind: str = ""
    """The content type, without parameters, in lower case."""
    pieces: Sequence[tuple[float, bytes]] = ()
    response: Response | None = None
    error: ProviderError | None = None
    words: str = ""
    """Of the error, cleaned."""

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return decode_json(self.body)
        except ValueError:
            return None

    def frames(self) -> list[tuple[float, bytes]]:
        """The body as server-sent events: when each was whole, and its data; none of a body that is JSON."""
        if self.kind == "application/json":
            return []
        framing, found = SSEFraming(_LARGEST), []
        at = self.seconds
        try:
            for at, piece in self.pieces:
                found += [(at, message.data) for message in framing.feed(piece)]
            found += [(at, message.data) for message in framing.finish()[0]]
        except ProviderError:
            return []
        return found

    def chunks(self) -> list[tuple[float, dict[str, Any]]]:
        """Those events that are JSON objects with choices, each of which is an object."""
        found = []
        for at, data in self.frames():
            try:
                value = decode_json(data)
            except ValueError:
                continue
            if isinstance(value, dict) and _are_objects(value.get("choices")):
                found.append((at, value))
        return found

    def refuses(self, *fields: str) -> bool:
        """Whether it says no to these fields: by its status, or by naming one of them."""
        error = self.error
        if not isinstance(error, APIError) or isinstance(error, _NOT_ABOUT_THE_REQUEST):
            return False
        return self.status in _REFUSING or self.names(*fields)

    def names(self, *fields: str) -> bool:
        """Whether its error names one of these fields."""
        return any(field.lower() in self.words.lower() for field in fields)


class Asker:
    """Asks one target. `seconds` is for each request, `total` for all, and `most` how many there may be."""

    def __init__(
        self,
        client: AsyncClient,
        target: Target,
        *,
        secrets: Sequence[str] = (),
        seconds: float = 60,
        total: float = 600,
        most: int = 40,
    ) -> None:
        self.client = client
        self.target = target
        self.requests = 0
        self.most = most
        self.reads_streams = False
        """Whole answers come as streams too."""
        self._secrets = secrets
        self._seconds = seconds
        self._began = time.monotonic()
        self._total = total

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._began

    async def ask(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        stream: bool = False,
        with_key: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request: a chat where `path` is the chat's, anything else as it is. Raises Spent."""
        limit = min(self._seconds, self._total - self.elapsed)
        if self.requests >= self.most:
            raise Spent(f"{self.most} requests have been sent")
        if limit <= 0:
            raise Spent(f"{self._total:g} s are over")
        self.requests += 1
        clocks = Timeouts(connect=min(10, limit), first_event=limit, idle=limit, attempt=limit)
        call = Call(path, body or {}, method="GET" if body is None else "POST")
        target = self.target if with_key else _keyless(self.target)
        plan = Plan(target, call, Report(), clocks, stream or self.reads_streams, headers, None)
        tap = _Tap()
        session = self.client._session.observed(tap.observe, _LARGEST)
        response, failure = None, None
        try:
            if path == "/chat/completions":
                response = await session.chat(plan)
            else:
                await session.fetch(plan, bytes)
        except ProviderError as error:
            failure = error
        seconds = asyncio.get_running_loop().time() - tap.began
        reply = Reply(seconds, tap.status, tap.kind, tap.pieces, response, failure)
        return reply if failure is None else replace(reply, words=self._words(failure, reply, limit))

    def _words(self, error: ProviderError, reply: Reply, limit: float) -> str:
        """What went wrong, in few words: the server's own where it has some."""
        match error:
            case StreamTimeout():
                return f"the answer stalled, and was left after {limit:g} s"
            case RequestTimeout() if error.clock != "connect":
                return f"no answer within {limit:g} s"
            case StreamInterrupted(how="reset"):
                return "the connection was lost during the response"
            case APIError() if reply.status is not None and reply.status >= 400 and reply.pieces:
                refusal = ProtocolReply(reply.status, {}, self.clean_bytes(reply.body), time.time())
                told = error_in_reply(refusal).message
                message = told if told.startswith("HTTP ") else f"HTTP {reply.status}: {told}"
            case APIError() if reply.status is not None and reply.status >= 400:
                message = f"HTTP {reply.status}, with an empty body"
            case ProtocolError() if reply.kind == "text/html" or looks_like(reply.body).startswith("an HTML"):
                message = f"HTTP {reply.status} with {looks_like(self.clean_bytes(reply.body))}"
            case _:
                message = error.message.removeprefix(f"{self.target.provider}: ")
        return self.clean(message)

    def clean(self, text: str) -> str:
        """One printable line of what somebody else said, without a secret, and not too long."""
        return cleaned(text, self._secrets)

    def clean_bytes(self, body: bytes) -> bytes:
        """A body without a secret: before it is cut, for half of one is one too."""
        for secret in self._secrets:
            body = body.replace(secret.encode("utf-8", "replace"), REDACTED.encode())
        return body


def cleaned(text: str, secrets: Sequence[str] = ()) -> str:
    """One printable line, at most 160 characters, without the secrets, whole or cut."""
    text = redact(text, tuple(secrets))
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return line if len(line) <= _TOLD else line[: _TOLD - 1] + "…"


def _keyless(target: Target) -> Target:
    headers = {name: value for name, value in target.headers.items() if not is_secret_header(name)}
    return replace(target, key=None, headers=headers)


class _Tap:
    """Keeps what one exchange gives."""

    def __init__(self) -> None:
        self.began = asyncio.get_running_loop().time()
        self.status: int | None = None
        self.kind = ""
        self.pieces: list[tuple[float, bytes]] = []
        self.size = 0

    def observe(self, exchange: ByteExchange) -> ByteExchange:
        """The exchange, whose pieces are kept."""
        self.status = exchange.status
        self.kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
        return _TappedExchange(exchange, self)

    def keep(self, piece: bytes) -> None:
        """One piece of the body. Raises ProtocolError once there are too many."""
        self.pieces.append((asyncio.get_running_loop().time() - self.began, piece))
        self.size += len(piece)
        if self.size > _LARGEST:
            raise ProtocolError(f"the answer has more than {_LARGEST} bytes, and was left")


class _TappedExchange(ByteExchange):
    def __init__(self, exchange: ByteExchange, tap: _Tap) -> None:
        self.status, self.headers, self.attempts = exchange.status, exchange.headers, exchange.attempts
        self._exchange, self._tap = exchange, tap

    @property
    def ended(self) -> bool:
        return self._exchange.ended

    async def read(self) -> bytes:
        piece = await self._exchange.read()
        if piece:
            self._tap.keep(piece)
        return piece

    def abort(self) -> None:
        self._exchange.abort()

    def release(self) -> None:
        self._exchange.release()


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def is_unreachable(reply: Reply) -> bool:
    """Whether no connection came about at all."""
    return isinstance(reply.error, ConnectError) or (
        isinstance(reply.error, RequestTimeout) and reply.error.clock == "connect"
    )
