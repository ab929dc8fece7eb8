"""The lock of what calls have reserved, which the end of a call never waits for.

The garbage collector may end an abandoned call at any moment, also in a thread that holds the lock which the end of
the call needs: it would wait for itself. So an end is noted, and made at once where the lock is free; else the thread
that holds the lock makes it, after releasing it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any
from weakref import WeakSet

__all__ = ["Locked"]


class Locked:
    """Changed by several threads, one at a time: `with self, self._lock:`; `_note` notes an end.

    `with self._lock:`, and `_catch_up` after it where anything was noted, is the same in half the time.

    A signal handler may raise after any call of the main thread, such as that of `acquire`: then nobody would release
    the lock. It cannot between a `with` or a `for` and its block.
    """

    def __init__(self) -> None:
        self._noted: deque[tuple[Any, ...]] = deque()
        self._unlock()
        _all.add(self)

    def _unlock(self) -> None:
        self._lock = threading.Lock()
        self._try = partial(self._lock.acquire, False)

    def _free(self) -> Iterator[bool]:
        """One step, which takes the lock, if it is free; else no step."""
        return iter(self._try, False)

    def _end(self, *args: Any, **kwargs: Any) -> None:
        """Make one change that was noted; the lock is held."""
        raise NotImplementedError

    def _note(self, *noted: Any) -> None:
        """Have `_end` called with these, now or as soon as the lock is free. Never waits."""
        for _ in self._free():
            try:
                self._end(*noted)
            finally:
                self._lock.release()
            break
        else:
            self._noted.append(noted)
        if self._noted:
            self._catch_up()

    def _catch_up(self) -> None:
        """Make what was noted, unless the lock is held: its holder does this after releasing it."""
        for _ in self._free():
            try:
                while self._noted:
                    self._end(*self._noted.popleft())
            finally:
                self._lock.release()
            if not self._noted:
                break

    def __enter__(self) -> None:
        """Nothing; `__exit__` makes what was noted meanwhile."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._noted:
            self._catch_up()


_all: WeakSet[Locked] = WeakSet()


def _unlock_all() -> None:
    """In a forked child: a lock may be held by a thread of the parent, which does not exist there."""
    for each in list(_all):
        each._unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)
