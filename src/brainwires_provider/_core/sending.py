"""One request: its attempts, its timeouts, and the events of the attempt that succeeds.

The only loop over attempts, and so the only place where policies act.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import force_setattr, replace

from brainwires_provider._core.attempt import Attempt, begin_recovery, commits
from brainwires_provider._core.breaker import is_healthy
from brainwires_provider._core.deadlines import Deadlines, running_loop
from brainwires_provider._core.fallback import CANNOT_TAKE, next_plan
from brainwires_provider._core.lifecycle import leave_by, soon
from brainwires_provider._core.plan import Plan
from brainwires_provider._core.retry import is_worth_retrying, next_delay, retry_of
from brainwires_provider._core.sending_session import SendingSession
from brainwires_provider.errors import (
    APIError,
    BreakerOpenError,
    Clock,
    ProtocolError,
    ProviderError,
    StreamInterrupted,
    StreamTimeout,
    TransportError,
)
from brainwires_provider.events import Event, ResponseEnd, ResponseRestart
from brainwires_provider.protocols.base.protocol import Decoder
from brainwires_provider.types import Attempt as Failed
from brainwires_provider.types import Response

if TYPE_CHECKING:
    from brainwires_provider._core.admission import Admission
    from brainwires_provider._core.attempt import Way
    from brainwires_provider._core.breaker import Circuit, Permit
    from brainwires_provider._core.watch import Watch
    from brainwires_provider.providers.prices import Prices

__all__ = ["Sending"]

T = TypeVar("T")
_log = logging.getLogger("brainwires_provider")
_DETAILS = "request_id", "usage", "may_be_billed", "cost", "model"
_PATIENCE = 0.1  # seconds that the second request of a hedged call waits for a place within limits


class Sending:
    """One request: its attempts, its timeouts, and the events of the attempt that succeeds.

    `beside` is the first of the two requests of a hedged call (`hedge.py`), if this is the second.
    """

    # fmt: off
    __slots__ = (
        "_admission", "_beside", "_cause", "_circuit", "_committed", "_deadlines", "_decoder",
        "_error", "_expired", "_failed", "_has_others", "_others", "_others_left", "_permit",
        "_plan", "_prices", "_result", "_retries", "_session", "_skipped", "_started", "_task",
        "_was_sent", "_watch", "attempt", "end_event", "ended", "is_raced", "loop",
    )
    # fmt: on

    taken = None
    """Of two requests the one that is the answer; this is one."""

    def __init__(
        self,
        plan: Plan,
        session: SendingSession,
        decoder: Decoder | None,
        end_event: ResponseEnd | None = None,
        beside: Sending | None = None,
    ) -> None:
        self._plan, self._session, self._beside = plan, session, beside
        self.is_raced = beside is not None
        """Whether another request of the same call may be answered first: what becomes of this one is not reported."""
        self._decoder, self.end_event = decoder, end_event
        """The last of the answer's events, once there is one."""
        self._expired: Clock | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None  # until there are events: what a timeout cancels
        self._deadlines: Deadlines | None = None
        self._watch: Watch | None = None
        self._prices: Prices | None = None
        self._admission: Admission | None = None
        self._circuit: Circuit | None = None
        self._permit: Permit | None = None  # the breaker's, of the current attempt
        # Why this model's turn has come, and how many had failed by then.
        self._cause: tuple[Plan, Attempt, tuple[Failed, ...], ProviderError, int] | None = None
        self._error: ProviderError | None = None  # what the current attempt failed with
        self._result: Any = None  # of a call that is no chat
        self._failed: list[Failed] = []
        self._others_left = plan.others
        self._has_others = bool(plan.others) or plan.hedge is not None or beside is not None
        self._skipped: list[Failed] = []  # other models that could not take the request
        self._retries, self._was_sent, self._started = 0, False, 0.0
        self._committed = decoder is not None  # the caller has what no other attempt may replace
        self.attempt = Attempt(plan, session.max_event_bytes, session.max_parts, decoder)
        self.ended = decoder is not None and decoder.ended

    # -- what the caller sees ----------------------------------------------------------------------------

    async def pull(self) -> list[Event]:
        """The next events, at least one; none once the answer has ended. A failure ends it."""
        if self.ended:
            return []
        try:
            deadlines = self._deadlines
            if deadlines is None:
                events = await self._attempts(Attempt.first)
            else:
                assert self.loop is not None
                if self._expired is not None:
                    raise deadlines.error(self._expired, self.partial)
                deadlines.waiting_since = self.loop.time()
                try:
                    events = await self.attempt.next()
                except ProviderError as error:
                    events = await self._begin_again(self.attempt.conceal(error))
                deadlines.waiting_since = None
        except ProviderError as error:
            raise self._left_with(error) from None
        except BaseException as error:
            leave_by(self, error)
            raise
        if not (self._committed or self.attempt.ended):
            self._committed = commits(events)
        if events and type(last := events[-1]) is ResponseEnd:
            self.end_event = last
        if events and self._watch is not None and (self._beside is None or not self.is_raced):
            self._watch.chunk()
        if self.attempt.ended:
            self._end()
        return events

    async def fetch(self, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the whole body, for calls that are no chat."""
        try:
            body = await self._attempts(Attempt.body)
            self.attempt.release()
            result = self._result = read(body)
            watch, self._watch = self._watch, None
            if watch is not None:
                watch.answered(self.attempt.status, None, result)
            return result
        except ProviderError as error:
            raise self._left_with(error) from None
        except BaseException as error:
            leave_by(self, error)
            raise
        finally:
            self.abort()

    def partial(self) -> Response:
        """What has arrived so far."""
        return self._priced(self.attempt.partial())

    def whole(self) -> Response:
        """The whole answer, once it has ended."""
        return self._priced(self.attempt.whole(self.end_event))

    def _priced(self, response: Response) -> Response:
        if self._prices is not None:
            force_setattr(response, "cost", self._prices.cost(response, self._plan.target.model))
        return response  # which was made just now

    def abort(self) -> None:
        """Leave now. What was read to its end keeps its connection, everything else drops it."""
        if not self.ended:
            self._end()

    def drop(self) -> None:
        """As `abort`, in any thread, at any moment: what is reserved is given back, the loop does the rest."""
        if not self.ended:
            self.ended = True
            if self._admission is None or self._admission.terms.is_local:
                self._give_back()
            soon(self.loop, self._end)

    async def leave(self) -> None:
        """Leave in good order: after the answer's end the connection is kept, before it dropped."""
        if not self.ended and self.attempt.exchange is not None and self.attempt.is_whole:
            await self.attempt.finish()
        self.abort()

    def _left_with(self, error: ProviderError) -> ProviderError:
        """Leave with an error; what is known of it is added."""
        watch, self._watch = self._watch, None
        if self._circuit is not None:
            self._judge(self._circuit, self._by_clock(error))
        self.abort()
        self._watch = watch
        error = self._explained(error)
        self.report(error)
        return error

    def _end(self) -> None:
        self.ended = True
        self._give_back()
        if self._watch is not None:
            self.report()
        if self._deadlines is not None:
            self._deadlines.drop()
        self.attempt.abort()

    def _give_back(self) -> None:
        if self._admission is not None:
            self._settle()
        if self._circuit is not None and self._permit is not None and self._permit.is_probe:
            self._circuit.leave(self._permit, None)

    def report(self, error: ProviderError | None = None) -> None:
        """To those who look on: how the call has ended. Only the first time counts."""
        if self._watch is None or self.is_raced:
            return
        watch, self._watch = self._watch, None
        watch.ends(self._plan, self.attempt.exchange)
        if error is not None:
            watch.failed(error)
        elif self.end_event is not None and self.attempt.is_whole:
            watch.answered(self.attempt.status, self.whole())
        else:
            watch.left(self.partial() if self.attempt.begun else None, self.attempt.attempts)

    def lost_to(self, other: Sending, *, delivered: bool) -> tuple[Failed, ...]:
        """The attempts of this request, now that the other one was answered first."""
        name = other._plan.target.full_name
        error = TransportError(f"cancelled: the call's other request, to {name}, was answered first")
        last = replace(self._failure(error, delivered=delivered), is_cancelled=True)
        return (*self.attempt.attempts, last) if self._was_sent else self.attempt.attempts

    def take_over(self, lost: tuple[Failed, ...], *, is_second: bool) -> None:
        """This request is the call's answer, beside these attempts of the other."""
        if lost:
            self._failed[:] = [*lost, *self._failed] if is_second else [*self._failed, *lost]
            self.attempt.replaced = tuple(self._failed)
        if self._watch is not None:
            if is_second:
                self._watch.chunk()
            if self.ended:
                self.report()

    def failed_beside(self, error: BaseException | None) -> None:
        """This request has failed, and the call's other one decides."""
        if self._watch is not None and self.attempt.sent and isinstance(error, ProviderError):
            self._watch.retried(self.attempt.number, self._failure(error), error, is_beside=True)

    # -- attempts ----------------------------------------------------------------------------------------

    async def _attempts(self, read: Callable[[Attempt, Deadlines], Awaitable[T]]) -> T:
        """Open and read, again for as long as a policy has a reason to: what the caller saw nothing of."""
        deadlines = self._enter()
        try:
            recovery = None if self._is_ready() else await self._begin()
            while True:
                step = is_admitted = False
                refused = None if self._circuit is None else self._circuit.refusal(self._permit)
                try:
                    if self._admission is not None and refused is None and not self._admission.try_enter():
                        await self._apart(self._admit)
                    is_admitted = True
                    if self._circuit is not None or self._watch is not None:
                        self._announce(refused)
                    self._was_sent = True
                    await self.attempt.open(self._session, recovery)
                    if self._admission is not None:
                        self._admission.learn(self.attempt)
                    result = await read(self.attempt, deadlines)
                    if self._circuit is not None and self._permit is not None and self._permit.is_probe:
                        self._circuit.leave(self._permit, True)  # and stays: the answer may still be cut
                    return result
                except ProviderError as error:
                    failed = self.attempt.conceal(error)
                    if is_admitted and recovery is not None and not isinstance(error, BreakerOpenError):
                        step = recovery.take(error)
                    if step:
                        self._error = error
                        self._add_details(error)
                except asyncio.CancelledError as cancelled:
                    failed = self._own_timeout(cancelled)
                if step:
                    self._next_attempt()
                else:
                    await self._retry(failed)
                    recovery = await self._begin()
                deadlines.restart()
        finally:
            self._task = deadlines.waiting_since = None

    def _announce(self, refused: BreakerOpenError | None) -> None:
        """The current attempt is sent now, unless its breaker refuses it."""
        if refused is not None:
            raise refused
        if self._circuit is not None:
            self._permit = self._circuit.enter(self._permit)
        if self._watch is not None:
            self._watch.attempt(self._plan, self.attempt)

    def _judge(self, circuit: Circuit, error: ProviderError) -> None:
        """To the breaker: what the current attempt failed with."""
        if self._permit is not None:
            circuit.leave(self._permit, is_healthy(error))
            self._permit = None

    def _is_ready(self) -> bool:
        """Whether nothing has to be prepared: no prices that are not loaded, no WebSocket, no stored answer."""
        target, admission = self._plan.target, self._admission
        if self._session.has_prices or (admission is not None and admission.terms.needs_prices):
            self._prices = self._session.known_prices.get(target.base_url)
            if admission is not None:
                admission.prices = self._prices
            if self._prices is None:
                return False
        return target.row.transport != "websocket" and getattr(target.protocol, "stored", None) is None

    async def _begin(self) -> Way:
        admission = self._admission
        if self._session.has_prices or (admission is not None and admission.terms.needs_prices):
            self._prices = await self._apart(lambda until: self._session.prices(self._plan.target, until))
            if admission is not None:
                admission.prices = self._prices
        is_new, failed, known = self._decoder is None, self._failed, len(self._failed)
        recovery = begin_recovery(self._plan, self._session, failed, bool(self._beside)) if is_new else None
        failed[known:] = [self._named(each) for each in failed[known:]]
        self.attempt.replaced = tuple(failed)
        return recovery

    def _add_details(self, error: ProviderError) -> None:
        """What the recovery does not know of the attempt that it replaces."""
        known = self._failure(error)
        self._failed[-1] = replace(self._failed[-1], **{each: getattr(known, each) for each in _DETAILS})
        if self._watch is not None:
            self._watch.retried(self.attempt.number, self._failed[-1], error, is_recovery=True)

    def _next_attempt(self) -> None:
        self._settle()
        self.attempt.abort()
        session = self._session
        self.attempt = Attempt(self._plan, session.max_event_bytes, session.max_parts, self._decoder)
        self.attempt.replaced, self._error, self._was_sent = tuple(self._failed), None, False

    async def _begin_again(self, error: ProviderError) -> list[Event]:
        """Another attempt at an answer that was cut after nothing but its reasoning, or the error."""
        if self._committed:
            raise error
        await self._retry(self._by_clock(error), delivered=True)
        return [ResponseRestart(self._failed[-1]), *await self._attempts(Attempt.first)]

    async def _retry(self, error: ProviderError, *, delivered: bool = False) -> None:
        """Wait until the next attempt is due. Raises the error if there is none."""
        self._error = error
        if self._circuit is not None:
            self._judge(self._circuit, error)
        assert self.loop is not None and self._deadlines is not None
        if is_passed := not self.attempt.sent and isinstance(error, CANNOT_TAKE):
            error = self._pass_over(error)
        delay = None if is_passed else self._delay(error)
        following = None if delay is not None or self._decoder is not None else self._following(error)
        if delay is None and following is None:
            raise error
        if not is_passed:
            self._failed += error.attempts
            self._failed += self.attempt.exchange.attempts if self.attempt.exchange is not None else ()
            self._failed.append(replace(self._failure(error, delivered=delivered), delay=delay))
            if self._watch is not None:
                self._watch.retried(self.attempt.number, self._failed[-1], error)
            self._retries += 1
        self._deadlines.drop()
        self._expired = None
        if following is not None:
            self._settle()
            self._cause = self._plan, self.attempt, self.attempt.replaced, error, len(self._failed)
            self._follow(following)
        self._next_attempt()
        if delay is not None:
            await self._session.waits.sleep(delay)
        self._deadlines.restart()
        self._deadlines.watch(self.loop, self._on_expiry)

    def _failure(self, error: ProviderError, *, delivered: bool = False) -> Failed:
        """The current attempt in the list of those that failed."""
        failed, target = self.attempt.failed(error, delivered=delivered), self._plan.target
        if self._prices is not None and failed.usage is not None:
            cost = self._prices.cost(replace(self.attempt.partial(), attempts=()), target.model)
            failed = replace(failed, cost=cost)
        return self._named(failed)

    def _named(self, failed: Failed) -> Failed:
        """With its model, where the call may have several."""
        return replace(failed, model=self._plan.target.full_name) if self._has_others else failed

    def _following(self, error: ProviderError) -> Plan | None:
        """The request to the next model that is asked after this error."""
        plan, self._others_left, skipped = next_plan(self._plan, self._others_left, error)
        self._skipped += skipped
        return plan

    def _pass_over(self, error: ProviderError) -> ProviderError:
        """A model that cannot take the request: what the one before it failed with, to which the call goes back."""
        if self._cause is None:
            raise error
        self._settle()
        passed = Failed(error.message, model=self._plan.target.full_name)
        self._plan, self.attempt, self.attempt.replaced, error, known = self._cause
        self._skipped = [*self._failed[known:], passed]
        del self._failed[known:]
        if self._watch is not None:
            self._watch.follow(self._plan)
        return error

    def _follow(self, plan: Plan) -> None:
        """Go on with another model."""
        self._failed += self._skipped
        self._plan, self._retries, self._skipped = plan, 0, []
        self._take_terms()
        if self._watch is not None:
            self._watch.follow(plan)

    def _delay(self, error: ProviderError) -> float | None:
        """Seconds until the next attempt, or None."""
        plan, attempt, own = self._plan, self.attempt, retry_of(self._plan, self._session.policies)
        answered = attempt.exchange is not None and not attempt.is_refused
        if answered and (self._decoder is not None or (isinstance(error, APIError) and not plan.call.body)):
            return None  # it would be decoded twice; a stored response has failed, not the request for it
        if own.attempts == 1 or not is_worth_retrying(error, attempt.headers, is_stored=plan.is_stored):
            return None
        assert self.loop is not None
        total = plan.timeouts.total
        left = None if total is None else self._started + total - self.loop.time()
        fraction = self._session.waits.fraction()
        delay = next_delay(own, error, failed=self._retries + 1, left=left, fraction=fraction)
        return delay if delay is None or self._circuit is None else self._circuit.wait(delay)

    # -- limits, budgets, prices -------------------------------------------------------------------------

    async def _apart(self, wait: Callable[[float | None], Awaitable[T]]) -> T:
        """Wait for what an attempt needs before it is sent. Of the timeouts, only `total` counts here."""
        assert self._deadlines is not None and self.loop is not None
        total = self._plan.timeouts.total
        self._deadlines.drop()
        found = await wait(None if total is None else self._started + total)
        self._deadlines.restart()
        self._deadlines.watch(self.loop, self._on_expiry)
        return found

    async def _admit(self, until: float | None) -> None:
        assert self._admission is not None and self.loop is not None
        patient = until if self._beside is None else self.loop.time() + _PATIENCE
        await self._admission.wait(patient, self._session.waits)

    def _settle(self) -> None:
        if self._admission is not None:
            self._admission.settle(self.attempt, self.end_event or self._result, self._error)

    # -- timeouts ----------------------------------------------------------------------------------------

    def _enter(self) -> Deadlines:
        """What comes before the first events begins, in the running task and within the timeouts."""
        loop = self.loop = running_loop()
        task = self._task = asyncio.current_task(loop)
        assert task is not None
        self._others = task.cancelling()  # requests to cancel it that are not ours
        if self._deadlines is not None:
            return self._deadlines
        session, plan, first = self._session, self._plan, self._beside
        self._started = loop.time() if first is None else first._started
        self._deadlines = Deadlines(plan.timeouts, self._started)
        self._deadlines.watch(loop, self._on_expiry)
        if first is not None:
            self._deadlines.restart()
            self._watch = first._watch
        elif session.hooks or session.instruments or _log.isEnabledFor(logging.INFO):
            self._watch = session.watch(plan)
        own = plan.policies or session.policies
        if own.limits is not None or own.budget is not None or own.breaker is not None:
            self._take_terms()
        return self._deadlines

    def _take_terms(self) -> None:
        """The limits, the budget and the breaker are those of the current model."""
        terms = self._session.terms(self._plan)
        self._circuit, self._admission = terms.circuit, terms.admission(self._plan)

    def _on_expiry(self, clock: Clock) -> None:
        self._expired = clock
        if self._task is not None:
            self._task.cancel()
        elif self.attempt.exchange is not None:
            self.attempt.exchange.abort()

    def _own_timeout(self, cancelled: asyncio.CancelledError) -> ProviderError:
        """The error of the timeout that cancelled the task. Raises the cancellation if it is somebody else's."""
        assert self._task is not None and self._deadlines is not None
        if self._expired is None or self._task.uncancel() > self._others:
            raise cancelled
        return self._deadlines.error(self._expired, self.partial)

    def _by_clock(self, error: ProviderError) -> ProviderError:
        """The timeout that dropped the exchange, if one has; else the error."""
        is_ours = isinstance(error, StreamInterrupted) and not isinstance(error, StreamTimeout)
        if self._expired is None or self._deadlines is None or not is_ours:
            return error
        return self._deadlines.error(self._expired, self.partial)

    def _explained(self, error: ProviderError) -> ProviderError:
        error = self._by_clock(error)
        error.attempts = (*self.attempt.attempts, *error.attempts)
        was_tried = self._was_sent or self._beside is None
        if was_tried and isinstance(error, (TransportError, APIError, ProtocolError)):
            error.attempts += (self._failure(error),)
        error.attempts += tuple(self._skipped)
        error = self.attempt.explain(error)
        if (partial := getattr(error, "partial", None)) is not None:
            error.partial = self._priced(partial)  # type: ignore[attr-defined]
        return error
