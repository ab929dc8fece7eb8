"""One pooled WebSocket as a set of lanes, and the exchange of one request on a lane.

Where the server multiplexes, a frame names its lane; where it does not, the connection has one lane without a name. A
lane serves one request at a time. The connection's reader never waits: it puts each frame into the exchange that it
belongs to, from which a consumer takes them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from brainwires_provider.errors import FramingError, ProtocolError, StreamInterrupted
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.transports.websocket import ConnectionOwner, FrameRules, LaneRequest, Peek
from brainwires_provider.transports.websocket.connection import Closed, Link, LinkLost
from brainwires_provider.types import Attempt, Continuation
from brainwires_provider.types.websocket import WebSocketOptions

__all__ = ["Lane", "LaneExchange", "PooledConnection"]

_REMEMBERED = 256  # ids of answers that have ended, by which a late event is recognised


class Lane:
    """One after another, the requests that share a name on a connection; `name` is None for the unnamed lane."""

    __slots__ = ("connection", "exchange", "guard", "name", "used")

    def __init__(self, connection: PooledConnection, name: str | None) -> None:
        self.connection = connection
        self.name = name
        self.exchange: LaneExchange | None = None
        self.used = 0.0
        self.guard: asyncio.Future[None] | None = None
        """While a fork reads this lane's last answer: it must not advance."""

    def take(self, now: float) -> LaneExchange:
        """Begin an exchange."""
        assert self.exchange is None
        self.used = now
        self.exchange = LaneExchange(self)
        return self.exchange


