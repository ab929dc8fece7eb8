"""Continues stored answers over HTTP: only what is new is sent where the server holds all that comes before it.

What a server holds is known by content alone (`protocols/base/continuation.py`), for each endpoint and key. A parent
that is gone after all is forgotten, and the request sent again, whole.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from brainwires_provider._core.plan import Plan
from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.continuation import Match, Miss
from brainwires_provider.protocols.base.protocol import Decoder, OverHTTP
from brainwires_provider.types import Attempt as Failed
from brainwires_provider.types import Continuation

__all__ = ["Continued", "Held"]

_MOST = 1000  # heads of one endpoint


class Held:
    """What the servers hold that a client has asked, by endpoint and key."""

    def __init__(self) -> None:
        self._heads: dict[Any, Any] = {}

    def at(self, plan: Plan, mode: OverHTTP) -> Any:
        """The heads of a plan's endpoint."""
        place = plan.target.base_url, plan.target.key
        if place not in self._heads:
            self._heads[place] = mode.held()
        return self._heads[place]


class Continued:
    """One request, what it continues, and what its answer stands for. Stands in the place of a `Recovery`."""

    over_http = True

    def __init__(self, plan: Plan, mode: OverHTTP, held: Held, failed: list[Failed]) -> None:
        self._plan = plan
        self._mode = mode
        self._heads = held.at(plan, mode)
        self._asked, self._items = mode.outline(plan.call.body)
        self._found: Match[Any] | Miss | None = self._heads.find(self._asked, self._items)
        self.attempts = failed

    def plan(self) -> Plan:
        """The plan of what is to be sent now."""
        plan, found = self._plan, self._found
        if not isinstance(found, Match):
            return plan
        return replace(plan, call=replace(plan.call, body=self._mode.continued(plan.call.body, found)))

    @property
    def continuation(self) -> Continuation:
        """How many items of the history are sent; where all of them are, why."""
        count, found = len(self._items), self._found
        if isinstance(found, Match):
            return Continuation(count - found.tail, count, found.head.response_id)
        return Continuation(count, count, reason="sent again" if found is None else found.reason)

    def take(self, error: Exception) -> bool:
        """Prepare to send all of the request, where what it continues is gone; False for any other error."""
        found = self._found
        if not isinstance(found, Match) or not isinstance(error, APIError) or not self._mode.is_gone(error):
            return False
        self._heads.remove(found.place)
        self._found = None
        self.attempts.append(Failed(f"{error.message}; the whole history is sent", error.status))
        return True

    def keep(self, decoder: Decoder) -> None:
        """Remember what the answer stands for."""
        head = self._mode.head(self._asked, decoder)
        if head is None or self._asked.handle is not None:
            return  # it goes on from something that was never seen here
        self._heads.add(head, head.response_id)
        while len(self._heads) > _MOST:
            self._heads.remove(next(iter(self._heads.places())))
