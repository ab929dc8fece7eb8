"""The file that a bulk command writes: whole under its name, or unfinished beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from types import TracebackType
from typing import IO, Any, Self

from brainwires_provider.bulk.files import Scan, Writer, cells_of, format_of, open_writer
from brainwires_provider.bulk.record import COLUMNS
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.local.weights.folders import lock

__all__ = ["UNFINISHED", "Output", "locked"]

UNFINISHED = ".part"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


class Output:
    """The rows with their results. They are in OUT.part until `complete`; one process at a time has that file.

    What an earlier run has left there stays until the first row is written. Raises ConfigError for a file that another
    process has, or that cannot be written, and for rows that its format cannot have.
    """

    def __init__(self, path: str, found: Scan, prefix: str) -> None:
        self._path, self._unfinished = path, f"{path}{UNFINISHED}"
        added = {f"{prefix}{name}": kind for name, kind in COLUMNS.items()}
        self._made = partial(open_writer, kind=format_of(path), found=found, added=added)
        self._made(BytesIO())
        self._file: IO[bytes] = os.fdopen(locked(self._unfinished, 0o666, "name another output"), "wb")
        self._writer: Writer | None = None

    def write(self, row: Any, columns: Mapping[str, Any]) -> None:
        """Add one. Raises ProviderError, as `complete` does."""
        with self._explained():
            self._begun().write({**cells_of(row), **columns})

    def complete(self) -> None:
        """Give the file its name: it has every row."""
        with self._explained():
            self._begun().close()
            self._writer = None
            self._file.flush()
            if (
                os.name == "nt"
            ):  # an open file keeps its name; elsewhere nobody may lock it before it has its new one
                self._file.close()
            os.replace(self._unfinished, self._path)
            self._file.close()

    def _begun(self) -> Writer:
        if self._writer is None:
            self._file.seek(0)
            self._file.truncate()
            self._writer = self._made(self._file)
        return self._writer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ProviderError(
                f"{self._unfinished} cannot be written: {error.strerror or error}; what was answered is recorded, and "
                "the same command goes on"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.closed:
            return
        with suppress(OSError, ProviderError):  # it is not whole anyway
            if self._writer is not None:
                self._writer.close()
            self._file.flush()
        is_empty = not os.fstat(self._file.fileno()).st_size
        if is_empty:
            with suppress(OSError):
                os.unlink(self._unfinished)
        with suppress(OSError):
            self._file.close()


def locked(path: str, mode: int, advice: str) -> int:
    """The open file, for this process alone, made with this mode if need be. Raises ConfigError, with the advice."""
    while True:
        try:
            file = os.open(path, _FLAGS, mode)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        try:
            if not lock(file):
                raise ConfigError(f"{path} is in use by another run: wait for its end, or {advice}")
            with suppress(FileNotFoundError):  # the other run has ended meanwhile, and given it another name
                if os.path.samestat(os.fstat(file), os.stat(path)):
                    return file
        except BaseException as error:
            os.close(file)
            if isinstance(error, OSError):
                raise ConfigError(f"{path}: {error.strerror}") from None
            raise
        os.close(file)
