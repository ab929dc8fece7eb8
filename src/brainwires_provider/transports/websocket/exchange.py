"""The lanes of a WebSocket, the exchange of one request on a lane, and its way from one exchange to the next.

A lane serves one request at a time. The connection's reader never waits: it puts each frame into the exchange that it
belongs to, from which a consumer takes them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from brainwires_provider.auth.redaction import redact
from brainwires_provider.errors import APIError, FramingError, ProtocolError, StreamInterrupted
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.transports.websocket import FrameRules, LaneOwner, LanePool, LaneRequest, Peek
from brainwires_provider.transports.websocket.connection import Closed, LinkLost
from brainwires_provider.transports.websocket.recovery import OVER_HTTP, Fault, Step, next_step, words_for
from brainwires_provider.types import Attempt, Continuation

__all__ = ["Lane", "LaneExchange", "Recovery"]


class Lane:
    """One after another, the requests that share a name on a connection; `name` is None for the unnamed lane."""

    __slots__ = ("connection", "exchange", "guard", "is_spent", "name", "used")

    def __init__(self, connection: LaneOwner, name: str | None) -> None:
        self.connection = connection
        self.name = name
        self.exchange: LaneExchange | None = None
        self.used = 0.0
        self.guard: asyncio.Future[None] | None = None
        """While a fork reads this lane's last answer: it must not advance."""
        self.is_spent = False
        """An answer here has not surely ended, so that more of it may come: no request begins here any more."""

    def take(self) -> LaneExchange:
        """Begin an exchange."""
        assert self.exchange is None
        self.exchange = LaneExchange(self)
        return self.exchange


