"""Files of rows: JSON Lines, CSV, and Parquet (extra `parquet`); read row by row, and written so."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from typing import IO, Any, Protocol

import msgspec

from brainwires_provider.bulk.parquet import Kind, ParquetWriter, names_of, read_rows
from brainwires_provider.errors import ConfigError

__all__ = ["JSONLines", "Scan", "Writer", "cells_of", "format_of", "open_rows", "open_writer", "scan"]

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_FIELD = 2**31 - 1  # characters of one field of CSV
_DIALECTS = {"csv": "excel", "tsv": "excel-tab"}


def format_of(path: str) -> str:
    """The name of the format, by the file's ending. Raises ConfigError for another."""
    found = _FORMATS.get(os.path.splitext(path)[1].lower())
    if found is None:
        raise ConfigError(f"{path}: the ending says no format; there are {', '.join(_FORMATS)}")
    return found


# -- reading -------------------------------------------------------------------------------------------------


def open_rows(path: str) -> Iterator[Any]:
    """The rows of a file. Raises ConfigError for one that cannot be read, and while it is read for a faulty row."""
    kind = format_of(path)
    if not os.path.isfile(path):
        raise ConfigError(f"{path}: there is no such file")
    if kind == "parquet":
        return read_rows(path)
    return _guarded(path, _json_lines(path) if kind == "jsonl" else _separated(path, _DIALECTS[kind]))


def _guarded(path: str, rows: Iterator[Any]) -> Iterator[Any]:
    with _readable(path):
        yield from rows


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error.reason} at byte {_undecodable(path)}") from None


def _undecodable(path: str) -> int:
    """The first byte of a file that is not UTF-8; what a decoder of pieces says counts from its piece."""
    at = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return at + error.start
            at += len(line)
    return at


def _json_lines(path: str) -> Iterator[Any]:
    decode = msgspec.json.Decoder().decode
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.isspace() or not line:
                continue
            try:
                yield decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                raise ConfigError(f"{path}, line {number}: {error}") from None


def _separated(path: str, dialect: str) -> Iterator[dict[str, str]]:
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD))
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, dialect=dialect, strict=True)
        try:
            names = reader.fieldnames or ()
            if len(set(names)) < len(names):
                raise ConfigError(f"{path}: a column occurs twice: {', '.join(names)}")
            for row in reader:
                if None in row or None in row.values():
                    raise ConfigError(f"{path}, line {reader.line_num}: it has not {len(names)} fields")
                yield row
        except csv.Error as error:
            raise ConfigError(f"{path}, line {max(reader.line_num, 1)}: {error}") from None


def _header(path: str) -> list[str]:
    """The columns that a file names even where it has no row."""
    kind = format_of(path)
    if kind == "parquet":
        return names_of(path)
    if kind not in _DIALECTS:
        return []
    with _readable(path), open(path, encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file, _DIALECTS[kind]), [])


def cells_of(row: Any) -> Mapping[str, Any]:
    """A row by its columns; one that has none is the column `row`."""
    return row if isinstance(row, Mapping) else {"row": row}


class Scan:
    """What one pass over a file finds before anything is sent: the number of rows, and the columns of all of them."""

    def __init__(self, path: str, *, is_typed: bool = False) -> None:
        self.path = path
        self.rows = 0
        self.columns: dict[str, Kind] = {}
        """With the types of their values, where these are read for it."""
        self.has_lists = False
        """Whether a row is a list, which may be several texts."""
        self._is_typed = is_typed

    def add(self, row: Any) -> None:
        """Take the next row. Raises ConfigError for a value that no type holds beside those before."""
        cells = cells_of(row)
        if not cells.keys() <= self.columns.keys():
            for name in cells:
                self.columns.setdefault(name, Kind())
        if self._is_typed:
            for name, value in cells.items():
                try:
                    self.columns[name].add(value)
                except (ValueError, RecursionError) as error:
                    raise ConfigError(
                        f"{self.path}, row {self.rows}: a Parquet column cannot hold {name!r}: {error}; write .jsonl "
                        "instead"
                    ) from None
        self.has_lists = self.has_lists or isinstance(row, list)
        self.rows += 1


def scan(
    path: str, check: Callable[[Any, int], object], limit: int | None = None, *, into: str = "jsonl"
) -> Scan:
    """Read a file that will be written `into` a format, and call `check` with each row and its number.

    Raises ConfigError, and what `check` raises.
    """
    found = Scan(path, is_typed=into == "parquet" != format_of(path))
    for row in islice(open_rows(path), limit):
        check(row, found.rows)
        found.add(row)
    if not found.rows:
        found.columns = {name: Kind() for name in _header(path)}
    return found


# -- writing -------------------------------------------------------------------------------------------------


class Writer(Protocol):
    """Writes rows to a file."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one. Raises ConfigError where it cannot be written, and OSError."""

    def close(self) -> None:
        """Write what is left; the file stays open. Raises the same."""


def open_writer(file: IO[bytes], kind: str, found: Scan, added: Mapping[str, type]) -> Writer:
    """A writer of rows with the columns that were found, and of results, `added` with their types.

    Raises ConfigError for rows that the format cannot have, and OSError.
    """
    if kind == "jsonl":
        return JSONLines(file)
    if kind in _DIALECTS:
        return _Separated(file, [*found.columns, *added], _DIALECTS[kind])
    source = found.path if format_of(found.path) == "parquet" else None
    return ParquetWriter(file, found.columns, added, source=source, several=found.has_lists)


def _text(value: Any) -> Any:
    """Values that a cell can hold; what is nested as JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, (Mapping, list, tuple)) else value


class JSONLines:
    """One JSON object a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one."""
        self._file.write(msgspec.json.encode(row) + b"\n")

    def close(self) -> None:
        """Nothing is left."""


class _Separated:
    def __init__(self, file: IO[bytes], columns: list[str], dialect: str) -> None:
        self._text = TextIOWrapper(file, "utf-8", newline="")
        self._writer = csv.DictWriter(self._text, columns, dialect=dialect)
        self._writer.writeheader()

    def write(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow({name: _text(value) for name, value in row.items()})

    def close(self) -> None:
        self._text.detach()
