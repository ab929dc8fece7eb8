"""One WebSocket to a Responses endpoint as a set of lanes: whose frame is it, and what does an end mean for the rest?

Where the server has lanes, a frame finds its request by `stream_id`; where it has not, there is one nameless lane.
A frame without a name on a connection with lanes is about the connection as a whole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from brainwires_provider.protocols.openai_responses.continuation import Head
from brainwires_provider.protocols.openai_responses.ws import BEGINS, TERMINAL, Peek, limit_told, peek
from brainwires_provider.sockets.counters import Counters
from brainwires_provider.sockets.seats import Lane, Lost, Seat, Unnamed
from brainwires_provider.transports.websocket.connection import Closed, Link, LinkLost
from brainwires_provider.types.websocket import SocketTraits

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Owner", "Socket"]

_LIMIT = b"websocket_connection_limit_reached"
_NAMES_USED_UP = b"websocket_stream_limit_reached"
_REMEMBERED = 256  # ids of answers that have ended, by which a late event is told


class Owner(Protocol):
    """What a socket needs of its pool."""

    traits: SocketTraits
    counters: Counters

    def lane_free(self, socket: Socket, lane: Lane, head: Head | None) -> None:
        """A lane can be used again; its server holds `head`."""
        ...

    def limit_reached(self, socket: Socket, limit: float | None) -> None:
        """The server took no more requests there because of the connection's age; it may have said its limit."""
        ...

    def socket_retired(self, socket: Socket) -> None:
        """No request begins there any more."""
        ...

    def socket_lost(self, socket: Socket) -> None:
        """The connection is over."""
        ...

    def without_lanes(self) -> None:
        """The server turned out to have no lanes."""
        ...


