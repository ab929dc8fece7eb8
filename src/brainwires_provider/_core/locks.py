"""The lock of what calls have reserved, which the end of a call never waits for.

The garbage collector may end an abandoned call at any moment: also in a thread that just then holds the lock which the
end of the call needs. It would wait for itself. So an end is noted, and made at once where the lock is free; else
whoever holds it makes it, as soon as he has left it.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType
from typing import Any

__all__ = ["Locked"]


class Locked:
    """Changed by several threads, one at a time: `with self:` holds the lock, `_note` notes an end.

    `with self._lock:`, and `_catch_up` after it where anything was noted, is the same in half the time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: deque[tuple[Any, ...]] = deque()

    def _end(self, *noted: Any) -> None:
        """Make one change that was noted; the lock is held."""
        raise NotImplementedError

    def _note(self, *noted: Any) -> None:
        """Have `_end` called with these, now or as soon as the lock is free. Never waits."""
        if self._lock.acquire(False):
            try:
                self._end(*noted)
            finally:
                self._lock.release()
        else:
            self._noted.append(noted)
        if self._noted:
            self._catch_up()

    def _catch_up(self) -> None:
        """Make what was noted, unless somebody holds the lock: who leaves it does this afterwards."""
        while self._noted and self._lock.acquire(False):
            try:
                while self._noted:
                    self._end(*self._noted.popleft())
            finally:
                self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        if self._noted:
            self._catch_up()
