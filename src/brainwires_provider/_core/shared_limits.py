"""Limits that processes and machines share: who waits here, and what the server is asked.

One task talks to the server for all that wait: it passes on who asks, who has left and what was used, and learns who
has a place. The server keeps one queue for all processes. It forgets a process that it has not heard of for `patience`
seconds, with its places. While it is away, its limits are divided by the number of processes that were there last, and
each keeps to its part; when it comes back, the processes report what they used meanwhile, and restore its memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from brainwires_provider._core.lifecycle import soon
from brainwires_provider._core.limit_headers import Stated, stated_limits
from brainwires_provider._core.limits import SECONDS, Amounts, Limiter, Others, Ticket, Waiter
from brainwires_provider._core.shared_scripts import LIMITS
from brainwires_provider._core.shared_server import TIMEOUT, Server, on_loop
from brainwires_provider._core.waits import Waits
from brainwires_provider.errors import ProviderError, SharedServerError
from brainwires_provider.types import Limits, LimitStats

if TYPE_CHECKING:
    import asyncio

__all__ = ["USUAL", "SharedGate", "Timing"]

_SLICES = 120  # a window is kept by so many slices: one counts up to a 120th longer than its minute
_POLLS = 400  # a second, of all processes together, while places are full
_SHORTEST = 0.02


class Timing(NamedTuple):
    """Seconds."""

    window: float = SECONDS
    renew: float = 3.0
    """How often a process reports that it is there, while it holds places or has used something of the window."""
    patience: float = 15.0
    """After which a process that does not is taken for dead."""
    probe: float = 1.0
    """How often a server that is away is tried."""
    grace: float = 2.5
    """How long a server that has lost its memory grants nothing, for the processes to restore it."""


USUAL = Timing()


class Held(Ticket):
    """A place, and what counts of it within the window."""

    number: int = 0
    at: float = 0.0
    is_known: bool = True
    """To the server. False: it was granted while the server was away."""


class Waiting(Waiter):
    """Somebody who asked for a place here."""

    __slots__ = ("future", "number")

    def __init__(self, number: int, amounts: Amounts, future: asyncio.Future[None], gate: SharedGate) -> None:
        super().__init__(amounts, lambda: gate._granted_here(self))
        self.number = number
        self.future = future


class Reply(NamedTuple):
    """What the server has answered last."""

    at: float = float("-inf")
    owners: int = 1
    used: tuple[int, ...] = (0, 0, 0, 0)
    """Of requests, input, output and tokens, by all."""
    learned: Mapping[str, float] = {}


_KINDS = {"requests": "rpm", "input": "itpm", "output": "otpm", "tokens": "tpm"}


class SharedGate:
    """The shared limits of one provider, model and key, on one event loop. `name` gives the name of its keys."""

    def __init__(
        self,
        server: Server,
        limits: Limits,
        name: Callable[[], Awaitable[str]],
        loop: asyncio.AbstractEventLoop,
        timing: Timing = USUAL,
    ) -> None:
        self.limits = limits
        self._server = server
        self._name = name
        self._loop = loop
        self._timing = timing
        self._owner = uuid4().hex
        self._keys: tuple[str, ...] = ()
        self._numbers = count(1)
        self._waiting: dict[int, Waiting] = {}
        self._entering: dict[int, Waiting] = {}  # of these, who the server does not know of
        self._held: dict[int, Held] = {}
        self._uses: deque[Held] = deque()  # within the window
        self._left: list[str] = []
        self._ends: list[str] = []
        self._stated: dict[str, Stated] = {}
        self._epoch = ""  # of the server's memory
        self._is_full = False  # the next message says all again
        self._is_closed = False
        self._heard = Reply()
        self._assumed: dict[str, Others] | None = None  # while the server is away
        self._local: Limiter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._news: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    # -- as a gate -----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many wait here."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many places are held here."""
        return len(self._held)

    def try_enter(self, amounts: Amounts) -> Ticket | None:
        """None: the server has to be asked."""
        return None

    async def enter(self, amounts: Amounts, waits: Waits) -> Ticket:
        """Wait for a place, in order of arrival at the server. Raises SharedServerError, ConfigError."""
        waiter = Waiting(next(self._numbers), amounts, self._loop.create_future(), self)
        self._waiting[waiter.number] = self._entering[waiter.number] = waiter
        if self._local is not None:
            self._local.enter(waiter, self._loop.time())
            self._plan_grants()
        self._wake()
        try:
            await waits.until(waiter.future)
        except GeneratorExit:  # the garbage collector's, in any thread, at any moment
            soon(self._loop, lambda: self._leave(waiter))
            raise
        except BaseException:
            self._leave(waiter)
            raise
        assert waiter.ticket is not None
        return waiter.ticket

    def settle(self, ticket: Ticket, amounts: Amounts | None) -> None:
        """A request is done; see `Limiter.settle`. From any thread."""
        on_loop(self._loop, lambda: self._settle(ticket, amounts))

    def learn(self, headers: Mapping[str, str], daily: frozenset[str] = frozenset()) -> None:
        """Follow what a response states of the provider's limits, but those of a day: with the next message."""
        if self.limits.learn:
            self._stated.update(stated_limits(headers, time.time(), daily))

    def stats(self, provider: str, model: str) -> list[LimitStats]:
        """Every limit as it stood when the server was last heard of."""
        uses = dict(zip(_KINDS, self._heard.used, strict=True))
        return [
            LimitStats(provider, model, kind, limit, uses[kind], is_learned)
            for kind, (limit, is_learned) in self._all_limits().items()
        ]

    async def aclose(self) -> None:
        """Give everything back. What is given back later is reported, and nothing runs after that."""
        from asyncio import wait

        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await wait((self._task,), timeout=2 * TIMEOUT)
        elif self._epoch:
            await self._say_goodbye()

    # -- places ----------------------------------------------------------------------------------------------

    def _all_limits(self) -> dict[str, tuple[float, bool]]:
        """By kind, and whether it was learned."""
        given = {kind: getattr(self.limits, field) for kind, field in _KINDS.items()}
        known = {kind: (limit, False) for kind, limit in given.items() if limit is not None}
        return known | {
            kind: (limit, True) for kind, limit in self._heard.learned.items() if kind not in known
        }

    def _hold(self, waiter: Waiting, *, is_known: bool) -> None:
        """A waiter has its place."""
        held = waiter.ticket
        if not isinstance(held, Held):  # granted by the server
            held = waiter.ticket = Held(amounts=waiter.amounts, is_live=False)
        held.number, held.at, held.is_known = waiter.number, self._loop.time(), is_known
        self._held[held.number] = held
        self._uses.append(held)
        self._waiting.pop(held.number, None)
        if not waiter.future.done():
            waiter.future.set_result(None)

    def _leave(self, waiter: Waiting) -> None:
        """Somebody waits no more."""
        if waiter.ticket is not None:
            self._settle(waiter.ticket, Amounts(0))
            return
        if self._local is not None:
            self._local.leave(waiter, self._loop.time())
            self._plan_grants()
        self._waiting.pop(waiter.number, None)
        if self._entering.pop(waiter.number, None) is None:
            self._left.append(_numbers(waiter.number, waiter.amounts.input, waiter.amounts.output))
            self._wake()

    def _settle(self, ticket: Ticket, amounts: Amounts | None) -> None:
        held = self._held.pop(ticket.number, None) if isinstance(ticket, Held) else None
        if held is None:
            return
        if self._local is not None:
            self._local.settle(held, amounts, self._loop.time())
            self._plan_grants()
        if amounts is None:
            self._ends.append(f"{held.number}")
        else:
            held.amounts = amounts
            self._ends.append(_numbers(held.number, amounts.requests, amounts.input, amounts.output))
        self._wake()

    # -- the task that talks to the server ------------------------------------------------------------------

    def _wake(self) -> None:
        if self._task is None:
            import asyncio

            self._news = asyncio.Event()
            self._task = self._loop.create_task(self._talk_on())
        elif self._news is not None:
            self._news.set()

    def _is_idle(self) -> bool:
        """Whether the server may forget this process."""
        if self._is_closed:
            self._uses.clear()
            if self._is_full:  # it was not reached, and will miss this process
                return True
        forgotten = self._loop.time() - self._timing.window
        while self._uses and self._uses[0].at <= forgotten:
            self._uses.popleft()
        return not (self._waiting or self._held or self._uses or self._ends or self._left)

    async def _talk_on(self) -> None:
        import asyncio

        assert self._news is not None
        try:
            while not self._is_idle():
                self._news.clear()
                delay = await self._talk()
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._news.wait()
            if self._is_closed:
                await self._say_goodbye()
        except asyncio.CancelledError:
            await self._say_goodbye()  # the loop ends, or the client is closed
            raise
        finally:
            self._task = None
            self._stop_local()

    async def _talk(self) -> float:
        """Once. Returns the seconds until the next time."""
        entering, ends, left, stated = self._entering, self._ends, self._left, self._stated
        try:
            if self._local is not None:
                await self._server.ping()  # who waits here is served meanwhile
                self._stop_local()
            entering, ends, left, stated = self._entering, self._ends, self._left, self._stated
            self._entering, self._ends, self._left, self._stated = {}, [], [], {}
            answer = await self._ask(self._message(entering, ends, left, stated))
        except Exception as error:  # noqa: BLE001 (whatever it is: who waits here learns of it)
            self._restore(ends, left, stated)
            self._lose(error)
            return self._timing.probe
        except BaseException:
            self._restore(ends, left, stated)
            raise
        if answer["lost"]:
            self._restore(ends, left, stated)
            return 0.0
        return self._take(answer)

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        if not self._keys:
            name = await self._name()
            self._keys = tuple(f"{name}:{part}" for part in ("use", "queue", "owners", "held", "news"))
        return await self._server.run(LIMITS, self._keys, message)

    def _message(
        self, entering: Mapping[int, Waiting], ends: list[str], left: list[str], stated: Mapping[str, Stated]
    ) -> dict[str, Any]:
        timing, now, limits = self._timing, self._loop.time(), self.limits
        given = {kind: getattr(limits, field) for kind, field in _KINDS.items()}
        everybody = self._waiting if self._is_full else entering
        message = {
            "owner": self._owner,
            "number": next(self._numbers),
            "epoch": self._epoch,
            "full": self._is_full,
            "window": _ms(timing.window),
            "width": max(1, _ms(timing.window) // _SLICES),
            "patience": _ms(timing.patience),
            "grace": _ms(timing.grace),
            "limits": {kind: limit for kind, limit in given.items() if limit is not None},
            "learns": limits.learn,
            "enter": " ".join(
                _numbers(each.number, each.amounts.input, each.amounts.output) for each in everybody.values()
            ),
            "ends": " ".join(ends),
            "left": " ".join(left),
            "stated": {kind: _stated(each) for kind, each in stated.items() if each.limit is not None},
        }
        if limits.concurrency is not None:
            message["most"] = limits.concurrency
        if self._is_full:
            message["own"] = " ".join(
                _numbers(
                    _ms(now - use.at),
                    *(use.amounts.requests, use.amounts.input, use.amounts.output),
                    int(use.is_known),
                )
                for use in self._uses
            )
            message["holding"] = " ".join(
                _numbers(each.number, _ms(now - each.at), each.amounts.input, each.amounts.output)
                for each in self._held.values()
            )
            message["used"] = ",".join(map(str, self._heard.used[:3]))
            message["used_age"] = _ms(min(now - self._heard.at, 2 * timing.window))
        return message

    def _take(self, answer: Mapping[str, Any]) -> float:
        """Follow an answer. Returns the seconds until the next message."""
        if self._is_full:
            self._is_full = False
            for use in self._uses:
                use.is_known = True
        self._epoch, self._assumed = answer["epoch"], None
        pairs = (each.partition("=") for each in answer["limits"].split(",") if each)
        self._heard = Reply(
            self._loop.time(),
            max(1, answer["owners"]),
            tuple(map(int, answer["used"].split(","))),
            {kind: float(limit) for kind, _, limit in pairs},
        )
        for number in answer["granted"].split(","):
            waiter = self._waiting.get(int(number)) if number else None
            if waiter is not None:  # else it has left meanwhile: the next message says it
                self._hold(waiter, is_known=True)
        if not self._waiting:
            return self._timing.renew
        wait = answer["wait"]
        delay = (wait + 1) / 1000 if wait > 0 else max(_SHORTEST, self._heard.owners / _POLLS)
        return min(delay, self._timing.renew)

    def _restore(self, ends: list[str], left: list[str], stated: dict[str, Stated]) -> None:
        """Whether a message arrived is not known: the next one says all again, which changes nothing twice."""
        self._is_full = True
        if ends is not self._ends:
            self._ends[:0], self._left[:0] = ends, left
            self._stated = stated | self._stated

    async def _say_goodbye(self) -> None:
        """The last message."""
        self._is_full = False
        message = self._message({}, self._ends, self._left, self._stated)
        with suppress(ProviderError):  # the server will miss this process
            await self._ask(message | {"bye": True})
        self._epoch = ""

    # -- while the server is away ---------------------------------------------------------------------------

    def _lose(self, error: Exception) -> None:
        if self.limits.when_down == "raise" or not isinstance(error, SharedServerError):
            for waiter in self._waiting.values():
                if not waiter.future.done():
                    own = type(error)(error.message) if isinstance(error, ProviderError) else error
                    waiter.future.set_exception(own)
        elif self._local is None:
            self._begin_local()

    def _begin_local(self) -> None:
        """Divide the limits by the number of processes, and what is free of them likewise."""
        now, heard = self._loop.time(), self._heard
        most = self.limits.concurrency
        own = Limits(concurrency=None if most is None else max(1, most // heard.owners))
        local = Limiter(own, self._timing.window, Held)
        local.running = len(self._held)
        limits = self._all_limits()
        if self._assumed is None:
            self._assumed = self._elsewhere(limits, now)
        for kind, (limit, _) in limits.items():
            local.add(kind, limit / heard.owners, others=self._assumed[kind])
        for held in self._held.values():
            held.is_live = False
        for use in self._uses:
            use.expires, use.is_live = use.at + self._timing.window, True
            local.uses.add(use)
        self._local = local
        for waiter in list(self._waiting.values()):
            local.enter(waiter, now)
        self._plan_grants()

    def _elsewhere(self, limits: Mapping[str, tuple[float, bool]], now: float) -> dict[str, Others]:
        """What others use of this process's part, so that all parts together hold no more than the limits.

        Of what was free, everybody may use an equal part. A process that has not heard of the server for some time
        does not know what was free: nothing.
        """
        heard = self._heard
        is_recent = now - heard.at <= 2 * self._timing.renew
        assumed = {}
        for n, kind in enumerate(_KINDS):
            own = sum(getattr(use.amounts, kind) for use in self._uses)
            if kind in limits and self._epoch:
                used = heard.used[n] if is_recent else limits[kind][0]
                until = (heard.at if is_recent else now) + self._timing.window
                assumed[kind] = Others(until, max(0, ceil(used / heard.owners - own)))
            else:
                assumed[kind] = Others(now, 0)
        return assumed

    def _granted_here(self, waiter: Waiting) -> None:
        """The limiter's call: it has a place, or is the next one."""
        if waiter.ticket is not None:
            self._hold(waiter, is_known=False)

    def _plan_grants(self) -> None:
        """Look again when there is room for the next one."""
        if self._timer is not None:
            self._timer.cancel()
        due = None if self._local is None else self._local.due(self._loop.time())
        if due is not None:
            self._timer = self._loop.call_at(due, self._grant_here)

    def _grant_here(self) -> None:
        if self._local is not None:
            self._local.grant(self._loop.time())
            self._plan_grants()

    def _stop_local(self) -> None:
        self._local = None
        self._plan_grants()


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _numbers(*numbers: int) -> str:
    return ",".join(map(str, numbers))


def _stated(stated: Stated) -> dict[str, int]:
    known = {"limit": stated.limit, "remaining": stated.remaining}
    if stated.reset is not None:
        known["reset"] = _ms(stated.reset)
    return {name: value for name, value in known.items() if value is not None}
