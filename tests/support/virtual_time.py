"""An event loop whose clock jumps to the next timer: what waits for minutes takes no time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only while nothing else is to be done."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and not self._scheduled:  # type: ignore[attr-defined]
            raise RuntimeError("everything waits, and nothing is left that would end it")
        if not self._ready:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on a clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def timers() -> list[Any]:
    """What the running loop, of asyncio's own kind, is still to call at some time."""
    loop: Any = asyncio.get_running_loop()
    return [each for each in loop._scheduled if not each.cancelled()]


class ShiftedLoop(asyncio.SelectorEventLoop):
    """The usual clock, which a test puts forward: a minute is over when all that comes before its end is done."""

    shift = 0.0

    def time(self) -> float:
        return super().time() + self.shift

    def skip(self, seconds: float) -> None:
        """It is so much later now."""
        self.shift += seconds


def shifted(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a `ShiftedLoop`."""
    with asyncio.Runner(loop_factory=ShiftedLoop) as runner:
        return runner.run(work)


def skip(seconds: float) -> None:
    """In the running `ShiftedLoop` it is so much later now."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShiftedLoop)
    loop.skip(seconds)
