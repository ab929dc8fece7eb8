"""What limits, a budget in dollars and a price have to do for one request, in straight code and nothing else.

The text of the body is counted; five limits and two budgets are compared, reserved from and corrected under one lock;
the answer's tokens are priced. There is no queue, no error, no retry, no provider's own rule, no file in a body, no
rate that depends on anything, and none of the other policies: what has all of that cannot take less.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct

__all__ = ["Least"]

_FILES = frozenset(
    ("image", "image_url", "images", "file", "file_url", "source", "data", "url", "uri", "bytes")
)
_OUTPUT = 16_384  # tokens, where a request sets no maximum
_INPUT_PRICE, _OUTPUT_PRICE = Decimal("0.0000025"), Decimal("0.00001")  # dollars a token
_RPM, _TOKENS, _AT_ONCE = 1e9, 1e12, 100_000
_DOLLARS, _BUDGET = Decimal(10**9), 10**14


class _Ticket(Struct, gc=False):
    expires: float
    input: int


class _Held(NamedTuple):
    ticket: _Ticket
    usd: Decimal
    tokens: int


class Least:
    """The state of the limits and the budget."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: deque[_Ticket] = deque()
        self._requests = self._input = self._output = self._running = 0
        self._usd = self._held_usd = Decimal(0)
        self._tokens = self._held_tokens = 0

    def reserve(self, body: dict[str, Any]) -> _Held:
        """Before a request is sent."""
        characters = 0
        values: list[Any] = [body]
        for value in values:  # which grows meanwhile
            kind = type(value)
            if kind is str:
                characters += len(value)
            elif kind is list:
                values += value
            elif kind is dict and _FILES.isdisjoint(value):
                values += value.values()
        input, bound = characters // 4 + 1, characters + len(values) * 8 + _OUTPUT
        usd = _INPUT_PRICE * (bound - _OUTPUT) + _OUTPUT_PRICE * _OUTPUT
        with self._lock:
            now = time.monotonic()
            if self._tickets and self._tickets[0].expires <= now:
                self._tickets.popleft()
            requests, inputs, outputs = self._requests + 1, self._input + input, self._output
            held_usd, held_tokens = self._held_usd + usd, self._held_tokens + bound
            is_over = requests > _RPM or inputs > _TOKENS or outputs > _TOKENS or inputs + outputs > _TOKENS
            if is_over or self._running >= _AT_ONCE:
                raise RuntimeError("limits")
            if self._usd + held_usd > _DOLLARS or self._tokens + held_tokens > _BUDGET:
                raise RuntimeError("budget")
            self._requests, self._input, self._running = requests, inputs, self._running + 1
            self._held_usd, self._held_tokens = held_usd, held_tokens
            ticket = _Ticket(now + 60, input)
            self._tickets.append(ticket)
        return _Held(ticket, usd, bound)

    def settle(self, held: _Held, usage: Any) -> Decimal:
        """After it was answered: the price."""
        input = usage.uncached_input + usage.cache_read + usage.cache_write + usage.tool_input
        output = usage.output_text + usage.reasoning
        cost = _INPUT_PRICE * input + _OUTPUT_PRICE * output
        with self._lock:
            self._running -= 1
            self._input += input - held.ticket.input
            self._output += output
            self._held_usd -= held.usd
            self._held_tokens -= held.tokens
            self._usd += cost
            self._tokens += input + output
        return cost
