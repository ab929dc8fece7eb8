"""A request under way over a socket: the same face as one over HTTP.

Before the caller has seen anything, a failure takes the next rung of the ladder; afterwards it goes to the caller,
with what had arrived. The start of an answer is held back until something of it comes: it commits to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from msgspec.structs import replace

from brainwires_provider._core.attempt import Flight, Road
from brainwires_provider._core.plan import Plan
from brainwires_provider.auth.keys import redact
from brainwires_provider.errors import (
    APIError,
    ConnectError,
    FramingError,
    ProtocolError,
    ProviderError,
    RequestTimeout,
    StreamInterrupted,
)
from brainwires_provider.events import Collector, Event, ResponseEnd, ResponseStart
from brainwires_provider.protocols.base.bodies import request_id
from brainwires_provider.protocols.openai_responses.continuation import (
    Head,
    Miss,
    Outline,
    head_of,
    items_of,
    outline,
)
from brainwires_provider.protocols.openai_responses.response import ResponsesDecoder
from brainwires_provider.protocols.openai_responses.ws import answer_items, create_frame
from brainwires_provider.sockets.ladder import Oversize, Rung, refusal_error, rung_for
from brainwires_provider.sockets.pool import Lease, Pool
from brainwires_provider.sockets.seats import Lost, Unnamed
from brainwires_provider.transports.websocket.connection import HandshakeRefused
from brainwires_provider.types import Attempt, Continuation, Report, Response

if TYPE_CHECKING:
    from brainwires_provider.transports.websocket.connection import Closed

__all__ = ["SocketFlight", "SocketRoad"]


class SocketRoad(Road, Protocol):
    """What a socket's flight needs of a client."""

    def pool(self, plan: Plan) -> Pool:
        """The pool that a plan's request goes through."""
        ...


