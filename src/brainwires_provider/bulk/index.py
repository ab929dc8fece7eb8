"""Where a ledger has what, and which ids there were, in as little memory for a million rows as for ten thousand.

What came last is in memory. Older entries are in a temporary SQLite database, which is gone with the process; whether
it is worth asking, two bits of a fixed table say.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import Literal, NamedTuple

__all__ = ["Index", "Kind", "Place"]

Kind = Literal["result", "error"]
_CACHE = -8192  # KiB
_RECENT = 20_000  # entries in memory
_BITS = 24  # of a key, for a place in the table: 2 MiB
_HALF = _BITS // 4  # hexadecimal digits


class Place(NamedTuple):
    """A line of the ledger."""

    offset: int
    size: int
    kind: Kind


class _Table:
    """Entries by keys of 32 hexadecimal digits."""

    def __init__(self, recent: int) -> None:
        self._recent: dict[str, Place | None] = {}
        self._most = recent
        self._bits = bytearray(1 << (_BITS - 3))
        self._database: sqlite3.Connection | None = None

    def put(self, key: str, value: Place | None) -> None:
        """The entry of this key from now on."""
        self._recent[key] = value
        if len(self._recent) >= self._most:
            self._move()

    def get(self, key: str) -> tuple[Place | None] | None:
        """The entry; None if there is none."""
        if key in self._recent:
            return (self._recent[key],)
        if self._database is None or not self._may_have(key):
            return None
        found = self._database.execute(
            "SELECT offset, size, kind FROM entries WHERE key = ?", (bytes.fromhex(key),)
        ).fetchone()
        if found is None:
            return None
        return (None if found[0] is None else Place(*found),)

    def _may_have(self, key: str) -> bool:
        one, two = int(key[:_HALF], 16), int(key[_HALF : 2 * _HALF], 16)
        bits = self._bits
        return bool(bits[one >> 3] >> (one & 7) & 1 and bits[two >> 3] >> (two & 7) & 1)

    def _move(self) -> None:
        """Move what is in memory to the database."""
        if self._database is None:
            self._database = _database()
        bits = self._bits
        for key in self._recent:
            for start in (0, _HALF):
                place = int(key[start : start + _HALF], 16)
                bits[place >> 3] |= 1 << (place & 7)
        rows = ((bytes.fromhex(key), *(value or (None, None, None))) for key, value in self._recent.items())
        self._database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)
        self._recent.clear()

    def close(self) -> None:
        if self._database is not None:
            self._database.close()


def _database() -> sqlite3.Connection:
    made = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    made.execute(f"PRAGMA cache_size = {_CACHE}")
    made.execute("PRAGMA journal_mode = OFF")
    made.execute("PRAGMA synchronous = OFF")
    made.execute(
        "CREATE TABLE entries (key BLOB PRIMARY KEY, offset INTEGER, size INTEGER, kind TEXT) WITHOUT ROWID"
    )
    made.execute("BEGIN")  # never committed: nobody else reads it
    return made


class Index:
    """The last line of each key, and the ids of a run. Not safe in several threads at once."""

    def __init__(self, recent: int = _RECENT) -> None:
        self._lines, self._ids = _Table(recent), _Table(recent)

    def put(self, key: str, place: Place) -> None:
        """The key's line from now on."""
        self._lines.put(key, place)

    def find(self, key: str) -> Place | None:
        """The key's line, if it has one."""
        found = self._lines.get(key)
        return None if found is None else found[0]

    def is_new(self, id: str) -> bool:
        """Whether this id was not asked about before; it is known from now on."""
        key = blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        if self._ids.get(key) is not None:
            return False
        self._ids.put(key, None)
        return True

    def close(self) -> None:
        """Delete it."""
        self._lines.close()
        self._ids.close()
