"""One attempt at a request: the exchange that was opened for it, and the events of its answer.

Over HTTP and over a WebSocket it is the same code: an `Exchange` gives messages, the decoder makes events of them. The
start of an answer is held back until something of it comes: until then, another attempt may take its place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from brainwires_provider._core.deadlines import Deadlines
from brainwires_provider._core.plan import Plan
from brainwires_provider.auth.keys import redact
from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    FramingError,
    NotFoundError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    StreamInterrupted,
)
from brainwires_provider.events import Event, ResponseStart
from brainwires_provider.protocols.base.bodies import feed_rest, request_id
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.protocol import ChatProtocol, Decoder, Reply
from brainwires_provider.transports.base import ByteExchange, Exchange
from brainwires_provider.types import Attempt as Replaced
from brainwires_provider.types import Report, Response

__all__ = ["Attempt", "explain", "refusal"]

T = TypeVar("T")

_ERROR_BYTES = 1_048_576
_ONE_BODY = ("application/json", "text/html")


class Attempt:
    """One exchange, and its answer as far as it was read. `limit` is that of one message or body, in bytes."""

    __slots__ = (
        "_decoder",
        "_failed",
        "_limit",
        "_plan",
        "begun",
        "ended",
        "exchange",
        "held",
        "replaced",
        "secrets",
    )

    def __init__(self, plan: Plan, limit: int, decoder: Decoder | None = None) -> None:
        self._plan = plan
        self._limit = limit
        self._decoder = decoder
        self._failed: ProviderError | None = None
        self.exchange: Exchange | None = None
        """None until it was opened."""
        self.secrets: tuple[str, ...] = ()
        """What no error may show."""
        self.replaced: tuple[Replaced, ...] = ()
        """The attempts that this one takes the place of."""
        self.begun = decoder is not None
        """Something of the answer was decoded."""
        self.held: list[Event] = []
        """The start of an answer, while it is held back."""
        self.ended = False

    @property
    def decoder(self) -> Decoder:
        """Made when first needed: while a request waits for its answer, it should weigh little."""
        decoder = self._decoder
        if decoder is None:
            target = self._plan.target
            decoder = self._decoder = target.protocol.decoder(target.origin)
        return decoder

    @decoder.setter
    def decoder(self, decoder: Decoder) -> None:
        self._decoder = decoder

    # -- reading -----------------------------------------------------------------------------------------

    async def first(self, deadlines: Deadlines) -> list[Event]:
        """The first events: more than the start alone.

        An error that comes after such events is raised by `next`.
        """
        exchange = self.exchange
        assert exchange is not None
        if not exchange.ok:
            raise await self._refusal(exchange)
        if self._plan.stream and isinstance(exchange, ByteExchange) and not _is_one_body(exchange):
            exchange.framing, exchange.framed = self._plan.target.protocol.framing(self._limit), True
        if exchange.framed:
            return await self._first_of_stream(deadlines)
        events = self._decode_body(await self.body(deadlines), exchange)
        self.release()
        return events

    async def _first_of_stream(self, deadlines: Deadlines) -> list[Event]:
        events = self.held = await self._read()
        deadlines.begin()
        while len(events) == 1 and type(events[0]) is ResponseStart:
            if self._failed is not None:
                raise self._failed
            if self.decoder.ended:
                break
            events += await self._read()
        self.held = []
        return events

    async def next(self) -> list[Event]:
        """The next events, at least one; none once the answer has ended."""
        if self._failed is not None:
            raise self._failed
        if self.decoder.ended:
            await self.finish()
            return []
        return await self._read()

    async def _read(self) -> list[Event]:
        """At least one event. What came before an error is given first."""
        decoder, exchange = self.decoder, self.exchange
        assert exchange is not None
        events: list[Event] = []
        try:
            while not events:
                messages = await exchange.messages()
                if exchange.over:
                    feed_rest(decoder, messages, exchange.clean, events)
                    break
                for message in messages:
                    if decoder.ended:
                        break
                    events += decoder.feed(message)
        except ProviderError as error:
            if not events:
                raise
            self._failed = error
        self.begun = True
        return events

    async def body(self, _: Deadlines) -> bytes:
        """The whole body of an answer that is one. Raises FramingError for one over the limit, and the refusal."""
        exchange = self.exchange
        assert exchange is not None
        if not exchange.ok:
            raise await self._refusal(exchange)
        body = await exchange.body(self._limit + 1)
        if len(body) > self._limit:
            raise FramingError(f"the body exceeds {self._limit} bytes; raise max_event_bytes to take it")
        return body

    def _decode_body(self, body: bytes, exchange: Exchange) -> list[Event]:
        if not body or body.isspace():
            raise ProtocolError("the provider answered with an empty body")
        if exchange.headers.get("content-type", "").lower().startswith("text/html"):
            raise ProtocolError(f"the provider answered with {looks_like(body)}; check base_url")
        return self.decoder.feed_whole(body)

    async def _refusal(self, exchange: Exchange) -> APIError:
        status = exchange.status or 0
        body = b"" if 300 <= status < 400 else await exchange.body(_ERROR_BYTES)
        return refusal(self._plan.target.protocol, status, exchange.headers, body)

    # -- ending ------------------------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """Whether the answer has come to its end without an error."""
        return self._decoder is not None and self._decoder.ended and self._failed is None

    async def finish(self) -> None:
        """The answer has ended, and was taken: the connection can be used again."""
        assert self.exchange is not None
        await self.exchange.drain()
        self.release()

    def release(self) -> None:
        """The answer was read to its end."""
        self.ended = True
        if self.exchange is not None:
            self.exchange.release()

    def abort(self) -> None:
        """Leave now: what was not read to its end is dropped."""
        if not self.ended:
            self.ended = True
            if self.exchange is not None:
                self.exchange.abort()

    # -- reporting ---------------------------------------------------------------------------------------

    @property
    def report(self) -> Report:
        """What became of the request's fields."""
        continuation = None if self.exchange is None else self.exchange.continuation
        report = self._plan.report
        return report if continuation is None else replace(report, continuation=continuation)

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer, or of the handshake."""
        return {} if self.exchange is None else self.exchange.headers

    @property
    def attempts(self) -> tuple[Replaced, ...]:
        """Every try that this attempt, or its exchange, has replaced."""
        return self.replaced if self.exchange is None else (*self.replaced, *self.exchange.attempts)

    def partial(self) -> Response:
        """What has arrived so far."""
        return self.complete(self.decoder.partial())

    def complete(self, response: Response) -> Response:
        """A response with what the exchange knows."""
        headers = self.headers
        return replace(
            response,
            report=self.report,
            request_id=request_id(headers),
            headers=headers,
            attempts=self.attempts,
        )

    def explain(self, error: ProviderError) -> ProviderError:
        """The same error with what is known here: where, which request, and what to do; secrets removed."""
        exchange = self.exchange
        if exchange is not None:
            error.request_id = error.request_id or request_id(exchange.headers)
            if isinstance(error, APIError) and error.status is None:
                error.status = error.provider_status if exchange.status is None else exchange.status
            if isinstance(error, (StreamInterrupted, ProtocolError, APIError)):
                partial = error.partial or (self.decoder.partial() if self.begun else None)
                error.partial = None if partial is None else self.complete(partial)
        return explain(error, self._plan, self.secrets)


def _is_one_body(exchange: Exchange) -> bool:
    """Whether a streamed answer came as one body after all: some services ignore `stream`."""
    return exchange.headers.get("content-type", "").lower().startswith(_ONE_BODY)


def refusal(protocol: ChatProtocol, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """The error of a status that is none of success, of a handshake too. Redirects are not followed."""
    if not 300 <= status < 400:
        return protocol.decode_error(Reply(status, headers, body, time.time()))
    place = urlsplit(headers.get("location", ""))
    origin = f"{place.scheme}://{place.hostname}" if place.hostname else ""
    return APIError(
        f"the server redirects to {origin + place.path or 'nowhere'} (HTTP {status}), which is not followed, because "
        "the key would be sent along; set base_url to the address that answers",
        status=status,
    )


def explain(error: ProviderError, plan: Plan, secrets: tuple[str, ...]) -> ProviderError:
    """The same error with its provider, and what to do; secrets removed."""
    target = plan.target
    error.provider = error.provider or target.provider
    error.model = error.model or target.model
    if isinstance(error, APIError):
        error.body = redact(error.body, secrets)
        error.code, error.type = redact(error.code, secrets), redact(error.type, secrets)
    error.message = redact(f"{target.provider}: {error.message}{_advice(error, plan)}", secrets)
    error.args = (error.message,)
    return error


def _advice(error: ProviderError, plan: Plan) -> str:
    """What to do, where the error's kind says it."""
    target = plan.target
    match error:
        case AuthenticationError() if target.auth is not None:
            return f" ({target.auth.advice})"
        case AuthenticationError():
            where = f" or {target.row.key_env}" if target.row.key_env else ""
            return f" (check the key: api_key={where})"
        case NotFoundError() if plan.subject is not None:
            return f" (check {plan.subject})"
        case NotFoundError():
            return f" (check the model's name, {target.model!r}, and base_url)"
        case ContextLengthError():
            return " (shorten the messages, or lower max_tokens)"
        case RateLimitError(retry_after=float(seconds)):
            return f" (try again in {seconds:g} s)"
    return ""