class LaneExchange:
    """See `transports.base.Exchange`: one request on a lane, from before it is sent until its answer has ended."""

    __slots__ = (
        "_connection",
        "_frames",
        "_size",
        "_waiter",
        "aborted",
        "began",
        "closed",
        "continuation",
        "ended",
        "found",
        "guarded",
        "is_foreign",
        "is_unnamed",
        "lane",
        "over",
        "overflowed",
        "oversize",
        "request",
        "response_id",
        "sent",
    )

    status = None
    ok = framed = clean = True
    attempts: tuple[Attempt, ...] = ()

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._connection = lane.connection
        self._frames: deque[WireMessage] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self.request: LaneRequest | None = None
        self.found: Any = None
        self.continuation: Continuation | None = None
        self.sent = False
        self.began = False
        """The server has begun to answer."""
        self.ended = self.over = False
        self.aborted = False
        self.oversize = False
        """The request is larger than what the endpoint takes in one frame."""
        self.overflowed = False
        self.is_foreign = False
        """An event of another answer came, named as this one's: nothing that follows can be trusted."""
        self.is_unnamed = False
        """Several requests wait, and an answer does not say whose it is."""
        self.closed: Closed | None = None
        self.response_id: str | None = None
        self.guarded: Lane | None = None
        """The lane whose last answer this one forks."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer to the handshake."""
        link = self._connection.link
        return {} if link is None else link.headers

    @property
    def is_continued(self) -> bool:
        """Whether only the end of the history was sent."""
        return self.found is not None and self.found.place is not None

    @property
    def is_reused(self) -> bool:
        """Whether its connection had answered before."""
        return self._connection.answered > 0

    # -- the reader's side: never waits ------------------------------------------------------------------

    def deliver(self, frame: bytes, seen: Peek | None) -> None:
        """A frame of this lane. `seen` is None for one that cannot be read, which the decoder will report."""
        rules = self._connection.rules
        if seen is not None and not self._is_ours(seen, rules):
            self._connection.count_orphan()
            return
        kind = "" if seen is None else seen.type
        if kind in rules.parent_read:
            self.unguard()
        if self.is_foreign:
            self.wake()
            return
        if not self.aborted and not self.overflowed:
            self._put(frame)
        if kind in rules.ends:
            self.ended = True
            self.unguard()
            self._connection.answer_ended(self, is_error=kind == rules.error)

    def _is_ours(self, seen: Peek, rules: FrameRules) -> bool:
        stated = seen.answer_id
        if stated is not None and stated != self.response_id and seen.type.startswith(rules.prefix):
            if self._connection.has_ended(stated):
                return False
            self.is_foreign = self.is_foreign or self.response_id is not None
        if not self.began:
            if seen.type in rules.begins or seen.type in rules.refuses:
                self.began = True
                self.response_id = stated
            else:
                # A piece of an answer that has not begun is another's; what is no answer's is kept.
                return not seen.type.startswith(rules.prefix)
        return True

    def _put(self, frame: bytes) -> None:
        self._size += len(frame)
        if self._size > self._connection.max_buffered:
            self.overflowed = True  # what waits already is still read: it had arrived
        else:
            self._frames.append(WireMessage(frame))
        self.wake()

    def lose(self, closed: Closed) -> None:
        """The connection is over."""
        if not self.ended:
            self.closed = closed
            self.unguard()
            self.wake()

    def wake(self) -> None:
        """Let a waiting `messages` look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def unguard(self) -> None:
        """The answer that this one forks is safe now, or no longer needed."""
        lane, self.guarded = self.guarded, None
        if lane is not None and lane.guard is not None:
            guard, lane.guard = lane.guard, None
            if not guard.done():
                guard.set_result(None)

    # -- the consumer's side -----------------------------------------------------------------------------

    async def send(self) -> None:
        """Send the request. Raises StreamInterrupted, and ProtocolError for one that is too large (`oversize`)."""
        connection = self._connection
        if connection.is_unnamed and any(other.sent for other in connection.exchanges()):
            self.is_unnamed = True
            raise self._lost()
        assert self.request is not None
        frame = self.request.frame(self.lane.name, self.found)
        limit = connection.pool.options.max_request_bytes
        if len(frame) > limit:
            self.oversize = True
            raise ProtocolError(
                f"the request is larger than the {limit} bytes that are sent over the WebSocket, and HTTP is switched "
                "off (WebSocketOptions.http_fallback)"
            )
        self.sent = True
        assert connection.link is not None
        try:
            await connection.link.send(frame)
        except LinkLost as error:
            self.closed = connection.closed or error.closed
            raise self._lost() from None
        self.continuation = self.request.continuation(self.found)
        connection.pool.counters.count_sent(continued=self.is_continued)

    async def messages(self) -> list[WireMessage]:
        """The next frames, at least one; none after the answer's end, when it is `over`.

        Raises StreamInterrupted, FramingError (a frame over the limit), ProtocolError (another answer's event).
        """
        while not self._frames:
            if self.ended and not (self.overflowed or self.is_foreign):
                self.over = True
                return []
            self._check()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        messages = list(self._frames)
        self._frames.clear()
        self._size = 0
        return messages

    def _check(self) -> None:
        """Raise if nothing more can come."""
        if self.overflowed:
            raise StreamInterrupted(
                f"more than {self._connection.max_buffered} bytes of the answer waited for their consumer "
                "(WebSocketOptions.max_buffered_bytes): read faster, or raise it",
                how="overflow",
            )
        if self.is_foreign:
            raise ProtocolError(f"an event of another answer came during {self.response_id}")
        if self.closed is not None or self.aborted or self.is_unnamed:
            raise self._lost()

    @property
    def loss(self) -> str:
        """Why nothing more comes."""
        if self.is_unnamed and not self.began:
            return "the server names no lanes, and several requests were in progress"
        return "the connection was lost" if self.closed is None else self.closed.words

    def _lost(self) -> Exception:
        closed = self.closed
        if closed is not None and closed.how == "too_big_in":
            limit = self._connection.pool.max_event_bytes
            return FramingError(f"an event exceeds {limit} bytes; raise max_event_bytes to take it")
        code = None if closed is None else closed.code
        return StreamInterrupted(
            f"{self.loss} before the answer ended", how="reset" if code is None else str(code)
        )

    async def body(self, limit: int) -> bytes:
        """There is none: every answer is a series of messages."""
        return b""

    async def drain(self) -> None:
        """The answer was read to its end: the lane is free, and holds what can be continued."""
        if self.lane.exchange is self and not self.aborted:
            self.unguard()
            self._connection.free(self.lane, None if self.request is None else self.request.head())

    def release(self) -> None:
        """Nothing is left to do: `drain` gives the lane back."""

    def abort(self) -> None:
        """Nobody wants the rest; a waiting `messages` raises. May be called at any time, and more than once."""
        if self.aborted or self.lane.exchange is not self:
            return
        if self.ended:
            self.unguard()
            self._connection.free(self.lane, None)
            return
        self.aborted = True
        self._frames.clear()
        self.unguard()
        self.wake()
        self._connection.give_up(self)


class PooledConnection:
    """A connection of a pool. Made before its link, which calls `on_frame` and `on_close`."""

    def __init__(self, pool: ConnectionOwner, loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self.rules = pool.rules
        self._loop = loop
        self._ended: deque[str] = deque(maxlen=_REMEMBERED)
        self._ended_ids: set[str] = set()
        self.link: Link | None = None
        self.opened = self.idle_since = loop.time()
        self.share = 0.0
        """Its part of the jitter."""
        self.lanes: dict[str | None, Lane] = {}
        self.closed: Closed | None = None
        self.answered = 0
        self.retiring = False
        """No request begins here any more; those in progress go on."""
        self._has_named = False
        """Whether the server has named a lane: else it may know of none."""
        self.is_unnamed = False
        """Whether it has begun an answer without a name, and so knows of none."""
        self.fit(pool.options)

    def fit(self, options: WebSocketOptions) -> None:
        """Take on, before the first request, what is known of the server."""
        self.has_lanes = options.multiplexing
        self.max_names = options.max_lanes if self.has_lanes else 1
        self.max_buffered = options.max_buffered_bytes

    # -- what it carries ---------------------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether a request can begin here."""
        return self.closed is None and not self.retiring and self.link is not None and self.link.is_open

    def exchanges(self) -> Iterator[LaneExchange]:
        """The requests in progress."""
        for lane in self.lanes.values():
            if lane.exchange is not None and not lane.exchange.ended:
                yield lane.exchange

    @property
    def is_busy(self) -> bool:
        """Whether anybody holds an exchange here, even one whose answer has ended."""
        return any(lane.exchange is not None for lane in self.lanes.values())

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for an answer here, or reads one."""
        return any(lane.exchange is not None and not lane.exchange.aborted for lane in self.lanes.values())

    @property
    def has_room(self) -> bool:
        """Whether one more answer may run."""
        options = self.pool.options
        most = options.max_concurrent if self.has_lanes and options.multiplexing else 1
        return self.is_usable and sum(1 for _ in self.exchanges()) < most

    def idle_lanes(self) -> Iterator[Lane]:
        """The lanes that no request holds, and no fork reads from."""
        for lane in self.lanes.values():
            if lane.exchange is None and lane.guard is None:
                yield lane

    def new_lane(self) -> Lane | None:
        """A lane of a name never used here; None when the names are used up."""
        if len(self.lanes) >= self.max_names:
            return None
        name = f"lane-{len(self.lanes)}" if self.has_lanes else None
        lane = self.lanes[name] = Lane(self, name)
        return lane

    # -- frames ------------------------------------------------------------------------------------------

    def on_frame(self, frame: bytes) -> None:
        """Called by the link's reader."""
        rules = self.rules
        seen = rules.peek(frame)
        if seen is None:
            for exchange in list(self.exchanges()):
                exchange.deliver(frame, None)
            return
        is_error = seen.type == rules.error
        if is_error and rules.is_age_limit(frame):
            self._limit_reached(frame, seen)
            return
        lane = self.lanes.get(seen.lane)
        if lane is None:
            for exchange in self._meant(seen, is_error=is_error):
                exchange.deliver(frame, seen)
            return
        self._has_named = self._has_named or self.has_lanes
        if lane.exchange is None:
            self.count_orphan()
            return
        lane.exchange.deliver(frame, seen)
        if is_error and rules.is_lane_limit(frame):
            self._names_used_up(lane)

    def _meant(self, seen: Peek, *, is_error: bool) -> list[LaneExchange]:
        """The requests that a frame without a name belongs to: one, or all that an error may concern."""
        exchanges = list(self.exchanges())
        if seen.lane is None and self.has_lanes and not self._has_named:
            return self._only(seen, [each for each in exchanges if each.sent], is_error=is_error)
        if not is_error or seen.lane is not None:
            self.count_orphan()
            return []
        waiting = [each for each in exchanges if each.sent and not each.began]
        if not waiting and len(exchanges) > 1:
            self.retire()  # about the connection: what has begun may still end well
            return []
        return waiting or exchanges

    def _only(self, seen: Peek, exchanges: list[LaneExchange], *, is_error: bool) -> list[LaneExchange]:
        """Of a frame without a name, from a server that has named none: it is the only request's, or nobody's.

        An answer that begins so, or an error while several wait, ends multiplexing: requests that nothing has come of
        are sent again, one per connection.
        """
        is_answer = is_error or seen.type in self.rules.begins or seen.type in self.rules.ends
        if len(exchanges) == 1:
            if is_answer and not is_error:
                self.is_unnamed = True
                self.pool.without_lanes()
            return exchanges
        if not exchanges or not is_answer:
            self.count_orphan()
            return []
        self.pool.without_lanes()
        for exchange in exchanges:
            exchange.is_unnamed = True
            exchange.wake()
        self.abort()
        return []

    def _limit_reached(self, frame: bytes, seen: Peek) -> None:
        """The connection has reached its age: who has not begun goes elsewhere, who has may still end well."""
        named = self.lanes.get(seen.lane) if seen.lane is not None else None
        for exchange in list(self.exchanges()):
            if exchange.sent and (exchange.lane is named or not exchange.began):
                exchange.deliver(frame, seen)
        self.retire()
        self.pool.limit_reached(self, self.rules.age_limit(frame))

    def _names_used_up(self, lane: Lane) -> None:
        """The names that the server took before go on; this one was not taken."""
        del self.lanes[lane.name]
        self.max_names = len(self.lanes)
        if not self.lanes:
            self.retire()

    def has_ended(self, response_id: str) -> bool:
        """Whether an answer of this id has ended here already."""
        return response_id in self._ended_ids

    def count_orphan(self) -> None:
        """An event that belongs to no request came."""
        self.pool.counters.orphaned += 1

    def answer_ended(self, exchange: LaneExchange, *, is_error: bool) -> None:
        """The last event of an answer has come."""
        self.answered += 1
        if exchange.response_id is not None:
            if len(self._ended) == self._ended.maxlen:
                self._ended_ids.discard(self._ended[0])
            self._ended.append(exchange.response_id)
            self._ended_ids.add(exchange.response_id)
        if is_error and not self.pool.options.reuse_after_error:
            self.retire()
        if exchange.aborted:
            self.free(exchange.lane, None)

    # -- exchanges given back ----------------------------------------------------------------------------

    def free(self, lane: Lane, head: Any) -> None:
        """A lane's exchange is over; `head` is what its server holds, if it can be continued."""
        lane.exchange = None
        lane.used = self.idle_since = self._loop.time()
        if self.retiring and not self.is_wanted:
            self.abort()
        self.pool.lane_free(self, lane, head)

    def give_up(self, exchange: LaneExchange) -> None:
        """With lanes the rest is read and dropped; without, nothing can follow it but a new connection."""
        if self.closed is not None or not exchange.sent:
            self.free(exchange.lane, None)
            return
        self.pool.counters.abandoned += 1
        if not self.has_lanes or (self.retiring and not self.is_wanted):
            self.abort()
        else:
            self._loop.call_later(self.pool.options.drain_timeout, self._drained, exchange)

    def _drained(self, exchange: LaneExchange) -> None:
        if exchange.lane.exchange is exchange:
            self.retire()

    # -- the connection ----------------------------------------------------------------------------------

    def retire(self) -> None:
        """Begin nothing here any more; the connection is closed once nobody wants anything of it."""
        if not self.retiring:
            self.retiring = True
            self.pool.connection_retired(self)
        if not self.is_wanted:
            self.abort()

    def on_close(self, closed: Closed) -> None:
        """Called by the link, once."""
        if self.closed is not None:
            return
        self.closed = closed
        for lane in self.lanes.values():
            if lane.exchange is not None:
                lane.exchange.lose(closed)
                if lane.exchange.aborted:
                    lane.exchange = None
        self.pool.connection_lost(self)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.link is not None:
            self.link.abort()

    async def aclose(self) -> None:
        """Close with a closing handshake."""
        if self.link is not None:
            await self.link.aclose()
