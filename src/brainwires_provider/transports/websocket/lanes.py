"""One pooled WebSocket as a set of lanes.

Where the server multiplexes, a frame names its lane; where it does not, the connection has one lane without a name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from brainwires_provider.transports.websocket import ConnectionOwner, Peek
from brainwires_provider.transports.websocket.connection import Closed, Link
from brainwires_provider.transports.websocket.exchange import Lane, LaneExchange
from brainwires_provider.types.websocket import WebSocketOptions

__all__ = ["PooledConnection"]

_REMEMBERED = 256  # ids of answers that have ended, by which a late event is recognised


class PooledConnection:
    """A connection of a pool. Made before its link, which calls `on_frame` and `on_close`."""

    def __init__(self, pool: ConnectionOwner, loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self.rules = pool.rules
        self._loop = loop
        self._ended: dict[str, None] = {}
        self.link: Link | None = None
        self.opened = self.idle_since = loop.time()
        self.share = 0.0
        """Its part of the jitter."""
        self.lanes: dict[str | None, Lane] = {}
        self.closed: Closed | None = None
        self.works: bool | None = None
        """Whether the server has begun a response here; None until a request was sent."""
        self.retiring = False
        """No request begins here any more; those in progress go on."""
        self._has_failed = False
        self._has_named = False
        """Whether the server has named a lane: else it may know of none."""
        self.changes_ids = False
        """Whether events of one answer had different ids: what is late is then recognised by its type only."""
        self.is_unnamed = False
        """Whether it has begun an answer without a name, and so knows of none."""
        self.has_repeated_ids = False
        """Whether it has given several answers one id, which then proves little."""
        self.fit(pool.options, has_lanes=pool.options.multiplexing)

    def fit(self, options: WebSocketOptions, *, has_lanes: bool) -> None:
        """Take on, before the first request, what is known of the server."""
        self.has_lanes = has_lanes
        self.max_names = options.max_lanes if self.has_lanes else 1
        self.max_buffered = options.max_buffered_bytes

    @property
    def expires(self) -> float:
        """When it is to be replaced; each has another share of the jitter."""
        options = self.pool.options
        return self.opened + options.max_connection_age - options.age_jitter * self.share

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
        are_lanes_sure = options.multiplexing if self._has_named else self.pool.has_lanes
        most = options.max_concurrent if self.has_lanes and are_lanes_sure else 1
        return self.is_usable and sum(1 for _ in self.exchanges()) < most

    def idle_lanes(self) -> Iterator[Lane]:
        """The lanes that a request can take: no other holds one, and no fork reads from it."""
        for lane in self.lanes.values():
            if lane.exchange is None and lane.guard is None and not lane.is_spent:
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
            named = self.lanes.get(rules.lane_of(frame))
            for exchange in list(self.exchanges()):
                if named is None or exchange.lane is named:
                    exchange.deliver(frame, None, None)
            return
        is_error = seen.type == rules.error
        if seen.type in rules.refuses and rules.is_age_limit(frame):
            self._limit_reached(frame, seen)
            return
        lane = self.lanes.get(seen.lane)
        if lane is None:
            for exchange in self._meant(seen, is_error=is_error):
                exchange.deliver(frame, seen, seen.answer_id)
            return
        self._has_named = self._has_named or self.has_lanes
        if lane.exchange is None:
            self.count_orphan()
            return
        lane.exchange.deliver(frame, seen, seen.answer_id)
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

        An answer that begins so ends multiplexing; an error while several wait proves less, and ends it for a while.
        Requests that nothing has come of are sent again, one per connection.
        """
        is_answer = is_error or seen.type in self.rules.begins or seen.type in self.rules.ends
        if len(exchanges) == 1:
            if is_answer and not is_error:
                self.is_unnamed = True
                self.pool.without_lanes(for_good=True)
            return exchanges
        if not exchanges or not is_answer:
            self.count_orphan()
            return []
        self.pool.without_lanes(for_good=not is_error)
        for exchange in exchanges:
            exchange.is_unnamed = True
        self.abort()
        return []

    def _limit_reached(self, frame: bytes, seen: Peek) -> None:
        """The connection has reached its age: who has not begun goes elsewhere, who has may still end well."""
        is_of_one = seen.lane is not None or seen.type != self.rules.error
        named = self.lanes.get(seen.lane) if is_of_one else None
        for exchange in list(self.exchanges()):
            if exchange.sent and (exchange.lane is named or not exchange.began):
                exchange.deliver(frame, seen, seen.answer_id)
        self.retire()
        self.pool.limit_reached(self, self.rules.age_limit(frame))

    def _names_used_up(self, lane: Lane) -> None:
        """The names that the server took before go on; this one was not taken. Other connections will take no more."""
        del self.lanes[lane.name]
        self.max_names = len(self.lanes)
        self.pool.names_limited(self.max_names)
        if not self.lanes:
            self.retire()

    def has_ended(self, response_id: str) -> bool:
        """Whether an answer of this id has ended here already."""
        return response_id in self._ended

    def repeats_ids(self) -> bool:
        """An answer starts with the id of one that has ended. Without lanes that means that the server repeats ids."""
        if not self.has_lanes:
            self._ended.clear()
            self.has_repeated_ids = True
        return not self.has_lanes

    def is_over_after_error(self, response_id: str | None) -> bool:
        """Whether whatever comes of an answer after its error will be recognised.

        A `failed` may follow, which only its id distinguishes from the next answer's. Without lanes, an error before
        any answer is the refusal of the only request.
        """
        return not self.changes_ids and (response_id is not None or not self.has_lanes)

    def spend(self, lane: Lane) -> None:
        """More of an answer may come on this lane, so that no other begins there; without lanes, none begins here."""
        lane.is_spent = True
        spent = sum(1 for each in self.lanes.values() if each.is_spent)
        if not self._has_named or 2 * spent > self.max_names:
            self.retire()

    def begun(self, *, continued: bool) -> None:
        """The server has begun a response, which continues another, or has refused to."""
        if continued:
            self.pool.parents_lost = 0
        if not self.works:
            self.works = True
            self.pool.fallback.connection_works()

    def failed(self, closed: Closed) -> None:
        """The connection is over: does that mean that no WebSocket works here?"""
        is_ours = closed.how in ("ours", "loop") or closed.code == 1009
        if self.works is False and not self._has_failed and not is_ours:
            self._has_failed = True  # counted once
            self.pool.fallback.connection_failed()

    def count_orphan(self) -> None:
        """An event that belongs to no request came."""
        self.pool.counters.orphaned += 1

    def answer_ended(self, exchange: LaneExchange, stated: str | None, *, is_error: bool) -> None:
        """The last event of an answer has come; it may state another id than the first."""
        for name in (exchange.response_id, stated):
            if name is not None:
                self._ended[name] = None
        while len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        if is_error and not self.pool.options.reuse_after_error:
            self.retire()
        if exchange.aborted:
            self.free(exchange.lane, None)
        elif self.has_lanes:
            self.pool.answer_ended()

    # -- exchanges given back ----------------------------------------------------------------------------

    def free(self, lane: Lane, head: Any) -> None:
        """A lane's exchange is over; `head` is what its server holds, if it can be continued."""
        lane.exchange = None
        lane.used = self.idle_since = self._loop.time()
        if self.retiring and not self.is_wanted:
            self.pool.connection_unwanted(self)
        self.pool.lane_free(self, lane, None if lane.is_spent else head)

    def give_up(self, exchange: LaneExchange) -> None:
        """With lanes the rest is read and dropped; without, nothing can follow it but a new connection."""
        if self.closed is not None or not exchange.sent:
            self.free(exchange.lane, None)
            return
        self.pool.counters.abandoned += 1
        if not self.has_lanes or (self.retiring and not self.is_wanted):
            self.abort()
        elif exchange.lane.is_spent:
            self.free(exchange.lane, None)
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
                self.pool.connection_unwanted(self)

    def on_close(self, closed: Closed) -> None:
        """Called by the link, once."""
        if self.closed is not None:
            return
        self.closed = closed
        self.failed(closed)
        for lane in self.lanes.values():
            if lane.exchange is not None:
                lane.exchange.lose(closed)
        self.pool.connection_lost(self)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.link is not None:
            self.link.abort()

    async def aclose(self) -> None:
        """Close with a closing handshake."""
        if self.link is not None:
            await self.link.aclose()
