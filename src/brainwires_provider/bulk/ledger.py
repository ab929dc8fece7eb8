"""An append-only file of what a bulk run has asked and got, one JSON object a line.

A claim is in the file before its request is sent (`Ledger.written`), and a result or an error is on the disk before
its row counts as recorded. Lines are collected, and a thread writes them and brings them to the disk as a group; while
it works, the next group collects. After a crash the last line may be torn: it is cut off. One process at a time may
have a ledger open.

    {"ledger": 1}
    {"t": "claim", "id": "17", "key": "9f…"}
    {"t": "result", "id": "17", "key": "9f…", "r": {"v": 1, "text": "…"}}
    {"t": "error", "id": "18", "key": "03…", "r": {"v": 1, "error": {"type": "RateLimitError", …}}}
    {"t": "refused", "id": "19", "key": "5d…"}

A refused row was claimed, and nothing of it was sent.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import IO, Annotated, Literal

import msgspec
from msgspec import Struct

from brainwires_provider._core.deadlines import running_loop
from brainwires_provider.bulk.index import Index, Kind, Place
from brainwires_provider.bulk.record import KEY_BYTES, Record, dump_record, load_record
from brainwires_provider.errors import ConfigError
from brainwires_provider.local.weights.folders import lock

__all__ = ["Ledger", "LedgerError", "opened"]

_VERSION = 1
_HEADER = b'{"ledger":%d}\n' % _VERSION
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_COLLECTED = 500
"""Lines that are collected where none is waited for."""


class LedgerError(ConfigError):
    """The ledger cannot be used, or written: another process has it, it is another file, the disk is full."""


class _Line(Struct, frozen=True, gc=False):
    t: Literal["claim", "result", "error", "refused"]
    id: str
    key: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * KEY_BYTES}}}$")]
    r: msgspec.Raw = msgspec.Raw()


_LINES = msgspec.json.Decoder(_Line)


class Ledger:
    """One open ledger. `open` reads what is in it; without a path it is a temporary file, and nothing is synced."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.index = Index()
        self.unfinished: dict[str, str] = {}
        """Keys that were claimed and have no result, with the id: in progress when the last run ended."""
        self.damaged = 0
        """How many lines could not be read, the torn last one apart; what they held is asked again."""
        self._file = -1
        self._temporary: IO[bytes] | None = None
        self._end = 0
        self._lines: deque[bytes] = deque()  # that are not written yet
        self._then: list[Callable[[], None]] = []  # what is called once they are on the disk
        self._waiting: list[asyncio.Future[None]] = []  # for their being written
        self._syncer: asyncio.Task[None] | None = None
        self._error: LedgerError | None = None  # after which nothing is written
        self._lock = Lock()  # of the file, which a thread writes to

    def open(self) -> None:
        """Open and lock the file, cut off a torn line, and read it. Raises LedgerError."""
        if self.path is None:
            self._temporary = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - it lives as long as this
            self._file = self._temporary.fileno()
            self._append(_HEADER)
            self._write_now()
            return
        try:
            self._file = os.open(self.path, _FLAGS, 0o600)
            if not lock(self._file):
                raise LedgerError(
                    f"the ledger {self.path} is in use by another run: wait for its end, or name another ledger"
                )
            if hasattr(os, "fchmod"):
                os.fchmod(self._file, 0o600)
            self._read()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise LedgerError(f"the ledger {self.path}: {error.strerror or error}") from None
            raise

    def _read(self) -> None:
        size = os.fstat(self._file).st_size
        if size == 0:
            self._append(_HEADER)
            self._write_now()
            return
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            head = file.readline()
            if head != _HEADER and not _HEADER.startswith(head):
                raise LedgerError(
                    f"{self.path} is no ledger of this release: it does not begin with {_HEADER.decode().strip()}; "
                    "name another file"
                )
            at = len(head) if head == _HEADER else 0
            for line in file if at else ():
                if not line.endswith(b"\n"):
                    break
                self._take(line, at)
                at += len(line)
        if at < size:
            os.ftruncate(self._file, at)
        self._end = at
        if at == 0:
            self._append(_HEADER)
            self._write_now()

    def _take(self, line: bytes, at: int) -> None:
        try:
            read = _LINES.decode(line)
        except msgspec.MsgspecError:
            self.damaged += 1
            return
        if read.t == "claim":
            self.unfinished[read.key] = read.id
        elif read.t == "refused":
            self.unfinished.pop(read.key, None)
        elif read.r:
            self.unfinished.pop(read.key, None)
            self.index.put(read.key, Place(at, len(line), read.t))

    # -- reading -------------------------------------------------------------------------------------------

    @property
    def end(self) -> int:
        """Where the next line begins: lines at this place and later are those of what is written from now on."""
        return self._end

    def find(self, key: str, *, errors_since: int = 0) -> tuple[Record, int] | None:
        """What is recorded under a key, and where; errors only from a place on. A line that cannot be read is none."""
        place = self.index.find(key)
        if place is None or (place.kind == "error" and place.offset < errors_since):
            return None
        try:
            if self.path is None and self._lines:
                self._write_now()
            read = _LINES.decode(self._read_at(place.offset, place.size))
            return (load_record(read.r), place.offset) if read.key == key else None
        except ValueError:
            self.damaged += 1
            return None

    # -- writing -------------------------------------------------------------------------------------------

    def claim(self, id: str, key: str) -> None:
        """Note that a request is about to be sent, once it is `written`. Raises LedgerError."""
        if self.path is not None:
            self._append(b'{"t":"claim","id":%s,"key":"%s"}\n' % (msgspec.json.encode(id), key.encode()))

    def refuse(self, id: str, key: str) -> None:
        """Note that nothing was sent after all. Raises LedgerError."""
        if self.path is not None:
            self._append(b'{"t":"refused","id":%s,"key":"%s"}\n' % (msgspec.json.encode(id), key.encode()))

    def record(self, id: str, key: str, record: Record, then: Callable[[], None]) -> None:
        """Note how it has ended, and call `then` once that is on the disk.

        Raises LedgerError, and TypeError or ValueError for what is no JSON.
        """
        kind: Kind = "result" if record.error is None else "error"
        line = b'{"t":"%s","id":%s,"key":"%s","r":%s}\n' % (
            kind.encode(),
            msgspec.json.encode(id),
            key.encode(),
            dump_record(record),
        )
        at = self._end
        self._append(line)
        self.index.put(key, Place(at, len(line), kind))
        if self.path is None:  # for equal rows only
            if len(self._lines) >= _COLLECTED:
                self._write_now()
            then()
            return
        self._then.append(then)
        if self._syncer is None:
            self._syncer = running_loop().create_task(self._sync())

    def _append(self, line: bytes) -> None:
        if self._error is not None:
            raise self._error
        self._lines.append(line)
        self._end += len(line)

    async def written(self) -> None:
        """Wait until every line so far is in the file, and what was recorded on the disk. Raises LedgerError."""
        if self._error is None and self._syncer is not None:
            done: asyncio.Future[None] = running_loop().create_future()
            self._waiting.append(done)
            await done
        elif self._lines and self.path is not None:  # claims alone
            self._write_now()
        if self._error is not None:
            raise self._error

    async def _sync(self) -> None:
        """One group after another, for as long as there is one."""
        loop = running_loop()
        while (self._lines or self._then or self._waiting) and self._error is None:
            then, self._then = self._then, []
            waiting, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(None, self._write, bool(then))
            except Exception as error:  # noqa: BLE001 - also that there is no thread any more
                self._failed(error)
            else:
                for each in then:
                    each()
            for done in waiting:
                if not done.done():
                    done.set_result(None)
        self._syncer = None
        for done in self._waiting:
            if not done.done():
                done.set_result(None)

    def _write_now(self) -> None:
        try:
            self._write(False)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> LedgerError:
        place = self.path or "in the temporary folder"
        reason = getattr(error, "strerror", None) or error
        self._error = LedgerError(f"the ledger {place} cannot be written: {reason}")
        return self._error

    def _write(self, is_synced: bool) -> None:
        """Write what is collected, also to the disk. Raises OSError; whole lines that were written stay."""
        with self._lock:
            if self._file < 0:
                return
            lines = b"".join([self._lines.popleft() for _ in range(len(self._lines))])
            at = 0
            try:
                while at < len(lines):
                    at += os.write(self._file, memoryview(lines)[at:])
            except OSError:
                if torn := at - (lines.rfind(b"\n", 0, at) + 1):
                    with suppress(OSError):
                        os.ftruncate(self._file, os.fstat(self._file).st_size - torn)
                raise
            if is_synced:
                _to_disk(self._file)

    async def aclose(self) -> None:
        """Bring all to the disk, and close it. Raises LedgerError."""
        try:
            if self._file >= 0:
                await self.written()
            if self._syncer is not None:
                await self._syncer
        finally:
            self.close()

    def close(self) -> None:
        """Close it as it is; another process may open it then."""
        if self._lines and self._error is None:
            with suppress(OSError):
                self._write(False)
        with self._lock:
            file, self._file = self._file, -1
        self.index.close()
        if self._temporary is not None:
            self._temporary.close()
        elif file >= 0:
            os.close(file)

    def _read_at(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file, size, offset)
        os.lseek(self._file, offset, os.SEEK_SET)
        return os.read(self._file, size)


def opened(path: str) -> Ledger | None:
    """The ledger of a file, which is not made for that. Raises LedgerError."""
    if not os.path.exists(path):
        return None
    ledger = Ledger(path)
    ledger.open()
    return ledger


def _to_disk(file: int) -> None:
    (getattr(os, "fdatasync", None) or os.fsync)(file)
