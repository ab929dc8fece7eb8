"""One attempt at a request: it is signed and sent, and the events of its answer are read.

Over HTTP and over a WebSocket it is the same code: an `Exchange` gives messages, the decoder makes events of them. The
start of an answer is held back until something of it comes: until then, another attempt may take its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec.structs import replace

from brainwires_provider._core.continuing import Continued, Held
from brainwires_provider._core.deadlines import Deadlines
from brainwires_provider._core.explaining import explain, refusal
from brainwires_provider._core.plan import Plan
from brainwires_provider.auth.keys import resolve_headers, resolve_key
from brainwires_provider.auth.redaction import conceal, header_secrets, redact, redact_headers
from brainwires_provider.errors import (
    APIError,
    ConfigError,
    ConnectError,
    FramingError,
    ProtocolError,
    ProviderError,
    StreamInterrupted,
)
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ResponseEnd,
    ResponseRestart,
    ResponseStart,
    response_of,
)
from brainwires_provider.framing.base import DEFAULT_MAX_PARTS, Framing
from brainwires_provider.protocols.base.bodies import feed_rest, request_id
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.protocol import Decoder
from brainwires_provider.providers import Target
from brainwires_provider.transports.base import ByteExchange, Exchange, Outgoing, Transport
from brainwires_provider.types import Attempt as Replaced
from brainwires_provider.types import ReasoningPart, RefusalPart, Report, Response, TextPart

__all__ = ["Attempt", "Connections", "begin_recovery", "commits"]

if TYPE_CHECKING:
    from brainwires_provider.transports.websocket.exchange import LaneExchange, Recovery
    from brainwires_provider.transports.websocket.pool import Pool

    Way = Recovery | Continued | None

T = TypeVar("T")

_ERROR_BYTES = 1_048_576
_ONE_BODY = ("application/json", "text/html")
_NEVER_COMMIT = frozenset((ResponseStart, ReasoningDelta, OpaqueDelta, ResponseRestart))
_TEXTS = frozenset((TextPart, RefusalPart))


def commits(events: Iterable[Event]) -> bool:
    """Whether one of these events is part of the answer, so that its attempt cannot be repeated.

    Text, a refusal, a call, or anything that the provider ran is; reasoning alone is not.
    """
    for event in events:
        kind = type(event)
        if kind in _NEVER_COMMIT:
            continue
        if kind is PartStart or kind is PartEnd:
            part: Any = event.part  # type: ignore[union-attr]
            if type(part) is ReasoningPart or (type(part) in _TEXTS and not part.text):
                continue
        return True
    return False


class Connections(Protocol):
    """What opening needs of a session."""

    fixed_headers: dict[tuple[Any, str, bool], tuple[dict[str, str], tuple[str, ...]]]
    observe: Callable[[ByteExchange], ByteExchange] | None
    held: Held

    def known_transport(self, target: Target) -> Transport | None:
        """What reaches a target by HTTP, if it is made already."""
        ...

    async def transport(self, target: Target) -> Transport:
        """What reaches a target by HTTP."""
        ...

    def pool(self, plan: Plan, mode: Any) -> Pool:
        """The WebSockets that a plan's request goes over, as its protocol declares by `mode`."""
        ...


def begin_recovery(
    plan: Plan, connections: Connections, failed: list[Replaced], is_second: bool = False
) -> Way:
    """The way over a WebSocket, or behind a stored answer, for a call that has one.

    It adds what it replaces to `failed`. `is_second`: of a hedged call; it continues nothing, as the first may.
    """
    mode = plan.websocket
    if mode is None:
        stored = plan.stored
        return None if stored is None else Continued(plan, stored, connections.held, failed)
    from brainwires_provider.transports.websocket.exchange import Recovery

    key = plan.target.key
    recovery = Recovery(
        connections.pool(plan, mode),
        mode.request(plan.call, plan.target.origin),
        mode.fault,
        fresh_key=key is not None and not isinstance(key, str),
        fork=plan.fork,
        full=is_second,
    )
    recovery.attempts, count = failed, len(failed)
    recovery.wait_for_websocket()
    if count:
        del failed[count:]  # that there is no WebSocket is known since the first attempt
    return recovery


