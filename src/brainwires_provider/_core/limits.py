"""How much may be sent within a minute, and at once: decisions without I/O. The time is passed in.

A limit holds for every window of 60 seconds: what is reserved leaves the window a minute later, and not before, so
that no two windows share a burst. Who asks first is served first, also one who needs much: nobody passes the head of
the queue. A reservation is an estimate, which is corrected when the usage is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from msgspec import Struct

from brainwires_provider._core.limit_headers import Stated
from brainwires_provider.types import Limits, LimitStats

__all__ = ["Amounts", "Limiter", "Others", "Ticket", "Uses", "Waiter"]

SECONDS = 60.0


class Amounts(Struct, frozen=True, gc=False):
    """What one request takes of each limit."""

    requests: int = 1
    input: int = 0
    output: int = 0

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input + self.output


class Ticket(Struct, gc=False):
    """A place that was granted, until it is settled."""

    expires: float = 0.0
    """When it leaves the window."""
    amounts: Amounts = Amounts()
    is_live: bool = True
    """Whether it is within the window."""
    is_open: bool = True


class Uses:
    """What was used within the last minute, of every kind that a limit may count."""

    __slots__ = ("input", "output", "requests", "tickets")

    def __init__(self) -> None:
        self.requests = self.input = self.output = 0
        self.tickets: deque[Ticket] = deque()

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input + self.output

    def add(self, ticket: Ticket) -> None:
        """Count this one."""
        amounts = ticket.amounts
        self.tickets.append(ticket)
        self.requests += amounts.requests
        self.input += amounts.input
        self.output += amounts.output

    def expire(self, now: float) -> None:
        """Forget what has left the window."""
        tickets = self.tickets
        while tickets and tickets[0].expires <= now:
            ticket = tickets.popleft()
            ticket.is_live = False
            self.requests -= ticket.amounts.requests
            self.input -= ticket.amounts.input
            self.output -= ticket.amounts.output


class Others(NamedTuple):
    """What the provider counts besides: used elsewhere with the same key."""

    until: float
    amount: int


class Window:
    """One limit of what is used within `seconds`. `kind` is the name of what it counts, in `Amounts` and `Uses`."""

    __slots__ = ("_earlier", "_kind", "_seconds", "_uses", "is_set", "limit", "others")

    def __init__(self, kind: str, limit: float, uses: Uses, seconds: float, *, is_set: bool) -> None:
        self.limit = limit
        self.is_set = is_set
        """By the user: what the provider states does not change it."""
        self.others: Others | None = None
        self._kind = kind
        self._uses = uses
        self._earlier = list(uses.tickets)  # what was sent before this limit was learned does not count
        self._seconds = seconds

    def _own(self, now: float) -> int:
        """What was used from here."""
        self._uses.expire(now)
        own: int = getattr(self._uses, self._kind)
        if self._earlier:
            self._earlier = [ticket for ticket in self._earlier if ticket.is_live]
            own -= sum(getattr(ticket.amounts, self._kind) for ticket in self._earlier)
        return own

    def used(self, now: float) -> int:
        """Of the limit, at this moment."""
        own, others = self._own(now), self.others
        return own if others is None or others.until <= now else own + others.amount

    def has_room(self, amount: int, now: float) -> bool:
        """Whether this much is free; of an empty window anything is, see `free_at`."""
        used = self.used(now)
        return used + amount <= self.limit or used <= 0

    def free_at(self, amount: int, now: float) -> float:
        """When this much is free. What is larger than the whole limit waits for an empty window."""
        missing = self.used(now) + min(amount, self.limit) - self.limit
        if missing <= 0:
            return now
        counted = islice(self._uses.tickets, len(self._earlier), None)
        ends = ((ticket.expires, getattr(ticket.amounts, self._kind)) for ticket in counted)
        others = [] if self.others is None or self.others.until <= now else [self.others]
        free = now
        for end, amount_then in merge(ends, others, key=itemgetter(0)):
            free = end
            missing -= amount_then
            if missing <= 0:
                break
        return free

    def learn(self, stated: Stated, now: float) -> bool:
        """Follow what the provider states: its limit, and what it counts that was not sent from here.

        Returns whether that changes something.
        """
        is_new = stated.limit is not None and not self.is_set and stated.limit != self.limit
        if is_new and stated.limit is not None:
            self.limit = stated.limit
        if stated.limit is None or stated.remaining is None:
            return is_new
        own = self._own(now)
        elsewhere = stated.limit - stated.remaining - own
        if elsewhere <= self.used(now) - own:  # what comes late states less than is known: it does not count
            return is_new
        until = now + (self._seconds if stated.reset is None else stated.reset)
        self.others = Others(until, elsewhere)
        return True


class Waiter:
    """Somebody who asked for a place. `wake` is called when the place was granted, or it should look again.

    It returns False where nobody is there any more: a place would be lost.
    """

    __slots__ = ("amounts", "ticket", "wake")

    def __init__(self, amounts: Amounts, wake: Callable[[], bool | None]) -> None:
        self.amounts = amounts
        self.ticket: Ticket | None = None
        self.wake = wake


_UNLIMITED = float("inf")
_FIELDS = {"requests": "rpm", "tokens": "tpm", "input": "itpm", "output": "otpm"}


class Limiter:
    """The limits of one provider, model and key, each within `seconds`. `make` makes its tickets."""

    def __init__(self, limits: Limits, seconds: float = SECONDS, make: type[Ticket] = Ticket) -> None:
        self.limits = limits
        self.windows: dict[str, Window] = {}
        self.uses = Uses()
        self.running = 0
        self._seconds = seconds
        self._make = make
        self._most = _UNLIMITED if limits.concurrency is None else limits.concurrency
        self.queue: deque[Waiter] = deque()
        self._room = (_UNLIMITED, _UNLIMITED, _UNLIMITED, _UNLIMITED)
        """By the order of `_FIELDS`: up to this, a window surely has room, whatever is used elsewhere."""
        for kind, field in _FIELDS.items():
            if (limit := getattr(limits, field)) is not None:
                self.add(kind, limit)

    def add(self, kind: str, limit: float, *, is_set: bool = True, others: Others | None = None) -> Window:
        """A further limit, of which others use a part."""
        window = self.windows[kind] = Window(kind, limit, self.uses, self._seconds, is_set=is_set)
        window.others = others
        self._measure_room()
        return window

    def _measure_room(self) -> None:
        """A limit has changed, or what is used elsewhere."""
        rooms = {
            kind: window.limit - (0 if window.others is None else window.others.amount)
            for kind, window in self.windows.items()
        }
        requests, tokens, input, output = (rooms.get(kind, _UNLIMITED) for kind in _FIELDS)
        self._room = requests, tokens, input, output

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self.queue)

    def enter(self, waiter: Waiter, now: float) -> None:
        """Ask for a place: granted at once where there is one and nobody waits."""
        self.queue.append(waiter)
        if len(self.queue) == 1:
            self.grant(now)

    def grant(self, now: float) -> None:
        """Grant places, in order, as long as there are some. The head is woken, to look when its own time is."""
        queue = self.queue
        while queue:
            ticket = self.reserve(queue[0].amounts, now)
            if ticket is None:
                if queue[0].wake() is not False:
                    return
                queue.popleft()  # the next may need less
                continue
            waiter = queue.popleft()
            waiter.ticket = ticket
            if waiter.wake() is False:
                waiter.ticket = None
                self.take_back(ticket, Amounts(0))

    def due(self, now: float) -> float | None:
        """When there is room for the head of the queue; None if only a settled request can make it."""
        if not self.queue or self._is_full:
            return None
        amounts = self.queue[0].amounts
        return max([now, *(w.free_at(getattr(amounts, kind), now) for kind, w in self.windows.items())])

    def is_head(self, waiter: Waiter) -> bool:
        """Whether it is next."""
        return bool(self.queue) and self.queue[0] is waiter

    def leave(self, waiter: Waiter, now: float) -> None:
        """Somebody waits no more; a place that was granted meanwhile is given back."""
        if waiter.ticket is not None:
            self.settle(waiter.ticket, Amounts(0), now)
        elif waiter in self.queue:  # not one that was left out, as its event loop was closed
            self.queue.remove(waiter)
            self.grant(now)

    def settle(self, ticket: Ticket, amounts: Amounts | None, now: float) -> None:
        """A request is done, and used so much; None: as was reserved. Only the first time counts."""
        if self.take_back(ticket, amounts):
            self.grant(now)

    def take_back(self, ticket: Ticket, amounts: Amounts | None) -> bool:
        """The same without granting a place to anybody; returns whether somebody waits for one."""
        if not ticket.is_open:
            return False
        ticket.is_open = False
        self.running -= 1
        if amounts is not None and ticket.is_live:
            uses, before = self.uses, ticket.amounts
            ticket.amounts = amounts
            uses.requests += amounts.requests - before.requests
            uses.input += amounts.input - before.input
            uses.output += amounts.output - before.output
        return bool(self.queue)

    def learn(self, stated: Mapping[str, Stated], now: float) -> None:
        """Follow what the provider states of its limits."""
        if not self.limits.learn:
            return
        for kind, one in stated.items():
            window = self.windows.get(kind)
            if window is None and one.limit is not None:
                window = self.add(kind, one.limit, is_set=False)
            if window is not None and window.learn(one, now):
                self._measure_room()

    def stats(self, provider: str, model: str, now: float) -> list[LimitStats]:
        """Every limit as it stands."""
        return [
            LimitStats(provider, model, kind, window.limit, window.used(now), not window.is_set)
            for kind, window in self.windows.items()
        ]

    @property
    def _is_full(self) -> bool:
        return self.running >= self._most

    def reserve(self, amounts: Amounts, now: float) -> Ticket | None:
        """A place, if every window has room for it. Whether others wait for one is not asked."""
        if self.running >= self._most:
            return None
        uses = self.uses
        tickets = uses.tickets
        if tickets and tickets[0].expires <= now:
            uses.expire(now)
        requests, input = uses.requests + amounts.requests, uses.input + amounts.input
        output = uses.output + amounts.output
        rpm, tpm, itpm, otpm = self._room
        is_ample = requests <= rpm and input + output <= tpm and input <= itpm and output <= otpm
        if not is_ample and not self._has_room(amounts, now):
            return None
        self.running += 1
        uses.requests, uses.input, uses.output = requests, input, output
        ticket = self._make(now + self._seconds, amounts)
        tickets.append(ticket)
        return ticket

    def _has_room(self, amounts: Amounts, now: float) -> bool:
        return all(window.has_room(getattr(amounts, kind), now) for kind, window in self.windows.items())
