"""Requests over persistent WebSockets: connections, their lanes, the pool. Here: what a protocol declares for that.

These modules know frames, lanes and close codes. What a frame means, and what of a request the server already holds,
is known to the protocol, which supplies a `FrameRules`, and a `LaneRequest` for each request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from brainwires_provider.types import Continuation
from brainwires_provider.types.websocket import WebSocketCounters, WebSocketOptions

if TYPE_CHECKING:
    from brainwires_provider.transports.websocket.connection import Closed, Link
    from brainwires_provider.transports.websocket.dialing import Dialer
    from brainwires_provider.transports.websocket.fallback import Fallback

__all__ = ["ConnectionOwner", "FrameRules", "LaneOwner", "LanePool", "LaneRequest", "Peek", "WebSocketMode"]


class Peek(Protocol):
    """What a frame states about itself."""

    @property
    def type(self) -> str:
        """Its kind, in the protocol's words."""
        ...

    @property
    def lane(self) -> str | None:
        """The name of its lane; None for the lane without a name."""
        ...

    @property
    def answer_id(self) -> str | None:
        """The answer that it is about, where it names one."""
        ...


class FrameRules(Protocol):
    """What a protocol declares about its frames, by their types."""

    @property
    def prefix(self) -> str:
        """What the types of all events of an answer begin with."""
        ...

    @property
    def error(self) -> str:
        """The type of an error."""
        ...

    @property
    def begins(self) -> frozenset[str]:
        """The types with which an answer begins."""
        ...

    @property
    def refuses(self) -> frozenset[str]:
        """The types that can come in place of a beginning."""
        ...

    @property
    def ends(self) -> frozenset[str]:
        """The types after which an answer has no more."""
        ...

    @property
    def item_done(self) -> str:
        """The type of an event with an item of an answer that is whole."""
        ...

    @property
    def parent_unread(self) -> frozenset[str]:
        """The types during which an answer may still need the one that it continues."""
        ...

    def peek(self, frame: bytes) -> Peek | None:
        """A look at a frame; None for what cannot be read."""
        ...

    def lists(self, end: bytes, item: bytes | None) -> bool:
        """Whether the end of an answer lists the item of another frame; without one, whether it lists none."""
        ...

    def lane_of(self, frame: bytes) -> str | None:
        """The lane that a frame names which cannot be read; None if that is not to be seen."""
        ...

    def is_age_limit(self, frame: bytes) -> bool:
        """Whether an error is about the age of the connection."""
        ...

    def age_limit(self, frame: bytes) -> float | None:
        """The limit in seconds, where such an error states it."""
        ...

    def is_lane_limit(self, frame: bytes) -> bool:
        """Whether an error says that the connection takes no more names of lanes."""
        ...


class Held(Protocol):
    """What the server of a pool holds, by place: a lane, or a number for what any connection finds."""

    def __len__(self) -> int: ...
    def places(self) -> Any: ...
    def add(self, head: Any, place: Any) -> None: ...
    def remove(self, place: Any) -> Any: ...


class WebSocketMode(FrameRules, Protocol):
    """What a protocol supplies to a pool."""

    def held(self) -> Held:
        """An empty index of what a server holds."""
        ...


class LaneRequest(Protocol):
    """One request as its protocol sends it. `found` is what `find` found, None if it was not asked."""

    def find(self, held: Any, options: WebSocketOptions) -> Any:
        """What this request continues of what a server holds: an object with `place`, None if there is nothing."""
        ...

    def decoder(self) -> Any:
        """A decoder for the answer to the frame that was sent last."""
        ...

    def frame(self, lane: str | None, found: Any, options: WebSocketOptions) -> bytes:
        """The frame that sends it."""
        ...

    def continuation(self, found: Any) -> Continuation:
        """How much of the history that frame carries, and why."""
        ...

    def head(self, options: WebSocketOptions) -> Any:
        """What the server holds once the answer was read to its end; None if that cannot be continued."""
        ...


class LaneOwner(Protocol):
    """What a lane and its exchanges need of their connection."""

    pool: ConnectionOwner
    rules: FrameRules
    link: Link | None
    closed: Closed | None
    idle_since: float
    max_buffered: int
    has_lanes: bool
    is_unnamed: bool
    changes_ids: bool
    has_repeated_ids: bool
    works: bool | None

    @property
    def lanes(self) -> Mapping[Any, Any]:
        """By name those that the server has taken."""
        ...

    @property
    def is_usable(self) -> bool:
        """Whether a request can begin here."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether one more response may run."""
        ...

    def exchanges(self) -> Iterator[Any]:
        """The requests in progress."""
        ...

    def idle_lanes(self) -> Iterator[Any]:
        """The lanes that no request holds."""
        ...

    def new_lane(self) -> Any:
        """A lane of a name never used here; None when the names are used up."""
        ...

    def has_ended(self, response_id: str) -> bool:
        """Whether a response of this id has ended here already."""
        ...

    def repeats_ids(self) -> bool:
        """A response starts with the id of one that has ended: whether that is how this server names them."""
        ...

    def is_over_after_error(self, response_id: str | None) -> bool:
        """Whether whatever comes of a response after its error will be recognised."""
        ...

    def spend(self, lane: Any) -> None:
        """More of a response may come on a lane, so that no other begins there."""
        ...

    def begun(self, *, continued: bool) -> None:
        """The server has begun a response."""
        ...

    def failed(self, closed: Closed) -> None:
        """The connection is over."""
        ...

    def count_orphan(self) -> None:
        """An event that belongs to no request came."""
        ...

    def answer_ended(self, exchange: Any, stated: str | None, *, is_error: bool) -> None:
        """The last event of a response has come; it may state another id than the first."""
        ...

    def free(self, lane: Any, head: Any) -> None:
        """A lane's exchange is over; `head` is what its server holds."""
        ...

    def give_up(self, exchange: Any) -> None:
        """Nobody wants the rest of a response."""
        ...


class ConnectionOwner(Protocol):
    """What a pooled connection needs of its pool."""

    options: WebSocketOptions
    counters: WebSocketCounters
    max_event_bytes: int
    fallback: Fallback
    parents_lost: int

    @property
    def rules(self) -> FrameRules:
        """What the protocol declares."""
        ...

    @property
    def has_lanes(self) -> bool:
        """Whether a connection that is not known better carries several requests at once."""
        ...

    def lane_free(self, connection: Any, lane: Any, head: Any) -> None:
        """A lane can be used again; its server holds `head`."""
        ...

    def limit_reached(self, connection: Any, limit: float | None) -> None:
        """The server took no more requests because of the connection's age; it may have stated its limit."""
        ...

    def connection_retired(self, connection: Any) -> None:
        """No request begins there any more."""
        ...

    def connection_lost(self, connection: Any) -> None:
        """The connection is over."""
        ...

    def names_limited(self, most: int) -> None:
        """The server took no more names of lanes than so many on one connection, perhaps fewer."""
        ...

    def without_lanes(self, *, for_good: bool) -> None:
        """The server turned out to have no lanes, or that is in doubt."""
        ...

    def answer_ended(self) -> None:
        """A response has ended on some lane."""
        ...

    def connection_unwanted(self, connection: Any) -> None:
        """Nobody waits for anything of a retired connection."""
        ...


class LanePool(ConnectionOwner, Protocol):
    """What a request needs of its pool."""

    dial: Dialer

    async def exchange(self, request: LaneRequest, *, full: bool = False, fork: bool = False) -> Any:
        """A lane for a request, which is not sent yet."""
        ...

    def parent_refused(self, fault: str) -> None:
        """The server did not continue a response."""
        ...