class Attempt:
    """One exchange, and its answer as far as it was read.

    `limit` is that of one message or body, in bytes, and `max_parts` that of an answer's parts.
    """

    __slots__ = (
        "_decoder",
        "_failed",
        "_framing",
        "_heard_at",
        "_limit",
        "_max_parts",
        "_plan",
        "_refused",
        "begun",
        "continued",
        "ended",
        "exchange",
        "held",
        "number",
        "replaced",
        "secrets",
        "sent",
        "trace_headers",
    )

    def __init__(self, plan: Plan, limit: int, max_parts: int, decoder: Decoder | None = None) -> None:
        self._plan = plan
        self._limit = limit
        self._max_parts = max_parts
        self._decoder: Decoder | None = None
        if decoder is not None:
            self._decoder = decoder
            decoder.max_parts = max_parts
        self._failed: ProviderError | None = None
        self._framing: Framing | None = None  # of a body that is a stream
        self._heard_at = 0.0
        self._refused: Mapping[str, str] = {}  # headers of a handshake that was refused
        self.exchange: Exchange | None = None
        """None until it was opened."""
        self.continued: Continued | None = None
        """How it continues a stored answer over HTTP."""
        self.sent = False
        """Something of it may have left: before, nothing can have been used."""
        self.secrets: tuple[str, ...] = ()
        """What no error may show."""
        self.number = 0
        """Among those of its call, where somebody looks on; 0 until it begins."""
        self.trace_headers: Mapping[str, str] | None = None
        """Headers of a trace, for a request over HTTP."""
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
            target, wrap = self._plan.target, self._plan.call.wrap
            decoder = target.protocol.decoder(target.origin)
            self._decoder = decoder = decoder if wrap is None else wrap(decoder)
            if self._max_parts != DEFAULT_MAX_PARTS:
                decoder.max_parts = self._max_parts
        return decoder

    @decoder.setter
    def decoder(self, decoder: Decoder) -> None:
        self._decoder = decoder
        if self._max_parts != DEFAULT_MAX_PARTS:
            decoder.max_parts = self._max_parts

    # -- opening -----------------------------------------------------------------------------------------

    async def open(self, connections: Connections, recovery: Way) -> None:
        """Send the request; there is an exchange then. Raises every ProviderError."""
        plan = self._plan
        if isinstance(recovery, Continued):
            self.continued = recovery
            plan = recovery.plan()
        elif recovery is not None and not recovery.over_http:
            await self._open_lane(recovery)
            return
        target = plan.target
        known = connections.fixed_headers.get((target.key, target.row.auth, plan.stream))
        if known is None or plan.has_headers:
            outgoing = await self._signed(plan, connections)
        else:
            headers, self.secrets = known
            outgoing = Outgoing(plan.call.method, plan.url, headers, plan.body(), plan.timeouts.connect)
        if self.trace_headers:
            outgoing = replace(outgoing, headers={**outgoing.headers, **self.trace_headers})
        transport = connections.known_transport(target) or await connections.transport(target)
        self.sent = True
        exchange = await transport.open(outgoing)
        self.exchange = exchange if connections.observe is None else connections.observe(exchange)

    async def _signed(self, plan: Plan, connections: Connections) -> Outgoing:
        """The request with its key, and a signature where that is needed."""
        target = plan.target
        key = "" if target.key is None else await resolve_key(target.key, target.provider)
        self.secrets = (key,) if key else ()
        own: Mapping[str, str] = {}
        if target.headers:
            own = await resolve_headers(target.headers, target.provider)
            self.secrets += header_secrets(target.headers, own)
        if target.row.host_by_key:
            plan = replace(plan, target=target.at_home_of(key))
        url, headers, body = plan.url, plan.headers(key, own), plan.body()
        if target.auth is not None:
            headers |= await target.auth.headers(plan.call.method, url, headers, body)
            self.secrets += target.auth.secrets
        elif type(target.key) is str and not plan.has_headers:
            connections.fixed_headers[target.key, target.row.auth, plan.stream] = headers, self.secrets
        return Outgoing(plan.call.method, url, headers, body, plan.timeouts.connect)

    async def _open_lane(self, recovery: Recovery) -> None:
        from brainwires_provider.transports.websocket.connection import HandshakeRefused

        exchange: LaneExchange | None = None
        try:
            self.exchange = exchange = await recovery.lane()
            self.sent = True
            await exchange.send()
        except HandshakeRefused as refused:
            protocol, self._refused = self._plan.target.protocol, refused.headers
            error = refusal(protocol, refused.status, refused.headers, refused.body)
            error.request_id = error.request_id or request_id(refused.headers)
            raise error from None
        finally:
            self.sent = exchange is not None and exchange.sent
            self.secrets = recovery.pool.dial.secrets
        self.decoder = recovery.request.decoder()

    # -- reading -----------------------------------------------------------------------------------------

    async def first(self, deadlines: Deadlines) -> list[Event]:
        """The first events: more than the start alone.

        An error that comes after such events is raised by `next`.
        """
        exchange: Any = self.exchange
        if exchange.status is None:  # over a WebSocket every answer is a stream
            return await self._first_of_stream(deadlines)
        if self.is_refused:
            raise await self._refusal(exchange)
        if self._plan.stream and not _is_one_body(exchange):
            self._framing = self._plan.target.protocol.framing(self._limit)
            return await self._first_of_stream(deadlines)
        events = self._decode_body(self._within_limit(await exchange.body(self._limit + 1)), exchange)
        self.release()
        return events

    async def _first_of_stream(self, deadlines: Deadlines) -> list[Event]:
        events = self.held = await self.next()
        deadlines.begin(self)
        while len(events) == 1 and type(events[0]) is ResponseStart and (more := await self.next()):
            events += more
        self.held = []
        return events

    async def next(self) -> list[Event]:
        """The next events, at least one; none once the answer has ended. What came before an error is given first."""
        if self._failed is not None:
            raise self._failed
        decoder, framing, clean = self.decoder, self._framing, True
        exchange: Any = self.exchange
        if decoder.ended:
            await self.finish()
            return []
        events: list[Event] = []
        try:
            while not events:
                if framing is None:  # frames are whole messages
                    messages = await exchange.messages()
                    is_over = not messages
                elif is_over := not (chunk := await exchange.read()):
                    messages, clean = framing.finish()
                else:
                    messages = framing.feed(chunk)
                if is_over:
                    feed_rest(decoder, messages, clean, events)
                    break
                for message in messages:
                    if decoder.ended:
                        break
                    events += decoder.feed(message)
                if not events:  # a heartbeat, or a part of a message
                    self._heard_at = asyncio.get_running_loop().time()
        except ProviderError as error:
            if not events:
                self.begun = self.begun or _is_in_answer(error)
                raise
            self._failed = error
        self.begun = True
        return events

    @property
    def heard_at(self) -> float:
        """When the server was last heard of without an event, by the loop's clock."""
        assert self.exchange is not None
        return max(self._heard_at, self.exchange.heard_at)

    async def body(self, _: Deadlines) -> bytes:
        """The whole body of an answer that is one. Raises FramingError for one over the limit, and the refusal."""
        exchange: Any = self.exchange
        if self.is_refused:
            raise await self._refusal(exchange)
        return self._within_limit(await exchange.body(self._limit + 1))

    def _within_limit(self, body: bytes) -> bytes:
        if len(body) > self._limit:
            raise FramingError(f"the body exceeds {self._limit} bytes; raise max_event_bytes to take it")
        return body

    def _decode_body(self, body: bytes, exchange: Exchange) -> list[Event]:
        if not body or body.isspace():
            raise ProtocolError("the provider answered with an empty body")
        if exchange.headers.get("content-type", "").lower().startswith("text/html"):
            raise ProtocolError(f"the provider answered with {looks_like(body)}; check base_url")
        try:
            return self.decoder.feed_whole(body)
        except APIError as error:
            self.begun = _is_in_answer(error)
            raise

    async def _refusal(self, exchange: ByteExchange) -> APIError:
        status = exchange.status
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
        if self.continued is not None and self._decoder is not None:
            self.continued.keep(self._decoder)
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
        source, plan = self.continued or self.exchange, self._plan
        continuation = None if source is None else source.continuation
        if continuation is None:
            return plan.http_report if plan.target.row.transport == "websocket" else plan.report
        return replace(plan.report, continuation=continuation)

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer, or of the handshake."""
        return self._refused if self.exchange is None else self.exchange.headers

    @property
    def status(self) -> int | None:
        """Of the answer; None without one."""
        return None if self.exchange is None else self.exchange.status

    @property
    def is_refused(self) -> bool:
        """Whether the server has refused the request by its status."""
        status = None if self.exchange is None else self.exchange.status
        return status is not None and not 200 <= status < 300

    def is_free(self, error: ProviderError | None) -> bool:
        """Whether it costs nothing, as it was not sent, or was refused."""
        return not self.sent or self.was_refused(error) or isinstance(error, ConnectError | ConfigError)

    def was_refused(self, error: ProviderError | None) -> bool:
        """Whether it was refused: by its status, or by an error in place of an answer."""
        return self.is_refused or (isinstance(error, APIError) and not self.begun)

    @property
    def attempts(self) -> tuple[Replaced, ...]:
        """Every try that this attempt, or its exchange, has replaced."""
        return self.replaced if self.exchange is None else (*self.replaced, *self.exchange.attempts)

    def failed(self, error: ProviderError, *, delivered: bool = False) -> Replaced:
        """This attempt in the list of those that failed. `delivered`: what arrived of it has reached the caller."""
        partial = self.decoder.partial() if self.begun else None
        secrets = self.secrets + self._plan.secrets
        usage = partial.usage if partial is not None and partial.usage.total_tokens else None
        return Replaced(
            redact(error.message, secrets),
            (error.status or error.provider_status) if isinstance(error, APIError) else None,
            redact(error.request_id or request_id(self.headers), secrets),
            usage=usage,
            may_be_billed=usage is None and not self.is_free(error),
            superseded=partial.message.content if partial is not None and delivered else (),
        )

    def partial(self) -> Response:
        """What has arrived so far."""
        return self.complete(self.decoder.partial())

    def whole(self, end: ResponseEnd | None) -> Response:
        """The answer that ended so. Raises ProtocolError where the decoder gave no end."""
        decoder = self.decoder
        if end is None:
            raise ProtocolError(
                "the answer is over, and its decoder gave no ResponseEnd", partial=self.partial()
            )
        if isinstance(decoder, DecoderBase) and not decoder.parts.ragged:
            content = decoder.parts.parts()
        else:
            content = decoder.partial().message.content
        report, headers, attempts = self._known()
        return response_of(
            end,
            content,
            provider=self._plan.target.provider,
            report=report,
            request_id=request_id(headers),
            headers=headers,
            attempts=attempts,
        )

    def complete(self, response: Response) -> Response:
        """A response with what the exchange knows."""
        report, headers, attempts = self._known()
        return replace(
            response, report=report, request_id=request_id(headers), headers=headers, attempts=attempts
        )

    def _known(self) -> tuple[Report, Mapping[str, str], tuple[Replaced, ...]]:
        exchange, secrets = self.exchange, self.secrets + self._plan.secrets
        headers = {} if exchange is None else redact_headers(exchange.headers, secrets)
        attempts = self.replaced if exchange is None else self.replaced + exchange.attempts
        return self.report, headers, redact(attempts, secrets) if attempts else ()

    def conceal(self, error: ProviderError) -> ProviderError:
        """The error without secrets: as soon as it is caught, before a policy, a log or a condition sees it."""
        conceal(error, self.secrets + self._plan.secrets)
        return error

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


def _is_in_answer(error: ProviderError) -> bool:
    """Whether something of an answer came with an error: it has not come in place of one."""
    partial = error.partial if isinstance(error, APIError) else None
    return partial is not None and bool(partial.id or partial.message.content or partial.usage.total_tokens)


def _is_one_body(exchange: Exchange) -> bool:
    """Whether a streamed answer came as one body after all: some services ignore `stream`."""
    return exchange.headers.get("content-type", "").lower().startswith(_ONE_BODY)