class Socket:
    """See `seats.Line`. Made before its link, which calls `on_frame` and `on_close`."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._ended: deque[str] = deque(maxlen=_REMEMBERED)
        self._ended_ids: set[str] = set()
        self.link: Link | None = None
        self.opened = loop.time()
        self.share = 0.0
        """Its part of the jitter."""
        self.idle_since = loop.time()
        self.lanes: dict[str | None, Lane] = {}
        self.closed: Closed | None = None
        self.answered = 0
        self.retiring = False
        """No request begins here any more; what is under way goes on."""
        self.fit(owner.traits)
        self._has_named = False
        """Whether the server has named a lane: else it may know of none."""
        self._is_unnamed = False
        """Whether it has begun an answer without a name, and so knows of none."""

    def fit(self, traits: SocketTraits) -> None:
        """Take on, before the first request, what is known of the server."""
        self.has_lanes = traits.lanes
        self.max_names = traits.max_lanes if traits.lanes else 1

    # -- what it carries ---------------------------------------------------------------------------------

    @property
    def max_buffered(self) -> int:
        return self._owner.traits.max_buffered

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self.link is None else self.link.headers

    @property
    def expires(self) -> float:
        """When it is to be replaced."""
        return self._owner.traits.expires(self.opened, self.share)

    @property
    def is_usable(self) -> bool:
        """Whether a request can begin here."""
        return self.closed is None and not self.retiring and self.link is not None and self.link.is_open

    def seats(self) -> Iterator[Seat]:
        """The requests under way."""
        for lane in self.lanes.values():
            if lane.seat is not None and not lane.seat.ended:
                yield lane.seat

    @property
    def active(self) -> int:
        """How many answers are under way."""
        return sum(1 for _ in self.seats())

    @property
    def is_busy(self) -> bool:
        """Whether anybody holds a seat here, even one whose answer has ended."""
        return any(lane.seat is not None for lane in self.lanes.values())

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for an answer here, or reads one."""
        return any(lane.seat is not None and not lane.seat.left for lane in self.lanes.values())

    @property
    def has_room(self) -> bool:
        """Whether one more answer may run."""
        traits = self._owner.traits
        return self.is_usable and self.active < (traits.max_active if self.has_lanes and traits.lanes else 1)

    def idle_lanes(self) -> Iterator[Lane]:
        """The lanes that no request holds, and no fork reads from."""
        for lane in self.lanes.values():
            if lane.seat is None and lane.guard is None:
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
        seen = peek(frame)
        if seen is not None and seen.type == "error" and _LIMIT in frame:
            self._limit_reached(frame, seen)
            return
        lane = self.lanes.get(None if seen is None else seen.stream_id)
        if lane is not None and seen is not None:
            self._has_named = self._has_named or self.has_lanes
            if lane.seat is None:
                self.passed_over()
            else:
                lane.seat.deliver(frame, seen)
                if seen.type == "error" and _NAMES_USED_UP in frame:
                    self._names_used_up(lane)
            return
        for seat in self._meant(seen):
            seat.deliver(frame, seen)

    def _meant(self, seen: Peek | None) -> list[Seat]:
        """Whose a frame is that names no lane, or that cannot be read: everybody's whom it may concern."""
        seats = list(self.seats())
        if seen is None:
            return seats
        if seen.stream_id is None and self.has_lanes and not self._has_named:
            return self._only(seen, [seat for seat in seats if seat.sent])
        if seen.type != "error" or seen.stream_id is not None:
            self.passed_over()
            return []
        waiting = [seat for seat in seats if seat.sent and not seat.began]
        if not waiting and len(seats) > 1:
            self.retire()  # about the connection: what has begun may still end well
            return []
        return waiting or seats

    def _only(self, seen: Peek, seats: list[Seat]) -> list[Seat]:
        """Of a frame without a name, from a server that has named none: it is the only request's, or nobody's.

        An answer that begins so, or an error while several wait, ends the use of lanes: requests that nothing has
        come of are sent again, one a connection.
        """
        is_answer = seen.type in BEGINS or seen.type in TERMINAL
        if len(seats) == 1:
            if is_answer and seen.type != "error":
                self._is_unnamed = True
                self._owner.without_lanes()
            return seats
        if not seats or not is_answer:
            self.passed_over()
            return []
        self._owner.without_lanes()
        for seat in seats:
            seat.confuse()
        self.abort()
        return []

    def check_send(self) -> None:
        if self._is_unnamed and any(seat.sent for seat in self.seats()):
            raise Unnamed

    def _limit_reached(self, frame: bytes, seen: Peek) -> None:
        """The connection has served its time: who has not begun goes elsewhere, who has may still end well."""
        named = self.lanes.get(seen.stream_id) if seen.stream_id is not None else None
        for seat in list(self.seats()):
            if seat.sent and (seat.lane is named or not seat.began):
                seat.deliver(frame, seen)
        self.retire()
        self._owner.limit_reached(self, limit_told(frame))

    def _names_used_up(self, lane: Lane) -> None:
        """The names that the server took before go on; this one was not taken."""
        del self.lanes[lane.name]
        self.max_names = len(self.lanes)
        if not self.lanes:
            self.retire()

    def is_stale(self, response_id: str | None) -> bool:
        return response_id in self._ended_ids

    def passed_over(self) -> None:
        self._owner.counters.stale += 1

    def answer_ended(self, lane: Lane, kind: str) -> None:
        seat = lane.seat
        assert seat is not None
        self.answered += 1
        if seat.response_id is not None:
            if len(self._ended) == self._ended.maxlen:
                self._ended_ids.discard(self._ended[0])
            self._ended.append(seat.response_id)
            self._ended_ids.add(seat.response_id)
        if kind == "error" and not self._owner.traits.keeps_after_error:
            self.retire()
        if seat.left:
            lane.seat = None
            self._free(lane, None)

    # -- seats given back --------------------------------------------------------------------------------

    def released(self, lane: Lane, head: Head | None) -> None:
        lane.seat = None
        self._free(lane, head)

    def _free(self, lane: Lane, head: Head | None) -> None:
        lane.used = self.idle_since = self._loop.time()
        if self.retiring and not self.is_wanted:
            self.abort()
        self._owner.lane_free(self, lane, head)

    def given_up(self, lane: Lane) -> None:
        """With lanes the rest is read and passed over; without, nothing can follow it but a new connection."""
        seat = lane.seat
        assert seat is not None
        if self.closed is not None or not seat.sent:
            lane.seat = None
            self._free(lane, None)
            return
        self._owner.counters.abandoned += 1
        if not self.has_lanes or (self.retiring and not self.is_wanted):
            self.abort()
        else:
            self._loop.call_later(self._owner.traits.drain, self._drained, lane, seat)

    def _drained(self, lane: Lane, seat: Seat) -> None:
        if lane.seat is seat:
            self.retire()

    # -- the connection ----------------------------------------------------------------------------------

    def retire(self) -> None:
        """Begin nothing here any more; the connection goes once nobody wants anything of it."""
        if not self.retiring:
            self.retiring = True
            self._owner.socket_retired(self)
        if not self.is_wanted:
            self.abort()

    async def send(self, frame: bytes) -> None:
        assert self.link is not None
        try:
            await self.link.send(frame)
        except LinkLost as error:
            raise Lost(self.closed or error.closed, begun=False) from None

    def on_close(self, closed: Closed) -> None:
        """Called by the link, once."""
        if self.closed is not None:
            return
        self.closed = closed
        for lane in self.lanes.values():
            if lane.seat is not None:
                lane.seat.lost(closed)
                if lane.seat.left:
                    lane.seat = None
        self._owner.socket_lost(self)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.link is not None:
            self.link.abort()

    async def aclose(self) -> None:
        """Close in good order."""
        if self.link is not None:
            await self.link.aclose()