class LaneExchange:
    """See `transports.base.Exchange`: one request on a lane, from before it is sent until its answer has ended."""

    __slots__ = (
        "_connection",
        "_frames",
        "_item",
        "_size",
        "_waiter",
        "aborted",
        "began",
        "closed",
        "continuation",
        "ended",
        "found",
        "guarded",
        "is_first",
        "is_foreign",
        "is_unnamed",
        "lane",
        "overflowed",
        "oversize",
        "request",
        "response_id",
        "sent",
        "unreadable",
    )

    status = None
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
        """The frame, or a part of it, may have left."""
        self.is_first = False
        """Nothing was sent on its connection before: the headers of the handshake are new."""
        self.began = False
        """The server has begun to answer."""
        self.ended = False
        self.aborted = False
        self.oversize = False
        """The request is larger than what the endpoint takes in one frame."""
        self.overflowed = False
        self.is_foreign = False
        """An event of another answer came, named as this one's: nothing that follows can be trusted."""
        self._item: bytes | None = None
        """The last item of the answer that came whole."""
        self.unreadable = 0
        """The size of a frame that could not be read."""
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
    def heard_at(self) -> float:
        """When the server last sent anything, by the loop's clock."""
        link = self._connection.link
        return 0.0 if link is None else link.heard_at

    @property
    def is_continued(self) -> bool:
        """Whether only the end of the history was sent."""
        return self.found is not None and self.found.place is not None

    @property
    def works(self) -> bool:
        """Whether the server has begun a response on its connection, this one or another."""
        return bool(self._connection.works)

    # -- the reader's side: never waits ------------------------------------------------------------------

    def deliver(self, frame: bytes, seen: Peek | None, stated: str | None) -> None:
        """A frame of this lane, which states the id of its answer, or none.

        `seen` is None for one that cannot be read: it may have been the end.
        """
        rules = self._connection.rules
        if seen is None:
            self.unreadable = self.unreadable or len(frame)
            self.wake()
            return
        if self.ended or not self._is_ours(seen, stated, rules):
            self._connection.count_orphan()
            return
        kind = seen.type
        is_end = kind in rules.ends
        is_sure = is_end and self._ends_surely(frame, seen, stated, rules)
        if self.is_foreign:
            self._connection.spend(self.lane)
            self.wake()
            if self.aborted:
                self._connection.free(self.lane, None)
            return
        if self.began and kind.startswith(rules.prefix) and kind not in rules.parent_unread:
            self.unguard()
            if kind == rules.item_done:
                self._item = frame
        if not self.aborted and not self.overflowed and not self.unreadable:
            self._put(frame)
        if is_end:
            self.ended = True
            self.unguard()
            if not is_sure:
                self._connection.spend(self.lane)
            self._connection.answer_ended(self, stated, is_error=kind == rules.error)

    def _is_ours(self, seen: Peek, stated: str | None, rules: FrameRules) -> bool:
        """Whether a frame is of this answer. `is_foreign` is set if nothing on the lane can be trusted any more.

        The lane's last answer has surely ended. So the first frame that can begin an answer begins this one, and
        whatever names another answer afterwards shows that one of the two was another request's.
        """
        kind = seen.type
        is_named = stated is not None and kind.startswith(rules.prefix)
        starts = kind in rules.begins and kind in rules.parent_unread
        is_late = is_named and stated != self.response_id and self._connection.has_ended(stated or "")
        if is_late and not (starts and not self.began and self._connection.repeats_ids()):
            return False
        if not self.began:
            return self._begins(seen, stated, rules)
        if is_named and stated != self.response_id and kind not in rules.ends:
            if self.response_id is None:
                self.response_id = stated
            elif kind in rules.begins and not starts:
                self._connection.changes_ids = True
            else:
                self.is_foreign = True
        return True

    def _begins(self, seen: Peek, stated: str | None, rules: FrameRules) -> bool:
        begins = rules.begins & rules.parent_unread if self._connection.changes_ids else rules.begins
        if seen.type not in begins and seen.type not in rules.refuses:
            # A piece of an answer that has not begun is another's; what is no answer's is kept.
            return not seen.type.startswith(rules.prefix)
        self.began = True
        if seen.type in rules.begins:
            self.response_id = stated
        self._connection.begun(continued=self.is_continued and seen.type in rules.begins)
        return True

    def _ends_surely(self, frame: bytes, seen: Peek, stated: str | None, rules: FrameRules) -> bool:
        """Whether nothing of this answer can come any more that would not be recognised.

        That is proven by an end with the id of the beginning, or, as some servers name an answer anew in each event,
        by one that lists the last item that came. A completed answer without such a proof is another's. A failure is
        taken for this answer's in any case.
        """
        if seen.type == rules.error:
            return self._connection.is_over_after_error(self.response_id)
        is_begun = self.response_id is not None or seen.type not in rules.refuses
        is_same = is_begun and stated == self.response_id
        if is_same and not self._connection.has_repeated_ids:
            return True
        is_sure = (is_same or self._item is not None) and rules.lists(frame, self._item)
        self.is_foreign = self.is_foreign or (not is_sure and seen.type not in rules.refuses)
        return is_sure

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
        options = connection.pool.options
        frame = self.request.frame(self.lane.name, self.found, options)
        continuation = self.request.continuation(self.found)
        limit = options.max_request_bytes
        if len(frame) > limit:
            self.oversize = True
            raise ProtocolError(
                f"the request is larger than the {limit} bytes that are sent over the WebSocket, and HTTP is switched "
                "off (WebSocketOptions.http_fallback)"
            )
        self.is_first = connection.works is None
        connection.works = bool(connection.works)
        assert connection.link is not None
        self.sent = connection.link.is_open
        try:
            await connection.link.send(frame)
        except LinkLost as error:
            self.closed = connection.closed or error.closed
            connection.failed(self.closed)
            raise self._lost() from None
        self.continuation = continuation
        if self.is_continued:
            connection.pool.counters.incremental += 1
        else:
            connection.pool.counters.full += 1

    async def messages(self) -> list[WireMessage]:
        """The next frames, at least one; none after the answer's end.

        Raises StreamInterrupted, FramingError (a frame over the limit), ProtocolError (another answer's event).
        """
        while not self._frames:
            if self.ended and not (self.overflowed or self.is_foreign or self.unreadable):
                return []
            self._check()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
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
        if self.unreadable:
            raise ProtocolError(f"a frame of {self.unreadable} bytes came that is no JSON object")
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

    async def drain(self) -> None:
        """The answer was read to its end: the lane is free, and holds what can be continued."""
        if self.lane.exchange is self and not self.aborted:
            self.unguard()
            request, options = self.request, self._connection.pool.options
            self._connection.free(self.lane, None if request is None else request.head(options))

    def release(self) -> None:
        """Nothing is left to do: `drain` gives the lane back."""

    def abort(self) -> None:
        """Nobody wants the rest; a waiting `messages` raises. May be called at any time, and more than once."""
        if self.aborted or self.lane.exchange is not self:
            return
        if self.ended:
            self._connection.free(self.lane, None)
            return
        self.aborted = True
        self._frames.clear()
        self.unguard()
        self.wake()
        self._connection.give_up(self)


