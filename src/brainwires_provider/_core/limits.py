"""How much may be sent within a minute, and at once: decisions without I/O. The time is passed in.

A limit holds for every window of 60 seconds: what is reserved leaves the window a minute later, and not before, so
that no two windows share a burst. Who asks first is served first, also one who needs much: nobody passes the head of
the queue. A reservation is an estimate, which is corrected when the usage is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from heapq import merge

from msgspec import Struct

from brainwires_provider._core.limit_headers import Stated
from brainwires_provider.types import Limits, LimitStats

__all__ = ["Amounts", "Limiter", "Ticket", "Waiter", "Window"]

SECONDS = 60.0


class Amounts(Struct, frozen=True, gc=False):
    """What one request takes of each limit."""

    requests: int = 1
    input: int = 0
    output: int = 0

    @property
    def by_kind(self) -> dict[str, int]:
        """By the kinds of limits: tokens are input and output together."""
        return {
            "requests": self.requests,
            "tokens": self.input + self.output,
            "input": self.input,
            "output": self.output,
        }


class Entry(Struct, gc=False):
    """A part of a window that is used until it `expires`."""

    expires: float
    amount: int
    live: bool = True


class Window:
    """What was used within the last minute, of one limit."""

    __slots__ = ("entries", "is_set", "limit", "others", "own", "seconds")

    def __init__(self, limit: float, is_set: bool = True, seconds: float = SECONDS) -> None:
        self.limit = limit
        self.is_set = is_set
        self.seconds = seconds
        """By the user: what the provider states does not change it."""
        self.entries: deque[Entry] = deque()
        self.own = 0
        self.others: Entry | None = None  # what the provider counts besides: used elsewhere with the same key

    def used(self, now: float) -> int:
        """Of the limit, at this moment."""
        if self.entries and self.entries[0].expires <= now:
            self._expire(now)
        others = self.others
        return self.own if others is None or others.expires <= now else self.own + others.amount

    def has_room(self, amount: int, now: float) -> bool:
        """Whether this much is free; see `free_at`."""
        if self.entries and self.entries[0].expires <= now:
            self._expire(now)
        used, limit = self.own if self.others is None else self.used(now), self.limit
        return used + amount <= limit or (amount > limit and used <= 0)

    def _expire(self, now: float) -> None:
        entries = self.entries
        while entries and entries[0].expires <= now:
            entry = entries.popleft()
            entry.live = False
            self.own -= entry.amount

    def free_at(self, amount: int, now: float) -> float:
        """When this much is free. What is larger than the whole limit waits for an empty window."""
        missing = self.used(now) + min(amount, self.limit) - self.limit
        if missing <= 0:
            return now
        others = [] if self.others is None or self.others.expires <= now else [self.others]
        free = now
        for entry in merge(self.entries, others, key=_expiry):
            missing -= entry.amount
            free = entry.expires
            if missing <= 0:
                break
        return free

    def reserve(self, amount: int, now: float) -> Entry:
        """Use this much."""
        entry = Entry(now + self.seconds, amount)
        self.entries.append(entry)
        self.own += amount
        return entry

    def assume(self, amount: int, until: float) -> None:
        """So much is used elsewhere, until then."""
        self.others = Entry(until, amount)

    def learn(self, stated: Stated, now: float) -> None:
        """Follow what the provider states: its limit, and what it counts that was not sent from here."""
        if stated.limit is not None and not self.is_set:
            self.limit = stated.limit
        if stated.limit is None or stated.remaining is None:
            return
        counted = self.used(now) - self.own
        elsewhere = stated.limit - stated.remaining - self.own
        if elsewhere > counted:  # a response that comes late states less than is known: it does not count
            self.assume(elsewhere, now + (self.seconds if stated.reset is None else stated.reset))


def _expiry(entry: Entry) -> float:
    return entry.expires


class Ticket(Struct, gc=False):
    """A place that was granted, until it is settled."""

    entries: dict[str, Entry]
    is_open: bool = True


class Waiter:
    """Somebody who asked for a place. `wake` is called when the place was granted, or it should look again.

    It returns False where nobody is there any more: a place would be lost.
    """

    __slots__ = ("amounts", "ticket", "wake")

    def __init__(self, amounts: Amounts, wake: Callable[[], bool | None]) -> None:
        self.amounts = amounts
        self.ticket: Ticket | None = None
        self.wake = wake


class Limiter:
    """The limits of one provider, model and key."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        given = {"requests": limits.rpm, "tokens": limits.tpm, "input": limits.itpm, "output": limits.otpm}
        self.windows = {kind: Window(limit) for kind, limit in given.items() if limit is not None}
        self.running = 0
        self._most = limits.concurrency
        self._queue: deque[Waiter] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def enter(self, waiter: Waiter, now: float) -> None:
        """Ask for a place: granted at once where there is one and nobody waits."""
        self._queue.append(waiter)
        if len(self._queue) == 1:
            self.grant(now)

    def try_enter(self, amounts: Amounts, now: float) -> Ticket | None:
        """A place at once, if there is one and nobody waits."""
        return None if self._queue else self._reserved(amounts, now)

    def grant(self, now: float) -> None:
        """Grant places, in order, as long as there are some. The head is woken, to look when its own time is."""
        queue = self._queue
        while queue and (ticket := self._reserved(queue[0].amounts, now)) is not None:
            waiter = queue.popleft()
            waiter.ticket = ticket
            if waiter.wake() is False:
                waiter.ticket = None
                self._take_back(ticket, Amounts(0))
        while queue and queue[0].wake() is False:
            queue.popleft()
            self.grant(now)

    def due(self, now: float) -> float | None:
        """When there is room for the head of the queue; None if only a settled request can make it."""
        if not self._queue or self._is_full:
            return None
        takes = self._queue[0].amounts.by_kind
        return max([now, *(w.free_at(takes[kind], now) for kind, w in self.windows.items())])

    def is_head(self, waiter: Waiter) -> bool:
        """Whether it is next."""
        return bool(self._queue) and self._queue[0] is waiter

    def leave(self, waiter: Waiter, now: float) -> None:
        """Somebody waits no more; a place that was granted meanwhile is given back."""
        if waiter.ticket is not None:
            self.settle(waiter.ticket, Amounts(0), now)
        elif waiter in self._queue:  # not one that was left out, as its event loop was closed
            self._queue.remove(waiter)
            self.grant(now)

    def settle(self, ticket: Ticket, amounts: Amounts | None, now: float) -> None:
        """A request is done, and used so much; None: as was reserved. Only the first time counts."""
        if not ticket.is_open:
            return
        self._take_back(ticket, amounts)
        if self._queue:
            self.grant(now)

    def _take_back(self, ticket: Ticket, amounts: Amounts | None) -> None:
        ticket.is_open = False
        self.running -= 1
        if amounts is not None:
            took, windows = amounts.by_kind, self.windows
            for kind, entry in ticket.entries.items():
                if entry.live:
                    windows[kind].own += took[kind] - entry.amount
                    entry.amount = took[kind]

    def learn(self, stated: Mapping[str, Stated], now: float) -> None:
        """Follow what the provider states of its limits."""
        if not self.limits.learn:
            return
        for kind, one in stated.items():
            window = self.windows.get(kind)
            if window is None and one.limit is not None:
                window = self.windows[kind] = Window(one.limit, is_set=False)
            if window is not None:
                window.learn(one, now)

    def stats(self, provider: str, model: str, now: float) -> list[LimitStats]:
        """Every limit as it stands."""
        return [
            LimitStats(provider, model, kind, window.limit, window.used(now), not window.is_set)
            for kind, window in self.windows.items()
        ]

    @property
    def _is_full(self) -> bool:
        return self._most is not None and self.running >= self._most

    def _reserved(self, amounts: Amounts, now: float) -> Ticket | None:
        """A place, if every window has room for it."""
        if self._most is not None and self.running >= self._most:
            return None
        takes, windows = amounts.by_kind, self.windows
        for kind, window in windows.items():
            used = window.entries
            is_simple = window.others is None and not (used and used[0].expires <= now)
            fits = is_simple and window.own + takes[kind] <= window.limit
            if not fits and not window.has_room(takes[kind], now):
                return None
        self.running += 1
        entries = {}
        for kind, window in windows.items():
            entry = entries[kind] = Entry(now + window.seconds, takes[kind])
            window.entries.append(entry)
            window.own += takes[kind]
        return Ticket(entries)
