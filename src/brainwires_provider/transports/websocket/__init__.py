"""Requests over persistent WebSockets: connections, their lanes, the pool. Here: what a protocol declares for that.

These modules know frames, lanes and close codes. What a frame means, and what of a request the server already holds,
is known to the protocol, which supplies a `FrameRules`, and a `LaneRequest` for each request.
"""

from __future__ import annotations

from typing import Any, Protocol

from brainwires_provider.types import Continuation
from brainwires_provider.types.websocket import WebSocketCounters, WebSocketOptions

__all__ = ["ConnectionOwner", "FrameRules", "LaneRequest", "Peek"]


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
    def parent_read(self) -> frozenset[str]:
        """The types from which on the answer no longer needs the one that it continues."""
        ...

    def peek(self, frame: bytes) -> Peek | None:
        """A look at a frame; None for what cannot be read."""
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


class LaneRequest(Protocol):
    """One request as its protocol sends it. `found` is what `find` found, None if it was not asked."""

    def find(self, held: Any) -> Any:
        """What this request continues of what a server holds: an object with `place`, None if there is nothing."""
        ...

    def decoder(self) -> Any:
        """A decoder for the answer to the frame that was sent last."""
        ...

    def frame(self, lane: str | None, found: Any) -> bytes:
        """The frame that sends it."""
        ...

    def continuation(self, found: Any) -> Continuation:
        """How much of the history that frame carries, and why."""
        ...

    def head(self) -> Any:
        """What the server holds once the answer was read to its end; None if that cannot be continued."""
        ...


class ConnectionOwner(Protocol):
    """What a pooled connection needs of its pool."""

    options: WebSocketOptions
    counters: WebSocketCounters
    max_event_bytes: int

    @property
    def rules(self) -> FrameRules:
        """What the protocol declares."""
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

    def without_lanes(self) -> None:
        """The server turned out to have no lanes."""
        ...