class Recovery:
    """One request's way through a pool: which steps were taken, and what they change.

    `attempts` are the tries that were replaced. `full`: nothing is continued, and so nothing waited for that another
    request continues.
    """

    def __init__(
        self,
        pool: LanePool,
        request: LaneRequest,
        fault: Fault,
        *,
        fresh_key: bool,
        fork: bool,
        full: bool = False,
    ) -> None:
        self.pool = pool
        self.request = request
        self.exchange: LaneExchange | None = None
        self.attempts: list[Attempt] = []
        self._fault = fault
        self._fresh_key = fresh_key
        self._fork = fork
        self._full = full
        self._used: frozenset[Step] = frozenset()
        self.over_http = False
        """Whether the request goes over HTTP from here on."""

    async def lane(self) -> LaneExchange:
        """The `exchange` that the request can be sent on. Raises HandshakeRefused, and every ProviderError."""
        self.exchange = None
        full = self._full or bool(self._used)
        exchange: LaneExchange = await self.pool.exchange(self.request, full=full, fork=self._fork)
        self.exchange = exchange
        return exchange

    def wait_for_websocket(self) -> None:
        """Go over HTTP while the pool's fallback lasts."""
        fallback = self.pool.fallback
        if self.pool.options.http_fallback and fallback.is_on and fallback.takes():
            self.over_http = True
            self.pool.counters.http_fallbacks += 1
            self.attempts.append(Attempt(Step.HTTP.value))

    def take(self, error: Exception) -> bool:
        """Prepare the next try; False if there is none."""
        if self.over_http:
            self.pool.fallback.http_failed(error)
            return False
        step = next_step(
            error,
            self.exchange,
            options=self.pool.options,
            is_http_used=self.pool.fallback.is_on,
            used=self._used,
            fresh_key=self._fresh_key,
            fault=self._fault,
        )
        if step is None:
            return False
        words = redact(words_for(error, self.exchange), self.pool.dial.secrets)
        self.attempts.append(Attempt(f"{words}; {step.value}", getattr(error, "status", None)))
        if step is Step.FULL and isinstance(error, APIError):
            self.pool.parent_refused(self._fault(error))
        self._used |= {step}
        self.over_http = step in OVER_HTTP
        self._apply(step)
        return True

    def _apply(self, step: Step) -> None:
        pool = self.pool
        match step:
            case Step.FULL:
                pool.counters.resent += 1
            case Step.ROTATE | Step.RECONNECT | Step.AGAIN:
                pool.counters.reconnected += 1
            case Step.NO_LANES:
                pool.without_lanes(for_good=True)
            case Step.HTTP | Step.HTTP_ONCE:
                pool.counters.http_fallbacks += 1
            case Step.OTHER_LANE | Step.NEW_KEY | Step.ALONE:
                pass
