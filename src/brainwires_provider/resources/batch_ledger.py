"""What a batch leaves on this machine: its handle, the lines that were sent, and the results that were read.

A batch has a folder, written before anything is sent, so that a program that dies at any moment leaves something to go
on with. Files are readable by the user alone and hold no key; they hold the requests and the answers.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import msgspec
from msgspec import Struct, field

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.weights.folders import data_folder, lock, write_atomically
from brainwires_provider.protocols.base.batches import Job, LineResult
from brainwires_provider.types import Report

__all__ = ["Folder", "Handle", "Ledger", "Part", "line_id"]

_VERSION = 1
_HANDLE = "handle.json"
_LOCK = "lock"
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_ID = re.compile(r"[0-9a-z][0-9a-z-]{0,62}")


class Part(Struct):
    """One job, and the requests in it."""

    model: str
    """`"provider:model"`, of the first request."""
    path: str
    name: str
    """Our name for the job."""
    members: list[int] = field(default_factory=list)
    """The places of its requests among the batch's ids, in the order of its lines."""
    headers: dict[str, str] = field(default_factory=dict)
    """What the protocol wants sent along with such requests."""
    reports: list[int] = field(default_factory=list)
    """For each request the place of its report among the batch's."""
    models: dict[int, str] = field(default_factory=dict)
    """Those of requests with another model than `model`, by their places."""
    stage: Literal["planned", "uploaded", "creating", "created"] = "planned"
    """How far it was sent; `creating` until the service has answered."""
    file: str = ""
    job: Job | None = None
    """As the service last showed it."""
    late: int = 0
    """How often it was looked after since it ended without naming its results."""


class Handle(Struct):
    """A batch, as it is stored and passed on. Holds no secret, and no request."""

    id: str
    created: float
    """In seconds since 1970."""
    ids: list[str]
    """The caller's, in the order of the input."""
    parts: list[Part] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)
    """Fields that jobs are created with."""
    version: int = _VERSION

    def dump(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def load(cls, data: bytes | str) -> Handle:
        """Raises ConfigError for what is no handle, or one of a later release."""
        try:
            handle = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"this is no batch's JSON: {error}") from None
        if handle.version != _VERSION:
            raise ConfigError(f"this batch was written by another release: its version is {handle.version}")
        if _ID.fullmatch(handle.id) is None:
            raise ConfigError(f"{handle.id[:80]!r} is no batch's id")
        if not _is_whole(handle):
            raise ConfigError(f"batch {handle.id}: its jobs do not have the requests that it lists")
        return handle


def _is_whole(handle: Handle) -> bool:
    """Whether each request is in a job, with its report, and no job has another."""
    ids, reports = range(len(handle.ids)), range(len(handle.reports))
    seen: set[int] = set()
    for part in handle.parts:
        if len(part.members) != len(part.reports) or not all(report in reports for report in part.reports):
            return False
        seen.update(part.members)
    return bool(handle.parts) and seen == set(ids)


def line_id(id: str) -> str:
    """The id under which a service gets a request: legal everywhere, and always the same for the caller's id."""
    from hashlib import blake2b

    return "r" + blake2b(id.encode(), digest_size=16).hexdigest()


class Folder:
    """The files of one batch."""

    def __init__(self, path: str) -> None:
        self.path = path

    def _place(self, name: str) -> str:
        return os.path.join(self.path, name)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether nobody else is writing here; as long as it lasts nobody can. Raises OSError."""
        file = os.open(self._place(_LOCK), _LOCK_FLAGS, 0o600)
        try:
            yield lock(file)
        finally:
            os.close(file)

    def save(self, handle: Handle) -> None:
        """Write the handle, while the folder is locked. Raises OSError."""
        write_atomically(self._place(_HANDLE), handle.dump())

    def load(self) -> Handle:
        """Raises OSError, ConfigError."""
        try:
            with open(self._place(_HANDLE), "rb") as file:
                return Handle.load(file.read())
        except FileNotFoundError:
            raise ConfigError(f"the batch in {self.path} was deleted") from None

    def lines_path(self, number: int) -> str:
        """Where the lines of a job are."""
        return self._place(f"lines-{number}.jsonl")

    def lines(self, number: int) -> list[bytes]:
        """The lines of a job, without their breaks. Raises OSError."""
        with open(self.lines_path(number), "rb") as file:
            return file.read().splitlines()

    def write_lines(self, number: int, lines: Sequence[bytes]) -> None:
        """Raises OSError."""
        write_atomically(self.lines_path(number), b"".join(line + b"\n" for line in lines))

    def keep_results(self, number: int, results: Sequence[LineResult]) -> None:
        """Nothing is written while another process does: it is read again then. Raises OSError."""
        with self.locked() as is_free:
            if is_free:
                data = msgspec.json.Encoder().encode_lines(results)
                write_atomically(self._place(f"results-{number}.jsonl"), data)

    def results(self, number: int) -> list[LineResult]:
        """The results of a job, as far as they were read. Raises OSError."""
        try:
            with open(self._place(f"results-{number}.jsonl"), "rb") as file:
                return msgspec.json.Decoder(LineResult).decode_lines(file.read())
        except (FileNotFoundError, msgspec.MsgspecError):  # read again
            return []

    def delete(self) -> None:
        """Delete all that is known here of a batch; the service keeps what it has. Raises OSError, ConfigError."""
        with self.locked() as is_free:
            if not is_free:
                raise ConfigError(f"the batch in {self.path} is in use by another process: wait for its end")
        shutil.rmtree(self.path)


class Ledger:
    """All batches of a folder; by default `batches` in the user's data folder."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = os.fspath(root) if root is not None else os.path.join(data_folder(), "batches")

    def new(self) -> tuple[str, Folder]:
        """A new batch's id, and its folder, which is created. Raises ConfigError."""
        id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
        path = os.path.join(self.root, id)
        try:
            os.makedirs(path, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"the batch cannot be recorded in {path}: {error.strerror}; name a folder with ledger=, or "
                "BRAINWIRES_DATA_DIR"
            ) from None
        return id, Folder(path)

    def folder(self, id: str) -> Folder | None:
        """Of a batch; None if it is not known here."""
        path = os.path.join(self.root, id)
        return Folder(path) if _ID.fullmatch(id) and os.path.isfile(os.path.join(path, _HANDLE)) else None

    def ids(self) -> list[str]:
        """The ids of all batches, the newest first."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return sorted((name for name in names if self.folder(name) is not None), reverse=True)

    def load(self, id: str) -> tuple[Handle, Folder]:
        """Raises ConfigError for a batch that is not known here."""
        folder = self.folder(id)
        if folder is None:
            near = ", ".join(self.ids()[:3])
            known = f"; the last are {near}" if near else ""
            raise ConfigError(f"no batch {id!r} is recorded in {self.root}{known}")
        return folder.load(), folder
