"""Faults drawn from a seed: what a test of a client's robustness plays in place of a service's events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from brainwires_provider.testing.answers import Drop, Stall
from brainwires_provider.testing.responses_rules import Job
from brainwires_provider.testing.websocket_steps import CloseFrame, SocketStep

_CODES = (1000, 1001, 1008, 1011, 1012, 1013)
_GARBAGE = (b"not json", b"[1]", b'{"type": 5}', b'{"no": "type"}')
_KEPT = 400


class SeededFaults:
    """The `fault` of a ScriptedSocket that draws from a seed; `rate` is how likely an event is replaced.

    `kinds` are drawn from. `break`: the connection is closed with some code, or reset. `stall`: this response says
    nothing more. `lie`: an event of another response comes before this one. `garbage`: a frame that cannot be read
    does. `done` counts them.
    """

    KINDS = ("break", "stall", "lie", "lie", "lie", "garbage")

    def __init__(self, seed: int | Random, rate: float = 0.02, *, kinds: Sequence[str] = KINDS) -> None:
        self.random = seed if isinstance(seed, Random) else Random(seed)  # noqa: S311 (a test's draw)
        self.rate, self.kinds = rate, kinds
        self.done: Counter[str] = Counter()
        self._heard: list[dict[str, Any]] = []

    def __call__(self, connection: int, job: Job, event: dict[str, Any]) -> Sequence[SocketStep] | None:
        """The steps to play in place of an event; None: the event itself."""
        draw = self.random.random()
        if len(self._heard) < _KEPT or draw < 0.05:
            self._heard.append(event)
        if draw > self.rate:
            return None
        fault = self.random.choice(self.kinds)
        self.done[fault] += 1
        if fault == "break":
            code = self.random.choice((None, *_CODES))
            return [Drop() if code is None else CloseFrame(code)]
        if fault == "stall":
            return [Stall()]
        if fault == "garbage":
            return [self.random.choice(_GARBAGE), event]
        return [self._lie(event), event]

    def _lie(self, event: dict[str, Any]) -> dict[str, Any]:
        lie = dict(self.random.choice(self._heard))
        if "stream_id" in event and self.random.random() < 0.8:
            lie["stream_id"] = event["stream_id"]
        return lie
