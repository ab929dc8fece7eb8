"""The one road: sign and send what was planned, frame, decode.

`chat` sends a plan and collects; `Flight` sends it and gives events batch by batch.
Both colours and both forms, streamed and whole, go this way. The loop's one timer looks at the clocks (see `watch`);
none is touched per event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from brainwires_provider._core.deadlines import Clocks
from brainwires_provider._core.plan import Plan
from brainwires_provider._core.timer import Watch, watch_of
from brainwires_provider.auth.keys import header_secrets, redact, resolve_headers, resolve_key
from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    FramingError,
    NotFoundError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    StreamInterrupted,
    StreamTimeout,
)
from brainwires_provider.events import Collector, Event
from brainwires_provider.framing.base import Framing
from brainwires_provider.protocols.base.bodies import feed_rest, request_id
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.protocol import Decoder, Reply
from brainwires_provider.providers import Target
from brainwires_provider.transports.base import Exchange, Outgoing, Wire
from brainwires_provider.types import Report, Response

if TYPE_CHECKING:
    import asyncio  # a seventh of what a client weighs: loaded with the first request

__all__ = ["Flight", "Road", "chat", "fetch", "fetch_as"]

T = TypeVar("T")

_DRAIN_SECONDS = 1.0
_DRAIN_BYTES = 65_536
_ERROR_BYTES = 1_048_576


class Road(Protocol):
    """What the road needs of a client."""

    max_event_bytes: int

    async def wire(self, target: Target) -> Wire:
        """The wire that reaches a target."""
        ...

    def flight(self, plan: Plan, decoder: Decoder | None = None) -> Flight:
        """A plan under way: over HTTP, or over a socket where the row has one."""
        ...


async def chat(plan: Plan, road: Road) -> Response:
    """One whole answer. Raises every ProviderError."""
    flight = road.flight(plan)
    try:
        events = await flight.pull()
        collector = Collector()
        collector.feed_all(events)
        while not flight.landed:
            collector.feed_all(await flight.pull())
        return flight.finished(collector)
    finally:
        flight.abort()


async def fetch(plan: Plan, road: Road) -> bytes:
    """The body of a call that is no chat. Raises every ProviderError."""
    return await Flight(plan, road).fetch(bytes)


async def fetch_as(plan: Plan, road: Road, read: Callable[[bytes], T]) -> T:
    """What `read` makes of the body of a call that is no chat. Raises every ProviderError."""
    return await Flight(plan, road).fetch(read)


class Flight:
    """One request under way. `pull` gives the next events; `partial` is what has arrived so far.

    A `decoder` that has begun an answer goes on with it.
    """

    def __init__(
        self, plan: Plan, road: Road, decoder: Decoder | None = None, clocks: Clocks | None = None
    ) -> None:
        self._plan = plan
        self._road = road
        self._exchange: Exchange | None = None
        self._framing: Framing | None = None
        self._secrets: tuple[str, ...] = ()
        self._watch: Watch | None = None
        self._expired: Any = None
        self._failed: ProviderError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None  # while it takes off: what a clock cancels
        self._clocks = clocks
        self._begun = False
        self._goes_on = decoder is not None
        self._decoder = decoder
        self.landed = decoder is not None and decoder.ended

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

    # -- what the caller sees ----------------------------------------------------------------------------

    async def pull(self) -> list[Event]:
        """The next events, at least one; none once the answer has ended. A failure closes the exchange."""
        if self.landed:
            return []
        try:
            if not self._begun:
                self._begun = True
                await self._take_off()
                if early := await self._begin():
                    return early
            if self._failed is not None:
                raise self._failed
            if self.decoder.ended:
                await self._land()
                return []
            return await self._next()
        except ProviderError as error:
            self.abort()
            raise self._explained(error) from None
        except BaseException:
            self.abort()
            raise

    async def fetch(self, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the whole body, for calls that are no chat."""
        try:
            await self._take_off()
            if self._is_refused():
                raise await self._refusal()
            body = await self._read_all()
            self._let_go()
            return read(body)
        except ProviderError as error:
            raise self._explained(error) from None
        finally:
            self.abort()

    def partial(self) -> Response:
        """What has arrived so far, with what the wire knows."""
        return self._dressed(self.decoder.partial())

    def finished(self, collector: Collector) -> Response:
        """The whole answer."""
        exchange = self._exchange
        headers: Mapping[str, str] = exchange.headers if exchange else {}
        return collector.response(
            provider=self._plan.target.provider,
            report=self.report,
            request_id=request_id(headers),
            headers=headers,
            attempts=exchange.attempts if exchange else (),
        )

    @property
    def report(self) -> Report:
        """What became of the request's fields."""
        return self._plan.report

    def abort(self) -> None:
        """Leave now. What was read to its end keeps its connection, everything else drops it."""
        if self.landed:
            return
        self._disarm()
        self.landed = True
        if self._exchange is not None:
            self._exchange.abort()

    async def leave(self) -> None:
        """Leave in good order: after the answer's end the connection is kept, before it dropped."""
        if self._exchange is not None and not self.landed and self.decoder.ended:
            await self._land()
        self.abort()

    # -- taking off --------------------------------------------------------------------------------------

    async def _begin(self) -> list[Event]:
        """The answer's head is there: the events of an answer that comes as one body."""
        if self._is_refused():
            raise await self._refusal()
        if self._plan.stream and not self._is_whole():
            self._framing = self._plan.target.protocol.framing(self._road.max_event_bytes)
            return []
        return self._whole(await self._read_all())

    async def _take_off(self) -> None:
        """`_depart`, by the clocks."""
        import asyncio

        loop = self._loop = asyncio.get_running_loop()
        task = self._task = asyncio.current_task()
        assert task is not None
        others = task.cancelling()
        self._clocks = self._clocks or Clocks(self._plan.timeouts, loop.time())
        self._watch = watch_of(loop)
        self._arm()
        try:
            await self._depart()
        except asyncio.CancelledError:
            # Ours, unless somebody else has cancelled too: theirs goes first.
            if self._expired is not None and task.uncancel() <= others:
                raise self._timed_out(self._expired) from None
            raise
        finally:
            self._task = None

    async def _depart(self) -> None:
        """Sign and send."""
        plan, target = self._plan, self._plan.target
        key = "" if target.key is None else await resolve_key(target.key, target.provider)
        self._secrets = (key,) if key else ()
        own: Mapping[str, str] = {}
        if target.headers:
            own = await resolve_headers(target.headers, target.provider)
            self._secrets += header_secrets(target.headers, own)
        if target.row.host_by_key:
            plan = replace(plan, target=target.at_home_of(key))
        url, headers, body = plan.url, plan.headers(key, own), plan.body()
        if target.auth is not None:
            headers |= await target.auth.headers(plan.call.method, url, headers, body)
            self._secrets += target.auth.secrets
        wire = await self._road.wire(target)
        outgoing = Outgoing(plan.call.method, url, headers, body, plan.timeouts.connect)
        self._exchange = await wire.open(outgoing)

    def _is_refused(self) -> bool:
        assert self._exchange is not None
        return not 200 <= self._exchange.status < 300

    async def _refusal(self) -> APIError:
        exchange = self._exchange
        assert exchange is not None
        if 300 <= exchange.status < 400:
            return APIError(_redirected(exchange), status=exchange.status)
        body = await self._read_some(_ERROR_BYTES)
        return self._plan.target.protocol.decode_error(
            Reply(exchange.status, exchange.headers, body, time.time())
        )

    def _is_whole(self) -> bool:
        """Whether a streamed answer came as one body after all: some services ignore `stream`."""
        assert self._exchange is not None
        kind = self._exchange.headers.get("content-type", "").lower()
        return kind.startswith(("application/json", "text/html"))

    # -- the clocks --------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Be watched until the next clock's end. Done at the start, at the first event, and by `ring` itself."""
        assert self._clocks is not None and self._loop is not None and self._watch is not None
        due = self._clocks.next_due(self._loop.time())
        if due is not None:
            self._watch.add(self, due[0])

    def _disarm(self) -> None:
        if self._watch is not None:
            self._watch.drop(self)

    def next_look(self, now: float) -> float | None:
        """When the next clock runs out."""
        assert self._clocks is not None
        due = self._clocks.next_due(now)
        return None if due is None else due[0]

    def ring(self) -> None:
        """A clock has run out, unless something has come in the meantime."""
        assert self._clocks is not None and self._loop is not None
        self._expired = self._clocks.expired(self._loop.time())
        if self._expired is None:
            self._arm()
        elif self._task is not None:
            self._task.cancel()
        elif self._exchange is not None:
            self._exchange.abort()

    def _timed_out(self, clock: Any) -> ProviderError:
        limit = getattr(self._plan.timeouts, clock)
        begun = self._clocks is not None and self._clocks.begun
        if not begun:
            return RequestTimeout(f"no answer began within {limit} s (Timeouts.{clock})", clock=clock)
        return StreamTimeout(
            f"the answer stalled: the {clock} clock of {limit} s ran out", clock=clock, partial=self.partial()
        )

    # -- reading -----------------------------------------------------------------------------------------

    async def _next(self) -> list[Event]:
        clocks = self._clocks
        assert clocks is not None and self._loop is not None
        clocks.waiting_since = self._loop.time()
        while True:
            events: list[Event] = []
            try:
                await self._feed(events)
            except ProviderError as error:
                if not events:
                    raise
                self._failed = error  # what came before it in the same chunk is delivered first
            if events:
                if not clocks.begun:
                    clocks.begun = True
                    self._arm()
                clocks.waiting_since = None
                return events

    async def _feed(self, events: list[Event]) -> None:
        """Read once, and add what it decodes to."""
        framing, decoder = self._framing, self.decoder
        assert framing is not None
        chunk = await self._read()
        if not chunk:
            feed_rest(decoder, *framing.finish(), events)
            return
        for message in framing.feed(chunk):
            if decoder.ended:
                break
            events += decoder.feed(message)

    async def _read(self) -> bytes:
        assert self._exchange is not None
        if self._expired is None:
            try:
                return await self._exchange.read()
            except StreamInterrupted:
                if self._expired is None:
                    raise
        raise self._timed_out(self._expired)

    async def _read_all(self) -> bytes:
        limit = self._road.max_event_bytes
        body = await self._read_some(limit + 1)
        if len(body) > limit:
            raise FramingError(f"the body exceeds {limit} bytes; raise max_event_bytes to take it")
        return body

    async def _read_some(self, limit: int) -> bytes:
        exchange = self._exchange
        assert exchange is not None
        chunks: list[bytes] = []
        size = 0
        while size < limit and (chunk := await self._read()):
            chunks.append(chunk)
            size += len(chunk)
            if exchange.ended:
                break
            if self._clocks is not None and self._loop is not None:
                self._clocks.waiting_since = self._loop.time()
        return b"".join(chunks)

    def _whole(self, body: bytes) -> list[Event]:
        if not body or body.isspace():
            raise ProtocolError("the provider answered with an empty body")
        kind = self._exchange.headers.get("content-type", "") if self._exchange else ""
        if kind.lower().startswith("text/html"):
            raise ProtocolError(f"the provider answered with {looks_like(body)}; check base_url")
        events = self.decoder.feed_whole(body)
        self._let_go()
        return events

    def _let_go(self) -> None:
        """The body was read to its end."""
        self._disarm()
        self.landed = True
        if self._exchange is not None:
            self._exchange.release()

    async def _land(self) -> None:
        """Read on to the body's end, bounded, so that the connection can be used again."""
        exchange = self._exchange
        assert exchange is not None
        import asyncio

        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                size = 0
                while size < _DRAIN_BYTES and (chunk := await exchange.read()):
                    size += len(chunk)
        except (TimeoutError, StreamInterrupted):
            pass
        self._let_go()

    # -- telling what happened ---------------------------------------------------------------------------

    def _dressed(self, response: Response) -> Response:
        exchange = self._exchange
        if exchange is None:
            return replace(response, report=self.report)
        return replace(
            response,
            report=self.report,
            request_id=request_id(exchange.headers),
            headers=exchange.headers,
            attempts=exchange.attempts,
        )

    def _explained(self, error: ProviderError) -> ProviderError:
        """The same error with what the road knows: where, which request, and what to do; the key taken out."""
        target, exchange = self._plan.target, self._exchange
        error.provider = error.provider or target.provider
        error.model = error.model or target.model
        if exchange is not None:
            error.request_id = error.request_id or request_id(exchange.headers)
        partial = getattr(error, "partial", None)
        if isinstance(error, (StreamInterrupted, ProtocolError, APIError)) and exchange is not None:
            begun = self._clocks is not None and self._clocks.begun
            if partial is None and (begun or self._goes_on):
                partial = self.decoder.partial()
            error.partial = None if partial is None else self._dressed(partial)
        if isinstance(error, APIError):
            if error.status is None and exchange is not None:
                error.status = exchange.status
            error.body = redact(error.body, self._secrets)
            error.code, error.type = redact(error.code, self._secrets), redact(error.type, self._secrets)
        error.message = redact(
            f"{target.provider}: {error.message}{_advice(error, self._plan)}", self._secrets
        )
        error.args = (error.message,)
        return error


def _advice(error: ProviderError, plan: Plan) -> str:
    """What to do, where the error's kind tells."""
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


def _redirected(exchange: Exchange) -> str:
    place = urlsplit(exchange.headers.get("location", ""))
    where = (
        f" to {place.scheme}://{place.hostname}{place.path}"
        if place.hostname
        else f" to {place.path or 'nowhere'}"
    )
    return (
        f"the server redirects{where} (HTTP {exchange.status}), which is not followed, because the key would go "
        "along; set base_url to the address that answers"
    )
