"""Puts what ends in any order back into the order in which it began; what waits for long is on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Generic, TypeVar

__all__ = ["Waiting"]

T = TypeVar("T")
_KEPT = 2048
"""So many in memory. What comes then is written to a temporary file, which nobody else can open."""


class Waiting(Generic[T]):
    """Values by number. `put` gives those whose turn it is."""

    def __init__(
        self, dump: Callable[[T], bytes | None], load: Callable[[bytes], T], kept: int = _KEPT
    ) -> None:
        """`dump` gives None for a value that has to stay in memory."""
        self._dump, self._load_value = dump, load
        self.next = 0
        """The number that is waited for."""
        self._kept = kept
        self._values: dict[int, T] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._file: IO[bytes] | None = None
        self._end = 0

    def put(self, number: int, value: T) -> Iterator[T]:
        """Add one; gives all that it completes, in order."""
        if number == self.next:
            self.next += 1
            yield value
            yield from self._following()
        elif len(self._values) < self._kept or not self._spill(number, value):
            self._values[number] = value

    def _following(self) -> Iterator[T]:
        while True:
            if self.next in self._values:
                value = self._values.pop(self.next)
            elif self.next in self._places:
                value = self._load(*self._places.pop(self.next))
            else:
                return
            self.next += 1
            yield value

    def _spill(self, number: int, value: T) -> bool:
        """Write it; false where it has to stay in memory."""
        data = self._dump(value)
        if data is None:
            return False
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this
        if not self._places:  # nothing of what is there is needed any more
            self._end = 0
            self._file.truncate(0)
        self._file.seek(self._end)
        self._file.write(data)
        self._places[number] = self._end, len(data)
        self._end += len(data)
        return True

    def _load(self, at: int, size: int) -> T:
        assert self._file is not None
        self._file.seek(at)
        return self._load_value(self._file.read(size))

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()
