"""A request's seat on a lane: the frames of its answer, from the reader that never waits to a consumer that may.

A lane serves one request at a time. Its seat takes the frames that are this answer's, passes over what belongs to an
earlier one, and knows when the answer has ended. Whoever holds the seat gives it up in one of two ways: `release`
once the answer has come to its end, `leave` before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from brainwires_provider.errors import ProtocolError, StreamInterrupted
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.openai_responses.ws import BEGINS, TERMINAL, Peek

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brainwires_provider.protocols.openai_responses.continuation import Head
    from brainwires_provider.transports.websocket.connection import Closed

__all__ = ["Lane", "Line", "Lost", "Seat", "Unnamed"]

_REFUSES = frozenset(("error", "response.failed"))


class Lost(Exception):
    """The connection ended before the answer did. `begun`: the server had begun to answer."""

    def __init__(self, closed: Closed | None, *, begun: bool) -> None:
        super().__init__("the connection was lost")
        self.closed = closed
        self.begun = begun


class Unnamed(Exception):
    """The server names no lanes, so that an answer could be any of several requests' on the connection."""


class Line(Protocol):
    """What a lane needs of its connection."""

    closed: Closed | None
    answered: int

    @property
    def max_buffered(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def is_stale(self, response_id: str | None) -> bool:
        """Whether an answer of this id has ended here already."""
        ...

    def passed_over(self) -> None:
        """An event that belongs to nobody came."""
        ...

    def answer_ended(self, lane: Lane, kind: str) -> None:
        """The last event of a lane's answer has come."""
        ...

    def released(self, lane: Lane, head: Head | None) -> None:
        """A lane's answer was read to its end; `head` is what it stands for, if it can be continued."""
        ...

    def given_up(self, lane: Lane) -> None:
        """A lane's answer was left before its end."""
        ...

    def check_send(self) -> None:
        """Raises Unnamed if one more request could not be told from those that are under way."""
        ...

    async def send(self, frame: bytes) -> None: ...


class Lane:
    """One after another, the requests that share a name on a connection; `name` is None for the nameless lane."""

    __slots__ = ("guard", "line", "name", "seat", "used")

    def __init__(self, line: Line, name: str | None) -> None:
        self.line = line
        self.name = name
        self.seat: Seat | None = None
        self.used = 0.0
        self.guard: asyncio.Future[None] | None = None
        """While a fork reads this lane's last answer: it must not advance."""

    def take(self, now: float) -> Seat:
        """A seat for one request."""
        assert self.seat is None
        self.used = now
        self.seat = Seat(self)
        return self.seat


class Seat:
    """One request's place, from before it is sent until its answer has ended."""

    __slots__ = (
        "_frames",
        "_lane",
        "_waiter",
        "began",
        "closed",
        "ended",
        "expired",
        "guarded",
        "is_foreign",
        "left",
        "overflowed",
        "response_id",
        "sent",
        "size",
        "unnamed",
    )

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._frames: deque[WireMessage] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.began = False
        self.ended = False
        self.expired = False
        self.is_foreign = False
        """An event of another answer came, named as this one's: nothing that follows can be trusted."""
        self.left = False
        self.sent = False
        self.overflowed = False
        self.unnamed = False
        """Whose the next answer is cannot be told."""
        self.closed: Closed | None = None
        self.response_id: str | None = None
        self.size = 0
        self.guarded: Lane | None = None
        """The lane whose last answer this one forks."""

    @property
    def lane(self) -> Lane:
        return self._lane

    @property
    def line(self) -> Line:
        return self._lane.line

    # -- the reader's side: never waits ------------------------------------------------------------------

    def deliver(self, frame: bytes, seen: Peek | None) -> None:
        """A frame of this lane. `seen` is None for one that cannot be read, which the decoder will say."""
        kind = None if seen is None else seen.type
        if seen is not None and not self._is_ours(seen):
            self.line.passed_over()
            return
        if kind == "response.in_progress":
            self.unguard()
        if self.is_foreign:
            self._wake()
            return
        if not self.left and not self.overflowed:
            self._put(frame)
        if kind in TERMINAL:
            self.ended = True
            self.unguard()
            assert kind is not None
            self.line.answer_ended(self._lane, kind)

    def _is_ours(self, seen: Peek) -> bool:
        told = seen.response_id
        if told is not None and told != self.response_id and seen.type.startswith("response."):
            if self.line.is_stale(told):
                return False
            self.is_foreign = self.is_foreign or self.response_id is not None
        if not self.began:
            if seen.type in BEGINS or seen.type in _REFUSES:
                self.began = True
                self.response_id = told
            else:
                # A piece of an answer that has not begun is another's; what is no answer's is kept.
                return not seen.type.startswith("response.")
        return True

    def _put(self, frame: bytes) -> None:
        if self.size + len(frame) > self.line.max_buffered:
            self.overflowed = True  # what waits already is still read: it had arrived
        else:
            self.size += len(frame)
            self._frames.append(WireMessage(frame))
        self._wake()

    def lost(self, closed: Closed) -> None:
        """The connection is over."""
        if not self.ended:
            self.closed = closed
            self.unguard()
            self._wake()

    def confuse(self) -> None:
        """Make `messages` raise Unnamed, or Lost if the answer had begun."""
        self.unnamed = True
        self._wake()

    def expire(self) -> None:
        """Make a waiting `messages` raise Lost."""
        self.expired = True
        self._wake()

    def _wake(self) -> None:
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

    async def send(self, frame: bytes) -> None:
        """Raises Lost, and Unnamed where other answers on the connection could not be told from this one's."""
        self.line.check_send()
        self.sent = True
        await self.line.send(frame)

    async def messages(self) -> list[WireMessage]:
        """The next frames, at least one; none after the answer's end.

        Raises Lost, Unnamed, StreamInterrupted (overflow).
        """
        while not self._frames:
            if self.overflowed:
                raise StreamInterrupted(
                    f"more than {self.line.max_buffered} bytes of the answer waited for their consumer "
                    "(SocketTraits.max_buffered): read faster, or raise it",
                    how="overflow",
                )
            if self.is_foreign:
                raise ProtocolError(f"an event of another answer came in the midst of {self.response_id}")
            if self.ended:
                return []
            if self.unnamed and not self.began:
                raise Unnamed
            if self.closed is not None or self.expired or self.unnamed:
                raise Lost(self.closed, begun=self.began)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        messages = list(self._frames)
        self._frames.clear()
        self.size = 0
        return messages

    def release(self, head: Head | None) -> None:
        """The answer was read to its end."""
        if self._lane.seat is self and not self.left:
            self.unguard()
            self.line.released(self._lane, head)

    def leave(self) -> None:
        """Nobody wants the rest. May be called at any time, and more than once."""
        if self.left or self._lane.seat is not self:
            return
        if self.ended:
            self.release(None)
            return
        self.left = True
        self._frames.clear()
        self.unguard()
        self.line.given_up(self._lane)
