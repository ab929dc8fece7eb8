"""A hedged call: a second request where the first has given nothing of its answer for some time.

The first of the two that commits (text, a refusal, a call) is the call's answer from then on; the other is cancelled,
and what it used is listed with the attempts. How many calls may be hedged is limited (`Share`), so that an outage does
not double the load.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context, copy_context
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider._core.attempt import Attempt, commits
from brainwires_provider._core.deadlines import LoopTimer, running_loop, timer_of
from brainwires_provider._core.fallback import second_plan
from brainwires_provider._core.lifecycle import leave_by, soon
from brainwires_provider._core.locks import Locked
from brainwires_provider._core.plan import Plan
from brainwires_provider._core.sending import Sending
from brainwires_provider._core.sending_session import SendingSession
from brainwires_provider.errors import ConfigError, ProviderError, RequestTimeout, UnsupportedError
from brainwires_provider.events import Event, ResponseEnd, ResponseRestart
from brainwires_provider.types import Attempt as Failed
from brainwires_provider.types import Hedge, Response

__all__ = ["Hedged", "Share"]

_MOST_AT_ONCE = 10.0  # so many hedges at most are saved up while nothing is slow
_ROUNDING = 1e-9
_SHORTEST = 0.05  # seconds between two looks whether the first was sent


class Share(Locked):
    """How many of a client's calls may still be hedged: never more than a share of those that were made."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.calls = 0
        """So many calls were made that could be hedged. Of several threads some may go uncounted."""
        self._counted = 0  # of these, what is part of `_left`
        self._share = share
        self._left = 0.0

    def begin(self, plan: Plan, session: SendingSession) -> Hedged:
        """A call that has a hedge of this share."""
        assert plan.hedge is not None
        first = Sending(plan, session, None)
        first.is_raced = True
        return Hedged(plan, plan.hedge, session, self, first)

    def give_back(self) -> None:
        """One that was taken was not sent after all."""
        self._note()

    def _end(self) -> None:
        self._left = min(_MOST_AT_ONCE, self._left + 1)

    def take(self) -> bool:
        """Whether one more may be hedged; it is counted then."""
        with self, self._lock:
            calls = self.calls
            self._left = min(_MOST_AT_ONCE, self._left + (calls - self._counted) * self._share)
            self._counted = calls
            if self._left < 1 - _ROUNDING:
                return False
            self._left -= 1
            return True