class SocketFlight(Flight):
    """See `flow.Flight`. `generate=False` only prepares the server for what comes next."""

    def __init__(self, plan: Plan, road: SocketRoad, *, generate: bool = True) -> None:
        super().__init__(plan, road)
        self._sockets = road
        self._generate = generate
        self._pool: Pool | None = None
        self._lease: Lease | None = None
        self._over_http: Flight | None = None
        self._attempts: list[Attempt] = []
        self._used: frozenset[Rung] = frozenset()
        self._whole_only = False
        self._reused = False
        self._early: list[Event] = []
        self._headers: Mapping[str, str] = {}
        self._continuation: Continuation | None = None
        self._asked: Outline | None = None
        self._end: ResponseEnd | None = None

    # -- sending -----------------------------------------------------------------------------------------

    async def pull(self) -> list[Event]:
        if self._over_http is not None:
            return await self._on_http(self._over_http)
        return await super().pull()

    async def _begin(self) -> list[Event]:
        if self._over_http is not None:
            self._disarm()  # its own clocks go on
        assert self._clocks is not None and self._loop is not None
        self._clocks.begun = True
        if self._over_http is None:
            self._clocks.waiting_since = None
            self._arm()
        early, self._early = self._early, []
        return early

    async def _depart(self) -> None:
        """Send, and wait for the first events; take one rung after another until one holds."""
        self._pool = self._sockets.pool(self._plan)
        assert self._loop is not None
        if self._loop.time() < self._pool.http_until:
            await self._go_over_http(Rung.HTTP)
            return
        while True:
            try:
                await self._attempt(self._pool)
                return
            except (ProviderError, HandshakeRefused, Lost, Unnamed, Oversize) as error:
                rung = self._next_rung(error)
                if rung is None:
                    self._give_up_seat()
                    self._raise(error)
                self._give_up_seat()
                words = redact(self._words(error), self._pool.secrets)
                self._attempts.append(Attempt(f"{words}; {rung.value}", _status(error)))
                await self._take(rung)
                if self._over_http is not None:
                    return
            except BaseException:
                self._give_up_seat()
                raise

    async def _attempt(self, pool: Pool) -> None:
        body = self._plan.call.body
        items: Sequence[Mapping[str, Any]] = items_of(body)
        if self._asked is None:
            self._asked = outline(body)
        lease = self._lease = await pool.lease(
            self._asked, items, whole=self._whole_only, fork=self._plan.fork
        )
        self._reused = lease.seat.line.answered > 0
        self._headers = lease.seat.line.headers
        frame = create_frame(
            body,
            stream_id=lease.seat.lane.name,
            parent=lease.parent,
            tail=None if lease.parent is None else items[lease.tail :],
            generate=None if self._generate else False,
        )
        if len(frame) > pool.traits.max_frame:
            raise Oversize
        await lease.seat.send(frame)
        self._note(pool, lease, len(items))
        self.decoder = ResponsesDecoder(self._plan.target.origin, watchful=True)
        await self._first_events(lease)

    async def _first_events(self, lease: Lease) -> None:
        """Wait for more than the answer's start. An error after something came is told after it."""
        events: list[Event] = []
        while not events or (len(events) == 1 and type(events[0]) is ResponseStart):
            try:
                await self._feed(events)
            except ProviderError as error:
                if len(events) < 2:
                    raise
                self._failed = error
            if self.decoder.ended:
                break
        self._early = events

    def _note(self, pool: Pool, lease: Lease, count: int) -> None:
        if lease.parent is None:
            missed = lease.missed or Miss("first", "nothing was sent before")
            if not self._whole_only:
                pool.counters.missed(missed.code)
            pool.counters.whole += 1
            self._continuation = Continuation(count, count, reason=missed.reason)
        else:
            pool.counters.delta += 1
            self._continuation = Continuation(count - lease.tail, count, lease.parent)

    # -- the ladder --------------------------------------------------------------------------------------

    def _next_rung(self, error: Exception) -> Rung | None:
        assert self._pool is not None
        key = self._plan.target.key
        return rung_for(
            error,
            traits=self._pool.traits,
            used=self._used,
            connected=self._lease is not None,
            reused=self._reused,
            continued=self._lease is not None and self._lease.parent is not None,
            fresh_key=key is not None and not isinstance(key, str),
        )

    async def _take(self, rung: Rung) -> None:
        """Make ready for the next try."""
        pool = self._pool
        assert pool is not None and self._loop is not None
        self._used |= {rung}
        self._whole_only = True
        match rung:
            case Rung.WHOLE:
                pool.counters.recovered += 1
            case Rung.ROTATE | Rung.RECONNECT:
                pool.counters.reconnected += 1
            case Rung.NO_LANES:
                pool.without_lanes()
            case Rung.HTTP:
                pool.http_until = self._loop.time() + pool.traits.fallback
                try:
                    await self._go_over_http(rung)
                except (ConnectError, RequestTimeout):
                    # Nothing answers there either: a WebSocket may be as good.
                    pool.http_until = float("-inf")
                    raise
            case Rung.HTTP_ONCE:
                await self._go_over_http(rung)
            case Rung.OTHER_LANE | Rung.NEW_KEY:
                pass

    def _give_up_seat(self) -> None:
        if self._lease is not None:
            self._lease.seat.leave()
            self._lease = None

    async def _go_over_http(self, rung: Rung) -> None:
        pool = self._pool
        assert pool is not None
        pool.counters.fell_back += 1
        if not self._attempts:
            self._attempts.append(Attempt(rung.value))
        self._continuation = None
        self._over_http = Flight(self._plan, self._sockets, clocks=self._clocks)
        self._early = await self._on_http(self._over_http)

    async def _on_http(self, flight: Flight) -> list[Event]:
        try:
            return await flight.pull()
        finally:
            self.decoder, self.landed = flight.decoder, flight.landed

    def _raise(self, error: Exception) -> NoReturn:
        if isinstance(error, HandshakeRefused):
            self._headers = error.headers
            raise refusal_error(error, self._plan.target.protocol, time.time()) from None
        if isinstance(error, Lost):
            raise self._interrupted(error) from None
        if isinstance(error, Oversize):
            assert self._pool is not None
            raise ProtocolError(
                f"the request is larger than the {self._pool.traits.max_frame} bytes that go over the WebSocket, and "
                "HTTP is switched off (SocketTraits.http_fallback)"
            ) from None
        raise error

    def _words(self, error: Exception) -> str:
        if isinstance(error, HandshakeRefused):
            return f"the handshake was refused with status {error.status}"
        if isinstance(error, Lost):
            return _how_lost(error.closed)
        if isinstance(error, Unnamed):
            return "the server names no lanes, and several requests were under way"
        return "the request is too large for one frame" if isinstance(error, Oversize) else str(error)

    def _interrupted(self, lost: Lost) -> ProviderError:
        if lost.closed is not None and lost.closed.how == "too_big_in":
            limit = self._sockets.max_event_bytes
            return FramingError(f"an event exceeds {limit} bytes; raise max_event_bytes to take it")
        code = lost.closed.code if lost.closed is not None else None
        return StreamInterrupted(
            f"{_how_lost(lost.closed)} before the answer ended",
            how="reset" if code is None else str(code),
            partial=self.decoder.partial() if lost.begun else None,
        )

    # -- reading -----------------------------------------------------------------------------------------

    async def _feed(self, events: list[Event]) -> None:
        assert self._lease is not None
        try:
            messages = await self._lease.seat.messages()
        except Lost as lost:
            if self._task is not None:
                raise  # the ladder's
            raise self._timed_out(self._expired) if self._expired else self._interrupted(lost) from None
        decoder = self.decoder
        for message in messages:
            events += decoder.feed(message)
        if not messages:
            events += decoder.finish()
        if decoder.ended and events and type(events[-1]) is ResponseEnd:
            self._end = events[-1]

    def ring(self) -> None:
        super().ring()
        if self._expired is not None and self._task is None:
            self._stop()

    def _stop(self) -> None:
        """Make a waiting read end: its clock has run out."""
        if self._lease is not None:
            self._lease.seat.expire()

    async def _land(self) -> None:
        """The answer has ended, and the caller has taken the last of it: it can be continued now."""
        self._disarm()
        self.landed = True
        if self._lease is not None:
            self._lease.seat.release(self._head())

    def _head(self) -> Head | None:
        """What the answer stands for; None unless it completed."""
        plan, end = self._plan, self._end
        asked, id = self._asked, self.decoder.partial().id
        if end is None or end.raw_finish_reason != "completed" or id is None or asked is None:
            return None
        if asked.handle is not None:
            return None  # it goes on from something that was never seen here
        protocol = cast("Any", plan.target.protocol)
        items = answer_items(self.decoder.partial().message, plan.target.origin, protocol.quirks)
        return head_of(asked, items, id, stored=plan.call.body.get("store") is not False)

    def abort(self) -> None:
        if self._over_http is not None:
            self._over_http.abort()
        super().abort()
        self._give_up_seat()

    async def leave(self) -> None:
        if self._over_http is not None:
            await self._over_http.leave()
            self.abort()
        elif not self.landed and self._lease is not None and self.decoder.ended and self._end is not None:
            await self._land()
        else:
            self.abort()

    # -- telling -----------------------------------------------------------------------------------------

    @property
    def report(self) -> Report:
        return replace(self._plan.report, continuation=self._continuation)

    def partial(self) -> Response:
        if self._over_http is not None:
            return self._with_attempts(self._over_http.partial())
        return super().partial()

    def finished(self, collector: Collector) -> Response:
        if self._over_http is not None:
            return self._with_attempts(self._over_http.finished(collector))
        return collector.response(
            provider=self._plan.target.provider,
            report=self.report,
            request_id=request_id(self._headers),
            headers=self._headers,
            attempts=tuple(self._attempts),
        )

    def _dressed(self, response: Response) -> Response:
        told = replace(
            response, report=self.report, request_id=request_id(self._headers), headers=self._headers
        )
        return self._with_attempts(told)

    def _explained(self, error: ProviderError) -> ProviderError:
        if self._over_http is not None:
            return error  # HTTP has said it all
        if isinstance(error, APIError) and error.status is None:
            error.status = error.provider_status  # there is no other: the socket's own answer was 101
        if isinstance(error, (StreamInterrupted, ProtocolError, APIError)):
            partial = error.partial or self.decoder.partial()
            error.partial = self._dressed(partial) if error.partial or partial.id is not None else None
        if self._pool is not None:
            self._secrets = self._pool.secrets
        error.request_id = error.request_id or request_id(self._headers)
        return super()._explained(error)

    def _with_attempts(self, response: Response) -> Response:
        return replace(response, attempts=(*self._attempts, *response.attempts))


def _status(error: Exception) -> int | None:
    return getattr(error, "status", None)


def _how_lost(closed: Closed | None) -> str:
    if closed is None:
        return "the connection was lost"
    if closed.code is None:
        return f"the connection was lost ({closed.how})"
    reason = f", {closed.reason!r}" if closed.reason else ""
    return f"the connection was closed with code {closed.code}{reason}"