class Hedged(Struct, eq=False):
    """One call of up to two requests; used as a `Sending` is, until one of them is `taken` in its place."""

    _plan: Plan
    _hedge: Hedge
    _session: SendingSession
    _share: Share
    _first: Sending
    _second: Sending | None = None
    taken: Sending | None = None
    """The request that is the call's answer, once it is known."""
    _task: asyncio.Task[Any] | None = None
    """That waits for the first, while it does."""
    loop: asyncio.AbstractEventLoop | None = None
    _timer: LoopTimer | None = None
    _context: Context | None = None
    """The caller's, for the second too: what begins it is a timer that all calls share."""
    _due: float = 0.0
    """When the second begins."""
    _reading: asyncio.Task[list[Event]] | None = None
    """The second, until it commits."""
    _delivered: bool = False
    """Something of the first, which does not commit."""
    _error: ProviderError | None = None
    """Of the first."""
    _lost: tuple[Failed, ...] = ()
    """Of a second that has failed."""
    _closed: bool = False

    # -- as a Sending ------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Nothing more comes."""
        return self._closed

    @property
    def attempt(self) -> Attempt:
        """That of the first request."""
        return self._first.attempt

    def partial(self) -> Response:
        """What has arrived so far."""
        return self._first.partial()

    @property
    def end_event(self) -> ResponseEnd | None:
        """The last of the answer's events, once there is one."""
        return self._first.end_event

    def whole(self) -> Response:
        """The whole answer, once it has ended."""
        return self._first.whole()

    def abort(self) -> None:
        """Leave now."""
        if not self._closed:
            self._close()
            self._first.is_raced = False
            self._first.report()

    def drop(self) -> None:
        """As `Sending.drop`."""
        if not self._closed:
            self._closed, self._first.is_raced = True, False
            self._first.drop()
            soon(self.loop, self._stop_second)

    async def leave(self) -> None:
        """Leave now: an answer at its end, whose connection could be kept, was taken already."""
        self.abort()

    def _close(self) -> None:
        """Cancel both requests."""
        self._closed = True
        self._stop_second()
        self._first.abort()

    def _stop_second(self) -> None:
        if self._timer is not None:
            self._timer.timed.discard(self)
        if self._reading is not None and not self._reading.cancel() and self._second is not None:
            self._second.abort()

    # -- two requests ------------------------------------------------------------------------------------

    async def pull(self) -> list[Event]:
        """Events of the first, in the caller's task; or of the second, whose task interrupts it. Empty once left."""
        first = self._first
        if self._closed:
            return []
        try:
            if self._timer is None:
                self._begin()
            elif self._is_second_ready:
                return self._take_second()
            task = self._task = asyncio.current_task(self.loop)
            assert task is not None
            others = task.cancelling()  # requests to cancel it that are not ours
            try:
                events = await first.pull()
            except asyncio.CancelledError:
                if not self._is_second_ready or task.uncancel() > others:
                    raise
                return self._take_second()
            except ProviderError as error:
                return await self._without_first(error)
            finally:
                self._task = None
            if self._closed:
                return events
            if first.ended or commits(events):
                self._take(first, self._lost if self._second is None else self._loss_of(self._second))
                self._stop_second()
            else:
                self._delivered = True
            return events
        except ProviderError as error:
            self._close()
            first.is_raced = False
            first.report(error)
            raise
        except BaseException as error:
            leave_by(self, error)
            raise

    def _begin(self) -> None:
        """The first begins: the second is due some time later."""
        loop = self.loop = running_loop()
        self._context = copy_context()
        self._share.calls += 1
        timer, due = timer_of(loop), loop.time() + self._hedge.after
        self._timer, self._due = timer, due
        timer.add(self, due)

    async def _without_first(self, error: ProviderError) -> list[Event]:
        """The first has failed: events of the second, or the error."""
        is_over = isinstance(error, RequestTimeout) and error.clock == "total"
        if self._reading is None or is_over:
            error.attempts += self._lost
            raise error from None
        self._error = error
        return await self._of_second(self._reading)

    @property
    def _is_second_ready(self) -> bool:
        """Whether the second has committed."""
        reading = self._reading
        return reading is not None and reading.done() and _failure_of(reading) is None

    def due_at(self, now: float) -> float | None:
        """When the second request begins."""
        return self._due

    def on_timeout(self) -> None:
        """The first has taken too long: the second begins."""
        assert self.loop is not None and self._timer is not None
        if self._closed or self.taken is not None:
            return
        if (
            not self._first.attempt.sent
        ):  # it waits for its place within limits, or its key: nothing is slow yet
            self._due = self.loop.time() + max(self._hedge.after, _SHORTEST)
            self._timer.add(self, self._due)
            return
        if not self._share.take():
            return
        try:
            plan = second_plan(self._plan, self._session.policies)
        except (ConfigError, UnsupportedError):  # it cannot take this request
            self._share.give_back()
            return
        self._second = Sending(plan, self._session, None, beside=self._first)
        self._reading = self.loop.create_task(_committed(self._second), context=self._context)
        self._reading.add_done_callback(self._on_second)

    def _on_second(self, reading: asyncio.Task[list[Event]]) -> None:
        """It has committed, or failed, or was cancelled."""
        error = _failure_of(reading)
        if self._closed or self.taken is not None or self._error is not None:
            return  # it concerns nobody, or `_of_second` waits for it
        if error is not None:
            if self._second is not None:
                self._second.failed_beside(error)
                if not self._second.attempt.sent:
                    self._share.give_back()
            self._second, self._reading, self._lost = None, None, _attempts_of(error)
            if not isinstance(error, ProviderError):
                logging.getLogger("brainwires_provider").warning(
                    "the second request of a hedged call raised %s; the first goes on", type(error).__name__
                )
        elif self._task is not None:
            self._task.cancel()

    async def _of_second(self, reading: asyncio.Task[list[Event]]) -> list[Event]:
        """The first has failed: all depends on the second."""
        await asyncio.wait((reading,))
        if not self._is_second_ready and not self._closed:
            assert self._error is not None and self._second is not None
            failure = _failure_of(reading)
            self._second.failed_beside(failure)
            self._error.attempts += _attempts_of(failure)
            raise self._error from None
        if not self._closed:
            self._first.failed_beside(self._error)
        return [] if self._closed else self._take_second()

    def _take_second(self) -> list[Event]:
        assert self._second is not None and self._reading is not None
        held = self._reading.result()
        lost = self._loss_of(self._first) if self._error is None else self._error.attempts
        partial = getattr(self._error, "partial", None)
        if self._delivered and partial is not None:  # its caller had it
            lost = (*lost[:-1], replace(lost[-1], superseded=partial.message.content))
        self._take(self._second, lost)
        self._first.abort()
        return [ResponseRestart(lost[-1]), *held] if self._delivered else held

    def _loss_of(self, sending: Sending) -> tuple[Failed, ...]:
        winner = self._first if sending is self._second else self._second
        assert winner is not None
        return sending.lost_to(winner, delivered=self._delivered and sending is self._first)

    def _take(self, taken: Sending, lost: tuple[Failed, ...]) -> None:
        """Go on with this one."""
        self.taken = taken
        taken.is_raced = False
        taken.take_over(lost, is_second=taken is not self._first)


def _failure_of(reading: asyncio.Task[list[Event]]) -> BaseException | None:
    """What the second request ended with, other than events: whatever it is, the first goes on."""
    import asyncio

    return asyncio.CancelledError() if reading.cancelled() else reading.exception()


def _attempts_of(error: BaseException | None) -> tuple[Failed, ...]:
    return error.attempts if isinstance(error, ProviderError) else ()


async def _committed(sending: Sending) -> list[Event]:
    """Everything up to the first events that commit."""
    events: list[Event] = []
    while not sending.ended and not commits(events):
        events += await sending.pull()
    return events
